/* rules.h: what the files of this folder share and nobody else needs. */
#ifndef NNC_RULES_H
#define NNC_RULES_H

#include "ir.h"

enum { MAX_BODY_DEPTH = 16 };                  /* scans within scans that the text may hold */
#define MAX_ELEMENTS ((int64_t)1 << 40)        /* of one tensor, so that sizes in bytes never overflow */

/* NULL, or the first rule of ops.def that a candidate breaks.  Looks at types and attributes only, so it may be asked
 * before the value exists; expects nargs to fit the op's arity and every list to have its data. */
const char *val_problem(const Val *v);
/* NULL, or why this is no type of a value: rank, or extents (each is at least 1). */
const char *type_problem(Type t);
/* The attribute `k` of `op` is one number, not a list. */
bool attribute_is_single(Op op, int k);

/* The value of f that equals the candidate; made from it (with copies of all its arrays) when there is none. */
Val *val_intern(Fn *f, const Val *candidate);

#endif
