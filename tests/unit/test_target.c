/* link: nnc_llvm nnc_llvm_libs nnc_base nnc_grammar
 * Names of targets, CPUs and features; what they can do; and that an unknown one is the user's error, told as such. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "target.h"

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
		int at_once;
		const char *dot;   /* products of bytes: i8 with i8, mixed, pairs of 16 bits */
	} known[] = {
	    {"x86-64", NULL, NULL, 8, 16, true, false, 16, ""},
	    {"x86_64-linux-gnu", "x86-64", NULL, 4, 16, false, false, 16, ""},
	    {"x86-64", "x86-64-v2", NULL, 4, 16, false, false, 16, ""},
	    {"x86-64", "x86-64-v3", NULL, 8, 16, true, false, 16, ""},
	    {"x86-64", "x86-64-v4", NULL, 16, 32, true, true, 16, ""},
	    {"x86-64", "haswell", NULL, 8, 16, true, false, 16, ""},
	    {"x86-64", "sandybridge", NULL, 8, 16, false, false, 16, ""},
	    {"x86-64", "skylake-avx512", NULL, 16, 32, true, true, 16, ""},
	    {"x86-64", "x86-64", "+avx2,+fma", 8, 16, true, false, 16, ""},
	    {"aarch64", NULL, NULL, 4, 32, true, false, 16, ""},
	    {"aarch64", "neoverse-n1", NULL, 4, 32, true, false, 16, "s"},
	    {"riscv64", NULL, "+v", 4, 32, true, false, 16, ""},
	    {"riscv64-linux-gnu", NULL, NULL, 1, 32, true, false, 1, ""},
	    {"wasm32", NULL, NULL, 4, 15, false, false, 4, ""},
	    {"wasm32", NULL, "-simd128", 1, 15, false, false, 1, ""},
	    {"armv7", NULL, "+neon", 4, 16, true, false, 16, "p"},
	    {"thumbv7em-none-eabi", NULL, NULL, 1, 32, true, false, 1, "p"},
	    {"thumbv7m-none-eabi", "cortex-m3", NULL, 1, 8, false, false, 1, ""},
	    {"thumbv8.1m.main-none-eabihf", "cortex-m55", NULL, 4, 8, true, false, 16, "p"},
	    {"x86-64", "cascadelake", NULL, 16, 32, true, true, 16, "m"},
	    {"x86-64", "x86-64-v3", "+avxvnni", 8, 16, true, false, 16, "m"},
	    {"x86-64", "x86-64-v4", "+avx512vnni", 16, 32, true, true, 16, "m"},
	    {"x86-64", "x86-64", "+avx512vnni", 16, 32, true, true, 16, ""},   /* not for short registers */
	    {"aarch64", NULL, "+dotprod", 4, 32, true, false, 16, "s"},
	    {"aarch64", NULL, "+dotprod,+i8mm", 4, 32, true, false, 16, "sm"},
	    {"aarch64", "neoverse-n1", "-dotprod", 4, 32, true, false, 16, ""},
	    {"cortex-m33", "cortex-m33", "-dsp", 1, 32, true, false, 1, ""},
	    {"cortex-m4", NULL, NULL, 1, 32, true, false, 1, "p"},
	};
	for (size_t i = 0; i < COUNT(known); i++) {
		const Target *t = named(arena, diag, known[i].name, known[i].cpu, known[i].features);
		if (!t) fail_msg("%s %s", known[i].name, known[i].cpu ? known[i].cpu : "");
		if (t->lanes != known[i].lanes) fail_msg("%s %s has %d lanes", known[i].name, t->cpu, t->lanes);
		assert_int_equal(t->vector_registers, known[i].registers);
		assert_int_equal(t->has_fma, known[i].fma);
		assert_int_equal(t->has_mask, known[i].mask);
		assert_int_equal(t->at_once, known[i].at_once);
		char dot[4];
		snprintf(dot, sizeof dot, "%s%s%s", t->has_dot ? "s" : "", t->has_dot_mixed ? "m" : "", t->has_dot_pairs ? "p" : "");
		if (strcmp(dot, known[i].dot) != 0) fail_msg("%s %s: products of bytes: '%s'", known[i].name, t->cpu, dot);
		bool wide = strstr(t->triple, "64") != NULL;
		assert_true(t->l1 > 0 && t->l2 > 0 && t->pointer_bits == (wide ? 64 : 32));
	}
	assert_int_equal(diag->errors, 0);
	arena_free(arena);
}

/* targets.def says of every row what the code generator says. */
static void the_table(void **unused) {
	(void)unused;
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	for (int i = 0; target_name(i); i++) {
		const Target *t = named(arena, diag, target_name(i), NULL, NULL);
		if (!t) { /* its code generator is not built in */
			assert_non_null(strstr(diag->messages.data[diag->messages.length - 1].text, "built in"));
			continue;
		}
		Target probed = *t;
		probed.lanes = 1, probed.at_once = 0, probed.has_fma = probed.has_fma64 = probed.has_round = probed.has_round64 = false;
		probed.has_dot = probed.has_dot_mixed = probed.has_dot_pairs = false;
		assert_true(target_probe(arena, &probed));
		assert_string_equal(target_text(arena, t), target_text(arena, &probed));
	}
	assert_non_null(strstr(target_list(arena), "cortex-m4"));
	arena_free(arena);
}

/* void NAME(float *x, double *y) { *x = rounded(*x); *y = rounded(*y); } */
static void rounding_function(Emit *e, const char *name, Value (*rounded)(Emit *, Value)) {
	emit_function(e, name, e->void_type, 2, (LLVMTypeRef[]){e->ptr, e->ptr}, false);
	for (unsigned i = 0; i < 2; i++) {
		Value at = LLVMGetParam(e->function, i);
		emit_store(e, rounded(e, emit_load(e, i ? e->f64 : e->f32, 1, at)), at);
	}
	LLVMBuildRetVoid(e->builder);
}

/* Where there are no instructions for them, floor and rint are made of others, to the bit. */
static void rounding(void **unused) {
	(void)unused;
	static const double some[] = {0,
	                              -0.0,
	                              0.25,
	                              0.5,
	                              0.75,
	                              1.5,
	                              2.5,
	                              8388607.5,
	                              8388609,
	                              4194304.5,
	                              3e9,
	                              1e20,
	                              1e-40,
	                              0x1p52 - 0.5,
	                              0x1p51 + 0.5,
	                              4503599627370497.0,
	                              1e300,
	                              (double)INFINITY,
	                              0.49999997f,
	                              1 - 0x1p-24,
	                              12345.678};
	Arena *arena = arena_new();
	Target t = *target_host(arena);
	t.has_round = t.has_round64 = false;
	Emit *e = emit_new(arena, &t, "rounding");
	rounding_function(e, "floors", emit_floor);
	rounding_function(e, "rints", emit_rint);
	Object object = emit_object(e, false);
	emit_free(e);
	const char *error;
	Linked *linked = objects_link(arena, &object, 1, &error);
	assert_non_null(linked);
	for (size_t i = 0; i < 2 * COUNT(some); i++)
		for (int rints = 0; rints < 2; rints++) {
			void *address = linked_symbol(linked, rints ? "rints" : "floors");
			void (*call)(float *, double *);
			memcpy(&call, &address, sizeof call);
			double given = i % 2 ? -some[i / 2] : some[i / 2], y = given;
			float x = (float)given, small = rints ? rintf(x) : floorf(x);
			double large = rints ? rint(y) : floor(y);
			call(&x, &y);
			if (memcmp(&x, &small, sizeof x) || memcmp(&y, &large, sizeof y))
				fail_msg("%.17g gives %g and %g", given, (double)x, y);
		}
	linked_free(linked);
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
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_they_can_do), cmocka_unit_test(the_table),
	                                   cmocka_unit_test(rounding), cmocka_unit_test(the_host), cmocka_unit_test(unknown_names)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
