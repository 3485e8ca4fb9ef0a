/* step.c: in: a planned KernelProgram; out: its entry point  void NAME(Frame *, int64_t tid, int64_t nworkers),
 * which every worker runs: straight-line calls of kernels, each worker with its share of rows, and barriers.
 * Guarantees: no loops, no allocation; the Frame is only read. */
#include "lower.h"

typedef struct Entry {
	Emit *e;
	const KernelProgram *kp;
	Value frame, tid, persistent, arena, *io, scratch;
} Entry;

enum { FRAME_PERSISTENT, FRAME_ARENA, FRAME_BARRIER, FRAME_CONTEXT, FRAME_IO };

static Value load_pointer(Emit *e, Value base, int64_t number) {
	return emit_load(e, e->ptr, 1, emit_at_constant(e, base, e->ptr, number));
}

static Value buffer_address(Entry *s, int number) {
	const Buffer *b = &s->kp->buffers.data[number];
	if (b->kind == BUFFER_IO) return s->io[b->io];
	return emit_at_constant(s->e, b->kind == BUFFER_ARENA ? s->arena : s->persistent, s->e->i8, (int64_t)b->offset);
}

static void call_kernel(Entry *s, const Kernel *k, const KernelCode *code) {
	Emit *e = s->e;
	int nargs = code->nbuffers + 1 + code->sites.length + 2;
	Value *args = NEW_ARRAY(e->arena, Value, nargs);
	Value begin = emit_index(e, 0), end = emit_index(e, k->rows);
	EmitIf only;
	bool guarded = s->kp->workers > 1;
	if (k->workers > 1) {
		int64_t share = kernel_share(k);
		begin = emit_min(e, emit_mul(e, s->tid, emit_index(e, share)), end);
		end = emit_min(e, emit_add(e, begin, emit_index(e, share)), end);
		only = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntSLT, begin, end, ""));
	} else if (guarded) {
		only = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntEQ, s->tid, emit_index(e, 0), ""));
	}
	for (int i = 0; i < code->nbuffers; i++) args[i] = buffer_address(s, code->buffers[i]);
	args[code->nbuffers] = s->scratch;
	for (int i = 0; i < code->sites.length; i++)
		args[code->nbuffers + 1 + i] = LLVMConstInt(e->i64, (uint64_t)code->sites.data[i], false);
	args[nargs - 2] = begin;
	args[nargs - 1] = end;
	emit_call(e, code->function, nargs, args);
	if (guarded) emit_end_if(e, &only);
}

static void call_barrier(Entry *s) {
	Emit *e = s->e;
	LLVMTypeRef params[2] = {e->ptr, e->i64};
	LLVMTypeRef type = LLVMFunctionType(e->void_type, params, 2, false);
	Value tid = LLVMBuildIntCast2(e->builder, s->tid, e->i64, true, "");
	Value args[2] = {load_pointer(e, s->frame, FRAME_CONTEXT), tid};
	LLVMBuildCall2(e->builder, type, load_pointer(e, s->frame, FRAME_BARRIER), args, 2, "");
}

void lower_entry(Emit *e, const KernelProgram *kp, const char *name) {
	KernelCode *codes = NEW_ARRAY(e->arena, KernelCode, kp->kernels.length + 1);
	for (int i = 0; i < kp->kernels.length; i++) codes[i] = lower_kernel(e, kp, i, codes);
	LLVMTypeRef params[3] = {e->ptr, e->i64, e->i64};
	Value function = emit_function(e, name, e->void_type, 3, params, false);
	Entry s = {.e = e, .kp = kp, .frame = LLVMGetParam(function, 0), .io = NEW_ARRAY(e->arena, Value, kp->nio + 1)};
	s.tid = LLVMBuildIntCast2(e->builder, LLVMGetParam(function, 1), e->index, true, "");
	s.persistent = load_pointer(e, s.frame, FRAME_PERSISTENT);
	s.arena = load_pointer(e, s.frame, FRAME_ARENA);
	Value io = load_pointer(e, s.frame, FRAME_IO);
	for (int i = 0; i < kp->nio; i++) s.io[i] = load_pointer(e, io, i);
	Value offset =
	    emit_add(e, emit_mul(e, s.tid, emit_index(e, (int64_t)kp->scratch_bytes)), emit_index(e, (int64_t)kp->scratch_offset));
	s.scratch = emit_at(e, s.arena, e->i8, offset);
	for (int i = 0; i < kp->kernels.length; i++) {
		if (kp->kernels.data[i].barrier_before) call_barrier(&s);
		call_kernel(&s, &kp->kernels.data[i], &codes[i]);
	}
	LLVMBuildRetVoid(e->builder);
}
