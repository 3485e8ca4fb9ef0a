/* contract_pack.c: packers.  In: an operand as it lies in memory.  Out: B as panels whose rows (one per k) are adjacent, A as tiles
 * small enough for the nearest cache.  Columns past the last of B are undefined in a panel; nothing past them is read. */
#include "contract_parts.h"

/* ---- B ---- */

int64_t contract_b_column(const Contract *c, const ContractPlan *plan) {
	return c->b.fill ? (plan->k_block + 15) / 16 * 16 + 16 : c->b.column;
}

/* A square of lanes x lanes elements, transposed by log2(lanes) rounds of interleaving. */
static void transpose_square(Emit *e, Value *v, int lanes) {
	Value low[64], high[64], next[64];
	for (int i = 0; i < lanes; i++) {
		low[i] = emit_i32(e, (i & 1) * lanes + i / 2);
		high[i] = emit_i32(e, (i & 1) * lanes + i / 2 + lanes / 2);
	}
	Value pick_low = LLVMConstVector(low, (unsigned)lanes), pick_high = LLVMConstVector(high, (unsigned)lanes);
	for (int round = 1; round < lanes; round *= 2) {
		for (int i = 0; i < lanes / 2; i++) {
			next[2 * i] = LLVMBuildShuffleVector(e->builder, v[i], v[i + lanes / 2], pick_low, "");
			next[2 * i + 1] = LLVMBuildShuffleVector(e->builder, v[i], v[i + lanes / 2], pick_high, "");
		}
		for (int i = 0; i < lanes; i++) v[i] = next[i];
	}
}

/* b.row == 1: k runs along memory.  Squares; the last square of k overlaps the one before it; rows of B^T past the last are the
 * last one again. */
static void pack_transposed(Emit *e, const Contract *c, const ContractPlan *plan) {
	Value to = LLVMGetParam(e->function, 0), from = LLVMGetParam(e->function, 1);
	Value k = LLVMGetParam(e->function, 2), columns = LLVMGetParam(e->function, 3);
	int lanes = plan->lanes;
	Value v[64], one = emit_index(e, 1), size = emit_index(e, lanes);
	EmitLoop group = emit_loop_begin(e, emit_index(e, 0), columns, lanes);
	Value row[64], last = emit_sub(e, columns, one);
	for (int r = 0; r < lanes; r++) {
		Value column = emit_min(e, emit_add(e, group.i, emit_index(e, r)), last);
		row[r] = emit_at(e, from, e->f32, emit_mul(e, column, emit_index(e, contract_b_column(c, plan))));
	}
	Value out = emit_at(e, to, e->f32, group.i);
	EmitIf few = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntSLT, k, size, ""));
	EmitLoop single = emit_loop_begin(e, emit_index(e, 0), k, 1);
	for (int r = 0; r < lanes; r++) {
		Value x = emit_load(e, e->f32, 1, emit_at(e, row[r], e->f32, single.i));
		Value at = emit_at(e, out, e->f32, emit_mul(e, single.i, emit_index(e, plan->panel_columns)));
		emit_store(e, x, emit_at_constant(e, at, e->f32, r));
	}
	emit_loop_end(e, &single);
	emit_else(e, &few);
	EmitLoop square = emit_loop_begin(e, emit_index(e, 0), k, lanes);
	Value at_k = emit_min(e, square.i, emit_sub(e, k, size));
	for (int r = 0; r < lanes; r++) v[r] = emit_load(e, e->f32, lanes, emit_at(e, row[r], e->f32, at_k));
	if (lanes > 1) transpose_square(e, v, lanes);
	Value block = emit_at(e, out, e->f32, emit_mul(e, at_k, emit_index(e, plan->panel_columns)));
	for (int r = 0; r < lanes; r++) emit_store(e, v[r], emit_at_constant(e, block, e->f32, r * plan->panel_columns));
	emit_loop_end(e, &square);
	emit_end_if(e, &few);
	emit_loop_end(e, &group);
}

/* b.column == 1: rows of the panel are copied. */
static void pack_rows(Emit *e, const Contract *c, const ContractPlan *plan, PanelKind kind) {
	PanelShape shape = contract_panel_shape(c, plan, kind);
	int lanes = plan->lanes, tail = kind == PANEL_LAST ? (int)(c->n % lanes) : 0;
	if (tail && c->b.pad >= lanes - tail) tail = 0;
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(e->function, 2), 1);
	Value to = emit_at(e, LLVMGetParam(e->function, 0), e->f32, emit_mul(e, loop.i, emit_index(e, plan->panel_columns)));
	Value from = emit_at(e, LLVMGetParam(e->function, 1), e->f32, emit_mul(e, loop.i, emit_index(e, c->b.row)));
	for (int v = 0; v < shape.vectors; v++) {
		int n = v == shape.vectors - 1 && tail ? tail : lanes;
		Value x = emit_load_partial(e, e->f32, lanes, emit_at_constant(e, from, e->f32, (int64_t)v * lanes), n);
		emit_store(e, x, emit_at_constant(e, to, e->f32, (int64_t)v * lanes));
	}
	emit_loop_end(e, &loop);
}

/* Any strides: element by element. */
static void pack_elements(Emit *e, const Contract *c, const ContractPlan *plan) {
	EmitLoop outer = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(e->function, 2), 1);
	Value to = emit_at(e, LLVMGetParam(e->function, 0), e->f32, emit_mul(e, outer.i, emit_index(e, plan->panel_columns)));
	Value from = emit_at(e, LLVMGetParam(e->function, 1), e->f32, emit_mul(e, outer.i, emit_index(e, c->b.row)));
	EmitLoop inner = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(e->function, 3), 1);
	Value x = emit_load(e, e->f32, 1, emit_at(e, from, e->f32, emit_mul(e, inner.i, emit_index(e, c->b.column))));
	emit_store(e, x, emit_at(e, to, e->f32, inner.i));
	emit_loop_end(e, &inner);
	emit_loop_end(e, &outer);
}

Value contract_pack_b(Emit *e, const Contract *c, const ContractPlan *plan, PanelKind kind) {
	bool rows = !c->b.fill && c->b.column == 1, transposed = c->b.fill || (!rows && c->b.row == 1);
	int tail = rows && kind == PANEL_LAST && c->b.pad < plan->lanes ? (int)(c->n % plan->lanes) : 0;
	int vectors = rows ? contract_panel_shape(c, plan, kind).vectors : 0;
	const char *name = arena_printf(e->arena, "pack_b_%lldx%lld_%d_%d_%d_%lld", (long long)(c->b.fill ? 1 : c->b.row), (long long)contract_b_column(c, plan),
		plan->lanes, vectors, tail, (long long)plan->panel_columns);
	Value function = LLVMGetNamedFunction(e->module, name);
	if (function) return function;
	EmitPlace place = emit_pause(e);
	function = emit_function(e, name, e->void_type, 4, (LLVMTypeRef[]){e->ptr, e->ptr, e->index, e->index}, true);
	if (rows) pack_rows(e, c, plan, kind);
	else if (transposed) pack_transposed(e, c, plan);
	else pack_elements(e, c, plan);
	LLVMBuildRetVoid(e->builder);
	emit_resume(e, place);
	return function;
}

/* ---- A ---- */

bool contract_a_down(const Contract *c) { return c->a.fill ? c->a.down : c->a.column != 1; }

/* Rows of a packed tile: k_block and a little more, so that rows do not fall on the same lines of the cache. */
int64_t contract_a_row(const Contract *c, const ContractPlan *plan) {
	if (!plan->pack_a) return c->a.row;
	return contract_a_down(c) ? 1 : (plan->k_block + 15) / 16 * 16 + 16;
}

int64_t contract_a_step(const Contract *c, const ContractPlan *plan) {
	if (!plan->pack_a) return c->a.column;
	return contract_a_down(c) ? (plan->height + plan->lanes - 1) / plan->lanes * plan->lanes : 1;
}

/* m is the inner index: each k has `rows` elements, a.row apart in memory, adjacent in the tile. */
static void pack_a_down(Emit *e, const Contract *c, const ContractPlan *plan, int rows) {
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(e->function, 2), 1);
	Value to = emit_at(e, LLVMGetParam(e->function, 0), e->f32, emit_mul(e, loop.i, emit_index(e, contract_a_step(c, plan))));
	Value from = emit_at(e, LLVMGetParam(e->function, 1), e->f32, emit_mul(e, loop.i, emit_index(e, c->a.column)));
	int lanes = c->a.row == 1 ? plan->lanes : 1;
	for (int r = 0; r < rows; r += lanes) {
		Value x = emit_load_partial(e, e->f32, lanes, emit_at_constant(e, from, e->f32, r * c->a.row), MIN(lanes, rows - r));
		emit_store(e, x, emit_at_constant(e, to, e->f32, r));
	}
	emit_loop_end(e, &loop);
}

/* k is adjacent: each row is copied. */
static void pack_a_rows(Emit *e, const Contract *c, const ContractPlan *plan, int rows) {
	Value k = LLVMGetParam(e->function, 2);
	int lanes = plan->lanes;
	Value whole = emit_mul(e, LLVMBuildSDiv(e->builder, k, emit_index(e, lanes), ""), emit_index(e, lanes));
	for (int part = 0; part < (lanes > 1 ? 2 : 1); part++) {
		int width = part ? 1 : lanes;
		EmitLoop loop = emit_loop_begin(e, part ? whole : emit_index(e, 0), part ? k : whole, width);
		Value to = emit_at(e, LLVMGetParam(e->function, 0), e->f32, loop.i), from = emit_at(e, LLVMGetParam(e->function, 1), e->f32, loop.i);
		for (int r = 0; r < rows; r++) {
			Value x = emit_load(e, e->f32, width, emit_at_constant(e, from, e->f32, r * c->a.row));
			emit_store(e, x, emit_at_constant(e, to, e->f32, r * contract_a_row(c, plan)));
		}
		emit_loop_end(e, &loop);
	}
}

Value contract_pack_a(Emit *e, const Contract *c, const ContractPlan *plan, int rows) {
	const char *name = arena_printf(e->arena, "pack_a_%d_%lldx%lld_%d_%lldx%lld", rows, (long long)c->a.row, (long long)c->a.column,
		plan->lanes, (long long)contract_a_row(c, plan), (long long)contract_a_step(c, plan));
	Value function = LLVMGetNamedFunction(e->module, name);
	if (function) return function;
	EmitPlace place = emit_pause(e);
	function = emit_function(e, name, e->void_type, 3, (LLVMTypeRef[]){e->ptr, e->ptr, e->index}, true);
	if (contract_a_down(c)) pack_a_down(e, c, plan, rows);
	else pack_a_rows(e, c, plan, rows);
	LLVMBuildRetVoid(e->builder);
	emit_resume(e, place);
	return function;
}

/* ---- fills from an element function ---- */

void contract_fill_elements(Emit *e, void *context, const ContractBlock *block) {
	const ContractElements *x = context;
	Value outer_count = x->down ? block->columns : block->rows, inner_count = x->down ? block->rows : block->columns;
	int lanes = MAX(1, e->target->lanes);
	EmitLoop outer = emit_loop_begin(e, emit_index(e, 0), outer_count, 1);
	Value to = emit_at(e, block->to, e->f32, emit_mul(e, outer.i, emit_index(e, block->stride)));
	Value whole = emit_mul(e, LLVMBuildSDiv(e->builder, inner_count, emit_index(e, lanes), ""), emit_index(e, lanes));
	for (int part = 0; part < (lanes > 1 ? 2 : 1); part++) {
		EmitLoop inner = emit_loop_begin(e, part ? whole : emit_index(e, 0), part ? inner_count : whole, part ? 1 : lanes);
		Value row = emit_add(e, block->row, x->down ? inner.i : outer.i);
		Value column = emit_add(e, block->column, x->down ? outer.i : inner.i);
		emit_store(e, x->element(e, x->context, row, column, part ? 1 : lanes), emit_at(e, to, e->f32, inner.i));
		emit_loop_end(e, &inner);
	}
	emit_loop_end(e, &outer);
}
