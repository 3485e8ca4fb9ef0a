/* test_indexed_errors.c: what indexed definitions refuse, and in which words.  Sizes: B = 4, K = 5, J = 7, N = 12, M = 3.
 * link: nnc_front nnc_passes nnc_ir nnc_grammar nnc_base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "indexed_round.h"

/* error: place and text.  more: another message that belongs to it (a note or help), or NULL. */
typedef struct Case { const char *text, *tensors, *error, *more; } Case;

static const Case cases[] = {
	{"let y[b, c] = x[b, c] * w[c]", "x:B,J w:K",
	"2:27: index `c` runs over 7 in `x` but over 5 in `w`",
	"here `x` is f32[B, 7]"},
	{"let y[b, j] = sum[k](x[b, k] * w[k, j])", "x:B,K w:J,N",
	"2:34: index `k` runs over 5 in `x` but over 7 in `w`",
	"here `x` is f32[B, 5]"},
	{"let y[i] = x[i] + w[i]", "x:B w:4",
	"2:21: index `i` runs over B in `x` but over 4 in `w`",
	"here `x` is f32[B]"},
	{"let y[j < 14] = x[j]", "x:N",
	"2:19: index `j` < 14 runs past `x` whose dimension is 12",
	"the range of `j` is stated here"},
	{"let y[i < 4] = x[i]", "x:B",
	"2:18: index `i` < 4 runs past `x` whose dimension is B",
	"the range of `i` is stated here"},
	{"let y[i] = x[i] + x[i + 1]", "x:N",
	"2:21: the subscript reaches 12 in `x` whose dimension is 12",
	"write a default for what lies outside: `x[i + 1 | 0]`"},
	{"let y[i] = x[i] + x[i - 1]", "x:N",
	"2:21: the subscript reaches -1, before the start of `x`",
	"write a default for what lies outside: `x[i - 1 | 0]`"},
	{"let y[b] = x[b] + x[b + 1]", "x:B",
	"2:21: cannot show that the subscript, 1 to B, stays inside `x` whose dimension is B",
	"write a default for what lies outside: `x[b + 1 | 0]`"},
	{"let y[i < 3] = x[2 * i + 8]", "x:N",
	"2:18: the subscript reaches 12 in `x` whose dimension is 12",
	"write a default for what lies outside: `x[2 * i + 8 | 0]`"},
	{"let y[b] = x[b, k]", "x:B,K",
	"2:17: unknown name `k`",
	"an index stands on the left, `let y[k] = ..`, or in a reduction, `sum[k](..)`"},
	{"let y[b] = x[b, kk + 1]", "x:B,K",
	"2:17: unknown name `kk`",
	"an index stands on the left, `let y[kk] = ..`, or in a reduction, `sum[kk](..)`"},
	{"let y[i] = 3", "",
	"2:7: index `i` has no range",
	"use it alone in a subscript of a named tensor, or state the range: `i < n`"},
	{"let y[i] = x[N - 1 - i]", "x:N",
	"2:14: index `i` has no range",
	"use it alone in a subscript of a named tensor, or state the range: `i < n`"},
	{"let y[b] = x[b] * sum[k](2)", "x:B",
	"2:23: index `k` has no range",
	"use it alone in a subscript of a named tensor, or state the range: `k < n`"},
	{"let y[i, i] = x[i, i]", "x:N,N",
	"2:10: index `i` is bound already",
	"here"},
	{"let y[i] = x[i] * sum[i](x[i])", "x:N",
	"2:23: index `i` is bound already",
	"here"},
	{"let y[..] = sum[..](x[..])", "x:N",
	"2:17: `..` is bound already",
	"here"},
	{"let y[i] = x[i]", "x:N,N",
	"2:12: 1 subscript for `x`, which has 2 dimensions: f32[12, 12]",
	"`..` stands for the dims that are not named: `x[.., i]`"},
	{"let y[i] = x[i, 0]", "x:N",
	"2:12: 2 subscripts for `x`, which has 1 dimension: f32[12]",
	NULL},
	{"let y[i] = x[i, ..]", "x:N,K",
	"2:12: each element of `y` is one number, but the right side is f32[5]",
	"name the remaining dims on the left and in subscripts, or reduce them"},
	{"let y[..] = x[.., 0] + w[..]", "x:B,K w:B,K",
	"2:26: `..` stands for 1 dim in `x` but for 2 in `w`",
	"`..` stands for 1 dim here"},
	{"let y[..] = x[..] + w[..]", "x:B,K w:B,J",
	"2:23: `..` runs over 5 in `x` but over 7 in `w`",
	"here `x` is f32[B, 5]"},
	{"let y[.., ..] = x[..]", "x:B,K",
	"2:11: `..` is bound already",
	"here"},
	{"let y[i] = x[.., ..] * i", "x:B,K",
	"2:12: `..` stands twice in one subscript",
	NULL},
	{"let y[..] = 1", "",
	"2:7: nothing says which dims `..` stands for",
	"use `..` in a subscript: `x[.., j]`"},
	{"let y[i] = x[i, 12]", "x:N,N",
	"2:17: the subscript reaches 12 in `x` whose dimension is 12",
	"write a default for what lies outside: `x[i, 12 | 0]`"},
	{"let y[i] = x[i, -1]", "x:N,N",
	"2:17: the subscript reaches -1, before the start of `x`",
	"the last element is `x[n - 1]`, n its dimension"},
	{"let y[i] = x[i, 1.5]", "x:N,N",
	"2:17: a subscript must be a whole number known to the compiler, not the number 1.5",
	NULL},
	{"let y[i, r < 3] = x[i + r]", "x:N",
	"2:21: index `i` has no range",
	"use it alone in a subscript of a named tensor, or state the range: `i < n`"},
	{"let y[i < 11, r < 3] = x[i + r]", "x:N",
	"2:26: the subscript reaches 12 in `x` whose dimension is 12",
	"write a default for what lies outside: `x[i + r | 0]`"},
	{"let y[i < 9, r < 3] = x[2 * i - r]", "x:30",
	"2:25: the subscript reaches -2, before the start of `x`",
	"write a default for what lies outside: `x[2 * i - r | 0]`"},
	{"let y[b, r < 3] = x[b + r] + z[b]", "x:B z:B",
	"2:21: cannot show that the subscript, 0 to B + 1, stays inside `x` whose dimension is B",
	"write a default for what lies outside: `x[b + r | 0]`"},
	{"let y[i < 3, j < 3, k < 2, l < 2, m < 2] = x[i + j + k + l + m]", "x:N",
	"2:46: too many indices, or too large a number, in one subscript",
	NULL},
	{"let y[a < 2, b < 2, c < 2, d < 2, e < 2, f < 2, g < 2, h < 2, i < 2] = x[a + b, c + d, e + f, g + h, i]", "x:3,3,3,3,2",
	"2:72: more than 8 dims and indices in one value",
	NULL},
	{"let y[i < 9, j < 1000000, k < 1000000] = x[1000000 * i + j, k | 0]", "x:N,N",
	"2:42: a tensor of too many elements",
	NULL},
	{"let y[i < 6] = x[i / 2]", "x:N",
	"2:18: cannot show that the division by 2 is exact",
	"write a default for what has a rest: `x[i / 2 | 0]`"},
	{"let y[i < 6] = x[i / 2 * 3 | 0]", "x:N",
	"2:18: an exact division stands alone or in a sum, once in a subscript",
	NULL},
	{"let y[i < 6] = x[i / 2 - (i + 1) / 3 | 0]", "x:N",
	"2:18: an exact division stands alone or in a sum, once in a subscript",
	NULL},
	{"let y[i < 6] = x[i / 0 | 0]", "x:N",
	"2:22: an exact division by 0",
	NULL},
	{"let y[i < 6] = x[i / (0 - 2) | 0]", "x:N",
	"2:23: an exact division by -2",
	NULL},
	{"let y[i < 6] = x[i / B | 0]", "x:N",
	"2:22: an exact division by B",
	NULL},
	{"let y[i < 6] = x[i / (i / 2 - i / 2 + 3) | 0]", "x:N",
	"2:23: an exact division stands alone or in a sum, once in a subscript",
	NULL},
	{"let y[i < 6, j < 2] = x[i / j | 0]", "x:N",
	"2:27: `/` in a subscript is exact: it divides indices and sizes by a number",
	"`//` divides whole numbers and rounds down"},
	{"let y[i] = x[(t[i] + i) / 2 | 0]", "x:N t#N:N",
	"2:25: `/` in a subscript is exact: it divides indices and sizes by a number",
	"`//` divides whole numbers and rounds down"},
	{"let y[i] = x[t[i] + i / 2 | 0]", "x:N t#N:N",
	"2:21: an exact division beside a subscript that depends on data",
	"`//` divides whole numbers and rounds down"},
	{"let y[i] = x[(i + 1) / 1073741824 | i] + x[i]", "x:N",
	"2:14: too large a number in a subscript",
	NULL},
	{"let y[i] = x[i / 1073741824 / 2 | 0] + x[i]", "x:N",
	"2:31: an exact division by 2",
	NULL},
	{"let y[a, b, c, d, e, f, g, h] = x[t[a, b, c, d], .., t[e, f, g, h]]", "x:2,2,2,2,2 t#2:2,2,2,2",
	"2:33: more than 8 dims and indices in one value",
	NULL},
	{"let y[a, b, c] = x[t[a], b, c]", "x:2,1000,1001 t#2:1000000",
	"2:18: a tensor of too many elements",
	NULL},
	{"let y[b] = x[b, s[b]]", "x:B,N s:B",
	"2:17: a subscript must be an integer, not f32",
	"`s[b]` is f32"},
	{"let y[b] = x[b, t]", "x:B,N t#N:B",
	"2:17: a subscript must be one integer, not i32[B]",
	"name its element: `t[i]`, or `t[..]` for one per row"},
	{"let y[i < 0] = 1", "",
	"2:11: the range of index `i` is empty: 0",
	NULL},
	{"let y[i < 2.5] = 1", "",
	"2:11: the range of an index must be a whole number known to the compiler, not the number 2.5",
	NULL},
	{"let y[i < B] = x[i * B]", "x:N",
	"2:18: the batch size cannot multiply an index",
	NULL},
	{"let y[b] = argmax[i, j](x[b, i, j])", "x:B,N,M",
	"2:12: `argmax` takes one index, not 2",
	"the place of the largest over several dims: `argmax` of a `reshape`"},
	{"let y[i] = x[i, 0..2]", "x:N,K",
	"2:12: each element of `y` is one number, but the right side is f32[2]",
	"name the remaining dims on the left and in subscripts, or reduce them"},
	{"let y[i] = x[i] + sum[k](x[k + 1])", "x:N",
	"2:28: index `k` has no range",
	"use it alone in a subscript of a named tensor, or state the range: `k < n`"},
	{"let y[i] = x[i | w]", "x:N w:K",
	"2:18: the default must be one number, not f32[5]",
	NULL},
	{"let y[i] = t[i] * sum[k](t[k] * x[k])", "x:N t#N:N",
	"2:31: `*` of i32 and f32",
	"one operand is i32"},
	{"let y[a, b, c, d, e, f, g, h, i] = x[a] * x[b] * x[c] * x[d] * x[e] * x[f] * x[g] * x[h] * x[i]", "x:N",
	"2:90: more than 8 dims and indices in one value",
	NULL},
	{"let y[a, b, c] = x[a] * x[b] * x[c]", "x:1000000",
	"2:30: a tensor of shape [1000000, 1000000, 1000000] has too many elements",
	NULL},
	{"let y[i < 99999999999999] = 1", "",
	"2:1: a tensor of too many elements",
	NULL},
	{"let y[i < 9] = x[i * 99999999999]", "x:N",
	"2:18: too many indices, or too large a number, in one subscript",
	NULL},
	{"let y[i < 9] = x[i + 9223372036854775807]", "x:N",
	"2:18: too large a number in a subscript",
	NULL},
	{"let y[i < 9] = x[i + 9223372036854775807 + 1]", "x:N",
	"2:18: too many indices, or too large a number, in one subscript",
	NULL},
	{"let y[i < 9] = x[-i - 9223372036854775807 | 2]", "x:N",
	"2:18: too large a number in a subscript",
	NULL},
	{"let y[i] = x[i][i]", "x:N",
	"2:12: 1 subscript for `x[i]`, which has 0 dimensions: f32",
	"`x[i]` is f32"},
	{"let y[i] = x[i, y]", "x:N,N",
	"2:17: unknown name `y`",
	"an index stands on the left, `let y[y] = ..`, or in a reduction, `sum[y](..)`"},
};

/* Exactly one error, in these words at this place. */
static void check(const Case *c, const Diag *diag) {
	int line, column;
	bool found = false;
	for (int i = 0; i < diag->messages.length; i++) {
		const Message *m = &diag->messages.data[i];
		if (m->severity != SEVERITY_ERROR) {
			found |= c->more && !strcmp(m->text, c->more);
			continue;
		}
		diag_place(diag, m->span, &line, &column);
		const char *got = arena_printf(diag->arena, "%d:%d: %s", line, column, m->text);
		if (strcmp(got, c->error)) fail_msg("%s\n  gives  %s\n  wanted %s", c->text, got, c->error);
	}
	if (diag->errors != 1) fail_msg("%s: %d errors", c->text, diag->errors);
	if (c->more && !found) fail_msg("%s: no message \"%s\"", c->text, c->more);
}

static void run_case(const Case *c) {
	Round *r = calloc(1, sizeof *r);
	round_start(r, "", c->text, 1);
	r->size['B'] = r->build.batch = 4;
	r->size['K'] = 5, r->size['J'] = 7, r->size['N'] = 12, r->size['M'] = 3;
	for (const char *at = c->tensors; *at; at += *at == ' ') add_tensor(r, &at);
	add_known(r, "");
	Value v = elab_indexed_let(&r->e, r->scope, statement(r->file.tree));
	if (value_ok(v)) fail_msg("%s: accepted", c->text);
	check(c, r->e.diag);
	arena_free(r->e.arena);
	free(r);
}

static void test_errors(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) run_case(&cases[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_errors)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
