/* abi.c: in: an Embed; out: its object: the entries of its Fns, and around each a function with C's calling convention
 * that builds the Frame on the stack.
 * Guarantees: no memory but the caller's is written; class inputs are checked before anything is written. */
#include <string.h>

#include "compile.h"
#include "embed.h"
#include "stack.h"

typedef struct Abi {
	Emit *e;
	const Embed *embed;
	Value zeros;                           /* eight zero bytes, for what an inference does not know */
	Value check[DTYPE_COUNT];              /* bool check(array, count, classes) */
	Embedded *out;
} Abi;

/* A Fn in the object: its entry point and what it needs. */
typedef struct Part { const KernelProgram *kp; Value entry; } Part;

/* The function's own variables. */
typedef struct Call { Abi *abi; const Part *part; Value frame, io; } Call;

static LLVMTypeRef element_type(Emit *e, DType dtype) {
	switch (dtype) {
	case DTYPE_I32: return e->i32;
	case DTYPE_F64: return e->f64;
	case DTYPE_F32: return e->f32;
	default: return dtype_info[dtype].bytes == 1 ? e->i8 : e->i16;
	}
}

static Part make_part(Abi *abi, Fn *f, const char *name) {
	Emit *e = abi->e;
	CompileOptions options = {.target = e->target, .workers = 1};
	Part part = {.kp = compile_kernels(e->arena, f, abi->embed->program, abi->embed->layout, &options)};
	lower_entry(e, part.kp, name);
	part.entry = LLVMGetNamedFunction(e->module, name);
	LLVMSetLinkage(part.entry, LLVMInternalLinkage);
	return part;
}

/* The frame, and a table of io pointers. */
static Call call_begin(Abi *abi, const Part *part, Value persistent, Value arena) {
	Emit *e = abi->e;
	Call c = {abi, part, emit_alloca(e, e->ptr, 6, 16), emit_alloca(e, e->ptr, MAX(part->kp->nio, 1), 16)};
	Value null = LLVMConstNull(e->ptr), fields[6] = {persistent, arena, null, null, c.io, null};
	for (int i = 0; i < 6; i++) emit_store(e, fields[i], emit_at_constant(e, c.frame, e->ptr, i));
	return c;
}

static void set_io(Call *c, int io, Value pointer) {
	emit_store(c->abi->e, pointer, emit_at_constant(c->abi->e, c->io, c->abi->e->ptr, io));
}

static void call_entry(Call *c) {
	Emit *e = c->abi->e;
	emit_call(e, c->part->entry, 3, (Value[]){c->frame, LLVMConstInt(e->i64, 0, false), LLVMConstInt(e->i64, 1, false)});
}

static Value byte_offset(Abi *abi, Value base, size_t offset) {
	return emit_at_constant(abi->e, base, abi->e->i8, (int64_t)offset);
}

/* ---- checks of class inputs ---- */

/* All of array[0 .. count) in 0 .. classes - 1? */
static Value check_function(Abi *abi, DType dtype) {
	Emit *e = abi->e;
	if (abi->check[dtype]) return abi->check[dtype];
	EmitPlace place = emit_pause(e);
	LLVMTypeRef params[3] = {e->ptr, e->index, e->i32};
	Value f = emit_function(e, arena_printf(e->arena, "check.%s", dtype_info[dtype].text), e->i1, 3, params, true);
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(f, 1), 1);
	Value good = emit_loop_carry(e, &loop, LLVMConstInt(e->i1, 1, false));
	Value x = emit_load(e, element_type(e, dtype), 1, emit_at(e, LLVMGetParam(f, 0), element_type(e, dtype), loop.i));
	if (dtype_info[dtype].bytes < 4)
		x = dtype == DTYPE_I8 ? LLVMBuildSExt(e->builder, x, e->i32, "") : LLVMBuildZExt(e->builder, x, e->i32, "");
	Value inside = LLVMBuildICmp(e->builder, LLVMIntULT, x, LLVMGetParam(f, 2), "");
	emit_loop_next(e, &loop, 0, LLVMBuildAnd(e->builder, good, inside, ""));
	emit_loop_end(e, &loop);
	LLVMBuildRet(e->builder, loop.result[0]);
	emit_resume(e, place);
	return abi->check[dtype] = f;
}

/* Returns from the function with EMBED_BAD_CLASS where a class input holds something else.  samples: NULL for 1. */
static void check_inputs(Abi *abi, const EmbedArray *inputs, int n, int first_param, Value samples) {
	Emit *e = abi->e;
	for (int i = 0; i < n; i++) {
		const EmbedArray *in = &inputs[i];
		if (in->classes <= 0 || dtype_is_float(in->dtype)) continue;
		Value f = check_function(abi, in->dtype), count = emit_index(e, in->count);
		if (in->batched && samples) count = emit_mul(e, samples, count);
		Value good = emit_call(
		    e, f, 3, (Value[]){LLVMGetParam(e->function, (unsigned)(first_param + i)), count, emit_i32(e, in->classes)});
		EmitIf bad = emit_if(e, LLVMBuildNot(e->builder, good, ""));
		LLVMBuildRet(e->builder, emit_i32(e, EMBED_BAD_CLASS));
		LLVMPositionBuilderAtEnd(e->builder, LLVMAppendBasicBlockInContext(e->context, e->function, ""));   /* never reached */
		emit_end_if(e, &bad);
	}
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
	Part part = make_part(abi, f, arena_printf(abi->e->arena, "%s.%s", m->symbol, what));
	abi->out->scratch_infer = MAX(abi->out->scratch_infer, part.kp->arena_bytes);
	return part;
}

/* Runs `part` on `size` samples at a time from `first` on, as often as they are all there; returns what is left from. */
static Value run_blocks(Abi *abi, const Part *part, const EmbedModel *m, int64_t size, Value first, Value n, Value scratch) {
	Emit *e = abi->e;
	Call c = call_begin(abi, part, LLVMGetParam(e->function, 0), scratch);
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
	Value scratch = LLVMGetParam(f, (unsigned)nparams - 1);
	if (m->single) {
		Value n = LLVMGetParam(f, (unsigned)nparams - 2), first = emit_index(e, 0);
		check_inputs(abi, m->inputs, m->ninputs, 1, n);
		if (m->batch > 1) first = run_blocks(abi, &block, m, m->batch, first, n, scratch);
		run_blocks(abi, m->batch > 1 ? &single : &block, m, 1, first, n, scratch);
	} else {
		check_inputs(abi, m->inputs, m->ninputs, 1, NULL);
		Call c = call_begin(abi, &block, LLVMGetParam(f, 0), scratch);
		run_model(&c, m, emit_index(e, 0));
	}
	LLVMBuildRet(e->builder, emit_i32(e, EMBED_OK));
}

/* ---- the training step ---- */

/* The number of the update, counted from 1, where `calls` calls have been done: an i32 that stops at its largest. */
static Value update_number(Abi *abi, const EmbedStep *s, Value calls) {
	Emit *e = abi->e;
	Value updates =
	    s->accumulate > 1 ? LLVMBuildSDiv(e->builder, calls, LLVMConstInt(e->i64, (uint64_t)s->accumulate, true), "") : calls;
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

static void emit_step(Abi *abi, const EmbedStep *s) {
	Emit *e = abi->e;
	Part part = make_part(abi, s->fn, arena_printf(e->arena, "%s.entry", s->symbol));
	abi->out->scratch_train = MAX(abi->out->scratch_train, part.kp->arena_bytes);
	int nparams = s->ninputs + 3;
	LLVMTypeRef *params = NEW_ARRAY(e->arena, LLVMTypeRef, nparams);
	for (int i = 0; i < nparams; i++) params[i] = e->ptr;
	Value f = emit_function(e, s->symbol, e->i32, nparams, params, false);
	Value train = LLVMGetParam(f, 0), to = LLVMGetParam(f, (unsigned)nparams - 2);
	check_inputs(abi, s->inputs, s->ninputs, 1, NULL);
	Call c = call_begin(abi, &part, train, LLVMGetParam(f, (unsigned)nparams - 1));
	Value counter = byte_offset(abi, train, s->step_offset), calls = emit_load(e, e->i64, 1, counter);
	Value number = emit_alloca(e, e->i32, 1, 4);
	emit_store(e, update_number(abi, s, calls), number);
	const Fn *fn = part.kp->fn;
	int io = 0;
	for (int i = 0; i < fn->inputs.length; i++) {
		const Input *in = &fn->inputs.data[i];
		if (in->kind == INPUT_PARAM || in->kind == INPUT_STATE || in->kind == INPUT_SLOT) continue;
		set_io(&c, io++, step_input(abi, s, in, train, number));
	}
	LLVMTypeRef type = e->f32;
	Value loss = NULL;
	for (int i = 0; i < fn->outputs.length; i++) {
		const Output *o = &fn->outputs.data[i];
		if (o->updates >= 0) continue;
		if (o->val->type.rank) die("the step's result '%s' is no scalar", o->name);
		Value here = emit_alloca(e, e->i64, 1, 8);
		set_io(&c, io++, here);
		if (loss) continue;   /* what follows are its summands */
		type = element_type(e, o->val->type.dtype);
		loss = here;
	}
	call_entry(&c);
	emit_store(e, LLVMBuildAdd(e->builder, calls, LLVMConstInt(e->i64, 1, true), ""), counter);
	EmitIf wanted = emit_if(e, LLVMBuildIsNotNull(e->builder, to, ""));
	if (loss) emit_store(e, emit_load(e, type, 1, loss), to);
	emit_end_if(e, &wanted);
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
	Part part = make_part(abi, init_in_place(embed->program, embed->init), "init.entry");
	LLVMTypeRef params[2] = {e->ptr, e->i64};
	Value f = emit_function(e, embed->init_symbol, e->void_type, 2, params, false);
	Value train = LLVMGetParam(f, 0);
	emit_zero(abi, train, embed->train_bytes);
	emit_store(e, LLVMGetParam(f, 1), byte_offset(abi, train, embed->seed_offset));
	for (int i = 0; i < embed->nsteps; i++) {
		const EmbedStep *s = &embed->steps[i];
		emit_store(e, emit_i32(e, 1), byte_offset(abi, train, s->epoch_offset));
		for (int k = 0; k < s->nsettings; k++)
			emit_store(e, emit_f32(e, (double)s->settings[k].value, 1), byte_offset(abi, train, s->settings[k].offset));
	}
	Call c = call_begin(abi, &part, train, emit_alloca(e, e->i64, (int64_t)(part.kp->arena_bytes + 7) / 8, 64));
	for (int i = 0; i < part.kp->nio; i++) set_io(&c, i, byte_offset(abi, train, embed->seed_offset));
	call_entry(&c);
	LLVMBuildRetVoid(e->builder);
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

Embedded embed_compile(Arena *arena, const Embed *embed, const Target *target) {
	Embedded out = {.unsupported = first_unsupported(embed)};
	if (out.unsupported) return out;
	Emit *e = emit_new(arena, target, embed->program->name);
	Abi abi = {.e = e, .embed = embed, .out = &out};
	abi.zeros = emit_constant(e, "zeros", "\0\0\0\0\0\0\0", 8);
	LLVMSetLinkage(abi.zeros, LLVMInternalLinkage);
	if (embed->init_symbol) emit_init(&abi);
	for (int i = 0; i < embed->nmodels; i++) emit_model(&abi, &embed->models[i]);
	for (int i = 0; i < embed->nsteps; i++) emit_step(&abi, &embed->steps[i]);
	for (int i = 0; i < embed->nconstants; i++)
		emit_constant(e, embed->constants[i].symbol, embed->constants[i].bytes, embed->constants[i].size);
	StackMeasure *measure = stack_measure(e);
	out.object = emit_object(e, false);
	out.stack_bytes = stack_deepest(measure);
	emit_free(e);
	out.code_bytes = object_code_bytes(out.object);
	out.needs = object_needs(arena, out.object, embed->program->name);
	return out;
}
