/* test_indexed_grad.c: what subscripts and the built-ins that address elements become, differentiated: first and second
 * derivative against central differences in f64, and the printed derivative read back.
 * link: nnc_front nnc_passes nnc_ir */
#include "nn_text.h"

/* floats: "x[2, 5] w[3]" are differentiated by; more: other arguments, or "".  body defines y. */
typedef struct Case { const char *floats, *more, *body; } Case;

static const Case cases[] = {
	/* convolutions */
	{"x[2, 5, 6, 2] w[3, 3, 2, 2]", "",
	 "let y[b, i < 3, j < 3, o] = sum[r, s, c](x[b, i * 2 + r - 1, j * 2 + s - 1, c | 0] * w[r, s, c, o])"},
	{"x[2, 7, 2] w[2, 2, 3]", "", "let y[b, i < 3, o] = sum[r, c](x[b, i + 3 * r + 1, c] * w[r, c, o])"},
	{"x[2, 5, 6] w[3, 3, 2, 2]", "", "let y[b, i < 5, g, o] = sum[r, k](x[b, i + r - 1, g * 3 + k | 0] * w[r, k, g, o])"},
	{"x[2, 4, 4, 3] w[3, 3, 3]", "", "let y[b, i < 4, j < 4, c] = sum[r, s](x[b, i + r - 1, j + s - 1, c | 0] * w[r, s, c])"},
	{"x[2, 3, 2, 2] w[3, 2, 2, 2]", "",
	 "let y[b, i < 7, j < 3, o] = sum[r, s, c](x[b, (i + 1 - r) / 2, (j - s) / 1, c | 0] * w[r, s, o, c])"},
	{"x[2, 6, 2] w[1, 2, 2]", "", "let y[b, i < 3, o] = sum[r, c](x[b, 2 * i + r, c] * w[r, c, o])"},
	{"x[2, 6, 2] w[2, 2, 2]", "", "let y[b, i < 3, o] = sum[r, c](x[b, 2 * i + r, c] * w[r, c, o])"},
	{"x[3, 9] w[2, 2]", "", "let y[b, i < 2] = sum[r, s](x[b, i * 2 - r + 3 * s + 1] * w[r, s])"},
	/* pooling */
	{"x[2, 7, 6, 2]", "", "let y[b, i < 3, j < 2, c] = max[r < 3, s < 3](x[b, i * 2 + r, j * 2 + s, c])"},
	{"x[2, 5, 5, 2]", "", "let a = relu(x)\nlet y[b, i < 2, j < 2, c] = max[r < 2, s < 2](a[b, i * 2 + r, j * 2 + s, c])"},
	{"x[2, 5, 5, 2]", "",
	 "let a = relu(x)\nlet y[b, i < 3, j < 3, c] = max[r < 3, s < 3](a[b, i * 2 + r - 1, j * 2 + s - 1, c | -inf])"},
	{"x[2, 5, 5]", "", "let y[b, i < 3] = mean[r < 3, s < 3](x[b, i + r, i + s | 0]) + min[r < 2](x[b, i + r, i])"},
	/* what windows never touch, touch often, or touch with a slope that is infinite elsewhere */
	{"x[9]", "", "let y[i < 2, r < 2] = x[5 * i + r]"},
	{"x[9]", "", "let y[i < 4, r < 3] = x[2 * i + r] * x[i + r]"},
	{"x[5]", "", "let p[i < 5, r < 3] = x[i + r - 1 | 0]\nlet y = where(p > 0, log(p), 0)"},
	{"x[5]", "", "let p[i < 5, r < 3] = x[(i + r) / 2 | 0]\nlet y = where(p > 0, sqrt(p), 1)"},
	{"x[5] a[4]", "", "let y[i < 4, j < 3] = x[2 * i - j | a[i] * a[j]]"},
	{"x[5] a[9]", "", "let y[i < 9] = x[i / 3 | a[i]] * x[(i + 1) / 2 - 1 | i]"},
	{"x[6, 4]", "", "let y[i < 4, r < 3] = x[i + r, i] + x[5 - i - r - 1, r | 2]"},
	/* gathers and scatters */
	{"w[3, 4]", "t: i32[2, 3]", "let y[b, s, j] = w[t[b, s], j] * w[t[b, s] - 1, 3 - j]"},
	{"x[2, 3, 4]", "t: i32[2, 5]", "let y[b, i, j] = x[b, t[b, i], j]"},
	{"x[3, 2, 3]", "t: i32[4], u: i32[4]", "let y[i, j] = x[t[i], j, u[i] + 1 | j * 0.5]"},
	{"x[4, 3]", "t: i32[2, 3]", "let y = gather(x, t) * gather(x, t - 1)"},
	{"x[2, 4, 3]", "t: i32[2, 5]", "let y = gather(x, t, batch = 1)"},
	{"x[5, 2]", "t: i32[5]", "let y = scatter_add(x, t - 1, 4) ^ 2"},
	{"x[2, 5, 3]", "t: i32[2, 5]", "let y = scatter_add(x, 2 * t, 7, batch = 1)"},
	{"x[2, 5]", "t: i32[2, 5]", "let y = scatter_add(x, t, 3)"},
	{"x[6, 2]", "", "let y[i < 12, j] = x[i // 2, j] * x[(i % 2) * 3, j]"},
	{"x[3, 4]", "", "let y[i < 5, r < 2] = x[(i + r) // 2, i // 2] * x[2 - i // 3, 1 - (r + 1) // 2 | i]"},
	/* along an axis */
	{"x[3, 5]", "", "let y = cumsum(x) * cumsum(x, axis = 0)"},
	{"x[3, 4, 2]", "", "let y = fold(x, stride = 2, axis = 1)"},
	{"x[3, 4, 2]", "", "let y = fold(x, stride = 1, dilation = 2, total = 11, axis = 0)"},
	{"x[6]", "", "let y = gather(x, argsort(x)) * (iota(6) as f32)"},
	{"x[2, 6]", "", "let o = argsort(-x)\nlet y[b, i < 3] = x[b, o[b, i]]"},
	{"x[2, 6]", "", "let y = flip(pad(x, 1, 2, 0.5), axis = 0)"},
	{"x[2, 6]", "", "let y = pad(x, 1, 2, value = x[0, 0] * x[1, 2])"},
	{"x[3, 2]", "", "let y = pad(x * x, -1, 2, value = sum(x), axis = 0)"},
};

/* A model of a scalar that every element of y moves otherwise, and its gradient; of that gradient, when `second`. */
static const char *program(Arena *arena, const Case *c, bool second) {
	Given given[4];
	Text head = {.arena = arena}, results = {.arena = arena}, body = {.arena = arena}, values = {.arena = arena};
	int n = read_floats(arena, c->floats, given);
	for (int i = 0; i < n; i++) {
		text_add(&head, "%s%s: %s", i ? ", " : "", given[i].name, given[i].dims);
		text_add(&results, ", d_%s: %s", given[i].name, given[i].dims);
		text_add(&values, ", grad(scalar, %s)", given[i].name);
		const char *sum = i ? " + " : "let t = ", *name = given[i].name;
		if (second) text_add(&body, "%ssum(cos(grad(s, %s) + %d) * spread(grad(s, %s)))", sum, name, i, name);
	}
	if (*c->more) text_add(&head, ", %s", c->more);
	return arena_printf(arena,
	                    "fn spread(x) {\nlet n = 1\nfor d in dims(x) { n = n * d }\n"
	                    "return reshape(cos(1.7 * (iota(n) as f32) + 1), dims(x))\n}\n"
	                    "model m(%s) -> loss: []%s {\n%s\nlet s = sum(spread(y) * (y + 0.3 * y * y))\n%s\n"
	                    "let scalar = %s\nreturn scalar%s\n}\n",
	                    head.data, results.data, c->body, second ? body.data : "", second ? "t" : "s", values.data);
}

static void check(const Case *c, bool second) {
	Arena *arena = arena_new();
	const char *text = program(arena, c, second);
	Fn *f = run_passes(program_infer(read_program(arena, text), 0, 1), 0, pass_count);
	for (uint64_t seed = 1; seed <= 3; seed++) {
		Random r = {hash_mix(seed)};
		double **values = random_inputs(arena, f, &r);
		double error = derivative_error(f, f->outputs.length - 1, values);
		if (!(error < 2e-6)) fail_msg("%s: %s derivative: error %g", c->body, second ? "second" : "first", error);
		check_text(arena, f, &r, false);
	}
	arena_free(arena);
}

static void test_first(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) check(&cases[i], false);
}

static void test_second(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) check(&cases[i], true);
}

/* ---- what difference quotients cannot say ---- */

/* The derivative of sum(y) by x, exactly: ties, what is never touched, slopes that are infinite where nothing is selected. */
typedef struct Exact { const char *type, *more, *body; double x[9], want[9]; } Exact;

static const Exact exact[] = {
	/* of equal elements the first tap, row by row */
	{"[3, 3]", "", "let y[i < 2, j < 2] = max[r < 2, s < 2](x[i + r, j + s])", {1, 1, 1, 1, 1, 1, 1, 1, 1},
	 {1, 1, 0, 1, 1, 0, 0, 0, 0}},
	{"[3, 3]", "", "let a = relu(x)\nlet y[i < 2, j < 2] = max[r < 2, s < 2](a[i + r, j + s])", {-1, -2, -3, -1, 2, 2, 0, 2, 0},
	 {0, 0, 0, 0, 4, 0, 0, 0, 0}},
	{"[3]", "", "let y[i < 3] = max[r < 3](x[i + r - 1 | -inf])", {0, 0, 0}, {2, 1, 0}},
	{"[3]", "", "let y[i < 3] = min[r < 3](x[i + r - 1 | inf])", {5, 5, 5}, {2, 1, 0}},
	/* a default is a tap like others */
	{"[3]", "", "let y[i < 3] = max[r < 3](x[i + r - 1 | 0])", {0, 0, 0}, {1, 1, 0}},
	{"[9]", "", "let y[i < 2, r < 2] = x[5 * i + r] * 3", {0}, {3, 3, 0, 0, 0, 3, 3}},
	{"[5]", "", "let p[i < 5, r < 3] = x[i + r - 1 | 0]\nlet y = where(p > 0, log(p), 0)", {0, 2, 0, -1, 4}, {0, 1.5, 0, 0, 0.5}},
	{"[3]", "", "let p[i < 6] = x[i / 2 | 0]\nlet y = where(p > 0, 1 / p, 0)", {0, 2, 0}, {0, -0.25, 0}},
	{"[3]", "", "let g = gather(x, iota(5) - 1)\nlet y = log(x[0..1]) + sum(where(g > 1, log(g), 0))", {2, 0, 4}, {1, 0, 0.25}},
	{"[4]", "t: i32[4]", "let y = scatter_add(x, t - 1, 3) * (iota(3) as f32 + 1)", {1, 2, 3, 4}, {1, 1, 1, 1}},
};

static void test_exact(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(exact); i++) {
		const Exact *e = &exact[i];
		Arena *arena = arena_new();
		const char *text = arena_printf(arena, "model m(x: %s%s%s) -> d_x: %s {\n%s\nreturn grad(sum(y), x)\n}\n", e->type,
		                                *e->more ? ", " : "", e->more, e->type, e->body);
		Fn *f = run_passes(program_infer(read_program(arena, text), 0, 1), 0, pass_count);
		double x[9], ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
		for (int k = 0; k < 9; k++) x[k] = e->x[k];
		for (int mode = 0; mode < 2; mode++) {
			Tensor *out = run(arena, f, mode ? EVAL_F32 : EVAL_F64, (double *[]){x, ones});
			for (int k = 0; k < type_count(out->type); k++) {
				double got = element(out, mode ? EVAL_F32 : EVAL_F64, k);
				if (got != e->want[k]) fail_msg("%s: element %d is %g, not %g", e->body, k, got, e->want[k]);
			}
		}
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_first), cmocka_unit_test(test_second), cmocka_unit_test(test_exact)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
