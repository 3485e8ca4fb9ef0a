/* link: nnc_llvm nnc_llvm_libs nnc_passes nnc_host nnc_kernel nnc_ir nnc_base nnc_grammar
 * Products of words of four bytes against sums written out in C: every way that this machine has, every number of lanes, any
 * bytes, and accumulators that overflow.  Products with one column, of lanes along the sum, against the interpreter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "expect_same.h"
#include "lower.h"
#include "target.h"

enum { MOST_LANES = 32, ROUNDS = 200 };
static const DType types[][2] = {
    {DTYPE_I8X4, DTYPE_I8X4}, {DTYPE_U8X4, DTYPE_I8X4}, {DTYPE_I8X4, DTYPE_U8X4}, {DTYPE_U8X4, DTYPE_U8X4}};

static int32_t byte_of(uint32_t word, int i, DType type) {
	uint8_t byte = (uint8_t)(word >> 8 * i);
	return type == DTYPE_I8X4 ? (int8_t)byte : byte;
}

static uint32_t expected(uint32_t x, uint32_t y, uint32_t acc, const DType type[2]) {
	for (int i = 0; i < 4; i++) acc += (uint32_t)(byte_of(x, i, type[0]) * byte_of(y, i, type[1]));
	return acc;
}

/* Any bytes, and often the extreme ones. */
static uint32_t random_word(void) {
	static uint64_t seed = 1;
	static const uint32_t extremes[] = {0, 0x80808080, 0x7f7f7f7f, 0xffffffff, 0x81818181, 0x7fffffff, 0x80000000};
	uint64_t bits = hash_mix(seed++);
	return bits % 3 ? (uint32_t)(bits >> 32) : extremes[bits / 3 % COUNT(extremes)];
}

/* void words(x, y, acc): acc[i] += the products of x[i] and y[i]. */
static void words_function(Emit *e, const char *name, int lanes, const DType type[2]) {
	emit_function(e, name, e->void_type, 3, (LLVMTypeRef[]){e->ptr, e->ptr, e->ptr}, false);
	Value v[3];
	for (unsigned i = 0; i < 3; i++) v[i] = emit_load(e, e->i32, lanes, LLVMGetParam(e->function, i));
	emit_store(e, lower_words(e, v[0], type[0], v[1], type[1], v[2]), LLVMGetParam(e->function, 2));
	LLVMBuildRetVoid(e->builder);
}

static void check(Arena *arena, const Target *t, int lanes, const DType type[2]) {
	Emit *e = emit_new(arena, t, "words");
	words_function(e, "words", lanes, type);
	Object object = emit_object(e, false);
	emit_free(e);
	const char *error;
	Linked *linked = objects_link(arena, &object, 1, &error);
	assert_non_null(linked);
	void *address = linked_symbol(linked, "words");
	void (*call)(const uint32_t *, const uint32_t *, uint32_t *);
	memcpy(&call, &address, sizeof call);
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t x[MOST_LANES], y[MOST_LANES], acc[MOST_LANES], want[MOST_LANES];
		for (int i = 0; i < lanes; i++) {
			x[i] = random_word(), y[i] = random_word(), acc[i] = random_word();
			want[i] = expected(x[i], y[i], acc[i], type);
		}
		call(x, y, acc);
		for (int i = 0; i < lanes; i++)
			if (acc[i] != want[i])
				fail_msg("%d lanes, %s times %s: %08x and %08x: %08x instead of %08x (registers of %d lanes, %d %d %d)", lanes,
				         dtype_info[type[0]].text, dtype_info[type[1]].text, x[i], y[i], acc[i], want[i], t->lanes, t->has_dot,
				         t->has_dot_mixed, t->has_dot_pairs);
	}
	linked_free(linked);
}

static void all_ways(void **unused) {
	(void)unused;
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	const Target *host = target_host(arena), *v3 = target_named(arena, diag, "x86-64", "x86-64-v3", NULL);
	Target plain = *host, shorter = *host;   /* the host without such instructions; and with registers of another length */
	plain.has_dot = plain.has_dot_mixed = plain.has_dot_pairs = false;
	shorter.lanes = MIN(host->lanes, 8);
	const Target *targets[] = {host, &plain, &shorter, v3};
	for (size_t i = 0; i < COUNT(targets); i++)
		for (int lanes = 1; lanes <= MOST_LANES; lanes *= 2)
			for (size_t k = 0; k < COUNT(types) && targets[i] && targets[i]->is_host; k++)
				check(arena, targets[i], lanes, types[k]);
	arena_free(arena);
}

/* y[i, 0] = sum over k of a[i, k] b[k, 0]; down: a lies the other way round; as floats, which an epilogue makes of them. */
static Fn *one_column(Arena *arena, const DType type[2], int64_t rows, int64_t words, bool down, bool as_floats) {
	Fn *f = fn_new(arena, "column");
	int64_t dim[2] = {down ? words : rows, down ? rows : words};
	Val *a = fn_input(f, "a", INPUT_DATA, type_make(type[0], 2, dim));
	Val *b = fn_input(f, "b", INPUT_PARAM, type_make(type[1], 2, (int64_t[]){words, 1}));
	Val *y = ir_contract(f, a, (int64_t[]){down, !down}, b, (int64_t[]){1, 2}, 2, (int64_t[]){0, 2});
	fn_output(f, "y", as_floats ? ir_cast(f, y, DTYPE_F32) : y, -1);
	return fn_canonical(f);
}

/* y[b, i, j, 0] = sum of x[b, i + r, j + s, c] w[r, s, c, 0]: a sum of several loops. */
static Fn *one_filter(Arena *arena, const DType type[2], int64_t channels) {
	Fn *f = fn_new(arena, "filter");
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(type[0], 4, (int64_t[]){2, 5, 9, channels}));
	Val *w = fn_input(f, "w", INPUT_PARAM, type_make(type[1], 4, (int64_t[]){3, 3, channels, 1}));
	x = ir_window(f, ir_window(f, x, 1, 3, 3, 1, 1), 3, 7, 3, 1, 1);
	Val *y = ir_contract(f, x, (int64_t[]){0, 1, 2, 3, 4, 5}, w, (int64_t[]){2, 4, 5, 6}, 4, (int64_t[]){0, 1, 3, 6});
	fn_output(f, "y", y, -1);
	return fn_canonical(f);
}

static void single_columns(void **unused) {
	(void)unused;
	static const int64_t rows[] = {1, 3, 4, 9, 33}, words[] = {1, 4, 15, 16, 17, 50, 4100}, channels[] = {1, 5, 16};
	for (size_t k = 0; k < COUNT(types); k++) {
		for (size_t i = 0; i < COUNT(rows) * COUNT(words); i++) {
			Arena *arena = arena_new();
			int64_t m = rows[i / COUNT(words)], n = words[i % COUNT(words)];
			Fn *f = one_column(arena, types[k], m, n, i % 3 == 1, i & 1);
			expect_same(arena, f, 0, false, arena_printf(arena, "%d rows of %d words", (int)m, (int)n));
			arena_free(arena);
		}
		for (size_t i = 0; i < COUNT(channels); i++) {
			Arena *arena = arena_new();
			expect_same(arena, one_filter(arena, types[k], channels[i]), 0, false, "one filter");
			arena_free(arena);
		}
	}
}

static const char *assembly_of(Arena *arena, Fn *f, const Target *target) {
	Program program = {.arena = arena};
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		if (in->kind == INPUT_PARAM) vec_push(arena, &program.persistent, ((Persistent){in->name, in->kind, in->type, -1, {0}}));
	}
	Layout layout = layout_program(arena, &program);
	CompileOptions options = {.target = target, .workers = 1};
	Emit *e = emit_new(arena, target, "column");
	lower_entry(e, compile_kernels(arena, f, &program, &layout, &options), "column_entry");
	const char *text = emit_assembly(e).bytes;
	emit_free(e);
	return text;
}

/* Vectors are multiplied, not byte by byte: a dense layer of one column, a filter. */
static void single_columns_are_vectors(void **unused) {
	(void)unused;
	static const struct { const char *name, *cpu, *features, *instruction; } machines[] = {
		{"x86-64", "x86-64-v3", NULL, "vpmaddwd"},
		{"x86-64", "x86-64-v3", "+avxvnni", "vpdpbusd"},
		{"x86-64", "x86-64-v4", "+avx512vnni", "vpdpbusd"},
		{"aarch64", NULL, "+dotprod", "sdot"},
	};
	for (size_t i = 0; i < COUNT(machines); i++) {
		Arena *arena = arena_new();
		const Target *t = target_named(arena, diag_new(arena), machines[i].name, machines[i].cpu, machines[i].features);
		Fn *fns[] = {one_column(arena, types[0], 1, 32, false, true), one_column(arena, types[0], 40, 50, false, false),
		             one_column(arena, types[0], 64, 20, true, false), one_filter(arena, types[0], 16)};
		for (size_t k = 0; t && k < COUNT(fns); k++)   /* no such code generator: NULL */
			if (!strstr(assembly_of(arena, fns[k], t), machines[i].instruction))
				fail_msg("%s %s: Fn %d without %s", t->triple, t->features, (int)k, machines[i].instruction);
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(all_ways), cmocka_unit_test(single_columns),
	                                   cmocka_unit_test(single_columns_are_vectors)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
