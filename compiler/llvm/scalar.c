/* scalar.c: expands the forward column of ops.def to LLVM code; random numbers.
 * In: operands, scalar or vectors of one length.  Out: the result.  Guarantees: the interpreters' bits. */
#include <math.h>
#include <string.h>

#include "elementary.h"
#include "lower.h"

typedef LLVMValueRef (*BinaryBuilder)(LLVMBuilderRef, LLVMValueRef, LLVMValueRef, const char *);

static LLVMTypeRef element_of(Value a) {
	LLVMTypeRef t = LLVMTypeOf(a);
	return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetElementType(t) : t;
}

static bool is_real(Emit *e, Value a) { return element_of(a) == e->f32 || element_of(a) == e->f64; }
static Value like(Emit *e, Value a, double x) {
	return is_real(e, a) ? lower_real(e, element_of(a) == e->f64 ? DTYPE_F64 : DTYPE_F32, x, emit_lanes(a))
	                     : emit_splat(e, LLVMConstInt(element_of(a), (unsigned long long)(int64_t)x, true), emit_lanes(a));
}
static Value choose(Emit *e, Value c, Value a, Value b) { return LLVMBuildSelect(e->builder, c, a, b, ""); }
static Value either(Emit *e, Value a, Value b, BinaryBuilder real, BinaryBuilder integer) {
	return is_real(e, a) ? real(e->builder, a, b, "") : integer(e->builder, a, b, "");
}
static Value compare(Emit *e, Value a, Value b, LLVMRealPredicate real, LLVMIntPredicate integer) {
	return is_real(e, a) ? LLVMBuildFCmp(e->builder, real, a, b, "") : LLVMBuildICmp(e->builder, integer, a, b, "");
}
static Value negate(Emit *e, Value a) {
	return is_real(e, a) ? LLVMBuildFNeg(e->builder, a, "") : LLVMBuildNeg(e->builder, a, "");
}
static Value absolute(Emit *e, Value a) {
	if (is_real(e, a)) return emit_intrinsic(e, "llvm.fabs", LLVMTypeOf(a), 1, &a);
	return choose(e, compare(e, a, like(e, a, 0), LLVMRealOLT, LLVMIntSLT), negate(e, a), a);
}
static Value sign(Emit *e, Value a) {
	Value zero = like(e, a, 0);
	Value below = choose(e, compare(e, a, zero, LLVMRealOLT, LLVMIntSLT), like(e, a, -1), a);
	return choose(e, compare(e, a, zero, LLVMRealOGT, LLVMIntSGT), like(e, a, 1), below);
}
static Value is_nan(Emit *e, Value a) { return LLVMBuildFCmp(e->builder, LLVMRealUNO, a, a, ""); }

/* The inner choice is one instruction of most processors, which takes b when one is NaN. */
Value lower_maximum(Emit *e, Value a, Value b) {
	Value larger = choose(e, compare(e, a, b, LLVMRealOGT, LLVMIntSGT), a, b);
	return is_real(e, a) ? choose(e, is_nan(e, a), a, larger) : larger;
}

Value lower_minimum(Emit *e, Value a, Value b) {
	Value smaller = choose(e, compare(e, a, b, LLVMRealOLT, LLVMIntSLT), a, b);
	return is_real(e, a) ? choose(e, is_nan(e, a), a, smaller) : smaller;
}


/* Floor division and its rest; 0 for the divisor 0; -1 apart, since the machine traps on the least integer / -1. */
static Value floor_division(Emit *e, Value a, Value b, bool rest) {
	LLVMBuilderRef builder = e->builder;
	Value zero = like(e, a, 0), one = like(e, a, 1), minus = like(e, a, -1);
	Value is_zero = LLVMBuildICmp(builder, LLVMIntEQ, b, zero, ""), is_minus = LLVMBuildICmp(builder, LLVMIntEQ, b, minus, "");
	Value safe = choose(e, LLVMBuildOr(builder, is_zero, is_minus, ""), one, b);
	Value q = LLVMBuildSDiv(builder, a, safe, ""), r = LLVMBuildSRem(builder, a, safe, "");
	Value opposite = LLVMBuildICmp(builder, LLVMIntSLT, LLVMBuildXor(builder, r, safe, ""), zero, "");
	Value adjust = LLVMBuildAnd(builder, opposite, LLVMBuildICmp(builder, LLVMIntNE, r, zero, ""), "");
	if (rest) {
		r = choose(e, adjust, LLVMBuildAdd(builder, r, safe, ""), r);
		return choose(e, LLVMBuildOr(builder, is_zero, is_minus, ""), zero, r);
	}
	q = choose(e, adjust, LLVMBuildSub(builder, q, one, ""), q);
	q = choose(e, is_minus, LLVMBuildNeg(builder, a, ""), q);
	return choose(e, is_zero, zero, q);
}

static Value unary_intrinsic(Emit *e, const char *name, Value a) { return emit_intrinsic(e, name, LLVMTypeOf(a), 1, &a); }

/* Is q + (x - c q) / c, with q = x (1/c) and both corrections rounded once, the quotient x / c for all these x? */
static bool is_corrected_quotient(int low, int high, float c) {
	float inverse = 1 / c;
	for (int i = low; i <= high; i++) {
		float x = (float)i, q = x * inverse, corrected = fmaf(fmaf(-c, q, x), inverse, q), quotient = x / c;
		if (memcmp(&corrected, &quotient, sizeof quotient) != 0) return false;
	}
	return true;
}

/* The quotient of `v`, which divides, when three multiplications give its bits: bytes, as pixels are, by a number known here.
 * A vector's division takes ten cycles or more; machines without vectors would pay with code.  Elsewhere NULL. */
static Value quotient_of_bytes(Emit *e, const Val *v, Value x) {
	const Val *bytes = v->arg[0], *c = v->arg[1];
	while (c->op == OpBroadcast || c->op == OpReshape) c = c->arg[0];
	if (bytes->op != OpCast || v->type.dtype != DTYPE_F32 || c->op != OpConst) return NULL;
	if (!e->target->has_fma || e->target->lanes == 1) return NULL;
	DType from = bytes->arg[0]->type.dtype;
	int low = from == DTYPE_I8 ? INT8_MIN : 0, high = from == DTYPE_I8 ? INT8_MAX : from == DTYPE_U8 ? UINT8_MAX : -1;
	float divisor = (float)c->number;
	if (high < low || !isfinite(divisor) || !is_corrected_quotient(low, high, divisor)) return NULL;
	Value inverse = like(e, x, 1 / divisor), q = LLVMBuildFMul(e->builder, x, inverse, "");
	return emit_fma(e, emit_fma(e, like(e, x, -divisor), q, x), inverse, q);
}

static Value divide(Emit *e, const Val *v, Value a, Value b) {
	Value quotient = quotient_of_bytes(e, v, a);
	return quotient ? quotient : LLVMBuildFDiv(e->builder, a, b, "");
}

#define NEG(a) negate(e, a)
#define ABS(a) absolute(e, a)
#define SIGN(a) sign(e, a)
#define FLOOR(a) emit_floor(e, a)
#define ROUND(a) emit_rint(e, a)
#define SQRT(a) unary_intrinsic(e, "llvm.sqrt", a)
#define NOT(a) LLVMBuildNot(e->builder, a, "")
#define ADD(a, b) either(e, a, b, LLVMBuildFAdd, LLVMBuildAdd)
#define SUB(a, b) either(e, a, b, LLVMBuildFSub, LLVMBuildSub)
#define MUL(a, b) either(e, a, b, LLVMBuildFMul, LLVMBuildMul)
#define DIV(a, b) divide(e, v, a, b)
#define MAXIMUM(a, b) lower_maximum(e, a, b)
#define MINIMUM(a, b) lower_minimum(e, a, b)
#define IDIV(a, b) floor_division(e, a, b, false)
#define MOD(a, b) floor_division(e, a, b, true)
#define LT(a, b) compare(e, a, b, LLVMRealOLT, LLVMIntSLT)
#define LE(a, b) compare(e, a, b, LLVMRealOLE, LLVMIntSLE)
#define EQ(a, b) compare(e, a, b, LLVMRealOEQ, LLVMIntEQ)
#define AND(a, b) LLVMBuildAnd(e->builder, a, b, "")
#define OR(a, b) LLVMBuildOr(e->builder, a, b, "")
#define SELECT(a, b, c) choose(e, a, b, c)
#define MATH(name, a) (element_of(a) == e->f64 ? lower_math_##name##_f64 : lower_math_##name)(e, a)
#define MATH2(name, a, b) (element_of(a) == e->f64 ? lower_math_##name##_f64 : lower_math_##name)(e, a, b)

Value lower_pointwise(Emit *e, const Val *v, Value *args) {
	Value a = args[0], b = v->nargs > 1 ? args[1] : NULL, c = v->nargs > 2 ? args[2] : NULL, y;
	(void)b, (void)c;
	switch (v->op) {
#define UNARY(Name, text, types, result, forward, ...) case Op##Name: y = forward; break;
#define BINARY(Name, text, types, result, forward, ...) case Op##Name: y = forward; break;
#define TERNARY(Name, text, types, result, forward, ...) case Op##Name: y = forward; break;
#define STRUCTURAL(...)
#include "ops.def"
	default: die("op '%s' is not element-wise", op_info[v->op].text);
	}
	return lower_narrow(e, y, v->type.dtype);
}

/* Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011). */
Value lower_random(Emit *e, Value element, Value index, Value step, Value seed_low, Value seed_high, Value site, int word) {
	LLVMBuilderRef b = e->builder;
	int lanes = emit_lanes(element);
	LLVMTypeRef i32 = emit_vector_type(e, e->i32, lanes), i64 = emit_vector_type(e, e->i64, lanes);
	Value c[4] = {element, emit_splat(e, index, lanes), emit_splat(e, step, lanes), LLVMConstNull(i32)};
	Value site_high = LLVMBuildLShr(b, site, LLVMConstInt(e->i64, 32, false), "");
	Value key[2] = {LLVMBuildXor(b, seed_low, LLVMBuildTrunc(b, site, e->i32, ""), ""),
	                LLVMBuildXor(b, seed_high, LLVMBuildTrunc(b, site_high, e->i32, ""), "")};
	const int64_t weyl[2] = {0x9E3779B9, 0xBB67AE85}, factor[2] = {0xD2511F53, 0xCD9E8D57};
	for (int round = 0; round < 10; round++) {
		Value high[2], low[2];
		for (int h = 0; h < 2; h++) {
			Value wide = LLVMBuildZExt(b, c[2 * h], i64, "");
			Value product =
			    LLVMBuildMul(b, wide, emit_splat(e, LLVMConstInt(e->i64, (unsigned long long)factor[h], false), lanes), "");
			low[h] = LLVMBuildTrunc(b, product, i32, "");
			Value shift = emit_splat(e, LLVMConstInt(e->i64, 32, false), lanes);
			high[h] = LLVMBuildTrunc(b, LLVMBuildLShr(b, product, shift, ""), i32, "");
		}
		Value next0 = LLVMBuildXor(b, LLVMBuildXor(b, high[1], c[1], ""), emit_splat(e, key[0], lanes), "");
		Value next2 = LLVMBuildXor(b, LLVMBuildXor(b, high[0], c[3], ""), emit_splat(e, key[1], lanes), "");
		c[0] = next0, c[1] = low[1], c[2] = next2, c[3] = low[0];
		for (int h = 0; h < 2; h++) key[h] = LLVMBuildAdd(b, key[h], emit_i32(e, (int32_t)(uint32_t)weyl[h]), "");
	}
	Value bits = LLVMBuildLShr(b, c[word], emit_splat(e, emit_i32(e, 8), lanes), "");
	Value real = LLVMBuildUIToFP(b, bits, emit_vector_type(e, e->f32, lanes), "");
	return LLVMBuildFMul(b, real, emit_f32(e, 0x1p-24, lanes), "");
}
