/* exec.h: the seam between compiled code and whoever runs it.
 *
 * In: a Fn made into machine code (or, for tests, interpreted).  Out: one entry point every worker calls.
 * Persistent tensors (parameters, state, optimiser slots) of a program live in one block with one Layout that all
 * Fns of the program share; everything else a step needs lives in one scratch arena of known size. */
#ifndef NNC_EXEC_H
#define NNC_EXEC_H

#include "ir.h"
#include "program.h"

/* Where a persistent tensor stands in the block.  Row-major; the last axis is stored `row` elements long
 * (row >= its logical length; the rest is padding that no one may observe). */
typedef struct Place { size_t offset; int64_t row; } Place;
typedef struct Layout { Place *places; int count; size_t infer_bytes, bytes; } Layout;  /* params and states first: infer_bytes */
Layout layout_program(Arena *arena, const Program *p);
/* Dense row-major <-> packed.  `block` is the persistent block. */
void layout_store(const Layout *layout, const Program *p, int index, const char *block, void *dense);
void layout_load(const Layout *layout, const Program *p, int index, char *block, const void *dense);

/* What an entry point is given; generated code knows this struct by field order. */
typedef struct Frame {
	char *persistent;                               /* Layout.bytes, aligned to 64 */
	char *arena;                                    /* Executable.arena_bytes, aligned to 64 */
	void (*barrier)(void *context, int64_t tid);    /* all workers meet; not called when nworkers == 1 */
	void *context;
	char **io;                                      /* dense row-major buffers: first the Fn's inputs that are not persistent,
	                                                   in order (data fields, STEP, EPOCH, SEED, SETTING), then its outputs
	                                                   that update nothing, in order */
} Frame;
typedef void (*EntryPoint)(Frame *frame, int64_t tid, int64_t nworkers);

typedef struct Executable {
	const Fn *fn;
	EntryPoint entry;
	int workers;                                    /* how many the entry was compiled for; 1..requested */
	size_t arena_bytes, code_bytes, stack_bytes;
	void *code;                                     /* owner of the mapping */
} Executable;

#endif
