/* math_eval.h: math.def and math_f64.def as C functions, for the f32 interpreter and for tests.
 *
 * math_exp_f32(x), math_exp_f64(x) ... use one fused multiply-add where math.def says FMA: the bits of every target that has one.
 * math_exp_f32_nofma(x), math_exp_f64_nofma(x) ... multiply and add separately: the bits of targets that have none.
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
#define FUNCTION(name, x)     double math_##name##_f64(double x), math_##name##_f64_nofma(double x);
#define FUNCTION2(name, x, y) double math_##name##_f64(double x, double y), math_##name##_f64_nofma(double x, double y);
#include "math_f64.def"
#undef FUNCTION
#undef FUNCTION2
#undef LETF
#undef LETI
#undef LETB
#undef RESULT

#endif
