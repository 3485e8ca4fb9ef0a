/* jit.c: object files made callable in this process.  In: objects for the host that need no symbol but each other's.  Out:
 * addresses.  Nothing of the process is visible to them: an object that calls libc does not link, by intent. */
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>

#include "target.h"

struct Linked {
	LLVMOrcLLJITRef jit;
};

static Linked *failed(Arena *arena, Linked *linked, LLVMErrorRef problem, const char **error) {
	char *message = LLVMGetErrorMessage(problem);
	*error = arena_printf(arena, "%s", message);
	LLVMDisposeErrorMessage(message);
	if (linked->jit) linked_free(linked);
	return NULL;
}

Linked *objects_link(Arena *arena, const Object *objects, int count, const char **error) {
	LLVMInitializeNativeTarget();
	LLVMInitializeNativeAsmPrinter();
	Linked *linked = NEW(arena, Linked);
	LLVMErrorRef problem = LLVMOrcCreateLLJIT(&linked->jit, LLVMOrcCreateLLJITBuilder());
	if (problem) return failed(arena, linked, problem, error);
	LLVMOrcJITDylibRef library = LLVMOrcLLJITGetMainJITDylib(linked->jit);
	for (int i = 0; i < count; i++) {
		LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(objects[i].bytes, objects[i].size, "nnc");
		problem = LLVMOrcLLJITAddObjectFile(linked->jit, library, buffer);
		if (problem) return failed(arena, linked, problem, error);
	}
	return linked;
}

void *linked_symbol(Linked *linked, const char *name) {
	LLVMOrcExecutorAddress address = 0;
	LLVMErrorRef problem = LLVMOrcLLJITLookup(linked->jit, &address, name);
	if (problem) {
		LLVMConsumeError(problem);
		return NULL;
	}
	return (void *)(uintptr_t)address;
}

void linked_free(Linked *linked) {
	LLVMErrorRef problem = LLVMOrcDisposeLLJIT(linked->jit);
	if (problem) LLVMConsumeError(problem);
	linked->jit = NULL;
}
