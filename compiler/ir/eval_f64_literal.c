/* eval_f64_literal.c: what is f64 in the program, in EVAL_F32: one rounding per operation and the functions of math_f64.def, the
 * bits of compiled code. */
#include "eval.h"
#include "eval_float.h"
#include "math_eval.h"

#define T double
#define NAME(x) x##_f64_literal
#define FMA(a, b, c) fma(a, b, c)
#define ABS(a) fabs(a)
#define FLOOR(a) floor(a)
#define ROUND(a) rint(a)
#define SQRT(a) sqrt(a)
#define MATH(name, a) math_##name##_f64(a)
#define MATH2(name, a, b) math_##name##_f64(a, b)
#include "eval_body.h"
