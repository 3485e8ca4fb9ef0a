/* cli.h: what the commands share: options, and a program opened, checked, compiled. */
#ifndef NNC_CLI_H
#define NNC_CLI_H

#include <stdio.h>

#include "compile.h"
#include "host.h"
#include "passes.h"

enum { MAX_REPEATED = 64 };

/* Every option of every command, as given; options.def says which command takes which. */
typedef struct Options {
	const char *file, *second;                            /* FILE.nn; what stands after it */
	const char *name, *out, *weights, *model, *output, *target, *cpu, *features, *emit, *entry, *after, *from, *data_dir, *log;
	const char *budget, *flash, *depfile;
	const char *set_name[MAX_REPEATED], *set_value[MAX_REPEATED]; int nsets;
	const char *input[MAX_REPEATED]; int ninputs;         /* name=path */
	int64_t epochs, steps, batch, threads, workers, seed; /* 0: not given (seed: has_seed) */
	bool has_seed, quiet, strict, resume, json, f64, explain_memory, write, no_cache, run_interpreted;
	bool made_up; /* set by commands that need no data: absent files have a made-up size */
	bool bf16; /* set by who asks what `precision = bf16` would come to */
	bool stepless; /* set by commands that take no step of a training */
	bool any_vocab; /* ... and absent texts some vocabulary, by those that need no weights either */
	double started;                                       /* when the process did, on the monotonic clock */
} Options;

typedef struct Command {
	const char *name, *arguments, *summary, *help;        /* help: paragraphs and an example, shown by `nnc NAME --help` */
	const char *options;                                  /* names of those it takes, separated by spaces; "second": a file */
	int (*run)(const Options *options);
} Command;
extern const Command commands[];
extern const int command_count;

/* Fills `out`; EXIT_DONE, or EXIT_USAGE after a message.  Sets *help when --help was asked. */
int options_parse(const Command *command, int argc, char **argv, Options *out, bool *help);
void print_command_help(const Command *command);
/* The passes that dump knows, in order, on one line. */
void list_passes(FILE *out);

/* A program opened: parsed, elaborated, its layout fixed. */
typedef struct Session {
	Arena *arena;
	Diag *diag;
	const Options *options;
	Files *files;
	DataProbe probe;                                      /* of the files */
	Program *program;
	Layout layout;
	const Target *target;
	int workers;
	WorkerCosts costs;                                    /* measured before a step is compiled */
	Pool *pool;                                           /* made by session_pool() */
	WeightsInfo info;                                     /* of the weights file read last */
} Session;

/* The whole file as text; NULL after a message. */
char *read_source(Arena *arena, const char *path, size_t *length);
/* Reads and elaborates options->file.  NULL after printing what is wrong; *exit_code says how to end. */
Session *session_open(const Options *options, int64_t default_batch, int *exit_code);
/* Makes code for --cpu instead of this very machine; false after reporting. */
bool session_use_cpu(Session *s);
void session_close(Session *s);
/* Opens, does, closes: the frame of most commands. */
int session_run(const Options *options, int64_t default_batch, int (*body)(Session *s));
/* Prints what the diag holds and empties it; what it came to as an exit code. */
int session_report(Session *s);
/* A Fn through all passes, as machine code for this process (or interpreted); NULL after reporting. */
const Executable *session_compile(Session *s, Fn *raw);
Compiled session_compiled(Session *s, Fn *raw);           /* the same with the kernels; error already reported */
Pool *session_pool(Session *s);
/* Learns what workers cost each other here, in about a millisecond: before a step is compiled, while nothing else runs. */
void session_measure(Session *s);
/* The train block of --name, or the only one; the exit code, negated, after reporting. */
int session_train(Session *s);
/* A new persistent block, filled by the init Fn with `seed`; NULL after reporting. */
char *session_block(Session *s, uint64_t seed);
/* A new persistent block with --weights in it; NULL after reporting. */
char *session_weights(Session *s, int *exit_code);
/* Vocabularies of the program's texts join its constants, before weights are loaded or saved; false: reported in s->diag. */
bool session_vocabs(Session *s);
/* For EvalJob: compiles the evaluation of train block *context.train for a batch. */
typedef struct EvalContext { Session *session; int train; } EvalContext;
const Executable *session_compile_eval(void *context, int64_t batch);

int command_train(const Options *options);
int command_eval(const Options *options);
int command_predict(const Options *options);
int command_init(const Options *options);
int command_grad(const Options *options);
int command_check(const Options *options);
int command_compile(const Options *options);
int command_pack(const Options *options);
int command_unpack(const Options *options);
int command_bench(const Options *options);
int command_fmt(const Options *options);
int command_dump(const Options *options);

#endif
