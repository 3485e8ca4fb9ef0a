/* driver.c: an object of `nnc compile`, used as its header says and abused a little.  Built once for each program, with its
 * header and reference.c's macros included on the command line.  Prints
 *     object 1 STEPS HASH
 * for 20 and, unless an argument says "short", 200 steps; exits with 1 when a promise of the header is broken.
 *
 * Every block ends where an unmapped page begins, with known bytes before it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "synthetic.h"

#define GLUE2(a, b) a##_##b
#define GLUE(a, b) GLUE2(a, b)
#define N(name) GLUE(NAME, name)
#if N(STACK_MAX) < 1 || N(PARAMS_BYTES) < N(ALIGN)   /* 0 of what is no macro */
#error the sizes cannot be asked by #if
#endif
typedef N(params) Params;
typedef N(train) Train;
typedef N(param_info) Info;

enum { PAGE = 65536, BEFORE = 256, CANARY = 0x5a, SAMPLES = 2 * BATCH + 3 };

static int broken;
static void check(int ok, const char *what) {
	if (ok) return;
	printf("broken: %s\n", what);
	broken = 1;
}

typedef struct Block { unsigned char *map, *data; size_t mapped, bytes; } Block;

static Block block_make(size_t bytes) {
	Block b = {.mapped = (bytes + BEFORE + PAGE - 1) / PAGE * PAGE, .bytes = bytes};
	b.map = mmap(NULL, b.mapped + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b.map == MAP_FAILED || mprotect(b.map + b.mapped, PAGE, PROT_NONE)) abort();
	b.data = b.map + b.mapped - bytes;
	memset(b.map, CANARY, b.mapped);
	return b;
}

static void block_check(const Block *b, const char *what) {
	for (const unsigned char *p = b->map; p < b->data; p++)
		if (*p != CANARY) {
			check(0, what);
			return;
		}
}

/* ---- the step, on a stack of its own that shows how deep it went ---- */

static Block train, scratch, saved;
static float loss;
static int status;
#define DECLARE(name, type, is_float, count, classes) static Block name;
STEP_INPUTS(DECLARE)
MODEL_INPUTS(DECLARE)
MODEL_OUTPUTS(DECLARE)
#define PASS(name, type, is_float, count, classes) , (type *)name.data
#define PASS_CONST(name, type, is_float, count, classes) , (const type *)name.data

static void *train_at, *scratch_at;   /* what calls are given: where the blocks are, unless a test says otherwise */
static void point(void) { train_at = train.data, scratch_at = scratch.data; }

static int step(void) { return N(STEP_CALL)((Train *)train_at STEP_INPUTS(PASS_CONST), &loss, scratch_at); }

static void fill(uint64_t number) {
	uint64_t array = 0;
#define FILL(name, type, is_float, count, classes)                                                                               \
	synthetic_fill(name.data, is_float, (int)sizeof(type), classes, count, number, array++);
	STEP_INPUTS(FILL)
}

enum { STACK = 1 << 20, FRAME = 256 };   /* FRAME: of on_stack and step themselves */
static unsigned char *stack;

static void *on_stack(void *depth) {
	unsigned char here, *volatile lowest = stack + 4096;
	status = step();
	while (*lowest == CANARY) lowest++;
	*(size_t *)depth = (size_t)(&here - lowest);
	return NULL;
}

static void measure_stack(void) {
	size_t depth = 0;
	pthread_attr_t attributes;
	pthread_t thread;
	stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(stack, CANARY, STACK);
	pthread_attr_init(&attributes);
	if (pthread_attr_setstack(&attributes, stack, STACK) || pthread_create(&thread, &attributes, on_stack, &depth)) abort();
	pthread_join(thread, NULL);
	munmap(stack, STACK);
	check(status == N(OK), "a step on its own stack returns 0");
	check(depth <= (size_t)N(STACK_MAX) + FRAME, "stack within STACK_MAX");
	if (getenv("NNC_VERBOSE"))
		fprintf(stderr, "stack: %zu bytes with the caller's frames, bound %zu\n", depth, (size_t)N(STACK_MAX));
}

/* ---- what training leaves ---- */

static uint64_t hash_train(void) {
	uint64_t hash = 0xcbf29ce484222325u;
	for (int i = 0; i < N(PARAM_COUNT); i++) {
		const Info *info = &N(param_table)[i];
		size_t bytes = (size_t)info->element;
		for (int d = 0; d < info->rank; d++) bytes *= (size_t)info->dim[d];
		Block dense = block_make(bytes);
		check(N(store)((Train *)train.data, info->path, dense.data) == N(OK), "store finds every path of the table");
		hash = hash_more(hash, dense.data, bytes);
		munmap(dense.map, dense.mapped + PAGE);
	}
	return hash;
}

static void train_steps(int from, int to) {
	for (int s = from; s < to; s++) {
		fill((uint64_t)s);
		memset(scratch.data, s % 2 ? 0xff : 0x7f, scratch.bytes);   /* what scratch holds does not matter */
		check(step() == N(OK), "a step returns 0");
	}
	printf("object 1 %d %016llx\n", to, (unsigned long long)hash_train());
}

static void bad_classes(void) {
	memcpy(saved.data, train.data, train.bytes);
	fill(0);
#define SPOIL(name, type, is_float, count, classes) \
	if (classes) { \
		static const int wrong[] = {-1, classes, 0x7fffffff}; \
		for (int i = 0; i < 3; i++) { \
			type *at = (type *)name.data + (i == 1 ? (count) - 1 : 0), right = *at; \
			*at = (type)wrong[i]; \
			loss = 42; \
			check(step() == N(BAD_CLASS), "a class out of range is refused"); \
			check(loss == 42 && memcmp(saved.data, train.data, train.bytes) == 0, "a refused step changes nothing"); \
			*at = right; \
		} \
	}
	STEP_INPUTS(SPOIL)
}

/* ---- what is refused, with nothing changed ---- */

static void refused(int code, const char *what) {
	loss = 42;
	check(step() == code, what);
	check(loss == 42 && memcmp(saved.data, train.data, train.bytes) == 0, what);
	point();
}

static void bad_pointers(void) {
	train_at = NULL;
	refused(N(NULL_POINTER), "no training block");
	train_at = train.data + 8;
	refused(N(MISALIGNED), "a training block of another alignment");
	scratch_at = NULL;
	refused(N(NULL_POINTER), "no scratch");
	scratch_at = scratch.data + N(ALIGN) / 2;
	refused(N(MISALIGNED), "scratch of another alignment");
#define WITHOUT(name, type, is_float, count, classes) \
	{ \
		unsigned char *right = name.data; \
		name.data = NULL; \
		refused(N(NULL_POINTER), "no " #name); \
		name.data = right + 1; \
		if (sizeof(type) > 1) refused(N(MISALIGNED), #name " of another alignment"); \
		name.data = right; \
	}
	STEP_INPUTS(WITHOUT)
	check(N(init)(NULL, SEED) == N(NULL_POINTER), "init of no block");
	check(N(init)((Train *)(train.data + 4), SEED) == N(MISALIGNED), "init of a block of another alignment");
}

static void foreign_blocks(void) {
	Train *t = (Train *)train.data;
	uint64_t *words[] = {&t->params.head.id, &t->id};
	for (int i = 0; i < 3; i++) {
		uint64_t *word = words[i % 2];
		if (i < 2) *word ^= (uint64_t)1 << 40;
		else t->params.head.abi++;
		memcpy(saved.data, train.data, train.bytes);
		refused(N(BAD_BLOCK), "another one's block");
		check(N(check_train)(t) == N(BAD_BLOCK), "another one's block is recognised");
		check(N(load)(t, N(param_table)[0].path, scratch.data) == N(BAD_BLOCK), "nothing is loaded into another one's block");
		check(N(store)(t, N(param_table)[0].path, scratch.data) == N(BAD_BLOCK), "nor stored out of it");
		if (i < 2) *word ^= (uint64_t)1 << 40;
		else t->params.head.abi--;
	}
	memcpy(saved.data, train.data, train.bytes);
	memset(train.data, 0, train.bytes);
	check(step() == N(BAD_BLOCK), "a block that was never filled");
	memcpy(train.data, saved.data, train.bytes);
	check(N(check_train)(t) == N(OK), "the block is as it was");
}

/* At every place of a vector, and of what is left after the vectors. */
static void not_finite(void) {
	static const uint32_t bits[] = {0x7fc00000, 0x7f800000, 0xff800000, 0xffffffff, 0x7f800001};
	memcpy(saved.data, train.data, train.bytes);
	fill(0);
#define SPOIL_FLOAT(name, type, is_float, count, classes) \
	for (size_t i = 0; is_float && sizeof(type) == 4 && i < (count); i += i == 64 && (count) > 130 ? (count)-130 : 1) { \
		type right = ((type *)name.data)[i]; \
		memcpy(name.data + i * sizeof(type), &bits[i % 5], sizeof(type)); \
		refused(N(NOT_FINITE), "no number is refused"); \
		((type *)name.data)[i] = right; \
	}
	STEP_INPUTS(SPOIL_FLOAT)
}

static void table(void) {
	for (int i = 0; i < N(PARAM_COUNT); i++) {
		const Info *a = &N(param_table)[i];
		check(a->offset % N(ALIGN) == 0 && a->offset + a->bytes <= (a->kind == 2 ? sizeof(Train) : sizeof(Params)),
		      "a tensor lies in its block");
		for (int k = 0; k < i; k++) {
			const Info *b = &N(param_table)[k];
			check(a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset, "tensors do not overlap");
		}
	}
}

static void copies(void) {
	for (int i = 0; i < N(PARAM_COUNT); i++) {
		const Info *info = &N(param_table)[i];
		Block dense = block_make((size_t)info->bytes);
		memcpy(saved.data, train.data, train.bytes);
		N(store)((Train *)train.data, info->path, dense.data);
		memset(train.data + info->offset, 0xff, (size_t)info->bytes);
		check(N(load)((Train *)train.data, info->path, dense.data) == N(OK), "load finds every path");
		check(memcmp(train.data, saved.data, (size_t)info->offset) == 0, "load writes nothing before the tensor");
		size_t end = (size_t)(info->offset + info->bytes);
		check(memcmp(train.data + end, saved.data + end, train.bytes - end) == 0, "load writes nothing behind the tensor");
		munmap(dense.map, dense.mapped + PAGE);
	}
	check(N(load)((Train *)train.data, "no/such", NULL) == N(BAD_PATH), "an unknown path is refused");
	check(N(store)((Train *)train.data, "", NULL) == N(BAD_PATH), "an empty path is refused");
}

/* ---- a team ---- */

#ifdef TEAM
static pthread_barrier_t team;
static void meet(void *context, int64_t worker) {
	(void)worker;
	pthread_barrier_wait(context);
}

static int call_team(int worker) {
	return N(TEAM_CALL)((Train *)train_at STEP_INPUTS(PASS_CONST), &loss, scratch_at, worker, meet, &team);
}

static void *work(void *number) {
	int worker = *(int *)number;
	for (int s = 0; s < SHORT_STEPS; s++) {
		if (!worker) {
			fill((uint64_t)s);
			memset(scratch.data, s % 2 ? 0xff : 0x7f, scratch.bytes);
		}
		meet(&team, worker);
		check(call_team(worker) == N(OK), "a worker's step returns 0");
	}
	return NULL;
}

static void train_by_team(void) {
	enum { MOST = 64 };
	int number[MOST];
	pthread_t thread[MOST];
	if ((int)N(TEAM_SIZE) > (int)MOST || pthread_barrier_init(&team, NULL, N(TEAM_SIZE))) abort();
	N(init)((Train *)train.data, SEED);
	memcpy(saved.data, train.data, train.bytes);
	check(call_team(-1) == N(BAD_COUNT) && call_team(N(TEAM_SIZE)) == N(BAD_COUNT), "there is no such worker");
	check(N(TEAM_SIZE) == 1 || N(TEAM_CALL)((Train *)train_at STEP_INPUTS(PASS_CONST), &loss, scratch_at, 0, NULL, NULL) ==
	                               N(NULL_POINTER), "several workers need a barrier");
	check(memcmp(saved.data, train.data, train.bytes) == 0, "a refused worker changes nothing");
	for (int i = 0; i < N(TEAM_SIZE); i++) {
		number[i] = i;
		if (i && pthread_create(&thread[i], NULL, work, &number[i])) abort();
	}
	work(&number[0]);
	for (int i = 1; i < N(TEAM_SIZE); i++) pthread_join(thread[i], NULL);
	printf("object %d %d %016llx\n", N(TEAM_SIZE), SHORT_STEPS, (unsigned long long)hash_train());
	block_check(&train, "memory before the training block, of workers");
	block_check(&scratch, "memory before scratch, of workers");
}
#endif

/* ---- inference ---- */

static Block params;

static int infer(size_t from, size_t n) {
#define SHIFT(name, type, is_float, count, classes) , (type *)name.data + from * (count)
#define SHIFT_CONST(name, type, is_float, count, classes) , (const type *)name.data + from * (count)
	return N(MODEL_CALL)((const Params *)params.data MODEL_INPUTS(SHIFT_CONST) MODEL_OUTPUTS(SHIFT), n, scratch.data);
}

static void refused_inference(void) {
	Params *p = (Params *)params.data;
	unsigned char *right = params.data;
	check(infer(0, (size_t)-1) == N(BAD_COUNT) && infer(0, SIZE_MAX / 2 + 1) == N(BAD_COUNT), "more samples than memory");
	params.data = NULL;
	check(infer(0, 1) == N(NULL_POINTER), "no parameters");
	params.data = right + 16;
	check(infer(0, 1) == N(MISALIGNED), "parameters of another alignment");
	params.data = right;
	p->head.id++;
	check(infer(0, 1) == N(BAD_BLOCK) && N(check_params)(p) == N(BAD_BLOCK), "another one's parameters");
	p->head.id = 0, p->head.abi = 0;
	check(infer(0, 1) == N(BAD_BLOCK), "parameters that were never filled");
	for (int i = 0; i < N(PARAM_COUNT); i++) {
		const Info *info = &N(param_table)[i];
		if (info->kind == 2) continue;
		Block dense = block_make((size_t)info->bytes);   /* which may be larger than scratch */
		N(store)((Train *)train.data, info->path, dense.data);
		check(N(load_params)(p, info->path, dense.data) == N(OK) && N(check_params)(p) == N(OK), "loading fills zeros");
		munmap(dense.map, dense.mapped + PAGE);
		break;
	}
	memcpy(params.data, train.data, sizeof(Params));
#define WITHOUT_ARRAY(name, type, is_float, count, classes) \
	right = name.data, name.data = NULL; \
	check(infer(0, 1) == N(NULL_POINTER), "no " #name); \
	check(infer(0, 0) == N(OK), "without samples there need be no " #name); \
	name.data = right;
	MODEL_INPUTS(WITHOUT_ARRAY)
	MODEL_OUTPUTS(WITHOUT_ARRAY)
}

/* Many at once, from parameters that cannot be written, and the same one by one. */
static void inference(void) {
	uint64_t many = 0, single = 0, array = 0;
	params = block_make(PAGE * ((sizeof(Params) + PAGE - 1) / PAGE));
	memcpy(params.data, train.data, sizeof(Params));
#define MAKE_SAMPLES(name, type, is_float, count, classes) name = block_make(sizeof(type) * (count) * SAMPLES);
	MODEL_INPUTS(MAKE_SAMPLES)
	MODEL_OUTPUTS(MAKE_SAMPLES)
#define FILL_SAMPLES(name, type, is_float, count, classes)                                                                       \
	synthetic_fill(name.data, is_float, (int)sizeof(type), classes, (count)*SAMPLES, 7, array++);
	MODEL_INPUTS(FILL_SAMPLES)
	refused_inference();
	if (mprotect(params.data, params.bytes, PROT_READ)) abort();
	check(infer(0, 0) == N(OK), "no samples");
	check(infer(0, SAMPLES) == N(OK), "a model returns 0");
#define HASH_MANY(name, type, is_float, count, classes)                                                                          \
	many = hash_more(many, name.data, name.bytes);                                                                               \
	block_check(&name, "memory before a result");
	MODEL_OUTPUTS(HASH_MANY)
	for (size_t i = 0; i < SAMPLES; i++) check(infer(i, 1) == N(OK), "a model returns 0 for one sample");
#define HASH_SINGLE(name, type, is_float, count, classes) single = hash_more(single, name.data, name.bytes);
	MODEL_OUTPUTS(HASH_SINGLE)
	check(many == single, "samples at once and one by one give the same bits");
}

int main(int argc, char **argv) {
	int quick = argc > 1 && !strcmp(argv[1], "short");
	size_t working = N(SCRATCH_TRAIN) > N(SCRATCH_INFER) ? N(SCRATCH_TRAIN) : N(SCRATCH_INFER);
	check(sizeof(Params) == N(PARAMS_BYTES) && sizeof(Train) == N(TRAIN_BYTES), "the sizes of the header");
	train = block_make(sizeof(Train));
	saved = block_make(sizeof(Train));
	scratch = block_make(N(SCRATCH_TRAIN));
	point();
#define MAKE(name, type, is_float, count, classes) name = block_make(sizeof(type) * (count));
	STEP_INPUTS(MAKE)
	N(init)((Train *)train.data, SEED);
	memcpy(saved.data, train.data, train.bytes);
	memset(train.data, 0xff, train.bytes);
	N(init)((Train *)train.data, SEED);
	check(memcmp(saved.data, train.data, train.bytes) == 0, "init sets every byte");
	train_steps(0, SHORT_STEPS);
	bad_classes();
	bad_pointers();
	foreign_blocks();
	not_finite();
	if (!quick) train_steps(SHORT_STEPS, LONG_STEPS);
	measure_stack();
	table();
	copies();
	block_check(&train, "memory before the training block");
	block_check(&scratch, "memory before scratch");
	scratch = block_make(working);
	inference();
	block_check(&scratch, "memory before scratch, when inferring");
#ifdef TEAM
	scratch = block_make(N(SCRATCH_WORKERS));
	point();
	train_by_team();
#endif
	return broken;
}
