/* logsumexp.h: what the log of a sum of exponentials is made of, shared by its value and its derivative. */
#ifndef NNC_LOGSUMEXP_H
#define NNC_LOGSUMEXP_H

#include "ir.h"

/* m = max a, e = exp(a - m), sum = sum of e, all over `axis`.  finite: m is neither infinite nor NaN.  e is 0 where m is -inf. */
typedef struct LsePart { Val *m, *finite, *e, *sum; } LsePart;
/* stopped: no derivative passes through m. */
LsePart lse_part(Fn *f, Val *a, int axis, bool stopped);

#endif
