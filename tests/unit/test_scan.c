/* test_scan.c: `scan` in programs: the same numbers as the program with its steps written out, and derivatives that are
 * those of difference quotients.
 * link: nnc_front nnc_passes nnc_ir */
#include "nn_text.h"
#include "rebuild.h"

#define DATA "data d { x: f32[5, 3] = csv(\"x.csv\", columns = 0..15); y: f32[4] = csv(\"x.csv\", columns = 15..19) }\n"
#define TRAIN "train { data = d; batch = 3; epochs = 1; loss = mse(m(x), y); optimizer = sgd(lr = 0.1) }\n"

/* A model by scan and the same written out; NULL: nothing to compare with. */
static const struct { const char *name, *scan, *written; } cases[] = {
	{"recurrent",
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param u: [4, 4] = glorot_uniform(shape)\n"
	      "  param b: [4] = zeros(4)\n"
	      "  scan t < T carry h = zeros(B, 4) { let xt[b, j] = x[b, t, j]; h = tanh(xt @ w + h @ u + b) }\n"
	      "  return h }\n" TRAIN,
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param u: [4, 4] = glorot_uniform(shape)\n"
	      "  param b: [4] = zeros(4)\n"
	      "  let h = zeros(B, 4)\n"
	      "  for t in 0..T { let xt[b, j] = x[b, t, j]; h = tanh(xt @ w + h @ u + b) }\n"
	      "  return h }\n" TRAIN},
	{"reversed, two carries, emitted in the middle",
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param a: [4] = ones(4)\n"
	      "  scan t < T reversed carry h = zeros(B, 4), c = a { let xt[b, j] = x[b, t, j]\n"
	      "    h = sigmoid(xt @ w + h * c); c = c * 0.5 + a * a; emit hs[b, t, j] = h[b, j] * c[j] }\n"
	      "  let s[b, j] = sum[t](hs[b, t, j]) + hs[b, 0, j] * 3 ; return s + h + c }\n" TRAIN,
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param a: [4] = ones(4)\n"
	      "  let h = zeros(B, 4); let c = a; let l = []\n"
	      "  for k in 0..T { let xt[b, j] = x[b, T - 1 - k, j]\n"
	      "    h = sigmoid(xt @ w + h * c); c = c * 0.5 + a * a; l = append(l, h * c) }\n"
	      "  let hs = stack(flip_list(l), axis = 1)\n"
	      "  let s[b, j] = sum[t](hs[b, t, j]) + hs[b, 0, j] * 3 ; return s + h + c }\n"
	      "fn flip_list(l) { let r = []; for k in 0..len(l) { r = append(r, l[len(l) - 1 - k]) }; return r }\n" TRAIN},
	{"rows before and behind, with defaults",
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param a: [4] = ones(4)\n"
	      "  scan t < T carry h = zeros(B, 4) {\n"
	      "    let p[b, j] = x[b, t - 1, j | 0]; let q[b, j] = x[b, T - 1 - t, j] + x[b, t + 1, j | 2] * x[b, 2 * t, j | 1]\n"
	      "    let n[b, j] = sum[r](x[b, t + r - 1, j | 0] * a[r])\n"
	      "    h = tanh(p @ w + q @ w * h + n @ w) * (t + 1) }\n"
	      "  return h }\n" TRAIN,
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param a: [4] = ones(4)\n"
	      "  let h = zeros(B, 4)\n"
	      "  for t in 0..T {\n"
	      "    let p[b, j] = x[b, t - 1, j | 0]; let q[b, j] = x[b, T - 1 - t, j] + x[b, t + 1, j | 2] * x[b, 2 * t, j | 1]\n"
	      "    let n[b, j] = sum[r](x[b, t + r - 1, j | 0] * a[r])\n"
	      "    h = tanh(p @ w + q @ w * h + n @ w) * (t + 1) }\n"
	      "  return h }\n" TRAIN},
	{"layers and fns inside",
	 DATA "layer cell(x, h, n) { return tanh(dense(x, n) + dense(h, n, bias = false)) }\n"
	      "fn gate(a, b) = a * sigmoid(b)\n"
	      "model m(x: [B, T, k]) -> [B, 4] {\n"
	      "  scan t < T carry h = zeros(B, 4) { let xt = x[0..B, t, 0..k]; h = gate(cell(xt, h, 4), h) + h * 0.5 }\n"
	      "  return dense(h, 4) }\n" TRAIN,
	 DATA "layer cell(x, h, n) { return tanh(dense(x, n) + dense(h, n, bias = false)) }\n"
	      "fn gate(a, b) = a * sigmoid(b)\n"
	      "model m(x: [B, T, k]) -> [B, 4] { let h = zeros(B, 4); let f = cell(_, _, 4)\n"
	      "  for t in 0..T { let xt = x[0..B, t, 0..k]; h = gate(f(xt, h), h) + h * 0.5 }\n"
	      "  return dense(h, 4) }\n" TRAIN},
	{"nested, emitted over both",
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [4, 4] = glorot_uniform(shape)\n"
	      "  scan t < T carry h = ones(B, 4) {\n"
	      "    scan s < k carry g = h { g = tanh(g @ w + wide(x[0..B, t, s], 4)); emit gs[b, s, t, j] = g[b, j] * h[b, j] }\n"
	      "    h = g * 0.5 + h }\n"
	      "  let r[b, j] = sum[s, t](gs[b, s, t, j] * (s + 2 * t + 1)) ; return r + h }\n"
	      "fn wide(x: [B], n: int) { let y[b, j < n] = x[b]; return y }\n" TRAIN,
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [4, 4] = glorot_uniform(shape); let h = ones(B, 4); let all = []\n"
	      "  for t in 0..T { let g = h; let row = []\n"
	      "    for s in 0..k { g = tanh(g @ w + wide(x[0..B, t, s], 4)); row = append(row, g * h) }\n"
	      "    all = append(all, stack(row, axis = 1)); h = g * 0.5 + h }\n"
	      "  let gs = stack(all, axis = 2)\n"
	      "  let r[b, j] = sum[s, t](gs[b, s, t, j] * (s + 2 * t + 1)) ; return r + h }\n"
	      "fn wide(x: [B], n: int) { let y[b, j < n] = x[b]; return y }\n" TRAIN},
	{"per element, in an indexed definition",
	 DATA "fn root(x, n: int) { scan i < n carry y = 1 { y = 0.5 * (y + (x * x + 1) / y) }; return y }\n"
	      "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape)\n"
	      "  let z[b, j] = sum[k](root(x[b, 0, k], 3) * w[k, j]); return z }\n" TRAIN,
	 DATA "fn root(x, n: int) { let y = 1; for i in 0..n { y = 0.5 * (y + (x * x + 1) / y) }; return y }\n"
	      "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape)\n"
	      "  let z[b, j] = sum[k](root(x[b, 0, k], 3) * w[k, j]); return z }\n" TRAIN},
	{"energies: grad in the body, of what is carried and of a parameter",
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [4, 4] = glorot_uniform(shape); param v: [k, 4] = glorot_uniform(shape)\n"
	      "  let w2 = w * w + w; let force = x[0..B, 0, 0..k] @ v\n"
	      "  scan t < T carry h = force, c = force { let e = sum(tanh(h @ w2) * force); let q = sum(tanh(c @ w2))\n"
	      "    h = h - 0.1 * grad(e, h) + sum(grad(q, w)) * 0.01; c = c * 0.9 }\n"
	      "  return h }\n" TRAIN,
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [4, 4] = glorot_uniform(shape); param v: [k, 4] = glorot_uniform(shape)\n"
	      "  let w2 = w * w + w; let force = x[0..B, 0, 0..k] @ v; let h = force; let c = force\n"
	      "  for t in 0..T { let e = sum(tanh(h @ w2) * force); let q = sum(tanh(c @ w2))\n"
	      "    h = h - 0.1 * grad(e, h) + sum(grad(q, w)) * 0.01; c = c * 0.9 }\n"
	      "  return h }\n" TRAIN},
	{"a rule of its own, and a stopped gradient",
	 DATA "fn soft(x, s) = tanh(x * s)\n"
	      "vjp soft(x, s -> y, dy) { return dy * (1 - y * y) * s * 0.5, sum(dy * x, axis = 0) * 2 }\n"
	      "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param s: [4] = ones(4)\n"
	      "  scan t < T carry h = zeros(B, 4) { h = soft(x[0..B, t, 0..k] @ w + h, s) + stop_gradient(h * s) }\n"
	      "  return h }\n" TRAIN,
	 DATA "fn soft(x, s) = tanh(x * s)\n"
	      "vjp soft(x, s -> y, dy) { return dy * (1 - y * y) * s * 0.5, sum(dy * x, axis = 0) * 2 }\n"
	      "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param s: [4] = ones(4)\n"
	      "  let h = zeros(B, 4)\n"
	      "  for t in 0..T { h = soft(x[0..B, t, 0..k] @ w + h, s) + stop_gradient(h * s) }\n"
	      "  return h }\n" TRAIN},
	{"a scan within a rule",
	 DATA "fn thrice(x) = x * 3\n"
	      "vjp thrice(x -> y, dy) { scan i < 3 carry d = zeros(dims(x)) { d = d + dy }; return d }\n"
	      "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape)\n"
	      "  return thrice(x[0..B, 0, 0..k] @ w) }\n" TRAIN,
	 DATA "fn thrice(x) = x * 3\n"
	      "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape)\n"
	      "  return thrice(x[0..B, 0, 0..k] @ w) }\n" TRAIN},
	{"whole numbers, statics and branches",
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape)\n"
	      "  scan t < T carry h = 0, n = 1 as i32, best = 0 as i32 { let z = x[0..B, t, 0..k] @ w\n"
	      "    for i in 0..2 { if i == 1 { h = h + sum(z) } }\n"
	      "    n = n * 2 + t; best = max(best, n % 7) }\n"
	      "  return x[0..B, 1, 0..k] @ w + h * (n as f32) + (best as f32) }\n" TRAIN,
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape)\n"
	      "  let h = 0 as f32; let n = 1; let best = 0\n"
	      "  for t in 0..T { let z = x[0..B, t, 0..k] @ w; h = h + sum(z); n = n * 2 + t; best = max(best, n % 7) }\n"
	      "  return x[0..B, 1, 0..k] @ w + h * n + best }\n" TRAIN},
	{"gradients through a gradient of a scan",
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param u: [4, 4] = glorot_uniform(shape)\n"
	      "  let z = x * 1; scan t < T carry h = zeros(B, 4) { h = tanh(z[0..B, t, 0..k] @ w + h @ u) }\n"
	      "  let g = grad(sum(h * h), z); return h + sum(g * g) }\n" TRAIN,
	 DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param u: [4, 4] = glorot_uniform(shape)\n"
	      "  let z = x * 1; let h = zeros(B, 4); for t in 0..T { h = tanh(z[0..B, t, 0..k] @ w + h @ u) }\n"
	      "  let g = grad(sum(h * h), z); return h + sum(g * g) }\n" TRAIN},
};

static int find_input(const Fn *f, const char *name) {
	for (int i = 0; i < f->inputs.length; i++)
		if (!strcmp(f->inputs.data[i].name, name)) return i;
	return -1;
}

/* A number per element of an input, the same for the input of that name of any program; an instance path may differ in who holds
 * a cell: the last part counts. */
static double **inputs_by_name(Arena *arena, const Fn *f) {
	double **values = NEW_ARRAY(arena, double *, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		const char *dense = strstr(in->name, "dense"), *name = dense ? dense : in->name;
		Random r = {hash_bytes(name, strlen(name), 7)};
		values[i] = NEW_ARRAY(arena, double, type_count(in->type));
		for (int64_t k = 0; k < type_count(in->type); k++)
			values[i][k] = dtype_is_float(in->type.dtype) ? (double)(float)random_real(&r, -1, 1) : 1 + random_below(&r, 3);
	}
	return values;
}

static void compare(Arena *arena, const char *name, const char *what, const Fn *a, const Fn *b, EvalMode mode, double tolerance) {
	assert_int_equal(a->outputs.length, b->outputs.length);
	Tensor *x = run(arena, a, mode, inputs_by_name(arena, a)), *y = run(arena, b, mode, inputs_by_name(arena, b));
	for (int i = 0; i < a->outputs.length; i++) {
		assert_true(type_equal(x[i].type, y[i].type));
		for (int64_t k = 0; k < type_count(x[i].type); k++) {
			double p = element(&x[i], mode, k), q = element(&y[i], mode, k);
			if (!(fabs(p - q) <= tolerance * fmax(1, fabs(q))))
				fail_msg("%s: %s: %s[%d] is %.17g, written out %.17g", name, what, a->outputs.data[i].name, (int)k, p, q);
		}
	}
}

static int count_scans(const Fn *f) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) n += f->vals.data[i]->op == OpScan;
	return n;
}

/* Each gradient against difference quotients of the loss, in f64. */
static void check_quotients(Arena *arena, const char *name, const Fn *f) {
	double **values = inputs_by_name(arena, f);
	Tensor *out = run(arena, f, EVAL_F64, values);
	for (int i = 1; i < f->outputs.length; i++) {
		int at = find_input(f, f->outputs.data[i].name + strlen("grad/"));
		assert_true(at >= 0);
		for (int64_t k = 0; k < type_count(out[i].type); k++) {
			double g = element(&out[i], EVAL_F64, k), best = INFINITY;
			for (double h = 1e-3; h > 1e-6; h /= 8)
				best = fmin(best, fabs(quotient_at(f, values, at, k, h) - g) / fmax(1, fabs(g)));
			if (!(best < 1e-7)) fail_msg("%s: %s[%d] is %g, off by %g", name, f->outputs.data[i].name, (int)k, g, best);
		}
	}
}

static bool has_rule(const char *text) { return strstr(text, "vjp") != NULL; }

static void test_written_out(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		Arena *arena = arena_new();
		const char *name = cases[i].name;
		Program *a = read_program(arena, cases[i].scan), *b = read_program(arena, cases[i].written);
		Fn *fa = run_passes(program_infer(a, 0, 3), 0, pass_count), *fb = run_passes(program_infer(b, 0, 3), 0, pass_count);
		assert_int_equal(count_scans(fa) > 0, !strstr(name, "within a rule"));
		assert_int_equal(count_scans(fb), 0);
		bool derived = strstr(name, "grad") != NULL;   /* their sums over steps are in another order */
		compare(arena, name, "f32", fa, fb, EVAL_F32, derived ? 1e-5 : 0);
		compare(arena, name, "f64", fa, fb, EVAL_F64, derived ? 1e-12 : 0);
		Fn *ga = run_passes(program_loss(a, 0, 3, true), 0, pass_count);
		Fn *gb = run_passes(program_loss(b, 0, 3, true), 0, pass_count);
		compare(arena, name, "derivative", ga, gb, EVAL_F64, 1e-11);
		compare(arena, name, "derivative in f32", ga, gb, EVAL_F32, 1e-4);
		if (!has_rule(cases[i].scan)) check_quotients(arena, name, ga);
		/* as text of the language they are the same again */
		Random r = {i};
		check_text(arena, fa, &r, false);
		check_text(arena, ga, &r, false);
		check_text(arena, run_passes(program_step(a, 0), 0, pass_count), &r, false);
		check_text(arena, run_passes(program_eval(a, 0, 2), 0, pass_count), &r, false);
		arena_free(arena);
	}
}

static int count_op(const Fn *f, Op op) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) {
		n += f->vals.data[i]->op == op;
		if (f->vals.data[i]->op == OpScan) n += count_op(f->vals.data[i]->body, op);
	}
	return n;
}

/* The adjoint of what is read row by row is made row by row: nothing the size of a stack is added up in a step. */
static void test_rows(void **state) {
	(void)state;
	static const char text[] =
		DATA "model m(x: [B, T, k]) -> [B, 4] { param s: [3] = ones(3); param w: [k, 4] = glorot_uniform(shape); let z = x * s\n"
		     "  scan t < T - 1 carry h = zeros(B, 4), n = zeros(B, 4), c = 1 {\n"
		     "    h = tanh(z[0..B, t, 0..k] @ w + z[0..B, t + 1, 0..k] @ w * h + h); n = n + h; c = c + sum(h) }\n"
		     "  return h }\n" TRAIN;
	Arena *arena = arena_new();
	Fn *f = run_passes(program_loss(read_program(arena, text), 0, 3, true), 0, pass_count);
	assert_int_equal(count_op(f, OpScatterAdd), 0);
	assert_int_equal(count_op(f, OpGather), 5);   /* forward two rows; back as well, and h as it was */
	check_quotients(arena, "rows", f);
	arena_free(arena);
}

/* Functions of the forward scan are read by the reverse one: it computes none of them again, only what is cheap. */
static void test_kept(void **state) {
	(void)state;
	static const char text[] =
		DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 12] = glorot_uniform(shape)\n"
		     "  param u: [4, 12] = glorot_uniform(shape)\n"
		     "  scan t < T carry h = zeros(B, 4), c = zeros(B, 4) { let z = x[0..B, t, 0..k] @ w + h @ u\n"
		     "    c = sigmoid(z[0..B, 0..4]) * c + tanh(z[0..B, 4..8]); h = exp(-z[0..B, 8..12] ^ 2) * tanh(c) }\n"
		     "  return h }\n" TRAIN;
	Arena *arena = arena_new();
	Fn *f = run_passes(program_loss(read_program(arena, text), 0, 3, true), 0, pass_count);
	assert_int_equal(count_scans(f), 2);
	assert_int_equal(count_op(f, OpTanh), 2);   /* each once */
	assert_int_equal(count_op(f, OpExp), 2);
	check_quotients(arena, "kept", f);
	arena_free(arena);
}

/* ---- states ---- */

static const char states[] =
	DATA "layer centre(x: [B, n]) { state m: [n] = 0; state count: [] = 0\n"
	     "  let now = m; m <- 0.5 * m + mean(x, axis = 0); count <- count + 1; return x - now }\n"
	     "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); state idle: [4] = 1; let f = centre(_)\n"
	     "  let z = f(x[0..B, 1, 0..k])\n"
	     "  scan t < T carry h = zeros(B, 4) { let y = f(x[0..B, t, 0..k]); h = tanh(y @ w + h * idle) }\n"
	     "  return h + f(x[0..B, 0, 0..k]) @ w + z @ w }\n" TRAIN;
static const char states_written[] =
	DATA "layer centre(x: [B, n]) { state m: [n] = 0; state count: [] = 0\n"
	     "  let now = m; m <- 0.5 * m + mean(x, axis = 0); count <- count + 1; return x - now }\n"
	     "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); state idle: [4] = 1; let f = centre(_)\n"
	     "  let z = f(x[0..B, 1, 0..k]); let h = zeros(B, 4)\n"
	     "  for t in 0..T { let y = f(x[0..B, t, 0..k]); h = tanh(y @ w + h * idle) }\n"
	     "  return h + f(x[0..B, 0, 0..k]) @ w + z @ w }\n" TRAIN;

/* A state that a step updates is a carry; before, in and after the loop each call sees the version before it. */
static void test_states(void **unused) {
	(void)unused;
	Arena *arena = arena_new();
	Program *a = read_program(arena, states), *b = read_program(arena, states_written);
	Fn *fa = run_passes(program_step(a, 0), 0, pass_count), *fb = run_passes(program_step(b, 0), 0, pass_count);
	int updated = 0;
	for (int i = 0; i < fa->outputs.length; i++) updated += fa->outputs.data[i].updates >= 0;
	assert_int_equal(updated, 3);   /* w, m, count */
	compare(arena, "states", "step", fa, fb, EVAL_F64, 1e-12);
	fa = run_passes(program_eval(a, 0, 3), 0, pass_count), fb = run_passes(program_eval(b, 0, 3), 0, pass_count);
	compare(arena, "states", "evaluation", fa, fb, EVAL_F32, 0);
	arena_free(arena);
}

/* ---- random numbers ---- */

static void find_random(const Fn *f, ValList *all) {
	for (int i = 0; i < f->vals.length; i++) {
		if (f->vals.data[i]->op == OpRandom) vec_push(f->arena, all, f->vals.data[i]);
		if (f->vals.data[i]->op == OpScan) find_random(f->vals.data[i]->body, all);
	}
}

static bool has_kind(const Fn *f, InputKind kind) {
	for (int i = 0; i < f->inputs.length; i++)
		if (f->inputs.data[i].kind == kind) return true;
	return false;
}

static const char noisy[] =
	DATA "layer drop(x, rate) { if training { return where(bernoulli(rate, dims(x)), 0, x / (1 - rate)) } else { return x } }\n"
	     "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); param u: [4, 4] = glorot_uniform(shape)\n"
	     "  let f = drop(_, 0.5); let z = f(x[0..B, 0, 0..k]) + f(x[0..B, 1, 0..k])\n"
	     "  scan t < T carry h = z @ w {\n"
	     "    h = tanh(drop(h @ u, 0.25) + 0.1 * normal(4))\n"
	     "    scan s < 2 carry g = h { g = g * uniform(dims(h), 0.5, 1) }\n"
	     "    h = g }\n"
	     "  return h }\n" TRAIN;

/* Every call of its own site; forward and backward the same numbers: the derivatives are those of difference quotients. */
static void test_random(void **unused) {
	(void)unused;
	Arena *arena = arena_new();
	Program *p = read_program(arena, noisy);
	Fn *loss = run_passes(program_loss(p, 0, 3, true), 0, pass_count);
	check_quotients(arena, "noisy", loss);
	ValList all = {0};
	find_random(run_passes(program_loss(p, 0, 3, false), 0, pass_count), &all);
	assert_int_equal(all.length, 6);   /* two of f, one of drop, two words of a normal, one in the inner loop */
	for (int i = 0; i < all.length; i++)
		for (int k = 0; k < i; k++)
			assert_true(all.data[i]->list[0].data[0] != all.data[k]->list[0].data[0] ||
			            all.data[i]->list[1].data[0] != all.data[k]->list[1].data[0]);
	Random r = {1};
	check_text(arena, loss, &r, false);
	check_text(arena, run_passes(program_infer(p, 0, 3), 0, pass_count), &r, false);
	assert_true(has_kind(loss, INPUT_SEED) && has_kind(loss, INPUT_STEP));
	assert_false(has_kind(program_infer(p, 0, 3), INPUT_SEED) || has_kind(program_infer(p, 0, 3), INPUT_STEP));
	assert_false(has_kind(program_eval(p, 0, 3), INPUT_SEED));
	arena_free(arena);
}

/* The steps of scans draw different numbers: the sum over (t, s) counts them. */
static void test_random_steps(void **unused) {
	(void)unused;
	static const char text[] =
		DATA "model m(x: [B, T, k]) -> [T, 2] { param w: [k] = ones(3)\n"
		     "  scan t < T { scan s < 2 { emit u[t, s] = uniform(1)[0] + 0 * w[0] } }; return u }\n"
		     "train { data = d; batch = 3; epochs = 1; accumulate = 4; loss = sum(m(x)); optimizer = sgd(lr = 0.1) }\n";
	Arena *arena = arena_new();
	Program *p = read_program(arena, text);
	Fn *f = run_passes(program_infer(p, 0, 3), 0, pass_count);
	Tensor *u = run(arena, f, EVAL_F32, inputs_by_name(arena, f));
	for (int i = 0; i < 10; i++)
		for (int k = 0; k < i; k++) assert_true(element(&u[0], EVAL_F32, i) != element(&u[0], EVAL_F32, k));
	/* of several batches that make one update each has numbers of its own */
	f = run_passes(program_step(p, 0), 0, pass_count);
	double **values = inputs_by_name(arena, f), seen[8];
	int step = find_input(f, "step"), count = find_input(f, "#accumulated");
	assert_true(step >= 0 && count >= 0);
	for (int i = 0; i < 8; i++) {
		values[step][0] = 1 + i / 4, values[count][0] = i % 4;
		Tensor *out = run(arena, f, EVAL_F32, values);
		seen[i] = element(&out[0], EVAL_F32, 0);
		for (int k = 0; k < i; k++) assert_true(seen[i] != seen[k]);
	}
	arena_free(arena);
}

/* The gradient of a weight before the scan sums in the order of what the scan gives, over its turns and then the batch, and reads
 * that as it lies. */
static void test_order_of_gradient(void **state) {
	(void)state;
	static const char text[] =
		DATA "model m(x: [B, T, k]) -> [B, 4] { param w: [k, 4] = glorot_uniform(shape); let z = x @ w\n"
		     "  scan t < T carry h = zeros(B, 4) { h = tanh(z[0..B, t, 0..4] + h * h) }\n"
		     "  return h }\n" TRAIN;
	Arena *arena = arena_new();
	Fn *f = run_passes(program_loss(read_program(arena, text), 0, 3, true), 0, pass_count);
	int found = 0;
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op != OpContract || v->type.rank != 2 || v->arg[0]->type.rank != 3) continue;
		const Val *x = v->arg[0], *dz = v->arg[1];
		found++;
		assert_int_equal(x->op, OpTranspose);                                        /* (T, B, k) */
		assert_true(x->type.dim[0] == 5 && x->type.dim[1] == 3);
		while (dz->op == OpTranspose) dz = dz->arg[0];
		assert_int_equal(dz->op, OpProject);
		assert_int_equal(dz->type.dim[0], 5);
	}
	assert_int_equal(found, 1);
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written_out), cmocka_unit_test(test_rows), cmocka_unit_test(test_kept),
		        cmocka_unit_test(test_states),
		cmocka_unit_test(test_random),      cmocka_unit_test(test_random_steps),
		cmocka_unit_test(test_order_of_gradient),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
