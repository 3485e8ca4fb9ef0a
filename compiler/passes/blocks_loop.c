/* blocks_loop.c: in: a region, a stage, and what is outside as new values; out: the stage as scans, their results as new values.
 *
 * Scans over the parallel atoms one within the other, and in the innermost a scan over blocks of rows, or several where the last
 * block is smaller.  A value from outside is brought to the form (parallel atoms.., rows, the rest); each scan takes its row of
 * it.
 * In the body of a block a value has its own axes, without those of parallel atoms, and one axis for all atoms of the rows,
 * where the last of these atoms is. */
#include "blocks_loop.h"

#include <string.h>

enum { MAX_LEVELS = MAX_RANK + 1 };

/* A value from outside in the bodies: at level l it has the parallel atoms from the l-th on. */
typedef struct Import {
	Val *arranged, *at[MAX_LEVELS];
	bool atoms[MAX_RANK], rows;
	int along;               /* the axis of (rows, the rest) that windows see a part of, or -1 */
} Import;

/* Of each level: the body (0: the function around), its index, and the operands of the scan whose body it is. */
typedef struct Nest {
	const Region *g;
	const BlockPlan *p;
	Rebuild *r;
	int loops[MAX_RANK], nloops;             /* parallel atoms */
	Fn *body[MAX_LEVELS];
	Val *index[MAX_LEVELS];
	ValList operands[MAX_LEVELS];
	VEC(Import) imports;
	ValList totals;                          /* of each result so far, at the innermost of those levels */
} Nest;

/* The blocks of a window, and the body of one. */
typedef struct Segment {
	Nest *nest;
	Window window;
	Fn *body;
	Val *index, *number;                     /* number: of each row */
	ValList operands;
	VEC(Val *) imported;                     /* by import: in the body, (rows, the rest) */
	Val **map;                               /* by id */
} Segment;

/* ---- axes in the body ---- */

/* to[i]: the axis that axis i of a value with this label has in the body, or -1; *row: the one of the rows, or -1. */
static int body_axes(const BlockPlan *p, const Label *l, int rank, int *to, int *row) {
	int last = -1, n = 0, most = -1;
	*row = -1;
	for (int i = 0; i < rank; i++)
		for (int k = 0; k < l->axis[i].n; k++)
			if (p->row[l->axis[i].atom[k]] && l->axis[i].atom[k] > most) most = l->axis[i].atom[k], last = i;
	for (int i = 0; i < rank; i++) {
		bool rows = l->axis[i].n && p->row[l->axis[i].atom[0]], gone = l->axis[i].n && p->parallel[l->axis[i].atom[0]];
		if (i == last) *row = n;
		to[i] = gone || (rows && i != last) ? -1 : n++;
	}
	return n;
}

/* Is it the axis that windows see a part of? */
static bool is_skipped(const BlockPlan *p, const Axis *axis) { return p->skip >= 0 && axis->n == 1 && axis->atom[0] == p->skip; }

static Type body_type(const Segment *s, Type t, const Label *l) {
	int to[MAX_RANK], row;
	Type out = {.dtype = t.dtype};
	out.rank = body_axes(s->nest->p, l, t.rank, to, &row);
	for (int i = 0; i < t.rank; i++)
		if (to[i] >= 0 && is_skipped(s->nest->p, &l->axis[i])) out.dim[to[i]] = s->window.high - s->window.low;
		else if (to[i] >= 0) out.dim[to[i]] = to[i] == row ? s->window.block : t.dim[i];
	return out;
}

/* ---- values from outside ---- */

typedef struct Pieces { int n; int64_t dim[3 * MAX_RANK]; int atom[3 * MAX_RANK], kind[3 * MAX_RANK]; } Pieces;
/* Axes of parallel atoms and rows cut into their atoms; others as they are. */
static Pieces cut(const Region *g, const BlockPlan *p, Type t, const Label *l) {
	Pieces c = {0};
	for (int i = 0; i < t.rank; i++) {
		const Axis *axis = &l->axis[i];
		if (!axis->n || kind_of(p, axis->atom[0]) == REST) {
			c.dim[c.n] = t.dim[i], c.atom[c.n] = -1, c.kind[c.n++] = REST;
			continue;
		}
		for (int k = 0; k < axis->n; k++, c.n++)
			c.dim[c.n] = g->extent[axis->atom[k]], c.atom[c.n] = axis->atom[k], c.kind[c.n] = kind_of(p, axis->atom[k]);
	}
	return c;
}

/* Pieces in the order: parallel atoms, atoms of the rows, the rest. */
static void sorted_pieces(const Region *g, const Pieces *c, int64_t *perm) {
	int n = 0;
	for (int kind = PARALLEL; kind < REST; kind++)
		for (int a = 0; a < g->natoms; a++)
			for (int i = 0; i < c->n; i++)
				if (c->kind[i] == kind && c->atom[i] == a) perm[n++] = i;
	for (int i = 0; i < c->n; i++)
		if (c->kind[i] == REST) perm[n++] = i;
}

/* (parallel atoms.., rows, the rest): of the rows it has all atoms or, repeated, none. */
static Import arrange(const Nest *nest, Val *x, const Label *l) {
	Fn *f = nest->body[0];
	const Region *g = nest->g;
	Pieces c = cut(g, nest->p, x->type, l);
	Import out = {0};
	int64_t perm[3 * MAX_RANK], dim[MAX_RANK + 1], with[3 * MAX_RANK], at[3 * MAX_RANK];
	int rank = 0, nrows = 0, have = 0, own = x->type.rank;
	sorted_pieces(g, &c, perm);
	x = ir_transpose(f, ir_reshape(f, x, c.n, c.dim), perm);
	for (int i = 0; i < c.n; i++) nrows += c.kind[i] == ROW;
	for (int a = 0; a < g->natoms; a++) {
		bool has = label_has(l, MAX_RANK, a);
		if (nest->p->parallel[a] && has) out.atoms[a] = true, at[have] = rank, with[rank++] = g->extent[a], have++;
	}
	for (int a = 0; a < g->natoms && nrows; a++) {
		if (!nest->p->row[a]) continue;
		if (label_has(l, MAX_RANK, a)) at[have++] = rank;
		with[rank++] = g->extent[a];
	}
	for (; have < c.n; have++) at[have] = rank, with[rank++] = x->type.dim[have];
	x = ir_broadcast(f, x, rank, with, at);
	rank = 0;
	for (int i = 0; i < c.n; i++)
		if (c.kind[i] == PARALLEL) dim[rank++] = c.dim[i];
	if (nrows) dim[rank++] = nest->p->rows;
	for (int i = 0; i < c.n; i++)
		if (c.kind[i] == REST) dim[rank++] = c.dim[i];
	out.arranged = ir_reshape(f, x, rank, dim);
	out.rows = nrows > 0;
	out.along = -1;
	for (int i = 0, k = out.rows; i < own; i++) {
		const Axis *axis = &l->axis[i];
		if (axis->n && kind_of(nest->p, axis->atom[0]) != REST) continue;
		if (is_skipped(nest->p, axis)) out.along = k;
		k++;
	}
	return out;
}

static Val *pass_in(Fn *body, ValList *operands, Val *x) {
	vec_push(body->arena, operands, x);
	return fn_input(body, arena_printf(body->arena, "x%d", operands->length), INPUT_DATA, x->type);
}

/* The number of an import of x with that label, which is then there in the innermost of the bodies around the blocks. */
static int import(Nest *nest, Val *x, const Label *l) {
	Import new = arrange(nest, x, l);
	for (int i = 0; i < nest->imports.length; i++) {
		const Import *known = &nest->imports.data[i];
		bool same = known->arranged == new.arranged && known->rows == new.rows && known->along == new.along;
		if (same && !memcmp(known->atoms, new.atoms, sizeof new.atoms)) return i;
	}
	new.at[0] = new.arranged;
	for (int level = 1; level <= nest->nloops; level++) {
		Fn *body = nest->body[level];
		Val *in = pass_in(body, &nest->operands[level], new.at[level - 1]);
		new.at[level] = new.atoms[nest->loops[level - 1]] ? ir_gather(body, in, nest->index[level], 0) : in;
	}
	vec_push(nest->g->f->arena, &nest->imports, new);
	return nest->imports.length - 1;
}

/* Its rows of this block, and what they see of the rest. */
static Val *imported(Segment *s, int number) {
	const Nest *nest = s->nest;
	const Import *import = &nest->imports.data[number];
	Fn *around = nest->body[nest->nloops];
	while (s->imported.length <= number) vec_push(around->arena, &s->imported, NULL);
	Val **at = &s->imported.data[number];
	if (*at) return *at;
	Val *x = import->at[nest->nloops];
	if (s->body == around) return *at = x;
	const Window *w = &s->window;
	int64_t start[MAX_RANK] = {0}, size[MAX_RANK], dim[MAX_RANK + 1] = {w->count, w->block};
	for (int i = 0; i < x->type.rank; i++) size[i] = x->type.dim[i];
	if (import->rows) start[0] = w->start, size[0] = w->count * w->block;
	if (import->along >= 0) start[import->along] = w->low, size[import->along] = w->high - w->low;
	x = ir_slice(around, x, start, size, NULL);
	if (!import->rows) return *at = pass_in(s->body, &s->operands, x);
	for (int i = 1; i < x->type.rank; i++) dim[i + 1] = x->type.dim[i];
	x = ir_reshape(around, x, x->type.rank + 1, dim);
	return *at = ir_gather(s->body, pass_in(s->body, &s->operands, x), s->index, 0);
}

/* A value from outside with the axes that it has in the body. */
static Val *leaf(Segment *s, const Val *v, const Label *l) {
	Val *x = imported(s, import(s->nest, s->nest->r->map[v->id], l));
	int to[MAX_RANK], row;
	int rank = body_axes(s->nest->p, l, v->type.rank, to, &row);
	if (row <= 0) return x;
	int64_t perm[MAX_RANK];
	for (int i = 0; i < rank; i++) perm[i] = i < row ? i + 1 : i == row ? 0 : i;
	return ir_transpose(s->body, x, perm);
}

/* ---- functions of the index ---- */

/* The index of a parallel atom, in the body of a block. */
static Val *index_of(Segment *s, int atom) {
	const Nest *nest = s->nest;
	int level = 1;
	while (nest->loops[level - 1] != atom) level++;
	Val *x = nest->index[level];
	for (; level < nest->nloops; level++) x = pass_in(nest->body[level + 1], (ValList *)&nest->operands[level + 1], x);
	return s->body == nest->body[nest->nloops] ? x : pass_in(s->body, &s->operands, x);
}

static Val *row_numbers(Segment *s) {
	if (s->number) return s->number;
	Fn *f = s->body;
	Type t = type_make(DTYPE_I32, 1, &s->window.block);
	s->number = ir_iota(f, t, 0);
	if (s->window.start) s->number = ir_Add(f, s->number, ir_like(f, s->number, (double)s->window.start));
	if (!s->index) return s->number;
	Val *first = ir_Mul(f, s->index, ir_const(f, DTYPE_I32, (double)s->window.block));
	return s->number = ir_Add(f, s->number, ir_broadcast(f, first, 1, t.dim, NULL));
}

/* The index of an atom of the rows, for each row. */
static Val *digit(Segment *s, int atom) {
	int64_t inner = 1, outer = 1;
	for (int a = 0; a < s->nest->g->natoms; a++) {
		if (!s->nest->p->row[a]) continue;
		if (a < atom) outer *= s->nest->g->extent[a];
		if (a > atom) inner *= s->nest->g->extent[a];
	}
	Fn *f = s->body;
	Val *x = row_numbers(s);
	if (inner > 1) x = ir_Idiv(f, x, ir_like(f, x, (double)inner));
	return outer > 1 ? ir_Mod(f, x, ir_like(f, x, (double)s->nest->g->extent[atom])) : x;
}

/* The index along an axis of a value of type `whole` with this label. */
static Val *index_along(Segment *s, Type whole, const Label *l, int along) {
	whole.dtype = DTYPE_I32;
	Type t = body_type(s, whole, l);
	int to[MAX_RANK], row;
	const Axis *axis = &l->axis[along];
	body_axes(s->nest->p, l, whole.rank, to, &row);
	Val *x = NULL;
	if (!axis->n || kind_of(s->nest->p, axis->atom[0]) == REST) {
		x = ir_iota(s->body, t, to[along]);
		bool later = is_skipped(s->nest->p, axis) && s->window.low;
		return later ? ir_Add(s->body, x, ir_like(s->body, x, (double)s->window.low)) : x;
	}
	for (int k = 0; k < axis->n; k++) {
		int atom = axis->atom[k];
		Val *i = s->nest->p->parallel[atom] ? index_of(s, atom) : digit(s, atom);
		if (x) x = ir_Add(s->body, ir_Mul(s->body, x, ir_like(s->body, x, (double)s->nest->g->extent[atom])), i);
		else x = i;
	}
	int64_t at[1] = {row};
	return ir_broadcast(s->body, x, t.rank, t.dim, x->type.rank ? at : NULL);
}

static Val *rebuild_in_body(Segment *s, const Val *v, const Label *own, Val **args);

/* The same random numbers as where all of them are drawn: by the numbers that the elements have there. */
static Val *random_elements(Segment *s, const Val *v, const Label *l) {
	Val *key[3], *number = NULL;
	Label none = {0};
	int64_t stride = 1;
	for (int i = 0; i < 3; i++)
		key[i] = v->arg[i]->op == OpConst ? ir_const(s->body, DTYPE_I32, v->arg[i]->number) : leaf(s, v->arg[i], &none);
	for (int i = v->type.rank - 1; i >= 0; stride *= v->type.dim[i--]) {
		Val *x = index_along(s, v->type, l, i);
		if (stride > 1) x = ir_Mul(s->body, x, ir_like(s->body, x, (double)stride));
		number = number ? ir_Add(s->body, number, x) : x;
	}
	if (!number) number = ir_const(s->body, DTYPE_I32, 0);
	return ir_random_at(s->body, key, number, v->list[0].data[0], (int)v->list[1].data[0]);
}

/* A function of the index with this label. */
static Val *free_value(Segment *s, const Val *v, const Label *l) {
	if (v->op == OpConst) return ir_const(s->body, v->type.dtype, v->number);
	if (v->op == OpIota) return index_along(s, v->type, l, (int)v->list[0].data[0]);
	if (v->op == OpRandom) return random_elements(s, v, l);
	Val *args[MAX_RANK];
	for (int k = 0; k < v->nargs; k++) {
		Label below;
		label_below(s->nest->g, v, l, k, &below);
		args[k] = free_value(s, v->arg[k], &below);
	}
	return rebuild_in_body(s, v, l, args);
}

/* ---- values of the region ---- */

static Val *broadcast(Segment *s, const Val *v, const Label *own, Val *a) {
	int to[MAX_RANK], from[MAX_RANK], row, row_below;
	int64_t at[MAX_RANK];
	Label below;
	Type t = body_type(s, v->type, own);
	label_below(s->nest->g, v, own, 0, &below);
	body_axes(s->nest->p, own, v->type.rank, to, &row);
	body_axes(s->nest->p, &below, v->arg[0]->type.rank, from, &row_below);
	for (int i = 0; i < v->arg[0]->type.rank; i++)
		if (from[i] >= 0) at[from[i]] = from[i] == row_below ? row : to[v->list[0].data[i]];
	return ir_broadcast(s->body, a, t.rank, t.dim, at);
}

static Val *contract(Segment *s, const Val *v, const Label *own, Val **args) {
	int64_t labels[3][MAX_RANK];
	int ny = 0;
	for (int k = 0; k < 3; k++) {
		Label below = *own;
		int to[MAX_RANK], row, rank = k < 2 ? v->arg[k]->type.rank : v->type.rank;
		if (k < 2) label_below(s->nest->g, v, own, k, &below);
		ny = body_axes(s->nest->p, &below, rank, to, &row);
		for (int i = 0; i < rank; i++)
			if (to[i] >= 0) labels[k][to[i]] = v->list[k].data[i];
	}
	return ir_contract(s->body, args[0], labels[0], args[1], labels[1], ny, labels[2]);
}

/* The same operation over values of the body. */
static Val *rebuild_in_body(Segment *s, const Val *v, const Label *own, Val **args) {
	Fn *f = s->body;
	int to[MAX_RANK], from[MAX_RANK], row;
	Label below = {0};
	Type t = body_type(s, v->type, own);
	body_axes(s->nest->p, own, v->type.rank, to, &row);
	if (v->nargs) label_below(s->nest->g, v, own, 0, &below);
	if (v->nargs) body_axes(s->nest->p, &below, v->arg[0]->type.rank, from, &row);
	switch (v->op) {
	case OpCast: return ir_cast(f, args[0], v->type.dtype);
	case OpReshape: return ir_reshape(f, args[0], t.rank, t.dim);
	case OpBroadcast: return broadcast(s, v, own, args[0]);
	case OpContract: return contract(s, v, own, args);
	case OpArgMax: return ir_argmax(f, args[0], from[v->list[0].data[0]]);
	case OpTranspose: {
		int64_t perm[MAX_RANK];
		for (int i = 0; i < v->type.rank; i++)
			if (to[i] >= 0) perm[to[i]] = from[v->list[0].data[i]];
		return ir_transpose(f, args[0], perm);
	}
	case OpReduceSum: case OpReduceMax: case OpReduceMin: case OpReduceProd: {
		int64_t axis[1] = {from[v->list[0].data[0]]};
		return axis[0] < 0 ? args[0] : ir_reduce(f, v->op, args[0], 1, axis);
	}
	case OpGather: case OpScatterAdd: {
		int batch = 0;
		for (int i = 0; i < v->list[0].data[0]; i++) batch += from[i] >= 0;
		if (v->op == OpGather) return ir_gather(f, args[0], args[1], batch);
		return ir_scatter_add(f, args[0], args[1], batch, v->type.dim[v->list[0].data[0]]);
	}
	default: return ir_pointwise(f, v->op, args);
	}
}

static Val *operand(Segment *s, const Val *v, int k) {
	const Region *g = s->nest->g;
	const Val *a = v->arg[k];
	Label l;
	if (!label_of_operand(g, v, k, &l)) die("an operand of a block has no label");
	if (g->free[a->id]) return free_value(s, a, &l);
	if (s->nest->p->needed[a->id] && g->member[a->id] != RESULT) return s->map[a->id];
	return leaf(s, a, &l);
}

static bool has_rows(const Nest *nest, const Val *v) {
	for (int a = 0; a < nest->g->natoms; a++)
		if (nest->p->row[a] && label_has(nest->g->label[v->id], v->type.rank, a)) return true;
	return false;
}

/* ---- blocks of rows ---- */

/* Rows first. */
static Val *rows_first(Segment *s, const Val *v, Val *x) {
	int to[MAX_RANK], row;
	int rank = body_axes(s->nest->p, s->nest->g->label[v->id], v->type.rank, to, &row);
	int64_t perm[MAX_RANK];
	for (int i = 0; i < rank; i++) perm[i] = i == 0 ? row : i <= row ? i - 1 : i;
	return row > 0 ? ir_transpose(s->body, x, perm) : x;
}

static void compute_members(Segment *s) {
	const Region *g = s->nest->g;
	s->map = NEW_ARRAY(g->f->arena, Val *, g->f->vals.length + 1);
	for (int i = 0; i < g->f->vals.length; i++) {
		const Val *v = g->f->vals.data[i];
		Val *args[4];
		if (!s->nest->p->needed[i]) continue;
		for (int k = 0; k < v->nargs; k++) args[k] = operand(s, v, k);
		s->body->span = v->span;
		s->map[i] = rebuild_in_body(s, v, g->label[i], args);
	}
}

/* All rows in one: no scan. */
static void one_block(Nest *nest) {
	Segment s = {.nest = nest, .window = nest->p->window[0], .body = nest->body[nest->nloops]};
	compute_members(&s);
	for (int i = 0; i < nest->p->results.length; i++) {
		const Val *v = nest->p->results.data[i];
		vec_push(nest->g->f->arena, &nest->totals, has_rows(nest, v) ? rows_first(&s, v, s.map[v->id]) : s.map[v->id]);
	}
}

/* Does the window see less of this result than there is? */
static bool is_part(const Segment *s, const Val *v) {
	Type t = body_type(s, v->type, s->nest->g->label[v->id]);
	const Label *l = s->nest->g->label[v->id];
	int to[MAX_RANK], row;
	body_axes(s->nest->p, l, v->type.rank, to, &row);
	for (int i = 0; i < v->type.rank; i++)
		if (is_skipped(s->nest->p, &l->axis[i]) && t.dim[to[i]] < v->type.dim[i]) return true;
	return false;
}

/* The sum of one window, with zeros where the window does not reach. */
static Val *pad_part(const Segment *s, const Val *v, Val *x) {
	const Label *l = s->nest->g->label[v->id];
	int to[MAX_RANK], row;
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	body_axes(s->nest->p, l, v->type.rank, to, &row);
	for (int i = 0; i < v->type.rank; i++)
		if (is_skipped(s->nest->p, &l->axis[i])) lo[to[i]] = s->window.low, hi[to[i]] = v->type.dim[i] - s->window.high;
	return ir_pad(s->nest->body[s->nest->nloops], x, lo, hi, NULL, 0);
}

/* Carries, one for each result that sums over the rows: they go on from the window before, unless they are a part. */
static void start_sums(Segment *s, ValList *carries, ValList *args) {
	Nest *nest = s->nest;
	Fn *around = nest->body[nest->nloops];
	for (int i = 0; i < nest->p->results.length; i++) {
		const Val *v = nest->p->results.data[i];
		if (has_rows(nest, v)) continue;
		Type t = body_type(s, v->type, nest->g->label[v->id]);
		Val *first = ir_broadcast(around, ir_const(around, t.dtype, 0), t.rank, t.dim, NULL);
		if (s->window.start && !is_part(s, v)) first = nest->totals.data[i];
		vec_push(around->arena, args, first);
		vec_push(around->arena, carries, fn_input(s->body, arena_printf(around->arena, "sum%d", i), INPUT_DATA, t));
	}
}

/* Result `i` of the window put to those before. */
static void add_total(const Segment *s, int i, Val *y) {
	Nest *nest = s->nest;
	Fn *around = nest->body[nest->nloops];
	const Val *v = nest->p->results.data[i];
	Val **total = &nest->totals.data[i];
	if (has_rows(nest, v)) {
		int64_t dim[MAX_RANK] = {y->type.dim[0] * y->type.dim[1]};
		for (int k = 2; k < y->type.rank; k++) dim[k - 1] = y->type.dim[k];
		y = ir_reshape(around, y, y->type.rank - 1, dim);
		*total = *total ? ir_concat(around, 2, (Val *[]){*total, y}, 0) : y;
	} else if (is_part(s, v)) {
		y = pad_part(s, v, y);
		*total = *total ? ir_Add(around, *total, y) : y;
	} else {
		*total = y;
	}
}

/* A scan over the blocks of a window; its results are put to those of the windows before. */
static void add_window(Nest *nest, Window window) {
	Arena *arena = nest->g->f->arena;
	const ValList *results = &nest->p->results;
	Fn *around = nest->body[nest->nloops];
	Segment s = {.nest = nest, .window = window, .body = fn_new(arena, "block")};
	ValList carries = {0}, args = {0};
	s.index = fn_input(s.body, "block", INPUT_DATA, type_scalar(DTYPE_I32));
	start_sums(&s, &carries, &args);
	compute_members(&s);
	for (int emitted = 0, carry = 0; emitted < 2; emitted++)
		for (int i = 0; i < results->length; i++) {
			const Val *v = results->data[i];
			if (has_rows(nest, v) != emitted) continue;
			Val *x = s.map[v->id];
			x = emitted ? rows_first(&s, v, x) : ir_Add(s.body, carries.data[carry++], x);
			fn_output(s.body, arena_printf(arena, "y%d", i), x, -1);
		}
	for (int i = 0; i < s.operands.length; i++) vec_push(arena, &args, s.operands.data[i]);
	Val *scan = ir_scan(around, fn_canonical(s.body), window.count, false, carries.length, args.length, args.data);
	while (nest->totals.length < results->length) vec_push(arena, &nest->totals, NULL);
	for (int emitted = 0, n = 0; emitted < 2; emitted++)
		for (int i = 0; i < results->length; i++)
			if (has_rows(nest, results->data[i]) == emitted) add_total(&s, i, ir_project(around, scan, n++));
}

/* (parallel atoms.., rows, the rest) back to the axes of `v`. */
static Val *rearrange(const Nest *nest, const Val *v, Val *x) {
	Fn *f = nest->body[0];
	Pieces c = cut(nest->g, nest->p, v->type, nest->g->label[v->id]);
	int64_t perm[3 * MAX_RANK], back[3 * MAX_RANK], dim[3 * MAX_RANK];
	sorted_pieces(nest->g, &c, perm);
	for (int i = 0; i < c.n; i++) dim[i] = c.dim[perm[i]], back[perm[i]] = i;
	return ir_reshape(f, ir_transpose(f, ir_reshape(f, x, c.n, dim), back), v->type.rank, v->type.dim);
}

void blocks_loop(const Region *g, int stage, Rebuild *r) {
	BlockPlan p;
	Nest nest = {.g = g, .p = &p, .r = r, .body = {r->to}};
	if (!block_plan(g, stage, &p)) die("a stage of a region is no loop");
	if (!p.results.length) return;
	for (int a = 0; a < g->natoms; a++) {
		if (!p.parallel[a]) continue;
		nest.loops[nest.nloops++] = a;
		nest.body[nest.nloops] = fn_new(r->to->arena, "turn");
		nest.index[nest.nloops] = fn_input(nest.body[nest.nloops], "turn", INPUT_DATA, type_scalar(DTYPE_I32));
	}
	if (p.block == p.rows) one_block(&nest);
	for (int i = 0; i < p.nwindows && p.block < p.rows; i++) add_window(&nest, p.window[i]);
	for (int level = nest.nloops; level > 0; level--) {
		Fn *body = nest.body[level], *around = nest.body[level - 1];
		for (int i = 0; i < p.results.length; i++) fn_output(body, arena_printf(body->arena, "y%d", i), nest.totals.data[i], -1);
		const ValList *operands = &nest.operands[level];
		int64_t count = g->extent[nest.loops[level - 1]];
		Val *scan = ir_scan(around, fn_canonical(body), count, false, 0, operands->length, operands->data);
		for (int i = 0; i < p.results.length; i++) nest.totals.data[i] = ir_project(around, scan, i);
	}
	for (int i = 0; i < p.results.length; i++) {
		const Val *v = p.results.data[i];
		r->to->span = v->span;
		r->map[v->id] = rearrange(&nest, v, nest.totals.data[i]);
	}
}
