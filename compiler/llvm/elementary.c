/* elementary.c: expands math.def and math_f64.def to LLVM code: functions of floats or doubles, scalar or vector.
 * Guarantees: the same IEEE operations as math_eval.c does in C, hence the same bits. */
#include "elementary.h"

#include <math.h>
#include <stdint.h>

/* What the macros below know of a function's numbers. */
typedef struct Kind { Emit *e; LLVMTypeRef real, integer; int lanes; } Kind;

static Kind kind_of(Emit *e, Value x, bool wide) {
	return (Kind){.e = e, .real = wide ? e->f64 : e->f32, .integer = wide ? e->i64 : e->i32, .lanes = emit_lanes(x)};
}
static Value real_constant(const Kind *k, double c) { return emit_splat(k->e, LLVMConstReal(k->real, c), k->lanes); }
static Value int_constant(const Kind *k, int64_t c) {
	return emit_splat(k->e, LLVMConstInt(k->integer, (unsigned long long)c, true), k->lanes);
}
static LLVMTypeRef reals(const Kind *k) { return emit_vector_type(k->e, k->real, k->lanes); }
static LLVMTypeRef integers(const Kind *k) { return emit_vector_type(k->e, k->integer, k->lanes); }
static Value absolute(const Kind *k, Value a) { return emit_intrinsic(k->e, "llvm.fabs", reals(k), 1, &a); }

#define LETF(name, value) const Value name = (value);
#define LETI(name, value) const Value name = (value);
#define LETB(name, value) const Value name = (value);
#define RESULT(value)  return (value); }
#define K(c)           real_constant(&k_, (c))
#define KI(c)          int_constant(&k_, (c))
#define ADD(a, b)      LLVMBuildFAdd(b_, (a), (b), "")
#define SUB(a, b)      LLVMBuildFSub(b_, (a), (b), "")
#define MUL(a, b)      LLVMBuildFMul(b_, (a), (b), "")
#define DIV(a, b)      LLVMBuildFDiv(b_, (a), (b), "")
#define NEG(a)         LLVMBuildFNeg(b_, (a), "")
#define ABS(a)         absolute(&k_, (a))
#define FMA(a, b, c)   emit_fma(k_.e, (a), (b), (c))
#define IADD(a, b)     LLVMBuildAdd(b_, (a), (b), "")
#define ISUB(a, b)     LLVMBuildSub(b_, (a), (b), "")
#define IAND(a, b)     LLVMBuildAnd(b_, (a), (b), "")
#define IOR(a, b)      LLVMBuildOr(b_, (a), (b), "")
#define IXOR(a, b)     LLVMBuildXor(b_, (a), (b), "")
#define SHL(a, n)      LLVMBuildShl(b_, (a), int_constant(&k_, (n)), "")
#define SHR(a, n)      LLVMBuildAShr(b_, (a), int_constant(&k_, (n)), "")
#define LT(a, b)       LLVMBuildFCmp(b_, LLVMRealOLT, (a), (b), "")
#define LE(a, b)       LLVMBuildFCmp(b_, LLVMRealOLE, (a), (b), "")
#define EQ(a, b)       LLVMBuildFCmp(b_, LLVMRealOEQ, (a), (b), "")
#define ILT(a, b)      LLVMBuildICmp(b_, LLVMIntSLT, (a), (b), "")
#define BITS(a)        LLVMBuildBitCast(b_, (a), integers(&k_), "")
#define FLOAT(a)       LLVMBuildBitCast(b_, (a), reals(&k_), "")
#define I2F(a)         LLVMBuildSIToFP(b_, (a), reals(&k_), "")
#define F2I(a)         LLVMBuildFPToSI(b_, (a), integers(&k_), "")
#define SELECT(c, a, b) LLVMBuildSelect(b_, (c), (a), (b), "")

#define BEGIN(x, wide) { const Kind k_ = kind_of(e_, (x), wide); LLVMBuilderRef b_ = e_->builder;
#define FUNCTION(name, x)     Value lower_math_##name(Emit *e_, Value x) BEGIN(x, false)
#define FUNCTION2(name, x, y) Value lower_math_##name(Emit *e_, Value x, Value y) BEGIN(x, false)
#include "math.def"
#undef FUNCTION
#undef FUNCTION2
#define FUNCTION(name, x)     Value lower_math_##name##_f64(Emit *e_, Value x) BEGIN(x, true)
#define FUNCTION2(name, x, y) Value lower_math_##name##_f64(Emit *e_, Value x, Value y) BEGIN(x, true)
#include "math_f64.def"
