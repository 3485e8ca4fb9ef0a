/* contract_dot.c: the product with one column, a dot of 16 lanes for each row.
 *
 * In: a Contract with n == 1.  Out: code.  Element k belongs to lane k % 16; a block of 4096 ends with the tree lane l += lane l
 * + 8, + 4, + 2, + 1, and its total is added to the row's.  Lanes past a tail keep their sum untouched: adding zero would turn
 * a -0 into a +0.
 *
 * Along: k is adjacent in memory; the 16 lanes are a vector, or a few.  Across: anything else; there are 16 sums, each
 * a vector over adjacent rows.  Runs: loops around k (windows), together one block; each run of k goes on with the lane after the
 * last one of the run before.
 * Sums of words are of i32, in lanes just so, and exact: their order is of no account. */
#include "contract_parts.h"
#include "lower.h"

enum { ALONG_ROWS = 4 };

static bool is_across(const Contract *c) { return c->a.fill ? c->a.down : c->a.column != 1; }

static bool splits_lanes(const Contract *c) { return c->naround && c->k % CONTRACT_LANES; }

static void plan_runs(const Target *target, const Contract *c, ContractPlan *plan) {
	if (c->a.fill || c->b.fill || c->a.column != 1 || c->b.row != 1) die("contract: runs of a dot are not adjacent");
	if (splits_lanes(c) && !target->has_mask) plan->lanes = 1;
	plan->height = plan->lanes == 1 ? 1 : ALONG_ROWS;
}

void contract_dot_plan(const Target *target, const Contract *c, ContractPlan *plan) {
	bool across = is_across(c), adjacent = c->a.fill || c->a.row == 1;
	plan->dot = true;
	plan->lanes = MIN(CONTRACT_LANES, MAX(1, target->lanes));
	if (across && !adjacent) plan->lanes = 1;
	plan->height = across ? plan->lanes : ALONG_ROWS;
	if (c->naround) plan_runs(target, c, plan);
	plan->heights[plan->nheights++] = plan->height;
	plan->vectors = 1;
	plan->panels = plan->wide_panels = plan->panel_columns = plan->panel_block = plan->epilogue_columns = 1;
	plan->k_block = MIN(c->k, CONTRACT_BLOCK);
	plan->row_block = plan->height;
	plan->pack_a = c->a.fill;
	plan->pack_b = c->b.fill || (!across && c->b.row != 1);
	plan->c_stride = c->c_dropped ? 1 : c->c_row;
	size_t at = 0;
	if (plan->pack_a) plan->a_at = at, at += (size_t)(plan->k_block + 16) * (size_t)plan->height * 4 / 64 * 64 + 64;
	if (plan->pack_b) plan->b_at = at, at += (size_t)c->k * 4 / 64 * 64 + 64;
	if (c->c_dropped) plan->c_at = at, at += 64;
	plan->scratch_bytes = at;
}

/* One group of rows: where its operands are, and its sums. */
typedef struct Dot {
	Emit *e;
	const Contract *c;
	bool across;
	int rows, lanes; /* rows of the group; lanes of a vector */
	int nsums;       /* along: rows * 16 / lanes, row by row; across: 16 */
	Value a, b;      /* at the block's first k */
	int64_t a_row, a_step, b_step;
	ContractOperand of_a, of_b; /* what a and b point to: memory, or floats in scratch */
	Value sum[CONTRACT_LANES * ALONG_ROWS];
} Dot;

/* ---- sums of floats, or of integers ---- */

static Value zero_sum(const Dot *d, int lanes) {
	return d->c->words ? LLVMConstNull(emit_vector_type(d->e, d->e->i32, lanes)) : emit_f32(d->e, 0, lanes);
}

static Value add(const Dot *d, Value a, Value b) {
	return (d->c->words ? LLVMBuildAdd : LLVMBuildFAdd)(d->e->builder, a, b, "");
}

static Value add_product(const Dot *d, Value x, Value y, Value sum) {
	Emit *e = d->e;
	if (!d->c->words) return emit_fma(e, x, y, sum);
	x = LLVMBuildBitCast(e->builder, x, LLVMTypeOf(sum), ""), y = LLVMBuildBitCast(e->builder, y, LLVMTypeOf(sum), "");
	return lower_words(e, x, d->c->words, y, d->c->words_b, sum);
}

/* Adds the products of k .. k + 16, or of the first n of these. */
static void add_sixteen(Dot *d, Value k, int n) {
	Emit *e = d->e;
	LLVMTypeRef in_a = contract_element(e, &d->of_a), in_b = contract_element(e, &d->of_b);
	Value a = emit_at(e, d->a, in_a, emit_mul(e, k, emit_index(e, d->a_step)));
	Value b = emit_at(e, d->b, in_b, emit_mul(e, k, emit_index(e, d->b_step)));
	if (d->across) {
		for (int l = 0; l < n; l++) {
			Value x = contract_load(e, &d->of_a, d->lanes, emit_at_constant(e, a, in_a, l * d->a_step), d->lanes);
			Value y = contract_load(e, &d->of_b, 1, emit_at_constant(e, b, in_b, l * d->b_step), 1);
			d->sum[l] = add_product(d, x, emit_splat(e, y, d->lanes), d->sum[l]);
		}
		return;
	}
	int parts = CONTRACT_LANES / d->lanes;
	for (int p = 0; p < parts; p++) {
		int used = MIN(d->lanes, n - p * d->lanes);
		if (used <= 0) break;
		Value y = contract_load(e, &d->of_b, d->lanes, emit_at_constant(e, b, in_b, p * d->lanes), used), mask = NULL;
		if (used < d->lanes) {
			Value bits[CONTRACT_LANES];
			for (int l = 0; l < d->lanes; l++) bits[l] = LLVMConstInt(e->i1, l < used, false);
			mask = LLVMConstVector(bits, (unsigned)d->lanes);
		}
		for (int r = 0; r < d->rows; r++) {
			Value at = emit_at_constant(e, a, in_a, r * d->a_row + p * d->lanes), *sum = &d->sum[r * parts + p];
			Value next = add_product(d, contract_load(e, &d->of_a, d->lanes, at, used), y, *sum);
			*sum = mask ? LLVMBuildSelect(e->builder, mask, next, *sum, "") : next;
		}
	}
}

static Value half(Emit *e, Value v, int first, int n) {
	if (n == 1) return LLVMBuildExtractElement(e->builder, v, emit_i32(e, first), "");
	Value pick[CONTRACT_LANES];
	for (int i = 0; i < n; i++) pick[i] = emit_i32(e, first + i);
	return LLVMBuildShuffleVector(e->builder, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(pick, (unsigned)n), "");
}

/* The tree over 16 lanes, which are `count` vectors. */
static Value fold(const Dot *d, Value *v, int count) {
	for (; count > 1; count /= 2)
		for (int i = 0; i < count / 2; i++) v[i] = add(d, v[i], v[i + count / 2]);
	Value x = v[0];
	for (int lanes = d->across ? 1 : emit_lanes(x); lanes > 1; lanes /= 2)
		x = add(d, half(d->e, x, 0, lanes / 2), half(d->e, x, lanes / 2, lanes / 2));
	return x;
}

/* The sums of one block: k elements, of which the last `tail` (a constant) are no whole sixteen. */
static void block_totals(Dot *d, Value k, int tail, Value has_tail, Value *total) {
	Emit *e = d->e;
	Value whole = tail ? LLVMBuildAnd(e->builder, k, emit_index(e, -CONTRACT_LANES), "") : k;
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), whole, CONTRACT_LANES);
	for (int i = 0; i < d->nsums; i++) d->sum[i] = emit_loop_carry(e, &loop, zero_sum(d, d->lanes));
	add_sixteen(d, loop.i, CONTRACT_LANES);
	for (int i = 0; i < d->nsums; i++) emit_loop_next(e, &loop, i, d->sum[i]);
	emit_loop_end(e, &loop);
	for (int i = 0; i < d->nsums; i++) d->sum[i] = loop.result[i];
	if (tail) {
		EmitIf branch = emit_if(e, has_tail);
		add_sixteen(d, whole, tail);
		LLVMBasicBlockRef inside = LLVMGetInsertBlock(e->builder);
		emit_end_if(e, &branch);
		for (int i = 0; i < d->nsums; i++) {
			Value phi = LLVMBuildPhi(e->builder, LLVMTypeOf(d->sum[i]), "");
			LLVMAddIncoming(phi, (Value[]){d->sum[i], loop.result[i]}, (LLVMBasicBlockRef[]){inside, branch.otherwise}, 2);
			d->sum[i] = phi;
		}
	}
	int parts = CONTRACT_LANES / d->lanes;
	if (d->across) total[0] = fold(d, d->sum, CONTRACT_LANES);
	else
		for (int r = 0; r < d->rows; r++) total[r] = fold(d, d->sum + r * parts, parts);
}

/* ---- runs ---- */

/* Which of the lanes from element `first` on are elements of a run. */
static Value run_mask(Dot *d, Value first) {
	Emit *e = d->e;
	Value at = LLVMTypeOf(first) == e->i32 ? first : LLVMBuildTrunc(e->builder, first, e->i32, "");
	Value k = emit_i32(e, (int)d->c->k);
	if (d->lanes > 1) {
		at = LLVMBuildAdd(e->builder, emit_splat(e, at, d->lanes), emit_ramp(e, e->i32, d->lanes), "");
		k = emit_splat(e, k, d->lanes);
	}
	return LLVMBuildICmp(e->builder, LLVMIntULT, at, k, "");
}

static Value load_run(Dot *d, Value run, Value first, Value mask) {
	Emit *e = d->e;
	if (mask && d->lanes == 1) first = LLVMBuildSelect(e->builder, mask, first, emit_index(e, 0), "");
	Value at = emit_at(e, run, e->f32, first);
	return mask && d->lanes > 1 ? emit_load_masked(e, e->f32, d->lanes, at, mask) : emit_load(e, e->f32, d->lanes, at);
}

/* Run number `number`: k elements at a (of the first row) and b. */
static void add_run(Dot *d, Value a, Value b, Value number) {
	Emit *e = d->e;
	bool masked = splits_lanes(d->c);
	Value k = emit_index(e, d->c->k), shift = emit_index(e, 0);   /* the lane it begins with */
	if (masked) shift = LLVMBuildAnd(e->builder, emit_mul(e, number, k), emit_index(e, CONTRACT_LANES - 1), "");
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), emit_add(e, k, shift), CONTRACT_LANES);
	for (int i = 0; i < d->nsums; i++) d->sum[i] = emit_loop_carry(e, &loop, d->sum[i]);
	int parts = CONTRACT_LANES / d->lanes;
	for (int p = 0; p < parts; p++) {
		Value first = emit_sub(e, emit_add(e, loop.i, emit_index(e, p * d->lanes)), shift);
		Value mask = masked ? run_mask(d, first) : NULL, y = load_run(d, b, first, mask);
		for (int r = 0; r < d->rows; r++) {
			Value x = load_run(d, emit_at_constant(e, a, e->f32, r * d->c->a.row), first, mask), *sum = &d->sum[r * parts + p];
			Value next = add_product(d, x, y, *sum);
			*sum = mask ? LLVMBuildSelect(e->builder, mask, next, *sum, "") : next;
		}
	}
	for (int i = 0; i < d->nsums; i++) emit_loop_next(e, &loop, i, d->sum[i]);
	emit_loop_end(e, &loop);
	for (int i = 0; i < d->nsums; i++) d->sum[i] = loop.result[i];
}

static void add_runs(Dot *d, int level, Value a, Value b, Value number) {
	Emit *e = d->e;
	if (level == d->c->naround) {
		add_run(d, a, b, number);
		return;
	}
	const ContractSum *around = &d->c->around[level];
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), emit_index(e, around->extent), 1);
	for (int i = 0; i < d->nsums; i++) d->sum[i] = emit_loop_carry(e, &loop, d->sum[i]);
	a = emit_at(e, a, e->f32, emit_mul(e, loop.i, emit_index(e, around->a)));
	b = emit_at(e, b, e->f32, emit_mul(e, loop.i, emit_index(e, around->b)));
	add_runs(d, level + 1, a, b, emit_add(e, emit_mul(e, number, emit_index(e, around->extent)), loop.i));
	for (int i = 0; i < d->nsums; i++) emit_loop_next(e, &loop, i, d->sum[i]);
	emit_loop_end(e, &loop);
	for (int i = 0; i < d->nsums; i++) d->sum[i] = loop.result[i];
}

static void group_of_runs(Dot *d, ContractArguments x, Value row, Value b, Value to, int64_t stride) {
	Emit *e = d->e;
	int parts = CONTRACT_LANES / d->lanes;
	for (int i = 0; i < d->nsums; i++) d->sum[i] = zero_sum(d, d->lanes);
	add_runs(d, 0, emit_at(e, x.a, e->f32, emit_mul(e, row, emit_index(e, d->c->a.row))), b, emit_index(e, 0));
	for (int r = 0; r < d->rows; r++)
		emit_store(e, fold(d, d->sum + r * parts, parts), emit_at_constant(e, to, e->f32, r * stride));
}

/* ---- */

/* Rows row .. row + d.rows, written to `to`, stride floats apart. */
static void group(Dot *d, const ContractPlan *plan, ContractArguments x, Value row, Value b, Value to, int64_t stride) {
	Emit *e = d->e;
	const Contract *c = d->c;
	int tail = (int)(c->k % CONTRACT_LANES), ntotals = d->across ? 1 : d->rows;
	if (c->naround) {
		group_of_runs(d, x, row, b, to, stride);
		return;
	}
	Value k = emit_index(e, c->k), size = emit_index(e, CONTRACT_BLOCK), total[ALONG_ROWS];
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), k, CONTRACT_BLOCK);
	Value before[ALONG_ROWS];
	for (int i = 0; i < ntotals; i++) before[i] = emit_loop_carry(e, &loop, zero_sum(d, d->across ? d->lanes : 1));
	Value left = emit_min(e, emit_sub(e, k, loop.i), size);
	if (plan->pack_a) {
		d->a = emit_at_constant(e, x.scratch, e->i8, (int64_t)plan->a_at);
		d->a_row = d->across ? 1 : plan->k_block + 16;
		d->a_step = d->across ? d->lanes : 1;
		ContractBlock block = {d->a, d->across ? d->a_step : d->a_row, row, emit_index(e, d->rows), loop.i, left};
		c->a.fill(e, c->a.context, &block);
	} else {
		d->of_a = c->a;
		d->a_row = c->a.row;
		d->a_step = c->a.column;
		d->a = emit_at(e, x.a, contract_element(e, &c->a), emit_mul(e, row, emit_index(e, c->a.row)));
		d->a = emit_at(e, d->a, contract_element(e, &c->a), emit_mul(e, loop.i, emit_index(e, c->a.column)));
	}
	if (!plan->pack_b) d->of_b = c->b;
	d->b_step = plan->pack_b ? 1 : c->b.row;
	d->b = emit_at(e, b, contract_element(e, &d->of_b), emit_mul(e, loop.i, emit_index(e, d->b_step)));
	Value has_tail = LLVMBuildICmp(e->builder, LLVMIntNE, LLVMBuildAnd(e->builder, left, emit_index(e, CONTRACT_LANES - 1), ""),
	                               emit_index(e, 0), "");
	block_totals(d, left, tail, has_tail, total);
	Value first = LLVMBuildICmp(e->builder, LLVMIntEQ, loop.i, emit_index(e, 0), "");
	for (int i = 0; i < ntotals; i++) {
		Value sum = add(d, before[i], total[i]);
		emit_loop_next(e, &loop, i, LLVMBuildSelect(e->builder, first, total[i], sum, ""));
	}
	emit_loop_end(e, &loop);
	if (d->across && stride == 1) emit_store(e, loop.result[0], to);
	else
		for (int r = 0; r < d->rows; r++) {
			Value v = d->across && d->lanes > 1 ? half(e, loop.result[0], r, 1) : loop.result[r];
			emit_store(e, v, emit_at_constant(e, to, e->f32, r * stride));
		}
}

static Value pack_whole_b(Emit *e, const Contract *c, const ContractPlan *plan, ContractArguments x) {
	Value to = emit_at_constant(e, x.scratch, e->i8, (int64_t)plan->b_at), zero = emit_index(e, 0);
	if (c->b.fill) {
		ContractBlock block = {to, c->b.down ? c->k : 1, zero, emit_index(e, c->k), zero, emit_index(e, 1)};
		c->b.fill(e, c->b.context, &block);
		return to;
	}
	EmitLoop loop = emit_loop_begin(e, zero, emit_index(e, c->k), 1);
	Value at = emit_at(e, x.b, contract_element(e, &c->b), emit_mul(e, loop.i, emit_index(e, c->b.row)));
	Value v = contract_load(e, &c->b, 1, at, 1);
	emit_store(e, v, emit_at(e, to, e->f32, loop.i));
	emit_loop_end(e, &loop);
	return to;
}

void contract_dot(Emit *e, const Contract *c, const ContractPlan *plan, ContractArguments x) {
	Value b = plan->pack_b ? pack_whole_b(e, c, plan, x) : x.b;
	Value end = emit_add(e, x.row, x.rows), height = emit_index(e, plan->height);
	Value whole = emit_mul(e, LLVMBuildSDiv(e->builder, x.rows, height, ""), height);
	Value middle = emit_add(e, x.row, whole);
	Value to_scratch = c->c_dropped ? emit_at_constant(e, x.scratch, e->i8, (int64_t)plan->c_at) : NULL;
	/* Groups, then single rows; the epilogue is emitted once, in a loop over both. */
	LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder), head = LLVMAppendBasicBlockInContext(e->context, e->function, "");
	LLVMBasicBlockRef body = LLVMAppendBasicBlockInContext(e->context, e->function, "");
	LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->context, e->function, "");
	LLVMBuildBr(e->builder, head);
	LLVMPositionBuilderAtEnd(e->builder, head);
	Value row = LLVMBuildPhi(e->builder, e->index, "");
	LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, row, end, ""), body, after);
	LLVMPositionBuilderAtEnd(e->builder, body);
	Value to = to_scratch ? to_scratch : emit_at(e, x.c, e->f32, emit_mul(e, row, emit_index(e, c->c_row)));
	Dot d = {.e = e, .c = c, .across = is_across(c)};
	Value is_group = LLVMBuildICmp(e->builder, LLVMIntSLT, row, middle, "");
	EmitIf branch = emit_if(e, is_group);
	d.rows = plan->height, d.lanes = plan->lanes, d.nsums = d.across ? CONTRACT_LANES : d.rows * CONTRACT_LANES / d.lanes;
	group(&d, plan, x, row, b, to, plan->c_stride);
	if (plan->height > 1) {
		emit_else(e, &branch);
		d.rows = 1, d.lanes = d.across ? 1 : plan->lanes, d.nsums = CONTRACT_LANES / (d.across ? 1 : d.lanes);
		group(&d, plan, x, row, b, to, plan->c_stride);
	}
	emit_end_if(e, &branch);
	Value rows = LLVMBuildSelect(e->builder, is_group, height, emit_index(e, 1), "");
	if (c->epilogue) {
		ContractTile tile = {to, plan->c_stride, row, rows, emit_index(e, 0), emit_index(e, 1), NULL};
		c->epilogue(e, c->context, &tile);
	}
	Value next = emit_add(e, row, rows);
	LLVMAddIncoming(row, (Value[]){x.row, next}, (LLVMBasicBlockRef[]){before, LLVMGetInsertBlock(e->builder)}, 2);
	LLVMBuildBr(e->builder, head);
	LLVMPositionBuilderAtEnd(e->builder, after);
}
