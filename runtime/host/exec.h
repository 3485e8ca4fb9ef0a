/* exec.h: the seam between compiled code and whoever runs it.
 *
 * In: a Fn made into machine code (or, for tests, interpreted).  Out: one entry point every worker calls.
 * Persistent tensors (parameters, state, optimiser slots) of a program live in one block with one Layout that all
 * Fns of the program share; everything else a step needs lives in one scratch arena of known size. */
#ifndef NNC_EXEC_H
#define NNC_EXEC_H

#include "ir.h"
#include "packed.h"
#include "program.h"

/* Where a persistent tensor stands in the block.  Row-major; the last axis is stored `row` elements long
 * (row >= its logical length; the rest is padding that no one may observe). */
typedef struct Place { size_t offset; int64_t row; } Place;
typedef struct Layout { Place *places; int count; size_t infer_bytes, bytes; } Layout;  /* params and states first: infer_bytes */

/* The rule of packed tensors, those of a step's arena: the elements from one row (last axis) to the
 * next.  Only a last axis longer than 1 of a tensor of rank >= 2 is padded: to whole vectors of 16, and by one more vector
 * where rows would lie a multiple of 2048 bytes apart (they would share cache sets). */
static inline int64_t padded_row(Type t) {
	if (t.rank == 0) return 1;
	int64_t n = t.dim[t.rank - 1];
	if (t.rank < 2 || n <= 1) return n;
	int64_t row = (n + 15) / 16 * 16;
	return row * dtype_info[t.dtype].bytes % 2048 == 0 ? row + 16 : row;
}
/* The same for tensors that live from step to step.  What reads and writes most of them, an update, goes over all elements in
 * one run, whatever the rows are: short rows, which padding would make longer by more than a quarter, are not padded. */
static inline int64_t lasting_row(Type t) {
	int64_t n = t.rank ? t.dim[t.rank - 1] : 1, row = padded_row(t);
	return 4 * (row - n) > n ? n : row;
}
/* Elements to allocate for one: whole vectors of 16, so that the last one may be read and written whole. */
static inline int64_t lasting_count(Type t) {
	int64_t n = lasting_row(t);
	for (int i = 0; i + 1 < t.rank; i++) n *= t.dim[i];
	return (n + 15) / 16 * 16;
}
static inline size_t lasting_bytes(Type t) { return (size_t)lasting_count(t) * (size_t)dtype_info[t.dtype].bytes; }

Layout layout_program(Arena *arena, const Program *p);
/* The same behind an nnc_head, as the blocks of objects are. */
Layout layout_block(Arena *arena, const Program *p);
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
	const struct Executable *executable;            /* whose frame this is: for the interpreter, not for compiled code */
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
