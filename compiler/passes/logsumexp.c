/* logsumexp.c: in: a simplified Fn; out: one without reduce_lse, whose place m + log(sum of exp(a - m)) takes, or m where that
 * is infinite or NaN; terms more than LSE_REACH below m are 0.  Guarantees: the same bits, since this is how reduce_lse is
 * defined.  The derivative is written with the same m, e and sum, so that nothing is computed for both. */
#include "logsumexp.h"

#include <math.h>

#include "rebuild.h"

LsePart lse_part(Fn *f, Val *a, int axis, bool stopped) {
	LsePart p;
	int64_t axes[1] = {axis}, dims[MAX_RANK] = {0};
	p.m = ir_reduce(f, OpReduceMax, a, 1, axes);
	if (stopped) p.m = ir_Stop(f, p.m);
	p.finite = ir_Eq(f, ir_Sub(f, p.m, p.m), ir_like(f, p.m, 0));   /* inf - inf and NaN - NaN are NaN */
	/* -inf - -inf would be NaN: from 0 instead */
	Val *level = ir_Where(f, ir_Eq(f, p.m, ir_like(f, p.m, -INFINITY)), ir_like(f, p.m, 0), p.m);
	for (int i = 0; i < p.m->type.rank; i++) dims[i] = i < axis ? i : i + 1;
	Val *below = ir_Sub(f, a, ir_broadcast(f, level, a->type.rank, a->type.dim, dims));
	Val *beyond = ir_Lt(f, below, ir_like(f, below, -LSE_REACH));
	p.e = ir_Exp(f, ir_Where(f, beyond, ir_like(f, below, -INFINITY), below));
	p.sum = ir_reduce(f, OpReduceSum, p.e, 1, axes);
	return p;
}

static Fn *write_out(Fn *f) {
	Rebuild r = rebuild_start(f);
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i];
		if (v->op == OpInput) continue;
		Val **args = rebuild_args(&r, v);
		if (v->op == OpReduceLse) {
			LsePart p = lse_part(r.to, args[0], (int)v->list[0].data[0], false);
			r.map[i] = ir_Where(r.to, p.finite, ir_Add(r.to, p.m, ir_Log(r.to, p.sum)), p.m);
		} else if (v->op == OpScan) {
			Val scan = *v;
			scan.body = write_out(v->body);
			r.map[i] = fn_rebuild(r.to, &scan, args);
		} else {
			r.map[i] = rebuild_copy(&r, v);
		}
	}
	return rebuild_finish(&r);
}

Fn *pass_logsumexp(Fn *f) {
	return fn_has(f, OpReduceLse) ? pass_simplify(write_out(f)) : f;
}
