/* contract_turn.c: a product computed the other way round, the transpose of C as that of B times that of A.
 *
 * Where rows are adjacent in A (the gradient of a weight: A is the batch, read down) and columns fill their vectors badly, lanes
 * run along the rows, and elements of B are what is broadcast.  The transpose of C comes about in scratch; pieces of it are
 * turned to where C belongs, and handed to the epilogue.
 * In: a Contract and its plan.  Out: code for all rows and columns.  Guarantees: each output is the chain that it always is. */
#include "contract_parts.h"

enum { PIECE = 32, SQUARE = 4 };   /* rows handed to the epilogue at once; elements are turned in squares of 4 x 4 */

bool contract_may_turn(const Contract *c) {
	const ContractOperand *a = &c->a, *b = &c->b;
	bool plain = !a->fill && !b->fill && !contract_is_short(a) && !contract_is_short(b) && !a->wide_within && !b->wide_within;
	bool lies = a->row == 1 && !a->group && b->column == 1 && c->m >= PIECE && c->n <= PIECE;
	return plain && lies && !c->dot && !c->never_turned && !c->naround && !c->turns.extent && !c->nrow_counts;
}

Contract contract_turned(const Contract *c) {
	int64_t row = round_up(c->m, CONTRACT_LANES);
	if (row % 512 == 0) row += CONTRACT_LANES;   /* rows on the same lines of the cache */
	return (Contract){.m = c->n,
	                  .n = c->m,
	                  .k = c->k,
	                  .cut = c->cut,
	                  .per_block = c->per_block,
	                  .a = {.row = 1, .column = c->b.row},
	                  .b = {.row = c->a.column, .column = 1},
	                  .c_row = row,
	                  .c_pad = row - c->m,
	                  .never_turned = true};
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
	plan.chain_at = inner.scratch_bytes;
	plan.c_at = plan.chain_at + whole_lines((size_t)(turned.c_row * turned.m * 4));
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

void contract_emit_turned(Emit *e, const Contract *c, const ContractPlan *plan, ContractArguments x) {
	Contract turned = contract_turned(c);
	ContractPlan inner = contract_plan(e->target, &turned);
	Value across = emit_at_constant(e, x.scratch, e->i8, (int64_t)plan->chain_at), zero = emit_index(e, 0);
	EmitIf branch;
	if (x.panels) branch = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntSLT, zero, x.panels, ""));   /* it has one panel */
	contract_emit(e, &turned, &inner, (ContractArguments){.a = x.b, .b = x.a, .c = across, .scratch = x.scratch});
	EmitLoop loop = emit_loop_begin(e, zero, emit_index(e, c->m), PIECE);
	Value rows = emit_min(e, emit_sub(e, emit_index(e, c->m), loop.i), emit_index(e, PIECE));
	Value to = c->c_dropped ? emit_at_constant(e, x.scratch, e->i8, (int64_t)plan->c_at)
	                        : emit_at(e, x.c, e->f32, emit_mul(e, loop.i, emit_index(e, c->c_row)));
	Value from = emit_at(e, across, e->f32, loop.i);
	emit_call(e, turner(e, c->n, turned.c_row, plan->c_stride), 3, (Value[]){to, from, rows});
	if (c->epilogue) {
		ContractTile tile = {to, plan->c_stride, loop.i, rows, zero, emit_index(e, c->n), NULL};
		c->epilogue(e, c->context, &tile);
	}
	emit_loop_end(e, &loop);
	if (x.panels) emit_end_if(e, &branch);
}
