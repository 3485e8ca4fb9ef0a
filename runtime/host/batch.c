/* batch.c: in: samples and an order; out: the rows of a batch, dense, in a runner's io buffers.
 * Rows lie anywhere in memory, so each is asked for a few rows before it is copied; each worker copies its share. */
#include "host.h"

#include <string.h>

enum { AHEAD = 3, LINE = 64 };

Batch *batch_new(Arena *arena, const Samples *samples, const Runner *runner, int64_t size) {
	Batch *b = NEW(arena, Batch);
	*b = (Batch){.samples = samples, .size = size, .from = NEW_ARRAY(arena, const char *, runner->nio + 1),
	             .to = NEW_ARRAY(arena, char *, runner->nio + 1), .bytes = NEW_ARRAY(arena, size_t, runner->nio + 1),
	             .row = NEW_ARRAY(arena, int64_t, size + 1)};
	const Data *data = samples->data;
	for (int i = 0; i < runner->nio; i++) {
		if (!runner->input[i] || runner->kind[i] != INPUT_DATA) continue;
		int f = 0;
		while (f < data->set->nfields && strcmp(data->set->fields[f].name, runner->name[i]) != 0) f++;
		if (f == data->set->nfields || !data->field[f]) die("data field '%s' was not loaded", runner->name[i]);
		if (runner->bytes[i] != data->sample_bytes[f] * (size_t)size)
			die("data field '%s': %zu bytes for a batch of %lld samples of %zu", runner->name[i], runner->bytes[i],
			    (long long)size, data->sample_bytes[f]);
		b->from[b->nfields] = data->field[f];
		b->to[b->nfields] = runner->frame.io[i];
		b->bytes[b->nfields++] = data->sample_bytes[f];
	}
	return b;
}

static void copy_rows(char *to, const char *from, size_t bytes, const int64_t *row, int64_t n) {
	size_t lines = MIN(bytes / LINE + 1, (size_t)4); /* what follows is fetched by the hardware */
	for (int64_t i = 0; i < n; i++) {
		if (i + AHEAD < n)
			for (size_t k = 0; k < lines; k++) __builtin_prefetch(from + (size_t)row[i + AHEAD] * bytes + k * LINE);
		memcpy(to + (size_t)i * bytes, from + (size_t)row[i] * bytes, bytes);
	}
}

/* The part of worker `tid`: its samples, their places in the order and all their fields. */
static void fill_part(Batch *b, int64_t tid, int64_t n) {
	int64_t begin = b->size * tid / n, count = b->size * (tid + 1) / n - begin, *row = b->row + begin;
	for (int64_t i = 0; i < count; i++) {
		int64_t at = b->first + begin + i;
		row[i] = samples_row(b->samples, b->order ? shuffle_at(b->order, at) : at);
	}
	bool straight = !b->order && !b->samples->split;
	for (int f = 0; f < b->nfields && count; f++) {
		size_t bytes = b->bytes[f];
		char *to = b->to[f] + (size_t)begin * bytes;
		if (straight) {
			memcpy(to, b->from[f] + (size_t)row[0] * bytes, (size_t)count * bytes);
		} else if (bytes == 4) {
			for (int64_t i = 0; i < count; i++) memcpy(to + i * 4, b->from[f] + row[i] * 4, 4);
		} else {
			copy_rows(to, b->from[f], bytes, row, count);
		}
	}
}

static void fill_and_run(Frame *frame, int64_t tid, int64_t n) {
	Runner *r = (Runner *)((char *)frame - offsetof(Runner, frame));
	fill_part(r->batch, tid, n);
	pool_barrier(frame->context, tid);
	r->exe->entry(frame, tid, n);
}

void batch_run(Batch *b, Runner *r, const Shuffle *order, int64_t first) {
	b->order = order;
	b->first = first;
	r->batch = b;
	if (r->exe->workers > 1) {
		pool_run(r->pool, fill_and_run, &r->frame, r->exe->workers);
	} else {
		fill_part(b, 0, 1);
		r->exe->entry(&r->frame, 0, 1);
	}
}

void batch_fill(Batch *b, const Shuffle *order, int64_t first) {
	b->order = order;
	b->first = first;
	fill_part(b, 0, 1);
}
