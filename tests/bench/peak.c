/* peak.c: what this machine can do at most, one JSON line.
 *     cc -O3 -march=native -ffast-math -pthread peak.c -o peak -lm && ./peak THREADS
 * In: how many threads work at once, each on its own core and its own memory.  Out, all threads together:
 *     fma_gflops        fused multiply-adds on registers alone
 *     tile_gflops       the same in the inner loop of a matrix product, whose operands come from L1: the most that products reach
 *     copy_gbs          bytes read and written by a copy whose arrays lie in L2, in L3, in memory
 *     adam_ps           picoseconds of Adam's arithmetic for a parameter, arrays in L2 and in L3
 * A figure is the best of many passes, since a pass that something disturbed says nothing about the machine.
 * bound.py makes lower bounds of a training step from it. */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A tile of ROWS x COLUMNS vectors of sums fills the registers, two operands and a broadcast beside it. */
#if defined __AVX512F__
#define LANES 16
#define ROWS 14
#elif defined __AVX__
#define LANES 8
#define ROWS 6
#else
#define LANES 4
#define ROWS 6
#endif
#define COLUMNS 2
typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));

enum { MOST_THREADS = 64, ARRAYS = 4, SUMS = 12, TURNS = 20480, DEPTH = 128 };

typedef struct Worker {
	pthread_t thread;
	pthread_barrier_t *together;
	const struct Load *load;
	double seconds;              /* of the best pass */
	float *array[ARRAYS];
	float sink;
	int core;
} Worker;

/* One pass of work over `count` floats in each array. */
typedef struct Load {
	void (*pass)(Worker *w, long count);
	long count;
	int arrays;
	double time;                 /* seconds to go on for */
} Load;

static double seconds(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* More sums than latency times units, so that the units never wait. */
static void multiply_add(Worker *w, long turns) {
	Vector sum[SUMS], factor = w->sink + (Vector){0}, term = factor;
	for (int i = 0; i < SUMS; i++) {
		sum[i] = factor;
		__asm__ volatile("" : "+x"(sum[i]));   /* twelve sums, not one twelve times */
	}
	while (turns--) {
		__asm__ volatile("" : "+x"(factor), "+x"(term));
#pragma GCC unroll 12
		for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * factor + term;
	}
	for (int i = 0; i < SUMS; i++) __asm__ volatile("" ::"x"(sum[i]));   /* somebody wants them all */
}

/* Rank-one updates of a tile, DEPTH of them over and over: both operands lie in L1, as a blocked product has them. */
static void multiply_tile(Worker *w, long turns) {
	const float *a = w->array[0];
	const Vector *b = (const Vector *)w->array[1];
	for (long done = 0; done < turns; done += DEPTH) {
		Vector sum[ROWS][COLUMNS] = {0};
		__asm__ volatile("" : "+r"(a), "+r"(b)::"memory");
		for (int k = 0; k < DEPTH; k++)
#pragma GCC unroll 14
			for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 2
				for (int column = 0; column < COLUMNS; column++) sum[row][column] += b[k * COLUMNS + column] * a[k * ROWS + row];
#pragma GCC unroll 14
		for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 2
			for (int column = 0; column < COLUMNS; column++) __asm__ volatile("" ::"x"(sum[row][column]));
	}
}

static void copy(Worker *w, long count) {
	Vector *to = (Vector *)w->array[0], *from = (Vector *)w->array[1];
	__asm__ volatile("" : "+r"(to), "+r"(from)::"memory");
	for (long i = 0; i < count / LANES; i++) to[i] = from[i];
	__asm__ volatile("" ::: "memory");
}

static void adam(Worker *w, long count) {
	float *restrict weight = w->array[0], *restrict mean = w->array[1], *restrict square = w->array[2];
	const float *restrict slope = w->array[3];
	float rate = 1e-3f, unbias_mean = 1.25f, unbias_square = 1.5f;
	__asm__ volatile("" : "+x"(rate), "+x"(unbias_mean), "+x"(unbias_square)::"memory");
	for (long i = 0; i < count; i++) {
		mean[i] = 0.9f * mean[i] + 0.1f * slope[i];
		square[i] = 0.999f * square[i] + 0.001f * slope[i] * slope[i];
		weight[i] -= rate * (mean[i] * unbias_mean) / (sqrtf(square[i] * unbias_square) + 1e-8f);
	}
}

static void *work(void *argument) {
	Worker *w = argument;
	const Load *load = w->load;
	cpu_set_t core;
	CPU_ZERO(&core);
	CPU_SET(w->core, &core);
	sched_setaffinity(0, sizeof core, &core);
	size_t bytes = ((size_t)load->count * sizeof(float) + 8191) / 4096 * 4096;
	for (int a = 0; a < load->arrays; a++) {
		w->array[a] = aligned_alloc(4096, bytes);
		if (!w->array[a]) exit(3);
		w->array[a] += a * 5 * LANES;   /* not all in the same sets of a cache */
		for (long i = 0; i < load->count; i++) w->array[a][i] = 0.25f + 0.125f * (float)(i % 5);
	}
	w->sink = 0;
	w->seconds = INFINITY;
	load->pass(w, load->count);
	pthread_barrier_wait(w->together);
	double end = seconds() + load->time;
	long passes = 1;             /* as many as take half a millisecond: clocks are coarse */
	for (double now = seconds(); now < end;) {
		for (long i = 0; i < passes; i++) load->pass(w, load->count);
		double then = seconds(), each = (then - now) / (double)passes;
		if (each < w->seconds && then - now > 2e-4) w->seconds = each;
		if (then - now < 5e-4) passes *= 2;
		now = then;
	}
	pthread_barrier_wait(w->together);
	for (int a = 0; a < load->arrays; a++) free(w->array[a] - a * 5 * LANES);
	return NULL;
}

/* Floats a second in each array, of all threads. */
static double rate(int threads, Load load) {
	static Worker worker[MOST_THREADS];
	pthread_barrier_t together;
	pthread_barrier_init(&together, NULL, (unsigned)threads);
	for (int i = 0; i < threads; i++) {
		worker[i].together = &together, worker[i].load = &load, worker[i].core = i;
		if (pthread_create(&worker[i].thread, NULL, work, &worker[i])) exit(3);
	}
	double sum = 0;
	for (int i = 0; i < threads; i++) {
		pthread_join(worker[i].thread, NULL);
		sum += (double)load.count / worker[i].seconds;
	}
	pthread_barrier_destroy(&together);
	return sum;
}

int main(int count, char **argument) {
	int threads = count > 1 ? atoi(argument[1]) : 1;
	if (threads < 1 || threads > MOST_THREADS) return 2;
	/* bytes of all arrays of one thread: well inside L2, beyond L2 but inside a shared L3, far beyond all */
	enum { IN_L2 = 384 << 10, IN_L3 = 6 << 20, IN_MEMORY = 320 << 20 };
	double fma = rate(threads, (Load){multiply_add, TURNS, 0, 0.3}) * 2 * LANES * SUMS * 1e-9;
	double tile = rate(threads, (Load){multiply_tile, TURNS, 2, 0.3});
	tile *= 2 * LANES * ROWS * COLUMNS * 1e-9;
	double copied[3], update[2];
	static const long bytes[3] = {IN_L2, IN_L3, IN_MEMORY};
	for (int i = 0; i < 3; i++) copied[i] = rate(threads, (Load){copy, bytes[i] / 8 / 64 * 64, 2, i < 2 ? 0.15 : 0.5}) * 8e-9;
	for (int i = 0; i < 2; i++) update[i] = 1e12 / rate(threads, (Load){adam, bytes[i] / 16 / 64 * 64, 4, 0.15});
	printf("{\"threads\": %d, \"fma_gflops\": %.2f, \"tile_gflops\": %.2f, "
	       "\"copy_gbs\": {\"L2\": %.1f, \"L3\": %.1f, \"DRAM\": %.1f}, "
	       "\"adam_ps\": {\"L2\": %.1f, \"L3\": %.1f}}\n",
	       threads, fma, tile, copied[0], copied[1], copied[2], update[0], update[1]);
	return 0;
}
