/* metric.c: `metric NAME = expr` in the evaluation Fn.
 *
 * In: the expression.  Out: outputs that are added up over an epoch, and the Fn that makes the metric of the totals
 * (none: the plain average over all elements). */
#include <string.h>

#include "session.h"

bool has_total(const Expr *x) {
	if (!x) return false;
	if (x->kind == EXPR_CALL && x->left && x->left->kind == EXPR_NAME && !strcmp(x->left->name.text, "total")) return true;
	bool found = has_total(x->left) || has_total(x->right) || has_total(x->condition) || has_total(x->default_value);
	for (int i = 0; !found && i < x->items.length; i++) found = has_total(x->items.data[i]);
	for (int i = 0; !found && i < x->arguments.length; i++) found = has_total(x->arguments.data[i].value);
	return found;
}

/* All elements of v added up in f32; NULL after an error. */
static Val *element_sum(Elab *e, Value v, Span span) {
	Fn *f = fn_of(e);
	if (value_static(v))
		v = v.kind == VALUE_BOOL ? to_tensor(e, value_int(v.as.truth, span), DTYPE_F32, span) : to_tensor(e, v, DTYPE_F32, span);
	if (!value_ok(v)) return NULL;
	if (v.kind != VALUE_TENSOR || v.as.tensor.nlabels)
		return elab_error(e, span, "a metric is a tensor or a number, not %s", value_text(e, v)), NULL;
	Val *x = v.as.tensor.val;
	f->span = blame(e, span);
	if (x->type.dtype != DTYPE_F32) x = ir_cast(f, x, DTYPE_F32);
	int64_t axes[MAX_RANK];
	for (int i = 0; i < x->type.rank; i++) axes[i] = i;
	return x->type.rank ? ir_reduce(f, OpReduceSum, x, x->type.rank, axes) : x;
}

static int add_total(Elab *e, TrainState *t, Val *v) {
	vec_push(e->arena, &t->totals, v);
	return t->totals.length - 1;
}

/* A float that can only be one of a few numbers. */
static bool is_discrete(const Val *v) {
	if (v->op == OpConst || v->op == OpRound || v->op == OpFloor || v->op == OpSign) return true;
	if (v->op == OpCast) return !dtype_is_float(v->arg[0]->type.dtype);
	if (v->op == OpWhere) return is_discrete(v->arg[1]) && is_discrete(v->arg[2]);
	return (v->op == OpBroadcast || v->op == OpReshape) && is_discrete(v->arg[0]);
}

/* `p == y` of two floats hardly ever holds. */
static void warn_equality(Elab *e, const Val *v, Span span) {
	if (v->op == OpNot) v = v->arg[0];
	if (v->op != OpEq || !dtype_is_float(v->arg[0]->type.dtype) || is_discrete(v->arg[0]) || is_discrete(v->arg[1])) return;
	if (v->arg[0] == v->arg[1]) return;
	diag_warning(e->diag, span, "two floats are hardly ever equal");
	elab_help(e, "compare classes, `argmax(z) == label` or `(p > 0.5) == (y > 0.5)`, or say how near: `abs(a - b) < 0.1`");
}

static void plain_metric(Elab *e, Scope *scope, TrainState *t, Name name, const Expr *value) {
	Value v = eval_expr(e, scope, value);
	if (!value_ok(v)) return;
	if (v.kind == VALUE_TENSOR) warn_equality(e, v.as.tensor.val, value->span);
	Val *sum = element_sum(e, v, value->span);
	if (!sum) return;
	double elements = 1;
	bool batched = false;
	int64_t batch = e->program->trains.data[t->index].batch, n;
	for (int i = 0; v.kind == VALUE_TENSOR && i < v.as.tensor.rank; i++) {
		batched |= !dim_known(v.as.tensor.dims[i], &n);
		double size = 0;
		for (int k = DIM_DEGREE; k >= 0; k--) size = size * (double)batch + (double)v.as.tensor.dims[i].c[k];
		elements *= size;
	}
	Fn *f = fn_of(e);
	if (!batched) {   /* a value per batch counts once per sample, so that a partial batch weighs less */
		sum = ir_Mul(f, sum, ir_const(f, DTYPE_F32, (double)e->build->batch));
		elements *= (double)batch;
	}
	Metric m = {.name = name.text, .first_total = 1 + add_total(e, t, sum), .ntotals = 1, .elements = elements};
	vec_push(e->arena, &t->metrics, m);
}

static void finished_metric(Elab *e, Scope *scope, TrainState *t, Name name, const Expr *value) {
	Build *outer = e->build, *b = NEW(e->arena, Build);
	*b = (Build){.fn = fn_new(e->arena, name.text),
	             .batch = outer->batch,
	             .training = outer->training,
	             .finishing = true,
	             .train = outer->train,
	             .outer = outer};
	int first = t->totals.length;
	e->build = b;
	Value v = eval_expr(e, scope, value);
	if (value_ok(v)) v = to_tensor(e, v, DTYPE_F32, value->span);
	if (value_ok(v) && v.as.tensor.rank)
		v = elab_error(e, value->span, "a metric of totals is a number, not %s", value_text(e, v));
	e->build = outer;
	if (!value_ok(v)) return;
	fn_output(b->fn, name.text, v.as.tensor.val, -1);
	Metric m = {.name = name.text, .first_total = 1 + first, .ntotals = t->totals.length - first, .elements = 1};
	m.finish = run_passes(fn_canonical(b->fn), 0, pass_count);
	vec_push(e->arena, &t->metrics, m);
}

void run_metric(Elab *e, Scope *scope, TrainState *t, Name name, const Expr *value) {
	for (int i = 0; i < t->metrics.length; i++)
		if (t->metrics.data[i].name == name.text) {
			elab_error(e, name.span, "the metric `%s` is declared twice", name.text);
			return;
		}
	if (has_total(value)) finished_metric(e, scope, t, name, value);
	else plain_metric(e, scope, t, name, value);
}

/* total(x): its argument was evaluated in the evaluation Fn; here it is an input of the metric's final Fn. */
Value builtin_total(Elab *e, Call *c) {
	Build *b = e->build;
	if (!b->finishing) {
		elab_error(e, c->at, "`total` stands only in a metric");
		return value_poison();
	}
	e->build = b->outer;
	Val *sum = element_sum(e, c->slot[0], c->slot_span[0]);
	e->build = b;
	if (!sum) return value_poison();
	add_total(e, b->train, sum);
	fn_of(e)->span = blame(e, c->at);
	Val *in = fn_input(fn_of(e), arena_printf(e->arena, "total%d", fn_of(e)->inputs.length), INPUT_DATA, type_scalar(DTYPE_F32));
	return value_tensor(e, in, NULL, c->span);
}
