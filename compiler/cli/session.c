/* session.c: in: options; out: the program of FILE.nn, elaborated, with layout and compiled Fns on demand.
 * Guarantees: everything wrong with the input has been printed when a function returns NULL. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "measure.h"

enum { LARGEST_SOURCE = 64 << 20 };

/* The whole file as text; NULL after a message. */
char *read_source(Arena *arena, const char *path, size_t *length) {
	FILE *in = fopen(path, "rb");
	if (!in) {
		fprintf(stderr, "nnc: cannot read %s: %s\n", path, strerror(errno));
		return NULL;
	}
	Text text = {.arena = arena};
	char buffer[65536];
	size_t n;
	text_bytes(&text, "", 0);
	while ((n = fread(buffer, 1, sizeof buffer, in)) > 0 && text.length <= LARGEST_SOURCE) text_bytes(&text, buffer, n);
	bool bad = ferror(in) != 0;
	fclose(in);
	if (bad) fprintf(stderr, "nnc: cannot read %s: %s\n", path, strerror(errno));
	else if (text.length > LARGEST_SOURCE) fprintf(stderr, "nnc: %s is too large for a source file (more than 64 MiB)\n", path);
	else {
		*length = text.length;
		return text.data;
	}
	return NULL;
}

int session_report(Session *s) {
	int code = diag_exit_code(s->diag);
	if (s->diag->messages.length) diag_print(s->diag, stderr, isatty(STDERR_FILENO) && !getenv("NO_COLOR"));
	s->diag->messages.length = 0;
	s->diag->errors = 0;
	s->diag->failed = false;
	return code;
}

/* ---- what the elaborator asks of data ---- */

/* For commands that need no data: where files are absent, numbers that any will do for. */
enum { MADE_UP_SIZE = 60000, MADE_UP_VOCAB = 64 };

static DataInfo ask_samples(void *context, Diag *diag, const DataSet *set) {
	const Session *s = context;
	if (!s->options->made_up) return s->probe.samples(s->probe.context, diag, set);
	Diag *own = diag_new(diag->arena);
	own->sources.data = diag->sources.data;
	own->sources.length = diag->sources.length;
	DataInfo info = s->probe.samples(s->probe.context, own, set);
	return info.ok ? info : (DataInfo){true, MADE_UP_SIZE};
}

/* Where the text is absent, its vocabulary is what the weights were trained with. */
static VocabInfo ask_vocab(void *context, Diag *diag, Span span, const char *path) {
	const Session *s = context;
	if (files_have(s->files, path)) return s->probe.vocab(s->probe.context, diag, span, path);
	if (s->options->weights) {
		Arena *arena = arena_new();
		TensorFile *file = tensors_read(arena, diag_new(arena), s->options->weights);   /* what is wrong with it is said later */
		const char *stored = file ? tensors_meta(file, arena_printf(arena, "vocab:%s", path)) : NULL;
		VocabInfo info = {stored ? vocab_count(stored) : 0, stored ? arena_text(s->arena, stored, strlen(stored)) : NULL};
		tensors_close(file);
		arena_free(arena);
		if (info.count) return info;
	}
	return s->options->any_vocab ? (VocabInfo){.count = MADE_UP_VOCAB} : s->probe.vocab(s->probe.context, diag, span, path);
}

bool session_vocabs(Session *s) {
	Program *p = s->program;
	for (int d = 0; d < p->data.length; d++)
		for (int f = 0; f < p->data.data[d].nfields; f++) {
			const DataField *field = &p->data.data[d].fields[f];
			if (field->kind != SOURCE_CHARS || !files_have(s->files, field->vocab)) continue;
			const char *name = arena_printf(s->arena, "vocab:%s", field->vocab);
			bool known = false;
			for (int i = 0; i < p->constants.length; i++) known |= !strcmp(p->constants.data[i].name, name);
			if (known) continue;
			VocabInfo info = s->probe.vocab(s->probe.context, s->diag, field->span, field->vocab);
			if (!info.count) return false;
			vec_push(s->arena, &p->constants, ((Constant){name, info.characters, info.count, field->span}));
		}
	return true;
}

Session *session_open(const Options *options, int64_t default_batch, int *exit_code) {
	Arena *arena = arena_new();
	Session *s = NEW(arena, Session);
	*s = (Session){.arena = arena, .diag = diag_new(arena), .options = options};
	*exit_code = EXIT_INPUT;
	size_t length;
	char *text = read_source(arena, options->file, &length);
	if (!text) goto fail;
	struct stat folder;
	if (options->data_dir && (stat(options->data_dir, &folder) != 0 || !S_ISDIR(folder.st_mode))) {
		fprintf(stderr, "nnc: --data-dir %s: there is no such folder\n", options->data_dir);
		goto fail;
	}
	s->files = files_open(arena, options->file, options->data_dir);
	s->probe = data_probe(s->files);
	DataProbe *probe = NEW(arena, DataProbe);
	*probe = (DataProbe){s, ask_samples, ask_vocab};
	ElabOptions elab = {.set_names = options->set_name,
	                    .set_values = options->set_value,
	                    .nsets = options->nsets,
	                    .batch = options->batch ? options->batch : default_batch,
	                    .train_name = options->name,
	                    .epochs = options->epochs,
	                    .steps = options->steps,
	                    .has_seed = options->has_seed,
	                    .seed = (uint64_t)options->seed,
	                    .stepless = options->stepless,
	                    .bf16 = options->bf16,
	                    .probe = probe};
	s->program = elab_program(arena, s->diag, diag_source(s->diag, options->file, text, length, false), &elab);
	if (session_report(s) != EXIT_DONE || !s->program) goto fail;
	s->layout = layout_program(arena, s->program);
	s->target = target_host(arena);
	s->workers = pool_clamp((int)options->threads);
	if (options->threads > s->workers)
		fprintf(stderr, "note: --threads %lld: this process may use %s, so %s\n", (long long)options->threads,
		        arena_count(arena, s->workers, "processor"),
		        s->workers == 1 ? "one worker runs" : arena_printf(arena, "%d workers run", s->workers));
	*exit_code = EXIT_DONE;
	return s;
fail:
	session_close(s);
	return NULL;
}

bool session_use_cpu(Session *s) {
	if (!s->options->cpu) return true;
	const Target *t = target_named(s->arena, s->diag, NULL, s->options->cpu, NULL);
	if (t && !t->is_host) diag_error(s->diag, (Span){0}, "this machine cannot run code for '%s'", s->options->cpu);
	if (session_report(s) != EXIT_DONE) return false;
	s->target = t;
	return true;
}

int session_run(const Options *options, int64_t default_batch, int (*body)(Session *s)) {
	int code;
	Session *s = session_open(options, default_batch, &code);
	if (!s) return code;
	code = body(s);
	session_close(s);
	return code;
}

void session_close(Session *s) {
	if (!s) return;
	if (s->pool) pool_free(s->pool);
	if (s->files) files_close(s->files);
	arena_free(s->arena);
}

Pool *session_pool(Session *s) {
	if (!s->pool) s->pool = pool_new(s->workers, 0);
	else pool_pin_caller(s->pool, true);
	return s->pool;
}

void session_measure(Session *s) {
	if (s->workers < 2 || s->options->run_interpreted || s->costs.line > 0) return;
	s->costs = measure_workers(session_pool(s));
	pool_pin_caller(s->pool, false);   /* the threads that read and compile go where there is room */
}

Compiled session_compiled(Session *s, Fn *raw) {
	return session_compile_with(s, session_passes(s, raw), s->program, &s->layout);
}

Compiled session_compile_with(Session *s, Fn *f, const Program *p, const Layout *layout) {
	CompileOptions options = {.target = s->target, .workers = s->workers, .costs = s->costs, .no_cache = s->options->no_cache};
	options.always_share = getenv("NNC_FORCE_THREADS") != NULL; /* for tests */
	Compiled c = compile_fn(s->arena, f, p, layout, &options);
	if (c.unsupported)
		diag_error(s->diag, c.unsupported->span, "`%s` on %s cannot be compiled yet", op_info[c.unsupported->op].text,
		           type_text(s->arena, c.unsupported->type));
	else if (c.error)
		diag_error(s->diag, (Span){0}, "cannot link the compiled code: %s", c.error);
	return c;
}

const Executable *session_compile(Session *s, Fn *raw) {
	if (s->options->run_interpreted) return exec_interpret(s->arena, session_passes(s, raw), s->program, &s->layout);
	Compiled *c = NEW(s->arena, Compiled);
	*c = session_compiled(s, raw);
	return c->executable.entry ? &c->executable : NULL;
}

int session_train(Session *s) {
	const Program *p = s->program;
	const char *wanted = s->options->name;
	if (p->trains.length == 0) {
		fprintf(stderr, "nnc: %s has no train block\n", s->options->file);
		return -EXIT_INPUT;
	}
	if (!wanted && p->trains.length == 1) return 0;
	const char *names[MAX_REPEATED];
	int n = 0;
	for (int i = 0; i < p->trains.length; i++) {
		const char *name = p->trains.data[i].name;
		if (wanted && name && strcmp(name, wanted) == 0) return i;
		if (name && n < MAX_REPEATED) names[n++] = name;
	}
	fprintf(stderr, wanted ? "nnc: no train block is named '%s'" : "nnc: %.0s%s has several train blocks: choose one with --name",
	        wanted ? wanted : "", s->options->file);
	for (int i = 0; i < n; i++) fprintf(stderr, i ? ", %s" : " (%s", names[i]);
	fputs(n ? ")\n" : "\n", stderr);
	return wanted ? -EXIT_INPUT : -EXIT_USAGE;
}

char *session_block(Session *s, uint64_t seed) {
	const Executable *init = session_compile(s, program_init(s->program));
	if (!init) {
		session_report(s);
		return NULL;
	}
	char *block = block_new(s->layout.bytes);
	runner_init(init, session_pool(s), s->program, &s->layout, block, seed);
	return block;
}

uint64_t session_seed(const Session *s, const Train *t) { return s->info.has_seed ? s->info.seed : t->seed; }

const Executable *session_compile_eval(void *context, int64_t batch) {
	EvalContext *c = context;
	return session_compile(c->session, program_eval(c->session->program, c->train, batch));
}

char *session_weights(Session *s, int *exit_code) {
	*exit_code = EXIT_INPUT;
	if (!s->options->weights && s->layout.infer_bytes) {
		fprintf(stderr, "nnc: which weights?\nhelp: add --weights %s.run/weights.safetensors, as nnc train writes them\n",
		        s->program->name);
		*exit_code = EXIT_USAGE;
		return NULL;
	}
	char *block = block_new(s->layout.bytes);
	if (s->quantized) {
		quantized_block(s->quantized, s->program, &s->layout, block);
		*exit_code = session_report(s);
		return block;
	}
	if (s->options->weights && (!session_vocabs(s) || !weights_load(s->diag, s->options->weights, s->program, &s->layout, block,
	                                                                false, &s->info))) {
		session_report(s);
		block_free(block, s->layout.bytes);
		return NULL;
	}
	*exit_code = session_report(s);
	return block;
}
