/* program.c: a whole file elaborated, and Fns on demand.
 *
 * In: a source.  Out: Program.  Guaranteed: when elab_program returns one, every declaration was checked and the Fns on
 * demand raise no new errors, whatever the batch. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "session.h"
#include "std.h"

/* ---- builds ---- */

static Build *new_build(Elab *e, const char *name, int64_t batch, bool training) {
	Build *b = NEW(e->arena, Build);
	*b = (Build){.fn = fn_new(e->arena, name), .batch = batch, .training = training};
	e->activation = NULL;
	e->depth = 0;
	e->work = 0;
	return e->build = b;
}

static const char *fn_name(Elab *e, const TrainState *t, const char *what) {
	const char *name = e->program->trains.data[t->index].name;
	return name ? arena_printf(e->arena, "%s_%s", what, name) : what;
}

/* The sum of the updates' losses, in f32; NULL after an error. */
static Val *total_loss(Elab *e, const TrainState *t) {
	Fn *f = fn_of(e);
	Val *sum = NULL;
	for (int i = 0; i < t->updates.length; i++) {
		if (!t->updates.data[i]->scalar) return NULL;
		Val *x = ir_cast(f, t->updates.data[i]->scalar, DTYPE_F32);
		sum = sum ? ir_Add(f, sum, x) : x;
	}
	return sum;
}

/* The updates' own, where there are several. */
static void output_losses(Elab *e, const TrainState *t) {
	const Train *train = &e->program->trains.data[t->index];
	for (int i = 0; i < train->nlosses; i++) {
		Val *x = ir_cast(fn_of(e), t->updates.data[i]->scalar, DTYPE_F32);
		fn_output(fn_of(e), arena_printf(e->arena, "loss/%s", train->losses[i].name), x, -1);
	}
}

static Build *build_step(Elab *e, TrainState *t) {
	Build *b = new_build(e, fn_name(e, t, "step"), e->program->trains.data[t->index].batch, true);
	b->fn->precision = e->program->trains.data[t->index].precision;
	int errors = e->diag->errors;
	run_train(e, t, TRAIN_STEP);
	Val *loss = e->gave_up || e->diag->errors > errors ? NULL : total_loss(e, t);
	if (!loss) return NULL;
	fn_output(b->fn, "loss", loss, -1);
	if (!e->program->trains.data[t->index].nlosses) list_losses(e, t);
	output_losses(e, t);
	for (int i = 0; i < b->current.length; i++) {
		int input = b->written.data[i] ? persistent_input(b, i) : -1;
		if (input >= 0 && b->current.data[i] != b->entry.data[i])
			fn_output(b->fn, e->program->persistent.data[i].path, b->current.data[i], input);
	}
	return b;
}

static Build *build_eval(Elab *e, TrainState *t, int64_t batch) {
	Build *b = new_build(e, fn_name(e, t, "eval"), batch, false);
	b->fn->precision = e->program->trains.data[t->index].precision;
	int errors = e->diag->errors;
	run_train(e, t, TRAIN_EVAL);
	Val *loss = e->gave_up || e->diag->errors > errors ? NULL : total_loss(e, t);
	if (!loss) return NULL;
	fn_output(b->fn, "loss", loss, -1);
	for (int i = 0; i < t->totals.length; i++) fn_output(b->fn, arena_printf(e->arena, "total%d", i), t->totals.data[i], -1);
	output_losses(e, t);
	return b;
}

/* The losses that a parameter is trained by, added up. */
static Val *loss_of(Elab *e, const TrainState *t, const char *path, Val *all) {
	const Train *train = &e->program->trains.data[t->index];
	Val *sum = NULL;
	for (int i = 0; i < train->nlosses; i++) {
		if (!loss_trains(&train->losses[i], path)) continue;
		Val *x = ir_cast(fn_of(e), t->updates.data[i]->scalar, DTYPE_F32);
		sum = sum ? ir_Add(fn_of(e), sum, x) : x;
	}
	return train->nlosses ? sum : all;
}

static void output_gradients(Elab *e, const TrainState *t, Build *b, Val *all) {
	Program *p = e->program;
	Fn *f = b->fn;
	Val *last = NULL;
	bool *seen = NULL;
	for (int i = 0; i < p->persistent.length; i++) {
		const Persistent *x = &p->persistent.data[i];
		if (x->kind != INPUT_PARAM) continue;
		int input = persistent_input(b, i);
		Val *by = input >= 0 ? f->inputs.data[input].val : NULL, *g, *loss = loss_of(e, t, x->path, all);
		if (loss && loss != last) {
			seen = NEW_ARRAY(e->arena, bool, f->vals.length + 1);
			mark_reachable(f, loss, false, seen);
			last = loss;
		}
		if (by && loss && seen[by->id]) g = ir_grad(f, loss, by);
		else {
			Val *zero = ir_const(f, x->type.dtype, 0);
			g = x->type.rank ? ir_broadcast(f, zero, x->type.rank, x->type.dim, NULL) : zero;
		}
		fn_output(f, arena_printf(e->arena, "grad/%s", x->path), g, -1);
	}
}

static Build *build_loss(Elab *e, TrainState *t, int64_t batch, bool with_grads) {
	Build *b = new_build(e, fn_name(e, t, "loss"), batch, true);
	b->fn->precision = e->program->trains.data[t->index].precision;
	run_train(e, t, TRAIN_LOSS);
	Val *loss = total_loss(e, t);
	if (!loss) return NULL;
	fn_output(b->fn, "loss", loss, -1);
	output_losses(e, t);
	if (with_grads) output_gradients(e, t, b, loss);
	return b;
}

/* ---- models by themselves ---- */

static bool model_size(Elab *e, const ModelInfo *m, const Expr *dim, Scope *scope, Dim *out) {
	if (dim->kind != EXPR_NAME || has_const(m->file, dim->name.text)) return eval_int(e, scope, dim, "a size", out);
	if (!strcmp(dim->name.text, "B")) return *out = dim_batch(), true;
	for (int i = 0; i < m->sizes.count; i++)
		if (m->sizes.names[i] == dim->name.text) return *out = m->sizes.dims[i], true;
	Binding *b = scope_find(scope, dim->name.text);
	if (b && b->value.kind == VALUE_INT) return *out = b->value.as.integer, true;
	if (e->diag->errors) return false;   /* the call that would have told may be the one that failed */
	elab_error(e, dim->span, "the size `%s` of `%s` is not known: no train block calls the model", dim->name.text,
	           m->decl->name.text);
	elab_help(e, "declare `const %s = ...`, or write the number here", dim->name.text);
	return false;
}

/* An argument of the model as an input of its Fn. */
static Value model_argument(Elab *e, const ModelInfo *m, Scope *scope, const Param *p, ModelArgument *a, bool *batched) {
	DType dtype;
	int64_t classes;
	int rank = 0;
	Dim dims[MAX_RANK];
	if (!p->type) {
		elab_error(e, p->name.span, "the argument `%s` of a model needs a type", p->name.text);
		elab_help(e, "as in `%s: [B, 3]`: B samples of 3 numbers", p->name.text);
		return value_poison();
	}
	if (p->type->leading_dots) return elab_error(e, p->type->span, "an argument of a model needs all its sizes");
	if (p->type->dims.length > MAX_RANK) return elab_error(e, p->type->dims.data[MAX_RANK]->span, "more than %d dims", MAX_RANK);
	TypeExpr bare = *p->type;
	bare.dims = (ExprList){0};
	if (p->type->classes && p->type->classes->kind == EXPR_NAME && !has_const(m->file, p->type->classes->name.text)) {
		Dim n;
		if (!model_size(e, m, p->type->classes, scope, &n)) return value_poison();
		scope_bind(e, scope, p->type->classes->name, value_dim(n, p->type->span));
	}
	if (!eval_type(e, scope, &bare, &dtype, &classes, &rank, dims)) return value_poison();
	rank = p->type->dims.length;
	for (int i = 0; i < rank; i++) {
		if (!model_size(e, m, p->type->dims.data[i], scope, &dims[i])) return value_poison();
		if (p->type->dims.data[i]->kind == EXPR_NAME && !has_const(m->file, p->type->dims.data[i]->name.text))
			scope_bind(e, scope, p->type->dims.data[i]->name, value_dim(dims[i], p->type->span));
		int64_t n;
		*batched |= !dim_known(dims[i], &n);
	}
	if (!check_count(e, rank, dims, p->type->span)) return value_poison();
	Type type = {.dtype = dtype, .rank = rank};
	sizes_of(e, rank, dims, type.dim);
	*a = (ModelArgument){p->name.text, type, classes};
	Value v = value_tensor(e, fn_input(fn_of(e), p->name.text, INPUT_DATA, type), dims, p->name.span);
	fn_of(e)->inputs.data[fn_of(e)->inputs.length - 1].classes = classes;
	v.as.tensor.classes = classes;
	return v;
}

static Build *build_infer(Elab *e, const ModelInfo *m, Model *model, int64_t batch) {
	const Decl *d = m->decl;
	Build *b = new_build(e, d->name.text, batch, false);
	if (e->program->trains.length) b->fn->precision = e->program->trains.data[0].precision;   /* as it was trained */
	int n = d->params.length, errors = e->diag->errors;
	Value *args = NEW_ARRAY(e->arena, Value, n + 1);
	Span *spans = NEW_ARRAY(e->arena, Span, n + 1);
	Scope *scope = scope_new(e, NULL);
	scope->file = m->file;
	*model = (Model){.name = d->name.text, .arguments = NEW_ARRAY(e->arena, ModelArgument, n + 1), .span = d->name.span};
	bool ok = true;
	for (int i = 0; i < n; i++) {
		const Param *p = &d->params.data[i];
		spans[i] = p->name.span;
		args[i] = (Value){.kind = VALUE_NOTHING};
		if (p->value) continue;
		if (p->type && type_is_static(p->type))
			args[i] = elab_error(e, p->name.span, "the setting `%s` of a model needs a default", p->name.text);
		else args[i] = model_argument(e, m, scope, p, &model->arguments[model->narguments++], &model->batched);
		ok &= value_ok(args[i]);
	}
	Value v = ok ? call_decl(e, d, m->file, args, spans, d->name.span, NULL) : value_poison();
	if (!value_ok(v) || e->diag->errors > errors) return NULL;
	int count = v.kind == VALUE_TUPLE ? v.as.list.count : 1;
	const Value *items = v.kind == VALUE_TUPLE ? v.as.list.items : &v;
	model->results = NEW_ARRAY(e->arena, const char *, count + 1);
	model->result_types = NEW_ARRAY(e->arena, Type, count + 1);
	model->nresults = count;
	for (int i = 0; i < count; i++) {
		const char *name = i < d->results.length ? d->results.data[i].name.text : NULL;
		if (items[i].kind != VALUE_TENSOR)
			return elab_error(e, d->name.span, "a result of `%s` is no tensor", d->name.text), NULL;
		model->results[i] = name;
		model->result_types[i] = items[i].as.tensor.val->type;
		fn_output(b->fn, name ? name : d->name.text, items[i].as.tensor.val, -1);
	}
	return b;
}

/* ---- files ---- */

/* One name per file, so that "a.nn" and "./a.nn" are one. */
static const char *real_name(Elab *e, const char *path) {
	char *real = realpath(path, NULL);
	const char *name = real ? arena_text(e->arena, real, strlen(real)) : path;
	free(real);
	return name;
}

static File *add_file(Elab *e, uint32_t source, bool library) {
	Session *s = e->session;
	File *f = NEW(e->arena, File);
	const Source *text = &e->diag->sources.data[source - 1];
	const char *slash = strrchr(text->name, '/');
	f->name = text->name;
	f->real = library ? f->name : real_name(e, f->name);
	f->folder = slash ? arena_text(e->arena, text->name, (size_t)(slash + 1 - text->name)) : "";
	f->library = library;
	f->tree = parse_file(e->arena, e->diag, source);
	index_declarations(e, f);
	if (library) vec_push(e->arena, &s->library, f);
	else vec_push(e->arena, &s->files, f);
	return f;
}

/* NULL: *why says so.  A pipe without a writer, or a device without an end, would keep us waiting for ever. */
static char *read_text(Elab *e, const char *path, size_t *length, const char **why) {
	enum { LIMIT = 16 << 20 };
	struct stat status;
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	FILE *in = file >= 0 && fstat(file, &status) == 0 && S_ISREG(status.st_mode) ? fdopen(file, "rb") : NULL;
	if (!in) {
		*why = file < 0 ? strerror(errno) : "it is not a regular file";
		if (file >= 0) close(file);
		return NULL;
	}
	Text text = {.arena = e->arena};
	char buffer[4096];
	size_t n;
	text_bytes(&text, "", 0);
	while ((n = fread(buffer, 1, sizeof buffer, in)) > 0 && text.length <= LIMIT) text_bytes(&text, buffer, n);
	*why = ferror(in) ? strerror(errno) : text.length > LIMIT ? "it is larger than 16 MiB" : NULL;
	fclose(in);
	*length = text.length;
	return *why ? NULL : text.data;
}

static void read_imports(Elab *e, File *f) {
	Session *s = e->session;
	for (int i = 0; i < f->tree->decls.length; i++) {
		const Decl *d = f->tree->decls.data[i];
		if (d->kind != DECL_IMPORT || !d->path) continue;
		const char *path = d->path[0] == '/' ? d->path : arena_printf(e->arena, "%s%s", f->folder, d->path),
		           *real = real_name(e, path);
		File *have = NULL;
		for (int k = 0; k < s->files.length; k++)
			if (!strcmp(s->files.data[k]->real, real)) have = s->files.data[k];
		if (have) {
			vec_push(e->arena, &f->imports, have);
			continue;
		}
		size_t length;
		const char *why = "there are 1000 files already";
		char *text = s->files.length < 1000 ? read_text(e, path, &length, &why) : NULL;
		if (!text) {
			elab_error(e, d->path_span, "cannot read `%s`: %s", path, why);
			continue;
		}
		File *file = add_file(e, diag_source(e->diag, path, text, length, false), false);
		vec_push(e->arena, &f->imports, file);
	}
}

static void check_parameters(Elab *e, const Decl *d) {
	for (int i = 0; i < d->params.length; i++)
		for (int k = 0; k < i; k++) {
			if (d->params.data[k].name.text != d->params.data[i].name.text) continue;
			elab_error(e, d->params.data[i].name.span, "`%s` is declared twice", d->params.data[i].name.text);
			elab_note(e, d->params.data[k].name.span, "the first one");
			break;
		}
}

static void check_duplicates(Elab *e, const File *f) {
	PointerMap trains = {0};
	for (int i = 0; i < f->tree->decls.length; i++) {
		const Decl *d = f->tree->decls.data[i];
		check_parameters(e, d);
		bool is_train = d->kind == DECL_TRAIN;
		if (!d->name.text || !(is_train || is_named_value(d))) continue;
		int first = map_find(is_train ? &trains : &f->named, d->name.text);
		if (is_train && first < 0) map_add(e->arena, &trains, d->name.text, first = i);
		if (first == i) continue;
		elab_error(e, d->name.span, "`%s` is declared twice", d->name.text);
		elab_note(e, f->tree->decls.data[first]->name.span, "the first one");
	}
}

/* ---- --set ---- */

/* `--set FILE=data.csv`: a text without its quotes, unless it is the name of another const. */
static bool lacks_quotes(Elab *e, const Decl *decl, const char *value) {
	if (!decl->value || decl->value->kind != EXPR_STRING || strchr(value, '"')) return false;
	if (has_const(e->session->main, arena_intern(e->arena, value, strlen(value)))) return false;
	uint32_t source = diag_source(e->diag, arena_printf(e->arena, "--set %s", decl->name.text), value, strlen(value), false);
	elab_error(e, (Span){source, 0, (uint32_t)strlen(value)}, "`%s` is a text, which is given in quotes", decl->name.text);
	elab_help(e, "in a shell: --set '%s=\"%s\"'", decl->name.text, value);
	return true;
}

static void apply_sets(Elab *e) {
	Session *s = e->session;
	const ElabOptions *o = e->options;
	s->set_used = NEW_ARRAY(e->arena, bool, o->nsets + 1);
	for (int i = 0; i < o->nsets; i++) {
		const Decl *found = NULL;
		for (int k = 0; k < s->main->tree->decls.length; k++) {
			const Decl *d = s->main->tree->decls.data[k];
			if (d->kind == DECL_CONST && d->name.text && !strcmp(d->name.text, o->set_names[i])) found = d;
		}
		if (!found) continue;
		s->set_used[i] = true;
		if (lacks_quotes(e, found, o->set_values[i])) continue;
		const char *label = arena_printf(e->arena, "--set %s", o->set_names[i]);
		Expr *value =
		    parse_expression(e->arena, e->diag, diag_source(e->diag, label, o->set_values[i], strlen(o->set_values[i]), false));
		if (value && map_find(&s->const_numbers, found) < 0) add_const(e, found, value);
	}
}

static void check_sets(Elab *e) {
	Session *s = e->session;
	const ElabOptions *o = e->options;
	for (int i = 0; i < o->nsets; i++) {
		if (s->set_used[i]) continue;
		VEC(const char *) names = {0};
		for (int k = 0; k < s->main->tree->decls.length; k++)
			if (s->main->tree->decls.data[k]->kind == DECL_CONST)
				vec_push(e->arena, &names, s->main->tree->decls.data[k]->name.text);
		for (int k = 0; k < e->program->trains.length; k++)
			for (int m = 0; m < e->program->trains.data[k].nsettings; m++)
				vec_push(e->arena, &names, e->program->trains.data[k].settings[m].name);
		const char *near = nearest_name(o->set_names[i], names.data, names.length);
		const char *value = arena_printf(e->arena, "%s=%s", o->set_names[i], o->set_values[i]);
		uint32_t source = diag_source(e->diag, "--set", value, strlen(value), false);
		elab_error(e, (Span){source, 0, (uint32_t)strlen(o->set_names[i])}, "no `const` and no `input(..)` is named `%s`",
		           o->set_names[i]);
		if (near) elab_help(e, "did you mean `%s`?", near);
	}
}

/* ---- the whole program ---- */

static void read_declarations(Elab *e, File *f) {
	Session *s = e->session;
	for (int i = 0; i < f->tree->decls.length; i++) {
		const Decl *d = f->tree->decls.data[i];
		if (d->kind == DECL_CONST) decl_value(e, d, f, d->name.span);
		if (d->kind == DECL_DATA) data_index(e, d, f);
		if (d->kind == DECL_MODEL) vec_push(e->arena, &s->models, ((ModelInfo){.decl = d, .file = f}));
	}
}

/* Which fields a block uses: those that the outputs of its step or evaluation are computed from. */
static void note_fields(Elab *e, TrainState *t, const Build *b) {
	const Fn *f = b->fn;
	const DataSet *set = &e->program->data.data[e->program->trains.data[t->index].data];
	bool *seen = mark_used(e->arena, f);
	for (int i = 0; i < f->inputs.length; i++)
		for (int k = 0; f->inputs.data[i].kind == INPUT_DATA && k < set->nfields; k++)
			if (!strcmp(set->fields[k].name, f->inputs.data[i].name)) t->field_used[k] |= seen[f->inputs.data[i].val->id];
}

/* Losses and metrics stand side by side in logs. */
static bool check_metric_names(Elab *e, const TrainState *t) {
	const Train *train = &e->program->trains.data[t->index];
	for (int i = 0; i < t->decl->items.length; i++) {
		const TrainItem *item = &t->decl->items.data[i];
		bool taken = item->kind == ITEM_METRIC && !strcmp(item->name.text, "loss");
		for (int k = 0; item->kind == ITEM_METRIC && k < train->nlosses; k++)
			taken |= !strcmp(item->name.text, arena_printf(e->arena, "loss_%s", train->losses[k].name));
		if (taken) return elab_error(e, item->name.span, "the metric `%s` has the name of a loss", item->name.text), false;
	}
	return true;
}

static void elab_train(Elab *e, const Decl *d, File *file) {
	TrainState *t = prepare_train(e, d, file);
	if (t->failed) return;
	Build *step = build_step(e, t);
	if (!step) return;
	note_fields(e, t, step);
	Build *eval = build_eval(e, t, e->program->trains.data[t->index].batch);
	if (!eval) return;
	note_fields(e, t, eval);
	Train *train = &e->program->trains.data[t->index];
	train->nmetrics = t->metrics.length;
	train->metrics =
	    arena_copy(e->arena, t->metrics.data, sizeof *train->metrics * (size_t)(t->metrics.length ? t->metrics.length : 0));
	if (!check_metric_names(e, t) || !read_watch(e, t)) return;
	for (int k = 0; k < e->program->data.data[train->data].nfields; k++)
		if (t->field_used[k]) train->inputs[train->ninputs++] = k;
	t->step = finish_fn(e, step, t);
}

static void elab_trains(Elab *e) {
	const SourceFile *tree = e->session->main->tree;
	const char *wanted = e->options->train_name;
	VEC(const char *) names = {0};
	bool found = false;
	int count = 0;
	for (int i = 0; i < tree->decls.length; i++) count += tree->decls.data[i]->kind == DECL_TRAIN;
	for (int i = 0; i < tree->decls.length; i++) {
		const Decl *d = tree->decls.data[i];
		if (d->kind != DECL_TRAIN) continue;
		if (count > 1 && !d->name.text) {
			Span word = d->span;
			word.end = MIN(word.end, word.begin + 5);
			elab_error(e, word, "this train block needs a name: the file has %d of them", count);
			elab_help(e, "name it, as in `train main { ... }`; `--name main` chooses it");
		}
		if (d->name.text) vec_push(e->arena, &names, d->name.text);
		if (wanted && (!d->name.text || strcmp(d->name.text, wanted))) continue;
		found = true;
		elab_train(e, d, e->session->main);
	}
	if (!wanted || found) return;
	const char *near = nearest_name(wanted, names.data, names.length);
	uint32_t source = diag_source(e->diag, "--name", wanted, strlen(wanted), false);
	elab_error(e, (Span){source, 0, (uint32_t)strlen(wanted)}, "no train block is named `%s`", wanted);
	if (near) elab_help(e, "did you mean `%s`?", near);
}

static int64_t model_batch(const Elab *e) {
	if (e->options->batch > 0) return e->options->batch;
	return e->program->trains.length ? e->program->trains.data[0].batch : 1;
}

static void elab_models(Elab *e) {
	Session *s = e->session;
	s->model_batch = model_batch(e);
	for (int i = 0; i < s->models.length; i++) {
		Model model = {0};
		ModelInfo *m = &s->models.data[i];
		if (!m->refused) m->checked = build_infer(e, m, &model, s->model_batch);
		vec_push(e->arena, &e->program->models, model);
	}
}

/* What users call an operation that has no derivative. */
static const char *without_derivative(Arena *arena, const Val *v) {
	if (v->op == OpCast) return "a conversion to integers";
	return v->type.dtype == DTYPE_BOOL ? "a comparison" : arena_printf(arena, "`%s`", op_info[v->op].text);
}

static void warn_gradient(Elab *e, const Persistent *p, const PersistentInfo *info) {
	if (!info->blocked) {
		diag_warning(e->diag, p->span, "`%s` gets no gradient: no loss depends on it", p->path);
		elab_help(e, "use its result, leave it out, or freeze it: `\"%s\": none` in the rules of `optimizer`", p->path);
		return;
	}
	const char *what = without_derivative(e->arena, info->blocked);
	diag_warning(e->diag, p->span, "`%s` gets no gradient: %s has no derivative", p->path, what);
	if (info->blocked->span.source) elab_note(e, info->blocked->span, "it stands here between the parameter and the loss");
	elab_help(e, "let the loss be computed from the values before that, or freeze it: `\"%s\": none`", p->path);
}

static void warn_persistent(Elab *e) {
	bool trains = e->session->trains.length > 0;
	Span warned = {0};
	for (int i = 0; i < e->program->persistent.length; i++) {
		const Persistent *p = &e->program->persistent.data[i];
		const PersistentInfo *info = &e->session->infos.data[i];
		if (p->kind != INPUT_SLOT && !info->read && !info->library)
			diag_warning(e->diag, p->span, "`%s` is never used", info->source_name);
		else if (p->kind == INPUT_PARAM && trains && info->trained && !info->has_gradient) {
			bool again = p->span.source == warned.source && p->span.begin == warned.begin;   /* w and b of one call */
			if (!again) warn_gradient(e, p, info);
			warned = p->span;
		} else if (p->kind == INPUT_STATE && !info->updated && !info->library) {
			diag_warning(e->diag, p->span, "the state `%s` is never updated", info->source_name);
			elab_help(e, "`%s <- ...` under `if training { ... }` does; a number that stays is a `const`", info->source_name);
		}
	}
}

static Elab *new_elab(Arena *arena, Diag *diag, uint32_t source, const ElabOptions *options) {
	Elab *e = NEW(arena, Elab);
	Program *p = NEW(arena, Program);
	ElabOptions *copy = NEW(arena, ElabOptions);
	if (options) *copy = *options;
	*e = (Elab){.arena = arena, .diag = diag, .program = p, .options = copy, .session = NEW(arena, Session)};
	const char *name = diag->sources.data[source - 1].name, *slash = strrchr(name, '/');
	if (slash) name = slash + 1;
	const char *dot = strrchr(name, '.');
	*p = (Program){.arena = arena,
	               .diag = diag,
	               .name = arena_text(arena, name, dot && dot > name ? (size_t)(dot - name) : strlen(name)),
	               .elab = e};
	return e;
}

Program *elab_program(Arena *arena, Diag *diag, uint32_t source, const ElabOptions *options) {
	Elab *e = new_elab(arena, diag, source, options);
	Session *s = e->session;
	int errors = diag->errors;
	s->main = add_file(e, source, false);
	if (diag->errors > errors) return NULL;
	for (int i = 0; i < std_file_count; i++)
		add_file(e, diag_source(diag, std_files[i].name, std_files[i].text, std_files[i].length, true), true);
	for (int i = 0; i < s->files.length; i++) read_imports(e, s->files.data[i]);
	if (diag->errors > errors) return NULL;
	s->init = new_build(e, "init", 1, true);
	s->init->initialising = true;
	new_build(e, "constants", 1, true);
	apply_sets(e);
	for (int i = 0; i < s->files.length; i++) {
		check_duplicates(e, s->files.data[i]);
		read_declarations(e, s->files.data[i]);
	}
	elab_trains(e);
	if (!e->gave_up) elab_models(e);
	if (!e->gave_up)
		for (int i = 0; i < s->files.length; i++) check_names(e, s->files.data[i]);
	if (diag->errors == errors) check_sets(e);
	if (diag->errors > errors) return NULL;
	warn_persistent(e);
	return e->program;
}

/* ---- Fns on demand ---- */

/* The checks were made; what a Fn on demand would say again goes to a Diag of its own. */
static Elab *resume(Program *p) {
	Elab *e = p->elab;
	e->diag = diag_new(p->arena);
	e->diag->sources = p->diag->sources;
	return e;
}

static Fn *deliver(Program *p, Build *b, TrainState *t) {
	Elab *e = p->elab;
	Fn *f = b && !e->diag->errors ? finish_fn(e, b, t) : NULL;
	for (int i = 0; !f && i < e->diag->messages.length; i++) {
		const Message *m = &e->diag->messages.data[i];
		vec_push(p->diag->arena, &p->diag->messages, *m);
		p->diag->errors += m->severity == SEVERITY_ERROR;
	}
	e->diag = p->diag;
	return f;
}

static TrainState *state_of(Program *p, int train) { return ((Elab *)p->elab)->session->trains.data[train]; }

Fn *program_step(Program *p, int train) {
	TrainState *t = state_of(p, train);
	if (!t->step) t->step = deliver(p, build_step(resume(p), t), t);
	return t->step;
}

Fn *program_eval(Program *p, int train, int64_t batch) {
	TrainState *t = state_of(p, train);
	return deliver(p, build_eval(resume(p), t, batch), t);
}

Fn *program_loss(Program *p, int train, int64_t batch, bool with_grads) {
	TrainState *t = state_of(p, train);
	return deliver(p, build_loss(resume(p), t, batch, with_grads), t);
}

Fn *program_infer(Program *p, int model, int64_t batch) {
	Elab *e = resume(p);
	ModelInfo *m = &e->session->models.data[model];
	Build *b = batch == e->session->model_batch ? m->checked : NULL;
	Model unused;
	m->checked = b ? NULL : m->checked;
	return deliver(p, b ? b : build_infer(e, m, &unused, batch), NULL);
}

Fn *program_init(Program *p) {
	Elab *e = resume(p);
	Build *b = e->session->init;
	b->fn->outputs.length = 0;
	for (int i = 0; i < p->persistent.length; i++)
		fn_output(b->fn, p->persistent.data[i].path, e->session->infos.data[i].initial, -1);
	return deliver(p, b, NULL);
}
