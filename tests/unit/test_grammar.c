/* test_grammar.c: the tree of what parses, the messages of what does not, the layout of `nnc fmt`.
 * link: nnc_grammar
 *
 * tests/golden/parse/NAME.nn holds mistakes, NAME.err what the parser says about them, position and caret included.
 * With NNC_ACCEPT=1 in the environment the .err files are written instead of compared. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ast.h"
#include "std.h"

#define GOLDEN NNC_SOURCE_DIR "/tests/golden/parse/"

static Arena *arena;
static Diag *diag;

static int setup(void **state) {
	(void)state;
	arena = arena_new();
	diag = diag_new(arena);
	return 0;
}

static int teardown(void **state) {
	(void)state;
	arena_free(arena);
	return 0;
}

static char *read_whole(const char *path, size_t *length) {
	FILE *file = fopen(path, "rb");
	if (!file) return NULL;
	char *text = arena_alloc(arena, 1 << 20);
	*length = fread(text, 1, (1 << 20) - 1, file);
	fclose(file);
	return text;
}

static char *messages(bool colour) {
	char *data = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&data, &size);
	diag_print(diag, out, colour);
	fclose(out);
	char *copy = arena_text(arena, data, size);
	free(data);
	return copy;
}

static SourceFile *parse(const char *text) {
	return parse_file(arena, diag, diag_source(diag, "t.nn", text, strlen(text), false));
}

/* ---- expressions as text: (op a b), calls f(a), subscripts x[a] ---- */

static void show(Text *out, const Expr *e);

static void show_indices(Text *out, const IndexList *list) {
	for (int i = 0; i < list->length; i++) {
		const Index *index = &list->data[i];
		text_add(out, "%s%s", i ? " " : "", index->dots ? ".." : index->name.text);
		if (index->limit) text_add(out, "<"), show(out, index->limit);
	}
}

static void show_items(Text *out, const ExprList *items) {
	for (int i = 0; i < items->length; i++) {
		if (i) text_add(out, " ");
		show(out, items->data[i]);
	}
}

static void show_call(Text *out, const Expr *e) {
	show(out, e->left);
	text_add(out, e->piped ? "|(" : "(");
	for (int i = 0; i < e->arguments.length; i++) {
		const Argument *a = &e->arguments.data[i];
		text_add(out, "%s%s%s", i ? " " : "", a->name.text ? a->name.text : "", a->name.text ? "=" : "");
		show(out, a->value);
		if (a->to) text_add(out, ".."), show(out, a->to);
	}
	text_add(out, ")");
}

static void show_subscript(Text *out, const Expr *e) {
	show(out, e->left);
	text_add(out, "[");
	for (int i = 0; i < e->subscripts.length; i++) {
		const Subscript *s = &e->subscripts.data[i];
		if (i) text_add(out, " ");
		if (s->dots) text_add(out, "..");
		else show(out, s->value);
		if (s->to) text_add(out, ".."), show(out, s->to);
	}
	if (e->default_value) text_add(out, " | "), show(out, e->default_value);
	text_add(out, "]");
}

static void show(Text *out, const Expr *e) {
	switch (e->kind) {
	case EXPR_ERROR: text_add(out, "ERROR"); break;
	case EXPR_NUMBER: e->is_integer ? text_add(out, "%lld", (long long)e->integer) : text_number(out, e->number); break;
	case EXPR_STRING: text_add(out, "\"%s\"", e->string); break;
	case EXPR_NAME: text_add(out, "%s", e->name.text); break;
	case EXPR_HOLE: text_add(out, "_"); break;
	case EXPR_TUPLE: text_add(out, "tuple("), show_items(out, &e->items), text_add(out, ")"); break;
	case EXPR_LIST: text_add(out, "list("), show_items(out, &e->items), text_add(out, ")"); break;
	case EXPR_IF:
		text_add(out, "(if "), show(out, e->condition), text_add(out, " "), show(out, e->left), text_add(out, " "),
		    show(out, e->right), text_add(out, ")");
		break;
	case EXPR_UNARY: text_add(out, "(%s ", operator_text(e->op)), show(out, e->left), text_add(out, ")"); break;
	case EXPR_BINARY:
		text_add(out, "(%s ", operator_text(e->op)), show(out, e->left), text_add(out, " "), show(out, e->right),
		    text_add(out, ")");
		break;
	case EXPR_CALL: show_call(out, e); break;
	case EXPR_SUBSCRIPT: show_subscript(out, e); break;
	case EXPR_FIELD: show(out, e->left), text_add(out, ".%s", e->name.text); break;
	case EXPR_CAST: text_add(out, "(as "), show(out, e->left), text_add(out, " %s)", e->name.text); break;
	case EXPR_REDUCE:
		text_add(out, "%s{", e->name.text), show_indices(out, &e->indices), text_add(out, "}("), show(out, e->left),
		    text_add(out, ")");
		break;
	}
}

static void test_expressions(void **state) {
	(void)state;
	static const char *const cases[][2] = {
	    {"1 + 2 * 3", "(+ 1 (* 2 3))"},
	    {"1 - 2 - 3", "(- (- 1 2) 3)"},
	    {"2 ^ 3 ^ 4", "(^ 2 (^ 3 4))"},
	    {"-x ^ 2", "(- (^ x 2))"},
	    {"2 ^ -x", "(^ 2 (- x))"},
	    {"- - x", "(- (- x))"},
	    {"x @ w + b", "(+ (@ x w) b)"},
	    {"a // b % c", "(% (// a b) c)"},
	    {"not a and b or c", "(or (and (not a) b) c)"},
	    {"a < b and b >= c", "(and (< a b) (>= b c))"},
	    {"not a == b", "(not (== a b))"},
	    {"image as f32 / 255", "(/ (as image f32) 255)"},
	    {"-x as i32", "(- (as x i32))"},
	    {"f(a)(b)", "f(a)(b)"},
	    {"x |> f", "f|(x)"},
	    {"x |> f(2, n = 3) |> m.g", "m.g|(f|(x 2 n=3))"},
	    {"x |> m.f(a)", "m.f|(x a)"},
	    {"x |> (f(a))", "f(a)|(x)"},
	    {"x |> fs[0]", "fs[0]|(x)"},
	    {"a + b |> f", "f|((+ a b))"},
	    {"x[i, .., 2..n]", "x[i .. 2..n]"},
	    {"x[i + 1 | -inf]", "x[(+ i 1) | (- inf)]"},
	    {"sum[k](x[b, k] * w[k, j])", "sum{k}((* x[b k] w[k j]))"},
	    {"max[r < k + 1, ..](x)", "max{r<(+ k 1) ..}(x)"},
	    {"mean[2]", "mean[2]"},
	    {"sum(x)", "sum(x)"},
	    {"(1)", "1"},
	    {"(1, 2)", "tuple(1 2)"},
	    {"[]", "list()"},
	    {"[1, [2, 3],]", "list(1 list(2 3))"},
	    {"dense(_, 128)", "dense(_ 128)"},
	    {"csv(columns = 0..3)", "csv(columns=0..3)"},
	    {"if a { 1 } else { 2 }", "(if a 1 2)"},
	    {"0x1f + 1_000", "(+ 31 1000)"},
	    {"1e-3", "0.001"},
	    {"9223372036854775808", "9.223372036854776e+18"},
	    {"\"a\\\"b\"", "\"a\"b\""},
	    {"a\n + b", "(+ a b)"},
	    {"total(tp)", "total(tp)"},
	    {"x.w.b", "x.w.b"},
	    {"f()", "f()"},
	    {"1 * (2 + 3)", "(* 1 (+ 2 3))"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		Text out = {.arena = arena};
		Expr *e = parse_expression(arena, diag, diag_source(diag, "e", cases[i][0], strlen(cases[i][0]), false));
		if (!e) fail_msg("%s: %s", cases[i][0], messages(false));
		show(&out, e);
		assert_string_equal(out.data, cases[i][1]);
		assert_int_equal(e->parenthesised, cases[i][0][0] == '(' && out.data[0] != 't');
	}
	assert_null(parse_expression(arena, diag, diag_source(diag, "K", "1 2", 3, false)));
	assert_string_equal(messages(false), "K:1:3: error: expected the end of the expression, found the number 2\n"
	                                     "     1 | 1 2\n       |   ^\n");
}

/* ---- newlines, contextual words ---- */

static Block body_of(const char *text) {
	SourceFile *file = parse(arena_printf(arena, "layer f(x) {\n%s\n}\n", text));
	if (diag->errors) fail_msg("%s\n%s", text, messages(false));
	return file->decls.data[0]->body;
}

static void test_newlines(void **state) {
	(void)state;
	assert_int_equal(body_of("a\n-b").length, 2);
	assert_int_equal(body_of("a -\n\n  # comment\nb").length, 1);
	assert_int_equal(body_of("f\n(x)").length, 2);
	assert_int_equal(body_of("x\n|> f\n\n|> g").length, 1);
	assert_int_equal(body_of("f(a\n-b)").length, 1);
	assert_int_equal(body_of("a; b;; c").length, 3);
	assert_int_equal(body_of("return a,\n b").data[0]->values.length, 2);
	assert_int_equal(body_of("if a { b } c").length, 2);
	assert_int_equal(body_of("if a {\n b\n}\nelse if c { d } else { e }").length, 1);
	assert_int_equal(body_of("let y = if a {\n 1\n} else {\n 2\n}\nx = y").length, 2);
	assert_int_equal(body_of("scan t < T reversed carry h = 0,\n c = 1 { emit y[t] = h }").data[0]->carries.length, 2);
	assert_int_equal(parse("\xef\xbb\xbf"
	                       "const A = 1\r\nconst B = 2\r\n")
	                     ->decls.length,
	                 2);
	assert_int_equal(diag->errors, 0);
}

static void test_contextual(void **state) {
	(void)state;
	Block block = body_of("let data = 1; data = 2; param = 3; let model, layer = f(train)\nstate s: [model] = 0; scan = s");
	static const StmtKind kinds[] = {STMT_LET, STMT_ASSIGN, STMT_ASSIGN, STMT_LET, STMT_STATE, STMT_ASSIGN};
	assert_int_equal(block.length, COUNT(kinds));
	for (size_t i = 0; i < COUNT(kinds); i++) assert_int_equal(block.data[i]->kind, kinds[i]);
	const Decl *train =
	    parse("train t {\ndata = digits; loss = f(x); lose = 2\nlet z = m(x)\nz <- 3\nmetric a = z == y\n"
	          "update g { loss = 1; params = m }\noptimizer = { \"*/b\": none; \"*\": sgd() }\noptimizer = adam()\n}")
	        ->decls.data[0];
	static const ItemKind items[] = {ITEM_SETTING, ITEM_SETTING,         ITEM_STMT,   ITEM_STMT, ITEM_STMT, ITEM_METRIC,
	                                 ITEM_UPDATE,  ITEM_OPTIMIZER_RULES, ITEM_SETTING};
	assert_int_equal(train->items.length, COUNT(items));
	for (size_t i = 0; i < COUNT(items); i++) assert_int_equal(train->items.data[i].kind, items[i]);
	assert_string_equal(train->name.text, "t");
	assert_int_equal(train->items.data[6].items.length, 2);
	assert_string_equal(train->items.data[7].rules.data[0].pattern, "*/b");
	assert_int_equal(diag->errors, 0);
}

static void test_declarations(void **state) {
	(void)state;
	SourceFile *file = parse("import \"a.nn\"\nmodel m(x: u8[B, 3], y: class[10] = 1) -> a: logits[B, 2], b: [..] = x, x\n");
	assert_int_equal(diag->errors, 1); /* a model's `= expr` is one expression */
	file = parse("model m(x: u8[B, 3], y: class[10][B]) -> a: logits[B, 2], b: index[.., 3] { return x, y }\nvjp f(a, b -> y, "
	             "dy) { return dy, dy }\n"
	             "data d like e { x = [1]; y: f32 = csv(\"f\") }\noptimizer o(p, g, lr = 1) { p <- g }");
	assert_int_equal(diag->errors, 1);
	const Decl *model = file->decls.data[0];
	assert_int_equal(model->results.length, 2);
	assert_string_equal(model->results.data[0].type->tag.text, "logits");
	assert_true(model->results.data[1].type->leading_dots);
	assert_non_null(model->params.data[1].type->classes);
	assert_int_equal(model->params.data[1].type->dims.length, 1);
	assert_string_equal(file->decls.data[1]->cotangent.text, "dy");
	assert_int_equal(file->decls.data[2]->fields.length, 2);
	assert_int_equal(file->decls.data[3]->params.length, 3);
	Span s = model->body.data[0]->values.data[1]->span;
	int line, column;
	diag_place(diag, s, &line, &column);
	assert_int_equal(line, 1);
	assert_int_equal(column, 87);
}

/* ---- messages ---- */

static void test_golden(void **state) {
	(void)state;
	DIR *folder = opendir(GOLDEN);
	assert_non_null(folder);
	int count = 0;
	for (struct dirent *entry; (entry = readdir(folder));) {
		size_t length = strlen(entry->d_name), size = 0, wanted_size = 0;
		if (length < 4 || strcmp(entry->d_name + length - 3, ".nn") != 0) continue;
		diag = diag_new(arena);
		char *text = read_whole(arena_printf(arena, GOLDEN "%s", entry->d_name), &size);
		parse_file(arena, diag, diag_source(diag, entry->d_name, text, size, false));
		char *path = arena_printf(arena, GOLDEN "%.*s.err", (int)length - 3, entry->d_name), *got = messages(false);
		if (getenv("NNC_ACCEPT")) {
			FILE *out = fopen(path, "wb");
			assert_non_null(out);
			fputs(got, out);
			fclose(out);
		}
		char *wanted = read_whole(path, &wanted_size);
		if (!wanted) fail_msg("%s is missing", path);
		if (strcmp(wanted, got) != 0) fail_msg("%s differs; the parser says:\n%s", path, got);
		count++;
	}
	closedir(folder);
	assert_true(count >= 12);
}

static void test_messages(void **state) {
	(void)state;
	const char *text = "abc\n\tdef\n";
	uint32_t source = diag_source(diag, "a\033b.nn", text, strlen(text), false);
	assert_true(diag_error(diag, (Span){source, 5, 8}, "first %d", 1));
	diag_note(diag, (Span){source, 0, 3}, "there");
	diag_help(diag, "mend it");
	assert_false(diag_error(diag, (Span){source, 5, 8}, "second"));
	diag_help(diag, "dropped with its error");
	assert_true(diag_warning(diag, (Span){source, 6, 7}, "hm"));
	assert_true(diag_error(diag, (Span){0}, "nowhere"));
	assert_false(diag_error(diag, (Span){0}, "nowhere"));
	assert_int_equal(diag->errors, 2);
	assert_string_equal(messages(false),
	                    "a?b.nn:2:2: error: first 1\n     2 | \tdef\n       | \t^~~\na?b.nn:1:1: note: there\nhelp: mend it\n"
	                    "a?b.nn:2:3: warning: hm\n     2 | \tdef\n       | \t ^\nerror: nowhere\n");
	assert_non_null(strstr(messages(true), "\033[1;31merror: \033[0mfirst 1"));
	for (uint32_t i = 0; i < 100; i++) diag_error(diag, (Span){source, i, i + 1}, "more");
	assert_true(diag_full(diag));
	assert_int_equal(diag->errors, MAX_ERRORS);
}

/* Two mistakes far apart give two errors, whatever the first one is. */
static void test_recovery(void **state) {
	(void)state;
	static const char *const mistakes[] = {
	    "let y = (x",
	    "let y = x)",
	    "let y = [x",
	    "let y = x]",
	    "let y = f(x, {",
	    "if x {",
	    "for k in 0..3 {",
	    "let",
	    "x +",
	    "@",
	    "\"open",
	    "param w = 3",
	    "let y = f(x,\n    y $ z,\n    w)",
	    "scan t < 3 {",
	    "return (",
	    "x = if y { 1 }",
	    "let a[i = x",
	    "emit x",
	    "f(x]",
	};
	for (size_t i = 0; i < COUNT(mistakes); i++) {
		diag = diag_new(arena);
		SourceFile *file = parse(arena_printf(
		    arena,
		    "layer f(x) {\n  %s\n  let z = 3\n  return z\n}\n\nmodel m(x: [B]) -> [B] {\n  return x ? 3\n}\ntrain { data = d }\n",
		    mistakes[i]));
		if (diag->errors != 2) fail_msg("%s\n%s", mistakes[i], messages(false));
		assert_int_equal(file->decls.length, 3);
	}
}

/* ---- layout ---- */

static char *format(const char *name, const char *text) {
	diag = diag_new(arena);
	char *out = format_source(arena, diag, diag_source(diag, name, text, strlen(text), false));
	if (!out) fail_msg("%s: %s", name, messages(false));
	return out;
}

static void test_format(void **state) {
	(void)state;
	static const char *const cases[][2] = {
	    {"", ""},
	    {"\n\n# only\n\n\n#!x\n", "# only\n\n#!x\n"},
	    {"const  A=1;const B=- 2 #end\nconst CC =3#two\n",
	     "const A = 1; const B = -2  # end\nconst CC = 3               # two\n"},
	    {"fn f ( x:f32 [ .. , n ] ,k : int=3 )->[n]{return x[i , 0 .. 3|-inf]^-2}",
	     "fn f(x: f32[.., n], k: int = 3) -> [n] { return x[i, 0..3 | -inf] ^ -2 }\n"},
	    {"layer f(x) { let y = x\n\n\nfor a in[1,2]{b}\nif not(c){ d;}\nelse { e }\n}",
	     "layer f(x) {\n  let y = x\n\n  for a in [1, 2] { b }\n  if not (c) { d } else { e }\n}\n"},
	    {"model m(x: [B]) -> [B] = x\n|> f # one\n    |> g(1,\n2)\n",
	     "model m(x: [B]) -> [B] = x\n  |> f  # one\n  |> g(1,\n    2)\n"},
	    {"train{\n# c\n\n  a = b +\nc;\n\n\n# last\n}", "train {\n  # c\n\n  a = b +\n    c\n\n  # last\n}\n"},
	    {"fn f(x) {\n  let y = g([\n1, 2,\n3], -1)\n  return y - -1\n}\n",
	     "fn f(x) {\n  let y = g([\n    1, 2,\n    3], -1)\n  return y - -1\n}\n"},
	    {"const A = 1\r\n\r\n\r\nconst B = 2\r\n", "const A = 1\n\nconst B = 2\n"},
	    {"vjp f(x->y,dy){return dy}", "vjp f(x -> y, dy) { return dy }\n"},
	    {"fn f() { }", "fn f() {}\n"},
	    {"fn f(x,\ny) {\nlet z = g(x,\ny)\nif g(1,\n2) {\nreturn z\n}\n}",
	     "fn f(x,\n  y) {\n  let z = g(x,\n    y)\n  if g(1,\n    2) {\n    return z\n  }\n}\n"},
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *once = format("case", cases[i][0]);
		assert_string_equal(once, cases[i][1]);
		assert_string_equal(format("again", once), once);
	}
	diag = diag_new(arena);
	assert_null(format_source(arena, diag, diag_source(diag, "bad", "const", 5, false)));
	assert_int_equal(diag->errors, 1);
}

/* std is laid out as `nnc fmt` lays it out. */
static void test_format_std(void **state) {
	(void)state;
	assert_true(std_file_count >= 6);
	for (int i = 0; i < std_file_count; i++) assert_string_equal(format(std_files[i].name, std_files[i].text), std_files[i].text);
}

/* ---- the reference ---- */

/* "conv2d(x, n, stride = 1)"; of an optimizer the settings. */
static const char *signature(const char *text, const Decl *d) {
	Text out = {.arena = arena};
	int first = d->kind == DECL_OPTIMIZER ? 2 : 0;
	text_add(&out, "%s(", d->name.text);
	for (int i = first; i < d->params.length; i++) {
		const Param *p = &d->params.data[i];
		text_add(&out, "%s%s", i > first ? ", " : "", p->name.text);
		if (p->value) text_add(&out, " = %.*s", (int)(p->value->span.end - p->value->span.begin), text + p->value->span.begin);
	}
	text_add(&out, ")");
	return out.data;
}

/* Users are told of a declaration where a comment right above it begins with its name. */
static bool is_told(const char *text, const Decl *d) {
	const char *line = text + d->span.begin;
	const char *name = arena_printf(arena, "# %s", d->name.text);
	while (line > text) {
		const char *before = line - 1;
		while (before > text && before[-1] != '\n') before--;
		if (*before != '#') return false;
		if (!strncmp(before, name, strlen(name))) return true;
		line = before;
	}
	return false;
}

/* The first column of the reference's table of std holds every name with its defaults, and nothing else. */
static void test_reference(void **state) {
	(void)state;
	size_t length = 0;
	char *page = read_whole(NNC_SOURCE_DIR "/grammar/LANGUAGE.md", &length);
	assert_non_null(page);
	page[length] = 0;
	char *table = strstr(page, "| name and defaults |");
	assert_non_null(table);
	*strstr(table, "\n\n") = 0;
	int wanted = 0, written = 0;
	for (int i = 0; i < std_file_count; i++) {
		const char *text = std_files[i].text;
		diag = diag_new(arena);
		SourceFile *file = parse_file(arena, diag, diag_source(diag, std_files[i].name, text, strlen(text), true));
		for (int k = 0; k < file->decls.length; k++) {
			const Decl *d = file->decls.data[k];
			if ((d->kind != DECL_FN && d->kind != DECL_LAYER && d->kind != DECL_OPTIMIZER) || !is_told(text, d)) continue;
			const char *entry = arena_printf(arena, "`%s`", signature(text, d));
			if (!strstr(table, entry)) fail_msg("LANGUAGE.md has no %s", entry);
			wanted++;
		}
	}
	for (char *row = strstr(table, "\n| `"); row; row = strstr(row + 1, "\n| `")) {
		char *end = strstr(row + 3, " |");
		for (char *at = row; at < end; at++) written += *at == '`';
	}
	assert_int_equal(written, 2 * wanted);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_expressions, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_newlines, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_contextual, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_declarations, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_golden, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_messages, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_recovery, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_format, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_format_std, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reference, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
