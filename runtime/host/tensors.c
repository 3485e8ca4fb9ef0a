/* tensors.c: in: a safetensors file, or named tensors; out: the other.
 * A file is a header's length (8 bytes, little-endian), a JSON header {name: {dtype, shape, data_offsets}}, and the
 * data.  Guaranteed: the length is checked against the file before anything is allocated, every tensor lies within
 * the data, has the size its shape says, and overlaps no other; a new file replaces an old one whole. */
#include "files.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const size_t MAX_HEADER = 100 * 1000 * 1000;

static const struct { const char *text; int bytes; DType same; } stored_types[] = {
	{"F32", 4, DTYPE_F32}, {"F64", 8, DTYPE_F64}, {"F16", 2, DTYPE_F16}, {"BF16", 2, DTYPE_BF16}, {"I32", 4, DTYPE_I32},
	{"I8", 1, DTYPE_I8},   {"U8", 1, DTYPE_U8},   {"BOOL", 1, DTYPE_BOOL}, {"I64", 8, DTYPE_COUNT}, {"U64", 8, DTYPE_COUNT},
	{"U32", 4, DTYPE_COUNT}, {"I16", 2, DTYPE_COUNT}, {"U16", 2, DTYPE_COUNT}, {"F8_E4M3", 1, DTYPE_COUNT},
	{"F8_E5M2", 1, DTYPE_COUNT}};

static bool broken(Diag *diag, const char *path, const char *what) {
	diag_error(diag, (Span){0}, "'%s' is not a safetensors file that can be read: %s", path, what);
	return false;
}

static bool broken_tensor(Diag *diag, const char *path, const char *name, const char *what) {
	diag_error(diag, (Span){0}, "'%s': tensor '%s' %s", path, name, what);
	return false;
}

/* Reads [begin, end] of `count` bytes within the data. */
static bool read_place(const json_t *offsets, size_t data_size, uint64_t size, uint64_t *begin) {
	const json_t *a = json_array_get(offsets, 0), *b = json_array_get(offsets, 1);
	if (json_array_size(offsets) != 2 || !json_is_integer(a) || !json_is_integer(b)) return false;
	json_int_t first = json_integer_value(a), end = json_integer_value(b);
	if (first < 0 || end < first || (uint64_t)end > data_size || (uint64_t)(end - first) != size) return false;
	*begin = (uint64_t)first;
	return true;
}

static bool read_entry(Diag *diag, const char *path, const char *name, const json_t *value, const char *data, size_t data_size,
                       TensorEntry *entry) {
	const char *dtype = json_string_value(json_object_get(value, "dtype"));
	const json_t *shape = json_object_get(value, "shape");
	int64_t size = 0;
	for (size_t i = 0; dtype && i < COUNT(stored_types); i++) {
		if (strcmp(dtype, stored_types[i].text) != 0) continue;
		entry->stored = stored_types[i].text;
		entry->type.dtype = stored_types[i].same;
		size = stored_types[i].bytes;
	}
	if (!size) return broken_tensor(diag, path, name, "has a dtype that is not known");
	if (!json_is_array(shape) || json_array_size(shape) > MAX_RANK)
		return broken_tensor(diag, path, name, "has no shape, or more than 8 dims");
	entry->type.rank = (int)json_array_size(shape);
	for (int i = 0; i < entry->type.rank; i++) {
		const json_t *dim = json_array_get(shape, (size_t)i);
		int64_t n = json_is_integer(dim) ? json_integer_value(dim) : -1;
		if (n < 0 || __builtin_mul_overflow(size, n, &size)) return broken_tensor(diag, path, name, "has an impossible shape");
		entry->type.dim[i] = n;
	}
	uint64_t begin;
	if (!read_place(json_object_get(value, "data_offsets"), data_size, (uint64_t)size, &begin))
		return broken_tensor(diag, path, name, "has data_offsets that do not fit its shape or the file");
	entry->data = data + begin;
	return true;
}

static int by_place(const void *a, const void *b) {
	const TensorEntry *x = *(const TensorEntry *const *)a, *y = *(const TensorEntry *const *)b;
	return (x->data > y->data) - (x->data < y->data);
}

static size_t entry_bytes(const TensorEntry *e) {
	size_t bytes = 0;
	for (size_t i = 0; i < COUNT(stored_types); i++)
		if (e->stored == stored_types[i].text) bytes = (size_t)stored_types[i].bytes;
	return bytes * (size_t)type_count(e->type);
}

/* Tensors stand apart and reach to the file's end; `end` is there. */
static bool check_places(Arena *arena, Diag *diag, const char *path, const TensorFile *file, const char *end) {
	const TensorEntry **order = NEW_ARRAY(arena, const TensorEntry *, MAX(file->count, 1));
	int n = 0;
	for (int i = 0; i < file->count; i++)
		if (entry_bytes(&file->entries[i])) order[n++] = &file->entries[i];
	qsort(order, (size_t)n, sizeof *order, by_place);
	for (int i = 1; i < n; i++)
		if (order[i - 1]->data + entry_bytes(order[i - 1]) > order[i]->data)
			return broken_tensor(diag, path, order[i]->name, arena_printf(arena, "overlaps tensor '%s'", order[i - 1]->name));
	if (n && order[n - 1]->data + entry_bytes(order[n - 1]) != end)
		return broken(diag, path, "something follows its last tensor");
	return true;
}

static bool read_all(Arena *arena, Diag *diag, const char *path, json_t *root, const char *data, size_t data_size,
                     TensorFile *file) {
	file->entries = NEW_ARRAY(arena, TensorEntry, json_object_size(root) + 1);
	const char *key;
	json_t *value;
	json_object_foreach(root, key, value) {
		if (strcmp(key, "__metadata__") == 0) {
			file->meta = NEW_ARRAY(arena, MetaEntry, json_object_size(value) + 1);
			const char *name;
			json_t *text;
			json_object_foreach(value, name, text) {
				if (!json_is_string(text)) return broken(diag, path, "its metadata are not texts");
				file->meta[file->nmeta++] = (MetaEntry){arena_text(arena, name, strlen(name)),
					arena_text(arena, json_string_value(text), json_string_length(text))};
			}
			continue;
		}
		TensorEntry *entry = &file->entries[file->count++];
		entry->name = arena_text(arena, key, strlen(key));
		if (!read_entry(diag, path, entry->name, value, data, data_size, entry)) return false;
	}
	return check_places(arena, diag, path, file, data + data_size);
}

static bool read_content(Arena *arena, Diag *diag, const char *path, File *f, TensorFile *file) {
	if (f->gzip || f->size < 8) return broken(diag, path, f->gzip ? "it is packed with gzip" : "it is shorter than 8 bytes");
	char head[HEAD_BYTES];
	if (file_head(f, diag, (Span){0}, head) < 8) return false;
	uint64_t length = 0;
	for (int i = 7; i >= 0; i--) length = length << 8 | (unsigned char)head[i];
	if (length > f->size - 8) return broken(diag, path, "its header is longer than the file");
	if (length > MAX_HEADER) return broken(diag, path, "its header is longer than 100 MB");
	if (!memory_allows(diag, (Span){0}, path, f->size)) return false;
	file->bytes = file_body(f, diag, (Span){0}, f->size);
	if (!file->bytes) return false;
	file->size = f->size;
	json_error_t error;
	json_t *root = json_loadb(file->bytes + 8, (size_t)length, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(root)) {
		json_decref(root);
		return broken(diag, path,
		              root ? "its header is not a JSON object" : arena_printf(arena, "its header is not JSON (%s)", error.text));
	}
	bool ok = read_all(arena, diag, path, root, file->bytes + 8 + length, (size_t)(f->size - 8 - length), file);
	json_decref(root);
	return ok;
}

TensorFile *tensors_read(Arena *arena, Diag *diag, const char *path) {
	File *f = file_open(arena, diag, (Span){0}, path);
	if (!f) return NULL;
	TensorFile *file = NEW(arena, TensorFile);
	bool ok = read_content(arena, diag, path, f, file);
	file_close(f);
	if (ok) return file;
	tensors_close(file);
	return NULL;
}

void tensors_close(TensorFile *file) {
	if (!file) return;
	free(file->bytes);
	file->bytes = NULL;
}

const char *tensors_meta(const TensorFile *file, const char *key) {
	for (int i = 0; i < file->nmeta; i++)
		if (strcmp(file->meta[i].key, key) == 0) return file->meta[i].value;
	return NULL;
}

static json_t *header_json(const TensorEntry *entries, int count, const MetaEntry *meta, int nmeta) {
	json_t *root = json_object();
	if (nmeta) {
		json_t *texts = json_object();
		for (int i = 0; i < nmeta; i++) json_object_set_new(texts, meta[i].key, json_string(meta[i].value));
		json_object_set_new(root, "__metadata__", texts);
	}
	size_t at = 0;
	for (int i = 0; i < count; i++) {
		const TensorEntry *e = &entries[i];
		const char *dtype = NULL;
		for (size_t k = 0; k < COUNT(stored_types); k++)
			if (stored_types[k].same == e->type.dtype) dtype = stored_types[k].text;
		size_t size = (size_t)type_count(e->type) * (size_t)dtype_info[e->type.dtype].bytes;
		json_t *shape = json_array();
		for (int d = 0; d < e->type.rank; d++) json_array_append_new(shape, json_integer(e->type.dim[d]));
		json_object_set_new(root, e->name, json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", shape, "data_offsets",
		                                             (json_int_t)at, (json_int_t)(at + size)));
		at += size;
	}
	return root;
}

bool tensors_write(Diag *diag, const char *path, const TensorEntry *entries, int count, const MetaEntry *meta, int nmeta) {
	json_t *root = header_json(entries, count, meta, nmeta);
	char *text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	if (!text) fatal("out of memory");
	AtomicFile *f = atomic_open(diag, path);
	if (!f) {
		free(text);
		return false;
	}
	size_t length = strlen(text), padded = (length + 7) / 8 * 8;
	unsigned char size[8];
	for (int i = 0; i < 8; i++) size[i] = (unsigned char)((uint64_t)padded >> 8 * i);
	atomic_add(f, size, 8);
	atomic_add(f, text, length);
	atomic_add(f, "        ", padded - length);
	free(text);
	for (int i = 0; i < count; i++)
		atomic_add(f, entries[i].data, (size_t)type_count(entries[i].type) * (size_t)dtype_info[entries[i].type.dtype].bytes);
	return atomic_commit(f);
}
