/* fashion.h: the pictures of clothes that the tutorials learn from.  A test without them has tested nothing, so it fails. */
#ifndef NNC_FASHION_H
#define NNC_FASHION_H

#include "host.h"

static void need_fashion(void) {
	Arena *arena = arena_new();
	Files *files = files_open(arena, NNC_SOURCE_DIR "/tests/vectors/tutorial1.nn", NULL);
	int64_t side[] = {28, 28};
	DataField image = {
	    .name = "image", .type = type_make(DTYPE_U8, 2, side), .kind = SOURCE_IDX, .path = "train-images-idx3-ubyte.gz"};
	DataSet set = {.name = "clothes", .fields = &image, .nfields = 1};
	DataProbe probe = data_probe(files);
	bool there = probe.samples(probe.context, diag_new(arena), &set).ok;
	files_close(files);
	arena_free(arena);
	if (!there) fail_msg("Fashion-MNIST is not here: install Debian's dataset-fashion-mnist, or name its folder in NNC_DATA");
}

#endif
