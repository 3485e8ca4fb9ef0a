/* pool.c: in: an entry point and a frame; out: every worker has run it; guarantees: workers spin for a bounded
 * time, then sleep on a futex, so that an idle or descheduled process costs nothing.
 *
 * A run is: the caller raises `run` (a counter), works as worker 0, then waits until `done` has reached
 * (workers - 1) * runs.  A barrier is: the last to arrive raises `phase`.  Sleepers are counted, so that the common
 * case, everybody spinning, makes no system call: whoever changes a word looks at the count afterwards, whoever
 * sleeps raises the count first and the kernel looks at the word again (both sequentially consistent). */
#include "host.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__ || defined __i386__
#define relax() __builtin_ia32_pause()
#elif defined __aarch64__ || defined __arm__
#define relax() __asm__ volatile("yield")
#else
#define relax() ((void)0)
#endif

/* About 30 to 100 us of pauses: more than a step's serial part, less than a scheduler's slice. */
enum { SPINS = 2000, LINE = 64 };

/* A word to wait on and how many sleep on it, alone on a cache line. */
typedef struct Signal { _Alignas(LINE) _Atomic uint32_t word; _Atomic uint32_t sleepers; } Signal;
typedef struct Worker { Pool *pool; pthread_t thread; int tid; } Worker;

struct Pool {
	Signal run, done, phase;
	_Alignas(LINE) _Atomic uint32_t arrived;
	_Alignas(LINE) EntryPoint entry;
	Frame *frame;
	int workers;                       /* of the current run */
	bool stop;
	int size;
	uint32_t finished;                 /* what `done` holds when all runs so far are over */
	bool pinned;
	cpu_set_t mask;                    /* the caller's, restored at the end */
	Worker *worker;
};

static void futex_wait(Signal *s, uint32_t value) {
	syscall(SYS_futex, &s->word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void signal_wake(Signal *s) {
	if (atomic_load(&s->sleepers)) syscall(SYS_futex, &s->word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Waits while the word is `value`; returns the new word. */
static uint32_t wait_while(Signal *s, uint32_t value) {
	uint32_t now;
	for (int i = 0; i < SPINS; i++) {
		if ((now = atomic_load_explicit(&s->word, memory_order_acquire)) != value) return now;
		relax();
	}
	atomic_fetch_add(&s->sleepers, 1);
	while ((now = atomic_load(&s->word)) == value) futex_wait(s, value);
	atomic_fetch_sub(&s->sleepers, 1);
	return now;
}

void pool_barrier(void *context, int64_t tid) {
	(void)tid;
	Pool *p = context;
	uint32_t phase = atomic_load_explicit(&p->phase.word, memory_order_relaxed);
	if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) + 1 == (uint32_t)p->workers) {
		atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
		atomic_store(&p->phase.word, phase + 1);
		signal_wake(&p->phase);
	} else {
		wait_while(&p->phase, phase);
	}
}

static void *worker_main(void *context) {
	Worker *w = context;
	Pool *p = w->pool;
	for (uint32_t seen = 0;;) {
		seen = wait_while(&p->run, seen);
		if (p->stop) return NULL;
		if (w->tid < p->workers) p->entry(p->frame, w->tid, p->workers);
		atomic_fetch_add(&p->done.word, 1);
		signal_wake(&p->done);
	}
}

static int mask_count(void) {
	cpu_set_t mask;
	if (sched_getaffinity(0, sizeof mask, &mask) == 0) return MAX(1, CPU_COUNT(&mask));
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > 4096 ? 4096 : (int)n;
}

enum { FORCED_WORKERS = 64 };

int pool_clamp(int requested) {
	int cpus = mask_count();
	/* for tests of the promise that every number of workers gives the same bits, also on machines with fewer processors */
	if (requested > 0 && getenv("NNC_FORCE_THREADS")) return MIN(requested, FORCED_WORKERS);
	return requested <= 0 || requested > cpus ? cpus : requested;
}

/* Worker i goes to the i-th CPU of the mask: only when the pool uses every one of them. */
static void pin_all(Pool *p) {
	if (p->size < 2 || sched_getaffinity(0, sizeof p->mask, &p->mask) != 0 || CPU_COUNT(&p->mask) != p->size) return;
	int tid = 0;
	for (int cpu = 0; cpu < CPU_SETSIZE && tid < p->size; cpu++) {
		if (!CPU_ISSET(cpu, &p->mask)) continue;
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(tid ? p->worker[tid].thread : pthread_self(), sizeof one, &one);
		tid++;
	}
	p->pinned = true;
}

void pool_pin_caller(Pool *p, bool pin) {
	if (!p || !p->pinned) return;
	cpu_set_t one;
	int cpu = 0;
	while (!CPU_ISSET(cpu, &p->mask)) cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	pthread_setaffinity_np(pthread_self(), sizeof one, pin ? &one : &p->mask);
}

Pool *pool_new(int workers, size_t stack_bytes) {
	Pool *p = aligned_alloc(LINE, (sizeof *p + LINE - 1) / LINE * LINE);
	if (!p) fatal("out of memory");
	*p = (Pool){.size = MAX(1, workers)};
	p->worker = calloc((size_t)p->size, sizeof *p->worker);
	if (!p->worker) fatal("out of memory");
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	size_t least = 0;
	pthread_attr_getstacksize(&attr, &least);
	pthread_attr_setstacksize(&attr, MAX(least, (stack_bytes + ((size_t)1 << 20)) / 65536 * 65536));
	for (int i = 1; i < p->size; i++) {
		p->worker[i] = (Worker){.pool = p, .tid = i};
		int error = pthread_create(&p->worker[i].thread, &attr, worker_main, &p->worker[i]);
		if (error) fatal("cannot start worker thread %d (error %d)", i, error);
	}
	pthread_attr_destroy(&attr);
	pin_all(p);
	return p;
}

int pool_size(const Pool *pool) { return pool->size; }

void pool_run(Pool *p, EntryPoint entry, Frame *frame, int workers) {
	if (workers > p->size) die("an executable for %d workers in a pool of %d", workers, p->size);
	if (workers <= 1) {
		entry(frame, 0, 1);
		return;
	}
	p->entry = entry;
	p->frame = frame;
	p->workers = workers;
	p->finished += (uint32_t)p->size - 1;
	atomic_fetch_add(&p->run.word, 1);
	signal_wake(&p->run);
	entry(frame, 0, workers);
	uint32_t done = atomic_load_explicit(&p->done.word, memory_order_acquire);
	while (done != p->finished) done = wait_while(&p->done, done);
}

void pool_free(Pool *p) {
	if (!p) return;
	p->stop = true;
	atomic_fetch_add(&p->run.word, 1);
	signal_wake(&p->run);
	for (int i = 1; i < p->size; i++) pthread_join(p->worker[i].thread, NULL);
	pool_pin_caller(p, false);
	free(p->worker);
	free(p);
}
