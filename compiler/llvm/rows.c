/* rows.c: in: a kernel of rows, planned; out: the loops that compute it: for each row a few passes over its elements, and after
 * each the results of the reductions that ran in it.
 *
 * What later passes want again stands in the worker's scratch; a row of one vector is done in registers, without loops.  Short
 * rows go through their passes side by side: what one waits for (a fold, a quotient) the other one's work hides.
 * Guarantees: sums in the order that ir/eval_body.h fixes: 16 lanes, blocks of 4096, one tree. */
#include "lower.h"

enum {
	AHEAD = 4,                 /* vectors that are combined before they meet the largest so far */
	MOST_BESIDE = 4,           /* rows side by side */
	LONG_ROW = 1024,           /* a longer one hides enough by itself */
	MUCH = 40,                 /* and so does one with more to do for a vector; it would want for registers */
};

/* One of the rows that are side by side. */
typedef struct Row {
	At row, wide;              /* its index; the present elements of it */
	Kept *kept;                /* by member: its row in the scratch, if it is kept */
	Memo *given;               /* what lower->given and lower->kept are while it is written */
	Kept *computed;
} Row;

typedef struct Rows {
	Lower *lower;
	const Kernel *kernel;
	Row side[MOST_BESIDE], *now;
	int beside;                /* how many */
	int pass;
} Rows;

/* For each row in turn: its reductions' results and kept elements are what lower_value() finds. */
static bool turn_to(Rows *r, int side) {
	if (r->now) r->now->given = r->lower->given, r->now->computed = r->lower->kept;
	r->now = side < r->beside ? &r->side[side] : NULL;
	r->lower->given = r->now ? r->now->given : NULL;
	r->lower->kept = r->now ? r->now->computed : NULL;
	return r->now;
}

static int64_t kept_bytes(const Kernel *k, const Val *v) {
	int64_t bytes = round_up(k->width, LANES) * dtype_info[v->type.dtype].bytes;
	return (int64_t)whole_lines((size_t)bytes);
}

/* How many rows are written side by side. */
static int rows_beside(const Kernel *k) {
	int reductions = 0, rank = k->domain.rank;
	for (int i = 0; i < k->members.length; i++) reductions += is_reduce(k->members.data[i].val);
	if (rank == 0 || k->width > LONG_ROW || k->element_cost > MUCH || reductions == 0) return 1;
	int many = k->width <= LANES ? MOST_BESIDE : 2;
	return k->domain.dim[rank - 1] >= 2 * many && reductions * many <= MAX_CARRIED ? many : 1;
}

static int64_t row_scratch(const Kernel *kernel) {
	int64_t bytes = 0;
	for (int i = 0; i < kernel->members.length; i++)
		if (kernel->members.data[i].kept) bytes += kept_bytes(kernel, kernel->members.data[i].val);
	return bytes;
}

size_t rows_scratch(const Kernel *kernel) { return (size_t)(row_scratch(kernel) * rows_beside(kernel)); }

static bool reduces_now(const Rows *r, int i) {
	const RowValue *m = &r->kernel->members.data[i];
	return m->pass == r->pass && is_reduce(m->val);
}

static bool stores_now(const Rows *r) { return r->pass == r->kernel->passes - 1; }

/* The roots of the row, or of its elements: all computed, then all stored, since one may overwrite what another one reads. */
static void store_roots(Rows *r, bool wide) {
	Lower *k = r->lower;
	int n = r->kernel->roots.length;
	Val **roots = r->kernel->roots.data;
	const At *at = wide ? &r->now->wide : &r->now->row;
	Value *values = NEW_ARRAY(k->e->arena, Value, n + 1);
	for (int i = 0; i < n; i++)
		if (is_wide(r->kernel, roots[i]) == wide) values[i] = lower_value(k, roots[i], at, NULL);
	for (int i = 0; i < n; i++)
		if (is_wide(r->kernel, roots[i]) == wide) lower_store(k, roots[i], at, values[i]);
}

/* What a reduction adds for the `vectors` vectors from the present index on.  More than one only of a maximum or minimum: those
 * may be combined in any grouping, since of equals the last and of NaNs the first is taken. */
static Value elements_of(Rows *r, const Val *reduction, int first, int vectors) {
	Lower *k = r->lower;
	if (vectors > 1) {
		Value a = elements_of(r, reduction, first, vectors / 2);
		return reduce_step(k->e, reduction->op, a, elements_of(r, reduction, first + vectors / 2, vectors / 2));
	}
	At at = r->now->wide;
	at.axis[r->kernel->domain.rank].constant = first * LANES;
	return lower_as_lanes(k, lower_value(k, reduction->arg[0], &at, NULL));
}

/* The present pass of one row at the present index.  total: by member. */
static void write_elements(Rows *r, int vectors, Value *total) {
	Lower *k = r->lower;
	Emit *e = k->e;
	r->now->wide.axis[r->kernel->domain.rank] = index_variable(k->depth);
	for (int i = 0; i < r->kernel->members.length; i++) {
		const RowValue *m = &r->kernel->members.data[i];
		if (m->pass == r->pass && m->kept) lower_keep(k, &r->now->kept[i], lower_value(k, m->val, &r->now->wide, NULL));
		if (!reduces_now(r, i)) continue;
		Value next = reduce_step(e, m->val->op, total[i], elements_of(r, m->val, 0, vectors));
		if (k->tail) {
			Value exist[LANES];
			for (int l = 0; l < LANES; l++) exist[l] = LLVMConstInt(e->i1, (unsigned)(l < k->tail), false);
			next = LLVMBuildSelect(e->builder, LLVMConstVector(exist, LANES), next, total[i], "");
		}
		total[i] = next;
	}
	if (stores_now(r)) store_roots(r, true);
}

/* Of all rows: those of row `side` are from total[side * members] on. */
static Value *new_totals(Rows *r) { return NEW_ARRAY(r->lower->e->arena, Value, r->beside * r->kernel->members.length + 1); }

/* The next total of the present pass after number `t` (-1: the first), or -1.  number: its member. */
static int next_total(const Rows *r, int t, int *number) {
	int n = r->kernel->members.length;
	for (t++; t < r->beside * n; t++) {
		*number = t % n;
		if (reduces_now(r, *number)) return t;
	}
	return -1;
}

static void start_totals(Rows *r, Value *total, int lanes) {
	for (int i, t = -1; (t = next_total(r, t, &i)) >= 0;) {
		const Val *v = r->kernel->members.data[i].val;
		total[t] = reduce_start(r->lower->e, v->op, v->arg[0]->type.dtype, lanes);
	}
}

static void fold_totals(Rows *r, Value *total) {
	for (int i, t = -1; (t = next_total(r, t, &i)) >= 0;)
		total[t] = reduce_fold(r->lower->e, r->kernel->members.data[i].val->op, total[t]);
}

/* The present pass at the present index, row by row. */
static void write_sides(Rows *r, int vectors, Value *total) {
	for (int side = 0; turn_to(r, side); side++) write_elements(r, vectors, total + side * r->kernel->members.length);
}

/* From now on `v` has this value in the present row. */
static void give(Rows *r, const Val *v, Value value) {
	Memo *given = NEW(r->lower->e->arena, Memo);
	*given = (Memo){.v = v, .value = value, .next = r->lower->given};
	r->lower->given = given;
}

/* A loop over from .. to; the totals are carried. */
static void write_vectors(Rows *r, Value from, Value to, int vectors, int tail, Value *total) {
	Lower *k = r->lower;
	EmitLoop loop;
	level_open(k, &loop, from, to, LANES * vectors, r->kernel->width, true);
	k->tail = tail;
	for (int i, t = -1; (t = next_total(r, t, &i)) >= 0;) total[t] = emit_loop_carry(k->e, &loop, total[t]);
	write_sides(r, vectors, total);
	for (int i, c = 0, t = -1; (t = next_total(r, t, &i)) >= 0;) emit_loop_next(k->e, &loop, c++, total[t]);
	k->tail = 0;
	level_close(k, &loop);
	for (int i, c = 0, t = -1; (t = next_total(r, t, &i)) >= 0;) total[t] = loop.result[c++];
}

/* Does this pass nothing but look for the largest and smallest? */
static bool only_compares(const Rows *r) {
	bool any = false;
	for (int i = 0; i < r->kernel->members.length; i++) {
		const RowValue *m = &r->kernel->members.data[i];
		if (m->pass != r->pass) continue;
		if (m->kept || (is_reduce(m->val) && m->val->op != OpReduceMax && m->val->op != OpReduceMin)) return false;
		any = any || is_reduce(m->val);
	}
	for (int i = 0; i < r->kernel->roots.length && stores_now(r); i++)
		if (is_wide(r->kernel, r->kernel->roots.data[i])) return false;
	return any;
}

/* The present pass over from .. to of the row: whole vectors, then what is left. */
static void write_part(Rows *r, Value from, Value to, Value *total) {
	Emit *e = r->lower->e;
	int64_t n = r->kernel->width, whole = n - n % LANES;
	Value stop = whole < n ? emit_min(e, to, emit_index(e, whole)) : to;
	Value begin = from;
	if (only_compares(r) && n >= AHEAD * LANES) {
		Value many = LLVMBuildAnd(e->builder, emit_sub(e, stop, from), emit_index(e, -AHEAD * LANES), "");
		begin = emit_add(e, from, many);
		write_vectors(r, from, begin, AHEAD, 0, total);
	}
	write_vectors(r, begin, stop, 1, 0, total);
	if (whole == n) return;
	Value rest = n <= SUM_BLOCK ? emit_index(e, whole)
	                            : emit_intrinsic(e, "llvm.smax", e->index, 2, (Value[]){from, emit_index(e, whole)});
	write_vectors(r, rest, to, 1, (int)(n % LANES), total);   /* once, or not at all */
}

/* From now on the present pass' reductions have these values. */
static void give_totals(Rows *r, Value *total) {
	int n = r->kernel->members.length;
	for (int side = 0; turn_to(r, side); side++)
		for (int i = 0; i < n; i++)
			if (reduces_now(r, i)) give(r, r->kernel->members.data[i].val, total[side * n + i]);
}

/* The present pass over the rows, block by block where it adds up more than one. */
static void write_pass(Rows *r) {
	Lower *k = r->lower;
	Emit *e = k->e;
	int members = r->kernel->members.length;
	int64_t n = r->kernel->width;
	Value *total = new_totals(r), *sum = new_totals(r);
	bool reduces = false;
	for (int i = 0; i < members; i++) reduces = reduces || reduces_now(r, i);
	start_totals(r, total, n > SUM_BLOCK && reduces ? 1 : LANES);
	if (n <= SUM_BLOCK || !reduces) {
		write_part(r, emit_index(e, 0), emit_index(e, n), total);
		fold_totals(r, total);
	} else {
		EmitLoop blocks;
		level_open(k, &blocks, emit_index(e, 0), emit_index(e, n), SUM_BLOCK, n, false);
		for (int i, t = -1; (t = next_total(r, t, &i)) >= 0;) total[t] = emit_loop_carry(e, &blocks, total[t]);
		start_totals(r, sum, LANES);
		write_part(r, blocks.i, emit_min(e, emit_add(e, blocks.i, emit_index(e, SUM_BLOCK)), emit_index(e, n)), sum);
		fold_totals(r, sum);
		/* the first block's total is taken as it is: adding it to the start would lose the sign of a zero */
		Value first = LLVMBuildICmp(e->builder, LLVMIntEQ, blocks.i, emit_index(e, 0), "");
		for (int i, c = 0, t = -1; (t = next_total(r, t, &i)) >= 0;) {
			Value all = reduce_step(e, r->kernel->members.data[i].val->op, total[t], sum[t]);
			emit_loop_next(e, &blocks, c++, LLVMBuildSelect(e->builder, first, sum[t], all, ""));
		}
		level_close(k, &blocks);
		for (int i, c = 0, t = -1; (t = next_total(r, t, &i)) >= 0;) total[t] = blocks.result[c++];
	}
	give_totals(r, total);
}

/* All passes over a row of at most one vector: what one computes the next has in registers. */
static void write_short_row(Rows *r) {
	Lower *k = r->lower;
	Value *total = new_totals(r);
	level_single(k);
	k->level[k->depth].extent = r->kernel->width;
	k->lane_level = k->depth;
	k->tail = (int)(r->kernel->width % LANES);
	for (r->pass = 0; r->pass < r->kernel->passes; r->pass++) {
		start_totals(r, total, LANES);
		write_sides(r, 1, total);
		fold_totals(r, total);
		give_totals(r, total);
	}
	k->tail = 0;
	k->lane_level = -1;
	k->depth--;
}

static void keep_from_now(Rows *r) {
	for (int side = 0; turn_to(r, side); side++) {
		for (int i = 0; i < r->kernel->members.length; i++) {
			const RowValue *m = &r->kernel->members.data[i];
			if (m->pass == r->pass && m->kept) r->now->kept[i].next = r->lower->kept, r->lower->kept = &r->now->kept[i];
		}
	}
}

/* `beside` rows, whose indices along the last axis of the domain are those from the present one on. */
static void write_rows(Rows *r, int beside) {
	Lower *k = r->lower;
	int members = r->kernel->members.length, last = r->kernel->domain.rank - 1;
	r->beside = beside;
	for (int side = 0; side < beside; side++) {
		Row *row = &r->side[side];
		row->row = row->wide = r->side[0].row;
		row->given = NULL, row->computed = NULL;
		if (side > 0) row->row.axis[last].constant = row->wide.axis[last].constant = side;
	}
	for (int side = 0; turn_to(r, side); side++) {
		for (int i = 0; i < members; i++) {
			Val *v = r->kernel->members.data[i].val;
			if (comes_first(v)) give(r, v, lower_value(k, v, &r->now->row, NULL));
		}
	}
	if (r->kernel->width <= LANES) write_short_row(r);
	for (r->pass = 0; r->pass < r->kernel->passes && r->kernel->width > LANES; r->pass++) {
		write_pass(r);
		keep_from_now(r);
	}
	for (int side = 0; turn_to(r, side); side++) store_roots(r, false);
}

/* The loops over axes `axis` .. of the domain; along the last one several rows at a time, then those that are left. */
static void write_domain(Rows *r, int axis, Value begin, Value end) {
	Lower *k = r->lower;
	Emit *e = k->e;
	const Kernel *kernel = r->kernel;
	int beside = rows_beside(kernel);
	if (axis == kernel->domain.rank) {
		write_rows(r, 1);
		return;
	}
	int64_t n = kernel->domain.dim[axis];
	Value from = axis == kernel->partition ? begin : emit_index(e, 0), to = axis == kernel->partition ? end : emit_index(e, n);
	EmitLoop loop;
	if (axis == kernel->domain.rank - 1 && beside > 1) {
		Value many = LLVMBuildAnd(e->builder, emit_sub(e, to, from), emit_index(e, -beside), ""), stop = emit_add(e, from, many);
		level_open(k, &loop, from, stop, beside, n - beside + 1, false);
		r->side[0].row.axis[axis] = index_variable(k->depth);
		write_rows(r, beside);
		level_close(k, &loop);
		from = stop;
	}
	level_open(k, &loop, from, to, 1, n, false);
	r->side[0].row.axis[axis] = index_variable(k->depth);
	write_domain(r, axis + 1, begin, end);
	level_close(k, &loop);
}

void lower_rows(Lower *k, Value begin, Value end, Value scratch) {
	Emit *e = k->e;
	const Kernel *kernel = k->kernel;
	k->zero = emit_min(e, begin, emit_index(e, 0));
	Rows r = {.lower = k, .kernel = kernel};
	int64_t at = 0;
	for (int side = 0; side < rows_beside(kernel); side++) {
		r.side[side].kept = NEW_ARRAY(e->arena, Kept, kernel->members.length + 1);
		for (int i = 0; i < kernel->members.length; i++) {
			if (!kernel->members.data[i].kept) continue;
			r.side[side].kept[i] = (Kept){.v = kernel->members.data[i].val, .row = emit_at_constant(e, scratch, e->i8, at)};
			at += kept_bytes(kernel, kernel->members.data[i].val);
		}
	}
	write_domain(&r, 0, begin, end);
}
