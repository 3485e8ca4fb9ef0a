/* guard.c: in: what a function of an object was called with; out: the code by which it returns where that cannot be right.
 * Guarantees: nothing is written; no array is read before its pointer and the block's head have been looked at. */
#include "guard.h"

enum { BLOCK_ALIGN = 64 };

void refuse(Abi *abi, Value bad, int code) {
	Emit *e = abi->e;
	EmitIf branch = emit_if(e, bad);
	LLVMBuildRet(e->builder, emit_i32(e, code));
	LLVMPositionBuilderAtEnd(e->builder, LLVMAppendBasicBlockInContext(e->context, e->function, ""));   /* never reached */
	emit_end_if(e, &branch);
}

static Value either(Emit *e, Value a, Value b) { return a ? LLVMBuildOr(e->builder, a, b, "") : b; }

/* The bits of an address that must be 0. */
static Value odd_bits(Emit *e, Value pointer, int64_t alignment) {
	return LLVMBuildAnd(e->builder, LLVMBuildPtrToInt(e->builder, pointer, e->index, ""), emit_index(e, alignment - 1), "");
}

void guard_blocks(Abi *abi, const Value *blocks, int n) {
	Emit *e = abi->e;
	Value null = NULL, odd = NULL;
	for (int i = 0; i < n; i++) {
		null = either(e, null, LLVMBuildIsNull(e->builder, blocks[i], ""));
		odd = either(e, odd, odd_bits(e, blocks[i], BLOCK_ALIGN));
	}
	refuse(abi, null, EMBED_NULL_POINTER);
	refuse(abi, LLVMBuildIsNotNull(e->builder, odd, ""), EMBED_MISALIGNED);
}

static void guard_word(Abi *abi, Value base, size_t offset, LLVMTypeRef type, uint64_t wanted) {
	Emit *e = abi->e;
	Value word = emit_load(e, type, 1, emit_at_constant(e, base, e->i8, (int64_t)offset));
	refuse(abi, LLVMBuildICmp(e->builder, LLVMIntNE, word, LLVMConstInt(type, wanted, false), ""), EMBED_BAD_BLOCK);
}

void guard_params(Abi *abi, Value params) {
	guard_word(abi, params, offsetof(nnc_head, id), abi->e->i64, abi->embed->params_id);
	guard_word(abi, params, offsetof(nnc_head, abi), abi->e->i32, EMBED_ABI);
}

void guard_train(Abi *abi, Value train) {
	guard_params(abi, train);
	guard_word(abi, train, abi->embed->id_offset, abi->e->i64, abi->embed->train_id);
}

void guard_arrays(Abi *abi, const EmbedArray *arrays, int n, int first, Value samples) {
	Emit *e = abi->e;
	Value null = NULL, odd = NULL;
	for (int i = 0; i < n; i++) {
		Value array = LLVMGetParam(e->function, (unsigned)(first + i));
		null = either(e, null, LLVMBuildIsNull(e->builder, array, ""));
		if (dtype_info[arrays[i].dtype].bytes > 1) odd = either(e, odd, odd_bits(e, array, dtype_info[arrays[i].dtype].bytes));
	}
	if (null && samples) null = LLVMBuildAnd(e->builder, null, LLVMBuildIsNotNull(e->builder, samples, ""), "");
	if (null) refuse(abi, null, EMBED_NULL_POINTER);
	if (odd) refuse(abi, LLVMBuildIsNotNull(e->builder, odd, ""), EMBED_MISALIGNED);
}

void guard_count(Abi *abi, const EmbedModel *m, Value samples) {
	Emit *e = abi->e;
	int64_t most = e->target->pointer_bits > 32 ? INT64_MAX : INT32_MAX, largest = 1;
	for (int i = 0; i < m->ninputs + m->noutputs; i++) {
		const EmbedArray *a = i < m->ninputs ? &m->inputs[i] : &m->outputs[i - m->ninputs];
		if (a->batched) largest = MAX(largest, a->count * dtype_info[a->dtype].bytes);
	}
	refuse(abi, LLVMBuildICmp(e->builder, LLVMIntUGT, samples, emit_index(e, most / largest), ""), EMBED_BAD_COUNT);
}

/* ---- elements ---- */

/* All of array[0 .. count) in 0 .. classes - 1? */
static Value check_function(Abi *abi, DType dtype) {
	Emit *e = abi->e;
	if (abi->check[dtype]) return abi->check[dtype];
	EmitPlace place = emit_pause(e);
	LLVMTypeRef params[3] = {e->ptr, e->index, e->i32};
	Value f = emit_function(e, arena_printf(e->arena, "check.%s", dtype_info[dtype].text), e->i1, 3, params, true);
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(f, 1), 1);
	Value good = emit_loop_carry(e, &loop, LLVMConstInt(e->i1, 1, false));
	Value x = emit_load(e, lower_memory_type(e, dtype), 1, emit_at(e, LLVMGetParam(f, 0), lower_memory_type(e, dtype), loop.i));
	if (dtype_info[dtype].bytes < 4)
		x = dtype == DTYPE_I8 ? LLVMBuildSExt(e->builder, x, e->i32, "") : LLVMBuildZExt(e->builder, x, e->i32, "");
	Value inside = LLVMBuildICmp(e->builder, LLVMIntULT, x, LLVMGetParam(f, 2), "");
	emit_loop_next(e, &loop, 0, LLVMBuildAnd(e->builder, good, inside, ""));
	emit_loop_end(e, &loop);
	LLVMBuildRet(e->builder, loop.result[0]);
	emit_resume(e, place);
	return abi->check[dtype] = f;
}

void guard_classes(Abi *abi, const EmbedArray *inputs, int n, int first, Value samples) {
	Emit *e = abi->e;
	for (int i = 0; i < n; i++) {
		const EmbedArray *in = &inputs[i];
		if (in->classes <= 0 || dtype_is_float(in->dtype)) continue;
		Value f = check_function(abi, in->dtype), count = emit_index(e, in->count);
		if (in->batched && samples) count = emit_mul(e, samples, count);
		Value array = LLVMGetParam(e->function, (unsigned)(first + i));
		Value good = emit_call(e, f, 3, (Value[]){array, count, emit_i32(e, in->classes)});
		refuse(abi, LLVMBuildNot(e->builder, good, ""), EMBED_BAD_CLASS);
	}
}

/* The bits that are all set in infinities and nans, and in nothing else. */
static uint64_t exponent_bits(DType dtype) {
	switch (dtype) {
	case DTYPE_F16: return 0x7c00;
	case DTYPE_BF16: return 0x7f80;
	case DTYPE_F64: return 0x7ff0000000000000u;
	default: return 0x7f800000;
	}
}

/* Of `lanes` elements each turn: the largest exponent among those from 0 to before `end` and, where there are lanes, from `end`
 * on. */
static Value largest_exponent(Emit *e, Value array, Value end, LLVMTypeRef type, int lanes, uint64_t bits) {
	Value mask = emit_splat(e, LLVMConstInt(type, bits, false), lanes);
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), end, lanes);
	Value most = emit_loop_carry(e, &loop, LLVMConstNull(emit_vector_type(e, type, lanes)));
	Value x = LLVMBuildAnd(e->builder, emit_load(e, type, lanes, emit_at(e, array, type, loop.i)), mask, "");
	emit_loop_next(e, &loop, 0, emit_intrinsic(e, "llvm.umax", LLVMTypeOf(x), 2, (Value[]){most, x}));
	emit_loop_end(e, &loop);
	if (lanes == 1) return loop.result[0];
	Value last = LLVMBuildAnd(e->builder, emit_load(e, type, lanes, emit_at(e, array, type, end)), mask, "");
	last = emit_intrinsic(e, "llvm.umax", LLVMTypeOf(last), 2, (Value[]){loop.result[0], last});
	return emit_intrinsic(e, "llvm.vector.reduce.umax", LLVMTypeOf(last), 1, &last);
}

/* Is every element of array[0 .. count) a number?  The last vector goes over some elements again. */
static Value finite_function(Abi *abi, DType dtype) {
	Emit *e = abi->e;
	if (abi->finite[dtype]) return abi->finite[dtype];
	EmitPlace place = emit_pause(e);
	int bytes = dtype_info[dtype].bytes, lanes = e->target->lanes;
	LLVMTypeRef type = bytes == 8 ? e->i64 : bytes == 4 ? e->i32 : e->i16, params[2] = {e->ptr, e->index};
	Value f = emit_function(e, arena_printf(e->arena, "finite.%s", dtype_info[dtype].text), e->i1, 2, params, true);
	Value array = LLVMGetParam(f, 0), count = LLVMGetParam(f, 1), limit = LLVMConstInt(type, exponent_bits(dtype), false);
	if (lanes > 1) {
		EmitIf many = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntUGE, count, emit_index(e, lanes), ""));
		Value most = largest_exponent(e, array, emit_sub(e, count, emit_index(e, lanes)), type, lanes, exponent_bits(dtype));
		LLVMBuildRet(e->builder, LLVMBuildICmp(e->builder, LLVMIntNE, most, limit, ""));
		LLVMPositionBuilderAtEnd(e->builder, LLVMAppendBasicBlockInContext(e->context, e->function, ""));
		emit_end_if(e, &many);
	}
	Value most = largest_exponent(e, array, count, type, 1, exponent_bits(dtype));
	LLVMBuildRet(e->builder, LLVMBuildICmp(e->builder, LLVMIntNE, most, limit, ""));
	emit_resume(e, place);
	return abi->finite[dtype] = f;
}

void guard_finite(Abi *abi, const EmbedArray *inputs, int n, int first) {
	Emit *e = abi->e;
	for (int i = 0; i < n; i++) {
		if (!dtype_is_float(inputs[i].dtype)) continue;
		Value f = finite_function(abi, inputs[i].dtype), array = LLVMGetParam(e->function, (unsigned)(first + i));
		Value good = emit_call(e, f, 2, (Value[]){array, emit_index(e, inputs[i].count)});
		refuse(abi, LLVMBuildNot(e->builder, good, ""), EMBED_NOT_FINITE);
	}
}
