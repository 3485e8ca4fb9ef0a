/* simplify.c: local rewrites.  In: a Fn without Grad; out: one that computes the same bits, NaNs included, with less
 * work.  One pass over canonical order rebuilds every value over simplified operands, so what a rewrite makes is
 * simplified too; passes repeat until nothing changes.
 *
 * Each rule is an identity of IEEE arithmetic in every rounding and precision (x - 0 = x, but not x + 0, which turns -0
 * into 0), with two exceptions: sum_to_contract() gives a sum of products the order of a contraction, and a contraction that is
 * turned takes the order of what it becomes (contract_order() in ir.h).  It happens before any interpreter or code generator
 * sees the program, so all of them agree on what the program means. */
#include "simplify.h"

#include <math.h>
#include <stdlib.h>

/* ---- element-wise ---- */

static Val *raw(Fn *f, Op op, int n, Val **args) {
	Val v = {.op = op, .type = args[n - 1]->type, .nargs = n, .span = f->span};
	if (op_info[op].result_bool) v.type.dtype = DTYPE_BOOL;
	return fn_rebuild(f, &v, args);
}

static bool splat(const Val *v, double value) {
	double x;
	return is_splat(v, &x) && x == value && signbit(x) == signbit(value);
}

/* 2^-k for a splat 2^k, when both are normal numbers of f32: dividing by it is multiplying by its inverse. */
static bool inverse_is_exact(const Val *v, double *inverse) {
	double x;
	int exponent;
	if (!is_splat(v, &x) || !isfinite(x) || x == 0 || (v->type.dtype != DTYPE_F32 && v->type.dtype != DTYPE_F64)) return false;
	if (fabs(frexp(x, &exponent)) != 0.5 || abs(exponent) > 120) return false;
	*inverse = 1 / x;
	return true;
}

/* A constant that takes a sign and is a constant again. */
static bool takes_sign(const Val *v) {
	double x;
	return (v->type.dtype == DTYPE_F32 || v->type.dtype == DTYPE_F64) && is_splat(v, &x) && !isnan(x);
}

static Val *simplify_neg(Fn *f, Val *a) {
	if (a->op == OpNeg) return a->arg[0];
	if ((a->op == OpMul || a->op == OpDiv) && takes_sign(a->arg[1]))
		return make2(f, a->op, a->arg[0], make1(f, OpNeg, a->arg[1]));
	if (a->op == OpMul && takes_sign(a->arg[0])) return make2(f, OpMul, make1(f, OpNeg, a->arg[0]), a->arg[1]);
	return NULL;
}

static Val *simplify_add(Fn *f, Val *a, Val *b) {
	bool whole = !dtype_is_float(a->type.dtype);
	if (splat(b, whole ? 0.0 : -0.0)) return a;
	if (splat(a, whole ? 0.0 : -0.0)) return b;
	if (b->op == OpNeg) return make2(f, OpSub, a, b->arg[0]);
	if (a->op == OpNeg) return make2(f, OpSub, b, a->arg[0]);
	return NULL;
}

static Val *simplify_mul(Fn *f, Val *a, Val *b) {
	if (splat(b, 1)) return a;
	if (splat(a, 1)) return b;
	if (splat(b, -1)) return make1(f, OpNeg, a);
	if (splat(a, -1)) return make1(f, OpNeg, b);
	if (a->op == OpNeg && b->op == OpNeg) return make2(f, OpMul, a->arg[0], b->arg[0]);
	if (a->op == OpNeg) return make1(f, OpNeg, make2(f, OpMul, a->arg[0], b));
	if (b->op == OpNeg) return make1(f, OpNeg, make2(f, OpMul, a, b->arg[0]));
	return NULL;
}

static Val *simplify_div(Fn *f, Val *a, Val *b) {
	double inverse;
	if (splat(b, 1)) return a;
	if (splat(b, -1)) return make1(f, OpNeg, a);
	if (inverse_is_exact(b, &inverse)) return make2(f, OpMul, a, ir_like(f, b, inverse));
	if (a->op == OpNeg && b->op == OpNeg) return make2(f, OpDiv, a->arg[0], b->arg[0]);
	if (a->op == OpNeg) return make1(f, OpNeg, make2(f, OpDiv, a->arg[0], b));
	if (b->op == OpNeg) return make1(f, OpNeg, make2(f, OpDiv, a, b->arg[0]));
	return NULL;
}

static Val *simplify_where(Fn *f, Val *c, Val *a, Val *b) {
	double x;
	if (a == b) return a;
	if (is_splat(c, &x)) return x != 0 ? a : b;
	if (c->op == OpNot) return make(f, OpWhere, 3, (Val *[]){c->arg[0], b, a});
	if (a->op == OpWhere && a->arg[0] == c) return make(f, OpWhere, 3, (Val *[]){c, a->arg[1], b});
	if (b->op == OpWhere && b->arg[0] == c) return make(f, OpWhere, 3, (Val *[]){c, a, b->arg[2]});
	if (a->type.dtype == DTYPE_BOOL && splat(a, 1) && splat(b, 0)) return c;
	if (a->type.dtype == DTYPE_BOOL && splat(a, 0) && splat(b, 1)) return make1(f, OpNot, c);
	return NULL;
}

static Val *simplify_logic(Op op, Val *a, Val *b) {
	double x;
	if (a == b) return a;
	if (is_splat(a, &x)) return (x != 0) == (op == OpAnd) ? b : a;
	if (is_splat(b, &x)) return (x != 0) == (op == OpAnd) ? a : b;
	return NULL;
}

static Val *simplify_pointwise(Fn *f, Op op, int n, Val **args) {
	Val *folded = fold_constants(f, op, n, args);
	if (!folded) folded = lift_broadcast(f, op, n, args);
	if (folded) return folded;
	Val *a = args[0], *b = n > 1 ? args[1] : NULL;
	switch (op) {
	case OpNeg: return simplify_neg(f, a);
	case OpNot: return a->op == OpNot ? a->arg[0] : NULL;
	case OpAdd: return simplify_add(f, a, b);
	case OpSub:
		if (splat(b, 0)) return a;
		return b->op == OpNeg ? make2(f, OpAdd, a, b->arg[0]) : NULL;
	case OpMul: return simplify_mul(f, a, b);
	case OpDiv: return simplify_div(f, a, b);
	case OpMax:
	case OpMin: return a == b ? a : NULL;
	case OpAnd:
	case OpOr: return simplify_logic(op, a, b);
	case OpWhere: return simplify_where(f, a, b, args[2]);
	case OpAbs: return a->op == OpNeg && a->type.dtype != DTYPE_U8 ? make1(f, OpAbs, a->arg[0]) : NULL;
	case OpStop: return a; /* derivatives have been taken */
	default: return NULL;
	}
}

Val *make(Fn *f, Op op, int n, Val **args) {
	Val *v = simplify_pointwise(f, op, n, args);
	return v ? v : raw(f, op, n, args);
}

/* The axes of `type` along which v is not repeated, as bits. */
static unsigned own_axes(const Val *v) {
	unsigned all = (1u << v->type.rank) - 1, bits = 0;
	if (is_splat(v, NULL)) return 0;
	if (v->op != OpBroadcast) return all;
	for (int i = 0; i < v->list[0].length; i++) bits |= 1u << v->list[0].data[i];
	return bits;
}

/* v, repeated along axes outside `bits`, as a value of the narrower type that has only the axes in `bits`. */
static Val *narrowed(Fn *f, Val *v, unsigned bits, Type narrow) {
	int64_t dims[MAX_RANK] = {0};
	double x;
	narrow.dtype = v->type.dtype;
	if (is_splat(v, &x)) return make_broadcast(f, ir_const(f, v->type.dtype, x), narrow, dims);
	for (int i = 0; i < v->list[0].length; i++)
		for (int64_t axis = 0; axis < v->list[0].data[i]; axis++) dims[i] += bits >> axis & 1;
	return make_broadcast(f, v->arg[0], narrow, dims);
}

Val *lift_broadcast(Fn *f, Op op, int n, Val **args) {
	const Type type = args[0]->type;
	unsigned bits = 0;
	for (int i = 0; i < n; i++) bits |= own_axes(args[i]);
	if (!type.rank || bits == (1u << type.rank) - 1) return NULL;
	Type narrow = {0};
	int64_t dims[MAX_RANK] = {0};
	for (int i = 0; i < type.rank; i++)
		if (bits >> i & 1) {
			dims[narrow.rank] = i;
			narrow.dim[narrow.rank++] = type.dim[i];
		}
	Val *inner[3];
	for (int i = 0; i < n; i++) inner[i] = narrowed(f, args[i], bits, narrow);
	Val *y = make(f, op, n, inner);
	Type result = type;
	result.dtype = y->type.dtype;
	return make_broadcast(f, y, result, dims);
}

/* ---- the pass ---- */

/* Sums nested in another sum wait for the outermost, which sees them all. */
static bool *find_inner_sums(const Fn *f, const int *users) {
	bool *inner = NEW_ARRAY(f->arena, bool, f->vals.length + 1);
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op == OpReduceSum && v->arg[0]->op == OpReduceSum && users[v->arg[0]->id] == 1) inner[v->arg[0]->id] = true;
	}
	return inner;
}

static bool in_both(const Val *contract, int64_t label) {
	bool in[2] = {false};
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < contract->list[k].length; i++) in[k] |= contract->list[k].data[i] == label;
	return in[0] && in[1];
}

/* Has the second operand an axis of its own, so that there are products of rows and columns? */
static bool has_columns(const Val *contract) {
	for (int i = 0; i < contract->list[1].length; i++)
		if (!in_both(contract, contract->list[1].data[i]) && contract->arg[1]->type.dim[i] > 1) return true;
	return false;
}

/* NULL where a product of rows and columns would end with a batch axis and does not now: each element would be a sum by itself.
 */
static Val *transposed_contract(Fn *f, Val *a, const int64_t *perm) {
	int64_t ly[MAX_RANK];
	int last = a->type.rank - 1;
	for (int i = 0; i <= last; i++) ly[i] = a->list[2].data[perm[i]];
	if (last >= 0 && has_columns(a) && in_both(a, ly[last]) && !in_both(a, a->list[2].data[last])) return NULL;
	return ir_contract(f, a->arg[0], a->list[0].data, a->arg[1], a->list[1].data, a->type.rank, ly);
}

/* A transpose of an element-wise value of one tensor and splats goes below it, where it may meet another one or a contract. */
static Val *sunk_transpose(Fn *f, const Val *a, const Val *v) {
	Val *inner[3];
	int tensors = 0;
	for (int i = 0; i < a->nargs; i++) {
		Type type = v->type;
		type.dtype = a->arg[i]->type.dtype;
		bool splat = is_splat(a->arg[i], NULL);
		tensors += !splat;
		inner[i] = splat ? splat_of(f, a->arg[i], type) : tensors > 1 ? NULL : make_transpose(f, a->arg[i], v->list[0].data);
	}
	return tensors == 1 ? make(f, a->op, a->nargs, inner) : NULL;
}

static Val *simplify_val(Fn *f, const Val *v, Val **args, const int *users, bool inner_sum) {
	Val *a = v->nargs ? args[0] : NULL, *y;
	if (op_info[v->op].pointwise) return simplify_pointwise(f, v->op, v->nargs, args);
	switch (v->op) {
	case OpCast: return simplify_cast(f, a, v->type.dtype);
	case OpReshape: return simplify_reshape(f, a, v->type);
	case OpTranspose:
		y = NULL;
		if (a->op == OpContract && users[v->arg[0]->id] == 1) y = transposed_contract(f, a, v->list[0].data);
		if (op_info[a->op].pointwise && users[v->arg[0]->id] == 1) y = sunk_transpose(f, a, v);
		return y ? y : simplify_transpose(f, a, v->list[0].data);
	case OpBroadcast: return simplify_broadcast(f, a, v->type, v->list[0].data);
	case OpSlice: return simplify_slice(f, a, v->type, v->list[0].data, v->list[1].data);
	case OpPad: return simplify_pad(f, a, v);
	case OpFlip: return simplify_flip(f, a, v->list[0]);
	case OpReduceSum:
		y = inner_sum ? NULL : sum_to_contract(f, v, a);
		return y ? y : simplify_reduce(f, a, v->op, (int)v->list[0].data[0]);
	case OpReduceMax:
	case OpReduceMin:
	case OpReduceProd: return simplify_reduce(f, a, v->op, (int)v->list[0].data[0]);
	case OpContract: return simplify_contract(f, v, a, args[1]);
	default: return NULL;
	}
}

static Fn *simplify_once(Fn *f, bool *changed);

/* results: where its results are found in the new function. */
static Val *simplify_scan(Rebuild *r, const Val *v, Val **args, ScanResult *results, bool *changed) {
	Val scan = *v;
	int n = v->body->outputs.length;
	bool *read = NEW_ARRAY(r->to->arena, bool, n + 1);
	scan.body = simplify_once(v->body, changed);
	for (int i = 0; i < n; i++) results[i] = (ScanResult){.number = i};
	for (int i = v->id; i < r->from->vals.length; i++) {
		const Val *reader = r->from->vals.data[i];
		if (reader->op == OpProject && reader->arg[0] == v) read[reader->list[0].data[0]] = true;
	}
	Val *trimmed = trim_scan(r->to, &scan, args, read, results);
	*changed |= trimmed != NULL;
	return trimmed ? trimmed : fn_rebuild(r->to, &scan, args);
}

static Val *simplify_project(Rebuild *r, const Val *v, ScanResult *const *results) {
	const ScanResult *result = &results[v->arg[0]->id][v->list[0].data[0]];
	return result->value ? result->value : ir_project(r->to, r->map[v->arg[0]->id], result->number);
}

static Fn *simplify_once(Fn *f, bool *changed) {
	Rebuild r = rebuild_start(f);
	int *users = fn_count_uses(f);
	bool *inner = find_inner_sums(f, users);
	ScanResult **results = NEW_ARRAY(f->arena, ScanResult *, f->vals.length + 1);   /* by the scan's id */
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i], *y = NULL;
		if (v->op == OpInput) continue;
		Val **args = rebuild_args(&r, v);
		if (v->op == OpScan) {
			results[i] = NEW_ARRAY(f->arena, ScanResult, v->body->outputs.length + 1);
			y = simplify_scan(&r, v, args, results[i], changed);
		} else if (v->op == OpProject) {
			y = simplify_project(&r, v, results);
		} else {
			y = simplify_val(r.to, v, args, users, inner[i]);
			*changed |= y != NULL;
		}
		r.map[i] = y ? y : fn_copy(r.to, v, args);
	}
	return *changed ? rebuild_finish(&r) : f;
}

/* Is there anything to rewrite?  Looks for it among the function's own values, without a copy of them; what rules try is taken
 * back.  Of scans it does not know. */
static bool finds_more(Fn *f) {
	if (fn_has(f, OpScan)) return true;
	FnLength length = fn_length(f);
	int *users = fn_count_uses(f);
	bool *inner = find_inner_sums(f, users), found = false;
	Span span = f->span;
	for (int i = 0; i < length.vals && !found; i++) {
		Val *v = f->vals.data[i];
		f->span = v->span;
		found = v->op != OpInput && simplify_val(f, v, v->arg, users, inner[i]);
	}
	f->span = span;
	fn_shorten(f, length);
	return found;
}

Fn *pass_simplify(Fn *f) {
	if (!f->canonical) f = fn_canonical(f);
	for (int round = 0; round < 16; round++) {
		bool changed = false;
		if (!finds_more(f)) break;
		f = simplify_once(f, &changed);
		if (!changed) break;
	}
	return f;
}
