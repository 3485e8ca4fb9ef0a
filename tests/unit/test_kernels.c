/* test_kernels.c: every row of ops.def that can be compiled, as machine code against the f32 interpreter, bit for bit;
 * then what fusion, scheduling and planning promise.  link: nnc_llvm nnc_passes nnc_host nnc_kernel nnc_ir */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "expect_same.h"
#include "passes.h"

static const int64_t shapes[][3] = {{1, 1, 1}, {3, 7, 2}, {17, 2, 2}, {5, 16, 2}, {64, 33, 2}, {100, 0, 1}, {2, 1, 2}, {0, 0, 0}};
static Type shape_type(DType d, int i) { return type_make(d, (int)shapes[i][2], shapes[i]); }

static void pointwise_rows(void **state) {
	(void)state;
	for (int op = 0; op < OP_COUNT; op++) {
		if (!op_info[op].pointwise) continue;
		for (int s = 0; s < (int)COUNT(shapes); s++) {
			static const DType by_class[][3] = {{DTYPE_F32, DTYPE_I32, DTYPE_U8}, {DTYPE_I32, DTYPE_I8, DTYPE_U8}};
			char class = op_info[op].operand_class;
			for (int d = 0; d < 3; d++) {
				DType dtype = class == 'F'   ? DTYPE_F32
				              : class == 'B' ? DTYPE_BOOL
				              : class == 'I' ? by_class[1][d]
				                             : by_class[0][d];
				if ((class == 'F' || class == 'B') && d) continue;
				Arena *arena = arena_new();
				Fn *f = fn_new(arena, "row");
				Val *arg[3];
				for (int i = 0; i < op_info[op].arity; i++) {
					Type t = shape_type(op == OpWhere && i == 0 ? DTYPE_BOOL : dtype, s);
					arg[i] = fn_input(f, arena_printf(arena, "x%d", i), i == 1 ? INPUT_PARAM : INPUT_DATA, t);
				}
				Val *y = NULL;
				switch (op) {
#define UNARY(Name, ...) case Op##Name: y = ir_##Name(f, arg[0]); break;
#define BINARY(Name, ...) case Op##Name: y = ir_##Name(f, arg[0], arg[1]); break;
#define TERNARY(Name, ...) case Op##Name: y = ir_##Name(f, arg[0], arg[1], arg[2]); break;
#define STRUCTURAL(...)
#include "ops.def"
				default: break;
				}
				fn_output(f, "y", y, -1);
				expect_same(arena, fn_canonical(f), 0, true, op_info[op].text);
				arena_free(arena);
			}
		}
	}
}

static void casts(void **state) {
	(void)state;
	static const DType all[] = {DTYPE_F32, DTYPE_I32, DTYPE_I8, DTYPE_U8, DTYPE_BOOL};
	for (int from = 0; from < 5; from++)
		for (int to = 0; to < 5; to++) {
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "cast");
			Val *x = fn_input(f, "x", INPUT_DATA, shape_type(all[from], 4));
			Val *scale = all[from] == DTYPE_F32 ? ir_Mul(f, x, ir_like(f, x, 1e9)) : x;
			fn_output(f, "y", ir_cast(f, scale, all[to]), -1);
			fn_output(f, "z", ir_cast(f, ir_cast(f, x, all[to]), DTYPE_F32), -1);
			expect_same(arena, fn_canonical(f), 0, true, "cast");
			arena_free(arena);
		}
}

/* Views, one after the other, on computed and on given values. */
static void views(void **state) {
	(void)state;
	for (int variant = 0; variant < 24; variant++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "views");
		Val *x = fn_input(f, "x", variant & 1 ? INPUT_PARAM : INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){5, 6, 7}));
		Val *y = variant & 2 ? ir_Exp(f, x) : x;
		switch (variant / 4) {
		case 0: y = ir_transpose(f, y, (int64_t[]){2, 0, 1}); break;
		case 1: y = ir_reshape(f, y, 2, (int64_t[]){30, 7}); break;
		case 2: y = ir_slice(f, y, (int64_t[]){1, 0, 2}, (int64_t[]){2, 6, 3}, (int64_t[]){2, 1, 2}); break;
		case 3: y = ir_pad(f, y, (int64_t[]){1, 0, -2}, (int64_t[]){0, -1, 20}, (int64_t[]){1, 0, 2}, 2.5); break;
		case 4: y = ir_concat(f, 3, (Val *[]){y, ir_Neg(f, y), ir_flip(f, y, 2, (int64_t[]){0, 2})}, 2); break;
		default: y = ir_window(f, y, 1, 2, 3, 2, 1); break;
		}
		fn_output(f, "y", y, -1);
		int64_t flat[1] = {type_count(y->type)};
		fn_output(f, "z",
		          ir_Add(f, ir_reshape(f, y, 1, flat), ir_cast(f, ir_iota(f, type_make(DTYPE_I32, 1, flat), 0), DTYPE_F32)), -1);
		fn_output(f, "s", ir_reduce(f, OpReduceSum, y, 1, (int64_t[]){1}), -1);
		expect_same(arena, fn_canonical(f), 0, false, "views");
		arena_free(arena);
	}
}

static void reductions(void **state) {
	(void)state;
	static const Op ops[] = {OpReduceSum, OpReduceMax, OpReduceMin, OpReduceProd, OpReduceLse, OpArgMax};
	static const int64_t dims[][2] = {{1, 1}, {3, 17}, {40, 16}, {2, 70}, {5, 5000}, {5000, 3}, {1, 4097}, {70, 1}};
	for (int o = 0; o < (int)COUNT(ops); o++)
		for (int d = 0; d < (int)COUNT(dims); d++)
			for (int axis = 0; axis < 2; axis++) {
				Arena *arena = arena_new();
				Fn *f = fn_new(arena, "reduce");
				Val *x = fn_input(f, "x", d & 1 ? INPUT_PARAM : INPUT_DATA, type_make(DTYPE_F32, 2, dims[d]));
				Val *a = o % 2 ? x : ir_Mul(f, x, x);
				Val *y = ops[o] == OpArgMax ? ir_argmax(f, a, axis) : ir_reduce(f, ops[o], a, 1, (int64_t[]){axis});
				fn_output(f, "y", y, -1);
				if (ops[o] != OpArgMax) fn_output(f, "z", ir_Neg(f, y), -1);
				expect_same(arena, pass_logsumexp(fn_canonical(f)), 0, d == 1 || d == 3, op_info[ops[o]].text);
				arena_free(arena);
			}
}

/* Sums of bytes wrap like everything else of that dtype, also where the sum is not stored before it is read. */
static void byte_reductions(void **state) {
	(void)state;
	static const Op ops[] = {OpReduceSum, OpReduceMax, OpReduceMin, OpReduceProd};
	for (int o = 0; o < (int)COUNT(ops); o++)
		for (int variant = 0; variant < 4; variant++) {
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "bytes");
			Val *x = fn_input(f, "x", INPUT_DATA, type_make(variant & 1 ? DTYPE_I8 : DTYPE_U8, 2, (int64_t[]){21, 37}));
			Val *y = ir_reduce(f, ops[o], x, 1, (int64_t[]){variant / 2});
			fn_output(f, "y", ir_cast(f, y, DTYPE_F32), -1);
			expect_same(arena, fn_canonical(f), 0, false, op_info[ops[o]].text);
			arena_free(arena);
		}
}

static void contracts(void **state) {
	(void)state;
	static const int64_t sizes[][3] = {{1, 1, 1}, {7, 5, 3}, {70, 39, 65},
	                                   {17, 1, 33}, {1, 40, 9}, {33, 70, 64}, {20, 16, 4100}, {64, 10, 1}, {4, 500, 1000}};
	for (int s = 0; s < (int)COUNT(sizes); s++)
		for (int layout = 0; layout < 32; layout++) {
			int64_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
			bool ta = layout & 1, tb = layout & 2, ty = layout & 4, epilogue = layout & 8, filled = layout & 16;
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "contract");
			Val *a = fn_input(f, "a", INPUT_DATA, type_make(DTYPE_F32, 2, ta ? (int64_t[]){k, m} : (int64_t[]){m, k}));
			Val *b = fn_input(f, "b", INPUT_PARAM, type_make(DTYPE_F32, 2, tb ? (int64_t[]){n, k} : (int64_t[]){k, n}));
			if (filled) a = ir_Exp(f, a), b = ir_Abs(f, b);   /* computed while it is packed */
			Val *y = ir_contract(f, a, ta ? (int64_t[]){2, 0} : (int64_t[]){0, 2}, b, tb ? (int64_t[]){1, 2} : (int64_t[]){2, 1},
			                     2, ty ? (int64_t[]){1, 0} : (int64_t[]){0, 1});
			if (epilogue) {
				if (layout % 2) fn_output(f, "raw", y, -1);   /* stored as well: the epilogue reads it where it stands */
				Val *bias = fn_input(f, "bias", INPUT_PARAM, type_make(DTYPE_F32, 1, &y->type.dim[1]));
				y = ir_Tanh(f, ir_Add(f, y, ir_broadcast(f, bias, 2, y->type.dim, (int64_t[]){1})));
			}
			fn_output(f, "y", y, -1);
			expect_same(arena, fn_canonical(f), 0, false, "contract");
			arena_free(arena);
		}
}

/* Several labels in each role, batched. */
static void batched_contracts(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "batched");
	Val *a = fn_input(f, "a", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){3, 5, 2, 7}));       /* b m k1 k2 */
	Val *b = fn_input(f, "b", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){7, 3, 2, 6}));       /* k2 b k1 n */
	int64_t la[] = {0, 1, 2, 3}, lb[] = {3, 0, 2, 4};
	fn_output(f, "y", ir_contract(f, a, la, b, lb, 3, (int64_t[]){0, 1, 4}), -1);
	fn_output(f, "z", ir_contract(f, a, la, b, lb, 3, (int64_t[]){4, 1, 0}), -1);
	fn_output(f, "o", ir_contract(f, a, la, a, (int64_t[]){0, 5, 6, 3}, 5, (int64_t[]){0, 1, 5, 2, 6}), -1);
	expect_same(arena, fn_canonical(f), 0, false, "batched contract");
	arena_free(arena);
}

static void gathers_and_random(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "gather");
	Val *table = fn_input(f, "t", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){19, 10}));
	Val *index = fn_input(f, "i", INPUT_DATA, type_make(DTYPE_I32, 1, (int64_t[]){19}));
	fn_output(f, "row", ir_gather(f, ir_Exp(f, table), index, 1), -1);
	fn_output(f, "rows", ir_gather(f, table, index, 0), -1);
	expect_same(arena, fn_canonical(f), 12, false, "gather");
	f = fn_new(arena, "random");
	Val *s = fn_input(f, "seed", INPUT_SEED, type_make(DTYPE_I32, 1, (int64_t[]){2}));
	Val *step = fn_input(f, "step", INPUT_STEP, type_scalar(DTYPE_I32));
	Type t = type_make(DTYPE_F32, 2, (int64_t[]){5, 37});
	for (int word = 0; word < 4; word++)
		fn_output(f, arena_printf(arena, "r%d", word),
		          ir_random(f, t, s, step, ir_const(f, DTYPE_I32, 7), 0x123456789abcdefLL, word), -1);
	expect_same(arena, fn_canonical(f), 0, false, "random");
	arena_free(arena);
}

/* Updates in place: each reads the others' old values; two swap. */
static void updates(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "updates");
	Type t = type_make(DTYPE_F32, 2, (int64_t[]){9, 13});
	Val *a = fn_input(f, "a", INPUT_PARAM, t), *b = fn_input(f, "b", INPUT_STATE, t), *c = fn_input(f, "c", INPUT_SLOT, t);
	Val *d = fn_input(f, "d", INPUT_PARAM, type_make(DTYPE_F32, 2, (int64_t[]){13, 13}));
	fn_output(f, "a", b, 0);
	fn_output(f, "b", a, 1);
	fn_output(f, "c", ir_contract(f, c, (int64_t[]){0, 1}, d, (int64_t[]){1, 2}, 2, (int64_t[]){0, 2}), 2);
	fn_output(f, "d", ir_Add(f, ir_transpose(f, d, (int64_t[]){1, 0}), ir_like(f, d, 1)), 3);
	fn_output(f, "old", ir_Add(f, a, c), -1);
	expect_same(arena, fn_canonical(f), 0, false, "updates");
	arena_free(arena);
}

/* A contract that reads a value which is written over an input reads it there. */
static void contracts_of_updates(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "contracts of updates");
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){5, 13}));
	Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 2, (int64_t[]){13, 7}));
	Val *later = ir_Sub(f, w, ir_like(f, w, 0.125));
	fn_output(f, "w", later, 1);
	fn_output(f, "y", ir_contract(f, x, (int64_t[]){0, 1}, later, (int64_t[]){1, 2}, 2, (int64_t[]){0, 2}), -1);
	expect_same(arena, fn_canonical(f), 0, false, "contracts of updates");
	arena_free(arena);
}

/* x = a x + b x, again and again: 2^n paths, n values; in a map, in the epilogue of a contract, in a reduction. */
static Val *braid(Fn *f, Val *x) {
	for (int i = 0; i < 40; i++) x = ir_Add(f, ir_Mul(f, x, ir_like(f, x, 0.25)), ir_Mul(f, x, ir_like(f, x, 0.5)));
	return x;
}

static void braids(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "braids");
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){5, 13}));
	Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 2, (int64_t[]){13, 7}));
	Val *y = ir_contract(f, x, (int64_t[]){0, 1}, w, (int64_t[]){1, 2}, 2, (int64_t[]){0, 2});
	fn_output(f, "map", braid(f, x), -1);
	fn_output(f, "epilogue", braid(f, y), -1);
	fn_output(f, "sum", ir_reduce(f, OpReduceSum, braid(f, ir_Tanh(f, x)), 1, (int64_t[]){1}), -1);
	expect_same(arena, fn_canonical(f), 0, false, "braids");
	arena_free(arena);
}

/* Rows read before the first and after the last: masked loads of a few lanes, at the very ends of what may be read. */
static void shifted_rows(void **state) {
	(void)state;
	for (int n = 1; n <= 33; n += 1 + (n > 17))
		for (int kind = 0; kind < 2; kind++) {
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "shifted");
			Type t = type_make(DTYPE_F32, 2, (int64_t[]){7, n});
			Val *x = fn_input(f, "x", kind ? INPUT_PARAM : INPUT_DATA, t);
			for (int i = 0; i < 2; i++) fn_input(f, i ? "q" : "p", INPUT_PARAM, t);   /* padded: whole vectors are stored */
			Val *before = ir_pad(f, x, (int64_t[]){2, 0}, (int64_t[]){-2, 0}, NULL, 1);
			Val *after = ir_pad(f, x, (int64_t[]){-3, 0}, (int64_t[]){3, 0}, NULL, -1);
			Val *diagonal = ir_pad(f, x, (int64_t[]){1, 1}, (int64_t[]){-1, -1}, NULL, 0.5);
			fn_output(f, "p", before, 1);
			fn_output(f, "q", after, 2);
			fn_output(f, "a", ir_Mul(f, before, after), -1);
			fn_output(f, "s", ir_reduce(f, OpReduceSum, ir_Add(f, before, after), 1, (int64_t[]){1}), -1);
			fn_output(f, "d", diagonal, -1);
			expect_same(arena, fn_canonical(f), 0, false, "shifted rows");
			arena_free(arena);
		}
}

/* Rows of one element have no padding: what stands behind them is another row, or another tensor. */
static void narrow_rows(void **state) {
	(void)state;
	static const int64_t rows[] = {2, 5, 33, 70 * 70};
	for (int i = 0; i < (int)COUNT(rows); i++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "narrow");
		Type t = type_make(DTYPE_F32, 2, (int64_t[]){rows[i], 1});
		Val *x = fn_input(f, "x", INPUT_DATA, t), *p = fn_input(f, "p", INPUT_PARAM, t), *q = fn_input(f, "q", INPUT_PARAM, t);
		Val *y = ir_Tanh(f, ir_Add(f, p, x));
		fn_output(f, "p", ir_Add(f, p, y), 1);
		fn_output(f, "q", ir_Mul(f, q, y), 2);
		fn_output(f, "s", ir_reduce(f, OpReduceSum, y, 1, (int64_t[]){0}), -1);
		fn_output(f, "y", ir_Sqrt(f, ir_Abs(f, y)), -1);
		expect_same(arena, fn_canonical(f), 0, false, "narrow rows");
		arena_free(arena);
	}
}

/* Past the end of a short row quotients are 0 / 0: no part of the sum.  Padded with 0 they are, and it is NaN. */
static void quotients_of_short_rows(void **state) {
	(void)state;
	for (int n = 1; n <= LANES; n++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "quotients");
		Type t = type_make(DTYPE_F32, 2, (int64_t[]){7, n});
		Val *x = fn_input(f, "x", INPUT_DATA, t), *y = ir_Exp(f, fn_input(f, "y", INPUT_PARAM, t));
		fn_output(f, "y", y, 1);
		fn_output(f, "quotient", ir_reduce(f, OpReduceSum, ir_Div(f, x, y), 1, (int64_t[]){1}), -1);
		fn_output(f, "angle", ir_reduce(f, OpReduceSum, ir_Atan2(f, x, y), 1, (int64_t[]){1}), -1);
		const int64_t lo[2] = {0, 1}, hi[2] = {0, 0};
		Val *none = ir_Div(f, ir_pad(f, x, lo, hi, NULL, 0), ir_pad(f, y, lo, hi, NULL, 0));
		fn_output(f, "none", ir_reduce(f, OpReduceSum, none, 1, (int64_t[]){1}), -1);
		expect_same(arena, fn_canonical(f), 0, false, "quotients of short rows");
		arena_free(arena);
	}
}

/* `n` tensors of one shape, each of random numbers of its own. */
static size_t code_of_randoms(int n) {
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "randoms");
	Val *at = fn_input(f, "seed", INPUT_SEED, type_make(DTYPE_I32, 1, (int64_t[]){2})), *zero = ir_const(f, DTYPE_I32, 0);
	for (int i = 0; i < n; i++) {
		int64_t site = (int64_t)hash_mix((uint64_t)i);
		Val *r = ir_random(f, type_make(DTYPE_F32, 2, (int64_t[]){3, 19}), at, zero, zero, site, 0);
		fn_output(f, arena_printf(arena, "r%d", i), ir_Mul(f, r, ir_random(f, r->type, at, zero, zero, site, 1)), -1);
	}
	f = fn_canonical(f);
	int32_t halves[2] = {(int32_t)0x89abcdef, 77};
	Compiled c;
	const char *problem = compare_compiled(arena, f, (char *[]){(char *)halves}, target_host(arena), 2, &c);
	if (problem) fail_msg("%s", problem);
	size_t bytes = c.executable.code_bytes;
	compiled_free(&c);
	arena_free(arena);
	return bytes;
}

/* Kernels that differ by their random numbers' sites alone are one function, and many calls of it a loop over a table: a deep
 * net's initialisation stays small. */
static void many_randoms(void **state) {
	(void)state;
	assert_true(code_of_randoms(256) < code_of_randoms(16) * 3 / 2);
}

static Val *along(Fn *f, Val *row, Val *like) {
	int64_t dims[MAX_RANK] = {0, 1, 2, 3};
	return ir_broadcast(f, row, like->type.rank, like->type.dim, dims);
}

static Val *total(Fn *f, Op op, Val *a) { return ir_reduce(f, op, a, 1, (int64_t[]){a->type.rank - 1}); }

/* A row in registers made of parts: what lies behind the last part read, or before the first, is not there to be read. */
static void parts_of_short_rows(void **state) {
	(void)state;
	for (int n = 1; n < LANES; n++)
		for (int end = 0; end < 4; end++) {   /* each time the memory ends elsewhere, and for each target */
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "parts");
			Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){60, n}));
			Val *y = ir_concat(f, 2, (Val *[]){x, ir_Add(f, x, x)}, 1);
			Val *scaled = ir_Mul(f, y, along(f, fn_input(f, "p", INPUT_PARAM, type_make(DTYPE_F32, 0, NULL)), y));
			Val *shifted = ir_Sub(f, scaled, along(f, total(f, OpReduceMax, scaled), y));
			fn_output(f, "s", total(f, OpReduceSum, ir_Exp(f, shifted)), -1);
			if (end % 2) fn_output(f, "y", ir_Exp(f, shifted), -1);
			expect_same(arena, fn_canonical(f), 0, false, "parts of short rows");
			arena_free(arena);
		}
}

/* What a step makes of rows: normalised ones, exponentials over their sum, an update of them; all in one kernel.  Short rows are
 * written some at a time: their numbers leave a rest. */
static void row_kernels(void **state) {
	(void)state;
	static const int64_t widths[] = {1, 2, 10, 16, 17, 64, 70, 238, 256, 4096, 4097, 9000};
	for (int i = 0; i < (int)COUNT(widths); i++)
		for (int variant = 0; variant < 12; variant++) {
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "rows");
			int rank = 1 + variant % 3;
			Type t = type_make(DTYPE_F32, rank,
			                   rank == 1   ? (int64_t[]){widths[i]}
			                   : rank == 2 ? (int64_t[]){11, widths[i]}
			                               : (int64_t[]){3, 5, widths[i]});
			Val *x = fn_input(f, "x", variant & 1 ? INPUT_PARAM : INPUT_DATA, t), *p = fn_input(f, "p", INPUT_PARAM, t);
			Val *m = total(f, OpReduceMax, x), *low = total(f, OpReduceMin, ir_Mul(f, x, p));
			Val *e = ir_Exp(f, ir_Sub(f, x, along(f, m, x))), *s = total(f, OpReduceSum, e);
			Val *soft = ir_Mul(f, e, along(f, ir_Div(f, ir_like(f, s, 1), s), x));
			switch (variant / 3) {
			case 0: /* exp once, its sum, a share of it; the sum and the first result are wanted elsewhere */
				fn_output(f, "soft", ir_Sub(f, soft, p), -1);
				fn_output(f, "lse", ir_Add(f, m, ir_Log(f, s)), -1);
				fn_output(f, "low", low, -1);
				break;
			case 1: { /* sums of what sums were subtracted from; the wide values in between stored and updated */
				Val *mean = ir_Div(f, total(f, OpReduceSum, p), ir_like(f, s, (double)widths[i]));
				Val *d = ir_Sub(f, p, along(f, mean, p)), *v = total(f, OpReduceSum, ir_Mul(f, d, d));
				Val *y = ir_Div(f, d, along(f, ir_Sqrt(f, ir_Add(f, v, ir_like(f, v, 1e-5))), d));
				fn_output(f, "p", y, 1);
				fn_output(f, "d", ir_Tanh(f, d), -1);
				fn_output(f, "again", total(f, OpReduceProd, ir_Mul(f, y, ir_Tanh(f, d))), -1);
				break;
			}
			case 2: /* an update that later passes have read before */
				fn_output(f, "p", ir_Sub(f, p, ir_Mul(f, soft, ir_Exp(f, p))), 1);
				fn_output(f, "s", total(f, OpReduceSum, ir_Mul(f, ir_Exp(f, p), soft)), -1);
				fn_output(f, "mask", ir_Lt(f, soft, p), -1);
				break;
			default: { /* places of the largest and what follows from them */
				Val *at = ir_argmax(f, x, rank - 1);
				fn_output(f, "at", at, -1);
				fn_output(
				    f, "hot",
				    ir_Where(f, ir_Eq(f, ir_iota(f, type_make(DTYPE_I32, rank, t.dim), rank - 1), along(f, at, x)), soft, p), -1);
				fn_output(f, "all", total(f, OpReduceSum, ir_Mul(f, x, along(f, ir_cast(f, at, DTYPE_F32), x))), -1);
				break;
			}
			}
			expect_same(arena, fn_canonical(f), 0, variant == 0 || variant == 7, "row kernels");
			arena_free(arena);
		}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(narrow_rows),
	    cmocka_unit_test(quotients_of_short_rows),
	    cmocka_unit_test(parts_of_short_rows),
	    cmocka_unit_test(shifted_rows),
	    cmocka_unit_test(byte_reductions),
	    cmocka_unit_test(contracts_of_updates),
	    cmocka_unit_test(braids),
	    cmocka_unit_test(many_randoms),
	    cmocka_unit_test(row_kernels),
	    cmocka_unit_test(pointwise_rows),
	    cmocka_unit_test(casts),
	    cmocka_unit_test(views),
	    cmocka_unit_test(reductions),
	    cmocka_unit_test(contracts),
	    cmocka_unit_test(batched_contracts),
	    cmocka_unit_test(gathers_and_random),
	    cmocka_unit_test(updates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
