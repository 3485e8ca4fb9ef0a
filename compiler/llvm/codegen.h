/* codegen.h: what the rest of nnc sees of the code generator.  No LLVM type appears here.
 *
 * Target: the machine code is made for.  Linked: object code made callable in this process.  Object cache: finished
 * objects on disk, keyed by everything they were made from. */
#ifndef NNC_CODEGEN_H
#define NNC_CODEGEN_H

#include "base.h"
#include "diag.h"

/* Everything a schedule may depend on.  Two Targets with equal fields give equal objects. */
typedef struct Target {
	const char *triple, *cpu, *features;   /* normalised, as given to LLVM */
	bool is_host;                          /* this process can run the code */
	bool has_fma, has_fma64;               /* of f32, of f64; false: fma is a separate multiplication and addition */
	bool has_round, has_round64;           /* floor and rint are instructions */
	bool has_mask;                         /* masked loads and stores are instructions */
	bool has_dot, has_dot_mixed;           /* vectors of sums of four products: of i8 with i8, of u8 with i8 */
	bool has_dot_pairs;                    /* sums of two products of 16 bits, in a register of 32 */
	int pointer_bits;
	int lanes;                             /* f32 lanes of a vector register; 1: scalar machine */
	int vector_bytes;                      /* lanes * 4 */
	int at_once;                           /* elements that loops compute at a time, where no order of a sum asks for 16 */
	int multipliers;                       /* vector multiplications a cycle */
	int vector_registers;
	int64_t l1, l2, l3;                    /* data cache bytes: per core, per core, shared; 0 where there is none */
	int64_t least_cache;                   /* blocks of products are made for a second cache of at least this */
} Target;

/* The machine we run on, with all its features. */
const Target *target_host(Arena *arena);
/* name: NULL (the host's architecture), a short name of targets.def, or a triple.  cpu: NULL (the baseline of that table),
 * "native", or LLVM's name.  features: NULL or LLVM's "+a,-b", beside those of the table.  Reports to diag and returns NULL when
 * unknown. */
const Target *target_named(Arena *arena, Diag *diag, const char *name, const char *cpu, const char *features);
/* The rows of targets.def, for people; and whether the code generator of each is built in. */
const char *target_list(Arena *arena);
/* The short names, in the table's order; NULL past the end. */
const char *target_name(int number);
/* The same with caches of at most so many bytes: what is made for it works on fewer rows and columns at a time, in less memory,
 * with the same bits. */
const Target *target_within(Arena *arena, const Target *target, int64_t cache);
/* One line that says all of the above: part of every cache key. */
const char *target_text(Arena *arena, const Target *target);
/* "19.1.7" */
const char *llvm_version_text(void);

/* Object code in memory. */
typedef struct Object { const char *bytes; size_t size; } Object;
/* Bytes of machine code (all executable sections); 0 when the bytes are no object file. */
size_t object_code_bytes(Object object);
/* Bytes of read-only data: constants, and what unwinders read where there is such. */
size_t object_data_bytes(Object object);

/* Links objects of the host in this process.  The bytes may go away afterwards.  NULL and *error (in the arena) on failure. */
typedef struct Linked Linked;
Linked *objects_link(Arena *arena, const Object *objects, int count, const char **error);
void *linked_symbol(Linked *linked, const char *name);     /* NULL when there is none */
void linked_free(Linked *linked);

/* For benchmarks: an object with `void nnc_peak(float *values, int64_t turns)`, values of 2 * lanes floats (zeros). */
Object peak_object(Arena *arena, const Target *target, double *flops_per_turn);

/* The cache on disk.  Directory: $NNC_CACHE, else $XDG_CACHE_HOME/nnc, else $HOME/.cache/nnc; made when missing; not
 * used when it cannot be made, is not ours, or others may write to it.  "NNC_CACHE=off" turns it off.  A file holds its whole
 * key and a checksum: whatever does not match to the byte is never run, and the next write replaces it.  Writers
 * use a temporary file and rename(), so concurrent runs see whole files only.  Past 256 MB the files used least recently go. */
typedef struct CacheKey { const char *text; size_t length; } CacheKey;
/* key: kernel program, target_text(), nnc's and LLVM's versions, all in one text. */
CacheKey cache_key(Arena *arena, const char *program, const Target *target, int workers);
bool cache_read(Arena *arena, CacheKey key, int count, Object *objects);        /* false: not there */
void cache_write(Arena *arena, CacheKey key, int count, const Object *objects); /* silent when it cannot */

#endif
