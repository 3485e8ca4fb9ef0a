/* scan.c: in: a scan whose operands and results are stored; out: its body as a KernelProgram, whose inputs and emitted values are
 * windows on the buffers of the program around it.
 *
 * A constant is the operand itself, wherever views of it lie.  The row of it that the index says is a window that moves with the
 * index; so is the row of a stack that an emitted value goes to.  A carry stands where its first value does: its new value is
 * written over it once everybody has read the old one; where that cannot be, the two have a place each and change them with every
 * turn, so that nothing is ever copied.
 * Guarantees: windows hold no more than their elements (`exact`) unless the rows' padding is theirs. */
#include "exec.h"
#include "kernel.h"

#include <string.h>

/* Makes `out` a window on `of`: offset and step (per index) in elements, a stride for each axis of `type`. */
static void make_window(const Buffer *of, Type type, int64_t offset, int64_t step, const int64_t *stride, Buffer *out) {
	int last = type.rank - 1;
	bool padded = last >= 0 && of->type.rank > 0 && !of->exact && of->row % LANES == 0 && stride[last] == 1;
	padded = padded && type.dim[last] == of->type.dim[of->type.rank - 1] && offset % of->row == 0 && step % of->row == 0;
	for (int i = 0; i < last; i++) padded = padded && stride[i] % of->row == 0;
	out->type = type;
	out->exact = !padded;
	out->row = padded ? of->row : last >= 0 ? type.dim[last] : 1;
	out->strided = false;
	int64_t packed[MAX_RANK];
	buffer_strides(out, packed);
	for (int i = 0; i < type.rank; i++) out->strided = out->strided || (type.dim[i] > 1 && stride[i] != packed[i]);
	memset(out->stride, 0, sizeof out->stride);
	memcpy(out->stride, stride, sizeof *stride * (size_t)type.rank);
	int64_t bytes = dtype_info[type.dtype].bytes;
	out->offset += (size_t)(offset * bytes);
	out->step += step * bytes;
	out->bytes = whole_lines((size_t)(type_count(type) * bytes));
}

/* The result of the scan with this number in the program around it, or NULL when nobody reads it. */
static Val *find_result(const KernelProgram *body, int number) {
	const Fn *f = body->parent->fn;
	for (int i = body->scan->id; i < f->vals.length; i++) {
		Val *v = f->vals.data[i];
		if (v->op == OpProject && v->arg[0] == body->scan && v->list[0].data[0] == number) return v;
	}
	return NULL;
}

/* The whole of an operand. */
static Buffer operand_window(const KernelProgram *parent, const Val *operand) {
	View view;
	if (!view_resolve(parent, operand, &view)) die("an operand of a scan is not addressable");
	const Buffer *of = &parent->buffers.data[view.buffer];
	Buffer b = {0};
	int64_t stride[MAX_RANK];
	buffer_strides(of, stride);
	bool same = view.offset == 0 && type_same_dims(of->type, operand->type);
	if (same && !memcmp(stride, view.stride, sizeof *stride * (size_t)of->type.rank)) b = *of, b.offset = 0, b.step = 0;
	else make_window(of, operand->type, view.offset, 0, view.stride, &b);
	b.kind = BUFFER_OUTER;
	b.outer[0] = b.outer[1] = view.buffer;
	return b;
}

void scan_bind_inputs(KernelProgram *body) {
	for (int i = 0; i < body->scan->nargs; i++) {
		Val *input = body->fn->inputs.data[i + 1].val;
		Buffer b = operand_window(body->parent, body->scan->arg[i]);
		b.given = i >= scan_carries(body->scan);
		body->buffer_of[input->id] = kernel_add_buffer(body, input->type, b);
	}
}

bool scan_emit_buffer(const KernelProgram *body, int output, Buffer *out) {
	const Val *stack = find_result(body, output);
	if (!stack) return false;
	int number = body->parent->buffer_of[stack->id];
	const Buffer *of = &body->parent->buffers.data[number];
	int64_t stride[MAX_RANK];
	buffer_strides(of, stride);
	*out = (Buffer){.kind = BUFFER_OUTER, .outer = {number, number}};
	make_window(of, body->fn->outputs.data[output].val->type, 0, stride[0], stride + 1, out);
	return true;
}

/* ---- rows that the index says ---- */

typedef struct Line { int64_t scale, offset; } Line;   /* scale * index + offset */

/* Is v of this form, with numbers so small that nothing wraps? */
static bool is_line(const Val *v, Line *out) {
	Line a, b;
	switch (v->op) {
	case OpInput: *out = (Line){1, 0}; return v->list[0].data[0] == 0;
	case OpConst: *out = (Line){0, (int64_t)v->number}; break;
	case OpStop: case OpMark: return is_line(v->arg[0], out);
	case OpNeg:
		if (!is_line(v->arg[0], &a)) return false;
		*out = (Line){-a.scale, -a.offset};
		break;
	case OpAdd: case OpSub: case OpMul:
		if (!is_line(v->arg[0], &a) || !is_line(v->arg[1], &b)) return false;
		if (v->op == OpMul && a.scale && b.scale) return false;
		if (v->op == OpMul) *out = (Line){a.scale * b.offset + b.scale * a.offset, a.offset * b.offset};
		else if (v->op == OpAdd) *out = (Line){a.scale + b.scale, a.offset + b.offset};
		else *out = (Line){a.scale - b.scale, a.offset - b.offset};
		break;
	default: return false;
	}
	int64_t most = 1 << 30;
	return v->type.dtype == DTYPE_I32 && MAX(out->scale, -out->scale) <= most && MAX(out->offset, -out->offset) <= most;
}

/* The row of its first operand that this gather takes, when it is one for each turn, and there. */
static bool row_of_turn(const Val *scan, const Val *gather, Line *row) {
	if (gather->op != OpGather || gather->list[0].data[0] != 0 || gather->arg[1]->type.rank) return false;
	if (!is_line(gather->arg[1], row)) return false;
	int64_t at_end = row->scale * (scan_count(scan) - 1) + row->offset;
	return MIN(row->offset, at_end) >= 0 && MAX(row->offset, at_end) < gather->arg[0]->type.dim[0];
}

bool scan_bind_row(KernelProgram *body, Val *gather) {
	Line row;
	View view;
	if (!row_of_turn(body->scan, gather, &row) || !view_resolve(body, gather->arg[0], &view)) return false;
	Buffer of = body->buffers.data[view.buffer], b = of;
	if (!of.given) return false;
	int64_t offset = view.offset + row.offset * view.stride[0];
	make_window(&of, gather->type, offset, row.scale * view.stride[0], view.stride + 1, &b);
	body->buffer_of[gather->id] = kernel_add_buffer(body, gather->type, b);
	return true;
}

static bool reads_rows_of(const Val *scan, const Val *v) {
	Line row;
	for (int i = 0; i < scan->body->outputs.length; i++)
		if (scan->body->outputs.data[i].val == v) return false;
	for (int i = v->id + 1; i < scan->body->vals.length; i++) {
		const Val *reader = scan->body->vals.data[i];
		bool view = reader->op == OpTranspose || reader->op == OpSlice || reader->op == OpReshape || reader->op == OpBroadcast;
		for (int k = 0; k < reader->nargs; k++) {
			if (reader->arg[k] != v) continue;
			if (!(k == 0 && row_of_turn(scan, reader, &row)) && !(view && reads_rows_of(scan, reader))) return false;
		}
	}
	return true;
}

bool scan_reads_rows(const Val *scan, int number) { return reads_rows_of(scan, scan->body->inputs.data[number].val); }

/* ---- carries ---- */

void scan_alternate(KernelProgram *body, int carry) {
	KernelProgram *parent = body->parent;
	Val *result = find_result(body, carry), *new = body->fn->outputs.data[carry].val;
	int now = body->buffer_of[body->fn->inputs.data[carry + 1].val->id];
	int other = result ? parent->buffer_of[result->id] : kernel_add_buffer(parent, new->type, (Buffer){.kind = BUFFER_ARENA});
	int first = body->buffers.data[now].outer[0];
	body->buffers.data[now].outer[1] = other;
	Buffer next = body->buffers.data[now];
	next.outer[0] = other, next.outer[1] = first;
	body->buffer_of[new->id] = kernel_add_buffer(body, new->type, next);
}

int *scan_next_turn(const KernelProgram *body) {
	int *next = NEW_ARRAY(body->arena, int, body->buffers.length + 1);
	for (int i = 0; i < body->buffers.length; i++) next[i] = i;
	for (int i = 0; i < scan_carries(body->scan); i++) {
		int now = body->buffer_of[body->fn->inputs.data[i + 1].val->id], new = body->buffer_of[body->fn->outputs.data[i].val->id];
		next[now] = new, next[new] = now;
	}
	return next;
}

static void add_written(KernelProgram *kp, Kernel *k, int buffer) {
	for (int i = 0; i < k->writes.length; i++)
		if (k->writes.data[i] == buffer) return;
	vec_push(kp->arena, &k->writes, buffer);
}

void scan_schedule(KernelProgram *kp, int workers, const Machine *machine) {
	for (int i = 0; i < kp->kernels.length; i++) {
		Kernel *k = &kp->kernels.data[i];
		if (k->kind != KERNEL_SCAN) continue;
		KernelProgram *body = k->body = kernel_schedule_body(kp, k, workers, machine);
		for (int c = 0; c < scan_carries(k->scan); c++) {
			const Buffer *b = &body->buffers.data[body->buffer_of[body->fn->inputs.data[c + 1].val->id]];
			Val *result = find_result(body, c);
			if (result) kp->buffer_of[result->id] = b->outer[scan_count(k->scan) % 2];
			for (int turn = 0; turn < 2; turn++) add_written(kp, k, b->outer[turn]);
		}
		body->arena_buffer = kernel_add_buffer(kp, (Type){.dtype = DTYPE_F32}, (Buffer){.kind = BUFFER_ARENA});
		add_written(kp, k, body->arena_buffer);
	}
}
