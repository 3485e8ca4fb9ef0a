/* weights.c: in: a program's persistent block; out: a safetensors file with instance paths as names; and back.
 * Files are dense row-major whatever the block's layout.  Loading says what did not match. */
#include "checkpoint.h"
#include "files.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int weights_entries(Arena *arena, const Program *p, const Layout *layout, const char *block, const char *prefix, bool slots,
                    TensorEntry *entries) {
	int count = 0;
	for (int i = 0; i < layout->count; i++) {
		const Persistent *t = &p->persistent.data[i];
		if (t->kind == INPUT_SLOT && !slots) continue;
		char *dense = arena_alloc(arena, (size_t)type_count(t->type) * (size_t)dtype_info[t->type.dtype].bytes);
		layout_store(layout, p, i, block, dense);
		const char *name = *prefix ? arena_printf(arena, "%s%s", prefix, t->path) : t->path;
		entries[count++] = (TensorEntry){.name = name, .type = t->type, .data = dense};
	}
	return count;
}

const MetaEntry *with_constants(Arena *arena, const Program *p, const MetaEntry *own, int count, int *total) {
	MetaEntry *meta = NEW_ARRAY(arena, MetaEntry, count + p->constants.length);
	for (int i = 0; i < count; i++) meta[i] = own[i];
	for (int i = 0; i < p->constants.length; i++)
		meta[count + i] = (MetaEntry){p->constants.data[i].name, p->constants.data[i].value};
	*total = count + p->constants.length;
	return meta;
}

/* What data says now, and said when the file was written. */
static bool same_constants(Diag *diag, const char *path, const TensorFile *file, const Program *p) {
	bool same = true;
	for (int i = 0; i < p->constants.length; i++) {
		const Constant *c = &p->constants.data[i];
		const char *then = tensors_meta(file, c->name);
		if (!then || strcmp(then, c->value) == 0) continue;
		same = false;
		diag_error(diag, c->span, "the vocabulary of '%s' is another than '%s' was trained with",
		           c->name + strlen("vocab:"), path);
		const char *difference = vocab_difference(diag->arena, then, c->value);
		diag_note(diag, (Span){0}, "it had %s, and has %lld now%s%s", arena_count(diag->arena, vocab_count(then), "character"),
		          (long long)c->count, difference ? "; only one of them has " : "", difference ? difference : "");
		diag_help(diag, "train anew, or give the text of then");
	}
	return same;
}

bool weights_save(Diag *diag, const char *path, const Program *p, const Layout *layout, const char *block, WeightsInfo info,
                  bool slots) {
	Arena *arena = arena_new();
	TensorEntry *entries = NEW_ARRAY(arena, TensorEntry, MAX(layout->count, 1));
	int count = weights_entries(arena, p, layout, block, "", slots, entries);
	const MetaEntry first[] = {{"nnc", NNC_VERSION},
	                           {"file", p->name ? p->name : ""},
	                           {"seed", info.has_seed ? arena_printf(arena, "%" PRIu64, info.seed) : ""},
	                           {"step", arena_printf(arena, "%" PRId64, info.step)},
	                           {"epoch", arena_printf(arena, "%" PRId64, info.epoch)}};
	MetaEntry *own = NEW_ARRAY(arena, MetaEntry, (int)COUNT(first) + info.nmore);
	memcpy(own, first, sizeof first);
	for (int i = 0; i < info.nmore; i++) own[COUNT(first) + (size_t)i] = info.more[i];
	int nmeta;
	const MetaEntry *meta = with_constants(arena, p, own, (int)COUNT(first) + info.nmore, &nmeta);
	bool ok = tensors_write(diag, path, entries, count, meta, nmeta);
	arena_free(arena);
	return ok;
}

/* A float of another width; false: no conversion is known. */
static bool convert_float(const char *from, DType stored, int64_t count, DType dtype, char *to) {
	if (!dtype_is_float(stored) || !dtype_is_float(dtype)) return false;
	for (int64_t i = 0; i < count; i++)
		element_store(to + i * dtype_info[dtype].bytes, dtype, element_value(stored, from + i * dtype_info[stored].bytes));
	return true;
}

static bool load_one(const Program *p, const Layout *layout, int index, char *block, const TensorEntry *e) {
	Type type = p->persistent.data[index].type;
	if (e->type.dtype == DTYPE_COUNT || !type_same_dims(type, e->type)) return false;
	if (e->type.dtype == type.dtype) {
		layout_load(layout, p, index, block, e->data);
		return true;
	}
	int64_t count = type_count(type);
	char *dense = malloc((size_t)MAX(count, 1) * (size_t)dtype_info[type.dtype].bytes);
	if (!dense) fatal("out of memory");
	bool ok = convert_float(e->data, e->type.dtype, count, type.dtype, dense);
	if (ok) layout_load(layout, p, index, block, dense);
	free(dense);
	return ok;
}

typedef struct Mismatch { Diag *diag; const char *path; bool fatal, spoke; int listed; } Mismatch;

/* The first says that something is wrong, each is listed below it, twenty at most. */
static void mismatch(Mismatch *m, const char *text) {
	enum { LISTED = 20 };
	if (!m->spoke && m->fatal) diag_error(m->diag, (Span){0}, "the weights of '%s' do not fit this program", m->path);
	else if (!m->spoke) diag_warning(m->diag, (Span){0}, "not all weights of '%s' fit this program", m->path);
	m->spoke = true;
	if (m->listed++ < LISTED) diag_note(m->diag, (Span){0}, "%s", text);
	else if (m->listed == LISTED + 1) diag_note(m->diag, (Span){0}, "and more");
}

static void read_info(const TensorFile *file, WeightsInfo *info) {
	const char *seed = tensors_meta(file, "seed"), *step = tensors_meta(file, "step"), *epoch = tensors_meta(file, "epoch");
	*info = (WeightsInfo){.has_seed = seed && *seed};
	for (int i = 0; i < file->count; i++) info->has_slots |= strchr(file->entries[i].name, '#') != NULL;
	if (seed) info->seed = strtoull(seed, NULL, 10);
	if (step) info->step = strtoll(step, NULL, 10);
	if (epoch) info->epoch = strtoll(epoch, NULL, 10);
}

/* Open addressing over the names of the file, so that ten thousand tensors are found at once. */
typedef struct Names { int *slot; uint64_t mask; } Names;

static Names names_make(Arena *arena, const TensorFile *file) {
	uint64_t size = 16;
	while (size < (uint64_t)file->count * 2) size *= 2;
	Names names = {NEW_ARRAY(arena, int, size), size - 1};
	for (int i = 0; i < file->count; i++) {
		uint64_t h = hash_bytes(file->entries[i].name, strlen(file->entries[i].name), 0) & names.mask;
		while (names.slot[h]) h = (h + 1) & names.mask;
		names.slot[h] = i + 1;
	}
	return names;
}

static int names_find(const Names *names, const TensorFile *file, const char *name) {
	uint64_t h = hash_bytes(name, strlen(name), 0) & names->mask;
	for (; names->slot[h]; h = (h + 1) & names->mask)
		if (strcmp(file->entries[names->slot[h] - 1].name, name) == 0) return names->slot[h] - 1;
	return -1;
}

/* What of the block must be in the file, under which names. */
typedef struct Want { bool partial, slots; const char *prefix; } Want;

static bool load_all(Arena *arena, Mismatch *m, const TensorFile *file, const Program *p, const Layout *layout, char *block,
                     Want want) {
	Names names = names_make(arena, file);
	bool *used = NEW_ARRAY(arena, bool, file->count + 1);
	int *found = NEW_ARRAY(arena, int, layout->count + 1), matched = 0, wanted = 0;
	for (int i = 0; i < layout->count; i++) {
		const Persistent *t = &p->persistent.data[i];
		found[i] = names_find(&names, file, *want.prefix ? arena_printf(arena, "%s%s", want.prefix, t->path) : t->path);
		bool fits = found[i] >= 0 && load_one(p, layout, i, block, &file->entries[found[i]]);
		if (found[i] >= 0) used[found[i]] = true;
		if (fits) found[i] = -2;
		if (t->kind != INPUT_SLOT || want.slots) {
			wanted++;
			matched += fits;
		}
	}
	m->fatal = want.partial ? wanted && !matched : matched < wanted;
	for (int i = 0; i < layout->count; i++) {
		const Persistent *t = &p->persistent.data[i];
		if (found[i] == -2 || (found[i] == -1 && t->kind == INPUT_SLOT && !want.slots)) continue;
		const char *type = type_text(arena, t->type);
		if (found[i] < 0) {
			mismatch(m, arena_printf(arena, "missing: %s, %s", t->path, type));
			continue;
		}
		const TensorEntry *e = &file->entries[found[i]];
		mismatch(m, arena_printf(arena, "%s: %s here, %s%s in the file", t->path, type, e->stored,
		                         dims_text(arena, e->type.rank, e->type.dim)));
	}
	for (int i = 0; !*want.prefix && i < file->count; i++)
		if (!used[i] && !strchr(file->entries[i].name, '#'))
			mismatch(m, arena_printf(arena, "unexpected: %s", file->entries[i].name));
	return !m->fatal;
}

bool weights_take(Diag *diag, const char *path, const TensorFile *file, const Program *p, const Layout *layout, char *block,
                  bool partial, WeightsInfo *info) {
	Arena *arena = arena_new();
	Mismatch m = {.diag = diag, .path = path};
	bool ok = same_constants(diag, path, file, p) &&
	          load_all(arena, &m, file, p, layout, block, (Want){.partial = partial, .prefix = ""});
	if (info) read_info(file, info);
	arena_free(arena);
	return ok;
}

bool weights_load(Diag *diag, const char *path, const Program *p, const Layout *layout, char *block, bool partial,
                  WeightsInfo *info) {
	Arena *arena = arena_new();
	TensorFile *file = tensors_read(arena, diag, path);
	bool ok = file && weights_take(diag, path, file, p, layout, block, partial, info);
	tensors_close(file);
	arena_free(arena);
	return ok;
}

bool weights_restore(Diag *diag, const char *path, const TensorFile *file, const Program *p, const Layout *layout, char *block,
                     const char *prefix, bool slots) {
	Arena *arena = arena_new();
	Mismatch m = {.diag = diag, .path = path};
	bool ok = same_constants(diag, path, file, p) &&
	          load_all(arena, &m, file, p, layout, block, (Want){.slots = slots, .prefix = prefix});
	arena_free(arena);
	return ok;
}
