/* blocks_loop.h: the loop of one stage of a region. */
#ifndef NNC_BLOCKS_LOOP_H
#define NNC_BLOCKS_LOOP_H

#include "blocks.h"

/* Blocks of rows that one scan computes; low, high: the places along plan.skip where anything but nothing can be. */
typedef struct Window { int64_t start, block, count, low, high; } Window;
enum { MOST_WINDOWS = 5 };

/* parallel: by atom: a loop of its own; row: part of the rows.  sums: some result sums over the rows. */
typedef struct BlockPlan {
	int stage;
	bool *needed;                  /* by id: a member that the loop computes */
	ValList results;
	bool parallel[MAX_RANK], row[MAX_RANK], sums;
	int64_t rows, block;
	int skip;                      /* the atom of which windows see a part only, or -1 */
	Window window[MOST_WINDOWS];
	int nwindows;
} BlockPlan;

enum { PARALLEL, ROW, REST };
static inline int kind_of(const BlockPlan *p, int atom) { return p->parallel[atom] ? PARALLEL : p->row[atom] ? ROW : REST; }

/* blocks_plan.c: false when the stage cannot be a loop, or would have one turn. */
bool block_plan(const Region *g, int stage, BlockPlan *out);

/* blocks_skip.c: deals the rows out to windows. */
void block_windows(const Region *g, BlockPlan *p);

#endif
