/* train.c: in: a compiled step, its data, an initialised persistent block; out: the trained block, weights and a log.
 * Guaranteed: the order of samples depends on seed and epoch alone; an interrupt ends the run after the step under way,
 * with everything saved, and a run that is resumed ends with the bits of one that was not interrupted; a loss that is not finite
 * is traced to the first value that is not. */
#include "checkpoint.h"
#include "report.h"

#include <math.h>
#include <signal.h>
#include <string.h>

/* A signal handler reaches nothing but static memory. */
static volatile sig_atomic_t interrupted;   /* the signal's number */

static void on_interrupt(int number) {
	interrupted = number;
}

/* Copied after each epoch, so that a step that went wrong can be run again up to just before it.  Models beyond the limit
 * would also take long to interpret. */
enum { SNAPSHOT_LIMIT = 24 << 20 };
static const double SAVE_SECONDS = 30;

typedef struct Loop {
	TrainJob *job;
	Runner *runner;
	Batch *batch;
	Report report;
	EvalJob eval;
	EvalResult validation;
	Shuffle order;
	Moment at;
	Progress now;
	int64_t accumulate, batches, loops;   /* loops: steps of the executable in all */
	char *best;                           /* parameters and states of the best epoch; NULL: not kept */
	int loss_io, step_io, epoch_io;
	double *step_loss;                    /* of the last step: as the sums */
	char *snapshot;
	int64_t snapshot_done;
	bool warned;
	double saved;
	const char *weights;
} Loop;

static void set_count(const Loop *l, int io, int64_t value) {
	int32_t count = (int32_t)MIN(value, INT32_MAX);
	if (io >= 0) memcpy(l->runner->frame.io[io], &count, sizeof count);
}

/* Sets everything the step of number `done` reads but the batch. */
static void prepare_step(Loop *l, int64_t done) {
	int64_t epoch = done / l->batches + 1, batch = done % l->batches;
	if (batch == 0 || epoch != l->at.epoch) {
		l->at.epoch = epoch;
		if (l->job->train->shuffle) l->order = shuffle_make(l->job->data.count, l->job->seed, (uint64_t)epoch);
	}
	l->at.batch = batch;
	set_count(l, l->step_io, done / l->accumulate + 1);
	set_count(l, l->epoch_io, epoch);
}

static void run_step(Loop *l, int64_t done) {
	prepare_step(l, done);
	batch_run(l->batch, l->runner, l->job->train->shuffle ? &l->order : NULL, l->at.batch * l->job->train->batch);
}

/* The loss of the step, and each of several, which stand after it. */
static double read_loss(const Loop *l, int number) {
	float loss;
	memcpy(&loss, l->runner->frame.io[l->loss_io + number], sizeof loss);
	return loss;
}

static void take_snapshot(Loop *l) {
	if (l->job->layout->bytes > SNAPSHOT_LIMIT || l->warned) return;
	if (!l->snapshot) l->snapshot = block_new(l->job->layout->bytes);
	memcpy(l->snapshot, l->job->persistent, l->job->layout->bytes);
	l->snapshot_done = l->now.done;
}

static void print_now(const TrainJob *job, Diag *diag) {
	diag->sources.data = job->diag->sources.data;
	diag->sources.length = job->diag->sources.length;
	diag_print(diag, stderr, false);
}

/* The step before the present one gave a loss that is nan or inf.  Training is deterministic: from the last snapshot
 * everything is run again to just before it, and that step is interpreted value by value. */
static void explain_nonfinite(Loop *l, double loss) {
	TrainJob *job = l->job;
	Diag *diag = job->strict ? job->diag : diag_new(job->arena);
	report_clear(&l->report);
	if (job->strict) diag_error(diag, job->train->span, "the loss is %s at step %lld (epoch %lld)", isnan(loss) ? "nan" : "inf",
		                        (long long)l->at.step, (long long)l->at.epoch);
	else diag_warning(diag, job->train->span, "the loss is %s at step %lld (epoch %lld)", isnan(loss) ? "nan" : "inf",
		              (long long)l->at.step, (long long)l->at.epoch);
	if (l->snapshot) {
		Moment at = l->at;
		char *live = l->runner->frame.persistent;
		l->runner->frame.persistent = l->snapshot;
		for (int64_t d = l->snapshot_done; d < l->now.done - 1; d++) run_step(l, d);
		prepare_step(l, l->now.done - 1);
		batch_fill(l->batch, l->job->train->shuffle ? &l->order : NULL, l->at.batch * l->job->train->batch);
		note_nonfinite(diag, l->runner, job->program, job->layout, isnan(loss));
		l->runner->frame.persistent = live;
		l->at = at;
	}
	diag_help(diag, "a smaller learning rate, `clip`, or a look at the data may help");
	if (!job->strict) print_now(job, diag);
	l->warned = true;
}

/* The weights first: what they are of is in the checkpoint too, or comes again when the run goes on from an older one. */
static bool save(Loop *l) {
	TrainJob *job = l->job;
	if (!job->out) return true;
	if (!l->weights) l->weights = arena_printf(job->arena, "%s/weights.safetensors", job->out);
	WeightsInfo info = {.seed = job->seed, .step = l->at.step, .epoch = l->at.epoch, .has_seed = true};
	const char *block = job->persistent;
	if (l->best && l->now.best_epoch) {
		block = l->best;
		info.step = l->now.best_step;
		info.epoch = l->now.best_epoch;
	}
	l->saved = now_seconds();
	l->now.interval = l->report.interval;
	return weights_save(job->diag, l->weights, job->program, job->layout, block, info, false) &&
	       checkpoint_save(job, &l->now, l->best);
}

/* Whether the epoch is better than those before it; nan is not. */
static bool note_validation(Loop *l) {
	const Watch *watch = &l->job->train->watch;
	if (!watch->name || !l->validation.samples) return false;
	const EvalResult *v = &l->validation;
	double value = watch->metric >= 0 ? v->metrics[watch->metric] : watch->loss ? v->losses[watch->loss - 1] : v->loss;
	bool better = !isnan(value) && (!l->now.best_epoch || (watch->rising ? value > l->now.best : value < l->now.best));
	l->now.worse++;
	if (!better) return false;
	l->now.best = value;
	l->now.best_epoch = l->at.epoch;
	l->now.best_step = l->at.step;
	l->now.worse = 0;
	if (l->best) memcpy(l->best, l->job->persistent, l->job->layout->infer_bytes);
	return true;
}

static bool out_of_patience(const Loop *l) { return l->job->train->patience && l->now.worse >= l->job->train->patience; }

/* The end of an epoch, or of the run within one. */
static int end_epoch(Loop *l) {
	double start = now_seconds();
	int status = evaluate(l->job->arena, &l->eval, &l->validation);
	l->report.spent += now_seconds() - start;
	if (status != EXIT_DONE) return status;
	bool better = note_validation(l);
	report_epoch(&l->report, &l->at, &l->validation, better, out_of_patience(l));
	if (now_seconds() - l->saved >= SAVE_SECONDS && !save(l)) return EXIT_RUN;
	take_snapshot(l);
	return EXIT_DONE;
}

/* What the steps so far come to. */
static void note_moment(Loop *l) {
	l->at.step = (l->now.done + l->accumulate - 1) / l->accumulate;
	l->at.loss = l->now.sum[0] / (double)l->at.batch;
	for (int i = 0; i < l->job->train->nlosses; i++) l->at.losses[i] = l->now.sum[i + 1] / (double)l->at.batch;
}

static int run_loop(Loop *l) {
	take_snapshot(l);
	while (l->now.done < l->loops && !interrupted && !out_of_patience(l)) {
		run_step(l, l->now.done);
		double loss = read_loss(l, 0);
		int sums = loss_sums(l->job->train);
		if (!l->at.batch++) memset(l->now.sum, 0, sizeof *l->now.sum * (size_t)sums);
		l->now.done++;
		for (int i = 0; i < sums; i++) l->now.sum[i] += l->step_loss[i] = read_loss(l, i);
		note_moment(l);
		if (!isfinite(loss) && !l->warned) {
			explain_nonfinite(l, loss);
			if (l->job->strict) return EXIT_RUN;
		}
		report_step(&l->report, &l->at, l->step_loss);
		if (l->at.batch == l->batches || l->now.done == l->loops) {
			int status = end_epoch(l);
			if (status != EXIT_DONE) return status;
		}
	}
	return interrupted ? EXIT_INTERRUPTED + interrupted : EXIT_DONE;
}

int64_t whole_batches(Diag *diag, const Train *train, int64_t samples) {
	if (samples < train->batch)
		diag_error(diag, train->span, "the data has %s, fewer than one batch of %lld",
		           arena_count(diag->arena, samples, "sample"), (long long)train->batch);
	return samples / train->batch;
}

static void make_runner(Loop *l) {
	TrainJob *job = l->job;
	const Train *t = job->train;
	l->runner = runner_new(job->step, job->pool, job->persistent);
	l->loss_io = runner_output(l->runner, "loss");
	if (l->loss_io < 0) die("the step has no output 'loss'");
	l->step_io = runner_input_kind(l->runner, INPUT_STEP);
	l->epoch_io = runner_input_kind(l->runner, INPUT_EPOCH);
	runner_seed(l->runner, job->seed);
	runner_settings(l->runner, t);
	l->batch = batch_new(job->arena, &job->data, l->runner, t->batch);
	l->eval = (EvalJob){.train = t, .pool = job->pool, .persistent = job->persistent,
	                    .samples = job->validate, .seed = job->seed, .compile = job->compile, .context = job->context};
}

/* Where the training in the folder had come to. */
static bool resume(Loop *l) {
	if (!l->job->resume) return true;
	if (!checkpoint_load(l->job, &l->now, l->best)) return false;
	if (!l->now.done) return true;
	l->at.epoch = (l->now.done - 1) / l->batches + 1;
	l->at.batch = (l->now.done - 1) % l->batches + 1;
	if (l->job->train->shuffle) l->order = shuffle_make(l->job->data.count, l->job->seed, (uint64_t)l->at.epoch);
	note_moment(l);
	return true;
}

static bool set_up(Loop *l, TrainJob *job) {
	const Train *t = job->train;
	*l = (Loop){.job = job, .accumulate = MAX(t->accumulate, 1), .batches = whole_batches(job->diag, t, job->data.count),
	            .saved = now_seconds()};
	if (!l->batches) return false;
	int64_t steps = t->steps > 0 ? t->steps : MAX(t->epochs, 1) * l->batches / l->accumulate;
	l->loops = steps * l->accumulate;
	if (!steps) {
		diag_error(job->diag, t->span, "the data has %s, fewer than the %lld of one step",
		           arena_count(job->diag->arena, l->batches, "batch"), (long long)l->accumulate);
		return false;
	}
	l->now.sum = NEW_ARRAY(job->arena, double, loss_sums(t));
	l->now.interval_loss = NEW_ARRAY(job->arena, double, loss_sums(t));
	l->step_loss = NEW_ARRAY(job->arena, double, loss_sums(t));
	l->at.losses = NEW_ARRAY(job->arena, double, loss_sums(t));
	if (t->save_best) l->best = block_new(job->layout->infer_bytes);
	if (!resume(l)) return false;
	make_runner(l);
	return report_open(&l->report, job, l->batches, steps, &l->now);
}

static void tear_down(Loop *l, int lock) {
	TrainJob *job = l->job;
	evaluate_close(&l->eval);
	runner_free(l->runner);
	block_free(l->snapshot, l->snapshot ? job->layout->bytes : 0);
	block_free(l->best, l->best ? job->layout->infer_bytes : 0);
	run_unlock(lock);
}

int train_run(TrainJob *job, TrainResult *result) {
	Loop loop, *l = &loop;
	*result = (TrainResult){0};
	int lock = job->out ? run_lock(job->diag, job->out) : RUN_UNLOCKED;
	if (lock == RUN_BUSY) return EXIT_INPUT;
	if (!set_up(l, job)) {
		tear_down(l, lock);
		return diag_exit_code(job->diag);
	}
	struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND}, before, before_end;
	interrupted = 0;
	sigaction(SIGINT, &action, &before);
	sigaction(SIGTERM, &action, &before_end);   /* what ends a job when its time is up */
	report_start(&l->report, &l->at, job->data.count % job->train->batch);
	int status = run_loop(l);
	if ((status == EXIT_DONE || status > EXIT_INTERRUPTED) && !save(l)) status = EXIT_RUN;
	*result = (TrainResult){.steps = l->at.step, .epochs = l->at.epoch, .loss = l->at.loss, .validation = l->validation,
	                        .best = l->now.best, .best_epoch = l->now.best_epoch, .impatient = out_of_patience(l),
	                        .seconds = now_seconds() - l->report.started};
	if (status == EXIT_DONE || status > EXIT_INTERRUPTED)
		report_end(&l->report, &l->at, result, l->weights, status > EXIT_INTERRUPTED);
	sigaction(SIGINT, &before, NULL);
	sigaction(SIGTERM, &before_end, NULL);
	if (!report_close(&l->report) && status == EXIT_DONE) status = EXIT_RUN;
	tear_down(l, lock);
	return status;
}
