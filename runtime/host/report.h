/* report.h: what a training run tells: a line on the terminal, lines in a pipe, JSON lines in a file. */
#ifndef NNC_REPORT_H
#define NNC_REPORT_H

#include <stdio.h>

#include "checkpoint.h"

typedef struct Report {
	const TrainJob *job;
	FILE *log[2];                /* the run folder's and --log's */
	const char *log_path[2];
	int log_error;               /* errno of the first line that could not be written */
	bool terminal, shown;        /* a progress line stands on the terminal */
	int64_t batches, epochs;     /* steps of the loop per epoch; epochs in all */
	int64_t steps;               /* updates in all */
	int64_t first;               /* updates that were done before */
	int64_t resumed;             /* steps of the loop that were done before; 0: the run begins */
	double started, drawn;       /* seconds */
	double spent;                /* in validation, not training */
	int64_t print_every, log_every;
	const char **val_name;       /* by metric: its name in the log */
	double *interval_loss;       /* since the last line of the log: Progress's */
	const char **loss_name;      /* by loss of several: its name in the log */
	int64_t interval;
} Report;

/* loss: mean of the epoch so far; losses: of each of several. */
typedef struct Moment { int64_t step, epoch, batch; double loss, *losses; } Moment;

double now_seconds(void);
bool report_open(Report *report, const TrainJob *job, int64_t batches, int64_t steps, const Progress *from);
void report_start(Report *report, const Moment *moment, int64_t dropped);
/* Called after each step; cheap unless something is to be drawn or logged. */
void report_step(Report *report, const Moment *moment, const double *loss);
void report_epoch(Report *report, const Moment *moment, const EvalResult *validation, bool better, bool last);
void report_end(Report *report, const Moment *moment, const TrainResult *result, const char *weights, bool interrupted);
void report_clear(Report *report);    /* before anything else is written to the terminal */
/* False, said: a log could not be written. */
bool report_close(Report *report);

#endif
