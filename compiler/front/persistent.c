/* persistent.c: tensors that live between steps: parameters, states, optimiser slots.
 *
 * In: `param` and `state` statements, reads and `<-`.  Out: program->persistent, their initial values in the init Fn, and
 * for the Fn being built the newest version of each.  Guaranteed: one tensor per instance path, of one type. */
#include <string.h>

#include "session.h"

static bool same_tensor(const Persistent *x, const char *path, InputKind kind, int train) {
	return (x->kind == INPUT_SLOT) == (kind == INPUT_SLOT) && (kind != INPUT_SLOT || x->train == train) && !strcmp(x->path, path);
}

/* Where it is in the hash table, or the free place where it belongs. */
static int *find_place(Elab *e, const char *path, InputKind kind, int train) {
	Session *s = e->session;
	uint64_t at = hash_bytes(path, strlen(path), 0);
	for (;; at++) {
		int *place = &s->by_path[at & (uint64_t)(s->by_path_size - 1)];
		if (!*place || same_tensor(&e->program->persistent.data[*place - 1], path, kind, train)) return place;
	}
}

int persistent_find(Elab *e, const char *path, InputKind kind, int train) {
	return e->session->by_path_size ? *find_place(e, path, kind, train) - 1 : -1;
}

static void reserve_version(Elab *e, int index) {
	Build *b = e->build;
	while (b->current.length <= index) vec_push(e->arena, &b->current, NULL);
	while (b->entry.length <= index) vec_push(e->arena, &b->entry, NULL);
	while (b->written.length <= index) vec_push(e->arena, &b->written, false);
}

Value persistent_read(Elab *e, int index, Span span) {
	const Persistent *p = &e->program->persistent.data[index];
	PersistentInfo *info = &e->session->infos.data[index];
	info->read = true;
	if (e->build->finishing) return elab_error(e, span, "a parameter stands outside `total(..)` in a metric made of totals");
	if (e->build->initialising) return info->initial ? value_tensor(e, info->initial, info->dims, span) : value_poison();
	reserve_version(e, index);
	Val **v = &e->build->current.data[index];
	if (!*v) *v = e->build->entry.data[index] = fn_input(fn_of(e), p->path, p->kind, p->type);
	if (p->kind != INPUT_PARAM && e->build->training && e->build->scan) scan_enter_state(e, index);
	return value_tensor(e, e->build->current.data[index], info->dims, span);
}

void persistent_write(Elab *e, int index, Val *val) {
	persistent_read(e, index, (Span){0});
	e->session->infos.data[index].updated = true;
	e->build->current.data[index] = val;
	e->build->written.data[index] = true;
}

int persistent_input(const Build *b, int index) {
	const Val *v = index < b->entry.length ? b->entry.data[index] : NULL;
	return v ? (int)v->list[0].data[0] : -1;
}

static int add_persistent(Elab *e, Persistent p, PersistentInfo info) {
	vec_push(e->arena, &e->program->persistent, p);
	vec_push(e->arena, &e->session->infos, info);
	Session *s = e->session;
	int n = e->program->persistent.length;
	bool grow = 2 * n > s->by_path_size;
	if (grow) {
		s->by_path_size = s->by_path_size ? 2 * s->by_path_size : 64;
		s->by_path = NEW_ARRAY(e->arena, int, s->by_path_size);
	}
	for (int i = grow ? 0 : n - 1; i < n; i++) {
		const Persistent *x = &e->program->persistent.data[i];
		*find_place(e, x->path, x->kind, x->train) = i + 1;
	}
	return e->program->persistent.length - 1;
}

/* The initial value, computed in the init Fn from constants, random numbers and other initial values. */
static Val *initial_value(Elab *e, Scope *scope, const Stmt *stmt, const char *path, Type type, const Dim *dims) {
	Session *s = e->session;
	Build *outer = e->build;
	const char *outer_path = s->init_path;
	int outer_site = s->init_site;
	Scope *inner = scope_new(e, scope);
	Value *sizes = NEW_ARRAY(e->arena, Value, type.rank + 1);
	for (int i = 0; i < type.rank; i++) sizes[i] = value_dim(dims[i], stmt->name.span);
	Name shape = {arena_intern(e->arena, "shape", 5), stmt->name.span};
	scope_bind(e, inner, shape, value_list(VALUE_LIST, type.rank, sizes, stmt->name.span));
	e->build = s->init;
	s->init_path = path;
	s->init_site = 0;
	Span at = stmt->value ? stmt->value->span : stmt->span;
	Value v = stmt->value ? eval_expr(e, inner, stmt->value) : value_poison();
	bool list = v.kind == VALUE_LIST;
	if (value_ok(v)) v = to_tensor(e, v, type.dtype, at);
	if (list) elab_help(e, "`stack(1.0, 2.0)` makes a tensor of numbers, and `stack` of such ones a matrix");
	Val *val = NULL;
	if (value_ok(v)) {
		bool fits = v.as.tensor.rank <= type.rank;
		int offset = type.rank - v.as.tensor.rank;
		for (int i = 0; fits && i < v.as.tensor.rank; i++) fits = dim_equal(v.as.tensor.dims[i], dims[offset + i]);
		if (fits) val = broadcast_to(e, &v, 0, NULL, type.rank, dims);
		else
			elab_error(e, at, "`%s` is declared %s, its initial value is %s", stmt->name.text,
			           shape_text(e->arena, type.rank, dims), value_text(e, v));
	}
	e->build = outer;
	s->init_path = outer_path;
	s->init_site = outer_site;
	return val;
}

static bool already_declared(Elab *e, Counters *c, const Stmt *stmt) {
	for (int i = 0; i < c->declared.length; i++)
		if (c->declared.data[i] == stmt->name.text) {
			elab_error(e, stmt->name.span, "`%s` is declared twice in one body", stmt->name.text);
			elab_help(e, "a body that repeats needs a layer of its own: every call of a layer owns fresh parameters");
			return true;
		}
	vec_push(e->arena, &c->declared, stmt->name.text);
	return false;
}

static void bind_persistent(Elab *e, Scope *scope, Name name, int index) {
	Binding *b = scope_bind(e, scope, name, value_poison());
	b->persistent = index;
}

/* Paths name tensors: a slot is "path@train" where an earlier train block has that slot of the same parameter. */
static const char *slot_path(Elab *e, const char *path, int train) {
	for (int other = 0; other < e->program->trains.length; other++) {
		if (other == train || persistent_find(e, path, INPUT_SLOT, other) < 0) continue;
		const char *name = e->program->trains.data[train].name;
		return name ? arena_printf(e->arena, "%s@%s", path, name) : arena_printf(e->arena, "%s@%d", path, train);
	}
	return path;
}

/* The path and place of a declaration; NULL after an error. */
static const char *declared_path(Elab *e, const Stmt *stmt, InputKind *kind, int *train) {
	Activation *a = e->activation;
	*train = -1;
	if (a && a->counters && a->counters->slot_of) {
		if (*kind == INPUT_PARAM) return elab_error(e, stmt->name.span, "an optimizer has states, not parameters"), NULL;
		*kind = INPUT_SLOT;
		*train = a->counters->slot_train;
		const char *of = e->program->persistent.data[a->counters->slot_of - 1].path;
		const char *update = a->counters->slot_update;
		const char *name = update ? arena_printf(e->arena, "%s.%s", update, stmt->name.text) : stmt->name.text;
		return slot_path(e, arena_printf(e->arena, "%s#%s", of, name), *train);
	}
	if (a && a->path) return arena_printf(e->arena, "%s/%s", a->path, stmt->name.text);
	elab_error(e, stmt->name.span, "`%s` needs a model to live in", stmt->name.text);
	elab_help(e, "parameters exist only inside a model: declare one, and call it here");
	return NULL;
}

void declare_persistent(Elab *e, Scope *scope, const Stmt *stmt, InputKind kind) {
	int train, rank;
	DType dtype;
	int64_t classes;
	Dim dims[MAX_RANK];
	scope_bind(e, scope, stmt->name, value_poison());
	const char *path = declared_path(e, stmt, &kind, &train);
	if (!path || already_declared(e, e->activation->counters, stmt)) return;
	if (!stmt->type || !eval_type(e, scope, stmt->type, &dtype, &classes, &rank, dims)) return;
	if (kind == INPUT_SLOT && !stmt->type->dtype.text)   /* moments of an f64 parameter are f64 */
		dtype = e->program->persistent.data[e->activation->counters->slot_of - 1].type.dtype;
	Type type = {.dtype = dtype, .rank = rank};
	for (int i = 0; i < rank; i++)
		if (!dim_known(dims[i], &type.dim[i])) {
			elab_error(e, stmt->type->span, "`%s` cannot have the size %s: what lives between steps does not depend on the batch",
			           stmt->name.text, dim_text(e->arena, dims[i]));
			return;
		}
	if (kind == INPUT_PARAM && !dtype_is_float(dtype)) {
		elab_error(e, stmt->type->span, "`%s` is trained, so it must be a float, not %s", stmt->name.text,
		           dtype_info[dtype].text);
		elab_help(e, "declare it as a `state` if it is not trained");
		return;
	}
	int index = persistent_find(e, path, kind, train);
	if (index < 0) {
		PersistentInfo info = {.dims =
		                           arena_copy(e->arena, dims, sizeof *dims * (size_t)(rank + 1 > MAX_RANK ? MAX_RANK : rank + 1)),
		                       .source_name = stmt->name.text};
		info.initial = initial_value(e, scope, stmt, path, type, dims);
		if (!info.initial) return;
		info.library = is_library(e, stmt->name.span);
		index = add_persistent(e, (Persistent){path, kind, type, train, blame(e, stmt->name.span)}, info);
	} else if (!type_equal(e->program->persistent.data[index].type, type)) {
		elab_error(e, stmt->name.span, "`%s` is %s in one call and %s in another, but the instance is shared", path,
			type_text(e->arena, e->program->persistent.data[index].type), type_text(e->arena, type));
		return;
	}
	bind_persistent(e, scope, stmt->name, index);
}

int declare_slot(Elab *e, const char *path, int train, Type type, Span span) {
	path = slot_path(e, path, train);
	int index = persistent_find(e, path, INPUT_SLOT, train);
	if (index >= 0) return index;
	PersistentInfo info = {.dims = NEW_ARRAY(e->arena, Dim, type.rank + 1), .source_name = path};
	for (int i = 0; i < type.rank; i++) info.dims[i] = dim_number(type.dim[i]);
	Fn *init = e->session->init->fn;
	Val *zero = ir_const(init, type.dtype, 0);
	info.initial = type.rank ? ir_broadcast(init, zero, type.rank, type.dim, NULL) : zero;
	return add_persistent(e, (Persistent){path, INPUT_SLOT, type, train, span}, info);
}

/* `f.w`, `mlp.w`: a parameter or state of an instance, by path. */
Value run_field(Elab *e, Scope *scope, const Expr *expr) {
	Value v = eval_expr(e, scope, expr->left);
	if (!value_ok(v)) return v;
	const char *path = NULL, *who = NULL;
	if (v.kind == VALUE_INSTANCE) path = v.as.instance->path, who = v.as.instance->name;
	if (v.kind == VALUE_FUNCTION && v.as.function.decl->kind == DECL_MODEL) path = who = v.as.function.decl->name.text;
	if (!path) {
		elab_error(e, expr->at, "%s has no parts; `.` reads a parameter of a layer instance or model", value_text(e, v));
		File *owner;
		const Decl *d = find_declaration(e, scope->file, expr->name.text, &owner);
		bool callable =
		    find_builtin(expr->name.text) || (d && (d->kind == DECL_FN || d->kind == DECL_LAYER || d->kind == DECL_MODEL));
		if (callable) elab_help(e, "a value is passed on with `|>`, as in `x |> %s(...)`", expr->name.text);
		return value_poison();
	}
	const char *full = arena_printf(e->arena, "%s/%s", path, expr->name.text);
	Program *p = e->program;
	for (int i = 0; i < p->persistent.length; i++)
		if (p->persistent.data[i].kind != INPUT_SLOT && !strcmp(p->persistent.data[i].path, full))
			return persistent_read(e, i, expr->span);
	VEC(const char *) names = {0};
	size_t length = strlen(path);
	for (int i = 0; i < p->persistent.length; i++) {
		const char *have = p->persistent.data[i].path;
		if (!strncmp(have, path, length) && have[length] == '/' && !strchr(have + length + 1, '/'))
			vec_push(e->arena, &names, have + length + 1);
	}
	if (!names.length) {
		elab_error(e, expr->at, "`%s` has no parameter yet: it was not called before this line", who);
		return value_poison();
	}
	const char *near = nearest_name(expr->name.text, names.data, names.length);
	elab_error(e, expr->name.span.source ? expr->name.span : expr->at, "`%s` has no parameter `%s`", who, expr->name.text);
	if (near) elab_help(e, "did you mean `%s`?", near);
	return value_poison();
}
