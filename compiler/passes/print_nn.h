/* print_nn.h: what the files that write a Fn as .nn text share. */
#ifndef NNC_PRINT_NN_H
#define NNC_PRINT_NN_H

#include "passes.h"

typedef struct Print {
	Text *out;
	Arena *arena;
	const Fn *f;
	const char **name;        /* by id; NULL: written where it is used */
	int *uses;                /* by id: how often the text mentions it; a view counts for what it shows */
	int *weight;              /* by id: ops in its text */
	const char **taken;       /* names in use, sorted by nothing; ntaken of them */
	int ntaken, capacity;
	int64_t letter_of[16];    /* extents that have a letter of their own, in the order they were met */
	int nletters;
	const Val *index;         /* in the body of a scan: its index ... */
	int64_t steps;            /* ... which is below this */
} Print;

enum { LEVEL_OR = 1, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_SUM, LEVEL_PRODUCT, LEVEL_UNARY, LEVEL_POSTFIX };

/* The index names of the axes of a value, and which of them stand alone in a subscript, so that their range is known. */
typedef struct Indices { int n; const char *name[2 * MAX_RANK]; int64_t extent[2 * MAX_RANK]; bool *read; } Indices;

/* print_nn.c: what a function needs of its own; taken names and letters stay. */
void print_open(Print *p, const Fn *f);
void print_definitions(Print *p);

/* print_nn_scan.c */
void print_scan(Print *p, const Val *scan);

/* print_nn_names.c.  Inputs that have a name already keep it. */
const char *result_wish(const Print *p, const Val *scan, int64_t index);   /* a name for a result of a scan */
void choose_names(Print *p);
/* May its text stand where it is used? */
bool in_place(const Val *v);
/* Names for axes of these extents; distinct, and the same for the same extent where possible. */
Indices choose_indices(Print *p, int n, const int64_t *extent);
/* A name that nothing has yet, made from `wish`. */
const char *fresh_name(Print *p, const char *wish);

/* print_nn_expr.c: expressions.  ix NULL: whole tensors, else the index name of each axis of v; `all` is told what is read. */
void print_expr(Print *p, Text *out, const Val *v, const char *const *ix, Indices *all, int level);
void print_read(Text *out, const char *name, int rank, const char *const *ix, Indices *all);
/* Can v be written as a whole-tensor expression whose shape is v's?  No index is needed then. */
bool writes_whole(const Print *p, const Val *v);
bool is_literal(const Val *v);
/* Does the text of v, with an index per axis, read every axis of some tensor in order, and nothing in another order? */
bool reads_in_order(const Print *p, const Val *v);
void print_number(Text *out, double value, DType dtype);

/* print_nn_ops.c: the statements that define v. */
void print_definition(Print *p, const Val *v);
void print_let(Print *p, const Val *v);                /* let NAME = */
/* let name[i, j < 3] =: ranges are stated where no subscript says them. */
void print_indexed(Print *p, const char *name, int n, const char *const *ix, const Indices *all);
/* Does this op take an operand that is written in place? */
bool takes_expression(const Print *p, const Val *user, const Val *operand);

/* print_nn_moves.c: slices, pads, flips and windows.  moves: a view that may hold others in its subscripts.  merges: may v be
 * written in those of its users?  Asked when what is below v has its names. */
void print_move(Print *p, const Val *v);
bool moves(const Val *v);
bool merges(const Print *p, const Val *v);

#endif
