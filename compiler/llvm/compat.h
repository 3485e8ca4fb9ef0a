/* compat.h: the differences between LLVM 19's and LLVM 22's C API, all of them that nnc meets. */
#ifndef NNC_COMPAT_H
#define NNC_COMPAT_H

#include <llvm-c/Core.h>
#include <llvm/Config/llvm-config.h>

#if LLVM_VERSION_MAJOR < 19
#error "nnc needs LLVM 19 or later"
#endif

/* From 22 on the alignment of a masked access is an attribute of the pointer argument, not an operand. */
#define COMPAT_MASKED_HAS_ALIGNMENT (LLVM_VERSION_MAJOR < 22)

static inline void compat_align_argument(LLVMContextRef context, LLVMValueRef call, unsigned argument, unsigned alignment) {
	unsigned kind = LLVMGetEnumAttributeKindForName("align", 5);
	LLVMAddCallSiteAttribute(call, argument + 1, LLVMCreateEnumAttribute(context, kind, alignment));
}

#endif
