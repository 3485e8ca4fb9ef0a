/* cache.c: finished objects on disk.
 *
 * In: a key (a text that says everything the objects were made from) and objects.  Out: the same bytes again, or nothing.
 * A file is  head | key | sizes | objects ; the head holds a checksum of all the rest, and a reader compares the whole
 * key, so neither a damaged file nor a collision of hashes can give code that is not the program's. */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "codegen.h"

enum { MAX_OBJECTS = 64, MAX_FILES = 100000 };
static const int64_t max_cache_bytes = (int64_t)256 << 20, max_file_bytes = (int64_t)128 << 20;
static const char magic[16] = "nnc object 1\n";

typedef struct Head {
	char magic[16];
	uint64_t sum[2], key_length, count, size[MAX_OBJECTS];
} Head;

/* ---- the key ---- */

/* The linker's identity of the running program: another build may generate other code for the same kernels. */
static int find_build_id(struct dl_phdr_info *info, size_t size, void *to) {
	(void)size;
	Text *text = to;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type != PT_NOTE) continue;
		const char *at = (const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr), *end = at + info->dlpi_phdr[i].p_memsz;
		for (ElfW(Nhdr) note; at + sizeof note <= end;
		     at += sizeof note + (note.n_namesz + 3) / 4 * 4 + (note.n_descsz + 3) / 4 * 4) {
			memcpy(&note, at, sizeof note);
			const char *name = at + sizeof note;
			if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 || memcmp(name, "GNU", 4)) continue;
			for (unsigned b = 0; b < note.n_descsz; b++) text_add(text, "%02x", (unsigned char)name[4 + b]);
		}
	}
	return 1; /* the program itself comes first; libraries do not matter */
}

static void add_build(Text *text) {
	size_t before = text->length;
	struct stat info;
	dl_iterate_phdr(find_build_id, text);
	if (text->length == before && !stat("/proc/self/exe", &info))
		text_add(text, "%lld bytes of %lld.%09ld", (long long)info.st_size, (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
}

CacheKey cache_key(Arena *arena, const char *program, const Target *target, int workers) {
	Text text = {.arena = arena};
	text_add(&text, "nnc %s LLVM %s workers %d\n%s\nbuild ", NNC_VERSION, llvm_version_text(), workers,
	         target_text(arena, target));
	add_build(&text);
	text_add(&text, "\n");
	text_bytes(&text, program, strlen(program));
	return (CacheKey){text.data, text.length};
}

/* ---- the folder ---- */

/* Makes `path` and what is above it. */
static bool make_folders(char *path) {
	for (char *at = path + 1;; at++) {
		if (*at && *at != '/') continue;
		char kept = *at;
		*at = 0;
		bool ok = mkdir(path, 0700) == 0 || errno == EEXIST || errno == EROFS || errno == EACCES;
		*at = kept;
		if (!ok) return false;
		if (!kept) return true;
	}
}

/* Opens the cache folder, or -1.  It must be a folder of ours that nobody else may write to. */
static int open_folder(Arena *arena, bool make) {
	const char *own = getenv("NNC_CACHE"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char *path;
	struct stat info;               /* of a HOME that must be there: it is not ours to make */
	if (own && !strcmp(own, "off")) return -1;
	if (own && *own == '/') path = arena_printf(arena, "%s", own);
	else if (cache && *cache == '/') path = arena_printf(arena, "%s/nnc", cache);
	else if (home && *home == '/' && !stat(home, &info)) path = arena_printf(arena, "%s/.cache/nnc", home);
	else return -1;
	if (make && !make_folders(path)) return -1;
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder >= 0 && (fstat(folder, &info) || info.st_uid != geteuid() || (info.st_mode & (S_IWGRP | S_IWOTH)))) {
		close(folder);
		return -1;
	}
	return folder;
}

static const char *file_name(Arena *arena, CacheKey key) {
	return arena_printf(arena, "%016llx%016llx.o", (unsigned long long)hash_bytes(key.text, key.length, 1),
	                    (unsigned long long)hash_bytes(key.text, key.length, 2));
}

/* ---- files ---- */

static bool read_all(int file, char *to, size_t size) {
	while (size) {
		ssize_t n = read(file, to, size);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return false;
		to += n;
		size -= (size_t)n;
	}
	return true;
}

static bool write_all(int file, const char *from, size_t size) {
	while (size) {
		ssize_t n = write(file, from, size);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return false;
		from += n;
		size -= (size_t)n;
	}
	return true;
}

static void checksum(const char *data, size_t size, uint64_t sum[2]) {
	sum[0] = hash_bytes(data, size, 3);
	sum[1] = hash_bytes(data, size, 4);
}

enum { SUM_END = offsetof(Head, key_length) }; /* the checksum covers everything after itself */

/* Objects out of the bytes of a file, when everything fits to the byte. */
static bool unpack(const char *bytes, size_t size, CacheKey key, int count, Object *objects) {
	Head head;
	memcpy(&head, bytes, sizeof head);
	uint64_t sum[2];
	checksum(bytes + SUM_END, size - SUM_END, sum);
	if (memcmp(head.magic, magic, sizeof magic) || head.sum[0] != sum[0] || head.sum[1] != sum[1]) return false;
	if (head.count != (uint64_t)count || head.key_length != key.length || key.length > size - sizeof head) return false;
	const char *at = bytes + sizeof head;
	size_t left = size - sizeof head - key.length;
	if (memcmp(at, key.text, key.length)) return false;
	at += key.length;
	for (int i = 0; i < count; i++) {
		if (head.size[i] > left) return false;
		objects[i] = (Object){at, (size_t)head.size[i]};
		at += objects[i].size;
		left -= objects[i].size;
	}
	return left == 0;
}

bool cache_read(Arena *arena, CacheKey key, int count, Object *objects) {
	int folder = open_folder(arena, false);
	if (folder < 0) return false;
	int file = openat(folder, file_name(arena, key), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	close(folder);
	if (file < 0) return false;
	struct stat info;
	bool ok = !fstat(file, &info) && S_ISREG(info.st_mode) && info.st_uid == geteuid() && info.st_size >= (off_t)sizeof(Head) &&
	          info.st_size <= max_file_bytes;
	if (ok) {
		char *bytes = arena_alloc(arena, (size_t)info.st_size);
		ok = read_all(file, bytes, (size_t)info.st_size) && unpack(bytes, (size_t)info.st_size, key, count, objects);
	}
	if (ok) futimens(file, NULL); /* used now: eviction takes the oldest */
	close(file);
	return ok;
}

/* ---- eviction ---- */

typedef struct Entry {
	char *name;
	int64_t bytes;
	struct timespec used;
} Entry;

static int by_age(const void *a, const void *b) {
	const struct timespec *x = &((const Entry *)a)->used, *y = &((const Entry *)b)->used;
	if (x->tv_sec != y->tv_sec) return x->tv_sec < y->tv_sec ? -1 : 1;
	return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

/* Only names of the cache's own making are counted or removed: 32 hexadecimal digits and ".o", or what a writer that died left.
 */
static bool is_ours(const char *name, bool *leftover) {
	size_t digits = strspn(name, "0123456789abcdef");
	*leftover = digits == 32 && name[32] == '.' && name[33] == 't';
	return digits == 32 && (*leftover || !strcmp(name + 32, ".o"));
}

static void evict(Arena *arena, int folder) {
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy < 0 ? NULL : fdopendir(copy);
	if (!list) {
		if (copy >= 0) close(copy);
		return;
	}
	VEC(Entry) entries = {0};
	int64_t total = 0;
	time_t now = time(NULL);
	for (struct dirent *d; entries.length < MAX_FILES && (d = readdir(list));) {
		struct stat info;
		bool leftover;
		if (!is_ours(d->d_name, &leftover) || fstatat(folder, d->d_name, &info, AT_SYMLINK_NOFOLLOW)) continue;
		if (leftover) {
			if (now - info.st_mtime > 3600) unlinkat(folder, d->d_name, 0);
			continue;
		}
		Entry entry = {arena_printf(arena, "%s", d->d_name), (int64_t)info.st_size, info.st_mtim};
		vec_push(arena, &entries, entry);
		total += entry.bytes;
	}
	if (total > max_cache_bytes) {
		qsort(entries.data, (size_t)entries.length, sizeof *entries.data, by_age);
		for (int i = 0; i < entries.length - 1 && total > max_cache_bytes / 4 * 3; i++)
			if (!unlinkat(folder, entries.data[i].name, 0)) total -= entries.data[i].bytes;
	}
	closedir(list);
}

void cache_write(Arena *arena, CacheKey key, int count, const Object *objects) {
	size_t size = sizeof(Head) + key.length;
	for (int i = 0; i < count; i++) size += objects[i].size;
	if (count > MAX_OBJECTS || (int64_t)size > max_file_bytes) return;
	int folder = open_folder(arena, true);
	if (folder < 0) return;
	Head head = {.key_length = key.length, .count = (uint64_t)count};
	memcpy(head.magic, magic, sizeof magic);
	char *bytes = arena_alloc(arena, size), *at = bytes + sizeof head;
	memcpy(at, key.text, key.length);
	at += key.length;
	for (int i = 0; i < count; i++) {
		memcpy(at, objects[i].bytes, objects[i].size);
		at += objects[i].size;
		head.size[i] = objects[i].size;
	}
	memcpy(bytes, &head, sizeof head);
	checksum(bytes + SUM_END, size - SUM_END, head.sum);
	memcpy(bytes, &head, sizeof head);
	const char *name = file_name(arena, key);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	const char *temporary = arena_printf(arena, "%.32s.t%ld.%ld", name, (long)getpid(), now.tv_nsec);
	int file = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file >= 0) {
		bool ok = write_all(file, bytes, size);
		ok = close(file) == 0 && ok;
		if (!ok || renameat(folder, temporary, folder, name)) unlinkat(folder, temporary, 0);
		evict(arena, folder);
	}
	close(folder);
}
