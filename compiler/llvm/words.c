/* words.c: products of words of four bytes.
 *
 * In: two words, or vectors of as many.  Out: the accumulator and the sum of their four products, exact in i32.
 * Written so that machines with a sum of two products of 16 bits (pmaddwd, vpdpwssd) are given it: bytes 0 and 2, and bytes 1
 * and 3, as pairs of such numbers.  A single word is taken apart byte by byte. */
#include "lower.h"

typedef LLVMValueRef (*Shift)(LLVMBuilderRef, LLVMValueRef, LLVMValueRef, const char *);

static Value shifted(Emit *e, Shift shift, Value x, int n) {
	LLVMTypeRef type = LLVMTypeOf(x), element = emit_lanes(x) > 1 ? LLVMGetElementType(type) : type;
	return shift(e->builder, x, emit_splat(e, LLVMConstInt(element, (unsigned)n, false), emit_lanes(x)), "");
}

/* Of numbers of `bits`, the low byte, or the one above it that is their last. */
static Value low_byte(Emit *e, Value x, int bits, bool is_signed) {
	return shifted(e, is_signed ? LLVMBuildAShr : LLVMBuildLShr, shifted(e, LLVMBuildShl, x, bits - 8), bits - 8);
}
static Value high_byte(Emit *e, Value x, int bits, bool is_signed) {
	return shifted(e, is_signed ? LLVMBuildAShr : LLVMBuildLShr, x, bits - 8);
}

static Value single(Emit *e, Value x, bool signed_x, Value y, bool signed_y, Value acc) {
	for (int i = 0; i < 4; i++) {
		Value a = i < 3 ? shifted(e, LLVMBuildShl, x, 24 - 8 * i) : x, b = i < 3 ? shifted(e, LLVMBuildShl, y, 24 - 8 * i) : y;
		Value product = LLVMBuildMul(e->builder, high_byte(e, a, 32, signed_x), high_byte(e, b, 32, signed_y), "");
		acc = LLVMBuildAdd(e->builder, acc, product, "");
	}
	return acc;
}

/* Sums of two products of 16 bits each, one for every lane. */
static Value pairs(Emit *e, Value x, Value y, int lanes, Value acc) {
	Value pick[2][64], part[2];
	LLVMTypeRef wide = emit_vector_type(e, e->i32, 2 * lanes);
	Value product = LLVMBuildMul(e->builder, LLVMBuildSExt(e->builder, x, wide, ""), LLVMBuildSExt(e->builder, y, wide, ""), "");
	for (int k = 0; k < 2; k++) {
		for (int i = 0; i < lanes; i++) pick[k][i] = emit_i32(e, 2 * i + k);
		Value mask = LLVMConstVector(pick[k], (unsigned)lanes);
		part[k] = LLVMBuildShuffleVector(e->builder, product, LLVMGetUndef(wide), mask, "");
	}
	return LLVMBuildAdd(e->builder, acc, LLVMBuildAdd(e->builder, part[0], part[1], ""), "");
}

Value lower_words(Emit *e, Value x, DType of_x, Value y, DType of_y, Value acc) {
	int lanes = emit_lanes(acc);
	bool signed_x = of_x == DTYPE_I8X4, signed_y = of_y == DTYPE_I8X4;
	if (lanes == 1) return single(e, x, signed_x, y, signed_y, acc);
	LLVMTypeRef halves = emit_vector_type(e, e->i16, 2 * lanes);
	x = LLVMBuildBitCast(e->builder, x, halves, ""), y = LLVMBuildBitCast(e->builder, y, halves, "");
	acc = pairs(e, low_byte(e, x, 16, signed_x), low_byte(e, y, 16, signed_y), lanes, acc);
	return pairs(e, high_byte(e, x, 16, signed_x), high_byte(e, y, 16, signed_y), lanes, acc);
}
