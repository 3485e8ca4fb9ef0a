/* simplify.h: what the files of the simplifier share.  Every function that returns a Val * returns a value equal, bit for
 * bit, to what it stands for, or NULL where no rewrite applies. */
#ifndef NNC_SIMPLIFY_H
#define NNC_SIMPLIFY_H

#include "rebuild.h"

/* simplify.c: the element-wise op, simplified. */
Val *make(Fn *f, Op op, int n, Val **args);
/* The splat a, whatever it is made of, with other dims. */
Val *splat_of(Fn *f, const Val *a, Type type);
static inline Val *make1(Fn *f, Op op, Val *a) { return make(f, op, 1, (Val *[]){a}); }
static inline Val *make2(Fn *f, Op op, Val *a, Val *b) { return make(f, op, 2, (Val *[]){a, b}); }
/* Pointwise(broadcasts) -> broadcast(pointwise) when some axis is repeated in every operand. */
Val *lift_broadcast(Fn *f, Op op, int n, Val **args);

/* simplify_fold.c: an element-wise op on constants. */
Val *fold_constants(Fn *f, Op op, int n, Val **args);
Val *fold_cast(Fn *f, Val *a, DType dtype);

/* simplify_view.c: views. */
Val *simplify_cast(Fn *f, Val *a, DType dtype);
Val *make_cast(Fn *f, Val *a, DType dtype);
Val *simplify_reshape(Fn *f, Val *a, Type type);
Val *simplify_transpose(Fn *f, Val *a, const int64_t *perm);
Val *make_transpose(Fn *f, Val *a, const int64_t *perm);
Val *simplify_broadcast(Fn *f, Val *a, Type type, const int64_t *dims);
Val *make_broadcast(Fn *f, Val *a, Type type, const int64_t *dims);
Val *simplify_slice(Fn *f, Val *a, Type type, const int64_t *start, const int64_t *step);
Val *simplify_pad(Fn *f, Val *a, const Val *v);
Val *simplify_flip(Fn *f, Val *a, IntList axes);

/* simplify_sum.c: sums, extrema and contractions. */
Val *simplify_reduce(Fn *f, Val *a, Op op, int axis);
/* `levels` nested single-axis sums, the outermost given as `v` with its operand `a` in the new function. */
Val *sum_to_contract(Fn *f, const Val *v, Val *a);
Val *simplify_contract(Fn *f, const Val *v, Val *a, Val *b);

/* simplify_scan.c: results of a scan: a value of the function, or this result of the new scan.  read: by result: does anybody
 * read it?  NULL when the scan stays as it is. */
typedef struct ScanResult { Val *value; int number; } ScanResult;
Val *trim_scan(Fn *f, const Val *scan, Val **args, const bool *read, ScanResult *results);

#endif
