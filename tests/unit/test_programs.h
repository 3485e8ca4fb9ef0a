/* test_programs.h: what the tests of whole programs share: the programs of the tree, opened without their data, and
 * numbers to feed them. */
#ifndef NNC_TEST_PROGRAMS_H
#define NNC_TEST_PROGRAMS_H

#include <glob.h>
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

#if defined __GNUC__
#define MAYBE_UNUSED __attribute__((unused))
#else
#define MAYBE_UNUSED
#endif

MAYBE_UNUSED static char *file_text(Arena *arena, const char *path, size_t *length) {
	FILE *in = fopen(path, "rb");
	if (!in) fail_msg("cannot read %s", path);
	Text text = {.arena = arena};
	char buffer[4096];
	text_bytes(&text, "", 0);
	for (size_t n; (n = fread(buffer, 1, sizeof buffer, in)) > 0;) text_bytes(&text, buffer, n);
	fclose(in);
	*length = text.length;
	return text.data;
}

static DataInfo any_size(void *context, Diag *diag, const DataSet *set) {
	(void)context, (void)diag, (void)set;
	return (DataInfo){true, 640};
}

static VocabInfo any_vocab(void *context, Diag *diag, Span span, const char *path) {
	(void)context, (void)diag, (void)span, (void)path;
	return (VocabInfo){.count = 64};
}

enum { MOST_SETTINGS = 16 };

/* The settings of tests/examples/small.txt for the file of that path. */
MAYBE_UNUSED static void small_settings(Arena *arena, const char *path, ElabOptions *options) {
	const char **names = NEW_ARRAY(arena, const char *, MOST_SETTINGS), **values = NEW_ARRAY(arena, const char *, MOST_SETTINGS);
	options->set_names = names, options->set_values = values;
	size_t length;
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	const char *table = file_text(arena, NNC_SOURCE_DIR "/tests/examples/small.txt", &length);
	const char *line = strstr(table, arena_printf(arena, "\n%.*s ", (int)strcspn(base, "."), base));
	if (!line) return;
	line = arena_text(arena, line + 1, strcspn(line + 1, "\n"));
	while ((line = strstr(line, "--set ")) && options->nsets < MOST_SETTINGS) {
		line += strlen("--set ");
		size_t name = strcspn(line, "="), end = strcspn(line, " ");
		names[options->nsets] = arena_text(arena, line, name);
		values[options->nsets++] = arena_text(arena, line + name + 1, end - name - 1);
	}
}

/* NULL when there were errors; data sets are taken to have 640 samples, texts 64 characters, and no
 * file is read but imports.  Large examples have the sizes of tests/examples/small.txt. */
MAYBE_UNUSED static Program *open_text(Arena *arena, Diag *diag, const char *name, const char *text, size_t length,
                                       int64_t batch) {
	static DataProbe probe = {NULL, any_size, any_vocab};
	uint32_t source = diag_source(diag, name, text, length, false);
	ElabOptions options = {.batch = batch, .probe = &probe};
	small_settings(arena, name, &options);
	return elab_program(arena, diag, source, &options);
}

MAYBE_UNUSED static Program *open_good(Arena *arena, const char *name, const char *text, int64_t batch) {
	Diag *diag = diag_new(arena);
	Program *p = open_text(arena, diag, name, text, strlen(text), batch);
	if (p) return p;
	diag_print(diag, stderr, false);
	fail_msg("%s does not elaborate", name);
	return NULL;
}

MAYBE_UNUSED static void for_files(const char *pattern, void (*check)(const char *path)) {
	glob_t found;
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	assert_true(found.gl_pathc >= 3);
	for (size_t k = 0; k < found.gl_pathc; k++) check(found.gl_pathv[k]);
	globfree(&found);
}

/* Calls check with the path of each example, and of P1 to P3 of the benchmarks. */
MAYBE_UNUSED static void for_programs(void (*check)(const char *path)) {
	for_files(NNC_SOURCE_DIR "/examples/*.nn", check);
	for_files(NNC_SOURCE_DIR "/tests/bench/p[123].nn", check);
}

MAYBE_UNUSED static double unit(uint64_t *state) {   /* 0 <= x < 1 */
	*state = hash_mix(*state);
	return (double)(*state >> 11) / 9007199254740992.0;
}

/* Numbers an input may hold, as the f32 interpreter wants them. */
MAYBE_UNUSED static Tensor *some_inputs(Arena *arena, const Fn *f, uint64_t seed) {
	Tensor *t = NEW_ARRAY(arena, Tensor, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		int64_t n = type_count(in->type);
		float *x = NEW_ARRAY(arena, float, n);
		int32_t *z = (int32_t *)(void *)x;
		double range = in->type.dtype == DTYPE_U8 ? 256 : in->type.dtype == DTYPE_BOOL ? 2 : 5;
		if (in->classes > 0) range = (double)in->classes;
		for (int64_t k = 0; k < n; k++) {
			double u = unit(&seed);
			if (dtype_is_float(in->type.dtype))
				x[k] = (float)(in->kind == INPUT_SLOT || in->kind == INPUT_SETTING ? u * 0.01 : u - 0.5);
			else z[k] = in->kind == INPUT_STEP || in->kind == INPUT_EPOCH ? 3 : (int32_t)(u * range);
		}
		t[i] = (Tensor){in->type, x};
	}
	return t;
}

MAYBE_UNUSED static Tensor *evaluate_f32(Arena *arena, const Fn *f, const Tensor *inputs) {
	Tensor *out = NEW_ARRAY(arena, Tensor, f->outputs.length + 1);
	fn_eval(arena, f, EVAL_F32, inputs, out);
	return out;
}

MAYBE_UNUSED static bool same_bits(const Tensor *a, const Tensor *b) {
	return type_equal(a->type, b->type) && a->type.dtype != DTYPE_F64 &&
	       !memcmp(a->data, b->data, 4 * (size_t)type_count(a->type));
}

#endif
