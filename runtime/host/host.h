/* host.h: what a command needs around compiled code: data files, weights, workers, the training loop.
 *
 * Everything here knows Programs, Fns and Executables, and nothing of how an Executable came to be.  Functions that
 * return bool have reported to the Diag when they return false; functions that return int return an exit code. */
#ifndef NNC_HOST_H
#define NNC_HOST_H

#include "exec.h"

/* ---- files.c: finding, reading and replacing files --------------------------------------------------------- */

/* Where the data files of a program are looked for: the program's folder, data_dir (may be NULL), the folders of
 * NNC_DATA, the built-in list.  Keeps files open until files_close(). */
typedef struct Files Files;
Files *files_open(Arena *arena, const char *program_file, const char *data_dir);
void files_close(Files *files);
bool files_have(const Files *files, const char *name);            /* whether there is one to read */
const char *files_read(const Files *files, int number);            /* the path of one that was found and opened; NULL: no more */

/* "cannot write 'path': .." and the like: every output that cannot be written is a failure at run time.  False. */
bool write_failed(Diag *diag, const char *doing, const char *path, int error);
/* Replaces `path` as a whole or not at all: a temporary file beside it, fsync, rename. */
bool write_atomic(Diag *diag, const char *path, const void *data, size_t size);
/* The same in pieces.  atomic_commit and atomic_abandon free the AtomicFile. */
typedef struct AtomicFile AtomicFile;
AtomicFile *atomic_open(Diag *diag, const char *path);            /* NULL: reported */
void atomic_add(AtomicFile *file, const void *data, size_t size); /* failures are kept for atomic_commit */
bool atomic_commit(AtomicFile *file);
void atomic_abandon(AtomicFile *file);

/* Zeroed memory aligned to 64 bytes (2 MiB pages where the system has them), for persistent blocks and arenas. */
char *block_new(size_t bytes);
void block_free(char *block, size_t bytes);

/* ---- element.c: single elements ---------------------------------------------------------------------------- */

double element_value(DType dtype, const char *at);
/* False: it does not fit.  Floats take any number, rounded. */
bool element_store(char *to, DType dtype, double value);

/* ---- data.c: data sets ------------------------------------------------------------------------------------- */

typedef struct Data {
	const DataSet *set;
	int64_t samples;
	char **field;            /* by number into set->fields: dense (samples, ..) in the field's dtype; NULL: not wanted */
	size_t *sample_bytes;
	void **owned;            /* what to free */
} Data;

/* For elab_program: counts samples from headers, and reads vocabularies. */
DataProbe data_probe(Files *files);
/* text.c: how many characters a vocabulary in UTF-8 has, and the first that only one of two has, for a message. */
int64_t vocab_count(const char *characters);
const char *vocab_difference(Arena *arena, const char *a, const char *b);
/* Reads on threads of its own while the caller compiles.  wanted[field] NULL: all fields. */
typedef struct DataLoad DataLoad;
DataLoad *data_start(Arena *arena, Diag *diag, Files *files, const DataSet *set, const bool *wanted);
Data *data_finish(DataLoad *load, Diag *diag);                    /* joins; NULL: reported */
Data *data_load(Arena *arena, Diag *diag, Files *files, const DataSet *set, const bool *wanted);
void data_free(Data *data);
/* wanted[] for the set that `train` reads (validate false) or validates on. */
bool *data_wanted(Arena *arena, const Program *p, const Train *train, bool validate);

/* One .npy file (gzip transparent) for predict --input: any shape, its elements converted to `want`, which is checked
 * for what it can hold; classes as in DataField.  NULL: reported.  The data lives in the arena. */
typedef struct Array { Type type; char *data; } Array;
Array *array_read(Arena *arena, Diag *diag, const char *path, DType want, int64_t classes);
bool array_write(Diag *diag, const char *path, Type type, const void *dense);   /* .npy, atomic */

/* ---- shuffle.c: orders that need no memory ----------------------------------------------------------------- */

/* A bijection on 0..count-1 keyed by seed and epoch. */
enum { SHUFFLE_ROUNDS = 16 };
typedef struct Shuffle { int64_t count; int low, high, rounds; uint64_t key[SHUFFLE_ROUNDS]; } Shuffle;
Shuffle shuffle_make(int64_t count, uint64_t seed, uint64_t epoch);
int64_t shuffle_at(const Shuffle *s, int64_t i);

/* The samples of a Data that a run sees: all, or one side of a held-out split. */
typedef struct Samples { const Data *data; int64_t first, count; bool split; Shuffle choice; } Samples;
Samples samples_all(const Data *data);
/* fraction > 0: the tail for sequences, a choice by the seed otherwise. */
Samples samples_split(const Data *data, double fraction, uint64_t seed, bool held_out);
/* What `validate = fraction` leaves of the training data; all of it without one. */
Samples samples_learnt(const Train *t, const Data *data, uint64_t seed);
bool any_held_out(Diag *diag, const Train *t, int64_t samples);  /* by `validate = fraction`; false: reported */
int64_t held_out_count(int64_t samples, double fraction);         /* samples * fraction, rounded down */
static inline int64_t samples_row(const Samples *s, int64_t i) {
	return s->split ? shuffle_at(&s->choice, s->first + i) : s->first + i;
}

/* ---- pool.c: workers --------------------------------------------------------------------------------------- */

typedef struct Pool Pool;
/* How many workers `requested` (0: all) comes to inside the affinity mask. */
int pool_clamp(int requested);
Pool *pool_new(int workers, size_t stack_bytes);
void pool_free(Pool *pool);
int pool_size(const Pool *pool);
/* Threads inherit the caller's affinity: lets go of it while the caller compiles, say.  Does nothing in an unpinned pool. */
void pool_pin_caller(Pool *pool, bool pin);
/* Every worker (0 is the caller) runs entry(frame, tid, workers) once; returns when all have returned.
 * `workers` may be smaller than the pool. */
void pool_run(Pool *pool, EntryPoint entry, Frame *frame, int workers);
void pool_barrier(void *pool, int64_t tid);

/* ---- runner.c: an Executable with its buffers --------------------------------------------------------------- */

typedef struct Batch Batch;
typedef struct Runner {
	const Executable *exe;
	Pool *pool;
	Frame frame;
	int nio;
	const char **name;       /* of io[i]: the input's or output's name */
	Type *type;
	bool *input;
	InputKind *kind;         /* INPUT_KINDS for outputs */
	size_t *bytes;
	char *io_block;
	size_t io_bytes;
	Batch *batch;            /* of batch_run */
} Runner;
/* Allocates arena and io buffers. */
Runner *runner_new(const Executable *exe, Pool *pool, char *persistent);
void runner_free(Runner *runner);
int runner_input(const Runner *runner, const char *name);         /* io number; -1: the Fn has no such input */
int runner_input_kind(const Runner *runner, InputKind kind);      /* STEP, EPOCH, SEED; -1: none */
int runner_output(const Runner *runner, const char *name);
void runner_seed(Runner *runner, uint64_t seed);                  /* sets SEED when the Fn has it */
void runner_count(Runner *runner, InputKind kind, int64_t value); /* sets STEP or EPOCH when the Fn has it */
void runner_settings(Runner *runner, const Train *train);         /* sets every SETTING */
static inline void runner_run(Runner *r) { pool_run(r->pool, r->exe->entry, &r->frame, r->exe->workers); }
/* Runs the Fn of program_init and fills parameters, states and slots of the block. */
void runner_init(const Executable *init, Pool *pool, const Program *p, const Layout *layout, char *persistent, uint64_t seed);

/* interpret.c: the same seam without code generation: the literal f32 interpreter as an Executable. */
Executable *exec_interpret(Arena *arena, const Fn *fn, const Program *p, const Layout *layout);
/* Evaluates the runner's Fn on what its frame holds and notes the first value that is nan (or inf) and where it was written. */
void note_nonfinite(Diag *diag, const Runner *runner, const Program *p, const Layout *layout, bool nan);

/* ---- tensors.c: safetensors ---------------------------------------------------------------------------------- */

typedef struct TensorEntry { const char *name; Type type; const char *data; const char *stored; } TensorEntry;
/* stored: the file's dtype ("F32", "I64"); type.dtype is meaningful only where nnc has that dtype (else DTYPE_COUNT). */
typedef struct MetaEntry { const char *key, *value; } MetaEntry;
typedef struct TensorFile {
	TensorEntry *entries; int count;
	MetaEntry *meta; int nmeta;
	char *bytes; size_t size;
} TensorFile;
TensorFile *tensors_read(Arena *arena, Diag *diag, const char *path);  /* NULL: reported */
void tensors_close(TensorFile *file);
const char *tensors_meta(const TensorFile *file, const char *key);     /* NULL: none */
bool tensors_write(Diag *diag, const char *path, const TensorEntry *entries, int count, const MetaEntry *meta, int nmeta);

/* weights.c: the persistent block as such a file. */
typedef struct WeightsInfo { uint64_t seed; int64_t step, epoch; bool has_seed, has_slots;
	const MetaEntry *more; int nmore; } WeightsInfo;   /* more: what else to save */
bool weights_save(Diag *diag, const char *path, const Program *p, const Layout *layout, const char *block, WeightsInfo info,
                  bool slots);
/* Loads what matches; what does not (missing, unexpected, wrong shape) is listed: as one error, or with `partial`
 * as one warning as long as something matched.  Slots are taken when the file has them. */
bool weights_load(Diag *diag, const char *path, const Program *p, const Layout *layout, char *block, bool partial,
                  WeightsInfo *info);
/* The same from a file that has been read. */
bool weights_take(Diag *diag, const char *path, const TensorFile *file, const Program *p, const Layout *layout, char *block,
                  bool partial, WeightsInfo *info);

/* ---- batch.c: rows of data sets into io buffers ---------------------------------------------------------------- */

struct Batch {
	const Samples *samples;
	int64_t size;
	int nfields;
	const char **from;       /* each field's array */
	char **to;               /* its io buffer */
	size_t *bytes;           /* per sample */
	int64_t *row;
	const Shuffle *order;    /* what batch_run was told */
	int64_t first;
};
/* Finds the fields of the set by the names of the runner's data inputs; dies when one is missing. */
Batch *batch_new(Arena *arena, const Samples *samples, const Runner *runner, int64_t size);
/* Fills the buffers with samples first .. +size-1 in the order of `order` (NULL: as they stand). */
void batch_fill(Batch *batch, const Shuffle *order, int64_t first);
/* The same by all workers, who then run the runner's executable. */
void batch_run(Batch *batch, Runner *runner, const Shuffle *order, int64_t first);

/* ---- evaluate.c, train.c ------------------------------------------------------------------------------------- */

/* Compiles the evaluation for another batch size; NULL: reported. */
typedef const Executable *(*CompileEval)(void *context, int64_t batch);

typedef struct EvalJob {
	const Train *train;
	Pool *pool;
	char *persistent;
	Samples samples;
	uint64_t seed;
	CompileEval compile; void *context;
	Runner *runner, *rest;   /* made at need, kept between runs; evaluate_close() frees them */
	Batch *batch, *rest_rows;
	double *metrics, *losses;   /* of the last run */
} EvalJob;
/* metrics and losses (as in Train): until the next run. */
typedef struct EvalResult { double loss; const double *metrics, *losses; int64_t samples; } EvalResult;
int evaluate(Arena *arena, EvalJob *job, EvalResult *result);
void evaluate_close(EvalJob *job);

typedef struct TrainJob {
	Arena *arena;
	Diag *diag;
	const Program *program; const Train *train; const Layout *layout;
	Pool *pool;
	char *persistent;                 /* initialised by the caller; holds the result afterwards */
	const Executable *step;
	CompileEval compile; void *context;
	Samples data, validate;           /* validate.count 0: none */
	uint64_t seed;
	const char *file;                 /* the .nn, for messages and metadata */
	const char *out;                  /* folder, made by run_folder(); NULL: nothing is written */
	const char *log;                  /* extra JSONL file or NULL */
	bool quiet, strict;               /* strict: a loss that is not finite ends the run with EXIT_RUN */
	bool resume;                      /* goes on from the folder's checkpoint */
} TrainJob;
typedef struct TrainResult {
	int64_t steps, epochs;
	double loss;
	EvalResult validation;
	double seconds;
	double best; int64_t best_epoch;  /* of the figure that the block watches; best_epoch 0: there is none */
	bool impatient;                   /* ended because `patience` epochs were none better */
} TrainResult;
/* How many there are in one pass over the samples; none is an error, reported. */
int64_t whole_batches(Diag *diag, const Train *train, int64_t samples);
/* Trains, saves, reports; an exit code. */
int train_run(TrainJob *job, TrainResult *result);
/* The folder of a run: `out` or FILE.run; made when missing, refused when it is not a run of this file.  NULL: reported. */
const char *run_folder(Arena *arena, Diag *diag, const char *program_file, const char *out);
/* Keeps other trainings out of the folder until run_unlock(), or the process's end.  RUN_BUSY: one is under way, reported. */
enum { RUN_BUSY = -1, RUN_UNLOCKED = -2 };   /* UNLOCKED: the file system has no locks, or there is no folder */
int run_lock(Diag *diag, const char *folder);
void run_unlock(int lock);

#endif
