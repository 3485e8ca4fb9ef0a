/* unfold_phases.c: in: folds of a contract, one over another, or a part of them; out: the same values, gathered.
 *
 * The fold of axis (n, r) at n stride + r dilation spreads each position over its taps.  The other way round, element t takes the
 * taps r with r dilation = t modulo the stride, each from one position.  Elements whose remainder is the same, a *phase*, take
 * the same taps: each phase is a contract over windows of the padded operand, of taps a step apart and reversed, with no product
 * that is zero but at the border; the phases are then dealt out, element by element.  With stride 1 there is one phase.  So the
 * gradient of a strided convolution's image costs what the convolution did, and nothing is stored per tap. */
#include "unfold.h"

#include <string.h>

enum { MOST_PHASES = 16 };   /* contracts; more stay a fold */

typedef struct Axis {
	int64_t position, tap;         /* labels */
	int64_t start, total;          /* elements wanted of the fold */
	int64_t stride, dilation, size, positions;
	int64_t first, count;          /* the phase: its first tap and how many there are, `step` apart .. */
	int64_t from;                  /* .. and the position that the last of them takes for its first element */
	int64_t low;                   /* zeros before the first position */
} Axis;

typedef struct Gather {
	Fn *f;
	const Val *contract;
	int naxes, with;               /* which operand has the positions; the other one has the taps */
	Axis axis[MAX_RANK];
	int64_t labels[MAX_RANK];      /* of the result */
	int nlabels;
	Val *padded, *taps;
} Gather;

int unfold_find(const int64_t *labels, int count, int64_t label) {
	for (int i = 0; i < count; i++)
		if (labels[i] == label) return i;
	return -1;
}

static int find(IntList labels, int64_t label) { return unfold_find(labels.data, labels.length, label); }

static int64_t divisor(int64_t a, int64_t b) { return b ? divisor(b, a % b) : a; }
static int64_t tap_step(const Axis *x) { return x->stride / divisor(x->stride, x->dilation); }
/* Elements of each phase. */
static int64_t phase_length(const Axis *x) { return (x->total + x->stride - 1) / x->stride; }
/* How far apart its taps are in positions. */
static int64_t reach(const Axis *x) { return tap_step(x) * x->dilation / x->stride; }

static void set_phase(Axis *x, int64_t number) {
	int64_t t = x->start + number, step = tap_step(x);
	x->first = 0, x->count = 0;
	while (x->first < step && (t - x->first * x->dilation) % x->stride) x->first++;
	if (x->first < step && x->first < x->size) x->count = (x->size - x->first + step - 1) / step;
	x->from = (t - x->first * x->dilation) / x->stride - (x->count - 1) * reach(x);
}

/* The axis of the fold, whose labels leave the list of the result's. */
static void read_fold(Gather *g, const Val *fold) {
	int at = (int)fold->list[0].data[0];
	const Val *a = fold->arg[0];
	Axis *x = &g->axis[g->naxes++];
	*x = (Axis){.position = g->labels[at], .tap = g->labels[at + 1], .start = 0, .total = fold->type.dim[at],
	            .stride = fold->list[1].data[0], .dilation = fold->list[2].data[0], .size = a->type.dim[at + 1],
	            .positions = a->type.dim[at]};
	memmove(g->labels + at + 1, g->labels + at + 2, sizeof *g->labels * (size_t)(g->nlabels - at - 2));
	g->nlabels--;
}

/* Reads slice, folds and contract into `g`; false when they are not of the form that is gathered. */
static bool read_chain(Gather *g, const Val *v, const int *uses) {
	const Val *slice = v->op == OpSlice ? v : NULL, *fold[MAX_RANK];
	int n = 0;
	if (slice) v = v->arg[0];
	for (; v->op == OpFold && n < MAX_RANK; v = v->arg[0]) {
		if ((n || slice) && uses[v->id] > 1) return false;
		fold[n++] = v;
	}
	if (!n || v->op != OpContract || uses[v->id] > 1 || v->type.rank > MAX_RANK) return false;
	g->contract = v;
	g->nlabels = v->list[2].length;
	memcpy(g->labels, v->list[2].data, sizeof *g->labels * (size_t)g->nlabels);
	while (n > 0) read_fold(g, fold[--n]);
	int phases = 1, rank[2] = {v->arg[0]->type.rank, v->arg[1]->type.rank};
	bool strided = false;
	g->with = find(v->list[0], g->axis[0].position) >= 0 ? 0 : 1;
	for (int i = 0; i < g->naxes; i++) {
		Axis *x = &g->axis[i];
		if (find(v->list[g->with], x->position) < 0 || find(v->list[1 - g->with], x->position) >= 0) return false;
		if (find(v->list[1 - g->with], x->tap) < 0 || find(v->list[g->with], x->tap) >= 0) return false;
		if (phases > MOST_PHASES / x->stride || ++rank[g->with] > MAX_RANK) return false;
		phases *= (int)x->stride;
		strided = strided || (x->stride > 1 && (x->dilation > 1 || x->size > x->stride));
	}
	for (int i = 0; i < g->nlabels && slice; i++) {
		if (slice->list[1].data[i] != 1) return false;
		for (int k = 0; k < g->naxes; k++)
			if (g->axis[k].position == g->labels[i])
				g->axis[k].start = slice->list[0].data[i], g->axis[k].total = slice->type.dim[i];
	}
	return strided && g->nlabels < MAX_RANK;
}

/* The operand with zeros enough before and behind for every phase. */
static void pad_operand(Gather *g, Val *v) {
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	for (int i = 0; i < g->naxes; i++) {
		Axis *x = &g->axis[i];
		int at = find(g->contract->list[g->with], x->position);
		for (int64_t k = 0; k < x->stride; k++) {
			set_phase(x, k);
			if (!x->count) continue;
			int64_t past = x->from + phase_length(x) + (x->count - 1) * reach(x) - x->positions;
			lo[at] = MAX(lo[at], -x->from), hi[at] = MAX(hi[at], past);
		}
		x->low = lo[at];
	}
	g->padded = ir_pad(g->f, v, lo, hi, NULL, 0);
}

/* The contract of the phases that are set. */
static Val *phase(Gather *g, Type type) {
	Fn *f = g->f;
	const Val *c = g->contract;
	int with = g->with, n = c->list[with].length;
	int64_t start[2][MAX_RANK] = {{0}}, size[2][MAX_RANK], step[MAX_RANK], flipped[MAX_RANK], labels[2][MAX_RANK];
	memcpy(size[0], g->padded->type.dim, sizeof size[0]);
	memcpy(size[1], g->taps->type.dim, sizeof size[1]);
	for (int i = 0; i < MAX_RANK; i++) step[i] = 1;
	for (int i = 0; i < g->naxes; i++) {
		const Axis *x = &g->axis[i];
		if (!x->count) return ir_broadcast(f, ir_const(f, type.dtype, 0), type.rank, type.dim, NULL);
		int at = find(c->list[with], x->position), tap = find(c->list[1 - with], x->tap);
		start[0][at] = x->low + x->from, size[0][at] = phase_length(x) + (x->count - 1) * reach(x);
		start[1][tap] = x->first, size[1][tap] = x->count, step[tap] = tap_step(x);
		flipped[i] = tap;
	}
	Val *a = ir_slice(f, g->padded, start[0], size[0], NULL);
	Val *b = ir_flip(f, ir_slice(f, g->taps, start[1], size[1], step), g->naxes, flipped);
	memcpy(labels[0], c->list[with].data, sizeof *labels[0] * (size_t)n);
	memcpy(labels[1], c->list[1 - with].data, sizeof *labels[1] * (size_t)c->list[1 - with].length);
	for (int i = 0; i < g->naxes; i++) {
		const Axis *x = &g->axis[i];
		int at = unfold_find(labels[0], n, x->position);
		a = ir_window(f, a, at, phase_length(x), x->count, 1, reach(x));
		memmove(labels[0] + at + 2, labels[0] + at + 1, sizeof *labels[0] * (size_t)(n - at - 1));
		labels[0][at + 1] = x->tap;
		n++;
	}
	return ir_contract(f, with ? b : a, labels[with], with ? a : b, labels[1 - with], g->nlabels, g->labels);
}

/* The phases of an axis, dealt out: element q stride + k is element q of parts[k]. */
static Val *deal(Fn *f, Val **parts, const Axis *x, int axis) {
	int64_t dim[MAX_RANK], start[MAX_RANK] = {0};
	Type t = parts[0]->type;
	if (x->stride == 1) return parts[0];
	for (int i = 0; i < t.rank; i++) dim[i + (i > axis)] = t.dim[i];
	dim[axis + 1] = 1;
	for (int64_t k = 0; k < x->stride; k++) parts[k] = ir_reshape(f, parts[k], t.rank + 1, dim);
	Val *all = ir_concat(f, (int)x->stride, parts, axis + 1);
	memcpy(dim, t.dim, sizeof dim);
	dim[axis] *= x->stride;
	all = ir_reshape(f, all, t.rank, dim);
	dim[axis] = x->total;
	return ir_slice(f, all, start, dim, NULL);
}

/* All phases of axes `level` and on; type: of a phase, lengths of the axes before dealt out. */
static Val *gather(Gather *g, int level, Type type) {
	if (level == g->naxes) return phase(g, type);
	Axis *x = &g->axis[level];
	Val *parts[MOST_PHASES];
	int axis = unfold_find(g->labels, g->nlabels, x->position);
	for (int64_t k = 0; k < x->stride; k++) {
		set_phase(x, k);
		parts[k] = gather(g, level + 1, type);
	}
	return deal(g->f, parts, x, axis);
}

Val *unfold_phases(Rebuild *r, const Val *v, const int *uses) {
	Gather g = {.f = r->to};
	if (!read_chain(&g, v, uses)) return NULL;
	Type type = v->type;   /* axes that are no fold's may be sliced too: as in the fold, then sliced */
	const Val *slice = v->op == OpSlice ? v : NULL, *fold = slice ? v->arg[0] : v;
	int64_t start[MAX_RANK];
	for (int i = 0; i < g.nlabels; i++) {
		start[i] = slice ? slice->list[0].data[i] : 0;
		type.dim[i] = fold->type.dim[i];
		for (int k = 0; k < g.naxes; k++)
			if (g.axis[k].position == g.labels[i]) start[i] = 0, type.dim[i] = phase_length(&g.axis[k]);
	}
	pad_operand(&g, r->map[g.contract->arg[g.with]->id]);
	g.taps = r->map[g.contract->arg[1 - g.with]->id];
	return ir_slice(g.f, gather(&g, 0, type), start, v->type.dim, NULL);
}
