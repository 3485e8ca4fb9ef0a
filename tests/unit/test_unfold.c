/* test_unfold.c: what pass_unfold makes of folds: the same numbers, and no fold where there should be none; and where pass_taps
 * puts the taps that rows share.
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

static void expect_numbers(Arena *arena, Fn *f, Fn *g, const char *name) {
	Tensor in[8], a[8], b[8];
	for (int i = 0; i < f->inputs.length; i++) in[i] = random_tensor(arena, f->inputs.data[i].type);
	fn_eval(arena, f, EVAL_F64, in, a);
	fn_eval(arena, g, EVAL_F64, in, b);
	for (int k = 0; k < f->outputs.length; k++) {
		assert_true(type_equal(a[k].type, b[k].type));
		for (int64_t i = 0; i < type_count(a[k].type); i++) {
			double x = ((double *)a[k].data)[i], y = ((double *)b[k].data)[i];
			if (fabs(x - y) > 1e-9) fail_msg("%s: element %lld is %g, was %g", name, (long long)i, y, x);
		}
	}
}

static void expect_equal(Arena *arena, Fn *f, int folds, const char *name) {
	Fn *g = pass_unfold(f);
	fn_verify(g, "unfold");
	if (count_op(g, OpFold) != folds) fail_msg("%s: %d folds are left, %d should be", name, count_op(g, OpFold), folds);
	expect_numbers(arena, f, g, name);
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
		int64_t first = round % 3 == 0 && stride == 1 ? 2 : 1; /* the last axis as one of groups and one of channels, or in one */
		if (first == 2) y = ir_reshape(f, y, 5, (int64_t[]){2, total, total, 1, 2});
		y = ir_slice(f, y, (int64_t[]){0, lo, lo, 0, 0}, (int64_t[]){2, size, size, first == 2 ? 1 : 2, 2}, NULL);
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

static bool spreads(const Fn *f) {
	for (int i = 0; i < f->vals.length; i++)
		for (int k = 0; f->vals.data[i]->op == OpPad && k < f->vals.data[i]->type.rank; k++)
			if (f->vals.data[i]->list[2].data[k]) return true;
	return false;
}

/* A transposed convolution, its taps in either order, and the gradient of its weights: zeros between elements are not stored. */
static void transposed(void **unused) {
	(void)unused;
	for (int round = 0; round < 200; round++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "transposed");
		int64_t n[2], taps[2], total[2], lo[4] = {0}, hi[4] = {0}, inner[4] = {0}, c = pick(1, 3), o = pick(1, 3),
		                                 batch = pick(1, 3);
		int64_t dilation[2];
		for (int i = 0; i < 2; i++) {
			n[i] = pick(2, 5), taps[i] = pick(1, 5), dilation[i] = pick(1, 3), inner[i + 1] = i ? pick(0, 3) : pick(1, 3);
			lo[i + 1] = pick(-1, 4), hi[i + 1] = pick(0, 4);
			int64_t length = lo[i + 1] + hi[i + 1] + (n[i] - 1) * (inner[i + 1] + 1) + 1;
			if (length <= (taps[i] - 1) * dilation[i]) hi[i + 1] += (taps[i] - 1) * dilation[i] + 2 - length;
			length = lo[i + 1] + hi[i + 1] + (n[i] - 1) * (inner[i + 1] + 1) + 1;
			total[i] = length - (taps[i] - 1) * dilation[i];
		}
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){batch, n[0], n[1], c}));
		Val *v = ir_pad(f, x, lo, hi, inner, 0);
		v = ir_window(f, ir_window(f, v, 2, total[1], taps[1], 1, dilation[1]), 1, total[0], taps[0], 1, dilation[0]);
		int64_t turned[] = {2, 4};
		if (round & 1) v = ir_flip(f, v, round & 2 ? 2 : 1, turned + (round & 4 && !(round & 2)));
		int64_t lv[] = {0, 1, 2, 3, 4, 5}, lw[] = {2, 4, 5, 6}, ly[] = {0, 1, 3, 6};
		Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){taps[0], taps[1], c, o}));
		Val *g = fn_input(f, "g", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){batch, total[0], total[1], o}));
		fn_output(f, "y", round & 8 ? ir_contract(f, v, lv, g, ly, 4, lw) : ir_contract(f, v, lv, w, lw, 4, ly), -1);
		f = fn_canonical(f);
		expect_equal(arena, f, 0, "transposed convolution");
		if (spreads(pass_unfold(f))) fail_msg("zeros between elements are stored");
		arena_free(arena);
	}
}

/* The weights' gradient of a convolution with one filter, or with one for each channel, and the latter itself: the channels are
 * the columns, there is no dot for each weight. */
static void one_filter(void **unused) {
	(void)unused;
	for (int round = 0; round < 60; round++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "dw");
		int64_t b = pick(1, 3), taps = pick(2, 3), total = pick(2, 4), n = total + taps - 1, c = pick(2, 5);
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){b, n, n, c}));
		Val *v = ir_window(f, ir_window(f, x, 2, total, taps, 1, 1), 1, total, taps, 1, 1);
		int64_t lv[] = {0, 1, 2, 3, 4, 5}, lg[] = {0, 1, 3, 6}, lw[] = {2, 4, 5, 6}, each_g[] = {0, 1, 3, 5, 6}, *ly = lw;
		Val *g = fn_input(f, "g", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){b, total, total, 1}));
		Val *each = fn_input(f, "each", INPUT_DATA, type_make(DTYPE_F32, 5, (int64_t[]){b, total, total, c, 1}));
		Val *w = fn_input(f, "w", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){taps, taps, c, 1}));
		Val *y = round % 3 == 0   ? ir_contract(f, v, lv, g, lg, 4, ly)
		         : round % 3 == 1 ? ir_contract(f, v, lv, each, each_g, 4, ly)
		                          : ir_contract(f, v, lv, w, lw, 5, each_g);
		fn_output(f, "y", y, -1);
		f = fn_canonical(f);
		expect_equal(arena, f, 0, "one filter");
		Fn *h = pass_unfold(f);
		for (int i = 0; i < h->vals.length; i++)
			if (h->vals.data[i]->op == OpContract) assert_false(contract_order(h->vals.data[i]).dot);
		arena_free(arena);
	}
}

/* A convolution's taps along its rows are last in the sum, where several rows read each element and something else is summed. */
static void taps_last(void **unused) {
	(void)unused;
	static const struct { int64_t n, taps, stride, dilation, c; bool cast, swapped, moves; } cases[] = {
	    {9, 3, 1, 1, 4, false, false, true},  {9, 3, 1, 1, 4, false, true, true},   {9, 3, 2, 1, 5, false, false, true},
	    {9, 3, 2, 2, 3, false, false, true},  {9, 3, 3, 1, 4, false, false, false}, {9, 3, 1, 2, 4, false, false, false},
	    {9, 3, 1, 1, 1, false, false, false}, {9, 9, 1, 1, 4, false, false, false}, {9, 3, 1, 1, 4, true, false, false},
	    {8, 3, 2, 1, 5, false, false, true},  {7, 3, 2, 1, 5, false, false, false},   /* short, in any batch */
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "taps");
		int64_t n = cases[i].n, taps = cases[i].taps, c = cases[i].c,
		        total = (n - 1) * cases[i].stride + (taps - 1) * cases[i].dilation + 1;
		Val *x =
		    fn_input(f, "x", INPUT_DATA, type_make(cases[i].cast ? DTYPE_U8 : DTYPE_F32, 4, (int64_t[]){2, total, total, c}));
		Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){taps, taps, c, 3}));
		Val *v = ir_cast(f, x, DTYPE_F32);
		for (int axis = 2; axis > 0; axis--) v = ir_window(f, v, axis, n, taps, cases[i].stride, cases[i].dilation);
		int64_t lv[] = {0, 1, 2, 3, 4, 5}, lw[] = {2, 4, 5, 6}, ly[] = {0, 1, 3, 6};
		fn_output(f, "y", cases[i].swapped ? ir_contract(f, w, lw, v, lv, 4, ly) : ir_contract(f, v, lv, w, lw, 4, ly), -1);
		f = fn_canonical(f);
		Fn *g = pass_taps(f);
		fn_verify(g, "taps");
		if ((g != f) != cases[i].moves) fail_msg("taps %d: %s", (int)i, g != f ? "moved" : "not moved");
		expect_numbers(arena, f, g, "taps");
		Fn *again = pass_taps(g);
		assert_ptr_equal(again, g);   /* where they belong they stay */
		arena_free(arena);
	}
}

/* What a padded border would be multiplied by is left out where it is a good part of all, the rows are long enough, and loops
 * around them are made of the axis. */
static void without_border(void **unused) {
	(void)unused;
	static const struct { int64_t n, pad, c, o; bool cast, swapped, forward, dw; } cases[] = {
	    {8, 1, 16, 24, false, false, true, true},   {8, 1, 16, 24, false, true, true, true},
	    {8, 2, 16, 24, false, false, true, true},   {8, 0, 16, 24, false, false, false, false},
	    {8, 1, 16, 24, true, false, false, false},  {40, 1, 16, 4, false, false, false, false},
	    {8, 1, 16, 8, false, false, false, true},   {8, 1, 3, 24, false, false, true, false},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "border");
		int64_t n = cases[i].n, c = cases[i].c, o = cases[i].o, pad[] = {0, cases[i].pad, cases[i].pad, 0};
		int64_t total = n + 2 * pad[1] - 2;
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(cases[i].cast ? DTYPE_U8 : DTYPE_F32, 4, (int64_t[]){2, n, n, c}));
		Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){3, 3, c, o}));
		Val *g = fn_input(f, "g", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){2, total, total, o}));
		Val *v = ir_pad(f, ir_cast(f, x, DTYPE_F32), pad, pad, NULL, 0);
		for (int axis = 2; axis > 0; axis--) v = ir_window(f, v, axis, total, 3, 1, 1);
		int64_t lv[] = {0, 1, 2, 3, 4, 5}, lw[] = {2, 4, 5, 6}, ly[] = {0, 1, 3, 6};
		bool swapped = cases[i].swapped;
		fn_output(f, "y", swapped ? ir_contract(f, w, lw, v, lv, 4, ly) : ir_contract(f, v, lv, w, lw, 4, ly), -1);
		fn_output(f, "dw", swapped ? ir_contract(f, g, ly, v, lv, 4, lw) : ir_contract(f, v, lv, g, ly, 4, lw), -1);
		f = fn_canonical(f);
		Fn *less = pass_taps(f);
		fn_verify(less, "taps");
		for (int k = 0; k < 2; k++)
			if ((less->outputs.data[k].val->list[3].length > 0) != (k ? cases[i].dw : cases[i].forward))
				fail_msg("border %d: %s", (int)i, less->outputs.data[k].name);
		if (!cases[i].cast) expect_numbers(arena, f, less, "border");
		assert_ptr_equal(pass_taps(less), less);
		Text text = {.arena = arena}, again = {.arena = arena};
		fn_print(&text, less);
		Diag *diag = diag_new(arena);
		Fn *read = fn_parse(arena, diag, diag_source(diag, "border.ir", text.data, text.length, false));
		assert_non_null(read);
		fn_print(&again, read);
		assert_string_equal(text.data, again.data);
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
	                                   cmocka_unit_test(transposed), cmocka_unit_test(one_filter),
	                                   cmocka_unit_test(taps_last), cmocka_unit_test(without_border),
	                                   cmocka_unit_test(others)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
