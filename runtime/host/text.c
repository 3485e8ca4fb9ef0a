/* text.c: in: a text in UTF-8; out: its vocabulary, its characters as numbers into one, dealt out to windows.
 * A vocabulary is the distinct characters in the order of their code points.  Every character counts, line ends too; nothing is
 * translated.  Guaranteed: what is not UTF-8, and a character that the vocabulary lacks, are named by file and line. */
#include "files.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CODES = 0x110000 };

/* The code point at *at, which moves on; -1: no UTF-8 (and no NUL: texts have none). */
static int32_t next_code(const unsigned char **at, const unsigned char *end) {
	static const int32_t least[] = {1, 0x80, 0x800, 0x10000};
	const unsigned char *c = *at;
	int more = *c < 0x80 ? 0 : *c >> 5 == 6 ? 1 : *c >> 4 == 14 ? 2 : *c >> 3 == 30 ? 3 : -1;
	if (more < 0 || end - c <= more) return -1;
	int32_t code = more ? *c & (0x3f >> more) : *c;
	for (int i = 1; i <= more; i++) {
		if (c[i] >> 6 != 2) return -1;
		code = code << 6 | (c[i] & 0x3f);
	}
	if (code < least[more] || code >= CODES || (code >= 0xd800 && code < 0xe000)) return -1;
	*at = c + more + 1;
	return code;
}

static int64_t line_of(const char *text, const void *at) {
	int64_t line = 1;
	for (const char *c = text; c < (const char *)at; c++) line += *c == '\n';
	return line;
}

static void add_code(Text *text, int32_t code) {
	char c[4];
	size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	if (n == 1) c[0] = (char)code;
	else c[0] = (char)((0xf00 >> n & 0xff) | code >> 6 * (n - 1));
	for (size_t i = 1; i < n; i++) c[i] = (char)(0x80 | (code >> 6 * (n - 1 - i) & 0x3f));
	text_bytes(text, c, n);
}

/* As a message shows it: `e`, or U+000A where nothing would be seen. */
static const char *code_text(Arena *arena, int32_t code) {
	Text text = {.arena = arena};
	if (code <= 0x20 || (code >= 0x7f && code < 0xa1)) return arena_printf(arena, "U+%04" PRIX32, (uint32_t)code);
	text_add(&text, "`");
	add_code(&text, code);
	text_add(&text, "`");
	return text.data;
}

/* The whole text once: which characters there are, and how many in all. */
static Vocab *read_vocab(File *file, Diag *diag, Span span, const char *text, size_t length) {
	const unsigned char *at = (const unsigned char *)text, *end = at + length;
	unsigned char *seen = calloc(CODES, 1);
	Vocab *vocab = calloc(1, sizeof *vocab);
	if (!seen || !vocab) fatal("out of memory");
	while (at < end) {
		int32_t code = next_code(&at, end);
		if (code < 0) {
			diag_error(diag, span, "'%s', line %" PRId64 ": the byte 0x%02x is no text in UTF-8", file->path, line_of(text, at),
			           *at);
			free(seen);
			free(vocab);
			return NULL;
		}
		vocab->count += !seen[code];
		seen[code] = 1;
		vocab->characters++;
	}
	vocab->code = malloc(sizeof *vocab->code * (size_t)MAX(vocab->count, 1));
	if (!vocab->code) fatal("out of memory");
	for (int32_t code = 0, n = 0; code < CODES; code++)
		if (seen[code]) vocab->code[n++] = code;
	free(seen);
	return vocab;
}

const Vocab *file_vocab(File *file, Diag *diag, Span span) {
	size_t length;
	const char *text = file_text(file, diag, span, &length);
	if (!text) return NULL;
	pthread_mutex_lock(&file->lock);
	if (!file->vocab) file->vocab = read_vocab(file, diag, span, text, length);
	const Vocab *vocab = file->vocab;
	pthread_mutex_unlock(&file->lock);
	if (vocab && !vocab->count) {
		diag_error(diag, span, "'%s' is empty", file->path);
		return NULL;
	}
	return vocab;
}

void vocab_free(Vocab *vocab) {
	if (vocab) free(vocab->code);
	free(vocab);
}

const char *vocab_text(Arena *arena, const Vocab *vocab) {
	Text text = {.arena = arena};
	for (int i = 0; i < vocab->count; i++) add_code(&text, vocab->code[i]);
	return text.data;
}

int64_t vocab_count(const char *characters) {
	int64_t n = 0;
	for (const char *c = characters; *c; c++) n += (unsigned char)*c >> 6 != 2;
	return n;
}

const char *vocab_difference(Arena *arena, const char *a, const char *b) {
	const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;
	const unsigned char *x_end = x + strlen(a), *y_end = y + strlen(b);
	for (;;) {
		int32_t p = x < x_end ? next_code(&x, x_end) : CODES, q = y < y_end ? next_code(&y, y_end) : CODES;
		if (p < 0 || q < 0) return NULL;
		if (p != q) return code_text(arena, MIN(p, q));
		if (p == CODES) return NULL;
	}
}

/* ---- windows ---- */

int64_t chars_samples(File *file, Diag *diag, const DataField *field) {
	const Vocab *vocab = file_vocab(file, diag, field->span);
	if (!vocab) return -1;
	int64_t windows = (vocab->characters - field->reach) / field->window;
	if (vocab->characters > field->reach && windows) return windows;
	diag_error(diag, field->span, "'%s' has %s, too few for a window of %" PRId64 " at %" PRId64, file->path,
	           arena_count(diag->arena, vocab->characters, "character"), field->window, field->reach);
	return -1;
}

static bool unknown_character(Diag *diag, const File *file, const File *source, const DataField *field, const char *text,
                              const unsigned char *at, int32_t code) {
	diag_error(diag, field->span, "'%s', line %" PRId64 ": the vocabulary of '%s' lacks the character %s", file->path,
	           line_of(text, at), source->path, code_text(diag->arena, code));
	return false;
}

/* The number of each code point, from 1; 0: it has none. */
static int32_t *number_codes(const Vocab *vocab) {
	int32_t *number = calloc(CODES, sizeof *number);
	if (!number) fatal("out of memory");
	for (int i = 0; i < vocab->count; i++) number[vocab->code[i]] = i + 1;
	return number;
}

static bool fits_field(const Vocab *vocab, const File *source, Diag *diag, const DataField *f) {
	char unused[8];
	int64_t last = vocab->count - 1;
	if ((f->classes <= 0 || last < f->classes) && element_store(unused, f->type.dtype, (double)last)) return true;
	diag_error(diag, f->span, "'%s' has %d distinct characters; field `%s` wants %s", source->path, vocab->count, f->name,
	           f->classes > 0 ? arena_printf(diag->arena, "class[%" PRId64 "]", f->classes) : dtype_info[f->type.dtype].text);
	return false;
}

char *chars_read(File *file, File *source, Diag *diag, const DataField *f, int64_t *samples) {
	size_t length;
	const Vocab *vocab = file_vocab(source, diag, f->span);
	const char *text = vocab ? file_text(file, diag, f->span, &length) : NULL;
	if (!text || (*samples = chars_samples(file, diag, f)) < 0 || !fits_field(vocab, source, diag, f)) return NULL;
	int size = dtype_info[f->type.dtype].bytes;
	int64_t count = *samples * f->window;
	if (!memory_allows(diag, f->span, file->path, (uint64_t)count * (uint64_t)size)) return NULL;
	char *data = malloc((size_t)count * (size_t)size);
	if (!data) fatal("out of memory");
	int32_t *number = number_codes(vocab);
	const unsigned char *at = (const unsigned char *)text, *end = at + length;
	for (int64_t i = 0; i < f->offset; i++) next_code(&at, end);
	bool ok = true;
	for (int64_t i = 0; ok && i < count; i++) {
		const unsigned char *here = at;
		int32_t code = next_code(&at, end);
		ok = number[code] || unknown_character(diag, file, source, f, text, here, code);
		element_store(data + i * size, f->type.dtype, (double)(number[code] - 1));
	}
	free(number);
	if (ok) return data;
	free(data);
	return NULL;
}
