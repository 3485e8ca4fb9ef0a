/* data.c: data declarations.
 *
 * In: `data NAME { field: type = source }`.  Out: DataSets for the readers; literal lists are read here.  Nothing is opened:
 * sizes of files come from the probe. */
#include <math.h>
#include <string.h>

#include "session.h"

typedef struct SourceForm { const char *name; SourceKind kind; const char *settings[4]; } SourceForm;
static const SourceForm sources[] = {
	{"idx", SOURCE_IDX, {NULL}}, {"csv", SOURCE_CSV, {"columns", "column"}}, {"npy", SOURCE_NPY, {NULL}},
	{"raw", SOURCE_RAW, {"offset"}}, {"chars", SOURCE_CHARS, {"window", "offset", "vocab"}},
};

static const SourceForm *source_named(const char *name) {
	for (int i = 0; i < (int)COUNT(sources); i++)
		if (!strcmp(sources[i].name, name)) return &sources[i];
	return NULL;
}

static void unknown_source(Elab *e, const Expr *x) {
	const char *names[COUNT(sources)], *written = x->kind == EXPR_CALL && x->left->kind == EXPR_NAME ? x->left->name.text : NULL;
	for (int i = 0; i < (int)COUNT(sources); i++) names[i] = sources[i].name;
	const char *near = written ? nearest_name(written, names, COUNT(sources)) : NULL;
	if (written) elab_error(e, x->left->span, "unknown data source `%s`", written);
	else elab_error(e, x->span, "a field comes from a source or a list");
	if (near) elab_help(e, "did you mean `%s`?", near);
	else elab_help(e, "sources are idx, csv, npy, raw, chars, and lists as in `[[0, 1], [1, 0]]`");
}

/* ---- csv columns ---- */

static bool csv_columns(Elab *e, DataField *f, Value v, bool one, Span span) {
	VEC(const char *) names = {0};
	if (v.kind == VALUE_STRING || (one && v.kind == VALUE_INT))
		v = value_list(VALUE_LIST, 1, arena_copy(e->arena, &v, sizeof v), span);
	if (v.kind == VALUE_LIST && !v.as.list.count) return elab_error(e, span, "these are no columns: the list is empty"), false;
	if (v.kind != VALUE_LIST) {
		if (value_ok(v)) elab_error(e, span, "columns are names, numbers or a range, not %s", value_text(e, v));
		return false;
	}
	for (int i = 0; i < v.as.list.count; i++) {
		Value item = v.as.list.items[i];
		Dim d;
		int64_t n;
		if (item.kind == VALUE_STRING) {
			vec_push(e->arena, &names, item.as.string);
			continue;
		}
		if (!value_to_int(e, item, "a column", span, &d) || !dim_known(d, &n)) return false;
		if (n < 0) return elab_error(e, span, "there is no column %lld: they count from 0", (long long)n), false;
		if (names.length || n > INT32_MAX || (i && n != f->first_column + i)) {
			elab_error(e, span, "columns by number are one range, as in `columns = 0..3`");
			return false;
		}
		if (!i) f->first_column = (int)n;
	}
	if (names.length && names.length != v.as.list.count) {
		elab_error(e, span, "columns are names or numbers, not both");
		return false;
	}
	f->columns = names.data;
	f->ncolumns = v.as.list.count;
	return true;
}

static bool source_setting(Elab *e, Scope *scope, DataField *f, const SourceForm *form, const Argument *a) {
	const char *names[4];
	int n = 0;
	while (n < 4 && form->settings[n]) names[n] = form->settings[n], n++;
	bool known = false;
	for (int i = 0; i < n; i++) known |= !strcmp(names[i], a->name.text);
	if (!known) {
		const char *near = n ? nearest_name(a->name.text, names, n) : NULL;
		elab_error(e, a->name.span, "`%s` has no setting `%s`", form->name, a->name.text);
		if (near) elab_help(e, "did you mean `%s`?", near);
		return false;
	}
	Value v = eval_argument(e, scope, a);
	if (!value_ok(v)) return false;
	if (form->kind == SOURCE_CSV) return csv_columns(e, f, v, !strcmp(a->name.text, "column"), a->span);
	if (!strcmp(a->name.text, "vocab")) {
		if (v.kind != VALUE_STRING) return elab_error(e, a->span, "`vocab` wants a path, not %s", value_text(e, v)), false;
		f->vocab = v.as.string;
		return true;
	}
	Dim d;
	int64_t number;
	if (!value_to_int(e, v, "a setting of a source", a->span, &d) || !dim_known(d, &number)) return false;
	bool window = !strcmp(a->name.text, "window");
	if (number < window || number > INT32_MAX) {
		elab_error(e, a->span, "`%s` is %lld", a->name.text, (long long)number);
		return false;
	}
	*(window ? &f->window : &f->offset) = number;
	return true;
}

static bool check_chars(Elab *e, DataField *f, Span span) {
	int64_t elements = type_count(f->type);
	if (!f->window) f->window = elements;
	if (!f->vocab) f->vocab = f->path;
	if (f->window != elements) {
		elab_error(e, span, "`window` is %lld, the field has %s", (long long)f->window,
		           arena_count(e->arena, elements, "element"));
		return false;
	}
	if (f->type.dtype == DTYPE_I32 || f->type.dtype == DTYPE_U8 || f->type.dtype == DTYPE_I8) return true;
	elab_error(e, f->span, "`chars` gives numbers of characters, not %s", dtype_info[f->type.dtype].text);
	elab_help(e, "the field is `i32`, or `class[V]` with `const V = vocab(\"%s\")`", f->path);
	return false;
}

static bool read_source(Elab *e, Scope *scope, DataField *f, const Expr *x) {
	const SourceForm *form = x->left->kind == EXPR_NAME ? source_named(x->left->name.text) : NULL;
	if (!form) return unknown_source(e, x), false;
	f->kind = form->kind;
	int64_t elements = type_count(f->type);
	for (int i = 0; i < x->arguments.length; i++) {
		const Argument *a = &x->arguments.data[i];
		if (a->name.text) {
			if (!source_setting(e, scope, f, form, a)) return false;
			continue;
		}
		Value v = eval_argument(e, scope, a);
		if (!value_ok(v)) return false;
		if (v.kind != VALUE_STRING || f->path) {
			elab_error(e, a->span, f->path ? "`%s` takes one path" : "`%s` wants a path", form->name);
			return false;
		}
		if (!*v.as.string) return elab_error(e, a->span, "the name of the file is empty"), false;
		f->path = v.as.string;
	}
	if (!f->path) {
		elab_error(e, x->span, "`%s` needs a path", form->name);
		return false;
	}
	f->all_columns = f->kind == SOURCE_CSV && !f->ncolumns;
	if (f->all_columns) f->ncolumns = (int)MIN(elements, INT32_MAX);
	if (f->kind == SOURCE_CSV && f->ncolumns != elements) {
		elab_error(e, x->span, "%s for a field of %s", arena_count(e->arena, f->ncolumns, "column"),
		           arena_count(e->arena, elements, "element"));
		return false;
	}
	return f->kind != SOURCE_CHARS || check_chars(e, f, x->span);
}

/* ---- literal lists ---- */

typedef struct Literal { VEC(double) values; DataField *field; Span span; } Literal;

static void wrong_length(Elab *e, const Literal *l, Value v, int depth) {
	elab_error(e, v.span, "%s, the type says %lld", arena_count(e->arena, v.as.list.count, "item"),
	           (long long)l->field->type.dim[depth - 1]);
	if (depth == 1) elab_help(e, "the type of a field is that of one sample");
}

static bool literal_item(Elab *e, Literal *l, Value v, int depth) {
	const Type *t = &l->field->type;
	if (depth <= t->rank) {   /* depth 0 is the list of samples */
		if (v.kind != VALUE_LIST) return elab_error(e, v.span, "a list is wanted here, not %s", value_text(e, v)), false;
		if (depth && v.as.list.count != t->dim[depth - 1])
			return wrong_length(e, l, v, depth), false;
		for (int i = 0; i < v.as.list.count; i++)
			if (!literal_item(e, l, v.as.list.items[i], depth + 1)) return false;
		return true;
	}
	int64_t n = 0;
	if (v.kind == VALUE_BOOL) v = value_int(v.as.truth, v.span);
	bool number = v.kind == VALUE_REAL || (v.kind == VALUE_INT && dim_known(v.as.integer, &n));
	if (!number) return elab_error(e, v.span, "a number is wanted here, not %s", value_text(e, v)), false;
	double x = v.kind == VALUE_REAL ? v.as.real : (double)n;
	DType d = t->dtype;
	double low = d == DTYPE_U8 || d == DTYPE_BOOL ? 0 : d == DTYPE_I8 ? -128 : -2147483648.0;
	double high = d == DTYPE_U8 ? 255 : d == DTYPE_BOOL ? 1 : d == DTYPE_I8 ? 127 : 2147483647.0;
	if (l->field->classes > 0) low = 0, high = (double)l->field->classes - 1;
	if (!dtype_is_float(d) && !(x >= low && x <= high && x == floor(x))) {
		if (l->field->classes > 0)
			elab_error(e, v.span, "%s is not in 0..%lld", value_text(e, v), (long long)l->field->classes - 1),
				elab_help(e, "classes count from 0");
		else elab_error(e, v.span, "%s is not a value of %s", value_text(e, v), dtype_info[d].text);
		return false;
	}
	vec_push(e->arena, &l->values, x);
	return true;
}

static bool read_literal(Elab *e, Scope *scope, DataField *f, const Expr *x) {
	Literal l = {.field = f, .span = x->span};
	Value v = eval_expr(e, scope, x);
	f->kind = SOURCE_LITERAL;
	if (!value_ok(v) || !literal_item(e, &l, v, 0)) return false;
	if (!l.values.length) return elab_error(e, x->span, "an empty list of samples"), false;
	f->values = l.values.data;
	f->nvalues = l.values.length;
	return true;
}

/* ---- declarations ---- */

static const DataField *like_field(Elab *e, const DataSet *model, Name name) {
	VEC(const char *) names = {0};
	for (int i = 0; i < model->nfields; i++) {
		if (model->fields[i].name == name.text) return &model->fields[i];
		vec_push(e->arena, &names, model->fields[i].name);
	}
	const char *near = nearest_name(name.text, names.data, names.length);
	elab_error(e, name.span, "`%s` has no field `%s`", model->name, name.text);
	if (near) elab_help(e, "did you mean `%s`?", near);
	return NULL;
}

static bool read_field(Elab *e, Scope *scope, const Field *field, const DataSet *model, DataField *f) {
	DType dtype;
	int rank;
	Dim dims[MAX_RANK];
	*f = (DataField){.name = field->name.text, .span = field->name.span};
	if (field->type) {
		if (!eval_type(e, scope, field->type, &dtype, &f->classes, &rank, dims)) return false;
		f->type = (Type){.dtype = dtype, .rank = rank};
		for (int i = 0; i < rank; i++)
			if (!dim_known(dims[i], &f->type.dim[i])) die("a size of the field '%s' contains B", f->name);
		if (rank == MAX_RANK) return elab_error(e, field->type->span, "more than %d dims, with the batch", MAX_RANK), false;
	} else if (model) {
		const DataField *like = like_field(e, model, field->name);
		if (!like) return false;
		f->type = like->type;
		f->classes = like->classes;
		f->vocab = like->vocab;
	} else die("the field '%s' has no type", field->name.text);
	if (!field->value || field->value->kind == EXPR_ERROR) return false;
	return field->value->kind == EXPR_CALL ? read_source(e, scope, f, field->value) : read_literal(e, scope, f, field->value);
}

/* Fields that look ahead in one text lose as many windows as the one that looks farthest. */
static void set_reach(DataSet *set) {
	for (int i = 0; i < set->nfields; i++) {
		DataField *f = &set->fields[i];
		for (int k = 0; f->kind == SOURCE_CHARS && k < set->nfields; k++) {
			const DataField *other = &set->fields[k];
			bool whole = f->path && other->path;   /* else it was wrong, and is reported */
			if (other->kind == SOURCE_CHARS && other->window == f->window && whole && !strcmp(other->path, f->path))
				f->reach = MAX(f->reach, other->offset);
		}
	}
}

static bool check_counts(Elab *e, const DataSet *set) {
	const DataField *first = NULL;
	for (int i = 0; i < set->nfields; i++) {
		const DataField *f = &set->fields[i];
		if (f->kind != SOURCE_LITERAL) continue;
		int64_t n = f->nvalues / type_count(f->type);
		if (!first) first = f;
		int64_t have = first->nvalues / type_count(first->type);
		if (n == have) continue;
		elab_error(e, f->span, "`%s` has %s, `%s` has %lld", f->name, arena_count(e->arena, n, "sample"), first->name,
		           (long long)have);
		elab_note(e, first->span, "`%s` is given here", first->name);
		return false;
	}
	return true;
}

static bool check_like(Elab *e, const Decl *decl, const DataSet *model, const DataSet *set) {
	for (int i = 0; i < model->nfields; i++) {
		bool there = false;
		for (int j = 0; j < set->nfields; j++) there |= set->fields[j].name == model->fields[i].name;
		if (there) continue;
		elab_error(e, decl->name.span, "`%s` lacks the field `%s` of `%s`", decl->name.text, model->fields[i].name, model->name);
		elab_note(e, model->fields[i].span, "declared here");
		return false;
	}
	return true;
}

int data_index(Elab *e, const Decl *decl, File *file) {
	Program *p = e->program;
	for (int i = 0; i < p->data.length; i++)
		if (p->data.data[i].span.begin == decl->name.span.begin && p->data.data[i].span.source == decl->name.span.source)
			return p->data.data[i].nfields ? i : -1;
	DataSet set = {.name = decl->name.text, .span = decl->name.span};
	vec_push(e->arena, &p->data, set);   /* without fields until it is good: stops `like` loops */
	int index = p->data.length - 1;
	DataSet model = {0};
	if (decl->like.text) {
		File *owner;
		const Decl *like = find_declaration(e, file, decl->like.text, &owner);
		if (!like || like->kind != DECL_DATA || like == decl) {
			Scope *scope = scope_new(e, NULL);
			scope->file = file;
			if (!like) unknown_name(e, scope, decl->like);
			else elab_error(e, decl->like.span, "`%s` is no other data declaration", decl->like.text);
			return -1;
		}
		int at = data_index(e, like, owner);
		if (at < 0) return -1;
		model = p->data.data[at];
	}
	Scope *scope = scope_new(e, NULL);
	scope->file = file;
	set.fields = NEW_ARRAY(e->arena, DataField, decl->fields.length + 1);
	bool ok = true;
	for (int i = 0; i < decl->fields.length; i++) {
		const Field *field = &decl->fields.data[i];
		for (int j = 0; j < i; j++)
			if (decl->fields.data[j].name.text == field->name.text)
				ok = (elab_error(e, field->name.span, "`%s` is declared twice", field->name.text), false);
		ok &= read_field(e, scope, field, decl->like.text ? &model : NULL, &set.fields[i]);
	}
	if (!decl->fields.length) ok = (elab_error(e, decl->name.span, "`%s` has no fields", decl->name.text), false);
	set.nfields = decl->fields.length;
	set_reach(&set);
	if (!ok || !check_counts(e, &set) || (decl->like.text && !check_like(e, decl, &model, &set))) return -1;
	p->data.data[index] = set;
	return index;
}

/* ---- vocab(..) ---- */

Value builtin_vocab(Elab *e, Call *c) {
	Value path = c->slot[0];
	const DataProbe *probe = e->options ? e->options->probe : NULL;
	if (path.kind != VALUE_STRING) return elab_error(e, c->slot_span[0], "`vocab` wants a path, not %s", value_text(e, path));
	if (!probe) return elab_error(e, c->at, "`vocab` needs the file `%s`, and files are not read here", path.as.string);
	Program *p = e->program;
	const char *name = arena_printf(e->arena, "vocab:%s", path.as.string);
	for (int i = 0; i < p->constants.length; i++)
		if (!strcmp(p->constants.data[i].name, name)) return value_int(p->constants.data[i].count, c->span);
	VocabInfo info = probe->vocab(probe->context, e->diag, blame(e, c->span), path.as.string);
	if (!info.count) return value_poison();
	if (info.characters) {
		const char *characters = arena_text(e->arena, info.characters, strlen(info.characters));
		vec_push(e->arena, &p->constants, ((Constant){name, characters, info.count, blame(e, c->span)}));
	}
	return value_int(info.count, c->span);
}
