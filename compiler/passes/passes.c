/* passes.c: the list of passes, in the order they run, and the driver. */
#include "passes.h"

#include <string.h>

const Pass passes[] = {
	{"grad", "derivatives as ordinary values", pass_grad, false},
	{"simplify", "exact local rewrites, products of sums as contractions", pass_simplify, false},
	{"scans", "what scans need not do in every turn", pass_scans, true},
	{"unfold", "overlapping sums of windows as products over windows", pass_unfold, true},
	{"sums", "a sum over several axes as one sum", pass_sums, true},
	{"logsumexp", "logsumexp as m + log(sum(exp(x - m)))", pass_logsumexp, false},
	{"precision", "activations rounded to bf16, where a train block asks for it", pass_precision, true},
	{"taps", "sums over windows with the taps that rows share last", pass_taps, true},
	{"blocks", "large values between small ones block by block", pass_blocks, true},
};
const int pass_count = COUNT(passes);

Fn *run_passes(Fn *f, int from, int to) {
	int first = MAX(from, 0);
	for (int i = first; i < MIN(to, pass_count); i++) {
		Fn *before = f;
		f = passes[i].run(f);
		if (f != before || i == first) fn_verify(f, passes[i].name);   /* what is as it was has been verified */
	}
	return f;
}

/* The state after pass i has index i + 1: so many have run. */
int pass_index(const char *name) {
	if (!strcmp(name, "elab")) return 0;
	for (int i = 0; i < pass_count; i++)
		if (!strcmp(name, passes[i].name)) return i + 1;
	return -1;
}
