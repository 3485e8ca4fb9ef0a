/* test_programs_updates.c: which version of a parameter or state each part of a step sees: several updates in order,
 * accumulation, states in loops.  Steps run in double precision; what they must give is written out as formulas of scalars.
 * link: nnc_front */
#include "test_programs.h"

typedef struct Run {
	Arena *arena;
	Program *p;
	const Fn *step;
	double *value;               /* by persistent tensor: scalars */
	double x[2], y[2];
	int64_t steps;
	Tensor *out;
} Run;

static Run begin(const char *text) {
	Run r = {.arena = arena_new()};
	r.p = open_good(r.arena, "updates.nn", text, 0);
	r.step = run_passes(program_step(r.p, 0), 0, pass_count);
	const Fn *init = run_passes(program_init(r.p), 0, pass_count);
	Tensor *in = NEW_ARRAY(r.arena, Tensor, init->inputs.length + 1), *out = NEW_ARRAY(r.arena, Tensor, init->outputs.length + 1);
	for (int i = 0; i < init->inputs.length; i++) in[i] = (Tensor){init->inputs.data[i].type, NEW_ARRAY(r.arena, int32_t, 2)};
	fn_eval(r.arena, init, EVAL_F64, in, out);
	r.value = NEW_ARRAY(r.arena, double, r.p->persistent.length + 1);
	r.out = NEW_ARRAY(r.arena, Tensor, r.step->outputs.length + 1);
	for (int i = 0; i < r.p->persistent.length; i++) {
		assert_int_equal(r.p->persistent.data[i].type.rank, 0);
		bool real = dtype_is_float(out[i].type.dtype);
		r.value[i] = real ? *(double *)out[i].data : (double)*(int32_t *)out[i].data;
	}
	return r;
}

static double *place(const Run *r, const char *path) {
	for (int i = 0; i < r->p->persistent.length; i++)
		if (!strcmp(r->p->persistent.data[i].path, path)) return &r->value[i];
	for (int i = 0; i < r->p->persistent.length; i++) fprintf(stderr, "  there is %s\n", r->p->persistent.data[i].path);
	fail_msg("there is no %s", path);
	return NULL;
}

static void step(Run *r, double x0, double x1, double y0, double y1) {
	const Fn *f = r->step;
	r->x[0] = x0, r->x[1] = x1, r->y[0] = y0, r->y[1] = y1;
	Tensor *in = NEW_ARRAY(r->arena, Tensor, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *input = &f->inputs.data[i];
		in[i] = (Tensor){input->type, NEW_ARRAY(r->arena, double, 2)};
		if (input->kind == INPUT_DATA) memcpy(in[i].data, !strcmp(input->name, "x") ? r->x : r->y, sizeof r->x);
		else if (input->kind == INPUT_STEP) *(int32_t *)in[i].data = (int32_t)++r->steps;
		else if (dtype_is_float(input->type.dtype)) *(double *)in[i].data = *place(r, input->name);
		else *(int32_t *)in[i].data = (int32_t)*place(r, input->name);
	}
	fn_eval(r->arena, f, EVAL_F64, in, r->out);
	for (int i = 0; i < f->outputs.length; i++) {
		const Output *o = &f->outputs.data[i];
		if (o->updates < 0) continue;
		bool real = dtype_is_float(o->val->type.dtype);
		*place(r, o->name) = real ? *(double *)r->out[i].data : (double)*(int32_t *)r->out[i].data;
	}
}

static double result(const Run *r, const char *name) {
	for (int i = 0; i < r->step->outputs.length; i++)
		if (!strcmp(r->step->outputs.data[i].name, name)) return *(double *)r->out[i].data;
	fail_msg("the step has no %s", name);
	return 0;
}

static void same(double have, double want, const char *what) {
	if (fabs(have - want) > 1e-12 * fmax(1, fabs(want))) fail_msg("%s is %.17g, not %.17g", what, have, want);
}

/* ---- several updates ---- */

#define MODELS                                                                                                                 \
	"data d { x: f32 = npy(\"x.npy\"); y: f32 = npy(\"y.npy\") }\n"                                                              \
	"model a(x: [B]) -> [B] { param w: f32 = 2; return w * x }\n"                                                                \
	"model b(x: [B]) -> [B] { param w: f32 = 3; return w * x }\n"

static const char four_updates[] = MODELS
	"train {\n  data = d; batch = 2\n  let early = a(x)\n"
	"  update first { loss = mse(b(early), y); params = a; optimizer = sgd(lr = 0.01) }\n"
	"  update second { loss = mse(b(a(x)), y); params = b; optimizer = sgd(lr = 0.02, momentum = 0.5); clip = norm(0.5) }\n"
	"  update third { loss = mean(b(early) * b(early)); params = \"b/*\"; optimizer = sgd(lr = 0.03, momentum = 0.25) }\n"
	"  update fourth { loss = mean(a(x) * b(y)); params = [a, \"b/w\"]; optimizer = { \"a/w\": none; \"*\": sgd(lr = 0.04) } }\n"
	"  metric close = abs(b(a(x)) - y) < 1\n}\n";

static void in_order(void **state) {
	(void)state;
	Run r = begin(four_updates);
	assert_int_equal(r.p->trains.data[0].nlosses, 4);
	double wa = 2, wb = 3, second_m = 0, third_m = 0;
	static const double data[][4] = {{1, 2, 3, 5}, {0.5, -1, 2, 0.25}, {0.1, 0.2, 0, 1}};
	for (int n = 0; n < 3; n++) {
		double x0 = data[n][0], x1 = data[n][1], y0 = data[n][2], y1 = data[n][3], xx = x0 * x0 + x1 * x1, xy = x0 * y0 + x1 * y1;
		double yy = y0 * y0 + y1 * y1, early = wa, before = wb;
		double first = (before * before * early * early * xx - 2 * before * early * xy + yy) / 2;
		wa -= 0.01 * (before * before * early * xx - before * xy);
		double second = (wb * wb * wa * wa * xx - 2 * wb * wa * xy + yy) / 2, g = wb * wa * wa * xx - wa * xy;
		second_m = 0.5 * second_m + g * fmin(1, 0.5 / fabs(g));
		wb -= 0.02 * second_m;
		double third = wb * wb * early * early * xx / 2;
		third_m = 0.25 * third_m + wb * early * early * xx;
		wb -= 0.03 * third_m;
		double fourth = wa * wb * xy / 2;
		wb -= 0.04 * wa * xy / 2;
		step(&r, x0, x1, y0, y1);
		same(result(&r, "loss/first"), first, "the first loss");
		same(result(&r, "loss/second"), second, "the second loss");
		same(result(&r, "loss/third"), third, "the third loss");
		same(result(&r, "loss/fourth"), fourth, "the fourth loss");
		same(result(&r, "loss"), first + second + third + fourth, "the loss");
		same(*place(&r, "a/w"), wa, "a/w");
		same(*place(&r, "b/w"), wb, "b/w");
		same(*place(&r, "b/w#second.m"), second_m, "the second update's m");
		same(*place(&r, "b/w#third.m"), third_m, "the third update's m");
	}
	arena_free(r.arena);
}

/* Without updates: every parameter's gradient is that of the losses that train it, all at the same weights. */
static void gradients_of_several(void **state) {
	(void)state;
	Run r = begin(four_updates);
	const Fn *f = run_passes(program_loss(r.p, 0, 2, true), 0, pass_count);
	double x[] = {1, 2}, y[] = {3, 5}, wa = 2, wb = 3, xx = 5, xy = 13;
	Tensor in[] = {{f->inputs.data[0].type, x}, {f->inputs.data[1].type, y}, {f->inputs.data[2].type, &wa},
	               {f->inputs.data[3].type, &wb}}, out[7];
	assert_int_equal(f->inputs.length, 4);
	assert_int_equal(f->outputs.length, 7);
	fn_eval(r.arena, f, EVAL_F64, in, out);
	same(*(double *)out[1].data, (36 * xx - 12 * xy + 34) / 2, "the first loss");
	same(*(double *)out[2].data, (36 * xx - 12 * xy + 34) / 2, "the second loss");
	same(*(double *)out[5].data, 9 * wa * xx - 3 * xy + wb * xy / 2, "a's gradient: first and fourth");
	same(*(double *)out[6].data, 4 * wb * xx - 2 * xy + wb * 4 * xx + wa * xy / 2, "b's gradient: all but first");
	arena_free(r.arena);
}

/* ---- states ---- */

/* States move with every batch, parameters and what their optimizer keeps with every third. */
static void accumulated(void **state) {
	(void)state;
	Run r = begin("data d { x: f32 = npy(\"x.npy\"); y: f32 = npy(\"y.npy\") }\n"
	              "optimizer slow(p, g) { state n: i32 = 0; n <- n + 1; p <- p - 0.5 * g }\n"
	              "model m(x: [B]) -> [B] {\n  param w: f32 = 1\n  state seen: f32 = 10\n  state last: f32 = -1\n"
	              "  if training { seen <- seen + w; last <- seen * 2 }\n  return w * x + last\n}\n"
	              "train { data = d; batch = 2; accumulate = 3; loss = mean(m(x) * y); optimizer = slow() }\n");
	double w = 1, seen = 10, sum = 0;
	for (int n = 1; n <= 7; n++) {
		double x0 = n, x1 = 0.5, y0 = 1, y1 = -0.25 * n;
		seen += w;
		double loss = ((w * x0 + 2 * seen) * y0 + (w * x1 + 2 * seen) * y1) / 2;
		sum += (x0 * y0 + x1 * y1) / 2 / 3;
		step(&r, x0, x1, y0, y1);
		same(result(&r, "loss"), loss, "the loss");
		same(*place(&r, "m/seen"), seen, "seen");
		same(*place(&r, "m/last"), 2 * seen, "last");
		if (n % 3 == 0) {
			w -= 0.5 * sum;
			sum = 0;
		}
		same(*place(&r, "m/w"), w, "w");
		same(*place(&r, "m/w#n"), n / 3, "the optimizer's count");
		same(*place(&r, "m/w#accumulated"), sum, "what is accumulated");
	}
	arena_free(r.arena);
}

/* A layer called anew in each round owns a state each time; an instance, and a state of the model itself, go on from round to
 * round. */
static void in_loops(void **state) {
	(void)state;
	Run r = begin("data d { x: f32 = npy(\"x.npy\"); y: f32 = npy(\"y.npy\") }\n"
	              "layer count(x: [B], by: int) { state n: f32 = 0; n <- n + by; return x + n }\n"
	              "model m(x: [B]) -> [B] {\n  param w: f32 = 1\n  state own: f32 = 1\n"
	              "  let shared = count(_, 1)\n  let z = w * x\n"
	              "  for k in 0..3 {\n    z = shared(count(z, k))\n    own <- own * 2 + k\n    z = z + own\n  }\n  return z\n}\n"
	              "train { data = d; batch = 2; loss = mean(m(x)); optimizer = sgd(lr = 0) }\n");
	double own = 1, shared = 0, each[3] = {0};
	for (int n = 0; n < 4; n++) {
		double z = 1.5;
		for (int k = 0; k < 3; k++) {
			each[k] += k;
			shared++;
			own = own * 2 + k;
			z += each[k] + shared + own;
		}
		step(&r, 1, 2, 0, 0);
		same(result(&r, "loss"), z, "the loss");
		same(*place(&r, "m/own"), own, "own");
		same(*place(&r, "m/shared/n"), shared, "shared");
		same(*place(&r, "m/count.2/n"), each[2], "the last round's");
	}
	arena_free(r.arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(in_order), cmocka_unit_test(gradients_of_several),
	                                   cmocka_unit_test(accumulated), cmocka_unit_test(in_loops)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
