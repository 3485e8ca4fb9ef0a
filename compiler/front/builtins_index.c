/* builtins_index.c: built-in functions that address elements by number, or add up along an axis.
 *
 * In: a bound call.  Out: a tensor.  Guaranteed: every rule on shapes is checked here, for every batch; a number out of range
 * reads 0 and is not added anywhere, a class that can be out of range is an error. */
#include "session.h"

/* `batch = k`: the first k dims are the same in both tensors. */
static bool batch_argument(Elab *e, Call *c, int slot, int most, int *batch) {
	Dim d;
	int64_t n;
	*batch = 0;
	if (!c->given[slot]) return true;
	if (!value_to_int(e, c->slot[slot], "a number of dims", c->slot_span[slot], &d)) return false;
	if (!dim_known(d, &n) || n < 0 || n > most) {
		elab_error(e, c->slot_span[slot], "`%s` of %s batch dims; there can be 0 to %d", c->self->name, dim_text(e->arena, d),
			MAX(most, 0));
		return false;
	}
	*batch = (int)n;
	return true;
}

static bool index_argument(Elab *e, Call *c, Value *index) {
	*index = c->slot[1];
	if (!plain_tensor(e, c, index, c->slot_span[1])) return false;
	DType dtype = value_dtype(index);
	if (dtype_info[dtype].class == 'I') return true;
	elab_error(e, c->slot_span[1], "`%s` wants integers as index, not %s", c->self->name, value_text(e, *index));
	note_value(e, "the index", *index);
	if (dtype_is_float(dtype)) elab_help(e, "convert them: `as i32`");
	return false;
}

/* A class[n] that counts further than the axis. */
static bool classes_fit(Elab *e, Call *c, Value index, Dim size, const char *what, Value of) {
	int64_t n, classes = index.as.tensor.classes;
	if (classes <= 0 || !dim_known(size, &n) || classes <= n) return true;
	elab_error(e, c->slot_span[1], "%s selects among %lld: class %lld is outside", value_text(e, index), (long long)n,
	           (long long)n);
	note_value(e, "the index", index);
	note_value(e, what, of);
	elab_help(e, "it needs %lld along this dim, one for each class", (long long)classes);
	return false;
}

/* The first `count` dims of index are those of x. */
static bool dims_begin(Elab *e, Call *c, Value x, Value index, int count, const char *what) {
	bool same = x.as.tensor.rank >= count;
	for (int i = 0; same && i < count; i++) same = dim_equal(x.as.tensor.dims[i], index.as.tensor.dims[i]);
	if (same) return true;
	elab_error(e, c->at, "`%s`: the first %s of %s and %s differ", c->self->name, arena_count(e->arena, count, "dim"),
		value_text(e, x), value_text(e, index));
	note_value(e, what, x);
	note_value(e, "the index", index);
	elab_help(e, "it is one number per row: `%s`",
		c->self->op == OpGather ? "gather(x[n, ..], index[..])" : "scatter_add(u[m, ..], index[m], n)");
	return false;
}

Value builtin_gather(Elab *e, Call *c) {
	Value x = c->slot[0], index;
	Dim dims[2 * MAX_RANK];
	int batch, rank = 0;
	if (!plain_tensor(e, c, &x, c->slot_span[0]) || !index_argument(e, c, &index)) return value_poison();
	if (!x.as.tensor.rank) return elab_error(e, c->at, "`gather` of a scalar");
	if (!batch_argument(e, c, 2, MIN(x.as.tensor.rank - 1, index.as.tensor.rank), &batch)) return value_poison();
	if (!dims_begin(e, c, x, index, batch, "the operand")) return value_poison();
	if (!classes_fit(e, c, index, x.as.tensor.dims[batch], "the operand", x)) return value_poison();
	if (!check_index(e, "`gather`", x.as.tensor.val->type.dim[batch], c->at)) return value_poison();
	for (int i = 0; i < index.as.tensor.rank; i++) dims[rank++] = index.as.tensor.dims[i];
	for (int i = batch + 1; i < x.as.tensor.rank; i++) dims[rank++] = x.as.tensor.dims[i];
	if (rank > MAX_RANK) return elab_error(e, c->at, "more than %d dims", MAX_RANK);
	if (!check_count(e, rank, dims, c->at)) return value_poison();
	return value_like(value_tensor(e, ir_gather(fn_of(e), x.as.tensor.val, index.as.tensor.val, batch), dims, c->span), x);
}

Value builtin_scatter_add(Elab *e, Call *c) {
	Value u = c->slot[0], index;
	Dim n, dims[MAX_RANK];
	int batch, rank = 0;
	if (!plain_tensor(e, c, &u, c->slot_span[0]) || !index_argument(e, c, &index)) return value_poison();
	if (!value_to_int(e, c->slot[2], "a size", c->slot_span[2], &n)) return value_poison();
	if (value_dtype(&u) == DTYPE_BOOL)
		return elab_error(e, c->slot_span[0], "`scatter_add` wants numbers, not %s", value_text(e, u));
	int own = index.as.tensor.rank;
	if (!batch_argument(e, c, 3, own, &batch) || !dims_begin(e, c, u, index, own, "the operand")) return value_poison();
	if (!classes_fit(e, c, index, n, "the operand", u)) return value_poison();
	if (!check_index(e, "`scatter_add`", dim_value(e, n), c->at)) return value_poison();
	if (batch + 1 + u.as.tensor.rank - own > MAX_RANK) return elab_error(e, c->at, "more than %d dims", MAX_RANK);
	for (int i = 0; i < batch; i++) dims[rank++] = u.as.tensor.dims[i];
	dims[rank++] = n;
	for (int i = own; i < u.as.tensor.rank; i++) dims[rank++] = u.as.tensor.dims[i];
	if (!check_count(e, rank, dims, c->at)) return value_poison();
	Val *y = ir_scatter_add(fn_of(e), u.as.tensor.val, index.as.tensor.val, batch, dim_value(e, n));
	return value_tensor(e, y, dims, c->span);
}

/* A number of at least 1, `missing` when absent. */
static bool positive_argument(Elab *e, Call *c, int slot, const char *what, Dim missing, Dim *d) {
	*d = missing;
	if (!c->given[slot]) return true;
	if (!value_to_int(e, c->slot[slot], what, c->slot_span[slot], d)) return false;
	if (dim_value(e, *d) >= 1) return true;
	elab_error(e, c->slot_span[slot], "%s of %s: it must be at least 1", what, dim_text(e->arena, *d));
	return false;
}

/* (n, size) to (n - 1) * stride + (size - 1) * dilation + 1 elements, or a given number not below. */
Value builtin_fold(Elab *e, Call *c) {
	Value x = c->slot[0];
	Dim one = dim_number(1), stride, dilation, reach, taps, needed, total, dims[MAX_RANK], room;
	int axis;
	if (!plain_tensor(e, c, &x, c->slot_span[0])) return value_poison();
	int rank = x.as.tensor.rank - 1;
	if (rank < 1 || value_dtype(&x) == DTYPE_BOOL) {
		elab_error(e, c->slot_span[0], "`fold` wants numbers with windows and their elements as two dims, not %s",
		           value_text(e, x));
		note_value(e, "the operand", x);
		return value_poison();
	}
	if (!axis_argument(e, c, 4, rank, rank - 1, &axis)) return value_poison();
	if (!positive_argument(e, c, 1, "a stride", one, &stride) || !positive_argument(e, c, 2, "a dilation", one, &dilation))
		return value_poison();
	const Dim *d = x.as.tensor.dims + axis;
	bool fits = dim_sub(d[0], one, &reach) && dim_mul(reach, stride, &reach) && dim_sub(d[1], one, &taps) &&
	            dim_mul(taps, dilation, &taps) && dim_add(reach, taps, &needed) && dim_add(needed, one, &needed);
	if (!fits) return elab_error(e, c->at, "`fold` of %s has too many elements", value_text(e, x));
	if (!positive_argument(e, c, 3, "a size", needed, &total)) return value_poison();
	if (!dim_sub(total, needed, &room) || dim_value(e, room) < 0) {
		elab_error(e, c->slot_span[3], "`fold` of %s to %s elements: it needs %s", value_text(e, x), dim_text(e->arena, total),
			dim_text(e->arena, needed));
		note_value(e, "the operand", x);
		return value_poison();
	}
	for (int i = 0; i < rank; i++) dims[i] = i == axis ? total : x.as.tensor.dims[i + (i > axis)];
	if (!check_count(e, rank, dims, c->at)) return value_poison();
	Val *y = ir_fold(fn_of(e), x.as.tensor.val, axis, dim_value(e, total), dim_value(e, stride), dim_value(e, dilation));
	return value_tensor(e, y, dims, c->span);
}

/* cumsum and argsort. */
Value builtin_along(Elab *e, Call *c) {
	Value x = c->slot[0];
	int64_t n;
	int axis;
	if (!plain_tensor(e, c, &x, c->slot_span[0])) return value_poison();
	int rank = x.as.tensor.rank;
	if (!rank || value_dtype(&x) == DTYPE_BOOL) {
		elab_error(e, c->slot_span[0], "`%s` wants numbers along a dim, not %s", c->self->name, value_text(e, x));
		if (rank) elab_help(e, "write `as f32` after the operand");
		return value_poison();
	}
	if (!axis_argument(e, c, 1, rank, rank - 1, &axis)) return value_poison();
	bool sorts = c->self->op == OpArgSort;
	if (sorts && !check_index(e, "`argsort`", x.as.tensor.val->type.dim[axis], c->at)) return value_poison();
	Val *y = sorts ? ir_argsort(fn_of(e), x.as.tensor.val, axis) : ir_cumsum(fn_of(e), x.as.tensor.val, axis);
	Value v = value_tensor(e, y, x.as.tensor.dims, c->span);
	if (sorts && dim_known(x.as.tensor.dims[axis], &n)) v.as.tensor.classes = n;
	return v;
}
