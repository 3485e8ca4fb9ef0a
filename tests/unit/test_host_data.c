/* Data readers: every format and dtype, gzip, and files made to do harm.
 * link: nnc_host */
#include "files.h"

#include <libdeflate.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

typedef struct Fixture { Arena *arena; Diag *diag; Files *files; } Fixture;

static Fixture begin(void) {
	Fixture f = {.arena = arena_new()};
	f.diag = diag_new(f.arena);
	f.files = files_open(f.arena, arena_printf(f.arena, "%s/model.nn", folder), NULL);
	return f;
}

static void end(Fixture *f) {
	files_close(f->files);
	arena_free(f->arena);
}

static const char *path_of(Fixture *f, const char *name) { return arena_printf(f->arena, "%s/%s", folder, name); }

static void put(Fixture *f, const char *name, const void *data, size_t size) {
	assert_true(write_atomic(f->diag, path_of(f, name), data, size));
}

/* One gzip member; its size. */
static size_t pack(char *out, size_t room, const void *data, size_t size) {
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(6);
	size_t n = libdeflate_gzip_compress(c, data, size, out, room);
	libdeflate_free_compressor(c);
	return n;
}

static size_t put_gzip(Fixture *f, const char *name, const void *data, size_t size, size_t keep) {
	size_t room = libdeflate_gzip_compress_bound(NULL, size);
	char *out = malloc(room);
	size_t n = pack(out, room, data, size);
	put(f, name, out, keep && keep < n ? keep : n);
	free(out);
	return n;
}

static void expect_message(Fixture *f, const char *text) {
	for (int i = 0; i < f->diag->messages.length; i++)
		if (strstr(f->diag->messages.data[i].text, text)) return;
	for (int i = 0; i < f->diag->messages.length; i++) fprintf(stderr, "  message: %s\n", f->diag->messages.data[i].text);
	fail_msg("no message holds '%s'", text);
}

static DataField field(SourceKind kind, const char *path, Type type, int64_t classes) {
	return (DataField){.name = "x", .type = type, .classes = classes, .kind = kind, .path = path};
}

static Type vector(DType dtype, int64_t n) { return type_make(dtype, 1, &n); }

static Data *load(Fixture *f, DataField *fields, int n, DataSet *set) {
	*set = (DataSet){.name = "set", .fields = fields, .nfields = n};
	return data_load(f->arena, f->diag, f->files, set, NULL);
}

/* Loads one field and expects an error holding `text`. */
static void refuse(DataField x, const char *text) {
	Fixture f = begin();
	DataSet set;
	assert_null(load(&f, &x, 1, &set));
	expect_message(&f, text);
	assert_true(f.diag->errors >= 1);
	end(&f);
}

static const unsigned char idx_bytes[] = {0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 2, 10, 20, 30, 40, 50, 255};
static const unsigned char idx_shorts[] = {0, 0, 11, 1, 0, 0, 0, 3, 0, 1, 255, 254, 1, 44};

static void idx(void **state) {
	(void)state;
	Fixture f = begin();
	DataSet set;
	put(&f, "a.idx", idx_bytes, sizeof idx_bytes);
	put_gzip(&f, "a.idx.gz", idx_bytes, sizeof idx_bytes, 0);
	put(&f, "b.idx", idx_shorts, sizeof idx_shorts);
	const char *names[] = {"a.idx", "a.idx.gz"};
	for (int i = 0; i < 2; i++) {
		DataField both[] = {field(SOURCE_IDX, names[i], vector(DTYPE_U8, 2), 0),
		                    field(SOURCE_IDX, "b.idx", type_scalar(DTYPE_I32), -1)};
		Data *d = load(&f, both, 2, &set);
		assert_non_null(d);
		assert_int_equal(d->samples, 3);
		assert_memory_equal(d->field[0], idx_bytes + 12, 6);
		assert_int_equal(((int32_t *)d->field[1])[1], -2);
		assert_int_equal(((int32_t *)d->field[1])[2], 300);
		data_free(d);
		DataProbe probe = data_probe(f.files);
		DataInfo info = probe.samples(probe.context, f.diag, &set);
		assert_true(info.ok);
		assert_int_equal(info.samples, 3);
	}
	assert_int_equal(f.diag->messages.length, 0);
	end(&f);
}

static void idx_hostile(void **state) {
	(void)state;
	Fixture f = begin();
	static const unsigned char absurd[] = {0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1};
	static const unsigned char magic[] = {0, 1, 8, 1, 0, 0, 0, 1, 1}, ranks[] = {0, 0, 8, 255, 0, 0, 0, 1, 1};
	static const unsigned char large[] = {0, 0, 8, 2, 238, 107, 40, 0, 0, 0, 0, 2, 1, 2};   /* 4e9 samples of 2 */
	put(&f, "absurd", absurd, sizeof absurd);
	put_gzip(&f, "absurd.gz", absurd, sizeof absurd, 0);
	put(&f, "magic", magic, sizeof magic);
	put(&f, "ranks", ranks, sizeof ranks);
	put(&f, "large", large, sizeof large);
	put_gzip(&f, "large.gz", large, sizeof large, 0);
	put(&f, "short", idx_bytes, 10);
	put(&f, "cut", idx_bytes, sizeof idx_bytes - 1);
	put(&f, "empty", "", 0);
	Type pair = vector(DTYPE_U8, 2);
	refuse(field(SOURCE_IDX, "absurd", pair, 0), "more than any file holds");
	refuse(field(SOURCE_IDX, "absurd.gz", pair, 0), "more than any file holds");
	refuse(field(SOURCE_IDX, "magic", pair, 0), "not an IDX file");
	refuse(field(SOURCE_IDX, "empty", pair, 0), "is empty");
	refuse(field(SOURCE_IDX, "ranks", pair, 0), "255 dims");
	refuse(field(SOURCE_IDX, "large", pair, 0), "its header speaks of 8000000012");
	refuse(field(SOURCE_IDX, "large.gz", pair, 0), "cannot be in it");
	refuse(field(SOURCE_IDX, "short", pair, 0), "ends within its header");
	refuse(field(SOURCE_IDX, "cut", pair, 0), "holds 17 bytes; its header speaks of 18");
	refuse(field(SOURCE_IDX, "a.idx", type_scalar(DTYPE_U8), 0), "holds u8[3, 2]; field `x` wants u8[samples]");
	refuse(field(SOURCE_IDX, "a.idx", vector(DTYPE_F32, 2), 0), "holds u8; the field says f32");
	refuse(field(SOURCE_IDX, "a.idx", vector(DTYPE_I32, 2), 50), "row 2: 50 is no class of 0..49");
	refuse(field(SOURCE_IDX, "a.idx", pair, 41), "row 2: 50 is no class of 0..40");
	refuse(field(SOURCE_IDX, "a.idx", vector(DTYPE_I8, 2), 0), "row 2: 255 does not fit i8");
	refuse(field(SOURCE_IDX, "nowhere.idx", pair, 0), "cannot find the data file 'nowhere.idx'");
	refuse(field(SOURCE_IDX, "nowhere.idx", pair, 0), folder);
	refuse(field(SOURCE_IDX, "/", pair, 0), "not a regular file");
	end(&f);
}

/* Several members in one file, wherever they are cut: within the header, before it, with tape's zeros between. */
static void gzip_members(void **state) {
	(void)state;
	Fixture f = begin();
	char packed[512];
	static const size_t cuts[] = {0, 3, 12, 15, sizeof idx_bytes};
	for (size_t i = 0; i < COUNT(cuts); i++)
		for (size_t zeros = 0; zeros < 3; zeros++) {
			const char *name = arena_printf(f.arena, "members%zu-%zu.gz", i, zeros);
			size_t n = pack(packed, sizeof packed, idx_bytes, cuts[i]);
			memset(packed + n, 0, zeros);
			n += zeros;
			n += pack(packed + n, sizeof packed - n, idx_bytes + cuts[i], sizeof idx_bytes - cuts[i]);
			put(&f, name, packed, n);
			DataField x = field(SOURCE_IDX, name, vector(DTYPE_U8, 2), 0);
			DataSet set;
			Data *d = load(&f, &x, 1, &set);
			if (!d) diag_print(f.diag, stderr, false);
			assert_non_null(d);
			assert_memory_equal(d->field[0], idx_bytes + 12, 6);
			data_free(d);
			put(&f, name, packed, n - 1);   /* the last member is cut */
			refuse(x, "damaged or cut short");
			packed[n++] = 'z';
			put(&f, name, packed, n);
			refuse(x, "damaged or cut short");
		}
	end(&f);
}

static void gzip_hostile(void **state) {
	(void)state;
	Fixture f = begin();
	size_t size = 400000;
	char *rows = malloc(size + 16);
	static const unsigned char head[] = {0, 0, 8, 1, 0, 6, 26, 128};   /* 400000 */
	memcpy(rows, head, 8);
	for (size_t i = 0; i < size; i++) rows[8 + i] = (char)(hash_mix(i) & 7);
	size_t packed = put_gzip(&f, "whole.gz", rows, size + 8, 0);
	put_gzip(&f, "cut.gz", rows, size + 8, packed / 2);
	put_gzip(&f, "tail.gz", rows, size + 8, packed - 1);
	put_gzip(&f, "more.gz", rows, size + 9, 0);
	put_gzip(&f, "less.gz", rows, size + 7, 0);
	put(&f, "tiny.gz", "\x1f\x8b\x08", 3);
	Type one = type_scalar(DTYPE_U8);
	DataSet set;
	DataField x = field(SOURCE_IDX, "whole.gz", one, 8);
	Data *d = load(&f, &x, 1, &set);
	assert_non_null(d);
	assert_memory_equal(d->field[0], rows + 8, size);
	data_free(d);
	refuse(field(SOURCE_IDX, "cut.gz", one, 0), "damaged or cut short");
	refuse(field(SOURCE_IDX, "tail.gz", one, 0), "damaged or cut short");
	refuse(field(SOURCE_IDX, "more.gz", one, 0), "or holds more than the 400008 bytes");
	refuse(field(SOURCE_IDX, "less.gz", one, 0), "holds 400007 bytes; its header speaks of 400008");
	refuse(field(SOURCE_IDX, "tiny.gz", one, 0), "'");
	/* A table of unknown size that unpacks without end: refused by what the file says of itself, or while it unpacks. */
	size_t bomb = (size_t)600 << 20;
	char *zeros = malloc(bomb);
	memset(zeros, '0', bomb);
	size_t n = put_gzip(&f, "bomb.csv.gz", zeros, bomb, 0);
	FILE *lie = fopen(path_of(&f, "bomb.csv.gz"), "r+b");
	const char *columns[] = {"a"};
	DataField c = field(SOURCE_CSV, "bomb.csv.gz", type_scalar(DTYPE_F32), 0);
	c.columns = columns;
	c.ncolumns = 1;
	refuse(c, "which no data does");
	fseek(lie, (long)n - 4, SEEK_SET);
	fwrite("\x10\0\0\0", 1, 4, lie);
	fclose(lie);
	refuse(c, "which no data does");
	unlink(path_of(&f, "bomb.csv.gz"));
	free(zeros);
	free(rows);
	end(&f);
}

static size_t make_npy(char *out, int version, const char *dict, const void *data, size_t size) {
	size_t length = strlen(dict), start = version == 1 ? 10 : 12;
	memcpy(out, "\x93NUMPY", 6);
	out[6] = (char)version;
	out[7] = 0;
	for (size_t i = 8; i < start; i++) out[i] = (char)(length >> 8 * (i - 8));
	memcpy(out + start, dict, length);
	memcpy(out + start + length, data, size);
	return start + length + size;
}

static void npy_case(int version, const char *dict, const void *data, size_t size, Type type, const void *wanted, size_t bytes) {
	char file[1024];
	Fixture f = begin();
	DataSet set;
	put(&f, "n.npy", file, make_npy(file, version, dict, data, size));
	DataField x = field(SOURCE_NPY, "n.npy", type, 0);
	Data *d = load(&f, &x, 1, &set);
	if (!d) diag_print(f.diag, stderr, false);
	assert_non_null(d);
	assert_int_equal(d->samples, 2);
	assert_memory_equal(d->field[0], wanted, bytes);
	data_free(d);
	end(&f);
}

static void npy(void **state) {
	(void)state;
	float f[] = {1, 2, 3, 4, 5, 6}, fortran[] = {1, 4, 2, 5, 3, 6};
	double d[] = {1, 2, 3, 4, 5, 6};
	int64_t l[] = {1, 2, 3, 4, 5, 6};
	int32_t i[] = {1, 2, 3, 4, 5, 6};
	unsigned char u[] = {1, 2, 3, 4, 5, 6}, big[] = {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6}, b[] = {0, 1, 1, 0, 0, 1};
	uint16_t h[] = {0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600};
	Type f3 = vector(DTYPE_F32, 3);
	for (int version = 1; version <= 3; version++)
		npy_case(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", f, sizeof f, f3, f, sizeof f);
	npy_case(1, "{'shape': (2, 3), 'fortran_order': True, 'descr': '<f4'}", fortran, sizeof f, f3, f, sizeof f);
	npy_case(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,3)}", d, sizeof d, f3, f, sizeof f);
	npy_case(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,3)}", f, sizeof f, vector(DTYPE_F64, 3), d, sizeof d);
	npy_case(1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2,3)}", h, sizeof h, f3, f, sizeof f);
	npy_case(1, "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3)}", l, sizeof l, vector(DTYPE_I32, 3), i, sizeof i);
	npy_case(1, "{'descr': '<u8', 'fortran_order': False, 'shape': (2, 3)}", l, sizeof l, vector(DTYPE_U8, 3), u, sizeof u);
	npy_case(1, "{'descr': '>i2', 'fortran_order': False, 'shape': (2, 3)}", big, sizeof big, vector(DTYPE_I32, 3), i, sizeof i);
	npy_case(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 3L)}", u, sizeof u, vector(DTYPE_U8, 3), u, sizeof u);
	npy_case(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (2, 3)}", b, sizeof b, vector(DTYPE_BOOL, 3), b, sizeof b);
	npy_case(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}", i, 8, type_scalar(DTYPE_I32), i, 8);
}

static void npy_refuse(const char *dict, const void *data, size_t size, Type type, const char *text) {
	char file[1024];
	Fixture f = begin();
	put(&f, "n.npy", file, make_npy(file, 1, dict, data, size));
	refuse(field(SOURCE_NPY, "n.npy", type, 0), text);
	end(&f);
}

static void npy_hostile(void **state) {
	(void)state;
	static const char zeros[24] = {0};
	Type f3 = vector(DTYPE_F32, 3);
	uint64_t huge[] = {1, UINT64_MAX};
	unsigned char two[] = {0, 2};
	npy_refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", zeros, 23, f3, "holds");
	npy_refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 3)}", zeros, 24, f3,
	           "more than any file holds");
	npy_refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3)}", zeros, 24, f3,
	           "shape cannot be read");
	npy_refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3)}", zeros, 24, f3, "shape cannot be read");
	npy_refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3", zeros, 24, f3, "cannot be read");
	npy_refuse("{'descr': '<c8', 'fortran_order': False, 'shape': (2, 3)}", zeros, 24, f3, "element type");
	npy_refuse("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}", zeros, 24, f3, "element type");
	npy_refuse("{}", zeros, 24, f3, "lacks descr");
	npy_refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3)}", zeros, 0, f3, "no samples");
	npy_refuse("{'descr': '<u8', 'fortran_order': False, 'shape': (2,)}", huge, 16, type_scalar(DTYPE_I32),
	           "row 1: 1.8446744073709552e+19");
	npy_refuse("{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}", two, 2, type_scalar(DTYPE_BOOL),
	           "row 1: 2 does not fit bool");
	Fixture f = begin();
	put(&f, "long.npy", "\x93NUMPY\x02\0\xff\xff\xff\xff{'descr'", 20);
	refuse(field(SOURCE_NPY, "long.npy", f3, 0), "longer than the file");
	put(&f, "short.npy", "\x93NUMPY", 6);
	refuse(field(SOURCE_NPY, "short.npy", f3, 0), "ends within its header");
	float bad[] = {1, 0.0f / 1.0f, 3, 4, 5, 6};
	uint32_t nan = 0x7fc00000;
	memcpy(&bad[4], &nan, 4);
	char file[256];
	put(&f, "nan.npy", file, make_npy(file, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", bad, sizeof bad));
	refuse(field(SOURCE_NPY, "nan.npy", f3, 0), "row 1: nan is not a finite number");
	Array *asked = array_read(f.arena, f.diag, path_of(&f, "nan.npy"), DTYPE_F32, 0);   /* given by hand: a warning */
	assert_non_null(asked);
	expect_message(&f, "row 1: nan is not a finite number");
	end(&f);
	const double beyond[] = {1, 2, 3, 4, -1e300, 6};
	npy_refuse("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3)}", beyond, sizeof beyond, f3,
	           "row 1: -1e+300 does not fit f32");
}

static void npy_written(void **state) {
	(void)state;
	Fixture f = begin();
	float data[6] = {1, -2.5f, 3, 4, 5, 6};
	int64_t dims[] = {2, 3};
	Type type = type_make(DTYPE_F32, 2, dims);
	assert_true(array_write(f.diag, path_of(&f, "w.npy"), type, data));
	Array *a = array_read(f.arena, f.diag, path_of(&f, "w.npy"), DTYPE_F32, 0);
	assert_non_null(a);
	assert_true(type_equal(a->type, type));
	assert_memory_equal(a->data, data, sizeof data);
	float one = 7;
	assert_true(array_write(f.diag, path_of(&f, "s.npy"), type_scalar(DTYPE_F32), &one));
	a = array_read(f.arena, f.diag, path_of(&f, "s.npy"), DTYPE_F32, 0);
	assert_non_null(a);
	assert_int_equal(a->type.rank, 0);
	assert_null(array_read(f.arena, f.diag, path_of(&f, "none.npy"), DTYPE_F32, 0));
	assert_false(array_write(f.diag, path_of(&f, "no/such/w.npy"), type, data));
	expect_message(&f, "cannot write");
	end(&f);
}

static DataField table(const char *path, const char *const *columns, int n, Type type) {
	DataField x = field(SOURCE_CSV, path, type, 0);
	x.columns = columns;
	x.ncolumns = n;
	return x;
}

static void csv(void **state) {
	(void)state;
	Fixture f = begin();
	DataSet set;
	static const char text[] =
	    "\xef\xbb\xbf"
	    "area, rooms ,\"the, \"\"age\"\"\",price\r\n\r\n1.5,2,3,1e3\r\n-4.25e-1,\"5\",  6 ,.5\r\n \n0.1,8,123456789012345678,7";
	put(&f, "h.csv", text, sizeof text - 1);
	put_gzip(&f, "h.csv.gz", text, sizeof text - 1, 0);
	const char *columns[] = {"rooms", "area"}, *price[] = {"price"};
	for (int i = 0; i < 2; i++) {
		const char *path = i ? "h.csv.gz" : "h.csv";
		DataField both[] = {table(path, columns, 2, vector(DTYPE_F32, 2)), table(path, price, 1, type_scalar(DTYPE_F32))};
		Data *d = load(&f, both, 2, &set);
		if (!d) diag_print(f.diag, stderr, false);
		assert_non_null(d);
		assert_int_equal(d->samples, 3);
		float x[] = {2, 1.5f, 5, -0.425f, 8, 0.1f}, y[] = {1000, 0.5f, 7};
		assert_memory_equal(d->field[0], x, sizeof x);
		assert_memory_equal(d->field[1], y, sizeof y);
		data_free(d);
		DataProbe probe = data_probe(f.files);
		assert_int_equal(probe.samples(probe.context, f.diag, &set).samples, 3);
	}
	static const char quotes[] = "\"the, \"\"old\"\" age\";5\" pipe\n1;2\n";
	put(&f, "quotes.csv", quotes, sizeof quotes - 1);
	const char *names[] = {"5\" pipe", "the, \"old\" age"};
	DataField named = table("quotes.csv", names, 2, vector(DTYPE_I32, 2));
	Data *n = load(&f, &named, 1, &set);
	assert_non_null(n);
	assert_memory_equal(n->field[0], ((int32_t[]){2, 1}), 8);
	data_free(n);
	put(&f, "plain.csv", "1;2;3\n4;5;6\n", 12);
	DataField numbers = table("plain.csv", NULL, 2, vector(DTYPE_I32, 2));
	numbers.first_column = 1;
	Data *d = load(&f, &numbers, 1, &set);
	assert_non_null(d);
	int32_t wanted[] = {2, 3, 5, 6};
	assert_int_equal(d->samples, 2);
	assert_memory_equal(d->field[0], wanted, sizeof wanted);
	data_free(d);
	end(&f);
}

static void csv_refuse(const char *text, const char *column, Type type, int64_t classes, const char *message) {
	Fixture f = begin();
	put(&f, "bad.csv", text, strlen(text));
	DataField x = table("bad.csv", &column, 1, type);
	x.classes = classes;
	refuse(x, message);
	end(&f);
}

static void csv_hostile(void **state) {
	(void)state;
	Type f32 = type_scalar(DTYPE_F32), i32 = type_scalar(DTYPE_I32);
	csv_refuse("a,b\n1,2\n3,nan\n", "b", f32, 0, "bad.csv', line 3, column 2: 'nan' is not a finite number");
	csv_refuse("a,b\n1,2\n3,-inf\n", "b", f32, 0, "line 3, column 2: '-inf'");
	csv_refuse("a,b\n\n1,\n", "b", f32, 0, "line 3, column 2: the cell is empty");
	csv_refuse("a\tb\n1\t2\n\n\t\n", "b", f32, 0, "line 4, column 2: the cell is empty");
	csv_refuse("a\tb\tc\n1\t2\t3\n \t\t \n", "a", f32, 0, "line 3, column 1: the cell is empty");
	csv_refuse("a\tb\tc\n1\t2\t3\n\t\n", "a", f32, 0, "line 3: 2 cells; the first line has 3");
	csv_refuse("a,b\n1,2\n\t\n,\n", "a", f32, 0, "line 4, column 1: the cell is empty");
	csv_refuse("a,b\n1,0x10\n", "b", f32, 0, "line 2, column 2: '0x10'");
	csv_refuse("a,b\n1,1e999\n", "b", f32, 0, "'1e999' is beyond the range");
	csv_refuse("a,b\n1,3e39\n", "b", f32, 0, "'3e39' is beyond the range");
	csv_refuse("a,b\n1,1.5\n", "b", i32, 0, "'1.5' does not fit i32");
	csv_refuse("a,b\n1,3\n", "b", i32, 3, "'3' is no class of 0..2");
	csv_refuse("a,b\n1,2,3\n", "b", f32, 0, "line 2: 3 cells; the first line has 2");
	csv_refuse("a,b\n1\n", "b", f32, 0, "line 2: 1 cell; the first line has 2");
	csv_refuse("a,b\n1,\"2\n3,4\n", "b", f32, 0, "line 2, column 2");
	csv_refuse("area,rooms\n1,2\n", "roms", f32, 0, "did you mean `rooms`?");
	csv_refuse("area,rooms\n1,2\n", "price", f32, 0, "its columns are area, rooms");
	csv_refuse("a\n", "a", f32, 0, "a header and no data");
	csv_refuse("", "a", f32, 0, "is empty");
	csv_refuse("\n \r\n\n", "a", f32, 0, "is empty");
	Fixture f = begin();
	put(&f, "thin.csv", "1\n2\n", 4);
	DataField x = table("thin.csv", NULL, 3, vector(DTYPE_F32, 3));
	refuse(x, "has 1 column; the field wants 3");
	end(&f);
}

/* Every file cut at every byte and with every byte changed: an answer, never a crash. */
static void mutations(void **state) {
	(void)state;
	static const char table_text[] = "a,\"b\"\n1,2.5e3\n3,\"4\"\n";
	char npy_file[256], gz[512];
	float data[] = {1, 2, 3, 4};
	size_t npy_size = make_npy(npy_file, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}", data, sizeof data);
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(6);
	size_t gz_size = libdeflate_gzip_compress(c, idx_bytes, sizeof idx_bytes, gz, sizeof gz);
	libdeflate_free_compressor(c);
	const char *b[] = {"b"};
	struct { DataField x; const char *bytes; size_t size; } cases[] = {
		{table("m", b, 1, type_scalar(DTYPE_F32)), table_text, sizeof table_text - 1},
		{field(SOURCE_NPY, "m", vector(DTYPE_F32, 2), 0), npy_file, npy_size},
		{field(SOURCE_IDX, "m", vector(DTYPE_U8, 2), 0), (const char *)idx_bytes, sizeof idx_bytes},
		{field(SOURCE_IDX, "m", vector(DTYPE_U8, 2), 0), gz, gz_size},
		{field(SOURCE_RAW, "m", vector(DTYPE_F32, 2), 0), npy_file, npy_size},
	};
	for (size_t k = 0; k < COUNT(cases); k++) {
		for (size_t i = 0; i < cases[k].size; i++) {
			for (int change = 0; change < 3; change++) {
				Fixture f = begin();
				char copy[512];
				memcpy(copy, cases[k].bytes, cases[k].size);
				if (change) copy[i] = (char)(change == 1 ? ~copy[i] : copy[i] ^ 1);
				FILE *out = fopen(path_of(&f, "m"), "wb");
				fwrite(copy, 1, change ? cases[k].size : i, out);
				fclose(out);
				DataSet set;
				Data *d = load(&f, &cases[k].x, 1, &set);
				assert_true(d || f.diag->errors);
				DataProbe probe = data_probe(f.files);
				probe.samples(probe.context, f.diag, &set);
				data_free(d);
				end(&f);
			}
		}
	}
}

static void raw_and_literal(void **state) {
	(void)state;
	Fixture f = begin();
	DataSet set;
	float values[] = {1, 2, 3, 4, 5, 6};
	put(&f, "r.bin", values, sizeof values);
	put_gzip(&f, "r.bin.gz", values, sizeof values, 0);
	double list[] = {0, 1, 1};
	DataField fields[] = {field(SOURCE_RAW, "r.bin", vector(DTYPE_F32, 2), 0),
	                      field(SOURCE_RAW, "r.bin.gz", vector(DTYPE_F32, 2), 0),
	                      field(SOURCE_LITERAL, NULL, type_scalar(DTYPE_I32), 2)};
	fields[2].values = list;
	fields[2].nvalues = 3;
	Data *d = load(&f, fields, 3, &set);
	assert_non_null(d);
	assert_int_equal(d->samples, 3);
	assert_memory_equal(d->field[0], values, sizeof values);
	assert_memory_equal(d->field[1], values, sizeof values);
	assert_int_equal(((int32_t *)d->field[2])[2], 1);
	data_free(d);
	list[1] = 2;
	assert_null(load(&f, fields, 3, &set));
	expect_message(&f, "field `x`, row 1: 2 does not fit class[2]");
	list[1] = 1;
	fields[2].nvalues = 2;
	assert_null(load(&f, fields, 3, &set));
	expect_message(&f, "field `x` has 2 samples, field `x` has 3");
	fields[2].nvalues = 3;
	fields[0].offset = fields[1].offset = 12;
	fields[0].type = fields[1].type = type_scalar(DTYPE_F32);
	d = load(&f, fields, 3, &set);
	assert_non_null(d);
	assert_memory_equal(d->field[0], values + 3, 12);
	assert_memory_equal(d->field[1], values + 3, 12);
	data_free(d);
	fields[0].offset = 24;
	refuse(fields[0], "not an offset of 24");
	refuse(field(SOURCE_RAW, "r.bin", vector(DTYPE_F32, 5), 0), "not a positive multiple of a sample's 20");
	end(&f);
}

/* Every half value there and back; any number becomes the nearest one, the even one of two. */
static void short_floats(void **state) {
	(void)state;
	static const DType dtypes[] = {DTYPE_F16, DTYPE_BF16};
	for (int k = 0; k < 2; k++) {
		uint16_t back, infinite = k ? 0x7f80 : 0x7c00;
		char *to = (char *)&back;
		for (uint32_t h = 0; h < 0x10000; h++) {
			uint16_t bits = (uint16_t)h;
			double value = element_value(dtypes[k], (const char *)&bits);
			assert_true(element_store(to, dtypes[k], value));
			if ((h & 0x7fff) > infinite) assert_true(isnan(value) && (back & 0x7fff) > infinite);
			else assert_int_equal(back, h);
		}
		for (uint64_t i = 0; i < 200000; i++) {
			int exponent = (int)(hash_mix(i + 1000000) % (k ? 300 : 50)) - (k ? 160 : 30);
			double x = ldexp((double)(hash_mix(i) >> 11) * 0x1p-53, exponent);
			if (i % 4 == 0) x = (double)(float)x;
			element_store(to, dtypes[k], x);
			uint16_t below = (uint16_t)(back - 1), above = (uint16_t)(back + 1);
			double value = element_value(dtypes[k], to), low = element_value(dtypes[k], (const char *)&below);
			double high = element_value(dtypes[k], (const char *)&above);
			if (isinf(value)) value = k ? 0x1p128 : 0x1p16;   /* where the next number would stand */
			if (isinf(high)) high = k ? 0x1p128 : 0x1p16;
			double error = fabs(x - value);
			if (back) assert_true(error < fabs(x - low) || (error == fabs(x - low) && !(back & 1)));
			if (back != infinite) assert_true(error < fabs(x - high) || (error == fabs(x - high) && !(back & 1)));
			element_store((char *)&below, dtypes[k], -x);
			assert_int_equal(below, back | 0x8000);
		}
	}
	Fixture f = begin();   /* from files of wider floats, and from text */
	DataSet set;
	put(&f, "a.csv", "a\n1.5\n0.1\n", 10);
	DataField cells = field(SOURCE_CSV, "a.csv", type_scalar(DTYPE_F16), 0), halves = field(SOURCE_RAW, "h.raw", cells.type, 0);
	cells.ncolumns = 1;
	Data *d = load(&f, &cells, 1, &set);
	assert_non_null(d);
	assert_int_equal(((uint16_t *)d->field[0])[0], 0x3e00);
	assert_int_equal(((uint16_t *)d->field[0])[1], 0x2e66);
	put(&f, "h.raw", d->field[0], 4);
	data_free(d);
	d = load(&f, &halves, 1, &set);
	assert_non_null(d);
	assert_int_equal(((uint16_t *)d->field[0])[1], 0x2e66);
	data_free(d);
	put(&f, "b.csv", "a\n70000\n", 8);
	cells.path = "b.csv";
	refuse(cells, "'70000' is beyond the range of numbers");
	end(&f);
}

static DataField text_field(const char *path, DType dtype, int64_t window, int64_t offset, int64_t reach) {
	DataField x = field(SOURCE_CHARS, path, window > 1 ? vector(dtype, window) : type_scalar(dtype), 0);
	x.window = window;
	x.offset = offset;
	x.reach = reach;
	x.vocab = path;
	return x;
}

/* Characters of one to four bytes, in windows; fields that look ahead; the vocabulary of another text. */
static void texts(void **state) {
	(void)state;
	Fixture f = begin();
	DataSet set;
	/* b a e-acute LF euro a b smile a: 9 characters */
	static const char text[] = "ba\xc3\xa9\n\xe2\x82\xac" "ab\xf0\x9f\x99\x82" "a";
	static const int32_t numbers[] = {2, 1, 3, 0, 4, 1, 2, 5, 1};
	put(&f, "t.txt", text, sizeof text - 1);
	put_gzip(&f, "t.txt.gz", text, sizeof text - 1, 0);
	DataProbe probe = data_probe(f.files);
	VocabInfo vocab = probe.vocab(probe.context, f.diag, (Span){0}, "t.txt.gz");
	assert_int_equal(vocab.count, 6);
	assert_string_equal(vocab.characters, "\nab\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82");
	assert_int_equal(vocab_count(vocab.characters), 6);
	for (int64_t window = 1; window <= 5; window++)
		for (int64_t offset = 0; offset <= 4; offset++) {
			DataField both[] = {text_field("t.txt", DTYPE_I32, window, 0, offset),
			                    text_field("t.txt.gz", DTYPE_U8, window, offset, offset)};
			Data *d = load(&f, both, 2, &set);
			int64_t samples = (9 - offset) / window;
			assert_non_null(d);
			assert_int_equal(d->samples, samples);
			assert_int_equal(probe.samples(probe.context, f.diag, &set).samples, samples);
			for (int64_t i = 0; i < samples * window; i++) {
				assert_int_equal(((int32_t *)d->field[0])[i], numbers[i]);
				assert_int_equal(d->field[1][i], numbers[i + offset]);
			}
			data_free(d);
		}
	put(&f, "other.txt", "aab", 3);
	DataField other = text_field("other.txt", DTYPE_I32, 1, 0, 0);
	other.vocab = "t.txt";
	Data *d = load(&f, &other, 1, &set);
	assert_non_null(d);
	assert_int_equal(((int32_t *)d->field[0])[0], 1);
	assert_int_equal(((int32_t *)d->field[0])[2], 2);
	data_free(d);
	other.vocab = "other.txt";
	other.path = "t.txt";
	refuse(other, "line 1: the vocabulary of");
	refuse(other, "lacks the character `\xc3\xa9`");
	assert_string_equal(vocab_difference(f.arena, "\nab", "ab"), "U+000A");
	assert_string_equal(vocab_difference(f.arena, "ab", "ab\xc3\xa9"), "`\xc3\xa9`");
	assert_null(vocab_difference(f.arena, "ab", "ab"));
	end(&f);
}

static void texts_hostile(void **state) {
	(void)state;
	Fixture f = begin();
	static const struct { const char *text; size_t length; const char *said; } bad[] = {
		{"a\nb\xff" "c", 5, "line 2: the byte 0xff is no text in UTF-8"}, {"ab\xc3", 3, "line 1: the byte 0xc3"},
		{"\xc0\x80", 2, "the byte 0xc0"}, {"\xed\xa0\x80", 3, "the byte 0xed"}, {"\xf4\x90\x80\x80", 4, "the byte 0xf4"},
		{"\xe0\x80\x80", 3, "the byte 0xe0"}, {"\xc3\x41", 2, "the byte 0xc3"}, {"a\0b", 3, "the byte 0x00"},
		{"\x80", 1, "the byte 0x80"}, {"", 0, "is empty"}, {"abc", 3, "has 3 characters, too few for a window of 4 at 0"}};
	for (size_t i = 0; i < COUNT(bad); i++) {
		put(&f, "bad.txt", bad[i].text, bad[i].length);
		refuse(text_field("bad.txt", DTYPE_I32, 4, 0, 0), bad[i].said);
	}
	put(&f, "abc.txt", "abc", 3);
	DataField two = text_field("abc.txt", DTYPE_I32, 1, 0, 0);
	two.classes = 2;
	refuse(two, "has 3 distinct characters; field `x` wants class[2]");
	refuse(text_field("abc.txt", DTYPE_I32, 1, 2, 3), "too few for a window of 1 at 3");
	end(&f);
}

static void searched(void **state) {
	(void)state;
	Fixture f = begin();
	const char *a = path_of(&f, "a"), *b = path_of(&f, "b");
	mkdir(a, 0777);
	mkdir(b, 0777);
	put(&f, "b/x.bin", "1234", 4);
	setenv("NNC_DATA", arena_printf(f.arena, "%s:%s", a, b), 1);
	Files *files = files_open(f.arena, "model.nn", NULL);
	DataField x = field(SOURCE_RAW, "x.bin", type_scalar(DTYPE_U8), 0);
	DataSet set = {.name = "s", .fields = &x, .nfields = 1};
	DataProbe probe = data_probe(files);
	assert_int_equal(probe.samples(probe.context, f.diag, &set).samples, 4);
	x.path = "y.bin";
	assert_false(probe.samples(probe.context, f.diag, &set).ok);
	expect_message(&f, arena_printf(f.arena, "looked in '%s'", a));
	expect_message(&f, arena_printf(f.arena, "looked in '%s'", b));
	expect_message(&f, "looked in '.'");
	files_close(files);
	unsetenv("NNC_DATA");
	put(&f, "a/x.bin", "12345", 5);
	files = files_open(f.arena, path_of(&f, "b/model.nn"), a);   /* the program's folder comes before --data-dir */
	x.path = "x.bin";
	probe = data_probe(files);
	assert_int_equal(probe.samples(probe.context, f.diag, &set).samples, 4);
	files_close(files);
	end(&f);
}

static int set_up(void **state) {
	(void)state;
	strcpy(folder, "test_host_data.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idx), cmocka_unit_test(idx_hostile), cmocka_unit_test(gzip_members),
		cmocka_unit_test(gzip_hostile), cmocka_unit_test(npy),
		cmocka_unit_test(npy_hostile), cmocka_unit_test(npy_written), cmocka_unit_test(csv), cmocka_unit_test(csv_hostile),
		cmocka_unit_test(mutations), cmocka_unit_test(raw_and_literal), cmocka_unit_test(searched),
		cmocka_unit_test(short_floats), cmocka_unit_test(texts), cmocka_unit_test(texts_hostile),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
