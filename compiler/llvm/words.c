/* words.c: products of words of four bytes.
 *
 * In: two words, or vectors of as many.  Out: the accumulator and the sum of their four products, exact in i32.
 * Machines with an instruction for that are given it; which there is says the Target:
 *   has_dot, has_dot_mixed   four products of i8 with i8, of u8 with i8, for each lane of a vector (sdot; usdot, vpdpbusd)
 *   has_dot_pairs            two products of 16 bits (smlad), of a word whose bytes are taken apart two by two (sxtb16)
 * Where the one that is wanted is missing and the other is there, sums are *lifted*: the highest bit of x's bytes is flipped,
 * which makes u8 of i8, x + 128, or i8 of u8, x - 128.  The sum is then too large by 128 times the sum of
 * y's bytes (or too small), which is the lifted sum of x = 0, and is subtracted.  All of this is modulo 2^32, so that the
 * difference is the sum whatever overflowed on the way; none of the instructions saturates.
 * For others it is written so that machines with a sum of two products of 16 bits in vectors (pmaddwd, vpdpwssd) are given it:
 * bytes 0 and 2, and bytes 1 and 3, as pairs of such numbers.  A single word is taken apart byte by byte. */
#include <string.h>

#include "lower.h"
#include "target.h"

typedef LLVMValueRef (*Shift)(LLVMBuilderRef, LLVMValueRef, LLVMValueRef, const char *);

static Value shifted(Emit *e, Shift shift, Value x, int n) {
	LLVMTypeRef type = LLVMTypeOf(x), element = emit_lanes(x) > 1 ? LLVMGetElementType(type) : type;
	return shift(e->builder, x, emit_splat(e, LLVMConstInt(element, (unsigned)n, false), emit_lanes(x)), "");
}

/* ---- without instructions for it ---- */

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

static Value in_halves(Emit *e, Value x, bool signed_x, Value y, bool signed_y, Value acc) {
	int lanes = emit_lanes(acc);
	LLVMTypeRef halves = emit_vector_type(e, e->i16, 2 * lanes);
	x = LLVMBuildBitCast(e->builder, x, halves, ""), y = LLVMBuildBitCast(e->builder, y, halves, "");
	acc = pairs(e, low_byte(e, x, 16, signed_x), low_byte(e, y, 16, signed_y), lanes, acc);
	return pairs(e, high_byte(e, x, 16, signed_x), high_byte(e, y, 16, signed_y), lanes, acc);
}

/* ---- instructions ---- */

/* A machine's own intrinsic.  overload: of its result and operands, NULL where there is none. */
static Value machine_intrinsic(Emit *e, const char *name, const LLVMTypeRef overload[2], int nargs, const Value *given) {
	unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
	if (!id) die("no intrinsic %s", name);
	Value function = LLVMGetIntrinsicDeclaration(e->module, id, (LLVMTypeRef *)overload, overload ? 2 : 0), args[3];
	LLVMTypeRef types[3];
	LLVMGetParamTypes(LLVMGlobalGetValueType(function), types);   /* versions of LLVM differ in whether words are vectors of i8 */
	for (int i = 0; i < nargs; i++) args[i] = LLVMBuildBitCast(e->builder, given[i], types[i], "");
	return emit_call(e, function, nargs, args);
}

/* One register of words; mixed: x is of u8, y of i8, else both of i8. */
static Value dot_register(Emit *e, bool mixed, Value x, Value y, Value acc) {
	int lanes = emit_lanes(acc);
	const Value args[] = {acc, x, y};
	if (target_is(e->target, "x86_64"))
		return machine_intrinsic(e, arena_printf(e->arena, "llvm.x86.avx512.vpdpbusd.%d", 32 * lanes), NULL, 3, args);
	const LLVMTypeRef types[] = {LLVMTypeOf(acc), emit_vector_type(e, e->i8, 4 * lanes)};
	return machine_intrinsic(e, mixed ? "llvm.aarch64.neon.usdot" : "llvm.aarch64.neon.sdot", types, 3, args);
}

static Value some_lanes(Emit *e, Value a, Value b, int first, int n) {
	Value pick[64];
	int most = emit_lanes(a) * (a == b ? 1 : 2) - 1;
	for (int i = 0; i < n; i++) pick[i] = emit_i32(e, MIN(first + i, most));
	return LLVMBuildShuffleVector(e->builder, a, b, LLVMConstVector(pick, (unsigned)n), "");
}

/* Vectors as registers: two or more, or a part of one. */
static Value dot(Emit *e, bool mixed, Value x, Value y, Value acc) {
	enum { LEAST = 4 };
	int lanes = emit_lanes(acc), most = MAX(LEAST, e->target->lanes), n = lanes < LEAST ? LEAST : lanes / 2;
	if (lanes >= LEAST && lanes <= most) return dot_register(e, mixed, x, y, acc);
	Value part[2];
	for (int i = 0; i < (lanes > most ? 2 : 1); i++)
		part[i] = dot(e, mixed, some_lanes(e, x, x, i * n, n), some_lanes(e, y, y, i * n, n), some_lanes(e, acc, acc, i * n, n));
	return lanes > most ? some_lanes(e, part[0], part[1], 0, lanes) : some_lanes(e, part[0], part[0], 0, lanes);
}

/* Bytes 0 and 2 of a word, or 1 and 3, as two numbers of 16 bits. */
static Value two_bytes(Emit *e, Value word, bool is_signed, bool upper) {
	if (upper) word = emit_intrinsic(e, "llvm.fshr", e->i32, 3, (Value[]){word, word, emit_i32(e, 8)});
	return machine_intrinsic(e, is_signed ? "llvm.arm.sxtb16" : "llvm.arm.uxtb16", NULL, 1, &word);
}

static Value in_pairs(Emit *e, Value x, bool signed_x, Value y, bool signed_y, Value acc) {
	for (int upper = 0; upper < 2; upper++)
		acc = machine_intrinsic(e, "llvm.arm.smlad", NULL, 3,
		                        (Value[]){two_bytes(e, x, signed_x, upper), two_bytes(e, y, signed_y, upper), acc});
	return acc;
}

/* ---- which of them ---- */

bool words_are_lifted(const Target *t, DType of_x, DType of_y, int lanes) {
	if (lanes == 1 || of_y != DTYPE_I8X4) return false;
	return of_x == DTYPE_I8X4 ? t->has_dot_mixed && !t->has_dot : t->has_dot && !t->has_dot_mixed;
}

Value lower_words_lifted(Emit *e, Value x, DType of_x, Value y, Value acc) {
	Value flip = emit_splat(e, LLVMConstInt(e->i32, 0x80808080, false), emit_lanes(x));
	return dot(e, of_x == DTYPE_I8X4, LLVMBuildXor(e->builder, x, flip, ""), y, acc);
}

Value lower_words(Emit *e, Value x, DType of_x, Value y, DType of_y, Value acc) {
	const Target *t = e->target;
	bool signed_x = of_x == DTYPE_I8X4, signed_y = of_y == DTYPE_I8X4;
	if (emit_lanes(acc) == 1) return (t->has_dot_pairs ? in_pairs : single)(e, x, signed_x, y, signed_y, acc);
	if (words_are_lifted(t, of_x, of_y, emit_lanes(acc))) {
		Value none = LLVMConstNull(LLVMTypeOf(acc)), excess = lower_words_lifted(e, none, of_x, y, none);
		return LLVMBuildSub(e->builder, lower_words_lifted(e, x, of_x, y, acc), excess, "");
	}
	if (signed_x && signed_y && t->has_dot) return dot(e, false, x, y, acc);
	if (signed_x != signed_y && t->has_dot_mixed) return signed_x ? dot(e, true, y, x, acc) : dot(e, true, x, y, acc);
	return in_halves(e, x, signed_x, y, signed_y, acc);
}
