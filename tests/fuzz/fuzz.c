/* fuzz.c: random programs, compiled against interpreted.
 *
 *     fuzz [--jobs N] [--log FILE] [--reachable FILE] [--stop] [--plan] FROM TO [SEED ..]
 *         checks the seeds FROM .. TO - 1, and those named after them
 *     fuzz --print SEED             prints a program
 *     fuzz --file FILE.nn [SEED]    checks one program, with the inputs of SEED
 *     fuzz --find TO                for each cell of the table: how many of the seeds below TO cover it, and the first that does
 *     fuzz --minimise SEED          drops lines as long as it still fails
 *
 * --plan compiles and runs nothing: it only shows what would be covered.  Each seed runs in a child process, which a failure
 * ends; so a crash is a finding like any other.  A coverage table stands at the end.  Exit: 0 all agree and all that is reachable
 * was covered; 1 otherwise. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

/* Of processor time; and by the clock, should workers wait for each other. */
enum { MAX_JOBS = 8, SECONDS = 60, PATIENCE = 900 };

typedef struct Shared {
	_Atomic uint64_t next;
	uint64_t to;                   /* next and to count seeds */
	uint64_t *seeds;
	bool plan;
	uint64_t current[MAX_JOBS];
	Coverage coverage[MAX_JOBS];
	Tally tally[MAX_JOBS];
	atomic_int failures;
} Shared;

/* Interrupted, it ends with the programs under way, and still says what was covered. */
static Shared *interrupted;
static void interrupt(int signal) {
	(void)signal;
	atomic_store(&interrupted->next, interrupted->to);
}

static void limit_time(void) {
	struct itimerval limit = {.it_value = {.tv_sec = SECONDS}};
	setitimer(ITIMER_PROF, &limit, NULL);
	alarm(PATIENCE);
}

static const char *check_text(const char *text, uint64_t seed, bool plan, Coverage *coverage, Tally *tally, char *message,
                              size_t size) {
	Arena *arena = arena_new();
	const char *problem = check_program(arena, text, seed, plan, coverage, tally);
	if (problem) snprintf(message, size, "%s", problem);
	arena_free(arena);
	return problem ? message : NULL;
}

/* One child: takes seeds until none is left or one fails. */
static void child(Shared *s, int job) {
	static char message[20000];
	struct rlimit none = {0, 0};
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	setrlimit(RLIMIT_CORE, &none);
	for (;;) {
		uint64_t n = atomic_fetch_add(&s->next, 1);
		if (n >= s->to) _exit(0);
		uint64_t seed = s->seeds[n];
		s->current[job] = seed;
		limit_time();
		Arena *arena = arena_new();
		const char *text = fuzz_program(arena, seed);
		if (check_text(text, seed, s->plan, &s->coverage[job], &s->tally[job], message, sizeof message)) {
			printf("---- seed %llu: %s\n%s", (unsigned long long)seed, message, text);
			fflush(stdout);
			_exit(1);
		}
		arena_free(arena);
	}
}

static void report_end(Shared *s, int job, int status, FILE *log) {
	uint64_t seed = s->current[job];
	atomic_fetch_add(&s->failures, 1);
	if (WIFSIGNALED(status)) {
		Arena *arena = arena_new();
		bool late = WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGPROF;
		printf("---- seed %llu: %s\n%s", (unsigned long long)seed, late ? "takes too long" : strsignal(WTERMSIG(status)),
		       fuzz_program(arena, seed));
		arena_free(arena);
	}
	if (log) fprintf(log, "failed: seed %llu\n", (unsigned long long)seed), fflush(log);
}

static void run_jobs(Shared *s, int jobs, bool stop, FILE *log) {
	pid_t pid[MAX_JOBS];
	int running = 0;
	fflush(stdout);
	for (int j = 0; j < jobs; j++) {
		pid[j] = fork();
		if (pid[j] == 0) child(s, j);
		running++;
	}
	while (running) {
		int status;
		pid_t ended = wait(&status);
		if (ended < 0 && errno == EINTR) continue;
		running--;
		for (int j = 0; j < jobs; j++) {
			if (pid[j] != ended || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) continue;
			if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM) report_end(s, j, status, log);   /* it was told to end */
			fflush(stdout);
			if (stop) atomic_store(&s->next, s->to);
			pid[j] = fork();
			if (pid[j] == 0) child(s, j);
			running++;
		}
	}
}

/* ---- the minimiser: lines are dropped as long as the program still fails in the same way ---- */

/* 0: agrees; 1: does not elaborate; 2: differs; 3: crashes. */
static int outcome(const char *text, uint64_t seed) {
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		static char message[20000];
		Coverage *coverage = calloc(1, sizeof *coverage);
		Tally tally = {0};
		if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(0);
		limit_time();
		if (!check_text(text, seed, false, coverage, &tally, message, sizeof message)) _exit(0);
		_exit(strcmp(message, "it does not elaborate") ? 2 : 1);
	}
	int status;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

static char *without_lines(const char *text, int from, int count) {
	char *out = malloc(strlen(text) + 1), *to = out;
	int line = 0;
	for (const char *p = text; *p; p++) {
		if (line < from || line >= from + count) *to++ = *p;
		line += *p == '\n';
	}
	*to = 0;
	return out;
}

static void minimise(const char *start, uint64_t seed) {
	char *text = strdup(start);
	int wanted = outcome(text, seed);
	if (!wanted) {
		printf("seed %llu does not fail\n", (unsigned long long)seed);
		return;
	}
	for (bool changed = true; changed;) {
		changed = false;
		int lines = 0;
		for (const char *p = text; *p; p++) lines += *p == '\n';
		for (int count = MAX(lines / 4, 1); count; count /= 2)
			for (int from = lines - count; from >= 0; from--) {
				char *less = without_lines(text, from, count);
				if (strlen(less) < strlen(text) && outcome(less, seed) == wanted) {
					free(text);
					text = less;
					changed = true;
					lines -= count;
				} else {
					free(less);
				}
			}
	}
	printf("%s", text);
	free(text);
}

/* ---- the command line ---- */

static char *read_text(const char *path) {
	FILE *file = fopen(path, "r");
	if (!file) fatal("cannot read %s", path);
	char *text = calloc(1, 1 << 20);
	if (!text || !fread(text, 1, (1 << 20) - 1, file)) fatal("%s is empty", path);
	fclose(file);
	return text;
}

static int check_file(const char *path, uint64_t seed) {
	static char message[20000];
	Coverage *coverage = calloc(1, sizeof *coverage);
	Tally tally = {0};
	const char *problem = check_text(read_text(path), seed, false, coverage, &tally, message, sizeof message);
	printf("%s\n", problem ? problem : "agrees");
	return problem != NULL;
}

/* For each cell how many of the seeds cover it, and the first. */
static void find_cells(const char *to_text) {
	static char message[20000];
	uint64_t to = strtoull(to_text, NULL, 10), first[CELLS] = {0}, count[CELLS] = {0};
	Arena *names = arena_new();
	for (uint64_t seed = 0; seed < to; seed++) {
		Arena *arena = arena_new();
		Coverage *coverage = NEW(arena, Coverage);
		Tally tally = {0};
		check_text(fuzz_program(arena, seed), seed, true, coverage, &tally, message, sizeof message);
		for (int i = 0; i < CELLS; i++) {
			if (!coverage->count[i]) continue;
			if (!count[i]++) first[i] = seed;
		}
		arena_free(arena);
	}
	for (int i = 0; i < CELLS; i++)
		if (count[i]) printf("%8llu %8llu %s\n", (unsigned long long)count[i], (unsigned long long)first[i], cell_name(names, i));
	arena_free(names);
}

static FILE *open_log(const char *path, uint64_t from, uint64_t to) {
	FILE *log = path ? fopen(path, "a") : NULL;
	if (path && !log) fatal("cannot write %s", path);
	if (!log) return NULL;
	char commit[80] = "unknown";
	static const char command[] =
	    "cd '" NNC_SOURCE_DIR "' && { git rev-parse HEAD | tr -d '\\n';"
	    " git diff --quiet HEAD -- '*.[ch]' '*.re' '*.nn' '*.def' CMakeLists.txt || printf %s -changed; } 2>/dev/null";
	FILE *git = popen(command, "r");
	if (git && fgets(commit, sizeof commit, git)) commit[strcspn(commit, "\n")] = 0;
	if (git) pclose(git);
	Arena *arena = arena_new();
	fprintf(log, "commit %s, seeds %llu..%llu, %s, LLVM %s\n", commit, (unsigned long long)from, (unsigned long long)to - 1,
	        target_host(arena)->cpu, llvm_version_text());
	arena_free(arena);
	fflush(log);
	return log;
}

static void add_up(Shared *s, int jobs, Coverage *c, Tally *t) {
	for (int j = 0; j < jobs; j++) {
		for (int i = 0; i < CELLS; i++) c->count[i] += s->coverage[j].count[i];
		add_tally(t, &s->tally[j]);
	}
}

static int run_seeds(uint64_t from, uint64_t to, int more, char **others, int jobs, bool stop, bool plan, const char *log_path,
                     const char *reachable) {
	Shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED) fatal("no memory to share");
	FILE *log = open_log(log_path, from, to);
	struct timespec start, end;
	clock_gettime(CLOCK_MONOTONIC, &start);
	s->seeds = calloc(to - from + (uint64_t)more + 1, sizeof *s->seeds);
	for (uint64_t seed = from; seed < to; seed++) s->seeds[s->to++] = seed;
	for (int i = 0; i < more; i++) s->seeds[s->to++] = strtoull(others[i], NULL, 10);
	s->plan = plan;
	interrupted = s;
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	run_jobs(s, jobs, stop, log);
	clock_gettime(CLOCK_MONOTONIC, &end);
	Coverage *c = calloc(1, sizeof *c);
	Tally t = {0};
	add_up(s, jobs, c, &t);
	print_coverage(c);
	FILE *const files[] = {stdout, log};
	for (int i = 0; i < 2 && files[i]; i++) {
		print_tally(files[i], &t);
		fprintf(files[i], "%d failed, %.0f s\n", s->failures, (double)(end.tv_sec - start.tv_sec));
	}
	if (log) fclose(log);
	int missed = reachable ? compare_coverage(c, reachable) : 0;
	return s->failures || missed;
}

int main(int argc, char **argv) {
	int jobs = 1, at = 1;
	bool stop = false, plan = false;
	const char *log = NULL, *reachable = NULL;
	for (; at < argc && !strncmp(argv[at], "--", 2); at++) {
		if (!strcmp(argv[at], "--stop")) { stop = true; continue; }
		if (!strcmp(argv[at], "--plan")) { plan = true; continue; }
		if (++at == argc) break;
		const char *option = argv[at - 1], *value = argv[at];
		Arena *arena = arena_new();
		if (!strcmp(option, "--jobs")) jobs = MAX(1, MIN(MAX_JOBS, atoi(value)));
		else if (!strcmp(option, "--log")) log = value;
		else if (!strcmp(option, "--reachable")) reachable = value;
		else if (!strcmp(option, "--print")) return fputs(fuzz_program(arena, strtoull(value, NULL, 10)), stdout), 0;
		else if (!strcmp(option, "--find")) return find_cells(value), 0;
		else if (!strcmp(option, "--minimise"))
			return minimise(fuzz_program(arena, strtoull(value, NULL, 10)), strtoull(value, NULL, 10)), 0;
		else if (!strcmp(option, "--file")) return check_file(value, at + 1 < argc ? strtoull(argv[at + 1], NULL, 10) : 1);
		else fatal("unknown option %s", option);
		arena_free(arena);
	}
	if (argc - at < 2) fatal("usage: fuzz [--jobs N] [--log FILE] [--reachable FILE] [--stop] FROM TO");
	uint64_t from = strtoull(argv[at], NULL, 10), to = strtoull(argv[at + 1], NULL, 10);
	if (to < from) fatal("seeds from %s to %s", argv[at], argv[at + 1]);
	return run_seeds(from, to, argc - at - 2, argv + at + 2, jobs, stop, plan, log, reachable);
}
