/* elementary.h: the functions of math.def and math_f64.def as LLVM code: lower_math_exp(e, x), lower_math_exp_f64(e, x) ... */
#ifndef NNC_ELEMENTARY_H
#define NNC_ELEMENTARY_H

#include "emit.h"

#define FUNCTION(name, x)     Value lower_math_##name(Emit *e, Value x);
#define FUNCTION2(name, x, y) Value lower_math_##name(Emit *e, Value x, Value y);
#define LETF(name, e)
#define LETI(name, e)
#define LETB(name, e)
#define RESULT(e)
#include "math.def"
#undef FUNCTION
#undef FUNCTION2
#define FUNCTION(name, x)     Value lower_math_##name##_f64(Emit *e, Value x);
#define FUNCTION2(name, x, y) Value lower_math_##name##_f64(Emit *e, Value x, Value y);
#include "math_f64.def"
#undef FUNCTION
#undef FUNCTION2
#undef LETF
#undef LETI
#undef LETB
#undef RESULT

#endif
