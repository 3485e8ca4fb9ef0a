/* worker_costs.c: in: a pool; out: what its workers cost each other on this machine, measured in about a millisecond.
 * Guarantees: ends after some milliseconds even where other processes hold the processors, and then says that it does not know.
 *
 * A store to a line that another core has read takes 5 ns where the cores are near and 30 where they are not, and nothing but
 * a measurement tells which it is: virtual machines hide where their processors are. */
#include <stdlib.h>

#include "measure.h"

enum { FLOATS = 16, MEASURED_LINES = 256, MEASURED_ROUNDS = 48, MEASURED_BARRIERS = 16, WORKERS = 64 };

typedef struct Measure {
	_Alignas(4096) float line[MEASURED_LINES][FLOATS];
	double barrier[MEASURED_ROUNDS], shared[MEASURED_ROUNDS], own[MEASURED_ROUNDS], limit;
	int rounds;
	bool over;
	float sum[WORKERS];
} Measure;

/* As an update does: every element is read and written. */
static void update_lines(Measure *m) {
	for (int i = 0; i < MEASURED_LINES; i++)
		for (int k = 0; k < FLOATS; k++) m->line[i][k] = m->line[i][k] * 0.5f + 1;
}

static float read_lines(const Measure *m) {
	float sum = 0;
	for (int i = 0; i < MEASURED_LINES; i++) sum += m->line[i][0];
	return sum;
}

/* Worker 0 measures: a store to each line after the others have read it, once more now that the lines are its own, and barriers.
 */
static void measure_round(Measure *m, Frame *frame, int64_t tid, int round) {
	double start = seconds_now();
	if (tid == 0) {
		update_lines(m);
		double middle = seconds_now();
		update_lines(m);
		double end = seconds_now();
		m->shared[round] = middle - start, m->own[round] = end - middle;
	}
	frame->barrier(frame->context, tid);
	if (tid) m->sum[tid % WORKERS] = read_lines(m);
	frame->barrier(frame->context, tid);
	start = seconds_now();
	for (int i = 0; i < MEASURED_BARRIERS; i++) frame->barrier(frame->context, tid);
	if (tid) return;
	m->barrier[round] = seconds_now() - start;
	m->rounds = round + 1;
	m->over = seconds_now() > m->limit;
}

static void measure(Frame *frame, int64_t tid, int64_t workers) {
	(void)workers;
	Measure *m = (Measure *)(void *)frame->persistent;
	for (int round = 0; round < MEASURED_ROUNDS && !m->over; round++) {
		measure_round(m, frame, tid, round);
		frame->barrier(frame->context, tid);
	}
}

WorkerCosts measure_workers(Pool *pool) {
	enum { LEAST_ROUNDS = 8 };
	if (pool_size(pool) < 2) return (WorkerCosts){0};
	Measure *m = aligned_alloc(4096, sizeof *m);
	if (!m) fatal("out of memory");
	*m = (Measure){.limit = seconds_now() + 3e-3};
	Frame frame = {.persistent = (char *)m, .barrier = pool_barrier, .context = pool};
	pool_run(pool, measure, &frame, pool_size(pool));
	WorkerCosts costs = {0};
	if (m->rounds >= LEAST_ROUNDS)
		costs =
		    (WorkerCosts){.line = MAX(1, (median_of(m->shared, m->rounds) - median_of(m->own, m->rounds)) * 1e9 / MEASURED_LINES),
		                  .barrier = MAX(1, median_of(m->barrier, m->rounds) * 1e9 / MEASURED_BARRIERS)};
	free(m);
	return costs;
}
