/* test_denormals.c: what would slow a step down by several times does not come about: no value of a step that an optimizer of
 * std computes is a denormal number, however small the gradients are and however long they stay away, and none that the
 * derivative of logsumexp brings.
 * link: nnc_front */
#include "test_programs.h"

enum { WIDTH = 8, STEPS = 1200, FIRST = 3 };

/* Gradients whose squares, and whose shares in a moment, reach to the ends of the range and beyond. */
static const float gradient[WIDTH] = {0, 1e-4F, -1e-10F, 1e-15F, 1e-17F, -1e-19F, 1e-21F, 1e-28F};

static Tensor filled(Arena *arena, Type type) {
	return (Tensor){type, arena_alloc(arena, (size_t)type_count(type) * sizeof(float))};
}

typedef struct Watched { const char *name; int step, values; } Watched;

static void must_be_normal(void *context, const Val *v, const Tensor *t) {
	Watched *w = context;
	if (v->type.dtype != DTYPE_F32) return;
	w->values++;
	for (int64_t i = 0; i < type_count(v->type); i++) {
		float x = ((const float *)t->data)[i];
		if (fpclassify(x) == FP_SUBNORMAL)
			fail_msg("%s, step %d: element %d of a value of `%s` is %a", w->name, w->step, (int)i, op_info[v->op].text,
			         (double)x);
	}
}

/* Steps of a program with one data field of WIDTH numbers a sample: the same for each, after step FIRST 0. */
static void check_steps(Arena *arena, const char *name, const char *text, const float *sample, int steps) {
	Program *p = open_good(arena, "tiny.nn", text, 0);
	Fn *init = run_passes(program_init(p), 0, pass_count), *step = run_passes(program_step(p, 0), 0, pass_count);
	Tensor *first = NEW_ARRAY(arena, Tensor, init->inputs.length + 1), *begun = NEW_ARRAY(arena, Tensor, init->outputs.length);
	Tensor *in = NEW_ARRAY(arena, Tensor, step->inputs.length), *out = NEW_ARRAY(arena, Tensor, step->outputs.length);
	for (int i = 0; i < init->inputs.length; i++) {
		first[i] = filled(arena, init->inputs.data[i].type);
		memset(first[i].data, 0, (size_t)type_count(first[i].type) * sizeof(float));
	}
	fn_eval(arena, init, EVAL_F32, first, begun);
	for (int i = 0; i < step->inputs.length; i++) {
		in[i] = filled(arena, step->inputs.data[i].type);
		for (int j = 0; j < init->outputs.length; j++)
			if (strcmp(step->inputs.data[i].name, init->outputs.data[j].name) == 0) in[i] = begun[j];
	}
	Watched watched = {.name = name};
	for (int s = 1; s <= steps; s++) {
		for (int i = 0; i < step->inputs.length; i++) {
			const Input *input = &step->inputs.data[i];
			if (input->kind == INPUT_DATA)
				for (int64_t k = 0; k < type_count(input->type); k++)
					((float *)in[i].data)[k] = s <= FIRST ? sample[k % WIDTH] : 0;
			if (input->kind == INPUT_STEP) *(int32_t *)in[i].data = s;
			if (input->kind == INPUT_EPOCH) *(int32_t *)in[i].data = 1;
		}
		watched.step = s;
		Arena *one = arena_new();
		fn_eval_watch(one, step, EVAL_F32, in, out, must_be_normal, &watched);
		for (int i = 0; i < step->outputs.length; i++)
			if (step->outputs.data[i].updates >= 0) {
				Tensor *kept = &in[step->outputs.data[i].updates];
				memcpy(kept->data, out[i].data, (size_t)type_count(kept->type) * sizeof(float));
			}
		arena_free(one);
	}
	assert_true(watched.values > steps);
}

static void check_optimizer(const char *call) {
	Arena *arena = arena_new();
	check_steps(arena, call, arena_printf(arena,
		"data d { g: f32[%d] = npy(\"g.npy\") }\n"
		"model m(g: [B, %d]) -> [B] { param p: [%d] = 0.5; let y[b] = sum[i](g[b, i] * p[i]); return y }\n"
		"train { data = d; batch = 1; steps = 10; loss = m(g); optimizer = %s }\n", WIDTH, WIDTH, WIDTH, call), gradient, STEPS);
	arena_free(arena);
}

/* Shares of a softmax down to nothing, divided by a batch, and their products with activations. */
static void test_shares(void **state) {
	(void)state;
	static const float logits[WIDTH] = {0, -60, -70, -80, -84, -86, -87.2F, -100};
	Arena *arena = arena_new();
	check_steps(arena, "cross_entropy", arena_printf(arena,
		"data d { z: f32[%d] = npy(\"z.npy\") }\n"
		"model m(z: [B, %d]) -> [B, %d] { param w: [%d] = 1; return z * w }\n"
		"train { data = d; batch = 300; steps = 10; loss = soft_cross_entropy(m(z), full(0.125, B, %d)); optimizer = sgd() }\n",
		WIDTH, WIDTH, WIDTH, WIDTH, WIDTH), logits, FIRST);
	arena_free(arena);
}

/* Every optimizer of the file, as it is when nothing is said, and those that have momentum with it. */
static void test_all(void **state) {
	(void)state;
	Arena *arena = arena_new();
	size_t length;
	int found = 0;
	const char *at = file_text(arena, NNC_SOURCE_DIR "/grammar/std/optimizers.nn", &length);
	while ((at = strstr(at, "\noptimizer "))) {
		at += strlen("\noptimizer ");
		check_optimizer(arena_printf(arena, "%.*s()", (int)strcspn(at, "("), at));
		found++;
	}
	assert_true(found >= 7);
	check_optimizer("sgd(momentum = 0.9)");
	check_optimizer("sgd(momentum = 0.9, nesterov = true)");
	check_optimizer("rmsprop(momentum = 0.9)");
	check_optimizer("adam(b2 = 0.999999, eps = 0)");
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_all), cmocka_unit_test(test_shares)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
