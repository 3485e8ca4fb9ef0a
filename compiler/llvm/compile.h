/* compile.h: from a Fn to something that runs: the last seam.  No LLVM type appears here. */
#ifndef NNC_COMPILE_H
#define NNC_COMPILE_H

#include "codegen.h"
#include "exec.h"
#include "kernel.h"

typedef struct CompileOptions {
	const Target *target;      /* a host target when the result is to run here */
	int workers;               /* at most so many; fewer where more would not help */
	WorkerCosts costs;         /* of the machine that it is for; zeros: not known */
	bool always_share;         /* workers share whatever they can, even where that is slower: for tests */
	bool recompute;            /* values, until the arena has at most most_bytes */
	size_t most_bytes;
	bool no_cache;
} CompileOptions;

typedef struct Compiled {
	Executable executable;     /* entry NULL when only the object was asked for */
	KernelProgram *kernels;
	Object object;
	bool cached;               /* the object came from the cache */
	const Val *unsupported;    /* not NULL: no code can be made for this value yet, nothing else is set */
	const char *error;         /* linking failed */
} Compiled;

/* `f` has been through all passes; persistent inputs are found in `layout` by their path.  The entry point is named
 * "<f->name>_entry".  compile_object makes the object only. */
Compiled compile_fn(Arena *arena, Fn *f, const Program *p, const Layout *layout, const CompileOptions *options);
Compiled compile_object(Arena *arena, Fn *f, const Program *p, const Layout *layout, const CompileOptions *options);
/* The kernels alone, planned for the target. */
KernelProgram *compile_kernels(Arena *arena, Fn *f, const Program *p, const Layout *layout, const CompileOptions *options);
void compiled_free(Compiled *c);   /* unmaps the code */

#endif
