/* elementary.c: expands math.def to LLVM code: functions of floats, scalar or vector.
 * Guarantees: the same IEEE operations as math_eval.c does in C, hence the same bits. */
#include "elementary.h"

#include <math.h>
#include <stdint.h>

static Value float_constant(Emit *emit_, double c, int lanes) { return emit_f32(emit_, c, lanes); }
static Value int_constant(Emit *emit_, int64_t c, int lanes) { return emit_splat(emit_, emit_i32(emit_, c), lanes); }
static Value as_int(Emit *emit_, Value a) {
	return LLVMBuildBitCast(emit_->builder, a, emit_vector_type(emit_, emit_->i32, emit_lanes(a)), "");
}
static Value as_float(Emit *emit_, Value a) {
	return LLVMBuildBitCast(emit_->builder, a, emit_vector_type(emit_, emit_->f32, emit_lanes(a)), "");
}

#define FUNCTION(name, x) \
	Value lower_math_##name(Emit *emit_, Value x) { const int lanes = emit_lanes(x); LLVMBuilderRef b_ = emit_->builder;
#define FUNCTION2(name, x, y) \
	Value lower_math_##name(Emit *emit_, Value x, Value y) { const int lanes = emit_lanes(x); LLVMBuilderRef b_ = emit_->builder;
#define LETF(name, value) const Value name = (value);
#define LETI(name, value) const Value name = (value);
#define LETB(name, value) const Value name = (value);
#define RESULT(value)  return (value); }
#define K(c)           float_constant(emit_, (c), lanes)
#define KI(c)          int_constant(emit_, (c), lanes)
#define ADD(a, b)      LLVMBuildFAdd(b_, (a), (b), "")
#define SUB(a, b)      LLVMBuildFSub(b_, (a), (b), "")
#define MUL(a, b)      LLVMBuildFMul(b_, (a), (b), "")
#define DIV(a, b)      LLVMBuildFDiv(b_, (a), (b), "")
#define NEG(a)         LLVMBuildFNeg(b_, (a), "")
#define ABS(a)         as_float(emit_, LLVMBuildAnd(b_, as_int(emit_, (a)), int_constant(emit_, INT32_MAX, lanes), ""))
#define FMA(a, b, c)   emit_fma(emit_, (a), (b), (c))
#define IADD(a, b)     LLVMBuildAdd(b_, (a), (b), "")
#define ISUB(a, b)     LLVMBuildSub(b_, (a), (b), "")
#define IAND(a, b)     LLVMBuildAnd(b_, (a), (b), "")
#define IOR(a, b)      LLVMBuildOr(b_, (a), (b), "")
#define IXOR(a, b)     LLVMBuildXor(b_, (a), (b), "")
#define SHL(a, n)      LLVMBuildShl(b_, (a), int_constant(emit_, (n), lanes), "")
#define SHR(a, n)      LLVMBuildAShr(b_, (a), int_constant(emit_, (n), lanes), "")
#define LT(a, b)       LLVMBuildFCmp(b_, LLVMRealOLT, (a), (b), "")
#define LE(a, b)       LLVMBuildFCmp(b_, LLVMRealOLE, (a), (b), "")
#define EQ(a, b)       LLVMBuildFCmp(b_, LLVMRealOEQ, (a), (b), "")
#define ILT(a, b)      LLVMBuildICmp(b_, LLVMIntSLT, (a), (b), "")
#define BITS(a)        as_int(emit_, (a))
#define FLOAT(a)       as_float(emit_, (a))
#define I2F(a)         LLVMBuildSIToFP(b_, (a), emit_vector_type(emit_, emit_->f32, lanes), "")
#define F2I(a)         LLVMBuildFPToSI(b_, (a), emit_vector_type(emit_, emit_->i32, lanes), "")
#define SELECT(c, a, b) LLVMBuildSelect(b_, (c), (a), (b), "")
#include "math.def"
