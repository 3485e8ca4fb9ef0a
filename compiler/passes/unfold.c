/* unfold.c: in: a simplified Fn; out: one in which sums of overlapping windows are read instead of written.
 *
 * The adjoint of a convolution's windows is a fold of a contract: each element of the cotangent is spread over its taps, which
 * overlap and are added.  The other way round, each element of the result sums what reaches it: a contract over windows of the
 * padded cotangent, with the taps reversed: y[t] = sum over r, k of a[t - r d, k] b[r, k]     for     fold over (n, r) at n + r d
 * of sum over k of a[n, k] b[r, k] so that nothing is stored per tap.  Strides above 1 are several of these: unfold_phases.c,
 * which also takes windows over an image with zeros between its elements apart.
 * Windows that do not overlap are no sum at all, but a reshape. Guarantees: the same values; sums are in another order,
 * and a sum of one term keeps the sign of its zero. */
#include "unfold.h"

#include <string.h>

/* `v` as windows over axis `axis` for t < total and r < size: element (t, r) is the one at t - (size - 1 - r) * dilation, 0
 * outside. */
static Val *reversed_windows(Fn *f, Val *v, int axis, int64_t total, int64_t size, int64_t dilation) {
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	lo[axis] = (size - 1) * dilation;
	hi[axis] = total - v->type.dim[axis];
	return ir_window(f, ir_pad(f, v, lo, hi, NULL, 0), axis, total, size, 1, dilation);
}

/* Copies labels, `at` followed by `added`. */
static int insert_label(const IntList *labels, int at, int64_t added, int64_t *out) {
	int n = 0;
	for (int i = 0; i < labels->length; i++) {
		out[n++] = labels->data[i];
		if (i == at) out[n++] = added;
	}
	return n;
}

/* fold of contract `c`, whose axes `axis` and `axis` + 1 are position and tap; NULL when one operand has both, or the result
 * none. */
static Val *fold_of_contract(Fn *f, const Val *fold, const Val *c) {
	int axis = (int)fold->list[0].data[0];
	int64_t position = c->list[2].data[axis], tap = c->list[2].data[axis + 1], size = c->type.dim[axis + 1];
	int with = label_axis(c->list[0], position) >= 0 ? 0 : 1;   /* the operand that has the position */
	if (label_axis(c->list[1 - with], position) >= 0 || label_axis(c->list[with], tap) >= 0 ||
	    c->arg[with]->type.rank == MAX_RANK)
		return NULL;
	int at = label_axis(c->list[with], position), tap_at = label_axis(c->list[1 - with], tap);
	Val *arg[2];
	int64_t labels[2][MAX_RANK], result[MAX_RANK];
	arg[with] = reversed_windows(f, c->arg[with], at, fold->type.dim[axis], size, fold->list[2].data[0]);
	insert_label(&c->list[with], at, tap, labels[with]);
	arg[1 - with] = ir_flip(f, c->arg[1 - with], 1, (int64_t[]){tap_at});
	memcpy(labels[1 - with], c->list[1 - with].data, sizeof(int64_t) * (size_t)c->list[1 - with].length);
	int n = 0;
	for (int i = 0; i < c->list[2].length; i++)
		if (i != axis + 1) result[n++] = c->list[2].data[i];
	return ir_contract(f, arg[0], labels[0], arg[1], labels[1], n, result);
}

/* Windows that do not overlap: one after the other, the rest zeros; NULL when they do. */
static Val *fold_of_pieces(Fn *f, const Val *fold, Val *v) {
	int axis = (int)fold->list[0].data[0];
	int64_t stride = fold->list[1].data[0], size = v->type.dim[axis + 1], n = v->type.dim[axis], dim[MAX_RANK];
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	if (size > 1 && (fold->list[2].data[0] != 1 || size > stride)) return NULL;
	hi[axis + 1] = stride - size;   /* each piece as long as the stride */
	v = ir_pad(f, v, lo, hi, NULL, 0);
	for (int i = 0; i < v->type.rank - 1; i++) dim[i] = i < axis ? v->type.dim[i] : i == axis ? n * stride : v->type.dim[i + 1];
	v = ir_reshape(f, v, v->type.rank - 1, dim);
	hi[axis + 1] = 0;
	hi[axis] = fold->type.dim[axis] - n * stride;
	return ir_pad(f, v, lo, hi, NULL, 0);
}

static bool reads_windows(const Val *v) {
	while (v->op == OpFlip || v->op == OpTranspose || v->op == OpSlice) v = v->arg[0];
	return v->op == OpWindow;
}

/* A sum of products whose last axis stays, the other operand having no axis of its own but of length 1: not a dot for each
 * element, but all of the last axis at once.  The gradient of the weights of a layer with one output, or of a convolution with
 * one filter, is a product of a row and a matrix; windows with a filter for each channel are element by element. */
Val *unfold_keep_last_axis(Fn *f, const Val *v, Val **args) {
	const IntList *la = &v->list[0], *lb = &v->list[1], *ly = &v->list[2];
	int64_t labels[2][MAX_RANK], dim[MAX_RANK], last = la->length ? la->data[la->length - 1] : -1;
	if (!contract_order(v).dot || ly->length == 0) return NULL;
	if (!reads_windows(v->arg[0]) && (label_axis(*lb, last) >= 0 || la->length == 2))
		return NULL; /* a matrix is as good as it is */
	int nb = 0, ny = 0;
	for (int i = 0; i < lb->length; i++)
		if (label_axis(*la, lb->data[i]) >= 0) labels[0][nb] = lb->data[i], dim[nb++] = args[1]->type.dim[i];
	for (int i = 0; i < ly->length; i++)
		if (label_axis(*la, ly->data[i]) >= 0) labels[1][ny++] = ly->data[i];
	if (ny == 0 || labels[1][ny - 1] != last) return NULL;
	Val *b = ir_reshape(f, args[1], nb, dim), *y;
	if (label_axis(*lb, last) < 0) y = ir_contract(f, b, labels[0], args[0], la->data, ny, labels[1]);
	else y = ir_contract(f, args[0], la->data, b, labels[0], ny, labels[1]);
	return contract_order(y).dot ? NULL : ir_reshape(f, y, v->type.rank, v->type.dim);
}

/* A contract turned round along some of its axes: that of operands which are. */
static Val *turned_contract(Fn *f, const Val *flip) {
	const Val *c = flip->arg[0];
	Val *arg[2];
	for (int k = 0; k < 2; k++) {
		int64_t axes[MAX_RANK];
		int n = 0;
		for (int i = 0; i < flip->list[0].length; i++) {
			int at = label_axis(c->list[k], c->list[2].data[flip->list[0].data[i]]);
			if (at >= 0) axes[n++] = at;
		}
		arg[k] = n ? ir_flip(f, c->arg[k], n, axes) : c->arg[k];
	}
	return ir_contract(f, arg[0], c->list[0].data, arg[1], c->list[1].data, c->list[2].length, c->list[2].data);
}

static Val *unfolded(Fn *f, const Val *fold, Val *v) {
	if (v->op == OpFlip && v->arg[0]->op == OpContract) v = turned_contract(f, v);
	Val *y = v->op == OpContract && fold->list[1].data[0] == 1 ? fold_of_contract(f, fold, v) : NULL;
	return y ? y : fold_of_pieces(f, fold, v);
}

/* `size` elements of an axis of `v` from start on, a step apart: moved below windows and pads. */
static Val *part_of(Fn *f, Val *v, int axis, int64_t start, int64_t size, int64_t apart) {
	if (start == 0 && size == v->type.dim[axis]) return v;
	int64_t list[3][MAX_RANK], step[MAX_RANK];
	if (v->op == OpPad && v->list[2].data[axis] == 0 && apart == 1) {
		for (int k = 0; k < 3; k++) memcpy(list[k], v->list[k].data, sizeof list[k][0] * (size_t)v->type.rank);
		int64_t lo = list[0][axis] - start, hi = list[1][axis] - (v->type.dim[axis] - start - size),
		        inner = v->arg[0]->type.dim[axis];
		if (lo <= inner && hi <= inner) {
			Val *below = part_of(f, v->arg[0], axis, MAX(0, -lo), inner - MAX(0, -lo) - MAX(0, -hi), 1);
			list[0][axis] = MAX(0, lo), list[1][axis] = MAX(0, hi);
			return ir_pad(f, below, list[0], list[1], list[2], v->number);
		}
	}
	if (v->op == OpWindow && axis != v->list[0].data[0] + 1) {
		int at = (int)v->list[0].data[0];
		int64_t stride = v->list[1].data[0], dilation = v->list[2].data[0], taps = v->type.dim[at + 1];
		if (axis != at)
			return ir_window(f, part_of(f, v->arg[0], axis > at ? axis - 1 : axis, start, size, apart), at, v->type.dim[at], taps,
			                 stride, dilation);
		int64_t reach = (size - 1) * stride * apart + (taps - 1) * dilation + 1;
		return ir_window(f, part_of(f, v->arg[0], at, start * stride, reach, 1), at, size, taps, stride * apart, dilation);
	}
	for (int i = 0; i < v->type.rank; i++) {
		list[0][i] = i == axis ? start : 0, list[1][i] = i == axis ? size : v->type.dim[i];
		step[i] = i == axis ? apart : 1;
	}
	return ir_slice(f, v, list[0], list[1], step);
}

/* Part of a contract: the contract of parts.  So the border of a padded image, whose cotangent nobody wants, is not computed. */
static Val *part_of_contract(Fn *f, const Val *slice, const Val *c) {
	Val *arg[2] = {c->arg[0], c->arg[1]};
	for (int i = 0; i < slice->type.rank; i++) {
		for (int k = 0; k < 2; k++) {
			int at = label_axis(c->list[k], c->list[2].data[i]);
			if (at >= 0) arg[k] = part_of(f, arg[k], at, slice->list[0].data[i], slice->type.dim[i], slice->list[1].data[i]);
		}
	}
	return ir_contract(f, arg[0], c->list[0].data, arg[1], c->list[1].data, c->list[2].length, c->list[2].data);
}

/* The slice of `below` that `slice`, of it under other dims, is of; NULL when axes that are cut are not axes of both. */
static Val *slice_below(Fn *f, const Val *slice, Val *below) {
	int64_t start[MAX_RANK] = {0}, size[MAX_RANK], step[MAX_RANK];
	Type whole = slice->arg[0]->type, t = below->type;
	memcpy(size, t.dim, sizeof size);
	for (int i = 0; i < MAX_RANK; i++) step[i] = 1;
	int64_t before = 1;   /* elements of the axes so far */
	for (int i = 0; i < whole.rank; before *= whole.dim[i++]) {
		if (slice->type.dim[i] == whole.dim[i]) continue;
		int64_t around = 1;
		int at = 0;
		while (at < t.rank && (around < before || (around == before && t.dim[at] == 1))) around *= t.dim[at++];
		if (at == t.rank || around != before || t.dim[at] != whole.dim[i]) return NULL;
		start[at] = slice->list[0].data[i], size[at] = slice->type.dim[i], step[at] = slice->list[1].data[i];
	}
	return ir_slice(f, below, start, size, step);
}

/* Part of a contract, or of one under other dims, that nobody else reads. */
static Val *narrowed(Fn *f, const Val *slice, Val *arg, const int *uses) {
	const Val *from = slice->arg[0];
	if (uses[from->id] != 1) return NULL;
	if (from->op == OpContract) return part_of_contract(f, slice, arg);
	if (from->op != OpReshape || from->arg[0]->op != OpContract || uses[from->arg[0]->id] != 1 || arg->op != OpReshape)
		return NULL;
	Val *below = slice_below(f, slice, arg->arg[0]);
	if (!below || below->op != OpSlice) return NULL;
	return ir_reshape(f, part_of_contract(f, below, arg->arg[0]), slice->type.rank, slice->type.dim);
}

static Fn *narrow(Fn *f) {
	int *uses = fn_count_uses(f);
	Rebuild r = rebuild_start(f);
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i], *y = NULL;
		if (v->op == OpInput) continue;
		Val **args = rebuild_args(&r, v);
		if (v->op == OpSlice) y = narrowed(r.to, v, args[0], uses);
		r.map[i] = y ? y : rebuild_copy(&r, v);
	}
	return rebuild_finish(&r);
}

static Fn *unfold(Fn *f, bool *changed) {
	int *uses = fn_count_uses(f);
	Rebuild r = rebuild_start(f);
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i];
		if (v->op == OpInput) continue;
		Val **args = rebuild_args(&r, v), *y = NULL;
		if (v->op == OpFold || v->op == OpSlice) y = unfold_phases(&r, v, uses);
		if (v->op == OpFold && !y) y = unfolded(r.to, v, args[0]);
		if (v->op == OpContract) y = unfold_spread(&r, v);
		if (v->op == OpContract && !y) y = unfold_keep_last_axis(r.to, v, args);
		if (y) *changed = true;
		if (v->op == OpScan) {
			Val scan = *v;
			scan.body = unfold(v->body, changed);
			r.map[i] = fn_rebuild(r.to, &scan, args);
		} else {
			r.map[i] = y ? y : rebuild_copy(&r, v);
		}
	}
	return rebuild_finish(&r);
}

/* Can there be anything to do?  Without a copy of the whole. */
static bool may_unfold(const Fn *f) {
	int *uses = fn_count_uses(f);
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op == OpFold || (v->op == OpScan && may_unfold(v->body)) || unfold_has_phases(v, uses)) return true;
		if (v->op == OpContract && v->list[2].length && contract_order(v).dot) return true;
	}
	return false;
}

Fn *pass_unfold(Fn *f) {
	if (!may_unfold(f)) return f;
	bool changed = false;
	Fn *out = unfold(f, &changed);
	return changed ? pass_simplify(narrow(pass_simplify(out))) : f;
}
