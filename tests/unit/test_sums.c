/* test_sums.c: what pass_sums makes of sums over several axes: the same numbers, one sum for every 4096 terms.
 * link: nnc_passes nnc_ir */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "passes.h"

static int count_sums(const Fn *f) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) n += f->vals.data[i]->op == OpReduceSum;
	return n;
}

/* The sum of a tensor of these dims over these axes, which should be `expected` sums afterwards. */
static void expect_sums(int rank, const int64_t *dim, int naxes, const int64_t *axes, int expected) {
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "f");
	Type t = type_make(DTYPE_F32, rank, dim);
	Val *x = fn_input(f, "x", INPUT_DATA, t);
	fn_output(f, "y", ir_reduce(f, OpReduceSum, x, naxes, axes), -1);
	f = fn_canonical(f);
	Fn *g = pass_sums(f);
	fn_verify(g, "sums");
	assert_int_equal(count_sums(f), naxes);
	assert_int_equal(count_sums(g), expected);
	double *data = NEW_ARRAY(arena, double, type_count(t));
	for (int64_t i = 0; i < type_count(t); i++) data[i] = (double)(hash_mix((uint64_t)i) % 2001) / 256 - 4;
	Tensor in = {t, data}, a, b;
	fn_eval(arena, f, EVAL_F64, &in, &a);
	fn_eval(arena, g, EVAL_F64, &in, &b);
	assert_true(type_equal(a.type, b.type));
	for (int64_t i = 0; i < type_count(a.type); i++) assert_true(fabs(((double *)a.data)[i] - ((double *)b.data)[i]) < 1e-9);
	arena_free(arena);
}

static void axes_become_one(void **state) {
	(void)state;
	expect_sums(4, (int64_t[]){3, 5, 7, 2}, 3, (int64_t[]){0, 1, 2}, 1);
	expect_sums(4, (int64_t[]){3, 5, 7, 2}, 2, (int64_t[]){0, 2}, 1);   /* with one between */
	expect_sums(5, (int64_t[]){2, 3, 4, 5, 6}, 3, (int64_t[]){0, 2, 3}, 1);
}

/* 676 terms of an image make a block; with the batch they would be too many. */
static void blocks_stay_apart(void **state) {
	(void)state;
	expect_sums(4, (int64_t[]){16, 26, 26, 2}, 3, (int64_t[]){0, 1, 2}, 2);
	expect_sums(3, (int64_t[]){4097, 2, 3}, 2, (int64_t[]){0, 1}, 2);
	expect_sums(3, (int64_t[]){2048, 2, 3}, 2, (int64_t[]){0, 1}, 1);
}

/* Sums over the last axis are work on rows. */
static void last_axis_stays(void **state) {
	(void)state;
	expect_sums(2, (int64_t[]){6, 8}, 2, (int64_t[]){0, 1}, 2);
	expect_sums(4, (int64_t[]){2, 3, 4, 5}, 4, (int64_t[]){0, 1, 2, 3}, 4);
}

/* A sum that is read elsewhere is needed for itself. */
static void shared_sum_stays(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "f");
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){3, 4, 5}));
	Val *inner = ir_reduce(f, OpReduceSum, x, 1, (int64_t[]){1});
	fn_output(f, "inner", ir_Neg(f, inner), -1);
	fn_output(f, "y", ir_reduce(f, OpReduceSum, inner, 1, (int64_t[]){0}), -1);
	assert_int_equal(count_sums(pass_sums(fn_canonical(f))), 2);
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(axes_become_one), cmocka_unit_test(blocks_stay_apart),
	                                   cmocka_unit_test(last_axis_stays), cmocka_unit_test(shared_sum_stays)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
