/* recompute.c: in: a planned program that needs more memory than there is; out: one that needs less, because it computes values
 * again instead of keeping them.
 *
 * Where most is alive, some values wait: computed before, read again only later.  All of these that one kernel has computed are
 * given up there, and their later readers read copies, computed of what is alive then anyway, of inputs, and of copies again
 * where there is nothing else.  A copy is a value of its own, computed after one of the backward pass (`again`, ops.def).  What
 * gives most bytes for the least work is tried first; a plan, without machine code, tells whether less is alive; and so on from
 * there, until it is little enough or nothing helps.
 * Guarantees: the same bits, inputs and outputs; the same program where nothing is won; deterministic. */
#include <stdlib.h>

#include "kernel.h"

enum { MOST_TRIES = 24, MOST_COPIED = 2000, SMALL_PART = 8 };   /* tries in one place; values; what is kept rather than copied */

typedef struct Choice { int kernel; size_t bytes; double worth; } Choice;

typedef struct Recompute {
	const KernelProgram *kp;
	int *time;           /* by kernel, see plan.c */
	int *kernel_of;      /* by Val.id: that computes it, or -1 */
	int *last_reader;    /* by Val.id, or -1 */
	bool *is_output;     /* by Val.id */
	int when;            /* the time at which most is alive */
	/* of one choice: */
	int first_late;      /* the first kernel after that which reads what waits */
	bool *copied;        /* by Val.id: computed again */
	int ncopied;
	double work;
	size_t small;        /* bytes of what is rather kept */
	/* of the Fn that is made of it: */
	Fn *to;
	Val **now, **late, **copy;   /* by Val.id: as it was; as late readers see it; its copy */
	Val *after;
} Recompute;

static bool is_stored(const Recompute *r, const Val *v) { return v->op == OpInput || r->kp->buffer_of[v->id] >= 0; }

static Val *without_again(Val *v) {
	while (v->op == OpAgain) v = v->arg[0];
	return v;
}

/* ---- what waits ---- */

static void find_readers(Recompute *r) {
	const KernelProgram *kp = r->kp;
	for (int i = 0; i < kp->fn->vals.length; i++) r->kernel_of[i] = r->last_reader[i] = -1;
	for (int k = 0; k < kp->kernels.length; k++) {
		const Kernel *kernel = &kp->kernels.data[k];
		for (int i = 0; i < kernel->roots.length; i++) r->kernel_of[kernel->roots.data[i]->id] = k;
		for (int i = 0; i < kernel->leaves.length; i++) r->last_reader[kernel->leaves.data[i].val->id] = k;
	}
	for (int i = 0; i < kp->fn->outputs.length; i++) r->is_output[kp->fn->outputs.data[i].val->id] = true;
}

/* Bytes alive at each time; how many times have the most, and which is the first. */
static size_t fullest(const KernelProgram *kp, int *first, int *times) {
	size_t sum = 0, most = 0, *more = NEW_ARRAY(kp->arena, size_t, kp->kernels.length + 2);
	for (int i = 0; i < kp->buffers.length; i++) {
		const Buffer *b = &kp->buffers.data[i];
		if (b->kind == BUFFER_ARENA && b->first >= 0 && !b->within) more[b->first] += b->bytes, more[b->last + 1] -= b->bytes;
	}
	*times = 0;
	for (int t = 0; t < kp->kernels.length; t++) {
		sum += more[t];
		if (sum > most) most = sum, *first = t, *times = 0;
		*times += sum == most;
	}
	return most;
}

/* Is the value in memory at that time, for a later reader alone? */
static bool waits(const Recompute *r, const Val *v) {
	const KernelProgram *kp = r->kp;
	int buffer = kp->buffer_of[v->id], last = r->last_reader[v->id];
	if (buffer < 0 || last < 0 || r->is_output[v->id] || kp->buffers.data[buffer].kind != BUFFER_ARENA) return false;
	if (r->time[r->kernel_of[v->id]] >= r->when || r->time[last] <= r->when) return false;
	for (int k = 0; k < kp->kernels.length; k++) {
		const Kernel *kernel = &kp->kernels.data[k];
		for (int i = 0; i < kernel->leaves.length && r->time[k] == r->when; i++)
			if (kernel->leaves.data[i].val == v) return false;
	}
	return true;
}

static int first_reader_after(const Recompute *r, const Val *v) {
	for (int k = 0; k < r->kp->kernels.length; k++) {
		const LeafList *leaves = &r->kp->kernels.data[k].leaves;
		for (int i = 0; i < leaves->length && r->time[k] > r->when; i++)
			if (leaves->data[i].val == v) return k;
	}
	return r->kp->kernels.length;
}

static double work_of(const Val *v) {
	double elements = (double)type_count(v->type);
	if (v->op == OpScan) {
		double turn = 0;
		for (int i = 0; i < v->body->vals.length; i++) turn += work_of(v->body->vals.data[i]);
		return turn * (double)scan_count(v);
	}
	if (v->op == OpContract) return elements * (double)contract_order(v).terms;
	if (is_reduce(v)) return (double)type_count(v->arg[0]->type);
	return elements * op_cost(v);
}

/* Adds `v` to what is copied, and of what it is computed whatever is not there any more when the copy is; false: too much. */
static bool include(Recompute *r, const Val *v) {
	if (r->copied[v->id]) return true;
	r->copied[v->id] = true;
	r->work += work_of(v);
	if (++r->ncopied > MOST_COPIED) return false;
	for (int k = 0; k < computed_operands(v); k++) {
		const Val *a = without_again(v->arg[k]);
		bool overwritten = v->op == OpScan && k < scan_carries(v);   /* the first value of a carry */
		if (is_stored(r, a) && !overwritten) {
			int buffer = r->kp->buffer_of[a->id];
			if (a->op == OpInput || r->kp->buffers.data[buffer].kind != BUFFER_ARENA) continue;
			if (!r->copied[a->id] && (r->last_reader[a->id] >= r->first_late || r->kp->buffers.data[buffer].bytes <= r->small))
				continue;
		}
		if (a->nargs && !include(r, a)) return false;
	}
	return true;
}

/* What kernel `k` has computed and waits; false when there is nothing. */
static bool choose(Recompute *r, int k, Choice *out) {
	const KernelProgram *kp = r->kp;
	const Kernel *kernel = &kp->kernels.data[k];
	*out = (Choice){.kernel = k};
	r->first_late = kp->kernels.length;
	for (int i = 0; i < kp->fn->vals.length; i++) r->copied[i] = false;
	r->ncopied = 0;
	r->work = 0;
	for (int i = 0; i < kernel->roots.length; i++) {
		const Val *v = kernel->roots.data[i];
		if (!waits(r, v)) continue;
		out->bytes += kp->buffers.data[kp->buffer_of[v->id]].bytes;
		r->first_late = MIN(r->first_late, first_reader_after(r, v));
	}
	r->small = out->bytes / SMALL_PART;
	if (!out->bytes || r->first_late == kp->kernels.length) return false;
	for (int i = 0; i < kernel->roots.length; i++)
		if (waits(r, kernel->roots.data[i]) && !include(r, kernel->roots.data[i])) return false;
	out->worth = (double)out->bytes / (r->work + 1);
	return true;
}

static int worth_more_first(const void *a, const void *b) {
	const Choice *x = a, *y = b;
	if (x->worth != y->worth) return x->worth < y->worth ? 1 : -1;
	return x->kernel - y->kernel;
}

/* ---- the Fn with copies ---- */

static Val *rebuilt(Recompute *r, Val *v, Val **args) {
	r->to->span = v->span;
	return fn_copy(r->to, v, args);
}

/* `v` as kernels before the copies see it, or those after them. */
static Val *seen(Recompute *r, Val *v, bool late) {
	Val **known = late ? r->late : r->now;
	if (known[v->id]) return known[v->id];
	if (is_stored(r, v)) {
		if (!r->now[v->id]) die("a value is read before its kernel has run");
		return known[v->id] = r->now[v->id];
	}
	Val **args = NEW_ARRAY(r->to->arena, Val *, v->nargs + 1);
	for (int i = 0; i < v->nargs; i++) args[i] = seen(r, v->arg[i], late && i < computed_operands(v));
	return known[v->id] = rebuilt(r, v, args);
}

/* The copy of what is copied, and of what is not stored; anything else as it is. */
static Val *copy_of(Recompute *r, Val *v) {
	double value;
	v = without_again(v);
	if (r->copy[v->id]) return r->copy[v->id];
	if (!r->copied[v->id] || !v->nargs || is_splat(v, &value)) return r->copy[v->id] = seen(r, v, false);
	Val **args = NEW_ARRAY(r->to->arena, Val *, v->nargs + 1);
	int given = -1;   /* an operand that is no copy: the first that is not known beforehand */
	bool changed = false;
	for (int k = 0; k < v->nargs; k++) {
		Val *a = without_again(v->arg[k]);
		args[k] = copy_of(r, a);
		if (args[k] != seen(r, a, false)) changed = true;
		else if (given < 0 && a->op != OpIota && !is_splat(a, &value)) given = k;
	}
	if (v->op == OpMark && given < 0) given = 0;
	if (!changed && given >= 0) args[given] = ir_again(r->to, args[given], r->after);
	if (v->op != OpMark) return r->copy[v->id] = rebuilt(r, v, args);
	r->to->span = v->span;
	return r->copy[v->id] = ir_mark(r->to, args[0]);
}

/* The kernel after which the copies may be computed: the last before their first reader that needs one of those that run when
 * most is alive, and so cannot itself run before, and that leaves something in the arena. */
static int kernel_before(const Recompute *r, Val **after) {
	const KernelProgram *kp = r->kp;
	bool *needs = NEW_ARRAY(kp->arena, bool, kp->kernels.length + 1);
	for (int k = 0; k < r->first_late; k++) {
		const Kernel *kernel = &kp->kernels.data[k];
		needs[k] = r->time[k] == r->when;
		for (int i = 0; i < kernel->after.length; i++) needs[k] = needs[k] || needs[kernel->after.data[i]];
	}
	for (int k = r->first_late - 1; k >= 0; k--) {
		const Kernel *kernel = &kp->kernels.data[k];
		for (int i = 0; i < kernel->roots.length && needs[k]; i++) {
			*after = kernel->roots.data[i];
			int buffer = kp->buffer_of[(*after)->id];
			if (buffer >= 0 && kp->buffers.data[buffer].kind == BUFFER_ARENA && !r->is_output[(*after)->id]) return k;
		}
	}
	return -1;
}

/* What a Fn with copies begins as. */
static Fn *same_inputs(const Fn *from, Val **now) {
	Fn *to = fn_with_inputs(from, now);
	to->next_mark = from->next_mark;
	to->precision = from->precision;
	return to;
}

static Fn *same_outputs(Fn *to, const Fn *from, Val *const *now) {
	fn_outputs_of(to, from, now);
	to->span = from->span;
	return to;
}

/* Has it not been dropped? */
static bool is_of(const Fn *f, const Val *v) { return v && v->id < f->vals.length && f->vals.data[v->id] == v; }

/* What copies wait for may have become a value that nobody reads, having been copied itself: they wait for what it was made of
 * instead, so that it goes. */
static Fn *without_idle(Recompute *r, Fn *f) {
	bool *needed = NEW_ARRAY(f->arena, bool, f->vals.length + 1), idle = false;
	for (int i = 0; i < f->outputs.length; i++) needed[f->outputs.data[i].val->id] = true;
	for (int i = f->vals.length - 1; i >= 0; i--)
		for (int k = 0; needed[i] && k < computed_operands(f->vals.data[i]); k++) needed[f->vals.data[i]->arg[k]->id] = true;
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		idle = idle || (v->op == OpAgain && !needed[v->arg[1]->id]);
	}
	if (!idle) return f;
	Val **now = NEW_ARRAY(f->arena, Val *, f->vals.length + 1);
	Fn *to = same_inputs(f, now);
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i], *after = v->op == OpAgain ? v->arg[1] : NULL, **args = NEW_ARRAY(f->arena, Val *, v->nargs + 1);
		if (v->op == OpInput) continue;
		while (after && !needed[after->id] && after->nargs) after = after->arg[0];
		for (int k = 0; k < v->nargs; k++) args[k] = now[k == 1 && after ? after->id : v->arg[k]->id];
		to->span = v->span;
		now[i] = fn_copy(to, v, args);
	}
	same_outputs(to, f, now);
	for (int i = 0; i < r->kp->fn->vals.length; i++) {   /* what is said of values is said of these */
		if (is_of(f, r->now[i])) r->now[i] = now[r->now[i]->id];
		if (is_of(f, r->copy[i])) r->copy[i] = now[r->copy[i]->id];
	}
	return fn_renumber(to);
}

/* The program with copies of what the choice, the last that was looked at, gives up; or NULL. */
static Fn *with_copies(Recompute *r, const Choice *choice) {
	const KernelProgram *kp = r->kp;
	int n = kp->fn->vals.length + 1;
	Val *after;
	int before = kernel_before(r, &after);
	if (before < 0) return NULL;
	r->now = NEW_ARRAY(kp->arena, Val *, n);
	r->late = NEW_ARRAY(kp->arena, Val *, n);
	r->copy = NEW_ARRAY(kp->arena, Val *, n);
	r->to = same_inputs(kp->fn, r->now);
	for (int k = 0; k < kp->kernels.length; k++) {
		const Kernel *kernel = &kp->kernels.data[k];
		for (int i = 0; i < kernel->roots.length; i++) {
			Val *v = kernel->roots.data[i], **args = NEW_ARRAY(kp->arena, Val *, v->nargs + 1);
			for (int a = 0; a < v->nargs; a++) args[a] = seen(r, v->arg[a], k > before && a < computed_operands(v));
			r->now[v->id] = rebuilt(r, v, args);
		}
		if (k != before) continue;
		r->after = r->now[after->id];
		const Kernel *given_up = &kp->kernels.data[choice->kernel];
		for (int i = 0; i < given_up->roots.length; i++) {
			Val *v = given_up->roots.data[i];
			if (waits(r, v)) r->late[v->id] = copy_of(r, v);
		}
	}
	return without_idle(r, fn_renumber(same_outputs(r->to, kp->fn, r->now)));
}

/* What was computed again before, and what is now, among the values of the new program. */
static void list_copies(const Recompute *r, KernelProgram *made) {
	const Recomputed *old = r->kp->again.data;
	for (int i = 0; i < r->kp->again.length; i++) {
		Val *v = r->now[old[i].val->id];
		vec_push(made->arena, &made->again, ((Recomputed){v ? v : old[i].val, old[i].bytes}));
	}
	for (int i = 0; i < r->kp->fn->vals.length; i++) {
		int buffer = r->kp->buffer_of[i];
		if (!r->copied[i] || buffer < 0 || !r->copy[i] || r->copy[i] == r->now[i]) continue;
		vec_push(made->arena, &made->again, ((Recomputed){r->copy[i], r->kp->buffers.data[buffer].bytes}));
	}
}

/* ---- again and again ---- */

/* A program of which less is alive at once, or at fewer times as much; or NULL. */
static KernelProgram *improved(const KernelProgram *kp, const Planner *planner) {
	int n = kp->fn->vals.length + 1, times, tries = 0;
	Recompute r = {.kp = kp, .time = kernel_times(kp)};
	r.kernel_of = NEW_ARRAY(kp->arena, int, n);
	r.last_reader = NEW_ARRAY(kp->arena, int, n);
	r.is_output = NEW_ARRAY(kp->arena, bool, n);
	r.copied = NEW_ARRAY(kp->arena, bool, n);
	find_readers(&r);
	size_t most = fullest(kp, &r.when, &times);
	Choice *choices = NEW_ARRAY(kp->arena, Choice, kp->kernels.length + 1);
	int count = 0;
	for (int k = 0; k < kp->kernels.length; k++) count += choose(&r, k, &choices[count]);
	qsort(choices, (size_t)count, sizeof *choices, worth_more_first);
	for (int i = 0; i < count && tries < MOST_TRIES; i++) {
		choose(&r, choices[i].kernel, &choices[i]);
		Fn *f = with_copies(&r, &choices[i]);
		if (!f) continue;
		fn_verify(f, "recompute");
		KernelProgram *made = planner->plan(planner->context, f);
		int first, made_times;
		size_t now = fullest(made, &first, &made_times);
		tries++;
		if (now > most || (now == most && made_times >= times)) continue;
		list_copies(&r, made);
		return made;
	}
	return NULL;
}

KernelProgram *kernel_recompute(KernelProgram *kp, size_t most, const Planner *planner) {
	KernelProgram *best = kp;
	while (best->arena_bytes > most) {
		kp = improved(kp, planner);
		if (!kp) break;
		if (kp->arena_bytes < best->arena_bytes) best = kp;
	}
	return best;
}
