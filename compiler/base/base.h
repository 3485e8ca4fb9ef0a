/* base.h: memory, strings and growing arrays, shared by every part of nnc.
 *
 * One Arena serves one compilation: memory from it is zeroed, is never freed piece by piece, and goes
 * away with arena_free().  When the system has no memory left, the process says so and exits with 3;
 * so no caller checks for NULL. */
#ifndef NNC_BASE_H
#define NNC_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined __GNUC__ || defined __clang__
#define PRINTF_LIKE(text, first) __attribute__((__format__(printf, text, first)))
#define NORETURN __attribute__((noreturn))
#else
#define PRINTF_LIKE(text, first)
#define NORETURN
#endif

/* Is this a build with AddressSanitizer? */
#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#elif defined(__has_feature)
enum { SANITIZED = __has_feature(address_sanitizer) };
#else
enum { SANITIZED = 0 };
#endif

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
/* Of whole numbers that are not negative, b > 0. */
static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }
/* Bytes, up to the end of a cache line: what stands in one block begins at multiples of it. */
static inline size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Exit codes of the command line; scripts rely on them. */
enum { EXIT_DONE = 0, EXIT_INPUT = 1, EXIT_USAGE = 2, EXIT_RUN = 3, EXIT_INTERRUPTED = 128 };   /* 128: and a signal's number */

typedef struct Arena Arena;
Arena *arena_new(void);
void arena_free(Arena *arena);
/* Zeroed memory, aligned to 16 bytes (64 from 4 KiB on). */
void *arena_alloc(Arena *arena, size_t size);
void *arena_copy(Arena *arena, const void *data, size_t size);
char *arena_printf(Arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
char *arena_vprintf(Arena *arena, const char *format, va_list args);
/* "1 sample", "5 samples", "2 batches": for messages. */
const char *arena_count(Arena *arena, int64_t n, const char *noun);
char *arena_text(Arena *arena, const char *text, size_t length); /* copy + NUL */
/* One pointer per distinct text: interned strings are compared with ==. */
const char *arena_intern(Arena *arena, const char *text, size_t length);
size_t arena_bytes(const Arena *arena); /* handed out so far */

#define NEW(arena, T) ((T *)arena_alloc((arena), sizeof(T)))
#define NEW_ARRAY(arena, T, n) ((T *)arena_alloc((arena), sizeof(T) * (size_t)(n)))

/* A growing array in an arena:
 *     VEC(Val *) vals = {0};   vec_push(arena, &vals, v);   vals.data[i], vals.length */
#define VEC(T) struct { T *data; int length, capacity; }
#define vec_push(arena, vec, item) \
	(vec_reserve((arena), (void **)&(vec)->data, &(vec)->capacity, (vec)->length, sizeof *(vec)->data), \
	 (vec)->data[(vec)->length++] = (item))
void vec_reserve(Arena *arena, void **data, int *capacity, int length, size_t size);

/* A growing text in an arena. */
typedef struct Text { Arena *arena; char *data; size_t length, capacity; } Text;
void text_add(Text *text, const char *format, ...) PRINTF_LIKE(2, 3);
void text_vadd(Text *text, const char *format, va_list args);
void text_bytes(Text *text, const char *data, size_t length);
/* What "%s" and "%lld" add, without a format to read. */
void text_string(Text *text, const char *string);
void text_integer(Text *text, int64_t value);
/* The shortest decimal that reads back as the same double, whole numbers below 10^15 digit by digit ("1", "300", "0.1", "1e-07",
 * "inf", "-inf", "nan"). */
void text_number(Text *text, double value);

/* Our own bug: prints where, aborts. */
NORETURN void die_at(const char *file, int line, const char *format, ...) PRINTF_LIKE(3, 4);
#define die(...) die_at(__FILE__, __LINE__, __VA_ARGS__)
/* Not our bug, nothing to be done (no memory): message on stderr, exit 3. */
NORETURN void fatal(const char *format, ...) PRINTF_LIKE(1, 2);

/* SplitMix64's finaliser: a good 64-bit mix for hash tables and keys. */
static inline uint64_t hash_mix(uint64_t x) {
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}
uint64_t hash_bytes(const void *data, size_t size, uint64_t seed);

/* Numbers from 0 on by pointers: interned names, nodes of a tree. */
typedef struct PointerMap { const void **key; int *value; int length, slots; } PointerMap;   /* slots: 0 or a power of 2 */
int map_find(const PointerMap *map, const void *key);      /* -1: it has none */
void map_add(Arena *arena, PointerMap *map, const void *key, int value);   /* the key is new */

/* Edit distance (insert, delete, replace, swap of neighbours), at most `limit` + 1: for did-you-mean. */
int edit_distance(const char *a, const char *b, int limit);
/* The candidate nearest to `name`, or NULL when none is near enough to be a slip of the fingers. */
const char *nearest_name(const char *name, const char *const *candidates, int count);

#endif
