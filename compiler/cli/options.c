/* options.c: in: argv after the command's name; out: Options, or a message that says what would be right.
 * `-o X` is short for --output X (and for --out X where a command has no --output). */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

typedef enum OptionKind { TEXT, NUMBER, SEED, FLAG, SET, INPUT } OptionKind;
typedef struct OptionInfo { const char *name; OptionKind kind; const char *argument, *meaning; size_t offset; } OptionInfo;

static const OptionInfo option_info[] = {
#define set nsets
#define input ninputs
#define OPTION(text, field, kind, argument, meaning) {text, kind, argument, meaning, offsetof(Options, field)},
#include "options.def"
#undef OPTION
#undef set
#undef input
};

static bool takes(const Command *command, const char *name) {
	size_t n = strlen(name);
	for (const char *p = command->options; (p = strstr(p, name)); p += n)
		if ((p == command->options || p[-1] == ' ') && (p[n] == 0 || p[n] == ' ')) return true;
	return false;
}

static const OptionInfo *find_option(const Command *command, const char *name, size_t length) {
	for (size_t i = 0; i < COUNT(option_info); i++)
		if (strlen(option_info[i].name) == length && strncmp(option_info[i].name, name, length) == 0 &&
		    takes(command, option_info[i].name))
			return &option_info[i];
	return NULL;
}

static int unknown_option(const Command *command, bool dashes, const char *given, size_t length) {
	const char *names[COUNT(option_info)];
	int n = 0;
	bool elsewhere = false;
	char name[64];
	snprintf(name, sizeof name, "%.*s", (int)length, given);
	if (!dashes) {
		fprintf(stderr, "nnc %s: unknown option -%s\nhelp: nnc %s --help lists the options\n", command->name, name,
		        command->name);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < COUNT(option_info); i++) {
		if (takes(command, option_info[i].name)) names[n++] = option_info[i].name;
		else if (strcmp(option_info[i].name, name) == 0) elsewhere = true;
	}
	const char *near = nearest_name(name, names, n);
	fprintf(stderr, "nnc %s: %s option --%s", command->name, elsewhere ? "does not take the" : "unknown", name);
	if (near) fprintf(stderr, "; did you mean --%s?", near);
	fprintf(stderr, "\nhelp: nnc %s --help lists the options\n", command->name);
	return EXIT_USAGE;
}

static bool split_pair(const char *text, const char **name, const char **value) {
	const char *equals = strchr(text, '=');
	if (!equals || equals == text) return false;
	size_t n = (size_t)(equals - text);
	char *copy = malloc(n + 1);
	if (!copy) fatal("out of memory");
	memcpy(copy, text, n);
	copy[n] = 0;
	*name = copy;
	*value = equals + 1;
	return true;
}

static int bad_value(const Command *command, const OptionInfo *o, const char *value, const char *wanted) {
	fprintf(stderr, "nnc %s: --%s wants %s, not '%s'\n", command->name, o->name, wanted, value);
	return EXIT_USAGE;
}

static int set_twice(const Command *command, const char *name) {
	fprintf(stderr, "nnc %s: --set gives `%s` twice\n", command->name, name);
	return EXIT_USAGE;
}

static int set_option(const Command *command, const OptionInfo *o, const char *value, Options *out) {
	void *field = (char *)out + o->offset;
	if (o->kind == TEXT) {
		*(const char **)field = value;
	} else if (o->kind == NUMBER || o->kind == SEED) {
		char *end;
		errno = 0;
		long long n = strtoll(value, &end, 10);
		int64_t least = o->kind == NUMBER, most = o->kind == NUMBER ? 1000000000 : INT64_MAX;
		if (!isdigit((unsigned char)value[0]) || *end || errno || n < least || n > most)
			return bad_value(command, o, value,
			                 o->kind == NUMBER ? "an integer from 1 to 10^9" : "an integer from 0 to 2^63 - 1");
		*(int64_t *)field = n;
		if (o->kind == SEED) out->has_seed = true;
	} else if (o->kind == SET) {
		if (out->nsets == MAX_REPEATED) return bad_value(command, o, value, "fewer repetitions");
		if (!split_pair(value, &out->set_name[out->nsets], &out->set_value[out->nsets]))
			return bad_value(command, o, value, "NAME=VALUE");
		for (int i = 0; i < out->nsets; i++)
			if (strcmp(out->set_name[i], out->set_name[out->nsets]) == 0) return set_twice(command, out->set_name[i]);
		out->nsets++;
	} else {
		if (out->ninputs == MAX_REPEATED) return bad_value(command, o, value, "fewer repetitions");
		if (!strchr(value, '=') || value[0] == '=') return bad_value(command, o, value, "NAME=FILE.npy");
		out->input[out->ninputs++] = value;
	}
	return EXIT_DONE;
}

int options_parse(const Command *command, int argc, char **argv, Options *out, bool *help) {
	*out = (Options){0};
	*help = false;
	bool plain = false;
	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i];
		if (!plain && (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)) {
			*help = true;
			return EXIT_DONE;
		}
		if (!plain && strcmp(arg, "--") == 0) {
			plain = true;
			continue;
		}
		if (plain || arg[0] != '-' || arg[1] == 0) {
			if (out->file && !out->second && takes(command, "second")) {
				out->second = arg;
				continue;
			}
			if (out->file) {
				fprintf(stderr, "nnc %s: one file at a time: '%s' and '%s' were given\n", command->name, out->file, arg);
				return EXIT_USAGE;
			}
			out->file = arg;
			continue;
		}
		if (strcmp(arg, "-o") == 0) arg = takes(command, "output") ? "--output" : "--out";
		const char *name = arg + (arg[1] == '-' ? 2 : 1), *equals = strchr(name, '=');
		size_t length = equals ? (size_t)(equals - name) : strlen(name);
		const OptionInfo *o = arg[1] == '-' ? find_option(command, name, length) : NULL;
		if (!o) return unknown_option(command, arg[1] == '-', name, length);
		if (o->kind == FLAG) {
			if (equals) return bad_value(command, o, equals + 1, "no value");
			*(bool *)((char *)out + o->offset) = true;
			continue;
		}
		const char *value = equals ? equals + 1 : ++i < argc ? argv[i] : NULL;
		if (!value) {
			fprintf(stderr, "nnc %s: --%s wants %s\n", command->name, o->name, o->argument);
			return EXIT_USAGE;
		}
		int code = set_option(command, o, value, out);
		if (code != EXIT_DONE) return code;
	}
	bool lists = out->target && strcmp(out->target, "list") == 0;
	if (!out->file && !lists) {
		fprintf(stderr, "nnc %s: which file?\nhelp: nnc %s %s\n", command->name, command->name, command->arguments);
		return EXIT_USAGE;
	}
	return EXIT_DONE;
}

void print_command_help(const Command *command) {
	printf("nnc %s %s\n\n%s\n\n%s\n", command->name, command->arguments, command->summary, command->help);
	printf("\nOptions:\n");
	for (size_t i = 0; i < COUNT(option_info); i++) {
		const OptionInfo *o = &option_info[i];
		if (!takes(command, o->name)) continue;
		char left[40];
		snprintf(left, sizeof left, "--%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
		printf("  %-22s %s\n", left, o->meaning);
	}
	if (!takes(command, "after")) return;
	printf("\nPasses: ");
	list_passes(stdout);
}
