/* fuzz.h: random programs, what is checked of each, and what was covered. */
#ifndef NNC_FUZZ_H
#define NNC_FUZZ_H

#include <stdio.h>

#include "codegen.h"
#include "ir.h"
#include "kernel.h"
#include "program.h"

/* ---- generate*.c: a well-typed program, the same for the same seed on every machine ---- */

/* LLVM's code generation is nine tenths of the time, and many small programs find more than few large ones: of one program in
 * four all is checked, of the others one Fn, and these are small but for one in 16.  From seed CAMPAIGN on all are such. */
enum { CAMPAIGN = 100000 };
static inline bool is_thorough(uint64_t seed) { return seed < CAMPAIGN && seed % 4 == 0; }
static inline bool is_small(uint64_t seed) { return !is_thorough(seed) && hash_mix(seed ^ 0x5a11) % 16 != 0; }

/* Of these programs derivatives are compared with differences: they have no rule, state or rounding that says otherwise. */
static inline bool is_smooth(uint64_t seed) { return seed % 8 == 5; }

const char *fuzz_program(Arena *arena, uint64_t seed);

/* ---- cover.c: which op stood where in a kernel ---- */

typedef enum Position {
	AT_MAP,               /* computed per element of a map kernel */
	AT_COLUMN,            /* inside the operand of a column reduction */
	AT_ROW,               /* an element of a row in a kernel of rows: of a reduction's operand, or between or after reductions */
	AT_AFTER_REDUCE,      /* a value of a whole row in such a kernel */
	AT_OPERAND,           /* a view between memory and a contract */
	AT_AFTER_CONTRACT,    /* a function of a contract */
	AT_SEQUENCE,          /* an operand of a running sum, an order, a sum of buckets */
	AT_AFTER_SEQUENCE,    /* a function of its elements */
	AT_ANCHOR,            /* the reduction, contract, sequence or scan itself */
	POSITIONS
} Position;
typedef enum Feature {
	FEATURE_MAP_ALONE,
	FEATURE_MAP_SHARED,
	FEATURE_REDUCE_ALONE,
	FEATURE_REDUCE_SHARED,
	FEATURE_CONTRACT_ALONE,
	FEATURE_CONTRACT_SHARED,
	FEATURE_CONTRACT_PANELS,
	FEATURE_SEQUENCE_ALONE,
	FEATURE_SEQUENCE_SHARED,
	FEATURE_SCAN_ALONE,
	FEATURE_SCAN_SHARED,
	FEATURE_SCAN_DEALT,
	FEATURE_SCAN_BARRIER,
	FEATURE_SCAN_NESTED,
	FEATURE_SCAN_REVERSED,
	FEATURE_DOT,
	FEATURE_BATCHED,
	FEATURE_SWAPPED,
	FEATURE_STORED_ANCHOR,
	FEATURE_BARRIER,
	FEATURE_NO_BARRIER,
	FEATURE_IN_PLACE,
	FEATURE_COPIED,
	FEATURE_MANY_ROOTS,
	FEATURES
} Feature;
enum { CELLS = OP_COUNT * POSITIONS + FEATURES };
typedef struct Coverage { uint64_t count[CELLS]; } Coverage;

void cover_kernels(Coverage *c, const KernelProgram *kp);
const char *cell_name(Arena *arena, int cell);
void print_coverage(const Coverage *c);
/* Compares with a list of cells, one a line.  Returns how many of the list were missed; prints those, and what the list lacks. */
int compare_coverage(const Coverage *c, const char *path);

/* ---- check.c ---- */

/* What was checked: programs, and how many of them in each way; Fns by what they are; and how much of it all. */
#define FUZZ_TALLY(T)                                                                                                        \
	T(programs, "programs") T(small, "small") T(two_targets, "with two targets")                   \
	T(texts, "with every pass read back")                                                                                    \
	T(step, "steps") T(infer, "inferences") T(eval, "evaluations") T(loss, "gradients") T(init, "initial values")            \
	T(simplified, "compared with their text before the simplifier")                                                          \
	T(differences, "derivatives compared with differences")                                                                  \
	T(compiled, "compiled") T(alone, "for one worker") T(shared, "for several") T(runs, "runs") T(round_trips, "read back")  \
	T(outputs, "outputs") T(not_finite, "not finite")
typedef struct Tally {
#define T(name, text) uint64_t name;
	FUZZ_TALLY(T)
#undef T
} Tally;
void add_tally(Tally *t, const Tally *more);
void print_tally(FILE *to, const Tally *t);

/* NULL, or what is wrong with the program.  plan: nothing is compiled or run, only covered. */
const char *check_program(Arena *arena, const char *text, uint64_t seed, bool plan, Coverage *coverage, Tally *tally);

/* ---- differences.c: NULL, or a derivative of the train block's loss that is not that of difference quotients. ---- */

const char *check_derivatives(Arena *arena, Program *program, uint64_t seed, Tally *tally);

/* ---- shared small things ---- */

typedef struct Dice { uint64_t state; } Dice;
static inline uint32_t dice_next(Dice *d) { return (uint32_t)((d->state = hash_mix(d->state)) >> 32); }
static inline int roll(Dice *d, int n) { return (int)(dice_next(d) % (uint32_t)n); }
static inline bool one_in(Dice *d, int n) { return roll(d, n) == 0; }

#endif
