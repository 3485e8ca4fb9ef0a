/* blocks.h: what the files of the pass share: a region of a Fn, wide values and what is computed among them, and its loops. */
#ifndef NNC_BLOCKS_H
#define NNC_BLOCKS_H

#include "rebuild.h"

/* Where the limits lie; all in elements but `growth`.  They are part of the program's meaning (sums are cut into blocks), so
 * they depend on no machine. */
typedef struct BlockLimits {
	int64_t wide;       /* of a value that is worth cutting up */
	int64_t growth;     /* a product is so many times larger than what it is made of */
	int64_t block;      /* of a wide value in one turn */
	int64_t rows;       /* at least so many rows in a turn, as far as there are; twice that where turns share their sums */
} BlockLimits;

/* An axis of a value as axes of the region's first wide value (*atoms*), row-major; n = 0: none of them. */
typedef struct Axis { int n, atom[MAX_RANK]; } Axis;
typedef struct Label { Axis axis[MAX_RANK]; } Label;

/* WIDE: has all atoms, and is never stored whole.  NARROW: computed of wide values row by row, and read by some.  RESULT: a
 * product or reduction of wide values that none of them reads so. */
typedef enum Member { OUTSIDE, WIDE, NARROW, RESULT } Member;

typedef struct Region {
	Fn *f;
	BlockLimits limits;
	int natoms;
	int64_t extent[MAX_RANK];      /* of the atoms; those of 1 occur in no label */
	bool bound[MAX_RANK];          /* no loop may run over it: something within reads along it */
	bool *free;                    /* by id: a function of the index alone */
	Member *member;                /* by id */
	Label **label;                 /* by id, of members */
	bool *wanted;                  /* by id: a member that somebody outside reads */
	int *stage, stages;            /* by id: of members: the loop that computes it; of others: after how many loops */
	const int *first_user, *users; /* by id: users[first_user[id] .. first_user[id + 1]) are ids */
} Region;

/* blocks_label.c: the axis of v that axis i of operand k becomes, or -1; -2 for ops that no loop may cut. */
enum { CONSUMED = -1, UNKNOWN = -2 };
int label_result_axis(const Val *v, int k, int i);
bool label_knows(const Val *v);
bool label_equal(const Label *a, const Label *b, int rank);
bool label_has(const Label *l, int rank, int atom);
bool label_is_wide(const Region *g, const Label *l, int rank);
/* The label of member v's operand k, as v reads it; false when there is none. */
bool label_of_operand(const Region *g, const Val *v, int k, Label *out);
bool label_below(const Region *g, const Val *v, const Label *own, int k, Label *out);   /* if v had this label */
/* The label of v from those of its operands that are members; false when they do not agree. */
bool label_of_result(const Region *g, const Val *v, Label *out);

/* blocks_loop.c: the loop of a stage over mapped values; map[] gets what somebody outside wants of it.  False: nothing to loop
 * over. */
bool blocks_may_loop(const Region *g, int stage);
void blocks_loop(const Region *g, int stage, Rebuild *r);

/* blocks.c: with limits of one's own, for tests. */
Fn *blocks_within(Fn *f, BlockLimits limits);

#endif
