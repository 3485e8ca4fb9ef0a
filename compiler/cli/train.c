/* train.c: nnc train: in: FILE.nn; out: a trained model in a folder, progress on stderr or stdout. */
#include <signal.h>
#include <stdio.h>

#include "start.h"

/* The samples to train on and to validate on; false after an error. */
static bool choose_samples(const Start *start, TrainJob *job) {
	const Train *t = start->train;
	bool split = t->validate < 0 && t->validate_fraction > 0;
	if (split && !any_held_out(job->diag, t, start->data->samples)) return false;
	job->data = samples_learnt(t, start->data, t->seed);
	if (split) job->validate = samples_split(start->data, t->validate_fraction, t->seed, true);
	else if (start->validate) job->validate = samples_all(start->validate);
	return true;
}

static int train_program(Session *s) {
	const Options *o = s->options;
	int number = session_train(s);
	if (number < 0) return -number;
	if (!session_use_cpu(s)) return EXIT_INPUT;
	Start start;
	int code = start_training(s, number, true, 0, &start);
	if (code != EXIT_DONE) return code;
	if (!session_vocabs(s)) code = EXIT_INPUT;
	else if (o->weights && !weights_load(s->diag, o->weights, s->program, &s->layout, start.block, true, NULL)) code = EXIT_INPUT;
	session_report(s);
	const char *folder =
	    code == EXIT_DONE ? run_folder(s->arena, s->diag, o->file, o->out) : NULL; /* now that nothing else is wrong */
	if (code == EXIT_DONE && !folder) code = session_report(s);
	if (code == EXIT_DONE) {
		EvalContext context = {s, number};
		TrainJob job = {.arena = s->arena,
		                .diag = s->diag,
		                .program = s->program,
		                .train = start.train,
		                .layout = &s->layout,
		                .pool = session_pool(s),
		                .persistent = start.block,
		                .step = start.step,
		                .compile = session_compile_eval,
		                .context = &context,
		                .seed = start.train->seed,
		                .file = o->file,
		                .out = folder,
		                .log = o->log,
		                .quiet = o->quiet,
		                .resume = o->resume,
		                .strict = o->strict};
		TrainResult result;
		code = choose_samples(&start, &job) ? train_run(&job, &result) : EXIT_INPUT;
		int reported = session_report(s);
		if (code == EXIT_DONE) code = reported;
	}
	start_free(&start);
	return code;
}

int command_train(const Options *options) {
	if (options->resume && options->weights) {
		fputs("nnc train: --resume goes on with the weights of the folder; --weights cannot be given too\n", stderr);
		return EXIT_USAGE;
	}
	signal(SIGPIPE, SIG_IGN); /* a reader that goes away does not end a training */
	return session_run(options, 0, train_program);
}
