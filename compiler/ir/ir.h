/* ir.h: the one intermediate representation.
 *
 * A Fn is a pure function: an array of tensor values in topological order, each the result of one op of
 * ops.def, every dim an int64 known to the compiler.  No blocks, no loops, no aliasing; memory is written
 * only where an output names the input it replaces.  Values are hash-consed: the same op on the same
 * operands is the same Val *, so common subexpressions do not exist.  A pass is a function Fn -> Fn that
 * builds a new Fn; it never changes a Val. */
#ifndef NNC_IR_H
#define NNC_IR_H

#include "base.h"
#include "diag.h"

enum { MAX_RANK = 8, MAX_LISTS = 4 };

typedef enum DType {
#define DTYPE(Name, text, bytes, class) DTYPE_##Name,
#include "dtype.def"
#undef DTYPE
	DTYPE_COUNT
} DType;

typedef struct DTypeInfo { const char *text; int bytes; char class; } DTypeInfo;   /* class 'F' 'I' 'B' 'W' */
extern const DTypeInfo dtype_info[DTYPE_COUNT];
static inline bool dtype_is_float(DType d) { return dtype_info[d].class == 'F'; }

static inline bool dtype_is_word(DType d) { return dtype_info[d].class == 'W'; }

/* Every extent is at least 1, and a tensor has at most 2^40 elements. */
typedef struct Type { DType dtype; int rank; int64_t dim[MAX_RANK]; } Type;
Type type_make(DType dtype, int rank, const int64_t *dim);
static inline Type type_scalar(DType dtype) { return (Type){.dtype = dtype}; }
bool type_equal(Type a, Type b);
bool type_same_dims(Type a, Type b);
int64_t type_count(Type t);                              /* elements */
const char *type_text(Arena *arena, Type t);             /* "f32[64,784]", "f32[]" for a scalar */

typedef enum Op {
#define UNARY(Name, ...) Op##Name,
#define BINARY(Name, ...) Op##Name,
#define TERNARY(Name, ...) Op##Name,
#define STRUCTURAL(Name, ...) Op##Name,
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
	OP_COUNT
} Op;

typedef struct OpInfo {
	const char *name, *text, *meaning;
	int arity;                          /* -1: any */
	bool pointwise;                     /* UNARY, BINARY, TERNARY */
	char operand_class;                 /* pointwise: 'F' 'N' 'I' 'B' 'A' */
	bool result_bool;                   /* pointwise: result is bool */
	const char *list[MAX_LISTS];        /* names of the list attributes; NULL after the last */
	const char *number;                 /* name of the number attribute or NULL */
} OpInfo;
extern const OpInfo op_info[OP_COUNT];
/* List attributes that are not written where they are empty. */
static inline bool attribute_is_optional(int list) { return list == MAX_LISTS - 1; }

typedef struct Fn Fn;
typedef struct IntList { int64_t *data; int length; } IntList;
/* Where `label` stands among the labels of a contract's operand or result; -1: it does not. */
static inline int label_at(const int64_t *labels, int count, int64_t label) {
	for (int i = 0; i < count; i++)
		if (labels[i] == label) return i;
	return -1;
}
static inline int label_axis(IntList labels, int64_t label) { return label_at(labels.data, labels.length, label); }

typedef struct Val {
	Op op;
	int id;                             /* index in fn->vals */
	Type type;
	int nargs;
	struct Val **arg;
	IntList list[MAX_LISTS];            /* attributes, as ops.def names them */
	double number;
	Fn *body;                           /* Scan only */
	Span span;                          /* what the user wrote; an adjoint inherits its forward's */
	struct Val *hash_next;
	uint64_t hash;
} Val;

typedef enum InputKind {
	INPUT_DATA,      /* a batch, or a model's argument */
	INPUT_PARAM,     /* trained */
	INPUT_STATE,     /* model state (running means) */
	INPUT_SLOT,      /* optimiser state, name "<instance path>#<state name>" */
	INPUT_STEP,      /* i32[], counts updates from 1 */
	INPUT_EPOCH,     /* i32[], from 1 */
	INPUT_SEED,      /* i32[2]: low and high half */
	INPUT_SETTING,   /* f32[], `input(..)` */
	INPUT_KINDS
} InputKind;
extern const char *const input_kind_text[INPUT_KINDS];   /* "data" "param" ... */

typedef struct Input {
	const char *name;
	InputKind kind;
	Type type;
	Val *val;
	int64_t classes;
} Input;                                                                       /* classes: class[n], 0 none */
typedef struct Output { const char *name; Val *val; int updates; } Output;     /* updates: the input it replaces, or -1 */

struct Fn {
	Arena *arena;
	const char *name;
	VEC(Val *) vals;
	VEC(Input) inputs;
	VEC(Output) outputs;
	Span span;                          /* given to values built from now on */
	DType precision;                    /* of activations, for the pass of that name; f32: all as it is */
	Val **table;                        /* hash-consing */
	int table_size, table_used, next_mark;
	bool canonical;                     /* nothing has been added since fn_canonical() made it */
};

Fn *fn_new(Arena *arena, const char *name);
Val *fn_input(Fn *f, const char *name, InputKind kind, Type type);     /* appends an input; Input.classes is set by the caller */
int fn_output(Fn *f, const char *name, Val *val, int updates);
/* Drops what no output needs and renumbers in post-order from the outputs (operands first, left to right,
 * inputs first of all in their order), so that the order of construction never shows. */
Fn *fn_canonical(Fn *f);
/* The same without a copy, of a function that nobody else knows; returns f. */
Fn *fn_renumber(Fn *f);
/* An empty function with the inputs of `from`: map[old id] is the new input.  Room for as many values. */
Fn *fn_with_inputs(const Fn *from, Val **map);
/* The outputs of `from`, which map[] stands for by Val.id, become those of `to`. */
void fn_outputs_of(Fn *to, const Fn *from, Val *const *map);
/* Has it a value of this op, or the body of one of its scans? */
bool fn_has(const Fn *f, Op op);
/* How long it is now, and back to that: what was built in between is forgotten. */
typedef struct FnLength { int vals, next_mark; bool canonical; } FnLength;
FnLength fn_length(const Fn *f);
void fn_shorten(Fn *f, FnLength to);
/* By Val.id: how many operands and outputs of f each value is. */
int *fn_count_uses(const Fn *f);
/* cost.c: rough cycles per 16 elements: only their order of magnitude matters. */
double op_cost(const Val *v);
/* A copy of `v` in `f` with other operands; the other attributes stay. */
Val *fn_rebuild(Fn *f, Val *v, Val **args);
/* The same of a value that is as it was made, of a function in the same arena: where operands have the types they had, there is
 * nothing to verify. */
Val *fn_copy(Fn *f, const Val *v, Val **args);

/* Constructors.  Each checks its operands with die(): the front end has already spoken to the user.
 * Pointwise: ir_Add(f, a, b) ... expanded from ops.def. */
#define UNARY(Name, ...) Val *ir_##Name(Fn *f, Val *a);
#define BINARY(Name, ...) Val *ir_##Name(Fn *f, Val *a, Val *b);
#define TERNARY(Name, ...) Val *ir_##Name(Fn *f, Val *a, Val *b, Val *c);
#define STRUCTURAL(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
Val *ir_pointwise(Fn *f, Op op, Val **args);                            /* the same by op */
Val *ir_const(Fn *f, DType dtype, double value);
Val *ir_like(Fn *f, Val *a, double value);                              /* const broadcast to a's type */
Val *ir_iota(Fn *f, Type type, int axis);                               /* type.dtype is i32 */
Val *ir_random(Fn *f, Type type, Val *seed, Val *step, Val *index, int64_t site, int word);
/* Elements by their numbers (i32); f32.  key: seed, step, index. */
Val *ir_random_at(Fn *f, Val *const *key, Val *number, int64_t site, int word);
Val *ir_cast(Fn *f, Val *a, DType dtype);                               /* a itself when it has that dtype */
Val *ir_reshape(Fn *f, Val *a, int rank, const int64_t *dim);
Val *ir_transpose(Fn *f, Val *a, const int64_t *perm);
Val *ir_broadcast(Fn *f, Val *a, int rank, const int64_t *dim, const int64_t *dims);
Val *ir_slice(Fn *f, Val *a, const int64_t *start, const int64_t *size, const int64_t *step);   /* step NULL: 1 */
Val *ir_pad(Fn *f, Val *a, const int64_t *lo, const int64_t *hi, const int64_t *inner, double value);  /* inner NULL: 0 */
Val *ir_flip(Fn *f, Val *a, int naxes, const int64_t *axes);
Val *ir_window(Fn *f, Val *a, int axis, int64_t n, int64_t size, int64_t stride, int64_t dilation);
Val *ir_fold(Fn *f, Val *a, int axis, int64_t total, int64_t stride, int64_t dilation);
Val *ir_concat(Fn *f, int n, Val **args, int axis);
/* OpReduce... over several axes (ascending) is built as single-axis reductions, the last axis first; so the IR knows
 * reductions over one axis only and the order of every sum is a matter of one axis.  The largest and the smallest are merged. */
enum {
	LANES = 16,         /* the vector of every machine: of the order of sums along a last axis, and of rows' padding */
	SUM_BLOCK = 4096,   /* sums are added up in blocks of this many terms */
	ENOUGH_ROWS = 8,    /* of a product: rows that make a tile of its own worth while, */
	ENOUGH_SUMS = 16    /* and vectors of sums that keep a core's multipliers busy */
};

/* What lies further than this below the largest element counts as nothing in reduce_lse and in its derivative.  e^-69 is
 * 10^-30: next to the largest's 1 it says nothing, but shares of less, divided by a batch and multiplied by a gradient, would
 * be denormal numbers, and a product of those is ten times as slow. */
#define LSE_REACH 69
Val *ir_reduce(Fn *f, Op op, Val *a, int naxes, const int64_t *axes);
/* The same, the innermost axes that together have at most SUM_BLOCK elements as one axis, and so on outwards: a pooling looks at
 * its taps at once, and the first of several extremes is the first in row-major order. */
Val *ir_reduce_merged(Fn *f, Op op, Val *a, int naxes, const int64_t *axes);
Val *ir_argmax(Fn *f, Val *a, int axis);
Val *ir_cumsum(Fn *f, Val *a, int axis);
Val *ir_argsort(Fn *f, Val *a, int axis);
/* Labels are renamed on building: a's axes become 0, 1, .., then what only b has, in b's order; so la[i] == i in every value.
 * The summed index runs over the labels that y lacks, in a's order, row-major.  The order of the sum: contract_order().
 * Labels are small integers, one per axis, distinct within a tensor.  A label in a and b and y is a batch
 * axis; in a and b only: summed; each label of y occurs in a or b.  A label of one operand alone that y lacks
 * is not allowed (reduce first).  y's order: as given in `ly`. */
Val *ir_contract(Fn *f, Val *a, const int64_t *la, Val *b, const int64_t *lb, int ny, const int64_t *ly);
/* The dtype of what operands of these give: their own, i32 for integers of 8 bits and words; DTYPE_COUNT: none. */
DType contract_dtype(DType a, DType b);
/* The same of some terms only: within is NULL or the labels p and t, a stride, a dilation, first and count, and the sum of those
 * terms with first <= p * stride + t * dilation < first + count.  So a convolution leaves out what its border would multiply by
 * zero.  One of the labels is y's, of the operand that lacks the last label of y; the other one is summed, in one block whole,
 * and not last. */
Val *ir_contract_within(Fn *f, Val *a, const int64_t *la, Val *b, const int64_t *lb, int ny, const int64_t *ly,
                        const int64_t *within);
enum { WITHIN_LENGTH = 6 };
/* The bound as a loop sees it: of the summed label's index i, turns with first <= o * outer + i * inner < first + count, o being
 * the index of y's label; result and summed are the labels.  false: all terms are summed. */
typedef struct ContractBound { int64_t result, summed, outer, inner, first, count; } ContractBound;
bool contract_bound(const Val *v, ContractBound *bound);
/* Is there a term for every index of y's label? */
bool contract_is_never_empty(const Val *v, const ContractBound *bound);
/* How a contract adds up.  dot: what b alone has is of size 1 (N = 1), unless y ends with a batch axis and a alone has more than
 * that (each channel by itself): 16 lanes in blocks of 4096, a fixed tree; so put the operand that carries the batch first.
 * Otherwise one FMA chain per output, cut into blocks whose totals are
 * added in ascending order.  Blocks keep to the axes: the innermost summed axes that together have at most 4096 terms stay whole;
 * a block is as many indices of the axis before them as fit 4096 terms, and starts anew with every index of the axes before that.
 * So the summed index is runs of `run` terms, each cut into blocks of `block`; the last block of a run may be shorter. */
typedef struct ContractOrder { bool dot; int64_t terms, run, block; } ContractOrder;
ContractOrder contract_order(const Val *v);
Val *ir_gather(Fn *f, Val *table, Val *index, int batch);
Val *ir_scatter_add(Fn *f, Val *rows, Val *index, int batch, int64_t n);
/* The same in two steps: the last axis of the index sorted into n buckets, then the rows summed by bucket (kernels only). */
Val *ir_buckets(Fn *f, Val *index, int64_t n);
Val *ir_sum_buckets(Fn *f, Val *rows, Val *buckets, int rest);
/* The scan itself is no tensor (its type is written i32[]): it is read through ir_project only.  Body inputs: index i32[],
 * carries, constants; emitted values stand at the row of their index, also when reversed. */
Val *ir_scan(Fn *f, Fn *body, int64_t count, bool reversed, int ncarries, int nargs, Val **args);
Val *ir_project(Fn *f, Val *scan, int index);
/* How many carries a scan has, and how many turns. */
static inline int scan_carries(const Val *scan) { return (int)scan->list[0].data[0]; }
static inline int64_t scan_count(const Val *scan) { return scan->list[2].data[0]; }
Val *ir_again(Fn *f, Val *a, Val *after);                               /* kernels only; `after`: any tensor */
Val *ir_mark(Fn *f, Val *a);                                            /* a new variable each time */
Val *ir_grad(Fn *f, Val *loss, Val *by);
Val *ir_cotangent(Fn *f, Type type, int64_t *id);                       /* sets *id */
Val *ir_custom(Fn *f, int64_t id, Val *y, int n, Val **inputs, Val **adjoints);
/* Does the op only change where elements lie by strides, whatever the operand's are? */
static inline bool is_strided_view(const Val *v) {
	return v->op == OpTranspose || v->op == OpSlice || v->op == OpBroadcast || v->op == OpFlip || v->op == OpWindow ||
	       v->op == OpAgain;
}
/* Only changes the index of what it reads? */
static inline bool is_view(const Val *v) { return v->op == OpReshape || is_strided_view(v); }
/* What `v` is, transposed any number of times (or not): axis i of v is axis place[i] of that. */
static inline const Val *transposes_of(const Val *v, int *place) {
	int rank = v->type.rank;
	for (int i = 0; i < rank; i++) place[i] = i;
	for (; v->op == OpTranspose; v = v->arg[0])
		for (int i = 0; i < rank; i++) place[i] = (int)v->list[0].data[place[i]];
	return v;
}
static inline bool is_const(const Val *v, double value) { return v->op == OpConst && v->number == value; }
/* A constant, or a broadcast of one. */
bool is_splat(const Val *v, double *value);

/* text.c: the textual form; fn_parse(fn_print(f)) prints the same and evaluates to the same bits. */
void fn_print(Text *out, const Fn *f);
/* NULL after reporting to diag. `source` is a source of diag holding the text. */
Fn *fn_parse(Arena *arena, Diag *diag, uint32_t source);

/* verify.c: dies naming `after` (a pass) when f breaks a rule of ops.def or of this header.
 * fn_verify_text returns the first broken rule as text, or NULL. */
void fn_verify(const Fn *f, const char *after);
const char *fn_verify_text(Arena *arena, const Fn *f);

/* eval.c: the naive interpreters, oracle for everything compiled.  Values are dense row-major arrays.
 * EVAL_F64 computes every float type in double; EVAL_F32 obeys the rules of the numbers literally:
 * f32 arithmetic, the fixed order of every sum, FMA only in contractions and math.def. */
typedef enum EvalMode { EVAL_F64, EVAL_F32 } EvalMode;
typedef struct Tensor {
	Type type;
	void *data;
} Tensor; /* EVAL_F64: double for floats; integers int32_t (i8 u8 bool too: int32_t) */
          /* EVAL_F32: float for f32/f16/bf16, double for f64; integers int32_t */
/* inputs[i] belongs to f->inputs[i]; outputs[i] is allocated in arena. */
void fn_eval(Arena *arena, const Fn *f, EvalMode mode, const Tensor *inputs, Tensor *outputs);
/* A hook called with each value as it is computed (NULL: none): for locating the first bad value. */
void fn_eval_watch(Arena *arena, const Fn *f, EvalMode mode, const Tensor *inputs, Tensor *outputs,
                   void (*watch)(void *context, const Val *v, const Tensor *t), void *context);

#endif
