/* eval.c: nnc eval: in: FILE.nn and weights; out: loss and metrics over every validation sample. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "cli.h"

/* JSON knows no nan and no inf. */
static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static void print_result(const Train *t, const DataSet *set, const EvalResult *r) {
	json_t *object = json_object();
	json_object_set_new(object, "data", json_string(set->name));
	json_object_set_new(object, "samples", json_integer(r->samples));
	json_object_set_new(object, "loss", real(r->loss));
	for (int i = 0; i < t->nlosses; i++) {
		Arena *arena = arena_new();
		json_object_set_new(object, arena_printf(arena, "loss_%s", t->losses[i].name), real(r->losses[i]));
		arena_free(arena);
	}
	for (int i = 0; i < t->nmetrics; i++) json_object_set_new(object, t->metrics[i].name, real(r->metrics[i]));
	json_dumpf(object, stdout, JSON_REAL_PRECISION(17));
	putchar('\n');
	json_decref(object);
}

int session_evaluate(Session *s, const Train *t, Samples samples, char *block, CompileEval compile, void *context,
                     EvalResult *result) {
	EvalJob job = {.train = t, .pool = session_pool(s), .persistent = block, .samples = samples, .seed = session_seed(s, t),
	               .compile = compile, .context = context};
	int code = evaluate(s->arena, &job, result);
	evaluate_close(&job);
	return code;
}

static int eval_program(Session *s) {
	int number = session_train(s);
	if (number < 0) return -number;
	const Train *t = &s->program->trains.data[number];
	int code;
	char *block = session_weights(s, &code);
	if (!block) return code;
	bool own = t->validate >= 0;
	const DataSet *set = &s->program->data.data[own ? t->validate : t->data];
	Data *data = data_load(s->arena, s->diag, s->files, set, data_wanted(s->arena, s->program, t, own));
	code = session_report(s);
	if (!data || code != EXIT_DONE) return EXIT_INPUT;
	bool split = !own && t->validate_fraction > 0;
	if (!own && !split)
		fprintf(stderr, "note: the train block names no validation data; these are figures on its training data, `%s`\n",
		        set->name);
	if (split && !any_held_out(s->diag, t, data->samples)) {
		data_free(data);
		block_free(block, s->layout.bytes);
		return session_report(s);
	}
	EvalContext context = {s, number};
	Samples samples = split ? samples_split(data, t->validate_fraction, session_seed(s, t), true) : samples_all(data);
	EvalResult result;
	code = session_evaluate(s, t, samples, block, session_compile_eval, &context, &result);
	int reported = session_report(s);
	if (code == EXIT_DONE && reported == EXIT_DONE && s->options->json) print_result(t, set, &result);
	else if (code == EXIT_DONE && reported == EXIT_DONE) {
		printf("%s: %s  loss %.6g", set->name, arena_count(s->arena, result.samples, "sample"), result.loss);
		for (int i = 0; i < t->nlosses; i++) printf("%s%s %.6g", i ? ", " : " (", t->losses[i].name, result.losses[i]);
		if (t->nlosses) putchar(')');
		for (int i = 0; i < t->nmetrics; i++) printf("  %s %.6g", t->metrics[i].name, result.metrics[i]);
		putchar('\n');
	}
	data_free(data);
	block_free(block, s->layout.bytes);
	return code != EXIT_DONE ? code : reported;
}

int command_eval(const Options *options) {
	Options own = *options;
	own.stepless = true;
	return session_run(&own, 0, eval_program);
}
