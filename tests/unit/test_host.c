/* Layout, shuffle, safetensors, weights, the worker pool.
 * link: nnc_host */
#include "host.h"

#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

/* ---- layout ---- */

static void add(Program *p, const char *path, InputKind kind, DType dtype, int rank, int64_t a, int64_t b, int64_t c) {
	int64_t dim[] = {a, b, c};
	Persistent t = {.path = path, .kind = kind, .type = type_make(dtype, rank, dim), .train = -1};
	vec_push(p->arena, &p->persistent, t);
}

static Program *program_new(Arena *arena) {
	Program *p = NEW(arena, Program);
	p->arena = arena;
	p->diag = diag_new(arena);
	p->name = "model";
	add(p, "m/w", INPUT_PARAM, DTYPE_F32, 2, 7, 10, 0);
	add(p, "m/w#m", INPUT_SLOT, DTYPE_F32, 2, 7, 10, 0);
	add(p, "m/b", INPUT_PARAM, DTYPE_F32, 1, 10, 0, 0);
	add(p, "m/one", INPUT_PARAM, DTYPE_F32, 2, 5, 1, 0);
	add(p, "m/wide", INPUT_PARAM, DTYPE_F32, 3, 2, 3, 512);
	add(p, "m/mean", INPUT_STATE, DTYPE_F64, 2, 3, 5, 0);
	add(p, "m/count", INPUT_STATE, DTYPE_I32, 0, 0, 0, 0);
	add(p, "m/mask", INPUT_STATE, DTYPE_U8, 2, 3, 28, 0);
	return p;
}

static void layout_rule(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Program *p = program_new(arena);
	Layout layout = layout_program(arena, p);
	int64_t rows[] = {10, 10, 10, 1, 528, 5, 1, 32};
	for (int i = 0; i < layout.count; i++) {
		assert_int_equal(layout.places[i].row, rows[i]);
		assert_int_equal(layout.places[i].offset % 64, 0);
		bool slot = p->persistent.data[i].kind == INPUT_SLOT;
		assert_true(slot ? layout.places[i].offset >= layout.infer_bytes
		                 : layout.places[i].offset + lasting_bytes(p->persistent.data[i].type) <= layout.infer_bytes);
	}
	assert_int_equal(lasting_count(p->persistent.data[2].type), 16);
	assert_int_equal(lasting_count(p->persistent.data[3].type), 16);
	assert_int_equal(layout.bytes - layout.infer_bytes, 5 * 16 * 4);
	arena_free(arena);
}

static void layout_round_trip(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Program *p = program_new(arena);
	Layout layout = layout_program(arena, p);
	char *block = block_new(layout.bytes);
	char *dense[8], *again = malloc(1 << 16);
	for (int i = 0; i < layout.count; i++) {
		size_t n = (size_t)type_count(p->persistent.data[i].type) * (size_t)dtype_info[p->persistent.data[i].type.dtype].bytes;
		dense[i] = arena_alloc(arena, n);
		for (size_t k = 0; k < n; k++) dense[i][k] = (char)hash_mix((uint64_t)i * 100000 + k);
		layout_load(&layout, p, i, block, dense[i]);
	}
	for (int i = 0; i < layout.count; i++) {
		size_t n = (size_t)type_count(p->persistent.data[i].type) * (size_t)dtype_info[p->persistent.data[i].type.dtype].bytes;
		layout_store(&layout, p, i, block, again);
		assert_memory_equal(again, dense[i], n);
	}
	block_free(block, layout.bytes);
	free(again);
	arena_free(arena);
}

/* ---- shuffle ---- */

static void shuffle_is_a_permutation(void **state) {
	(void)state;
	static const int64_t counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 100, 1000, 60000, 65536, 65537};
	char *seen = malloc(70000);
	for (size_t c = 0; c < COUNT(counts); c++) {
		for (uint64_t epoch = 0; epoch < 4; epoch++) {
			Shuffle s = shuffle_make(counts[c], 42, epoch);
			memset(seen, 0, 70000);
			for (int64_t i = 0; i < counts[c]; i++) {
				int64_t k = shuffle_at(&s, i);
				assert_true(k >= 0 && k < counts[c] && !seen[k]);
				seen[k] = 1;
			}
		}
	}
	free(seen);
}

/* Every place sees every sample equally often over many epochs: chi-square per size against its expectation. */
static void shuffle_is_even(void **state) {
	(void)state;
	for (int n = 3; n <= 40; n += n < 10 ? 1 : 15) {
		enum { EPOCHS = 8000 };
		static int hits[40][40];
		memset(hits, 0, sizeof hits);
		for (uint64_t epoch = 1; epoch <= EPOCHS; epoch++) {
			Shuffle s = shuffle_make(n, 7, epoch);
			for (int i = 0; i < n; i++) hits[i][shuffle_at(&s, i)]++;
		}
		double chi = 0, mean = (double)EPOCHS / n;
		for (int i = 0; i < n; i++)
			for (int k = 0; k < n; k++) chi += (hits[i][k] - mean) * (hits[i][k] - mean) / mean;
		double freedom = (n - 1.0) * (n - 1.0), sigma = 1.4142 * (n - 1);
		assert_true(chi < freedom + 6 * sigma);
	}
}

static void shuffle_is_fixed(void **state) {
	(void)state;
	/* A changed order would change every trained weight: these are its first values for good. */
	static const int64_t wanted[] = {34205, 48821, 45372, 32128, 28599, 44595};
	Shuffle s = shuffle_make(60000, 1, 1);
	for (size_t i = 0; i < COUNT(wanted); i++) assert_int_equal(shuffle_at(&s, (int64_t)i), wanted[i]);
}

static void split(void **state) {
	(void)state;
	DataField x = {.name = "x", .kind = SOURCE_IDX};
	DataSet set = {.fields = &x, .nfields = 1};
	Data data = {.set = &set, .samples = 103};
	for (int sequence = 0; sequence < 2; sequence++) {
		x.kind = sequence ? SOURCE_CHARS : SOURCE_IDX;
		Samples kept = samples_split(&data, 0.1, 3, false), held = samples_split(&data, 0.1, 3, true);
		assert_int_equal(held.count, 10);
		assert_int_equal(kept.count, 93);
		char seen[103] = {0};
		for (int64_t i = 0; i < kept.count; i++) seen[samples_row(&kept, i)]++;
		for (int64_t i = 0; i < held.count; i++) seen[samples_row(&held, i)]++;
		for (int i = 0; i < 103; i++) assert_int_equal(seen[i], 1);
		int tail = 0;
		for (int64_t i = 0; i < held.count; i++) tail += samples_row(&held, i) >= 93;
		assert_int_equal(tail == 10, sequence);
	}
	assert_int_equal(held_out_count(10, 0.001), 0);
	assert_int_equal(held_out_count(10, 0.999), 9);
	assert_int_equal(held_out_count(100, 0.25), 25);
}

/* ---- safetensors ---- */

static const char *path_of(Arena *arena, const char *name) { return arena_printf(arena, "%s/%s", folder, name); }

static bool said(const Diag *diag, const char *text) {
	for (int i = 0; i < diag->messages.length; i++)
		if (strstr(diag->messages.data[i].text, text)) return true;
	for (int i = 0; i < diag->messages.length; i++) fprintf(stderr, "  message: %s\n", diag->messages.data[i].text);
	return false;
}

static void fill(Program *p, Layout *layout, char *block, uint64_t key) {
	for (int i = 0; i < layout->count; i++) {
		Type t = p->persistent.data[i].type;
		size_t n = (size_t)type_count(t);
		char *dense = calloc(n, 8);
		for (size_t k = 0; k < n; k++) {
			float f = (float)(int)(hash_mix(key + k) % 1000) / 8;
			double d = f;
			if (t.dtype == DTYPE_F32) memcpy(dense + 4 * k, &f, 4);
			else if (t.dtype == DTYPE_F64) memcpy(dense + 8 * k, &d, 8);
			else dense[k] = (char)(int)f;
		}
		layout_load(layout, p, i, block, dense);
		free(dense);
	}
}

static void weights_round_trip(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Program *p = program_new(arena);
	Layout layout = layout_program(arena, p);
	char *block = block_new(layout.bytes), *again = block_new(layout.bytes);
	const char *path = path_of(arena, "w.safetensors");
	fill(p, &layout, block, 5);
	const MetaEntry more = {"field:lr", "0.5"};
	WeightsInfo info = {.seed = UINT64_MAX, .step = 12, .epoch = 3, .has_seed = true, .more = &more, .nmore = 1}, back;
	for (int slots = 0; slots < 2; slots++) {
		memset(again, 0, layout.bytes);
		assert_true(weights_save(p->diag, path, p, &layout, block, info, slots));
		assert_true(weights_load(p->diag, path, p, &layout, again, false, &back));
		assert_memory_equal(block, again, slots ? layout.bytes : layout.infer_bytes);
		assert_true(back.has_seed && back.seed == info.seed && back.step == 12 && back.epoch == 3);
		assert_int_equal(back.has_slots, slots);
	}
	assert_int_equal(p->diag->messages.length, 0);
	TensorFile *file = tensors_read(arena, p->diag, path);
	assert_non_null(file);
	assert_string_equal(tensors_meta(file, "file"), "model");
	assert_string_equal(tensors_meta(file, "field:lr"), "0.5");
	assert_int_equal(file->count, 8);
	tensors_close(file);
	/* Writing fails: the old file stays. */
	assert_false(weights_save(p->diag, path_of(arena, "no/such/folder"), p, &layout, block, info, false));
	block_free(block, layout.bytes);
	block_free(again, layout.bytes);
	arena_free(arena);
}

static void weights_mismatch(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Program *p = program_new(arena), *q = NEW(arena, Program);
	*q = (Program){.arena = arena, .diag = diag_new(arena), .name = "other"};
	add(q, "m/w", INPUT_PARAM, DTYPE_F32, 2, 10, 7, 0);
	add(q, "m/b", INPUT_PARAM, DTYPE_F64, 1, 10, 0, 0);
	add(q, "m/new", INPUT_PARAM, DTYPE_F32, 1, 3, 0, 0);
	Layout layout = layout_program(arena, p), other = layout_program(arena, q);
	char *block = block_new(layout.bytes), *to = block_new(other.bytes);
	fill(p, &layout, block, 5);
	const char *path = path_of(arena, "x.safetensors");
	assert_true(weights_save(p->diag, path, p, &layout, block, (WeightsInfo){0}, true));
	assert_false(weights_load(q->diag, path, q, &other, to, false, NULL));
	assert_true(said(q->diag, "do not fit this program"));
	assert_true(said(q->diag, "m/w: f32[10,7] here, F32[7, 10] in the file"));
	assert_true(said(q->diag, "missing: m/new, f32[3]"));
	assert_true(said(q->diag, "unexpected: m/wide"));
	q->diag = diag_new(arena);
	assert_true(weights_load(q->diag, path, q, &other, to, true, NULL));
	assert_int_equal(q->diag->errors, 0);
	assert_int_equal(q->diag->warnings, 1);
	float b[10];
	double wide[10];
	layout_store(&layout, p, 2, block, b);
	layout_store(&other, q, 1, to, wide);
	for (int i = 0; i < 10; i++) assert_true(wide[i] == b[i]);
	q->persistent.length = 0;
	add(q, "z", INPUT_PARAM, DTYPE_F32, 1, 3, 0, 0);
	other = layout_program(arena, q);
	assert_false(weights_load(q->diag, path, q, &other, to, true, NULL));
	block_free(block, layout.bytes);
	block_free(to, other.bytes);
	arena_free(arena);
}

static void put_tensors(const char *path, uint64_t length, const char *header, size_t data) {
	FILE *out = fopen(path, "wb");
	for (int i = 0; i < 8; i++) fputc((int)(length >> 8 * i & 255), out);
	fputs(header, out);
	for (size_t i = 0; i < data; i++) fputc((int)i, out);
	fclose(out);
}

static void tensors_hostile(void **state) {
	(void)state;
	static const struct { const char *header; size_t data; const char *message; } cases[] = {
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "do not fit its shape or the file"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 8, "do not fit its shape or the file"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "do not fit its shape or the file"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, "do not fit its shape or the file"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8, "do not fit its shape or the file"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":\"x\"}}", 8, "do not fit its shape or the file"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,8]}}", 8, "impossible shape"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,8]}}", 8, "impossible shape"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]}}", 8, "impossible shape"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 8, "more than 8 dims"},
		{"{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype that is not known"},
		{"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype that is not known"},
		{"{\"a\":7}", 8, "dtype that is not known"},
		{"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
		 "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[7,9]}}", 9, "'b' overlaps tensor 'a'"},
		{"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
		 "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, "is not JSON"},
		{"{\"__metadata__\":{\"k\":7}}", 0, "metadata are not texts"},
		{"[]", 0, "not a JSON object"},
		{"{", 0, "is not JSON"},
	};
	Arena *arena = arena_new();
	const char *path = path_of(arena, "h.safetensors");
	for (size_t i = 0; i < COUNT(cases); i++) {
		Diag *diag = diag_new(arena);
		put_tensors(path, strlen(cases[i].header), cases[i].header, cases[i].data);
		assert_null(tensors_read(arena, diag, path));
		assert_true(said(diag, cases[i].message));
	}
	static const uint64_t lengths[] = {3, 1000, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX};
	for (size_t i = 0; i < COUNT(lengths); i++) {
		Diag *diag = diag_new(arena);
		put_tensors(path, lengths[i], "{}", 0);
		assert_null(tensors_read(arena, diag, path));
		assert_true(said(diag, "longer than the file"));
	}
	/* A well-formed file cut at every byte. */
	const char *good = "{\"__metadata__\":{\"k\":\"v\"},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
	put_tensors(path, strlen(good), good, 4);
	for (size_t size = 8 + strlen(good) + 4; size-- > 0;) {
		Diag *diag = diag_new(arena);
		TensorFile *file = tensors_read(arena, diag, path);
		assert_true((file != NULL) == (size == 8 + strlen(good) + 3));
		tensors_close(file);
		assert_int_equal(truncate(path, (off_t)size), 0);
	}
	arena_free(arena);
}

static void atomic_files(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	const char *path = path_of(arena, "a.txt"), *link = path_of(arena, "l.txt");
	assert_true(write_atomic(diag, path, "one", 3));
	assert_int_equal(symlink("a.txt", link), 0);
	assert_true(write_atomic(diag, link, "three", 5));
	char text[8] = {0};
	FILE *in = fopen(path, "rb");
	assert_int_equal(fread(text, 1, 8, in), 5);
	fclose(in);
	assert_int_equal(readlink(link, text, 8), 5);
	assert_true(write_atomic(diag, "/dev/null", "x", 1));
	AtomicFile *f = atomic_open(diag, path);
	atomic_add(f, "broken", 6);
	atomic_abandon(f);
	in = fopen(path, "rb");
	assert_int_equal(fread(text, 1, 8, in), 5);
	fclose(in);
	assert_int_equal(diag->errors, 0);
	if (access("/dev/full", W_OK) == 0) assert_false(write_atomic(diag, "/dev/full", "x", 1));
	arena_free(arena);
}

/* ---- pool ---- */

enum { ROUNDS = 2000, WORKERS = 4 };
typedef struct Shared { int64_t cell[WORKERS], sum[WORKERS]; _Atomic int wrong; int barriers; } Shared;

/* Each worker writes its cell, meets the others, adds up all cells, meets them again: plain memory, ordered by barriers. */
static void entry_sum(Frame *frame, int64_t tid, int64_t n) {
	Shared *s = (Shared *)frame->persistent;
	for (int i = 0; i < s->barriers; i++) {
		s->cell[tid] += tid + 1;
		frame->barrier(frame->context, tid);
		int64_t sum = 0;
		for (int64_t k = 0; k < n; k++) sum += s->cell[k];
		s->sum[tid] = sum;
		frame->barrier(frame->context, tid);
		if (s->sum[(tid + 1) % n] != sum) atomic_fetch_add(&s->wrong, 1);
		frame->barrier(frame->context, tid);
	}
}

static void entry_count(Frame *frame, int64_t tid, int64_t n) {
	(void)n;
	((Shared *)frame->persistent)->cell[tid]++;
}

static void pool_orders_memory(void **state) {
	(void)state;
	for (int workers = 2; workers <= WORKERS; workers++) {
		Shared s = {.barriers = 50};
		Pool *pool = pool_new(workers, 0);
		Frame frame = {.persistent = (char *)&s, .barrier = pool_barrier, .context = pool};
		for (int i = 0; i < 20; i++) {
			pool_run(pool, entry_sum, &frame, workers);
			if (i % 7 == 0) usleep(2000);   /* long enough for the workers to fall asleep */
		}
		assert_int_equal(s.wrong, 0);
		for (int i = 0; i < workers; i++) assert_int_equal(s.cell[i], 1000 * (i + 1));
		memset(&s, 0, sizeof s);
		for (int i = 0; i < ROUNDS; i++) {
			pool_run(pool, entry_count, &frame, i % 2 ? workers : 2);
			assert_int_equal(s.cell[1], i + 1);
		}
		assert_int_equal(s.cell[workers - 1], workers == 2 ? ROUNDS : ROUNDS / 2);
		pool_free(pool);
	}
}

static double seconds(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void entry_barriers(Frame *frame, int64_t tid, int64_t n) {
	(void)n;
	for (int i = 0; i < 1000; i++) frame->barrier(frame->context, tid);
}

/* Figures for a person; the machine may be busy, so nothing is asserted. */
static void pool_speed(void **state) {
	(void)state;
	if (pool_clamp(0) < 2) return;
	Pool *pool = pool_new(2, 0);
	Shared s = {0};
	Frame frame = {.persistent = (char *)&s, .barrier = pool_barrier, .context = pool};
	double best_barrier = 1, best_run = 1;
	for (int i = 0; i < 30; i++) {
		double start = seconds();
		pool_run(pool, entry_barriers, &frame, 2);
		best_barrier = MIN(best_barrier, (seconds() - start) / 1000);
		start = seconds();
		for (int k = 0; k < 1000; k++) pool_run(pool, entry_count, &frame, 2);
		best_run = MIN(best_run, (seconds() - start) / 1000);
	}
	print_message("2 workers: barrier %.0f ns, empty run %.0f ns (best of 30)\n", best_barrier * 1e9, best_run * 1e9);
	pool_free(pool);
}

static void pool_clamps(void **state) {
	(void)state;
	int all = pool_clamp(0);
	assert_true(all >= 1);
	assert_int_equal(pool_clamp(1), 1);
	assert_int_equal(pool_clamp(100000), all);
	Pool *pool = pool_new(1, 0);
	Shared s = {0};
	Frame frame = {.persistent = (char *)&s};
	pool_run(pool, entry_count, &frame, 1);
	assert_int_equal(s.cell[0], 1);
	pool_free(pool);
}

static int set_up(void **state) {
	(void)state;
	strcpy(folder, "test_host.XXXXXX");
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
		cmocka_unit_test(layout_rule), cmocka_unit_test(layout_round_trip), cmocka_unit_test(shuffle_is_a_permutation),
		cmocka_unit_test(shuffle_is_even), cmocka_unit_test(shuffle_is_fixed), cmocka_unit_test(split),
		cmocka_unit_test(weights_round_trip), cmocka_unit_test(weights_mismatch), cmocka_unit_test(tensors_hostile),
		cmocka_unit_test(atomic_files), cmocka_unit_test(pool_clamps),
		cmocka_unit_test(pool_orders_memory), cmocka_unit_test(pool_speed),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
