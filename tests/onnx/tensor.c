/* tensor.c: see tensor.h.  Protocol buffers: a message is a row of (field << 3 | wire type, value); wire type 0 is a varint, 2 a
 * length and as many bytes (texts, messages, packed numbers), 1 and 5 are 8 and 4 bytes. */
#include "tensor.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void fail(const char *format, ...) {
	va_list args;
	va_start(args, format);
	fputs("nodes: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	exit(1);
}

typedef struct Bytes { const unsigned char *at, *end; const char *path; } Bytes;
typedef struct Field { int number; uint64_t value; Bytes bytes; } Field;      /* bytes: of wire type 2 */

static Bytes whole_file(const char *path) {
	FILE *in = fopen(path, "rb");
	if (!in) fail("cannot read %s", path);
	if (fseek(in, 0, SEEK_END)) fail("cannot seek in %s", path);
	long size = ftell(in);
	rewind(in);
	unsigned char *bytes = malloc((size_t)size + 1);
	if (!bytes || fread(bytes, 1, (size_t)size, in) != (size_t)size) fail("cannot read %s", path);
	bytes[size] = 0;
	fclose(in);
	return (Bytes){bytes, bytes + size, path};
}

static uint64_t varint(Bytes *b) {
	uint64_t value = 0;
	for (int shift = 0; shift < 64 && b->at < b->end; shift += 7) {
		value |= (uint64_t)(*b->at & 0x7f) << shift;
		if (!(*b->at++ & 0x80)) return value;
	}
	fail("%s: a number without an end", b->path);
}

static bool next_field(Bytes *b, Field *f) {
	if (b->at == b->end) return false;
	uint64_t key = varint(b), size = 0;
	f->number = (int)(key >> 3);
	f->value = 0;
	switch (key & 7) {
	case 0: f->value = varint(b); break;
	case 1: size = 8; break;
	case 2: size = varint(b); break;
	case 5: size = 4; break;
	default: fail("%s: wire type %d", b->path, (int)(key & 7));
	}
	if (size > (uint64_t)(b->end - b->at)) fail("%s: a field is longer than the file", b->path);
	f->bytes = (Bytes){b->at, b->at + size, b->path};
	b->at += size;
	return true;
}

static double half(uint16_t bits) {
	int exponent = bits >> 10 & 31, mantissa = bits & 1023;
	double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
	if (exponent == 31) value = mantissa ? NAN : INFINITY;
	return bits >> 15 ? -value : value;
}

/* The bits of a number that is a half. */
static uint16_t half_bits(double value) {
	int exponent = 0;
	double part = frexp(fabs(value), &exponent);   /* in 0.5 .. 1 */
	uint16_t sign = signbit(value) ? 0x8000 : 0;
	if (isnan(value)) return 0x7e00;
	if (isinf(value)) return sign | 0x7c00;
	if (value == 0) return sign;
	if (exponent < -13) return sign | (uint16_t)ldexp(part, exponent + 24);
	return sign | (uint16_t)((exponent + 14) << 10) | (uint16_t)(ldexp(part, 11) - 1024);
}

/* Element i of little-endian data. */
static double element(const unsigned char *data, char kind, int bytes, bool is_signed, int64_t i) {
	uint64_t bits = 0;
	float single;
	double real;
	for (int b = 0; b < bytes; b++) bits |= (uint64_t)data[i * bytes + b] << 8 * b;
	if (kind == 'f' && bytes == 2) return half((uint16_t)bits);
	if (kind == 'f' && bytes == 4) {
		uint32_t word = (uint32_t)bits;
		return memcpy(&single, &word, 4), (double)single;
	}
	if (kind == 'f') return memcpy(&real, &bits, 8), real;
	if (is_signed && bytes < 8 && bits >> (8 * bytes - 1)) return (double)((int64_t)bits - ((int64_t)1 << 8 * bytes));
	return is_signed ? (double)(int64_t)bits : (double)bits;
}

static void fill(Tensor *t, Bytes data, bool is_signed) {
	t->count = 1;
	for (int i = 0; i < t->rank; i++) t->count *= t->dim[i];
	if ((int64_t)(data.end - data.at) != t->count * t->bytes)
		fail("%s: %lld elements of %d bytes in %lld bytes", data.path, (long long)t->count, t->bytes,
		     (long long)(data.end - data.at));
	t->value = malloc(sizeof *t->value * (size_t)(t->count + 1));
	for (int64_t i = 0; i < t->count; i++) t->value[i] = element(data.at, t->kind, t->bytes, is_signed, i);
}

/* TensorProto: 1 dims, 2 data_type, 8 name, 9 raw_data; the tests use no other field for numbers. */
static Tensor tensor_of(Bytes file, Bytes *name) {
	static const struct { char kind; int bytes; bool is_signed; const char *nn; } types[] = {
		[1] = {'f', 4, true, "f32"}, [2] = {'i', 1, false, "u8"},   [3] = {'i', 1, true, "i8"},   [4] = {'i', 2, false, "i32"},
		[5] = {'i', 2, true, "i32"}, [6] = {'i', 4, true, "i32"},   [7] = {'i', 8, true, "i32"},  [9] = {'b', 1, false, "bool"},
		[10] = {'f', 2, true, "f16"}, [11] = {'f', 8, true, "f64"}, [12] = {'i', 4, false, "i32"}, [13] = {'i', 8, false, "i32"}};
	const char *path = file.path;
	Bytes raw = {file.end, file.end, path};
	*name = raw;
	Tensor t = {0};
	uint64_t type = 0;
	for (Field f; next_field(&file, &f);) {
		if (f.number == 1) {
			Bytes dims = f.bytes;
			bool packed = dims.at < dims.end;
			do {
				if (t.rank == TENSOR_RANK) fail("%s: more than %d dims", path, TENSOR_RANK);
				t.dim[t.rank++] = packed ? (int64_t)varint(&dims) : (int64_t)f.value;
			} while (dims.at < dims.end);
		}
		if (f.number == 2) type = f.value;
		if (f.number == 8) *name = f.bytes;
		if (f.number == 9) raw = f.bytes;
	}
	if (type >= sizeof types / sizeof *types || !types[type].bytes) fail("%s: element type %d", path, (int)type);
	t.kind = types[type].kind, t.bytes = types[type].bytes, t.nn = types[type].nn;
	fill(&t, raw, types[type].is_signed);
	return t;
}

static char *name_of(Bytes b) {
	size_t size = (size_t)(b.end - b.at);
	char *text = calloc(size + 2, 1);
	bool digit = size && b.at[0] >= '0' && b.at[0] <= '9';
	if (digit) text[0] = 'x';
	memcpy(text + digit, b.at, size);
	return text;
}

static void add_name(char **names, int *n, Bytes name) {
	if (*n == GRAPH_NAMES) fail("%s: more than %d inputs", name.path, GRAPH_NAMES);
	names[(*n)++] = name_of(name);
}

/* ModelProto: 7 graph.  GraphProto: 5 initializer, 11 input, 12 output.  ValueInfoProto: 1 name. */
Graph onnx_graph(const char *path) {
	Bytes file = whole_file(path), name;
	Graph g = {0};
	for (Field model; next_field(&file, &model);) {
		if (model.number != 7) continue;
		for (Field f, inner; next_field(&model.bytes, &f);) {
			if (f.number == 5) {
				Tensor t = tensor_of(f.bytes, &name);
				add_name(g.constant, &g.nconstants, name);
				g.value[g.nconstants - 1] = t;
			}
			if (f.number != 11 && f.number != 12) continue;
			while (next_field(&f.bytes, &inner))
				if (inner.number == 1 && f.number == 11) add_name(g.input, &g.ninputs, inner.bytes);
				else if (inner.number == 1) add_name(g.output, &g.noutputs, inner.bytes);
		}
	}
	return g;
}

Tensor onnx_tensor(const char *path) {
	Bytes name;
	return tensor_of(whole_file(path), &name);
}

Tensor npy_read(const char *path) {
	Bytes file = whole_file(path);
	if (file.end - file.at < 10 || memcmp(file.at, "\x93NUMPY", 6)) fail("%s is no NPY file", path);
	const char *header = (const char *)file.at + 10, *type = strstr(header, "'descr': '"), *shape = strstr(header, "(");
	file.at += 10 + (file.at[8] | file.at[9] << 8);
	if (!type || !shape || file.at > file.end) fail("%s is no NPY file", path);
	Tensor t = {.kind = type[11] == 'u' ? 'i' : type[11], .bytes = type[12] - '0'};
	for (shape++; *shape != ')'; shape += strspn(shape, ", ")) {
		char *end;
		if (t.rank == TENSOR_RANK) fail("%s: more than %d dims", path, TENSOR_RANK);
		t.dim[t.rank++] = strtoll(shape, &end, 10);
		if (end == shape) fail("%s: its shape cannot be read", path);
		shape = end;
	}
	fill(&t, file, type[11] == 'i');
	return t;
}

void npy_write(const char *path, const Tensor *t) {
	FILE *out = fopen(path, "wb");
	if (!out) fail("cannot write %s", path);
	char header[512];
	const char *type = t->kind == 'b' ? "|b1" : t->kind == 'i' ? "<i8" : t->bytes == 8 ? "<f8" : t->bytes == 2 ? "<f2" : "<f4";
	int n = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (", type);
	for (int i = 0; i < t->rank; i++) n += snprintf(header + n, sizeof header - (size_t)n, "%lld,", (long long)t->dim[i]);
	n += snprintf(header + n, sizeof header - (size_t)n, "), }");
	while ((n + 11) % 64) header[n++] = ' ';
	header[n++] = '\n';
	unsigned char head[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)n, (unsigned char)(n >> 8)};
	fwrite(head, 1, 10, out);
	fwrite(header, 1, (size_t)n, out);
	for (int64_t i = 0; i < t->count; i++) {
		float single = (float)t->value[i];
		uint16_t bits = t->kind == 'f' && t->bytes == 2 ? half_bits(t->value[i]) : 0;
		int64_t whole = t->kind == 'f' ? 0 : (int64_t)t->value[i];
		if (t->kind == 'b') fputc((int)whole, out);
		else if (t->kind == 'i') fwrite(&whole, 8, 1, out);
		else if (t->bytes == 8) fwrite(&t->value[i], 8, 1, out);
		else if (t->bytes == 2) fwrite(&bits, 2, 1, out);
		else fwrite(&single, 4, 1, out);
	}
	if (fclose(out)) fail("cannot write %s", path);
}
