/* refusals.h: of bits.c.  Whatever the header says is refused is refused, with its status, and then nothing has changed: not the
 * block, not the loss, no result.  Here because it must hold on every machine; driver.c does more of it on this one. */
#ifndef NNC_TEST_REFUSALS_H
#define NNC_TEST_REFUSALS_H

static void refused(int status, int wanted, const char *what) {
	check(status == wanted, what);
	check(loss == 42 && same(&saved.block, &train.block, sizeof(Train)), "what is refused changes nothing");
}

/* From here on `saved` is what may not change. */
static void keep(void) {
	const volatile unsigned char *from = (const unsigned char *)&train.block;
	for (size_t i = 0; i < sizeof(Train); i++) ((unsigned char *)&saved.block)[i] = from[i];
	loss = 42;
}

/* ---- steps ---- */

static const union { uint32_t bits[2]; float numbers[2]; } strange = {{0x7fc00000u, 0xff800000u}};   /* a nan, an infinity */

#define WRONG(name, type, at, value, call, code, what)                                                                           \
	{                                                                                                                            \
		type right = name[at];                                                                                                   \
		name[at] = (type)(value);                                                                                                \
		refused(call, N(code), what);                                                                                            \
		name[at] = right;                                                                                                        \
	}

static void bad_samples(void) {
#define WRONG_SAMPLE(name, type, is_float, count, classes)                                                                       \
	if (classes) {                                                                                                               \
		WRONG(name, type, (count) - 1, classes, step(), BAD_CLASS, "a class that is one too large")                              \
		WRONG(name, type, 0, (classes) < 200 ? 200 : (classes) + 1, step(), BAD_CLASS, "class 200")                              \
		WRONG(name, type, (count) / 2, -1, step(), BAD_CLASS, "class -1")                                                        \
	}                                                                                                                            \
	if (is_float) {                                                                                                              \
		WRONG(name, type, 0, strange.numbers[0], step(), NOT_FINITE, "a nan to learn from")                                      \
		WRONG(name, type, (count) - 1, strange.numbers[1], step(), NOT_FINITE, "an infinity to learn from")                      \
	}
	STEP_INPUTS(WRONG_SAMPLE)
}

/* An argument that is NULL, then one that is a byte further on: `wide` when it has to be aligned. */
static void bad_argument(int (*call)(void), const void *argument, int wide, const char *what) {
	missing = argument;
	refused(call(), N(NULL_POINTER), what);
	missing = NULL, odd = argument;
	if (wide) refused(call(), N(MISALIGNED), what);
	odd = NULL;
}

static void bad_blocks(void) {
	uint64_t *const ids[] = {&train.block.params.head.id, &train.block.id};
	for (int i = 0; i < 3; i++) {
		if (i < 2) *ids[i] ^= (uint64_t)1 << 40;
		else train.block.params.head.abi++;
		keep();
		refused(step(), N(BAD_BLOCK), "a step on another one's block");
		check(N(check_train)(&train.block) == N(BAD_BLOCK), "another one's block is recognised");
		if (i < 2) *ids[i] ^= (uint64_t)1 << 40;
		else train.block.params.head.abi--;
	}
	Train *empty = &saved.block;
	fill_bytes(empty, 0, sizeof(Train));
	check(N(STEP_CALL)(empty STEP_INPUTS(PASS), &loss, scratch.block.bytes) == N(BAD_BLOCK), "a step on a block never filled");
	check(all_are(empty, 0, sizeof(Train)) && loss == 42, "it stays as it was");
}

/* ---- models ---- */

static size_t samples = 1;
static int infer_samples(void) { return infer(0, samples); }

static void no_results(void) {
#define IS_UNTOUCHED(name, type, is_float, count, classes) check(all_are(name, CANARY, sizeof name), "nor any result");
	MODEL_OUTPUTS(IS_UNTOUCHED)
}

static void bad_models(void) {
#define PAINT_RESULT(name, type, is_float, count, classes) fill_bytes(name, CANARY, sizeof name);
	MODEL_OUTPUTS(PAINT_RESULT)
	static const size_t counts[] = {(size_t)-1, (size_t)-1 / 2 + 1};
	for (int i = 0; i < 2; i++) {
		samples = counts[i];
		refused(infer_samples(), N(BAD_COUNT), "more samples than memory");
	}
	samples = 0;
	refused(infer_samples(), N(OK), "no samples are none");
	samples = 1;
	bad_argument(infer_samples, &train.block.params, 1, "parameters of a model");
	bad_argument(infer_samples, scratch.block.bytes, 1, "scratch of a model");
#define WRONG_ARRAY(name, type, is_float, count, classes) bad_argument(infer_samples, name, sizeof(type) > 1, #name);
	MODEL_INPUTS(WRONG_ARRAY)
	MODEL_OUTPUTS(WRONG_ARRAY)
#define WRONG_CLASS(name, type, is_float, count, classes)                                                                        \
	if (classes) WRONG(name, type, (count) - 1, classes, infer_samples(), BAD_CLASS, "a class of a model's input")
	MODEL_INPUTS(WRONG_CLASS)
	train.block.params.head.id ^= 1;
	keep();
	refused(infer_samples(), N(BAD_BLOCK), "a model on another one's parameters");
	train.block.params.head.id ^= 1;
	no_results();
}

static void refusals(void) {
	keep();
	bad_samples();
	bad_argument(step, &train.block, 1, "a training block");
	bad_argument(step, scratch.block.bytes, 1, "scratch of a step");
#define WRONG_FIELD(name, type, is_float, count, classes) bad_argument(step, name, sizeof(type) > 1, #name);
	STEP_INPUTS(WRONG_FIELD)
	odd = &train.block;
	check(N(init)(given(&train.block), SEED) == N(MISALIGNED) && N(init)(NULL, SEED) == N(NULL_POINTER), "init of no block");
	odd = NULL;
	bad_models();
	bad_blocks();
	check(N(check_train)(&train.block) == N(OK), "the block is as it was");
}

#endif
