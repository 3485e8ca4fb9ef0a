/* run.c: in: a program's file and --out; out: the folder of the run.
 * Guaranteed: a folder that holds anything but a run of this file is left as it is, and one that another training writes too. */
#include "host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *base_name(const char *path) {
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* model.nn -> model.run, in the current folder's terms as the file was given. */
static const char *default_folder(Arena *arena, const char *file) {
	size_t length = strlen(file);
	if (length > 3 && strcmp(file + length - 3, ".nn") == 0) length -= 3;
	return arena_printf(arena, "%.*s.run", (int)length, file);
}

static int entries_in(const char *folder) {
	DIR *dir = opendir(folder);
	int n = 0;
	if (!dir) return -1;
	for (struct dirent *e; (e = readdir(dir));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) n++;
	closedir(dir);
	return n;
}

static bool check_run(Diag *diag, const char *folder, const char *marker, const char *file) {
	json_t *run = json_load_file(marker, 0, NULL);
	const char *of = json_string_value(json_object_get(run, "file"));
	bool ok = of && strcmp(of, base_name(file)) == 0;
	if (!ok) {
		if (of) diag_error(diag, (Span){0}, "the folder '%s' holds a run of '%s'", folder, of);
		else diag_error(diag, (Span){0}, "the folder '%s' is not a run of '%s'", folder, base_name(file));
		diag_help(diag, "name another folder with --out");
	}
	json_decref(run);
	return ok;
}

int run_lock(Diag *diag, const char *folder) {
	int lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) == 0) return lock < 0 ? RUN_UNLOCKED : lock;
	bool busy = errno == EWOULDBLOCK;
	close(lock);
	if (!busy) return RUN_UNLOCKED;
	diag_error(diag, (Span){0}, "another training writes to the folder '%s'", folder);
	diag_help(diag, "wait for its end, or name another folder with --out");
	return RUN_BUSY;
}

void run_unlock(int lock) {
	if (lock >= 0) close(lock);
}

static bool write_marker(Diag *diag, const char *marker, const char *file) {
	json_t *run = json_pack("{s:s, s:s}", "nnc", NNC_VERSION, "file", base_name(file));
	char *text = json_dumps(run, JSON_COMPACT);
	json_decref(run);
	if (!text) fatal("out of memory");
	bool ok = write_atomic(diag, marker, text, strlen(text));
	free(text);
	return ok;
}

const char *run_folder(Arena *arena, Diag *diag, const char *program_file, const char *out) {
	const char *folder = out ? out : default_folder(arena, program_file);
	const char *marker = arena_printf(arena, "%s/run.json", folder);
	struct stat status;
	bool made = mkdir(folder, 0777) == 0;
	int error = errno;
	if (!made && error != EEXIST) {
		write_failed(diag, "make the folder", folder, error);
		return NULL;
	}
	int lock = run_lock(diag, folder);   /* two that begin at once: one of them makes it a run's */
	if (lock == RUN_BUSY) return NULL;
	bool ok;
	if (stat(marker, &status) == 0 || entries_in(folder) != 0) ok = check_run(diag, folder, marker, program_file);
	else ok = write_marker(diag, marker, program_file);
	run_unlock(lock);
	return ok ? folder : NULL;
}
