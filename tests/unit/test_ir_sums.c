/* test_ir_sums.c: the order of every sum in the f32 interpreter, against a second writing-down of the rules.  link: nnc_ir
 *
 * What is expected is worked out here element by element from the text of the rules, sharing nothing with eval_body.h. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ir.h"
#include "math_eval.h"

enum { BLOCK = 4096 };

static uint64_t random_state = 1;
static float random_float(void) {
	random_state = hash_mix(random_state);
	return ldexpf((float)(int32_t)(random_state >> 32), -31) * ldexpf(1, (int)(random_state & 7) - 4);
}

static Tensor random_tensor(Arena *arena, Type type) {
	Tensor t = {type, arena_alloc(arena, 4 * (size_t)type_count(type))};
	for (int64_t i = 0; i < type_count(type); i++) ((float *)t.data)[i] = random_float();
	return t;
}

static void same_bits(const char *what, int64_t n, float got, float want) {
	if (memcmp(&got, &want, sizeof got)) fail_msg("%s of %lld: %a instead of %a", what, (long long)n, (double)got, (double)want);
}

static float larger(float a, float b) { return a > b || isnan(a) ? a : b; }
static float smaller(float a, float b) { return a < b || isnan(a) ? a : b; }

static float combine(Op op, float a, float b) {
	return op == OpReduceProd ? a * b : op == OpReduceMax ? larger(a, b) : op == OpReduceMin ? smaller(a, b) : a + b;
}
static float neutral(Op op) { return op == OpReduceProd ? 1 : op == OpReduceMax ? -INFINITY : op == OpReduceMin ? INFINITY : 0; }

/* lane l = lanes l, l + 16, ..; then (l, l + 8), (l, l + 4), (l, l + 2), (l, l + 1) */
static float tree(Op op, const float *lanes, int l, int width) {
	if (width == 16) return lanes[l];
	return combine(op, tree(op, lanes, l, 2 * width), tree(op, lanes, l + width, 2 * width));
}

static float expected_reduce(Op op, bool last, const float *x, int n) {
	float total = 0;
	for (int b = 0; b * BLOCK < n; b++) {
		int size = n - b * BLOCK < BLOCK ? n - b * BLOCK : BLOCK;
		float lanes[16], sum;
		for (int l = 0; l < 16; l++) {
			lanes[l] = neutral(op);
			for (int j = l; last && j < size; j += 16) lanes[l] = combine(op, lanes[l], x[b * BLOCK + j]);
		}
		sum = last ? tree(op, lanes, 0, 1) : neutral(op);
		for (int j = 0; !last && j < size; j++) sum = combine(op, sum, x[b * BLOCK + j]);
		total = b ? combine(op, total, sum) : sum;
	}
	return total;
}

static float expected_lse(bool last, const float *x, int n) {
	float m = -INFINITY, *e = malloc(sizeof *e * (size_t)n), sum;
	for (int i = 0; i < n; i++) m = fmaxf(m, x[i]);
	for (int i = 0; i < n; i++) e[i] = math_exp_f32(x[i] - m);
	sum = expected_reduce(OpReduceSum, last, e, n);
	free(e);
	return m + math_log_f32(sum);
}

static const int extents[] = {1, 2, 15, 16, 17, 31, 100, 1000, 4095, 4096, 4097, 4111, 9000};

/* (3, n) over its last axis and (n, 3) over its first; also (n, 1) over its first, which is not the last. */
static void test_reductions(void **state) {
	(void)state;
	static const Op ops[] = {OpReduceSum, OpReduceProd, OpReduceMax, OpReduceMin, OpReduceLse};
	for (size_t k = 0; k < COUNT(ops); k++)
		for (size_t e = 0; e < COUNT(extents); e++)
			for (int shape = 0; shape < 3; shape++) {
				Arena *arena = arena_new();
				Fn *f = fn_new(arena, "r");
				int n = extents[e], other = shape == 2 ? 1 : 3;
				bool last = shape == 0;
				int64_t dim[2] = {last ? other : n, last ? n : other};
				Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 2, dim));
				fn_output(f, "y", ir_reduce(f, ops[k], x, 1, (int64_t[]){last ? 1 : 0}), -1);
				Tensor in = random_tensor(arena, x->type), out;
				fn_eval(arena, f, EVAL_F32, &in, &out);
				float *row = NEW_ARRAY(arena, float, n);
				for (int i = 0; i < other; i++) {
					for (int j = 0; j < n; j++) row[j] = ((float *)in.data)[last ? i * n + j : j * other + i];
					float want = ops[k] == OpReduceLse ? expected_lse(last, row, n) : expected_reduce(ops[k], last, row, n);
					same_bits(op_info[ops[k]].text, n, ((float *)out.data)[i], want);
				}
				arena_free(arena);
			}
}

static float expected_dot(const float *a, int64_t sa, const float *b, int64_t sb, int depth, bool lanes16) {
	float total = 0;
	for (int block = 0; block * BLOCK < depth; block++) {
		int begin = block * BLOCK, end = depth < begin + BLOCK ? depth : begin + BLOCK;
		float lanes[16] = {0}, sum = 0;
		for (int l = 0; l < 16; l++)
			for (int k = begin + l; k < end; k += 16) lanes[l] = fmaf(a[k * sa], b[k * sb], lanes[l]);
		for (int k = begin; k < end; k++) sum = fmaf(a[k * sa], b[k * sb], sum);
		if (lanes16) sum = tree(OpReduceSum, lanes, 0, 1);
		total = block ? total + sum : sum;
	}
	return total;
}

/* (m, k) times (k, n) for N = 1 (16 lanes) and more (one chain); m plays no part. */
static void test_products(void **state) {
	(void)state;
	static const int widths[] = {1, 2, 3, 8, 17};
	for (size_t e = 0; e < COUNT(extents); e++)
		for (size_t w = 0; w < COUNT(widths); w++) {
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "c");
			int k = extents[e], n = widths[w], m = 3;
			Val *a = fn_input(f, "a", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){m, k}));
			Val *b = fn_input(f, "b", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){k, n}));
			fn_output(f, "y", ir_contract(f, a, (int64_t[]){0, 1}, b, (int64_t[]){1, 2}, 2, (int64_t[]){0, 2}), -1);
			fn_output(f, "t", ir_contract(f, a, (int64_t[]){0, 1}, b, (int64_t[]){1, 2}, 2, (int64_t[]){2, 0}), -1);
			Tensor in[2] = {random_tensor(arena, a->type), random_tensor(arena, b->type)}, out[2];
			fn_eval(arena, f, EVAL_F32, in, out);
			for (int i = 0; i < m; i++)
				for (int j = 0; j < n; j++) {
					float want = expected_dot((float *)in[0].data + i * k, 1, (float *)in[1].data + j, n, k, n == 1);
					same_bits("contract", k, ((float *)out[0].data)[i * n + j], want);
					same_bits("contract to (n, m)", k, ((float *)out[1].data)[j * m + i], want);
				}
			arena_free(arena);
		}
}

/* Two summed labels: the order is a's, row-major, however b stores them; b alone has nothing: 16 lanes, with a batch axis. */
static void test_summed_labels(void **state) {
	(void)state;
	enum { P = 2, Q = 3, R = 5, S = 7 };
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "c");
	Val *a = fn_input(f, "a", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){Q, P, R}));       /* q p r */
	Val *b = fn_input(f, "b", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){R, S, P, Q}));    /* r s p q */
	Val *c = fn_input(f, "c", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){R, P, Q}));       /* r p q */
	fn_output(f, "ps", ir_contract(f, a, (int64_t[]){1, 0, 2}, b, (int64_t[]){2, 3, 0, 1}, 2, (int64_t[]){0, 3}), -1);
	fn_output(f, "p", ir_contract(f, a, (int64_t[]){1, 0, 2}, c, (int64_t[]){2, 0, 1}, 1, (int64_t[]){0}), -1);
	Tensor in[3] = {random_tensor(arena, a->type), random_tensor(arena, b->type), random_tensor(arena, c->type)}, out[2];
	fn_eval(arena, f, EVAL_F32, in, out);
	const float *pa = in[0].data, *pb = in[1].data, *pc = in[2].data;
	for (int p = 0; p < P; p++) {
		float row[Q * R], other[Q * R];
		for (int s = 0; s < S; s++) {
			for (int q = 0; q < Q; q++)
				for (int r = 0; r < R; r++) {
					row[q * R + r] = pa[(q * P + p) * R + r];
					other[q * R + r] = pb[((r * S + s) * P + p) * Q + q];
				}
			same_bits("(q p r) (r s p q)", Q * R, ((float *)out[0].data)[p * S + s],
			          expected_dot(row, 1, other, 1, Q * R, false));
		}
		for (int q = 0; q < Q; q++)
			for (int r = 0; r < R; r++) other[q * R + r] = pc[(r * P + p) * Q + q];
		same_bits("(q p r) (r p q)", Q * R, ((float *)out[1].data)[p], expected_dot(row, 1, other, 1, Q * R, true));
	}
	arena_free(arena);
}

/* The order of long sums over several axes: whole inner axes, as many indices of the next as fit 4096 terms, anew with every
 * index of those before. */
static void test_blocks_keep_to_axes(void **state) {
	(void)state;
	static const int dims[][3] = {{9, 30, 25}, {2, 70, 90}, {3, 1, 5000}, {1, 64, 64}, {4096, 1, 2}, {3, 4097, 2}};
	for (size_t e = 0; e < COUNT(dims); e++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "c");
		int p = dims[e][0], q = dims[e][1], r = dims[e][2], n = 3, at = 0;
		Val *a = fn_input(f, "a", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){p, q, r}));
		Val *b = fn_input(f, "b", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){p, q, r, n}));
		fn_output(f, "y", ir_contract(f, a, (int64_t[]){0, 1, 2}, b, (int64_t[]){0, 1, 2, 3}, 1, (int64_t[]){3}), -1);
		Tensor in[2] = {random_tensor(arena, a->type), random_tensor(arena, b->type)}, out[1];
		fn_eval(arena, f, EVAL_F32, in, out);
		int whole = r > BLOCK ? 1 : q * r > BLOCK ? r : p * q * r > BLOCK ? q * r : p * q * r;
		int run = r > BLOCK ? r : q * r > BLOCK ? q * r : p * q * r, block = MIN(run, BLOCK / whole * whole);
		for (int j = 0; j < n; j++) {
			const float *x = in[0].data, *w = (const float *)in[1].data + j;
			float total = 0;
			for (int start = 0; start < p * q * r; start += run)
				for (at = start; at < start + run; at += block) {
					float sum = 0;
					for (int k = at; k < MIN(at + block, start + run); k++) sum = fmaf(x[k], w[k * n], sum);
					total = at ? total + sum : sum;
				}
			same_bits("blocks", (int)e, ((float *)out[0].data)[j], total);
		}
		arena_free(arena);
	}
}

/* Running sums, overlaps and scattered rows add in ascending order, starting at +0. */
static void test_ascending(void **state) {
	(void)state;
	enum { N = 50, SIZE = 7, TOTAL = 2 * (N - 1) + 3 * (SIZE - 1) + 1 };
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "a");
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){N, SIZE}));
	Val *i = fn_input(f, "i", INPUT_DATA, type_make(DTYPE_I32, 1, (int64_t[]){N}));
	fn_output(f, "cumsum", ir_cumsum(f, x, 0), -1);
	fn_output(f, "fold", ir_fold(f, x, 0, TOTAL, 2, 3), -1);
	fn_output(f, "scatter", ir_scatter_add(f, x, i, 0, 4), -1);
	Tensor in[2] = {random_tensor(arena, x->type), random_tensor(arena, i->type)}, out[3];
	float want[TOTAL] = {0}, rows[4][SIZE] = {{0}}, running[SIZE] = {0};
	for (int n = 0; n < N; n++) {
		int32_t row = ((int32_t *)in[1].data)[n] = (n * 7 + n / 3) % 5 - 1;
		for (int r = 0; r < SIZE; r++) want[2 * n + 3 * r] += ((float *)in[0].data)[n * SIZE + r];
		for (int r = 0; row >= 0 && r < SIZE; r++) rows[row][r] += ((float *)in[0].data)[n * SIZE + r];
	}
	fn_eval(arena, f, EVAL_F32, in, out);
	for (int n = 0; n < N; n++)
		for (int r = 0; r < SIZE; r++) {
			running[r] += ((float *)in[0].data)[n * SIZE + r];
			same_bits("cumsum", n, ((float *)out[0].data)[n * SIZE + r], running[r]);
		}
	for (int t = 0; t < TOTAL; t++) same_bits("fold", t, ((float *)out[1].data)[t], want[t]);
	for (int t = 0; t < 4 * SIZE; t++) same_bits("scatter_add", t, ((float *)out[2].data)[t], rows[t / SIZE][t % SIZE]);
	arena_free(arena);
}

/* Philox4x32-10 written once more, checked with the published known answers, then against the op's counters and keys. */
static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
	uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3], k = key[0], l = key[1];
	for (int i = 0; i < 10; i++, k += 0x9E3779B9u, l += 0xBB67AE85u) {
		uint64_t x = (uint64_t)a * 0xD2511F53u, y = (uint64_t)c * 0xCD9E8D57u;
		a = (uint32_t)(y >> 32) ^ b ^ k;
		b = (uint32_t)y;
		c = (uint32_t)(x >> 32) ^ d ^ l;
		d = (uint32_t)x;
	}
	out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

static void test_random(void **state) {
	(void)state;
	static const uint32_t known[3][10] = {
		{0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
		{~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
	uint32_t out[4];
	for (int i = 0; i < 3; i++) {
		philox(known[i], known[i] + 4, out);
		assert_memory_equal(out, known[i] + 6, sizeof out);
	}
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "r");
	int64_t site = 0x123456789abcdef0;
	Val *seed = fn_input(f, "seed", INPUT_SEED, type_make(DTYPE_I32, 1, (int64_t[]){2}));
	Val *step = fn_input(f, "step", INPUT_STEP, type_scalar(DTYPE_I32)),
	    *t = fn_input(f, "t", INPUT_DATA, type_scalar(DTYPE_I32));
	for (int w = 0; w < 4; w++)
		fn_output(f, &"wxyz"[w], ir_random(f, type_make(DTYPE_F32, 2, (int64_t[]){3, 5}), seed, step, t, site, w), -1);
	Val *number = fn_input(f, "number", INPUT_DATA, type_make(DTYPE_I32, 1, (int64_t[]){4}));
	fn_output(f, "some", ir_random_at(f, (Val *[]){seed, step, t}, number, site, 2), -1);
	int32_t seeds[2] = {-5, 77}, steps = 12, index = 3, numbers[4] = {14, 0, INT32_MAX, -2};
	Tensor in[4] = {{seed->type, seeds}, {step->type, &steps}, {t->type, &index}, {number->type, numbers}}, results[5];
	fn_eval(arena, f, EVAL_F32, in, results);
	for (int i = 0; i < 4; i++) {
		philox((uint32_t[]){(uint32_t)numbers[i], 3, 12, 0}, (uint32_t[]){(uint32_t)-5 ^ 0x9abcdef0, 77 ^ 0x12345678}, out);
		same_bits("random by number", i, ((float *)results[4].data)[i], (float)(out[2] >> 8) * 0x1p-24f);
	}
	for (uint32_t i = 0; i < 15; i++) {
		philox((uint32_t[]){i, 3, 12, 0}, (uint32_t[]){(uint32_t)-5 ^ 0x9abcdef0, 77 ^ 0x12345678}, out);
		for (int w = 0; w < 4; w++) same_bits("random", i, ((float *)results[w].data)[i], (float)(out[w] >> 8) * 0x1p-24f);
	}
	arena_free(arena);
}

/* In f64 the same program gives the f32 result to rounding, and much more. */
static void test_double_is_closer(void **state) {
	(void)state;
	enum { N = 5000 };
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "d");
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 1, (int64_t[]){N}));
	fn_output(f, "sum", ir_reduce(f, OpReduceSum, ir_Exp(f, x), 1, (int64_t[]){0}), -1);
	Tensor in = random_tensor(arena, x->type), wide = {x->type, NEW_ARRAY(arena, double, N)}, out[2];
	long double exact = 0;
	for (int i = 0; i < N; i++) exact += expl(((double *)wide.data)[i] = ((float *)in.data)[i]);
	fn_eval(arena, f, EVAL_F32, &in, &out[0]);
	fn_eval(arena, f, EVAL_F64, &wide, &out[1]);
	assert_true(fabsl(*(float *)out[0].data - exact) < 1e-5L * exact);
	assert_true(fabsl(*(double *)out[1].data - exact) < 1e-13L * exact);
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reductions),          cmocka_unit_test(test_products),  cmocka_unit_test(test_summed_labels),
	    cmocka_unit_test(test_blocks_keep_to_axes), cmocka_unit_test(test_ascending), cmocka_unit_test(test_random),
	    cmocka_unit_test(test_double_is_closer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
