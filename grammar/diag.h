/* diag.h: sources, spans and messages.  Errors are nnc's interface to a person, so all of them go
 * through here:
 *
 *     model.nn:12:9: error: what is wrong, in one line
 *         12 |   let y = dense(x, n)
 *            |                    ^
 *     model.nn:3:7: note: the other place involved, with its shape
 *     help: the mend, in one line
 *
 * A Diag collects; diag_print() writes everything in the order of reporting.  An error whose span was
 * already blamed is dropped (one mistake, one error); after MAX_ERRORS, diag_full() is true and callers stop. */
#ifndef NNC_DIAG_H
#define NNC_DIAG_H

#include <stdio.h>

#include "base.h"

/* A half-open range of bytes in a source.  {0} is "nowhere": no place is printed. */
typedef struct Span { uint32_t source, begin, end; } Span;   /* source: 1.. index into Diag.sources */

typedef struct Source {
	const char *name;    /* as printed: "model.nn", "<std>/layers.nn" */
	const char *text;    /* NUL-terminated, may contain anything */
	size_t length;
	bool library;        /* part of std: blame the caller's line, show this place as a note */
} Source;

enum { MAX_ERRORS = 20 };
typedef enum Severity { SEVERITY_ERROR, SEVERITY_WARNING, SEVERITY_NOTE, SEVERITY_HELP } Severity;
typedef struct Message { Severity severity; Span span; const char *text; } Message;

typedef struct Diag {
	Arena *arena;
	VEC(Source) sources;
	VEC(Message) messages;
	int errors, warnings;
	bool muted;          /* the last error was dropped: its notes and help are dropped too */
	bool failed;         /* some error is the machine's: the input may be right */
} Diag;

Diag *diag_new(Arena *arena);
/* Returns the source number for Span.source (from 1).  The text is not copied. */
uint32_t diag_source(Diag *diag, const char *name, const char *text, size_t length, bool library);
/* diag_error returns false when it was dropped as a duplicate.  Notes and help belong to the error or
 * warning before them.  Format strings are literals: a build step lists every call for the golden tests. */
bool diag_error(Diag *diag, Span span, const char *format, ...) PRINTF_LIKE(3, 4);
bool diag_warning(Diag *diag, Span span, const char *format, ...) PRINTF_LIKE(3, 4);
void diag_note(Diag *diag, Span span, const char *format, ...) PRINTF_LIKE(3, 4);
void diag_help(Diag *diag, const char *format, ...) PRINTF_LIKE(2, 3);
bool diag_full(const Diag *diag);
int diag_exit_code(const Diag *diag);
void diag_print(const Diag *diag, FILE *out, bool colour);
/* 1-based line and column (columns count UTF-8 characters). */
void diag_place(const Diag *diag, Span span, int *line, int *column);
static inline bool span_equal(Span a, Span b) { return a.source == b.source && a.begin == b.begin && a.end == b.end; }
static inline Span span_join(Span a, Span b) {
	if (!a.source) return b;
	if (b.source == a.source) { a.begin = MIN(a.begin, b.begin); a.end = MAX(a.end, b.end); }
	return a;
}

#endif
