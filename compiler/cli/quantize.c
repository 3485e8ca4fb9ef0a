/* quantize.c: --quantize int8: in: a program, its weights, its data; out: what its models and parameters come to with
 * products in integers of 8 bits, and what that costs in accuracy.
 *
 * Ranges of activations are those of CALIBRATION samples of the training data, drawn by the train block's seed, in the evaluation
 * of each train block.  The figures are those of `nnc eval`, twice: of the program as it is, and of the quantised one.
 * Guarantees: the same program, weights and data give the same bytes, on every machine. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

enum { CALIBRATION = 512 };

static int passes_before(void) { return pass_index("precision") - 1; }

static Fn *quantized_fn(Quantized *q, Fn *raw) {
	Fn *f = quantize_products(&q->pass, run_passes(raw, 0, passes_before()));
	fn_verify(f, "quantize");
	return run_passes(f, passes_before(), pass_count);
}

Fn *session_passes(const Session *s, Fn *raw) {
	return s->quantized ? quantized_fn(s->quantized, raw) : run_passes(raw, 0, pass_count);
}

/* ---- tensors ---- */

static size_t dense_size(Type t) { return (size_t)type_count(t) * (size_t)dtype_info[t.dtype].bytes; }

/* The parameter that a quantised tensor is made of; any other is its own. */
static const char *origin_of(const Quantized *q, const char *name) {
	for (int i = 0; i < q->pass.tensors.length; i++) {
		const QuantTensor *t = &q->pass.tensors.data[i];
		if (!strcmp(t->weights, name) || !strcmp(t->scales, name)) return t->parameter;
	}
	return name;
}

/* The program with the tensors that `fns` read: of its own, and of those quantised. */
static Program *program_of(const Quantized *q, Fn *const *fns, int nfns) {
	Arena *arena = q->original->arena;
	Program *p = NEW(arena, Program);
	*p = *q->original;
	memset(&p->persistent, 0, sizeof p->persistent);
	for (int i = 0; i < nfns; i++)
		for (int k = 0; k < fns[i]->inputs.length; k++) {
			const Input *in = &fns[i]->inputs.data[k];
			if (in->kind != INPUT_PARAM && in->kind != INPUT_STATE) continue;
			if (program_find(p, in->name, 0) >= 0) continue;
			int from = program_find(q->original, origin_of(q, in->name), 0);
			Span span = from < 0 ? (Span){0} : q->original->persistent.data[from].span;
			vec_push(arena, &p->persistent, ((Persistent){in->name, in->kind, in->type, -1, span}));
		}
	return p;
}

/* An original tensor, dense, in its own dtype. */
static void *original_tensor(const Quantized *q, int number) {
	void *dense = arena_alloc(q->pass.arena, dense_size(q->original->persistent.data[number].type));
	layout_store(q->original_layout, q->original, number, q->original_block, dense);
	return dense;
}

/* What the interpreter has as i32, as it is stored. */
static const void *as_stored(Arena *arena, Tensor t) {
	if (dtype_info[t.type.dtype].bytes == 4) return t.data;
	int64_t n = type_count(t.type);
	char *bytes = arena_alloc(arena, (size_t)n);
	for (int64_t i = 0; i < n; i++) bytes[i] = (char)((const int32_t *)t.data)[i];
	return bytes;
}

/* Makes w8 and scales, and fills in those that the program has; how many. */
static int fill_made(const Quantized *q, const QuantTensor *t, const Program *p, const Layout *layout, char *block) {
	Arena *arena = q->pass.arena;
	int at[2] = {program_find(p, t->weights, 0), program_find(p, t->scales, 0)}, filled = 0;
	if (at[0] < 0 && at[1] < 0) return 0;
	Tensor *inputs = NEW_ARRAY(arena, Tensor, t->make->inputs.length + 1), results[2];
	for (int i = 0; i < t->make->inputs.length; i++) {
		const Input *in = &t->make->inputs.data[i];
		inputs[i] = (Tensor){in->type, original_tensor(q, program_find(q->original, in->name, 0))};
	}
	fn_eval(arena, t->make, EVAL_F32, inputs, results);
	for (int k = 0; k < 2; k++)
		if (at[k] >= 0) layout_load(layout, p, at[k], block, as_stored(arena, results[k])), filled++;
	return filled;
}

void quantized_block(const Quantized *q, const Program *p, const Layout *layout, char *block) {
	int filled = 0;
	for (int i = 0; i < p->persistent.length; i++) {
		int from = program_find(q->original, p->persistent.data[i].path, i);
		if (from >= 0) layout_load(layout, p, i, block, original_tensor(q, from)), filled++;
	}
	for (int i = 0; i < q->pass.tensors.length; i++) filled += fill_made(q, &q->pass.tensors.data[i], p, layout, block);
	if (filled != p->persistent.length) die("quantize: %d of %d tensors made", filled, p->persistent.length);
}

/* ---- ranges ---- */

/* A train block, its data, the samples that it learns from and those that its figures are of. */
typedef struct Sets { const Train *train; int number; Data *data, *validate; Samples learnt, samples; } Sets;

/* A range becomes the smallest that holds what samples have shown as well. */
static bool widen_range(Session *s, Quantize *q, const char *parameter, float low, float high) {
	if (!isfinite(low) || !isfinite(high)) {
		diag_error(s->diag, (Span){0}, "what '%s' is multiplied by is not finite on the training data", parameter);
		return false;
	}
	for (int i = 0; i < q->ranges.length; i++) {
		Range *r = &q->ranges.data[i];
		if (strcmp(r->parameter, parameter) != 0) continue;
		r->low = MIN(r->low, low), r->high = MAX(r->high, high);
		return true;
	}
	vec_push(s->arena, &q->ranges, ((Range){parameter, low, high}));
	return true;
}

static bool read_ranges(Session *s, Quantize *q, const Runner *r) {
	bool ok = true;
	for (int i = 0; i + 1 < r->nio; i++) {
		if (r->input[i] || strncmp(r->name[i], "low ", 4) != 0) continue;
		ok = ok && widen_range(s, q, r->name[i] + 4, *(const float *)r->frame.io[i], *(const float *)r->frame.io[i + 1]);
	}
	return ok;
}

/* Samples `first` to `end`, shuffled, in batches. */
static bool observe(Session *s, Quantized *q, const Sets *sets, int64_t batch, int64_t first, int64_t end) {
	Fn *raw = program_eval(q->original, sets->number, batch);
	Fn *f = raw ? quantize_observe(run_passes(raw, 0, passes_before())) : NULL;
	if (!f) return !s->diag->errors;
	Compiled c = session_compile_with(s, run_passes(f, passes_before(), pass_count), q->original, q->original_layout);
	if (!c.executable.entry) return false;
	Runner *r = runner_new(&c.executable, session_pool(s), q->original_block);
	runner_seed(r, sets->train->seed);
	runner_settings(r, sets->train);
	runner_count(r, INPUT_STEP, 1);
	runner_count(r, INPUT_EPOCH, 1);
	Shuffle order = shuffle_make(sets->learnt.count, sets->train->seed, 0);
	Batch *rows = batch_new(s->arena, &sets->learnt, r, batch);
	bool ok = true;
	for (int64_t at = first; ok && at < end; at += batch) {
		batch_run(rows, r, &order, at);
		ok = read_ranges(s, &q->pass, r);
	}
	runner_free(r);
	compiled_free(&c);
	return ok;
}

/* The same samples whatever the batch is, so that --batch changes no bits. */
static bool calibrate(Session *s, Quantized *q, const Sets *sets) {
	int64_t count = MIN(CALIBRATION, sets->learnt.count), batch = MIN(sets->train->batch, count), whole = count - count % batch;
	return observe(s, q, sets, batch, 0, whole) && (whole == count || observe(s, q, sets, count - whole, whole, count));
}

/* ---- figures ---- */

typedef struct Evaluation { Session *s; Quantized *q; int train; const Program *program; const Layout *layout; } Evaluation;

static const Executable *compile_quantized(void *context, int64_t batch) {
	Evaluation *e = context;
	Compiled *c = NEW(e->s->arena, Compiled);
	Fn *raw = program_eval(e->q->original, e->train, batch);
	if (!raw) return NULL;
	*c = session_compile_with(e->s, quantized_fn(e->q, raw), e->program, e->layout);
	return c->executable.entry ? &c->executable : NULL;
}

/* The figures of a train block as it is, and quantised. */
static bool compare(Session *s, Quantized *q, const Sets *sets) {
	const Train *t = sets->train;
	EvalResult before, after;
	EvalContext as_it_is = {s, sets->number};
	int code = session_evaluate(s, t, sets->samples, q->original_block, session_compile_eval, &as_it_is, &before);
	if (code != EXIT_DONE) return false;
	Fn *raw = program_eval(q->original, sets->number, MAX(1, MIN(t->batch, sets->samples.count)));
	if (!raw) return false;
	Fn *f = quantized_fn(q, raw);
	Program *p = program_of(q, &f, 1);
	Layout layout = layout_program(s->arena, p);
	char *block = block_new(layout.bytes);
	quantized_block(q, p, &layout, block);
	Evaluation quantised = {s, q, sets->number, p, &layout};
	code = session_evaluate(s, t, sets->samples, block, compile_quantized, &quantised, &after);
	block_free(block, layout.bytes);
	if (code != EXIT_DONE) return false;
	const char *of = t->name ? arena_printf(s->arena, "%s ", t->name) : "", *data = sets->samples.data->set->name;
	Figure loss = {arena_printf(s->arena, "%sloss", of), data, before.samples, before.loss, after.loss};
	vec_push(s->arena, &q->figures, loss);
	for (int i = 0; i < t->nmetrics; i++) {
		const char *name = arena_printf(s->arena, "%s%s", of, t->metrics[i].name);
		vec_push(s->arena, &q->figures, ((Figure){name, data, before.samples, before.metrics[i], after.metrics[i]}));
	}
	return true;
}

/* ---- data ---- */

static Data *load(Session *s, const Train *t, bool validate) {
	const Program *p = s->program;
	const DataSet *set = &p->data.data[validate ? t->validate : t->data];
	Data *data = data_load(s->arena, s->diag, s->files, set, data_wanted(s->arena, p, t, validate));
	if (!data) diag_note(s->diag, t->span, "--quantize looks at this data: for the ranges of activations, and what they cost");
	return data;
}

static bool load_sets(Session *s, Sets *sets, bool figures) {
	const Train *t = sets->train;
	bool own = t->validate >= 0;
	uint64_t seed = session_seed(s, t);
	if (!(sets->data = load(s, t, false))) return false;
	bool split = !own && t->validate_fraction > 0;
	if (split && figures && !any_held_out(s->diag, t, sets->data->samples)) return false;
	sets->learnt = samples_learnt(t, sets->data, seed);
	sets->samples = split ? samples_split(sets->data, t->validate_fraction, seed, true) : samples_all(sets->data);
	if (!own || !figures) return true;
	if (!(sets->validate = load(s, t, true))) return false;
	sets->samples = samples_all(sets->validate);
	return true;
}

static void free_sets(Sets *sets) {
	if (sets->data) data_free(sets->data);
	if (sets->validate) data_free(sets->validate);
}

/* ---- the models ---- */

static size_t parameter_bytes(const Program *p) {
	size_t bytes = 0;
	for (int i = 0; i < p->persistent.length; i++) bytes += dense_size(p->persistent.data[i].type);
	return bytes;
}

/* Quantises every model, so that all their tensors are known: the program of these, or NULL after reporting. */
static Program *quantise_models(Session *s, Quantized *q) {
	Program *p = q->original;
	int n = 0, nmodels = p->models.length;
	Fn **fns = NEW_ARRAY(s->arena, Fn *, 2 * nmodels + 1), **before = NEW_ARRAY(s->arena, Fn *, nmodels + 1);
	for (int i = 0; i < nmodels; i++)
		for (int batch = 1; batch <= 2; batch++) {   /* one sample may be another Fn than several */
			Fn *raw = program_infer(p, i, batch);
			if (!raw) return NULL;
			if (batch == 1) before[i] = quantize_prune(run_passes(raw, 0, passes_before()));
			fns[n++] = quantized_fn(q, raw);
			if (batch > 1) q->products += q->pass.products, q->left += q->pass.left;
			if (!q->pass.unseen) continue;
			diag_error(s->diag, p->models.data[i].span,
			           "no train block computes the product with '%s', so that its range is not known", q->pass.unseen);
			diag_help(s->diag, "use the model in a train block: its data says what activations are like");
			return NULL;
		}
	if (q->products == q->left) {
		diag_error(s->diag, p->models.data[0].span, "there is no product with parameters to quantise");
		if (q->left) diag_note(s->diag, (Span){0}, "those within a scan stay f32, and those with sums too long for i32");
		return NULL;
	}
	q->before = parameter_bytes(program_of(q, before, nmodels));
	Program *left = program_of(q, fns, n);
	q->weights = parameter_bytes(left);
	return left;
}

static Program *quantise(Session *s, Quantized *q, bool figures) {
	int ntrains = q->original->trains.length;
	Sets *sets = NEW_ARRAY(s->arena, Sets, ntrains + 1);
	bool ok = true;
	for (int i = 0; ok && i < ntrains; i++) {
		sets[i] = (Sets){.train = &q->original->trains.data[i], .number = i};
		ok = load_sets(s, &sets[i], figures) && calibrate(s, q, &sets[i]);
	}
	Program *left = ok ? quantise_models(s, q) : NULL;
	for (int i = 0; left && figures && i < ntrains; i++)
		if (!compare(s, q, &sets[i])) left = NULL;
	for (int i = 0; i < ntrains; i++) free_sets(&sets[i]);
	return left;
}

bool quantize_options(const char *command, const Options *o) {
	if (!o->quantize) return true;
	if (strcmp(o->quantize, "int8") != 0) fprintf(stderr, "nnc %s: --quantize is int8, not '%s'\n", command, o->quantize);
	else if (!o->weights)
		fprintf(stderr, "nnc %s: --quantize wants weights to quantise\n"
		                "help: add --weights FILE.run/weights.safetensors, as nnc train writes them\n", command);
	else if (o->entry && strcmp(o->entry, "infer") != 0)
		fprintf(stderr, "nnc %s: --quantize is for inference, and --entry asks for '%s'\n", command, o->entry);
	else return true;
	return false;
}

/* No byte stands for a nan, and an infinite scale leaves none of the others. */
static bool weights_are_finite(Session *s, const Quantized *q) {
	for (int i = 0; i < q->original->persistent.length; i++) {
		const Persistent *p = &q->original->persistent.data[i];
		if (p->kind == INPUT_SLOT) continue;
		const char *dense = original_tensor(q, i);
		int bytes = dtype_info[p->type.dtype].bytes;
		for (int64_t k = 0; k < type_count(p->type); k++) {
			if (isfinite(element_value(p->type.dtype, dense + k * bytes))) continue;
			diag_error(s->diag, (Span){0}, "'%s': '%s' has a number that is not finite, and --quantize needs a range",
			           s->options->weights, p->path);
			return false;
		}
	}
	return true;
}

bool session_quantize(Session *s, bool figures) {
	Program *p = s->program;
	if (!p->models.length) return true;   /* somebody else says so */
	if (!p->trains.length) {
		diag_error(s->diag, p->models.data[0].span, "--quantize needs data, and the file has no train block");
		diag_help(s->diag, "a train block says which data the model is for");
		return false;
	}
	int code;
	Quantized *q = NEW(s->arena, Quantized);
	Layout *layout = NEW(s->arena, Layout);
	*layout = s->layout;
	*q = (Quantized){.pass = {.arena = s->arena}, .original = p, .original_layout = layout};
	if (!(q->original_block = session_weights(s, &code))) return false;
	Program *left = weights_are_finite(s, q) ? quantise(s, q, figures) : NULL;
	s->quantized = q;
	if (!left) return false;
	s->program = left;
	s->layout = layout_program(s->arena, left);
	return true;
}

void quantized_close(Quantized *q) {
	if (!q) return;
	block_free(q->original_block, q->original_layout->bytes);
	q->original_block = NULL;
}

void print_quantized(const Quantized *q) {
	printf("int8        %d of %d products with parameters; %.1f %% of the bytes that parameters have in f32\n",
	       q->products - q->left, q->products, 100.0 * (double)q->weights / (double)q->before);
	for (int i = 0; i < q->figures.length; i++) {
		const Figure *f = &q->figures.data[i];
		printf("            %s of %lld samples of %s: %.6g in f32, %.6g in int8, %+.2g\n", f->name, (long long)f->samples,
		       f->data, f->f32, f->int8, f->int8 - f->f32);
	}
}
