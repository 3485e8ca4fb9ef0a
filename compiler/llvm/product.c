/* product.c: in: a Kernel whose anchor is a contract; out: its code: the loops around the product here, the product by
 * contract.h, and the roots that are computed of it where its tiles appear.  Guarantees: as kernels.c. */
#include "kernel_writer.h"

typedef struct IdList { int *data; int length, capacity; } IdList;

static void hoist_below(Lower *k, Val *v, IdList *walked) {
	At none = {0};
	if (v == k->tile_value || (k->kp->buffer_of[v->id] >= 0 && !reads_tile(k, v)) || k->kp->walked[v->id]) return;
	k->kp->walked[v->id] = 1;
	vec_push(k->e->arena, walked, v->id);
	if (v->type.rank == 0 && !reads_tile(k, v)) {
		lower_value(k, v, &none, NULL);
		return;
	}
	for (int i = 0; i < computed_operands(v); i++) hoist_below(k, v->arg[i], walked);
}

/* Scalars of the roots' trees, which do not depend on the tile, before the loops over tiles; each value is walked over once. */
static void hoist_scalars(Lower *k) {
	IdList walked = {0};
	for (int i = 0; i < k->kernel->roots.length; i++) hoist_below(k, k->kernel->roots.data[i], &walked);
	for (int i = 0; i < walked.length; i++) k->kp->walked[walked.data[i]] = 0;
}

/* The result's axes that one loop runs over, from the variable of its level. */
static void loop_index(Lower *k, const ContractLoop *l, int level, At *at) {
	Type t = {.dtype = DTYPE_F32, .rank = l->naxes};
	At number = {.flat = true, .axis = {l->extent > 1 ? index_variable(level) : index_constant(0)}};
	for (int i = 0; i < t.rank; i++) t.dim[i] = k->kernel->domain.dim[l->axis[i]];
	number = index_split(k, &number, t);
	for (int i = 0; i < t.rank; i++) at->axis[l->axis[i]] = number.axis[i];
}

static void tile_index(Lower *k, const Contraction *c, At *at) {
	for (int i = 0; i < c->nouter; i++) loop_index(k, &c->outer[i], k->outer_level[i], at);
	loop_index(k, &c->rows, k->tile_row_level, at);
}

/* Are rows and columns the result's axes in order, so that an element's number is row * columns + column? */
static bool tile_is_flat(const Contraction *c, int rank) {
	return c->nouter == 0 && c->rows.naxes > 1 && c->rows.naxes + 1 == rank;
}

static void write_tile(Emit *e, void *context, const ContractTile *tile) {
	KernelWriter *w = context;
	Lower *k = &w->lower;
	const Contraction *c = w->contraction;
	At at = {0};
	EmitLoop rows;
	Value shift = emit_add(e, emit_mul(e, tile->row, emit_index(e, tile->stride)), tile->column);
	k->tile = emit_at(e, tile->at, e->f32, emit_sub(e, emit_index(e, 0), shift));   /* so that rows and columns count from 0 */
	k->tile_stride = tile->stride;
	if (tile->turn) {
		level_given(k, tile->turn, c->outer[w->turns].extent);
		k->outer_level[w->turns] = k->depth;
	}
	if (w->run) {
		Value n = emit_index(e, c->columns.extent), past = emit_add(e, tile->row, tile->rows);
		write_run(w, c->rows.extent * c->columns.extent, emit_mul(e, tile->row, n), emit_mul(e, past, n), w->whole);
		return;
	}
	level_open(k, &rows, tile->row, emit_add(e, tile->row, tile->rows), 1, c->rows.extent, false);
	k->tile_row_level = k->depth;
	w->flat = c->columns.extent > 1 && tile_is_flat(c, k->kernel->domain.rank);   /* a lone column has no lanes */
	if (!w->flat) tile_index(k, c, &at);
	const Val *skip = k->kp->buffer_of[k->tile_value->id] >= 0 ? k->tile_value : NULL;
	Value past = emit_add(e, tile->column, tile->columns);
	int axis = c->columns.naxes ? c->columns.axis[0] : -1;
	if (c->columns.extent > 1 && w->ragged) write_ragged(w, &at, axis, c->columns.extent, tile->column, past, skip);
	else if (c->columns.extent > 1) write_lanes(w, &at, axis, c->columns.extent, tile->column, past, skip);
	else write_roots(k, &at, skip);
	level_close(k, &rows);
	if (tile->turn) k->depth--;
}

/* Filled along the axis that its last axis is: rows of the result, or the summed index. */
static bool fill_is_down(const Contraction *c) { return c->rows.a == 1 && c->rows.extent > 1; }

/* Elements past column n of every row that belong to nobody. */
static int64_t columns_past(const Buffer *b, int64_t n) {
	if (b->exact || b->type.rank < 2) return 0;
	return n == b->type.dim[b->type.rank - 1] ? b->row - n : 0;
}

/* One vector (or what is left of it) of elements, along the lanes. */
static void fill_lanes(Lower *k, Val *v, const At *at, Value to, Value mask) {
	Value x = lower_as_lanes(k, lower_value(k, v, at, NULL));
	if (mask) emit_store_masked(k->e, x, to, mask);
	else emit_store(k->e, x, to);
}

/* A block of the operand that is computed while it is packed: rows of the result by summed index.  Its element is known by its
 * number. */
static void fill_operand(Emit *e, void *context, const ContractBlock *block) {
	KernelWriter *w = context;
	Lower *k = &w->lower;
	const Contraction *c = w->contraction;
	Val *v = c->fill;
	At at = {.flat = true};
	bool down = fill_is_down(c);
	Value outer0 = down ? block->column : block->row, outers = down ? block->columns : block->rows;
	Value lane0 = down ? block->row : block->column, lanes = down ? block->rows : block->columns;
	int64_t extent = c->sum[0].extent, step = down ? c->sum[0].a : c->rows.a;
	Value whole = LLVMBuildAnd(e->builder, lanes, emit_index(e, -k->lanes), ""), stop = emit_add(e, lane0, whole),
	      end = emit_add(e, lane0, lanes);
	EmitLoop outer, inner;
	level_open(k, &outer, outer0, emit_add(e, outer0, outers), 1, down ? extent : c->rows.extent, false);
	int outer_level = k->depth;
	Value row = emit_sub(e, emit_mul(e, emit_sub(e, outer.i, outer0), emit_index(e, block->stride)), lane0);
	for (int part = 0; part < 2; part++) {
		level_open(k, &inner, part ? stop : lane0, part ? end : stop, k->lanes, down ? c->rows.extent : extent, true);
		Affine lane = index_variable(k->depth);
		at.axis[0] = index_scale_add(k, index_variable(outer_level), step, &lane);
		k->tail = part ? -1 : 0;
		k->tail_lanes = part ? emit_tail_mask(e, k->lanes, emit_sub(e, end, inner.i)) : NULL;
		fill_lanes(k, v, &at, emit_at(e, block->to, e->f32, emit_add(e, row, inner.i)), k->tail_lanes);
		k->tail = 0;
		level_close(k, &inner);
	}
	level_close(k, &outer);
}

/* Turns of this loop for one index of the axis that workers share, or that is run in parts; 0 when it is whole. */
static int64_t turns_per_share(const Kernel *kernel, const ContractLoop *l) {
	if (kernel->product_rows) return l == &kernel->contraction->rows;
	if (kernel->partition < 0 || !l->naxes || l->axis[0] != kernel->partition || kernel->panels) return 0;
	if (kernel->workers == 1 && !kernel->part) return 0;
	return l->extent / kernel->domain.dim[kernel->partition];
}

/* The innermost loop around a product of several passes that B does not take part in, or else one over parts of what a term of
 * the sum has in A and B: done within each pass, it reads B once, or the other parts while they are near. -1: none. */
static int loop_of_turns(const Kernel *kernel, bool parts) {
	const Contraction *c = kernel->contraction;
	const ContractLoop *sum = &c->sum[c->nsum - 1];
	int first = c->a.piece && c->wide_a.level > c->nouter ? 0 : MAX(c->wide_a.level, 0);   /* a copy serves all turns */
	if (parts && (c->a.piece || c->b.piece || c->wide_b.level >= 0)) return -1;
	for (int i = c->nouter - 1; i >= first && !c->fill; i--) {
		const ContractLoop *l = &c->outer[i];
		bool fits = parts ? l->in_a && l->in_b && l->a < sum->a && l->b < sum->b : !l->in_b;
		if (l->extent > 1 && fits && !turns_per_share(kernel, l)) return i;
	}
	return -1;
}

/* Does loop `i`, outer ones and then the sum's, go from one image to the next that is copied between its border? */
static bool is_copied(const View *view, const Widening *wide, int i) { return view->piece && wide->level == i + 1; }

/* What an operand of short numbers is for the nest: to be read by packers, to be widened within loops around k, or floats, since
 * that has been done outside. */
static void set_elements(const KernelProgram *kp, const Contraction *c, const View *view, const Widening *wide,
                         ContractOperand *x) {
	if (view->piece) x->wide_within = MAX(wide->level - c->nouter, 0);
	if (view->through == DTYPE_F32 || (wide->level >= 0 && wide->level <= c->nouter)) return;
	x->dtype = kp->buffers.data[view->buffer].type.dtype;
	x->through = view->through;
	if (wide->level < 0) return;
	x->wide_within = wide->level - c->nouter;
	x->wide_low = wide->low, x->wide_count = wide->count;
}

static void choose_turns(const Target *target, const Kernel *kernel, Contract *contract) {
	contract->turn_loop = -1;
	int turns = loop_of_turns(kernel, false), parts = turns < 0 ? loop_of_turns(kernel, true) : -1;
	if (turns < 0 && parts < 0) return;
	ContractPlan plan = contract_plan(target, contract);
	if (!plan.chained || (turns < 0 && plan.pack_b)) return;
	const ContractLoop *l = &kernel->contraction->outer[MAX(turns, parts)];
	if (l->bounded && contract->naround - contract->bounded >= plan.inside) return;   /* it says how long a loop around it is */
	contract->turns = (ContractTurns){l->extent, l->a, l->b, l->y};
	contract->turn_loop = MAX(turns, parts);
}

/* Is a product of words that has one column computed as that of floats is, in lanes along the sum or across rows?  Its sums are
 * exact in any order, and a column in a vector of its own would be bytes one by one. */
static bool is_dot_of_words(const Target *target, const Contraction *c, const Contract *contract) {
	const ContractOperand *a = &contract->a, *b = &contract->b;
	if (!contract->words || contract->n > 1 || target->lanes == 1 || c->a.piece || c->b.piece) return false;
	if (contract->naround) return !a->fill && a->column == 1 && b->row == 1 && (contract->k % LANES == 0 || target->has_mask);
	return a->fill || a->column == 1 || a->row == 1;
}

/* The contract of a kernel as the nest wants it; pointers and epilogue are added by who emits. */
static Contract contract_of(const Target *target, const KernelProgram *kp, const Kernel *kernel) {
	const Contraction *c = kernel->contraction;
	const ContractLoop *k = &c->sum[c->nsum - 1];
	int out = kp->buffer_of[kernel->anchor->id];
	Contract contract = {
	    .m = c->rows.extent, .n = c->columns.extent, .k = k->extent, .dot = c->dot, .cut = c->cut, .per_block = c->per_block};
	for (int i = 0; i + 1 < c->nsum; i++) {
		if (c->sum[i].bounded) contract.bounded = i + 1, contract.bound = c->bound;
		bool of_a = is_copied(&c->a, &c->wide_a, c->nouter + i), of_b = is_copied(&c->b, &c->wide_b, c->nouter + i);
		contract.around[contract.naround++] =
		    (ContractSum){c->sum[i].extent, of_a ? 0 : c->sum[i].a, of_b ? 0 : c->sum[i].b};
	}
	DType of_a = kernel->anchor->arg[c->swapped]->type.dtype, of_b = kernel->anchor->arg[!c->swapped]->type.dtype;
	if (dtype_is_word(of_a)) contract.words = of_a, contract.words_b = of_b, contract.never_turned = true;
	contract.epilogue = kernel->roots.length > (out >= 0) ? write_tile : NULL;
	contract.a = (ContractOperand){.row = c->rows.a, .column = k->a, .group = c->group, .group_row = c->group_a};
	if (c->fill) contract.a = (ContractOperand){.fill = fill_operand, .down = fill_is_down(c)};
	else set_elements(kp, c, &c->a, &c->wide_a, &contract.a);
	contract.b = (ContractOperand){.row = k->b, .column = c->columns.extent == 1 ? 1 : c->columns.b};
	set_elements(kp, c, &c->b, &c->wide_b, &contract.b);
	contract.b.pad = contract.b.column == 1 && !c->dot ? columns_past(&kp->buffers.data[c->b.buffer], c->columns.extent) : 0;
	contract.dot = c->dot || is_dot_of_words(target, c, &contract);
	if (c->b.piece) contract.b.pad = contract.b.column == 1 ? LANES : 0;   /* there is room behind a copy */
	if (out >= 0) {
		contract.c_row = c->rows.naxes ? c->rows.y : c->columns.extent;
		contract.c_pad = c->columns.extent > 1 ? columns_past(&kp->buffers.data[out], c->columns.extent) : 0;
	} else {
		contract.c_dropped = true;
		contract.c_run = !c->nouter && c->rows.naxes + 1 == kernel->domain.rank && !kernel->panels && is_run(kp, kernel);
		contract.c_row = round_up(c->columns.extent, LANES);
	}
	int64_t rows = turns_per_share(kernel, &c->rows);
	if (rows) {
		int64_t share = kernel_share(kernel), rest = kernel->rows % share;
		contract.row_counts[contract.nrow_counts++] = share * rows;
		if (rest) contract.row_counts[contract.nrow_counts++] = rest * rows;
	}
	choose_turns(target, kernel, &contract);
	return contract;
}

enum { LARGE_OPERAND = 1 << 20 };   /* bytes: no longer in a worker's own cache */

int64_t kernel_panels(const void *target, const KernelProgram *kp, const Kernel *kernel) {
	Kernel whole = *kernel;
	whole.workers = 1;
	if (kernel->kind != KERNEL_CONTRACT || kernel->contraction->nouter || kernel->contraction->dot) return 0;
	Contract contract = contract_of(target, kp, &whole);
	int64_t workers = MAX(kernel->workers, 1);
	contract.row_counts[0] = (contract.m + workers - 1) / workers;
	contract.nrow_counts = 1;
	/* by rows every worker reads all of b, by panels all of a: the larger one is better read once */
	bool large_b = contract.n > contract.m && contract.n * contract.k * 4 > LARGE_OPERAND;
	if (!large_b && !contract_plan(target, &contract).split_columns) return 0;
	contract.nrow_counts = 0;   /* sharing panels, every worker does all rows: that plan's panels count */
	return contract_plan(target, &contract).panels;
}

/* Where in scratch operands are widened, behind what the product itself needs; past the last element a vector may be read. */
typedef struct Wide { size_t a, b, ahead, end; } Wide;

static size_t widened_bytes(const Widening *w) { return w->level < 0 ? 0 : (size_t)round_up(w->count + LANES, LANES) * 4; }

/* Does the product write elements that others, of zeros, stand between? */
static bool has_border(const KernelProgram *kp, const Kernel *kernel) {
	int out = kp->buffer_of[kernel->anchor->id];
	return out >= 0 && kp->buffers.data[whole_buffer(kp, out)].border;
}

static Wide wide_places(const KernelProgram *kp, const Kernel *kernel, size_t behind) {
	const Contraction *c = kernel->contraction;
	size_t a = whole_lines(behind), b = a + widened_bytes(&c->wide_a);
	size_t ahead = b + widened_bytes(&c->wide_b);
	return (Wide){a, b, ahead, ahead + (c->a.piece || c->b.piece || has_border(kp, kernel) ? 64 : 0)};
}

size_t product_scratch(const Target *target, const KernelProgram *kp, const Kernel *kernel) {
	Contract contract = contract_of(target, kp, kernel);
	return wide_places(kp, kernel, contract_plan(target, &contract).scratch_bytes).end;
}

/* What the epilogue reads at the index of the result, from tensors too large to lie in the near caches: weights and their
 * moments, when the product is their gradient. */
static void add_streams(const Lower *k, ContractArguments *args) {
	const Kernel *kernel = k->kernel;
	const Contraction *c = kernel->contraction;
	size_t bytes = 0;
	if (c->nouter || !c->rows.naxes || c->columns.extent == 1) return;
	for (int i = 0; i < kernel->leaves.length && args->nstreams < MAX_STREAMS; i++) {
		const Leaf *leaf = &kernel->leaves.data[i];
		const Buffer *b = &k->kp->buffers.data[k->kp->buffer_of[leaf->val->id]];
		int64_t stride[MAX_RANK];
		if (!leaf->identity || b->type.dtype != DTYPE_F32 || !type_same_dims(b->type, kernel->domain)) continue;
		buffer_strides(b, stride);
		if (stride[c->columns.axis[0]] != 1) continue;
		int64_t row = stride[c->rows.axis[c->rows.naxes - 1]];   /* axes of rows lie alike in all tensors of these dims */
		args->streams[args->nstreams++] = (ContractStream){k->pointer[k->kp->buffer_of[leaf->val->id]], row};
		bytes += b->bytes;
	}
	if (bytes <= (size_t)k->e->target->l2) args->nstreams = 0;
}

/* An operand before loop `level` around the product, or before the product: moved to scratch if it is widened here. */
static Value widen_before(const KernelWriter *w, const View *view, const Widening *wide, int level, Value at, Value to,
                          Value from, Value ahead) {
	Emit *e = w->lower.e;
	if (wide->level != level) return at;
	if (view->piece) {
		Value next = emit_at_constant(e, from, e->f32, lower_copied_step(w->lower.kp, view->piece));
		contract_copy(e, lower_copier(e, w->lower.kp, view->piece), to, from, next, ahead);
		return at;
	}
	DType dtype = w->lower.kp->buffers.data[view->buffer].type.dtype;
	emit_call(e, contract_widener(e, dtype, view->through), 3,
	          (Value[]){to, emit_at_constant(e, at, lower_memory_type(e, dtype), wide->low), emit_index(e, wide->count)});
	return emit_at_constant(e, to, e->f32, -wide->low);
}

static void widen_operands(const KernelWriter *w, int level, ContractArguments *args) {
	const Contraction *c = w->contraction;
	args->a = widen_before(w, &c->a, &c->wide_a, level, args->a, args->wide_a, args->copied_a, args->ahead);
	args->b = widen_before(w, &c->b, &c->wide_b, level, args->b, args->wide_b, args->copied_b, args->ahead);
}

/* The type of an operand's elements within `level` loops around the product. */
static LLVMTypeRef element_within(const KernelWriter *w, const View *view, const Widening *wide, int level) {
	Emit *e = w->lower.e;
	if (view->through == DTYPE_F32 || (wide->level >= 0 && wide->level <= level)) return e->f32;
	return lower_memory_type(e, w->lower.kp->buffers.data[view->buffer].type.dtype);
}

enum { FLOATS_AHEAD = 1 << 14 };

static Value next_image(const KernelWriter *w, const View *view, Value from, Value i) {
	Emit *e = w->lower.e;
	return emit_at(e, from, e->f32, emit_mul(e, i, emit_index(e, lower_copied_step(w->lower.kp, view->piece))));
}

/* An operand that is copied in pieces: where these come to be, and the first of what is copied. */
static Value copied_operand(const KernelWriter *w, const View *view, Value to, ContractOperand *x, Value *from) {
	const Lower *k = &w->lower;
	View source = piece_source(k->kp, view->piece);
	*from = emit_at_constant(k->e, k->pointer[source.buffer], k->e->f32, source.offset);
	if (x->wide_within) x->copier = lower_copier(k->e, k->kp, view->piece), x->copied_step = source.stride[0];
	return emit_at_constant(k->e, to, k->e->f32, view->offset);
}

/* What is copied piece by piece from further away than the second cache is asked for while the product goes over the piece
 * before: an equal part of it by each call of a microkernel.  So is what a result with a border will be written over, all of it,
 * some turns of the outermost loop before: its elements are too far apart for the machine to foresee them. */
static void fetch_ahead(const KernelWriter *w, const Contract *contract, const ContractPlan *plan, Value slot,
                        ContractArguments *args) {
	enum { MOST_FLOATS = 4096 };
	const Contraction *c = w->contraction;
	const View *view = c->a.piece ? &c->a : &c->b;
	int64_t calls = contract_calls(contract, plan), floats, turns;
	int level = (view == &c->a ? c->wide_a : c->wide_b).level;
	if (view->piece) {
		floats = lower_copied_step(w->lower.kp, view->piece), turns = view->piece->type.dim[0];
	} else if (c->nouter && has_border(w->lower.kp, w->lower.kernel)) {
		floats = c->outer[0].y, turns = c->outer[0].extent, level = 1;
	} else {
		return;
	}
	if (floats < 0 || floats * 4 * turns < w->lower.e->target->l2) return;
	for (int i = level; i < c->nouter; i++)
		if (i != w->turns) calls *= c->outer[i].extent;
	args->ahead_floats = calls ? divide_up(floats, calls) : 0;
	if (args->ahead_floats && args->ahead_floats <= MOST_FLOATS) args->ahead = slot;
}

/* Opens the loops around the product and moves the operands along. */
static void open_outer(KernelWriter *w, EmitLoop *loops, ContractArguments *args) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	const Contraction *c = w->contraction;
	for (int i = 0; i < c->nouter; i++) {
		const ContractLoop *l = &c->outer[i];
		widen_operands(w, i, args);
		if (l->extent == 1 || i == w->turns) continue;
		int64_t share = turns_per_share(k->kernel, l);
		Value begin = share ? emit_mul(e, w->begin, emit_index(e, share)) : emit_index(e, 0);
		Value end = share ? emit_mul(e, w->end, emit_index(e, share)) : emit_index(e, l->extent);
		level_open(k, &loops[i], begin, end, 1, l->extent, false);
		k->outer_level[i] = k->depth;
		if (l->bounded) args->outside = loops[i].i;
		LLVMTypeRef of_a = c->fill ? NULL : element_within(w, &c->a, &c->wide_a, i);
		LLVMTypeRef of_b = element_within(w, &c->b, &c->wide_b, i);
		if (is_copied(&c->a, &c->wide_a, i)) args->copied_a = next_image(w, &c->a, args->copied_a, loops[i].i);
		else if (args->a) args->a = emit_at(e, args->a, of_a, emit_mul(e, loops[i].i, emit_index(e, l->a)));
		if (is_copied(&c->b, &c->wide_b, i)) args->copied_b = next_image(w, &c->b, args->copied_b, loops[i].i);
		else args->b = emit_at(e, args->b, of_b, emit_mul(e, loops[i].i, emit_index(e, l->b)));
		if (args->c) args->c = emit_at(e, args->c, e->f32, emit_mul(e, loops[i].i, emit_index(e, l->y)));
		if (i == 0 && args->ahead && !c->a.piece && !c->b.piece)
			LLVMBuildStore(e->builder, emit_at_constant(e, args->c, e->f32, FLOATS_AHEAD), args->ahead);
	}
	widen_operands(w, c->nouter, args);
}

void write_product(KernelWriter *w) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	const Kernel *kernel = k->kernel;
	const Contraction *c = kernel->contraction;
	const KernelProgram *kp = k->kp;
	int out = kp->buffer_of[kernel->anchor->id];
	Contract contract = contract_of(e->target, kp, kernel);
	contract.context = contract.a.context = w;
	ContractPlan plan = contract_plan(e->target, &contract);
	w->contraction = c;
	w->turns = contract.turn_loop;
	w->run = plan.run, w->whole = true;
	for (int i = 0; i < plan.nheights; i++) w->whole = w->whole && plan.heights[i] * c->columns.extent % k->lanes == 0;
	w->split = needs_split(k, c->columns.extent);
	w->ragged = c->columns.extent > 1 && plan.lanes < k->lanes && (kernel->panels || plan.epilogue_columns < c->columns.extent);
	k->tile_value = kernel->anchor;
	k->of_tile = NEW_ARRAY(e->arena, char, kp->fn->vals.length + 1);
	if (contract.epilogue) hoist_scalars(k);
	ContractArguments args = {.scratch = w->scratch};
	if (contract.nrow_counts) {
		Value rows = emit_index(e, turns_per_share(kernel, &c->rows));
		args.row = emit_mul(e, w->begin, rows), args.rows = emit_mul(e, emit_sub(e, w->end, w->begin), rows);
	}
	if (kernel->panels && kernel->workers > 1) args.panel = w->begin, args.panels = emit_sub(e, w->end, w->begin);
	Wide wide = wide_places(kp, kernel, plan.scratch_bytes);
	args.wide_a = emit_at_constant(e, w->scratch, e->i8, (int64_t)wide.a);
	args.wide_b = emit_at_constant(e, w->scratch, e->i8, (int64_t)wide.b);
	LLVMTypeRef of_a = c->fill ? NULL : element_within(w, &c->a, &c->wide_a, -1);
	if (!c->fill) args.a = emit_at_constant(e, k->pointer[c->a.buffer], of_a, c->a.offset);
	args.b = emit_at_constant(e, k->pointer[c->b.buffer], element_within(w, &c->b, &c->wide_b, -1), c->b.offset);
	if (c->a.piece) args.a = copied_operand(w, &c->a, args.wide_a, &contract.a, &args.copied_a);
	if (c->b.piece) args.b = copied_operand(w, &c->b, args.wide_b, &contract.b, &args.copied_b);
	fetch_ahead(w, &contract, &plan, emit_at_constant(e, w->scratch, e->i8, (int64_t)wide.ahead), &args);
	args.c = out >= 0 ? k->pointer[out] : NULL;
	if (contract.epilogue) add_streams(k, &args);
	EmitLoop outer[MAX_RANK];
	open_outer(w, outer, &args);
	contract_emit(e, &contract, &plan, args);
	for (int i = c->nouter - 1; i >= 0; i--)
		if (c->outer[i].extent > 1 && i != w->turns) level_close(k, &outer[i]);
}
