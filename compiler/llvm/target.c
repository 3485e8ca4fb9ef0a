/* target.c: from a name to a Target.
 *
 * For the host its list of features tells what it can do, for the short names targets.def, for the levels of x86-64 their
 * definition; for any other CPU the code generator is asked (probe.c). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>

#include "compat.h"
#include "target.h"

enum { FMA = 1, ROUND = 2, FMA64 = 4, ROUND64 = 8, PAIRS = 16 };
static const struct Row {
	const char *name, *triple, *cpu, *features, *float_abi;
	int lanes;
	unsigned instructions;
	const char *meaning;
} rows[] = {
#define TARGET(...) {__VA_ARGS__},
#include "targets.def"
#undef TARGET
};

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
	/* Without an operating system nobody moves code, and the tables that would be needed for it are no part of the object. */
	bool moves = !strstr(target->triple, "-none") && !target_is(target, "wasm");
	return LLVMCreateTargetMachine(found, target->triple, target->cpu, target->features, LLVMCodeGenLevelDefault,
	                               moves ? LLVMRelocPIC : LLVMRelocStatic,
	                               target_is(target, "riscv") ? LLVMCodeModelMedium : LLVMCodeModelDefault);
}

static bool is_x86(const Target *t) { return target_is(t, "x86_64"); }

static void set_instructions(Target *t, unsigned instructions) {
	t->has_fma = instructions & FMA, t->has_fma64 = instructions & FMA64;
	t->has_round = instructions & ROUND, t->has_round64 = instructions & ROUND64;
	t->has_dot_pairs = instructions & PAIRS;
}

static bool has_feature(const char *features, const char *feature) {
	size_t length = strlen(feature);
	for (const char *at = features; (at = strstr(at, feature)); at += length)
		if ((at == features || at[-1] == ',') && (at[length] == ',' || !at[length])) return true;
	return false;
}

/* Instructions for sums of products of bytes: the features that they need, and the instruction that the code generator makes of
 * such a sum where they are there, on a register of this kind. */
enum { DOT, DOT_MIXED, DOT_PAIRS };
static const struct Dot {
	const char *architecture, *features[2], *instruction, *operand;
	int kind;
} dots[] = {
    {"x86_64", {"avxvnni"}, "\tvpdpbusd\t", "%xmm", DOT_MIXED},
    {"x86_64", {"avx512vnni", "avx512vl"}, "\tvpdpbusd\t", "%xmm", DOT_MIXED},
    {"aarch64", {"dotprod"}, "\tsdot\t", ".4s", DOT},
    {"arm64", {"dotprod"}, "\tsdot\t", ".4s", DOT},
    {"aarch64", {"i8mm"}, "\tusdot\t", ".4s", DOT_MIXED},   /* LLVM 19 makes none by itself */
    {"arm64", {"i8mm"}, "\tusdot\t", ".4s", DOT_MIXED},
    {"arm", {"dsp"}, "\tuxtb16\t", "r", DOT_PAIRS},
    {"thumb", {"dsp"}, "\tuxtb16\t", "r", DOT_PAIRS},
};

static bool lists(const char *features, const char *name) {
	char on[32] = "+", off[32] = "-";
	strncat(on, name, sizeof on - 2);
	strncat(off, name, sizeof off - 2);
	return has_feature(features, on) && !has_feature(features, off);
}

static bool has_dot(const Target *t, const struct Dot *dot, const char *assembly) {
	bool listed = true;
	for (size_t i = 0; i < COUNT(dot->features) && dot->features[i]; i++) listed = listed && lists(t->features, dot->features[i]);
	const char *at = strstr(assembly, dot->instruction), *operand = at ? strstr(at, dot->operand) : NULL;
	return listed || (operand && operand < at + strcspn(at, "\n"));
}

void target_dots(Target *t, const char *assembly) {
	bool *const has[] = {[DOT] = &t->has_dot, [DOT_MIXED] = &t->has_dot_mixed, [DOT_PAIRS] = &t->has_dot_pairs};
	for (size_t i = 0; i < COUNT(dots); i++)
		if (target_is(t, dots[i].architecture) && has_dot(t, &dots[i], assembly)) *has[dots[i].kind] = true;
}

/* The levels of x86-64, and what they need of the host to run there. */
enum { FMAS = FMA | FMA64, ROUNDS = ROUND | ROUND64 };
static const struct Level {
	const char *cpu;
	int lanes;
	unsigned instructions;
	const char *needs[8];
} levels[] = {
    {"x86-64", 4, 0, {"+sse2"}},
    {"x86-64-v2", 4, ROUNDS, {"+sse4.2", "+popcnt", "+cx16", "+ssse3"}},
    {"x86-64-v3", 8, FMAS | ROUNDS, {"+avx2", "+fma", "+bmi", "+bmi2", "+f16c", "+lzcnt", "+movbe"}},
    {"x86-64-v4", 16, FMAS | ROUNDS, {"+avx512f", "+avx512bw", "+avx512cd", "+avx512dq", "+avx512vl", "+avx2", "+fma"}},
};

static const struct Level *level_of(const Target *t) {
	for (size_t i = 0; i < COUNT(levels); i++)
		if (is_x86(t) && !*t->features && !strcmp(t->cpu, levels[i].cpu)) return &levels[i];
	return NULL;
}

static bool is_bare(const Target *t) { return strstr(t->triple, "-none") != NULL; }

/* A microcontroller's memory is all as near as a first cache, and little: kernels run together on a few rows. */
static void default_caches(Target *t) {
	t->l1 = is_bare(t) ? 1 << 20 : 32 << 10;
	t->l2 = is_bare(t) ? 16 << 10 : 512 << 10;
	t->l3 = is_bare(t) ? 0 : 8 << 20;
	t->least_cache = 64 << 10;
}

const Target *target_within(Arena *arena, const Target *target, int64_t cache) {
	Target *t = NEW(arena, Target);
	*t = *target;
	t->l1 = MIN(t->l1, cache);
	t->l2 = MIN(t->l2, cache);
	t->l3 = MIN(t->l3, cache);
	t->least_cache = MIN(t->least_cache, cache);
	return t;
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
	if (is_x86(t)) {
		target_shape(t, has_feature(f, "+avx512f") ? 16 : has_feature(f, "+avx") ? 8 : 4);
		set_instructions(t, (has_feature(f, "+fma") ? FMAS : 0) | (has_feature(f, "+sse4.1") ? ROUNDS : 0));
		target_dots(t, "");
	} else if (target_is(t, "aarch64")) {
		target_shape(t, 4);
		set_instructions(t, FMAS | ROUNDS);
		target_dots(t, "");
	} else if (!target_probe(arena, t)) {
		die("LLVM cannot generate code for this machine, '%s'", t->triple);
	}
	host_caches(t);
	return t;
}

/* What can be said of a cpu's and features' names only by using them. */
typedef enum Verdict { WORKS, UNKNOWN, FAILS } Verdict;

/* Of unknown names LLVM says so on stderr, and has no other way to ask; what makes no sense together ends its process.
 * So another process tries. */
static Verdict machine_verdict(Arena *arena, const Target *t) {
	int ends[2], status = 0;
	if (pipe2(ends, O_CLOEXEC)) return WORKS;
	fflush(NULL);
	pid_t child = fork();
	if (!child) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		Target tried = *t;
		if (dup2(ends[1], STDERR_FILENO) < 0) _exit(EXIT_SUCCESS);
		LLVMDisposeTargetMachine(target_machine(&tried));
		if (write(ends[1], "", 1) != 1) _exit(EXIT_SUCCESS);   /* what comes before it are unknown names */
		_exit(target_probe(arena, &tried) ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	close(ends[1]);
	char byte = 0;
	bool complains = child > 0 && read(ends[0], &byte, 1) == 1 && byte;
	char rest[256];
	while (child > 0 && read(ends[0], rest, sizeof rest) > 0) {}
	close(ends[0]);
	bool ended = child > 0 && waitpid(child, &status, 0) == child;
	return complains ? UNKNOWN : ended && status ? FAILS : WORKS;
}

/* Do two triples begin with the same architecture? */
static bool same_architecture(const char *triple, const char *other) {
	size_t n = strcspn(other, "-");
	return strcspn(triple, "-") == n && !strncmp(triple, other, n);
}

/* Can the host run code for `t`?  Names other than levels only when they are the host's own. */
static bool runs_here(const Target *host, const Target *t) {
	if (!same_architecture(host->triple, t->triple)) return false;
	const struct Level *level = level_of(t);
	if (!level)
		return (!*t->features && !strcmp(t->cpu, host->cpu)) || (!is_x86(t) && !*t->features && !strcmp(t->cpu, "generic"));
	for (size_t k = 0; k < COUNT(level->needs) && level->needs[k]; k++)
		if (!has_feature(host->features, level->needs[k])) return false;
	return true;
}

/* The row of a short name, or the first of the triple's architecture; NULL: none. */
static const struct Row *row_named(const char *name) {
	for (size_t i = 0; i < COUNT(rows); i++)
		if (!strcmp(name, rows[i].name)) return &rows[i];
	return NULL;
}

static const struct Row *row_of(const char *triple) {
	for (size_t i = 0; i < COUNT(rows); i++)
		if (same_architecture(triple, rows[i].triple)) return &rows[i];
	return NULL;
}

static const struct Row *set_triple(Arena *arena, Target *t, const Target *host, const char *name) {
	static const char *const others[][2] = {{"x86_64", "x86-64"}, {"arm64", "aarch64"}}; /* what uname and others call them */
	for (size_t i = 0; name && i < COUNT(others); i++)
		if (!strcmp(name, others[i][0])) name = others[i][1];
	const struct Row *row = name ? row_named(name) : NULL;
	t->triple = row ? row->triple : name ? take(arena, LLVMNormalizeTargetTriple(name)) : host->triple;
	return row ? row : row_of(t->triple);
}

static const char *join(Arena *arena, const char *a, const char *b) {
	return *a && *b ? arena_printf(arena, "%s,%s", a, b) : *a ? a : b;
}

const char *target_name(int number) { return number < (int)COUNT(rows) ? rows[number].name : NULL; }

static bool is_built_in(const char *triple) {
	LLVMTargetRef found;
	char *error = NULL;
	bool ok = !LLVMGetTargetFromTriple(triple, &found, &error);
	if (!ok) LLVMDisposeMessage(error);
	return ok;
}

const char *target_list(Arena *arena) {
	Text text = {.arena = arena};
	initialise();
	text_add(&text, "%-10s  %-33s  %-12s  %-6s  %-5s  %-5s  %s\n", "--target", "triple", "cpu", "floats", "fused", "ABI", "for");
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct Row *r = &rows[i];
		text_add(&text, "%-10s  %-33s  %-12s  %-6d  %-5s  %-5s  %s%s\n", r->name, r->triple, r->cpu, r->lanes,
		         r->instructions & FMA ? "yes" : "no", r->float_abi, r->meaning, is_built_in(r->triple) ? "" : " (not built in)");
		if (*r->features) text_add(&text, "%-10s  features %s\n", "", r->features);
	}
	text_add(
	    &text,
	    "\nfloats: in a vector register.  fused: has multiply-add that rounds once, so gives the bits of "
	    "`nnc train`.\nLLVM's triples of these processors are targets as well, with --cpu and --features by LLVM's names.\n");
	return text.data;
}

static const Target *unknown_target(Diag *diag, const char *name) {
	const char *names[COUNT(rows)];
	for (size_t i = 0; i < COUNT(rows); i++) names[i] = rows[i].name;
	const char *near = nearest_name(name, names, COUNT(names));
	diag_error(diag, (Span){0}, "unknown target '%s'", name);
	if (near) diag_help(diag, "did you mean '%s'?", near);
	else
		diag_help(diag,
		          "`nnc compile --target list` shows the short names; LLVM's triples of these processors are targets as well");
	return NULL;
}

static const Target *not_built_in(Diag *diag, const char *triple) {
	diag_error(diag, (Span){0}, "no code generator for '%s' is built in", triple);
	diag_help(diag, "configure nnc with -DNNC_BACK_ENDS=all");
	return NULL;
}

/* Objects are ELF or WebAssembly's, for processors of 32 or 64 bits, little end first. */
static bool is_made(const char *triple) {
	static const char *const others[] = {"windows", "uefi", "apple", "darwin", "gnux32", "ilp32", "macho", "coff", "gnuf32"};
	for (size_t i = 0; i < COUNT(others); i++)
		if (strstr(triple, others[i])) return false;
	static const char *const architectures[] = {"x86_64-", "aarch64-", "arm64-",   "arm",
	                                            "thumb",   "riscv32-", "riscv64-", "wasm32-"};
	bool big = !strncmp(triple, "armeb", 5) || !strncmp(triple, "thumbeb", 7);
	for (size_t i = 0; i < COUNT(architectures) && !big; i++)
		if (!strncmp(triple, architectures[i], strlen(architectures[i]))) return true;
	return false;
}

static bool use_native(Arena *arena, Diag *diag, Target *t, const Target *host, const char *name) {
	if (!same_architecture(host->triple, t->triple)) {
		diag_error(diag, (Span){0}, "cpu 'native' is this machine, which is not '%s'", name);
		return false;
	}
	t->cpu = host->cpu;
	t->features = join(arena, host->features, t->features);
	return true;
}

/* What triple, cpu and features of `t` can do; false after reporting. */
static bool describe(Arena *arena, Diag *diag, Target *t, const struct Row *row, bool as_listed) {
	const struct Level *level = level_of(t);
	Verdict verdict = level || as_listed ? WORKS : machine_verdict(arena, t);
	if (verdict == FAILS) {
		diag_error(diag, (Span){0}, "no code can be made for '%s' with cpu '%s' and features '%s'", t->triple, t->cpu,
		           t->features);
		return false;
	}
	if (verdict == UNKNOWN) {
		diag_error(diag, (Span){0}, "'%s' has no cpu '%s' or no such features: '%s'", t->triple, t->cpu, t->features);
		diag_help(diag,
		          "names are those of LLVM: x86-64-v2, x86-64-v3, x86-64-v4, znver4, skylake, cortex-a72, neoverse-n1, native");
		return false;
	}
	if (level || as_listed) {
		target_shape(t, level ? level->lanes : row->lanes);
		set_instructions(t, level ? level->instructions : row->instructions);
	} else if (!target_probe(arena, t)) {
		diag_error(diag, (Span){0}, "LLVM cannot generate code for '%s'", t->triple);
		return false;
	}
	default_caches(t);
	return true;
}

const Target *target_named(Arena *arena, Diag *diag, const char *name, const char *cpu, const char *features) {
	const Target *host = target_host(arena);
	bool native = cpu && !strcmp(cpu, "native");
	if (!name && native && (!features || !*features)) return host;
	Target *t = NEW(arena, Target);
	const struct Row *row = set_triple(arena, t, host, name);
	t->cpu = cpu ? cpu : row ? row->cpu : "generic";
	t->features = join(arena, row ? row->features : "", features ? features : "");
	t->pointer_bits = strstr(t->triple, "64") == NULL ? 32 : 64;
	if (!is_built_in(t->triple)) return row ? not_built_in(diag, t->triple) : unknown_target(diag, name);
	if (name && !is_made(t->triple)) {
		diag_error(diag, (Span){0}, "no objects are made for '%s'", t->triple);
		diag_help(diag, "`nnc compile --target list` shows what they are made for; the format is ELF, or WebAssembly's");
		return NULL;
	}
	if (is_x86(t) && has_feature(t->features, "+avx512f") && !strstr(t->features, "evex512") && LLVM_VERSION_MAJOR < 22)
		t->features = join(arena, t->features, "+evex512");   /* or LLVM ends the process where it wants the registers */
	if (native && !use_native(arena, diag, t, host, name)) return NULL;
	if (!describe(arena, diag, t, row, row && t->cpu == row->cpu && (!features || !*features))) return NULL;
	t->is_host = runs_here(host, t);
	return t;
}

const char *target_text(Arena *arena, const Target *t) {
	const char *can =
	    arena_printf(arena, "fma %d %d round %d %d mask %d dot %d %d %d", t->has_fma, t->has_fma64, t->has_round,
	                 t->has_round64, t->has_mask, t->has_dot, t->has_dot_mixed, t->has_dot_pairs);
	const char *caches = arena_printf(arena, "%lld %lld %lld %lld", (long long)t->l1, (long long)t->l2, (long long)t->l3,
	                                  (long long)t->least_cache);
	return arena_printf(arena, "%s cpu %s features %s %s pointer %d lanes %d at once %d registers %d multipliers %d caches %s",
	                    t->triple, t->cpu, t->features, can, t->pointer_bits, t->lanes, t->at_once, t->vector_registers,
	                    t->multipliers, caches);
}
