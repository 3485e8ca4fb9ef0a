/* report.c: in: the moments of a training run; out: a progress line on a terminal, plain lines in a pipe, JSON lines
 * in the log.  What stands in the log does not depend on the speed of the machine, but for the seconds.
 *
 * The log stays short however long the run: some LOG_LINES lines of steps, each a mean since the line before; of the epochs the
 * first LOG_EPOCHS, then every tenth up to ten times as many, every hundredth up to a hundred times as many, and so on, and the
 * last one. */
#include "report.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINES = 1000, LOG_EPOCHS = 1000, PRINTED_EPOCHS = 40, BAR = 24 };

double now_seconds(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool open_log(Report *r, int i, const char *path) {
	r->log[i] = fopen(path, r->job->resume ? "a" : "w");
	r->log_path[i] = path;
	return r->log[i] || write_failed(r->job->diag, "write", path, errno);
}

bool report_open(Report *r, const TrainJob *job, int64_t batches, int64_t steps, const Progress *from) {
	int64_t accumulate = MAX(job->train->accumulate, 1), loops = steps * accumulate;
	*r = (Report){.job = job, .batches = batches, .steps = steps, .epochs = (loops + batches - 1) / batches,
	              .resumed = from->done, .interval = from->interval, .interval_loss = from->interval_loss};
	r->terminal = isatty(STDOUT_FILENO) == 1;
	r->print_every = r->epochs > PRINTED_EPOCHS ? r->epochs / (PRINTED_EPOCHS / 2) : 1;
	r->log_every = MAX(loops / LOG_LINES, 1);
	r->val_name = NEW_ARRAY(job->arena, const char *, job->train->nmetrics + 1);
	for (int i = 0; i < job->train->nmetrics; i++)
		r->val_name[i] = arena_printf(job->arena, "val_%s", job->train->metrics[i].name);
	r->loss_name = NEW_ARRAY(job->arena, const char *, job->train->nlosses + 1);
	for (int i = 0; i < job->train->nlosses; i++)
		r->loss_name[i] = arena_printf(job->arena, "val_loss_%s", job->train->losses[i].name);
	if (job->out && !open_log(r, 0, arena_printf(job->arena, "%s/log.jsonl", job->out))) return false;
	if (job->log && !open_log(r, 1, job->log)) {
		report_close(r);
		return false;
	}
	r->started = now_seconds();
	return true;
}

bool report_close(Report *r) {
	bool ok = true;
	for (int i = 0; i < 2; i++) {
		if (!r->log[i]) continue;
		bool lost = ferror(r->log[i]) != 0;
		if (fclose(r->log[i]) != 0 || lost)
			ok = write_failed(r->job->diag, "write", r->log_path[i], r->log_error ? r->log_error : errno);
		r->log[i] = NULL;
	}
	return ok;
}

static void log_line(Report *r, json_t *line, bool flush) {
	for (int i = 0; i < 2; i++) {
		if (!r->log[i]) continue;
		json_dumpf(line, r->log[i], JSON_COMPACT | JSON_REAL_PRECISION(9));
		fputc('\n', r->log[i]);
		if (flush && fflush(r->log[i]) != 0 && !r->log_error) r->log_error = errno;
	}
	json_decref(line);
}

static bool logging(const Report *r) { return r->log[0] || r->log[1]; }

/* JSON knows no nan and no inf. */
static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

void report_start(Report *r, const Moment *m, int64_t dropped) {
	const TrainJob *job = r->job;
	r->first = m->step;
	if (logging(r) && job->resume)
		log_line(r, json_pack("{s:s, s:I, s:I}", "event", "resume", "step", (json_int_t)m->step, "epoch", (json_int_t)m->epoch),
		         true);
	else if (logging(r))
		log_line(r, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:i}", "event", "start", "nnc", NNC_VERSION,
		                      "file", job->file ? job->file : "", "seed", (json_int_t)job->seed,
		                      "samples", (json_int_t)job->data.count, "batch", (json_int_t)job->train->batch,
		                      "steps", (json_int_t)r->steps, "epochs", (json_int_t)r->epochs,
		                      "threads", job->step->workers), true);
	if (job->quiet) return;
	Arena *arena = job->arena;
	printf("%s, %s of %lld in %s, %s\n", arena_count(arena, job->data.count, "sample"), arena_count(arena, r->steps, "step"),
	       (long long)(job->train->batch * MAX(job->train->accumulate, 1)), arena_count(arena, r->epochs, "epoch"),
	       arena_count(arena, job->step->workers, "thread"));
	if (dropped)
		printf("the last %s of each epoch's order %s no whole batch and %s left out\n", arena_count(arena, dropped, "sample"),
		       dropped == 1 ? "makes" : "make", dropped == 1 ? "is" : "are");
	if (job->resume) printf("resumed after step %lld\n", (long long)m->step);
	fflush(stdout);
}

void report_clear(Report *r) {
	if (r->shown) fputs("\r\033[K", stdout);
	r->shown = false;
	fflush(stdout);
}

/* The sign of a nan says nothing. */
static double plain(double value) { return isnan(value) ? fabs(value) : value; }

/* The loss, and what it is made of: `loss 1.5 (critic 1, artist 0.5)`. */
static void print_loss(const Report *r, const char *name, double loss, const double *losses, int digits) {
	const Train *t = r->job->train;
	printf("%s %.*g", name, digits, plain(loss));
	for (int i = 0; i < t->nlosses; i++) printf("%s%s %.*g", i ? ", " : " (", t->losses[i].name, digits, plain(losses[i]));
	if (t->nlosses) putchar(')');
}

static void log_losses(const Report *r, json_t *line, const double *losses, double divisor, bool validation) {
	for (int i = 0; i < r->job->train->nlosses; i++)
		json_object_set_new(line, r->loss_name[i] + (validation ? 0 : strlen("val_")), real(losses[i] / divisor));
}

static void print_rate(FILE *out, double rate) {
	if (rate >= 1e6) fprintf(out, "%.2fM samples/s", rate / 1e6);
	else if (rate >= 1e4) fprintf(out, "%.0fk samples/s", rate / 1e3);
	else fprintf(out, "%.4g samples/s", rate);
}

static double rate_now(const Report *r, const Moment *m, double now) {
	double seconds = MAX(now - r->started - r->spent, 1e-9);
	return (double)((m->epoch - 1) * r->batches + m->batch - r->resumed) * (double)r->job->train->batch / seconds;
}

static void draw(Report *r, const Moment *m, double now) {
	int filled = (int)(m->batch * BAR / r->batches);
	printf("\r\033[Kepoch %lld/%lld [", (long long)m->epoch, (long long)r->epochs);
	for (int i = 0; i < BAR; i++) putchar(i < filled ? '=' : i == filled ? '>' : ' ');
	double rate = rate_now(r, m, now), loops = (double)(r->steps * MAX(r->job->train->accumulate, 1));
	double left = loops - (double)((m->epoch - 1) * r->batches + m->batch);
	printf("] ");
	print_loss(r, "loss", m->loss, m->losses, 4);
	printf("  ");
	print_rate(stdout, rate);
	long long seconds = (long long)ceil(left * (double)r->job->train->batch / MAX(rate, 1e-9));
	if (seconds < 3600) printf("  %lld:%02lld left", seconds / 60, seconds % 60);
	else printf("  %lld:%02lld:%02lld left", seconds / 3600, seconds / 60 % 60, seconds % 60);
	fflush(stdout);
	r->shown = true;
	r->drawn = now;
}

void report_step(Report *r, const Moment *m, const double *loss) {
	int sums = loss_sums(r->job->train);
	for (int i = 0; i < sums; i++) r->interval_loss[i] += loss[i];
	r->interval++;
	if (r->interval >= r->log_every) {
		double n = (double)r->interval;
		if (logging(r)) {
			json_t *line = json_pack("{s:s, s:I, s:I, s:o}", "event", "step", "step", (json_int_t)m->step, "epoch",
			                         (json_int_t)m->epoch, "loss", real(r->interval_loss[0] / n));
			log_losses(r, line, r->interval_loss + 1, n, false);
			log_line(r, line, false);
		}
		r->interval = 0;
		memset(r->interval_loss, 0, sizeof *r->interval_loss * (size_t)sums);
	}
	if (!r->terminal || r->job->quiet) return;
	double now = now_seconds();
	if (now - r->drawn >= 0.1) draw(r, m, now);
}

static bool logs_epoch(const Report *r, int64_t epoch) {
	int64_t every = 1;
	while (epoch / every > LOG_EPOCHS) every *= 10;
	return epoch % every == 0 || epoch == r->epochs;
}

void report_epoch(Report *r, const Moment *m, const EvalResult *v, bool better, bool last) {
	const Train *train = r->job->train;
	double now = now_seconds();
	if (logging(r) && (last || logs_epoch(r, m->epoch))) {
		json_t *line = json_pack("{s:s, s:I, s:I, s:o, s:o}", "event", "epoch", "epoch", (json_int_t)m->epoch, "step",
		                         (json_int_t)m->step, "loss", real(m->loss), "seconds", real(now - r->started));
		log_losses(r, line, m->losses, 1, false);
		if (v && v->samples) {
			json_object_set_new(line, "val_loss", real(v->loss));
			log_losses(r, line, v->losses, 1, true);
			for (int i = 0; i < train->nmetrics; i++)
				json_object_set_new(line, r->val_name[i], real(v->metrics[i]));
		}
		if (train->watch.name) json_object_set_new(line, "better", json_boolean(better));
		log_line(r, line, true);
	}
	if (r->job->quiet || (m->epoch % r->print_every && m->epoch != r->epochs && !last)) return;
	report_clear(r);
	printf("epoch %lld/%lld  ", (long long)m->epoch, (long long)r->epochs);
	print_loss(r, "loss", m->loss, m->losses, 6);
	if (v && v->samples) {
		printf("  ");
		print_loss(r, "val_loss", v->loss, v->losses, 6);
		for (int i = 0; i < train->nmetrics; i++) printf("  val_%s %.6g", train->metrics[i].name, plain(v->metrics[i]));
	}
	printf("  ");
	print_rate(stdout, rate_now(r, m, now));
	putchar('\n');
	fflush(stdout);
}

static void log_end(Report *r, const Moment *m, const TrainResult *result, bool interrupted) {
	json_t *line = json_pack("{s:s, s:I, s:I, s:o, s:o, s:b}", "event", "end", "step", (json_int_t)m->step, "epoch",
	                         (json_int_t)m->epoch, "loss", real(result->loss), "seconds", real(result->seconds), "interrupted",
	                         interrupted);
	if (r->job->train->patience) json_object_set_new(line, "out_of_patience", json_boolean(result->impatient));
	if (result->best_epoch) {
		json_object_set_new(line, "best_epoch", json_integer(result->best_epoch));
		json_object_set_new(line, "best", real(result->best));
	}
	log_line(r, line, true);
}

void report_end(Report *r, const Moment *m, const TrainResult *result, const char *weights, bool interrupted) {
	const Train *train = r->job->train;
	if (logging(r)) log_end(r, m, result, interrupted);
	report_clear(r);
	if (r->job->quiet) return;
	if (result->impatient && !interrupted)
		printf("no better %s in %s: training ends\n", train->watch.name, arena_count(r->job->arena, train->patience, "epoch"));
	if (interrupted) printf("interrupted after step %lld\n", (long long)m->step);
	else if (r->job->resume)
		printf("%s, %lld in all, in %.3g s\n", arena_count(r->job->arena, m->step - r->first, "step"), (long long)m->step,
		       result->seconds);
	else printf("%s in %.3g s\n", arena_count(r->job->arena, m->step, "step"), result->seconds);
	if (result->best_epoch)
		printf("best: %s %.6g in epoch %lld\n", train->watch.name, result->best, (long long)result->best_epoch);
	if (weights && train->save_best)
		printf("weights: %s, of %s\n", weights, result->best_epoch ? "the best epoch" : "the last step: no epoch was best");
	else if (weights) printf("weights: %s\n", weights);
	fflush(stdout);
}
