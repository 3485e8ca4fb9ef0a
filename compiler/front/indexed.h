/* indexed.h: private to indexed*.c.
 *
 * An indexed definition becomes bulk operations: a subscript labels axes with index variables, pointwise operations
 * align labels (value.c), a reduction sums labels away, and the definition's left side turns labels into dims.
 *   indexed.c            the left side, reductions, index variables as numbers
 *   indexed_plan.c       binders: names, ranges, and the order in which axes stand
 *   indexed_affine.c     subscripts as affine forms of index variables, with bounds
 *   indexed_subscript.c  tensor[...]: what each subscript asks for
 *   indexed_cut.c        affine subscripts to slices, pads, windows and flips
 *   indexed_gather.c     subscripts that depend on data to gathers
 *   indexed_axes.c       tensors whose axes stand for variables
 *   indexed_sum.c        sums of products to contractions */
#ifndef NNC_INDEXED_H
#define NNC_INDEXED_H

#include "front.h"

/* MAX_TERMS: index variables in one subscript.  NOMINAL_BATCH: what B counts when sizes are compared. */
enum { MAX_FACTORS = 16, MAX_TERMS = 4, NOMINAL_BATCH = 64, MAX_WALK = 1000 };

/* ---- indexed_plan.c ---- */

/* What a name of the left side or of a reduction is bound to.  `..` binds a member per axis it stands for. */
typedef struct Binder {
	IndexVar var;                /* var.extent counts once `known` */
	const Index *index;
	bool failed;                 /* what would tell its range failed and was reported */
	bool dots, known, stated;    /* stated: the range was written, `i < n`; for dots, known: the members are there */
	bool running;                /* its definition or reduction is being elaborated */
	struct Binder *member[MAX_RANK];
	int members;
	Span bound_at;               /* the use that gave the range, and the tensor it subscripts, as written */
	const char *bound_by;
	Value bound_value;
} Binder;

/* All binders of a definition (or of a reduction outside one), in the order of their axes. */
typedef struct IndexPlan {
	struct IndexPlan *outer;
	const Activation *activation;
	VEC(Binder *) binders;
} IndexPlan;

/* Makes the plan of a definition and enters it; `left` may be NULL. Binders are not in any scope yet. */
IndexPlan *plan_enter(Elab *e, const IndexList *left, const Expr *body);
void plan_leave(Elab *e, IndexPlan *plan);
/* Binds the names of a list in a fresh scope below `scope`, with stated ranges.  NULL after an error. */
Scope *bind_indices(Elab *e, Scope *scope, const IndexList *indices, bool infer, const Expr *body);
void release_indices(Elab *e, const IndexList *indices);
Binder *binder_of(Elab *e, const Index *index);
/* The variable a name stands for; NULL when it is something else.  dots: what `..` is bound to. */
IndexVar *index_named(Scope *scope, const char *name);
Binder *dots_bound(Elab *e, Scope *scope);
/* Expands a list to variables, `..` to its members.  False after an error (a variable without a range, too many). */
bool list_variables(Elab *e, const IndexList *indices, IndexVar **vars, int *count);
/* `i` stands alone in a subscript of an axis of size `size`: gives it a range or compares.  use: the whole
 * subscript expression; tensor: the value of its left.  False after an error. */
bool bind_range(Elab *e, IndexVar *var, Dim size, const Expr *use, Value tensor, Span span);
bool bind_dots(Elab *e, Binder *dots, int count, const Expr *use, Value tensor, Span span);
bool has_range(const IndexVar *var);
bool step_here(Elab *e, const IndexVar *var, Span span);   /* false, reported: the loop is of another Fn (indexed.c) */
bool need_range(Elab *e, const IndexVar *var, Span span);
/* The source text of an expression, shortened, for messages. */
const char *written(Elab *e, const Expr *expr);
void note_tensor(Elab *e, const Expr *expr, Value v);   /* "`x` is f32[B, 784]" at its place */
void help_default(Elab *e, const Expr *use, const char *what);   /* what: "what lies outside" */

/* ---- indexed_affine.c ---- */

/* (offset + sum of by * var) / divisor: rounded down (`floors`), or what is not divisible reads the default. */
typedef struct Term { IndexVar *var; int64_t by; } Term;
typedef struct Affine { Dim offset; int64_t divisor; bool floors; int count; Term term[MAX_TERMS]; } Affine;

typedef enum FormKind { FORM_FAILED, FORM_AFFINE, FORM_DATA } FormKind;
typedef struct Form { FormKind kind; Affine affine; Value value; } Form;   /* value: an integer tensor, FORM_DATA */

Form subscript_form(Elab *e, Scope *scope, const Expr *expr);
/* The numerator as a number per index. */
Value affine_value(Elab *e, const Affine *a, Span span);
/* The least and largest numerator; false when a variable lacks its range (reported) or numbers overflow. */
bool affine_bounds(Elab *e, const Affine *a, Span span, Dim *least, Dim *most);
bool dim_never_negative(Dim d);   /* for every batch >= 1 */

/* ---- indexed_axes.c ---- */

typedef struct Axes { int count; IndexVar *var[MAX_RANK]; } Axes;
typedef struct Part { Val *val; Axes axes; } Part;   /* an axis without variable (NULL) is a dim of the value */

int axes_find(Axes axes, const IndexVar *var);
bool axes_subset(Axes a, Axes b);
bool axes_add(Axes *axes, IndexVar *var);                 /* false: too many */
Axes axes_without(Axes axes, Axes dropped);
bool axes_union(Axes a, Axes b, Axes *out);               /* false: too many */
Axes axes_sorted(Axes axes);                              /* variables ascending by id, dims after them */
bool axes_fit(Elab *e, Axes axes);                        /* not too many elements */
Part part_align(Elab *e, Part part, Axes to);             /* to holds all of part's axes */
Part part_diagonal(Elab *e, Part part, int first, int second);   /* two axes of one size become the last axis */
Part part_sorted(Elab *e, Part part);                     /* variables ascending by id, then dims in their order */
Part part_of(const Value *v);                             /* a labelled scalar */
Value part_value(Elab *e, Part part, Span span);          /* part has no dims */

/* ---- indexed_sum.c ---- */

/* Float factors of one dtype; every summed variable occurs in some factor.  False: more indices in one value than MAX_RANK. */
bool sum_of_product(Elab *e, const Part *factors, int count, Axes summed, Part *out);

#endif
