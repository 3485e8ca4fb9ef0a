/* generate_indexed.c: indexed definitions: products, reductions, transposes, diagonals, affine subscripts, defaults, gathers. */
#include "generate.h"

#include <string.h>

enum { VARIABLES = 6 };
typedef struct Variable { Size size; bool stated, in_data; } Variable;
typedef struct Indexing {
	Generator *g;
	Variable var[VARIABLES];
	int nvars;
	bool any_stated;         /* then every range without the batch is written */
} Indexing;

static const char letters[] = "ijkmnp";

static int64_t loop_size(const Indexing *x) {
	int64_t n = 1;
	for (int i = 0; i < x->nvars; i++) n *= size_value(x->g, x->var[i].size);
	return n;
}

/* A variable of this size: an old one that is not yet in `used`, or a new one.  -1: no room. */
static int variable(Indexing *x, Size s, unsigned *used) {
	Dice *d = &x->g->dice;
	for (int i = 0; i < x->nvars; i++) {
		bool taken = *used >> i & 1;
		if (size_same(x->var[i].size, s) && (!taken || one_in(d, 12)) && roll(d, 4)) return *used |= 1u << i, i;
	}
	if (x->nvars == VARIABLES || loop_size(x) * size_value(x->g, s) > MAX_LOOP) {
		for (int i = 0; i < x->nvars; i++)
			if (size_same(x->var[i].size, s)) return *used |= 1u << i, i;
		return -1;
	}
	x->var[x->nvars] = (Variable){.size = s};
	*used |= 1u << x->nvars;
	return x->nvars++;
}

/* A subscript for an axis of size s that is no plain variable.  NULL: take a plain one. */
static const char *affine(Indexing *x, Size s, unsigned *used, bool *outside) {
	Generator *g = x->g;
	Dice *d = &g->dice;
	int v, n = s.n, by = 1 + roll(d, 2), from;
	if (s.batch) return NULL;
	switch (roll(d, 7)) {
	case 0: return arena_printf(g->arena, "%d", roll(d, n));
	case 1:   /* reversed */
		if ((v = variable(x, s, used)) < 0) return NULL;
		return x->var[v].stated = x->any_stated = true, arena_printf(g->arena, "%d - %c", n - 1, letters[v]);
	case 2:   /* a part: from + by * v */
		from = roll(d, n);
		if ((v = variable(x, (Size){1 + (n - 1 - from) / by, false}, used)) < 0) return NULL;
		x->var[v].stated = x->any_stated = true;
		return by == 1 ? arena_printf(g->arena, "%c + %d", letters[v], from)
		               : arena_printf(g->arena, "%d * %c + %d", by, letters[v], from);
	case 3:   /* a part, reversed */
		if ((v = variable(x, (Size){1 + (n - 1) / by, false}, used)) < 0) return NULL;
		return x->var[v].stated = x->any_stated = true, arena_printf(g->arena, "%d - %d * %c", n - 1, by, letters[v]);
	case 4: case 5:   /* shifted beyond the edge */
		if ((v = variable(x, s, used)) < 0) return NULL;
		x->var[v].stated = x->any_stated = *outside = true;
		return arena_printf(g->arena, one_in(d, 2) ? "%c - %d" : "%c + %d", letters[v], 1 + roll(d, 3));
	default:  /* scaled beyond it */
		if ((v = variable(x, (Size){MIN(70, n + roll(d, 4)), false}, used)) < 0) return NULL;
		x->var[v].stated = x->any_stated = *outside = true;
		return arena_printf(g->arena, one_in(d, 2) ? "2 * %c - 1" : "3 - %c", letters[v]);
	}
}

/* Item i with a subscript per axis.  by_data: a bit for each axis whose subscript depends on data: a letter stands for it. */
static const char *subscripted(Indexing *x, Item *i, bool plain, unsigned by_data) {
	Generator *g = x->g;
	Text text = {.arena = g->arena};
	unsigned used = 0;
	bool outside = false;
	text_add(&text, "%s", i->name);
	if (i->shape.rank) text_add(&text, "[");
	for (int a = 0; a < i->shape.rank; a++) {
		Size s = i->shape.size[a];
		const char *sub = by_data >> a & 1                ? arena_printf(g->arena, "%c", '@' + a)
		                  : !plain && one_in(&g->dice, 5) ? affine(x, s, &used, &outside)
		                                                  : NULL;
		int v = sub ? 0 : variable(x, s, &used);
		if (!sub && v < 0) {
			if (s.batch) return NULL;
			sub = arena_printf(g->arena, "%d", roll(&g->dice, s.n));
		}
		if (!sub) x->var[v].in_data = true, sub = arena_printf(g->arena, "%c", letters[v]);
		text_add(&text, "%s%s", a ? ", " : "", sub);
	}
	if (outside)
		text_add(&text, "%s", i->kind == 'C' ? " | false" : i->kind == 'F' ? CHOOSE(g, " | 0", " | -1.5", " | 0.25") : " | 1");
	if (i->shape.rank) text_add(&text, "]");
	i->used = true;
	return text.data;
}

static const char *range_text(Indexing *x, int v) {
	Generator *g = x->g;
	bool write = !x->var[v].size.batch && (x->any_stated || !x->var[v].in_data);
	return write ? arena_printf(g->arena, "%c < %d", letters[v], x->var[v].size.n) : arena_printf(g->arena, "%c", letters[v]);
}

/* Which variables the left side keeps: a random choice in random order, not too many elements. */
static int choose_output(Indexing *x, int *order, bool reduces) {
	Dice *d = &x->g->dice;
	int n = 0, all[VARIABLES] = {0};
	int64_t count = 1;
	for (int i = 0; i < x->nvars; i++) {
		int j = roll(d, i + 1);
		all[i] = all[j];
		all[j] = i;
	}
	if (roll(d, 3))   /* the usual order */
		for (int i = 0; i < x->nvars; i++) all[i] = i;
	for (int i = 0; i < x->nvars; i++) {
		int64_t size = size_value(x->g, x->var[all[i]].size);
		bool keep = !reduces || (roll(d, 3) && n < 3);
		if (!keep || n == RANKS || count * size > MAX_COUNT) continue;
		count *= size;
		order[n++] = all[i];
	}
	if (!n) order[n++] = all[0];
	return n;
}

static const char *grown_body(Generator *g, const Atom *atoms, int n, char kind, int depth) {
	const char *text;
	if (n > 1 && kind == 'F' && roll(&g->dice, 3)) {
		Text product = {.arena = g->arena};
		for (int i = 0; i < n; i++) {
			const char *factor;
			WITH_ATOMS(g, &atoms[i], 1, factor = grow(g, 'F', one_in(&g->dice, 5)));
			text_add(&product, "%s%s", i ? " * " : "", factor);
		}
		return product.data;
	}
	WITH_ATOMS(g, atoms, n, text = grow(g, kind, depth));
	return text;
}

static bool depends_on(const char *text, char letter) {
	for (const char *p = text; *p; p++) {
		bool word_before = p > text && ((p[-1] >= 'a' && p[-1] <= 'z') || (p[-1] >= '0' && p[-1] <= '9') || p[-1] == '.');
		bool word_after = (p[1] >= 'a' && p[1] <= 'z') || (p[1] >= '0' && p[1] <= '9') || p[1] == '(';
		if (*p == letter && !word_before && !word_after) return true;
	}
	return false;
}

/* `text` without what stands between braces: of `if` with a known condition only one branch is compiled, and gives ranges. */
static const char *without_branches(Generator *g, const char *text) {
	Text kept = {.arena = g->arena};
	int depth = 0;
	text_add(&kept, "%s", "");
	for (const char *p = text; *p; p++) {
		depth -= *p == '}';
		if (!depth) text_add(&kept, "%c", *p);
		depth += *p == '{';
	}
	return kept.data;
}

/* An expression in which every atom stands, so that every variable has its range from a subscript. */
static const char *body_of(Indexing *x, const Atom *atoms, int n, char kind, int depth) {
	Generator *g = x->g;
	const char *text = grown_body(g, atoms, n, kind, depth);
	for (int i = 0; i < n; i++) {
		const char *atom;
		if (strstr(without_branches(g, text), atoms[i].text)) continue;
		WITH_ATOMS(g, &atoms[i], 1, atom = grow(g, kind, 0));
		text = arena_printf(g->arena, kind == 'C' ? "(%s) or %s" : "%s + %s", text, atom);
	}
	return text;
}

static void finish(Indexing *x, const Atom *atoms, int n) {
	Generator *g = x->g;
	Dice *d = &g->dice;
	int order[VARIABLES];
	bool wants_sum = roll(d, 3) != 0;
	if (!x->nvars) return;
	int nout = choose_output(x, order, wants_sum);
	unsigned kept = 0;
	for (int i = 0; i < nout; i++) kept |= 1u << order[i];
	Text over = {.arena = g->arena}, left = {.arena = g->arena};
	int nsummed = 0;
	for (int v = 0; v < x->nvars; v++)
		if (!(kept >> v & 1)) text_add(&over, "%s%s", nsummed++ ? ", " : "", range_text(x, v));
	char kind = 'F';
	const char *body;
	if (nsummed) {
		const char *what = CHOOSE(g, "sum", "sum", "sum", "sum", "sum", "mean", "max", "min", "logsumexp", "prod", "argmax");
		if (!strcmp(what, "argmax") && nsummed > 1) what = "sum";
		bool integers = roll(d, 12) == 0 && (what[0] == 's' || what[1] == 'a' || what[1] == 'i') && strcmp(what, "argmax") &&
		                strcmp(what, "mean");
		const char *inner = body_of(x, atoms, n, integers ? 'I' : 'F', roll(d, 3));
		for (int v = 0; v < x->nvars; v++)
			if (!(kept >> v & 1) && !depends_on(without_branches(g, inner), letters[v]))
				inner = arena_printf(g->arena, "%s %s %c", inner, integers ? "+" : "+ 0.01 *", letters[v]);
		body = arena_printf(g->arena, "%s[%s](%s)", what, over.data, inner);
		kind = !strcmp(what, "argmax") || integers ? 'I' : 'F';
		/* a function of the sum, of index variables, and of elements that have kept variables only */
		Atom outer[VARIABLES + 6] = {{kind, body}};
		int nouter = 1;
		for (int i = 0; i < n; i++) {
			bool free = true;
			for (int v = 0; v < x->nvars; v++) free = free && ((kept >> v & 1) || !depends_on(atoms[i].text, letters[v]));
			if (free) outer[nouter++] = atoms[i];
		}
		for (int i = 0; i < nout && nouter < (int)COUNT(outer); i++)
			outer[nouter++] = (Atom){'I', arena_printf(g->arena, "%c", letters[order[i]])};
		if (roll(d, 2)) {
			const char *rest;
			WITH_ATOMS(g, outer, nouter, rest = grow(g, 'F', 1 + roll(d, 2)));
			body = kind == 'F' ? arena_printf(g->arena, "%s + %s", body, rest)
			                   : arena_printf(g->arena, "(%s as f32) * 0.1 + %s", body, rest);
			kind = 'F';
		}
	} else {
		Atom all[VARIABLES + 6];
		memcpy(all, atoms, sizeof *atoms * (size_t)n);
		int nall = n;
		for (int i = 0; i < nout && one_in(d, 2); i++) all[nall++] = (Atom){'I', arena_printf(g->arena, "%c", letters[order[i]])};
		kind = "FFFFFFIC"[roll(d, 8)];
		body = body_of(x, all, nall, kind, roll(d, 4));
	}
	Shape s = {.rank = nout};
	for (int i = 0; i < nout; i++) {
		text_add(&left, "%s%s", i ? ", " : "", range_text(x, order[i]));
		s.size[i] = x->var[order[i]].size;
	}
	bool scale = kind == 'F' && nsummed && roll(d, 3);
	const char *name = new_name(g, "y");
	text_add(&g->body, scale ? "  let %s[%s] = tanh(0.2 * (%s))\n" : "  let %s[%s] = %s\n", name, left.data, body);
	add_item(g, name, kind, s)->tagged = may_be_tagged(body) || !nsummed;
}

/* The batch must be an axis of some operand for its range to be known; ranges of other variables are written when unknown. */
static bool batch_known(const Indexing *x) {
	for (int i = 0; i < x->nvars; i++)
		if (x->var[i].size.batch && !x->var[i].in_data) return false;
	return true;
}

void indexed_statement(Generator *g) {
	Indexing x = {.g = g};
	Atom atoms[8];
	int n = 0, wanted = 1 + roll(&g->dice, 3);
	bool plain = one_in(&g->dice, 2);
	for (int i = 0; i < wanted; i++) {
		Item *item = pick_item(g, roll(&g->dice, 6) ? "F" : "FIUC", i ? 0 : 1, RANKS);
		if (!item) continue;
		if (i && g->in_model && g->nparams < 8 && one_in(&g->dice, 3)) {   /* a weight that shares a size */
			Shape s = {.rank = 1 + roll(&g->dice, 2)};
			for (int k = 0; k < s.rank; k++) s.size[k] = (Size){random_size(g), false};
			int v = x.nvars ? roll(&g->dice, x.nvars) : 0;
			if (x.nvars && !x.var[v].size.batch) s.size[roll(&g->dice, s.rank)] = x.var[v].size;
			item = add_item(g, new_param(g, s), 'F', s);
		}
		Indexing before = x;
		const char *text = subscripted(&x, item, plain, 0);
		if (text) atoms[n++] = (Atom){item->kind, text};
		else x = before;
	}
	if (n && batch_known(&x)) finish(&x, atoms, n);
}

/* `i` subscripted by variables that are there, or new ones.  NULL: there are too many. */
static const char *row_subscript(Indexing *x, Item *i) {
	Text text = {.arena = x->g->arena};
	unsigned used = 0;
	text_add(&text, i->shape.rank ? "%s[" : "%s", i->name);
	for (int a = 0; a < i->shape.rank; a++) {
		int v = 0;
		while (v < x->nvars && (used >> v & 1 || !size_same(x->var[v].size, i->shape.size[a]))) v++;
		if (v == x->nvars && (v = variable(x, i->shape.size[a], &used)) < 0) return NULL;
		x->var[v].in_data = true;
		used |= 1u << v;
		text_add(&text, "%s%c", a ? ", " : "", letters[v]);
	}
	if (i->shape.rank) text_add(&text, "]");
	i->used = true;
	return text.data;
}

/* A number for an axis of `size`, of some integers. */
static const char *choose_row(Indexing *x, int rank, Size size) {
	Generator *g = x->g;
	for (int tries = 0; tries < 12; tries++) {
		const Item *index = &g->items.data[roll(&g->dice, g->items.length)];
		if (!strchr("IU", index->kind) || index->shape.rank >= rank) continue;
		const char *row = row_subscript(x, (Item *)index);
		if (!row) continue;
		if (index->classes && index->classes <= size.n && !size.batch && one_in(&g->dice, 2)) return row;
		int n = 1 + roll(&g->dice, size.n + 2);
		const char *form = one_in(&g->dice, 2) ? "%s %% %d" : "(%s + %d)";
		return arena_printf(g->arena, form, row, index->kind == 'U' ? MIN(n, 255) : n);
	}
	return NULL;
}

/* One element per row: x[.., t[..], ..], or by two numbers: x[t[..], u[..], ..]. */
void gather_statement(Generator *g) {
	Indexing x = {.g = g};
	Item *table = pick_item(g, "FFFI", 1, 3);
	if (!table) return;
	int rank = table->shape.rank, axis = roll(&g->dice, rank), other = roll(&g->dice, rank);
	unsigned by_data = 1u << axis;
	if (rank > 1 && one_in(&g->dice, 3)) by_data |= 1u << other;
	const char *text = subscripted(&x, table, true, by_data);
	if (!text) return;
	for (int a = 0; a < rank; a++) {
		if (!(by_data >> a & 1)) continue;
		const char *row = choose_row(&x, rank, table->shape.size[a]), *at = strrchr(text, '@' + a);
		if (!row) return;
		text = arena_printf(g->arena, "%.*s%s%s", (int)(at - text), text, row, at + 1);
	}
	if (!x.nvars || !batch_known(&x)) return;
	Atom atoms[] = {{table->kind, text}};
	finish(&x, atoms, 1);
}
