/* simplify_scan.c: scans without what nobody needs.  In: a scan whose body is simplified; out: one with fewer carries, operands
 * and results, and where each old result is found.
 *
 * A carry that stays as it is is a constant, and its last value the first.  Carries and emitted values that nobody reads go, so
 * does what only they read; an operand that is one number everywhere stands in the body, two that are one value are one.
 * Guarantees: what is left of the results has the same bits. */
#include "simplify.h"

typedef struct Trim {
	const Val *scan;                       /* the old one, with its body simplified */
	Val **args;                            /* its operands in the new function */
	int carries, noutputs;
	bool *kept;                            /* by output: of the body */
	bool *reached;                         /* by id in the body */
} Trim;

static bool stays(const Trim *t, int carry) {
	const Fn *body = t->scan->body;
	return body->outputs.data[carry].val == body->inputs.data[carry + 1].val;
}

static Operands all_operands(const Val *v) { return (Operands){0, v->nargs}; }

/* Marks what the kept results need, until no carry more is needed for them. */
static void find_kept(Trim *t) {
	const Fn *body = t->scan->body;
	ValList order = {0};
	for (bool more = true; more;) {
		more = false;
		for (int i = 0; i < t->noutputs; i++)
			if (t->kept[i]) post_order(body->arena, body->outputs.data[i].val, t->reached, all_operands, &order);
		for (int i = 0; i < t->carries; i++) {
			if (t->kept[i] || stays(t, i) || !t->reached[body->inputs.data[i + 1].val->id]) continue;
			t->kept[i] = more = true;
		}
	}
}

/* The new body, and the operands it is called with. */
static Val *build(Fn *f, Trim *t, ScanResult *results) {
	const Val *v = t->scan;
	const Fn *from = v->body;
	Fn *body = fn_new(f->arena, from->name);
	Val **map = NEW_ARRAY(f->arena, Val *, from->vals.length + 1), **args = NEW_ARRAY(f->arena, Val *, v->nargs + 1);
	int nargs = 0, ncarries = 0, nresults = 0;
	body->next_mark = from->next_mark;
	map[from->inputs.data[0].val->id] = fn_input(body, from->inputs.data[0].name, INPUT_DATA, type_scalar(DTYPE_I32));
	for (int turn = 0; turn < 2; turn++)   /* carries, then constants */
		for (int i = 0; i < v->nargs; i++) {
			const Input *in = &from->inputs.data[i + 1];
			bool carry = i < t->carries && t->kept[i];
			double value;
			if (carry != (turn == 0) || (!carry && !t->reached[in->val->id])) continue;
			for (int k = ncarries; k < nargs && turn && !map[in->val->id]; k++)
				if (args[k] == t->args[i]) map[in->val->id] = body->inputs.data[k + 1].val;
			if (map[in->val->id]) continue;
			if (turn && is_splat(t->args[i], &value)) {
				Val *number = ir_const(body, in->type.dtype, value);
				map[in->val->id] = ir_broadcast(body, number, in->type.rank, in->type.dim, NULL);
				continue;
			}
			args[nargs++] = t->args[i];
			ncarries += carry;
			map[in->val->id] = fn_input(body, in->name, in->kind, in->type);
		}
	for (int i = 0; i < from->vals.length; i++) {
		Val *x = from->vals.data[i], **operands = NEW_ARRAY(f->arena, Val *, x->nargs + 1);
		if (!t->reached[i] || x->op == OpInput) continue;
		for (int k = 0; k < x->nargs; k++) operands[k] = map[x->arg[k]->id];
		body->span = x->span;
		map[i] = fn_rebuild(body, x, operands);
	}
	for (int i = 0; i < t->noutputs; i++) {
		const Output *out = &from->outputs.data[i];
		if (!t->kept[i]) continue;
		results[i].number = nresults++;
		fn_output(body, out->name, map[out->val->id], -1);
	}
	return ir_scan(f, fn_canonical(body), scan_count(v), v->list[1].data[0], ncarries, nargs, args);
}

/* Is there nothing to leave out? */
static bool is_trim(const Trim *t) {
	double value;
	for (int i = 0; i < t->noutputs; i++)
		if (!t->kept[i]) return false;
	for (int i = t->carries; i < t->scan->nargs; i++) {
		if (!t->reached[t->scan->body->inputs.data[i + 1].val->id] || is_splat(t->args[i], &value)) return false;
		for (int k = t->carries; k < i; k++)
			if (t->args[k] == t->args[i]) return false;
	}
	return true;
}

Val *trim_scan(Fn *f, const Val *scan, Val **args, const bool *read, ScanResult *results) {
	Trim t = {.scan = scan, .args = args, .carries = scan_carries(scan), .noutputs = scan->body->outputs.length};
	t.kept = NEW_ARRAY(f->arena, bool, t.noutputs + 1);
	t.reached = NEW_ARRAY(f->arena, bool, scan->body->vals.length + 1);
	for (int i = 0; i < t.noutputs; i++) {
		bool still = i < t.carries && stays(&t, i);
		if (still) results[i].value = args[i];
		t.kept[i] = read[i] && !still;
	}
	find_kept(&t);
	if (is_trim(&t)) return NULL;
	return build(f, &t, results);
}
