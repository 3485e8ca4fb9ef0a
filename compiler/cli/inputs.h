/* inputs.h: the arrays that --input names, checked against what a Fn takes. */
#ifndef NNC_INPUTS_H
#define NNC_INPUTS_H

#include "cli.h"

/* An input or output: its type at batch 1 and at batch 2, and what was given. */
typedef struct Wanted { const char *name; Type one, two; int64_t classes; Array *array; } Wanted;
typedef struct WantedList { Wanted *data; int length, capacity; } WantedList;

/* The data inputs of a Fn elaborated for batches of 1 and 2. */
WantedList wanted_inputs(Arena *arena, const Fn *one, const Fn *two);
/* How much the axis grows with the batch; 0: it does not. */
int64_t dim_slope(const Wanted *w, int axis);
/* "u8[B, 28, 28]" */
const char *wanted_text(Arena *arena, const Wanted *w);
/* Reads every --input; doubles: floats as f64.  False: reported to s->diag. */
bool inputs_read(Session *s, WantedList *list, bool doubles);
/* The batch the arrays come to (1 where nothing carries it). */
bool inputs_batch(Session *s, const WantedList *list, int64_t *batch);

/* What a Fn reads beside data. */
typedef struct Situation { int64_t step, epoch; uint64_t seed; const Train *train; const char *block; } Situation;
/* A dense stored array as the f64 interpreter takes it. */
Tensor wide_tensor(Arena *arena, Type type, const void *dense);
/* An input that is not data, for the f64 interpreter; data NULL for INPUT_DATA. */
Tensor wide_input(Session *s, const Input *in, const Situation *now);

#endif
