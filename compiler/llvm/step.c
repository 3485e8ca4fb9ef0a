/* step.c: in: a planned KernelProgram; out: its entry point  void NAME(Frame *, int64_t tid, int64_t nworkers),
 * which every worker runs: a line of calls of kernels, each worker with its share of rows, and barriers; a scan is a loop
 * around such a line.  A long line is a table: one call of each function, in a loop over what the calls differ by, so that
 * neither code nor its generation grows with the depth of a net whose blocks are alike.
 * Guarantees: no other loops, no allocation; the Frame is only read. */
#include "lower.h"

enum { MOST_WRITTEN_OUT = 64 };   /* calls of a line that is no table */

typedef struct Entry {
	Emit *e;
	Value frame, tid, persistent, *io, scratch;
	Value bases;             /* of a table: arena, persistent, io.. */
	int base_bits;           /* of a word of the table that say which base; the others are the offset */
} Entry;

/* The kernels' functions of a program, and of the bodies of its scans, by kernel. */
typedef struct ProgramCode { KernelCode *kernels; struct ProgramCode **bodies; } ProgramCode;

/* A program where its calls are written.  Of a body: its turn's number (from 0) and index.  record: of a table: the words of
 * the present call. */
typedef struct Scope {
	Entry *entry;
	const KernelProgram *kp;
	const struct Scope *around;
	Value arena, turn, index, record;
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
	if (b->within) return emit_at_constant(entry->e, buffer_address(s, b->within - 1), entry->e->i8, (int64_t)b->offset);
	if (b->kind == BUFFER_IO) return entry->io[b->io];
	if (b->kind == BUFFER_OUTER) return outer_address(s, b);
	return emit_at_constant(entry->e, b->kind == BUFFER_ARENA ? s->arena : entry->persistent, entry->e->i8, (int64_t)b->offset);
}

/* ---- words of a table ---- */

enum { BASE_ARENA, BASE_PERSISTENT, BASE_IO };

static int64_t address_word(const Entry *entry, const KernelProgram *kp, int number) {
	const Buffer *b = &kp->buffers.data[whole_buffer(kp, number)];
	int64_t base = b->kind == BUFFER_ARENA ? BASE_ARENA : b->kind == BUFFER_IO ? BASE_IO + b->io : BASE_PERSISTENT;
	int64_t offset = b->kind == BUFFER_IO ? 0 : (int64_t)b->offset;
	if (b != &kp->buffers.data[number]) offset += (int64_t)kp->buffers.data[number].offset;
	return (int64_t)((uint64_t)offset << entry->base_bits) + base;
}

static Value record_word(const Scope *s, int word) {
	Emit *e = s->entry->e;
	return emit_load(e, e->i64, 1, emit_at_constant(e, s->record, e->i64, word));
}

static Value record_address(const Scope *s, int word) {
	Emit *e = s->entry->e;
	Value packed = record_word(s, word), bits = LLVMConstInt(e->i64, (unsigned)s->entry->base_bits, false);
	Value mask = LLVMConstInt(e->i64, ((uint64_t)1 << s->entry->base_bits) - 1, false);
	Value number = LLVMBuildAnd(e->builder, packed, mask, ""), offset = LLVMBuildLShr(e->builder, packed, bits, "");
	number = LLVMBuildIntCast2(e->builder, number, e->index, false, "");
	offset = LLVMBuildIntCast2(e->builder, offset, e->index, false, "");
	return emit_at(e, emit_load(e, e->ptr, 1, emit_at(e, s->entry->bases, e->ptr, number)), e->i8, offset);
}

/* ---- calls ---- */

/* A worker's rows of a kernel. */
typedef struct Share { Value begin, end; } Share;

static Share share_of(const Scope *s, const Kernel *k) {
	Emit *e = s->entry->e;
	Share x = {emit_index(e, 0), emit_index(e, k->rows)};
	if (k->workers == 1) return x;
	Value share = emit_index(e, kernel_share(k));
	x.begin = emit_min(e, emit_mul(e, s->entry->tid, share), x.end);
	x.end = emit_min(e, emit_add(e, x.begin, share), x.end);
	return x;
}

/* Does the worker take part in `k`?  NULL: it is the only one. */
static Value takes_part(const Scope *s, const Kernel *k, Share x) {
	Emit *e = s->entry->e;
	if (s->kp->workers == 1) return NULL;
	if (k->workers > 1) return LLVMBuildICmp(e->builder, LLVMIntSLT, x.begin, x.end, "");
	return LLVMBuildICmp(e->builder, LLVMIntEQ, s->entry->tid, emit_index(e, 0), "");
}

/* Where row 0 of a buffer at `base` would be, of which the worker has rows `begin` and on. */
static Value whole_address(const Entry *entry, const Buffer *b, Value base, Value begin) {
	Emit *e = entry->e;
	if (!b->part) return base;
	Value own = emit_mul(e, entry->tid, emit_index(e, (int64_t)buffer_part_bytes(b)));
	return emit_at(e, base, e->i8, emit_sub(e, own, emit_mul(e, begin, emit_index(e, buffer_row_bytes(b)))));
}

/* Of the rows `x`. */
static void call_kernel(const Scope *s, const KernelCode *code, Share x) {
	Emit *e = s->entry->e;
	int nargs = code->nbuffers + 1 + code->sites.length + code->index + 2;
	Value *args = NEW_ARRAY(e->arena, Value, nargs);
	for (int i = 0; i < code->nbuffers; i++) {
		args[i] = s->record ? record_address(s, i) : buffer_address(s, code->buffers[i]);
		args[i] = whole_address(s->entry, &s->kp->buffers.data[code->buffers[i]], args[i], x.begin);
	}
	args[code->nbuffers] = s->entry->scratch;
	for (int i = 0; i < code->sites.length; i++)
		args[code->nbuffers + 1 + i] = s->record ? record_word(s, code->nbuffers + i)
		                                         : LLVMConstInt(e->i64, (uint64_t)code->sites.data[i], false);
	if (code->index) args[nargs - 3] = LLVMBuildIntCast2(e->builder, s->index, e->i32, true, "");
	args[nargs - 2] = x.begin;
	args[nargs - 1] = x.end;
	emit_call(e, code->function, nargs, args);
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

/* Kernel `i` of a line, or those that run together from there on, some rows at a time; returns their number. */
static int call_together(const Scope *s, const ProgramCode *code, int i) {
	Emit *e = s->entry->e;
	const Kernel *k = &s->kp->kernels.data[i];
	int count = MAX(1, k->together);
	Share x = share_of(s, k);
	Value only = takes_part(s, k, x);
	EmitIf branch;
	EmitLoop parts;
	if (only) branch = emit_if(e, only);
	if (k->together) {
		parts = emit_loop_begin(e, x.begin, x.end, k->part);
		x = (Share){parts.i, emit_min(e, emit_add(e, parts.i, emit_index(e, k->part)), x.end)};
	}
	for (int n = 0; n < count; n++) call_kernel(s, &code->kernels[i + n], x);
	if (k->together) emit_loop_end(e, &parts);
	if (only) emit_end_if(e, &branch);
	return count;
}

static void call_kernels(const Scope *s, const ProgramCode *code) {
	for (int i = 0, count; i < s->kp->kernels.length; i += count) {
		const Kernel *k = &s->kp->kernels.data[i];
		count = 1;
		if (k->barrier_before) call_barrier(s->entry);
		if (k->body) call_scan(s, k, code->bodies[i]);
		else count = call_together(s, code, i);
	}
}

/* ---- a table ---- */

/* A case: one of the functions, or a scan, and the first of its calls; length: words of each. */
typedef struct Case { int first, length; } Case;
typedef struct Table {
	VEC(Case) cases;
	VEC(int64_t) words;      /* of a call: see HEAD and on; addresses; sites */
	bool barriers;
} Table;

/* HEAD: twice the case, and one more after a barrier.  Of kernels that run together, PART: rows of a call; BACK: of the last of
 * them, the words from there to the first.  Else 0. */
enum { HEAD, PART, BACK, CALL_WORDS };

static int find_case(const Scope *s, const ProgramCode *code, Table *t, int kernel) {
	const KernelCode *own = &code->kernels[kernel];
	for (int i = 0; i < t->cases.length && own->function; i++)
		if (code->kernels[t->cases.data[i].first].function == own->function) return i;
	Case c = {.first = kernel, .length = CALL_WORDS + own->nbuffers + own->sites.length};
	vec_push(s->entry->e->arena, &t->cases, c);
	return t->cases.length - 1;
}

/* All words as one constant, lowest byte first, as every target has them: a constant each would be work that grows with depth. */
static Value words_as_bytes(Emit *e, const int64_t *words, int n) {
	char *bytes = NEW_ARRAY(e->arena, char, 8 * n + 1);
	for (int i = 0; i < 8 * n; i++) bytes[i] = (char)((uint64_t)words[i / 8] >> (i % 8 * 8) & 255);
	return LLVMConstStringInContext2(e->context, bytes, 8 * (size_t)n, true);
}

static Value make_table(const Scope *s, const ProgramCode *code, Table *t) {
	Emit *e = s->entry->e;
	int start = 0, left = 0;   /* where those that run together begin, and how many are to come */
	for (int i = 0; i < s->kp->kernels.length; i++) {
		const KernelCode *own = &code->kernels[i];
		const Kernel *k = &s->kp->kernels.data[i];
		int64_t head = 2 * (int64_t)find_case(s, code, t, i) + k->barrier_before;
		t->barriers = t->barriers || k->barrier_before;
		if (k->together) start = t->words.length, left = k->together;
		int64_t back = left > 0 && --left == 0 ? t->words.length - start : 0;
		vec_push(e->arena, &t->words, head);
		vec_push(e->arena, &t->words, k->part);
		vec_push(e->arena, &t->words, back);
		for (int b = 0; b < own->nbuffers; b++) vec_push(e->arena, &t->words, address_word(s->entry, s->kp, own->buffers[b]));
		for (int n = 0; n < own->sites.length; n++) vec_push(e->arena, &t->words, own->sites.data[n]);
	}
	Value array = words_as_bytes(e, t->words.data, t->words.length);
	Value global = LLVMAddGlobal(e->module, LLVMTypeOf(array), arena_printf(e->arena, "%s.calls", s->kp->fn->name));
	LLVMSetInitializer(global, array);
	LLVMSetGlobalConstant(global, true);
	LLVMSetLinkage(global, LLVMPrivateLinkage);
	LLVMSetAlignment(global, 8);
	return global;
}

static void store_bases(Scope *s) {
	Entry *entry = s->entry;
	Emit *e = entry->e;
	int n = BASE_IO + s->kp->nio;
	for (entry->base_bits = 1; (1 << entry->base_bits) < n;) entry->base_bits++;
	entry->bases = emit_alloca(e, e->ptr, n, 16);
	for (int i = 0; i < n; i++) {
		Value base = i == BASE_ARENA ? s->arena : i == BASE_PERSISTENT ? entry->persistent : entry->io[i - BASE_IO];
		emit_store(e, base, emit_at_constant(e, entry->bases, e->ptr, i));
	}
}

/* A place in the table: the call, and how many rows of their shares those that run together have done. */
typedef struct TablePlace { Value at, done; } TablePlace;

/* The present call, of some rows; words: PART and BACK of it.  Then the table goes on with the next one, or back to the first of
 * those that run together. */
static TablePlace call_record(const Scope *s, const KernelCode *code, const Kernel *k, TablePlace p, const Value *words,
                              int length) {
	Emit *e = s->entry->e;
	Value zero = emit_index(e, 0), part = words[PART], back = words[BACK];
	Share share = share_of(s, k), x = {emit_add(e, share.begin, p.done), share.end};
	Value whole = LLVMBuildICmp(e->builder, LLVMIntEQ, part, zero, "");
	x.end = LLVMBuildSelect(e->builder, whole, x.end, emit_min(e, emit_add(e, x.begin, part), x.end), "");
	Value only = takes_part(s, k, share);
	EmitIf branch;
	if (only) branch = emit_if(e, only);
	call_kernel(s, code, x);
	if (only) emit_end_if(e, &branch);
	Value is_last = LLVMBuildICmp(e->builder, LLVMIntNE, back, zero, "");
	Value left = LLVMBuildICmp(e->builder, LLVMIntSLT, x.end, share.end, "");
	Value again = LLVMBuildAnd(e->builder, is_last, left, ""), done = LLVMBuildSelect(e->builder, is_last, zero, p.done, "");
	return (TablePlace){LLVMBuildSelect(e->builder, again, emit_sub(e, p.at, back), emit_add(e, p.at, emit_index(e, length)), ""),
	                    LLVMBuildSelect(e->builder, again, emit_sub(e, x.end, share.begin), done, "")};
}

/* for (at = 0; at < length; at += words of the call) switch (case) .. */
static void call_by_table(Scope *s, const ProgramCode *code) {
	Emit *e = s->entry->e;
	Table t = {0};
	store_bases(s);
	Value table = make_table(s, code, &t);
	LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), body = emit_block(e), never = emit_block(e);
	LLVMBasicBlockRef next = emit_block(e), after = emit_block(e);
	LLVMBuildBr(e->builder, body);
	LLVMPositionBuilderAtEnd(e->builder, never);
	LLVMBuildUnreachable(e->builder);
	LLVMPositionBuilderAtEnd(e->builder, next);
	Value then = LLVMBuildPhi(e->builder, e->index, ""), then_done = LLVMBuildPhi(e->builder, e->index, "");
	LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntULT, then, emit_index(e, t.words.length), ""), body, after);
	LLVMPositionBuilderAtEnd(e->builder, body);
	TablePlace place = {LLVMBuildPhi(e->builder, e->index, ""), LLVMBuildPhi(e->builder, e->index, "")};
	LLVMAddIncoming(place.at, (Value[]){emit_index(e, 0), then}, (LLVMBasicBlockRef[]){before, next}, 2);
	LLVMAddIncoming(place.done, (Value[]){emit_index(e, 0), then_done}, (LLVMBasicBlockRef[]){before, next}, 2);
	s->record = emit_at(e, table, e->i64, place.at);
	Value head = record_word(s, HEAD), one = LLVMConstInt(e->i64, 1, false);
	Value words[CALL_WORDS] = {head};
	for (int i = PART; i < CALL_WORDS; i++)
		words[i] = LLVMBuildIntCast2(e->builder, record_word(s, i), e->index, false, "");
	s->record = emit_at_constant(e, s->record, e->i64, CALL_WORDS);
	if (t.barriers) {
		Value first = LLVMBuildICmp(e->builder, LLVMIntEQ, place.done, emit_index(e, 0), "");
		EmitIf meets = emit_if(e, LLVMBuildAnd(e->builder, first, LLVMBuildTrunc(e->builder, head, e->i1, ""), ""));
		call_barrier(s->entry);
		emit_end_if(e, &meets);
	}
	Value choice = LLVMBuildSwitch(e->builder, LLVMBuildLShr(e->builder, head, one, ""), never, (unsigned)t.cases.length);
	for (int i = 0; i < t.cases.length; i++) {
		const Case *c = &t.cases.data[i];
		const Kernel *k = &s->kp->kernels.data[c->first];
		LLVMBasicBlockRef block = emit_block(e);
		LLVMAddCase(choice, LLVMConstInt(e->i64, (unsigned)i, false), block);
		LLVMPositionBuilderAtEnd(e->builder, block);
		TablePlace past = {emit_add(e, place.at, emit_index(e, c->length)), emit_index(e, 0)};
		if (k->body) call_scan(s, k, code->bodies[c->first]);
		else past = call_record(s, &code->kernels[c->first], k, place, words, c->length);
		LLVMBasicBlockRef end = LLVMGetInsertBlock(e->builder);
		LLVMAddIncoming(then, &past.at, &end, 1);
		LLVMAddIncoming(then_done, &past.done, &end, 1);
		LLVMBuildBr(e->builder, next);
	}
	LLVMPositionBuilderAtEnd(e->builder, after);
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
	if (kp->kernels.length > MOST_WRITTEN_OUT) call_by_table(&s, code);
	else call_kernels(&s, code);
	LLVMBuildRetVoid(e->builder);
}
