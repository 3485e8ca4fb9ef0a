/* test_tutorial.c: 100 steps of the two tutorial networks as PyTorch and Keras recorded them (tests/vectors/README.md),
 * from the same weights, in the f32 interpreter: losses to 1e-5, each weight tensor to 1e-3 of how far it moved.
 * Skipped where Fashion-MNIST is not installed.
 * link: nnc_front nnc_host */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fashion.h"
#include "host.h"
#include "passes.h"
#include "program.h"

enum { STEPS = 100, BATCH = 32, PIXELS = 784, MAX_INPUTS = 24 };

typedef struct Run { int tutorial; const char *system; int column; } Run;   /* column of tutorial.txt: that system in float64 */

static const char *vector_path(Arena *arena, const char *name) {
	return arena_printf(arena, "%s/tests/vectors/%s", NNC_SOURCE_DIR, name);
}

static void must(bool ok, const Diag *diag) {
	if (ok) return;
	diag_print(diag, stderr, false);
	fail();
}

/* tutorial.txt: step and eight losses a line. */
static void read_losses(Arena *arena, int column, double *losses) {
	FILE *file = fopen(vector_path(arena, "tutorial.txt"), "r");
	char line[512];
	int n = 0;
	assert_non_null(file);
	while (n < STEPS && fgets(line, sizeof line, file)) {
		if (*line == '#') continue;
		char *at = line;
		assert_int_equal(strtol(at, &at, 10), n + 1);
		for (int i = 0; i < column; i++) losses[n] = strtod(at, &at);
		n++;
	}
	fclose(file);
	assert_int_equal(n, STEPS);
}

static const float *entry_of(const TensorFile *file, const char *name) {
	for (int i = 0; i < file->count; i++)
		if (!strcmp(file->entries[i].name, name)) return (const float *)(const void *)file->entries[i].data;
	fail_msg("the record has no tensor %s", name);
	return NULL;
}

static char *read_source(Arena *arena, const char *path) {
	FILE *file = fopen(path, "rb");
	static char text[1 << 14];
	assert_non_null(file);
	size_t length = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	return arena_text(arena, text, length);
}

/* Rows of a batch as the interpreter wants integers. */
static Tensor whole_numbers(Arena *arena, Type type, const char *bytes, size_t width) {
	int64_t count = type_count(type);
	int32_t *data = NEW_ARRAY(arena, int32_t, count);
	for (int64_t i = 0; i < count; i++)
		if (width == 1) data[i] = (unsigned char)bytes[i];
		else memcpy(&data[i], bytes + (size_t)i * width, width);
	return (Tensor){type, data};
}

/* What step `step` is given besides tensors that persist. */
static void feed(Arena *arena, const Fn *f, const Data *data, int step, Tensor *inputs) {
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *input = &f->inputs.data[i];
		int32_t *number = NEW_ARRAY(arena, int32_t, 2);
		number[0] = input->kind == INPUT_STEP ? step : 1;
		if (input->kind == INPUT_STEP || input->kind == INPUT_EPOCH || input->kind == INPUT_SEED)
			inputs[i] = (Tensor){input->type, number};
		for (int k = 0; input->kind == INPUT_DATA && k < data->set->nfields; k++) {
			size_t bytes = data->sample_bytes[k];
			size_t elements = (size_t)type_count(data->set->fields[k].type);
			if (!strcmp(data->set->fields[k].name, input->name))
				inputs[i] =
				    whole_numbers(arena, input->type, data->field[k] + (size_t)(step - 1) * BATCH * bytes, bytes / elements);
		}
	}
}

static void compare_weights(const Fn *f, const Tensor *inputs, const TensorFile *first, const TensorFile *last) {
	for (int i = 0; i < f->inputs.length; i++) {
		if (f->inputs.data[i].kind != INPUT_PARAM) continue;
		const char *name = f->inputs.data[i].name;
		const float *from = entry_of(first, name), *to = entry_of(last, name), *got = inputs[i].data;
		double moved = 0, error = 0;
		for (int64_t k = 0; k < type_count(inputs[i].type); k++) {
			moved = fmax(moved, fabs((double)to[k] - (double)from[k]));
			error = fmax(error, fabs((double)got[k] - (double)to[k]));
		}
		if (getenv("NNC_VERBOSE")) printf("  %s: %.1e of how far it moved\n", name, error / moved);
		if (!(error <= 1e-3 * moved)) fail_msg("%s is %g off, and moved %g", name, error, moved);
	}
}

static void follow(const Run *run) {
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	const char *path = vector_path(arena, arena_printf(arena, "tutorial%d.nn", run->tutorial));
	char *text = read_source(arena, path);
	Files *files = files_open(arena, path, NULL);
	DataProbe probe = data_probe(files);
	uint32_t source = diag_source(diag, path, text, strlen(text), false);
	Program *program = elab_program(arena, diag, source, &(ElabOptions){.train_name = run->system, .probe = &probe});
	must(program != NULL, diag);
	Data *data = data_load(arena, diag, files, &program->data.data[0], NULL);
	must(data != NULL, diag);
	Fn *f = run_passes(program_step(program, 0), 0, pass_count);
	assert_true(f->inputs.length <= MAX_INPUTS && f->outputs.length <= MAX_INPUTS);

	const char *first_name = arena_printf(arena, "tutorial%d_first.safetensors", run->tutorial);
	TensorFile *first = tensors_read(arena, diag, vector_path(arena, first_name));
	const char *last_name = arena_printf(arena, "tutorial%d_%s.safetensors", run->tutorial, run->system);
	TensorFile *last = tensors_read(arena, diag, vector_path(arena, last_name));
	must(first && last, diag);
	double losses[STEPS], worst = 0;
	read_losses(arena, run->column, losses);

	Tensor inputs[MAX_INPUTS], outputs[MAX_INPUTS];
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *input = &f->inputs.data[i];
		size_t bytes = (size_t)type_count(input->type) * sizeof(float);
		if (input->kind == INPUT_PARAM) inputs[i] = (Tensor){input->type, arena_copy(arena, entry_of(first, input->name), bytes)};
		else inputs[i] = (Tensor){input->type, arena_alloc(arena, bytes)};
	}
	Arena *before = NULL;                  /* holds the inputs of the step */
	for (int step = 1; step <= STEPS; step++) {
		Arena *now = arena_new();
		feed(now, f, data, step, inputs);
		fn_eval(now, f, EVAL_F32, inputs, outputs);
		double loss = (double)*(const float *)outputs[0].data, error = fabs(loss / losses[step - 1] - 1);
		worst = fmax(worst, error);
		if (!(error <= 1e-5))
			fail_msg("tutorial %d, %s, step %d: loss %.9g, recorded %.9g", run->tutorial, run->system, step, loss,
			         losses[step - 1]);
		for (int i = 0; i < f->outputs.length; i++)
			if (f->outputs.data[i].updates >= 0) inputs[f->outputs.data[i].updates] = outputs[i];
		if (before) arena_free(before);
		before = now;
	}
	if (getenv("NNC_VERBOSE")) printf("tutorial %d, %s: losses to %.1e\n", run->tutorial, run->system, worst);
	compare_weights(f, inputs, first, last);
	arena_free(before);
	tensors_close(first);
	tensors_close(last);
	data_free(data);
	files_close(files);
	arena_free(arena);
}

static void test_follow(void **state) {
	static const Run runs[] = {{1, "pytorch", 2}, {1, "keras", 4}, {2, "pytorch", 6}, {2, "keras", 8}};
	(void)state;
	need_fashion();
	for (size_t i = 0; i < COUNT(runs); i++) follow(&runs[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_follow)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
