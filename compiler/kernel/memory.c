/* memory.c: in: a planned KernelProgram; out: what its arena holds where it is fullest, and why.
 * Guarantees: the bytes of all holdings add up to arena_bytes. */
#include "kernel.h"

/* What a kernel computes, to name it by. */
static const Val *kernel_value(const Kernel *k) {
	return k->scan ? k->scan : k->anchor ? k->anchor : k->roots.length ? k->roots.data[0] : NULL;
}

/* By Val.id: does what the Fn returns, and does not update, depend on it? */
static bool *mark_forward(const KernelProgram *kp) {
	const Fn *f = kp->fn;
	bool *forward = NEW_ARRAY(kp->arena, bool, f->vals.length + 1);
	for (int i = 0; i < f->outputs.length; i++)
		if (f->outputs.data[i].updates < 0) forward[f->outputs.data[i].val->id] = true;
	for (int i = f->vals.length - 1; i >= 0; i--)
		for (int k = 0; forward[i] && k < f->vals.data[i]->nargs; k++) forward[f->vals.data[i]->arg[k]->id] = true;
	return forward;
}

static bool lives_at(const Buffer *b, int time) {
	return b->kind == BUFFER_ARENA && b->first >= 0 && !b->within && b->first <= time && time <= b->last;
}

/* The kernel before which most is alive, or among those that run together from there on. */
static int fullest_time(const KernelProgram *kp, size_t *most) {
	int when = 0;
	*most = 0;
	for (int t = 0; t < kp->kernels.length; t++) {
		size_t sum = 0;
		for (int i = 0; i < kp->buffers.length; i++)
			if (lives_at(&kp->buffers.data[i], t)) sum += kp->buffers.data[i].bytes;
		if (sum > *most) *most = sum, when = t;
	}
	return when;
}

static bool touches(const KernelProgram *kp, const int *list, int n, int buffer) {
	for (int i = 0; i < n; i++)
		if (whole_buffer(kp, list[i]) == buffer) return true;
	return false;
}

/* The value that the buffer holds at that time: the last written of those that share it. */
static const Val *held_value(const KernelProgram *kp, int buffer, int time) {
	const Val *held = NULL;
	for (int i = 0; i < kp->kernels.length && (i <= time || !held); i++) {
		const Kernel *k = &kp->kernels.data[i];
		for (int r = 0; r < k->roots.length; r++) {
			int own = kp->buffer_of[k->roots.data[r]->id];
			if (own >= 0 && whole_buffer(kp, own) == buffer) held = k->roots.data[r];
		}
		if (!held && touches(kp, k->writes.data, k->writes.length, buffer)) held = kernel_value(k);
	}
	return held;
}

static bool is_again(const KernelProgram *kp, const Val *v) {
	for (int i = 0; i < kp->again.length; i++)
		if (kp->again.data[i].val == v) return true;
	return false;
}

static Holding hold_buffer(const KernelProgram *kp, int buffer, int time, const bool *forward) {
	Holding h = {.bytes = kp->buffers.data[buffer].bytes};
	for (int i = 0; i < kp->kernels.length; i++)
		if (kp->kernels.data[i].body && kp->kernels.data[i].body->arena_buffer == buffer) {
			h.kind = HOLD_SCAN;
			h.val = h.until = kp->kernels.data[i].scan;
			return h;
		}
	h.val = held_value(kp, buffer, time);
	bool is_forward = h.val && forward[h.val->id], backward_reads = false;
	for (int i = 0; i < kp->kernels.length; i++) {
		const Kernel *k = &kp->kernels.data[i];
		const Val *computed = kernel_value(k);
		if (!computed || !touches(kp, k->reads.data, k->reads.length, buffer)) continue;
		h.until = computed;
		backward_reads |= !forward[computed->id];
	}
	h.kind = !is_forward ? HOLD_DERIVATIVE : backward_reads ? HOLD_ACTIVATION : HOLD_INTERMEDIATE;
	if (is_again(kp, h.val)) h.kind = HOLD_AGAIN;
	return h;
}

Holdings kernel_memory(const KernelProgram *kp) {
	Holdings list = {0};
	size_t most;
	int time = fullest_time(kp, &most);
	if (time < kp->kernels.length) list.fullest = kernel_value(&kp->kernels.data[time]);
	const bool *forward = mark_forward(kp);
	for (int i = 0; i < kp->buffers.length; i++) {
		if (!lives_at(&kp->buffers.data[i], time) || !kp->buffers.data[i].bytes) continue;
		Holding h = hold_buffer(kp, i, time, forward);
		vec_push(kp->arena, &list, h);
	}
	size_t scratch = kp->scratch_bytes * (size_t)kp->workers, tail = kp->arena_bytes - kp->scratch_offset - scratch;
	const Val *panels = kp->scratch_kernel ? kernel_value(kp->scratch_kernel) : NULL;
	if (kp->scratch_offset > most) vec_push(kp->arena, &list, ((Holding){.kind = HOLD_GAP, .bytes = kp->scratch_offset - most}));
	if (scratch) vec_push(kp->arena, &list, ((Holding){.kind = HOLD_WORKING, .val = panels, .bytes = scratch}));
	vec_push(kp->arena, &list, ((Holding){.kind = HOLD_TAIL, .bytes = tail}));
	return list;
}
