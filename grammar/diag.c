/* diag.c: collects messages and prints them.
 *
 * In: spans and formats.  Out: the text described in diag.h.  Guarantees: whatever the source holds, what is
 * printed is UTF-8 without control characters, and no line of it is much longer than SHOWN_COLUMNS. */
#include "diag.h"

#include <string.h>

enum { SHOWN_COLUMNS = 160, SHOWN_BEFORE = 100, MAX_WARNINGS = 100 };

Diag *diag_new(Arena *arena) {
	Diag *diag = NEW(arena, Diag);
	diag->arena = arena;
	return diag;
}

uint32_t diag_source(Diag *diag, const char *name, const char *text, size_t length, bool library) {
	Source source = {name, text, length, library};
	vec_push(diag->arena, &diag->sources, source);
	return (uint32_t)diag->sources.length;
}

bool diag_full(const Diag *diag) { return diag->errors >= MAX_ERRORS; }
int diag_exit_code(const Diag *diag) { return !diag->errors ? EXIT_DONE : diag->failed ? EXIT_RUN : EXIT_INPUT; }

static void add(Diag *diag, Severity severity, Span span, const char *text) {
	Message message = {severity, span, text};
	vec_push(diag->arena, &diag->messages, message);
}

/* One mistake, one error: an error is dropped when its span was blamed before, a warning also when an error was
 * there first.  Without a place the text decides. */
static bool blamed(const Diag *diag, Severity severity, Span span, const char *text) {
	for (int i = 0; i < diag->messages.length; i++) {
		const Message *m = &diag->messages.data[i];
		if (m->severity > SEVERITY_WARNING || !span_equal(m->span, span)) continue;
		bool same_text = strcmp(m->text, text) == 0;
		if (span.source ? m->severity == SEVERITY_ERROR || (severity == SEVERITY_WARNING && same_text) : same_text) return true;
	}
	return false;
}

static bool report(Diag *diag, Severity severity, Span span, const char *format, va_list args) {
	diag->muted = true;
	if (diag_full(diag) || (severity == SEVERITY_WARNING && diag->warnings >= MAX_WARNINGS)) return false;
	const char *text = arena_vprintf(diag->arena, format, args);
	if (blamed(diag, severity, span, text)) return false;
	diag->muted = false;
	add(diag, severity, span, text);
	if (severity == SEVERITY_ERROR) diag->errors++;
	else diag->warnings++;
	return true;
}

bool diag_error(Diag *diag, Span span, const char *format, ...) {
	va_list args;
	va_start(args, format);
	bool reported = report(diag, SEVERITY_ERROR, span, format, args);
	va_end(args);
	return reported;
}

bool diag_warning(Diag *diag, Span span, const char *format, ...) {
	va_list args;
	va_start(args, format);
	bool reported = report(diag, SEVERITY_WARNING, span, format, args);
	va_end(args);
	return reported;
}

void diag_note(Diag *diag, Span span, const char *format, ...) {
	if (diag->muted) return;
	va_list args;
	va_start(args, format);
	add(diag, SEVERITY_NOTE, span, arena_vprintf(diag->arena, format, args));
	va_end(args);
}

void diag_help(Diag *diag, const char *format, ...) {
	if (diag->muted) return;
	va_list args;
	va_start(args, format);
	add(diag, SEVERITY_HELP, (Span){0}, arena_vprintf(diag->arena, format, args));
	va_end(args);
}

/* One character: its bytes (0 when they are not UTF-8), and how many columns a terminal gives it. */
typedef struct Glyph { int bytes, width; } Glyph;

static Glyph glyph_at(const char *text, size_t left) {
	const unsigned char *b = (const unsigned char *)text;
	int bytes = b[0] < 0x80 ? 1 : b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;
	if (bytes == 0 || (size_t)bytes > left) return (Glyph){0, 1};
	uint32_t c = bytes == 1 ? b[0] : b[0] & (0xffu >> (bytes + 1));
	for (int i = 1; i < bytes; i++) {
		if ((b[i] & 0xc0) != 0x80) return (Glyph){0, 1};
		c = c << 6 | (b[i] & 0x3f);
	}
	bool combining = (c >= 0x300 && c < 0x370) || c == 0x200b || c == 0x200d || (c >= 0xfe00 && c < 0xfe10);
	bool wide = (c >= 0x1100 && c < 0x1160) || (c >= 0x2e80 && c < 0xa4d0) || (c >= 0xac00 && c < 0xd7a4) ||
	            (c >= 0xf900 && c < 0xfb00) || (c >= 0xfe30 && c < 0xfe70) || (c >= 0xff00 && c < 0xff61) ||
	            (c >= 0x1f300 && c < 0x1fb00) || (c >= 0x20000 && c < 0x40000);
	return (Glyph){bytes, combining ? 0 : wide ? 2 : 1};
}

/* Bytes of the character at `at`; a byte that is not UTF-8 counts as a character. */
static size_t step(const char *text, size_t at, size_t end) {
	int bytes = glyph_at(text + at, end - at).bytes;
	return bytes ? (size_t)bytes : 1;
}

static const Source *source_of(const Diag *diag, Span span) {
	if (span.source == 0 || span.source > (uint32_t)diag->sources.length) return NULL;
	return &diag->sources.data[span.source - 1];
}

static size_t line_begin(const Source *source, size_t at) {
	while (at > 0 && source->text[at - 1] != '\n') at--;
	if (at == 0 && source->length >= 3 && memcmp(source->text, "\xef\xbb\xbf", 3) == 0) at = 3;
	return at;
}

static size_t line_end(const Source *source, size_t at) {
	while (at < source->length && source->text[at] != '\n') at++;
	return at;
}

void diag_place(const Diag *diag, Span span, int *line, int *column) {
	const Source *source = source_of(diag, span);
	*line = *column = 1;
	if (!source) return;
	size_t at = MIN((size_t)span.begin, source->length), begin = line_begin(source, at);
	for (size_t i = 0; i < at; i++)
		if (source->text[i] == '\n') ++*line;
	for (size_t i = begin; i < at; i += step(source->text, i, source->length)) ++*column;
}

/* Characters that would move the cursor or are no characters are shown as "?". */
static void put_text(FILE *out, const char *text, size_t length) {
	for (size_t i = 0; i < length;) {
		Glyph glyph = glyph_at(text + i, length - i);
		unsigned char c = (unsigned char)text[i];
		bool control = (c < 0x20 && c != '\t') || c == 0x7f;
		if (glyph.bytes == 2 && c == 0xc2) control = (unsigned char)text[i + 1] < 0xa0;
		if (glyph.bytes == 0 || control) fputc('?', out);
		else fwrite(text + i, 1, (size_t)glyph.bytes, out);
		i += glyph.bytes ? (size_t)glyph.bytes : 1;
	}
}

/* The source line and a caret under `span`; of a very long line the part around the caret. */
static void put_line(const Diag *diag, Span span, FILE *out, const char *mark, const char *plain) {
	const Source *source = source_of(diag, span);
	int line, column;
	diag_place(diag, span, &line, &column);
	size_t at = MIN((size_t)span.begin, source->length), begin = line_begin(source, at), end = line_end(source, at);
	if (end > begin && source->text[end - 1] == '\r') end--;
	at = MIN(at, end);
	size_t first = begin, last = end;
	for (int skip = column - 1 - SHOWN_BEFORE; skip > 0; skip--) first += step(source->text, first, end);
	size_t shown = first;
	for (int i = 0; i < SHOWN_COLUMNS && shown < end; i++) shown += step(source->text, shown, end);
	last = shown;
	fprintf(out, "%6d | %s", line, first > begin ? "..." : "");
	put_text(out, source->text + first, last - first);
	fprintf(out, "%s\n       | %s", last < end ? "..." : "", first > begin ? "   " : "");
	for (size_t i = first; i < at; i += step(source->text, i, end)) {
		int width = source->text[i] == '\t' ? -1 : glyph_at(source->text + i, end - i).width;
		fputs(width < 0 ? "\t" : width == 0 ? "" : width == 1 ? " " : "  ", out);
	}
	fprintf(out, "%s^", mark);
	size_t stop = MIN((size_t)span.end, last);
	for (size_t i = at; i < stop;) {
		int width = source->text[i] == '\t' ? 1 : glyph_at(source->text + i, end - i).width;
		for (int k = i == at ? 1 : 0; k < width; k++) fputc('~', out);
		i += step(source->text, i, end);
	}
	fprintf(out, "%s\n", plain);
}

void diag_print(const Diag *diag, FILE *out, bool colour) {
	static const char *const words[] = {"error", "warning", "note", "help"};
	static const char *const colours[] = {"\033[1;31m", "\033[1;35m", "\033[1;36m", "\033[1;32m"};
	const char *bold = colour ? "\033[1m" : "", *plain = colour ? "\033[0m" : "";
	for (int i = 0; i < diag->messages.length; i++) {
		const Message *m = &diag->messages.data[i];
		const Source *source = source_of(diag, m->span);
		if (source) {
			int line, column;
			diag_place(diag, m->span, &line, &column);
			fputs(bold, out);
			put_text(out, source->name, strlen(source->name));
			fprintf(out, ":%d:%d: %s", line, column, plain);
		}
		fprintf(out, "%s%s: %s", colour ? colours[m->severity] : "", words[m->severity], plain);
		put_text(out, m->text, strlen(m->text));
		fputc('\n', out);
		if (source && m->severity <= SEVERITY_WARNING) put_line(diag, m->span, out, colour ? colours[3] : "", plain);
	}
}
