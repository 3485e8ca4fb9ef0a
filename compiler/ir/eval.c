/* eval.c: runs a Fn value by value, the obvious way.  In: one tensor per input; out: one per output.  Guarantees: in
 * EVAL_F32 every rounding and the order of every sum are those the design states, whatever the host compiler. */
#include "eval.h"

#include <stdlib.h>
#include <string.h>

typedef struct Run {
	EvalMode mode;
	void (*watch)(void *context, const Val *v, const Tensor *t);
	void *context;
} Run;

Around around_axis(Type t, int64_t axis) {
	Around at = {1, t.dim[axis], 1};
	for (int i = 0; i < axis; i++) at.outer *= t.dim[i];
	for (int i = (int)axis + 1; i < t.rank; i++) at.inner *= t.dim[i];
	return at;
}

static size_t bytes_of(Type t, EvalMode mode) { return element_bytes(element_of(t.dtype, mode)) * (size_t)type_count(t); }

static void *allocate(size_t bytes) {
	void *data = malloc(MAX(bytes, 1));
	if (!data) fatal("out of memory (%zu MiB asked for)", bytes >> 20);
	return data;
}

/* Results of the values of one function while it runs; a scan's results are an array of its own. */
typedef struct Slot { Tensor tensor; Tensor *results; bool owned; } Slot;

static void run_fn(const Run *run, const Fn *f, const Tensor *inputs, Tensor *outputs);

/* The body's outputs go where the results lie: carries in turn, emitted values at row t. */
static void run_scan(const Run *run, const Val *v, const Tensor *arg, Slot *slot) {
	const Fn *body = v->body;
	int carries = (int)v->list[0].data[0], noutputs = body->outputs.length;
	int64_t count = v->list[2].data[0];
	Tensor *inputs = allocate(sizeof *inputs * (size_t)(v->nargs + 1)), *outputs = allocate(sizeof *outputs * (size_t)noutputs);
	int32_t index = 0;
	inputs[0] = (Tensor){type_scalar(DTYPE_I32), &index};
	slot->results = allocate(sizeof(Tensor) * (size_t)noutputs);
	for (int i = 0; i < v->nargs; i++) inputs[i + 1] = arg[i];
	for (int i = 0; i < noutputs; i++) {
		Type type = body->outputs.data[i].val->type;
		size_t bytes = bytes_of(type, run->mode);
		slot->results[i] = (Tensor){type, allocate(i < carries ? bytes : bytes * (size_t)count)};
		outputs[i] = (Tensor){type, i < carries ? allocate(bytes) : NULL};
		if (i >= carries) continue;
		memcpy(slot->results[i].data, arg[i].data, bytes);
		inputs[i + 1].data = slot->results[i].data;
	}
	for (int64_t t = 0; t < count; t++) {
		index = (int32_t)(v->list[1].data[0] ? count - 1 - t : t);
		for (int i = carries; i < noutputs; i++)
			outputs[i].data = (char *)slot->results[i].data + bytes_of(outputs[i].type, run->mode) * (size_t)index;
		run_fn(run, body, inputs, outputs);
		for (int i = 0; i < carries; i++) memcpy(slot->results[i].data, outputs[i].data, bytes_of(outputs[i].type, run->mode));
	}
	for (int i = 0; i < carries; i++) free(outputs[i].data);
	free(inputs);
	free(outputs);
}

/* Byte `number` of each word, as a number. */
static int32_t *bytes_of_words(const Tensor *t, int number) {
	int64_t count = type_count(t->type);
	int32_t *bytes = allocate(sizeof *bytes * (size_t)count);
	for (int64_t i = 0; i < count; i++) {
		int32_t byte = (int32_t)((uint32_t)((const int32_t *)t->data)[i] >> (8 * number) & 255);
		bytes[i] = t->type.dtype == DTYPE_I8X4 ? (byte ^ 128) - 128 : byte;
	}
	return bytes;
}

/* A contract of words: the sum of the four contracts of their bytes. */
static void run_words(const Val *v, const Tensor *arg, int32_t *y) {
	int64_t count = type_count(v->type);
	int32_t *part = allocate(sizeof *part * (size_t)count);
	memset(y, 0, sizeof *y * (size_t)count);
	for (int number = 0; number < 4; number++) {
		Tensor bytes[2] = {arg[0], arg[1]};
		for (int k = 0; k < 2; k++) bytes[k].data = bytes_of_words(&arg[k], number);
		eval_arithmetic_i32(v, bytes, part);
		for (int64_t i = 0; i < count; i++) y[i] = (int32_t)((uint32_t)y[i] + (uint32_t)part[i]);
		free(bytes[0].data), free(bytes[1].data);
	}
	free(part);
}

static void run_val(const Run *run, const Val *v, const Tensor *arg, void *y) {
	/* of a choice the first operand is a bool, of a gather the second is an index: the element type is that of the operand
	 * that moves or counts */
	DType dtype = v->op == OpWhere ? arg[2].type.dtype : v->nargs ? arg[0].type.dtype : v->type.dtype;
	Element element = element_of(dtype, run->mode);
	if (v->op == OpContract && dtype_is_word(dtype)) run_words(v, arg, y);
	else if (v->op == OpCast) eval_cast(v, arg, run->mode, y);
	else if (v->op == OpRandom) eval_random(v, arg, element_of(v->type.dtype, run->mode), y);
	else if (eval_moving(v, arg, element, y)) {}
	else if (element == ELEMENT_F32 && eval_arithmetic_f32(v, arg, y)) {}
	else if (element == ELEMENT_F64 && (run->mode == EVAL_F64 ? eval_arithmetic_f64 : eval_arithmetic_f64_literal)(v, arg, y)) {}
	else if (element == ELEMENT_I32 && eval_arithmetic_i32(v, arg, y)) {}
	else die("%s cannot be evaluated", op_info[v->op].text);
	eval_narrow(v->type.dtype, run->mode, type_count(v->type), y);
}

static void drop(Slot *slot, const Val *v) {
	if (slot->owned) free(slot->tensor.data);
	for (int i = 0; slot->results && i < v->body->outputs.length; i++) free(slot->results[i].data);
	free(slot->results);
	*slot = (Slot){0};
}

static void run_one(const Run *run, const Fn *f, const Val *v, Slot *slots, const Tensor *inputs) {
	Slot *slot = &slots[v->id];
	Tensor few[8], *arg = v->nargs > 8 ? allocate(sizeof *arg * (size_t)v->nargs) : few;
	for (int i = 0; i < v->nargs; i++) arg[i] = slots[v->arg[i]->id].tensor;
	slot->tensor.type = v->type;
	if (v->op == OpInput) {
		int64_t index = v->list[0].data[0];
		if (!type_equal(inputs[index].type, v->type)) die("input %s of %s has another type", f->inputs.data[index].name, f->name);
		slot->tensor.data = inputs[index].data;
	} else if (v->op == OpScan) {
		run_scan(run, v, arg, slot);
	} else {
		size_t bytes = bytes_of(v->type, run->mode);
		slot->tensor.data = allocate(bytes);
		slot->owned = true;
		if (v->op == OpProject) memcpy(slot->tensor.data, slots[v->arg[0]->id].results[v->list[0].data[0]].data, bytes);
		else run_val(run, v, arg, slot->tensor.data);
	}
	if (run->watch && v->op != OpScan) run->watch(run->context, v, &slot->tensor);
	if (arg != few) free(arg);
}

/* outputs[i].data is where output i goes. */
static void run_fn(const Run *run, const Fn *f, const Tensor *inputs, Tensor *outputs) {
	int count = f->vals.length;
	Slot *slots = calloc((size_t)MAX(count, 1), sizeof *slots);
	int *last = allocate(sizeof *last * (size_t)count);
	if (!slots) fatal("out of memory");
	for (int i = 0; i < count; i++) {
		last[i] = i;
		for (int k = 0; k < f->vals.data[i]->nargs; k++) last[f->vals.data[i]->arg[k]->id] = i;
	}
	for (int i = 0; i < f->outputs.length; i++) last[f->outputs.data[i].val->id] = count;
	for (int i = 0; i < count; i++) {
		const Val *v = f->vals.data[i];
		run_one(run, f, v, slots, inputs);
		for (int k = 0; k < v->nargs; k++)
			if (last[v->arg[k]->id] == i) drop(&slots[v->arg[k]->id], v->arg[k]);
		if (last[i] == i) drop(&slots[i], v);
	}
	for (int i = 0; i < f->outputs.length; i++) {
		const Val *v = f->outputs.data[i].val;
		memcpy(outputs[i].data, slots[v->id].tensor.data, bytes_of(v->type, run->mode));
	}
	for (int i = 0; i < count; i++) drop(&slots[i], f->vals.data[i]);
	free(slots);
	free(last);
}

void fn_eval_watch(Arena *arena, const Fn *f, EvalMode mode, const Tensor *inputs, Tensor *outputs,
                   void (*watch)(void *context, const Val *v, const Tensor *t), void *context) {
	Run run = {mode, watch, context};
	for (int i = 0; i < f->outputs.length; i++) {
		Type type = f->outputs.data[i].val->type;
		outputs[i] = (Tensor){type, arena_alloc(arena, bytes_of(type, mode))};
	}
	run_fn(&run, f, inputs, outputs);
}

void fn_eval(Arena *arena, const Fn *f, EvalMode mode, const Tensor *inputs, Tensor *outputs) {
	fn_eval_watch(arena, f, mode, inputs, outputs, NULL, NULL);
}
