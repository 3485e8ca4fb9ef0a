/* test_quantize.c: products in integers of 8 bits: as near to the f32 ones as rounding allows, by a bound computed from the
 * definition; which products are taken; and the quantised graph as machine code against the interpreter, bit for bit.
 * link: nnc_llvm nnc_passes nnc_host nnc_kernel nnc_ir */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "expect_same.h"
#include "quantize.h"

/* A product of x, numbers from low to high, and w, which has a channel of zeros; `make` builds it, x first or second. */
typedef struct Case {
	const char *name;
	Type x, w;
	Val *(*make)(Fn *f, Val *x, Val *w);
	double low, high;
} Case;

static Val *dense(Fn *f, Val *x, Val *w) {
	return ir_contract(f, x, (int64_t[]){0, 1}, w, (int64_t[]){1, 2}, 2, (int64_t[]){0, 2});
}
static Val *turned(Fn *f, Val *x, Val *w) {   /* weights first, as [n, k], the result as [n, m] */
	return ir_contract(f, w, (int64_t[]){0, 1}, x, (int64_t[]){2, 1}, 2, (int64_t[]){0, 2});
}
static Val *derived(Fn *f, Val *x, Val *w) {   /* of weights that are computed */
	return dense(f, x, ir_transpose(f, ir_Tanh(f, w), (int64_t[]){1, 0}));
}
static Val *windows_of(Fn *f, Val *x) {
	x = ir_pad(f, x, (int64_t[]){0, 1, 1, 0}, (int64_t[]){0, 1, 2, 0}, NULL, 0);
	x = ir_window(f, x, 1, x->type.dim[1] - 2, 3, 1, 1);
	return ir_window(f, x, 3, (x->type.dim[3] - 3) / 2 + 1, 3, 2, 1);
}
static Val *conv(Fn *f, Val *x, Val *w) {
	x = windows_of(f, x);
	return ir_contract(f, x, (int64_t[]){0, 1, 2, 3, 4, 5}, w, (int64_t[]){2, 4, 5, 6}, 4, (int64_t[]){0, 1, 3, 6});
}
static Val *rows_last(Fn *f, Val *x, Val *w) {   /* windows along the rows around those across */
	x = ir_pad(f, x, (int64_t[]){0, 1, 1, 0}, (int64_t[]){0, 1, 1, 0}, NULL, 0);
	x = ir_window(f, x, 2, x->type.dim[2] - 2, 3, 1, 1);
	x = ir_window(f, x, 1, x->type.dim[1] - 2, 3, 1, 1);
	return ir_contract(f, x, (int64_t[]){0, 1, 2, 3, 4, 5}, w, (int64_t[]){2, 4, 5, 6}, 4, (int64_t[]){0, 1, 3, 6});
}
static Val *wide_taps(Fn *f, Val *x, Val *w) {   /* more taps than a word has bytes, apart */
	x = ir_window(f, x, 1, x->type.dim[1] - 1, 2, 1, 1);
	x = ir_window(f, x, 3, x->type.dim[3] - 10, 6, 1, 2);
	return ir_contract(f, x, (int64_t[]){0, 1, 2, 3, 4, 5}, w, (int64_t[]){2, 4, 5, 6}, 4, (int64_t[]){0, 1, 3, 6});
}
static Val *depthwise(Fn *f, Val *x, Val *w) {
	return ir_contract(f, windows_of(f, x), (int64_t[]){0, 1, 2, 3, 4, 5}, w, (int64_t[]){2, 4, 5}, 4, (int64_t[]){0, 1, 3, 5});
}
static Val *to_one(Fn *f, Val *x, Val *w) {
	return ir_contract(f, x, (int64_t[]){0, 1}, w, (int64_t[]){1}, 1, (int64_t[]){0});
}

static const Case cases[] = {
    {"dense", {DTYPE_F32, 2, {5, 37}}, {DTYPE_F32, 2, {37, 19}}, dense, -3, 1},
    {"dense, positive", {DTYPE_F32, 2, {1, 130}}, {DTYPE_F32, 2, {130, 3}}, dense, 0, 7},
    {"turned", {DTYPE_F32, 2, {6, 11}}, {DTYPE_F32, 2, {4, 11}}, turned, -1, 1},
    {"derived", {DTYPE_F32, 2, {6, 11}}, {DTYPE_F32, 2, {4, 11}}, derived, -1, 2},
    {"conv", {DTYPE_F32, 4, {2, 7, 9, 3}}, {DTYPE_F32, 4, {3, 3, 3, 5}}, conv, -1, 1},
    {"conv, one channel", {DTYPE_F32, 4, {1, 6, 8, 1}}, {DTYPE_F32, 4, {3, 3, 1, 17}}, conv, 0, 1},
    {"conv, wide taps", {DTYPE_F32, 4, {2, 4, 15, 1}}, {DTYPE_F32, 4, {2, 6, 1, 9}}, wide_taps, -1, 2},
    {"conv, rows last", {DTYPE_F32, 4, {2, 6, 7, 1}}, {DTYPE_F32, 4, {3, 3, 1, 9}}, rows_last, -1, 2},
    {"conv, many", {DTYPE_F32, 4, {3, 5, 5, 16}}, {DTYPE_F32, 4, {3, 3, 16, 33}}, conv, 0, 9},
    {"depthwise", {DTYPE_F32, 4, {2, 7, 9, 5}}, {DTYPE_F32, 3, {3, 3, 5}}, depthwise, -2, 2},
    {"to one", {DTYPE_F32, 2, {7, 33}}, {DTYPE_F32, 1, {33}}, to_one, -1, 1},
    {"dense, two columns", {DTYPE_F32, 2, {5, 37}}, {DTYPE_F32, 2, {37, 2}}, dense, -1, 2},
};

static float *numbers(Arena *arena, Type t, double low, double high) {
	float *p = NEW_ARRAY(arena, float, type_count(t) + 16);
	for (int64_t i = 0; i < type_count(t); i++) p[i] = (float)(low + (high - low) * next_random() / 4294967296.0);
	p[0] = (float)high, p[type_count(t) - 1] = (float)low;
	return p;
}

static const float *evaluate(Arena *arena, Fn *f, int n, const Tensor *inputs) {
	Tensor *in = NEW_ARRAY(arena, Tensor, f->inputs.length + 1), *out = NEW_ARRAY(arena, Tensor, f->outputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) in[i] = inputs[MIN(i, n - 1)];
	fn_eval(arena, f, EVAL_F32, in, out);
	return out[0].data;
}

/* The inputs of the quantised Fn, made as its table says. */
static Tensor *given(Arena *arena, const Quantize *q, const Fn *f, Tensor x, Tensor w) {
	Tensor *in = NEW_ARRAY(arena, Tensor, f->inputs.length + 1), made[2];
	for (int i = 0; i < f->inputs.length; i++) {
		const char *name = f->inputs.data[i].name;
		in[i] = x;
		for (int k = 0; k < q->tensors.length; k++) {
			const QuantTensor *t = &q->tensors.data[k];
			fn_eval(arena, t->make, EVAL_F32, &w, made);
			if (!strcmp(name, t->weights)) in[i] = made[0];
			if (!strcmp(name, t->scales)) in[i] = made[1];
		}
	}
	return in;
}

/* Rounding moves x by half a step t and w by half a step s of its channel, of which the largest is taken: all that sum x w can
 * change by is sum (|x| s + |w| t) / 2 + s t / 4, made of the same product of other numbers. */
static void within_rounding(void **state) {
	(void)state;
	for (size_t c = 0; c < COUNT(cases); c++) {
		Arena *arena = arena_new();
		const Case *at = &cases[c];
		Fn *f = fn_new(arena, "product"), *bound = fn_new(arena, "bound");
		Val *x = fn_input(f, "x", INPUT_DATA, at->x), *w = fn_input(f, "net/w", INPUT_PARAM, at->w);
		fn_output(f, "y", at->make(f, x, w), -1);
		f = fn_canonical(f);
		float *xs = numbers(arena, at->x, at->low, at->high), *ws = numbers(arena, at->w, -0.5, 0.25);
		int64_t channels = at->make == turned || at->make == derived ? 1 : at->make == to_one ? 1 : last_dim(at->w);
		for (int64_t i = 0; i < type_count(at->w) && channels > 1; i += channels) ws[i] = 0;   /* the first one */
		Tensor tx = {at->x, xs}, tw = {at->w, ws};
		Quantize q = {.arena = arena};
		vec_push(arena, &q.ranges, ((Range){"net/w", (float)at->low, (float)at->high}));
		Fn *f8 = quantize_products(&q, f);
		fn_verify(f8, "quantize");
		assert_int_equal(q.products, 1);
		assert_int_equal(q.left, 0);
		assert_int_equal(q.tensors.length, 1);
		assert_int_equal(f8->inputs.length, 3);
		/* as large as f32 rounds, and as 8 bits round */
		double t = at->low >= 0 ? at->high / 255 : MAX(-at->low, at->high) / 127, one = at->make == derived ? 20 : 1;
		double s = (at->make == derived ? tanh(0.5) : 0.5) / 127;   /* of one, tanh is 1 as well */
		Val *ax = ir_Abs(bound, fn_input(bound, "x", INPUT_DATA, at->x)), *aw = fn_input(bound, "net/w", INPUT_PARAM, at->w);
		Val *ones = ir_like(bound, aw, one);
		Val *part = at->make(bound, ir_Mul(bound, ax, ir_like(bound, ax, s / 2)), ones);
		part = ir_Add(bound, part, at->make(bound, ir_like(bound, ax, t / 2), ir_Abs(bound, aw)));
		part = ir_Add(bound, part, at->make(bound, ir_like(bound, ax, s * t / 4), ones));
		fn_output(bound, "bound", part, -1);
		const float *exact = evaluate(arena, f, 2, (Tensor[]){tx, tw});
		const float *limit = evaluate(arena, fn_canonical(bound), 2, (Tensor[]){tx, tw});
		Tensor *in = given(arena, &q, f8, tx, tw), out;
		fn_eval(arena, f8, EVAL_F32, in, &out);
		const float *y = out.data;
		double worst = 0;
		int64_t n = type_count(out.type);
		for (int64_t i = 0; i < n; i++) {
			double error = fabs((double)y[i] - (double)exact[i]);
			if (error > (double)limit[i] * 1.0001 + 1e-5)
				fail_msg("%s: element %d: %g, in f32 %g", at->name, (int)i, (double)y[i], (double)exact[i]);
			worst = MAX(worst, error);
		}
		if (worst == 0) fail_msg("%s: nothing was rounded", at->name);
		if (channels > 1)
			for (int64_t i = 0; i < n; i += channels) assert_true(y[i] == 0);
		expect_same(arena, f8, 0, false, at->name);
		arena_free(arena);
	}
}

/* What is observed are the extremes of what products read, below their borders. */
static void ranges(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "product");
	Val *x = fn_input(f, "x", INPUT_DATA, cases[4].x), *w = fn_input(f, "net/w", INPUT_PARAM, cases[4].w);
	fn_output(f, "y", conv(f, ir_Add(f, x, ir_like(f, x, 3)), w), -1);
	Fn *seen = quantize_observe(fn_canonical(f));
	assert_non_null(seen);
	assert_int_equal(seen->outputs.length, 2);
	assert_string_equal(seen->outputs.data[0].name, "low net/w");
	assert_int_equal(seen->inputs.length, 1);   /* the weights are not read */
	Tensor in = {cases[4].x, numbers(arena, cases[4].x, -1, 2)}, out[2];
	fn_eval(arena, seen, EVAL_F32, &in, out);
	assert_true(*(float *)out[0].data == 2 && *(float *)out[1].data == 5);
	arena_free(arena);
}

/* Left in f32: products of two activations, of two parameters, those of which no range is known, sums too long for i32. */
static void left_alone(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "products");
	Val *x = fn_input(f, "x", INPUT_DATA, cases[0].x), *w = fn_input(f, "net/w", INPUT_PARAM, cases[0].w);
	Val *u = fn_input(f, "net/u", INPUT_PARAM, cases[0].w);
	Val *twice = ir_contract(f, x, (int64_t[]){0, 1}, x, (int64_t[]){2, 1}, 2, (int64_t[]){0, 2});
	Val *fixed = ir_contract(f, w, (int64_t[]){0, 1}, u, (int64_t[]){0, 2}, 2, (int64_t[]){1, 2});
	fn_output(f, "a", twice, -1);
	fn_output(f, "b", ir_reduce(f, OpReduceSum, fixed, 2, (int64_t[]){0, 1}), -1);
	f = fn_canonical(f);
	Quantize q = {.arena = arena};
	assert_null(quantize_observe(f));
	Fn *same = quantize_products(&q, f);
	assert_int_equal(q.products, 0);
	assert_null(q.unseen);
	assert_int_equal(same->vals.length, f->vals.length);
	Fn *g = fn_new(arena, "more");
	x = fn_input(g, "x", INPUT_DATA, cases[0].x);
	fn_output(g, "y", dense(g, x, fn_input(g, "net/w", INPUT_PARAM, cases[0].w)), -1);
	Type lx = {DTYPE_F32, 2, {1, 70000}}, lw = {DTYPE_F32, 2, {70000, 2}};
	fn_output(g, "z", dense(g, fn_input(g, "long", INPUT_DATA, lx), fn_input(g, "net/v", INPUT_PARAM, lw)), -1);
	quantize_products(&q, fn_canonical(g));
	assert_int_equal(q.products, 2);
	assert_int_equal(q.left, 2);
	assert_string_equal(q.unseen, "net/w");   /* of the long one nobody asks for a range */
	arena_free(arena);
}

/* The same weights read twice alike are one tensor, in another way two. */
static void shared(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "shared");
	Type square = {DTYPE_F32, 2, {8, 8}};
	Val *x = fn_input(f, "x", INPUT_DATA, square), *w = fn_input(f, "net/w", INPUT_PARAM, square);
	fn_output(f, "y", dense(f, ir_Tanh(f, dense(f, x, w)), w), -1);
	fn_output(f, "z", dense(f, x, ir_transpose(f, w, (int64_t[]){1, 0})), -1);
	Quantize q = {.arena = arena};
	vec_push(arena, &q.ranges, ((Range){"net/w", -1, 1}));
	Fn *f8 = quantize_products(&q, fn_canonical(f));
	assert_int_equal(q.products, 3);
	assert_int_equal(q.tensors.length, 2);
	assert_string_equal(q.tensors.data[0].weights, "net/w#i8");
	assert_string_equal(q.tensors.data[1].weights, "net/w#i8.2");
	assert_int_equal(f8->inputs.length, 5);
	expect_same(arena, f8, 0, false, "shared");
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(within_rounding),
	    cmocka_unit_test(ranges),
	    cmocka_unit_test(left_alone),
	    cmocka_unit_test(shared),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
