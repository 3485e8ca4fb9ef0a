/* fmt.c: nnc fmt: in: FILE.nn; out: the same program in the one layout, on stdout or in place. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"

int command_fmt(const Options *options) {
	Session s = {.arena = arena_new(), .options = options};
	s.diag = diag_new(s.arena);
	int code = EXIT_INPUT;
	size_t length;
	char *text = read_source(s.arena, options->file, &length);
	if (text) {
		char *out = format_source(s.arena, s.diag, diag_source(s.diag, options->file, text, length, false));
		code = session_report(&s);
		if (out && !options->write) fputs(out, stdout);
		if (out && options->write && strcmp(out, text) != 0) {
			struct stat status;
			bool linked = stat(options->file, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink > 1;
			if (write_atomic(s.diag, options->file, out, strlen(out)) && linked)
				diag_warning(s.diag, (Span){0}, "'%s' has other names (hard links): these keep the old text", options->file);
			code = session_report(&s);
		}
	}
	arena_free(s.arena);
	return code;
}
