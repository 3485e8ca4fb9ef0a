/* element.c: single elements of dense arrays, as double and back.
 * Guaranteed: floats of fewer bits are rounded once, to nearest, halves to even. */
#include "host.h"

#include <math.h>
#include <string.h>

static double half_value(uint16_t h) {
	int exponent = h >> 10 & 31, fraction = h & 1023;
	double value = exponent == 31 ? (fraction ? NAN : INFINITY)
	             : exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
	return h >> 15 ? -value : value;
}

static uint16_t half_bits(double x) {
	int sign = signbit(x) ? 0x8000 : 0, exponent;
	double a = fabs(x);
	if (isnan(x)) return (uint16_t)(sign | 0x7e00);
	if (a >= 65520) return (uint16_t)(sign | 0x7c00);
	if (a < 0x1p-14) return (uint16_t)(sign | (int)rint(a * 0x1p24));
	double fraction = rint(frexp(a, &exponent) * 2048) - 1024;   /* 1024 carries into the exponent, as it should */
	return (uint16_t)(sign | (((exponent + 14) << 10) + (int)fraction));
}

static double bfloat_value(uint16_t h) {
	uint32_t bits = (uint32_t)h << 16;
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

static uint16_t bfloat_bits(double x) {
	int exponent;
	uint32_t bits;
	if (isfinite(x) && x != 0) {
		(void)frexp(x, &exponent);
		int unit = MAX(exponent - 8, -133);
		x = ldexp(rint(ldexp(x, -unit)), unit);
	}
	float f = (float)x;   /* exact, or beyond them all: infinity */
	memcpy(&bits, &f, sizeof bits);
	return (uint16_t)(bits >> 16);
}

double element_value(DType dtype, const char *at) {
	float f;
	double d;
	int32_t n;
	uint16_t half;
	switch (dtype) {
	case DTYPE_F32: memcpy(&f, at, 4); return f;
	case DTYPE_F64: memcpy(&d, at, 8); return d;
	case DTYPE_F16: memcpy(&half, at, 2); return half_value(half);
	case DTYPE_BF16: memcpy(&half, at, 2); return bfloat_value(half);
	case DTYPE_I32: memcpy(&n, at, 4); return n;
	case DTYPE_I8: return *(const signed char *)at;
	case DTYPE_U8:
	case DTYPE_BOOL: return *(const unsigned char *)at;
	default: die("an element of no type");
	}
}

bool element_store(char *to, DType dtype, double value) {
	float f = (float)value;
	int32_t i = value >= -2147483648.0 && value <= 2147483647.0 ? (int32_t)value : 0;
	bool whole = (double)i == value;
	uint16_t half;
	switch (dtype) {
	case DTYPE_F32: memcpy(to, &f, 4); return true;
	case DTYPE_F64: memcpy(to, &value, 8); return true;
	case DTYPE_F16: half = half_bits(value); memcpy(to, &half, 2); return true;
	case DTYPE_BF16: half = bfloat_bits(value); memcpy(to, &half, 2); return true;
	case DTYPE_I32: memcpy(to, &i, 4); return whole;
	case DTYPE_I8: *to = (char)i; return whole && i >= -128 && i <= 127;
	case DTYPE_U8: *to = (char)(unsigned char)i; return whole && i >= 0 && i <= 255;
	case DTYPE_BOOL: *to = (char)i; return whole && (i == 0 || i == 1);
	default: return false;
	}
}
