/* kernels.c: in: a Kernel; out: a local function  k(buffers.., scratch, sites.., [index,] begin, end)  that computes its roots
 * for the share begin .. end of its partition axis.  Guarantees: no allocation, no call but to microkernels of the same module.
 */
#include "lower.h"

#include <string.h>

typedef struct KernelWriter KernelWriter;
typedef void Inside(KernelWriter *w, At *at);

struct KernelWriter {
	Lower lower;
	const Contraction *contraction;
	Value begin, end, scratch;
	int turns;                   /* which loop around the product runs within its passes, or -1 */
	bool split;                  /* the lanes past the last whole 16 need code of their own */
	bool ragged;                 /* a tile's columns may begin and end anywhere, not at multiples of 16 */
	bool flat;                   /* the index is an element's number: see tile_is_flat() */
	bool run, whole;             /* so it is, and the rows of a tile are one run: see is_run(); of whole 16s */
	int lanes;                   /* the axis that lanes run along: see lane_axis() */
	int along;                   /* the axis that a sequence runs along, inside of all others, or -1 */
	Inside *each;                /* what is done at an index along the lanes, if not roots written */
};

/* Is there nothing to store of a root, since its parts were stored where they belong? */
static bool is_dealt(const Lower *k, const Val *root) { return k->kp->buffers.data[k->kp->buffer_of[root->id]].dealt; }

/* The roots at the present index: all computed, then all stored, since a root may overwrite what another one reads. */
static void write_roots(Lower *k, const At *at, const Val *skip) {
	int n = k->kernel->roots.length;
	Value *values = NEW_ARRAY(k->e->arena, Value, n + 1);
	for (int i = 0; i < n; i++)
		if (k->kernel->roots.data[i] != skip && !is_dealt(k, k->kernel->roots.data[i]))
			values[i] = lower_value(k, k->kernel->roots.data[i], at, NULL);
	for (int i = 0; i < n; i++)
		if (values[i]) lower_store(k, k->kernel->roots.data[i], at, values[i]);
}

static void write_each(KernelWriter *w, At *at, const Val *skip) {
	if (w->each) w->each(w, at);
	else write_roots(&w->lower, at, skip);
}

/* Does something in the tree of `v` read or write memory that has no padding along its last axis? */
static bool tree_is_dense(const KernelProgram *kp, const Val *v, bool top) {
	int buffer = kp->buffer_of[v->id];
	if (buffer >= 0) {
		const Buffer *b = &kp->buffers.data[buffer];
		if (b->type.rank > 0 && (b->exact || b->row % LANES)) return true;
		if (!top) return false;
	}
	switch (v->op) {
	case OpSlice: case OpPad: case OpFlip: case OpWindow: case OpConcat: case OpReshape: case OpTranspose: return true;
	case OpGather: case OpFold: case OpSumBuckets: return true;
	default: break;
	}
	for (int i = 0; i < (v->op == OpCustom ? 1 : v->nargs); i++)
		if (tree_is_dense(kp, v->arg[i], false)) return true;
	return false;
}

static bool needs_split(const KernelProgram *kp, const Kernel *kernel, int64_t n) {
	if (n % LANES == 0) return false;
	for (int i = 0; i < kernel->roots.length; i++)
		if (tree_is_dense(kp, kernel->roots.data[i], true)) return true;
	return false;
}

/* Does the tree of `v` read nothing but the anchor, single numbers, and tensors of these dims whose rows have no gaps? */
static bool tree_is_run(const KernelProgram *kp, const Kernel *kernel, const Val *v, bool top, int depth) {
	const Buffer *b = kp->buffer_of[v->id] >= 0 ? &kp->buffers.data[kp->buffer_of[v->id]] : NULL;
	bool dense = b && !b->strided && b->row == last_dim(b->type) && type_same_dims(b->type, kernel->domain);
	if (b && v != kernel->anchor && !dense) return false;
	if ((b && !top) || v == kernel->anchor || v->op == OpConst || (v->op == OpBroadcast && v->list[0].length == 0)) return true;
	if (!is_pointwise(v) || depth == 0) return false;
	for (int i = 0; i < (v->op == OpCustom ? 1 : v->nargs); i++)
		if (!tree_is_run(kp, kernel, v->arg[i], false, depth - 1)) return false;
	return true;
}

/* Are all elements of the kernel's domain one run to its roots, so that vectors need not end where rows do?  Only of use where
 * they would not by themselves. */
static bool is_run(const KernelProgram *kp, const Kernel *kernel) {
	enum { DEPTH = 40 };
	if (kernel->domain.rank < 2 || last_dim(kernel->domain) % LANES == 0 || last_dim(kernel->domain) == 1) return false;
	for (int i = 0; i < kernel->roots.length; i++)
		if (!tree_is_run(kp, kernel, kernel->roots.data[i], true, DEPTH)) return false;
	return true;
}

static Value emit_maximum(Emit *e, Value a, Value b) {
	return emit_intrinsic(e, "llvm.smax", LLVMTypeOf(a), 2, (Value[]){a, b});
}

/* Sets the index along the lanes, which the innermost level counts. */
static void set_lanes(KernelWriter *w, At *at, int axis) {
	Lower *k = &w->lower;
	if (!w->flat) {
		at->axis[axis] = index_variable(k->depth);
		return;
	}
	Affine lane = index_variable(k->depth);
	at->flat = true;
	at->axis[0] = index_scale_add(k, index_variable(k->tile_row_level), w->contraction->columns.extent, &lane);
}

/* A machine without vectors would take 16 elements at a time by 16 times the code. */
static bool one_by_one(const KernelWriter *w) { return w->lower.e->target->lanes == 1; }

/* Roots over begin .. end of the last axis (n long), 16 elements at a time. */
static void write_lanes(KernelWriter *w, At *at, int axis, int64_t n, Value begin, Value end, const Val *skip) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	int64_t whole = w->split ? n - n % LANES : n;
	EmitLoop loop;
	if (one_by_one(w)) {
		level_open(k, &loop, begin, end, 1, n, false);
		k->tile_column_level = k->depth;
		set_lanes(w, at, axis);
		write_each(w, at, skip);
		k->tile_column_level = -1;
		level_close(k, &loop);
		return;
	}
	if (whole > 0) {
		Value stop = w->split ? emit_min(e, end, emit_index(e, whole)) : end;
		level_open(k, &loop, begin, stop, LANES, n, true);
		set_lanes(w, at, axis);
		write_each(w, at, skip);
		level_close(k, &loop);
	}
	if (w->split) {   /* runs once, or not at all */
		Value start = whole > 0 ? emit_maximum(e, begin, emit_index(e, whole)) : begin;
		level_open(k, &loop, start, end, LANES, n, true);
		set_lanes(w, at, axis);
		k->tail = (int)(n % LANES);
		write_each(w, at, skip);
		k->tail = 0;
		level_close(k, &loop);
	}
}

/* Elements begin .. end of a run of `count`, by their numbers; always_whole: there is never a rest. */
static void write_run(KernelWriter *w, int64_t count, Value begin, Value end, bool always_whole) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	At at = {.flat = true};
	EmitLoop loop;
	if (one_by_one(w)) {
		level_open(k, &loop, begin, end, 1, count, false);
		k->tile_row_level = k->tile_column_level = k->depth;
		at.axis[0] = index_variable(k->depth);
		write_roots(k, &at, NULL);
		k->tile_column_level = -1;
		level_close(k, &loop);
		return;
	}
	Value whole = LLVMBuildAnd(e->builder, emit_sub(e, end, begin), emit_index(e, -LANES), ""), stop = emit_add(e, begin, whole);
	for (int part = 0; part < (always_whole ? 1 : 2); part++) {
		level_open(k, &loop, part ? stop : begin, part ? end : stop, LANES, count, true);
		k->tile_row_level = k->depth;
		at.axis[0] = index_variable(k->depth);
		k->tail = part ? -1 : 0;
		k->tail_lanes = part ? emit_tail_mask(e, LANES, emit_sub(e, end, loop.i)) : NULL;
		write_roots(k, &at, NULL);
		k->tail = 0;
		level_close(k, &loop);
	}
}

/* The same for a range that begins and ends anywhere: what is left after whole 16s is done under a mask. */
static void write_ragged(KernelWriter *w, At *at, int axis, int64_t n, Value begin, Value end, const Val *skip) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	EmitLoop loop;
	if (one_by_one(w)) {
		write_lanes(w, at, axis, n, begin, end, skip);
		return;
	}
	Value whole = LLVMBuildAnd(e->builder, emit_sub(e, end, begin), emit_index(e, -LANES), ""), stop = emit_add(e, begin, whole);
	level_open(k, &loop, begin, stop, LANES, n, true);
	set_lanes(w, at, axis);
	write_roots(k, at, skip);
	level_close(k, &loop);
	level_open(k, &loop, stop, end, LANES, n, true);
	set_lanes(w, at, axis);
	k->tail = -1;
	k->tail_lanes = emit_tail_mask(e, LANES, emit_sub(e, end, loop.i));
	write_roots(k, at, skip);
	k->tail = 0;
	level_close(k, &loop);
}

/* One loop per axis 0 .. naxes - 1 of the domain, then `inside`. */
static void write_axes(KernelWriter *w, At *at, int axis, int naxes, Inside *inside) {
	Lower *k = &w->lower;
	if (axis == naxes) {
		inside(w, at);
		return;
	}
	if (axis == w->along) {
		write_axes(w, at, axis + 1, naxes, inside);
		return;
	}
	bool shared = axis == k->kernel->partition;
	int64_t n = k->kernel->domain.dim[axis];
	EmitLoop loop;
	level_open(k, &loop, shared ? w->begin : emit_index(k->e, 0), shared ? w->end : emit_index(k->e, n), 1, n, false);
	at->axis[axis] = index_variable(k->depth);
	write_axes(w, at, axis + 1, naxes, inside);
	level_close(k, &loop);
}

/* May lanes run along any axis of v: is nothing below it computed along its own last one? */
static bool any_lanes(const KernelProgram *kp, const Val *v, bool *seen) {
	if (seen[v->id]) return true;
	seen[v->id] = true;
	bool column = is_reduce(v) && v->list[0].data[0] < v->arg[0]->type.rank - 1;
	bool product = v->op == OpContract && contract_is_element_wise(v);
	if (v->nargs && !is_pointwise(v) && !is_view(v) && v->op != OpPad && v->op != OpConcat && !column && !product) return false;
	for (int i = 0; i < v->nargs; i++)
		if (kp->buffer_of[v->arg[i]->id] < 0 && !any_lanes(kp, v->arg[i], seen)) return false;
	return true;
}

/* The axis that lanes run along: the last one, or, where that has one element, the last one that has more. */
static int lane_axis(const KernelProgram *kp, const Kernel *kernel) {
	Type d = kernel->domain;
	int axis = d.rank - 1;
	while (axis > 0 && d.dim[axis] == 1) axis--;
	if (axis == d.rank - 1 || d.dim[axis] == 1 || kernel->kind != KERNEL_MAP) return d.rank - 1;
	bool *seen = NEW_ARRAY(kp->arena, bool, kp->fn->vals.length + 1);
	for (int i = 0; i < kernel->roots.length; i++) {
		int64_t stride[MAX_RANK];
		buffer_strides(&kp->buffers.data[kp->buffer_of[kernel->roots.data[i]->id]], stride);
		if (stride[axis] != 1 || !any_lanes(kp, kernel->roots.data[i], seen)) return d.rank - 1;
	}
	return axis;
}

/* Along an axis that only axes of one element follow: its rows are not padded, so what is left after whole 16s is done one by
 * one. */
static void write_unpadded(KernelWriter *w, At *at, int axis, Value begin, Value end) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	int64_t n = k->kernel->domain.dim[axis];
	EmitLoop loop;
	Value whole = LLVMBuildAnd(e->builder, emit_sub(e, end, begin), emit_index(e, -LANES), ""), stop = emit_add(e, begin, whole);
	level_open(k, &loop, begin, stop, LANES, n, true);
	set_lanes(w, at, axis);
	write_each(w, at, NULL);
	level_close(k, &loop);
	level_open(k, &loop, stop, end, 1, n, false);
	at->axis[axis] = index_variable(k->depth);
	write_each(w, at, NULL);
	level_close(k, &loop);
}

static void write_map_row(KernelWriter *w, At *at) {
	Lower *k = &w->lower;
	Type d = k->kernel->domain;
	if (d.rank == 0) {
		write_each(w, at, NULL);
		return;
	}
	int axis = w->lanes;
	bool shared = axis == k->kernel->partition;
	int64_t n = d.dim[axis];
	Value begin = shared ? w->begin : emit_index(k->e, 0), end = shared ? w->end : emit_index(k->e, n);
	for (int i = axis + (n > 1); i < d.rank; i++) at->axis[i] = index_constant(0);
	if (n == 1) {   /* rows of one element are not padded: no lanes */
		write_each(w, at, NULL);
		return;
	}
	if (axis < d.rank - 1) {
		write_unpadded(w, at, axis, begin, end);
		return;
	}
	w->split = needs_split(k->kp, k->kernel, n);
	write_lanes(w, at, axis, n, begin, end, NULL);
}

/* A map whose rows are one run. */
static void write_map_run(KernelWriter *w) {
	const Kernel *kernel = w->lower.kernel;
	int64_t count = type_count(kernel->domain), row = count / kernel->domain.dim[0];
	Value n = emit_index(w->lower.e, row);
	if (kernel->partition < 0) write_run(w, count, emit_index(w->lower.e, 0), emit_index(w->lower.e, count), count % LANES == 0);
	else write_run(w, count, emit_mul(w->lower.e, w->begin, n), emit_mul(w->lower.e, w->end, n), row % LANES == 0);
}

/* A pad whose inside has been written where it belongs. */
static void write_border(KernelWriter *w) {
	Emit *e = w->lower.e;
	const KernelProgram *kp = w->lower.kp;
	int number = kp->buffer_of[w->lower.kernel->roots.data[0]->id];
	const Val *pad = kp->buffers.data[number].border;
	bool shared = w->lower.kernel->partition == 0;
	Value begin = shared ? w->begin : emit_index(e, 0), end = shared ? w->end : emit_index(e, pad->type.dim[0]);
	EmitLoop loop = emit_loop_begin(e, begin, end, 1);
	Value image = emit_mul(e, loop.i, emit_index(e, type_count(pad->type) / pad->type.dim[0]));
	lower_border(e, pad, emit_at(e, w->lower.pointer[number], e->f32, image));
	emit_loop_end(e, &loop);
}

/* A running sum and what is computed of it, element by element; along the lanes as many sums as there are lanes. */
static void write_running(KernelWriter *w, At *at) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	Val *v = k->kernel->anchor;
	int64_t n = v->type.dim[w->along];
	int lane_level = k->lane_level, lanes = lane_level >= 0 ? LANES : 1;
	EmitLoop loop;
	Value start = reduce_start(e, OpReduceSum, v->type.dtype, lanes);
	level_open(k, &loop, emit_index(e, 0), emit_index(e, n), 1, n, false);
	k->lane_level = lane_level;
	at->axis[w->along] = index_variable(k->depth);
	Value x = lower_value(k, v->arg[0], at, NULL), sum = emit_loop_carry(e, &loop, start);
	sum = reduce_step(e, OpReduceSum, sum, lanes > 1 ? lower_as_lanes(k, x) : x);
	Memo given = {.v = v, .value = sum};
	k->given = &given;
	write_roots(k, at, NULL);
	k->given = NULL;
	emit_loop_next(e, &loop, 0, sum);
	level_close(k, &loop);
	k->lane_level = lane_level;
}

static void write_element(KernelWriter *w, At *at) { write_roots(&w->lower, at, NULL); }
static void write_line(KernelWriter *w, At *at) { lower_line(&w->lower, w->lower.kernel->anchor, at, w->scratch); }

static void write_sequence(KernelWriter *w) {
	const Kernel *kernel = w->lower.kernel;
	int rank = kernel->domain.rank;
	At at = {0};
	w->along = sequence_axis(kernel->anchor);
	if (!sequence_streams(kernel->anchor)) {
		write_axes(w, &at, 0, rank, write_line);
	} else if (w->along < 0) {
		write_axes(w, &at, 0, rank, write_element);
	} else if (w->along == rank - 1) {
		write_axes(w, &at, 0, rank, write_running);
	} else {
		w->each = write_running;
		write_axes(w, &at, 0, rank - 1, write_map_row);
	}
}

typedef struct IdList { int *data; int length, capacity; } IdList;

static void hoist_below(Lower *k, Val *v, IdList *walked) {
	At none = {0};
	if (v == k->tile_value || (k->kp->buffer_of[v->id] >= 0 && !reads_tile(k, v)) || k->kp->walked[v->id]) return;
	k->kp->walked[v->id] = 1;
	vec_push(k->e->arena, walked, v->id);
	if (v->type.rank == 0 && !reads_tile(k, v)) {
		lower_value(k, v, &none, NULL);
		return;
	}
	for (int i = 0; i < (v->op == OpCustom ? 1 : v->nargs); i++) hoist_below(k, v->arg[i], walked);
}

/* Scalars of the roots' trees, which do not depend on the tile, before the loops over tiles; each value is walked over once. */
static void hoist_scalars(Lower *k) {
	IdList walked = {0};
	for (int i = 0; i < k->kernel->roots.length; i++) hoist_below(k, k->kernel->roots.data[i], &walked);
	for (int i = 0; i < walked.length; i++) k->kp->walked[walked.data[i]] = 0;
}

/* The result's axes that one loop runs over, from the variable of its level. */
static void loop_index(Lower *k, const ContractLoop *l, int level, At *at) {
	Type t = {.dtype = DTYPE_F32, .rank = l->naxes};
	At number = {.flat = true, .axis = {l->extent > 1 ? index_variable(level) : index_constant(0)}};
	for (int i = 0; i < t.rank; i++) t.dim[i] = k->kernel->domain.dim[l->axis[i]];
	number = index_split(k, &number, t);
	for (int i = 0; i < t.rank; i++) at->axis[l->axis[i]] = number.axis[i];
}

static void tile_index(Lower *k, const Contraction *c, At *at) {
	for (int i = 0; i < c->nouter; i++) loop_index(k, &c->outer[i], k->outer_level[i], at);
	loop_index(k, &c->rows, k->tile_row_level, at);
}

/* Are rows and columns the result's axes in order, so that an element's number is row * columns + column? */
static bool tile_is_flat(const Contraction *c, int rank) {
	return c->nouter == 0 && c->rows.naxes > 1 && c->rows.naxes + 1 == rank;
}

static void write_tile(Emit *e, void *context, const ContractTile *tile) {
	KernelWriter *w = context;
	Lower *k = &w->lower;
	const Contraction *c = w->contraction;
	At at = {0};
	EmitLoop rows;
	Value shift = emit_add(e, emit_mul(e, tile->row, emit_index(e, tile->stride)), tile->column);
	k->tile = emit_at(e, tile->at, e->f32, emit_sub(e, emit_index(e, 0), shift));   /* so that rows and columns count from 0 */
	k->tile_stride = tile->stride;
	if (tile->turn) {
		level_given(k, tile->turn, c->outer[w->turns].extent);
		k->outer_level[w->turns] = k->depth;
	}
	if (w->run) {
		Value n = emit_index(e, c->columns.extent), past = emit_add(e, tile->row, tile->rows);
		write_run(w, c->rows.extent * c->columns.extent, emit_mul(e, tile->row, n), emit_mul(e, past, n), w->whole);
		return;
	}
	level_open(k, &rows, tile->row, emit_add(e, tile->row, tile->rows), 1, c->rows.extent, false);
	k->tile_row_level = k->depth;
	w->flat = c->columns.extent > 1 && tile_is_flat(c, k->kernel->domain.rank);   /* a lone column has no lanes */
	if (!w->flat) tile_index(k, c, &at);
	const Val *skip = k->kp->buffer_of[k->tile_value->id] >= 0 ? k->tile_value : NULL;
	Value past = emit_add(e, tile->column, tile->columns);
	int axis = c->columns.naxes ? c->columns.axis[0] : -1;
	if (c->columns.extent > 1 && w->ragged) write_ragged(w, &at, axis, c->columns.extent, tile->column, past, skip);
	else if (c->columns.extent > 1) write_lanes(w, &at, axis, c->columns.extent, tile->column, past, skip);
	else write_roots(k, &at, skip);
	level_close(k, &rows);
	if (tile->turn) k->depth--;
}

/* Filled along the axis that its last axis is: rows of the result, or the summed index. */
static bool fill_is_down(const Contraction *c) { return c->rows.a == 1 && c->rows.extent > 1; }

/* Elements past column n of every row that belong to nobody. */
static int64_t columns_past(const Buffer *b, int64_t n) {
	if (b->exact || b->type.rank < 2) return 0;
	return n == b->type.dim[b->type.rank - 1] ? b->row - n : 0;
}

/* One vector (or what is left of it) of elements, along the lanes. */
static void fill_lanes(Lower *k, Val *v, const At *at, Value to, Value mask) {
	Value x = lower_as_lanes(k, lower_value(k, v, at, NULL));
	if (mask) emit_store_masked(k->e, x, to, mask);
	else emit_store(k->e, x, to);
}

/* A block of the operand that is computed while it is packed: rows of the result by summed index.  Its element is known by its
 * number. */
static void fill_operand(Emit *e, void *context, const ContractBlock *block) {
	KernelWriter *w = context;
	Lower *k = &w->lower;
	const Contraction *c = w->contraction;
	Val *v = c->fill;
	At at = {.flat = true};
	bool down = fill_is_down(c);
	Value outer0 = down ? block->column : block->row, outers = down ? block->columns : block->rows;
	Value lane0 = down ? block->row : block->column, lanes = down ? block->rows : block->columns;
	int64_t extent = c->sum[0].extent, step = down ? c->sum[0].a : c->rows.a;
	Value whole = LLVMBuildAnd(e->builder, lanes, emit_index(e, -LANES), ""), stop = emit_add(e, lane0, whole),
	      end = emit_add(e, lane0, lanes);
	EmitLoop outer, inner;
	level_open(k, &outer, outer0, emit_add(e, outer0, outers), 1, down ? extent : c->rows.extent, false);
	int outer_level = k->depth;
	Value row = emit_sub(e, emit_mul(e, emit_sub(e, outer.i, outer0), emit_index(e, block->stride)), lane0);
	for (int part = 0; part < 2; part++) {
		level_open(k, &inner, part ? stop : lane0, part ? end : stop, LANES, down ? c->rows.extent : extent, true);
		Affine lane = index_variable(k->depth);
		at.axis[0] = index_scale_add(k, index_variable(outer_level), step, &lane);
		k->tail = part ? -1 : 0;
		k->tail_lanes = part ? emit_tail_mask(e, LANES, emit_sub(e, end, inner.i)) : NULL;
		fill_lanes(k, v, &at, emit_at(e, block->to, e->f32, emit_add(e, row, inner.i)), k->tail_lanes);
		k->tail = 0;
		level_close(k, &inner);
	}
	level_close(k, &outer);
}

/* Turns of this loop for one index of the axis that workers share, or that is run in parts; 0 when it is whole. */
static int64_t turns_per_share(const Kernel *kernel, const ContractLoop *l) {
	if (kernel->product_rows) return l == &kernel->contraction->rows;
	if (kernel->partition < 0 || !l->naxes || l->axis[0] != kernel->partition || kernel->panels) return 0;
	if (kernel->workers == 1 && !kernel->part) return 0;
	return l->extent / kernel->domain.dim[kernel->partition];
}

/* The innermost loop around a product of several passes that B does not take part in: done within each pass, it reads B once. -1:
 * none. */
static int loop_of_turns(const Kernel *kernel) {
	const Contraction *c = kernel->contraction;
	int first = c->a.piece && c->wide_a.level > c->nouter ? 0 : MAX(c->wide_a.level, 0);   /* a copy serves all turns */
	for (int i = c->nouter - 1; i >= first && !c->fill; i--)
		if (c->outer[i].extent > 1 && !c->outer[i].in_b && !turns_per_share(kernel, &c->outer[i])) return i;
	return -1;
}

/* Does loop `i`, outer ones and then the sum's, go from one image to the next that is copied between its border? */
static bool is_copied(const View *view, const Widening *wide, int i) { return view->piece && wide->level == i + 1; }

/* What an operand of short numbers is for the nest: to be read by packers, to be widened within loops around k, or floats, since
 * that has been done outside. */
static void set_elements(const KernelProgram *kp, const Contraction *c, const View *view, const Widening *wide,
                         ContractOperand *x) {
	if (view->piece) x->wide_within = MAX(wide->level - c->nouter, 0);
	if (view->through == DTYPE_F32 || (wide->level >= 0 && wide->level <= c->nouter)) return;
	x->dtype = kp->buffers.data[view->buffer].type.dtype;
	x->through = view->through;
	if (wide->level < 0) return;
	x->wide_within = wide->level - c->nouter;
	x->wide_low = wide->low, x->wide_count = wide->count;
}

/* The contract of a kernel as the nest wants it; pointers and epilogue are added by who emits. */
static Contract contract_of(const Target *target, const KernelProgram *kp, const Kernel *kernel) {
	const Contraction *c = kernel->contraction;
	const ContractLoop *k = &c->sum[c->nsum - 1];
	int out = kp->buffer_of[kernel->anchor->id];
	Contract contract = {
	    .m = c->rows.extent, .n = c->columns.extent, .k = k->extent, .dot = c->dot, .cut = c->cut, .per_block = c->per_block};
	for (int i = 0; i + 1 < c->nsum; i++) {
		if (c->sum[i].bounded) contract.bounded = i + 1, contract.bound = c->bound;
		bool of_a = is_copied(&c->a, &c->wide_a, c->nouter + i), of_b = is_copied(&c->b, &c->wide_b, c->nouter + i);
		contract.around[contract.naround++] =
		    (ContractSum){c->sum[i].extent, of_a ? 0 : c->sum[i].a, of_b ? 0 : c->sum[i].b};
	}
	contract.epilogue = kernel->roots.length > (out >= 0) ? write_tile : NULL;
	contract.a = (ContractOperand){.row = c->rows.a, .column = k->a, .group = c->group, .group_row = c->group_a};
	if (c->fill) contract.a = (ContractOperand){.fill = fill_operand, .down = fill_is_down(c)};
	else set_elements(kp, c, &c->a, &c->wide_a, &contract.a);
	contract.b = (ContractOperand){.row = k->b, .column = c->columns.extent == 1 ? 1 : c->columns.b};
	set_elements(kp, c, &c->b, &c->wide_b, &contract.b);
	contract.b.pad = contract.b.column == 1 && !c->dot ? columns_past(&kp->buffers.data[c->b.buffer], c->columns.extent) : 0;
	if (c->b.piece) contract.b.pad = contract.b.column == 1 ? LANES : 0;   /* there is room behind a copy */
	if (out >= 0) {
		contract.c_row = c->rows.naxes ? c->rows.y : c->columns.extent;
		contract.c_pad = c->columns.extent > 1 ? columns_past(&kp->buffers.data[out], c->columns.extent) : 0;
	} else {
		contract.c_dropped = true;
		contract.c_run = !c->nouter && c->rows.naxes + 1 == kernel->domain.rank && !kernel->panels && is_run(kp, kernel);
		contract.c_row = round_up(c->columns.extent, LANES);
	}
	int64_t rows = turns_per_share(kernel, &c->rows);
	if (rows) {
		int64_t share = kernel_share(kernel), rest = kernel->rows % share;
		contract.row_counts[contract.nrow_counts++] = share * rows;
		if (rest) contract.row_counts[contract.nrow_counts++] = rest * rows;
	}
	int turns = loop_of_turns(kernel);
	if (turns < 0) return contract;
	ContractPlan plan = contract_plan(target, &contract);
	/* turns that say how long a loop around them is */
	bool depends = c->outer[turns].bounded && contract.naround - contract.bounded >= plan.inside;
	if (plan.chained && !depends)
		contract.turns = (ContractTurns){c->outer[turns].extent, c->outer[turns].a, c->outer[turns].y};
	return contract;
}

enum { LARGE_OPERAND = 1 << 20 };   /* bytes: no longer in a worker's own cache */

int64_t kernel_panels(const void *target, const KernelProgram *kp, const Kernel *kernel) {
	Kernel whole = *kernel;
	whole.workers = 1;
	if (kernel->kind != KERNEL_CONTRACT || kernel->contraction->nouter || kernel->contraction->dot) return 0;
	Contract contract = contract_of(target, kp, &whole);
	int64_t workers = MAX(kernel->workers, 1);
	contract.row_counts[0] = (contract.m + workers - 1) / workers;
	contract.nrow_counts = 1;
	/* by rows every worker reads all of b, by panels all of a: the larger one is better read once */
	bool large_b = contract.n > contract.m && contract.n * contract.k * 4 > LARGE_OPERAND;
	if (!large_b && !contract_plan(target, &contract).split_columns) return 0;
	contract.nrow_counts = 0;   /* sharing panels, every worker does all rows: that plan's panels count */
	return contract_plan(target, &contract).panels;
}

/* Where in scratch operands are widened, behind what the product itself needs; past the last element a vector may be read. */
typedef struct Wide { size_t a, b, ahead, end; } Wide;

static size_t widened_bytes(const Widening *w) { return w->level < 0 ? 0 : (size_t)round_up(w->count + LANES, LANES) * 4; }

/* Does the product write elements that others, of zeros, stand between? */
static bool has_border(const KernelProgram *kp, const Kernel *kernel) {
	int out = kp->buffer_of[kernel->anchor->id];
	return out >= 0 && kp->buffers.data[whole_buffer(kp, out)].border;
}

static Wide wide_places(const KernelProgram *kp, const Kernel *kernel, size_t behind) {
	const Contraction *c = kernel->contraction;
	size_t a = whole_lines(behind), b = a + widened_bytes(&c->wide_a);
	size_t ahead = b + widened_bytes(&c->wide_b);
	return (Wide){a, b, ahead, ahead + (c->a.piece || c->b.piece || has_border(kp, kernel) ? 64 : 0)};
}

size_t kernel_scratch(const Target *target, const KernelProgram *kp, const Kernel *kernel) {
	if (kernel->kind == KERNEL_ROWS) return rows_scratch(kernel);
	if (kernel->kind == KERNEL_SEQUENCE) return sequence_scratch(kernel->anchor);
	if (kernel->kind != KERNEL_CONTRACT) return 0;
	Contract contract = contract_of(target, kp, kernel);
	Wide wide = wide_places(kp, kernel, contract_plan(target, &contract).scratch_bytes);
	return wide.end;
}

/* What the epilogue reads at the index of the result, from tensors too large to lie in the near caches: weights and their
 * moments, when the product is their gradient. */
static void add_streams(const Lower *k, ContractArguments *args) {
	const Kernel *kernel = k->kernel;
	const Contraction *c = kernel->contraction;
	size_t bytes = 0;
	if (c->nouter || !c->rows.naxes || c->columns.extent == 1) return;
	for (int i = 0; i < kernel->leaves.length && args->nstreams < MAX_STREAMS; i++) {
		const Leaf *leaf = &kernel->leaves.data[i];
		const Buffer *b = &k->kp->buffers.data[k->kp->buffer_of[leaf->val->id]];
		int64_t stride[MAX_RANK];
		if (!leaf->identity || b->type.dtype != DTYPE_F32 || !type_same_dims(b->type, kernel->domain)) continue;
		buffer_strides(b, stride);
		if (stride[c->columns.axis[0]] != 1) continue;
		int64_t row = stride[c->rows.axis[c->rows.naxes - 1]];   /* axes of rows lie alike in all tensors of these dims */
		args->streams[args->nstreams++] = (ContractStream){k->pointer[k->kp->buffer_of[leaf->val->id]], row};
		bytes += b->bytes;
	}
	if (bytes <= (size_t)k->e->target->l2) args->nstreams = 0;
}

/* An operand before loop `level` around the product, or before the product: moved to scratch if it is widened here. */
static Value widen_before(const KernelWriter *w, const View *view, const Widening *wide, int level, Value at, Value to,
                          Value from, Value ahead) {
	Emit *e = w->lower.e;
	if (wide->level != level) return at;
	if (view->piece) {
		Value next = emit_at_constant(e, from, e->f32, lower_copied_step(w->lower.kp, view->piece));
		contract_copy(e, lower_copier(e, w->lower.kp, view->piece), to, from, next, ahead);
		return at;
	}
	DType dtype = w->lower.kp->buffers.data[view->buffer].type.dtype;
	emit_call(e, contract_widener(e, dtype, view->through), 3,
	          (Value[]){to, emit_at_constant(e, at, lower_memory_type(e, dtype), wide->low), emit_index(e, wide->count)});
	return emit_at_constant(e, to, e->f32, -wide->low);
}

static void widen_operands(const KernelWriter *w, int level, ContractArguments *args) {
	const Contraction *c = w->contraction;
	args->a = widen_before(w, &c->a, &c->wide_a, level, args->a, args->wide_a, args->copied_a, args->ahead);
	args->b = widen_before(w, &c->b, &c->wide_b, level, args->b, args->wide_b, args->copied_b, args->ahead);
}

/* The type of an operand's elements within `level` loops around the product. */
static LLVMTypeRef element_within(const KernelWriter *w, const View *view, const Widening *wide, int level) {
	Emit *e = w->lower.e;
	if (view->through == DTYPE_F32 || (wide->level >= 0 && wide->level <= level)) return e->f32;
	return lower_memory_type(e, w->lower.kp->buffers.data[view->buffer].type.dtype);
}

enum { FLOATS_AHEAD = 1 << 14 };

static Value next_image(const KernelWriter *w, const View *view, Value from, Value i) {
	Emit *e = w->lower.e;
	return emit_at(e, from, e->f32, emit_mul(e, i, emit_index(e, lower_copied_step(w->lower.kp, view->piece))));
}

/* An operand that is copied in pieces: where these come to be, and the first of what is copied. */
static Value copied_operand(const KernelWriter *w, const View *view, Value to, ContractOperand *x, Value *from) {
	const Lower *k = &w->lower;
	View source = piece_source(k->kp, view->piece);
	*from = emit_at_constant(k->e, k->pointer[source.buffer], k->e->f32, source.offset);
	if (x->wide_within) x->copier = lower_copier(k->e, k->kp, view->piece), x->copied_step = source.stride[0];
	return emit_at_constant(k->e, to, k->e->f32, view->offset);
}

/* What is copied piece by piece from further away than the second cache is asked for while the product goes over the piece
 * before: an equal part of it by each call of a microkernel.  So is what a result with a border will be written over, all of it,
 * some turns of the outermost loop before: its elements are too far apart for the machine to foresee them. */
static void fetch_ahead(const KernelWriter *w, const Contract *contract, const ContractPlan *plan, Value slot,
                        ContractArguments *args) {
	enum { MOST_FLOATS = 4096 };
	const Contraction *c = w->contraction;
	const View *view = c->a.piece ? &c->a : &c->b;
	int64_t calls = contract_calls(contract, plan), floats, turns;
	int level = (view == &c->a ? c->wide_a : c->wide_b).level;
	if (view->piece) {
		floats = lower_copied_step(w->lower.kp, view->piece), turns = view->piece->type.dim[0];
	} else if (c->nouter && has_border(w->lower.kp, w->lower.kernel)) {
		floats = c->outer[0].y, turns = c->outer[0].extent, level = 1;
	} else {
		return;
	}
	if (floats < 0 || floats * 4 * turns < w->lower.e->target->l2) return;
	for (int i = level; i < c->nouter; i++)
		if (i != w->turns) calls *= c->outer[i].extent;
	args->ahead_floats = calls ? divide_up(floats, calls) : 0;
	if (args->ahead_floats && args->ahead_floats <= MOST_FLOATS) args->ahead = slot;
}

/* Opens the loops around the product and moves the operands along. */
static void open_outer(KernelWriter *w, EmitLoop *loops, ContractArguments *args) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	const Contraction *c = w->contraction;
	for (int i = 0; i < c->nouter; i++) {
		const ContractLoop *l = &c->outer[i];
		widen_operands(w, i, args);
		if (l->extent == 1 || i == w->turns) continue;
		int64_t share = turns_per_share(k->kernel, l);
		Value begin = share ? emit_mul(e, w->begin, emit_index(e, share)) : emit_index(e, 0);
		Value end = share ? emit_mul(e, w->end, emit_index(e, share)) : emit_index(e, l->extent);
		level_open(k, &loops[i], begin, end, 1, l->extent, false);
		k->outer_level[i] = k->depth;
		if (l->bounded) args->outside = loops[i].i;
		LLVMTypeRef of_a = c->fill ? NULL : element_within(w, &c->a, &c->wide_a, i);
		LLVMTypeRef of_b = element_within(w, &c->b, &c->wide_b, i);
		if (is_copied(&c->a, &c->wide_a, i)) args->copied_a = next_image(w, &c->a, args->copied_a, loops[i].i);
		else if (args->a) args->a = emit_at(e, args->a, of_a, emit_mul(e, loops[i].i, emit_index(e, l->a)));
		if (is_copied(&c->b, &c->wide_b, i)) args->copied_b = next_image(w, &c->b, args->copied_b, loops[i].i);
		else args->b = emit_at(e, args->b, of_b, emit_mul(e, loops[i].i, emit_index(e, l->b)));
		if (args->c) args->c = emit_at(e, args->c, e->f32, emit_mul(e, loops[i].i, emit_index(e, l->y)));
		if (i == 0 && args->ahead && !c->a.piece && !c->b.piece)
			LLVMBuildStore(e->builder, emit_at_constant(e, args->c, e->f32, FLOATS_AHEAD), args->ahead);
	}
	widen_operands(w, c->nouter, args);
}

static void write_contract(KernelWriter *w) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	const Kernel *kernel = k->kernel;
	const Contraction *c = kernel->contraction;
	const KernelProgram *kp = k->kp;
	int out = kp->buffer_of[kernel->anchor->id];
	Contract contract = contract_of(e->target, kp, kernel);
	contract.context = contract.a.context = w;
	ContractPlan plan = contract_plan(e->target, &contract);
	w->contraction = c;
	w->turns = contract.turns.extent ? loop_of_turns(kernel) : -1;
	w->run = plan.run, w->whole = true;
	for (int i = 0; i < plan.nheights; i++) w->whole = w->whole && plan.heights[i] * c->columns.extent % LANES == 0;
	w->split = needs_split(kp, kernel, c->columns.extent);
	w->ragged = c->columns.extent > 1 && plan.lanes < LANES && (kernel->panels || plan.epilogue_columns < c->columns.extent);
	k->tile_value = kernel->anchor;
	k->of_tile = NEW_ARRAY(e->arena, char, kp->fn->vals.length + 1);
	if (contract.epilogue) hoist_scalars(k);
	ContractArguments args = {.scratch = w->scratch};
	if (contract.nrow_counts) {
		Value rows = emit_index(e, turns_per_share(kernel, &c->rows));
		args.row = emit_mul(e, w->begin, rows), args.rows = emit_mul(e, emit_sub(e, w->end, w->begin), rows);
	}
	if (kernel->panels && kernel->workers > 1) args.panel = w->begin, args.panels = emit_sub(e, w->end, w->begin);
	Wide wide = wide_places(kp, kernel, plan.scratch_bytes);
	args.wide_a = emit_at_constant(e, w->scratch, e->i8, (int64_t)wide.a);
	args.wide_b = emit_at_constant(e, w->scratch, e->i8, (int64_t)wide.b);
	LLVMTypeRef of_a = c->fill ? NULL : element_within(w, &c->a, &c->wide_a, -1);
	if (!c->fill) args.a = emit_at_constant(e, k->pointer[c->a.buffer], of_a, c->a.offset);
	args.b = emit_at_constant(e, k->pointer[c->b.buffer], element_within(w, &c->b, &c->wide_b, -1), c->b.offset);
	if (c->a.piece) args.a = copied_operand(w, &c->a, args.wide_a, &contract.a, &args.copied_a);
	if (c->b.piece) args.b = copied_operand(w, &c->b, args.wide_b, &contract.b, &args.copied_b);
	fetch_ahead(w, &contract, &plan, emit_at_constant(e, w->scratch, e->i8, (int64_t)wide.ahead), &args);
	args.c = out >= 0 ? k->pointer[out] : NULL;
	if (contract.epilogue) add_streams(k, &args);
	EmitLoop outer[MAX_RANK];
	open_outer(w, outer, &args);
	contract_emit(e, &contract, &plan, args);
	for (int i = c->nouter - 1; i >= 0; i--)
		if (c->outer[i].extent > 1 && i != w->turns) level_close(k, &outer[i]);
}

/* The buffers a kernel is given, in the order of its parameters. */
static int kernel_buffers(Arena *arena, const Kernel *kernel, int **out) {
	int n = 0, *list = NEW_ARRAY(arena, int, kernel->reads.length + kernel->writes.length + 1);
	for (int i = 0; i < kernel->reads.length + kernel->writes.length; i++) {
		int buffer = i < kernel->reads.length ? kernel->reads.data[i] : kernel->writes.data[i - kernel->reads.length];
		bool known = false;
		for (int j = 0; j < n; j++) known = known || list[j] == buffer;
		if (!known) list[n++] = buffer;
	}
	*out = list;
	return n;
}

static Value write_kernel(Emit *e, const KernelProgram *kp, const Kernel *kernel, const KernelCode *code, const char *name) {
	int nparams = code->nbuffers + 1 + code->sites.length + code->index + 2;
	LLVMTypeRef *params = NEW_ARRAY(e->arena, LLVMTypeRef, nparams);
	for (int i = 0; i <= code->nbuffers; i++) params[i] = e->ptr;
	for (int i = 0; i < code->sites.length; i++) params[code->nbuffers + 1 + i] = e->i64;
	if (code->index) params[nparams - 3] = e->i32;
	params[nparams - 2] = params[nparams - 1] = e->index;
	Value function = emit_function(e, name, e->void_type, nparams, params, true);
	unsigned noalias = LLVMGetEnumAttributeKindForName("noalias", 7);
	for (int i = 0; i <= code->nbuffers; i++)
		LLVMAddAttributeAtIndex(function, (LLVMAttributeIndex)(i + 1), LLVMCreateEnumAttribute(e->context, noalias, 0));
	KernelWriter *w = NEW(e->arena, KernelWriter);
	w->lower = (Lower){.e = e, .kp = kp, .kernel = kernel, .lane_level = -1, .tile_column_level = -1};
	w->lower.pointer = NEW_ARRAY(e->arena, Value, kp->buffers.length + 1);
	for (int i = 0; i < code->nbuffers; i++) w->lower.pointer[code->buffers[i]] = LLVMGetParam(function, (unsigned)i);
	w->scratch = LLVMGetParam(function, (unsigned)code->nbuffers);
	w->lower.sites = &code->sites;
	w->lower.site = NEW_ARRAY(e->arena, Value, code->sites.length + 1);
	for (int i = 0; i < code->sites.length; i++) w->lower.site[i] = LLVMGetParam(function, (unsigned)(code->nbuffers + 1 + i));
	if (code->index) w->lower.turn = LLVMGetParam(function, (unsigned)nparams - 3);
	w->begin = LLVMGetParam(function, (unsigned)nparams - 2);
	w->end = LLVMGetParam(function, (unsigned)nparams - 1);
	w->along = -1;
	w->lanes = lane_axis(kp, kernel);
	At at = {0};
	switch (kernel->kind) {
	case KERNEL_MAP:
		if (kernel->roots.length == 1 && kp->buffers.data[kp->buffer_of[kernel->roots.data[0]->id]].border) write_border(w);
		else if (kernel->partition <= 0 && is_run(kp, kernel)) write_map_run(w);
		else write_axes(w, &at, 0, MAX(w->lanes, 0), write_map_row);
		break;
	case KERNEL_SEQUENCE: write_sequence(w); break;
	case KERNEL_ROWS: lower_rows(&w->lower, w->begin, w->end, w->scratch); break;
	default: write_contract(w); break;
	}
	LLVMBuildRetVoid(e->builder);
	return function;
}

KernelCode lower_kernel(Emit *e, const KernelProgram *kp, const Kernel *kernel, KernelCodes *made) {
	KernelCode code = {.index = kernel->leaves.index};
	code.nbuffers = kernel_buffers(e->arena, kernel, &code.buffers);
	Text *key = &made->key;
	key->arena = e->arena, key->length = 0;
	kernel_key(key, kp, kernel, code.buffers, code.nbuffers, &code.sites);
	code.hash = hash_bytes(key->data, key->length, 0);
	for (int i = 0; i < made->length && !code.function; i++)
		if (made->data[i].hash == code.hash && strcmp(made->data[i].key, key->data) == 0) code.function = made->data[i].function;
	if (code.function) return code;
	code.key = arena_text(e->arena, key->data, key->length);
	code.function = write_kernel(e, kp, kernel, &code, arena_printf(e->arena, "%s.k%d", made->prefix, made->length));
	vec_push(e->arena, made, code);
	return code;
}
