/* contraction.c: in: a contract whose operands are stored, or views of what is; out: its loops.
 *
 * Labels become loops.  Those of a kind that lie alike in every tensor that has them are one loop.  The last axis of the result
 * gives the columns; of the axes that only the other operand has, the innermost one that is long enough for register tiles gives
 * the rows; what is left runs around the product.  So a convolution is, for each sample and row of the image, a product of
 * matrices whose sum has two loops, taps down the image and then taps times channels, read where they lie.  Where these
 * matrices are small and the loop around the rows goes on with the same rows of the result, its turns are rows too, in groups:
 * so in the gradient of few channels' weights. */
#include "exec.h"
#include "kernel.h"

#include <string.h>

enum { MOST_WIDENED = 1 << 16 };   /* bytes */
enum { MOST_SWEPT = 1 << 16 };     /* floats of the result between two parts of a row */

static bool has_both(const Val *v, int64_t label) {
	return label_axis(v->list[0], label) >= 0 && label_axis(v->list[1], label) >= 0;
}

bool contract_is_element_wise(const Val *v) {
	int n = v->list[2].length;
	return n && !contract_order(v).dot && has_both(v, v->list[2].data[n - 1]);
}

bool contract_is_swapped(const Val *v) {
	int n = v->list[2].length;
	return n && !contract_order(v).dot && label_axis(v->list[1], v->list[2].data[n - 1]) < 0;
}

/* Strides of the result: as it is stored, or as it would be in the arena. */
static void result_strides(const KernelProgram *kp, const Val *v, int64_t stride[MAX_RANK]) {
	int buffer = kp->buffer_of[v->id];
	Buffer own = {.type = v->type, .row = padded_row(v->type)};
	buffer_strides(buffer >= 0 ? &kp->buffers.data[buffer] : &own, stride);
}

/* Can `inner` run as part of one loop with `around`, which then covers both?  The step of a loop of one turn is of no account. */
static bool merge(ContractLoop *inner, const ContractLoop *around) {
	int64_t n = inner->extent;
	if (inner->bounded || around->bounded || inner->images || around->images) return false;
	bool alike = around->a == inner->a * n && around->b == inner->b * n && around->y == inner->y * n;
	if (around->in_a != inner->in_a || around->in_b != inner->in_b || (!alike && n > 1 && around->extent > 1)) return false;
	ContractLoop both = n > 1 ? *inner : *around;
	both.extent = n * around->extent;
	both.naxes = inner->naxes;
	memcpy(both.axis, around->axis, sizeof both.axis);
	memcpy(both.axis + around->naxes, inner->axis, sizeof *inner->axis * (size_t)inner->naxes);
	both.naxes += around->naxes;
	*inner = both;
	return true;
}

static void remove_loop(ContractLoop *loops, int *count, int at) {
	memmove(&loops[at], &loops[at + 1], sizeof *loops * (size_t)(*count - at - 1));
	(*count)--;
}

/* Does an operand with this step go on to the next image that is copied? */
static bool is_next(const View *x, int64_t step, int64_t extent) {
	if (!x->piece) return false;
	int64_t images = x->piece->type.dim[0];
	return extent == images && step == type_count(x->piece->type) / images;
}

static bool has_images(const Contraction *c, const ContractLoop *l) {
	return is_next(&c->a, l->a, l->extent) || is_next(&c->b, l->b, l->extent);
}

static bool is_row(const ContractLoop *l) { return l->in_a && !l->in_b && !l->bounded && !l->images; }

/* Would rows of loops i - 1 and i together be so long that, where a loop within makes a part of each row, the rest of a row has
 * left the cache when it is made? */
static bool leaves_parts(const Contraction *c, int i) {
	const ContractLoop *rows = &c->outer[i];
	for (int k = i + 1; k < c->nouter; k++)
		if (c->outer[k].extent > 1 && c->outer[k].y < rows->y && !is_row(&c->outer[k]))
			return c->outer[i - 1].extent * rows->extent * rows->y > MOST_SWEPT;
	return false;
}

/* Columns, then rows, out of the loops over the result's axes; the rest stays around. */
static void choose_rows(Contraction *c, bool with_columns, bool epilogue) {
	if (with_columns) {
		c->columns = c->outer[--c->nouter];
		while (!epilogue && c->nouter && merge(&c->columns, &c->outer[c->nouter - 1])) c->nouter--;
	}
	for (int i = c->nouter - 1; i > 0; i--) {   /* loops of rows that lie alike */
		if (!is_row(&c->outer[i]) || leaves_parts(c, i) || !merge(&c->outer[i], &c->outer[i - 1])) continue;
		remove_loop(c->outer, &c->nouter, i - 1);
	}
	int best = -1;
	for (int i = c->nouter - 1; i >= 0; i--) {
		if (!is_row(&c->outer[i])) continue;
		if (best < 0 || (c->outer[best].extent < ENOUGH_ROWS && c->outer[i].extent > c->outer[best].extent)) best = i;
	}
	if (best < 0) return;
	c->rows = c->outer[best];
	remove_loop(c->outer, &c->nouter, best);
}

/* A few rows and the loop around them as rows in groups: those of a group lie alike in a, and all of them in y. */
static void group_rows(Contraction *c) {
	const ContractLoop *inner = &c->rows;
	int64_t sums = inner->extent * divide_up(c->columns.extent, LANES);
	if (c->dot || c->fill || c->nsum == 1 || inner->extent < 2 || c->columns.extent < 2 || sums >= ENOUGH_SUMS) return;
	if (c->a.through != DTYPE_F32) return;   /* it is not read where it lies */
	for (int i = 0; i < c->nouter; i++) {
		ContractLoop around = c->outer[i];
		if (!is_row(&around) || around.extent < 2 || around.y != inner->y * inner->extent) continue;
		c->group = inner->extent, c->group_a = around.a;
		around.a = inner->a * inner->extent;
		if (!merge(&c->rows, &around)) die("contract: rows in groups");
		remove_loop(c->outer, &c->nouter, i);
		return;
	}
}

/* The summed axes; blocks must not reach over the axis that they are cut along. */
static void merge_sums(Contraction *c, ContractOrder order) {
	int64_t inside = 1;
	c->cut = c->nsum - 1;
	for (int i = c->nsum - 1; i >= 0; i--) {
		inside *= c->sum[i].extent;
		if (inside >= order.run) {
			c->cut = i;
			break;
		}
	}
	for (int i = c->nsum - 1; i > 0; i--) {
		if (i == c->cut && !c->dot && order.terms > order.run) continue;
		if (!merge(&c->sum[i], &c->sum[i - 1])) continue;
		remove_loop(c->sum, &c->nsum, i - 1);
		if (c->cut >= i) c->cut--;
	}
	int64_t within = 1;
	for (int i = c->cut + 1; i < c->nsum; i++) within *= c->sum[i].extent;
	c->per_block = MAX(1, order.block / within);
}

static void reach(const ContractLoop *l, bool of_b, int64_t *low, int64_t *high) {
	int64_t to = (l->extent - 1) * (of_b ? l->b : l->a);
	*low += MIN(to, 0), *high += MAX(to, 0);
}

/* Within the loop over the images that are copied between their borders.  It must not be run by the microkernel, and not many
 * turns outside may copy them again. */
static Widening choose_piece(const Contraction *c, bool of_b) {
	enum { FEW_COPIES = 8 };
	const Val *pad = (of_b ? &c->b : &c->a)->piece;
	int64_t images = pad->type.dim[0], count = type_count(pad->type) / images, again = 1;
	for (int i = 0; i < c->nouter + c->nsum - 1 && !c->dot; i++) {
		const ContractLoop *l = i < c->nouter ? &c->outer[i] : &c->sum[i - c->nouter];
		if (l->images && (of_b ? l->b : l->a) == count)
			return (Widening){.level = again <= FEW_COPIES ? i + 1 : WIDEN_NOWHERE, .count = count};
		again *= l->extent;
	}
	return (Widening){.level = WIDEN_NOWHERE};
}

/* As far out as few elements are reached; within the innermost loop around the sum's last one is too late, since microkernels run
 * that.  What is nowhere few is left to the packers, unless they would pack it again for each turn of an outer loop. */
static Widening choose_widening(const Contraction *c, bool of_b) {
	const View *view = of_b ? &c->b : &c->a;
	if (view->piece) return choose_piece(c, of_b);
	if (view->through == DTYPE_F32 || (c->fill && !of_b) || c->nsum == 1) return (Widening){.level = WIDEN_NOT};
	for (int level = 0; level <= c->nouter + c->nsum - 2 && !c->dot; level++) {
		int64_t low = 0, high = 0;
		for (int i = level; i < c->nouter; i++) reach(&c->outer[i], of_b, &low, &high);
		for (int i = MAX(level - c->nouter, 0); i < c->nsum; i++) reach(&c->sum[i], of_b, &low, &high);
		reach(of_b ? &c->columns : &c->rows, of_b, &low, &high);
		if (high - low < MOST_WIDENED) return (Widening){level, low, high - low + 1};
	}
	bool again = c->dot;
	for (int i = 0; i < c->nouter; i++) again = again || !(of_b ? c->outer[i].in_b : c->outer[i].in_a);
	return (Widening){.level = again ? WIDEN_NOWHERE : WIDEN_NOT};
}

bool contract_describe(const KernelProgram *kp, const Val *v, bool epilogue, Contraction *c) {
	ContractOrder order = contract_order(v);
	*c = (Contraction){.rows = {.extent = 1}, .columns = {.extent = 1}, .terms = order.terms, .dot = order.dot};
	c->swapped = contract_is_swapped(v);
	int first = c->swapped ? 1 : 0;
	c->a = (View){.buffer = -1};
	bool stored = operand_resolve(kp, v->arg[first], &c->a);
	if (!stored) c->fill = v->arg[first], memset(c->a.stride, 0, sizeof c->a.stride);
	if (!operand_resolve(kp, v->arg[1 - first], &c->b)) return false;
	if (c->fill) buffer_strides(&(Buffer){.type = c->fill->type, .row = last_dim(c->fill->type)}, c->a.stride);
	int64_t stride[MAX_RANK];
	result_strides(kp, v, stride);
	bool bounded = contract_bound(v, &c->bound);
	IntList la = v->list[first], lb = v->list[1 - first];
	for (int i = 0; i < v->list[2].length; i++) {
		if (v->type.dim[i] == 1 && i < v->list[2].length - 1) continue;   /* it would keep those around it apart */
		int a = label_axis(la, v->list[2].data[i]), b = label_axis(lb, v->list[2].data[i]);
		c->outer[c->nouter++] = (ContractLoop){.extent = v->type.dim[i],
		                                       .a = a >= 0 ? c->a.stride[a] : 0,
		                                       .b = b >= 0 ? c->b.stride[b] : 0,
		                                       .y = stride[i],
		                                       .in_a = a >= 0,
		                                       .in_b = b >= 0,
		                                       .bounded = bounded && v->list[2].data[i] == c->bound.result,
		                                       .axis = {i},
		                                       .naxes = 1};
	}
	for (int i = 0; i < v->list[0].length; i++) {
		int64_t label = v->list[0].data[i];
		if (label_axis(v->list[2], label) >= 0) continue;
		c->sum[c->nsum++] = (ContractLoop){.extent = v->arg[0]->type.dim[i], .a = c->a.stride[label_axis(la, label)],
		                                   .b = c->b.stride[label_axis(lb, label)], .in_a = true, .in_b = true,
		                                   .bounded = bounded && label == c->bound.summed};
	}
	for (int i = 0; i < c->nouter; i++) c->outer[i].images = has_images(c, &c->outer[i]);
	for (int i = 0; i < c->nsum; i++) c->sum[i].images = has_images(c, &c->sum[i]);
	if (c->nsum == 0) c->sum[c->nsum++] = (ContractLoop){.extent = 1, .in_a = true, .in_b = true};
	bool columns = v->list[2].length && !order.dot;
	choose_rows(c, columns, epilogue);
	merge_sums(c, order);
	group_rows(c);
	c->wide_a = choose_widening(c, false);
	c->wide_b = choose_widening(c, true);
	return true;
}

/* The axis that workers share: the outermost one that is no column's. */
static int partition_axis(const Contraction *c) {
	int axis = c->rows.naxes ? c->rows.axis[0] : -1;
	for (int i = 0; i < c->nouter; i++)
		if (c->outer[i].in_a && (axis < 0 || c->outer[i].axis[0] < axis)) axis = c->outer[i].axis[0];
	return axis;
}

void kernel_describe_contract(const KernelProgram *kp, Kernel *k) {
	bool stored = kp->buffer_of[k->anchor->id] >= 0;
	if (!k->contraction) k->contraction = NEW(kp->arena, Contraction);
	if (!contract_describe(kp, k->anchor, k->roots.length > stored, k->contraction)) die("contract operand is not addressable");
	const Contraction *c = k->contraction;
	if ((c->a.piece && c->wide_a.level < 0) || (c->b.piece && c->wide_b.level < 0)) die("contract: no loop to copy images in");
	k->partition = partition_axis(c);
}
