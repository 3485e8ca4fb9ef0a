/* eval_f32.c: the arithmetic of the interpreter in float, literally: one rounding per operation. */
#include "eval.h"
#include "eval_float.h"
#include "math_eval.h"

#define T float
#define NAME(x) x##_f32
#define FMA(a, b, c) fmaf(a, b, c)
#define ABS(a) fabsf(a)
#define FLOOR(a) floorf(a)
#define ROUND(a) rintf(a)
#define SQRT(a) sqrtf(a)
#define MATH(name, a) math_##name##_f32(a)
#define MATH2(name, a, b) math_##name##_f32(a, b)
#include "eval_body.h"
