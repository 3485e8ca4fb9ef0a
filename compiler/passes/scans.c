/* scans.c: what a scan need not do in every turn.  In: a simplified Fn; out: one in which
 *   - a dear value (a product, a function) that an earlier scan computes of the same values in the same turn is emitted there and
 *     read: the reverse scan of a derivative computes the body again, except for these;
 *   - a carry that only adds up products is a product after the scan, summed over the turns as well; so is a sum of what such a
 *     product reads.  The gradient of a weight is then one product for all turns.
 * Guarantees: the first changes no bit; the second adds in another order, before anybody has seen the program. */
#include "simplify.h"

#include <string.h>

enum { WORTH_KEEPING = 16 };   /* cycles per 16 elements: storing a value and reading it */

/* What becomes of one scan. */
typedef struct Plan {
	ValList emits;         /* values of its body that are emitted as well, after its own results */
	ValList again;         /* values of its body that .. */
	VEC(const Val *) from; /* .. this earlier scan .. */
	VEC(int) number;       /* .. gives as this result */
	bool *after;           /* by carry: it is what `sum_after` makes of the emitted values */
} Plan;

/* The result of the scan that has all values of `v`, a value of its body. */
static int emit(Arena *arena, const Val *scan, Plan *plan, Val *v) {
	const Fn *body = scan->body;
	for (int i = scan_carries(scan); i < body->outputs.length; i++)
		if (body->outputs.data[i].val == v) return i;
	for (int i = 0; i < plan->emits.length; i++)
		if (plan->emits.data[i] == v) return body->outputs.length + i;
	vec_push(arena, &plan->emits, v);
	return body->outputs.length + plan->emits.length - 1;
}

/* ---- values computed before ---- */

/* The operand of the scan whose row of this turn `v` is, or -1. */
static int row_operand(const Val *scan, const Val *v) {
	if (v->op != OpGather || v->list[0].data[0] || v->arg[0]->op != OpInput || v->arg[1]->op != OpInput) return -1;
	int64_t input = v->arg[0]->list[0].data[0];
	if (v->arg[1]->list[0].data[0] || input <= scan_carries(scan)) return -1;
	return v->arg[0]->type.dim[0] == scan_count(scan) ? (int)input - 1 : -1;
}

static bool same_value(const Val *a, const Val *b, Val *const *as) {
	if (a->op != b->op || a->nargs != b->nargs || !type_equal(a->type, b->type)) return false;
	if (memcmp(&a->number, &b->number, sizeof a->number)) return false;
	for (int i = 0; i < a->nargs; i++)
		if (as[a->arg[i]->id] != b->arg[i]) return false;
	for (int i = 0; i < MAX_LISTS; i++) {
		if (a->list[i].length != b->list[i].length) return false;
		if (memcmp(a->list[i].data, b->list[i].data, sizeof(int64_t) * (size_t)a->list[i].length)) return false;
	}
	return true;
}

/* The value of `before`'s body that an input or row of the later body is, or NULL. */
static Val *same_leaf(const Val *later, const Val *before, const Val *v) {
	const Fn *body = before->body;
	if (v->op == OpInput) {
		int64_t input = v->list[0].data[0];
		if (input == 0) return body->inputs.data[0].val;
		for (int i = scan_carries(before); input > scan_carries(later) && i < before->nargs; i++)
			if (before->arg[i] == later->arg[input - 1]) return body->inputs.data[i + 1].val;
		return NULL;
	}
	int operand = row_operand(later, v);
	const Val *stack = operand >= 0 ? later->arg[operand] : NULL;
	if (!stack || stack->op != OpProject || stack->arg[0] != before || stack->list[0].data[0] < scan_carries(before)) return NULL;
	return body->outputs.data[stack->list[0].data[0]].val;
}

/* A later scan that computes values of an earlier one again. */
typedef struct Again {
	Arena *arena;
	const Val *later, *before;
	Plan *plan, *earlier;
	Val **as;            /* by id in the later body: the same value in the earlier body, or NULL */
	bool *kept, *walked; /* by id: read from the earlier scan; met by the present walk */
	int *readers;        /* by id */
} Again;

/* Is there nothing to compute? */
static bool is_at_hand(const Again *g, const Val *v) { return g->kept[v->id] || v->nargs == 0 || row_operand(g->later, v) >= 0; }

/* What computing `v` takes, per 16 elements.  Random numbers cost nothing, so that nobody keeps them: they are there again
 * whenever they are wanted. */
static double cost_again(Again *g, const Val *v) {
	if (g->walked[v->id] || is_at_hand(g, v)) return 0;
	g->walked[v->id] = true;
	double cost = v->op == OpContract ? 2 * (double)contract_order(v).terms : v->op == OpRandom ? 0 : op_cost(v);
	for (int k = 0; k < v->nargs; k++) {
		const Val *a = v->arg[k];
		double each = cost_again(g, a);
		cost += v->op == OpContract || type_count(a->type) <= type_count(v->type)
		            ? each
		            : (each + 1) * (double)type_count(a->type) / (double)type_count(v->type);
	}
	return cost;
}

static double whole_cost(Again *g, const Val *v) {
	memset(g->walked, 0, sizeof *g->walked * (size_t)(v->id + 1));
	return cost_again(g, v);
}

/* A value that the later body needs and both compute: kept when reading it is cheaper, or else what is dear in it and read by
 * others as well. */
static void keep_dear(Again *g, Val *v) {
	if (is_at_hand(g, v) || !g->as[v->id]) return;
	double cost = whole_cost(g, v);
	if (cost < WORTH_KEEPING) return;
	bool inside = op_cost(v) == 0 && v->op != OpRandom && v->nargs == 1; /* a view */
	for (int k = 0; k < v->nargs && !inside; k++)
		inside = g->readers[v->arg[k]->id] > 1 && cost - whole_cost(g, v->arg[k]) < WORTH_KEEPING;
	if (inside || v->type.rank == MAX_RANK || !dtype_is_float(v->type.dtype)) {
		for (int k = 0; k < v->nargs; k++) keep_dear(g, v->arg[k]);
		return;
	}
	g->kept[v->id] = true;
	vec_push(g->arena, &g->plan->again, v);
	vec_push(g->arena, &g->plan->from, g->before);
	vec_push(g->arena, &g->plan->number, emit(g->arena, g->before, g->earlier, g->as[v->id]));
}

/* What `later` need not compute since `before` does. */
static void find_again(Arena *arena, const Val *later, Plan *plan, const Val *before, Plan *earlier) {
	const Fn *body = later->body;
	int n = body->vals.length;
	if (scan_count(later) != scan_count(before)) return;
	Again g = {.arena = arena, .later = later, .before = before, .plan = plan, .earlier = earlier};
	g.readers = fn_count_uses(body);
	g.as = NEW_ARRAY(arena, Val *, n + 1), g.kept = NEW_ARRAY(arena, bool, n + 1), g.walked = NEW_ARRAY(arena, bool, n + 1);
	for (int i = 0; i < plan->again.length; i++) g.kept[plan->again.data[i]->id] = true;
	for (int i = 0; i < n; i++) {
		Val *v = body->vals.data[i];
		g.as[i] = same_leaf(later, before, v);
		if (v->op == OpInput || v->op == OpScan || v->op == OpProject) continue;
		for (int k = 0; k < before->body->vals.length && !g.as[i]; k++)
			if (same_value(v, before->body->vals.data[k], g.as)) g.as[i] = before->body->vals.data[k];
	}
	bool *wanted = NEW_ARRAY(arena, bool, n + 1);
	for (int i = 0; i < n; i++)
		for (int k = 0; k < body->vals.data[i]->nargs && !g.as[i]; k++) wanted[body->vals.data[i]->arg[k]->id] = true;
	for (int i = 0; i < body->outputs.length; i++) wanted[body->outputs.data[i].val->id] = true;
	for (int i = 0; i < n; i++)
		if (wanted[i]) keep_dear(&g, body->vals.data[i]);
}

/* ---- sums after the scan ---- */

/* By id in the body: does it differ from turn to turn? */
static bool *find_varying(const Val *scan) {
	const Fn *body = scan->body;
	bool *varies = NEW_ARRAY(body->arena, bool, body->vals.length + 1);
	for (int i = 0; i < body->vals.length; i++) {
		const Val *v = body->vals.data[i];
		varies[i] = v->op == OpInput && v->list[0].data[0] <= scan_carries(scan);
		for (int k = 0; k < v->nargs; k++) varies[i] = varies[i] || varies[v->arg[k]->id];
	}
	return varies;
}

static bool is_emitted(const Val *scan, const Plan *plan, const Val *v) {
	for (int i = scan_carries(scan); i < scan->body->outputs.length; i++)
		if (scan->body->outputs.data[i].val == v) return true;
	for (int i = 0; i < plan->emits.length; i++)
		if (plan->emits.data[i] == v) return true;
	return row_operand(scan, v) >= 0;
}

/* What nested sums over one axis each sum, and over which of its axes (ascending). */
static Val *summed(Val *v, bool *axes) {
	Val *a = v;
	memset(axes, 0, sizeof *axes * MAX_RANK);
	for (; a->op == OpReduceSum; a = a->arg[0]) {
		int at = (int)a->list[0].data[0];
		for (int i = MAX_RANK - 1; i > at; i--) axes[i] = axes[i - 1];
		axes[at] = true;
	}
	return a;
}

/* Is the sum of `v` over all turns one product of stacks, or a sum of what stands in one anyway? */
static bool sums_after(const Val *scan, const Plan *plan, const bool *varies, Val *v) {
	bool axes[MAX_RANK];
	switch (v->op) {
	case OpAdd: return sums_after(scan, plan, varies, v->arg[0]) && sums_after(scan, plan, varies, v->arg[1]);
	case OpTranspose: case OpReshape: return sums_after(scan, plan, varies, v->arg[0]);
	case OpReduceSum: return dtype_is_float(v->type.dtype) && is_emitted(scan, plan, summed(v, axes));
	case OpContract:
		for (int k = 0; k < 2; k++)
			if (!varies[v->arg[k]->id] || v->arg[k]->type.rank == MAX_RANK) return false;
		return true;
	default: return false;
	}
}

/* Has the body's value `v` no reader but one? */
static bool read_once(const Fn *body, const Val *v) {
	int readers = 0;
	for (int i = 0; i < body->outputs.length; i++) readers += body->outputs.data[i].val == v;
	for (int i = v->id + 1; i < body->vals.length; i++)
		for (int k = 0; k < body->vals.data[i]->nargs; k++) readers += body->vals.data[i]->arg[k] == v;
	return readers == 1;
}

/* What the carry adds up, or NULL when it does anything else. */
static Val *added(const Val *scan, int carry) {
	const Fn *body = scan->body;
	const Val *in = body->inputs.data[carry + 1].val, *out = body->outputs.data[carry].val;
	if (out->op != OpAdd || !dtype_is_float(out->type.dtype) || !read_once(body, in) || !read_once(body, out)) return NULL;
	return out->arg[0] == in ? out->arg[1] : out->arg[1] == in ? out->arg[0] : NULL;
}

static void emit_factors(Arena *arena, const Val *scan, Plan *plan, Val *v) {
	if (v->op == OpReduceSum) return;
	for (int k = 0; k < v->nargs; k++) {
		if (v->op != OpContract) emit_factors(arena, scan, plan, v->arg[k]);
		else if (row_operand(scan, v->arg[k]) < 0) emit(arena, scan, plan, v->arg[k]);
	}
}

static void find_sums(Arena *arena, const Val *scan, Plan *plan) {
	const bool *varies = find_varying(scan);
	plan->after = NEW_ARRAY(arena, bool, scan_carries(scan) + 1);
	for (int turn = 0; turn < 2; turn++) /* products first: sums of what they read come along */
		for (int i = 0; i < scan_carries(scan); i++) {
			Val *v = plan->after[i] ? NULL : added(scan, i);
			if (!v || !sums_after(scan, plan, varies, v)) continue;
			emit_factors(arena, scan, plan, v);
			plan->after[i] = true;
		}
}

/* All values of `v` in the new function. */
static Val *stack_of(Rebuild *r, const Val *scan, const Plan *plan, Val *v) {
	int operand = row_operand(scan, v), number = scan_carries(scan);
	if (operand >= 0) return r->map[scan->arg[operand]->id];
	while (number < scan->body->outputs.length && scan->body->outputs.data[number].val != v) number++;
	for (int i = 0; number == scan->body->outputs.length + i && plan->emits.data[i] != v; i++) number++;
	return ir_project(r->to, r->map[scan->id], number);
}

static Val *sum_after(Rebuild *r, const Val *scan, const Plan *plan, Val *v) {
	Fn *f = r->to;
	switch (v->op) {
	case OpAdd: return ir_Add(f, sum_after(r, scan, plan, v->arg[0]), sum_after(r, scan, plan, v->arg[1]));
	case OpTranspose: return ir_transpose(f, sum_after(r, scan, plan, v->arg[0]), v->list[0].data);
	case OpReshape: return ir_reshape(f, sum_after(r, scan, plan, v->arg[0]), v->type.rank, v->type.dim);
	case OpReduceSum: {
		bool summed_axes[MAX_RANK];
		int64_t axes[MAX_RANK + 1] = {0};
		int n = 1;
		Val *stack = stack_of(r, scan, plan, summed(v, summed_axes));
		for (int i = 0; i + 1 < stack->type.rank; i++)
			if (summed_axes[i]) axes[n++] = i + 1;
		return ir_reduce(f, OpReduceSum, stack, n, axes);
	}
	default: {
		int64_t labels[2][MAX_RANK] = {{2 * MAX_RANK}, {2 * MAX_RANK}}; /* the turn: a label that neither has */
		for (int k = 0; k < 2; k++)
			for (int i = 0; i < v->list[k].length; i++) labels[k][i + 1] = v->list[k].data[i];
		Val *a = stack_of(r, scan, plan, v->arg[0]), *b = stack_of(r, scan, plan, v->arg[1]);
		return ir_contract(f, a, labels[0], b, labels[1], v->list[2].length, v->list[2].data);
	}
	}
}

/* ---- the new function ---- */

static const char *free_name(const Fn *f, const char *wish) {
	for (int i = 0; i < f->outputs.length + f->inputs.length; i++) {
		const char *name = i < f->outputs.length ? f->outputs.data[i].name : f->inputs.data[i - f->outputs.length].name;
		if (!strcmp(name, wish)) return free_name(f, arena_printf(f->arena, "%s again", wish));
	}
	return wish;
}

static Val *new_scan(Rebuild *r, const Val *v, const Plan *plan) {
	Arena *arena = r->to->arena;
	Val scan = *v, **args = NEW_ARRAY(arena, Val *, v->nargs + plan->again.length + 1);
	Rebuild b = rebuild_start(v->body);
	r->to->span = v->span;
	for (int i = 0; i < v->nargs; i++) args[i] = r->map[v->arg[i]->id];
	for (int i = 0; i < plan->again.length; i++) { /* they are rows of new constants */
		Val *stack = args[scan.nargs++] = ir_project(r->to, r->map[plan->from.data[i]->id], plan->number.data[i]);
		Val *input = fn_input(b.to, free_name(b.to, "again"), INPUT_DATA, stack->type);
		b.map[plan->again.data[i]->id] = ir_gather(b.to, input, b.map[v->body->inputs.data[0].val->id], 0);
	}
	for (int i = 0; i < v->body->vals.length; i++)
		if (!b.map[i]) b.map[i] = rebuild_copy(&b, v->body->vals.data[i]);
	for (int i = 0; i < v->body->outputs.length; i++)
		fn_output(b.to, v->body->outputs.data[i].name, b.map[v->body->outputs.data[i].val->id], -1);
	for (int i = 0; i < plan->emits.length; i++) fn_output(b.to, free_name(b.to, "kept"), b.map[plan->emits.data[i]->id], -1);
	scan.body = fn_canonical(b.to);
	return fn_rebuild(r->to, &scan, args);
}

/* plans: by the scan's id. */
static Fn *carry_out(Fn *f, const Plan *plans) {
	Rebuild r = rebuild_start(f);
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i];
		if (v->op == OpScan) {
			r.map[i] = new_scan(&r, v, &plans[i]);
			continue;
		}
		const Val *scan = v->op == OpProject ? v->arg[0] : NULL;
		int64_t number = scan ? v->list[0].data[0] : 0;
		if (!scan || number >= scan_carries(scan) || !plans[scan->id].after || !plans[scan->id].after[number]) {
			r.map[i] = rebuild_copy(&r, v);
			continue;
		}
		double start;
		r.to->span = v->span;
		r.map[i] = sum_after(&r, scan, &plans[scan->id], added(scan, (int)number));
		if (!is_splat(scan->arg[number], &start) || start != 0) r.map[i] = ir_Add(r.to, r.map[scan->arg[number]->id], r.map[i]);
	}
	return pass_simplify(rebuild_finish(&r));
}

static Fn *change_bodies(Fn *f) {
	Rebuild r = rebuild_start(f);
	for (int i = 0; i < f->vals.length; i++) {
		Val scan = *f->vals.data[i];
		if (scan.op == OpScan) scan.body = pass_scans(scan.body);
		r.map[i] = scan.op == OpInput ? r.map[i] : fn_rebuild(r.to, &scan, rebuild_args(&r, &scan));
	}
	return rebuild_finish(&r);
}

Fn *pass_scans(Fn *f) {
	if (!fn_has(f, OpScan)) return f;
	f = change_bodies(f);
	Plan *plans = NEW_ARRAY(f->arena, Plan, f->vals.length + 1);
	for (int later = 0; later < f->vals.length; later++)
		for (int before = 0; before < later && f->vals.data[later]->op == OpScan; before++)
			if (f->vals.data[before]->op == OpScan)
				find_again(f->arena, f->vals.data[later], &plans[later], f->vals.data[before], &plans[before]);
	f = carry_out(f, plans);
	plans = NEW_ARRAY(f->arena, Plan, f->vals.length + 1);
	for (int i = 0; i < f->vals.length; i++)
		if (f->vals.data[i]->op == OpScan) find_sums(f->arena, f->vals.data[i], &plans[i]);
	return carry_out(f, plans);
}
