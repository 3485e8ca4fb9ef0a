/* interpret.c: in: a Fn; out: an Executable whose entry evaluates it with the literal f32 interpreter on a frame's
 * buffers.  Slow, and the meaning of what compiled code must do: the runtime is tested on it. */
#include "host.h"

#include <string.h>

typedef struct Interpreted {
	const Fn *fn;
	const Program *program;
	const Layout *layout;
	int *place;          /* of input i in the persistent block, -1: an io buffer */
} Interpreted;

/* The interpreter's element for a stored one, and back. */
static void widen(Type type, const char *stored, void *wide) {
	int64_t n = type_count(type);
	int size = dtype_info[type.dtype].bytes;
	switch (type.dtype) {
	case DTYPE_I8: for (int64_t i = 0; i < n; i++) ((int32_t *)wide)[i] = ((const int8_t *)stored)[i]; break;
	case DTYPE_U8:
	case DTYPE_BOOL: for (int64_t i = 0; i < n; i++) ((int32_t *)wide)[i] = ((const uint8_t *)stored)[i]; break;
	case DTYPE_F16:
	case DTYPE_BF16: die("the interpreter stores no %s", dtype_info[type.dtype].text);
	default: memcpy(wide, stored, (size_t)n * (size_t)size);
	}
}

static void narrow(Type type, const void *wide, char *stored) {
	int64_t n = type_count(type);
	int size = dtype_info[type.dtype].bytes;
	if (size == 1) for (int64_t i = 0; i < n; i++) stored[i] = (char)((const int32_t *)wide)[i];
	else memcpy(stored, wide, (size_t)n * (size_t)size);
}

static void interpret_entry(Frame *frame, int64_t tid, int64_t nworkers) {
	(void)nworkers;
	if (tid != 0) return;
	const Interpreted *self = frame->executable->code;
	const Fn *fn = self->fn;
	Arena *arena = arena_new();
	Tensor *inputs = NEW_ARRAY(arena, Tensor, fn->inputs.length + 1), *outputs = NEW_ARRAY(arena, Tensor, fn->outputs.length + 1);
	int io = 0;
	for (int i = 0; i < fn->inputs.length; i++) {
		Type type = fn->inputs.data[i].type;
		const char *stored;
		if (self->place[i] >= 0) {
			char *dense = arena_alloc(arena, (size_t)type_count(type) * (size_t)dtype_info[type.dtype].bytes);
			layout_store(self->layout, self->program, self->place[i], frame->persistent, dense);
			stored = dense;
		} else {
			stored = frame->io[io++];
		}
		inputs[i] = (Tensor){type, arena_alloc(arena, (size_t)type_count(type) * 8)};
		widen(type, stored, inputs[i].data);
	}
	fn_eval(arena, fn, EVAL_F32, inputs, outputs);
	for (int i = 0; i < fn->outputs.length; i++) {
		const Output *out = &fn->outputs.data[i];
		Type type = out->val->type;
		if (out->updates < 0) {
			narrow(type, outputs[i].data, frame->io[io++]);
			continue;
		}
		char *dense = arena_alloc(arena, (size_t)type_count(type) * (size_t)dtype_info[type.dtype].bytes);
		narrow(type, outputs[i].data, dense);
		layout_load(self->layout, self->program, self->place[out->updates], frame->persistent, dense);
	}
	arena_free(arena);
}

Executable *exec_interpret(Arena *arena, const Fn *fn, const Program *p, const Layout *layout) {
	Interpreted *self = NEW(arena, Interpreted);
	*self = (Interpreted){fn, p, layout, NEW_ARRAY(arena, int, fn->inputs.length + 1)};
	for (int i = 0; i < fn->inputs.length; i++) {
		const Input *in = &fn->inputs.data[i];
		self->place[i] = -1;
		if (in->kind != INPUT_PARAM && in->kind != INPUT_STATE && in->kind != INPUT_SLOT) continue;
		for (int k = 0; k < p->persistent.length; k++)
			if (strcmp(p->persistent.data[k].path, in->name) == 0) self->place[i] = k;
		if (self->place[i] < 0) die("input '%s' is no persistent tensor of the program", in->name);
	}
	Executable *exe = NEW(arena, Executable);
	*exe = (Executable){.fn = fn, .entry = interpret_entry, .workers = 1, .arena_bytes = 64, .code = self};
	return exe;
}
