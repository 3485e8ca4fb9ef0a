/* indexed_sub.h: what indexed_subscript.c, indexed_cut.c and indexed_gather.c share: one tensor[...] while it is lowered. */
#ifndef NNC_INDEXED_SUB_H
#define NNC_INDEXED_SUB_H

#include "indexed.h"

typedef enum CutKind { CUT_ALL, CUT_RANGE, CUT_AFFINE, CUT_ROW } CutKind;

/* What happens to one axis of the tensor. */
typedef struct Cut {
	CutKind kind;
	Affine affine;           /* AFFINE: which elements; without terms it is one, and the axis is dropped */
	Dim size;                /* ALL, RANGE, ROW: how many elements, from `least` on */
	Dim least, most;         /* the smallest and largest numerator */
	bool outside;            /* may leave the tensor, or divide with a rest: the default is read */
	Value row;               /* ROW: the subscript, an integer that depends on data */
	Span span;
} Cut;

typedef struct Sub {
	Elab *e;
	Scope *scope;
	const Expr *expr;
	Value base;
	Cut cut[MAX_RANK];
	IndexVar row_axis[MAX_RANK];   /* ROW: stands for the axis until it is gathered; sorts behind every index */
	int rows;
	Value fill;              /* the default; VALUE_NOTHING: none */
	double fill_number;
	bool fill_constant;
	bool all_outside;        /* every element is the default */
} Sub;

/* indexed_cut.c: slices, pads, windows and flips every axis; axes of the part: indices, row_axis, NULL for dims.  False after
 * an error. */
bool cut_axes(Sub *s, Part *part);
/* A default that is no constant, where a subscript is outside. */
Value apply_default(Sub *s, Value v);
/* indexed_gather.c: from the axes row_axis of the part their elements at the subscripts that depend on data. */
Value gather_rows(Sub *s, Part part, int rank, const Dim *dims);
Value subscript_compare(Sub *s, Op op, Value a, Value b);

#endif
