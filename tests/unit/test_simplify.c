/* test_simplify.c: rewrites change no bit, and the ones that matter happen.
 * link: nnc_passes nnc_ir */
#include "test_passes_random.h"

static bool same_element(double a, double b) { return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b)); }

static int contractions(const Fn *f) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) n += f->vals.data[i]->op == OpContract;
	return n;
}

static int dots(const Fn *f) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) n += f->vals.data[i]->op == OpContract && contract_order(f->vals.data[i]).dot;
	return n;
}

static void check_same(Arena *arena, const Fn *a, const Fn *b, EvalMode mode, double *const *values, uint64_t seed) {
	Tensor *ta = run(arena, a, mode, values), *tb = run(arena, b, mode, values);
	for (int i = 0; i < a->outputs.length; i++)
		for (int64_t k = 0; k < type_count(ta[i].type); k++) {
			double x = element(&ta[i], mode, k), y = element(&tb[i], mode, k);
			if (same_element(x, y)) continue;
			Text text = {.arena = arena};
			fn_print(&text, a);
			fn_print(&text, b);
			fputs(text.data, stderr);
			fail_msg("seed %llu, %s, output %d[%d]: %a became %a", (unsigned long long)seed,
			         mode == EVAL_F32 ? "f32" : "f64", i, (int)k, x, y);
		}
}

static void test_random_programs(void **state) {
	(void)state;
	const char *many = getenv("NNC_TEST_PROGRAMS");
	uint64_t count = many ? strtoull(many, NULL, 10) : 3000;
	int shrunk = 0;
	for (uint64_t seed = 1; seed <= count; seed++) {
		Random r = {hash_mix(seed)};
		Arena *arena = arena_new();
		Pool p = {.f = fn_new(arena, "random"), .r = &r};
		build_random(&p);
		Fn *before = fn_canonical(p.f), *after = pass_simplify(before);
		fn_verify(after, "simplify");
		shrunk += after->vals.length < before->vals.length;
		double **values = awkward_inputs(arena, before, &r);
		if (contractions(after) <= contractions(before) && dots(after) == dots(before)) {
			check_same(arena, before, after, EVAL_F32, values, seed);
			check_same(arena, before, after, EVAL_F64, values, seed);
		}
		/* A fixed point, looked at without a trace, and one that the text preserves. */
		int length = after->vals.length;
		assert_ptr_equal(pass_simplify(after), after);
		assert_int_equal(after->vals.length, length);
		for (int i = 0; i < length; i++) {
			Val *v = after->vals.data[i];
			if (v->op != OpInput && v->op != OpScan && v->op != OpMark) assert_ptr_equal(fn_rebuild(after, v, v->arg), v);
		}
		Text one = {.arena = arena}, two = {.arena = arena};
		fn_print(&one, after);
		fn_print(&two, pass_simplify(after));
		if (strcmp(one.data, two.data)) {
			fputs(one.data, stderr);
			fputs(two.data, stderr);
			fail_msg("seed %llu: no fixed point", (unsigned long long)seed);
		}
		arena_free(arena);
	}
	assert_true(shrunk > (int)count / 2);
}

/* ---- single rewrites ---- */

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

static Val *matrix(const char *name, int64_t m, int64_t n) {
	return fn_input(f, name, INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){m, n}));
}
static Val *like(Val *a, double x) { return ir_like(f, a, x); }

static Val *simplified(Val *y) {
	fn_output(f, "y", y, -1);
	return pass_simplify(f)->outputs.data[0].val;
}

static void expect_op(Val *y, Op op) {
	Val *got = simplified(y);
	if (got->op != op) fail_msg("%s instead of %s", op_info[got->op].text, op_info[op].text);
}

static void test_identities(void **state) {
	(void)state;
	Val *x = matrix("x", 2, 3);
	Val *y = ir_Sub(f, ir_Div(f, ir_Mul(f, x, like(x, 1)), like(x, 1)), like(x, 0));
	y = ir_Neg(f, ir_Neg(f, ir_Add(f, y, like(y, -0.0))));
	y = ir_Where(f, ir_Eq(f, like(y, 1), like(y, 1)), y, ir_Exp(f, y));
	expect_op(ir_transpose(f, ir_transpose(f, y, (int64_t[]){1, 0}), (int64_t[]){1, 0}), OpInput);
}

static void test_zero_keeps_signs(void **state) {
	(void)state;
	Val *x = matrix("x", 2, 3);
	expect_op(ir_Add(f, x, like(x, 0)), OpAdd);          /* -0 + 0 is +0 */
}

static void test_times_zero_keeps_nan(void **state) {
	(void)state;
	Val *x = matrix("x", 2, 3);
	expect_op(ir_Mul(f, x, like(x, 0)), OpMul);
}

static void test_negated_product_becomes_difference(void **state) {
	(void)state;
	Val *p = matrix("p", 2, 3), *g = matrix("g", 2, 3);
	Val *y = simplified(ir_Add(f, p, ir_Neg(f, ir_Mul(f, g, g))));
	assert_true(y->op == OpSub && y->arg[1]->op == OpMul);
}

static void test_division_by_power_of_two(void **state) {
	(void)state;
	Val *x = matrix("x", 2, 3);
	Val *y = simplified(ir_Div(f, x, like(x, 128)));
	double c = 0;
	assert_true(y->op == OpMul && is_splat(y->arg[1], &c) && c == 1.0 / 128);
}

static void test_division_by_other_numbers_stays(void **state) {
	(void)state;
	Val *x = matrix("x", 2, 3);
	expect_op(ir_Div(f, x, like(x, 100)), OpDiv);
}

/* 1/100 rounds to the same f32 either way; 0.1 * 3 does not. */
static void test_folding(void **state) {
	(void)state;
	Val *one = ir_const(f, DTYPE_F32, 1), *tenth = ir_const(f, DTYPE_F32, 0.1);
	Val *a = ir_Div(f, one, ir_const(f, DTYPE_F32, 100)), *b = ir_Mul(f, tenth, ir_const(f, DTYPE_F32, 3));
	fn_output(f, "a", a, -1);
	fn_output(f, "b", b, -1);
	Fn *s = pass_simplify(f);
	assert_true(is_const(s->outputs.data[0].val, 0.01));
	float product = 0.1f * 3.0f;
	double exact = 0.1 * 3;
	assert_true((s->outputs.data[1].val->op == OpConst) == (product == (float)exact));
}

static void test_work_moves_inside_broadcast(void **state) {
	(void)state;
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 1, (int64_t[]){3}));
	Val *wide = ir_broadcast(f, x, 2, (int64_t[]){50, 3}, (int64_t[]){1});
	Val *y = simplified(ir_Exp(f, ir_Mul(f, wide, like(wide, 2))));
	assert_true(y->op == OpBroadcast && y->arg[0]->op == OpExp && y->arg[0]->type.rank == 1);
}

/* sum over k of x(b,k) w(k,j), written as an indexed definition is lowered without contractions. */
static Val *product(int64_t b, int64_t k, int64_t j) {
	Val *x = matrix("x", b, k), *w = matrix("w", k, j);
	int64_t dim[] = {b, k, j};
	return ir_Mul(f, ir_broadcast(f, x, 3, dim, (int64_t[]){0, 1}), ir_broadcast(f, w, 3, dim, (int64_t[]){1, 2}));
}

static void test_sum_of_products(void **state) {
	(void)state;
	Val *y = simplified(ir_reduce(f, OpReduceSum, product(4, 5, 6), 1, (int64_t[]){1}));
	assert_true(y->op == OpContract && y->arg[0]->op == OpInput && y->arg[1]->op == OpInput);
	assert_true(y->arg[0]->list[0].data[0] == 0); /* x, which may carry the batch, first */
}

static void test_swapped_product(void **state) {
	(void)state;
	Val *y = product(4, 5, 6);
	y = simplified(ir_reduce(f, OpReduceSum, ir_Mul(f, y->arg[1], y->arg[0]), 1, (int64_t[]){1}));
	assert_true(y->op == OpContract && y->arg[0]->list[0].data[0] == 0);
}

/* Over all three axes only k is in both: one contraction, the rest stay sums. */
static void test_sum_over_all(void **state) {
	(void)state;
	Val *y = simplified(ir_reduce(f, OpReduceSum, product(4, 5, 6), 2, (int64_t[]){0, 1}));
	assert_true(y->op == OpReduceSum && y->arg[0]->op == OpContract);
	assert_true(y->type.rank == 1 && y->type.dim[0] == 6);
}

static void test_dot_of_rows_stays(void **state) {
	(void)state;
	Val *x = matrix("x", 4, 5), *w = matrix("w", 4, 5);
	expect_op(ir_reduce(f, OpReduceSum, ir_Mul(f, x, w), 1, (int64_t[]){1}), OpReduceSum);
}

/* A result that is scaled and then turned is computed turned; but not so that it ends with an axis of both operands. */
static void test_transposes_sink_to_contractions(void **state) {
	(void)state;
	Val *q = fn_input(f, "q", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){2, 4, 5}));
	Val *k = fn_input(f, "k", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){2, 6, 5}));
	Val *y = ir_contract(f, q, (int64_t[]){0, 1, 2}, k, (int64_t[]){0, 3, 2}, 3, (int64_t[]){0, 3, 1});
	Val *turned = simplified(ir_transpose(f, ir_Mul(f, ir_like(f, y, 0.5), y), (int64_t[]){0, 2, 1}));
	assert_true(turned->op == OpMul && turned->arg[1]->op == OpContract);
	assert_true(turned->arg[1]->type.dim[1] == 4 && turned->arg[1]->type.dim[2] == 6);
}

static void test_batch_axes_stay_outside(void **state) {
	(void)state;
	Val *q = fn_input(f, "q", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){2, 4, 5}));
	Val *k = fn_input(f, "k", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){2, 6, 5}));
	Val *y = ir_contract(f, q, (int64_t[]){0, 1, 2}, k, (int64_t[]){0, 3, 2}, 3, (int64_t[]){0, 1, 3});
	expect_op(ir_transpose(f, y, (int64_t[]){1, 2, 0}), OpTranspose);
}

/* Rows with one vector each are sums in lanes; turned so that an axis of both stands last, a chain per element, side by side. */
static void test_turned_sums_take_the_order_of_what_they_become(void **state) {
	(void)state;
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){3, 7, 70})), *w = matrix("w", 7, 70);
	Val *y = ir_contract(f, x, (int64_t[]){0, 1, 2}, w, (int64_t[]){1, 2}, 2, (int64_t[]){1, 0});
	assert_true(contract_order(y).dot);
	y = simplified(ir_transpose(f, y, (int64_t[]){1, 0}));
	assert_true(y->op == OpContract && !contract_order(y).dot);
}

static void test_transposes_vanish_in_contractions(void **state) {
	(void)state;
	Val *x = matrix("x", 5, 4), *w = matrix("w", 6, 5);
	int64_t swap[] = {1, 0};
	Val *y = ir_contract(f, ir_transpose(f, x, swap), (int64_t[]){0, 1}, ir_transpose(f, w, swap), (int64_t[]){1, 2}, 2,
	                     (int64_t[]){0, 2});
	y = simplified(ir_transpose(f, y, swap));
	assert_true(y->op == OpContract && y->arg[0]->op == OpInput && y->arg[1]->op == OpInput && y->type.dim[0] == 6);
}

/* Two summed labels: their order in a is the order of the sum. */
static void test_transpose_that_orders_a_sum_stays(void **state) {
	(void)state;
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){2, 3, 4})), *w = matrix("w", 3, 4);
	Val *t = ir_transpose(f, x, (int64_t[]){0, 2, 1});
	Val *y = simplified(ir_contract(f, t, (int64_t[]){0, 1, 2}, w, (int64_t[]){2, 1}, 1, (int64_t[]){0}));
	assert_true(y->op == OpContract && y->arg[0]->op == OpTranspose);
}

/* y, as it is and simplified, on numbers whose sums round: the same bits. */
static void expect_same(Val *y) {
	Random r = {3};
	fn_output(f, "y", y, -1);
	Fn *before = fn_canonical(f), *after = pass_simplify(before);
	double *values[4];
	for (int i = 0; i < before->inputs.length; i++) {
		int64_t n = type_count(before->inputs.data[i].type);
		values[i] = NEW_ARRAY(arena, double, n);
		for (int64_t k = 0; k < n; k++) values[i][k] = random_real(&r, -1, 1);
	}
	check_same(arena, before, after, EVAL_F32, values, 0);
}

static void test_transposes_compose(void **state) {
	(void)state;
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){2, 3, 4}));
	expect_same(ir_transpose(f, ir_transpose(f, x, (int64_t[]){1, 2, 0}), (int64_t[]){1, 0, 2}));
}

/* Without x's axis 1 the label would be w's alone, and a sum in lanes a chain. */
static void test_broadcast_that_orders_a_sum_stays(void **state) {
	(void)state;
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 1, (int64_t[]){70})), *w = matrix("w", 70, 5);
	Val *wide = ir_broadcast(f, x, 2, (int64_t[]){70, 5}, (int64_t[]){0});
	expect_same(ir_contract(f, wide, (int64_t[]){0, 1}, w, (int64_t[]){0, 1}, 1, (int64_t[]){1}));
}

static void test_adjoint_of_mean_is_a_constant(void **state) {
	(void)state;
	Val *x = matrix("x", 4, 5);
	Val *loss = ir_Div(f, dot(f, x, NULL), ir_const(f, DTYPE_F32, 20));
	fn_output(f, "dx", ir_grad(f, loss, x), -1);
	double c = 0;
	assert_true(is_splat(run_passes(f, 0, pass_count)->outputs.data[0].val, &c) && c == 0.05);
}

/* h = h * k + x[t] - (0.5 + w) and so on: k stays, two operands are one, one is a number, and of seven results two are read. */
static void test_scans_are_trimmed(void **state) {
	(void)state;
	Val *x = matrix("x", 4, 3), *k = fn_input(f, "k", INPUT_DATA, type_make(DTYPE_F32, 1, (int64_t[]){3})), *in[8];
	static const char *const names[] = {"t", "h", "k", "lost", "lost too", "x", "x again", "half"};
	Val *args[] = {k, ir_Exp(f, k), k, ir_Neg(f, k), x, x, ir_like(f, k, 0.5)};
	Fn *b = fn_new(arena, "body");
	for (int i = 0; i < 8; i++) in[i] = fn_input(b, names[i], INPUT_DATA, i ? args[i - 1]->type : type_scalar(DTYPE_I32));
	Val *row = ir_gather(b, in[5], in[0], 0), *again = ir_gather(b, in[6], in[0], 0);
	Val *next = ir_Add(b, ir_Mul(b, in[1], in[2]), ir_Sub(b, row, ir_Mul(b, again, in[7])));
	fn_output(b, "h", next, -1);
	fn_output(b, "k", in[2], -1);
	fn_output(b, "lost", ir_Add(b, in[3], in[4]), -1);
	fn_output(b, "lost too", ir_Tanh(b, in[3]), -1);
	fn_output(b, "hs", next, -1);
	fn_output(b, "sums", ir_Add(b, next, in[4]), -1);
	Val *scan = ir_scan(f, b, 4, true, 4, 7, args);
	fn_output(f, "hs", ir_project(f, scan, 4), -1);
	fn_output(f, "k", ir_project(f, scan, 1), -1);
	Fn *before = fn_canonical(f), *after = pass_simplify(before);
	fn_verify(after, "simplify");
	Random r = {7};
	double **values = awkward_inputs(arena, before, &r);
	check_same(arena, before, after, EVAL_F32, values, 0);
	const Val *kept = after->outputs.data[0].val->arg[0];
	assert_int_equal(kept->op, OpScan);
	assert_int_equal(kept->list[0].data[0], 1);   /* h */
	assert_int_equal(kept->nargs, 3);             /* h, k, x */
	assert_int_equal(kept->body->outputs.length, 2);
	assert_int_equal(after->outputs.data[1].val->op, OpExp);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random_programs),
	    CASE(test_identities),
	    CASE(test_zero_keeps_signs),
	    CASE(test_times_zero_keeps_nan),
	    CASE(test_negated_product_becomes_difference),
	    CASE(test_division_by_power_of_two),
	    CASE(test_division_by_other_numbers_stays),
	    CASE(test_folding),
	    CASE(test_work_moves_inside_broadcast),
	    CASE(test_sum_of_products),
	    CASE(test_swapped_product),
	    CASE(test_sum_over_all),
	    CASE(test_dot_of_rows_stays),
	    CASE(test_transposes_vanish_in_contractions),
	    CASE(test_transposes_sink_to_contractions),
	    CASE(test_turned_sums_take_the_order_of_what_they_become),
	    CASE(test_batch_axes_stay_outside),
	    CASE(test_transpose_that_orders_a_sum_stays),
	    CASE(test_adjoint_of_mean_is_a_constant),
	    CASE(test_transposes_compose),
	    CASE(test_broadcast_that_orders_a_sum_stays),
	    CASE(test_scans_are_trimmed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
