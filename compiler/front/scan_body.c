/* scan_body.c: from values around slots to a Scan.
 *
 * In: a Fn under construction, the slots that stand for what a step gets, and what a step makes.  Out: one Scan value; its
 * operands are what the body reads from outside.
 *
 * In the body stands what depends on a slot.  Besides:
 * - what costs nothing to make again where it is read: constants, indices, repetitions;
 * - the cotangent that belongs to a `vjp` in the body, which is a leaf;
 * - the way from a variable to a scalar, where the body has the derivative of one by the other: `grad(energy, w)` of a parameter
 *   w must see how the body came from w. */
#include <string.h>

#include "session.h"

typedef struct Extract {
	Fn *f, *body;
	const ScanBody *b;
	bool *slot, *pulled;     /* by id; pulled: in the body although it depends on no slot */
	bool *inside, *needed;
	int count;               /* values of f */
	Val **map;               /* by id, in the body */
	VEC(Val *) constants;    /* operands */
} Extract;

static void mark_inside(Extract *x) {
	for (int i = 0; i < x->count; i++) {
		const Val *v = x->f->vals.data[i];
		x->inside[i] = x->slot[i];
		for (int k = 0; k < v->nargs && !x->inside[i]; k++) x->inside[i] = x->inside[v->arg[k]->id];
	}
	for (int i = 0; i < x->count; i++) x->inside[i] |= x->pulled[i];
}

static void mark_needed(Extract *x) {
	memset(x->needed, 0, sizeof *x->needed * (size_t)x->count);
	for (int i = 0; i < x->b->carries.length; i++) x->needed[x->b->carries.data[i].next->id] = true;
	for (int i = 0; i < x->b->emitted.length; i++) x->needed[x->b->emitted.data[i].val->id] = true;
	for (int i = x->count - 1; i >= 0; i--)
		for (int k = 0; x->needed[i] && x->inside[i] && k < x->f->vals.data[i]->nargs; k++)
			x->needed[x->f->vals.data[i]->arg[k]->id] = true;
}

/* A cotangent of a custom value in the body: the leaf with its number among what the adjoints are made of. */
static bool pull_cotangent(Extract *x, const Val *custom) {
	bool changed = false;
	for (int i = 0; i < custom->id; i++) {
		const Val *v = x->f->vals.data[i];
		if (v->op != OpCotangent || x->slot[i] || v->list[0].data[0] != custom->list[0].data[0]) continue;
		changed = !x->slot[i];
		x->slot[i] = true;
	}
	return changed;
}

/* What lies between the variable and the scalar of a derivative. */
static bool pull_path(Extract *x, const Val *grad) {
	const Val *loss = grad->arg[0], *by = grad->arg[1];
	bool *from = NEW_ARRAY(x->f->arena, bool, x->count + 1), *to = NEW_ARRAY(x->f->arena, bool, x->count + 1), changed = false;
	from[by->id] = true;
	for (int i = by->id + 1; i < x->count; i++)
		for (int k = 0; k < x->f->vals.data[i]->nargs; k++) from[i] |= from[x->f->vals.data[i]->arg[k]->id];
	to[loss->id] = true;
	for (int i = loss->id; i > by->id; i--) {
		const Val *v = x->f->vals.data[i];
		for (int k = 0; to[i] && k < v->nargs; k++) to[v->arg[k]->id] = true;
		if (!to[i] || !from[i] || x->inside[i]) continue;
		x->pulled[i] = changed = true;
	}
	return changed;
}

static void find_body(Extract *x) {
	for (bool changed = true; changed;) {
		changed = false;
		mark_inside(x);
		mark_needed(x);
		for (int i = 0; i < x->count; i++) {
			const Val *v = x->f->vals.data[i];
			if (!x->needed[i] || !x->inside[i]) continue;
			if (v->op == OpCustom) changed |= pull_cotangent(x, v);
			if (v->op == OpGrad) changed |= pull_path(x, v);
		}
	}
}

static Val *constant(Extract *x, Val *v) {
	vec_push(x->f->arena, &x->constants, v);
	return fn_input(x->body, arena_printf(x->f->arena, "constant %d", x->constants.length), INPUT_DATA, v->type);
}

/* A value from outside, in the body. */
static Val *from_outside(Extract *x, Val *v) {
	Val **at = &x->map[v->id];
	if (*at) return *at;
	bool again = v->op == OpConst || v->op == OpIota || v->op == OpBroadcast;
	Val *arg = again && v->nargs ? from_outside(x, v->arg[0]) : NULL;
	return *at = again ? fn_rebuild(x->body, v, &arg) : constant(x, v);
}

static Val *in_body(Extract *x, Val *v) { return x->map[v->id] ? x->map[v->id] : from_outside(x, v); }

static void copy_values(Extract *x) {
	for (int i = 0; i < x->count; i++) {
		Val *v = x->f->vals.data[i];
		if (!x->needed[i] || !x->inside[i] || x->map[i]) continue;
		Val **args = NEW_ARRAY(x->f->arena, Val *, v->nargs + 1);
		for (int k = 0; k < v->nargs; k++) args[k] = in_body(x, v->arg[k]);
		x->body->span = v->span;
		/* a carry whose first value adapted */
		x->map[i] = v->op == OpCast && args[0]->type.dtype == v->type.dtype ? args[0] : fn_rebuild(x->body, v, args);
	}
}

bool scan_read_as(const Fn *f, const Val *slot, DType dtype) {
	for (int i = slot->id + 1; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		for (int k = 0; k < v->nargs; k++)
			if (v->arg[k] == slot && (v->op != OpCast || v->type.dtype != dtype)) return false;
	}
	return true;
}

static Val *input(Extract *x, const char *name, const Val *slot, Type type) {
	x->body->span = slot->span;
	return x->map[slot->id] = fn_input(x->body, name, INPUT_DATA, type);
}

Val *scan_extract(Fn *f, const ScanBody *b) {
	int n = f->vals.length, ncarries = b->carries.length;
	Extract x = {.f = f, .body = fn_new(f->arena, "step"), .b = b, .count = n};
	Span span = f->span;
	x.slot = NEW_ARRAY(f->arena, bool, n + 1), x.pulled = NEW_ARRAY(f->arena, bool, n + 1);
	x.inside = NEW_ARRAY(f->arena, bool, n + 1), x.needed = NEW_ARRAY(f->arena, bool, n + 1);
	x.map = NEW_ARRAY(f->arena, Val *, n + 1);
	x.slot[b->index->id] = true;
	for (int i = 0; i < ncarries; i++) x.slot[b->carries.data[i].slot->id] = true;
	for (int i = 0; i < b->constants.length; i++) x.slot[b->constants.data[i].slot->id] = true;
	find_body(&x);
	input(&x, b->index_name, b->index, b->index->type);
	for (int i = 0; i < ncarries; i++) {
		const ScanSlot *c = &b->carries.data[i];
		input(&x, c->name, c->slot, c->first->type);
	}
	for (int i = 0; i < b->constants.length; i++) {
		const ScanSlot *c = &b->constants.data[i];
		if (x.needed[c->slot->id]) x.map[c->slot->id] = from_outside(&x, c->first);
	}
	copy_values(&x);
	for (int i = 0; i < ncarries; i++) fn_output(x.body, b->carries.data[i].name, in_body(&x, b->carries.data[i].next), -1);
	for (int i = 0; i < b->emitted.length; i++)
		fn_output(x.body, b->emitted.data[i].name, in_body(&x, b->emitted.data[i].val), -1);
	Val **args = NEW_ARRAY(f->arena, Val *, ncarries + x.constants.length + 1);
	for (int i = 0; i < ncarries; i++) args[i] = b->carries.data[i].first;
	for (int i = 0; i < x.constants.length; i++) args[ncarries + i] = x.constants.data[i];
	f->span = span;
	return ir_scan(f, fn_canonical(x.body), b->count, b->reversed, ncarries, ncarries + x.constants.length, args);
}
