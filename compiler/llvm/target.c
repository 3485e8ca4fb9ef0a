/* target.c: from a name to a Target.
 *
 * LLVM's C API does not say what a CPU can do.  For the host its list of features tells, for the levels of x86-64 and for AArch64
 * their definition; for any other CPU the code generator is asked: a probe function of 16 lanes is compiled to
 * assembly, and the registers and instructions that come out are the answer (some milliseconds). */
#include <fcntl.h>
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
#define T(name)                                                                                                                  \
	LLVMInitialize##name##TargetInfo();                                                                                          \
	LLVMInitialize##name##Target();                                                                                              \
	LLVMInitialize##name##TargetMC();                                                                                            \
	LLVMInitialize##name##AsmPrinter();
	NNC_LLVM_TARGETS
#undef T
}

const char *llvm_version_text(void) { return LLVM_VERSION_STRING; }

/* Called from several threads at once; whoever made the Target has initialised. */
LLVMTargetMachineRef target_machine(const Target *target) {
	LLVMTargetRef found;
	char *error = NULL;
	if (LLVMGetTargetFromTriple(target->triple, &found, &error)) die("no code generator for %s: %s", target->triple, error);
	return LLVMCreateTargetMachine(found, target->triple, target->cpu, target->features, LLVMCodeGenLevelDefault, LLVMRelocPIC,
	                               LLVMCodeModelDefault);
}

/* A product and an fma of 16 lanes as assembly. */
static char *probe(Arena *arena, const Target *target) {
	Emit *e = emit_new(arena, target, "probe");
	LLVMTypeRef v16 = emit_vector_type(e, e->f32, 16), p[] = {e->ptr};
	emit_function(e, "probe", e->void_type, 1, p, false);
	Value to = LLVMGetParam(e->function, 0), v[3];
	for (int i = 0; i < 3; i++) v[i] = emit_load(e, e->f32, 16, emit_at_constant(e, to, v16, i));
	emit_store(e, LLVMBuildFMul(e->builder, v[0], v[1], ""), emit_at_constant(e, to, v16, 3));
	emit_store(e, emit_intrinsic(e, "llvm.fma", v16, 3, v), to);
	LLVMBuildRetVoid(e->builder);
	LLVMMemoryBufferRef buffer = NULL;
	char *error = NULL, *text = NULL;
	if (LLVMTargetMachineEmitToMemoryBuffer(e->machine, e->module, LLVMAssemblyFile, &error, &buffer)) LLVMDisposeMessage(error);
	else text = arena_text(arena, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
	if (buffer) LLVMDisposeMemoryBuffer(buffer);
	emit_free(e);
	return text;
}

static bool starts(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

static bool is_x86(const Target *t) { return starts(t->triple, "x86_64"); }

static void set_vectors(Target *t, int lanes, bool has_fma) {
	bool aarch64 = starts(t->triple, "aarch64");
	t->lanes = lanes;
	t->vector_bytes = lanes * 4;
	t->vector_registers = lanes == 16 || aarch64 ? 32 : 16;
	t->has_mask = lanes == 16;
	t->has_fma = has_fma;
	t->multipliers = lanes == 16 && !strcmp(t->cpu, "znver4") ? 1 : 2;   /* that one takes two turns for 16 lanes */
}

static void set_vectors_by_probe(Target *t, const char *assembly) {
	if (!is_x86(t)) {
		set_vectors(t, 1, !strstr(assembly, "fmaf")); /* a call of libm */
		return;
	}
	bool zmm = strstr(assembly, "%zmm"), ymm = strstr(assembly, "%ymm");
	set_vectors(t, zmm ? 16 : ymm ? 8 : 4, strstr(assembly, "vfmadd"));
}

static bool has_feature(const char *features, const char *feature) {
	size_t length = strlen(feature);
	for (const char *at = features; (at = strstr(at, feature)); at += length)
		if ((at == features || at[-1] == ',') && (at[length] == ',' || !at[length])) return true;
	return false;
}

/* The levels of x86-64, and what they need of the host to run there. */
static const struct Level {
	const char *cpu;
	int lanes;
	bool has_fma;
	const char *needs[8];
} levels[] = {
    {"x86-64", 4, false, {"+sse2"}},
    {"x86-64-v2", 4, false, {"+sse4.2", "+popcnt", "+cx16", "+ssse3"}},
    {"x86-64-v3", 8, true, {"+avx2", "+fma", "+bmi", "+bmi2", "+f16c", "+lzcnt", "+movbe"}},
    {"x86-64-v4", 16, true, {"+avx512f", "+avx512bw", "+avx512cd", "+avx512dq", "+avx512vl", "+avx2", "+fma"}},
};

static const struct Level *level_of(const Target *t) {
	for (size_t i = 0; i < COUNT(levels); i++)
		if (is_x86(t) && !*t->features && !strcmp(t->cpu, levels[i].cpu)) return &levels[i];
	return NULL;
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
	const char *f = t->features;
	if (is_x86(t)) set_vectors(t, has_feature(f, "+avx512f") ? 16 : has_feature(f, "+avx") ? 8 : 4, has_feature(f, "+fma"));
	else if (starts(t->triple, "aarch64")) set_vectors(t, 4, true);
	else set_vectors(t, 1, false);
	host_caches(t);
	return t;
}

/* Unknown CPU and feature names: LLVM says so on stderr only, goes on with a default, and has no other way to ask. */
static bool machine_complains(Target *t) {
	int ends[2];
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK)) return false;
	fflush(stderr);
	int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	bool caught = saved >= 0 && dup2(ends[1], STDERR_FILENO) >= 0;
	if (caught) {
		LLVMDisposeTargetMachine(target_machine(t));
		fflush(stderr);
		dup2(saved, STDERR_FILENO);
	}
	char byte;
	bool complains = caught && read(ends[0], &byte, 1) > 0;
	if (saved >= 0) close(saved);
	close(ends[0]);
	close(ends[1]);
	return complains;
}

static const struct {
	const char *name, *triple;
} short_names[] = {
    {"x86-64", "x86_64-unknown-linux-gnu"},
    {"x86_64", "x86_64-unknown-linux-gnu"},
    {"aarch64", "aarch64-unknown-linux-gnu"},
    {"arm64", "aarch64-unknown-linux-gnu"},
};

static bool same_architecture(const Target *host, const char *triple) {
	const char *dash = strchr(host->triple, '-');
	return !strncmp(triple, host->triple, (size_t)(dash ? dash - host->triple : 0) + 1);
}

/* Can the host run code for `t`?  Names other than levels only when they are the host's own. */
static bool runs_here(const Target *host, const Target *t) {
	if (!same_architecture(host, t->triple)) return false;
	const struct Level *level = level_of(t);
	if (!level)
		return (!*t->features && !strcmp(t->cpu, host->cpu)) || (!is_x86(t) && !*t->features && !strcmp(t->cpu, "generic"));
	for (size_t k = 0; k < COUNT(level->needs) && level->needs[k]; k++)
		if (!has_feature(host->features, level->needs[k])) return false;
	return true;
}

/* The triple and the baseline CPU that a name stands for. */
static void set_triple(Arena *arena, Target *t, const Target *host, const char *name, const char *cpu) {
	t->triple = name ? NULL : host->triple;
	for (size_t i = 0; name && i < COUNT(short_names); i++)
		if (!strcmp(name, short_names[i].name)) t->triple = short_names[i].triple;
	if (!t->triple) t->triple = take(arena, LLVMNormalizeTargetTriple(name));
	t->cpu = cpu ? cpu : is_x86(t) ? "x86-64-v3" : "generic";
}

static const Target *unknown_target(Diag *diag, const char *name) {
	const char *names[COUNT(short_names)];
	for (size_t i = 0; i < COUNT(short_names); i++) names[i] = short_names[i].name;
	const char *near = nearest_name(name, names, COUNT(names));
	diag_error(diag, (Span){0}, "unknown target '%s'", name);
	if (near) diag_help(diag, "did you mean '%s'?", near);
	else diag_help(diag, "targets built in: x86-64, aarch64, and triples of these");
	return NULL;
}

/* Objects are ELF, for processors with pointers of 64 bits, little end first. */
static bool is_made(const char *triple) {
	static const char *const others[] = {"windows", "uefi", "apple", "darwin", "gnux32", "ilp32"};
	for (size_t i = 0; i < COUNT(others); i++)
		if (strstr(triple, others[i])) return false;
	return starts(triple, "x86_64-") || starts(triple, "aarch64-") || starts(triple, "arm64-");
}

const Target *target_named(Arena *arena, Diag *diag, const char *name, const char *cpu, const char *features) {
	const Target *host = target_host(arena);
	bool native = cpu && !strcmp(cpu, "native");
	if (!name && native && (!features || !*features)) return host;
	Target *t = NEW(arena, Target);
	set_triple(arena, t, host, name, cpu);
	t->features = features ? features : "";
	t->pointer_bits = 64;
	LLVMTargetRef found;
	char *error = NULL;
	if (LLVMGetTargetFromTriple(t->triple, &found, &error)) {
		LLVMDisposeMessage(error);
		return unknown_target(diag, name);
	}
	if (name && !is_made(t->triple)) {
		diag_error(diag, (Span){0}, "no objects are made for '%s'", t->triple);
		diag_help(diag, "targets are x86-64, aarch64, and triples of these with pointers of 64 bits and ELF objects");
		return NULL;
	}
	if (native) {
		if (!same_architecture(host, t->triple)) {
			diag_error(diag, (Span){0}, "cpu 'native' is this machine, which is not '%s'", name);
			return NULL;
		}
		t->cpu = host->cpu;
		t->features = *t->features ? arena_printf(arena, "%s,%s", host->features, t->features) : host->features;
	}
	const struct Level *level = level_of(t);
	bool plain = level || (!strcmp(t->cpu, "generic") && !*t->features);
	if (!plain && machine_complains(t)) {
		diag_error(diag, (Span){0}, "'%s' has no cpu '%s' or no such features: '%s'", t->triple, t->cpu, t->features);
		diag_help(diag,
		          "names are those of LLVM: x86-64-v2, x86-64-v3, x86-64-v4, znver4, skylake, cortex-a72, neoverse-n1, native");
		return NULL;
	}
	if (level) set_vectors(t, level->lanes, level->has_fma);
	else if (starts(t->triple, "aarch64")) set_vectors(t, 4, true);
	else {
		char *assembly = probe(arena, t);
		if (!assembly) {
			diag_error(diag, (Span){0}, "LLVM cannot generate code for '%s'", t->triple);
			return NULL;
		}
		set_vectors_by_probe(t, assembly);
	}
	default_caches(t);
	t->is_host = runs_here(host, t);
	return t;
}

const char *target_text(Arena *arena, const Target *t) {
	return arena_printf(
	    arena, "%s cpu %s features %s fma %d mask %d pointer %d lanes %d registers %d multipliers %d caches %lld %lld %lld",
	    t->triple, t->cpu, t->features, t->has_fma, t->has_mask, t->pointer_bits, t->lanes, t->vector_registers, t->multipliers,
	    (long long)t->l1, (long long)t->l2, (long long)t->l3);
}
