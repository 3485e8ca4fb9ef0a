/* scope.c: names and blame.
 *
 * In: a name and where it stands.  Out: its value, or one error with the nearest name.  A name is looked up in the
 * locals outwards, the file's declarations, its imports, the standard library, and the language's own table. */
#include <math.h>
#include <string.h>

#include "session.h"

Scope *scope_new(Elab *e, Scope *parent) {
	Scope *s = NEW(e->arena, Scope);
	s->parent = parent;
	if (parent) s->file = parent->file, s->activation = parent->activation;
	return s;
}

enum { FEW = 16 };

static Binding *find_here(const Scope *s, const char *name) {
	if (s->bindings.length > FEW) {
		int i = map_find(&s->numbers, name);
		return i < 0 ? NULL : s->bindings.data[i];
	}
	for (int i = 0; i < s->bindings.length; i++)
		if (s->bindings.data[i]->name == name) return s->bindings.data[i];
	return NULL;
}

static void add_binding(Elab *e, Scope *s, Binding *b) {
	vec_push(e->arena, &s->bindings, b);
	int n = s->bindings.length;
	if (n <= FEW) return;
	for (int i = n == FEW + 1 ? 0 : n - 1; i < n; i++) map_add(e->arena, &s->numbers, s->bindings.data[i]->name, i);
}

Binding *scope_bind(Elab *e, Scope *scope, Name name, Value value) {
	Binding *b = find_here(scope, name.text);
	bool fresh = !b;
	if (fresh) b = NEW(e->arena, Binding);
	*b = (Binding){.name = name.text, .value = value, .persistent = -1, .span = name.span};
	if (fresh) add_binding(e, scope, b);
	return b;
}

bool scope_holds(const Scope *scope, const Binding *b) { return find_here(scope, b->name) == b; }

Binding *scope_find(Scope *scope, const char *name) {
	for (; scope; scope = scope->parent) {
		Binding *b = find_here(scope, name);
		if (b) return b;
	}
	return NULL;
}

/* ---- blame ---- */

bool is_library(const Elab *e, Span span) {
	return span.source && (int)span.source <= e->diag->sources.length && e->diag->sources.data[span.source - 1].library;
}

Span blame(Elab *e, Span span) {
	if (!is_library(e, span)) return span;
	for (Activation *a = e->activation; a; a = a->caller)
		if (a->call.source && !is_library(e, a->call)) return a->call;
	return span;
}

/* Where we are, for an error at `span` inside a body that was called: the library's place, then up to three calls. */
static void trace(Elab *e, Span span, Span blamed) {
	int shown = 0;
	const Decl *before = NULL;
	if (is_library(e, span) && !is_library(e, blamed)) {
		const char *name = e->activation && e->activation->decl ? e->activation->decl->name.text : NULL;
		if (name) diag_note(e->diag, span, "inside `%s`", name);
	}
	for (Activation *a = e->activation; a && shown < 3; a = a->caller) {
		bool same = a->call.source == blamed.source && a->call.begin == blamed.begin;
		if (!a->decl || a->decl->kind == DECL_MODEL || a->decl == before || same)
			continue; /* a model is called once, as a rule */
		if (!a->call.source || is_library(e, a->call) || is_library(e, a->decl->name.span)) continue;
		diag_note(e->diag, a->call, "in this call of `%s`", a->decl->name.text);
		before = a->decl;
		shown++;
	}
}

Value elab_error(Elab *e, Span span, const char *format, ...) {
	va_list args;
	va_start(args, format);
	const char *text = arena_vprintf(e->arena, format, args);
	va_end(args);
	Span blamed = blame(e, span);
	if (e->gave_up) {
		e->diag->muted = true;
		return value_poison();
	}
	if (diag_error(e->diag, blamed, "%s", text)) trace(e, span, blamed);
	return value_poison();
}

void elab_note(Elab *e, Span span, const char *format, ...) {
	va_list args;
	va_start(args, format);
	diag_note(e->diag, span, "%s", arena_vprintf(e->arena, format, args));
	va_end(args);
}

void elab_help(Elab *e, const char *format, ...) {
	va_list args;
	va_start(args, format);
	diag_help(e->diag, "%s", arena_vprintf(e->arena, format, args));
	va_end(args);
}

void note_value(Elab *e, const char *label, Value v) {
	if (v.span.source) elab_note(e, v.span, "%s is %s", label, value_text(e, v));
}

/* A bound on the compiler's own work was hit: one error, then silence. */
bool give_up(Elab *e, Span span, const char *what) {
	if (!e->gave_up) elab_error(e, span, "%s", what);
	e->gave_up = true;
	return false;
}

/* ---- declarations ---- */

File *file_of(Session *s, uint32_t source) {
	for (int i = 0; i < s->files.length; i++)
		if (s->files.data[i]->tree->source == source) return s->files.data[i];
	for (int i = 0; i < s->library.length; i++)
		if (s->library.data[i]->tree->source == source) return s->library.data[i];
	return NULL;
}

bool is_named_value(const Decl *d) {
	return d->kind == DECL_CONST || d->kind == DECL_DATA || d->kind == DECL_FN || d->kind == DECL_LAYER ||
	       d->kind == DECL_MODEL || d->kind == DECL_OPTIMIZER;
}

void index_declarations(Elab *e, File *file) {
	for (int i = 0; i < file->tree->decls.length; i++) {
		const Decl *d = file->tree->decls.data[i];
		PointerMap *map = is_named_value(d) ? &file->named : d->kind == DECL_VJP ? &file->rules : NULL;
		if (map && d->name.text && map_find(map, d->name.text) < 0) map_add(e->arena, map, d->name.text, i);
	}
}

static const Decl *numbered(const File *file, int number) { return number < 0 ? NULL : file->tree->decls.data[number]; }
static const Decl *declared_in(const File *file, const char *name) { return numbered(file, map_find(&file->named, name)); }
const Decl *find_rule(const File *file, const char *name) { return numbered(file, map_find(&file->rules, name)); }

bool has_const(File *file, const char *name) {
	const Decl *d = declared_in(file, name);
	return d && d->kind == DECL_CONST;
}

const Decl *find_declaration(Elab *e, File *from, const char *name, File **owner) {
	Session *s = e->session;
	const Decl *d = declared_in(from, name);
	*owner = from;
	for (int i = 0; !d && i < from->imports.length; i++) d = declared_in(*owner = from->imports.data[i], name);
	for (int i = 0; !d && i < s->library.length; i++) d = declared_in(*owner = s->library.data[i], name);
	return d;
}

int add_const(Elab *e, const Decl *decl, Expr *replacement) {
	Session *s = e->session;
	vec_push(e->arena, &s->consts, ((Const){.replacement = replacement}));
	map_add(e->arena, &s->const_numbers, decl, s->consts.length - 1);
	return s->consts.length - 1;
}

static Value const_value(Elab *e, const Decl *decl, File *file, Span span) {
	Session *s = e->session;
	int at = map_find(&s->const_numbers, decl);
	if (at < 0) at = add_const(e, decl, NULL);
	if (s->consts.data[at].state == CONST_DONE) return s->consts.data[at].value;
	if (s->consts.data[at].state == CONST_RUNNING) return elab_error(e, span, "`%s` is defined by itself", decl->name.text);
	s->consts.data[at].state = CONST_RUNNING;
	Scope *scope = scope_new(e, NULL);
	scope->file = file;
	Activation *outer = e->activation;
	e->activation = NULL;
	s->naming = decl->name.text;
	const Expr *value = s->consts.data[at].replacement ? s->consts.data[at].replacement : decl->value;
	Value v = value ? eval_expr(e, scope, value) : value_poison();
	if (v.kind == VALUE_TENSOR || v.kind == VALUE_NOTHING)
		v = elab_error(e, value->span, "a const must be known to the compiler, not %s", value_text(e, v));
	e->activation = outer;
	if (v.kind == VALUE_INT) v.as.integer.name = decl->name.text;
	s->consts.data[at].value = v;
	s->consts.data[at].state = CONST_DONE;
	return v;
}

Value decl_value(Elab *e, const Decl *decl, File *file, Span span) {
	if (decl->kind == DECL_CONST) return const_value(e, decl, file, span);
	ValueKind kind = decl->kind == DECL_DATA ? VALUE_DATA : VALUE_FUNCTION;
	return (Value){.kind = kind, .span = decl->name.span, .as.function = {decl, file}};
}

/* ---- names of the language ---- */

static const char *const language_names[] = {
	"true", "false", "training", "pi", "inf", "step", "epoch", "none", "steps_per_epoch", "total_steps",
};

const char *const *special_names(int *count) { return *count = COUNT(language_names), language_names; }

static Value counter_input(Elab *e, const char *name, InputKind kind, Span span) {
	Fn *f = fn_of(e);
	Val *v = NULL;
	for (int i = 0; i < f->inputs.length; i++)
		if (f->inputs.data[i].kind == kind) v = f->inputs.data[i].val;
	if (!v) v = fn_input(f, name, kind, type_scalar(DTYPE_I32));
	Value value = value_tensor(e, v, NULL, span);
	value.as.tensor.weak = true;
	return value;
}

Value special_name(Elab *e, const char *name, Span span, bool *found) {
	int which = -1;
	for (int i = 0; i < (int)COUNT(language_names); i++)
		if (!strcmp(name, language_names[i])) which = i;
	*found = which >= 0;
	switch (which) {
	case 0: case 1: return value_bool(which == 0, span);
	case 2: return value_bool(e->build->training, span);
	case 3: return value_real(3.14159265358979323846, span);
	case 4: return value_real(INFINITY, span);
	case 5: case 6:
		if (e->build->initialising || e->build->finishing)
			return elab_error(e, span, "`%s` is not known here: it changes while training", name);
		return counter_input(e, name, which == 5 ? INPUT_STEP : INPUT_EPOCH, span);
	case 7: return (Value){.kind = VALUE_NOTHING, .span = span};
	case 8: case 9: return train_counter(e, name, span);
	default: return value_poison();
	}
}

/* ---- lookup ---- */

/* Names that people bring along from elsewhere, and what does the same here. */
static const char *other_way(const char *name) {
	static const char *const ways[][2] = {
		{"range", "`for i in 0..n { ... }` counts from 0 to n - 1"},
		{"squeeze", "`x[.., 0]` drops a last dim of size 1; `reshape(x, ..)` gives any shape"},
		{"unsqueeze", "`reshape(x, ..)` gives any shape with as many elements"},
		{"expand_dims", "`reshape(x, ..)` gives any shape with as many elements"},
		{"transpose", "`let y[j, i] = x[i, j]` transposes"},
		{"permute", "`let y[k, i, j] = x[i, j, k]` puts dims in another order"},
		{"matmul", "`a @ b` multiplies matrices; `let y[i, j] = sum[k](a[i, k] * b[k, j])` any tensors"},
		{"einsum", "`let y[i, j] = sum[k](a[i, k] * b[k, j])` is such a sum"},
	};
	for (size_t i = 0; i < COUNT(ways); i++)
		if (!strcmp(ways[i][0], name)) return ways[i][1];
	return NULL;
}

static bool names(const Stmt *s, const char *name, Name *at) {
	*at = s->name;
	if (s->kind == STMT_LET_INDEXED) return s->name.text == name;
	for (int i = 0; s->kind == STMT_LET && i < s->names.length; i++) {
		*at = s->names.data[i];
		if (at->text == name) return true;
	}
	return false;
}

/* The statement with a block that ended before `before` and in which a `let` names it; NULL: there is none. */
static const Stmt *ended_block(Elab *e, const Block *body, Name name, Name *at) {
	VEC(const Stmt *) open = {0};
	for (int i = 0; i < body->length; i++)
		if (body->data[i]->span.end <= name.span.begin) vec_push(e->arena, &open, body->data[i]);
	for (int k = 0; k < open.length; k++) {
		const Block *blocks[] = {&open.data[k]->body, &open.data[k]->otherwise};
		for (int i = 0; i < 2; i++)
			for (int j = 0; j < blocks[i]->length; j++) {
				if (names(blocks[i]->data[j], name.text, at)) return open.data[k];
				vec_push(e->arena, &open, blocks[i]->data[j]);
			}
	}
	return NULL;
}

/* After an error about an unknown name: that it is one of a block which has ended. */
static bool help_ended(Elab *e, const Scope *scope, Name name) {
	const Decl *d = scope->activation ? scope->activation->decl : NULL;
	Name at;
	const Stmt *s = d && d->has_body && d->span.source == name.span.source ? ended_block(e, &d->body, name, &at) : NULL;
	if (!s) return false;
	elab_note(e, at.span, "`%s` is declared here, in a block that has ended", name.text);
	if (s->kind == STMT_SCAN) elab_help(e, "`emit` keeps a value of every step of a scan, a carry the last one");
	else elab_help(e, "declare `%s` before the block, and give it another value inside", name.text);
	return true;
}

/* Returns whether a nearer name was proposed, or another way.  Errors that nobody will see get no proposal: it looks at
 * every name there is. */
bool unknown_name(Elab *e, Scope *scope, Name name) {
	if (e->diag->errors >= MAX_ERRORS) {
		elab_error(e, name.span, "unknown name `%s`", name.text);
		return true;
	}
	VEC(const char *) names = {0};
	Session *s = e->session;
	int count;
	for (Scope *x = scope; x; x = x->parent)
		for (int i = 0; i < x->bindings.length; i++) vec_push(e->arena, &names, x->bindings.data[i]->name);
	for (int i = 0; i < scope->file->imports.length + s->library.length + 1; i++) {
		File *f = i == 0 ? scope->file : i <= scope->file->imports.length ? scope->file->imports.data[i - 1]
			: s->library.data[i - 1 - scope->file->imports.length];
		for (int j = 0; j < f->tree->decls.length; j++) {
			const Decl *d = f->tree->decls.data[j];
			if (d->name.text && is_named_value(d)) vec_push(e->arena, &names, d->name.text);
		}
	}
	for (int i = 0; i < builtin_count; i++) vec_push(e->arena, &names, builtins[i].name);
	const char *const *special = special_names(&count);
	for (int i = 0; i < count; i++) vec_push(e->arena, &names, special[i]);
	const char *other = other_way(name.text), *near = other ? NULL : nearest_name(name.text, names.data, names.length);
	elab_error(e, name.span, "unknown name `%s`", name.text);
	if (help_emitted(e, name.text) || help_ended(e, scope, name)) return true;
	if (other) elab_help(e, "%s", other);
	else if (near) elab_help(e, "did you mean `%s`?", near);
	return other || near;
}

/* A tensor of another Fn must not leak into the initialisers' or a metric's final Fn. */
static bool foreign(Elab *e, Value v) {
	if (v.kind == VALUE_LIST || v.kind == VALUE_TUPLE) {
		for (int i = 0; i < v.as.list.count; i++)
			if (foreign(e, v.as.list.items[i])) return true;
		return false;
	}
	if (v.kind != VALUE_TENSOR) return false;
	const Val *x = v.as.tensor.val;
	const Fn *f = fn_of(e);
	return x->id < 0 || x->id >= f->vals.length || f->vals.data[x->id] != x;
}

Value read_binding(Elab *e, Binding *b, Span span) {
	b->used = true;
	if (b->persistent >= 0) return persistent_read(e, b->persistent, b->span);
	if ((e->build->initialising || e->build->finishing) && foreign(e, b->value)) {
		if (e->build->finishing)
			return elab_error(e, span, "`%s` stands outside `total(..)` in a metric made of totals", b->name);
		return elab_error(e, span, "`%s` is no constant: an initialiser is computed before any data is seen", b->name);
	}
	return b->value;
}

Value lookup_name(Elab *e, Scope *scope, Name name) {
	File *owner;
	bool found;
	Binding *b = scope_find(scope, name.text);
	if (b) return read_binding(e, b, name.span);
	const Decl *d = find_declaration(e, scope->file, name.text, &owner);
	if (d) return decl_value(e, d, owner, name.span);
	Value v = special_name(e, name.text, name.span, &found);
	if (found) return v;
	const Builtin *builtin = find_builtin(name.text);
	if (builtin) return (Value){.kind = VALUE_BUILTIN, .span = name.span, .as.builtin = builtin};
	unknown_name(e, scope, name);
	return value_poison();
}
