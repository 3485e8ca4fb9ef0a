/* test_layers_compiled.c: every layer of std, with its derivative: machine code against the f32 interpreter, bit for bit.
 * link: nnc_llvm nnc_front nnc_kernel nnc_passes nnc_ir nnc_host */
#include "std_layers.h"

#include "expect_same.h"

/* What has no kernels yet. */
static bool compiles(const Fn *f) {
	for (int i = 0; i < f->vals.length; i++)
		if (f->vals.data[i]->op == OpFold || f->vals.data[i]->op == OpScatterAdd) return false;
	return true;
}

static void test_compiled(void **state) {
	(void)state;
	int without = 0;
	for (size_t i = 0; i < COUNT(layer_cases); i++) {
		Arena *arena = arena_new();
		Fn *f = layer_fn(arena, &layer_cases[i], false);
		if (compiles(f)) expect_same(arena, f, 5, false, layer_cases[i].body);
		else without++;
		arena_free(arena);
	}
	if (without > 11) fail_msg("%d layers are not compiled", without);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compiled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
