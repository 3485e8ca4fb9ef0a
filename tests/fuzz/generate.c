/* generate.c: in: a seed; out: a well-typed program.  One statement a line, so that the minimiser can drop lines. */
#include "generate.h"

#include <string.h>

int size_value(const Generator *g, Size s) { return s.batch ? s.n * g->batch : s.n; }
bool size_same(Size a, Size b) { return a.n == b.n && a.batch == b.batch; }

bool shape_same(Shape a, Shape b) {
	bool same = a.rank == b.rank;
	for (int i = 0; same && i < a.rank; i++) same = size_same(a.size[i], b.size[i]);
	return same;
}

int64_t shape_count(const Generator *g, Shape s) {
	int64_t n = 1;
	for (int i = 0; i < s.rank; i++) n *= size_value(g, s.size[i]);
	return n;
}

const char *size_source(Generator *g, Size s) {
	return !s.batch ? arena_printf(g->arena, "%d", s.n) : s.n == 1 ? "B" : arena_printf(g->arena, "B * %d", s.n);
}

const char *sizes_source(Generator *g, Shape s) {
	Text text = {.arena = g->arena};
	for (int i = 0; i < s.rank; i++) text_add(&text, "%s%s", i ? ", " : "", size_source(g, s.size[i]));
	return s.rank ? text.data : "";
}

const char *shape_source(Generator *g, Shape s) { return s.rank ? arena_printf(g->arena, "[%s]", sizes_source(g, s)) : ""; }

/* 1..70, with more than their share around multiples of the vector width. */
int random_size(Generator *g) {
	static const int edges[] = {1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 70};
	return one_in(&g->dice, 3)   ? edges[roll(&g->dice, COUNT(edges))]
	       : one_in(&g->dice, 2) ? 1 + roll(&g->dice, 12)
	                             : 1 + roll(&g->dice, 70);
}

const char *new_name(Generator *g, const char *prefix) { return arena_printf(g->arena, "%s%d", prefix, g->names++); }

const char *new_param(Generator *g, Shape s) {
	const char *name = new_name(g, "p");
	const char *vector =
	    CHOOSE(g, "0", "1", "0.5", "glorot_uniform(shape)", "normal(shape) * 0.1", "uniform(shape, -1, 1)", "he_normal(shape)",
	           "truncated_normal(shape)", "bernoulli(0.5, shape) as f32", "glorot_normal(shape)");
	text_add(&g->body, "  param %s: %s = %s\n", name, s.rank ? shape_source(g, s) : "f32", s.rank ? vector : "0.5");
	g->nparams++;
	return name;
}

/* The programs' optimizers, but for the simplest, have states and rates of f32: rules of their own are for these parameters. */
const char *typed_param(Generator *g, char kind, Shape s) {
	if (g->smooth || (g->typed && g->typed != kind) || one_in(&g->more, 3))
		return arena_printf(g->arena, "(%s as %s)", new_param(g, s), kind_type(kind));
	g->typed = kind;
	const char *name = new_name(g, "q"), *type = kind_type(kind), *first = "0.5";
	switch (roll(&g->more, 4)) {
	case 0: first = "1"; break;
	case 1: first = "0.25"; break;
	case 2: if (s.rank) first = arena_printf(g->arena, "(normal(shape) * 0.3) as %s", type);
	}
	text_add(&g->body, "  param %s: %s%s = %s\n", name, type, shape_source(g, s), first);
	g->nparams++;
	return name;
}

/* Items are pointed at: their array must not move. */
static void room_for_items(Generator *g) {
	g->items.data = NEW_ARRAY(g->arena, Item, ITEMS);
	g->items.capacity = ITEMS;
}

Item *add_item(Generator *g, const char *name, char kind, Shape s) {
	vec_push(g->arena, &g->items, ((Item){.name = name, .kind = kind, .shape = s}));
	return &g->items.data[g->items.length - 1];
}

Item *pick_item(Generator *g, const char *kinds, int lo, int hi) {
	for (int tries = 0; tries < 30; tries++) {
		int back = one_in(&g->dice, 3) ? g->items.length : MIN(g->items.length, 6);
		Item *i = &g->items.data[g->items.length - 1 - roll(&g->dice, back)];
		if (strchr(kinds, i->kind) && i->shape.rank >= lo && i->shape.rank <= hi) return i->used = true, i;
	}
	return NULL;
}

/* ---- statements: each takes items and binds a new one, or does nothing ---- */

/* May its type say probs, so that another tag cannot be asked for? */
bool may_be_tagged(const char *value) {
	return strstr(value, "sigmoid") || strstr(value, "softmax") || strstr(value, "where") || strstr(value, "stop") ||
	       strstr(value, "fn");
}

static bool names_tagged(const Generator *g, const char *value) {
	static const char word[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	for (const char *p = value; *p;) {
		size_t length = strspn(p, word);
		for (int i = 0; i < g->items.length && length; i++) {
			const Item *x = &g->items.data[i];
			if (x->tagged && strlen(x->name) == length && !strncmp(x->name, p, length)) return true;
		}
		p += length ? length : 1;
	}
	return false;
}

Item *bind_item(Generator *g, const char *value, char kind, Shape s) {
	const char *name = new_name(g, "v");
	text_add(&g->body, "  let %s = %s\n", name, value);
	Item *i = add_item(g, name, kind, s);
	i->tagged = may_be_tagged(value) || names_tagged(g, value);
	return i;
}

void set_anchor(Generator *g, const Item *i) {
	g->anchor = i;
	g->shape = i->shape;
}

static void pointwise_statement(Generator *g) {
	Item *i = pick_item(g, "FFFIUC", 0, RANKS);
	if (!i) return;
	Item copy = *i;
	set_anchor(g, &copy);
	char kind = "FFFFFFFIC"[roll(&g->dice, 9)];
	bind_item(g, grow(g, kind, 1 + roll(&g->dice, 3)), kind, copy.shape);
}

Shape with_last(Shape s, int n) {
	s.size[s.rank - 1] = (Size){n, false};
	return s;
}

bool last_is_fixed(const Item *i) { return i->shape.rank && !i->shape.size[i->shape.rank - 1].batch; }

static void dense_statement(Generator *g) {
	Item *i = pick_item(g, "F", 1, 3);
	if (!i || !last_is_fixed(i) || !g->in_model) return;
	int n = random_size(g);
	Shape s = with_last(i->shape, n);
	if (shape_count(g, s) > MAX_COUNT) return;
	const char *more = CHOOSE(g, "", "", ", bias = false", ", init = he_uniform", ", init = lecun_normal");
	const char *act = CHOOSE(g, "", " |> relu", " |> tanh", " |> gelu", " |> silu", " |> softplus", " |> elu", " |> sigmoid");
	bool shared = one_in(&g->dice, 6) && i->shape.size[i->shape.rank - 1].n == n;
	if (shared) {
		const char *f = new_name(g, "f");
		text_add(&g->body, "  let %s = dense(_, %d)\n", f, n);
		bind_item(g, arena_printf(g->arena, "%s(tanh(%s(%s))) + 0.1 * sum(%s.w)", f, f, i->name, f), 'F', s);
	} else {
		bind_item(g, arena_printf(g->arena, "%s |> dense(%d%s)%s", i->name, n, more, act), 'F', s);
	}
	g->nparams += 2;
}

static void matmul_statement(Generator *g) {
	Item *i = pick_item(g, "F", 1, 3);
	if (!i || !last_is_fixed(i)) return;
	Size k = i->shape.size[i->shape.rank - 1];
	const Item *right = NULL;
	for (int t = 0; t < g->items.length && !right; t++) {
		Item *w = &g->items.data[t];
		if (w->kind == 'F' && (w->shape.rank == 1 || w->shape.rank == 2) && size_same(w->shape.size[0], k) && w != i &&
		    roll(&g->dice, 2)) {
			w->used = true;
			right = w;
		}
	}
	Shape ws = {.rank = 1 + (roll(&g->dice, 3) != 0), .size = {k, {random_size(g), false}}};
	if (!right && !g->in_model) return;
	Shape s = i->shape;
	if (right) ws = right->shape;
	if (ws.rank == 1) s.rank--;
	else s.size[s.rank - 1] = ws.size[1];
	if (shape_count(g, s) > MAX_COUNT || shape_count(g, s) * k.n > MAX_LOOP) return;
	const char *left = i->name, *w = right ? right->name : new_param(g, ws);
	bind_item(g, arena_printf(g->arena, "%s @ %s", left, w), 'F', s);
}

Shape without(Shape s, unsigned axes) {
	Shape out = {0};
	for (int i = 0; i < s.rank; i++)
		if (!(axes >> i & 1)) out.size[out.rank++] = s.size[i];
	return out;
}

/* A reduction of an expression or of an item, then perhaps a function of it. */
static void reduce_statement(Generator *g) {
	const char *what = CHOOSE(g, "sum", "mean", "max", "min", "prod", "logsumexp", "argmax");
	bool arg = !strcmp(what, "argmax");
	bool integers = one_in(&g->dice, 6) && !arg && strcmp(what, "mean") && strcmp(what, "logsumexp");
	Item *i = pick_item(g, integers ? "IU" : "F", 1, RANKS);
	if (!i) return;
	Item copy = *i;
	set_anchor(g, &copy);
	const char *operand = roll(&g->dice, 3) ? grow(g, integers ? 'I' : 'F', 1 + roll(&g->dice, 2)) : copy.name;
	int axis = roll(&g->dice, copy.shape.rank), other = roll(&g->dice, copy.shape.rank);
	const char *at = arena_printf(g->arena, ", axis = %d", axis);
	unsigned axes = 1u << axis;
	if (axis == copy.shape.rank - 1 && one_in(&g->dice, 2)) at = arg ? "" : ", axis = -1";
	else if (!arg && axis != other && one_in(&g->dice, 3))
		at = arena_printf(g->arena, ", axis = [%d, %d]", axis, other), axes |= 1u << other;
	else if (!arg && one_in(&g->dice, 12)) at = "", axes = ~0u;
	Shape s = without(copy.shape, axes);
	Size n = copy.shape.size[axis];
	const char *form = integers ? "%s(%s%s) as i32" : "%s(%s%s)";   /* of bytes, it is a byte */
	Item *y = bind_item(g, arena_printf(g->arena, form, what, operand, at), arg || integers ? 'I' : 'F', s);
	if (arg && !n.batch) y->classes = n.n;
	if (!roll(&g->dice, 2)) return;
	Item result = *y;
	set_anchor(g, &result);
	y->used = true;
	bind_item(g, grow(g, 'F', 1 + roll(&g->dice, 2)), 'F', s);
}

static void softmax_statement(Generator *g) {
	Item *i = pick_item(g, "F", 1, RANKS);
	if (!i) return;
	bool logs = one_in(&g->dice, 2);
	int axis = i->shape.rank - 1 - (one_in(&g->dice, 3) ? roll(&g->dice, i->shape.rank) : 0);
	const char *at = axis == i->shape.rank - 1 ? "" : arena_printf(g->arena, ", axis = %d", axis);
	const char *what = logs ? "log_softmax" : "softmax";
	bind_item(g, arena_printf(g->arena, "%s(%s%s%s)", what, i->name, i->tagged ? " * 1.5" : "", at), 'F', i->shape);
}

static void reshape_statement(Generator *g) {
	Item *i = pick_item(g, "FFFIUC", 1, RANKS);
	if (!i) return;
	Item copy = *i;
	int factors[RANKS * 6], n = 0, whole = 1;
	bool batch = false;
	for (int a = 0; a < copy.shape.rank; a++) {
		int left = copy.shape.size[a].n;
		if (batch && copy.shape.size[a].batch) return;
		batch = batch || copy.shape.size[a].batch;
		for (int p = 2; left > 1 && n < (int)COUNT(factors); p++)
			while (left % p == 0 && n < (int)COUNT(factors)) factors[n++] = p, left /= p;
		whole *= copy.shape.size[a].n;
	}
	Shape s = {.rank = 1 + roll(&g->dice, RANKS)};
	for (int a = 0; a < s.rank; a++) s.size[a] = (Size){1, false};
	for (int k = 0; k < n; k++) s.size[one_in(&g->dice, 2) ? s.rank - 1 : roll(&g->dice, s.rank)].n *= factors[k];
	int product = 1;
	for (int a = 0; a < s.rank; a++) product *= s.size[a].n;
	if (product != whole) return;
	if (batch) s.size[0].batch = true;
	Item *y = bind_item(g, arena_printf(g->arena, "reshape(%s, %s)", copy.name, sizes_source(g, s)), copy.kind, s);
	y->tagged = copy.tagged, y->classes = copy.classes;
}

/* concat, stack, split, flip, pad, slices and fixed subscripts. */
static void view_statement(Generator *g) {
	Item *i = pick_item(g, "FFFFIUC", 1, RANKS);
	if (!i) return;
	Item copy = *i;
	int axis = roll(&g->dice, copy.shape.rank), lo, hi;
	Shape s = copy.shape;
	Size size = s.size[axis];
	Arena *a = g->arena;
	const char *value = NULL;
	set_anchor(g, &copy);
	switch (roll(&g->dice, 8)) {
	case 0: case 1:
		if (size.batch || shape_count(g, s) * 3 > MAX_COUNT) return;
		s.size[axis].n *= 3;
		value = arena_printf(a, "concat(%s, %s, %s, axis = %d)", copy.name, grow(g, copy.kind, 1), grow(g, copy.kind, 0), axis);
		if (one_in(&g->dice, 2))
			s.size[axis].n = size.n * 2,
			value = arena_printf(a, "concat([%s, %s], axis = %d)", copy.name, grow(g, copy.kind, 1), axis);
		break;
	case 2:
		if (s.rank == RANKS || shape_count(g, s) * 2 > MAX_COUNT) return;
		axis = roll(&g->dice, s.rank + 1);
		for (int k = s.rank; k > axis; k--) s.size[k] = s.size[k - 1];
		s.size[axis] = (Size){2, false};
		s.rank++;
		value = arena_printf(a, "stack(%s, %s, axis = %d)", grow(g, copy.kind, 1), copy.name, axis);
		break;
	case 3: {
		int parts = 1 + roll(&g->dice, 4);
		if (size.batch || size.n % parts) return;
		s.size[axis].n /= parts;
		value = arena_printf(a, "split(%s, %d, axis = %d)[%d]", copy.name, parts, axis, roll(&g->dice, parts));
		break;
	}
	case 4: value = arena_printf(a, "flip(%s, axis = %d)", copy.name, axis); break;
	case 5:
		lo = roll(&g->dice, 5) - 1, hi = roll(&g->dice, 5) - 1;
		if (size.batch || size.n + lo + hi < 1 || size.n + lo < 1 || size.n + hi < 1) return;
		s.size[axis].n += lo + hi;
		if (shape_count(g, s) > MAX_COUNT || (copy.kind == 'C')) return;
		value = arena_printf(a, "pad(%s, %d, %d, value = %s, axis = %d)", copy.name, lo, hi,
		                     copy.kind == 'F' ? CHOOSE(g, "0", "-1.5", "0.25") : "1", axis);
		break;
	default: {
		Text text = {.arena = a};
		Shape out = {0};
		bool outside = false;
		text_add(&text, "%s[", copy.name);
		for (int k = 0; k < s.rank; k++) {
			int n = s.size[k].n, from = roll(&g->dice, n), to = from + 1 + roll(&g->dice, n - from), form = roll(&g->dice, 5);
			if (k) text_add(&text, ", ");
			if (s.size[k].batch || form == 0) {
				/* the dots may stand once; a whole range says the same */
				text_add(&text, "0..%s", size_source(g, s.size[k]));
				out.size[out.rank++] = s.size[k];
			} else if (form == 1) {
				text_add(&text, "%d", from);
			} else {
				if (form == 2 && copy.kind == 'F') from -= 2, outside = true;
				text_add(&text, "%d..%d", from, to);
				out.size[out.rank++] = (Size){to - from, false};
			}
		}
		text_add(&text, outside ? " | %s]" : "]", CHOOSE(g, "0", "-0.5", "2"));
		s = out;
		value = text.data;
	}
	}
	Item *y = bind_item(g, value, copy.kind, s);
	y->tagged = y->tagged || copy.tagged;
	y->classes = copy.classes;
}

/* Loops and conditions that run in the compiler, and lists. */
static void static_statement(Generator *g) {
	Item *i = pick_item(g, "F", 1, 3);
	if (!i) return;
	Item copy = *i;
	const char *h = new_name(g, "h");
	int turns = 1 + roll(&g->dice, 3);
	Text *b = &g->body;
	set_anchor(g, &copy);
	switch (roll(&g->dice, 4)) {
	case 0: {
		const char *body, *leaf = arena_printf(g->arena, "%s", h);
		WITH_ATOMS(g, ((const Atom[]){{'F', leaf}, {'F', copy.name}}), 2, body = grow(g, 'F', 2));
		text_add(b, "  let %s = %s\n  for k in 0..%d { %s = tanh(%s) * (0.5 + k) }\n", h, copy.name, turns, h, body);
		add_item(g, h, 'F', copy.shape)->tagged = true;
		break;
	}
	case 1:
		text_add(b, "  let %s = %s\n  if B0 > %d { %s = %s } else { %s = %s }\n", h, copy.name, roll(&g->dice, 70), h,
		         grow(g, 'F', 2), h, grow(g, 'F', 1));
		add_item(g, h, 'F', copy.shape)->tagged = true;
		break;
	case 2: {
		bool stacked = one_in(&g->dice, 2);
		Shape s = copy.shape;
		if (shape_count(g, s) * turns > MAX_COUNT || (!stacked && s.size[s.rank - 1].batch) || s.rank == RANKS) return;
		text_add(b, "  let %ss = []\n  for k in 0..%d { %ss = append(%ss, %s * (k + 1)) }\n", h, turns, h, h, copy.name);
		text_add(b, "  let %s = %s(%ss)\n", h, stacked ? "stack" : "concat", h);
		if (stacked) {
			for (int k = s.rank++; k > 0; k--) s.size[k] = s.size[k - 1];
			s.size[0] = (Size){turns, false};
		} else {
			s.size[s.rank - 1].n *= turns;
		}
		add_item(g, h, 'F', s);
		break;
	}
	default: {
		if (!last_is_fixed(&copy) || !g->in_model) return;
		int n = copy.shape.size[copy.shape.rank - 1].n;
		text_add(b, "  let %s = %s\n  for n in [%d, %d] { %s = %s |> dense(n) |> %s }\n", h, copy.name, random_size(g), n, h, h,
		         CHOOSE(g, "relu", "tanh", "sigmoid", "gelu"));
		add_item(g, h, 'F', copy.shape)->tagged = true;
		g->nparams += 4;
	}
	}
}

static void state_statement(Generator *g) {
	Item *i = pick_item(g, "F", 1, 2);
	if (!i || !g->in_model || g->smooth) return;
	Item copy = *i;
	Shape s = {0};
	for (int k = 0; k < copy.shape.rank; k++)
		if (!copy.shape.size[k].batch) s.size[s.rank++] = copy.shape.size[k];
	if (s.rank != copy.shape.rank - 1 || !copy.shape.size[0].batch) return;
	const char *name = new_name(g, "s");
	text_add(&g->body, "  state %s: %s = %s\n", name, s.rank ? shape_source(g, s) : "f32", CHOOSE(g, "0", "1"));
	text_add(&g->body, "  %s <- 0.9 * %s + 0.1 * %s(%s, axis = 0)\n", name, name, CHOOSE(g, "mean", "max"), copy.name);
	add_item(g, name, 'F', s);
}

static void random_statement(Generator *g) {
	if (g->items.length > ITEMS - 10) return;
	switch (g->in_model ? roll(&g->more, 40) : 4 + roll(&g->more, 20)) {
	case 0: pooling_statement(g); return;
	case 1: typed_product_statement(g); return;
	case 2: own_layer_statement(g); return;
	case 3: own_function_statement(g); return;
	case 4: filled_statement(g); return;
	default: break;
	}
	switch (roll(&g->dice, 40)) {
	case 0: case 1: case 2: case 3: case 4: pointwise_statement(g); break;
	case 5: case 6: dense_statement(g); break;
	case 7: matmul_statement(g); break;
	case 8: case 9: reduce_statement(g); break;
	case 10: softmax_statement(g); break;
	case 11: case 12: reshape_statement(g); break;
	case 13: case 14: case 15: view_statement(g); break;
	case 16: static_statement(g); break;
	case 17: state_statement(g); break;
	case 18: case 19: gather_statement(g); break;
	case 20: case 21: case 22: case 23: case 24: sequence_statement(g); break;
	case 25: case 26: case 27: scan_statement(g); break;
	case 28: case 29: case 30: layer_statement(g); break;
	case 31: case 32: typed_statement(g); break;
	case 33: chance_statement(g); break;
	case 34: grad_statement(g); break;
	default: indexed_statement(g);
	}
}

/* ---- one template at one place, by turns, so that a thousand programs meet every pair ---- */

/* The same shape, other elements: parts of the last axis changed about, or the axis turned round. */
static const char *moved(Generator *g, const Item *i) {
	int last = i->shape.rank - 1, n = i->shape.size[last].n;
	const char *dots = last ? ".., " : "", *x = i->name;
	switch (roll(&g->dice, n > 1 ? 4 : 2)) {
	case 0: return arena_printf(g->arena, "flip(%s, axis = %d)", x, last);
	case 1: return arena_printf(g->arena, "pad(%s, 1, -1, value = 0.5, axis = %d)", x, last);
	case 2: return arena_printf(g->arena, "concat(%s[%s1..%d], %s[%s0..1])", x, dots, n, x, dots);
	default: return arena_printf(g->arena, "%s[%s-1..%d | 0]", x, dots, n - 1);
	}
}

/* A product whose left side is an expression of a field that nothing else reads: it is computed while it is packed. */
static void packed_statement(Generator *g, int t) {
	const Item *field = &g->items.data[0];
	Shape s = field->shape;
	if (!g->in_model || s.rank < 2 || !last_is_fixed(field)) return;
	Size k = s.size[s.rank - 1];
	s.size[s.rank - 1].n = 2 + roll(&g->dice, 60);
	if (shape_count(g, s) > MAX_COUNT || shape_count(g, s) * k.n > MAX_LOOP) return;
	const char *left, *w = new_param(g, (Shape){.rank = 2, .size = {k, s.size[s.rank - 1]}});
	Atom atoms[] = {{'F', field->name}, {'F', moved(g, field)}};
	g->force = t;
	WITH_ATOMS(g, atoms, 1 + one_in(&g->dice, 3), left = grow(g, 'F', one_in(&g->dice, 4)));
	bind_item(g, arena_printf(g->arena, "(%s) @ %s", left, w), 'F', s);
}

static void directed_statement(Generator *g, uint64_t seed) {
	int t = (int)(seed % (uint64_t)template_count), place = (int)(seed / (uint64_t)template_count % 8);
	Item *i = pick_item(g, "F", 2, 3);
	if (place == 5) {
		packed_statement(g, t);
		return;
	}
	if (!i || !last_is_fixed(i)) return;
	Item source = *i;
	if (place == 3) {   /* after a reduction */
		Shape s = without(source.shape, 1u << (source.shape.rank - 1));
		const char *what = CHOOSE(g, "sum", "mean", "max", "min", "logsumexp", "prod");
		source = *bind_item(g, arena_printf(g->arena, "%s(%s, axis = -1)", what, source.name), 'F', s);
	}
	if (place == 4) {   /* after a contract */
		Shape s = with_last(source.shape, random_size(g)),
		      ws = {.rank = 2, .size = {source.shape.size[source.shape.rank - 1], s.size[s.rank - 1]}};
		if (!g->in_model || shape_count(g, s) > MAX_COUNT) return;
		const char *w = new_param(g, ws);
		source = *bind_item(g, arena_printf(g->arena, "%s @ %s", source.name, w), 'F', s);
	}
	if (place == 6) source = *bind_item(g, arena_printf(g->arena, "cumsum(%s, axis = 0)", source.name), 'F', source.shape);
	set_anchor(g, &source);
	if (one_in(&g->dice, 3) && last_is_fixed(&source) && g->in_model) {   /* something moved beside it */
		Shape s = {.rank = 1, .size = {source.shape.size[source.shape.rank - 1]}};
		Item *other = one_in(&g->dice, 2) ? add_item(g, new_param(g, s), 'F', s) : &source;
		bind_item(g, moved(g, other), 'F', other->shape)->tagged = true;
	}
	g->force = t;
	const char *value = grow(g, template_result(t), 1 + roll(&g->dice, 2));
	char kind = template_result(t);
	if ((place == 1 || place == 2) && kind != 'C') {   /* inside a reduction over a column, over the last axis */
		int axis = place == 1 ? 0 : source.shape.rank - 1;
		const char *what =
		    kind == 'F' ? CHOOSE(g, "sum", "mean", "max", "min", "logsumexp", "prod") : CHOOSE(g, "sum", "max", "min");
		bind_item(g, arena_printf(g->arena, kind == 'F' ? "%s(%s, axis = %d)" : "%s(%s, axis = %d) as i32", what, value, axis),
		     kind == 'F' ? 'F' : 'I', without(source.shape, 1u << axis));
	} else if (place == 7) {   /* inside a running sum, or before an order */
		if (kind == 'C') value = converted(g, value, 'C', 'F'), kind = 'F';
		bool sorts = one_in(&g->dice, 3);
		int axis = roll(&g->dice, source.shape.rank);
		value = arena_printf(g->arena, "%s(%s, axis = %d)", sorts ? "argsort" : "cumsum", value, axis);
		Item *y = bind_item(g, value, sorts ? 'I' : kind, source.shape);
		if (sorts && !source.shape.size[axis].batch) y->classes = source.shape.size[axis].n;
	} else {
		bind_item(g, value, kind, source.shape);
	}
}

/* ---- the program ---- */

const char *kind_type(char kind) {
	switch (kind) {
	case 'F': return "";
	case 'D': return "f64";
	case 'H': return "f16";
	case 'X': return "bf16";
	case 'I': return "i32";
	case 'S': return "i8";
	case 'U': return "u8";
	default: return "bool";
	}
}

static const char *item_type(Generator *g, const Item *i) {
	const char *dtype = kind_type(i->kind), *shape = shape_source(g, i->shape);
	if (i->kind == 'F' && !i->shape.rank) return "f32";
	return arena_printf(g->arena, "%s%s", dtype, shape);
}

/* Arguments of the model are fields of the data. */
static const char *write_fields(Generator *g, Text *call) {
	Text parameters = {.arena = g->arena};
	int n = 1 + roll(&g->dice, g->small ? 2 : 3);
	for (int k = 0; k < n; k++) {
		const char *name = new_name(g, "x");
		char kind = "FFFUICSDHX"[k ? roll(&g->dice, 10) : 0];
		Shape s = {.rank = 1 + roll(&g->dice, 3) + (k == 0), .size = {{1, true}}};
		for (int a = 1; a < s.rank; a++) {
			int most = s.rank > 3 ? 9 : 17;
			s.size[a] = (Size){s.rank > 2 ? 1 + roll(&g->dice, most) : random_size(g), false};
		}
		Shape sample = {.rank = s.rank - 1};
		memcpy(sample.size, s.size + 1, sizeof *s.size * (RANKS - 1));
		int classes = kind == 'I' && one_in(&g->dice, 2) ? 2 + roll(&g->dice, 30) : 0;
		const char *type = classes ? arena_printf(g->arena, "class[%d]", classes) : kind == 'F' ? "f32" : kind_type(kind);
		text_add(&g->fields, "  %s: %s%s = npy(\"%s.npy\")\n", name, type, shape_source(g, sample), name);
		text_add(&parameters, "%s%s: %s%s", k ? ", " : "", name, type, shape_source(g, s));
		text_add(call, "%s%s", k ? ", " : "", name);
		add_item(g, name, kind, s)->classes = classes;
	}
	return parameters.data;
}

/* What nothing used yet must reach an output: a few as they are, the others as their means. */
static int write_results(Generator *g, Item *results, int most) {
	int n = 0, nrest = 0;
	Text rest = {.arena = g->arena};
	for (int i = g->items.length - 1; i >= 0; i--) {
		Item *x = &g->items.data[i];
		if (x->used && !(n == 0 && i == 0)) continue;
		bool has_type = x->kind != 'C' || x->shape.rank;   /* a bare `bool` is a static one */
		if (has_type && n < most - 1 && (n == 0 || roll(&g->dice, 3)) &&
		    (x->name[0] == 'v' || x->name[0] == 'y' || x->name[0] == 'h')) {
			results[n++] = *x;
			continue;
		}
		const char *value = x->kind == 'F' ? x->name : arena_printf(g->arena, "%s as f32", x->name);
		text_add(&rest, "%smean(%s)", nrest++ ? " + " : "", value);
	}
	if (nrest) {
		text_add(&g->body, "  let rest = %s\n", rest.data);
		results[n++] = (Item){.name = "rest", .kind = 'F'};
	}
	text_add(&g->body, "  return ");
	for (int i = 0; i < n; i++) text_add(&g->body, "%s%s", i ? ", " : "", results[i].name);
	text_add(&g->body, "\n");
	return n;
}

/* A second model, without a batch or parameters: whole arrays. */
static const char *write_whole(const Generator *outer, uint64_t seed) {
	Generator part = {.arena = outer->arena,
	                  .dice = {hash_mix(seed + 99)},
	                  .more = {hash_mix(seed ^ 0x4d0f)},
	                  .batch = 1,
	                  .smooth = outer->smooth,
	                  .force = -1,
	                  .body = {.arena = outer->arena}},
	          *g = &part;
	room_for_items(g);
	Text text = {.arena = g->arena}, head = {.arena = g->arena};
	for (int k = 0; k < 2; k++) {
		Shape s = {.rank = 1 + roll(&g->dice, 3)};
		for (int a = 0; a < s.rank; a++) s.size[a] = (Size){s.rank > 2 ? 1 + roll(&g->dice, 20) : random_size(g), false};
		Item *i = add_item(g, new_name(g, "x"), k ? "FIUC"[roll(&g->dice, 4)] : 'F', s);
		text_add(&head, "%s%s: %s", k ? ", " : "", i->name, item_type(g, i));
	}
	int n = 2 + roll(&g->dice, 5);
	for (int k = 0; k < n; k++) random_statement(g);
	Item results[4];
	int count = write_results(g, results, 4);
	text_add(&text, "model whole(%s) -> ", head.data);
	for (int i = 0; i < count; i++) text_add(&text, "%so%d: %s", i ? ", " : "", i, item_type(g, &results[i]));
	text_add(&text, " {\n%s}\n", g->body.data);
	return text.data;
}

const char *fuzz_program(Arena *arena, uint64_t seed) {
	Generator part = {.arena = arena, .dice = {hash_mix(seed)}, .more = {hash_mix(seed ^ 0x30fe)}, .force = -1, .in_model = true,
	                  .small = is_small(seed), .smooth = is_smooth(seed)},
	          *g = &part;
	room_for_items(g);
	Text *texts[] = {&g->declarations, &g->fields, &g->body, &g->train};
	for (int i = 0; i < (int)COUNT(texts); i++) texts[i]->arena = arena, text_add(texts[i], "%s", "");
	g->batch = one_in(&g->dice, 4) ? 1 + roll(&g->dice, 4) : random_size(g);
	write_functions(g);
	Text call = {.arena = arena}, text = {.arena = arena};
	const char *parameters = write_fields(g, &call);
	if (!g->small || one_in(&g->dice, 2)) dense_statement(g);
	int statements = 1 + roll(&g->dice, g->small ? 3 : one_in(&g->dice, 4) ? 16 : 7), directed = roll(&g->dice, statements);
	for (int i = 0; i < statements; i++) {
		if (i == directed) directed_statement(g, seed);
		else random_statement(g);
	}
	/* a parameter at least, whatever was drawn */
	const char *scale = new_param(g, (Shape){0});
	Item *last = pick_item(g, "F", 0, RANKS);
	if (!last) last = &g->items.data[0];
	last->used = true;
	bind_item(g, arena_printf(arena, "%s * %s", last->name, scale), 'F', last->shape);
	Item results[4];
	int n = write_results(g, results, g->small ? 2 : 4);
	Text types = {.arena = arena};
	for (int i = 0; i < n; i++) text_add(&types, n > 1 ? "%so%d: %s" : "%.0s%.0d%s", i ? ", " : "", i, item_type(g, &results[i]));
	text_add(&g->train, "  let ");
	for (int i = 0; i < n; i++) text_add(&g->train, "%so%d", i ? ", " : "", i);
	text_add(&g->train, " = net(%s)\n", call.data);
	write_optimizer(g);
	write_train(g, results, n, call.data);
	text_add(&text, "const B0 = %d\n%sdata d {\n%s}\n", 1 + roll(&g->dice, 70), g->declarations.data, g->fields.data);
	text_add(&text, "model net(%s) -> %s {\n%s}\n", parameters, types.data, g->body.data);
	if (one_in(&g->dice, 3)) text_add(&text, "%s", write_whole(g, seed));
	text_add(&text, "train {\n  data = d; batch = %d\n%s}\n", g->batch, g->train.data);
	return text.data;
}
