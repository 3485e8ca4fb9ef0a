/* guarded.h: for tests: memory between pages that cannot be touched, so that reading outside crashes; what is left of its own
 * pages holds a pattern, so that writing there is found. */
#ifndef NNC_TEST_GUARDED_H
#define NNC_TEST_GUARDED_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base.h"

enum { GUARD_PAGE = 4096, GUARD_PATTERN = 0x5a };
typedef struct Guarded { char *map, *memory; size_t mapped, bytes; struct Guarded *next; } Guarded;

/* at_end: the memory ends (as near as `alignment` lets it) where the pages end; else it begins where they begin. */
static inline char *guarded_new(Arena *arena, Guarded **list, size_t bytes, size_t alignment, bool at_end) {
	size_t inside = (bytes + GUARD_PAGE - 1) / GUARD_PAGE * GUARD_PAGE;
	Guarded *g = NEW(arena, Guarded);
	g->mapped = inside + 2 * GUARD_PAGE;
	g->map = mmap(NULL, g->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->map == MAP_FAILED || (inside && mprotect(g->map + GUARD_PAGE, inside, PROT_READ | PROT_WRITE)))
		fatal("no memory to guard");
	g->bytes = bytes;
	g->memory = g->map + GUARD_PAGE + (at_end ? (inside - bytes) / alignment * alignment : 0);
	memset(g->map + GUARD_PAGE, GUARD_PATTERN, inside);
	g->next = *list;
	*list = g;
	return g->memory;
}

static inline bool guarded_hold(const Guarded *list) {
	for (const Guarded *g = list; g; g = g->next) {
		for (const char *p = g->map + GUARD_PAGE; p < g->map + g->mapped - GUARD_PAGE; p++)
			if ((p < g->memory || p >= g->memory + g->bytes) && *p != GUARD_PATTERN) return false;
	}
	return true;
}

static inline void guarded_free(Guarded **list) {
	for (Guarded *g = *list; g; g = g->next) munmap(g->map, g->mapped);
	*list = NULL;
}

#endif
