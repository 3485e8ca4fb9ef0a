/* contract_tile.c: microkernels.  In: a shape.  Out: an internal function of the module, made once for each shape.
 *
 * The accumulators are carried values of the loop over k; each turn loads a row of the panel of B, then for each row of A
 * broadcasts one element and adds a product to each accumulator.  k is not unrolled: it gains nothing and costs compile time.
 *
 * Unless it is taps: row r of an image's tile reads at tap s what row r + 1 reads at tap s - 1.  Then all taps of B are in
 * registers, and each element of A is broadcast once for all rows and taps: half the loads, or a third.  Where few registers
 * would leave too few sums beside them, the taps are unrolled one after the other.  The order in every sum is the same. */
#include <string.h>

#include "contract_parts.h"
#include "lower.h"

/* How many k early A and B are asked for: a few hundred cycles. */
enum { MAX_ROWS = MOST_ROWS, MAX_VECTORS = 16, A_TURNS = 24, B_TURNS = 12 };

static Value load_vector(Emit *e, const TileShape *s, Value row, int v) {
	Value at = emit_at_constant(e, row, e->f32, (int64_t)v * s->lanes);
	if (v == s->panel.vectors - 1 && s->panel.b_tail) return emit_load_partial(e, e->f32, s->lanes, at, s->panel.b_tail);
	return emit_load(e, e->f32, s->lanes, at);
}

static Value load_c(Emit *e, const TileShape *s, Value row, int v) {
	Value at = emit_at_constant(e, row, e->f32, (int64_t)v * s->lanes);
	bool partial = v == s->panel.vectors - 1 && s->panel.c_tail;
	Value x = partial ? emit_load_partial(e, e->f32, s->lanes, at, s->panel.c_tail) : emit_load(e, e->f32, s->lanes, at);
	return s->words ? LLVMBuildBitCast(e->builder, x, emit_vector_type(e, e->i32, s->lanes), "") : x;
}

static void store_c(Emit *e, const TileShape *s, Value x, Value row, int v) {
	Value at = emit_at_constant(e, row, e->f32, (int64_t)v * s->lanes);
	if (s->words) x = LLVMBuildBitCast(e->builder, x, emit_vector_type(e, e->f32, s->lanes), "");
	if (v == s->panel.vectors - 1 && s->panel.c_tail) emit_store_partial(e, x, at, s->panel.c_tail);
	else emit_store(e, x, at);
}

/* ---- sums of floats, or of integers ---- */

static Value as(Emit *e, Value x, LLVMTypeRef element) {
	return LLVMBuildBitCast(e->builder, x, emit_vector_type(e, element, emit_lanes(x)), "");
}

static Value zero_sum(Emit *e, const TileShape *s) {
	return s->words ? LLVMConstNull(emit_vector_type(e, e->i32, s->lanes)) : emit_f32(e, 0, s->lanes);
}

/* Is there one more row, of zeros?  Its sums are what lifted ones are too large by. */
static bool is_lifted(Emit *e, const TileShape *s) {
	return s->words && words_are_lifted(e->target, s->words, s->words_b, s->lanes);
}

static int sum_count(Emit *e, const TileShape *s) { return (s->rows + is_lifted(e, s)) * s->panel.vectors; }

static Value add_product(Emit *e, const TileShape *s, Value a, Value b, Value sum) {
	if (is_lifted(e, s)) return lower_words_lifted(e, as(e, a, e->i32), s->words, as(e, b, e->i32), sum);
	return s->words ? lower_words(e, as(e, a, e->i32), s->words, as(e, b, e->i32), s->words_b, sum) : emit_fma(e, a, b, sum);
}

/* Adds to the sums of the row of zeros, if there is one. */
static void add_excess(Emit *e, const TileShape *s, Value b, Value *sum) {
	if (is_lifted(e, s)) *sum = add_product(e, s, emit_f32(e, 0, s->lanes), b, *sum);
}

static void subtract_excess(Emit *e, const TileShape *s, Value *sum) {
	int count = s->rows * s->panel.vectors;
	for (int i = 0; i < count && is_lifted(e, s); i++)
		sum[i] = LLVMBuildSub(e->builder, sum[i], sum[count + i % s->panel.vectors], "");
}

/* The chains so far: *chain when there is one, else zeros. */
static void load_chain(Emit *e, const TileShape *s, Value chain, Value stride, Value *sum) {
	int count = s->rows * s->panel.vectors;
	Value zero = zero_sum(e, s);
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
	for (int i = count; i < sum_count(e, s); i++) sum[i] = zero;
}

static void store_rows(Emit *e, const TileShape *s, Value *sum, Value c, Value stride, bool add) {
	for (int r = 0; r < s->rows; r++) {
		for (int v = 0; v < s->panel.vectors; v++) {
			Value x = sum[r * s->panel.vectors + v];
			if (add) x = (s->words ? LLVMBuildAdd : LLVMBuildFAdd)(e->builder, load_c(e, s, c, v), x, "");
			store_c(e, s, x, c, v);
		}
		if (r + 1 < s->rows) c = emit_at(e, c, e->f32, stride);
	}
}

int64_t contract_row_of_a(int64_t row, int64_t group, int64_t group_row, int r) {
	return group ? r / group * group_row + r % group * row : r * row;
}

static int64_t row_of_a(const TileShape *s, int r) { return contract_row_of_a(s->a_row, s->group, s->group_row, r); }

int contract_tap_elements(const int64_t *row_at, int rows, int64_t step, int taps, int64_t *at) {
	int n = 0;
	for (int r = 0; r < rows; r++)
		for (int s = 0; s < taps; s++) {
			int64_t element = row_at[r] + s * step;
			int place = n;
			while (place > 0 && (step > 0 ? at[place - 1] > element : at[place - 1] < element)) place--;
			if (place > 0 && at[place - 1] == element) continue;
			memmove(&at[place + 1], &at[place], sizeof *at * (size_t)(n - place));
			at[place] = element, n++;
		}
	return n;
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
			emit_loop_next(e, loop, n, add_product(e, s, x, row[v], loop->phi[n]));
		}
	}
	for (int v = 0; v < s->panel.vectors && is_lifted(e, s); v++) {
		Value sum = loop->phi[first + s->rows * s->panel.vectors + v];
		add_excess(e, s, row[v], &sum);
		emit_loop_next(e, loop, first + s->rows * s->panel.vectors + v, sum);
	}
}

/* Asks for what a later turn will read: some k on, or, where k is short, in the next segment.  Of A both ends of a column: the
 * line where the tile before has ended is near, the one where this ends is new. */
static void fetch_ahead(Emit *e, const TileShape *s, Value a, Value b, Value a_step, Value b_step) {
	Value a_on = s->by_segment ? LLVMGetParam(e->function, 8) : emit_mul(e, a_step, emit_index(e, A_TURNS));
	Value b_on = s->by_segment ? LLVMGetParam(e->function, 9) : emit_mul(e, b_step, emit_index(e, B_TURNS));
	if (s->a_ahead) {
		Value later = emit_at(e, a, e->f32, a_on);
		emit_prefetch(e, later, 3);
		if (s->rows > 1) emit_prefetch(e, emit_at_constant(e, later, e->f32, row_of_a(s, s->rows - 1)), 3);
	}
	if (!s->b_ahead) return;
	Value later = emit_at(e, b, e->f32, b_on);
	for (int64_t at = 0; at < (int64_t)s->panel.vectors * s->lanes; at += LINE_FLOATS)
		emit_prefetch(e, emit_at_constant(e, later, e->f32, at), 3);
}

/* Asks for some of what will be read after this tile; where it has got to then. */
static Value fetch_next(Emit *e, const TileShape *s, Value next) {
	for (int64_t at = 0; at < s->next_step; at += LINE_FLOATS) emit_prefetch(e, emit_at_constant(e, next, e->f32, at), 2);
	return emit_at_constant(e, next, e->f32, s->next_step);
}

/* The loop over k.  next: moved on, if there is one. */
static void add_products(Emit *e, const TileShape *s, Value a, Value b, Value *sum, Value *next) {
	Value k = LLVMGetParam(e->function, 2), a_step = LLVMGetParam(e->function, 3), b_step = LLVMGetParam(e->function, 4);
	int count = sum_count(e, s);
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), k, 1);
	a = emit_loop_carry(e, &loop, a);
	b = emit_loop_carry(e, &loop, b);
	for (int i = 0; i < count; i++) emit_loop_carry(e, &loop, sum[i]);
	if (s->next_step) emit_loop_next(e, &loop, 2 + count, fetch_next(e, s, emit_loop_carry(e, &loop, *next)));
	multiply(e, s, a, b, &loop, 2);
	fetch_ahead(e, s, a, b, a_step, b_step);
	emit_loop_next(e, &loop, 0, emit_at(e, a, e->f32, a_step));
	emit_loop_next(e, &loop, 1, emit_at(e, b, e->f32, b_step));
	emit_loop_end(e, &loop);
	memcpy(sum, loop.result + 2, sizeof *sum * (size_t)count);
	if (s->next_step) *next = loop.result[2 + count];
}

/* All taps at one place, one after the other. */
static void add_taps_apart(Emit *e, const TileShape *s, Value a, Value b, Value *sum) {
	for (int t = 0; t < s->taps; t++) {
		Value row[MAX_VECTORS], at_b = emit_at_constant(e, b, e->f32, t * s->b_step);
		for (int v = 0; v < s->panel.vectors; v++) row[v] = load_vector(e, s, at_b, v);
		for (int r = 0; r < s->rows; r++) {
			Value x = emit_load(e, e->f32, 1, emit_at_constant(e, a, e->f32, row_of_a(s, r) + t * s->a_step));
			x = emit_splat(e, x, s->lanes);
			Value *of_row = &sum[r * s->panel.vectors];
			for (int v = 0; v < s->panel.vectors; v++) of_row[v] = add_product(e, s, x, row[v], of_row[v]);
		}
		for (int v = 0; v < s->panel.vectors; v++) add_excess(e, s, row[v], &sum[s->rows * s->panel.vectors + v]);
	}
}

/* All taps at one place, an element of A at a time. */
static void add_taps_shared(Emit *e, const TileShape *s, Value a, Value b, Value *sum) {
	Value tap[MOST_TAPS][MAX_VECTORS];
	int64_t row_at[MAX_ROWS], at[MAX_ROWS * MOST_TAPS];
	for (int r = 0; r < s->rows; r++) row_at[r] = row_of_a(s, r);
	int count = contract_tap_elements(row_at, s->rows, s->a_step, s->taps, at);
	for (int t = 0; t < s->taps; t++)
		for (int v = 0; v < s->panel.vectors; v++)
			tap[t][v] = load_vector(e, s, emit_at_constant(e, b, e->f32, t * s->b_step), v);
	for (int t = 0; t < s->taps; t++)
		for (int v = 0; v < s->panel.vectors; v++) add_excess(e, s, tap[t][v], &sum[s->rows * s->panel.vectors + v]);
	for (int i = 0; i < count; i++) {
		Value x = emit_splat(e, emit_load(e, e->f32, 1, emit_at_constant(e, a, e->f32, at[i])), s->lanes);
		for (int r = 0; r < s->rows; r++)
			for (int t = 0; t < s->taps; t++) {
				if (row_at[r] + t * s->a_step != at[i]) continue;
				Value *of_row = &sum[r * s->panel.vectors];
				for (int v = 0; v < s->panel.vectors; v++) of_row[v] = add_product(e, s, x, tap[t][v], of_row[v]);
			}
	}
}

/* The loops inside, `level` of them left, and k. */
static void add_segments(Emit *e, const TileShape *s, int level, Value a, Value b, Value *sum, Value *next) {
	int count = sum_count(e, s);
	if (level == 0) {
		if (s->taps) (s->apart ? add_taps_apart : add_taps_shared)(e, s, a, b, sum);
		else add_products(e, s, a, b, sum, next);
		if (s->taps && s->next_step) *next = fetch_next(e, s, *next);
		return;
	}
	unsigned first = 7 + 3 * (unsigned)(level - 1);
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(e->function, first), 1);
	a = emit_loop_carry(e, &loop, a);
	b = emit_loop_carry(e, &loop, b);
	for (int i = 0; i < count; i++) sum[i] = emit_loop_carry(e, &loop, sum[i]);
	if (s->next_step) *next = emit_loop_carry(e, &loop, *next);
	add_segments(e, s, level - 1, a, b, sum, next);
	emit_loop_next(e, &loop, 0, emit_at(e, a, e->f32, LLVMGetParam(e->function, first + 1)));
	emit_loop_next(e, &loop, 1, emit_at(e, b, e->f32, LLVMGetParam(e->function, first + 2)));
	for (int i = 0; i < count; i++) emit_loop_next(e, &loop, 2 + i, sum[i]);
	if (s->next_step) emit_loop_next(e, &loop, 2 + count, *next);
	emit_loop_end(e, &loop);
	memcpy(sum, loop.result + 2, sizeof *sum * (size_t)count);
	if (s->next_step) *next = loop.result[2 + count];
}

static void tile_body(Emit *e, const TileShape *s) {
	Value a = LLVMGetParam(e->function, 0), b = LLVMGetParam(e->function, 1);
	Value c = LLVMGetParam(e->function, 5), stride = LLVMGetParam(e->function, 6);
	int count = sum_count(e, s);
	Value sum[MAX_CARRIED];
	if (count + 3 > MAX_CARRIED || s->rows > MAX_ROWS || s->panel.vectors > MAX_VECTORS)
		die("tile %d x %d", s->rows, s->panel.vectors);
	unsigned chain = 7 + 3 * (unsigned)s->inside;
	if (s->chained) load_chain(e, s, LLVMGetParam(e->function, chain), LLVMGetParam(e->function, chain + 1), sum);
	else
		for (int i = 0; i < count; i++) sum[i] = zero_sum(e, s);
	Value next = s->next_step ? LLVMGetParam(e->function, LLVMCountParams(e->function) - 1) : NULL;
	add_segments(e, s, s->inside, a, b, sum, &next);
	subtract_excess(e, s, sum);
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

unsigned contract_tile_type(Emit *e, int inside, bool chained, bool next, LLVMTypeRef *type) {
	LLVMTypeRef params[TILE_PARAMETERS] = {e->ptr, e->ptr, e->index, e->index, e->index, e->ptr, e->index};
	unsigned count = 7;
	for (int i = 0; i < 3 * inside; i++) params[count++] = e->index;
	if (chained) params[count] = e->ptr, params[count + 1] = e->index, params[count + 2] = e->i1, count += 3;
	if (next) params[count++] = e->ptr;
	*type = LLVMFunctionType(e->void_type, params, count, false);
	return count;
}

Value contract_tile(Emit *e, TileShape s) {
	const char *groups = s.group ? arena_printf(e->arena, "in%dx%lld", s.group, (long long)s.group_row) : "";
	const char *next = s.next_step ? arena_printf(e->arena, "_next%lld", (long long)s.next_step) : "";
	const char *words = s.words ? arena_printf(e->arena, "%s_%s_", dtype_info[s.words].text, dtype_info[s.words_b].text) : "";
	const char *inside = s.inside > 1 ? "_inside2" : s.inside ? "_segmented" : "", *taps = "";
	const char *how = s.apart ? "apart" : "taps";
	if (s.taps) taps = arena_printf(e->arena, "_%s%dx%lldx%lld", how, s.taps, (long long)s.a_step, (long long)s.b_step);
	const char *name = arena_printf(e->arena, "tile_%s%dx%dx%d_b%d_c%d_a%lld%s%s%s%s%s%s%s%s", words, s.rows,
	                                s.panel.vectors, s.lanes, s.panel.b_tail, s.panel.c_tail, (long long)s.a_row, groups,
	                                inside, taps,
	                                s.chained ? "_chained" : "", s.a_ahead ? "_aa" : "", s.b_ahead ? "_ba" : "",
	                                s.by_segment ? "_next" : "", next);
	Value function = LLVMGetNamedFunction(e->module, name);
	if (function) return function;
	EmitPlace place = emit_pause(e);
	LLVMTypeRef type, params[TILE_PARAMETERS];
	unsigned count = contract_tile_type(e, s.inside, s.chained, s.next_step > 0, &type);
	LLVMGetParamTypes(type, params);
	function = emit_function(e, name, e->void_type, (int)count, params, true);
	tile_body(e, &s);
	emit_resume(e, place);
	return function;
}
