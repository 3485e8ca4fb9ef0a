/* test_kernels_dtypes.c: every dtype in kernels: element-wise rows of ops.def, casts, moves, reductions, contracts, kernels of
 * rows and updates, in f64, f16, bf16 and integers, as machine code against the f32 interpreter, bit for bit; and what rounding
 * to 16 bits is, against the definition.  link: nnc_llvm nnc_passes nnc_host nnc_kernel nnc_ir */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "expect_same.h"
#include "passes.h"

static const DType all[] = {DTYPE_F32, DTYPE_F64, DTYPE_F16, DTYPE_BF16, DTYPE_I32, DTYPE_I8, DTYPE_U8, DTYPE_BOOL};
static const DType numbers[] = {DTYPE_F64, DTYPE_F16, DTYPE_BF16, DTYPE_I32, DTYPE_I8, DTYPE_U8};

static void pointwise_rows(void **state) {
	(void)state;
	static const DType floats[] = {DTYPE_F64, DTYPE_F16, DTYPE_BF16};
	static const int64_t dims[][2] = {{3, 7}, {5, 16}, {17, 33}};
	for (int op = 0; op < OP_COUNT; op++) {
		char class = op_info[op].operand_class;
		if (!op_info[op].pointwise || class == 'I' || class == 'B') continue;
		for (int d = 0; d < 3; d++)
			for (int s = 0; s < 3; s++) {
				Arena *arena = arena_new();
				Fn *f = fn_new(arena, "row");
				Val *arg[3];
				for (int i = 0; i < op_info[op].arity; i++) {
					Type t = type_make(op == OpWhere && i == 0 ? DTYPE_BOOL : floats[d], 2, dims[s]);
					arg[i] = fn_input(f, arena_printf(arena, "x%d", i), i == 1 ? INPUT_PARAM : INPUT_DATA, t);
				}
				fn_output(f, "y", ir_pointwise(f, (Op)op, arg), -1);
				f = fn_canonical(f);
				assert_null(kernel_unsupported(f));
				expect_same(arena, f, 0, true, op_info[op].text);
				arena_free(arena);
			}
	}
}

static void casts(void **state) {
	(void)state;
	for (int from = 0; from < (int)COUNT(all); from++)
		for (int to = 0; to < (int)COUNT(all); to++)
			for (int special = 0; special < 2; special++) {
				Arena *arena = arena_new();
				Fn *f = fn_new(arena, "cast");
				Val *x = fn_input(f, "x", from & 1 ? INPUT_PARAM : INPUT_DATA, type_make(all[from], 2, (int64_t[]){40, 37}));
				fn_output(f, "y", ir_cast(f, x, all[to]), -1);
				if (dtype_is_float(all[from]) && all[from] != DTYPE_F16)
					fn_output(f, "large", ir_cast(f, ir_Mul(f, x, ir_like(f, x, 1e9)), all[to]), -1);
				fn_output(f, "back", ir_cast(f, ir_cast(f, x, all[to]), DTYPE_F32), -1);
				expect_same(arena, fn_canonical(f), 0, special, "cast");
				arena_free(arena);
			}
}

/* Every float with these low bits and each exponent, as f32 and as a double beside it: rounded as the definition says. */
static void rounding(void **state) {
	(void)state;
	enum { N = 1 << 16 };
	static float x[N];
	static double wide[N];
	Arena *arena = arena_new();
	for (int i = 0; i < N; i++) {
		uint32_t low[] = {0, 1, 0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001}, bits = (uint32_t)i << 16;
		bits += low[hash_mix((uint64_t)i) % 8] | (hash_mix((uint64_t)i + 7) % 2 ? 0x2000u : 0);
		memcpy(&x[i], &bits, 4);
		if (i < 64) x[i] = (i % 2 ? -1.0f : 1.0f) * (65500 + (float)i);   /* where halves end */
		wide[i] = (double)x[i] * (i % 3 ? 1 + (i % 3 == 1 ? 0x1p-52 : -0x1p-52) : 1);
	}
	Fn *f = fn_new(arena, "rounding");
	Val *a = fn_input(f, "a", INPUT_DATA, type_make(DTYPE_F32, 1, (int64_t[]){N}));
	Val *b = fn_input(f, "b", INPUT_DATA, type_make(DTYPE_F64, 1, (int64_t[]){N}));
	static const DType shorts[] = {DTYPE_F16, DTYPE_BF16};
	for (int d = 0; d < 2; d++) {
		fn_output(f, d ? "a bf16" : "a f16", ir_cast(f, a, shorts[d]), -1);
		fn_output(f, d ? "b bf16" : "b f16", ir_cast(f, b, shorts[d]), -1);
		fn_output(f, d ? "back bf16" : "back f16", ir_cast(f, ir_cast(f, a, shorts[d]), DTYPE_F32), -1);
	}
	char *dense[] = {(char *)x, (char *)wide};
	const char *problem = compare_compiled(arena, fn_canonical(f), dense, target_host(arena), 1, NULL);
	if (problem) fail_msg("%s", problem);
	arena_free(arena);
}

/* Each byte by constants: by those where multiplications give the quotient's bits, and by those where they would not. */
static void quotients_of_bytes(void **state) {
	(void)state;
	static const double divisors[] = {255,   -255,  127.5, 3,    -7, 0.1,  0.3081,   256,
	                                  1e-38, 1e-40, 2e38,  3e38, 0,  -0.0, INFINITY, NAN};
	static const DType bytes[] = {DTYPE_U8, DTYPE_I8, DTYPE_I32};
	for (int t = 0; t < (int)COUNT(bytes); t++) {
		Arena *arena = arena_new();
		unsigned char narrow[256];
		int32_t wide[256];
		for (int i = 0; i < 256; i++) narrow[i] = (unsigned char)i, wide[i] = (i - 128) * 16777 + i;
		Fn *f = fn_new(arena, "quotients");
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(bytes[t], 1, (int64_t[]){256})), *real = ir_cast(f, x, DTYPE_F32);
		for (int i = 0; i < (int)COUNT(divisors); i++)
			fn_output(f, arena_printf(arena, "by %g", divisors[i]), ir_Div(f, real, ir_like(f, real, divisors[i])), -1);
		char *dense[] = {bytes[t] == DTYPE_I32 ? (char *)wide : (char *)narrow};
		const char *problem = compare_compiled(arena, fn_canonical(f), dense, target_host(arena), 1, NULL);
		if (problem) fail_msg("%s: %s", dtype_info[bytes[t]].text, problem);
		arena_free(arena);
	}
}

static void moves(void **state) {
	(void)state;
	for (int d = 0; d < (int)COUNT(all); d++)
		for (int variant = 0; variant < 8; variant++) {
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "moves");
			Val *x = fn_input(f, "x", variant & 1 ? INPUT_PARAM : INPUT_DATA, type_make(all[d], 3, (int64_t[]){5, 6, 21}));
			Val *i = fn_input(f, "i", INPUT_DATA, type_make(DTYPE_I32, 1, (int64_t[]){9}));
			double fill = all[d] == DTYPE_BOOL ? 1 : dtype_is_float(all[d]) ? 0.1 : 3;
			fn_output(f, "pad", ir_pad(f, x, (int64_t[]){1, 0, -2}, (int64_t[]){0, -1, 20}, (int64_t[]){1, 0, 2}, fill), -1);
			fn_output(f, "turned", ir_transpose(f, x, (int64_t[]){2, 0, 1}), -1);
			fn_output(f, "both", ir_concat(f, 2, (Val *[]){x, ir_flip(f, x, 1, (int64_t[]){2})}, 2), -1);
			fn_output(f, "rows", ir_gather(f, x, i, 0), -1);
			fn_output(f, "windows", ir_window(f, x, 2, 7, 3, 3, 1), -1);
			Val *part = ir_slice(f, x, (int64_t[]){1, 0, 2}, (int64_t[]){2, 6, 17}, NULL);
			fn_output(f, "flat", ir_reshape(f, part, 1, (int64_t[]){204}), -1);
			expect_same(arena, fn_canonical(f), 7, variant & 2, "moves");
			arena_free(arena);
		}
}

static void reductions(void **state) {
	(void)state;
	static const Op ops[] = {OpReduceSum, OpReduceMax, OpReduceMin, OpReduceProd, OpArgMax};
	static const int64_t dims[][2] = {{3, 17}, {40, 16}, {2, 5000}, {5000, 3}, {70, 1}};
	for (int d = 0; d < (int)COUNT(numbers); d++)
		for (int o = 0; o < (int)COUNT(ops); o++)
			for (int s = 0; s < (int)COUNT(dims); s++)
				for (int axis = 0; axis < 2; axis++) {
					Arena *arena = arena_new();
					Fn *f = fn_new(arena, "reduce");
					Val *x = fn_input(f, "x", s & 1 ? INPUT_PARAM : INPUT_DATA, type_make(numbers[d], 2, dims[s]));
					Val *both = ir_Add(f, x, x);
					Val *y = ops[o] == OpArgMax ? ir_argmax(f, x, axis) : ir_reduce(f, ops[o], both, 1, (int64_t[]){axis});
					fn_output(f, "y", y, -1);
					fn_output(f, "z", ir_Neg(f, y), -1);
					expect_same(arena, fn_canonical(f), 0, s == 0, op_info[ops[o]].text);
					arena_free(arena);
				}
}

/* Products, dots, outer products, channels by themselves; what follows at their index. */
static void contracts(void **state) {
	(void)state;
	static const struct { int na, nb, ny; int64_t a[4], b[4], y[4], dim[6]; } cases[] = {
	    {2, 2, 2, {0, 1}, {1, 2}, {0, 2}, {7, 19, 33}},       {2, 2, 2, {1, 0}, {2, 1}, {2, 0}, {7, 19, 5}},
	    {2, 1, 1, {0, 1}, {1}, {0}, {9, 4100}},               {1, 1, 0, {0}, {0}, {0}, {37}},
	    {3, 3, 3, {0, 1, 2}, {0, 2, 3}, {0, 1, 3}, {3, 5, 17, 6}}, {1, 1, 2, {0}, {1}, {0, 1}, {5, 21}},
	    {2, 2, 1, {0, 1}, {0, 1}, {1}, {30, 18}},             {3, 2, 2, {0, 1, 2}, {2, 1}, {0, 1}, {5, 4, 18}},
	    {2, 2, 2, {0, 1}, {1, 2}, {0, 2}, {2, 5000, 3}},      {3, 2, 1, {0, 1, 2}, {1, 2}, {0}, {4, 9, 600}},
	    {2, 1, 1, {1, 0}, {0}, {1}, {1, 12}},
	};
	for (int d = 0; d < (int)COUNT(numbers); d++)
		for (int s = 0; s < (int)COUNT(cases); s++)
			for (int kind = 0; kind < 4; kind++) {
				int64_t da[4], db[4];
				for (int i = 0; i < 4; i++) da[i] = cases[s].dim[cases[s].a[i]], db[i] = cases[s].dim[cases[s].b[i]];
				Arena *arena = arena_new();
				Fn *f = fn_new(arena, "contract");
				Val *a = fn_input(f, "a", INPUT_DATA, type_make(numbers[d], cases[s].na, da));
				Val *b = fn_input(f, "b", INPUT_PARAM, type_make(numbers[d], cases[s].nb, db));
				if (kind & 1)   /* not 0 where nothing is */
					a = ir_Sub(f, a, ir_like(f, a, 1)), b = ir_Add(f, b, ir_like(f, b, 1));
				Val *y = ir_contract(f, a, cases[s].a, b, cases[s].b, cases[s].ny, cases[s].y);
				if (kind & 2) fn_output(f, "raw", y, -1);
				fn_output(f, "y", kind ? ir_Max(f, y, ir_like(f, y, 1)) : y, -1);
				expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "contract %d", s));
				arena_free(arena);
			}
}

static Val *along(Fn *f, Val *row, Val *like) { return ir_broadcast(f, row, 2, like->type.dim, (int64_t[]){0}); }

/* Normalised rows, kept in scratch between passes, and an update in place of what is stored in few bits. */
static void rows(void **state) {
	(void)state;
	static const DType floats[] = {DTYPE_F64, DTYPE_F16, DTYPE_BF16};
	static const int64_t widths[] = {1, 10, 16, 70, 238, 4097};
	for (int d = 0; d < 3; d++)
		for (int s = 0; s < (int)COUNT(widths); s++) {
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "rows");
			Type t = type_make(floats[d], 2, (int64_t[]){7, widths[s]});
			Val *x = fn_input(f, "x", INPUT_DATA, t), *p = fn_input(f, "p", INPUT_PARAM, t), *m = fn_input(f, "m", INPUT_SLOT, t);
			Val *low = ir_reduce(f, OpReduceMin, x, 1, (int64_t[]){1}), *about = ir_Add(f, ir_Abs(f, x), ir_like(f, x, 2));
			Val *c = ir_Sqrt(f, ir_Div(f, ir_Sub(f, x, along(f, low, x)), about));
			Val *s1 = ir_reduce(f, OpReduceSum, c, 1, (int64_t[]){1});
			Val *y = ir_Div(f, c, along(f, ir_Add(f, s1, ir_like(f, s1, 1)), c));
			Val *next = ir_Add(f, ir_Mul(f, m, ir_like(f, m, 0.9)), y);
			fn_output(f, "p", ir_Sub(f, p, ir_Mul(f, next, ir_like(f, p, 0.1))), 1);
			fn_output(f, "m", next, 2);
			fn_output(f, "wide", ir_cast(f, y, DTYPE_F32), -1);
			fn_output(f, "sum", s1, -1);
			expect_same(arena, fn_canonical(f), 0, false, "rows");
			arena_free(arena);
		}
}

/* Many short vectors of different dtypes, one after the other in memory that is used again: whole vectors of lanes are read and
 * written, and reach nobody else's. */
static void short_vectors(void **state) {
	(void)state;
	for (int turn = 0; turn < 40; turn++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "vectors");
		int64_t n = 1 + next_random() % 20;
		Val *known[16], *sum = fn_input(f, "s", INPUT_DATA, type_scalar(DTYPE_F32));
		known[0] = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 1, &n));
		for (int i = 1; i < 16; i++) {
			DType dtype = all[next_random() % 4];
			Val *a = ir_cast(f, known[next_random() % i], dtype), *b = ir_cast(f, known[i - 1], dtype);
			Val *y = ir_Div(f, ir_flip(f, a, 1, (int64_t[]){0}), ir_Add(f, ir_Abs(f, b), ir_like(f, b, 1)));
			known[i] = next_random() % 4 ? y : ir_cumsum(f, y, 0);
			if (next_random() % 2)
				sum = ir_Add(f, sum, ir_cast(f, ir_reduce(f, OpReduceMax, known[i], 1, (int64_t[]){0}), DTYPE_F32));
		}
		fn_output(f, "y", known[15], -1);
		fn_output(f, "sum", sum, -1);
		expect_same(arena, fn_canonical(f), 0, false, "short vectors");
		arena_free(arena);
	}
}

static void randoms(void **state) {
	(void)state;
	for (int d = 0; d < 4; d++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "random");
		Val *at = fn_input(f, "seed", INPUT_SEED, type_make(DTYPE_I32, 1, (int64_t[]){2})), *zero = ir_const(f, DTYPE_I32, 0);
		fn_output(f, "r", ir_random(f, type_make(all[d], 2, (int64_t[]){9, 37}), at, zero, zero, 77, d), -1);
		expect_same(arena, fn_canonical(f), 0, false, "random");
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pointwise_rows), cmocka_unit_test(casts),          cmocka_unit_test(rounding),
	    cmocka_unit_test(quotients_of_bytes),
	    cmocka_unit_test(moves),          cmocka_unit_test(reductions),
	    cmocka_unit_test(contracts),      cmocka_unit_test(rows),
	    cmocka_unit_test(randoms),        cmocka_unit_test(short_vectors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
