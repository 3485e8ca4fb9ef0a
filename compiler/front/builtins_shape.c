/* builtins_shape.c: built-in functions that make, reshape, join and cut tensors.
 *
 * In: a bound call.  Out: a tensor (or a list of them).  They take whole tensors: inside an indexed definition they are an error.
 */
#include <math.h>
#include <string.h>

#include "session.h"

/* A tensor without labels: a static becomes one. */
bool plain_tensor(Elab *e, Call *c, Value *v, Span span) {
	if (v->kind == VALUE_INDEX && v->as.index->step) *v = elab_index_number(e, *v, span);
	if (v->kind == VALUE_REAL || v->kind == VALUE_INT) *v = to_tensor(e, *v, v->kind == VALUE_REAL ? DTYPE_F32 : DTYPE_I32, span);
	if (!value_ok(*v)) return false;
	if (v->kind != VALUE_TENSOR)
		return elab_error(e, span, "`%s` wants a tensor, not %s", c->self->name, value_text(e, *v)), false;
	if (!v->as.tensor.nlabels) return true;
	elab_error(e, span, "`%s` of one element of an indexed definition", c->self->name);
	elab_help(e, "apply it to the whole tensor, in a `let` before this one");
	return false;
}

/* `axis = k`, negative from the end; `missing` when absent.  rank bounds it. */
bool axis_argument(Elab *e, Call *c, int slot, int rank, int missing, int *axis) {
	Dim d;
	int64_t n;
	*axis = missing;
	if (!c->given[slot]) return true;
	if (!value_to_int(e, c->slot[slot], "an axis", c->slot_span[slot], &d)) return false;
	if (!dim_known(d, &n) || n < -rank || n >= rank) {
		elab_error(e, c->slot_span[slot], "axis %s of a tensor with %s", dim_text(e->arena, d),
		           arena_count(e->arena, rank, "dim"));
		return false;
	}
	*axis = (int)(n < 0 ? n + rank : n);
	return true;
}

/* A result that keeps what v says about its elements. */
Value value_like(Value v, Value from) {
	v.as.tensor.classes = from.as.tensor.classes;
	v.as.tensor.tag = from.as.tensor.tag;
	v.as.tensor.tag_span = from.as.tensor.tag_span;
	v.as.tensor.tag_maker = from.as.tensor.tag_maker;
	return v;
}

/* What the last size must be beside the others; false: nothing. */
static bool fitting_size(int rank, const Dim *dims, Dim count, Dim *fitting) {
	int64_t rest = 1, n;
	Dim last = count;   /* its name goes with what it was */
	last.name = NULL;
	bool with_batch = false;
	for (int i = 0; i + 1 < rank; i++) {
		bool known = dim_known(dims[i], &n), batch = !with_batch && dim_equal(dims[i], dim_batch()) && last.c[0] == 0;
		if (batch) with_batch = true, memmove(last.c, last.c + 1, sizeof last.c - sizeof last.c[0]), last.c[DIM_DEGREE] = 0;
		else if (known && n > 0 && rest <= INT64_MAX / n) rest *= n;
		else return false;
	}
	for (int i = 0; i <= DIM_DEGREE; i++) {
		if (last.c[i] % rest) return false;
		last.c[i] /= rest;
	}
	*fitting = last;
	return rank > 0;
}

static void help_reshape(Elab *e, int rank, Dim *dims, Dim count) {
	bool fits = fitting_size(rank, dims, count, &dims[MAX(rank - 1, 0)]);
	if (fits) elab_help(e, "%s has as many elements", shape_text(e->arena, rank, dims));
	else elab_help(e, "the product of the sizes must be %s", dim_text(e->arena, count));
}

Value builtin_reshape(Elab *e, Call *c) {
	Value x = c->slot[0];
	Dim dims[MAX_RANK], before = dim_number(1), after = dim_number(1);
	int64_t sizes[MAX_RANK];
	int rank = 0;
	bool fits = true;
	if (!plain_tensor(e, c, &x, c->slot_span[0]) || !collect_dims(e, c->nrest, c->rest, c->rest_span, &rank, dims, c->at))
		return value_poison();
	for (int i = 0; i < rank; i++) {
		if (!dim_known(dims[i], &sizes[i]) || sizes[i] >= 0) continue;
		elab_error(e, c->at, "`reshape` to the size %s: every size is written out, none is inferred",
		           dim_text(e->arena, dims[i]));
		elab_help(e, "the operand is %s; a size may be calculated, as in `reshape(x, B, 4 * n)`", value_text(e, x));
		return value_poison();
	}
	for (int i = 0; i < x.as.tensor.rank; i++) fits &= dim_mul(before, x.as.tensor.dims[i], &before);
	for (int i = 0; i < rank; i++) fits &= dim_mul(after, dims[i], &after);
	if (!fits || !dim_equal(before, after)) {
		elab_error(e, c->at, "`reshape` of %s to %s: %s elements are not %s", value_text(e, x), shape_text(e->arena, rank, dims),
			dim_text(e->arena, before), dim_text(e->arena, after));
		note_value(e, "the operand", x);
		if (fits) help_reshape(e, rank, dims, before);
		return value_poison();
	}
	if (!check_count(e, rank, dims, c->at)) return value_poison();
	sizes_of(e, rank, dims, sizes);
	return value_like(value_tensor(e, ir_reshape(fn_of(e), x.as.tensor.val, rank, sizes), dims, c->span), x);
}

Value builtin_dims(Elab *e, Call *c) {
	Value x = c->slot[0];
	if (value_static(x)) return value_list(VALUE_LIST, 0, NULL, c->span);
	if (x.kind == VALUE_LIST || x.kind == VALUE_TUPLE) {
		Value count = value_int(x.as.list.count, c->span);
		return value_list(VALUE_LIST, 1, arena_copy(e->arena, &count, sizeof count), c->span);
	}
	if (x.kind != VALUE_TENSOR) return elab_error(e, c->slot_span[0], "`dims` wants a tensor, not %s", value_text(e, x));
	Value *items = NEW_ARRAY(e->arena, Value, x.as.tensor.rank + 1);
	for (int i = 0; i < x.as.tensor.rank; i++) items[i] = value_dim(x.as.tensor.dims[i], c->span);
	return value_list(VALUE_LIST, x.as.tensor.rank, items, c->span);
}

static Value filled(Elab *e, Val *scalar, int rank, const Dim *dims, Span span) {
	int64_t sizes[MAX_RANK];
	sizes_of(e, rank, dims, sizes);
	return value_tensor(e, rank ? ir_broadcast(fn_of(e), scalar, rank, sizes, NULL) : scalar, dims, span);
}

Value builtin_fill(Elab *e, Call *c) {
	Dim dims[MAX_RANK];
	int rank = 0;
	if (!collect_dims(e, c->nrest, c->rest, c->rest_span, &rank, dims, c->at) || !check_count(e, rank, dims, c->at))
		return value_poison();
	Value v = filled(e, ir_const(fn_of(e), DTYPE_F32, c->self->op), rank, dims, c->span);
	v.as.tensor.weak = true;
	return v;
}

Value builtin_full(Elab *e, Call *c) {
	Dim dims[MAX_RANK];
	int rank = 0;
	Value x = c->slot[0];
	bool adapts = value_static(x);
	if (!plain_tensor(e, c, &x, c->slot_span[0]) || !collect_dims(e, c->nrest, c->rest, c->rest_span, &rank, dims, c->at))
		return value_poison();
	if (x.as.tensor.rank) return elab_error(e, c->slot_span[0], "`full` wants a scalar, not %s", value_text(e, x));
	if (!check_count(e, rank, dims, c->at)) return value_poison();
	Value v = filled(e, x.as.tensor.val, rank, dims, c->span);
	v.as.tensor.weak = adapts;
	return v;
}

Value builtin_iota(Elab *e, Call *c) {
	Dim n;
	if (!value_to_int(e, c->slot[0], "a size", c->slot_span[0], &n) || !check_count(e, 1, &n, c->at)) return value_poison();
	Type type = {.dtype = DTYPE_I32, .rank = 1, .dim = {dim_value(e, n)}};
	if (!check_index(e, "`iota`", type.dim[0], c->at)) return value_poison();
	return value_tensor(e, ir_iota(fn_of(e), type, 0), &n, c->span);
}

/* The operands of concat and stack: a list, or several; all plain, of one dtype. */
static int operands(Elab *e, Call *c, Value *out, Span *spans) {
	int n = 0;
	bool list = c->slot[0].kind == VALUE_LIST || c->slot[0].kind == VALUE_TUPLE;
	if (list && c->nrest) return elab_error(e, c->at, "`%s` takes one list or several tensors", c->self->name), 0;
	int count = list ? c->slot[0].as.list.count : 1 + c->nrest;
	if (count > MAX_ARGUMENTS) return elab_error(e, c->at, "`%s` of more than %d tensors", c->self->name, MAX_ARGUMENTS), 0;
	for (; n < count; n++) {
		out[n] = list ? c->slot[0].as.list.items[n] : n ? c->rest[n - 1] : c->slot[0];
		spans[n] = list || !n ? c->slot_span[0] : c->rest_span[n - 1];
		if (!plain_tensor(e, c, &out[n], spans[n])) return 0;
		if (value_dtype(&out[n]) == value_dtype(&out[0])) continue;
		if (out[0].as.tensor.weak && !out[n].as.tensor.weak && n == 1)
			out[0] = to_tensor(e, out[0], value_dtype(&out[n]), spans[0]);
		else out[n] = to_tensor(e, out[n], value_dtype(&out[0]), spans[n]);
		if (!value_ok(out[n]) || !value_ok(out[0])) return 0;
	}
	if (!n) elab_error(e, c->at, "`%s` of nothing", c->self->name);
	return n;
}

Value builtin_concat(Elab *e, Call *c) {
	Value x[MAX_ARGUMENTS];
	Span spans[MAX_ARGUMENTS];
	Val *vals[MAX_ARGUMENTS];
	Dim dims[MAX_RANK];
	int n = operands(e, c, x, spans), axis;
	if (!n) return value_poison();
	int rank = x[0].as.tensor.rank;
	if (!rank) return elab_error(e, c->at, "`concat` of scalars; `stack` makes a dim of them");
	if (!axis_argument(e, c, 2, rank, rank - 1, &axis)) return value_poison();
	memcpy(dims, x[0].as.tensor.dims, sizeof *dims * (size_t)rank);
	vals[0] = x[0].as.tensor.val;
	for (int i = 1; i < n; i++) {
		bool same = x[i].as.tensor.rank == rank;
		for (int k = 0; same && k < rank; k++) same = k == axis || dim_equal(x[i].as.tensor.dims[k], dims[k]);
		if (!same || !dim_add(dims[axis], x[i].as.tensor.dims[axis], &dims[axis])) {
			elab_error(e, spans[i], "`concat` along axis %d of %s and %s", axis, value_text(e, x[0]), value_text(e, x[i]));
			note_value(e, "the first", x[0]);
			note_value(e, "this one", x[i]);
			elab_help(e, "all sizes but the one of the axis must be equal");
			return value_poison();
		}
		vals[i] = x[i].as.tensor.val;
	}
	if (!check_count(e, rank, dims, c->at)) return value_poison();
	return value_tensor(e, n == 1 ? vals[0] : ir_concat(fn_of(e), n, vals, axis), dims, c->span);
}

Value builtin_stack(Elab *e, Call *c) {
	Value x[MAX_ARGUMENTS];
	Span spans[MAX_ARGUMENTS];
	Val *vals[MAX_ARGUMENTS];
	Dim dims[MAX_RANK];
	int64_t sizes[MAX_RANK];
	int n = operands(e, c, x, spans), axis;
	if (!n) return value_poison();
	int rank = x[0].as.tensor.rank;
	if (rank == MAX_RANK) return elab_error(e, c->at, "more than %d dims", MAX_RANK);
	if (!axis_argument(e, c, 2, rank + 1, 0, &axis)) return value_poison();
	for (int k = 0; k <= rank; k++) dims[k] = k == axis ? dim_number(1) : x[0].as.tensor.dims[k - (k > axis)];
	sizes_of(e, rank + 1, dims, sizes);
	for (int i = 0; i < n; i++) {
		bool same = x[i].as.tensor.rank == rank;
		for (int k = 0; same && k < rank; k++) same = dim_equal(x[i].as.tensor.dims[k], x[0].as.tensor.dims[k]);
		if (!same) {
			elab_error(e, spans[i], "`stack` of %s and %s", value_text(e, x[0]), value_text(e, x[i]));
			note_value(e, "the first", x[0]);
			note_value(e, "this one", x[i]);
			return value_poison();
		}
		vals[i] = ir_reshape(fn_of(e), x[i].as.tensor.val, rank + 1, sizes);
	}
	dims[axis] = dim_number(n);
	if (!check_count(e, rank + 1, dims, c->at)) return value_poison();
	return value_tensor(e, n == 1 ? vals[0] : ir_concat(fn_of(e), n, vals, axis), dims, c->span);
}

Value builtin_split(Elab *e, Call *c) {
	Value x = c->slot[0];
	Dim d;
	int64_t n, size, start[MAX_RANK] = {0}, sizes[MAX_RANK];
	int axis;
	if (!plain_tensor(e, c, &x, c->slot_span[0]) || !value_to_int(e, c->slot[1], "the number of parts", c->slot_span[1], &d))
		return value_poison();
	int rank = x.as.tensor.rank;
	if (!rank) return elab_error(e, c->at, "`split` of a scalar");
	if (!axis_argument(e, c, 2, rank, rank - 1, &axis)) return value_poison();
	Dim dims[MAX_RANK];
	memcpy(dims, x.as.tensor.dims, sizeof *dims * (size_t)rank);
	if (!dim_known(d, &n) || n < 1 || n > MAX_UNROLL || !dim_known(dims[axis], &size) || size % n) {
		elab_error(e, c->at, "`split` of size %s into %s parts", dim_text(e->arena, dims[axis]), dim_text(e->arena, d));
		elab_help(e, "the number is that of equal parts, not their size; `x[.., 0..2]` takes any part");
		return value_poison();
	}
	dims[axis] = dim_number(size / n);
	sizes_of(e, rank, dims, sizes);
	Value *items = NEW_ARRAY(e->arena, Value, n);
	for (int64_t i = 0; i < n; i++) {
		start[axis] = i * (size / n);
		items[i] = value_like(value_tensor(e, ir_slice(fn_of(e), x.as.tensor.val, start, sizes, NULL), dims, c->span), x);
	}
	return value_list(VALUE_LIST, (int)n, items, c->span);
}

Value builtin_flip(Elab *e, Call *c) {
	Value x = c->slot[0];
	int axis;
	if (!plain_tensor(e, c, &x, c->slot_span[0])) return value_poison();
	if (!x.as.tensor.rank) return elab_error(e, c->at, "`flip` of a scalar");
	if (!axis_argument(e, c, 1, x.as.tensor.rank, x.as.tensor.rank - 1, &axis)) return value_poison();
	int64_t axes[] = {axis};
	return value_like(value_tensor(e, ir_flip(fn_of(e), x.as.tensor.val, 1, axes), x.as.tensor.dims, c->span), x);
}

/* A scalar that is computed where `padded`, which holds 0 there, is not x. */
static Val *fill_padding(Fn *f, Val *x, Val *padded, Val *fill, const int64_t *lo, const int64_t *hi) {
	Val *ones = ir_broadcast(f, ir_const(f, DTYPE_F32, 1), x->type.rank, x->type.dim, NULL);
	Val *inside = ir_pad(f, ones, lo, hi, NULL, 0), *all = ir_broadcast(f, fill, padded->type.rank, padded->type.dim, NULL);
	return ir_Where(f, ir_Eq(f, inside, ir_like(f, inside, 1)), padded, all);
}

Value builtin_pad(Elab *e, Call *c) {
	Value x = c->slot[0];
	Dim side[2];
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	int axis;
	double value = 0;
	if (!plain_tensor(e, c, &x, c->slot_span[0])) return value_poison();
	int rank = x.as.tensor.rank;
	if (!rank) return elab_error(e, c->at, "`pad` of a scalar");
	if (!axis_argument(e, c, 4, rank, rank - 1, &axis)) return value_poison();
	Dim dims[MAX_RANK];
	memcpy(dims, x.as.tensor.dims, sizeof *dims * (size_t)rank);
	for (int i = 0; i < 2; i++) {
		if (!value_to_int(e, c->slot[1 + i], "a size", c->slot_span[1 + i], &side[i])) return value_poison();
		int64_t n = dim_value(e, side[i]);
		if (n < -INT32_MAX || n > INT32_MAX || !dim_add(dims[axis], side[i], &dims[axis]))
			return elab_error(e, c->slot_span[1 + i], "padding of %s", dim_text(e->arena, side[i]));
		*(i ? &hi[axis] : &lo[axis]) = n;
	}
	Value fill = c->slot[3];
	bool computed = c->given[3] && fill.kind == VALUE_TENSOR && !fill.as.tensor.nlabels && !fill.as.tensor.rank;
	if (computed && value_dtype(&fill) != value_dtype(&x)) fill = to_tensor(e, fill, value_dtype(&x), c->slot_span[3]);
	if (c->given[3] && !value_ok(fill)) return value_poison();
	if (c->given[3] && !computed && fill.kind != VALUE_INT && fill.kind != VALUE_REAL)
		return elab_error(e, c->slot_span[3], "`pad` wants one number as value, not %s", value_text(e, fill));
	if (c->given[3] && !computed) value = fill.kind == VALUE_INT ? (double)dim_value(e, fill.as.integer) : fill.as.real;
	if (!check_count(e, rank, dims, c->at)) return value_poison();
	Val *y = ir_pad(fn_of(e), x.as.tensor.val, lo, hi, NULL, value);
	if (computed) y = fill_padding(fn_of(e), x.as.tensor.val, y, fill.as.tensor.val, lo, hi);
	return value_tensor(e, y, dims, c->span);
}
