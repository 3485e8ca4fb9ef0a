/* kernels.c: in: a Kernel; out: a local function  k(buffers.., scratch, sites.., [index,] begin, end)  that computes its roots
 * for the share begin .. end of its partition axis.  Guarantees: no allocation, no call but to microkernels of the same module.
 */
#include "kernel_writer.h"

#include <string.h>

/* Is there nothing to store of a root, since its parts were stored where they belong? */
static bool is_dealt(const Lower *k, const Val *root) { return k->kp->buffers.data[k->kp->buffer_of[root->id]].dealt; }

void write_roots(Lower *k, const At *at, const Val *skip) {
	int n = k->kernel->roots.length;
	Value *values = NEW_ARRAY(k->e->arena, Value, n + 1);
	for (int i = 0; i < n; i++)
		if (k->kernel->roots.data[i] != skip && !is_dealt(k, k->kernel->roots.data[i]))
			values[i] = lower_value(k, k->kernel->roots.data[i], at, NULL);
	for (int i = 0; i < n; i++)
		if (values[i]) lower_store(k, k->kernel->roots.data[i], at, values[i]);
}

static void write_each(KernelWriter *w, At *at, const Val *skip) {
	if (w->each) w->each(w, at);
	else write_roots(&w->lower, at, skip);
}

/* Does something in the tree of `v` read or write memory that has no padding along its last axis? */
static bool tree_is_dense(const KernelProgram *kp, const Val *v, bool top) {
	int buffer = kp->buffer_of[v->id];
	if (buffer >= 0) {
		const Buffer *b = &kp->buffers.data[buffer];
		if (b->type.rank > 0 && (b->exact || b->row % LANES)) return true;
		if (!top) return false;
	}
	switch (v->op) {
	case OpSlice: case OpPad: case OpFlip: case OpWindow: case OpConcat: case OpReshape: case OpTranspose: return true;
	case OpGather: case OpFold: case OpSumBuckets: return true;
	default: break;
	}
	for (int i = 0; i < computed_operands(v); i++)
		if (tree_is_dense(kp, v->arg[i], false)) return true;
	return false;
}

bool needs_split(const Lower *k, int64_t n) {
	const KernelProgram *kp = k->kp;
	const Kernel *kernel = k->kernel;
	if (n % k->lanes == 0) return false;
	for (int i = 0; i < kernel->roots.length; i++)
		if (tree_is_dense(kp, kernel->roots.data[i], true)) return true;
	return false;
}

/* Does the tree of `v` read nothing but the anchor, single numbers, and tensors of these dims whose rows have no gaps? */
static bool tree_is_run(const KernelProgram *kp, const Kernel *kernel, const Val *v, bool top, int depth) {
	const Buffer *b = kp->buffer_of[v->id] >= 0 ? &kp->buffers.data[kp->buffer_of[v->id]] : NULL;
	bool dense = b && !b->strided && b->row == last_dim(b->type) && type_same_dims(b->type, kernel->domain);
	if (b && v != kernel->anchor && !dense) return false;
	if ((b && !top) || v == kernel->anchor || v->op == OpConst || (v->op == OpBroadcast && v->list[0].length == 0)) return true;
	if (!is_pointwise(v) || depth == 0) return false;
	for (int i = 0; i < computed_operands(v); i++)
		if (!tree_is_run(kp, kernel, v->arg[i], false, depth - 1)) return false;
	return true;
}

bool is_run(const KernelProgram *kp, const Kernel *kernel) {
	enum { DEPTH = 40 };
	if (kernel->domain.rank < 2 || last_dim(kernel->domain) % LANES == 0 || last_dim(kernel->domain) == 1) return false;
	for (int i = 0; i < kernel->roots.length; i++)
		if (!tree_is_run(kp, kernel, kernel->roots.data[i], true, DEPTH)) return false;
	return true;
}

static Value emit_maximum(Emit *e, Value a, Value b) {
	return emit_intrinsic(e, "llvm.smax", LLVMTypeOf(a), 2, (Value[]){a, b});
}

/* Sets the index along the lanes, which the innermost level counts. */
static void set_lanes(KernelWriter *w, At *at, int axis) {
	Lower *k = &w->lower;
	if (!w->flat) {
		at->axis[axis] = index_variable(k->depth);
		return;
	}
	Affine lane = index_variable(k->depth);
	at->flat = true;
	at->axis[0] = index_scale_add(k, index_variable(k->tile_row_level), w->contraction->columns.extent, &lane);
}

/* A machine without vectors would take 16 elements at a time by 16 times the code. */
static bool one_by_one(const KernelWriter *w) { return w->lower.e->target->lanes == 1; }

void write_lanes(KernelWriter *w, At *at, int axis, int64_t n, Value begin, Value end, const Val *skip) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	int64_t whole = w->split ? n - n % k->lanes : n;
	EmitLoop loop;
	if (one_by_one(w)) {
		level_open(k, &loop, begin, end, 1, n, false);
		k->tile_column_level = k->depth;
		set_lanes(w, at, axis);
		write_each(w, at, skip);
		k->tile_column_level = -1;
		level_close(k, &loop);
		return;
	}
	if (whole > 0) {
		Value stop = w->split ? emit_min(e, end, emit_index(e, whole)) : end;
		level_open(k, &loop, begin, stop, k->lanes, n, true);
		set_lanes(w, at, axis);
		write_each(w, at, skip);
		level_close(k, &loop);
	}
	if (w->split) {   /* runs once, or not at all */
		Value start = whole > 0 ? emit_maximum(e, begin, emit_index(e, whole)) : begin;
		level_open(k, &loop, start, end, k->lanes, n, true);
		set_lanes(w, at, axis);
		k->tail = (int)(n % k->lanes);
		write_each(w, at, skip);
		k->tail = 0;
		level_close(k, &loop);
	}
}

/* Where the last whole vector from begin on ends. */
static Value end_of_vectors(Lower *k, Value begin, Value end) {
	Value whole = LLVMBuildAnd(k->e->builder, emit_sub(k->e, end, begin), emit_index(k->e, -k->lanes), "");
	return emit_add(k->e, begin, whole);
}

void write_run(KernelWriter *w, int64_t count, Value begin, Value end, bool always_whole) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	At at = {.flat = true};
	EmitLoop loop;
	if (one_by_one(w)) {
		level_open(k, &loop, begin, end, 1, count, false);
		k->tile_row_level = k->tile_column_level = k->depth;
		at.axis[0] = index_variable(k->depth);
		write_roots(k, &at, NULL);
		k->tile_column_level = -1;
		level_close(k, &loop);
		return;
	}
	Value stop = end_of_vectors(k, begin, end);
	for (int part = 0; part < (always_whole ? 1 : 2); part++) {
		level_open(k, &loop, part ? stop : begin, part ? end : stop, k->lanes, count, true);
		k->tile_row_level = k->depth;
		at.axis[0] = index_variable(k->depth);
		k->tail = part ? -1 : 0;
		k->tail_lanes = part ? emit_tail_mask(e, k->lanes, emit_sub(e, end, loop.i)) : NULL;
		write_roots(k, &at, NULL);
		k->tail = 0;
		level_close(k, &loop);
	}
}

void write_ragged(KernelWriter *w, At *at, int axis, int64_t n, Value begin, Value end, const Val *skip) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	EmitLoop loop;
	if (one_by_one(w)) {
		write_lanes(w, at, axis, n, begin, end, skip);
		return;
	}
	Value stop = end_of_vectors(k, begin, end);
	level_open(k, &loop, begin, stop, k->lanes, n, true);
	set_lanes(w, at, axis);
	write_roots(k, at, skip);
	level_close(k, &loop);
	level_open(k, &loop, stop, end, k->lanes, n, true);
	set_lanes(w, at, axis);
	k->tail = -1;
	k->tail_lanes = emit_tail_mask(e, k->lanes, emit_sub(e, end, loop.i));
	write_roots(k, at, skip);
	k->tail = 0;
	level_close(k, &loop);
}

/* One loop per axis 0 .. naxes - 1 of the domain, then `inside`. */
static void write_axes(KernelWriter *w, At *at, int axis, int naxes, Inside *inside) {
	Lower *k = &w->lower;
	if (axis == naxes) {
		inside(w, at);
		return;
	}
	if (axis == w->along) {
		write_axes(w, at, axis + 1, naxes, inside);
		return;
	}
	bool shared = axis == k->kernel->partition;
	int64_t n = k->kernel->domain.dim[axis];
	EmitLoop loop;
	level_open(k, &loop, shared ? w->begin : emit_index(k->e, 0), shared ? w->end : emit_index(k->e, n), 1, n, false);
	at->axis[axis] = index_variable(k->depth);
	write_axes(w, at, axis + 1, naxes, inside);
	level_close(k, &loop);
}

/* May lanes run along any axis of v: is nothing below it computed along its own last one? */
static bool any_lanes(const KernelProgram *kp, const Val *v, bool *seen) {
	if (seen[v->id]) return true;
	seen[v->id] = true;
	bool column = is_reduce(v) && v->list[0].data[0] < v->arg[0]->type.rank - 1;
	bool product = v->op == OpContract && contract_is_element_wise(v);
	if (v->nargs && !is_pointwise(v) && !is_view(v) && v->op != OpPad && v->op != OpConcat && !column && !product) return false;
	for (int i = 0; i < v->nargs; i++)
		if (kp->buffer_of[v->arg[i]->id] < 0 && !any_lanes(kp, v->arg[i], seen)) return false;
	return true;
}

/* The axis that lanes run along: the last one, or, where that has one element, the last one that has more. */
static int lane_axis(const KernelProgram *kp, const Kernel *kernel) {
	Type d = kernel->domain;
	int axis = d.rank - 1;
	while (axis > 0 && d.dim[axis] == 1) axis--;
	if (axis == d.rank - 1 || d.dim[axis] == 1 || kernel->kind != KERNEL_MAP) return d.rank - 1;
	bool *seen = NEW_ARRAY(kp->arena, bool, kp->fn->vals.length + 1);
	for (int i = 0; i < kernel->roots.length; i++) {
		int64_t stride[MAX_RANK];
		buffer_strides(&kp->buffers.data[kp->buffer_of[kernel->roots.data[i]->id]], stride);
		if (stride[axis] != 1 || !any_lanes(kp, kernel->roots.data[i], seen)) return d.rank - 1;
	}
	return axis;
}

/* Along an axis that only axes of one element follow: its rows are not padded, so what is left after whole vectors is done
 * one by one. */
static void write_unpadded(KernelWriter *w, At *at, int axis, Value begin, Value end) {
	Lower *k = &w->lower;
	int64_t n = k->kernel->domain.dim[axis];
	EmitLoop loop;
	Value stop = end_of_vectors(k, begin, end);
	level_open(k, &loop, begin, stop, k->lanes, n, true);
	set_lanes(w, at, axis);
	write_each(w, at, NULL);
	level_close(k, &loop);
	level_open(k, &loop, stop, end, 1, n, false);
	at->axis[axis] = index_variable(k->depth);
	write_each(w, at, NULL);
	level_close(k, &loop);
}

static void write_map_row(KernelWriter *w, At *at) {
	Lower *k = &w->lower;
	Type d = k->kernel->domain;
	if (d.rank == 0) {
		write_each(w, at, NULL);
		return;
	}
	int axis = w->lanes;
	bool shared = axis == k->kernel->partition;
	int64_t n = d.dim[axis];
	Value begin = shared ? w->begin : emit_index(k->e, 0), end = shared ? w->end : emit_index(k->e, n);
	for (int i = axis + (n > 1); i < d.rank; i++) at->axis[i] = index_constant(0);
	if (n == 1) {   /* rows of one element are not padded: no lanes */
		write_each(w, at, NULL);
		return;
	}
	if (axis < d.rank - 1) {
		write_unpadded(w, at, axis, begin, end);
		return;
	}
	w->split = needs_split(k, n);
	write_lanes(w, at, axis, n, begin, end, NULL);
}

/* A map whose rows are one run. */
static void write_map_run(KernelWriter *w) {
	const Kernel *kernel = w->lower.kernel;
	int64_t count = type_count(kernel->domain), row = count / kernel->domain.dim[0];
	Value n = emit_index(w->lower.e, row);
	Emit *e = w->lower.e;
	int lanes = w->lower.lanes;
	if (kernel->partition < 0) write_run(w, count, emit_index(e, 0), emit_index(e, count), count % lanes == 0);
	else write_run(w, count, emit_mul(e, w->begin, n), emit_mul(e, w->end, n), row % lanes == 0);
}

/* A pad whose inside has been written where it belongs. */
static void write_border(KernelWriter *w) {
	Emit *e = w->lower.e;
	const KernelProgram *kp = w->lower.kp;
	int number = kp->buffer_of[w->lower.kernel->roots.data[0]->id];
	const Val *pad = kp->buffers.data[number].border;
	bool shared = w->lower.kernel->partition == 0;
	Value begin = shared ? w->begin : emit_index(e, 0), end = shared ? w->end : emit_index(e, pad->type.dim[0]);
	EmitLoop loop = emit_loop_begin(e, begin, end, 1);
	Value image = emit_mul(e, loop.i, emit_index(e, type_count(pad->type) / pad->type.dim[0]));
	lower_border(e, pad, emit_at(e, w->lower.pointer[number], e->f32, image));
	emit_loop_end(e, &loop);
}

/* A running sum and what is computed of it, element by element; along the lanes as many sums as there are lanes. */
static void write_running(KernelWriter *w, At *at) {
	Lower *k = &w->lower;
	Emit *e = k->e;
	Val *v = k->kernel->anchor;
	int64_t n = v->type.dim[w->along];
	int lane_level = k->lane_level, lanes = lane_level >= 0 ? k->lanes : 1;
	EmitLoop loop;
	Value start = reduce_start(e, OpReduceSum, v->type.dtype, lanes);
	level_open(k, &loop, emit_index(e, 0), emit_index(e, n), 1, n, false);
	k->lane_level = lane_level;
	at->axis[w->along] = index_variable(k->depth);
	Value x = lower_value(k, v->arg[0], at, NULL), sum = emit_loop_carry(e, &loop, start);
	sum = reduce_step(e, OpReduceSum, sum, lanes > 1 ? lower_as_lanes(k, x) : x);
	Memo given = {.v = v, .value = sum};
	k->given = &given;
	write_roots(k, at, NULL);
	k->given = NULL;
	emit_loop_next(e, &loop, 0, sum);
	level_close(k, &loop);
	k->lane_level = lane_level;
}

static void write_element(KernelWriter *w, At *at) { write_roots(&w->lower, at, NULL); }
static void write_line(KernelWriter *w, At *at) { lower_line(&w->lower, w->lower.kernel->anchor, at, w->scratch); }

static void write_sequence(KernelWriter *w) {
	const Kernel *kernel = w->lower.kernel;
	int rank = kernel->domain.rank;
	At at = {0};
	w->along = sequence_axis(kernel->anchor);
	if (!sequence_streams(kernel->anchor)) {
		write_axes(w, &at, 0, rank, write_line);
	} else if (w->along < 0) {
		write_axes(w, &at, 0, rank, write_element);
	} else if (w->along == rank - 1) {
		write_axes(w, &at, 0, rank, write_running);
	} else {
		w->each = write_running;
		write_axes(w, &at, 0, rank - 1, write_map_row);
	}
}

size_t kernel_scratch(const Target *target, const KernelProgram *kp, const Kernel *kernel) {
	switch (kernel->kind) {
	case KERNEL_ROWS: return rows_scratch(kernel);
	case KERNEL_SEQUENCE: return sequence_scratch(kernel->anchor);
	case KERNEL_CONTRACT: return product_scratch(target, kp, kernel);
	default: return 0;
	}
}

/* The buffers a kernel is given, in the order of its parameters. */
static int kernel_buffers(Arena *arena, const Kernel *kernel, int **out) {
	int n = 0, *list = NEW_ARRAY(arena, int, kernel->reads.length + kernel->writes.length + 1);
	for (int i = 0; i < kernel->reads.length + kernel->writes.length; i++) {
		int buffer = i < kernel->reads.length ? kernel->reads.data[i] : kernel->writes.data[i - kernel->reads.length];
		bool known = false;
		for (int j = 0; j < n; j++) known = known || list[j] == buffer;
		if (!known) list[n++] = buffer;
	}
	*out = list;
	return n;
}

static Value write_kernel(Emit *e, const KernelProgram *kp, const Kernel *kernel, const KernelCode *code, const char *name) {
	int nparams = code->nbuffers + 1 + code->sites.length + code->index + 2;
	LLVMTypeRef *params = NEW_ARRAY(e->arena, LLVMTypeRef, nparams);
	for (int i = 0; i <= code->nbuffers; i++) params[i] = e->ptr;
	for (int i = 0; i < code->sites.length; i++) params[code->nbuffers + 1 + i] = e->i64;
	if (code->index) params[nparams - 3] = e->i32;
	params[nparams - 2] = params[nparams - 1] = e->index;
	Value function = emit_function(e, name, e->void_type, nparams, params, true);
	unsigned noalias = LLVMGetEnumAttributeKindForName("noalias", 7);
	for (int i = 0; i <= code->nbuffers; i++)
		LLVMAddAttributeAtIndex(function, (LLVMAttributeIndex)(i + 1), LLVMCreateEnumAttribute(e->context, noalias, 0));
	KernelWriter *w = NEW(e->arena, KernelWriter);
	w->lower = (Lower){.e = e, .kp = kp, .kernel = kernel, .lane_level = -1, .tile_column_level = -1};
	w->lower.lanes = kernel->kind == KERNEL_ROWS ? LANES : e->target->at_once;
	w->lower.pointer = NEW_ARRAY(e->arena, Value, kp->buffers.length + 1);
	for (int i = 0; i < code->nbuffers; i++) w->lower.pointer[code->buffers[i]] = LLVMGetParam(function, (unsigned)i);
	w->scratch = LLVMGetParam(function, (unsigned)code->nbuffers);
	w->lower.sites = &code->sites;
	w->lower.site = NEW_ARRAY(e->arena, Value, code->sites.length + 1);
	for (int i = 0; i < code->sites.length; i++) w->lower.site[i] = LLVMGetParam(function, (unsigned)(code->nbuffers + 1 + i));
	if (code->index) w->lower.turn = LLVMGetParam(function, (unsigned)nparams - 3);
	w->begin = LLVMGetParam(function, (unsigned)nparams - 2);
	w->end = LLVMGetParam(function, (unsigned)nparams - 1);
	w->along = -1;
	w->lanes = lane_axis(kp, kernel);
	At at = {0};
	switch (kernel->kind) {
	case KERNEL_MAP:
		if (kernel->roots.length == 1 && kp->buffers.data[kp->buffer_of[kernel->roots.data[0]->id]].border) write_border(w);
		else if (kernel->partition <= 0 && is_run(kp, kernel)) write_map_run(w);
		else write_axes(w, &at, 0, MAX(w->lanes, 0), write_map_row);
		break;
	case KERNEL_SEQUENCE: write_sequence(w); break;
	case KERNEL_ROWS: lower_rows(&w->lower, w->begin, w->end, w->scratch); break;
	default: write_product(w); break;
	}
	LLVMBuildRetVoid(e->builder);
	return function;
}

KernelCode lower_kernel(Emit *e, const KernelProgram *kp, const Kernel *kernel, KernelCodes *made) {
	KernelCode code = {.index = kernel->leaves.index};
	code.nbuffers = kernel_buffers(e->arena, kernel, &code.buffers);
	Text *key = &made->key;
	key->arena = e->arena, key->length = 0;
	kernel_key(key, kp, kernel, code.buffers, code.nbuffers, &code.sites);
	code.hash = hash_bytes(key->data, key->length, 0);
	for (int i = 0; i < made->length && !code.function; i++)
		if (made->data[i].hash == code.hash && strcmp(made->data[i].key, key->data) == 0) code.function = made->data[i].function;
	if (code.function) return code;
	code.key = arena_text(e->arena, key->data, key->length);
	code.function = write_kernel(e, kp, kernel, &code, arena_printf(e->arena, "%s.k%d", made->prefix, made->length));
	vec_push(e->arena, made, code);
	return code;
}
