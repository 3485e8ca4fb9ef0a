/* test_math.c: math.def against libm's double functions.
 * Every 2,039th float for functions of one argument and a grid of pairs for two; with NNC_LONG=1 in the
 * environment all 2^32 floats (an hour).  NNC_VERBOSE=1 prints the largest errors found, NNC_ONLY=exp takes one function.
 * link: nnc_ir */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "math_eval.h"

static float from_bits(uint32_t bits)
{
	float x;
	memcpy(&x, &bits, sizeof x);
	return x;
}

static uint32_t to_bits(float x)
{
	uint32_t bits;
	memcpy(&bits, &x, sizeof bits);
	return bits;
}

static bool same(float a, float b) { return isnan(a) ? isnan(b) != 0 : to_bits(a) == to_bits(b); }

/* Error in units of the last place of the right float; a NaN or an infinity on one side only is infinitely wrong. */
static double ulps(float got, double want)
{
	double value = isinf(got) ? copysign(0x1p128, (double)got) : (double)got;
	int exponent;
	if (isnan(got) || isnan(want))
		return isnan(got) && isnan(want) ? 0 : INFINITY;
	if (isinf(want))
		return isinf(got) && (got > 0) == (want > 0) ? 0 : INFINITY;
	if (fabs(want) >= 0x1p128)
		return isinf(got) && (got > 0) == (want > 0) ? 0 : (fabs(value) - fabs(want)) / 0x1p104;
	frexp(want, &exponent);
	return fabs(value - want) / ldexp(1, (want == 0 || exponent < -125 ? -125 : exponent) - 24);
}

typedef struct Case {
	const char *name;
	float (*fused)(float), (*separate)(float);
	double (*right)(double);
	double range, bound;                       /* the bound holds for |x| <= range */
	double separate_range, separate_bound;
} Case;

#define CASE(name, ...) {#name, math_##name##_f32, math_##name##_f32_nofma, name, __VA_ARGS__}
static const Case cases[] = {
	CASE(exp,   INFINITY, 1.0, INFINITY, 1.5),
	CASE(expm1, INFINITY, 2.0, INFINITY, 2.0),
	CASE(log,   INFINITY, 1.0, INFINITY, 1.5),
	CASE(log1p, INFINITY, 2.0, INFINITY, 2.0),
	CASE(tanh,  INFINITY, 2.5, INFINITY, 2.5),
	CASE(erf,   INFINITY, 2.0, INFINITY, 2.5),
	CASE(sin,   1e5,      2.0, 10,       2.5),
	CASE(cos,   1e5,      2.0, 10,       2.5),
};

static bool chosen(const char *name)
{
	const char *only = getenv("NNC_ONLY");
	return !only || strcmp(only, name) == 0;
}

/* No result of exp and pow is denormal. */
static double flushed(double want) { return fabs(want) < 0x1p-126 ? copysign(0, want) : want; }

/* exp ends at 2^-125.5: 0 below it; at the very end either side will do. */
static double flushed_exp(double want, float got)
{
	const double end = 0x1.6a09e667f3bcdp-126;
	if (want < end * (1 - 1e-5))
		return 0;
	return want < end * (1 + 1e-5) && got == 0 ? 0 : want;
}

typedef struct Worst { double error; float x, y; } Worst;

static void report(const char *name, const char *kind, Worst worst, double bound)
{
	if (getenv("NNC_VERBOSE"))
		printf("%-6s %s %.3f ulp at %a, %a\n", name, kind, worst.error, (double)worst.x, (double)worst.y);
	if (worst.error > bound)
		fail_msg("%s %s (%a, %a): %g ulp, allowed %g", name, kind, (double)worst.x, (double)worst.y, worst.error, bound);
}

static void sweep(const Case *c, float (*f)(float), double range, double bound, uint32_t step)
{
	Worst worst = {0};
	for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += step) {
		float x = from_bits((uint32_t)bits);
		if (fabs((double)x) > range)
			continue;
		double want = c->right((double)x);
		double error = ulps(f(x), c->right == exp ? flushed_exp(want, f(x)) : want);
		if (error > worst.error)
			worst = (Worst){error, x, 0};
	}
	report(c->name, f == c->fused ? "fused" : "separate", worst, bound);
}

/* Every float near a place where a program selects another formula. */
static void test_near_edges(void **state)
{
	(void)state;
	static const float edges[] = {0x1.62e43p+6f,
	                              -0x1.5d589ep+6f,
	                              -0x1.5bf572p+6f,
	                              -87.5f,
	                              89,
	                              -18,
	                              0x1p-25f,
	                              -0x1p-25f,
	                              0x1p-126f,
	                              0,
	                              1,
	                              -1,
	                              0x1.6a09e6p-1f,
	                              0x1.6a09e6p+0f,
	                              -0x1.2bec34p-2f,
	                              0x1.a8279ap-2f,
	                              9.1f,
	                              3.95f,
	                              -3.95f,
	                              0.34657359f,
	                              0.78539816f,
	                              1.5707964f,
	                              3.1415927f,
	                              99999,
	                              FLT_MAX};
	for (size_t k = 0; k < COUNT(cases); k++) {
		const Case *c = &cases[k];
		Worst worst[2] = {{0}};
		for (size_t i = 0; i < COUNT(edges); i++) {
			for (uint32_t step = 0; step < 4000; step++) {
				float x = from_bits(to_bits(edges[i]) + step - 2000);
				for (int separate = 0; separate < 2; separate++) {
					if (fabs((double)x) > (separate ? c->separate_range : c->range))
						continue;
					float got = (separate ? c->separate : c->fused)(x);
					double want = c->right((double)x);
					double error = ulps(got, c->right == exp ? flushed_exp(want, got) : want);
					if (error > worst[separate].error)
						worst[separate] = (Worst){error, x, 0};
				}
			}
		}
		report(c->name, "fused, edges", worst[0], c->bound);
		report(c->name, "separate, edges", worst[1], c->separate_bound);
	}
}

static void test_one_argument(void **state)
{
	(void)state;
	uint32_t step = getenv("NNC_LONG") ? 1 : 2039;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const Case *c = &cases[i];
		if (!chosen(c->name))
			continue;
		sweep(c, c->fused, c->range, c->bound, step);
		sweep(c, c->separate, c->separate_range, c->separate_bound, step);
	}
}

/* A reproducible stream of 32-bit words (splitmix64). */
static uint32_t next_word(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)(z >> 32);
}

static float between(uint64_t *seed, float low, float high)
{
	return low + (high - low) * ((float)(next_word(seed) >> 8) * 0x1p-24f);
}

/* Pairs from three sources: any bits; x of any size with y for a result of normal size; both near 1. */
static void pair(uint64_t *seed, int source, float *x, float *y)
{
	if (source == 0) {
		*x = from_bits(next_word(seed));
		*y = from_bits(next_word(seed));
	} else if (source == 1) {
		*x = from_bits(next_word(seed) & 0x7fffffff);
		*y = between(seed, -90, 90) / logf(*x);
	} else {
		*x = between(seed, 0.5f, 2);
		*y = between(seed, -128, 128);
	}
}

static void sweep_pairs(const char *name, float (*f)(float, float), double (*right)(double, double), double bound)
{
	Worst worst = {0};
	uint64_t seed = 1;
	long count = getenv("NNC_LONG") ? 200000000 : 1500000;
	for (long i = 0; i < count; i++) {
		float x, y;
		pair(&seed, (int)(i % 3), &x, &y);
		double want = right((double)x, (double)y);
		double error = ulps(f(x, y), right == pow ? flushed(want) : want);
		if (error > worst.error)
			worst = (Worst){error, x, y};
	}
	report(name, f == math_pow_f32 || f == math_atan2_f32 ? "fused" : "separate", worst, bound);
}

static void test_two_arguments(void **state)
{
	(void)state;
	if (chosen("pow")) {
		sweep_pairs("pow", math_pow_f32, pow, 4);
		sweep_pairs("pow", math_pow_f32_nofma, pow, 400);
	}
	if (chosen("atan2")) {
		sweep_pairs("atan2", math_atan2_f32, atan2, 3);
		sweep_pairs("atan2", math_atan2_f32_nofma, atan2, 3);
	}
}

static void expect(const char *name, float x, float y, float got, float want)
{
	if (!same(got, want))
		fail_msg("%s(%a, %a) is %a, not %a", name, (double)x, (double)y, (double)got, (double)want);
}

/* libm's float functions have the special values right; pow is 0 below the normal range, exp already below 2^-125.5. */
static float no_denormal(float x) { return fabsf(x) < FLT_MIN ? copysignf(0, x) : x; }

static void test_special_values(void **state)
{
	(void)state;
	static const float special[] = {0.0f, 0x1p-149f, 0x1.fffffcp-127f, FLT_MIN, 0x1p-30f, 0.5f, 1.0f, 2.0f, 3.0f, 1.5f,
		16777215.0f, 16777216.0f, 3e9f, 1e30f, FLT_MAX, INFINITY, NAN};
	static const float exact[] = {0.0f, INFINITY, NAN};     /* one-argument functions: what is exact everywhere */
	for (size_t i = 0; i < 2 * COUNT(exact); i++) {
		float x = i % 2 ? -exact[i / 2] : exact[i / 2];
		for (size_t k = 0; k < COUNT(cases); k++) {
			expect(cases[k].name, x, 0, cases[k].fused(x), (float)cases[k].right((double)x));
			expect(cases[k].name, x, 0, cases[k].separate(x), (float)cases[k].right((double)x));
		}
	}
	expect("log1p", -1, 0, math_log1p_f32(-1), -INFINITY);
	expect("log1p", -2, 0, math_log1p_f32(-2), NAN);
	expect("log", -1, 0, math_log_f32(-1), NAN);
	expect("log", 1, 0, math_log_f32(1), 0);
	expect("exp", -88, 0, math_exp_f32(-88), 0);
	expect("exp", 89, 0, math_exp_f32(89), INFINITY);
	expect("expm1", -100, 0, math_expm1_f32(-100), -1);
	expect("tanh", -20, 0, math_tanh_f32(-20), -1);
	expect("erf", 10, 0, math_erf_f32(10), 1);
	for (size_t i = 0; i < 2 * COUNT(special); i++) {
		for (size_t k = 0; k < 2 * COUNT(special); k++) {
			float x = i % 2 ? -special[i / 2] : special[i / 2], y = k % 2 ? -special[k / 2] : special[k / 2];
			float want = no_denormal(powf(x, y)), got = math_pow_f32(x, y);
			if (isinf(want) || isnan(want) || want == 0 || fabsf(want) == 1) {
				expect("pow", x, y, got, want);
				expect("pow without FMA", x, y, math_pow_f32_nofma(x, y), want);
			} else if (!(ulps(got, (double)want) <= 4) || signbit(got) != signbit(want))
				fail_msg("pow(%a, %a) is %a, not %a", (double)x, (double)y, (double)got, (double)want);
			want = atan2f(x, y);
			got = math_atan2_f32(x, y);
			if (!(ulps(got, (double)want) <= 2) || (!isnan(want) && signbit(got) != signbit(want)))
				fail_msg("atan2(%a, %a) is %a, not %a", (double)x, (double)y, (double)got, (double)want);
		}
	}
}

/* Odd and even functions are so to the bit; nothing leaves its range, however huge the argument. */
static void test_symmetry_and_range(void **state)
{
	(void)state;
	for (uint32_t bits = 0; bits <= 0x7f800000; bits += 3001) {
		float x = from_bits(bits);
		expect("tanh", -x, 0, math_tanh_f32(-x), -math_tanh_f32(x));
		expect("erf", -x, 0, math_erf_f32(-x), -math_erf_f32(x));
		expect("sin", -x, 0, math_sin_f32(-x), -math_sin_f32(x));
		expect("cos", -x, 0, math_cos_f32(-x), math_cos_f32(x));
		if (!(math_tanh_f32(x) <= 1 && math_erf_f32(x) <= 1 && fabsf(math_sin_f32(x)) <= 1 && fabsf(math_cos_f32(x)) <= 1))
			fail_msg("a result for %a lies outside -1..1", (double)x);
		if (!(fabsf(math_sin_f32_nofma(x)) <= 1 && fabsf(math_cos_f32_nofma(x)) <= 1))
			fail_msg("a result for %a lies outside -1..1 without FMA", (double)x);
		float e = math_exp_f32(-x);
		if (e != 0 && e < FLT_MIN)
			fail_msg("exp(%a) is denormal", (double)-x);
	}
}

/* FNV-1a over the bits of results; a NaN counts as one value. */
static uint64_t hash(uint64_t h, float x)
{
	uint32_t bits = isnan(x) ? 0x7fc00000 : to_bits(x);
	for (int i = 0; i < 4; i++)
		h = (h ^ (bits >> 8 * i & 255)) * UINT64_C(0x100000001b3);
	return h;
}

/* The bits are part of the promise: the same for every compiler, flag and machine. A change of math.def changes them. */
static void test_same_bits_everywhere(void **state)
{
	(void)state;
	static const struct { const char *name; uint64_t fused, separate; } wanted[] = {
		{"exp", UINT64_C(0x9ee1ed9eefffcabf), UINT64_C(0xe37562dc62f6d6bf)},
		{"expm1", UINT64_C(0xa7de111e7396fec7), UINT64_C(0xc3e62f8d26a61ca7)},
		{"log", UINT64_C(0xb9105054bd75d3fe), UINT64_C(0xe99005fd1da8f10b)},
		{"log1p", UINT64_C(0x732de8b485798067), UINT64_C(0xa51437353dba55d2)},
		{"tanh", UINT64_C(0x54d6bfe6c586ecb1), UINT64_C(0x17abe2ef0eaf19f7)},
		{"erf", UINT64_C(0x683c2811b0132f35), UINT64_C(0xd17405e3724b6638)},
		{"sin", UINT64_C(0xd06d5a872bc507cd), UINT64_C(0x3d1e8ae095f18031)},
		{"cos", UINT64_C(0x253c7faf523eedcb), UINT64_C(0xabd471f3ba815ad8)},
		{"pow", UINT64_C(0xfb587c3acbc5b31b), UINT64_C(0x74ec58d544534d82)},
		{"atan2", UINT64_C(0x21c7337d2c82a2a7), UINT64_C(0x7fd4007321285c2c)},
	};
	for (size_t k = 0; k < COUNT(wanted); k++) {
		uint64_t h[2] = {UINT64_C(0xcbf29ce484222325), UINT64_C(0xcbf29ce484222325)}, seed = 7;
		for (uint64_t i = 0; i < 200000; i++) {
			float x, y;
			pair(&seed, (int)(i % 3 == 1 ? 0 : i % 3), &x, &y);
			if (k < COUNT(cases)) {
				h[0] = hash(h[0], cases[k].fused(x));
				h[1] = hash(h[1], cases[k].separate(x));
			} else {
				h[0] = hash(h[0], k == COUNT(cases) ? math_pow_f32(x, y) : math_atan2_f32(x, y));
				h[1] = hash(h[1], k == COUNT(cases) ? math_pow_f32_nofma(x, y) : math_atan2_f32_nofma(x, y));
			}
		}
		if (getenv("NNC_VERBOSE"))
			printf("{\"%s\", UINT64_C(0x%016llx), UINT64_C(0x%016llx)},\n", wanted[k].name, (unsigned long long)h[0],
				(unsigned long long)h[1]);
		if (h[0] != wanted[k].fused || h[1] != wanted[k].separate)
			fail_msg("%s gives other bits than recorded", wanted[k].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_near_edges),
		cmocka_unit_test(test_one_argument),
		cmocka_unit_test(test_two_arguments),
		cmocka_unit_test(test_special_values),
		cmocka_unit_test(test_symmetry_and_range),
		cmocka_unit_test(test_same_bits_everywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
