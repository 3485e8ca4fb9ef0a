/* generate_declared.c: the user's layers, and functions with static arguments, each declared for the statement that calls it:
 * layers in layers, functions as arguments, instances that are shared, several results, what the compiler decides. */
#include "generate.h"

#include <string.h>

static const char *grown(Generator *g, const Atom *atoms, int n, int depth) {
	const char *text;
	WITH_ATOMS(g, atoms, n, text = grow(g, 'F', depth));
	return text;
}

/* ---- layers ---- */

typedef struct OwnLayer { const char *name; bool state, two; } OwnLayer;

static OwnLayer declare_layer(Generator *g) {
	Dice *d = &g->more;
	Text *t = &g->declarations;
	OwnLayer l = {.name = new_name(g, "own"), .state = !g->smooth && one_in(d, 2), .two = one_in(d, 3)};
	Atom atoms[] = {{'F', "z"}, {'F', "y"}};
	text_add(t, "layer %s(x: [.., k], n: int, f: fn = %s) {\n", l.name, CHOOSE_MORE(g, "tanh", "relu", "gelu", "sigmoid"));
	text_add(t, "  assert n > 0 and len([k, n]) == 2, \"{n} of {k}\"\n  const least = %d\n", 1 + roll(d, 40));
	text_add(t, "  param w: [k, n] = %s\n  param s: [n] = 1\n",
	         CHOOSE_MORE(g, "glorot_uniform(shape)", "orthogonal(shape)", "he_normal(shape)", "full(0.1, shape)"));
	if (l.state) text_add(t, "  state m: [n] = 0\n");
	const char *inner = grown(g, atoms, 1, 1);
	text_add(t, "  let z = x @ w\n  let y = f(%s%s) * s\n", inner, may_be_tagged(inner) ? " + 0" : "");   /* f may want logits */
	if (l.state) text_add(t, one_in(d, 2) ? "  if training { %s }\n" : "  %s\n", "m <- 0.9 * m + 0.1 * tanh(mean(z))");
	if (one_in(d, 2)) text_add(t, "  if n > least { y = y + 0.2 * dense(x, n) } else { y = y - z }\n");
	if (one_in(d, 3)) text_add(t, "  for i in 0..2 { y = y + 0.1 * dense(y, n, bias = i == 1) }\n");
	text_add(t, "  return y%s%s\n}\n", l.state ? " + m" : "", l.two ? arena_printf(g->arena, ", %s", grown(g, atoms, 2, 1)) : "");
	return l;
}

/* "" or a function for the layer's argument f. */
static const char *argument(Generator *g) {
	if (g->fns1.length && one_in(&g->more, 3)) return arena_printf(g->arena, ", f = %s", g->fns1.data[0]);
	return CHOOSE_MORE(g, "", "", ", f = silu", ", softplus", ", f = leaky_relu");
}

void own_layer_statement(Generator *g) {
	Dice *d = &g->more;
	Item *i = pick_item(g, "F", 1, 3);
	if (!i || !last_is_fixed(i)) return;
	Item x = *i;
	int k = x.shape.size[x.shape.rank - 1].n, n = one_in(d, 2) ? k : 1 + roll(d, 40), form = roll(d, 3);
	Shape s = with_last(x.shape, n);
	if (shape_count(g, s) > MAX_COUNT || shape_count(g, s) * k > MAX_LOOP) return;
	OwnLayer l = declare_layer(g);
	const char *more = argument(g), *y = new_name(g, "v"), *z = new_name(g, "v"), *f = new_name(g, "f");
	g->nparams += 4;
	if (l.two) {
		text_add(&g->body, "  let %s, %s = %s(%s, %d%s)\n", y, z, l.name, x.name, n, more);
		add_item(g, z, 'F', s)->tagged = true;
	} else if (form == 0 && n == k) {
		text_add(&g->body, "  let %s = %s(_, %d%s)\n", f, l.name, n, more);
		text_add(&g->body, "  let %s = %s(tanh(%s(%s))) + 0.1 * sum(%s.w)\n", y, f, f, x.name, f);
	} else if (form == 1 && n == k) {
		text_add(&g->body, "  let %s = %s\n  for i in 1..%d { %s = %s |> %s(%d%s) }\n", y, x.name, 2 + roll(d, 2), y, y, l.name,
		         n, more);
	} else {
		text_add(&g->body, "  let %s = %s |> %s(%d%s)\n", y, x.name, l.name, n, more);
	}
	add_item(g, y, 'F', s)->tagged = true;
}

/* ---- functions ---- */

/* A loop and a condition that the compiler decides by a static argument; the results in either order. */
void own_function_statement(Generator *g) {
	Dice *d = &g->more;
	Item *i = pick_item(g, "F", 0, RANKS);
	if (!i) return;
	Item x = *i;
	const char *name = new_name(g, "fn"), *a = new_name(g, "v"), *b = new_name(g, "v");
	Atom atoms[] = {{'F', "a"}, {'F', "b"}, {'F', "x"}};
	Text *t = &g->declarations;
	text_add(t, "fn %s(x, n: int, part = %s) {\n  let a = %s\n  let b = x * part\n", name, CHOOSE_MORE(g, "0.5", "2", "-1"),
	         grown(g, &atoms[2], 1, 2));
	text_add(t, "  for i in 0..n { b = b * 0.5 + 0.1 * i * tanh(%s) }\n", grown(g, atoms, 3, 1));
	text_add(t, "  if n %% 2 == 0 { return a, b }\n  return b, a + x\n}\n");
	text_add(&g->body, "  let %s, %s = %s(%s, %d%s)\n", a, b, name, x.name, roll(d, 4), CHOOSE_MORE(g, "", ", part = 0.25"));
	add_item(g, a, 'F', x.shape)->tagged = true;
	add_item(g, b, 'F', x.shape)->tagged = true;
}

/* ---- constants ---- */

void filled_statement(Generator *g) {
	Dice *d = &g->more;
	Item *i = pick_item(g, "F", 1, RANKS);
	if (!i) return;
	Item x = *i;
	Arena *a = g->arena;
	bool fixed = last_is_fixed(&x);
	int n = x.shape.size[x.shape.rank - 1].n;
	const char *value;
	switch (roll(d, fixed ? 4 : 2)) {
	case 0: value = arena_printf(a, "%s - full(0.25, dims(%s))", x.name, x.name); break;
	case 1: value = arena_printf(a, "%s / (1 + len(%s))", x.name, x.name); break;
	case 2: value = arena_printf(a, "%s * (iota(%d) as f32 * 0.1 - 1)", x.name, n); break;
	default: value = arena_printf(a, "where(iota(%d) %% %d == 1, %s, -0.5)", n, 1 + roll(d, 4), x.name);
	}
	bind_item(g, value, 'F', x.shape);
}
