/* files.h: what the readers of data share: open files, their heads and bodies, and one job per field.
 *
 * A job runs on a thread of its own: it has its own arena and its own Diag, whose messages are handed on when the
 * threads have been joined. */
#ifndef NNC_FILES_H
#define NNC_FILES_H

#include <pthread.h>

#include "host.h"

enum { HEAD_BYTES = 1 << 16 };

typedef struct Vocab {
	int64_t characters;          /* of the whole text */
	int count;                   /* distinct ones */
	int32_t *code;               /* these, ascending */
} Vocab;

typedef struct File {
	const char *path;            /* as found, for messages */
	const char *name;            /* as written in the program */
	int fd;
	size_t size;                 /* on disk */
	bool gzip;
	size_t unpacked;             /* gzip: what the file says of itself, modulo 2^32; else size */
	pthread_mutex_t lock;        /* guards text and users */
	char *text;                  /* the whole content, kept while there are users (csv, chars) */
	size_t length;
	int users;
	Vocab *vocab;                /* of a text, once asked for; guarded by lock */
	struct File *next;
} File;

/* NULL: reported, with each folder tried. */
File *file_find(Files *files, Diag *diag, Span span, const char *name);
/* Opens one file outside of any search. */
File *file_open(Arena *arena, Diag *diag, Span span, const char *path);
void file_close(File *file);
/* The first bytes of the content, at most HEAD_BYTES; their number, or -1: reported. */
int64_t file_head(File *file, Diag *diag, Span span, char head[HEAD_BYTES]);
/* The whole content, exactly `size` bytes, in fresh memory for free().  NULL: reported. */
char *file_body(File *file, Diag *diag, Span span, size_t size);
/* The whole content of unknown size, NUL-terminated, shared between users and kept until the last file_release(). */
const char *file_text(File *file, Diag *diag, Span span, size_t *length);
void file_use(File *file);
void file_release(File *file);
/* False (reported): more than this machine has. */
bool memory_allows(Diag *diag, Span span, const char *name, uint64_t bytes);

/* An array in a file: element type, dims, where its elements start. */
typedef enum Code { CODE_U8, CODE_I8, CODE_U16, CODE_I16, CODE_U32, CODE_I32, CODE_U64, CODE_I64, CODE_F16, CODE_F32, CODE_F64,
	CODE_BOOL, CODE_COUNT } Code;
extern const struct CodeInfo { const char *text; int bytes; char class; DType same; } code_info[CODE_COUNT];
enum { MAX_FILE_RANK = 16 };
typedef struct Header {
	Code code;
	bool big_endian, fortran;
	int rank;
	int64_t dim[MAX_FILE_RANK];
	size_t offset;               /* of the first element */
	int64_t count;               /* elements */
	size_t bytes;                /* offset + count * element size: the file's whole content */
} Header;
bool idx_header(File *file, Diag *diag, Span span, Header *header);
bool npy_header(File *file, Diag *diag, Span span, Header *header);
const char *dims_text(Arena *arena, int rank, const int64_t *dim);

/* What a field's elements may be; row_elements: elements per sample, to name the row in messages; finite: nan and infinities are
 * errors, not merely worth a warning. */
typedef struct Wanted { DType dtype; int64_t classes, row_elements; Span span; const char *file; bool finite; } Wanted;
/* Elements of a file's body (taken over, freed or returned) as the wanted dtype, dense row-major; *owned is what to free.
 * NULL: reported. */
char *array_convert(Diag *diag, const Header *header, char *body, Wanted wanted, void **owned);

/* Several fields of one file fail for one reason: has it been told? */
bool said_before(const Diag *diag, Severity severity, const char *text);

/* Rows of a csv file: the records after the header line, if there is one. */
int64_t csv_samples(File *file, Diag *diag, const DataField *field);
char *csv_read(File *file, Diag *diag, const DataField *field, int64_t *samples);

/* text.c: the vocabulary of a text, read once and kept.  NULL: reported. */
const Vocab *file_vocab(File *file, Diag *diag, Span span);
void vocab_free(Vocab *vocab);
/* Its characters, in UTF-8. */
const char *vocab_text(Arena *arena, const Vocab *vocab);
/* How many windows of the text every field of the set has; -1: reported, none. */
int64_t chars_samples(File *file, Diag *diag, const DataField *field);
/* The field's windows; source: whose vocabulary it is. */
char *chars_read(File *file, File *source, Diag *diag, const DataField *field, int64_t *samples);
#endif
