/* rows.c: in: a kernel of rows with its members; out: in which pass over the row each is computed, and which are kept for later
 * passes.
 *
 * A reduction's result is there after its pass, everything else in the pass in which what it reads is there.  Wide values
 * that are stored are stored in the last pass, so that nothing is overwritten before it has been read for the last time.
 * Guarantees: in its pass, each member finds what it reads. */
#include "kernel.h"

typedef struct Plan {
	const KernelProgram *kp;
	Kernel *kernel;
	int *member;           /* by Val.id: its number among the members + 1, or 0 */
	int *seen;             /* by Val.id: pass + 1, later the reader that met it last */
	int *last;             /* by member: the last pass that reads it */
	VEC(int) touched;      /* whose `seen` is not 0 */
	double cost;           /* of what was met so far */
} Plan;

static void see(Plan *p, const Val *v, int what) {
	if (!p->seen[v->id]) vec_push(p->kp->arena, &p->touched, v->id);
	p->seen[v->id] = what;
}

/* The first pass in which `v` can be read. */
static int first_pass(Plan *p, const Val *v) {
	int m = p->member[v->id], pass = 0;
	if (m) return p->kernel->members.data[m - 1].pass + is_reduce(v);
	if (p->kp->buffer_of[v->id] >= 0) {
		p->cost += 0.5;
		return 0;
	}
	if (p->seen[v->id]) return p->seen[v->id] - 1;
	for (int i = 0; i < computed_operands(v); i++) pass = MAX(pass, first_pass(p, v->arg[i]));
	if (is_wide(p->kernel, v)) p->cost += op_cost(v);
	see(p, v, pass + 1);
	return pass;
}

/* Reader number `reader` wants `v` up to this pass. */
static void want(Plan *p, const Val *v, int pass, int reader) {
	int m = p->member[v->id];
	if (m) {
		p->last[m - 1] = MAX(p->last[m - 1], pass);
		return;
	}
	if (p->kp->buffer_of[v->id] >= 0 || p->seen[v->id] == reader) return;
	see(p, v, reader);
	for (int i = 0; i < computed_operands(v); i++) want(p, v->arg[i], pass, reader);
}

static void forget(Plan *p) {
	for (int i = 0; i < p->touched.length; i++) p->seen[p->touched.data[i]] = 0;
	p->touched.length = 0;
}

void rows_plan(const KernelProgram *kp, Kernel *k, int *member, int *seen) {
	int n = k->members.length;
	Plan p = {.kp = kp, .kernel = k, .member = member, .seen = seen, .last = NEW_ARRAY(kp->arena, int, n + 1)};
	double *cost = NEW_ARRAY(kp->arena, double, n + 1);
	k->passes = 0;
	for (int i = 0; i < n; i++) {   /* operands first */
		RowValue *m = &k->members.data[i];
		double before = p.cost;
		if (comes_first(m->val)) {
			p.cost += m->val->op == OpArgMax ? (double)k->width : 0;   /* one by one */
		} else {
			for (int a = 0; a < computed_operands(m->val); a++) m->pass = MAX(m->pass, first_pass(&p, m->val->arg[a]));
			p.cost += is_reduce(m->val) ? 1 : is_wide(k, m->val) ? op_cost(m->val) : 0;
		}
		cost[i] = p.cost - before;
		member[m->val->id] = i + 1;
		bool stored = is_wide(k, m->val) && kp->buffer_of[m->val->id] >= 0;
		if (is_reduce(m->val) || stored) k->passes = MAX(k->passes, m->pass + 1);
	}
	k->element_cost = p.cost;
	forget(&p);
	for (int i = n - 1; i >= 0; i--) {   /* readers first */
		RowValue *m = &k->members.data[i];
		const Val *v = m->val;
		if (comes_first(v) || (!is_reduce(v) && !is_wide(k, v))) continue;
		if (is_wide(k, v) && kp->buffer_of[v->id] >= 0) p.last[i] = k->passes - 1;
		m->kept = is_wide(k, v) && p.last[i] > m->pass && cost[i] >= DEAR && k->width > LANES;
		int until = is_reduce(v) || m->kept ? m->pass : p.last[i];
		for (int a = 0; a < computed_operands(v); a++) want(&p, v->arg[a], until, i + 1);
	}
	forget(&p);
	for (int i = 0; i < n; i++) member[k->members.data[i].val->id] = 0;
}
