/* probe.c: in: triple, cpu and features of a Target; out: what such a machine can do.
 *
 * LLVM's C API does not say what a CPU can do, so the code generator is asked: a few functions are compiled (some
 * milliseconds), and the registers that come out and the library functions that would be called are the answer. */
#include <string.h>

#include "stack.h"
#include "target.h"

/* What the assembly of a product of many lanes has in it, for each kind of vector register: the first that is found holds.
 * at_once: WebAssembly is sent over networks, and its code generator takes the bits of masks of more than four lanes apart.
 * Without vectors, elements side by side only make code longer: as many instructions are executed. */
static const struct Family {
	const char *architecture, *text;
	int lanes, registers, at_once;
	bool has_mask;
} families[] = {
    {"x86_64", "%zmm", 16, 32, 16, true},
    {"x86_64", "%ymm", 8, 16, 16, false},
    {"x86_64", "%xmm", 4, 16, 16, false},
    {"aarch64", ".4s", 4, 32, 16, false},
    {"arm64", ".4s", 4, 32, 16, false},
    {"arm", "vmul.f32\tq", 4, 16, 16, false},
    {"arm", "vmul.f32\ts", 1, 32, 1, false},
    {"thumb", "vmul.f32\tq", 4, 8, 16, false},
    {"thumb", "vmul.f32\ts", 1, 32, 1, false},
    {"riscv", "vfmul.v", 4, 32, 16, false},
    {"riscv", "fmul.s", 1, 32, 1, false},
    {"wasm", "f32x4.mul", 4, 15, 4, false},   /* those of x86-64 less one that engines keep for themselves */
    {"wasm", "f32.mul", 1, 15, 1, false},
    {"", "", 1, 8, 1, false},              /* floats in registers of integers */
};

bool target_is(const Target *t, const char *architecture) { return !strncmp(t->triple, architecture, strlen(architecture)); }

static void take_family(Target *t, const struct Family *f) {
	t->lanes = f->lanes;
	t->vector_bytes = f->lanes * 4;
	t->vector_registers = f->registers;
	t->has_mask = f->has_mask;
	t->at_once = f->at_once;
	bool slow = f->lanes == 16 && !strcmp(t->cpu, "znver4");   /* two turns for 16 */
	bool apart = target_is(t, "wasm");                         /* the sum takes as long again */
	t->multipliers = f->lanes == 1 || slow || apart ? 1 : 2;
}

void target_shape(Target *t, int lanes) {
	for (size_t i = 0; i < COUNT(families); i++)
		if (target_is(t, families[i].architecture) && families[i].lanes == lanes) {
			take_family(t, &families[i]);
			return;
		}
	die("no registers of %d lanes for '%s'", lanes, t->triple);
}

/* An intrinsic of one or three operands, on one lane. */
static void one_function(Emit *e, const char *name, const char *intrinsic, LLVMTypeRef type, int operands) {
	LLVMTypeRef p[] = {e->ptr};
	emit_function(e, name, e->void_type, 1, p, false);
	Value to = LLVMGetParam(e->function, 0), v[3];
	for (int i = 0; i < operands; i++) v[i] = emit_load(e, type, 1, emit_at_constant(e, to, type, i));
	emit_store(e, emit_intrinsic(e, intrinsic, type, operands, v), to);
	LLVMBuildRetVoid(e->builder);
}

/* Sums of sixteen products of bytes, and bytes taken out of a word two at a time, from which target.c reads what instructions
 * for them there are. */
static void byte_functions(Emit *e) {
	LLVMTypeRef p[] = {e->ptr}, wide = emit_vector_type(e, e->i32, 16);
	for (int is_signed = 0; is_signed < 2; is_signed++) {
		emit_function(e, is_signed ? "bytes" : "mixed", e->void_type, 1, p, false);
		Value to = LLVMGetParam(e->function, 0), x = emit_load(e, e->i8, 16, to);
		Value y = emit_load(e, e->i8, 16, emit_at_constant(e, to, e->i8, 16));
		x = (is_signed ? LLVMBuildSExt : LLVMBuildZExt)(e->builder, x, wide, ""), y = LLVMBuildSExt(e->builder, y, wide, "");
		x = LLVMBuildMul(e->builder, x, y, "");
		emit_store(e, emit_intrinsic(e, "llvm.vector.reduce.add", wide, 1, &x), to);
		LLVMBuildRetVoid(e->builder);
	}
	emit_function(e, "pairs", e->void_type, 1, p, false);
	Value to = LLVMGetParam(e->function, 0), word = emit_load(e, e->i32, 1, to);
	emit_store(e, LLVMBuildAnd(e->builder, word, emit_i32(e, 0xff00ff), ""), to);
	LLVMBuildRetVoid(e->builder);
}

/* A product of 16 lanes, and those of bytes, as assembly; NULL: no code can be made. */
static const char *product_text(Arena *arena, const Target *target) {
	Emit *e = emit_new(arena, target, "probe");
	LLVMTypeRef v16 = emit_vector_type(e, e->f32, 16), p[] = {e->ptr};
	emit_function(e, "product", e->void_type, 1, p, false);
	Value to = LLVMGetParam(e->function, 0), v[2];
	for (int i = 0; i < 2; i++) v[i] = emit_load(e, e->f32, 16, emit_at_constant(e, to, v16, i));
	emit_store(e, LLVMBuildFMul(e->builder, v[0], v[1], ""), to);
	LLVMBuildRetVoid(e->builder);
	byte_functions(e);
	Object text = emit_assembly(e);
	emit_free(e);
	return text.bytes;
}

static bool needs_any(const Needs *needs, const char *a, const char *b) {
	for (int i = 0; i < needs->length; i++)
		if (!strcmp(needs->data[i], a) || !strcmp(needs->data[i], b)) return true;
	return false;
}

static void probe_functions(Arena *arena, Target *t) {
	static const char module[] = "probe";
	Emit *e = emit_new(arena, t, module);
	one_function(e, "probe.fma", "llvm.fma", e->f32, 3);
	one_function(e, "probe.fma64", "llvm.fma", e->f64, 3);
	one_function(e, "probe.floor", "llvm.floor", e->f32, 1);
	one_function(e, "probe.rint", "llvm.rint", e->f32, 1);
	one_function(e, "probe.floor64", "llvm.floor", e->f64, 1);
	one_function(e, "probe.rint64", "llvm.rint", e->f64, 1);
	Needs needs = object_needs(arena, emit_object(e, false), module);
	emit_free(e);
	t->has_fma = !needs_any(&needs, "fmaf", "fmaf");
	t->has_fma64 = !needs_any(&needs, "fma", "fma");
	t->has_round = !needs_any(&needs, "floorf", "rintf");
	t->has_round64 = !needs_any(&needs, "floor", "rint");
}

bool target_probe(Arena *arena, Target *t) {
	const char *assembly = product_text(arena, t);
	if (!assembly) return false;
	for (size_t i = 0; i < COUNT(families); i++)
		if (target_is(t, families[i].architecture) && strstr(assembly, families[i].text)) {
			take_family(t, &families[i]);
			break;
		}
	probe_functions(arena, t);
	target_dots(t, assembly);
	return true;
}
