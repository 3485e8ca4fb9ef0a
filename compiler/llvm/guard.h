/* guard.h: what the functions of an object refuse, and with which number, before they change anything.  Inside compiler/llvm/. */
#ifndef NNC_GUARD_H
#define NNC_GUARD_H

#include "embed.h"
#include "lower.h"

/* An object being written. */
typedef struct Abi {
	Emit *e;
	Embed *embed;
	Value zeros;                           /* eight zero bytes, for what an inference does not know */
	Value check[DTYPE_COUNT];              /* bool check(array, count, classes) */
	Value finite[DTYPE_COUNT];             /* bool finite(array, count) */
	Embedded *out;
} Abi;

/* The function returns `code` here where `bad` holds. */
void refuse(Abi *abi, Value bad, int code);
/* Pointers to blocks: none NULL, all aligned. */
void guard_blocks(Abi *abi, const Value *blocks, int n);
/* Is the block of parameters, or the training block, this object's? */
void guard_params(Abi *abi, Value params);
void guard_train(Abi *abi, Value train);
/* Arrays, parameters of the function from `first` on: none NULL (samples NULL, or not 0), each aligned to its elements. */
void guard_arrays(Abi *abi, const EmbedArray *arrays, int n, int first, Value samples);
/* So many samples of each array do not reach beyond half of the address space. */
void guard_count(Abi *abi, const EmbedModel *m, Value samples);
/* Class inputs within their range; samples: NULL for 1.  finite: floats are numbers. */
void guard_classes(Abi *abi, const EmbedArray *inputs, int n, int first, Value samples);
void guard_finite(Abi *abi, const EmbedArray *inputs, int n, int first);

#endif
