/* blocks.c: the object of several.nn and that of narrow.nn, which differs from it in one size and whose blocks are as large, in
 * one program.  blocks.sh compares the files it writes with what nnc train, pack and unpack make.
 *     blocks train         first.bin (X_params after 20 steps of `first`), both.bin (X_train after 10 of `second` more)
 *     blocks after FILE    FILE holds the X_train of both.bin: the same steps from it and from both.bin end alike
 *     blocks foreign FILE  FILE holds another program's X_train: refused */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "narrow.h"
#include "several.h"

static const float x[6][3] = {{0, 0, 1}, {0, 1, 0}, {1, 0, 0}, {1, 1, 1}, {2, 0, 1}, {0, 2, 1}}, y[6] = {0, 1, 1, 2, 2, 2};
static several_train model, other;
static narrow_train narrow;
static several_scratch scratch;
static narrow_scratch narrow_memory;

static void must(int ok, const char *what) {
	if (ok) return;
	printf("broken: %s\n", what);
	exit(1);
}

static void write_block(const char *path, const void *block, size_t bytes) {
	FILE *out = fopen(path, "wb");
	must(out && fwrite(block, bytes, 1, out) == 1 && fclose(out) == 0, "writing a block");
}

static size_t read_block(const char *path, void *block, size_t bytes) {
	FILE *in = fopen(path, "rb");
	size_t n = in ? fread(block, 1, bytes, in) : 0;
	must(in && fgetc(in) == EOF, "a block has the size of its struct");
	fclose(in);
	return n;
}

static void second(several_train *t, int from, int to) {
	float loss;
	for (int i = from; i < to; i++)
		must(several_step_second(t, x[i % 2 * 3], y + i % 2 * 3, &loss, &scratch) == several_OK, "a step of the second");
}

static void train(void) {
	float loss, h[6][7], s[6], high[6];
	must(several_init(&model, 3) == several_OK, "init");
	must(narrow_init(&narrow, 3) == narrow_OK, "init of the other object");
	for (int i = 0; i < 20; i++) {
		must(several_step_first(&model, x[0], y, &loss, &scratch) == several_OK, "a step of the first");
		must(narrow_step_first(&narrow, x[0], y, &loss, &narrow_memory) == narrow_OK, "a step of the other object");
	}
	must(model.step_first == 20 && model.step_second == 0, "counters are the train blocks' own");
	write_block("first.bin", &model.params, sizeof model.params);
	second(&model, 0, 10);
	must(model.step_first == 20 && model.step_second == 10 && model.epoch_first == 1, "counters after both");
	must(model.lr_first == 0.1f && model.lr_second == 0.05f, "settings are the train blocks' own");
	model.lr_second = 0.0123456f, model.epoch_second = 6;
	write_block("both.bin", &model, sizeof model);
	must(several_low(&model.params, x[0], h[0], s, 6, &scratch) == several_OK, "the first model");
	must(several_high(&model.params, x[0], high, 6, &scratch) == several_OK, "the second model");
	/* their blocks are as large, and not each other's */
	must(sizeof narrow == sizeof model, "blocks of equal size");
	must(several_step_first((several_train *)&narrow, x[0], y, &loss, &scratch) == several_BAD_BLOCK,
	     "a step on another's block");
	must(narrow_low((const narrow_params *)&model.params, x[0], h[0], s, 6, &narrow_memory) == narrow_BAD_BLOCK,
	     "a model on another's parameters");
	model.params.head = narrow.params.head;
	must(several_check_train(&model) == several_BAD_BLOCK, "a block with another's head");
}

static void after(const char *path) {
	must(read_block("both.bin", &model, sizeof model) == sizeof model, "a whole block");
	must(read_block(path, &other, sizeof other) == sizeof other, "the size of the block");
	must(several_check_train(&other) == several_OK, "the block is ours");
	must(other.step_first == 20 && other.step_second == 10 && other.epoch_second == 6 && other.seed == 3 &&
	         other.lr_second == 0.0123456f && other.lr_first == 0.1f, "counters and settings came over");
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < several_PARAM_COUNT; i++) {
			const several_param_info *info = &several_param_table[i];
			unsigned char a[4096], b[4096];
			size_t row, stride, bytes = several_rows(info, &row, &stride);
			must(bytes * row <= sizeof a, "small tensors");
			must(!several_store(&model, info->path, a) && !several_store(&other, info->path, b), "store");
			must(memcmp(a, b, bytes * row) == 0, info->path);
		}
		second(&model, 10, 15);
		second(&other, 10, 15);
	}
}

int main(int argc, char **argv) {
	float loss;
	if (argc == 2 && !strcmp(argv[1], "train")) train();
	else if (argc == 3 && !strcmp(argv[1], "after")) after(argv[2]);
	else {
		must(argc == 3 && read_block(argv[2], &model, sizeof model) == sizeof model, "usage");
		memcpy(&other, &model, sizeof model);
		must(several_check_train(&model) == several_BAD_BLOCK, "a stale block is recognised");
		must(several_step_second(&model, x[0], y, &loss, &scratch) == several_BAD_BLOCK, "and refused");
		must(memcmp(&other, &model, sizeof model) == 0, "and left as it was");
	}
	return 0;
}
