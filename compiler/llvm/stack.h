/* stack.h: how much stack the functions of a module take; what an object would need of others.  Inside compiler/llvm/ only. */
#ifndef NNC_STACK_H
#define NNC_STACK_H

#include "lower.h"

/* Between stack_measure() and stack_deepest(): emit_object(). */
typedef struct StackMeasure StackMeasure;
StackMeasure *stack_measure(Emit *e);
/* An upper bound for a call of any exported function, its return address included. */
size_t stack_deepest(StackMeasure *measure);
/* Without code: no bound above is smaller. */
size_t stack_least(StackMeasure *measure);

/* The symbols that the object uses and does not define, but for what a linker itself makes.  name: the module's, which stands in
 * the object too. */
typedef VEC(const char *) Needs;
Needs object_needs(Arena *arena, Object object, const char *name);

#endif
