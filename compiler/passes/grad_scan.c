/* grad_scan.c: the derivative of a scan is a scan the other way round.  In: a scan and the adjoints of its results; out:
 * adjoints of the first carries and of the constants.
 *
 * The forward scan is run with the carries on entry to each step as further results.  A step of the reverse scan takes
 * them, computes the body again, and pulls the adjoints of the body's results back to its inputs; its carries are the
 * adjoints of the carries and the sums, so far, of the adjoints of the constants. */
#include "grad.h"

void grad_project(Sweep *s, Val *y, Adjoint g) {
	Val *scan = y->arg[0];
	if (!wanted(s, scan)) return;
	Adjoint **results = &s->results[scan->id];
	if (!*results) *results = NEW_ARRAY(s->arena, Adjoint, scan->body->outputs.length);
	Adjoint *at = &(*results)[y->list[0].data[0]];
	*at = plain(at->value ? ir_Add(s->f, at->value, whole(s, g)) : whole(s, g));
}

Fn *replace_scans(Fn *f, const Replacements *replacements) {
	if (!replacements->length) return fn_canonical(f);
	Val **last = NEW_ARRAY(f->arena, Val *, f->vals.length + 1), **made = NEW_ARRAY(f->arena, Val *, f->vals.length + 1);
	/* A replacement may be replaced in turn, later. */
	for (int i = replacements->length - 1; i >= 0; i--) {
		const Replacement *r = &replacements->data[i];
		last[r->scan->id] = last[r->with->id] ? last[r->with->id] : r->with;
	}
	Rebuild r = rebuild_start(f);
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i];
		if (v->op != OpScan) {
			r.map[i] = rebuild_copy(&r, v);
			continue;
		}
		Val *with = last[i] ? last[i] : v;
		if (!made[with->id]) {
			Val scan = *with; /* its operands are those of v, which stand before both */
			made[with->id] = fn_rebuild(r.to, &scan, rebuild_args(&r, v));
		}
		r.map[i] = made[with->id];
	}
	return rebuild_finish(&r);
}

/* The same scan with the float carries on entry to each step as its last results. */
static Val *with_saved_carries(Sweep *s, Val *y) {
	Fn *body = fn_canonical(y->body);
	int carries = (int)y->list[0].data[0];
	for (int i = 0; i < carries; i++)
		fn_output(body, arena_printf(s->arena, "saved %d of %d results", i, body->outputs.length), body->inputs.data[i + 1].val,
		          -1);
	Val scan = *y;
	scan.body = body;
	Val *with = fn_rebuild(s->f, &scan, y->arg);
	vec_push(s->arena, s->replacements, ((Replacement){y, with}));
	return with;
}

/* The body of the reverse scan, while it is built, and the operands it is called with. */
typedef struct Reverse {
	Fn *f;
	Val *index;                            /* of the step */
	VEC(Val *) carries, constants;         /* operands of the scan */
	VEC(Val *) carry_inputs;               /* inputs of the body, in the same order */
	Val **map;                             /* by id in the forward body */
	Val **cotangents;
} Reverse;

/* A constant of the reverse scan.  Inputs for carries come first, so all carries are added before any constant. */
static Val *constant(Reverse *r, Val *operand) {
	vec_push(r->f->arena, &r->constants, operand);
	return fn_input(r->f, arena_printf(r->f->arena, "constant %d", r->constants.length), INPUT_DATA, operand->type);
}

static Val *carry(Reverse *r, Val *start) {
	vec_push(r->f->arena, &r->carries, start);
	Val *input = fn_input(r->f, arena_printf(r->f->arena, "carry %d", r->carries.length), INPUT_DATA, start->type);
	vec_push(r->f->arena, &r->carry_inputs, input);
	return input;
}

/* Row `index` of a stack of results. */
static Val *row(Reverse *r, Val *stack) { return ir_gather(r->f, constant(r, stack), r->index, 0); }

/* The forward body's values in the reverse body. */
static void copy_body(Reverse *r, const Fn *body) {
	r->cotangents = NEW_ARRAY(r->f->arena, Val *, body->next_mark + 1);
	r->f->next_mark = body->next_mark;
	for (int i = 0; i < body->vals.length; i++) {
		Val *v = body->vals.data[i];
		if (v->op == OpInput) continue;
		Val **args = NEW_ARRAY(r->f->arena, Val *, v->nargs + 1);
		for (int k = 0; k < v->nargs; k++) args[k] = r->map[v->arg[k]->id];
		r->f->span = v->span;
		r->map[i] = fn_rebuild(r->f, v, args);
		if (v->op == OpCotangent) r->cotangents[v->list[0].data[0]] = r->map[i];
	}
}

static Val *zeros(Fn *f, Type type) {
	return ir_broadcast(f, ir_const(f, type.dtype, 0), type.rank, type.dim, NULL);
}

/* The adjoint of input i + 1 of the forward body is wanted: for a carry always, for a constant when the operand's is. */
static bool takes_adjoint(const Sweep *s, const Val *y, int i) {
	if (!dtype_is_float(y->arg[i]->type.dtype)) return false;
	return i < y->list[0].data[0] || wanted(s, y->arg[i]);
}

/* Adjoints of the forward body's inputs, at the end of a step: outputs of the reverse body. */
static void pull_body(Sweep *s, Reverse *r, Val *y, Val **seeds) {
	const Fn *body = y->body;
	Replacements replacements = {0};
	Sweep inner = sweep_new(r->f, r->cotangents, &replacements);
	VEC(Val *) roots = {0};
	for (int i = 0; i < y->nargs; i++)
		if (takes_adjoint(s, y, i)) inner.active[r->map[body->inputs.data[i + 1].val->id]->id] = true;
	for (int i = 0; i < body->outputs.length; i++)
		if (seeds[i]) vec_push(s->arena, &roots, r->map[body->outputs.data[i].val->id]);
	sweep_paths(&inner, roots.length, roots.data);
	for (int i = 0; i < body->outputs.length; i++)
		if (seeds[i]) give(&inner, r->map[body->outputs.data[i].val->id], plain(seeds[i]));
	sweep_pull(&inner);
	for (int i = 0, k = 0; i < y->nargs; i++) {
		if (!takes_adjoint(s, y, i)) continue;
		Val *input = r->map[body->inputs.data[i + 1].val->id], *so_far = r->carry_inputs.data[k++];
		Adjoint g = inner.adjoint[input->id];
		Val *next = g.value ? whole(&inner, g) : NULL;
		if (i < y->list[0].data[0]) next = next ? next : zeros(r->f, so_far->type);
		else next = next ? ir_Add(r->f, so_far, next) : so_far;
		fn_output(r->f, arena_printf(s->arena, "adjoint %d", i), next, -1);
	}
	r->f = replace_scans(r->f, &replacements);
}

void grad_scan(Sweep *s, Val *y, Adjoint g) {
	(void)g;
	int carries = (int)y->list[0].data[0], noutputs = y->body->outputs.length;
	const Adjoint *given = s->results[y->id];
	Val *saved = with_saved_carries(s, y);
	Reverse r = {.f = fn_new(s->arena, "reverse"), .map = NEW_ARRAY(s->arena, Val *, y->body->vals.length + 1)};
	Val **seeds = NEW_ARRAY(s->arena, Val *, noutputs + 1);
	r.index = r.map[y->body->inputs.data[0].val->id] = fn_input(r.f, "index", INPUT_DATA, type_scalar(DTYPE_I32));
	for (int i = 0; i < y->nargs; i++) {
		if (!takes_adjoint(s, y, i)) continue;
		bool last = i < carries && given[i].value;
		Val *in = carry(&r, last ? given[i].value : zeros(s->f, y->arg[i]->type));
		if (i < carries) seeds[i] = in;
	}
	for (int i = 0; i < y->nargs; i++) {
		Val *input = y->body->inputs.data[i + 1].val;
		r.map[input->id] = i < carries ? row(&r, ir_project(s->f, saved, noutputs + i)) : constant(&r, y->arg[i]);
	}
	for (int i = carries; i < noutputs; i++)
		if (given[i].value) seeds[i] = row(&r, given[i].value);
	copy_body(&r, y->body);
	pull_body(s, &r, y, seeds);
	int n = r.carries.length;
	Val **args = NEW_ARRAY(s->arena, Val *, n + r.constants.length + 1);
	for (int i = 0; i < n; i++) args[i] = r.carries.data[i];
	for (int i = 0; i < r.constants.length; i++) args[n + i] = r.constants.data[i];
	Val *reverse = ir_scan(s->f, r.f, y->list[2].data[0], !y->list[1].data[0], n, n + r.constants.length, args);
	for (int i = 0, k = 0; i < y->nargs; i++)
		if (takes_adjoint(s, y, i)) give(s, y->arg[i], plain(ir_project(s->f, reverse, k++)));
}
