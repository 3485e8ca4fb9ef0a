/* test_passes_random.h: random programs over awkward numbers, with what the passes look for in them: views of views, constants,
 * products and sums, all dtypes. */
#ifndef NNC_TEST_PASSES_RANDOM_H
#define NNC_TEST_PASSES_RANDOM_H

#include "test_passes.h"

static const double special[] = {0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 0.5, 2, 3, 1e-40, 1e38, -2.5, 1e-3};

static Val *random_splat(Fn *f, Random *r, Val *a) {
	double x = special[random_below(r, COUNT(special))];
	DType d = a->type.dtype;
	if (d == DTYPE_BOOL) x = random_below(r, 2);
	else if (!dtype_is_float(d)) x = random_below(r, 4) - (d == DTYPE_U8 ? 0 : 1);
	return ir_like(f, a, x);
}

static bool accepts(Op op, DType d) {
	char class = dtype_info[d].class, want = op_info[op].operand_class;
	return want == 'A' || want == class || (want == 'N' && class != 'B');
}

typedef struct Pool { Fn *f; Random *r; Val *v[128]; int n; } Pool;

static Val *pick(Pool *p) { return p->v[p->n - 1 - random_below(p->r, MIN(p->n, 12))]; }

/* Another value of this type: an old one, or a constant. */
static Val *mate(Pool *p, Val *a) {
	for (int k = 0; k < 12; k++) {
		Val *b = p->v[random_below(p->r, p->n)];
		if (type_equal(b->type, a->type) && random_below(p->r, 3)) return b;
	}
	return random_below(p->r, 4) ? random_splat(p->f, p->r, a) : a;
}

static Val *condition_like(Pool *p, Val *a) {
	Type t = a->type;
	t.dtype = DTYPE_BOOL;
	for (int k = 0; k < 12; k++) {
		Val *b = p->v[random_below(p->r, p->n)];
		if (type_equal(b->type, t)) return b;
	}
	return ir_Eq(p->f, a, mate(p, a));
}

static Val *random_pointwise(Pool *p, Val *a) {
	Op op;
	do op = (Op)random_below(p->r, OpConst);
	while (!accepts(op, a->type.dtype));
	Val *b = mate(p, a);
	if (random_below(p->r, 2)) {
		Val *swap = a;
		a = b;
		b = swap;
	}
	switch (op) {
#define UNARY(Name, ...) case Op##Name: return ir_##Name(p->f, a);
#define BINARY(Name, ...) case Op##Name: return ir_##Name(p->f, a, b);
#define TERNARY(Name, ...) case Op##Name: return ir_##Name(p->f, condition_like(p, a), a, b);
#define STRUCTURAL(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
	default: return a;
	}
}

static Val *random_broadcast(Pool *p, Val *a) {
	static const int64_t extents[] = {1, 2, 3};
	int more = random_below(p->r, 3);
	Type t = {.rank = MIN(3, a->type.rank + more)};
	int64_t dims[MAX_RANK];
	for (int i = 0, k = 0; i < t.rank; i++) {
		bool own = k < a->type.rank && (t.rank - i == a->type.rank - k || random_below(p->r, 2));
		if (own) dims[k] = i;
		t.dim[i] = own ? a->type.dim[k++] : extents[random_below(p->r, 3)];
	}
	return ir_broadcast(p->f, a, t.rank, t.dim, dims);
}

static Val *random_window(Pool *p, Val *a) {
	int axis = random_below(p->r, MAX(a->type.rank, 1)), stride = 1 + random_below(p->r, 2), dilation = 1 + random_below(p->r, 2);
	if (!a->type.rank || a->type.rank > 2) return a;
	int64_t n = 1 + random_below(p->r, 1 + (int)(a->type.dim[axis] - 1) / stride);
	int64_t size = 1 + random_below(p->r, 1 + (int)(a->type.dim[axis] - 1 - (n - 1) * stride) / dilation);
	return ir_window(p->f, a, axis, n, size, stride, dilation);
}

static Val *random_view(Pool *p, Val *a) {
	Fn *f = p->f;
	int rank = a->type.rank;
	int64_t list[4][MAX_RANK] = {{0}};
	switch (random_below(p->r, 9)) {
	case 0: return random_broadcast(p, a);
	case 1: {
		static const DType to[] = {DTYPE_F32, DTYPE_F64, DTYPE_I32, DTYPE_U8, DTYPE_I8, DTYPE_F32};
		return ir_cast(f, a, to[random_below(p->r, COUNT(to))]);
	}
	case 2: list[0][0] = type_count(a->type); return ir_reshape(f, a, 1, list[0]);
	case 3:
		for (int i = 0; i < rank; i++) {
			int k = random_below(p->r, i + 1);
			list[0][i] = list[0][k];
			list[0][k] = i;
		}
		return ir_transpose(f, a, list[0]);
	case 4:
		for (int i = 0; i < rank; i++) {
			list[0][i] = random_below(p->r, (int)a->type.dim[i]);
			list[2][i] = 1 + random_below(p->r, 2);
			list[1][i] = 1 + (a->type.dim[i] - 1 - list[0][i]) / list[2][i];
		}
		return ir_slice(f, a, list[0], list[1], list[2]);
	case 5:
		for (int i = 0; i < rank; i++) {
			list[random_below(p->r, 2)][i] = random_below(p->r, 2);
			list[2][i] = random_below(p->r, 4) == 0;
			if (a->type.dim[i] > 2 && random_below(p->r, 4) == 0) list[0][i] = -1;
		}
		return type_count(a->type) > 40 ? a : ir_pad(f, a, list[0], list[1], list[2], dtype_is_float(a->type.dtype) ? -0.0 : 0);
	case 6:
	case 7: return random_window(p, a);
	default: return rank ? ir_flip(f, a, 1, (int64_t[]){random_below(p->r, rank)}) : a;
	}
}

static Val *random_along(Pool *p, Val *a) {
	static const Op reductions[] = {OpReduceSum, OpReduceMax, OpReduceMin, OpReduceProd};
	if (!a->type.rank || a->type.dtype == DTYPE_BOOL) return a;
	int64_t axis = random_below(p->r, a->type.rank);
	Val *b = mate(p, a);
	if (!random_below(p->r, 4)) return ir_concat(p->f, 2, (Val *[]){a, b}, (int)axis);
	/* Never a sum of a product itself: that becomes a contraction and rounds otherwise. */
	return ir_reduce(p->f, reductions[random_below(p->r, 4)], a->op == OpMul ? ir_Neg(p->f, a) : a, 1, &axis);
}

static Val *random_contract(Pool *p, Val *a, Val *b) {
	if (a->type.dtype != b->type.dtype || a->type.dtype == DTYPE_BOOL || a->type.rank + b->type.rank > 5) return a;
	int64_t la[MAX_RANK], lb[MAX_RANK], ly[MAX_RANK];
	int ny = 0, next = a->type.rank;
	bool shared[MAX_RANK] = {false};
	for (int i = 0; i < a->type.rank; i++) la[i] = i;
	for (int i = 0; i < b->type.rank; i++) {
		lb[i] = -1;
		for (int k = 0; k < a->type.rank && lb[i] < 0; k++)
			if (!shared[k] && a->type.dim[k] == b->type.dim[i] && random_below(p->r, 3)) lb[i] = k, shared[k] = true;
		if (lb[i] < 0) lb[i] = next++;
	}
	for (int label = 0; label < next; label++)
		if (label >= a->type.rank || !shared[label] || !random_below(p->r, 3)) ly[ny++] = label;
	if (ny > 3) return a;
	return ir_contract(p->f, a, la, b, lb, ny, ly);
}

MAYBE_UNUSED static void build_random(Pool *p) {
	static const DType dtypes[] = {DTYPE_F32, DTYPE_F32, DTYPE_F32, DTYPE_I32, DTYPE_BOOL, DTYPE_F64, DTYPE_U8};
	for (int i = 0; i < 7; i++) {
		Type t = {.dtype = dtypes[i], .rank = i == 0 ? 2 : random_below(p->r, 3)};
		for (int k = 0; k < t.rank; k++) t.dim[k] = 1 + random_below(p->r, 3);
		p->v[p->n++] = fn_input(p->f, arena_printf(p->f->arena, "x%d", i), INPUT_DATA, t);
	}
	int size = 10 + random_below(p->r, 60);
	for (int i = 0; i < size; i++) {
		Val *a = pick(p), *v;
		int what = random_below(p->r, 10);
		v = what < 6   ? random_pointwise(p, a)
		  : what < 8   ? random_view(p, a)
		  : what < 9   ? random_along(p, a)
		               : random_contract(p, a, pick(p));
		if (type_count(v->type) <= 200) p->v[p->n++] = v;
	}
	for (int i = 0; i < 8; i++) fn_output(p->f, arena_printf(p->f->arena, "y%d", i), p->v[MAX(p->n - 1 - i, 0)], -1);
}

MAYBE_UNUSED static double **awkward_inputs(Arena *arena, const Fn *f, Random *r) {
	double **values = NEW_ARRAY(arena, double *, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		Type t = f->inputs.data[i].type;
		int64_t n = type_count(t);
		values[i] = NEW_ARRAY(arena, double, n);
		for (int64_t k = 0; k < n; k++)
			values[i][k] = t.dtype == DTYPE_BOOL    ? random_below(r, 2)
			             : !dtype_is_float(t.dtype) ? random_below(r, 5) - (t.dtype == DTYPE_U8 ? 0 : 2)
			             : random_below(r, 3) == 0  ? special[random_below(r, COUNT(special))]
			                                        : random_real(r, -3, 3);
	}
	return values;
}

#endif
