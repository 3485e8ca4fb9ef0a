/* value.c: in: a value of the Fn and an index; out: the code that computes that element (or of neighbours, along the lanes).
 * Guarantees: each element is computed by the same operations in the same order as the f32 interpreter's; nothing outside
 * a buffer is touched except padding that belongs to it. */
#include "lower.h"

#include <string.h>

Value lower_as_lanes(Lower *k, Value v) { return emit_lanes(v) > 1 ? v : emit_splat(k->e, v, k->lanes); }

/* Where code was moved out to, the builder stands before the end of a block that other loops begin from, and the levels of these
 * loops are above the present one.  That end waits until this loop is closed, and so do the levels; then those loops begin
 * after it. */
void level_open(Lower *k, EmitLoop *loop, Value begin, Value end, int64_t step, int64_t extent, bool lanes) {
	if (k->depth + 1 >= MAX_LOOPS) die("loops nested too deep");
	Level *level = &k->level[++k->depth], *hidden = NEW(k->e->arena, Level);
	*hidden = *level;
	LLVMBasicBlockRef block = LLVMGetInsertBlock(k->e->builder);
	Value waiting = LLVMGetBasicBlockTerminator(block);
	if (waiting) {
		LLVMInstructionRemoveFromParent(waiting);
		LLVMPositionBuilderAtEnd(k->e->builder, block);
	}
	*loop = emit_loop_begin(k->e, begin, end, step);
	*level = (Level){.variable = loop->i, .extent = extent, .loop = loop, .waiting = waiting, .block = block, .hidden = hidden};
	if (lanes) k->lane_level = k->depth;
}

void level_close(Lower *k, EmitLoop *loop) {
	Emit *e = k->e;
	Level own = k->level[k->depth];
	if (k->lane_level == k->depth) k->lane_level = -1;
	k->level[k->depth--] = *own.hidden;
	emit_loop_end(e, loop);
	if (!own.waiting) return;
	LLVMInsertIntoBuilder(e->builder, own.waiting);
	LLVMPositionBuilderBefore(e->builder, own.waiting);
	for (int l = k->depth + 1; l < MAX_LOOPS; l++) {
		EmitLoop *later = k->level[l].loop;
		if (later && later->before == own.block) later->before = LLVMGetInsertBlock(e->builder);
	}
}

void level_given(Lower *k, Value variable, int64_t extent) {
	if (k->depth + 1 >= MAX_LOOPS) die("loops nested too deep");
	k->level[++k->depth] = (Level){.variable = variable, .extent = extent};
}

void level_single(Lower *k) { level_given(k, emit_index(k->e, 0), 1); }

static bool at_equal(const At *a, const At *b, int rank) {
	if (a->flat != b->flat) return false;
	for (int i = 0; i < (a->flat ? 1 : rank); i++)
		if (!index_equal(&a->axis[i], &b->axis[i])) return false;
	return true;
}

static int at_level(const Lower *k, const At *at, int rank) {
	int level = 0;
	for (int i = 0; i < (at->flat ? 1 : rank); i++) {
		int l = index_level(k, &at->axis[i]);
		level = MAX(level, l);
	}
	return level;
}

/* May the 16 lanes from a multiple of 16 on be read or written whole, although only `tail` of them exist? */
static bool lanes_are_padded(const Lower *k, const Buffer *b, const At *at) {
	int last = b->type.rank - 1;
	if (b->exact || at->flat || last < 0 || k->tail < 0) return false;
	const Affine *i = &at->axis[last];
	if (i->computed || i->constant != 0 || i->coefficient[k->lane_level] != 1) return false;
	for (int l = 1; l < MAX_LOOPS; l++)
		if (l != k->lane_level && i->coefficient[l]) return false;
	return b->type.rank == 1 || b->row % k->lanes == 0;
}

/* Element offset of `at` in the buffer. */
static Affine buffer_offset(Lower *k, const Buffer *b, At *at) {
	int64_t stride[MAX_RANK];
	bool dense = b->type.rank == 0 || b->row == b->type.dim[b->type.rank - 1];
	if (at->flat && dense && !b->strided) return at->axis[0];
	if (at->flat && b->type.rank > 2 && !b->strided) {   /* only the last axis has padding: the others are one */
		Type rows = {.dtype = b->type.dtype,
		             .rank = 2,
		             .dim = {type_count(b->type) / b->type.dim[b->type.rank - 1], b->type.dim[b->type.rank - 1]}};
		At split = index_split(k, at, rows);
		return index_scale_add(k, split.axis[0], b->row, &split.axis[1]);
	}
	*at = index_split(k, at, b->type);
	buffer_strides(b, stride);
	Affine offset = index_constant(0);
	for (int i = 0; i < b->type.rank; i++) {
		Affine scaled = index_scale_add(k, at->axis[i], stride[i], &offset);
		offset = scaled;
	}
	return offset;
}

static Value tail_mask(Lower *k) {
	Value bits[LANES];
	if (k->tail < 0) return k->tail_lanes;
	for (int i = 0; i < k->lanes; i++) bits[i] = LLVMConstInt(k->e->i1, (unsigned)(i < k->tail), false);
	return LLVMConstVector(bits, k->lanes);
}

/* Mask and tail.  LLVM 19, splitting 16 lanes in two for AVX2, breaks down over a load whose mask is one bit for all lanes and
 * a constant that is nothing in one half.  So no constant may reach a mask: the tail is counted from the loop variable; and in
 * a row in registers, where indices are constants and so is all that is computed of them (that an element is padding, or of
 * the first part of a concat), tail and mask are tied to a 0 that LLVM does not know.  That holds with and without passes over
 * the code: begin, which that 0 is computed from, is a kernel's parameter. */
static Value all_mask(Lower *k, Value mask) {
	Emit *e = k->e;
	if (!mask) return k->tail ? tail_mask(k) : NULL;
	mask = lower_as_lanes(k, mask);
	if (k->lane_level < 0) return mask;
	const Level *lanes = &k->level[k->lane_level];
	bool in_registers = k->zero && LLVMIsConstant(lanes->variable);   /* no loop, so no variable */
	if (!k->tail && !in_registers) return mask;
	Value at = in_registers ? k->zero : lanes->variable;
	if (in_registers)
		mask = LLVMBuildOr(e->builder, mask,
		                   emit_splat(e, LLVMBuildICmp(e->builder, LLVMIntNE, at, emit_index(e, 0), ""), k->lanes), "");
	Value exist = k->tail < 0 ? k->tail_lanes : emit_tail_mask(e, k->lanes, emit_sub(e, emit_index(e, lanes->extent), at));
	return LLVMBuildAnd(e->builder, mask, exist, "");
}

Value lower_load(Lower *k, Value base, DType dtype, const Affine *offset, Value mask, bool padded) {
	Emit *e = k->e;
	LLVMTypeRef element = lower_memory_type(e, dtype);
	if (!index_uses_lanes(k, offset)) {
		if (mask && emit_lanes(mask) == 1) {   /* outside: read element 0 instead, which always exists */
			Value i = LLVMBuildSelect(e->builder, mask, index_value(k, offset), emit_index(e, 0), "");
			return lower_from_memory(k->e, emit_load(e, element, 1, emit_at(e, base, element, i)), dtype);
		}
		Value at = emit_at(e, base, element, index_value(k, offset));
		if (!mask) return lower_from_memory(e, emit_load(e, element, 1, at), dtype);
		Value all = emit_splat(e, index_value(k, offset), k->lanes);
		return lower_from_memory(k->e, emit_gather(e, element, base, all, all_mask(k, mask)), dtype);
	}
	if (index_is_adjacent(k, offset)) {
		Affine first = *offset;
		first.coefficient[k->lane_level] = 0;
		Value start = emit_add(e, index_value(k, &first), k->level[k->lane_level].variable);
		Value pointer = emit_at(e, base, element, start);
		Value raw;
		if (mask) raw = emit_load_masked(e, element, k->lanes, pointer, all_mask(k, mask));
		else if (k->tail < 0) raw = emit_load_masked(e, element, k->lanes, pointer, k->tail_lanes);
		else if (k->tail && !padded) raw = emit_load_partial(e, element, k->lanes, pointer, k->tail);
		else raw = emit_load(e, element, k->lanes, pointer);
		return lower_from_memory(k->e, raw, dtype);
	}
	return lower_from_memory(k->e, emit_gather(e, element, base, index_value(k, offset), all_mask(k, mask)), dtype);
}

static Value load_buffer(Lower *k, int buffer, const At *from, Value mask) {
	const Buffer *b = &k->kp->buffers.data[buffer];
	At at = *from;
	Affine offset = buffer_offset(k, b, &at);
	bool padded = k->lane_level >= 0 && lanes_are_padded(k, b, &at);
	return lower_load(k, k->pointer[buffer], b->type.dtype, &offset, mask, padded);
}

void lower_store(Lower *k, Val *root, const At *from, Value value) {
	Emit *e = k->e;
	int buffer = k->kp->buffer_of[root->id];
	const Buffer *b = &k->kp->buffers.data[buffer];
	At at = *from;
	Affine offset = buffer_offset(k, b, &at);
	Value raw = lower_to_memory(k->e, value, b->type.dtype);
	LLVMTypeRef element = lower_memory_type(e, b->type.dtype);
	if (!index_uses_lanes(k, &offset)) {
		if (emit_lanes(raw) > 1) raw = LLVMBuildExtractElement(e->builder, raw, emit_i32(e, 0), "");
		emit_store(e, raw, emit_at(e, k->pointer[buffer], element, index_value(k, &offset)));
		return;
	}
	raw = lower_as_lanes(k, raw);
	Affine first = offset;
	first.coefficient[k->lane_level] = 0;
	if (!index_is_adjacent(k, &offset)) die("a root is stored along its last axis");
	Value start = emit_add(e, index_value(k, &first), k->level[k->lane_level].variable);
	Value pointer = emit_at(e, k->pointer[buffer], element, start);
	if (k->tail < 0) emit_store_masked(e, raw, pointer, k->tail_lanes);
	else if (k->tail && !lanes_are_padded(k, b, &at)) emit_store_partial(e, raw, pointer, k->tail);
	else emit_store(e, raw, pointer);
}

Value lower_address(Lower *k, const Val *root, const At *from) {
	const Buffer *b = &k->kp->buffers.data[k->kp->buffer_of[root->id]];
	At at = *from;
	Affine offset = buffer_offset(k, b, &at);
	return emit_at(k->e, k->pointer[k->kp->buffer_of[root->id]], lower_memory_type(k->e, b->type.dtype), index_value(k, &offset));
}

static Value kept_address(Lower *k, const Kept *kept, int64_t shift) {
	Value start = emit_add(k->e, k->level[k->lane_level].variable, emit_index(k->e, shift));
	return emit_at(k->e, kept->row, lower_memory_type(k->e, kept->v->type.dtype), start);
}

void lower_keep(Lower *k, const Kept *kept, Value elements) {
	emit_store(k->e, lower_to_memory(k->e, lower_as_lanes(k, elements), kept->v->type.dtype), kept_address(k, kept, 0));
}

static Value load_kept(Lower *k, const Kept *kept, const At *at) {
	DType dtype = kept->v->type.dtype;
	const Affine *i = &at->axis[kept->v->type.rank - 1];
	if (k->lane_level < 0 || at->flat || i->computed || i->coefficient[k->lane_level] != 1)
		die("a row that is kept is read along itself");
	Value raw = emit_load(k->e, lower_memory_type(k->e, dtype), k->lanes, kept_address(k, kept, i->constant));
	return lower_from_memory(k->e, raw, dtype);
}

/* The product at the present index, which is the tile's by its row and column; as it lies. */
static Value load_tile_raw(Lower *k, const Val *v) {
	Emit *e = k->e;
	int buffer = k->kp->buffer_of[v->id];
	int column = k->lane_level >= 0 ? k->lane_level : k->tile_column_level;
	bool run = column == k->tile_row_level;   /* its variable is the element's number */
	Value i = emit_mul(e, k->level[k->tile_row_level].variable, emit_index(e, run ? 1 : k->tile_stride));
	if (column >= 0 && !run) i = emit_add(e, i, k->level[column].variable);
	Value pointer = emit_at(e, k->tile, e->f32, i);
	if (k->lane_level < 0) return emit_load(e, e->f32, 1, pointer);
	const Buffer *b = buffer >= 0 ? &k->kp->buffers.data[buffer] : NULL;   /* the tile is the result itself */
	bool dense = b && (b->exact || k->tail < 0 || b->row % k->lanes);
	if (dense && k->tail < 0) return emit_load_masked(e, e->f32, k->lanes, pointer, k->tail_lanes);
	if (dense && k->tail) return emit_load_partial(e, e->f32, k->lanes, pointer, k->tail);
	return emit_load(e, e->f32, k->lanes, pointer);
}

static Value load_tile(Lower *k, const Val *v) {
	Value raw = load_tile_raw(k, v);
	if (v->type.dtype == DTYPE_F32) return raw;
	return LLVMBuildBitCast(k->e->builder, raw, emit_vector_type(k->e, k->e->i32, emit_lanes(raw)), "");
}

/* A few terms that are read where they lie (a pooling's taps) are written out: their indices are constants then. */
enum { MOST_WRITTEN_OUT = 16 };
static bool is_written_out(const Lower *k, const Val *a, int64_t n) {
	if (n > MOST_WRITTEN_OUT) return false;
	while (k->kp->buffer_of[a->id] < 0 && (is_view(a) || a->op == OpPad)) a = a->arg[0];
	return k->kp->buffer_of[a->id] >= 0;
}

/* Term number `term` of what is reduced, for the element `at` of the reduction. */
static Value reduced_term(Lower *k, Val *v, const At *at, Affine term, Value mask) {
	int axis = (int)v->list[0].data[0];
	At below = {0};
	for (int i = 0; i < v->arg[0]->type.rank; i++) below.axis[i] = i == axis ? term : at->axis[i > axis ? i - 1 : i];
	Value x = lower_value(k, v->arg[0], &below, mask);
	return k->lane_level >= 0 ? lower_as_lanes(k, x) : x;
}

/* A reduction over an axis that is not the last (or any, inside a scalar): a loop in the midst of the element's code. */
static Value reduce_loop(Lower *k, Val *v, const At *at, Value mask) {
	Emit *e = k->e;
	Op op = v->op;
	Val *a = v->arg[0];
	int axis = (int)v->list[0].data[0];
	int64_t n = a->type.dim[axis];
	int lanes = k->lane_level >= 0 ? k->lanes : 1;
	int lane_level = k->lane_level;
	Value start = reduce_start(e, op, v->type.dtype, lanes);
	if (is_written_out(k, a, n)) {
		for (int64_t i = 0; i < n; i++) start = reduce_step(e, op, start, reduced_term(k, v, at, index_constant(i), mask));
		return start;
	}
	EmitLoop blocks, loop;
	bool blocked = n > SUM_BLOCK;
	Value begin = emit_index(e, 0), end = emit_index(e, n), total = NULL;
	if (blocked) {
		level_open(k, &blocks, begin, end, SUM_BLOCK, n, false);
		total = emit_loop_carry(e, &blocks, start);
		begin = blocks.i;
		end = emit_min(e, emit_add(e, begin, emit_index(e, SUM_BLOCK)), emit_index(e, n));
	}
	level_open(k, &loop, begin, end, 1, n, false);
	k->lane_level = lane_level;
	Value accumulator = emit_loop_carry(e, &loop, start);
	Value x = reduced_term(k, v, at, index_variable(k->depth), mask);
	emit_loop_next(e, &loop, 0, reduce_step(e, op, accumulator, x));
	level_close(k, &loop);
	Value result = loop.result[0];
	if (blocked) {
		/* the first block's total is taken as it is: adding it to the start would lose the sign of a zero */
		Value first = LLVMBuildICmp(e->builder, LLVMIntEQ, blocks.i, emit_index(e, 0), "");
		Value sum = LLVMBuildSelect(e->builder, first, result, reduce_step(e, op, total, result), "");
		emit_loop_next(e, &blocks, 0, sum);
		level_close(k, &blocks);
		result = blocks.result[0];
	}
	k->lane_level = lane_level;
	return result;
}

/* A contract whose result ends with an axis of both operands, element by element: lanes run along that axis. */
typedef struct Chain {
	Lower *k;
	Val *v;
	At at[2];                        /* of the operands */
	int axis[MAX_RANK], other[MAX_RANK], count;   /* the summed axes in each operand, outermost first */
	int cut;                         /* the one that blocks of the sum are cut along */
	int64_t per_block;
	int lane_level, lanes;
	Value mask, first;               /* first: i1: the block of the sum is the first one; NULL: always */
	Value begin, end;                /* of the block */
} Chain;

/* One loop more; the lanes stay what they are. */
static void open_turns(Chain *c, EmitLoop *loop, int number, Value begin, Value end, int64_t step) {
	int64_t extent = c->v->arg[0]->type.dim[c->axis[number]];
	level_open(c->k, loop, begin, end, step, extent, false);
	c->k->lane_level = c->lane_level;
	c->at[0].axis[c->axis[number]] = c->at[1].axis[c->other[number]] = index_variable(c->k->depth);
}

static void close_turns(Chain *c, EmitLoop *loop) {
	level_close(c->k, loop);
	c->k->lane_level = c->lane_level;
}

/* acc and the products of the block over the summed axes from `number` on. */
static Value chain_products(Chain *c, int number, Value acc) {
	Lower *k = c->k;
	Emit *e = k->e;
	if (number == c->count) {
		Value x = lower_value(k, c->v->arg[0], &c->at[0], c->mask), y = lower_value(k, c->v->arg[1], &c->at[1], c->mask);
		if (c->lanes > 1) x = lower_as_lanes(k, x), y = lower_as_lanes(k, y);
		DType dx = c->v->arg[0]->type.dtype, dy = c->v->arg[1]->type.dtype;
		if (dtype_is_word(dx)) return lower_words(e, x, dx, y, dy, acc);
		if (!dtype_is_float(c->v->type.dtype)) return LLVMBuildAdd(e->builder, LLVMBuildMul(e->builder, x, y, ""), acc, "");
		return emit_fma(e, x, y, acc);
	}
	bool block = number == c->cut;
	EmitLoop loop;
	Value end = emit_index(e, c->v->arg[0]->type.dim[c->axis[number]]);
	open_turns(c, &loop, number, block ? c->begin : emit_index(e, 0), block ? c->end : end, 1);
	Value sum = emit_loop_carry(e, &loop, acc);
	emit_loop_next(e, &loop, 0, chain_products(c, number + 1, sum));
	close_turns(c, &loop);
	return loop.result[0];
}

static Value chain_start(Chain *c) { return reduce_start(c->k->e, OpReduceSum, c->v->type.dtype, c->lanes); }
static Value chain_add(Chain *c, Value a, Value b) { return reduce_step(c->k->e, OpReduceSum, a, b); }

/* The total of the blocks over the axes up to the one they are cut along. */
static Value chain_blocks(Chain *c, int number, Value total) {
	Lower *k = c->k;
	Emit *e = k->e;
	Value zero = emit_index(e, 0), before = c->first;
	int64_t extent = c->count ? c->v->arg[0]->type.dim[c->axis[number]] : 1, step = number == c->cut ? c->per_block : 1;
	if (number == c->cut && step >= extent) {
		c->begin = zero, c->end = emit_index(e, extent);
		Value sum = chain_products(c, number, chain_start(c));
		if (!c->first) return sum;
		return LLVMBuildSelect(e->builder, c->first, sum, chain_add(c, total, sum), "");
	}
	EmitLoop loop;
	open_turns(c, &loop, number, zero, emit_index(e, extent), step);
	Value so_far = emit_loop_carry(e, &loop, total), starts = LLVMBuildICmp(e->builder, LLVMIntEQ, loop.i, zero, ""), next;
	c->first = before ? LLVMBuildAnd(e->builder, before, starts, "") : starts;
	if (number == c->cut) {
		c->begin = loop.i, c->end = emit_min(e, emit_add(e, loop.i, emit_index(e, step)), emit_index(e, extent));
		Value sum = chain_products(c, number, chain_start(c));
		next = LLVMBuildSelect(e->builder, c->first, sum, chain_add(c, so_far, sum), "");
	} else {
		next = chain_blocks(c, number + 1, so_far);
	}
	emit_loop_next(e, &loop, 0, next);
	close_turns(c, &loop);
	c->first = before;
	return loop.result[0];
}

static Value chain_loops(Lower *k, Val *v, const At *at, Value mask) {
	ContractOrder order = contract_order(v);
	Chain c = {.k = k, .v = v, .lane_level = k->lane_level, .lanes = k->lane_level >= 0 ? k->lanes : 1, .mask = mask};
	for (int o = 0; o < 2; o++)
		for (int i = 0; i < v->list[o].length; i++) {
			int y = label_axis(v->list[2], v->list[o].data[i]);
			if (y >= 0) c.at[o].axis[i] = at->axis[y];
		}
	for (int i = 0; i < v->list[0].length; i++) {
		if (label_axis(v->list[2], v->list[0].data[i]) >= 0) continue;
		c.axis[c.count] = i;
		c.other[c.count++] = label_axis(v->list[1], v->list[0].data[i]);
	}
	int64_t inside = 1;   /* terms of the axes within the one that is cut */
	for (c.cut = MAX(c.count - 1, 0); c.cut > 0; c.cut--) {
		int64_t extent = v->arg[0]->type.dim[c.axis[c.cut]];
		if (inside * extent >= order.run) break;
		inside *= extent;
	}
	c.per_block = MAX(1, order.block / inside);
	return chain_blocks(&c, 0, chain_start(&c));
}

/* The products of begin .. end of the one summed axis: 16 chains, of which the last vector goes on with `tail` (0: all). */
static Value dot_lanes(Lower *k, Val *v, At at[2], Value begin, Value end, int tail, Value sum) {
	Emit *e = k->e;
	EmitLoop loop;
	int64_t extent = 1;
	int axis[2] = {-1, -1};
	for (int i = 0; i < v->list[0].length; i++) {
		if (label_axis(v->list[2], v->list[0].data[i]) >= 0) continue;
		axis[0] = i, axis[1] = label_axis(v->list[1], v->list[0].data[i]);
		extent = v->arg[0]->type.dim[i];
	}
	level_open(k, &loop, begin, end, LANES, extent, true);
	for (int o = 0; o < 2 && axis[0] >= 0; o++) at[o].axis[axis[o]] = index_variable(k->depth);
	k->tail = tail;
	Value acc = emit_loop_carry(e, &loop, sum);
	Value x = lower_as_lanes(k, lower_value(k, v->arg[0], &at[0], NULL));
	Value y = lower_as_lanes(k, lower_value(k, v->arg[1], &at[1], NULL));
	Value next = dtype_is_float(v->type.dtype) ? emit_fma(e, x, y, acc)
	                                           : LLVMBuildAdd(e->builder, LLVMBuildMul(e->builder, x, y, ""), acc, "");
	if (tail) next = LLVMBuildSelect(e->builder, tail_mask(k), next, acc, "");
	k->tail = 0;
	emit_loop_next(e, &loop, 0, next);
	level_close(k, &loop);
	return loop.result[0];
}

/* A dot that is no product of f32: a scalar, each block of the sum 16 chains and a tree. */
static Value dot_loops(Lower *k, Val *v, const At *at) {
	Emit *e = k->e;
	int64_t n = contract_order(v).terms;
	if (k->lane_level >= 0) die("a dot within lanes");
	At of[2] = {{0}, {0}};
	for (int o = 0; o < 2; o++)
		for (int i = 0; i < v->list[o].length; i++) {
			int y = label_axis(v->list[2], v->list[o].data[i]);
			if (y >= 0) of[o].axis[i] = at->axis[y];
		}
	Value start = reduce_start(e, OpReduceSum, v->type.dtype, LANES);
	int lanes = k->lanes;
	EmitLoop blocks;
	k->lanes = LANES;   /* which the order of the sum asks for */
	level_open(k, &blocks, emit_index(e, 0), emit_index(e, n), SUM_BLOCK, n, false);
	Value total = emit_loop_carry(e, &blocks, reduce_start(e, OpReduceSum, v->type.dtype, 1));
	Value whole = emit_index(e, n - n % LANES);
	Value past = emit_min(e, emit_add(e, blocks.i, emit_index(e, SUM_BLOCK)), emit_index(e, n));
	Value stop = emit_min(e, past, whole), sum = dot_lanes(k, v, of, blocks.i, stop, 0, start);
	if (n % LANES) sum = dot_lanes(k, v, of, stop, past, (int)(n % LANES), sum);
	sum = reduce_fold(e, OpReduceSum, sum);
	Value first = LLVMBuildICmp(e->builder, LLVMIntEQ, blocks.i, emit_index(e, 0), "");
	emit_loop_next(e, &blocks, 0, LLVMBuildSelect(e->builder, first, sum, reduce_step(e, OpReduceSum, total, sum), ""));
	level_close(k, &blocks);
	k->lanes = lanes;
	return blocks.result[0];
}

/* Is x the new largest?  The first NaN is. */
static Value is_larger(Emit *e, Value x, Value best, bool real) {
	if (!real) return LLVMBuildICmp(e->builder, LLVMIntSGT, x, best, "");
	Value ordered = LLVMBuildFCmp(e->builder, LLVMRealOGT, x, best, "");
	Value nan = LLVMBuildFCmp(e->builder, LLVMRealUNO, x, x, ""), was = LLVMBuildFCmp(e->builder, LLVMRealORD, best, best, "");
	return LLVMBuildOr(e->builder, ordered, LLVMBuildAnd(e->builder, nan, was, ""), "");
}

static Value argmax_loop(Lower *k, Val *v, const At *at, Value mask) {
	Emit *e = k->e;
	Val *a = v->arg[0];
	int axis = (int)v->list[0].data[0], lanes = k->lane_level >= 0 ? k->lanes : 1, lane_level = k->lane_level;
	bool real = dtype_is_float(a->type.dtype);
	Value start = reduce_start(e, OpReduceMax, a->type.dtype, lanes), none = LLVMConstNull(emit_vector_type(e, e->i32, lanes));
	if (is_written_out(k, a, a->type.dim[axis])) {
		for (int64_t i = 0; i < a->type.dim[axis]; i++) {
			Value x = reduced_term(k, v, at, index_constant(i), mask), larger = is_larger(e, x, start, real);
			start = LLVMBuildSelect(e->builder, larger, x, start, "");
			none = LLVMBuildSelect(e->builder, larger, emit_splat(e, emit_i32(e, i), lanes), none, "");
		}
		return none;
	}
	EmitLoop loop;
	level_open(k, &loop, emit_index(e, 0), emit_index(e, a->type.dim[axis]), 1, a->type.dim[axis], false);
	k->lane_level = lane_level;
	Value best = emit_loop_carry(e, &loop, start);
	Value where = emit_loop_carry(e, &loop, none);
	Value x = reduced_term(k, v, at, index_variable(k->depth), mask), larger = is_larger(e, x, best, real);
	Value i = LLVMBuildTrunc(e->builder, loop.i, e->i32, "");
	emit_loop_next(e, &loop, 0, LLVMBuildSelect(e->builder, larger, x, best, ""));
	emit_loop_next(e, &loop, 1, LLVMBuildSelect(e->builder, larger, emit_splat(e, i, lanes), where, ""));
	level_close(k, &loop);
	k->lane_level = lane_level;
	return loop.result[1];
}

Value mask_and(Lower *k, Value a, Value b) {
	if (!a) return b;
	if (!b) return a;
	if (emit_lanes(a) != emit_lanes(b)) a = lower_as_lanes(k, a), b = lower_as_lanes(k, b);
	return LLVMBuildAnd(k->e->builder, a, b, "");
}

Value mask_select(Lower *k, Value mask, Value a, Value b) {
	if (emit_lanes(a) != emit_lanes(b) || emit_lanes(mask) > emit_lanes(a)) a = lower_as_lanes(k, a), b = lower_as_lanes(k, b);
	if (emit_lanes(a) > 1 && emit_lanes(mask) == 1) mask = lower_as_lanes(k, mask);
	return LLVMBuildSelect(k->e->builder, mask, a, b, "");
}

Value mask_in_range(Lower *k, const Affine *index, int64_t n) {
	Emit *e = k->e;
	Value v = index_value(k, index);
	Value limit = emit_lanes(v) > 1 ? emit_splat(e, emit_index(e, n), k->lanes) : emit_index(e, n);
	return LLVMBuildICmp(e->builder, LLVMIntULT, v, limit, "");   /* unsigned: negative numbers are large */
}

static Value pad_value(Lower *k, Val *v, const At *at, Value mask) {
	Emit *e = k->e;
	At below = {0};
	Value inside = NULL;
	for (int i = 0; i < v->type.rank; i++) {
		int64_t lo = v->list[0].data[i], inner = v->list[2].data[i], n = v->arg[0]->type.dim[i];
		Affine shift = index_constant(-lo);
		below.axis[i] = index_scale_add(k, at->axis[i], 1, &shift);
		if (inner) {   /* only every (inner + 1)-th element is there */
			int level = index_level(k, &below.axis[i]);
			Outside out = lower_go_out(k, level);
			Value x = index_value(k, &below.axis[i]);
			Value step = emit_lanes(x) > 1 ? emit_splat(e, emit_index(e, inner + 1), k->lanes) : emit_index(e, inner + 1);
			Value rest = LLVMBuildSRem(e->builder, x, step, "");
			Value there = mask_and(k, LLVMBuildICmp(e->builder, LLVMIntEQ, rest, LLVMConstNull(LLVMTypeOf(rest)), ""),
			                       LLVMBuildICmp(e->builder, LLVMIntSGE, x, LLVMConstNull(LLVMTypeOf(x)), ""));
			below.axis[i] = (Affine){.computed = LLVMBuildSDiv(e->builder, x, step, ""), .level = level};
			lower_come_back(k, out);
			inside = mask_and(k, inside, there);
		}
		if (lo != 0 || inner || v->type.dim[i] != n) inside = mask_and(k, inside, mask_in_range(k, &below.axis[i], n));
	}
	Value x = lower_value(k, v->arg[0], &below, mask_and(k, mask, inside));
	return inside ? mask_select(k, inside, x, lower_constant(e, v->type.dtype, v->number)) : x;
}

static Value concat_value(Lower *k, Val *v, const At *at, Value mask) {
	int axis = (int)v->list[0].data[0];
	int64_t start = 0;
	Value result = NULL;
	for (int i = 0; i < v->nargs; i++) {
		At below = *at;
		Affine shift = index_constant(-start);
		below.axis[axis] = index_scale_add(k, at->axis[axis], 1, &shift);
		Value inside = mask_in_range(k, &below.axis[axis], v->arg[i]->type.dim[axis]);
		Value x = lower_value(k, v->arg[i], &below, mask_and(k, mask, inside));
		result = result ? mask_select(k, inside, x, result) : x;
		start += v->arg[i]->type.dim[axis];
	}
	return result;
}

static Value iota_value(Lower *k, const Affine *i) {
	Emit *e = k->e;
	if (i->computed) {
		Value v = index_value(k, i);
		return LLVMBuildTrunc(e->builder, v, emit_vector_type(e, e->i32, emit_lanes(v)), "");
	}
	Affine scalar = *i;
	if (k->lane_level >= 0) scalar.coefficient[k->lane_level] = 0;
	int64_t c = k->lane_level >= 0 ? i->coefficient[k->lane_level] : 0;
	Value v = LLVMBuildTrunc(e->builder, index_value(k, &scalar), e->i32, "");
	if (!c) return v;
	Value first =
	    LLVMBuildMul(e->builder, LLVMBuildTrunc(e->builder, k->level[k->lane_level].variable, e->i32, ""), emit_i32(e, c), "");
	Value ramp = emit_ramp(e, e->i32, k->lanes);
	if (c != 1) ramp = LLVMBuildMul(e->builder, ramp, emit_splat(e, emit_i32(e, c), k->lanes), "");
	return LLVMBuildAdd(e->builder, emit_splat(e, LLVMBuildAdd(e->builder, v, first, ""), k->lanes), ramp, "");
}

static Value flat_number(Lower *k, const Val *v, const At *at) {
	Affine flat = index_flatten(k, at, v->type);
	return iota_value(k, &flat);
}

static Value random_value(Lower *k, Val *v, const At *at, Value mask) {
	Emit *e = k->e;
	At none = {0}, low = {0}, high = {0};
	high.axis[0] = index_constant(1);
	Value element = v->nargs == 4 ? lower_value(k, v->arg[3], at, mask) : flat_number(k, v, at);
	Value step = lower_value(k, v->arg[1], &none, NULL), index = lower_value(k, v->arg[2], &none, NULL);
	Value seed_low = lower_value(k, v->arg[0], &low, NULL), seed_high = lower_value(k, v->arg[0], &high, NULL);
	int site = 0;
	while (k->sites->data[site] != v->list[0].data[0]) site++;
	Value u = lower_random(e, element, index, step, seed_low, seed_high, k->site[site], (int)v->list[1].data[0]);
	return lower_cast(e, u, DTYPE_F32, v->type.dtype);
}

static Value pointwise_value(Lower *k, Val *v, const At *at, Value mask) {
	Value args[4];
	int lanes = 1, nargs = computed_operands(v);
	for (int i = 0; i < nargs; i++) {
		args[i] = lower_value(k, v->arg[i], at, mask);
		lanes = MAX(lanes, emit_lanes(args[i]));
	}
	if (v->op == OpMark || v->op == OpCustom || v->op == OpAgain) return args[0];
	if (v->op == OpCast) return lower_cast(k->e, args[0], v->arg[0]->type.dtype, v->type.dtype);
	for (int i = 0; i < nargs && lanes > 1; i++) args[i] = lower_as_lanes(k, args[i]);
	/* LLVM 19 takes 0 / 0 for 0 in lanes that it knows: those past a short row, and pads of it; they would be let into sums */
	bool known_lanes = lanes > 1 && k->lane_level >= 0 && (k->tail || LLVMIsConstant(k->level[k->lane_level].variable));
	if (known_lanes && (v->op == OpDiv || v->op == OpAtan2)) args[1] = emit_unknown(k->e, args[1]);
	return lower_pointwise(k->e, v, args);
}

/* Is `v` read by the number of its element alone, whatever its axes are? */
enum { FLAT_DEPTH = 8 };
static bool is_read_flat(const Lower *k, const Val *v, int depth) {
	if (k->kp->buffer_of[v->id] >= 0 || v->op == OpConst) return true;
	if (v->op == OpRandom) return v->nargs < 4 || (depth > 0 && is_read_flat(k, v->arg[3], depth - 1));
	if (depth == 0 || (v->op != OpReshape && !is_pointwise(v))) return v->op == OpBroadcast && v->list[0].length == 0;
	for (int i = 0; i < computed_operands(v); i++)
		if (!is_read_flat(k, v->arg[i], depth - 1)) return false;
	return true;
}

static Value compute(Lower *k, Val *v, const At *from, Value mask) {
	int buffer = k->kp->buffer_of[v->id];
	bool own = false;
	for (int i = 0; i < k->kernel->roots.length; i++) own = own || k->kernel->roots.data[i] == v;
	if (v == k->tile_value) return load_tile(k, v);
	for (const Kept *kept = k->kept; kept; kept = kept->next)
		if (kept->v == v) return load_kept(k, kept, from);
	if (buffer >= 0 && !own) return load_buffer(k, buffer, from, mask);
	if (v->op == OpInput) return k->turn;
	if (is_pointwise(v)) return pointwise_value(k, v, from, mask);
	At at = *from, below = {0};
	if (v->op == OpConst) return lower_constant(k->e, v->type.dtype, v->number);
	if (v->op == OpReshape) {
		below = index_reshape(k, &at, v->type, v->arg[0]->type, is_read_flat(k, v->arg[0], FLAT_DEPTH));
		return lower_value(k, v->arg[0], &below, mask);
	}
	if (v->op == OpRandom) return random_value(k, v, &at, mask);
	at = index_split(k, &at, v->type);
	switch (v->op) {
	case OpIota: return iota_value(k, &at.axis[v->list[0].data[0]]);
	case OpTranspose:
		for (int i = 0; i < v->type.rank; i++) below.axis[v->list[0].data[i]] = at.axis[i];
		return lower_value(k, v->arg[0], &below, mask);
	case OpBroadcast:
		for (int i = 0; i < v->list[0].length; i++) below.axis[i] = at.axis[v->list[0].data[i]];
		return lower_value(k, v->arg[0], &below, mask);
	case OpSlice:
		for (int i = 0; i < v->type.rank; i++) {
			Affine start = index_constant(v->list[0].data[i]);
			below.axis[i] = index_scale_add(k, at.axis[i], v->list[1].data[i], &start);
		}
		return lower_value(k, v->arg[0], &below, mask);
	case OpFlip:
		below = at;
		for (int i = 0; i < v->list[0].length; i++) {
			int64_t axis = v->list[0].data[i];
			Affine top = index_constant(v->type.dim[axis] - 1);
			below.axis[axis] = index_scale_add(k, at.axis[axis], -1, &top);
		}
		return lower_value(k, v->arg[0], &below, mask);
	case OpWindow: {
		int64_t axis = v->list[0].data[0];
		for (int i = 0; i < v->arg[0]->type.rank; i++) below.axis[i] = at.axis[i > axis ? i + 1 : i];
		Affine tap = index_scale_add(k, at.axis[axis + 1], v->list[2].data[0], NULL);
		below.axis[axis] = index_scale_add(k, at.axis[axis], v->list[1].data[0], &tap);
		return lower_value(k, v->arg[0], &below, mask);
	}
	case OpPad: return pad_value(k, v, &at, mask);
	case OpConcat: return concat_value(k, v, &at, mask);
	case OpGather: return gather_value(k, v, &at, mask);
	case OpFold: return lower_narrow(k->e, fold_value(k, v, &at, mask), v->type.dtype);
	case OpSumBuckets: return lower_narrow(k->e, sum_buckets_value(k, v, &at, mask), v->type.dtype);
	case OpArgMax: return argmax_loop(k, v, &at, mask);
	case OpContract:
		return lower_narrow(k->e, is_sequence(v) ? dot_loops(k, v, &at) : chain_loops(k, v, &at, mask), v->type.dtype);
	case OpReduceSum: case OpReduceMax: case OpReduceMin: case OpReduceProd:
		return lower_narrow(k->e, reduce_loop(k, v, &at, mask), v->type.dtype);
	default: die("no code for op '%s'", op_info[v->op].text);
	}
}

bool reads_tile(const Lower *k, const Val *v) {
	if (!k->tile_value) return false;
	if (v == k->tile_value) return true;
	if (k->kp->buffer_of[v->id] >= 0) {   /* stored: only if it is computed right here */
		bool own = false;
		for (int i = 0; i < k->kernel->roots.length; i++) own = own || k->kernel->roots.data[i] == v;
		if (!own) return false;
	}
	if (!k->of_tile[v->id]) {
		bool reads = false;
		for (int i = 0; i < computed_operands(v) && !reads; i++) reads = reads_tile(k, v->arg[i]);
		k->of_tile[v->id] = reads ? TILE_READ : TILE_FREE;
	}
	return k->of_tile[v->id] == TILE_READ;
}

int lower_level(const Lower *k, const Val *v, const At *at, Value mask) {
	bool loops = is_reduce(v) || v->op == OpArgMax || v->op == OpContract || v->op == OpFold || v->op == OpSumBuckets;
	int level = mask || loops || v == k->tile_value ? k->depth : at_level(k, at, v->type.rank);
	return level < k->tile_row_level && reads_tile(k, v) ? k->tile_row_level : level;
}

Value lower_value(Lower *k, Val *v, const At *at, Value mask) {
	for (Memo *m = k->given; m; m = m->next)
		if (m->v == v) return lower_narrow(k->e, m->value, v->type.dtype);
	int level = lower_level(k, v, at, mask);
	for (int l = level; l <= (mask ? k->depth : level); l++)
		for (Memo *m = k->level[l].memo; m; m = m->next)
			if (m->v == v && m->mask == mask && at_equal(&m->at, at, v->type.rank)) return m->value;
	Outside out = lower_go_out(k, level);
	Value value = compute(k, v, at, mask);
	lower_come_back(k, out);
	Memo *m = NEW(k->e->arena, Memo);
	*m = (Memo){v, *at, mask, value, k->level[level].memo};
	k->level[level].memo = m;
	return value;
}

Value reduce_start(Emit *e, Op op, DType dtype, int lanes) {
	bool real = dtype_is_float(dtype);
	double start = op == OpReduceProd ? 1 : 0;
	if (op == OpReduceMax || op == OpReduceMin) {
		if (real) return lower_real(e, dtype, op == OpReduceMax ? -__builtin_inf() : __builtin_inf(), lanes);
		return emit_splat(e, emit_i32(e, op == OpReduceMax ? INT32_MIN : INT32_MAX), lanes);
	}
	return real ? lower_real(e, dtype, start, lanes) : emit_splat(e, emit_i32(e, (int64_t)start), lanes);
}

Value reduce_step(Emit *e, Op op, Value accumulator, Value x) {
	LLVMTypeRef t = LLVMTypeOf(x);
	if (LLVMGetTypeKind(t) == LLVMVectorTypeKind) t = LLVMGetElementType(t);
	bool real = t == e->f32 || t == e->f64;
	switch (op) {
	case OpReduceMax: return lower_maximum(e, accumulator, x);
	case OpReduceMin: return lower_minimum(e, accumulator, x);
	case OpReduceProd: return real ? LLVMBuildFMul(e->builder, accumulator, x, "") : LLVMBuildMul(e->builder, accumulator, x, "");
	default: return real ? LLVMBuildFAdd(e->builder, accumulator, x, "") : LLVMBuildAdd(e->builder, accumulator, x, "");
	}
}

Value reduce_fold(Emit *e, Op op, Value lanes) {
	for (int half = LANES / 2; half >= 1; half /= 2) {
		Value low[LANES], high[LANES];
		for (int i = 0; i < half; i++) low[i] = emit_i32(e, i), high[i] = emit_i32(e, i + half);
		Value undefined = LLVMGetUndef(LLVMTypeOf(lanes));
		Value a = LLVMBuildShuffleVector(e->builder, lanes, undefined, LLVMConstVector(low, (unsigned)half), "");
		Value b = LLVMBuildShuffleVector(e->builder, lanes, undefined, LLVMConstVector(high, (unsigned)half), "");
		lanes = reduce_step(e, op, a, b);
	}
	return LLVMBuildExtractElement(e->builder, lanes, emit_i32(e, 0), "");
}
