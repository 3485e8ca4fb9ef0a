/* deal.c: in: fused kernels; out: products that are parts of a stored value, dealt out to it element by element or one after the
 * other, or all of it under other dims, are written where they belong in it, so that nothing is copied.
 *
 * The parts' buffers become windows on the whole's.  The kernel of the whole stays, in its place among the others: it reads the
 * parts, so that it runs after them and whoever wants the whole after it, but does not store the whole any more.  Of a product
 * padded with zeros, around it or between its elements, it writes these.
 * Guarantees: nobody else reads a part, or would see the whole too early. */
#include <string.h>

#include "kernel.h"

enum { MOST_PARTS = 64 };

typedef struct Part { const Val *val; int64_t offset, stride[MAX_RANK]; } Part;
typedef struct Deal {
	const KernelProgram *kp;
	const int *uses;
	Part parts[MOST_PARTS];
	int count;
	const Val *border;
} Deal;

/* The output that `v` is, or NULL; no value is two. */
static const Output *output_of(const Fn *f, const Val *v) {
	for (int i = 0; i < f->outputs.length; i++)
		if (f->outputs.data[i].val == v) return &f->outputs.data[i];
	return NULL;
}

/* A product that is stored by itself, and that nobody reads but the whole. */
static bool is_part(const Deal *d, const Val *v, const int64_t *stride) {
	int buffer = d->kp->buffer_of[v->id], last = v->type.rank - 1;
	if (!is_product(v) || last < 0 || buffer < 0 || d->uses[v->id] != 1 || output_of(d->kp->fn, v)) return false;
	const Buffer *b = &d->kp->buffers.data[buffer];
	return b->kind == BUFFER_ARENA && !b->strided && !b->within && stride[last] == 1 && d->count < MOST_PARTS;
}

/* Where the elements of `v` stand in the whole, of which it is a part at `offset`; false when it is more than parts. */
static bool find_parts(Deal *d, const Val *v, int64_t offset, const int64_t *stride, bool top) {
	if (!top && d->kp->buffer_of[v->id] >= 0) {
		if (!is_part(d, v, stride)) return false;
		Part *p = &d->parts[d->count++];
		*p = (Part){.val = v, .offset = offset};
		memcpy(p->stride, stride, sizeof *stride * (size_t)v->type.rank);
		return true;
	}
	if (v->op == OpMark) return find_parts(d, v->arg[0], offset, stride, false);
	if (v->op == OpReshape) {
		int64_t below[MAX_RANK] = {0};
		return reshape_strides(v->type, stride, v->arg[0]->type, below) && find_parts(d, v->arg[0], offset, below, false);
	}
	if (v->op == OpPad && top) {
		int64_t below[MAX_RANK] = {0};
		if (!is_border_of_zeros(v)) return false;
		for (int i = 0; i < v->type.rank; i++)
			offset += v->list[0].data[i] * stride[i], below[i] = stride[i] * (v->list[2].data[i] + 1);
		d->border = v;
		return find_parts(d, v->arg[0], offset, below, false);
	}
	if (v->op != OpConcat) return false;
	int axis = (int)v->list[0].data[0];
	for (int i = 0; i < v->nargs; i++) {
		if (!find_parts(d, v->arg[i], offset, stride, false)) return false;
		offset += v->arg[i]->type.dim[axis] * stride[axis];
	}
	return true;
}

/* alone: it is the only root of its kernel. */
static void deal(KernelProgram *kp, const int *uses, const Val *whole, bool alone) {
	int number = kp->buffer_of[whole->id];
	Buffer *b = &kp->buffers.data[number];
	Deal d = {.kp = kp, .uses = uses};
	int64_t stride[MAX_RANK];
	const Output *out = output_of(kp->fn, whole);
	if (out && out->updates >= 0) return;   /* what it replaces may be wanted until the whole is written */
	buffer_strides(b, stride);
	if (b->strided || !find_parts(&d, whole, 0, stride, true) || d.count < 1) return;
	if (d.border && (!alone || b->row != last_dim(b->type))) return;
	for (int i = 0; i < d.count; i++) {
		const Part *p = &d.parts[i];
		Buffer *part = &kp->buffers.data[kp->buffer_of[p->val->id]];
		part->within = number + 1;
		part->offset = (size_t)(p->offset * dtype_info[p->val->type.dtype].bytes);
		part->exact = part->strided = true;
		part->row = last_dim(part->type), part->bytes = 0;
		memcpy(part->stride, p->stride, sizeof p->stride);
	}
	b->dealt = true;
	b->border = d.border;
}

/* uses: by Val.id: how many values and outputs read it, directly or through views. */
void kernel_deal(KernelProgram *kp, const int *uses) {
	for (int i = 0; i < kp->kernels.length && !kp->parent; i++) {
		const Kernel *k = &kp->kernels.data[i];
		for (int r = 0; r < k->roots.length && k->kind == KERNEL_MAP; r++) deal(kp, uses, k->roots.data[r], k->roots.length == 1);
	}
}
