/* simplify_view.c: views of views.  In: a view of a simplified value; out: one view where two stood, none where it
 * changes nothing.  Views move elements and never compute, so all of this is exact. */
#include "simplify.h"

#include <math.h>

/* ---- cast ---- */

/* Every value of `from` is a value of `to`, in both interpreters. */
static bool lossless(DType from, DType to) {
	switch (from) {
	case DTYPE_BOOL: return to != DTYPE_BOOL;
	case DTYPE_U8:
	case DTYPE_I8: return to == DTYPE_I32 || to == DTYPE_F32 || to == DTYPE_F64;
	case DTYPE_I32: return to == DTYPE_F64;
	case DTYPE_F16:
	case DTYPE_BF16: return to == DTYPE_F32 || to == DTYPE_F64;
	case DTYPE_F32: return to == DTYPE_F64;
	default: return false;
	}
}

Val *simplify_cast(Fn *f, Val *a, DType dtype) {
	if (a->type.dtype == dtype) return a;
	if (a->op == OpCast) {
		Val *x = a->arg[0];
		DType from = x->type.dtype, between = a->type.dtype;
		/* Floats saturate where integers wrap: a float between two integer types must not matter. */
		bool whole = !dtype_is_float(from) && dtype_is_float(between) && !dtype_is_float(dtype);
		if (lossless(from, between) && dtype != DTYPE_BOOL && (!whole || from == dtype || lossless(from, dtype)))
			return make_cast(f, x, dtype);
	}
	if (a->op == OpBroadcast) {
		Type type = a->type;
		type.dtype = dtype;
		return make_broadcast(f, make_cast(f, a->arg[0], dtype), type, a->list[0].data);
	}
	return fold_cast(f, a, dtype);
}

Val *make_cast(Fn *f, Val *a, DType dtype) {
	Val *v = simplify_cast(f, a, dtype);
	return v ? v : ir_cast(f, a, dtype);
}

/* ---- reshape, transpose, broadcast ---- */

Val *splat_of(Fn *f, const Val *a, Type type) {
	double x;
	if (!is_splat(a, &x)) return NULL;
	return make_broadcast(f, ir_const(f, a->type.dtype, x), type, NULL);
}

Val *simplify_reshape(Fn *f, Val *a, Type type) {
	if (type_same_dims(a->type, type)) return a;
	if (a->op == OpReshape) return ir_reshape(f, a->arg[0], type.rank, type.dim);
	return splat_of(f, a, type);
}

/* transpose(broadcast(x)): broadcast wants ascending axes, so what is left of the permutation goes inside. */
static Val *transposed_broadcast(Fn *f, Val *a, const int64_t *perm) {
	Type type = a->type;
	int64_t inner[MAX_RANK] = {0}, dims[MAX_RANK] = {0};
	int n = 0;
	for (int i = 0; i < type.rank; i++) {
		type.dim[i] = a->type.dim[perm[i]];
		for (int k = 0; k < a->list[0].length; k++)
			if (a->list[0].data[k] == perm[i]) {
				inner[n] = k;
				dims[n++] = i;
			}
	}
	return make_broadcast(f, make_transpose(f, a->arg[0], inner), type, dims);
}

Val *simplify_transpose(Fn *f, Val *a, const int64_t *perm) {
	bool identity = true;
	for (int i = 0; i < a->type.rank; i++) identity &= perm[i] == i;
	if (identity) return a;
	if (a->op == OpTranspose) {
		int64_t both[MAX_RANK];
		for (int i = 0; i < a->type.rank; i++) both[i] = a->list[0].data[perm[i]];
		return make_transpose(f, a->arg[0], both);
	}
	return a->op == OpBroadcast ? transposed_broadcast(f, a, perm) : NULL;
}

Val *make_transpose(Fn *f, Val *a, const int64_t *perm) {
	Val *v = simplify_transpose(f, a, perm);
	return v ? v : ir_transpose(f, a, perm);
}

Val *simplify_broadcast(Fn *f, Val *a, Type type, const int64_t *dims) {
	if (type_same_dims(a->type, type)) return a;
	if (a->op != OpBroadcast) return NULL;
	int64_t both[MAX_RANK] = {0};
	for (int i = 0; i < a->list[0].length; i++) both[i] = dims[a->list[0].data[i]];
	return make_broadcast(f, a->arg[0], type, both);
}

Val *make_broadcast(Fn *f, Val *a, Type type, const int64_t *dims) {
	Val *v = simplify_broadcast(f, a, type, dims);
	return v ? v : ir_broadcast(f, a, type.rank, type.dim, dims);
}

/* ---- slice, pad, flip ---- */

static Val *sliced_broadcast(Fn *f, Val *a, Type type, const int64_t *start, const int64_t *step) {
	Val *x = a->arg[0];
	int64_t size[MAX_RANK], starts[MAX_RANK], steps[MAX_RANK];
	for (int i = 0; i < x->type.rank; i++) {
		int64_t axis = a->list[0].data[i];
		size[i] = type.dim[axis];
		starts[i] = start[axis];
		steps[i] = step[axis];
	}
	Val *part = simplify_slice(f, x, type_make(x->type.dtype, x->type.rank, size), starts, steps);
	if (!part) part = ir_slice(f, x, starts, size, steps);
	return make_broadcast(f, part, type, a->list[0].data);
}

static Val *sliced_concat(Fn *f, Val *a, Type type, const int64_t *start, const int64_t *step) {
	int64_t axis = a->list[0].data[0], first = start[axis], last = first + (type.dim[axis] - 1) * step[axis];
	for (int i = 0; i < a->nargs; i++) {
		Val *x = a->arg[i];
		int64_t n = x->type.dim[axis];
		if (first >= 0 && last < n) {
			int64_t starts[MAX_RANK];
			for (int k = 0; k < type.rank; k++) starts[k] = k == axis ? first : start[k];
			Val *part = simplify_slice(f, x, type, starts, step);
			return part ? part : ir_slice(f, x, starts, type.dim, step);
		}
		first -= n;
		last -= n;
	}
	return NULL;
}

Val *simplify_slice(Fn *f, Val *a, Type type, const int64_t *start, const int64_t *step) {
	if (type_same_dims(a->type, type)) return a;
	if (a->op == OpSlice) {
		int64_t starts[MAX_RANK], steps[MAX_RANK];
		for (int i = 0; i < type.rank; i++) {
			starts[i] = a->list[0].data[i] + start[i] * a->list[1].data[i];
			steps[i] = step[i] * a->list[1].data[i];
		}
		return ir_slice(f, a->arg[0], starts, type.dim, steps);
	}
	if (a->op == OpBroadcast) return sliced_broadcast(f, a, type, start, step);
	return a->op == OpConcat ? sliced_concat(f, a, type, start, step) : NULL;
}

/* Two pads by the same value that neither crop nor spread are one. */
static Val *pad_of_pad(Fn *f, const Val *a, const Val *v) {
	int64_t lo[MAX_RANK], hi[MAX_RANK];
	for (int i = 0; i < v->type.rank; i++) {
		for (int k = 0; k < 2; k++)
			if (a->list[k].data[i] < 0 || v->list[k].data[i] < 0) return NULL;
		if (a->list[2].data[i] || v->list[2].data[i]) return NULL;
		lo[i] = a->list[0].data[i] + v->list[0].data[i];
		hi[i] = a->list[1].data[i] + v->list[1].data[i];
	}
	return ir_pad(f, a->arg[0], lo, hi, NULL, v->number);
}

/* A pad of other axes than a window's goes below it: one padded tensor under all windows, nothing stored per tap. */
static Val *pad_below_window(Fn *f, const Val *window, const Val *v) {
	int axis = (int)window->list[0].data[0], rank = window->arg[0]->type.rank;
	int64_t list[3][MAX_RANK];
	for (int k = 0; k < 3; k++) {
		const int64_t *given = v->list[k].data;
		if (given[axis] || given[axis + 1]) return NULL;
		for (int i = 0; i < rank; i++) list[k][i] = given[i > axis ? i + 1 : i];
	}
	Val *below = ir_pad(f, window->arg[0], list[0], list[1], list[2], v->number);
	return ir_window(f, below, axis, window->type.dim[axis], window->type.dim[axis + 1], window->list[1].data[0],
	                 window->list[2].data[0]);
}

Val *simplify_pad(Fn *f, Val *a, const Val *v) {
	double x;
	if (type_same_dims(a->type, v->type)) {
		bool nothing = true;
		for (int k = 0; k < 3; k++)
			for (int i = 0; i < v->type.rank; i++) nothing &= v->list[k].data[i] == 0;
		if (nothing) return a;
	}
	if (is_splat(a, &x) && x == v->number && signbit(x) == signbit(v->number)) return splat_of(f, a, v->type);
	if (a->op == OpPad && a->number == v->number && signbit(a->number) == signbit(v->number)) return pad_of_pad(f, a, v);
	if (a->op == OpWindow) return pad_below_window(f, a, v);
	return NULL;
}

Val *simplify_flip(Fn *f, Val *a, IntList axes) {
	if (is_splat(a, NULL)) return a;
	if (a->op != OpFlip) return NULL;
	bool flipped[MAX_RANK] = {false};
	for (int i = 0; i < axes.length; i++) flipped[axes.data[i]] ^= true;
	for (int i = 0; i < a->list[0].length; i++) flipped[a->list[0].data[i]] ^= true;
	int64_t both[MAX_RANK];
	int n = 0;
	for (int i = 0; i < a->type.rank; i++)
		if (flipped[i]) both[n++] = i;
	return ir_flip(f, a->arg[0], n, both);
}
