/* test_vectors.c: std against what PyTorch and Keras recorded (tests/vectors/README.md): every case becomes a small
 * program, elaborated, differentiated and interpreted in f64 and f32.
 * link: nnc_front nnc_passes nnc_ir nnc_grammar nnc_base */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes.h"
#include "program.h"

enum { MAX_LINES = 24 };

typedef struct Line { const char *name; bool input; Type type; double *values; } Line;
/* use: the file of tests/user/ whose declarations the expression is written with, or NULL. */
typedef struct Case { const char *expression, *use; Line line[MAX_LINES]; int nlines; } Case;

/* ---- reading the records ---- */

static char *read_text(Arena *arena, const char *folder, const char *path) {
	FILE *file = fopen(arena_printf(arena, "%s/tests/%s/%s", NNC_SOURCE_DIR, folder, path), "rb");
	if (!file) fail_msg("cannot open %s", path);
	static char buffer[1 << 20];
	size_t length = fread(buffer, 1, sizeof buffer, file);
	fclose(file);
	assert_true(length < sizeof buffer);
	return arena_text(arena, buffer, length);
}

/* "NAME TYPE[DIMS] VALUES" */
static void read_line(Arena *arena, Case *c, char *text) {
	assert_true(c->nlines < MAX_LINES);
	Line *line = &c->line[c->nlines++];
	char *at = strchr(text, ' ');
	line->name = arena_intern(arena, text, (size_t)(at - text));
	line->input = strncmp(at + 1, "f64", 3) != 0;
	line->type.dtype = strncmp(at + 1, "i32", 3) ? DTYPE_F32 : DTYPE_I32;
	for (at += 4; *at != ']';) line->type.dim[line->type.rank++] = strtol(at + 1, &at, 10);
	int64_t count = type_count(line->type);
	line->values = NEW_ARRAY(arena, double, count);
	at++;
	for (int64_t i = 0; i < count; i++) {
		char *end;
		line->values[i] = strtod(at, &end);
		assert_true(end > at);
		at = end;
	}
	assert_int_equal(*at, 0);
}

/* Calls `check` for every case of a file; returns how many there were. */
static int for_each_case(const char *path, void (*check)(Arena *arena, Case *c, EvalMode mode)) {
	Arena *texts = arena_new();
	char *next = read_text(texts, "vectors", path);
	Case c = {0};
	int count = 0;
	for (bool more = true; more;) {
		char *text = next;
		size_t length = strcspn(text, "\n");
		more = text[length] != 0;
		next = text + length + more;
		text[length] = 0;
		if (c.expression && (!more || !strncmp(text, "case ", 5))) {
			for (EvalMode mode = EVAL_F64; mode <= EVAL_F32; mode++) {
				Arena *arena = arena_new();
				check(arena, &c, mode);
				arena_free(arena);
			}
			count++;
		}
		if (!strncmp(text, "case ", 5)) c = (Case){.expression = text + 5};
		else if (!strncmp(text, "use ", 4)) c.use = text + 4;
		else if (*text && *text != '#' && strncmp(text, "from ", 5)) read_line(texts, &c, text);
	}
	arena_free(texts);
	return count;
}

/* The line of that name that holds an input or a result; NULL: none. */
static Line *find(Case *c, const char *name, bool input) {
	for (int i = 0; i < c->nlines; i++)
		if (c->line[i].input == input && !strcmp(c->line[i].name, name)) return &c->line[i];
	return NULL;
}

static Line *need(Case *c, const char *name, bool input) {
	Line *line = find(c, name, input);
	if (!line) fail_msg("%s: the record has no line %s", c->expression, name);
	return line;
}

/* ---- programs ---- */

static Program *elaborate(Arena *arena, const char *text) {
	Diag *diag = diag_new(arena);
	uint32_t source = diag_source(diag, "case.nn", text, strlen(text), false);
	Program *program = elab_program(arena, diag, source, &(ElabOptions){0});
	if (!program) {
		diag_print(diag, stderr, false);
		fail_msg("the program does not elaborate:\n%s", text);
	}
	return program;
}

/* What a case is written with: the declarations of a user's file before its data. */
static const char *declarations(Arena *arena, const Case *c) {
	if (!c->use) return "";
	char *text = read_text(arena, "user", c->use), *end = strstr(text, "\ndata ");
	assert_non_null(end);
	end[1] = 0;
	return text;
}

static Tensor to_tensor(Arena *arena, Type type, const double *values, EvalMode mode) {
	int64_t count = type_count(type);
	if (!dtype_is_float(type.dtype)) {
		int32_t *data = NEW_ARRAY(arena, int32_t, count);
		for (int64_t i = 0; i < count; i++) data[i] = (int32_t)values[i];
		return (Tensor){type, data};
	}
	if (mode == EVAL_F64) return (Tensor){type, arena_copy(arena, values, (size_t)count * sizeof *values)};
	float *data = NEW_ARRAY(arena, float, count);
	for (int64_t i = 0; i < count; i++) data[i] = (float)values[i];
	return (Tensor){type, data};
}

static double element(Tensor t, int64_t i, EvalMode mode) {
	return mode == EVAL_F64 ? ((const double *)t.data)[i] : (double)((const float *)t.data)[i];
}

/* Results are right to `tolerance` of the larger of the value and `scale`. */
static void compare(const Case *c, const char *name, Tensor got, const double *want, EvalMode mode, double tolerance,
                    double scale) {
	for (int64_t i = 0; i < type_count(got.type); i++) {
		double value = element(got, i, mode), error = fabs(value - want[i]);
		if (!(error <= tolerance * fmax(fabs(want[i]), scale)) && value != want[i])
			fail_msg("%s, %s, element %d of %s: %.17g, recorded %.17g", c->expression, mode == EVAL_F64 ? "f64" : "f32", (int)i,
			         name, value, want[i]);
	}
}

/* ---- functions and layers ---- */

/* The case of a layer is written with holes for its inputs: conv2d(_, 4, 3).  Lines `.w` are its parameters by path. */
static bool is_layer(const Case *c) { return strstr(c->expression, "(_") != NULL; }

/* model case(x: f32[32], .., dy: f32[32]) -> value: f32[32], r4: f32[32]; r4 is what line 4 records. */
static const char *function_program(Arena *arena, Case *c) {
	Text head = {.arena = arena}, results = {.arena = arena}, body = {.arena = arena}, given = {.arena = arena};
	int parameters = 0;
	for (int i = 0; i < c->nlines; i++) {
		Line *line = &c->line[i];
		Type shape = line->type;
		shape.dtype = DTYPE_F32;
		const char *type = type_text(arena, shape);
		if (line->input && line->name[0] == '.') continue;
		if (line->input) {
			bool index = line->type.dtype == DTYPE_I32;
			text_add(&head, "%s: %s%s, ", line->name, index ? "index" : "f32", type + 3);
			text_add(&given, "%s%s", given.length ? ", " : "", line->name);
		} else if (!strcmp(line->name, "dy")) {
			text_add(&head, "dy: %s", type);
		} else {
			text_add(&results, "%sr%d: %s", strcmp(line->name, "y") ? ", " : "", i, type);
			if (line->name[1] == '.') text_add(&body, ", grad(total, params(f)[%d])", parameters++);
			else if (strcmp(line->name, "y")) text_add(&body, ", grad(total, %s)", line->name + 1);
		}
	}
	const char *value = is_layer(c) ? arena_printf(arena, "  let f = %s\n  let value = f(%s)\n", c->expression, given.data)
	                                : arena_printf(arena, "  let value = %s\n", c->expression);
	return arena_printf(arena, "%smodel case(%s) -> %s {\n%s  let total = sum(value * dy)\n  return value%s\n}\n",
	                    declarations(arena, c), head.data, results.data, value, body.length ? body.data : "");
}

/* The record's name for an input of the Fn: `.w` for case/f/w. */
static const char *line_name(Arena *arena, const char *name) {
	if (!strncmp(name, "case/f/", 7)) return arena_printf(arena, ".%s", name + 7);
	return strncmp(name, "case/", 5) ? name : name + 5;
}

static void check_function(Arena *arena, Case *c, EvalMode mode) {
	Program *program = elaborate(arena, function_program(arena, c));
	Fn *f = run_passes(program_infer(program, 0, 1), 0, pass_count);
	Tensor inputs[MAX_LINES], outputs[MAX_LINES];
	double largest = 1;                 /* x - logsumexp(x) is as exact as x is */
	assert_true(f->inputs.length <= MAX_LINES && f->outputs.length <= MAX_LINES);
	for (int i = 0; i < f->inputs.length; i++) {
		const char *name = line_name(arena, f->inputs.data[i].name);
		Line *line = need(c, name, strcmp(name, "dy") != 0);
		for (int64_t k = 0; k < type_count(line->type); k++) largest = fmax(largest, fabs(line->values[k]) / 16);
		inputs[i] = to_tensor(arena, f->inputs.data[i].type, line->values, mode);
	}
	fn_eval(arena, f, mode, inputs, outputs);
	for (int i = 0; i < f->outputs.length; i++) {
		Line *line = &c->line[atoi(f->outputs.data[i].name + 1)];
		double single = is_layer(c) ? 4e-6 : 1e-6;   /* several sums one after the other */
		compare(c, line->name, outputs[i], line->values, mode, mode == EVAL_F64 ? 1e-12 : single, largest);
	}
}

/* What only training does: inputs are parameters and states of the model, results become states. */
static const char *training_program(Arena *arena, Case *c) {
	Text declared = {.arena = arena}, kept = {.arena = arena}, given = {.arena = arena};
	int parameters = 0;
	for (int i = 0; i < c->nlines; i++) {
		const Line *line = &c->line[i];
		const char *type = type_text(arena, line->type), *name = line->name;
		bool result = !line->input && strcmp(name, "dy");
		if ((line->input && name[0] == '.') || !strncmp(name, "s.", 2)) continue;
		if (!result) text_add(&declared, "  %s %s: %s = 0\n", line->input ? "param" : "state", name, type);
		if (line->input) text_add(&given, "%s%s", given.length ? ", " : "", name);
		if (!result) continue;
		text_add(&declared, "  state r%d: %s = 0\n", i, type);
		if (!strcmp(name, "y")) text_add(&kept, "  r%d <- value\n", i);
		else if (name[1] == '.') text_add(&kept, "  r%d <- grad(total, params(f)[%d])\n", i, parameters++);
		else text_add(&kept, "  r%d <- grad(total, %s)\n", i, name + 1);
	}
	const char *layer = arena_text(arena, c->expression, (size_t)(strstr(c->expression, " training") - c->expression));
	return arena_printf(arena,
		"%sdata given { one: f32 = [1] }\nmodel case(one: f32[B]) -> [] {\n%s  let f = %s\n  let value = f(%s)\n"
		"  let total = sum(value * dy)\n%s  return total\n}\n"
		"train { data = given; batch = 1; steps = 1; loss = case(one); optimizer = sgd() }\n", declarations(arena, c),
		declared.data, layer, given.data, kept.data);
}

static void check_training(Arena *arena, Case *c, EvalMode mode) {
	Program *program = elaborate(arena, training_program(arena, c));
	Fn *f = run_passes(program_step(program, 0), 0, pass_count);
	Tensor inputs[MAX_LINES], outputs[MAX_LINES];
	assert_true(f->inputs.length <= MAX_LINES && f->outputs.length <= MAX_LINES);
	for (int i = 0; i < f->inputs.length; i++) {
		const char *name = line_name(arena, f->inputs.data[i].name);
		Line *line = find(c, name, strcmp(name, "dy") != 0);
		Type type = f->inputs.data[i].type;
		inputs[i] = to_tensor(arena, type, line ? line->values : NEW_ARRAY(arena, double, type_count(type)), mode);
	}
	fn_eval(arena, f, mode, inputs, outputs);
	int compared = 0, wanted = 0;
	for (int i = 0; i < c->nlines; i++) wanted += !c->line[i].input && strcmp(c->line[i].name, "dy") != 0;
	for (int i = 0; i < f->outputs.length; i++) {
		const char *name = line_name(arena, f->outputs.data[i].name);
		Line *line = name[0] == '.' ? find(c, arena_printf(arena, "s%s", name), false)
		             : name[0] == 'r' ? &c->line[atoi(name + 1)] : NULL;
		if (!line) continue;
		compare(c, line->name, outputs[i], line->values, mode, mode == EVAL_F64 ? 1e-12 : 4e-6, 1);
		compared++;
	}
	assert_int_equal(compared, wanted);
}

static void check_layer(Arena *arena, Case *c, EvalMode mode) {
	(strstr(c->expression, " training") ? check_training : check_function)(arena, c, mode);
}

/* ---- optimisers ---- */

/* -1: none of that name. */
static int input_index(const Fn *f, const char *name) {
	for (int i = 0; i < f->inputs.length; i++)
		if (!strcmp(f->inputs.data[i].name, name)) return i;
	return -1;
}

static void set_input(Arena *arena, const Fn *f, Tensor *inputs, const char *name, const double *values, EvalMode mode) {
	int i = input_index(f, name);
	if (i >= 0) inputs[i] = to_tensor(arena, f->inputs.data[i].type, values, mode);
}

/* Starts every persistent tensor as program_init says. */
static void set_first_values(Arena *arena, Program *program, const Fn *f, Tensor *inputs, EvalMode mode) {
	Fn *init = run_passes(program_init(program), 0, pass_count);
	Tensor seed[4], values[MAX_LINES];
	assert_true(init->inputs.length <= 4 && init->outputs.length <= MAX_LINES);
	for (int i = 0; i < init->inputs.length; i++)
		seed[i] = to_tensor(arena, init->inputs.data[i].type, (const double[4]){1}, mode);
	fn_eval(arena, init, mode, seed, values);
	for (int i = 0; i < init->outputs.length; i++) {
		int input = input_index(f, init->outputs.data[i].name);
		if (input >= 0) inputs[input] = values[i];
	}
}

/* One step: inputs that the function updates are replaced. */
static void take_step(Arena *arena, const Fn *f, Tensor *inputs, int step, EvalMode mode) {
	Tensor outputs[MAX_LINES];
	for (int i = 0; i < f->inputs.length; i++) {
		double zero[2] = {0}, now = f->inputs.data[i].kind == INPUT_STEP ? step : 1;
		if (f->inputs.data[i].kind == INPUT_STEP || f->inputs.data[i].kind == INPUT_EPOCH)
			inputs[i] = to_tensor(arena, f->inputs.data[i].type, &now, mode);
		if (f->inputs.data[i].kind == INPUT_SEED) inputs[i] = to_tensor(arena, f->inputs.data[i].type, zero, mode);
	}
	fn_eval(arena, f, mode, inputs, outputs);
	for (int i = 0; i < f->outputs.length; i++)
		if (f->outputs.data[i].updates >= 0) inputs[f->outputs.data[i].updates] = outputs[i];
}

/* keras_adam as the tutorials define it. */
static const char *user_optimizer(Arena *arena) {
	char *text = strstr(read_text(arena, "vectors", "tutorial1.nn"), "optimizer keras_adam");
	assert_non_null(text);
	*strstr(text, "train pytorch") = 0;
	return text;
}

static const char linear_model[] =
	"data given { g: f32[2, 3] = [[[0, 0, 0], [0, 0, 0]]]; h: f32[3] = [[0, 0, 0]] }\n"
	"model line(g: f32[B, 2, 3], h: f32[B, 3]) -> f32[B] {\n"
	"  param p: [2, 3] = 0\n  param b: [3] = 0\n"
	"  let y[n] = sum[i, j](g[n, i, j] * p[i, j]) + sum[k](h[n, k] * b[k])\n  return y\n}\n";

static void check_optimizer(Arena *arena, Case *c, EvalMode mode) {
	bool own = !strncmp(c->expression, "keras_adam", 10);
	Program *program = elaborate(arena, arena_printf(arena,
		"%s%strain { data = given; batch = 1; steps = 10; loss = line(g, h); optimizer = %s }\n",
		linear_model, own ? user_optimizer(arena) : declarations(arena, c), c->expression));
	Fn *f = run_passes(program_step(program, 0), 0, pass_count);
	Tensor inputs[MAX_LINES] = {{{0}, NULL}};
	assert_true(f->inputs.length <= MAX_LINES && f->outputs.length <= MAX_LINES);
	set_first_values(arena, program, f, inputs, mode);
	set_input(arena, f, inputs, "line/p", need(c, "p", true)->values, mode);
	set_input(arena, f, inputs, "line/b", need(c, "b", true)->values, mode);
	for (int step = 0; step < 10; step++) {
		set_input(arena, f, inputs, "g", need(c, "g", true)->values + 6 * step, mode);
		set_input(arena, f, inputs, "h", need(c, "h", true)->values + 3 * step, mode);
		take_step(arena, f, inputs, step + 1, mode);
		double tolerance = mode == EVAL_F64 ? 1e-12 : 1e-6;
		compare(c, "p", inputs[input_index(f, "line/p")], need(c, "ps", false)->values + 6 * step, mode, tolerance, 1);
		compare(c, "b", inputs[input_index(f, "line/b")], need(c, "bs", false)->values + 3 * step, mode, tolerance, 1);
	}
}

/* ---- schedules ---- */

/* With gradient -1 and a parameter put back to 0, a step of sgd leaves the rate in the parameter. */
static void check_schedule(Arena *arena, Case *c, EvalMode mode) {
	Program *program = elaborate(arena, arena_printf(arena,
		"data given { g: f32 = [-1] }\nmodel line(g: f32[B]) -> f32[B] { param p: f32[] = 0; return g * p }\n"
		"train { data = given; batch = 1; steps = 30; loss = line(g); optimizer = sgd(lr = %s) }\n", c->expression));
	Fn *f = run_passes(program_step(program, 0), 0, pass_count);
	Tensor inputs[MAX_LINES] = {{{0}, NULL}};
	Line *step = need(c, "step", true), *rate = need(c, "rate", false);
	double zero = 0, down = -1;
	for (int i = 0; i < step->type.dim[0]; i++) {
		set_input(arena, f, inputs, "line/p", &zero, mode);
		set_input(arena, f, inputs, "g", &down, mode);
		take_step(arena, f, inputs, (int)step->values[i], mode);
		compare(c, "rate", inputs[input_index(f, "line/p")], &rate->values[i], mode, mode == EVAL_F64 ? 1e-12 : 1e-6, 0.5);
	}
}

static void test_activations(void **state) {
	(void)state;
	assert_int_equal(for_each_case("activations.txt", check_function), 20);
}

static void test_losses(void **state) {
	(void)state;
	assert_int_equal(for_each_case("losses.txt", check_function), 31);
}

static void test_layers(void **state) {
	(void)state;
	assert_int_equal(for_each_case("layers.txt", check_layer), 72);
}

static void test_optimizers(void **state) {
	(void)state;
	assert_int_equal(for_each_case("optimizers.txt", check_optimizer), 22);
}

static void check_user(Arena *arena, Case *c, EvalMode mode) {
	(find(c, "ps", false) ? check_optimizer : check_layer)(arena, c, mode);
}

static void test_users(void **state) {
	(void)state;
	assert_int_equal(for_each_case("users.txt", check_user), 6);
}

static void test_schedules(void **state) {
	(void)state;
	assert_int_equal(for_each_case("schedules.txt", check_schedule), 10);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_activations),
		cmocka_unit_test(test_losses),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_optimizers),
		cmocka_unit_test(test_schedules),
		cmocka_unit_test(test_users),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
