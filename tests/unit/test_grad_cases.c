/* test_grad_cases.c: what difference quotients cannot say: masks, ties, zeros, custom rules, nesting.
 * link: nnc_passes nnc_ir */
#include "test_passes.h"

static Fn *f;
static Arena *arena;

static int set_up(void **state) {
	(void)state;
	arena = arena_new();
	f = fn_new(arena, "case");
	return 0;
}

static int tear_down(void **state) {
	(void)state;
	arena_free(arena);
	return 0;
}

static Val *vector(const char *name, int64_t n) { return fn_input(f, name, INPUT_DATA, type_make(DTYPE_F32, 1, &n)); }
static Val *number(const char *name) { return fn_input(f, name, INPUT_DATA, type_scalar(DTYPE_F32)); }
static Val *like(Val *a, double x) { return ir_like(f, a, x); }
static Val *total(Val *a) { return dot(f, a, NULL); }

static Fn *finish(Val *y) {
	fn_output(f, "y", y, -1);
	Fn *done = run_passes(f, 0, pass_count);
	return done;
}

/* Elements of the one output, both before and after simplify, in both modes. */
static void expect(Val *y, double *const *values, int n, const double *want) {
	fn_output(f, "y", y, -1);
	Fn *first = run_passes(f, 0, 1), *second = run_passes(first, 1, pass_count);
	for (int k = 0; k < 4; k++) {
		EvalMode mode = k & 1 ? EVAL_F32 : EVAL_F64;
		Tensor *t = run(arena, k & 2 ? second : first, mode, values);
		for (int i = 0; i < n; i++) {
			double got = element(&t[0], mode, i);
			if (!(got == want[i] || fabs(got - want[i]) < 1e-6 * fabs(want[i]) || (isnan(want[i]) && isnan(got))))
				fail_msg("element %d: %g instead of %g (%s, %s)", i, got, want[i], k & 1 ? "f32" : "f64",
				         k & 2 ? "simplify" : "grad");
		}
	}
}
#define VALUES(...) ((double *const[]){__VA_ARGS__})
#define LIST(...) ((double[]){__VA_ARGS__})

/* where(x > 0, log(x), 0): at 0 and below the unselected branch has slope inf or NaN and must give 0. */
static void test_unselected_log(void **state) {
	(void)state;
	Val *x = vector("x", 3);
	Val *y = ir_Where(f, ir_Lt(f, like(x, 0), x), ir_Log(f, x), like(x, 0));
	expect(ir_grad(f, total(y), x), VALUES(LIST(0, 2, -1)), 3, LIST(0, 0.5, 0));
}

static void test_unselected_sqrt_of_square(void **state) {
	(void)state;
	Val *x = vector("x", 2);
	Val *r = ir_Sqrt(f, ir_Mul(f, x, x));
	Val *y = ir_Where(f, ir_Eq(f, x, like(x, 0)), like(x, 0), r);
	expect(ir_grad(f, total(y), x), VALUES(LIST(0, -2)), 2, LIST(0, -1));
}

/* The mask must survive a chain of everything that only moves or scales elements. */
static void test_mask_through_views(void **state) {
	(void)state;
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){2, 3}));
	Val *v = ir_Neg(f, ir_Div(f, like(x, 1), x));                       /* -1/x: slope inf at 0 */
	v = ir_cast(f, ir_cast(f, v, DTYPE_F64), DTYPE_F32);
	v = ir_transpose(f, v, (int64_t[]){1, 0});
	v = ir_reshape(f, v, 1, (int64_t[]){6});
	v = ir_flip(f, v, 1, (int64_t[]){0});
	v = ir_slice(f, v, (int64_t[]){0}, (int64_t[]){6}, NULL);
	v = ir_broadcast(f, v, 2, (int64_t[]){2, 6}, (int64_t[]){1});
	Val *mask = ir_broadcast(f, ir_Lt(f, vector("limit", 6), like(ir_reshape(f, x, 1, (int64_t[]){6}), 0.5)), 2,
	                         (int64_t[]){2, 6}, (int64_t[]){1});
	Val *y = ir_Where(f, mask, v, like(v, 0));
	/* flipped, transposed order: (1,2) (0,2) (1,1) (0,1) (1,0) (0,0); x(1,0) = x(0,1) = 0 are masked out */
	expect(ir_grad(f, total(y), x), VALUES(LIST(1, 0, 2, 0, -1, 0.5), LIST(0, 0, 0, 1, 1, 0)), 6, LIST(2, 0, 0.5, 0, 2, 8));
}

static void test_mask_of_scalar_branch(void **state) {
	(void)state;
	Val *x = number("x"), *c = number("c");
	Val *y = ir_Where(f, ir_Lt(f, like(c, 0), c), ir_Log(f, x), ir_Mul(f, x, x));
	expect(ir_grad(f, y, x), VALUES(LIST(0), LIST(-1)), 1, LIST(0));
}

/* Two masked uses of one value: where neither is selected, nothing reaches the log. */
static void test_two_masks(void **state) {
	(void)state;
	Val *x = vector("x", 3), *c = vector("c", 3);
	Val *l = ir_Log(f, x), *zero = like(x, 0);
	Val *a = ir_Where(f, ir_Lt(f, zero, c), ir_Mul(f, l, l), zero);
	Val *b = ir_Where(f, ir_Lt(f, like(c, 1), c), zero, ir_Where(f, ir_Lt(f, c, zero), zero, l));
	expect(ir_grad(f, ir_Add(f, total(a), total(b)), x), VALUES(LIST(0, 1, 2), LIST(-1, 0, 2)), 3, LIST(0, 1, log(2)));
}

static void test_max_masks(void **state) {
	(void)state;
	Val *x = vector("x", 2);
	expect(ir_grad(f, total(ir_Max(f, ir_Log(f, x), like(x, -1))), x), VALUES(LIST(0, 1)), 2, LIST(0, 1));
}

static void test_ties(void **state) {
	(void)state;
	Val *a = vector("a", 4), *b = vector("b", 4);
	Val *g = ir_grad(f, ir_Add(f, total(ir_Max(f, a, b)), total(ir_Min(f, a, ir_Mul(f, b, like(b, 2))))), a);
	expect(g, VALUES(LIST(1, 2, 0, 0), LIST(1, 1, 1, 0)), 4, LIST(1.5, 1.5, 1, 1));
}

static void test_first_extremum(void **state) {
	(void)state;
	Val *x = vector("x", 5);
	Val *y = ir_Add(f, ir_reduce(f, OpReduceMax, x, 1, (int64_t[]){0}),
	                ir_Mul(f, ir_const(f, DTYPE_F32, 10), ir_reduce(f, OpReduceMin, x, 1, (int64_t[]){0})));
	expect(ir_grad(f, y, x), VALUES(LIST(1, 3, 0, 3, 0)), 5, LIST(0, 1, 10, 0, 0));
}

static void test_product_with_zeros(void **state) {
	(void)state;
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){3, 3}));
	Val *y = ir_reduce(f, OpReduceProd, x, 1, (int64_t[]){1});
	expect(ir_grad(f, total(y), x), VALUES(LIST(2, 0, 3, 0, 5, 0, 0, 0, 0)), 9, LIST(0, 6, 0, 0, 0, 0, 0, 0, 0));
}

/* d2 of the product by x0 and x1 at 0 0 5 is 5: a division by x would have lost it. */
static void test_product_second(void **state) {
	(void)state;
	Val *x = vector("x", 3);
	Val *g = ir_grad(f, ir_reduce(f, OpReduceProd, x, 1, (int64_t[]){0}), x);
	Val *first = ir_reshape(f, ir_slice(f, g, (int64_t[]){0}, (int64_t[]){1}, NULL), 0, NULL);
	expect(ir_grad(f, first, x), VALUES(LIST(0, 0, 5)), 3, LIST(0, 5, 0));
}

static void test_dead_row(void **state) {
	(void)state;
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){2, 2}));
	Val *y = ir_reduce(f, OpReduceLse, x, 1, (int64_t[]){1});
	Val *live = ir_Where(f, ir_Eq(f, y, like(y, -INFINITY)), like(y, 0), y);
	Val *loss = ir_Add(f, ir_Add(f, total(live), total(ir_Exp(f, y))), total(ir_Max(f, y, like(y, -5))));
	expect(ir_grad(f, loss, x), VALUES(LIST(-INFINITY, -INFINITY, 0, -INFINITY)), 4, LIST(0, 0, 3, 0));
}

static void test_power(void **state) {
	(void)state;
	Val *a = vector("a", 4), *b = vector("b", 4);
	expect(ir_grad(f, total(ir_Pow(f, a, b)), a), VALUES(LIST(0, 0, 0, -2), LIST(0, 1, 2, 3)), 4, LIST(0, 1, 0, 12));
}

/* Slope 0 at 0 and an infinite slope behind it. */
static void test_custom_relu_masks(void **state) {
	(void)state;
	Val *x = vector("x", 3);
	Val *l = ir_Log(f, x);
	int64_t id;
	Val *y = ir_Max(f, l, like(l, 0)), *dy = ir_cotangent(f, l->type, &id);
	Val *dx = ir_Where(f, ir_Lt(f, like(y, 0), y), ir_Mul(f, dy, like(dy, 3)), like(dy, 0)); /* thrice, to see whose rule it is */
	y = ir_custom(f, id, y, 1, &l, &dx);
	expect(ir_grad(f, total(y), x), VALUES(LIST(0, 1, 2)), 3, LIST(0, 0, 1.5));
}

/* sigmoid by 1 / (1 + exp(-x)) with the rule dy y (1 - y): the second derivative follows the rule too, so far out too. */
static void test_custom_second(void **state) {
	(void)state;
	Val *x = vector("x", 2);
	int64_t id;
	Val *y = ir_Div(f, like(x, 1), ir_Add(f, like(x, 1), ir_Exp(f, ir_Neg(f, x)))), *dy = ir_cotangent(f, x->type, &id);
	Val *dx = ir_Mul(f, ir_Mul(f, dy, y), ir_Sub(f, like(y, 1), y));
	y = ir_custom(f, id, y, 1, &x, &dx);
	Val *g = ir_grad(f, total(y), x);
	expect(ir_grad(f, total(g), x), VALUES(LIST(-2000, 0)), 2, LIST(0, 0));
}

/* A rule that is no function of dy, and one input that gets nothing. */
static void test_custom_constant_rule(void **state) {
	(void)state;
	Val *x = vector("x", 2), *z = vector("z", 2);
	int64_t id;
	(void)ir_cotangent(f, x->type, &id);
	Val *y = ir_custom(f, id, ir_Mul(f, x, z), 2, (Val *[]){x, z}, (Val *[]){like(x, 7), like(x, 0)});
	Val *g = ir_Add(f, ir_grad(f, total(y), x), ir_grad(f, total(y), z));
	expect(g, VALUES(LIST(1, 2), LIST(3, 4)), 2, LIST(7, 7));
}

static void test_stop(void **state) {
	(void)state;
	Val *x = vector("x", 2);
	expect(ir_grad(f, total(ir_Mul(f, ir_Stop(f, ir_Exp(f, x)), x)), x), VALUES(LIST(0, 1)), 2, LIST(1, exp(1)));
}

/* f = x^3: grad of (grad)^2 = 2 * 3x^2 * 6x. */
static void test_nested(void **state) {
	(void)state;
	Val *x = number("x");
	Val *g = ir_grad(f, ir_Mul(f, x, ir_Mul(f, x, x)), x);
	expect(ir_grad(f, ir_Mul(f, g, g), x), VALUES(LIST(2)), 1, LIST(2 * 12 * 12));
}

/* By a value in the middle, and by two marks of one value, each on its own. */
static void test_marks(void **state) {
	(void)state;
	Val *x = number("x");
	Val *h = ir_mark(f, ir_Mul(f, x, x)), *k = ir_mark(f, ir_Mul(f, x, x));
	Val *loss = ir_Mul(f, h, ir_Mul(f, k, k));
	Val *all = ir_Add(f, ir_grad(f, loss, h), ir_Mul(f, like(x, 1000), ir_grad(f, loss, k)));
	expect(ir_Add(f, all, ir_Mul(f, like(x, 1e6), ir_grad(f, loss, x))), VALUES(LIST(2)), 1, LIST(16 + 32e3 + 192e6));
}

/* The loss does not depend on it. */
static void test_untouched(void **state) {
	(void)state;
	Val *x = vector("x", 2), *w = vector("w", 2);
	Val *after = ir_mark(f, ir_Mul(f, w, w));
	Val *loss = total(x);
	Val *g = ir_Add(f, ir_grad(f, loss, w), ir_grad(f, loss, after));
	expect(g, VALUES(LIST(1, 2), LIST(3, 4)), 2, LIST(0, 0));
}

/* One label per row: the gradient of a cross entropy needs no scatter. */
static void test_cross_entropy_without_scatter(void **state) {
	(void)state;
	Val *z = fn_input(f, "z", INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){4, 3}));
	Val *label = fn_input(f, "label", INPUT_DATA, type_make(DTYPE_U8, 1, (int64_t[]){4}));
	Val *l = ir_Sub(f, ir_reduce(f, OpReduceLse, z, 1, (int64_t[]){1}), ir_gather(f, z, label, 1));
	Val *loss = ir_Div(f, total(l), ir_const(f, DTYPE_F32, 4));
	Fn *g = finish(ir_grad(f, loss, z));
	for (int i = 0; i < g->vals.length; i++)
		assert_true(g->vals.data[i]->op != OpScatterAdd && g->vals.data[i]->op != OpGather && g->vals.data[i]->op != OpMark);
	double *values[] = {LIST(0, 0, 0, 1, 0, 0, 0, 0, 5, 0, 0, 0), LIST(0, 1, 2, 2)};
	Tensor *t = run(arena, g, EVAL_F64, values);
	assert_true(fabs(element(&t[0], EVAL_F64, 0) - (1.0 / 3 - 1) / 4) < 1e-15);
	assert_true(fabs(element(&t[0], EVAL_F64, 3) - exp(1) / (exp(1) + 2) / 4) < 1e-15);
}

/* A chain far longer than the stack, with a mask at every step, stays linear in size. */
static void test_long_chain(void **state) {
	(void)state;
	Val *x = vector("x", 2), *y = x;
	int n = 20000;
	for (int i = 0; i < n; i++) y = ir_Where(f, ir_Lt(f, like(y, 0), y), ir_Mul(f, y, like(y, 1.0001)), like(y, 0));
	Fn *g = finish(ir_grad(f, total(y), x));
	assert_true(g->vals.length < 8 * n);
}

/* Order of construction must not show: two builds of one function, operands made in another order. */
static const char *text_of(bool swapped) {
	Fn *h = fn_new(arena, "order");
	Val *x = fn_input(h, "x", INPUT_DATA, type_make(DTYPE_F32, 1, (int64_t[]){3}));
	Val *a, *b;
	if (swapped) b = ir_Sin(h, x), a = ir_Exp(h, x);
	else a = ir_Exp(h, x), b = ir_Sin(h, x);
	Val *loss = dot(h, ir_Mul(h, ir_Mul(h, a, b), ir_Add(h, a, b)), NULL);
	Val *g = ir_grad(h, loss, x);
	fn_output(h, "y", ir_grad(h, dot(h, g, g), x), -1);
	Text text = {.arena = arena};
	fn_print(&text, run_passes(h, 0, pass_count));
	return text.data;
}

static void test_canonical(void **state) {
	(void)state;
	assert_string_equal(text_of(false), text_of(true));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
	const struct CMUnitTest tests[] = {
		CASE(test_unselected_log), CASE(test_unselected_sqrt_of_square), CASE(test_mask_through_views),
		CASE(test_mask_of_scalar_branch),
		CASE(test_two_masks), CASE(test_max_masks), CASE(test_ties), CASE(test_first_extremum), CASE(test_product_with_zeros),
		CASE(test_product_second), CASE(test_dead_row), CASE(test_power), CASE(test_custom_relu_masks), CASE(test_custom_second),
		CASE(test_custom_constant_rule), CASE(test_stop), CASE(test_nested), CASE(test_marks), CASE(test_untouched),
		CASE(test_cross_entropy_without_scatter), CASE(test_long_chain), CASE(test_canonical),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
