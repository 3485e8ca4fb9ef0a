/* dump.c: nnc dump: in: FILE.nn, or (--from) the text that dump printed; out: the program's text after a pass. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

void list_passes(FILE *out) {
	fputs("elab", out);
	for (int i = 0; i < pass_count; i++) fprintf(out, ", %s", passes[i].name);
	fputs(", kernels\n", out);
}

static int unknown_pass(const char *name) {
	fprintf(stderr, "nnc dump: no pass is called '%s'; there are: ", name);
	list_passes(stderr);
	return EXIT_USAGE;
}

/* What --from cannot go on from, or to. */
static int refuse_from(const char *from, const char *after) {
	if (strcmp(from, "kernels") == 0 || strcmp(after, "kernels") == 0)
		fprintf(stderr, "nnc dump: %s kernels: kernels are made of a .nn file, not of a program's text\n",
		        strcmp(from, "kernels") == 0 ? "--from" : "with --from there is no --after");
	else fprintf(stderr, "nnc dump: --from=%s is a text that --after=%s comes before\n", from, after);
	return EXIT_USAGE;
}

static void print_fn(Session *s, Fn *f, int from, int to, bool kernels) {
	f = run_passes(f, from, to);
	Text text = {.arena = s->arena};
	if (kernels) {
		CompileOptions options = {.target = s->target, .workers = s->workers, .no_cache = true};
		session_measure(s);
		options.costs = s->costs;
		options.always_share = getenv("NNC_FORCE_THREADS") != NULL;
		kernel_print(&text, compile_kernels(s->arena, f, s->program, &s->layout, &options));
	} else {
		fn_print(&text, f);
	}
	fputs(text.data, stdout);
}

static Fn *choose_fn(Session *s, int *code) {
	const char *entry = s->options->entry;
	Program *p = s->program;
	for (int i = 0; entry && i < p->models.length; i++)
		if (strcmp(p->models.data[i].name, entry) == 0) return program_infer(p, i, s->options->batch ? s->options->batch : 32);
	if (entry && strcmp(entry, "init") == 0) return program_init(p);
	int train = session_train(s);
	*code = EXIT_USAGE;
	if (train < 0) {
		*code = -train;
		return NULL;
	}
	if (entry && strcmp(entry, "eval") == 0) return program_eval(p, train, p->trains.data[train].batch);
	if (!entry || strcmp(entry, "step") == 0) return program_step(p, train);
	fprintf(stderr, "nnc dump: --entry is step, eval, init or a model's name, not '%s'\n", entry);
	return NULL;
}

/* --from: the file is text of a Fn; it needs no .nn. */
static int dump_text(const Options *options, int from, int to) {
	Session s = {.arena = arena_new(), .options = options};
	s.diag = diag_new(s.arena);
	size_t length;
	char *text = read_source(s.arena, options->file, &length);
	Fn *f = text ? fn_parse(s.arena, s.diag, diag_source(s.diag, options->file, text, length, false)) : NULL;
	int code = session_report(&s);
	if (f && code == EXIT_DONE) print_fn(&s, f, from, to, false);
	arena_free(s.arena);
	return f ? code : EXIT_INPUT;
}

int command_dump(const Options *options) {
	const char *after = options->after ? options->after : pass_count ? passes[pass_count - 1].name : "elab";
	bool kernels = strcmp(after, "kernels") == 0;
	bool from_kernels = options->from && strcmp(options->from, "kernels") == 0;
	int to = kernels ? pass_count : pass_index(after);
	int from = from_kernels ? pass_count : options->from ? pass_index(options->from) : 0;
	if (to < 0) return unknown_pass(after);
	if (from < 0) return unknown_pass(options->from);
	if (options->from && (kernels || from_kernels || to < from)) return refuse_from(options->from, after);
	if (options->from) return dump_text(options, from, to);
	int code;
	Session *s = session_open(options, 0, &code);
	if (!s) return code;
	Fn *f = choose_fn(s, &code);
	if (f) print_fn(s, f, 0, to, kernels);
	if (f) code = EXIT_DONE;
	session_close(s);
	return code;
}
