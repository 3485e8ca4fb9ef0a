/* test_kernels_scan.c: scans as machine code against the f32 interpreter, bit for bit, for several targets and numbers of workers.
 * link: nnc_llvm nnc_passes nnc_host nnc_kernel nnc_ir */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "expect_same.h"
#include "passes.h"

static Type vector(int64_t n) { return type_make(DTYPE_F32, 1, &n); }
static Type matrix(int64_t m, int64_t n) { return type_make(DTYPE_F32, 2, (int64_t[]){m, n}); }
static Type cube(int64_t l, int64_t m, int64_t n) { return type_make(DTYPE_F32, 3, (int64_t[]){l, m, n}); }
static Type typed(DType dtype, Type t) { return type_make(dtype, t.rank, t.dim); }

static Val *times(Fn *f, Val *a, Val *w) {
	return ir_contract(f, a, (int64_t[]){0, 1}, w, (int64_t[]){1, 2}, 2, (int64_t[]){0, 2});
}
static Val *spread(Fn *f, Val *v, Type like) {
	int64_t last[] = {like.rank - 1};
	return ir_broadcast(f, v, like.rank, like.dim, v->type.rank ? last : NULL);
}

static Fn *body_start(Arena *arena, Val **index) {
	Fn *b = fn_new(arena, "body");
	*index = fn_input(b, "index", INPUT_DATA, type_scalar(DTYPE_I32));
	return b;
}

static const int64_t sizes[] = {1, 7, 17}, counts[] = {1, 2, 5, 100};

/* h = tanh(x[t] w + h u + b), as a layer writes it: x is (batch, time, feature), the hidden states are given back. */
static void recurrent(void **state) {
	(void)state;
	for (int variant = 0; variant < 36; variant++) {
		int64_t batch = sizes[variant % 3], n = sizes[variant / 3 % 3], count = counts[variant / 9];
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "recurrent");
		Val *index, *b = NULL, *h, *x, *u, *bias;
		Fn *body = body_start(arena, &index);
		h = fn_input(body, "h", INPUT_DATA, matrix(batch, n));
		x = fn_input(body, "x", INPUT_DATA, cube(count, batch, n));
		u = fn_input(body, "u", INPUT_DATA, matrix(n, n));
		bias = fn_input(body, "b", INPUT_DATA, vector(n));
		b = ir_Add(body, times(body, ir_gather(body, x, index, 0), u), times(body, h, u));
		b = ir_Tanh(body, ir_Add(body, b, spread(body, bias, h->type)));
		fn_output(body, "h", b, -1);
		fn_output(body, "hs", b, -1);
		if (variant % 2) fn_output(body, "before", h, -1);
		x = fn_input(f, "x", variant & 1 ? INPUT_DATA : INPUT_PARAM, cube(batch, count, n));
		u = fn_input(f, "u", INPUT_PARAM, matrix(n, n));
		bias = fn_input(f, "b", INPUT_PARAM, vector(n));
		Val *start = ir_broadcast(f, ir_const(f, DTYPE_F32, 0), 2, matrix(batch, n).dim, NULL);
		Val *args[] = {start, ir_transpose(f, x, (int64_t[]){1, 0, 2}), u, bias};
		Val *scan = ir_scan(f, body, count, variant & 2, 1, 4, args);
		for (int i = 0; i < body->outputs.length; i++)
			if (i != variant % 5) fn_output(f, arena_printf(arena, "y%d", i), ir_project(f, scan, i), -1);
		expect_same(arena, fn_canonical(f), 0, false, "recurrent");
		arena_free(arena);
	}
}

/* Carries that change places, stay as they are, count, or are true and false; none of them float alone. */
static void exchanges(void **state) {
	(void)state;
	for (int variant = 0; variant < 24; variant++) {
		int64_t batch = sizes[variant % 3], count = counts[variant / 3 % 4];
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "exchanges");
		Val *index;
		Fn *body = body_start(arena, &index);
		Type t = matrix(batch, 5);
		Val *a = fn_input(body, "a", INPUT_DATA, t), *b = fn_input(body, "b", INPUT_DATA, t);
		Val *c = fn_input(body, "c", INPUT_DATA, t), *n = fn_input(body, "n", INPUT_DATA, typed(DTYPE_I32, t));
		Val *flag = fn_input(body, "flag", INPUT_DATA, typed(DTYPE_BOOL, t));
		Val *small = fn_input(body, "small", INPUT_DATA, typed(DTYPE_U8, vector(batch)));
		Val *sum = fn_input(body, "sum", INPUT_DATA, type_scalar(DTYPE_F32));
		Val *first = ir_reduce(body, OpReduceSum, ir_Mul(body, a, c), 2, (int64_t[]){0, 1});
		fn_output(body, "a", b, -1);
		fn_output(body, "b", ir_Where(body, flag, a, ir_Neg(body, a)), -1);
		fn_output(body, "c", c, -1);
		fn_output(body, "n", ir_Add(body, n, ir_broadcast(body, index, 2, t.dim, NULL)), -1);
		fn_output(body, "flag", ir_Lt(body, ir_cast(body, n, DTYPE_F32), b), -1);
		fn_output(body, "small", ir_Add(body, small, ir_cast(body, ir_broadcast(body, index, 1, t.dim, NULL), DTYPE_U8)), -1);
		fn_output(body, "sum", ir_Add(body, ir_Mul(body, sum, ir_const(body, DTYPE_F32, 0.5)), first), -1);
		fn_output(body, "sums", sum, -1);
		fn_output(body, "firsts", first, -1);
		fn_output(body, "indices", index, -1);
		fn_output(body, "turned", ir_transpose(body, a, (int64_t[]){1, 0}), -1);
		Val *args[7];
		for (int i = 0; i < 7; i++) {
			const Input *in = &body->inputs.data[i + 1];
			args[i] = fn_input(f, in->name, i % 2 ? INPUT_STATE : INPUT_DATA, in->type);
		}
		Val *scan = ir_scan(f, body, count, variant >= 12, 7, 7, args);
		for (int i = 0; i < body->outputs.length; i++) {
			Val *y = ir_project(f, scan, i);
			if (i < 7 && i % 2) fn_output(f, f->inputs.data[i].name, y, i);
			else fn_output(f, arena_printf(arena, "y%d", i), i == 0 ? ir_Exp(f, y) : y, -1);
		}
		expect_same(arena, fn_canonical(f), 0, false, "exchanges");
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(recurrent), cmocka_unit_test(exchanges)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
