/* schedule.c: in: kernels with the dependencies of their values; out: the order they run in, which updates are written
 * straight over the old value, how many workers share each kernel, and where all workers must meet.
 * Guarantees: a kernel runs after everything it reads; an input is overwritten after everyone else has read it. */
#include <string.h>

#include "kernel.h"

static void add_unique(KernelProgram *kp, int **data, int *length, int *capacity, int item) {
	for (int i = 0; i < *length; i++)
		if ((*data)[i] == item) return;
	vec_reserve(kp->arena, (void **)data, capacity, *length, sizeof **data);
	(*data)[(*length)++] = item;
}
#define ADD_UNIQUE(kp, list, item) add_unique((kp), &(list).data, &(list).length, &(list).capacity, (item))

static bool is_root(const Kernel *k, const Val *v) {
	for (int r = 0; r < k->roots.length; r++)
		if (k->roots.data[r] == v) return true;
	return false;
}

static void list_buffers(KernelProgram *kp, Kernel *k) {
	for (int i = 0; i < k->roots.length; i++) ADD_UNIQUE(kp, k->writes, kp->buffer_of[k->roots.data[i]->id]);
	for (int i = 0; i < k->leaves.length; i++)
		if (!is_root(k, k->leaves.data[i].val)) ADD_UNIQUE(kp, k->reads, kp->buffer_of[k->leaves.data[i].val->id]);
}

static const Leaf *find_leaf(const Kernel *k, const Val *v) {
	for (int i = 0; i < k->leaves.length; i++)
		if (k->leaves.data[i].val == v) return &k->leaves.data[i];
	return NULL;
}

/* answer: by kernel: 0: not asked yet (of this `other`); NO; YES. */
static bool runs_after(const KernelProgram *kp, int kernel, int other, char *answer) {
	enum { NO = 1, YES };
	if (kernel == other) return true;
	if (answer[kernel]) return answer[kernel] == YES;
	answer[kernel] = NO;
	const Kernel *k = &kp->kernels.data[kernel];
	for (int i = 0; i < k->after.length; i++)
		if (runs_after(kp, k->after.data[i], other, answer)) {
			answer[kernel] = YES;
			return true;
		}
	return false;
}

/* By Val.id: the kernels that a value is a leaf of. */
typedef VEC(int) Readers;

static void add_readers(KernelProgram *kp, int kernel, Readers *readers) {
	const Kernel *k = &kp->kernels.data[kernel];
	for (int i = 0; i < k->leaves.length; i++) vec_push(kp->arena, &readers[k->leaves.data[i].val->id], kernel);
}

/* May kernel `writer` overwrite input `old`, which others (and itself, elsewhere) read?  Then it is made to run after them.
 * answer: room for each kernel. */
static bool overwrite(KernelProgram *kp, int writer, const Val *old, const Readers *readers, char *answer) {
	const Leaf *own = find_leaf(&kp->kernels.data[writer], old);
	if (own && !own->identity) return false;
	memset(answer, 0, (size_t)kp->kernels.length);
	for (int turn = 0; turn < 2; turn++)   /* first look, then act */
		for (int i = 0; i < readers[old->id].length; i++) {
			int k = readers[old->id].data[i];
			if (k == writer) continue;
			if (turn) ADD_UNIQUE(kp, kp->kernels.data[writer].after, k);
			else if (runs_after(kp, k, writer, answer)) return false;
		}
	return true;
}

/* A kernel that copies `root` over input `old` at the end. */
static void add_copy(KernelProgram *kp, Val *root, int writer, const Val *old, Readers *readers, char *answer) {
	Fn *f = kp->fn;
	Val *copy = ir_mark(f, root);
	kp->buffer_of[copy->id] = kp->buffer_of[old->id];
	Kernel k = {.kind = KERNEL_MAP, .domain = root->type, .partition = root->type.rank ? 0 : -1};
	vec_push(kp->arena, &k.roots, copy);
	vec_push(kp->arena, &k.after, writer);
	kernel_leaves(kp, &k, false, &k.leaves);
	vec_push(kp->arena, &kp->kernels, k);
	add_readers(kp, kp->kernels.length - 1, readers);
	if (!overwrite(kp, kp->kernels.length - 1, old, readers, answer)) die("a copy at the end cannot be too early");
}

/* The input that this output replaces, or -1. */
static int replaced_input(const KernelProgram *kp, int output) {
	if (!kp->parent) return kp->fn->outputs.data[output].updates;
	return output < scan_carries(kp->scan) ? output + 1 : -1;
}

/* Outputs that update an input are written over it where that is possible. */
static void place_outputs(KernelProgram *kp, Readers *readers) {
	const Fn *f = kp->fn;
	int *kernel_of = NEW_ARRAY(kp->arena, int, f->vals.length + 1);
	char *answer = NEW_ARRAY(kp->arena, char, kp->kernels.length + f->outputs.length + 1);   /* with the copies */
	for (int k = 0; k < kp->kernels.length; k++)
		for (int r = 0; r < kp->kernels.data[k].roots.length; r++) kernel_of[kp->kernels.data[k].roots.data[r]->id] = k;
	for (int i = 0; i < f->outputs.length; i++) {
		const Output *out = &f->outputs.data[i];
		int replaced = replaced_input(kp, i);
		if (replaced < 0) continue;
		const Val *old = f->inputs.data[replaced].val;
		int writer = kernel_of[out->val->id];
		if (overwrite(kp, writer, old, readers, answer)) kp->buffer_of[out->val->id] = kp->buffer_of[old->id];
		else if (kp->parent) scan_alternate(kp, i);
		else add_copy(kp, out->val, writer, old, readers, answer);
	}
}

/* Anywhere in the arena, and nobody's in part? */
static bool is_plain(const Buffer *b) {
	return b->kind == BUFFER_ARENA && !b->exact && !b->strided && !b->within && !b->dealt && !b->part;
}

/* The buffer of a temporary that `root` of the kernel may be written over, or -1: one like it that nobody else reads, nor the
 * kernel when it has written there.  (What a kernel of rows reads of a whole row it has read before it stores elements.) */
static int last_read_here(const KernelProgram *kp, int kernel, const Val *root, const Readers *readers) {
	const Kernel *k = &kp->kernels.data[kernel];
	const Buffer *own = &kp->buffers.data[kp->buffer_of[root->id]];
	for (int i = 0; i < k->leaves.length; i++) {
		const Leaf *leaf = &k->leaves.data[i];
		int buffer = kp->buffer_of[leaf->val->id];
		const Buffer *b = &kp->buffers.data[buffer];
		bool taken = false;
		for (int r = 0; r < k->roots.length; r++) taken = taken || kp->buffer_of[k->roots.data[r]->id] == buffer;
		if (taken || readers[leaf->val->id].length > 1 || !(k->kind == KERNEL_ROWS ? leaf->row : leaf->identity)) continue;
		if (is_plain(b) && type_equal(b->type, own->type) && b->row == own->row) return buffer;
	}
	return -1;
}

/* Temporaries are written over others that end there: so less memory is in use, and what is near stays so. */
static void place_over_operands(KernelProgram *kp, const Readers *readers) {
	for (int k = 0; k < kp->kernels.length; k++) {
		const Kernel *kernel = &kp->kernels.data[k];
		if (kernel->kind != KERNEL_MAP && kernel->kind != KERNEL_ROWS) continue;
		for (int r = 0; r < kernel->roots.length; r++) {
			int *own = &kp->buffer_of[kernel->roots.data[r]->id];
			int over = is_plain(&kp->buffers.data[*own]) ? last_read_here(kp, k, kernel->roots.data[r], readers) : -1;
			if (over >= 0) *own = over;
		}
	}
}

static void complete_kernels(KernelProgram *kp) {
	for (int k = 0; k < kp->kernels.length; k++) {
		list_buffers(kp, &kp->kernels.data[k]);
		if (kp->kernels.data[k].kind == KERNEL_CONTRACT) kernel_describe_contract(kp, &kp->kernels.data[k]);
	}
}

/* By kernel: does nothing wait for it, and one worker run it alone?  Then it may stand last, where it holds nobody up. */
static bool *can_wait(const KernelProgram *kp) {
	bool *wait = NEW_ARRAY(kp->arena, bool, kp->kernels.length + 1);
	for (int i = 0; i < kp->kernels.length; i++) wait[i] = kp->kernels.data[i].partition < 0;
	for (int i = 0; i < kp->kernels.length; i++)
		for (int a = 0; a < kp->kernels.data[i].after.length; a++) wait[kp->kernels.data[i].after.data[a]] = false;
	return wait;
}

/* Kernels in an order that respects `after`, the earliest created first. */
static void order_kernels(KernelProgram *kp) {
	int n = kp->kernels.length;
	Kernel *old = kp->kernels.data, *sorted = NEW_ARRAY(kp->arena, Kernel, n + 1);
	int *position = NEW_ARRAY(kp->arena, int, n + 1);
	bool *wait = can_wait(kp);
	for (int i = 0; i < n; i++) position[i] = -1;
	for (int done = 0, first = 0; done < n; done++) {
		int pick = -1;
		while (first < n && (wait[first] || position[first] >= 0)) first++;
		for (int turn = first; turn < 2 * n && pick < 0; turn++) {   /* first those that others wait for, then the rest */
			int i = turn % n;
			bool ready = position[i] < 0 && wait[i] == (turn >= n);
			for (int a = 0; a < old[i].after.length && ready; a++) ready = position[old[i].after.data[a]] >= 0;
			if (ready) pick = i;
		}
		if (pick < 0) die("kernels depend on each other in a circle");
		position[pick] = done;
		sorted[done] = old[pick];
		sorted[done].position = done;
	}
	for (int i = 0; i < n; i++)
		for (int a = 0; a < sorted[i].after.length; a++) sorted[i].after.data[a] = position[sorted[i].after.data[a]];
	kp->kernels.data = sorted;
	kp->kernels.capacity = n + 1;
}

/* Drops kernels whose roots all became inline. */
static void drop_empty(KernelProgram *kp) {
	for (int i = 0; i < kp->kernels.length; i++) {
		Kernel *k = &kp->kernels.data[i];
		if (k->roots.length == 0) die("kernel without roots");
	}
}

/* ---- workers ---- */

/* How many elements one element is computed from. */
static double turns_of(const Val *v) {
	if (is_reduce(v)) return (double)v->arg[0]->type.dim[v->list[0].data[0]];
	if (v->op == OpContract) return (double)contract_order(v).terms;
	if (v->op == OpFold) return (double)fold_terms(v);
	if (v->op == OpSumBuckets) return 1 + (double)type_count(v->arg[0]->type) / (double)type_count(v->type);
	return 1;
}

/* known: by Val.id, what was found before, or 0. */
static double tree_cost(const KernelProgram *kp, const Val *v, bool top, double *known) {
	if (!top && kp->buffer_of[v->id] >= 0) return 0.5;
	if (known[v->id] > 0) return known[v->id];
	double own;
	switch (v->op) {
	case OpExp: case OpExpm1: own = 12; break;
	case OpLog: case OpLog1p: case OpErf: case OpTanh: case OpSin: case OpCos: case OpRandom: own = 25; break;
	case OpPow: case OpAtan2: own = 60; break;
	case OpDiv: case OpSqrt: own = 8; break;
	default: own = 1;
	}
	double turns = turns_of(v);
	own *= turns;
	if (is_product(v)) return 0;
	for (int i = 0; i < computed_operands(v); i++) {
		double below = tree_cost(kp, v->arg[i], false, known);
		own += turns > 1 || v->arg[i]->type.rank ? below * turns : 0;
	}
	return known[v->id] = own;
}

/* Nanoseconds of so many multiplications and additions. */
static double products_time(const Machine *m, double products) { return products / (m->lanes * 3.5 * (m->lanes >= 16 ? 1 : 2)); }

/* What a worker alone saves: a product with few columns, whose rows lie side by side in its first operand, it computes the other
 * way round, with full vectors; several workers do not (llvm/contract_turn.c). */
static double saved_alone(const Kernel *k, const Machine *m) {
	enum { FEW = 32 };
	const Contraction *c = k->contraction;
	if (k->kind != KERNEL_CONTRACT || c->dot || c->group || c->nouter || c->fill || c->rows.a != 1) return 0;
	if (c->columns.extent > FEW || c->rows.extent < FEW) return 0;
	int64_t idle = round_up(c->columns.extent, LANES) * c->rows.extent - c->columns.extent * round_up(c->rows.extent, LANES);
	return products_time(m, (double)MAX(idle, 0) * (double)c->terms);
}

/* Nanoseconds on one worker, to within a factor of two or so: only ratios between kernels matter. */
static double kernel_cost(const KernelProgram *kp, const Kernel *k, const Machine *m, double *known) {
	double per_vector = 0, elements = (double)type_count(k->domain);
	if (k->kind == KERNEL_ROWS) {
		double vectors = (double)round_up(k->width, LANES) / MAX(m->lanes, 1);
		return 5 + elements * (20 + 10 * (k->passes - 1) + vectors * k->element_cost) / 3.5;
	}
	if (k->kind == KERNEL_SEQUENCE) {   /* mostly one element at a time */
		double line = k->anchor->op == OpArgSort ? (double)k->domain.dim[sequence_axis(k->anchor)] : 1, passes = 1;
		for (; line > 1; line /= 2) passes++;
		return 5 + elements * (tree_cost(kp, k->anchor, true, known) + 4 * passes) / 3.5;
	}
	for (int i = 0; i < k->roots.length; i++) {
		bool dealt = kp->buffers.data[kp->buffer_of[k->roots.data[i]->id]].dealt;
		per_vector += dealt ? 0 : tree_cost(kp, k->roots.data[i], true, known);
	}
	double ns = 5 + elements / MAX(m->lanes, 1) * per_vector / 3.5;
	if (k->kind == KERNEL_CONTRACT) {
		const Contraction *c = k->contraction;
		double products = (double)round_up(c->columns.extent, LANES) * (double)c->rows.extent * (double)c->terms;
		for (int i = 0; i < c->nouter; i++) products *= (double)c->outer[i].extent;
		ns += products_time(m, products);
	}
	return ns;
}

int64_t kernel_share(const Kernel *k) {
	int64_t units = (k->rows + k->grain - 1) / k->grain;
	return (units + k->workers - 1) / k->workers * k->grain;
}

bool kernel_same_share(const Kernel *a, const Kernel *b) {
	if (a->kind == KERNEL_SCAN || b->kind == KERNEL_SCAN) return false;
	return a->workers == b->workers && a->rows == b->rows && kernel_share(a) == kernel_share(b) && !a->panels && !b->panels &&
	       !a->product_rows && !b->product_rows;
}

bool kernel_crosses(const KernelProgram *kp, const Kernel *first, const Kernel *then, const int *next) {
	bool same = kernel_same_share(first, then);
	for (int i = 0; i < then->leaves.length; i++) {   /* then reads what first wrote */
		const Leaf *leaf = &then->leaves.data[i];
		int buffer = kp->buffer_of[leaf->val->id];
		if (!contains(first->writes.data, first->writes.length, next ? next[buffer] : buffer)) continue;
		if (!same || leaf->axis < 0 || leaf->axis != first->partition) return true;
	}
	for (int i = 0; i < first->leaves.length; i++) {   /* then overwrites what first read */
		const Leaf *leaf = &first->leaves.data[i];
		int buffer = kp->buffer_of[leaf->val->id];
		if (!contains(then->writes.data, then->writes.length, next ? next[buffer] : buffer)) continue;
		if (!same || leaf->axis < 0 || leaf->axis != then->partition) return true;
	}
	for (int i = 0; i < then->writes.length; i++) {
		int buffer = then->writes.data[i];
		if (contains(first->writes.data, first->writes.length, next ? next[buffer] : buffer) && !same) return true;
	}
	return false;
}

/* Must all workers meet between `first` and `then`, given who computes what? */
static bool needs_barrier(const KernelProgram *kp, const Kernel *first, const Kernel *then, const int *next) {
	if (first->workers == 1 && then->workers == 1) return false;   /* the same worker runs both */
	return kernel_crosses(kp, first, then, next);
}

/* Must all workers meet between two turns?  Kernels after the last barrier of one turn and before the first of the next are not
 * apart otherwise.  Where there is no barrier at all turns may be farther apart, and nothing new comes of it: a place that a
 * carry has again two turns later is read there by whoever need not wait for its writer in one turn. */
static bool turns_need_barrier(const KernelProgram *kp, int first_barrier, int last_barrier) {
	const int *next = scan_next_turn(kp);
	int n = kp->kernels.length;
	for (int j = MAX(last_barrier, 0); j < n; j++)
		for (int i = 0; i < (first_barrier < 0 ? n : first_barrier); i++) {
			const Kernel *first = &kp->kernels.data[j], *then = &kp->kernels.data[i];
			if (needs_barrier(kp, first, then, next)) return true;
		}
	return false;
}

/* Must all workers meet before kernels i .. i + count, which run together, given those since the last barrier? */
static bool meets_before(const KernelProgram *kp, int since, int i, int count) {
	for (int j = since; j < i; j++)
		for (int k = i; k < i + count; k++)
			if (needs_barrier(kp, &kp->kernels.data[j], &kp->kernels.data[k], NULL)) return true;
	return false;
}

/* In arena memory that a later value reuses, another worker may still be reading: see plan.c, which keeps buffers of one
 * stretch between barriers apart. */
static void place_barriers(KernelProgram *kp) {
	int since = 0, first = -1, last = -1;   /* since: first kernel after the last barrier */
	for (int i = 0, count; i < kp->kernels.length; i += count) {
		count = MAX(1, kp->kernels.data[i].together);
		for (int k = i; k < i + count; k++) kp->kernels.data[k].barrier_before = false;
		if (kp->workers == 1 || !meets_before(kp, since, i, count)) continue;
		kp->kernels.data[i].barrier_before = true;
		since = last = i;
		if (first < 0) first = i;
	}
	kp->barrier_between = kp->parent && kp->workers > 1 && turns_need_barrier(kp, first, last);
}

/* Does kernel `i` read, row by row, what a shared kernel just before it wrote with the same shares? */
static bool continues_share(const KernelProgram *kp, int i, int workers) {
	Kernel trial = kp->kernels.data[i];
	trial.workers = workers;
	for (int j = i - 1; j >= 0; j--) {
		const Kernel *k = &kp->kernels.data[j];
		bool feeds = false;
		for (int w = 0; w < k->writes.length; w++)
			feeds = feeds || contains(trial.reads.data, trial.reads.length, k->writes.data[w]);
		if (feeds && k->workers > 1) return kernel_same_share(k, &trial) && !needs_barrier(kp, k, &trial, NULL);
	}
	return false;
}

enum { WORTH_SHARING = 1500, PANELS_WORTH_BARRIERS = 20000 };   /* ns of one kernel that pay for a barrier, for two */

/* Few rows, or a second operand that is dear to pack: the workers take column panels, unless rows keep a chain going.  (Updates
 * never do so to keep columns of weights with one worker: what is fetched ahead past the end of a worker's part of a row
 * belongs to the other one.  Measured, that costs more than rows do: 2.75 ms for 2.4 in a step of 784-512-256-10.) */
static void share_panels(const KernelProgram *kp, Kernel *k, int workers, const Machine *machine) {
	Kernel trial = *k;
	trial.workers = workers;
	int64_t panels = machine->panels ? machine->panels(machine->target, kp, &trial) : 0;
	if (panels < workers || (k->workers > 1 && k->cost < PANELS_WORTH_BARRIERS)) return;
	k->workers = workers;
	k->panels = k->rows = panels;
}

/* How much longer the slowest of the workers takes than its part. */
static double imbalance(int64_t rows, int workers) { return (double)((rows + workers - 1) / workers * workers) / (double)rows; }

/* The gradient of a few taps times many channels: an axis of three is shared badly, rows of taps times channels well. */
static void share_product_rows(Kernel *k, int workers) {
	enum { FEWEST = 8 };
	const Contraction *c = k->contraction;
	if (k->panels || c->dot || c->group || c->rows.extent < FEWEST * workers) return;
	if (imbalance(k->rows, workers) < 1.2 || imbalance(c->rows.extent, workers) > 1.1) return;
	k->product_rows = true;
	k->workers = workers;
	k->rows = c->rows.extent;
}

/* What workers lose to each other.  A store to a line which another core has read waits for that core, and nothing hides it:
 * in a bare loop 6 ns where the cores are near, 28 where they are not (two of a virtual machine, at different times); in updates
 * of whole steps about twice as much, because reading it there waits as well.  Not known, it is that of distant cores. */
enum { DISTANT_LINE = 28, DISTANT_BARRIER = 500, LINE_BYTES = 64 };

static double shared_line(const Machine *m) { return 2 * (m->costs.line > 0 ? m->costs.line : DISTANT_LINE); }

/* In a loop of nothing else the workers arrive together; in a step they do not, and what they read next is with another one. */
static double barrier_cost(const Machine *m) { return m->costs.barrier > 0 ? 4 * m->costs.barrier : DISTANT_BARRIER; }

/* May `reader` read lines of `buffer` that another worker wrote in `writer`? */
static bool reads_of_others(const KernelProgram *kp, const Kernel *writer, const Kernel *reader, int buffer) {
	if (writer->workers == 1 && reader->workers == 1) return false;
	for (int i = 0; i < reader->leaves.length; i++) {
		const Leaf *leaf = &reader->leaves.data[i];
		if (kp->buffer_of[leaf->val->id] != buffer) continue;
		if (!kernel_same_share(writer, reader) || leaf->axis < 0 || leaf->axis != writer->partition) return true;
	}
	return false;
}

static double lines_shared(const KernelProgram *kp, const Kernel *writer) {
	double lines = 0;
	for (int i = 0; i < writer->writes.length; i++) {
		int number = writer->writes.data[i];
		const Buffer *b = &kp->buffers.data[number];
		bool shared = false;
		for (int k = 0; k < kp->kernels.length && b->kind != BUFFER_IO; k++) {
			const Kernel *reader = &kp->kernels.data[k];
			shared = shared || (reader != writer && reads_of_others(kp, writer, reader, number));
		}
		int64_t rows = type_count(b->type) / MAX(last_dim(b->type), 1);
		if (shared) lines += (double)rows * (double)b->row * dtype_info[b->type.dtype].bytes / LINE_BYTES;
	}
	return lines;
}

typedef struct Times { double alone, shared; } Times;

/* Of a step, or of a turn: with one worker and with these.  Meant for the worse place of the cores.  Another core holds no more
 * lines than its caches have: the rest of a large step has gone back to memory before it is written again. */
static Times estimate(KernelProgram *kp, const Machine *machine) {
	double line = shared_line(machine), barrier = barrier_cost(machine), alone = 0, waiting = 0;
	double shared = kp->parent ? 2 * barrier / (double)scan_count(kp->scan) : 2 * barrier;
	double most = line * (double)machine->own_cache / LINE_BYTES;
	place_barriers(kp);
	if (kp->barrier_between) shared += barrier;
	for (int i = 0; i < kp->kernels.length; i++) {
		const Kernel *k = &kp->kernels.data[i];
		double part = k->workers > 1 ? MIN(1, (double)kernel_share(k) / (double)k->rows) : 1;
		alone += k->cost - saved_alone(k, machine);
		if (k->kind == KERNEL_SCAN) shared += k->workers > 1 ? k->shared_cost : k->cost;
		else shared += part * k->cost, waiting += part * line * lines_shared(kp, k);
		shared += k->barrier_before ? barrier : 0;
	}
	return (Times){alone, shared + MIN(waiting, most)};
}

/* Is that slower than with one worker? */
static bool better_alone(KernelProgram *kp, const Machine *machine) {
	Times t = estimate(kp, machine);
	return t.shared > 0.95 * t.alone;
}

/* Workers of each kernel, where it is `worth` so many ns; panels: of columns too, not of rows alone.  Is any shared? */
static bool share_kernels(KernelProgram *kp, int workers, double worth, bool panels, const Machine *machine) {
	bool any = false;
	for (int i = 0; i < kp->kernels.length; i++) {
		Kernel *k = &kp->kernels.data[i];
		int64_t shares = (k->rows + k->grain - 1) / k->grain;
		any = any || k->workers > 1;   /* a scan's are known */
		if (k->partition < 0) continue;
		if (shares >= workers && (k->cost > worth || continues_share(kp, i, workers))) k->workers = workers;
		if (k->kind == KERNEL_CONTRACT && k->cost > worth) {
			if (panels) share_panels(kp, k, workers, machine);
			share_product_rows(k, workers);
		}
		any = any || k->workers > 1;
	}
	return any;
}

static void run_alone(KernelProgram *kp) {
	kp->workers = 1;
	for (int i = 0; i < kp->kernels.length; i++) {
		Kernel *k = &kp->kernels.data[i];
		if (k->panels || k->product_rows) k->rows = k->partition >= 0 ? k->domain.dim[k->partition] : 1;
		k->workers = 1, k->panels = 0, k->product_rows = k->dealt = false;
		if (k->body) run_alone(k->body);
	}
	place_barriers(kp);   /* nobody else would come to those of a body */
}

/* A turn is short, but there are many: kernels that need no barrier may all be shared, however small, and rows may keep a whole
 * turn without one where panels would not.  The best way is taken. */
static bool share_turns(KernelProgram *kp, int workers, const Machine *machine) {
	enum { WAYS = 4 };
	double best = 0;
	size_t bytes = sizeof(Kernel) * (size_t)kp->kernels.length;
	Kernel *chosen = NULL, *start = arena_copy(kp->arena, kp->kernels.data, bytes);
	for (int way = 0; way < WAYS; way++) {
		memcpy(kp->kernels.data, start, bytes);
		double worth = way % 2 || machine->always_share ? 0 : WORTH_SHARING;
		bool any = share_kernels(kp, workers, worth, way < 2, machine);
		Times t = estimate(kp, machine);
		if (!any || (chosen && t.shared >= best)) continue;
		best = t.shared;
		chosen = arena_copy(kp->arena, kp->kernels.data, bytes);
	}
	if (chosen) memcpy(kp->kernels.data, chosen, bytes);
	return chosen != NULL;
}

static void scan_cost(const KernelProgram *kp, Kernel *k, const Machine *machine) {
	Times turn = estimate(k->body, machine);
	k->cost = 20 + turn.alone * (double)scan_count(k->scan);
	k->shared_cost = 20 + turn.shared * (double)scan_count(k->scan);
	k->workers = k->body->workers;
	k->rows = k->grain = 1;
	if (!k->dealt) return;
	k->workers = kp->workers;
	k->rows = scan_count(k->scan);
	k->shared_cost = 20 + turn.alone * (double)kernel_share(k);
}

static void choose_workers(KernelProgram *kp, int workers, const Machine *machine) {
	double total = 0, *known = NEW_ARRAY(kp->arena, double, kp->fn->vals.length + 1);
	kp->workers = workers;
	for (int i = 0; i < kp->kernels.length; i++) {
		Kernel *k = &kp->kernels.data[i];
		if (k->kind == KERNEL_SCAN) {
			scan_cost(kp, k, machine);
			total += k->cost;
			continue;
		}
		k->workers = 1;
		k->rows = k->partition >= 0 ? k->domain.dim[k->partition] : 1;
		bool alone = k->kind == KERNEL_MAP || k->kind == KERNEL_SEQUENCE,
		     lanes = alone && k->partition >= 0 && k->partition == k->domain.rank - 1;
		k->grain = lanes ? LANES : 1;
		k->cost = kernel_cost(kp, k, machine, known);
		total += k->cost;
	}
	bool any = false;
	if (kp->parent) any = workers > 1 && share_turns(kp, workers, machine);
	else if (workers > 1 && total > 2 * WORTH_SHARING) any = share_kernels(kp, workers, WORTH_SHARING, true, machine);
	for (int i = 0; i < kp->kernels.length; i++) any = any || kp->kernels.data[i].workers > 1;
	if (any && (machine->always_share || !better_alone(kp, machine))) return;
	run_alone(kp);
}

/* Turns that do not need each other are dealt out where there are enough of them: then nobody waits for anybody, and what a turn
 * makes stays in the caches of the core that reads it.  Few turns that do not divide evenly may be faster one by one. */
KernelProgram *kernel_schedule_body(KernelProgram *kp, Kernel *k, int workers, const Machine *machine) {
	int64_t count = scan_count(k->scan);
	bool may = workers > 1 && scan_carries(k->scan) == 0 && count >= workers;
	KernelProgram *dealt = may ? kernel_fuse_body(kp, k->scan) : NULL, *shared;
	k->dealt = may;
	if (may) {
		kernel_schedule(dealt, 1, machine);
		if (machine->always_share || imbalance(count, workers) < 1.2) return dealt;
	}
	shared = kernel_fuse_body(kp, k->scan);
	kernel_schedule(shared, workers, machine);
	if (!may) return shared;
	double turns = (double)((count + workers - 1) / workers);
	Times one = estimate(dealt, machine), all = estimate(shared, machine);
	k->dealt = shared->workers == 1 || turns * one.alone < (double)count * all.shared;
	return k->dealt ? dealt : shared;
}

void kernel_schedule(KernelProgram *kp, int workers, const Machine *machine) {
	drop_empty(kp);
	Readers *readers = NEW_ARRAY(kp->arena, Readers, kp->fn->vals.length + kp->fn->outputs.length + 1);   /* with the copies */
	for (int k = 0; k < kp->kernels.length; k++) add_readers(kp, k, readers);
	place_outputs(kp, readers);
	if (!kp->parent) place_over_operands(kp, readers);
	scan_schedule(kp, workers, machine);
	complete_kernels(kp);
	order_kernels(kp);
	choose_workers(kp, workers, machine);
	kernel_run_together(kp, machine->own_cache, machine->always_share);
	place_barriers(kp);
}
