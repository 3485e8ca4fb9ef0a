/* test_precision_memory.c: `precision = bf16` saves memory: the arena of a step beside that of the same step in f32, for dense,
 * convolutional and recurrent nets; and its bits, compiled for one to three workers, are the interpreter's.
 * link: nnc_llvm nnc_front nnc_host nnc_kernel nnc_passes nnc_ir */
#include "nn_text.h"

#include "expect_same.h"
#include "passes.h"

#define DENSE(precision, batch, width) \
	"data d { x: f32[60] = npy(\"x.npy\"); y: class[10] = npy(\"y.npy\") }\n" \
	"model net(x: [B, 60]) -> [B, 10] = x |> dense(" width ") |> relu |> dense(" width ") |> gelu |> dense(10)\n" \
	"train { data = d; batch = " batch "; " precision "loss = cross_entropy(net(x), y); optimizer = sgd(lr = 0.1) }\n"

#define CONVOLUTIONS(precision, batch, side, channels) \
	"data d { x: u8[" side ", " side "] = npy(\"x.npy\"); y: class[10] = npy(\"y.npy\") }\n" \
	"model net(x: u8[B, " side ", " side "]) -> [B, 10] {\n" \
	"  let z = reshape(x as f32 / 255, B, " side ", " side ", 1)\n" \
	"  z = z |> conv2d(" channels ", 3) |> relu |> max_pool(2)\n" \
	"  z = z |> conv2d(" channels ", 3, pad = 1) |> relu |> avg_pool(2)\n" \
	"  return z |> flatten |> dense(10)\n}\n" \
	"train { data = d; batch = " batch "; " precision "loss = cross_entropy(net(x), y); optimizer = sgd(lr = 0.1) }\n"

#define RECURRENT(precision, batch, steps, width) \
	"data d { x: f32[" steps ", 6] = npy(\"x.npy\"); y: f32[" steps "] = npy(\"y.npy\") }\n" \
	"model net(x: [B, " steps ", 6]) -> [B, " steps "] = x |> lstm(" width ") |> dense(1) |> reshape(B, " steps ")\n" \
	"train { data = d; batch = " batch "; " precision "loss = mse(net(x), y); optimizer = sgd(lr = 0.1) }\n"

#define BF16 "precision = bf16; "

/* Bytes of a step beside what the workers pack in. */
static size_t memory_of(Arena *arena, const char *text, int workers) {
	Program *p = read_program(arena, text);
	Layout layout = layout_program(arena, p);
	Fn *f = run_passes(program_step(p, 0), 0, pass_count);
	CompileOptions options = {.target = target_named(arena, diag_new(arena), "x86-64", "x86-64-v3", NULL), .workers = workers};
	return compile_kernels(arena, f, p, &layout, &options)->scratch_offset;
}

static void check_memory(const char *wide, const char *shorter, double most, const char *name) {
	for (int workers = 1; workers < 4; workers++) {
		Arena *arena = arena_new();
		size_t before = memory_of(arena, wide, workers), after = memory_of(arena, shorter, workers);
		if (getenv("NNC_VERBOSE")) printf("%s, %d workers: %zu, bf16 %zu: %.2f\n", name, workers, before, after,
		                                  (double)after / (double)before);
		if ((double)after > most * (double)before)
			fail_msg("%s, %d workers: %zu bytes, %zu in f32", name, workers, after, before);
		arena_free(arena);
	}
}

static void memory(void **state) {
	(void)state;
	check_memory(DENSE("", "256", "512"), DENSE(BF16, "256", "512"), 0.6, "dense");
	check_memory(CONVOLUTIONS("", "32", "28", "32"), CONVOLUTIONS(BF16, "32", "28", "32"), 0.6, "convolutions");
	check_memory(RECURRENT("", "32", "40", "64"), RECURRENT(BF16, "32", "40", "64"), 0.7, "recurrent");
}

static void check_bits(const char *text, const char *name) {
	Arena *arena = arena_new();
	Fn *f = run_passes(program_step(read_program(arena, text), 0), 0, pass_count);
	expect_same(arena, f, 10, false, name);
	arena_free(arena);
}

static void bits(void **state) {
	(void)state;
	check_bits(DENSE(BF16, "17", "35"), "dense");
	check_bits(CONVOLUTIONS(BF16, "5", "11", "7"), "convolutions");
	check_bits(RECURRENT(BF16, "5", "6", "20"), "recurrent");
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(memory), cmocka_unit_test(bits)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
