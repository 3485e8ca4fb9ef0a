/* eval_move.c: the ops that only move elements.  In: dense arrays of 4- or 8-byte elements; out: one more.  Each op says
 * where result element (i, j, ..) lies in the operand as an offset and a stride per axis; eval_move() does the rest. */
#include "eval.h"

#include <string.h>

void dense_strides(int rank, const int64_t *dim, int64_t *stride) {
	int64_t step = 1;
	for (int i = rank - 1; i >= 0; i--) {
		stride[i] = step;
		step *= dim[i];
	}
}

static void move_row4(int64_t n, uint32_t *to, int64_t to_stride, const uint32_t *from, int64_t from_stride) {
	for (int64_t i = 0; i < n; i++) to[i * to_stride] = from[i * from_stride];
}

static void move_row8(int64_t n, uint64_t *to, int64_t to_stride, const uint64_t *from, int64_t from_stride) {
	for (int64_t i = 0; i < n; i++) to[i * to_stride] = from[i * from_stride];
}

void eval_move(size_t bytes, int rank, const int64_t *dim, char *to, const int64_t *to_stride,
               const char *from, const int64_t *from_stride) {
	if (rank > 1) {
		for (int64_t i = 0; i < dim[0]; i++)
			eval_move(bytes, rank - 1, dim + 1, to + i * to_stride[0] * (int64_t)bytes, to_stride + 1,
			          from + i * from_stride[0] * (int64_t)bytes, from_stride + 1);
		return;
	}
	int64_t n = rank ? dim[0] : 1, ts = rank ? to_stride[0] : 0, fs = rank ? from_stride[0] : 0;
	if (n <= 0) return;
	if (ts == 1 && fs == 1) memcpy(to, from, bytes * (size_t)n);
	else if (bytes == 4) move_row4(n, (uint32_t *)(void *)to, ts, (const uint32_t *)(const void *)from, fs);
	else move_row8(n, (uint64_t *)(void *)to, ts, (const uint64_t *)(const void *)from, fs);
}

/* y (dense) = operand read at `offset` with `stride` per axis of y. */
static void gather_strided(const Val *v, size_t bytes, void *y, const void *a, int64_t offset, const int64_t *stride) {
	int64_t dense[MAX_RANK];
	dense_strides(v->type.rank, v->type.dim, dense);
	eval_move(bytes, v->type.rank, v->type.dim, y, dense, (const char *)a + offset * (int64_t)bytes, stride);
}

static void move_view(const Val *v, const Tensor *arg, size_t bytes, void *y) {
	Type a = arg[0].type;
	int64_t from[MAX_RANK], stride[MAX_RANK] = {0}, offset = 0;
	const int64_t *first = v->list[0].data;
	dense_strides(a.rank, a.dim, from);
	for (int i = 0; i < a.rank; i++) {
		switch (v->op) {
		case OpTranspose: stride[i] = from[first[i]]; break;
		case OpBroadcast: stride[first[i]] = from[i]; break;
		case OpSlice:
			stride[i] = from[i] * v->list[1].data[i];
			offset += from[i] * first[i];
			break;
		default: stride[i] = from[i]; break;
		}
	}
	if (v->op == OpFlip)
		for (int k = 0; k < v->list[0].length; k++) {
			offset += (a.dim[first[k]] - 1) * from[first[k]];
			stride[first[k]] = -from[first[k]];
		}
	if (v->op == OpWindow) {
		int axis = (int)first[0];
		for (int i = a.rank - 1; i > axis; i--) stride[i + 1] = from[i];
		stride[axis] = from[axis] * v->list[1].data[0];
		stride[axis + 1] = from[axis] * v->list[2].data[0];
	}
	gather_strided(v, bytes, y, arg[0].data, offset, stride);
}

static void move_pad(const Val *v, const Tensor *arg, Element element, void *y) {
	Type a = arg[0].type;
	int64_t from[MAX_RANK], to[MAX_RANK], dim[MAX_RANK], from_offset = 0, to_offset = 0;
	size_t bytes = element_bytes(element);
	dense_strides(a.rank, a.dim, from);
	dense_strides(v->type.rank, v->type.dim, to);
	eval_fill(element, v->number, type_count(v->type), y);
	for (int i = 0; i < a.rank; i++) {
		int64_t lo = v->list[0].data[i], pitch = v->list[2].data[i] + 1, room = v->type.dim[i] - 1 - lo;
		int64_t begin = lo < 0 ? (-lo + pitch - 1) / pitch : 0, end = room < 0 ? 0 : MIN(room / pitch + 1, a.dim[i]);
		if (begin >= end) return; /* nothing of the operand is left */
		dim[i] = end - begin;
		from_offset += begin * from[i];
		to_offset += (lo + begin * pitch) * to[i];
		to[i] *= pitch;
	}
	eval_move(bytes, a.rank, dim, (char *)y + to_offset * (int64_t)bytes, to,
	          (const char *)arg[0].data + from_offset * (int64_t)bytes, from);
}

static void move_concat(const Val *v, const Tensor *arg, size_t bytes, void *y) {
	int64_t to[MAX_RANK], from[MAX_RANK], axis = v->list[0].data[0];
	char *at = y;
	dense_strides(v->type.rank, v->type.dim, to);
	for (int i = 0; i < v->nargs; i++) {
		dense_strides(arg[i].type.rank, arg[i].type.dim, from);
		eval_move(bytes, v->type.rank, arg[i].type.dim, at, to, arg[i].data, from);
		at += arg[i].type.dim[axis] * to[axis] * (int64_t)bytes;
	}
}

/* a[batch.., b[batch.., i..], rest..]; 0 where the index is out of range */
static void move_gather(const Val *v, const Tensor *arg, size_t bytes, void *y) {
	int batch = (int)v->list[0].data[0];
	Type table = arg[0].type, index = arg[1].type;
	const int32_t *indices = arg[1].data;
	Around at = around_axis(table, batch); /* (batch, n, rest) */
	int64_t per_batch = type_count(index) / at.outer;
	size_t row = bytes * (size_t)at.inner;
	char *to = y;
	for (int64_t b = 0; b < at.outer; b++)
		for (int64_t i = 0; i < per_batch; i++, to += row) {
			int64_t k = indices[b * per_batch + i];
			if (k < 0 || k >= at.n) memset(to, 0, row);
			else memcpy(to, (const char *)arg[0].data + (size_t)(b * at.n + k) * row, row);
		}
}

/* For each batch: 0, where each of the n buckets ends, then places in the order of the buckets, of equal ones ascending. */
static void make_buckets(const Val *v, const Tensor *arg, int32_t *y) {
	int last = v->type.rank - 1;
	int64_t m = arg[0].type.dim[last], n = v->type.dim[last] - 1 - m;
	const int32_t *index = arg[0].data, *end = index + type_count(arg[0].type);
	for (; index < end; index += m) {
		int32_t *ends = y + 1, *order = ends + n, total = 0;
		*y = 0;
		for (int64_t j = 0; j < n; ends[j++] = total)
			for (int64_t i = 0; i < m; i++)
				if (index[i] == j) order[total++] = (int32_t)i;
		for (int64_t i = total; i < m; i++) order[i] = 0;
		y = order + m;
	}
}

static void make_iota(const Val *v, int32_t *y) {
	Around at = around_axis(v->type, v->list[0].data[0]);
	for (int64_t o = 0; o < at.outer; o++)
		for (int64_t i = 0; i < at.n; i++)
			for (int64_t k = 0; k < at.inner; k++) *y++ = (int32_t)i;
}

bool eval_moving(const Val *v, const Tensor *arg, Element element, void *y) {
	size_t bytes = element_bytes(element);
	switch (v->op) {
	case OpConst: eval_fill(element, v->number, 1, y); return true;
	case OpIota: make_iota(v, y); return true;
	case OpReshape: case OpAgain: case OpMark: case OpCustom: case OpStop:
		memcpy(y, arg[0].data, bytes * (size_t)type_count(v->type));
		return true;
	case OpTranspose: case OpBroadcast: case OpSlice: case OpFlip: case OpWindow: move_view(v, arg, bytes, y); return true;
	case OpPad: move_pad(v, arg, element, y); return true;
	case OpConcat: move_concat(v, arg, bytes, y); return true;
	case OpGather: move_gather(v, arg, bytes, y); return true;
	case OpBuckets: make_buckets(v, arg, y); return true;
	default: return false;
	}
}
