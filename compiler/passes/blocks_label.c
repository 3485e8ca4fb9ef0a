/* blocks_label.c: in: an operation and what is known of the axes of some of its values; out: the same of the others.
 *
 * A label says of each axis which axes of the region's first wide value it runs along.  Operations that compute each element of
 * those axes by itself keep them; a reduction consumes one. */
#include <string.h>

#include "blocks.h"

static int position(IntList list, int64_t item) {
	for (int i = 0; i < list.length; i++)
		if (list.data[i] == item) return i;
	return CONSUMED;
}

static bool is_pointwise(const Val *v) { return op_info[v->op].pointwise || v->op == OpCast; }

bool label_knows(const Val *v) {
	switch (v->op) {
	case OpReshape: case OpTranspose: case OpBroadcast: case OpContract: case OpGather: case OpScatterAdd: case OpReduceSum:
	case OpReduceMax: case OpReduceMin: case OpReduceProd: case OpArgMax: case OpConst: case OpIota:
		return true;
	default: return is_pointwise(v);
	}
}

int label_result_axis(const Val *v, int k, int i) {
	if (is_pointwise(v)) return i;
	switch (v->op) {
	case OpTranspose: return position(v->list[0], i);
	case OpBroadcast: return (int)v->list[0].data[i];
	case OpContract: return position(v->list[2], v->list[k].data[i]);
	case OpReduceSum: case OpReduceMax: case OpReduceMin: case OpReduceProd: case OpArgMax: {
		int axis = (int)v->list[0].data[0];
		return i == axis ? CONSUMED : i - (i > axis);
	}
	case OpGather: {
		int batch = (int)v->list[0].data[0];
		if (k == 1 || i < batch) return i;
		return i == batch ? CONSUMED : v->arg[1]->type.rank + i - batch - 1;
	}
	case OpScatterAdd: {
		int batch = (int)v->list[0].data[0], index = v->arg[1]->type.rank;
		if (i < batch) return i;
		return i < index ? CONSUMED : batch + 1 + i - index;
	}
	default: return UNKNOWN;
	}
}

static bool axis_equal(const Axis *a, const Axis *b) {
	return a->n == b->n && !memcmp(a->atom, b->atom, sizeof *a->atom * (size_t)a->n);
}

bool label_equal(const Label *a, const Label *b, int rank) {
	for (int i = 0; i < rank; i++)
		if (!axis_equal(&a->axis[i], &b->axis[i])) return false;
	return true;
}

bool label_has(const Label *l, int rank, int atom) {
	for (int i = 0; i < rank; i++)
		for (int k = 0; k < l->axis[i].n; k++)
			if (l->axis[i].atom[k] == atom) return true;
	return false;
}

bool label_is_wide(const Region *g, const Label *l, int rank) {
	for (int a = 0; a < g->natoms; a++)
		if (g->extent[a] > 1 && !label_has(l, rank, a)) return false;
	return true;
}

/* An axis cut into its atoms, or a piece of one that has none (atom -1). */
typedef struct Pieces { int64_t extent[MAX_RANK * MAX_RANK]; int atom[MAX_RANK * MAX_RANK], n; } Pieces;

static void cut(const Region *g, Type t, const Label *l, Pieces *p) {
	for (int i = 0; i < t.rank; i++) {
		if (l->axis[i].n == 0 && t.dim[i] > 1) p->extent[p->n] = t.dim[i], p->atom[p->n++] = -1;
		for (int k = 0; k < l->axis[i].n; k++)
			p->extent[p->n] = g->extent[l->axis[i].atom[k]], p->atom[p->n++] = l->axis[i].atom[k];
	}
}

/* The same elements under other dims.  Atoms stay whole, and no axis has both atoms and others. */
static bool reshaped(const Region *g, Type from, const Label *l, Type to, Label *out) {
	Pieces p = {.n = 0};
	int at = 0;
	cut(g, from, l, &p);
	memset(out, 0, sizeof *out);
	for (int i = 0; i < to.rank; i++) {
		Axis *axis = &out->axis[i];
		bool other = false;
		for (int64_t rest = to.dim[i]; rest > 1;) {
			if (at == p.n) return false;
			int64_t n = p.extent[at];
			if (p.atom[at] >= 0) {
				if (rest % n || axis->n == MAX_RANK) return false;
				axis->atom[axis->n++] = p.atom[at++];
			} else {
				other = true;
				if (n > rest && n % rest) return false;
				if (n > rest) p.extent[at] = n / rest, n = rest;
				else if (rest % n) return false;
				else at++;
			}
			rest /= n;
		}
		if (other && axis->n) return false;
	}
	return true;
}

bool label_below(const Region *g, const Val *v, const Label *own, int k, Label *out) {
	const Val *a = v->arg[k];
	memset(out, 0, sizeof *out);
	if (v->op == OpReshape) return reshaped(g, v->type, own, a->type, out);
	for (int i = 0; i < a->type.rank; i++) {
		int axis = label_result_axis(v, k, i);
		if (axis == UNKNOWN) return false;
		if (axis >= 0) out->axis[i] = own->axis[axis];
		else if (g->member[a->id]) out->axis[i] = g->label[a->id]->axis[i];
		if (axis >= 0 || g->member[a->id] || v->op != OpContract || !g->member[v->arg[!k]->id]) continue;
		int other = position(v->list[!k], v->list[k].data[i]);
		if (other >= 0) out->axis[i] = g->label[v->arg[!k]->id]->axis[other];
	}
	return true;
}

bool label_of_operand(const Region *g, const Val *v, int k, Label *out) {
	return label_below(g, v, g->label[v->id], k, out);
}

bool label_of_result(const Region *g, const Val *v, Label *out) {
	memset(out, 0, sizeof *out);
	for (int k = 0; k < v->nargs; k++) {
		const Val *a = v->arg[k];
		if (!g->member[a->id]) continue;
		const Label *l = g->label[a->id];
		if (v->op == OpReshape) return reshaped(g, a->type, l, v->type, out);
		for (int i = 0; i < a->type.rank; i++) {
			int axis = label_result_axis(v, k, i);
			if (axis == UNKNOWN) return false;
			if (axis < 0 || !l->axis[i].n) continue;
			if (out->axis[axis].n && !axis_equal(&out->axis[axis], &l->axis[i])) return false;
			out->axis[axis] = l->axis[i];
		}
	}
	return true;
}
