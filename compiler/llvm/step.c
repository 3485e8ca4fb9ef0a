/* step.c: in: a planned KernelProgram; out: its entry point  void NAME(Frame *, int64_t tid, int64_t nworkers),
 * which every worker runs: straight-line calls of kernels, each worker with its share of rows, and barriers; a scan is a loop
 * around such a line.
 * Guarantees: no other loops, no allocation; the Frame is only read. */
#include "lower.h"

typedef struct Entry {
	Emit *e;
	Value frame, tid, persistent, *io, scratch;
} Entry;

/* The kernels' functions of a program, and of the bodies of its scans, by kernel. */
typedef struct ProgramCode { KernelCode *kernels; struct ProgramCode **bodies; } ProgramCode;

/* A program where its calls are written.  Of a body: its turn's number (from 0) and index. */
typedef struct Scope {
	Entry *entry;
	const KernelProgram *kp;
	const struct Scope *around;
	Value arena, turn, index;
} Scope;

enum { FRAME_PERSISTENT, FRAME_ARENA, FRAME_BARRIER, FRAME_CONTEXT, FRAME_IO };

static Value load_pointer(Emit *e, Value base, int64_t number) {
	return emit_load(e, e->ptr, 1, emit_at_constant(e, base, e->ptr, number));
}

static Value buffer_address(const Scope *s, int number);

/* In the program around, at the present turn. */
static Value outer_address(const Scope *s, const Buffer *b) {
	Emit *e = s->entry->e;
	Value base = buffer_address(s->around, b->outer[0]);
	if (b->outer[1] != b->outer[0]) {
		Value odd = LLVMBuildTrunc(e->builder, s->turn, e->i1, "");
		base = LLVMBuildSelect(e->builder, odd, buffer_address(s->around, b->outer[1]), base, "");
	}
	if (b->offset) base = emit_at_constant(e, base, e->i8, (int64_t)b->offset);
	return b->step ? emit_at(e, base, e->i8, emit_mul(e, s->index, emit_index(e, b->step))) : base;
}

static Value buffer_address(const Scope *s, int number) {
	const Entry *entry = s->entry;
	const Buffer *b = &s->kp->buffers.data[number];
	if (b->kind == BUFFER_IO) return entry->io[b->io];
	if (b->kind == BUFFER_OUTER) return outer_address(s, b);
	return emit_at_constant(entry->e, b->kind == BUFFER_ARENA ? s->arena : entry->persistent, entry->e->i8, (int64_t)b->offset);
}

static void call_kernel(const Scope *s, const Kernel *k, const KernelCode *code) {
	Emit *e = s->entry->e;
	Value tid = s->entry->tid;
	int nargs = code->nbuffers + 1 + code->sites.length + code->index + 2;
	Value *args = NEW_ARRAY(e->arena, Value, nargs);
	Value begin = emit_index(e, 0), end = emit_index(e, k->rows);
	EmitIf only;
	bool guarded = s->kp->workers > 1;
	if (k->workers > 1) {
		int64_t share = kernel_share(k);
		begin = emit_min(e, emit_mul(e, tid, emit_index(e, share)), end);
		end = emit_min(e, emit_add(e, begin, emit_index(e, share)), end);
		only = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntSLT, begin, end, ""));
	} else if (guarded) {
		only = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntEQ, tid, emit_index(e, 0), ""));
	}
	for (int i = 0; i < code->nbuffers; i++) args[i] = buffer_address(s, code->buffers[i]);
	args[code->nbuffers] = s->entry->scratch;
	for (int i = 0; i < code->sites.length; i++)
		args[code->nbuffers + 1 + i] = LLVMConstInt(e->i64, (uint64_t)code->sites.data[i], false);
	if (code->index) args[nargs - 3] = LLVMBuildIntCast2(e->builder, s->index, e->i32, true, "");
	args[nargs - 2] = begin;
	args[nargs - 1] = end;
	emit_call(e, code->function, nargs, args);
	if (guarded) emit_end_if(e, &only);
}

static void call_barrier(const Entry *s) {
	Emit *e = s->e;
	LLVMTypeRef params[2] = {e->ptr, e->i64};
	LLVMTypeRef type = LLVMFunctionType(e->void_type, params, 2, false);
	Value tid = LLVMBuildIntCast2(e->builder, s->tid, e->i64, true, "");
	Value args[2] = {load_pointer(e, s->frame, FRAME_CONTEXT), tid};
	LLVMBuildCall2(e->builder, type, load_pointer(e, s->frame, FRAME_BARRIER), args, 2, "");
}

static void call_kernels(const Scope *s, const ProgramCode *code);

/* The loop; one worker runs the whole of it when it runs every kernel within, unless each runs turns of its own. */
static void call_scan(const Scope *around, const Kernel *k, const ProgramCode *code) {
	Entry *entry = around->entry;
	Emit *e = entry->e;
	int64_t count = scan_count(k->scan);
	bool reversed = k->scan->list[1].data[0], guarded = around->kp->workers > 1 && k->body->workers == 1 && !k->dealt;
	Value begin = emit_index(e, 0), end = emit_index(e, count);
	EmitIf only;
	if (guarded) only = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntEQ, entry->tid, emit_index(e, 0), ""));
	Scope s = {.entry = entry, .kp = k->body, .around = around, .arena = buffer_address(around, k->body->arena_buffer)};
	if (k->dealt) {
		Value share = emit_index(e, kernel_share(k)), own = emit_index(e, (int64_t)k->body->arena_bytes);
		begin = emit_min(e, emit_mul(e, entry->tid, share), end);
		end = emit_min(e, emit_add(e, begin, share), end);
		s.arena = emit_at(e, s.arena, e->i8, emit_mul(e, entry->tid, own));
	}
	EmitLoop turns = emit_loop_begin(e, begin, end, 1);
	s.turn = turns.i;
	s.index = reversed ? emit_sub(e, emit_index(e, count - 1), turns.i) : turns.i;
	if (k->body->barrier_between) {
		EmitIf later = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntNE, turns.i, emit_index(e, 0), ""));
		call_barrier(entry);
		emit_end_if(e, &later);
	}
	call_kernels(&s, code);
	emit_loop_end(e, &turns);
	if (guarded) emit_end_if(e, &only);
}

static void call_kernels(const Scope *s, const ProgramCode *code) {
	for (int i = 0; i < s->kp->kernels.length; i++) {
		const Kernel *k = &s->kp->kernels.data[i];
		if (k->barrier_before) call_barrier(s->entry);
		if (k->body) call_scan(s, k, code->bodies[i]);
		else call_kernel(s, k, &code->kernels[i]);
	}
}

static ProgramCode *lower_program(Emit *e, const KernelProgram *kp, KernelCodes *made) {
	ProgramCode *code = NEW(e->arena, ProgramCode);
	code->kernels = NEW_ARRAY(e->arena, KernelCode, kp->kernels.length + 1);
	code->bodies = NEW_ARRAY(e->arena, ProgramCode *, kp->kernels.length + 1);
	for (int i = 0; i < kp->kernels.length; i++) {
		const Kernel *k = &kp->kernels.data[i];
		if (k->body) code->bodies[i] = lower_program(e, k->body, made);
		else code->kernels[i] = lower_kernel(e, kp, k, made);
	}
	return code;
}

void lower_entry(Emit *e, const KernelProgram *kp, const char *name) {
	KernelCodes made = {.prefix = kp->fn->name};
	const ProgramCode *code = lower_program(e, kp, &made);
	LLVMTypeRef params[3] = {e->ptr, e->i64, e->i64};
	Value function = emit_function(e, name, e->void_type, 3, params, false);
	Entry entry = {.e = e, .frame = LLVMGetParam(function, 0), .io = NEW_ARRAY(e->arena, Value, kp->nio + 1)};
	Scope s = {.entry = &entry, .kp = kp};
	entry.tid = LLVMBuildIntCast2(e->builder, LLVMGetParam(function, 1), e->index, true, "");
	entry.persistent = load_pointer(e, entry.frame, FRAME_PERSISTENT);
	s.arena = load_pointer(e, entry.frame, FRAME_ARENA);
	Value io = load_pointer(e, entry.frame, FRAME_IO);
	for (int i = 0; i < kp->nio; i++) entry.io[i] = load_pointer(e, io, i);
	Value offset = emit_add(e, emit_mul(e, entry.tid, emit_index(e, (int64_t)kp->scratch_bytes)),
	                        emit_index(e, (int64_t)kp->scratch_offset));
	entry.scratch = emit_at(e, s.arena, e->i8, offset);
	call_kernels(&s, code);
	LLVMBuildRetVoid(e->builder);
}
