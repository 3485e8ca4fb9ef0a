/* kernel_writer.h: one kernel being written, shared by kernels.c (maps, sequences, the function around all) and product.c.
 * Inside compiler/llvm/. */
#ifndef NNC_KERNEL_WRITER_H
#define NNC_KERNEL_WRITER_H

#include "lower.h"

typedef struct KernelWriter KernelWriter;
typedef void Inside(KernelWriter *w, At *at);

struct KernelWriter {
	Lower lower;
	const Contraction *contraction;
	Value begin, end, scratch;
	int turns;                   /* which loop around the product runs within its passes, or -1 */
	bool split;                  /* the lanes past the last whole vector need code of their own */
	bool ragged;                 /* a tile's columns may begin and end anywhere, not at multiples of a vector */
	bool flat;                   /* the index is an element's number: see tile_is_flat() */
	bool run, whole;             /* so it is, and the rows of a tile are one run: see is_run(); of whole vectors */
	int lanes;                   /* the axis that lanes run along: see lane_axis() */
	int along;                   /* the axis that a sequence runs along, inside of all others, or -1 */
	Inside *each;                /* what is done at an index along the lanes, if not roots written */
};

/* The roots at the present index: all computed, then all stored, since a root may overwrite what another one reads. */
void write_roots(Lower *k, const At *at, const Val *skip);
/* Roots over begin .. end of the last axis (n long), so many elements at a time. */
void write_lanes(KernelWriter *w, At *at, int axis, int64_t n, Value begin, Value end, const Val *skip);
/* Elements begin .. end of a run of `count`, by their numbers; always_whole: there is never a rest. */
void write_run(KernelWriter *w, int64_t count, Value begin, Value end, bool always_whole);
/* The same for a range that begins and ends anywhere: what is left after whole vectors is done under a mask. */
void write_ragged(KernelWriter *w, At *at, int axis, int64_t n, Value begin, Value end, const Val *skip);
/* Need the lanes past the last whole vector of an axis of n code of their own? */
bool needs_split(const Lower *k, int64_t n);
/* Are all elements of the kernel's domain one run to its roots, so that vectors need not end where rows do?  Only of use where
 * they would not by themselves. */
bool is_run(const KernelProgram *kp, const Kernel *kernel);

/* product.c: the share begin .. end of a product with its epilogue; the bytes of scratch that it needs. */
void write_product(KernelWriter *w);
size_t product_scratch(const Target *target, const KernelProgram *kp, const Kernel *kernel);

#endif
