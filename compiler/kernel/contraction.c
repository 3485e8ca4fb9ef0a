/* contraction.c: in: a contract kernel whose operands are stored, or views of what is; out: its extents and strides. */
#include "kernel.h"

static int label_axis(IntList labels, int64_t label) {
	for (int i = 0; i < labels.length; i++)
		if (labels.data[i] == label) return i;
	return -1;
}

Contraction contract_shape(const Val *v) {
	Contraction c = {.batch = 1, .m = 1, .n = 1, .k = 1, .axis_batch = -1, .axis_m = -1, .axis_n = -1};
	for (int i = 0; i < v->list[2].length; i++) {
		int64_t label = v->list[2].data[i], dim = v->type.dim[i];
		bool in_a = label_axis(v->list[0], label) >= 0, in_b = label_axis(v->list[1], label) >= 0;
		if (in_a && in_b) c.batch = dim, c.axis_batch = i;
		else if (in_a) c.m = dim, c.axis_m = i;
		else c.n = dim, c.axis_n = i;
	}
	for (int i = 0; i < v->list[0].length; i++)
		if (label_axis(v->list[2], v->list[0].data[i]) < 0) c.k = v->arg[0]->type.dim[i];
	c.dot = c.n == 1;
	/* The matrix along whose rows the result's last axis runs is b; the workers share the rows of a. */
	if (c.axis_m > c.axis_n && c.axis_n >= 0 && c.m > 1 && !c.dot) {
		int64_t m = c.m;
		int axis = c.axis_m;
		c.m = c.n, c.n = m;
		c.axis_m = c.axis_n, c.axis_n = axis;
		c.swapped = true;
	}
	return c;
}

/* Strides of one operand by role: batch, the axis `own` of the result, summed. */
static View operand_view(const Contraction *c, const Val *v, int operand, const View *given, int own, bool own_first) {
	View out = {.buffer = given->buffer, .offset = given->offset};
	for (int i = 0; i < v->list[operand].length; i++) {
		int axis = label_axis(v->list[2], v->list[operand].data[i]);
		int role = axis < 0 ? (own_first ? 2 : 1) : axis == c->axis_batch ? 0 : axis == own ? (own_first ? 1 : 2) : -1;
		if (role >= 0) out.stride[role] = given->stride[i];
	}
	return out;
}

void kernel_describe_contract(const KernelProgram *kp, Kernel *k) {
	const Val *v = k->anchor;
	Contraction *c = &k->contraction;
	*c = contract_shape(v);
	int first = c->swapped ? 1 : 0;
	View a = {.buffer = -1}, b;
	if (!view_resolve(kp, v->arg[first], &a)) c->fill = v->arg[first];
	if (!view_resolve(kp, v->arg[1 - first], &b)) die("contract operand is not addressable");
	c->a = operand_view(c, v, first, &a, c->axis_m, true);
	c->b = operand_view(c, v, 1 - first, &b, c->axis_n, false);
	if (c->fill) c->a = (View){.buffer = -1};
	k->partition = c->axis_batch == 0 && c->batch > 1 ? 0 : c->axis_m >= 0 ? c->axis_m : -1;
}
