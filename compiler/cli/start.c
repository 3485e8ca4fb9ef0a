/* start.c: in: a train block; out: its data, its compiled step and its initial parameters.
 *
 * Three things take time, and none needs another: reading files, compiling the step, compiling and running the
 * initialisation.  The second is done here, the others on threads.  The initialisation's thread shares no arena with
 * anyone: it is handed its Fn as text. */
#include <pthread.h>
#include <stdio.h>

#include "start.h"

typedef struct Initialise {
	Arena *arena;
	Session *s;
	Fn *fn;
	char *block;
	uint64_t seed;
	bool ok;
	pthread_t thread;
	bool started;
} Initialise;

static void *initialise(void *context) {
	Initialise *self = context;
	Session *s = self->s;
	CompileOptions options = {.target = s->target, .workers = 1, .no_cache = s->options->no_cache};
	Compiled c = compile_fn(self->arena, run_passes(self->fn, 0, pass_count), s->program, &s->layout, &options);
	if (!c.executable.entry) return NULL;
	Pool *pool = pool_new(1, 0);
	runner_init(&c.executable, pool, s->program, &s->layout, self->block, self->seed);
	pool_free(pool);
	compiled_free(&c);
	self->ok = true;
	return NULL;
}

/* A copy of f that shares nothing with it. */
static Fn *copy_apart(Arena *arena, const Fn *f) {
	Text text = {.arena = arena};
	fn_print(&text, f);
	Diag *diag = diag_new(arena);
	Fn *copy = fn_parse(arena, diag, diag_source(diag, "init", text.data, text.length, true));
	if (!copy) die("the text of the initialisation does not read back");
	return copy;
}

static void start_init(Initialise *self, Session *s, uint64_t seed) {
	*self = (Initialise){.s = s, .seed = seed};
	if (s->options->run_interpreted) return;
	Fn *init = program_init(s->program);
	if (!init) return;
	self->arena = arena_new();
	self->fn = copy_apart(self->arena, init);
	self->block = block_new(s->layout.bytes);
	self->started = pthread_create(&self->thread, NULL, initialise, self) == 0;
}

/* The block; where the thread could not do it, this one does and reports why. */
static char *finish_init(Initialise *self) {
	if (self->started) pthread_join(self->thread, NULL);
	if (self->arena) arena_free(self->arena);
	if (self->ok) return self->block;
	if (self->block) block_free(self->block, self->s->layout.bytes);
	return session_block(self->s, self->seed);
}

static Data *finish_data(Session *s, DataLoad *load, Diag *diag, int64_t made_up_samples, Start *out) {
	Data *data = data_finish(load, diag);
	if (data || !made_up_samples) return data;
	const DataSet *set = &s->program->data.data[out->train->data];
	out->made_up = true;
	fprintf(stderr, "note: the data of `%s` cannot be read; made-up numbers of the declared types are used\n", set->name);
	return made_up_data(s->arena, set, data_wanted(s->arena, s->program, out->train, false), made_up_samples, out->train->seed);
}

int start_training(Session *s, int number, bool validate, int64_t made_up_samples, Start *out) {
	const Program *p = s->program;
	const Train *t = &p->trains.data[number];
	*out = (Start){.session = s, .train = t};
	Diag *diag = s->diag;
	if (made_up_samples) { /* what is wrong with files matters to no one then */
		diag = diag_new(s->arena);
		diag->sources.data = s->diag->sources.data;
		diag->sources.length = s->diag->sources.length;
	}
	session_measure(s);   /* while nothing else runs */
	DataLoad *load = data_start(s->arena, diag, s->files, &p->data.data[t->data], data_wanted(s->arena, p, t, false)),
	         *check = NULL;
	if (validate && t->validate >= 0)
		check = data_start(s->arena, diag, s->files, &p->data.data[t->validate], data_wanted(s->arena, p, t, true));
	Initialise init;
	start_init(&init, s, t->seed);
	Fn *raw = program_step(s->program, number);
	out->step = raw ? session_compile(s, raw) : NULL;
	if (out->step && !s->options->run_interpreted) {
		const Compiled *c = (const Compiled *)(const void *)out->step; /* its first member */
		out->kernels = c->kernels;
		out->cached = c->cached;
	}
	out->block = finish_init(&init);
	out->data = finish_data(s, load, diag, made_up_samples, out);
	out->validate = check ? data_finish(check, diag) : NULL;
	int code = session_report(s);
	bool ok = out->step && out->block && out->data && (!check || out->validate);
	if (ok && code == EXIT_DONE) return EXIT_DONE;
	start_free(out);
	return code == EXIT_DONE ? EXIT_INPUT : code;
}

void start_free(Start *start) {
	if (start->data) data_free(start->data);
	if (start->validate) data_free(start->validate);
	if (start->block) block_free(start->block, start->session->layout.bytes);
	*start = (Start){0};
}
