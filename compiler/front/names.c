/* names.c: every name of the user's declarations is checked, whether their bodies are ever called or not.
 *
 * In: a file.  Out: one error for each name that nothing declares (those that elaboration met already are dropped by
 * their span). */
#include <string.h>

#include "session.h"

static void check_expr(Elab *e, Scope *s, const Expr *x);
static void check_block(Elab *e, Scope *s, const Block *b);

static void declare(Elab *e, Scope *s, Name name) {
	if (name.text) scope_bind(e, s, name, value_poison());
}

static bool is_unknown(Elab *e, Scope *s, Name name) {
	File *owner;
	int count;
	if (!name.text || scope_find(s, name.text) || find_declaration(e, s->file, name.text, &owner) || find_builtin(name.text))
		return false;
	const char *const *special = special_names(&count);
	for (int i = 0; i < count; i++)
		if (!strcmp(special[i], name.text)) return false;
	return true;
}

static void check_name(Elab *e, Scope *s, Name name) {
	if (!is_unknown(e, s, name)) return;
	unknown_name(e, s, name);
	declare(e, s, name);   /* once is enough */
}

static Scope *bind_list(Elab *e, Scope *s, const IndexList *indices) {
	Scope *inner = scope_new(e, s);
	for (int i = 0; i < indices->length; i++) {
		check_expr(e, s, indices->data[i].limit);
		if (!indices->data[i].dots) declare(e, inner, indices->data[i].name);
	}
	return inner;
}

/* `median[k](x[k])` with no such reduction: k would be an index. */
static Scope *bind_unknown_reduction(Elab *e, Scope *s, const Expr *x) {
	const Expr *left = x->kind == EXPR_CALL ? x->left : NULL;
	if (!left || left->kind != EXPR_SUBSCRIPT || left->left->kind != EXPR_NAME || !is_unknown(e, s, left->left->name)) return s;
	check_name(e, s, left->left->name);
	Scope *inner = scope_new(e, s);
	for (int i = 0; i < left->subscripts.length; i++) {
		const Expr *index = left->subscripts.data[i].value;
		if (index && index->kind == EXPR_NAME) declare(e, inner, index->name);
	}
	return inner;
}

static void check_children(Elab *e, Scope *s, const Expr *x) {
	if (x->kind == EXPR_REDUCE) s = bind_list(e, s, &x->indices);
	s = bind_unknown_reduction(e, s, x);
	check_expr(e, s, x->condition);
	check_expr(e, s, x->left);
	check_expr(e, s, x->right);
	check_expr(e, s, x->default_value);
	for (int i = 0; i < x->items.length; i++) check_expr(e, s, x->items.data[i]);
	for (int i = 0; i < x->arguments.length; i++)
		check_expr(e, s, x->arguments.data[i].value), check_expr(e, s, x->arguments.data[i].to);
	for (int i = 0; i < x->subscripts.length; i++)
		check_expr(e, s, x->subscripts.data[i].value), check_expr(e, s, x->subscripts.data[i].to);
}

static void check_expr(Elab *e, Scope *s, const Expr *x) {
	if (!x || e->depth >= MAX_EXPR_DEPTH) return;
	if (x->kind == EXPR_NAME) {
		check_name(e, s, x->name);
		return;
	}
	e->depth++;
	check_children(e, s, x);
	e->depth--;
}

static void check_type(Elab *e, Scope *s, const TypeExpr *t) {
	if (!t) return;
	check_expr(e, s, t->classes);
	for (int i = 0; i < t->dims.length; i++) check_expr(e, s, t->dims.data[i]);
}

/* Names in a signature's sizes are bound by it. */
static void bind_sizes(Elab *e, Scope *s, const TypeExpr *t) {
	if (!t) return;
	if (t->classes && t->classes->kind == EXPR_NAME && !scope_find(s, t->classes->name.text)) declare(e, s, t->classes->name);
	for (int i = 0; i < t->dims.length; i++)
		if (t->dims.data[i]->kind == EXPR_NAME && !scope_find(s, t->dims.data[i]->name.text))
			declare(e, s, t->dims.data[i]->name);
}

static void declare_emitted(Elab *e, Scope *s, const Block *b) {
	for (int i = 0; i < b->length; i++) {
		if (b->data[i]->kind == STMT_EMIT) declare(e, s, b->data[i]->name);
		declare_emitted(e, s, &b->data[i]->body);
		declare_emitted(e, s, &b->data[i]->otherwise);
	}
}

static void check_scan(Elab *e, Scope *s, const Stmt *x) {
	Scope *inner = scope_new(e, s);
	check_expr(e, s, x->value);
	declare(e, inner, x->name);
	for (int i = 0; i < x->carries.length; i++) {
		check_expr(e, s, x->carries.data[i].value);
		declare(e, s, x->carries.data[i].name);
	}
	check_block(e, inner, &x->body);
	declare_emitted(e, s, &x->body);
}

static void check_stmt(Elab *e, Scope *s, const Stmt *x) {
	Scope *inner;
	switch (x->kind) {
	case STMT_PARAM: case STMT_STATE:
		check_type(e, s, x->type);
		inner = scope_new(e, s);
		declare(e, inner, (Name){arena_intern(e->arena, "shape", 5), x->name.span});
		check_expr(e, inner, x->value);
		declare(e, s, x->name);
		return;
	case STMT_LET_INDEXED: case STMT_EMIT:
		check_expr(e, bind_list(e, s, &x->indices), x->value);
		declare(e, s, x->name);
		return;
	case STMT_ASSIGN: case STMT_UPDATE:
		check_expr(e, s, x->value);
		if (x->name.text && !scope_find(s, x->name.text)) check_name(e, s, x->name), declare(e, s, x->name);
		return;
	case STMT_FOR:
		check_expr(e, s, x->value);
		check_expr(e, s, x->to);
		inner = scope_new(e, s);
		declare(e, inner, x->name);
		check_block(e, inner, &x->body);
		return;
	case STMT_SCAN: check_scan(e, s, x); return;
	default:
		check_expr(e, s, x->value);
		for (int i = 0; i < x->values.length; i++) check_expr(e, s, x->values.data[i]);
		for (int i = 0; i < x->names.length; i++) declare(e, s, x->names.data[i]);
		if (x->kind == STMT_CONST) declare(e, s, x->name);
		check_block(e, s, &x->body);
		check_block(e, s, &x->otherwise);
	}
}

/* Statements that do nothing: what follows `return`, a value that nobody takes. */
static void warn_idle(Elab *e, const Stmt *x, const Stmt *before) {
	if (before && before->kind == STMT_RETURN) {
		diag_warning(e->diag, x->span, "this is never reached: `return` stands before it");
		return;
	}
	if (x->kind != STMT_EXPR || !x->value) return;
	ExprKind kind = x->value->kind;
	if (kind != EXPR_UNARY && kind != EXPR_BINARY && kind != EXPR_CAST && kind != EXPR_NAME && kind != EXPR_NUMBER) return;
	diag_warning(e->diag, x->span, "nothing takes the value of this line");
	if (kind == EXPR_UNARY && before) elab_help(e, "an operator at the end of the line before makes one statement of both");
}

static void check_block(Elab *e, Scope *s, const Block *b) {
	if (e->depth >= MAX_EXPR_DEPTH) return;
	e->depth++;
	Scope *inner = scope_new(e, s);
	for (int i = 0; i < b->length; i++) {
		warn_idle(e, b->data[i], i ? b->data[i - 1] : NULL);
		check_stmt(e, inner, b->data[i]);
	}
	e->depth--;
}

static void check_function(Elab *e, Scope *s, const Decl *d) {
	for (int i = 0; i < d->params.length; i++) declare(e, s, d->params.data[i].name);
	for (int i = 0; i < d->params.length; i++) bind_sizes(e, s, d->params.data[i].type);
	for (int i = 0; i < d->params.length; i++) {
		check_type(e, s, d->params.data[i].type);
		check_expr(e, s, d->params.data[i].value);
	}
	bind_sizes(e, s, d->result);
	check_type(e, s, d->result);
	for (int i = 0; i < d->results.length; i++)
		bind_sizes(e, s, d->results.data[i].type), check_type(e, s, d->results.data[i].type);
	check_expr(e, s, d->value);
	check_block(e, s, &d->body);
}

static void check_rule(Elab *e, Scope *s, const Decl *d) {
	File *owner;
	const Decl *of = find_declaration(e, s->file, d->name.text, &owner);
	if (!of || of->kind != DECL_FN) {
		if (!of) unknown_name(e, s, d->name);
		else elab_error(e, d->name.span, "`vjp` gives the derivative of a `fn`, and `%s` is none", d->name.text);
		return;
	}
	const Decl *first = find_rule(s->file, d->name.text);
	if (first != d) {
		elab_error(e, d->name.span, "`%s` has a `vjp` already", d->name.text);
		elab_note(e, first->name.span, "the first one");
		elab_note(e, of->name.span, "the function");
	}
	for (int i = 0; i < of->params.length; i++) {
		declare(e, s, of->params.data[i].name);
		bind_sizes(e, s, of->params.data[i].type);
	}
	for (int i = 0; i < d->inputs.length; i++) declare(e, s, d->inputs.data[i]);
	declare(e, s, d->output);
	declare(e, s, d->cotangent);
	check_block(e, s, &d->body);
}

static void check_item(Elab *e, Scope *s, const TrainItem *item) {
	bool clip = item->kind == ITEM_SETTING && !strcmp(item->name.text, "clip");
	if (clip && item->value && item->value->kind == EXPR_CALL)
		for (int i = 0; i < item->value->arguments.length; i++) check_expr(e, s, item->value->arguments.data[i].value);
	/* bf16, best(val_accuracy): names of their own */
	bool later = item->kind == ITEM_SETTING && (!strcmp(item->name.text, "save") || !strcmp(item->name.text, "precision"));
	if (!clip && !later) check_expr(e, s, item->value);
	for (int i = 0; i < item->rules.length; i++) check_expr(e, s, item->rules.data[i].value);
	for (int i = 0; i < item->items.length; i++) check_item(e, s, &item->items.data[i]);
	if (item->stmt && item->stmt->kind != STMT_ASSIGN) check_stmt(e, s, item->stmt);
	else if (item->stmt) check_expr(e, s, item->stmt->value);
}

static void check_train(Elab *e, Scope *s, const Decl *d) {
	bool known = false;
	for (int i = 0; i < d->items.length; i++) {
		const TrainItem *item = &d->items.data[i];
		File *owner;
		if (item->kind != ITEM_SETTING || strcmp(item->name.text, "data") || !item->value || item->value->kind != EXPR_NAME)
			continue;
		const Decl *data = find_declaration(e, s->file, item->value->name.text, &owner);
		known = data && data->kind == DECL_DATA;
		for (int k = 0; known && k < data->fields.length; k++) declare(e, s, data->fields.data[k].name);
	}
	if (!known) return;   /* it was said; which names are fields is unknown */
	declare(e, s, (Name){arena_intern(e->arena, "B", 1), d->span});
	for (int i = 0; i < d->items.length; i++) check_item(e, s, &d->items.data[i]);
}

void check_names(Elab *e, File *file) {
	for (int i = 0; i < file->tree->decls.length && !e->gave_up; i++) {
		const Decl *d = file->tree->decls.data[i];
		Scope *s = scope_new(e, NULL);
		s->file = file;
		if (d->kind == DECL_FN || d->kind == DECL_LAYER || d->kind == DECL_MODEL || d->kind == DECL_OPTIMIZER)
			check_function(e, s, d);
		if (d->kind == DECL_VJP) check_rule(e, s, d);
		if (d->kind == DECL_TRAIN) check_train(e, s, d);
	}
}
