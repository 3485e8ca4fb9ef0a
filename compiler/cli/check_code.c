/* check_code.c: in: a program; out: whether step, evaluation and models give the same bits compiled and interpreted.
 * Both are given equal blocks and equal buffers; everything either has written is compared. */
#include <math.h>
#include <string.h>

#include "check.h"

/* Two steps, so that slots that start at 0 are read too. */
enum { RUNS = 2 };

static double element_at(Type type, const char *dense, int64_t i) {
	return element_value(type.dtype, dense + i * dtype_info[type.dtype].bytes);
}

/* The first element that differs, or -1.  One NaN is as good as another. */
static int64_t first_difference(Type type, const char *a, const char *b) {
	size_t size = (size_t)dtype_info[type.dtype].bytes;
	for (int64_t i = 0; i < type_count(type); i++) {
		if (memcmp(a + size * (size_t)i, b + size * (size_t)i, size) == 0) continue;
		if (dtype_is_float(type.dtype) && isnan(element_at(type, a, i)) && isnan(element_at(type, b, i))) continue;
		return i;
	}
	return -1;
}

static void compare_tensor(Check *c, Compared *r, const char *name, Type type, const char *compiled, const char *interpreted) {
	r->numbers += type_count(type);
	int64_t at = first_difference(type, compiled, interpreted);
	if (at < 0 || !r->ok) return;
	r->ok = false;
	r->difference =
	    arena_printf(c->s->arena, "%s, %s, element %lld: compiled %.9g, interpreted %.9g", name, type_text(c->s->arena, type),
	                 (long long)at, element_at(type, compiled, at), element_at(type, interpreted, at));
}

static size_t bytes_of(Type t) { return (size_t)type_count(t) * (size_t)dtype_info[t.dtype].bytes; }

static void compare_blocks(Check *c, Compared *r, const char *compiled, const char *interpreted) {
	const Program *p = c->s->program;
	Arena *arena = arena_new();
	for (int i = 0; i < c->s->layout.count; i++) {
		Type type = p->persistent.data[i].type;
		char *a = arena_alloc(arena, bytes_of(type)), *b = arena_alloc(arena, bytes_of(type));
		layout_store(&c->s->layout, p, i, compiled, a);
		layout_store(&c->s->layout, p, i, interpreted, b);
		compare_tensor(c, r, p->persistent.data[i].path, type, a, b);
	}
	arena_free(arena);
}

/* An argument that no field of the data is named like, or that looks otherwise: made up. */
static void fill_argument(Check *c, const Input *in, char *out) {
	Arena *arena = arena_new();
	DataField field = {.name = in->name, .type = in->type, .classes = in->classes};
	DataSet set = {.name = in->name, .fields = &field, .nfields = 1};
	Data *data = made_up_data(arena, &set, NULL, 1, c->train->seed + 17);
	memcpy(out, data->field[0], bytes_of(in->type));
	data_free(data);
	arena_free(arena);
}

static size_t field_bytes(const Check *c, const char *name) {
	for (int f = 0; f < c->set->nfields; f++)
		if (c->fields[f] && strcmp(c->set->fields[f].name, name) == 0)
			return bytes_of(c->set->fields[f].type) * (size_t)c->train->batch;
	return 0;
}

static Runner *make_runner(Check *c, const Executable *exe, char *block) {
	Runner *r = runner_new(exe, session_pool(c->s), block);
	runner_seed(r, c->train->seed);
	runner_count(r, INPUT_EPOCH, 1);
	runner_settings(r, c->train);
	for (int i = 0; i < exe->fn->inputs.length; i++) {
		const Input *in = &exe->fn->inputs.data[i];
		if (in->kind != INPUT_DATA) continue;
		int io = runner_input(r, in->name);
		if (field_bytes(c, in->name) == r->bytes[io]) memcpy(r->frame.io[io], check_field(c, in->name), r->bytes[io]);
		else fill_argument(c, in, r->frame.io[io]);
	}
	return r;
}

static bool compare_fn(Check *c, const char *name, Fn *raw) {
	Session *s = c->s;
	if (!raw) return false;
	Compiled compiled = session_compiled(s, raw);
	if (!compiled.executable.entry) return false;
	const Executable *interpreted = exec_interpret(s->arena, run_passes(raw, 0, pass_count), s->program, &s->layout);
	char *block[2] = {block_new(s->layout.bytes), block_new(s->layout.bytes)};
	for (int k = 0; k < 2; k++) memcpy(block[k], c->block, s->layout.bytes);
	Runner *a = make_runner(c, &compiled.executable, block[0]), *b = make_runner(c, interpreted, block[1]);
	Compared *r = &c->compared[c->ncompared++];
	*r = (Compared){.name = name, .ok = true};
	for (int run = 1; run <= RUNS; run++) {
		runner_count(a, INPUT_STEP, run);
		runner_count(b, INPUT_STEP, run);
		runner_run(a);
		runner_run(b);
		for (int i = 0; i < a->nio; i++)
			if (!a->input[i]) compare_tensor(c, r, a->name[i], a->type[i], a->frame.io[i], b->frame.io[i]);
	}
	compare_blocks(c, r, block[0], block[1]);
	runner_free(a);
	runner_free(b);
	for (int k = 0; k < 2; k++) block_free(block[k], s->layout.bytes);
	compiled_free(&compiled);
	return true;
}

bool check_compiled(Check *c) {
	Session *s = c->s;
	Program *p = s->program;
	c->compared = NEW_ARRAY(s->arena, Compared, p->models.length + 3);
	if (!compare_fn(c, "step", program_step(p, c->number))) return false;
	if (!compare_fn(c, "eval", program_eval(p, c->number, c->train->batch))) return false;
	for (int i = 0; i < p->models.length; i++)
		if (!compare_fn(c, p->models.data[i].name, program_infer(p, i, c->train->batch))) return false;
	return true;
}
