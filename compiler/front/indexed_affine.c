/* indexed_affine.c: subscripts as affine forms of index variables.
 *
 * In: the expression of one subscript.  Out: (offset + sum of by * variable) / divisor, exact or rounded down, with offsets
 * that may contain the batch; or an integer tensor when it depends on data.  Guaranteed: bounds hold for every batch; nothing
 * overflows; a divisor that always divides is gone. */
#include "indexed.h"

enum { MAX_DEPTH = 1000, MAX_STRIDE = 1 << 30 };

static Form failed(void) { return (Form){.kind = FORM_FAILED}; }

static Form constant(Dim d) {
	d.name = NULL;
	return (Form){.kind = FORM_AFFINE, .affine = {.offset = d, .divisor = 1}};
}

static Form variable(IndexVar *var) {
	return (Form){.kind = FORM_AFFINE, .affine = {.divisor = 1, .count = 1, .term = {{var, 1}}}};
}

/* a + by * b of the numerators; false when it does not fit. */
static bool add_scaled(Affine *a, const Affine *b, int64_t by) {
	Dim scaled;
	if (!dim_mul(b->offset, dim_number(by), &scaled) || !dim_add(a->offset, scaled, &a->offset)) return false;
	for (int i = 0; i < b->count; i++) {
		int at = 0;
		while (at < a->count && a->term[at].var != b->term[i].var) at++;
		if (at == MAX_TERMS) return false;
		if (at == a->count) a->term[a->count].var = b->term[i].var, a->term[a->count++].by = 0;
		int64_t part;
		if (__builtin_mul_overflow(b->term[i].by, by, &part) || __builtin_add_overflow(a->term[at].by, part, &part)) return false;
		if (part > MAX_STRIDE || part < -MAX_STRIDE) return false;
		a->term[at].by = part;
		if (!part) a->term[at] = a->term[--a->count];
	}
	return true;
}

static Value index_value(IndexVar *var) { return (Value){.kind = VALUE_INDEX, .span = var->span, .as.index = var}; }

Value affine_value(Elab *e, const Affine *a, Span span) {
	Value sum = value_dim(a->offset, span);
	for (int i = 0; i < a->count; i++) {
		Value by = value_int(a->term[i].by, span);
		Value term = apply_binary(e, OPERATOR_MUL, index_value(a->term[i].var), by, span, span);
		sum = apply_binary(e, OPERATOR_ADD, sum, term, span, span);
	}
	return sum;
}

/* The form as a value, to meet one that depends on data. */
static Value form_value(Elab *e, const Form *form, Span span) {
	if (form->kind == FORM_FAILED) return value_poison();
	if (form->kind == FORM_DATA) return form->value;
	Value v = value_int(form->affine.divisor, span);
	if (form->affine.floors) return apply_binary(e, OPERATOR_IDIV, affine_value(e, &form->affine, span), v, span, span);
	if (form->affine.divisor == 1) return affine_value(e, &form->affine, span);
	elab_error(e, span, "an exact division beside a subscript that depends on data");
	elab_help(e, "`//` divides whole numbers and rounds down");
	return value_poison();
}

/* ---- division ---- */

static int64_t gcd(int64_t a, int64_t b) {
	while (b) {
		int64_t rest = a % b;
		a = b;
		b = rest;
	}
	return a < 0 ? -a : a;
}

/* Divides everything by what the divisor has in common with all of it, so that a divisor above 1 may leave a rest.  The floor
 * stays the same. */
static void cancel(Affine *a) {
	int64_t common = a->divisor;
	for (int i = 0; i < a->count; i++) common = gcd(common, a->term[i].by);
	for (int i = 0; i <= DIM_DEGREE; i++) common = gcd(common, a->offset.c[i]);
	for (int i = 0; i < a->count; i++) a->term[i].by /= common;
	for (int i = 0; i <= DIM_DEGREE; i++) a->offset.c[i] /= common;
	a->divisor /= common;
	a->floors &= a->divisor != 1;
}

static Form divide(Elab *e, const Expr *x, Form a, Form b) {
	int64_t by;
	if (a.kind == FORM_FAILED || b.kind == FORM_FAILED) return failed();
	if (a.kind == FORM_DATA || a.affine.floors || b.kind == FORM_DATA || b.affine.count) {
		elab_error(e, x->at, "`/` in a subscript is exact: it divides indices and sizes by a number");
		elab_help(e, "`//` divides whole numbers and rounds down");
		return failed();
	}
	if (!dim_known(b.affine.offset, &by) || b.affine.divisor != 1 || by < 1 || by > MAX_STRIDE / a.affine.divisor) {
		elab_error(e, x->right->span, "an exact division by %s",
			b.affine.divisor == 1 ? dim_text(e->arena, b.affine.offset) : "a quotient");
		return failed();
	}
	a.affine.divisor *= by;
	cancel(&a.affine);
	return a;
}

/* a + sign * b, of which one may be a quotient.  -floor(n / d) is floor((d - 1 - n) / d). */
static bool add_quotient(Affine *a, const Affine *b, int64_t sign) {
	Affine sum = {.divisor = MAX(a->divisor, b->divisor), .floors = a->floors || b->floors};
	if (b->floors && sign < 0) sum.offset.c[0] = b->divisor - 1;
	if (!add_scaled(&sum, a, b->divisor) || !add_scaled(&sum, b, sign * a->divisor)) return false;
	*a = sum;
	return true;
}

static Form form_of_value(Elab *e, const Expr *expr, Value v) {
	Dim d;
	if (!value_ok(v)) return failed();
	if (v.kind == VALUE_INDEX) return variable(v.as.index);
	if (v.kind != VALUE_TENSOR) return value_to_int(e, v, "a subscript", expr->span, &d) ? constant(d) : failed();
	DType dtype = value_dtype(&v);
	if (dtype_info[dtype].class != 'I') {
		elab_error(e, expr->span, "a subscript must be an integer, not %s", value_text(e, v));
		note_tensor(e, expr, v);
		if (dtype_is_float(dtype)) elab_help(e, "convert it: `%s as i32`", written(e, expr));
		return failed();
	}
	if (v.as.tensor.rank) {
		elab_error(e, expr->span, "a subscript must be one integer, not %s", value_text(e, v));
		note_tensor(e, expr, v);
		elab_help(e, "name its element: `%s[i]`, or `%s[..]` for one per row", written(e, expr), written(e, expr));
		return failed();
	}
	return (Form){.kind = FORM_DATA, .value = v};
}

/* An unknown name here was most likely meant as an index. */
static Form other_form(Elab *e, Scope *scope, const Expr *expr) {
	int errors = e->diag->errors, messages = e->diag->messages.length;
	Form form = form_of_value(e, expr, eval_expr(e, scope, expr));
	bool helped = messages < e->diag->messages.length &&
	              e->diag->messages.data[e->diag->messages.length - 1].severity == SEVERITY_HELP;
	if (expr->kind == EXPR_NAME && e->diag->errors > errors && !helped)
		elab_help(e, "an index stands on the left, `let y[%s] = ..`, or in a reduction, `sum[%s](..)`", expr->name.text,
			expr->name.text);
	return form;
}

static Form form_at(Elab *e, Scope *scope, const Expr *expr, int depth);

static Form combine(Elab *e, const Expr *x, Form a, Form b) {
	if (a.kind == FORM_FAILED || b.kind == FORM_FAILED) return failed();
	bool affine = a.kind == FORM_AFFINE && b.kind == FORM_AFFINE;
	int64_t by = 1;
	Form result = a;
	bool exact = affine && ((a.affine.divisor != 1 && !a.affine.floors) || (b.affine.divisor != 1 && !b.affine.floors));
	bool both = a.affine.divisor != 1 && b.affine.divisor != 1, one = a.affine.divisor != 1 || b.affine.divisor != 1;
	bool beyond = affine && (both || (x->op == OPERATOR_MUL && one));
	if (exact && (beyond || x->op == OPERATOR_IDIV)) {
		elab_error(e, x->span, "an exact division stands alone or in a sum, once in a subscript");
		return failed();
	}
	affine &= !beyond && x->op != OPERATOR_IDIV;   /* what is left of those is a number per index */
	if (affine && x->op == OPERATOR_MUL && !a.affine.count && !b.affine.count) {
		if (dim_mul(a.affine.offset, b.affine.offset, &result.affine.offset)) return result;
	} else if (affine && x->op == OPERATOR_MUL && (!a.affine.count || !b.affine.count)) {
		const Form *factor = a.affine.count ? &b : &a, *form = a.affine.count ? &a : &b;
		if (!dim_known(factor->affine.offset, &by)) {
			elab_error(e, x->span, "the batch size cannot multiply an index");
			return failed();
		}
		result = constant(dim_number(0));
		if (add_scaled(&result.affine, &form->affine, by)) return result;
	} else if (affine && x->op != OPERATOR_MUL) {
		if (add_quotient(&result.affine, &b.affine, x->op == OPERATOR_SUB ? -1 : 1)) return result;
	} else {
		Value v = apply_binary(e, x->op, form_value(e, &a, x->left->span), form_value(e, &b, x->right->span), x->span, x->at);
		return form_of_value(e, x, v);
	}
	elab_error(e, x->span, "too many indices, or too large a number, in one subscript");
	return failed();
}

/* n // d of indices and a number. */
static Form divide_down(Elab *e, const Expr *x, Form a, Form b) {
	int64_t by;
	bool affine = a.kind == FORM_AFFINE && b.kind == FORM_AFFINE && a.affine.count && !b.affine.count;
	bool plain = affine && (a.affine.divisor == 1 || a.affine.floors) && b.affine.divisor == 1;
	if (!plain || !dim_known(b.affine.offset, &by) || by < 1 || by > MAX_STRIDE / a.affine.divisor) return combine(e, x, a, b);
	a.affine.divisor *= by;
	a.affine.floors = true;
	cancel(&a.affine);
	return a;
}

static bool names_index(Scope *scope, const Expr *x, int depth) {
	if (!x || depth > MAX_DEPTH) return false;
	if (x->kind == EXPR_NAME) return index_named(scope, x->name.text) != NULL;
	if (x->kind != EXPR_UNARY && x->kind != EXPR_BINARY) return false;
	return names_index(scope, x->left, depth + 1) || names_index(scope, x->right, depth + 1);
}

static Form form_at(Elab *e, Scope *scope, const Expr *x, int depth) {
	if (depth > MAX_DEPTH) die("a subscript deeper than the parser lets pass");
	if (x->kind == EXPR_NAME) {
		IndexVar *var = index_named(scope, x->name.text);
		if (var) return variable(var);
	}
	if (x->kind == EXPR_UNARY && x->op == OPERATOR_NEGATE) {
		Form form = form_at(e, scope, x->left, depth + 1), zero = constant(dim_number(0));
		if (form.kind == FORM_DATA) return form_of_value(e, x, apply_unary(e, x->op, form.value, x->span, x->at));
		if (form.kind == FORM_FAILED) return form;
		if (add_quotient(&zero.affine, &form.affine, -1)) return zero;
		elab_error(e, x->span, "too large a number in a subscript");
		return failed();
	}
	if (x->kind == EXPR_BINARY && (x->op == OPERATOR_ADD || x->op == OPERATOR_SUB || x->op == OPERATOR_MUL)) {
		Form a = form_at(e, scope, x->left, depth + 1);
		return combine(e, x, a, form_at(e, scope, x->right, depth + 1));
	}
	bool divides = x->kind == EXPR_BINARY && (x->op == OPERATOR_DIV || x->op == OPERATOR_IDIV);
	if (divides && names_index(scope, x, 0)) {
		Form a = form_at(e, scope, x->left, depth + 1), b = form_at(e, scope, x->right, depth + 1);
		return x->op == OPERATOR_DIV ? divide(e, x, a, b) : divide_down(e, x, a, b);
	}
	return other_form(e, scope, x);
}

Form subscript_form(Elab *e, Scope *scope, const Expr *expr) { return form_at(e, scope, expr, 0); }

/* With B = 1 + t, t >= 0: no coefficient of t is negative. */
bool dim_never_negative(Dim d) {
	int64_t c[DIM_DEGREE + 1];
	for (int i = 0; i <= DIM_DEGREE; i++) {
		if (d.c[i] > INT64_MAX / 64 || d.c[i] < -(INT64_MAX / 64)) return false;
		c[i] = d.c[i];
	}
	for (int i = 0; i < DIM_DEGREE; i++)
		for (int k = DIM_DEGREE - 1; k >= i; k--) c[k] += c[k + 1];
	for (int i = 0; i <= DIM_DEGREE; i++)
		if (c[i] < 0) return false;
	return true;
}

bool affine_bounds(Elab *e, const Affine *a, Span span, Dim *least, Dim *most) {
	*least = *most = a->offset;
	for (int i = 0; i < a->count; i++) {
		Dim reach;
		if (!need_range(e, a->term[i].var, span)) return false;
		if (!dim_sub(a->term[i].var->extent, dim_number(1), &reach) || !dim_mul(reach, dim_number(a->term[i].by), &reach) ||
		    !dim_add(a->term[i].by < 0 ? *least : *most, reach, a->term[i].by < 0 ? least : most)) {
			elab_error(e, span, "too large a number in a subscript");
			return false;
		}
	}
	return true;
}
