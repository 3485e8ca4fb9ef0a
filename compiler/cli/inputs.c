/* inputs.c: in: --input name=x.npy; out: arrays whose shapes fit what a Fn takes, and the batch they come to.
 *
 * Which dims carry the batch is read off the types at batch 1 and at batch 2: a dim is a + b * B. */
#include <string.h>

#include "inputs.h"

int64_t dim_slope(const Wanted *w, int axis) { return w->two.dim[axis] - w->one.dim[axis]; }

const char *wanted_text(Arena *arena, const Wanted *w) {
	Text text = {.arena = arena};
	text_add(&text, "%s[", dtype_info[w->one.dtype].text);
	for (int i = 0; i < w->one.rank; i++) {
		int64_t slope = dim_slope(w, i), rest = w->one.dim[i] - slope;
		text_add(&text, i ? ", " : "");
		if (!slope) text_add(&text, "%lld", (long long)rest);
		else if (slope == 1) text_add(&text, "B");
		else text_add(&text, "%lld * B", (long long)slope);
		if (slope && rest) text_add(&text, " %c %lld", rest < 0 ? '-' : '+', (long long)(rest < 0 ? -rest : rest));
	}
	text_add(&text, "]");
	return text.data;
}

WantedList wanted_inputs(Arena *arena, const Fn *one, const Fn *two) {
	WantedList list = {0};
	for (int i = 0; i < one->inputs.length; i++) {
		const Input *a = &one->inputs.data[i];
		if (a->kind != INPUT_DATA) continue;
		Wanted w = {.name = a->name, .one = a->type, .two = a->type, .classes = a->classes};
		for (int k = 0; k < two->inputs.length; k++)
			if (two->inputs.data[k].kind == INPUT_DATA && strcmp(two->inputs.data[k].name, a->name) == 0)
				w.two = two->inputs.data[k].type;
		vec_push(arena, &list, w);
	}
	return list;
}

static Wanted *find_wanted(WantedList *list, const char *name, size_t length) {
	for (int i = 0; i < list->length; i++)
		if (strlen(list->data[i].name) == length && strncmp(list->data[i].name, name, length) == 0) return &list->data[i];
	return NULL;
}

static void unknown_input(Session *s, const WantedList *list, const char *given, size_t length) {
	char *name = arena_text(s->arena, given, length);
	const char **names = NEW_ARRAY(s->arena, const char *, list->length + 1);
	Text all = {.arena = s->arena};
	for (int i = 0; i < list->length; i++) {
		names[i] = list->data[i].name;
		text_add(&all, "%s`%s`", i ? ", " : "", names[i]);
	}
	const char *near = nearest_name(name, names, list->length);
	diag_error(s->diag, (Span){0}, "--input %s: there is no input of this name", name);
	if (near) diag_help(s->diag, "did you mean `%s`?", near);
	else if (list->length) diag_help(s->diag, "the inputs are %s", all.data);
	else diag_help(s->diag, "there are no inputs");
}

bool inputs_read(Session *s, WantedList *list, bool doubles) {
	const Options *o = s->options;
	for (int i = 0; i < o->ninputs; i++) {
		const char *equals = strchr(o->input[i], '=');
		size_t length = (size_t)(equals - o->input[i]);
		Wanted *w = find_wanted(list, o->input[i], length);
		if (!w) {
			unknown_input(s, list, o->input[i], length);
		} else if (w->array) {
			diag_error(s->diag, (Span){0}, "--input %s is given twice", w->name);
		} else {
			DType dtype = doubles && dtype_is_float(w->one.dtype) ? DTYPE_F64 : w->one.dtype;
			w->array = array_read(s->arena, s->diag, equals + 1, dtype, w->classes);
			if (!w->array) return false;
		}
	}
	for (int i = 0; i < list->length && !s->diag->errors; i++) {
		if (list->data[i].array) continue;
		diag_error(s->diag, (Span){0}, "no array for the input `%s`, %s", list->data[i].name,
		           wanted_text(s->arena, &list->data[i]));
		diag_help(s->diag, "add --input %s=FILE.npy", list->data[i].name);
	}
	return s->diag->errors == 0;
}

/* Does `dim` fit a + b * B?  Sets *batch when the axis says it, and `by` to who said it first. */
static bool fits(const Wanted *w, int axis, int64_t dim, int64_t *batch, const Wanted **by) {
	int64_t slope = dim_slope(w, axis), rest = w->one.dim[axis] - slope;
	if (!slope) return dim == rest;
	if ((dim - rest) % slope || (dim - rest) / slope < 1) return false;
	if (!*batch) {
		*batch = (dim - rest) / slope;
		*by = w;
	}
	return (dim - rest) / slope == *batch;
}

bool inputs_batch(Session *s, const WantedList *list, int64_t *batch) {
	const Wanted *by = NULL;
	*batch = 0;
	for (int i = 0; i < list->length; i++) {
		const Wanted *w = &list->data[i];
		bool ok = w->array->type.rank == w->one.rank;
		for (int d = 0; ok && d < w->one.rank; d++) ok = fits(w, d, w->array->type.dim[d], batch, &by);
		if (ok) continue;
		if (w->array->type.rank == w->one.rank && w->one.rank && dim_slope(w, 0) && !w->array->type.dim[0]) {
			diag_error(s->diag, (Span){0}, "the array for `%s` holds no samples: it is %s", w->name,
			           type_text(s->arena, w->array->type));
			return false;
		}
		diag_error(s->diag, (Span){0}, "the array for `%s` is %s, wanted is %s", w->name, type_text(s->arena, w->array->type),
		           wanted_text(s->arena, w));
		if (by && by != w)
			diag_note(s->diag, (Span){0}, "with B = %lld, as the array for `%s` says", (long long)*batch, by->name);
		return false;
	}
	if (!*batch) *batch = 1;
	return true;
}

Tensor wide_tensor(Arena *arena, Type type, const void *dense) {
	int64_t n = type_count(type);
	Tensor t = {type, arena_alloc(arena, (size_t)n * 8)};
	for (int64_t i = 0; i < n; i++) {
		double value = element_value(type.dtype, (const char *)dense + i * dtype_info[type.dtype].bytes);
		if (dtype_is_float(type.dtype)) ((double *)t.data)[i] = value;
		else ((int32_t *)t.data)[i] = (int32_t)value;
	}
	return t;
}

Tensor wide_input(Session *s, const Input *in, const Situation *now) {
	Tensor t = {in->type, NULL};
	if (in->kind == INPUT_DATA) return t;
	if (in->kind == INPUT_PARAM || in->kind == INPUT_STATE || in->kind == INPUT_SLOT) {
		char *dense = arena_alloc(s->arena, (size_t)type_count(in->type) * (size_t)dtype_info[in->type.dtype].bytes);
		int number = program_find(s->program, in->name, 0);
		if (number < 0) die("no persistent tensor '%s'", in->name);
		layout_store(&s->layout, s->program, number, now->block, dense);
		return wide_tensor(s->arena, in->type, dense);
	}
	t.data = arena_alloc(s->arena, 8);
	if (in->kind == INPUT_STEP) *(int32_t *)t.data = (int32_t)now->step;
	if (in->kind == INPUT_EPOCH) *(int32_t *)t.data = (int32_t)now->epoch;
	if (in->kind == INPUT_SEED) {
		((uint32_t *)t.data)[0] = (uint32_t)now->seed;
		((uint32_t *)t.data)[1] = (uint32_t)(now->seed >> 32);
	}
	for (int i = 0; in->kind == INPUT_SETTING && i < now->train->nsettings; i++)
		if (strcmp(now->train->settings[i].name, in->name) == 0) *(double *)t.data = now->train->settings[i].value;
	return t;
}
