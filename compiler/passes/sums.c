/* sums.c: in: a Fn; out: one in which a sum over several axes is one sum, or one for every 4096 terms.
 *
 * Elaboration and derivatives write a sum over several axes as sums over one axis after the other, so that the simplifier sees
 * products in them.  What it left is memory that is written and read again for each axis (a bias' gradient, over the batch and
 * the image): here the axes become one.  Sums over the last axis stay what they are: they are part of work on rows. Guarantees:
 * the same sums, row-major over their axes; the order in which terms are added is another one. */
#include "rebuild.h"

/* Sums that only `v` reads are part of it, unless they are over the last axis, which is done row by row: what all of them sum,
 * and over which of its axes (ascending). */
static Val *summed_by(const Val *v, const int *uses, int64_t *axes, int *naxes) {
	bool summed[MAX_RANK] = {false};   /* of the operand's axes */
	Val *a = v->arg[0];
	summed[v->list[0].data[0]] = true;
	while (a->op == OpReduceSum && uses[a->id] == 1 && a->list[0].data[0] < a->type.rank) {
		int at = (int)a->list[0].data[0];
		a = a->arg[0];
		for (int i = a->type.rank - 1; i > at; i--) summed[i] = summed[i - 1];
		summed[at] = true;
	}
	*naxes = 0;
	for (int i = 0; i < a->type.rank; i++)
		if (summed[i]) axes[(*naxes)++] = i;
	return a;
}

static bool has_sums(const Fn *f) {
	int *uses = fn_count_uses(f), naxes = 0;
	int64_t axes[MAX_RANK];
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op == OpReduceSum) summed_by(v, uses, axes, &naxes);
		if (naxes > 1 || (v->op == OpScan && has_sums(v->body))) return true;
	}
	return false;
}

static Fn *merge_sums(Fn *f) {
	int *uses = fn_count_uses(f), naxes;
	int64_t axes[MAX_RANK];
	Rebuild r = rebuild_start(f);
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i];
		if (v->op == OpInput) continue;
		Val **args = rebuild_args(&r, v);
		if (v->op == OpScan) {
			Val scan = *v;
			scan.body = merge_sums(v->body);
			r.map[i] = fn_rebuild(r.to, &scan, args);
			continue;
		}
		r.map[i] = rebuild_copy(&r, v);
		if (v->op != OpReduceSum) continue;
		Val *a = summed_by(v, uses, axes, &naxes);
		if (naxes > 1) r.map[i] = ir_reduce_merged(r.to, OpReduceSum, r.map[a->id], naxes, axes);
	}
	return rebuild_finish(&r);
}

Fn *pass_sums(Fn *f) { return has_sums(f) ? pass_simplify(merge_sums(f)) : f; }
