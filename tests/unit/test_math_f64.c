/* test_math_f64.c: math_f64.def against the long double functions of libm, where those have more digits.
 * 20,000 arguments of every function, with NNC_LONG=1 in the environment 2,000,000; NNC_VERBOSE=1 prints the largest errors.
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

#define MORE_DIGITS (LDBL_MANT_DIG >= DBL_MANT_DIG + 11)

static uint64_t to_bits(double x)
{
	uint64_t bits;
	memcpy(&bits, &x, sizeof bits);
	return bits;
}

static double from_bits(uint64_t bits)
{
	double x;
	memcpy(&x, &bits, sizeof x);
	return x;
}

static bool same(double a, double b) { return isnan(a) ? isnan(b) != 0 : to_bits(a) == to_bits(b); }

/* Error in units of the last place of the right double; a NaN or an infinity on one side only is infinitely wrong. */
static double ulps(double got, long double want)
{
	int exponent;
	if (isnan(got) || isnan(want))
		return isnan(got) && isnan(want) ? 0 : INFINITY;
	if (fabsl(want) > (long double)DBL_MAX)
		return isinf(got) && (got > 0) == (want > 0) ? 0 : (double)((fabsl(want) - fabsl(got)) / 0x1p971L);
	if (isinf(got))
		return INFINITY;
	frexpl(want, &exponent);
	return (double)(fabsl(got - want) / ldexpl(1, (want == 0 || exponent < -1021 ? -1021 : exponent) - 53));
}

typedef struct Case {
	const char *name;
	double (*fused)(double), (*separate)(double);
	long double (*right)(long double);
	double low, high;                          /* arguments: half of them between, half with every exponent within */
	double bound, separate_bound;
} Case;

#define CASE(name, ...) {#name, math_##name##_f64, math_##name##_f64_nofma, name##l, __VA_ARGS__}
static const Case cases[] = {
	CASE(exp,   -708.0, 711,      1.0, 1.5),
	CASE(expm1, -45,    711,      2.0, 2.0),
	CASE(log,   0,      DBL_MAX,  1.5, 2.0),
	CASE(log1p, -1,     DBL_MAX,  2.0, 2.0),
	CASE(tanh,  -22,    22,       2.5, 2.5),
	CASE(erf,   -6.5,   6.5,      2.5, 3.0),
	CASE(sin,   -1e5,   1e5,      2.5, 2.5),
	CASE(cos,   -1e5,   1e5,      2.5, 2.5),
};

static double argument(const Case *c, uint64_t i)
{
	uint64_t bits = hash_mix(i + 1);
	double part = (double)(bits >> 11) * 0x1p-53;
	double high = i % 4 == 1 ? MIN(c->high, 4) : c->high, low = i % 4 == 1 ? MAX(c->low, -4) : c->low;
	double x = i % 2 ? low + part * (high - low) : from_bits(bits);
	return x >= c->low && x <= c->high ? x : argument(c, i + UINT64_C(0x123456789));
}

static uint64_t count(void) { return getenv("NNC_LONG") ? 2000000 : 20000; }

static void check(const char *name, const char *kind, double worst, double x, double y, double bound)
{
	if (getenv("NNC_VERBOSE"))
		printf("%-6s %s %.3f ulp at %a, %a\n", name, kind, worst, x, y);
	if (worst > bound)
		fail_msg("%s %s (%a, %a): %g ulp, allowed %g", name, kind, x, y, worst, bound);
}

static void test_against_libm(void **state)
{
	(void)state;
	if (!MORE_DIGITS)
		skip();
	for (size_t k = 0; k < COUNT(cases); k++) {
		const Case *c = &cases[k];
		for (int separate = 0; separate < 2; separate++) {
			double worst = 0, at = 0;
			for (uint64_t i = 0; i < count(); i++) {
				double x = argument(c, i), error = ulps((separate ? c->separate : c->fused)(x), c->right((long double)x));
				if (error > worst)
					worst = error, at = x;
			}
			check(c->name, separate ? "separate" : "fused", worst, at, 0, separate ? c->separate_bound : c->bound);
		}
	}
}

/* Bases and exponents whose powers are numbers; angles of every size. */
static void test_pairs(void **state)
{
	(void)state;
	if (!MORE_DIGITS)
		skip();
	double worst[2] = {0}, at[2][2] = {{0}};
	for (uint64_t i = 0; i < count(); i++) {
		uint64_t a = hash_mix(2 * i + 1), b = hash_mix(2 * i + 2);
		double x = i % 2 ? from_bits(a & ~(UINT64_C(1) << 63)) : 0.5 + (double)(a >> 11) * 0x1p-52;
		double limit = 700 / fmax(fabs(log(x)), 1e-3), y = ((double)(b >> 11) * 0x1p-52 - 1) * limit;
		if (isfinite(x) && x > 0) {
			double error = ulps(math_pow_f64(x, y), powl(x, y));
			if (error > worst[0])
				worst[0] = error, at[0][0] = x, at[0][1] = y;
		}
		double p = from_bits(a), q = i % 2 ? from_bits(b) : p * ((double)(b >> 11) * 0x1p-51 - 2);
		double error = ulps(math_atan2_f64(p, q), atan2l(p, q));
		if (error > worst[1] && fabsl(atan2l(p, q)) > DBL_MIN)
			worst[1] = error, at[1][0] = p, at[1][1] = q;
	}
	check("pow", "fused", worst[0], at[0][0], at[0][1], 2);
	check("atan2", "fused", worst[1], at[1][0], at[1][1], 2);
}

/* Ends, signs and what is no number, as IEEE 754 and math.def have them; the same with and without FMA. */
static void test_special(void **state)
{
	(void)state;
	static const double special[] = {0,        -0.0,      1,   -1,      2,        -2,      0.5,      3,
	                                 INFINITY, -INFINITY, NAN, DBL_MAX, -DBL_MAX, DBL_MIN, 0x1p-1060};
	for (size_t i = 0; i < COUNT(special); i++) {
		double x = special[i];
		for (size_t k = 0; k < COUNT(cases); k++) {
			bool far = cases[k].right == sinl || cases[k].right == cosl;
			if (far && fabs(x) > 1e5)
				continue;
			double want = (double)cases[k].right((long double)x), got = cases[k].fused(x);
			if (!(fabs(got - want) <= 4e-16 * fabs(want)) && !same(got, want) && !(want > 0 && want < DBL_MIN))
				fail_msg("%s(%a) is %a, not %a", cases[k].name, x, got, want);
			if (want == 0)
				assert_true(signbit(got) == signbit(want));
		}
		for (size_t j = 0; j < COUNT(special); j++) {
			double y = special[j], power = pow(x, y), angle = atan2(x, y);
			if (fabs(power) < DBL_MIN && power != 0)
				power = copysign(0, power);
			double got = math_pow_f64(x, y);
			if (!same(got, power) && !(fabs(got - power) <= 1e-13 * fabs(power)))
				fail_msg("pow(%a, %a) is %a, not %a", x, y, got, power);
			got = math_atan2_f64(x, y);
			if (!same(got, angle) && !(fabs(got - angle) <= 4e-16 * fabs(angle)) && fabs(angle) >= DBL_MIN)
				fail_msg("atan2(%a, %a) is %a, not %a", x, y, got, angle);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_libm), cmocka_unit_test(test_pairs),
	                                   cmocka_unit_test(test_special)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
