/* stack.c: in: a module about to become an object; out: the deepest stack its functions can reach.
 *
 * LLVM's C API has no option for the stack size section, but every function with the attribute "warn-stack-size"="0" is
 * reported to the context's diagnostic handler together with the size of its frame.  The calls are read from the module: of a
 * function, or of one of several by a select (tiles of a product); there is no recursion.  A frame has at least the function's
 * own arrays, which can be read before there is code. */
#include "stack.h"

#include <stdlib.h>
#include <string.h>

#include <llvm-c/Object.h>

#include "target.h"

/* A call; pushed: bytes of arguments on the stack, which are not part of the caller's frame. */
typedef struct Edge { int callee; size_t pushed; } Edge;
/* align: of what it has on the stack, where that is more than the stack's own. */
typedef struct Function { const char *name; size_t arrays, frame, align, deepest; Edge *calls; int ncalls; } Function;

struct StackMeasure {
	Arena *arena;
	Function *functions;
	int count;
	size_t per_call;                       /* what a call itself takes: the return address */
	size_t align;                          /* of the stack, at a call */
	unsigned in_registers;                 /* arguments passed so; 0: all that are not are part of the frame */
};

static int find_function(const StackMeasure *m, const char *name, size_t length) {
	for (int i = 0; i < m->count; i++)
		if (strlen(m->functions[i].name) == length && memcmp(m->functions[i].name, name, length) == 0) return i;
	return -1;
}

/* "stack frame size (120) exceeds limit (0) in function 'name'" */
static void note_frame(LLVMDiagnosticInfoRef info, void *context) {
	StackMeasure *m = context;
	char *text = LLVMGetDiagInfoDescription(info);
	const char *size = strstr(text, "stack frame size ("), *name = strchr(text, '\''), *end = name ? strrchr(text, '\'') : NULL;
	int i = size && end > name ? find_function(m, name + 1, (size_t)(end - name - 1)) : -1;
	if (i < 0 && LLVMGetDiagInfoSeverity(info) == LLVMDSError) die("code generation: %s", text);
	if (i >= 0) m->functions[i].frame = (size_t)strtoull(strchr(size, '(') + 1, NULL, 10);
	LLVMDisposeMessage(text);
}

typedef VEC(Edge) Edges;

static void note_callee(StackMeasure *m, Edges *calls, Value called, size_t pushed) {
	if (LLVMIsASelectInst(called)) {
		for (unsigned i = 1; i <= 2; i++) note_callee(m, calls, LLVMGetOperand(called, i), pushed);
		return;
	}
	size_t length = 0;
	const char *name = LLVMGetValueName2(called, &length);
	int number = find_function(m, name, length);
	if (number >= 0) vec_push(m->arena, calls, ((Edge){number, pushed}));
}

static size_t array_bytes(const Emit *e, Value array) {
	size_t one = LLVMABISizeOfType(LLVMGetModuleDataLayout(e->module), LLVMGetAllocatedType(array));
	return one * LLVMConstIntGetZExtValue(LLVMGetOperand(array, 0));
}

static void note_body(StackMeasure *m, const Emit *e, Function *f, Value function) {
	Edges calls = {0};
	for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(function); b; b = LLVMGetNextBasicBlock(b))
		for (Value i = LLVMGetFirstInstruction(b); i; i = LLVMGetNextInstruction(i)) {
			if (LLVMGetInstructionOpcode(i) == LLVMAlloca) {
				f->align = MAX(f->align, LLVMGetAlignment(i));
				f->arrays += array_bytes(e, i);
			}
			if (LLVMGetInstructionOpcode(i) != LLVMCall) continue;
			unsigned n = LLVMGetNumArgOperands(i);
			size_t pushed = m->in_registers && n > m->in_registers ? ((n - m->in_registers) * 8 + 15) / 16 * 16 : 0;
			note_callee(m, &calls, LLVMGetCalledValue(i), pushed);
		}
	f->calls = calls.data;
	f->ncalls = calls.length;
}

StackMeasure *stack_measure(Emit *e) {
	StackMeasure *m = NEW(e->arena, StackMeasure);
	bool x86 = target_is(e->target, "x86_64");
	*m = (StackMeasure){.arena = e->arena,
	                    .per_call = x86 ? 8 : 0,   /* the return address is pushed */
	                    .align = target_is(e->target, "arm") || target_is(e->target, "thumb") ? 8 : 16,
	                    .in_registers = x86 ? 6 : 0};
	LLVMAttributeRef report = LLVMCreateStringAttribute(e->context, "warn-stack-size", 15, "0", 1);
	for (Value f = LLVMGetFirstFunction(e->module); f; f = LLVMGetNextFunction(f)) m->count += LLVMCountBasicBlocks(f) > 0;
	m->functions = NEW_ARRAY(e->arena, Function, m->count + 1);
	int n = 0;
	for (Value f = LLVMGetFirstFunction(e->module); f; f = LLVMGetNextFunction(f)) {
		if (!LLVMCountBasicBlocks(f)) continue;
		size_t length;
		const char *name = LLVMGetValueName2(f, &length);
		m->functions[n].name = arena_text(e->arena, name, length);
		m->functions[n++].align = (size_t)MAX(e->target->vector_bytes, 8);   /* vectors may be kept there */
		LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex, report);
	}
	n = 0;
	for (Value f = LLVMGetFirstFunction(e->module); f; f = LLVMGetNextFunction(f))
		if (LLVMCountBasicBlocks(f)) note_body(m, e, &m->functions[n++], f);
	LLVMContextSetDiagnosticHandler(e->context, note_frame, m);
	return m;
}

static size_t deepest_from(StackMeasure *m, int number) {
	Function *f = &m->functions[number];
	if (f->deepest) return f->deepest;
	size_t below = 0;
	for (int i = 0; i < f->ncalls; i++) {
		size_t one = deepest_from(m, f->calls[i].callee) + f->calls[i].pushed;
		below = MAX(below, one);
	}
	size_t gap = f->align > m->align ? f->align - 8 : m->per_call ? m->align : 0;   /* x86's return address is half of a unit */
	return f->deepest = f->frame + m->per_call + gap + below;
}

size_t stack_deepest(StackMeasure *m) {
	size_t most = 0;
	for (int i = 0; i < m->count; i++) {
		size_t one = deepest_from(m, i);
		most = MAX(most, one);
	}
	return (most + 15) / 16 * 16;
}

size_t stack_least(StackMeasure *m) {
	for (int i = 0; i < m->count; i++) m->functions[i].frame = m->functions[i].arrays;
	return stack_deepest(m);
}

/* WebAssembly's linker makes these; their names are followed by what happens to stand there, a byte that is no text first. */
static bool is_linkers(const char *symbol) {
	static const char *const made[] = {"__stack_pointer", "__linear_memory", "__indirect_function_table"};
	for (size_t i = 0; i < COUNT(made); i++)
		if (!strncmp(symbol, made[i], strlen(made[i])) && symbol[strlen(made[i])] < ' ') return true;
	return false;
}

Needs object_needs(Arena *arena, Object object, const char *name) {
	LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(object.bytes, object.size, "");
	char *error = NULL;
	Needs needs = {0};
	LLVMBinaryRef binary = LLVMCreateBinary(buffer, NULL, &error);
	if (!binary) die("the object does not read back: %s", error);
	LLVMSymbolIteratorRef at = LLVMObjectFileCopySymbolIterator(binary);
	LLVMSectionIteratorRef section = LLVMObjectFileCopySectionIterator(binary);
	for (; at && section && !LLVMObjectFileIsSymbolIteratorAtEnd(binary, at); LLVMMoveToNextSymbol(at)) {
		const char *symbol = LLVMGetSymbolName(at);
		LLVMMoveToContainingSection(section, at);
		if (!*symbol || !strcmp(symbol, name) || is_linkers(symbol)) continue;
		if (LLVMObjectFileIsSectionIteratorAtEnd(binary, section))
			vec_push(arena, &needs, arena_text(arena, symbol, strlen(symbol)));
	}
	if (section) LLVMDisposeSectionIterator(section);
	if (at) LLVMDisposeSymbolIterator(at);
	LLVMDisposeBinary(binary);
	LLVMDisposeMemoryBuffer(buffer);
	return needs;
}
