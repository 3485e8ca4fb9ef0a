/* link: nnc_llvm nnc_llvm_libs nnc_base
 * Every product against a naive loop with fmaf in the order the design fixes, bit for bit: all layouts, ranges, paddings, fills
 * and epilogues, on the host and on x86-64-v3; nothing outside the result is touched. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract.h"

enum { GUARD = 64 };
static const float canary = -12345.5f;
static uint64_t state = 42;

static uint64_t next_random(void) { return state = hash_mix(state); }
static int64_t pick(int64_t low, int64_t high) { return low + (int64_t)(next_random() % (uint64_t)(high - low + 1)); }

/* What is asked for; the memory that goes with it. */
typedef struct Case {
	Contract c;
	bool fill_a, fill_b, epilogue;
	int parts; /* workers the rows, or the panels, are shared among */
	bool by_panels;
	bool whole; /* one worker, and no lengths of rows are named */
	bool tiny; /* every product underflows to -0 */
} Case;

static float *with_guards(size_t count) {
	float *p = aligned_alloc(64, (count + 2 * GUARD + 16) / 16 * 64);
	for (size_t i = 0; i < count + 2 * GUARD; i++) p[i] = canary;
	return p + GUARD;
}

static void fill_random(float *p, size_t count) {
	for (size_t i = 0; i < count; i++) {
		uint64_t r = next_random();
		p[i] = (float)((int64_t)(r & 0xffffff) - 0x800000) * 0x1p-22f;
		if ((r >> 60) == 0) p[i] = 0;
		if ((r >> 52 & 0xff) == 7) p[i] *= 1e-30f;
	}
}

/* The rule of the design, word by word. */
static float naive_dot(const Contract *c, const float *a, const float *b, int64_t i) {
	float total = 0;
	for (int64_t k0 = 0; k0 < c->k; k0 += CONTRACT_BLOCK) {
		float lane[16] = {0};
		for (int64_t k = k0; k < MIN(c->k, k0 + CONTRACT_BLOCK); k++)
			lane[(k - k0) % 16] = fmaf(a[i * c->a.row + k * c->a.column], b[k * c->b.row], lane[(k - k0) % 16]);
		for (int half = 8; half; half /= 2)
			for (int l = 0; l < half; l++) lane[l] += lane[l + half];
		total = k0 ? total + lane[0] : lane[0];
	}
	return total;
}

static int64_t terms(const Contract *c) {
	int64_t count = c->k;
	for (int i = 0; i < c->naround; i++) count *= c->around[i].extent;
	return count;
}

/* One chain for each block of the sum; a block starts where the axes within the one that is cut are all at 0. */
static float naive(const Contract *c, const float *a, const float *b, int64_t i, int64_t j) {
	if (c->dot) return naive_dot(c, a, b, i);
	int64_t per_block = c->per_block ? c->per_block : CONTRACT_BLOCK, cut = c->per_block ? c->cut : c->naround;
	float total = 0, sum = 0;
	bool first = true;
	for (int64_t t = 0; t < terms(c); t++) {
		int64_t rest = t / c->k, k = t % c->k, ia = i * c->a.row + k * c->a.column, ib = j * c->b.column + k * c->b.row;
		bool starts = cut == c->naround ? k % per_block == 0 : k == 0;
		for (int l = c->naround - 1; l >= 0; l--) {
			int64_t at = rest % c->around[l].extent;
			rest /= c->around[l].extent;
			ia += at * c->around[l].a;
			ib += at * c->around[l].b;
			if (l == cut) starts = starts && at % per_block == 0;
			else if (l > cut) starts = starts && at == 0;
		}
		if (starts && t) total = first ? sum : total + sum, first = false, sum = 0;
		sum = fmaf(a[ia], b[ib], sum);
	}
	return first ? sum : total + sum;
}

/* ---- the generated function: void (a, b, c, scratch, row, rows, panel, panels, seen) ---- */

typedef struct Context {
	Value pointer;
	ContractOperand *operand;
} Context;

static Value element(Emit *e, void *context, Value row, Value column, int lanes) {
	Context *x = context;
	Value r = emit_mul(e, row, emit_index(e, x->operand->row)), s = emit_mul(e, column, emit_index(e, x->operand->column));
	Value at = emit_at(e, x->pointer, e->f32, emit_add(e, r, s));
	int64_t step = x->operand->down ? x->operand->row : x->operand->column;
	if (step == 1) return emit_load(e, e->f32, lanes, at);
	Value v = LLVMGetPoison(emit_vector_type(e, e->f32, lanes));
	for (int l = 0; l < lanes; l++) {
		Value one = emit_load(e, e->f32, 1, emit_at_constant(e, at, e->f32, l * step));
		v = lanes == 1 ? one : LLVMBuildInsertElement(e->builder, v, one, emit_i32(e, l), "");
	}
	return v;
}

/* seen[row * n + column] += value: each element must come exactly once. */
static void see(Emit *e, void *context, const ContractTile *tile) {
	Case *x = context;
	Value seen = LLVMGetParam(e->function, 8);
	EmitLoop outer = emit_loop_begin(e, emit_index(e, 0), tile->rows, 1);
	EmitLoop inner = emit_loop_begin(e, emit_index(e, 0), tile->columns, 1);
	Value from = emit_add(e, emit_mul(e, outer.i, emit_index(e, tile->stride)), inner.i);
	Value row = emit_mul(e, emit_add(e, tile->row, outer.i), emit_index(e, x->c.n));
	Value to = emit_at(e, seen, e->f32, emit_add(e, row, emit_add(e, tile->column, inner.i)));
	Value v = emit_load(e, e->f32, 1, emit_at(e, tile->at, e->f32, from));
	emit_store(e, LLVMBuildFAdd(e->builder, emit_load(e, e->f32, 1, to), v, ""), to);
	emit_loop_end(e, &inner);
	emit_loop_end(e, &outer);
}

typedef void Product(const float *, const float *, float *, char *, int64_t, int64_t, int64_t, int64_t, float *);

static Linked *compile(Arena *arena, const Target *target, Case *x, ContractPlan *plan) {
	Emit *e = emit_new(arena, target, "test");
	LLVMTypeRef p[] = {e->ptr, e->ptr, e->ptr, e->ptr, e->index, e->index, e->index, e->index, e->ptr};
	emit_function(e, "product", e->void_type, 9, p, false);
	Value v[9];
	for (int i = 0; i < 9; i++) v[i] = LLVMGetParam(e->function, (unsigned)i);
	Contract c = x->c;
	Context a = {v[0], &c.a}, b = {v[1], &c.b};
	ContractElements ea = {element, &a, c.a.down}, eb = {element, &b, c.b.down};
	if (x->fill_a) c.a.fill = contract_fill_elements, c.a.context = &ea;
	if (x->fill_b) c.b.fill = contract_fill_elements, c.b.context = &eb;
	if (x->epilogue) c.epilogue = see, c.context = x;
	*plan = contract_plan(target, &c);
	ContractArguments arguments = {.a = v[0], .b = v[1], .c = v[2], .scratch = v[3], .row = v[4], .rows = v[5]};
	if (x->by_panels) arguments.panel = v[6], arguments.panels = v[7];
	if (x->epilogue) arguments.streams[arguments.nstreams++] = (ContractStream){v[1], c.c_row};   /* fetched, whatever it is */
	contract_emit(e, &c, plan, arguments);
	LLVMBuildRetVoid(e->builder);
	if (getenv("SHOW")) printf("%s\n", emit_text(e));
	Object object = emit_object(e, false);
	const char *error = NULL;
	Linked *linked = objects_link(arena, &object, 1, &error);
	if (!linked) fail_msg("%s", error);
	emit_free(e);
	return linked;
}

/* Rows of worker w of `parts`: multiples of `unit`, as even as that allows. */
static int64_t row_begin(int64_t rows, int parts, int w) { return rows * w / parts; }

static void set_row_counts(Case *x) {
	x->c.nrow_counts = 0;
	if (x->by_panels || x->whole) return;
	for (int w = 0; w < x->parts; w++) {
		int64_t count = row_begin(x->c.m, x->parts, w + 1) - row_begin(x->c.m, x->parts, w);
		bool known = false;
		for (int i = 0; i < x->c.nrow_counts; i++) known = known || x->c.row_counts[i] == count;
		if (!known && count) x->c.row_counts[x->c.nrow_counts++] = count;
	}
}

static int64_t extent(int64_t rows, int64_t row, int64_t columns, int64_t column) {
	return (rows - 1) * row + (columns - 1) * column + 1;
}

static void check(const Target *target, Case x) {
	Arena *arena = arena_new();
	Contract *c = &x.c;
	set_row_counts(&x);
	ContractPlan plan;
	Linked *linked = compile(arena, target, &x, &plan);
	Product *product = (Product *)(uintptr_t)linked_symbol(linked, "product");
	assert_non_null(product);
	size_t na = (size_t)extent(c->m, c->a.row, c->k, c->a.column),
	       nb = (size_t)(extent(c->k, c->b.row, c->n, c->b.column) + c->b.pad);
	for (int i = 0; i < c->naround; i++) {
		na += (size_t)((c->around[i].extent - 1) * c->around[i].a);
		nb += (size_t)((c->around[i].extent - 1) * c->around[i].b);
	}
	size_t nc = (size_t)(extent(c->m, c->c_row, c->n, 1) + c->c_pad), ns = plan.scratch_bytes / 4;
	float *a = with_guards(na), *b = with_guards(nb), *out = with_guards(nc), *scratch = with_guards(ns),
	      *seen = with_guards((size_t)(c->m * c->n));
	fill_random(a, na);
	fill_random(b, nb);
	for (size_t i = 0; i < na && x.tiny; i++) a[i] = -1e-30f;
	for (size_t i = 0; i < nb && x.tiny; i++) b[i] = 1e-30f;
	memset(seen, 0, (size_t)(c->m * c->n) * 4);
	for (int w = 0; w < x.parts; w++) {
		int64_t i0 = x.by_panels ? 0 : row_begin(c->m, x.parts, w), i1 = x.by_panels ? c->m : row_begin(c->m, x.parts, w + 1);
		int64_t p0 = plan.panels * w / x.parts, p1 = plan.panels * (w + 1) / x.parts;
		if (i0 < i1) product(a, b, out, (char *)scratch, i0, i1 - i0, p0, p1 - p0, seen);
	}
	for (int64_t i = 0; i < c->m; i++)
		for (int64_t j = 0; j < c->c_row && i * c->c_row + j < (int64_t)nc; j++) {
			float found = out[i * c->c_row + j];
			if (j >= c->n) {
				if (j >= c->n + c->c_pad && found != canary) fail_msg("(%d,%d) past the row was written", (int)i, (int)j);
				continue;
			}
			bool sampled = c->m * c->n * terms(c) < 3000000 || (hash_mix((uint64_t)(i * c->n + j)) & 255) == 0;
			if (!sampled) continue;
			float wanted = naive(c, a, b, i, j);
			if (x.epilogue && memcmp(&seen[i * c->n + j], &wanted, 4) && (wanted != 0 || seen[i * c->n + j] != 0))
				fail_msg("%s %lldx%lldx%lld: epilogue saw (%d,%d) = %a, wanted %a", target->cpu, (long long)c->m, (long long)c->n,
				         (long long)c->k, (int)i, (int)j, (double)seen[i * c->n + j], (double)wanted);
			if (!c->c_dropped && memcmp(&found, &wanted, 4))
				fail_msg("%s %lldx%lldx%lld a %lld,%lld b %lld,%lld: C(%d,%d) = %a, wanted %a", target->cpu, (long long)c->m,
				         (long long)c->n, (long long)c->k, (long long)c->a.row, (long long)c->a.column, (long long)c->b.row,
				         (long long)c->b.column, (int)i, (int)j, (double)found, (double)wanted);
			if (c->c_dropped) assert_true(found == canary);
		}
	float *all[] = {a, b, out, scratch};
	size_t sizes[] = {na, nb, nc, ns};
	for (int i = 0; i < 4; i++)
		for (int g = 0; g < GUARD; g++)
			if (all[i][-1 - g] != canary || all[i][sizes[i] + (size_t)g] != canary) fail_msg("a write outside buffer %d", i);
	for (int i = 0; i < 4; i++) free(all[i] - GUARD);
	free(seen - GUARD);
	linked_free(linked);
	arena_free(arena);
}

/* Layouts: bit 0: A transposed, bit 1: B transposed. */
static Case make(int layout, int64_t m, int64_t n, int64_t k, int64_t pad) {
	Case x = {.parts = 1, .c = {.m = m, .n = n, .k = k, .dot = n == 1}};
	x.c.a = layout & 1 ? (ContractOperand){.row = 1, .column = m + pick(0, 3)}
	                   : (ContractOperand){.row = k + pick(0, 3), .column = 1};
	x.c.b = layout & 2 ? (ContractOperand){.row = 1, .column = k + pick(0, 3)}
	                   : (ContractOperand){.row = n + pad, .column = 1, .pad = pad};
	x.c.c_row = n + pad;
	x.c.c_pad = pad;
	return x;
}

static void over_targets(Case x) {
	Arena *arena = arena_new();
	Diag *diag = NULL;
	const Target *target[] = {target_host(arena), target_named(arena, diag, NULL, "x86-64-v3", NULL)};
	for (size_t i = 0; i < COUNT(target); i++)
		if (target[i]->is_host) check(target[i], x);
	arena_free(arena);
}

static void small_sizes(void **unused) {
	(void)unused;
	for (int round = 0; round < 40; round++) {
		int64_t n = pick(2, 70);
		Case x = make(round & 3, pick(1, 70), n, pick(1, 70), pick(0, 1) ? (16 - n % 16) % 16 : pick(0, 2));
		x.parts = (int)pick(1, 3);
		x.by_panels = pick(0, 3) == 0;
		x.epilogue = pick(0, 1);
		x.c.c_dropped = x.epilogue && pick(0, 1);
		x.c.c_run = pick(0, 1);
		x.fill_a = pick(0, 3) == 0;
		x.fill_b = pick(0, 3) == 0;
		x.c.a.down = x.c.a.row == 1;
		x.c.b.down = x.c.b.row == 1;
		over_targets(x);
	}
}

/* Few columns, rows adjacent in A: the transpose is computed. */
static void turned(void **unused) {
	(void)unused;
	Arena *arena = arena_new();
	const Target *target = target_named(arena, NULL, NULL, "x86-64-v4", NULL);
	const Target *narrow = target_named(arena, NULL, NULL, "x86-64-v3", NULL);
	int count = 0, with_sums = 0, of_narrow = 0;
	for (int round = 0; round < 60; round++) {
		Case x = make(1, pick(30, 300), pick(2, 33), pick(1, round % 8 ? 200 : 5000), pick(0, 3));
		x.epilogue = pick(0, 1), x.whole = true;
		x.c.c_dropped = x.epilogue && pick(0, 1);
		x.c.c_run = pick(0, 1);
		x.c.naround = round % 8 ? (int)pick(0, 4) % 3 : 0;
		for (int i = 0; i < x.c.naround; i++)
			x.c.around[i] = (ContractSum){pick(1, 7), pick(0, 1) ? pick(0, 900) : x.c.a.column, pick(0, 100)};
		if (x.c.naround) x.c.cut = (int)pick(0, x.c.naround);
		if (x.c.naround) x.c.per_block = pick(1, x.c.cut == x.c.naround ? x.c.k : x.c.around[x.c.cut].extent);
		bool turned = contract_plan(target, &x.c).turned;
		of_narrow += contract_plan(narrow, &x.c).turned;
		count += turned, with_sums += turned && x.c.naround;
		over_targets(x);
	}
	assert_true(count >= 20);
	assert_true(with_sums >= 8);
	assert_true(of_narrow >= 10);
	Case gradient = make(1, 784, 10, 32, 0), full = make(1, 784, 16, 32, 0);
	assert_true(contract_plan(target, &gradient.c).turned && !contract_plan(target, &full.c).turned);
	arena_free(arena);
}

static void dots(void **unused) {
	(void)unused;
	int64_t ks[] = {1, 15, 16, 17, 40, 4096, 4097, 9001};
	for (size_t i = 0; i < COUNT(ks); i++)
		for (int layout = 0; layout < 4; layout++) {
			Case x = make(layout, pick(1, 21), 1, ks[i], 0);
			x.epilogue = layout == 1 || i == 3;
			x.c.c_dropped = i == 3;
			x.parts = (int)pick(1, 2);
			x.fill_a = i == 2 || i == 7;
			x.fill_b = i == 5;
			x.c.a.down = x.c.a.row == 1;
			x.c.c_row = 1 + (i & 1);
			over_targets(x);
		}
	for (int layout = 0; layout < 2; layout++) {
		Case zeros = make(layout, 9, 1, 33, 0);
		zeros.tiny = true;
		over_targets(zeros);
	}
	Case x = make(0, 5, 1, 50, 0);
	x.c.a.row = 3, x.c.a.column = 17;
	over_targets(x);
}

static void long_k(void **unused) {
	(void)unused;
	for (int layout = 0; layout < 4; layout++) {
		over_targets(make(layout, 37, 70, 5000, 10));
		over_targets(make(layout, 3, 33, 8200, 15));
		Case x = make(layout, 150, 100, 9000, 12);
		x.epilogue = true;
		x.c.c_dropped = layout & 1;
		x.fill_a = layout == 3;
		over_targets(x);
	}
}

static void model_shapes(void **unused) {
	(void)unused;
	static const struct {
		int layout;
		int64_t m, n, k;
	} shapes[] = {
	    {0, 128, 512, 784}, {1, 784, 512, 128},   {2, 128, 784, 512},   {0, 1, 512, 784},    {2, 1, 784, 512},  {0, 8, 1000, 300},
	    {1, 784, 10, 32},   {0, 1024, 384, 1536}, {2, 1024, 1024, 600}, {1, 900, 900, 1100}, {0, 20, 5000, 64},
	};
	for (size_t i = 0; i < COUNT(shapes); i++) {
		int64_t n = shapes[i].n;
		Case x = make(shapes[i].layout, shapes[i].m, n, shapes[i].k, (16 - n % 16) % 16);
		x.epilogue = i & 1;
		x.parts = 1 + (i & 2) / 2;
		over_targets(x);
	}
	Case odd = make(0, 30, 40, 50, 0);
	odd.c.b.row = 3, odd.c.b.column = 160, odd.c.a.row = 2, odd.c.a.column = 70, odd.c.b.pad = 0;
	over_targets(odd);
}

/* Sums of several loops: taps and rows of images that lie where they lie, blocks cut along any of the loops. */
static void sums_around(void **unused) {
	(void)unused;
	for (int round = 0; round < 60; round++) {
		int64_t n = pick(2, 50), k = pick(1, 40);
		Case x = make(round & 1, pick(1, 40), n, k, pick(0, 1) ? (16 - n % 16) % 16 : pick(0, 2));
		x.c.naround = (int)pick(1, 3);
		for (int i = 0; i < x.c.naround; i++)
			x.c.around[i] = (ContractSum){pick(1, 7), pick(0, 300), pick(0, 1) ? pick(0, 100) : k * x.c.b.row};
		x.c.cut = (int)pick(0, x.c.naround);
		x.c.per_block = pick(1, x.c.cut == x.c.naround ? k : x.c.around[x.c.cut].extent);
		x.parts = (int)pick(1, 3);
		x.by_panels = pick(0, 3) == 0;
		x.epilogue = pick(0, 1);
		x.c.c_dropped = x.epilogue && pick(0, 1);
		over_targets(x);
	}
}

/* Taps that rows of an image share, at once and, where registers are too few for that, one after the other. */
static void taps(void **unused) {
	(void)unused;
	Arena *arena = arena_new();
	const Target *target = target_named(arena, NULL, NULL, "x86-64-v3", NULL);
	int shared = 0, apart = 0;
	for (int side = 5; side < 30; side++) {
		int64_t n = pick(17, 70), channels = pick(1, 20), image = (side + 2) * channels, k = 3;
		Case x = make(0, side, n, k, (16 - n % 16) % 16);
		x.c.a = (ContractOperand){.row = channels, .column = channels};
		x.c.around[0] = (ContractSum){3, image, k * channels * x.c.b.row};
		x.c.around[1] = (ContractSum){channels, 1, k * x.c.b.row};
		x.c.naround = 2, x.c.cut = 0, x.c.per_block = 3;
		x.epilogue = pick(0, 1);
		ContractPlan plan = contract_plan(target, &x.c);
		shared += plan.taps && !plan.apart, apart += plan.apart;
		over_targets(x);
	}
	assert_true(shared >= 3 && apart >= 3);
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(small_sizes), cmocka_unit_test(turned), cmocka_unit_test(dots),
	                                   cmocka_unit_test(long_k),      cmocka_unit_test(model_shapes),
	                                   cmocka_unit_test(sums_around), cmocka_unit_test(taps)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
