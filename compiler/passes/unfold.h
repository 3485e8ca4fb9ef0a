/* unfold.h: what the two files of pass_unfold share. */
#ifndef NNC_UNFOLD_H
#define NNC_UNFOLD_H

#include "rebuild.h"

/* unfold_phases.c: what stands for `v`, folds of a contract or a slice of them, at least one of a stride that its taps overlap;
 * NULL when it is anything else.  uses: fn_count_uses() of r->from. */
Val *unfold_phases(Rebuild *r, const Val *v, const int *uses);
/* Would one of these two find anything? */
bool unfold_has_phases(const Val *v, const int *uses);
/* unfold.c: what stands for contract `v`, dots over windows, over `args`; NULL when it is anything else. */
Val *unfold_keep_last_axis(Fn *f, const Val *v, Val **args);
/* What stands for `v`, a contract over windows of an image with zeros between its elements; NULL when it is none. */
Val *unfold_spread(Rebuild *r, const Val *v);

#endif
