/* index.c: in: subscripts as affine forms over loop variables; out: other subscripts, or the code that computes them.
 * Guarantees: views cost nothing at run time as long as their subscripts stay affine; where they do not (a reshape
 * across padded or crossing dims), the subscript is computed by division, which is slow and right. */
#include "lower.h"

#include <string.h>

Affine index_constant(int64_t value) { return (Affine){.constant = value}; }

Affine index_variable(int level) {
	Affine i = {0};
	i.coefficient[level] = 1;
	return i;
}

bool index_equal(const Affine *a, const Affine *b) {
	return a->constant == b->constant && a->computed == b->computed &&
	       memcmp(a->coefficient, b->coefficient, sizeof a->coefficient) == 0;
}

int index_level(const Lower *k, const Affine *i) {
	int level = i->computed ? i->level : 0;
	for (int l = level + 1; l <= k->depth; l++)
		if (i->coefficient[l]) level = l;
	return level;
}

bool index_uses_lanes(const Lower *k, const Affine *i) {
	return (i->computed && emit_lanes(i->computed) > 1) || (k->lane_level >= 0 && i->coefficient[k->lane_level] != 0);
}

bool index_is_adjacent(const Lower *k, const Affine *i) {
	return k->lane_level >= 0 && i->coefficient[k->lane_level] == 1 && (!i->computed || emit_lanes(i->computed) == 1);
}

static Value widen(Lower *k, Value v, int lanes) { return emit_lanes(v) == lanes ? v : emit_splat(k->e, v, lanes); }

static Value computed_sum(Lower *k, Value a, int64_t scale, Value b) {
	Emit *e = k->e;
	int lanes = MAX(a ? emit_lanes(a) : 1, b ? emit_lanes(b) : 1);
	Value s = NULL;
	if (a) {
		s = widen(k, a, lanes);
		if (scale != 1) s = LLVMBuildMul(e->builder, s, widen(k, emit_index(e, scale), lanes), "");
	}
	if (b) s = s ? LLVMBuildAdd(e->builder, s, widen(k, b, lanes), "") : widen(k, b, lanes);
	return s;
}

Affine index_scale_add(const Lower *lower, Affine a, int64_t scale, const Affine *b) {
	Lower *k = (Lower *)lower;
	Affine r = {.constant = a.constant * scale + (b ? b->constant : 0)};
	for (int l = 0; l < MAX_LOOPS; l++) r.coefficient[l] = a.coefficient[l] * scale + (b ? b->coefficient[l] : 0);
	Value other = b ? b->computed : NULL, own = scale ? a.computed : NULL;
	if (!own && !other) return r;
	r.level = MAX(own ? a.level : 0, other ? b->level : 0);
	Outside out = lower_go_out(k, r.level);
	r.computed = computed_sum(k, own, scale, other);
	lower_come_back(k, out);
	return r;
}

LLVMBasicBlockRef lower_move_out(Lower *k, int level) {
	LLVMBasicBlockRef here = LLVMGetInsertBlock(k->e->builder);
	for (int l = level + 1; l <= k->depth; l++)
		if (k->level[l].loop) {
			LLVMPositionBuilderBefore(k->e->builder, LLVMGetBasicBlockTerminator(k->level[l].loop->before));
			return here;
		}
	return NULL;
}

void lower_move_back(Lower *k, LLVMBasicBlockRef here) {
	if (!here) return;
	LLVMValueRef end = LLVMGetBasicBlockTerminator(here);   /* there is one when `here` itself was moved out to */
	if (end) LLVMPositionBuilderBefore(k->e->builder, end);
	else LLVMPositionBuilderAtEnd(k->e->builder, here);
}

Outside lower_go_out(Lower *k, int level) {
	Outside from = {lower_move_out(k, level), k->depth, k->lane_level, k->tail};
	if (k->lane_level > level) k->lane_level = -1, k->tail = 0;
	k->depth = level;
	return from;
}

void lower_come_back(Lower *k, Outside from) {
	k->depth = from.depth;
	k->lane_level = from.lane_level;
	k->tail = from.tail;
	lower_move_back(k, from.here);
}

/* The scalar part: constant + products of the levels 1 .. level, each sum standing at its own level. */
static Value partial_value(Lower *k, const Affine *i, int level) {
	Emit *e = k->e;
	while (level > 0 && i->coefficient[level] == 0) level--;
	if (level == 0) return emit_index(e, i->constant);
	Affine key = {.constant = i->constant};
	memcpy(key.coefficient, i->coefficient, sizeof(int64_t) * (size_t)(level + 1));
	for (struct Partial *p = k->level[level].partial; p; p = p->next)
		if (index_equal(&p->index, &key)) return p->value;
	Value below = partial_value(k, i, level - 1);
	LLVMBasicBlockRef here = lower_move_out(k, level);
	Value v = emit_add(e, emit_mul(e, k->level[level].variable, emit_index(e, i->coefficient[level])), below);
	lower_move_back(k, here);
	struct Partial *p = NEW(e->arena, struct Partial);
	*p = (struct Partial){key, v, k->level[level].partial};
	k->level[level].partial = p;
	return v;
}

Value index_value(Lower *k, const Affine *i) {
	Emit *e = k->e;
	Value v = partial_value(k, i, k->depth);
	if (k->lane_level >= 0 && i->coefficient[k->lane_level]) {
		Value ramp = emit_ramp(e, e->index, k->lanes);
		int64_t scale = i->coefficient[k->lane_level];
		if (scale != 1) ramp = LLVMBuildMul(e->builder, ramp, emit_splat(e, emit_index(e, scale), k->lanes), "");
		v = LLVMBuildAdd(e->builder, emit_splat(e, v, k->lanes), ramp, "");
	}
	if (i->computed) v = computed_sum(k, i->computed, 1, v);
	return v;
}

Affine index_flatten(Lower *k, const At *at, Type type) {
	if (at->flat) return at->axis[0];
	Affine flat = index_constant(0);
	for (int i = 0; i < type.rank; i++) flat = index_scale_add(k, flat, type.dim[i], &at->axis[i]);
	return flat;
}

/* Largest and smallest value of the affine part over all turns of the loops. */
static void index_range(const Lower *k, const Affine *i, int64_t *low, int64_t *high) {
	*low = *high = i->constant;
	for (int l = 1; l <= k->depth; l++) {
		int64_t c = i->coefficient[l], top = k->level[l].extent - 1;
		if (c > 0) *high += c * top;
		else *low += c * top;
	}
}

/* quotient * n + rest == flat with 0 <= rest < n, by divisibility of the coefficients; false when that does not show it. */
static bool split_affine(const Lower *k, const Affine *flat, int64_t n, Affine *quotient, Affine *rest) {
	if (flat->computed) return false;
	*quotient = *rest = index_constant(0);
	for (int l = 1; l < MAX_LOOPS; l++) {
		int64_t c = flat->coefficient[l];
		if (c % n == 0) quotient->coefficient[l] = c / n;
		else rest->coefficient[l] = c;
	}
	int64_t q = flat->constant / n, r = flat->constant % n;
	if (r < 0) r += n, q--;
	quotient->constant = q, rest->constant = r;
	int64_t low, high;
	index_range(k, rest, &low, &high);
	return low >= 0 && high < n;
}

static void split_computed(Lower *k, const Affine *flat, int64_t n, Affine *quotient, Affine *rest) {
	Emit *e = k->e;
	int level = index_level(k, flat);
	Outside out = lower_go_out(k, level);
	Value v = index_value(k, flat), divisor = widen(k, emit_index(e, n), emit_lanes(v));
	*quotient = (Affine){.computed = LLVMBuildUDiv(e->builder, v, divisor, ""), .level = level};
	*rest = (Affine){.computed = LLVMBuildURem(e->builder, v, divisor, ""), .level = level};
	lower_come_back(k, out);
}

At index_split(Lower *k, const At *at, Type type) {
	if (!at->flat) return *at;
	At out = {0};
	Affine flat = at->axis[0];
	for (int i = type.rank - 1; i > 0; i--) {
		Affine quotient, rest;
		if (type.dim[i] == 1) quotient = flat, rest = index_constant(0);
		else if (!split_affine(k, &flat, type.dim[i], &quotient, &rest)) split_computed(k, &flat, type.dim[i], &quotient, &rest);
		out.axis[i] = rest;
		flat = quotient;
	}
	if (type.rank) out.axis[0] = flat;
	return out;
}

/* One group of axes of a reshape, from[i0 .. i1) to to[j0 .. j1).  `write` false: only asks whether the lanes stay affine. */
typedef struct Group { int i0, i1, j0, j1; } Group;

static bool reshape_group(Lower *k, const At *at, Type from, Type to, Group g, bool write, At *out) {
	Affine flat = index_constant(0);
	if (write) {
		for (int i = g.i0; i < g.i1; i++) flat = index_scale_add(k, flat, from.dim[i], &at->axis[i]);
	} else {   /* no code yet: the affine parts say enough */
		for (int i = g.i0; i < g.i1; i++) {
			Affine part = at->axis[i];
			if (part.computed && index_uses_lanes(k, &part)) return false;
			part.computed = NULL;
			flat = index_scale_add(k, flat, from.dim[i], &part);
		}
	}
	for (int j = g.j1 - 1; j >= g.j0; j--) {
		Affine quotient, rest;
		bool outermost = j == g.j0;
		if (to.dim[j] == 1) quotient = flat, rest = index_constant(0);
		else if (outermost) rest = flat;
		else if (!split_affine(k, &flat, to.dim[j], &quotient, &rest)) {
			if (!write) return !index_uses_lanes(k, &flat);
			split_computed(k, &flat, to.dim[j], &quotient, &rest);
		}
		if (write) out->axis[j] = rest;
		if (!outermost) flat = quotient;
	}
	return true;
}

/* The smallest groups of axes of both shapes that have the same number of elements, each flattened and split by itself: what has
 * to be computed in one group stays out of the others.  False when that would divide the lanes, or there is one group. */
static bool reshape_by_groups(Lower *k, const At *at, Type from, Type to, At *out) {
	*out = (At){0};
	for (int write = 0; write < 2; write++) {
		int groups = 0;
		for (int i = 0, j = 0; i < from.rank || j < to.rank; groups++) {
			Group g = {.i0 = i, .j0 = j};
			int64_t a = i < from.rank ? from.dim[i++] : 1, b = j < to.rank ? to.dim[j++] : 1;
			while (a != b) {
				if (a < b) a *= from.dim[i++];
				else b *= to.dim[j++];
			}
			g.i1 = i, g.j1 = j;
			if (!reshape_group(k, at, from, to, g, write, out)) return false;
		}
		if (groups < 2) return false;
	}
	return true;
}

At index_reshape(Lower *k, const At *at, Type from, Type to, bool may_be_flat) {
	At grouped;
	bool computed = false;
	for (int i = 0; i < from.rank && !at->flat; i++) computed = computed || at->axis[i].computed;
	if (!at->flat && (computed || !may_be_flat) && reshape_by_groups(k, at, from, to, &grouped)) return grouped;
	if (!at->flat) {
		/* leading axes that both shapes share keep their subscripts; the common case of merged or split trailing axes */
		int same = 0;
		while (same < from.rank && same < to.rank && from.dim[same] == to.dim[same]) same++;
		if (same == to.rank) {   /* only axes of length 1 remain in `from` */
			At out = {0};
			for (int i = 0; i < same; i++) out.axis[i] = at->axis[i];
			return out;
		}
	}
	At flat = {.flat = true};
	flat.axis[0] = index_flatten(k, at, from);
	return flat;
}
