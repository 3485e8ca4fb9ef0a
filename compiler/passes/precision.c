/* precision.c: in: a Fn with `precision = bf16`, after all other passes; out: the same computation with activations in bf16.
 *
 * Rounded, that is cast to bf16 and back, is
 *   - whatever a contract reads, where it is computed: every other reader reads the rounded value too, so that the wide one need
 *     not be stored.  Parameters, data and constants stay as they are, and are rounded for the contract alone;
 *   - what the forward half computes on the way to a contract and the derivative reads again: where that is cheaply computed from
 *     one value by constants alone, this value.
 * So is what a scan of the forward half emits for the derivative alone.  A value that a scan emits and that is rounded is emitted
 * as bf16.
 * Everything else is f32 as before: sums of contracts, reductions and what they leave, the loss from the last contract on, the
 * gradients of parameters, parameters, states and what optimizers keep.  In double precision, where no float is rounded, the Fn
 * means what it meant.
 * Guarantees: every f32 operand of a contract holds numbers of bf16, and the casts say where. */
#include <string.h>

#include "rebuild.h"

typedef struct Rounding {
	const Fn *f;
	bool *forward;               /* by Val.id: what the results, but for gradients, are computed from */
	bool *before;                /* of these: what some contract of theirs is computed from */
	bool *saved;                 /* of these: what something else reads */
	bool *large;                 /* a value per sample or more, and no statistic */
	bool *rounded;
} Rounding;

/* Makes no numbers, but for the border of a pad. */
static bool only_moves(const Val *v) { return is_view(v) || v->op == OpPad; }

static bool is_wide(const Val *v) { return v->type.dtype == DTYPE_F32; }

/* Numbers that bf16 holds as they are. */
static bool is_exact(const Val *v) {
	if (v->op != OpCast) return false;
	DType from = v->arg[0]->type.dtype;
	return from == DTYPE_BF16 || from == DTYPE_U8 || from == DTYPE_I8 || from == DTYPE_BOOL;
}

static bool is_given(const Val *v) { return v->op == OpInput || v->op == OpConst || v->op == OpIota; }

/* A result of a scan that has an element for each of its steps. */
static bool is_emitted(const Val *v) { return v->op == OpProject && v->list[0].data[0] >= scan_carries(v->arg[0]); }

static const Val *base_of(const Val *v) {
	while (only_moves(v)) v = v->arg[0];
	return v;
}

static void mark_backwards(const Fn *f, bool *set) {
	for (int i = f->vals.length - 1; i >= 0; i--)
		for (int k = 0; set[i] && k < f->vals.data[i]->nargs; k++) set[f->vals.data[i]->arg[k]->id] = true;
}

static void find_forward(Rounding *r) {
	const Fn *f = r->f;
	for (int i = 0; i < f->outputs.length; i++) {
		const Output *o = &f->outputs.data[i];
		if (o->updates < 0 && strncmp(o->name, "grad/", 5) != 0) r->forward[o->val->id] = true;
	}
	mark_backwards(f, r->forward);
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		for (int k = 0; k < v->nargs; k++) {
			int from = v->arg[k]->id;
			r->saved[from] |= r->forward[from] && !r->forward[i];
			r->before[from] |= r->forward[i] && (v->op == OpContract || v->op == OpScan);
		}
	}
	mark_backwards(f, r->before);
}

/* Of what the forward half computes: is it spread out again, as the mean of a row is to be subtracted from it? */
static bool *find_spread(const Rounding *r) {
	bool *spread = NEW_ARRAY(r->f->arena, bool, r->f->vals.length + 1);
	for (int i = r->f->vals.length - 1; i >= 0; i--) {
		const Val *v = r->f->vals.data[i];
		bool passes = v->op == OpCast || op_info[v->op].pointwise || only_moves(v);
		for (int k = 0; r->forward[i] && k < v->nargs; k++)
			spread[v->arg[k]->id] |= v->op == OpBroadcast || (passes && spread[i]);
	}
	return spread;
}

static bool is_reduction(const Val *v) {
	return v->op == OpReduceSum || v->op == OpReduceMax || v->op == OpReduceMin || v->op == OpReduceProd;
}

/* Statistics are what reductions leave and is spread out again, unlike what pooling leaves; parameters have no samples. */
static void find_large(Rounding *r) {
	const bool *spread = find_spread(r);
	for (int i = 0; i < r->f->vals.length; i++) {
		const Val *v = r->f->vals.data[i];
		bool moves = v->op == OpContract || v->op == OpConcat || v->op == OpCast || op_info[v->op].pointwise || only_moves(v);
		bool data = v->op == OpInput && v->type.rank && r->f->inputs.data[v->list[0].data[0]].kind == INPUT_DATA;
		bool large = data || v->op == OpGather;
		moves |= v->op == OpScan || is_emitted(v) || (is_reduction(v) && !spread[i]);
		for (int k = 0; moves && k < v->nargs; k++) large |= r->large[v->arg[k]->id];
		r->large[i] = large;
	}
}

/* Multiplied by a number and the like: as good as the value it was. */
static const Val *source_of(const Val *v) {
	for (;;) {
		const Val *from = NULL;
		bool cheap = v->op == OpNeg || v->op == OpAbs || v->op == OpAdd || v->op == OpSub || v->op == OpMul || v->op == OpDiv;
		for (int k = 0; cheap && k < v->nargs; k++) {
			if (is_splat(v->arg[k], NULL)) continue;
			cheap = !from || from == v->arg[k];
			from = v->arg[k];
		}
		if (!cheap || !from || !is_wide(from)) return v;
		v = from;
	}
}

static bool may_round(const Rounding *r, const Val *v) {
	bool computed = !is_given(v) && v->op != OpScan && (v->op != OpProject || is_emitted(v)) && !only_moves(v);
	return computed && is_wide(v) && r->large[v->id];
}

static Rounding find_rounded(const Fn *f, bool body) {
	Arena *arena = f->arena;
	int n = f->vals.length + 1;
	Rounding r = {f, NEW_ARRAY(arena, bool, n), NEW_ARRAY(arena, bool, n), NEW_ARRAY(arena, bool, n), NEW_ARRAY(arena, bool, n),
	              NEW_ARRAY(arena, bool, n)};
	if (!body) {
		find_forward(&r);
		find_large(&r);
	}
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op == OpContract && is_wide(v))
			for (int k = 0; k < 2; k++) {
				const Val *base = base_of(v->arg[k]);
				if (!is_given(base)) r.rounded[base->id] = true;
			}
		if (is_emitted(v) && !body && !r.forward[i] && r.forward[v->arg[0]->id] && may_round(&r, v)) r.rounded[i] = true;
		if (!r.saved[i] || !r.before[i] || !may_round(&r, v)) continue;
		const Val *source = source_of(v);
		if (may_round(&r, source)) r.rounded[source->id] = true;
	}
	return r;
}

static Val *round_value(Fn *f, Val *v) { return ir_cast(f, ir_cast(f, v, DTYPE_BF16), DTYPE_F32); }

/* A contract's operand that is a view of what is given: the same view of it rounded, so that no view is stored. */
static Val *round_given(Rebuild *r, Val *v) {
	VEC(Val *) views = {0};
	Arena *arena = r->to->arena;
	for (; only_moves(v); v = v->arg[0]) vec_push(arena, &views, v);
	Val *x = round_value(r->to, r->map[v->id]);
	for (int i = views.length - 1; i >= 0; i--) x = fn_rebuild(r->to, views.data[i], &x);
	return x;
}

/* Which results of a scan are emitted as bf16. */
static bool *short_results(const Rounding *marks, const Val *scan) {
	bool *shorts = NEW_ARRAY(marks->f->arena, bool, scan->body->outputs.length + 1);
	for (int i = scan->id + 1; i < marks->f->vals.length; i++) {
		const Val *v = marks->f->vals.data[i];
		if (marks->rounded[i] && is_emitted(v) && v->arg[0] == scan) shorts[v->list[0].data[0]] = true;
	}
	return shorts;
}

static Fn *round_fn(const Fn *f, const bool *shorts);

static Val *round_val(Rebuild *r, const Rounding *marks, Val *v) {
	Val **args = rebuild_args(r, v), copy = *v;
	if (is_emitted(v) && marks->rounded[v->id])
		return ir_cast(r->to, ir_project(r->to, args[0], (int)v->list[0].data[0]), DTYPE_F32);
	if (v->op == OpScan) copy.body = round_fn(v->body, short_results(marks, v));
	for (int k = 0; v->op == OpContract && is_wide(v) && k < 2; k++)
		if (is_given(base_of(v->arg[k]))) args[k] = round_given(r, v->arg[k]);
	Val *y = fn_rebuild(r->to, &copy, args);
	return marks->rounded[v->id] && is_wide(v) && !is_exact(v) ? round_value(r->to, y) : y;
}

/* shorts: of a body, which outputs become bf16; NULL: not a body. */
static Fn *round_fn(const Fn *f, const bool *shorts) {
	Rounding marks = find_rounded(f, shorts != NULL);
	Rebuild r = rebuild_start(f);
	for (int i = 0; i < f->vals.length; i++)
		if (f->vals.data[i]->op != OpInput) r.map[i] = round_val(&r, &marks, f->vals.data[i]);
	for (int i = 0; i < f->outputs.length; i++) {
		const Output *o = &f->outputs.data[i];
		Val *y = r.map[o->val->id];
		fn_output(r.to, o->name, shorts && shorts[i] ? ir_cast(r.to, y, DTYPE_BF16) : y, o->updates);
	}
	r.to->span = f->span;
	return fn_canonical(r.to);
}

Fn *pass_precision(Fn *f) {
	if (f->precision != DTYPE_BF16) return f;
	Fn *out = round_fn(f, NULL);
	out->precision = DTYPE_F32;   /* done */
	return out;
}
