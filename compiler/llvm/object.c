/* object.c: the life of an Emit.  In: a Target.  Out: the bytes of an object file, equal for equal modules. */
#include <string.h>

#include <llvm-c/Analysis.h>
#include <llvm-c/Object.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "target.h"

Emit *emit_new(Arena *arena, const Target *target, const char *module_name) {
	Emit *e = NEW(arena, Emit);
	e->arena = arena;
	e->target = target;
	LLVMTargetMachineRef machine = target_machine(target);
	e->machine = machine;
	e->context = LLVMContextCreate();
	e->module = LLVMModuleCreateWithNameInContext(module_name, e->context);
	e->builder = LLVMCreateBuilderInContext(e->context);
	LLVMSetTarget(e->module, target->triple);
	LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
	LLVMSetModuleDataLayout(e->module, layout);
	e->index = LLVMIntPtrTypeInContext(e->context, layout);
	LLVMDisposeTargetData(layout);
	e->void_type = LLVMVoidTypeInContext(e->context);
	e->i1 = LLVMInt1TypeInContext(e->context);
	e->i8 = LLVMInt8TypeInContext(e->context);
	e->i16 = LLVMInt16TypeInContext(e->context);
	e->i32 = LLVMInt32TypeInContext(e->context);
	e->i64 = LLVMInt64TypeInContext(e->context);
	e->f32 = LLVMFloatTypeInContext(e->context);
	e->f64 = LLVMDoubleTypeInContext(e->context);
	e->ptr = LLVMPointerTypeInContext(e->context, 0);
	e->vector = emit_vector_type(e, e->f32, MAX(1, target->lanes));
	return e;
}

void emit_free(Emit *e) {
	LLVMDisposeBuilder(e->builder);
	LLVMDisposeModule(e->module);
	LLVMContextDispose(e->context);
	LLVMDisposeTargetMachine(e->machine);
}

char *emit_text(Emit *e) {
	char *text = LLVMPrintModuleToString(e->module);
	char *copy = arena_text(e->arena, text, strlen(text));
	LLVMDisposeMessage(text);
	return copy;
}

/* What scalar and element-wise loops need and no more: code generation is the floor of compile time. */
static const char short_passes[] = "function(sroa,early-cse<memssa>,simplifycfg,instcombine<no-verify-fixpoint>,"
                                   "loop-mssa(licm),gvn,simplifycfg),globaldce";

static void run_passes(Emit *e) {
	LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
	LLVMErrorRef error = LLVMRunPasses(e->module, short_passes, e->machine, options);
	LLVMDisposePassBuilderOptions(options);
	if (error) die("passes: %s", LLVMGetErrorMessage(error));
}

/* Uses the module up.  A 0 follows the bytes; none: *error says why not. */
static Object generate(Emit *e, LLVMModuleRef module, LLVMCodeGenFileType kind, char **error) {
	LLVMMemoryBufferRef buffer = NULL;
	if (LLVMTargetMachineEmitToMemoryBuffer(e->machine, module, kind, error, &buffer)) return (Object){0};
	Object out = {.size = LLVMGetBufferSize(buffer)};
	out.bytes = arena_text(e->arena, LLVMGetBufferStart(buffer), out.size);
	LLVMDisposeMemoryBuffer(buffer);
	return out;
}

Object emit_object(Emit *e, bool optimise) {
	char *error = NULL;
	if (LLVMVerifyModule(e->module, LLVMReturnStatusAction, &error)) die("broken module: %s\n%s", error, emit_text(e));
	LLVMDisposeMessage(error);
	if (optimise) run_passes(e);
	error = NULL;
	Object object = generate(e, e->module, LLVMObjectFile, &error);
	if (!object.bytes) die("code generation: %s", error);
	return object;
}

Object emit_assembly(Emit *e) {
	LLVMModuleRef copy = LLVMCloneModule(e->module);
	char *error = NULL;
	Object text = generate(e, copy, LLVMAssemblyFile, &error);
	LLVMDisposeMessage(error);
	LLVMDisposeModule(copy);
	return text;
}

/* Bytes of all sections whose names begin with one of these; NULL ends them. */
static size_t section_bytes(Object object, const char *const *names) {
	/* A copy: an object out of the cache is not aligned, and so none to the reader. */
	LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(object.bytes, object.size, "");
	char *error = NULL;
	LLVMBinaryRef binary = LLVMCreateBinary(buffer, NULL, &error);
	size_t total = 0;
	if (binary) {
		LLVMSectionIteratorRef at = LLVMObjectFileCopySectionIterator(binary);
		for (; at && !LLVMObjectFileIsSectionIteratorAtEnd(binary, at); LLVMMoveToNextSection(at)) {
			const char *name = LLVMGetSectionName(at);
			bool counts = false;
			for (int i = 0; name && names[i]; i++) counts |= !strncmp(name, names[i], strlen(names[i]));
			if (counts) total += LLVMGetSectionSize(at);
		}
		if (at) LLVMDisposeSectionIterator(at);
		LLVMDisposeBinary(binary);
	} else {
		LLVMDisposeMessage(error);
	}
	LLVMDisposeMemoryBuffer(buffer);
	return total;
}

/* Of ELF, then of WebAssembly. */
size_t object_code_bytes(Object object) { return section_bytes(object, (const char *const[]){".text", "CODE", NULL}); }

size_t object_data_bytes(Object object) {
	static const char *const names[] = {".rodata", ".data.rel.ro", ".eh_frame", ".ARM.ex", "DATA", NULL};
	return section_bytes(object, names);
}
