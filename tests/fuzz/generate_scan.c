/* generate_scan.c: loops that run with the program: carries of items' shapes, whole numbers among them; rows of items before, at
 * and behind the step; products, reductions, random numbers, states, derivatives and loops in the body; what is emitted. */
#include "generate.h"

#include <string.h>

enum { BODY_ATOMS = 12 };
static const char letters[] = "ijkm";

typedef struct Loop {
	Generator *g;
	Text body;
	const char *index;
	int turns;
	Shape shape;            /* of the carry */
	Atom atoms[BODY_ATOMS]; /* of that shape */
	int natoms;
} Loop;

static void add_atom(Loop *l, char kind, const char *text) {
	if (l->natoms < BODY_ATOMS) l->atoms[l->natoms++] = (Atom){kind, text};
}

/* The axes' letters, with `at` before axis `axis` (or instead of it). */
static const char *subscripts(Generator *g, int rank, int axis, const char *at, bool instead) {
	Text t = {.arena = g->arena};
	text_add(&t, "%s", "");
	for (int i = 0; i <= rank - instead; i++) {
		const char *comma = i ? ", " : "";
		if (i == axis) text_add(&t, "%s%s", comma, at);
		else text_add(&t, "%s%c", comma, letters[i > axis ? i - 1 : i]);
	}
	return t.data;
}

static const char *left_side(Generator *g, Shape s, bool sizes) {
	Text t = {.arena = g->arena};
	text_add(&t, "%s", s.rank ? "[" : "");
	for (int i = 0; i < s.rank; i++) {
		text_add(&t, "%s%c", i ? ", " : "", letters[i]);
		if (sizes && !s.size[i].batch) text_add(&t, " < %d", s.size[i].n);
	}
	text_add(&t, "%s", s.rank ? "]" : "");
	return t.data;
}

/* The row of `x` that the step says, as a name of the body. */
static const char *row_of(Loop *l, const Item *x, int axis) {
	Generator *g = l->g;
	int n = x->shape.size[axis].n;
	const char *t = l->index, *at = t, *outside = "";
	bool window = false;
	switch (roll(&g->dice, 7)) {
	case 0: at = arena_printf(g->arena, "%d - %s", n - 1, t); break;
	case 1: at = arena_printf(g->arena, "%s - 1", t), outside = " | 0"; break;
	case 2: at = arena_printf(g->arena, "%s + %d", t, 1 + roll(&g->dice, 2)), outside = " | 0.5"; break;
	case 3: at = arena_printf(g->arena, "2 * %s", t), outside = " | -0.25"; break;
	case 4: at = arena_printf(g->arena, "%s + r - 1", t), outside = " | 0", window = true; break;
	default: break;
	}
	const char *name = new_name(g, "r"), *subs = subscripts(g, x->shape.rank, axis, at, true);
	Shape s = without(x->shape, 1u << axis);
	text_add(&l->body, window ? "    let %s%s = sum[r < 3](%s[%s%s] * (r + 1))\n" : "    let %s%s = %s[%s%s]\n", name,
	         left_side(g, s, window), x->name, subs, outside);
	return name;
}

/* "zeros(B, 3)" of the carry's shape, or a number. */
static const char *filled(const Loop *l, const char *what) {
	if (!l->shape.rank) return what[0] == 'z' ? "0" : "1";
	return arena_printf(l->g->arena, "%s(%s)", what, sizes_source(l->g, l->shape));
}

/* A new value for carry h, of its shape. */
static const char *next_value(Loop *l, const char *h) {
	Generator *g = l->g;
	Dice *d = &g->dice;
	const char *value;
	int rank = l->shape.rank, axis = rank ? roll(d, rank) : 0;
	WITH_ATOMS(g, l->atoms, l->natoms, value = grow(g, 'F', 1 + roll(d, 2)));
	Arena *a = g->arena;
	switch (roll(d, 12)) {
	case 0: return arena_printf(a, "tanh(%s) * 0.5 + %s * 0.4", value, h);
	case 1: return rank ? arena_printf(a, "%s * 0.3 + softmax(%s * 2, axis = %d)", h, value, axis) : value;
	case 2: return rank ? arena_printf(a, "0.1 * cumsum(%s, axis = %d) + tanh(%s)", h, axis, value) : value;
	case 3: return arena_printf(a, "tanh(%s) + 0.5 * %s(%s)", value, CHOOSE(g, "mean", "max", "sum"), h);
	case 4: /* downhill */ return arena_printf(a, "%s - 0.1 * grad(sum(tanh(%s * (%s))), %s)", h, h, value, h);
	case 5: return rank ? arena_printf(a, "sin(%s) + 0.1 * normal(dims(%s))", value, h) : value;
	case 6: return rank ? arena_printf(a, "dropout(tanh(%s), 0.3) + 0.2 * %s", value, h) : value;
	case 7: return rank ? arena_printf(a, "flip(%s, axis = %d) * 0.6 + tanh(%s)", h, axis, value) : value;
	case 8: return arena_printf(a, "where(%s > 0, tanh(%s), %s)", h, value, h);
	default: return arena_printf(a, "tanh(%s) + 0.3 * %s", value, h);
	}
}

/* Products of the row and of the carry with weights: `w` and `u` were declared before. */
static const char *recurrent_value(Loop *l, const char *row, const char *w, const char *h, const char *u) {
	const char *value;
	WITH_ATOMS(l->g, l->atoms, l->natoms, value = grow(l->g, 'F', 1));
	return arena_printf(l->g->arena, "tanh(%s @ %s + %s @ %s) + 0.1 * tanh(%s)", row, w, h, u, value);
}

static void emit(Loop *l, const char *value, Shape s, bool first_kind) {
	Generator *g = l->g;
	if (s.rank == RANKS || shape_count(g, s) * l->turns > MAX_COUNT) return;
	int axis = roll(&g->dice, s.rank + 1);
	const char *name = new_name(g, "y");
	Shape stacked = {.rank = s.rank + 1};
	for (int i = 0; i < stacked.rank; i++) stacked.size[i] = i == axis ? (Size){l->turns, false} : s.size[i > axis ? i - 1 : i];
	const char *right = s.rank ? arena_printf(g->arena, "%s%s", value, left_side(g, s, false)) : value;
	text_add(&l->body, "    emit %s[%s] = %s%s\n", name, subscripts(g, s.rank, axis, l->index, false), right,
	         first_kind ? "" : " * 0.5");
	add_item(g, name, 'F', stacked)->tagged = true;
}

/* A loop in the loop: a few turns with a carry of its own. */
static void inner_loop(Loop *l, const char *h) {
	Generator *g = l->g;
	const char *e = new_name(g, "e"), *value;
	add_atom(l, 'F', e);
	WITH_ATOMS(g, l->atoms, l->natoms, value = grow(g, 'F', 1));
	text_add(&l->body, "    scan q < %d %scarry %s = %s {\n", 1 + roll(&g->dice, 4), one_in(&g->dice, 3) ? "reversed " : "", e,
	         h);
	text_add(&l->body, "      %s = tanh(%s) * (0.5 + 0.1 * q) + 0.3 * %s\n    }\n", e, value, e);
}

static void count_carry(Loop *l, const char *n, int rows, const char *table) {
	Generator *g = l->g;
	text_add(&l->body, "    %s = %s\n", n,
	         arena_printf(g->arena, CHOOSE(g, "%s * 3 + %s", "(%s + %s) %% 7", "max(%s, 2 * %s)"), n, l->index));
	if (!table) {
		add_atom(l, 'I', l->shape.rank ? arena_printf(g->arena, "(%s as i32 + %s)", filled(l, "zeros"), n) : n);
		return;
	}
	const char *row = new_name(g, "r");
	text_add(&l->body, "    let %s[i] = %s[%s %% %d, i]\n", row, table, n, rows);
	text_add(&l->body, "    let %sw = %s + zeros(%s)\n", row, row, sizes_source(g, l->shape));
	add_atom(l, 'F', arena_printf(g->arena, "%sw", row));
}

static int loop_axis(Generator *g, const Item *x) {
	int axis = roll(&g->dice, x->shape.rank);
	return x->shape.size[axis].batch ? -1 : axis;
}

/* What the carry begins with: a constant, or an item of its shape. */
static const char *first_value(Loop *l) {
	Generator *g = l->g;
	const char *from = filled(l, CHOOSE(g, "zeros", "ones"));
	for (int tries = 0; tries < 6; tries++) {
		Item *s = &g->items.data[roll(&g->dice, g->items.length)];
		if (s->kind == 'F' && shape_same(s->shape, l->shape) && one_in(&g->dice, 2)) from = s->name, s->used = true;
	}
	return from;
}

/* Carries h, perhaps c of the same shape and a whole number n; with weights w and u the row is of another size than h. */
typedef struct Names {
	const char *h, *c, *n, *w, *u, *table, *state, *q;
	char kind;               /* of q, a carry of h's shape that is not f32 */
} Names;

/* A carry of another type, computed from h; the carries read it. */
static void choose_other(Loop *l, Names *v) {
	Generator *g = l->g;
	if (g->smooth || roll(&g->more, 4)) return;
	v->kind = "IIXXHDCCSU"[roll(&g->more, 10)];
	if (v->kind == 'C' && !l->shape.rank) v->kind = 'X';   /* a bare `bool` is a static one */
	v->q = new_name(g, "q");
	const char *q = v->q;
	if (v->kind == 'I' || v->kind == 'C' || v->kind == 'U') add_atom(l, v->kind, q);
	else add_atom(l, 'F', arena_printf(g->arena, v->kind == 'S' ? "((%s as f32) / 50)" : "(%s as f32)", q));
}

static const char *other_value(Loop *l, const Names *v) {
	Generator *g = l->g;
	Arena *a = g->arena;
	const char *q = v->q, *h = v->h, *type = kind_type(v->kind);
	switch (v->kind) {
	case 'I': return arena_printf(a, CHOOSE_MORE(g, "%s * 3 + ((%s * 5) as i32)", "(%s + ((%s * 9) as i32)) %% 11",
	                                             "max(%s // 2, (%s * 40) as i32)"), q, h);
	case 'C': return arena_printf(a, CHOOSE_MORE(g, "(%s and (%s > 0)) or (%s < -0.25)", "%s != (%s > 0.1 * %s)"), q, h, h);
	case 'S':
	case 'U': return arena_printf(a, CHOOSE_MORE(g, "%s + ((%s * 50) as %s)", "max(%s // 2, (%s * 60) as %s)"), q, h, type);
	default: return arena_printf(a, CHOOSE_MORE(g, "%s * 0.5 + (%s as %s)", "max(%s, %s as %s) * 0.75", "(%s - (%s as %s)) / 2"),
	                             q, h, type);
	}
}

static void emit_other(Loop *l, const Names *v) {
	Generator *g = l->g;
	Shape s = l->shape;
	if (s.rank == RANKS || shape_count(g, s) * l->turns > MAX_COUNT) return;
	int axis = roll(&g->more, s.rank + 1);
	Shape stacked = {.rank = s.rank + 1};
	for (int i = 0; i < stacked.rank; i++) stacked.size[i] = i == axis ? (Size){l->turns, false} : s.size[i > axis ? i - 1 : i];
	const char *name = new_name(g, "y");
	const char *left = subscripts(g, s.rank, axis, l->index, false);
	text_add(&l->body, "    emit %s[%s] = %s%s\n", name, left, v->q, left_side(g, s, false));
	add_item(g, name, v->kind, stacked);
}

/* What stands before the loop.  false: it would be too much. */
static bool prepare(Loop *l, Names *v) {
	Generator *g = l->g;
	Dice *d = &g->dice;
	int last = l->shape.rank - 1;
	bool fixed = last >= 0 && !l->shape.size[last].batch;
	v->h = new_name(g, "h");
	v->n = one_in(d, 4) ? new_name(g, "n") : NULL;
	v->c = one_in(d, 4) ? new_name(g, "c") : NULL;
	if (g->in_model && fixed && l->shape.rank <= 2 && one_in(d, 2)) {
		Size from = l->shape.size[last], to = {1 + roll(d, 33), false};
		l->shape.size[last] = to;
		v->w = new_param(g, (Shape){2, {from, to}}), v->u = new_param(g, (Shape){2, {to, to}});
	}
	if (shape_count(g, l->shape) * l->turns * (v->w ? 60 : 1) > MAX_LOOP) return false;
	if (v->n && g->in_model && fixed && one_in(d, 2)) v->table = new_param(g, (Shape){2, {{5, false}, l->shape.size[last]}});
	if (g->in_model && !g->smooth && fixed && one_in(d, 8)) {
		v->state = new_name(g, "s");
		text_add(&g->body, "  state %s: f32 = 0.5\n", v->state);
	}
	return true;
}

static void write_body(Loop *l, Names *v, const Item *x, int axis) {
	Generator *g = l->g;
	Dice *d = &g->dice;
	add_atom(l, 'F', v->h);
	if (v->c) add_atom(l, 'F', v->c);
	choose_other(l, v);
	const char *row = row_of(l, x, axis);
	if (!v->w) add_atom(l, 'F', row);
	if (one_in(d, 4)) {
		const char *more = row_of(l, x, axis);
		if (!v->w) add_atom(l, 'F', more);
	}
	if (v->n) count_carry(l, v->n, 5, v->table);
	if (v->state) {
		text_add(&l->body, "    %s <- 0.9 * %s + 0.1 * mean(%s)\n", v->state, v->state, v->h);
		add_item(g, v->state, 'F', (Shape){0});
	}
	if (one_in(d, 5)) inner_loop(l, v->h);
	text_add(&l->body, "    %s = %s\n", v->h, v->w ? recurrent_value(l, row, v->w, v->h, v->u) : next_value(l, v->h));
	if (v->c) {
		text_add(&l->body, "    %s = %s\n", v->c, next_value(l, v->c));
		add_item(g, v->c, 'F', l->shape)->tagged = true;
	}
	if (v->q) text_add(&l->body, "    %s = %s\n", v->q, other_value(l, v));
	if (v->q && one_in(&g->more, 2)) emit_other(l, v);
	if (one_in(d, 2)) emit(l, v->h, l->shape, true);
	if (one_in(d, 4)) emit(l, row, without(x->shape, 1u << axis), false);
}

/* No carries: what the steps emit depends on rows alone. */
static void map_statement(Generator *g) {
	Dice *d = &g->more;
	Item *i = pick_item(g, "F", 1, 3);
	int axis = i ? loop_axis(g, i) : -1;
	if (axis < 0) return;
	Item x = *i;
	Shape shape = without(x.shape, 1u << axis);
	Loop loop = {.g = g, .body = {.arena = g->arena}, .index = new_name(g, "s"), .shape = shape}, *l = &loop;
	int most = 1 + roll(d, 40);
	l->turns = MIN(x.shape.size[axis].n, most);
	if (shape_count(g, l->shape) * l->turns * 8 > MAX_LOOP || shape_count(g, l->shape) * l->turns > MAX_COUNT) return;
	for (int k = 0; k < 2; k++) add_atom(l, 'F', row_of(l, &x, axis));
	add_atom(l, 'I', l->shape.rank ? arena_printf(g->arena, "(%s as i32 + %s)", filled(l, "ones"), l->index) : l->index);
	int n = 1 + roll(d, 2);
	for (int k = 0; k < n; k++) {
		const char *form = CHOOSE_MORE(g, "%s", "%s", "tanh(%s) * 0.5", "softmax(%s * 2, axis = 0)");
		const char *name = new_name(g, "e"), *value;
		WITH_ATOMS(g, l->atoms, l->natoms, value = grow(g, 'F', 1 + roll(d, 2)));
		text_add(&l->body, "    let %s = ", name);
		text_add(&l->body, l->shape.rank ? form : "%s", value);
		text_add(&l->body, "\n");
		emit(l, name, l->shape, one_in(d, 2));
		add_atom(l, 'F', name);
	}
	text_add(&g->body, "  scan %s < %d %s{\n%s  }\n", l->index, l->turns, one_in(d, 3) ? "reversed " : "", l->body.data);
}

void scan_statement(Generator *g) {
	if (one_in(&g->more, 6)) {
		map_statement(g);
		return;
	}
	Dice *d = &g->dice;
	Item *i = pick_item(g, "F", 1, 3);
	int axis = i ? loop_axis(g, i) : -1, turns = 1 + roll(d, one_in(d, 4) ? 20 : 7);
	if (axis < 0) return;
	Item x = *i;
	Loop loop = {.g = g,
	             .body = {.arena = g->arena},
	             .index = new_name(g, "s"),
	             .turns = MIN(x.shape.size[axis].n, turns),
	             .shape = without(x.shape, 1u << axis)},
	     *l = &loop;
	Names v = {0};
	if (!prepare(l, &v)) return;
	const char *from = first_value(l);
	write_body(l, &v, &x, axis);
	text_add(&g->body, "  scan %s < %d %scarry %s = %s", l->index, l->turns, one_in(d, 3) ? "reversed " : "", v.h, from);
	if (v.c) text_add(&g->body, ", %s = %s", v.c, filled(l, CHOOSE(g, "zeros", "ones")));
	if (v.n) text_add(&g->body, ", %s = %d as i32", v.n, roll(d, 3));
	if (v.q) text_add(&g->body, ", %s = %s as %s", v.q, filled(l, CHOOSE_MORE(g, "zeros", "ones")), kind_type(v.kind));
	text_add(&g->body, " {\n%s  }\n", l->body.data);
	add_item(g, v.h, 'F', l->shape)->tagged = true;
	if (v.n) add_item(g, v.n, 'I', (Shape){0});
	if (v.q) add_item(g, v.q, v.kind, l->shape);
}
