/* math_eval.h: math.def as C functions, for the f32 interpreter and for tests.
 *
 * math_exp_f32(x) ... use one fused multiply-add where math.def says FMA: the bits of every target that has one.
 * math_exp_f32_nofma(x) ... multiply and add separately: the bits of targets that have none.
 * The bits depend on no compiler, flag or libm. */
#ifndef NNC_MATH_EVAL_H
#define NNC_MATH_EVAL_H

#define FUNCTION(name, x)     float math_##name##_f32(float x), math_##name##_f32_nofma(float x);
#define FUNCTION2(name, x, y) float math_##name##_f32(float x, float y), math_##name##_f32_nofma(float x, float y);
#define LETF(name, e)
#define LETI(name, e)
#define LETB(name, e)
#define RESULT(e)
#include "math.def"
#undef FUNCTION
#undef FUNCTION2
#undef LETF
#undef LETI
#undef LETB
#undef RESULT

#endif
