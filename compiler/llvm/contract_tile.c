/* contract_tile.c: microkernels.  In: a shape.  Out: an internal function of the module, made once for each shape.
 *
 * The accumulators are carried values of the loop over k; each turn loads a row of the panel of B, then for each row of A
 * broadcasts one element and adds a product to each accumulator.  k is not unrolled: it gains nothing and costs compile time. */
#include <string.h>

#include "contract_parts.h"

/* How many k early A and B are asked for: a few hundred cycles. */
enum { MAX_ROWS = 32, MAX_VECTORS = 16, A_TURNS = 24, B_TURNS = 12 };

static Value load_vector(Emit *e, const TileShape *s, Value row, int v) {
	Value at = emit_at_constant(e, row, e->f32, (int64_t)v * s->lanes);
	if (v == s->panel.vectors - 1 && s->panel.b_tail) return emit_load_partial(e, e->f32, s->lanes, at, s->panel.b_tail);
	return emit_load(e, e->f32, s->lanes, at);
}

static Value load_c(Emit *e, const TileShape *s, Value row, int v) {
	Value at = emit_at_constant(e, row, e->f32, (int64_t)v * s->lanes);
	if (v == s->panel.vectors - 1 && s->panel.c_tail) return emit_load_partial(e, e->f32, s->lanes, at, s->panel.c_tail);
	return emit_load(e, e->f32, s->lanes, at);
}

static void store_c(Emit *e, const TileShape *s, Value x, Value row, int v) {
	Value at = emit_at_constant(e, row, e->f32, (int64_t)v * s->lanes);
	if (v == s->panel.vectors - 1 && s->panel.c_tail) emit_store_partial(e, x, at, s->panel.c_tail);
	else emit_store(e, x, at);
}

/* The chains so far: *chain when there is one, else zeros. */
static void load_chain(Emit *e, const TileShape *s, Value chain, Value stride, Value *sum) {
	int count = s->rows * s->panel.vectors;
	Value zero = emit_f32(e, 0, s->lanes);
	EmitIf branch = emit_if(e, LLVMBuildIsNotNull(e->builder, chain, ""));
	Value row = chain;
	for (int r = 0; r < s->rows; r++) {
		for (int v = 0; v < s->panel.vectors; v++) sum[r * s->panel.vectors + v] = load_c(e, s, row, v);
		row = emit_at(e, row, e->f32, stride);
	}
	LLVMBasicBlockRef inside = LLVMGetInsertBlock(e->builder);
	emit_end_if(e, &branch);
	for (int i = 0; i < count; i++) {
		Value phi = LLVMBuildPhi(e->builder, LLVMTypeOf(zero), "");
		LLVMAddIncoming(phi, (Value[]){sum[i], zero}, (LLVMBasicBlockRef[]){inside, branch.otherwise}, 2);
		sum[i] = phi;
	}
}

static void store_rows(Emit *e, const TileShape *s, Value *sum, Value c, Value stride, bool add) {
	for (int r = 0; r < s->rows; r++) {
		for (int v = 0; v < s->panel.vectors; v++) {
			Value x = sum[r * s->panel.vectors + v];
			if (add) x = LLVMBuildFAdd(e->builder, load_c(e, s, c, v), x, "");
			store_c(e, s, x, c, v);
		}
		if (r + 1 < s->rows) c = emit_at(e, c, e->f32, stride);
	}
}

/* Where row `r` of A is from row 0. */
static int64_t row_of_a(const TileShape *s, int r) {
	return s->group ? r / s->group * s->group_row + r % s->group * s->a_row : r * s->a_row;
}

/* One k: the products of a column of A and a row of B are added. */
static void multiply(Emit *e, const TileShape *s, Value a, Value b, EmitLoop *loop, int first) {
	Value row[MAX_VECTORS];
	for (int v = 0; v < s->panel.vectors; v++) row[v] = load_vector(e, s, b, v);
	for (int r = 0; r < s->rows; r++) {
		Value x = emit_load(e, e->f32, 1, emit_at_constant(e, a, e->f32, row_of_a(s, r)));
		x = emit_splat(e, x, s->lanes);
		for (int v = 0; v < s->panel.vectors; v++) {
			int n = first + r * s->panel.vectors + v;
			emit_loop_next(e, loop, n, emit_fma(e, x, row[v], loop->phi[n]));
		}
	}
}

/* Asks for what a later turn will read: some k on, or, where k is short, in the next segment. */
static void fetch_ahead(Emit *e, const TileShape *s, Value a, Value b, Value a_step, Value b_step) {
	Value a_on = s->by_segment ? LLVMGetParam(e->function, 8) : emit_mul(e, a_step, emit_index(e, A_TURNS));
	Value b_on = s->by_segment ? LLVMGetParam(e->function, 9) : emit_mul(e, b_step, emit_index(e, B_TURNS));
	if (s->a_ahead) {
		Value later = emit_at(e, a, e->f32, a_on);
		emit_prefetch(e, later, 3);
		if (s->by_segment && s->rows > 1) emit_prefetch(e, emit_at_constant(e, later, e->f32, row_of_a(s, s->rows - 1)), 3);
	}
	if (!s->b_ahead) return;
	Value later = emit_at(e, b, e->f32, b_on);
	for (int64_t at = 0; at < (int64_t)s->panel.vectors * s->lanes; at += LINE_FLOATS)
		emit_prefetch(e, emit_at_constant(e, later, e->f32, at), 3);
}

/* The loop over k. */
static void add_products(Emit *e, const TileShape *s, Value a, Value b, Value *sum) {
	Value k = LLVMGetParam(e->function, 2), a_step = LLVMGetParam(e->function, 3), b_step = LLVMGetParam(e->function, 4);
	int count = s->rows * s->panel.vectors;
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), k, 1);
	a = emit_loop_carry(e, &loop, a);
	b = emit_loop_carry(e, &loop, b);
	for (int i = 0; i < count; i++) emit_loop_carry(e, &loop, sum[i]);
	multiply(e, s, a, b, &loop, 2);
	fetch_ahead(e, s, a, b, a_step, b_step);
	emit_loop_next(e, &loop, 0, emit_at(e, a, e->f32, a_step));
	emit_loop_next(e, &loop, 1, emit_at(e, b, e->f32, b_step));
	emit_loop_end(e, &loop);
	memcpy(sum, loop.result + 2, sizeof *sum * (size_t)count);
}

static void tile_body(Emit *e, const TileShape *s) {
	Value a = LLVMGetParam(e->function, 0), b = LLVMGetParam(e->function, 1);
	Value c = LLVMGetParam(e->function, 5), stride = LLVMGetParam(e->function, 6);
	int count = s->rows * s->panel.vectors;
	Value sum[MAX_CARRIED];
	if (count + 2 > MAX_CARRIED || s->rows > MAX_ROWS || s->panel.vectors > MAX_VECTORS)
		die("tile %d x %d", s->rows, s->panel.vectors);
	unsigned chain = s->segmented ? 10 : 7;
	if (s->chained) load_chain(e, s, LLVMGetParam(e->function, chain), LLVMGetParam(e->function, chain + 1), sum);
	else
		for (int i = 0; i < count; i++) sum[i] = emit_f32(e, 0, s->lanes);
	EmitLoop segments;
	if (s->segmented) {
		segments = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(e->function, 7), 1);
		for (int i = 0; i < count; i++) sum[i] = emit_loop_carry(e, &segments, sum[i]);
		a = emit_at(e, a, e->f32, emit_mul(e, segments.i, LLVMGetParam(e->function, 8)));
		b = emit_at(e, b, e->f32, emit_mul(e, segments.i, LLVMGetParam(e->function, 9)));
	}
	add_products(e, s, a, b, sum);
	if (s->segmented) {
		for (int i = 0; i < count; i++) emit_loop_next(e, &segments, i, sum[i]);
		emit_loop_end(e, &segments);
		memcpy(sum, segments.result, sizeof *sum * (size_t)count);
	}
	if (!s->chained) {
		store_rows(e, s, sum, c, stride, false);
	} else {
		EmitIf branch = emit_if(e, LLVMGetParam(e->function, chain + 2));
		store_rows(e, s, sum, c, stride, true);
		emit_else(e, &branch);
		store_rows(e, s, sum, c, stride, false);
		emit_end_if(e, &branch);
	}
	LLVMBuildRetVoid(e->builder);
}

unsigned contract_tile_type(Emit *e, bool segmented, bool chained, LLVMTypeRef *type) {
	LLVMTypeRef params[TILE_PARAMETERS] = {e->ptr, e->ptr, e->index, e->index, e->index, e->ptr, e->index};
	unsigned count = 7;
	for (int i = 0; segmented && i < 3; i++) params[count++] = e->index;
	if (chained) params[count] = e->ptr, params[count + 1] = e->index, params[count + 2] = e->i1, count += 3;
	*type = LLVMFunctionType(e->void_type, params, count, false);
	return count;
}

Value contract_tile(Emit *e, TileShape s) {
	const char *groups = s.group ? arena_printf(e->arena, "in%dx%lld", s.group, (long long)s.group_row) : "";
	const char *name =
	    arena_printf(e->arena, "tile_%dx%dx%d_b%d_c%d_a%lld%s%s%s%s%s%s", s.rows, s.panel.vectors, s.lanes, s.panel.b_tail,
	                 s.panel.c_tail, (long long)s.a_row, groups, s.segmented ? "_segmented" : "", s.chained ? "_chained" : "",
	                 s.a_ahead ? "_aa" : "", s.b_ahead ? "_ba" : "", s.by_segment ? "_next" : "");
	Value function = LLVMGetNamedFunction(e->module, name);
	if (function) return function;
	EmitPlace place = emit_pause(e);
	LLVMTypeRef type, params[TILE_PARAMETERS];
	unsigned count = contract_tile_type(e, s.segmented, s.chained, &type);
	LLVMGetParamTypes(type, params);
	function = emit_function(e, name, e->void_type, (int)count, params, true);
	tile_body(e, &s);
	emit_resume(e, place);
	return function;
}
