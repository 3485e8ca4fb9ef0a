/* finish.c: from the Fn as built to the Fn as others get it.
 *
 * In: a Build with its outputs.  Out: inputs in the order data, persistent, step, epoch, seed, settings, only the used ones (data
 * fields of a train block: those it uses in any of its Fns), canonical and verified. */
#include <string.h>

#include "session.h"

/* Marks seen[id] for everything that the values marked already are computed from.  through_stop: also what no gradient
 * flows to.  Operands have smaller numbers than their results, so one sweep downwards is enough. */
static void sweep(const Fn *f, bool through_stop, bool *seen) {
	for (int i = f->vals.length - 1; i >= 0; i--) {
		const Val *v = f->vals.data[i];
		if (!seen[i] || (v->op == OpStop && !through_stop)) continue;
		for (int k = 0; k < v->nargs; k++) seen[v->arg[k]->id] = true;
	}
}

void mark_reachable(const Fn *f, const Val *from, bool through_stop, bool *seen) {
	seen[from->id] = true;
	sweep(f, through_stop, seen);
}

void mark_learning(const Fn *f, const Val *from, bool *seen) {
	seen[from->id] = true;
	for (int i = f->vals.length - 1; i >= 0; i--) {
		const Val *v = f->vals.data[i];
		for (int k = 0; seen[i] && k < v->nargs; k++)
			if (derivative_flows(v, k)) seen[v->arg[k]->id] = true;
	}
}

const Val *blocking_value(Arena *arena, const Fn *f, const bool *seen, const Val *by) {
	bool *from = NEW_ARRAY(arena, bool, f->vals.length + 1);
	from[by->id] = true;
	for (int i = by->id + 1; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		for (int k = 0; k < v->nargs; k++) from[i] |= from[v->arg[k]->id];
	}
	for (int i = f->vals.length - 1; i > by->id; i--) {
		const Val *v = f->vals.data[i];
		for (int k = 0; seen[i] && k < v->nargs; k++)
			if (from[v->arg[k]->id] && dtype_is_float(v->arg[k]->type.dtype) && !derivative_flows(v, k)) return v;
	}
	return NULL;
}

bool *mark_used(Arena *arena, const Fn *f) {
	bool *seen = NEW_ARRAY(arena, bool, f->vals.length + 1);
	for (int i = 0; i < f->outputs.length; i++) seen[f->outputs.data[i].val->id] = true;
	sweep(f, true, seen);
	return seen;
}

static const int kind_order[INPUT_KINDS] = {
    [INPUT_DATA] = 0, [INPUT_PARAM] = 1, [INPUT_STATE] = 1, [INPUT_SLOT] = 1,
    [INPUT_STEP] = 2, [INPUT_EPOCH] = 3, [INPUT_SEED] = 4,  [INPUT_SETTING] = 5,
};

static int persistent_number(Elab *e, const Input *in, const TrainState *t) {
	int train = in->kind == INPUT_SLOT && t ? t->index : -1;
	return persistent_find(e, in->name, in->kind, train);
}

static bool field_wanted(Elab *e, const TrainState *t, const char *name) {
	const Train *train = &e->program->trains.data[t->index];
	const DataSet *set = &e->program->data.data[train->data];
	for (int i = 0; i < train->ninputs; i++)
		if (!strcmp(set->fields[train->inputs[i]].name, name)) return true;
	return false;
}

Fn *finish_fn(Elab *e, Build *b, TrainState *t) {
	Fn *f = b->fn;
	bool *seen = mark_used(e->arena, f);
	int n = f->inputs.length, m = 0;
	bool *updated = NEW_ARRAY(e->arena, bool, n + 1);
	for (int i = 0; i < f->outputs.length; i++)
		if (f->outputs.data[i].updates >= 0) updated[f->outputs.data[i].updates] = true;
	int *order = NEW_ARRAY(e->arena, int, n + 1), *rank = NEW_ARRAY(e->arena, int, n + 1);
	for (int i = 0; i < n; i++) {
		const Input *in = &f->inputs.data[i];
		bool used = seen[in->val->id] || updated[i];
		if (in->kind == INPUT_DATA) used = t ? field_wanted(e, t, in->name) : true;
		if (!used) continue;
		rank[i] = kind_order[in->kind] << 24;
		if (kind_order[in->kind] == 1) rank[i] += persistent_number(e, in, t);
		int at = m++;
		while (at > 0 && rank[order[at - 1]] > rank[i]) order[at] = order[at - 1], at--;
		order[at] = i;
	}
	Fn sorted = *f;
	memset(&sorted.inputs, 0, sizeof sorted.inputs);
	int *moved = NEW_ARRAY(e->arena, int, n + 1);
	for (int i = 0; i < m; i++) {
		vec_push(e->arena, &sorted.inputs, f->inputs.data[order[i]]);
		moved[order[i]] = i;
	}
	for (int i = 0; i < sorted.outputs.length; i++)
		if (sorted.outputs.data[i].updates >= 0) sorted.outputs.data[i].updates = moved[sorted.outputs.data[i].updates];
	Fn *done = fn_canonical(&sorted);
	fn_verify(done, "elaboration");
	return done;
}
