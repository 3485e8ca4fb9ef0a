/* build.c: the constructors.  In: operands of one function; out: the value, in its canonical form: what changes nothing
 * (a cast to the same dtype, an identity transpose) is the operand itself.  Guarantees: as val_intern(). */
#include "rules.h"

#include <math.h>
#include <string.h>

static Val *build(Fn *f, Op op, Type type, int nargs, Val **args, const IntList *lists, int nlists) {
	Val key = {.op = op, .type = type, .nargs = nargs, .arg = args, .span = f->span};
	for (int k = 0; k < nlists; k++) key.list[k] = lists[k];
	return val_intern(f, &key);
}

static Val *build_axis(Fn *f, Op op, Type type, Val *a, int64_t axis) {
	return build(f, op, type, 1, &a, (IntList[]){{&axis, 1}}, 1);
}

static void check_axis(const Val *a, int64_t axis, Op op) {
	if (axis < 0 || axis >= a->type.rank) die("%s: axis %lld of rank %d", op_info[op].text, (long long)axis, a->type.rank);
}

static Val *pointwise(Fn *f, Op op, int n, Val **args) {
	Type type = args[n - 1]->type;
	if (op_info[op].result_bool) type.dtype = DTYPE_BOOL;
	return build(f, op, type, n, args, NULL, 0);
}

Val *ir_pointwise(Fn *f, Op op, Val **args) { return pointwise(f, op, op_info[op].arity, args); }

#define UNARY(Name, ...) \
	Val *ir_##Name(Fn *f, Val *a) { return pointwise(f, Op##Name, 1, (Val *[]){a}); }
#define BINARY(Name, ...) \
	Val *ir_##Name(Fn *f, Val *a, Val *b) { return pointwise(f, Op##Name, 2, (Val *[]){a, b}); }
#define TERNARY(Name, ...) \
	Val *ir_##Name(Fn *f, Val *a, Val *b, Val *c) { return pointwise(f, Op##Name, 3, (Val *[]){a, b, c}); }
#define STRUCTURAL(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL

/* ---- sources ---- */

Val *ir_const(Fn *f, DType dtype, double value) {
	if (isnan(value)) value = (double)NAN; /* one NaN, whatever its payload was */
	if (!dtype_is_float(dtype) && value == 0) value = 0; /* no -0 among integers */
	Val key = {.op = OpConst, .type = type_scalar(dtype), .number = value, .span = f->span};
	return val_intern(f, &key);
}

Val *ir_like(Fn *f, Val *a, double value) {
	return ir_broadcast(f, ir_const(f, a->type.dtype, value), a->type.rank, a->type.dim, NULL);
}

Val *ir_iota(Fn *f, Type type, int axis) {
	int64_t at = axis;
	return build(f, OpIota, type, 0, NULL, (IntList[]){{&at, 1}}, 1);
}

Val *ir_random(Fn *f, Type type, Val *seed, Val *step, Val *index, int64_t site, int word) {
	int64_t number = word;
	return build(f, OpRandom, type, 3, (Val *[]){seed, step, index}, (IntList[]){{&site, 1}, {&number, 1}}, 2);
}

Val *ir_random_at(Fn *f, Val *const *key, Val *number, int64_t site, int word) {
	int64_t which = word;
	Type t = number->type;
	t.dtype = DTYPE_F32;
	return build(f, OpRandom, t, 4, (Val *[]){key[0], key[1], key[2], number}, (IntList[]){{&site, 1}, {&which, 1}}, 2);
}

bool is_splat(const Val *v, double *value) {
	while (v->op == OpBroadcast) v = v->arg[0];
	if (v->op != OpConst) return false;
	if (value) *value = v->number;
	return true;
}

/* ---- moving elements ---- */

Val *ir_cast(Fn *f, Val *a, DType dtype) {
	if (a->type.dtype == dtype) return a;
	Type type = a->type;
	type.dtype = dtype;
	return build(f, OpCast, type, 1, &a, NULL, 0);
}

Val *ir_reshape(Fn *f, Val *a, int rank, const int64_t *dim) {
	Type type = type_make(a->type.dtype, rank, dim);
	return type_equal(type, a->type) ? a : build(f, OpReshape, type, 1, &a, NULL, 0);
}

Val *ir_transpose(Fn *f, Val *a, const int64_t *perm) {
	Type type = a->type;
	int64_t copy[MAX_RANK];
	bool identity = true;
	for (int i = 0; i < type.rank; i++) {
		check_axis(a, perm[i], OpTranspose);
		copy[i] = perm[i];
		type.dim[i] = a->type.dim[perm[i]];
		identity &= perm[i] == i;
	}
	return identity ? a : build(f, OpTranspose, type, 1, &a, (IntList[]){{copy, type.rank}}, 1);
}

Val *ir_broadcast(Fn *f, Val *a, int rank, const int64_t *dim, const int64_t *dims) {
	Type type = type_make(a->type.dtype, rank, dim);
	int64_t copy[MAX_RANK] = {0};
	for (int i = 0; i < a->type.rank; i++) copy[i] = dims[i];
	if (type_equal(type, a->type)) return a;
	return build(f, OpBroadcast, type, 1, &a, (IntList[]){{copy, a->type.rank}}, 1);
}

Val *ir_slice(Fn *f, Val *a, const int64_t *start, const int64_t *size, const int64_t *step) {
	int rank = a->type.rank;
	Type type = type_make(a->type.dtype, rank, size);
	int64_t starts[MAX_RANK], steps[MAX_RANK];
	for (int i = 0; i < rank; i++) {
		starts[i] = start[i];
		steps[i] = step && size[i] > 1 ? step[i] : 1; /* of one element the step says nothing */
	}
	if (type_equal(type, a->type)) return a;
	return build(f, OpSlice, type, 1, &a, (IntList[]){{starts, rank}, {steps, rank}}, 2);
}

Val *ir_pad(Fn *f, Val *a, const int64_t *lo, const int64_t *hi, const int64_t *inner, double value) {
	int rank = a->type.rank;
	Type type = a->type;
	int64_t lists[MAX_LISTS][MAX_RANK];
	bool identity = true;
	for (int i = 0; i < rank; i++) {
		lists[0][i] = lo[i];
		lists[1][i] = hi[i];
		lists[2][i] = inner && type.dim[i] > 1 ? inner[i] : 0; /* nothing lies between the elements of one */
		type.dim[i] = lo[i] + hi[i] + (type.dim[i] - 1) * (lists[2][i] + 1) + 1;
		identity &= !lo[i] && !hi[i] && !lists[2][i];
	}
	if (identity) return a;
	Val key = {.op = OpPad, .type = type, .nargs = 1, .arg = &a, .number = value, .span = f->span,
	           .list = {{lists[0], rank}, {lists[1], rank}, {lists[2], rank}}};
	return val_intern(f, &key);
}

Val *ir_flip(Fn *f, Val *a, int naxes, const int64_t *axes) {
	bool flipped[MAX_RANK] = {false};
	int64_t sorted[MAX_RANK];
	int n = 0;
	for (int i = 0; i < naxes; i++) {
		check_axis(a, axes[i], OpFlip);
		if (flipped[axes[i]]) die("flip: axis %lld twice", (long long)axes[i]);
		flipped[axes[i]] = true;
	}
	for (int i = 0; i < a->type.rank; i++)
		if (flipped[i]) sorted[n++] = i;
	return n ? build(f, OpFlip, a->type, 1, &a, (IntList[]){{sorted, n}}, 1) : a;
}

Val *ir_window(Fn *f, Val *a, int axis, int64_t n, int64_t size, int64_t stride, int64_t dilation) {
	check_axis(a, axis, OpWindow);
	if (a->type.rank == MAX_RANK) die("window: rank %d", a->type.rank + 1);
	Type type = a->type;
	type.rank++;
	for (int i = axis + 2; i < type.rank; i++) type.dim[i] = a->type.dim[i - 1];
	type.dim[axis] = n;
	type.dim[axis + 1] = size;
	int64_t at = axis;
	return build(f, OpWindow, type, 1, &a, (IntList[]){{&at, 1}, {&stride, 1}, {&dilation, 1}}, 3);
}

Val *ir_fold(Fn *f, Val *a, int axis, int64_t total, int64_t stride, int64_t dilation) {
	check_axis(a, (int64_t)axis + 1, OpFold);
	check_axis(a, axis, OpFold);
	Type type = a->type;
	type.rank--;
	type.dim[axis] = total;
	for (int i = axis + 1; i < type.rank; i++) type.dim[i] = a->type.dim[i + 1];
	int64_t at = axis;
	return build(f, OpFold, type, 1, &a, (IntList[]){{&at, 1}, {&stride, 1}, {&dilation, 1}}, 3);
}

Val *ir_concat(Fn *f, int n, Val **args, int axis) {
	if (n < 1) die("concat of nothing");
	check_axis(args[0], axis, OpConcat);
	if (n == 1) return args[0];
	Type type = args[0]->type;
	for (int i = 1; i < n; i++) {
		check_axis(args[i], axis, OpConcat);
		type.dim[axis] += args[i]->type.dim[axis];
	}
	int64_t at = axis;
	return build(f, OpConcat, type, n, args, (IntList[]){{&at, 1}}, 1);
}

/* ---- along one axis ---- */

static Type without_axis(Type t, int axis) {
	t.rank--;
	for (int i = axis; i < t.rank; i++) t.dim[i] = t.dim[i + 1];
	t.dim[t.rank] = 0;
	return t;
}

/* The axes first .. first + n - 1 of `axes` side by side, at the place of the last, as one axis; *at is where it stands. */
static Val *merge_axes(Fn *f, Val *a, int n, const int64_t *axes, int64_t *at) {
	int64_t perm[MAX_RANK], dim[MAX_RANK], last = axes[n - 1], merged = 1;
	int rank = 0, next = 0, kept = 0;
	for (int i = 0; i < a->type.rank; i++) {
		bool is_merged = next < n && axes[next] == i;
		next += is_merged;
		if (i == last) {
			for (int k = 0; k < n; k++) perm[rank++] = axes[k], merged *= a->type.dim[axes[k]];
			*at = kept;
			dim[kept++] = merged;
		} else if (!is_merged) {
			perm[rank++] = i;
			dim[kept++] = a->type.dim[i];
		}
	}
	return ir_reshape(f, ir_transpose(f, a, perm), kept, dim);
}

static void check_axes(const Val *a, Op op, int naxes, const int64_t *axes) {
	for (int i = 0; i < naxes; i++) {
		check_axis(a, axes[i], op);
		if (i && axes[i - 1] >= axes[i]) die("%s: axes are not ascending", op_info[op].text);
	}
}

Val *ir_reduce(Fn *f, Op op, Val *a, int naxes, const int64_t *axes) {
	check_axes(a, op, naxes, axes);
	if (op == OpReduceMax || op == OpReduceMin) return ir_reduce_merged(f, op, a, naxes, axes);
	for (int i = naxes - 1; i >= 0; i--) a = build_axis(f, op, without_axis(a->type, (int)axes[i]), a, axes[i]);
	return a;
}

Val *ir_reduce_merged(Fn *f, Op op, Val *a, int naxes, const int64_t *axes) {
	while (naxes > 0) {
		int first = naxes - 1;
		int64_t terms = a->type.dim[axes[first]], at = axes[first];
		while (first > 0 && terms * a->type.dim[axes[first - 1]] <= SUM_BLOCK) terms *= a->type.dim[axes[--first]];
		if (naxes - first > 1) a = merge_axes(f, a, naxes - first, axes + first, &at);
		a = build_axis(f, op, without_axis(a->type, (int)at), a, at);
		naxes = first;
	}
	return a;
}

Val *ir_argmax(Fn *f, Val *a, int axis) {
	check_axis(a, axis, OpArgMax);
	Type type = without_axis(a->type, axis);
	type.dtype = DTYPE_I32;
	return build_axis(f, OpArgMax, type, a, axis);
}

Val *ir_cumsum(Fn *f, Val *a, int axis) { return build_axis(f, OpCumSum, a->type, a, axis); }

Val *ir_argsort(Fn *f, Val *a, int axis) {
	Type type = a->type;
	type.dtype = DTYPE_I32;
	return build_axis(f, OpArgSort, type, a, axis);
}

/* ---- products, indices ---- */

static int find_label(int n, const int64_t *labels, int64_t label) {
	for (int i = 0; i < n; i++)
		if (labels[i] == label) return i;
	return -1;
}

DType contract_dtype(DType a, DType b) {
	bool bytes = (a == DTYPE_I8 || a == DTYPE_U8) && (b == DTYPE_I8 || b == DTYPE_U8);
	bytes = bytes || (dtype_is_word(a) && dtype_is_word(b));
	return bytes ? DTYPE_I32 : a == b && a != DTYPE_BOOL ? a : DTYPE_COUNT;
}

/* Labels are renamed: a's axes are 0, 1, ..; then what b adds, in its order.  So equal products are one value. */
Val *ir_contract_within(Fn *f, Val *a, const int64_t *la, Val *b, const int64_t *lb, int ny, const int64_t *ly,
                        const int64_t *within) {
	if (ny < 0 || ny > MAX_RANK) die("contract: rank %d", ny);
	int na = a->type.rank, nb = b->type.rank, next = na;
	int64_t names[3][MAX_RANK], extent[2 * MAX_RANK];
	for (int i = 0; i < na; i++) {
		if (find_label(i, la, la[i]) >= 0) die("contract: label %lld of a occurs twice", (long long)la[i]);
		names[0][i] = i;
		extent[i] = a->type.dim[i];
	}
	for (int i = 0; i < nb; i++) {
		int at = find_label(na, la, lb[i]);
		if (find_label(i, lb, lb[i]) >= 0) die("contract: label %lld of b occurs twice", (long long)lb[i]);
		if (at < 0) extent[next] = b->type.dim[i];
		names[1][i] = at >= 0 ? at : next++;
	}
	Type type = {.dtype = contract_dtype(a->type.dtype, b->type.dtype), .rank = ny};
	for (int i = 0; i < ny; i++) {
		int at = find_label(na, la, ly[i]), other = find_label(nb, lb, ly[i]);
		if (at < 0 && other < 0) die("contract: label %lld of y is nowhere", (long long)ly[i]);
		names[2][i] = at >= 0 ? at : names[1][other];
		type.dim[i] = extent[names[2][i]];
	}
	int64_t some[WITHIN_LENGTH] = {0};
	for (int i = 0; i < WITHIN_LENGTH && within; i++) some[i] = within[i];
	for (int i = 0; i < 2 && within; i++) {
		int at = find_label(na, la, within[i]), other = find_label(nb, lb, within[i]);
		some[i] = at >= 0 ? at : other >= 0 ? names[1][other] : -1;
	}
	IntList lists[] = {{names[0], na}, {names[1], nb}, {names[2], ny}, {some, within ? WITHIN_LENGTH : 0}};
	return build(f, OpContract, type, 2, (Val *[]){a, b}, lists, 4);
}

Val *ir_contract(Fn *f, Val *a, const int64_t *la, Val *b, const int64_t *lb, int ny, const int64_t *ly) {
	return ir_contract_within(f, a, la, b, lb, ny, ly, NULL);
}

bool contract_bound(const Val *v, ContractBound *bound) {
	if (!v->list[3].length) return false;
	const int64_t *w = v->list[3].data;
	bool position = find_label(v->list[2].length, v->list[2].data, w[0]) >= 0;   /* it is the position that the result has */
	*bound = (ContractBound){.result = position ? w[0] : w[1], .summed = position ? w[1] : w[0], .outer = position ? w[2] : w[3],
	                         .inner = position ? w[3] : w[2], .first = w[4], .count = w[5]};
	return true;
}

static bool list_has(const IntList *list, int64_t label) { return find_label(list->length, list->data, label) >= 0; }

ContractOrder contract_order(const Val *v) {
	const IntList *a = &v->list[0], *b = &v->list[1], *y = &v->list[2];
	ContractOrder order = {.dot = true, .terms = 1};
	for (int i = 0; i < b->length; i++)
		if (!list_has(a, b->data[i]) && v->arg[1]->type.dim[i] > 1) order.dot = false;
	int64_t last = y->length ? y->data[y->length - 1] : -1;
	bool batch_last = last >= 0 && list_has(a, last) && list_has(b, last);
	for (int i = 0; i < a->length && batch_last; i++)
		if (!list_has(b, a->data[i]) && v->arg[0]->type.dim[i] > 1) order.dot = false;
	int64_t whole = 1;
	order.run = order.block = 0;
	for (int i = a->length - 1; i >= 0; i--) {
		int64_t dim = v->arg[0]->type.dim[i];
		if (list_has(y, a->data[i])) continue;
		order.terms *= dim;
		if (order.run) continue;
		if (whole * dim <= SUM_BLOCK) whole *= dim;
		else order.run = whole * dim, order.block = SUM_BLOCK / whole * whole;
	}
	if (!order.run) order.run = order.block = order.terms;
	if (dtype_is_word(v->arg[0]->type.dtype)) return (ContractOrder){false, order.terms, order.terms, order.terms};   /* exact */
	if (order.dot) order.run = order.terms, order.block = MIN(SUM_BLOCK, order.terms);
	return order;
}

bool contract_is_never_empty(const Val *v, const ContractBound *bound) {
	int64_t results = v->type.dim[find_label(v->list[2].length, v->list[2].data, bound->result)];
	int64_t turns = v->arg[0]->type.dim[find_label(v->list[0].length, v->list[0].data, bound->summed)];
	for (int64_t o = 0; o < results; o++) {
		bool any = false;
		for (int64_t i = 0; i < turns && !any; i++) {
			int64_t at = o * bound->outer + i * bound->inner - bound->first;
			any = at >= 0 && at < bound->count;
		}
		if (!any) return false;
	}
	return true;
}

Val *ir_gather(Fn *f, Val *table, Val *index, int batch) {
	int rank = index->type.rank + table->type.rank - batch - 1;
	if (batch < 0 || batch >= table->type.rank || rank < 0 || rank > MAX_RANK) die("gather: batch %d, rank %d", batch, rank);
	Type type = {.dtype = table->type.dtype, .rank = rank};
	for (int i = 0; i < rank; i++)
		type.dim[i] = i < index->type.rank ? index->type.dim[i] : table->type.dim[i - index->type.rank + batch + 1];
	int64_t number = batch;
	return build(f, OpGather, type, 2, (Val *[]){table, index}, (IntList[]){{&number, 1}}, 1);
}

Val *ir_scatter_add(Fn *f, Val *rows, Val *index, int batch, int64_t n) {
	int rest = rows->type.rank - index->type.rank, rank = batch + 1 + rest;
	if (batch < 0 || rest < 0 || batch > index->type.rank || rank > MAX_RANK) die("scatter_add: batch %d, rank %d", batch, rank);
	Type type = {.dtype = rows->type.dtype, .rank = rank};
	for (int i = 0; i < rank; i++)
		type.dim[i] = i < batch ? index->type.dim[i] : i == batch ? n : rows->type.dim[index->type.rank + i - batch - 1];
	int64_t number = batch;
	return build(f, OpScatterAdd, type, 2, (Val *[]){rows, index}, (IntList[]){{&number, 1}}, 1);
}

Val *ir_buckets(Fn *f, Val *index, int64_t n) {
	Type type = index->type;
	type.dtype = DTYPE_I32;
	if (!type.rank) die("buckets of a scalar");
	type.dim[type.rank - 1] += 1 + n;
	return build(f, OpBuckets, type, 1, &index, NULL, 0);
}

Val *ir_sum_buckets(Fn *f, Val *rows, Val *buckets, int rest) {
	int batch = buckets->type.rank - 1, of_index = rows->type.rank - rest;
	if (rest < 0 || of_index < batch || batch + 1 + rest > MAX_RANK) die("sum_buckets: rank %d", rows->type.rank);
	Type type = {.dtype = rows->type.dtype, .rank = batch + 1 + rest};
	int64_t m = 1;
	for (int i = batch; i < of_index; i++) m *= rows->type.dim[i];
	for (int i = 0; i < batch; i++) type.dim[i] = rows->type.dim[i];
	type.dim[batch] = buckets->type.dim[batch] - 1 - m;
	for (int i = 0; i < rest; i++) type.dim[batch + 1 + i] = rows->type.dim[of_index + i];
	return build(f, OpSumBuckets, type, 2, (Val *[]){rows, buckets}, NULL, 0);
}

/* ---- scan ---- */

Val *ir_scan(Fn *f, Fn *body, int64_t count, bool reversed, int ncarries, int nargs, Val **args) {
	int64_t lists[MAX_LISTS] = {ncarries, reversed, count};
	Val key = {.op = OpScan, .type = type_scalar(DTYPE_I32), .nargs = nargs, .arg = args, .body = body, .span = f->span,
	           .list = {{&lists[0], 1}, {&lists[1], 1}, {&lists[2], 1}}};
	return val_intern(f, &key);
}

Val *ir_project(Fn *f, Val *scan, int index) {
	if (scan->op != OpScan || index < 0 || index >= scan->body->outputs.length)
		die("project: %d of %s", index, op_info[scan->op].text);
	Type type = scan->body->outputs.data[index].val->type;
	if (index >= scan->list[0].data[0]) {
		if (type.rank == MAX_RANK) die("project: rank %d", type.rank + 1);
		memmove(type.dim + 1, type.dim, sizeof *type.dim * (size_t)type.rank++);
		type.dim[0] = scan->list[2].data[0];
	}
	return build_axis(f, OpProject, type, scan, index);
}

Val *ir_again(Fn *f, Val *a, Val *after) { return build(f, OpAgain, a->type, 2, (Val *[]){a, after}, NULL, 0); }

/* ---- between elaboration and grad ---- */

Val *ir_mark(Fn *f, Val *a) { return build_axis(f, OpMark, a->type, a, f->next_mark); }

Val *ir_grad(Fn *f, Val *loss, Val *by) { return build(f, OpGrad, by->type, 2, (Val *[]){loss, by}, NULL, 0); }

Val *ir_cotangent(Fn *f, Type type, int64_t *id) {
	*id = f->next_mark;
	int64_t copy = *id;
	return build(f, OpCotangent, type, 0, NULL, (IntList[]){{&copy, 1}}, 1);
}

Val *ir_custom(Fn *f, int64_t id, Val *y, int n, Val **inputs, Val **adjoints) {
	Val **args = NEW_ARRAY(f->arena, Val *, 1 + 2 * n);
	args[0] = y;
	for (int i = 0; i < n; i++) {
		args[1 + i] = inputs[i];
		args[1 + n + i] = adjoints[i];
	}
	return build(f, OpCustom, y->type, 1 + 2 * n, args, (IntList[]){{&id, 1}}, 1);
}
