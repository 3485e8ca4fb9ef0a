/* contraction.c: in: a contract kernel whose operands are stored, or views of what is; out: its extents and strides. */
#include "kernel.h"

/* A contract as extents and strided views. */
static void describe(const KernelProgram *kp, Kernel *k) {
	const Val *v = k->anchor;
	Contraction *c = &k->contraction;
	*c = (Contraction){.batch = 1, .m = 1, .n = 1, .k = 1, .axis_batch = -1, .axis_m = -1, .axis_n = -1};
	View a, b;
	if (!view_resolve(kp, v->arg[0], &a) || !view_resolve(kp, v->arg[1], &b)) die("contract operand is not addressable");
	c->a = (View){.buffer = a.buffer, .offset = a.offset};
	c->b = (View){.buffer = b.buffer, .offset = b.offset};
	for (int i = 0; i < v->list[2].length; i++) {
		int64_t label = v->list[2].data[i], dim = v->type.dim[i];
		int in_a = -1, in_b = -1;
		for (int q = 0; q < v->list[0].length; q++) if (v->list[0].data[q] == label) in_a = q;
		for (int q = 0; q < v->list[1].length; q++) if (v->list[1].data[q] == label) in_b = q;
		if (in_a >= 0 && in_b >= 0) c->batch = dim, c->axis_batch = i, c->a.stride[0] = a.stride[in_a], c->b.stride[0] = b.stride[in_b];
		else if (in_a >= 0) c->m = dim, c->axis_m = i, c->a.stride[1] = a.stride[in_a];
		else c->n = dim, c->axis_n = i, c->b.stride[2] = b.stride[in_b];
	}
	for (int q = 0; q < v->list[0].length; q++)
		for (int r = 0; r < v->list[1].length; r++) {
			int64_t label = v->list[0].data[q];
			bool in_y = false;
			for (int i = 0; i < v->list[2].length; i++) in_y = in_y || v->list[2].data[i] == label;
			if (label == v->list[1].data[r] && !in_y) c->k = v->arg[0]->type.dim[q], c->a.stride[2] = a.stride[q], c->b.stride[1] = b.stride[r];
		}
	c->dot = c->n == 1;
}

/* The matrix whose rows the result's last axis runs along is b; the workers share the rows of a. */
static void orient(Kernel *k) {
	Contraction *c = &k->contraction;
	if (c->axis_m > c->axis_n && c->axis_n >= 0 && c->m > 1 && !c->dot) {
		View a = c->a, b = c->b;
		c->a = (View){.buffer = b.buffer, .offset = b.offset, .stride = {b.stride[0], b.stride[2], b.stride[1]}};
		c->b = (View){.buffer = a.buffer, .offset = a.offset, .stride = {a.stride[0], a.stride[2], a.stride[1]}};
		int64_t m = c->m;
		c->m = c->n, c->n = m;
		int axis = c->axis_m;
		c->axis_m = c->axis_n, c->axis_n = axis;
		c->swapped = true;
	}
	k->partition = c->axis_batch == 0 && c->batch > 1 ? 0 : c->axis_m >= 0 ? c->axis_m : -1;
}

void kernel_describe_contract(const KernelProgram *kp, Kernel *k) {
	describe(kp, k);
	orient(k);
}
