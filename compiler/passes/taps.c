/* taps.c: in: a Fn; out: one in which a sum over windows and something else ends with the taps that the rows share, and leaves
 * out what a padded border would be multiplied by.
 *
 * Row j of a convolution reads at tap s what row j + 1 reads at tap s - 1.  When the taps are the innermost terms of the sum, a
 * product of some rows loads that element once for all of them; the product's rows are along the axis that `contraction.c` takes
 * for them, and the taps are those of its window.
 *
 * Along another axis of windows, a tap that lies in the border adds zeros to the whole row: of a small image a good part of all
 * products.  The sum is bounded: a loop around the product runs only the taps, or positions, that reach the image.
 * Guarantees: the same sums but for what zero times infinity or NaN would add; their terms are added in another order. */
#include "rebuild.h"

#include <string.h>

enum { MOST_TAPS = 8, LEAST_BORDER = 32 };   /* BORDER: one of so many terms */

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

/* The contract with its shared taps last in the sum, or NULL: it has none, or they are.  Short axes are left alone even where
 * nothing is longer: that would depend on the batch, and a sample is to have the same bits in any batch. */
static Val *with_taps_last(Fn *f, const Val *v, Val **args) {
	IntList la = v->list[0], ly = v->list[2];
	if (v->type.dtype != DTYPE_F32 || ly.length < 2 || contract_order(v).dot) return NULL;
	int64_t column = ly.data[ly.length - 1];
	int of = label_axis(v->list[0], column) >= 0 ? 1 : 0;   /* the operand that gives the rows */
	if (label_axis(v->list[of], column) >= 0) return NULL;
	int64_t row = row_label(v, of);
	bool is_long = row >= 0 && v->type.dim[label_axis(ly, row)] >= ENOUGH_ROWS;
	int taps = is_long ? shared_taps(v->arg[of], label_axis(v->list[of], row)) : -1;
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

/* An axis of windows over a padded one: where its positions and taps are in the operand, and what reaches the image. */
typedef struct Border { int position, taps; int64_t stride, dilation, first, count; } Border;

/* The axes of windows that `v` has over an image padded with zeros, by what is below them. */
static int find_borders(const Val *v, Border *out) {
	Border axis[MAX_RANK];   /* position: where the axis is in v; taps: < 0: no window has been met */
	int n = 0;
	for (int i = 0; i < v->type.rank; i++) axis[i] = (Border){.position = i, .taps = -1};
	for (; v->op == OpTranspose || v->op == OpWindow; v = v->arg[0]) {
		Border from[MAX_RANK];
		memcpy(from, axis, sizeof from);
		int at = v->op == OpWindow ? (int)v->list[0].data[0] : 0;
		for (int i = 0; i < v->type.rank && v->op == OpTranspose; i++) axis[v->list[0].data[i]] = from[i];
		if (v->op == OpTranspose) continue;
		if (from[at].taps >= 0 || from[at + 1].taps >= 0) return 0;   /* windows of windows */
		axis[at].taps = from[at + 1].position, axis[at].stride = v->list[1].data[0], axis[at].dilation = v->list[2].data[0];
		memmove(axis + at + 1, from + at + 2, sizeof *axis * (size_t)(v->type.rank - at - 2));
	}
	if (v->op != OpPad || v->number != 0 || v->arg[0]->op == OpCast) return 0;
	for (int i = 0; i < v->type.rank; i++) {
		int64_t lo = v->list[0].data[i], hi = v->list[1].data[i];
		if (axis[i].taps < 0 || lo < 0 || hi < 0 || lo + hi == 0 || v->list[2].data[i]) continue;
		out[n] = axis[i];
		out[n].first = lo, out[n++].count = v->arg[0]->type.dim[i];
	}
	return n;
}

/* Of all pairs of a position and a tap, those in the border: one of how many; 0: none. */
static int64_t border_part(const Border *x, int64_t positions, int64_t taps) {
	int64_t out = 0;
	for (int64_t p = 0; p < positions; p++)
		for (int64_t t = 0; t < taps; t++) {
			int64_t at = p * x->stride + t * x->dilation - x->first;
			out += at < 0 || at >= x->count;
		}
	return out ? positions * taps / out : 0;
}

/* Will loops be made of the two labels, one of the result and one of the sum?  Neither may be part of the product's rows, or be
 * wanted to make rows enough. */
static bool is_around(const Val *v, int of, int64_t row, const Border *x) {
	IntList ly = v->list[2], la = v->list[0];
	int64_t p = v->list[of].data[x->position], t = v->list[of].data[x->taps];
	int64_t result = label_axis(ly, p) >= 0 ? p : t, summed = result == p ? t : p, behind = 1;
	int at = label_axis(ly, result), row_at = label_axis(ly, row), summed_at = label_axis(la, summed);
	if (at < 0 || label_axis(ly, summed) >= 0 || summed_at < 0 || result == row) return false;
	if (label_axis(v->list[1 - of], result) >= 0 || (result == t && at + 1 == row_at)) return false;
	for (int i = summed_at + 1; i < la.length; i++)
		if (label_axis(ly, la.data[i]) < 0) behind *= v->arg[0]->type.dim[i];
	int64_t turns = v->arg[0]->type.dim[summed_at], columns = v->type.dim[ly.length - 1];
	bool fits = v->type.dim[at] > 1 && turns > 1 && behind > 1 && turns <= SUM_BLOCK / behind;
	return fits && v->type.dim[row_at] * divide_up(columns, LANES) >= ENOUGH_SUMS;
}

/* The contract without what the border adds, or NULL. */
static Val *without_border(Fn *f, const Val *v) {
	IntList ly = v->list[2];
	if (v->type.dtype != DTYPE_F32 || ly.length < 2 || v->list[3].length || contract_order(v).dot) return NULL;
	int64_t column = ly.data[ly.length - 1];
	int of = label_axis(v->list[0], column) >= 0 ? 1 : 0;
	if (label_axis(v->list[of], column) >= 0) return NULL;
	const Val *other = v->arg[1 - of];
	while (other->op == OpFlip || other->op == OpReshape || other->op == OpSlice || other->op == OpTranspose)
		other = other->arg[0];
	int64_t row = row_label(v, of), best = LEAST_BORDER + 1, within[WITHIN_LENGTH];
	Border borders[MAX_RANK];
	int count = row < 0 || other->op == OpCast ? 0 : find_borders(v->arg[of], borders);
	for (int i = 0; i < count; i++) {
		const Border *x = &borders[i];
		int64_t part = border_part(x, v->arg[of]->type.dim[x->position], v->arg[of]->type.dim[x->taps]);
		if (!part || part >= best || !is_around(v, of, row, x)) continue;
		int64_t some[] = {v->list[of].data[x->position], v->list[of].data[x->taps], x->stride, x->dilation, x->first, x->count};
		memcpy(within, some, sizeof within);
		best = part;
	}
	if (best > LEAST_BORDER) return NULL;
	Val bounded = *v;
	bounded.list[3] = (IntList){within, WITHIN_LENGTH};
	ContractBound bound;
	contract_bound(&bounded, &bound);
	return contract_is_never_empty(&bounded, &bound) ? fn_rebuild(f, &bounded, bounded.arg) : NULL;
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
		Val *less = v->op == OpContract ? without_border(r.to, r.map[i]) : NULL;
		*changed = *changed || less;
		if (less) r.map[i] = less;
	}
	return rebuild_finish(&r);
}

Fn *pass_taps(Fn *f) {
	if (!fn_has(f, OpWindow)) return f;
	bool changed = false;
	Fn *out = order_taps(f, &changed);
	return changed ? out : f;
}
