/* plan.c: in: kernels in order; out: an offset in one arena for every buffer that is neither persistent nor the caller's.
 *
 * A buffer lives from the kernel that writes it to the last that reads it, kernels that run together counting as one; where
 * several workers run, from barrier to barrier, since between two barriers one worker may be ahead of another.  Largest first,
 * lowest free offset.  The body of a scan has an arena of its own, the same in every turn (one for each worker where turns are
 * dealt out): it is a buffer of the program around it.
 * Guarantees: buffers alive at once do not overlap; arena_bytes is exact. */
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

/* Where nobody waits for others between two turns, one worker may still be in the last stretch of a turn while another is in
 * the first of the next: what lives in the last stretch keeps apart from everything in the first. */
static void join_turns(KernelProgram *kp, int last) {
	for (int i = 0; i < kp->buffers.length; i++) {
		Buffer *b = &kp->buffers.data[i];
		if (b->first >= 0 && b->last == last) b->first = 0;
	}
}

int *kernel_times(const KernelProgram *kp) {
	int stretch = 0, first = 0, together = 0, *time = NEW_ARRAY(kp->arena, int, kp->kernels.length + 1);
	for (int i = 0; i < kp->kernels.length; i++) {
		const Kernel *k = &kp->kernels.data[i];
		if (k->barrier_before) stretch++;
		if (i >= first + together) first = i, together = k->together;
		time[i] = kp->workers > 1 ? stretch : first;
	}
	return time;
}

static void set_lifetimes(KernelProgram *kp) {
	const int *time = kernel_times(kp);
	int n = kp->kernels.length;
	for (int i = 0; i < n; i++) {
		Kernel *k = &kp->kernels.data[i];
		int now = time[i];
		for (int w = 0; w < k->writes.length; w++) {
			Buffer *b = &kp->buffers.data[whole_buffer(kp, k->writes.data[w])];
			if (b->first < 0) b->first = now;
			b->last = MAX(b->last, now);
		}
		for (int r = 0; r < k->reads.length; r++) {
			Buffer *b = &kp->buffers.data[whole_buffer(kp, k->reads.data[r])];
			if (b->first < 0) b->first = now;
			b->last = MAX(b->last, now);
		}
	}
	if (kp->parent && kp->workers > 1 && !kp->barrier_between && n) join_turns(kp, time[n - 1]);
}

static bool overlap(const Buffer *a, const Buffer *b) { return a->first <= b->last && b->first <= a->last; }

/* placed: by offset; b is put among them. */
static void place_buffer(KernelProgram *kp, Buffer *b, Buffer **placed, int nplaced) {
	size_t at = 0;
	for (int i = 0; i < nplaced && placed[i]->offset < at + b->bytes; i++)
		if (overlap(placed[i], b)) at = MAX(at, placed[i]->offset + placed[i]->bytes);
	b->offset = at;
	int place = nplaced;
	for (; place > 0 && placed[place - 1]->offset > at; place--) placed[place] = placed[place - 1];
	placed[place] = b;
	kp->arena_bytes = MAX(kp->arena_bytes, at + b->bytes);
}

static int larger_first(const void *a, const void *b) {
	const Buffer *x = *(Buffer *const *)a, *y = *(Buffer *const *)b;
	if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
	return x < y ? -1 : 1;   /* by number */
}

static void plan_arena(KernelProgram *kp) {
	for (int i = 0; i < kp->kernels.length; i++) {
		KernelProgram *body = kp->kernels.data[i].body;
		if (!body) continue;
		plan_arena(body);
		int64_t arenas = kp->kernels.data[i].dealt ? kp->workers : 1;
		kp->buffers.data[body->arena_buffer].bytes = body->arena_bytes * (size_t)arenas;
	}
	set_lifetimes(kp);
	kp->arena_bytes = kp->arena_bound = 0;
	Buffer **live = NEW_ARRAY(kp->arena, Buffer *, kp->buffers.length + 1);
	int n = 0;
	for (int i = 0; i < kp->buffers.length; i++) {
		Buffer *b = &kp->buffers.data[i];
		if (b->kind == BUFFER_ARENA && b->first >= 0 && !b->within) live[n++] = b;
	}
	size_t sum = 0, *more = NEW_ARRAY(kp->arena, size_t, kp->kernels.length + 2);   /* than before: it may wrap round */
	for (int i = 0; i < n; i++) more[live[i]->first] += live[i]->bytes, more[live[i]->last + 1] -= live[i]->bytes;
	for (int t = 0; t < kp->kernels.length; t++) {
		sum += more[t];
		kp->arena_bound = MAX(kp->arena_bound, sum);
	}
	qsort(live, (size_t)n, sizeof *live, larger_first);
	Buffer **placed = NEW_ARRAY(kp->arena, Buffer *, n + 1);
	for (int i = 0; i < n; i++) place_buffer(kp, live[i], placed, i);
	kp->arena_bytes = whole_lines(kp->arena_bytes);
}

void kernel_plan(KernelProgram *kp, size_t scratch_bytes) {
	plan_arena(kp);
	kp->scratch_offset = kp->arena_bytes;
	kp->scratch_bytes = whole_lines(scratch_bytes);
	kp->arena_bytes += kp->scratch_bytes * (size_t)kp->workers + 64;   /* 64: the last vector may be read whole */
}
