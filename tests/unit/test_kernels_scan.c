/* test_kernels_scan.c: scans as machine code against the f32 interpreter, bit for bit, for several targets and numbers of
 * workers.  link: nnc_llvm nnc_passes nnc_host nnc_kernel nnc_ir */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "expect_same.h"
#include "passes.h"

static Type vector(int64_t n) { return type_make(DTYPE_F32, 1, &n); }
static Type matrix(int64_t m, int64_t n) { return type_make(DTYPE_F32, 2, (int64_t[]){m, n}); }
static Type cube(int64_t l, int64_t m, int64_t n) { return type_make(DTYPE_F32, 3, (int64_t[]){l, m, n}); }
static Type typed(DType dtype, Type t) { return type_make(dtype, t.rank, t.dim); }

static Val *times(Fn *f, Val *a, Val *w) {
	return ir_contract(f, a, (int64_t[]){0, 1}, w, (int64_t[]){1, 2}, 2, (int64_t[]){0, 2});
}
static Val *spread(Fn *f, Val *v, Type like) {
	int64_t last[] = {like.rank - 1};
	return ir_broadcast(f, v, like.rank, like.dim, v->type.rank ? last : NULL);
}

static Fn *body_start(Arena *arena, Val **index) {
	Fn *b = fn_new(arena, "body");
	*index = fn_input(b, "index", INPUT_DATA, type_scalar(DTYPE_I32));
	return b;
}

static const int64_t sizes[] = {1, 7, 17}, counts[] = {1, 2, 5, 100};

/* h = tanh(x[t] w + h u + b), as a layer writes it: x is (batch, time, feature), the hidden states are given back. */
static void recurrent(void **state) {
	(void)state;
	for (int variant = 0; variant < 36; variant++) {
		int64_t batch = sizes[variant % 3], n = sizes[variant / 3 % 3], count = counts[variant / 9];
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "recurrent");
		Val *index, *b = NULL, *h, *x, *u, *bias;
		Fn *body = body_start(arena, &index);
		h = fn_input(body, "h", INPUT_DATA, matrix(batch, n));
		x = fn_input(body, "x", INPUT_DATA, cube(count, batch, n));
		u = fn_input(body, "u", INPUT_DATA, matrix(n, n));
		bias = fn_input(body, "b", INPUT_DATA, vector(n));
		b = ir_Add(body, times(body, ir_gather(body, x, index, 0), u), times(body, h, u));
		b = ir_Tanh(body, ir_Add(body, b, spread(body, bias, h->type)));
		fn_output(body, "h", b, -1);
		fn_output(body, "hs", b, -1);
		if (variant % 2) fn_output(body, "before", h, -1);
		x = fn_input(f, "x", variant & 1 ? INPUT_DATA : INPUT_PARAM, cube(batch, count, n));
		u = fn_input(f, "u", INPUT_PARAM, matrix(n, n));
		bias = fn_input(f, "b", INPUT_PARAM, vector(n));
		Val *start = ir_broadcast(f, ir_const(f, DTYPE_F32, 0), 2, matrix(batch, n).dim, NULL);
		Val *args[] = {start, ir_transpose(f, x, (int64_t[]){1, 0, 2}), u, bias};
		Val *scan = ir_scan(f, body, count, variant & 2, 1, 4, args);
		for (int i = 0; i < body->outputs.length; i++)
			if (i != variant % 5) fn_output(f, arena_printf(arena, "y%d", i), ir_project(f, scan, i), -1);
		expect_same(arena, fn_canonical(f), 0, false, "recurrent");
		arena_free(arena);
	}
}

/* Carries that change places, stay as they are, count, or are true and false; none of them float alone. */
static void exchanges(void **state) {
	(void)state;
	for (int variant = 0; variant < 24; variant++) {
		int64_t batch = sizes[variant % 3], count = counts[variant / 3 % 4];
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "exchanges");
		Val *index;
		Fn *body = body_start(arena, &index);
		Type t = matrix(batch, 5);
		Val *a = fn_input(body, "a", INPUT_DATA, t), *b = fn_input(body, "b", INPUT_DATA, t);
		Val *c = fn_input(body, "c", INPUT_DATA, t), *n = fn_input(body, "n", INPUT_DATA, typed(DTYPE_I32, t));
		Val *flag = fn_input(body, "flag", INPUT_DATA, typed(DTYPE_BOOL, t));
		Val *small = fn_input(body, "small", INPUT_DATA, typed(DTYPE_U8, vector(batch)));
		Val *sum = fn_input(body, "sum", INPUT_DATA, type_scalar(DTYPE_F32));
		Val *first = ir_reduce(body, OpReduceSum, ir_Mul(body, a, c), 2, (int64_t[]){0, 1});
		fn_output(body, "a", b, -1);
		fn_output(body, "b", ir_Where(body, flag, a, ir_Neg(body, a)), -1);
		fn_output(body, "c", c, -1);
		fn_output(body, "n", ir_Add(body, n, ir_broadcast(body, index, 2, t.dim, NULL)), -1);
		fn_output(body, "flag", ir_Lt(body, ir_cast(body, n, DTYPE_F32), b), -1);
		fn_output(body, "small", ir_Add(body, small, ir_cast(body, ir_broadcast(body, index, 1, t.dim, NULL), DTYPE_U8)), -1);
		fn_output(body, "sum", ir_Add(body, ir_Mul(body, sum, ir_const(body, DTYPE_F32, 0.5)), first), -1);
		fn_output(body, "sums", sum, -1);
		fn_output(body, "firsts", first, -1);
		fn_output(body, "indices", index, -1);
		fn_output(body, "turned", ir_transpose(body, a, (int64_t[]){1, 0}), -1);
		Val *args[7];
		for (int i = 0; i < 7; i++) {
			const Input *in = &body->inputs.data[i + 1];
			args[i] = fn_input(f, in->name, i % 2 ? INPUT_STATE : INPUT_DATA, in->type);
		}
		Val *scan = ir_scan(f, body, count, variant >= 12, 7, 7, args);
		for (int i = 0; i < body->outputs.length; i++) {
			Val *y = ir_project(f, scan, i);
			if (i < 7 && i % 2) fn_output(f, f->inputs.data[i].name, y, i);
			else fn_output(f, arena_printf(arena, "y%d", i), i == 0 ? ir_Exp(f, y) : y, -1);
		}
		expect_same(arena, fn_canonical(f), 0, false, "exchanges");
		arena_free(arena);
	}
}

/* Operands that are views, parts and constants, read whole, as operands of products, and row by row. */
static void operands(void **state) {
	(void)state;
	enum { TURNS = 5, ROWS = 3, KINDS = 12 };
	for (int variant = 0; variant < KINDS * 9; variant++) {
		int way = variant / KINDS / 3;   /* given, computed, read by rows alone */
		int64_t n = sizes[variant / KINDS % 3], m = 2 * n + 1;
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "operands");
		Type wide = cube(TURNS + 2, ROWS, m), whole = cube(TURNS, ROWS, n);
		Val *x = fn_input(f, "x", way ? INPUT_DATA : INPUT_PARAM, wide);
		Val *small = fn_input(f, "small", INPUT_PARAM, matrix(ROWS, n));
		if (way == 1) x = ir_Tanh(f, x);
		Val *part = ir_slice(f, x, (int64_t[]){1, 0, 1}, whole.dim, NULL), *v = NULL;
		const int64_t odd[] = {TURNS, n, ROWS}, one_row[] = {TURNS, 1, n}, around[] = {0, 1, 0}, zeros[3] = {0};
		switch (variant % KINDS) {
		case 0: case 1: break;
		case 2: part = ir_slice(f, x, (int64_t[]){0, 0, 1}, whole.dim, (int64_t[]){1, 1, 2}); break;
		case 3: part = ir_broadcast(f, small, 3, whole.dim, (int64_t[]){1, 2}); break;
		case 4: part = ir_broadcast(f, ir_const(f, DTYPE_F32, 0.75), 3, whole.dim, NULL); break;
		case 5: part = ir_flip(f, part, 1, (int64_t[]){0}); break;
		case 6: part = ir_slice(f, x, (int64_t[]){2, 0, 0}, whole.dim, NULL); break;
		case 7: part = ir_reshape(f, part, 2, (int64_t[]){TURNS * ROWS, n}), part = ir_reshape(f, part, 3, whole.dim); break;
		case 8: part = ir_reshape(f, ir_Exp(f, ir_reshape(f, part, 1, (int64_t[]){type_count(whole)})), 3, whole.dim); break;
		case 9: part = ir_pad(f, ir_slice(f, part, zeros, one_row, NULL), around, around, NULL, 2); break;
		case 10:
			v = ir_reshape(f, ir_slice(f, small, zeros, (int64_t[]){ROWS, 1}, NULL), 1, (int64_t[]){ROWS});
			part = ir_broadcast(f, v, 3, whole.dim, (int64_t[]){1});
			break;
		default:
			v = ir_reshape(f, ir_slice(f, x, zeros, whole.dim, NULL), 3, odd);
			part = ir_transpose(f, v, (int64_t[]){0, 2, 1});
			break;
		}
		Val *index;
		Fn *body = body_start(arena, &index);
		Val *h = fn_input(body, "h", INPUT_DATA, small->type), *a = fn_input(body, "a", INPUT_DATA, part->type);
		Val *one = fn_input(body, "one", INPUT_DATA, type_scalar(DTYPE_F32)), *top = ir_const(body, DTYPE_I32, TURNS - 1);
		Val *row = ir_gather(body, a, index, 0), *last = ir_gather(body, a, ir_Sub(body, top, index), 0);
		Val *square = ir_contract(body, row, (int64_t[]){0, 1}, last, (int64_t[]){0, 2}, 2, (int64_t[]){1, 2});
		Val *next = ir_Tanh(body, ir_Add(body, times(body, h, square), ir_Mul(body, row, spread(body, one, row->type))));
		if (way < 2) {
			Val *each = ir_Mul(body, a, ir_broadcast(body, h, 3, a->type.dim, (int64_t[]){1, 2}));
			next = ir_Tanh(body, ir_Add(body, next, ir_reduce(body, OpReduceSum, each, 1, (int64_t[]){0})));
		}
		fn_output(body, "h", next, -1);
		fn_output(body, "row", row, -1);
		fn_output(body, "flat", ir_Exp(body, ir_reshape(body, row, 1, (int64_t[]){type_count(row->type)})), -1);
		Val *scan = ir_scan(f, body, TURNS, variant % 2, 1, 3, (Val *[]){small, part, ir_const(f, DTYPE_F32, 0.5)});
		fn_output(f, "small", ir_project(f, scan, 0), 1);
		fn_output(f, "rows", ir_project(f, scan, 1), -1);
		fn_output(f, "flat", ir_project(f, scan, 2), -1);
		expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "operand %d", variant));
		arena_free(arena);
	}
}

/* A carry with a place for each turn: the index says which of them is read, and which changes; in a scan within a scan, whose
 * index is an operand of the inner one. */
static void memories(void **state) {
	(void)state;
	enum { TURNS = 4 };
	for (int variant = 0; variant < 6; variant++) {
		int64_t n = sizes[variant % 3];
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "memories"), *body[2];
		Val *index[2], *m[2], *outside = NULL;
		for (int i = 0; i < 2; i++) {
			body[i] = body_start(arena, &index[i]);
			m[i] = fn_input(body[i], "m", INPUT_DATA, matrix(TURNS, n));
		}
		outside = fn_input(body[1], "outside", INPUT_DATA, type_scalar(DTYPE_I32));
		Val *row = ir_gather(body[1], m[1], index[1], 0), *other = ir_gather(body[1], m[1], outside, 0);
		Val *here = ir_broadcast(body[1], index[1], 2, m[1]->type.dim, NULL);
		Val *hot = ir_Eq(body[1], ir_iota(body[1], typed(DTYPE_I32, m[1]->type), 0), here);
		Val *changed = ir_Tanh(body[1], ir_Add(body[1], row, ir_Mul(body[1], other, ir_like(body[1], other, 0.5))));
		Val *others = ir_Sub(body[1], m[1], spread(body[1], ir_Mul(body[1], row, row), m[1]->type));
		fn_output(body[1], "m", ir_Where(body[1], hot, spread(body[1], changed, m[1]->type), others), -1);
		fn_output(body[1], "row", row, -1);
		Val *inner = ir_scan(body[0], body[1], TURNS, variant & 1, 1, 2, (Val *[]){m[0], index[0]});
		fn_output(body[0], "m", ir_project(body[0], inner, 0), -1);
		if (variant != 2) fn_output(body[0], "rows", ir_project(body[0], inner, 1), -1);
		fn_output(body[0], "before", ir_gather(body[0], m[0], index[0], 0), -1);
		Val *scan = ir_scan(f, body[0], TURNS, false, 1, 1, (Val *[]){fn_input(f, "m", INPUT_PARAM, m[0]->type)});
		for (int i = 0; i < body[0]->outputs.length; i++)
			fn_output(f, i ? arena_printf(arena, "y%d", i) : "m", ir_project(f, scan, i), i ? -1 : 0);
		expect_same(arena, fn_canonical(f), 0, false, "memories");
		arena_free(arena);
	}
}

/* ---- random bodies ---- */

static int pick(int low, int high) { return low + (int)(next_random() % (unsigned)(high - low + 1)); }

enum { MOST_VALUES = 64 };

/* Values of the dims (batch, n) in a function that grows, and what else it can draw on. */
typedef struct Pool {
	Arena *arena;
	Fn *f;
	int64_t batch, n, count;
	int depth;
	Val *index, *w, *bias, *x, *turned, *table, *tokens, *seed, *scale;   /* turned: x as (batch, count, n) */
	Val *value[MOST_VALUES];
	int values;
} Pool;

static Type plain(const Pool *p) { return matrix(p->batch, p->n); }
static Val *any(const Pool *p) { return p->value[pick(0, p->values - 1)]; }
static void add(Pool *p, Val *v) {
	if (p->values < MOST_VALUES) p->value[p->values++] = v;
}

static Val *shift(Pool *p, int by) { return ir_Add(p->f, p->index, ir_const(p->f, DTYPE_I32, by)); }

/* The operands that every body of these has after its carries, from the outside in. */
static int constants_of(const Pool *p, Val **args) {
	Val *all[] = {p->w, p->bias, p->x, p->turned, p->table, p->tokens, p->seed, p->scale};
	memcpy(args, all, sizeof all);
	return COUNT(all);
}

static void take_constants(Pool *in, const Pool *out) {
	Val *args[16], **to[] = {&in->w, &in->bias, &in->x, &in->turned, &in->table, &in->tokens, &in->seed, &in->scale};
	int n = constants_of(out, args);
	for (int i = 0; i < n; i++) *to[i] = fn_input(in->f, arena_printf(in->arena, "constant%d", i), INPUT_DATA, args[i]->type);
}

static Val *nested(Pool *p);

static Val *row_of(Pool *p, int kind) {
	Fn *f = p->f;
	switch (kind) {
	case 0: return ir_gather(f, p->x, p->index, 0);
	case 1: return ir_gather(f, ir_transpose(f, p->turned, (int64_t[]){1, 0, 2}), p->index, 0);
	case 2: return ir_gather(f, p->x, ir_Sub(f, ir_const(f, DTYPE_I32, (double)p->count - 1), p->index), 0);
	case 3: return ir_gather(f, p->x, shift(p, -1), 0);   /* zeros at first */
	default: return ir_gather(f, p->table, ir_gather(f, p->tokens, p->index, 0), 0);
	}
}

static Val *grow(Pool *p) {
	Fn *f = p->f;
	Val *a = any(p), *b = any(p);
	switch (pick(0, p->depth < 2 ? 15 : 14)) {
	case 0: return ir_Add(f, a, b);
	case 1: return ir_Mul(f, a, b);
	case 2: return ir_Tanh(f, ir_Sub(f, a, b));
	case 3: return ir_Where(f, ir_Lt(f, a, b), b, ir_Neg(f, a));
	case 4: case 5: return ir_Tanh(f, ir_Add(f, times(f, a, p->w), spread(f, p->bias, a->type)));
	case 6: return ir_Tanh(f, ir_Add(f, times(f, a, p->w), b));
	case 7: return ir_Tanh(f, times(f, a, ir_transpose(f, p->w, (int64_t[]){1, 0})));
	case 8: {   /* what is over the whole batch: a product of columns, read as a product's operand */
		Val *square = ir_contract(f, a, (int64_t[]){0, 1}, b, (int64_t[]){0, 2}, 2, (int64_t[]){1, 2});
		return ir_Tanh(f, times(f, b, square));
	}
	case 9: {   /* rows over their sums */
		Val *sum = ir_reduce(f, OpReduceSum, ir_Exp(f, ir_Tanh(f, a)), 1, (int64_t[]){1});
		return ir_Div(f, b, ir_broadcast(f, sum, 2, a->type.dim, (int64_t[]){0}));
	}
	case 10: {   /* less the mean of columns */
		Val *sum = ir_reduce(f, OpReduceSum, a, 1, (int64_t[]){0});
		return ir_Sub(f, ir_Tanh(f, b), ir_Mul(f, spread(f, sum, a->type), ir_like(f, a, 1.0 / (double)p->batch)));
	}
	case 11: case 12: return row_of(p, pick(0, 4));
	case 13: {
		Val *r = ir_random(f, a->type, p->seed, ir_const(f, DTYPE_I32, 3), p->index, pick(0, 3), pick(0, 3));
		return ir_Mul(f, a, r);
	}
	case 14: return ir_Mul(f, a, spread(f, ir_Mul(f, p->scale, ir_cast(f, p->index, DTYPE_F32)), a->type));
	default: return nested(p);
	}
}

static void give(Pool *p, Val *v) { fn_output(p->f, arena_printf(p->arena, "y%d", p->f->outputs.length), v, -1); }

/* A scan of values of `out`: no carries, or up to four of floats, numbers and truths.  Adds what it gives to the values. */
static void add_scan(Pool *out, int64_t count, bool reversed) {
	Pool in = {.arena = out->arena, .f = fn_new(out->arena, "body"), .batch = out->batch, .n = out->n, .count = out->count};
	in.depth = out->depth + 1;
	in.index = fn_input(in.f, "index", INPUT_DATA, type_scalar(DTYPE_I32));
	bool bare = pick(0, 3) == 0;   /* no turn needs another */
	int floats = bare ? 0 : pick(0, 3), carries = bare ? 0 : floats + 2;
	Val *args[32], *carry[8];
	for (int i = 0; i < carries; i++) {
		args[i] = any(out);
		if (i < floats && pick(0, 3) == 0) args[i] = ir_like(out->f, args[i], 0.5);
		if (i == floats) args[i] = ir_cast(out->f, ir_Mul(out->f, args[i], ir_like(out->f, args[i], 3)), DTYPE_I32);
		if (i == floats + 1) args[i] = ir_Lt(out->f, args[i], ir_like(out->f, args[i], 0.25));
		carry[i] = fn_input(in.f, arena_printf(in.arena, "carry%d", i), INPUT_DATA, args[i]->type);
		if (i < floats) add(&in, carry[i]);
	}
	take_constants(&in, out);
	int nargs = carries + constants_of(out, args + carries);
	if (!bare) add(&in, ir_cast(in.f, carry[floats], DTYPE_F32));
	add(&in, row_of(&in, pick(0, 4)));
	for (int i = pick(1, 6); i > 0; i--) add(&in, grow(&in));
	if (!bare) {
		Val *number = ir_Add(in.f, carry[floats], ir_cast(in.f, ir_Mul(in.f, any(&in), ir_like(in.f, any(&in), 9)), DTYPE_I32));
		for (int i = 0; i < floats; i++) give(&in, any(&in));
		give(&in, ir_Mod(in.f, number, ir_like(in.f, number, 1000)));
		give(&in, ir_And(in.f, ir_Not(in.f, carry[floats + 1]), ir_Lt(in.f, any(&in), any(&in))));
	}
	int emits = pick(bare, 3);
	for (int i = 0; i < emits; i++) give(&in, any(&in));
	if (pick(0, 2) == 0) give(&in, ir_reduce(in.f, OpReduceSum, any(&in), 2, (int64_t[]){0, 1}));
	if (pick(0, 2) == 0) give(&in, ir_reduce(in.f, OpReduceMax, any(&in), 1, (int64_t[]){pick(0, 1)}));
	if (pick(0, 2) == 0) give(&in, ir_transpose(in.f, any(&in), (int64_t[]){1, 0}));
	if (!bare && pick(0, 2) == 0) give(&in, carry[floats + 1]);
	Val *scan = ir_scan(out->f, fn_canonical(in.f), count, reversed, carries, nargs, args);
	for (int i = 0; i < scan->body->outputs.length; i++) {
		if (pick(0, 5) == 0) continue;
		Val *y = ir_project(out->f, scan, i);
		if (!dtype_is_float(y->type.dtype)) y = ir_cast(out->f, y, DTYPE_F32);
		if (out->depth == 0 && pick(0, 1)) {
			give(out, y);
			continue;
		}
		if (i >= carries) y = ir_reduce(out->f, OpReduceSum, y, 1, (int64_t[]){0});
		if (y->type.rank == 0) y = spread(out->f, y, plain(out));
		else if (y->type.rank == 1) y = ir_broadcast(out->f, y, 2, plain(out).dim, (int64_t[]){y->type.dim[0] == out->n});
		else if (y->type.dim[0] != out->batch || y->type.dim[1] != out->n) y = ir_transpose(out->f, y, (int64_t[]){1, 0});
		add(out, y);
	}
}

static Val *nested(Pool *p) {
	add_scan(p, pick(1, (int)MIN(p->count, 3)), pick(0, 1));
	return p->value[p->values - 1];
}

static Fn *random_program(Arena *arena, int variant) {
	Pool p = {.arena = arena, .f = fn_new(arena, "random"), .batch = sizes[variant % 3], .n = sizes[variant / 3 % 3]};
	p.count = counts[pick(0, 9) ? pick(0, 2) : 3];
	Fn *f = p.f;
	Val *h = fn_input(f, "h", pick(0, 1) ? INPUT_DATA : INPUT_PARAM, plain(&p));
	p.w = fn_input(f, "w", INPUT_PARAM, matrix(p.n, p.n));
	p.bias = fn_input(f, "bias", INPUT_PARAM, vector(p.n));
	p.x = fn_input(f, "x", pick(0, 1) ? INPUT_DATA : INPUT_PARAM, cube(p.count, p.batch, p.n));
	p.turned = fn_input(f, "turned", pick(0, 1) ? INPUT_DATA : INPUT_PARAM, cube(p.batch, p.count, p.n));
	p.table = fn_input(f, "table", INPUT_PARAM, matrix(13, p.n));
	p.tokens = fn_input(f, "tokens", INPUT_DATA, typed(DTYPE_I32, matrix(p.batch, p.count)));
	p.tokens = ir_transpose(f, p.tokens, (int64_t[]){1, 0});
	p.seed = fn_input(f, "seed", INPUT_SEED, typed(DTYPE_I32, vector(2)));
	p.scale = fn_input(f, "scale", INPUT_SETTING, type_scalar(DTYPE_F32));
	if (pick(0, 1)) p.x = ir_Tanh(f, p.x);
	add(&p, h);
	add(&p, ir_Mul(f, h, ir_like(f, h, 0.5)));
	for (int i = pick(1, 2); i > 0; i--) add_scan(&p, pick(0, 3) ? p.count : 1, pick(0, 1));
	fn_output(f, "last", any(&p), -1);
	fn_output(f, "product", times(f, any(&p), p.w), -1);
	return fn_canonical(f);
}

static void random_bodies(void **state) {
	(void)state;
	for (int variant = 0; variant < 72; variant++) {
		Arena *arena = arena_new();
		expect_same(arena, random_program(arena, variant), 13, false, arena_printf(arena, "random body %d", variant));
		arena_free(arena);
	}
}

/* ---- derivatives ---- */

static void derivatives(void **state) {
	(void)state;
	for (int variant = 0; variant < 27; variant++) {
		Arena *arena = arena_new();
		Fn *f = random_program(arena, variant);
		Val *loss = ir_const(f, DTYPE_F32, 0);
		for (int i = 0; i < f->outputs.length; i++) {
			Val *y = f->outputs.data[i].val;
			y = ir_Mul(f, y, y);
			for (int rank = y->type.rank; rank > 0; rank--) y = ir_reduce(f, OpReduceSum, y, 1, (int64_t[]){rank - 1});
			loss = ir_Add(f, loss, y);
		}
		f->outputs.length = 0;
		fn_output(f, "loss", loss, -1);
		for (int i = 0; i < f->inputs.length; i++) {
			Val *by = f->inputs.data[i].val;
			const char *name = arena_printf(arena, "d%s", f->inputs.data[i].name);
			if (dtype_is_float(by->type.dtype)) fn_output(f, name, ir_grad(f, loss, by), -1);
		}
		f = run_passes(fn_canonical(f), 0, pass_count);
		expect_same(arena, f, 13, false, arena_printf(arena, "derivative of body %d", variant));
		arena_free(arena);
	}
}

/* ---- turns that do not need each other ---- */

/* softmax(q[t] k[t]) v[t] for every t, as a loop that may be in one over a further axis: products, rows and a scan with a carry
 * in turns that workers run whole. */
static Fn *heads(Arena *arena, int64_t outer, int64_t count, int64_t rows, int64_t width) {
	Fn *f = fn_new(arena, "heads"), *turn[2];
	Val *index[2], *q[2], *k[2];
	int64_t dim[] = {outer, count, rows, width};
	for (int i = 0; i < 2; i++) turn[i] = body_start(arena, &index[i]);
	q[0] = fn_input(turn[0], "q", INPUT_DATA, type_make(DTYPE_F32, 4, dim));
	k[0] = fn_input(turn[0], "k", INPUT_DATA, type_make(DTYPE_F32, 4, dim));
	q[1] = fn_input(turn[1], "q", INPUT_DATA, cube(count, rows, width));
	k[1] = fn_input(turn[1], "k", INPUT_DATA, cube(count, rows, width));
	Val *a = ir_gather(turn[1], q[1], index[1], 0), *b = ir_gather(turn[1], k[1], index[1], 0);
	Val *s = ir_contract(turn[1], a, (int64_t[]){0, 1}, b, (int64_t[]){2, 1}, 2, (int64_t[]){0, 2});
	s = ir_Exp(turn[1], ir_Mul(turn[1], s, ir_like(turn[1], s, 0.25)));
	Val *sum = ir_reduce(turn[1], OpReduceSum, s, 1, (int64_t[]){1});
	Val *p = ir_Div(turn[1], s, ir_broadcast(turn[1], sum, 2, s->type.dim, (int64_t[]){0}));
	Fn *inner = body_start(arena, &(Val *){NULL});
	Val *h = fn_input(inner, "h", INPUT_DATA, matrix(rows, width)), *w = fn_input(inner, "p", INPUT_DATA, p->type);
	fn_output(inner, "h", times(inner, w, h), -1);
	Val *y = ir_project(turn[1], ir_scan(turn[1], inner, 3, false, 1, 2, (Val *[]){b, p}), 0);
	fn_output(turn[1], "y", y, -1);
	fn_output(turn[1], "sum", sum, -1);
	Val *args[] = {ir_gather(turn[0], q[0], index[0], 0), ir_gather(turn[0], k[0], index[0], 0)};
	Val *scan = ir_scan(turn[0], fn_canonical(turn[1]), count, outer % 2, 0, 2, args);
	for (int i = 0; i < 2; i++) fn_output(turn[0], i ? "sum" : "y", ir_project(turn[0], scan, i), -1);
	q[0] = fn_input(f, "q", INPUT_PARAM, type_make(DTYPE_F32, 4, dim));
	k[0] = ir_Neg(f, fn_input(f, "k", INPUT_DATA, type_make(DTYPE_F32, 4, dim)));
	scan = ir_scan(f, fn_canonical(turn[0]), outer, false, 0, 2, (Val *[]){q[0], k[0]});
	for (int i = 0; i < 2; i++) fn_output(f, i ? "sum" : "y", ir_project(f, scan, i), -1);
	fn_output(f, "doubled", ir_Add(f, ir_project(f, scan, 0), q[0]), 0);
	return fn_canonical(f);
}

static void dealt_turns(void **state) {
	(void)state;
	static const int64_t outer[] = {1, 2, 3, 5};
	for (int variant = 0; variant < 24; variant++) {
		int64_t count = (int64_t[]){1, 4, 7}[variant / 4 % 3], size = variant < 12 ? 9 : 16;
		Arena *arena = arena_new();
		expect_same(arena, heads(arena, outer[variant % 4], count, size + 1, size), 0, false, "heads");
		arena_free(arena);
	}
}

static size_t arena_with(Arena *arena, Fn *f, int workers, bool *dealt) {
	char *dense[8];
	for (int i = 0; i < f->inputs.length; i++) dense[i] = random_input(arena, f->inputs.data[i].type, 0, false);
	Compiled c;
	if (compare_compiled(arena, f, dense, target_host(arena), workers, &c)) fail_msg("other bits");
	Text text = {.arena = arena};
	kernel_print(&text, c.kernels);
	*dealt = strstr(text.data, " dealt\n") != NULL;
	return c.executable.arena_bytes;
}

/* Each worker has room for one turn, whatever the number of turns. */
static void dealt_arena(void **state) {
	(void)state;
	size_t bytes[2][2];
	for (int more = 0; more < 2; more++)
		for (int workers = 1; workers <= 2; workers++) {
			Arena *arena = arena_new();
			bool dealt;
			bytes[more][workers - 1] = arena_with(arena, heads(arena, 1, more ? 64 : 32, 32, 16), workers, &dealt);
			assert_int_equal(dealt, workers > 1);
			arena_free(arena);
		}
	assert_true(bytes[1][0] - bytes[0][0] == 32 * 32 * 16 * sizeof(float));   /* the negated k */
	assert_true(bytes[1][1] - bytes[0][1] == bytes[1][0] - bytes[0][0]);
	assert_true(bytes[0][1] >= bytes[0][0] + 32 * 32 * sizeof(float));
}

/* A matrix that every turn reads transposed is transposed once, before the scan: a product in a turn packs nothing. */
static void turned(void **state) {
	(void)state;
	for (int variant = 0; variant < 6; variant++) {
		Arena *arena = arena_new();
		int64_t batch = sizes[variant % 3], n = 33, count = 5;
		Fn *f = fn_new(arena, "turned");
		Val *index, *h, *u;
		Fn *body = body_start(arena, &index);
		h = fn_input(body, "h", INPUT_DATA, matrix(batch, n));
		u = fn_input(body, "u", INPUT_DATA, matrix(n, n));
		Val *back = ir_transpose(body, u, (int64_t[]){1, 0});
		Val *y = ir_Tanh(body, times(body, h, back));
		if (variant >= 3) y = ir_Add(body, times(body, y, back), times(body, y, u));
		fn_output(body, "h", y, -1);
		h = fn_input(f, "h", INPUT_DATA, matrix(batch, n));
		u = fn_input(f, "u", INPUT_PARAM, matrix(n, n));
		Val *scan = ir_scan(f, body, count, false, 1, 2, (Val *[]){h, u});
		fn_output(f, "y", ir_project(f, scan, 0), -1);
		f = fn_canonical(f);
		Fn *prepared = kernel_prepare(f);
		for (int i = 0; i < prepared->vals.length; i++) {
			const Val *v = prepared->vals.data[i];
			for (int k = 0; v->op == OpScan && k < v->body->vals.length; k++)
				assert_true(v->body->vals.data[k]->op != OpTranspose);
		}
		expect_same(arena, f, 0, false, arena_printf(arena, "turned %d", variant));
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recurrent), cmocka_unit_test(exchanges),     cmocka_unit_test(operands),
		cmocka_unit_test(memories),  cmocka_unit_test(random_bodies), cmocka_unit_test(derivatives),
		cmocka_unit_test(dealt_turns), cmocka_unit_test(dealt_arena), cmocka_unit_test(turned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
