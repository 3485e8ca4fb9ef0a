/* indexed.c: elements whose place depends on data (gather, sums of buckets), or that several places make (fold).
 *
 * In: a value and an index; out: the code that computes the element (or 16 neighbours).
 * Guarantees: sums start at 0 and ascend, as the interpreter's do; where nothing is there to read, nothing is read. */
#include "lower.h"

/* A number of a row as a subscript: e->index, scalar or vector. */
static Value as_index(Emit *e, Value number) {
	LLVMTypeRef wide = emit_vector_type(e, e->index, emit_lanes(number));
	return LLVMTypeOf(number) == wide ? number : LLVMBuildSExt(e->builder, number, wide, "");
}

/* a[batch.., b[batch.., i..], rest..]: 0 where the index is out of range. */
Value gather_value(Lower *k, Val *v, const At *at, Value mask) {
	Val *table = v->arg[0], *index = v->arg[1];
	int batch = (int)v->list[0].data[0], ni = index->type.rank - batch;
	At iat = {0};
	for (int i = 0; i < index->type.rank; i++) iat.axis[i] = at->axis[i];
	Affine number = {.level = lower_level(k, index, &iat, mask)};
	Outside out = lower_go_out(k, number.level);
	number.computed = as_index(k->e, lower_value(k, index, &iat, mask));
	Value inside = mask_in_range(k, &number, table->type.dim[batch]);
	lower_come_back(k, out);
	View view;
	if (!view_resolve(k->kp, table, &view)) die("gather: table is not addressable");
	Affine offset = index_constant(view.offset);
	for (int i = 0; i < table->type.rank; i++) {
		Affine axis = i < batch ? at->axis[i] : i == batch ? number : at->axis[i - 1 + ni];
		offset = index_scale_add(k, axis, view.stride[i], &offset);
	}
	DType dtype = k->kp->buffers.data[view.buffer].type.dtype;
	Value x = lower_load(k, k->pointer[view.buffer], dtype, &offset, mask_and(k, mask, inside), false);
	return mask_select(k, inside, x, lower_constant(k->e, v->type.dtype, 0));
}

/* One turn more of a loop in the midst of an element's code; the lanes stay what they are. */
static void open_sum(Lower *k, EmitLoop *loop, Value begin, Value end, int64_t extent) {
	int lane_level = k->lane_level;
	level_open(k, loop, begin, end, 1, extent, false);
	k->lane_level = lane_level;
}

static Value quotient(Lower *k, Value a, int64_t by) {   /* a >= 0 */
	if (by == 1) return a;
	Value divisor = emit_index(k->e, by);
	return LLVMBuildUDiv(k->e->builder, a, emit_lanes(a) > 1 ? emit_splat(k->e, divisor, emit_lanes(a)) : divisor, "");
}

static Value larger(Lower *k, Value a, int64_t b) {
	Value other = emit_splat(k->e, emit_index(k->e, b), emit_lanes(a));
	return emit_intrinsic(k->e, "llvm.smax", LLVMTypeOf(a), 2, (Value[]){a, other});
}

/* The windows that may reach place t: first .. past - 1. */
typedef struct Reach { Affine place; Value first, past; } Reach;

static Reach reaching(Lower *k, const Val *v, const Affine *place) {
	Emit *e = k->e;
	int64_t axis = v->list[0].data[0], stride = v->list[1].data[0], dilation = v->list[2].data[0];
	int64_t n = v->arg[0]->type.dim[axis], last = (v->arg[0]->type.dim[axis + 1] - 1) * dilation;
	int level = index_level(k, place);
	Outside out = lower_go_out(k, level);
	Value t = index_value(k, place);
	int lanes = emit_lanes(t);
	Value before = LLVMBuildAdd(e->builder, t, emit_splat(e, emit_index(e, stride - 1 - last), lanes), "");
	Reach r = {.place = {.computed = t, .level = level}, .first = quotient(k, larger(k, before, 0), stride)};
	Value past = LLVMBuildAdd(e->builder, quotient(k, larger(k, t, 0), stride), emit_splat(e, emit_index(e, 1), lanes), "");
	r.past = emit_intrinsic(e, "llvm.smin", LLVMTypeOf(past), 2, (Value[]){past, emit_splat(e, emit_index(e, n), lanes)});
	lower_come_back(k, out);
	return r;
}

/* sum + the element of window i that place t is, which exists where `there` says. */
static Value add_window(Lower *k, Val *v, const At *at, Affine i, Affine r, Value sum, Value there, Value mask) {
	int axis = (int)v->list[0].data[0];
	At below = {0};
	for (int a = 0; a < v->arg[0]->type.rank; a++)
		below.axis[a] = a == axis ? i : a == axis + 1 ? r : at->axis[a > axis ? a - 1 : a];
	Value x = lower_value(k, v->arg[0], &below, mask_and(k, mask, there));
	if (emit_lanes(sum) > 1) x = lower_as_lanes(k, x);
	Value next = reduce_step(k->e, OpReduceSum, sum, x);
	return there ? mask_select(k, there, next, sum) : next;
}

/* One place, and in each window that reaches it one element, or with a dilation none. */
static Value fold_place(Lower *k, Val *v, const At *at, const Reach *reach, Value start, Value mask) {
	Emit *e = k->e;
	int64_t axis = v->list[0].data[0], stride = v->list[1].data[0], dilation = v->list[2].data[0];
	EmitLoop loop;
	open_sum(k, &loop, reach->first, reach->past, v->arg[0]->type.dim[axis]);
	Value sum = emit_loop_carry(e, &loop, start), there = NULL;
	Affine i = index_variable(k->depth), r = index_scale_add(k, i, -stride, &at->axis[axis]);
	if (dilation > 1) {
		Value distance = index_value(k, &r), by = emit_index(e, dilation);
		Value rest = LLVMBuildURem(e->builder, distance, by, "");
		there = LLVMBuildICmp(e->builder, LLVMIntEQ, rest, emit_index(e, 0), "");
		r = (Affine){.computed = LLVMBuildUDiv(e->builder, distance, by, ""), .level = k->depth};
	}
	emit_loop_next(e, &loop, 0, add_window(k, v, at, i, r, sum, there, mask));
	level_close(k, &loop);
	return loop.result[0];
}

/* Places that differ from lane to lane: as many turns as any of them needs. */
static Value fold_places(Lower *k, Val *v, const At *at, const Reach *reach, Value start, Value mask) {
	Emit *e = k->e;
	int64_t stride = v->list[1].data[0], dilation = v->list[2].data[0], terms = fold_terms(v);
	Affine first = {.computed = reach->first, .level = reach->place.level};
	EmitLoop loop;
	open_sum(k, &loop, emit_index(e, 0), emit_index(e, terms), terms);
	Value sum = emit_loop_carry(e, &loop, start);
	Affine turn = index_variable(k->depth);
	Affine window = index_scale_add(k, first, 1, &turn);
	Value i = index_value(k, &window), there = LLVMBuildICmp(e->builder, LLVMIntSLT, i, reach->past, "");
	Value steps = LLVMBuildMul(e->builder, i, emit_splat(e, emit_index(e, stride), k->lanes), "");
	Value distance = LLVMBuildSub(e->builder, reach->place.computed, steps, ""), r = quotient(k, distance, dilation);
	if (dilation > 1) {
		Value rest = LLVMBuildURem(e->builder, distance, emit_splat(e, emit_index(e, dilation), k->lanes), "");
		there = mask_and(k, there, LLVMBuildICmp(e->builder, LLVMIntEQ, rest, LLVMConstNull(LLVMTypeOf(rest)), ""));
	}
	Affine element = {.computed = r, .level = k->depth};
	window = (Affine){.computed = i, .level = k->depth};
	emit_loop_next(e, &loop, 0, add_window(k, v, at, window, element, sum, there, mask));
	level_close(k, &loop);
	return loop.result[0];
}

/* The sum of the windows that reach this place, in their order. */
Value fold_value(Lower *k, Val *v, const At *at, Value mask) {
	int lanes = k->lane_level >= 0 ? k->lanes : 1;
	Value start = reduce_start(k->e, OpReduceSum, v->type.dtype, lanes);
	Reach reach = reaching(k, v, &at->axis[v->list[0].data[0]]);
	return (emit_lanes(reach.place.computed) > 1 ? fold_places : fold_place)(k, v, at, &reach, start, mask);
}

/* The rows whose numbers are in bucket at[batch], in their order.  Lanes run along a row. */
Value sum_buckets_value(Lower *k, Val *v, const At *at, Value mask) {
	Emit *e = k->e;
	Val *rows = v->arg[0], *buckets = v->arg[1];
	int batch = buckets->type.rank - 1, rest = v->type.rank - batch - 1, of_index = rows->type.rank - rest;
	Type places = {.dtype = DTYPE_I32, .rank = of_index - batch};
	for (int i = 0; i < places.rank; i++) places.dim[i] = rows->type.dim[batch + i];
	if (index_uses_lanes(k, &at->axis[batch])) die("sum_buckets: lanes across rows");
	At ends = {0}, below = {0};
	for (int i = 0; i <= batch; i++) ends.axis[i] = at->axis[i];
	Value begin = as_index(e, lower_value(k, buckets, &ends, mask));
	ends.axis[batch].constant++;
	Value end = as_index(e, lower_value(k, buckets, &ends, mask));
	EmitLoop loop;
	int lanes = k->lane_level >= 0 ? k->lanes : 1;
	Value start = reduce_start(e, OpReduceSum, v->type.dtype, lanes);
	open_sum(k, &loop, begin, end, type_count(places));
	Value sum = emit_loop_carry(e, &loop, start);
	Affine first = index_constant(1 + v->type.dim[batch]);
	ends.axis[batch] = index_scale_add(k, index_variable(k->depth), 1, &first);
	Affine place = {.computed = as_index(e, lower_value(k, buckets, &ends, NULL)), .level = k->depth};
	At number = {.flat = true, .axis = {place}};
	number = index_split(k, &number, places);
	for (int i = 0; i < rows->type.rank; i++)
		below.axis[i] = i < batch ? at->axis[i] : i < of_index ? number.axis[i - batch] : at->axis[i - of_index + batch + 1];
	Value x = lower_value(k, rows, &below, mask);
	if (lanes > 1) x = lower_as_lanes(k, x);
	emit_loop_next(e, &loop, 0, reduce_step(e, OpReduceSum, sum, x));
	level_close(k, &loop);
	return loop.result[0];
}
