/* bench.c: nnc bench: in: FILE.nn; out: how fast its training step runs, beside what the machine can do.
 *
 * A chunk is some milliseconds of steps back to back; between two chunks the peak loop runs once, so that what else
 * the machine does meanwhile hits both.  Figures are medians (and the best) over chunks: CHUNKS of them, or, where steps
 * are long, as many as fit in MEASURE_SECONDS, never fewer than CHUNKS_LEAST; --steps asks for all. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "measure.h"
#include "start.h"

enum { MADE_UP_SAMPLES = 8192, MADE_UP_BYTES = 64 << 20, CHUNKS = 40, CHUNKS_LEAST = 5, READY = 16 };
static const double CHUNK_SECONDS = 0.025, MEASURE_SECONDS = 4;

typedef struct Bench {
	Session *s;
	Start start;
	Samples samples;
	Runner *runner;
	Batch *batch;
	Shuffle order;
	char *ready[READY];          /* whole batches, as other systems are measured */
	size_t ready_bytes;
	int nready;
	int64_t step, batches;
	double first_step;           /* seconds from the start of the process */
	double first_memory;         /* bytes at most until then */
	double ready_median, ready_best, median, best, peak, peak_best;
	int64_t steps_timed;
	double flops;
} Bench;

static void count_step(Bench *b) {
	b->step++;
	runner_count(b->runner, INPUT_STEP, b->step);
}

/* As train does it: samples gathered in shuffled order. */
static void step_gathered(Bench *b) {
	int64_t at = b->step % b->batches;
	if (!at && b->start.train->shuffle)
		b->order = shuffle_make(b->samples.count, b->start.train->seed, (uint64_t)(b->step / b->batches + 1));
	count_step(b);
	batch_run(b->batch, b->runner, b->start.train->shuffle ? &b->order : NULL, at * b->batch->size);
}

/* On batches that lie ready. */
static void step_ready(Bench *b) {
	char *from = b->ready[b->step % b->nready];
	count_step(b);
	size_t at = 0;
	for (int i = 0; i < b->runner->nio; i++) {
		if (!b->runner->input[i] || b->runner->kind[i] != INPUT_DATA) continue;
		b->runner->frame.io[i] = from + at;
		at += (b->runner->bytes[i] + 127) / 64 * 64;
	}
	runner_run(b->runner);
}

static void make_ready(Bench *b) {
	Runner *r = b->runner;
	for (int i = 0; i < r->nio; i++)
		if (r->input[i] && r->kind[i] == INPUT_DATA) b->ready_bytes += (r->bytes[i] + 127) / 64 * 64;
	b->nready = (int)MIN((int64_t)READY, b->batches);
	for (int k = 0; k < b->nready; k++) {
		b->ready[k] = block_new(b->ready_bytes);
		batch_fill(b->batch, NULL, k * b->batch->size);
		size_t at = 0;
		for (int i = 0; i < r->nio; i++) {
			if (!r->input[i] || r->kind[i] != INPUT_DATA) continue;
			memcpy(b->ready[k] + at, r->frame.io[i], r->bytes[i]);
			at += (r->bytes[i] + 127) / 64 * 64;
		}
	}
}

/* Seconds of `steps` steps. */
static double time_steps(Bench *b, void (*step)(Bench *), int64_t steps) {
	double start = seconds_now();
	for (int64_t i = 0; i < steps; i++) step(b);
	b->steps_timed += steps;
	return seconds_now() - start;
}

/* Steps that make a chunk, after a warm-up. */
static int64_t chunk_steps(Bench *b, void (*step)(Bench *)) {
	int64_t steps = 1;
	for (;;) {
		double seconds = time_steps(b, step, steps);
		if (seconds >= CHUNK_SECONDS / 2) return MAX(1, (int64_t)((double)steps * CHUNK_SECONDS / seconds));
		steps *= 2;
	}
}

static double smallest(const double *values, int n) {
	double least = values[0];
	for (int i = 1; i < n; i++) least = MIN(least, values[i]);
	return least;
}

static void run_chunks(Bench *b, Peak *peak) {
	double ready[CHUNKS], gathered[CHUNKS], peaks[CHUNKS];
	Runner *r = b->runner;
	char **own = NEW_ARRAY(b->s->arena, char *, r->nio + 1);
	memcpy(own, r->frame.io, sizeof *own * (size_t)r->nio);
	int64_t a = b->s->options->steps ? MAX(1, b->s->options->steps / CHUNKS) : chunk_steps(b, step_gathered), c = a;
	if (!b->s->options->steps) c = chunk_steps(b, step_ready);
	b->steps_timed = 0;
	double until = b->s->options->steps ? INFINITY : seconds_now() + MEASURE_SECONDS;
	int n = 0;
	while (n < CHUNKS && (n < CHUNKS_LEAST || seconds_now() < until)) {
		ready[n] = time_steps(b, step_ready, c) / (double)c;
		memcpy(r->frame.io, own, sizeof *own * (size_t)r->nio);
		gathered[n] = time_steps(b, step_gathered, a) / (double)a;
		peaks[n++] = peak ? peak_gflops(peak) : NAN;
	}
	b->ready_best = smallest(ready, n);
	b->best = smallest(gathered, n);
	b->ready_median = median_of(ready, n);
	b->median = median_of(gathered, n);
	b->peak = median_of(peaks, n);
	b->peak_best = peaks[n - 1];                    /* sorted by now */
}

/* What training does until its first step is done. */
static int first_step(Bench *b, int number) {
	Session *s = b->s;
	const Train *t = &s->program->trains.data[number];
	size_t sample = 1;
	const DataSet *set = &s->program->data.data[t->data];
	for (int i = 0; i < set->nfields; i++)
		sample += (size_t)type_count(set->fields[i].type) * (size_t)dtype_info[set->fields[i].type.dtype].bytes;
	int64_t made_up = MAX(t->batch * 2, MIN((int64_t)MADE_UP_SAMPLES, (int64_t)((size_t)MADE_UP_BYTES / sample)));
	int code = start_training(s, number, false, made_up, &b->start);
	if (code != EXIT_DONE) return code;
	b->samples = samples_learnt(t, b->start.data, t->seed);
	b->batches = whole_batches(s->diag, t, b->samples.count);
	if (!b->batches) return session_report(s);
	b->runner = runner_new(b->start.step, session_pool(s), b->start.block);
	runner_seed(b->runner, t->seed);
	runner_count(b->runner, INPUT_EPOCH, 1);
	runner_settings(b->runner, t);
	b->batch = batch_new(s->arena, &b->samples, b->runner, t->batch);
	step_gathered(b);
	b->first_step = seconds_now() - s->options->started;
	b->first_memory = peak_memory();
	return EXIT_DONE;
}

static size_t scratch_bytes(const KernelProgram *kp) { return kp->scratch_bytes * (size_t)kp->workers; }

static int distinct_kernels(const KernelProgram *kp) { return kp ? kp->kernels.length : 0; }

static void print_json(const Bench *b) {
	const Session *s = b->s;
	const Executable *e = b->start.step;
	double gflops = b->flops / b->ready_median * 1e-9;
	json_t *j = json_object();
	json_object_set_new(j, "file", json_string(s->options->file));
	json_object_set_new(j, "batch", json_integer(b->start.train->batch));
	json_object_set_new(j, "threads", json_integer(s->workers));
	json_object_set_new(j, "workers", json_integer(e->workers));
	json_object_set_new(j, "median_us", json_real(b->ready_median * 1e6));
	json_object_set_new(j, "min_us", json_real(b->ready_best * 1e6));
	json_object_set_new(j, "gathered_median_us", json_real(b->median * 1e6));
	json_object_set_new(j, "gathered_min_us", json_real(b->best * 1e6));
	json_object_set_new(j, "steps_per_second", json_real(1 / b->ready_median));
	json_object_set_new(j, "steps_timed", json_integer(b->steps_timed));
	json_object_set_new(j, "mflop_per_step", json_real(b->flops * 1e-6));
	json_object_set_new(j, "gflops", json_real(gflops));
	if (isfinite(b->peak)) {
		json_object_set_new(j, "peak_gflops", json_real(b->peak));
		json_object_set_new(j, "peak_best_gflops", json_real(b->peak_best));
		json_object_set_new(j, "percent_of_peak", json_real(100 * gflops / b->peak));
	}
	if (s->costs.line > 0) json_object_set_new(j, "shared_line_ns", json_real(s->costs.line));
	if (s->costs.barrier > 0) json_object_set_new(j, "barrier_ns", json_real(s->costs.barrier));
	json_object_set_new(j, "first_step_s", json_real(b->first_step));
	json_object_set_new(j, "first_step_memory", json_integer((json_int_t)b->first_memory));
	json_object_set_new(j, "peak_memory", json_integer((json_int_t)peak_memory()));
	json_object_set_new(j, "arena_bytes", json_integer((json_int_t)e->arena_bytes));
	if (b->start.kernels) {
		json_object_set_new(j, "arena_live_bytes", json_integer((json_int_t)b->start.kernels->arena_bound));
		json_object_set_new(j, "arena_scratch_bytes", json_integer((json_int_t)scratch_bytes(b->start.kernels)));
	}
	json_object_set_new(j, "parameter_bytes", json_integer((json_int_t)s->layout.infer_bytes));
	json_object_set_new(j, "persistent_bytes", json_integer((json_int_t)s->layout.bytes));
	json_object_set_new(j, "code_bytes", json_integer((json_int_t)e->code_bytes));
	json_object_set_new(j, "kernels", json_integer(distinct_kernels(b->start.kernels)));
	json_object_set_new(j, "cached", json_boolean(b->start.cached));
	json_object_set_new(j, "made_up_data", json_boolean(b->start.made_up));
	json_dumpf(j, stdout, JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(j);
}

static void print_text(const Bench *b) {
	const Session *s = b->s;
	const Executable *e = b->start.step;
	double gflops = b->flops / b->ready_median * 1e-9;
	printf("%s: batch %lld, %s of %d, %s\n", s->options->file, (long long)b->start.train->batch,
	       arena_count(s->arena, e->workers, "thread"), s->workers,
	       arena_count(s->arena, distinct_kernels(b->start.kernels), "kernel"));
	printf("step            %10.2f us (best %.2f), %.6g steps/s, on batches that lie ready\n", b->ready_median * 1e6,
	       b->ready_best * 1e6, 1 / b->ready_median);
	printf("step of train   %10.2f us (best %.2f), samples gathered in shuffled order\n", b->median * 1e6, b->best * 1e6);
	printf("arithmetic      %10.2f GFLOP/s, %.4g MFLOP a step", gflops, b->flops * 1e-6);
	if (isfinite(b->peak)) printf("; %.1f %% of the FMA peak, %.1f GFLOP/s", 100 * gflops / b->peak, b->peak);
	printf("\nfirst step      %10.1f ms after the process started%s\n", b->first_step * 1e3,
	       b->start.cached ? " (object from the cache)" : "");
	printf("memory          %10.1f MiB at most, %.1f at the first step\n", peak_memory() / 1048576, b->first_memory / 1048576);
	printf("arena           %10zu bytes", e->arena_bytes);
	const KernelProgram *kp = b->start.kernels;
	if (kp)
		printf("; at least %zu are live at once, %zu are scratch of the workers", kp->arena_bound, scratch_bytes(kp));
	putchar('\n');
	printf("parameters      %10zu bytes; with optimiser state %zu\n", s->layout.infer_bytes, s->layout.bytes);
	printf("code            %10zu bytes\n", e->code_bytes);
}

static int bench_program(Session *s) {
	Bench *b = NEW(s->arena, Bench);
	b->s = s;
	int number = session_train(s);
	if (number < 0) return -number;
	if (!session_use_cpu(s)) return EXIT_INPUT;
	int code = first_step(b, number);
	if (code != EXIT_DONE) return code;
	b->flops = contract_flops(b->start.step->fn);
	Peak *peak = peak_new(s, s->workers);
	make_ready(b);
	run_chunks(b, peak);
	if (s->options->json) print_json(b);
	else print_text(b);
	peak_free(peak);
	for (int i = 0; i < b->nready; i++) block_free(b->ready[i], b->ready_bytes);
	runner_free(b->runner);
	start_free(&b->start);
	return EXIT_DONE;
}

int command_bench(const Options *options) {
	int code;
	Options own = *options;
	own.made_up = own.any_vocab = true;
	own.steps = 0;               /* how many are timed; the program's own count stays */
	Session *s = session_open(&own, 0, &code);
	if (!s) return code;
	own.steps = options->steps;
	code = bench_program(s);
	session_close(s);
	return code;
}
