/* builtins.c: the functions the language itself has, one row each, and how their arguments are bound.
 *
 * In: a call.  Out: a value.  A row's signature lists its parameters: `x` is needed, `axis?` is not, `d...` takes all that is
 * left. Rows that fold compute numbers in the compiler. */
#include <math.h>
#include <string.h>

#include "session.h"

/* ---- arithmetic ---- */

static Value builtin_unary(Elab *e, Call *c) {
	Value v = c->slot[0];
	if (value_static(v) && v.kind != VALUE_BOOL && c->self->fold)
		return value_real(c->self->fold(v.kind == VALUE_REAL ? v.as.real : (double)dim_value(e, v.as.integer)), c->span);
	return apply_pointwise(e, (Op)c->self->op, 1, &v, c->self->name, c->at);
}

static Value builtin_abs(Elab *e, Call *c) {
	Value v = c->slot[0];
	int64_t n;
	if (v.kind == VALUE_INT && dim_known(v.as.integer, &n)) return n < 0 ? apply_unary(e, OPERATOR_NEGATE, v, c->span, c->at) : v;
	if (v.kind == VALUE_REAL) return value_real(fabs(v.as.real), c->span);
	return apply_pointwise(e, OpAbs, 1, &v, "abs", c->at);
}

/* floor and round of statics are whole numbers. */
static Value builtin_whole(Elab *e, Call *c) {
	Value v = c->slot[0];
	if (v.kind == VALUE_INT) return v;
	if (v.kind == VALUE_REAL && fabs(v.as.real) < 9e15) return value_int((int64_t)c->self->fold(v.as.real), c->span);
	return apply_pointwise(e, (Op)c->self->op, 1, &v, c->self->name, c->at);
}

static Value builtin_binary(Elab *e, Call *c) {
	Value pair[] = {c->slot[0], c->slot[1]};
	if (c->self->op == OpPow) return apply_binary(e, OPERATOR_POWER, pair[0], pair[1], c->span, c->at);
	return apply_pointwise(e, (Op)c->self->op, 2, pair, c->self->name, c->at);
}

static Value builtin_where(Elab *e, Call *c) {
	if (c->slot[0].kind == VALUE_BOOL) return c->slot[0].as.truth ? c->slot[1] : c->slot[2];
	Value three[] = {c->slot[0], c->slot[1], c->slot[2]};
	return apply_pointwise(e, OpWhere, 3, three, "where", c->at);
}

/* ---- reductions ---- */

static const struct Reduction { const char *name; Op op; } reductions[] = {
	{"sum", OpReduceSum}, {"mean", OpReduceSum}, {"max", OpReduceMax}, {"min", OpReduceMin}, {"prod", OpReduceProd},
	{"logsumexp", OpReduceLse}, {"argmax", OpArgMax},
};

Val *reduce_axes(Elab *e, const char *reduction, Val *val, int naxes, const int64_t *axes, Span span) {
	const struct Reduction *r = NULL;
	for (int i = 0; i < (int)COUNT(reductions); i++)
		if (!strcmp(reductions[i].name, reduction)) r = &reductions[i];
	if (!r) die("unknown reduction '%s'", reduction);
	Fn *f = fn_of(e);
	f->span = blame(e, span);
	bool mean = !strcmp(reduction, "mean"), sums = mean || r->op == OpReduceSum;
	if (val->type.dtype == DTYPE_BOOL && sums) val = ir_cast(f, val, DTYPE_F32);
	bool is_float = dtype_is_float(val->type.dtype);
	if (val->type.dtype == DTYPE_BOOL || (!is_float && (mean || r->op == OpReduceLse))) {
		elab_error(e, span, "`%s` of %s: it wants floats", reduction, dtype_info[val->type.dtype].text);
		elab_help(e, "write `as f32` after the operand");
		return NULL;
	}
	if (!naxes) return val;
	bool finds = r->op == OpArgMax || r->op == OpReduceMax || r->op == OpReduceMin;   /* the derivative of max goes by index */
	for (int i = 0; finds && i < naxes; i++)
		if (!check_index(e, arena_printf(e->arena, "`%s`", reduction), val->type.dim[axes[i]], span)) return NULL;
	if (r->op == OpArgMax) {
		if (naxes == 1) return ir_argmax(f, val, (int)axes[0]);
		elab_error(e, span, "`argmax` over %d dims at once; it works on one", naxes);
		return NULL;
	}
	double count = 1;
	for (int i = 0; i < naxes; i++) count *= (double)val->type.dim[axes[i]];
	Val *y = ir_reduce(f, r->op, val, naxes, axes);
	return mean ? ir_Div(f, y, ir_like(f, y, count)) : y;
}

void warn_over_batch(Elab *e, const char *reduction, Dim size, Span span) {
	int64_t n;
	if (!infers(e) || dim_known(size, &n) || !strcmp(reduction, "sum")) return;   /* a sum is what `grad` wants */
	for (const Activation *a = e->activation; a && is_library(e, span); a = a->caller)
		if (a->call.source && !is_library(e, a->call)) {   /* what the user called */
			reduction = a->decl->name.text;
			break;
		}
	if (!diag_warning(e->diag, blame(e, span), "`%s` over the samples of the batch: what is said of one depends on the others",
			reduction)) return;
	elab_help(e, "dim 0 is the batch; `axis = -1` is the last dim");
}

/* Axes asked for by `axis =`: one, a list, or (missing) all or the last. */
static int reduction_axes(Elab *e, Call *c, int slot, const Value *v, bool last, int64_t *axes) {
	int rank = v->as.tensor.rank, n = 0, axis;
	if (!c->given[slot]) {
		for (int i = last ? MAX(rank - 1, 0) : 0; i < rank; i++) axes[n++] = i;
		return n;
	}
	Value list = c->slot[slot];
	if (list.kind != VALUE_LIST && list.kind != VALUE_TUPLE)
		return axis_argument(e, c, slot, rank, 0, &axis) ? (axes[0] = axis, 1) : -1;
	bool on[MAX_RANK] = {false};
	for (int i = 0; i < list.as.list.count; i++) {
		c->slot[slot] = list.as.list.items[i];
		if (!axis_argument(e, c, slot, rank, 0, &axis)) return -1;
		on[axis] = true;
	}
	for (int i = 0; i < rank; i++)
		if (on[i]) axes[n++] = i;
	return n;
}

static Value reduce_list(Elab *e, Call *c) {
	Value list = c->slot[0], sum = value_int(0, c->span);
	if (strcmp(c->self->name, "sum")) return elab_error(e, c->at, "`%s` of a list", c->self->name);
	for (int i = 0; i < list.as.list.count; i++) {
		Value item = list.as.list.items[i];
		sum = i ? apply_binary(e, OPERATOR_ADD, sum, item, c->span, c->at) : item;
	}
	return sum;
}

static Value builtin_reduce(Elab *e, Call *c) {
	bool extreme = c->self->op == OpMax || c->self->op == OpMin;
	if (extreme && c->nrest) {
		Value v = c->slot[0];
		for (int i = 0; i < c->nrest; i++) {
			Value pair[] = {v, c->rest[i]};
			bool statics = value_static(pair[0]) && value_static(pair[1]);
			if (statics) {
				Value less = apply_binary(e, OPERATOR_LT, pair[0], pair[1], c->span, c->at);
				if (!value_ok(less)) return less;
				v = less.as.truth == (c->self->op == OpMax) ? pair[1] : pair[0];
			} else v = apply_pointwise(e, (Op)c->self->op, 2, pair, c->self->name, c->rest_span[i]);
		}
		return v;
	}
	if (c->slot[0].kind == VALUE_LIST || c->slot[0].kind == VALUE_TUPLE) return reduce_list(e, c);
	Value v = c->slot[0];
	if (v.kind == VALUE_INDEX || value_static(v)) return v;
	if (v.kind != VALUE_TENSOR)
		return elab_error(e, c->slot_span[0], "`%s` wants a tensor, not %s", c->self->name, value_text(e, v));
	int64_t axes[MAX_RANK];
	int rank = v.as.tensor.rank, nlabels = v.as.tensor.nlabels, m = 0;
	int n = reduction_axes(e, c, c->nslots - 1, &v, c->self->op == OpArgMax, axes);   /* `axis` is the last of every signature */
	if (n < 0) return value_poison();
	if (c->self->op == OpArgMax && !rank) return elab_error(e, c->at, "`argmax` of a scalar");
	Dim dims[MAX_RANK];
	for (int i = 0; i < rank; i++) {
		bool dropped = false;
		for (int j = 0; j < n; j++) dropped |= axes[j] == i;
		if (!dropped) dims[m++] = v.as.tensor.dims[i];
	}
	for (int j = 0; j < n; j++) warn_over_batch(e, c->self->name, v.as.tensor.dims[axes[j]], c->at);
	for (int j = 0; j < n; j++) axes[j] += nlabels;
	int64_t classes = 0, known;
	if (c->self->op == OpArgMax && dim_known(v.as.tensor.dims[axes[0] - nlabels], &known)) classes = known;
	Val *y = reduce_axes(e, c->self->name, v.as.tensor.val, n, axes, c->at);
	if (!y) return value_poison();
	Value result = value_labelled(e, y, nlabels, v.as.tensor.labels, m, dims, c->span);
	result.as.tensor.classes = classes;
	return result;
}

/* ---- lists and the rest ---- */

/* Lists never change; but the newest list of a line of appends may write behind its own end. */
static Value builtin_append(Elab *e, Call *c) {
	Value list = c->slot[0];
	if (list.kind != VALUE_LIST)
		return elab_error(e, c->slot_span[0], "`append` wants a list first, not %s", value_text(e, list));
	int n = list.as.list.count;
	if (n >= MAX_UNROLL) return elab_error(e, c->at, "a list longer than %d", MAX_UNROLL);
	ListRoom *room = list.as.list.room;
	Value *items = list.as.list.items;
	if (!room || room->used != n || room->capacity == n) {
		room = NEW(e->arena, ListRoom);
		room->capacity = 2 * n + 4;
		items = NEW_ARRAY(e->arena, Value, room->capacity);
		if (n) memcpy(items, list.as.list.items, sizeof *items * (size_t)n);
		e->work += n / 16;
	}
	items[n] = c->slot[1];
	room->used = n + 1;
	Value longer = value_list(VALUE_LIST, n + 1, items, c->span);
	longer.as.list.room = room;
	return longer;
}

static Value builtin_len(Elab *e, Call *c) {
	Value v = c->slot[0];
	if (v.kind == VALUE_LIST || v.kind == VALUE_TUPLE) return value_int(v.as.list.count, c->span);
	if (v.kind == VALUE_TENSOR && v.as.tensor.rank) return value_dim(v.as.tensor.dims[0], c->span);
	return elab_error(e, c->slot_span[0], "`len` wants a list or a tensor with dims, not %s", value_text(e, v));
}

static Value builtin_kind(Elab *e, Call *c) {
	const char *text = "function";
	switch (c->slot[0].kind) {
	case VALUE_POISON: return value_poison();
	case VALUE_NOTHING: text = "none"; break;
	case VALUE_BOOL: text = "bool"; break;
	case VALUE_INT: case VALUE_REAL: text = "number"; break;
	case VALUE_STRING: text = "text"; break;
	case VALUE_LIST: case VALUE_TUPLE: text = "list"; break;
	case VALUE_TENSOR: case VALUE_INDEX: text = "tensor"; break;
	default: break;
	}
	return (Value){.kind = VALUE_STRING, .span = c->span, .as.string = arena_intern(e->arena, text, strlen(text))};
}

static Value builtin_stop(Elab *e, Call *c) {
	Value v = c->slot[0];
	if (v.kind != VALUE_TENSOR)
		return value_static(v) ? v : elab_error(e, c->slot_span[0], "`stop_gradient` wants a tensor, not %s", value_text(e, v));
	fn_of(e)->span = blame(e, c->at);
	v.as.tensor.val = ir_Stop(fn_of(e), v.as.tensor.val);
	return v;
}

const Builtin builtins[] = {
	{"exp", "x", builtin_unary, OpExp, exp, "e to the power x"},
	{"log", "x", builtin_unary, OpLog, log, "natural logarithm"},
	{"log1p", "x", builtin_unary, OpLog1p, log1p, "log(1 + x), accurate near 0"},
	{"expm1", "x", builtin_unary, OpExpm1, expm1, "exp(x) - 1, accurate near 0"},
	{"sqrt", "x", builtin_unary, OpSqrt, sqrt, "square root"},
	{"tanh", "x", builtin_unary, OpTanh, tanh, "hyperbolic tangent"},
	{"erf", "x", builtin_unary, OpErf, erf, "error function"},
	{"sin", "x", builtin_unary, OpSin, sin, "sine"},
	{"cos", "x", builtin_unary, OpCos, cos, "cosine"},
	{"atan2", "y x", builtin_binary, OpAtan2, NULL, "angle of the point (x, y)"},
	{"abs", "x", builtin_abs, OpAbs, NULL, "absolute value"},
	{"floor", "x", builtin_whole, OpFloor, floor, "largest whole number <= x"},
	{"round", "x", builtin_whole, OpRound, rint, "nearest whole number, halves to even"},
	{"sign", "x", builtin_unary, OpSign, NULL, "-1, 0 or 1"},
	{"max", "x others... axis?", builtin_reduce, OpMax, NULL,
	 "larger of several; of one tensor its largest element, or over axis"},
	{"min", "x others... axis?", builtin_reduce, OpMin, NULL,
	 "smaller of several; of one tensor its smallest element, or over axis"},
	{"pow", "x y", builtin_binary, OpPow, NULL, "x to the power y"},
	{"where", "c a b", builtin_where, OpWhere, NULL, "a where c holds, else b"},
	{"sum", "x axis?", builtin_reduce, OpReduceSum, NULL, "sum of all elements, or over axis"},
	{"mean", "x axis?", builtin_reduce, OpReduceSum, NULL, "mean of all elements, or over axis"},
	{"prod", "x axis?", builtin_reduce, OpReduceProd, NULL, "product of all elements, or over axis"},
	{"logsumexp", "x axis?", builtin_reduce, OpReduceLse, NULL, "log of the sum of exponentials"},
	{"argmax", "x axis?", builtin_reduce, OpArgMax, NULL, "index of the largest along the last dim, or axis"},
	{"reshape", "x d...", builtin_reshape, 0, NULL, "the same elements under other sizes"},
	{"dims", "x", builtin_dims, 0, NULL, "the sizes of x, as a list"},
	{"zeros", "d...", builtin_fill, 0, NULL, "all zeros"},
	{"ones", "d...", builtin_fill, 1, NULL, "all ones"},
	{"full", "value d...", builtin_full, 0, NULL, "all equal to value"},
	{"iota", "n", builtin_iota, 0, NULL, "0, 1, .. n - 1"},
	{"concat", "x others... axis?", builtin_concat, 0, NULL, "one after the other along the last dim, or axis"},
	{"stack", "x others... axis?", builtin_stack, 0, NULL, "side by side along a new first dim, or axis"},
	{"split", "x n axis?", builtin_split, 0, NULL, "n equal parts of the last dim, or axis"},
	{"flip", "x axis?", builtin_flip, 0, NULL, "reversed along the last dim, or axis"},
	{"pad", "x before after value? axis?", builtin_pad, 0, NULL, "value before and after along the last dim, or axis"},
	{"gather", "x index batch?", builtin_gather, OpGather, NULL, "rows of x by number; 0 outside"},
	{"scatter_add", "u index n batch?", builtin_scatter_add, OpScatterAdd, NULL, "rows of u added up at their numbers, of n"},
	{"fold", "x stride? dilation? total? axis?", builtin_fold, OpFold, NULL, "overlapping windows (n, size) added up"},
	{"cumsum", "x axis?", builtin_along, OpCumSum, NULL, "running sum along the last dim, or axis"},
	{"argsort", "x axis?", builtin_along, OpArgSort, NULL, "ascending order along the last dim, or axis"},
	{"grad", "scalar x...", builtin_grad, 0, NULL, "derivative of a scalar by x"},
	{"stop_gradient", "x", builtin_stop, 0, NULL, "x, a constant to the derivative"},
	{"normal", "d...", builtin_normal, 0, NULL, "random, normal with mean 0 and deviation 1"},
	{"uniform", "shape lo? hi?", builtin_uniform, 0, NULL, "random, uniform in lo .. hi"},
	{"bernoulli", "p d...", builtin_bernoulli, 0, NULL, "random, true with probability p"},
	{"philox", "seed batch step site word d...", builtin_philox, 0, NULL, "random, by all it depends on"},
	{"total", "x", builtin_total, 0, NULL, "sum over all elements of the epoch, in a metric"},
	{"append", "list x", builtin_append, 0, NULL, "a new list with x at its end"},
	{"len", "x", builtin_len, 0, NULL, "length of a list, first size of a tensor"},
	{"kind", "x", builtin_kind, 0, NULL, "what x is: number, bool, text, list, tensor, function or none"},
	{"params", "model", builtin_params, 0, NULL, "the parameters of a model, as a list"},
	{"vocab", "path", builtin_vocab, 0, NULL, "number of distinct characters of a text file"},
	{"input", "value", builtin_input, 0, NULL, "a setting that can change while the program runs"},
};
const int builtin_count = COUNT(builtins);

const Builtin *find_builtin(const char *name) {
	for (int i = 0; i < builtin_count; i++)
		if (!strcmp(builtins[i].name, name)) return &builtins[i];
	return NULL;
}

/* ---- binding ---- */

/* Reads the signature; returns the number of the variadic slot or -1. */
static int open_call(Elab *e, Call *c, const Builtin *b, int arguments) {
	int variadic = -1;
	*c = (Call){.self = b};
	for (const char *p = b->signature; *p;) {
		size_t length = strcspn(p, " ?."), whole = strcspn(p, " ");
		c->slot_name[c->nslots] = arena_intern(e->arena, p, length);
		if (p[length] == '.') variadic = c->nslots;
		c->nslots++;
		p += whole;
		p += *p == ' ';
	}
	if (variadic >= 0) {
		c->rest = NEW_ARRAY(e->arena, Value, arguments + 1);
		c->rest_span = NEW_ARRAY(e->arena, Span, arguments + 1);
	}
	return variadic;
}

static bool slot_optional(const Builtin *b, int slot) {
	const char *p = b->signature;
	for (; slot > 0; slot--) p += strcspn(p, " ") + 1;
	char last = p[strcspn(p, " ?.")];
	return last == '?' || last == '.';
}

/* "concat(x, others, .., axis = ..)" */
const char *builtin_text(Arena *arena, const Builtin *b) {
	Text text = {.arena = arena};
	text_add(&text, "%s(", b->name);
	for (const char *p = b->signature; *p;) {
		size_t length = strcspn(p, " ?."), whole = strcspn(p, " ");
		text_add(&text, "%s%.*s%s", p == b->signature ? "" : ", ", (int)length, p,
		         p[length] == '?'   ? " = .."
		         : p[length] == '.' ? ", .."
		                            : "");
		p += whole;
		p += *p == ' ';
	}
	text_add(&text, ")");
	return text.data;
}

static void show_signature(Elab *e, const Builtin *b) { elab_help(e, "it is `%s`", builtin_text(e->arena, b)); }

static void too_many(Elab *e, const Builtin *b, Span span) {
	elab_error(e, span, "`%s` takes fewer arguments", b->name);
	show_signature(e, b);
}

/* Positional values fill the slots in order; those behind the variadic one are given by name only. */
static bool add_positional(Elab *e, Call *c, int *next, int variadic, Value v, Span span) {
	if (*next == variadic) {
		if (c->nrest == MAX_ARGUMENTS) return too_many(e, c->self, span), false;
		c->rest[c->nrest] = v;
		c->rest_span[c->nrest++] = span;
		return true;
	}
	if (*next >= c->nslots) return too_many(e, c->self, span), false;
	c->slot[*next] = v, c->slot_span[*next] = span, c->given[(*next)++] = true;
	return true;
}

static bool add_named(Elab *e, Call *c, int variadic, const Argument *a, Value v) {
	for (int i = 0; i < c->nslots; i++) {
		if (c->slot_name[i] != a->name.text || i == variadic) continue;
		if (c->given[i]) return elab_error(e, a->span, "`%s` is given twice", a->name.text), false;
		c->slot[i] = v, c->slot_span[i] = a->span, c->given[i] = true;
		return true;
	}
	const char *near = nearest_name(a->name.text, c->slot_name, c->nslots);
	elab_error(e, a->name.span, "`%s` has no parameter `%s`", c->self->name, a->name.text);
	if (near) elab_help(e, "did you mean `%s`?", near);
	else show_signature(e, c->self);
	return false;
}

static Value run_call(Elab *e, Call *c, int variadic) {
	for (int i = 0; i < c->nslots; i++)
		if (i != variadic && !c->given[i] && !slot_optional(c->self, i)) {
			elab_error(e, c->at, "`%s` needs `%s`", c->self->name, c->slot_name[i]);
			show_signature(e, c->self);
			return value_poison();
		}
	fn_of(e)->span = blame(e, c->at);
	return c->self->run(e, c);
}

Value call_builtin(Elab *e, Scope *scope, const Builtin *b, const Expr *expr) {
	Call call, *c = &call;
	int variadic = open_call(e, c, b, MIN(expr->arguments.length, MAX_ARGUMENTS)), next = 0;
	bool ok = true;
	c->scope = scope;
	c->span = expr->span;
	c->at = expr->at.source ? expr->at : expr->span;
	const char *naming = e->session->naming;
	Build *build = e->build;
	if (b->run == builtin_total && build->finishing) e->build = build->outer;   /* what is totalled is per batch */
	for (int i = 0; i < expr->arguments.length; i++) {
		const Argument *a = &expr->arguments.data[i];
		Value v = eval_argument(e, scope, a);
		if (v.kind == VALUE_HOLE) v = elab_error(e, a->span, "`_` leaves an argument of a layer open; `%s` is built in", b->name);
		ok = ok && value_ok(v) &&
		     (a->name.text ? add_named(e, c, variadic, a, v)
		                   : add_positional(e, c, &next, variadic, v, a->value ? a->value->span : a->span));
	}
	e->build = build;
	e->session->naming = naming;
	return ok ? run_call(e, c, variadic) : value_poison();
}

Value call_builtin_values(Elab *e, Scope *scope, const Builtin *b, int n, Value *args, Span span) {
	Call call, *c = &call;
	int variadic = open_call(e, c, b, MIN(n, MAX_ARGUMENTS)), next = 0;
	c->scope = scope;
	c->span = c->at = span;
	for (int i = 0; i < n; i++)
		if (!add_positional(e, c, &next, variadic, args[i], span)) return value_poison();
	return run_call(e, c, variadic);
}
