/* grad_scan.c: the derivative of a scan is a scan the other way round.  In: a scan and the adjoints of its results; out:
 * adjoints of the first carries and of the constants.
 *
 * The forward scan is run with the carries on entry to each step as further results.  A step of the reverse scan takes
 * them, computes the body again, and pulls the adjoints of the body's results back to its inputs; its carries are the
 * adjoints of the carries and the sums, so far, of the adjoints of the constants.  Of a constant that is read row by row, one row
 * a step, the adjoint is made row by row too: emitted, not summed. */
#include "grad.h"

#include <string.h>

void grad_project(Sweep *s, Val *y, Adjoint g) {
	Val *scan = y->arg[0];
	if (!wanted(s, scan)) return;
	Adjoint **results = &s->results[scan->id];
	if (!*results) *results = NEW_ARRAY(s->arena, Adjoint, scan->body->outputs.length);
	Adjoint *at = &(*results)[y->list[0].data[0]];
	*at = plain(at->value ? ir_Add(s->f, at->value, whole(s, g)) : whole(s, g));
}

Fn *replace_scans(Fn *f, const Replacements *replacements) {
	if (!replacements->length) return f;
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

/* A name that no output of the body has. */
static const char *free_name(Sweep *s, const Fn *body, const char *wish) {
	for (int i = 0; i < body->outputs.length; i++)
		if (!strcmp(body->outputs.data[i].name, wish)) return free_name(s, body, arena_printf(s->arena, "%s again", wish));
	return wish;
}

/* The same scan with the carries on entry to each step as its last results. */
static Val *with_saved_carries(Sweep *s, Val *y) {
	Fn *body = fn_canonical(y->body);
	int carries = scan_carries(y);
	for (int i = 0; i < carries; i++) {
		const Input *in = &body->inputs.data[i + 1];
		fn_output(body, free_name(s, body, arena_printf(s->arena, "%s before", in->name)), in->val, -1);
	}
	Val scan = *y;
	scan.body = body;
	Val *with = fn_rebuild(s->f, &scan, y->arg);
	vec_push(s->arena, s->replacements, ((Replacement){y, with}));
	return with;
}

/* ---- what has an adjoint ---- */

/* A constant that a step reads one row of, the one of its number: the reading, and the leaf that stands for it in the sweep. */
typedef struct Row { int input; const Val *value; Val *leaf; bool emitted; } Row;

typedef struct Paths {
	bool *in;        /* by input - 1: its adjoint is summed (constants) or carried (carries) */
	VEC(Row) rows;
} Paths;

static bool is_row(const Fn *body, const Val *v) {
	return v->op == OpGather && v->list[0].data[0] == 0 && v->arg[1] == body->inputs.data[0].val && v->arg[0]->op == OpInput;
}

/* Which inputs lie on a way from something wanted: operands, or carries that come from such. */
static void mark_active(Sweep *s, const Val *y, const bool *wanted_input, bool *active, Sweep *paths) {
	Fn *body = y->body;
	VEC(Val *) roots = {0};
	for (int i = 0; i < body->outputs.length; i++) vec_push(s->arena, &roots, body->outputs.data[i].val);
	for (int i = 0; i < y->nargs; i++) active[i] = wanted_input[i];
	for (bool changed = true; changed;) {
		changed = false;
		*paths = sweep_new(body, NULL, NULL);
		for (int i = 0; i < y->nargs; i++) paths->active[body->inputs.data[i + 1].val->id] = active[i];
		sweep_paths(paths, roots.length, roots.data);
		for (int i = 0; i < scan_carries(y); i++) {
			bool reached = paths->active[body->outputs.data[i].val->id] && dtype_is_float(y->arg[i]->type.dtype);
			changed |= reached && !active[i];
			active[i] |= reached;
		}
	}
}

/* Of those, the carries that a result with an adjoint depends on. */
static void keep_relevant(Sweep *s, const Val *y, const Adjoint *given, bool *active) {
	Fn *body = y->body;
	int carries = scan_carries(y);
	bool *relevant = NEW_ARRAY(s->arena, bool, body->outputs.length + 1);
	for (int i = 0; i < body->outputs.length; i++) relevant[i] = given[i].value != NULL;
	for (bool changed = true; changed;) {
		Sweep paths = sweep_new(body, NULL, NULL);
		VEC(Val *) roots = {0};
		changed = false;
		for (int i = 0; i < body->outputs.length; i++)
			if (relevant[i]) vec_push(s->arena, &roots, body->outputs.data[i].val);
		sweep_paths(&paths, roots.length, roots.data);
		for (int k = 0; k < paths.order.length; k++) {
			const Val *v = paths.order.data[k];
			int64_t input = v->op == OpInput ? v->list[0].data[0] - 1 : -1;
			if (input < 0 || input >= carries || !active[input] || relevant[input]) continue;
			relevant[input] = changed = true;
		}
	}
	for (int i = 0; i < carries; i++) active[i] = active[i] && relevant[i];
}

static Paths find_paths(Sweep *s, const Val *y, const Adjoint *given) {
	const Fn *body = y->body;
	bool *want = NEW_ARRAY(s->arena, bool, y->nargs + 1), *whole_use = NEW_ARRAY(s->arena, bool, y->nargs + 1);
	Paths p = {.in = NEW_ARRAY(s->arena, bool, y->nargs + 1)};
	for (int i = 0; i < y->nargs; i++) want[i] = dtype_is_float(y->arg[i]->type.dtype) && wanted(s, y->arg[i]);
	Sweep paths;
	mark_active(s, y, want, p.in, &paths);
	keep_relevant(s, y, given, p.in);
	for (int i = 0; i < body->vals.length; i++) {
		const Val *v = body->vals.data[i];
		int64_t input = is_row(body, v) ? v->arg[0]->list[0].data[0] - 1 : -1;
		if (input >= scan_carries(y)) {
			if (p.in[input]) vec_push(s->arena, &p.rows, ((Row){(int)input, v, NULL, false}));
			continue;
		}
		for (int k = 0; k < v->nargs; k++)
			if (v->arg[k]->op == OpInput && v->arg[k]->list[0].data[0] > 0) whole_use[v->arg[k]->list[0].data[0] - 1] = true;
	}
	for (int i = 0; i < body->outputs.length; i++) {
		const Val *v = body->outputs.data[i].val;
		if (v->op == OpInput && v->list[0].data[0] > 0) whole_use[v->list[0].data[0] - 1] = true;
	}
	for (int i = scan_carries(y); i < y->nargs; i++) p.in[i] = p.in[i] && whole_use[i];
	return p;
}

/* ---- the reverse body ---- */

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

static Val *carry(Reverse *r, const char *name, Val *start) {
	vec_push(r->f->arena, &r->carries, start);
	Val *input = fn_input(r->f, arena_printf(r->f->arena, "d %s", name), INPUT_DATA, start->type);
	vec_push(r->f->arena, &r->carry_inputs, input);
	return input;
}

/* Row `index` of a stack of results. */
static Val *row(Reverse *r, Val *stack) { return ir_gather(r->f, constant(r, stack), r->index, 0); }

/* The forward body's values in the reverse body; rows are leaves until the sweep is done. */
static void copy_body(Reverse *r, const Fn *body, Paths *p) {
	r->cotangents = NEW_ARRAY(r->f->arena, Val *, body->next_mark + 1);
	r->f->next_mark = body->next_mark;
	for (int i = 0; i < body->vals.length; i++) {
		Val *v = body->vals.data[i];
		if (v->op == OpInput) continue;
		r->f->span = v->span;
		for (int k = 0; k < p->rows.length; k++) {
			int64_t id;
			if (p->rows.data[k].value == v) r->map[i] = p->rows.data[k].leaf = ir_cotangent(r->f, v->type, &id);
		}
		if (r->map[i]) continue;
		Val **args = NEW_ARRAY(r->f->arena, Val *, v->nargs + 1);
		for (int k = 0; k < v->nargs; k++) args[k] = r->map[v->arg[k]->id];
		r->map[i] = fn_rebuild(r->f, v, args);
		if (v->op == OpCotangent) r->cotangents[v->list[0].data[0]] = r->map[i];
	}
}

static Val *zeros(Fn *f, Type type) {
	return ir_broadcast(f, ir_const(f, type.dtype, 0), type.rank, type.dim, NULL);
}

/* Puts rows in the place of their leaves, and scans that save what derivatives need in the place of those that do not. */
static Fn *finish_body(Reverse *r, const Paths *p, Replacements *replacements) {
	Rebuild b = rebuild_start(r->f);
	for (int i = 0; i < r->f->vals.length; i++) {
		Val *v = r->f->vals.data[i];
		for (int k = 0; k < p->rows.length && v->op == OpCotangent; k++) {
			const Row *x = &p->rows.data[k];
			if (x->leaf != v) continue;
			b.to->span = x->value->span;
			b.map[i] = ir_gather(b.to, b.map[r->map[x->value->arg[0]->id]->id], b.map[r->index->id], 0);
		}
		if (!b.map[i]) b.map[i] = rebuild_copy(&b, v);
	}
	for (int i = 0; i < r->f->outputs.length; i++)
		fn_output(b.to, r->f->outputs.data[i].name, b.map[r->f->outputs.data[i].val->id], -1);
	for (int i = 0; i < replacements->length; i++) {
		Replacement *x = &replacements->data[i];
		*x = (Replacement){b.map[x->scan->id], b.map[x->with->id]};
	}
	return replace_scans(b.to, replacements);
}

/* Adjoints of the forward body's inputs and rows, at the end of a step: outputs of the reverse body. */
static void pull_body(Sweep *s, Reverse *r, Val *y, Paths *p, Val **seeds) {
	const Fn *body = y->body;
	Replacements replacements = {0};
	Sweep inner = sweep_new(r->f, r->cotangents, &replacements);
	VEC(Val *) roots = {0};
	for (int i = 0; i < y->nargs; i++)
		if (p->in[i]) inner.active[r->map[body->inputs.data[i + 1].val->id]->id] = true;
	for (int k = 0; k < p->rows.length; k++) inner.active[p->rows.data[k].leaf->id] = true;
	for (int i = 0; i < body->outputs.length; i++)
		if (seeds[i]) vec_push(s->arena, &roots, r->map[body->outputs.data[i].val->id]);
	sweep_paths(&inner, roots.length, roots.data);
	for (int i = 0; i < body->outputs.length; i++)
		if (seeds[i]) give(&inner, r->map[body->outputs.data[i].val->id], plain(seeds[i]));
	sweep_pull(&inner);
	for (int i = 0, k = 0; i < y->nargs; i++) {
		if (!p->in[i]) continue;
		const Input *of = &body->inputs.data[i + 1];
		Val *input = r->map[of->val->id], *so_far = r->carry_inputs.data[k++];
		Adjoint g = inner.adjoint[input->id];
		Val *next = g.value ? whole(&inner, g) : NULL;
		if (i < scan_carries(y)) next = next ? next : zeros(r->f, so_far->type);
		else next = next ? ir_Add(r->f, so_far, next) : so_far;
		fn_output(r->f, arena_printf(s->arena, "d %s", of->name), next, -1);
	}
	for (int k = 0; k < p->rows.length; k++) {
		Row *x = &p->rows.data[k];
		Adjoint g = inner.adjoint[x->leaf->id];
		x->emitted = g.value != NULL;
		const char *of = body->inputs.data[x->input + 1].name;
		if (x->emitted) fn_output(r->f, arena_printf(s->arena, "d row of %s", of), whole(&inner, g), -1);
	}
	r->f = finish_body(r, p, &replacements);
}

/* The adjoint of a constant from those of its rows. */
static Adjoint stack_adjoint(Sweep *s, Val *stack, Type of) {
	int64_t none[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	hi[0] = of.dim[0] - stack->type.dim[0];
	return plain(hi[0] ? ir_pad(s->f, stack, none, hi, NULL, 0) : stack);
}

void grad_scan(Sweep *s, Val *y, Adjoint g) {
	(void)g;
	int carries = scan_carries(y), noutputs = y->body->outputs.length;
	const Adjoint *given = s->results[y->id];
	Paths p = find_paths(s, y, given);
	Val *saved = with_saved_carries(s, y);
	Reverse r = {.f = fn_new(s->arena, "reverse"), .map = NEW_ARRAY(s->arena, Val *, y->body->vals.length + 1)};
	Val **seeds = NEW_ARRAY(s->arena, Val *, noutputs + 1);
	r.index = r.map[y->body->inputs.data[0].val->id] = fn_input(r.f, "t", INPUT_DATA, type_scalar(DTYPE_I32));
	for (int i = 0; i < y->nargs; i++) {
		if (!p.in[i]) continue;
		bool last = i < carries && given[i].value;
		Val *in = carry(&r, y->body->inputs.data[i + 1].name, last ? given[i].value : zeros(s->f, y->arg[i]->type));
		if (i < carries) seeds[i] = in;
	}
	for (int i = 0; i < y->nargs; i++) {
		Val *input = y->body->inputs.data[i + 1].val;
		r.map[input->id] = i < carries ? row(&r, ir_project(s->f, saved, noutputs + i)) : constant(&r, y->arg[i]);
	}
	for (int i = carries; i < noutputs; i++)
		if (given[i].value) seeds[i] = row(&r, given[i].value);
	copy_body(&r, y->body, &p);
	pull_body(s, &r, y, &p, seeds);
	int n = r.carries.length;
	Val **args = NEW_ARRAY(s->arena, Val *, n + r.constants.length + 1);
	for (int i = 0; i < n; i++) args[i] = r.carries.data[i];
	for (int i = 0; i < r.constants.length; i++) args[n + i] = r.constants.data[i];
	Val *reverse = ir_scan(s->f, r.f, scan_count(y), !y->list[1].data[0], n, n + r.constants.length, args);
	int k = 0;
	for (int i = 0; i < y->nargs; i++)
		if (p.in[i] && (k++, wanted(s, y->arg[i]))) give(s, y->arg[i], plain(ir_project(s->f, reverse, k - 1)));
	for (int i = 0; i < p.rows.length; i++) {
		Val *of = y->arg[p.rows.data[i].input];
		if (p.rows.data[i].emitted) give(s, of, stack_adjoint(s, ir_project(s->f, reverse, k++), of->type));
	}
}
