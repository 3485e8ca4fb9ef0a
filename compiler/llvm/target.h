/* target.h: a Target as LLVM wants it; inside compiler/llvm/ only. */
#ifndef NNC_TARGET_H
#define NNC_TARGET_H

#include <llvm-c/TargetMachine.h>

#include "emit.h"

LLVMTargetMachineRef target_machine(const Target *target);
/* probe.c: what only the code generator knows.  target_probe compiles a few functions for triple, cpu and features and reads the
 * rest of the description off them; false: no code can be made.  target_shape: registers and masks of so many lanes. */
bool target_probe(Arena *arena, Target *target);
void target_shape(Target *target, int lanes);
/* Which instructions there are for products of words, by the features' names and what the code generator has made of such. */
void target_dots(Target *target, const char *assembly);
bool target_is(const Target *target, const char *architecture);   /* the triple begins so */

#endif
