/* link: nnc_llvm nnc_llvm_libs nnc_base
 * The cache of objects: what was written comes back, what was touched does not, and nothing it cannot do is an error. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "codegen.h"

static char folder[64];
static Arena *arena;

static int set_up(void **unused) {
	(void)unused;
	snprintf(folder, sizeof folder, "/tmp/nnc-cache-XXXXXX");
	if (!mkdtemp(folder)) return -1;
	unsetenv("NNC_CACHE");
	setenv("XDG_CACHE_HOME", folder, 1);
	arena = arena_new();
	return 0;
}

static int tear_down(void **unused) {
	(void)unused;
	char command[100];
	snprintf(command, sizeof command, "rm -rf %s", folder);
	arena_free(arena);
	return system(command);
}

static CacheKey key_of(const char *program, int workers) {
	static const Target target = {.triple = "t", .cpu = "c", .features = "", .lanes = 4};
	return cache_key(arena, program, &target, workers);
}

static const Object objects[2] = {{"one object", 10}, {"and another, with \0 in it", 25}};

static bool comes_back(CacheKey key) {
	Object found[2];
	if (!cache_read(arena, key, 2, found)) return false;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(found[i].size, objects[i].size);
		assert_memory_equal(found[i].bytes, objects[i].bytes, objects[i].size);
	}
	return true;
}

/* The path of the only object in the cache. */
static char *only_file(void) {
	char *path = NULL, *where = arena_printf(arena, "%s/nnc", folder);
	DIR *list = opendir(where);
	if (!list) return NULL;
	for (struct dirent *d; (d = readdir(list));)
		if (d->d_name[0] != '.') {
			assert_null(path);
			path = arena_printf(arena, "%s/%s", where, d->d_name);
		}
	closedir(list);
	return path;
}

static void round_trip(void **unused) {
	(void)unused;
	assert_false(comes_back(key_of("p", 1)));
	cache_write(arena, key_of("p", 1), 2, objects);
	assert_true(comes_back(key_of("p", 1)));
	assert_false(comes_back(key_of("p", 2)));
	assert_false(comes_back(key_of("q", 1)));
	Object found[3];
	assert_false(cache_read(arena, key_of("p", 1), 1, found));
	assert_false(cache_read(arena, key_of("p", 1), 3, found));
}

static void every_byte_counts(void **unused) {
	(void)unused;
	CacheKey key = key_of("p", 1);
	cache_write(arena, key, 2, objects);
	char *path = only_file(), bytes[4096];
	int file = open(path, O_RDWR);
	ssize_t size = read(file, bytes, sizeof bytes);
	assert_true(size > 0 && size < (ssize_t)sizeof bytes);
	for (ssize_t i = 0; i < size; i++) {
		char changed = (char)(bytes[i] ^ (1 << (i % 8)));
		assert_int_equal(pwrite(file, &changed, 1, i), 1);
		assert_false(comes_back(key));
		assert_int_equal(pwrite(file, &bytes[i], 1, i), 1);
	}
	assert_true(comes_back(key));
	for (ssize_t n = size - 1; n >= 0; n -= n > 64 ? 37 : 1) {
		assert_int_equal(ftruncate(file, n), 0);
		assert_false(comes_back(key));
	}
	close(file);
	cache_write(arena, key, 2, objects);
	assert_true(comes_back(key));
}

static void places_it_cannot_use(void **unused) {
	(void)unused;
	CacheKey key = key_of("p", 1);
	char *where = arena_printf(arena, "%s/nnc", folder);
	assert_int_equal(mkdir(where, 0777), 0);
	assert_int_equal(chmod(where, 0777), 0); /* others may write: not ours to trust */
	cache_write(arena, key, 2, objects);
	assert_null(only_file());
	assert_int_equal(chmod(where, 0700), 0);
	cache_write(arena, key, 2, objects);
	assert_true(comes_back(key));
	assert_int_equal(chmod(where, 0770), 0);
	assert_false(comes_back(key));
	static const char *const bad[] = {"/dev/null", "/dev/null/x", "/proc/nowhere", "relative"};
	for (size_t i = 0; i < COUNT(bad); i++) {
		setenv("XDG_CACHE_HOME", bad[i], 1);
		unsetenv("HOME");
		cache_write(arena, key, 2, objects);
		assert_false(comes_back(key));
		unsetenv("XDG_CACHE_HOME");
		setenv("HOME", bad[i], 1);
		cache_write(arena, key, 2, objects);
		assert_false(comes_back(key));
	}
	unsetenv("HOME");
	cache_write(arena, key, 2, objects);
	assert_false(comes_back(key));
	setenv("NNC_CACHE", arena_printf(arena, "%s/a/b/c", folder), 1);
	cache_write(arena, key, 2, objects);
	assert_true(comes_back(key));
	setenv("NNC_CACHE", "off", 1);
	assert_false(comes_back(key));
}

static void a_link_is_not_followed(void **unused) {
	(void)unused;
	CacheKey key = key_of("p", 1);
	cache_write(arena, key, 2, objects);
	char *path = only_file(), *moved = arena_printf(arena, "%s/moved", folder);
	assert_int_equal(rename(path, moved), 0);
	assert_int_equal(symlink(moved, path), 0);
	assert_false(comes_back(key));
	cache_write(arena, key, 2, objects);
	assert_true(comes_back(key));
}

static void many_at_once(void **unused) {
	(void)unused;
	for (int child = 0; child < 4; child++)
		if (!fork()) {
			for (int i = 0; i < 100; i++) {
				CacheKey key = key_of("p", 1 + i % 3);
				Object found[2];
				cache_write(arena, key, 2, objects);
				if (!cache_read(arena, key, 2, found) || memcmp(found[1].bytes, objects[1].bytes, 25)) _exit(1);
			}
			_exit(0);
		}
	for (int child = 0; child < 4; child++) {
		int status;
		wait(&status);
		assert_int_equal(status, 0);
	}
	assert_true(comes_back(key_of("p", 1)));
}

/* Sparse files stand for large objects. */
static void the_oldest_go(void **unused) {
	(void)unused;
	cache_write(arena, key_of("first", 1), 2, objects);
	char *first = only_file();
	char *where = arena_printf(arena, "%s/nnc", folder);
	for (int i = 0; i < 4; i++) {
		char *path = arena_printf(arena, "%s/%032x.o", where, i);
		int file = open(path, O_CREAT | O_WRONLY, 0600);
		assert_int_equal(ftruncate(file, 100 << 20), 0);
		struct timespec used[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};
		futimens(file, used);
		close(file);
	}
	char *other = arena_printf(arena, "%s/notes.txt", where), *left = arena_printf(arena, "%s/%032x.t1.2", where, 9);
	close(open(other, O_CREAT | O_WRONLY, 0600));
	close(open(left, O_CREAT | O_WRONLY, 0600));
	utimensat(AT_FDCWD, left, (struct timespec[]){{.tv_sec = 5}, {.tv_sec = 5}}, 0);
	utimensat(AT_FDCWD, other, (struct timespec[]){{.tv_sec = 5}, {.tv_sec = 5}}, 0);
	cache_write(arena, key_of("second", 1), 2, objects);
	assert_int_equal(access(first, F_OK), 0);
	assert_int_equal(access(other, F_OK), 0);
	assert_int_not_equal(access(left, F_OK), 0);
	assert_true(comes_back(key_of("second", 1)));
	for (int i = 0; i < 4; i++) assert_int_equal(access(arena_printf(arena, "%s/%032x.o", where, i), F_OK) == 0, i == 3);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(round_trip, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(every_byte_counts, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(places_it_cannot_use, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_link_is_not_followed, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(many_at_once, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(the_oldest_go, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
