/* bits.c: a training with an object of `nnc compile`, on a machine of which nothing is known but put() and, on a microcontroller,
 * where its stack begins.  Built like driver.c; STEPS, and DUMP for tensors as text, are given on the command line.  Prints
 *     object 1 STEPS HASH                     over everything that the training leaves behind, as reference.c and driver.c do
 *     results HASH                            of the model, on a block of samples and a single one
 *     stack N of M                            where the stack can be seen: bytes used below the caller's frame, and the bound
 *     tensor WHEN KIND PATH COUNT WORD ..     with DUMP: f32 tensors after 0, 1 and all steps
 *     broken: WHAT                            when a promise of the header is broken */
#include "synthetic.h"

#define GLUE2(a, b) a##_##b
#define GLUE(a, b) GLUE2(a, b)
#define N(name) GLUE(NAME, name)
typedef N(train) Train;
typedef N(param_info) Info;

void put(const char *text);                          /* prints */
extern unsigned char stack_low[];                    /* of a microcontroller: the lowest byte of its stack */

enum { CANARY = 0x5a, GUARD = 64 };

/* Blocks with known bytes around them. */
typedef struct Guard { unsigned char bytes[GUARD]; } Guard;
static struct { Guard before; Train block; Guard after; } train, saved;
static struct { Guard before; N(scratch) block; Guard after; } scratch;
#define DECLARE(name, type, is_float, count, classes) static type name[count];
STEP_INPUTS(DECLARE)
static float loss;

static void put_hex(uint64_t value, int digits) {
	char text[17];
	text[digits] = 0;
	for (int i = digits - 1; i >= 0; i--, value >>= 4) text[i] = "0123456789abcdef"[value & 15];
	put(text);
}

static void put_number(uint32_t value) {
	char text[11], *at = text + 10;
	*at = 0;
	do *--at = (char)('0' + value % 10);
	while (value /= 10);
	put(at);
}

static void check(int ok, const char *what) {
	if (ok) return;
	put("broken: ");
	put(what);
	put("\n");
}

static void fill_bytes(void *to, unsigned char byte, size_t n) {
	for (size_t i = 0; i < n; i++) ((volatile unsigned char *)to)[i] = byte;
}

static int all_are(const void *from, unsigned char byte, size_t n) {
	for (size_t i = 0; i < n; i++)
		if (((const unsigned char *)from)[i] != byte) return 0;
	return 1;
}

static int same(const void *a, const void *b, size_t n) {
	for (size_t i = 0; i < n; i++)
		if (((const unsigned char *)a)[i] != ((const unsigned char *)b)[i]) return 0;
	return 1;
}

#ifdef HAS_STACK
static unsigned char *volatile called_at;             /* the stack when the object was called */
#ifdef __x86_64__
#define NOTE_STACK __asm__ volatile("mov %%rsp, %0" : "=r"(called_at))
#else
#define NOTE_STACK __asm__ volatile("mov %0, sp" : "=r"(called_at))
#endif
#else
#define NOTE_STACK (void)0
#endif

/* Arguments that are given as NULL, or a byte further on than they should be: see refusals.h. */
static const void *missing, *odd;
static void *given(void *right) { return right == missing ? NULL : right == odd ? (char *)right + 1 : right; }

#define PASS(name, type, is_float, count, classes) , given(name)
static __attribute__((noinline)) int step(void) {
	NOTE_STACK;
	int status = N(STEP_CALL)(given(&train.block) STEP_INPUTS(PASS), &loss, given(scratch.block.bytes));
	return status + 0 * *(volatile unsigned char *)scratch.before.bytes;   /* no call in place of a return */
}

static void fill(uint64_t number) {
	uint64_t array = 0;
#define FILL(name, type, is_float, count, classes)                                                                               \
	synthetic_fill(name, is_float, (int)sizeof(type), classes, count, number, array++);
	STEP_INPUTS(FILL)
}

/* One call of `what` on a painted stack. */
static __attribute__((noinline)) void see_stack(void (*what)(void)) {
#ifdef HAS_STACK
	unsigned char *volatile lowest = stack_low;
	NOTE_STACK;
	for (volatile unsigned char *p = stack_low; p < called_at; p++) *p = CANARY;
	what();
	while (*lowest == CANARY) lowest++;
	uint32_t used = (uint32_t)(called_at - lowest);
	check(used <= N(STACK_MAX), "stack within STACK_MAX");
	put("stack ");
	put_number(used);
	put(" of ");
	put_number(N(STACK_MAX));
	put("\n");
#else
	what();
#endif
}

static __attribute__((noinline)) void init(void) {
	NOTE_STACK;
	N(init)(&train.block, SEED);
	check(train.block.seed == SEED, "the seed is in the block");   /* and nothing is called in place of a return */
}
static void checked_step(void) { check(step() == N(OK), "a step returns 0"); }

/* Calls with every row of every tensor, dense. */
static void each_row(void (*row_of)(const Info *info, const unsigned char *row, size_t bytes)) {
	for (int i = 0; i < N(PARAM_COUNT); i++) {
		const Info *info = &N(param_table)[i];
		size_t row, stride, rows = N(rows)(info, &row, &stride);
		row_of(info, NULL, 0);
		for (size_t r = 0; r < rows; r++)
			row_of(info, (const unsigned char *)&train.block + info->offset + r * stride, row);
	}
}

static uint64_t hash;
static void hash_row(const Info *info, const unsigned char *row, size_t bytes) {
	(void)info;
	if (row) hash = hash_more(hash, row, bytes);
}

#ifdef DUMP
static int when;
static void dump_row(const Info *info, const unsigned char *row, size_t bytes) {
	if (!row) {
		uint32_t count = 1;
		for (int d = 0; d < info->rank; d++) count *= (uint32_t)info->dim[d];
		put("\ntensor ");
		put_number((uint32_t)when);
		put(" ");
		put_number((uint32_t)info->kind);
		put(" ");
		put(info->path);
		put(" ");
		put_number(count);
	}
	for (size_t i = 0; i < bytes; i += 4) {
		put(" ");
		put_hex((uint64_t)row[i] | (uint64_t)row[i + 1] << 8 | (uint64_t)row[i + 2] << 16 | (uint64_t)row[i + 3] << 24, 8);
	}
}
static void dump(int after) {
	when = after;
	each_row(dump_row);
	put("\n");
}
#else
static void dump(int after) { (void)after; }
#endif

static void paint(Guard *guard) { fill_bytes(guard->bytes, CANARY, GUARD); }
static int intact(const Guard *guard) { return all_are(guard->bytes, CANARY, GUARD); }

/* Of more samples than a block: the same one by one. */
enum { SAMPLES = BATCH + 1 };
#define DECLARE_SAMPLES(name, type, is_float, count, classes) static type name[(count) * SAMPLES];
MODEL_INPUTS(DECLARE_SAMPLES)
MODEL_OUTPUTS(DECLARE_SAMPLES)
static __attribute__((noinline)) int infer(size_t from, size_t n) {
#define SHIFT(name, type, is_float, count, classes) , given(name + from * (count))
	NOTE_STACK;
	int status = N(MODEL_CALL)(given(&train.block.params) MODEL_INPUTS(SHIFT) MODEL_OUTPUTS(SHIFT), n, given(scratch.block.bytes));
	return status + 0 * *(volatile unsigned char *)scratch.before.bytes;   /* as in step() */
}
static void checked_samples(void) { check(infer(0, SAMPLES) == N(OK), "a model returns 0"); }
static void checked_sample(void) { check(infer(SAMPLES - 1, 1) == N(OK), "a model returns 0 for one sample"); }

static void inference(void) {
	uint64_t array = 0, many = 0xcbf29ce484222325u, single = many;
#define FILL_SAMPLES(name, type, is_float, count, classes)                                                                       \
	synthetic_fill(name, is_float, (int)sizeof(type), classes, (count) * SAMPLES, 7, array++);
	MODEL_INPUTS(FILL_SAMPLES)
	see_stack(checked_samples);
#define HASH_MANY(name, type, is_float, count, classes) many = hash_more(many, name, sizeof name);
#define HASH_SINGLE(name, type, is_float, count, classes) single = hash_more(single, name, sizeof name);
	MODEL_OUTPUTS(HASH_MANY)
	for (size_t i = 0; i < SAMPLES; i++) check(infer(i, 1) == N(OK), "a model returns 0 for one sample");
	see_stack(checked_sample);
	MODEL_OUTPUTS(HASH_SINGLE)
	check(many == single, "samples at once and one by one give the same bits");
	put("results ");
	put_hex(many, 16);
	put("\n");
}

#include "refusals.h"

int bits(void) {
	paint(&train.before), paint(&train.after), paint(&scratch.before), paint(&scratch.after);
	see_stack(init);
	dump(0);
	for (int s = 0; s < STEPS; s++) {
		fill((uint64_t)s);
		if (s == 0) {
			see_stack(checked_step);
			dump(1);
		} else {
			fill_bytes(scratch.block.bytes, s % 2 ? 0xff : 0x7f, s < 4 ? sizeof scratch.block.bytes : 0);
			checked_step();
		}
	}
	hash = 0xcbf29ce484222325u;
	each_row(hash_row);
	put("object 1 ");
	put_number(STEPS);
	put(" ");
	put_hex(hash, 16);
	put("\n");
	dump(STEPS);
	inference();
	refusals();
	check(intact(&train.before) && intact(&train.after), "memory around the training block");
	check(intact(&scratch.before) && intact(&scratch.after), "memory around scratch");
	return 0;
}
