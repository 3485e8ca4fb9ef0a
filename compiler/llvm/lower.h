/* lower.h: a kernel being written: the values of its Fn as functions of the loop variables around them.
 *
 * A value is computed where it is wanted, element by element: lower_value(k, v, at) emits the code of v at the index
 * `at`.  Views only change the index.  The same value at the same index is computed once, at the outermost loop whose
 * variables its index uses, so that what does not change in a loop stands before it. */
#ifndef NNC_LOWER_H
#define NNC_LOWER_H

#include "contract.h"
#include "emit.h"
#include "kernel.h"

enum { MAX_LOOPS = 16 };

/* constant + sum coefficient[l] * (variable of level l), plus a computed part when there is one, which stands at `level`. */
typedef struct Affine { int64_t constant; int64_t coefficient[MAX_LOOPS]; Value computed; int level; } Affine;
/* An element of a value of rank r: axis[0 .. r), or, when flat, axis[0] counts elements in row-major order. */
typedef struct At { bool flat; Affine axis[MAX_RANK]; } At;

/* Element values: a scalar where nothing depends on the lanes, else a vector of Lower.lanes. */
typedef struct Memo { const Val *v; At at; Value mask; Value value; struct Memo *next; } Memo;

/* The row of a wide value in the worker's scratch, in whole vectors. */
typedef struct Kept { const Val *v; Value row; struct Kept *next; } Kept;

typedef struct Level {
	Value variable;                  /* index type; NULL at level 0 (the function's entry) */
	int64_t extent;                  /* the variable is in 0 .. extent - 1 */
	EmitLoop *loop;                  /* whose body this is; NULL: a level without a loop (one turn) */
	Memo *memo;
	struct Partial { Affine index; Value value; struct Partial *next; } *partial;
	Value waiting;                   /* the end of `block`, in whose midst the loop began, or NULL */
	LLVMBasicBlockRef block;
	struct Level *hidden;            /* what was at this depth, and is again once the loop is closed */
} Level;

typedef struct Lower {
	Emit *e;
	const KernelProgram *kp;
	const Kernel *kernel;
	Value *pointer;                  /* by buffer: the argument that points to it */
	Value turn;                      /* the argument that is the index of the scan's turn, i32, when the kernel reads it */
	const Sites *sites;              /* of its random values */
	Value *site;                     /* the argument for each, i64 */
	Level level[MAX_LOOPS];
	int depth;                       /* innermost open level */
	int lanes;                       /* elements computed at a time: 16 along rows that are summed, else Target.at_once */
	int lane_level;                  /* whose variable is the first of `lanes` elements, or -1 */
	int tail;                        /* only the first `tail` lanes exist (0: all; -1: as tail_lanes says) */
	Value tail_lanes;                /* <lanes x i1> */
	Value zero;                      /* of kernels of rows: always 0, which LLVM does not know */
	const Val *tile_value;           /* a contract's result in its tile */
	Value tile;                      /* where its row 0, column 0 would stand */
	int64_t tile_stride;
	int tile_row_level;              /* whose variable is the row, or, in a run, the element's number */
	int tile_column_level;           /* whose variable is the column, or the element's number, where no lanes run; or -1 */
	char *of_tile;                   /* by Val.id: TILE_READ: computed from the product; TILE_FREE: not; 0: not asked yet */
	int outer_level[MAX_RANK];       /* of the loops around the product */
	Memo *given;                     /* results of the row's reductions, by value: at any index */
	Kept *kept;                      /* elements of the row that an earlier pass has computed */
} Lower;

/* convert.c: casts.  i8 and u8 are computed as i32 and cut back to their range, f16 and bf16 as f32 and rounded; others stay. */
Value lower_cast(Emit *e, Value a, DType from, DType to);
Value lower_narrow(Emit *e, Value v, DType dtype);
LLVMTypeRef lower_memory_type(Emit *e, DType dtype);
Value lower_from_memory(Emit *e, Value raw, DType dtype);
Value lower_to_memory(Emit *e, Value v, DType dtype);
Value lower_real(Emit *e, DType dtype, double value, int lanes);   /* of a float type, as it is computed with */
Value lower_constant(Emit *e, DType dtype, double value);

/* words.c: acc and the products of the bytes of x and y, i32s, all scalars or vectors. */
Value lower_words(Emit *e, Value x, DType of_x, Value y, DType of_y, Value acc);
/* Lifted sums: those of the next function, which are too large, all by the same, that of x = 0. */
bool words_are_lifted(const Target *target, DType of_x, DType of_y, int lanes);
Value lower_words_lifted(Emit *e, Value x, DType of_x, Value y, Value acc);

/* scalar.c: the forward columns of ops.def and math.def as LLVM code; operands scalar or vector alike. */
Value lower_pointwise(Emit *e, const Val *v, Value *args);
Value lower_maximum(Emit *e, Value a, Value b);
Value lower_minimum(Emit *e, Value a, Value b);
/* One 32-bit word of Philox4x32-10 as a float in [0, 1); counter and key as i32, scalar or vector; site as i64. */
Value lower_random(Emit *e, Value element, Value index, Value step, Value seed_low, Value seed_high, Value site, int word);

/* index.c */
Affine index_constant(int64_t value);
Affine index_variable(int level);
Affine index_scale_add(const Lower *k, Affine a, int64_t scale, const Affine *b);   /* a * scale + b */
bool index_equal(const Affine *a, const Affine *b);
int index_level(const Lower *k, const Affine *i);       /* deepest level it uses */
bool index_uses_lanes(const Lower *k, const Affine *i);
bool index_is_adjacent(const Lower *k, const Affine *i);   /* lanes are neighbours */
Value index_value(Lower *k, const Affine *i);           /* e->index; a vector when it uses the lanes */
/* Emission moves to the end of the code that runs once per turn of `level`, and back to where it was (NULL: it did not move). */
LLVMBasicBlockRef lower_move_out(Lower *k, int level);
void lower_move_back(Lower *k, LLVMBasicBlockRef here);
/* The same, and everything computed in between sees only the levels up to there (no lanes, when those are deeper). */
typedef struct Outside { LLVMBasicBlockRef here; int depth, lane_level, tail; } Outside;
Outside lower_go_out(Lower *k, int level);
void lower_come_back(Lower *k, Outside from);
/* The operand's index for a reshape: `at` (of `from` dims) re-split to `to` dims.  may_be_flat: what reads the operand is served
 * by the number of the element. */
At index_reshape(Lower *k, const At *at, Type from, Type to, bool may_be_flat);
At index_split(Lower *k, const At *flat, Type type);
Affine index_flatten(Lower *k, const At *at, Type type);

/* value.c */
enum { TILE_FREE = 1, TILE_READ };
/* Is `v` computed from the tile, so that it may not leave the loop over the tile's rows? */
bool reads_tile(const Lower *k, const Val *v);
Value lower_value(Lower *k, Val *v, const At *at, Value mask);
void lower_store(Lower *k, Val *root, const At *at, Value value);
Value lower_address(Lower *k, const Val *root, const At *at);   /* of a scalar element */
Value lower_as_lanes(Lower *k, Value v);
/* Enter and leave a loop level: for (variable = begin; < end; += step). */
void level_open(Lower *k, EmitLoop *loop, Value begin, Value end, int64_t step, int64_t extent, bool lanes);
void level_close(Lower *k, EmitLoop *loop);
void level_given(Lower *k, Value variable, int64_t extent);   /* a level whose variable somebody else's loop turns */
void level_single(Lower *k);                            /* a level whose variable is 0 */

/* The level at which lower_value() computes this. */
int lower_level(const Lower *k, const Val *v, const At *at, Value mask);
/* Elements at `offset` from `base`; mask: those that exist, NULL: all; padded: what is past the tail may be read. */
Value lower_load(Lower *k, Value base, DType dtype, const Affine *offset, Value mask, bool padded);
/* Masks may be scalar, vector or NULL (all). */
Value mask_and(Lower *k, Value a, Value b);
Value mask_select(Lower *k, Value mask, Value a, Value b);
Value mask_in_range(Lower *k, const Affine *index, int64_t n);   /* 0 <= index < n */

/* indexed.c: elements whose place depends on data, or that many places make. */
Value gather_value(Lower *k, Val *v, const At *at, Value mask);
Value fold_value(Lower *k, Val *v, const At *at, Value mask);
Value sum_buckets_value(Lower *k, Val *v, const At *at, Value mask);

/* Start of a reduction's accumulator, one step, and the fold of the 16 lanes. */
Value reduce_start(Emit *e, Op op, DType dtype, int lanes);
Value reduce_step(Emit *e, Op op, Value accumulator, Value x);
Value reduce_fold(Emit *e, Op op, Value lanes);
/* Keeps the elements at the present index in their row. */
void lower_keep(Lower *k, const Kept *kept, Value elements);

/* rows.c: a kernel of rows, rows begin .. end of its first axis. */
void lower_rows(Lower *k, Value begin, Value end, Value scratch);
size_t rows_scratch(const Kernel *kernel);

/* sequence.c: one line of the anchor of a kernel of sequences, computed and stored. */
void lower_line(Lower *k, Val *v, const At *line, Value scratch);
size_t sequence_scratch(const Val *v);

/* kernels.c: a kernel as a local function (its buffers, scratch, sites, index, begin, end); one function serves all kernels with
 * the same key.  The index is a parameter only when the kernel reads it.  made: the codes so far; its own is added.
 * Its key is where keys are written, one after the other. */
typedef struct KernelCode {
	Value function;
	int nbuffers, *buffers;
	Sites sites;
	bool index;
	const char *key;
	uint64_t hash;           /* of the key */
} KernelCode;
typedef struct KernelCodes { KernelCode *data; int length, capacity; const char *prefix; Text key; } KernelCodes;
KernelCode lower_kernel(Emit *e, const KernelProgram *kp, const Kernel *kernel, KernelCodes *made);
/* product.c: how many column panels workers should share instead of rows; 0: rows. */
int64_t kernel_panels(const void *target, const KernelProgram *kp, const Kernel *kernel);
/* Bytes of scratch that one worker of this kernel needs. */
size_t kernel_scratch(const Target *target, const KernelProgram *kp, const Kernel *kernel);

/* step.c: the entry point `name`: every kernel in order, scans as loops, barriers between them. */
void lower_entry(Emit *e, const KernelProgram *kp, const char *name);

/* copier.c: a function (to, from) that copies an image of what is copied in pieces, all but its first axis; how far apart images
 * are in what it is made of. */
Value lower_copier(Emit *e, const KernelProgram *kp, const Val *piece);
int64_t lower_copied_step(const KernelProgram *kp, const Val *piece);
/* The zeros of a pad, of all but its first axis, at `to`, where its elements lie row after row. */
void lower_border(Emit *e, const Val *pad, Value to);

#endif
