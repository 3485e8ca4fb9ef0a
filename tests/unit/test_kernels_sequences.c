/* test_kernels_sequences.c: what moves or adds up elements by number, or along an axis: gather, scatter_add, fold, cumsum,
 * argsort; as machine code against the f32 interpreter, bit for bit, over random shapes, axes and dtypes; alone, and with
 * functions before and after.  link: nnc_llvm nnc_passes nnc_host nnc_kernel nnc_ir */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "expect_same.h"
#include "passes.h"

static int below(int n) { return (int)(next_random() % (uint32_t)n); }

static int64_t size(int most) {
	static const int edges[] = {1, 2, 7, 15, 16, 17, 32, 33, 48};
	int n = below(3) ? 1 + below(most) : edges[below(COUNT(edges))];
	return MIN(n, most);
}

static Val *input(Fn *f, const char *name, Type t) { return fn_input(f, name, below(2) ? INPUT_PARAM : INPUT_DATA, t); }

/* A value that is computed where it is read, now and then. */
static Val *computed(Fn *f, Val *x) {
	if (x->type.dtype != DTYPE_F32) return below(3) ? x : ir_Add(f, x, x);
	switch (below(5)) {
	case 0: return ir_Tanh(f, x);
	case 1: return ir_Mul(f, x, ir_like(f, x, 0.75));
	default: return x;
	}
}

/* The result as an output, and perhaps functions of it at the same index, turned round, and added up. */
static void outputs(Fn *f, Val *y) {
	int what = below(32);
	if (what & 1 || what < 8) fn_output(f, "y", y, -1);
	if (what & 2) fn_output(f, "twice", ir_Add(f, y, y), -1);
	if (what & 4 && y->type.rank) {
		int64_t last[1] = {y->type.rank - 1};
		fn_output(f, "turned", ir_flip(f, computed(f, y), 1, last), -1);
	}
	if (what & 8 && y->type.rank) fn_output(f, "sum", ir_reduce(f, OpReduceSum, y, 1, (int64_t[]){below(y->type.rank)}), -1);
	if (what & 16 && y->type.rank > 1) {
		int64_t perm[MAX_RANK];
		for (int i = 0; i < y->type.rank; i++) perm[i] = (i + 1) % y->type.rank;
		fn_output(f, "transposed", ir_transpose(f, y, perm), -1);
	}
	if (what == 16 && y->type.rank <= 1) fn_output(f, "y", y, -1);
	if (!f->outputs.length) fn_output(f, "y", y, -1);
}

static DType number_dtype(void) {
	return (DType[]){DTYPE_F32, DTYPE_F32, DTYPE_F32, DTYPE_I32, DTYPE_U8, DTYPE_I8, DTYPE_F64, DTYPE_F16, DTYPE_BF16}[below(9)];
}

/* Numbers from -1 to n, so that some are outside on either side. */
static Val *numbers(Fn *f, Type t, int64_t n, int64_t *limit) {
	t.dtype = DTYPE_I32;
	*limit = n + 2;
	Val *i = fn_input(f, "i", INPUT_DATA, t);
	i = ir_Sub(f, i, ir_like(f, i, 1));
	return below(4) || n > 100 ? i : ir_cast(f, i, DTYPE_I8);
}

static Type random_type(DType dtype, int rank, int most) {
	int64_t dim[MAX_RANK];
	for (int i = 0; i < rank; i++) dim[i] = size(most);
	return type_make(dtype, rank, dim);
}

static void gathers(void **state) {
	(void)state;
	for (int turn = 0; turn < 150; turn++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "gather");
		int batch = below(3), own = below(3), rest = below(3);
		int64_t limit;
		Type table = random_type(below(5) ? number_dtype() : DTYPE_BOOL, batch + 1 + rest, rest + batch > 2 ? 9 : 40);
		Type index = random_type(DTYPE_I32, batch + own, 9);
		for (int i = 0; i < batch; i++) index.dim[i] = table.dim[i];
		Val *t = input(f, "t", table);
		if (table.dtype != DTYPE_BOOL) t = computed(f, t);
		Val *y = ir_gather(f, t, numbers(f, index, table.dim[batch], &limit), batch);
		if (table.dtype == DTYPE_BOOL) fn_output(f, "y", ir_Not(f, y), -1);
		else outputs(f, y);
		expect_same(arena, fn_canonical(f), limit, false, "gather");
		arena_free(arena);
	}
}

static void scatters(void **state) {
	(void)state;
	for (int turn = 0; turn < 150; turn++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "scatter");
		int batch = below(3), own = below(3), rest = below(3), n = 1 + below(40);
		int64_t limit;
		Type rows = random_type(number_dtype(), batch + own + rest, rest + batch + own > 3 ? 7 : 33);
		Type index = rows;
		index.rank = batch + own;
		Val *i = numbers(f, index, n, &limit);
		outputs(f, ir_scatter_add(f, computed(f, input(f, "x", rows)), i, batch, n));
		if (!below(3)) fn_output(f, "other", ir_scatter_add(f, computed(f, input(f, "z", rows)), i, batch, n), -1);
		expect_same(arena, fn_canonical(f), limit, false, "scatter_add");
		arena_free(arena);
	}
}

/* An embedding: rows of a table, and its update, which needs no gradient of the table's size. */
static void embeddings(void **state) {
	(void)state;
	for (int turn = 0; turn < 8; turn++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "embedding");
		int64_t n = turn & 1 ? 3000 : 50, d = turn & 2 ? 64 : 7, dims[3] = {6, 11, d};
		Type t = type_make(DTYPE_F32, 2, (int64_t[]){n, d});
		Val *table = fn_input(f, "table", INPUT_PARAM, t), *m = fn_input(f, "m", INPUT_SLOT, t);
		Val *i = fn_input(f, "i", INPUT_DATA, type_make(DTYPE_I32, 2, dims));
		Val *g = fn_input(f, "g", INPUT_DATA, type_make(DTYPE_F32, 3, dims));
		fn_output(f, "y", ir_gather(f, table, i, 0), -1);
		if (turn & 4) g = ir_Mul(f, g, ir_Tanh(f, g));
		Val *dt = ir_scatter_add(f, g, i, 0, n);
		Val *moved = ir_Add(f, ir_Mul(f, m, ir_like(f, m, 0.9)), dt);
		fn_output(f, "table", ir_Sub(f, table, ir_Mul(f, moved, ir_like(f, m, 0.1))), 0);
		fn_output(f, "m", moved, 1);
		f = fn_canonical(f);
		expect_same(arena, f, n, false, "embedding");
		Compiled c;
		char *dense[4];
		for (int k = 0; k < 4; k++) dense[k] = random_input(arena, f->inputs.data[k].type, n, false);
		assert_null(compare_compiled(arena, f, dense, target_host(arena), 1, &c));
		assert_true(c.executable.arena_bytes < (size_t)(4 * n + 8 * 66 * 64) + 4096);
		compiled_free(&c);
		arena_free(arena);
	}
}

static void folds(void **state) {
	(void)state;
	for (int turn = 0; turn < 150; turn++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "fold");
		int rank = 2 + below(3), axis = below(rank - 1);
		int64_t stride = 1 + below(4), dilation = below(3) ? 1 : 1 + below(3), limit = 0;
		Type t = random_type(number_dtype(), rank, rank > 3 ? 9 : 20);
		t.dim[axis + 1] = 1 + below(6);
		int64_t needed = (t.dim[axis] - 1) * stride + (t.dim[axis + 1] - 1) * dilation + 1;
		Val *y = ir_fold(f, computed(f, input(f, "x", t)), axis, needed + below(2) * below(5), stride, dilation);
		if (!below(3)) {   /* without its border, as after a padding */
			int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
			lo[axis] = below(2) && y->type.dim[axis] > 2 ? -1 : 1;
			hi[axis] = below(2);
			y = ir_pad(f, y, lo, hi, NULL, 0);
		}
		outputs(f, y);
		expect_same(arena, fn_canonical(f), limit, false, "fold");
		arena_free(arena);
	}
}

/* Windows down and across an image, folded in turn; one of them spread from a single element, outside of every loop. */
static void folds_of_folds(void **state) {
	(void)state;
	for (int turn = 0; turn < 24; turn++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "folds");
		int64_t stride = 1 + turn % 3, taps = 2 + turn % 2, dims[6] = {3, 4, taps, 5, taps, turn % 4 ? 6 : 17};
		Val *x = input(f, "x", type_make(DTYPE_F32, 6, dims));
		x = ir_Mul(f, x, ir_like(f, x, 0.5));
		Val *across = ir_fold(f, x, 3, 4 * stride + taps, stride, 1);
		Val *y = ir_fold(f, across, 1, 3 * stride + taps, stride, 1);
		fn_output(f, "y", turn & 1 ? ir_Max(f, y, ir_like(f, y, 0)) : y, -1);
		Val *one = ir_fold(f, input(f, "s", type_make(DTYPE_F32, 2, (int64_t[]){5, 3})), 0, 7, 1, 1);
		one = ir_slice(f, ir_Tanh(f, one), (int64_t[]){turn % 7}, (int64_t[]){1}, NULL);
		fn_output(f, "z", ir_Add(f, y, ir_broadcast(f, ir_reshape(f, one, 0, NULL), 4, y->type.dim, NULL)), -1);
		expect_same(arena, fn_canonical(f), 0, false, "folds of folds");
		arena_free(arena);
	}
}

static void running_sums(void **state) {
	(void)state;
	for (int turn = 0; turn < 100; turn++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "cumsum");
		int rank = 1 + below(3);
		Val *x = input(f, "x", random_type(number_dtype(), rank, rank > 2 ? 20 : 70));
		outputs(f, ir_cumsum(f, computed(f, x), below(rank)));
		expect_same(arena, fn_canonical(f), 0, turn % 8 == 0, "cumsum");
		arena_free(arena);
	}
}

static void sorts(void **state) {
	(void)state;
	for (int turn = 0; turn < 100; turn++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "argsort");
		int rank = 1 + below(3);
		Val *x = input(f, "x", random_type(number_dtype(), rank, rank > 2 ? 20 : 300));
		x = computed(f, x);
		if (x->type.dtype == DTYPE_F32 && below(2)) x = ir_Round(f, x);   /* many ties */
		outputs(f, ir_argsort(f, x, below(rank)));
		expect_same(arena, fn_canonical(f), 0, turn % 2 == 0, "argsort");
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gathers), cmocka_unit_test(scatters), cmocka_unit_test(embeddings), cmocka_unit_test(folds),
		cmocka_unit_test(folds_of_folds), cmocka_unit_test(running_sums), cmocka_unit_test(sorts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
