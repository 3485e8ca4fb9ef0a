/* indexed_sum.c: sums of products as contractions.
 *
 * In: the factors of sum[k..](a * b * ...), each a float tensor whose axes stand for index variables, and the
 * summed variables.  Out: the sum, its axes the variables that are left.
 *
 * The rule, in this order, until one factor is left:
 *  1. A summed index that only one factor has is summed there, before any product.
 *  2. A factor without a summed index is set aside and multiplied last.
 *  3. Of three factors or more, one whose axes another has as well is multiplied into the smallest such factor.
 *  4. Two factors are a contract when either has an index that the other lacks; two factors with the same
 *     indices (a dot of rows) are a product and a reduction, which fuse with what is around them.
 *  5. Of three factors or more, the pair that alone has some summed index is contracted; of several such pairs the
 *     cheapest.  Where no pair qualifies, the pair with the smallest product is multiplied out.
 * Sizes are compared with a nominal batch, so that the shape of the program, and with it every bit, is the same
 * for every batch size. */
#include <string.h>

#include "indexed.h"

typedef struct Sum {
	Elab *e;
	Part part[MAX_FACTORS];
	int count;
	Axes summed;
	Part rest;               /* product of the factors set aside; val NULL: none */
} Sum;

static double nominal_size(Axes axes) {
	double size = 1;
	for (int i = 0; i < axes.count; i++) {
		double extent = 0;
		for (int k = DIM_DEGREE; k >= 0; k--) extent = extent * NOMINAL_BATCH + (double)axes.var[i]->extent.c[k];
		size *= extent;
	}
	return size;
}

static bool has_batch(Axes axes) {
	int64_t n;
	for (int i = 0; i < axes.count; i++)
		if (!dim_known(axes.var[i]->extent, &n)) return true;
	return false;
}

static int users(const Sum *s, const IndexVar *var) {
	int n = 0;
	for (int i = 0; i < s->count; i++) n += axes_find(s->part[i].axes, var) >= 0;
	return n;
}

static void remove_factor(Sum *s, int at) {
	memmove(&s->part[at], &s->part[at + 1], sizeof *s->part * (size_t)(s->count - at - 1));
	s->count--;
}

static bool multiply(Elab *e, Part a, Part b, Part *out) {
	Axes axes;
	if (!axes_union(a.axes, b.axes, &axes) || !axes_fit(e, axes)) return false;
	a = part_align(e, a, axes);
	b = part_align(e, b, axes);
	*out = (Part){ir_Mul(fn_of(e), a.val, b.val), axes};
	return true;
}

static Part reduce(Elab *e, Part part, Axes over) {
	int64_t axes[MAX_RANK];
	int n = 0;
	for (int i = 0; i < part.axes.count; i++)
		if (axes_find(over, part.axes.var[i]) >= 0) axes[n++] = i;
	if (!n) return part;
	return (Part){ir_reduce(fn_of(e), OpReduceSum, part.val, n, axes), axes_without(part.axes, over)};
}

/* Rule 1.  A variable that was summed inside a factor leaves the list. */
static void sum_alone(Sum *s) {
	for (int i = 0; i < s->count; i++) {
		Axes own = {0};
		for (int k = 0; k < s->summed.count; k++) {
			IndexVar *var = s->summed.var[k];
			if (axes_find(s->part[i].axes, var) >= 0 && users(s, var) == 1) axes_add(&own, var);
		}
		s->part[i] = reduce(s->e, s->part[i], own);
		s->summed = axes_without(s->summed, own);
	}
}

/* Rule 2. */
static bool set_aside(Sum *s) {
	for (int i = 0; i < s->count;) {
		Part part = s->part[i];
		if (axes_without(part.axes, s->summed).count < part.axes.count) {
			i++;
			continue;
		}
		remove_factor(s, i);
		if (!s->rest.val) s->rest = part;
		else if (!multiply(s->e, s->rest, part, &s->rest)) return false;
	}
	return true;
}

/* Rule 3: true when two factors became one. */
static bool absorb(Sum *s) {
	if (s->count < 3) return false;
	for (int i = s->count - 1; i >= 0; i--) {
		int into = -1;
		for (int j = 0; j < s->count; j++)
			if (j != i && axes_subset(s->part[i].axes, s->part[j].axes) &&
			    (into < 0 || nominal_size(s->part[j].axes) < nominal_size(s->part[into].axes)))
				into = j;
		if (into < 0) continue;
		Part product;
		multiply(s->e, s->part[MIN(i, into)], s->part[MAX(i, into)], &product);
		s->part[MIN(i, into)] = product;
		remove_factor(s, MAX(i, into));
		return true;
	}
	return false;
}

/* Which operand of a contract comes first decides the order of its sums: with no index of its own on the second, a sum runs
 * in 16 lanes, otherwise as one chain per output.  The batch must never decide that, so the operand with the batch comes first.
 * Where only one operand has indices of its own, lanes are for a summed last axis (contiguous), chains for any other. */
static bool second_first(Axes a, Axes b, Axes summed) {
	Axes only_a = axes_without(a, b), only_b = axes_without(b, a);
	if (has_batch(only_a) || has_batch(only_b)) return !has_batch(only_a);
	if (!only_b.count && only_a.count) return axes_find(summed, a.var[a.count - 1]) < 0;
	if (!only_a.count && only_b.count) return axes_find(summed, b.var[b.count - 1]) >= 0;
	return false;
}

/* Sums over `summed`, which both operands have. */
static bool contract(const Sum *s, Part a, Part b, Axes summed, Part *out) {
	if (second_first(a.axes, b.axes, summed)) {
		Part swap = a;
		a = b;
		b = swap;
	}
	Axes order = {0};
	for (int i = 0; i < a.axes.count; i++)                     /* batch: in both and kept */
		if (axes_find(b.axes, a.axes.var[i]) >= 0 && axes_find(summed, a.axes.var[i]) < 0) axes_add(&order, a.axes.var[i]);
	for (int i = 0; i < a.axes.count; i++)
		if (axes_find(summed, a.axes.var[i]) < 0) axes_add(&order, a.axes.var[i]);
	for (int i = 0; i < b.axes.count; i++)
		if (axes_find(summed, b.axes.var[i]) < 0 && !axes_add(&order, b.axes.var[i])) return false;
	if (!axes_fit(s->e, order)) return false;
	/* Labels are the variables' places in this list. */
	IndexVar *all[2 * MAX_RANK];
	int n = 0;
	int64_t la[MAX_RANK], lb[MAX_RANK], ly[MAX_RANK];
	for (int i = 0; i < a.axes.count; i++) la[i] = n, all[n++] = a.axes.var[i];
	for (int i = 0; i < b.axes.count; i++) {
		int at = axes_find(a.axes, b.axes.var[i]);
		if (at < 0) at = n, all[n++] = b.axes.var[i];
		lb[i] = at;
	}
	for (int i = 0; i < order.count; i++)
		for (int k = 0; k < n; k++)
			if (all[k] == order.var[i]) ly[i] = k;
	Val *sum = ir_contract(fn_of(s->e), a.val, la, b.val, lb, order.count, ly);
	*out = (Part){ir_cast(fn_of(s->e), sum, a.val->type.dtype), order};   /* of i8 it is i32, which wraps */
	return true;
}

/* The summed variables that factors i and j have and no other factor. */
static Axes shared_alone(const Sum *s, int i, int j) {
	Axes both = {0};
	for (int k = 0; k < s->summed.count; k++) {
		IndexVar *var = s->summed.var[k];
		if (axes_find(s->part[i].axes, var) >= 0 && axes_find(s->part[j].axes, var) >= 0 && users(s, var) == 2)
			axes_add(&both, var);
	}
	return both;
}

static double pair_cost(const Sum *s, int i, int j) {
	Axes extra = axes_without(s->part[j].axes, s->part[i].axes);
	return nominal_size(s->part[i].axes) * nominal_size(extra);
}

/* Rules 4 and 5: makes one factor of two. */
static bool join_pair(Sum *s) {
	int best_i = -1, best_j = -1;
	bool best_sums = false;
	for (int i = 0; i < s->count; i++)
		for (int j = i + 1; j < s->count; j++) {
			bool sums = shared_alone(s, i, j).count > 0;
			if (best_i >= 0 && (sums < best_sums || (sums == best_sums && pair_cost(s, i, j) >= pair_cost(s, best_i, best_j))))
				continue;
			best_i = i, best_j = j, best_sums = sums;
		}
	Part a = s->part[best_i], b = s->part[best_j], joined;
	Axes summed = shared_alone(s, best_i, best_j);
	bool rows = axes_subset(a.axes, b.axes) && axes_subset(b.axes, a.axes);
	if (!(best_sums && !rows ? contract(s, a, b, summed, &joined) : multiply(s->e, a, b, &joined))) return false;
	s->part[best_i] = joined;
	remove_factor(s, best_j);
	return true;
}

bool sum_of_product(Elab *e, const Part *factors, int count, Axes summed, Part *out) {
	Sum s = {.e = e, .count = count, .summed = summed};
	memcpy(s.part, factors, sizeof *factors * (size_t)count);
	for (;;) {
		sum_alone(&s);
		if (!set_aside(&s)) return false;
		if (!s.count) break;
		if (!absorb(&s) && !join_pair(&s)) return false;
	}
	*out = s.rest;
	return true;
}
