/* test_layers.c: every layer, activation and loss of std, training: first and second derivative by inputs and parameters
 * against central differences in f64; and what those cannot say, exactly.
 * link: nnc_front nnc_passes nnc_ir */
#include "std_layers.h"

static int input_named(const Fn *f, const char *name) {
	for (int i = 0; i < f->inputs.length; i++)
		if (!strcmp(f->inputs.data[i].name, name)) return i;
	fail_msg("no input %s", name);
	return -1;
}

static void check(const LayerCase *c, bool second) {
	Arena *arena = arena_new();
	Fn *f = layer_fn(arena, c, second);
	Random r = {hash_mix(3)};
	double **values = random_inputs(arena, f, &r);
	assert_true(f->outputs.length > 1);
	for (int i = 1; i < f->outputs.length; i++) {
		int input = input_named(f, f->outputs.data[i].name + strlen("grad/"));
		double error = gradient_error(f, input, i, values);
		if (!(error < 2e-6))
			fail_msg("%s: %s derivative: %s: error %g", c->body, second ? "second" : "first", f->outputs.data[i].name, error);
	}
	arena_free(arena);
}

static void test_first(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(layer_cases); i++) check(&layer_cases[i], false);
}

static void test_second(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(layer_cases); i++) check(&layer_cases[i], true);
}

/* ---- ties, rows that are masked whole, slopes that are infinite where nothing is selected ---- */

/* y and the derivative of sum(weight * y) by x, exactly. */
typedef struct Exact { const char *type, *body; double x[8], y[8], want[8]; } Exact;

static const Exact exact[] = {
	{"[1, 4, 2, 1]", "let y = max_pool(relu(x), 2) * 3", {-1, -2, -3, 0, 2, 1, 2, 2}, {0, 6}, {0, 0, 0, 0, 3}},
	{"[1, 8, 1]", "let y = max_pool(x, 4)", {1, 5, 5, 5, 0, 0, 0, 0}, {5, 0}, {0, 1, 0, 0, 1}},
	{"[1, 8, 1]", "let y = max_pool(x, 2, stride = 1)", {3, 3, 3, 3, 3, 3, 3, 3}, {3, 3, 3, 3, 3, 3, 3}, {1, 1, 1, 1, 1, 1, 1}},
	{"[1, 4, 2]", "let y = global_max_pool(x)", {1, 2, 1, 2, 1, 2, 0, 0}, {1, 2}, {1, 1}},
	{"[2, 4]", "let h = where(x > 1, -inf, x)\nlet y = softmax(h) * 4", {2, 3, 4, 5, 0, 0, 2, 2}, {0, 0, 0, 0, 2, 2, 0, 0}, {0}},
	{"[2, 4]", "let h = where(x > 1, -inf, x)\nlet y = softmax(h, axis = 0) * 2 * x", {2, 0, 2, 0, 3, 0, 0, 9},
	 {0, 0, 0, 0, 0, 0, 0, 0}, {0, 1, 0, 2, 0, 1, 2, 0}},
	{"[2, 4]", "let h = where(x > 1, -inf, x)\nlet y = where(x > 1, 0, log_softmax(h))", {2, 2, 2, 2, 0, 2, 2, 2}, {0}, {0}},
	{"[4]", "let y = where(x > 0, log(x), 0)", {0, 2, 0, -1}, {0, 0.6931471805599453, 0, 0}, {0, 0.5, 0, 0}},
	{"[4]", "let y = where(x > 0, sqrt(x), 1) + where(x != 0, 1 / x, 0)", {0, 4, 0, 1}, {1, 2.25, 1, 2}, {0, 0.1875, 0, -0.5}},
	{"[1, 2, 1, 2]", "let y = attend(x, x, x * 0 + 2, causal = true)", {1, 2, 3, 4}, {2, 2, 2, 2}, {0}},
};

/* A step that keeps y and the derivative of its sum by x in states. */
static const char *kept_program(Arena *arena, const char *type, const char *body) {
	return arena_printf(arena,
		"data given { one: f32 = [1] }\nmodel m(one: [B]) -> [] {\nparam x: %s = 0\n%s\n"
		"let n = 1\nfor d in dims(y) { n = n * d }\n"
		"state out: [n] = 0\nout <- reshape(y, n)\nlet s = sum(y)\nstate slope: [dims(x)] = 0\nslope <- grad(s, x)\nreturn s\n}\n"
		"train { data = given; batch = 1; steps = 9; loss = m(one); optimizer = sgd() }\n", type, body);
}

static void check_exact(const Exact *e, EvalMode mode) {
	Arena *arena = arena_new();
	Fn *f = run_passes(program_step(read_program(arena, kept_program(arena, e->type, e->body)), 0), 0, pass_count);
	double **values = NEW_ARRAY(arena, double *, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		bool is_x = !strcmp(f->inputs.data[i].name, "m/x");
		values[i] = NEW_ARRAY(arena, double, 16);
		for (int k = 0; k < 8; k++) values[i][k] = is_x ? e->x[k] : 1;
	}
	Tensor *out = run(arena, f, mode, values);
	int found = 0;
	for (int i = 0; i < f->outputs.length; i++) {
		bool y = !strcmp(f->outputs.data[i].name, "m/out"), slope = !strcmp(f->outputs.data[i].name, "m/slope");
		if (!y && !slope) continue;
		found++;
		for (int k = 0; k < type_count(out[i].type); k++) {
			double got = element(&out[i], mode, k), want = (y ? e->y : e->want)[k];
			if (got != want && got != (double)(float)want)
				fail_msg("%s: %s[%d] is %g, not %g", e->body, y ? "y" : "dx", k, got, want);
		}
	}
	assert_int_equal(found, 2);
	arena_free(arena);
}

static void test_exact(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(exact); i++)
		for (int mode = 0; mode < 2; mode++) check_exact(&exact[i], mode ? EVAL_F32 : EVAL_F64);
}

/* ---- dropout ---- */

enum { DROPPED = 4000 };

static int output_named(const Fn *f, const char *name) {
	for (int i = 0; i < f->outputs.length; i++)
		if (!strcmp(f->outputs.data[i].name, name)) return i;
	fail_msg("no output %s", name);
	return -1;
}

/* What step `now` leaves of 4000 ones, and the slopes there. */
static void drop(Arena *arena, int now, Tensor *y, Tensor *slope) {
	const char *text = kept_program(arena, "[4000]", "let y = dropout(x, 0.2)");
	Fn *f = run_passes(program_step(read_program(arena, text), 0), 0, pass_count);
	double **values = NEW_ARRAY(arena, double *, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		values[i] = NEW_ARRAY(arena, double, DROPPED);
		for (int k = 0; k < DROPPED; k++) values[i][k] = f->inputs.data[i].kind == INPUT_STEP ? now : 1;
	}
	Tensor *out = run(arena, f, EVAL_F32, values);
	*y = out[output_named(f, "m/out")], *slope = out[output_named(f, "m/slope")];
}

static void test_dropout(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Tensor y[2], slope[2];
	int zeros = 0, same = 0;
	for (int step = 0; step < 2; step++) {
		drop(arena, step + 1, &y[step], &slope[step]);
		for (int k = 0; k < DROPPED; k++) {
			double value = element(&y[step], EVAL_F32, k);
			assert_true(value == 0 || value == 1.25);
			assert_true(element(&slope[step], EVAL_F32, k) == value);   /* the derivative has the mask of its value */
			zeros += value == 0;
			same += step && value == element(&y[0], EVAL_F32, k);
		}
	}
	assert_in_range(zeros, 1600 - 180, 1600 + 180);       /* 5 deviations */
	assert_in_range(same, 2720 - 150, 2720 + 150);        /* 0.8^2 + 0.2^2 of 4000 */
	Program *p = read_program(arena, "model m(x: [B, 5]) -> [B, 5] = dropout(x, 0.5)");
	Fn *f = run_passes(program_infer(p, 0, 2), 0, pass_count);
	assert_true(f->outputs.data[0].val->op == OpInput);
	arena_free(arena);
}

/* ---- the orthogonal initialiser ---- */

static void test_orthogonal(void **state) {
	(void)state;
	static const struct { const char *shape; int rows, columns; } cases[] = {
		{"1, 1", 1, 1}, {"2, 2", 2, 2}, {"16, 64", 16, 64}, {"40, 40", 40, 40}, {"3, 5, 4", 15, 4}, {"7", 1, 7},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int seed = 1; seed <= 20; seed++) {
			Arena *arena = arena_new();
			Program *p = read_program(arena, arena_printf(arena, "data given { one: f32 = [1] }\n"
				"model m(one: [B]) -> [] { param u: [%s] = orthogonal(shape); return sum(u) }\n"
				"train { data = given; batch = 1; loss = m(one); optimizer = sgd() }\n", cases[i].shape));
			Fn *f = run_passes(program_init(p), 0, pass_count);
			assert_int_equal(f->inputs.length, 1);
			double *values[] = {(double[4]){seed, seed, seed, seed}};
			Tensor *out = run(arena, f, EVAL_F32, values);
			int n = cases[i].rows, m = cases[i].columns, wide = n <= m, side = wide ? n : m;
			for (int a = 0; a < side; a++)
				for (int b = 0; b <= a; b++) {
					double dot = 0;
					for (int k = 0; k < (wide ? m : n); k++)
						dot += element(out, EVAL_F32, wide ? a * m + k : k * m + a) *
						       element(out, EVAL_F32, wide ? b * m + k : k * m + b);
					if (!(fabs(dot - (a == b)) < 1e-5)) fail_msg("[%s]: %d . %d is %g", cases[i].shape, a, b, dot);
				}
			arena_free(arena);
		}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_second),
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_dropout),
		cmocka_unit_test(test_orthogonal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
