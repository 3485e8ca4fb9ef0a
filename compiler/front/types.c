/* types.c: written types: evaluated where a tensor is declared, matched where a value meets a signature.
 *
 * In: TypeExpr and values.  Out: dtype and sizes; or the value as the callee sees it, its dim names bound.
 * Guaranteed: a value that passed match_type has the dtype, rank, sizes and tag its signature states. */
#include <string.h>

#include "session.h"

static const char *const tag_names[TAG_COUNT] = {"", "logits", "probs", "logprobs"};
const char *tag_text(Tag tag) { return tag_names[tag]; }

Tag tag_named(const char *name) {
	for (int i = 1; name && i < TAG_COUNT; i++)
		if (!strcmp(name, tag_names[i])) return (Tag)i;
	return TAG_NONE;
}

static bool dtype_is(const TypeExpr *t, const char *name) { return t->dtype.text && !strcmp(t->dtype.text, name); }
bool type_is_static(const TypeExpr *t) { return dtype_is(t, "int") || dtype_is(t, "bool") ? !t->has_dims : dtype_is(t, "fn"); }

/* The type as written. */
const char *type_expr_text(Elab *e, Scope *scope, const TypeExpr *type) {
	(void)scope;
	const Source *s = type->span.source ? &e->diag->sources.data[type->span.source - 1] : NULL;
	if (!s || type->span.end > s->length || type->span.begin >= type->span.end) return "the declared type";
	return arena_text(e->arena, s->text + type->span.begin, type->span.end - type->span.begin);
}

static DType eval_dtype(const TypeExpr *type) {
	DType dtype = DTYPE_F32;
	if (!type->dtype.text) return DTYPE_F32;
	if (type->classes || dtype_is(type, "class") || dtype_is(type, "index") || dtype_is(type, "int")) return DTYPE_I32;
	if (!dtype_named(type->dtype.text, &dtype)) die("a type '%s'", type->dtype.text);   /* the parser knows all of them */
	return dtype;
}

/* Puts ints, and lists of ints, one after the other. */
bool collect_dims(Elab *e, int n, const Value *values, const Span *spans, int *rank, Dim *dims, Span span) {
	for (int i = 0; i < n; i++) {
		Value v = values[i];
		Span at = spans ? spans[i] : span;
		if (v.kind == VALUE_LIST || v.kind == VALUE_TUPLE) {
			if (!collect_dims(e, v.as.list.count, v.as.list.items, NULL, rank, dims, at)) return false;
			continue;
		}
		Dim d;
		if (!value_to_int(e, v, "a size", at, &d)) return false;
		if (*rank == MAX_RANK) {
			elab_error(e, at, "more than %d dims", MAX_RANK);
			return false;
		}
		dims[(*rank)++] = d;
	}
	return true;
}

bool eval_type(Elab *e, Scope *scope, const TypeExpr *type, DType *dtype, int64_t *classes, int *rank, Dim *dims) {
	*rank = 0;
	if (dtype_is(type, "fn")) {
		elab_error(e, type->span,
		           "`fn` is the type of a function: a parameter may be one, numbers that are read or kept may not");
		elab_help(e, "numbers are f32, or one of f64 f16 bf16 i32 i8 u8 bool, class[n] or index");
		return false;
	}
	*classes = dtype_is(type, "index") ? -1 : 0;
	*dtype = eval_dtype(type);
	if (type->leading_dots) {
		elab_error(e, type->span, "`..` stands for the dims of an argument; here every size must be given");
		return false;
	}
	if (type->classes) {
		Dim n;
		if (!eval_int(e, scope, type->classes, "the number of classes", &n)) return false;
		if (!dim_known(n, classes) || *classes < 1 || *classes > INT32_MAX) {
			elab_error(e, type->classes->span, "%s classes", dim_text(e->arena, n));
			return false;
		}
	}
	for (int i = 0; i < type->dims.length; i++) {
		Value v = eval_expr(e, scope, type->dims.data[i]);
		Span at = type->dims.data[i]->span;
		if (!value_ok(v) || !collect_dims(e, 1, &v, &at, rank, dims, at)) return false;
	}
	return check_count(e, *rank, dims, type->span);
}

/* ---- matching ---- */

static bool is_bare(const Scope *scope, const Expr *dim) {
	return dim->kind == EXPR_NAME && !has_const(scope->file, dim->name.text);
}

static bool local_in(Scope *scope, const char *name) {
	for (int i = 0; i < scope->bindings.length; i++)
		if (scope->bindings.data[i]->name == name) return true;
	return false;
}

static void bind_size(Elab *e, Scope *scope, const Expr *dim, Dim size, Span span) {
	if (!is_bare(scope, dim) || local_in(scope, dim->name.text)) return;
	size.name = dim->name.text;
	Binding *b = scope_bind(e, scope, dim->name, value_dim(size, span));
	b->span = span;
}

static void bind_names(Elab *e, Scope *scope, const TypeExpr *type, const Value *v, Span span) {
	int wanted = type->dims.length, rank = v->as.tensor.rank;
	if (type->classes && v->as.tensor.classes > 0) bind_size(e, scope, type->classes, dim_number(v->as.tensor.classes), span);
	if (wanted > rank || (wanted < rank && !type->leading_dots)) return;
	for (int i = 0; i < wanted; i++) bind_size(e, scope, type->dims.data[i], v->as.tensor.dims[rank - wanted + i], span);
}

static Value wrong_kind(Elab *e, const TypeExpr *type, Value v, const char *who, Span span) {
	elab_error(e, span, "%s wants `%s`, not %s", who, type_expr_text(e, NULL, type), value_text(e, v));
	if (!type_is_static(type)) help_call(e, v);   /* what a function gives would not be known to the compiler */
	if (dtype_is(type, "int") && v.kind == VALUE_TENSOR)
		elab_help(e, "it shapes the program, so it must be known to the compiler");
	return value_poison();
}

static Value match_static(Elab *e, const TypeExpr *type, Value v, const char *who, Span span) {
	bool function = v.kind == VALUE_FUNCTION || v.kind == VALUE_BUILTIN || v.kind == VALUE_INSTANCE;
	if (dtype_is(type, "fn")) return function ? v : wrong_kind(e, type, v, who, span);
	if (dtype_is(type, "bool")) return v.kind == VALUE_BOOL ? v : wrong_kind(e, type, v, who, span);
	Dim n;
	if (v.kind != VALUE_INT && v.kind != VALUE_REAL) return wrong_kind(e, type, v, who, span);
	return value_to_int(e, v, who, span, &n) ? value_dim(n, v.span) : value_poison();
}

/* Who takes the tag that v has, on its first argument: for the help line. */
static const Decl *taker_of(Elab *e, Tag tag, const char *not_this) {
	Session *s = e->session;
	for (int i = 0; i < s->files.length + s->library.length; i++) {
		const File *f = i < s->files.length ? s->files.data[i] : s->library.data[i - s->files.length];
		for (int j = 0; j < f->tree->decls.length; j++) {
			const Decl *d = f->tree->decls.data[j];
			if (d->kind != DECL_FN || d->params.length < 2 || (not_this && !strcmp(d->name.text, not_this))) continue;
			const TypeExpr *t = d->params.data[0].type, *second = d->params.data[1].type;
			if (t && second && !d->params.data[1].value && tag_named(t->tag.text) == tag && !second->tag.text) return d;
		}
	}
	return NULL;
}

/* Who makes the tag from what `maker` takes, by a name that is part of the other. */
static const Decl *giver_of(Elab *e, Tag tag, const Decl *maker) {
	Session *s = e->session;
	const TypeExpr *from = maker && maker->params.length ? maker->params.data[0].type : NULL;
	for (int i = 0; from && i < s->files.length + s->library.length; i++) {
		const File *f = i < s->files.length ? s->files.data[i] : s->library.data[i - s->files.length];
		for (int j = 0; j < f->tree->decls.length; j++) {
			const Decl *d = f->tree->decls.data[j];
			if (d->kind != DECL_FN || !d->params.length || !d->result || tag_named(d->result->tag.text) != tag) continue;
			const TypeExpr *t = d->params.data[0].type;
			bool kin =
			    strstr(maker->name.text, d->name.text) || strstr(d->name.text, maker->name.text); /* softmax, log_softmax */
			if (kin && t && t->tag.text == from->tag.text) return d;
		}
	}
	return NULL;
}

void wrong_tag(Elab *e, Value v, Tag wanted, const char *who, Span span) {
	Tag have = v.as.tensor.tag;
	const Decl *maker = v.as.tensor.tag_maker;
	elab_error(e, span, "%s wants %s, but this is %s", who, tag_text(wanted), tag_text(have));
	if (maker) elab_note(e, v.as.tensor.tag_span, "`%s` made it %s here", maker->name.text, tag_text(have));
	else if (v.as.tensor.tag_span.source) elab_note(e, v.as.tensor.tag_span, "it is declared %s here", tag_text(have));
	const TypeExpr *before = maker && maker->params.length ? maker->params.data[0].type : NULL;
	const Decl *taker = taker_of(e, have, NULL), *giver = giver_of(e, wanted, maker);
	if (before && tag_named(before->tag.text) == wanted)
		elab_help(e, "leave out `%s`: pass the %s themselves, it is applied inside", maker->name.text, tag_text(wanted));
	else if (giver) elab_help(e, "`%s` in place of `%s` gives %s", giver->name.text, maker->name.text, tag_text(wanted));
	else if (taker) elab_help(e, "`%s` takes %s", taker->name.text, tag_text(have));
}

static bool ends_with_channels(const TypeExpr *type) {
	const Expr *last = type->dims.length ? type->dims.data[type->dims.length - 1] : NULL;
	return last && last->kind == EXPR_NAME && !strcmp(last->name.text, "C");
}

/* dim: the size that differs, at `axis`; NULL: the rank does.  `spliced`: the shape wanted, where the type is written with a
 * list of sizes; else NULL. */
static Value wrong_shape(Elab *e, Scope *scope, const TypeExpr *type, Value v, const char *who, Span span, const Expr *dim,
                         int axis, const char *spliced, int wanted) {
	int rank = v.as.tensor.rank;
	const char *written = spliced ? spliced : type_expr_text(e, scope, type),
	           *shape = shape_text(e->arena, rank, v.as.tensor.dims);
	if (!dim) elab_error(e, span, "%s has %s %s, expected %s%d: `%s`", who, arena_count(e->arena, rank, "dim"), shape,
		type->leading_dots ? "at least " : "", wanted, written);
	else elab_error(e, span, "%s is %s, expected `%s`", who, value_text(e, v), written);
	if (v.span.source && v.span.begin != span.begin) note_value(e, "the value", v);
	Binding *b = dim && dim->kind == EXPR_NAME ? scope_find(scope, dim->name.text) : NULL;
	if (b && b->value.kind == VALUE_INT) {
		Dim d = b->value.as.integer;
		d.name = NULL;
		bool itself = !strcmp(dim_text(e->arena, d), dim->name.text);
		if (!itself) elab_note(e, b->span, "`%s` is %s here", dim->name.text, dim_text(e->arena, d));
		else elab_note(e, type->span, "`%s` is the size of the batch, and no other", dim->name.text);
	} else if (!is_library(e, type->span)) elab_note(e, type->span, "the type is declared here");
	int64_t one;
	if (axis >= 0 && dim->kind == EXPR_NUMBER && !dim_known(v.as.tensor.dims[axis], &one))
		elab_help(e, "the size of the batch is written `B`, whatever number it is");
	if (!dim && !type->leading_dots && rank == wanted + 1 && dim_known(v.as.tensor.dims[rank - 1], &one) && one == 1)
		elab_help(e, "`[.., 0]` after it drops the last dim");
	else if (!dim && !type->leading_dots && wanted == 2 && rank > 2)
		elab_help(e, "%s`flatten` or `global_avg_pool` before the last `dense` leaves one row for each sample",
			rank == 3 ? "`last_step`, " : "");
	else if (!dim && !type->leading_dots && rank + 1 == wanted && is_library(e, type->span) && ends_with_channels(type))
		elab_help(e, "`reshape(x, dims(x), 1)` gives it one channel");
	return value_poison();
}

static bool match_dims(Elab *e, Scope *scope, const TypeExpr *type, Value *v, const char *who, Span span) {
	int wanted = type->dims.length, rank = v->as.tensor.rank;
	for (int i = 0; i < wanted; i++)   /* [dims(p)] splices: then sizes are compared as a whole */
		if (type->dims.data[i]->kind == EXPR_CALL) {
			Dim dims[MAX_RANK];
			DType dtype;
			int64_t classes;
			if (!eval_type(e, scope, type, &dtype, &classes, &wanted, dims)) return false;
			bool same = wanted == rank;
			for (int j = 0; same && j < rank; j++) same = dim_equal(dims[j], v->as.tensor.dims[j]);
			if (same) return true;
			wrong_shape(e, scope, type, *v, who, span, wanted == rank ? type->dims.data[i] : NULL, -1,
				shape_text(e->arena, wanted, dims), wanted);
			if (rank + 1 == wanted && dim_equal(dims[rank], dim_number(1)))
				elab_help(e, "the other one is a column: `[.., 0]` after that drops its last dim");
			return false;
		}
	if (wanted > rank || (wanted < rank && !type->leading_dots))
		return wrong_shape(e, scope, type, *v, who, span, NULL, -1, NULL, wanted), false;
	Dim *dims = NEW_ARRAY(e->arena, Dim, rank + 1);
	for (int i = 0; i < rank; i++) dims[i] = v->as.tensor.dims[i];
	for (int i = 0; i < wanted; i++) {
		const Expr *written = type->dims.data[i];
		Dim d;
		if (!eval_int(e, scope, written, "a size", &d)) return false;
		if (!dim_equal(d, dims[rank - wanted + i]))
			return wrong_shape(e, scope, type, *v, who, span, written, rank - wanted + i, NULL, wanted), false;
		if (written->kind == EXPR_NAME) dims[rank - wanted + i].name = written->name.text;
	}
	v->as.tensor.dims = dims;
	return true;
}

static Value wrong_dtype(Elab *e, const TypeExpr *type, Value v, const char *who, Span span, DType dtype, bool integers) {
	elab_error(e, span, "%s wants `%s`, not %s", who, type_expr_text(e, NULL, type), value_text(e, v));
	note_value(e, "the value", v);
	if (integers && value_dtype(&v) == DTYPE_BOOL) elab_help(e, "write `as i32` after it");
	else if (integers && v.as.tensor.rank > 1 && dtype_is_float(value_dtype(&v)))
		elab_help(e,
		          "labels and indices are integers, one number for each: `argmax(...)` of one-hot rows or of scores gives them");
	else if (integers)
		elab_help(e, "labels and indices are integers: declare it `class[n]` or `i32`, or write `as i32` after it");
	else if (!integers) elab_help(e, "nothing is converted by itself: write `as %s` after it", dtype_info[dtype].text);
	return value_poison();
}

Value match_type(Elab *e, Scope *scope, const TypeExpr *type, Value v, const char *who, Span span, MatchStage stage) {
	if (!value_ok(v)) return v;
	if (type_is_static(type)) return stage == MATCH_NAMES ? v : match_static(e, type, v, who, span);
	if (v.kind == VALUE_INDEX) v = elab_index_number(e, v, span);
	if (stage == MATCH_NAMES) {
		if (v.kind == VALUE_TENSOR) bind_names(e, scope, type, &v, span);
		return v;
	}
	DType dtype = eval_dtype(type);
	if (value_static(v) || (v.kind == VALUE_TENSOR && v.as.tensor.weak)) {
		v = to_tensor(e, v, dtype, span);
		if (!value_ok(v)) return v;
		v.as.tensor.weak = !type->dtype.text;   /* a number for "any float" still takes the dtype that it meets */
	}
	if (v.kind != VALUE_TENSOR) return wrong_kind(e, type, v, who, span);
	DType have = value_dtype(&v);
	bool integers = type->classes || dtype_is(type, "index") || dtype_is(type, "int") || dtype_is(type, "class"),
	     is_int = dtype_info[have].class == 'I';
	bool fits = integers ? is_int : !type->dtype.text ? dtype_is_float(have) : have == dtype || (is_int && dtype == DTYPE_I32);
	if (!fits) return wrong_dtype(e, type, v, who, span, dtype, integers);
	if (!match_dims(e, scope, type, &v, who, span)) return value_poison();
	if (type->classes) {
		Dim n;
		int64_t classes;
		if (is_bare(scope, type->classes) && !scope_find(scope, type->classes->name.text)) return v;
		if (!eval_int(e, scope, type->classes, "the number of classes", &n) || !dim_known(n, &classes)) return value_poison();
		if (v.as.tensor.classes > 0 && v.as.tensor.classes != classes) {
			elab_error(e, span, "%s has %s, expected %lld", who, arena_count(e->arena, v.as.tensor.classes, "class"),
			           (long long)classes);
			note_value(e, "the value", v);
			return value_poison();
		}
		v.as.tensor.classes = classes;
	}
	Tag tag = tag_named(type->tag.text);
	if (tag && v.as.tensor.tag && v.as.tensor.tag != tag) {
		wrong_tag(e, v, tag, who, span);
		return value_poison();
	}
	if (tag && !v.as.tensor.tag) {
		v.as.tensor.tag = tag;
		v.as.tensor.tag_span = blame(e, type->span);
		v.as.tensor.tag_maker = NULL;
	}
	return v;
}
