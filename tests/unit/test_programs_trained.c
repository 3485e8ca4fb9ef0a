/* test_programs_trained.c: programs that use nothing of std beyond `dense`, trained as machine code: the loss falls, and
 * every step leaves the bits that the f32 interpreter leaves.  An optimiser of the user's costs no more kernels than one of
 * std.  Two train blocks of one model keep their slots apart.
 * link: nnc_front nnc_llvm nnc_host */
#include "test_programs.h"

#include "compile.h"
#include "host.h"

/* ---- a step that runs ---- */

typedef struct Trainee {
	const Program *program;
	Layout layout;
	Pool *pool;
	char *block;
	Runner *runner;
	Compiled compiled;
} Trainee;

static Compiled compile(Arena *arena, Fn *raw, const Program *p, const Layout *layout, int workers) {
	CompileOptions options = {.target = target_host(arena), .workers = workers, .always_share = true, .no_cache = true};
	Compiled c = compile_fn(arena, run_passes(raw, 0, pass_count), p, layout, &options);
	if (!c.executable.entry) fail_msg("cannot compile: %s", c.error ? c.error : op_info[c.unsupported->op].text);
	return c;
}

/* workers 0: interpreted. */
static Trainee *trainee(Arena *arena, Program *p, int train, int workers) {
	Trainee *t = NEW(arena, Trainee);
	*t = (Trainee){.program = p, .layout = layout_program(arena, p), .pool = pool_new(workers ? workers : 1, 0)};
	t->block = block_new(t->layout.bytes);
	const Executable *step;
	if (workers) {
		Compiled init = compile(arena, program_init(p), p, &t->layout, 1);
		runner_init(&init.executable, t->pool, p, &t->layout, t->block, 5);
		compiled_free(&init);
		t->compiled = compile(arena, program_step(p, train), p, &t->layout, workers);
		step = &t->compiled.executable;
	} else {
		runner_init(exec_interpret(arena, run_passes(program_init(p), 0, pass_count), p, &t->layout), t->pool, p, &t->layout,
		            t->block, 5);
		step = exec_interpret(arena, run_passes(program_step(p, train), 0, pass_count), p, &t->layout);
	}
	t->runner = runner_new(step, t->pool, t->block);
	runner_settings(t->runner, &p->trains.data[train]);
	runner_seed(t->runner, 5);
	return t;
}

static void trainee_free(Trainee *t) {
	runner_free(t->runner);
	if (t->compiled.executable.entry) compiled_free(&t->compiled);
	block_free(t->block, t->layout.bytes);
	pool_free(t->pool);
}

static float *input_f32(const Runner *r, const char *name) { return (float *)(void *)r->frame.io[runner_input(r, name)]; }

/* Samples are made up: x six numbers of -1..1, y a smooth function of them, kind how many of the first two are positive. */
static double step_once(Trainee *t, int step) {
	const Runner *r = t->runner;
	int io = runner_input(r, "x"), y = runner_input(r, "y"), kind = runner_input(r, "kind");
	int64_t batch = r->type[io].dim[0];
	for (int64_t b = 0; b < batch; b++) {
		uint64_t state = (uint64_t)(((int64_t)step * batch + b) % 256) * 977 + 3;
		float *x = input_f32(r, "x") + 6 * b;
		for (int j = 0; j < 6; j++) x[j] = (float)(2 * unit(&state) - 1);
		if (y >= 0) input_f32(r, "y")[b] = x[0] * x[1] + 0.5F * x[2] - 0.25F;
		if (kind >= 0) ((int32_t *)(void *)r->frame.io[kind])[b] = (x[0] > 0) + (x[1] > 0);
	}
	runner_count(t->runner, INPUT_STEP, step + 1);
	runner_count(t->runner, INPUT_EPOCH, 1);
	runner_run(t->runner);
	float loss;
	memcpy(&loss, r->frame.io[runner_output(r, "loss")], sizeof loss);
	return (double)loss;
}

static void must_have_same_tensors(Arena *arena, const Trainee *a, const Trainee *b, const char *when) {
	for (int i = 0; i < a->layout.count; i++) {
		const Persistent *p = &a->program->persistent.data[i];
		size_t bytes = (size_t)type_count(p->type) * (size_t)dtype_info[p->type.dtype].bytes;
		char *one = arena_alloc(arena, bytes), *two = arena_alloc(arena, bytes);
		layout_store(&a->layout, a->program, i, a->block, one);
		layout_store(&b->layout, b->program, i, b->block, two);
		if (memcmp(one, two, bytes)) fail_msg("%s: %s (train %d) has other bits", when, p->path, p->train);
	}
}

/* ---- nothing of std beyond dense ---- */

#define DATA                                                                                                                   \
	"data d { x: f32[6] = npy(\"x.npy\"); y: f32 = npy(\"y.npy\"); kind: class[3] = npy(\"kind.npy\") }\n"                       \
	"fn bend(v) = v / (1 + abs(v))\n"                                                                                            \
	"fn off(a, b) = (a - b) * (a - b)\n"                                                                                         \
	"optimizer stroll(p, g, lr = 0.05) { state speed: [dims(p)] = 0; speed <- 0.9 * speed + g; p <- p - lr * speed }\n"          \
	"optimizer walk(p, g, lr = 0.02, a = 0.9, b = 0.99) {\n"                                                                     \
	"  state fast: [dims(p)] = 0\n  state slow: [dims(p)] = 0\n"                                                                 \
	"  fast <- a * fast + (1 - a) * g\n  slow <- b * slow + (1 - b) * g * g\n"                                                   \
	"  p <- p - lr * fast / (sqrt(slow) + 1e-4)\n}\n"

#define NET "model net(x: [B, 6]) -> [B] = x |> dense(16) |> bend |> dense(12) |> bend |> dense(1) |> reshape(B)\n"
#define WITH(optimiser) DATA NET "train { data = d; batch = 24; epochs = 1; loss = off(net(x), y); optimizer = " optimiser " }\n"

static const char own_optimiser[] = WITH("walk()");

static const char own_loss[] = DATA
	"fn margin(z, y) {\n"
	"  let right[b] = z[b, y[b]]\n"
	"  let over[b, j] = where(j == y[b], 0, max(0, 1 + z[b, j] - right[b]))\n"
	"  let total[b] = sum[j](over[b, j])\n"
	"  return total\n"
	"}\n"
	"model net(x: [B, 6]) -> [B, 3] = x |> dense(20) |> bend |> dense(3)\n"
	"train { data = d; batch = 24; epochs = 1; loss = margin(net(x), kind); optimizer = stroll() }\n";

static const char branches[] = DATA
	"model net(x: [B, 6]) -> [B] {\n"
	"  let left = bend(dense(x, 10)); let right = dense(x, 10); let straight = bend(dense(x, 7))\n"
	"  let all = concat(left * right, straight, x)\n"
	"  let y = dense(all, 23) |> bend\n"
	"  let z = all + y\n"
	"  return reshape(dense(z, 1), B)\n"
	"}\n"
	"train { data = d; batch = 24; epochs = 1; loss = off(net(x), y); optimizer = stroll(lr = 0.03) }\n";

static void check_trains(const char *name, const char *text) {
	enum { STEPS = 150, EXACT = 12, WINDOW = 10 };
	Arena *arena = arena_new();
	Program *p = open_good(arena, name, text, 0);
	Trainee *one = trainee(arena, p, 0, 1), *two = trainee(arena, p, 0, 2), *naive = trainee(arena, p, 0, 0);
	double first = 0, last = 0;
	must_have_same_tensors(arena, one, naive, name);
	for (int step = 0; step < STEPS; step++) {
		double loss = step_once(one, step);
		if (step < WINDOW) first += loss / WINDOW;
		if (step >= STEPS - WINDOW) last += loss / WINDOW;
		if (step >= EXACT) continue;
		if (step_once(two, step) != loss || step_once(naive, step) != loss)
			fail_msg("%s: the loss of step %d has other bits", name, step + 1);
		must_have_same_tensors(arena, one, naive, arena_printf(arena, "%s, step %d", name, step + 1));
		must_have_same_tensors(arena, one, two, arena_printf(arena, "%s, step %d, two workers", name, step + 1));
	}
	if (getenv("NNC_VERBOSE")) printf("%s: loss %g, then %g\n", name, first, last);
	if (!(last < 0.5 * first)) fail_msg("%s: the loss was %g and is %g", name, first, last);
	trainee_free(one);
	trainee_free(two);
	trainee_free(naive);
	arena_free(arena);
}

static void test_train(void **state) {
	(void)state;
	check_trains("own_optimiser.nn", own_optimiser);
	check_trains("own_loss.nn", own_loss);
	check_trains("branches.nn", branches);
}

static int kernels_of(const char *text) {
	Arena *arena = arena_new();
	Program *p = open_good(arena, "kernels.nn", text, 0);
	Layout layout = layout_program(arena, p);
	CompileOptions options = {.target = target_host(arena), .workers = 1};
	KernelProgram *kp = compile_kernels(arena, run_passes(program_step(p, 0), 0, pass_count), p, &layout, &options);
	int n = kp->kernels.length;
	if (getenv("NNC_VERBOSE")) {
		Text print = {.arena = arena};
		kernel_print(&print, kp);
		puts(print.data);
	}
	arena_free(arena);
	return n;
}

/* Whoever wrote the optimiser, its update is fused the same way. */
static void test_kernel_counts(void **state) {
	(void)state;
	int own = kernels_of(WITH("walk()"));
	assert_int_equal(own, kernels_of(WITH("adam()")));
	assert_int_equal(own, kernels_of(WITH("adamw(decay = 0.01)")));
	assert_int_equal(kernels_of(WITH("stroll()")), kernels_of(WITH("sgd(lr = 0.1, momentum = 0.9)")));
}

/* ---- two train blocks ---- */

/* The same parameters, slots of the same name, but other initial values and another type. */
static const char two_blocks[] = DATA NET
	"optimizer first(p, g) { state s: [dims(p)] = 3; s <- s + g * g; p <- p - 0.1 * g / sqrt(s) }\n"
	"optimizer second(p, g) { state s: [dims(p)] = 0.25; state n: i32 = 7; s <- s + abs(g); n <- n + 1; "
	"p <- p - 0.1 * g / (1 + s) }\n"
	"optimizer third(p, g) { state s: f32 = 9; s <- s + 1; p <- p - g / s }\n"
	"train a { data = d; batch = 8; epochs = 1; loss = off(net(x), y); optimizer = first() }\n"
	"train b { data = d; batch = 8; epochs = 1; loss = off(net(x), y); optimizer = second() }\n"
	"train c { data = d; batch = 8; epochs = 1; loss = off(net(x), y); optimizer = third() }\n";

static void test_two_blocks(void **state) {
	(void)state;
	static const float initial[] = {3, 0.25F, 9};
	Arena *arena = arena_new();
	Program *p = open_good(arena, "two.nn", two_blocks, 0);
	for (int train = 0; train < 3; train++) {
		Trainee *one = trainee(arena, p, train, 1), *naive = trainee(arena, p, train, 0);
		int slots = 0, moved = 0;
		for (int i = 0; i < one->layout.count; i++) {
			const Persistent *x = &p->persistent.data[i];
			for (int k = 0; k < i; k++) assert_string_not_equal(x->path, p->persistent.data[k].path);
			if (x->kind != INPUT_SLOT || x->type.dtype != DTYPE_F32) continue;
			float value;
			memcpy(&value, one->block + one->layout.places[i].offset, sizeof value);
			if (value != initial[x->train]) fail_msg("%s of train block %d begins with %g", x->path, x->train, (double)value);
			slots++;
		}
		assert_int_equal(slots, 18);   /* three blocks, six parameters */
		must_have_same_tensors(arena, one, naive, "at first");
		for (int step = 0; step < 3; step++) assert_true(step_once(one, step) == step_once(naive, step));
		must_have_same_tensors(arena, one, naive, "two blocks");
		for (int i = 0; i < one->layout.count; i++) {
			const Persistent *x = &p->persistent.data[i];
			if (x->kind != INPUT_SLOT || x->type.dtype != DTYPE_F32) continue;
			float value;
			memcpy(&value, one->block + one->layout.places[i].offset, sizeof value);
			if (value == initial[x->train]) continue;
			if (x->train != train) fail_msg("train block %d wrote %s of block %d", train, x->path, x->train);
			moved++;
		}
		assert_true(moved >= 4);
		trainee_free(one);
		trainee_free(naive);
	}
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_train), cmocka_unit_test(test_kernel_counts),
	                                   cmocka_unit_test(test_two_blocks)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
