/* A C program that learns: xor.nn as an object file, trained and used with nothing but the caller's memory.
 *
 *     make NNC=path/to/nnc && ./xor
 *
 * xor.h, written beside the object, documents every function used here. */
#include <stdio.h>

#include "xor.h"

/* All the memory there is.  The header knows every size, so nothing is allocated while the program runs. */
static xor_train model;
static xor_scratch scratch;

static const float bits[4][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}};
static const float differ[4] = {0, 1, 1, 0};

int main(void) {
	float loss = 0, logit[4], bias;
	int wrong = 0;

	xor_init(&model, 1); /* initial parameters by the seed, as `nnc train` has them */
	for (int step = 1; step <= 500; step++) {
		if (xor_step(&model, &bits[0][0], differ, &loss, &scratch) != xor_OK) return 1;
		if (step % 100 == 0) printf("step %d  loss %.6f\n", step, (double)loss);
	}

	/* Inference reads model.params only: any number of threads may share them, each with scratch of its own. */
	if (xor_mlp(&model.params, &bits[0][0], logit, 4, &scratch) != xor_OK) return 1;
	for (int i = 0; i < 4; i++) {
		printf("%g xor %g: %s\n", (double)bits[i][0], (double)bits[i][1], logit[i] > 0 ? "yes" : "no");
		wrong += (logit[i] > 0) != (differ[i] > 0.5f);
	}

	/* Tensors by path, dense: the same names as in weights.safetensors. */
	if (xor_store(&model, "mlp/dense.1/b", &bias) != xor_OK) return 1;
	printf("mlp/dense.1/b is %.6f\n", (double)bias);
	return wrong;
}
