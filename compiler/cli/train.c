/* train.c: nnc train: in: FILE.nn; out: a trained model in a folder, progress on stderr or stdout. */
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"

/* The samples to train on and to validate on. */
static bool choose_samples(Session *s, const Train *t, Data *data, Data *validate, uint64_t seed, TrainJob *job) {
	(void)s;
	if (t->validate >= 0) {
		job->data = samples_all(data);
		job->validate = samples_all(validate);
	} else if (t->validate_fraction > 0) {
		job->data = samples_split(data, t->validate_fraction, seed, false);
		job->validate = samples_split(data, t->validate_fraction, seed, true);
	} else {
		job->data = samples_all(data);
	}
	return true;
}

static int train_program(Session *s) {
	const Options *o = s->options;
	int number = session_train(s);
	if (number < 0) return EXIT_INPUT;
	const Train *t = &s->program->trains.data[number];
	const char *folder = run_folder(s->arena, s->diag, o->file, o->out);
	if (!folder) return session_report(s);
	/* files are read on other threads while this one compiles */
	DataLoad *load = data_start(s->arena, s->diag, s->files, &s->program->data.data[t->data], data_wanted(s->arena, s->program, t, false));
	DataLoad *check = NULL;
	if (t->validate >= 0)
		check = data_start(s->arena, s->diag, s->files, &s->program->data.data[t->validate], data_wanted(s->arena, s->program, t, true));
	const Executable *step = session_compile(s, program_step(s->program, number));
	char *block = step ? session_block(s, t->seed) : NULL;
	Data *data = data_finish(load, s->diag), *validate = check ? data_finish(check, s->diag) : NULL;
	int code = session_report(s);
	if (code != EXIT_DONE || !block || !data || (check && !validate)) return code != EXIT_DONE ? code : EXIT_INPUT;
	if (o->weights && !weights_load(s->diag, o->weights, s->program, &s->layout, block, true, NULL)) return session_report(s);
	session_report(s);
	EvalContext context = {s, number};
	TrainJob job = {.arena = s->arena, .diag = s->diag, .program = s->program, .train = t, .layout = &s->layout, .pool = session_pool(s),
	                .persistent = block, .step = step, .compile = session_compile_eval, .context = &context, .seed = t->seed,
	                .file = o->file, .out = folder, .log = o->log, .quiet = o->quiet, .strict = o->strict};
	choose_samples(s, t, data, validate, t->seed, &job);
	TrainResult result;
	code = train_run(&job, &result);
	int reported = session_report(s);
	data_free(data);
	if (validate) data_free(validate);
	block_free(block, s->layout.bytes);
	return code != EXIT_DONE ? code : reported;
}

int command_train(const Options *options) {
	int code;
	Session *s = session_open(options, 0, &code);
	if (!s) return code;
	code = train_program(s);
	session_close(s);
	return code;
}
