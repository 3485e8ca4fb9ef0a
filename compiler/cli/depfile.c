/* depfile.c: in: what was opened for an object; out: a rule for make, by which it is made again when one of those files changes:
 * the program, what it imports, data that sizes come from, weights.
 * Guarantees: names with blanks, # or $ in them are escaped as make, ninja and CMake read them. */
#include <string.h>

#include "object.h"

static void add_name(Text *text, const char *name) {
	for (; *name; name++) {
		if (*name == '$') text_add(text, "$");
		if (strchr(" #\t", *name)) text_add(text, "\\");
		text_bytes(text, name, 1);
	}
}

static void add_need(Text *text, const char *name) {
	text_add(text, " \\\n  ");
	add_name(text, name);
}

/* What is in no file: the standard library, what an option says (its name begins as the option does). */
static bool in_no_file(const Source *source) { return source->library || !strncmp(source->name, "--", 2); }

void write_depfile(Session *s, const char *object) {
	Text text = {.arena = s->arena};
	add_name(&text, object);
	text_add(&text, ":");
	for (int i = 0; i < s->diag->sources.length; i++)
		if (!in_no_file(&s->diag->sources.data[i])) add_need(&text, s->diag->sources.data[i].name);
	const char *name;
	for (int i = 0; (name = files_read(s->files, i)); i++) add_need(&text, name);
	if (s->options->weights) add_need(&text, s->options->weights);
	text_add(&text, "\n");
	write_atomic(s->diag, s->options->depfile, text.data, text.length);
}
