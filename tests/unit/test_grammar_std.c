/* test_grammar_std.c: the standard library against PyTorch and Keras, as recorded in tests/vectors/.
 * link: nnc_front nnc_passes nnc_ir nnc_grammar nnc_base
 *
 * Every case becomes a small program; its Fns run on the f64 interpreter, so that only formulas are compared. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes.h"
#include "program.h"

enum { MAX_TENSORS = 12, MAX_VALUES = 512, MAX_LINE = 1 << 16 };

typedef struct Recorded {
	char name[16], type[8], dims[32];
	int count;
	double values[MAX_VALUES];
} Recorded;
typedef struct Case {
	char text[256];
	int line, ntensors;
	Recorded tensors[MAX_TENSORS];
} Case;

static Arena *arena;
static Diag *diag;

static void read_tensor(Recorded *t, char *line) {
	int used = 0;
	t->count = 0;
	if (sscanf(line, "%15s %7[a-z0-9]%31[][0-9,] %n", t->name, t->type, t->dims, &used) < 2) fail_msg("bad line: %.40s", line);
	for (char *at = line + used, *end; t->count < MAX_VALUES; at = end) {
		double value = strtod(at, &end);
		if (end == at) break;
		t->values[t->count++] = value;
	}
}

/* The next case of the file; false at its end. */
static bool read_case(FILE *file, Case *c, int *line_number) {
	static char line[MAX_LINE];
	c->ntensors = 0;
	c->text[0] = 0;
	while (fgets(line, sizeof line, file)) {
		++*line_number;
		line[strcspn(line, "\n")] = 0;
		if (strncmp(line, "case ", 5) == 0) {
			snprintf(c->text, sizeof c->text, "%.*s", (int)sizeof c->text - 1, line + 5);
			c->line = *line_number;
		} else if (!line[0] && c->text[0]) return true;
		else if (line[0] && line[0] != '#' && strncmp(line, "from ", 5) != 0) read_tensor(&c->tensors[c->ntensors++], line);
	}
	return c->text[0] != 0;
}

static Program *elaborate(const char *text) {
	ElabOptions options = {0};
	Program *p = elab_program(arena, diag, diag_source(diag, "case.nn", text, strlen(text), false), &options);
	if (!p || diag->errors) {
		diag_print(diag, stderr, false);
		fail_msg("%s", text);
	}
	return p;
}

static Tensor filled(Type type, const double *values, int count) {
	int64_t elements = 1;
	for (int i = 0; i < type.rank; i++) elements *= type.dim[i];
	bool real = dtype_is_float(type.dtype);
	Tensor t = {type, arena_alloc(arena, (size_t)elements * sizeof(double))};
	if (count != 1) assert_int_equal(elements, count);
	for (int64_t i = 0; i < elements; i++) {
		if (real) ((double *)t.data)[i] = values[count == 1 ? 0 : i];
		else ((int32_t *)t.data)[i] = (int32_t)values[count == 1 ? 0 : i];
	}
	return t;
}

static const Recorded *find(const Case *c, const char *name, bool result) {
	for (int i = 0; i < c->ntensors; i++)
		if (strcmp(c->tensors[i].name, name) == 0 && (c->tensors[i].type[0] == 'f' && c->tensors[i].type[1] == '6') == result)
			return &c->tensors[i];
	return NULL;
}

static void compare(const Case *c, const Recorded *wanted, const double *got, int from, int count) {
	double scale = 1e-3;
	for (int i = 0; i < count; i++) scale = fmax(scale, fabs(wanted->values[from + i]));
	for (int i = 0; i < count; i++) {
		double w = wanted->values[from + i], error = fabs(got[i] - w);
		if (!(error <= 1e-11 * scale || got[i] == w || (isnan(w) && isnan(got[i]))))
			fail_msg("line %d: %s: %s[%d] is %.17g, recorded %.17g", c->line, c->text, wanted->name, from + i, got[i], w);
	}
}

/* y and the gradients of sum(y * dy) by every float input. */
static void check_function(const Case *c) {
	Text text = {.arena = arena}, results = {.arena = arena}, values = {.arena = arena};
	const Recorded *wanted[MAX_TENSORS];
	int n = 0;
	text_add(&text, "model m(");
	for (int i = 0; i < c->ntensors; i++) {
		const Recorded *t = &c->tensors[i];
		if (strcmp(t->type, "f64") != 0) text_add(&text, "%s: %s%s, ", t->name, t->type, t->dims);
	}
	const Recorded *dy = find(c, "dy", true), *y = find(c, "y", true);
	assert_true(dy && y);
	wanted[n++] = y;
	text_add(&results, "r0: f32%s", y->dims);
	for (int i = 0; i < c->ntensors; i++) {
		const Recorded *t = &c->tensors[i];
		if (strcmp(t->type, "f32") != 0) continue;
		const Recorded *gradient = find(c, arena_printf(arena, "d%s", t->name), true);
		if (!gradient) continue;
		text_add(&results, ", r%d: f32%s", n, t->dims);
		text_add(&values, ", grad(s, %s)", t->name);
		wanted[n++] = gradient;
	}
	text_add(&text, "dy: f32%s) -> %s {\n  let value = %s\n  let s = sum(value * dy)\n  return value%s\n}\n", dy->dims,
	         results.data, c->text, values.data ? values.data : "");
	Program *p = elaborate(text.data);
	Fn *f = run_passes(program_infer(p, 0, 1), 0, pass_count);
	Tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
	for (int i = 0; i < f->inputs.length; i++) {
		const char *name = f->inputs.data[i].name;
		const Recorded *t = strcmp(name, "dy") == 0 ? dy : find(c, name, false);
		inputs[i] = filled(f->inputs.data[i].type, t->values, t->count);
	}
	fn_eval(arena, f, EVAL_F64, inputs, outputs);
	assert_int_equal(f->outputs.length, n);
	for (int i = 0; i < n; i++) compare(c, wanted[i], outputs[i].data, 0, wanted[i]->count);
}

static void check_schedule(const Case *c) {
	const Recorded *steps = find(c, "step", false), *rates = find(c, "rate", true);
	Program *p = elaborate(arena_printf(arena, "model m(x: f32) -> f32 = x * %s\n", c->text));
	Fn *f = run_passes(program_infer(p, 0, 1), 0, pass_count);
	for (int s = 0; s < steps->count; s++) {
		Tensor inputs[MAX_TENSORS], output;
		for (int i = 0; i < f->inputs.length; i++)
			inputs[i] =
			    filled(f->inputs.data[i].type, f->inputs.data[i].kind == INPUT_STEP ? &steps->values[s] : &(double){1}, 1);
		fn_eval(arena, f, EVAL_F64, inputs, &output);
		compare(c, rates, output.data, s, 1);
	}
}

static void check_optimizer(const Case *c) {
	static const char *const keras_adam =
	    "optimizer keras_adam(p, g, lr = 0.001, b1 = 0.9, b2 = 0.999, eps = 1e-7) {\n"
	    "  state m: [dims(p)] = 0; state v: [dims(p)] = 0\n"
	    "  m <- b1 * m + (1 - b1) * g\n  v <- b2 * v + (1 - b2) * g * g\n"
	    "  p <- p - lr * (-expm1(step * log(b2))) ^ 0.5 / -expm1(step * log(b1)) * m / (sqrt(v) + eps)\n}\n";
	const Recorded *parameter[2] = {find(c, "p", false), find(c, "b", false)},
	               *gradient[2] = {find(c, "g", false), find(c, "h", false)};
	const Recorded *wanted[2] = {find(c, "ps", true), find(c, "bs", true)};
	Program *p = elaborate(arena_printf(
	    arena,
	    "%s"
	    "data d { g: f32[2, 3] = npy(\"g.npy\"); h: f32[3] = npy(\"h.npy\") }\n"
	    "model m(g: [B, 2, 3], h: [B, 3]) -> [] {\n  param p: [2, 3] = 0; param b: [3] = 0\n  return sum(g * p) + sum(h * b)\n}\n"
	    "train { data = d; batch = 1; steps = 10; loss = m(g, h); optimizer = %s }\n",
	    strncmp(c->text, "keras_adam", 10) ? "" : keras_adam, c->text));
	Fn *init = program_init(p), *step = run_passes(program_step(p, 0), 0, pass_count);
	init = run_passes(init, 0, pass_count);
	Tensor first[MAX_TENSORS], inputs[MAX_TENSORS], outputs[MAX_TENSORS];
	for (int i = 0; i < init->inputs.length; i++) first[i] = filled(init->inputs.data[i].type, &(double){1}, 1);
	fn_eval(arena, init, EVAL_F64, first, outputs);
	for (int i = 0; i < step->inputs.length; i++)
		for (int j = 0; j < init->outputs.length; j++)
			if (strcmp(step->inputs.data[i].name, init->outputs.data[j].name) == 0) inputs[i] = outputs[j];
	for (int s = 0; s < 10; s++) {
		for (int i = 0; i < step->inputs.length; i++) {
			const Input *input = &step->inputs.data[i];
			for (int k = 0; k < 2; k++) {
				int size = parameter[k]->count;
				if (s == 0 && strcmp(input->name, k ? "m/b" : "m/p") == 0)
					inputs[i] = filled(input->type, parameter[k]->values, size);
				if (input->kind == INPUT_DATA && strcmp(input->name, k ? "h" : "g") == 0)
					inputs[i] = filled(input->type, gradient[k]->values + s * size, size);
			}
			if (input->kind == INPUT_STEP) inputs[i] = filled(input->type, &(double){s + 1}, 1);
		}
		fn_eval(arena, step, EVAL_F64, inputs, outputs);
		for (int i = 0; i < step->outputs.length; i++) {
			const Output *output = &step->outputs.data[i];
			if (output->updates < 0) continue;
			inputs[output->updates] = outputs[i];
			for (int k = 0; k < 2; k++)
				if (strcmp(step->inputs.data[output->updates].name, k ? "m/b" : "m/p") == 0)
					compare(c, wanted[k], outputs[i].data, s * parameter[k]->count, parameter[k]->count);
		}
	}
}

static void run_file(const char *name, void (*check)(const Case *)) {
	static Case c;
	char path[512];
	snprintf(path, sizeof path, "%s/tests/vectors/%s", NNC_SOURCE_DIR, name);
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	int count = 0;
	for (int line = 0; read_case(file, &c, &line); count++) {
		arena = arena_new();
		diag = diag_new(arena);
		check(&c);
		arena_free(arena);
	}
	fclose(file);
	assert_true(count >= 10);
}

static void test_activations(void **state) {
	(void)state;
	run_file("activations.txt", check_function);
}
static void test_losses(void **state) {
	(void)state;
	run_file("losses.txt", check_function);
}
static void test_schedules(void **state) {
	(void)state;
	run_file("schedules.txt", check_schedule);
}
static void test_optimizers(void **state) {
	(void)state;
	run_file("optimizers.txt", check_optimizer);
}

/* Runs the only model of `text` on inputs of one value each; outputs as its results. */
static void run_model(const char *text, const double *values, Tensor *outputs) {
	Fn *f = run_passes(program_infer(elaborate(text), 0, 1), 0, pass_count);
	Tensor inputs[MAX_TENSORS];
	for (int i = 0; i < f->inputs.length; i++) inputs[i] = filled(f->inputs.data[i].type, values, 6);
	fn_eval(arena, f, EVAL_F64, inputs, outputs);
}

/* A row of -inf gives 0 and no NaN gradient, along either axis; weights may be given per sample of a longer loss. */
static void test_edges(void **state) {
	(void)state;
	Tensor outputs[4];
	arena = arena_new();
	diag = diag_new(arena);
	run_model("model m(x: [2, 3]) -> a: [2, 3], b: [2, 3], c: [2, 3] {\n  let y = softmax(x)\n  let s = sum(y * y)\n"
	          "  return y, grad(s, x), softmax(x, axis = 0)\n}\n",
	          (const double[]){-INFINITY, -INFINITY, -INFINITY, 0, 1, 2}, outputs);
	const double *y = outputs[0].data, *dx = outputs[1].data, *down = outputs[2].data;
	for (int i = 0; i < 3; i++) {
		assert_true(y[i] == 0 && dx[i] == 0 && down[i] == 0 && down[3 + i] == 1);
		assert_true(fabs(y[3 + i] - exp(i) / (1 + exp(1) + exp(2))) < 1e-12);
	}
	run_model("model m(x: [1, 2, 3]) -> [1, 2] = cross_entropy(x, zeros(1, 2) as i32, weight = full(2, 1))\n",
	          (const double[]){0, 0, 0, 1, 1, 1}, outputs);
	assert_true(fabs(((const double *)outputs[0].data)[1] - 2 * log(3)) < 1e-12);
	Program *p =
	    elaborate("model m(x: [B]) -> [B] {\n  param w: [2, 2] = -1.5\n  param b: [3] = 9\n  return x * sum(w) * sum(b)\n}\n"
	              "data d { x: f32 = npy(\"x.npy\") }\ntrain { data = d; batch = 2; steps = 1; loss = m(x) + 0.5 * l2(m) + l1(m) "
	              "+ l1(m, decay_rank = 0); optimizer = sgd() }\n");
	Fn *f = run_passes(program_loss(p, 0, 2, true), 0, pass_count);
	Tensor inputs[MAX_TENSORS];
	for (int i = 0; i < f->inputs.length; i++) {
		const char *name = f->inputs.data[i].name;
		inputs[i] = filled(f->inputs.data[i].type,
		                   strcmp(name, "m/w") == 0   ? &(double){-1.5}
		                   : strcmp(name, "m/b") == 0 ? &(double){9}
		                                              : &(double){0},
		                   1);
	}
	fn_eval(arena, f, EVAL_F64, inputs, outputs);
	assert_true(*(double *)outputs[0].data == 4.5 + 6 + 33);
	for (int i = 1; i < 3; i++)
		assert_true(*(double *)outputs[i].data == (strcmp(f->outputs.data[i].name, "grad/m/w") == 0 ? -1.5 - 2 : 1));
	arena_free(arena);
}

/* Mean, variance and bounds of every initializer, for w [240, 160]; a vector is initialised too. */
static void test_initializers(void **state) {
	(void)state;
	static const struct {
		const char *call;
		double variance, bound;
	} cases[] = {
	    {"glorot_uniform(shape)", 2.0 / 400, 0.12247448713915891},
	    {"glorot_normal(shape)", 2.0 / 400, 2 * 0.0707106781186548 / 0.8796256610342398},
	    {"he_uniform(shape)", 2.0 / 240, 0.15811388300841897},
	    {"he_normal(shape)", 2.0 / 240, 2 * 0.0912870929175277 / 0.8796256610342398},
	    {"lecun_normal(shape)", 1.0 / 240, 2 * 0.0645497224367903 / 0.8796256610342398},
	    {"truncated_normal(shape)", 0.0025 * 0.7737413, 0.1},
	    {"truncated_normal(shape, deviation = 2)", 4 * 0.7737413, 4},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		arena = arena_new();
		diag = diag_new(arena);
		Program *p = elaborate(arena_printf(
		    arena,
		    "model m(x: [B]) -> [] {\n  param w: [240, 160] = %s\n  param b: [7] = %s\n  return sum(w) + sum(b) + sum(x)\n}\n"
		    "data d { x: f32 = npy(\"x.npy\") }\ntrain { data = d; batch = 1; steps = 1; loss = m(x); optimizer = sgd() }\n",
		    cases[i].call, cases[i].call));
		Fn *init = run_passes(program_init(p), 0, pass_count);
		Tensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
		for (int k = 0; k < init->inputs.length; k++) inputs[k] = filled(init->inputs.data[k].type, &(double){7}, 1);
		fn_eval(arena, init, EVAL_F64, inputs, outputs);
		const double *w = outputs[0].data;
		double sum = 0, squares = 0, top = 0, n = 240 * 160;
		assert_string_equal(init->outputs.data[0].name, "m/w");
		for (int k = 0; k < (int)n; k++) sum += w[k], squares += w[k] * w[k], top = fmax(top, fabs(w[k]));
		double deviation = sqrt(cases[i].variance);
		if (fabs(sum / n) > 5 * deviation / sqrt(n) || fabs(squares / n / cases[i].variance - 1) > 0.03 ||
		    top > cases[i].bound * 1.000001 || top < 0.99 * cases[i].bound)
			fail_msg("%s: mean %g, variance %g, largest %g", cases[i].call, sum / n, squares / n, top);
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_activations), cmocka_unit_test(test_losses), cmocka_unit_test(test_schedules),
	    cmocka_unit_test(test_optimizers),  cmocka_unit_test(test_edges),  cmocka_unit_test(test_initializers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
