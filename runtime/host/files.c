/* files.c: in: names; out: open files, their first bytes, their whole content, new files in place of old ones.
 * Guaranteed: what is allocated was checked against the file's size and the machine's memory before; gzip is
 * transparent (zlib for the first bytes, libdeflate for whole files); a file is replaced whole or not at all. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#ifndef NNC_DATA_DIRS
#define NNC_DATA_DIRS ""
#endif

/* Deflate cannot pack better than 1032 : 1.  Content may unpack to GENEROUS bytes, or to
 * PLAUSIBLE_RATIO times the packed size where that is more; texts and tables pack 3 to 20 : 1. */
enum { DEFLATE_RATIO = 1032, PLAUSIBLE_RATIO = 100 };
static const size_t GENEROUS = (size_t)256 << 20;

/* A file that several fields name is reported missing once. */
typedef struct Missing { const char *name; const Diag *told; } Missing;
struct Files { Arena *arena; VEC(const char *) folders; VEC(Missing) missing; File *open; };

static void add_folder(Files *files, const char *folder, size_t length) {
	if (!length) return;
	const char *name = arena_intern(files->arena, folder, length);
	for (int i = 0; i < files->folders.length; i++)
		if (files->folders.data[i] == name) return;
	vec_push(files->arena, &files->folders, name);
}

static void add_folders(Files *files, const char *list) {
	for (const char *end; list && *list; list = *end ? end + 1 : end) {
		end = strchrnul(list, ':');
		add_folder(files, list, (size_t)(end - list));
	}
}

Files *files_open(Arena *arena, const char *program_file, const char *data_dir) {
	Files *files = NEW(arena, Files);
	files->arena = arena;
	const char *slash = program_file ? strrchr(program_file, '/') : NULL;
	if (slash) add_folder(files, program_file, slash == program_file ? 1 : (size_t)(slash - program_file));
	else add_folder(files, ".", 1);
	if (data_dir) add_folder(files, data_dir, strlen(data_dir));
	add_folders(files, getenv("NNC_DATA"));
	add_folders(files, NNC_DATA_DIRS);
	return files;
}

void file_close(File *file) {
	close(file->fd);
	free(file->text);
	vocab_free(file->vocab);
	pthread_mutex_destroy(&file->lock);
}

void files_close(Files *files) {
	for (File *f = files->open; f; f = f->next) file_close(f);
	files->open = NULL;
}

/* Reads up to `size` bytes at `offset`; short only at the end of the file; -1: errno. */
static int64_t read_at(int fd, char *to, size_t size, size_t offset) {
	size_t done = 0;
	while (done < size) {
		ssize_t n = pread(fd, to + done, MIN(size - done, (size_t)1 << 30), (off_t)(offset + done));
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) return -1;
		if (n == 0) break;
		done += (size_t)n;
	}
	return (int64_t)done;
}

File *file_open(Arena *arena, Diag *diag, Span span, const char *path) {
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat status;
	if (fd < 0 || fstat(fd, &status) != 0) {
		diag_error(diag, span, "cannot read '%s': %s", path, strerror(errno));
		if (fd >= 0) close(fd);
		return NULL;
	}
	if (!S_ISREG(status.st_mode)) {
		diag_error(diag, span, "'%s' is not a regular file", path);
		close(fd);
		return NULL;
	}
	File *f = NEW(arena, File);
	*f = (File){.path = path, .name = path, .fd = fd, .size = (size_t)status.st_size, .unpacked = (size_t)status.st_size};
	pthread_mutex_init(&f->lock, NULL);
	unsigned char magic[2], tail[4];
	f->gzip = read_at(fd, (char *)magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
	if (f->gzip && f->size >= 18 && read_at(fd, (char *)tail, 4, f->size - 4) == 4)
		f->unpacked = (size_t)tail[0] | (size_t)tail[1] << 8 | (size_t)tail[2] << 16 | (size_t)tail[3] << 24;
	return f;
}

static const char *path_in(Arena *arena, const char *folder, const char *name) {
	return strcmp(folder, ".") == 0 ? arena_printf(arena, "%s", name) : arena_printf(arena, "%s/%s", folder, name);
}

bool files_have(const Files *files, const char *name) {
	bool have = name[0] == '/' && access(name, R_OK) == 0;
	for (int i = 0; !have && name[0] != '/' && i < files->folders.length; i++)
		have = access(path_in(files->arena, files->folders.data[i], name), R_OK) == 0;
	return have;
}

const char *files_read(const Files *files, int number) {
	const File *f = files->open;
	while (f && number--) f = f->next;
	return f ? f->path : NULL;
}

File *file_find(Files *files, Diag *diag, Span span, const char *name) {
	for (File *f = files->open; f; f = f->next)
		if (strcmp(f->name, name) == 0) return f;
	File *found = NULL;
	if (name[0] == '/') {
		found = file_open(files->arena, diag, span, arena_text(files->arena, name, strlen(name)));
		if (!found) return NULL;
	}
	for (int i = 0; !found && i < files->folders.length; i++) {
		const char *path = path_in(files->arena, files->folders.data[i], name);
		if (access(path, F_OK) != 0) continue;
		found = file_open(files->arena, diag, span, path);
		if (!found) return NULL;
	}
	if (!found) {
		for (int i = 0; i < files->missing.length; i++)
			if (files->missing.data[i].told == diag && strcmp(files->missing.data[i].name, name) == 0) return NULL;
		vec_push(files->arena, &files->missing, ((Missing){arena_printf(files->arena, "%s", name), diag}));
		diag_error(diag, span, "cannot find the data file '%s'", name);
		for (int i = 0; i < files->folders.length; i++) diag_note(diag, (Span){0}, "looked in '%s'", files->folders.data[i]);
		diag_help(diag, "put it beside the program, or name its folder with --data-dir or NNC_DATA");
		return NULL;
	}
	found->name = arena_text(files->arena, name, strlen(name));
	found->next = files->open;
	files->open = found;
	return found;
}

bool memory_allows(Diag *diag, Span span, const char *name, uint64_t bytes) {
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t all = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX;
	if (bytes <= all / 4 * 3 && bytes <= SIZE_MAX / 2) return true;
	diag_error(diag, span, "'%s' needs %.1f GiB; this machine has %.1f GiB", name, (double)bytes / 0x1p30, (double)all / 0x1p30);
	return false;
}

/* For free().  Large pages where the system has them: touching 47 MB costs 6 ms instead of 30, and rows are gathered faster. */
static char *allocate(size_t size) {
	size_t page = (size_t)2 << 20;
	bool large = size >= 2 * page;
	char *p = large ? aligned_alloc(page, (size + page - 1) / page * page) : malloc(MAX(size, (size_t)1));
	if (!p) fatal("out of memory (%zu MiB asked for)", size >> 20);
	if (large) madvise(p, size, MADV_HUGEPAGE);
	return p;
}

static bool read_error(Diag *diag, Span span, const File *f) {
	diag_error(diag, span, "cannot read '%s': %s", f->path, errno ? strerror(errno) : "it became shorter while being read");
	return false;
}

static bool damaged(Diag *diag, Span span, const File *f) {
	diag_error(diag, span, "'%s' is damaged or cut short: its gzip data does not decode", f->path);
	return false;
}

/* ---- gzip ---- */

/* A file is one member or several, each with a header of its own, with zeros behind them: tapes pad with zeros. */
static int64_t gzip_head(File *f, Diag *diag, Span span, char *head) {
	z_stream z = {.next_out = (Bytef *)head, .avail_out = HEAD_BYTES};
	if (inflateInit2(&z, 15 + 16) != Z_OK) fatal("out of memory");
	char in[1 << 14];
	size_t offset = 0;
	int state = Z_OK; /* Z_STREAM_END: between members */
	while (z.avail_out && (state == Z_OK || state == Z_STREAM_END)) {
		if (!z.avail_in) {
			int64_t n = read_at(f->fd, in, sizeof in, offset);
			if (n <= 0) break;
			offset += (size_t)n;
			z.next_in = (Bytef *)in;
			z.avail_in = (uInt)n;
		}
		while (state == Z_STREAM_END && z.avail_in && !*z.next_in) z.next_in++, z.avail_in--;
		if (!z.avail_in) continue;
		if (state == Z_STREAM_END) inflateReset(&z);
		state = inflate(&z, Z_NO_FLUSH);
	}
	int64_t got = HEAD_BYTES - (int64_t)z.avail_out;
	inflateEnd(&z);
	bool cut = z.avail_out && state == Z_OK; /* the file ends before its gzip data does */
	if (cut || (state != Z_OK && state != Z_STREAM_END)) return damaged(diag, span, f), -1;
	return got;
}

int64_t file_head(File *f, Diag *diag, Span span, char head[HEAD_BYTES]) {
	if (f->gzip) return gzip_head(f, diag, span, head);
	errno = 0;
	int64_t n = read_at(f->fd, head, HEAD_BYTES, 0);
	if (n < 0) read_error(diag, span, f);
	return n;
}

/* The file as it stands on disk. */
static char *packed_body(File *f, Diag *diag, Span span) {
	char *packed = allocate(f->size);
	errno = 0;
	if (read_at(f->fd, packed, f->size, 0) == (int64_t)f->size) return packed;
	read_error(diag, span, f);
	free(packed);
	return NULL;
}

/* Unpacks all members into `out`, which holds *capacity bytes and grows up to `limit`; returns the bytes, or -1. */
static int64_t gunzip(const char *in, size_t size, char **out, size_t capacity, size_t limit, bool *overflow) {
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	if (!d) fatal("out of memory");
	size_t at = 0, used = 0;
	enum libdeflate_result result = LIBDEFLATE_SUCCESS;
	*overflow = false;
	do {
		size_t in_used = 0, out_used = 0;
		result = libdeflate_gzip_decompress_ex(d, in + at, size - at, *out + used, capacity - used, &in_used, &out_used);
		if (result == LIBDEFLATE_INSUFFICIENT_SPACE && capacity < limit) {
			capacity = capacity < limit / 2 ? MAX(capacity * 2, (size_t)65536) : limit;
			*out = realloc(*out, capacity + 1);
			if (!*out) fatal("out of memory (%zu MiB asked for)", capacity >> 20);
			result = LIBDEFLATE_SUCCESS;
			continue;
		}
		at += in_used;
		used += out_used;
		while (result == LIBDEFLATE_SUCCESS && at < size && in[at] == 0) at++;
	} while (result == LIBDEFLATE_SUCCESS && at < size);
	libdeflate_free_decompressor(d);
	*overflow = result == LIBDEFLATE_INSUFFICIENT_SPACE;
	return result == LIBDEFLATE_SUCCESS ? (int64_t)used : -1;
}

/* What a file may unpack to; false, reported: `size` is more. */
static size_t unpacked_limit(const File *f) {
	return MAX(GENEROUS, f->size < SIZE_MAX / PLAUSIBLE_RATIO ? f->size * PLAUSIBLE_RATIO : SIZE_MAX / 2);
}
static bool plausible(Diag *diag, Span span, const File *f, size_t size) {
	if (size <= unpacked_limit(f)) return true;
	diag_error(diag, span, "'%s' would unpack from %zu KiB to %zu MiB, which no data does", f->path, f->size >> 10, size >> 20);
	diag_help(diag, "unpack it by hand if it is what you expect");
	return false;
}

char *file_body(File *f, Diag *diag, Span span, size_t size) {
	if (!f->gzip) {
		if (f->size == size) return packed_body(f, diag, span);
		diag_error(diag, span, "'%s' holds %zu bytes; its header speaks of %zu", f->path, f->size, size);
		return NULL;
	}
	if (size / DEFLATE_RATIO > f->size + 64) {
		diag_error(diag, span, "'%s' is %zu bytes long; the %zu bytes its header speaks of cannot be in it", f->path, f->size,
		           size);
		return NULL;
	}
	if (!plausible(diag, span, f, size) || !memory_allows(diag, span, f->path, size)) return NULL;
	char *packed = packed_body(f, diag, span);
	if (!packed) return NULL;
	char *body = allocate(size + 1); /* one more, so that a longer content shows */
	bool overflow;
	int64_t got = gunzip(packed, f->size, &body, size, size, &overflow);
	free(packed);
	if (got == (int64_t)size) return body;
	free(body);
	if (overflow)
		diag_error(diag, span, "'%s' is damaged or cut short, or holds more than the %zu bytes its header speaks of", f->path,
		           size);
	else if (got < 0) damaged(diag, span, f);
	else diag_error(diag, span, "'%s' holds %lld bytes; its header speaks of %zu", f->path, (long long)got, size);
	return NULL;
}

static bool read_text(File *f, Diag *diag, Span span) {
	if (!f->gzip) {
		if (!memory_allows(diag, span, f->path, f->size)) return false;
		f->text = allocate(f->size + 1);
		errno = 0;
		if (read_at(f->fd, f->text, f->size, 0) != (int64_t)f->size) return read_error(diag, span, f);
		f->length = f->size;
		return true;
	}
	size_t limit = unpacked_limit(f);
	if (!plausible(diag, span, f, f->unpacked) || !memory_allows(diag, span, f->path, f->unpacked)) return false;
	char *packed = packed_body(f, diag, span);
	if (!packed) return false;
	f->text = allocate(f->unpacked + 1);
	bool overflow;
	int64_t got = gunzip(packed, f->size, &f->text, f->unpacked, limit, &overflow);
	free(packed);
	f->length = got < 0 ? 0 : (size_t)got;
	if (got >= 0) return true;
	if (!overflow) return damaged(diag, span, f);
	diag_error(diag, span, "'%s' would unpack from %zu KiB to more than %zu MiB, which no data does", f->path, f->size >> 10,
	           limit >> 20);
	diag_help(diag, "unpack it by hand if it is what you expect");
	return false;
}

const char *file_text(File *f, Diag *diag, Span span, size_t *length) {
	pthread_mutex_lock(&f->lock);
	if (!f->text) {
		if (read_text(f, diag, span)) {
			f->text[f->length] = 0;
		} else {
			free(f->text);
			f->text = NULL;
		}
	}
	*length = f->length;
	const char *text = f->text;
	pthread_mutex_unlock(&f->lock);
	return text;
}

void file_use(File *f) {
	pthread_mutex_lock(&f->lock);
	f->users++;
	pthread_mutex_unlock(&f->lock);
}

void file_release(File *f) {
	pthread_mutex_lock(&f->lock);
	if (--f->users == 0) {
		free(f->text);
		f->text = NULL;
	}
	pthread_mutex_unlock(&f->lock);
}
