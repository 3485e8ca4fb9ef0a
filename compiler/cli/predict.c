/* predict.c: nnc predict: in: FILE.nn, weights, one array per argument of a model; out: one array per result. */
#include <stdio.h>
#include <string.h>

#include "inputs.h"

enum { PREDICT_BATCH = 256 };

/* The model of --model, or the only one; -1 after a message. */
static int choose_model(Session *s, int *code) {
	const Program *p = s->program;
	const char *wanted = s->options->model;
	*code = wanted ? EXIT_INPUT : EXIT_USAGE;
	const char **names = NEW_ARRAY(s->arena, const char *, p->models.length + 1);
	for (int i = 0; i < p->models.length; i++) {
		names[i] = p->models.data[i].name;
		if (wanted ? strcmp(names[i], wanted) == 0 : p->models.length == 1) return i;
	}
	if (!p->models.length) {
		fprintf(stderr, "nnc: %s has no model\n", s->options->file);
		*code = EXIT_INPUT;
		return -1;
	}
	const char *near = wanted ? nearest_name(wanted, names, p->models.length) : NULL;
	if (wanted) fprintf(stderr, "nnc predict: no model is called '%s'", wanted);
	else fprintf(stderr, "nnc predict: which model?");
	if (near) fprintf(stderr, "; did you mean '%s'?", near);
	fprintf(stderr, "\nhelp: --model is one of");
	for (int i = 0; i < p->models.length; i++) fprintf(stderr, "%s %s", i ? "," : "", names[i]);
	fputc('\n', stderr);
	return -1;
}

typedef struct Answer { Wanted shape; Type type; char *data; } Answer;
typedef struct Prediction {
	Session *s;
	int model;
	WantedList inputs;
	Answer *results; int nresults;
	int64_t batch;                    /* what the arrays come to */
	bool sliced;                      /* every batched dim is the first: can be done piece by piece */
	char *block;
} Prediction;

static bool first_axis_only(const Wanted *w, bool *batched) {
	for (int i = 0; i < w->one.rank; i++) {
		if (dim_slope(w, i)) *batched = true;
		if (dim_slope(w, i) && (i || w->one.dim[0] != dim_slope(w, 0))) return false;
	}
	return true;
}

static void shape_results(Prediction *r, const Fn *one, const Fn *two) {
	bool batched = false;
	r->sliced = true;
	r->nresults = one->outputs.length;
	r->results = NEW_ARRAY(r->s->arena, Answer, r->nresults + 1);
	for (int i = 0; i < r->inputs.length; i++) r->sliced &= first_axis_only(&r->inputs.data[i], &batched);
	for (int i = 0; i < r->nresults; i++) {
		Wanted *w = &r->results[i].shape;
		*w = (Wanted){
		    .name = one->outputs.data[i].name, .one = one->outputs.data[i].val->type, .two = two->outputs.data[i].val->type};
		bool own = false;
		r->sliced &= first_axis_only(w, &own) && own;
	}
	r->sliced &= batched;
}

static size_t bytes_of(Type t) { return (size_t)type_count(t) * (size_t)dtype_info[t.dtype].bytes; }

/* A tensor's bytes for samples first .. +n of all: for batched tensors a slice, for others the whole. */
static char *slice_at(const Wanted *w, char *data, Type whole, int64_t batch, int64_t first) {
	return dim_slope(w, 0) ? data + bytes_of(whole) / (size_t)batch * (size_t)first : data;
}

static bool run_piece(Prediction *r, const Executable *exe, int64_t first, int64_t end, int64_t size) {
	Runner *runner = runner_new(exe, session_pool(r->s), r->block);
	runner_seed(runner, 0);
	for (int64_t at = first; at + size <= end; at += size) {
		for (int i = 0; i < r->inputs.length; i++) {
			const Wanted *w = &r->inputs.data[i];
			int io = runner_input(runner, w->name);
			if (io >= 0)
				memcpy(runner->frame.io[io],
				       r->sliced ? slice_at(w, w->array->data, w->array->type, r->batch, at) : w->array->data, runner->bytes[io]);
		}
		runner_run(runner);
		for (int i = 0; i < r->nresults; i++) {
			Answer *y = &r->results[i];
			int io = runner_output(runner, y->shape.name);
			memcpy(r->sliced ? slice_at(&y->shape, y->data, y->type, r->batch, at) : y->data, runner->frame.io[io],
			       runner->bytes[io]);
		}
	}
	runner_free(runner);
	return true;
}

static bool run_all(Prediction *r) {
	Session *s = r->s;
	for (int i = 0; i < r->nresults; i++) {
		Answer *y = &r->results[i];
		y->type = y->shape.one;
		for (int d = 0; d < y->type.rank; d++) y->type.dim[d] += (r->batch - 1) * dim_slope(&y->shape, d);
		y->data = arena_alloc(s->arena, bytes_of(y->type));
	}
	int64_t size = r->sliced ? MIN(r->batch, s->options->batch ? s->options->batch : PREDICT_BATCH) : r->batch;
	int64_t whole = r->batch / size * size, rest = r->batch - whole;
	const Executable *exe = session_compile(s, program_infer(s->program, r->model, size));
	if (!exe || !run_piece(r, exe, 0, whole, size)) return false;
	if (!rest) return true;
	exe = session_compile(s, program_infer(s->program, r->model, rest));
	return exe && run_piece(r, exe, whole, r->batch, rest);
}

/* y.npy; with several results y.NAME.npy. */
static const char *output_path(const Prediction *r, const Answer *y) {
	const char *out = r->s->options->output;
	size_t length = strlen(out);
	if (r->nresults == 1) return out;
	if (length > 4 && strcmp(out + length - 4, ".npy") == 0) length -= 4;
	return arena_printf(r->s->arena, "%.*s.%s.npy", (int)length, out, y->shape.name);
}

static int write_results(Prediction *r) {
	Session *s = r->s;
	for (int i = 0; i < r->nresults; i++) {
		Answer *y = &r->results[i];
		const char *path = output_path(r, y);
		if (!array_write(s->diag, path, y->type, y->data)) return session_report(s);
		if (r->nresults > 1) printf("%s: %s\n", path, type_text(s->arena, y->type));
	}
	return EXIT_DONE;
}

static bool reads_weights(const Fn *f) {
	bool reads = false;
	for (int i = 0; i < f->inputs.length; i++)
		reads |= f->inputs.data[i].kind == INPUT_PARAM || f->inputs.data[i].kind == INPUT_STATE;
	return reads;
}

static int predict_program(Session *s) {
	int code;
	Prediction r = {.s = s, .model = choose_model(s, &code)};
	if (r.model < 0) return code;
	Fn *one = program_infer(s->program, r.model, 1), *two = program_infer(s->program, r.model, 2);
	if (!one || !two) return session_report(s);
	r.inputs = wanted_inputs(s->arena, one, two);
	shape_results(&r, one, two);
	if (s->options->quantize && !session_quantize(s, false)) {
		quantized_close(s->quantized);
		session_report(s);
		return EXIT_INPUT;
	}
	if (!inputs_read(s, &r.inputs, false) || !inputs_batch(s, &r.inputs, &r.batch)) return session_report(s);
	r.block = reads_weights(one) ? session_weights(s, &code) : block_new(s->layout.bytes);
	if (!r.block) return code;
	bool ok = run_all(&r);
	code = session_report(s);
	block_free(r.block, s->layout.bytes);
	quantized_close(s->quantized);
	return ok && code == EXIT_DONE ? write_results(&r) : EXIT_INPUT;
}

int command_predict(const Options *options) {
	if (!options->output) {
		fprintf(stderr, "nnc predict: where to?\nhelp: add --output y.npy\n");
		return EXIT_USAGE;
	}
	if (!quantize_options("predict", options)) return EXIT_USAGE;
	Options own = *options;
	own.made_up = own.stepless = true;
	return session_run(&own, 0, predict_program);
}
