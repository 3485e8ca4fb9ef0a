/* measure.c: clocks, counts and the machine's own limit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "measure.h"

double seconds_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double median_of(double *values, int count) {
	qsort(values, (size_t)count, sizeof *values, ascending);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Per output element one multiplication and one addition for each element of the summed extent: every label of a that
 * y lacks. */
static double flops_of(const Val *v) {
	const IntList *la = &v->list[0], *ly = &v->list[2];
	double flops = 2 * (double)type_count(v->type);
	for (int i = 0; i < la->length; i++) {
		bool kept = false;
		for (int k = 0; k < ly->length; k++) kept |= ly->data[k] == la->data[i];
		if (!kept) flops *= (double)v->arg[0]->type.dim[i];
	}
	return flops;
}

double contract_flops(const Fn *f) {
	double flops = 0;
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op == OpContract) flops += flops_of(v);
		if (v->op == OpScan) flops += (double)scan_count(v) * contract_flops(v->body);
	}
	return flops;
}

double peak_memory(void) {
	FILE *in = fopen("/proc/self/status", "r");
	char line[256];
	double kib = 0;
	while (in && fgets(line, sizeof line, in))
		if (strncmp(line, "VmHWM:", 6) == 0) kib = strtod(line + 6, NULL);
	if (in) fclose(in);
	return kib * 1024;
}

/* ---- the peak ---- */

struct Peak {
	Linked *linked;
	void (*loop)(float *values, int64_t turns);
	double flops_per_turn;
	int64_t turns;
	int workers;
	Pool *pool;
	Frame frame;
	char *values;                /* a page for each worker */
	size_t bytes;
};

enum { PAGE = 4096 };

static void run_loop(Frame *frame, int64_t tid, int64_t workers) {
	(void)workers;
	Peak *peak = frame->context;
	peak->loop((float *)(void *)(peak->values + tid * PAGE), peak->turns);
}

Peak *peak_new(Session *s, int workers) {
	Peak *peak = NEW(s->arena, Peak);
	const char *error;
	Object object = peak_object(s->arena, s->target, &peak->flops_per_turn);
	peak->linked = objects_link(s->arena, &object, 1, &error);
	void *address = peak->linked ? linked_symbol(peak->linked, "nnc_peak") : NULL;
	if (!address) return NULL;
	memcpy(&peak->loop, &address, sizeof address);
	peak->workers = workers;
	peak->pool = session_pool(s);
	peak->bytes = (size_t)workers * PAGE;
	peak->values = block_new(peak->bytes);
	peak->frame = (Frame){.context = peak, .barrier = pool_barrier};
	peak->turns = 1 << 20;
	return peak;
}

double peak_gflops(Peak *peak) {
	double start = seconds_now();
	pool_run(peak->pool, run_loop, &peak->frame, peak->workers);
	double seconds = seconds_now() - start;
	return peak->flops_per_turn * (double)peak->turns * peak->workers / seconds * 1e-9;
}

void peak_free(Peak *peak) {
	if (!peak) return;
	linked_free(peak->linked);
	block_free(peak->values, peak->bytes);
}
