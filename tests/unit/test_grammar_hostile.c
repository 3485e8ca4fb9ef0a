/* test_grammar_hostile.c: the parser on texts nobody would write: cut, mutated, random, nested without end.
 * link: nnc_grammar
 *
 * What is asked: it ends, quickly, without a crash (the sanitizers of that build watch), and what nests too deeply
 * is one error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ast.h"
#include "lexer.h"
#include "std.h"

enum { MANY = 100000 };

static FILE *nowhere;

/* Parses and formats; returns the number of errors.  Text that parses must still parse once formatted. */
static int run(const char *text, size_t length) {
	Arena *arena = arena_new();
	Diag *diag = diag_new(arena);
	char *copy = malloc(length + 1); /* exact, so that a read too far is seen */
	memcpy(copy, text, length);
	copy[length] = 0;
	char *formatted = format_source(arena, diag, diag_source(diag, "h.nn", copy, length, false));
	int errors = diag->errors;
	diag_print(diag, nowhere, true);
	assert_int_equal(formatted == NULL, errors > 0);
	if (formatted) {
		char *again = format_source(arena, diag, diag_source(diag, "f.nn", formatted, strlen(formatted), false));
		if (!again) fail_msg("formatting made an error:\n%s", formatted);
		size_t same = 0;
		while (formatted[same] && formatted[same] == again[same]) same++;
		size_t from = same > 80 ? same - 80 : 0;
		if (formatted[same] != again[same])
			fail_msg("formatting twice differs:\n%.160s\n---\n%.160s", formatted + from, again + from);
	}
	free(copy);
	arena_free(arena);
	return errors;
}

/* Every std file cut at every byte, and with every token taken out. */
static void test_cut(void **state) {
	(void)state;
	for (int i = 0; i < std_file_count; i++) {
		const StdFile *file = &std_files[i];
		assert_int_equal(run(file->text, file->length), 0);
		for (size_t n = 0; n < file->length; n++) run(file->text, n);
	}
}

static void test_token_taken_out(void **state) {
	(void)state;
	for (int i = 0; i < std_file_count; i++) {
		Arena *arena = arena_new();
		Source source = {std_files[i].name, std_files[i].text, std_files[i].length, true};
		TokenList *tokens = lex_source(arena, &source);
		char *text = malloc(source.length + 1);
		for (int t = 0; t < tokens->length; t++) {
			const Token *token = &tokens->data[t];
			memcpy(text, source.text, token->begin);
			memcpy(text + token->begin, source.text + token->end, source.length - token->end);
			run(text, source.length - (token->end - token->begin));
		}
		free(text);
		arena_free(arena);
	}
}

static uint64_t random_state = 1;
static uint32_t random_below(uint32_t n) { return (uint32_t)((random_state = hash_mix(random_state)) >> 33) % n; }

static void test_random(void **state) {
	(void)state;
	static const char *const pieces[] = {
	    "layer f(x) {",
	    "}",
	    "{",
	    "(",
	    ")",
	    "[",
	    "]",
	    "let y",
	    " = ",
	    "x",
	    "1",
	    ".5",
	    "..",
	    "|>",
	    "|",
	    ",",
	    ";",
	    "\n",
	    "\n",
	    "model m",
	    "-> [B]",
	    "<-",
	    "for k in ",
	    "if ",
	    " else ",
	    "return ",
	    "\"s\"",
	    "\"",
	    "#c\n",
	    "\r\n",
	    "\t",
	    "-",
	    "^",
	    "not ",
	    "sum[i](",
	    "as f32",
	    "_",
	    "train {",
	    "data = d",
	    "optimizer = {",
	    "\"*\": ",
	    "update u {",
	    "metric a = ",
	    "vjp f(x -> y, dy) ",
	    "scan t < T carry h = ",
	    "emit h[t] = ",
	    "param w: ",
	    "class[",
	    "logits",
	    "const ",
	    "import ",
	    "\xff",
	    "\x80",
	    "\xc3\xa4",
	    "$",
	    "\xef\xbb\xbf",
	};
	char text[512];
	for (int round = 0; round < 20000; round++) {
		size_t length = 0;
		for (uint32_t n = random_below(40); n > 0; n--) {
			const char *piece = pieces[random_below(COUNT(pieces))];
			size_t size = strlen(piece);
			if (random_below(50) == 0) text[length++] = (char)random_below(256);
			memcpy(text + length, piece, size);
			length += size;
		}
		run(text, length);
	}
	for (int round = 0; round < 5000; round++) {
		size_t length = random_below(200);
		for (size_t i = 0; i < length; i++) text[i] = (char)random_below(256);
		run(text, length);
	}
}

/* std files with bytes changed. */
static void test_mutated(void **state) {
	(void)state;
	for (int round = 0; round < 3000; round++) {
		const StdFile *file = &std_files[random_below((uint32_t)std_file_count)];
		char *text = malloc(file->length + 1);
		memcpy(text, file->text, file->length);
		for (uint32_t n = 1 + random_below(4); n > 0; n--)
			text[random_below((uint32_t)file->length)] = (char)(random_below(3) ? 32 + random_below(96) : random_below(256));
		run(text, file->length);
		free(text);
	}
}

/* begin, then `piece` many times, then middle, then `closer` as often, then end. */
static int nested(const char *begin, const char *piece, const char *middle, const char *closer, const char *end) {
	Arena *arena = arena_new();
	Text text = {.arena = arena};
	text_add(&text, "%s", begin);
	for (int i = 0; i < MANY; i++) text_bytes(&text, piece, strlen(piece));
	text_add(&text, "%s", middle);
	for (int i = 0; i < MANY; i++) text_bytes(&text, closer, strlen(closer));
	text_add(&text, "%s", end);
	int errors = run(text.data, text.length);
	arena_free(arena);
	return errors;
}

static void test_depth(void **state) {
	(void)state;
	static const char *const deep[][5] = {
	    {"const a = ", "(", "1", ")", "\n"},
	    {"const a = ", "-", "1", "", "\n"},
	    {"const a = ", "2^", "1", "", "\n"},
	    {"const a = ", "not ", "1", "", "\n"},
	    {"const a = ", "1+", "1", "", "\n"},
	    {"const a = 1", "|>f", "", "", "\n"},
	    {"const a = f", "(1)", "", "", "\n"},
	    {"const a = f", ".a", "", "", "\n"},
	    {"const a = ", "[", "", "]", "\n"},
	    {"const a = ", "(", "", "]", "\n"},
	    {"fn f(x) {", "if x {} else ", "{}", "", "}\n"},
	    {"fn f(x) {", "if x {", "", "}", "}\n"},
	    {"fn f(x) {", "for k in 0..3 {", "", "}", "}\n"},
	    {"const a = ", "if x {", "1", "} else { 1 }", "\n"},
	    {"const a = ", "sum[i](", "1", ")", "\n"},
	    {"const a = ", "sum[", "1", "]", "\n"},
	    {"const a = ", "x[", "1", "]", "\n"},
	    {"train {", "update a {", "", "}", "}\n"},
	    {"fn f(x: ", "[", "", "", ") = 1\n"},
	    {"const a = x", " as f32", "", "", ""},
	    {"fn f(x) { let y[i <", "(", "1", ")", "] = x }"},
	};
	for (size_t i = 0; i < COUNT(deep); i++) {
		int errors = nested(deep[i][0], deep[i][1], deep[i][2], deep[i][3], deep[i][4]);
		if (errors != 1) fail_msg("%s%s...: %d errors", deep[i][0], deep[i][1], errors);
	}
	assert_int_equal(nested("const a = [", "1,", "", "", "]\n"), 0); /* long is not deep */
	assert_int_equal(nested("", ";\n", "", "", ""), 0);
	assert_int_equal(nested("const a = ((((((((((", "", "1", "", "))))))))))\n"), 0);
	assert_int_equal(nested("fn f(x) {\n", "let $ = 1\n", "", "", "}\n"), MAX_ERRORS);
	nested("", "(", "", "]", "");
	nested("", "{", "", ")", "");
	nested("", "layer f(x) {\n", "", "", "");
	nested("", "\"", "", "", "");
}

static void test_size(void **state) {
	(void)state;
	char *text = malloc(MAX_SOURCE + 2);
	memset(text, '\n', MAX_SOURCE + 2);
	assert_int_equal(run(text, MAX_SOURCE), 0);
	assert_int_equal(run(text, MAX_SOURCE + 1), 1);
	free(text);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cut),     cmocka_unit_test(test_token_taken_out), cmocka_unit_test(test_random),
	    cmocka_unit_test(test_mutated), cmocka_unit_test(test_depth),           cmocka_unit_test(test_size),
	};
	nowhere = fopen("/dev/null", "w");
	return !nowhere || cmocka_run_group_tests(tests, NULL, NULL);
}
