/* expr.c: evaluates expressions.
 *
 * In: a tree and the names around it.  Out: a value; poison after an error, which was then reported.  Guaranteed: ends on any
 * tree: depth and total work are bounded. */
#include <string.h>

#include "session.h"

bool eval_int(Elab *e, Scope *scope, const Expr *expr, const char *what, Dim *result) {
	return value_to_int(e, eval_expr(e, scope, expr), what, expr->span, result);
}

Value eval_condition(Elab *e, Scope *scope, const Expr *expr, bool *truth) {
	Value v = eval_expr(e, scope, expr);
	if (v.kind == VALUE_BOOL) return *truth = v.as.truth, v;
	if (!value_ok(v)) return v;
	elab_error(e, expr->span, "`if` needs a condition known to the compiler, not %s", value_text(e, v));
	if (v.kind == VALUE_TENSOR || v.kind == VALUE_INDEX) elab_help(e, "use `where(c, a, b)` to select on data");
	return value_poison();
}

static Value eval_items(Elab *e, Scope *scope, const Expr *expr, ValueKind kind) {
	Value *items = NEW_ARRAY(e->arena, Value, expr->items.length + 1);
	bool ok = true;
	for (int i = 0; i < expr->items.length; i++) {
		items[i] = eval_expr(e, scope, expr->items.data[i]);
		ok &= value_ok(items[i]);
	}
	return ok ? value_list(kind, expr->items.length, items, expr->span) : value_poison();
}

static Value eval_if(Elab *e, Scope *scope, const Expr *expr) {
	bool truth;
	if (!value_ok(eval_condition(e, scope, expr->condition, &truth))) return value_poison();
	return eval_expr(e, scope, truth ? expr->left : expr->right);
}

static Value eval_binary(Elab *e, Scope *scope, const Expr *expr) {
	Value a = eval_expr(e, scope, expr->left);
	if (a.kind == VALUE_BOOL && expr->op == OPERATOR_AND && !a.as.truth) return a;
	if (a.kind == VALUE_BOOL && expr->op == OPERATOR_OR && a.as.truth) return a;
	return apply_binary(e, expr->op, a, eval_expr(e, scope, expr->right), expr->span, expr->at);
}

static Value eval_cast(Elab *e, Scope *scope, const Expr *expr) {
	Value v = eval_expr(e, scope, expr->left);
	DType dtype;
	if (dtype_named(expr->name.text, &dtype)) return apply_cast(e, v, dtype, expr->span);
	die("a cast to '%s'", expr->name.text);   /* the parser knows all dtypes */
}

static Value list_subscript(Elab *e, Scope *scope, const Expr *expr, Value list) {
	int64_t from, to, count = list.as.list.count;
	Dim d;
	if (expr->subscripts.length != 1 || expr->subscripts.data[0].dots || expr->default_value)
		return elab_error(e, expr->at, "a list takes one subscript");
	const Subscript *s = &expr->subscripts.data[0];
	if (!eval_int(e, scope, s->value, "the subscript of a list", &d)) return value_poison();
	if (!dim_known(d, &from)) return elab_error(e, s->span, "the subscript of a list is %s", dim_text(e->arena, d));
	if (s->to) {
		if (!eval_int(e, scope, s->to, "the subscript of a list", &d)) return value_poison();
		if (!dim_known(d, &to) || from < 0 || to < from || to > count)
			return elab_error(e, s->span, "the range leaves the list of %lld", (long long)count);
		return value_list(VALUE_LIST, (int)(to - from), list.as.list.items + from, expr->span);
	}
	if (from < 0 || from >= count)
		return elab_error(e, s->span, "item %lld of a list of %lld", (long long)from, (long long)count);
	return list.as.list.items[from];
}

static Value eval_subscript(Elab *e, Scope *scope, const Expr *expr) {
	Value base = eval_expr(e, scope, expr->left);
	if (!value_ok(base)) return base;
	if (base.kind == VALUE_LIST || base.kind == VALUE_TUPLE) return list_subscript(e, scope, expr, base);
	if (base.kind == VALUE_TENSOR) return elab_subscript(e, scope, expr, base);
	elab_error(e, expr->at, "%s cannot be subscripted", value_text(e, base));
	help_call(e, base);
	return value_poison();
}

static Value eval_kind(Elab *e, Scope *scope, const Expr *expr) {
	switch (expr->kind) {
	case EXPR_ERROR: return value_poison();
	case EXPR_NUMBER: return expr->is_integer ? value_int(expr->integer, expr->span) : value_real(expr->number, expr->span);
	case EXPR_STRING:
		return (Value){
		    .kind = VALUE_STRING, .span = expr->span, .as.string = arena_intern(e->arena, expr->string, strlen(expr->string))};
	case EXPR_NAME: return lookup_name(e, scope, expr->name);
	case EXPR_HOLE: return elab_error(e, expr->span, "`_` stands only in a layer's call, as in `let f = dense(_, 128)`");
	case EXPR_TUPLE: return eval_items(e, scope, expr, VALUE_TUPLE);
	case EXPR_LIST: return eval_items(e, scope, expr, VALUE_LIST);
	case EXPR_IF: return eval_if(e, scope, expr);
	case EXPR_UNARY: return apply_unary(e, expr->op, eval_expr(e, scope, expr->left), expr->span, expr->at);
	case EXPR_BINARY: return eval_binary(e, scope, expr);
	case EXPR_CALL: return eval_call(e, scope, expr);
	case EXPR_SUBSCRIPT: return eval_subscript(e, scope, expr);
	case EXPR_FIELD: return run_field(e, scope, expr);
	case EXPR_CAST: return eval_cast(e, scope, expr);
	case EXPR_REDUCE: return elab_reduce(e, scope, expr);
	}
	return value_poison();
}

Value eval_expr(Elab *e, Scope *scope, const Expr *expr) {
	if (!expr || e->gave_up) return value_poison();
	if (e->depth >= MAX_EXPR_DEPTH) return give_up(e, expr->span, "nested too deeply"), value_poison();
	if (++e->work > MAX_WORK)
		return give_up(e, expr->span, "the program unrolls into too much; is a loop too long?"), value_poison();
	e->depth++;
	Value v = eval_kind(e, scope, expr);
	e->depth--;
	return v;
}
