/* test_unfold.c: what pass_unfold makes of folds: the same numbers, and no fold where there should be none.
 * link: nnc_passes nnc_ir */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "passes.h"

static uint64_t state = 1;
static int pick(int low, int high) { return low + (int)(hash_mix(state++) % (uint64_t)(high - low + 1)); }

static Tensor random_tensor(Arena *arena, Type t) {
	double *data = NEW_ARRAY(arena, double, type_count(t));
	for (int64_t i = 0; i < type_count(t); i++) data[i] = (double)pick(-1000, 1000) / 256;
	return (Tensor){t, data};
}

static int count_op(const Fn *f, Op op) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) n += f->vals.data[i]->op == op;
	return n;
}

static void expect_equal(Arena *arena, Fn *f, int folds, const char *name) {
	Fn *g = pass_unfold(f);
	fn_verify(g, "unfold");
	if (count_op(g, OpFold) != folds) fail_msg("%s: %d folds are left, %d should be", name, count_op(g, OpFold), folds);
	Tensor in[8], a[1], b[1];
	for (int i = 0; i < f->inputs.length; i++) in[i] = random_tensor(arena, f->inputs.data[i].type);
	fn_eval(arena, f, EVAL_F64, in, a);
	fn_eval(arena, g, EVAL_F64, in, b);
	assert_true(type_equal(a[0].type, b[0].type));
	for (int64_t i = 0; i < type_count(a[0].type); i++) {
		double x = ((double *)a[0].data)[i], y = ((double *)b[0].data)[i];
		if (fabs(x - y) > 1e-9) fail_msg("%s: element %lld is %g, was %g", name, (long long)i, y, x);
	}
}

/* dx of a convolution: fold of fold of a contract of the cotangent (either operand) and the taps. */
static void convolutions(void **unused) {
	(void)unused;
	for (int round = 0; round < 200; round++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "dx");
		int b = pick(1, 3), n1 = pick(1, 7), n2 = pick(1, 7), r1 = pick(1, 4), r2 = pick(1, 4), c = pick(1, 3), o = pick(1, 3);
		int dilation = pick(1, 3), stride = round % 4 == 3 ? pick(2, 4) : 1, more = pick(0, 2);
		Val *g = fn_input(f, "g", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){b, n1, n2, o}));
		Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){r1, r2, c, o}));
		int64_t lg[] = {0, 1, 2, 3}, lw[] = {4, 5, 6, 3}, ly[] = {0, 1, 4, 2, 5, 6};
		Val *y = round & 1 ? ir_contract(f, w, lw, g, lg, 6, ly) : ir_contract(f, g, lg, w, lw, 6, ly);
		y = ir_fold(f, y, 1, (n1 - 1) * stride + (r1 - 1) * dilation + 1 + more, stride, dilation);
		y = ir_fold(f, y, 2, (n2 - 1) * stride + (r2 - 1) * dilation + 1, stride, dilation);
		fn_output(f, "dx", y, -1);
		expect_equal(arena, fn_canonical(f), 0, "convolution");
		arena_free(arena);
	}
}

/* The cotangent of a padded image is wanted without its border: no product is larger than what is wanted. */
static void borders(void **unused) {
	(void)unused;
	for (int round = 0; round < 60; round++) {
		int n = pick(3, 9), taps = pick(2, 4), stride = round % 2 ? pick(2, 3) : 1, lo = pick(0, 3), hi = pick(0, 3);
		int total = (n - 1) * stride + taps;
		if (lo + hi >= total || lo + hi == 0) continue;
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "dx");
		Val *g = fn_input(f, "g", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){2, n, n, 3}));
		Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){taps, taps, 2, 3}));
		Val *y = ir_contract(f, g, (int64_t[]){0, 1, 2, 3}, w, (int64_t[]){4, 5, 6, 3}, 6, (int64_t[]){0, 1, 4, 2, 5, 6});
		y = ir_fold(f, ir_fold(f, y, 1, total, stride, 1), 2, total, stride, 1);
		int64_t size = total - lo - hi;
		y = ir_slice(f, y, (int64_t[]){0, lo, lo, 0}, (int64_t[]){2, size, size, 2}, NULL);
		fn_output(f, "dx", y, -1);
		f = fn_canonical(f);
		expect_equal(arena, f, 0, "borders");
		Fn *unfolded = pass_unfold(f);
		for (int i = 0; i < unfolded->vals.length; i++) {
			const Val *v = unfolded->vals.data[i];
			int64_t most = (size + stride - 1) / stride;
			if (taps > stride && v->op == OpContract && (v->type.dim[1] != most || v->type.dim[2] != most))
				fail_msg("a border is computed");
		}
		arena_free(arena);
	}
}

/* Pooling: windows side by side, or with gaps. */
static void pieces(void **unused) {
	(void)unused;
	for (int round = 0; round < 30; round++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "pieces");
		int n = pick(1, 5), size = pick(1, 4), stride = size + pick(0, 2), more = pick(0, 3);
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){2, n, size, 3}));
		fn_output(f, "y", ir_fold(f, x, 1, (n - 1) * stride + size + more, stride, 1), -1);
		expect_equal(arena, fn_canonical(f), 0, "pieces");
		arena_free(arena);
	}
}

/* What overlaps and is no product stays. */
static void others(void **unused) {
	(void)unused;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "others");
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){5, 3, 2}));
	fn_output(f, "y", ir_fold(f, x, 0, 7, 1, 1), -1);
	expect_equal(arena, fn_canonical(f), 1, "sum of windows");
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(convolutions), cmocka_unit_test(borders), cmocka_unit_test(pieces),
	                                   cmocka_unit_test(others)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
