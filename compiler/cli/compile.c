/* compile.c: nnc compile: in: FILE.nn; out: an object file and the header that declares what is in it.
 * Guarantees: both files are written whole or not at all; the same input gives the same bytes. */
#include <stdio.h>
#include <string.h>

#include "object.h"

enum { MOST_WORKERS = 64 };

/* "infer,train" */
static bool parse_entries(const Options *o, bool *infer, bool *train) {
	*infer = *train = !o->entry;
	for (const char *at = o->entry; at;) {
		const char *comma = strchr(at, ',');
		size_t length = comma ? (size_t)(comma - at) : strlen(at);
		if (length == 5 && !strncmp(at, "infer", 5)) *infer = true;
		else if (length == 5 && !strncmp(at, "train", 5)) *train = true;
		else {
			fprintf(stderr, "nnc compile: --entry is infer, train or infer,train, not '%s'\n", o->entry);
			return false;
		}
		at = comma ? comma + 1 : NULL;
	}
	return true;
}

/* ---- functions ---- */

/* "u8[n, 28, 28]": the first dim, `per` for each sample, by the count's name; NULL: the dims as they are. */
static const char *shape_text(Arena *arena, const Wanted *w, Type type, bool by_sample) {
	Text text = {.arena = arena};
	text_add(&text, "%s[", dtype_info[type.dtype].text);
	for (int i = 0; i < type.rank; i++) {
		text_add(&text, i ? ", " : "");
		if (i || !by_sample) text_add(&text, "%lld", (long long)type.dim[i]);
		else if (dim_slope(w, 0) == 1) text_add(&text, "n");
		else text_add(&text, "n * %lld", (long long)dim_slope(w, 0));
	}
	text_add(&text, "]");
	return text.data;
}

/* Is the first dim, and no other, as many times the batch? */
static bool by_samples(const Wanted *w, bool *batched) {
	*batched = false;
	for (int i = 0; i < w->one.rank; i++) {
		if (!dim_slope(w, i)) continue;
		*batched = true;
		if (i || w->one.dim[0] != dim_slope(w, 0)) return false;
	}
	return true;
}

static void add_array(ObjectUnit *u, const Wanted *w, Type whole, bool by_sample, const char *name, EmbedArray *array,
                      Declared *argument, const Declared *others, int nothers) {
	bool batched = false;
	by_samples(w, &batched);
	batched = batched && by_sample;
	u->largest = MAX(u->largest, dense_bytes(whole));
	*array = (EmbedArray){w->name, whole.dtype, w->classes, type_count(batched ? w->one : whole), batched};
	const char *own = argument_name(u->s->arena, name, others, nothers);
	*argument = (Declared){own, shape_text(u->s->arena, w, whole, batched), whole.dtype, w->classes};
}

/* `two` is of another batch: a dim is a + b * B. */
static void as_of_two(Wanted *w, int64_t batch) {
	for (int i = 0; i < w->one.rank; i++) w->two.dim[i] = w->one.dim[i] + (w->two.dim[i] - w->one.dim[i]) / (batch - 1);
}

static bool add_model(ObjectUnit *u, int number, int64_t batch) {
	Session *s = u->s;
	Arena *arena = s->arena;
	const Model *model = &s->program->models.data[number];
	int64_t other = batch > 1 ? batch : 2;
	Fn *one = program_infer(s->program, number, 1), *many = program_infer(s->program, number, other);
	if (!one || !many) return false;
	Fn *block = batch > 1 ? many : one;
	WantedList in = wanted_inputs(arena, one, many), out = {0};
	bool batched = false, sliced = true, any = false;
	for (int i = 0; i < in.length; i++) {
		as_of_two(&in.data[i], other);
		sliced &= by_samples(&in.data[i], &batched);
		any |= batched;
	}
	for (int i = 0; i < one->outputs.length; i++) {
		Wanted w = {
		    .name = one->outputs.data[i].name, .one = one->outputs.data[i].val->type, .two = many->outputs.data[i].val->type};
		as_of_two(&w, other);
		vec_push(arena, &out, w);
		sliced &= by_samples(&w, &batched) && batched;
	}
	sliced &= any;
	const char *symbol = take_name(u, model->name, "the model's function", model->span);
	EmbedModel *m = &u->embed.models[u->embed.nmodels];
	Signature *sign = &u->models[u->embed.nmodels++];
	*m = (EmbedModel){.symbol = symbol, .batch = sliced ? batch : 1, .ninputs = in.length, .noutputs = out.length};
	m->inputs = NEW_ARRAY(arena, EmbedArray, in.length + 1);
	m->outputs = NEW_ARRAY(arena, EmbedArray, out.length + 1);
	Declared *all = NEW_ARRAY(arena, Declared, in.length + out.length + 1);
	*sign = (Signature){arena_printf(arena, "model %s", model->name), all, all + in.length};
	for (int i = 0; i < in.length; i++)
		add_array(u, &in.data[i], block->inputs.data[i].type, sliced, in.data[i].name, &m->inputs[i], &all[i], all, i);
	for (int i = 0; i < out.length; i++) {
		const char *name = out.length == 1 ? "out" : out.data[i].name;
		if (i < model->nresults && model->results[i]) name = model->results[i];
		add_array(u, &out.data[i], block->outputs.data[i].val->type, sliced, name, &m->outputs[i], &all[in.length + i], all,
		          in.length + i);
	}
	m->block = session_passes(s, block);
	if (sliced) m->single = batch > 1 ? session_passes(s, one) : m->block;
	return true;
}

/* A field that only a metric reads is no business of the step's. */
static bool is_read(const Fn *f, const Val *input) {
	for (int i = 0; i < f->vals.length; i++)
		for (int k = 0; k < f->vals.data[i]->nargs; k++)
			if (f->vals.data[i]->arg[k] == input) return true;
	return false;
}

static bool add_step(ObjectUnit *u, int number) {
	Session *s = u->s;
	Arena *arena = s->arena;
	const Train *t = &s->program->trains.data[number];
	Fn *fn = program_step(s->program, number);
	if (!fn) return false;
	fn = run_passes(fn, 0, pass_count);
	const char *suffix = train_suffix(arena, t);
	EmbedStep *e = &u->embed.steps[u->embed.nsteps];
	Signature *sign = &u->steps[u->embed.nsteps++];
	e->symbol = take_name(u, arena_printf(arena, "step%s", suffix), "the training step", t->span);
	e->fn = fn;
	e->inputs = NEW_ARRAY(arena, EmbedArray, fn->inputs.length + 1);
	if (s->options->workers) {
		e->most_workers = (int)s->options->workers;
		e->workers_symbol = take_name(u, arena_printf(arena, "step%s_workers", suffix), "the workers' step", t->span);
		take_name(u, arena_printf(arena, "WORKERS%s", suffix), "their number", t->span);
	}
	*sign = (Signature){t->name ? arena_printf(arena, "train %s", t->name) : "train",
	                    NEW_ARRAY(arena, Declared, fn->inputs.length + 1), NULL};
	for (int i = 0; i < fn->inputs.length; i++) {
		const Input *in = &fn->inputs.data[i];
		if (in->kind != INPUT_DATA || !is_read(fn, in->val)) continue;
		Wanted w = {.name = in->name, .one = in->type, .two = in->type, .classes = in->classes};
		add_array(u, &w, in->type, false, in->name, &e->inputs[e->ninputs], &sign->inputs[e->ninputs], sign->inputs, e->ninputs);
		e->ninputs++;
	}
	return true;
}

/* What depends on the number of samples cannot be made up. */
static bool check_data(ObjectUnit *u) {
	Session *s = u->s;
	DataProbe probe = data_probe(s->files);
	for (int i = 0; i < s->program->trains.length; i++) {
		const Train *t = &s->program->trains.data[i];
		if (t->uses_steps && !probe.samples(probe.context, s->diag, &s->program->data.data[t->data]).ok) {
			diag_note(s->diag, t->span, "the number of samples is needed for total_steps or steps_per_epoch");
			return false;
		}
	}
	return true;
}

static bool add_constants(ObjectUnit *u) {
	Session *s = u->s;
	u->embed.constants = NEW_ARRAY(s->arena, EmbedBytes, 2);
	u->embed.constants[u->embed.nconstants++] = param_table(u);
	if (!s->options->weights) return true;
	char *block = block_new(u->layout.bytes);
	bool ok = session_vocabs(s);
	if (s->quantized) quantized_block(s->quantized, s->program, &u->layout, block);
	else ok = ok && weights_load(s->diag, s->options->weights, s->program, &u->layout, block, false, &s->info);
	block_stamp(u, block);
	const char *copy = arena_copy(s->arena, block, u->embed.params_bytes);
	block_free(block, u->layout.bytes);
	u->embed.constants[u->embed.nconstants++] =
	    (EmbedBytes){arena_printf(s->arena, "%s_pretrained", u->x), copy, u->embed.params_bytes};
	return ok;
}

/* ---- all of it ---- */

int choose_entries(ObjectUnit *u) {
	const Program *p = u->s->program;
	const Options *o = u->s->options;
	if (!parse_entries(o, &u->infer, &u->train) || !quantize_options("compile", o)) return EXIT_USAGE;
	u->train = u->train && !o->quantize;
	if (o->entry && u->train && !p->trains.length) {
		fprintf(stderr, "nnc compile: %s has no train block\n", o->file);
		return EXIT_INPUT;
	}
	u->train = u->train && p->trains.length;
	u->infer = u->infer && p->models.length;
	if (o->workers > MOST_WORKERS || (o->workers && !u->train)) {
		fprintf(stderr, u->train ? "nnc compile: --workers is at most %d\n"
		                         : "nnc compile: --workers is for a training step, and there is none\n", MOST_WORKERS);
		return EXIT_USAGE;
	}
	if (u->train || u->infer) return EXIT_DONE;
	fprintf(stderr, "nnc compile: %s has %s\n", o->file, p->trains.length ? "no model" : "neither a model nor a train block");
	return EXIT_INPUT;
}

int64_t object_batch(const ObjectUnit *u) {
	enum { DEFAULT_BATCH = 32 };   /* where no train block says one */
	const Program *p = u->s->program;
	return u->s->options->batch ? u->s->options->batch : p->trains.length ? p->trains.data[0].batch : DEFAULT_BATCH;
}

static bool describe(ObjectUnit *u) {
	Session *s = u->s;
	Program *p = s->program;
	object_place(u);
	u->models = NEW_ARRAY(s->arena, Signature, p->models.length + 1);
	u->steps = NEW_ARRAY(s->arena, Signature, p->trains.length + 1);
	int64_t batch = object_batch(u);
	for (int i = 0; u->infer && i < p->models.length; i++)
		if (!add_model(u, i, batch)) return false;
	if (u->train) {
		if (!check_data(u)) return false;
		for (int i = 0; i < p->trains.length; i++)
			if (!add_step(u, i)) return false;
		Fn *init = program_init(p);
		if (!init) return false;
		u->embed.init = run_passes(init, 0, pass_count);
		u->embed.init_symbol = arena_printf(s->arena, "%s_init", u->x);
	}
	return add_constants(u) && !s->diag->errors;
}

bool object_describe(ObjectUnit *u) {
	bool ok = (!u->s->options->quantize || session_quantize(u->s, true)) && describe(u);
	quantized_close(u->s->quantized);
	return ok;
}

size_t most_scratch(const Embedded *made) { return MAX(MAX(made->scratch_infer, made->scratch_train), made->scratch_workers); }

/* Memory that no caller has: a batch with some zeros too many. */
static bool sizes_are_sane(const ObjectUnit *u) {
	const int MOST_GIB = u->target->pointer_bits == 32 ? 2 : 64;
	Session *s = u->s;
	const Program *p = s->program;
	bool array = u->largest >> 30 >= (size_t)MOST_GIB;
	size_t scratch = most_scratch(&u->made);
	size_t bytes = array ? u->largest : MAX(scratch, u->embed.train_bytes);
	if (bytes >> 30 < (size_t)MOST_GIB) return true;
	diag_error(s->diag, p->trains.length ? p->trains.data[0].span : p->models.data[0].span,
	           "a call needs %s of %.1f GiB; %d GiB are the limit",
	           array ? "an array" : bytes == scratch ? "scratch memory" : "a training block", (double)bytes / 0x1p30, MOST_GIB);
	diag_help(s->diag, "choose a smaller batch with --batch");
	return false;
}

bool object_generate(ObjectUnit *u) {
	Session *s = u->s;
	u->made = embed_compile(s->arena, &u->embed, u->target);
	const Val *v = u->made.unsupported;
	if (v) {
		diag_error(s->diag, v->span, "`%s` on %s cannot be compiled yet", op_info[v->op].text, type_text(s->arena, v->type));
	} else if (u->made.calls) {
		diag_error(s->diag, (Span){0}, "the code for '%s', cpu '%s', would call `%s` of the C library", u->target->triple,
		           u->target->cpu, u->made.calls);
		diag_help(s->diag, "choose a --cpu, or --features, with an instruction for it");
	} else {
		sizes_are_sane(u);
	}
	return !s->diag->errors;
}

/* ---- what is written ---- */

typedef enum Form { FORM_OBJECT, FORM_ARCHIVE, FORM_ASSEMBLY, FORM_IR, FORM_HEADER, FORM_COUNT } Form;

/* FORM_COUNT after a message. */
static Form form_of(const Options *o) {
	static const char *const names[FORM_COUNT] = {"obj", "archive", "asm", "llvm-ir", "c-header"};
	size_t n = strlen(o->output);
	if (!o->emit) return n > 2 && !strcmp(o->output + n - 2, ".a") ? FORM_ARCHIVE : FORM_OBJECT;
	for (int i = 0; i < FORM_COUNT; i++)
		if (!strcmp(o->emit, names[i])) return (Form)i;
	fprintf(stderr, "nnc compile: --emit is obj, archive, asm, llvm-ir or c-header, not '%s'\n", o->emit);
	return FORM_COUNT;
}

/* The length of a path without what it ends in, where that is one of ours. */
static size_t stem(const char *path) {
	static const char *const ends[] = {".o", ".h", ".a", ".s", ".ll"};
	size_t n = strlen(path);
	for (size_t i = 0; i < COUNT(ends); i++)
		if (n > strlen(ends[i]) && !strcmp(path + n - strlen(ends[i]), ends[i])) return n - strlen(ends[i]);
	return n;
}

/* M.o -> M.h */
static const char *header_path(Arena *arena, const char *object) {
	return arena_printf(arena, "%.*s.h", (int)stem(object), object);
}

static Object archive(const ObjectUnit *u, const char *path) {
	Arena *arena = u->s->arena;
	const Embed *e = &u->embed;
	SymbolList all = {0};
	const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
	if (e->init_symbol) vec_push(arena, &all, e->init_symbol);
	for (int i = 0; i < e->nmodels; i++) vec_push(arena, &all, e->models[i].symbol);
	for (int i = 0; i < e->nsteps; i++) {
		vec_push(arena, &all, e->steps[i].symbol);
		if (e->steps[i].workers_symbol) vec_push(arena, &all, e->steps[i].workers_symbol);
	}
	for (int i = 0; i < e->nconstants; i++) vec_push(arena, &all, e->constants[i].symbol);
	return archive_of(arena, u->made.object, arena_printf(arena, "%.*s.o", (int)stem(file), file), &all);
}

/* The file -o names, and the header beside it. */
static void write_files(const ObjectUnit *u, Form form, const char *path, const char *header) {
	Text text = {.arena = u->s->arena};
	write_header(&text, u);
	Object first = form == FORM_OBJECT ? u->made.object : form == FORM_ARCHIVE ? archive(u, path) : u->made.text;
	if (form == FORM_HEADER || write_atomic(u->s->diag, path, first.bytes, first.size))
		write_atomic(u->s->diag, header, text.data, text.length);
}

static void print_notes(const ObjectUnit *u) {
	const Target *t = u->target;
	if (!t->has_fma)
		fprintf(stderr, "note: cpu '%s' has no fused multiply-add, so the object rounds differently from nnc train\n", t->cpu);
	else if (t->lanes == 4 && !strncmp(t->triple, "arm", 3) && strncmp(t->triple, "arm64", 5))
		fprintf(stderr, "note: NEON takes denormal numbers for zero, so the object may round differently from nnc train\n");
	if (!u->made.nneeds) return;
	fprintf(stderr, "note: cpu '%s' has no instructions for all of this; the object calls, of the C compiler's library "
	                "(libgcc, compiler-rt):", t->cpu);
	for (int i = 0; i < u->made.nneeds; i++) fprintf(stderr, " %s", u->made.needs[i]);
	fprintf(stderr, "\n");
}

static void print_summary(const ObjectUnit *u, const char *object, const char *header) {
	const Layout *l = &u->layout;
	if (strcmp(object, header)) printf("%s, ", object);
	printf("%s: %s, cpu %s\n", header, u->target->triple, u->target->cpu);
	printf("code        %zu bytes\n", u->made.code_bytes);
	printf("read-only   %zu bytes of data\n", u->made.data_bytes);
	printf("stack       %zu bytes at most\n", u->made.stack_bytes);
	if (u->infer) printf("scratch     %zu bytes to infer\n", u->made.scratch_infer);
	if (u->train) printf("scratch     %zu bytes to train\n", u->made.scratch_train);
	if (u->train && u->s->options->workers) printf("scratch     %zu bytes to train with workers\n", u->made.scratch_workers);
	if (u->s->options->budget) printf("memory      %zu bytes for blocks, scratch and stack\n", object_ram(u));
	printf("parameters  %zu bytes, packed in a block of %zu\n", u->dense_params, u->embed.params_bytes);
	if (u->s->quantized) print_quantized(u->s->quantized);
	print_notes(u);
	if (u->train)
		printf("optimiser   %zu bytes, packed in %zu; the training block is %zu in all\n", u->dense_slots,
		       l->bytes - l->infer_bytes, u->embed.train_bytes);
}

/* Is there no such file, or did nnc write it, as its first line says? */
static bool may_replace(const char *header) {
	char line[400] = "";
	FILE *in = fopen(header, "rb");
	if (!in) return true;
	bool empty = !fgets(line, sizeof line, in);
	fclose(in);
	return empty || strstr(line, "compiled by nnc ");
}

/* Neither what was read is written over, nor one file by another: reports. */
static bool is_all_its_own(const Session *s, const char *header) {
	const Options *o = s->options;
	const char *written[] = {o->output, header, o->depfile}, *name;
	for (int w = 0; w < (int)COUNT(written) && written[w]; w++)
		for (int i = 0; (name = object_need(s, i)); i++)
			if (writes_over("compile", written[w], name)) return false;
	for (int w = 0; w < 2 && o->depfile; w++) {
		if (strcmp(o->depfile, written[w]) != 0 && !is_same_file(o->depfile, written[w])) continue;
		fprintf(stderr, "nnc compile: --depfile would be written over '%s'\nhelp: name another file\n", written[w]);
		return false;
	}
	return true;
}

static int compile_program(Session *s) {
	const Options *o = s->options;
	ObjectUnit u = {.s = s};
	Form form = form_of(o);
	Budget budget;
	if (form == FORM_COUNT || !read_budget(o, &budget)) return EXIT_USAGE;
	int code = choose_entries(&u);
	if (code != EXIT_DONE) return code;
	u.target = target_named(s->arena, s->diag, o->target, o->cpu, o->features);
	bool ok = u.target && object_describe(&u);
	u.embed.text = form == FORM_ASSEMBLY ? EMBED_ASSEMBLY : form == FORM_IR ? EMBED_IR : EMBED_NO_TEXT;
	if (!ok || !object_within(&u, budget)) {
		session_report(s);
		return EXIT_INPUT;
	}
	const char *header = form == FORM_HEADER ? o->output : header_path(s->arena, o->output);
	if (form != FORM_HEADER && strcmp(header, o->output) == 0) {
		fprintf(stderr, "nnc compile: -o names the object file; its header would be '%s' as well\n", header);
		return EXIT_USAGE;
	}
	if (!may_replace(header)) {
		fprintf(stderr,
		        "nnc compile: the header '%s' is there already, and nnc did not write it\nhelp: name another object file\n",
		        header);
		return EXIT_USAGE;
	}
	if (!is_all_its_own(s, header)) return EXIT_USAGE;
	write_files(&u, form, o->output, header);
	if (o->depfile) write_depfile(s, o->output);
	code = session_report(s);
	if (code == EXIT_DONE) print_summary(&u, o->output, header);
	if (code == EXIT_DONE && o->explain_memory) explain_memory(&u);
	return code;
}

/* `nnc compile --target list` needs no file. */
static int list_targets(void) {
	Arena *arena = arena_new();
	fputs(target_list(arena), stdout);
	arena_free(arena);
	return EXIT_DONE;
}

int command_compile(const Options *options) {
	if (options->target && !strcmp(options->target, "list")) return list_targets();
	if (!options->output) {
		fprintf(stderr, "nnc compile: where to?\nhelp: add -o model.o; the header is written beside it\n");
		return EXIT_USAGE;
	}
	Options own = *options;
	own.made_up = true;
	return session_run(&own, 0, compile_program);
}
