/* test_grad_scan.c: derivatives of scans against central differences in f64: first to third, both directions, nested.
 * link: nnc_passes nnc_ir */
#include "test_passes.h"

enum { WIDTH = 3, STEPS = 4 };

static Type vector(int64_t n) { return type_make(DTYPE_F32, 1, &n); }
static Type matrix(int64_t m, int64_t n) { return type_make(DTYPE_F32, 2, (int64_t[]){m, n}); }

/* h = tanh(w h + x[t] k); k = k * 0.9 + h0; count = count + 1; emits h * count, and k alone. */
static Fn *recurrent_body(Arena *arena) {
	Fn *b = fn_new(arena, "body");
	Val *t = fn_input(b, "t", INPUT_DATA, type_scalar(DTYPE_I32));
	Val *h = fn_input(b, "h", INPUT_DATA, vector(WIDTH)), *k = fn_input(b, "k", INPUT_DATA, type_scalar(DTYPE_F32));
	Val *count = fn_input(b, "count", INPUT_DATA, type_scalar(DTYPE_I32));
	Val *w = fn_input(b, "w", INPUT_DATA, matrix(WIDTH, WIDTH)), *x = fn_input(b, "x", INPUT_DATA, matrix(STEPS, WIDTH));
	Val *wide = ir_broadcast(b, k, 1, vector(WIDTH).dim, NULL);
	Val *sum = ir_contract(b, w, (int64_t[]){0, 1}, h, (int64_t[]){1}, 1, (int64_t[]){0});
	Val *next = ir_Tanh(b, ir_Add(b, sum, ir_Mul(b, ir_gather(b, x, t, 0), wide)));
	Val *first = ir_reshape(b, ir_slice(b, next, (int64_t[]){0}, (int64_t[]){1}, NULL), 0, NULL);
	Val *more = ir_Add(b, count, ir_const(b, DTYPE_I32, 1));
	Val *factor = ir_broadcast(b, ir_cast(b, more, DTYPE_F32), 1, vector(WIDTH).dim, NULL);
	fn_output(b, "h", next, -1);
	fn_output(b, "k", ir_Add(b, ir_Mul(b, k, ir_const(b, DTYPE_F32, 0.9)), first), -1);
	fn_output(b, "count", more, -1);
	fn_output(b, "hs", ir_Mul(b, next, factor), -1);
	fn_output(b, "ks", k, -1);
	return b;
}

static void check(Fn *f, Val *y, int n, Val **x, int order, uint64_t seed, const char *what) {
	Random r = {hash_mix(seed)};
	double *values[8];
	add_derivatives(f, y, n, x, order);
	for (int i = 0; i < f->inputs.length; i++) {
		int64_t count = type_count(f->inputs.data[i].type);
		values[i] = NEW_ARRAY(f->arena, double, count);
		for (int64_t k = 0; k < count; k++) values[i][k] = random_real(&r, -1, 1);
	}
	Fn *g = pass_grad(f);
	fn_verify(g, "grad");
	Fn *simple = pass_simplify(g);
	fn_verify(simple, "simplify");
	double error = derivative_error(g, n, values), after = derivative_error(simple, n, values);
	double last = derivative_error(run_passes(simple, 2, pass_count), n, values);
	if (!(error < 1e-7 && after < 1e-7 && last < 1e-7))
		fail_msg("%s, derivative %d: error %g, simplified %g, after all passes %g", what, order, error, after, last);
	int scans = 0;
	for (int i = 0; i < g->vals.length; i++) scans += g->vals.data[i]->op == OpScan;
	if (order == 1) assert_int_equal(scans, 2); /* forward, with what is saved, and back: the plain one is gone */
}

static void recurrent(int order, bool reversed, int which) {
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "recurrent");
	Val *x[4] = {fn_input(f, "h", INPUT_DATA, vector(WIDTH)), fn_input(f, "k", INPUT_DATA, type_scalar(DTYPE_F32)),
	             fn_input(f, "w", INPUT_DATA, matrix(WIDTH, WIDTH)), fn_input(f, "x", INPUT_DATA, matrix(STEPS, WIDTH))};
	Val *args[] = {x[0], x[1], ir_const(f, DTYPE_I32, 0), x[2], ir_mark(f, ir_Mul(f, x[3], x[3]))};
	Val *scan = ir_scan(f, recurrent_body(arena), STEPS, reversed, 3, 5, args);
	Val *y = ir_project(f, scan, 3);
	if (which > 0) y = ir_Add(f, y, ir_broadcast(f, ir_project(f, scan, 0), 2, y->type.dim, (int64_t[]){1}));
	Val *ks = ir_project(f, scan, 4);
	ks = ir_Add(f, ks, ir_like(f, ks, 2));
	if (which > 1) y = ir_Mul(f, y, ir_broadcast(f, ks, 2, y->type.dim, (int64_t[]){0}));
	check(f, y, 4, x, order, 3 + (uint64_t)which, "recurrent");
	arena_free(arena);
}

static void test_recurrent(void **state) {
	(void)state;
	for (int which = 0; which < 3; which++)
		for (int order = 1; order <= 2; order++) {
			recurrent(order, false, which);
			recurrent(order, true, which);
		}
}

static void test_third(void **state) {
	(void)state;
	recurrent(3, false, 2);
}

/* The body has a scan of its own, and a custom op. */
static void nested(int order) {
	Arena *arena = arena_new();
	Fn *in = fn_new(arena, "inner"), *out = fn_new(arena, "outer"), *f = fn_new(arena, "nested");
	fn_input(in, "t", INPUT_DATA, type_scalar(DTYPE_I32));
	Val *c = fn_input(in, "c", INPUT_DATA, vector(2)), *k = fn_input(in, "k", INPUT_DATA, vector(2));
	fn_output(in, "c", ir_Sin(in, ir_Mul(in, c, k)), -1);
	fn_input(out, "t", INPUT_DATA, type_scalar(DTYPE_I32));
	Val *a = fn_input(out, "a", INPUT_DATA, vector(2)), *b = fn_input(out, "b", INPUT_DATA, vector(2));
	Val *scan = ir_scan(out, in, 3, false, 1, 2, (Val *[]){a, b});
	Val *y = ir_Exp(out, ir_project(out, scan, 0));
	int64_t id;
	Val *square = ir_Mul(out, y, y), *dy = ir_cotangent(out, y->type, &id);
	Val *dx = ir_Mul(out, dy, ir_Mul(out, y, ir_like(out, y, 2)));
	fn_output(out, "a", ir_custom(out, id, square, 1, &y, &dx), -1);
	Val *x[2] = {fn_input(f, "a", INPUT_DATA, vector(2)), fn_input(f, "b", INPUT_DATA, vector(2))};
	Val *all = ir_project(f, ir_scan(f, out, 2, true, 1, 2, x), 0);
	check(f, all, 2, x, order, 11, "nested");
	arena_free(arena);
}

static void test_nested(void **state) {
	(void)state;
	nested(1);
	nested(2);
}

/* A derivative inside the body: one step of Newton's method per step. */
static void test_grad_in_body(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *b = fn_new(arena, "body"), *f = fn_new(arena, "newton");
	fn_input(b, "t", INPUT_DATA, type_scalar(DTYPE_I32));
	Val *z = fn_input(b, "z", INPUT_DATA, type_scalar(DTYPE_F32)), *c = fn_input(b, "c", INPUT_DATA, type_scalar(DTYPE_F32));
	Val *residual = ir_Sub(b, ir_Mul(b, z, ir_Mul(b, z, z)), c);
	fn_output(b, "z", ir_Sub(b, z, ir_Div(b, residual, ir_grad(b, residual, z))), -1);
	Val *x = fn_input(f, "c", INPUT_DATA, type_scalar(DTYPE_F32));
	Val *far = ir_Add(f, x, ir_const(f, DTYPE_F32, 3));
	Val *scan = ir_scan(f, b, 8, false, 1, 2, (Val *[]){ir_const(f, DTYPE_F32, 2), far});
	check(f, ir_project(f, scan, 0), 1, &x, 1, 5, "newton");
	arena_free(arena);
}

static int count_ops(const Fn *f, Op op) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) n += f->vals.data[i]->op == op;
	return n;
}

/* The reverse scan reads the products of the forward one, and leaves those for the weights to after it: of h = tanh(h w + x[t] u
 * + b) it does one product a step. */
static void test_products_of_steps(void **state) {
	(void)state;
	Arena *arena = arena_new();
	enum { ROWS = 5, LONG = 9 };
	Fn *b = fn_new(arena, "body"), *f = fn_new(arena, "products");
	Type square = matrix(LONG, LONG), steps = type_make(DTYPE_F32, 3, (int64_t[]){STEPS, ROWS, LONG});
	Type types[] = {matrix(ROWS, LONG), square, square, vector(LONG), steps};
	static const char *const names[] = {"h", "w", "u", "b", "x"};
	Val *x[5], *in[5], *t = fn_input(b, "t", INPUT_DATA, type_scalar(DTYPE_I32));
	for (int i = 0; i < 5; i++) {
		x[i] = fn_input(f, names[i], INPUT_DATA, types[i]);
		in[i] = fn_input(b, names[i], INPUT_DATA, types[i]);
	}
	const int64_t rows[] = {0, 1}, columns[] = {1, 2}, both[] = {0, 2};
	Val *sum = ir_contract(b, ir_gather(b, in[4], t, 0), rows, in[2], columns, 2, both);
	sum = ir_Add(b, ir_contract(b, in[0], rows, in[1], columns, 2, both), sum);
	fn_output(b, "h", ir_Tanh(b, ir_Add(b, sum, ir_broadcast(b, in[3], 2, types[0].dim, (int64_t[]){1}))), -1);
	Val *y = ir_project(f, ir_scan(f, b, STEPS, false, 1, 5, x), 0);
	check(f, y, 4, x, 1, 9, "products");
	Fn *g = run_passes(fn_canonical(f), 0, pass_count);
	int in_scans[2] = {0}, scans = 0;
	for (int i = 0; i < g->vals.length; i++)
		if (g->vals.data[i]->op == OpScan) in_scans[scans++] = count_ops(g->vals.data[i]->body, OpContract);
	assert_int_equal(scans, 2);
	assert_int_equal(in_scans[0], 2);
	assert_int_equal(in_scans[1], 1);
	assert_int_equal(count_ops(g, OpContract), 2);   /* of w and of u */
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_recurrent), cmocka_unit_test(test_third),
	                                   cmocka_unit_test(test_nested), cmocka_unit_test(test_grad_in_body),
	                                   cmocka_unit_test(test_products_of_steps)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
