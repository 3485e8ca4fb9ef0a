/* contract.h: the loop nest of a matrix product, C(m,n) = sum over k of A(m,k) B(k,n), written as explicit vector code.
 *
 * In: a Contract, whose extents and strides are all constants.  Out: code at the builder's place that computes a range of
 * rows and of column panels.  Guaranteed bits, whatever the target, tiles, caches and ranges are: each output is one
 * chain acc = fma(a, b, acc) in ascending k from +0.0; blocks of k have chains of their own, their totals are added
 * in ascending order.  A dot: 16 lanes (lane k % 16) per block of 4096, folded lane l += lane l + 8, + 4, + 2, + 1; block totals
 * added in ascending order.
 *
 * The sum may have more loops around k (`around`): a convolution's runs over taps down the image, and for each over k, taps
 * across and channels, which lie in one piece.
 *
 *     Contract c = {.m = 128, .n = 512, .k = 784, .a = {.row = 784, .column = 1}, .b = {.row = 512, .column = 1}, .c_row = 512};
 *     ContractPlan plan = contract_plan(e->target, &c);
 *     contract_emit(e, &c, &plan, (ContractArguments){.a = a, .b = b, .c = out, .scratch = scratch, .row = i0, .rows = rows});
 *
 * Batched products: loop around it with other pointers.  Extents are at least 1. */
#ifndef NNC_CONTRACT_H
#define NNC_CONTRACT_H

#include "emit.h"
#include "ir.h"

enum { CONTRACT_BLOCK = 4096, CONTRACT_LANES = 16, MAX_ROW_COUNTS = 4, MAX_HEIGHTS = 8 };

/* A block of an operand to be made: element (row + r, column + s), r < rows, s < columns (both >= 1, run time), goes to
 * ((float *)to)[r * stride + s], or [s * stride + r] when the operand is `down`.  A's rows and columns are (m, k), B's (k, n). */
typedef struct ContractBlock { Value to; int64_t stride; Value row, rows, column, columns; } ContractBlock;
typedef void ContractFill(Emit *e, void *context, const ContractBlock *block);

/* An operand in memory, element (r, s) at pointer[r * row + s * column] floats; or made by `fill` while packing: A once for each
 * column block, B once for each row block of the range; as a rule there is one of each. */
typedef struct ContractOperand {
	int64_t row, column;
	int64_t group, group_row; /* A in memory, several sums: > 0: rows in groups of so many, group_row from one to the next */
	int64_t pad;             /* B in memory with column == 1: floats past column n of every row that may be read */
	DType dtype, through;    /* in memory: elements of this type, read by way of that one as f32; zeros: floats as they lie */
	/* > 0: within this many loops around k `count` elements, from `low` on, are made floats in scratch; row, column and what is
	 * further in count these. */
	int wide_within; int64_t wide_low, wide_count;
	/* Not NULL: they are a copy that this function (to, from) makes; the last of those loops moves what is copied by so much. */
	Value copier; int64_t copied_step;
	ContractFill *fill; void *context;
	bool down;               /* fill writes vectors along r (A: along m) instead of along s (A: along k) */
} ContractOperand;

/* A finished part of C: rows x columns (run time) elements, the first of which is C(row, column); C(row + r, column + s) stands
 * at ((float *)at)[r * stride + s].  Rows of the range are whole when they are at most plan.epilogue_columns long, else they
 * come in segments. */
typedef struct ContractTile {
	Value at;
	int64_t stride;
	Value row, rows, column, columns, turn;
} ContractTile; /* turn: or NULL */
typedef void ContractEpilogue(Emit *e, void *context, const ContractTile *tile);

/* A loop of the sum around k: how far A and B are from one turn to the next. */
typedef struct ContractSum { int64_t extent, a, b; } ContractSum;
enum { MAX_AROUND = 8 };

/* More products with the same A or B, done in turn within each pass: each finds A, B and C `a`, `b` and `c` floats further. */
typedef struct ContractTurns { int64_t extent, a, b, c; } ContractTurns;

typedef struct Contract {
	int64_t m, n, k;
	bool dot;                /* n is 1 */
	ContractSum around[MAX_AROUND]; int naround;    /* outermost first */
	/* A block is `per_block` turns of around[cut], or of k when cut == naround; 0: 4096 of k. */
	int cut; int64_t per_block;
	int bounded;             /* the loop around k, counted from 1, of which some turns are run, never none; 0: none is */
	ContractBound bound;
	ContractOperand a, b;
	ContractTurns turns;     /* extent 0: none; only with A in memory, and B, not packed, if it moves */
	int turn_loop;           /* which of the caller's loops that is */
	int64_t c_row;           /* floats from one row of C to the next; columns are adjacent */
	int64_t c_pad;           /* floats past column n of every row of C that may be overwritten with anything */
	bool c_dropped;          /* C is not stored: only the epilogue sees it, in scratch */
	bool c_run;              /* dropped: the epilogue wants the rows of a tile one after the other, with nothing between */
	DType words;             /* F32: floats.  Else A's words, of four bytes each: C is of i32, and sums of integers */
	DType words_b;           /* B's */
	bool never_turned;       /* it is not to be computed the other way round */
	ContractEpilogue *epilogue; void *context;      /* or NULL; emitted once per nest */
	/* The lengths that a range of rows may have, at most MAX_ROW_COUNTS different ones; none: m only.  With w workers and
	 * m % w == 0, one length; otherwise two.  Any lengths do (whole groups); fewer make less code. */
	int64_t row_counts[MAX_ROW_COUNTS]; int nrow_counts;
} Contract;

/* How it will be done: a function of target and Contract alone. */
typedef struct ContractPlan {
	bool dot;
	bool turned;                         /* the transpose is computed (contract_turn.c); the rest says how C comes */
	int lanes;                           /* f32 lanes of a vector */
	int height;                          /* most rows of a register tile; all tiles are height or a little less */
	int unit;                            /* rows of tiles are multiples of this: a group, or 1 */
	int heights[MAX_HEIGHTS], nheights;  /* tile heights in use, one microkernel each */
	int vectors;                         /* vectors in a wide panel; narrow ones have one less */
	int64_t panels, wide_panels;         /* column panels in all; the first wide_panels are wide */
	int64_t panel_columns;               /* vectors * lanes */
	bool pack_a, pack_b;
	bool b_ahead;                        /* B comes from beyond the nearest cache: the microkernel asks for it early */
	int64_t k_block;                     /* k per pass over C */
	int cut; int64_t per_block;          /* as in Contract, never 0 */
	int inside;                          /* so many of the innermost loops around k are run by the microkernel as well */
	bool taps;                           /* it unrolls k, rows sharing elements of A: an element is loaded once for all of them; */
	bool apart;                          /* or one tap after the other, where registers do not do for all taps of B at once */
	bool chained;                        /* more than one pass over C */
	bool waiting;                        /* sums of a block wait in scratch for its next pass */
	int64_t panel_block;                 /* panels per column block */
	int64_t row_block;                   /* rows per row block */
	int64_t epilogue_columns;
	bool split_columns;                  /* advice: give workers panels rather than rows (m small, or B packed) */
	bool run;                            /* the epilogue gets tiles as c_run wants them: c_stride is n */
	size_t scratch_bytes;                /* per worker, aligned to 64 */
	size_t a_at, b_at, b_filled_at, c_at, chain_at;   /* offsets in it */
	int64_t c_stride, chain_stride;
} ContractPlan;
ContractPlan contract_plan(const Target *target, const Contract *c);
/* First column of panel p (p == plan.panels: n, rounded up to a whole vector). */
int64_t contract_panel_column(const ContractPlan *plan, int64_t panel);

/* What the epilogue reads beside C, element (row, column) of it at ((float *)at)[r * row + s]: fetched ahead while the product
 * is computed, since it comes from memory. */
enum { MAX_STREAMS = 4 };
typedef struct ContractStream { Value at; int64_t row; } ContractStream;

/* row, rows: NULL for all rows; rows (run time) is one of row_counts.  panel, panels: NULL for all columns.  Types: e->index. */
typedef struct ContractArguments {
	Value a, b, c, scratch, row, rows, panel, panels;
	Value outside;           /* the index that the bound depends on besides; NULL: it is the turn */
	Value wide_a, wide_b;    /* scratch for what is made floats, or copied, within loops around k */
	Value copied_a, copied_b;   /* what is copied there */
	/* Or NULL: where a pointer stands to what will be copied next: each call of a microkernel asks for `ahead_floats` of it, and
	 * moves the pointer on.  One stream of memory under arithmetic, instead of one after the other. */
	Value ahead; int64_t ahead_floats;
	ContractStream streams[MAX_STREAMS]; int nstreams;
} ContractArguments;
/* Elements of memory other than floats: are they?  Their type; so many from `at` on, as f32; a function (to, from, index count)
 * that makes floats of them. */
bool contract_is_short(const ContractOperand *x);
LLVMTypeRef contract_element(Emit *e, const ContractOperand *x);
Value contract_load(Emit *e, const ContractOperand *x, int lanes, Value at, int n);
Value contract_widener(Emit *e, DType dtype, DType through);
void contract_emit(Emit *e, const Contract *c, const ContractPlan *plan, ContractArguments arguments);
/* Calls of microkernels for one copy of an operand, or for all of the product when none is made within it; 0: not known. */
int64_t contract_calls(const Contract *c, const ContractPlan *plan);
/* Calls copier (to, from), and says what comes next. */
void contract_copy(Emit *e, Value copier, Value to, Value from, Value next, Value ahead);

/* A fill made of an element function: `element` returns `lanes` (1 or more) elements (row, column), (row, column + 1), ..., or
 * (row + 1, column), ... when the operand is down.  c.a.fill = contract_fill_elements, c.a.context = &(ContractElements){...}. */
typedef Value ContractElement(Emit *e, void *context, Value row, Value column, int lanes);
typedef struct ContractElements { ContractElement *element; void *context; bool down; } ContractElements;
void contract_fill_elements(Emit *e, void *context, const ContractBlock *block);

#endif
