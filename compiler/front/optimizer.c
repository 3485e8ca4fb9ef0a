/* optimizer.c: the update of parameters.
 *
 * In: a loss, rules that say which optimizer gets which parameter.  Out: gradients, clipped and accumulated as asked, and the
 * optimizer's body run once per parameter, its states being slots "<instance path>#<name>". */
#include <string.h>

#include "session.h"

/* ---- settings ---- */

static bool check_settings(Elab *e, const Decl *decl, Bound *b, Span call) {
	for (int i = 2; i < decl->params.length; i++) {
		const Param *p = &decl->params.data[i];
		if (b->args[i].kind != VALUE_NOTHING || b->args[i].span.source || p->value) continue;
		elab_error(e, call, "`%s` needs `%s`", decl->name.text, p->name.text);
		elab_note(e, p->name.span, "it is declared here, without a default");
		return false;
	}
	return true;
}

/* A rate of 0 moves nothing. */
static void warn_rate(Elab *e, const Decl *decl, const Bound *b) {
	for (int i = 2; i < decl->params.length; i++) {
		const Value *v = &b->args[i];
		int64_t n;
		bool zero = (v->kind == VALUE_REAL && v->as.real == 0) ||
		            (v->kind == VALUE_INT && dim_known(v->as.integer, &n) && n == 0);
		if (!zero || strcmp(decl->params.data[i].name.text, "lr")) continue;
		diag_warning(e->diag, b->spans[i], "a rate of 0: no parameter moves");
		elab_help(e, "to freeze parameters write `none` in place of the optimizer");
	}
}

static Value bound_value(Bound *b, Span span) { return (Value){.kind = VALUE_OPTIMIZER, .span = span, .as.optimizer = b}; }

Value bind_optimizer(Elab *e, Scope *scope, const Decl *decl, File *file, const Expr *call) {
	int n = decl->params.length;
	if (n < 2) return value_poison();   /* told where it is declared */
	Bound *b = NEW(e->arena, Bound);
	*b = (Bound){decl, file, NEW_ARRAY(e->arena, Value, n), NEW_ARRAY(e->arena, Span, n), call->span};
	if (!bind_arguments(e, scope, decl, call, 2, b->args, b->spans)) return value_poison();
	if (!check_settings(e, decl, b, call->span)) return value_poison();
	warn_rate(e, decl, b);
	return bound_value(b, call->span);
}

static void add_rule(Elab *e, Scope *scope, Update *u, const char *pattern, Span span, const Expr *value) {
	Value v = eval_expr(e, scope, value);
	if (v.kind == VALUE_FUNCTION && v.as.function.decl->kind == DECL_OPTIMIZER) {
		const Decl *d = v.as.function.decl;
		Bound *b = NEW(e->arena, Bound);
		*b = (Bound){d, v.as.function.file, NEW_ARRAY(e->arena, Value, d->params.length + 1),
		             NEW_ARRAY(e->arena, Span, d->params.length + 1), value->span};
		for (int i = 0; i < d->params.length; i++) b->args[i] = (Value){.kind = VALUE_NOTHING};
		v = check_settings(e, d, b, value->span) ? bound_value(b, value->span) : value_poison();
	}
	if (!value_ok(v)) {
		u->failed = true;
		return;
	}
	if (v.kind != VALUE_OPTIMIZER && v.kind != VALUE_NOTHING) {
		elab_error(e, value->span, "an optimizer is wanted here, or `none`, not %s", value_text(e, v));
		File *owner;
		const Decl *named = v.kind == VALUE_STRING
			? find_declaration(e, scope->file, arena_intern(e->arena, v.as.string, strlen(v.as.string)), &owner) : NULL;
		if (named && named->kind == DECL_OPTIMIZER) elab_help(e, "it is called, not quoted: `%s(...)`", named->name.text);
		u->failed = true;
		return;
	}
	vec_push(e->arena, &u->rules, ((UpdateRule){pattern, v.kind == VALUE_OPTIMIZER ? v.as.optimizer : NULL, span, false}));
}

void read_rules(Elab *e, Scope *scope, Update *u, const TrainItem *item) {
	u->has_rules = true;
	if (item->kind == ITEM_SETTING) {
		add_rule(e, scope, u, "*", item->value->span, item->value);
		return;
	}
	for (int i = 0; i < item->rules.length; i++)
		add_rule(e, scope, u, item->rules.data[i].pattern, item->rules.data[i].span, item->rules.data[i].value);
}

void read_update_params(Elab *e, Scope *scope, Update *u, const Expr *value) {
	Value v = eval_expr(e, scope, value);
	Value *items = v.kind == VALUE_LIST || v.kind == VALUE_TUPLE ? v.as.list.items : &v;
	int n = items == &v ? 1 : v.as.list.count;
	u->has_params = true;
	if (!n) elab_error(e, value->span, "`params` names no parameters");
	u->failed |= !value_ok(v) || !n;
	for (int i = 0; i < n && value_ok(v); i++) {
		UpdateRule rule = {.span = value->span};
		if (items[i].kind == VALUE_STRING) rule.pattern = items[i].as.string;
		else if (items[i].kind == VALUE_FUNCTION && items[i].as.function.decl->kind == DECL_MODEL)
			rule = (UpdateRule){.pattern = arena_printf(e->arena, "%s/*", items[i].as.function.decl->name.text)};
		else {
			elab_error(e, value->span, "`params` is a model, a pattern, or a list of them, not %s", value_text(e, items[i]));
			u->failed = true;
			return;
		}
		vec_push(e->arena, &u->params, rule);
	}
}

/* '*' stands for any text, '/' included. */
static bool matches(const char *pattern, const char *path) {
	const char *star = NULL, *resume = NULL;
	while (*path) {
		if (*pattern == '*') star = pattern++, resume = path;
		else if (*pattern == *path) pattern++, path++;
		else if (star) pattern = star + 1, path = ++resume;
		else return false;
	}
	while (*pattern == '*') pattern++;
	return !*pattern;
}

/* ---- which parameters ---- */

typedef struct Target { int index; UpdateRule *rule; Val *gradient; } Target;
typedef struct Targets { VEC(Target) all; } Targets;

static bool in_update(Update *u, const char *path) {
	bool in = !u->has_params;
	for (int i = 0; i < u->params.length; i++) {
		bool here = matches(u->params.data[i].pattern, path);
		u->params.data[i].matched |= here;
		in |= here;
	}
	return in;
}

bool loss_trains(const Loss *loss, const char *path) {
	for (int i = 0; i < loss->npatterns; i++)
		if (matches(loss->patterns[i], path)) return true;
	return !loss->npatterns;
}

void list_losses(Elab *e, const TrainState *t) {
	Train *train = &e->program->trains.data[t->index];
	if (t->updates.length < 2) return;
	train->losses = NEW_ARRAY(e->arena, Loss, t->updates.length);
	for (int i = 0; i < t->updates.length; i++) {
		const Update *u = t->updates.data[i];
		const char **patterns = NEW_ARRAY(e->arena, const char *, u->params.length + 1);
		for (int k = 0; k < u->params.length; k++) patterns[k] = u->params.data[k].pattern;
		train->losses[train->nlosses++] = (Loss){u->name, patterns, u->params.length};
	}
}

static void unmatched_rule(Elab *e, const UpdateRule *rule, const char *const *paths, int count) {
	elab_error(e, rule->span, "no parameter matches \"%s\"", rule->pattern);
	Text text = {.arena = e->arena};
	for (int i = 0; i < count && i < 6; i++) text_add(&text, "%s%s", i ? ", " : "", paths[i]);
	if (count) elab_help(e, "parameters are %s%s", text.data, count > 6 ? ", ..." : "");
}

/* A pattern that matches nothing explains parameters without a rule; so they are reported only where all patterns match. */
static bool check_rules(Elab *e, const Update *u, int npaths, const char *const *paths, int left_out, const Persistent *first) {
	bool ok = true;
	for (int k = 0; k < u->rules.length; k++)
		if (!u->rules.data[k].matched) unmatched_rule(e, &u->rules.data[k], paths, npaths), ok = false;
	if (!ok || !left_out) return ok;
	const char *others = left_out > 1 ? arena_printf(e->arena, ", nor %s", arena_count(e->arena, left_out - 1, "other")) : "";
	elab_error(e, u->span, "no rule of `optimizer` matches the parameter `%s`%s", first->path, others);
	elab_note(e, first->span, "declared here");
	elab_help(e, "end the rules with `\"*\": ...`, or freeze it: `\"%s\": none`", first->path);
	return false;
}

/* Parameters of this update that some rule updates, in order; reports rules that match nothing. */
static bool find_targets(Elab *e, const TrainState *t, Update *u, Targets *targets) {
	Program *p = e->program;
	VEC(const char *) paths = {0}, all = {0};
	const Persistent *first = NULL;
	int left_out = 0;
	for (int i = 0; i < p->persistent.length; i++) {
		const Persistent *x = &p->persistent.data[i];
		bool here = x->kind == INPUT_PARAM && i < e->build->current.length && e->build->current.data[i];
		if (here) vec_push(e->arena, &all, x->path);
		if (!here || !in_update(u, x->path)) continue;
		vec_push(e->arena, &paths, x->path);
		UpdateRule *rule = NULL;
		for (int k = 0; k < u->rules.length; k++) {
			if (!matches(u->rules.data[k].pattern, x->path)) continue;
			u->rules.data[k].matched = true;
			if (!rule) rule = &u->rules.data[k];
		}
		if (rule && rule->optimizer) vec_push(e->arena, &targets->all, ((Target){i, rule, NULL}));
		e->session->infos.data[i].trained |= rule && rule->optimizer;
		if (!rule && !left_out++) first = x;
	}
	for (int k = 0; k < u->params.length; k++)
		if (!u->params.data[k].matched && u->params.data[k].span.source)
			return unmatched_rule(e, &u->params.data[k], all.data, all.length), false;
	if (paths.length) {
		if (!check_rules(e, u, paths.length, paths.data, left_out, first)) return false;
		if (!targets->all.length) {
			diag_warning(e->diag, u->span, "nothing is trained: every rule of `optimizer` is `none`");
			elab_help(e, "give one an optimizer; a rule for `\"*\"` after the others has what none before it names");
		}
		return true;
	}
	if (e->diag->errors == t->errors)   /* else what failed may be what has the parameters */
		elab_error(e, u->loss_span,
		           u->has_params ? "nothing to train: `params` names models without parameters in use"
		                         : "nothing to train: no parameter is used in this train block");
	return false;
}

/* ---- gradients ---- */

static Val *norm_scale(Elab *e, Update *u, const Targets *targets) {
	Fn *f = fn_of(e);
	Val *total = NULL;
	for (int i = 0; i < targets->all.length; i++) {
		Val *g = targets->all.data[i].gradient, *square;
		if (!g) continue;
		if (g->type.dtype != DTYPE_F32) g = ir_cast(f, g, DTYPE_F32);
		int64_t axes[MAX_RANK];
		for (int k = 0; k < g->type.rank; k++) axes[k] = k;
		square = ir_Mul(f, g, g);
		if (g->type.rank) square = ir_reduce(f, OpReduceSum, square, g->type.rank, axes);
		total = total ? ir_Add(f, total, square) : square;
	}
	Value c = to_tensor(e, u->clip, DTYPE_F32, u->span);
	if (!total || !value_ok(c)) return NULL;
	return ir_Min(f, ir_const(f, DTYPE_F32, 1), ir_Div(f, c.as.tensor.val, ir_Sqrt(f, total)));
}

static Val *spread(Fn *f, Val *scalar, Type like) {
	Val *x = ir_cast(f, scalar, like.dtype);
	return like.rank ? ir_broadcast(f, x, like.rank, like.dim, NULL) : x;
}

static void clip_gradients(Elab *e, Update *u, Targets *targets) {
	Val *scale = norm_scale(e, u, targets);
	for (int i = 0; scale && i < targets->all.length; i++) {
		Val **g = &targets->all.data[i].gradient;
		if (*g) *g = ir_Mul(fn_of(e), *g, spread(fn_of(e), scale, (*g)->type));
	}
}

/* How many batches an update has added up so far. */
static int accumulation_counter(Elab *e, const TrainState *t, const char *update, Span span) {
	const char *path = update ? arena_printf(e->arena, "%s#accumulated", update) : "#accumulated";
	return declare_slot(e, path, t->index, type_scalar(DTYPE_I32), span);
}

Val *accumulated_before(Elab *e, const TrainState *t) {
	const char *first = NULL;
	for (int i = t->decl->items.length - 1; i >= 0; i--)
		if (t->decl->items.data[i].kind == ITEM_UPDATE) first = t->decl->items.data[i].name.text;
	Span span = e->program->trains.data[t->index].span;
	int counter = accumulation_counter(e, t, first, span);
	persistent_read(e, counter, span);
	return e->build->entry.data[counter];
}

/* Adds 1/k of each gradient to a slot; the step counts when k are together.  Returns that condition. */
static Val *accumulate_gradients(Elab *e, TrainState *t, Update *u, Targets *targets, int64_t k) {
	Fn *f = fn_of(e);
	int counter = accumulation_counter(e, t, u->name, u->span);
	Val *count = ir_Add(f, persistent_read(e, counter, u->span).as.tensor.val, ir_const(f, DTYPE_I32, 1));
	Val *ready = ir_Eq(f, count, ir_const(f, DTYPE_I32, (double)k));
	persistent_write(e, counter, ir_Where(f, ready, ir_const(f, DTYPE_I32, 0), count));
	for (int i = 0; i < targets->all.length; i++) {
		Target *x = &targets->all.data[i];
		if (!x->gradient) continue;
		Type type = x->gradient->type;
		const char *path = arena_printf(e->arena, "%s#%s%saccumulated", e->program->persistent.data[x->index].path,
		                                u->name ? u->name : "", u->name ? "." : "");
		int slot = declare_slot(e, path, t->index, type, e->program->persistent.data[x->index].span);
		Val *sum = ir_Add(f, persistent_read(e, slot, u->span).as.tensor.val,
		                  ir_Div(f, x->gradient, ir_like(f, x->gradient, (double)k)));
		persistent_write(e, slot,
		                 ir_Where(f, spread(f, ready, type_make(DTYPE_BOOL, type.rank, type.dim)), ir_like(f, sum, 0), sum));
		x->gradient = sum;
	}
	return ready;
}

/* ---- the optimizer's body ---- */

static void run_optimizer(Elab *e, TrainState *t, const char *update, Target *x) {
	Bound *b = x->rule->optimizer;
	const Decl *decl = b->decl;
	const PersistentInfo *info = &e->session->infos.data[x->index];
	int n = decl->params.length;
	Value *args = NEW_ARRAY(e->arena, Value, n);
	Span *spans = NEW_ARRAY(e->arena, Span, n);
	memcpy(args, b->args, sizeof *args * (size_t)n);
	memcpy(spans, b->spans, sizeof *spans * (size_t)n);
	Activation *a = activation_enter(e, decl, b->span, NULL, true);
	a->counters->slot_of = x->index + 1;
	a->counters->slot_train = t->index;
	a->counters->slot_update = update;
	Span place = e->program->persistent.data[x->index].span;
	args[0] = persistent_read(e, x->index, place);
	args[1] = value_tensor(e, x->gradient, info->dims, place);
	spans[0] = spans[1] = b->span;
	Scope *scope = scope_new(e, NULL);
	scope->file = b->file;
	scope->activation = a;
	Value result = {.kind = VALUE_NOTHING};
	if (bind_parameters(e, scope, decl, args, spans, b->span)) {
		scope_find(scope, decl->params.data[0].name.text)->persistent = x->index;
		exec_block(e, scope_new(e, scope), &decl->body, &result);
	}
	activation_leave(e);
}

/* What was written while `ready` is false keeps its old value. */
static void gate_writes(Elab *e, const Val *const *before, int nbefore, Val *ready) {
	Fn *f = fn_of(e);
	for (int i = 0; i < e->build->current.length; i++) {
		Val *now = e->build->current.data[i];
		if (!now || !e->build->written.data[i] || (i < nbefore && before[i] == now)) continue;
		const Val *old = i < nbefore && before[i] ? before[i] : e->build->entry.data[i];
		if (!old || now == old) continue;
		e->build->current.data[i] =
		    ir_Where(f, spread(f, ready, type_make(DTYPE_BOOL, now->type.rank, now->type.dim)), now, f->vals.data[old->id]);
	}
}

/* A parameter updated here is, for what comes later, a constant and a variable of its own. */
static void seal_parameters(Elab *e, const Targets *targets) {
	for (int i = 0; i < targets->all.length; i++) {
		Val **now = &e->build->current.data[targets->all.data[i].index];
		if ((*now)->op != OpInput) *now = ir_mark(fn_of(e), ir_Stop(fn_of(e), *now));
	}
}

void apply_update(Elab *e, TrainState *t, Update *u) {
	Targets targets = {0};
	Fn *f = fn_of(e);
	if (!u->has_rules) {
		elab_error(e, u->span, "`%s` needs `optimizer = ...`", u->name ? u->name : "train");
		return;
	}
	if (u->failed || !find_targets(e, t, u, &targets)) return;
	bool *seen = NEW_ARRAY(e->arena, bool, f->vals.length + 1);
	bool *learning = NEW_ARRAY(e->arena, bool, f->vals.length + 1);
	mark_reachable(f, u->scalar, false, seen);
	mark_learning(f, u->scalar, learning);
	for (int i = 0; i < e->build->current.length; i++) {
		const Val *now = e->build->current.data[i];
		PersistentInfo *info = &e->session->infos.data[i];
		if (now && learning[now->id]) info->has_gradient = true;
		else if (now && seen[now->id] && !info->blocked) info->blocked = blocking_value(e->arena, f, seen, now);
	}
	for (int i = 0; i < targets.all.length; i++) {
		Target *x = &targets.all.data[i];
		Val *by = e->build->current.data[x->index];
		PersistentInfo *info = &e->session->infos.data[x->index];
		info->trained = true;
		if (!seen[by->id]) continue;   /* no gradient: it stays as it is, with a warning at the end */
		f->span = e->program->persistent.data[x->index].span;
		x->gradient = ir_grad(f, u->scalar, by);
	}
	int64_t k = e->program->trains.data[t->index].accumulate;
	Val *ready = k > 1 ? accumulate_gradients(e, t, u, &targets, k) : NULL;
	if (u->has_clip) clip_gradients(e, u, &targets);
	int nbefore = e->build->current.length;
	const Val **before = NEW_ARRAY(e->arena, const Val *, nbefore + 1);
	for (int i = 0; i < nbefore; i++) before[i] = e->build->current.data[i];
	for (int i = 0; i < targets.all.length && !e->gave_up; i++)
		if (targets.all.data[i].gradient) run_optimizer(e, t, u->name, &targets.all.data[i]);
	if (ready) gate_writes(e, before, nbefore, ready);
	if (t->more_updates > 0) seal_parameters(e, &targets);
}

/* ---- grad(..) and params(..) ---- */

Value builtin_grad(Elab *e, Call *c) {
	Value loss = c->slot[0], *results = NEW_ARRAY(e->arena, Value, c->nrest + 1);
	Fn *f = fn_of(e);
	if (loss.kind != VALUE_TENSOR || loss.as.tensor.rank || loss.as.tensor.nlabels || !dtype_is_float(value_dtype(&loss)))
		return elab_error(e, c->slot_span[0], "`grad` wants a float scalar first, not %s", value_text(e, loss));
	if (!c->nrest) return elab_error(e, c->at, "`grad` needs what to differentiate by");
	bool *seen = NEW_ARRAY(e->arena, bool, f->vals.length + 1);
	mark_reachable(f, loss.as.tensor.val, false, seen);
	for (int i = 0; i < c->nrest; i++) {
		Value x = c->rest[i];
		if (x.kind != VALUE_TENSOR || !dtype_is_float(value_dtype(&x)) || x.as.tensor.nlabels)
			return elab_error(e, c->rest_span[i], "`grad` differentiates by a float tensor, not %s", value_text(e, x));
		Val *by = x.as.tensor.val;
		if (by->op != OpInput && by->op != OpMark) {
			elab_error(e, c->rest_span[i], "`grad` differentiates by a name: a field, a `let` or a `param`");
			elab_help(e, "bind it with `let` before the scalar is computed from it");
			return value_poison();
		}
		if (!seen[by->id]) {
			elab_error(e, c->rest_span[i], "the scalar is not computed from this, so its derivative is zero");
			note_value(e, "the scalar", loss);
			return value_poison();
		}
		results[i] = value_tensor(e, ir_grad(f, loss.as.tensor.val, by), x.as.tensor.dims, c->span);
	}
	return c->nrest == 1 ? results[0] : value_list(VALUE_TUPLE, c->nrest, results, c->span);
}

Value builtin_params(Elab *e, Call *c) {
	Value v = c->slot[0];
	const char *path = v.kind == VALUE_INSTANCE ? v.as.instance->path
		: v.kind == VALUE_FUNCTION && v.as.function.decl->kind == DECL_MODEL ? v.as.function.decl->name.text : NULL;
	if (!path) return elab_error(e, c->slot_span[0], "`params` wants a model, not %s", value_text(e, v));
	VEC(Value) items = {0};
	size_t length = strlen(path);
	for (int i = 0; i < e->program->persistent.length; i++) {
		const Persistent *p = &e->program->persistent.data[i];
		if (p->kind != INPUT_PARAM || strncmp(p->path, path, length) || p->path[length] != '/') continue;
		vec_push(e->arena, &items, persistent_read(e, i, c->at));
	}
	if (!items.length)
		return elab_error(e, c->slot_span[0], "`%s` has no parameters yet: it was not called before this line", path);
	return value_list(VALUE_LIST, items.length, items.data, c->span);
}
