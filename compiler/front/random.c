/* random.c: random numbers.
 *
 * In: `normal`, `uniform`, `bernoulli`.  Out: Random values, which say what they are functions of: the seed, the number of the
 * batch (0 where nothing is trained), the number of the step of the scans around them, the place of the call in the program, and
 * the element.  Guaranteed: two calls, also of one layer that is called twice, draw different numbers; reading a value again, as
 * a derivative does, gives the same.
 *
 * A place is the instance path it stands in (in an initial value: of the tensor) and how many calls stood there before it.
 * Evaluation and prediction draw with seed 0 and step 0: what they say depends on nothing but weights and data. */
#include <string.h>

#include "session.h"

typedef struct Sites { VEC(Counter) paths; } Sites;

/* Of the train block by itself: its name. */
static const char *path_here(Elab *e) {
	const TrainState *t = e->build->train;
	const char *path = e->activation ? e->activation->path : NULL;
	if (path) return path;
	return t && t->decl->name.text ? t->decl->name.text : "";
}

static int next_call(Elab *e, const char *path) {
	Build *b = e->build;
	if (!b->sites) b->sites = NEW(e->arena, Sites);
	for (int i = 0; i < b->sites->paths.length; i++)
		if (!strcmp(b->sites->paths.data[i].name, path)) return b->sites->paths.data[i].count++;
	vec_push(e->arena, &b->sites->paths, ((Counter){path, 1}));
	return 0;
}

static int64_t next_site(Elab *e) {
	Session *s = e->session;
	bool initial = e->build->initialising;
	const char *path = initial ? s->init_path : path_here(e);
	uint64_t key = hash_bytes(path, strlen(path), 0);
	return (int64_t)(hash_mix(key + (uint64_t)(initial ? s->init_site++ : next_call(e, path))) >> 1);
}

static Val *seed_here(Elab *e) {
	Fn *f = fn_of(e);
	const int64_t two = 2;
	if (!e->build->training) return ir_broadcast(f, ir_const(f, DTYPE_I32, 0), 1, &two, NULL);
	for (int i = 0; i < f->inputs.length; i++)
		if (f->inputs.data[i].kind == INPUT_SEED) return f->inputs.data[i].val;
	return fn_input(f, "seed", INPUT_SEED, type_make(DTYPE_I32, 1, &two));
}

/* The number of the batch: that of the update, where several batches make one (s - 1) * k + how many were before this one + 1. */
static Val *batch_here(Elab *e, Span span) {
	Fn *f = fn_of(e);
	TrainState *t = e->build->train;
	bool found;
	if (!e->build->training || e->build->initialising) return ir_const(f, DTYPE_I32, 0);
	Val *step = special_name(e, "step", span, &found).as.tensor.val, *one = ir_const(f, DTYPE_I32, 1);
	int64_t k = t ? e->program->trains.data[t->index].accumulate : 1;
	if (k == 1 || t->mode != TRAIN_STEP) return step;
	Val *before = ir_Mul(f, ir_Sub(f, step, one), ir_const(f, DTYPE_I32, (double)k));
	return ir_Add(f, ir_Add(f, before, accumulated_before(e, t)), one);
}

/* Elements are numbered in 32 bits. */
static bool check_draw(Elab *e, const Call *c, Type type, const Dim *dims) {
	if (type_count(type) <= (int64_t)1 << 32) return true;
	elab_error(e, c->at, "`%s` of shape %s: at most 4294967296 random numbers are made by one call", c->self->name,
	           shape_text(e->arena, type.rank, dims));
	return false;
}

typedef struct Draw { Type type; Dim dims[MAX_RANK]; int64_t site; Val *seed, *batch, *step; } Draw;

/* What a call draws; its shape is `n` values, ints or lists of ints.  False after an error. */
static bool draw_here(Elab *e, Call *c, int n, const Value *values, const Span *spans, Draw *d) {
	int rank = 0;
	*d = (Draw){0};
	if (e->build->finishing) {
		elab_error(e, c->at, "`%s` stands outside `total(..)` in a metric made of totals", c->self->name);
		return false;
	}
	if (!collect_dims(e, n, values, spans, &rank, d->dims, c->at) || !check_count(e, rank, d->dims, c->at)) return false;
	d->type = (Type){.dtype = DTYPE_F32, .rank = rank};
	sizes_of(e, rank, d->dims, d->type.dim);
	if (!check_draw(e, c, d->type, d->dims)) return false;
	d->step = scan_step(e, c->at);
	d->site = next_site(e);
	d->seed = seed_here(e);
	d->batch = batch_here(e, c->at);
	return d->step != NULL;
}

/* Uniform in [0, 1). */
static Val *draw_word(Elab *e, const Draw *d, int word) {
	return ir_random(fn_of(e), d->type, d->seed, d->batch, d->step, d->site, word);
}

static Value random_value(Elab *e, Val *v, const Dim *dims, Span span) {
	Value value = value_tensor(e, v, dims, span);
	value.as.tensor.weak = true;
	return value;
}

Value builtin_normal(Elab *e, Call *c) {
	Draw d;
	if (!draw_here(e, c, c->nrest, c->rest, c->rest_span, &d)) return value_poison();
	Fn *f = fn_of(e);
	Val *u0 = draw_word(e, &d, 0), *u1 = draw_word(e, &d, 1);
	Val *radius = ir_Sqrt(f, ir_Mul(f, ir_like(f, u0, -2), ir_Log(f, ir_Sub(f, ir_like(f, u0, 1), u0))));
	Val *angle = ir_Mul(f, ir_like(f, u1, 2 * 3.14159265358979323846), u1);
	return random_value(e, ir_Mul(f, radius, ir_Cos(f, angle)), d.dims, c->span);
}

Value builtin_uniform(Elab *e, Call *c) {
	Draw d;
	if (!draw_here(e, c, 1, c->slot, c->slot_span, &d)) return value_poison();
	Value u = random_value(e, draw_word(e, &d, 0), d.dims, c->span);
	Value lo = c->given[1] ? c->slot[1] : value_int(0, c->span), hi = c->given[2] ? c->slot[2] : value_int(1, c->span);
	if (!c->given[1] && !c->given[2]) return u;
	Value width = apply_binary(e, OPERATOR_SUB, hi, lo, c->span, c->at);
	return apply_binary(e, OPERATOR_ADD, apply_binary(e, OPERATOR_MUL, u, width, c->span, c->at), lo, c->span, c->at);
}

/* What `nnc grad` prints for the others: `philox(seed, batch, step, site, word, d..)` names all that they are functions of;
 * instead of dims the numbers of the elements, where these are not all that a call of those dims has. */
Value builtin_philox(Elab *e, Call *c) {
	Val *key[3];
	Dim number[2], dims[MAX_RANK];
	int64_t value[2];
	int rank = 0;
	for (int i = 0; i < 3; i++) {
		Value v = c->slot[i];
		if (v.kind == VALUE_INDEX) v = elab_index_number(e, v, c->slot_span[i]);
		v = to_tensor(e, v, DTYPE_I32, c->slot_span[i]);
		if (!value_ok(v)) return v;
		bool fits = !v.as.tensor.nlabels && v.as.tensor.rank == (i ? 0 : 1) && (i || v.as.tensor.val->type.dim[0] == 2);
		if (!fits)
			return elab_error(e, c->slot_span[i], "`philox` wants %s, not %s",
			                  i ? "a number for batch and step" : "i32[2] as its seed", value_text(e, v));
		key[i] = v.as.tensor.val;
	}
	for (int i = 0; i < 2; i++) {
		if (!value_to_int(e, c->slot[3 + i], i ? "the word" : "the site", c->slot_span[3 + i], &number[i])) return value_poison();
		if (!dim_known(number[i], &value[i]) || value[i] < 0 || (i && value[i] > 3))
			return elab_error(e, c->slot_span[3 + i], "%s %s of `philox`", i ? "word" : "site", dim_text(e->arena, number[i]));
	}
	if (c->nrest == 1 && c->rest[0].kind == VALUE_TENSOR) {
		Value at = c->rest[0];
		if (at.as.tensor.nlabels || value_dtype(&at) != DTYPE_I32)
			return elab_error(e, c->rest_span[0], "`philox` wants sizes or the numbers of elements, i32, not %s",
			                  value_text(e, at));
		Val *v = ir_random_at(fn_of(e), key, at.as.tensor.val, value[0], (int)value[1]);
		return value_tensor(e, v, at.as.tensor.dims, c->span);
	}
	if (!collect_dims(e, c->nrest, c->rest, c->rest_span, &rank, dims, c->at) || !check_count(e, rank, dims, c->at))
		return value_poison();
	Type type = {.dtype = DTYPE_F32, .rank = rank};
	sizes_of(e, rank, dims, type.dim);
	if (!check_draw(e, c, type, dims)) return value_poison();
	return value_tensor(e, ir_random(fn_of(e), type, key[0], key[1], key[2], value[0], (int)value[1]), dims, c->span);
}

static bool may_be_probability(Value p) {
	int64_t n;
	if (p.kind == VALUE_REAL) return p.as.real >= 0 && p.as.real <= 1;
	if (p.kind == VALUE_INT) return !dim_known(p.as.integer, &n) || n == 0 || n == 1;
	return p.kind == VALUE_TENSOR;
}

Value builtin_bernoulli(Elab *e, Call *c) {
	Draw d;
	Value p = c->slot[0];
	if (value_ok(p) && !may_be_probability(p))
		return elab_error(e, c->slot_span[0], "`bernoulli` wants a probability, 0 to 1, not %s", value_text(e, p));
	if (!draw_here(e, c, c->nrest, c->rest, c->rest_span, &d)) return value_poison();
	if (infers(e) && !is_library(e, c->at)) {
		diag_warning(e->diag, blame(e, c->at), "`bernoulli` is drawn in evaluation and prediction, too");
		elab_help(e, "`if training { ... }` keeps it to training");
	}
	Value u = random_value(e, draw_word(e, &d, 0), d.dims, c->span);
	return apply_binary(e, OPERATOR_LT, u, c->slot[0], c->span, c->at);
}
