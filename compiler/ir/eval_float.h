/* eval_float.h: what float and double share of the macros that eval_body.h wants. */
#ifndef NNC_EVAL_FLOAT_H
#define NNC_EVAL_FLOAT_H

#include <math.h>

#define LEAST ((T)-INFINITY)
#define MOST ((T)INFINITY)
#define IS_NAN(a) isnan(a)
#define EXPONENTIAL(a) MATH(exp, a)
#define LOGARITHM(a) MATH(log, a)
#define NEG(a) (-(a))
#define SIGN(a) ((a) > 0 ? (T)1 : (a) < 0 ? (T)-1 : (a))
#define NOT(a) (!(a))
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define DIV(a, b) ((a) / (b))
#define MAXIMUM(a, b) ((a) > (b) || isnan(a) ? (a) : (b))
#define MINIMUM(a, b) ((a) < (b) || isnan(a) ? (a) : (b))
#define IDIV(a, b) floor((a) / (b))                 /* integers only: never run */
#define MOD(a, b) ((a) - (b) * floor((a) / (b)))    /* the same */
#define LT(a, b) ((a) < (b))
#define LE(a, b) ((a) <= (b))
#define EQ(a, b) ((a) == (b))
#define AND(a, b) ((a) && (b))
#define OR(a, b) ((a) || (b))
#define SELECT(a, b, c) ((a) ? (b) : (c))

#define ALWAYS_INLINE static inline __attribute__((__always_inline__))
#if defined __x86_64__
#define FAST_TARGET __attribute__((__target__("avx2,fma")))
#define FAST_SUPPORTED (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#endif

#endif
