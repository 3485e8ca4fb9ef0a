/* reference.c: in: FILE.nn, a file to write, and --batch N, --set NAME=VALUE, --only STEPS (of the interpreter, and nothing
 * else); out: the hash of everything a training leaves
 * behind, in process: jit WORKERS STEPS HASH     compiled for this machine shared WORKERS STEPS HASH  the same, where the workers
 * share every kernel they can interpreter 0 STEPS HASH   by the f32 interpreter and, in the file, the macros by which driver.c
 * calls the object of the same program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "host.h"
#include "passes.h"
#include "synthetic.h"

enum { EXIT_SKIPPED = 77 };

typedef struct Reference {
	Arena *arena;
	Program *p;
	const Train *train;
	Layout layout;
	Fn *step, *init;
} Reference;

static uint64_t hash_block(const Reference *r, const char *block) {
	uint64_t hash = 0xcbf29ce484222325u;
	for (int i = 0; i < r->layout.count; i++) {
		Type t = r->p->persistent.data[i].type;
		size_t bytes = (size_t)type_count(t) * (size_t)dtype_info[t.dtype].bytes;
		char *dense = malloc(bytes);
		layout_store(&r->layout, r->p, i, block, dense);
		hash = hash_more(hash, dense, bytes);
		free(dense);
	}
	return hash;
}

/* Fields that only metrics read are no arguments of the object's step. */
static bool is_read(const Fn *f, const Val *input) {
	for (int i = 0; i < f->vals.length; i++)
		for (int k = 0; k < f->vals.data[i]->nargs; k++)
			if (f->vals.data[i]->arg[k] == input) return true;
	return false;
}

static void run(const Reference *r, const char *how, const Executable *init, const Executable *step, int workers, int steps) {
	Pool *pool = pool_new(workers ? workers : 1, 0);
	char *block = block_new(r->layout.bytes);
	runner_init(init, pool, r->p, &r->layout, block, r->train->seed);
	Runner *runner = runner_new(step, pool, block);
	runner_seed(runner, r->train->seed);
	runner_settings(runner, r->train);
	runner_count(runner, INPUT_EPOCH, 1);
	int64_t accumulate = MAX(r->train->accumulate, 1);
	for (int s = 0; s < steps; s++) {
		uint64_t array = 0;
		for (int i = 0; i < r->step->inputs.length; i++) {
			const Input *in = &r->step->inputs.data[i];
			if (in->kind != INPUT_DATA || !is_read(r->step, in->val)) continue;
			int io = runner_input(runner, in->name);
			synthetic_fill(runner->frame.io[io], dtype_is_float(in->type.dtype), dtype_info[in->type.dtype].bytes,
			               (uint64_t)MAX(in->classes, 0), (size_t)type_count(in->type), (uint64_t)s, array++);
		}
		runner_count(runner, INPUT_STEP, s / accumulate + 1);
		runner_run(runner);
	}
	printf("%s %d %d %016llx\n", how, workers, steps, (unsigned long long)hash_block(r, block));
	runner_free(runner);
	block_free(block, r->layout.bytes);
	pool_free(pool);
}

/* The code of init does not depend on who runs it: compiled once. */
static void run_compiled(const Reference *r, const Executable *init, int workers, const int *steps, int nsteps, bool share) {
	CompileOptions options = {.target = target_host(r->arena), .workers = workers, .no_cache = true, .always_share = share};
	Compiled step = compile_fn(r->arena, r->step, r->p, &r->layout, &options);
	if (!step.executable.entry) die("the program cannot be compiled");
	for (int i = 0; i < nsteps; i++) run(r, share ? "shared" : "jit", init, &step.executable, workers, steps[i]);
	compiled_free(&step);
}

static void run_all_compiled(const Reference *r) {
	static const int workers[] = {2, 3, 8}, steps[] = {SHORT_STEPS, LONG_STEPS};
	CompileOptions options = {.target = target_host(r->arena), .workers = 1, .no_cache = true};
	Compiled init = compile_fn(r->arena, r->init, r->p, &r->layout, &options);
	if (!init.executable.entry) die("the program cannot be compiled");
	run_compiled(r, &init.executable, 1, steps, 2, false);
	for (size_t i = 0; i < COUNT(workers); i++) run_compiled(r, &init.executable, workers[i], steps + 1, 1, false);
	for (int team = 2; team <= 3; team++) run_compiled(r, &init.executable, team, steps + 1, 1, true);
	compiled_free(&init);
}

static const char *c_type(DType d) {
	return d == DTYPE_F32   ? "float"
	       : d == DTYPE_F64 ? "double"
	       : d == DTYPE_I32 ? "int32_t"
	       : d == DTYPE_I8  ? "int8_t"
	                        : "uint8_t";
}

static void write_array(FILE *out, const char *prefix, int number, Type t, int64_t count, int64_t classes) {
	fprintf(out, " A(%s%d, %s, %d, %lld, %lld)", prefix, number, c_type(t.dtype), dtype_is_float(t.dtype), (long long)count,
	        (long long)MAX(classes, 0));
}

/* A(name, type, is it a float, elements, classes) for every array of the step and, per sample, of the first model. */
static bool write_macros(const Reference *r, const char *path) {
	FILE *out = fopen(path, "w");
	if (!out) return false;
	fprintf(out, "#define NAME %s\n#define SEED %lluu\n#define BATCH %lld\n", r->p->name, (unsigned long long)r->train->seed,
	        (long long)r->train->batch);
	const char *bar = r->train->name ? "_" : "", *name = r->train->name ? r->train->name : "";
	fprintf(out, "#define STEP_CALL step%s%s\n#define TEAM_CALL step%s%s_workers\n", bar, name, bar, name);
	fprintf(out, "#define TEAM_SIZE WORKERS%s%s\n", bar, name);
	fprintf(out, "#define STEP_INPUTS(A)");
	int n = 0;
	for (int i = 0; i < r->step->inputs.length; i++) {
		const Input *in = &r->step->inputs.data[i];
		if (in->kind == INPUT_DATA && is_read(r->step, in->val))
			write_array(out, "field", n++, in->type, type_count(in->type), in->classes);
	}
	Fn *one = program_infer(r->p, 0, 1);
	if (!one) die("no inference");
	fprintf(out, "\n#define MODEL_CALL %s\n#define MODEL_INPUTS(A)", r->p->models.data[0].name);
	for (int i = 0; i < one->inputs.length; i++) {
		const Input *in = &one->inputs.data[i];
		if (in->kind == INPUT_DATA) write_array(out, "in", i, in->type, type_count(in->type), in->classes);
	}
	fprintf(out, "\n#define MODEL_OUTPUTS(A)");
	for (int i = 0; i < one->outputs.length; i++)
		write_array(out, "out", i, one->outputs.data[i].val->type, type_count(one->outputs.data[i].val->type), 0);
	fprintf(out, "\n");
	return fclose(out) == 0;
}

static char *read_text(Arena *arena, const char *path) {
	FILE *file = fopen(path, "rb");
	if (!file) die("cannot read %s", path);
	Text text = {.arena = arena};
	char piece[4096];
	size_t n;
	while ((n = fread(piece, 1, sizeof piece, file)) > 0) text_bytes(&text, piece, n);
	fclose(file);
	return text.data;
}

enum { MOST_SETTINGS = 16 };

/* What stands after the two paths, as `nnc` takes it. */
static ElabOptions read_options(Arena *arena, char **argument, int count, int *only) {
	const char **names = NEW_ARRAY(arena, const char *, MOST_SETTINGS), **values = NEW_ARRAY(arena, const char *, MOST_SETTINGS);
	ElabOptions options = {.set_names = names, .set_values = values};
	for (int i = 0; i + 1 < count; i += 2) {
		char *equals = strchr(argument[i + 1], '=');
		if (!strcmp(argument[i], "--batch")) {
			options.batch = atoll(argument[i + 1]);
			continue;
		}
		if (!strcmp(argument[i], "--only")) {
			*only = atoi(argument[i + 1]);
			continue;
		}
		if (strcmp(argument[i], "--set") || !equals || options.nsets == MOST_SETTINGS) die("no option: %s", argument[i]);
		names[options.nsets] = arena_text(arena, argument[i + 1], (size_t)(equals - argument[i + 1]));
		values[options.nsets++] = equals + 1;
	}
	return options;
}

int main(int argc, char **argv) {
	if (argc < 3 || argc % 2 == 0) die("usage: reference FILE.nn MACROS.h [--batch N] [--set NAME=VALUE]..");
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	char *text = read_text(arena, argv[1]);
	Files *files = files_open(arena, argv[1], NULL);
	DataProbe probe = data_probe(files);
	int only = -1;
	ElabOptions options = read_options(arena, argv + 3, argc - 3, &only);
	options.probe = &probe;
	Reference r = {.arena = arena,
	               .p = elab_program(arena, diag, diag_source(diag, argv[1], text, strlen(text), false), &options)};
	if (!r.p) {
		diag_print(diag, stderr, false);
		return EXIT_SKIPPED;
	}
	r.train = &r.p->trains.data[0];
	r.layout = layout_program(arena, r.p);
	r.step = run_passes(program_step(r.p, 0), 0, pass_count);
	r.init = run_passes(program_init(r.p), 0, pass_count);
	if (!write_macros(&r, argv[2])) die("cannot write %s", argv[2]);
	if (only)
		run(&r, "interpreter", exec_interpret(arena, r.init, r.p, &r.layout), exec_interpret(arena, r.step, r.p, &r.layout), 0,
		    only < 0 ? SHORT_STEPS : only);
	if (only >= 0) return 0;
	run_all_compiled(&r);
	files_close(files);
	arena_free(arena);
	return 0;
}
