/* arrays.c: NumPy and safetensors files for tests, by code of its own.
 *
 *   arrays write FILE.npy TYPE DIMS VALUE ..     TYPE u1 i4 i8 f4 f8; DIMS as in 4,28,28
 *   arrays read FILE.npy                         its type, dims and values
 *   arrays hash FILE.safetensors                 16 hex digits over names, shapes and values of all tensors
 *   arrays near A.safetensors B.safetensors TOL  are all F64 elements of A within TOL |b| of those of B? */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *what, const char *name) {
	fprintf(stderr, "arrays: %s%s%s\n", what, name ? " " : "", name ? name : "");
	return 1;
}

static int write_array(int argc, char **argv) {
	if (argc < 3) return fail("write FILE TYPE DIMS VALUE ..", NULL);
	const char *type = argv[1];
	char header[256], dims[128];
	snprintf(dims, sizeof dims, "%s%s", argv[2], argv[2][0] ? "," : "");
	int n = snprintf(header, sizeof header, "{'descr': '%c%s', 'fortran_order': False, 'shape': (%s), }",
	                 type[1] == '1' ? '|' : '<', type, dims);
	while ((n + 11) % 64) header[n++] = ' ';
	header[n++] = '\n';
	FILE *out = fopen(argv[0], "wb");
	if (!out) return fail("cannot write", argv[0]);
	unsigned char head[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)n, (unsigned char)(n >> 8)};
	fwrite(head, 1, 10, out);
	fwrite(header, 1, (size_t)n, out);
	for (int i = 3; i < argc; i++) {
		double real = strtod(argv[i], NULL);
		float single = (float)real;
		int64_t whole = type[0] == 'f' ? 0 : strtoll(argv[i], NULL, 10);
		size_t size = (size_t)(type[1] - '0');
		fwrite(type[0] != 'f' ? (void *)&whole : size == 4 ? (void *)&single : (void *)&real, 1, size, out);
	}
	return fclose(out) ? fail("cannot write", argv[0]) : 0;
}

static char *whole_file(const char *path, size_t *size) {
	FILE *in = fopen(path, "rb");
	if (!in) return NULL;
	fseek(in, 0, SEEK_END);
	*size = (size_t)ftell(in);
	rewind(in);
	char *bytes = calloc(*size + 1, 1);
	if (!bytes || fread(bytes, 1, *size, in) != *size) return NULL;
	fclose(in);
	return bytes;
}

static int read_array(const char *path) {
	size_t size;
	char *bytes = whole_file(path, &size);
	if (!bytes || size < 10) return fail("cannot read", path);
	size_t at = 10 + (unsigned char)bytes[8] + ((size_t)(unsigned char)bytes[9] << 8);
	char *type = strstr(bytes + 10, "'descr': '"), *shape = strstr(bytes + 10, "(");
	if (!type || !shape || at > size) return fail("no NPY file:", path);
	type += 11;
	size_t bytes_each = (size_t)(type[1] - '0');
	printf("%.2s %.*s)", type, (int)(strchr(shape, ')') - shape), shape);
	for (; at + bytes_each <= size; at += bytes_each) {
		float single;
		double real;
		int64_t whole = 0;
		memcpy(&single, bytes + at, 4);
		if (bytes_each == 8) memcpy(&real, bytes + at, 8);
		else real = (double)single;
		memcpy(&whole, bytes + at, bytes_each);
		if (type[0] == 'f') printf(" %.9g", real);
		else printf(" %" PRId64, bytes_each == 4 ? (int64_t)(int32_t)whole : whole);
	}
	putchar('\n');
	free(bytes);
	return 0;
}

/* FNV-1a over everything but the metadata, which names versions and steps. */
static int hash_tensors(const char *path) {
	size_t size;
	char *bytes = whole_file(path, &size);
	uint64_t length = 0, hash = 0xcbf29ce484222325u;
	if (!bytes || size < 8) return fail("cannot read", path);
	memcpy(&length, bytes, 8);
	if (length > size - 8) return fail("no safetensors file:", path);
	char *at = bytes + 8, *meta = strstr(at, "\"__metadata__\":{"), *end = meta ? strchr(meta, '}') : NULL;
	if (end) at = end + 1;
	for (; at < bytes + size; at++) hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
	printf("%016" PRIx64 "\n", hash);
	free(bytes);
	return 0;
}

/* Where the elements of a tensor are, by its name in the header; NULL when it is not F64. */
static const double *doubles_of(const char *bytes, size_t size, const char *name, size_t length, size_t *count) {
	uint64_t header = 0, from, to;
	memcpy(&header, bytes, 8);
	for (const char *at = bytes + 8; (at = strstr(at, "\"dtype\"")) != NULL && at < bytes + 8 + header; at++) {
		const char *start = at - 4 - length, *type = strstr(at, "F64"), *offsets = strstr(at, "data_offsets"),
		           *end = strchr(at, '}');
		if (start < bytes + 8 || start[0] != '"' || strncmp(start + 1, name, length) || start[length + 1] != '"') continue;
		if (!type || !end || type > end || !offsets) return NULL;
		if (sscanf(offsets, "data_offsets\":[%" SCNu64 ",%" SCNu64 "]", &from, &to) != 2) return NULL;
		if (to < from || to > size - 8 - header) return NULL;
		*count = (size_t)(to - from) / 8;
		double *copy = malloc((size_t)(to - from) + 8);
		return copy ? memcpy(copy, bytes + 8 + header + from, (size_t)(to - from)) : NULL;
	}
	return NULL;
}

static int near_tensors(const char *path, const char *wanted_path, double tolerance) {
	size_t size, wanted_size, n = 0, m = 0, tensors = 0;
	char *bytes = whole_file(path, &size), *wanted = whole_file(wanted_path, &wanted_size);
	if (!bytes || !wanted || size < 8 || wanted_size < 8) return fail("cannot read", bytes ? wanted_path : path);
	for (char *at = wanted + 8; (at = strstr(at, "\":{\"dtype\"")) != NULL; at++) {
		char *name = at;
		while (name > wanted + 8 && name[-1] != '"') name--;
		size_t length = (size_t)(at - name);
		const double *b = doubles_of(wanted, wanted_size, name, length, &m), *a = doubles_of(bytes, size, name, length, &n);
		name[length] = 0;
		if (!a || !b || n != m) return fail("not the same in both files:", name);
		for (size_t i = 0; i < n; i++)
			if (!(fabs(a[i] - b[i]) <= tolerance * fabs(b[i]))) {
				printf("%s: element %zu is %.9g, wanted is %.9g\n", name, i, a[i], b[i]);
				return 1;
			}
		name[length] = '"';
		tensors++;
	}
	printf("%zu tensors\n", tensors);
	return !tensors;
}

int main(int argc, char **argv) {
	if (argc >= 3 && strcmp(argv[1], "write") == 0) return write_array(argc - 2, argv + 2);
	if (argc == 3 && strcmp(argv[1], "read") == 0) return read_array(argv[2]);
	if (argc == 3 && strcmp(argv[1], "hash") == 0) return hash_tensors(argv[2]);
	if (argc == 5 && strcmp(argv[1], "near") == 0) return near_tensors(argv[2], argv[3], strtod(argv[4], NULL));
	return fail("write | read | hash | near", NULL);
}
