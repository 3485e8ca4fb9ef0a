/* generate_sequence.c: windows and what is done with them, elements by number, sums along an axis, sorted orders: as built-in
 * functions and as indexed definitions. */
#include "generate.h"

#include <string.h>

static const char other[] = "kmnpq"; /* variables of the axes that nothing happens to */

/* An axis of a fixed size, or -1. */
static int fixed_axis(Generator *g, const Item *x) {
	int axis = roll(&g->dice, x->shape.rank);
	return x->shape.size[axis].batch ? -1 : axis;
}

/* An expression of the item's shape, mostly the item itself. */
static const char *operand(Generator *g, const Item *x) {
	set_anchor(g, x);
	return one_in(&g->dice, 2) || x->kind == 'C' ? x->name : grow_from(g, x, 1 + roll(&g->dice, 2));
}

static void along_statement(Generator *g) {
	bool sorts = one_in(&g->dice, 2);
	Item *i = pick_item(g, "FFFIU", 1, RANKS);
	if (!i) return;
	Item x = *i;
	int axis = roll(&g->dice, x.shape.rank);
	const char *value = operand(g, &x), *form = sorts && x.kind == 'F' && one_in(&g->dice, 2) ? "round(2 * %s)" : "%s";
	value = arena_printf(g->arena, form, value); /* ties */
	const char *at = axis == x.shape.rank - 1 && one_in(&g->dice, 2) ? "" : arena_printf(g->arena, ", axis = %d", axis);
	value = arena_printf(g->arena, "%s(%s%s)", sorts ? "argsort" : "cumsum", value, at);
	Item *y = bind_item(g, value, sorts ? 'I' : x.kind, x.shape);
	if (sorts && !x.shape.size[axis].batch) y->classes = x.shape.size[axis].n;
}

/* How many dims both begin with, at most. */
static int shared_dims(const Shape *a, const Shape *b) {
	int n = 0;
	while (n < a->rank && n < b->rank && size_same(a->size[n], b->size[n])) n++;
	return n;
}

static Shape joined(const Shape *a, int from_a, const Size *between, const Shape *b, int from_b) {
	Shape s = {0};
	for (int i = 0; i < from_a; i++) s.size[s.rank++] = a->size[i];
	if (between && s.rank < RANKS) s.size[s.rank++] = *between;
	for (int i = from_b; i < b->rank; i++)
		if (s.rank < RANKS) s.size[s.rank++] = b->size[i];
		else return (Shape){.rank = -1};
	return s;
}

static const char *batch_text(Generator *g, int batch) { return batch ? arena_printf(g->arena, ", batch = %d", batch) : ""; }

static void gather_call(Generator *g) {
	Item *table = pick_item(g, "FFFIUC", 1, RANKS), *index = pick_item(g, "IU", 1, 3);
	if (!table || !index) return;
	int most = MIN(shared_dims(&table->shape, &index->shape), table->shape.rank - 1), batch = roll(&g->dice, most + 1);
	Size n = table->shape.size[batch];
	Shape s = joined(&index->shape, index->shape.rank, NULL, &table->shape, batch + 1);
	if (s.rank < 1 || shape_count(g, s) > MAX_COUNT) return;
	const char *row = index->name;
	if ((index->classes && (index->classes > n.n || n.batch)) || one_in(&g->dice, 2))
		row = arena_printf(g->arena, CHOOSE(g, "(%s %% %d)", "(%s - %d)"), row, 1 + roll(&g->dice, n.n + 2));
	Item t = *table;
	const char *value = arena_printf(g->arena, "gather(%s, %s%s)", operand(g, &t), row, batch_text(g, batch));
	Item *y = bind_item(g, value, t.kind, s);
	y->tagged = true;
}

/* Rows added up at numbers: of another item whose dims are the first of the rows', or made of the rows. */
static void scatter_call(Generator *g) {
	Item *rows = pick_item(g, "FFFI", 1, RANKS);
	if (!rows) return;
	Item x = *rows;
	const char *index = NULL;
	int own = x.shape.rank, classes = 0;
	for (int tries = 0; tries < 8 && !index; tries++) {
		Item *i = &g->items.data[roll(&g->dice, g->items.length)];
		if (!strchr("IU", i->kind) || !i->shape.rank || shared_dims(&i->shape, &x.shape) < i->shape.rank) continue;
		index = i->name, own = i->shape.rank, classes = i->classes, i->used = true;
	}
	if (!index && x.kind == 'F' && x.shape.rank > 1 && one_in(&g->dice, 2))
		index = arena_printf(g->arena, "argmax(%s, axis = -1)", x.name), own--,
		classes = MAX(70, size_value(g, x.shape.size[own]));
	if (!index) index = arena_printf(g->arena, x.kind == 'F' ? "((2 * %s) as i32)" : "(%s %% 7)", x.name);
	Size n = {classes && one_in(&g->dice, 2) ? MAX(classes, 1) : random_size(g), false};
	if (classes > n.n || one_in(&g->dice, 3)) index = arena_printf(g->arena, "(%s - %d)", index, roll(&g->dice, 3));
	int batch = roll(&g->dice, own + 1);
	Shape s = joined(&x.shape, batch, &n, &x.shape, own);
	if (s.rank < 1 || batch + 1 + x.shape.rank - own > RANKS || shape_count(g, s) > MAX_COUNT) return;
	const char *value = arena_printf(g->arena, "scatter_add(%s, %s, %d%s)", operand(g, &x), index, n.n, batch_text(g, batch));
	bind_item(g, value, x.kind, s);
}

static void fold_call(Generator *g) {
	Item *i = pick_item(g, "FFFI", 2, RANKS);
	if (!i) return;
	Item x = *i;
	int axis = roll(&g->dice, x.shape.rank - 1);
	Size n = x.shape.size[axis], taps = x.shape.size[axis + 1];
	if (n.batch || taps.batch) return;
	int stride = 1 + roll(&g->dice, 4), dilation = one_in(&g->dice, 3) ? 1 + roll(&g->dice, 3) : 1;
	int total = (n.n - 1) * stride + (taps.n - 1) * dilation + 1, more = one_in(&g->dice, 3) ? roll(&g->dice, 5) : 0;
	Shape s = joined(&x.shape, axis, &(Size){total + more, false}, &x.shape, axis + 2);
	if (shape_count(g, s) > MAX_COUNT) return;
	Text text = {.arena = g->arena};
	text_add(&text, "fold(%s", operand(g, &x));
	if (stride > 1) text_add(&text, ", stride = %d", stride);
	if (dilation > 1) text_add(&text, ", dilation = %d", dilation);
	if (more) text_add(&text, ", total = %d", total + more);
	if (axis != s.rank - 1) text_add(&text, ", axis = %d", axis);
	text_add(&text, ")");
	bind_item(g, text.data, x.kind, s);
}

/* `x` subscripted by its axes' variables, but for axis `axis`. */
static const char *subscripted_at(Generator *g, const Item *x, int axis, const char *at, const char *outside) {
	Text text = {.arena = g->arena};
	text_add(&text, "%s[", x->name);
	for (int a = 0; a < x->shape.rank; a++)
		if (a == axis) text_add(&text, "%s%s", a ? ", " : "", at);
		else text_add(&text, "%s%c", a ? ", " : "", other[a]);
	text_add(&text, "%s]", outside);
	return text.data;
}

/* The left side: the axes' variables, with `places` for axis `axis`, and then `more`.  drop: an axis that is summed, or -1. */
static const char *left_side(Generator *g, const Item *x, int axis, const char *places, int drop, const char *more) {
	Text text = {.arena = g->arena};
	const char *comma = "";
	for (int a = 0; a < x->shape.rank; a++) {
		if (a == drop) continue;
		if (a == axis) text_add(&text, "%s%s", comma, places);
		else text_add(&text, x->shape.size[a].batch ? "%s%c" : "%s%c < %d", comma, other[a], x->shape.size[a].n);
		comma = ", ";
	}
	text_add(&text, "%s%s", *more ? comma : "", more);
	return text.data;
}

typedef struct Taps {
	int n, size, stride, dilation, before;
} Taps;

/* Windows over an axis of `length`; false: too short. */
static bool choose_taps(Generator *g, int length, Taps *t) {
	*t = (Taps){.size = 1 + roll(&g->dice, 4), .stride = 1 + roll(&g->dice, 3), .dilation = one_in(&g->dice, 4) ? 2 : 1};
	if (one_in(&g->dice, 2)) t->before = roll(&g->dice, t->size);
	int room = length + 2 * t->before - (t->size - 1) * t->dilation - 1;
	t->n = room < 0 ? 0 : room / t->stride + 1;
	return t->n > 0;
}

static const char *tap_subscript(Generator *g, const Taps *t) {
	Text text = {.arena = g->arena};
	if (t->stride > 1) text_add(&text, "%d * ", t->stride);
	text_add(&text, "i + ");
	if (t->dilation > 1) text_add(&text, "%d * ", t->dilation);
	text_add(&text, "r");
	if (t->before) text_add(&text, " - %d", t->before);
	return text.data;
}

static Item *bind_indexed(Generator *g, const char *left, const char *value, char kind, Shape s) {
	const char *name = new_name(g, "y");
	text_add(&g->body, "  let %s[%s] = %s\n", name, left, value);
	Item *y = add_item(g, name, kind, s);
	y->tagged = true;
	return y;
}

/* Windows themselves, reduced (a pooling), or multiplied with weights and summed over taps and perhaps the last axis (a
 * convolution). */
static void window_statement(Generator *g) {
	Item *i = pick_item(g, "F", 1, RANKS);
	int axis = i ? fixed_axis(g, i) : -1, last = i ? i->shape.rank - 1 : 0, form = roll(&g->dice, 4);
	Taps t;
	if (axis < 0 || !choose_taps(g, i->shape.size[axis].n, &t)) return;
	Item x = *i;
	Shape s = x.shape;
	s.size[axis].n = t.n;
	bool beyond = t.before > 0, mixes = form >= 2 && axis < last && !s.size[last].batch && one_in(&g->dice, 2);
	if (form >= 2 && !g->in_model) form = 1;
	const char *outside = beyond ? CHOOSE(g, " | 0", " | -0.5") : "", *what = CHOOSE(g, "sum", "max", "mean", "min", "prod");
	if (form == 1 && beyond && what[0] == 'm' && what[2] == 'x') outside = " | -inf";
	const char *window = subscripted_at(g, &x, axis, tap_subscript(g, &t), outside);
	const char *place = arena_printf(g->arena, "i < %d", t.n), *value;
	if (form == 0) {
		if (s.rank == RANKS || shape_count(g, s) * t.size > MAX_COUNT) return;
		s = joined(&s, axis + 1, &(Size){t.size, false}, &s, axis + 1);
		place = arena_printf(g->arena, "%s, r < %d", place, t.size);
		bind_indexed(g, left_side(g, &x, axis, place, -1, ""), window, 'F', s);
	} else if (form == 1) {
		value = arena_printf(g->arena, "%s[r < %d](%s)", what, t.size, window);
		bind_indexed(g, left_side(g, &x, axis, place, -1, ""), value, 'F', s);
	} else {
		Size taps = {t.size, false}, from = s.size[last], to = {1 + roll(&g->dice, 20), false};
		Shape ws = mixes ? (Shape){3, {taps, from, to}} : (Shape){1, {taps}};
		if (mixes) s.size[last] = to;
		if (shape_count(g, s) > MAX_COUNT || shape_count(g, s) * t.size * (mixes ? from.n : 1) > MAX_LOOP) return;
		const char *w = new_param(g, ws), *tap = one_in(&g->dice, 4) ? arena_printf(g->arena, "%d - r", t.size - 1) : "r";
		value = mixes ? arena_printf(g->arena, "sum[r < %d, %c](%s * %s[%s, %c, o])", t.size, other[last], window, w, tap,
		                             other[last])
		              : arena_printf(g->arena, "sum[r < %d](%s * %s[%s])", t.size, window, w, tap);
		const char *more = mixes ? arena_printf(g->arena, "o < %d", to.n) : "";
		bind_indexed(g, left_side(g, &x, axis, place, mixes ? last : -1, more), value, 'F', s);
	}
}

/* Elements spread over places `stride` apart, and weighted: a transposed convolution. */
static void spread_statement(Generator *g) {
	Item *i = pick_item(g, "F", 1, RANKS);
	int axis = i ? fixed_axis(g, i) : -1;
	if (axis < 0 || !g->in_model) return;
	Item x = *i;
	Shape s = x.shape;
	int stride = 1 + roll(&g->dice, 3), size = 1 + roll(&g->dice, 3);
	s.size[axis].n = (s.size[axis].n - 1) * stride + size;
	if (shape_count(g, s) > MAX_COUNT) return;
	const char *at = stride > 1 ? arena_printf(g->arena, "(i - r) / %d", stride) : "i - r";
	const char *w = new_param(g, (Shape){1, {{size, false}}}), *value = subscripted_at(g, &x, axis, at, " | 0");
	value = arena_printf(g->arena, "sum[r < %d](%s * %s[r])", size, value, w);
	bind_indexed(g, left_side(g, &x, axis, arena_printf(g->arena, "i < %d", s.size[axis].n), -1, ""), value, 'F', s);
}

/* Every element several times, or every q-th of what a subscript rounded down reads. */
static void repeat_statement(Generator *g) {
	Item *i = pick_item(g, "FFIU", 1, RANKS);
	int axis = i ? fixed_axis(g, i) : -1, q = 1 + roll(&g->dice, 4), before = one_in(&g->dice, 3) ? 1 + roll(&g->dice, q) : 0;
	if (axis < 0) return;
	Item x = *i;
	Shape s = x.shape;
	s.size[axis].n = s.size[axis].n * q + (before ? before : -roll(&g->dice, q));
	if (shape_count(g, s) > MAX_COUNT) return;
	const char *at = before ? arena_printf(g->arena, "(i - %d) // %d", before, q) : arena_printf(g->arena, "i // %d", q);
	const char *value = subscripted_at(g, &x, axis, at, before ? " | 1" : "");
	bind_indexed(g, left_side(g, &x, axis, arena_printf(g->arena, "i < %d", s.size[axis].n), -1, ""), value, x.kind, s);
}

void sequence_statement(Generator *g) {
	if (one_in(&g->more, 8)) {
		repeat_statement(g);
		return;
	}
	switch (roll(&g->dice, 8)) {
	case 0:
	case 1: along_statement(g); break;
	case 2: gather_call(g); break;
	case 3: scatter_call(g); break;
	case 4: fold_call(g); break;
	case 5: spread_statement(g); break;
	default: window_statement(g);
	}
}
