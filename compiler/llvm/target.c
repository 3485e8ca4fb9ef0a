/* target.c: from a name to a Target.
 *
 * LLVM's C API does not say what a CPU can do, so the code generator is asked: a probe function of 16 lanes is compiled
 * to assembly for the CPU, and the registers and instructions that come out are the answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>

#include "compat.h"
#include "target.h"

/* NNC_LLVM_TARGETS is a list T(X86) T(AArch64) ... of the code generators linked in. */
static void initialise(void) {
#define T(name) \
	LLVMInitialize##name##TargetInfo(); \
	LLVMInitialize##name##Target(); \
	LLVMInitialize##name##TargetMC(); \
	LLVMInitialize##name##AsmPrinter();
	NNC_LLVM_TARGETS
#undef T
}

const char *llvm_version_text(void) { return LLVM_VERSION_STRING; }

LLVMTargetMachineRef target_machine(const Target *target) {
	initialise();
	LLVMTargetRef found;
	char *error = NULL;
	if (LLVMGetTargetFromTriple(target->triple, &found, &error)) die("no code generator for %s: %s", target->triple, error);
	return LLVMCreateTargetMachine(found, target->triple, target->cpu, target->features, LLVMCodeGenLevelDefault, LLVMRelocPIC,
		LLVMCodeModelDefault);
}

/* fma of 16 lanes, and a masked load, as assembly. */
static char *probe(Arena *arena, const Target *target) {
	Emit *e = emit_new(arena, target, "probe");
	LLVMTypeRef v16 = emit_vector_type(e, e->f32, 16), p[] = {e->ptr};
	emit_function(e, "probe", e->void_type, 1, p, false);
	Value to = LLVMGetParam(e->function, 0), v[3];
	for (int i = 0; i < 3; i++) v[i] = emit_load(e, e->f32, 16, emit_at_constant(e, to, v16, i));
	emit_store(e, emit_intrinsic(e, "llvm.fma", v16, 3, v), to);
	LLVMBuildRetVoid(e->builder);
	LLVMMemoryBufferRef buffer = NULL;
	char *error = NULL, *text = NULL;
	if (LLVMTargetMachineEmitToMemoryBuffer(e->machine, e->module, LLVMAssemblyFile, &error, &buffer))
		LLVMDisposeMessage(error);
	else
		text = arena_text(arena, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
	if (buffer) LLVMDisposeMemoryBuffer(buffer);
	emit_free(e);
	return text;
}

static bool starts(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

static void set_vectors(Target *t, const char *assembly) {
	bool x86 = starts(t->triple, "x86_64") || starts(t->triple, "i");
	t->lanes = 1;
	t->vector_registers = 16;
	if (x86) {
		bool zmm = strstr(assembly, "%zmm"), ymm = strstr(assembly, "%ymm"), xmm = strstr(assembly, "ps\t");
		t->lanes = zmm ? 16 : ymm ? 8 : xmm ? 4 : 1;
		t->vector_registers = zmm ? 32 : 16;
		t->has_mask = zmm;
		t->has_fma = strstr(assembly, "vfmadd");
	} else if (starts(t->triple, "aarch64")) {
		t->lanes = 4;
		t->vector_registers = 32;
		t->has_fma = true;
	} else {
		t->has_fma = !strstr(assembly, "fmaf");      /* a call of libm */
	}
	t->vector_bytes = t->lanes * 4;
}

static void default_caches(Target *t) {
	t->l1 = 32 << 10;
	t->l2 = 512 << 10;
	t->l3 = 8 << 20;
}

static bool read_line(const char *path, char *to, size_t size) {
	FILE *file = fopen(path, "r");
	if (!file) return false;
	bool ok = fgets(to, (int)size, file);
	fclose(file);
	return ok;
}

/* Linux tells the caches of CPU 0 in sysfs; anything strange there is ignored. */
static void host_caches(Target *t) {
	default_caches(t);
	for (int i = 0; i < 8; i++) {
		char path[100], level[16], type[32], size[32];
		static const char *const names[] = {"level", "type", "size"};
		char *const to[] = {level, type, size};
		bool ok = true;
		for (int k = 0; k < 3 && ok; k++) {
			snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", i, names[k]);
			ok = read_line(path, to[k], 16);
		}
		if (!ok || type[0] == 'I') continue;
		int64_t bytes = strtoll(size, NULL, 10) * (strchr(size, 'M') ? 1 << 20 : strchr(size, 'K') ? 1 << 10 : 1);
		if (bytes < 4096 || bytes > ((int64_t)4 << 30)) continue;
		if (level[0] == '1') t->l1 = bytes;
		if (level[0] == '2') t->l2 = bytes;
		if (level[0] == '3') t->l3 = bytes;
	}
}

static const char *take(Arena *arena, char *message) {
	const char *text = arena_printf(arena, "%s", message);
	LLVMDisposeMessage(message);
	return text;
}

const Target *target_host(Arena *arena) {
	initialise();
	Target *t = NEW(arena, Target);
	t->triple = take(arena, LLVMGetDefaultTargetTriple());
	t->cpu = take(arena, LLVMGetHostCPUName());
	t->features = take(arena, LLVMGetHostCPUFeatures());
	t->is_host = true;
	t->pointer_bits = (int)sizeof(void *) * 8;
	char *assembly = probe(arena, t);
	if (!assembly) die("the code generator does not know this machine: %s, %s", t->triple, t->cpu);
	set_vectors(t, assembly);
	host_caches(t);
	return t;
}

/* Unknown CPU and feature names: LLVM says so on stderr only, goes on with a default, and has no other way to ask. */
static bool machine_complains(Target *t) {
	char path[] = "/tmp/nnc-XXXXXX";
	int file = mkstemp(path);
	if (file < 0) return false;
	unlink(path);
	fflush(stderr);
	int saved = dup(STDERR_FILENO);
	if (saved < 0 || dup2(file, STDERR_FILENO) < 0) {
		if (saved >= 0) close(saved);
		close(file);
		return false;
	}
	LLVMDisposeTargetMachine(target_machine(t));
	fflush(stderr);
	off_t written = lseek(file, 0, SEEK_END);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(file);
	return written > 0;
}

static const struct { const char *name, *triple, *baseline; } short_names[] = {
	{"x86-64", "x86_64-unknown-linux-gnu", "x86-64-v3"},
	{"x86_64", "x86_64-unknown-linux-gnu", "x86-64-v3"},
	{"aarch64", "aarch64-unknown-linux-gnu", "generic"},
	{"arm64", "aarch64-unknown-linux-gnu", "generic"},
};

/* Can the host run code for `t`?  The levels of x86-64 are sets of features; other names only when they are the host's own. */
static bool runs_here(Arena *arena, const Target *t) {
	const Target *host = target_host(arena);
	const char *dash = strchr(host->triple, '-');
	if (strncmp(t->triple, host->triple, (size_t)(dash ? dash - host->triple : 0) + 1)) return false;
	if (!*t->features && !strcmp(t->cpu, host->cpu)) return true;
	if (*t->features) return false;
	if (!strcmp(t->cpu, "generic") || !strcmp(t->cpu, "x86-64")) return true;
	static const struct { const char *cpu, *needs[8]; } levels[] = {
		{"x86-64-v2", {"+sse4.2", "+popcnt", "+cx16", "+ssse3"}},
		{"x86-64-v3", {"+avx2", "+fma", "+bmi", "+bmi2", "+f16c", "+lzcnt", "+movbe"}},
		{"x86-64-v4", {"+avx512f", "+avx512bw", "+avx512cd", "+avx512dq", "+avx512vl", "+avx2", "+fma"}},
	};
	for (size_t i = 0; i < COUNT(levels); i++) {
		if (strcmp(t->cpu, levels[i].cpu)) continue;
		bool all = true;
		for (size_t k = 0; k < COUNT(levels[i].needs) && levels[i].needs[k]; k++) {
			const char *at = strstr(host->features, levels[i].needs[k]);
			char after = at ? at[strlen(levels[i].needs[k])] : 'x';
			all = all && (after == ',' || after == 0);
		}
		return all;
	}
	return false;
}

const Target *target_named(Arena *arena, Diag *diag, const char *name, const char *cpu, const char *features) {
	initialise();
	const Target *host = target_host(arena);
	if (!name && cpu && !strcmp(cpu, "native") && (!features || !*features)) return host;
	Target *t = NEW(arena, Target);
	if (!name) {
		t->triple = host->triple;
		t->cpu = cpu ? cpu : starts(host->triple, "x86_64") ? "x86-64-v3" : "generic";
	}
	for (size_t i = 0; name && i < COUNT(short_names); i++)
		if (!strcmp(name, short_names[i].name)) {
			t->triple = short_names[i].triple;
			t->cpu = cpu ? cpu : short_names[i].baseline;
		}
	if (!t->triple) {
		t->triple = take(arena, LLVMNormalizeTargetTriple(name));
		t->cpu = cpu ? cpu : starts(t->triple, "x86_64") ? "x86-64-v3" : "generic";
	}
	t->features = features ? features : "";
	LLVMTargetRef found;
	char *error = NULL;
	if (LLVMGetTargetFromTriple(t->triple, &found, &error)) {
		LLVMDisposeMessage(error);
		diag_error(diag, (Span){0}, "unknown target '%s'", name);
		const char *names[COUNT(short_names)];
		for (size_t i = 0; i < COUNT(short_names); i++) names[i] = short_names[i].name;
		const char *near = nearest_name(name, names, COUNT(names));
		if (near) diag_help(diag, "did you mean '%s'?", near);
		else diag_help(diag, "targets built in: x86-64, aarch64, and triples of these");
		return NULL;
	}
	if (!strcmp(t->cpu, "native")) {
		const char *dash = strchr(host->triple, '-');
		if (strncmp(t->triple, host->triple, (size_t)(dash ? dash - host->triple : 0) + 1)) {
			diag_error(diag, (Span){0}, "cpu 'native' is this machine, which is no %s", name);
			return NULL;
		}
		t->cpu = host->cpu;
		t->features = *t->features ? arena_printf(arena, "%s,%s", host->features, t->features) : host->features;
	}
	if (machine_complains(t)) {
		diag_error(diag, (Span){0}, "target %s has no cpu '%s' or no feature of '%s'", t->triple, t->cpu, t->features);
		diag_help(diag, "names are those of LLVM: x86-64-v2, x86-64-v3, x86-64-v4, znver4, skylake, cortex-a72, neoverse-n1, native ...");
		return NULL;
	}
	t->pointer_bits = 64;
	char *assembly = probe(arena, t);
	if (!assembly) {
		diag_error(diag, (Span){0}, "LLVM cannot generate code for '%s'", t->triple);
		return NULL;
	}
	set_vectors(t, assembly);
	default_caches(t);
	t->is_host = runs_here(arena, t);
	return t;
}

const char *target_text(Arena *arena, const Target *t) {
	return arena_printf(arena, "%s cpu %s features %s fma %d mask %d pointer %d lanes %d registers %d caches %lld %lld %lld", t->triple,
		t->cpu, t->features, t->has_fma, t->has_mask, t->pointer_bits, t->lanes, t->vector_registers, (long long)t->l1, (long long)t->l2,
		(long long)t->l3);
}
