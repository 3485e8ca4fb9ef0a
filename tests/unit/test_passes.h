/* test_passes.h: what the tests of derivatives and rewrites share: random tensors, running a Fn, difference quotients. */
#ifndef NNC_TEST_PASSES_H
#define NNC_TEST_PASSES_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes.h"

#if defined __GNUC__
#define MAYBE_UNUSED __attribute__((unused))
#else
#define MAYBE_UNUSED
#endif

typedef struct Random { uint64_t state; } Random;
MAYBE_UNUSED static uint64_t random_bits(Random *r) { return hash_mix(r->state++); }
MAYBE_UNUSED static int random_below(Random *r, int n) { return (int)(random_bits(r) % (uint64_t)n); }
MAYBE_UNUSED static double random_real(Random *r, double lo, double hi) {
	return lo + (hi - lo) * (double)(random_bits(r) >> 11) / 9007199254740992.0;
}

/* Inputs of f as tensors of the mode, filled from `values` (one double array per input, in the input's own order). */
MAYBE_UNUSED static Tensor *tensors_of(Arena *arena, const Fn *f, EvalMode mode, double *const *values) {
	Tensor *t = NEW_ARRAY(arena, Tensor, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		Type type = f->inputs.data[i].type;
		int64_t n = type_count(type);
		t[i].type = type;
		t[i].data = arena_alloc(arena, 8 * (size_t)n);
		for (int64_t k = 0; k < n; k++) {
			if (!dtype_is_float(type.dtype)) ((int32_t *)t[i].data)[k] = (int32_t)values[i][k];
			else if (mode == EVAL_F64 || type.dtype == DTYPE_F64) ((double *)t[i].data)[k] = values[i][k];
			else ((float *)t[i].data)[k] = (float)values[i][k];
		}
	}
	return t;
}

MAYBE_UNUSED static double element(const Tensor *t, EvalMode mode, int64_t k) {
	if (!dtype_is_float(t->type.dtype)) return ((int32_t *)t->data)[k];
	return mode == EVAL_F64 || t->type.dtype == DTYPE_F64 ? ((double *)t->data)[k] : (double)((float *)t->data)[k];
}

MAYBE_UNUSED static Tensor *run(Arena *arena, const Fn *f, EvalMode mode, double *const *values) {
	Tensor *out = NEW_ARRAY(arena, Tensor, f->outputs.length + 1);
	fn_eval(arena, f, mode, tensors_of(arena, f, mode, values), out);
	return out;
}

/* The sum of all elements of a * b; b NULL: of a. */
MAYBE_UNUSED static Val *dot(Fn *f, Val *a, Val *b) {
	int64_t axes[MAX_RANK];
	for (int i = 0; i < MAX_RANK; i++) axes[i] = i;
	Val *x = b ? ir_Mul(f, a, b) : a;
	return ir_reduce(f, OpReduceSum, x, x->type.rank, axes);
}

/* A full float tensor, the same in every run, that makes every element of a result count differently. */
MAYBE_UNUSED static Val *weights_like(Fn *f, Val *a, double seed) {
	Val *w = ir_like(f, a, seed);
	Type ints = a->type;
	ints.dtype = DTYPE_I32;
	for (int i = 0; i < a->type.rank; i++) {
		Val *index = ir_cast(f, ir_iota(f, ints, i), a->type.dtype);
		w = ir_Add(f, w, ir_Mul(f, ir_Sin(f, ir_Add(f, index, ir_like(f, index, seed + i))), ir_like(f, index, 0.7)));
	}
	return w;
}

/* From a tensor y of the inputs x: a scalar, differentiated `order` times in turn by all of x (each derivative dotted
 * with weights and added up); outputs: that scalar after order - 1 derivatives, then its gradient by each x. */
MAYBE_UNUSED static void add_derivatives(Fn *f, Val *y, int n, Val **x, int order) {
	Val *loss = dtype_is_float(y->type.dtype) ? dot(f, y, weights_like(f, y, 0.9)) : ir_const(f, DTYPE_F32, 0);
	for (int o = 1; o < order; o++) {
		Val *sum = ir_const(f, loss->type.dtype, 0);
		for (int i = 0; i < n; i++) {
			Val *g = ir_grad(f, loss, x[i]);
			sum = ir_Add(f, sum, dot(f, g, weights_like(f, g, 0.3 + 0.2 * i)));
		}
		loss = sum;
	}
	fn_output(f, "loss", loss, -1);
	for (int i = 0; i < n; i++) fn_output(f, arena_printf(f->arena, "grad%d", i), ir_grad(f, loss, x[i]), -1);
}

MAYBE_UNUSED static double loss_at(Arena *arena, const Fn *f, double *const *values) {
	return element(run(arena, f, EVAL_F64, values), EVAL_F64, 0);
}

/* The central difference quotient of output 0 by element k of an input. */
MAYBE_UNUSED static double quotient_at(const Fn *f, double *const *values, int input, int64_t k, double h) {
	Arena *inner = arena_new();
	double x = values[input][k];
	values[input][k] = x + h;
	double above = loss_at(inner, f, values);
	values[input][k] = x - h;
	double below = loss_at(inner, f, values);
	values[input][k] = x;
	arena_free(inner);
	return (above - below) / (2 * h);
}

/* Output `output` against central differences of output 0 by input `input`: the largest difference, relative to the size of
 * the gradient and to the rounding of the quotient.  Several steps; the best of them counts, so that a kink near by does
 * not. */
MAYBE_UNUSED static double gradient_error(const Fn *f, int input, int output, double *const *values) {
	Arena *arena = arena_new();
	Tensor *out = run(arena, f, EVAL_F64, values);
	double loss = element(&out[0], EVAL_F64, 0), worst = 0;
	for (int64_t k = 0, count = type_count(f->inputs.data[input].type); k < count; k++) {
		double g = element(&out[output], EVAL_F64, k), best = INFINITY;
		for (double h = 1e-3; h > 1e-7 && best > 0; h /= 8) {
			double quotient = quotient_at(f, values, input, k, h), rounding = 4e-16 * (1 + fabs(loss)) / h;
			best = fmin(best, fmax(0, fabs(quotient - g) - 10 * rounding) / fmax(1, fabs(g)));
		}
		worst = isnan(g) ? INFINITY : fmax(worst, best);
	}
	arena_free(arena);
	return worst;
}

/* The same for the first n inputs, of which outputs 1 .. n are the gradients. */
MAYBE_UNUSED static double derivative_error(const Fn *f, int n, double *const *values) {
	double worst = 0;
	for (int i = 0; i < n; i++) worst = fmax(worst, gradient_error(f, i, 1 + i, values));
	return worst;
}

#endif
