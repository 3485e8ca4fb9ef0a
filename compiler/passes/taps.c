/* taps.c: in: a Fn; out: one in which a sum over windows and something else ends with the taps that the rows share.
 *
 * Row j of a convolution reads at tap s what row j + 1 reads at tap s - 1.  When the taps are the innermost terms of the sum, a
 * product of some rows loads that element once for all of them; the product's rows are along the axis that `contraction.c` takes
 * for them, and the taps are those of its window.  Guarantees: the same sums; their terms are added in another order. */
#include "rebuild.h"

#include <string.h>

enum { ENOUGH_ROWS = 8, MOST_TAPS = 8 };

/* The axis of `v` that is the taps of a window which has its positions along `axis`, several of them reaching each element; -1:
 * there is none.  Short numbers are made f32 piece by piece, in an order of their own. */
static int shared_taps(const Val *v, int axis) {
	int at[MAX_RANK], taps = -1;   /* where the axes of the operand are in v; the taps of windows met are gone */
	for (int i = 0; i < v->type.rank; i++) at[i] = i;
	for (;; v = v->arg[0]) {
		if (v->op == OpTranspose) {
			int from[MAX_RANK];
			memcpy(from, at, sizeof from);
			for (int i = 0; i < v->type.rank; i++) at[v->list[0].data[i]] = from[i];
		} else if (v->op == OpWindow) {
			int n = (int)v->list[0].data[0];
			int64_t stride = v->list[1].data[0], dilation = v->list[2].data[0], size = v->type.dim[n + 1];
			if (at[n] == axis && size > 1 && size <= MOST_TAPS && stride % dilation == 0 && stride / dilation < size)
				taps = at[n + 1];
			memmove(at + n + 1, at + n + 2, sizeof *at * (size_t)(v->type.rank - n - 2));
		} else {
			break;
		}
	}
	while (v->op == OpPad || v->op == OpReshape || v->op == OpSlice || v->op == OpTranspose || v->op == OpWindow) v = v->arg[0];
	return v->op == OpCast ? -1 : taps;
}

/* The label of the rows: the innermost long one that only `of` has, or the longest one. */
static int64_t row_label(const Val *v, int of) {
	int64_t best = -1, extent = 0;
	for (int i = v->list[2].length - 2; i >= 0 && extent < ENOUGH_ROWS; i--) {
		int64_t label = v->list[2].data[i];
		if (label_axis(v->list[of], label) < 0 || label_axis(v->list[1 - of], label) >= 0) continue;
		if (v->type.dim[i] > extent) best = label, extent = v->type.dim[i];
	}
	return best;
}

/* The contract with its shared taps last in the sum, or NULL: it has none, or they are. */
static Val *with_taps_last(Fn *f, const Val *v, Val **args) {
	IntList la = v->list[0], ly = v->list[2];
	if (v->type.dtype != DTYPE_F32 || ly.length < 2 || contract_order(v).dot) return NULL;
	int64_t column = ly.data[ly.length - 1];
	int of = label_axis(v->list[0], column) >= 0 ? 1 : 0;   /* the operand that gives the rows */
	if (label_axis(v->list[of], column) >= 0) return NULL;
	int64_t row = row_label(v, of);
	int taps = row < 0 ? -1 : shared_taps(v->arg[of], label_axis(v->list[of], row));
	if (taps < 0) return NULL;
	int64_t tap = v->list[of].data[taps], labels[MAX_RANK], perm[MAX_RANK];
	int from = label_axis(la, tap), last = -1, n = 0;
	if (from < 0 || label_axis(ly, tap) >= 0) return NULL;
	for (int i = 0; i < la.length; i++)
		if (label_axis(ly, la.data[i]) < 0 && (v->arg[0]->type.dim[i] > 1 || i == from)) last = i;
	if (last == from) return NULL;
	for (int i = 0; i < la.length; i++) {
		if (i != from) perm[n] = i, labels[n++] = la.data[i];
		if (i == last) perm[n] = from, labels[n++] = tap;
	}
	Val *turned = ir_transpose(f, args[0], perm);
	return ir_contract(f, turned, labels, args[1], v->list[1].data, ly.length, ly.data);
}

static Fn *order_taps(Fn *f, bool *changed) {
	Rebuild r = rebuild_start(f);
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i], *y = NULL;
		if (v->op == OpInput) continue;
		Val **args = rebuild_args(&r, v);
		if (v->op == OpScan) {
			Val scan = *v;
			scan.body = order_taps(v->body, changed);
			r.map[i] = fn_rebuild(r.to, &scan, args);
			continue;
		}
		if (v->op == OpContract) y = with_taps_last(r.to, v, args);
		*changed = *changed || y;
		r.map[i] = y ? y : rebuild_copy(&r, v);
	}
	return rebuild_finish(&r);
}

Fn *pass_taps(Fn *f) {
	if (!fn_has(f, OpWindow)) return f;
	bool changed = false;
	Fn *out = order_taps(f, &changed);
	return changed ? out : f;
}
