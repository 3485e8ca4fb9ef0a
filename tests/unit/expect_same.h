/* expect_same.h: for tests: random inputs for a Fn, and machine code against the f32 interpreter on them, for several targets and
 * numbers of workers. */
#ifndef NNC_TEST_EXPECT_SAME_H
#define NNC_TEST_EXPECT_SAME_H

#include "compiled.h"

static uint64_t seed = 1;
static uint32_t next_random(void) { return (uint32_t)(hash_mix(seed++) >> 32); }

/* Mostly ordinary numbers, now and then a value that has rules of its own. */
static float random_float(bool special) {
	static const float odd[] = {0.0f, -0.0f, 1.0f, -1.0f, INFINITY, -INFINITY, NAN, 1e-40f, -1e-40f, 3e38f, 88.7f, -87.4f, 1e-7f};
	if (special && next_random() % 4 == 0) return odd[next_random() % COUNT(odd)];
	return (float)((double)next_random() / 4294967296.0 * 4 - 2);
}

/* With more digits than a float has. */
static double random_double(bool special) {
	float x = random_float(special);
	return isfinite(x) ? (double)x * (1 + (double)next_random() * 0x1p-53) : (double)x;
}

/* Any bits when special; else of moderate size. */
static uint16_t random_short(DType dtype, bool special) {
	uint16_t bits = (uint16_t)next_random();
	if (special || isfinite(from_short(dtype, bits)) == 0) return special ? bits : 0;
	int fraction_bits = dtype == DTYPE_F16 ? 10 : 7, bias = dtype == DTYPE_F16 ? 15 : 127;
	int exponent = bias - 3 + (int)(next_random() % 5);
	return (uint16_t)((bits & (0x8000 | ((1 << fraction_bits) - 1))) | exponent << fraction_bits);
}

static char *random_input(Arena *arena, Type t, int64_t limit, bool special) {
	int64_t n = type_count(t);
	char *p = arena_alloc(arena, (size_t)n * 8);
	for (int64_t i = 0; i < n; i++) {
		if (t.dtype == DTYPE_F32) ((float *)p)[i] = random_float(special);
		else if (t.dtype == DTYPE_F64) ((double *)p)[i] = random_double(special);
		else if (dtype_info[t.dtype].bytes == 2) ((uint16_t *)p)[i] = random_short(t.dtype, special);
		else if (dtype_is_word(t.dtype)) ((uint32_t *)p)[i] = next_random();
		else if (t.dtype == DTYPE_I32)
			((int32_t *)p)[i] =
			    limit ? (int32_t)(next_random() % (uint32_t)limit) : (int32_t)next_random() >> (next_random() % 32);
		else p[i] = t.dtype == DTYPE_BOOL ? (char)(next_random() & 1) : (char)next_random();
	}
	return p;
}

static void expect_same(Arena *arena, Fn *f, int64_t limit, bool special, const char *name) {
	static int number;   /* every other Fn as WebAssembly's loops compute it, few elements at once, or those of scalar machines */
	const Target *targets[] = {target_host(arena), target_named(arena, diag_new(arena), "x86-64", "x86-64-v3", NULL)};
	Target few = *(targets[1] ? targets[1] : targets[0]);
	few.at_once = number % 4 == 1 ? 4 : 1;
	if (targets[1] && number++ % 2) targets[1] = &few;
	for (int t = 0; t < 2; t++)
		for (int workers = t ? 3 : 1; workers <= (special && !t ? 2 : 3);
		     workers += 2) { /* rows of the table: one count for each target */
			if (!targets[t] || (t && !targets[t]->is_host)) continue;
			char *dense[16];
			for (int i = 0; i < f->inputs.length; i++) dense[i] = random_input(arena, f->inputs.data[i].type, limit, special);
			const char *problem = compare_compiled(arena, f, dense, targets[t], workers, NULL);
			if (problem) {
				Text text = {.arena = arena};
				fn_print(&text, f);
				fail_msg("%s (%s, %d workers): %s\n%s", name, targets[t]->cpu, workers, problem, text.data);
			}
		}
}

#endif
