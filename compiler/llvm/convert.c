/* convert.c: between element types, and between what memory holds and what is computed with.
 *
 * In: elements, scalar or vector.  Out: others.  f16 and bf16 are computed with as f32, i8 and u8 as i32, bool as i1.
 * Guarantees: the interpreter's bits (ir/eval_cast.c): each conversion rounds once, to nearest even, whatever it starts from; no
 * function of a run-time library is called. */
#include "lower.h"

#include <math.h>

typedef LLVMValueRef (*Shift)(LLVMBuilderRef, LLVMValueRef, LLVMValueRef, const char *);

static LLVMTypeRef wide(Emit *e, LLVMTypeRef element, Value like) { return emit_vector_type(e, element, emit_lanes(like)); }
static Value whole(Emit *e, Value like, int64_t x) { return emit_splat(e, emit_i32(e, x), emit_lanes(like)); }
static Value bits_of(Emit *e, Value x) { return LLVMBuildBitCast(e->builder, x, wide(e, e->i32, x), ""); }
static Value float_of(Emit *e, Value i) { return LLVMBuildBitCast(e->builder, i, wide(e, e->f32, i), ""); }
static Value and_bits(Emit *e, Value i, int64_t mask) { return LLVMBuildAnd(e->builder, i, whole(e, i, mask), ""); }
static Value shifted(Emit *e, Shift shift, Value i, int n) { return shift(e->builder, i, whole(e, i, n), ""); }
static Value choose(Emit *e, Value c, Value a, Value b) { return LLVMBuildSelect(e->builder, c, a, b, ""); }
static Value is_nan(Emit *e, Value x) { return LLVMBuildFCmp(e->builder, LLVMRealUNO, x, x, ""); }
static bool is_short(DType d) { return d == DTYPE_F16 || d == DTYPE_BF16; }

/* `i`, the bits of a float, without its last `n`, rounded to nearest even. */
static Value drop_bits(Emit *e, Value i, int n) {
	Value odd = and_bits(e, shifted(e, LLVMBuildLShr, i, n), 1);
	Value half = LLVMBuildAdd(e->builder, odd, whole(e, i, (1 << (n - 1)) - 1), "");
	return and_bits(e, LLVMBuildAdd(e->builder, i, half, ""), -(1 << n));
}

static Value round_bfloat(Emit *e, Value x) {
	Value i = bits_of(e, x), quiet = LLVMBuildOr(e->builder, and_bits(e, i, -65536), whole(e, i, 0x400000), "");
	return float_of(e, choose(e, is_nan(e, x), quiet, drop_bits(e, i, 16)));
}

/* Below 2^-14 halves are multiples of 2^-24, which is what a sum with 1/2 is rounded to; from 65520 on they are infinite. */
static Value round_half(Emit *e, Value x) {
	LLVMBuilderRef b = e->builder;
	int lanes = emit_lanes(x);
	Value size = emit_intrinsic(e, "llvm.fabs", LLVMTypeOf(x), 1, &x), half = emit_f32(e, 0.5, lanes);
	Value small = LLVMBuildFSub(b, LLVMBuildFAdd(b, size, half, ""), half, "");
	Value usual = float_of(e, drop_bits(e, bits_of(e, size), 13));
	Value y = choose(e, LLVMBuildFCmp(b, LLVMRealOLT, size, emit_f32(e, 0x1p-14, lanes), ""), small, usual);
	y = choose(e, LLVMBuildFCmp(b, LLVMRealOGE, size, emit_f32(e, 65520, lanes), ""), emit_f32(e, (double)INFINITY, lanes), y);
	y = emit_intrinsic(e, "llvm.copysign", LLVMTypeOf(x), 2, (Value[]){y, x});
	return choose(e, is_nan(e, x), x, y);
}

Value lower_narrow(Emit *e, Value v, DType dtype) {
	switch (dtype) {
	case DTYPE_U8: return and_bits(e, v, 255);
	case DTYPE_I8: return shifted(e, LLVMBuildAShr, shifted(e, LLVMBuildShl, v, 24), 24);
	case DTYPE_BF16: return round_bfloat(e, v);
	case DTYPE_F16: return round_half(e, v);
	default: return v;
	}
}

/* ---- memory ---- */

LLVMTypeRef lower_memory_type(Emit *e, DType dtype) {
	switch (dtype) {
	case DTYPE_F32: return e->f32;
	case DTYPE_F64: return e->f64;
	case DTYPE_I32: case DTYPE_I8X4: case DTYPE_U8X4: return e->i32;
	default: return dtype_info[dtype].bytes == 2 ? e->i16 : e->i8;
	}
}

/* The exponent is moved by a product, which is exact, denormal halves among them; that of infinity and NaN by hand. */
static Value from_half(Emit *e, Value i) {
	LLVMBuilderRef b = e->builder;
	Value sign = shifted(e, LLVMBuildShl, and_bits(e, i, 0x8000), 16);
	Value size = shifted(e, LLVMBuildShl, and_bits(e, i, 0x7fff), 13);
	Value finite = bits_of(e, LLVMBuildFMul(b, float_of(e, size), emit_f32(e, 0x1p112, emit_lanes(i)), ""));
	Value large = LLVMBuildICmp(b, LLVMIntSGE, size, whole(e, i, 0x0f800000), "");
	Value y = choose(e, large, LLVMBuildOr(b, size, whole(e, i, 0x7f800000), ""), finite);
	return float_of(e, LLVMBuildOr(b, sign, y, ""));
}

/* Of a float that is a half. */
static Value to_half(Emit *e, Value x) {
	LLVMBuilderRef b = e->builder;
	Value i = bits_of(e, x), sign = and_bits(e, shifted(e, LLVMBuildLShr, i, 16), 0x8000), size = and_bits(e, i, INT32_MAX);
	Value scaled = LLVMBuildFMul(b, float_of(e, size), emit_f32(e, 0x1p-112, emit_lanes(x)), "");
	Value finite = shifted(e, LLVMBuildLShr, bits_of(e, scaled), 13);
	Value y = choose(e, LLVMBuildICmp(b, LLVMIntSGE, size, whole(e, i, 0x7f800000), ""), whole(e, i, 0x7c00), finite);
	return LLVMBuildOr(b, sign, choose(e, is_nan(e, x), whole(e, i, 0x7e00), y), "");
}

Value lower_from_memory(Emit *e, Value raw, DType dtype) {
	LLVMBuilderRef b = e->builder;
	LLVMTypeRef i32 = wide(e, e->i32, raw);
	switch (dtype) {
	case DTYPE_U8: return LLVMBuildZExt(b, raw, i32, "");
	case DTYPE_I8: return LLVMBuildSExt(b, raw, i32, "");
	case DTYPE_BOOL: return LLVMBuildICmp(b, LLVMIntNE, raw, LLVMConstNull(LLVMTypeOf(raw)), "");
	case DTYPE_BF16: return float_of(e, shifted(e, LLVMBuildShl, LLVMBuildZExt(b, raw, i32, ""), 16));
	case DTYPE_F16: return from_half(e, LLVMBuildZExt(b, raw, i32, ""));
	default: return raw;
	}
}

Value lower_to_memory(Emit *e, Value v, DType dtype) {
	LLVMBuilderRef b = e->builder;
	LLVMTypeRef i8 = wide(e, e->i8, v), i16 = wide(e, e->i16, v);
	switch (dtype) {
	case DTYPE_U8: case DTYPE_I8: return LLVMBuildTrunc(b, v, i8, "");
	case DTYPE_BOOL: return LLVMBuildZExt(b, v, i8, "");
	case DTYPE_BF16: return LLVMBuildTrunc(b, shifted(e, LLVMBuildLShr, bits_of(e, v), 16), i16, "");
	case DTYPE_F16: return LLVMBuildTrunc(b, to_half(e, v), i16, "");
	default: return v;
	}
}

/* ---- constants and casts ---- */

Value lower_real(Emit *e, DType dtype, double value, int lanes) {
	if (dtype == DTYPE_F64) return emit_splat(e, LLVMConstReal(e->f64, value), lanes);
	return emit_f32(e, (double)(float)value, lanes);
}

Value lower_constant(Emit *e, DType dtype, double value) {
	if (dtype_is_float(dtype)) return lower_narrow(e, lower_real(e, dtype, value, 1), dtype);
	if (dtype == DTYPE_BOOL) return LLVMConstInt(e->i1, value != 0, false);
	return emit_i32(e, (int64_t)value);
}

static Value real_to_integer(Emit *e, Value a, DType from, DType to) {
	LLVMBuilderRef b = e->builder;
	int lanes = emit_lanes(a);
	double least = to == DTYPE_U8 ? 0 : to == DTYPE_I8 ? -128 : -2147483648.0;
	double most = to == DTYPE_U8 ? 255 : to == DTYPE_I8 ? 127 : 2147483647.0;
	double bound = to == DTYPE_I32 ? 2147483648.0 : most;   /* the largest i32 is no float */
	Value low = LLVMBuildFCmp(b, LLVMRealOLE, a, lower_real(e, from, least, lanes), "");
	Value high = LLVMBuildFCmp(b, LLVMRealOGE, a, lower_real(e, from, bound, lanes), "");
	Value outside = LLVMBuildOr(b, LLVMBuildOr(b, low, high, ""), is_nan(e, a), "");
	Value inside = LLVMBuildFPToSI(b, choose(e, outside, lower_real(e, from, 0, lanes), a), wide(e, e->i32, a), "");
	return choose(e, high, whole(e, inside, (int64_t)most), choose(e, low, whole(e, inside, (int64_t)least), inside));
}

/* A float that every shorter type rounds to what it would round the double to: where the double is no float, the last bit is
 * set of the float before it (towards 0). */
static Value round_to_odd(Emit *e, Value x) {
	LLVMBuilderRef b = e->builder;
	Value y = LLVMBuildFPTrunc(b, x, wide(e, e->f32, x), ""), back = LLVMBuildFPExt(b, y, LLVMTypeOf(x), ""), i = bits_of(e, y);
	Value size = emit_intrinsic(e, "llvm.fabs", LLVMTypeOf(x), 1, &x);
	Value reached = emit_intrinsic(e, "llvm.fabs", LLVMTypeOf(x), 1, &back);
	Value past = LLVMBuildZExt(b, LLVMBuildFCmp(b, LLVMRealOGT, reached, size, ""), LLVMTypeOf(i), "");
	Value odd = LLVMBuildOr(b, LLVMBuildSub(b, i, past, ""), whole(e, i, 1), "");
	return float_of(e, choose(e, LLVMBuildFCmp(b, LLVMRealONE, back, x, ""), odd, i));
}

static Value to_real(Emit *e, Value a, DType from, DType to) {
	LLVMBuilderRef b = e->builder;
	bool exact = from == DTYPE_F64 || to == DTYPE_F64 || (from == DTYPE_I32 && is_short(to));   /* by way of a double */
	LLVMTypeRef type = wide(e, exact ? e->f64 : e->f32, a);
	Value x = a;
	if (from == DTYPE_BOOL) x = LLVMBuildUIToFP(b, a, type, "");
	else if (!dtype_is_float(from)) x = LLVMBuildSIToFP(b, a, type, "");
	else if (exact && from != DTYPE_F64) x = LLVMBuildFPExt(b, a, type, "");
	if (to == DTYPE_F64 || !exact) return lower_narrow(e, x, to);
	return to == DTYPE_F32 ? LLVMBuildFPTrunc(b, x, wide(e, e->f32, a), "") : lower_narrow(e, round_to_odd(e, x), to);
}

Value lower_cast(Emit *e, Value a, DType from, DType to) {
	LLVMBuilderRef b = e->builder;
	if (from == to) return a;
	if (dtype_is_float(to)) return to_real(e, a, from, to);
	if (to == DTYPE_BOOL && dtype_is_float(from))
		return LLVMBuildFCmp(b, LLVMRealUNE, a, lower_real(e, from, 0, emit_lanes(a)), "");
	if (to == DTYPE_BOOL) return LLVMBuildICmp(b, LLVMIntNE, a, whole(e, a, 0), "");
	if (dtype_is_float(from)) return real_to_integer(e, a, from, to);
	if (from == DTYPE_BOOL) return LLVMBuildZExt(b, a, wide(e, e->i32, a), "");
	return lower_narrow(e, a, to);
}
