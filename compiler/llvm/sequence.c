/* sequence.c: lines that are computed as a whole: sorted orders, and buckets of numbers.
 *
 * In: a kernel's anchor and the index of a line (every axis but the one along which it runs); out: the code that computes and
 * stores that line.  Guarantees: stable orders, so the bits do not depend on the method; scratch is the worker's own. */
#include "lower.h"

/* What is sorted: the element as a signed integer that orders as it does, and below it its place: no two are equal. */
static int pair_bits(const Val *v) { return dtype_info[v->arg[0]->type.dtype].bytes == 8 ? 128 : 64; }

size_t sequence_scratch(const Val *v) {
	if (v->op != OpArgSort) return 0;
	size_t n = (size_t)v->type.dim[v->list[0].data[0]] + 1;   /* one past the end is looked at */
	return 2 * n * (size_t)pair_bits(v) / 8;
}

/* Signed integers in the order of the elements: both zeros are one, every NaN is the largest. */
static Value ordered_key(Emit *e, Value x, DType dtype) {
	LLVMBuilderRef b = e->builder;
	if (!dtype_is_float(dtype)) return x;
	LLVMTypeRef type = dtype == DTYPE_F64 ? e->i64 : e->i32;
	unsigned top = dtype == DTYPE_F64 ? 63 : 31;
	Value most = LLVMConstInt(type, dtype == DTYPE_F64 ? INT64_MAX : INT32_MAX, false);
	Value nan = LLVMBuildFCmp(b, LLVMRealUNO, x, x, "");
	Value bits = LLVMBuildBitCast(b, LLVMBuildFAdd(b, x, LLVMConstReal(LLVMTypeOf(x), 0), ""), type, "");
	Value negative = LLVMBuildAShr(b, bits, LLVMConstInt(type, top, false), "");
	Value key = LLVMBuildXor(b, bits, LLVMBuildAnd(b, negative, most, ""), "");
	return LLVMBuildSelect(b, nan, most, key, "");
}

static void store_pairs(Lower *k, Val *v, const At *line, LLVMTypeRef pair, Value to) {
	Emit *e = k->e;
	int axis = (int)v->list[0].data[0];
	At at = *line;
	EmitLoop loop;
	level_open(k, &loop, emit_index(e, 0), emit_index(e, v->type.dim[axis]), 1, v->type.dim[axis], false);
	at.axis[axis] = index_variable(k->depth);
	Value key = ordered_key(e, lower_value(k, v->arg[0], &at, NULL), v->arg[0]->type.dtype);
	Value high = LLVMBuildShl(e->builder, LLVMBuildSExt(e->builder, key, pair, ""), LLVMConstInt(pair, 32, false), "");
	Value place = LLVMBuildIntCast2(e->builder, loop.i, pair, false, "");
	emit_store(e, LLVMBuildOr(e->builder, high, place, ""), emit_at(e, to, pair, loop.i));
	level_close(k, &loop);
}

/* The runs of `width` pairs from `left` on, and after it, to one of twice the length. */
static void merge_runs(Emit *e, LLVMTypeRef pair, Value from, Value to, Value left, Value width, Value n) {
	LLVMBuilderRef b = e->builder;
	Value middle = emit_min(e, emit_add(e, left, width), n), end = emit_min(e, emit_add(e, middle, width), n);
	EmitLoop loop = emit_loop_begin(e, left, end, 1);
	Value i = emit_loop_carry(e, &loop, left), j = emit_loop_carry(e, &loop, middle);
	Value low = emit_load(e, pair, 1, emit_at(e, from, pair, i)), high = emit_load(e, pair, 1, emit_at(e, from, pair, j));
	Value less = LLVMBuildAnd(b, LLVMBuildICmp(b, LLVMIntSLT, j, end, ""), LLVMBuildICmp(b, LLVMIntSLT, high, low, ""), "");
	Value right = LLVMBuildOr(b, LLVMBuildICmp(b, LLVMIntEQ, i, middle, ""), less, "");
	Value step = LLVMBuildZExt(b, right, e->index, "");
	emit_store(e, LLVMBuildSelect(b, right, high, low, ""), emit_at(e, to, pair, loop.i));
	emit_loop_next(e, &loop, 0, emit_sub(e, emit_add(e, i, emit_index(e, 1)), step));
	emit_loop_next(e, &loop, 1, emit_add(e, j, step));
	emit_loop_end(e, &loop);
}

/* Merge sort, bottom up, from one half of the scratch to the other. */
static void write_order(Lower *k, Val *v, const At *line, Value scratch) {
	Emit *e = k->e;
	int axis = (int)v->list[0].data[0], passes = 0;
	int64_t n = v->type.dim[axis];
	LLVMTypeRef pair = LLVMIntTypeInContext(e->context, (unsigned)pair_bits(v));
	Value sorted = scratch, other = emit_at_constant(e, scratch, pair, n + 1), count = emit_index(e, n), one = emit_index(e, 1);
	store_pairs(k, v, line, pair, scratch);
	while ((int64_t)1 << passes < n) passes++;
	if (passes) {
		EmitLoop pass = emit_loop_begin(e, emit_index(e, 0), emit_index(e, passes), 1);
		Value from = emit_loop_carry(e, &pass, scratch), to = emit_loop_carry(e, &pass, other);
		Value width = LLVMBuildShl(e->builder, one, pass.i, ""), both = LLVMBuildShl(e->builder, width, one, "");
		Value merges = LLVMBuildUDiv(e->builder, emit_sub(e, emit_add(e, count, both), one), both, "");
		EmitLoop merge = emit_loop_begin(e, emit_index(e, 0), merges, 1);
		merge_runs(e, pair, from, to, LLVMBuildMul(e->builder, merge.i, both, ""), width, count);
		emit_loop_end(e, &merge);
		emit_loop_next(e, &pass, 0, to);
		emit_loop_next(e, &pass, 1, from);
		emit_loop_end(e, &pass);
		sorted = pass.result[0];
	}
	At at = *line;
	EmitLoop loop;
	level_open(k, &loop, emit_index(e, 0), count, 1, n, false);
	at.axis[axis] = index_variable(k->depth);
	Value place = emit_load(e, pair, 1, emit_at(e, sorted, pair, loop.i));
	lower_store(k, v, &at, LLVMBuildTrunc(e->builder, place, e->i32, ""));
	level_close(k, &loop);
}

/* Number i of the line, and whether there is such a bucket. */
static Value bucket_of(Lower *k, Val *v, const At *line, int64_t n, Value *inside) {
	int axis = v->type.rank - 1;
	At at = *line;
	at.axis[axis] = index_variable(k->depth);
	Value number = lower_value(k, v->arg[0], &at, NULL);
	*inside = LLVMBuildICmp(k->e->builder, LLVMIntULT, number, emit_i32(k->e, n), "");
	return LLVMBuildIntCast2(k->e->builder, number, k->e->index, true, "");
}

static void add_one(Emit *e, Value at) {
	emit_store(e, LLVMBuildAdd(e->builder, emit_load(e, e->i32, 1, at), emit_i32(e, 1), ""), at);
}

static void fill_zeros(Emit *e, Value at, Value from, Value past) {
	EmitLoop loop = emit_loop_begin(e, from, past, 1);
	emit_store(e, emit_i32(e, 0), emit_at(e, at, e->i32, loop.i));
	emit_loop_end(e, &loop);
}

/* Counting sort: how many are in each bucket, where each bucket begins, then the places one after the other; after which each
 * bucket's count has become its end. */
static void write_buckets(Lower *k, Val *v, const At *line) {
	Emit *e = k->e;
	int64_t m = v->arg[0]->type.dim[v->type.rank - 1], n = v->type.dim[v->type.rank - 1] - 1 - m;
	At at = *line;
	at.axis[v->type.rank - 1] = index_constant(0);
	Value first = lower_address(k, v, &at), ends = emit_at_constant(e, first, e->i32, 1);
	Value order = emit_at_constant(e, ends, e->i32, n), zero = emit_index(e, 0), inside;
	fill_zeros(e, first, zero, emit_index(e, n + 1));
	EmitLoop count, each, place;
	level_open(k, &count, zero, emit_index(e, m), 1, m, false);
	Value bucket = bucket_of(k, v, line, n, &inside);
	EmitIf counted = emit_if(e, inside);
	add_one(e, emit_at(e, ends, e->i32, bucket));
	emit_end_if(e, &counted);
	level_close(k, &count);
	each = emit_loop_begin(e, zero, emit_index(e, n), 1);
	Value before = emit_loop_carry(e, &each, emit_i32(e, 0)), end = emit_at(e, ends, e->i32, each.i);
	Value own = emit_load(e, e->i32, 1, end);
	emit_store(e, before, end);
	emit_loop_next(e, &each, 0, LLVMBuildAdd(e->builder, before, own, ""));
	emit_loop_end(e, &each);
	level_open(k, &place, zero, emit_index(e, m), 1, m, false);
	bucket = bucket_of(k, v, line, n, &inside);
	EmitIf placed = emit_if(e, inside);
	Value next = emit_at(e, ends, e->i32, bucket);
	Value to = LLVMBuildIntCast2(e->builder, emit_load(e, e->i32, 1, next), e->index, true, "");
	emit_store(e, LLVMBuildIntCast2(e->builder, place.i, e->i32, true, ""), emit_at(e, order, e->i32, to));
	add_one(e, next);
	emit_end_if(e, &placed);
	level_close(k, &place);
	fill_zeros(e, order, LLVMBuildIntCast2(e->builder, each.result[0], e->index, true, ""), emit_index(e, m));
}

void lower_line(Lower *k, Val *v, const At *line, Value scratch) {
	if (v->op == OpArgSort) write_order(k, v, line, scratch);
	else write_buckets(k, v, line);
}
