/* eval_cast.c: between element types, storage of fewer bits, random numbers.  In and out: dense arrays. */
#include "eval.h"

#include <math.h>

static double load(Element element, const void *data, int64_t i) {
	switch (element) {
	case ELEMENT_F32: return ((const float *)data)[i];
	case ELEMENT_F64: return ((const double *)data)[i];
	default: return ((const int32_t *)data)[i];
	}
}

/* Nearest value with `bits` bits of significand and no bit below 2^least, halves to even; beyond `most`: infinity. */
static double round_to(double x, int bits, int least, double most) {
	if (x == 0 || isnan(x) || isinf(x)) return x;
	int exponent;
	(void)frexp(x, &exponent);
	int unit = MAX(exponent - bits, least);
	double rounded = ldexp(rint(ldexp(x, -unit)), unit);
	if (fabs(rounded) > most) return copysign((double)INFINITY, x);
	return rounded == 0 ? copysign(0.0, x) : rounded;
}

static double round_half(double x) { return round_to(x, 11, -24, 65504.0); }
static double round_bfloat(double x) { return round_to(x, 8, -133, 0x1.fep127); }
static double round_short(DType to, double x) { return to == DTYPE_F16 ? round_half(x) : to == DTYPE_BF16 ? round_bfloat(x) : x; }

static int32_t wrap(DType dtype, int32_t x) {
	if (dtype == DTYPE_U8) return x & 255;
	if (dtype == DTYPE_I8) return ((x & 255) ^ 128) - 128;
	return x;
}

static int32_t saturate(DType dtype, double x) {
	double least = dtype == DTYPE_U8 ? 0 : dtype == DTYPE_I8 ? -128 : -2147483648.0;
	double most = dtype == DTYPE_U8 ? 255 : dtype == DTYPE_I8 ? 127 : 2147483647.0;
	if (isnan(x)) return 0;
	return (int32_t)(x <= least ? least : x >= most ? most : trunc(x));
}

static int32_t to_integer(DType to, bool from_float, double x) {
	if (to == DTYPE_BOOL) return x != 0;
	return from_float ? saturate(to, x) : wrap(to, (int32_t)x);
}

void eval_cast(const Val *v, const Tensor *arg, EvalMode mode, void *y) {
	DType from = arg[0].type.dtype, to = v->type.dtype;
	Element source = element_of(from, mode), target = element_of(to, mode);
	int64_t count = type_count(v->type);
	for (int64_t i = 0; i < count; i++) {
		double x = load(source, arg[0].data, i);
		if (target == ELEMENT_F32) ((float *)y)[i] = (float)round_short(to, x);
		else if (target == ELEMENT_F64) ((double *)y)[i] = x;
		else ((int32_t *)y)[i] = to_integer(to, dtype_is_float(from), x);
	}
}

void eval_fill(Element element, double value, int64_t count, void *y) {
	for (int64_t i = 0; i < count; i++) {
		if (element == ELEMENT_F32) ((float *)y)[i] = (float)value;
		else if (element == ELEMENT_F64) ((double *)y)[i] = value;
		else ((int32_t *)y)[i] = (int32_t)value;
	}
}

void eval_narrow(DType dtype, EvalMode mode, int64_t count, void *y) {
	int32_t *integers = y;
	float *floats = y;
	if (dtype == DTYPE_I8 || dtype == DTYPE_U8)
		for (int64_t i = 0; i < count; i++) integers[i] = wrap(dtype, integers[i]);
	if (mode == EVAL_F32 && dtype == DTYPE_F16)
		for (int64_t i = 0; i < count; i++) floats[i] = (float)round_half(floats[i]);
	if (mode == EVAL_F32 && dtype == DTYPE_BF16)
		for (int64_t i = 0; i < count; i++) floats[i] = (float)round_bfloat(floats[i]);
}

/* Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011). */
static void philox(uint32_t c[4], uint32_t k0, uint32_t k1) {
	for (int round = 0; round < 10; round++) {
		uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
		uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0};
		for (int i = 0; i < 4; i++) c[i] = next[i];
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
}

/* counter = (number of the element, scan index, step, 0), key = seed ^ site */
void eval_random(const Val *v, const Tensor *arg, Element element, void *y) {
	const int32_t *seed = arg[0].data, *step = arg[1].data, *index = arg[2].data;
	uint64_t site = (uint64_t)v->list[0].data[0];
	uint32_t k0 = (uint32_t)seed[0] ^ (uint32_t)site, k1 = (uint32_t)seed[1] ^ (uint32_t)(site >> 32);
	const int32_t *number = v->nargs == 4 ? arg[3].data : NULL;
	int64_t count = type_count(v->type);
	for (int64_t i = 0; i < count; i++) {
		uint32_t c[4] = {number ? (uint32_t)number[i] : (uint32_t)i, (uint32_t)*index, (uint32_t)*step, 0};
		philox(c, k0, k1);
		double u = (double)(c[v->list[1].data[0]] >> 8) * 0x1p-24;
		if (element == ELEMENT_F32) ((float *)y)[i] = (float)u;
		else ((double *)y)[i] = u;
	}
}
