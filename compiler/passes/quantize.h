/* quantize.h: products of activations with parameters, in integers of 8 bits. */
#ifndef NNC_QUANTIZE_H
#define NNC_QUANTIZE_H

#include "passes.h"

/* What products with a parameter read beside it: the least and the largest of what samples have shown. */
typedef struct Range { const char *parameter; float low, high; } Range;

/* A parameter, or what is made of it, in 8 bits: two inputs of the functions that read it, and how they are made: a function of
 * parameters and states with the outputs "weights", i8, and "scales", f32. */
typedef struct QuantTensor {
	const char *parameter;
	const char *weights, *scales;    /* the inputs' names */
	Fn *make;
	const char *text;                /* of `make`: equal ones are one tensor */
} QuantTensor;

typedef struct Quantize {
	Arena *arena;
	VEC(Range) ranges;               /* filled by the caller */
	VEC(QuantTensor) tensors;        /* of all functions so far */
	int products, left;              /* in the last function: with parameters; of these still in f32 */
	const char *unseen;              /* or NULL: a parameter of theirs that no range is of */
} Quantize;

/* `f` of which nothing is left but the ranges: outputs "low P" and "high P" for each parameter P that a product reads.  NULL:
 * there is no such product. */
Fn *quantize_observe(Fn *f);
/* `f`, after the passes before `precision`, with these products in integers. */
Fn *quantize_products(Quantize *q, Fn *f);
/* Leaves out parameters and states that nothing reads. */
Fn *quantize_prune(Fn *f);

#endif
