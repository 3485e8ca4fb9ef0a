/* unfold_phases.c: in: folds of a contract, one over another, or a part of them; or a contract over windows of an image with
 * zeros between its elements.  Out: the same values, computed without what is stored only to be added and without those zeros.
 *
 * The fold of axis (n, r) at n stride + r dilation spreads each position over its taps.  The other way round, element t takes the
 * taps r with r dilation = t modulo the stride, each from one position.  Elements whose remainder is the same, a *phase*, take
 * the same taps: each phase is a contract over windows of the padded operand, of taps a step apart and reversed, with no product
 * that is zero but at the border; the phases are then dealt out, element by element.  With stride 1 there is one phase.  So the
 * gradient of a strided convolution's image costs what the convolution did, and nothing is stored per tap.
 *
 * A transposed convolution, written with a division in its subscripts, is such a sum from the start: windows over the image, each
 * element of which is followed by stride - 1 zeros.  Its phases are found likewise; those of its weights' gradient are of taps.
 */
#include "unfold.h"

#include <string.h>

enum { MOST_PHASES = 16 };   /* contracts; more stay as they are */

/* Position n of the operand meets tap r at element t = n stride + r dilation (fold), or n stride = t + r dilation (windows). */
typedef struct Axis {
	int64_t position, tap;         /* labels */
	int64_t start, total;          /* elements t wanted */
	int64_t stride, dilation, size, positions;
	int64_t phases, low;           /* how many phases; zeros before the first position */
	/* Of a phase: */
	int64_t first, count;          /* its first tap and how many there are, a step apart */
	int64_t from, length;          /* the position that its first element takes with the first of its window; elements */
	int64_t element;               /* taps' phases: its first element, the others a stride apart */
} Axis;

typedef enum Form { FOLD, SPREAD, SPREAD_TAPS } Form;   /* SPREAD_TAPS: the result has the taps, the sum runs over elements */

typedef struct Gather {
	Fn *f;
	Form form;
	const Val *contract;
	int naxes, with;               /* which operand has the positions */
	Axis axis[MAX_RANK];
	int64_t base[MAX_RANK], labels[MAX_RANK];   /* of that operand without taps; of the result */
	int nbase, nlabels;
	Val *image, *padded, *other;
	bool turned[MAX_RANK];         /* by axis: its taps are reversed */
} Gather;

static int64_t divisor(int64_t a, int64_t b) { return b ? divisor(b, a % b) : a; }
static int64_t tap_step(const Axis *x) { return x->stride / divisor(x->stride, x->dilation); }
/* How far apart its taps are in positions. */
static int64_t reach(const Axis *x) { return tap_step(x) * x->dilation / x->stride; }
/* Positions that the windows of a phase cover. */
static int64_t cover(const Axis *x) { return x->length + (x->count - 1) * reach(x); }

static void set_phase(Form form, Axis *x, int64_t number) {
	int64_t step = tap_step(x), sign = form == FOLD ? -1 : 1;
	x->first = x->count = x->element = 0;
	x->length = divide_up(x->total, x->stride);
	if (form == SPREAD_TAPS) {
		x->first = number, x->count = divide_up(x->size, step);
		while ((x->start + x->element + number * x->dilation) % x->stride) x->element++;
		x->length = x->element < x->total ? divide_up(x->total - x->element, x->stride) : 0;
		x->from = (x->start + x->element + number * x->dilation) / x->stride;
		return;
	}
	int64_t t = x->start + number;
	while (x->first < step && (t + sign * x->first * x->dilation) % x->stride) x->first++;
	if (x->first < step && x->first < x->size) x->count = divide_up(x->size - x->first, step);
	x->from = (t + sign * x->first * x->dilation) / x->stride;
	if (form == FOLD) x->from -= (x->count - 1) * reach(x);
}

/* ---- folds ---- */

/* The axis of the fold, whose labels leave the list of the result's. */
static void read_fold(Gather *g, const Val *fold) {
	int at = (int)fold->list[0].data[0];
	const Val *a = fold->arg[0];
	Axis *x = &g->axis[g->naxes++];
	*x = (Axis){.position = g->labels[at], .tap = g->labels[at + 1], .total = fold->type.dim[at],
	            .stride = fold->list[1].data[0], .dilation = fold->list[2].data[0], .size = a->type.dim[at + 1],
	            .positions = a->type.dim[at], .phases = fold->list[1].data[0]};
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
	if (!n || v->op != OpContract || uses[v->id] > 1) return false;
	g->contract = v;
	g->nlabels = v->list[2].length;
	memcpy(g->labels, v->list[2].data, sizeof *g->labels * (size_t)g->nlabels);
	while (n > 0) read_fold(g, fold[--n]);
	bool strided = false;
	g->with = label_axis(v->list[0], g->axis[0].position) >= 0 ? 0 : 1;
	for (int i = 0; i < g->naxes; i++) {
		Axis *x = &g->axis[i];
		if (label_axis(v->list[g->with], x->position) < 0 || label_axis(v->list[1 - g->with], x->position) >= 0) return false;
		if (label_axis(v->list[1 - g->with], x->tap) < 0 || label_axis(v->list[g->with], x->tap) >= 0) return false;
		strided = strided || (x->stride > 1 && (x->dilation > 1 || x->size > x->stride));
	}
	for (int i = 0; i < g->nlabels && slice; i++) {
		if (slice->list[1].data[i] != 1) return false;
		for (int k = 0; k < g->naxes; k++)
			if (g->axis[k].position == g->labels[i])
				g->axis[k].start = slice->list[0].data[i], g->axis[k].total = slice->type.dim[i];
	}
	g->image = v->arg[g->with];
	g->nbase = v->list[g->with].length;
	memcpy(g->base, v->list[g->with].data, sizeof *g->base * (size_t)g->nbase);
	return strided;
}

/* ---- windows over an image with zeros between its elements ---- */

/* The axis of the window, whose tap leaves the list of the operand's labels. */
static void read_window(Gather *g, const Val *window, const bool *flipped) {
	int at = (int)window->list[0].data[0];
	int tap = label_axis(g->contract->list[g->with], g->base[at + 1]);
	g->turned[g->naxes] = flipped[tap];
	g->axis[g->naxes++] = (Axis){.position = g->base[at], .tap = g->base[at + 1], .total = window->type.dim[at],
	                             .dilation = window->list[2].data[0], .size = window->type.dim[at + 1]};
	memmove(g->base + at + 1, g->base + at + 2, sizeof *g->base * (size_t)(g->nbase - at - 2));
	g->nbase--;
}

/* What the pad says of each axis; false when it does more. */
static bool read_pad(Gather *g, const Val *pad) {
	bool spread = false;
	for (int i = 0; i < pad->type.rank; i++) {
		int64_t lo = pad->list[0].data[i], hi = pad->list[1].data[i], inner = pad->list[2].data[i];
		Axis *x = NULL;
		for (int k = 0; k < g->naxes; k++)
			if (g->axis[k].position == g->base[i]) x = &g->axis[k];
		if (!x && (lo || hi || inner)) return false;
		if (!x) continue;
		x->start = -lo, x->stride = inner + 1, x->positions = pad->arg[0]->type.dim[i];
		x->phases = g->form == SPREAD ? x->stride : MIN(tap_step(x), x->size);
		spread = spread || inner;
	}
	return spread;
}

static bool read_spread(Gather *g, const Val *v, int with) {
	const Val *a = v->arg[with];
	bool flipped[MAX_RANK] = {false};
	g->contract = v, g->with = with;
	g->nbase = v->list[with].length, g->nlabels = v->list[2].length;
	memcpy(g->base, v->list[with].data, sizeof *g->base * (size_t)g->nbase);
	memcpy(g->labels, v->list[2].data, sizeof *g->labels * (size_t)g->nlabels);
	int flips = 0, taps = 0;
	for (; a->op == OpFlip; a = a->arg[0])
		for (int i = 0; i < a->list[0].length; i++, flips++) flipped[a->list[0].data[i]] = true;
	for (; a->op == OpWindow; a = a->arg[0]) {
		if (a->list[1].data[0] != 1) return false;
		read_window(g, a, flipped);
	}
	if (!g->naxes || a->op != OpPad || a->number != 0) return false;
	for (int i = 0; i < g->naxes; i++) {
		const Axis *x = &g->axis[i];
		bool position = label_axis(v->list[2], x->position) >= 0, tap = label_axis(v->list[2], x->tap) >= 0;
		IntList other = v->list[1 - with];
		if (position == tap || (label_axis(other, x->position) >= 0) == position || (label_axis(other, x->tap) >= 0) == tap)
			return false;
		taps += tap, flips -= g->turned[i];
	}
	g->form = taps ? SPREAD_TAPS : SPREAD;
	g->image = a->arg[0];
	return flips == 0 && (taps == 0 || taps == g->naxes) && read_pad(g, a);
}

/* ---- the phases ---- */

/* Few enough contracts, of few enough axes? */
static bool is_feasible(const Gather *g) {
	int64_t phases = 1;
	for (int i = 0; i < g->naxes; i++) {
		if (g->axis[i].phases > MOST_PHASES / phases) return false;
		phases *= g->axis[i].phases;
	}
	return g->nbase + g->naxes <= MAX_RANK && g->nlabels < MAX_RANK;
}

/* The image with zeros enough before and behind for every phase. */
static void pad_image(Gather *g, Val *v) {
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	for (int i = 0; i < g->naxes; i++) {
		Axis *x = &g->axis[i];
		int at = label_at(g->base, g->nbase, x->position);
		for (int64_t k = 0; k < x->phases; k++) {
			set_phase(g->form, x, k);
			if (!x->count || !x->length) continue;
			lo[at] = MAX(lo[at], -x->from), hi[at] = MAX(hi[at], x->from + cover(x) - x->positions);
		}
		x->low = lo[at];
	}
	g->padded = ir_pad(g->f, v, lo, hi, NULL, 0);
}

/* The other operand's part: the taps of the phase, or the elements. */
static Val *other_part(Gather *g) {
	const IntList labels = g->contract->list[1 - g->with];
	int64_t start[MAX_RANK] = {0}, size[MAX_RANK], step[MAX_RANK], turned[MAX_RANK];
	int flips = 0;
	memcpy(size, g->other->type.dim, sizeof size);
	for (int i = 0; i < MAX_RANK; i++) step[i] = 1;
	for (int i = 0; i < g->naxes; i++) {
		const Axis *x = &g->axis[i];
		int at = label_axis(labels, g->form == SPREAD_TAPS ? x->position : x->tap);
		if (g->form == SPREAD_TAPS) start[at] = x->element, size[at] = x->length, step[at] = x->stride;
		else start[at] = x->first, size[at] = x->count, step[at] = tap_step(x);
		if (g->form == FOLD) turned[flips++] = at;
	}
	Val *part = ir_slice(g->f, g->other, start, size, step);
	return flips ? ir_flip(g->f, part, flips, turned) : part;
}

/* The contract of the phases that are set. */
static Val *phase(Gather *g, Type type) {
	Fn *f = g->f;
	int64_t start[MAX_RANK] = {0}, size[MAX_RANK], labels[MAX_RANK];
	int n = g->nbase;
	memcpy(size, g->padded->type.dim, sizeof size);
	memcpy(labels, g->base, sizeof labels);
	for (int i = 0; i < g->naxes; i++) {
		const Axis *x = &g->axis[i];
		int at = label_at(g->base, n, x->position);
		if (!x->count || !x->length) return ir_broadcast(f, ir_const(f, type.dtype, 0), type.rank, type.dim, NULL);
		start[at] = x->low + x->from, size[at] = cover(x);
	}
	Val *a = ir_slice(f, g->padded, start, size, NULL), *b = other_part(g);
	for (int i = 0; i < g->naxes; i++) {
		const Axis *x = &g->axis[i];
		int at = label_at(labels, n, x->position);
		a = ir_window(f, a, at, x->length, x->count, 1, reach(x));
		memmove(labels + at + 2, labels + at + 1, sizeof *labels * (size_t)(n - at - 1));
		labels[at + 1] = x->tap;
		n++;
	}
	const int64_t *others = g->contract->list[1 - g->with].data;
	Val *y = g->with ? ir_contract(f, b, others, a, labels, g->nlabels, g->labels)
	                 : ir_contract(f, a, labels, b, others, g->nlabels, g->labels);
	Val *kept = unfold_keep_last_axis(f, y, y->arg);
	return kept ? kept : y;
}

/* The parts of an axis, dealt out: element q count + k is element q of parts[k]; `total` of them. */
static Val *deal(Fn *f, Val **parts, int count, int axis, int64_t total) {
	int64_t dim[MAX_RANK], start[MAX_RANK] = {0};
	Type t = parts[0]->type;
	if (count == 1) return parts[0];
	for (int i = 0; i < t.rank; i++) dim[i + (i > axis)] = t.dim[i];
	dim[axis + 1] = 1;
	for (int k = 0; k < count; k++) parts[k] = ir_reshape(f, parts[k], t.rank + 1, dim);
	Val *all = ir_concat(f, count, parts, axis + 1);
	memcpy(dim, t.dim, sizeof dim);
	dim[axis] *= count;
	all = ir_reshape(f, all, t.rank, dim);
	dim[axis] = total;
	return ir_slice(f, all, start, dim, NULL);
}

/* Which axis of the result the phases are of. */
static int result_axis(const Gather *g, const Axis *x) {
	return label_at(g->labels, g->nlabels, g->form == SPREAD_TAPS ? x->tap : x->position);
}

/* All phases of axes `level` and on; type: of a phase, but for the axes dealt out. */
static Val *gather(Gather *g, int level, Type type) {
	if (level == g->naxes) return phase(g, type);
	Axis *x = &g->axis[level];
	Val *parts[MOST_PHASES];
	for (int64_t k = 0; k < x->phases; k++) {
		set_phase(g->form, x, k);
		parts[k] = gather(g, level + 1, type);
	}
	return deal(g->f, parts, (int)x->phases, result_axis(g, x), g->form == SPREAD_TAPS ? x->size : x->total);
}

static Val *gather_all(Gather *g, Rebuild *r, Type whole) {
	for (int i = 0; i < g->naxes; i++) {
		Axis *x = &g->axis[i];
		whole.dim[result_axis(g, x)] = g->form == SPREAD_TAPS ? divide_up(x->size, tap_step(x)) : divide_up(x->total, x->stride);
	}
	pad_image(g, r->map[g->image->id]);
	g->other = r->map[g->contract->arg[1 - g->with]->id];
	int64_t turned[MAX_RANK];
	int flips = 0;
	for (int i = 0; i < g->naxes; i++)
		if (g->turned[i] && g->form == SPREAD) turned[flips++] = label_axis(g->contract->list[1 - g->with], g->axis[i].tap);
	if (flips) g->other = ir_flip(g->f, g->other, flips, turned);
	Val *y = gather(g, 0, whole);
	flips = 0;
	for (int i = 0; i < g->naxes; i++)
		if (g->turned[i] && g->form == SPREAD_TAPS) turned[flips++] = result_axis(g, &g->axis[i]);
	return flips ? ir_flip(g->f, y, flips, turned) : y;
}

Val *unfold_phases(Rebuild *r, const Val *v, const int *uses) {
	Gather g = {.f = r->to, .form = FOLD};
	if (!read_chain(&g, v, uses) || !is_feasible(&g)) return NULL;
	const Val *slice = v->op == OpSlice ? v : NULL;   /* of other axes too: they are sliced after */
	int64_t start[MAX_RANK];
	for (int i = 0; i < g.nlabels; i++) {
		start[i] = slice ? slice->list[0].data[i] : 0;
		for (int k = 0; k < g.naxes; k++)
			if (g.axis[k].position == g.labels[i]) start[i] = 0;
	}
	return ir_slice(g.f, gather_all(&g, r, slice ? slice->arg[0]->type : v->type), start, v->type.dim, NULL);
}

bool unfold_has_phases(const Val *v, const int *uses) {
	Gather fold = {.form = FOLD}, spread[2] = {{0}};
	if (v->op == OpFold || v->op == OpSlice) return read_chain(&fold, v, uses) && is_feasible(&fold);
	for (int with = 0; with < 2 && v->op == OpContract; with++)
		if (read_spread(&spread[with], v, with) && is_feasible(&spread[with])) return true;
	return false;
}

Val *unfold_spread(Rebuild *r, const Val *v) {
	for (int with = 0; with < 2; with++) {
		Gather g = {.f = r->to};
		if (read_spread(&g, v, with) && is_feasible(&g)) return gather_all(&g, r, v->type);
	}
	return NULL;
}
