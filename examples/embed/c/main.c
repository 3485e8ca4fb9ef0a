/* forecast STATE: forecasts each number that comes in, then learns from it.  Ends with its input, or at SIGINT and SIGTERM, and
 * keeps what it has learnt in the file STATE, where the next run goes on: with the very bits of a run that never ended.
 *
 *     make NNC=path/to/nnc && some_sensor | ./forecast signal.state
 *
 * in:  one number a line.  What is no number, or too large for one, is said and left out.
 * out: every thousand numbers, how far the forecasts were off; at the end, the next one.
 *
 * forecast.h, written beside the object, documents every function used here. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forecast.h"

enum { WINDOW = 8, PERIOD = 1000, LARGEST = 1000 };   /* LARGEST: what a broken sensor says would undo all learning */

/* What is kept is one struct without pointers, so its bytes are the file. */
typedef struct State {
	forecast_train model;      /* parameters, the optimiser's state, counters */
	float window[WINDOW];      /* the last values, the latest at the end */
	int64_t seen;
} State;

/* All the memory there is: nothing is allocated while the program runs. */
static State state;
static forecast_scratch scratch;

static volatile sig_atomic_t stop;
static void on_signal(int number) { (void)number, stop = 1; }

/* ---- keeping ---- */

/* Reads `path`; without such a file, begins: one that is there and cannot be read is not begun anew.  False after a message. */
static int resume(const char *path) {
	memset(&state, 0, sizeof state);
	FILE *in = fopen(path, "rb");
	if (!in && errno == ENOENT) return forecast_init(&state.model, 1) == forecast_OK;
	if (!in) return perror(path), 0;
	int whole = fread(&state, sizeof state, 1, in) == 1 && fgetc(in) == EOF;
	fclose(in);
	/* The block says whose it is: of another program, or of other layers, it is refused, not misread. */
	if (whole && forecast_check_train(&state.model) == forecast_OK) return 1;
	fprintf(stderr, "forecast: %s is no state of this program; remove it to begin anew\n", path);
	return 0;
}

/* The new file takes the place of the old one when it is whole: there is always one to go on from. */
static int save(const char *path) {
	char temporary[4096];
	int length = snprintf(temporary, sizeof temporary, "%s.new", path);
	FILE *out = length < (int)sizeof temporary ? fopen(temporary, "wb") : NULL;
	int done = out && fwrite(&state, sizeof state, 1, out) == 1;
	if (out && fclose(out)) done = 0;
	if (done && rename(temporary, path) == 0) return 1;
	perror(path);
	if (out) remove(temporary);
	return 0;
}

/* ---- learning ---- */

typedef struct Errors { double forecast, last; } Errors;   /* sums of absolute errors; last: of "nothing changes" */

/* A call that is refused has changed nothing; here that would be a mistake of the program's. */
static void check(int status) {
	if (status == forecast_OK) return;
	fprintf(stderr, "forecast: status %d\n", status);
	exit(3);
}

static void see(float value, Errors *errors) {
	float expected = 0;
	if (state.seen >= WINDOW) {
		check(forecast_next(&state.model.params, state.window, &expected, 1, &scratch));
		check(forecast_step(&state.model, state.window, &value, NULL, &scratch));
		errors->forecast += fabs((double)(value - expected));
		errors->last += fabs((double)(value - state.window[WINDOW - 1]));
	}
	memmove(state.window, state.window + 1, sizeof state.window - sizeof state.window[0]);
	state.window[WINDOW - 1] = value;
	state.seen++;
	if (state.seen % PERIOD) return;
	printf("%lld seen: off by %.4f; by %.4f if nothing changed\n", (long long)state.seen, errors->forecast / PERIOD,
	       errors->last / PERIOD);
	fflush(stdout);
	*errors = (Errors){0, 0};
}

int main(int argc, char **argv) {
	struct sigaction action;
	memset(&action, 0, sizeof action);
	action.sa_handler = on_signal;   /* no SA_RESTART: a read that waits ends */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);        /* who reads the output may go; what is learnt is kept all the same */
	if (argc != 2) {
		fprintf(stderr, "usage: forecast STATE < NUMBERS\n");
		return 2;
	}
	if (!resume(argv[1]) || !save(argv[1])) return 1;   /* where nothing can be kept, it says so at once */

	Errors errors = {0, 0};
	char line[256];
	while (!stop && fgets(line, sizeof line, stdin)) {
		char *end;
		float value = strtof(line, &end);
		if (end == line || !(fabsf(value) <= LARGEST)) fprintf(stderr, "forecast: left out: %s", line);
		else see(value, &errors);
	}

	if (state.seen >= WINDOW) {
		float next;
		check(forecast_next(&state.model.params, state.window, &next, 1, &scratch));
		printf("next: %.4f\n", (double)next);
	}
	return !save(argv[1]);
}
