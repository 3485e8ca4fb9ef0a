/* test_grad.c: every row of ops.def: first and second derivative against central differences in f64, over random shapes.
 * link: nnc_passes nnc_ir */
#include "test_passes.h"

typedef struct Case {
	Fn *f;
	Random *r;
	Val *x[4];              /* float inputs, to differentiate by */
	int n;
	double lo[4], hi[4];    /* the range of their values */
} Case;

static Val *input(Case *c, Type type, double lo, double hi) {
	c->lo[c->n] = lo;
	c->hi[c->n] = hi;
	Val *x = fn_input(c->f, arena_printf(c->f->arena, "x%d", c->n), INPUT_DATA, type);
	return c->x[c->n++] = x;
}

static Type shape(Case *c, int rank) {
	static const int64_t extents[] = {1, 2, 3, 5};
	Type t = {.dtype = DTYPE_F32, .rank = rank};
	for (int i = 0; i < rank; i++) t.dim[i] = extents[random_below(c->r, 4)];
	return t;
}

static Val *plain_input(Case *c, int rank) { return input(c, shape(c, rank), -2, 2); }

/* 0.0 or something, so that operands do not only depend on inputs directly. */
static Val *condition(Case *c, Val *x) { return ir_Lt(c->f, x, weights_like(c->f, x, 0.1)); }

static Val *integers(Case *c, Type type, int64_t below) {
	Val *sum = NULL;
	type.dtype = DTYPE_I32;
	for (int i = 0; i < type.rank; i++) {
		Val *axis = ir_Mul(c->f, ir_iota(c->f, type, i), ir_like(c->f, ir_iota(c->f, type, i), 3 + 2 * i));
		sum = sum ? ir_Add(c->f, sum, axis) : axis;
	}
	if (!sum) return ir_const(c->f, DTYPE_I32, (double)random_below(c->r, (int)below));
	return ir_Mod(c->f, sum, ir_like(c->f, sum, (double)below + 1)); /* now and then out of range */
}

static Val *pointwise_case(Case *c, Op op) {
	Fn *f = c->f;
	Type t = shape(c, random_below(c->r, 4));
	double lo = op == OpLog || op == OpSqrt || op == OpPow ? 0.3 : op == OpLog1p ? -0.6 : -2;
	Val *a = input(c, t, lo, 2);
	Val *b = op_info[op].arity > 1 ? input(c, t, op == OpDiv || op == OpPow ? 0.4 : -2, 2) : NULL;
	if (op == OpStop) return ir_Add(f, ir_Floor(f, ir_Stop(f, a)), a); /* its own test is in test_grad_cases */
	switch (op) {
#define UNARY(Name, ...) case Op##Name: \
		return op_info[op].operand_class == 'B' ? ir_Where(f, ir_##Name(f, condition(c, a)), a, ir_Neg(f, a)) : ir_##Name(f, a);
#define BINARY(Name, ...) case Op##Name: { \
		bool logic = op_info[op].operand_class == 'B', whole = op_info[op].operand_class == 'I'; \
		if (whole) return ir_cast(f, ir_##Name(f, ir_cast(f, a, DTYPE_I32), ir_cast(f, b, DTYPE_I32)), DTYPE_F32); \
		Val *v = logic ? ir_##Name(f, condition(c, a), condition(c, b)) : ir_##Name(f, a, b); \
		return v->type.dtype == DTYPE_BOOL ? ir_Where(f, v, a, ir_Mul(f, b, b)) : v; }
#define TERNARY(Name, ...) case Op##Name: return ir_##Name(f, condition(c, a), ir_Mul(f, a, a), ir_Mul(f, a, b));
#define STRUCTURAL(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
	default: return NULL;
	}
}

static Val *broadcast_case(Case *c) {
	Type t = shape(c, 3), from = {.dtype = DTYPE_F32};
	int64_t dims[MAX_RANK];
	for (int i = 0; i < t.rank; i++)
		if (random_below(c->r, 2)) dims[from.rank] = i, from.dim[from.rank++] = t.dim[i];
	return ir_broadcast(c->f, input(c, from, -2, 2), t.rank, t.dim, dims);
}

static Val *slice_case(Case *c) {
	Type t = shape(c, 2);
	int64_t start[2], size[2], step[2];
	for (int i = 0; i < 2; i++) {
		start[i] = random_below(c->r, (int)t.dim[i]);
		step[i] = 1 + random_below(c->r, 2);
		size[i] = 1 + random_below(c->r, (int)((t.dim[i] - 1 - start[i]) / step[i]) + 1);
	}
	return ir_slice(c->f, input(c, t, -2, 2), start, size, step);
}

static Val *pad_case(Case *c) {
	Type t = shape(c, 2);
	int64_t lo[2], hi[2], inner[2];
	for (int i = 0; i < 2; i++) {
		lo[i] = random_below(c->r, 4) - 1;
		hi[i] = random_below(c->r, 3);
		inner[i] = random_below(c->r, 3);
		if (t.dim[i] == 1 && lo[i] < 0) hi[i] = 2;
	}
	return ir_pad(c->f, input(c, t, -2, 2), lo, hi, inner, 0.5);
}

static Val *contract_case(Case *c) {
	/* a: batch, m, k, l;  b: batch, n, l, k, in some order; every part may be missing */
	static const int64_t extents[] = {1, 2, 3};
	int64_t la[MAX_RANK], lb[MAX_RANK], ly[MAX_RANK];
	Type a = {.dtype = DTYPE_F32}, b = a;
	int ny = 0;
	for (int label = 0; label < 5; label++) {
		if (!random_below(c->r, 4)) continue;
		int64_t n = extents[random_below(c->r, 3)];
		if (label != 2) a.dim[a.rank] = n, la[a.rank++] = label;
		if (label != 1) b.dim[b.rank] = n, lb[b.rank++] = label;
		if (label < 3) ly[ny++] = label;
	}
	for (int i = 0; i + 1 < b.rank; i++) { /* b in another order */
		int k = i + random_below(c->r, b.rank - i);
		int64_t dim = b.dim[i], name = lb[i];
		b.dim[i] = b.dim[k], lb[i] = lb[k];
		b.dim[k] = dim, lb[k] = name;
	}
	for (int i = 0; i + 1 < ny; i++) {
		int k = i + random_below(c->r, ny - i);
		int64_t name = ly[i];
		ly[i] = ly[k], ly[k] = name;
	}
	Val *x = input(c, a, -2, 2), *y = input(c, b, -2, 2);
	return ir_contract(c->f, x, la, y, lb, ny, ly);
}

static Val *gather_case(Case *c, Op op) {
	int batch = random_below(c->r, 3), indices = random_below(c->r, 2), rest = random_below(c->r, 2);
	Type table = shape(c, batch + 1 + rest), index = {.dtype = DTYPE_I32, .rank = batch + indices};
	for (int i = 0; i < index.rank; i++) index.dim[i] = i < batch ? table.dim[i] : 1 + random_below(c->r, 4);
	Val *at = integers(c, index, table.dim[batch]);
	if (op == OpGather) return ir_gather(c->f, input(c, table, -2, 2), at, batch);
	Type rows = {.dtype = DTYPE_F32, .rank = index.rank + rest};
	for (int i = 0; i < rows.rank; i++) rows.dim[i] = i < index.rank ? index.dim[i] : table.dim[batch + 1 + i - index.rank];
	return ir_scatter_add(c->f, input(c, rows, -2, 2), at, batch, table.dim[batch]);
}

static Val *concat_case(Case *c) {
	Type t = shape(c, 2);
	int axis = random_below(c->r, 2);
	Val *parts[3];
	for (int i = 0; i < 3; i++) {
		t.dim[axis] = 1 + random_below(c->r, 3);
		parts[i] = input(c, t, -2, 2);
	}
	return ir_concat(c->f, 3, parts, axis);
}

static Val *custom_case(Case *c) {
	Fn *f = c->f;
	Val *x = plain_input(c, 2);
	int64_t id;
	Val *y = ir_Tanh(f, x), *dy = ir_cotangent(f, x->type, &id); /* f(x) = tanh(x) by its own rule */
	Val *dx = ir_Mul(f, dy, ir_Sub(f, ir_like(f, y, 1), ir_Mul(f, y, y)));
	return ir_custom(f, id, y, 1, &x, &dx);
}

static Val *window_case(Case *c, Op op) {
	int64_t stride = 1 + random_below(c->r, 3), dilation = 1 + random_below(c->r, 2), n = 1 + random_below(c->r, 3),
	        size = 1 + random_below(c->r, 3), total = (n - 1) * stride + (size - 1) * dilation + 1 + random_below(c->r, 2);
	Type t = shape(c, 2);
	if (op == OpWindow) {
		t.dim[1] = total;
		return ir_window(c->f, input(c, t, -2, 2), 1, n, size, stride, dilation);
	}
	t.rank = 3;
	t.dim[1] = n;
	t.dim[2] = size;
	return ir_fold(c->f, input(c, t, -2, 2), 1, total, stride, dilation);
}

/* A tensor that uses the row, or NULL for the rows that only other tests can reach. */
static Val *case_of(Case *c, Op op) {
	Fn *f = c->f;
	if (op_info[op].pointwise) return pointwise_case(c, op);
	int64_t axis;
	Val *x = NULL;
	if (op == OpConst || op == OpInput || op == OpIota || op == OpRandom || op == OpCast || op == OpArgMax || op == OpArgSort ||
	    op == OpMark || op == OpGrad)
		x = plain_input(c, 2);
	switch (op) {
	case OpConst: return ir_Mul(f, x, ir_like(f, x, 3));
	case OpInput: return x;
	case OpIota: return ir_Mul(f, x, weights_like(f, x, 0));
	case OpRandom: {
		Val *zero = ir_const(f, DTYPE_I32, 0), *one = ir_const(f, DTYPE_I32, 1);
		Val *seed = ir_broadcast(f, one, 1, (int64_t[]){2}, NULL);
		return ir_Mul(f, x, ir_random(f, x->type, seed, one, zero, 77, 0));
	}
	case OpCast:
		return ir_Mul(f, ir_cast(f, ir_cast(f, x, DTYPE_I32), DTYPE_F32), ir_cast(f, ir_cast(f, x, DTYPE_F64), DTYPE_F32));
	case OpReshape: {
		Type t = shape(c, 3);
		return ir_reshape(f, input(c, t, -2, 2), 2, (int64_t[]){t.dim[0], t.dim[1] * t.dim[2]});
	}
	case OpTranspose: return ir_transpose(f, plain_input(c, 3), (int64_t[]){2, 0, 1});
	case OpBroadcast: return broadcast_case(c);
	case OpSlice: return slice_case(c);
	case OpPad: return pad_case(c);
	case OpFlip: return ir_flip(f, plain_input(c, 3), 2, (int64_t[]){0, 2});
	case OpWindow:
	case OpFold: return window_case(c, op);
	case OpConcat: return concat_case(c);
	case OpReduceSum:
	case OpReduceMax:
	case OpReduceMin:
	case OpReduceProd:
	case OpReduceLse:
		axis = random_below(c->r, 3);
		return ir_reduce(f, op, plain_input(c, 3), 1, &axis);
	case OpArgMax: return ir_gather(f, x, ir_argmax(f, x, 1), 1);
	case OpCumSum: return ir_cumsum(f, plain_input(c, 3), random_below(c->r, 3));
	case OpArgSort: return ir_gather(f, x, ir_argsort(f, x, 1), 1);
	case OpContract: return contract_case(c);
	case OpGather:
	case OpScatterAdd: return gather_case(c, op);
	case OpMark: return ir_mark(f, ir_Exp(f, x));
	case OpGrad: return ir_grad(f, dot(f, ir_Sin(f, x), weights_like(f, x, 1)), x);
	case OpCotangent:
	case OpCustom: return custom_case(c);
	default: return NULL;
	}
}

static void check_row(Op op, int order, uint64_t seed) {
	Random r = {hash_mix(seed * 1000 + (uint64_t)op)};
	Arena *arena = arena_new();
	Case c = {.f = fn_new(arena, "row"), .r = &r};
	Val *y = case_of(&c, op);
	if (!y) fail_msg("no case for %s", op_info[op].text);
	y = ir_Add(c.f, y, ir_Mul(c.f, y, y)); /* so that second derivatives see the row twice */
	add_derivatives(c.f, y, c.n, c.x, order);
	double *values[4];
	for (int i = 0; i < c.n; i++) {
		int64_t count = type_count(c.x[i]->type);
		values[i] = NEW_ARRAY(arena, double, count);
		for (int64_t k = 0; k < count; k++) values[i][k] = random_real(&r, c.lo[i], c.hi[i]);
	}
	Fn *f = pass_grad(c.f);
	fn_verify(f, "grad");
	Fn *simple = pass_simplify(f);
	fn_verify(simple, "simplify");
	double error = derivative_error(f, c.n, values), after = derivative_error(simple, c.n, values);
	if (!(error < 1e-7 && after < 1e-7))
		fail_msg("%s, derivative %d, seed %d: error %g, simplified %g", op_info[op].text, order, (int)seed, error, after);
	arena_free(arena);
}

/* Scans have a test of their own; buckets are made after all derivatives. */
static bool is_elsewhere(int op) {
	return op == OpScan || op == OpProject || op == OpAgain || op == OpBuckets || op == OpSumBuckets;
}

static void test_rows(void **state) {
	(void)state;
	for (int op = 0; op < OP_COUNT; op++) {
		if (is_elsewhere(op)) continue;
		for (uint64_t seed = 1; seed <= 12; seed++) {
			check_row((Op)op, 1, seed);
			check_row((Op)op, 2, seed);
		}
	}
}

/* The table is closed: the derivative of every derivative exists and is right. */
static void test_third(void **state) {
	(void)state;
	for (int op = 0; op < OP_COUNT; op++)
		if (!is_elsewhere(op)) check_row((Op)op, 3, 5);
}

/* Random programs of smooth ops on square matrices, values used again and again. */
static Val *smooth(Fn *f, Random *r, Val *a, Val *b) {
	int64_t swap[] = {1, 0}, axis = random_below(r, 2), rows[] = {0, 1}, columns[] = {2, 1}, y[] = {2, 0}, kept = 1 - axis;
	switch (random_below(r, 14)) {
	case 0: return ir_Add(f, a, b);
	case 1: return ir_Sub(f, ir_Mul(f, a, b), b);
	case 2: return ir_Mul(f, ir_Tanh(f, a), b);
	case 3: return ir_Sin(f, ir_Add(f, a, b));
	case 4: return ir_Div(f, a, ir_Add(f, ir_like(f, b, 2), ir_Mul(f, b, b)));
	case 5: return ir_Tanh(f, ir_contract(f, a, rows, b, columns, 2, y));
	case 6: return ir_transpose(f, a, swap);
	case 7: return ir_broadcast(f, ir_reduce(f, OpReduceSum, ir_Mul(f, a, b), 1, &axis), 2, a->type.dim, &kept);
	case 8: return ir_broadcast(f, ir_reduce(f, OpReduceLse, a, 1, &axis), 2, a->type.dim, &kept);
	case 9: return ir_Where(f, ir_Lt(f, a, b), ir_Exp(f, ir_Tanh(f, a)), ir_Add(f, a, b));
	case 10: return ir_flip(f, ir_cumsum(f, ir_Erf(f, a), (int)axis), 1, &axis);
	case 11: return ir_Max(f, a, b);
	case 12: return ir_slice(f, ir_concat(f, 2, (Val *[]){a, b}, 0), (int64_t[]){2, 0}, a->type.dim, NULL);
	default: return ir_broadcast(f, ir_reduce(f, OpReduceProd, ir_Sin(f, a), 1, &axis), 2, a->type.dim, &kept);
	}
}

static void test_random_programs(void **state) {
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		Random r = {hash_mix(seed)};
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "random");
		int64_t dim[] = {3, 3};
		Val *v[24], *x[2];
		double *values[2];
		for (int i = 0; i < 2; i++) {
			v[i] = x[i] = fn_input(f, i ? "b" : "a", INPUT_DATA, type_make(DTYPE_F32, 2, dim));
			values[i] = NEW_ARRAY(arena, double, 9);
			for (int k = 0; k < 9; k++) values[i][k] = random_real(&r, -1, 1);
		}
		int n = 2;
		while (n < 6 + random_below(&r, 8)) {
			Val *a = v[random_below(&r, n)], *b = v[n - 1 - random_below(&r, 2)];
			v[n++] = smooth(f, &r, a, b);
		}
		add_derivatives(f, ir_Tanh(f, ir_Add(f, v[n - 1], v[n - 2])), 2, x, 1 + (int)(seed % 2));
		Fn *g = run_passes(f, 0, 1), *simple = run_passes(g, 1, pass_count);
		double error = derivative_error(g, 2, values), after = derivative_error(simple, 2, values);
		if (!(error < 1e-6 && after < 1e-6)) fail_msg("seed %d: error %g, simplified %g", (int)seed, error, after);
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_third),
	                                   cmocka_unit_test(test_random_programs)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
