/* target.h: a Target as LLVM wants it; inside compiler/llvm/ only. */
#ifndef NNC_TARGET_H
#define NNC_TARGET_H

#include <llvm-c/TargetMachine.h>

#include "emit.h"

LLVMTargetMachineRef target_machine(const Target *target);

#endif
