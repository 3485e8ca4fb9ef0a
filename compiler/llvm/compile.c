/* compile.c: in: a Fn after all passes; out: its object code, linked into this process when asked.
 * Guarantees: the object depends on the kernel program, the target and the versions only; all of these are the cache's key. */
#include "compile.h"

#include <string.h>

#include "lower.h"

/* The most that one worker needs for any kernel. */
static size_t most_scratch(const Target *t, KernelProgram *kp) {
	size_t most = 0;
	for (int i = 0; i < kp->kernels.length; i++) {
		const Kernel *k = &kp->kernels.data[i];
		size_t needs = k->body ? most_scratch(t, k->body) : kernel_scratch(t, kp, k);
		if (needs > most) kp->scratch_kernel = k;
		most = MAX(most, needs);
	}
	return most;
}

typedef struct Plan { Arena *arena; const Program *program; const Layout *layout; const CompileOptions *options; } Plan;

static KernelProgram *plan(void *context, Fn *prepared) {
	const Plan *of = context;
	Arena *arena = of->arena;
	const Layout *layout = of->layout;
	const CompileOptions *options = of->options;
	const Target *t = options->target;
	Machine machine = {.lanes = t->lanes,
	                   .own_cache = t->l2,
	                   .costs = options->costs,
	                   .always_share = options->always_share,
	                   .panels = kernel_panels,
	                   .target = t};
	InputPlace *places = NEW_ARRAY(arena, InputPlace, prepared->inputs.length + 1);
	for (int i = 0, next = 0; i < prepared->inputs.length; i++) {
		Input *in = &prepared->inputs.data[i];
		if (in->kind != INPUT_PARAM && in->kind != INPUT_STATE && in->kind != INPUT_SLOT) continue;
		int number = program_find(of->program, in->name, next);
		if (number < 0) die("no persistent tensor '%s'", in->name);
		places[i] = (InputPlace){layout->places[number].offset, layout->places[number].row};
		next = number + 1;
	}
	KernelProgram *kp = kernel_fuse(arena, prepared, places);
	kernel_schedule(kp, MAX(options->workers, 1), &machine);
	kernel_plan(kp, most_scratch(t, kp));
	return kp;
}

KernelProgram *compile_kernels(Arena *arena, Fn *f, const Program *p, const Layout *layout, const CompileOptions *options) {
	Plan of = {arena, p, layout, options};
	KernelProgram *kp = plan(&of, kernel_prepare(f));
	return options->recompute ? kernel_recompute(kp, options->most_bytes, &(Planner){plan, &of}) : kp;
}

static CacheKey key_of(Arena *arena, const KernelProgram *kp, const Target *target) {
	Text text = {.arena = arena};
	kernel_print(&text, kp);
	return cache_key(arena, text.data, target, kp->workers);
}

static Compiled make(Arena *arena, Fn *f, const Program *p, const Layout *layout, const CompileOptions *options, bool link) {
	Compiled c = {.unsupported = kernel_unsupported(f)};
	if (c.unsupported) return c;
	c.kernels = compile_kernels(arena, f, p, layout, options);
	const char *entry = arena_printf(arena, "%s_entry", f->name);
	CacheKey key = options->no_cache ? (CacheKey){0} : key_of(arena, c.kernels, options->target);
	c.cached = !options->no_cache && cache_read(arena, key, 1, &c.object);
	if (!c.cached) {
		Emit *e = emit_new(arena, options->target, f->name);
		lower_entry(e, c.kernels, entry);
		c.object = emit_object(e, false);
		emit_free(e);
		if (!options->no_cache) cache_write(arena, key, 1, &c.object);
	}
	c.executable = (Executable){
	    .fn = f, .workers = c.kernels->workers, .arena_bytes = c.kernels->arena_bytes, .code_bytes = object_code_bytes(c.object)};
	if (link) {
		Linked *linked = objects_link(arena, &c.object, 1, &c.error);
		if (!linked) return c;
		c.executable.code = linked;
		void *address = linked_symbol(linked, entry);
		memcpy(&c.executable.entry, &address, sizeof address);
		if (!address) c.error = "the entry point is missing";
	}
	return c;
}

Compiled compile_fn(Arena *arena, Fn *f, const Program *p, const Layout *layout, const CompileOptions *options) {
	return make(arena, f, p, layout, options, true);
}

Compiled compile_object(Arena *arena, Fn *f, const Program *p, const Layout *layout, const CompileOptions *options) {
	return make(arena, f, p, layout, options, false);
}

void compiled_free(Compiled *c) {
	if (c->executable.code) linked_free(c->executable.code);
	c->executable.code = NULL;
	c->executable.entry = NULL;
}
