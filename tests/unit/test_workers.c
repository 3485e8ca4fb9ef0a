/* test_workers.c: how many workers a step is planned for, given what they cost each other.
 * link: nnc_llvm nnc_front nnc_host nnc_kernel nnc_passes nnc_ir */
#include "nn_text.h"

#include "compile.h"

#define NET(layers, last, size) NET_OF("425", layers, last, size)
#define NET_OF(first, layers, last, size)                                                                                        \
	"model net(x: [B, " first "]) -> logits[B, " last "] = x |> " layers "\n"                                                    \
	"data made { x: f32[" first "] = npy(\"x.npy\"); y: class[" last "] = npy(\"y.npy\") }\n"                                    \
	"train { data = made; batch = " size "; epochs = 1; loss = cross_entropy(net(x), y); optimizer = adam(lr = 0.001) }\n"

static int planned(const char *text, WorkerCosts costs) {
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	Program *p = read_program(arena, text);
	Layout layout = layout_program(arena, p);
	Fn *f = run_passes(program_step(p, 0), 0, pass_count);
	CompileOptions options = {.target = target_named(arena, diag, NULL, "x86-64-v4", NULL), .workers = 2, .costs = costs};
	int workers = compile_kernels(arena, f, p, &layout, &options)->workers;
	arena_free(arena);
	return workers;
}

static void by_distance(void **state) {
	(void)state;
	static const WorkerCosts near = {.line = 6, .barrier = 200}, distant = {.line = 40, .barrier = 800}, unknown = {0};
	static const char small[] = NET("dense(10)", "10", "8"),
	                  middle[] = NET("dense(6) |> relu |> dense(150) |> relu |> dense(304)", "304", "267"),
	                  large[] = NET("dense(2000) |> relu |> dense(2000) |> relu |> dense(10)", "10", "512");
	assert_int_equal(planned(small, near), 1);
	assert_int_equal(planned(middle, near), 2);
	assert_int_equal(planned(middle, distant), 1);
	assert_int_equal(planned(middle, unknown), planned(middle, (WorkerCosts){.line = 28, .barrier = 500}));
	assert_int_equal(planned(large, distant), 2);
}

/* One worker computes the gradient of a narrow weight the other way round, which several do not: sharing has less to win. */
static void narrow_gradients(void **state) {
	(void)state;
	static const char tutorial[] = NET_OF("784", "dense(10) |> relu |> dense(10)", "10", "32");
	assert_int_equal(planned(tutorial, (WorkerCosts){.line = 10, .barrier = 230}), 1);   /* measured: 14 us alone, 21 shared */
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(by_distance), cmocka_unit_test(narrow_gradients)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
