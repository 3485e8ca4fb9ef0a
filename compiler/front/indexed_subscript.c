/* indexed_subscript.c: tensor[...] to bulk operations.
 *
 * In: a tensor and its subscripts.  Out: a tensor whose axes named by index variables are labelled, fixed ones dropped,
 * whole ones (`..`, ranges) left as dims.  Guaranteed: every read is proven in range for every batch, has a
 * default, or is a gather (0 outside); a division without default is proven to be exact.
 *
 * Here: what each subscript asks for.  indexed_cut.c and indexed_gather.c do it. */
#include "indexed_sub.h"

static Span name_span(const Sub *s) { return s->expr->left->span; }

/* ---- classifying ---- */

/* A bound of the subscript, from one of its numerator. */
static const char *bound_text(const Sub *s, const Cut *cut, Dim bound) {
	int64_t n, by = cut->affine.divisor;
	const char *text = dim_text(s->e->arena, bound);
	if (!dim_known(bound, &n)) return by == 1 ? text : arena_printf(s->e->arena, "(%s) // %lld", text, (long long)by);
	return arena_printf(s->e->arena, "%lld", (long long)(n / by - (n % by < 0)));
}

/* May the subscript leave an axis of this size?  Of a quotient that is rounded down, every element has `divisor` numerators. */
static bool leaves(Sub *s, Cut *cut, Dim size) {
	Dim least = cut->least, most = cut->most, room, numerators;
	Elab *e = s->e;
	bool fits = dim_mul(size, dim_number(cut->affine.divisor), &numerators), below = !dim_never_negative(least);
	bool above = !fits || !dim_sub(numerators, most, &room) || !dim_sub(room, dim_number(1), &room) || !dim_never_negative(room);
	if (!below && !above) return true;
	if (s->fill.kind != VALUE_NOTHING) return cut->outside = true;
	const char *name = written(e, s->expr->left);
	int64_t n;
	if (below && dim_known(least, &n))
		elab_error(e, cut->span, "the subscript reaches %s, before the start of `%s`", bound_text(s, cut, least), name);
	else if (above && dim_known(most, &n) && dim_known(size, &n))
		elab_error(e, cut->span, "the subscript reaches %s in `%s` whose dimension is %s", bound_text(s, cut, most), name,
			dim_text(e->arena, size));
	else
		elab_error(e, cut->span, "cannot show that the subscript, %s to %s, stays inside `%s` whose dimension is %s",
			bound_text(s, cut, least), bound_text(s, cut, most), name, dim_text(e->arena, size));
	note_tensor(e, s->expr->left, s->base);
	if (cut->kind == CUT_AFFINE && !cut->affine.count && dim_known(least, &n) && n < 0)
		elab_help(e, "the last element is `%s[n - 1]`, n its dimension", name);
	else help_default(e, s->expr, "what lies outside");
	return false;
}

static bool classify_range(Sub *s, const Subscript *sub, Cut *cut, Dim size) {
	Dim from, to;
	if (!eval_int(s->e, s->scope, sub->value, "the start of a range", &from)) return false;
	if (!eval_int(s->e, s->scope, sub->to, "the end of a range", &to)) return false;
	if (!dim_sub(to, from, &cut->size) || !dim_sub(to, dim_number(1), &cut->most)) {
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
	return leaves(s, cut, size);
}

static bool classify_affine(Sub *s, const Subscript *sub, Cut *cut, Dim size) {
	const Affine *a = &cut->affine;
	cut->kind = CUT_AFFINE;
	if (a->count == 1 && sub->value->kind == EXPR_NAME) {
		IndexVar *var = a->term[0].var;
		bool bind = !has_range(var) || s->fill.kind == VALUE_NOTHING;
		if (bind && !bind_range(s->e, var, size, s->expr, s->base, cut->span)) return false;
	}
	if (!affine_bounds(s->e, a, cut->span, &cut->least, &cut->most)) return false;
	double numerators = (double)dim_value(s->e, size) * (double)a->divisor;
	if (a->divisor > 1 && numerators > 1e12) return elab_error(s->e, cut->span, "too large a number in a subscript"), false;
	if (a->divisor == 1 || a->floors) return leaves(s, cut, size);
	if (s->fill.kind != VALUE_NOTHING) return cut->outside = true;
	elab_error(s->e, cut->span, "cannot show that the division by %lld is exact", (long long)a->divisor);
	help_default(s->e, s->expr, "what has a rest");
	return false;
}

static bool classify(Sub *s, const Subscript *sub, int axis) {
	Cut *cut = &s->cut[axis];
	Dim size = s->base.as.tensor.dims[axis];
	*cut = (Cut){.affine.divisor = 1, .span = sub->span};
	if (sub->to) return classify_range(s, sub, cut, size);
	Form form = subscript_form(s->e, s->scope, sub->value);
	if (form.kind == FORM_FAILED) return false;
	cut->affine = form.affine;
	if (form.kind == FORM_AFFINE) return classify_affine(s, sub, cut, size);
	cut->affine = (Affine){.divisor = 1};
	cut->kind = CUT_ROW;
	cut->size = size;
	cut->row = form.value;
	s->row_axis[axis] = (IndexVar){.name = "[]", .id = INT32_MAX - MAX_RANK + axis, .extent = size};
	s->rows++;
	return true;
}

/* `..` bound by the left side or a reduction labels its axes; otherwise they stay dims. */
static bool classify_dots(Sub *s, const Subscript *sub, int axis, int width) {
	Binder *dots = dots_bound(s->e, s->scope);
	const Dim *dims = s->base.as.tensor.dims;
	if (dots && !bind_dots(s->e, dots, width, s->expr, s->base, sub->span)) return false;
	for (int k = 0; k < width; k++) {
		Cut *cut = &s->cut[axis + k];
		*cut = (Cut){.kind = CUT_ALL, .affine.divisor = 1, .size = dims[axis + k], .span = sub->span};
		if (!dots) continue;
		IndexVar *var = &dots->member[k]->var;
		if (!bind_range(s->e, var, dims[axis + k], s->expr, s->base, sub->span)) return false;
		cut->kind = CUT_AFFINE;
		cut->affine.term[cut->affine.count++] = (Term){var, 1};
		if (!affine_bounds(s->e, &cut->affine, sub->span, &cut->least, &cut->most)) return false;
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
	for (int i = 0; i < count && fine; i++) {   /* `x[j, i]` for `x[i, j]` is one mistake */
		const Subscript *sub = &s->expr->subscripts.data[i];
		int width = sub->dots ? rank - count + 1 : 1;
		fine = sub->dots ? classify_dots(s, sub, axis, width) : classify(s, sub, axis);
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

Value subscript_compare(Sub *s, Op op, Value a, Value b) {
	Value pair[] = {a, b};
	return apply_pointwise(s->e, op, 2, pair, "[]", s->expr->span);
}

/* Of an axis that the index of a scan runs over the element at this step: a row, which a loop reads where it lies. */
static bool select_steps(Sub *s, Part *of) {
	Elab *e = s->e;
	for (;;) {
		Part part = *of;
		int at = -1;
		for (int i = 0; i < part.axes.count; i++) {
			const IndexVar *var = part.axes.var[i];
			if (var && var->step && (at < 0 || var->id < part.axes.var[at]->id)) at = i;
		}
		if (at < 0) return true;
		if (!step_here(e, part.axes.var[at], s->expr->span)) return false;
		int64_t perm[MAX_RANK] = {at};
		Axes rest = {0};
		for (int i = 0; i < part.axes.count; i++)
			if (i != at) perm[1 + rest.count] = i, rest.var[rest.count++] = part.axes.var[i];
		Val *rows = ir_transpose(fn_of(e), part.val, perm);
		*of = (Part){ir_gather(fn_of(e), rows, part.axes.var[at]->step, 0), rest};
	}
}

/* A default that is no class makes a class[n] an integer like others. */
static bool default_is_class(const Sub *s) {
	int64_t n = s->base.as.tensor.classes;
	if (n <= 0 || s->fill.kind == VALUE_NOTHING) return true;
	if (s->fill_constant) return s->fill_number >= 0 && s->fill_number < (double)n;
	return s->fill.as.tensor.classes > 0 && s->fill.as.tensor.classes <= n;
}

Value elab_subscript(Elab *e, Scope *scope, const Expr *expr, Value base) {
	if (base.kind != VALUE_TENSOR) return value_poison();
	Sub s = {.e = e, .scope = scope, .expr = expr, .base = base};
	if (!read_default(&s) || !classify_all(&s)) return value_poison();
	Dim dims[MAX_RANK];
	int labels = 0, rank = 0;
	for (int i = 0; i < base.as.tensor.rank; i++) {
		const Cut *cut = &s.cut[i];
		if (cut->kind == CUT_RANGE && cut->outside && !s.fill_constant)
			return elab_error(e, expr->default_value->span, "the default of a range must be a number known to the compiler");
		if (cut->kind == CUT_ALL || cut->kind == CUT_RANGE) dims[rank++] = cut->size;
	}
	fn_of(e)->span = blame(e, name_span(&s));
	Part part;
	if (!cut_axes(&s, &part) || !select_steps(&s, &part)) return value_poison();
	if (!s.rows) part = part_sorted(e, part);
	while (labels < part.axes.count && part.axes.var[labels]) labels++;
	Value v = s.rows ? gather_rows(&s, part, rank, dims)
	                 : value_labelled(e, part.val, labels, part.axes.var, rank, dims, expr->span);
	if (value_ok(v)) v = apply_default(&s, v);
	if (!value_ok(v)) return v;
	v.as.tensor.classes = default_is_class(&s) ? base.as.tensor.classes : 0;
	v.as.tensor.weak = base.as.tensor.weak;
	v.as.tensor.tag = base.as.tensor.tag;
	v.as.tensor.tag_span = base.as.tensor.tag_span;
	v.as.tensor.tag_maker = base.as.tensor.tag_maker;
	return v;
}
