/* link: nnc_llvm nnc_llvm_libs nnc_base nnc_grammar
 * Products of words of four bytes against sums written out in C: every way that this machine has, every number of lanes, any
 * bytes, and accumulators that overflow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

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

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(all_ways)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
