/* indexed_subscript.c: tensor[...] to bulk operations.
 *
 * In: a tensor and its subscripts.  Out: a tensor whose axes named by index variables are labelled, fixed ones dropped,
 * whole ones (`..`, ranges) left as dims.  Guaranteed: every read is proven in range for every batch, has a
 * default, or is a gather (0 outside).
 *
 * An affine subscript of one variable is a slice (offset, step), reversed by a flip, with a default padded.  A variable that
 * stands twice is a diagonal.  One subscript that depends on data is a gather of one element per row. */
#include "indexed.h"

typedef enum CutKind { CUT_ALL, CUT_FIXED, CUT_RANGE, CUT_VARIABLE, CUT_ROW } CutKind;

/* What happens to one axis of the tensor: elements first + by * k for k < size. */
typedef struct Cut {
	CutKind kind;
	IndexVar *var;
	int64_t by;
	Dim least, size;         /* least: the smallest subscript */
	bool outside;            /* may leave the tensor: the default is read */
	Value row;
	Span span;
} Cut;

typedef struct Sub {
	Elab *e;
	Scope *scope;
	const Expr *expr;
	Value base;
	Cut cut[MAX_RANK];
	int row;                 /* the axis with a subscript that depends on data, or -1 */
	Value fill;              /* the default; VALUE_NOTHING: none */
	double fill_number;
	bool fill_constant;
	struct { IndexVar *var; int64_t size, lo, hi; } mask[MAX_RANK];   /* axes read outside: the part inside is [lo, hi] */
	int masks;
	bool all_outside;
} Sub;

static Span name_span(const Sub *s) { return s->expr->left->span; }

/* ---- classifying ---- */

static bool leaves(Sub *s, Cut *cut, Dim least, Dim most, Dim size) {
	Dim room;
	bool below = !dim_never_negative(least);
	bool above = !dim_sub(size, most, &room) || !dim_sub(room, dim_number(1), &room) || !dim_never_negative(room);
	if (!below && !above) return true;
	if (s->fill.kind != VALUE_NOTHING) return cut->outside = true;
	Elab *e = s->e;
	const char *name = written(e, s->expr->left);
	int64_t n;
	if (below && dim_known(least, &n))
		elab_error(e, cut->span, "the subscript reaches %lld, before the start of `%s`", (long long)n, name);
	else if (above && dim_known(most, &n) && dim_known(size, &n))
		elab_error(e, cut->span, "the subscript reaches %s in `%s` whose dimension is %s", dim_text(e->arena, most), name,
			dim_text(e->arena, size));
	else
		elab_error(e, cut->span, "cannot show that the subscript, %s to %s, stays inside `%s` whose dimension is %s",
			dim_text(e->arena, least), dim_text(e->arena, most), name, dim_text(e->arena, size));
	note_tensor(e, s->expr->left, s->base);
	if (cut->kind == CUT_FIXED && dim_known(least, &n) && n < 0)
		elab_help(e, "the last element is `%s[n - 1]`, n its dimension", name);
	else help_default(e, s->expr);
	return false;
}

static bool classify_range(Sub *s, const Subscript *sub, Cut *cut, Dim size) {
	Dim from, to, last;
	if (!eval_int(s->e, s->scope, sub->value, "the start of a range", &from)) return false;
	if (!eval_int(s->e, s->scope, sub->to, "the end of a range", &to)) return false;
	if (!dim_sub(to, from, &cut->size) || !dim_sub(to, dim_number(1), &last)) {
		elab_error(s->e, sub->span, "too large a number in a range");
		return false;
	}
	int64_t n;
	cut->kind = CUT_RANGE;
	cut->least = from;
	if (dim_known(cut->size, &n) ? n < 1 : dim_value(s->e, cut->size) < 1) {
		elab_error(s->e, sub->span, "the range %s..%s is empty", dim_text(s->e->arena, from), dim_text(s->e->arena, to));
		return false;
	}
	if (dim_equal(cut->size, size)) cut->size = size;   /* keeps the name */
	return leaves(s, cut, from, last, size);
}

static bool classify_affine(Sub *s, const Subscript *sub, Cut *cut, const Affine *a, Dim size) {
	Dim most;
	bool bare = a->count == 1 && sub->value->kind == EXPR_NAME;
	cut->kind = a->count ? CUT_VARIABLE : CUT_FIXED;
	cut->size = dim_number(1);
	if (a->count > 1) {
		elab_error(s->e, cut->span, "windows (two indices in one subscript) are not supported yet");
		return false;
	}
	if (a->count) {
		cut->var = a->term[0].var;
		cut->by = a->term[0].by;
		bool bind = bare && (!has_range(cut->var) || s->fill.kind == VALUE_NOTHING);
		if (bind && !bind_range(s->e, cut->var, size, s->expr, s->base, cut->span)) return false;
	}
	if (!affine_bounds(s->e, a, cut->span, &cut->least, &most)) return false;
	if (a->count) cut->size = cut->var->extent;
	return leaves(s, cut, cut->least, most, size);
}

static bool classify(Sub *s, const Subscript *sub, int axis) {
	Cut *cut = &s->cut[axis];
	Dim size = s->base.as.tensor.dims[axis];
	*cut = (Cut){.by = 1, .span = sub->span};
	if (sub->to) return classify_range(s, sub, cut, size);
	Form form = subscript_form(s->e, s->scope, sub->value);
	if (form.kind == FORM_FAILED) return false;
	if (form.kind == FORM_AFFINE) return classify_affine(s, sub, cut, &form.affine, size);
	cut->kind = CUT_ROW;
	cut->size = size;
	cut->row = form.value;
	if (s->row >= 0) {
		elab_error(s->e, sub->span, "two subscripts of one tensor that depend on data are not supported yet");
		return false;
	}
	s->row = axis;
	return true;
}

static void whole(Cut *cut, Dim size, Span span) {
	*cut = (Cut){.kind = CUT_ALL, .by = 1, .size = size, .span = span};
}

/* `..` bound by the left side or a reduction labels its axes; otherwise they stay dims. */
static bool classify_dots(Sub *s, const Subscript *sub, int axis, int width) {
	Binder *dots = dots_bound(s->e, s->scope);
	const Dim *dims = s->base.as.tensor.dims;
	if (dots && !bind_dots(s->e, dots, width, s->expr, s->base, sub->span)) return false;
	for (int k = 0; k < width; k++) {
		whole(&s->cut[axis + k], dims[axis + k], sub->span);
		if (!dots) continue;
		IndexVar *var = &dots->member[k]->var;
		if (!bind_range(s->e, var, dims[axis + k], s->expr, s->base, sub->span)) return false;
		s->cut[axis + k].kind = CUT_VARIABLE;
		s->cut[axis + k].var = var;
	}
	return true;
}

static bool classify_all(Sub *s) {
	int count = s->expr->subscripts.length, rank = s->base.as.tensor.rank, dots = 0, axis = 0;
	for (int i = 0; i < count; i++) dots += s->expr->subscripts.data[i].dots;
	const char *name = written(s->e, s->expr->left);
	if (dots > 1) {
		elab_error(s->e, s->expr->span, "`..` stands twice in one subscript");
		return false;
	}
	if (dots ? count - 1 > rank : count != rank) {
		elab_error(s->e, s->expr->span, "%s for `%s`, which has %s: %s", arena_count(s->e->arena, count, "subscript"), name,
			arena_count(s->e->arena, rank, "dimension"), value_text(s->e, s->base));
		note_tensor(s->e, s->expr->left, s->base);
		if (count < rank && !dots) elab_help(s->e, "`..` stands for the dims that are not named: `%s[.., i]`", name);
		return false;
	}
	bool fine = true;
	for (int i = 0; i < count; i++) {
		const Subscript *sub = &s->expr->subscripts.data[i];
		int width = sub->dots ? rank - count + 1 : 1;
		fine &= sub->dots ? classify_dots(s, sub, axis, width) : classify(s, sub, axis);
		axis += width;
	}
	return fine;
}

static bool read_default(Sub *s) {
	Elab *e = s->e;
	s->fill = (Value){.kind = VALUE_NOTHING};
	if (!s->expr->default_value) return true;
	Span span = s->expr->default_value->span;
	s->fill = to_tensor(e, eval_expr(e, s->scope, s->expr->default_value), value_dtype(&s->base), span);
	if (!value_ok(s->fill)) return false;
	if (s->fill.as.tensor.rank) {
		elab_error(e, span, "the default must be one number, not %s", value_text(e, s->fill));
		return false;
	}
	s->fill_constant = !s->fill.as.tensor.nlabels && is_splat(s->fill.as.tensor.val, &s->fill_number);
	return true;
}

/* ---- lowering ---- */

static int64_t clamp(int64_t n) { return MAX(-((int64_t)1 << 60), MIN((int64_t)1 << 60, n)); }

/* Of start + k * step for k < n, those inside [0, size): k from *lo to *hi; false when there are none. */
static bool inside(int64_t start, int64_t step, int64_t n, int64_t size, int64_t *lo, int64_t *hi) {
	*lo = start < 0 ? (-start + step - 1) / step : 0;
	*hi = start >= size ? -1 : MIN(n - 1, (size - 1 - start) / step);
	return *lo <= *hi;
}

/* Slices, pads and flips every axis at once; labels of the base come first and stay. */
static Val *cut_axes(Sub *s, Val *val) {
	int labels = s->base.as.tensor.nlabels, nflip = 0;
	int64_t start[MAX_RANK] = {0}, size[MAX_RANK], step[MAX_RANK], flip[MAX_RANK];
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0}, full[MAX_RANK];
	for (int i = 0; i < val->type.rank; i++) {
		full[i] = size[i] = val->type.dim[i];
		step[i] = 1;
		if (i < labels) continue;
		const Cut *cut = &s->cut[i - labels];
		int64_t n = dim_value(s->e, cut->size), first = 0, last = n - 1;
		if (cut->kind == CUT_ALL || cut->kind == CUT_ROW) continue;
		start[i] = clamp(dim_value(s->e, cut->least));
		step[i] = cut->by < 0 ? -cut->by : cut->by;
		full[i] = n;
		if (cut->by < 0) flip[nflip++] = i;
		if (cut->outside) {
			if (!inside(start[i], step[i], n, size[i], &first, &last)) s->all_outside = true;
			int64_t before = cut->by < 0 ? n - 1 - last : first, after = cut->by < 0 ? n - 1 - first : last;
			if (cut->var) s->mask[s->masks].var = cut->var;
			if (cut->var) s->mask[s->masks].size = n, s->mask[s->masks].lo = before, s->mask[s->masks++].hi = after;
		}
		start[i] += first * step[i];
		size[i] = last - first + 1;
		lo[i] = first;
		hi[i] = n - 1 - last;
	}
	Fn *f = fn_of(s->e);
	double fill = s->fill_constant ? s->fill_number : 0;
	if (s->all_outside) return ir_broadcast(f, ir_const(f, val->type.dtype, fill), val->type.rank, full, NULL);
	val = ir_slice(f, val, start, size, step);
	return ir_flip(f, ir_pad(f, val, lo, hi, NULL, fill), nflip, flip);
}

/* Drops fixed axes and names the others: variables, NULL for dims. */
static Part name_axes(Sub *s, Val *val) {
	int64_t dim[MAX_RANK];
	Part part = {0};
	int labels = s->base.as.tensor.nlabels;
	for (int i = 0; i < val->type.rank; i++) {
		const Cut *cut = i < labels ? NULL : &s->cut[i - labels];
		if (cut && cut->kind == CUT_FIXED) continue;
		dim[part.axes.count] = val->type.dim[i];
		part.axes.var[part.axes.count++] = cut ? cut->var : s->base.as.tensor.labels[i];
	}
	part.val = ir_reshape(fn_of(s->e), val, part.axes.count, dim);
	for (int i = 0; i < part.axes.count; i++)
		for (int k = i + 1; part.axes.var[i] && k < part.axes.count; k++)
			if (part.axes.var[k] == part.axes.var[i]) {
				part = part_diagonal(s->e, part, i, k);
				i = -1;
				break;
			}
	return part;
}

static Value compare(Sub *s, Op op, Value a, Value b) {
	Value pair[] = {a, b};
	return apply_pointwise(s->e, op, 2, pair, "[]", s->expr->span);
}

/* A default that is no constant, where the mask says outside. */
static Value apply_masks(Sub *s, Value v) {
	Elab *e = s->e;
	Span span = s->expr->span;
	if (s->all_outside && !s->fill_constant) {
		Value pair[] = {value_bool(false, span), v, s->fill};
		return apply_pointwise(e, OpWhere, 3, pair, "[]", span);
	}
	for (int i = 0; i < s->masks && !s->fill_constant; i++) {
		Value at = {.kind = VALUE_INDEX, .span = span, .as.index = s->mask[i].var};
		Value low = compare(s, OpLe, value_int(s->mask[i].lo, span), at);
		Value high = compare(s, OpLe, at, value_int(s->mask[i].hi, span));
		Value triple[] = {compare(s, OpAnd, low, high), v, s->fill};
		v = apply_pointwise(e, OpWhere, 3, triple, "[]", span);
	}
	return v;
}

/* One element per row: table [labels.., n] at row [labels..]. */
static Value gather(Sub *s, Part table) {
	Elab *e = s->e;
	const Cut *cut = &s->cut[s->row];
	int labels = table.axes.count - 1;
	Value row = to_tensor(e, cut->row, DTYPE_I32, cut->span);
	if (!value_ok(row)) return row;
	int64_t size;
	if (row.as.tensor.classes > 0 && s->fill.kind == VALUE_NOTHING && dim_known(cut->size, &size) && row.as.tensor.classes > size) {
		elab_error(e, cut->span, "%s selects among %lld: class %lld is outside", value_text(e, row), (long long)size, (long long)size);
		note_value(e, "the subscript", row);
		note_tensor(e, s->expr->left, s->base);
		return value_poison();
	}
	bool rows = true;   /* the gathered axis is the only dim, and no index is the row's alone */
	for (int i = 0; i < labels; i++) rows &= table.axes.var[i] != NULL;
	for (int i = 0; i < row.as.tensor.nlabels; i++) rows &= axes_find(table.axes, row.as.tensor.labels[i]) >= 0;
	if (!rows) {
		elab_error(e, cut->span, "a gather of other than one element per row is not supported yet");
		note_tensor(e, s->expr->left, s->base);
		return value_poison();
	}
	Val *index = broadcast_to(e, &row, labels, table.axes.var, 0, NULL);
	Value v = value_labelled(e, ir_gather(fn_of(e), table.val, index, labels), labels, table.axes.var, 0, NULL, s->expr->span);
	if (s->fill.kind == VALUE_NOTHING || (s->fill_constant && s->fill_number == 0)) return v;
	Value low = compare(s, OpLe, value_int(0, cut->span), row), high = compare(s, OpLt, row, value_dim(cut->size, cut->span));
	Value triple[] = {compare(s, OpAnd, low, high), v, s->fill};
	return apply_pointwise(e, OpWhere, 3, triple, "[]", s->expr->span);
}

static bool result_fits(Sub *s) {
	double elements = 1;
	for (int i = 0; i < s->base.as.tensor.rank; i++) elements *= (double)dim_value(s->e, s->cut[i].size);
	for (int i = 0; i < s->base.as.tensor.nlabels; i++) elements *= (double)s->base.as.tensor.val->type.dim[i];
	if (elements <= 1e12) return true;
	elab_error(s->e, s->expr->span, "a tensor of too many elements");
	return false;
}

Value elab_subscript(Elab *e, Scope *scope, const Expr *expr, Value base) {
	if (base.kind != VALUE_TENSOR) return value_poison();
	Sub s = {.e = e, .scope = scope, .expr = expr, .base = base, .row = -1};
	if (!read_default(&s) || !classify_all(&s) || !result_fits(&s)) return value_poison();
	for (int i = 0; i < base.as.tensor.rank; i++)
		if (s.cut[i].kind == CUT_RANGE && s.cut[i].outside && !s.fill_constant)
			return elab_error(e, expr->default_value->span, "the default of a range must be a number known to the compiler");
	fn_of(e)->span = blame(e, name_span(&s));
	Part part = part_sorted(e, name_axes(&s, cut_axes(&s, base.as.tensor.val)));
	Value v;
	if (s.row >= 0) {
		v = gather(&s, part);
	} else {
		Dim dims[MAX_RANK];
		int labels = 0, rank = 0;
		while (labels < part.axes.count && part.axes.var[labels]) labels++;
		for (int i = 0; i < base.as.tensor.rank; i++)
			if (s.cut[i].kind == CUT_ALL || s.cut[i].kind == CUT_RANGE) dims[rank++] = s.cut[i].size;
		v = value_labelled(e, part.val, labels, part.axes.var, rank, dims, expr->span);
	}
	v = apply_masks(&s, v);
	if (!value_ok(v)) return v;
	v.as.tensor.classes = base.as.tensor.classes;
	v.as.tensor.weak = base.as.tensor.weak;
	v.as.tensor.tag = base.as.tensor.tag;
	v.as.tensor.tag_span = base.as.tensor.tag_span;
	v.as.tensor.tag_maker = base.as.tensor.tag_maker;
	return v;
}
