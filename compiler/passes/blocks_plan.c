/* blocks_plan.c: in: a region and one of its stages; out: which values the stage's loop computes, over which atoms it runs, and
 * in blocks of how many rows.
 *
 * Atoms that nobody sums over are loops of their own, one index at a time, whose turns need nothing from each other.  The rows
 * are those that are summed over, all of them together where every value has all or none; else the last atom. */
#include <string.h>

#include "blocks_loop.h"

static bool computes(const Region *g, const Val *v, int stage) {
	switch (g->member[v->id]) {
	case WIDE: return true;
	case NARROW: return g->stage[v->id] == stage;
	default: return false;
	}
}

/* By id: members that the stage computes.  What it reads of earlier ones is wanted there. */
static bool *find_needed(const Region *g, int stage, BlockPlan *p) {
	const Fn *f = g->f;
	bool *needed = NEW_ARRAY(f->arena, bool, f->vals.length + 1);
	for (int i = f->vals.length - 1; i >= 0; i--) {
		Val *v = f->vals.data[i];
		if (g->member[i] == OUTSIDE) continue;
		bool result = g->wanted[i] && g->stage[i] == stage && g->member[i] != WIDE;
		if (result) vec_push(f->arena, &p->results, v);
		needed[i] = needed[i] || result;
		for (int k = 0; k < v->nargs && needed[i]; k++) {
			const Val *a = v->arg[k];
			if (computes(g, a, stage)) needed[a->id] = true;
			else if (g->member[a->id] == NARROW) g->wanted[a->id] = true;
		}
	}
	return needed;
}

static int atoms_of(const Label *l, int rank, const bool *atoms, int natoms) {
	int n = 0;
	for (int a = 0; a < natoms; a++) n += atoms[a] && label_has(l, rank, a);
	return n;
}

/* Has every value that the stage computes or reads all of these atoms, or none? */
static bool all_or_none(const Region *g, const BlockPlan *p, const bool *atoms) {
	int all = 0;
	for (int a = 0; a < g->natoms; a++) all += atoms[a];
	for (int i = 0; i < g->f->vals.length; i++) {
		const Val *v = g->f->vals.data[i];
		Label label;
		if (!p->needed[i]) continue;
		int n = atoms_of(g->label[i], v->type.rank, atoms, g->natoms);
		if (n && n != all) return false;
		for (int k = 0; k < v->nargs && v->op == OpContract; k++) {
			if (!label_of_operand(g, v, k, &label)) return false;
			n = atoms_of(&label, v->arg[k]->type.rank, atoms, g->natoms);
			if (n && n != all) return false;
		}
	}
	return true;
}

static void choose_atoms(const Region *g, BlockPlan *p) {
	int last_summed = -1, last = -1;
	bool summed[MAX_RANK] = {false};
	for (int a = 0; a < g->natoms; a++) {
		if (g->bound[a] || g->extent[a] == 1) continue;
		last = a;
		for (int i = 0; i < p->results.length; i++)
			summed[a] = summed[a] || !label_has(g->label[p->results.data[i]->id], p->results.data[i]->type.rank, a);
		if (summed[a]) last_summed = a;
	}
	if (last < 0) return;
	p->row[last_summed >= 0 ? last_summed : last] = true;
	for (int a = last_summed - 1; a >= 0; a--) {
		if (!summed[a]) continue;
		p->row[a] = true;
		if (!all_or_none(g, p, p->row)) p->row[a] = false;
	}
	for (int a = 0; a < g->natoms; a++) p->parallel[a] = !g->bound[a] && g->extent[a] > 1 && !summed[a] && !p->row[a];
	p->sums = last_summed >= 0;
}

static int64_t extent_of(const Region *g, const bool *atoms) {
	int64_t n = 1;
	for (int a = 0; a < g->natoms; a++) n *= atoms[a] ? g->extent[a] : 1;
	return n;
}

static int64_t block_rows(const Region *g, const BlockPlan *p, int64_t nparallel) {
	int64_t width = 1, least = g->limits.rows * (p->sums && nparallel == 1 ? 2 : 1);
	for (int i = 0; i < g->f->vals.length; i++)
		if (p->needed[i] && g->member[i] == WIDE) width = MAX(width, type_count(g->f->vals.data[i]->type) / nparallel / p->rows);
	int64_t most = MAX(least, g->limits.block / width);
	if (p->rows <= most + most / 2) return p->rows;
	for (int64_t n = most; n > most / 2; n--)
		if (p->rows % n == 0) return n;
	return most;
}

/* Each axis runs over atoms of one kind: loops of their own, rows, others. */
static bool axes_are_plain(const BlockPlan *p, const Label *l, int rank) {
	for (int i = 0; i < rank; i++) {
		const Axis *axis = &l->axis[i];
		for (int k = 1; k < axis->n; k++)
			if (kind_of(p, axis->atom[k]) != kind_of(p, axis->atom[0])) return false;
	}
	return true;
}

static bool can_build(const Region *g, const BlockPlan *p) {
	for (int i = 0; i < g->f->vals.length; i++) {
		const Val *v = g->f->vals.data[i];
		Label label;
		if (!p->needed[i]) continue;
		if (!axes_are_plain(p, g->label[i], v->type.rank)) return false;
		for (int k = 0; k < v->nargs; k++) {
			if (!label_of_operand(g, v, k, &label) || !axes_are_plain(p, &label, v->arg[k]->type.rank)) return false;
			if (v->arg[k]->type.rank + g->natoms > MAX_RANK + 1) return false;
		}
	}
	for (int i = 0; i < p->results.length; i++) {
		const Val *v = p->results.data[i];
		const Label *l = g->label[v->id];
		int rows = atoms_of(l, v->type.rank, p->row, g->natoms), all = 0;
		for (int a = 0; a < g->natoms; a++) {
			if (p->parallel[a] && !label_has(l, v->type.rank, a)) return false;
			all += p->row[a];
		}
		if (rows && rows != all) return false;
		if (!rows && v->op != OpContract && v->op != OpReduceSum) return false;
		if (v->type.rank + 2 + g->natoms > MAX_RANK + 2) return false;
	}
	return true;
}

bool block_plan(const Region *g, int stage, BlockPlan *p) {
	*p = (BlockPlan){.stage = stage, .skip = -1};
	p->needed = find_needed(g, stage, p);
	if (!p->results.length) return true;
	choose_atoms(g, p);
	p->rows = extent_of(g, p->row);
	p->block = block_rows(g, p, extent_of(g, p->parallel));
	if ((extent_of(g, p->parallel) == 1 && p->block == p->rows) || !can_build(g, p)) return false;
	block_windows(g, p);
	return true;
}

bool blocks_may_loop(const Region *g, int stage) {
	BlockPlan plan;
	return block_plan(g, stage, &plan);
}
