/* contract_nest.c: the loops around the microkernels.
 *
 *     column blocks j { row blocks i { passes over k { [pack B] turns { tiles of rows { [pack A] panels { microkernel }
 * [epilogue] } } } } }
 *
 * B is packed outside the row blocks when there is one pass.  Sums of a pass wait in C for the next one; when there are several
 * blocks of the sum, or C is dropped, they wait in scratch.  Passes are the loops around k that the microkernel does not run
 * itself, and pieces of k. */
#include "contract_parts.h"
#include "lower.h"

typedef struct Nest {
	Emit *e;
	const Contract *c;
	const ContractPlan *plan;
	ContractArguments x;
	/* What the number of rows decides: tiles of `base` rows, the first `taller` of a range one unit more. */
	Value tiles, base, taller;
	Value kernel[2][PANEL_KINDS]; /* [taller]; NULL: no such tile */
	Value pack_a[2];
	/* The current column block, row block and pass. */
	Value panel0, panels, column0, tile0, tile_count, row0, turn;
	Value a, b, k0, k; /* where the pass's first elements of A and B stand; its extent */
	Value low, high; /* the turns of a bounded loop that are run */
	Value segments[MOST_INSIDE]; /* the extents of loops inside the microkernel, innermost first */
	/* Of a pass, i1 or NULL for always: a chain begins, ends; nothing stands in C yet; C is complete after it. */
	Value begins, ends, initial, last_pass;
} Nest;

static Value select_value(Emit *e, Value condition, Value yes, Value no) {
	if (yes == no) return yes;
	if (LLVMIsAConstantInt(condition)) return LLVMConstIntGetZExtValue(condition) ? yes : no;
	return LLVMBuildSelect(e->builder, condition, yes, no, "");
}

static Value less(Emit *e, Value a, Value b) { return LLVMBuildICmp(e->builder, LLVMIntSLT, a, b, ""); }
static Value equal(Emit *e, Value a, Value b) { return LLVMBuildICmp(e->builder, LLVMIntEQ, a, b, ""); }

/* The first column of a panel, at run time. */
static Value panel_column(Nest *n, Value panel) {
	Emit *e = n->e;
	const ContractPlan *plan = n->plan;
	Value column = emit_mul(e, panel, emit_index(e, plan->panel_columns));
	if (plan->wide_panels == plan->panels) return column;
	Value past = emit_sub(e, panel, emit_index(e, plan->wide_panels)), zero = emit_index(e, 0);
	Value narrow = select_value(e, less(e, zero, past), past, zero);
	return emit_sub(e, column, emit_mul(e, narrow, emit_index(e, plan->lanes)));
}

static bool has_last(const Nest *n) {
	PanelShape last = contract_panel_shape(n->c, n->plan, PANEL_LAST);
	return last.b_tail || last.c_tail;
}

static bool b_needs_last(const Nest *n) {
	int tail = (int)(n->c->n % n->plan->lanes);
	return n->c->b.column == 1 && tail && n->c->b.pad < n->plan->lanes - tail;
}

/* One of three values, by panel number. */
static Value by_panel(Nest *n, Value panel, bool with_last, Value wide, Value narrow, Value last) {
	Emit *e = n->e;
	const ContractPlan *plan = n->plan;
	Value v = wide;
	if (plan->wide_panels < plan->panels) v = select_value(e, less(e, panel, emit_index(e, plan->wide_panels)), wide, narrow);
	if (with_last) v = select_value(e, equal(e, panel, emit_index(e, plan->panels - 1)), last, v);
	return v;
}

/* Floats of what will be copied next that a turn of a microkernel's innermost loop asks for. */
static int64_t next_step(const Nest *n) {
	int64_t turns = contract_call_terms(n->c, n->plan) / (n->plan->taps ? n->c->k : 1);
	return n->x.ahead ? round_up(divide_up(n->x.ahead_floats, turns), 4) : 0;
}

/* Tile counts and microkernels for the number of rows, chosen among the lengths the Contract names. */
static void choose_by_rows(Nest *n, const int64_t *counts, int ncounts) {
	Emit *e = n->e;
	const ContractPlan *plan = n->plan;
	for (int i = 0; i < ncounts; i++) {
		Tiles tiles = contract_tiles(counts[i], plan->height, plan->unit);
		Value is = i ? equal(e, n->x.rows, emit_index(e, counts[i])) : NULL;
		Value tiles_v = emit_index(e, tiles.count), base_v = emit_index(e, tiles.base), taller_v = emit_index(e, tiles.taller);
		n->tiles = i ? select_value(e, is, tiles_v, n->tiles) : tiles_v;
		n->base = i ? select_value(e, is, base_v, n->base) : base_v;
		n->taller = i ? select_value(e, is, taller_v, n->taller) : taller_v;
		for (int tall = 0; tall < 2; tall++) {
			int height = (int)tiles.base + (tall && tiles.taller ? plan->unit : 0);
			for (int kind = 0; kind < PANEL_KINDS; kind++) {
				if (kind == PANEL_NARROW && plan->wide_panels == plan->panels) continue;
				if (kind == PANEL_LAST && !has_last(n)) continue;
				bool by_segment = plan->inside && !plan->taps && n->c->k <= SHORT_K;
				bool a_ahead = !plan->pack_a && n->c->a.row == 1 && !plan->taps &&
				               (by_segment || n->c->m * contract_call_terms(n->c, plan) * 4 > e->target->l1 / 2);
				bool b_ahead = !plan->taps && (plan->b_ahead || by_segment);
				PanelShape panel = contract_panel_shape(n->c, plan, kind);
				TileShape shape = {.rows = height, .lanes = plan->lanes, .panel = panel, .a_row = contract_a_row(n->c, plan),
				                   .group_row = n->c->a.group_row, .group = (int)n->c->a.group,
				                   .inside = plan->inside, .taps = plan->taps ? (int)n->c->k : 0, .apart = plan->apart,
				                   .a_step = n->c->a.column, .b_step = n->c->b.row, .next_step = next_step(n),
				                   .words = n->c->words, .words_b = n->c->words_b,
				                   .chained = plan->chained, .a_ahead = a_ahead, .b_ahead = b_ahead, .by_segment = by_segment};
				Value kernel = contract_tile(e, shape);
				n->kernel[tall][kind] = i ? select_value(e, is, kernel, n->kernel[tall][kind]) : kernel;
			}
			if (plan->pack_a && !n->c->a.fill) {
				Value pack = contract_pack_a(e, n->c, plan, height);
				n->pack_a[tall] = i ? select_value(e, is, pack, n->pack_a[tall]) : pack;
			}
		}
	}
}

/* ---- packing ---- */

/* Columns `column` and on of B, from its row `first` of the pass for k rows, go to a panel at `to`. */
static void pack_b_from_memory(Nest *n, Value panel, Value column, Value first, Value k, Value to, Value columns) {
	Emit *e = n->e;
	const Contract *c = n->c;
	const ContractPlan *plan = n->plan;
	LLVMTypeRef element = contract_element(e, &c->b);
	Value from = emit_at(e, n->b, element, emit_mul(e, column, emit_index(e, c->b.column)));
	from = emit_at(e, from, element, emit_mul(e, first, emit_index(e, c->b.row)));
	to = emit_at(e, to, e->f32, emit_mul(e, first, emit_index(e, plan->panel_columns)));
	Value kinds[PANEL_KINDS] = {contract_pack_b(e, c, plan, PANEL_WIDE)};
	bool narrower = plan->wide_panels < plan->panels && plan->vectors > 1;
	kinds[PANEL_NARROW] = narrower ? contract_pack_b(e, c, plan, PANEL_NARROW) : kinds[PANEL_WIDE];
	if (b_needs_last(n)) kinds[PANEL_LAST] = contract_pack_b(e, c, plan, PANEL_LAST);
	Value pack = by_panel(n, panel, b_needs_last(n), kinds[PANEL_WIDE], kinds[PANEL_NARROW], kinds[PANEL_LAST]);
	LLVMTypeRef type = LLVMGlobalGetValueType(kinds[PANEL_WIDE]);
	LLVMBuildCall2(e->builder, type, pack, (Value[]){to, from, k, columns}, 4, "");
}

static void fill_panel(Nest *n, Value column, Value at, Value columns) {
	Emit *e = n->e;
	const Contract *c = n->c;
	const ContractPlan *plan = n->plan;
	Value filled = c->b.down ? emit_at_constant(e, n->x.scratch, e->i8, (int64_t)plan->b_filled_at) : at;
	int64_t stride = c->b.down ? contract_b_column(c, plan) : plan->panel_columns;
	ContractBlock block = {filled, stride, n->k0, n->k, column, columns};
	c->b.fill(e, c->b.context, &block);
	if (c->b.down) emit_call(e, contract_pack_b(e, c, plan, PANEL_WIDE), 4, (Value[]){at, filled, n->k, columns});
}

/* Rows of B that are packed for all panels before the next are: a panel takes little of a row, and the rest of it is near as long
 * as its page is known and its memory's row is open. */
enum { PACK_ROWS = 16 };

static void pack_b(Nest *n) {
	Emit *e = n->e;
	const Contract *c = n->c;
	const ContractPlan *plan = n->plan;
	Value to = emit_at_constant(e, n->x.scratch, e->i8, (int64_t)plan->b_at), zero = emit_index(e, 0);
	bool across = !c->b.fill && c->b.column == 1 && plan->panel_block > 1;
	EmitLoop some;
	if (across) some = emit_loop_begin(e, zero, n->k, PACK_ROWS);
	Value first = across ? some.i : zero, k = across ? emit_min(e, emit_sub(e, n->k, first), emit_index(e, PACK_ROWS)) : n->k;
	EmitLoop loop = emit_loop_begin(e, zero, n->panels, 1);
	Value panel = emit_add(e, n->panel0, loop.i), column = panel_column(n, panel);
	Value at = emit_at(e, to, e->f32, emit_mul(e, loop.i, emit_index(e, plan->k_block * plan->panel_columns)));
	Value width = emit_index(e, plan->panel_columns), narrow = emit_index(e, plan->panel_columns - plan->lanes);
	Value columns = by_panel(n, panel, false, width, narrow, NULL);
	columns = emit_min(e, columns, emit_sub(e, emit_index(e, c->n), column));
	if (c->b.fill) fill_panel(n, column, at, columns);
	else pack_b_from_memory(n, panel, column, first, k, at, columns);
	emit_loop_end(e, &loop);
	if (across) emit_loop_end(e, &some);
}

/* A's tile as the microkernel will see it. */
static Value tile_of_a(Nest *n, Value row, Value rows, Value is_tall) {
	Emit *e = n->e;
	const Contract *c = n->c;
	const ContractPlan *plan = n->plan;
	Value from = NULL;
	Value number = c->a.group ? LLVMBuildUDiv(e->builder, row, emit_index(e, c->a.group), "") : row;
	Value floats = emit_mul(e, number, emit_index(e, c->a.group ? c->a.group_row : c->a.row));
	if (!c->a.fill) from = emit_at(e, n->a, contract_element(e, &c->a), floats);
	if (!plan->pack_a) return from;
	Value to = emit_at_constant(e, n->x.scratch, e->i8, (int64_t)plan->a_at);
	if (c->a.fill) {
		int64_t stride = contract_a_down(c) ? contract_a_step(c, plan) : contract_a_row(c, plan);
		ContractBlock block = {to, stride, row, rows, n->k0, n->k};
		c->a.fill(e, c->a.context, &block);
	} else {
		Value pack = select_value(e, is_tall, n->pack_a[1], n->pack_a[0]);
		LLVMTypeRef params[] = {e->ptr, e->ptr, e->index};
		LLVMBuildCall2(e->builder, LLVMFunctionType(e->void_type, params, 3, false), pack, (Value[]){to, from, n->k}, 3, "");
	}
	return to;
}

/* ---- one pass over one row block ---- */

/* Where C, or the sum that waits, of (row, first column of the block) stands. */
static Value place_in(Nest *n, Value row, bool chain) {
	Emit *e = n->e;
	const ContractPlan *plan = n->plan;
	if (!chain && !n->c->c_dropped) {
		Value at = emit_at(e, n->x.c, e->f32, emit_mul(e, row, emit_index(e, n->c->c_row)));
		if (n->turn) at = emit_at(e, at, e->f32, emit_mul(e, n->turn, emit_index(e, n->c->turns.c)));
		return emit_at(e, at, e->f32, n->column0);
	}
	Value base = emit_at_constant(e, n->x.scratch, e->i8, (int64_t)(chain ? plan->chain_at : plan->c_at));
	if (!n->plan->chained) return base;
	Value number = emit_sub(e, row, n->row0);
	if (n->turn) number = emit_add(e, number, emit_mul(e, n->turn, emit_index(e, plan->row_block + plan->height)));
	return emit_at(e, base, e->f32, emit_mul(e, number, emit_index(e, chain ? plan->chain_stride : plan->c_stride)));
}

/* Asks for what the epilogue will read beside a panel of C, before the product that keeps the processor busy meanwhile: one
 * stream of memory under arithmetic, instead of one after the other. */
static void fetch_streams(Nest *n, Value row, Value rows, Value column) {
	Emit *e = n->e;
	if (!n->x.nstreams) return;
	EmitIf branch = {0};
	if (n->last_pass) branch = emit_if(e, n->last_pass);
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), rows, 1);
	Value r = emit_add(e, row, loop.i);
	for (int i = 0; i < n->x.nstreams; i++) {
		Value at = emit_at(e, n->x.streams[i].at, e->f32, emit_mul(e, r, emit_index(e, n->x.streams[i].row)));
		at = emit_at(e, at, e->f32, column);
		for (int64_t line = 0; line < n->plan->panel_columns; line += LINE_FLOATS)
			emit_prefetch(e, emit_at_constant(e, at, e->f32, line), 2);
	}
	emit_loop_end(e, &loop);
	if (n->last_pass) emit_end_if(e, &branch);
}

/* The arguments of a chained microkernel: where it goes on from, and whether C has a sum already. */
static void chain_arguments(Nest *n, Value chain, Value chain_stride, Value *args) {
	Emit *e = n->e;
	Value none = LLVMConstNull(e->ptr), no = LLVMConstInt(e->i1, 0, false), yes = LLVMConstInt(e->i1, 1, false);
	args[0] = n->begins ? select_value(e, n->begins, none, chain) : none;
	args[1] = chain_stride;
	Value ends = n->ends ? n->ends : yes;
	args[2] = n->initial ? select_value(e, n->initial, no, ends) : no;
}

static void call_kernels(Nest *n, Value is_tall, Value a, Value row, Value rows) {
	Emit *e = n->e;
	const Contract *c = n->c;
	const ContractPlan *plan = n->plan;
	Value c_at = place_in(n, row, false), chain_at = plan->waiting ? place_in(n, row, true) : c_at;
	Value out = plan->waiting ? select_value(e, n->ends, c_at, chain_at) : c_at;
	Value c_stride = emit_index(e, plan->c_stride), chain_stride = plan->waiting ? emit_index(e, plan->chain_stride) : c_stride;
	Value out_stride = plan->waiting ? select_value(e, n->ends, c_stride, chain_stride) : c_stride;
	Value kernel[PANEL_KINDS];
	for (int kind = 0; kind < PANEL_KINDS; kind++)
		kernel[kind] = n->kernel[0][kind] ? select_value(e, is_tall, n->kernel[1][kind], n->kernel[0][kind]) : NULL;
	Value b_base = plan->pack_b ? emit_at_constant(e, n->x.scratch, e->i8, (int64_t)plan->b_at)
	                            : n->b;
	Value b_step = emit_index(e, plan->pack_b ? plan->panel_columns : c->b.row);
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), n->panels, 1);
	Value panel = emit_add(e, n->panel0, loop.i), column = panel_column(n, panel), beside = emit_sub(e, column, n->column0);
	Value b = plan->pack_b ? emit_at(e, b_base, e->f32, emit_mul(e, loop.i, emit_index(e, plan->k_block * plan->panel_columns)))
	                       : emit_at(e, b_base, e->f32, column);
	fetch_streams(n, row, rows, column);
	Value f = by_panel(n, panel, has_last(n), kernel[PANEL_WIDE], kernel[PANEL_NARROW], kernel[PANEL_LAST]);
	Value args[TILE_PARAMETERS] = {
	    a, b, n->k, emit_index(e, contract_a_step(c, plan)), b_step, emit_at(e, out, e->f32, beside), out_stride};
	Value *next = args + 7;
	for (int i = 0; i < plan->inside; i++) {
		const ContractSum *around = &c->around[c->naround - 1 - i];
		*next++ = n->segments[i], *next++ = emit_index(e, around->a), *next++ = emit_index(e, around->b);
	}
	if (plan->chained) chain_arguments(n, emit_at(e, chain_at, e->f32, beside), chain_stride, next);
	LLVMTypeRef type;
	unsigned count = contract_tile_type(e, plan->inside, plan->chained, n->x.ahead != NULL, &type);
	if (n->x.ahead) {
		Value from = args[count - 1] = LLVMBuildLoad2(e->builder, e->ptr, n->x.ahead, "");
		LLVMBuildStore(e->builder, emit_at_constant(e, from, e->f32, n->x.ahead_floats), n->x.ahead);
	}
	LLVMBuildCall2(e->builder, type, f, args, count, "");
	emit_loop_end(e, &loop);
}

static void call_epilogue(Nest *n, Value row, Value rows) {
	Emit *e = n->e;
	const Contract *c = n->c;
	if (!c->epilogue) return;
	EmitIf branch = {0};
	bool guarded = n->last_pass && !LLVMIsAConstantInt(n->last_pass);
	if (guarded) branch = emit_if(e, n->last_pass);
	Value end = emit_min(e, panel_column(n, emit_add(e, n->panel0, n->panels)), emit_index(e, c->n));
	ContractTile tile = {
	    place_in(n, row, false), n->plan->c_stride, row, rows, n->column0, emit_sub(e, end, n->column0), n->turn};
	c->epilogue(e, c->context, &tile);
	if (guarded) emit_end_if(e, &branch);
}

static void tiles_of_rows(Nest *n) {
	Emit *e = n->e;
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), n->tile_count, 1);
	Value tile = emit_add(e, n->tile0, loop.i);
	Value is_tall = less(e, tile, n->taller);
	Value unit = emit_index(e, n->plan->unit);
	Value rows = emit_add(e, n->base, emit_mul(e, LLVMBuildZExt(e->builder, is_tall, e->index, ""), unit));
	Value row = emit_add(e, emit_mul(e, tile, n->base), emit_mul(e, emit_min(e, tile, n->taller), unit));
	row = emit_add(e, n->x.row, row);
	Value a = tile_of_a(n, row, rows, is_tall);
	call_kernels(n, is_tall, a, row, rows);
	call_epilogue(n, row, rows);
	emit_loop_end(e, &loop);
}

/* ---- passes and blocks ---- */

int64_t contract_calls(const Contract *c, const ContractPlan *plan) {
	if (plan->dot || plan->turned) return 0;
	int64_t rows = c->nrow_counts ? c->row_counts[0] : c->m, passes = divide_up(c->k, plan->k_block);
	for (int i = MAX(c->a.wide_within, c->b.wide_within); i < c->naround - plan->inside; i++) passes *= c->around[i].extent;
	return passes * MAX(1, c->turns.extent) * contract_tiles(rows, plan->height, plan->unit).count * plan->panels;
}

static Value both(Emit *e, Value a, Value b) { return !a ? b : !b ? a : LLVMBuildAnd(e->builder, a, b, ""); }

/* The first turn i with o * outer + i * inner >= place, o being the index outside. */
static Value bounded_turn(Nest *n, Value outside, int64_t place) {
	Emit *e = n->e;
	const ContractBound *bound = &n->c->bound;
	Value at = emit_sub(e, emit_index(e, place + bound->inner - 1), emit_mul(e, outside, emit_index(e, bound->outer)));
	at = emit_intrinsic(e, "llvm.smax", e->index, 2, (Value[]){at, emit_index(e, 0)});
	if (bound->inner > 1) at = LLVMBuildUDiv(e->builder, at, emit_index(e, bound->inner), "");
	return emit_min(e, at, emit_index(e, n->c->around[n->c->bounded - 1].extent));
}

static void set_bounds(Nest *n, Value outside) {
	if (!n->c->bounded || !outside) return;
	n->low = bounded_turn(n, outside, n->c->bound.first);
	n->high = bounded_turn(n, outside, n->c->bound.first + n->c->bound.count);
}

/* The tiles, microkernels running the turns within the bound. */
static void bounded_tiles(Nest *n) {
	Emit *e = n->e;
	const Contract *c = n->c;
	int inner = c->naround - c->bounded;   /* loops between it and k */
	if (!c->bounded || inner >= n->plan->inside) {
		tiles_of_rows(n);
		return;
	}
	Nest before = *n;
	const ContractSum *around = &c->around[c->bounded - 1];
	n->segments[inner] = emit_sub(e, n->high, n->low);
	n->a = emit_at(e, n->a, contract_element(e, &c->a), emit_mul(e, n->low, emit_index(e, around->a)));
	n->b = emit_at(e, n->b, contract_element(e, &c->b), emit_mul(e, n->low, emit_index(e, around->b)));
	tiles_of_rows(n);
	*n = before;
}

/* The pass whose place is known. */
static void run_pass(Nest *n) {
	Emit *e = n->e;
	if (n->plan->pack_b && n->plan->chained) pack_b(n);
	if (n->c->turns.extent <= 1) {
		bounded_tiles(n);
		return;
	}
	Nest before = *n;
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), emit_index(e, n->c->turns.extent), 1);
	n->turn = loop.i;
	n->a = emit_at(e, n->a, contract_element(e, &n->c->a), emit_mul(e, loop.i, emit_index(e, n->c->turns.a)));
	if (n->c->turns.b) n->b = emit_at(e, n->b, contract_element(e, &n->c->b), emit_mul(e, loop.i, emit_index(e, n->c->turns.b)));
	if (!n->x.outside) set_bounds(n, loop.i);
	bounded_tiles(n);
	emit_loop_end(e, &loop);
	*n = before;
}

/* k in blocks, if it is k that they cut, and those in pieces of k_block. */
static void passes_of_k(Nest *n) {
	Emit *e = n->e;
	const Contract *c = n->c;
	const ContractPlan *plan = n->plan;
	Nest before = *n;
	Value k = emit_index(e, c->k), zero = emit_index(e, 0), stop = k;
	bool cut = plan->cut == c->naround && c->k > plan->per_block,
	     pieces = plan->k_block < MIN(c->k, cut ? plan->per_block : c->k);
	EmitLoop block, piece;
	n->k0 = zero;
	n->k = k;
	if (cut) {
		block = emit_loop_begin(e, zero, k, plan->per_block);
		stop = emit_min(e, emit_add(e, block.i, emit_index(e, plan->per_block)), k);
		n->initial = both(e, n->initial, equal(e, block.i, zero));
		n->k0 = block.i;
		n->k = emit_sub(e, stop, block.i);
	}
	if (pieces) {
		Value first = n->k0;
		piece = emit_loop_begin(e, first, stop, plan->k_block);
		Value next = emit_min(e, emit_add(e, piece.i, emit_index(e, plan->k_block)), stop);
		n->begins = both(e, n->begins, equal(e, piece.i, first));
		n->ends = both(e, n->ends, equal(e, next, stop));
		n->k0 = piece.i;
		n->k = emit_sub(e, next, piece.i);
	}
	if (cut || pieces) n->last_pass = both(e, n->last_pass, equal(e, emit_add(e, n->k0, n->k), k));
	LLVMTypeRef of_a = contract_element(e, &c->a), of_b = contract_element(e, &c->b);
	n->a = c->a.fill ? NULL : emit_at(e, n->a, of_a, emit_mul(e, n->k0, emit_index(e, c->a.column)));
	n->b = c->b.fill ? NULL : emit_at(e, n->b, of_b, emit_mul(e, n->k0, emit_index(e, c->b.row)));
	run_pass(n);
	if (pieces) emit_loop_end(e, &piece);
	if (cut) emit_loop_end(e, &block);
	*n = before;
}

static void passes_around(Nest *n, int level);

void contract_copy(Emit *e, Value copier, Value to, Value from, Value next, Value ahead) {
	emit_call(e, copier, 2, (Value[]){to, from});
	if (ahead) LLVMBuildStore(e->builder, next, ahead);
}

/* Operand `x` at turn i of loop `level` around k; once within the loops that it is to be widened in, its copy. */
static Value move_operand(Nest *n, const ContractOperand *x, int level, Value at, Value i, int64_t step) {
	Emit *e = n->e;
	bool of_a = x == &n->c->a;
	Value distance = emit_mul(e, i, emit_index(e, step)), wide = of_a ? n->x.wide_a : n->x.wide_b;
	if (x->copier && x->wide_within == level + 1) {
		Value from = of_a ? n->x.copied_a : n->x.copied_b;
		from = emit_at(e, from, e->f32, emit_mul(e, i, emit_index(e, x->copied_step)));
		contract_copy(e, x->copier, wide, from, emit_at_constant(e, from, e->f32, x->copied_step), n->x.ahead);
	}
	LLVMTypeRef element = level < x->wide_within ? lower_memory_type(e, x->dtype) : contract_element(e, x);
	at = emit_at(e, at, element, distance);
	if (x->wide_within != level + 1 || x->copier) return at;
	emit_call(e, contract_widener(e, x->dtype, x->through), 3,
	          (Value[]){wide, emit_at_constant(e, at, element, x->wide_low), emit_index(e, x->wide_count)});
	return emit_at_constant(e, wide, e->f32, -x->wide_low);
}

/* One turn of a loop around k that runs from first to stop, or `turns` of them that the microkernel runs itself. */
static void pass_turn(Nest *n, int level, Value i, Value turns, Value first, Value stop) {
	Emit *e = n->e;
	const ContractSum *around = &n->c->around[level];
	Nest before = *n;
	Value last = equal(e, emit_add(e, i, turns), stop);
	n->last_pass = both(e, n->last_pass, last);
	if (level < n->plan->cut) n->initial = both(e, n->initial, equal(e, i, emit_index(e, 0)));
	if (level > n->plan->cut) {
		n->begins = both(e, n->begins, equal(e, i, first));
		n->ends = both(e, n->ends, last);
	}
	n->a = move_operand(n, &n->c->a, level, n->a, i, around->a);
	n->b = move_operand(n, &n->c->b, level, n->b, i, around->b);
	if (level >= n->c->naround - n->plan->inside) n->segments[n->c->naround - 1 - level] = turns;
	passes_around(n, level + 1);
	*n = before;
}

static void passes_around(Nest *n, int level) {
	Emit *e = n->e;
	const Contract *c = n->c;
	const ContractPlan *plan = n->plan;
	if (level == c->naround) {
		passes_of_k(n);
		return;
	}
	int64_t extent = c->around[level].extent, per = level == plan->cut ? MIN(plan->per_block, extent) : extent;
	bool inside = level >= c->naround - plan->inside;   /* the microkernel runs this loop */
	Value zero = emit_index(e, 0), size = emit_index(e, extent), stop = size;
	if (inside && per == extent) {
		n->segments[c->naround - 1 - level] = size;
		passes_around(n, level + 1);
		return;
	}
	Nest before = *n;
	EmitLoop block, loop;
	if (per < extent) {
		block = emit_loop_begin(e, zero, size, per);
		stop = emit_min(e, emit_add(e, block.i, emit_index(e, per)), size);
		n->initial = both(e, n->initial, equal(e, block.i, zero));
	}
	Value first = per < extent ? block.i : zero, begin = zero, end = size;   /* of a block; of all of them */
	if (level == c->bounded - 1 && per == extent) first = begin = n->low, stop = end = n->high;
	if (inside) {
		pass_turn(n, level, first, emit_sub(e, stop, first), begin, end);
	} else {
		loop = emit_loop_begin(e, first, stop, 1);
		Nest in_block = *n;
		if (level == plan->cut) {
			n->begins = both(e, n->begins, equal(e, loop.i, first));
			n->ends = both(e, n->ends, equal(e, emit_add(e, loop.i, emit_index(e, 1)), stop));
		}
		pass_turn(n, level, loop.i, emit_index(e, 1), begin, end);
		*n = in_block;
		emit_loop_end(e, &loop);
	}
	if (per < extent) emit_loop_end(e, &block);
	*n = before;
}

static void passes(Nest *n) {
	Nest before = *n;
	n->a = n->x.a, n->b = n->x.b;
	n->begins = n->ends = n->initial = n->last_pass = NULL;
	passes_around(n, 0);
	*n = before;
}

static void row_blocks(Nest *n) {
	Emit *e = n->e;
	const ContractPlan *plan = n->plan;
	Value zero = emit_index(e, 0);
	if (plan->pack_b && !plan->chained) {
		n->k0 = zero, n->k = emit_index(e, n->c->k);
		n->b = n->x.b;
		pack_b(n);
	}
	int64_t most = n->c->m;
	int64_t per_block = MAX(1, plan->row_block / plan->height);
	if (!plan->chained || plan->row_block >= most) {
		n->tile0 = zero;
		n->tile_count = n->tiles;
		n->row0 = n->x.row;
		passes(n);
		return;
	}
	EmitLoop loop = emit_loop_begin(e, zero, n->tiles, per_block);
	n->tile0 = loop.i;
	n->tile_count = emit_min(e, emit_sub(e, n->tiles, loop.i), emit_index(e, per_block));
	Value row = emit_mul(e, emit_min(e, loop.i, n->taller), emit_index(e, plan->unit));
	row = emit_add(e, emit_mul(e, loop.i, n->base), row);
	n->row0 = emit_add(e, n->x.row, row);
	passes(n);
	emit_loop_end(e, &loop);
}

void contract_emit(Emit *e, const Contract *c, const ContractPlan *plan, ContractArguments x) {
	if (!x.row) x.row = emit_index(e, 0);
	if (!x.rows) x.rows = emit_index(e, c->m);
	if (plan->dot || plan->turned) {
		(plan->dot ? contract_dot : contract_emit_turned)(e, c, plan, x);
		return;
	}
	Value zero = emit_index(e, 0);
	Nest n = {.e = e, .c = c, .plan = plan, .x = x};
	set_bounds(&n, x.outside);
	if (c->nrow_counts) choose_by_rows(&n, c->row_counts, c->nrow_counts);
	else choose_by_rows(&n, &c->m, 1);
	Value panel = x.panel ? x.panel : zero, panels = x.panel ? x.panels : emit_index(e, plan->panels);
	Value size = emit_index(e, plan->panel_block);
	if (plan->panel_block >= plan->panels) {
		n.panel0 = panel;
		n.panels = panels;
		n.column0 = panel_column(&n, panel);
		row_blocks(&n);
		return;
	}
	EmitLoop loop = emit_loop_begin(e, zero, panels, plan->panel_block);
	n.panel0 = emit_add(e, panel, loop.i);
	n.panels = emit_min(e, emit_sub(e, panels, loop.i), size);
	n.column0 = panel_column(&n, n.panel0);
	row_blocks(&n);
	emit_loop_end(e, &loop);
}
