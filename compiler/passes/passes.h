/* passes.h: what happens to a Fn between elaboration and kernels, in this order.  Each pass is a pure function;
 * run_passes() verifies after each and can print or stop between any two. */
#ifndef NNC_PASSES_H
#define NNC_PASSES_H

#include "ir.h"

/* reorders: may add in another order, or round: what it makes is the program whose bits count from there on. */
typedef struct Pass { const char *name, *meaning; Fn *(*run)(Fn *f); bool reorders; } Pass;
extern const Pass passes[];
extern const int pass_count;

/* grad: replaces every Grad, Mark, Custom and Cotangent by ordinary values (reverse sweep, innermost first). */
Fn *pass_grad(Fn *f);
/* Can a derivative flow from v to this operand?  Also before pass_grad. */
bool derivative_flows(const Val *v, int operand);
/* simplify: exact local rewrites to a fixed point; no reassociation, nothing that changes a bit or loses a NaN. */
Fn *pass_simplify(Fn *f);
/* scans: what need not be computed in every turn of a scan. */
Fn *pass_scans(Fn *f);
/* unfold: sums that overlapping windows write become sums over windows that are read. */
Fn *pass_unfold(Fn *f);
/* sums: a sum over several axes as one, or one for every 4096 terms. */
Fn *pass_sums(Fn *f);
/* logsumexp: written out, so that its derivative shares the exponentials. */
Fn *pass_logsumexp(Fn *f);

/* precision: what contracts read and derivatives read again, rounded to bf16, where the Fn says so. */
Fn *pass_precision(Fn *f);

/* taps: sums over windows end with the taps that rows share. */
Fn *pass_taps(Fn *f);

/* blocks: large values between small ones block by block. */
Fn *pass_blocks(Fn *f);

/* Runs passes[from .. to) on f with verification. */
Fn *run_passes(Fn *f, int from, int to);
int pass_index(const char *name);   /* -1: unknown; "elab" is the state before the first pass: index 0 means none run */

/* The function as a self-contained .nn file: one model with every input as argument and every output as result. */
void fn_print_nn(Text *out, const Fn *f);

#endif
