/* evaluate.c: in: the evaluation of a train block, samples; out: mean loss and exact metrics over every sample.
 * Whole batches run on one Executable, the rest on one compiled for its size.  Totals are added in double.  Further runs of a
 * job allocate nothing that lasts.
 *
 * The loss of one batch is whatever the program says, a single f32: its last bit, some 6e-8 of it, is rounding that another batch
 * size rounds elsewhere, and so does the mean here.  Terms of single samples, which could be added in double, a program
 * need not have.  Counts among the metrics are exact for every batch size. */
#include "host.h"

#include <string.h>

static double element(Type type, const char *data, int64_t i) {
	return element_value(type.dtype, data + i * dtype_info[type.dtype].bytes);
}

/* Sums over the samples: of the loss, and of each output after it (its elements, in double). */
typedef struct Sums { int n; double loss, **total; Type *type; } Sums;

static Sums sums_make(Arena *arena, const Fn *fn) {
	Sums s = {.n = fn->outputs.length};
	s.total = NEW_ARRAY(arena, double *, s.n + 1);
	s.type = NEW_ARRAY(arena, Type, s.n + 1);
	for (int i = 0; i < s.n; i++) {
		s.type[i] = fn->outputs.data[i].val->type;
		s.total[i] = NEW_ARRAY(arena, double, type_count(s.type[i]));
	}
	return s;
}

/* Losses are means over the batch, the last ones too; totals are sums. */
static void sums_add(Sums *s, const Runner *r, int64_t samples, int nlosses) {
	int first = r->nio - s->n; /* nothing is updated, so all outputs are in io */
	s->loss += element(r->type[first], r->frame.io[first], 0) * (double)samples;
	for (int i = 1; i < s->n; i++)
		for (int64_t k = 0; k < type_count(s->type[i]); k++) {
			double x = element(r->type[first + i], r->frame.io[first + i], k);
			s->total[i][k] += i < s->n - nlosses ? x : x * (double)samples;
		}
}

static double metric_value(Arena *arena, const Metric *m, const Sums *s, int64_t samples, int64_t batch) {
	if (!m->finish) return s->total[m->first_total][0] / (m->elements * (double)samples / (double)batch);
	Tensor *inputs = NEW_ARRAY(arena, Tensor, m->ntotals + 1), output;
	for (int i = 0; i < m->ntotals; i++) {
		Type type = m->finish->inputs.data[i].type;
		const double *total = s->total[m->first_total + i];
		int64_t n = type_count(type);
		inputs[i] = (Tensor){type, arena_alloc(arena, (size_t)n * 8)};
		for (int64_t k = 0; k < n; k++)
			if (dtype_is_float(type.dtype)) ((double *)inputs[i].data)[k] = total[k];
			else ((int32_t *)inputs[i].data)[k] = (int32_t)total[k];
	}
	fn_eval(arena, m->finish, EVAL_F64, inputs, &output);
	return dtype_is_float(output.type.dtype) ? *(double *)output.data : (double)*(int32_t *)output.data;
}

static Runner *prepare(EvalJob *job, int64_t batch) {
	pool_pin_caller(job->pool, false);
	const Executable *exe = job->compile(job->context, batch);
	pool_pin_caller(job->pool, true);
	if (!exe) return NULL;
	Runner *r = runner_new(exe, job->pool, job->persistent);
	runner_seed(r, job->seed);
	runner_settings(r, job->train);
	runner_count(r, INPUT_STEP, 1);
	runner_count(r, INPUT_EPOCH, 1);
	return r;
}

int evaluate(Arena *arena, EvalJob *job, EvalResult *result) {
	int64_t size = job->train->batch, whole = job->samples.count / size, rest = job->samples.count % size;
	if (!job->metrics) job->metrics = NEW_ARRAY(arena, double, job->train->nmetrics + 1);
	memset(job->metrics, 0, sizeof *job->metrics * (size_t)job->train->nmetrics);
	if (!job->losses) job->losses = NEW_ARRAY(arena, double, job->train->nlosses + 1);
	memset(job->losses, 0, sizeof *job->losses * (size_t)job->train->nlosses);
	*result = (EvalResult){.samples = job->samples.count, .metrics = job->metrics, .losses = job->losses};
	if (!job->samples.count) return EXIT_DONE;
	if (whole && !job->runner) {
		if (!(job->runner = prepare(job, size))) return EXIT_INPUT;
		job->batch = batch_new(arena, &job->samples, job->runner, size);
	}
	if (rest && !job->rest) {
		if (!(job->rest = prepare(job, rest))) return EXIT_INPUT;
		job->rest_rows = batch_new(arena, &job->samples, job->rest, rest);
	}
	Arena *scratch = arena_new();
	Sums sums = sums_make(scratch, (whole ? job->runner : job->rest)->exe->fn);
	for (int64_t i = 0; i < whole; i++) {
		batch_run(job->batch, job->runner, NULL, i * size);
		sums_add(&sums, job->runner, size, job->train->nlosses);
	}
	if (rest) {
		batch_run(job->rest_rows, job->rest, NULL, whole * size);
		sums_add(&sums, job->rest, rest, job->train->nlosses);
	}
	result->loss = sums.loss / (double)job->samples.count;
	for (int k = 0; k < job->train->nlosses; k++)
		job->losses[k] = sums.total[sums.n - job->train->nlosses + k][0] / (double)job->samples.count;
	for (int m = 0; m < job->train->nmetrics; m++)
		job->metrics[m] = metric_value(scratch, &job->train->metrics[m], &sums, job->samples.count, size);
	arena_free(scratch);
	return EXIT_DONE;
}

void evaluate_close(EvalJob *job) {
	runner_free(job->runner);
	runner_free(job->rest);
	job->runner = job->rest = NULL;
}
