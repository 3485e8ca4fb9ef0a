/* blocks_loop.h: the loop of one stage of a region. */
#ifndef NNC_BLOCKS_LOOP_H
#define NNC_BLOCKS_LOOP_H

#include "blocks.h"

/* parallel: by atom: a loop of its own; row: part of the rows.  sums: some result sums over the rows. */
typedef struct BlockPlan {
	int stage;
	bool *needed;                  /* by id: a member that the loop computes */
	ValList results;
	bool parallel[MAX_RANK], row[MAX_RANK], sums;
	int64_t rows, block;
} BlockPlan;

enum { PARALLEL, ROW, REST };
static inline int kind_of(const BlockPlan *p, int atom) { return p->parallel[atom] ? PARALLEL : p->row[atom] ? ROW : REST; }

/* blocks_plan.c: false when the stage cannot be a loop, or would have one turn. */
bool block_plan(const Region *g, int stage, BlockPlan *out);

#endif
