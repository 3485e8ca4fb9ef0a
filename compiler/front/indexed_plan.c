/* indexed_plan.c: what index names are bound to, over which ranges, and in which order their axes stand.
 *
 * In: the left side and the body of an indexed definition.  Out: one Binder per name, found again by the place that
 * binds it.  Guaranteed: ids follow the order in which subscripts name the variables wherever those agree, so that
 * `let m[j] = sum[i](x[i, j])` reads x as it lies; ties go to the left side first, then to reductions outside in. */
#include <string.h>

#include "indexed.h"

enum { MAX_ORDERED = 64, MAX_WRITTEN = 40 };

/* Names in force at a place of the body: one frame per list of binders. */
typedef struct Frame { const struct Frame *outer; const IndexList *indices; } Frame;

typedef struct Walk {
	Elab *e;
	IndexPlan *plan;
	Scope *scope;                 /* inference: where names of tensors are looked up; NULL while collecting */
	bool before[MAX_ORDERED][MAX_ORDERED];
} Walk;

static const char *dots_name(Elab *e) { return arena_intern(e->arena, "..", 2); }

/* ---- finding binders ---- */

static Binder *plan_find(const IndexPlan *plan, const Index *index, int *at) {
	for (int i = 0; i < plan->binders.length; i++)
		if (plan->binders.data[i]->index == index) {
			if (at) *at = i;
			return plan->binders.data[i];
		}
	return NULL;
}

Binder *binder_of(Elab *e, const Index *index) {
	for (IndexPlan *plan = e->index_plan; plan && plan->activation == e->activation; plan = plan->outer) {
		Binder *b = plan_find(plan, index, NULL);
		if (b && !b->running) return b;
	}
	return NULL;
}

static const Index *frame_find(const Frame *frame, const char *name, bool dots) {
	for (; frame; frame = frame->outer)
		for (int i = 0; i < frame->indices->length; i++) {
			const Index *index = &frame->indices->data[i];
			if (dots ? index->dots : !index->dots && index->name.text == name) return index;
		}
	return NULL;
}

/* ---- collecting binders and the order of their axes ---- */

static void add_binders(Elab *e, IndexPlan *plan, const IndexList *indices) {
	for (int i = 0; i < indices->length; i++) {
		const Index *index = &indices->data[i];
		Binder *b = NEW(e->arena, Binder);
		b->index = index;
		b->dots = index->dots;
		b->stated = index->limit != NULL;
		b->var = (IndexVar){.name = index->dots ? dots_name(e) : index->name.text, .span = index->span, .binder = b};
		vec_push(e->arena, &plan->binders, b);
	}
}

static bool reaches(const Walk *w, int from, int to, bool *seen) {
	if (from == to) return true;
	seen[from] = true;
	for (int i = 0; i < w->plan->binders.length; i++)
		if (w->before[from][i] && !seen[i] && reaches(w, i, to, seen)) return true;
	return false;
}

/* Subscripts that come first in the text have the say; what would contradict them is ignored. */
static void add_order(Walk *w, int first, int second) {
	if (first >= MAX_ORDERED || second >= MAX_ORDERED || w->before[first][second]) return;
	bool seen[MAX_ORDERED] = {false};
	if (w->plan->binders.length <= MAX_ORDERED && !reaches(w, second, first, seen)) w->before[first][second] = true;
}

/* The index variables that an arithmetic subscript names, as places in the plan, ascending: so the outputs of a window come
 * before its taps, however it is written.  Returns how many. */
static int variables_in(Walk *w, const Expr *x, const Frame *frame, int depth, int *found, int n) {
	if (!x || depth > MAX_WALK) return n;
	if (x->kind == EXPR_NAME) {
		const Index *index = frame_find(frame, x->name.text, false);
		int at = -1;
		if (index) plan_find(w->plan, index, &at);
		for (int i = 0; i < n; i++)
			if (found[i] == at) at = -1;
		if (at < 0 || n == MAX_TERMS) return n;
		for (int i = n++; i >= 0; i--) {
			bool here = i == 0 || found[i - 1] < at;
			found[i] = here ? at : found[i - 1];
			if (here) break;
		}
		return n;
	}
	if (x->kind != EXPR_BINARY && x->kind != EXPR_UNARY) return n;
	n = variables_in(w, x->left, frame, depth + 1, found, n);
	return variables_in(w, x->right, frame, depth + 1, found, n);
}

static void order_subscript(Walk *w, const Expr *x, const Frame *frame) {
	int last = -1;
	for (int i = 0; i < x->subscripts.length; i++) {
		const Subscript *s = &x->subscripts.data[i];
		const Index *dots = s->dots ? frame_find(frame, NULL, true) : NULL;
		int at[MAX_TERMS] = {-1}, n = 0;
		if (dots) n += plan_find(w->plan, dots, at) != NULL;
		else if (!s->dots) n = variables_in(w, s->value, frame, 0, at, 0);
		for (int k = 0; k < n; k++) {
			if (last >= 0 && last != at[k]) add_order(w, last, at[k]);
			last = at[k];
		}
	}
}

/* ---- ranges from bare uses ---- */

/* Only tensors that are named are looked at: evaluating a call here would make its parameters twice. */
static bool is_named(const Expr *x) {
	while (x && x->kind == EXPR_FIELD) x = x->left;
	return x && x->kind == EXPR_NAME;
}

static void set_dots(Elab *e, Binder *b, int count) {
	for (int i = 0; i < count; i++) {
		Binder *m = b->member[i] = NEW(e->arena, Binder);
		m->index = b->index;
		m->var = (IndexVar){.name = b->var.name, .id = b->var.id + i, .span = b->var.span, .binder = m};
	}
	b->members = count;
	b->known = true;
}

/* tensor: what is subscripted, with its value; or the stated limit. */
static void set_range(Elab *e, Binder *b, Dim size, const Expr *tensor, Value value, Span span) {
	b->var.extent = size;
	b->known = true;
	b->bound_value = value;
	b->bound_at = span;
	b->bound_by = written(e, tensor);
}

static void infer_subscript(Walk *w, const Expr *x, const Frame *frame) {
	if (!is_named(x->left) || frame_find(frame, x->left->name.text, false)) return;
	Elab *e = w->e;
	Value base = eval_expr(e, w->scope, x->left);
	if (base.kind != VALUE_TENSOR && value_ok(base)) return;
	int count = x->subscripts.length, rank = value_ok(base) ? base.as.tensor.rank : count, axis = 0;
	for (int i = 0; i < count; i++) {
		const Subscript *s = &x->subscripts.data[i];
		const Index *index = s->dots ? frame_find(frame, NULL, true)
			: s->value && !s->to && s->value->kind == EXPR_NAME ? frame_find(frame, s->value->name.text, false) : NULL;
		Binder *b = index ? plan_find(w->plan, index, NULL) : NULL;
		if (b && !value_ok(base)) b->failed = true;
		if (!value_ok(base)) continue;
		int width = s->dots ? rank - count + 1 : 1;
		if (width < 0 || axis + width > rank) return;
		if (b && b->dots && !b->known) {
			set_dots(e, b, width);
			b->bound_at = s->span;
			b->bound_by = written(e, x->left);
		}
		for (int k = 0; b && b->dots && b->members == width && k < width; k++)
			if (!b->member[k]->known) set_range(e, b->member[k], base.as.tensor.dims[axis + k], x->left, base, s->span);
		if (b && !b->dots && !b->known && !b->stated) set_range(e, b, base.as.tensor.dims[axis], x->left, base, s->span);
		axis += width;
	}
}

/* ---- the walk: collects while w->scope is NULL, infers otherwise ---- */

static void walk(Walk *w, const Expr *x, const Frame *frame, int depth) {
	Frame inner = {frame, x ? &x->indices : NULL};
	if (!x || depth > MAX_WALK) return;
	if (x->kind == EXPR_IF && w->scope) return;   /* the branch that is not taken may have other shapes */
	if (x->kind == EXPR_REDUCE) {
		if (!w->scope) add_binders(w->e, w->plan, &x->indices);
		frame = &inner;
	}
	if (x->kind == EXPR_SUBSCRIPT) {
		if (w->scope) infer_subscript(w, x, frame);
		else order_subscript(w, x, frame);
		for (int i = 0; i < x->subscripts.length; i++) {
			walk(w, x->subscripts.data[i].value, frame, depth + 1);
			walk(w, x->subscripts.data[i].to, frame, depth + 1);
		}
	}
	walk(w, x->left, frame, depth + 1);
	walk(w, x->right, frame, depth + 1);
	walk(w, x->condition, frame, depth + 1);
	walk(w, x->default_value, frame, depth + 1);
	for (int i = 0; i < x->items.length; i++) walk(w, x->items.data[i], frame, depth + 1);
	for (int i = 0; i < x->arguments.length; i++) walk(w, x->arguments.data[i].value, frame, depth + 1);
}

/* Gives out ids: repeatedly the first binder that no other one has to precede. */
static void give_ids(Walk *w) {
	int n = w->plan->binders.length;
	bool *done = NEW_ARRAY(w->e->arena, bool, n + 1);
	for (int given = 0, first = 0; given < n; given++) {
		while (done[first]) first++;
		int next = first;
		for (int i = first; n <= MAX_ORDERED && i < n; i++) {
			bool free = !done[i];
			for (int k = 0; k < n; k++) free &= done[k] || !w->before[k][i];
			if (free) { next = i; break; }
		}
		Binder *b = w->plan->binders.data[next];
		b->var.id = next_index(w->e);
		for (int i = 1; b->dots && i < MAX_RANK; i++) next_index(w->e);
		done[next] = true;
	}
}

IndexPlan *plan_enter(Elab *e, const IndexList *left, const Expr *body) {
	IndexPlan *plan = NEW(e->arena, IndexPlan);
	plan->outer = e->index_plan;
	plan->activation = e->activation;
	Walk w = {.e = e, .plan = plan};
	if (left) add_binders(e, plan, left);
	Frame frame = {NULL, left};
	walk(&w, body, left ? &frame : NULL, 0);
	give_ids(&w);
	e->index_plan = plan;
	return plan;
}

void plan_leave(Elab *e, IndexPlan *plan) { e->index_plan = plan->outer; }

/* ---- names ---- */

IndexVar *index_named(Scope *scope, const char *name) {
	Binding *b = scope_find(scope, name);
	return b && b->value.kind == VALUE_INDEX ? b->value.as.index : NULL;
}

Binder *dots_bound(Elab *e, Scope *scope) {
	IndexVar *var = index_named(scope, dots_name(e));
	return var ? var->binder : NULL;
}

static bool state_range(Elab *e, Scope *scope, Binder *b, const Index *index) {
	Dim size;
	int64_t n;
	if (!eval_int(e, scope, index->limit, "the range of an index", &size)) return false;
	if (dim_known(size, &n) ? n < 1 : dim_value(e, size) < 1) {
		elab_error(e, index->limit->span, "the range of index `%s` is empty: %s", b->var.name, dim_text(e->arena, size));
		return false;
	}
	set_range(e, b, size, index->limit, value_poison(), index->span);
	return true;
}

static bool bind_index(Elab *e, Scope *outer, Scope *scope, const Index *index) {
	Name name = index->name;
	Binder *b = binder_of(e, index);
	if (index->dots) name = (Name){dots_name(e), index->span};
	if (!b || !name.text) return false;
	IndexVar *other = index_named(scope, name.text);
	if (other) {
		elab_error(e, index->span, index->dots ? "`%s` is bound already" : "index `%s` is bound already", name.text);
		elab_note(e, other->span, "here");
		if (!index->dots) elab_help(e, "give one of them another name");
		return false;
	}
	Value v = {.kind = VALUE_INDEX, .span = index->span, .as.index = &b->var};
	scope_bind(e, scope, name, v)->used = true;
	b->running = true;
	return !index->limit || state_range(e, outer, b, index);
}

Scope *bind_indices(Elab *e, Scope *scope, const IndexList *indices, bool infer, const Expr *body) {
	Scope *inner = scope_new(e, scope);
	bool fine = true;
	for (int i = 0; i < indices->length; i++) fine &= bind_index(e, scope, inner, &indices->data[i]);
	if (fine && infer) {
		Walk w = {.e = e, .plan = e->index_plan, .scope = inner};
		Frame frame = {NULL, indices};
		walk(&w, body, &frame, 0);
	}
	return fine ? inner : NULL;
}

void release_indices(Elab *e, const IndexList *indices) {
	for (IndexPlan *plan = e->index_plan; plan && plan->activation == e->activation; plan = plan->outer)
		for (int i = 0; i < indices->length; i++) {
			Binder *b = plan_find(plan, &indices->data[i], NULL);
			if (b) b->running = false;
		}
}

IndexVar *scan_index(Elab *e, Name name, Dim extent, Val *step) {
	Index *index = NEW(e->arena, Index);
	Binder *b = NEW(e->arena, Binder);
	*index = (Index){.name = name, .span = name.span};
	*b = (Binder){.index = index, .known = true, .stated = true, .bound_at = name.span, .bound_by = name.text};
	b->var = (IndexVar){name.text, next_index(e), extent, name.span, b, step};
	b->bound_value = value_poison();
	return &b->var;
}

/* ---- ranges ---- */

bool has_range(const IndexVar *var) { return !var->binder || var->binder->known; }

bool need_range(Elab *e, const IndexVar *var, Span span) {
	if (has_range(var)) return true;
	if (var->binder->stated || var->binder->failed) return false;   /* the stated range failed and was reported */
	if (var->binder->dots) {
		elab_error(e, span, "nothing says which dims `..` stands for");
		elab_help(e, "use `..` in a subscript: `x[.., %s]`", "j");
		return false;
	}
	elab_error(e, span, "index `%s` has no range", var->name);
	elab_help(e, "use it alone in a subscript of a named tensor, or state the range: `%s < n`", var->name);
	return false;
}

bool list_variables(Elab *e, const IndexList *indices, IndexVar **vars, int *count) {
	*count = 0;
	for (int i = 0; i < indices->length; i++) {
		const Index *index = &indices->data[i];
		Name name = {index->dots ? dots_name(e) : index->name.text, index->span};
		Binder *b = NULL;
		for (IndexPlan *plan = e->index_plan; plan && !b; plan = plan->outer) b = plan_find(plan, index, NULL);
		if (!b || !need_range(e, &b->var, name.span)) return false;
		int n = b->dots ? b->members : 1;
		if (*count + n > MAX_RANK) {
			elab_error(e, index->span, "more than %d indices in one value", MAX_RANK);
			return false;
		}
		for (int k = 0; k < n; k++) vars[(*count)++] = b->dots ? &b->member[k]->var : &b->var;
	}
	return true;
}

void note_tensor(Elab *e, const Expr *expr, Value v) {
	note_value(e, arena_printf(e->arena, "`%s`", written(e, expr)), v);
}

static void runs_past(Elab *e, const Binder *b, Dim size, const Expr *use, Value tensor, Span span) {
	elab_error(e, span, "index `%s` < %s runs past `%s` whose dimension is %s", b->var.name, dim_text(e->arena, b->var.extent),
		written(e, use->left), dim_text(e->arena, size));
	elab_note(e, b->bound_at, "the range of `%s` is stated here", b->var.name);
	note_tensor(e, use->left, tensor);
	help_default(e, use, "what lies outside");
}

/* The use that gave the range, with the tensor's shape; then the tensor that does not agree. */
static void ranges_differ(Elab *e, const IndexVar *var, Dim size, const Expr *use, Value tensor, Span span) {
	const Binder *b = var->binder;
	const char *kind = b && b->index->dots ? "" : "index ", *first = b ? b->bound_by : "its definition";
	elab_error(e, span, "%s`%s` runs over %s in `%s` but over %s in `%s`", kind, var->name, dim_text(e->arena, var->extent),
		first, dim_text(e->arena, size), written(e, use->left));
	if (b && value_ok(b->bound_value)) elab_note(e, b->bound_at, "here `%s` is %s", first, value_text(e, b->bound_value));
	else elab_note(e, b ? b->bound_at : var->span, "`%s` runs over %s here", var->name, dim_text(e->arena, var->extent));
	note_tensor(e, use->left, tensor);
}

bool bind_range(Elab *e, IndexVar *var, Dim size, const Expr *use, Value tensor, Span span) {
	Binder *b = var->binder;
	Dim room;
	if (b && !b->known) {
		if (b->stated) return false;
		set_range(e, b, size, use->left, tensor, span);
		return true;
	}
	if (dim_equal(var->extent, size)) return true;
	if (!b || !b->stated) return ranges_differ(e, var, size, use, tensor, span), false;
	if (dim_sub(size, var->extent, &room) && dim_never_negative(room)) return true;
	return runs_past(e, b, size, use, tensor, span), false;
}

bool bind_dots(Elab *e, Binder *dots, int count, const Expr *use, Value tensor, Span span) {
	if (!dots->known) {
		set_dots(e, dots, count);
		dots->bound_at = span;
		dots->bound_by = written(e, use->left);
	}
	if (dots->members == count) return true;
	elab_error(e, span, "`..` stands for %s in `%s` but for %d in `%s`", arena_count(e->arena, dots->members, "dim"),
		dots->bound_by, count, written(e, use->left));
	elab_note(e, dots->bound_at, "`..` stands for %s here", arena_count(e->arena, dots->members, "dim"));
	note_tensor(e, use->left, tensor);
	return false;
}

void help_default(Elab *e, const Expr *use, const char *what) {
	const char *text = written(e, use);
	size_t length = strlen(text);
	bool fits = length && text[length - 1] == ']' && !use->default_value;
	elab_help(e, "write a default for %s: `%.*s | 0]`", what, fits ? (int)length - 1 : 4, fits ? text : "x[..");
}

const char *written(Elab *e, const Expr *expr) {
	Span s = expr->span;
	if (!s.source || s.source > (uint32_t)e->diag->sources.length) return "this tensor";
	const Source *source = &e->diag->sources.data[s.source - 1];
	if (s.begin >= s.end || s.end > source->length) return "this tensor";
	size_t length = s.end - s.begin;
	const char *text = source->text + s.begin;
	if (length > MAX_WRITTEN || memchr(text, '\n', length)) return "this tensor";
	return arena_text(e->arena, text, length);
}
