/* grad.h: what the reverse sweep (grad.c) and the rules of single ops (grad_rules.c) share. */
#ifndef NNC_GRAD_H
#define NNC_GRAD_H

#include "rebuild.h"

/* The adjoint of a value: `value` where the mask lets it through, 0 elsewhere.
 *
 * An inactive branch of a where must contribute exactly 0, also when the local derivative there is infinite.  So the
 * mask stands beside the adjoint and is applied only where something that is not element-wise wants the whole: every
 * element-wise rule is linear in the adjoint, and so are views, hence where(m, g, 0) * d = where(m, g * d, 0) needs no
 * rewriting: the mask just waits. */
typedef struct Adjoint {
	Val *value;      /* NULL: nothing reached it, a symbolic zero */
	Val *mask;       /* bool, dims of value; NULL: everything passes */
	bool inverted;   /* the mask is true where nothing passes */
	bool clean;      /* value is 0 itself where nothing passes: applying the mask would change nothing */
} Adjoint;

/* A scan that has a derivative is run once more with more results (the carries on entry to each step); the first results
 * of `with` are those of `scan`, so that `with` can take its place. */
typedef struct Replacement { Val *scan, *with; } Replacement;
typedef VEC(Replacement) Replacements;

typedef struct Sweep {
	Fn *f;               /* holds the forward values and receives the derivative */
	Arena *arena;
	int limit;           /* values from here on were made by this sweep */
	ValList order;       /* what the roots are computed from, operands first */
	bool *active;        /* lies on a path from a wanted variable to a root */
	Adjoint *adjoint;    /* by id */
	Adjoint **results;   /* by id of a scan: one per result; NULL for others */
	Val **cotangents;    /* by number: the leaf that stands for the adjoint of a custom op */
	Replacements *replacements;
} Sweep;

/* A sweep over f: set `active` for the wanted variables, then name the roots, give() each its adjoint, pull. */
Sweep sweep_new(Fn *f, Val **cotangents, Replacements *replacements);
void sweep_paths(Sweep *s, int count, Val *const *roots);
void sweep_pull(Sweep *s);
/* f with its outputs, in canonical order, every replaced scan gone. */
Fn *replace_scans(Fn *f, const Replacements *replacements);

/* A rule says what an adjoint g of y gives to y's operands. */
typedef void Rule(Sweep *s, Val *y, Adjoint g);
#define UNARY(...)
#define BINARY(...)
#define TERNARY(...)
#define NONE rule_none
#define STRUCTURAL(Name, text, n, lists, number, derivative, meaning) Rule derivative;
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
#undef NONE

/* Is an adjoint of this value wanted? */
bool wanted(const Sweep *s, const Val *v);
/* Adds g to the adjoint of v; in the order of the calls, first plus second. */
void give(Sweep *s, Val *v, Adjoint g);
/* The adjoint as one value. */
Val *whole(Sweep *s, Adjoint g);
static inline Adjoint plain(Val *value) { return (Adjoint){.value = value}; }
/* Puts one more condition on an adjoint: it passes where `condition` is `passes`. */
Adjoint masked(Sweep *s, Adjoint g, Val *condition, bool passes);
/* value as an adjoint; a where with a zero branch is taken apart into value and mask. */
Adjoint unmask(Sweep *s, Val *value, Adjoint of);

#endif
