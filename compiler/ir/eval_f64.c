/* eval_f64.c: the arithmetic of the interpreter in double, elementary functions from libm: the judge of derivatives. */
#include "eval.h"
#include "eval_float.h"

#define T double
#define NAME(x) x##_f64
#define FMA(a, b, c) fma(a, b, c)
#define ABS(a) fabs(a)
#define FLOOR(a) floor(a)
#define ROUND(a) rint(a)
#define SQRT(a) sqrt(a)
#define MATH(name, a) name(a)
#define MATH2(name, a, b) name(a, b)
#include "eval_body.h"
