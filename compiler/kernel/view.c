/* view.c: which stored values a computation reads, and how.
 *
 * In: a KernelProgram whose buffer_of says what is stored.  Out: strided views and leaf lists.
 * Guarantees: nothing is changed. */
#include "kernel.h"

#include <string.h>

void buffer_strides(const Buffer *b, int64_t stride[MAX_RANK]) {
	int64_t step = 1;
	for (int i = b->type.rank - 1; i >= 0; i--) {
		stride[i] = b->strided ? b->stride[i] : step;
		step *= i == b->type.rank - 1 ? b->row : b->type.dim[i];
	}
}

bool reshape_strides(Type from, const int64_t *stride, Type to, int64_t *out) {
	int i = 0, j = 0;
	if (type_count(from) == 0) return false;
	while (i < from.rank || j < to.rank) {
		/* the smallest groups of axes of both shapes with the same number of elements */
		int i0 = i, j0 = j;
		int64_t a = i < from.rank ? from.dim[i++] : 1, b = j < to.rank ? to.dim[j++] : 1;
		while (a != b) {
			if (a < b) a *= from.dim[i++];
			else b *= to.dim[j++];
		}
		/* the group's axes must be contiguous among themselves */
		int64_t last = 0;
		bool first = true;
		for (int k = i - 1; k >= i0; k--) {
			if (from.dim[k] == 1) continue;
			if (first) last = stride[k], first = false;
			else {
				int inner = k + 1;
				while (from.dim[inner] == 1) inner++;
				if (stride[k] != stride[inner] * from.dim[inner]) return false;
			}
		}
		for (int k = j - 1; k >= j0; k--) {
			out[k] = last;
			last *= to.dim[k];
		}
	}
	return true;
}

/* The same; what is copied in pieces lies row after row. */
static bool resolve(const KernelProgram *kp, const Val *v, bool pieces, View *out) {
	int buffer = kp->buffer_of[v->id];
	if (buffer >= 0) {
		*out = (View){.buffer = buffer};
		buffer_strides(&kp->buffers.data[buffer], out->stride);
		return true;
	}
	View in;
	if (pieces && kp->in_pieces[v->id]) {
		if (!resolve(kp, v->op == OpPad ? v->arg[0] : v, false, &in)) return false;
		*out = (View){.buffer = in.buffer, .piece = v};
		buffer_strides(&(Buffer){.type = v->type, .row = last_dim(v->type)}, out->stride);
		return true;
	}
	if (v->op != OpReshape && !is_strided_view(v)) return false;
	if (!resolve(kp, v->arg[0], pieces, &in)) return false;
	*out = in;
	memset(out->stride, 0, sizeof out->stride);
	switch (v->op) {
	case OpAgain: memcpy(out->stride, in.stride, sizeof out->stride); return true;
	case OpTranspose:
		for (int i = 0; i < v->type.rank; i++) out->stride[i] = in.stride[v->list[0].data[i]];
		return true;
	case OpBroadcast:
		for (int i = 0; i < v->list[0].length; i++) out->stride[v->list[0].data[i]] = in.stride[i];
		return true;
	case OpSlice:
		for (int i = 0; i < v->type.rank; i++) {
			out->offset += v->list[0].data[i] * in.stride[i];
			out->stride[i] = in.stride[i] * v->list[1].data[i];
		}
		return true;
	case OpFlip:
		memcpy(out->stride, in.stride, sizeof out->stride);
		for (int i = 0; i < v->list[0].length; i++) {
			int64_t axis = v->list[0].data[i];
			out->offset += (v->type.dim[axis] - 1) * in.stride[axis];
			out->stride[axis] = -in.stride[axis];
		}
		return true;
	case OpWindow: {
		int axis = (int)v->list[0].data[0];
		for (int i = 0; i < v->type.rank; i++) out->stride[i] = in.stride[i > axis ? i - 1 : i];
		out->stride[axis] *= v->list[1].data[0];
		out->stride[axis + 1] *= v->list[2].data[0];
		return true;
	}
	default: return reshape_strides(v->arg[0]->type, in.stride, v->type, out->stride);
	}
}

bool view_resolve(const KernelProgram *kp, const Val *v, View *out) { return resolve(kp, v, false, out); }

View piece_source(const KernelProgram *kp, const Val *piece) {
	View source;
	if (!view_resolve(kp, piece->op == OpPad ? piece->arg[0] : piece, &source)) die("what is copied in pieces is not stored");
	return source;
}

Val *padded_below(const KernelProgram *kp, Val *v) {
	while (kp->buffer_of[v->id] < 0 && is_view(v)) v = v->arg[0];
	return kp->buffer_of[v->id] < 0 && v->op == OpPad ? v : NULL;
}

bool is_border_of_zeros(const Val *pad) {
	for (int i = 0; i < pad->type.rank; i++) {
		int64_t lo = pad->list[0].data[i], hi = pad->list[1].data[i];
		if (lo < 0 || hi < 0 || (i == 0 && lo + hi + pad->list[2].data[i])) return false;
	}
	return pad->number == 0 && pad->type.rank > 1;
}

bool is_widening(const Val *v) {
	if (v->op != OpCast || v->type.dtype != DTYPE_F32) return false;
	switch (v->arg[0]->type.dtype) {
	case DTYPE_F16: case DTYPE_BF16: case DTYPE_I8: case DTYPE_U8: return true;
	default: return false;
	}
}

Val *operand_base(const KernelProgram *kp, Val *v) {
	if (!is_widening(v) || kp->buffer_of[v->id] >= 0) return v;
	Val *from = v->arg[0];
	if (from->op != OpCast || from->arg[0]->type.dtype != DTYPE_F32 || kp->buffer_of[from->id] >= 0) return from;
	return view_base(from->arg[0])->op == OpInput ? from->arg[0] : from;
}

bool operand_resolve(const KernelProgram *kp, Val *v, View *out) {
	Val *base = operand_base(kp, v);
	if (!resolve(kp, base, true, out)) return false;
	if (base != v) out->through = v->arg[0]->type.dtype;
	return true;
}

/* Where axis `axis` of v comes from in operand `k`: the operand's axis that carries the same index, or -1. */
static int axis_below(const Val *v, int k, int axis) {
	if (axis < 0) return -1;
	const Val *a = v->arg[k];
	switch (v->op) {
	case OpTranspose: return (int)v->list[0].data[axis];
	case OpBroadcast:
		for (int i = 0; i < v->list[0].length; i++)
			if (v->list[0].data[i] == axis) return i;
		return -1;
	case OpReshape: {
		int64_t before = 1, below = 1;
		for (int i = 0; i < axis; i++) before *= v->type.dim[i];
		for (int i = 0; i < a->type.rank; below *= a->type.dim[i++])
			if (below == before && a->type.dim[i] == v->type.dim[axis]) return i;
		return -1;
	}
	case OpSlice: return v->list[0].data[axis] == 0 && v->list[1].data[axis] == 1 ? axis : -1;
	case OpPad: return v->list[0].data[axis] == 0 && v->list[2].data[axis] == 0 ? axis : -1;
	case OpFlip:
		for (int i = 0; i < v->list[0].length; i++)
			if (v->list[0].data[i] == axis) return -1;
		return axis;
	case OpWindow:
		if (axis == v->list[0].data[0] || axis == v->list[0].data[0] + 1) return -1;
		return axis > v->list[0].data[0] ? axis - 1 : axis;
	case OpConcat: return axis == v->list[0].data[0] ? -1 : axis;
	case OpReduceSum: case OpReduceMax: case OpReduceMin: case OpReduceProd: case OpArgMax:
		return axis >= v->list[0].data[0] ? axis + 1 : axis;
	case OpContract: {
		int64_t label = v->list[2].data[axis];
		for (int i = 0; i < v->list[k].length; i++)
			if (v->list[k].data[i] == label) return i;
		return -1;
	}
	case OpFold:
		if (axis == v->list[0].data[0]) return -1;
		return axis > v->list[0].data[0] ? axis + 1 : axis;
	case OpCumSum: case OpArgSort: case OpBuckets: return axis == sequence_axis(v) ? -1 : axis;
	case OpSumBuckets: return axis < v->arg[1]->type.rank - 1 ? axis : -1;
	case OpGather: return axis < v->list[0].data[0] ? axis : k == 1 && axis < v->arg[1]->type.rank ? axis : -1;
	case OpRandom: return k == 3 ? axis : -1;
	default: return is_pointwise(v) ? axis : -1;
	}
}

typedef struct Walk {
	const KernelProgram *kp;
	LeafList *out;
	int rank;          /* of the rows' domain, or -1 */
	bool order;        /* what has to run before counts as well */
	VEC(int) marked;   /* whose marks in kp->walked are to be cleared */
} Walk;

/* How much of the index a path keeps. */
typedef enum Kept { NOTHING, ITS_ROW, ALL } Kept;

/* Has this inline value been met at the same index before?  A chain like x = a x + b x has 2^n paths, n values. */
static bool walked_before(Walk *w, const Val *v, Kept kept, int axis) {
	uint32_t *marks = &w->kp->walked[v->id], bit = 1u << (3 * (axis + 1) + (int)kept);
	if (*marks & bit) return true;
	if (!*marks) vec_push(w->kp->arena, &w->marked, v->id);
	*marks |= bit;
	return false;
}

static void add_leaf(Walk *w, Val *v, Kept kept, int axis) {
	bool identity = kept == ALL, row = kept != NOTHING;
	for (int i = 0; i < w->out->length; i++)
		if (w->out->data[i].val == v) {
			Leaf *l = &w->out->data[i];
			l->identity = l->identity && identity;
			l->row = l->row && row;
			if (l->axis != axis) l->axis = -1;
			return;
		}
	vec_push(w->kp->arena, w->out, ((Leaf){v, identity, row, axis}));
}

/* What is kept of the index below `v`: a reduction leads from a value of the row to the row, a broadcast from a wide value to it.
 */
static Kept kept_below(const Walk *w, const Val *v, Kept kept) {
	if (is_pointwise(v)) return kept;
	if (kept == NOTHING || w->rank < 0) return NOTHING;
	if (is_reduce(v)) return v->type.rank == w->rank && v->list[0].data[0] == w->rank ? ITS_ROW : NOTHING;
	if (v->op != OpBroadcast || v->type.rank != w->rank + 1 || v->arg[0]->type.rank != w->rank) return NOTHING;
	for (int i = 0; i < w->rank; i++)
		if (v->list[0].data[i] != i) return NOTHING;
	return ITS_ROW;
}

static void walk(Walk *w, Val *v, Kept kept, int axis) {
	if (w->kp->buffer_of[v->id] >= 0) {
		add_leaf(w, v, kept, axis);
		return;
	}
	w->out->index = w->out->index || v->op == OpInput;   /* of all inputs, only the turn's index is not stored */
	if (v->nargs == 0 || walked_before(w, v, kept, axis)) return;
	Kept below = kept_below(w, v, kept);
	int nargs = computed_operands(v);
	for (int k = 0; k < nargs; k++) walk(w, v->arg[k], below, axis_below(v, k, axis));
	if (v->op == OpAgain && w->order) walk(w, v->arg[1], NOTHING, -1);
}

static void leaves_of(const KernelProgram *kp, Val *root, int partition, int rank, bool order, LeafList *out) {
	Walk w = {.kp = kp, .out = out, .rank = rank, .order = order};
	Kept below = kept_below(&w, root, ALL);
	bool picks = rank >= 0 && root->type.rank == rank && picks_from_rows(root);   /* a member of its own */
	int nargs = computed_operands(root);
	for (int k = 0; k < nargs; k++)
		walk(&w, root->arg[k], !picks ? below : k == 0 ? ITS_ROW : ALL, axis_below(root, k, partition));
	if (root->op == OpAgain && order) walk(&w, root->arg[1], NOTHING, -1);
	if (root->op == OpInput) add_leaf(&w, root, ALL, partition);
	for (int i = 0; i < w.marked.length; i++) kp->walked[w.marked.data[i]] = 0;
}

void value_leaves(const KernelProgram *kp, Val *root, int partition, int rank, LeafList *out) {
	leaves_of(kp, root, partition, rank, true, out);
}

void kernel_leaves(const KernelProgram *kp, const Kernel *k, bool order, LeafList *out) {
	int rank = k->kind == KERNEL_ROWS ? k->domain.rank : -1;
	for (int i = 0; i < k->members.length; i++) leaves_of(kp, k->members.data[i].val, k->partition, rank, order, out);
	for (int i = 0; i < k->roots.length; i++) leaves_of(kp, k->roots.data[i], k->partition, rank, order, out);
	if (k->anchor) leaves_of(kp, k->anchor, k->partition, rank, order, out);
}
