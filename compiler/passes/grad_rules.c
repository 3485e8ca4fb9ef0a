/* grad_rules.c: derivatives of the structural rows of ops.def.  In: a value y and its adjoint g; out: what y's operands
 * get, by give().  Each rule is written with ops of the table only, so derivatives have derivatives.  Masks pass
 * through whatever only moves elements; sums and products of several elements want the whole adjoint. */
#include "grad.h"
#include "logsumexp.h"

#include <math.h>

void rule_none(Sweep *s, Val *y, Adjoint g) { (void)s, (void)y, (void)g; }

/* ---- views: each goes back by another view ---- */

typedef Val *View(Fn *f, Val *x, const Val *y);

/* `back` for the value and for the mask; a mask that marks what is let through, since views fill with false. */
static Adjoint each(Sweep *s, Adjoint g, const Val *y, View *back) {
	if (g.mask && g.inverted) {
		g.mask = ir_Not(s->f, g.mask);
		g.inverted = false;
	}
	g.value = back(s->f, g.value, y);
	if (g.mask) g.mask = back(s->f, g.mask, y);
	return g;
}

static Val *back_cast(Fn *f, Val *x, const Val *y) {
	return x->type.dtype == DTYPE_BOOL ? x : ir_cast(f, x, y->arg[0]->type.dtype);
}
void grad_cast(Sweep *s, Val *y, Adjoint g) { give(s, y->arg[0], each(s, g, y, back_cast)); }

static Val *back_reshape(Fn *f, Val *x, const Val *y) {
	return ir_reshape(f, x, y->arg[0]->type.rank, y->arg[0]->type.dim);
}
void grad_reshape(Sweep *s, Val *y, Adjoint g) { give(s, y->arg[0], each(s, g, y, back_reshape)); }

static Val *back_transpose(Fn *f, Val *x, const Val *y) {
	int64_t inverse[MAX_RANK] = {0};
	for (int i = 0; i < y->type.rank; i++) inverse[y->list[0].data[i]] = i;
	return ir_transpose(f, x, inverse);
}
void grad_transpose(Sweep *s, Val *y, Adjoint g) { give(s, y->arg[0], each(s, g, y, back_transpose)); }

static Val *back_flip(Fn *f, Val *x, const Val *y) { return ir_flip(f, x, y->list[0].length, y->list[0].data); }
void grad_flip(Sweep *s, Val *y, Adjoint g) { give(s, y->arg[0], each(s, g, y, back_flip)); }

/* slice takes start + i * step: the inverse puts step - 1 zeros between. */
static Val *back_slice(Fn *f, Val *x, const Val *y) {
	int64_t lo[MAX_RANK], hi[MAX_RANK], inner[MAX_RANK];
	for (int i = 0; i < y->type.rank; i++) {
		int64_t start = y->list[0].data[i], step = y->list[1].data[i];
		lo[i] = start;
		inner[i] = step - 1;
		hi[i] = y->arg[0]->type.dim[i] - start - ((y->type.dim[i] - 1) * step + 1);
	}
	return ir_pad(f, x, lo, hi, inner, 0);
}
void grad_slice(Sweep *s, Val *y, Adjoint g) { give(s, y->arg[0], each(s, g, y, back_slice)); }

/* Cropped ends come back as zeros, padding and what lay between is left out. */
static Val *back_pad(Fn *f, Val *x, const Val *y) {
	const Type a = y->arg[0]->type;
	int64_t lo[MAX_RANK], hi[MAX_RANK], start[MAX_RANK], step[MAX_RANK];
	for (int i = 0; i < a.rank; i++) {
		int64_t before = y->list[0].data[i], after = y->list[1].data[i];
		lo[i] = before < 0 ? -before : 0;
		hi[i] = after < 0 ? -after : 0;
		start[i] = before > 0 ? before : 0;
		step[i] = y->list[2].data[i] + 1;
	}
	return ir_slice(f, ir_pad(f, x, lo, hi, NULL, 0), start, a.dim, step);
}
void grad_pad(Sweep *s, Val *y, Adjoint g) { give(s, y->arg[0], each(s, g, y, back_pad)); }

void grad_concat(Sweep *s, Val *y, Adjoint g) {
	int axis = (int)y->list[0].data[0];
	int64_t start[MAX_RANK] = {0};
	for (int i = 0; i < y->nargs; i++) {
		Val *a = y->arg[i];
		if (wanted(s, a)) {
			Adjoint part = g;
			part.value = ir_slice(s->f, g.value, start, a->type.dim, NULL);
			if (g.mask) part.mask = ir_slice(s->f, g.mask, start, a->type.dim, NULL);
			give(s, a, part);
		}
		start[axis] += a->type.dim[axis];
	}
}

/* ---- broadcast and sum ---- */

/* x (dims of y without `axis`) repeated along that axis of `type`. */
static Val *repeat(Fn *f, Val *x, Type type, int axis) {
	int64_t dims[MAX_RANK] = {0};
	for (int i = 0; i < x->type.rank; i++) dims[i] = i < axis ? i : i + 1;
	return ir_broadcast(f, x, type.rank, type.dim, dims);
}

static bool same_list(IntList a, IntList b) {
	if (a.length != b.length) return false;
	for (int i = 0; i < a.length; i++)
		if (a.data[i] != b.data[i]) return false;
	return true;
}

/* A mask that is itself repeated along all summed axes can wait behind the sum: a sum of zeros is 0. */
void grad_broadcast(Sweep *s, Val *y, Adjoint g) {
	int64_t axes[MAX_RANK];
	int n = 0;
	for (int i = 0, k = 0; i < y->type.rank; i++) {
		if (k < y->list[0].length && y->list[0].data[k] == i) k++;
		else axes[n++] = i;
	}
	bool uniform = g.mask && g.mask->op == OpBroadcast && same_list(g.mask->list[0], y->list[0]);
	Adjoint sum = uniform ? g : plain(whole(s, g));
	sum.value = ir_reduce(s->f, OpReduceSum, sum.value, n, axes);
	if (uniform) sum.mask = g.mask->arg[0];
	give(s, y->arg[0], sum);
}

static Val *back_sum(Fn *f, Val *x, const Val *y) { return repeat(f, x, y->arg[0]->type, (int)y->list[0].data[0]); }
void grad_reduce_sum(Sweep *s, Val *y, Adjoint g) { give(s, y->arg[0], each(s, g, y, back_sum)); }

/* Element j of y is the sum of x up to j: element i of x is in every y from i on. */
void grad_cumsum(Sweep *s, Val *y, Adjoint g) {
	int64_t axis = y->list[0].data[0];
	Val *flipped = ir_flip(s->f, whole(s, g), 1, &axis);
	give(s, y->arg[0], plain(ir_flip(s->f, ir_cumsum(s->f, flipped, (int)axis), 1, &axis)));
}

/* ---- extrema, products, log-sum-exp ---- */

/* To the element at index `at` (dims of y) of each row. */
static void give_to_index(Sweep *s, Val *y, Adjoint g, Val *at) {
	Val *a = y->arg[0];
	int axis = (int)y->list[0].data[0];
	Type ints = a->type;
	ints.dtype = DTYPE_I32;
	Val *here = ir_Eq(s->f, ir_iota(s->f, ints, axis), repeat(s->f, at, ints, axis));
	give(s, a, masked(s, each(s, g, y, back_sum), here, true));
}

void grad_reduce_max(Sweep *s, Val *y, Adjoint g) {
	give_to_index(s, y, g, ir_argmax(s->f, y->arg[0], (int)y->list[0].data[0]));
}

void grad_reduce_min(Sweep *s, Val *y, Adjoint g) {
	give_to_index(s, y, g, ir_argmax(s->f, ir_Neg(s->f, y->arg[0]), (int)y->list[0].data[0]));
}

/* Products of all elements before each one (after it, when reversed): log2(n) steps, each multiplying by what stands
 * `by` further; ones come in at the end. */
static Val *exclusive_product(Fn *f, Val *x, int axis, bool reversed) {
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	for (int64_t by = 1, n = x->type.dim[axis]; by == 1 || by < n; by *= 2) {
		lo[axis] = reversed ? -MIN(by, n) : MIN(by, n);
		hi[axis] = -lo[axis];
		if (by == 1) x = ir_pad(f, x, lo, hi, NULL, 1); /* exclusive: moved by one first */
		x = ir_Mul(f, x, ir_pad(f, x, lo, hi, NULL, 1));
	}
	return x;
}

/* Every element gets the product of the others.  No division: right with zeros among them, and in every later
 * derivative too. */
void grad_reduce_prod(Sweep *s, Val *y, Adjoint g) {
	Val *a = y->arg[0];
	int axis = (int)y->list[0].data[0];
	Adjoint row = each(s, g, y, back_sum);
	if (a->type.dim[axis] > 1) {
		Val *others = ir_Mul(s->f, exclusive_product(s->f, a, axis, false), exclusive_product(s->f, a, axis, true));
		row.value = ir_Mul(s->f, row.value, others);
		row.clean = false;
	}
	give(s, a, row);
}

/* g e / s with e = exp(a - m), s = sum e.  m stands still: the result does not depend on it. */
void grad_reduce_lse(Sweep *s, Val *y, Adjoint g) {
	LsePart p = lse_part(s->f, y->arg[0], (int)y->list[0].data[0], true);
	g.value =
	    ir_Mul(s->f, g.value, ir_Where(s->f, p.finite, ir_Div(s->f, ir_like(s->f, p.sum, 1), p.sum), ir_like(s->f, p.sum, 1)));
	g.clean = false;
	Adjoint row = each(s, g, y, back_sum);
	row.value = ir_Mul(s->f, p.e, row.value);
	row.clean = false;
	give(s, y->arg[0], row);
}

/* ---- windows, contractions, indices ---- */

void grad_window(Sweep *s, Val *y, Adjoint g) {
	Val *a = y->arg[0];
	int axis = (int)y->list[0].data[0];
	give(s, a, plain(ir_fold(s->f, whole(s, g), axis, a->type.dim[axis], y->list[1].data[0], y->list[2].data[0])));
}

static Val *back_fold(Fn *f, Val *x, const Val *y) {
	int axis = (int)y->list[0].data[0];
	const int64_t *dim = y->arg[0]->type.dim;
	return ir_window(f, x, axis, dim[axis], dim[axis + 1], y->list[1].data[0], y->list[2].data[0]);
}
void grad_fold(Sweep *s, Val *y, Adjoint g) { give(s, y->arg[0], each(s, g, y, back_fold)); }

static int find_label(const int64_t *labels, int n, int64_t label) {
	for (int i = 0; i < n; i++)
		if (labels[i] == label) return i;
	return -1;
}

/* v with labels lv as a tensor whose axes are these labels; it is repeated along those it lacks. */
static Val *align(Fn *f, Val *v, const int64_t *lv, const Type *type, const int64_t *labels) {
	int64_t perm[MAX_RANK] = {0}, dims[MAX_RANK] = {0};
	int n = 0;
	for (int i = 0; i < type->rank; i++) {
		int at = find_label(lv, v->type.rank, labels[i]);
		if (at >= 0) perm[n] = at, dims[n++] = i;
	}
	return ir_broadcast(f, ir_transpose(f, v, perm), type->rank, type->dim, dims);
}

/* The sum of products for an operand x of a contraction, from two tensors.  As in indexed definitions: nothing to sum is
 * a product, equal labels are a product and a sum; both are element-wise work that fuses.  Anything else contracts. */
static Val *sum_of_products(Fn *f, Val *a, const int64_t *la, Val *b, const int64_t *lb, const Val *x, const int64_t *lx) {
	int64_t axes[MAX_RANK];
	int summed = 0;
	bool same = a->type.rank == b->type.rank;
	for (int i = 0; i < a->type.rank; i++) {
		if (find_label(lx, x->type.rank, la[i]) < 0) axes[summed++] = i;
		same &= find_label(lb, b->type.rank, la[i]) >= 0;
	}
	if (!summed) return ir_Mul(f, align(f, a, la, &x->type, lx), align(f, b, lb, &x->type, lx));
	if (!same) return ir_contract(f, a, la, b, lb, x->type.rank, lx);
	int64_t left[MAX_RANK];
	int n = 0;
	for (int i = 0; i < a->type.rank; i++)
		if (find_label(lx, x->type.rank, la[i]) >= 0) left[n++] = la[i];
	Val *sum = ir_reduce(f, OpReduceSum, ir_Mul(f, a, align(f, b, lb, &a->type, la)), summed, axes);
	return align(f, sum, left, &x->type, lx);
}

static bool reads_windows(const Val *v) {
	while (v->op == OpTranspose || v->op == OpReshape || v->op == OpSlice || v->op == OpPad || v->op == OpFlip) v = v->arg[0];
	return v->op == OpWindow;
}

/* `a` with its axes, whose labels are la, in an order in which those that are summed go as they lie below the transposes of dy:
 * there they are one axis, as in what a scan gives, over its turns and the batch; `a`, as a rule the smaller one, can be copied.
 * Sizes have no say in that: a sample is to have the same bits in any batch.  ordered: its labels then. */
static Val *in_order_of(Fn *f, Val *a, const int64_t *la, const Val *dy, const int64_t *ly, const int64_t *lb, int nb,
                        int64_t *ordered) {
	int place[MAX_RANK], of_a[MAX_RANK], axis[MAX_RANK], at[MAX_RANK], n = 0;
	int64_t perm[MAX_RANK];
	bool plain = !reads_windows(transposes_of(dy, place)) && !reads_windows(transposes_of(a, of_a));
	for (int i = 0; i < a->type.rank; i++) {
		perm[i] = i, ordered[i] = la[i];
		int other = label_at(ly, dy->type.rank, la[i]);
		if (label_at(lb, nb, la[i]) >= 0 || other < 0) continue;
		plain = plain && (n == 0 || of_a[i] > of_a[axis[n - 1]]);
		axis[n] = i, at[n++] = place[other];
	}
	if (!plain) return a;
	for (int i = 0; i < n; i++) {
		int rank = 0;
		for (int k = 0; k < n; k++) rank += at[k] < at[i];
		perm[axis[rank]] = axis[i];
	}
	for (int i = 0; i < a->type.rank; i++) ordered[i] = la[perm[i]];
	return ir_transpose(f, a, perm);
}

/* The order of the operands decides the order of the sums: what may carry the batch comes first. */
void grad_contract(Sweep *s, Val *y, Adjoint g) {
	Val *a = y->arg[0], *b = y->arg[1];
	const int64_t *la = y->list[0].data, *lb = y->list[1].data, *ly = y->list[2].data;
	Val *dy = whole(s, g);
	if (wanted(s, a)) give(s, a, plain(sum_of_products(s->f, dy, ly, b, lb, a, la)));
	if (!wanted(s, b)) return;
	int64_t ordered[MAX_RANK];
	Val *x = in_order_of(s->f, a, la, dy, ly, lb, b->type.rank, ordered);
	give(s, b, plain(sum_of_products(s->f, x, ordered, dy, ly, b, lb)));
}

/* One index per row and nothing behind it: a comparison finds the element, no scatter. */
void grad_gather(Sweep *s, Val *y, Adjoint g) {
	Val *table = y->arg[0], *index = y->arg[1];
	int batch = (int)y->list[0].data[0];
	if (table->type.rank != batch + 1 || index->type.rank != batch) {
		give(s, table, plain(ir_scatter_add(s->f, whole(s, g), index, batch, table->type.dim[batch])));
		return;
	}
	Type ints = table->type;
	ints.dtype = DTYPE_I32;
	Val *at = repeat(s->f, ir_cast(s->f, index, DTYPE_I32), ints, batch);
	Adjoint row = g;
	row.value = repeat(s->f, g.value, table->type, batch);
	if (g.mask) row.mask = repeat(s->f, g.mask, table->type, batch);
	give(s, table, masked(s, row, ir_Eq(s->f, ir_iota(s->f, ints, batch), at), true));
}

void grad_scatter_add(Sweep *s, Val *y, Adjoint g) {
	give(s, y->arg[0], plain(ir_gather(s->f, whole(s, g), y->arg[1], (int)y->list[0].data[0])));
}

/* ---- marks and custom derivatives ---- */

void grad_mark(Sweep *s, Val *y, Adjoint g) { give(s, y->arg[0], g); }

/* Copies of what stands between the cotangent (and y) and an adjoint that the user wrote, with real values in their
 * place.  y becomes the custom op itself, so that second derivatives follow the user's rule as well. */
typedef struct Clone {
	Sweep *s;
	Val *cotangent, *y, *custom;
	int least;             /* older values depend on neither */
	Adjoint *copy;         /* by id - least; value NULL: not copied */
	bool *linear;          /* by id - least: proportional to the cotangent, 0 where it is 0 */
} Clone;

static const Adjoint *cloned(const Clone *c, const Val *v) {
	return v->id >= c->least && c->copy[v->id - c->least].value ? &c->copy[v->id - c->least] : NULL;
}

/* One value over copied operands.  A mask on the cotangent waits through products, as in element-wise rules. */
static Adjoint clone_one(const Clone *c, Val *v, bool *linear) {
	Sweep *s = c->s;
	Val **args = NEW_ARRAY(s->arena, Val *, v->nargs + 1);
	int from = -1, many = 0;
	for (int i = 0; i < v->nargs; i++) {
		const Adjoint *a = cloned(c, v->arg[i]);
		args[i] = a ? whole(s, *a) : v->arg[i];
		if (a && c->linear[v->arg[i]->id - c->least]) from = i, many++;
	}
	bool product = many == 1 && (v->op == OpNeg || v->op == OpMul || (v->op == OpDiv && from == 0));
	bool selected = many == 1 && v->op == OpWhere && from > 0;
	double zero;
	if (selected) selected = is_splat(v->arg[3 - from], &zero) && zero == 0;
	*linear = product || selected;
	if (!*linear) return plain(fn_rebuild(s->f, v, args));
	const Adjoint g = *cloned(c, v->arg[from]);
	args[from] = g.value;
	return unmask(s, fn_rebuild(s->f, v, args), g);
}

static void clone_into(Clone *c, Val *root) {
	if (root->id < c->least) return;   /* `return 0`: depends on neither */
	VEC(Val *) stack = {0};
	vec_push(c->s->arena, &stack, root);
	bool *done = NEW_ARRAY(c->s->arena, bool, root->id - c->least + 1);
	while (stack.length) {
		Val *v = stack.data[stack.length - 1];
		if (v->id < c->least || done[v->id - c->least] || cloned(c, v)) {
			stack.length--;
			continue;
		}
		int pending = stack.length;
		bool copied = false;
		for (int i = v->nargs - 1; i >= 0; i--) {
			Val *a = v->arg[i];
			if (a->id >= c->least && !done[a->id - c->least] && !cloned(c, a)) vec_push(c->s->arena, &stack, a);
			copied |= cloned(c, a) != NULL;
		}
		if (stack.length > pending) continue;
		stack.length--;
		done[v->id - c->least] = true;
		bool linear = false;
		if (copied) c->copy[v->id - c->least] = clone_one(c, v, &linear);
		c->linear[v->id - c->least] = linear;
	}
}

void grad_custom(Sweep *s, Val *y, Adjoint g) {
	int n = y->nargs / 2;
	Val *body = y->arg[0], *cotangent = s->cotangents[y->list[0].data[0]];
	bool is_input = body->nargs == 0;
	for (int i = 1; i <= n; i++) is_input |= y->arg[i] == body;
	Clone c = {.s = s, .cotangent = cotangent, .y = body, .custom = y, .least = y->id};
	if (cotangent) c.least = MIN(c.least, cotangent->id);
	if (!is_input) c.least = MIN(c.least, body->id);
	c.copy = NEW_ARRAY(s->arena, Adjoint, y->id - c.least + 1);
	c.linear = NEW_ARRAY(s->arena, bool, y->id - c.least + 1);
	if (!is_input) c.copy[body->id - c.least] = plain(y);
	if (cotangent) {
		c.copy[cotangent->id - c.least] = g;
		c.linear[cotangent->id - c.least] = true;
	}
	for (int i = 1; i <= n; i++) {
		Val *adjoint = y->arg[n + i];
		if (!wanted(s, y->arg[i])) continue;
		clone_into(&c, adjoint);
		const Adjoint *copy = cloned(&c, adjoint);
		give(s, y->arg[i], copy ? *copy : plain(adjoint));
	}
}
