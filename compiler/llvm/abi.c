/* abi.c: in: an Embed; out: its object: the entries of its Fns, and around each a function with C's calling convention
 * that builds the Frame on the stack.
 * Guarantees: no memory but the caller's is written, and none before guard.c has looked at what was given. */
#include <string.h>

#include "compile.h"
#include "guard.h"
#include "stack.h"

/* A Fn in the object: its entry point and what it needs. */
typedef struct Part { const KernelProgram *kp; Value entry; } Part;

/* Who runs it: the caller's number (i64) among so many, and how they meet. */
typedef struct Team { Value number, workers, barrier, context; } Team;

/* The function's own variables. */
typedef struct Call { Abi *abi; const Part *part; Value frame, io; Team team; } Call;

static Part make_part(Abi *abi, Fn *f, const char *name, int workers) {
	Emit *e = abi->e;
	CompileOptions options = {.target = e->target,
	                          .workers = workers,
	                          .always_share = abi->embed->small && workers == 1,
	                          .recompute = abi->embed->recompute,
	                          .most_bytes = abi->embed->most_scratch};
	Part part = {.kp = compile_kernels(e->arena, f, abi->embed->program, abi->embed->layout, &options)};
	lower_entry(e, part.kp, name);
	part.entry = LLVMGetNamedFunction(e->module, name);
	LLVMSetLinkage(part.entry, LLVMInternalLinkage);
	return part;
}

/* The part that needs most scratch, and how much. */
static void note_scratch(const Part *part, const KernelProgram **most, size_t *bytes) {
	if (*most && part->kp->arena_bytes <= *bytes) return;
	*most = part->kp;
	*bytes = part->kp->arena_bytes;
}

/* The frame, and a table of io pointers.  team: NULL for one worker. */
static Call call_begin(Abi *abi, const Part *part, Value persistent, Value arena, const Team *team) {
	Emit *e = abi->e;
	Value null = LLVMConstNull(e->ptr), frame = emit_alloca(e, e->ptr, 6, 16);
	Call c = {abi, part, frame, emit_alloca(e, e->ptr, MAX(part->kp->nio, 1), 16),
	          {LLVMConstInt(e->i64, 0, false), LLVMConstInt(e->i64, 1, false), null, null}};
	if (team) c.team = *team;
	Value fields[6] = {persistent, arena, c.team.barrier, c.team.context, c.io, null};
	for (int i = 0; i < 6; i++) emit_store(e, fields[i], emit_at_constant(e, c.frame, e->ptr, i));
	return c;
}

static void set_io(Call *c, int io, Value pointer) {
	emit_store(c->abi->e, pointer, emit_at_constant(c->abi->e, c->io, c->abi->e->ptr, io));
}

static void call_entry(Call *c) {
	Emit *e = c->abi->e;
	emit_call(e, c->part->entry, 3, (Value[]){c->frame, c->team.number, c->team.workers});
}

static Value byte_offset(Abi *abi, Value base, size_t offset) {
	return emit_at_constant(abi->e, base, abi->e->i8, (int64_t)offset);
}

/* ---- models ---- */

static int find_array(const EmbedArray *arrays, int n, const char *name) {
	for (int i = 0; i < n; i++)
		if (strcmp(arrays[i].name, name) == 0) return i;
	return -1;
}

static Value array_at(Abi *abi, const EmbedArray *a, Value base, Value sample) {
	if (!a->batched) return base;
	return emit_at(abi->e, base, abi->e->i8, emit_mul(abi->e, sample, emit_index(abi->e, a->count * dtype_info[a->dtype].bytes)));
}

/* One run of a model's part on the samples from `sample` on. */
static void run_model(Call *c, const EmbedModel *m, Value sample) {
	Abi *abi = c->abi;
	Emit *e = abi->e;
	const Fn *fn = c->part->kp->fn;
	int io = 0;
	for (int i = 0; i < fn->inputs.length; i++) {
		const Input *in = &fn->inputs.data[i];
		if (in->kind == INPUT_PARAM || in->kind == INPUT_STATE || in->kind == INPUT_SLOT) continue;
		int k = in->kind == INPUT_DATA ? find_array(m->inputs, m->ninputs, in->name) : -1;
		set_io(c, io++, k < 0 ? abi->zeros : array_at(abi, &m->inputs[k], LLVMGetParam(e->function, (unsigned)(1 + k)), sample));
	}
	for (int i = 0; i < fn->outputs.length; i++) {
		if (fn->outputs.data[i].updates >= 0) continue;
		int k = find_array(m->outputs, m->noutputs, fn->outputs.data[i].name);
		if (k < 0) die("the model has no result '%s'", fn->outputs.data[i].name);
		set_io(c, io++, array_at(abi, &m->outputs[k], LLVMGetParam(e->function, (unsigned)(1 + m->ninputs + k)), sample));
	}
	call_entry(c);
}

static Part model_part(Abi *abi, Fn *f, const EmbedModel *m, const char *what) {
	Part part = make_part(abi, f, arena_printf(abi->e->arena, "%s.%s", m->symbol, what), 1);
	note_scratch(&part, &abi->out->infer, &abi->out->scratch_infer);
	return part;
}

/* Runs `part` on `size` samples at a time from `first` on, as often as they are all there; returns what is left from. */
static Value run_blocks(Abi *abi, const Part *part, const EmbedModel *m, int64_t size, Value first, Value n, Value scratch) {
	Emit *e = abi->e;
	Call c = call_begin(abi, part, LLVMGetParam(e->function, 0), scratch, NULL);
	Value past = size == 1 ? n : emit_mul(e, LLVMBuildUDiv(e->builder, n, emit_index(e, size), ""), emit_index(e, size));
	EmitLoop loop = emit_loop_begin(e, first, past, size);
	run_model(&c, m, loop.i);
	emit_loop_end(e, &loop);
	return past;
}

static void emit_model(Abi *abi, const EmbedModel *m) {
	Emit *e = abi->e;
	int nparams = 1 + m->ninputs + m->noutputs + (m->single ? 2 : 1);
	Part block = model_part(abi, m->block, m, "block"), single = {0};
	if (m->single && m->batch > 1) single = model_part(abi, m->single, m, "single");
	LLVMTypeRef *params = NEW_ARRAY(e->arena, LLVMTypeRef, nparams);
	for (int i = 0; i < nparams; i++) params[i] = e->ptr;
	if (m->single) params[nparams - 2] = e->index;
	Value f = emit_function(e, m->symbol, e->i32, nparams, params, false);
	Value scratch = LLVMGetParam(f, (unsigned)nparams - 1), n = m->single ? LLVMGetParam(f, (unsigned)nparams - 2) : NULL;
	guard_blocks(abi, (Value[]){LLVMGetParam(f, 0), scratch}, 2);
	guard_params(abi, LLVMGetParam(f, 0));
	if (n) guard_count(abi, m, n);
	guard_arrays(abi, m->inputs, m->ninputs, 1, n);
	guard_arrays(abi, m->outputs, m->noutputs, 1 + m->ninputs, n);
	guard_classes(abi, m->inputs, m->ninputs, 1, n);
	if (n) {
		Value first = emit_index(e, 0);
		if (m->batch > 1) first = run_blocks(abi, &block, m, m->batch, first, n, scratch);
		run_blocks(abi, m->batch > 1 ? &single : &block, m, 1, first, n, scratch);
	} else {
		Call c = call_begin(abi, &block, LLVMGetParam(f, 0), scratch, NULL);
		run_model(&c, m, emit_index(e, 0));
	}
	LLVMBuildRet(e->builder, emit_i32(e, EMBED_OK));
}

/* ---- the training step ---- */

/* Processors of 32 bits would call a function for it: bit by bit there, once a step. */
static Value divided(Abi *abi, Value dividend, int64_t divisor) {
	Emit *e = abi->e;
	LLVMBuilderRef b = e->builder;
	Value by = LLVMConstInt(e->i64, (uint64_t)divisor, true), one = LLVMConstInt(e->i64, 1, false);
	if (e->target->pointer_bits == 64) return LLVMBuildSDiv(b, dividend, by, "");
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), emit_index(e, 64), 1);
	Value bits = emit_loop_carry(e, &loop, dividend), rest = emit_loop_carry(e, &loop, LLVMConstNull(e->i64));
	Value top = LLVMBuildLShr(b, bits, LLVMConstInt(e->i64, 63, false), "");
	rest = LLVMBuildOr(b, LLVMBuildShl(b, rest, one, ""), top, "");
	Value fits = LLVMBuildICmp(b, LLVMIntUGE, rest, by, "");
	Value quotient = LLVMBuildOr(b, LLVMBuildShl(b, bits, one, ""), LLVMBuildZExt(b, fits, e->i64, ""), "");
	emit_loop_next(e, &loop, 0, quotient);
	emit_loop_next(e, &loop, 1, LLVMBuildSelect(b, fits, LLVMBuildSub(b, rest, by, ""), rest, ""));
	emit_loop_end(e, &loop);
	return loop.result[0];
}

/* The number of the update, counted from 1, where `calls` calls have been done: an i32 that stops at its largest. */
static Value update_number(Abi *abi, const EmbedStep *s, Value calls) {
	Emit *e = abi->e;
	Value updates = s->accumulate > 1 ? divided(abi, calls, s->accumulate) : calls;
	updates =
	    emit_min(e, LLVMBuildAdd(e->builder, updates, LLVMConstInt(e->i64, 1, true), ""), LLVMConstInt(e->i64, INT32_MAX, true));
	return LLVMBuildTrunc(e->builder, updates, e->i32, "");
}

static Value step_input(Abi *abi, const EmbedStep *s, const Input *in, Value train, Value number) {
	int k;
	switch (in->kind) {
	case INPUT_DATA:
		k = find_array(s->inputs, s->ninputs, in->name);
		return k < 0 ? abi->zeros : LLVMGetParam(abi->e->function, (unsigned)(1 + k));   /* the step does not read it */
	case INPUT_STEP: return number;
	case INPUT_EPOCH: return byte_offset(abi, train, s->epoch_offset);
	case INPUT_SEED: return byte_offset(abi, train, abi->embed->seed_offset);   /* little-endian: low half first */
	default:
		for (int i = 0; i < s->nsettings; i++)
			if (strcmp(s->settings[i].name, in->name) == 0) return byte_offset(abi, train, s->settings[i].offset);
		die("the step has no setting '%s'", in->name);
	}
}

/* A step's function: of one worker or, with the parameters that follow, of several, who each call it. */
typedef struct StepFunction { Part part; Value train, loss, scratch; int nparams; } StepFunction;

static StepFunction begin_step(Abi *abi, const EmbedStep *s, const char *symbol, int workers, bool team) {
	Emit *e = abi->e;
	StepFunction f = {.part = make_part(abi, s->fn, arena_printf(e->arena, "%s.entry", symbol), workers)};
	f.nparams = s->ninputs + 3;
	LLVMTypeRef *params = NEW_ARRAY(e->arena, LLVMTypeRef, f.nparams + 3);
	for (int i = 0; i < f.nparams + 3; i++) params[i] = i == f.nparams ? e->i32 : e->ptr;
	Value function = emit_function(e, symbol, e->i32, f.nparams + (team ? 3 : 0), params, false);
	f.train = LLVMGetParam(function, 0);
	f.loss = LLVMGetParam(function, (unsigned)f.nparams - 2);
	f.scratch = LLVMGetParam(function, (unsigned)f.nparams - 1);
	guard_blocks(abi, (Value[]){f.train, f.scratch}, 2);
	guard_train(abi, f.train);
	guard_arrays(abi, s->inputs, s->ninputs, 1, NULL);
	return f;
}

DType loss_dtype(const Fn *fn) {
	for (int i = 0; i < fn->outputs.length; i++)
		if (fn->outputs.data[i].updates < 0) return fn->outputs.data[i].val->type.dtype;
	return DTYPE_F32;
}

/* Every input of the step where it stands, every loss in a place of its own from `losses` on; the first is the sum of the others.
 * Returns the number of calls so far. */
static Value set_step_io(Call *c, const EmbedStep *s, const StepFunction *f, Value losses) {
	Abi *abi = c->abi;
	Emit *e = abi->e;
	Value calls = emit_load(e, e->i64, 1, byte_offset(abi, f->train, s->step_offset)), number = emit_alloca(e, e->i32, 1, 4);
	emit_store(e, update_number(abi, s, calls), number);
	const Fn *fn = f->part.kp->fn;
	int io = 0, results = 0;
	for (int i = 0; i < fn->inputs.length; i++) {
		const Input *in = &fn->inputs.data[i];
		if (in->kind == INPUT_PARAM || in->kind == INPUT_STATE || in->kind == INPUT_SLOT) continue;
		set_io(c, io++, step_input(abi, s, in, f->train, number));
	}
	for (int i = 0; i < fn->outputs.length; i++) {
		const Output *o = &fn->outputs.data[i];
		if (o->updates >= 0) continue;
		if (o->val->type.rank) die("the step's result '%s' is no scalar", o->name);
		set_io(c, io++, emit_at_constant(e, losses, e->i64, results++));
	}
	return calls;
}

static int count_losses(const Fn *fn) {
	int n = 0;
	for (int i = 0; i < fn->outputs.length; i++) n += fn->outputs.data[i].updates < 0;
	return n;
}

/* What a step leaves besides the tensors. */
static void finish_step(Abi *abi, const EmbedStep *s, const StepFunction *f, Value losses, Value calls) {
	Emit *e = abi->e;
	Value next = LLVMBuildAdd(e->builder, calls, LLVMConstInt(e->i64, 1, true), "");
	emit_store(e, next, byte_offset(abi, f->train, s->step_offset));
	if (!count_losses(s->fn)) return;
	EmitIf wanted = emit_if(e, LLVMBuildIsNotNull(e->builder, f->loss, ""));
	emit_store(e, emit_load(e, lower_memory_type(e, loss_dtype(s->fn)), 1, losses), f->loss);
	emit_end_if(e, &wanted);
}

static void guard_step_data(Abi *abi, const EmbedStep *s) {
	guard_classes(abi, s->inputs, s->ninputs, 1, NULL);
	guard_finite(abi, s->inputs, s->ninputs, 1);
}

static void emit_step(Abi *abi, const EmbedStep *s) {
	Emit *e = abi->e;
	StepFunction f = begin_step(abi, s, s->symbol, 1, false);
	note_scratch(&f.part, &abi->out->train, &abi->out->scratch_train);
	guard_step_data(abi, s);
	Call c = call_begin(abi, &f.part, f.train, f.scratch, NULL);
	Value losses = emit_alloca(e, e->i64, MAX(count_losses(s->fn), 1), 8), calls = set_step_io(&c, s, &f, losses);
	call_entry(&c);
	finish_step(abi, s, &f, losses, calls);
	LLVMBuildRet(e->builder, emit_i32(e, EMBED_OK));
}

static void meet(Call *c) {
	Emit *e = c->abi->e;
	LLVMTypeRef params[2] = {e->ptr, e->i64}, type = LLVMFunctionType(e->void_type, params, 2, false);
	LLVMBuildCall2(e->builder, type, c->team.barrier, (Value[]){c->team.context, c->team.number}, 2, "");
}

/* All have read the counter, and all tensors are written, when the first goes on to write the counter and the loss; nobody
 * returns before that.  The losses lie behind the scratch, where all see them. */
static void emit_step_workers(Abi *abi, EmbedStep *s) {
	Emit *e = abi->e;
	StepFunction f = begin_step(abi, s, s->workers_symbol, s->most_workers, true);
	const KernelProgram *kp = f.part.kp;
	s->workers = kp->workers;
	abi->out->scratch_workers = MAX(abi->out->scratch_workers, whole_lines(kp->arena_bytes + 8 * (size_t)count_losses(s->fn)));
	Value worker = LLVMGetParam(e->function, (unsigned)f.nparams);
	Team team = {.workers = LLVMConstInt(e->i64, (unsigned)kp->workers, false)};
	team.barrier = LLVMGetParam(e->function, (unsigned)f.nparams + 1);
	team.context = LLVMGetParam(e->function, (unsigned)f.nparams + 2);
	refuse(abi, LLVMBuildICmp(e->builder, LLVMIntUGE, worker, emit_i32(e, kp->workers), ""), EMBED_BAD_COUNT);
	if (kp->workers > 1) refuse(abi, LLVMBuildIsNull(e->builder, team.barrier, ""), EMBED_NULL_POINTER);
	guard_step_data(abi, s);
	team.number = LLVMBuildZExt(e->builder, worker, e->i64, "");
	Call c = call_begin(abi, &f.part, f.train, f.scratch, &team);
	Value losses = emit_at_constant(e, f.scratch, e->i8, (int64_t)kp->arena_bytes), calls = set_step_io(&c, s, &f, losses);
	call_entry(&c);
	if (kp->workers > 1) meet(&c);
	EmitIf first = emit_if(e, LLVMBuildIsNull(e->builder, worker, ""));
	finish_step(abi, s, &f, losses, calls);
	emit_end_if(e, &first);
	if (kp->workers > 1) meet(&c);
	LLVMBuildRet(e->builder, emit_i32(e, EMBED_OK));
}

/* ---- initialisation ---- */

/* The same Fn with every output written where it belongs, in the packed block. */
static Fn *init_in_place(const Program *p, const Fn *from) {
	Fn *f = fn_new(from->arena, from->name);
	Val **now = NEW_ARRAY(f->arena, Val *, from->vals.length + 1);
	for (int i = 0; i < from->inputs.length; i++)
		now[from->inputs.data[i].val->id] =
		    fn_input(f, from->inputs.data[i].name, from->inputs.data[i].kind, from->inputs.data[i].type);
	int first = f->inputs.length;
	VEC(Val *) values = {0};
	for (int i = 0; i < from->outputs.length; i++) {
		int k = program_find(p, from->outputs.data[i].name, i);
		if (k < 0) continue;
		fn_input(f, p->persistent.data[k].path, p->persistent.data[k].kind, p->persistent.data[k].type);
		vec_push(f->arena, &values, from->outputs.data[i].val);
	}
	for (int i = 0; i < from->vals.length; i++) {
		Val *v = from->vals.data[i], **args = NEW_ARRAY(f->arena, Val *, v->nargs + 1);
		if (v->op == OpInput) continue;
		for (int k = 0; k < v->nargs; k++) args[k] = now[v->arg[k]->id];
		f->span = v->span;
		now[v->id] = fn_rebuild(f, v, args);
	}
	for (int i = 0; i < values.length; i++) fn_output(f, f->inputs.data[first + i].name, now[values.data[i]->id], first + i);
	return fn_canonical(f);
}

static void emit_zero(Abi *abi, Value to, size_t bytes) {
	Emit *e = abi->e;
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), emit_index(e, (int64_t)bytes / 8), 1);
	emit_store(e, LLVMConstNull(e->i64), emit_at(e, to, e->i64, loop.i));
	emit_loop_end(e, &loop);
}

static void emit_init(Abi *abi) {
	Emit *e = abi->e;
	const Embed *embed = abi->embed;
	Part part = make_part(abi, init_in_place(embed->program, embed->init), "init.entry", 1);
	LLVMTypeRef params[2] = {e->ptr, e->i64};
	Value f = emit_function(e, embed->init_symbol, e->i32, 2, params, false);
	Value train = LLVMGetParam(f, 0);
	guard_blocks(abi, &train, 1);
	emit_zero(abi, train, embed->train_bytes);
	emit_store(e, LLVMConstInt(e->i64, embed->params_id, false), byte_offset(abi, train, offsetof(nnc_head, id)));
	emit_store(e, emit_i32(e, EMBED_ABI), byte_offset(abi, train, offsetof(nnc_head, abi)));
	emit_store(e, emit_i32(e, (int64_t)embed->params_bytes), byte_offset(abi, train, offsetof(nnc_head, bytes)));
	emit_store(e, LLVMConstInt(e->i64, embed->train_id, false), byte_offset(abi, train, embed->id_offset));
	emit_store(e, LLVMGetParam(f, 1), byte_offset(abi, train, embed->seed_offset));
	for (int i = 0; i < embed->nsteps; i++) {
		const EmbedStep *s = &embed->steps[i];
		emit_store(e, emit_i32(e, 1), byte_offset(abi, train, s->epoch_offset));
		for (int k = 0; k < s->nsettings; k++)
			emit_store(e, emit_f32(e, (double)s->settings[k].value, 1), byte_offset(abi, train, s->settings[k].offset));
	}
	Call c = call_begin(abi, &part, train, emit_alloca(e, e->i64, (int64_t)(part.kp->arena_bytes + 7) / 8, 64), NULL);
	for (int i = 0; i < part.kp->nio; i++) set_io(&c, i, byte_offset(abi, train, embed->seed_offset));
	call_entry(&c);
	LLVMBuildRet(e->builder, emit_i32(e, EMBED_OK));
}

/* ---- the object ---- */

static Value emit_constant(Emit *e, const char *symbol, const char *bytes, size_t size) {
	Value text = LLVMConstStringInContext2(e->context, bytes, size, true);
	Value global = LLVMAddGlobal(e->module, LLVMTypeOf(text), symbol);
	LLVMSetInitializer(global, text);
	LLVMSetGlobalConstant(global, true);
	LLVMSetAlignment(global, 64);
	return global;
}

static const Val *first_unsupported(const Embed *embed) {
	const Val *v = embed->init ? kernel_unsupported(embed->init) : NULL;
	for (int i = 0; !v && i < embed->nsteps; i++) v = kernel_unsupported(embed->steps[i].fn);
	for (int i = 0; !v && i < embed->nmodels; i++) {
		v = kernel_unsupported(embed->models[i].block);
		if (!v && embed->models[i].single) v = kernel_unsupported(embed->models[i].single);
	}
	return v;
}

/* What is left undefined is arithmetic that the processor has no instruction for, and belongs to the C compiler, or else it is a
 * function of the C library. */
static void sort_needs(Embedded *out, Needs needs) {
	out->needs = needs.data, out->nneeds = needs.length;
	for (int i = 0; i < needs.length && !out->calls; i++)
		if (strncmp(needs.data[i], "__", 2) || !strncmp(needs.data[i], "__aeabi_mem", 11)) out->calls = needs.data[i];
}

Embedded embed_compile(Arena *arena, Embed *embed, const Target *target) {
	Embedded out = {.unsupported = first_unsupported(embed)};
	if (out.unsupported) return out;
	Emit *e = emit_new(arena, target, embed->program->name);
	Abi abi = {.e = e, .embed = embed, .out = &out};
	abi.zeros = emit_constant(e, "zeros", "\0\0\0\0\0\0\0", 8);
	LLVMSetLinkage(abi.zeros, LLVMInternalLinkage);
	if (embed->init_symbol) emit_init(&abi);
	for (int i = 0; i < embed->nmodels; i++) emit_model(&abi, &embed->models[i]);
	for (int i = 0; i < embed->nsteps; i++) emit_step(&abi, &embed->steps[i]);
	for (int i = 0; i < embed->nsteps; i++)
		if (embed->steps[i].workers_symbol) emit_step_workers(&abi, &embed->steps[i]);
	for (int i = 0; i < embed->nconstants; i++)
		emit_constant(e, embed->constants[i].symbol, embed->constants[i].bytes, embed->constants[i].size);
	if (embed->sizes_only) {
		out.stack_bytes = stack_least(stack_measure(e));
		emit_free(e);
		return out;
	}
	if (embed->text == EMBED_IR) out.text.bytes = emit_text(e), out.text.size = strlen(out.text.bytes);
	if (embed->text == EMBED_ASSEMBLY) out.text = emit_assembly(e);
	StackMeasure *measure = stack_measure(e);   /* after the texts, which need none of its attributes */
	out.object = emit_object(e, false);
	out.stack_bytes = stack_deepest(measure);
	emit_free(e);
	out.code_bytes = object_code_bytes(out.object);
	out.data_bytes = object_data_bytes(out.object);
	sort_needs(&out, object_needs(arena, out.object, embed->program->name));
	return out;
}
