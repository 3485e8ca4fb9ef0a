/* blocks.c: in: a Fn after all other passes; out: one in which a large value between small ones is made and used up block by
 * block.
 *
 * A product much larger than what it is made of (the scores of attention, of every place with every other; the logits of a large
 * vocabulary) begins a *region*: the values of its size that are computed of it or together with it element by element, and what
 * small values stand between those (the largest of each row and the sum of its exponentials).  The region becomes a scan over
 * blocks of rows, in scans over the axes along which nothing is summed: a large value exists for one block only.  Small
 * results are emitted, those that sum over the rows are carries.  What is needed again after values outside have been computed
 * of the results (by a derivative) is computed again, in a second scan, of the same operands and of the small values that the
 * first scan has given: a region has *stages*.
 * Guarantees: the same values; sums over rows are added block by block.  Regions with anything that the pass does not know stay
 * as they are. */
#include "blocks.h"

#include <string.h>

enum { LARGEST_FREE = 256 };   /* operations of a function of the index, each reader counting its own */

static void add(Region *g, Val *v, Member member, const Label *label) {
	g->member[v->id] = member;
	g->label[v->id] = arena_copy(g->f->arena, label, sizeof *label);
}

/* ---- wide values ---- */

static bool same_elements(const Val *v) {
	return op_info[v->op].pointwise || v->op == OpCast || v->op == OpTranspose || v->op == OpReshape;
}

/* The wide values that `v` is computed of, and that are computed of it element by element. */
static bool grow_from(Region *g, const Val *v, ValList *work) {
	Label label;
	if (!label_knows(v)) return false;
	for (int k = 0; k < v->nargs; k++) {
		Val *a = v->arg[k];
		if (g->free[a->id] || a->op == OpInput) continue;
		if (!label_of_operand(g, v, k, &label)) return false;
		if (!label_is_wide(g, &label, a->type.rank)) continue;
		if (g->member[a->id] && !label_equal(&label, g->label[a->id], a->type.rank)) return false;
		if (g->member[a->id]) continue;
		add(g, a, WIDE, &label);
		vec_push(g->f->arena, work, a);
	}
	for (int i = g->first_user[v->id]; i < g->first_user[v->id + 1]; i++) {
		Val *u = g->f->vals.data[g->users[i]];
		if (g->member[u->id] || !same_elements(u)) continue;
		if (!label_of_result(g, u, &label)) return false;
		add(g, u, WIDE, &label);
		vec_push(g->f->arena, work, u);
	}
	return true;
}

static bool grow(Region *g, Val *seed) {
	Label label = {0};
	ValList work = {0};
	g->natoms = seed->type.rank;
	for (int i = 0; i < g->natoms; i++) {
		g->extent[i] = seed->type.dim[i];
		if (g->extent[i] > 1) label.axis[i] = (Axis){1, {i}};
	}
	add(g, seed, WIDE, &label);
	vec_push(g->f->arena, &work, seed);
	while (work.length)
		if (!grow_from(g, work.data[--work.length], &work)) return false;
	return true;
}

/* ---- what stands between them ---- */

/* By id: is it computed of a wide value, however indirectly? */
static bool *find_dependent(const Region *g) {
	bool *depends = NEW_ARRAY(g->f->arena, bool, g->f->vals.length + 1);
	for (int i = 0; i < g->f->vals.length; i++) {
		const Val *v = g->f->vals.data[i];
		for (int k = 0; k < v->nargs; k++) depends[i] = depends[i] || depends[v->arg[k]->id] || g->member[v->arg[k]->id] == WIDE;
	}
	return depends;
}

/* What a narrow value is computed of, as far as that depends on wide values; false when it cannot be made row by row. */
static bool absorb_operands(Region *g, const bool *depends, const Val *v, ValList *added) {
	bool wide = false;
	if (!label_knows(v)) return false;
	for (int k = 0; k < v->nargs; k++) {
		Val *a = v->arg[k];
		Label label;
		wide = wide || g->member[a->id] == WIDE;
		if (g->free[a->id] || (!depends[a->id] && g->member[a->id] != WIDE)) continue;
		if (a->op == OpInput || !label_of_operand(g, v, k, &label)) return false;
		if (!g->member[a->id]) {
			add(g, a, NARROW, &label);
			vec_push(g->f->arena, added, a);
		} else if (!label_equal(&label, g->label[a->id], a->type.rank)) {
			return false;
		}
	}
	return wide || v->op != OpContract;
}

static void absorb(Region *g, const bool *depends, Val *v, const Label *label) {
	ValList added = {0};
	add(g, v, NARROW, label);
	vec_push(g->f->arena, &added, v);
	bool good = true;
	for (int i = 0; i < added.length && good; i++) good = absorb_operands(g, depends, added.data[i], &added);
	for (int i = 0; i < added.length && !good; i++) g->member[added.data[i]->id] = OUTSIDE;
}

static void find_narrow(Region *g) {
	const bool *depends = find_dependent(g);
	for (int i = g->f->vals.length - 1; i >= 0; i--) {
		const Val *v = g->f->vals.data[i];
		if (g->member[i] != WIDE) continue;
		for (int k = 0; k < v->nargs; k++) {
			Val *a = v->arg[k];
			Label label;
			if (g->free[a->id] || g->member[a->id] || !depends[a->id] || !label_of_operand(g, v, k, &label)) continue;
			absorb(g, depends, a, &label);
		}
	}
}

/* ---- results ---- */

static void bind_axis(Region *g, const Axis *axis) {
	for (int i = 0; i < axis->n; i++) g->bound[axis->atom[i]] = true;
}

/* Axes that `v` reads along. */
static void bind_consumed(Region *g, const Val *v) {
	for (int k = 0; k < v->nargs; k++) {
		const Val *a = v->arg[k];
		for (int i = 0; i < a->type.rank && g->member[a->id]; i++)
			if (v->op != OpReshape && label_result_axis(v, k, i) == CONSUMED) bind_axis(g, &g->label[a->id]->axis[i]);
	}
	if (v->op == OpScatterAdd) bind_axis(g, &g->label[v->id]->axis[v->list[0].data[0]]);
}

static bool may_be_result(const Val *v) {
	switch (v->op) {
	case OpContract: case OpGather: case OpReduceSum: case OpReduceMax: case OpReduceMin: case OpReduceProd:
	case OpArgMax:
		return true;
	default: return false;
	}
}

/* Whatever reads a wide value is part of the region or one of its results. */
static bool find_results(Region *g, int64_t wide) {
	int n = g->f->vals.length;
	for (int i = 0; i < n; i++) {
		Member member = g->member[i];
		if (member == WIDE || member == NARROW) bind_consumed(g, g->f->vals.data[i]);
		if (member != WIDE && member != NARROW) continue;
		for (int k = g->first_user[i]; k < g->first_user[i + 1]; k++) {
			Val *u = g->f->vals.data[g->users[k]];
			Label label;
			if (g->member[u->id]) continue;
			if (member == NARROW) {
				g->wanted[i] = true;
				continue;
			}
			if (!may_be_result(u) || !label_of_result(g, u, &label) || label_is_wide(g, &label, u->type.rank)) return false;
			if (type_count(u->type) > wide / 2) return false;
			add(g, u, RESULT, &label);
			g->wanted[u->id] = true;
			if (u->op != OpContract && u->op != OpReduceSum) bind_consumed(g, u);
		}
	}
	for (int i = 0; i < g->f->outputs.length; i++) {
		int id = g->f->outputs.data[i].val->id;
		if (g->member[id] == WIDE) return false;
		g->wanted[id] = g->wanted[id] || g->member[id] == NARROW;
	}
	return true;
}

static void find_stages(Region *g) {
	for (int i = 0; i < g->f->vals.length; i++) {
		const Val *v = g->f->vals.data[i];
		for (int k = 0; k < v->nargs; k++) {
			Member member = g->member[v->arg[k]->id];
			bool later = g->member[i] ? member == RESULT : member != OUTSIDE;
			g->stage[i] = MAX(g->stage[i], g->stage[v->arg[k]->id] + later);
		}
		g->stages = MAX(g->stages, g->stage[i] + 1);
	}
}

/* ---- regions ---- */

static bool is_element_wise(const Val *v) { return op_info[v->op].pointwise || v->op == OpBroadcast || v->op == OpCast; }

/* By id: the few numbers that random ones are drawn by, computed of inputs alone. */
static bool *find_given(const Fn *f) {
	bool *given = NEW_ARRAY(f->arena, bool, f->vals.length + 1);
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		given[i] = type_count(v->type) <= 2 && (v->nargs == 0 || is_element_wise(v));
		for (int k = 0; k < v->nargs; k++) given[i] = given[i] && given[v->arg[k]->id];
	}
	return given;
}

/* Random numbers are functions of the index, too: of the numbers of their elements. */
static bool *find_free(const Fn *f) {
	bool *free = NEW_ARRAY(f->arena, bool, f->vals.length + 1), *given = find_given(f);
	int64_t *size = NEW_ARRAY(f->arena, int64_t, f->vals.length + 1);
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		size[i] = 1;
		if (v->op == OpRandom) {
			free[i] = v->nargs == 3 && v->type.dtype == DTYPE_F32 && type_count(v->type) <= INT32_MAX && given[v->arg[0]->id] &&
			          given[v->arg[1]->id] && given[v->arg[2]->id];
			continue;
		}
		free[i] = v->op == OpConst || v->op == OpIota || is_element_wise(v);
		for (int k = 0; k < v->nargs; k++) {
			free[i] = free[i] && free[v->arg[k]->id];
			size[i] = MIN(LARGEST_FREE + 1, size[i] + size[v->arg[k]->id]);
		}
		free[i] = free[i] && size[i] <= LARGEST_FREE;
	}
	return free;
}

static Region *new_region(Fn *f, BlockLimits limits, const bool *free, const int *first_user, const int *users) {
	int n = f->vals.length + 1;
	Region *g = NEW(f->arena, Region);
	*g = (Region){.f = f, .limits = limits, .first_user = first_user, .users = users};
	g->free = arena_copy(f->arena, free, sizeof *free * (size_t)n);
	g->member = NEW_ARRAY(f->arena, Member, n);
	g->label = NEW_ARRAY(f->arena, Label *, n);
	g->wanted = NEW_ARRAY(f->arena, bool, n);
	g->stage = NEW_ARRAY(f->arena, int, n);
	return g;
}

static bool is_seed(const Val *v, BlockLimits limits) {
	int64_t n = type_count(v->type);
	if (v->op != OpContract || n < limits.wide) return false;
	return n > limits.growth * MAX(type_count(v->arg[0]->type), type_count(v->arg[1]->type));
}

static Region *find_region(Fn *f, Val *seed, BlockLimits limits, const bool *free, const int *first_user, const int *users) {
	Region *g = new_region(f, limits, free, first_user, users);
	if (!grow(g, seed)) return NULL;
	find_narrow(g);
	if (!find_results(g, type_count(seed->type))) return NULL;
	find_stages(g);
	for (int stage = g->stages - 1; stage >= 0; stage--)   /* a later one may want more of those before */
		if (!blocks_may_loop(g, stage)) return NULL;
	return g;
}

/* Values in the order of their stages: those outside, then the loop. */
static Fn *carry_out(const Region *g) {
	Fn *f = g->f;
	Rebuild r = rebuild_start(f);
	for (int stage = 0; stage < g->stages; stage++) {
		for (int i = 0; i < f->vals.length; i++)
			if (g->member[i] == OUTSIDE && g->stage[i] == stage) r.map[i] = rebuild_copy(&r, f->vals.data[i]);
		blocks_loop(g, stage, &r);
	}
	return rebuild_finish(&r);
}

/* users[first[id] .. first[id + 1]): who reads it. */
static int *list_users(const Fn *f, int **first) {
	int n = f->vals.length, total = 0;
	int *start = NEW_ARRAY(f->arena, int, n + 2);
	for (int i = 0; i < n; i++)
		for (int k = 0; k < f->vals.data[i]->nargs; k++) start[f->vals.data[i]->arg[k]->id + 1]++, total++;
	for (int i = 0; i < n; i++) start[i + 1] += start[i];
	int *users = NEW_ARRAY(f->arena, int, total + 1), *at = arena_copy(f->arena, start, sizeof *start * (size_t)(n + 1));
	for (int i = 0; i < n; i++)
		for (int k = 0; k < f->vals.data[i]->nargs; k++) users[at[f->vals.data[i]->arg[k]->id]++] = i;
	*first = start;
	return users;
}

Fn *blocks_within(Fn *f, BlockLimits limits) {
	for (bool changed = true; changed;) {
		const bool *free = NULL;
		int *first_user = NULL, *users = NULL;
		changed = false;
		for (int i = 0; i < f->vals.length && !changed; i++) {
			if (!is_seed(f->vals.data[i], limits)) continue;
			if (!free) free = find_free(f), users = list_users(f, &first_user);
			const Region *g = find_region(f, f->vals.data[i], limits, free, first_user, users);
			if (!g) continue;
			f = carry_out(g);
			changed = true;
		}
	}
	return f;
}

Fn *pass_blocks(Fn *f) { return blocks_within(f, (BlockLimits){.wide = 1 << 20, .growth = 4, .block = 1 << 16, .rows = 64}); }
