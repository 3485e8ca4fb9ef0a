/* fuse.c: in: a prepared Fn; out: which of its values are stored, and the kernels that compute them.
 *
 * The method, greedy and in canonical order:
 *   1. Anchors (contracts, reductions), outputs, operands that a contract or gather must address, and values that
 *      are dear and wanted twice are stored; everything else is inline.
 *   2. Each stored value joins the latest kernel that computes, at the same index, something it reads (so it becomes
 *      an epilogue), or a map of the same dims, or starts a kernel of its own; never so that a kernel would have to
 *      run before itself.
 *      A reduction over the last axis starts a kernel of rows; what reads it row by row, reductions among it, joins that.
 *   3. What only its own kernel reads, at the same index or in the same row, is not stored after all.
 * Guarantees: deterministic; every non-inline operand of a kernel is stored by an earlier one. */
#include "exec.h"
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

enum { TOO_LARGE = 200, MOST_ROOTS = 16, MOST_FILL = 40, MOST_WIDTH = 1 << 16 };

typedef VEC(int) Numbers;

typedef struct Fuse {
	KernelProgram *kp;
	int *uses;               /* by Val.id: how many values and outputs read it, directly or through views */
	double *cost;            /* by Val.id: cycles per 16 elements of computing it inline */
	bool *has_reduced_rows;  /* by Val.id: a reduction runs over its last axis */
	bool *near_anchor;       /* by Val.id: an anchor's result, of a product unshared, is read inline, at the same index */
	int *kernel_of;          /* by Val.id: the kernel it is a root of, or -1 */
	Numbers *readers;        /* by Val.id: the kernels it is a leaf of */
	int *rank;               /* by kernel: more than that of any it runs after */
	Numbers *followers;      /* by kernel: which run after it */
	char *seen;              /* by kernel: visited by the search */
	Numbers visited;
	Type *lasting;           /* dims of persistent tensors without padding where there could be some, ascending */
	int nlasting;
} Fuse;

const char *const kernel_kind_text[KERNEL_KINDS] = {"map", "rows", "contract", "sequence", "scan"};

const Val *kernel_unsupported(const Fn *f) {
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		switch (v->op) {
		case OpReduceLse: case OpGrad: case OpCotangent: return v;
		case OpScatterAdd:   /* 32 bits number the rows */
			if (type_count(v->arg[1]->type) + v->type.dim[v->list[0].data[0]] >= INT32_MAX) return v;
			break;
		case OpScan: {
			const Val *within = kernel_unsupported(v->body);
			if (within) return within;
			break;
		}
		default: break;
		}
	}
	return NULL;
}

static bool is_anchor(const Val *v) {
	return v->op == OpContract || v->op == OpArgMax || is_reduce(v) || is_sequence(v) || v->op == OpSumBuckets;
}

/* Is it a reduction over the operand's last axis (16 lanes), not over a column? */
static bool reduces_last(const Val *v) {
	return (is_reduce(v) || v->op == OpArgMax) && v->list[0].data[0] == v->arg[0]->type.rank - 1;
}

int kernel_add_buffer(KernelProgram *kp, Type type, Buffer b) {
	int64_t last = last_dim(type);
	if (b.row == 0) b.row = b.kind == BUFFER_IO ? last : padded_row(type);
	b.type = type;
	if (b.kind == BUFFER_IO) b.exact = true;
	int64_t elements = type_count(type) / last * b.row;
	if (type.rank) elements = round_up(elements, LANES);   /* the last vector is written whole */
	int64_t bytes = elements * dtype_info[type.dtype].bytes;
	if (b.kind != BUFFER_OUTER) b.bytes = whole_lines((size_t)bytes);
	b.first = b.last = -1;
	vec_push(kp->arena, &kp->buffers, b);
	return kp->buffers.length - 1;
}

static void add_buffer(KernelProgram *kp, Val *v, Buffer b) { kp->buffer_of[v->id] = kernel_add_buffer(kp, v->type, b); }

static int by_dims(const void *a, const void *b) {
	const Type *x = a, *y = b;
	if (x->rank != y->rank) return x->rank - y->rank;
	for (int i = 0; i < x->rank; i++)
		if (x->dim[i] != y->dim[i]) return x->dim[i] < y->dim[i] ? -1 : 1;
	return 0;
}

/* Lists the dims of persistent tensors whose rows would be padded elsewhere, and are not. */
static void find_lasting(Fuse *f) {
	const KernelProgram *kp = f->kp;
	if (kp->parent) return;
	f->lasting = NEW_ARRAY(kp->arena, Type, MAX(kp->fn->inputs.length, 1));
	for (int i = 0; i < kp->fn->inputs.length; i++) {
		const Buffer *b = &kp->buffers.data[kp->buffer_of[kp->fn->inputs.data[i].val->id]];
		bool unpadded = b->type.rank >= 2 && b->row == last_dim(b->type) && b->row != padded_row(b->type);
		if (b->kind == BUFFER_PERSISTENT && unpadded) f->lasting[f->nlasting++] = b->type;
	}
	qsort(f->lasting, (size_t)f->nlasting, sizeof *f->lasting, by_dims);
}

/* Has a persistent tensor of these dims rows without padding?  Then what is probably its gradient has none either, so that the
 * update goes over all of them as one run. */
static bool has_lasting_dims(const Fuse *f, Type t) {
	return f->nlasting && bsearch(&t, f->lasting, (size_t)f->nlasting, sizeof t, by_dims);
}

static void store(Fuse *f, Val *v) {
	if (f->kp->buffer_of[v->id] >= 0) return;
	add_buffer(f->kp, v, (Buffer){.kind = BUFFER_ARENA, .row = has_lasting_dims(f, v->type) ? last_dim(v->type) : 0});
}

/* The one value that `v` is cheaply computed of, beside constants: half of it, one more than it; or NULL. */
static Val *cheap_source(const Val *v) {
	Val *from = NULL;
	if (v->op != OpNeg && v->op != OpAbs && v->op != OpAdd && v->op != OpSub && v->op != OpMul) return NULL;
	for (int k = 0; k < v->nargs; k++) {
		if (is_splat(v->arg[k], NULL)) continue;
		if (from) return NULL;
		from = v->arg[k];
	}
	return from;
}

/* The short numbers that `v` is the same as, or cheaply computed of; or v. */
static Val *short_source(Val *v) {
	Val *source = v;
	while (source && !is_widening(source)) source = cheap_source(source);
	return source ? source->arg[0] : v;
}

/* Stores `v`, or its short source; what is computed of that is then cheap. */
static void store_short(Fuse *f, Val *v) {
	Val *source = short_source(v);
	if (f->kp->buffer_of[v->id] >= 0) return;
	store(f, source);
	for (; v != source; v = is_widening(v) ? v->arg[0] : cheap_source(v))
		f->cost[v->id] = DEAR / 2, f->near_anchor[v->id] = false;
}

/* Does the reshape only take the last axis apart?  Strides can say so, whatever the row's length. */
static bool splits_last_axis(const Val *v) {
	Type from = v->arg[0]->type, to = v->type;
	if (from.rank == 0 || from.rank > to.rank) return false;
	for (int i = 0; i < from.rank - 1; i++)
		if (from.dim[i] != to.dim[i]) return false;
	return true;
}

/* Makes `v` addressable by strides: stores the value under its outermost views.  Under windows rows are not padded, so that taps
 * and channels are one run. */
static void store_operand(Fuse *f, Val *v) {
	View view;
	bool windows = false;
	if (view_resolve(f->kp, v, &view)) return;
	for (; is_strided_view(v); v = v->arg[0]) windows = windows || v->op == OpWindow;
	if (windows && v->op == OpReshape && v->arg[0]->op == OpPad && splits_last_axis(v)) v = v->arg[0], windows = false;
	if (f->kp->buffer_of[v->id] >= 0) return;
	add_buffer(f->kp, v, (Buffer){.kind = BUFFER_ARENA, .row = windows ? last_dim(v->type) : 0});
}

/* May a product copy `v`, a pad or part of many images, one image at a time? */
static bool may_copy(const Fuse *f, const Val *v) {
	enum { LEAST_IMAGES = 4, MOST_ELEMENTS = 1 << 16 };
	View view;
	if (!v || f->kp->parent || v->type.dtype != DTYPE_F32 || v->type.rank < 2) return false;
	if (f->uses[v->id] > 1 || v->type.dim[0] < LEAST_IMAGES || type_count(v->type) / v->type.dim[0] > MOST_ELEMENTS) return false;
	for (int i = 0; v->op == OpPad && i < v->type.rank; i++)
		if (v->list[2].data[i]) return false;
	if (v->op == OpPad && !is_border_of_zeros(v)) return false;
	return view_resolve(f->kp, v->op == OpPad ? v->arg[0] : v, &view) && view.stride[v->type.rank - 1] == 1;
}

/* The same for what a product reads: casts of short numbers are made while they are read, and images padded. */
static void store_factor(Fuse *f, Val *v) {
	Val *pad = padded_below(f->kp, v);
	View view;
	if (may_copy(f, pad)) f->kp->in_pieces[pad->id] = true;
	if (!operand_resolve(f->kp, v, &view)) store_operand(f, operand_base(f->kp, v));
}

/* Stores a pad that there is no loop to copy it in; was it one? */
static bool store_whole(Fuse *f, Val *v, const View *view, const Widening *wide) {
	if (wide->level != WIDEN_NOWHERE || !view->piece) return false;
	f->kp->in_pieces[view->piece->id] = false;
	store_operand(f, v);
	return true;
}

/* How many read `v`, or the short numbers that it is the same as. */
static int uses_of(const Fuse *f, const Val *v) {
	if (!is_widening(v)) return f->uses[v->id];
	return MAX(f->uses[v->id], f->uses[view_base(v->arg[0])->id]);
}

/* Can operand `k` be computed while its tiles are packed, so that it needs no memory?  Only the one whose rows the workers
 * share: each of its elements is then packed once. */
static bool may_fill(const Fuse *f, const Val *contract, int k) {
	Val *a = contract->arg[k];
	View view;
	if (operand_resolve(f->kp, a, &view)) return false;
	if (contract_is_swapped(contract) != (k == 1) || contract_order(contract).dot || uses_of(f, a) > 1 || !is_pointwise(a))
		return false;
	return f->kp->buffer_of[a->id] < 0 && f->cost[a->id] <= MOST_FILL && !f->near_anchor[a->id];
}

/* Is b to be packed once for each turn of outer loops that do not change it, or not as a plain matrix?  Then it is better turned
 * beforehand. */
static bool better_turned(const Contraction *c) {
	bool varies = c->nouter == 0;
	for (int i = 0; i < c->nouter; i++) varies = varies || c->outer[i].in_b;
	return !c->dot && c->columns.extent > 1 && c->columns.b != 1 && (c->nsum > 1 || !varies);
}

/* Are runs of the sum of a dot not adjacent in both operands? */
static bool has_scattered_runs(const Contraction *c) {
	const ContractLoop *run = &c->sum[c->nsum - 1];
	return c->dot && c->nsum > 1 && run->extent > 1 && (run->a != 1 || run->b != 1);
}

/* The slice with steps that `v` is a view of, without windows; or NULL. */
static Val *stepped_slice(const Fuse *f, Val *v) {
	for (; f->kp->buffer_of[v->id] < 0 && (v->op == OpReshape || v->op == OpTranspose || v->op == OpSlice); v = v->arg[0])
		for (int i = 0; v->op == OpSlice && i < v->type.rank; i++)
			if (v->list[1].data[i] > 1) return v;
	return NULL;
}

/* Stores an operand without the elements between its own, where that makes one long sum of several of few terms. */
static void store_dense(Fuse *f, Val *contract, Val *a, bool epilogue, Contraction *c) {
	enum { FEW_TERMS = 16, ENOUGH_TERMS = 32 };
	int sums = c->nsum;
	Val *slice = stepped_slice(f, a);
	if (!slice || c->dot || sums == 1 || c->sum[sums - 1].extent >= FEW_TERMS || c->columns.extent < LANES) return;
	if (may_copy(f, slice)) {   /* an image at a time, where each has terms enough */
		bool *pieces = &f->kp->in_pieces[slice->id];
		*pieces = true;
		if (!contract_describe(f->kp, contract, epilogue, c)) die("contract operand is not addressable");
		*pieces = c->nsum == 2 && c->wide_a.level > c->nouter && c->sum[1].extent >= ENOUGH_TERMS;
		if (*pieces) return;
	}
	store(f, slice);
	if (!contract_describe(f->kp, contract, epilogue, c)) die("contract operand is not addressable");
	if (c->nsum == sums) f->kp->buffer_of[slice->id] = -1;   /* it does not */
}

/* Stores what the product must address. */
static void store_operands(Fuse *f, Val *contract) {
	bool swapped = contract_is_swapped(contract);
	Val *a = contract->arg[swapped], *b = contract->arg[!swapped];
	Contraction c;
	store_factor(f, b);
	if (!may_fill(f, contract, swapped)) store_factor(f, a);
	for (int epilogue = 0; epilogue < 2; epilogue++) {   /* what joins the kernel is not known yet */
		if (!contract_describe(f->kp, contract, epilogue, &c)) die("contract operand is not addressable");
		bool stored_a = store_whole(f, a, &c.a, &c.wide_a), stored_b = store_whole(f, b, &c.b, &c.wide_b);
		if ((stored_a || stored_b) && !contract_describe(f->kp, contract, epilogue, &c))
			die("contract operand is not addressable");
		if (c.fill && (c.nouter > 0 || c.nsum > 1)) store_factor(f, a);   /* packers know rows and one k */
		store_dense(f, contract, a, epilogue, &c);
		if (better_turned(&c)) store_short(f, b);
		if (c.wide_a.level == WIDEN_NOWHERE) store(f, a);
		if (c.wide_b.level == WIDEN_NOWHERE) store(f, b);
		if (!has_scattered_runs(&c)) continue;
		if (c.sum[c.nsum - 1].a != 1) store(f, a);
		if (c.sum[c.nsum - 1].b != 1) store(f, b);
	}
}

/* A constant operand of a scan is read where it lies, unless it is a view whose last axis is no longer adjacent. */
static bool keeps_last_axis(const Val *v) {
	int last = v->type.rank - 1;
	if (last < 0 || computed_operands(v) != 1) return true;
	switch (v->op) {
	case OpTranspose: if (v->list[0].data[last] != last) return false; break;
	case OpBroadcast: if (!v->list[0].length || v->list[0].data[v->list[0].length - 1] != last) return false; break;
	case OpSlice: if (v->list[1].data[last] != 1) return false; break;
	case OpReshape: if (last_dim(v->arg[0]->type) != v->type.dim[last]) return false; break;
	case OpWindow: return false;
	case OpAgain: break;
	default: return true;
	}
	return keeps_last_axis(v->arg[0]);
}

/* Stores what the body of a scan must address. */
static void store_scan_operands(Fuse *f, const Val *scan) {
	for (int i = 0; i < scan->nargs; i++) {
		bool carry = i < scan_carries(scan);
		if (!carry && (keeps_last_axis(scan->arg[i]) || scan_reads_rows(scan, i + 1))) store_operand(f, scan->arg[i]);
		else store(f, scan->arg[i]);
	}
}

static void bind_inputs(KernelProgram *kp, const InputPlace *places) {
	for (int i = 0; i < kp->fn->inputs.length; i++) {
		Input *in = &kp->fn->inputs.data[i];
		bool persistent = in->kind == INPUT_PARAM || in->kind == INPUT_STATE || in->kind == INPUT_SLOT;
		if (persistent)
			add_buffer(kp, in->val, (Buffer){.kind = BUFFER_PERSISTENT, .offset = places[i].offset, .row = places[i].row});
		else add_buffer(kp, in->val, (Buffer){.kind = BUFFER_IO, .io = kp->nio++});
	}
}

/* A view is no use of its own: what reads the view counts.  Which values have their rows reduced? */
static void count_uses(Fuse *f) {
	const Fn *fn = f->kp->fn;
	for (int i = 0; i < fn->outputs.length; i++) f->uses[fn->outputs.data[i].val->id]++;
	for (int i = fn->vals.length - 1; i >= 0; i--) {
		const Val *v = fn->vals.data[i];
		bool view = computed_operands(v) == 1 && op_cost(v) == 0;
		for (int k = 0; k < computed_operands(v); k++) f->uses[v->arg[k]->id] += view ? f->uses[v->id] : 1;
		if (is_reduce(v) && reduces_last(v)) f->has_reduced_rows[v->arg[0]->id] = true;
	}
}

/* Is it an element of each row of a computed value, whose rows are read for a reduction anyway?  Taken there and stored, it lets
 * the large value go. */
static bool picks_in_passing(const Fuse *f, const Val *v) {
	if (!picks_from_rows(v)) return false;
	const Val *table = v->arg[0], *number = v->arg[1];
	return f->has_reduced_rows[table->id] && table->op != OpInput && f->kp->buffer_of[table->id] >= 0 && number->op == OpInput;
}

/* Step 1 for one value; its operands have been decided. */
static void decide(Fuse *f, Val *v) {
	KernelProgram *kp = f->kp;
	if (v->op == OpInput || (kp->parent && v->op == OpGather && scan_bind_row(kp, v))) return;
	if (v->op == OpScan || v->op == OpProject) {
		if (v->op == OpScan) store_scan_operands(f, v);
		else store(f, v);
		return;
	}
	double cost = op_cost(v);
	bool near = false, computed = false;
	for (int k = 0; k < computed_operands(v); k++) {
		Val *a = v->arg[k];
		if (kp->buffer_of[a->id] >= 0) {
			near = near || (is_anchor(a) && (a->op != OpContract || f->uses[a->id] == 1));
			computed = computed || a->op != OpInput;
		} else {
			cost += f->cost[a->id];
			near = near || f->near_anchor[a->id];
			computed = computed || f->near_anchor[a->id];
		}
	}
	if (v->op == OpFold) cost *= (double)fold_terms(v);
	f->near_anchor[v->id] = near && is_pointwise(v);
	f->cost[v->id] = cost;
	if (is_product(v)) store_operands(f, v);
	if (v->op == OpGather) store_operand(f, v->arg[0]);
	bool rereads = v->op == OpContract && v->type.dtype != DTYPE_F32 && !is_product(v);   /* each element, again and again */
	for (int k = 0; k < v->nargs && rereads; k++)
		if (f->cost[v->arg[k]->id] >= DEAR) store_operand(f, v->arg[k]);
	if (v->op == OpBroadcast) {
		Val *a = v->arg[0];
		if (a->type.rank && f->cost[a->id] >= DEAR && kp->buffer_of[a->id] < 0) store_short(f, a);
	}
	bool view = op_cost(v) == 0;
	const Val *source = cheap_source(v);   /* stored, it serves all that is cheaply computed of it */
	bool twice = f->uses[v->id] > 1 && !view && !(source && kp->buffer_of[source->id] >= 0);
	if (is_anchor(v) || picks_in_passing(f, v) || cost > TOO_LARGE || (twice && type_count(v->type) > 1 && cost >= DEAR) ||
	    (twice && (near || (computed && cost >= DEAR))))
		store_short(f, v);
}

/* Only kernels of a higher rank can depend on one, so that a search ends after few. */
static bool depends(Fuse *f, int kernel, int on) {
	if (kernel == on) return true;
	if (f->rank[kernel] <= f->rank[on] || f->seen[kernel]) return false;
	f->seen[kernel] = 1;
	vec_push(f->kp->arena, &f->visited, kernel);
	const Kernel *k = &f->kp->kernels.data[kernel];
	for (int i = 0; i < k->after.length; i++)
		if (depends(f, k->after.data[i], on)) return true;
	return false;
}

static bool kernel_depends(Fuse *f, int kernel, int on) {
	bool found = depends(f, kernel, on);
	for (int i = 0; i < f->visited.length; i++) f->seen[f->visited.data[i]] = 0;
	f->visited.length = 0;
	return found;
}

static void raise_rank(Fuse *f, int kernel, int least) {
	if (f->rank[kernel] >= least) return;
	f->rank[kernel] = least;
	const Numbers *next = &f->followers[kernel];
	for (int i = 0; i < next->length; i++) raise_rank(f, next->data[i], least + 1);
}

static void run_after(Fuse *f, int kernel, int first) {
	vec_push(f->kp->arena, &f->kp->kernels.data[kernel].after, first);
	vec_push(f->kp->arena, &f->followers[first], kernel);
	raise_rank(f, kernel, f->rank[first] + 1);
}

/* Is this leaf, which kernel `k` itself computes, there when it is read? */
static bool keeps_index(const Fuse *f, int k, const Leaf *leaf) {
	return f->kp->kernels.data[k].kind == KERNEL_ROWS ? leaf->row : leaf->identity;
}

/* May `root` be computed by kernel `into`, given what it reads? */
static bool may_join(Fuse *f, const LeafList *leaves, int into) {
	for (int i = 0; i < leaves->length; i++) {
		int from = f->kernel_of[leaves->data[i].val->id];
		if (from < 0) continue;
		if (from == into) {
			if (!keeps_index(f, into, &leaves->data[i])) return false;
		} else if (kernel_depends(f, from, into)) {
			return false;
		}
	}
	return true;
}

static bool has_leaf(const LeafList *leaves, const Val *v) {
	for (int i = 0; i < leaves->length; i++)
		if (leaves->data[i].val == v) return true;
	return false;
}

/* The latest kernel before `below` that computes one of the leaves (`computes`) or reads the same tensor (`shares`); or -1.
 * Only such ones are worth computing together: unrelated values of the same dims stay apart, so that the layers of a deep net
 * have kernels alike.  A few numbers, like the seed of what is random, are no tensor. */
static int related_kernel(const Fuse *f, const LeafList *leaves, bool computes, bool shares, int below) {
	int latest = -1;
	for (int i = 0; i < leaves->length; i++) {
		const Val *v = leaves->data[i].val;
		int from = f->kernel_of[v->id];
		if (computes && from < below) latest = MAX(latest, from);
		const Numbers *readers = &f->readers[v->id];
		for (int k = 0; k < readers->length && shares && type_count(v->type) > LANES; k++)
			if (readers->data[k] < below) latest = MAX(latest, readers->data[k]);
	}
	return latest;
}

/* A copy of what can be written without reading anything: such ones are alike, whatever is copied beside them. */
static bool copies_constant(const Val *v) {
	if (v->op != OpMark) return false;
	for (v = v->arg[0]; v->op == OpBroadcast; v = v->arg[0]) continue;
	return v->op == OpConst;
}

static void add_root(Fuse *f, Val *root, const LeafList *leaves, int into) {
	Kernel *k = &f->kp->kernels.data[into];
	vec_push(f->kp->arena, &k->roots, root);
	for (int i = 0; i < leaves->length; i++)   /* provisional: kernel_fuse() lists them again, with their axes */
		if (!has_leaf(&k->leaves, leaves->data[i].val)) {
			vec_push(f->kp->arena, &k->leaves, leaves->data[i]);
			vec_push(f->kp->arena, &f->readers[leaves->data[i].val->id], into);
		}
	f->kernel_of[root->id] = into;
	for (int i = 0; i < leaves->length; i++) {
		int from = f->kernel_of[leaves->data[i].val->id];
		if (from >= 0 && from != into) run_after(f, into, from);
	}
}

static int64_t row_width(const Val *reduction) { return reduction->arg[0]->type.dim[reduction->arg[0]->type.rank - 1]; }

/* Has `root` a place in the passes of this kernel of rows?  One that makes a single value takes no elements: the norm of
 * everything would draw in all updates, and one worker would do them. */
static bool takes(const Kernel *k, const Val *root) {
	Type d = k->domain, t = root->type;
	if (k->kind != KERNEL_ROWS || k->roots.length >= MOST_ROOTS) return false;
	if (is_reduce(root)) return d.rank > 0 && reduces_last(root) && type_same_dims(d, t) && row_width(root) == k->width;
	if (root->op == OpGather)
		return d.rank > 0 && picks_from_rows(root) && type_same_dims(d, t) && last_dim(root->arg[0]->type) == k->width;
	if (!is_pointwise(root)) return false;
	if (type_same_dims(d, t)) return true;
	if (d.rank == 0 || t.rank != d.rank + 1 || t.dim[d.rank] != k->width || k->width > MOST_WIDTH) return false;
	t.rank--;
	return type_same_dims(d, t);
}

/* The latest kernel of rows that computes something `root` reads, and can compute `root` in the same rows; or -1.  A reduction,
 * and what takes an element of each row, also joins one that reads what it reads. */
static int find_rows(Fuse *f, Val *root, const LeafList *leaves) {
	KernelProgram *kp = f->kp;
	bool picks = root->op == OpGather;
	for (int shares = 0; shares < (is_reduce(root) || picks ? 2 : 1); shares++)
		for (int k = kp->kernels.length; (k = related_kernel(f, leaves, true, shares, k)) >= 0;) {
			const Kernel *kernel = &kp->kernels.data[k];
			if (!takes(kernel, root) || (picks && f->kernel_of[root->arg[0]->id] == k)) continue;
			LeafList of_rows = {0};
			value_leaves(kp, root, -1, kernel->domain.rank, &of_rows);
			if (may_join(f, &of_rows, k)) return k;
		}
	return -1;
}

static int new_kernel(Fuse *f, Val *root) {
	Kernel k = {.kind = KERNEL_MAP, .domain = root->type, .partition = root->type.rank ? 0 : -1, .position = -1};
	if (root->op == OpProject) k.kind = KERNEL_SCAN, k.scan = root->arg[0], k.domain = type_scalar(DTYPE_I32), k.partition = -1;
	else if (is_product(root)) k.kind = KERNEL_CONTRACT, k.anchor = root;
	else if (reduces_last(root)) k.kind = KERNEL_ROWS, k.width = row_width(root);
	else if (is_sequence(root)) {
		k.kind = KERNEL_SEQUENCE, k.anchor = root;
		if (sequence_axis(root) == 0) k.partition = root->type.rank > 1 ? 1 : -1;
	}
	vec_push(f->kp->arena, &f->kp->kernels, k);
	return f->kp->kernels.length - 1;
}

/* The kernel that is this scan, if it has been met before: it has all its results as roots. */
static int find_scan(const KernelProgram *kp, const Val *scan) {
	for (int i = 0; i < kp->kernels.length; i++)
		if (kp->kernels.data[i].scan == scan) return i;
	return -1;
}

/* Step 2 for one stored value. */
static void place(Fuse *f, Val *root) {
	KernelProgram *kp = f->kp;
	LeafList leaves = {0};
	value_leaves(kp, root, -1, -1, &leaves);
	int into = root->op == OpProject ? find_scan(kp, root->arg[0]) : find_rows(f, root, &leaves);
	bool placed = into >= 0 && root->op == OpGather;
	if (!placed && !is_product(root) && !reduces_last(root) && !is_sequence(root) && root->op != OpProject &&
	    !copies_constant(root)) {
		for (int i = 0; i < leaves.length; i++) {
			int from = f->kernel_of[leaves.data[i].val->id];
			if (from <= into || !leaves.data[i].identity || kp->kernels.data[from].roots.length >= MOST_ROOTS) continue;
			if (kp->kernels.data[from].kind == KERNEL_ROWS || kp->kernels.data[from].kind == KERNEL_SCAN) continue;
			if (kp->kernels.data[from].kind == KERNEL_SEQUENCE && !sequence_streams(kp->kernels.data[from].anchor)) continue;
			if (may_join(f, &leaves, from)) into = from;
		}
		for (int k = kp->kernels.length; into < 0 && (k = related_kernel(f, &leaves, false, true, k)) >= 0;) {
			const Kernel *kernel = &kp->kernels.data[k];
			if (kernel->kind != KERNEL_MAP || kernel->roots.length >= MOST_ROOTS || !type_same_dims(kernel->domain, root->type))
				continue;
			if (may_join(f, &leaves, k)) into = k;
		}
	}
	if (into < 0) into = new_kernel(f, root);
	add_root(f, root, &leaves, into);
}

/* Step 3: a value that is no output and that only its own kernel reads, at the same index, needs no memory. */
static void unstore(Fuse *f) {
	KernelProgram *kp = f->kp;
	bool *keep = NEW_ARRAY(kp->arena, bool, kp->fn->vals.length);
	for (int i = 0; i < kp->fn->outputs.length; i++) keep[kp->fn->outputs.data[i].val->id] = true;
	for (int k = 0; k < kp->kernels.length; k++) {
		LeafList *leaves = &kp->kernels.data[k].leaves;
		*leaves = (LeafList){0};
		kernel_leaves(kp, &kp->kernels.data[k], true, leaves);
		for (int i = 0; i < leaves->length; i++) {
			int id = leaves->data[i].val->id;
			if (f->kernel_of[id] != k || !keeps_index(f, k, &leaves->data[i])) keep[id] = true;
		}
	}
	for (int k = 0; k < kp->kernels.length; k++) {
		Kernel *kernel = &kp->kernels.data[k];
		int n = 0;
		for (int i = 0; i < kernel->roots.length; i++) {
			Val *r = kernel->roots.data[i];
			if (kernel->kind == KERNEL_ROWS) vec_push(kp->arena, &kernel->members, (RowValue){.val = r});
			if (keep[r->id]) kernel->roots.data[n++] = r;
			else kp->buffer_of[r->id] = -1;
		}
		kernel->roots.length = n;
	}
}

/* A body's carries stay in its arena for now: the scheduler knows whether they may be written over the old ones. */
static void store_body_outputs(Fuse *f) {
	KernelProgram *kp = f->kp;
	for (int i = 0; i < kp->fn->outputs.length; i++) {
		Val *v = kp->fn->outputs.data[i].val;
		Buffer emitted;
		store(f, v);
		if (i < scan_carries(kp->scan) || !scan_emit_buffer(kp, i, &emitted)) continue;
		kp->buffers.data[kp->buffer_of[v->id]] = emitted;
	}
}

/* Outputs that replace no input go to the caller's dense buffers. */
static void store_outputs(Fuse *f) {
	KernelProgram *kp = f->kp;
	for (int i = 0; i < kp->fn->outputs.length; i++) {
		const Output *out = &kp->fn->outputs.data[i];
		store(f, out->val);
		Buffer *b = &kp->buffers.data[kp->buffer_of[out->val->id]];
		if (out->updates >= 0) continue;
		b->kind = BUFFER_IO, b->exact = true, b->io = kp->nio++;
		b->row = last_dim(b->type);
	}
}

static int count_stored(const Fuse *f) {
	int stored = 0;
	for (int i = 0; i < f->kp->fn->vals.length; i++) stored += f->kp->buffer_of[i] >= 0;
	return stored;
}

/* A value stored for a later reader may be an operand of a product: it then lies otherwise than when that was decided, the loops
 * of the product are others, and so may be what it must find stored. */
static void settle_products(Fuse *f) {
	for (int before = -1, now = count_stored(f); now != before;) {
		before = now;
		for (int i = 0; i < f->kp->fn->vals.length; i++)
			if (is_product(f->kp->fn->vals.data[i])) store_operands(f, f->kp->fn->vals.data[i]);
		now = count_stored(f);
	}
}

/* Values of a program, with room for the scheduler's copies. */
static int value_room(const Fn *fn) { return fn->vals.length + 2 * fn->outputs.length + 1; }

static KernelProgram *new_program(Arena *arena, Fn *fn) {
	KernelProgram *kp = NEW(arena, KernelProgram);
	int n = value_room(fn);
	*kp = (KernelProgram){.arena = arena, .fn = fn, .arena_buffer = -1};
	kp->buffer_of = NEW_ARRAY(arena, int, n);
	kp->in_pieces = NEW_ARRAY(arena, bool, n);
	kp->walked = NEW_ARRAY(arena, uint32_t, n);
	for (int i = 0; i < n; i++) kp->buffer_of[i] = -1;
	return kp;
}

/* The inputs have their buffers. */
static KernelProgram *fuse(KernelProgram *kp) {
	Arena *arena = kp->arena;
	Fn *fn = kp->fn;
	int n = value_room(fn);
	Fuse f = {.kp = kp};
	f.uses = NEW_ARRAY(arena, int, n);
	f.cost = NEW_ARRAY(arena, double, n);
	f.near_anchor = NEW_ARRAY(arena, bool, n);
	f.has_reduced_rows = NEW_ARRAY(arena, bool, n);
	f.kernel_of = NEW_ARRAY(arena, int, n);
	f.readers = NEW_ARRAY(arena, Numbers, n);
	f.rank = NEW_ARRAY(arena, int, n);
	f.followers = NEW_ARRAY(arena, Numbers, n);
	f.seen = NEW_ARRAY(arena, char, n);
	for (int i = 0; i < n; i++) f.kernel_of[i] = -1;
	count_uses(&f);
	find_lasting(&f);
	for (int i = 0; i < fn->vals.length; i++) decide(&f, fn->vals.data[i]);
	if (kp->parent) store_body_outputs(&f);
	else store_outputs(&f);
	settle_products(&f);
	int most = kp->buffers.length + fn->outputs.length;   /* a kernel for each stored value, and for each copy */
	kp->kernels.data = NEW_ARRAY(arena, Kernel, most);
	kp->kernels.capacity = most;
	for (int i = 0; i < fn->vals.length; i++) {
		int buffer = kp->buffer_of[i];
		if (fn->vals.data[i]->op != OpInput && buffer >= 0 && !kp->buffers.data[buffer].given) place(&f, fn->vals.data[i]);
	}
	unstore(&f);
	kernel_deal(kp, f.uses);
	int *member = NEW_ARRAY(arena, int, n), *seen = NEW_ARRAY(arena, int, n);
	for (int i = 0; i < kp->kernels.length; i++) {
		Kernel *k = &kp->kernels.data[i];
		if (k->kind == KERNEL_CONTRACT) kernel_describe_contract(kp, k);
		if (k->kind == KERNEL_ROWS) rows_plan(kp, k, member, seen);
		k->leaves = (LeafList){0};
		kernel_leaves(kp, k, false, &k->leaves);
	}
	return kp;
}

KernelProgram *kernel_fuse(Arena *arena, Fn *fn, const InputPlace *places) {
	KernelProgram *kp = new_program(arena, fn);
	bind_inputs(kp, places);
	return fuse(kp);
}

KernelProgram *kernel_fuse_body(KernelProgram *parent, const Val *scan) {
	KernelProgram *kp = new_program(parent->arena, scan->body);
	kp->parent = parent;
	kp->scan = scan;
	scan_bind_inputs(kp);
	return fuse(kp);
}
