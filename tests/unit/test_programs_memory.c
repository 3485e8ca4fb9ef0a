/* test_programs_memory.c: the memory of a step is what it is said to be: the runner allocates the arena's and the persistent
 * tensors' bytes and no more, the code touches nothing beyond, and the plan is near what is live at once.
 * link: nnc_front nnc_llvm nnc_host */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "test_programs.h"

#include "compile.h"
#include "host.h"

/* ---- what is mapped ---- */

enum { MOST = 64 };
static size_t mapped[MOST];
static int nmapped;
static bool watching;

/* In front of libc's, for this program alone. */
void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset);
void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset) {
	if (watching && nmapped < MOST) mapped[nmapped++] = size;
	return (void *)syscall(SYS_mmap, at, size, protection, flags, file, offset); /* NOLINT: the kernel's answer is the pointer */
}

/* ---- blocks that end where they should ---- */

typedef struct Fenced {
	char *map, *block;
	size_t size;
} Fenced;

/* `bytes` right before a page that may not be touched. */
static Fenced fenced(size_t bytes) {
	size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page;
	char *map = mmap(NULL, whole + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(map + page + whole, page, PROT_NONE), 0);
	assert_int_equal(mprotect(map, page, PROT_NONE), 0);
	return (Fenced){map, map + page + (whole - bytes), whole + 2 * page};
}

static void unfence(Fenced f) { munmap(f.map, f.size); }

static size_t tensor_bytes(const Program *p, bool slots) {
	size_t sum = 0;
	for (int i = 0; i < p->persistent.length; i++) {
		const Persistent *x = &p->persistent.data[i];
		if (slots || x->kind != INPUT_SLOT) sum += (lasting_bytes(x->type) + 63) / 64 * 64;
	}
	return sum;
}

static void check_step(Arena *arena, const char *path, const Program *p, Fn *f, int workers) {
	Layout layout = layout_program(arena, p);
	CompileOptions options = {.target = target_host(arena), .workers = workers, .always_share = true, .no_cache = true};
	Compiled c = compile_fn(arena, f, p, &layout, &options);
	if (!c.executable.entry) fail_msg("%s cannot be compiled", path);
	const KernelProgram *kp = c.kernels;
	size_t arena_size = c.executable.arena_bytes, scratch = kp->scratch_bytes * (size_t)kp->workers, planned = kp->scratch_offset;
	assert_int_equal(arena_size, kp->arena_bytes);
	assert_int_equal(arena_size % 64, 0);
	assert_int_equal(layout.infer_bytes, tensor_bytes(p, false));
	assert_int_equal(layout.bytes, tensor_bytes(p, true));
	for (int i = 0; i < kp->buffers.length; i++) {
		const Buffer *b = &kp->buffers.data[i];
		if (b->kind == BUFFER_ARENA && b->first >= 0) assert_true(b->offset + b->bytes <= planned);
		if (b->kind == BUFFER_PERSISTENT) assert_true(b->offset + b->bytes <= layout.bytes);
	}

	Pool *pool = pool_new(workers, 0);
	Fenced block = fenced(layout.bytes);
	nmapped = 0;
	watching = true;
	Runner *runner = runner_new(&c.executable, pool, block.block);
	watching = false;
	bool arena_mapped = false, io_mapped = false;
	for (int i = 0; i < nmapped; i++) {
		arena_mapped |= mapped[i] == arena_size;
		io_mapped |= mapped[i] == runner->io_bytes;
	}
	if (nmapped != 2 || !arena_mapped || !io_mapped)
		fail_msg("%s: the runner maps something else than its arena and its io buffers", path);
	char *own = runner->frame.arena;
	Fenced fence = fenced(arena_size);
	runner->frame.arena = fence.block;
	runner_count(runner, INPUT_STEP, 1);
	runner_count(runner, INPUT_EPOCH, 1);
	runner_run(runner); /* a touch beyond either block would end this process */
	runner->frame.arena = own;
	runner_free(runner);
	pool_free(pool);
	unfence(block);
	unfence(fence);

	printf("%s, %d workers: persistent %zu bytes (%zu to infer), arena %zu: buffers %zu (live at once %zu), scratch %zu\n",
	       strrchr(path, '/') + 1, c.executable.workers, layout.bytes, layout.infer_bytes, arena_size, planned, kp->arena_bound,
	       scratch);
	assert_true(kp->arena_bound <= planned);
	if ((double)planned > 1.1 * (double)kp->arena_bound + 256)
		fail_msg("%s: the plan is %zu bytes for %zu live at once", path, planned, kp->arena_bound);
	compiled_free(&c);
}

static void check_program(const char *path) {
	Arena *arena = arena_new();
	size_t length;
	Program *p = open_good(arena, path, file_text(arena, path, &length), 0);
	for (int train = 0; train < p->trains.length; train++) {
		Fn *f = run_passes(program_step(p, train), 0, pass_count);
		for (int workers = 1; workers <= 2; workers++) check_step(arena, path, p, f, workers);
	}
	arena_free(arena);
}

static void test_memory(void **state) {
	(void)state;
	for_programs(check_program);
}

/* How many buffers of the arena have so many elements, in the kernels of `f` for one worker. */
static int buffers_kept(Arena *arena, const Program *p, Fn *f, int64_t elements) {
	Layout layout = layout_program(arena, p);
	CompileOptions options = {.target = target_host(arena), .workers = 1};
	const KernelProgram *kp = compile_kernels(arena, run_passes(f, 0, pass_count), p, &layout, &options);
	int kept = 0;
	for (int i = 0; i < kp->buffers.length; i++) {
		const Buffer *b = &kp->buffers.data[i];
		kept += b->kind == BUFFER_ARENA && b->first >= 0 && type_count(b->type) == elements;
	}
	return kept;
}

/* gelu of a product reads half of it and a multiple of it, backward as well: the product itself is kept, not both of them. */
static void keeps_one_source(void **state) {
	(void)state;
	static const char *const layers[] = {"dense(64)", "dense(64, bias = false)"};
	for (int i = 0; i < 2; i++) {
		Arena *arena = arena_new();
		Program *p = open_good(arena, "gelu.nn",
		                       arena_printf(arena,
		                                    "model net(x: [B, 16]) -> [B, 4] = x |> %s |> gelu |> dense(4)\n"
		                                    "data made { x: f32[16] = npy(\"x.npy\"); y: f32[4] = npy(\"y.npy\") }\n"
		                                    "train { data = made; batch = 32; loss = mse(net(x), y); optimizer = sgd() }\n",
		                                    layers[i]),
		                       0);
		int kept = buffers_kept(arena, p, program_step(p, 0), 32 * 64);
		assert_int_equal(kept, 4); /* the product, 1 + erf, the result, its derivative */
		arena_free(arena);
	}
}

/* The loss takes its element of each row of logits where the rows are read; then their derivative stands in their place. */
static void logits_make_room(void **state) {
	(void)state;
	enum { BATCH = 50, CLASSES = 300 };
	Arena *arena = arena_new();
	Program *p = open_good(arena, "wide.nn",
	                       arena_printf(arena,
	                                    "data made { x: f32[3] = npy(\"x.npy\"); y: class[%d] = npy(\"y.npy\") }\n"
	                                    "model net(x: [B, 3]) -> logits[B, %d] = x |> dense(%d)\n"
	                                    "train { data = made; batch = %d; loss = cross_entropy(net(x), y); optimizer = sgd() }\n",
	                                    CLASSES, CLASSES, CLASSES, BATCH),
	                       0);
	int large = buffers_kept(arena, p, program_step(p, 0), BATCH * CLASSES);
	assert_int_equal(large, 1);
	arena_free(arena);
}

/* What is cheaply computed of a product's result is not stored beside it when that is stored for others anyway: what a batch norm
 * subtracts its mean from, and of the adjoint the multiple that flows on. */
static void sums_keep_their_product(void **state) {
	(void)state;
	enum { ELEMENTS = 16 * 10 * 10 * 8 };
	Arena *arena = arena_new();
	Program *p = open_good(arena, "norms.nn",
	                       "model net(x: [B, 10, 10, 3]) -> [B, 4] {\n"
	                       "  let h = x |> conv2d(8, 3, pad = 1, bias = false) |> batch_norm |> relu\n"
	                       "  return h |> conv2d(8, 1, bias = false) |> batch_norm |> relu |> flatten |> dense(4)\n}\n"
	                       "data made { x: f32[10, 10, 3] = npy(\"x.npy\"); y: f32[4] = npy(\"y.npy\") }\n"
	                       "train { data = made; batch = 16; loss = mse(net(x), y); optimizer = sgd() }\n",
	                       0);
	int large = buffers_kept(arena, p, program_step(p, 0), ELEMENTS);
	/* of each layer the product, its result after relu and the adjoints of both; the last result once more as rows */
	assert_int_equal(large, 9);
	arena_free(arena);
}

/* Weights are copied to the order of their product's sums where that is little beside the product: not for one small image. */
static void one_image_copies_no_weights(void **state) {
	(void)state;
	for (int batch = 1; batch <= 8; batch *= 8) {
		Arena *arena = arena_new();
		Program *p = open_good(arena, "image.nn", "model net(x: [B, 13, 13, 32]) -> [B, 11, 11, 64] = x |> conv2d(64, 3)\n", 0);
		int copies = buffers_kept(arena, p, program_infer(p, 0, batch), 3 * 3 * 32 * 64);
		assert_int_equal(copies, batch > 1);
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(keeps_one_source),
	                                   cmocka_unit_test(logits_make_room), cmocka_unit_test(sums_keep_their_product),
	                                   cmocka_unit_test(one_image_copies_no_weights)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
