/* indexed_gather.c: subscripts that depend on data.
 *
 * In: a tensor whose other axes are named already, and one integer per subscript that depends on data.  Out: one gather.
 * Indices that tensor and subscript share go row by row, those of the subscript alone take their place, everything else follows.
 * Guaranteed: several such subscripts are one, the place in the axes taken together: outside where one of them is. */
#include "indexed_sub.h"

/* The tensor, split: indices it shares with the subscript, axes to gather from, other indices and dims. */
typedef struct Split { int64_t perm[MAX_RANK]; Axes shared, rest; int rows; } Split;

static Split split_axes(const Part *part, const Sub *s, Axes own) {
	Split split = {0};
	int n = 0;
	for (int pass = 0; pass < 3; pass++)
		for (int i = 0; i < part->axes.count; i++) {
			IndexVar *var = part->axes.var[i];
			bool row = var >= s->row_axis && var < s->row_axis + MAX_RANK;
			bool shared = var && !row && axes_find(own, var) >= 0;
			if (pass != (shared ? 0 : row ? 1 : 2)) continue;
			split.perm[n++] = i;
			if (row) split.rows++;
			else if (shared) axes_add(&split.shared, var);
			else split.rest.var[split.rest.count++] = var;
		}
	return split;
}

/* A class that can be outside is a mistake, unless there is a default. */
static bool check_classes(Sub *s, const Cut *cut) {
	int64_t size, classes = cut->row.as.tensor.classes;
	if (classes <= 0 || s->fill.kind != VALUE_NOTHING || !dim_known(cut->size, &size) || classes <= size) return true;
	elab_error(s->e, cut->span, "%s selects among %lld: class %lld is outside", value_text(s->e, cut->row), (long long)size,
		(long long)size);
	note_value(s->e, "the subscript", cut->row);
	note_tensor(s->e, s->expr->left, s->base);
	elab_help(s->e, "it needs %lld along this dim, one for each class", (long long)classes);
	return false;
}

static Value in_range(Sub *s, const Cut *cut, Value row) {
	Value low = subscript_compare(s, OpLe, value_int(0, cut->span), row);
	return subscript_compare(s, OpAnd, low, subscript_compare(s, OpLt, row, value_dim(cut->size, cut->span)));
}

/* The subscript, and where it is in range; of several the number of the element in the axes taken together, -1 outside. */
static Value row_number(Sub *s, Value *valid) {
	Elab *e = s->e;
	Value number = value_poison();
	double elements = 1;
	int found = 0;
	for (int i = 0; i < s->base.as.tensor.rank; i++) {
		const Cut *cut = &s->cut[i];
		if (cut->kind != CUT_ROW) continue;
		if (!check_classes(s, cut)) return value_poison();
		if (!check_index(e, "a subscript that depends on data", dim_value(e, cut->size), cut->span)) return value_poison();
		Value row = to_tensor(e, cut->row, DTYPE_I32, cut->span), range = in_range(s, cut, row);
		elements *= (double)dim_value(e, cut->size);
		if (elements > INT32_MAX)
			return elab_error(e, cut->span, "subscripts that depend on data select among too many elements");
		*valid = found ? subscript_compare(s, OpAnd, *valid, range) : range;
		if (found) number = apply_binary(e, OPERATOR_MUL, number, value_dim(cut->size, cut->span), cut->span, cut->span);
		number = found ? apply_binary(e, OPERATOR_ADD, number, row, cut->span, cut->span) : row;
		found++;
	}
	Value three[] = {*valid, number, value_int(-1, s->expr->span)};
	return found > 1 ? apply_pointwise(e, OpWhere, 3, three, "[]", s->expr->span) : number;
}

Value gather_rows(Sub *s, Part part, int rank, const Dim *dims) {
	Elab *e = s->e;
	Fn *f = fn_of(e);
	Value valid = value_poison(), row = row_number(s, &valid);
	if (!value_ok(row)) return row;
	Part index = part_of(&row);
	Split split = split_axes(&part, s, index.axes);
	Axes own = axes_without(index.axes, split.shared), all = split.shared;
	int64_t dim[MAX_RANK];
	int batch = split.shared.count, n = 0;
	if (batch + own.count + split.rest.count > MAX_RANK)
		return elab_error(e, s->expr->span, "more than %d dims and indices in one value", MAX_RANK);
	for (int i = 0; i < own.count; i++) all.var[all.count++] = own.var[i];
	index = part_align(e, index, all);
	Val *table = ir_transpose(f, part.val, split.perm);
	for (int i = 0; i < table->type.rank; i++) {
		bool more = i > batch && i < batch + split.rows;
		if (more) dim[n - 1] *= table->type.dim[i];
		else dim[n++] = table->type.dim[i];
	}
	table = ir_reshape(f, table, n, dim);
	double elements = 1;
	for (int i = 0; i < all.count; i++) elements *= (double)index.val->type.dim[i];
	for (int i = batch + 1; i < n; i++) elements *= (double)dim[i];
	if (elements > 1e12) return elab_error(e, s->expr->span, "a tensor of too many elements");
	for (int i = 0; i < split.rest.count; i++) all.var[all.count++] = split.rest.var[i];
	Part result = part_sorted(e, (Part){ir_gather(f, table, index.val, batch), all});
	int labels = all.count - rank;
	Value v = value_labelled(e, result.val, labels, result.axes.var, rank, dims, s->expr->span);
	if (s->fill.kind == VALUE_NOTHING || (s->fill_constant && s->fill_number == 0)) return v;
	Value three[] = {valid, v, s->fill};
	return apply_pointwise(e, OpWhere, 3, three, "[]", s->expr->span);
}
