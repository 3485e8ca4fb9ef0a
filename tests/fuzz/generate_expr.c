/* generate_expr.c: element-wise expressions from templates.
 *
 * In a template A is a float of the whole shape, B one of the whole shape or of a suffix of it (or a number), N a number,
 * I and J integers, K a positive whole number, U a u8, C and D bools, R the float type; everything else is copied. */
#include "generate.h"

#include <string.h>

typedef struct Template { char result; const char *text; } Template;

static const Template templates[] = {
    {'F', "(-A)"},
    {'F', "abs(A)"},
    {'F', "sign(A)"},
    {'F', "floor(3 * A)"},
    {'F', "round(2 * A)"},
    {'F', "exp(-abs(A))"},
    {'F', "exp(0.2 * A)"},
    {'F', "expm1(0.1 * A)"},
    {'F', "log(abs(A) + 0.3)"},
    {'F', "log1p(abs(A))"},
    {'F', "sqrt(abs(A) + 0.2)"},
    {'F', "tanh(A)"},
    {'F', "erf(A)"},
    {'F', "sin(A)"},
    {'F', "cos(A)"},
    {'F', "stop_gradient(A)"},
    {'F', "(A + B)"},
    {'F', "(A - B)"},
    {'F', "(A * B)"},
    {'F', "(A * tanh(A))"},
    {'F', "(A / (abs(A) + 0.5))"},
    {'F', "(A / N)"},
    {'F', "(N / (1 + A * A))"},
    {'F', "pow(abs(A) + 0.1, 0.5 + tanh(A))"},
    {'F', "((abs(A) + 0.2) ^ 1.5)"},
    {'F', "atan2(A, 1 + abs(A))"},
    {'F', "atan2(B, A)"},
    {'F', "max(A, B)"},
    {'F', "min(A, B)"},
    {'F', "where(C, A, B)"},
    {'F', "where(C, A, 0)"},
    {'F', "where(C, N, A)"},
    {'F', "(I as R)"},
    {'F', "((U as R) / 255)"},
    {'F', "(C as R)"},
    {'F', "relu(A)"},
    {'F', "sigmoid(A + 0)"},
    {'F', "gelu(A)"},
    {'F', "silu(A)"},
    {'F', "softplus(A)"},
    {'F', "leaky_relu(A)"},
    {'F', "elu(A, 0.7)"},
    {'F', "hard_sigmoid(A)"},
    {'F', "gelu_tanh(A)"},
    {'F', "(A ^ 2)"},
    {'F', "(0.3 * A ^ 3)"},
    {'F', "((abs(A) + 0.5) ^ -1)"},
    {'F', "((abs(A) + 0.1) ^ 0.5)"},
    {'F', "max(A, min(N, A), B)"},
    {'F', "(A - stop_gradient(A))"},
    {'F', "(A + A * N)"},
    {'F', "(if K > 4 { A } else { A })"},
    {'F', "(A * (1 - 0.5 / (step + epoch)))"},
    {'F', "sin(pi * A)"},
    {'I', "((4 * A) as i32)"},
    {'I', "(I + J)"},
    {'I', "(I - J)"},
    {'I', "(I * J)"},
    {'I', "(I // J)"},
    {'I', "(I % J)"},
    {'I', "(I // K)"},
    {'I', "(I % K)"},
    {'I', "(-I)"},
    {'I', "abs(I)"},
    {'I', "sign(I)"},
    {'I', "max(I, J)"},
    {'I', "min(I, K)"},
    {'I', "where(C, I, J)"},
    {'I', "((I as i8) as i32)"},
    {'I', "(U as i32)"},
    {'I', "(C as i32)"},
    {'I', "(U + I)"},
    {'I', "(K - I)"},
    {'U', "((60 * abs(A)) as u8)"},
    {'U', "(I as u8)"},
    {'U', "max(U, 7)"},
    {'U', "(U // 3)"},
    {'U', "(U + U)"},
    {'U', "where(C, U, 3)"},
    {'U', "(C as u8)"},
    {'C', "(A < B)"},
    {'C', "(A <= N)"},
    {'C', "(A == B)"},
    {'C', "(A != N)"},
    {'C', "(A > B)"},
    {'C', "(A >= A)"},
    {'C', "(I < J)"},
    {'C', "(I == K)"},
    {'C', "(I <= K)"},
    {'C', "(U > 100)"},
    {'C', "(C and D)"},
    {'C', "(C or D)"},
    {'C', "(not C)"},
    {'C', "(C == D)"},
    {'C', "where(C, D, A < 0)"},
    {'C', "(I as bool)"},
    {'C', "((I % 2) != 0)"},
    {'C', "(A as bool)"},
};
const int template_count = COUNT(templates);

char template_result(int t) { return templates[t].result; }
bool template_kind(int t, char kind) { return templates[t].result == kind; }

static const char *number(Generator *g) {
	static const char *const numbers[] = {"0.5", "-0.25", "1.5", "0.1", "2", "3", "-1", "0.75", "1e-3", "0.3333", "1", "0.7"};
	return numbers[roll(&g->dice, COUNT(numbers))];
}

static bool is_real(char kind) { return strchr("FDHX", kind) != NULL; }
static const char *real_type(const Generator *g) { return g->real ? kind_type(g->real) : "f32"; }

/* From one kind to another, by the shortest way; F is the float kind of the expression. */
const char *converted(Generator *g, const char *text, char from, char to) {
	Arena *a = g->arena;
	if (from == to) return text;
	switch (to) {
	case 'F':
		if (is_real(from)) return arena_printf(a, "(%s as %s)", text, real_type(g));
		if (from == 'C' && g->real) return arena_printf(a, "(%s as %s)", text, real_type(g));
		return from == 'C' ? arena_printf(a, "where(%s, %s, -0.5)", text, "1.25")
		                   : arena_printf(a, "((%s as %s) / %s)", text, real_type(g), from == 'U' ? "255" : "8");
	case 'I':
		/* difference quotients want few stairs: the product of a row may be anything */
		if (g->smooth && is_real(from)) return arena_printf(a, "((tanh(%s) * 9) as i32)", text);
		return arena_printf(a, is_real(from) ? "((%s * 5) as i32)" : "(%s as i32)", text);
	case 'U':
		if (g->smooth && is_real(from)) return arena_printf(a, "((abs(tanh(%s)) * 50) as u8)", text);
		return arena_printf(a, is_real(from) ? "((abs(%s) * 50) as u8)" : "(%s as u8)", text);
	case 'C': return arena_printf(a, is_real(from) ? "(%s > 0.1)" : "(%s > 2)", text);
	default: return arena_printf(a, is_real(from) && to == 'S' ? "((%s * 50) as %s)" : "(%s as %s)", text, kind_type(to));
	}
}

/* What the expression may not have where derivatives are compared with differences. */
static bool is_barred(const Generator *g, int t) { return g->smooth && strstr(templates[t].text, "stop_gradient"); }

static const char *leaf(Generator *g, char kind) {
	if (g->atoms) {
		const Atom *l = NULL;
		for (int tries = 0; tries < 4 && (!l || l->kind != kind); tries++) l = &g->atoms[roll(&g->dice, g->natoms)];
		return converted(g, l->text, l->kind, kind);
	}
	for (int tries = 0; tries < 6 && !one_in(&g->dice, 3); tries++) {
		Item *i = &g->items.data[g->items.length - 1 - roll(&g->dice, MIN(g->items.length, 16))];
		if (!shape_same(i->shape, g->shape) || (i->kind != kind && tries < 4)) continue;
		i->used = true;
		return converted(g, i->name, i->kind, kind);
	}
	return converted(g, g->anchor->name, g->anchor->kind, kind);
}

/* The last `rank` sizes, when the batch is not among them. */
static bool suffix(Shape s, int rank, Shape *out) {
	*out = (Shape){.rank = rank};
	for (int i = 0; i < rank; i++) {
		out->size[i] = s.size[s.rank - rank + i];
		if (out->size[i].batch) return false;
	}
	return true;
}

/* An operand that may be smaller: an item that is a suffix, or a new parameter. */
static const char *smaller(Generator *g, int depth) {
	if (g->atoms || !g->shape.rank || one_in(&g->dice, 3)) return grow(g, 'F', depth);
	if (one_in(&g->dice, 3)) return number(g);
	for (int tries = 0; tries < 6; tries++) {
		Item *i = &g->items.data[roll(&g->dice, g->items.length)];
		bool fits = i->kind == 'F' && i->shape.rank < g->shape.rank;
		for (int k = 0; fits && k < i->shape.rank; k++)
			fits = size_same(i->shape.size[k], g->shape.size[g->shape.rank - i->shape.rank + k]);
		if (!fits) continue;
		i->used = true;
		return i->name;
	}
	Shape s;
	if (!g->in_model || g->nparams > 8 || !suffix(g->shape, roll(&g->dice, g->shape.rank + 1), &s)) return grow(g, 'F', depth);
	return new_param(g, s);
}

static void expand(Generator *g, Text *out, const char *text, int depth) {
	for (const char *p = text; *p; p++) {
		switch (*p) {
		case 'A': text_add(out, "%s", grow(g, 'F', depth)); break;
		case 'B': text_add(out, "%s", smaller(g, depth)); break;
		case 'N': text_add(out, "%s", number(g)); break;
		case 'R': text_add(out, "%s", real_type(g)); break;
		case 'I': case 'J': text_add(out, "%s", grow(g, 'I', depth)); break;
		case 'K': text_add(out, "%d", 1 + roll(&g->dice, 9)); break;
		case 'U': text_add(out, "%s", grow(g, 'U', depth)); break;
		case 'C': case 'D': text_add(out, "%s", grow(g, 'C', depth)); break;
		default: text_add(out, "%c", *p);
		}
	}
}

const char *grow(Generator *g, char kind, int depth) {
	int t = g->force;
	g->force = -1;
	if (t >= 0 && is_barred(g, t)) t = -1;
	if (t < 0) {
		if (depth <= 0) return leaf(g, kind);
		if (kind == 'F' && !g->real && g->fns1.length && one_in(&g->dice, 12)) {
			bool two = g->fns2.length && one_in(&g->dice, 2);
			const char *a = grow(g, 'F', depth - 1), *b = two ? grow(g, 'F', depth - 1) : NULL;
			return two ? arena_printf(g->arena, "%s(%s, %s)", g->fns2.data[roll(&g->dice, g->fns2.length)], a, b)
			           : arena_printf(g->arena, "%s(%s)", g->fns1.data[roll(&g->dice, g->fns1.length)], a);
		}
		do t = roll(&g->dice, template_count);
		while (templates[t].result != kind || is_barred(g, t));
	}
	Text out = {.arena = g->arena};
	expand(g, &out, templates[t].text, depth - 1);
	return converted(g, out.data, templates[t].result, kind);
}

const char *grow_from(Generator *g, const Item *x, int depth) {
	const char *text;
	set_anchor(g, x);
	if (x->kind == 'F') return grow(g, 'F', depth);
	if (!is_real(x->kind)) return x->kind == 'S' ? x->name : grow(g, x->kind, depth);
	g->real = x->kind;
	WITH_ATOMS(g, ((const Atom[]){{'F', x->name}}), 1, text = grow(g, 'F', depth));
	g->real = 0;
	return text;
}
