/* indexed.c: indexed definitions and reductions.
 *
 * In: `let y[b, j] = value`, `sum[k](body)`.  Out: a tensor whose dims are the indices of the left side; a value without
 * the labels that were reduced.  Guaranteed: a sum of products follows the rule of indexed_sum.c; everything else
 * is computed element by element as written. */
#include <string.h>

#include "indexed.h"

bool step_here(Elab *e, const IndexVar *var, Span span) {
	const Fn *f = fn_of(e);
	if (var->step->id < f->vals.length && f->vals.data[var->step->id] == var->step) return true;
	elab_error(e, span, "`%s` is no constant: an initialiser is computed before any data is seen", var->name);
	return false;
}

Value elab_index_number(Elab *e, Value index, Span span) {
	if (index.kind != VALUE_INDEX) return index;
	IndexVar *var = index.as.index;
	if (var->binder && var->binder->dots) die("`..` as a number");
	if (var->step) {
		if (!step_here(e, var, span)) return value_poison();
		Value number = value_tensor(e, var->step, NULL, span);
		number.as.tensor.weak = true;
		return number;
	}
	if (!need_range(e, var, span)) return value_poison();
	int64_t n = dim_value(e, var->extent);
	if (!check_index(e, arena_printf(e->arena, "index `%s` as a number", var->name), n, span)) return value_poison();
	fn_of(e)->span = blame(e, span);
	Value v = value_labelled(e, ir_iota(fn_of(e), type_make(DTYPE_I32, 1, &n), 0), 1, &var, 0, NULL, span);
	v.as.tensor.weak = true;
	return v;
}

/* Statics, index variables and tensors as a tensor; whole numbers on their own are f32. */
static Value tensor_of(Elab *e, Value v, Span span) {
	if (!value_ok(v) || v.kind == VALUE_TENSOR) return v;
	if (v.kind == VALUE_INDEX) return elab_index_number(e, v, span);
	return to_tensor(e, v, v.kind == VALUE_BOOL ? DTYPE_BOOL : DTYPE_F32, span);
}

/* v with these labels too, broadcast where it lacks them. */
static Value with_labels(Elab *e, Value v, int count, IndexVar **vars, Span span) {
	Axes have = part_of(&v).axes, all = have;
	int rank = v.as.tensor.rank;
	bool fits = true;
	for (int i = 0; i < count; i++) fits = fits && axes_add(&all, vars[i]);
	if (!fits || all.count + rank > MAX_RANK) return elab_error(e, span, "more than %d dims and indices in one value", MAX_RANK);
	if (all.count == have.count) return v;
	if (!axes_fit(e, all)) return elab_error(e, span, "a tensor of too many elements");
	all = axes_sorted(all);
	fn_of(e)->span = blame(e, span);
	Val *val = broadcast_to(e, &v, all.count, all.var, rank, v.as.tensor.dims);
	return value_labelled(e, val, all.count, all.var, rank, v.as.tensor.dims, span);
}

/* ---- reductions ---- */

static Value reduce_labels(Elab *e, const Expr *expr, Value v, int count, IndexVar **vars) {
	int64_t axes[MAX_RANK];
	int n = 0, kept = 0;
	v = with_labels(e, v, count, vars, expr->span);
	if (!value_ok(v)) return v;
	IndexVar *labels[MAX_RANK];
	for (int i = 0; i < v.as.tensor.nlabels; i++) {
		IndexVar *label = v.as.tensor.labels[i];
		bool gone = false;
		for (int k = 0; k < count; k++) gone |= vars[k] == label;
		if (gone) axes[n++] = i;
		else labels[kept++] = label;
	}
	for (int k = 0; k < count; k++) warn_over_batch(e, expr->name.text, vars[k]->extent, expr->span);
	fn_of(e)->span = blame(e, expr->span);
	Val *val = reduce_axes(e, expr->name.text, v.as.tensor.val, n, axes, expr->span);
	return val ? value_labelled(e, val, kept, labels, v.as.tensor.rank, v.as.tensor.dims, expr->span) : value_poison();
}

typedef struct Factor { Value value; bool divides; Span span, at; } Factor;

/* a * b / c * d, from the left: as many factors as fit; the rest of the expression is one of them. */
static int collect_factors(const Expr *x, const Expr **factor, const Expr **operator) {
	int n = 0;
	while (n < MAX_FACTORS - 1 && x->kind == EXPR_BINARY && (x->op == OPERATOR_MUL || x->op == OPERATOR_DIV)) {
		factor[n] = x->right;
		operator[n++] = x;
		x = x->left;
	}
	factor[n] = x;
	operator[n++] = NULL;
	for (int i = 0; i < n / 2; i++) {
		const Expr *f = factor[i], *o = operator[i];
		factor[i] = factor[n - 1 - i], operator[i] = operator[n - 1 - i];
		factor[n - 1 - i] = f, operator[n - 1 - i] = o;
	}
	return n;
}

static bool has_some(const Value *v, int count, IndexVar **vars) {
	for (int i = 0; v->kind == VALUE_TENSOR && i < v->as.tensor.nlabels; i++)
		for (int k = 0; k < count; k++)
			if (v->as.tensor.labels[i] == vars[k]) return true;
	return false;
}

/* The float dtype of the factors, if they are scalars of one: indices and numbers adapt, anything else is for apply_binary. */
static bool common_float(const Factor *factor, int n, DType *dtype) {
	bool found = false;
	for (int i = 0; i < n; i++) {
		const Value *v = &factor[i].value;
		if (value_static(*v) && v->kind != VALUE_BOOL) continue;
		if (v->kind == VALUE_INDEX) continue;
		if (v->kind != VALUE_TENSOR || v->as.tensor.rank) return false;
		if (v->as.tensor.weak) continue;
		if (!dtype_is_float(value_dtype(v)) || (found && value_dtype(v) != *dtype)) return false;
		found = true;
		*dtype = value_dtype(v);
	}
	return found;
}

/* A divisor with a summed index divides the factor before it; it keeps its place, so the order stays as written. */
static int divide_active(Elab *e, Factor *factor, int n, int count, IndexVar **vars) {
	int kept = 0;
	for (int i = 0; i < n; i++) {
		if (!factor[i].divides || !has_some(&factor[i].value, count, vars)) {
			factor[kept++] = factor[i];
			continue;
		}
		int into = kept - 1;
		while (into > 0 && factor[into].divides) into--;
		factor[into].value = apply_binary(e, OPERATOR_DIV, factor[into].value, factor[i].value, factor[i].span, factor[i].at);
	}
	return kept;
}

static Value times(Elab *e, Value v, const Factor *f) {
	return apply_binary(e, f->divides ? OPERATOR_DIV : OPERATOR_MUL, v, f->value, f->span, f->at);
}

static Value product_as_written(Elab *e, const Factor *factor, int n) {
	Value v = factor[0].value;
	for (int i = 1; i < n; i++) v = times(e, v, &factor[i]);
	return v;
}

/* The sum of the factors that have a summed index, then the others in their order. */
static Value sum_factors(Elab *e, const Expr *expr, Factor *factor, int n, DType dtype, int count, IndexVar **vars) {
	Part part[MAX_FACTORS], sum;
	Axes summed = {0};
	int parts = 0;
	double elements = 1;
	for (int i = 0; i < count; i++) axes_add(&summed, vars[i]), elements *= (double)dim_value(e, vars[i]->extent);
	for (int i = 0; i < n; i++) {
		if (!has_some(&factor[i].value, count, vars)) continue;
		Value v = to_tensor(e, factor[i].value, dtype, factor[i].span);
		if (!value_ok(v)) return v;
		part[parts++] = part_of(&v);
	}
	fn_of(e)->span = blame(e, expr->span);
	if (!sum_of_product(e, part, parts, summed, &sum))
		return elab_error(e, expr->span, "more than %d indices, or too many elements, in one product", MAX_RANK);
	Value v = part_value(e, sum, expr->span);
	if (!strcmp(expr->name.text, "mean"))
		v = apply_binary(e, OPERATOR_DIV, v, value_real(elements, expr->span), expr->span, expr->at);
	for (int i = 0; i < n; i++)
		if (!has_some(&factor[i].value, count, vars)) v = times(e, v, &factor[i]);
	return v;
}

static bool all_occur(const Factor *factor, int n, int count, IndexVar **vars) {
	for (int k = 0; k < count; k++) {
		bool occurs = false;
		for (int i = 0; i < n; i++) occurs |= has_some(&factor[i].value, 1, &vars[k]);
		if (!occurs) return false;
	}
	return true;
}

static Value reduce_product(Elab *e, Scope *scope, const Expr *expr) {
	const Expr *tree[MAX_FACTORS], *operator[MAX_FACTORS];
	Factor factor[MAX_FACTORS];
	IndexVar *vars[MAX_RANK];
	int count, n = collect_factors(expr->left, tree, operator);
	bool fine = true;
	for (int i = 0; i < n; i++) {
		bool divides = operator[i] && operator[i]->op == OPERATOR_DIV;
		Value v = eval_expr(e, scope, tree[i]);
		if (v.kind == VALUE_INDEX) v = elab_index_number(e, v, tree[i]->span);   /* a tensor like any other */
		factor[i] = (Factor){v, divides, tree[i]->span, operator[i] ? operator[i]->at : tree[i]->at};
		fine &= value_ok(v);
	}
	DType dtype = DTYPE_F32;
	if (!fine || !list_variables(e, &expr->indices, vars, &count)) return value_poison();
	bool product = n > 1 && common_float(factor, n, &dtype) && all_occur(factor, n, count, vars);
	if (product) n = divide_active(e, factor, n, count, vars);
	for (int i = 0; i < n; i++)
		if (!value_ok(factor[i].value)) return value_poison();
	if (product) return sum_factors(e, expr, factor, n, dtype, count, vars);
	Value v = tensor_of(e, product_as_written(e, factor, n), expr->left->span);
	return value_ok(v) ? reduce_labels(e, expr, v, count, vars) : v;
}

static Value reduce_body(Elab *e, Scope *scope, const Expr *expr) {
	const char *name = expr->name.text;
	IndexVar *vars[MAX_RANK];
	int count;
	if (!strcmp(name, "sum") || !strcmp(name, "mean")) return reduce_product(e, scope, expr);
	Value v = tensor_of(e, eval_expr(e, scope, expr->left), expr->left->span);
	if (!value_ok(v) || !list_variables(e, &expr->indices, vars, &count)) return value_poison();
	if (!strcmp(name, "argmax") && count != 1) {
		elab_error(e, expr->span, "`argmax` takes one index, not %d", count);
		elab_help(e, "the place of the largest over several dims: `argmax` of a `reshape`");
		return value_poison();
	}
	return reduce_labels(e, expr, v, count, vars);
}

Value elab_reduce(Elab *e, Scope *scope, const Expr *expr) {
	bool own = !binder_of(e, &expr->indices.data[0]);
	IndexPlan *plan = own ? plan_enter(e, NULL, expr) : NULL;
	Scope *inner = bind_indices(e, scope, &expr->indices, own, expr->left);
	Value v = inner ? reduce_body(e, inner, expr) : value_poison();
	release_indices(e, &expr->indices);
	if (own) plan_leave(e, plan);
	return v;
}

/* ---- definitions ---- */

/* Labels of the left side become dims in its order; labels of definitions around this one stay labels. */
static Value define(Elab *e, const Stmt *stmt, Value v, int count, IndexVar **vars) {
	int64_t perm[MAX_RANK];
	Dim dims[MAX_RANK];
	IndexVar *outer[MAX_RANK];
	int kept = 0;
	Value full = with_labels(e, v, count, vars, stmt->span);
	if (!value_ok(full)) return full;
	Axes axes = part_of(&full).axes, left = {0};
	for (int i = 0; i < count; i++) axes_add(&left, vars[i]), dims[i] = vars[i]->extent;
	for (int i = 0; i < axes.count; i++)
		if (axes_find(left, axes.var[i]) < 0) perm[kept] = i, outer[kept++] = axes.var[i];
	for (int i = 0; i < count; i++) perm[kept + i] = axes_find(axes, vars[i]);
	fn_of(e)->span = blame(e, stmt->span);
	Val *val = ir_transpose(fn_of(e), full.as.tensor.val, perm);
	Value result = value_labelled(e, val, kept, outer, count, dims, stmt->name.span);
	result.as.tensor.classes = v.as.tensor.classes;
	result.as.tensor.tag = v.as.tensor.tag;
	result.as.tensor.tag_span = v.as.tensor.tag_span;
	result.as.tensor.tag_maker = v.as.tensor.tag_maker;
	return result;
}

Value elab_indexed_let(Elab *e, Scope *scope, const Stmt *stmt) {
	IndexPlan *plan = plan_enter(e, &stmt->indices, stmt->value);
	Scope *inner = bind_indices(e, scope, &stmt->indices, true, stmt->value);
	IndexVar *vars[MAX_RANK];
	int count;
	Value v = inner ? tensor_of(e, eval_expr(e, inner, stmt->value), stmt->value->span) : value_poison();
	if (value_ok(v) && v.as.tensor.rank) {
		elab_error(e, stmt->value->span, "each element of `%s` is one number, but the right side is %s", stmt->name.text,
			value_text(e, v));
		elab_help(e, "name the remaining dims on the left and in subscripts, or reduce them");
		v = value_poison();
	}
	if (value_ok(v)) v = list_variables(e, &stmt->indices, vars, &count) ? define(e, stmt, v, count, vars) : value_poison();
	release_indices(e, &stmt->indices);
	plan_leave(e, plan);
	return v;
}
