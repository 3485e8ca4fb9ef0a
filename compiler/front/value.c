/* value.c: values of the elaborator, their text, conversion to tensors and broadcasting.
 *
 * In: values of any kind.  Out: tensors of one dtype, aligned.  Guaranteed: what reaches an IR constructor obeys its
 * rules; everything else was reported, once. */
#include <math.h>
#include <string.h>

#include "session.h"

Value value_poison(void) { return (Value){.kind = VALUE_POISON}; }
Value value_dim(Dim d, Span span) { return (Value){.kind = VALUE_INT, .span = span, .as.integer = d}; }
Value value_int(int64_t n, Span span) { return value_dim(dim_number(n), span); }
Value value_real(double x, Span span) { return (Value){.kind = VALUE_REAL, .span = span, .as.real = x}; }
Value value_bool(bool truth, Span span) { return (Value){.kind = VALUE_BOOL, .span = span, .as.truth = truth}; }

Value value_list(ValueKind kind, int count, Value *items, Span span) {
	return (Value){.kind = kind, .span = span, .as.list = {items, count, NULL}};
}

Value value_labelled(Elab *e, Val *val, int nlabels, IndexVar *const *labels, int rank, const Dim *dims, Span span) {
	Value v = {.kind = VALUE_TENSOR, .span = blame(e, span)};
	if (nlabels + rank != val->type.rank)
		die("a value with %d labels and %d dims for a tensor of rank %d", nlabels, rank, val->type.rank);
	v.as.tensor.val = val;
	v.as.tensor.rank = rank;
	v.as.tensor.dims = NEW_ARRAY(e->arena, Dim, rank + 1);
	for (int i = 0; i < rank; i++) v.as.tensor.dims[i] = dims ? dims[i] : dim_number(val->type.dim[nlabels + i]);
	v.as.tensor.nlabels = nlabels;
	v.as.tensor.labels = NEW_ARRAY(e->arena, IndexVar *, nlabels + 1);
	for (int i = 0; i < nlabels; i++) v.as.tensor.labels[i] = labels[i];
	return v;
}

Value value_tensor(Elab *e, Val *val, const Dim *dims, Span span) {
	return value_labelled(e, val, 0, NULL, val->type.rank, dims, span);
}

static const char *tensor_text(Elab *e, Value v) {
	DType dtype = value_dtype(&v);
	const char *tag = v.as.tensor.tag ? tag_text(v.as.tensor.tag) : "", *name = dtype_info[dtype].text;
	if (v.as.tensor.classes > 0) name = arena_printf(e->arena, "class[%lld]", (long long)v.as.tensor.classes);
	if (v.as.tensor.classes < 0) name = "index";
	const char *shape = v.as.tensor.rank ? shape_text(e->arena, v.as.tensor.rank, v.as.tensor.dims) : "";
	if (*tag && dtype == DTYPE_F32) return arena_printf(e->arena, "%s%s", tag, shape);
	return arena_printf(e->arena, "%s%s%s%s", tag, *tag ? " " : "", name, shape);
}

const char *value_text(Elab *e, Value v) {
	Text text = {.arena = e->arena};
	switch (v.kind) {
	case VALUE_POISON: return "a value that failed";
	case VALUE_NOTHING: return "nothing";
	case VALUE_BOOL: return v.as.truth ? "`true`" : "`false`";
	case VALUE_INT: return arena_printf(e->arena, "the number %s", dim_text(e->arena, v.as.integer));
	case VALUE_REAL: text_add(&text, "the number "), text_number(&text, v.as.real); return text.data;
	case VALUE_STRING: return arena_printf(e->arena, "the text \"%s\"", v.as.string);
	case VALUE_LIST: return arena_printf(e->arena, "a list of %d", v.as.list.count);
	case VALUE_TUPLE: return arena_printf(e->arena, "%d results", v.as.list.count);
	case VALUE_TENSOR: return tensor_text(e, v);
	case VALUE_INDEX: return arena_printf(e->arena, "the index `%s`", v.as.index->name);
	case VALUE_FUNCTION:
		return arena_printf(e->arena, "the %s `%s`",
		                    v.as.function.decl->kind == DECL_LAYER       ? "layer"
		                    : v.as.function.decl->kind == DECL_MODEL     ? "model"
		                    : v.as.function.decl->kind == DECL_OPTIMIZER ? "optimizer"
		                                                                 : "function",
		                    v.as.function.decl->name.text);
	case VALUE_BUILTIN: return arena_printf(e->arena, "the function `%s`", v.as.builtin->name);
	case VALUE_INSTANCE: return arena_printf(e->arena, "the layer `%s`", v.as.instance->name);
	case VALUE_HOLE: return "`_`";
	case VALUE_OPTIMIZER: return arena_printf(e->arena, "the optimizer `%s`", v.as.optimizer->decl->name.text);
	case VALUE_DATA: return arena_printf(e->arena, "the data `%s`", v.as.function.decl->name.text);
	}
	return "a value";
}

void help_call(Elab *e, Value v) {
	const char *name = v.kind == VALUE_FUNCTION ? v.as.function.decl->name.text
		: v.kind == VALUE_BUILTIN ? v.as.builtin->name : v.kind == VALUE_INSTANCE ? v.as.instance->name : NULL;
	if (name) elab_help(e, "call it: `%s(...)`", name);
}

bool dtype_named(const char *name, DType *dtype) {
	for (int i = 0; i < DTYPE_COUNT; i++)
		if (!dtype_is_word((DType)i) && !strcmp(dtype_info[i].text, name)) return *dtype = (DType)i, true;
	return false;
}

static bool integer_fits(DType dtype, double x) {
	double low = dtype == DTYPE_U8 || dtype == DTYPE_BOOL ? 0 : dtype == DTYPE_I8 ? -128 : -2147483648.0;
	double high = dtype == DTYPE_U8 ? 255 : dtype == DTYPE_BOOL ? 1 : dtype == DTYPE_I8 ? 127 : 2147483647.0;
	return x >= low && x <= high && x == floor(x);
}

static Value static_to_tensor(Elab *e, Value v, DType dtype, Span span) {
	double number = v.kind == VALUE_REAL ? v.as.real : v.kind == VALUE_INT ? (double)dim_value(e, v.as.integer) : v.as.truth;
	if ((v.kind == VALUE_BOOL) != (dtype == DTYPE_BOOL)) {
		elab_error(e, span, "%s where %s is wanted", value_text(e, v), dtype_info[dtype].text);
		if (v.kind == VALUE_BOOL) elab_help(e, "write `if c { 1 } else { 0 }` for a number");
		return value_poison();
	}
	if (!dtype_is_float(dtype) && !integer_fits(dtype, number)) {
		elab_error(e, span, "%s is not a value of %s", value_text(e, v), dtype_info[dtype].text);
		elab_help(e, "convert the tensor beside it first: `x as f32`");
		return value_poison();
	}
	return value_tensor(e, ir_const(fn_of(e), dtype, number), NULL, v.span.source ? v.span : span);
}

Value to_tensor(Elab *e, Value v, DType dtype, Span span) {
	fn_of(e)->span = blame(e, span);
	if (v.kind == VALUE_POISON) return v;
	if (value_static(v)) return static_to_tensor(e, v, dtype, span);
	if (v.kind == VALUE_INDEX) v = elab_index_number(e, v, span);
	if (v.kind == VALUE_POISON) return v;
	if (v.kind != VALUE_TENSOR) {
		elab_error(e, span, "a tensor is wanted here, not %s", value_text(e, v));
		help_call(e, v);
		return value_poison();
	}
	DType from = value_dtype(&v);
	if (from == dtype) return v;
	bool widens = !dtype_is_float(from) && from != DTYPE_BOOL && dtype == DTYPE_I32;
	if (widens || (v.as.tensor.weak && from != DTYPE_BOOL && (dtype_is_float(dtype) || !dtype_is_float(from)))) {
		v.as.tensor.val = ir_cast(fn_of(e), v.as.tensor.val, dtype);
		v.as.tensor.weak = false;
		return v;
	}
	elab_error(e, span, "%s where %s is wanted", value_text(e, v), dtype_info[dtype].text);
	note_value(e, "the value", v);
	elab_help(e, "nothing is converted by itself: write `as %s`", dtype_info[dtype].text);
	return value_poison();
}

Val *broadcast_to(Elab *e, const Value *v, int nlabels, IndexVar *const *labels, int rank, const Dim *dims) {
	int64_t size[MAX_RANK], place[MAX_RANK];
	int have = v->as.tensor.nlabels, at = 0;
	for (int i = 0; i < nlabels; i++) {
		size[i] = dim_value(e, labels[i]->extent);
		if (at < have && v->as.tensor.labels[at] == labels[i]) place[at++] = i;
	}
	if (at != have) die("a label is missing from the labels to broadcast to");
	for (int i = 0; i < rank; i++) size[nlabels + i] = dim_value(e, dims[i]);
	for (int i = 0; i < v->as.tensor.rank; i++) place[have + i] = nlabels + rank - v->as.tensor.rank + i;
	if (have == nlabels && v->as.tensor.rank == rank) return v->as.tensor.val;
	return ir_broadcast(fn_of(e), v->as.tensor.val, nlabels + rank, size, place);
}

/* The dtype that operands args[first..n) agree on; false after an error.  Strong tensors decide; statics and weak tensors adapt.
 */
static bool common_dtype(Elab *e, Op op, int first, int n, Value *args, const char *what, Span span, DType *dtype) {
	char class = op_info[op].operand_class;
	int strong = -1;
	bool real = class == 'F', booleans = false;
	for (int i = first; i < n; i++) {
		Value v = args[i];
		if (v.kind == VALUE_REAL) real = true;
		if (v.kind == VALUE_BOOL) booleans = true;
		if (v.kind != VALUE_TENSOR) continue;
		DType d = value_dtype(&v);
		if (v.as.tensor.weak) { real |= dtype_is_float(d); continue; }
		if (strong < 0) { strong = i; *dtype = d; continue; }
		if (d == *dtype) continue;
		if (dtype_info[d].class == 'I' && dtype_info[*dtype].class == 'I') { *dtype = DTYPE_I32; continue; }
		elab_error(e, span, "`%s` of %s and %s", what, value_text(e, args[strong]), value_text(e, v));
		note_value(e, "one operand", args[strong]);
		note_value(e, "the other", v);
		DType to = dtype_is_float(d) ? d : dtype_is_float(*dtype) ? *dtype : DTYPE_F32;
		elab_help(e, "nothing is converted by itself: write `as %s` after one of them", dtype_info[to].text);
		return false;
	}
	if (strong < 0) *dtype = real ? DTYPE_F32 : booleans ? DTYPE_BOOL : DTYPE_I32;
	bool is_bool = *dtype == DTYPE_BOOL, is_float = dtype_is_float(*dtype);
	if (class == 'A' || (class == 'F' && is_float) || (class == 'N' && !is_bool) || (class == 'B' && is_bool) ||
	    (class == 'I' && !is_float && !is_bool)) return true;
	Value v = strong >= 0 ? args[strong] : args[first];
	elab_error(e, span, "`%s` wants %s, not %s", what,
	           class == 'F'   ? "floats"
	           : class == 'B' ? "bools"
	           : class == 'I' ? "integers"
	                          : "numbers",
	           value_text(e, v));
	note_value(e, "the operand", v);
	if (class == 'F' || class == 'N')
		elab_help(e, op == OpDiv && !is_bool ? "write `as f32` after it, or `//` for whole numbers" : "write `as f32` after it");
	return false;
}

/* The union of all labels, ascending by id. */
static int join_labels(int n, const Value *args, IndexVar **labels) {
	int count = 0;
	for (int i = 0; i < n; i++)
		for (int j = 0; j < args[i].as.tensor.nlabels; j++) {
			IndexVar *x = args[i].as.tensor.labels[j];
			int at = 0;
			while (at < count && labels[at]->id < x->id) at++;
			if (at < count && labels[at] == x) continue;
			if (count == 2 * MAX_RANK) return count + 1;
			memmove(labels + at + 1, labels + at, sizeof *labels * (size_t)(count - at));
			labels[at] = x;
			count++;
		}
	return count;
}

static bool suffix_agrees(const Value *small, const Value *big) {
	int offset = big->as.tensor.rank - small->as.tensor.rank;
	for (int i = 0; i < small->as.tensor.rank; i++)
		if (!dim_equal(small->as.tensor.dims[i], big->as.tensor.dims[offset + i])) return false;
	return true;
}

static bool has_batch(const Value *v) {
	int64_t n;
	for (int i = 0; i < v->as.tensor.rank; i++)
		if (!dim_known(v->as.tensor.dims[i], &n)) return true;
	return false;
}

/* Shapes of one rank that differ in one known size: that axis; else -1. */
static int only_difference(const Value *a, const Value *b) {
	int at = -1;
	int64_t n, m;
	if (a->as.tensor.rank != b->as.tensor.rank) return -1;
	for (int i = 0; i < a->as.tensor.rank; i++) {
		if (dim_equal(a->as.tensor.dims[i], b->as.tensor.dims[i])) continue;
		if (at >= 0 || !dim_known(a->as.tensor.dims[i], &n) || !dim_known(b->as.tensor.dims[i], &m)) return -1;
		at = i;
	}
	return at;
}

static void help_shapes(Elab *e, Value a, Value b) {
	bool ones = false;
	for (int i = 0; i < a.as.tensor.rank; i++) ones |= dim_equal(a.as.tensor.dims[i], dim_number(1));
	for (int i = 0; i < b.as.tensor.rank; i++) ones |= dim_equal(b.as.tensor.dims[i], dim_number(1));
	int axis = only_difference(&a, &b), last = a.as.tensor.rank - 1;
	if (ones) elab_help(e, "a size of 1 is never stretched: drop it with `reshape` or `x[.., 0]`");
	else if (has_batch(&a) != has_batch(&b) && a.as.tensor.rank == b.as.tensor.rank)
		elab_help(e, "one has no batch `B`: a reduction with `axis = 0` takes the samples together, `axis = -1` the last dim");
	else if (axis >= 0 && axis == last && has_batch(&a))
		elab_help(e, "they differ in the last dim: what makes the first must give %s there, as a layer of so many outputs does",
			dim_text(e->arena, b.as.tensor.dims[axis]));
	else
		elab_help(e, "shapes must be equal, or one the end of the other; for anything else write an indexed definition `let y[i, "
		             "j] = ...`");
}

static void shapes_differ(Elab *e, const char *what, Value a, Value b, Span span) {
	elab_error(e, span, "`%s`: shapes %s and %s do not match", what, shape_text(e->arena, a.as.tensor.rank, a.as.tensor.dims),
		shape_text(e->arena, b.as.tensor.rank, b.as.tensor.dims));
	note_value(e, "one operand", a);
	note_value(e, "the other", b);
	help_shapes(e, a, b);
}

static Val *build_op(Fn *f, Op op, Val **v) {
	switch (op) {
#define UNARY(Name, ...) case Op##Name: return ir_##Name(f, v[0]);
#define BINARY(Name, ...) case Op##Name: return ir_##Name(f, v[0], v[1]);
#define TERNARY(Name, ...) case Op##Name: return ir_##Name(f, v[0], v[1], v[2]);
#define STRUCTURAL(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
	default: die("op %d is not pointwise", (int)op);
	}
}

Value apply_pointwise(Elab *e, Op op, int n, Value *given, const char *what, Span span) {
	Value args[3];
	bool weak = true;
	DType dtype = DTYPE_F32;
	int first = op == OpWhere;
	for (int i = 0; i < n; i++) {
		args[i] = given[i].kind == VALUE_INDEX ? elab_index_number(e, given[i], span) : given[i];
		if (!value_ok(args[i])) return value_poison();
		if (!value_static(args[i]) && args[i].kind != VALUE_TENSOR)
			return elab_error(e, span, "`%s` wants a tensor or a number, not %s", what, value_text(e, args[i])),
			       help_call(e, args[i]), value_poison();
		if (args[i].kind == VALUE_TENSOR && !args[i].as.tensor.weak && !(op == OpWhere && i == 0)) weak = false;
	}
	if (first) {
		args[0] = to_tensor(e, args[0], DTYPE_BOOL, span);
		if (!value_ok(args[0])) return value_poison();
	}
	if (!common_dtype(e, op, first, n, args, what, span, &dtype)) return value_poison();
	for (int i = first; i < n; i++)
		if (!value_ok(args[i] = to_tensor(e, args[i], dtype, span))) return value_poison();
	IndexVar *labels[2 * MAX_RANK + 1];
	int nlabels = join_labels(n, args, labels), big = 0;
	for (int i = 1; i < n; i++)
		if (args[i].as.tensor.rank > args[big].as.tensor.rank) big = i;
	for (int i = 0; i < n; i++)
		if (!suffix_agrees(&args[i], &args[big]))
			return shapes_differ(e, what, args[MIN(i, big)], args[MAX(i, big)], span), value_poison();
	Value *b = &args[big];
	if (nlabels + b->as.tensor.rank > MAX_RANK)
		return elab_error(e, span, "more than %d dims and indices in one value", MAX_RANK);
	Dim all[MAX_RANK];
	for (int i = 0; i < nlabels; i++) all[i] = labels[i]->extent;
	for (int i = 0; i < b->as.tensor.rank; i++) all[nlabels + i] = b->as.tensor.dims[i];
	if (!check_count(e, nlabels + b->as.tensor.rank, all, span)) return value_poison();
	Val *operand[3];
	fn_of(e)->span = blame(e, span);
	for (int i = 0; i < n; i++) operand[i] = broadcast_to(e, &args[i], nlabels, labels, b->as.tensor.rank, b->as.tensor.dims);
	Value result =
	    value_labelled(e, build_op(fn_of(e), op, operand), nlabels, labels, b->as.tensor.rank, b->as.tensor.dims, span);
	result.as.tensor.weak = weak && !op_info[op].result_bool;
	if (op == OpWhere && args[1].as.tensor.tag == args[2].as.tensor.tag) {
		result.as.tensor.tag = args[1].as.tensor.tag;
		result.as.tensor.tag_span = args[1].as.tensor.tag_span;
		result.as.tensor.tag_maker = args[1].as.tensor.tag_maker;
	}
	return result;
}

bool value_to_int(Elab *e, Value v, const char *what, Span span, Dim *result) {
	if (v.kind == VALUE_INT) return *result = v.as.integer, true;
	if (v.kind == VALUE_REAL && v.as.real == floor(v.as.real) && fabs(v.as.real) < 9e15)
		return *result = dim_number((int64_t)v.as.real), true;
	if (!value_ok(v)) return false;
	elab_error(e, span, "%s must be a whole number known to the compiler, not %s", what, value_text(e, v));
	return false;
}

void sizes_of(Elab *e, int rank, const Dim *dims, int64_t *sizes) {
	for (int i = 0; i < rank; i++) sizes[i] = dim_value(e, dims[i]);
}

/* Sizes at least 1, and no more elements than a 40-bit count. */
bool check_count(Elab *e, int rank, const Dim *dims, Span span) {
	int64_t count = 1;
	for (int i = 0; i < rank; i++) {
		int64_t size = dim_value(e, dims[i]);
		if (size < 1) {
			elab_error(e, span, "a size of %s: sizes must be at least 1", dim_text(e->arena, dims[i]));
			return false;
		}
		if (__builtin_mul_overflow(count, size, &count) || count > (int64_t)1 << 40) {
			elab_error(e, span, "a tensor of shape %s has too many elements", shape_text(e->arena, rank, dims));
			return false;
		}
	}
	return true;
}

bool check_index(Elab *e, const char *what, int64_t size, Span span) {
	if (size <= INT32_MAX) return true;
	elab_error(e, span, "%s: %lld elements are more than an index, an i32, can tell apart", what, (long long)size);
	return false;
}
