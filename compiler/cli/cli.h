/* cli.h: what the commands share: options, and a program opened, checked, compiled. */
#ifndef NNC_CLI_H
#define NNC_CLI_H

#include <stdio.h>

#include "compile.h"
#include "host.h"
#include "passes.h"
#include "quantize.h"

enum { MAX_REPEATED = 64 };

/* Every option of every command, as given; options.def says which command takes which. */
typedef struct Options {
	const char *file, *second;                            /* FILE.nn; what stands after it */
	const char *name, *out, *weights, *model, *output, *target, *cpu, *features, *emit, *entry, *after, *from, *data_dir, *log;
	const char *budget, *flash, *depfile, *quantize;
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

/* --quantize: what a figure is, of a train block's losses and metrics, before and after. */
typedef struct Figure { const char *name, *data; int64_t samples; double f32, int8; } Figure;
typedef struct Quantized {
	Quantize pass;
	Program *original;               /* whose Fns are quantised; the session's has the tensors that are left */
	const Layout *original_layout;
	char *original_block;
	int products, left;              /* of all models */
	size_t weights, before;          /* bytes of all parameters, as they are and as they were in f32 */
	VEC(Figure) figures;             /* of every train block */
} Quantized;

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
	Quantized *quantized;                                 /* by session_quantize(), or NULL */
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
/* A Fn through all passes, quantised where the session is. */
Fn *session_passes(const Session *s, Fn *raw);
/* The same of a Fn that has been through all passes, with tensors of its own. */
Compiled session_compile_with(Session *s, Fn *f, const Program *p, const Layout *layout);
Pool *session_pool(Session *s);
/* Learns what workers cost each other here, in about a millisecond: before a step is compiled, while nothing else runs. */
void session_measure(Session *s);
/* The train block of --name, or the only one; the exit code, negated, after reporting. */
int session_train(Session *s);
/* A new persistent block, filled by the init Fn with `seed`; NULL after reporting. */
char *session_block(Session *s, uint64_t seed);
/* A new persistent block with --weights in it; NULL after reporting. */
char *session_weights(Session *s, int *exit_code);
/* quantize.c: are --quantize and what else is asked for compatible?  false: a message has been printed. */
bool quantize_options(const char *command, const Options *o);
/* Calibrates and quantises the session's models: its program and layout are then those of the tensors that are left.  figures:
 * also what it costs in accuracy.  false after reporting. */
bool session_quantize(Session *s, bool figures);
/* Fills a block of the session's program; frees what this needs. */
void quantized_block(const Quantized *q, const Program *p, const Layout *layout, char *block);
void quantized_close(Quantized *q);
void print_quantized(const Quantized *q);
/* Vocabularies of the program's texts join its constants, before weights are loaded or saved; false: reported in s->diag. */
bool session_vocabs(Session *s);
/* For EvalJob: compiles the evaluation of train block *context.train for a batch. */
typedef struct EvalContext { Session *session; int train; } EvalContext;
const Executable *session_compile_eval(void *context, int64_t batch);
/* The seed that the weights were trained with, where they say so; else the block's. */
uint64_t session_seed(const Session *s, const Train *t);
/* eval.c: the figures of a train block on `samples`, with the tensors of `block`; an exit code. */
int session_evaluate(Session *s, const Train *t, Samples samples, char *block, CompileEval compile, void *context,
                     EvalResult *result);

/* main.c: are these two names of one regular file? */
bool is_same_file(const char *a, const char *b);
/* Reports it when they are. */
bool writes_over(const char *command, const char *written, const char *read);

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
