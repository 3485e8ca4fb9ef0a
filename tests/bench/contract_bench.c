/* contract_bench.c: products of training shapes on one core, as a part of the FMA peak measured right next to each.
 *     contract_bench [cpu|host [part of a name]]       prints  m,n,k layout  GFLOP/s  % of peak  GFLOP/s with operands from
 * memory  tile  packing */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "contract.h"

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* others on the machine do not count */
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

typedef void Peak(float *, int64_t);
typedef void Product(const float *, const float *, float *, char *);

static const struct {
	const char *layout;
	int64_t m, n, k;
} shapes[] = {
    {"NN", 32, 16, 784},      {"NN", 32, 16, 16},       {"TN", 784, 16, 32},      {"NN", 128, 512, 784},
    {"NN", 784, 512, 128},    {"TN", 784, 512, 128},    {"NN", 128, 784, 512},    {"NT", 128, 784, 512},
    {"NN", 64, 128, 784},     {"TN", 784, 128, 64},     {"NN", 1024, 384, 384},   {"NT", 1024, 384, 384},
    {"NN", 384, 384, 1024},   {"TN", 384, 384, 1024},   {"NN", 1024, 1536, 384},  {"NT", 1024, 384, 1536},
    {"TN", 384, 1536, 1024},  {"NN", 256, 64, 576},     {"NT", 256, 576, 64},     {"TN", 576, 64, 256},
    {"NN", 1024, 1024, 1024}, {"NT", 1024, 1024, 1024}, {"NN", 2048, 2048, 2048}, {"NN", 1, 512, 784},
    {"NT", 1, 784, 512},      {"NN", 4, 512, 784},      {"NN", 8, 512, 784},      {"NT", 8, 784, 512},
    {"NN", 256, 1024, 784},   {"NN", 256, 1024, 1024},  {"TN", 1024, 1024, 256},  {"NT", 256, 1024, 1024},
    {"TN", 576, 64, 20000},   {"NN", 20000, 64, 27},    {"NN", 20000, 64, 576},   {"NN", 1024, 64, 64},
    {"NT", 64, 64, 64},       {"NN", 64, 256, 128},     {"TN", 256, 256, 64},     {"NN", 128, 1, 784},
    {"TN", 784, 1, 128},      {"NN", 256, 4096, 4096},  {"NT", 256, 4096, 4096},  {"TN", 4096, 4096, 256},
    {"NN", 2048, 384, 384},   {"NN", 2048, 1152, 384},  {"NN", 2048, 1536, 384},  {"NN", 2048, 384, 1536},
    {"NT", 2048, 384, 1536},  {"NT", 2048, 1536, 384},  {"NT", 2048, 384, 1152},  {"TN", 384, 1536, 2048},
    {"TN", 1536, 384, 2048},  {"TN", 384, 1152, 2048},
};

/* The compiler owns layouts: no row is a multiple of 2048 bytes long. */
static int64_t padded(int64_t columns) {
	if (columns == 1) return 1;
	int64_t row = (columns + 15) / 16 * 16;
	return row % 512 ? row : row + 16;
}

/* Operands and result, `copies` times one after the other: each turn takes the next, so that with many all come from memory. */
typedef struct Data { float *a, *b, *c; size_t na, nb, nc; int copies; char *scratch; } Data;

static double time_product(Product *f, const Data *d, int turns) {
	double start = now();
	for (int i = 0; i < turns; i++) {
		size_t k = (size_t)(i % d->copies);
		f(d->a + k * d->na, d->b + k * d->nb, d->c + k * d->nc, d->scratch);
	}
	return (now() - start) / turns;
}

static float *pages(size_t floats) {
	const size_t huge = 1 << 21;
	size_t bytes = (floats * sizeof(float) + 128 + huge - 1) / huge * huge;
	float *p = aligned_alloc(huge, bytes);
	if (!p) fatal("no memory");
	madvise(p, bytes, MADV_HUGEPAGE);
	for (size_t i = 0; i < floats; i++) p[i] = (float)(i % 17) * 0.25f;
	return p;
}

static Contract make_contract(const char *layout, int64_t m, int64_t n, int64_t k) {
	Contract c = {.m = m, .n = n, .k = k, .dot = n == 1, .c_row = padded(n), .c_pad = padded(n) - n};
	c.a = layout[0] == 'T' ? (ContractOperand){.row = 1, .column = padded(m)} : (ContractOperand){.row = padded(k), .column = 1};
	c.b = layout[1] == 'T' ? (ContractOperand){.row = 1, .column = padded(k)}
	                       : (ContractOperand){.row = padded(n), .column = 1, .pad = padded(n) - n};
	return c;
}

static Object compile_product(Arena *arena, const Target *target, const Contract *c, const ContractPlan *plan) {
	Emit *e = emit_new(arena, target, "bench");
	emit_function(e, "product", e->void_type, 4, (LLVMTypeRef[]){e->ptr, e->ptr, e->ptr, e->ptr}, false);
	Value p[4];
	for (unsigned i = 0; i < 4; i++) p[i] = LLVMGetParam(e->function, i);
	contract_emit(e, c, plan, (ContractArguments){.a = p[0], .b = p[1], .c = p[2], .scratch = p[3]});
	LLVMBuildRetVoid(e->builder);
	Object object = emit_object(e, false);
	emit_free(e);
	return object;
}

static Linked *linked_or_exit(Arena *arena, Object object) {
	const char *error = NULL;
	Linked *linked = objects_link(arena, &object, 1, &error);
	if (!linked) fatal("%s", error);
	return linked;
}

typedef struct Rates { double product, cold, peak; } Rates;   /* GFLOP/s, the best of several rounds side by side */

static Rates measure(const Contract *c, const ContractPlan *plan, Product *f, Peak *peak, double flops_per_turn) {
	enum { ROUNDS = 15, PEAK_TURNS = 1 << 17, COLD_BYTES = 256 << 20 };
	static float values[64];
	Data d = {.na = (size_t)(padded(c->m) * padded(c->k)), .nb = (size_t)(padded(c->n) * padded(c->k)),
	          .nc = (size_t)(c->m * padded(c->n)) + 16, .copies = 1};
	int copies = (int)MAX(2, COLD_BYTES / sizeof(float) / (d.na + d.nb + d.nc));
	d.a = pages(d.na * (size_t)copies), d.b = pages(d.nb * (size_t)copies), d.c = pages(d.nc * (size_t)copies);
	d.scratch = aligned_alloc(64, plan->scratch_bytes / 64 * 64 + 64);
	memset(d.scratch, 0, plan->scratch_bytes);
	double flops = 2.0 * (double)c->m * (double)c->n * (double)c->k, best = 1e9, best_peak = 1e9, cold = 1e9;
	int turns = (int)MAX(1, 0.002 * 100e9 / flops);
	time_product(f, &d, MAX(1, turns / 4));
	for (int round = 0; round < ROUNDS; round++) {
		double start = now();
		peak(values, PEAK_TURNS);
		best_peak = MIN(best_peak, (now() - start) / PEAK_TURNS);
		best = MIN(best, time_product(f, &d, turns));
	}
	d.copies = copies;
	for (int round = 0; round < 3; round++) cold = MIN(cold, time_product(f, &d, copies));
	free(d.a), free(d.b), free(d.c), free(d.scratch);
	return (Rates){flops / best * 1e-9, flops / cold * 1e-9, flops_per_turn / best_peak * 1e-9};
}

int main(int argc, char **argv) {
	Arena *arena = arena_new();
	bool host = argc < 2 || !strcmp(argv[1], "host");
	const Target *target = host ? target_host(arena) : target_named(arena, diag_new(arena), NULL, argv[1], NULL);
	if (!target || !target->is_host) fatal("this cpu cannot be measured here");
	printf("%s\n", target_text(arena, target));
	double flops_per_turn;
	Linked *peak_linked = linked_or_exit(arena, peak_object(arena, target, &flops_per_turn));
	Peak *peak = (Peak *)(uintptr_t)linked_symbol(peak_linked, "nnc_peak");
	for (size_t s = 0; s < COUNT(shapes); s++) {
		long long m = shapes[s].m, n = shapes[s].n, k = shapes[s].k;
		const char *name = arena_printf(arena, "%s,%lld,%lld,%lld", shapes[s].layout, m, n, k);
		if (argc > 2 && !strstr(name, argv[2])) continue;
		Contract c = make_contract(shapes[s].layout, m, n, k);
		ContractPlan plan = contract_plan(target, &c);
		double start = now();
		Object object = compile_product(arena, target, &c, &plan);
		double compile = now() - start;
		Linked *linked = linked_or_exit(arena, object);
		Rates rate = measure(&c, &plan, (Product *)(uintptr_t)linked_symbol(linked, "product"), peak, flops_per_turn);
		printf("%-18s %7.1f %5.1f%% of %5.1f, cold %5.1f  %dx%dx%d panels %lld k %lld cols %lld%s%s  %.1f ms %zu B\n", name,
		       rate.product, 100 * rate.product / rate.peak, rate.peak, rate.cold, plan.height, plan.vectors, plan.lanes,
		       (long long)plan.panels, (long long)plan.k_block, (long long)plan.panel_block, plan.pack_a ? " packA" : "",
		       plan.pack_b ? " packB" : "", compile * 1e3, object_code_bytes(object));
		fflush(stdout);
		linked_free(linked);
	}
	linked_free(peak_linked);
	arena_free(arena);
	return 0;
}
