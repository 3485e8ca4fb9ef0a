/* `precision = bf16`: one step against the same arithmetic written out, what every contract reads, and what stays as it is.
 * link: nnc_front */
#include "test_programs.h"

/* ---- one step by hand ---- */

enum { BATCH = 2, IN = 3, HIDDEN = 2 };

/* The nearest of the numbers with 8 bits, halves to even: another way than the interpreter's. */
static double short_of(double x) {
	if (x == 0) return 0;
	double unit = 1;
	while (fabs(x) < 128 * unit) unit /= 2;
	while (fabs(x) >= 256 * unit) unit *= 2;
	double low = floor(x / unit) * unit, high = low + unit, middle = low + unit / 2;
	bool even = fmod(low / unit, 2) == 0;
	return x < middle ? low : x > middle ? high : even ? low : high;
}

typedef struct Net { double w[IN][HIDDEN], b[HIDDEN], v[HIDDEN], c; } Net;

/* In double; the f32 sums differ by some 1e-7 of it, a value that should have been rounded to bf16 by some 1e-3. */
static double step_by_hand(Net *n, double x[BATCH][IN], double y[BATCH], double rate) {
	Net old = *n;
	double h[BATCH][HIDDEN], p[BATCH], loss = 0, db[HIDDEN] = {0}, dw[IN][HIDDEN] = {{0}}, dv[HIDDEN] = {0}, dc = 0;
	for (int s = 0; s < BATCH; s++) {
		p[s] = old.c;
		for (int j = 0; j < HIDDEN; j++) {
			double z = old.b[j];
			for (int i = 0; i < IN; i++) z += short_of(x[s][i]) * short_of(old.w[i][j]);
			h[s][j] = short_of(fmax(z, 0));
			p[s] += h[s][j] * short_of(old.v[j]);
		}
		double d = p[s] - y[s], dp = short_of(2 * d / BATCH);
		loss += (d * d);
		dc += dp;
		for (int j = 0; j < HIDDEN; j++) {
			double dz = h[s][j] > 0 ? short_of(dp * short_of(old.v[j])) : 0;
			dv[j] += dp * h[s][j];
			db[j] += dz;
			for (int i = 0; i < IN; i++) dw[i][j] += dz * short_of(x[s][i]);
		}
	}
	n->c = (old.c - rate * dc);
	for (int j = 0; j < HIDDEN; j++) {
		n->v[j] = (old.v[j] - rate * dv[j]);
		n->b[j] = (old.b[j] - rate * db[j]);
		for (int i = 0; i < IN; i++) n->w[i][j] = (old.w[i][j] - rate * dw[i][j]);
	}
	return loss / BATCH;
}

static const char small_net[] =
	"data d { x: f32[3] = npy(\"x.npy\"); y: f32 = npy(\"y.npy\") }\n"
	"model net(x: [B, 3]) -> [B] = x |> dense(2) |> relu |> dense(1) |> reshape(B)\n"
	"train { data = d; batch = 2; precision = bf16; loss = mse(net(x), y); optimizer = sgd(lr = 0.5) }\n";

/* Multiples of 2^-9 below 4: more bits than bf16 has, all of which f32 has. */
static double few_bits(uint64_t *state) { return floor((2 * unit(state) - 1) * 2048) / 512; }

static void by_hand(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Program *p = open_good(arena, "small.nn", small_net, 0);
	const Fn *f = run_passes(program_step(p, 0), 0, pass_count);
	int rounded = 0;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		uint64_t random = seed;
		double x[BATCH][IN], y[BATCH];
		Net net;
		double *all[] = {x[0], y, net.w[0], net.b, net.v, &net.c};
		static const int count[] = {BATCH * IN, BATCH, IN * HIDDEN, HIDDEN, HIDDEN, 1};
		Tensor in[6], *out = NEW_ARRAY(arena, Tensor, f->outputs.length);
		assert_int_equal(f->inputs.length, 6);   /* x, y, w, b, v, c */
		for (int i = 0; i < 6; i++) {
			float *values = NEW_ARRAY(arena, float, count[i]);
			for (int k = 0; k < count[i]; k++) values[k] = (float)(all[i][k] = few_bits(&random));
			in[i] = (Tensor){f->inputs.data[i].type, values};
		}
		Net before = net;
		double loss = step_by_hand(&net, x, y, 0.5);
		fn_eval(arena, f, EVAL_F32, in, out);
		assert_true(fabs((double)*(float *)out[0].data - loss) <= 1e-6 * loss);
		assert_int_equal(f->outputs.length, 5);
		for (int i = 1; i < 5; i++)
			for (int k = 0; k < count[i + 1]; k++) {
				if (fabs((double)((float *)out[i].data)[k] - all[i + 1][k]) <= 1e-6 * fmax(1, fabs(all[i + 1][k]))) continue;
				fail_msg("seed %d: element %d of %s is %.9g, by hand %.9g", (int)seed, k, f->outputs.data[i].name,
				         (double)((float *)out[i].data)[k], all[i + 1][k]);
			}
		rounded += short_of(before.w[0][0]) != before.w[0][0];
	}
	assert_true(rounded > 50);
	arena_free(arena);
}

/* ---- any program ---- */

static bool only_moves(Op op) {
	return op == OpReshape || op == OpTranspose || op == OpBroadcast || op == OpSlice || op == OpPad || op == OpFlip ||
	       op == OpWindow;
}

/* What a contract reads has passed through bf16, or comes from a type that it holds. */
static void check_operand(const Val *v, const char *what) {
	while (only_moves(v->op)) v = v->arg[0];
	DType from = v->op == OpCast ? v->arg[0]->type.dtype : v->type.dtype;
	if (from != DTYPE_BF16 && from != DTYPE_U8 && from != DTYPE_I8 && from != DTYPE_BOOL)
		fail_msg("%s: a contract reads %%%d, %s", what, v->id, op_info[v->op].text);
}

static int check_contracts(const Fn *f, const char *what) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->body) n += check_contracts(v->body, what);
		if (v->op != OpContract || v->type.dtype != DTYPE_F32) continue;
		n++;
		for (int k = 0; k < 2; k++) check_operand(v->arg[k], what);
	}
	return n;
}

/* In double precision nothing is rounded: the same numbers; in f32, numbers that are near. */
static void check_fn(Arena *arena, Fn *raw, const char *what) {
	int last = pass_index("precision");
	raw->precision = DTYPE_F32;
	Fn *exact = run_passes(raw, 0, last);   /* what comes after it adds in another order */
	raw->precision = DTYPE_BF16;
	Fn *before = run_passes(raw, 0, last - 1), *f = run_passes(before, last - 1, last);
	check_contracts(f, what);
	assert_ptr_equal(pass_precision(f), f);   /* once is enough */
	for (int i = 0; i < f->outputs.length; i++)
		assert_int_equal(f->outputs.data[i].val->type.dtype, exact->outputs.data[i].val->type.dtype);
	Tensor *wide = NEW_ARRAY(arena, Tensor, f->inputs.length + 1), *in = some_inputs(arena, f, 5);
	for (int i = 0; i < f->inputs.length; i++) {
		int64_t n = type_count(f->inputs.data[i].type);
		wide[i] = in[i];
		if (!dtype_is_float(in[i].type.dtype)) continue;
		double *x = NEW_ARRAY(arena, double, n);
		for (int64_t k = 0; k < n; k++) x[k] = (double)((float *)in[i].data)[k];
		wide[i].data = x;
	}
	Tensor *a = NEW_ARRAY(arena, Tensor, f->outputs.length + 1), *b = NEW_ARRAY(arena, Tensor, f->outputs.length + 1);
	fn_eval(arena, f, EVAL_F64, wide, a);
	fn_eval(arena, exact, EVAL_F64, wide, b);
	for (int i = 0; i < f->outputs.length; i++) {
		size_t bytes = (size_t)type_count(a[i].type) * (dtype_is_float(a[i].type.dtype) ? 8 : 4);
		if (memcmp(a[i].data, b[i].data, bytes)) fail_msg("%s: %s is another in double precision", what, f->outputs.data[i].name);
	}
	Tensor *c = NEW_ARRAY(arena, Tensor, f->outputs.length + 1);
	fn_eval(arena, f, EVAL_F32, in, c);
	double loss = *(double *)b[0].data, near = (double)*(float *)c[0].data;
	bool exploded = fabs(loss) > 1e6;   /* the exponential of a rounded number that is large: no digit is left */
	if (!b[0].type.rank && !exploded && fabs(near - loss) > 0.02 * fmax(fabs(loss), 0.1))
		fail_msg("%s: the loss is %g, exactly %g", what, near, loss);
}

static void check_path(const char *path) {
	Arena *arena = arena_new();
	size_t length;
	Program *p = open_good(arena, path, file_text(arena, path, &length), 4);
	for (int i = 0; i < p->trains.length; i++) {
		check_fn(arena, program_step(p, i), arena_printf(arena, "%s: step", path));
		check_fn(arena, program_eval(p, i, 3), arena_printf(arena, "%s: eval", path));
		check_fn(arena, program_loss(p, i, 3, true), arena_printf(arena, "%s: loss", path));
	}
	arena_free(arena);
}

static const char recurrent[] =
	"data d { x: f32[5, 3] = npy(\"x.npy\"); y: f32[5] = npy(\"y.npy\") }\n"
	"model net(x: [B, 5, 3]) -> [B, 5] {\n"
	"  param w: [3, 4] = glorot_uniform(shape)\n  param u: [4, 4] = glorot_uniform(shape)\n"
	"  scan t < 5 carry h = zeros(B, 4) { let now[b, i] = x[b, t, i]; h = tanh(now @ w + h @ u); emit hs[b, t, j] = h[b, j] }\n"
	"  return reshape(dense(hs, 1), B, 5)\n}\n"
	"train { data = d; batch = 2; precision = bf16; loss = mse(net(x), y); optimizer = sgd(lr = 0.5) }\n";

/* Within the body as without; what is emitted for a product, or for the scan that goes back, is bf16.  (Sums of
 * weight gradients stand after the scan.) */
static void scans(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Program *p = open_good(arena, "recurrent.nn", recurrent, 0);
	check_fn(arena, program_step(p, 0), "recurrent: step");
	check_fn(arena, program_eval(p, 0, 3), "recurrent: eval");
	const Fn *f = run_passes(program_step(p, 0), 0, pass_count);
	int shorts = 0, inner = 0;
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->body) inner += check_contracts(v->body, "recurrent: body");
		shorts += v->op == OpProject && v->type.dtype == DTYPE_BF16;
	}
	if (getenv("NNC_VERBOSE")) {
		Text text = {.arena = arena};
		fn_print(&text, f);
		puts(text.data);
	}
	assert_true(inner >= 2 && shorts >= 2);
	arena_free(arena);
}

static void any_program(void **state) {
	(void)state;
	for_programs(check_path);
	for_files(NNC_SOURCE_DIR "/tests/golden/pipeline/*.nn", check_path);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand), cmocka_unit_test(any_program), cmocka_unit_test(scans)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
