/* simplify_fold.c: element-wise ops on constants.  A constant is an exact double that f32 arithmetic sees rounded.  So a
 * fold is exact when rounding the f64 result gives the very f32 result: checked each time, never assumed.  Functions of
 * math.def are not folded: their f64 values belong to the host's library. */
#include "simplify.h"

#include <math.h>
#include <string.h>

/* Defined for a in both precisions by the same text. */
#define FLOAT_FOLD(type, name, SQRT, FLOOR, ROUND, ABS) \
	static bool name(Op op, const type *x, type *y) { \
		switch (op) { \
		case OpNeg: *y = -x[0]; return true; \
		case OpAbs: *y = ABS(x[0]); return true; \
		case OpFloor: *y = FLOOR(x[0]); return true; \
		case OpRound: *y = ROUND(x[0]); return true; \
		case OpSqrt: *y = SQRT(x[0]); return true; \
		case OpAdd: *y = x[0] + x[1]; return true; \
		case OpSub: *y = x[0] - x[1]; return true; \
		case OpMul: *y = x[0] * x[1]; return true; \
		case OpDiv: *y = x[0] / x[1]; return true; \
		case OpMax: *y = x[0] > x[1] || isnan(x[0]) ? x[0] : x[1]; return true; \
		case OpMin: *y = x[0] < x[1] || isnan(x[0]) ? x[0] : x[1]; return true; \
		case OpLt: *y = x[0] < x[1]; return true; \
		case OpLe: *y = x[0] <= x[1]; return true; \
		case OpEq: *y = x[0] == x[1]; return true; \
		default: return false; \
		} \
	}
FLOAT_FOLD(double, fold_f64, sqrt, floor, rint, fabs)
FLOAT_FOLD(float, fold_f32, sqrtf, floorf, rintf, fabsf)

static bool fold_float(Op op, DType dtype, int n, const double *x, double *y) {
	float x32[3], y32;
	if ((dtype != DTYPE_F32 && dtype != DTYPE_F64) || !fold_f64(op, x, y) || isnan(*y)) return false;
	if (dtype == DTYPE_F64) return true;
	for (int i = 0; i < n; i++) x32[i] = (float)x[i];
	if (!fold_f32(op, x32, &y32)) return false;
	float rounded = (float)*y;
	return !memcmp(&rounded, &y32, sizeof y32);
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

static bool fold_integer(Op op, const double *x, double *y) {
	int64_t a = (int64_t)x[0], b = (int64_t)x[1], r;
	switch (op) {
	case OpNeg: r = -a; break;
	case OpAbs: r = a < 0 ? -a : a; break;
	case OpSign: r = (a > 0) - (a < 0); break;
	case OpAdd: r = a + b; break;
	case OpSub: r = a - b; break;
	case OpMul: r = a * b; break;
	case OpMax: r = MAX(a, b); break;
	case OpMin: r = MIN(a, b); break;
	case OpIdiv: r = b ? floor_div(a, b) : 0; break;
	case OpMod: r = b ? a - b * floor_div(a, b) : 0; break;
	case OpLt: *y = a < b; return true;
	case OpLe: *y = a <= b; return true;
	case OpEq: *y = a == b; return true;
	default: return false;
	}
	uint32_t wrapped = (uint32_t)(uint64_t)r;
	*y = wrapped < 0x80000000u ? (double)wrapped : (double)wrapped - 4294967296.0;
	return true;
}

static bool fold_bool(Op op, const double *x, double *y) {
	switch (op) {
	case OpNot: *y = x[0] == 0; return true;
	case OpAnd: *y = x[0] != 0 && x[1] != 0; return true;
	case OpOr: *y = x[0] != 0 || x[1] != 0; return true;
	case OpEq: *y = x[0] == x[1]; return true;
	default: return false;
	}
}

Val *fold_constants(Fn *f, Op op, int n, Val **args) {
	double x[3] = {0}, y = 0;
	for (int i = 0; i < n; i++) {
		if (args[i]->op != OpConst) return NULL;
		x[i] = args[i]->number;
	}
	DType dtype = args[n - 1]->type.dtype;
	bool ok = dtype_is_float(dtype) ? fold_float(op, dtype, n, x, &y)
	        : dtype == DTYPE_I32    ? fold_integer(op, x, &y)
	        : dtype == DTYPE_BOOL   ? fold_bool(op, x, &y)
	                                : false;
	return ok ? ir_const(f, op_info[op].result_bool ? DTYPE_BOOL : dtype, y) : NULL;
}

Val *fold_cast(Fn *f, Val *a, DType to) {
	DType from = a->type.dtype;
	if (a->op != OpConst || isnan(a->number)) return NULL;
	double x = a->number, x32 = (double)(float)x;
	bool wide = to == DTYPE_F32 || to == DTYPE_F64;
	if (dtype_info[from].class != 'F' && wide) return ir_const(f, to, x);
	if (from == DTYPE_F64 && to == DTYPE_F32) return ir_const(f, to, x);
	if (from == DTYPE_F32 && to == DTYPE_F64 && x == x32) return ir_const(f, to, x);
	if (wide || dtype_is_float(to) || to == DTYPE_BOOL) return NULL;
	if (from == DTYPE_F32 && trunc(x) != trunc(x32)) return NULL;
	x = trunc(x) + 0.0;
	double least = to == DTYPE_I32 ? -2147483648.0 : to == DTYPE_I8 ? -128 : 0;
	double most = to == DTYPE_I32 ? 2147483647.0 : to == DTYPE_I8 ? 127 : 255;
	return x >= least && x <= most ? ir_const(f, to, x) : NULL;
}
