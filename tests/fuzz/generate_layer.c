/* generate_layer.c: layers of the standard library, arithmetic in the other float types and bytes, random numbers, derivatives as
 * values. */
#include "generate.h"

#include <string.h>

/* ---- layers ---- */

/* [B, .., C] with fixed sizes after the batch. */
static bool is_batch(const Item *x) {
	bool ok = x->shape.rank > 1 && x->shape.size[0].batch && x->shape.size[0].n == 1;
	for (int i = 1; ok && i < x->shape.rank; i++) ok = !x->shape.size[i].batch;
	return ok;
}

/* A series or an image: an item that is one, or the elements of one as one. */
static bool choose_samples(Generator *g, int rank, Item *out) {
	Item *i = pick_item(g, "F", 2, RANKS);
	if (!i || !is_batch(i)) return false;
	*out = *i;
	if (i->shape.rank == rank) return true;
	int whole = 1, at = 1;
	Shape s = {.rank = rank, .size = {i->shape.size[0]}};
	for (int k = 1; k < i->shape.rank; k++) whole *= i->shape.size[k].n;
	for (; at < rank - 1; at++) {
		int n = 1 + roll(&g->dice, 9);
		while (whole % n) n--;
		s.size[at] = (Size){n, false};
		whole /= n;
	}
	s.size[at] = (Size){whole, false};
	Item source = *i;
	*out = *bind_item(g, arena_printf(g->arena, "reshape(%s, %s)", source.name, sizes_source(g, s)), 'F', s);
	out->tagged = source.tagged;
	return true;
}

typedef struct Place {
	int size, stride, pad, dilation, groups;
} Place;

static bool fits(const Place *p, int *n) {
	int room = *n + 2 * p->pad - (p->size - 1) * p->dilation - 1;
	if (room < 0) return false;
	*n = room / p->stride + 1;
	return true;
}

static const char *place_text(Generator *g, const Place *p) {
	Text t = {.arena = g->arena};
	text_add(&t, "%s", "");
	if (p->stride > 1) text_add(&t, ", stride = %d", p->stride);
	if (p->pad) text_add(&t, ", pad = %d", p->pad);
	if (p->dilation > 1) text_add(&t, ", dilation = %d", p->dilation);
	if (p->groups > 1) text_add(&t, ", groups = %d", p->groups);
	return t.data;
}

static void convolution(Generator *g, int rank) {
	Item x;
	Dice *d = &g->dice;
	if (!choose_samples(g, rank, &x)) return;
	Shape s = x.shape;
	int channels = s.size[rank - 1].n, n = 1 + roll(d, 24), taps = 1;
	Place p = {1 + roll(d, 3), 1 + one_in(d, 3), roll(d, 3), 1 + one_in(d, 4), 1};
	if (one_in(d, 3)) p.groups = channels % 2 == 0 ? 2 : channels % 3 == 0 ? 3 : 1;
	n = (n + p.groups - 1) / p.groups * p.groups;
	for (int k = 1; k < rank - 1; k++) {
		if (!fits(&p, &s.size[k].n)) return;
		taps *= p.size;
	}
	const char *value;
	if (rank == 4 && one_in(d, 4)) {
		p.groups = 1;
		int more = 1 + roll(d, 2);
		s.size[3].n = channels * more;
		value = arena_printf(g->arena, "depthwise_conv2d(%s, %d%s, multiplier = %d)", x.name, p.size, place_text(g, &p), more);
		channels = 1;
	} else {
		s.size[rank - 1].n = n;
		value = arena_printf(g->arena, "%s(%s, %d, %d%s)", rank == 4 ? "conv2d" : "conv1d", x.name, n, p.size, place_text(g, &p));
		channels /= p.groups;
	}
	if (shape_count(g, s) > MAX_COUNT || shape_count(g, s) * taps * channels > MAX_LOOP) return;
	bind_item(g, value, 'F', s);
	g->nparams += 2;
}

static void transposed_convolution(Generator *g) {
	Item x;
	Dice *d = &g->dice;
	if (!choose_samples(g, 4, &x)) return;
	Shape s = x.shape;
	int channels = s.size[3].n, n = 1 + roll(d, 12);
	Place p = {1 + roll(d, 3), 1 + roll(d, 3), roll(d, 2), 1, 1};
	for (int k = 1; k < 3; k++) {
		s.size[k].n = (s.size[k].n - 1) * p.stride + p.size - 2 * p.pad;
		if (s.size[k].n < 1) return;
	}
	s.size[3].n = n;
	if (shape_count(g, s) > MAX_COUNT || shape_count(g, s) * p.size * p.size * channels > MAX_LOOP) return;
	bind_item(g, arena_printf(g->arena, "conv_transpose2d(%s, %d, %d%s)", x.name, n, p.size, place_text(g, &p)), 'F', s);
	g->nparams += 2;
}

/* ceil(n / stride) windows, or those that fit into it with `pad` (-1: "same") before and behind. */
static bool pooled(Size *s, int size, int stride, int pad) {
	int room = s->n + 2 * pad - size;
	s->n = pad < 0 ? (s->n + stride - 1) / stride : room / stride + 1;
	return pad < 0 || room >= 0;
}

/* Windows of any size and stride, apart or overlapping, and not the same both ways. */
static bool any_pooling(Generator *g, const char *what, const char *value, Shape s) {
	Dice *d = &g->more;
	int rank = s.rank, size[2], stride[2], pad[2], n = rank - 2;
	bool equal = n == 1 || one_in(d, 3), same = one_in(d, 4);
	for (int k = 0; k < n; k++) {
		size[k] = k && equal ? size[0] : 1 + roll(d, one_in(d, 3) ? 9 : 4);
		stride[k] = k && equal ? stride[0] : 1 + roll(d, 5);
		pad[k] = same ? -1 : k && equal ? pad[0] : roll(d, size[k] / 2 + 1);
		if (!pooled(&s.size[k + 1], size[k], stride[k], pad[k])) return false;
	}
	const char *count = what[0] == 'a' && one_in(d, 3) ? ", count_pad = true" : "";
	Text t = {.arena = g->arena};
	if (equal) text_add(&t, "%s_pool(%s, %d, stride = %d", what, value, size[0], stride[0]);
	else text_add(&t, "%s_pool(%s, [%d, %d], stride = [%d, %d]", what, value, size[0], size[1], stride[0], stride[1]);
	if (same) text_add(&t, ", pad = \"same\"");
	else if (equal) text_add(&t, ", pad = %d", pad[0]);
	else text_add(&t, ", pad = [%d, %d]", pad[0], pad[1]);
	text_add(&t, "%s)", count);
	bind_item(g, t.data, 'F', s);
	return true;
}

/* Of few different numbers, so that several are the largest. */
void pooling_statement(Generator *g) {
	Item x;
	Dice *d = &g->dice;
	int rank = 3 + roll(d, 2);
	if (!choose_samples(g, rank, &x)) return;
	Shape s = x.shape;
	const char *ties = CHOOSE(g, "%s", "relu(%s)", "round(%s)", "max(%s, 0.25)");
	const char *value = arena_printf(g->arena, ties, x.name), *what = CHOOSE(g, "max", "max", "avg");
	Place p = {1 + roll(d, 3), 1 + roll(d, 3), 0, 1, 1};
	if (roll(&g->more, 3) && any_pooling(g, what, value, s)) return;
	if (p.size > 1 && one_in(d, 3)) p.pad = 1;
	for (int k = 1; k < rank - 1; k++)
		if (p.pad * 2 > p.size || !fits(&p, &s.size[k].n)) return;
	if (one_in(d, 6)) {
		bind_item(g, arena_printf(g->arena, "global_%s_pool(%s)", what, value), 'F',
		          (Shape){.rank = 2, .size = {s.size[0], s.size[rank - 1]}});
		return;
	}
	const char *text = place_text(g, &p);
	if (p.stride == 1) text = arena_printf(g->arena, ", stride = 1%s", text);
	bind_item(g, arena_printf(g->arena, "%s_pool(%s, %d%s)", what, value, p.size, text), 'F', s);
}

static void normalisation(Generator *g) {
	Item *i = pick_item(g, "F", 2, RANKS);
	if (!i || !is_batch(i)) return;
	int channels = i->shape.size[i->shape.rank - 1].n, groups = channels % 2 ? 1 : 2;
	const char *what = CHOOSE(g, "layer_norm", "rms_norm", "batch_norm", "group_norm");
	if (what[0] == 'b' && g->smooth) what = "layer_norm";
	const char *more =
	    what[0] == 'g' ? arena_printf(g->arena, ", groups = %d", groups) : CHOOSE(g, "", ", eps = 0.1", ", scale = false");
	bind_item(g, arena_printf(g->arena, "%s(%s%s)", what, i->name, more), 'F', i->shape);
	g->nparams += 2;
}

static void recurrence(Generator *g) {
	Item x;
	Dice *d = &g->dice;
	if (!choose_samples(g, 3, &x)) return;
	Shape s = x.shape;
	int n = 1 + roll(d, 12), k = s.size[2].n;
	s.size[2].n = n;
	if (shape_count(g, s) * (k + n) * 4 > MAX_LOOP || s.size[1].n > 24) return;
	const char *more = CHOOSE(g, "", "", ", reversed = true", ", bias = false", ", act = sigmoid");
	bind_item(g, arena_printf(g->arena, "%s(%s, %d%s)", CHOOSE(g, "rnn", "lstm", "gru"), x.name, n, more), 'F', s);
	g->nparams += 3;
}

static void attention(Generator *g) {
	Item x;
	if (!choose_samples(g, 3, &x)) return;
	int c = x.shape.size[2].n, heads = c % 4 == 0 ? 4 : c % 2 == 0 ? 2 : 1;
	int64_t pairs = shape_count(g, x.shape) * x.shape.size[1].n;
	if (pairs > MAX_LOOP || shape_count(g, x.shape) * c * 4 > MAX_LOOP || pairs / c * heads > MAX_COUNT) return;
	const char *more = CHOOSE(g, "", ", causal = true", ", causal = true, rate = 0.2");
	bind_item(g, arena_printf(g->arena, "attention(%s, %d%s)", x.name, heads, more), 'F', x.shape);
	g->nparams += 4;
}

static void embedding(Generator *g) {
	Item *i = pick_item(g, "IU", 1, 3);
	if (!i) return;
	Shape s = i->shape;
	int size = 1 + roll(&g->dice, 20), n = i->classes ? i->classes : 1 + roll(&g->dice, 60);
	s.size[s.rank++] = (Size){size, false};
	if (shape_count(g, s) > MAX_COUNT) return;
	const char *rows = i->classes ? i->name : arena_printf(g->arena, "(%s %% %d)", i->name, n);
	bind_item(g, arena_printf(g->arena, "embedding(%s, %d, %d)", rows, n, size), 'F', s);
	g->nparams++;
}

void layer_statement(Generator *g) {
	if (!g->in_model) return;
	switch (roll(&g->dice, 9)) {
	case 0: convolution(g, 3); break;
	case 1:
	case 2: convolution(g, 4); break;
	case 3: transposed_convolution(g); break;
	case 4: pooling_statement(g); break;
	case 5: normalisation(g); break;
	case 6: recurrence(g); break;
	case 7: attention(g); break;
	default: embedding(g);
	}
}

/* ---- other types ---- */

/* What sums: over an axis, along it, or as a product with a vector or a matrix of the same type. */
static void typed_sum(Generator *g, const Item *x, const char *value) {
	int last = x->shape.rank - 1, axis = roll(&g->dice, x->shape.rank), form = roll(&g->dice, 6);
	Shape s = x->shape;
	Size k = s.size[last];
	if (form < 2) {
		const char *what = CHOOSE(g, "sum", "max", "min", "prod", "mean");
		if (x->kind == 'S' && what[1] == 'e') what = "sum";
		value = arena_printf(g->arena, "%s(%s, axis = %d)", what, value, axis);
		bind_item(g, value, x->kind, without(s, 1u << axis));
	} else if (form == 2) {
		bind_item(g, arena_printf(g->arena, "cumsum(%s, axis = %d)", value, axis), x->kind, s);
	} else if (form == 3) {
		bind_item(g, arena_printf(g->arena, "argsort(%s, axis = %d)", value, axis), 'I', s);
		if (!s.size[axis].batch) g->items.data[g->items.length - 1].classes = s.size[axis].n;
	} else if (x->kind == 'S' || !g->in_model || !last_is_fixed(x)) {
		return;
	} else if (form == 4) {
		const char *w = typed_param(g, x->kind, (Shape){1, {k}});
		bind_item(g, arena_printf(g->arena, "(%s) @ %s", value, w), x->kind, without(s, 1u << last));
	} else {
		s = with_last(s, 1 + roll(&g->dice, 33));
		if (shape_count(g, s) > MAX_COUNT || shape_count(g, s) * k.n > MAX_LOOP) return;
		const char *w = typed_param(g, x->kind, (Shape){2, {k, s.size[last]}});
		bind_item(g, arena_printf(g->arena, "(%s) @ %s", value, w), x->kind, s);
	}
}

void typed_statement(Generator *g) {
	Item *i = pick_item(g, one_in(&g->dice, 2) ? "DHXS" : "F", 1, 3);
	if (!i) i = pick_item(g, "F", 1, 3);
	if (!i) return;
	Item x = *i;
	if (x.kind == 'F') {
		char kind = "DHXS"[roll(&g->dice, 4)];
		x = *bind_item(g, converted(g, x.name, 'F', kind), kind, x.shape);
		g->items.data[g->items.length - 1].used = true;
	}
	const char *value = grow_from(g, &x, 1 + roll(&g->dice, 2));
	if (x.kind == 'S')
		value = arena_printf(g->arena, CHOOSE(g, "%s", "(%s * 3)", "(-%s)", "abs(%s)", "max(%s, 5)", "(%s // 3)"), value);
	if (one_in(&g->dice, 3)) {
		typed_sum(g, &x, value);
		return;
	}
	if (x.kind != 'S' && g->in_model && last_is_fixed(&x) && one_in(&g->more, 3)) {   /* something of the last axis beside it */
		const char *w = typed_param(g, x.kind, (Shape){1, {x.shape.size[x.shape.rank - 1]}});
		value = arena_printf(g->arena, CHOOSE_MORE(g, "%s * %s", "%s + %s", "max(%s, %s)"), value, w);
	}
	bind_item(g, value, x.kind, x.shape);
}

void typed_product_statement(Generator *g) {
	Item *i = pick_item(g, one_in(&g->more, 2) ? "DHX" : "F", 1, 3);
	if (!i || !last_is_fixed(i)) return;
	Item x = *i;
	if (x.kind == 'F') {
		char kind = g->typed ? g->typed : "DHX"[roll(&g->more, 3)];
		x = *bind_item(g, converted(g, x.name, 'F', kind), kind, x.shape);
		g->items.data[g->items.length - 1].used = true;
	}
	Size k = x.shape.size[x.shape.rank - 1];
	Shape s = with_last(x.shape, 1 + roll(&g->more, 40));
	if (shape_count(g, s) > MAX_COUNT || shape_count(g, s) * k.n > MAX_LOOP) return;
	const char *w = typed_param(g, x.kind, (Shape){2, {k, s.size[s.rank - 1]}});
	bind_item(g, arena_printf(g->arena, "%s @ %s", x.name, w), x.kind, s);
}

/* ---- random numbers ---- */

void chance_statement(Generator *g) {
	Item *i = pick_item(g, "F", 1, RANKS);
	if (!i) return;
	const char *x = i->name;
	Arena *a = g->arena;
	const char *value;
	switch (roll(&g->dice, 6)) {
	case 0: value = arena_printf(a, "%s + 0.1 * normal(dims(%s))", x, x); break;
	case 1: value = arena_printf(a, "%s * uniform(dims(%s), 0.5, 1.5)", x, x); break;
	case 2: value = arena_printf(a, "where(bernoulli(0.3, dims(%s)), %s, 0)", x, x); break;
	case 3: value = arena_printf(a, "%s + uniform([%s], -1, 1)", x, sizes_source(g, i->shape)); break;
	case 4: value = arena_printf(a, "(bernoulli(sigmoid(%s + 0), dims(%s)) as f32) * %s", x, x, x); break;
	default: value = arena_printf(a, "dropout(%s, %s)", x, CHOOSE(g, "0.5", "0.1", "0.9"));
	}
	bind_item(g, value, 'F', i->shape);
}

/* ---- derivatives ---- */

/* Derivatives by two values at once; the second scales the first. */
static void two_derivatives(Generator *g, const Item *x) {
	const char *z = new_name(g, "z"), *s = new_name(g, "z"), *a = new_name(g, "v"), *b = new_name(g, "v"), *value;
	text_add(&g->body, "  let %s = %s * 1\n  let %s = mean(%s) + 0.5\n", z, x->name, s, x->name);
	WITH_ATOMS(g, ((const Atom[]){{'F', z}, {'F', x->name}}), 2, value = grow(g, 'F', 2));
	text_add(&g->body, "  let %s, %s = grad(sum(tanh(%s * %s) * %s), %s, %s)\n", a, b, value, s, z, z, s);
	add_item(g, a, 'F', x->shape)->tagged = true;
	add_item(g, b, 'F', (Shape){0})->tagged = true;
}

/* The derivative of a function of an item by it; one in three, of that again. */
void grad_statement(Generator *g) {
	Item *i = pick_item(g, "F", 1, 3);
	if (!i || shape_count(g, i->shape) > 4000) return;
	Item x = *i;
	if (one_in(&g->more, 3)) {
		two_derivatives(g, &x);
		return;
	}
	const char *z = new_name(g, "z"), *value;
	text_add(&g->body, "  let %s = %s * 1\n", z, x.name);
	Item at = {.name = z, .kind = 'F', .shape = x.shape};
	set_anchor(g, &at);
	int axis = roll(&g->dice, x.shape.rank);
	const char *along =
	    CHOOSE(g, "%s", "cumsum(%s, axis = %d)", "logsumexp(%s, axis = %d)", "max(%s, axis = %d)", "flip(%s, axis = %d)");
	WITH_ATOMS(g, ((const Atom[]){{'F', z}, {'F', x.name}}), 2, value = grow(g, 'F', 1 + roll(&g->dice, 2)));
	value = arena_printf(g->arena, "tanh(%s) * %s", value, z);
	value = arena_printf(g->arena, along, value, axis);
	value = arena_printf(g->arena, "grad(sum(%s), %s)", value, z);
	if (one_in(&g->dice, 3)) {
		const char *first = new_name(g, "d");
		text_add(&g->body, "  let %s = %s\n", first, value);
		value = arena_printf(g->arena, "grad(sum(%s * %s * %s), %s)", first, first, z, z);
	}
	bind_item(g, value, 'F', x.shape);
}
