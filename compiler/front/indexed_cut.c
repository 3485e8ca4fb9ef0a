/* indexed_cut.c: affine subscripts as bulk operations.
 *
 * In: what each axis of a tensor is asked for.  Out: the tensor with one axis per index, in the order of the tensor's axes.
 * Guaranteed: only moves, no more of them than needed, always in this order:
 *   repeat   (broadcast, reshape) the elements of an axis whose subscript is rounded down: then its numerator is the subscript
 *   slice    what one index reads, or the part that several read
 *   pad      the default before, behind and (exact division) between the elements, as far as it is read
 *   slice    with a step, where one index reads quotients
 *   reshape  drops axes of one element, adds axes of indices that run over one, and splits an axis whose elements are read once
 *            each: x[g * K + k]
 *   window   one per further index of a subscript: x[i * stride + r * dilation] is (i, r)
 *   flip     indices with negative coefficients
 * So a convolution is pad, window, window, contract, and a pooling without overlaps slice, reshape, reduce. */
#include "indexed_sub.h"

typedef struct Run { IndexVar *var; int64_t n, by; } Run;

/* The indices that run over one axis, ascending; those of more than one element, `active` of them, together from `first` on. */
typedef struct Track {
	int count, first, active;
	Run run[MAX_TERMS];
	int64_t divisor, least, most;
	int64_t length;          /* of the axis after reshape: windows are cut from it */
	bool splits;             /* every element once, from the outside in */
} Track;

typedef struct Plan {
	int rank;
	Track track[MAX_RANK];
	int64_t start[MAX_RANK], size[MAX_RANK], step[MAX_RANK];
	int64_t lo[MAX_RANK], hi[MAX_RANK], inner[MAX_RANK];
	int64_t taken[MAX_RANK], pitch[MAX_RANK];
} Plan;

static int64_t clamp(int64_t n) { return MAX(-((int64_t)1 << 60), MIN((int64_t)1 << 60, n)); }
static int64_t absolute(int64_t n) { return n < 0 ? -n : n; }

/* ---- which indices run over an axis ---- */

static void insert_run(Run *runs, int n, Run run) {
	for (; n > 0 && run.var && runs[n - 1].var && run.var->id < runs[n - 1].var->id; n--) runs[n] = runs[n - 1];
	runs[n] = run;
}

static void add_run(Track *t, IndexVar *var, int64_t n, int64_t by) {
	insert_run(t->run, t->count++, (Run){var, n, by});
	t->active += n > 1;
}

/* Behind the active ones goes what stands between them. */
static void bring_together(Track *t) {
	Run sorted[MAX_TERMS];
	int n = 0;
	while (t->first < t->count && t->active && t->run[t->first].n == 1) t->first++;
	for (int pass = 0; pass < 3; pass++)
		for (int i = 0; i < t->count; i++)
			if (pass == (i < t->first ? 0 : t->run[i].n > 1 ? 1 : 2)) sorted[n++] = t->run[i];
	for (int i = 0; i < n; i++) t->run[i] = sorted[i];
}

/* Sorts the active indices by coefficient, when together they count through the axis as digits do a number. */
static bool counts_through(Track *t, int64_t *unit) {
	Run sorted[MAX_TERMS], *run = t->run + t->first;
	for (int i = 0; i < t->active; i++) {
		int at = i;
		for (; at > 0 && absolute(sorted[at - 1].by) < absolute(run[i].by); at--) sorted[at] = sorted[at - 1];
		sorted[at] = run[i];
	}
	for (int i = 0; i + 1 < t->active; i++)
		if (absolute(sorted[i].by) != absolute(sorted[i + 1].by) * sorted[i + 1].n) return false;
	for (int i = 0; i < t->active; i++) run[i] = sorted[i];
	*unit = absolute(sorted[t->active - 1].by);
	return true;
}

static void read_axis(Sub *s, Track *t, int axis, int64_t size) {
	int labels = s->base.as.tensor.nlabels;
	*t = (Track){.divisor = 1, .most = size - 1};
	if (axis < labels) {
		add_run(t, s->base.as.tensor.labels[axis], size, 1);
		return;
	}
	const Cut *cut = &s->cut[axis - labels];
	if (cut->kind == CUT_ALL) add_run(t, NULL, size, 1);
	if (cut->kind == CUT_ROW) add_run(t, &s->row_axis[axis - labels], size, 1);
	if (cut->kind == CUT_ALL || cut->kind == CUT_ROW) return;
	t->least = clamp(dim_value(s->e, cut->least));
	t->most = clamp(dim_value(s->e, cut->most));
	t->divisor = cut->affine.floors ? 1 : cut->affine.divisor;
	if (cut->kind == CUT_RANGE) add_run(t, NULL, dim_value(s->e, cut->size), 1);
	for (int i = 0; i < cut->affine.count; i++)
		add_run(t, cut->affine.term[i].var, dim_value(s->e, cut->affine.term[i].var->extent), cut->affine.term[i].by);
	bring_together(t);
}

/* ---- what is cut and padded ---- */

/* Of start + k * step for k < n, those inside [0, size): k from *lo to *hi; false when there are none. */
static bool inside(int64_t start, int64_t step, int64_t n, int64_t size, int64_t *lo, int64_t *hi) {
	*lo = start < 0 ? (-start + step - 1) / step : 0;
	*hi = start >= size ? -1 : MIN(n - 1, (size - 1 - start) / step);
	return *lo <= *hi;
}

/* One index at most: what it reads, then the default where it leaves the tensor. */
static bool plan_single(Plan *p, int i, int64_t size) {
	Track *t = &p->track[i];
	int64_t n = t->active ? t->run[t->first].n : 1, step = t->active ? absolute(t->run[t->first].by) : 1, first, last;
	if (!inside(t->least, step, n, size, &first, &last)) return false;
	p->start[i] = t->least + first * step;
	p->size[i] = last - first + 1;
	p->step[i] = step;
	p->lo[i] = first;
	p->hi[i] = n - 1 - last;
	p->taken[i] = t->length = n;
	return true;
}

/* From the smallest to the largest numerator, of a tensor with divisor - 1 defaults between its elements. */
static bool plan_padded(Plan *p, int i, int64_t size) {
	Track *t = &p->track[i];
	int64_t last = (size - 1) * t->divisor;
	if (t->most < 0 || t->least > last || (!t->active && t->least % t->divisor)) return false;
	p->lo[i] = -t->least;
	p->hi[i] = t->most - last;
	p->inner[i] = t->divisor - 1;
	p->taken[i] = t->length = t->most - t->least + 1;
	if (t->active == 1) {
		p->taken[i] = t->length = t->run[t->first].n;
		p->pitch[i] = absolute(t->run[t->first].by);
	}
	return true;
}

/* Several indices that stay inside: their part of the tensor.  A window needs not be told where the tensor ends. */
static void plan_part(Plan *p, int i, int64_t unit) {
	Track *t = &p->track[i];
	if (!t->splits && !t->least) return;
	p->start[i] = t->least;
	p->size[i] = p->taken[i] = t->length = (t->most - t->least) / unit + 1;
	p->step[i] = unit;
}

/* False: nothing of the tensor is read. */
static bool plan_axis(Plan *p, int i, int64_t size, bool outside) {
	Track *t = &p->track[i];
	int64_t unit = 1;
	p->start[i] = p->lo[i] = p->hi[i] = p->inner[i] = 0;
	p->size[i] = p->taken[i] = t->length = size;
	p->step[i] = p->pitch[i] = 1;
	if (t->active < 2 && t->divisor == 1) return plan_single(p, i, size);
	t->splits = t->active > 1 && t->divisor == 1 && counts_through(t, &unit) && (unit == 1 || !outside);
	if (outside) return plan_padded(p, i, size);
	plan_part(p, i, t->splits ? unit : 1);
	return true;
}

/* ---- lowering ---- */

/* The axes between padding and windows; `at`: where each track's windows begin. */
static int reshaped(const Plan *p, int64_t *dim, int *at) {
	int n = 0;
	for (int i = 0; i < p->rank; i++) {
		const Track *t = &p->track[i];
		at[i] = n + t->first;
		for (int k = 0; k < t->count; k++) {
			bool window = !t->splits && k >= t->first && k < t->first + t->active;
			if (!window || k == t->first) dim[n++] = window ? t->length : t->run[k].n;
		}
	}
	return n;
}

/* (length) to (n0, n1, ..): the first index against all others, then these. */
static Val *cut_windows(Fn *f, Val *val, const Track *t, int at) {
	const Run *run = t->run + t->first;
	int64_t reach = t->most - t->least;
	for (int k = 0; k + 1 < t->active; k++) {
		int64_t by = absolute(run[k].by);
		reach -= (run[k].n - 1) * by;
		if (k + 2 == t->active) val = ir_window(f, val, at + k, run[k].n, run[k + 1].n, by, absolute(run[k + 1].by));
		else val = ir_window(f, val, at + k, run[k].n, reach + 1, by, 1);
	}
	return val;
}

static bool plan_fits(Sub *s, const Plan *p) {
	double before = 1, after = 1;
	int rank = 0;
	for (int i = 0; i < p->rank; i++) {
		before *= (double)MAX(p->taken[i], p->track[i].length) * (double)p->pitch[i];
		for (int k = 0; k < p->track[i].count; k++) after *= (double)p->track[i].run[k].n;
		rank += p->track[i].count;
	}
	if (rank <= MAX_RANK && before <= 1e12 && after <= 1e12) return true;
	if (rank > MAX_RANK) elab_error(s->e, s->expr->span, "more than %d dims and indices in one value", MAX_RANK);
	else elab_error(s->e, s->expr->span, "a tensor of too many elements");
	return false;
}

static Val *cut_planned(Sub *s, const Plan *p, Val *val) {
	Fn *f = fn_of(s->e);
	int64_t dim[MAX_RANK], none[MAX_RANK] = {0}, flip[MAX_RANK];
	int at[MAX_RANK], nflip = 0;
	double fill = s->fill_constant ? s->fill_number : 0;
	val = ir_slice(f, val, p->start, p->size, p->step);
	val = ir_pad(f, val, p->lo, p->hi, p->inner, fill);
	val = ir_slice(f, val, none, p->taken, p->pitch);
	val = ir_reshape(f, val, reshaped(p, dim, at), dim);
	for (int i = p->rank - 1; i >= 0; i--)
		if (!p->track[i].splits) val = cut_windows(f, val, &p->track[i], at[i]);
	for (int i = 0, axis = 0; i < p->rank; i++)
		for (int k = 0; k < p->track[i].count; k++, axis++)
			if (p->track[i].run[k].by < 0 && p->track[i].run[k].n > 1) flip[nflip++] = axis;
	return ir_flip(f, val, nflip, flip);
}

/* An index that stands in two subscripts: the diagonal. */
static Part diagonals(Sub *s, Part part) {
	for (int i = 0; i < part.axes.count; i++)
		for (int k = i + 1; part.axes.var[i] && k < part.axes.count; k++)
			if (part.axes.var[k] == part.axes.var[i]) {
				part = part_diagonal(s->e, part, i, k);
				i = -1;
				break;
			}
	return part;
}

/* Elements that are read by several numerators, one after the other.  NULL after an error. */
static Val *repeated(Sub *s) {
	Val *val = s->base.as.tensor.val;
	int labels = s->base.as.tensor.nlabels, n = 0, rank = val->type.rank;
	int64_t dim[2 * MAX_RANK], place[MAX_RANK], wide[MAX_RANK];
	for (int i = 0; i < rank; i++) {
		const Affine *a = i < labels ? NULL : &s->cut[i - labels].affine;
		int64_t times = a && a->floors ? a->divisor : 1;
		place[i] = n;
		dim[n++] = val->type.dim[i];
		wide[i] = val->type.dim[i] * times;
		if (times > 1) dim[n++] = times;
	}
	if (n == rank) return val;
	double elements = 1;
	for (int i = 0; i < rank; i++) elements *= (double)wide[i];
	if (n <= MAX_RANK && elements <= 1e12)
		return ir_reshape(fn_of(s->e), ir_broadcast(fn_of(s->e), val, n, dim, place), rank, wide);
	if (n > MAX_RANK) elab_error(s->e, s->expr->span, "more than %d dims and indices in one value", MAX_RANK);
	else elab_error(s->e, s->expr->span, "a tensor of too many elements");
	return NULL;
}

bool cut_axes(Sub *s, Part *part) {
	Val *val = repeated(s);
	if (!val) return false;
	Type type = val->type;
	Plan p = {.rank = type.rank};
	int labels = s->base.as.tensor.nlabels;
	for (int i = 0; i < p.rank; i++) {
		read_axis(s, &p.track[i], i, type.dim[i]);
		bool read = plan_axis(&p, i, type.dim[i], i >= labels && s->cut[i - labels].outside);
		s->all_outside |= !read;
	}
	if (!plan_fits(s, &p)) return false;
	int64_t dim[MAX_RANK];
	*part = (Part){0};
	for (int i = 0; i < p.rank; i++)
		for (int k = 0; k < p.track[i].count; k++) {
			dim[part->axes.count] = p.track[i].run[k].n;
			part->axes.var[part->axes.count++] = p.track[i].run[k].var;
		}
	Fn *f = fn_of(s->e);
	double fill = s->fill_constant ? s->fill_number : 0;
	if (s->all_outside) part->val = ir_broadcast(f, ir_const(f, type.dtype, fill), part->axes.count, dim, NULL);
	else part->val = cut_planned(s, &p, val);
	*part = diagonals(s, *part);
	return true;
}

/* ---- defaults that are no constants ---- */

/* One index: from where to where it is inside. */
static Value inside_range(Sub *s, const Cut *cut, int64_t size) {
	IndexVar *var = cut->affine.term[0].var;
	int64_t by = cut->affine.term[0].by, n = dim_value(s->e, var->extent), first, last;
	if (!inside(clamp(dim_value(s->e, cut->least)), absolute(by), n, size, &first, &last)) die("a subscript outside the tensor");
	Value at = {.kind = VALUE_INDEX, .span = cut->span, .as.index = var};
	Value low = value_int(by < 0 ? n - 1 - last : first, cut->span), high = value_int(by < 0 ? n - 1 - first : last, cut->span);
	return subscript_compare(s, OpAnd, subscript_compare(s, OpLe, low, at), subscript_compare(s, OpLe, at, high));
}

/* Several indices, or an exact quotient: the numerator is in range and divisible. */
static Value inside_sum(Sub *s, const Cut *cut, int64_t size) {
	int64_t least = dim_value(s->e, cut->least), most = dim_value(s->e, cut->most);
	int64_t divisor = cut->affine.floors ? 1 : cut->affine.divisor;
	if (least < -INT32_MAX || most > INT32_MAX || (size - 1) * divisor > INT32_MAX)
		return elab_error(s->e, cut->span, "too large a number in a subscript");
	Value at = affine_value(s->e, &cut->affine, cut->span), zero = value_int(0, cut->span);
	Value high = value_int((size - 1) * divisor, cut->span);
	Value in = subscript_compare(s, OpAnd, subscript_compare(s, OpLe, zero, at), subscript_compare(s, OpLe, at, high));
	if (divisor == 1) return in;
	Value rest = apply_binary(s->e, OPERATOR_MOD, at, value_int(divisor, cut->span), cut->span, cut->span);
	return subscript_compare(s, OpAnd, in, subscript_compare(s, OpEq, rest, zero));
}

Value apply_default(Sub *s, Value v) {
	Elab *e = s->e;
	Span span = s->expr->span;
	if (s->fill_constant || s->fill.kind == VALUE_NOTHING) return v;
	if (s->all_outside) {
		Value three[] = {value_bool(false, span), v, s->fill};
		return apply_pointwise(e, OpWhere, 3, three, "[]", span);
	}
	for (int i = 0; i < s->base.as.tensor.rank; i++) {
		const Cut *cut = &s->cut[i];
		if (cut->kind != CUT_AFFINE || !cut->outside || !cut->affine.count) continue;
		int64_t size = dim_value(e, s->base.as.tensor.dims[i]) * (cut->affine.floors ? cut->affine.divisor : 1);
		bool one = cut->affine.count == 1 && (cut->affine.divisor == 1 || cut->affine.floors);
		Value three[] = {one ? inside_range(s, cut, size) : inside_sum(s, cut, size), v, s->fill};
		v = apply_pointwise(e, OpWhere, 3, three, "[]", span);
	}
	return v;
}
