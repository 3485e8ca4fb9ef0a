/* test_recompute.c: values that are computed again instead of being kept: steps need less memory, and compute the same bits, by
 * the interpreter and compiled for one worker and for two; the program that does so can be written down and read back.
 * link: nnc_llvm nnc_front nnc_host nnc_kernel nnc_passes nnc_ir */
#include "nn_text.h"

#include "expect_same.h"
#include "passes.h"

#define DATA(x) "data d { x: f32[" x "] = npy(\"x.npy\"); y: class[4] = npy(\"y.npy\") }\n"
#define TRAIN(batch, more) \
	"train { data = d; batch = " batch "; " more "loss = cross_entropy(net(x), y); optimizer = adam(lr = 0.1) }\n"

static const struct { const char *name, *text; double most; } nets[] = {
    {"residual",
     DATA("8, 8, 3") "layer block(x: [B, H, W, C]) {\n"
     "  let y = x |> conv2d(6, 3, pad = 1) |> batch_norm |> relu |> dropout(0.2) |> conv2d(6, 3, pad = 1) |> batch_norm\n"
     "  return relu(x + y)\n}\n"
     "model net(x: [B, 8, 8, 3]) -> [B, 4] =\n"
     "  x |> conv2d(6, 3, pad = 1) |> block |> block |> block |> global_avg_pool |> dense(4)\n"
     TRAIN("6", ""), 0.75},
    {"pooled",
     DATA("20, 14, 2") "model net(x: [B, 20, 14, 2]) -> [B, 4] =\n"
     "  x |> conv2d(9, 3) |> relu |> max_pool(2) |> conv2d(12, 3) |> gelu\n"
     " |> avg_pool(2) |> flatten |> dense(4)\n" TRAIN("5", ""), 0.85},
    {"stack",
     DATA("9, 5") "model net(x: [B, 9, 5]) -> [B, 4] = x |> lstm(12) |> lstm(12) |> lstm(12) |> lstm(12) |> flatten |> dense(4)\n"
     TRAIN("3", ""), 0.6},
    {"deep",
     DATA("30") "model net(x: [B, 30]) -> [B, 4] = x |> dense(40) |> layer_norm |> gelu |> dense(40) |> layer_norm |> gelu\n"
     " |> dense(40) |> layer_norm |> gelu |> dense(40) |> softmax |> dense(4)\n" TRAIN("33", "clip = norm(1.0); "), 0.55},
    {"short",
     DATA("30") "model net(x: [B, 30]) -> [B, 4] = x |> dense(40) |> tanh |> dense(50) |> gelu |> dense(60) |> relu |> dense(4)\n"
     TRAIN("64", "precision = bf16; "), 0.92},
    {"attention",
     DATA("12, 8") "layer block(x: [B, T, C]) {\n  let y = x + attention(layer_norm(x), 2, causal = true)\n"
     "  return y + dense(gelu(dense(layer_norm(y), 32)), C)\n}\n"
     "model net(x: [B, 12, 8]) -> [B, 4] = x |> block |> block |> block |> flatten |> dense(4)\n" TRAIN("4", ""), 0.65},
};

static Fn *step_of(Arena *arena, const char *text) {
	return run_passes(program_step(read_program(arena, text), 0), 0, pass_count);
}

static char **inputs_of(Arena *arena, const Fn *f) {
	char **dense = NEW_ARRAY(arena, char *, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		dense[i] = random_input(arena, f->inputs.data[i].type, 4, false);
		float *x = (float *)dense[i];
		for (int64_t k = 0; f->inputs.data[i].kind != INPUT_DATA && f->inputs.data[i].type.dtype == DTYPE_F32 &&
		                    k < type_count(f->inputs.data[i].type); k++)
			x[k] = fabsf(x[k]) / 4;   /* variances are positive */
	}
	return dense;
}

/* Both compute the same by the interpreter, and so does what is read back of the second one's text. */
static void same_function(Arena *arena, const Fn *f, const Fn *other, char **dense) {
	Tensor *in = NEW_ARRAY(arena, Tensor, f->inputs.length + 1), *out[3];
	for (int i = 0; i < f->inputs.length; i++)
		in[i] = (Tensor){f->inputs.data[i].type, to_elements(arena, f->inputs.data[i].type, dense[i])};
	Text text = {.arena = arena}, again = {.arena = arena};
	fn_print(&text, other);
	Diag *diag = diag_new(arena);
	Fn *back = fn_parse(arena, diag, diag_source(diag, "text", text.data, text.length, false));
	if (!back) fail_msg("the text cannot be read");
	fn_print(&again, back);
	assert_string_equal(text.data, again.data);
	const Fn *all[3] = {f, other, back};
	for (int k = 0; k < 3; k++) {
		out[k] = NEW_ARRAY(arena, Tensor, f->outputs.length + 1);
		fn_eval(arena, all[k], EVAL_F32, in, out[k]);
		for (int i = 0; i < f->outputs.length && k; i++) {
			size_t bytes = (size_t)type_count(out[0][i].type) * 4;
			assert_memory_equal(out[0][i].data, out[k][i].data, bytes);
		}
	}
}

static void check_net(const char *name, const char *text, double most, int workers) {
	Arena *arena = arena_new();
	Fn *f = step_of(arena, text);
	char **dense = inputs_of(arena, f);
	CompileOptions options = {.target = target_host(arena), .workers = workers, .no_cache = true};
	Compiled kept, again;
	const char *problem = compare_compiled_with(arena, f, dense, &options, &kept);
	if (problem) fail_msg("%s, %d workers: %s", name, workers, problem);
	options.recompute = true;
	options.always_share = workers > 1;
	problem = compare_compiled_with(arena, f, dense, &options, &again);
	if (problem) fail_msg("%s, %d workers, again: %s", name, workers, problem);
	size_t before = kept.kernels->arena_bytes, after = again.kernels->arena_bytes;
	if (getenv("NNC_VERBOSE"))
		printf("%s, %d workers: %zu, %zu: %.2f, %d values\n", name, workers, before, after, (double)after / (double)before,
		       again.kernels->again.length);
	if (workers == 1) {
		if ((double)after > most * (double)before) fail_msg("%s: %zu bytes of %zu", name, after, before);
		same_function(arena, f, fn_canonical(again.kernels->fn), dense);
	}
	compiled_free(&kept);
	compiled_free(&again);
	arena_free(arena);
}

static void same_bits(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(nets); i++)
		for (int workers = 1; workers <= 2; workers++) check_net(nets[i].name, nets[i].text, nets[i].most, workers);
}

/* No more than is asked for: where there is memory enough the program stays, and else a little more memory means fewer values. */
static void no_more_than_needed(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Program *p = read_program(arena, nets[0].text);
	Layout layout = layout_program(arena, p);
	Fn *f = run_passes(program_step(p, 0), 0, pass_count);
	CompileOptions options = {.target = target_host(arena), .workers = 1};
	KernelProgram *whole = compile_kernels(arena, f, p, &layout, &options);
	options.recompute = true;
	KernelProgram *least = compile_kernels(arena, f, p, &layout, &options);
	options.most_bytes = whole->arena_bytes;
	KernelProgram *same = compile_kernels(arena, f, p, &layout, &options);
	options.most_bytes = (whole->arena_bytes + least->arena_bytes) / 2;
	KernelProgram *half = compile_kernels(arena, f, p, &layout, &options);
	Text a = {.arena = arena}, b = {.arena = arena};
	kernel_print(&a, whole);
	kernel_print(&b, same);
	assert_string_equal(a.data, b.data);
	assert_true(half->arena_bytes <= options.most_bytes);
	assert_true(half->again.length > 0 && half->again.length < least->again.length);
	arena_free(arena);
}

/* What reads `again` runs after what it names, though nothing else holds it up, and reads its operand where that lies. */
static void runs_late(void **state) {
	(void)state;
	for (int turned = 0; turned < 2; turned++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "late");
		Type t = type_make(DTYPE_F32, 2, (int64_t[]){20, 20});
		Val *x = fn_input(f, "x", INPUT_DATA, t), *w = fn_input(f, "w", INPUT_DATA, t);
		const int64_t rows[2] = {0, 1}, columns[2] = {1, 2}, result[2] = {0, 2}, swap[2] = {1, 0};
		Val *last = ir_contract(f, ir_Exp(f, ir_contract(f, x, rows, w, columns, 2, result)), rows, w, columns, 2, result);
		Val *again = ir_again(f, x, last);
		if (turned) again = ir_transpose(f, again, swap);
		fn_output(f, "first", ir_contract(f, again, rows, w, columns, 2, result), -1);
		fn_output(f, "last", last, -1);
		f = fn_canonical(f);
		expect_same(arena, f, 0, false, "late");
		Program p = {.arena = arena};
		Layout layout = layout_program(arena, &p);
		CompileOptions options = {.target = target_host(arena), .workers = 1};
		KernelProgram *kp = compile_kernels(arena, f, &p, &layout, &options);
		const Kernel *end = &kp->kernels.data[kp->kernels.length - 1];
		assert_true(end->roots.length == 1 && end->roots.data[0] == kp->fn->outputs.data[0].val);
		assert_int_equal(end->after.length, 1);   /* it reads inputs alone: the order is that of `again` */
		int temporaries = 0;
		for (int i = 0; i < kp->buffers.length; i++)
			temporaries += kp->buffers.data[i].kind == BUFFER_ARENA && kp->buffers.data[i].first >= 0;
		assert_int_equal(temporaries, 1);
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(runs_late), cmocka_unit_test(same_bits),
	                                   cmocka_unit_test(no_more_than_needed)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
