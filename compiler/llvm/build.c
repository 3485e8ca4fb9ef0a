/* build.c: the helpers of emit.h.  In: values of one module.  Out: instructions at the builder's place.  Constants fold, so
 * that the schedules above may be written without cases. */
#include <string.h>

#include <llvm-c/Analysis.h>

#include "compat.h"
#include "emit.h"

/* ---- functions ---- */

void emit_attribute(Emit *e, Value function, const char *name) {
	unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
	if (kind) LLVMAddAttributeAtIndex(function, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(e->context, kind, 0));
	else LLVMAddTargetDependentFunctionAttr(function, name, "");
}

Value emit_function(Emit *e, const char *name, LLVMTypeRef result, int nparams, const LLVMTypeRef *params, bool local) {
	LLVMTypeRef type = LLVMFunctionType(result, (LLVMTypeRef *)params, (unsigned)nparams, false);
	Value function = LLVMAddFunction(e->module, name, type);
	emit_attribute(e, function, "nounwind");
	/* nothing below the stack pointer: frames say all that is used, and interrupts of a kernel or a board may come */
	emit_attribute(e, function, "noredzone");
	if (local) {
		LLVMSetLinkage(function, LLVMInternalLinkage);
		emit_attribute(e, function, "noinline");
	}
	e->function = function;
	e->entry = LLVMAppendBasicBlockInContext(e->context, function, "");
	LLVMPositionBuilderAtEnd(e->builder, e->entry);
	return function;
}

EmitPlace emit_pause(Emit *e) { return (EmitPlace){e->function, e->entry, LLVMGetInsertBlock(e->builder)}; }

void emit_resume(Emit *e, EmitPlace place) {
	e->function = place.function;
	e->entry = place.entry;
	if (place.block) LLVMPositionBuilderAtEnd(e->builder, place.block);
}

Value emit_call(Emit *e, Value function, int nargs, const Value *args) {
	return LLVMBuildCall2(e->builder, LLVMGlobalGetValueType(function), function, (Value *)args, (unsigned)nargs, "");
}

/* ---- constants and vectors ---- */

LLVMTypeRef emit_vector_type(Emit *e, LLVMTypeRef element, int lanes) {
	(void)e;
	return lanes == 1 ? element : LLVMVectorType(element, (unsigned)lanes);
}

int emit_lanes(Value v) {
	LLVMTypeRef type = LLVMTypeOf(v);
	return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(type) : 1;
}

Value emit_index(Emit *e, int64_t value) { return LLVMConstInt(e->index, (unsigned long long)value, true); }
Value emit_i32(Emit *e, int64_t value) { return LLVMConstInt(e->i32, (unsigned long long)value, true); }

static Value constant_splat(Emit *e, Value scalar, int lanes) {
	if (lanes == 1) return scalar;
	Value *all = NEW_ARRAY(e->arena, Value, lanes);
	for (int i = 0; i < lanes; i++) all[i] = scalar;
	return LLVMConstVector(all, (unsigned)lanes);
}

Value emit_f32(Emit *e, double value, int lanes) { return constant_splat(e, LLVMConstReal(e->f32, value), lanes); }

Value emit_splat(Emit *e, Value scalar, int lanes) {
	if (lanes == 1) return scalar;
	if (LLVMIsConstant(scalar)) return constant_splat(e, scalar, lanes);
	Value poison = LLVMGetPoison(emit_vector_type(e, LLVMTypeOf(scalar), lanes));
	Value first = LLVMBuildInsertElement(e->builder, poison, scalar, emit_i32(e, 0), "");
	Value zeros = LLVMConstNull(emit_vector_type(e, e->i32, lanes));
	return LLVMBuildShuffleVector(e->builder, first, poison, zeros, "");
}

Value emit_ramp(Emit *e, LLVMTypeRef element, int lanes) {
	if (lanes == 1) return LLVMConstNull(element);
	Value *all = NEW_ARRAY(e->arena, Value, lanes);
	for (int i = 0; i < lanes; i++) all[i] = LLVMConstInt(element, (unsigned)i, false);
	return LLVMConstVector(all, (unsigned)lanes);
}

Value emit_intrinsic(Emit *e, const char *name, LLVMTypeRef overload, int nargs, const Value *args) {
	unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
	if (!id) die("no intrinsic %s", name);
	Value function = LLVMGetIntrinsicDeclaration(e->module, id, &overload, 1);
	return emit_call(e, function, nargs, args);
}

Value emit_unknown(Emit *e, Value v) {
	if (LLVMIsConstant(v) || e->target->lanes == 1) return v;
	return emit_intrinsic(e, "llvm.arithmetic.fence", LLVMTypeOf(v), 1, &v);
}

/* Asks for the line of cache at a pointer; `near` is 3 for the nearest cache, 2 for the next.  Nothing happens when it is no
 * memory. */
void emit_prefetch(Emit *e, Value pointer, int near) {
	emit_intrinsic(e, "llvm.prefetch", e->ptr, 4, (Value[]){pointer, emit_i32(e, 0), emit_i32(e, near), emit_i32(e, 1)});
}

static bool is_double(Emit *e, Value v) {
	LLVMTypeRef type = LLVMTypeOf(v);
	return (LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetElementType(type) : type) == e->f64;
}

/* Halves to even.  What is so large that it has no fraction passes; below, the sum with 2^23 (2^52) has no bits for one. */
Value emit_rint(Emit *e, Value a) {
	bool wide = is_double(e, a);
	if (wide ? e->target->has_round64 : e->target->has_round) return emit_intrinsic(e, "llvm.rint", LLVMTypeOf(a), 1, &a);
	Value size = emit_intrinsic(e, "llvm.fabs", LLVMTypeOf(a), 1, &a);
	Value large = constant_splat(e, LLVMConstReal(wide ? e->f64 : e->f32, wide ? 0x1p52 : 0x1p23), emit_lanes(a));
	Value whole = LLVMBuildFSub(e->builder, LLVMBuildFAdd(e->builder, size, large, ""), large, "");
	whole = emit_intrinsic(e, "llvm.copysign", LLVMTypeOf(a), 2, (Value[]){whole, a});
	return LLVMBuildSelect(e->builder, LLVMBuildFCmp(e->builder, LLVMRealOLT, size, large, ""), whole, a, "");
}

Value emit_floor(Emit *e, Value a) {
	bool wide = is_double(e, a);
	if (wide ? e->target->has_round64 : e->target->has_round) return emit_intrinsic(e, "llvm.floor", LLVMTypeOf(a), 1, &a);
	Value near = emit_rint(e, a), one = constant_splat(e, LLVMConstReal(wide ? e->f64 : e->f32, 1), emit_lanes(a));
	Value above = LLVMBuildFCmp(e->builder, LLVMRealOGT, near, a, "");
	return LLVMBuildSelect(e->builder, above, LLVMBuildFSub(e->builder, near, one, ""), near, "");
}

Value emit_fma(Emit *e, Value a, Value b, Value c) {
	if (!(is_double(e, a) ? e->target->has_fma64 : e->target->has_fma))
		return LLVMBuildFAdd(e->builder, LLVMBuildFMul(e->builder, a, b, ""), c, "");
	return emit_intrinsic(e, "llvm.fma", LLVMTypeOf(a), 3, (Value[]){a, b, c});
}

/* ---- index arithmetic ---- */

static bool constant(Value v, int64_t *value) {
	if (!LLVMIsAConstantInt(v)) return false;
	*value = LLVMConstIntGetSExtValue(v);
	return true;
}

Value emit_add(Emit *e, Value a, Value b) {
	int64_t x, y;
	bool has_x = constant(a, &x), has_y = constant(b, &y);
	if (has_x && has_y) return LLVMConstInt(LLVMTypeOf(a), (unsigned long long)x + (unsigned long long)y, true);
	if (has_x && x == 0) return b;
	if (has_y && y == 0) return a;
	return LLVMBuildNSWAdd(e->builder, a, b, "");
}

Value emit_sub(Emit *e, Value a, Value b) {
	int64_t x, y;
	bool has_x = constant(a, &x), has_y = constant(b, &y);
	if (has_x && has_y) return LLVMConstInt(LLVMTypeOf(a), (unsigned long long)x - (unsigned long long)y, true);
	if (has_y && y == 0) return a;
	return LLVMBuildNSWSub(e->builder, a, b, "");
}

Value emit_mul(Emit *e, Value a, Value b) {
	int64_t x, y;
	bool has_x = constant(a, &x), has_y = constant(b, &y);
	if (has_x && has_y) return LLVMConstInt(LLVMTypeOf(a), (unsigned long long)x * (unsigned long long)y, true);
	if ((has_x && x == 0) || (has_y && y == 1)) return a;
	if ((has_y && y == 0) || (has_x && x == 1)) return b;
	return LLVMBuildNSWMul(e->builder, a, b, "");
}

Value emit_min(Emit *e, Value a, Value b) {
	int64_t x, y;
	if (a == b) return a;
	if (constant(a, &x) && constant(b, &y)) return x < y ? a : b;
	return emit_intrinsic(e, "llvm.smin", LLVMTypeOf(a), 2, (Value[]){a, b});
}

Value emit_at(Emit *e, Value base, LLVMTypeRef element, Value subscript) {
	int64_t x;
	if (constant(subscript, &x) && x == 0) return base;
	return LLVMBuildGEP2(e->builder, element, base, &subscript, 1, "");
}

Value emit_at_constant(Emit *e, Value base, LLVMTypeRef element, int64_t subscript) {
	return emit_at(e, base, element, emit_index(e, subscript));
}

/* ---- memory ---- */

static unsigned element_bytes(LLVMTypeRef type) {
	if (LLVMGetTypeKind(type) == LLVMVectorTypeKind) type = LLVMGetElementType(type);
	switch (LLVMGetTypeKind(type)) {
	case LLVMIntegerTypeKind: return MAX(1u, LLVMGetIntTypeWidth(type) / 8);
	case LLVMHalfTypeKind:
	case LLVMBFloatTypeKind: return 2;
	case LLVMFloatTypeKind: return 4;
	default: return 8;
	}
}

Value emit_load(Emit *e, LLVMTypeRef element, int lanes, Value pointer) {
	LLVMTypeRef type = emit_vector_type(e, element, lanes);
	Value v = LLVMBuildLoad2(e->builder, type, pointer, "");
	if (LLVMGetTypeKind(element) != LLVMPointerTypeKind) LLVMSetAlignment(v, element_bytes(element));
	return v;
}

void emit_store(Emit *e, Value v, Value pointer) {
	Value store = LLVMBuildStore(e->builder, v, pointer);
	if (LLVMGetTypeKind(LLVMTypeOf(v)) != LLVMPointerTypeKind) LLVMSetAlignment(store, element_bytes(LLVMTypeOf(v)));
}

static Value masked_call(Emit *e, const char *name, bool load, LLVMTypeRef type, Value v, Value pointer, Value mask) {
	unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
	LLVMTypeRef overload[] = {type, e->ptr};
	Value function = LLVMGetIntrinsicDeclaration(e->module, id, overload, 2);
	unsigned alignment = element_bytes(type);
	Value args[4];
	int n = 0;
	if (!load) args[n++] = v;
	int pointer_at = n;
	args[n++] = pointer;
	if (COMPAT_MASKED_HAS_ALIGNMENT) args[n++] = emit_i32(e, alignment);
	args[n++] = mask;
	if (load) args[n++] = LLVMConstNull(type);
	Value call = emit_call(e, function, n, args);
	if (!COMPAT_MASKED_HAS_ALIGNMENT) compat_align_argument(e->context, call, (unsigned)pointer_at, alignment);
	return call;
}

/* A scalar under a mask is a branch: one lane has no masked form. */
static Value load_scalar_masked(Emit *e, LLVMTypeRef element, Value pointer, Value mask) {
	EmitIf branch = emit_if(e, mask);
	Value v = emit_load(e, element, 1, pointer);
	LLVMBasicBlockRef inside = LLVMGetInsertBlock(e->builder);
	emit_end_if(e, &branch);
	Value phi = LLVMBuildPhi(e->builder, element, "");
	LLVMAddIncoming(phi, (Value[]){v, LLVMConstNull(element)}, (LLVMBasicBlockRef[]){inside, branch.otherwise}, 2);
	return phi;
}

Value emit_load_masked(Emit *e, LLVMTypeRef element, int lanes, Value pointer, Value mask) {
	if (lanes == 1) return load_scalar_masked(e, element, pointer, mask);
	return masked_call(e, "llvm.masked.load", true, emit_vector_type(e, element, lanes), NULL, pointer, mask);
}

void emit_store_masked(Emit *e, Value v, Value pointer, Value mask) {
	if (emit_lanes(v) == 1) {
		EmitIf branch = emit_if(e, mask);
		emit_store(e, v, pointer);
		emit_end_if(e, &branch);
		return;
	}
	masked_call(e, "llvm.masked.store", false, LLVMTypeOf(v), v, pointer, mask);
}

static Value constant_mask(Emit *e, int lanes, int n) {
	Value all[64];
	for (int i = 0; i < lanes; i++) all[i] = LLVMConstInt(e->i1, i < n, false);
	return LLVMConstVector(all, (unsigned)lanes);
}

/* Lanes first .. first + n of a, then lanes of undefined content. */
static Value extract_lanes(Emit *e, Value a, int first, int n) {
	if (n == 1) return LLVMBuildExtractElement(e->builder, a, emit_i32(e, first), "");
	Value pick[64];
	for (int i = 0; i < n; i++) pick[i] = emit_i32(e, first + i);
	return LLVMBuildShuffleVector(e->builder, a, LLVMGetPoison(LLVMTypeOf(a)), LLVMConstVector(pick, (unsigned)n), "");
}

static Value insert_lanes(Emit *e, Value into, Value part, int first) {
	int lanes = emit_lanes(into), n = emit_lanes(part);
	if (n == 1) return LLVMBuildInsertElement(e->builder, into, part, emit_i32(e, first), "");
	Value widen[64], pick[64];
	for (int i = 0; i < lanes; i++) widen[i] = i < n ? emit_i32(e, i) : LLVMGetPoison(e->i32);
	for (int i = 0; i < lanes; i++) pick[i] = emit_i32(e, i >= first && i < first + n ? lanes + i - first : i);
	Value wide =
	    LLVMBuildShuffleVector(e->builder, part, LLVMGetPoison(LLVMTypeOf(part)), LLVMConstVector(widen, (unsigned)lanes), "");
	return LLVMBuildShuffleVector(e->builder, into, wide, LLVMConstVector(pick, (unsigned)lanes), "");
}

/* Without masks a partial access is a few whole ones, of 8, 4, 2, 1 lanes. */
Value emit_load_partial(Emit *e, LLVMTypeRef element, int lanes, Value pointer, int n) {
	if (n >= lanes) return emit_load(e, element, lanes, pointer);
	if (e->target->has_mask && element_bytes(element) >= 4)
		return emit_load_masked(e, element, lanes, pointer, constant_mask(e, lanes, n));
	Value v = LLVMConstNull(emit_vector_type(e, element, lanes));
	for (int at = 0, piece = lanes; at < n; piece /= 2)
		for (; at + piece <= n; at += piece)
			v = insert_lanes(e, v, emit_load(e, element, piece, emit_at_constant(e, pointer, element, at)), at);
	return v;
}

void emit_store_partial(Emit *e, Value v, Value pointer, int n) {
	int lanes = emit_lanes(v);
	LLVMTypeRef element = lanes == 1 ? LLVMTypeOf(v) : LLVMGetElementType(LLVMTypeOf(v));
	if (n >= lanes) {
		emit_store(e, v, pointer);
	} else if (e->target->has_mask && element_bytes(element) >= 4) {
		emit_store_masked(e, v, pointer, constant_mask(e, lanes, n));
	} else {
		for (int at = 0, piece = lanes; at < n; piece /= 2)
			for (; at + piece <= n; at += piece)
				emit_store(e, extract_lanes(e, v, at, piece), emit_at_constant(e, pointer, element, at));
	}
}

Value emit_gather(Emit *e, LLVMTypeRef element, Value base, Value subscripts, Value mask) {
	int lanes = emit_lanes(subscripts);
	if (lanes == 1) {
		Value at = emit_at(e, base, element, subscripts);
		return mask ? load_scalar_masked(e, element, at, mask) : emit_load(e, element, 1, at);
	}
	Value pointers = LLVMBuildGEP2(e->builder, element, base, &subscripts, 1, "");
	LLVMTypeRef type = emit_vector_type(e, element, lanes);
	LLVMTypeRef overload[] = {type, emit_vector_type(e, e->ptr, lanes)};
	unsigned id = LLVMLookupIntrinsicID("llvm.masked.gather", strlen("llvm.masked.gather"));
	Value function = LLVMGetIntrinsicDeclaration(e->module, id, overload, 2), args[4];
	int n = 0;
	args[n++] = pointers;
	if (COMPAT_MASKED_HAS_ALIGNMENT) args[n++] = emit_i32(e, element_bytes(element));
	args[n++] = mask ? mask : constant_mask(e, lanes, lanes);
	args[n++] = LLVMConstNull(type);
	Value call = emit_call(e, function, n, args);
	if (!COMPAT_MASKED_HAS_ALIGNMENT) compat_align_argument(e->context, call, 0, element_bytes(element));
	return call;
}

Value emit_tail_mask(Emit *e, int lanes, Value count) {
	if (lanes == 1) return LLVMBuildICmp(e->builder, LLVMIntSGT, count, LLVMConstNull(LLVMTypeOf(count)), "");
	Value narrow = emit_min(e, count, LLVMConstInt(LLVMTypeOf(count), (unsigned)lanes, false));
	if (LLVMTypeOf(count) != e->i32) narrow = LLVMBuildTrunc(e->builder, narrow, e->i32, "");
	return LLVMBuildICmp(e->builder, LLVMIntSGT, emit_splat(e, narrow, lanes), emit_ramp(e, e->i32, lanes), "");
}

Value emit_alloca(Emit *e, LLVMTypeRef type, int64_t count, int alignment) {
	LLVMBasicBlockRef block = LLVMGetInsertBlock(e->builder);
	Value first = LLVMGetFirstInstruction(e->entry);
	if (first) LLVMPositionBuilderBefore(e->builder, first);
	else LLVMPositionBuilderAtEnd(e->builder, e->entry);
	Value v = LLVMBuildArrayAlloca(e->builder, type, emit_i32(e, count), "");
	LLVMSetAlignment(v, (unsigned)alignment);
	LLVMPositionBuilderAtEnd(e->builder, block);
	return v;
}

/* ---- control ---- */

LLVMBasicBlockRef emit_block(Emit *e) { return LLVMAppendBasicBlockInContext(e->context, e->function, ""); }

EmitLoop emit_loop_begin(Emit *e, Value begin, Value end, int64_t step) {
	int64_t x, y;
	EmitLoop loop = {
	    .end = end, .step = emit_index(e, step), .first = begin, .guarded = !(constant(begin, &x) && constant(end, &y) && x < y)};
	loop.body = emit_block(e);
	loop.exit = emit_block(e);
	if (loop.guarded) LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, begin, end, ""), loop.body, loop.exit);
	else LLVMBuildBr(e->builder, loop.body);
	loop.before = LLVMGetInsertBlock(e->builder);
	LLVMPositionBuilderAtEnd(e->builder, loop.body);
	loop.i = LLVMBuildPhi(e->builder, e->index, "");
	return loop;
}

Value emit_loop_carry(Emit *e, EmitLoop *loop, Value init) {
	if (loop->ncarried == MAX_CARRIED) die("more than %d carried values", MAX_CARRIED);
	int n = loop->ncarried++;
	LLVMBasicBlockRef block = LLVMGetInsertBlock(e->builder);
	Value first = LLVMGetNextInstruction(loop->i);
	while (first && LLVMIsAPHINode(first)) first = LLVMGetNextInstruction(first);
	if (first) LLVMPositionBuilderBefore(e->builder, first);
	else LLVMPositionBuilderAtEnd(e->builder, loop->body);
	loop->init[n] = init;
	loop->phi[n] = loop->next[n] = LLVMBuildPhi(e->builder, LLVMTypeOf(init), "");
	LLVMPositionBuilderAtEnd(e->builder, block);
	return loop->phi[n];
}

void emit_loop_next(Emit *e, EmitLoop *loop, int n, Value next) {
	(void)e;
	loop->next[n] = next;
}

void emit_loop_end(Emit *e, EmitLoop *loop) {
	LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->builder), before = loop->before;
	Value next = LLVMBuildNSWAdd(e->builder, loop->i, loop->step, "");
	LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, next, loop->end, ""), loop->body, loop->exit);
	LLVMAddIncoming(loop->i, (Value[]){loop->first, next}, (LLVMBasicBlockRef[]){before, latch}, 2);
	LLVMPositionBuilderAtEnd(e->builder, loop->exit);
	for (int n = 0; n < loop->ncarried; n++) {
		LLVMAddIncoming(loop->phi[n], (Value[]){loop->init[n], loop->next[n]}, (LLVMBasicBlockRef[]){before, latch}, 2);
		loop->result[n] = loop->next[n];
		if (loop->guarded) {
			loop->result[n] = LLVMBuildPhi(e->builder, LLVMTypeOf(loop->init[n]), "");
			LLVMAddIncoming(loop->result[n], (Value[]){loop->init[n], loop->next[n]}, (LLVMBasicBlockRef[]){before, latch}, 2);
		}
	}
}

EmitIf emit_if(Emit *e, Value condition) {
	LLVMBasicBlockRef inside = emit_block(e);
	EmitIf branch = {.otherwise = emit_block(e), .after = emit_block(e)};
	LLVMBuildCondBr(e->builder, condition, inside, branch.otherwise);
	LLVMPositionBuilderAtEnd(e->builder, inside);
	return branch;
}

void emit_else(Emit *e, EmitIf *branch) {
	LLVMBuildBr(e->builder, branch->after);
	LLVMPositionBuilderAtEnd(e->builder, branch->otherwise);
	branch->has_else = true;
}

void emit_end_if(Emit *e, EmitIf *branch) {
	LLVMBuildBr(e->builder, branch->after);
	if (!branch->has_else) {
		LLVMPositionBuilderAtEnd(e->builder, branch->otherwise);
		LLVMBuildBr(e->builder, branch->after);
	}
	LLVMPositionBuilderAtEnd(e->builder, branch->after);
}
