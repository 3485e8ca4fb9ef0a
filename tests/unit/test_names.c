/* test_names.c: what finds names: maps of pointers and scopes against lists that are searched, and programs of many declarations.
 * link: nnc_front */
#include "front.h"

#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

enum { NAMES = 300 };

static const char *name_of(Arena *arena, const char *letter, int i) {
	const char *text = arena_printf(arena, "%s%d", letter, i);
	return arena_intern(arena, text, strlen(text));
}

static void maps(void **state) {
	(void)state;
	Arena *arena = arena_new();
	PointerMap map = {0};
	assert_int_equal(map_find(&map, arena), -1);
	for (int n = 0; n < 5000; n++) {
		map_add(arena, &map, name_of(arena, "x", n), n);
		assert_int_equal(map.length, n + 1);
		bool all = n < 100 || n % 500 == 0;
		for (int i = all ? 0 : n; i <= n; i++) assert_int_equal(map_find(&map, name_of(arena, "x", i)), i);
		assert_int_equal(map_find(&map, name_of(arena, "x", n + 1)), -1);
		assert_int_equal(map_find(&map, name_of(arena, "y", n)), -1);
	}
	arena_free(arena);
}

/* The last value bound to `name` in the first `depth` scopes, innermost first. */
typedef struct Bind { const char *name; int scope; int64_t value; } Bind;
static int64_t expected(const Bind *binds, int n, int depth, const char *name) {
	for (int s = depth - 1; s >= 0; s--)
		for (int i = n - 1; i >= 0; i--)
			if (binds[i].scope == s && binds[i].name == name) return binds[i].value;
	return -1;
}

/* Some scopes stay small, others hold hundreds; names are bound again, and hide those of outer scopes. */
static void scopes(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Elab e = {.arena = arena};
	const char *names[NAMES];
	for (int i = 0; i < NAMES; i++) names[i] = name_of(arena, "n", i);
	static const int sizes[] = {1, 15, 16, 17, 18, 200, 3, NAMES};
	Bind *binds = NEW_ARRAY(arena, Bind, 2 * NAMES * COUNT(sizes));
	Scope *scope = NULL;
	int n = 0;
	for (int s = 0; s < (int)COUNT(sizes); s++) {
		scope = scope_new(&e, scope);
		for (int k = 0; k < 2 * sizes[s]; k++) {
			const char *name = names[hash_mix((uint64_t)(s * 1000 + k)) % (uint64_t)sizes[s]];
			binds[n] = (Bind){name, s, n};
			Binding *b = scope_bind(&e, scope, (Name){.text = name}, value_int(n, (Span){0}));
			assert_ptr_equal(b->name, name);
			n++;
			bool all = k < 40 || k % 50 == 0 || k == 2 * sizes[s] - 1;
			for (int i = 0; i < NAMES && all; i++) {
				const Binding *found = scope_find(scope, names[i]);
				int64_t value = -1;
				if (found) assert_true(dim_known(found->value.as.integer, &value));
				assert_int_equal(value, expected(binds, n, s + 1, names[i]));
			}
		}
	}
	/* what an outer scope holds, and each name once */
	int depth = COUNT(sizes);
	for (Scope *s = scope; s; s = s->parent, depth--)
		for (int i = 0; i < s->bindings.length; i++) {
			int64_t value;
			assert_true(dim_known(s->bindings.data[i]->value.as.integer, &value));
			assert_int_equal(value, expected(binds, n, depth, s->bindings.data[i]->name));
			for (int k = 0; k < i; k++) assert_ptr_not_equal(s->bindings.data[k]->name, s->bindings.data[i]->name);
		}
	arena_free(arena);
}

/* Seconds of this process's own code since its start: without the kernel's, which clears the pages that the arenas take, at a price
 * of its own on every machine. */
static double own_seconds(void) {
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)usage.ru_utime.tv_sec + 1e-6 * (double)usage.ru_utime.tv_usec;
}

/* Seconds of elaborating `many` consts, functions and derivatives each. */
static double seconds_of(int many) {
	Arena *arena = arena_new();
	Text text = {.arena = arena};
	text_add(&text, "const c0 = 1\n");
	for (int i = 1; i < many; i++) {
		text_add(&text, "const c%d = c%d + 1\n", i, i - 1);
		text_add(&text, "fn f%d(x) = x * %d\nvjp f%d(x -> y, dy) { return dy * %d }\n", i, i, i, i);
	}
	text_add(&text, "fn f0(x) = x * c%d\nmodel m(x: [B]) -> [B] = f0(x)\n", many - 1);
	Diag *diag = diag_new(arena);
	double start = own_seconds();
	Program *p = elab_program(arena, diag, diag_source(diag, "many.nn", text.data, text.length, false), NULL);
	double seconds = own_seconds() - start;
	diag_print(diag, stderr, false);
	assert_non_null(p);
	arena_free(arena);
	return seconds;
}

/* Tens of thousands of declarations are found in a fraction of a second: nothing looks at all of them for each.  Eight times as
 * many take about eight times as long, not 64 times; each the least of several turns, until that shows, since other work on the
 * machine makes a turn slower, never faster. */
static void many(void **state) {
	(void)state;
	enum { FEW = 5000, TIMES = 8, TURNS = 12 };
	double few = INFINITY, all = INFINITY;
	for (int turn = 0; turn < TURNS; turn++) {
		few = fmin(few, seconds_of(FEW));
		all = fmin(all, seconds_of(TIMES * FEW));
		if (all <= 2 && all <= 2.5 * TIMES * few) return;
	}
	fail_msg("%d declarations took %.2f s, %d %.2f s", 3 * FEW, few, 3 * TIMES * FEW, all);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(maps), cmocka_unit_test(scopes), cmocka_unit_test(many)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
