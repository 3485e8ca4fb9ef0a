/* test_programs_mutated.c: every example, and every file of std, cut off at every byte and with each token deleted in turn,
 * elaborated in this one process: messages or a program, but no crash and no hang; what still is a program gives its Fns.  Meant
 * for the build with sanitizers; others take every fourth text.
 * link: nnc_front nnc_passes nnc_ir */
#include <malloc.h>
#include <sys/time.h>
#include <time.h>

#include "test_programs.h"

#include "lexer.h"

enum { EVERY = SANITIZED ? 1 : 4 };
enum { SECONDS = 20 };   /* for one text: far more than any needs */

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Of processor time, so that a busy machine is no hang; 0: no longer. */
static void watch(int seconds) {
	setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = seconds}, NULL);
}

static double slowest;
static long texts, programs;

/* `name` stays the file's, so that imports are found. */
static void try_text(const char *name, const char *text, size_t length, const char *what) {
	double started = now();
	watch(SECONDS);
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	char *copy = malloc(length + 1);   /* of its exact size, for the sanitizer */
	assert_non_null(copy);
	memcpy(copy, text, length);
	copy[length] = 0;
	Program *p = open_text(arena, diag, name, copy, length, 0);
	if ((p == NULL) != (diag->errors > 0))
		fail_msg("%s, %s: %d errors, yet %s", name, what, diag->errors, p ? "a program" : "no program");
	if (diag->errors > MAX_ERRORS) fail_msg("%s, %s: %d errors", name, what, diag->errors);
	FILE *nowhere = fopen("/dev/null", "w");
	assert_non_null(nowhere);
	diag_print(diag, nowhere, true);
	fclose(nowhere);
	for (int i = 0; p && i < p->trains.length; i++) {
		if (!program_step(p, i) || !program_eval(p, i, 2)) fail_msg("%s, %s: a program without a step", name, what);
		programs++;
	}
	if (p && !program_init(p)) fail_msg("%s, %s: a program without initial values", name, what);
	arena_free(arena);
	free(copy);
	slowest = fmax(slowest, now() - started);
	texts++;
}

static void check_cuts(const char *path) {
	Arena *arena = arena_new();
	size_t length;
	char what[60];
	const char *text = file_text(arena, path, &length);
	for (size_t at = 0; at <= length; at += EVERY) {
		snprintf(what, sizeof what, "cut at byte %zu", at);
		try_text(path, text, at, what);
	}
	arena_free(arena);
}

static void check_deletions(const char *path) {
	Arena *arena = arena_new();
	size_t length;
	char what[60];
	const char *text = file_text(arena, path, &length);
	TokenList *list = lex_source(arena, &(Source){path, text, length, false});
	char *without = malloc(length + 1);
	assert_non_null(without);
	for (int i = 0; i < list->length; i += EVERY) {
		size_t begin = list->data[i].begin, end = list->data[i].end;
		memcpy(without, text, begin);
		memcpy(without + begin, text + end, length - end);
		snprintf(what, sizeof what, "without token %d (byte %zu)", i, begin);
		try_text(path, without, length - (end - begin), what);
	}
	free(without);
	arena_free(arena);
}

static void report(const char *what, double started) {
	printf("%s: %ld texts in %.1f s, the slowest %.3f s, %ld steps built\n", what, texts, now() - started, slowest, programs);
	texts = programs = 0;
	watch(0);
}

static void test_cuts(void **state) {
	(void)state;
	double started = now();
	for_programs(check_cuts);
	for_files(NNC_SOURCE_DIR "/grammar/std/*.nn", check_cuts);
	report("cut", started);
}

static void test_deletions(void **state) {
	(void)state;
	double started = now();
	for_programs(check_deletions);
	for_files(NNC_SOURCE_DIR "/grammar/std/*.nn", check_deletions);
	report("deleted", started);
}

int main(void) {
	mallopt(M_TRIM_THRESHOLD, 1 << 30);   /* memory given back after each text comes again with a fault for every page */
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts), cmocka_unit_test(test_deletions)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
