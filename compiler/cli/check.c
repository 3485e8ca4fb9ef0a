/* check.c: nnc check: in: FILE.nn; out: whether its derivatives and its compiled code are right.
 *
 * Derivatives: at a point near the initial parameters the derivative program, in f64, against difference quotients of
 * the loss along directions through each parameter.  The loss there is the Fn of before simplification, so that two
 * programs are compared and not one with itself.
 * Compiled code: step, evaluation and each model, against the f32 interpreter, bit for bit. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

/* Half a GiB in double precision, and seconds for each parameter: what the interpreter may be given. */
enum { CHECK_BATCH = 4, MOST_NUMBERS = 1 << 26 };
enum { TRY_FEWER = -1 };   /* no exit code: a smaller batch would do */

static char *field_batch(Arena *arena, const Data *data, int f, int64_t batch) {
	size_t bytes = data->sample_bytes[f];
	char *dense = arena_alloc(arena, bytes * (size_t)batch);
	for (int64_t i = 0; i < batch; i++)
		memcpy(dense + bytes * (size_t)i, data->field[f] + bytes * (size_t)(i % data->samples), bytes);
	return dense;
}

/* One batch of the training data; of made-up numbers where files are absent. */
static bool read_batch(Check *c) {
	Session *s = c->s;
	const DataSet *set = &s->program->data.data[c->train->data];
	bool *wanted = data_wanted(s->arena, s->program, c->train, false);
	Diag *diag = diag_new(s->arena);
	diag->sources.data = s->diag->sources.data;
	diag->sources.length = s->diag->sources.length;
	Data *data = data_load(s->arena, diag, s->files, set, wanted);
	c->made_up = !data;
	if (!data) data = made_up_data(s->arena, set, wanted, c->train->batch, c->train->seed);
	c->fields = NEW_ARRAY(s->arena, char *, set->nfields + 1);
	c->set = set;
	for (int f = 0; f < set->nfields; f++)
		if (data->field[f]) c->fields[f] = field_batch(s->arena, data, f, c->train->batch);
	data_free(data);
	return true;
}

const char *check_field(const Check *c, const char *name) {
	for (int f = 0; f < c->set->nfields; f++)
		if (strcmp(c->set->fields[f].name, name) == 0) return c->fields[f];
	return NULL;
}

/* JSON knows no nan and no inf. */
static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static void print_json(const Check *c, bool ok) {
	json_t *root = json_object(), *parameters = json_array(), *code = json_array();
	for (int i = 0; i < c->nderivatives; i++) {
		const Derivative *d = &c->derivatives[i];
		json_array_append_new(parameters, json_pack("{s:s, s:o, s:o, s:o, s:o, s:b, s:b}", "path", d->path, "derivative",
		                                            real(d->derivative), "quotient", real(d->quotient), "error", real(d->error),
		                                            "tolerance", real(d->tolerance), "kink", d->kink, "ok", d->ok));
	}
	for (int i = 0; i < c->ncompared; i++)
		json_array_append_new(code, json_pack("{s:s, s:b}", "fn", c->compared[i].name, "ok", c->compared[i].ok));
	json_object_set_new(root, "ok", json_boolean(ok));
	json_object_set_new(root, "batch", json_integer(c->train->batch));
	json_object_set_new(root, "made_up_data", json_boolean(c->made_up));
	json_object_set_new(root, "parameters", parameters);
	json_object_set_new(root, "compiled", code);
	json_dumpf(root, stdout, JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(root);
}

static void print_derivatives(const Check *c) {
	printf("derivatives in f64 against difference quotients, %s%s\n", arena_count(c->s->arena, c->train->batch, "sample"),
	       c->made_up ? " (made up: the data's files are absent)" : "");
	for (int i = 0; i < c->nderivatives; i++) {
		const Derivative *d = &c->derivatives[i];
		printf("  %-4s %-32s %-14s %13.6g   error %.1e, at most %.1e%s\n", d->ok ? "ok" : "BAD", d->path,
		       type_text(c->s->arena, d->type), d->derivative, d->error, d->tolerance,
		       d->kink                                                     ? "   (a kink nearby: smaller steps)"
		       : d->derivative != 0 && fabs(d->derivative) <= d->tolerance ? "   (too small to tell)"
		                                                                   : "");
	}
	if (!c->nderivatives) printf("  there are no parameters\n");
}

static void print_compared(const Check *c) {
	printf("compiled code against the f32 interpreter, bit for bit\n");
	for (int i = 0; i < c->ncompared; i++) {
		const Compared *r = &c->compared[i];
		printf("  %-4s %s: %lld numbers%s%s\n", r->ok ? "ok" : "BAD", r->name, (long long)r->numbers, r->ok ? "" : "; ",
		       r->ok ? "" : r->difference);
	}
}

/* May the derivatives be interpreted?  EXIT_DONE; TRY_FEWER where fewer samples are worth a try; an exit code after a message. */
static int bound_numbers(Check *c, bool may_shrink) {
	Session *s = c->s;
	double numbers = 0;
	for (int i = 0; i < c->gradients->vals.length; i++) numbers += (double)type_count(c->gradients->vals.data[i]->type);
	if (numbers <= MOST_NUMBERS) return EXIT_DONE;
	if (may_shrink) return TRY_FEWER;
	diag_error(s->diag, c->train->span,
	           "loss and derivatives of %s are %.0f million numbers; a check interprets %d million at most",
	           arena_count(s->arena, c->train->batch, "sample"), numbers * 1e-6, MOST_NUMBERS / 1000000);
	diag_help(s->diag, "what is right in small sizes is right in large ones: check with %ssmaller sizes",
	          c->train->batch > 1 ? "--batch 1 or " : "");
	return session_report(s);
}

static int check_program(Session *s, bool may_shrink) {
	int number = session_train(s);
	if (number < 0) return -number;
	if (!session_use_cpu(s)) return EXIT_INPUT;
	Check *c = NEW(s->arena, Check);
	*c = (Check){.s = s, .number = number, .train = &s->program->trains.data[number]};
	Fn *loss = program_loss(s->program, number, c->train->batch, true);
	if (!loss) return session_report(s);
	c->gradients = run_passes(loss, 0, pass_count);
	int code = bound_numbers(c, may_shrink);
	if (code != EXIT_DONE) return code;
	if (!read_batch(c)) return session_report(s);
	c->block = session_block(s, c->train->seed);
	if (!c->block) return EXIT_INPUT;
	bool json = s->options->json;
	if (!check_derivatives(c)) code = session_report(s);
	if (code == EXIT_DONE && !json) print_derivatives(c);
	if (code == EXIT_DONE && !check_compiled(c)) code = session_report(s);
	if (code == EXIT_DONE && !json) print_compared(c);
	block_free(c->block, s->layout.bytes);
	if (code != EXIT_DONE) return code;
	bool derivatives = true, compiled = true, finite = true;
	for (int i = 0; i < c->nderivatives; i++) derivatives &= c->derivatives[i].ok, finite &= c->derivatives[i].finite;
	for (int i = 0; i < c->ncompared; i++) compiled &= c->compared[i].ok;
	if (json) print_json(c, derivatives && compiled);
	const char *help = !finite
	                       ? "a derivative is nan or infinite where the loss is not: look for sqrt, log, pow or a division at 0"
	                   : !derivatives ? "a `vjp` that is not the derivative of its function, on purpose or not, shows here"
	                                  : NULL;
	if (help) fprintf(stderr, "help: %s\n", help);
	if (!compiled)
		fputs("nnc: the compiled code is wrong: this is a bug in nnc; please report it with the file that shows it\n", stderr);
	return derivatives && compiled ? EXIT_DONE : EXIT_INPUT;
}

int command_check(const Options *options) {
	Options own = *options;
	own.made_up = own.any_vocab = true;
	for (int64_t batch = CHECK_BATCH;; batch /= 2) {
		int code;
		Session *s = session_open(&own, batch, &code);
		if (!s) return code;
		code = check_program(s, batch > 1 && !options->batch);
		session_close(s);
		if (code != TRY_FEWER) return code;
	}
}
