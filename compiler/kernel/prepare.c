/* prepare.c: in: a Fn after all passes; out: the same function with
 *   - the operands of each contract in the order batch, m, k and batch, k, n, copied where they are small beside it and only a
 *     copy has the summed axes as one; a dot of anything but windows having at most one axis of each (several are merged by
 *     transpose + reshape), the batch being the first axis of the result;
 *   - scatter_add as a sort of the numbers and a sum of rows;
 *   - reshapes of what is computed element by element from inputs standing at the inputs;
 *   - what a product reads padded and others read as it is stored once, padded: the others read a slice;
 *   - windows of padded data whose last axis is short, like an image's colours: padded along that and the axis before as one;
 *   - every output a computed value of its own (no bare input, no value shared by two outputs, no row of an operand of a scan, no
 *     last carry of one);
 *   - casts of short numbers to f32 after the views of them;
 *   - the first value of each carry of a scan read by the scan alone, which overwrites it;
 *   - a constant of a scan that a product of its body reads transposed or rounded, made so before the scan.
 * Guarantees: the same inputs and outputs in the same order, the same bits. */
#include "kernel.h"

#include <string.h>

typedef struct Groups { int batch[MAX_RANK], m[MAX_RANK], n[MAX_RANK], k[MAX_RANK]; int nbatch, nm, nn, nk; } Groups;

/* The operands of `v` in `f`, whatever is built next being blamed on its place; `small` has room for four. */
static Val **operands(Fn *f, const Val *v, Val *const *now, Val **small) {
	Val **args = v->nargs <= 4 ? small : NEW_ARRAY(f->arena, Val *, v->nargs);
	for (int k = 0; k < v->nargs; k++) args[k] = now[v->arg[k]->id];
	f->span = v->span;
	return args;
}

static bool has_label(IntList list, int64_t label) {
	for (int i = 0; i < list.length; i++)
		if (list.data[i] == label) return true;
	return false;
}

/* Labels by role: summed ones in the order of a, the others in that of the result. */
static Groups label_groups(const Val *v) {
	IntList la = v->list[0], lb = v->list[1], ly = v->list[2];
	Groups g = {0};
	for (int i = 0; i < la.length; i++)
		if (!has_label(ly, la.data[i])) g.k[g.nk++] = (int)la.data[i];
	for (int i = 0; i < ly.length; i++) {
		int label = (int)ly.data[i];
		bool in_a = has_label(la, label), in_b = has_label(lb, label);
		if (in_a && in_b) g.batch[g.nbatch++] = label;
		else if (in_a) g.m[g.nm++] = label;
		else g.n[g.nn++] = label;
	}
	return g;
}

/* Is it a view of windows? */
static bool reads_windows(const Val *v) {
	for (; is_strided_view(v); v = v->arg[0])
		if (v->op == OpWindow) return true;
	return false;
}

/* Operand `v` with its axes in the order of the three groups, each group merged to one axis (absent when empty). */
static Val *merge_operand(Fn *f, Val *v, IntList labels, const int *groups[3], const int counts[3]) {
	int64_t perm[MAX_RANK], dim[MAX_RANK];
	int n = 0, rank = 0;
	for (int g = 0; g < 3; g++) {
		int64_t product = 1;
		for (int i = 0; i < counts[g]; i++) {
			perm[n] = label_axis(labels, groups[g][i]);
			product *= v->type.dim[perm[n++]];
		}
		if (counts[g]) dim[rank++] = product;
	}
	bool windows = reads_windows(v);
	v = ir_transpose(f, v, perm);
	return ir_reshape(f, windows ? ir_mark(f, v) : v, rank, dim);   /* windows are copied axis by axis, then merged */
}

/* Operand `v` with its axes in the order of the three groups, and their labels. */
static Val *order_operand(Fn *f, Val *v, IntList labels, const int *groups[3], const int counts[3], int64_t *ordered) {
	int64_t perm[MAX_RANK];
	int n = 0;
	for (int g = 0; g < 3; g++)
		for (int i = 0; i < counts[g]; i++) {
			ordered[n] = groups[g][i];
			perm[n++] = label_axis(labels, groups[g][i]);
		}
	return ir_transpose(f, v, perm);
}

enum { WORTH_COPYING = 256 };   /* multiplications for each element: not for one small image, where memory counts */

/* Operand `v`, or a copy of it in which the summed axes, of which there are several, are one: sums of one loop are packed, or
 * read in long runs.  ordered: the labels of its axes then. */
static Val *merge_summed(Fn *f, Val *v, IntList labels, const Groups *g, double products, int64_t *ordered) {
	int64_t perm[MAX_RANK];
	int place[MAX_RANK], axis[MAX_RANK], n = 0;
	bool together = true, placed = false;
	transposes_of(v, place);
	for (int i = 0; i < labels.length; i++) ordered[i] = labels.data[i], axis[place[i]] = i;   /* of v, by where it lies */
	for (int k = 1; k < g->nk; k++)
		together = together && place[label_axis(labels, g->k[k])] == place[label_axis(labels, g->k[k - 1])] + 1;
	if (together || reads_windows(v) || products < WORTH_COPYING * (double)type_count(v->type)) return v;
	for (int i = 0; i < labels.length; i++) {   /* the summed axes where the first of them lies */
		bool summed = contains(g->k, g->nk, (int)labels.data[axis[i]]);
		for (int k = 0; k < g->nk && summed && !placed; k++) perm[n++] = label_axis(labels, g->k[k]);
		if (!summed) perm[n++] = axis[i];
		placed = placed || summed;
	}
	for (int i = 0; i < n; i++) ordered[i] = labels.data[perm[i]];
	return ir_mark(f, ir_transpose(f, v, perm));
}

/* The operand that gives the result's columns ends with them, the other one with the summed axes. */
static Val *order_contract(Fn *f, const Val *v, Val **args, const Groups *g) {
	int64_t la[MAX_RANK], lb[MAX_RANK];
	bool swapped = contract_is_swapped(v);
	const int *rows = swapped ? g->n : g->m, *columns = swapped ? g->m : g->n;
	int nrows = swapped ? g->nn : g->nm, ncolumns = swapped ? g->nm : g->nn, first = swapped ? 1 : 0;
	int64_t *l[2] = {swapped ? lb : la, swapped ? la : lb}, merged[2][MAX_RANK];
	Val *to[2] = {args[first], args[!first]};
	IntList labels[2] = {v->list[first], v->list[!first]};
	double products = (double)type_count(v->type) * (double)contract_order(v).terms;
	for (int i = 0; i < 2 && g->nk > 1 && v->type.dtype == DTYPE_F32; i++) {
		to[i] = merge_summed(f, to[i], labels[i], g, products, merged[i]);
		labels[i].data = merged[i];
	}
	to[0] = order_operand(f, to[0], labels[0], (const int *[]){g->batch, rows, g->k}, (int[]){g->nbatch, nrows, g->nk}, l[0]);
	to[1] = order_operand(f, to[1], labels[1], (const int *[]){g->batch, g->k, columns}, (int[]){g->nbatch, g->nk, ncolumns},
	                      l[1]);
	const int64_t *within = v->list[3].length ? v->list[3].data : NULL;
	return ir_contract_within(f, to[first], la, to[!first], lb, v->list[2].length, v->list[2].data, within);
}

static Val *prepare_contract(Fn *f, const Val *v, Val **args) {
	Groups g = label_groups(v);
	ContractOrder how = contract_order(v);
	/* merging axes of windows would store each element once for each tap */
	bool runs = v->type.dtype == DTYPE_F32 && how.terms <= how.block && (reads_windows(args[0]) || reads_windows(args[1]));
	if (!how.dot || runs) return order_contract(f, v, args, &g);
	bool batch_first = g.nbatch == 0 || v->list[2].data[0] == g.batch[0];
	if (g.nbatch <= 1 && g.nm <= 1 && g.nn <= 1 && g.nk <= 1 && batch_first) return fn_rebuild(f, (Val *)v, args);
	enum { BATCH, M, N, K };
	Val *a = merge_operand(f, args[0], v->list[0], (const int *[]){g.batch, g.m, g.k}, (int[]){g.nbatch, g.nm, g.nk});
	Val *b = merge_operand(f, args[1], v->list[1], (const int *[]){g.batch, g.k, g.n}, (int[]){g.nbatch, g.nk, g.nn});
	int64_t la[3], lb[3], ly[3];
	int na = 0, nb = 0, ny = 0;
	if (g.nbatch) la[na++] = lb[nb++] = ly[ny++] = BATCH;
	if (g.nm) la[na++] = ly[ny++] = M;
	if (g.nk) la[na++] = lb[nb++] = K;
	if (g.nn) lb[nb++] = ly[ny++] = N;
	Val *y = ir_contract(f, a, la, b, lb, ny, ly);
	/* back to y's own axes: first split, in the order batch, m, n; then permuted */
	int64_t dim[MAX_RANK], perm[MAX_RANK];
	int order[MAX_RANK], rank = 0;
	for (int i = 0; i < g.nbatch; i++) order[rank++] = g.batch[i];
	for (int i = 0; i < g.nm; i++) order[rank++] = g.m[i];
	for (int i = 0; i < g.nn; i++) order[rank++] = g.n[i];
	for (int i = 0; i < rank; i++) {
		int axis = label_axis(v->list[2], order[i]);
		dim[i] = v->type.dim[axis];
		perm[axis] = i;
	}
	return ir_transpose(f, ir_reshape(f, y, rank, dim), perm);
}

/* Products of f16 and bf16 are products of f32, rounded once. */
static Val *prepare_short_contract(Fn *f, const Val *v, Val **args) {
	Val wide = *v;
	wide.type.dtype = DTYPE_F32;
	Val *of[2] = {ir_cast(f, args[0], DTYPE_F32), ir_cast(f, args[1], DTYPE_F32)};
	return ir_cast(f, prepare_contract(f, &wide, of), v->type.dtype);
}

/* The numbers sorted into buckets, and rows summed by bucket: each row of the result can then be computed by itself, wherever
 * it is wanted, in the order of the numbers. */
static Val *prepare_scatter(Fn *f, const Val *v, Val **args) {
	Type index = args[1]->type;
	int batch = (int)v->list[0].data[0], rest = args[0]->type.rank - index.rank;
	int64_t dim[MAX_RANK], m = 1;
	for (int i = 0; i < index.rank; i++) {
		if (i < batch) dim[i] = index.dim[i];
		else m *= index.dim[i];
	}
	dim[batch] = m;
	Val *buckets = ir_buckets(f, ir_reshape(f, args[1], batch + 1, dim), v->type.dim[batch]);
	return ir_sum_buckets(f, args[0], buckets, rest);
}

/* The same window of data padded along the axis before a short last one, rows of both being one axis while they are padded: so
 * they are copied a vector at a time, and not a few elements. */
static Val *prepare_window(Fn *f, const Val *v, Val **args) {
	const Val *pad = args[0];
	Type t = pad->type;
	int axis = t.rank - 2;
	bool data = pad->op == OpPad && pad->arg[0]->op == OpInput && axis > 0 &&
	            f->inputs.data[pad->arg[0]->list[0].data[0]].kind == INPUT_DATA;
	if (!data || last_dim(t) % LANES == 0) return fn_rebuild(f, (Val *)v, args);
	int64_t n = last_dim(t), list[3][MAX_RANK], dim[MAX_RANK];
	for (int k = 0; k < 3; k++) memcpy(list[k], pad->list[k].data, sizeof list[k][0] * (size_t)t.rank);
	if (list[0][axis + 1] || list[1][axis + 1] || list[2][axis + 1] || list[2][axis]) return fn_rebuild(f, (Val *)v, args);
	memcpy(dim, pad->arg[0]->type.dim, sizeof dim);
	list[0][axis] *= n, list[1][axis] *= n, dim[axis] *= n;
	Val *rows = ir_pad(f, ir_reshape(f, pad->arg[0], axis + 1, dim), list[0], list[1], list[2], pad->number);
	Val *padded = ir_reshape(f, rows, t.rank, t.dim);
	return fn_rebuild(f, (Val *)v, &padded);
}

enum { SINK_DEPTH = 64 };

/* Is v computed element by element from inputs and constants alone, each step used once? */
static bool comes_from_inputs(const Val *v, const int *uses, int depth) {
	double value;
	if (v->op == OpInput || is_splat(v, &value)) return true;
	if (depth == 0 || uses[v->id] > 1) return false;
	if (v->op == OpReshape) return comes_from_inputs(v->arg[0], uses, depth - 1);
	if (!is_pointwise(v) || v->op == OpMark || v->op == OpCustom || v->op == OpAgain) return false;
	for (int k = 0; k < v->nargs; k++)
		if (!comes_from_inputs(v->arg[k], uses, depth - 1)) return false;
	return true;
}

/* v under other dims, the reshape moved down to the inputs: what is read there costs nothing to reshape, and the element-wise
 * work on it can be part of whatever reads the result. */
static Val *sink_reshape(Fn *f, const Val *v, Val *const *now, int rank, const int64_t *dim) {
	double value;
	if (is_splat(v, &value)) return ir_broadcast(f, ir_const(f, v->type.dtype, value), rank, dim, NULL);
	if (v->op == OpInput) return ir_reshape(f, now[v->id], rank, dim);
	if (v->op == OpReshape) return sink_reshape(f, v->arg[0], now, rank, dim);
	Val *args[4];
	for (int k = 0; k < v->nargs; k++) args[k] = sink_reshape(f, v->arg[k], now, rank, dim);
	if (v->op == OpCast) return ir_cast(f, args[0], v->type.dtype);
	return ir_pointwise(f, v->op, args);
}

/* A view `v` of what `a` is: of its short numbers, or of the input that it rounds. */
static Val *view_below(Fn *f, Val *v, Val *a) {
	const Val *given = view_base(a->op == OpCast ? a->arg[0] : a);
	bool rounded = a->op == OpCast && a->arg[0]->type.dtype == DTYPE_F32 && dtype_info[a->type.dtype].bytes < 4;
	if (is_widening(a) || (rounded && given->op == OpInput)) return ir_cast(f, view_below(f, v, a->arg[0]), a->type.dtype);
	Val moved = *v;
	moved.type.dtype = a->type.dtype;
	return fn_rebuild(f, &moved, &a);
}

static Val *gather_below(Fn *f, const Val *v, Val **args) {
	Val *wide = args[0], gather = *v;
	args[0] = wide->arg[0];
	gather.type.dtype = args[0]->type.dtype;
	return ir_cast(f, fn_rebuild(f, &gather, args), DTYPE_F32);
}

/* The short numbers that a cast makes f32, or v. */
static Val *widened_from(Val *v) { return is_widening(v) ? v->arg[0] : v; }

static bool has_widening(const Fn *f) {
	for (int i = 0; i < f->vals.length; i++)
		if (is_widening(f->vals.data[i])) return true;
	return false;
}

/* `f` with the outputs of `from`, which now[] stands for. */
static Fn *with_outputs(Fn *f, const Fn *from, Val *const *now) {
	fn_outputs_of(f, from, now);
	f->span = from->span;
	return fn_renumber(f);
}

static Fn *widen_last(Fn *from);

/* The body of a scan of which some operands, no carries, are given as the short numbers they were made from. */
static Fn *with_short_operands(const Fn *body, Val **args, int nargs, int carries) {
	Val **now = NEW_ARRAY(body->arena, Val *, body->vals.length + 1);
	Fn *to = fn_new(body->arena, body->name);
	for (int i = 0; i < body->inputs.length; i++) {
		const Input *input = &body->inputs.data[i];
		Type t = input->type;
		bool narrow = i > carries && i <= nargs && is_widening(args[i - 1]);
		if (narrow) t.dtype = args[i - 1]->arg[0]->type.dtype;
		Val *x = fn_input(to, input->name, input->kind, t);
		to->inputs.data[i].classes = input->classes;
		if (input->val) now[input->val->id] = narrow ? ir_cast(to, x, DTYPE_F32) : x;
	}
	for (int i = 0; i < body->vals.length; i++) {
		Val *v = body->vals.data[i], *small[4];
		if (v->op != OpInput) now[i] = fn_rebuild(to, v, operands(to, v, now, small));
	}
	for (int i = 0; i < body->outputs.length; i++)
		fn_output(to, body->outputs.data[i].name, now[body->outputs.data[i].val->id], -1);
	return widen_last(fn_renumber(to));
}

static Val *shorten_scan(Fn *f, const Val *v, Val **args) {
	Val scan = *v;
	int carries = scan_carries(v);
	bool any = false;
	for (int i = carries; i < v->nargs; i++) any = any || is_widening(args[i]);
	if (any) scan.body = with_short_operands(v->body, args, v->nargs, carries);
	for (int i = carries; i < v->nargs; i++) args[i] = widened_from(args[i]);
	return fn_rebuild(f, &scan, args);
}

/* Short numbers become f32 after all views of them, so that it is them that need a place. */
static Fn *widen_last(Fn *from) {
	if (!has_widening(from)) return from;
	Val **now = NEW_ARRAY(from->arena, Val *, from->vals.length + 1);
	Fn *f = fn_with_inputs(from, now);
	for (int i = 0; i < from->vals.length; i++) {
		Val *v = from->vals.data[i], *small[4];
		if (v->op == OpInput) continue;
		Val **args = operands(f, v, now, small);
		bool moves = (is_view(v) && v->op != OpAgain) || (v->op == OpPad && v->number == 0);
		if (v->op == OpScan) now[i] = shorten_scan(f, v, args);
		else if (v->op == OpGather && is_widening(args[0])) now[i] = gather_below(f, v, args);
		else now[i] = moves && is_widening(args[0]) ? view_below(f, v, args[0]) : fn_rebuild(f, v, args);
	}
	return with_outputs(f, from, now);
}

static Fn *prepare(Fn *from, int carries);

/* What a body's product reads of a constant across its rows, a transposed matrix, would be put in order in every turn, and what
 * it reads rounded would be rounded in every turn: this value of operand `k`, or NULL. */
static Val *turned_constant(const Val *v, int k, int carries) {
	if (!is_product(v)) return NULL;
	Val *b = widened_from(v->arg[k]);
	const Val *given = view_base(b->op == OpCast ? b->arg[0] : b);
	if (given->op != OpInput || given->list[0].data[0] <= carries) return NULL;
	if (b->op == OpCast) return contract_is_swapped(v) == (k == 0) ? v->arg[k] : b;   /* columns would be packed in every turn */
	int last = b->type.rank - 1;
	if (contract_order(v).dot || contract_is_swapped(v) != (k == 0)) return NULL;
	return b->op != OpTranspose || b->arg[0] != given || b->list[0].data[last] == last ? NULL : b;
}

/* A value of a body made of one constant, made before the scan of the operand that the constant is. */
static Val *before_scan(Fn *f, Val *v, Val *const *args) {
	if (v->op == OpInput) return args[v->list[0].data[0] - 1];
	Val *a = before_scan(f, v->arg[0], args);
	return fn_rebuild(f, v, &a);
}

/* The body reading its turned constants from operands of their own, which are added to `args`, in order before the scan. */
static Fn *turn_before(Fn *f, const Fn *body, int carries, Val **args, int *nargs) {
	Val **now = NEW_ARRAY(body->arena, Val *, body->vals.length + 1);
	Fn *to = fn_with_inputs(body, now);
	for (int i = 0; i < body->vals.length; i++) {
		Val *v = body->vals.data[i];
		for (int k = 0; v->op == OpContract && k < 2; k++) {
			Val *b = turned_constant(v, k, carries);
			if (!b || now[b->id]) continue;
			args[*nargs] = ir_mark(f, before_scan(f, b, args));
			now[b->id] = fn_input(to, arena_printf(f->arena, "turned %d", *nargs), INPUT_DATA, b->type);
			++*nargs;
		}
	}
	for (int i = 0; i < body->vals.length; i++) {
		Val *v = body->vals.data[i], *small[4];
		if (!now[i]) now[i] = fn_rebuild(to, v, operands(to, v, now, small));
	}
	for (int i = 0; i < body->outputs.length; i++)
		fn_output(to, body->outputs.data[i].name, now[body->outputs.data[i].val->id], -1);
	return fn_renumber(to);
}

/* A scan with its body prepared.  An index of the scan around it, as an operand, is a value like any other. */
static Val *prepare_scan(Fn *f, const Val *v, Val **args, bool in_body) {
	Val scan = *v;
	int carries = scan_carries(v);
	scan.body = widen_last(prepare(v->body, carries));
	Val **all = NEW_ARRAY(f->arena, Val *, v->nargs + scan.body->vals.length + 1);
	for (int i = 0; i < v->nargs; i++) {
		bool turn = in_body && args[i]->op == OpInput && args[i]->list[0].data[0] == 0;
		all[i] = i < carries || turn ? ir_mark(f, args[i]) : args[i];
	}
	scan.body = turn_before(f, scan.body, carries, all, &scan.nargs);
	return fn_rebuild(f, &scan, all);
}

/* Must the output have a copy, since its value has a place that is not the output's?  carries: of the body it is an output of,
 * or -1. */
static bool needs_copy(const Fn *f, const Val *v, const Output *out, int carries) {
	int number = f->outputs.length;
	bool replaces = out->updates >= 0 || number < carries;
	if (v->op == OpInput || (carries >= 0 && v->op == OpGather)) return true;
	if (v->op == OpProject && (replaces || v->list[0].data[0] < v->arg[0]->list[0].data[0])) return true;
	for (int k = 0; k < number; k++)
		if (f->outputs.data[k].val == v) return true;
	return false;
}

/* By Val.id: the pad with zeros that a product reads of it, when it is computed element by element and no output. */
static Val **find_padded(const Fn *f) {
	Val **padded = NEW_ARRAY(f->arena, Val *, f->vals.length + 1);
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		for (int k = 0; v->op == OpContract && k < 2; k++) {
			Val *a = widened_from(v->arg[k]);
			while (is_strided_view(a)) a = a->arg[0];
			if (a->op != OpPad || a->number != 0 || !is_pointwise(a->arg[0])) continue;
			bool plain = true;
			for (int axis = 0; axis < a->type.rank; axis++)
				plain = plain && a->list[0].data[axis] >= 0 && a->list[1].data[axis] >= 0 && a->list[2].data[axis] == 0;
			if (plain) padded[a->arg[0]->id] = a;
		}
	}
	for (int i = 0; i < f->outputs.length; i++) padded[f->outputs.data[i].val->id] = NULL;
	return padded;
}

static Fn *share_padded(const Fn *from) {
	Val **padded = find_padded(from), **now = NEW_ARRAY(from->arena, Val *, from->vals.length + 1);
	Fn *f = fn_with_inputs(from, now);
	for (int i = 0; i < from->vals.length; i++) {
		Val *v = from->vals.data[i], *pad = padded[v->id], *small[4];
		if (v->op == OpInput || now[i]) continue;
		now[i] = fn_rebuild(f, v, operands(f, v, now, small));
		if (!pad) continue;
		now[pad->id] = fn_rebuild(f, pad, &now[i]);
		now[i] = ir_slice(f, now[pad->id], pad->list[0].data, v->type.dim, NULL);
	}
	return with_outputs(f, from, now);
}

Fn *kernel_prepare(Fn *from) {
	Fn *f = widen_last(prepare(from, -1));
	return fn_has(f, OpPad) ? share_padded(f) : f;
}

/* carries: of a body; else -1. */
static Fn *prepare(Fn *from, int carries) {
	int *uses = fn_count_uses(from);
	Val **now = NEW_ARRAY(from->arena, Val *, from->vals.length + 1);
	Fn *f = fn_with_inputs(from, now);
	for (int i = 0; i < from->vals.length; i++) {
		Val *v = from->vals.data[i], *small[4];
		if (v->op == OpInput) continue;
		Val **args = operands(f, v, now, small);
		if (v->op == OpScan) now[v->id] = prepare_scan(f, v, args, carries >= 0);
		else if (v->op == OpContract && dtype_info[v->type.dtype].bytes == 2) now[v->id] = prepare_short_contract(f, v, args);
		else if (v->op == OpContract) now[v->id] = prepare_contract(f, v, args);
		else if (v->op == OpScatterAdd) now[v->id] = prepare_scatter(f, v, args);
		else if (v->op == OpWindow && carries < 0) now[v->id] = prepare_window(f, v, args);
		else if (v->op == OpReshape && v->arg[0]->op != OpInput && comes_from_inputs(v->arg[0], uses, SINK_DEPTH))
			now[v->id] = sink_reshape(f, v->arg[0], now, v->type.rank, v->type.dim);
		else now[v->id] = fn_copy(f, v, args);
	}
	for (int i = 0; i < from->outputs.length; i++) {
		Output *out = &from->outputs.data[i];
		Val *v = now[out->val->id];
		f->span = v->span;
		fn_output(f, out->name, needs_copy(f, v, out, carries) ? ir_mark(f, v) : v, out->updates);
	}
	return fn_renumber(f);
}
