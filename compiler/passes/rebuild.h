/* rebuild.h: what the passes share: walking a Fn while building the next one. */
#ifndef NNC_REBUILD_H
#define NNC_REBUILD_H

#include "passes.h"

/* map[old id] is the value in `to` that stands for the value of `from`. */
typedef struct Rebuild { const Fn *from; Fn *to; Val **map; } Rebuild;

/* An empty Fn with the inputs of `from`, which are mapped already. */
Rebuild rebuild_start(const Fn *from);
/* The same value over the mapped operands; spans are inherited by whatever is built until the next call. */
Val **rebuild_args(Rebuild *r, const Val *v);
Val *rebuild_copy(Rebuild *r, Val *v);
/* Gives `to` the outputs of `from`, in canonical order, without what no output needs. */
Fn *rebuild_finish(Rebuild *r);

/* The values that `root` is computed from and root itself, operands first, left to right.  `operands` names the operands to
 * follow: values first .. first + count - 1 of v->arg.  seen[id] is set for each; values already seen are left out. */
typedef struct Operands { int first, count; } Operands;
typedef VEC(Val *) ValList;
void post_order(Arena *arena, Val *root, bool *seen, Operands (*operands)(const Val *v), ValList *out);

#endif
