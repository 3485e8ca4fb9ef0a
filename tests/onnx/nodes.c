/* nodes.c: node tests of ONNX through .nn programs.
 *
 *   nodes NNC SOURCES FOLDER [NAME ..]
 *
 * In: the table SOURCES/nodes.txt (it says how it is written), functions.nn that its programs may call, left_out.txt; the tests
 * of Debian's package libonnx-testdata (another folder: ONNX_DATA).  For each test a program is written to FOLDER, `nnc predict`
 * runs it on the test's inputs, and its results are compared with the test's: types and sizes, whole numbers and truth values
 * exactly, floats within 1e-7 + 1e-3 |expected|, as ONNX itself does.  Out: what differs; exit code 1 if anything does.
 * Tests that neither the table nor left_out.txt knows, as a newer package may have, are named and do no harm. */
#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <math.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tensor.h"

static const double relative = 1e-3, absolute = 1e-7;
static const char *const kinds[] = {"node", "pytorch-converted", "pytorch-operator"};     /* of tests: folders of DATA */
enum { KINDS = sizeof kinds / sizeof *kinds, MAX_WORDS = 64, MAX_BODY = 1 << 14, MAX_PATH = 1024 };
extern char **environ;

/* One paragraph of the table: names, settings `input=values`, and a body. */
typedef struct Case {
	int nwords, line;
	char *word[MAX_WORDS];
	char body[MAX_BODY];
} Case;

typedef struct Run {
	const char *nnc, *data, *functions, *folder, *name;
	Graph graph;
	Tensor input[GRAPH_NAMES], output[GRAPH_NAMES];
	const char *fixed[GRAPH_NAMES]; /* the setting that states an input's values, or NULL: an argument of the model */
} Run;

static const char *path_of(char *to, const char *folder, const char *name, const char *file) {
	if (snprintf(to, MAX_PATH, "%s/%s%s", folder, name, file) >= MAX_PATH) fail("a path longer than %d", MAX_PATH);
	return to;
}

static bool differs(const Run *r, const char *what) {
	printf("%s: %s\n", r->name, what);
	return false;
}

/* ---- the test's files ---- */

/* Is `values` ("1,2") what the input holds? */
static bool same_values(const Tensor *t, const char *values) {
	int64_t n = 0;
	for (const char *at = values; *at; n++) {
		char *end;
		double v = strtod(at, &end);
		if (end == at || n == t->count || fabs(v - t->value[n]) > 1e-6 * fabs(v)) return false;
		at = end + (*end == ',');
	}
	return n == t->count;
}

static bool find_test(const Run *r, char *folder) {
	for (int i = 0; i < KINDS; i++) {
		snprintf(folder, MAX_PATH, "%s/%s/test_%s", r->data, kinds[i], r->name);
		if (!access(folder, R_OK)) return true;
	}
	return false;
}

/* Input k: a file of the test, or a constant of its model. */
static bool load_input(Run *r, const char *folder, int k) {
	char path[MAX_PATH], file[64];
	snprintf(file, sizeof file, "input_%d.pb", k);
	if (!access(path_of(path, folder, "test_data_set_0/", file), R_OK)) return r->input[k] = onnx_tensor(path), true;
	for (int i = 0; i < r->graph.nconstants; i++)
		if (!strcmp(r->graph.constant[i], r->graph.input[k])) return r->input[k] = r->graph.value[i], true;
	return differs(r, "an input has no values");
}

static bool load(Run *r, const Case *c) {
	char folder[MAX_PATH], path[MAX_PATH], file[64];
	if (!find_test(r, folder)) return differs(r, "there is no such test");
	r->graph = onnx_graph(path_of(path, folder, "model", ".onnx"));
	for (int i = 0; i < r->graph.ninputs; i++)
		if (!load_input(r, folder, i)) return false;
	for (int i = 0; i < r->graph.noutputs; i++) {
		snprintf(file, sizeof file, "output_%d.pb", i);
		r->output[i] = onnx_tensor(path_of(path, folder, "test_data_set_0/", file));
	}
	for (int w = 0; w < c->nwords; w++) {
		char *equals = strchr(c->word[w], '=');
		bool found = !equals;
		for (int i = 0; equals && i < r->graph.ninputs; i++) {
			if (strlen(r->graph.input[i]) != (size_t)(equals - c->word[w])) continue;
			if (strncmp(r->graph.input[i], c->word[w], strlen(r->graph.input[i]))) continue;
			if (!same_values(&r->input[i], equals + 1)) return differs(r, "an input is not what the table states");
			r->fixed[i] = equals + 1;
			found = true;
		}
		if (!found) return differs(r, "the table states an input that the test does not have");
	}
	return true;
}

/* ---- the program ---- */

static void write_type(FILE *out, const Tensor *t) {
	fputs(t->nn, out);
	for (int i = 0; i < t->rank; i++) fprintf(out, "%s%lld", i ? ", " : "[", (long long)t->dim[i]);
	if (t->rank) fputc(']', out);
}

static void write_program(const Run *r, const Case *c) {
	char path[MAX_PATH];
	FILE *out = fopen(path_of(path, r->folder, r->name, ".nn"), "w");
	if (!out) fail("cannot write %s", path);
	fputs("model node(", out);
	const char *between = "";
	for (int i = 0; i < r->graph.ninputs; i++) {
		if (r->fixed[i]) continue;
		fprintf(out, "%s%s: ", between, r->graph.input[i]);
		write_type(out, &r->input[i]);
		between = ", ";
	}
	fputs(") -> ", out);
	for (int i = 0; i < r->graph.noutputs; i++) {
		if (r->graph.noutputs > 1) fprintf(out, "%sr%d: ", i ? ", " : "", i);
		write_type(out, &r->output[i]);
	}
	fprintf(out, " {\n%s}\n", c->body);
	FILE *functions = fopen(r->functions, "r");
	if (!functions) fail("cannot read %s", r->functions);
	for (int byte; (byte = getc(functions)) != EOF;) putc(byte, out);
	fclose(functions);
	if (fclose(out)) fail("cannot write %s", path);
}

static bool predict(const Run *r) {
	char program[MAX_PATH], said[MAX_PATH], result[MAX_PATH], array[MAX_PATH], name[64];
	char *argv[2 * GRAPH_NAMES + 8];
	int n = 0, status;
	argv[n++] = (char *)r->nnc, argv[n++] = "predict", argv[n++] = (char *)path_of(program, r->folder, r->name, ".nn");
	argv[n++] = "-o", argv[n++] = (char *)path_of(result, r->folder, r->name, ".npy");
	unlink(result);
	for (int i = 0; i < r->graph.ninputs; i++) {
		if (r->fixed[i]) continue;
		snprintf(name, sizeof name, ".input%d.npy", i);
		npy_write(path_of(array, r->folder, r->name, name), &r->input[i]);
		size_t room = strlen(array) + strlen(r->graph.input[i]) + 2;
		argv[n++] = "--input";
		snprintf(argv[n++] = malloc(room), room, "%s=%s", r->graph.input[i], array);
	}
	argv[n] = NULL;
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 2, path_of(said, r->folder, r->name, ".txt"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
	pid_t child;
	if (posix_spawn(&child, r->nnc, &actions, NULL, argv, environ)) fail("cannot run %s", r->nnc);
	posix_spawn_file_actions_destroy(&actions);
	if (waitpid(child, &status, 0) < 0) fail("cannot wait");
	if (WIFEXITED(status) && !WEXITSTATUS(status)) return true;
	printf("%s: nnc predict %s ends with %d\n", r->name, program, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	FILE *in = fopen(said, "r");
	for (int byte; in && (byte = getc(in)) != EOF;) putchar(byte);
	if (in) fclose(in);
	return false;
}

/* ---- the comparison ---- */

static bool equal(double got, double wanted, char kind) {
	if (isnan(wanted) || isinf(wanted) || kind != 'f') return isnan(wanted) ? isnan(got) : got == wanted;
	return fabs(got - wanted) <= absolute + relative * fabs(wanted);
}

static bool compare(const Run *r) {
	char path[MAX_PATH], name[64];
	for (int k = 0; k < r->graph.noutputs; k++) {
		if (r->graph.noutputs > 1) snprintf(name, sizeof name, ".r%d.npy", k);
		else strcpy(name, ".npy");
		Tensor got = npy_read(path_of(path, r->folder, r->name, name));
		const Tensor *wanted = &r->output[k];
		bool fits = got.rank == wanted->rank && got.kind == wanted->kind && (got.kind != 'f' || got.bytes == wanted->bytes);
		for (int i = 0; fits && i < got.rank; i++) fits = got.dim[i] == wanted->dim[i];
		if (!fits) return differs(r, "a result has another type or other sizes");
		for (int64_t i = 0; i < got.count; i++) {
			if (equal(got.value[i], wanted->value[i], got.kind)) continue;
			printf("%s: element %lld of %s is %.9g, wanted is %.9g\n", r->name, (long long)i, r->graph.output[k], got.value[i],
			       wanted->value[i]);
			return false;
		}
	}
	return true;
}

static bool run_node(Run r, const Case *c) {
	if (!load(&r, c)) return false;
	write_program(&r, c);
	return predict(&r) && compare(&r);
}

/* ---- the table ---- */

/* The next paragraph: a line that begins at the margin, and the lines below it that do not. */
static bool next_case(FILE *in, Case *c, int *line) {
	static char text[MAX_BODY];
	c->nwords = 0;
	while (fgets(text, sizeof text, in)) {
		++*line;
		if (!strchr("#\n", text[0])) break;
		text[0] = 0;
	}
	if (feof(in) || !text[0]) return false;
	char *body = strchr(text, ':');
	c->line = *line;
	if (!body) fail("line %d of the table has no ':'", *line);
	*body++ = 0;
	body += strspn(body, " \n");
	c->body[0] = 0;
	if (*body) snprintf(c->body, sizeof c->body, "  return %s", body);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
		if (c->nwords == MAX_WORDS) fail("line %d of the table has more than %d words", c->line, MAX_WORDS);
		c->word[c->nwords++] = strdup(word);
	}
	for (int first; (first = getc(in)) != EOF;) {
		ungetc(first, in);
		if (first != ' ' && first != '\t') break;
		size_t length = strlen(c->body);
		if (!fgets(c->body + length, (int)(sizeof c->body - length), in)) break;
		++*line;
	}
	return true;
}

/* ---- what the package has ---- */

typedef struct Names { int n; char *name[4096]; } Names;

static void add_words(Names *names, const Case *c) {
	for (int i = 0; i < c->nwords; i++) {
		if (strchr(c->word[i], '=')) continue;
		if (names->n == 4096) fail("more than 4096 names");
		names->name[names->n++] = c->word[i];
	}
}

/* The names of left_out.txt: patterns, then ": why". */
static void read_left_out(const char *path, Names *names) {
	static Case c;
	int line = 0;
	FILE *in = fopen(path, "r");
	if (!in) fail("cannot read %s", path);
	while (next_case(in, &c, &line)) add_words(names, &c);
	fclose(in);
}

static bool in_names(const Names *names, const char *name) {
	for (int i = 0; i < names->n; i++)
		if (!fnmatch(names->name[i], name, 0)) return true;
	return false;
}

/* Counts the tests that are left out, names those nobody knows; NAME_expanded is NAME again, in other operators. */
static int census(const char *data, const Names *cases, const Names *left_out) {
	int count = 0;
	for (int k = 0; k < KINDS; k++) {
		char folder[MAX_PATH];
		DIR *dir = opendir(path_of(folder, data, kinds[k], ""));
		if (!dir) fail("cannot read %s", folder);
		for (struct dirent *d; (d = readdir(dir));) {
			if (strncmp(d->d_name, "test_", 5) || !fnmatch("*_expanded", d->d_name, 0) || in_names(cases, d->d_name + 5))
				continue;
			if (in_names(left_out, d->d_name + 5)) count++;
			else printf("%s/%s: neither in the table nor in left_out.txt\n", kinds[k], d->d_name);
		}
		closedir(dir);
	}
	return count;
}

static bool wanted(const char *name, int nnames, char **names) {
	for (int i = 0; i < nnames; i++)
		if (!strcmp(name, names[i])) return true;
	return nnames == 0;
}

int main(int argc, char **argv) {
	if (argc < 4) fail("NNC SOURCES FOLDER [NAME ..]");
	const char *data = getenv("ONNX_DATA");
	if (!data) data = "/usr/share/libonnx-testdata/data";
	char cache[MAX_PATH], table[MAX_PATH], functions[MAX_PATH], path[MAX_PATH];
	mkdir(argv[3], 0777);
	setenv("NNC_CACHE", path_of(cache, argv[3], "cache", ""), 1);
	FILE *in = fopen(path_of(table, argv[2], "nodes.txt", ""), "r");
	if (!in) fail("cannot read %s", table);
	if (access(data, R_OK)) fail("the node tests are not there: install libonnx-testdata (./bootstrap deps does)");
	Run run = {.nnc = argv[1], .data = data, .functions = path_of(functions, argv[2], "functions.nn", ""), .folder = argv[3]};
	int ran = 0, failed = 0, line = 0;
	static Case c;
	static Names cases, left_out;
	while (next_case(in, &c, &line)) {
		add_words(&cases, &c);
		for (int i = 0; i < c.nwords; i++) {
			if (strchr(c.word[i], '=') || !wanted(c.word[i], argc - 4, argv + 4)) continue;
			ran++;
			run.name = c.word[i];
			if (run_node(run, &c)) continue;
			printf("%s: line %d of %s\n\n", c.word[i], c.line, table);
			failed++;
		}
	}
	fclose(in);
	read_left_out(path_of(path, argv[2], "left_out.txt", ""), &left_out);
	printf("%d node tests, %d failed; %d are left out\n", ran, failed, census(data, &cases, &left_out));
	return failed || !ran;
}
