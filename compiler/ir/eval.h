/* eval.h: private to the interpreter.  A value is a dense row-major array of float, double or int32_t; which, follows
 * from its dtype and the mode.  eval_body.h holds the arithmetic, compiled once for each of the three. */
#ifndef NNC_EVAL_H
#define NNC_EVAL_H

#include "ir.h"

typedef enum Element { ELEMENT_F32, ELEMENT_F64, ELEMENT_I32 } Element;

static inline Element element_of(DType dtype, EvalMode mode) {
	if (!dtype_is_float(dtype)) return ELEMENT_I32;
	return mode == EVAL_F64 || dtype == DTYPE_F64 ? ELEMENT_F64 : ELEMENT_F32;
}
static inline size_t element_bytes(Element e) { return e == ELEMENT_F64 ? 8 : 4; }

/* An array seen as (outer, n, inner) around one axis. */
typedef struct Around { int64_t outer, n, inner; } Around;
Around around_axis(Type t, int64_t axis);

/* y of v from its operands, all of whose floats (for contract, reductions ..) are of this element type.
 * False when the op is not arithmetic. */
bool eval_arithmetic_f32(const Val *v, const Tensor *arg, void *y);
bool eval_arithmetic_f64(const Val *v, const Tensor *arg, void *y);
bool eval_arithmetic_f64_literal(const Val *v, const Tensor *arg, void *y);   /* in EVAL_F32 */
bool eval_arithmetic_i32(const Val *v, const Tensor *arg, void *y);

/* eval_move.c: ops that only move elements, whatever they are.  False for other ops. */
bool eval_moving(const Val *v, const Tensor *arg, Element element, void *y);
/* Elements at multiples of strides, first axis outermost; strides count elements. */
void eval_move(size_t bytes, int rank, const int64_t *dim, char *to, const int64_t *to_stride,
               const char *from, const int64_t *from_stride);
void dense_strides(int rank, const int64_t *dim, int64_t *stride);

/* eval_cast.c */
void eval_cast(const Val *v, const Tensor *arg, EvalMode mode, void *y);
void eval_fill(Element element, double value, int64_t count, void *y);
/* Storage of fewer bits: i8 and u8 wrap; in EVAL_F32, f16 and bf16 round to nearest even. */
void eval_narrow(DType dtype, EvalMode mode, int64_t count, void *y);
/* Philox4x32-10. */
void eval_random(const Val *v, const Tensor *arg, Element element, void *y);

#endif
