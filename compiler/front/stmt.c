/* stmt.c: runs the statements of a body.
 *
 * In: a block and its scope.  Out: bindings, persistent tensors, the value of `return`.  `for` and `if` run here, in the
 * compiler; the Fn sees straight-line code. */
#include <string.h>

#include "session.h"

/* ---- names a body differentiates by ---- */

static void grad_names_in(Elab *e, Activation *a, const Expr *x) {
	if (!x) return;
	if (x->kind == EXPR_CALL && x->left && x->left->kind == EXPR_NAME && !strcmp(x->left->name.text, "grad"))
		for (int i = 1; i < x->arguments.length; i++) {
			const Expr *by = x->arguments.data[i].value;
			if (!by || by->kind != EXPR_NAME) continue;
			const char **names = NEW_ARRAY(e->arena, const char *, a->ngrad_names + 1);
			for (int k = 0; k < a->ngrad_names; k++) names[k] = a->grad_names[k];
			names[a->ngrad_names++] = by->name.text;
			a->grad_names = names;
		}
	grad_names_in(e, a, x->left);
	grad_names_in(e, a, x->right);
	for (int i = 0; i < x->arguments.length; i++) grad_names_in(e, a, x->arguments.data[i].value);
	for (int i = 0; i < x->items.length; i++) grad_names_in(e, a, x->items.data[i]);
}

static void grad_names_block(Elab *e, Activation *a, const Block *b) {
	for (int i = 0; i < b->length; i++) {
		const Stmt *s = b->data[i];
		grad_names_in(e, a, s->value);
		for (int j = 0; j < s->values.length; j++) grad_names_in(e, a, s->values.data[j]);
		grad_names_block(e, a, &s->body);
		grad_names_block(e, a, &s->otherwise);
	}
}

void collect_grad_names(Elab *e, const Decl *decl, Activation *a) {
	grad_names_in(e, a, decl->value);
	grad_names_block(e, a, &decl->body);
	for (int i = 0; i < decl->items.length; i++) {
		const TrainItem *item = &decl->items.data[i];
		grad_names_in(e, a, item->value);
		for (int j = 0; j < item->items.length; j++) grad_names_in(e, a, item->items.data[j].value);
		if (!item->stmt) continue;
		Stmt *one[1] = {item->stmt};
		grad_names_block(e, a, &(Block){.data = one, .length = 1});
	}
}

/* Binds a local.  A value that the body differentiates by becomes a variable of its own. */
void bind_local(Elab *e, Scope *scope, Name name, Value v) {
	Activation *a = scope->activation;
	for (int i = 0; a && i < a->ngrad_names && v.kind == VALUE_TENSOR; i++) {
		Val *x = v.as.tensor.val;
		if (a->grad_names[i] != name.text || !dtype_is_float(x->type.dtype) || x->op == OpInput || x->op == OpMark) continue;
		v.as.tensor.val = ir_mark(fn_of(e), x);
	}
	scope_bind(e, scope, name, v);
}

/* ---- statements ---- */

static void exec_let(Elab *e, Scope *scope, const Stmt *s) {
	e->session->naming = s->names.length == 1 ? s->names.data[0].text : NULL;
	if (s->names.length == 1) {
		Value v =
		    makes_instance(s->value) ? let_instance(e, scope, s->names.data[0].text, s->value) : eval_expr(e, scope, s->value);
		if (v.kind == VALUE_NOTHING)
			v = elab_error(e, s->value->span, "`%s` would be nothing: the call returns no value", s->names.data[0].text);
		bind_local(e, scope, s->names.data[0], v);
		return;
	}
	Value v = eval_expr(e, scope, s->value);
	bool several = v.kind == VALUE_TUPLE || v.kind == VALUE_LIST;
	if (value_ok(v) && (!several || v.as.list.count != s->names.length)) {
		elab_error(e, s->value->span, "%d names for %s", s->names.length, several ? value_text(e, v) : "one value");
		v = value_poison();
	}
	for (int i = 0; i < s->names.length; i++) bind_local(e, scope, s->names.data[i], value_ok(v) ? v.as.list.items[i] : v);
}

static void exec_assign(Elab *e, Scope *scope, const Stmt *s) {
	Value v = eval_expr(e, scope, s->value);
	Scope *owner = scope;
	Binding *b = scope_find(scope, s->name.text);
	File *declared;
	if (!b && (find_builtin(s->name.text) || find_declaration(e, scope->file, s->name.text, &declared))) {
		elab_error(e, s->name.span, "`%s` is the name of something else: it cannot be assigned", s->name.text);
		elab_help(e, "`let` declares a name of its own, as in `let my_%s = ...`", s->name.text);
		return;
	}
	if (!b) {
		if (!unknown_name(e, scope, s->name)) elab_help(e, "`let %s = ...` declares a name", s->name.text);
		scope_bind(e, scope, s->name, value_poison());
		return;
	}
	if (b->persistent >= 0 || b->constant) {
		elab_error(e, s->name.span, "`%s` is %s", s->name.text, b->constant ? "constant" : "a tensor that lives between steps");
		elab_note(e, b->span, "declared here");
		bool optimizer = scope->activation && scope->activation->counters && scope->activation->counters->slot_of;
		if (b->constant) return;
		if (optimizer || e->program->persistent.data[b->persistent].kind != INPUT_PARAM)
			elab_help(e, "write `%s <- ...` to update it", s->name.text);
		else elab_help(e, "`let` gives what is computed from it a name of its own, as in `let my_%s = ...`", s->name.text);
		return;
	}
	if (!scan_lets_assign(e, scope, s, b)) return;
	while (!scope_holds(owner, b)) owner = owner->parent;
	Name name = {s->name.text, b->span};
	bind_local(e, owner, name, v);
}

static void exec_update(Elab *e, Scope *scope, const Stmt *s) {
	Binding *b = scope_find(scope, s->name.text);
	Activation *a = scope->activation;
	bool optimizer = a && a->counters && a->counters->slot_of;
	if (!b) {
		unknown_name(e, scope, s->name);
		return;
	}
	if (b->persistent < 0) {
		if (b->value.kind == VALUE_POISON) return;
		elab_error(e, s->name.span, "`<-` updates a state or parameter; `%s` is neither", s->name.text);
		elab_note(e, b->span, "declared here");
		elab_help(e, "write `%s = ...` for a local name", s->name.text);
		return;
	}
	e->session->infos.data[b->persistent].updated = true;
	if (e->build->scan && e->program->persistent.data[b->persistent].kind == INPUT_PARAM) {
		elab_error(e, s->name.span, "`%s` is a parameter: inside `scan` only a `state` is updated", s->name.text);
		elab_note(e, b->span, "declared here");
		elab_help(e, "carry what changes from step to step, and update `%s` after the loop", s->name.text);
		return;
	}
	if (!optimizer && !e->build->training) return;
	Value v = eval_expr(e, scope, s->value);
	const Persistent *p = &e->program->persistent.data[b->persistent];
	const Dim *dims = e->session->infos.data[b->persistent].dims;
	if (value_ok(v)) v = to_tensor(e, v, p->type.dtype, s->value->span);
	if (!value_ok(v)) return;
	bool fits = v.as.tensor.rank <= p->type.rank && !v.as.tensor.nlabels;
	for (int i = 0; fits && i < v.as.tensor.rank; i++)
		fits = dim_equal(v.as.tensor.dims[i], dims[p->type.rank - v.as.tensor.rank + i]);
	if (!fits) {
		elab_error(e, s->value->span, "`%s` is %s, its new value is %s", s->name.text, type_text(e->arena, p->type),
		           value_text(e, v));
		elab_note(e, b->span, "declared here");
		return;
	}
	Val *val = broadcast_to(e, &v, 0, NULL, p->type.rank, dims);
	bool constant = optimizer || val->op == OpStop || val->op == OpInput || !dtype_is_float(val->type.dtype);
	if (!constant) val = ir_Stop(fn_of(e), val);
	/* the optimizer differentiates by the newest version of a parameter: a variable of its own */
	if (!optimizer && p->kind == INPUT_PARAM) val = ir_mark(fn_of(e), val);
	persistent_write(e, b->persistent, val);
}

static void exec_const(Elab *e, Scope *scope, const Stmt *s) {
	e->session->naming = s->name.text;
	Value v = eval_expr(e, scope, s->value);
	if (v.kind == VALUE_TENSOR)
		v = elab_error(e, s->value->span, "a const must be known to the compiler, not %s", value_text(e, v));
	if (v.kind == VALUE_INT) v.as.integer.name = s->name.text;
	scope_bind(e, scope, s->name, v)->constant = true;
}

static Flow exec_for(Elab *e, Scope *scope, const Stmt *s, Value *result) {
	Value list = {0};
	Dim from, to;
	int64_t lo = 0, hi = 0;
	if (s->to) {
		if (!eval_int(e, scope, s->value, "the start of a loop", &from) || !eval_int(e, scope, s->to, "the end of a loop", &to))
			return FLOW_NEXT;
		if (!dim_known(from, &lo) || !dim_known(to, &hi)) {
			elab_error(e, s->value->span, "a loop from %s to %s: it runs in the compiler, so the bounds must be numbers",
			           dim_text(e->arena, from), dim_text(e->arena, to));
			return FLOW_NEXT;
		}
	} else {
		list = eval_expr(e, scope, s->value);
		if (!value_ok(list)) return FLOW_NEXT;
		if (list.kind != VALUE_LIST && list.kind != VALUE_TUPLE) {
			elab_error(e, s->value->span, "`for` runs over a range or a list, not %s", value_text(e, list));
			return FLOW_NEXT;
		}
		hi = list.as.list.count;
	}
	if (hi > lo && (uint64_t)hi - (uint64_t)lo > MAX_UNROLL) {
		elab_error(e, s->value->span, "a loop of %llu rounds: it is unrolled, %d is the limit",
		           (unsigned long long)((uint64_t)hi - (uint64_t)lo), MAX_UNROLL);
		elab_help(e, "loops over data are whole-tensor operations or indexed definitions");
		return FLOW_NEXT;
	}
	for (int64_t i = lo; i < hi && !e->gave_up; i++) {
		Scope *body = scope_new(e, scope);
		scope_bind(e, body, s->name, s->to ? value_int(i, s->name.span) : list.as.list.items[i]);
		if (++e->work > MAX_WORK) give_up(e, s->value->span, "the program unrolls into too much; is a loop too long?");
		if (exec_block(e, body, &s->body, result) == FLOW_RETURN) return FLOW_RETURN;
	}
	return FLOW_NEXT;
}

/* The assert's text with {name} replaced by the value of that name. */
static const char *filled_message(Elab *e, Scope *scope, const Stmt *s) {
	Text text = {.arena = e->arena};
	for (const char *p = s->message ? s->message : ""; *p;) {
		const char *end = *p == '{' ? strchr(p, '}') : NULL;
		if (!end) {
			text_bytes(&text, p++, 1);
			continue;
		}
		Name name = {arena_intern(e->arena, p + 1, (size_t)(end - p - 1)), s->message_span};
		Binding *b = scope_find(scope, name.text);
		Value v = b ? read_binding(e, b, name.span) : value_poison();
		if (!b) {
			File *owner;
			const Decl *d = find_declaration(e, scope->file, name.text, &owner);
			if (d) v = decl_value(e, d, owner, name.span);
		}
		int64_t n;
		if (v.kind == VALUE_INT && dim_known(v.as.integer, &n)) text_add(&text, "%lld", (long long)n);
		else if (v.kind == VALUE_REAL) text_number(&text, v.as.real);
		else if (value_ok(v)) text_add(&text, "%s", value_text(e, v));
		else text_bytes(&text, p, (size_t)(end + 1 - p));
		p = end + 1;
	}
	return text.data ? text.data : "";
}

/* What does not hold ends the body: what follows would fail for the same reason. */
static Flow exec_assert(Elab *e, Scope *scope, const Stmt *s, Value *result) {
	Value v = eval_expr(e, scope, s->value);
	if (value_ok(v) && v.kind == VALUE_BOOL && v.as.truth) return FLOW_NEXT;
	if (value_ok(v) && v.kind == VALUE_BOOL) elab_error(e, s->value->span, "%s", filled_message(e, scope, s));
	else if (value_ok(v))
		elab_error(e, s->value->span, "`assert` needs a condition known to the compiler, not %s", value_text(e, v));
	*result = value_poison();
	return FLOW_RETURN;
}

static Flow exec_return(Elab *e, Scope *scope, const Stmt *s, Value *result) {
	if (s->values.length == 1) {
		*result = eval_expr(e, scope, s->values.data[0]);
		return FLOW_RETURN;
	}
	Value *items = NEW_ARRAY(e->arena, Value, s->values.length + 1);
	bool ok = true;
	for (int i = 0; i < s->values.length; i++) ok &= value_ok(items[i] = eval_expr(e, scope, s->values.data[i]));
	*result = ok ? value_list(VALUE_TUPLE, s->values.length, items, s->span) : value_poison();
	return FLOW_RETURN;
}

Flow exec_stmt(Elab *e, Scope *scope, const Stmt *s, Value *result) {
	bool truth = false;
	switch (s->kind) {
	case STMT_ERROR: *result = value_poison(); break;   /* it may have been the return */
	case STMT_PARAM: declare_persistent(e, scope, s, INPUT_PARAM); break;
	case STMT_STATE: declare_persistent(e, scope, s, INPUT_STATE); break;
	case STMT_LET: exec_let(e, scope, s); break;
	case STMT_LET_INDEXED: bind_local(e, scope, s->name, elab_indexed_let(e, scope, s)); break;
	case STMT_ASSIGN: exec_assign(e, scope, s); break;
	case STMT_UPDATE: exec_update(e, scope, s); break;
	case STMT_CONST: exec_const(e, scope, s); break;
	case STMT_FOR: return exec_for(e, scope, s, result);
	case STMT_IF:
		if (!value_ok(eval_condition(e, scope, s->value, &truth))) {
			*result = value_poison();   /* which branch returns is unknown: the body's value is poison */
			return FLOW_RETURN;
		}
		return exec_block(e, scope_new(e, scope), truth ? &s->body : &s->otherwise, result);
	case STMT_SCAN: return exec_scan(e, scope, s, result);
	case STMT_EMIT: exec_emit(e, scope, s); break;
	case STMT_ASSERT: return exec_assert(e, scope, s, result);
	case STMT_RETURN: return exec_return(e, scope, s, result);
	case STMT_EXPR: eval_expr(e, scope, s->value); break;
	}
	return FLOW_NEXT;
}

Flow exec_block(Elab *e, Scope *scope, const Block *block, Value *result) {
	if (e->depth >= MAX_EXPR_DEPTH) {
		give_up(e, block->span, "nested too deeply");
		return FLOW_NEXT;
	}
	e->depth++;
	Flow flow = FLOW_NEXT;
	for (int i = 0; i < block->length && flow == FLOW_NEXT && !e->gave_up; i++)
		flow = exec_stmt(e, scope, block->data[i], result);
	e->depth--;
	if (e->gave_up) *result = value_poison();
	return flow;
}
