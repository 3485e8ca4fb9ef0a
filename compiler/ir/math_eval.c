/* math_eval.c: expands math.def and math_f64.def to C, once with fused multiply-add and once without.
 * In: floats or doubles.  Out: the same, with the same bits for every compiler and flag that keeps IEEE arithmetic
 * (the build says -ffp-contract=off; shifts and sums of integers are done unsigned, where they wrap). */
#include "math_eval.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined __FLT_EVAL_METHOD__ && __FLT_EVAL_METHOD__ != 0
#error "float expressions must be evaluated in float, double ones in double"
#endif

static inline int32_t bits_of(float x)
{
	int32_t i;
	memcpy(&i, &x, sizeof i);
	return i;
}

static inline float float_of(int32_t i)
{
	float x;
	memcpy(&x, &i, sizeof x);
	return x;
}

static inline int64_t bits_of_double(double x)
{
	int64_t i;
	memcpy(&i, &x, sizeof i);
	return i;
}

static inline double double_of(int64_t i)
{
	double x;
	memcpy(&x, &i, sizeof x);
	return x;
}

/* Out-of-range and right-shifted negative values are implementation-defined in C: gcc and clang wrap and copy the sign. */
static inline int32_t wrap(uint32_t u) { return (int32_t)u; }
static inline int64_t wrap_long(uint64_t u) { return (int64_t)u; }

#define LETB(name, e) const bool name = (e);
#define RESULT(e)     return (e); }
#define K(c)          (c)
#define ADD(a, b)     ((a) + (b))
#define SUB(a, b)     ((a) - (b))
#define MUL(a, b)     ((a) * (b))
#define DIV(a, b)     ((a) / (b))
#define NEG(a)        (-(a))
#define IAND(a, b)    ((a) & (b))
#define IOR(a, b)     ((a) | (b))
#define IXOR(a, b)    ((a) ^ (b))
#define SHR(a, n)     ((a) >> (n))
#define LT(a, b)      ((a) < (b))
#define LE(a, b)      ((a) <= (b))
#define EQ(a, b)      ((a) == (b))
#define ILT(a, b)     ((a) < (b))
#define SELECT(c, a, b) ((c) ? (a) : (b))

/* ---- f32 ---- */

#define LETF(name, e) const float name = (e);
#define LETI(name, e) const int32_t name = (e);
#define KI(c)         ((int32_t)(c))
#define ABS(a)        fabsf(a)
#define IADD(a, b)    wrap((uint32_t)(a) + (uint32_t)(b))
#define ISUB(a, b)    wrap((uint32_t)(a) - (uint32_t)(b))
#define SHL(a, n)     wrap((uint32_t)(a) << (n))
#define BITS(a)       bits_of(a)
#define FLOAT(a)      float_of(a)
#define I2F(a)        ((float)(a))
#define F2I(a)        ((int32_t)(a))

#define FUNCTION(name, x)     float math_##name##_f32(float x) {
#define FUNCTION2(name, x, y) float math_##name##_f32(float x, float y) {
#define FMA(a, b, c)          fmaf((a), (b), (c))
#include "math.def"
#undef FUNCTION
#undef FUNCTION2
#undef FMA

#define FUNCTION(name, x)     float math_##name##_f32_nofma(float x) {
#define FUNCTION2(name, x, y) float math_##name##_f32_nofma(float x, float y) {
#define FMA(a, b, c)          ADD(MUL((a), (b)), (c))
#include "math.def"
#undef FUNCTION
#undef FUNCTION2
#undef FMA

/* ---- f64 ---- */

#undef LETF
#undef LETI
#undef KI
#undef ABS
#undef IADD
#undef ISUB
#undef SHL
#undef BITS
#undef FLOAT
#undef I2F
#undef F2I
#define LETF(name, e) const double name = (e);
#define LETI(name, e) const int64_t name = (e);
#define KI(c)         ((int64_t)(c))
#define ABS(a)        fabs(a)
#define IADD(a, b)    wrap_long((uint64_t)(a) + (uint64_t)(b))
#define ISUB(a, b)    wrap_long((uint64_t)(a) - (uint64_t)(b))
#define SHL(a, n)     wrap_long((uint64_t)(a) << (n))
#define BITS(a)       bits_of_double(a)
#define FLOAT(a)      double_of(a)
#define I2F(a)        ((double)(a))
#define F2I(a)        ((int64_t)(a))

#define FUNCTION(name, x)     double math_##name##_f64(double x) {
#define FUNCTION2(name, x, y) double math_##name##_f64(double x, double y) {
#define FMA(a, b, c)          fma((a), (b), (c))
#include "math_f64.def"
#undef FUNCTION
#undef FUNCTION2
#undef FMA

#define FUNCTION(name, x)     double math_##name##_f64_nofma(double x) {
#define FUNCTION2(name, x, y) double math_##name##_f64_nofma(double x, double y) {
#define FMA(a, b, c)          ADD(MUL((a), (b)), (c))
#include "math_f64.def"
