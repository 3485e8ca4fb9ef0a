/* operators.c: the operators of the language on values, static or not.
 *
 * In: values.  Out: a value.  Statics are computed here and now, in 64-bit integers and doubles; tensors go to
 * apply_pointwise. */
#include <math.h>

#include "session.h"

static const Op tensor_op[] = {
	[OPERATOR_ADD] = OpAdd, [OPERATOR_SUB] = OpSub, [OPERATOR_MUL] = OpMul, [OPERATOR_DIV] = OpDiv, [OPERATOR_IDIV] = OpIdiv,
	[OPERATOR_MOD] = OpMod, [OPERATOR_LT] = OpLt, [OPERATOR_LE] = OpLe, [OPERATOR_GT] = OpLt, [OPERATOR_GE] = OpLe,
	[OPERATOR_EQ] = OpEq, [OPERATOR_NE] = OpEq, [OPERATOR_AND] = OpAnd, [OPERATOR_OR] = OpOr,
};

static double number_of(Elab *e, Value v) { return v.kind == VALUE_REAL ? v.as.real : (double)dim_value(e, v.as.integer); }

/* b is not 0; false: the quotient is 2^63. */
static bool floor_div(int64_t a, int64_t b, int64_t *quotient, int64_t *rest) {
	*rest = b == -1 ? 0 : a % b;
	if (b == -1) return !__builtin_sub_overflow(0, a, quotient);
	*quotient = a / b;
	if (*rest && (*rest < 0) != (b < 0)) *quotient -= 1, *rest += b;
	return true;
}

static bool integer_power(int64_t base, int64_t exponent, int64_t *result) {
	*result = 1;
	for (;;) {
		if ((exponent & 1) && __builtin_mul_overflow(*result, base, result)) return false;
		if (!(exponent >>= 1)) return true;
		if (__builtin_mul_overflow(base, base, &base)) return false;
	}
}

/* Sizes made with B: + - * stay polynomials, == compares them, everything else needs the number. */
static Value integers(Elab *e, Operator op, Dim a, Dim b, Span span, Span at) {
	int64_t x, y, power, quotient, rest;
	Dim r;
	bool known = dim_known(a, &x);
	known = dim_known(b, &y) && known;
	if (op == OPERATOR_EQ || op == OPERATOR_NE) return value_bool(dim_equal(a, b) == (op == OPERATOR_EQ), span);
	if (op == OPERATOR_ADD || op == OPERATOR_SUB || op == OPERATOR_MUL) {
		bool fits = op == OPERATOR_ADD ? dim_add(a, b, &r) : op == OPERATOR_SUB ? dim_sub(a, b, &r) : dim_mul(a, b, &r);
		return fits ? value_dim(r, span) : elab_error(e, at, "the whole number is too large");
	}
	if (op == OPERATOR_DIV && !known) return value_real((double)dim_value(e, a) / (double)dim_value(e, b), span);
	if (!known) {
		elab_error(e, at, "`%s` of %s and %s: the batch size is no number here", operator_text(op), dim_text(e->arena, a),
		           dim_text(e->arena, b));
		elab_help(e, "sizes made with B can be added, subtracted, multiplied and compared with ==");
		return value_poison();
	}
	switch (op) {
	case OPERATOR_DIV: return value_real((double)x / (double)y, span);
	case OPERATOR_IDIV: case OPERATOR_MOD:
		if (!y) return elab_error(e, at, "division of %lld by zero", (long long)x);
		if (!floor_div(x, y, &quotient, &rest) && op == OPERATOR_IDIV) return elab_error(e, at, "the whole number is too large");
		return value_int(op == OPERATOR_IDIV ? quotient : rest, span);
	case OPERATOR_POWER:
		if (y < 0) return value_real(pow((double)x, (double)y), span);
		return integer_power(x, y, &power) ? value_int(power, span) : value_real(pow((double)x, (double)y), span);
	case OPERATOR_LT: return value_bool(x < y, span);
	case OPERATOR_LE: return value_bool(x <= y, span);
	case OPERATOR_GT: return value_bool(x > y, span);
	default: return value_bool(x >= y, span);
	}
}

static Value reals(Elab *e, Operator op, double x, double y, Span span, Span at) {
	switch (op) {
	case OPERATOR_ADD: return value_real(x + y, span);
	case OPERATOR_SUB: return value_real(x - y, span);
	case OPERATOR_MUL: return value_real(x * y, span);
	case OPERATOR_DIV: return value_real(x / y, span);
	case OPERATOR_POWER: return value_real(pow(x, y), span);
	case OPERATOR_LT: return value_bool(x < y, span);
	case OPERATOR_LE: return value_bool(x <= y, span);
	case OPERATOR_GT: return value_bool(x > y, span);
	case OPERATOR_GE: return value_bool(x >= y, span);
	case OPERATOR_EQ: return value_bool(x == y, span);
	case OPERATOR_NE: return value_bool(x != y, span);
	default: return elab_error(e, at, "`%s` wants whole numbers", operator_text(op));
	}
}

/* x ^ n by squaring: the fixed order is low bit first. */
static Value literal_power(Elab *e, Value x, int64_t n, Span span) {
	Value result = {0};
	uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
	bool have = false;
	if (!left)
		return apply_binary(e, OPERATOR_ADD, apply_binary(e, OPERATOR_MUL, x, value_int(0, span), span, span), value_int(1, span),
		                    span, span);
	for (Value square = x; left; left >>= 1) {
		if (left & 1) {
			result = have ? apply_binary(e, OPERATOR_MUL, result, square, span, span) : square;
			have = true;
		}
		if (left > 1) square = apply_binary(e, OPERATOR_MUL, square, square, span, span);
	}
	return n < 0 ? apply_binary(e, OPERATOR_DIV, value_int(1, span), result, span, span) : result;
}

static Value power(Elab *e, Value x, Value y, Span span, Span at) {
	int64_t n;
	if (y.kind == VALUE_INT && dim_known(y.as.integer, &n) && n >= -64 && n <= 64) {
		if (n == 0 && x.kind == VALUE_TENSOR) {   /* all ones, of x's shape */
			Value one = to_tensor(e, value_int(1, span), value_dtype(&x), at), pair[] = {one, x};
			if (!value_ok(one)) return one;
			pair[0].as.tensor.val =
			    broadcast_to(e, &one, x.as.tensor.nlabels, x.as.tensor.labels, x.as.tensor.rank, x.as.tensor.dims);
			return value_labelled(e, pair[0].as.tensor.val, x.as.tensor.nlabels, x.as.tensor.labels, x.as.tensor.rank,
			                      x.as.tensor.dims, span);
		}
		return literal_power(e, x, n, span);
	}
	if (y.kind == VALUE_REAL && y.as.real == 0.5) return apply_pointwise(e, OpSqrt, 1, &x, "^", at);
	Value pair[] = {x, y};
	return apply_pointwise(e, OpPow, 2, pair, "^", at);
}

/* Sizes of a product: x [.., k] @ w [k, n] or [k]. */
Value matmul(Elab *e, Value a, Value b, Span span, Span at) {
	Value pair[] = {a, b};
	for (int i = 0; i < 2; i++) {
		if (!value_ok(pair[i])) return value_poison();
		if (pair[i].kind != VALUE_TENSOR) return elab_error(e, at, "`@` wants tensors, not %s", value_text(e, pair[i]));
		if (pair[i].as.tensor.nlabels)
			return elab_error(e, at, "`@` inside an indexed definition; write `sum[k](x[i, k] * w[k, j])`");
	}
	int ra = a.as.tensor.rank, rb = b.as.tensor.rank;
	const Dim *da = a.as.tensor.dims, *db = b.as.tensor.dims;
	bool floats = dtype_is_float(value_dtype(&a)) && value_dtype(&a) == value_dtype(&b);
	if (ra < 1 || rb < 1 || rb > 2 || !floats || !dim_equal(da[ra - 1], db[0])) {
		elab_error(e, at, "`@` cannot multiply %s by %s", value_text(e, a), value_text(e, b));
		note_value(e, "the left side", a);
		note_value(e, "the right side", b);
		if (!floats) elab_help(e, "both sides must have one float type: write `as f32`");
		else if (rb > 2) elab_help(e, "the right side has 1 or 2 dims; write batched products with indices");
		else if (ra && rb == 2 && dim_equal(da[ra - 1], db[1]))
			elab_help(e, "weights are [inputs, outputs]: the right side is the other way round");
		else elab_help(e, "the last size of the left side must equal the first of the right side");
		return value_poison();
	}
	int64_t la[MAX_RANK], lb[2] = {ra - 1, ra}, ly[MAX_RANK + 1];
	Dim dims[MAX_RANK + 1];
	int ny = 0;
	for (int i = 0; i < ra; i++) la[i] = i;
	for (int i = 0; i < ra - 1; i++) ly[ny] = i, dims[ny++] = da[i];
	if (rb == 2) ly[ny] = ra, dims[ny++] = db[1];
	if (!check_count(e, ny, dims, at)) return value_poison();
	fn_of(e)->span = blame(e, at);
	return value_tensor(e, ir_contract(fn_of(e), a.as.tensor.val, la, b.as.tensor.val, lb, ny, ly), dims, span);
}

static Value logic(Elab *e, Operator op, Value a, Value b, Span span, Span at) {
	if (a.kind == VALUE_BOOL && b.kind == VALUE_BOOL)
		return value_bool(op == OPERATOR_AND ? a.as.truth && b.as.truth : a.as.truth || b.as.truth, span);
	Value pair[] = {a, b};
	return apply_pointwise(e, tensor_op[op], 2, pair, operator_text(op), at);
}

static bool known(Value v) { return value_static(v) || v.kind == VALUE_STRING || v.kind == VALUE_LIST || v.kind == VALUE_TUPLE; }

Value apply_binary(Elab *e, Operator op, Value a, Value b, Span span, Span at) {
	if (!value_ok(a) || !value_ok(b)) return value_poison();
	if (op == OPERATOR_AND || op == OPERATOR_OR) return logic(e, op, a, b, span, at);
	if (op == OPERATOR_MATMUL) return matmul(e, a, b, span, at);
	if (a.kind == VALUE_INT && b.kind == VALUE_INT) return integers(e, op, a.as.integer, b.as.integer, span, at);
	bool numbers = value_static(a) && value_static(b) && a.kind != VALUE_BOOL && b.kind != VALUE_BOOL;
	if (numbers) return reals(e, op, number_of(e, a), number_of(e, b), span, at);
	bool equality = op == OPERATOR_EQ || op == OPERATOR_NE;
	if (equality && a.kind == VALUE_BOOL && b.kind == VALUE_BOOL)
		return value_bool((a.as.truth == b.as.truth) == (op == OPERATOR_EQ), span);
	if (equality && (a.kind == VALUE_STRING || b.kind == VALUE_STRING) && known(a) && known(b))
		return value_bool((a.kind == b.kind && a.as.string == b.as.string) == (op == OPERATOR_EQ), span);
	if (op == OPERATOR_POWER) return power(e, a, b, span, at);
	int64_t divisor;
	if ((op == OPERATOR_IDIV || op == OPERATOR_MOD) && b.kind == VALUE_INT && dim_known(b.as.integer, &divisor) && !divisor)
		return elab_error(e, at, "division of %s by zero", value_text(e, a));
	bool swapped = op == OPERATOR_GT || op == OPERATOR_GE;
	Value pair[] = {swapped ? b : a, swapped ? a : b};
	Value result = apply_pointwise(e, tensor_op[op], 2, pair, operator_text(op), at);
	if (op == OPERATOR_NE) return apply_pointwise(e, OpNot, 1, &result, "!=", at);
	return result;
}

Value apply_unary(Elab *e, Operator op, Value a, Span span, Span at) {
	Dim negative;
	if (!value_ok(a)) return a;
	if (op == OPERATOR_NOT && a.kind == VALUE_BOOL) return value_bool(!a.as.truth, span);
	if (op == OPERATOR_NOT) return apply_pointwise(e, OpNot, 1, &a, "not", at);
	if (a.kind == VALUE_INT)
		return dim_sub(dim_number(0), a.as.integer, &negative) ? value_dim(negative, span)
		                                                       : elab_error(e, at, "the whole number is too large");
	if (a.kind == VALUE_REAL) return value_real(-a.as.real, span);
	return apply_pointwise(e, OpNeg, 1, &a, "-", at);
}

Value apply_cast(Elab *e, Value v, DType dtype, Span span) {
	if (v.kind == VALUE_INDEX) v = elab_index_number(e, v, span);
	if (!value_ok(v)) return v;
	if (v.kind == VALUE_BOOL) v = value_int(v.as.truth, span);
	if (value_static(v) && dtype == DTYPE_BOOL) return value_bool(number_of(e, v) != 0, span);
	if (v.kind == VALUE_REAL && !dtype_is_float(dtype))
		v = value_int((int64_t)fmax(-2147483648.0, fmin(2147483647.0, v.as.real)), span);
	if (value_static(v)) return to_tensor(e, v, dtype, span);
	if (v.kind != VALUE_TENSOR) return elab_error(e, span, "`as` wants a tensor or a number, not %s", value_text(e, v));
	fn_of(e)->span = blame(e, span);
	v.as.tensor.val = ir_cast(fn_of(e), v.as.tensor.val, dtype);
	v.as.tensor.weak = false;
	if (dtype_is_float(dtype)) v.as.tensor.classes = 0;
	else v.as.tensor.tag = TAG_NONE;
	v.span = blame(e, span);
	return v;
}
