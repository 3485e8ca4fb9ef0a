/* kernel.h: a Fn as a list of kernels over buffers in one arena.
 *
 * In: a Fn after all passes.  Out: KernelProgram: which values are stored and where, which kernel computes each,
 * in what order, with how many workers and where all workers must meet.
 *
 * A value is *stored* (it has a Buffer) or *inline* (recomputed by whoever reads it, from stored values; views are
 * always inline: they only change the index).  A kernel computes one group of stored values, its roots, over one
 * domain: the roots' common dims.  It may have an anchor: the contract whose result feeds the roots at the same index
 * (its epilogue), and which then need not be stored itself.  A kernel of rows computes reductions over the last axis together
 * with what stands between and after them; its domain is what a reduction leaves, its members may be one axis wider. */
#ifndef NNC_KERNEL_H
#define NNC_KERNEL_H

#include "ir.h"

typedef enum BufferKind { BUFFER_ARENA, BUFFER_PERSISTENT, BUFFER_IO, BUFFER_OUTER } BufferKind;
typedef struct Buffer {
	BufferKind kind;
	Type type;
	int64_t row;                     /* stored length of the last axis, >= its logical length */
	bool exact;                      /* nothing past a row's last element may be touched: the caller's, or part of something */
	bool strided;                    /* its axes lie as `stride` says (in elements), not row after row */
	int64_t stride[MAX_RANK];
	size_t offset;                   /* ARENA: bytes from the arena's start; PERSISTENT: from the block's; OUTER: see below */
	int io;                          /* IO: index into Frame.io */
	int outer[2];                    /* OUTER: the buffers of the program around this one on even and odd turns */
	int64_t step;                    /* OUTER: begins at offset + index * step bytes of that */
	bool given;                      /* OUTER: no kernel of this program computes it */
	int within;                      /* ARENA: > 0: a window on this buffer - 1, `offset` bytes from its start */
	bool dealt;                      /* windows on it are written, and nothing else */
	const Val *border;               /* but for the zeros of this pad, around and between the elements of such a window */
	int64_t part;                    /* ARENA: > 0: each worker has room for so many rows of the first axis, see Kernel.part */
	size_t bytes;                    /* ARENA: of all workers */
	int first, last;                 /* ARENA: live from schedule position first to last */
} Buffer;

/* A strided window on a buffer: element (i0, i1, ..) of a value is at offset + sum stride[k] * ik, in elements.  through: what a
 * product reads is a cast of it, to this shorter type and from that to f32; F32: it is read as it lies.  piece: it is a view of
 * this value, a pad or a slice with steps, which is not stored but copied in pieces; `buffer` is that of what it is made of. */
typedef struct View { int buffer; int64_t offset; int64_t stride[MAX_RANK]; DType through; const Val *piece; } View;

typedef enum KernelKind {
	KERNEL_MAP,      /* roots element by element; column reductions run inside each element */
	KERNEL_ROWS,     /* members: reductions of rows, and elements of rows, in as many passes over each row */
	KERNEL_CONTRACT, /* anchor: a contract; roots: functions of its result */
	KERNEL_SEQUENCE, /* anchor: is_sequence(): one element after the other along an axis; roots: functions of it */
	KERNEL_SCAN,     /* roots: results of a scan, whose body is a program of its own */
	KERNEL_KINDS
} KernelKind;
extern const char *const kernel_kind_text[KERNEL_KINDS];

/* One loop of a contract: over an axis of the result, a summed axis, or several that lie alike in every tensor.  a, b, y: the
 * step of each tensor in elements, 0 where it has no such axis.  axis: which of the result's axes, outermost first; none: summed.
 * bounded: it is the one of the result, or of the sum, that says which terms are left out.  images: an operand is copied for each
 * turn.  Either stays a loop of its own. */
typedef struct ContractLoop {
	int64_t extent, a, b, y;
	bool in_a, in_b, bounded, images;
	int axis[MAX_RANK], naxes;
} ContractLoop;

/* An operand of short numbers that no packer sees, since the sum has several loops: within `level` of the loops, outer[] and then
 * sum[], the elements from low on, `count` of them, counted from where it then stands, are made f32 in the worker's scratch.
 * Of what is copied in pieces (View.piece), all but the first axis: an image, between its border, is copied there for each turn
 * of the last of these loops, over that axis; the others go on within the copy. */
typedef struct Widening { int level; int64_t low, count; } Widening;
enum { WIDEN_NOT = -1, WIDEN_NOWHERE = -2 };   /* levels: the packers do it, or nobody has to; there are too many elements */

/* A contract as loops:  for outer.. { y[row, column] = sum over sum.. of a[row, ..] * b[.., column] }.  rows and columns have
 * extent 1 where there are none.  Columns are adjacent in y.  Sum loops run outermost first; a chain of products covers
 * `per_block` indices of sum loop `cut` (contract_order() in ir.h). */
typedef struct Contraction {
	ContractLoop rows, columns, outer[MAX_RANK], sum[MAX_RANK];
	int nouter, nsum, cut;
	int64_t terms, per_block;
	int64_t group, group_a;          /* > 0: only so many rows lie alike in a; the next ones are group_a from these */
	bool dot;                        /* 16 lanes instead of a chain */
	View a, b;                       /* where element 0 stands; strides say nothing */
	Widening wide_a, wide_b;
	ContractBound bound;             /* of the loops that are bounded, where there are any */
	bool swapped;                    /* a here is the IR's second operand */
	Val *fill;                       /* a is not stored: this value is computed while its tiles are packed; a says nothing then */
} Contraction;

/* A stored value that a kernel reads.  identity: every path to it keeps the whole index; axis: the axis of the leaf
 * along which every path carries the kernel's partition axis unchanged, or -1.  row: every path keeps the kernel's row: to an
 * element of it, at the same index, to the whole of it, through a reduction, or to one value for all of it. */
typedef struct Leaf { Val *val; bool identity, row; int axis; } Leaf;
typedef struct LeafList { Leaf *data; int length, capacity; bool index; } LeafList;   /* index: the turn's is read as well */

/* What a kernel of rows computes, stored or not: a reduction over the last axis, a value of the domain's dims, or a wide one of
 * an axis more.  pass: the pass over the row in which a reduction runs, or in which a value can first be computed.  kept: a wide
 * value that later passes want, in the worker's scratch. */
typedef struct RowValue { Val *val; int pass; bool kept; } RowValue;

typedef struct Kernel {
	KernelKind kind;
	Val *anchor;                     /* CONTRACT, SEQUENCE */
	Val *scan;                       /* SCAN */
	struct KernelProgram *body;      /* SCAN: once scheduled */
	VEC(RowValue) members;             /* ROWS: in canonical order, the stored ones among them */
	int64_t width;                   /* ROWS: elements of a row */
	int passes;                      /* ROWS: over each row */
	double element_cost;             /* ROWS: cycles per 16 elements of a row */
	VEC(Val *) roots;                /* stored results in canonical order (may include the anchor) */
	Type domain;                     /* dims of roots and anchor's result */
	Contraction *contraction;        /* CONTRACT */
	int partition;                   /* the domain axis that workers share, or -1: one worker */
	LeafList leaves;                 /* what all roots and the anchor read; complete after kernel_fuse() */
	VEC(int) reads, writes;          /* buffers */
	double cost;                     /* estimated ns on one worker */
	double shared_cost;              /* SCAN: the same on all workers of its body */
	bool dealt;                      /* SCAN: no turn needs another: each worker runs whole turns, in an arena of its own */
	int workers;                     /* how many share it, by the rows of its partition axis */
	int64_t rows, grain;             /* extent of the partition axis; shares are multiples of grain */
	int64_t panels;                  /* CONTRACT: > 0: workers share this many column panels instead of rows */
	bool product_rows;               /* CONTRACT: workers share the rows of the product, whatever axes these are */
	int64_t part;                    /* > 0: it runs together with its neighbours, this many rows of its share at a time */
	int together;                    /* the first of these: how many they are; the others, and who runs alone: 0 */
	VEC(int) after;                  /* kernels that must have run before this one */
	bool barrier_before;
	int position;
} Kernel;

/* A value that is computed again instead of being kept, and what keeping it would take. */
typedef struct Recomputed { const Val *val; size_t bytes; } Recomputed;

typedef struct KernelProgram {
	Arena *arena;
	Fn *fn;                          /* the Fn as prepared for kernels; buffers and roots refer to it */
	int workers;
	VEC(Buffer) buffers;
	int *buffer_of;                  /* by Val.id: its buffer, or -1 when inline */
	bool *in_pieces;                 /* by Val.id: what its reader, a product, copies piece by piece */
	uint32_t *walked;                /* by Val.id: zero, but for marks while somebody walks over values */
	VEC(Kernel) kernels;             /* in the order they run */
	size_t arena_bytes, arena_bound; /* planned; the most that is live at once */
	size_t scratch_bytes;            /* per worker, after the buffers (packing, tiles); part of arena_bytes */
	size_t scratch_offset;
	const Kernel *scratch_kernel;    /* that needs so much; NULL: none needs any */
	int nio;
	VEC(Recomputed) again;           /* recompute.c */
	/* The body of a scan: */
	struct KernelProgram *parent;    /* NULL: not one */
	const Val *scan;
	int arena_buffer;                /* of the parent: stands for this program's arena */
	bool barrier_between;            /* all workers meet between one turn and the next */
} KernelProgram;

/* Nanoseconds; 0: not known.  line: of a store to a line that another core has read; barrier: until all workers have met. */
typedef struct WorkerCosts { double line, barrier; } WorkerCosts;
/* What the planner needs to know of the machine. */
typedef struct Machine {
	int lanes;
	int64_t own_cache;               /* bytes of a core's own caches: what another core may have to be waited for */
	WorkerCosts costs;
	bool always_share;               /* workers share whatever they can, even where that is slower: for tests */
	/* How many column panels the workers of a contract should share, or 0 for its rows; asks the code generator. */
	int64_t (*panels)(const void *target, const KernelProgram *kp, const Kernel *kernel);
	const void *target;
} Machine;

/* prepare.c: Fn -> Fn: operands of contracts with their axes in order; every output a value of its own. */
Fn *kernel_prepare(Fn *f);
/* Where a persistent input stands in its block: byte offset, and the stored length of its last axis. */
typedef struct InputPlace { size_t offset; int64_t row; } InputPlace;
/* fuse.c: which values are stored, grouped into kernels.  `f` is prepared; places[i] is for f->inputs[i]. */
KernelProgram *kernel_fuse(Arena *arena, Fn *f, const InputPlace *places);
/* The body of a scan of `parent`, whose operands and results are stored. */
KernelProgram *kernel_fuse_body(KernelProgram *parent, const Val *scan);
int kernel_add_buffer(KernelProgram *kp, Type type, Buffer b);
/* scan.c: what a body sees of the program around it.  Buffers for its inputs; for its emitted values. */
void scan_bind_inputs(KernelProgram *body);
bool scan_emit_buffer(const KernelProgram *body, int output, Buffer *out);
/* Is `gather` the row of a constant operand that the turn's index says?  Then it gets a buffer and is no longer computed. */
bool scan_bind_row(KernelProgram *body, Val *gather);
/* Does the body read input `number` by such rows only? */
bool scan_reads_rows(const Val *scan, int number);
/* Carry `i`: its new value has a place of its own, which is that of the old one in the next turn. */
void scan_alternate(KernelProgram *body, int carry);
/* By buffer: the one that is the same memory in the next turn. */
int *scan_next_turn(const KernelProgram *body);
/* Schedules the bodies of all scans, whose operands and results have their places. */
void scan_schedule(KernelProgram *kp, int workers, const Machine *machine);
/* Is the IR's second operand the one along whose rows the result's last axis does not run? */
bool contract_is_swapped(const Val *v);
/* Does the result end with an axis that both operands have?  Then it is computed element by element, not as a product of
 * matrices. */
bool contract_is_element_wise(const Val *v);
/* contraction.c: the loops of a contract whose operands are stored, or views of what is; false when an operand is not (a: unless
 * it is to be filled).  epilogue: something beside the product is computed at its index. */
bool contract_describe(const KernelProgram *kp, const Val *v, bool epilogue, Contraction *out);
/* Fills k->contraction and k->partition; again whenever an operand has moved to another buffer. */
void kernel_describe_contract(const KernelProgram *kp, Kernel *k);
/* The first value that no kernel can compute yet (window, fold, scan ...), or NULL. */
const Val *kernel_unsupported(const Fn *f);
enum { DEAR = 4 };                   /* what is worth keeping rather than computing again */
/* deal.c: writes products that are parts of a stored value where they belong in it. */
void kernel_deal(KernelProgram *kp, const int *uses);
/* rows.c: passes of a kernel of rows, whose members are listed and whose stored values are known.  member, seen: by Val.id, all
 * zero, and left so. */
void rows_plan(const KernelProgram *kp, Kernel *k, int *member, int *seen);
/* The body of scan kernel `k`, scheduled: for workers that share each turn, or (k->dealt) for one, who runs whole turns. */
KernelProgram *kernel_schedule_body(KernelProgram *kp, Kernel *k, int workers, const Machine *machine);
/* schedule.c: order, in-place updates, workers, barriers. */
void kernel_schedule(KernelProgram *kp, int workers, const Machine *machine);
/* How many rows each worker takes (the last ones fewer, or none). */
int64_t kernel_share(const Kernel *k);
/* Has each worker the same rows of both? */
bool kernel_same_share(const Kernel *a, const Kernel *b);
/* Does one of two kernels with the same shares read or overwrite other rows than its own of what the other one writes or reads?
 * next: NULL, or `then` runs one turn later: by buffer, the one that is the same memory a turn later. */
bool kernel_crosses(const KernelProgram *kp, const Kernel *first, const Kernel *then, const int *next);
/* together.c: which kernels run together, some rows at a time, so that these stay in a cache of so many bytes. */
void kernel_run_together(KernelProgram *kp, int64_t cache, bool eager);
/* plan.c: offsets in the arena.  Scratch is asked of the code generator by kernel. */
void kernel_plan(KernelProgram *kp, size_t scratch_bytes);
/* By kernel: when it runs: buffers that are alive at the same time do not overlap. */
int *kernel_times(const KernelProgram *kp);
/* recompute.c: a planned program of at most so many bytes, if there is one: it computes values again instead of keeping them.
 * Else the one that needs least; kp itself where nothing is won.  plan: a prepared Fn from start to plan. */
typedef struct Planner { KernelProgram *(*plan)(void *context, Fn *f); void *context; } Planner;
KernelProgram *kernel_recompute(KernelProgram *kp, size_t most, const Planner *planner);
/* memory.c: what the arena of a planned program holds where it is fullest; all bytes together are arena_bytes. */
typedef enum HoldKind {
	HOLD_ACTIVATION,   /* a value of the forward pass that the backward pass reads */
	HOLD_INTERMEDIATE, /* one that it does not */
	HOLD_AGAIN,        /* one that was not kept, and has been computed again */
	HOLD_DERIVATIVE,   /* a value of the backward pass, or of the update */
	HOLD_SCAN,         /* what is between the kernels of a scan's turn */
	HOLD_WORKING,      /* packed operands, tiles, rows, of one kernel after the other */
	HOLD_GAP,          /* between buffers that are alive at different times */
	HOLD_TAIL,         /* behind everything, so that the last vector may be read whole */
	HOLD_KINDS
} HoldKind;
typedef struct Holding { HoldKind kind; const Val *val, *until; size_t bytes; } Holding;   /* until: its last reader */
typedef struct Holdings { Holding *data; int length, capacity; const Val *fullest; } Holdings;   /* fullest: then computed */
Holdings kernel_memory(const KernelProgram *kp);
/* text.c: the kernel program as text (also the key of the object cache). */
void kernel_print(Text *out, const KernelProgram *kp);
/* One kernel under names of its own, given the buffers in the order of its arguments: kernels with equal keys are one function.
 * sites: of its random values, in the order of their first mention, which the key names by their places in this list. */
typedef struct Sites { int64_t *data; int length, capacity; } Sites;
void kernel_key(Text *out, const KernelProgram *kp, const Kernel *k, const int *buffers, int nbuffers, Sites *sites);

/* Is the number of a buffer, say, in the list? */
static inline bool contains(const int *list, int n, int item) {
	for (int i = 0; i < n; i++)
		if (list[i] == item) return true;
	return false;
}
/* Elements of a row: 1 where there are no axes. */
static inline int64_t last_dim(Type t) { return t.rank ? t.dim[t.rank - 1] : 1; }
/* Strides of the same elements under other dims, without moving any; false when the strides do not allow it. */
bool reshape_strides(Type from, const int64_t *stride, Type to, int64_t *out);
/* The buffer that it is a window on, or itself. */
static inline int whole_buffer(const KernelProgram *kp, int buffer) {
	return kp->buffers.data[buffer].within ? kp->buffers.data[buffer].within - 1 : buffer;
}
/* Physical strides, in elements, of a buffer's axes. */
void buffer_strides(const Buffer *b, int64_t stride[MAX_RANK]);
/* Of one row of its first axis; of the room of one worker, when it has only parts. */
static inline int64_t buffer_row_bytes(const Buffer *b) {
	return type_count(b->type) / b->type.dim[0] / last_dim(b->type) * b->row * dtype_info[b->type.dtype].bytes;
}
static inline size_t buffer_part_bytes(const Buffer *b) { return (size_t)(b->part * buffer_row_bytes(b) + 127) / 64 * 64; }
/* The strided window by which v can be read from a stored value, through views only; false when it cannot. */
bool view_resolve(const KernelProgram *kp, const Val *v, View *out);
/* A cast to f32 from a shorter type, which loses nothing and costs next to nothing? */
bool is_widening(const Val *v);
/* What has to lie in memory for a product to read `v`: v, or what it widens; of an input that is only rounded, the input. */
Val *operand_base(const KernelProgram *kp, Val *v);
/* Where the elements are that the copies of a piece are made of: those of a pad, a border aside. */
View piece_source(const KernelProgram *kp, const Val *piece);
/* Is the pad of zeros, around or between the elements of each turn of its first axis? */
bool is_border_of_zeros(const Val *pad);
/* The pad that `v` is a view of, nothing in between being stored; or NULL. */
Val *padded_below(const KernelProgram *kp, Val *v);
/* The same as view_resolve() for what a product reads. */
bool operand_resolve(const KernelProgram *kp, Val *v, View *out);
/* All leaves of computing `root` (root itself is not a leaf) in a kernel with that partition axis.  rank: of the domain of a
 * kernel of rows, or -1.  With what it is only computed after (`again`). */
void value_leaves(const KernelProgram *kp, Val *root, int partition, int rank, LeafList *out);
/* Of all that the kernel computes; order: with what it only runs after. */
void kernel_leaves(const KernelProgram *kp, const Kernel *k, bool order, LeafList *out);
/* How many windows reach an element of the result of a fold, at most. */
static inline int64_t fold_terms(const Val *v) {
	const Val *a = v->arg[0];
	int64_t axis = v->list[0].data[0], reach = (a->type.dim[axis + 1] - 1) * v->list[2].data[0];
	return MIN(a->type.dim[axis], reach / v->list[1].data[0] + 1);
}
/* Is this op computed element by element from its operands at the same index? */
static inline bool is_pointwise(const Val *v) {
	return op_info[v->op].pointwise || v->op == OpCast || v->op == OpMark || v->op == OpCustom ||
	       v->op == OpAgain;
}
/* Of how many of its operands is `v` computed?  The others of a custom value belong to its derivative; the second of `again`
 * only says when. */
static inline int computed_operands(const Val *v) { return v->op == OpCustom || v->op == OpAgain ? 1 : v->nargs; }
/* What `v` is a view of in the end. */
static inline const Val *view_base(const Val *v) {
	while (is_view(v)) v = v->arg[0];
	return v;
}
static inline bool is_reduce(const Val *v) {
	return v->op == OpReduceSum || v->op == OpReduceMax || v->op == OpReduceMin || v->op == OpReduceProd;
}
/* A product of matrices; other contracts are computed element by element. */
static inline bool is_product(const Val *v) {
	if (v->op != OpContract || contract_is_element_wise(v)) return false;
	return v->type.dtype == DTYPE_F32 || dtype_is_word(v->arg[0]->type.dtype);
}
/* Is it computed along an axis (`sequence_axis`), each element after the one before, or without lanes (axis -1)? */
static inline bool is_sequence(const Val *v) {
	if (v->op == OpContract) return v->type.dtype != DTYPE_F32 && contract_order(v).dot;
	return v->op == OpCumSum || v->op == OpArgSort || v->op == OpBuckets ||
	       (v->op == OpSumBuckets && v->type.rank == v->arg[1]->type.rank);
}
static inline int sequence_axis(const Val *v) {
	return v->op == OpSumBuckets || v->op == OpContract ? -1 : v->op == OpBuckets ? v->type.rank - 1 : (int)v->list[0].data[0];
}
/* Do its elements come one by one, so that functions of them can be computed at once? */
static inline bool sequence_streams(const Val *v) { return v->op != OpArgSort && v->op != OpBuckets; }
/* Takes one element of each row of the last axis? */
static inline bool picks_from_rows(const Val *v) {
	int64_t batch = v->op == OpGather ? v->list[0].data[0] : 0;
	return batch > 0 && batch == v->type.rank && batch == v->arg[1]->type.rank && batch + 1 == v->arg[0]->type.rank;
}
/* A member of a kernel of rows that is computed before all passes, element by element? */
static inline bool comes_first(const Val *v) { return v->op == OpArgMax || v->op == OpGather; }
/* One of the members of a kernel of rows that has an axis more than its domain? */
static inline bool is_wide(const Kernel *k, const Val *v) { return v->type.rank > k->domain.rank; }

#endif
