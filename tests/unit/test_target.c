/* link: nnc_llvm nnc_llvm_libs nnc_base nnc_grammar
 * Names of targets, CPUs and features; what they can do; and that an unknown one is the user's error, told as such. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codegen.h"

static const Target *named(Arena *arena, Diag *diag, const char *name, const char *cpu, const char *features) {
	return target_named(arena, diag, name, cpu, features);
}

static void what_they_can_do(void **unused) {
	(void)unused;
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	static const struct {
		const char *name, *cpu, *features;
		int lanes, registers;
		bool fma, mask;
	} known[] = {
	    {"x86-64", NULL, NULL, 8, 16, true, false},
	    {"x86_64-linux-gnu", "x86-64", NULL, 4, 16, false, false},
	    {"x86-64", "x86-64-v2", NULL, 4, 16, false, false},
	    {"x86-64", "x86-64-v3", NULL, 8, 16, true, false},
	    {"x86-64", "x86-64-v4", NULL, 16, 32, true, true},
	    {"x86-64", "haswell", NULL, 8, 16, true, false},
	    {"x86-64", "sandybridge", NULL, 8, 16, false, false},
	    {"x86-64", "skylake-avx512", NULL, 16, 32, true, true},
	    {"x86-64", "x86-64", "+avx2,+fma", 8, 16, true, false},
	    {"aarch64", NULL, NULL, 4, 32, true, false},
	    {"aarch64", "neoverse-n1", NULL, 4, 32, true, false},
	};
	for (size_t i = 0; i < COUNT(known); i++) {
		const Target *t = named(arena, diag, known[i].name, known[i].cpu, known[i].features);
		if (!t) fail_msg("%s %s", known[i].name, known[i].cpu ? known[i].cpu : "");
		if (t->lanes != known[i].lanes) fail_msg("%s %s has %d lanes", known[i].name, t->cpu, t->lanes);
		assert_int_equal(t->vector_registers, known[i].registers);
		assert_int_equal(t->has_fma, known[i].fma);
		assert_int_equal(t->has_mask, known[i].mask);
		assert_true(t->l1 > 0 && t->l2 >= t->l1 && t->pointer_bits == 64);
	}
	assert_int_equal(diag->errors, 0);
	arena_free(arena);
}

static void the_host(void **unused) {
	(void)unused;
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	const Target *host = target_host(arena);
	assert_true(host->is_host && host->lanes >= 1 && host->l1 > 0);
	assert_string_equal(target_text(arena, host), target_text(arena, named(arena, diag, NULL, "native", NULL)));
	const Target *baseline = named(arena, diag, NULL, NULL, NULL);
	assert_non_null(baseline);
	if (!strcmp(baseline->cpu, "x86-64-v3") && host->lanes >= 8 && host->has_fma) assert_true(baseline->is_host);
	arena_free(arena);
}

static void unknown_names(void **unused) {
	(void)unused;
	static const struct {
		const char *name, *cpu, *features, *says;
	} bad[] = {
	    {"x86-46", NULL, NULL, "unknown target 'x86-46'"},
	    {"", NULL, NULL, "unknown target ''"},
	    {"quantum-unknown-none", NULL, NULL, "unknown target 'quantum-unknown-none'"},
	    {"x86-64", "pentium-nine", NULL, "has no cpu 'pentium-nine'"},
	    {"x86-64", "", "+warp", "+warp"},
	    {"aarch64", "haswell", NULL, "has no cpu 'haswell'"},
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		Arena *arena = arena_new();
		Diag *diag = diag_new(arena);
		assert_null(named(arena, diag, bad[i].name, bad[i].cpu, bad[i].features));
		assert_int_equal(diag->errors, 1);
		if (!strstr(diag->messages.data[0].text, bad[i].says)) fail_msg("%s", diag->messages.data[0].text);
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_they_can_do), cmocka_unit_test(the_host),
	                                   cmocka_unit_test(unknown_names)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
