/* simplify_sum.c: reductions and contractions.
 *
 * Note: sums of products.  sum over some axes of a * b, where one factor is repeated along an axis, would write the whole
 * product to memory only to add it up again; it becomes a contraction.  That changes the order of the sum, so it is part
 * of what a program means: derivatives and indexed definitions alike pass here before anything is computed, and the
 * interpreters see the contraction too.  A product of two factors with all axes stays a product and a sum. */
#include "simplify.h"

/* Extremum or product of equal elements, or of one. */
Val *simplify_reduce(Fn *f, Val *a, Op op, int axis) {
	if (op == OpReduceSum) return NULL; /* n * x rounds otherwise, and one -0 summed is +0 */
	bool extremum = op == OpReduceMax || op == OpReduceMin;
	if (extremum && a->op == OpBroadcast) {
		Type type = a->type;
		int64_t dims[MAX_RANK] = {0};
		for (int i = axis; i + 1 < type.rank; i++) type.dim[i] = type.dim[i + 1];
		type.rank--;
		for (int i = 0; i < a->list[0].length; i++) {
			if (a->list[0].data[i] == axis) return NULL;
			dims[i] = a->list[0].data[i] - (a->list[0].data[i] > axis);
		}
		return make_broadcast(f, a->arg[0], type, dims);
	}
	if (a->type.dim[axis] == 1) {
		Type type = a->type;
		for (int i = axis; i + 1 < type.rank; i++) type.dim[i] = type.dim[i + 1];
		type.rank--;
		Val *y = simplify_reshape(f, a, type);
		return y ? y : ir_reshape(f, a, type.rank, type.dim);
	}
	return NULL;
}

/* A factor of a product and which axis of the product each of its axes is. */
typedef struct Factor { Val *val; int64_t axis[MAX_RANK]; unsigned axes; } Factor;

static Factor factor_of(Val *v) {
	Factor x = {.val = v};
	if (v->op == OpBroadcast) {
		x.val = v->arg[0];
		for (int i = 0; i < v->list[0].length; i++) x.axis[i] = v->list[0].data[i];
	} else {
		for (int i = 0; i < v->type.rank; i++) x.axis[i] = i;
	}
	for (int i = 0; i < x.val->type.rank; i++) x.axes |= 1u << x.axis[i];
	return x;
}

/* `summed`: axes of the product, as bits. */
static Val *contract_of(Fn *f, Val *product, unsigned summed) {
	Factor a = factor_of(product->arg[0]), b = factor_of(product->arg[1]);
	unsigned all = (1u << product->type.rank) - 1;
	if ((a.axes & b.axes & summed) != summed || (a.axes | b.axes) != all || (a.axes == all && b.axes == all)) return NULL;
	int64_t kept[MAX_RANK];
	int n = 0;
	for (int i = 0; i < product->type.rank; i++)
		if (!(summed >> i & 1)) kept[n++] = i;
	/* What may carry the batch stands first in y, and must stand first here. */
	if (n && !(a.axes >> kept[0] & 1)) {
		Factor swap = a;
		a = b;
		b = swap;
	}
	Val *y = ir_contract(f, a.val, a.axis, b.val, b.axis, n, kept);
	Val *better = simplify_contract(f, y, y->arg[0], y->arg[1]);
	return better ? better : y;
}

Val *sum_to_contract(Fn *f, const Val *v, Val *a) {
	if (!dtype_is_float(v->type.dtype)) return NULL;
	/* The sums from the outside in; at most MAX_RANK, since each drops an axis. */
	int64_t axes[MAX_RANK];
	int levels = 0;
	axes[levels++] = v->list[0].data[0];
	for (; a->op == OpReduceSum; a = a->arg[0]) axes[levels++] = a->list[0].data[0];
	if (a->op != OpMul) return NULL;
	/* Numbers of axes as the product has them. */
	unsigned summed[MAX_RANK] = {0};
	int64_t left[MAX_RANK];
	int rank = a->type.rank;
	for (int i = 0; i < rank; i++) left[i] = i;
	for (int k = levels - 1; k >= 0; k--) {
		summed[k] = (k + 1 < levels ? summed[k + 1] : 0) | 1u << left[axes[k]];
		rank--;
		for (int64_t i = axes[k]; i < rank; i++) left[i] = left[i + 1];
	}
	/* As many of the sums as possible, innermost first; the rest stay sums. */
	for (int k = 0; k < levels; k++) {
		Val *y = contract_of(f, a, summed[k]);
		if (!y) continue;
		while (k-- > 0) y = ir_reduce(f, OpReduceSum, y, 1, &axes[k]);
		return y;
	}
	return NULL;
}

/* ---- contractions of views ---- */

/* Labels of transpose(x) for x.  The order of summed labels in a is the order of the sum and must not change. */
static Val *without_transpose(Fn *f, const Val *v, Val *a, Val *b, int which) {
	Val *view = which ? b : a, *x = view->arg[0];
	const int64_t *labels = v->list[which].data;
	int64_t inner[MAX_RANK], last = -1;
	for (int i = 0; i < x->type.rank; i++) inner[view->list[0].data[i]] = labels[i];
	for (int i = 0; !which && i < x->type.rank; i++) {
		if (label_at(v->list[2].data, v->type.rank, inner[i]) >= 0) continue;
		if (inner[i] < last) return NULL; /* a's labels ascend */
		last = inner[i];
	}
	return which ? ir_contract(f, a, v->list[0].data, x, inner, v->type.rank, v->list[2].data)
	             : ir_contract(f, x, inner, b, v->list[1].data, v->type.rank, v->list[2].data);
}

/* Labels of broadcast(x) for x: those it is repeated along must be kept and the other's, and whether b has labels of its
 * own (lanes or chains) must not change. */
static Val *without_broadcast(Fn *f, const Val *v, Val *a, Val *b, int which) {
	Val *view = which ? b : a, *other = which ? a : b, *x = view->arg[0];
	const int64_t *labels = v->list[which].data, *others = v->list[!which].data;
	int64_t inner[MAX_RANK], before = 1, after = 1;
	for (int i = 0; i < x->type.rank; i++) inner[i] = labels[view->list[0].data[i]];
	for (int i = 0; i < view->type.rank; i++) {
		if (label_at(inner, x->type.rank, labels[i]) >= 0) continue;
		if (label_at(others, other->type.rank, labels[i]) < 0 || label_at(v->list[2].data, v->type.rank, labels[i]) < 0)
			return NULL;
	}
	for (int i = 0; i < b->type.rank; i++) {
		int64_t label = v->list[1].data[i], n = b->type.dim[i];
		if (label_at(v->list[0].data, a->type.rank, label) < 0) before *= n;
		if (!which && label_at(inner, x->type.rank, label) < 0) after *= n;
	}
	if (!which && (before == 1) != (after == 1)) return NULL;
	return which ? ir_contract(f, a, v->list[0].data, x, inner, v->type.rank, v->list[2].data)
	             : ir_contract(f, x, inner, b, v->list[1].data, v->type.rank, v->list[2].data);
}

Val *simplify_contract(Fn *f, const Val *v, Val *a, Val *b) {
	for (int which = 0; which < 2; which++) {
		Val *view = which ? b : a, *y = NULL;
		if (view->op == OpTranspose) y = without_transpose(f, v, a, b, which);
		if (view->op == OpBroadcast) y = without_broadcast(f, v, a, b, which);
		if (!y) continue;
		Val *better = simplify_contract(f, y, y->arg[0], y->arg[1]);
		return better ? better : y;
	}
	return NULL;
}
