/* eval_i32.c: the arithmetic of the interpreter in int32_t: everything wraps. */
#include "eval.h"

#define T int32_t
#define NAME(x) x##_i32
#define LEAST INT32_MIN
#define MOST INT32_MAX
#define IS_NAN(a) false
#define WRAP(a) ((int32_t)(uint32_t)(a))
#define NEG(a) WRAP(0u - (uint32_t)(a))
#define ABS(a) ((a) < 0 ? NEG(a) : (a))
#define SIGN(a) (((a) > 0) - ((a) < 0))
#define NOT(a) (!(a))
#define ADD(a, b) WRAP((uint32_t)(a) + (uint32_t)(b))
#define SUB(a, b) WRAP((uint32_t)(a) - (uint32_t)(b))
#define MUL(a, b) WRAP((uint32_t)(a) * (uint32_t)(b))
#define FMA(a, b, c) ADD(MUL(a, b), c)
#define MAXIMUM(a, b) ((a) > (b) ? (a) : (b))
#define MINIMUM(a, b) ((a) < (b) ? (a) : (b))
#define IDIV(a, b) floor_div(a, b)
#define MOD(a, b) floor_mod(a, b)
#define LT(a, b) ((a) < (b))
#define LE(a, b) ((a) <= (b))
#define EQ(a, b) ((a) == (b))
#define AND(a, b) ((a) && (b))
#define OR(a, b) ((a) || (b))
#define SELECT(a, b, c) ((a) ? (b) : (c))
/* The verifier lets no integer come here. */
#define FLOOR(a) no_integer(a)
#define ROUND(a) no_integer(a)
#define SQRT(a) no_integer(a)
#define DIV(a, b) no_integer((a) + (b))
#define MATH(name, a) no_integer(a)
#define MATH2(name, a, b) no_integer((a) + (b))
#define EXPONENTIAL(a) no_integer(a)
#define LOGARITHM(a) no_integer(a)
#define ALWAYS_INLINE static inline __attribute__((__always_inline__))

NORETURN static int32_t no_integer(int32_t a) { die("a function of floats on the integer %d", (int)a); }

static inline int32_t floor_div(int32_t a, int32_t b) {
	if (b == 0) return 0;
	if (b == -1) return NEG(a); /* the least integer wraps */
	return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static inline int32_t floor_mod(int32_t a, int32_t b) {
	if (b == 0 || b == -1) return 0;
	int32_t rest = a % b;
	return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

#include "eval_body.h"
