/* embed.h: several Fns as one object that needs nothing: what `nnc compile` writes.  No LLVM type appears here.
 *
 * In: what the functions are called, where everything stands in the caller's blocks.  Out: object code whose only symbols
 * are those named here; no undefined ones, no writable data.  The kernels are those of compile.h, for one worker; around
 * them stand small functions with C's calling convention:
 *     int INIT(train *, uint64_t seed)
 *     int MODEL(const params *, const in.., out.., [size_t n,] void *scratch)
 *     int STEP(train *, const in.., float *loss, void *scratch)
 *     int STEP_workers(train *, const in.., float *loss, void *scratch, int worker, void (*barrier)(void *, int64_t), void *)
 * A block of parameters begins with an nnc_head, which functions check before anything else: it says whose block it is. */
#ifndef NNC_EMBED_H
#define NNC_EMBED_H

#include "codegen.h"
#include "exec.h"
#include "kernel.h"

/* What the functions return: CODE(name, number, meaning). */
#define EMBED_CODES(CODE) \
	CODE(OK, 0, "done") \
	CODE(BAD_CLASS, -1, "an input of type class[k] holds a number outside 0 .. k-1") \
	CODE(BAD_PATH, -2, "no tensor has this path") \
	CODE(BAD_BLOCK, -3, "a block that was never filled, or of another model, or of another version of this one") \
	CODE(MISALIGNED, -4, "a block or scratch is not aligned to ALIGN bytes, or an array not to its elements") \
	CODE(BAD_COUNT, -5, "n samples are more than memory can hold (a negative number, say), or there is no such worker") \
	CODE(NULL_POINTER, -6, "a pointer is NULL that may not be") \
	CODE(NOT_FINITE, -7, "an input of a training step holds a nan or an infinity")
enum {
#define CODE(name, number, meaning) EMBED_##name = number,
	EMBED_CODES(CODE)
#undef CODE
	EMBED_ABI = 1                          /* of the blocks and the calls; part of every nnc_head */
};

/* An array that the caller owns.  count: elements of one sample where batched, else of the whole. */
typedef struct EmbedArray { const char *name; DType dtype; int64_t classes, count; bool batched; } EmbedArray;

/* block runs `batch` samples; single, one sample, NULL: there is no n, each call runs the whole block. */
typedef struct EmbedModel {
	const char *symbol;
	Fn *block, *single;
	int64_t batch;
	EmbedArray *inputs, *outputs;
	int ninputs, noutputs;
} EmbedModel;

/* A run-time setting: a float in the train struct. */
typedef struct EmbedSetting { const char *name; size_t offset; float value; } EmbedSetting;

typedef struct EmbedStep {
	const char *symbol;
	Fn *fn;
	EmbedArray *inputs;
	int ninputs;
	int64_t accumulate;                    /* calls per update */
	size_t step_offset, epoch_offset;      /* int64_t: calls done; int32_t */
	EmbedSetting *settings;
	int nsettings;
	const char *workers_symbol;            /* of the entry for several workers; NULL: none */
	int most_workers;                      /* at most so many call it */
	int workers;                           /* set by embed_compile: so many must */
} EmbedStep;

/* Read-only bytes under a name. */
typedef struct EmbedBytes { const char *symbol; const char *bytes; size_t size; } EmbedBytes;

/* What else is made of the module besides an object. */
typedef enum EmbedText { EMBED_NO_TEXT, EMBED_ASSEMBLY, EMBED_IR } EmbedText;

typedef struct Embed {
	const Program *program;
	EmbedText text;
	const Layout *layout;
	EmbedModel *models; int nmodels;
	EmbedStep *steps; int nsteps;
	const char *init_symbol;               /* NULL: none */
	Fn *init;
	size_t train_bytes, seed_offset;
	uint64_t params_id, train_id;          /* of an nnc_head; of the whole training block, which stands at id_offset */
	size_t params_bytes, id_offset;
	EmbedBytes *constants; int nconstants;
	bool recompute;                        /* values, so that scratch has at most most_scratch bytes */
	size_t most_scratch;
	bool small;                            /* kernels run together, on few rows, wherever they can: less scratch, more calls */
	bool sizes_only;                       /* no object is made: scratch_.. are worked out, stack_bytes is the least it can be */
} Embed;

typedef struct Embedded {
	Object object, text;
	size_t code_bytes, data_bytes, scratch_infer, scratch_train, scratch_workers, stack_bytes;
	const KernelProgram *infer, *train;    /* those that need so much scratch; NULL: there are none */
	const Val *unsupported;                /* not NULL: no code can be made for this value, nothing else is set */
	const char *calls;                     /* not NULL: a function of the C library that the code would call on this target */
	const char *const *needs; int nneeds;  /* arithmetic of the C compiler's support library that it calls: __aeabi_fadd, .. */
} Embedded;

/* Of what a step writes to `loss`. */
DType loss_dtype(const Fn *step);
/* Fns have been through all passes. */
Embedded embed_compile(Arena *arena, Embed *embed, const Target *target);

#endif
