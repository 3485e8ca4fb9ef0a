/* test_blocks.c: large values block by block: the same numbers as whole (f64), the same bits compiled as interpreted, and none of
 * the large values left.  link: nnc_llvm nnc_front nnc_host nnc_kernel nnc_passes nnc_ir */
#include "nn_text.h"

#include "blocks.h"
#include "expect_same.h"

static const BlockLimits tiny = {.wide = 100, .growth = 1, .block = 64, .rows = 4};

static Fn *step_of(Arena *arena, const char *text) {
	Fn *f = program_step(read_program(arena, text), 0);
	int blocks = pass_index("blocks") - 1;
	return run_passes(f, 0, blocks);
}

static int64_t largest(const Fn *f) {
	int64_t most = 0;
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op != OpInput && dtype_is_float(v->type.dtype)) most = MAX(most, type_count(v->type));
		if (v->op == OpScan) most = MAX(most, largest(v->body));
	}
	return most;
}

static int count_scans(const Fn *f) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++)
		if (f->vals.data[i]->op == OpScan) n += 1 + count_scans(f->vals.data[i]->body);
	return n;
}

static void expect_equal(Arena *arena, const Fn *f, const Fn *g, Random *r, const char *name) {
	double **values = random_inputs(arena, f, r);
	Tensor *a = run(arena, f, EVAL_F64, values), *b = run(arena, g, EVAL_F64, values);
	assert_int_equal(f->outputs.length, g->outputs.length);
	for (int i = 0; i < f->outputs.length; i++) {
		assert_true(type_equal(a[i].type, b[i].type));
		assert_string_equal(f->outputs.data[i].name, g->outputs.data[i].name);
		for (int64_t k = 0; k < type_count(a[i].type); k++) {
			double x = element(&a[i], EVAL_F64, k), y = element(&b[i], EVAL_F64, k);
			if (fabs(x - y) <= 1e-12 * (1 + fabs(x)) || (isnan(x) && isnan(y)) || x == y) continue;
			Text text = {.arena = arena};
			fn_print(&text, g);
			fail_msg("%s: %s[%d] is %.17g, was %.17g\n%s", name, f->outputs.data[i].name, (int)k, y, x, text.data);
		}
	}
}

/* most: elements of any value afterwards; scans: how many. */
static void check(const char *text, BlockLimits limits, int64_t most, int scans, const char *name) {
	Arena *arena = arena_new();
	Random r = {17};
	Fn *f = step_of(arena, text), *g = blocks_within(f, limits);
	fn_verify(g, "blocks");
	if (largest(g) > most) fail_msg("%s: a value of %d elements is left, of %d", name, (int)largest(g), (int)largest(f));
	if (count_scans(g) != scans) fail_msg("%s: %d scans, not %d", name, count_scans(g), scans);
	expect_equal(arena, f, g, &r, name);
	expect_same(arena, g, 3, false, name);
	arena_free(arena);
}

#define NET(model, T, loss) \
	"const T = " #T "\n" model \
	"data made { x: f32[T, 8] = npy(\"x.npy\"); y: f32[T, 8] = npy(\"y.npy\"); t: class[3][T] = npy(\"t.npy\") }\n" \
	"train { data = made; batch = 2; epochs = 1; loss = " loss "; optimizer = sgd(lr = 0.1) }\n"
#define ATTENTION(causal) \
	"model net(x: [B, T, 8]) -> [B, T, 8] { return x |> attention(2, causal = " causal ", bias = false) }\n"

/* Forward and backward, over batch, heads and blocks of rows: 12 = 3 * 4, 13 = 3 * 4 + 1, 15 in one block. */
static void attention_steps(void **state) {
	(void)state;
	check(NET(ATTENTION("true"), 12, "mse(net(x), y)"), tiny, 2 * 12 * 24, 6, "causal attention");
	check(NET(ATTENTION("false"), 13, "mse(net(x), y)"), tiny, 2 * 13 * 24, 8, "attention of 13");
	BlockLimits large = tiny;
	large.rows = 16;
	check(NET(ATTENTION("true"), 15, "mse(net(x), y)"), large, 2 * 15 * 24, 4, "attention in one block");
	large.wide = 1000;
	check(NET(ATTENTION("true"), 12, "mse(net(x), y)"), large, 2 * 2 * 12 * 12, 0, "small attention");
}

/* How many products of scores [rows, keys] with that many keys there are, in all bodies. */
static int count_keys(const Fn *f, int64_t keys) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		n += v->op == OpExp && v->type.rank == 2 && v->type.dim[1] == keys;
		if (v->op == OpScan) n += count_keys(v->body, keys);
	}
	return n;
}

#define NEAR \
	"fn near(x: [B, T, 8], a: [8, 8]) {\n" \
	"  let q = x @ a\n" \
	"  let s[b, i, j] = sum[k](q[b, i, k] * x[b, j, k])\n" \
	"  let m[b, i, j] = where(j <= i and i - 9 < j, s[b, i, j], -inf)\n" \
	"  let p = softmax(0.5 * m)\n" \
	"  let y[b, i, e] = sum[j](p[b, i, j] * x[b, j, e])\n" \
	"  return y\n" \
	"}\n" \
	"model net(x: [B, T, 8]) -> [B, T, 8] {\n" \
	"  param a: [8, 8] = glorot_uniform(shape)\n" \
	"  param c: [8, 8] = glorot_uniform(shape)\n" \
	"  return near(near(x, a), c)\n" \
	"}\n"

/* Keys that no row of a block sees are left out, before and after those that some row sees. */
static void unseen_keys(void **state) {
	(void)state;
	BlockLimits limits = {.wide = 100, .growth = 1, .block = 64, .rows = 8};
	check(NET(ATTENTION("true"), 40, "mse(net(x), y)"), limits, 2 * 40 * 24, 12, "blocks of causal attention");
	check(NET(ATTENTION("true"), 43, "mse(net(x), y)"), limits, 2 * 43 * 24, 14, "blocks of 43");
	check(NET(NEAR, 40, "mse(net(x), y)"), limits, 2 * 40 * 8, 15, "near keys");   /* the second goes back at once */
	Arena *arena = arena_new();
	Fn *f = blocks_within(step_of(arena, NET(ATTENTION("true"), 40, "mse(net(x), y)")), limits);
	assert_int_equal(count_keys(f, 16), 4);   /* rows 0 .. 7, 8 .. 15; forward and backward */
	assert_int_equal(count_keys(f, 32), 2);
	assert_int_equal(count_keys(f, 40), 2);
	f = blocks_within(step_of(arena, NET(NEAR, 40, "mse(net(x), y)")), limits);
	assert_int_equal(count_keys(f, 40), 0);
	arena_free(arena);
}

#define HEAD(more) "model net(x: [B, T, 8]) -> [B, T, 60] { return dense(x, 60" more ") }\n"

static void heads_with_loss(void **state) {
	(void)state;
	BlockLimits limits = {.wide = 500, .growth = 1, .block = 64, .rows = 2};
	check(NET(HEAD(""), 12, "cross_entropy(net(x), t)"), limits, 8 * 60, 1, "logits");
	check(NET(HEAD(", bias = false"), 11, "cross_entropy(net(x), t, smoothing = 0.1)"), limits, 8 * 60, 2, "smoothed logits");
	check(NET(HEAD(""), 12, "cross_entropy(net(x) * 0.5, t, weight = 2)"), limits, 8 * 60, 1, "scaled logits");
}

/* With the limits of the pass itself the memory for attention grows with T, not with its square, and logits are in no memory. */
static size_t memory_of(Arena *arena, const char *text, int workers) {
	Program *p = read_program(arena, text);
	Layout layout = layout_program(arena, p);
	Fn *f = run_passes(program_step(p, 0), 0, pass_count);
	CompileOptions options = {.target = target_host(arena), .workers = workers};
	return compile_kernels(arena, f, p, &layout, &options)->arena_bytes;
}

#define LONG(T) \
	"const T = " T "\nconst C = 512\n" \
	"model net(x: [B, T, C]) -> [B, T, C] { return x |> attention(8, causal = true) }\n" \
	"data made { x: f32[T, C] = npy(\"x.npy\"); y: f32[T, C] = npy(\"y.npy\") }\n" \
	"train { data = made; batch = 1; epochs = 1; loss = mse(net(x), y); optimizer = sgd(lr = 0.1) }\n"
#define LOGITS(T) \
	"const T = " T "\nconst V = 8000\n" \
	"model net(x: [B, T, 128]) -> logits[B, T, V] { return dense(x, V) }\n" \
	"data made { x: f32[T, 128] = npy(\"x.npy\"); t: class[V][T] = npy(\"t.npy\") }\n" \
	"train { data = made; batch = 4; epochs = 1; loss = cross_entropy(net(x), t); optimizer = sgd(lr = 0.1) }\n"

static void memory(void **state) {
	(void)state;
	for (int workers = 1; workers <= 8; workers += 7) {
		Arena *arena = arena_new();
		double part = (double)memory_of(arena, LONG("512"), workers), whole = (double)memory_of(arena, LONG("1024"), workers);
		double most = (double)memory_of(arena, LONG("2048"), workers);
		if (whole > 2.05 * part || most > 2.05 * whole) fail_msg("attention: %g, %g, %g bytes", part, whole, most);
		if (workers == 1) assert_true(whole < 8.0 * 1024 * 1024 * sizeof(float));   /* of one matrix of scores */
		part = (double)memory_of(arena, LOGITS("512"), workers), whole = (double)memory_of(arena, LOGITS("1024"), workers);
		if (whole - part > 4.0 * 512 * 1000 || whole > 4.0 * 4096 * 8000 / 4) fail_msg("logits: %g, %g bytes", part, whole);
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(attention_steps), cmocka_unit_test(unseen_keys),
	                                   cmocka_unit_test(heads_with_loss), cmocka_unit_test(memory)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
