/* layout.c: in: the persistent tensors of a program; out: where each stands in one block, and copies between
 * packed and dense.  Guaranteed: places are aligned to 64 bytes and do not overlap; parameters and states come
 * first, so that inference needs only the block's first infer_bytes. */
#include "exec.h"

#include <string.h>

static size_t place(Layout *layout, const Program *p, int i, size_t offset) {
	Type type = p->persistent.data[i].type;
	layout->places[i] = (Place){offset, lasting_row(type)};
	return offset + whole_lines(lasting_bytes(type));
}

static Layout layout_from(Arena *arena, const Program *p, size_t first) {
	Layout layout = {
	    .places = NEW_ARRAY(arena, Place, p->persistent.length), .count = p->persistent.length, .bytes = first};
	for (int i = 0; i < layout.count; i++)
		if (p->persistent.data[i].kind != INPUT_SLOT) layout.bytes = place(&layout, p, i, layout.bytes);
	layout.infer_bytes = layout.bytes;
	for (int i = 0; i < layout.count; i++)
		if (p->persistent.data[i].kind == INPUT_SLOT) layout.bytes = place(&layout, p, i, layout.bytes);
	return layout;
}

Layout layout_program(Arena *arena, const Program *p) { return layout_from(arena, p, 0); }

Layout layout_block(Arena *arena, const Program *p) { return layout_from(arena, p, sizeof(nnc_head)); }

/* Rows of the last axis: how many, and their bytes dense and packed. */
typedef struct Rows { int64_t count; size_t dense, packed; } Rows;

static Rows rows_of(const Layout *layout, const Program *p, int index) {
	Type t = p->persistent.data[index].type;
	size_t size = (size_t)dtype_info[t.dtype].bytes;
	int64_t last = t.rank ? t.dim[t.rank - 1] : 1;
	Rows rows = {1, (size_t)last * size, (size_t)layout->places[index].row * size};
	for (int i = 0; i + 1 < t.rank; i++) rows.count *= t.dim[i];
	if (rows.dense == rows.packed) {
		rows.dense = rows.packed *= (size_t)rows.count;
		rows.count = 1;
	}
	return rows;
}

void layout_store(const Layout *layout, const Program *p, int index, const char *block, void *dense) {
	Rows rows = rows_of(layout, p, index);
	const char *from = block + layout->places[index].offset;
	for (int64_t r = 0; r < rows.count; r++)
		memcpy((char *)dense + (size_t)r * rows.dense, from + (size_t)r * rows.packed, rows.dense);
}

void layout_load(const Layout *layout, const Program *p, int index, char *block, const void *dense) {
	Rows rows = rows_of(layout, p, index);
	char *to = block + layout->places[index].offset;
	for (int64_t r = 0; r < rows.count; r++)
		memcpy(to + (size_t)r * rows.packed, (const char *)dense + (size_t)r * rows.dense, rows.dense);
}
