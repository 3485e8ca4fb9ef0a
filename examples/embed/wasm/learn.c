/* learn.c: the model as functions that a page can call: numbers only, and addresses in the module's own memory.
 *
 * All memory is here, so nothing is allocated and nothing is imported.  The page writes pictures and labels where images() and
 * labels() say, calls, and reads the results from where they stand. */
#include <stdint.h>

#include "learn.h"

#define PAGE(type, name) __attribute__((export_name(#name))) type name

enum { BATCH = 16, CLASSES = 10 };        /* of learn.nn; the page asks for them */

static learn_train model;                 /* parameters, the optimiser's state, counters, the learning rate */
static learn_scratch scratch;
static uint8_t pictures[BATCH][28][28];
static int32_t kinds[BATCH];
static float scores[BATCH][CLASSES], last_loss;

PAGE(int, batch)(void) { return BATCH; }
PAGE(int, classes)(void) { return CLASSES; }
PAGE(uint8_t *, images)(void) { return &pictures[0][0][0]; }
PAGE(int32_t *, labels)(void) { return kinds; }
PAGE(float *, logits)(void) { return &scores[0][0]; }

/* Initial parameters by the seed. */
PAGE(int, begin)(uint32_t seed) { return learn_init(&model, seed); }
PAGE(void, set_rate)(float rate) { model.lr = rate; }

/* One training step on the whole batch: 0, or a status code, and then nothing has changed. */
PAGE(int, step)(void) { return learn_step(&model, &pictures[0][0][0], kinds, &last_loss, &scratch); }
PAGE(float, loss)(void) { return last_loss; }
PAGE(int, steps)(void) { return (int)model.step; }

/* Logits of the first n pictures. */
PAGE(int, predict)(int n) {
	if (n < 0 || n > BATCH) return learn_BAD_COUNT;
	return learn_classifier(&model.params, &pictures[0][0][0], &scores[0][0], (size_t)n, &scratch);
}

/* The block is a whole checkpoint: the page saves its bytes, and puts back what it has saved. */
PAGE(void *, block)(void) { return &model; }
PAGE(int, block_bytes)(void) { return (int)sizeof model; }
PAGE(int, check)(void) { return learn_check_train(&model); }
