/* call.c: calls of fns, layers, models and instances.
 *
 * In: a call and the values around it.  Out: the body's result, its body elaborated in place.  Guaranteed: parameters, dims, tags
 * and results were checked; every layer call has an instance path; recursion is bounded. */
#include <string.h>

#include "session.h"

static bool is_default(const Value *v) { return v->kind == VALUE_NOTHING && !v->span.source; }

/* ---- activations and instance paths ---- */

Activation *activation_enter(Elab *e, const Decl *decl, Span call, const char *path, bool fresh) {
	Activation *outer = e->activation, *a = NEW(e->arena, Activation);
	a->caller = outer;
	a->decl = decl;
	a->call = call;
	a->depth = outer ? outer->depth + 1 : 0;
	a->path = path ? path : outer ? outer->path : NULL;
	a->counters = fresh || !outer ? NEW(e->arena, Counters) : outer->counters;
	e->activation = a;
	return a;
}

void activation_leave(Elab *e) { e->activation = e->activation->caller; }

static int count_call(Elab *e, Counters *c, const char *name) {
	for (int i = 0; i < c->calls.length; i++)
		if (c->calls.data[i].name == name) return c->calls.data[i].count++;
	vec_push(e->arena, &c->calls, ((Counter){name, 1}));
	return 0;
}

/* "mlp/dense.0"; NULL after an error. */
static const char *anonymous_path(Elab *e, const Decl *decl, Span call) {
	Activation *a = e->activation;
	if (!a || !a->path) {
		elab_error(e, call, "the layer `%s` is called outside a model", decl->name.text);
		elab_help(e, "parameters exist only inside a model: declare `model m(x: [B, ..]) -> [B, ..]` and call the layer there");
		return NULL;
	}
	return arena_printf(e->arena, "%s/%s.%d", a->path, decl->name.text, count_call(e, a->counters, decl->name.text));
}

/* ---- arguments ---- */

Value eval_argument(Elab *e, Scope *scope, const Argument *a) {
	if (a->value && a->value->kind == EXPR_HOLE) return (Value){.kind = VALUE_HOLE, .span = a->span};
	if (!a->to) return eval_expr(e, scope, a->value);
	Dim from, to;
	int64_t lo, hi;
	if (!eval_int(e, scope, a->value, "the start of a range", &from) || !eval_int(e, scope, a->to, "the end of a range", &to))
		return value_poison();
	bool known = dim_known(from, &lo) && dim_known(to, &hi);
	if (!known || hi < lo || (uint64_t)hi - (uint64_t)lo > MAX_UNROLL)
		return elab_error(e, a->span, "the range %s..%s %s", dim_text(e->arena, from), dim_text(e->arena, to),
		                  !known ? "must be known to the compiler" : hi < lo ? "ends before it begins" : "is too long");
	Value *items = NEW_ARRAY(e->arena, Value, hi - lo + 1);
	for (int64_t i = lo; i < hi; i++) items[i - lo] = value_int(i, a->span);
	return value_list(VALUE_LIST, (int)(hi - lo), items, a->span);
}

/* "dense(x, n, bias)": for messages. */
static const char *signature_text(Elab *e, const Decl *decl, int first) {
	Text text = {.arena = e->arena};
	text_add(&text, "%s(", decl->name.text);
	for (int i = first; i < decl->params.length; i++)
		text_add(&text, "%s%s", i > first ? ", " : "", decl->params.data[i].name.text);
	text_add(&text, ")");
	return text.data;
}

static int find_parameter(Elab *e, const Decl *decl, const Argument *a, int first) {
	VEC(const char *) names = {0};
	for (int i = first; i < decl->params.length; i++) {
		if (decl->params.data[i].name.text == a->name.text) return i;
		vec_push(e->arena, &names, decl->params.data[i].name.text);
	}
	const char *near = nearest_name(a->name.text, names.data, names.length);
	elab_error(e, a->name.span, "`%s` has no parameter `%s`", decl->name.text, a->name.text);
	if (near) elab_help(e, "did you mean `%s`? it is declared `%s`", near, signature_text(e, decl, first));
	else elab_help(e, "it is declared `%s`", signature_text(e, decl, first));
	return -1;
}

/* Puts the arguments of `call` at their parameters; what is absent stays VALUE_NOTHING.  False after an error. */
bool bind_arguments(Elab *e, Scope *scope, const Decl *decl, const Expr *call, int first, Value *args, Span *spans) {
	int next = first, n = decl->params.length;
	bool ok = true, named = false;
	for (int i = 0; i < n; i++) args[i] = (Value){.kind = VALUE_NOTHING}, spans[i] = (Span){0};
	for (int i = 0; i < call->arguments.length; i++) {
		const Argument *a = &call->arguments.data[i];
		int at = a->name.text ? find_parameter(e, decl, a, first) : next++;
		if (!a->name.text && named) {
			elab_error(e, a->span, "a positional argument after a named one");
			return false;
		}
		named |= a->name.text != NULL;
		if (at >= n) {
			elab_error(e, a->span, "`%s` takes %s, not %d", decl->name.text, arena_count(e->arena, n - first, "argument"),
			           call->arguments.length);
			elab_help(e, "it is declared `%s`", signature_text(e, decl, first));
			return false;
		}
		const char *naming = e->session->naming;
		e->session->naming = a->name.text ? a->name.text : at >= 0 ? decl->params.data[at].name.text : NULL;
		Value v = eval_argument(e, scope, a);
		e->session->naming = naming;
		ok &= at >= 0 && value_ok(v);
		if (at < 0) continue;
		if (spans[at].source) {
			elab_error(e, a->span, "`%s` is given twice", decl->params.data[at].name.text);
			return false;
		}
		args[at] = v;
		spans[at] = a->value ? a->value->span : a->span;
	}
	return ok;
}

static bool missing_argument(Elab *e, const Decl *decl, const Param *p, Span call) {
	elab_error(e, call, "`%s` needs `%s`", decl->name.text, p->name.text);
	elab_note(e, p->span.source ? p->span : p->name.span, "it is declared here, without a default");
	elab_help(e, "it is declared `%s`", signature_text(e, decl, 0));
	return false;
}

static bool wants_integers(const TypeExpr *t) {
	return t && !type_is_static(t) && (t->classes || (t->dtype.text && !strcmp(t->dtype.text, "index")));
}

/* Numbers where integers are wanted beside integers where numbers are wanted: one mistake. */
static bool exchanged(Elab *e, const Decl *decl, const Value *args, const Span *spans) {
	const ParamList *p = &decl->params;
	if (p->length < 2 || args[0].kind != VALUE_TENSOR || args[1].kind != VALUE_TENSOR) return false;
	const TypeExpr *first = p->data[0].type, *second = p->data[1].type;
	bool floats = first && !type_is_static(first) && !first->dtype.text && !first->classes;
	if (!floats || !wants_integers(second)) return false;
	if (dtype_info[value_dtype(&args[0])].class != 'I' || !dtype_is_float(value_dtype(&args[1]))) return false;
	elab_error(e, spans[0], "`%s` takes `%s` first and `%s` second; these are the other way round", decl->name.text,
		p->data[0].name.text, p->data[1].name.text);
	note_value(e, "the first", args[0]);
	note_value(e, "the second", args[1]);
	elab_help(e, "it is declared `%s`", signature_text(e, decl, 0));
	return true;
}

/* Static and untyped parameters first, then the names in the types, then everything is checked and defaults are evaluated. */
bool bind_parameters(Elab *e, Scope *scope, const Decl *decl, Value *args, Span *spans, Span call) {
	const ParamList *params = &decl->params;
	bool ok = true;
	for (int i = 0; i < params->length; i++)
		if (is_default(&args[i]) && !params->data[i].value) return missing_argument(e, decl, &params->data[i], call);
	for (int i = 0; i < params->length; i++) {
		const Param *p = &params->data[i];
		if (is_default(&args[i])) continue;
		Value given = args[i];
		if (p->type && type_is_static(p->type)) args[i] = match_type(e, scope, p->type, args[i],
			arena_printf(e->arena, "`%s`: `%s`", decl->name.text, p->name.text), spans[i], MATCH_ALL);
		if (!value_ok(args[i]) && given.kind == VALUE_FUNCTION) elab_help(e, "it is declared `%s`", signature_text(e, decl, 0));
		ok &= value_ok(args[i]);
		if (!p->type || type_is_static(p->type)) scope_bind(e, scope, p->name, args[i]);
	}
	if (!ok || exchanged(e, decl, args, spans)) return false;
	for (int i = 0; i < params->length; i++)
		if (params->data[i].type && !is_default(&args[i]))
			match_type(e, scope, params->data[i].type, args[i], "", spans[i], MATCH_NAMES);
	for (int i = 0; i < params->length; i++) {
		const Param *p = &params->data[i];
		bool given = !is_default(&args[i]), typed = p->type && !type_is_static(p->type);
		if (!given && !ok) continue;   /* it may be written with names that nothing bound */
		if (!given) {
			args[i] = eval_expr(e, scope, p->value);
			spans[i] = p->value->span;
		}
		const char *who = arena_printf(e->arena, "`%s`: `%s`", decl->name.text, p->name.text);
		if (typed || (p->type && !given)) args[i] = match_type(e, scope, p->type, args[i], who, spans[i], MATCH_ALL);
		ok &= value_ok(args[i]);
		bind_local(e, scope, p->name, args[i]);
	}
	return ok;
}

/* ---- results ---- */

static Value tag_result(Elab *e, const Decl *decl, const TypeExpr *type, Value v, Value before, Span call) {
	if (v.kind != VALUE_TENSOR || !tag_named(type->tag.text) || (before.kind == VALUE_TENSOR && before.as.tensor.tag)) return v;
	v.as.tensor.tag_span = blame(e, call);
	v.as.tensor.tag_maker = decl;
	return v;
}

static Value check_result(Elab *e, Scope *scope, const Decl *decl, Value v, Span at, Span call) {
	if (!value_ok(v)) return v;
	const char *who = arena_printf(e->arena, "`%s`: its result", decl->name.text);
	if (decl->kind != DECL_MODEL) {
		if (!decl->result) return v;
		if (v.kind == VALUE_TUPLE)
			return elab_error(e, at, "`%s` declares one result and returns %d", decl->name.text, v.as.list.count);
		match_type(e, scope, decl->result, v, who, at, MATCH_NAMES);
		return tag_result(e, decl, decl->result, match_type(e, scope, decl->result, v, who, at, MATCH_ALL), v, call);
	}
	int n = decl->results.length;
	if (n == 1) {
		if (v.kind == VALUE_TUPLE)
			return elab_error(e, at, "`%s` declares one result and returns %d", decl->name.text, v.as.list.count);
		match_type(e, scope, decl->results.data[0].type, v, who, at, MATCH_NAMES);
		return tag_result(e, decl, decl->results.data[0].type,
		                  match_type(e, scope, decl->results.data[0].type, v, who, at, MATCH_ALL), v, call);
	}
	if (v.kind == VALUE_LIST && v.as.list.count == n)   /* as of `split`; the list itself stays as it is */
		v = value_list(VALUE_TUPLE, n, arena_copy(e->arena, v.as.list.items, sizeof(Value) * (size_t)n), v.span);
	if (v.kind != VALUE_TUPLE || v.as.list.count != n)
		return elab_error(e, at, "`%s` declares %d results and returns %s", decl->name.text, n,
		                  v.kind == VALUE_TUPLE || v.kind == VALUE_LIST ? value_text(e, v) : "one");
	for (int i = 0; i < n; i++) match_type(e, scope, decl->results.data[i].type, v.as.list.items[i], who, at, MATCH_NAMES);
	for (int i = 0; i < n; i++) {
		const Result *r = &decl->results.data[i];
		Value *item = &v.as.list.items[i], before = *item;
		const char *which = arena_printf(e->arena, "`%s`: its result `%s`", decl->name.text, r->name.text ? r->name.text : "");
		*item = tag_result(e, decl, r->type, match_type(e, scope, r->type, before, which, at, MATCH_ALL), before, call);
		if (!value_ok(*item)) return value_poison();
	}
	return v;
}

/* ---- a fn with a derivative rule of its own ---- */

static const Decl *find_vjp(Elab *e, const Decl *decl, File *file) {
	File *places[] = {e->session->main, file};
	for (int k = 0; k < 2; k++) {
		const Decl *rule = find_rule(places[k], decl->name.text);
		File *owner;
		if (rule && find_declaration(e, places[k], rule->name.text, &owner) == decl) return rule;
	}
	return NULL;
}

static bool too_many_dims(Elab *e, Span call) {
	elab_error(e, call, "more than %d dims and indices in one value", MAX_RANK);
	return false;
}

/* Gives every tensor argument the same labels, so that the rule sees one index space.  False after an error. */
static bool join_arguments(Elab *e, int n, Value *args, Span call) {
	IndexVar *labels[MAX_RANK];
	Dim dims[MAX_RANK];
	int count = 0;
	for (int i = 0; i < n; i++) {
		if (args[i].kind != VALUE_TENSOR) continue;
		for (int j = 0; j < args[i].as.tensor.nlabels; j++) {
			IndexVar *x = args[i].as.tensor.labels[j];
			int at = 0;
			while (at < count && labels[at]->id < x->id) at++;
			if (at < count && labels[at] == x) continue;
			if (count == MAX_RANK) return too_many_dims(e, call);
			memmove(labels + at + 1, labels + at, sizeof *labels * (size_t)(count - at));
			labels[at] = x;
			count++;
		}
	}
	for (int i = 0; i < n; i++) {
		Value *v = &args[i];
		if (v->kind != VALUE_TENSOR || v->as.tensor.nlabels == count) continue;
		int rank = v->as.tensor.rank;
		if (count + rank > MAX_RANK) return too_many_dims(e, call);
		for (int k = 0; k < count + rank; k++) dims[k] = k < count ? labels[k]->extent : v->as.tensor.dims[k - count];
		if (!check_count(e, count + rank, dims, call)) return false;
		Value wide = value_labelled(e, broadcast_to(e, v, count, labels, rank, v->as.tensor.dims), count, labels, rank,
			v->as.tensor.dims, v->span);
		wide.as.tensor.classes = v->as.tensor.classes, wide.as.tensor.weak = v->as.tensor.weak,
		wide.as.tensor.tag = v->as.tensor.tag;
		wide.as.tensor.tag_span = v->as.tensor.tag_span, wide.as.tensor.tag_maker = v->as.tensor.tag_maker;
		*v = wide;
	}
	return true;
}

static bool is_float_tensor(const Value *v) { return v->kind == VALUE_TENSOR && dtype_is_float(value_dtype(v)); }

static Val *adjoint_for(Elab *e, const Decl *decl, const Decl *rule, Value v, const Value *input, const char *name, Span at) {
	bool number = v.kind != VALUE_TENSOR;   /* `return 0`: the same for every element */
	v = to_tensor(e, v, value_dtype(input), at);
	if (!value_ok(v)) return NULL;
	bool fits = (number || v.as.tensor.rank == input->as.tensor.rank) && v.as.tensor.nlabels <= input->as.tensor.nlabels;
	int offset = input->as.tensor.rank - v.as.tensor.rank;
	for (int i = 0; fits && i < v.as.tensor.rank; i++) fits = dim_equal(v.as.tensor.dims[i], input->as.tensor.dims[offset + i]);
	if (fits)
		return broadcast_to(e, &v, input->as.tensor.nlabels, input->as.tensor.labels, input->as.tensor.rank,
		                    input->as.tensor.dims);
	elab_error(e, at, "`vjp %s`: the cotangent of `%s` is %s, the input is %s", rule->name.text, name, value_text(e, v),
	           value_text(e, *input));
	elab_note(e, decl->name.span, "the function");
	return NULL;
}

static Value apply_rule(Elab *e, Scope *scope, const Decl *decl, const Decl *rule, const Value *args, Value y) {
	int n = rule->inputs.length, count = 0;
	if (n != decl->params.length) {
		elab_error(e, rule->name.span, "`vjp %s` has %s, the function has %d", rule->name.text, arena_count(e->arena, n, "input"),
		           decl->params.length);
		elab_note(e, decl->name.span, "the function");
		return value_poison();
	}
	Val **inputs = NEW_ARRAY(e->arena, Val *, n + 1), **adjoints = NEW_ARRAY(e->arena, Val *, n + 1);
	for (int i = 0; i < n; i++) count += is_float_tensor(&args[i]);
	if (!count || !is_float_tensor(&y)) return y;
	int64_t id;
	Value dy = y, returned = {.kind = VALUE_NOTHING};
	fn_of(e)->span = blame(e, y.span);
	dy.as.tensor.val = ir_cotangent(fn_of(e), y.as.tensor.val->type, &id);
	dy.as.tensor.tag = TAG_NONE;
	Scope *inner = scope_new(e, scope);
	for (int i = 0; i < n; i++) scope_bind(e, inner, rule->inputs.data[i], args[i]);
	scope_bind(e, inner, rule->output, y);
	scope_bind(e, inner, rule->cotangent, dy);
	exec_block(e, scope_new(e, inner), &rule->body, &returned);
	Value *values = returned.kind == VALUE_TUPLE ? returned.as.list.items : &returned;
	int nvalues = returned.kind == VALUE_TUPLE ? returned.as.list.count : 1;
	if (!value_ok(returned)) return returned;
	if (returned.kind == VALUE_NOTHING || nvalues != n) {
		elab_error(e, rule->name.span, "`vjp %s` must return one cotangent for each of its %s", rule->name.text,
		           arena_count(e->arena, n, "input"));
		elab_note(e, decl->name.span, "the function");
		return value_poison();
	}
	int m = 0;
	for (int i = 0; i < n; i++) {
		if (!is_float_tensor(&args[i])) continue;
		inputs[m] = args[i].as.tensor.val;
		if (!(adjoints[m++] = adjoint_for(e, decl, rule, values[i], &args[i], rule->inputs.data[i].text, rule->name.span)))
			return value_poison();
	}
	y.as.tensor.val = ir_custom(fn_of(e), id, y.as.tensor.val, m, inputs, adjoints);
	return y;
}

/* ---- the call itself ---- */

static Value run_body(Elab *e, Scope *scope, const Decl *decl, Span *at) {
	Value result = {.kind = VALUE_NOTHING};
	if (!decl->has_body) {
		*at = decl->value ? decl->value->span : decl->name.span;
		return decl->value ? eval_expr(e, scope, decl->value) : value_poison();
	}
	*at = decl->body.span;
	for (int i = decl->body.length - 1; i >= 0; i--)   /* an error about the result points at the last return */
		if (decl->body.data[i]->kind == STMT_RETURN) {
			*at = decl->body.data[i]->values.length ? decl->body.data[i]->values.data[0]->span : decl->body.data[i]->span;
			break;
		}
	Flow flow = exec_block(e, scope_new(e, scope), &decl->body, &result);
	if (flow != FLOW_RETURN && value_ok(result))
		return elab_error(e, decl->name.span, "`%s` ends without `return`", decl->name.text);
	return result;
}

static void note_use(Elab *e, const Decl *decl, File *file, Scope *scope) {
	Session *s = e->session;
	if (decl->kind != DECL_MODEL) return;
	for (int i = 0; i < s->models.length; i++) {
		ModelInfo *m = &s->models.data[i];
		if (m->decl != decl || m->called) continue;
		m->called = true;
		m->file = file;
		m->sizes.names = NEW_ARRAY(e->arena, const char *, scope->bindings.length + 1);
		m->sizes.dims = NEW_ARRAY(e->arena, Dim, scope->bindings.length + 1);
		for (int j = 0; j < scope->bindings.length; j++) {
			const Binding *b = scope->bindings.data[j];
			if (b->value.kind != VALUE_INT) continue;
			m->sizes.names[m->sizes.count] = b->name;
			m->sizes.dims[m->sizes.count++] = b->value.as.integer;
		}
	}
}

static void note_refusal(Elab *e, const Decl *decl) {
	for (int i = 0; i < e->session->models.length; i++)
		if (e->session->models.data[i].decl == decl) e->session->models.data[i].refused = true;
}

/* Too deep: the innermost declaration that is on the stack three times is to blame. */
static Value too_deep(Elab *e, const Decl *decl, Span call) {
	for (const Activation *a = e->activation; a; a = a->caller) {
		int times = 0;
		for (const Activation *b = a; b; b = b->caller) times += b->decl == a->decl;
		if (!a->decl || times < 3) continue;
		decl = a->decl;
		call = a->call;
		break;
	}
	give_up(e, call,
	        arena_printf(e->arena, "`%s` calls itself without end (more than %d calls deep)", decl->name.text, MAX_CALL_DEPTH));
	return value_poison();
}

Value call_decl(Elab *e, const Decl *decl, File *file, Value *args, Span *spans, Span call, const char *path) {
	if (e->gave_up) return value_poison();
	if (e->activation && e->activation->depth >= MAX_CALL_DEPTH) return too_deep(e, decl, call);
	if (decl->kind == DECL_LAYER && !path && !(path = anonymous_path(e, decl, call))) return value_poison();
	if (decl->kind == DECL_MODEL) path = decl->name.text;
	const Decl *rule = decl->kind == DECL_FN ? find_vjp(e, decl, file) : NULL;
	if (rule && !join_arguments(e, decl->params.length, args, call)) return value_poison();
	Activation *a = activation_enter(e, decl, call, path, decl->kind != DECL_FN);
	Scope *scope = scope_new(e, NULL);
	scope->file = file;
	scope->activation = a;
	collect_grad_names(e, decl, a);
	Value v = value_poison();
	Span at = {0};
	if (bind_parameters(e, scope, decl, args, spans, call)) {
		note_use(e, decl, file, scope);
		v = check_result(e, scope, decl, run_body(e, scope, decl, &at), at, call);
		if (rule && value_ok(v)) v = apply_rule(e, scope, decl, rule, args, v);
	}
	else note_refusal(e, decl);
	activation_leave(e);
	if (value_ok(v)) v.span = blame(e, call);
	return v;
}

/* ---- instances ---- */

bool makes_instance(const Expr *expr) {
	if (expr->kind != EXPR_CALL) return false;
	for (int i = 0; i < expr->arguments.length; i++)
		if (expr->arguments.data[i].value && expr->arguments.data[i].value->kind == EXPR_HOLE) return true;
	return false;
}

static Value make_instance(Elab *e, Value callee, const char *name, Value *args, Span *spans, Span span) {
	const Decl *decl = callee.as.function.decl;
	if (decl->kind != DECL_LAYER) {
		elab_error(e, span, "`_` leaves an argument of a layer open; `%s` is a %s", decl->name.text,
		           decl->kind == DECL_MODEL ? "model" : "function");
		return value_poison();
	}
	Instance *x = NEW(e->arena, Instance);
	*x = (Instance){.decl = decl, .file = callee.as.function.file, .args = args, .spans = spans, .span = span};
	Activation *a = e->activation;
	if (!name || !a || !a->path) x->path = anonymous_path(e, decl, span), name = decl->name.text;
	else {
		int earlier = count_call(e, a->counters, arena_intern(e->arena, arena_printf(e->arena, "=%s", name), strlen(name) + 1));
		x->path =
		    earlier ? arena_printf(e->arena, "%s/%s.%d", a->path, name, earlier) : arena_printf(e->arena, "%s/%s", a->path, name);
	}
	x->name = name;
	return x->path ? (Value){.kind = VALUE_INSTANCE, .span = span, .as.instance = x} : value_poison();
}

static Value call_instance_values(Elab *e, Instance *x, int n, const Value *given, Span call) {
	Value *args = NEW_ARRAY(e->arena, Value, x->decl->params.length + 1);
	Span *spans = NEW_ARRAY(e->arena, Span, x->decl->params.length + 1);
	int next = 0, holes = 0;
	for (int i = 0; i < x->decl->params.length; i++) holes += x->args[i].kind == VALUE_HOLE;
	if (n != holes)
		return elab_error(e, call, "`%s` leaves %s open, here are %d", x->name, arena_count(e->arena, holes, "argument"), n);
	for (int i = 0; i < x->decl->params.length; i++) {
		bool hole = x->args[i].kind == VALUE_HOLE;
		args[i] = hole ? given[next++] : x->args[i];
		spans[i] = hole ? call : x->spans[i];
	}
	x->called = true;
	return call_decl(e, x->decl, x->file, args, spans, call, x->path);
}

/* A function value with values already at hand (a parameter declared `fn`, an instance). */
Value call_value(Elab *e, Scope *scope, Value callee, int n, Value *args, Span call) {
	if (callee.kind == VALUE_BUILTIN) return call_builtin_values(e, scope, callee.as.builtin, n, args, call);
	if (callee.kind == VALUE_INSTANCE) return call_instance_values(e, callee.as.instance, n, args, call);
	if (callee.kind != VALUE_FUNCTION) return elab_error(e, call, "%s cannot be called", value_text(e, callee));
	const Decl *decl = callee.as.function.decl;
	if (n > decl->params.length)
		return elab_error(e, call, "`%s` takes %s, not %d", decl->name.text,
		                  arena_count(e->arena, decl->params.length, "argument"), n);
	Value *all = NEW_ARRAY(e->arena, Value, decl->params.length + 1);
	Span *spans = NEW_ARRAY(e->arena, Span, decl->params.length + 1);
	for (int i = 0; i < decl->params.length; i++)
		all[i] = i < n ? args[i] : (Value){.kind = VALUE_NOTHING}, spans[i] = call;
	return call_decl(e, decl, callee.as.function.file, all, spans, call, NULL);
}

static Value call_function(Elab *e, Scope *scope, Value callee, const Expr *expr, const char *name) {
	const Decl *decl = callee.as.function.decl;
	if (decl->kind == DECL_OPTIMIZER) return bind_optimizer(e, scope, decl, callee.as.function.file, expr);
	Value *args = NEW_ARRAY(e->arena, Value, decl->params.length + 1);
	Span *spans = NEW_ARRAY(e->arena, Span, decl->params.length + 1);
	if (!bind_arguments(e, scope, decl, expr, 0, args, spans)) return value_poison();
	bool hole = false;
	for (int i = 0; i < decl->params.length; i++) hole |= args[i].kind == VALUE_HOLE;
	if (hole) return make_instance(e, callee, name, args, spans, expr->span);
	return call_decl(e, decl, callee.as.function.file, args, spans, expr->at.source ? expr->at : expr->span, NULL);
}

static Value callee_of(Elab *e, Scope *scope, const Expr *expr) {
	if (expr->left->kind == EXPR_NAME) return lookup_name(e, scope, expr->left->name);
	return eval_expr(e, scope, expr->left);
}

Value let_instance(Elab *e, Scope *scope, const char *name, const Expr *expr) {
	Value callee = callee_of(e, scope, expr);
	if (!value_ok(callee)) return callee;
	if (callee.kind != VALUE_FUNCTION)
		return elab_error(e, expr->span, "`_` leaves an argument of a layer open; this is %s", value_text(e, callee));
	return call_function(e, scope, callee, expr, name);
}

Value eval_call(Elab *e, Scope *scope, const Expr *expr) {
	Value callee = callee_of(e, scope, expr);
	if (!value_ok(callee)) return callee;
	if (callee.kind == VALUE_FUNCTION) return call_function(e, scope, callee, expr, NULL);
	if (callee.kind == VALUE_BUILTIN) return call_builtin(e, scope, callee.as.builtin, expr);
	if (callee.kind != VALUE_INSTANCE) return elab_error(e, expr->at, "%s cannot be called", value_text(e, callee));
	Value *args = NEW_ARRAY(e->arena, Value, expr->arguments.length + 1);
	int n = 0;
	bool ok = true;
	for (int i = 0; i < expr->arguments.length; i++) {
		const Argument *a = &expr->arguments.data[i];
		if (a->name.text)
			return elab_error(e, a->span, "`%s` already has its settings; it takes data only", callee.as.instance->name);
		args[n] = eval_argument(e, scope, a);
		ok &= value_ok(args[n]) && args[n].kind != VALUE_HOLE;
		n++;
	}
	return ok ? call_instance_values(e, callee.as.instance, n, args, expr->at.source ? expr->at : expr->span) : value_poison();
}
