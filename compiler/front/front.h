/* front.h: private to compiler/front.  From the syntax tree to Fns.
 *
 * Elaboration evaluates the tree: statics (numbers, lists, functions) are computed in the compiler, tensors become
 * Vals of the Fn being built.  Calls are inlined at their call site, so every size is known, except that the batch stays the
 * symbol B in every check while the IR gets its number.  A value that failed is poison: whoever meets it stays silent.
 *
 * Indexed definitions need no second evaluator.  An index variable is an ordinary name bound to a VALUE_INDEX; a
 * subscript with index variables gives a tensor whose leading axes are *labelled* by them (Value.labels), and every
 * pointwise operation aligns operands by label (the union, ascending by IndexVar.id) and then by suffix.  So in
 *     let y[b, j] = relu(sum[k](x[b, k] * w[k, j]) + c[j])
 * x[b, k] is a scalar per (b, k), relu is called with a scalar per (b, j), and the definition ends by putting the labels in
 * the order of its left side and making them dims. */
#ifndef NNC_FRONT_H
#define NNC_FRONT_H

#include "passes.h"
#include "program.h"

typedef struct Elab Elab;
typedef struct Scope Scope;
typedef struct Value Value;
typedef struct Instance Instance;
typedef struct Builtin Builtin;

/* ---- shape.c: sizes ---- */

enum { DIM_DEGREE = 3 };
/* c[0] + c[1] B + c[2] B^2 + c[3] B^3, B the batch.  `name`: what the nearest signature calls it, for messages only. */
typedef struct Dim { int64_t c[DIM_DEGREE + 1]; const char *name; } Dim;
Dim dim_number(int64_t n);
Dim dim_batch(void);
bool dim_equal(Dim a, Dim b);                    /* as polynomials: B equals no number */
bool dim_known(Dim d, int64_t *n);               /* false when it contains B */
bool dim_add(Dim a, Dim b, Dim *sum);            /* these return false on overflow or degree > DIM_DEGREE */
bool dim_sub(Dim a, Dim b, Dim *difference);
bool dim_mul(Dim a, Dim b, Dim *product);
int64_t dim_value(const Elab *e, Dim d);         /* the number the IR gets; saturates */
const char *dim_text(Arena *arena, Dim d);       /* "784", "B", "9 * B", "T=128" */
const char *shape_text(Arena *arena, int rank, const Dim *dims);   /* "[B, 784]" */

/* ---- values ---- */

/* Ids are next_index(e), in the order of the axes of a value.  binder: private to indexed*.c; NULL: extent is given.
 * step: of the index of a `scan` its number, i32[]: it labels no axis, but selects from the one it would label. */
typedef struct IndexVar { const char *name; int id; Dim extent; Span span; struct Binder *binder; Val *step; } IndexVar;

typedef enum Tag { TAG_NONE, TAG_LOGITS, TAG_PROBS, TAG_LOGPROBS, TAG_COUNT } Tag;

typedef enum ValueKind {
	VALUE_POISON,     /* failed and reported */
	VALUE_NOTHING,    /* a body without return; `none` */
	VALUE_BOOL, VALUE_INT, VALUE_REAL, VALUE_STRING,   /* statics; ints may contain B */
	VALUE_LIST, VALUE_TUPLE,
	VALUE_TENSOR,
	VALUE_INDEX,      /* an index variable; as a number it becomes a labelled iota */
	VALUE_FUNCTION,   /* fn, layer, model by declaration */
	VALUE_BUILTIN,
	VALUE_INSTANCE,   /* let f = dense(_, 128) */
	VALUE_HOLE,       /* _ */
	VALUE_OPTIMIZER,  /* an optimizer declaration with its settings */
	VALUE_DATA,       /* a data declaration */
} ValueKind;

typedef struct File File;
typedef struct Bound Bound;

struct Value {
	ValueKind kind;
	Span span;                /* where it arose, for notes; a place the user can see */
	union {
		bool truth;
		Dim integer;
		double real;
		const char *string;
		struct { Value *items; int count; struct ListRoom *room; } list;   /* LIST, TUPLE; room: append goes on there, or NULL */
		IndexVar *index;
		struct { const Decl *decl; File *file; } function;   /* FUNCTION, DATA */
		const Builtin *builtin;
		Instance *instance;
		Bound *optimizer;
		struct {
			Val *val;             /* axes: labels first, then dims */
			int rank;             /* of dims, without labels */
			Dim *dims;
			IndexVar **labels;    /* ascending by id; none outside indexed definitions */
			int nlabels;
			int64_t classes;      /* class[n]: n; index: -1; else 0 */
			bool weak;            /* adapts to the dtype of use (step, input(..), index variables as numbers) */
			Tag tag;
			Span tag_span;        /* where the tag arose ... */
			const Decl *tag_maker;   /* ... and which declaration gave it, or NULL */
		} tensor;
	} as;
};

Value value_poison(void);
Value value_int(int64_t n, Span span);
Value value_dim(Dim d, Span span);
Value value_real(double x, Span span);
Value value_bool(bool truth, Span span);
Value value_list(ValueKind kind, int count, Value *items, Span span);
/* An unlabelled tensor.  dims are copied; NULL: val's own sizes as plain numbers. */
Value value_tensor(Elab *e, Val *val, const Dim *dims, Span span);
/* A tensor with labelled leading axes; val's type must agree with both. */
Value value_labelled(Elab *e, Val *val, int nlabels, IndexVar *const *labels, int rank, const Dim *dims, Span span);
static inline bool value_ok(Value v) { return v.kind != VALUE_POISON; }
static inline bool value_static(Value v) { return v.kind == VALUE_INT || v.kind == VALUE_REAL || v.kind == VALUE_BOOL; }
static inline DType value_dtype(const Value *v) { return v->as.tensor.val->type.dtype; }
/* "f32[B, 784]", "the number 3", "a list of 4" ... for messages. */
const char *value_text(Elab *e, Value v);

/* value.c: static -> tensor of dtype; weak tensor -> that dtype; index variable -> labelled iota of dtype; a tensor of that
 * dtype stays.  Anything else is an error at `span` ("no implicit conversion", with help) and poison. */
Value to_tensor(Elab *e, Value v, DType dtype, Span span);
/* After an error about v: that a function must be called, if v is one. */
void help_call(Elab *e, Value v);
/* v (a tensor) broadcast to exactly these labels and dims: labels are a superset, v's dims a suffix of dims. */
Val *broadcast_to(Elab *e, const Value *v, int nlabels, IndexVar *const *labels, int rank, const Dim *dims);
/* Pointwise op on 1..3 values with everything the language asks: dtype agreement, static folding of nothing, alignment by
 * label, suffix broadcasting, errors with both shapes.  `what` names the operation in messages ("+", "where"). */
Value apply_pointwise(Elab *e, Op op, int n, Value *args, const char *what, Span span);
/* Operators of the language on values, static or not; `at`: where the caret goes. */
Value apply_binary(Elab *e, Operator op, Value a, Value b, Span span, Span at);
Value apply_unary(Elab *e, Operator op, Value a, Span span, Span at);
Value apply_cast(Elab *e, Value v, DType dtype, Span span);
bool dtype_named(const char *name, DType *dtype);   /* "f32" ... */

/* ---- names ---- */

typedef struct Binding {
	const char *name;
	Value value;              /* not used when persistent >= 0: read the current version */
	int persistent;           /* index into program->persistent, or -1 */
	Span span;                /* its declaration */
	bool constant, used;
} Binding;

/* A body being elaborated: what owns parameters and counts anonymous calls. */
typedef struct Activation {
	struct Activation *caller;
	const Decl *decl;         /* NULL: train block, top level */
	Span call;                /* where it was called */
	const char *path;         /* instance path of the enclosing layer or model; NULL: none, parameters not allowed */
	struct Counters *counters;   /* of anonymous calls; shared by the fns called from that body */
	int depth;
	const char **grad_names; int ngrad_names;   /* names the body differentiates by: bound values are marked */
} Activation;

struct Scope {
	Scope *parent;            /* NULL: file->names, imports, std come next */
	VEC(Binding *) bindings;
	PointerMap numbers;       /* of the bindings by name, where there are many */
	File *file;
	Activation *activation;
};
Scope *scope_new(Elab *e, Scope *parent);
Binding *scope_bind(Elab *e, Scope *scope, Name name, Value value);     /* in this very scope */
Binding *scope_find(Scope *scope, const char *name);                    /* locals only, outwards; NULL */
/* Any name: locals, the file's declarations, imports, std, built-ins; reports with did-you-mean and gives poison. */
Value lookup_name(Elab *e, Scope *scope, Name name);

/* ---- elaboration ---- */

/* One Fn under construction. */
typedef struct Build {
	Fn *fn;
	int64_t batch;
	bool training;
	bool initialising;        /* the init Fn: randomness allowed, parameters read as their initial values */
	bool finishing;           /* the finish Fn of a metric: only totals and statics */
	VEC(Val *) current;       /* by persistent index: newest version, NULL: not read yet */
	VEC(Val *) entry;         /* ... and the input it came from */
	VEC(bool) written;
	struct TrainState *train; /* NULL outside train blocks */
	struct Build *outer;      /* finishing: the evaluation Fn */
	struct Scan *scan;        /* the innermost `scan` whose body is being elaborated */
	struct Sites *sites;      /* random calls so far, by instance path */
} Build;

struct Elab {
	Arena *arena;
	Diag *diag;
	Program *program;
	const ElabOptions *options;
	Build *build;
	Activation *activation;   /* innermost */
	int next_index_id;
	struct IndexPlan *index_plan;   /* private to indexed*.c; NULL at first */
	int depth;                /* of expression nesting: bounded */
	int64_t work;             /* statements and expressions evaluated: bounded */
	bool gave_up;             /* a bound was hit and reported: everything is poison from here on */
	struct Session *session;  /* files, consts, instances ... (private to the core) */
};

/* Is a model elaborated as it predicts? */
static inline bool infers(const Elab *e) { return !e->build->train && !e->build->training && !e->build->initialising; }

static inline Fn *fn_of(Elab *e) { return e->build->fn; }
static inline int next_index(Elab *e) { return e->next_index_id++; }

/* Reports at `span`; a place inside std is blamed on the user's call, with notes for the trace.  Returns poison, so that
 * `return elab_error(...)` reads well.  elab_note/elab_help belong to the error before; they take spans as they are. */
Value elab_error(Elab *e, Span span, const char *format, ...) PRINTF_LIKE(3, 4);
void elab_note(Elab *e, Span span, const char *format, ...) PRINTF_LIKE(3, 4);
void elab_help(Elab *e, const char *format, ...) PRINTF_LIKE(2, 3);
/* "`x` is f32[B, 784]" at the value's place, for shape mismatches. */
void note_value(Elab *e, const char *label, Value v);
Span blame(Elab *e, Span span);             /* the innermost place of the user's on the call stack */

Value eval_expr(Elab *e, Scope *scope, const Expr *expr);
/* A static int (may contain B); reports and returns false otherwise.  `what`: "a size", "an axis". */
bool eval_int(Elab *e, Scope *scope, const Expr *expr, const char *what, Dim *result);
bool value_to_int(Elab *e, Value v, const char *what, Span span, Dim *result);

/* Reductions over given axes of val (axes count labels too); op: sum mean max min prod logsumexp argmax by name.
 * bool operands of sum and mean count as f32.  *dtype rules are checked and reported; NULL after an error. */
Val *reduce_axes(Elab *e, const char *reduction, Val *val, int naxes, const int64_t *axes, Span span);
void warn_over_batch(Elab *e, const char *reduction, Dim size, Span span);   /* where one sample would depend on others */

/* Whether 0..size-1 are numbers an i32 can hold; `what`, which needs them, is to blame if not. */
bool check_index(Elab *e, const char *what, int64_t size, Span span);

/* ---- indexed.c ---- */

/* STMT_LET_INDEXED `let y[b, j] = value`: the finished tensor; the core binds the name. */
Value elab_indexed_let(Elab *e, Scope *scope, const Stmt *stmt);
/* EXPR_REDUCE `sum[k](body)`, inside an indexed definition or outside one. */
Value elab_reduce(Elab *e, Scope *scope, const Expr *expr);
/* EXPR_SUBSCRIPT of a tensor: static ints (drop the axis), ranges, `..`, index variables (label the axis), affine subscripts, and
 * one index per row (x[b, y[b]]).  `base` is the value of expr->left, a tensor.  Tag and classes stay. */
Value elab_subscript(Elab *e, Scope *scope, const Expr *expr, Value base);
/* VALUE_INDEX used as a number: weak i32, one label (the index of a `scan`: none). */
Value elab_index_number(Elab *e, Value index, Span span);
/* The index of a `scan` over `extent` steps. */
IndexVar *scan_index(Elab *e, Name name, Dim extent, Val *step);

#endif
