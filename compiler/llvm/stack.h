/* stack.h: how much stack the functions of a module take; what an object would need of others.  Inside compiler/llvm/ only. */
#ifndef NNC_STACK_H
#define NNC_STACK_H

#include "lower.h"

/* Between stack_measure() and stack_deepest(): emit_object(). */
typedef struct StackMeasure StackMeasure;
StackMeasure *stack_measure(Emit *e);
/* An upper bound for a call of any exported function, its return address included. */
size_t stack_deepest(StackMeasure *measure);

/* The first symbol that the object uses and does not define, or NULL.  name: the module's, which stands in the object too. */
const char *object_needs(Arena *arena, Object object, const char *name);

#endif
