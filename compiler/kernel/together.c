/* together.c: in: kernels in order, with their workers; out: which of them run together, some rows of the axis that workers share
 * at a time, so that what one leaves for the next is still in the core's cache.
 *
 * Kernels run together when they have the same shares and each reads of the others' results its own rows alone.  Of what
 * stands between them in the order, what needs none of them is moved before the first.
 * Guarantees: the same kernels, each after all that it reads. */
#include <string.h>

#include "kernel.h"

enum { MOST_BETWEEN = 8, CACHE_PART = 4 };   /* a quarter of the cache for rows: weights and what streams by want theirs */

/* Can it be called for some rows after others at no cost?  Of a product, these must be a loop around it. */
static bool has_parts(const Kernel *k) {
	if (k->partition < 0 || k->grain != 1 || k->rows < 2 || k->panels || k->product_rows) return false;
	if (k->kind == KERNEL_MAP || k->kind == KERNEL_ROWS) return k->domain.rank > 1;
	if (k->kind != KERNEL_CONTRACT) return false;
	if (k->contraction->a.through != DTYPE_F32 || k->contraction->b.through != DTYPE_F32) return false;   /* copied as a whole */
	for (int i = 0; i < k->contraction->nouter; i++)
		if (k->contraction->outer[i].naxes && k->contraction->outer[i].axis[0] == k->partition) return true;
	return false;
}

/* Is the buffer read or written by rows of the partition axis? */
static bool has_rows(const KernelProgram *kp, const Kernel *k, int buffer) {
	for (int i = 0; i < k->leaves.length; i++)
		if (kp->buffer_of[k->leaves.data[i].val->id] == buffer && k->leaves.data[i].axis < 0) return false;
	return true;
}

static bool touches(const Kernel *k, int buffer) {
	return contains(k->reads.data, k->reads.length, buffer) || contains(k->writes.data, k->writes.length, buffer);
}

/* Bytes of one row of what kernel `at` reads and writes by rows, and first .. first + count do not. */
static double row_bytes_beside(const KernelProgram *kp, int first, int count, int at) {
	const Kernel *k = &kp->kernels.data[at];
	double bytes = 0;
	for (int b = 0; b < k->reads.length + k->writes.length; b++) {
		int buffer = b < k->reads.length ? k->reads.data[b] : k->writes.data[b - k->reads.length];
		bool known = !has_rows(kp, k, buffer) || kp->buffers.data[buffer].within;   /* the whole counts */
		for (int i = first; i < first + count && !known; i++) known = touches(&kp->kernels.data[i], buffer);
		Type t = kp->buffers.data[buffer].type;
		if (!known) bytes += (double)type_count(t) * dtype_info[t.dtype].bytes / (double)k->rows;
	}
	return bytes;
}

/* The same of all of first .. first + count. */
static double row_bytes(const KernelProgram *kp, int first, int count) {
	double bytes = 0;
	for (int i = 0; i < count; i++) bytes += row_bytes_beside(kp, first, i, first + i);
	return bytes;
}

/* Does `k` read rows of what `m` reads or writes?  Not all of it, like a seed or the norm of everything. */
static bool reads_near(const KernelProgram *kp, const Kernel *k, const Kernel *m) {
	for (int i = 0; i < k->reads.length; i++)
		if (touches(m, k->reads.data[i]) && has_rows(kp, k, k->reads.data[i])) return true;
	return false;
}

/* May kernel `at` run together with first .. first + count, and read there what is near? */
static bool joins(const KernelProgram *kp, int first, int count, int at, double limit) {
	const Kernel *k = &kp->kernels.data[at];
	bool near = false;
	if (!has_parts(k) || !kernel_same_share(&kp->kernels.data[first], k)) return false;
	for (int i = first; i < first + count; i++) {
		const Kernel *m = &kp->kernels.data[i];
		if (kernel_crosses(kp, m, k, NULL)) return false;
		near = near || reads_near(kp, k, m);
	}
	return near && row_bytes(kp, first, count) + row_bytes_beside(kp, first, count, at) <= limit;
}

static bool needs_any(const Kernel *k, int first, int count) {
	for (int i = 0; i < k->after.length; i++)
		if (k->after.data[i] >= first && k->after.data[i] < first + count) return true;
	return false;
}

/* Moves the `between` kernels after first .. first + count before these. */
static void move_before(KernelProgram *kp, int first, int count, int between) {
	Kernel *all = kp->kernels.data, *moved = arena_copy(kp->arena, all + first, sizeof *all * (size_t)(count + between));
	memcpy(all + first, moved + count, sizeof *all * (size_t)between);
	memcpy(all + first + between, moved, sizeof *all * (size_t)count);
	for (int i = first; i < kp->kernels.length; i++) {
		all[i].position = i;
		for (int a = 0; a < all[i].after.length; a++) {
			int *after = &all[i].after.data[a];
			if (*after >= first && *after < first + count + between) *after += *after < first + count ? between : -count;
		}
	}
}

/* The kernels that run together from `first` on; returns their number, and where they begin now. */
static int gather(KernelProgram *kp, int *first, double limit) {
	int count = 1, between = 0;
	while (between < MOST_BETWEEN && *first + count + between < kp->kernels.length) {
		int at = *first + count + between;
		if (joins(kp, *first, count, at, limit)) {
			if (between) move_before(kp, *first, count, between);
			*first += between;
			count++;
			between = 0;
		} else if (needs_any(&kp->kernels.data[at], *first, count)) {
			break;
		} else {
			between++;
		}
	}
	return count;
}

typedef struct Search {
	const KernelProgram *kp;
	int buffer, *marked, count;   /* which values have marks in kp->walked */
} Search;

/* Does computing `v` read the buffer below something that has elements from elsewhere too, like a pad?  Then it reads element 0
 * for these, and makes nothing of it. */
static bool reads_unowned(Search *s, const Val *v, bool below) {
	uint32_t bit = below ? 2 : 1, *mark = &s->kp->walked[v->id];
	if (s->count > 0 && s->kp->buffer_of[v->id] >= 0) return below && s->kp->buffer_of[v->id] == s->buffer;
	if (*mark & bit) return false;
	if (!*mark) s->marked[s->count++] = v->id;
	*mark |= bit;
	below = below || !(is_pointwise(v) || is_view(v) || is_reduce(v) || v->op == OpContract);
	for (int i = 0; i < computed_operands(v); i++)
		if (reads_unowned(s, v->arg[i], below)) return true;
	return false;
}

static bool root_reads_unowned(Search *s, const Val *v) {
	s->count = 0;
	bool found = v && reads_unowned(s, v, false);
	for (int i = 0; i < s->count; i++) s->kp->walked[s->marked[i]] = 0;
	return found;
}

static bool kernel_reads_unowned(const KernelProgram *kp, const Kernel *k, int buffer) {
	Search s = {.kp = kp, .buffer = buffer, .marked = NEW_ARRAY(kp->arena, int, kp->fn->vals.length + 1)};
	bool found = root_reads_unowned(&s, k->anchor);
	for (int i = 0; i < k->roots.length && !found; i++) found = root_reads_unowned(&s, k->roots.data[i]);
	for (int i = 0; i < k->members.length && !found; i++) found = root_reads_unowned(&s, k->members.data[i].val);
	return found;
}

/* Are all that read and write the buffer among first .. first + count, and do so by rows of its first axis? */
static bool stays_within(const KernelProgram *kp, int buffer, int first, int count) {
	for (int i = 0; i < kp->kernels.length; i++) {
		const Kernel *k = &kp->kernels.data[i];
		bool writes = contains(k->writes.data, k->writes.length, buffer);
		if (!touches(k, buffer)) continue;
		if (i < first || i >= first + count || (writes && k->partition != 0)) return false;
		if (kernel_reads_unowned(kp, k, buffer)) return false;
		for (int l = 0; l < k->leaves.length; l++)
			if (kp->buffer_of[k->leaves.data[l].val->id] == buffer && k->leaves.data[l].axis != 0) return false;
	}
	return true;
}

/* What the kernels leave for each other and for nobody else needs no more room than their parts. */
static void shrink_buffers(KernelProgram *kp, int first, int count) {
	for (int i = first; i < first + count; i++) {
		const Kernel *k = &kp->kernels.data[i];
		for (int w = 0; w < k->writes.length; w++) {
			Buffer *b = &kp->buffers.data[k->writes.data[w]];
			if (b->kind != BUFFER_ARENA || b->part || b->within || b->dealt || b->type.dim[0] != k->rows || kp->parent) continue;
			if (!stays_within(kp, k->writes.data[w], first, count)) continue;
			b->part = k->part;
			b->bytes = buffer_part_bytes(b) * (size_t)kp->workers;
		}
	}
}

/* eager: even where all of it stays in the cache. */
void kernel_run_together(KernelProgram *kp, int64_t cache, bool eager) {
	double limit = (double)cache / CACHE_PART;
	for (int i = 0; i < kp->kernels.length; i++) {
		int first = i;
		if (!has_parts(&kp->kernels.data[i])) continue;
		int count = gather(kp, &first, limit);
		i = first + count - 1;
		double bytes = row_bytes(kp, first, count);
		int64_t share = kernel_share(&kp->kernels.data[first]), part = bytes > 0 ? (int64_t)(limit / bytes) : share;
		if (eager) part = MIN(part, MAX(1, share / 2));
		if (count == 1 || part < 1 || (!eager && bytes * (double)share <= (double)cache) || part >= share) continue;
		int64_t parts = divide_up(share, part);
		for (int k = 0; k < count; k++) kp->kernels.data[first + k].part = divide_up(share, parts);
		kp->kernels.data[first].together = count;
		shrink_buffers(kp, first, count);
	}
}
