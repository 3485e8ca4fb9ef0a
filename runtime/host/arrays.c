/* arrays.c: in: idx and npy files; out: their headers, their elements in the dtype that is wanted, new npy files.
 * Guaranteed: nothing in a header is used before it was checked against what the file can hold; a value that does
 * not fit is named by its row. */
#include "files.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct CodeInfo code_info[CODE_COUNT] = {
	[CODE_U8] = {"u8", 1, 'I', DTYPE_U8},          [CODE_I8] = {"i8", 1, 'I', DTYPE_I8},
	[CODE_U16] = {"u16", 2, 'I', DTYPE_COUNT},     [CODE_I16] = {"i16", 2, 'I', DTYPE_COUNT},
	[CODE_U32] = {"u32", 4, 'I', DTYPE_COUNT},     [CODE_I32] = {"i32", 4, 'I', DTYPE_I32},
	[CODE_U64] = {"u64", 8, 'I', DTYPE_COUNT},     [CODE_I64] = {"i64", 8, 'I', DTYPE_COUNT},
	[CODE_F16] = {"f16", 2, 'F', DTYPE_F16},       [CODE_F32] = {"f32", 4, 'F', DTYPE_F32},
	[CODE_F64] = {"f64", 8, 'F', DTYPE_F64},       [CODE_BOOL] = {"bool", 1, 'B', DTYPE_BOOL},
};

const char *dims_text(Arena *arena, int rank, const int64_t *dim) {
	Text text = {.arena = arena};
	text_add(&text, "[");
	for (int i = 0; i < rank; i++) text_add(&text, i ? ", %lld" : "%lld", (long long)dim[i]);
	text_add(&text, "]");
	return text.data;
}

/* Sets count and bytes; false when they leave int64, or a dim is negative. */
static bool measure(Header *h) {
	int64_t count = 1, bytes;
	bool empty = false;
	for (int i = 0; i < h->rank; i++) {
		if (h->dim[i] < 0) return false;
		empty = empty || h->dim[i] == 0;
		if (h->dim[i] && __builtin_mul_overflow(count, h->dim[i], &count)) return false;
	}
	h->count = empty ? 0 : count;
	if (__builtin_mul_overflow(h->count, (int64_t)code_info[h->code].bytes, &bytes)) return false;
	if (__builtin_add_overflow(bytes, (int64_t)h->offset, &bytes)) return false;
	h->bytes = (size_t)bytes;
	return true;
}

static bool too_large(Diag *diag, Span span, const File *file, const Header *h) {
	diag_error(diag, span, "'%s': its header speaks of %s elements, more than any file holds", file->path,
	           dims_text(diag->arena, h->rank, h->dim));
	return false;
}

static bool empty_file(Diag *diag, Span span, const File *file) {
	diag_error(diag, span, "'%s' is empty", file->path);
	return false;
}

/* ---- idx: 0 0 type rank, big-endian dims, big-endian elements ---- */

bool idx_header(File *file, Diag *diag, Span span, Header *h) {
	static const struct { unsigned char type; Code code; } types[] = {
		{0x08, CODE_U8}, {0x09, CODE_I8}, {0x0b, CODE_I16}, {0x0c, CODE_I32}, {0x0d, CODE_F32}, {0x0e, CODE_F64}};
	unsigned char head[HEAD_BYTES];
	int64_t got = file_head(file, diag, span, (char *)head);
	if (got < 0) return false;
	if (got == 0) return empty_file(diag, span, file);
	*h = (Header){.code = CODE_COUNT, .big_endian = true};
	for (size_t i = 0; got >= 4 && i < COUNT(types); i++)
		if (head[0] == 0 && head[1] == 0 && head[2] == types[i].type) h->code = types[i].code;
	if (h->code == CODE_COUNT) {
		diag_error(diag, span, "'%s' is not an IDX file: it does not start with 00 00, a type and a rank", file->path);
		return false;
	}
	h->rank = head[3];
	h->offset = 4 + 4 * (size_t)h->rank;
	if (h->rank > MAX_FILE_RANK || h->rank < 1) {
		diag_error(diag, span, "'%s': its header speaks of %d dims; 1 to %d are possible", file->path, h->rank, MAX_FILE_RANK);
		return false;
	}
	if ((size_t)got < h->offset) {
		diag_error(diag, span, "'%s' ends within its header", file->path);
		return false;
	}
	for (int i = 0; i < h->rank; i++) {
		const unsigned char *d = head + 4 + 4 * i;
		h->dim[i] = (int64_t)d[0] << 24 | (int64_t)d[1] << 16 | (int64_t)d[2] << 8 | (int64_t)d[3];
	}
	return measure(h) || too_large(diag, span, file, h);
}

/* ---- npy: magic, version, header length, a Python literal {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)} ---- */

static bool bad_npy(Diag *diag, Span span, const File *file, const char *what) {
	diag_error(diag, span, "'%s' is not an NPY file that can be read: %s", file->path, what);
	return false;
}

/* The value after 'key': in the header's text, or NULL. */
static const char *npy_value(const char *text, const char *key) {
	const char *at = strstr(text, key);
	if (!at) return NULL;
	at += strlen(key);
	at += strspn(at, "'\" ");
	if (*at != ':') return NULL;
	return at + 1 + strspn(at + 1, " ");
}

static bool npy_type(const char *descr, Header *h) {
	static const struct { const char *text; Code code; } types[] = {
		{"u1", CODE_U8}, {"i1", CODE_I8}, {"b1", CODE_BOOL}, {"u2", CODE_U16}, {"i2", CODE_I16}, {"u4", CODE_U32},
		{"i4", CODE_I32},
		{"u8", CODE_U64}, {"i8", CODE_I64}, {"f2", CODE_F16},  {"f4", CODE_F32}, {"f8", CODE_F64}};
	if (*descr != '\'' && *descr != '"') return false;
	descr++;
	h->big_endian = *descr == '>';
	if (*descr && strchr("<>|=", *descr)) descr++;
	for (size_t i = 0; i < COUNT(types); i++) {
		if (strncmp(descr, types[i].text, 2) != 0 || (descr[2] != '\'' && descr[2] != '"')) continue;
		h->code = types[i].code;
		return true;
	}
	return false;
}

static bool npy_shape(const char *text, Header *h) {
	if (*text++ != '(') return false;
	for (;;) {
		text += strspn(text, " ,");
		if (*text == ')') return true;
		char *end;
		if (*text < '0' || *text > '9' || h->rank == MAX_FILE_RANK) return false;
		unsigned long long n = strtoull(text, &end, 10);
		if (n > INT64_MAX) return false;
		h->dim[h->rank++] = (int64_t)n;
		text = end;
		if (*text == 'L') text++; /* Python 2 wrote 28L */
	}
}

bool npy_header(File *file, Diag *diag, Span span, Header *h) {
	static const char magic[] = {(char)0x93, 'N', 'U', 'M', 'P', 'Y'};
	char head[HEAD_BYTES + 1];
	int64_t got = file_head(file, diag, span, head);
	if (got < 0) return false;
	if (got == 0) return empty_file(diag, span, file);
	*h = (Header){.code = CODE_COUNT};
	const unsigned char *b = (const unsigned char *)head;
	if (memcmp(head, magic, MIN((size_t)got, sizeof magic)) != 0)
		return bad_npy(diag, span, file, "it does not start with \\x93NUMPY");
	if (got < 12) return bad_npy(diag, span, file, "it ends within its header");
	if (b[6] < 1 || b[6] > 3) return bad_npy(diag, span, file, "its version is none of 1, 2, 3");
	size_t start = b[6] == 1 ? 10 : 12;
	size_t length = b[6] == 1 ? (size_t)b[8] | (size_t)b[9] << 8
	                          : (size_t)b[8] | (size_t)b[9] << 8 | (size_t)b[10] << 16 | (size_t)b[11] << 24;
	if (length > (size_t)got - start) return bad_npy(diag, span, file, "its header is longer than the file, or than 64 KiB");
	h->offset = start + length;
	head[h->offset] = 0; /* the head has one byte more than was read */
	const char *descr = npy_value(head + start, "descr"), *order = npy_value(head + start, "fortran_order");
	const char *shape = npy_value(head + start, "shape");
	if (!descr || !order || !shape) return bad_npy(diag, span, file, "its header lacks descr, fortran_order or shape");
	if (!npy_type(descr, h)) return bad_npy(diag, span, file, "its element type is no integer, float or bool");
	if (!npy_shape(shape, h)) return bad_npy(diag, span, file, "its shape cannot be read");
	h->fortran = strncmp(order, "True", 4) == 0;
	return measure(h) || too_large(diag, span, file, h);
}

bool array_write(Diag *diag, const char *path, Type type, const void *dense) {
	static const char *const codes[DTYPE_COUNT] = {
		[DTYPE_F32] = "<f4", [DTYPE_F64] = "<f8", [DTYPE_F16] = "<f2", [DTYPE_BF16] = "<u2",
		[DTYPE_I32] = "<i4", [DTYPE_I8] = "|i1",  [DTYPE_U8] = "|u1",  [DTYPE_BOOL] = "|b1"};
	char head[512] = "\x93NUMPY\x01";
	int n = 10;
	n += snprintf(head + n, sizeof head - (size_t)n, "{'descr': '%s', 'fortran_order': False, 'shape': (", codes[type.dtype]);
	for (int i = 0; i < type.rank; i++)
		n += snprintf(head + n, sizeof head - (size_t)n, "%lld,%s", (long long)type.dim[i], i + 1 < type.rank ? " " : "");
	n += snprintf(head + n, sizeof head - (size_t)n, "), }");
	while (n % 64 != 63) head[n++] = ' ';
	head[n++] = '\n';
	head[8] = (char)((n - 10) & 255);
	head[9] = (char)((n - 10) >> 8);
	AtomicFile *f = atomic_open(diag, path);
	if (!f) return false;
	atomic_add(f, head, (size_t)n);
	atomic_add(f, dense, (size_t)type_count(type) * (size_t)dtype_info[type.dtype].bytes);
	return atomic_commit(f);
}

/* ---- elements ---- */

/* One element: integers up to 64 bits exactly, floats as double. */
typedef struct Number { bool integer; int64_t i; bool huge; double f; } Number;   /* huge: above INT64_MAX, f holds it */

static Number element_load(const char *from, Code code, bool swap) {
	unsigned char b[8];
	int size = code_info[code].bytes;
	for (int i = 0; i < size; i++) b[i] = (unsigned char)from[swap ? size - 1 - i : i];
	uint64_t bits = 0;
	for (int i = 0; i < size; i++) bits |= (uint64_t)b[i] << 8 * i;
	switch (code) {
	case CODE_I8: return (Number){.integer = true, .i = (int8_t)bits};
	case CODE_I16: return (Number){.integer = true, .i = (int16_t)bits};
	case CODE_I32: return (Number){.integer = true, .i = (int32_t)bits};
	case CODE_I64: return (Number){.integer = true, .i = (int64_t)bits};
	case CODE_U64: return (Number){.integer = true, .i = (int64_t)bits, .huge = bits > INT64_MAX, .f = (double)bits};
	case CODE_F16: return (Number){.f = element_value(DTYPE_F16, (const char *)b)};
	case CODE_F32: return (Number){.f = element_value(DTYPE_F32, (const char *)b)};
	case CODE_F64: return (Number){.f = element_value(DTYPE_F64, (const char *)b)};
	default: return (Number){.integer = true, .i = (int64_t)bits};
	}
}

static bool bad_value(Diag *diag, const Wanted *w, int64_t element, Number n) {
	int64_t row = w->row_elements > 0 ? element / w->row_elements : element;
	Text value = {.arena = diag->arena};
	if (n.integer && !n.huge) text_add(&value, "%" PRId64, n.i);
	else text_number(&value, n.f);
	if (w->classes > 0) {
		diag_error(diag, w->span, "'%s', row %" PRId64 ": %s is no class of 0..%" PRId64, w->file, row, value.data,
		           w->classes - 1);
		if (n.integer && !n.huge && n.i == w->classes) diag_help(diag, "classes count from 0");
	} else {
		diag_error(diag, w->span, "'%s', row %" PRId64 ": %s does not fit %s", w->file, row, value.data,
		           dtype_info[w->dtype].text);
	}
	return false;
}

/* The offset in elements of the next element in row-major order; dims and strides as the file has them. */
static int64_t advance(const Header *h, const int64_t *stride, int64_t *index, int64_t at) {
	for (int i = h->rank - 1; i >= 0; i--) {
		at += stride[i];
		if (++index[i] < h->dim[i]) return at;
		at -= stride[i] * h->dim[i];
		index[i] = 0;
	}
	return at;
}

static bool convert_all(Diag *diag, const Header *h, const char *from, const Wanted *w, char *to) {
	int64_t stride[MAX_FILE_RANK], index[MAX_FILE_RANK] = {0}, step = 1, at = 0;
	for (int k = 0; k < h->rank; k++) {
		int i = h->fortran ? k : h->rank - 1 - k;
		stride[i] = step;
		step *= h->dim[i];
	}
	int size = code_info[h->code].bytes, wide = dtype_info[w->dtype].bytes;
	bool swap = h->big_endian && size > 1; /* the host is little-endian, as are all that nnc runs on */
	for (int64_t e = 0; e < h->count; e++) {
		Number n = element_load(from + at * size, h->code, swap);
		double value = n.integer && !n.huge ? (double)n.i : n.f;
		bool fits =
		    element_store(to + e * wide, w->dtype, value) && (w->classes <= 0 || (value >= 0 && value < (double)w->classes));
		if (dtype_is_float(w->dtype) && isfinite(value)) fits = isfinite(element_value(w->dtype, to + e * wide));
		if (!fits) return bad_value(diag, w, e, n);
		at = h->fortran ? advance(h, stride, index, at) : at + 1;
	}
	return true;
}

/* What stands in the file needs no conversion: only its values are looked at. */
static bool check_all(Diag *diag, const Header *h, const char *data, const Wanted *w) {
	int size = code_info[h->code].bytes;
	if (w->classes > 0 || h->code == CODE_BOOL) {
		int64_t limit = h->code == CODE_BOOL ? 2 : w->classes;
		for (int64_t e = 0; e < h->count; e++) {
			Number n = element_load(data + e * size, h->code, false);
			if (n.i < 0 || n.i >= limit) return bad_value(diag, w, e, n);
		}
	}
	return true;
}

/* Floats that are no numbers: legal in a binary file, and rarely meant.  False: they are an error here. */
static bool check_finite(Diag *diag, const char *data, int64_t count, const Wanted *w) {
	for (int64_t e = 0; e < count; e++) {
		double d = element_value(w->dtype, data + e * dtype_info[w->dtype].bytes);
		if (isfinite(d)) continue;
		int64_t row = w->row_elements > 0 ? e / w->row_elements : e;
		const char *what = isnan(d) ? "nan" : d > 0 ? "inf" : "-inf";
		if (w->finite) diag_error(diag, w->span, "'%s', row %" PRId64 ": %s is not a finite number", w->file, row, what);
		else diag_warning(diag, w->span, "'%s', row %" PRId64 ": %s is not a finite number", w->file, row, what);
		return !w->finite;
	}
	return true;
}

char *array_convert(Diag *diag, const Header *h, char *body, Wanted w, void **owned) {
	char *data = body + h->offset;
	char from_class = code_info[h->code].class, to_class = dtype_info[w.dtype].class;
	/* Any integer serves any integer type, bool counts as one; floats serve floats. */
	if ((from_class == 'F') != (to_class == 'F')) {
		diag_error(diag, w.span, "'%s' holds %s; the field says %s", w.file, code_info[h->code].text, dtype_info[w.dtype].text);
		if (to_class == 'F')
			diag_help(diag, "declare the field as an integer type (u8, i32) and write `as f32` where it is used");
		free(body);
		return NULL;
	}
	bool same =
	    code_info[h->code].same == w.dtype && !(h->fortran && h->rank > 1) && !(h->big_endian && code_info[h->code].bytes > 1);
	bool ok = true;
	if (same) {
		ok = check_all(diag, h, data, &w);
	} else {
		char *converted = malloc((size_t)MAX(h->count, 1) * (size_t)dtype_info[w.dtype].bytes);
		if (!converted) fatal("out of memory");
		ok = convert_all(diag, h, data, &w, converted);
		free(body);
		body = data = converted;
	}
	if (ok && dtype_is_float(w.dtype)) ok = check_finite(diag, data, h->count, &w);
	if (!ok) {
		free(body);
		return NULL;
	}
	*owned = body;
	return data;
}
