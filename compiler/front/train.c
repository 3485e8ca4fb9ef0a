/* train.c: train blocks.
 *
 * In: a block's settings and statements.  Out: its static settings (Train), and on demand its items run into a Fn: the step, the
 * evaluation, or the bare loss.  Guaranteed: items run in the order they are written; static settings are known before any. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"

const char *const setting_names[] = {
    "data", "validate",   "batch",    "epochs", "steps", "seed",   "shuffle",   "precision",
    "clip", "accumulate", "patience", "save",   "loss",  "params", "optimizer",
};
const int setting_count = COUNT(setting_names);

static Train *train_of(Elab *e, const TrainState *t) { return &e->program->trains.data[t->index]; }

static Scope *train_scope(Elab *e, TrainState *t) {
	Scope *scope = scope_new(e, NULL);
	scope->file = t->file;
	scope->activation = e->activation;
	return scope;
}

/* ---- static settings ---- */

static bool static_int(Elab *e, Scope *scope, const TrainItem *item, int64_t low, int64_t *out) {
	Dim d;
	int64_t n;
	if (!eval_int(e, scope, item->value, arena_printf(e->arena, "`%s`", item->name.text), &d)) return false;
	const char *name = item->name.text;
	if (!dim_known(d, &n) || n < low) {
		elab_error(e, item->value->span, "`%s` is %s, it must be at least %lld", name, dim_text(e->arena, d),
		           (long long)low);
		return false;
	}
	if (low > 0 && n > INT32_MAX) {
		elab_error(e, item->value->span, "`%s` is %s, it must be at most %lld", name, dim_text(e->arena, d),
		           (long long)INT32_MAX);
		return false;
	}
	*out = n;
	return true;
}

static int data_of(Elab *e, Scope *scope, const TrainItem *item) {
	Value v = eval_expr(e, scope, item->value);
	if (!value_ok(v)) return -1;
	if (v.kind == VALUE_DATA) return data_index(e, v.as.function.decl, v.as.function.file);
	elab_error(e, item->value->span, "`%s` wants a data declaration, not %s", item->name.text, value_text(e, v));
	return -1;
}

static bool read_validate(Elab *e, Scope *scope, const TrainItem *item, Train *t) {
	Value v = eval_expr(e, scope, item->value);
	if (v.kind == VALUE_DATA) return (t->validate = data_index(e, v.as.function.decl, v.as.function.file)) >= 0;
	if (v.kind == VALUE_REAL && v.as.real > 0 && v.as.real < 1) return t->validate_fraction = v.as.real, true;
	if (!value_ok(v)) return false;
	elab_error(e, item->value->span, "`validate` wants a data declaration or a fraction between 0 and 1, not %s",
		value_text(e, v));
	if (value_static(v)) elab_help(e, "`validate = 0.2` holds out a fifth of the data");
	return false;
}

static bool read_precision(Elab *e, const Expr *value, DType *precision) {
	static const char *const names[] = {"bf16", "f32"};
	const char *written = value->kind == EXPR_NAME ? value->name.text : "";
	if (!strcmp(written, "bf16")) return *precision = DTYPE_BF16, true;
	if (!strcmp(written, "f32")) return *precision = DTYPE_F32, true;
	const char *near = nearest_name(written, names, COUNT(names));
	elab_error(e, value->span, "`precision` is bf16 or f32");
	if (near) elab_help(e, "did you mean `%s`?", near);
	return false;
}

static bool static_setting(Elab *e, Scope *scope, const TrainItem *item, Train *t) {
	const char *name = item->name.text;
	int64_t seed;
	if (!strcmp(name, "data")) return (t->data = data_of(e, scope, item)) >= 0;
	if (!strcmp(name, "validate")) return read_validate(e, scope, item, t);
	if (!strcmp(name, "batch")) return static_int(e, scope, item, 1, &t->batch);
	if (!strcmp(name, "epochs")) return static_int(e, scope, item, 1, &t->epochs);
	if (!strcmp(name, "steps")) return static_int(e, scope, item, 1, &t->steps);
	if (!strcmp(name, "accumulate")) return static_int(e, scope, item, 1, &t->accumulate);
	if (!strcmp(name, "seed")) return static_int(e, scope, item, 0, &seed) ? (t->seed = (uint64_t)seed, true) : false;
	if (!strcmp(name, "shuffle")) {
		Value v = eval_expr(e, scope, item->value);
		if (v.kind == VALUE_BOOL) return t->shuffle = v.as.truth, true;
		if (value_ok(v)) elab_error(e, item->value->span, "`shuffle` is true or false, not %s", value_text(e, v));
		return false;
	}
	if (!strcmp(name, "patience")) return static_int(e, scope, item, 1, &t->patience);
	if (!strcmp(name, "precision")) return read_precision(e, item->value, &t->precision);
	return true;
}

/* items: of a train block or an update. */
static bool declared_twice(Elab *e, const TrainItem *items, int at) {
	const TrainItem *item = &items[at];
	if (item->kind != ITEM_SETTING && item->kind != ITEM_OPTIMIZER_RULES) return false;
	for (int i = 0; i < at; i++) {
		const TrainItem *other = &items[i];
		if ((other->kind != ITEM_SETTING && other->kind != ITEM_OPTIMIZER_RULES) || other->name.text != item->name.text) continue;
		elab_error(e, item->name.span, "`%s` is set twice", item->name.text);
		elab_note(e, other->name.span, "the first one");
		return true;
	}
	return false;
}

/* The data that validation reads must have every field the block uses; types agree by `like`. */
static bool check_validation(Elab *e, const Decl *decl, const Train *t) {
	if (t->validate < 0) return true;
	const DataSet *a = &e->program->data.data[t->data], *b = &e->program->data.data[t->validate];
	for (int i = 0; i < a->nfields; i++)
		for (int j = 0; j < b->nfields; j++) {
			if (a->fields[i].name != b->fields[j].name ||
			    (type_equal(a->fields[i].type, b->fields[j].type) && a->fields[i].classes == b->fields[j].classes))
				continue;
			elab_error(e, decl->name.span.source ? decl->name.span : t->span, "`%s` has another type in the validation data `%s`",
			           a->fields[i].name, b->name);
			elab_note(e, a->fields[i].span, "in `%s`", a->name);
			elab_note(e, b->fields[j].span, "in `%s`", b->name);
			return false;
		}
	return true;
}

TrainState *prepare_train(Elab *e, const Decl *decl, File *file) {
	TrainState *t = NEW(e->arena, TrainState);
	const ElabOptions *o = e->options;
	Train train = {.name = decl->name.text,
	               .data = -1,
	               .validate = -1,
	               .shuffle = true,
	               .batch = 32,
	               .epochs = 1,
	               .accumulate = 1,
	               .seed = 1,
	               .span = decl->name.span.source ? decl->name.span : decl->span};
	if (train.span.source && !decl->name.text) train.span.end = MIN(train.span.end, train.span.begin + 5);
	*t = (TrainState){.decl = decl, .file = file, .index = e->program->trains.length, .samples = -1};
	Scope *scope = train_scope(e, t);
	bool has_data = false;
	for (int i = 0; i < decl->items.length; i++) {
		const TrainItem *item = &decl->items.data[i];
		t->failed |= declared_twice(e, decl->items.data, i);
		if (item->kind != ITEM_SETTING || !item->value) continue;
		has_data |= !strcmp(item->name.text, "data");
		t->failed |= !static_setting(e, scope, item, &train);
	}
	if (!has_data) {
		elab_error(e, train.span, "`train` needs `data = ...`");
		t->failed = true;
	}
	if (train.data >= 0) {
		t->failed |= !check_validation(e, decl, &train);
		t->field_used = NEW_ARRAY(e->arena, bool, e->program->data.data[train.data].nfields + 1);
		train.inputs = NEW_ARRAY(e->arena, int, e->program->data.data[train.data].nfields + 1);
	}
	if (o && o->batch > 0) train.batch = o->batch;
	if (o && o->epochs > 0) train.epochs = o->epochs, train.steps = 0;
	if (o && o->steps > 0) train.steps = o->steps;
	if (o && o->has_seed) train.seed = o->seed;
	if (o && o->bf16) train.precision = DTYPE_BF16;
	vec_push(e->arena, &e->program->trains, train);
	vec_push(e->arena, &e->session->trains, t);
	return t;
}

/* ---- counts ---- */

static int64_t samples_of(Elab *e, TrainState *t) {
	const DataSet *set = &e->program->data.data[train_of(e, t)->data];
	if (t->samples >= 0) return t->samples;
	for (int i = 0; i < set->nfields; i++)
		if (set->fields[i].kind == SOURCE_LITERAL) return t->samples = set->fields[i].nvalues / type_count(set->fields[i].type);
	const DataProbe *probe = e->options ? e->options->probe : NULL;
	DataInfo info = probe ? probe->samples(probe->context, e->diag, set) : (DataInfo){0};
	return t->samples = info.ok ? info.samples : 0;
}

enum { SOME_STEPS = 1 << 20 };   /* when none will be taken, --batch being no more than how many samples are looked at at once */

/* steps_per_epoch and total_steps count updates; the incomplete last batch of an epoch is dropped. */
Value train_counter(Elab *e, const char *name, Span span) {
	TrainState *t = e->build->train;
	if (!t) return elab_error(e, span, "`%s` is known only in a train block", name);
	Train *train = train_of(e, t);
	train->uses_steps = true;
	bool all = !strcmp(name, "total_steps");
	int64_t count = all ? train->total_steps : train->steps_per_epoch;
	if (count > 0) return value_int(count, span);
	int errors = e->diag->errors;
	bool said = t->samples == 0;
	int64_t n = samples_of(e, t);
	if (n == 0) {
		if (e->diag->errors == errors && !said) elab_error(e, span, "`%s` needs the size of the data, which is not known", name);
		return value_poison();
	}
	if (train->validate_fraction > 0) n -= (int64_t)((double)n * train->validate_fraction);
	int64_t batches = n / train->batch;
	train->steps_per_epoch = batches / train->accumulate;
	train->total_steps = train->steps > 0 ? train->steps : train->epochs * batches / train->accumulate;
	count = all ? train->total_steps : train->steps_per_epoch;
	if (e->options && e->options->stepless) return value_int(MAX(count, SOME_STEPS), span);
	if (count > 0) return value_int(count, span);
	const char *samples = arena_count(e->arena, n, "sample"), *each = arena_count(e->arena, train->accumulate, "batch");
	return elab_error(e, span, "`%s` is 0: there %s %s, and a step takes %s%s of %lld", name, n == 1 ? "is" : "are", samples,
	                  each, train->accumulate == 1 ? "" : "es", (long long)train->batch);
}

/* ---- a setting that can change while the program runs ---- */

static double number_set(Elab *e, const char *name, double value, Span span) {
	const ElabOptions *o = e->options;
	for (int i = 0; o && i < o->nsets; i++) {
		if (strcmp(o->set_names[i], name)) continue;
		char *end;
		double x = strtod(o->set_values[i], &end);
		e->session->set_used[i] = true;
		if (end != o->set_values[i] && !*end && isfinite(x)) return x;
		elab_error(e, span, "`--set %s=%s`: a number is wanted", name, o->set_values[i]);
	}
	return value;
}

Value builtin_input(Elab *e, Call *c) {
	TrainState *t = e->build->train;
	const char *name = e->session->naming;
	Value v = c->slot[0];
	if (!t || e->build->initialising || e->build->finishing) return elab_error(e, c->at, "`input` stands only in a train block");
	if (v.kind != VALUE_INT && v.kind != VALUE_REAL)
		return elab_error(e, c->slot_span[0], "`input` wants a number, not %s", value_text(e, v));
	if (!name) {
		elab_error(e, c->at, "this `input` has no name");
		elab_help(e, "give it one: `let rate = input(0.1)`");
		return value_poison();
	}
	Fn *f = fn_of(e);
	for (int i = 0; i < f->inputs.length; i++)
		if (f->inputs.data[i].kind == INPUT_SETTING && !strcmp(f->inputs.data[i].name, name)) {
			elab_error(e, c->at, "two inputs are named `%s`", name);
			elab_help(e, "name this one: `let rate = input(0.1)` before the place of use");
			return value_poison();
		}
	Train *train = train_of(e, t);
	bool known = false;
	for (int i = 0; i < train->nsettings; i++) known |= !strcmp(train->settings[i].name, name);
	if (!known) {
		double value = number_set(e, name, v.kind == VALUE_REAL ? v.as.real : (double)dim_value(e, v.as.integer), c->at);
		Setting *all = NEW_ARRAY(e->arena, Setting, train->nsettings + 1);
		for (int i = 0; i < train->nsettings; i++) all[i] = train->settings[i];
		all[train->nsettings++] = (Setting){name, value};
		train->settings = all;
	}
	Value x = value_tensor(e, fn_input(f, name, INPUT_SETTING, type_scalar(DTYPE_F32)), NULL, c->span);
	x.as.tensor.weak = true;
	return x;
}

/* ---- the loss ---- */

/* Per-sample values are averaged; scalars are taken as they are.  The dtype stays. */
Val *scalar_mean(Elab *e, Value v) {
	Fn *f = fn_of(e);
	Val *x = v.as.tensor.val;
	int64_t axes[MAX_RANK];
	for (int i = 0; i < x->type.rank; i++) axes[i] = i;
	if (!x->type.rank) return x;
	Val *sum = ir_reduce(f, OpReduceSum, x, x->type.rank, axes);
	return ir_Div(f, sum, ir_const(f, x->type.dtype, (double)type_count(x->type)));
}

static void read_loss(Elab *e, Scope *scope, Update *u, const Expr *value) {
	u->has_loss = true;
	u->loss_span = value->span;
	Value v = eval_expr(e, scope, value);
	u->loss = value_poison();
	if (!value_ok(v)) return;
	if (v.kind != VALUE_TENSOR || !dtype_is_float(value_dtype(&v))) {
		elab_error(e, value->span, "the loss must be a float computed from the parameters, not %s", value_text(e, v));
		help_call(e, v);
		if (v.kind == VALUE_TENSOR && value_dtype(&v) == DTYPE_BOOL)
			elab_help(e, "a comparison has no derivative; `metric NAME = ...` counts how often it holds");
		return;
	}
	if (v.as.tensor.tag) {
		elab_error(e, value->span, "the loss is %s: these are predictions, not a loss", value_text(e, v));
		return;
	}
	fn_of(e)->span = blame(e, value->span);
	u->loss = v;
	u->scalar = scalar_mean(e, v);
}

/* A number above 0, or a scalar, whose value shows only when the program runs. */
static bool may_clip(Value v) {
	int64_t n;
	switch (v.kind) {
	case VALUE_TENSOR: return !v.as.tensor.rank;
	case VALUE_INT: return !dim_known(v.as.integer, &n) || n > 0;
	case VALUE_REAL: return v.as.real > 0;
	default: return false;
	}
}

/* clip = norm(c) */
static void read_clip(Elab *e, Scope *scope, TrainState *t, Update *u, const Expr *value) {
	bool norm = value->kind == EXPR_CALL && value->left->kind == EXPR_NAME && !strcmp(value->left->name.text, "norm") &&
	            value->arguments.length == 1;
	if (!norm) {
		elab_error(e, value->span, "`clip` is `norm(c)`");
		elab_help(e, "`clip = norm(1.0)` scales all gradients so that their norm is at most 1");
		return;
	}
	e->session->naming = arena_intern(e->arena, "clip", 4);
	u->clip = eval_argument(e, scope, &value->arguments.data[0]);
	u->has_clip = value_ok(u->clip);
	if (u->has_clip && !may_clip(u->clip))
		elab_error(e, value->span, "`norm` wants a number above 0, not %s", value_text(e, u->clip)), u->has_clip = false;
	(void)t;
}

/* ---- running the items ---- */

static void run_setting(Elab *e, Scope *scope, TrainState *t, Update *u, const TrainItem *item) {
	const char *name = item->name.text;
	if (!item->value) return;
	if (!strcmp(name, "loss")) read_loss(e, scope, u, item->value);
	else if (!strcmp(name, "clip") && t->mode == TRAIN_STEP) read_clip(e, scope, t, u, item->value);
	else if (!strcmp(name, "optimizer") && t->mode == TRAIN_STEP) read_rules(e, scope, u, item);
	else if (!strcmp(name, "params") && t->mode == TRAIN_STEP) read_update_params(e, scope, u, item->value);
}

static void run_update(Elab *e, Scope *scope, TrainState *t, const TrainItem *item) {
	Update *u = NEW(e->arena, Update);
	u->name = item->name.text;
	u->span = item->name.span;
	t->more_updates--;
	for (int i = 0; i < t->updates.length; i++)
		if (t->updates.data[i]->name == u->name) elab_error(e, item->name.span, "`update %s` is declared twice", u->name);
	for (int i = 0; i < item->items.length; i++) {
		const TrainItem *inner = &item->items.data[i];
		bool fits = inner->kind == ITEM_OPTIMIZER_RULES || (inner->kind == ITEM_SETTING && (!strcmp(inner->name.text, "loss") ||
			!strcmp(inner->name.text, "params") || !strcmp(inner->name.text, "optimizer") || !strcmp(inner->name.text, "clip")));
		if (!fits)
			elab_error(e, inner->name.span.source ? inner->name.span : inner->span,
			           "an `update` holds loss, params, optimizer and clip");
		else if (declared_twice(e, item->items.data, i)) continue;
		else if (inner->kind == ITEM_SETTING) run_setting(e, scope, t, u, inner);
		else if (t->mode == TRAIN_STEP) read_rules(e, scope, u, inner);
	}
	if (!u->has_loss) elab_error(e, item->name.span, "`update %s` needs `loss = ...`", item->name.text);
	vec_push(e->arena, &t->updates, u);
	if (t->mode == TRAIN_STEP && u->scalar) apply_update(e, t, u);
}

/* An optimizer that has this setting, or NULL. */
static const Decl *optimizer_with(Elab *e, const char *setting) {
	const Session *s = e->session;
	for (int i = 0; i < s->files.length + s->library.length; i++) {
		const File *f = i < s->files.length ? s->files.data[i] : s->library.data[i - s->files.length];
		for (int j = 0; j < f->tree->decls.length; j++) {
			const Decl *d = f->tree->decls.data[j];
			for (int k = 2; d->kind == DECL_OPTIMIZER && k < d->params.length; k++)
				if (d->params.data[k].name.text == setting) return d;
		}
	}
	return NULL;
}

/* `bacth = 3` reads as an assignment: a slip in the name of a setting. */
static bool misspelt_setting(Elab *e, Scope *scope, const Stmt *s) {
	if (s->kind != STMT_ASSIGN || scope_find(scope, s->name.text)) return false;
	File *owner;
	if (find_builtin(s->name.text) || find_declaration(e, scope->file, s->name.text, &owner)) {
		elab_error(e, s->name.span, "`%s` cannot be set: it is declared already, and is no setting", s->name.text);
		elab_help(e, "`let` declares a name of its own, as in `let my_%s = ...`", s->name.text);
		return true;
	}
	const char *near = nearest_name(s->name.text, setting_names, setting_count);
	const Decl *optimizer = optimizer_with(e, s->name.text);
	elab_error(e, s->name.span, "unknown setting `%s`", s->name.text);
	if (optimizer)
		elab_help(e, "it belongs to the optimizer, as in `optimizer = %s(%s = ...)`", optimizer->name.text, s->name.text);
	else if (near) elab_help(e, "did you mean `%s`?", near);
	else
		elab_help(e, "settings are data, validate, batch, epochs, steps, seed, shuffle, precision, clip, accumulate, "
		             "patience, save, loss, params, optimizer; `let` declares a name");
	return true;
}

static void run_item(Elab *e, Scope *scope, TrainState *t, const TrainItem *item) {
	Value nothing = {.kind = VALUE_NOTHING};
	switch (item->kind) {
	case ITEM_SETTING: run_setting(e, scope, t, &t->main, item); break;
	case ITEM_OPTIMIZER_RULES:
		if (t->mode == TRAIN_STEP) read_rules(e, scope, &t->main, item);
		break;
	case ITEM_METRIC:
		if (t->mode == TRAIN_EVAL && item->value) run_metric(e, scope, t, item->name, item->value);
		break;
	case ITEM_UPDATE: run_update(e, scope, t, item); break;
	case ITEM_STMT:
		if (!misspelt_setting(e, scope, item->stmt) && exec_stmt(e, scope, item->stmt, &nothing) == FLOW_RETURN)
			elab_error(e, item->stmt->span, "`return` stands in a function, layer or model");
		break;
	}
}

static void bind_fields(Elab *e, Scope *scope, TrainState *t) {
	const DataSet *set = &e->program->data.data[train_of(e, t)->data];
	for (int i = 0; i < set->nfields; i++) {
		const DataField *f = &set->fields[i];
		Type type = {.dtype = f->type.dtype, .rank = f->type.rank + 1, .dim = {e->build->batch}};
		Dim dims[MAX_RANK] = {dim_batch()};
		for (int k = 0; k < f->type.rank; k++) type.dim[k + 1] = f->type.dim[k], dims[k + 1] = dim_number(f->type.dim[k]);
		if (!check_count(e, type.rank, dims, f->span)) {
			scope_bind(e, scope, (Name){f->name, f->span}, value_poison());
			continue;
		}
		fn_of(e)->span = f->span;
		Val *val = fn_input(fn_of(e), f->name, INPUT_DATA, type);
		fn_of(e)->inputs.data[fn_of(e)->inputs.length - 1].classes = f->classes;
		Value v = value_tensor(e, val, dims, f->span);
		v.as.tensor.classes = f->classes;
		scope_bind(e, scope, (Name){f->name, f->span}, v);
	}
	Name batch = {arena_intern(e->arena, "B", 1), t->decl->span};
	if (!scope_find(scope, batch.text)) scope_bind(e, scope, batch, value_dim(dim_batch(), t->decl->span));
}

/* Runs the block into e->build. */
void run_train(Elab *e, TrainState *t, TrainMode mode) {
	Activation *a = activation_enter(e, NULL, (Span){0}, NULL, true);
	Scope *scope = train_scope(e, t);
	t->mode = mode;
	t->main = (Update){.span = train_of(e, t)->span};
	t->updates.length = t->metrics.length = t->totals.length = t->more_updates = 0;
	t->errors = e->diag->errors;
	e->build->train = t;
	collect_grad_names(e, t->decl, a);
	bind_fields(e, scope, t);
	for (int i = 0; i < t->decl->items.length; i++) t->more_updates += t->decl->items.data[i].kind == ITEM_UPDATE;
	Scope *body = scope_new(e, scope);
	for (int i = 0; i < t->decl->items.length && !e->gave_up; i++) run_item(e, body, t, &t->decl->items.data[i]);
	if (t->main.has_loss && t->updates.length)
		elab_error(e, t->main.loss_span, "a train block has one `loss`, or one in each `update`");
	else if (t->main.has_loss) {
		vec_push(e->arena, &t->updates, &t->main);
		if (mode == TRAIN_STEP && t->main.scalar) apply_update(e, t, &t->main);
	} else if (!t->updates.length) elab_error(e, train_of(e, t)->span, "`train` needs `loss = ...`");
	activation_leave(e);
}
