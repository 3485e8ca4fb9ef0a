/* atomic.c: in: a path and bytes; out: the file replaced as a whole, or as it was.
 * A temporary file in the same folder is written, flushed to the disk and renamed.  What a symbolic link names is
 * replaced, not the link; what is no regular file (a pipe, /dev/null) is written to as it stands. */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct AtomicFile { Diag *diag; FILE *out; char *path, *temporary; int error; };   /* temporary NULL: written directly */

bool write_failed(Diag *diag, const char *doing, const char *path, int error) {
	diag_error(diag, (Span){0}, "cannot %s '%s': %s", doing, path, strerror(error));
	diag->failed = true;
	return false;
}

static void atomic_free(AtomicFile *f) {
	free(f->path);
	free(f->temporary);
	free(f);
}

/* Opens the temporary file, or the path itself where it must not be replaced; -1: errno. */
static int open_target(AtomicFile *f) {
	struct stat status;
	bool there = stat(f->path, &status) == 0;
	if (there && !S_ISREG(status.st_mode)) return open(f->path, O_WRONLY | O_CLOEXEC);
	size_t length = strlen(f->path) + 16;
	f->temporary = malloc(length);
	if (!f->temporary) fatal("out of memory");
	snprintf(f->temporary, length, "%s.XXXXXX", f->path);
	int fd = mkstemp(f->temporary);
	mode_t mask = umask(0);
	umask(mask);
	if (fd >= 0) fchmod(fd, there ? status.st_mode & 07777 : 0666 & ~mask);
	return fd;
}

AtomicFile *atomic_open(Diag *diag, const char *path) {
	AtomicFile *f = calloc(1, sizeof *f);
	if (!f) fatal("out of memory");
	f->diag = diag;
	f->path = realpath(path, NULL);
	if (!f->path) f->path = strdup(path);
	if (!f->path) fatal("out of memory");
	int fd = open_target(f);
	if (fd >= 0) f->out = fdopen(fd, "wb");
	if (f->out) return f;
	write_failed(diag, "write", path, errno);
	if (fd >= 0) {
		close(fd);
		if (f->temporary) unlink(f->temporary);
	}
	atomic_free(f);
	return NULL;
}

void atomic_add(AtomicFile *f, const void *data, size_t size) {
	if (!f->error && size && fwrite(data, 1, size, f->out) != size) f->error = errno ? errno : EIO;
}

void atomic_abandon(AtomicFile *f) {
	fclose(f->out);
	if (f->temporary) unlink(f->temporary);
	atomic_free(f);
}

bool atomic_commit(AtomicFile *f) {
	errno = 0;
	if (!f->error && (fflush(f->out) != 0 || (f->temporary && fsync(fileno(f->out)) != 0))) f->error = errno ? errno : EIO;
	if (fclose(f->out) != 0 && !f->error) f->error = errno ? errno : EIO;
	if (!f->error && f->temporary && rename(f->temporary, f->path) != 0) f->error = errno;
	if (f->error) {
		write_failed(f->diag, "write", f->path, f->error);
		if (f->temporary) unlink(f->temporary);
	}
	bool ok = !f->error;
	atomic_free(f);
	return ok;
}

bool write_atomic(Diag *diag, const char *path, const void *data, size_t size) {
	AtomicFile *f = atomic_open(diag, path);
	if (!f) return false;
	atomic_add(f, data, size);
	return atomic_commit(f);
}

/* Large blocks are a mapping of their own, which the system zeroes page by page at first use. */
char *block_new(size_t bytes) {
	size_t size = MAX(bytes, (size_t)64);
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) fatal("out of memory (%zu MiB asked for)", size >> 20);
	if (size >= (size_t)4 << 20) madvise(p, size, MADV_HUGEPAGE);
	return p;
}

void block_free(char *block, size_t bytes) {
	if (block) munmap(block, MAX(bytes, (size_t)64));
}
