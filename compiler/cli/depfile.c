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

const char *object_need(const Session *s, int number) {
	for (int i = 0; i < s->diag->sources.length; i++)
		if (!in_no_file(&s->diag->sources.data[i]) && number-- == 0) return s->diag->sources.data[i].name;
	for (int i = 0; files_read(s->files, i); i++)
		if (number-- == 0) return files_read(s->files, i);
	return number == 0 ? s->options->weights : NULL;
}

void write_depfile(Session *s, const char *object) {
	Text text = {.arena = s->arena};
	add_name(&text, object);
	text_add(&text, ":");
	const char *name;
	for (int i = 0; (name = object_need(s, i)); i++) add_need(&text, name);
	text_add(&text, "\n");
	write_atomic(s->diag, s->options->depfile, text.data, text.length);
}
