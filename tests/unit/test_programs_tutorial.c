/* test_programs_tutorial.c: 100 steps of the two tutorial networks as PyTorch and Keras recorded them
 * (tests/vectors/README.md), from the same weights, as machine code on one and two workers and through the runner, as
 * `nnc train` does it: losses to 1e-5, each weight tensor to 1e-3 of how far it moved; Keras' Adam is an optimiser of the
 * .nn file.  test_tutorial.c does the same in the interpreter.  Skipped where Fashion-MNIST is not installed.
 * link: nnc_front nnc_llvm nnc_host */
#include "test_programs.h"

#include "compile.h"
#include "fashion.h"
#include "host.h"

enum { STEPS = 100, BATCH = 32 };

typedef struct Run { int tutorial; const char *system; int column, workers; } Run;   /* column of tutorial.txt: in float64 */

static void must(bool ok, const Diag *diag) {
	if (ok) return;
	diag_print(diag, stderr, false);
	fail();
}

static void read_losses(Arena *arena, int column, double *losses) {
	size_t length;
	char *at = file_text(arena, NNC_SOURCE_DIR "/tests/vectors/tutorial.txt", &length);
	int n = 0;
	while (n < STEPS && *at) {
		char *next = strchr(at, '\n') + 1;
		if (*at != '#') {
			assert_int_equal(strtol(at, &at, 10), n + 1);
			for (int i = 0; i < column; i++) losses[n] = strtod(at, &at);
			n++;
		}
		at = next;
	}
	assert_int_equal(n, STEPS);
}

static const float *entry_of(const TensorFile *file, const char *name) {
	for (int i = 0; i < file->count; i++)
		if (!strcmp(file->entries[i].name, name)) return (const float *)(const void *)file->entries[i].data;
	fail_msg("the record has no tensor %s", name);
	return NULL;
}

static void compare_weights(Arena *arena, const Run *run, const Program *p, const Layout *layout, const char *block,
                            const TensorFile *first, const TensorFile *last) {
	int compared = 0;
	for (int i = 0; i < layout->count; i++) {
		const Persistent *x = &p->persistent.data[i];
		if (x->kind != INPUT_PARAM) continue;
		int64_t n = type_count(x->type);
		const float *from = entry_of(first, x->path), *to = entry_of(last, x->path);
		float *got = NEW_ARRAY(arena, float, n);
		layout_store(layout, p, i, block, got);
		double moved = 0, error = 0;
		for (int64_t k = 0; k < n; k++) {
			moved = fmax(moved, fabs((double)to[k] - (double)from[k]));
			error = fmax(error, fabs((double)got[k] - (double)to[k]));
		}
		if (getenv("NNC_VERBOSE")) printf("  %s: %.1e of how far it moved\n", x->path, error / moved);
		if (!(moved > 0 && error <= 1e-3 * moved))
			fail_msg("tutorial %d, %s: %s is %g off, and moved %g", run->tutorial, run->system, x->path, error, moved);
		compared++;
	}
	assert_int_equal(compared, 4);
}

static Compiled compile(Arena *arena, Fn *raw, const Program *p, const Layout *layout, int workers) {
	CompileOptions options = {.target = target_host(arena), .workers = workers, .always_share = true, .no_cache = true};
	Compiled c = compile_fn(arena, run_passes(raw, 0, pass_count), p, layout, &options);
	assert_non_null(c.executable.entry);
	return c;
}

static void follow(const Run *run) {
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	size_t length;
	const char *at = NNC_SOURCE_DIR "/tests/vectors", *path = arena_printf(arena, "%s/tutorial%d.nn", at, run->tutorial);
	char *text = file_text(arena, path, &length);
	Files *files = files_open(arena, path, NULL);
	DataProbe probe = data_probe(files);
	uint32_t source = diag_source(diag, path, text, length, false);
	Program *p = elab_program(arena, diag, source, &(ElabOptions){.train_name = run->system, .probe = &probe});
	must(p != NULL, diag);
	int train = 0;
	while (strcmp(p->trains.data[train].name, run->system)) train++;
	Data *data = data_load(arena, diag, files, &p->data.data[p->trains.data[train].data], NULL);
	TensorFile *first = tensors_read(arena, diag, arena_printf(arena, "%s/tutorial%d_first.safetensors", at, run->tutorial));
	TensorFile *last =
	    tensors_read(arena, diag, arena_printf(arena, "%s/tutorial%d_%s.safetensors", at, run->tutorial, run->system));
	must(data && first && last, diag);
	double losses[STEPS], worst = 0;
	read_losses(arena, run->column, losses);

	Layout layout = layout_program(arena, p);
	Pool *pool = pool_new(run->workers, 0);
	char *block = block_new(layout.bytes);
	Compiled init = compile(arena, program_init(p), p, &layout, 1),
	         step = compile(arena, program_step(p, train), p, &layout, run->workers);
	runner_init(&init.executable, pool, p, &layout, block, 1);
	for (int i = 0; i < layout.count; i++)
		if (p->persistent.data[i].kind == INPUT_PARAM)
			layout_load(&layout, p, i, block, entry_of(first, p->persistent.data[i].path));
	Runner *runner = runner_new(&step.executable, pool, block);
	Samples samples = samples_all(data);
	Batch *batch = batch_new(arena, &samples, runner, BATCH);
	for (int n = 0; n < STEPS; n++) {
		runner_count(runner, INPUT_STEP, n + 1);
		runner_count(runner, INPUT_EPOCH, 1);
		batch_run(batch, runner, NULL, (int64_t)n * BATCH);
		float loss;
		memcpy(&loss, runner->frame.io[runner_output(runner, "loss")], sizeof loss);
		double error = fabs((double)loss / losses[n] - 1);
		worst = fmax(worst, error);
		if (!(error <= 1e-5))
			fail_msg("tutorial %d, %s, step %d: loss %.9g, recorded %.9g", run->tutorial, run->system, n + 1, (double)loss,
			         losses[n]);
	}
	if (getenv("NNC_VERBOSE")) printf("tutorial %d, %s: losses to %.1e\n", run->tutorial, run->system, worst);
	compare_weights(arena, run, p, &layout, block, first, last);
	runner_free(runner);
	pool_free(pool);
	block_free(block, layout.bytes);
	compiled_free(&init);
	compiled_free(&step);
	tensors_close(first);
	tensors_close(last);
	data_free(data);
	files_close(files);
	arena_free(arena);
}

static void test_follow(void **state) {
	static const Run runs[] = {{1, "pytorch", 2, 1}, {1, "keras", 4, 2}, {2, "pytorch", 6, 2}, {2, "keras", 8, 1}};
	(void)state;
	need_fashion();
	for (size_t i = 0; i < COUNT(runs); i++) follow(&runs[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_follow)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
