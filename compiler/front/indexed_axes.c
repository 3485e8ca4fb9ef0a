/* indexed_axes.c: parts, the tensors that indexed definitions are lowered to, and how two of them meet.
 *
 * In: IR values whose axes stand for index variables.  Out: IR values aligned to a common list of axes.
 * Guaranteed: an axis list holds a variable once; no value is built when nothing has to move. */
#include "indexed.h"

int axes_find(Axes axes, const IndexVar *var) {
	for (int i = 0; i < axes.count; i++)
		if (axes.var[i] == var) return i;
	return -1;
}

bool axes_subset(Axes a, Axes b) {
	for (int i = 0; i < a.count; i++)
		if (axes_find(b, a.var[i]) < 0) return false;
	return true;
}

bool axes_add(Axes *axes, IndexVar *var) {
	if (axes_find(*axes, var) >= 0) return true;
	if (axes->count == MAX_RANK) return false;
	axes->var[axes->count++] = var;
	return true;
}

Axes axes_without(Axes axes, Axes dropped) {
	Axes left = {0};
	for (int i = 0; i < axes.count; i++)
		if (axes_find(dropped, axes.var[i]) < 0) left.var[left.count++] = axes.var[i];
	return left;
}

/* Variables ascend by id; what is no variable comes last, in its order. */
static bool stands_after(const IndexVar *a, const IndexVar *b) { return b && (!a || a->id > b->id); }

static void axes_sort(Axes *axes, int64_t *perm) {
	for (int i = 0; i < axes->count; i++) perm[i] = i;
	for (int i = 1; i < axes->count; i++)
		for (int j = i; j > 0 && stands_after(axes->var[j - 1], axes->var[j]); j--) {
			IndexVar *var = axes->var[j];
			int64_t at = perm[j];
			axes->var[j] = axes->var[j - 1], perm[j] = perm[j - 1];
			axes->var[j - 1] = var, perm[j - 1] = at;
		}
}

Axes axes_sorted(Axes axes) {
	int64_t perm[MAX_RANK];
	axes_sort(&axes, perm);
	return axes;
}

/* The one canonical order: where one operand has every axis, its own order (so a column sum or a bias never
 * transposes the large operand); otherwise the order of the variables. */
bool axes_union(Axes a, Axes b, Axes *out) {
	if (axes_subset(b, a)) return *out = a, true;
	if (axes_subset(a, b)) return *out = b, true;
	*out = a;
	for (int i = 0; i < b.count; i++)
		if (!axes_add(out, b.var[i])) return false;
	*out = axes_sorted(*out);
	return true;
}

bool axes_fit(Elab *e, Axes axes) {
	double elements = 1;
	for (int i = 0; i < axes.count; i++) elements *= (double)dim_value(e, axes.var[i]->extent);
	return elements <= 1e12;
}

Part part_align(Elab *e, Part part, Axes to) {
	int64_t perm[MAX_RANK] = {0}, dim[MAX_RANK], dims[MAX_RANK];
	int n = 0;
	for (int i = 0; i < to.count; i++) {
		int at = axes_find(part.axes, to.var[i]);
		dim[i] = dim_value(e, to.var[i]->extent);
		if (at >= 0) perm[n] = at, dims[n++] = i;
	}
	Val *val = ir_transpose(fn_of(e), part.val, perm);
	return (Part){n < to.count ? ir_broadcast(fn_of(e), val, to.count, dim, dims) : val, to};
}

/* Pure moves only: the two axes are brought together at the end, flattened, and every (n + 1)-th element is taken. */
Part part_diagonal(Elab *e, Part part, int first, int second) {
	int rank = part.axes.count;
	int64_t perm[MAX_RANK], dim[MAX_RANK], start[MAX_RANK] = {0}, step[MAX_RANK];
	Axes axes = {0};
	for (int i = 0; i < rank; i++)
		if (i != first && i != second) axes.var[axes.count] = part.axes.var[i], perm[axes.count++] = i;
	perm[rank - 2] = first;
	perm[rank - 1] = second;
	Fn *f = fn_of(e);
	Val *val = ir_transpose(f, part.val, perm);
	int64_t n = val->type.dim[rank - 1];
	for (int i = 0; i < rank - 1; i++) dim[i] = val->type.dim[i], step[i] = 1;
	dim[rank - 2] = n * n;
	val = ir_reshape(f, val, rank - 1, dim);
	dim[rank - 2] = n;
	step[rank - 2] = n + 1;
	val = ir_slice(f, val, start, dim, step);
	axes.var[axes.count++] = part.axes.var[first];
	return (Part){val, axes};
}

Part part_sorted(Elab *e, Part part) {
	int64_t perm[MAX_RANK];
	axes_sort(&part.axes, perm);
	part.val = ir_transpose(fn_of(e), part.val, perm);
	return part;
}

Part part_of(const Value *v) {
	Part part = {.val = v->as.tensor.val};
	for (int i = 0; i < v->as.tensor.nlabels; i++) part.axes.var[part.axes.count++] = v->as.tensor.labels[i];
	return part;
}

Value part_value(Elab *e, Part part, Span span) {
	part = part_sorted(e, part);
	return value_labelled(e, part.val, part.axes.count, part.axes.var, 0, NULL, span);
}
