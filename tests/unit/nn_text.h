/* nn_text.h: programs from text, and a Fn printed as .nn text that must be read back as a program of the same bits. */
#ifndef NNC_NN_TEXT_H
#define NNC_NN_TEXT_H

#include "test_passes_random.h"

#include "program.h"

MAYBE_UNUSED static Program *read_program(Arena *arena, const char *text) {
	Diag *diag = diag_new(arena);
	uint32_t source = diag_source(diag, "test.nn", text, strlen(text), false);
	ElabOptions options = {0};
	Program *p = elab_program(arena, diag, source, &options);
	if (!p || diag->errors) {
		fprintf(stderr, "%s\n", text);
		diag_print(diag, stderr, false);
		fail_msg("the text does not elaborate");
	}
	return p;
}

/* "x[2, 3] y[4]": the float inputs of a case; returns how many. */
typedef struct Given { const char *name, *dims; } Given;

MAYBE_UNUSED static int read_floats(Arena *arena, const char *floats, Given *given) {
	int n = 0;
	while (*floats) {
		size_t name = strcspn(floats, "["), dims = strcspn(floats + name, "]") + 1;
		given[n].name = arena_text(arena, floats, name);
		given[n++].dims = arena_text(arena, floats + name, dims);
		floats += name + dims;
		floats += *floats == ' ';
	}
	return n;
}

MAYBE_UNUSED static double **random_inputs(Arena *arena, const Fn *f, Random *r) {
	double **values = NEW_ARRAY(arena, double *, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		int64_t n = type_count(in->type);
		values[i] = NEW_ARRAY(arena, double, n);
		for (int64_t k = 0; k < n; k++)
			values[i][k] = dtype_is_float(in->type.dtype) ? random_real(r, -2, 2)
			               : in->type.dtype == DTYPE_BOOL
			                   ? random_below(r, 2)
			                   : random_below(r, in->classes ? (int)in->classes : 3) + (in->kind == INPUT_STEP);
	}
	return values;
}

MAYBE_UNUSED static void check_text(Arena *arena, const Fn *f, Random *r, bool awkward) {
	Text text = {.arena = arena};
	fn_print_nn(&text, f);
	if (getenv("NNC_TEST_SHOW")) fputs(text.data, stdout);
	Program *p = read_program(arena, text.data);
	assert_int_equal(p->models.length, 1);
	Fn *back = run_passes(program_infer(p, 0, 1), 0, pass_count);
	assert_int_equal(back->inputs.length, f->inputs.length);
	assert_int_equal(back->outputs.length, f->outputs.length);
	double **values = awkward ? awkward_inputs(arena, f, r) : random_inputs(arena, f, r);
	for (int k = 0; k < 2; k++) {
		EvalMode mode = k ? EVAL_F64 : EVAL_F32;
		Tensor *a = run(arena, f, mode, values), *b = run(arena, back, mode, values);
		for (int i = 0; i < f->outputs.length; i++) {
			assert_true(type_equal(a[i].type, b[i].type));
			for (int64_t j = 0; j < type_count(a[i].type); j++) {
				double x = element(&a[i], mode, j), y = element(&b[i], mode, j);
				if ((isnan(x) && isnan(y)) || (x == y && signbit(x) == signbit(y))) continue;
				Text two = {.arena = arena};
				fn_print(&two, f);
				fn_print(&two, back);
				fprintf(stderr, "%s%s", text.data, two.data);
				fail_msg("%s: output %s[%d] is %a, read back %a", f->name, f->outputs.data[i].name, (int)j, x, y);
			}
		}
	}
}

#endif
