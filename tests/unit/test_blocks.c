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

enum { ROUNDS = 200 };

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

#define DROPOUT(causal, rate) \
	"model net(x: [B, T, 8]) -> [B, T, 8] { return x |> attention(2, causal = " causal ", rate = " rate ") }\n"

/* Random numbers within are those of the whole: drawn by the numbers of their elements, again in each stage. */
static void dropped_places(void **state) {
	(void)state;
	check(NET(DROPOUT("true", "0.25"), 12, "mse(net(x), y)"), tiny, 2 * 12 * 24, 6, "causal attention, some places dropped");
	check(NET(DROPOUT("false", "0.5"), 13, "mse(net(x), y)"), tiny, 2 * 13 * 24, 8, "attention of 13, some places dropped");
	BlockLimits limits = {.wide = 100, .growth = 1, .block = 64, .rows = 8};
	check(NET(DROPOUT("true", "0.25"), 40, "mse(net(x), y)"), limits, 2 * 40 * 24, 12,
	      "blocks of causal attention, some dropped");
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

/* With the limits of the pass itself: one set of bits for any number of workers, that of the interpreter. */
static void workers(void **state) {
	(void)state;
	static const char *const texts[] = {
		"const T = 1024\nmodel net(x: [B, T, 8]) -> [B, T, 8] { return x |> attention(1, causal = true, bias = false) }\n"
		"data made { x: f32[T, 8] = npy(\"x.npy\"); y: f32[T, 8] = npy(\"y.npy\") }\n"
		"train { data = made; batch = 1; epochs = 1; loss = mse(net(x), y); optimizer = sgd(lr = 0.1) }\n",
		"const V = 1100\nmodel net(x: [B, 8]) -> logits[B, V] { return dense(x, V) }\n"
		"data made { x: f32[8] = npy(\"x.npy\"); t: class[V] = npy(\"t.npy\") }\n"
		"train { data = made; batch = 1000; epochs = 1; loss = cross_entropy(net(x), t); optimizer = sgd(lr = 0.1) }\n",
	};
	for (size_t i = 0; i < COUNT(texts); i++)
		for (int workers = 1; workers <= 8; workers += workers < 3 ? 1 : 5) {
			Arena *arena = arena_new();
			Fn *f = pass_blocks(step_of(arena, texts[i]));
			char *dense[16];
			assert_true(count_scans(f) > 0);
			for (int k = 0; k < f->inputs.length; k++) dense[k] = random_input(arena, f->inputs.data[k].type, 1000, false);
			const char *problem = compare_compiled(arena, f, dense, target_host(arena), workers, NULL);
			if (problem) fail_msg("program %d, %d workers: %s", (int)i, workers, problem);
			arena_free(arena);
		}
}

/* ---- random regions ---- */

/* Wide values of one shape, of axes that are `extent` long, and what is made of them. */
typedef struct Wide { Arena *arena; Fn *f; Random *r; Type type; ValList wide; int leaves; Val *seed, *step; } Wide;

static bool chance(Wide *p, int n) { return random_below(p->r, n) == 0; }
static Val *any(Wide *p) { return p->wide.data[random_below(p->r, p->wide.length)]; }
static void put(Wide *p, Val *v) { vec_push(p->arena, &p->wide, v); }

/* A new input with the axes of the mask, and `more` after them. */
static Val *new_leaf(Wide *p, unsigned mask, int64_t more) {
	Type t = {.dtype = DTYPE_F32};
	for (int i = 0; i < p->type.rank; i++)
		if (mask >> i & 1) t.dim[t.rank++] = p->type.dim[i];
	if (more) t.dim[t.rank++] = more;
	int number = p->leaves++;
	return fn_input(p->f, arena_printf(p->arena, "leaf%d", number), number % 2 ? INPUT_DATA : INPUT_PARAM, t);
}

static Val *spread_axes(Wide *p, Val *v, unsigned mask) {
	int64_t at[MAX_RANK];
	int n = 0;
	for (int i = 0; i < p->type.rank; i++)
		if (mask >> i & 1) at[n++] = i;
	return ir_broadcast(p->f, v, p->type.rank, p->type.dim, at);
}

static Val *new_product(Wide *p) {
	int rank = p->type.rank, n[2] = {0, 0};
	unsigned all = (1u << rank) - 1, of[2];
	of[0] = (unsigned)random_below(p->r, (int)all) + 1;
	of[1] = (all & ~of[0]) | (of[0] & (unsigned)random_below(p->r, (int)all + 1));
	int64_t depth = 1 + random_below(p->r, 5), labels[2][MAX_RANK], y[MAX_RANK];
	Val *leaf[2];
	for (int k = 0; k < 2; k++) {
		for (int i = 0; i < rank; i++)
			if (of[k] >> i & 1) labels[k][n[k]++] = i;
		labels[k][n[k]++] = rank;
		leaf[k] = new_leaf(p, of[k], depth);
	}
	for (int i = 0; i < rank; i++) y[i] = i;
	return ir_contract(p->f, leaf[0], labels[0], leaf[1], labels[1], rank, y);
}

/* A function of the index, of two axes. */
static Val *new_mask(Wide *p) {
	int a = random_below(p->r, p->type.rank), b = random_below(p->r, p->type.rank);
	Type t = p->type;
	t.dtype = DTYPE_I32;
	Val *i = ir_iota(p->f, t, a), *j = ir_iota(p->f, t, b);
	if (chance(p, 2)) j = ir_Add(p->f, j, ir_like(p->f, j, random_below(p->r, 5) - 2));
	return chance(p, 2) ? ir_Le(p->f, i, j) : ir_Lt(p->f, j, i);
}

/* Random numbers for all of it, or for some axes. */
static Val *new_random(Wide *p) {
	unsigned mask = chance(p, 2) ? (1u << p->type.rank) - 1 : (unsigned)random_below(p->r, 1 << p->type.rank);
	Type t = {.dtype = DTYPE_F32}, two = type_make(DTYPE_I32, 1, (int64_t[]){2});
	for (int i = 0; i < p->type.rank; i++)
		if (mask >> i & 1) t.dim[t.rank++] = p->type.dim[i];
	if (!p->seed)
		p->seed = fn_input(p->f, "seed", INPUT_SEED, two), p->step = fn_input(p->f, "step", INPUT_DATA, type_scalar(DTYPE_I32));
	Val *u = ir_random(p->f, t, p->seed, p->step, ir_const(p->f, DTYPE_I32, 3), random_below(p->r, 3), random_below(p->r, 4));
	return spread_axes(p, u, mask);
}

static Val *reduced(Wide *p, Val *v, Op op, unsigned mask) {
	int64_t axes[MAX_RANK];
	int n = 0;
	for (int i = 0; i < p->type.rank; i++)
		if (mask >> i & 1) axes[n++] = i;
	return ir_reduce(p->f, op, v, n, axes);
}

static Val *grown(Wide *p) {
	Fn *f = p->f;
	Val *a = any(p), *b = any(p);
	unsigned all = (1u << p->type.rank) - 1, axis = 1u << random_below(p->r, p->type.rank);
	switch (random_below(p->r, 10)) {
	case 0: return ir_Tanh(f, a);
	case 8: return ir_Where(f, ir_Lt(f, new_random(p), ir_like(f, a, 0.3)), ir_like(f, a, 0), a);
	case 1: return ir_Mul(f, a, b);
	case 2: return ir_Add(f, a, spread_axes(p, new_leaf(p, axis, 0), axis));
	case 3: return ir_Where(f, new_mask(p), a, chance(p, 2) ? ir_like(f, a, 0) : b);
	case 4: return ir_Add(f, a, new_product(p));
	case 5: return ir_Sub(f, a, spread_axes(p, reduced(p, b, chance(p, 2) ? OpReduceMax : OpReduceSum, axis), all & ~axis));
	case 6: {   /* a softmax, perhaps of what a mask leaves */
		Val *s = chance(p, 2) ? a : ir_Where(f, new_mask(p), a, ir_like(f, a, -INFINITY));
		Val *m = reduced(p, s, OpReduceMax, axis);
		m = ir_Where(f, ir_Eq(f, m, ir_like(f, m, -INFINITY)), ir_like(f, m, 0), m);
		Val *e = ir_Exp(f, ir_Sub(f, s, spread_axes(p, m, all & ~axis)));
		Val *sum = ir_Add(f, reduced(p, e, OpReduceSum, axis), ir_like(f, m, 0.5));
		return ir_Div(f, e, spread_axes(p, sum, all & ~axis));
	}
	case 7: {
		int64_t perm[MAX_RANK], dim[1] = {type_count(p->type)};
		for (int i = 0; i < p->type.rank; i++) perm[i] = p->type.rank - 1 - i;
		if (chance(p, 2)) return ir_reshape(f, ir_Neg(f, ir_reshape(f, a, 1, dim)), p->type.rank, p->type.dim);
		return ir_transpose(f, ir_Sin(f, ir_transpose(f, a, perm)), perm);
	}
	default: return ir_Sub(f, a, ir_Mul(f, b, ir_like(f, b, 0.5)));
	}
}

/* A product with a leaf that sums over some axes, a sum, a largest, or a row's element. */
static Val *result(Wide *p) {
	Val *a = any(p);
	int rank = p->type.rank;
	unsigned all = (1u << rank) - 1, axes = (unsigned)random_below(p->r, (int)all) + 1;
	switch (random_below(p->r, 4)) {
	case 0: return reduced(p, a, OpReduceSum, axes);
	case 1: return reduced(p, a, OpReduceMax, 1u << (rank - 1));
	default: {
		unsigned with = axes | (unsigned)random_below(p->r, (int)all + 1);
		int64_t la[MAX_RANK], lb[MAX_RANK], y[MAX_RANK];
		int nb = 0, ny = 0;
		for (int i = 0; i < rank; i++) {
			la[i] = i;
			if (with >> i & 1) lb[nb++] = i;
			if (!(axes >> i & 1)) y[ny++] = i;
		}
		lb[nb++] = rank, y[ny++] = rank;
		Val *leaf = new_leaf(p, with, 1 + random_below(p->r, 2));
		return chance(p, 2) ? ir_contract(p->f, a, la, leaf, lb, ny, y) : ir_contract(p->f, leaf, lb, a, la, ny, y);
	}
	}
}

static Fn *random_region(Arena *arena, Random *r) {
	Wide p = {.arena = arena, .f = fn_new(arena, "region"), .r = r, .type = {.dtype = DTYPE_F32}};
	p.type.rank = 2 + random_below(r, 3);
	for (int i = 0; i < p.type.rank; i++) p.type.dim[i] = 1 + random_below(r, p.type.rank > 2 ? 7 : 40);
	put(&p, new_product(&p));
	for (int stage = 1 + random_below(r, 2); stage > 0; stage--) {
		Val *y = NULL;
		for (int i = random_below(r, 7); i >= 0; i--) put(&p, grown(&p));
		for (int i = random_below(r, 3); i >= 0 && p.leaves < 12; i--)
			fn_output(p.f, arena_printf(arena, "y%d", p.f->outputs.length), y = result(&p), -1);
		if (!y) break;
		while (y->type.rank) y = ir_reduce(p.f, OpReduceSum, y, 1, (int64_t[]){0});   /* what comes later needs all of it */
		put(&p, ir_Add(p.f, any(&p), spread_axes(&p, ir_Tanh(p.f, y), 0)));
	}
	return fn_canonical(p.f);
}

static void random_regions(void **state) {
	(void)state;
	int cut = 0, compiled = 0;
	for (int round = 0; round < ROUNDS; round++) {
		Arena *arena = arena_new();
		Random r = {(uint64_t)round * 1000 + 1};
		Fn *f = random_region(arena, &r);
		BlockLimits limits = {.wide = 20, .growth = 1, .block = 1 + random_below(&r, 64), .rows = 1 + random_below(&r, 8)};
		limits.growth = 0;
		Fn *g = blocks_within(f, limits);
		fn_verify(g, "blocks");
		cut += count_scans(g) > 0;
		const char *name = arena_printf(arena, "region %d", round);
		if (f->inputs.length < 16) expect_equal(arena, f, g, &r, name);
		if (f->inputs.length < 16 && count_scans(g) && compiled++ % 4 == 0) expect_same(arena, g, 3, false, name);
		arena_free(arena);
	}
	if (getenv("NNC_TEST_SHOW")) printf("%d of %d regions became loops\n", cut, ROUNDS);
	assert_true(cut > ROUNDS / 3);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(attention_steps), cmocka_unit_test(dropped_places),
	                                   cmocka_unit_test(unseen_keys),     cmocka_unit_test(heads_with_loss),
	                                   cmocka_unit_test(memory),          cmocka_unit_test(workers),
	                                   cmocka_unit_test(random_regions)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
