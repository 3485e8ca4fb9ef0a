/* interpret.c: in: a Fn; out: an Executable whose entry evaluates it with the literal f32 interpreter on a frame's
 * buffers.  Slow, and the meaning of what compiled code must do: the runtime is tested on it. */
#include "host.h"

#include <math.h>
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
	case DTYPE_BF16: for (int64_t i = 0; i < n; i++) ((float *)wide)[i] = (float)element_value(type.dtype, stored + 2 * i); break;
	default: memcpy(wide, stored, (size_t)n * (size_t)size);
	}
}

static void narrow(Type type, const void *wide, char *stored) {
	int64_t n = type_count(type);
	int size = dtype_info[type.dtype].bytes;
	if (size == 2) for (int64_t i = 0; i < n; i++) element_store(stored + 2 * i, type.dtype, (double)((const float *)wide)[i]);
	else if (size == 1) for (int64_t i = 0; i < n; i++) stored[i] = (char)((const int32_t *)wide)[i];
	else memcpy(stored, wide, (size_t)n * (size_t)size);
}

static Interpreted interpreted_make(Arena *arena, const Fn *fn, const Program *p, const Layout *layout) {
	Interpreted self = {fn, p, layout, NEW_ARRAY(arena, int, fn->inputs.length + 1)};
	for (int i = 0; i < fn->inputs.length; i++) {
		const Input *in = &fn->inputs.data[i];
		self.place[i] = -1;
		if (in->kind != INPUT_PARAM && in->kind != INPUT_STATE && in->kind != INPUT_SLOT) continue;
		self.place[i] = program_find(p, in->name, i);
		if (self.place[i] < 0) die("input '%s' is no persistent tensor of the program", in->name);
	}
	return self;
}

/* The Fn's inputs as the frame holds them; *io counts the buffers used. */
static Tensor *frame_inputs(Arena *arena, const Interpreted *self, const Frame *frame, int *io) {
	const Fn *fn = self->fn;
	Tensor *inputs = NEW_ARRAY(arena, Tensor, fn->inputs.length + 1);
	for (int i = 0; i < fn->inputs.length; i++) {
		Type type = fn->inputs.data[i].type;
		const char *stored;
		if (self->place[i] >= 0) {
			char *dense = arena_alloc(arena, (size_t)type_count(type) * (size_t)dtype_info[type.dtype].bytes);
			layout_store(self->layout, self->program, self->place[i], frame->persistent, dense);
			stored = dense;
		} else {
			stored = frame->io[(*io)++];
		}
		inputs[i] = (Tensor){type, arena_alloc(arena, (size_t)type_count(type) * 8)};
		widen(type, stored, inputs[i].data);
	}
	return inputs;
}

static void interpret_entry(Frame *frame, int64_t tid, int64_t nworkers) {
	(void)nworkers;
	if (tid != 0) return;
	const Interpreted *self = frame->executable->code;
	const Fn *fn = self->fn;
	Arena *arena = arena_new();
	int io = 0;
	Tensor *inputs = frame_inputs(arena, self, frame, &io), *outputs = NEW_ARRAY(arena, Tensor, fn->outputs.length + 1);
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
	*self = interpreted_make(arena, fn, p, layout);
	Executable *exe = NEW(arena, Executable);
	*exe = (Executable){.fn = fn, .entry = interpret_entry, .workers = 1, .arena_bytes = 64, .code = self};
	return exe;
}

typedef struct Hunt { const Val *found; int64_t element; double value; bool nan; } Hunt;

static void watch_value(void *context, const Val *v, const Tensor *t) {
	Hunt *hunt = context;
	double splat;
	if (hunt->found || !dtype_is_float(t->type.dtype) || is_splat(v, &splat)) return;
	for (int64_t i = 0; i < type_count(t->type); i++) {
		double value = t->type.dtype == DTYPE_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
		if (!(hunt->nan ? isnan(value) : isinf(value))) continue;
		*hunt = (Hunt){v, i, value, hunt->nan};
		return;
	}
}

static const char *element_text(Arena *arena, Type type, int64_t element) {
	int64_t index[MAX_RANK];
	for (int i = type.rank - 1; i >= 0; i--) {
		index[i] = element % type.dim[i];
		element /= type.dim[i];
	}
	Text text = {.arena = arena};
	for (int i = 0; i < type.rank; i++) text_add(&text, i ? ", %lld" : " at [%lld", (long long)index[i]);
	text_add(&text, type.rank ? "]" : "");
	return text.data ? text.data : "";
}

void note_nonfinite(Diag *diag, const Runner *runner, const Program *p, const Layout *layout, bool nan) {
	const Fn *fn = runner->exe->fn;
	Arena *arena = arena_new();
	Interpreted self = interpreted_make(arena, fn, p, layout);
	int io = 0;
	Tensor *inputs = frame_inputs(arena, &self, &runner->frame, &io), *outputs = NEW_ARRAY(arena, Tensor, fn->outputs.length + 1);
	Hunt hunt = {.nan = nan};
	fn_eval_watch(arena, fn, EVAL_F32, inputs, outputs, watch_value, &hunt);
	if (hunt.found) {
		const char *what = op_info[hunt.found->op].text, *kind = "";
		if (hunt.found->op == OpInput) {
			const Input *in = &fn->inputs.data[hunt.found->list[0].data[0]];
			what = in->name;
			kind = arena_printf(arena, "%s ", input_kind_text[in->kind]);
		}
		diag_note(diag, hunt.found->span, "the first value that is %s is %s`%s`%s, %s", nan ? "nan" : "inf", kind, what,
		          element_text(arena, hunt.found->type, hunt.element), type_text(arena, hunt.found->type));
	}
	arena_free(arena);
}
