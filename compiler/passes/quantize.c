/* quantize.c: in: a Fn of inference, and the ranges of its activations; out: the same with its products in i8.
 *
 * A *product* here is a contract of f32 of which one operand, the weights, is computed of parameters and constants alone, and the
 * other one, the activations, of data: a dense layer, a convolution, whatever the graph has.  It becomes
 *     y = f32(contract(x8, w8)) * scales                      contract: i8 or u8 times i8, exact sums in i32
 *     w8 = i8(round(w / s)),  s = max|w| / 127                over the axes that are summed: one s for each output channel
 *     x8 = u8(round(x * (1 / t))),  t = high / 255            where x was never negative, else
 *     x8 = i8(round(x * (1 / t))),  t = max|x| / 127          halves to even; casts saturate
 *     scales = s * t
 * Where the last axis of the activations is summed, four of its elements are a word, which machines multiply at once: of C
 * elements word i holds number i, i + n, i + 2n and i + 3n, n = C / 4 rounded up, so that words are made of adjacent elements;
 * those past C are zeros.  Of a single channel under windows, grey pictures say, the words are of taps instead: each place has
 * one, of what it and the next ones are.  Weights lie likewise.  The sum is the same: integers have no order.
 *
 * w8 and scales become inputs in place of the weights; how they are made is a Fn of its own, run once by who has the weights.  A
 * channel of zeros has s = 0: 0 / 0 is cast to 0, and its results are 0.  x8 is made below the views that the product reads x
 * through (windows, borders of zeros, ..), so that windows are of bytes.
 * Products within scans, and those of so many terms that i32 would overflow, stay as they are.
 * Guarantees: all the rest is f32 as before.  Nothing here depends on a machine: the interpreter computes the same graph. */
#include "quantize.h"

#include <math.h>
#include <string.h>

#include "rebuild.h"

enum { MOST_TERMS = INT32_MAX / (255 * 127), BYTES = 4 };
enum { CONSTANT = -1, FROM_DATA = -2 };   /* in `fixed`; else the number of an input */

static bool is_lasting(InputKind kind) { return kind == INPUT_PARAM || kind == INPUT_STATE || kind == INPUT_SLOT; }

/* By Val.id: is it computed of parameters and constants alone, and of which parameter first?  scan: whose body f is, or NULL;
 * around: the same of the function around it. */
static int *find_fixed(const Fn *f, const Val *scan, const int *around) {
	int *fixed = NEW_ARRAY(f->arena, int, f->vals.length + 1);
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		int from = v->op == OpScan || v->op == OpRandom ? FROM_DATA : CONSTANT;
		if (v->op == OpInput) {
			int number = (int)v->list[0].data[0];
			if (scan) from = number <= scan_carries(scan) ? FROM_DATA : around[scan->arg[number - 1]->id];
			else from = is_lasting(f->inputs.data[number].kind) ? number : FROM_DATA;
		}
		for (int k = 0; k < v->nargs && from != FROM_DATA; k++) {
			int a = fixed[v->arg[k]->id];
			from = a == FROM_DATA || from == CONSTANT ? a : a == CONSTANT ? from : MIN(a, from);
		}
		fixed[i] = from;
	}
	return fixed;
}

/* Which operand is the weights; -1: it is no product of activations with parameters. */
static int weights_of(const Val *v, const int *fixed) {
	if (v->op != OpContract || v->type.dtype != DTYPE_F32) return -1;
	for (int k = 0; k < 2; k++)
		if (fixed[v->arg[k]->id] >= 0 && fixed[v->arg[!k]->id] == FROM_DATA) return k;
	return -1;
}

static bool fits(const Val *v) { return contract_order(v).terms <= MOST_TERMS && !v->list[3].length; }

static const char *parameter_of(const Fn *f, const Val *v, int which, const int *fixed) {
	return f->inputs.data[fixed[v->arg[which]->id]].name;
}

/* Moves numbers, and makes none but zeros. */
static bool only_moves(const Val *v) { return is_view(v) || (v->op == OpPad && v->number == 0); }

static Val *base_of(Val *v) {
	while (only_moves(v)) v = v->arg[0];
	return v;
}

/* ---- ranges ---- */

static Val *extreme(Fn *f, Op op, Val *x) {
	int64_t all[MAX_RANK];
	for (int i = 0; i < x->type.rank; i++) all[i] = i;
	return ir_reduce(f, op, x, x->type.rank, all);
}

typedef struct Seen { const char *parameter; Val *low, *high; } Seen;

Fn *quantize_observe(Fn *f) {
	const int *fixed = find_fixed(f, NULL, NULL);
	Rebuild r = rebuild_start(f);
	VEC(Seen) seen = {0};
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i];
		if (v->op != OpInput) rebuild_args(&r, v), r.map[i] = rebuild_copy(&r, v);
		int which = weights_of(v, fixed), at = 0;
		if (which < 0 || !fits(v)) continue;
		const char *parameter = parameter_of(f, v, which, fixed);
		Val *x = r.map[base_of(v->arg[!which])->id], *low = extreme(r.to, OpReduceMin, x), *high = extreme(r.to, OpReduceMax, x);
		while (at < seen.length && strcmp(seen.data[at].parameter, parameter) != 0) at++;
		if (at == seen.length) vec_push(f->arena, &seen, ((Seen){parameter, low, high}));
		seen.data[at].low = ir_Min(r.to, seen.data[at].low, low);
		seen.data[at].high = ir_Max(r.to, seen.data[at].high, high);
	}
	for (int i = 0; i < seen.length; i++) {
		fn_output(r.to, arena_printf(f->arena, "low %s", seen.data[i].parameter), seen.data[i].low, -1);
		fn_output(r.to, arena_printf(f->arena, "high %s", seen.data[i].parameter), seen.data[i].high, -1);
	}
	return seen.length ? quantize_prune(fn_canonical(r.to)) : NULL;
}

/* Leaves out inputs that nothing reads: all of them, or only parameters and states. */
static Fn *prune(Fn *f, bool all) {
	const int *uses = fn_count_uses(f);
	Fn *to = fn_new(f->arena, f->name);
	Val **map = NEW_ARRAY(f->arena, Val *, f->vals.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		if ((all || is_lasting(in->kind)) && !uses[in->val->id]) continue;
		map[in->val->id] = fn_input(to, in->name, in->kind, in->type);
		to->inputs.data[to->inputs.length - 1].classes = in->classes;
	}
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op == OpInput) continue;
		Val **args = NEW_ARRAY(f->arena, Val *, v->nargs + 1);
		for (int k = 0; k < v->nargs; k++) args[k] = map[v->arg[k]->id];
		to->span = v->span;
		map[i] = fn_copy(to, v, args);
	}
	for (int i = 0; i < f->outputs.length; i++) {
		const Output *out = &f->outputs.data[i];
		if (out->updates >= 0) die("quantize: a step of a training");
		fn_output(to, out->name, map[out->val->id], -1);
	}
	to->span = f->span;
	to->precision = f->precision;
	return fn_canonical(to);
}

Fn *quantize_prune(Fn *f) { return prune(f, false); }

/* ---- words ---- */

static DType word_of(DType byte) { return byte == DTYPE_U8 ? DTYPE_U8X4 : DTYPE_I8X4; }

/* `word` (i32, or NULL: none yet) with these bytes as number `byte`. */
static Val *with_byte(Fn *f, Val *word, Val *part, int byte, bool is_signed) {
	if (byte < BYTES - 1 && is_signed) part = ir_Mod(f, part, ir_like(f, part, 256));
	if (byte) part = ir_Mul(f, part, ir_like(f, part, (double)(1 << 8 * byte)));
	return word ? ir_Add(f, word, part) : part;
}

/* Bytes as words along `axis`: see above. */
static Val *words_along(Fn *f, Val *x, int axis) {
	int64_t extent = x->type.dim[axis], n = divide_up(extent, BYTES), start[MAX_RANK] = {0}, zero[MAX_RANK] = {0};
	Val *word = NULL;
	for (int byte = 0; byte < BYTES && byte * n < extent; byte++) {
		Type size = x->type;
		int64_t hi[MAX_RANK] = {0};
		start[axis] = byte * n, size.dim[axis] = MIN(n, extent - byte * n), hi[axis] = n - size.dim[axis];
		Val *part = ir_cast(f, ir_slice(f, x, start, size.dim, NULL), DTYPE_I32);
		if (hi[axis]) part = ir_pad(f, part, zero, hi, NULL, 0);
		word = with_byte(f, word, part, byte, x->type.dtype == DTYPE_I8);
	}
	return ir_cast(f, word, word_of(x->type.dtype));
}

/* A word for each place along the last axis but one: of the bytes there, and `step`, 2 `step`, 3 `step` further on. */
static Val *words_of_places(Fn *f, Val *x, int64_t step, int bytes) {
	int axis = x->type.rank - 2;
	Val *word = NULL, *wide = ir_cast(f, x, DTYPE_I32);
	for (int byte = 0; byte < bytes && byte * step < x->type.dim[axis]; byte++) {
		int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
		hi[axis] = byte * step, lo[axis] = -hi[axis];
		word = with_byte(f, word, byte ? ir_pad(f, wide, lo, hi, NULL, 0) : wide, byte, x->type.dtype == DTYPE_I8);
	}
	return ir_cast(f, word, word_of(x->type.dtype));
}

/* Does the view keep the last axis whole and last?  Or the last two. */
static bool keeps_last(const Val *v, int axes) {
	int last = v->arg[0]->type.rank - 1, own = v->type.rank - 1;
	bool keeps = last >= axes - 1 && own >= axes - 1;
	for (int i = 0; keeps && i < axes; i++, last--, own--) switch (v->op) {
		case OpTranspose: keeps = v->list[0].data[own] == last; break;
		case OpBroadcast: keeps = v->list[0].data[last] == own; break;
		case OpSlice: keeps = v->type.dim[own] == v->arg[0]->type.dim[last]; break;
		case OpPad: keeps = v->type.dim[own] == v->arg[0]->type.dim[last] && v->list[0].data[own] == 0; break;
		case OpFlip: keeps = label_axis(v->list[0], last) < 0; break;
		case OpWindow: keeps = v->list[0].data[0] < last; break;
		default: keeps = false; break;
	}
	return keeps;
}

/* Are its last two axes the taps, and a single channel? */
static bool is_window_of_taps(const Val *v) {
	int last = v->type.rank - 1;
	return v->op == OpWindow && v->type.dim[last] == 1 && v->list[0].data[0] + 2 == last;
}

typedef enum Grouping { SINGLE_BYTES, WORDS, WORDS_OF_TAPS } Grouping;

/* How the product's operands are bytes, and which axis of the activations is grouped. */
static Grouping grouping_of(const Val *v, int which, int *axis) {
	const Val *x = v->arg[!which];
	IntList lx = v->list[!which], lw = v->list[which], ly = v->list[2];
	*axis = lx.length - 1;
	if (!lx.length || !ly.length || label_axis(ly, lx.data[*axis]) >= 0) return SINGLE_BYTES;
	int64_t last = ly.data[ly.length - 1];
	if (label_axis(lx, last) >= 0 && label_axis(lw, last) >= 0) return SINGLE_BYTES;
	while (only_moves(x) && keeps_last(x, 2)) x = x->arg[0];
	if (!is_window_of_taps(x) || label_axis(ly, lx.data[*axis - 1]) >= 0) return WORDS;
	--*axis;
	return WORDS_OF_TAPS;
}

/* ---- weights ---- */

static Operands all_operands(const Val *v) { return (Operands){0, v->nargs}; }

/* How w8 and scales are made of parameters; step: t above. */
static Fn *make_weights(const Fn *f, Val *v, int which, float step) {
	Rebuild r = rebuild_start(f);
	ValList order = {0};
	post_order(f->arena, v->arg[which], NEW_ARRAY(f->arena, bool, f->vals.length + 1), all_operands, &order);
	for (int i = 0; i < order.length; i++) {
		Val *x = order.data[i];
		if (x->op != OpInput) rebuild_args(&r, x), r.map[x->id] = rebuild_copy(&r, x);
	}
	Val *w = r.map[v->arg[which]->id];
	IntList labels = v->list[which], results = v->list[2];
	int64_t summed[MAX_RANK], kept[MAX_RANK], perm[MAX_RANK];
	int nsummed = 0, nkept = 0, n = 0;
	for (int i = 0; i < labels.length; i++)
		if (label_axis(results, labels.data[i]) < 0) summed[nsummed++] = i;
		else kept[nkept++] = i;
	Val *s = ir_reduce(r.to, OpReduceMax, ir_Abs(r.to, w), nsummed, summed);
	s = ir_Mul(r.to, s, ir_like(r.to, s, 1.0 / 127));
	Val *q = ir_Div(r.to, w, ir_broadcast(r.to, s, w->type.rank, w->type.dim, kept));
	for (int i = 0; i < results.length; i++)   /* the scales' axes in the order of the results' */
		for (int k = 0; k < nkept; k++)
			if (labels.data[kept[k]] == results.data[i]) perm[n++] = k;
	q = ir_cast(r.to, ir_Round(r.to, q), DTYPE_I8);
	int axis;
	if (grouping_of(v, which, &axis) != SINGLE_BYTES) q = words_along(r.to, q, label_axis(labels, v->list[!which].data[axis]));
	fn_output(r.to, "weights", q, -1);
	s = ir_Mul(r.to, ir_transpose(r.to, s, perm), ir_like(r.to, ir_transpose(r.to, s, perm), step));
	fn_output(r.to, "scales", s, -1);
	r.to->name = "weights";
	return prune(fn_canonical(r.to), true);
}

static const QuantTensor *tensor_for(Quantize *q, const char *parameter, Fn *make) {
	Text text = {.arena = q->arena};
	fn_print(&text, make);
	int number = 1;
	for (int i = 0; i < q->tensors.length; i++) {
		const QuantTensor *t = &q->tensors.data[i];
		if (strcmp(t->parameter, parameter) != 0) continue;
		if (!strcmp(t->text, text.data)) return t;
		number++;
	}
	const char *suffix = number > 1 ? arena_printf(q->arena, ".%d", number) : "";
	vec_push(q->arena, &q->tensors, ((QuantTensor){parameter, arena_printf(q->arena, "%s#i8%s", parameter, suffix),
	                                               arena_printf(q->arena, "%s#scale%s", parameter, suffix), make, text.data}));
	return &q->tensors.data[q->tensors.length - 1];
}

static Val *input_named(Fn *f, const char *name, Type type) {
	for (int i = 0; i < f->inputs.length; i++)
		if (!strcmp(f->inputs.data[i].name, name)) return f->inputs.data[i].val;
	return fn_input(f, name, INPUT_PARAM, type);
}

/* ---- products ---- */

/* The view of other bytes or words, the axis `axis` from behind being n long; 0: as it was. */
static Val *rebuild_view(Fn *f, const Val *given, Val *x, int axis, int64_t n) {
	Val view = *given;
	view.type.dtype = x->type.dtype;
	if (n) view.type.dim[view.type.rank - axis] = n;
	if (view.op == OpSlice) return ir_slice(f, x, view.list[0].data, view.type.dim, view.list[1].data);
	return fn_rebuild(f, &view, &x);
}

/* The activations as integers, of which 1 stands for `step`, under the same views; words are made where views begin to move the
 * axes that these are made of. */
static Val *quantized(Rebuild *r, const Val *product, int which, DType dtype, float step) {
	VEC(Val *) views = {0};
	Fn *f = r->to;
	int axis, whole = 0, taps = -1;   /* so many views leave those axes alone; but the window of taps, if there is one */
	Grouping how = grouping_of(product, !which, &axis);
	Val *v = product->arg[which];
	for (; only_moves(v); v = v->arg[0]) {
		bool keeps = keeps_last(v, how == WORDS_OF_TAPS ? 2 : 1);
		if (how == WORDS_OF_TAPS && taps < 0 && !keeps) taps = views.length, keeps = true;
		if (whole == views.length && keeps) whole++;
		vec_push(f->arena, &views, v);
	}
	Val *x = r->map[v->id], *window = taps >= 0 ? views.data[taps] : NULL;
	x = ir_cast(f, ir_Round(f, ir_Mul(f, x, ir_like(f, x, 1 / step))), dtype);
	int64_t size = window ? window->type.dim[window->type.rank - 2] : 0, n = divide_up(size, BYTES);
	for (int i = views.length - 1; i >= -1; i--) {
		if (how == WORDS && i == whole - 1) x = words_along(f, x, x->type.rank - 1);
		if (window && i == whole - 1) x = words_of_places(f, x, n * window->list[2].data[0], (int)divide_up(size, n));
		if (i >= 0 && i == taps)
			x = ir_window(f, x, x->type.rank - 2, window->type.dim[window->type.rank - 3], n, window->list[1].data[0],
			              window->list[2].data[0]);
		else if (i >= 0 && how == WORDS && i < whole)
			x = rebuild_view(f, views.data[i], x, 1, x->type.dim[x->type.rank - 1]);
		else if (i >= 0)
			x = rebuild_view(f, views.data[i], x, 2, i < taps ? n : 0);
	}
	return x;
}

static Val *integer_product(Quantize *q, Rebuild *r, Val *v, int which, const Range *range) {
	enum { LEAST_EXPONENT = -100 };   /* so that neither a step nor its inverse is denormal or infinite */
	Fn *f = r->to;
	DType dtype = range->low >= 0 ? DTYPE_U8 : DTYPE_I8;
	float step = range->low >= 0 ? range->high / 255 : MAX(-range->low, range->high) / 127;
	if (step < ldexpf(1, LEAST_EXPONENT)) step = ldexpf(1, LEAST_EXPONENT);
	Fn *make = make_weights(r->from, v, which, step);
	const QuantTensor *t = tensor_for(q, range->parameter, make);
	Type type = make->outputs.data[0].val->type;
	Val *args[2];
	args[which] = input_named(f, t->weights, type);
	args[!which] = quantized(r, v, !which, dtype, step);
	Val *sum = ir_contract(f, args[0], v->list[0].data, args[1], v->list[1].data, v->list[2].length, v->list[2].data);
	Val *scales = input_named(f, t->scales, make->outputs.data[1].val->type);
	int64_t dims[MAX_RANK];
	int n = 0;
	for (int i = 0; i < v->list[2].length; i++)
		if (label_axis(v->list[which], v->list[2].data[i]) >= 0) dims[n++] = i;
	return ir_Mul(f, ir_cast(f, sum, DTYPE_F32), ir_broadcast(f, scales, v->type.rank, v->type.dim, dims));
}

static const Range *find_range(const Quantize *q, const char *parameter) {
	for (int i = 0; i < q->ranges.length; i++)
		if (!strcmp(q->ranges.data[i].parameter, parameter)) return &q->ranges.data[i];
	return NULL;
}

/* Products with parameters in the body of a scan. */
static int count_within(const Val *scan, const int *around) {
	const Fn *body = scan->body;
	const int *fixed = find_fixed(body, scan, around);
	int n = 0;
	for (int i = 0; i < body->vals.length; i++) {
		const Val *v = body->vals.data[i];
		n += v->op == OpScan ? count_within(v, fixed) : weights_of(v, fixed) >= 0;
	}
	return n;
}

Fn *quantize_products(Quantize *q, Fn *f) {
	const int *fixed = find_fixed(f, NULL, NULL);
	Rebuild r = rebuild_start(f);
	q->products = q->left = 0;
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i];
		if (v->op == OpInput) continue;
		int which = weights_of(v, fixed);
		const char *parameter = which < 0 ? NULL : parameter_of(f, v, which, fixed);
		const Range *range = which < 0 || !fits(v) ? NULL : find_range(q, parameter);
		q->products += which >= 0;
		q->left += which >= 0 && !range;
		if (which >= 0 && fits(v) && !range) q->unseen = parameter;
		int within = v->op == OpScan ? count_within(v, fixed) : 0;
		q->products += within, q->left += within;
		rebuild_args(&r, v);
		r.map[i] = range ? integer_product(q, &r, v, which, range) : rebuild_copy(&r, v);
	}
	return quantize_prune(rebuild_finish(&r));
}
