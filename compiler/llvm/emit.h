/* emit.h: an LLVM module being written, and the small helpers everything in compiler/llvm/ writes with.
 *
 * In: a Target.  Out: object bytes.  One Emit belongs to one thread; several may be at work at once.
 * Guarantees: no fast-math flags, fma only through emit_fma(), every memory access aligned to its element only. */
#ifndef NNC_EMIT_H
#define NNC_EMIT_H

#include <llvm-c/Core.h>

#include "codegen.h"

typedef LLVMValueRef Value;

typedef struct Emit {
	Arena *arena;
	const Target *target;
	LLVMContextRef context;
	LLVMModuleRef module;
	LLVMBuilderRef builder;
	LLVMTypeRef void_type, i1, i8, i16, i32, i64, f32, f64, ptr;
	LLVMTypeRef index;                 /* integer as wide as a pointer: every count, subscript and induction variable */
	LLVMTypeRef vector;                /* <target->lanes x float> */
	Value function;                    /* the one being written */
	LLVMBasicBlockRef entry;           /* its first block: allocas */
	void *machine;                     /* LLVMTargetMachineRef */
} Emit;

Emit *emit_new(Arena *arena, const Target *target, const char *module_name);
/* Verifies (die() on a broken module), generates code.  The bytes are in the arena.  `optimise`: run the short list of IR
 * passes first (loop kernels need it; contractions do not).  The Emit is used up: emit_free() only. */
Object emit_object(Emit *e, bool optimise);
Object emit_assembly(Emit *e);         /* text, of a copy of the module, which stays as it is; no bytes: it cannot be made */
char *emit_text(Emit *e);              /* the module as LLVM text, in the arena */
void emit_free(Emit *e);

/* Functions.  Starts one and places the builder in its entry block; parameters by LLVMGetParam(e->function, i).  Pointers are
 * marked noalias only by the caller.  local: internal and never inlined.  To write a helper function in the midst of another,
 * bracket it with emit_pause / emit_resume. */
Value emit_function(Emit *e, const char *name, LLVMTypeRef result, int nparams, const LLVMTypeRef *params, bool local);
typedef struct EmitPlace { Value function; LLVMBasicBlockRef entry, block; } EmitPlace;
EmitPlace emit_pause(Emit *e);
void emit_resume(Emit *e, EmitPlace place);
Value emit_call(Emit *e, Value function, int nargs, const Value *args);   /* function made by emit_function */
void emit_attribute(Emit *e, Value function, const char *name);           /* "noinline", "nounwind", ... */

/* Constants and vectors.  A vector of 1 lane is a scalar: emit_vector_type(e, t, 1) == t, and all helpers keep to it. */
LLVMTypeRef emit_vector_type(Emit *e, LLVMTypeRef element, int lanes);
int emit_lanes(Value v);                                  /* 1 for a scalar */
Value emit_index(Emit *e, int64_t value);
Value emit_i32(Emit *e, int64_t value);
Value emit_f32(Emit *e, double value, int lanes);
Value emit_splat(Emit *e, Value scalar, int lanes);
Value emit_unknown(Emit *e, Value v);                    /* floats that LLVM knows nothing about, unless they are constants */
Value emit_ramp(Emit *e, LLVMTypeRef element, int lanes); /* 0, 1, 2, ... of an integer type */
/* "llvm.sqrt" and the like, with one overloaded type. */
Value emit_intrinsic(Emit *e, const char *name, LLVMTypeRef overload, int nargs, const Value *args);
Value emit_fma(Emit *e, Value a, Value b, Value c);       /* a * b + c, rounded once iff the target has an instruction */
Value emit_floor(Emit *e, Value a);
Value emit_rint(Emit *e, Value a);                        /* halves to even */

/* Index arithmetic; folds constants and the neutral elements 0 and 1. */
Value emit_add(Emit *e, Value a, Value b);
Value emit_sub(Emit *e, Value a, Value b);
Value emit_mul(Emit *e, Value a, Value b);
Value emit_min(Emit *e, Value a, Value b);                /* signed */
Value emit_at(Emit *e, Value base, LLVMTypeRef element, Value subscript);      /* &((element *)base)[subscript] */
Value emit_at_constant(Emit *e, Value base, LLVMTypeRef element, int64_t subscript);

/* Memory.  Partial: the first n of `lanes` lanes, nothing past them is touched; lanes not loaded are zero.  n is constant
 * (0 < n <= lanes) or, in the _masked forms, a mask <lanes x i1> (i1 when lanes is 1). */
Value emit_load(Emit *e, LLVMTypeRef element, int lanes, Value pointer);
void emit_store(Emit *e, Value v, Value pointer);
Value emit_load_partial(Emit *e, LLVMTypeRef element, int lanes, Value pointer, int n);
void emit_store_partial(Emit *e, Value v, Value pointer, int n);
enum { LINE_FLOATS = 16 };   /* floats in a line of cache */
void emit_prefetch(Emit *e, Value pointer, int near);
Value emit_load_masked(Emit *e, LLVMTypeRef element, int lanes, Value pointer, Value mask);
void emit_store_masked(Emit *e, Value v, Value pointer, Value mask);
Value emit_gather(Emit *e, LLVMTypeRef element, Value base, Value subscripts, Value mask);   /* mask NULL: all; off: 0 */
Value emit_tail_mask(Emit *e, int lanes, Value count);    /* lane number < count (index) */
Value emit_alloca(Emit *e, LLVMTypeRef type, int64_t count, int alignment);   /* in the entry block */

LLVMBasicBlockRef emit_block(Emit *e);                    /* a new one, at the end of the function */

/* Control.  for (i = begin; i < end; i += step), tested at the bottom; the test before the first turn is left out when the
 * constants show that it succeeds.  Carried values: emit_loop_carry, anywhere in the loop, gives the value at the turn's start,
 * emit_loop_next sets what the next turn sees, and loop.result[n] is the value after emit_loop_end.
 *     EmitLoop l = emit_loop_begin(e, emit_index(e, 0), n, 1);
 *     Value acc = emit_loop_carry(e, &l, zero);
 *     emit_loop_next(e, &l, 0, emit_fma(e, x, y, acc));
 *     emit_loop_end(e, &l);           ... l.result[0] ... */
enum { MAX_CARRIED = 64 };
typedef struct EmitLoop {
	Value i, end, step, first;                                      /* i: the induction variable (e->index) */
	LLVMBasicBlockRef before, body, exit;
	bool guarded;
	int ncarried;
	Value phi[MAX_CARRIED], init[MAX_CARRIED], next[MAX_CARRIED], result[MAX_CARRIED];
} EmitLoop;
EmitLoop emit_loop_begin(Emit *e, Value begin, Value end, int64_t step);
Value emit_loop_carry(Emit *e, EmitLoop *loop, Value init);
void emit_loop_next(Emit *e, EmitLoop *loop, int n, Value next);
void emit_loop_end(Emit *e, EmitLoop *loop);
/* if (condition) { ... } [else { ... }]; emit_else is optional. */
typedef struct EmitIf { LLVMBasicBlockRef otherwise, after; bool has_else; } EmitIf;
EmitIf emit_if(Emit *e, Value condition);
void emit_else(Emit *e, EmitIf *branch);
void emit_end_if(Emit *e, EmitIf *branch);

#endif
