/* blocks_skip.c: in: the plan of a stage; out: its rows as windows, each with the part of another axis that its rows can see.
 *
 * A choice by a function of the index (causal attention: key <= query) makes what is not chosen a constant.  For a range of rows
 * the places along an axis where that is so for all of them, the *dead* ones, need not be computed when everything that sums
 * along the axis finds nothing there: a sum zeros, a product zeros in one factor, a maximum -inf.  Ranges of integers say whether
 * a condition holds anywhere.
 * Guarantees: the same sums but for zeros; where the first scan's values are finite, as masks suppose. */
#include <math.h>

#include "blocks_loop.h"

enum { STEP = 16 };              /* what is dead begins and ends at multiples of this */

typedef struct Range { double low, high; } Range;
/* Of each atom. */
typedef struct Box { int64_t first[MAX_RANK], last[MAX_RANK]; } Box;

static const Range anything = {-HUGE_VAL, HUGE_VAL};

static Range compared(Op op, Range a, Range b) {
	bool never, always;
	switch (op) {
	case OpLt: never = a.low >= b.high, always = a.high < b.low; break;
	case OpLe: never = a.low > b.high, always = a.high <= b.low; break;
	case OpEq: never = a.low > b.high || a.high < b.low, always = a.low == a.high && b.low == b.high && a.low == b.low; break;
	case OpAnd: never = a.high == 0 || b.high == 0, always = a.low == 1 && b.low == 1; break;
	default: never = a.high == 0 && b.high == 0, always = a.low == 1 || b.low == 1;
	}
	return (Range){always, !never};
}

static Range within(const Region *g, const Val *v, const Label *l, const Box *box);

static Range pointwise_within(const Region *g, const Val *v, const Label *l, const Box *box) {
	Range a = within(g, v->arg[0], l, box), b = v->nargs > 1 ? within(g, v->arg[1], l, box) : a, y;
	switch (v->op) {
	case OpNeg: y = (Range){-a.high, -a.low}; break;
	case OpNot: return (Range){1 - a.high, 1 - a.low};
	case OpAdd: y = (Range){a.low + b.low, a.high + b.high}; break;
	case OpSub: y = (Range){a.low - b.high, a.high - b.low}; break;
	case OpMul:
		if (b.low != b.high || b.low < 0 || !isfinite(a.low) || !isfinite(a.high)) return anything;
		y = (Range){a.low * b.low, a.high * b.low};
		break;
	case OpLt: case OpLe: case OpEq: case OpAnd: case OpOr: return compared(v->op, a, b);
	default: return v->type.dtype == DTYPE_BOOL ? (Range){0, 1} : anything;
	}
	bool exact = v->type.dtype == DTYPE_I32 && y.low >= INT32_MIN && y.high <= INT32_MAX;
	return exact ? y : anything;
}

/* What a function of the index with this label can be in the box. */
static Range within(const Region *g, const Val *v, const Label *l, const Box *box) {
	Label below;
	if (v->op == OpConst) return (Range){v->number, v->number};
	if (v->op == OpIota) {
		int along = (int)v->list[0].data[0];
		const Axis *axis = &l->axis[along];
		if (axis->n == 1) return (Range){(double)box->first[axis->atom[0]], (double)box->last[axis->atom[0]]};
		return (Range){0, (double)(v->type.dim[along] - 1)};
	}
	if (op_info[v->op].pointwise && v->nargs <= 2) return pointwise_within(g, v, l, box);
	if (v->op != OpBroadcast || !label_below(g, v, l, 0, &below)) return v->type.dtype == DTYPE_BOOL ? (Range){0, 1} : anything;
	return within(g, v->arg[0], &below, box);
}

/* What wide values are throughout the box, where that is known (NaN: it is not).  by: by id. */
typedef struct Dead { const Region *g; const BlockPlan *p; const Box *box; double *by; } Dead;

static double dead_operand(const Dead *d, const Val *v, int k) {
	const Val *a = v->arg[k];
	double value;
	if (is_splat(a, &value)) return value;
	return d->g->member[a->id] == WIDE && d->p->needed[a->id] ? d->by[a->id] : (double)NAN;
}

static double dead_choice(const Dead *d, const Val *v) {
	double a = dead_operand(d, v, 1), b = dead_operand(d, v, 2);
	Label label;
	if (d->g->free[v->arg[0]->id] && label_of_operand(d->g, v, 0, &label)) {
		Range chosen = within(d->g, v->arg[0], &label, d->box);
		if (chosen.high == 0) return b;
		if (chosen.low == 1) return a;
	}
	return a == b ? a : (double)NAN;
}

/* 0 times anything is 0 here, and -inf less anything -inf. */
static double dead_value(const Dead *d, const Val *v) {
	if (v->op == OpWhere) return dead_choice(d, v);
	if (!v->nargs || v->nargs > 2) return (double)NAN;
	double a = dead_operand(d, v, 0), b = v->nargs > 1 ? dead_operand(d, v, 1) : a;
	switch (v->op) {
	case OpCast: return dtype_is_float(v->type.dtype) ? a : (double)NAN;
	case OpTranspose: case OpReshape: return a;
	case OpNeg: return a == 0 ? 0 : (double)NAN;
	case OpExp: return a == -HUGE_VAL ? 0 : (double)NAN;
	case OpAdd: return a == -HUGE_VAL || b == -HUGE_VAL ? -HUGE_VAL : a == 0 && b == 0 ? 0 : (double)NAN;
	case OpSub: return a == -HUGE_VAL ? a : a == 0 && b == 0 ? 0 : (double)NAN;
	case OpMul:
		if (a == 0 || b == 0) return 0;
		return (a == -HUGE_VAL && b > 0) || (b == -HUGE_VAL && a > 0) ? -HUGE_VAL : (double)NAN;
	case OpDiv: return a == 0 ? 0 : (double)NAN;
	default: return (double)NAN;
	}
}

/* Does nothing come of what `v` reads in the box? */
static bool finds_nothing(const Dead *d, const Val *v, int atom) {
	bool any = false, zero = false;
	for (int k = 0; k < v->nargs; k++) {
		const Val *a = v->arg[k];
		bool wide = d->g->member[a->id] == WIDE && d->p->needed[a->id];
		if (!wide) continue;
		any = true;
		zero = zero || d->by[a->id] == 0;
		if (v->op == OpReduceMax && d->by[a->id] == -HUGE_VAL) zero = true;
	}
	bool keeps = label_has(d->g->label[v->id], v->type.rank, atom);
	if (!any) return !keeps;
	switch (v->op) {
	case OpContract: return zero;
	case OpReduceSum: return zero && dtype_is_float(v->type.dtype);
	case OpReduceMax: return zero && !keeps;
	default: return false;
	}
}

/* Is all of the box of no account? */
static bool is_dead(const Region *g, const BlockPlan *p, const Box *box, int atom) {
	if (box->first[atom] > box->last[atom]) return true;
	Dead d = {g, p, box, NEW_ARRAY(g->f->arena, double, g->f->vals.length + 1)};
	for (int i = 0; i < g->f->vals.length; i++) {
		const Val *v = g->f->vals.data[i];
		if (!p->needed[i]) continue;
		d.by[i] = g->member[i] == WIDE ? dead_value(&d, v) : (double)NAN;
		if (g->member[i] != WIDE && !finds_nothing(&d, v, atom)) return false;
	}
	return true;
}

/* ---- windows ---- */

/* The part of the atom that rows first .. last see. */
static void find_part(const Region *g, const BlockPlan *p, int atom, Window *w) {
	Box box = {0};
	int64_t n = g->extent[atom];
	for (int a = 0; a < g->natoms; a++) {
		box.last[a] = g->extent[a] - 1;
		if (p->row[a]) box.first[a] = w->start, box.last[a] = w->start + w->count * w->block - 1;
	}
	int64_t most = (n - 1) / STEP, high = most + 1, low = 0;   /* in steps */
	for (int64_t below = 1; below < high;) {
		int64_t middle = (below + high) / 2;
		box.first[atom] = middle * STEP;
		if (is_dead(g, p, &box, atom)) high = middle;
		else below = middle + 1;
	}
	box.first[atom] = 0;
	for (int64_t above = high - 1; low < above;) {
		int64_t middle = (low + above + 1) / 2;
		box.last[atom] = middle * STEP - 1;
		if (is_dead(g, p, &box, atom)) low = middle;
		else above = middle - 1;
	}
	w->low = low * STEP;
	w->high = MIN(n, high * STEP);
}

/* Is every axis along the atom along nothing else, and can it be told from others where a result has it? */
static bool stands_alone(const Region *g, const BlockPlan *p, int atom) {
	for (int i = 0; i < g->f->vals.length; i++) {
		const Val *v = g->f->vals.data[i];
		for (int k = 0; k < v->type.rank && p->needed[i]; k++) {
			const Axis *axis = &g->label[i]->axis[k];
			for (int j = 0; j < axis->n; j++)
				if (axis->n > 1 && axis->atom[j] == atom) return false;
		}
		if (p->needed[i] && g->member[i] == WIDE && v->op == OpScatterAdd) return false;
	}
	return true;
}

static void deal_out(const BlockPlan *p, int parts, Window *windows, int *n) {
	int64_t blocks = p->rows / p->block, rest = p->rows % p->block;
	*n = 0;
	for (int i = 0; i < parts; i++) {
		int64_t from = blocks * i / parts, to = blocks * (i + 1) / parts;
		windows[(*n)++] = (Window){.start = from * p->block, .block = p->block, .count = to - from, .high = INT64_MAX};
	}
	if (rest) windows[(*n)++] = (Window){.start = blocks * p->block, .block = rest, .count = 1, .high = INT64_MAX};
}

void block_windows(const Region *g, BlockPlan *p) {
	int rows = 0;
	for (int a = 0; a < g->natoms; a++) rows += p->row[a];
	for (int atom = 0; atom < g->natoms && rows == 1 && p->block < p->rows; atom++) {
		if (!g->bound[atom] || g->extent[atom] <= STEP || !stands_alone(g, p, atom)) continue;
		bool any = false;
		deal_out(p, (int)MIN(p->rows / p->block, MOST_WINDOWS - 1), p->window, &p->nwindows);
		for (int i = 0; i < p->nwindows; i++) {
			find_part(g, p, atom, &p->window[i]);
			any = any || p->window[i].high - p->window[i].low < g->extent[atom];
		}
		p->skip = atom;
		if (any) return;
	}
	p->skip = -1;   /* high says nothing then */
	deal_out(p, 1, p->window, &p->nwindows);
}
