/* elements.h: for tests: elements as compiled code holds them, beside those of the interpreter. */
#ifndef NNC_TEST_ELEMENTS_H
#define NNC_TEST_ELEMENTS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ir.h"

/* The value of 16 bits; and the bits of a float that is one of f16 or bf16, found by looking for them. */
static inline float from_short(DType dtype, uint16_t bits) {
	int exponent_bits = dtype == DTYPE_F16 ? 5 : 8, fraction_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
	int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1), fraction = bits & ((1 << fraction_bits) - 1);
	double size =
	    exponent ? ldexp(1 + ldexp(fraction, -fraction_bits), exponent - bias) : ldexp(fraction, 1 - bias - fraction_bits);
	if (exponent == (1 << exponent_bits) - 1) size = fraction ? (double)NAN : (double)INFINITY;
	return (float)(bits >> 15 ? -size : size);
}

/* Dense bytes as the compiled code holds them (u8, i8, bool: a byte; f16, bf16: two) to the interpreter's elements, and back. */
static inline void *to_elements(Arena *arena, Type t, const void *dense) {
	int64_t n = type_count(t);
	if (dtype_info[t.dtype].bytes == 2) {
		float *shorts = NEW_ARRAY(arena, float, n);
		for (int64_t i = 0; i < n; i++) shorts[i] = from_short(t.dtype, ((const uint16_t *)dense)[i]);
		return shorts;
	}
	if (dtype_info[t.dtype].bytes != 1) return arena_copy(arena, dense, (size_t)(n * dtype_info[t.dtype].bytes));
	int32_t *out = NEW_ARRAY(arena, int32_t, n);
	for (int64_t i = 0; i < n; i++) out[i] = t.dtype == DTYPE_I8 ? ((const int8_t *)dense)[i] : ((const uint8_t *)dense)[i];
	return out;
}

static inline bool same_element(Type t, const void *dense, const void *elements, int64_t i, char *text, size_t size) {
	if (t.dtype == DTYPE_F64) {
		double a = ((const double *)dense)[i], b = ((const double *)elements)[i];
		if (memcmp(&a, &b, 8) == 0 || (isnan(a) && isnan(b))) return true;
		snprintf(text, size, "%a compiled, %a interpreted", a, b);
		return false;
	}
	if (dtype_is_float(t.dtype)) {
		float a, b = ((const float *)elements)[i];
		if (t.dtype == DTYPE_F32) memcpy(&a, (const float *)dense + i, sizeof a);
		else a = from_short(t.dtype, ((const uint16_t *)dense)[i]);
		if (memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b))) return true;
		snprintf(text, size, "%a compiled, %a interpreted", (double)a, (double)b);
		return false;
	}
	int32_t a = dtype_info[t.dtype].bytes == 4 ? ((const int32_t *)dense)[i]
	            : t.dtype == DTYPE_I8 ? ((const int8_t *)dense)[i]
	                                  : ((const uint8_t *)dense)[i];
	int32_t b = ((const int32_t *)elements)[i];
	if (a == b) return true;
	snprintf(text, size, "%d compiled, %d interpreted", a, b);
	return false;
}

#endif
