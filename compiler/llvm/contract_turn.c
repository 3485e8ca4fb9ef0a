/* contract_turn.c: a product computed the other way round, the transpose of C as that of B times that of A.
 *
 * Where rows are adjacent in A (the gradient of a weight: A is the batch, read down, or images under windows) and columns fill
 * their vectors badly, lanes run along the rows, and elements of B are what is broadcast.  The transpose of C comes about in
 * scratch; pieces of it are turned to where C belongs, and handed to the epilogue.
 * In: a Contract and its plan.  Out: code for all rows and columns.  Guarantees: each output is the chain that it always is. */
#include "contract_parts.h"

enum { PIECE = 32, SQUARE = 4 };   /* rows handed to the epilogue at once; elements are turned in squares of 4 x 4 */

bool contract_may_turn(const Contract *c) {
	const ContractOperand *a = &c->a, *b = &c->b;
	bool plain = !a->fill && !b->fill && !contract_is_short(a) && !contract_is_short(b);
	bool lies = a->row == 1 && !a->group && b->column == 1 && c->m >= PIECE && c->n <= PIECE;
	return plain && lies && !c->dot && !c->never_turned && !c->nrow_counts;
}

/* The operand with what were its rows as columns. */
static ContractOperand across(ContractOperand x) {
	int64_t row = x.row;
	x.row = x.column, x.column = row;
	return x;
}

Contract contract_turned(const Contract *c) {
	int64_t row = round_up(c->m, CONTRACT_LANES);
	if (row % 512 == 0) row += CONTRACT_LANES;   /* rows on the same lines of the cache */
	Contract turned = {.m = c->n,
	                   .n = c->m,
	                   .k = c->k,
	                   .naround = c->naround,
	                   .cut = c->cut,
	                   .per_block = c->per_block,
	                   .bounded = c->bounded,
	                   .bound = c->bound,
	                   .a = across(c->b),
	                   .b = across(c->a),
	                   .turns = {c->turns.extent, c->turns.b, c->turns.a, row * c->n},
	                   .c_row = row,
	                   .c_pad = row - c->m,
	                   .never_turned = true};
	turned.a.pad = 0, turned.b.pad = c->a.copier ? CONTRACT_LANES : 0;   /* there is room behind a copy */
	for (int i = 0; i < c->naround; i++) turned.around[i] = (ContractSum){c->around[i].extent, c->around[i].b, c->around[i].a};
	return turned;
}

double contract_turning_cycles(const Contract *c) { return 0.3 * (double)round_up(c->n, SQUARE) * (double)c->m; }

ContractPlan contract_turned_plan(const Target *target, const Contract *c) {
	Contract turned = contract_turned(c);
	ContractPlan inner = contract_plan(target, &turned), plan = {.turned = true, .unit = 1, .panels = 1, .wide_panels = 1};
	plan.lanes = inner.lanes;
	plan.height = plan.heights[plan.nheights++] = PIECE;
	if (c->m % PIECE) plan.heights[plan.nheights++] = (int)(c->m % PIECE);
	plan.vectors = (int)divide_up(c->n, plan.lanes);
	plan.panel_columns = (int64_t)plan.vectors * plan.lanes;
	plan.k_block = c->k, plan.cut = c->cut, plan.per_block = c->per_block;
	plan.panel_block = 1, plan.row_block = c->m, plan.epilogue_columns = plan.panel_columns;
	plan.run = c->c_dropped && c->c_run;
	plan.c_stride = plan.run ? c->n : c->c_dropped ? round_up(c->n, CONTRACT_LANES) : c->c_row;
	plan.chained = inner.chained, plan.inside = inner.inside;
	plan.chain_at = inner.scratch_bytes;
	plan.c_at = plan.chain_at + whole_lines((size_t)(turned.c_row * turned.m * MAX(1, c->turns.extent) * 4));
	plan.scratch_bytes = plan.c_at + (c->c_dropped ? whole_lines((size_t)(plan.c_stride * PIECE * 4)) + 64 : 0);
	return plan;
}

/* A square: four rows of four become the four columns. */
static void turn_square(Emit *e, Value q[SQUARE]) {
	static const int pick[4][SQUARE] = {{0, 4, 1, 5}, {2, 6, 3, 7}, {0, 1, 4, 5}, {2, 3, 6, 7}};
	Value mask[4], half[SQUARE];
	for (int p = 0; p < 4; p++) {
		Value lane[SQUARE];
		for (int i = 0; i < SQUARE; i++) lane[i] = emit_i32(e, pick[p][i]);
		mask[p] = LLVMConstVector(lane, SQUARE);
	}
	for (int p = 0; p < 2; p++) {
		half[p] = LLVMBuildShuffleVector(e->builder, q[0], q[1], mask[p], "");
		half[p + 2] = LLVMBuildShuffleVector(e->builder, q[2], q[3], mask[p], "");
	}
	for (int p = 0; p < 2; p++) {
		q[2 * p] = LLVMBuildShuffleVector(e->builder, half[p], half[p + 2], mask[2], "");
		q[2 * p + 1] = LLVMBuildShuffleVector(e->builder, half[p], half[p + 2], mask[3], "");
	}
}

/* void (to, from, index rows): rows of n elements, of which the transpose has rows from_row floats apart. */
static Value turner(Emit *e, int64_t n, int64_t from_row, int64_t to_row) {
	const char *name = arena_printf(e->arena, "turn_%lld_%lld_%lld", (long long)n, (long long)from_row, (long long)to_row);
	Value function = LLVMGetNamedFunction(e->module, name);
	if (function) return function;
	EmitPlace place = emit_pause(e);
	function = emit_function(e, name, e->void_type, 3, (LLVMTypeRef[]){e->ptr, e->ptr, e->index}, true);
	Value rows = LLVMGetParam(function, 2), whole = LLVMBuildAnd(e->builder, rows, emit_index(e, -SQUARE), "");
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), whole, SQUARE);
	Value to = emit_at(e, LLVMGetParam(function, 0), e->f32, emit_mul(e, loop.i, emit_index(e, to_row)));
	Value from = emit_at(e, LLVMGetParam(function, 1), e->f32, loop.i);
	for (int64_t j = 0; j < n; j += SQUARE) {
		Value q[SQUARE];
		for (int64_t i = 0; i < SQUARE; i++)   /* of a last square that is not whole, the last row again */
			q[i] = emit_load(e, e->f32, SQUARE, emit_at_constant(e, from, e->f32, MIN(j + i, n - 1) * from_row));
		turn_square(e, q);
		for (int i = 0; i < SQUARE; i++)
			emit_store_partial(e, q[i], emit_at_constant(e, to, e->f32, i * to_row + j), (int)MIN(SQUARE, n - j));
	}
	emit_loop_end(e, &loop);
	loop = emit_loop_begin(e, whole, rows, 1);
	to = emit_at(e, LLVMGetParam(function, 0), e->f32, emit_mul(e, loop.i, emit_index(e, to_row)));
	from = emit_at(e, LLVMGetParam(function, 1), e->f32, loop.i);
	for (int64_t j = 0; j < n; j++) {
		Value x = emit_load(e, e->f32, 1, emit_at_constant(e, from, e->f32, j * from_row));
		emit_store(e, x, emit_at_constant(e, to, e->f32, j));
	}
	emit_loop_end(e, &loop);
	LLVMBuildRetVoid(e->builder);
	emit_resume(e, place);
	return function;
}

/* Pieces of the transpose that stands at `from`, turned to where C (of this turn, or NULL) belongs. */
static void turn_pieces(Emit *e, const Contract *c, const ContractPlan *plan, ContractArguments x, Value from, Value turn) {
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), emit_index(e, c->m), PIECE);
	Value rows = emit_min(e, emit_sub(e, emit_index(e, c->m), loop.i), emit_index(e, PIECE)), to;
	if (c->c_dropped) {
		to = emit_at_constant(e, x.scratch, e->i8, (int64_t)plan->c_at);
	} else {
		to = emit_at(e, x.c, e->f32, emit_mul(e, loop.i, emit_index(e, c->c_row)));
		if (turn) to = emit_at(e, to, e->f32, emit_mul(e, turn, emit_index(e, c->turns.c)));
	}
	int64_t row = contract_turned(c).c_row;
	emit_call(e, turner(e, c->n, row, plan->c_stride), 3, (Value[]){to, emit_at(e, from, e->f32, loop.i), rows});
	if (c->epilogue) {
		ContractTile tile = {to, plan->c_stride, loop.i, rows, emit_index(e, 0), emit_index(e, c->n), turn};
		c->epilogue(e, c->context, &tile);
	}
	emit_loop_end(e, &loop);
}

void contract_emit_turned(Emit *e, const Contract *c, const ContractPlan *plan, ContractArguments x) {
	Contract turned = contract_turned(c);
	ContractPlan inner = contract_plan(e->target, &turned);
	Value sums = emit_at_constant(e, x.scratch, e->i8, (int64_t)plan->chain_at), zero = emit_index(e, 0);
	EmitIf branch;
	if (x.panels) branch = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntSLT, zero, x.panels, ""));   /* it has one panel */
	ContractArguments y = {.a = x.b, .b = x.a, .c = sums, .scratch = x.scratch, .outside = x.outside, .wide_a = x.wide_b,
	                       .wide_b = x.wide_a, .copied_a = x.copied_b, .copied_b = x.copied_a};
	contract_emit(e, &turned, &inner, y);
	if (c->turns.extent > 1) {
		EmitLoop turns = emit_loop_begin(e, zero, emit_index(e, c->turns.extent), 1);
		turn_pieces(e, c, plan, x, emit_at(e, sums, e->f32, emit_mul(e, turns.i, emit_index(e, turned.turns.c))), turns.i);
		emit_loop_end(e, &turns);
	} else {
		turn_pieces(e, c, plan, x, sums, NULL);
	}
	if (x.panels) emit_end_if(e, &branch);
}
