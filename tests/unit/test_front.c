/* Elaboration: whole programs to Fns, their numbers against differences, and the errors a user meets.
 * link: nnc_front nnc_passes nnc_ir nnc_grammar nnc_base */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "passes.h"
#include "program.h"
#include "session.h"

typedef struct Outcome { Arena *arena; Diag *diag; Program *program; char *text; } Outcome;

static Outcome elaborate(const char *source, const ElabOptions *options) {
	Outcome r = {.arena = arena_new()};
	r.diag = diag_new(r.arena);
	size_t size;
	FILE *out = open_memstream(&r.text, &size);
	r.program = elab_program(r.arena, r.diag, diag_source(r.diag, "model.nn", source, strlen(source), false), options);
	diag_print(r.diag, out, false);
	fclose(out);
	return r;
}

static void done(Outcome r) {
	arena_free(r.arena);
	free(r.text);
}

static Outcome good(const char *source) {
	Outcome r = elaborate(source, NULL);
	if (!r.program) fail_msg("does not elaborate:\n%s", r.text);
	return r;
}

/* ---- numbers ---- */

static uint64_t state = 1;
static double noise(void) {
	state = hash_mix(state);
	return (double)(state >> 11) / 9007199254740992.0 * 2 - 1;
}

static Tensor *random_inputs(Arena *arena, const Fn *f) {
	Tensor *t = NEW_ARRAY(arena, Tensor, f->inputs.length + 1);
	state = 1;
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		int64_t n = type_count(in->type);
		t[i].type = in->type;
		if (dtype_is_float(in->type.dtype)) {
			double *x = NEW_ARRAY(arena, double, n);
			for (int64_t k = 0; k < n; k++) x[k] = in->kind == INPUT_SLOT ? 0 : noise();
			t[i].data = x;
		} else {
			int32_t *x = NEW_ARRAY(arena, int32_t, n);
			for (int64_t k = 0; k < n; k++)
				x[k] = in->kind == INPUT_SLOT   ? 0
				       : in->kind == INPUT_DATA ? (int32_t)(fabs(noise()) * (double)(in->classes > 0 ? in->classes : 5))
				                                : 1;
			t[i].data = x;
		}
	}
	return t;
}

static Tensor *run(Arena *arena, const Fn *f, const Tensor *inputs) {
	Tensor *outputs = NEW_ARRAY(arena, Tensor, f->outputs.length + 1);
	fn_eval(arena, f, EVAL_F64, inputs, outputs);
	return outputs;
}

static int output_named(const Fn *f, const char *name) {
	for (int i = 0; i < f->outputs.length; i++)
		if (!strcmp(f->outputs.data[i].name, name)) return i;
	fail_msg("no output %s", name);
	return -1;
}

static int input_named(const Fn *f, const char *name) {
	for (int i = 0; i < f->inputs.length; i++)
		if (!strcmp(f->inputs.data[i].name, name)) return i;
	fail_msg("no input %s", name);
	return -1;
}

static double number(const Tensor *outputs, const Fn *f, const char *name) {
	return *(double *)outputs[output_named(f, name)].data;
}

/* Every gradient against central differences along one random direction per parameter. */
static void check_gradients(const char *source, double tolerance) {
	Outcome r = good(source);
	Fn *f = run_passes(program_loss(r.program, 0, 3, true), 0, pass_count);
	Tensor *in = random_inputs(r.arena, f), *out = run(r.arena, f, in);
	int checked = 0;
	for (int i = 0; i < f->inputs.length; i++) {
		if (f->inputs.data[i].kind != INPUT_PARAM) continue;
		const double *g = out[output_named(f, arena_printf(r.arena, "grad/%s", f->inputs.data[i].name))].data;
		int64_t n = type_count(f->inputs.data[i].type);
		double *x = in[i].data, slope = 0, h = 1e-5, value[2];
		double *direction = NEW_ARRAY(r.arena, double, n);
		for (int64_t k = 0; k < n; k++) slope += g[k] * (direction[k] = noise());
		for (int side = 0; side < 2; side++) {
			for (int64_t k = 0; k < n; k++) x[k] += (side ? -2 : 1) * h * direction[k];
			value[side] = number(run(r.arena, f, in), f, "loss");
		}
		for (int64_t k = 0; k < n; k++) x[k] += h * direction[k];
		double difference = (value[0] - value[1]) / (2 * h);
		if (fabs(difference - slope) > tolerance * (1 + fabs(slope)))
			fail_msg("%s: %g, by differences %g", f->inputs.data[i].name, slope, difference);
		checked++;
	}
	assert_true(checked > 0);
	done(r);
}

#define MLP                                                                                                                      \
	"data d { x: u8[4, 4] = idx(\"x\"); y: class[3] = idx(\"y\") }\n"                                                            \
	"model mlp(image: u8[B, 4, 4]) -> logits[B, 3] = image as f32 / 255 |> flatten |> dense(5) |> relu |> dense(3)\n"            \
	"train { data = d; batch = 8; let z = mlp(x); loss = cross_entropy(z, y); metric accuracy = argmax(z) == y; optimizer = "    \
	"adam() }\n"

static const char second_order[] =
	"data d { x: f32[3] = [[0, 0, 1], [0, 1, 2]]; y: f32 = [0, 1] }\n"
	"fn square(v) = v * v\n"
	"vjp square(v -> y, dy) { return 2 * v * dy }\n"
	"layer twice(x: [B, n]) -> [B, n] { let f = dense(_, n); return tanh(f(f(x))) + 0.1 * sum(f.w) }\n"
	"model net(x: [B, 3]) -> [B] {\n"
	"  let hs = []\n"
	"  for k in 0..3 { hs = append(hs, x |> dense(4 + k) |> square) }\n"
	"  let h = concat(hs[0], hs[1], hs[2]) |> twice\n"
	"  param s: f32 = 0.5\n"
	"  let y[b] = sum[j](h[b, j]) * s\n"
	"  return y\n"
	"}\n"
	"train { data = d; batch = 2\n"
	"  let q = x * 1\n"
	"  let z = net(q)\n"
	"  loss = mse(z, y) + mean(grad(sum(z), q) ^ 2) + 0.01 * sum(net.s ^ 3)\n"
	"  optimizer = sgd() }\n";

static void test_gradients(void **unused) {
	(void)unused;
	check_gradients(MLP, 1e-6);
	check_gradients(second_order, 1e-5);
}

static void test_paths(void **unused) {
	(void)unused;
	Outcome r = good(second_order);
	const char *want[] = {"net/dense.0/w", "net/dense.0/b", "net/dense.1/w", "net/dense.1/b", "net/dense.2/w", "net/dense.2/b",
		"net/twice.0/f/w", "net/twice.0/f/b", "net/s"};
	assert_int_equal(r.program->persistent.length, (int)COUNT(want));
	for (int i = 0; i < (int)COUNT(want); i++) assert_string_equal(r.program->persistent.data[i].path, want[i]);
	done(r);
}

/* Inputs: data, then persistent in order, then step; each updated tensor is an output that names its input. */
static void test_step(void **unused) {
	(void)unused;
	Outcome r = good(MLP);
	Fn *f = program_step(r.program, 0);
	const char *want[] = {"x", "y", "mlp/dense.0/w", "mlp/dense.0/b", "mlp/dense.1/w", "mlp/dense.1/b", "mlp/dense.0/w#m"};
	for (int i = 0; i < (int)COUNT(want); i++) assert_string_equal(f->inputs.data[i].name, want[i]);
	assert_int_equal(f->inputs.data[f->inputs.length - 1].kind, INPUT_STEP);
	assert_int_equal(f->outputs.length, 1 + 12);
	for (int i = 1; i < f->outputs.length; i++)
		assert_string_equal(f->outputs.data[i].name, f->inputs.data[f->outputs.data[i].updates].name);
	Fn *again = program_eval(r.program, 0, 5);
	assert_int_equal(again->inputs.data[0].type.dim[0], 5);
	assert_int_equal(r.program->trains.data[0].nmetrics, 1);
	assert_int_equal(program_init(r.program)->outputs.length, r.program->persistent.length);
	done(r);
}

static const char sums[] = "data d { x: f32[2] = [[1, 2], [3, 4], [5, 6], [7, 9]]; y: f32 = [1, 2, 3, 5] }\n"
                           "model line(x: [B, 2]) -> [B] { param w: [2] = 0; param b: f32 = 0; return x @ w + b }\n"
                           "train { data = d; batch = %d; accumulate = %d; clip = norm(0.5); loss = mse(line(x), y); optimizer = "
                           "sgd(lr = 0.1, momentum = 0.9) }\n";

/* Two halves accumulated are the whole batch, and the first half alone changes no parameter. */
static void test_accumulate(void **unused) {
	(void)unused;
	char text[2][600];
	double after[2][3];
	for (int k = 0; k < 2; k++) {
		snprintf(text[k], sizeof text[k], sums, k ? 2 : 4, k ? 2 : 1);
		Outcome r = good(text[k]);
		Fn *f = run_passes(program_step(r.program, 0), 0, pass_count);
		static double x[] = {1, 2, 3, 4, 5, 6, 7, 9}, y[] = {1, 2, 3, 5};
		Tensor *in = random_inputs(r.arena, f);
		for (int i = 0; i < f->inputs.length; i++)
			if (f->inputs.data[i].kind == INPUT_PARAM) memset(in[i].data, 0, sizeof(double) * (size_t)type_count(in[i].type));
		for (int part = 0; part <= k; part++) {
			in[input_named(f, "x")].data = x + 4 * part;
			in[input_named(f, "y")].data = y + 2 * part;
			Tensor *out = run(r.arena, f, in);
			for (int i = 0; i < f->outputs.length; i++)
				if (f->outputs.data[i].updates >= 0) in[f->outputs.data[i].updates] = out[i];
			const double *w = in[input_named(f, "line/w")].data;
			if (k && !part) assert_true(w[0] == 0 && w[1] == 0);
			after[k][0] = w[0], after[k][1] = w[1], after[k][2] = *(double *)in[input_named(f, "line/b")].data;
		}
		done(r);
	}
	for (int i = 0; i < 3; i++) assert_true(after[0][i] != 0 && fabs(after[0][i] - after[1][i]) < 1e-12);
	assert_true(fabs(hypot(hypot(after[0][0], after[0][1]), after[0][2]) - 0.05) < 1e-9);   /* lr times the clipped norm */
}

static void test_metrics(void **unused) {
	(void)unused;
	Outcome r = good("data d { x: f32[2] = [[1, 2], [3, 4]]; y: f32 = [1, 0] }\n"
	                 "model m(x: [B, 2]) -> [B] { param w: [2] = 0; return x @ w }\n"
	                 "train { data = d; batch = 2; loss = mse(m(x), y)\n"
	                 "  metric plain = x\n  metric scalar = mean(y)\n  metric ratio = 2 * total(y > 0.5) / (total(x) + total(y > "
	                 "0.5))\n  optimizer = sgd() }");
	const Train *t = &r.program->trains.data[0];
	assert_int_equal(t->nmetrics, 3);
	assert_true(t->metrics[0].elements == 4 && t->metrics[0].first_total == 1 && !t->metrics[0].finish);
	assert_true(t->metrics[1].elements == 2 && t->metrics[1].first_total == 2);
	assert_true(t->metrics[2].ntotals == 3 && t->metrics[2].first_total == 3 && t->metrics[2].finish->inputs.length == 3);
	Fn *f = run_passes(program_eval(r.program, 0, 2), 0, pass_count);
	Tensor *in = random_inputs(r.arena, f);
	in[input_named(f, "x")].data = (double[]){1, 2, 3, 4};
	in[input_named(f, "y")].data = (double[]){1, 0};
	Tensor *out = run(r.arena, f, in);
	assert_true(*(double *)out[1].data == 10 && *(double *)out[2].data == 1 && *(double *)out[3].data == 1 &&
	            *(double *)out[4].data == 10);
	Tensor ratio;
	fn_eval(r.arena, t->metrics[2].finish, EVAL_F64, &out[3], &ratio);
	assert_true(fabs(*(double *)ratio.data - 2.0 / 11) < 1e-15);
	done(r);
}

/* `axis` of every reduction, also of max and min, which take several operands as well. */
static void test_axes(void **unused) {
	(void)unused;
	static const char *const reductions[] = {"sum", "mean", "max", "min", "prod", "logsumexp", "argmax"};
	for (int i = 0; i < (int)COUNT(reductions); i++) {
		char text[200];
		snprintf(text, sizeof text,
		         "model m(x: [B, 3, 4]) -> a: %s[B, 4], b: %s[B, 3] { return %s(x, axis = 1), %s(x, axis = -1) }",
		         i == 6 ? "i32" : "", i == 6 ? "i32" : "", reductions[i], reductions[i]);
		done(good(text));
	}
}

/* A parameter that the model itself writes is trained by the value it has then; the writing passes no gradient on. */
static void test_written_parameter(void **unused) {
	(void)unused;
	Outcome r = good("data d { x: f32[2] = [[3, 5]] }\n"
		"model m(x: [B, 2]) -> [B] { param w: [2] = ones(2); param v: [2] = ones(2); w <- v; w <- w * 0.5; return x @ w }\n"
		"train { data = d; batch = 1; steps = 1; loss = sum(m(x)); optimizer = sgd(lr = 1) }");
	Fn *f = run_passes(program_step(r.program, 0), 0, pass_count);
	Tensor *in = random_inputs(r.arena, f), *out = run(r.arena, f, in);
	const double *x = in[input_named(f, "x")].data, *v = in[input_named(f, "m/v")].data, *w = out[output_named(f, "m/w")].data;
	for (int i = 0; i < 2; i++) assert_float_equal(w[i], 0.5 * v[i] - x[i], 1e-12);
	done(r);
}

/* An update block sees what the one before it made of the parameters. */
static void test_updates(void **unused) {
	(void)unused;
	Outcome r = good("data d { x: f32 = [3] }\n"
		"model a(x: [B]) -> [B] { param w: f32 = 0; return x * w }\nmodel b(x: [B]) -> [B] { param w: f32 = 0; return x * w }\n"
		"train { data = d; batch = 1\n"
		"  update one { loss = a(x); params = a; optimizer = sgd(lr = 1) }\n"
		"  update two { loss = b(x) * a(x); params = b; optimizer = sgd(lr = 1) } }");
	Fn *f = run_passes(program_step(r.program, 0), 0, pass_count);
	Tensor in[] = {{f->inputs.data[0].type, (double[]){3}},
	               {f->inputs.data[1].type, (double[]){5}},
	               {f->inputs.data[2].type, (double[]){7}}};
	assert_int_equal(f->inputs.length, 3);
	Tensor *out = run(r.arena, f, in);
	assert_true(number(out, f, "a/w") == 2);           /* 5 - 3 */
	assert_true(number(out, f, "b/w") == 7 - 3 * 6);   /* d/dw (3 w)(3 * 2) */
	done(r);
}

static void test_sets(void **unused) {
	(void)unused;
	const char *source = "const N = 4\ndata d { x: f32[2] = [[1, 2]]; y: f32[1] = [[1]] }\nmodel m(x: [B, 2]) -> [B, 1] = x |> "
	                     "dense(N) |> dense(1)\n"
	                     "train { data = d; batch = 1; loss = mse(m(x), y); optimizer = sgd(lr = input(0.5)) }";
	const char *names[] = {"N", "lr"}, *values[] = {"7", "0.25"}, *wrong[] = {"M", "lr"};
	Outcome r = elaborate(source, &(ElabOptions){.set_names = names, .set_values = values, .nsets = 2});
	assert_non_null(r.program);
	assert_int_equal(r.program->persistent.data[0].type.dim[1], 7);
	assert_true(r.program->trains.data[0].nsettings == 1 && r.program->trains.data[0].settings[0].value == 0.25);
	done(r);
	r = elaborate(source, &(ElabOptions){.set_names = wrong, .set_values = values, .nsets = 2});
	assert_null(r.program);
	assert_non_null(strstr(r.text, "no `const` and no `input(..)` is named `M`"));
	done(r);
}

/* ---- errors: source, then what the message holds ---- */

#define DATA "data d { x: f32[3] = [[1, 2, 3]]; y: f32[3] = [[1, 2, 3]]; c: class[3] = [1] }\n"
#define TRAIN "train { data = d; batch = 1; loss = mse(m(x), y); optimizer = sgd() }\n"
static const struct { const char *source, *want[4]; int errors;
} wrong[] = {
    {DATA "model m(x: [B, 3]) -> [B, 3] = x |> dense(3) |> sigmoid\ntrain { data = d; loss = binary_cross_entropy(m(x), y); "
          "optimizer = adam() }",
     {"model.nn:3:47: error: `binary_cross_entropy`: `z` wants logits, but this is probs",
      "model.nn:2:49: note: `sigmoid` made it probs here", "help: leave out `sigmoid`"},
     1},
    {DATA "model m(x: [B, 3]) -> [B, 3] = x |> dense(4)\n" TRAIN,
     {"model.nn:2:32: error: `m`: its result is f32[B, 4], expected `[B, 3]`"},
     1},
    {DATA "model m(x: [B, 4]) -> [B, 3] = x |> dense(3)\n" TRAIN,
     {"model.nn:3:43: error: `m`: `x` is f32[B, 3], expected `[B, 4]`"},
     1},
    {DATA "model m(x: [B, 3]) -> [B, 3] { let h = x @ ones(2, 3)\n return h }\n" TRAIN,
     {"`@` cannot multiply f32[B, 3] by f32[2, 3]", "help: weights are [inputs, outputs]"},
     1},
    {DATA "model m(x: [B, 3]) -> [B, 3] = x |> dens(3)\n" TRAIN,
     {"error: unknown name `dens`", "help: did you mean `dense`?"},
     1},
    {DATA "model m(x: [B, 3]) -> [B, 3] = x |> dense(3, bais = true)\n" TRAIN,
     {"`dense` has no parameter `bais`", "did you mean `bias`?"},
     1},
    {DATA "model m(x: [B, 3]) -> [B, 3] = x |> dense(3)\ntrain { data = d; bacth = 3; loss = mse(m(x), y); optimizer = sgd() }",
     {"unknown setting `bacth`", "did you mean `batch`?"},
     1},
    {DATA "model m(x: [B, 3]) -> [B, 3] { if sum(x) > 0 { return x }\n return dense(x, 3) }\n" TRAIN,
     {"`if` needs a condition known", "where(c, a, b)"},
     1},
    {DATA "layer r(x) { return r(dense(x, 3)) }\nmodel m(x: [B, 3]) -> [B, 3] = r(x)\n" TRAIN,
     {"`r` calls itself without end"},
     1},
    {"model m(x: [B, 3]) -> [B, 3] { for k in 0..10^9 { x = x + 1 }\n return x }", {"a loop of 1000000000 rounds"}, 1},
    {"fn f(x) = x + y\nlayer q(x) { return relo(x) }", {"unknown name `y`", "unknown name `relo`"}, 2},
    {"model m(x: [B, 3]) -> [B, 3] { scan t < 3 carry h = x { emit hs[t, b] = h[b, 0] }\n let q = hs + 1\n return q }",
     {"the carry `h` is never assigned in the body"},
     1},
    {"model m(x: [B, 3]) -> [B, 3] = cumsum(x > 0)", {"`cumsum` wants numbers along a dim, not bool[B, 3]", "as f32"}, 1},
    {"const V = vocab(\"t.txt\")", {"`vocab` needs the file `t.txt`, and files are not read here"}, 1},
    {DATA "train { data = d; precision = bf1; loss = mse(x, y); optimizer = sgd() }",
     {"`precision` is bf16 or f32", "did you mean `bf16`?"},
     1},
    {"data d { x: f32[2] = [[1, 2], [1]]; c: class[3] = [0, 3] }\ntrain { data = d; loss = mse(x, x); optimizer = sgd() }",
     {"1 item, the type says 2", "the number 3 is not in 0..2"},
     2},
    {DATA "model m(x: [B, 3]) -> [B, 3] = x |> dense(3)\ntrain { data = d; loss = mse(m(x), y); optimizer = { \"m/dens/*\": "
          "none; \"*\": sgd() } }",
     {"no parameter matches \"m/dens/*\"", "help: parameters are m/dense.0/w, m/dense.0/b"},
     1},
    {DATA "model m(x: [B, 3]) -> [B, 2] = x |> dense(2)\ntrain { data = d; loss = cross_entropy(m(x), c); optimizer = sgd() }",
     {"class[3] selects among 2"},
     1},
    {DATA "model m(x: [B, 3]) -> [B, 3] = x |> dense(3)\ntrain { data = d; loss = mse(m(x), c); optimizer = sgd() }",
     {"`mse`: `b` wants"},
     1},
    {DATA "train { data = d; loss = mse(dense(x, 3), y); optimizer = sgd() }",
     {"the layer `dense` is called outside a model"},
     1},
    {DATA "train { data = d; loss = mse(x, y); optimizer = sgd() }", {"nothing to train"}, 1},
    {"const A = B1\nconst B1 = A", {"is defined by itself"}, 1},
    {"model m(x: [B, T]) -> [B, T] = x", {"the size `T` of `m` is not known"}, 1},
    {"model m(x: u8[B, 3]) -> [B, 3] = x / 255", {"`/` wants floats, not u8[B, 3]", "as f32"}, 1},
    {"layer h(x: [B, C], n: int) { assert C % n == 0, \"width {C} by {n}\"\n return x }\nmodel m(x: [B, 3]) -> [B, 3] = h(x, 2)",
     {"error: width 3 by 2"},
     1},
    {"model m(x: [B, 3]) -> [B] { let s[b] = sum[j](x[b, j])\n return x + s }", {"shapes [B, 3] and [B] do not match"}, 1},
    {"model m(x: [B, 3]) -> [B, 3] { param b: [B] = 0\n return x }", {"does not depend on the batch"}, 1},
};

static void test_errors(void **unused) {
	(void)unused;
	for (int i = 0; i < (int)COUNT(wrong); i++) {
		Outcome r = elaborate(wrong[i].source, NULL);
		if (r.program) fail_msg("elaborates, but should not:\n%s", wrong[i].source);
		for (int k = 0; k < 4 && wrong[i].want[k]; k++)
			if (!strstr(r.text, wrong[i].want[k])) fail_msg("wanted: %s\ngot:\n%s", wrong[i].want[k], r.text);
		if (r.diag->errors != wrong[i].errors) fail_msg("%d errors, wanted %d:\n%s", r.diag->errors, wrong[i].errors, r.text);
		done(r);
	}
}

static void test_warnings(void **unused) {
	(void)unused;
	Outcome r = elaborate(
	    DATA "model m(x: [B, 3]) -> [B, 3] {\n param w: [3] = 0\n param v: [3] = 0\n state s: [3] = 0\n let u = dense(x, 7)\n"
	         "return stop_gradient(x * v) + dense(x, 3) + s }\n" TRAIN,
	    NULL);
	assert_non_null(r.program);
	const char *want[] = {"model.nn:3:8: warning: `w` is never used", "model.nn:4:8: warning: `m/v` gets no gradient",
		"model.nn:5:8: warning: the state `s` is never updated", "model.nn:6:10: warning: `m/dense.0/w` gets no gradient"};
	for (int i = 0; i < (int)COUNT(want); i++)
		if (!strstr(r.text, want[i])) fail_msg("wanted: %s\ngot:\n%s", want[i], r.text);
	assert_int_equal(r.diag->warnings, (int)COUNT(want));
	done(r);
}

/* ---- hostile input: truncated anywhere, any byte dropped ---- */

static void survive(const char *text, size_t length) {
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	elab_program(arena, diag, diag_source(diag, "model.nn", text, length, false), NULL);
	arena_free(arena);
}

static void test_hostile(void **unused) {
	(void)unused;
	const char *sources[] = {MLP, second_order};
	for (int k = 0; k < 2; k++) {
		size_t n = strlen(sources[k]);
		char *copy = malloc(n + 1);
		for (size_t i = 0; i < n; i += 1 + (size_t)k) {
			memcpy(copy, sources[k], i);
			copy[i] = 0;
			survive(copy, i);
			memcpy(copy, sources[k], n + 1);
			memmove(copy + i, copy + i + 1, n - i);
			survive(copy, n - 1);
		}
		free(copy);
	}
}

/* The first column of the reference's table of what is built in holds every function, as messages write it, and nothing else. */
static void test_reference(void **state) {
	(void)state;
	Arena *arena = arena_new();
	static char page[1 << 17];
	FILE *file = fopen(NNC_SOURCE_DIR "/grammar/LANGUAGE.md", "r");
	assert_non_null(file);
	page[fread(page, 1, sizeof page - 1, file)] = 0;
	fclose(file);
	char *table = strstr(page, "| function | is |");
	assert_non_null(table);
	*strstr(table, "\n\n") = 0;
	int written = 0;
	for (char *row = strstr(table, "\n| `"); row; row = strstr(row + 1, "\n| `"))
		for (char *at = row, *end = strstr(row + 3, " |"); at < end; at++) written += *at == '`';
	for (int i = 0; i < builtin_count; i++) {
		const char *entry = arena_printf(arena, "`%s`", builtin_text(arena, &builtins[i]));
		if (!strstr(table, entry)) fail_msg("LANGUAGE.md has no %s", entry);
	}
	assert_int_equal(written, 2 * builtin_count);
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reference),
	    cmocka_unit_test(test_paths),      cmocka_unit_test(test_step),    cmocka_unit_test(test_gradients),
	    cmocka_unit_test(test_accumulate), cmocka_unit_test(test_metrics), cmocka_unit_test(test_axes),
	    cmocka_unit_test(test_updates),
	    cmocka_unit_test(test_written_parameter),
	    cmocka_unit_test(test_sets),       cmocka_unit_test(test_errors),  cmocka_unit_test(test_warnings),
	    cmocka_unit_test(test_hostile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
