/* test_kernels_contract.c: contracts with several axes in each role, over windows and other views, as machine code against the
 * f32 interpreter, bit for bit.  link: nnc_llvm nnc_passes nnc_host nnc_kernel nnc_ir */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "expect_same.h"

static int pick(int low, int high) { return low + (int)(next_random() % (unsigned)(high - low + 1)); }

static void shuffle(int64_t *list, int n) {
	for (int i = n - 1; i > 0; i--) {
		int k = pick(0, i);
		int64_t t = list[i];
		list[i] = list[k], list[k] = t;
	}
}

/* Labels by role, in random numbers and orders; what two of them share is up to the dice. */
typedef struct Labels { int64_t a[MAX_RANK], b[MAX_RANK], y[MAX_RANK], dim[2 * MAX_RANK]; int na, nb, ny, count; } Labels;

static void add_label(Labels *l, bool in_a, bool in_b, bool in_y, int64_t dim) {
	if ((in_a && l->na == 6) || (in_b && l->nb == 6) || (in_y && l->ny == 6)) return;
	if (in_a) l->a[l->na++] = l->count;
	if (in_b) l->b[l->nb++] = l->count;
	if (in_y) l->y[l->ny++] = l->count;
	l->dim[l->count++] = dim;
}

static Labels random_labels(bool long_sum) {
	static const int64_t sizes[] = {1, 2, 3, 5, 7, 16, 17, 20};
	Labels l = {0};
	for (int i = pick(0, 2); i > 0; i--) add_label(&l, true, true, true, pick(1, 4));
	for (int i = pick(0, 3); i > 0; i--) add_label(&l, true, false, true, sizes[pick(0, 7)] > 7 && l.na ? 3 : sizes[pick(0, 7)]);
	for (int i = pick(0, 2); i > 0; i--) add_label(&l, false, true, true, sizes[pick(0, 7)]);
	for (int i = pick(0, 3); i > 0; i--) add_label(&l, true, true, false, long_sum ? pick(9, 40) : pick(1, 9));
	shuffle(l.a, l.na);
	if (pick(0, 1)) shuffle(l.b, l.nb);
	if (pick(0, 1)) shuffle(l.y, l.ny);
	return l;
}

static Type labels_type(const Labels *l, const int64_t *labels, int n) {
	int64_t dim[MAX_RANK];
	for (int i = 0; i < n; i++) dim[i] = l->dim[labels[i]];
	return type_make(DTYPE_F32, n, dim);
}

/* The product alone; with something at its index, stored or not; with something read along its last axis. */
static void finish(Fn *f, Val *y, int kind) {
	Type t = y->type;
	if (kind & 1) fn_output(f, "raw", y, -1);
	if (kind & 2) {
		Val *other = fn_input(f, "other", kind & 4 ? INPUT_PARAM : INPUT_DATA, t);
		y = ir_Tanh(f, ir_Add(f, y, other));
		if (t.rank) {
			Val *bias = fn_input(f, "bias", INPUT_PARAM, type_make(DTYPE_F32, 1, &t.dim[t.rank - 1]));
			y = ir_Mul(f, y, ir_broadcast(f, bias, t.rank, t.dim, (int64_t[]){t.rank - 1}));
		}
	}
	fn_output(f, "y", y, -1);
}

/* Turned round along some of its axes, now and then. */
static Val *turned(Fn *f, Val *v) {
	int64_t axes[MAX_RANK];
	int n = 0;
	for (int i = 0; i < v->type.rank; i++)
		if (pick(0, 1)) axes[n++] = i;
	return n && pick(0, 2) == 0 ? ir_flip(f, v, n, axes) : v;
}

static void random_contracts(void **state) {
	(void)state;
	const char *rounds = getenv("NNC_ROUNDS");   /* a longer campaign, by hand */
	for (int round = 0; round < (rounds ? atoi(rounds) : 150); round++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "contract");
		Labels l = random_labels(round % 5 == 0);
		Val *a = fn_input(f, "a", pick(0, 1) ? INPUT_DATA : INPUT_PARAM, labels_type(&l, l.a, l.na));
		Val *b = fn_input(f, "b", pick(0, 1) ? INPUT_DATA : INPUT_PARAM, labels_type(&l, l.b, l.nb));
		if (pick(0, 3) == 0) a = ir_Exp(f, a);   /* computed while it is packed, or stored */
		if (pick(0, 3) == 0) b = ir_Abs(f, b);
		a = turned(f, a), b = turned(f, b);
		finish(f, ir_contract(f, a, l.a, b, l.b, l.ny, l.y), round % 8);
		expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "contract %d", round));
		arena_free(arena);
	}
}

/* Integers of 8 bits, one by one and in words: exact sums in i32. */
static void random_bytes(void **state) {
	(void)state;
	static const DType bytes[] = {DTYPE_I8, DTYPE_U8}, words[] = {DTYPE_I8X4, DTYPE_U8X4};
	for (int round = 0; round < 64; round++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "bytes");
		Labels l = random_labels(round % 5 == 0);
		Type ta = labels_type(&l, l.a, l.na), tb = labels_type(&l, l.b, l.nb);
		bool word = round & 8;
		ta.dtype = (word ? words : bytes)[round & 1], tb.dtype = (word ? words : bytes)[round >> 1 & 1];
		Val *a = fn_input(f, "a", INPUT_DATA, ta), *b = fn_input(f, "b", pick(0, 1) ? INPUT_DATA : INPUT_PARAM, tb);
		if (!word && pick(0, 3) == 0) a = ir_Max(f, a, ir_like(f, a, 3));
		if (word && pick(0, 3) == 0) {   /* computed while it is packed, or stored */
			Val *bits = ir_cast(f, a, DTYPE_I32);
			a = ir_cast(f, ir_Mul(f, bits, ir_like(f, bits, 77)), ta.dtype);
		}
		a = turned(f, a), b = turned(f, b);
		Val *y = ir_contract(f, a, l.a, b, l.b, l.ny, l.y);
		finish(f, round & 4 ? ir_cast(f, y, DTYPE_F32) : y, round & 4 ? round % 4 : 0);
		expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "bytes %d", round));
		arena_free(arena);
	}
}

/* x[b, i * stride + r * dilation - pad, j .., c] as [b, i, r, j, s, c]. */
static Val *windows(Fn *f, Val *x, int size, int stride, int dilation, int pad) {
	int64_t lo[4] = {0, pad, pad, 0};
	if (pad) x = ir_pad(f, x, lo, lo, NULL, 0);
	int64_t n1 = (x->type.dim[1] - (size - 1) * dilation - 1) / stride + 1,
	        n2 = (x->type.dim[2] - (size - 1) * dilation - 1) / stride + 1;
	x = ir_window(f, x, 1, n1, size, stride, dilation);
	return ir_window(f, x, 3, n2, size, stride, dilation);
}

static Val *convolution(Fn *f, Val *taps, Val *w) {
	return ir_contract(f, taps, (int64_t[]){0, 1, 2, 3, 4, 5}, w, (int64_t[]){2, 4, 5, 6}, 4, (int64_t[]){0, 1, 3, 6});
}

static Val *convolution_dw(Fn *f, Val *taps, Val *g) {
	return ir_contract(f, taps, (int64_t[]){0, 1, 2, 3, 4, 5}, g, (int64_t[]){0, 1, 3, 6}, 4, (int64_t[]){2, 4, 5, 6});
}

/* y[b, i, j, o] = sum of x[b, i.., j.., c] w[r, s, c, o], its epilogue, and dw[r, s, c, o] = sum of x[b, i.., j.., c] y'[b, i, j,
 * o]. */
static void convolutions(void **state) {
	(void)state;
	static const struct { int batch, height, width, channels, out, size, stride, dilation, pad;
	} cases[] = {
	    {2, 8, 9, 1, 16, 3, 1, 1, 0},    {3, 7, 7, 3, 5, 3, 1, 1, 1},    {2, 9, 9, 16, 32, 3, 2, 1, 1},
	    {1, 12, 10, 20, 33, 3, 1, 2, 2}, {2, 6, 6, 32, 16, 1, 1, 1, 0},  {2, 6, 6, 32, 16, 1, 2, 1, 0},
	    {2, 14, 14, 7, 9, 5, 1, 1, 2},   {5, 4, 4, 64, 10, 4, 1, 1, 0},  {9, 24, 25, 4, 6, 3, 1, 1, 1},
	    {1, 3, 3, 1, 1, 3, 1, 1, 0},     {70, 10, 9, 2, 17, 3, 1, 1, 0}, {2, 9, 8, 16, 1, 3, 1, 1, 0},
	    {2, 9, 8, 5, 1, 3, 2, 1, 1},     {1, 11, 12, 7, 1, 3, 1, 2, 1},  {1, 9, 9, 48, 1, 5, 1, 1, 0},
	    {3, 8, 8, 300, 1, 4, 1, 1, 0},   {2, 5, 21, 1, 1, 5, 1, 1, 2},   {3, 9, 10, 40, 3, 3, 1, 1, 0},
	    {2, 11, 12, 24, 24, 5, 1, 1, 0}, {2, 9, 8, 33, 7, 2, 2, 1, 0},   {2, 9, 8, 50, 5, 3, 1, 2, 1},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int kind = 0; kind < 4; kind++) {
			int c = cases[i].channels, o = cases[i].out, size = cases[i].size;
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "convolution");
			Val *x = fn_input(f, "x", INPUT_DATA,
			                  type_make(DTYPE_F32, 4, (int64_t[]){cases[i].batch, cases[i].height, cases[i].width, c}));
			Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){size, size, c, o}));
			if (kind & 2) x = ir_Max(f, x, ir_like(f, x, 0));
			Val *taps = windows(f, x, size, cases[i].stride, cases[i].dilation, cases[i].pad);
			Val *y = convolution(f, taps, w);
			Val *g = fn_input(f, "g", INPUT_DATA, y->type);
			Val *dw = convolution_dw(f, taps, g);
			fn_output(f, "dw", dw, -1);
			finish(f, y, kind & 3);
			expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "convolution %d", (int)i));
			arena_free(arena);
		}
}

/* What a product reads as f32 though fewer bits are stored: a tensor of another type, an input that is rounded, or something
 * computed and rounded, which others read as well. */
enum { SHORT_KINDS = 6 };

static Val *short_factor(Fn *f, const char *name, Type t, int kind) {
	static const DType types[] = {DTYPE_BF16, DTYPE_F16, DTYPE_I8, DTYPE_U8, DTYPE_F32, DTYPE_F32};
	t.dtype = types[kind];
	Val *x = fn_input(f, name, pick(0, 1) ? INPUT_DATA : INPUT_PARAM, t);
	if (kind == 5) x = ir_Exp(f, x);
	if (kind >= 4) x = ir_cast(f, x, DTYPE_BF16);
	x = ir_cast(f, x, DTYPE_F32);
	if (kind == 5) fn_output(f, arena_printf(f->arena, "twice %s", name), ir_Add(f, x, x), -1);
	return x;
}

static void short_factors(void **state) {
	(void)state;
	const char *rounds = getenv("NNC_ROUNDS");
	for (int round = 0; round < (rounds ? atoi(rounds) : 120); round++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "short");
		Labels l = random_labels(round % 5 == 0);
		Type ta = labels_type(&l, l.a, l.na), tb = labels_type(&l, l.b, l.nb);
		Val *a = round % 4 == 3 ? fn_input(f, "a", INPUT_DATA, ta) : short_factor(f, "a", ta, pick(0, SHORT_KINDS - 1));
		Val *b = round % 4 == 2 ? fn_input(f, "b", INPUT_DATA, tb) : short_factor(f, "b", tb, pick(0, SHORT_KINDS - 1));
		a = turned(f, a), b = turned(f, b);
		finish(f, ir_contract(f, a, l.a, b, l.b, l.ny, l.y), round % 8);
		expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "short %d", round));
		arena_free(arena);
	}
}

/* The same convolutions of short numbers, and their dx. */
static void short_convolutions(void **state) {
	(void)state;
	static const struct { int batch, height, width, channels, out, size, stride, dilation, pad;
	} cases[] = {
	    {2, 8, 9, 1, 16, 3, 1, 1, 0},    {3, 7, 7, 3, 5, 3, 1, 1, 1},   {2, 9, 9, 16, 32, 3, 2, 1, 1},
	    {1, 12, 10, 20, 33, 3, 1, 2, 2}, {2, 6, 6, 32, 16, 1, 1, 1, 0}, {2, 6, 6, 32, 16, 1, 2, 1, 0},
	    {5, 4, 4, 64, 10, 4, 1, 1, 0},   {70, 10, 9, 2, 17, 3, 1, 1, 0}, {2, 9, 8, 16, 1, 3, 1, 1, 0},
	    {1, 7, 6, 90, 90, 3, 1, 1, 1},   {1, 60, 40, 40, 8, 3, 1, 1, 0}, {2, 9, 10, 40, 3, 3, 1, 1, 0},
	};
	for (int i = 0; i < (int)COUNT(cases); i++)
		for (int kind = 0; kind < 2; kind++) {
			int c = cases[i].channels, o = cases[i].out, size = cases[i].size;
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "convolution");
			Type tx = type_make(DTYPE_F32, 4, (int64_t[]){cases[i].batch, cases[i].height, cases[i].width, c});
			Val *x = short_factor(f, "x", tx, kind ? 5 : i % SHORT_KINDS);
			Val *w =
			    short_factor(f, "w", type_make(DTYPE_F32, 4, (int64_t[]){size, size, c, o}), kind ? 4 : (i + 2) % SHORT_KINDS);
			Val *taps = windows(f, x, size, cases[i].stride, cases[i].dilation, cases[i].pad);
			Val *y = convolution(f, taps, w);
			Val *g = short_factor(f, "g", y->type, kind ? 5 : 0);
			Val *dw = convolution_dw(f, taps, g);
			fn_output(f, "dw", dw, -1);
			if (cases[i].stride == 1 && cases[i].dilation == 1) {
				Val *around = windows(f, g, size, 1, 1, size - 1), *back = ir_flip(f, w, 2, (int64_t[]){0, 1});
				Val *dx = ir_contract(f, around, (int64_t[]){0, 1, 2, 3, 4, 5}, back, (int64_t[]){2, 4, 6, 5}, 4,
				                      (int64_t[]){0, 1, 3, 6});
				fn_output(f, "dx", dx, -1);
			}
			finish(f, y, i & 3);
			expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "short convolution %d", i));
			arena_free(arena);
		}
}

/* Sums of some terms only, the first and the last row of the image being left out: the taps, or the positions, of a row. */
static void bounded(void **state) {
	(void)state;
	static const struct { int batch, height, width, channels, out, size, stride, dilation;
	} cases[] = {
	    {2, 8, 9, 3, 16, 3, 1, 1},   {3, 10, 18, 16, 32, 3, 1, 1}, {2, 9, 19, 16, 33, 3, 2, 1}, {2, 13, 12, 20, 5, 3, 1, 2},
	    {2, 17, 30, 7, 48, 5, 3, 2}, {9, 24, 25, 16, 18, 3, 1, 1}, {70, 10, 9, 24, 17, 3, 1, 1}, {2, 8, 12, 250, 8, 4, 1, 1},
	};
	for (int i = 0; i < (int)COUNT(cases); i++)
		for (int kind = 0; kind < 8; kind++) {
			int64_t c = cases[i].channels, o = cases[i].out, size = cases[i].size, h = cases[i].height;
			int64_t within[WITHIN_LENGTH] = {1, 2, cases[i].stride, cases[i].dilation, 1, h - 2};
			int64_t lx[] = {0, 1, 2, 3, 4, 5}, last[] = {0, 1, 2, 3, 5, 4}, lw[] = {2, 4, 5, 6}, ly[] = {0, 1, 3, 6};
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "bounded");
			Type tx = type_make(DTYPE_F32, 4, (int64_t[]){cases[i].batch, h, cases[i].width, c});
			Type tw = type_make(DTYPE_F32, 4, (int64_t[]){size, size, c, o});
			Val *x = kind & 4 ? short_factor(f, "x", tx, i % SHORT_KINDS) : fn_input(f, "x", INPUT_DATA, tx);
			Val *w = kind & 4 ? short_factor(f, "w", tw, (i + 1) % SHORT_KINDS) : fn_input(f, "w", INPUT_PARAM, tw);
			Val *taps = windows(f, x, (int)size, cases[i].stride, cases[i].dilation, 0);
			Val *rows = kind & 1 ? ir_transpose(f, taps, last) : taps;
			const int64_t *lr = kind & 1 ? last : lx;
			Val *y = kind & 2 ? ir_contract_within(f, w, lw, rows, lr, 4, ly, within)
			                  : ir_contract_within(f, rows, lr, w, lw, 4, ly, within);
			Val *g = fn_input(f, "g", INPUT_DATA, y->type);
			Val *dw = kind & 2 ? ir_contract_within(f, g, ly, taps, lx, 4, lw, within)
			                   : ir_contract_within(f, taps, lx, g, ly, 4, lw, within);
			fn_output(f, "dw", dw, -1);
			finish(f, y, i & 3);
			expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "bounded %d, %d", i, kind));
			arena_free(arena);
		}
}

/* The taps of a transposed convolution are turned round, and read where they lie: no kernel but the product. */
static void turned_taps(void **state) {
	(void)state;
	for (int axes = 1; axes < 4; axes++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "turned");
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){2, 9, 8, 6}));
		Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){3, 3, 6, 20}));
		int64_t both[2] = {0, 1};
		w = ir_flip(f, w, axes == 3 ? 2 : 1, both + (axes == 2));
		fn_output(f, "y", convolution(f, windows(f, x, 3, 1, 1, 0), w), -1);
		f = fn_canonical(f);
		expect_same(arena, f, 0, false, "turned taps");
		char *dense[2];
		for (int i = 0; i < 2; i++) dense[i] = random_input(arena, f->inputs.data[i].type, 0, false);
		Compiled c;
		assert_null(compare_compiled(arena, f, dense, target_host(arena), 1, &c));
		assert_int_equal(c.kernels->kernels.length, 1);
		compiled_free(&c);
		arena_free(arena);
	}
}

/* One filter: the windows are read where they lie, the runs of a dot going on from lane to lane. */
static void one_filter(void **state) {
	(void)state;
	static const int channels[] = {1, 3, 16, 20, 33};
	for (size_t i = 0; i < COUNT(channels); i++)
		for (int turned = 0; turned < 4; turned++) {
			int64_t c = channels[i];
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "filter");
			Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){2, 9, 8, c}));
			Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){3, 3, c, 1}));
			if (turned) w = ir_flip(f, w, turned == 3 ? 2 : 1, (int64_t[]){turned == 2, 1});
			fn_output(f, "y", convolution(f, windows(f, x, 3, 1, 1, 0), w), -1);
			f = fn_canonical(f);
			expect_same(arena, f, 0, false, arena_printf(arena, "one filter, %d channels", (int)c));
			char *dense[2];
			for (int k = 0; k < 2; k++) dense[k] = random_input(arena, f->inputs.data[k].type, 0, false);
			Compiled compiled;
			assert_null(compare_compiled(arena, f, dense, target_host(arena), 1, &compiled));
			bool copied = c == 1 && turned > 1;   /* a run of taps the other way round */
			assert_int_equal(compiled.kernels->kernels.length, 1 + copied);
			compiled_free(&compiled);
			arena_free(arena);
		}
}

/* Each channel by itself: y[b, i, j, c] = sum of x[b, i.., j.., c] w[r, s, c], and dw. */
static void channel_by_channel(void **state) {
	(void)state;
	static const int channels[] = {1, 5, 16, 40};
	for (size_t i = 0; i < COUNT(channels); i++)
		for (int kind = 0; kind < 3; kind++) {
			int c = channels[i];
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "depthwise");
			Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){kind == 2 ? 40 : 3, 12, 13, c}));
			Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 3, (int64_t[]){3, 3, c}));
			Val *taps = windows(f, x, 3, 1 + kind % 2, 1, kind % 2);
			Val *y = ir_contract(f, taps, (int64_t[]){0, 1, 2, 3, 4, 5}, w, (int64_t[]){2, 4, 5}, 4, (int64_t[]){0, 1, 3, 5});
			Val *g = fn_input(f, "g", INPUT_DATA, y->type);
			fn_output(f, "dw",
			          ir_contract(f, taps, (int64_t[]){0, 1, 2, 3, 4, 5}, g, (int64_t[]){0, 1, 3, 5}, 3, (int64_t[]){2, 4, 5}),
			          -1);
			finish(f, y, kind);
			expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "depthwise %d", c));
			arena_free(arena);
		}
}

/* A single column whose rows are two axes in one, and something that is added to it. */
static void lone_columns(void **state) {
	(void)state;
	for (int rows = 1; rows < 20; rows += 3) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "column");
		Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 2, (int64_t[]){1, 3}));
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){4, rows, 3}));
		Val *y = ir_contract(f, w, (int64_t[]){0, 1}, x, (int64_t[]){2, 3, 1}, 3, (int64_t[]){2, 3, 0});
		fn_output(f, "y", ir_Add(f, y, fn_input(f, "z", INPUT_DATA, y->type)), -1);
		expect_same(arena, fn_canonical(f), 0, false, "a lone column");
		arena_free(arena);
	}
}

/* Products that are parts of one value: dealt out along the rows, or side by side along the columns.  read: others read it. */
static Fn *parts_of_one(Arena *arena, int count, int64_t columns, bool along_rows, bool read) {
	Fn *f = fn_new(arena, "parts");
	Val *part[3], *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){6, 7, 9}));
	for (int k = 0; k < count; k++) {
		int64_t n = along_rows ? columns : columns + k;   /* one: under other dims */
		Val *w = fn_input(f, arena_printf(arena, "w%d", k), INPUT_PARAM, type_make(DTYPE_F32, 2, (int64_t[]){9, n}));
		part[k] = ir_contract(f, x, (int64_t[]){0, 1, 2}, w, (int64_t[]){2, 3}, 3, (int64_t[]){0, 1, 3});
		if (along_rows) part[k] = ir_reshape(f, part[k], 4, (int64_t[]){6, 7, 1, n});
	}
	Val *y = count > 1 ? ir_concat(f, count, part, 2) : part[0];
	if (along_rows) y = ir_reshape(f, y, 3, (int64_t[]){6, 7 * count, columns});
	if (count == 1) y = ir_reshape(f, y, 2, (int64_t[]){42, columns});
	if (read) {
		fn_output(f, "sum", ir_reduce(f, OpReduceSum, y, 1, (int64_t[]){1}), -1);
		fn_output(f, "shifted", ir_Neg(f, ir_flip(f, y, 1, (int64_t[]){1})), -1);
	}
	fn_output(f, "y", y, -1);
	return fn_canonical(f);
}

/* They are written where they belong. */
static void dealt_parts(void **state) {
	(void)state;
	static const int widths[] = {1, 5, 16, 40};
	for (int kind = 0; kind < 48; kind++) {
		int columns = widths[kind / 12];
		Arena *arena = arena_new();
		int count = 1 + kind / 4 % 3;
		Fn *f = parts_of_one(arena, count, columns, kind & 1, kind & 2);
		expect_same(arena, f, 0, false, arena_printf(arena, "parts %d", kind));
		char *dense[4];
		for (int k = 0; k < f->inputs.length; k++) dense[k] = random_input(arena, f->inputs.data[k].type, 0, false);
		Compiled c;
		assert_null(compare_compiled(arena, f, dense, target_host(arena), 1, &c));
		int windows = 0;
		for (int b = 0; b < c.kernels->buffers.length; b++) windows += c.kernels->buffers.data[b].within > 0;
		if (columns > 1 && (count > 1 || !(kind & 2))) assert_int_equal(windows, count);   /* a dot may have its axes merged */
		compiled_free(&c);
		arena_free(arena);
	}
}

/* Convolutions whose taps along the rows are last in the sum: several rows share an element. */
static void taps_last(void **state) {
	(void)state;
	static const struct { int batch, side, channels, out, size, stride, dilation, pad; } cases[] = {
	    {2, 9, 16, 16, 3, 1, 1, 1},   {1, 19, 5, 33, 3, 1, 1, 0}, {2, 12, 7, 20, 3, 2, 1, 1}, {1, 12, 4, 16, 7, 1, 1, 3},
	    {1, 17, 3, 70, 8, 2, 1, 0},   {1, 14, 6, 5, 2, 1, 1, 0},  {1, 20, 8, 16, 4, 3, 1, 0}, {1, 15, 9, 17, 3, 1, 2, 2},
	    {1, 13, 9, 40, 3, 2, 2, 0},   {1, 5, 700, 3, 3, 1, 1, 1}, {1, 5, 1500, 3, 3, 1, 1, 1}, {1, 9, 200, 24, 5, 1, 1, 2},
	    {3, 30, 1, 24, 5, 1, 1, 0},   {1, 4, 6, 130, 3, 1, 1, 0}, {1, 40, 2, 1, 3, 1, 1, 0},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int kind = 0; kind < 8; kind++) {
			int64_t c = cases[i].channels, o = cases[i].out, size = cases[i].size, side = cases[i].side;
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "taps");
			Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){cases[i].batch, side, side, c}));
			Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){size, size, c, o}));
			Val *taps = windows(f, x, (int)size, cases[i].stride, cases[i].dilation, cases[i].pad);
			if (kind & 4) taps = ir_flip(f, taps, 1, (int64_t[]){4});   /* they run backwards */
			taps = ir_transpose(f, taps, (int64_t[]){0, 1, 2, 3, 5, 4});
			finish(f, ir_contract(f, taps, (int64_t[]){0, 1, 2, 3, 5, 4}, w, (int64_t[]){2, 4, 5, 6}, 4, (int64_t[]){0, 1, 3, 6}),
			       kind & 3);
			expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "taps %d, %d", (int)i, kind));
			arena_free(arena);
		}
}

/* Groups of channels, each multiplied by itself: parts of the same rows, made and read while these are near. */
static void groups(void **state) {
	(void)state;
	static const struct { int batch, side, groups, channels, out; } cases[] = {
	    {3, 40, 4, 5, 12}, {2, 41, 2, 16, 24}, {5, 30, 3, 1, 33}, {4, 37, 2, 40, 3}, {2, 40, 5, 2, 1},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int kind = 0; kind < 7; kind += 3) {
			int64_t side = cases[i].side, of_x[] = {cases[i].batch, side, side, cases[i].groups, cases[i].channels};
			int64_t of_w[] = {cases[i].groups, cases[i].channels, cases[i].out};
			int64_t of_y[] = {cases[i].batch, side, side, cases[i].groups, cases[i].out};
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "groups");
			Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 5, of_x));
			Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 3, of_w));
			Val *g = fn_input(f, "g", INPUT_DATA, type_make(DTYPE_F32, 5, of_y));
			int64_t in_x[] = {0, 1, 2, 3, 4}, in_w[] = {3, 4, 5}, in_y[] = {0, 1, 2, 3, 5};
			Val *y = kind & 4 ? ir_contract(f, x, in_x, g, in_y, 3, in_w) : ir_contract(f, x, in_x, w, in_w, 5, in_y);
			finish(f, y, kind & 3);
			expect_same(arena, fn_canonical(f), 0, false, arena_printf(arena, "groups %d, %d", (int)i, kind));
			arena_free(arena);
		}
}

/* Padded images that one product alone reads are copied between their borders one by one, for the rows or the columns of the
 * product, in the loop over images around it or in that of the sum. */
static void padded_images(void **state) {
	(void)state;
	static const struct { int batch, side, channels, out, size, stride, dilation, pad; bool wide; } cases[] = {
	    {9, 7, 16, 20, 3, 1, 1, 1, false}, {4, 9, 16, 32, 3, 2, 1, 1, false}, {6, 11, 3, 5, 5, 1, 1, 2, true},
	    {5, 9, 20, 16, 3, 1, 2, 2, false}, {37, 6, 7, 3, 3, 1, 1, 1, true},   {4, 12, 1, 24, 7, 1, 1, 3, false},
	    {5, 6, 6, 17, 1, 1, 1, 1, false},  {4, 10, 24, 3, 3, 1, 1, 1, false}, {4, 8, 40, 24, 5, 1, 1, 2, false},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int kind = 0; kind < 12; kind++) {
			int c = cases[i].channels, o = cases[i].out, size = cases[i].size, way = kind % 3;
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "padded");
			int64_t dim[] = {cases[i].batch, cases[i].side, cases[i].side, c}, from[] = {0, 0, 0, 1};
			Type whole = type_make(DTYPE_F32, 4, dim);
			whole.dim[3] += 2 * cases[i].wide;
			Val *x = fn_input(f, "x", INPUT_DATA, whole);
			if (cases[i].wide) x = ir_slice(f, x, from, dim, NULL);
			Val *w = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){size, size, c, o}));
			Val *taps = windows(f, x, size, cases[i].stride, cases[i].dilation, cases[i].pad), *y = convolution(f, taps, w);
			Val *g = fn_input(f, "g", INPUT_DATA, y->type);
			if (way == 1) y = convolution_dw(f, taps, g);
			if (way == 2)
				y = ir_contract(f, g, (int64_t[]){0, 1, 3, 6}, taps, (int64_t[]){0, 1, 2, 3, 4, 5}, 4, (int64_t[]){6, 2, 4, 5});
			finish(f, y, kind / 3);
			f = fn_canonical(f);
			expect_same(arena, f, 0, false, arena_printf(arena, "padded %d, %d", (int)i, kind));
			char *dense[8];
			for (int k = 0; k < f->inputs.length; k++) dense[k] = random_input(arena, f->inputs.data[k].type, 0, false);
			Compiled compiled;
			assert_null(compare_compiled(arena, f, dense, target_host(arena), 1, &compiled));
			bool copied = false;
			for (int k = 0; k < compiled.kernels->kernels.length; k++) {
				const Contraction *n = compiled.kernels->kernels.data[k].contraction;
				copied = copied || (n && (n->a.piece || n->b.piece));
			}
			if (cases[i].dilation == 1 && way < 2) assert_true(copied);   /* taps apart are loops outside that of the images */
			compiled_free(&compiled);
			arena_free(arena);
		}
}

/* A product padded with zeros around it or between its elements is written where it belongs, unless it is wanted by itself. */
static void borders(void **state) {
	(void)state;
	static const struct { int batch, height, width, n; int64_t lo[4], hi[4], inner[4]; bool written; } cases[] = {
	    {3, 4, 5, 16, {0}, {0, 1, 1, 0}, {0, 1, 1, 0}, true},      {2, 9, 20, 33, {0, 1, 2, 0}, {0, 0, 3, 0}, {0, 2, 0, 0}, true},
	    {5, 3, 1, 7, {0, 0, 0, 3}, {0, 0, 0, 2}, {0}, true},        {150, 17, 16, 16, {0}, {0, 1, 1, 0}, {0, 1, 1, 0}, true},
	    {4, 3, 4, 5, {1, 0, 0, 0}, {0, 1, 1, 0}, {0}, false},       {4, 3, 4, 5, {0}, {0}, {0, 0, 0, 1}, false},
	    {3, 4, 5, 16, {0, -1, 0, 0}, {0, 1, 0, 0}, {0}, false},
	};
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int kind = 0; kind < 3; kind++) {
			Arena *arena = arena_new();
			Fn *f = fn_new(arena, "border");
			int64_t dim[] = {cases[i].batch, cases[i].height, cases[i].width, 11};
			Val *a = fn_input(f, "a", INPUT_DATA, type_make(DTYPE_F32, 4, dim));
			Val *b = fn_input(f, "b", INPUT_PARAM, type_make(DTYPE_F32, 2, (int64_t[]){11, cases[i].n}));
			Val *y = ir_contract(f, a, (int64_t[]){0, 1, 2, 3}, b, (int64_t[]){3, 4}, 4, (int64_t[]){0, 1, 2, 4});
			Val *padded = ir_pad(f, y, cases[i].lo, cases[i].hi, cases[i].inner, 0);
			fn_output(f, "padded", padded, -1);
			if (kind == 1) fn_output(f, "y", y, -1);
			if (kind == 2) fn_output(f, "more", ir_Exp(f, padded), -1);
			f = fn_canonical(f);
			expect_same(arena, f, 0, false, arena_printf(arena, "border %d, %d", (int)i, kind));
			char *dense[2];
			for (int k = 0; k < 2; k++) dense[k] = random_input(arena, f->inputs.data[k].type, 0, false);
			Compiled c;
			assert_null(compare_compiled(arena, f, dense, target_host(arena), 1, &c));
			bool written = false;
			for (int k = 0; k < c.kernels->buffers.length; k++) written = written || c.kernels->buffers.data[k].border;
			if (kind == 0) assert_int_equal(written, cases[i].written);
			if (kind == 1) assert_false(written);
			compiled_free(&c);
			arena_free(arena);
		}
}

/* A 1x1 convolution with steps: its axes of length 1 keep no rows apart, and the gradient of its weights is one long sum, or,
 * where images have terms enough, one of the images that are copied one by one. */
static void steps(void **state) {
	(void)state;
	for (int more = 0; more < 2; more++) {
		int64_t n = more ? 9 : 3, h = more ? 7 : 5, w = more ? 6 : 4;
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "steps");
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){n, 2 * h - 1, 2 * w - 1, 20}));
		Val *g = fn_input(f, "g", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){n, h, w, 32}));
		Val *weights = fn_input(f, "w", INPUT_PARAM, type_make(DTYPE_F32, 4, (int64_t[]){1, 1, 20, 32}));
		int64_t lx[] = {0, 1, 2, 3, 4, 5}, lg[] = {0, 1, 3, 6}, lw[] = {2, 4, 5, 6};
		Val *part = ir_slice(f, x, (int64_t[]){0, 0, 0, 0}, (int64_t[]){n, h, w, 20}, (int64_t[]){1, 2, 2, 1});
		Val *taps = ir_reshape(f, part, 6, (int64_t[]){n, h, 1, w, 1, 20});
		fn_output(f, "dw", ir_contract(f, taps, lx, g, lg, 4, lw), -1);
		fn_output(f, "dx", ir_contract(f, g, lg, weights, lw, 6, lx), -1);
		f = fn_canonical(f);
		expect_same(arena, f, 0, false, "steps");
		char *dense[3];
		for (int k = 0; k < 3; k++) dense[k] = random_input(arena, f->inputs.data[k].type, 0, false);
		Compiled c;
		assert_null(compare_compiled(arena, f, dense, target_host(arena), 1, &c));
		int copied = 0;
		for (int k = 0; k < c.kernels->kernels.length; k++) {
			const Kernel *kernel = &c.kernels->kernels.data[k];
			if (kernel->kind != KERNEL_CONTRACT) continue;
			bool piece = kernel->contraction->a.piece;
			assert_int_equal(kernel->contraction->nsum, piece ? 2 : 1);
			assert_int_equal(kernel->contraction->nouter, 0);
			copied += piece;
		}
		assert_int_equal(copied, more);
		compiled_free(&c);
		arena_free(arena);
	}
}

/* A constant that lies nowhere is read as one run by its product, until a later product wants it stored: the first one's sum has
 * two loops then, and its other factor must lie row by row. */
static void stored_by_another(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "shared");
	Val *weights = fn_input(f, "weights", INPUT_PARAM, type_make(DTYPE_F32, 5, (int64_t[]){2, 2, 68, 2, 1}));
	Val *image = fn_input(f, "image", INPUT_DATA, type_make(DTYPE_F32, 5, (int64_t[]){4, 4, 4, 2, 68}));
	Val *slope = ir_broadcast(f, ir_const(f, DTYPE_F32, 0.0138), 5, (int64_t[]){2, 4, 3, 3, 1}, NULL);
	Val *taps = ir_window(f, ir_window(f, slope, 2, 2, 2, 1, 1), 4, 2, 2, 1, 1);     /* (G, B, I, R, J, S, F) */
	Val *flipped = ir_flip(f, weights, 2, (int64_t[]){0, 1});                        /* (R, S, C, G, F) */
	int64_t of_taps[] = {0, 1, 2, 3, 4, 5, 6}, of_weights[] = {3, 5, 7, 0, 6}, of_image[] = {1, 2, 4, 0, 7};
	fn_output(f, "back", ir_contract(f, taps, of_taps, flipped, of_weights, 5, of_image), -1);
	Val *read = ir_window(f, ir_window(f, image, 2, 3, 2, 1, 1), 1, 3, 2, 1, 1);     /* (B, I, R, J, S, G, C) */
	int64_t of_read[] = {1, 2, 3, 4, 5, 0, 6}, of_slope[] = {0, 1, 2, 4, 7}, of_result[] = {3, 5, 6, 0, 7};
	fn_output(f, "weights' slope", ir_contract(f, read, of_read, slope, of_slope, 5, of_result), -1);
	expect_same(arena, fn_canonical(f), 0, false, "stored by another");
	arena_free(arena);
}

/* A weight's gradient over the turns of a scan and the batch, one factor in the other's order: where it is small beside the
 * product it is copied, so that the sum is one loop. */
static void summed_as_one(void **state) {
	(void)state;
	for (int k = 0; k < 8; k++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "gradient");
		bool small = k & 1, turned = k & 2, middle = k & 4;
		int64_t columns = small ? 20 : 300;
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 3, middle ? (int64_t[]){7, 9, 5} : (int64_t[]){7, 5, 9}));
		Val *z = fn_input(f, "z", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){5, 7, columns}));
		int64_t lx[] = {0, middle ? 2 : 1, middle ? 1 : 2}, lz[] = {1, 0, 3}, ly[] = {2, 3};
		/* in the order of z, as its derivative has it */
		Val *in_order = ir_transpose(f, x, middle ? (int64_t[]){2, 0, 1} : (int64_t[]){1, 0, 2});
		int64_t ordered[] = {1, 0, 2};
		Val *y = turned ? ir_contract(f, z, lz, x, lx, 2, ly) : ir_contract(f, in_order, ordered, z, lz, 2, ly);
		fn_output(f, "y", ir_Tanh(f, y), -1);
		f = fn_canonical(f);
		expect_same(arena, f, 0, false, "summed as one");
		char *dense[2];
		for (int i = 0; i < 2; i++) dense[i] = random_input(arena, f->inputs.data[i].type, 0, false);
		Compiled c;
		assert_null(compare_compiled(arena, f, dense, target_host(arena), 1, &c));
		for (int i = 0; i < c.kernels->kernels.length; i++) {
			const Kernel *kernel = &c.kernels->kernels.data[i];
			if (kernel->kind == KERNEL_CONTRACT) assert_int_equal(kernel->contraction->nsum, small ? 2 : 1);
		}
		compiled_free(&c);
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_contracts),
	    cmocka_unit_test(random_bytes), cmocka_unit_test(convolutions), cmocka_unit_test(groups),
	                                   cmocka_unit_test(bounded), cmocka_unit_test(turned_taps), cmocka_unit_test(one_filter),
	                                   cmocka_unit_test(channel_by_channel), cmocka_unit_test(lone_columns),
	                                   cmocka_unit_test(short_factors), cmocka_unit_test(short_convolutions),
	                                   cmocka_unit_test(dealt_parts), cmocka_unit_test(taps_last), cmocka_unit_test(steps),
	                                   cmocka_unit_test(stored_by_another), cmocka_unit_test(padded_images),
	                                   cmocka_unit_test(borders), cmocka_unit_test(summed_as_one)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
