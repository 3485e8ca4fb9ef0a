/* grad.c: nnc grad: in: FILE.nn; out: its derivative as .nn text, or, given weights and a batch, the numbers. */
#include <stdio.h>
#include <string.h>

#include "inputs.h"

static int print_derivative(Session *s, int train) {
	const Train *t = &s->program->trains.data[train];
	Fn *f = program_loss(s->program, train, t->batch, true);
	if (!f) return session_report(s);
	Text text = {.arena = s->arena};
	text_add(&text, "# The loss of %s", s->options->file);
	if (t->name) text_add(&text, " (train %s)", t->name);
	text_add(&text, " and its derivative by every parameter, for a batch of %lld.\n", (long long)t->batch);
	fn_print_nn(&text, run_passes(f, 0, pass_count));
	fputs(text.data, stdout);
	return EXIT_DONE;
}

/* What the numbers are made of. */
typedef struct Numbers {
	Session *s;
	const Train *train;
	const Fn *fn;                /* after all passes */
	WantedList inputs;
	char *block;
	uint64_t seed;
	TensorEntry *gradients; int ngradients;
	double *loss; int nlosses;   /* the loss, and each of several */
} Numbers;

static void add_gradient(Numbers *n, const char *output, Type type, const void *dense) {
	size_t bytes = (size_t)type_count(type) * (size_t)dtype_info[type.dtype].bytes;
	n->gradients[n->ngradients++] =
	    (TensorEntry){.name = output + strlen("grad/"), .type = type, .data = arena_copy(n->s->arena, dense, bytes)};
}

static bool is_gradient(const char *output) { return strncmp(output, "grad/", 5) == 0; }

static bool run_compiled(Numbers *n, Fn *raw) {
	Session *s = n->s;
	const Executable *exe = session_compile(s, raw);
	if (!exe) return false;
	Runner *r = runner_new(exe, session_pool(s), n->block);
	runner_seed(r, n->seed);
	runner_count(r, INPUT_STEP, 1);
	runner_count(r, INPUT_EPOCH, 1);
	runner_settings(r, n->train);
	for (int i = 0; i < n->inputs.length; i++) {
		int io = runner_input(r, n->inputs.data[i].name);
		if (io >= 0) memcpy(r->frame.io[io], n->inputs.data[i].array->data, r->bytes[io]);
	}
	runner_run(r);
	for (int i = 0; i < r->nio; i++) {
		if (r->input[i]) continue;
		if (is_gradient(r->name[i])) add_gradient(n, r->name[i], r->type[i], r->frame.io[i]);
		else n->loss[n->nlosses++] = element_value(r->type[i].dtype, r->frame.io[i]);
	}
	runner_free(r);
	return true;
}

static void run_doubles(Numbers *n) {
	Session *s = n->s;
	const Fn *f = n->fn;
	Tensor *inputs = NEW_ARRAY(s->arena, Tensor, f->inputs.length + 1),
	       *outputs = NEW_ARRAY(s->arena, Tensor, f->outputs.length + 1);
	Situation now = {.step = 1, .epoch = 1, .seed = n->seed, .train = n->train, .block = n->block};
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		inputs[i] = wide_input(s, in, &now);
		for (int k = 0; k < n->inputs.length && in->kind == INPUT_DATA; k++)
			if (strcmp(n->inputs.data[k].name, in->name) == 0)
				inputs[i] =
				    (Tensor){in->type, wide_tensor(s->arena, n->inputs.data[k].array->type, n->inputs.data[k].array->data).data};
	}
	fn_eval(s->arena, f, EVAL_F64, inputs, outputs);
	for (int i = 0; i < f->outputs.length; i++) {
		const Output *out = &f->outputs.data[i];
		Type type = out->val->type;
		type.dtype = DTYPE_F64;
		if (is_gradient(out->name)) add_gradient(n, out->name, type, outputs[i].data);
		else n->loss[n->nlosses++] = *(double *)outputs[i].data;
	}
}

static int compute(Session *s, int train) {
	const Options *o = s->options;
	Numbers n = {.s = s, .train = &s->program->trains.data[train]};
	Fn *one = program_loss(s->program, train, 1, false), *two = program_loss(s->program, train, 2, false);
	if (!one || !two) return session_report(s);
	n.inputs = wanted_inputs(s->arena, one, two);
	int64_t batch;
	if (!inputs_read(s, &n.inputs, o->f64) || !inputs_batch(s, &n.inputs, &batch)) return session_report(s);
	int code;
	n.block = session_weights(s, &code);
	if (!n.block) return code;
	n.seed = n.train->seed;
	Fn *f = program_loss(s->program, train, batch, true);
	n.gradients = NEW_ARRAY(s->arena, TensorEntry, f ? f->outputs.length + 1 : 1);
	n.loss = NEW_ARRAY(s->arena, double, n.train->nlosses + 1);
	bool ok = f != NULL;
	if (ok && o->f64) {
		n.fn = run_passes(f, 0, pass_count);
		run_doubles(&n);
	} else if (ok) {
		ok = run_compiled(&n, f);
	}
	code = session_report(s);
	block_free(n.block, s->layout.bytes);
	if (!ok || code != EXIT_DONE) return EXIT_INPUT;
	MetaEntry meta[] = {{"nnc", NNC_VERSION}, {"loss", arena_printf(s->arena, "%.17g", n.loss[0])}};
	if (o->output && !tensors_write(s->diag, o->output, n.gradients, n.ngradients, meta, COUNT(meta))) return session_report(s);
	for (int i = n.nlosses > 1; i < n.nlosses; i++) {
		if (n.nlosses > 1) printf("%s ", n.train->losses[i - 1].name);
		printf(o->f64 ? "%.17g\n" : "%.9g\n", n.loss[i]);
	}
	return EXIT_DONE;
}

int command_grad(const Options *options) {
	bool numbers = options->weights || options->ninputs || options->output || options->f64;
	int code;
	Options own = *options;
	own.made_up = true;
	Session *s = session_open(&own, 0, &code);
	if (!s) return code;
	int train = session_train(s);
	code = train < 0 ? -train : numbers ? compute(s, train) : print_derivative(s, train);
	session_close(s);
	return code;
}
