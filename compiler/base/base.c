/* base.c: in: nothing; out: arenas, strings, growing arrays; guarantees: zeroed memory or a clean exit. */
#include "base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* mapped: bytes, if malloc knows nothing of it. */
typedef struct Block { struct Block *next; size_t used, size, mapped; } Block;
typedef struct Interned { struct Interned *next; size_t length; char text[]; } Interned;
/* Blocks small enough for malloc to keep: larger ones go to the system and back, a page fault for every page. */
enum { BLOCK_HEADER = 64, BLOCK_SIZE = 1 << 16, INTERN_BUCKETS = 4096 };
/* An arena that has grown large gets pages of 2 MiB, where the system has them: one fault instead of 512. */
enum { LARGE_ARENA = 4 << 20, CHUNK_SIZE = 4 << 20 };

struct Arena { Block *blocks; size_t bytes; Interned **buckets; };

void fatal(const char *format, ...) {
	va_list args;
	va_start(args, format);
	fputs("nnc: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(EXIT_RUN);
}

void die_at(const char *file, int line, const char *format, ...) {
	va_list args;
	va_start(args, format);
	fprintf(stderr, "nnc: internal error at %s:%d: ", file, line);
	vfprintf(stderr, format, args);
	fputs("\nThis is a bug in nnc; please report it with the file that shows it.\n", stderr);
	va_end(args);
	abort();
}

Arena *arena_new(void) {
	Arena *arena = calloc(1, sizeof *arena);
	if (!arena) fatal("out of memory");
	return arena;
}

void arena_free(Arena *arena) {
	if (!arena) return;
	for (Block *b = arena->blocks, *next; b; b = next) {
		next = b->next;
		if (b->mapped) munmap(b, b->mapped);
		else free(b);
	}
	free(arena);
}

static Block *add_block(Arena *arena, Block *b, size_t total) {
	b->size = total - BLOCK_HEADER;
	b->next = arena->blocks;
	arena->blocks = b;
	return b;
}

/* Zeroed by the system; NULL: it has none to give. */
static Block *map_block(Arena *arena, size_t total) {
	Block *b = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b == MAP_FAILED) return NULL;
	madvise(b, total, MADV_HUGEPAGE);
	b->mapped = total;
	return add_block(arena, b, total);
}

static Block *block_new(Arena *arena, size_t size) {
	if (size > SIZE_MAX / 2) fatal("out of memory");
	if (arena->bytes >= LARGE_ARENA && !SANITIZED) {   /* leaks are looked for in what malloc gave */
		Block *b = map_block(arena, MAX((size_t)CHUNK_SIZE, (BLOCK_HEADER + size + 4095) / 4096 * 4096));
		if (b) return b;
	}
	size_t total = whole_lines(BLOCK_HEADER + size);
	Block *b = aligned_alloc(64, total);
	if (!b) fatal("out of memory (%zu MiB asked for)", total >> 20);
	memset(b, 0, total);
	return add_block(arena, b, total);
}

void *arena_alloc(Arena *arena, size_t size) {
	size_t align = size >= 4096 ? 64 : 16;
	Block *b = arena->blocks;
	size_t start = b ? (b->used + align - 1) / align * align : 0;
	if (!b || size > b->size || start > b->size - size) {
		Block *top = b;
		b = block_new(arena, size > BLOCK_SIZE / 4 ? size : (size_t)BLOCK_SIZE);
		if (top && b->size - size < top->size - top->used) { /* keep filling the block that was current */
			arena->blocks = top;
			b->next = top->next;
			top->next = b;
		}
		start = 0;
	}
	b->used = start + size;
	arena->bytes += size;
	return (char *)b + BLOCK_HEADER + start;
}

/* Can the last allocation become longer where it is?  What arrays have outgrown is so not left behind. */
static bool arena_extend(Arena *arena, const void *data, size_t from, size_t to) {
	Block *b = arena->blocks;
	if (!b || !data || (const char *)data + from != (char *)b + BLOCK_HEADER + b->used) return false;
	if (to - from > b->size - b->used) return false;
	b->used += to - from;
	arena->bytes += to - from;
	return true;
}

size_t arena_bytes(const Arena *arena) { return arena->bytes; }

void *arena_copy(Arena *arena, const void *data, size_t size) {
	void *copy = arena_alloc(arena, size);
	if (size) memcpy(copy, data, size);
	return copy;
}

char *arena_text(Arena *arena, const char *text, size_t length) {
	char *copy = arena_alloc(arena, length + 1);
	if (length) memcpy(copy, text, length);
	return copy;
}

char *arena_vprintf(Arena *arena, const char *format, va_list args) {
	va_list again;
	va_copy(again, args);
	int length = vsnprintf(NULL, 0, format, args);
	if (length < 0) die("bad format '%s'", format);
	char *out = arena_alloc(arena, (size_t)length + 1);
	vsnprintf(out, (size_t)length + 1, format, again);
	va_end(again);
	return out;
}

char *arena_printf(Arena *arena, const char *format, ...) {
	va_list args;
	va_start(args, format);
	char *out = arena_vprintf(arena, format, args);
	va_end(args);
	return out;
}

const char *arena_count(Arena *arena, int64_t n, const char *noun) {
	size_t length = strlen(noun);
	bool hisses = length > 2 && (noun[length - 1] == 's' || !strcmp(noun + length - 3, "tch"));
	return arena_printf(arena, "%lld %s%s", (long long)n, noun, n == 1 ? "" : hisses ? "es" : "s");
}

const char *arena_intern(Arena *arena, const char *text, size_t length) {
	if (!arena->buckets) arena->buckets = NEW_ARRAY(arena, Interned *, INTERN_BUCKETS);
	Interned **bucket = &arena->buckets[hash_bytes(text, length, 0) % INTERN_BUCKETS];
	for (Interned *i = *bucket; i; i = i->next)
		if (i->length == length && memcmp(i->text, text, length) == 0) return i->text;
	Interned *i = arena_alloc(arena, sizeof *i + length + 1);
	i->length = length;
	memcpy(i->text, text, length);
	i->next = *bucket;
	*bucket = i;
	return i->text;
}

void vec_reserve(Arena *arena, void **data, int *capacity, int length, size_t size) {
	if (length < *capacity) return;
	int wanted = *capacity ? *capacity * 2 : 8;
	if (!arena_extend(arena, *data, (size_t)*capacity * size, (size_t)wanted * size)) {
		void *grown = arena_alloc(arena, (size_t)wanted * size);
		if (length) memcpy(grown, *data, (size_t)length * size);
		*data = grown;
	}
	*capacity = wanted;
}

void text_bytes(Text *text, const char *data, size_t length) {
	if (text->length + length + 1 > text->capacity) {
		size_t capacity = MAX(text->capacity * 2, text->length + length + 64);
		if (!arena_extend(text->arena, text->data, text->capacity, capacity)) {
			char *grown = arena_alloc(text->arena, capacity);
			if (text->length) memcpy(grown, text->data, text->length);
			text->data = grown;
		}
		text->capacity = capacity;
	}
	if (length) memcpy(text->data + text->length, data, length);
	text->length += length;
	text->data[text->length] = 0;
}

void text_vadd(Text *text, const char *format, va_list args) {
	char small[256];
	va_list again;
	va_copy(again, args);
	int length = vsnprintf(small, sizeof small, format, args);
	if (length < 0) die("bad format '%s'", format);
	if ((size_t)length < sizeof small) {
		text_bytes(text, small, (size_t)length);
	} else {
		char *large = arena_vprintf(text->arena, format, again);
		text_bytes(text, large, (size_t)length);
	}
	va_end(again);
}

void text_add(Text *text, const char *format, ...) {
	va_list args;
	va_start(args, format);
	text_vadd(text, format, args);
	va_end(args);
}

void text_string(Text *text, const char *string) { text_bytes(text, string, strlen(string)); }

void text_integer(Text *text, int64_t value) {
	char digits[24];
	int at = (int)sizeof digits;
	uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
	do digits[--at] = (char)('0' + left % 10);
	while (left /= 10);
	if (value < 0) digits[--at] = '-';
	text_bytes(text, digits + at, sizeof digits - (size_t)at);
}

void text_number(Text *text, double value) {
	char buffer[40];
	if (isnan(value)) snprintf(buffer, sizeof buffer, "nan");
	else if (isinf(value)) snprintf(buffer, sizeof buffer, value > 0 ? "inf" : "-inf");
	else if (fabs(value) < 1e15 && value == floor(value) && value != 0) snprintf(buffer, sizeof buffer, "%.0f", value);
	else
		for (int digits = 1; digits <= 17; digits++) {
			snprintf(buffer, sizeof buffer, "%.*g", digits, value);
			if (strtod(buffer, NULL) == value) break;
		}
	text_add(text, "%s", buffer);
}

/* Where the key stands, or the free slot that it would take; at least half of the slots are free. */
static int map_slot(const PointerMap *map, const void *key) {
	uint64_t at = hash_mix((uintptr_t)key);
	while (map->key[at & (uint64_t)(map->slots - 1)] && map->key[at & (uint64_t)(map->slots - 1)] != key) at++;
	return (int)(at & (uint64_t)(map->slots - 1));
}

int map_find(const PointerMap *map, const void *key) {
	int slot = map->slots ? map_slot(map, key) : 0;
	return map->slots && map->key[slot] ? map->value[slot] : -1;
}

void map_add(Arena *arena, PointerMap *map, const void *key, int value) {
	if (2 * (map->length + 1) > map->slots) {
		PointerMap old = *map;
		map->slots = old.slots ? 4 * old.slots : 32;
		map->key = NEW_ARRAY(arena, const void *, map->slots);
		map->value = NEW_ARRAY(arena, int, map->slots);
		map->length = 0;
		for (int i = 0; i < old.slots; i++)
			if (old.key[i]) map_add(arena, map, old.key[i], old.value[i]);
	}
	int slot = map_slot(map, key);
	map->key[slot] = key;
	map->value[slot] = value;
	map->length++;
}

uint64_t hash_bytes(const void *data, size_t size, uint64_t seed) {
	const unsigned char *p = data;
	uint64_t h = seed ^ (0xcbf29ce484222325u + size);
	for (; size >= 8; p += 8, size -= 8) {
		uint64_t word;
		memcpy(&word, p, 8);
		h = hash_mix(h ^ word);
	}
	uint64_t tail = 0;
	memcpy(&tail, p, size);
	return hash_mix(h ^ tail);
}

int edit_distance(const char *a, const char *b, int limit) {
	enum { LONGEST = 64 };
	size_t n = strlen(a), m = strlen(b);
	if (n > LONGEST || m > LONGEST) return limit + 1;
	int rows[3][LONGEST + 1];
	for (size_t j = 0; j <= m; j++) rows[0][j] = (int)j;
	for (size_t i = 1; i <= n; i++) {
		int *row = rows[i % 3], *above = rows[(i + 2) % 3], *two = rows[(i + 1) % 3];
		row[0] = (int)i;
		for (size_t j = 1; j <= m; j++) {
			int best = MIN(above[j] + 1, row[j - 1] + 1);
			best = MIN(best, above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) best = MIN(best, two[j - 2] + 1);
			row[j] = best;
		}
	}
	return MIN(rows[n % 3][m], limit + 1);
}

/* Short names are near many others; and who makes two slips has the first letter right. */
const char *nearest_name(const char *name, const char *const *candidates, int count) {
	size_t length = strlen(name);
	int limit = length <= 5 ? 1 : length <= 8 ? 2 : 3, best = limit + 1;
	const char *found = NULL;
	for (int i = 0; i < count; i++) {
		int distance = edit_distance(name, candidates[i], limit);
		if (distance > 1 && (name[0] | 32) != (candidates[i][0] | 32)) continue;
		if (distance < best && (size_t)distance < length) best = distance, found = candidates[i];
	}
	return found;
}
