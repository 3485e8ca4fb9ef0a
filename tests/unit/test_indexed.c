/* test_indexed.c: indexed definitions, lowered and interpreted, against plain loops over the syntax tree.
 * link: nnc_front nnc_passes nnc_ir nnc_grammar nnc_base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "indexed_round.h"

enum { ROUNDS = 12 };

/* tensors: as in indexed_round.h.  ranges: "b=B ..=B,K".  ops: "contract 1" how many there must be. */
typedef struct Case { const char *text, *tensors, *ranges, *ops; } Case;

static const Case cases[] = {
	/* products */
	{"let y[b, j] = sum[k](x[b, k] * w[k, j])", "x:B,K w:K,J", "b=B k=K j=J", "contract 1 transpose 0 reduce_sum 0"},
	{"let y[j, b] = sum[k](x[b, k] * w[k, j])", "x:B,K w:K,J", "b=B k=K j=J", "contract 1"},
	{"let y[b, j] = sum[k](w[k, j] * x[b, k]) + c[j]", "x:B,K w:K,J c:J", "b=B k=K j=J", "contract 1"},
	{"let y[.., j] = sum[k](x[.., k] * w[k, j])", "x:B,M,K w:K,J", "..=B,M k=K j=J", "contract 1 transpose 0"},
	{"let y[.., j] = sum[k](x[.., k] * w[k, j])", "x:K w:K,J", "..= k=K j=J", "contract 1"},
	{"let y[b] = sum[k](x[b, k] * w[k])", "x:B,K w:K", "b=B k=K", "contract 1"},
	{"let y[b] = sum[k](w[k] * x[b, k])", "x:B,K w:K", "b=B k=K", "contract 1"},
	{"let y[j] = sum[b](x[b, j] * g[b])", "x:B,J g:B", "b=B j=J", "contract 1 transpose 0"},
	{"let y[k, j] = sum[b](x[b, k] * g[b, j])", "x:B,K g:B,J", "b=B k=K j=J", "contract 1 transpose 0"},
	{"let y[b] = sum[k](x[b, k] * z[b, k])", "x:B,K z:B,K", "b=B k=K", "contract 0 reduce_sum 1 transpose 0"},
	{"let y[b, i, j] = sum[k](q[b, i, k] * p[b, j, k])", "q:B,N,K p:B,M,K", "b=B i=N j=M k=K", "contract 1 reduce_sum 0"},
	{"let y[b, h, i, j] = sum[d](q[b, i, h, d] * p[b, j, h, d]) / 8", "q:B,N,2,K p:B,M,2,K", "b=B h=2 i=N j=M d=K", "contract 1"},
	{"let y[i, j] = sum[k](a[i] * x[i, k] * w[k, j] * c[j])", "a:N x:N,K w:K,J c:J", "i=N j=J k=K", "contract 1"},
	{"let y[i, j] = sum[k](x[i, k] * g[k] * w[k, j])", "x:N,K g:K w:K,J", "i=N j=J k=K", "contract 1"},
	{"let y[i, j] = sum[k, l](x[i, k] * g[k, l] * w[l, j])", "x:N,K g:K,M w:M,J", "i=N j=J k=K l=M", "contract 2 reduce_sum 0"},
	{"let y[i, j, m] = sum[k](x[i, k] * w[k, j] * z[m, k])", "x:N,K w:K,J z:M,K", "i=N j=J k=K m=M", "contract 1"},
	{"let y[i] = sum[k, l](x[i, k] * w[k, l])", "x:N,K w:K,J", "i=N k=K l=J", "contract 1 reduce_sum 1"},
	{"let y[i] = sum[k, l](x[i, k] * g[l])", "x:N,K g:J", "i=N k=K l=J", NULL},
	{"let y[b, j] = sum[k](2 * x[b, k] * w[k, j] / c[j])", "x:B,K w:K,J c:J", "b=B k=K j=J", "contract 1"},
	{"let y[b, j] = sum[k](x[b, k] / s[k] * w[k, j])", "x:B,K s:K w:K,J", "b=B k=K j=J", "contract 1"},
	{"let y[b, j] = mean[k](x[b, k] * w[k, j])", "x:B,K w:K,J", "b=B k=K j=J", "contract 1"},
	{"let y[b, j] = sum[k]((x[b, k] - m[b]) * max(w[k, j], 0))", "x:B,K m:B w:K,J", "b=B k=K j=J", "contract 1"},
	{"let y[b] = sum[k](k * x[b, k])", "x:B,K", "b=B k=K", NULL},
	{"let y[i] = sum[k](x[i, k] * sum[l](w[k, l] * c[l]))", "x:N,K w:K,J c:J", "i=N k=K l=J", "contract 2"},
	/* other reductions */
	{"let y[j] = sum[i](x[i, j])", "x:N,J", "i=N j=J", "transpose 0 reduce_sum 1"},
	{"let y[j] = mean[..]((x[.., j] - m[j]) ^ 2)", "x:B,M,J m:J", "..=B,M j=J", "transpose 0 reduce_sum 2"},
	{"let y[b] = logsumexp[j](z[b, j]) - z[b, t[b]]", "z:B,J t#J:B", "b=B j=J", "gather 1 reduce_lse 1"},
	{"let y[..] = logsumexp[j](z[.., j]) - z[.., t[..]]", "z:B,M,J t#J:B,M", "..=B,M j=J", "gather 1"},
	{"let y[..] = logsumexp[j](z[.., j]) - z[.., t[..]]", "z:J t#J:", "..= j=J", "gather 1"},
	{"let y[b] = max[i, j](x[b, i, j])", "x:B,N,M", "b=B i=N j=M", "reduce_max 2"},
	{"let y[b] = min[j](x[b, j]) + max[j](x[b, j])", "x:B,J", "b=B j=J", NULL},
	{"let y[b] = prod[j](x[b, j])", "x:B,J", "b=B j=J", NULL},
	{"let y[b] = argmax[j](x[b, j])", "x:B,J", "b=B j=J", "argmax 1"},
	{"let y[b, i] = sum[j < 4](x[b, i])", "x:B,N", "b=B i=N j=4", NULL},
	{"let y[b] = x[b, 0] - mean[j](x[b, j])", "x:B,J", "b=B j=J", NULL},
	/* elements */
	{"let y[i, j] = x[j, i]", "x:M,N", "i=N j=M", NULL},
	{"let y[i, j, k] = a[j] + x[k, i] * x[i, k] - 2", "a:M x:N,N", "i=N j=M k=N", NULL},
	{"let y[i, j] = a[i] * a[j]", "a:N", "i=N j=N", NULL},
	{"let y[i] = x[i, i]", "x:N,N", "i=N", "transpose 0"},
	{"let y[i, j] = x[i, j, i]", "x:N,M,N", "i=N j=M", NULL},
	{"let y[i] = x[i, i, i]", "x:N,N,N", "i=N", NULL},
	{"let y[i < N - 1] = x[i, i + 1] - x[i + 1, i]", "x:N,N", "i=N-1", NULL},
	{"let y[b, j] = sum[i](x[b, i, i] * w[i, j])", "x:B,N,N w:N,J", "b=B i=N j=J", "contract 1"},
	{"let y[i < N] = x[N - 1 - i]", "x:N", "i=N", "flip 1"},
	{"let y[b, i < 3] = x[b, 2 * i + 1]", "x:B,9", "b=B i=3", "slice 1"},
	{"let y[i < 3] = x[8 - 3 * i]", "x:10", "i=3", NULL},
	{"let y[b, i < 3] = x[b, 2 * (i + 1) - i]", "x:B,9", "b=B i=3", NULL},
	{"let y[i < 2] = x[i]", "x:12", "i=2", "slice 1"},
	{"let y[i] = x[i, 2]", "x:N,5", "i=N", NULL},
	{"let y[i] = x[i, N - 1] + x[0, i]", "x:N,N", "i=N", NULL},
	{"let y[b, i] = x[b, i - 1 | 0] + x[b, i]", "x:B,N", "b=B i=N", "pad 1"},
	{"let y[b, i] = x[b, i + 2 | -1] - x[b, i]", "x:B,N", "b=B i=N", NULL},
	{"let y[i] = x[i] + x[2 * i - 3 | 0.5]", "x:N", "i=N", NULL},
	{"let y[i] = x[i] + x[3 - i | 7]", "x:N", "i=N", NULL},
	{"let y[i] = x[i] + x[3 - 2 * i | a[i]]", "x:N a:N", "i=N", NULL},
	{"let y[i, j] = a[i] * c[j] + x[i - 1, 2 - j | a[i] + c[j]]", "x:N,M a:N c:M", "i=N j=M", NULL},
	{"let y[i < 20] = x[i | 3]", "x:12", "i=20", NULL},
	{"let y[i < 5] = x[i + 100 | 3] + x[i - 100 | i]", "x:12", "i=5", NULL},
	{"let y[i] = x[i, i + 1 | 0]", "x:N,N", "i=N", NULL},
	/* numbers */
	{"let y[i, j] = where(i == j, x[i, j], 0)", "x:N,N", "i=N j=N", NULL},
	{"let y[i, j] = where(j <= i and i - j < 3, x[i, j], -1)", "x:N,N", "i=N j=N", NULL},
	{"let y[i < 5, j < 3] = i * 10 + j", "", "i=5 j=3", NULL},
	{"let y[i < 4] = 1.5", "", "i=4", NULL},
	{"let y[i] = i * x[i] + i // 2 + i % 3", "x:N", "i=N", NULL},
	{"let y[i, j < M] = exp(-(abs(i - j) as f32)) * a[i]", "a:N", "i=N j=M", NULL},
	{"let y[i, j < M] = a[i] / (j + 1)", "a:N", "i=N j=M", NULL},
	/* gathers */
	{"let y[b, j] = x[b, t[b, j], j]", "x:B,N,J t#N:B,J", "b=B j=J", "gather 1"},
	{"let y[b, j] = x[b, j, t[b]]", "x:B,J,N t#N:B", "b=B j=J", "gather 1"},
	{"let y[b] = x[t[b] - 1, b | 9]", "x:N,B t#N:B", "b=B", "gather 1"},
	{"let y[b] = x[b, t[b] + b]", "x:B,N t#N:B", "b=B", "gather 1"},
	{"let y[b] = x[b, t[b], b]", "x:M,N,M t#N:M", "b=M", NULL},
	{"let y[b] = x[t[i0]] * a[b]", "x:N t#N:2 a:B", "b=B", NULL},
};

/* Calls and ordinary expressions, which the oracle cannot read, and indexed definitions with the same meaning. */
typedef struct Same { const char *prelude, *text, *same, *tensors, *ranges; } Same;

static const Same same[] = {
	{"", "let y = x[0, .., 2..5]", "let y[b, j] = x[0, b, j + 2]", "x:M,B,9", "b=B j=3"},
	{"", "let y = x[1..N]", "let y[i] = x[i + 1]", "x:40", "i=N-1"},
	{"", "let y = x[.., 1]", "let y[b] = x[b, 1]", "x:B,3", "b=B"},
	{"", "let y = x[-1..3, 0..12 | 4]", "let y[i, j] = x[i - 1, j | 4]", "x:2,5", "i=4 j=12"},
	{"", "let y = x[5, 2, 1]", "let y[i] = x[5, 2, 1]", "x:6,3,2", "i=1"},
	{"", "let y = x[t[1], 0 | 3]", "let y[i] = x[t[1], 0]", "x:6,3 t#6:2", "i=1"},
	{"", "let y = sum[i](x[i] * a[i]) + mean[..](z[..])", "let y[q] = sum[i](x[i] * a[i]) + mean[j, k](z[j, k])",
	 "x:N a:N z:J,K", "q=1 i=N j=J k=K"},
	{"", "let y = argmax[i](x[i])", "let y[j < 1] = argmax[i](x[i])", "x:N", "i=N j=1"},
	{"fn g(x: [.., n]) = sum(x * x) / n", "let y[b] = g(x[b, ..])", "let y[b] = mean[k](x[b, k] ^ 2)", "x:B,K", "b=B k=K"},
	{"fn g(x) { let z[i] = x[i] * 2 + i\n return z }", "let y[i, j] = g(x[j, ..])[i]", "let y[i, j] = x[j, i] * 2 + i", "x:M,K",
	 "i=K j=M"},
	{"fn g(x, w) { let z[j] = sum[k](x[k] * w[k, j])\n return z }", "let y[b, j] = g(x[b, ..], w)[j] + 1",
	 "let y[b, j] = sum[k](x[b, k] * w[k, j]) + 1", "x:B,K w:K,J", "b=B k=K j=J"},
	{"fn g(x, a) = sum[k](x * a[k])", "let y[i] = g(g(x[i], a), a)", "let y[i] = sum[k](sum[l](x[i] * a[l]) * a[k])", "x:N a:K",
	 "i=N k=K l=K"},
	{"fn g(x, a) = sum[k](a[k] * x)", "let y[k] = sum[i](x[i, k] * g(x[i, k], a))", "let y[k] = sum[i](x[i, k] * sum[l](a[l] * x[i, k]))",
	 "x:N,K a:J", "i=N k=K l=J"},
};

/* ---- checks ---- */

static int count_ops(const Fn *f, const char *name, size_t length) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) {
		const char *text = op_info[f->vals.data[i]->op].text;
		n += strlen(text) == length && !strncmp(text, name, length);
	}
	return n;
}

static void check_ops(const Case *c, const Fn *f, const Round *r) {
	for (const char *at = c->ops; at && *at;) {
		size_t length = strcspn(at, " ");
		int want = atoi(at + length), got = count_ops(f, at, length);
		if (want != got) {
			Text text = {.arena = r->e.arena};
			fn_print(&text, f);
			fail_msg("%s: %d %.*s, not %d\n%s", c->text, got, (int)length, at, want, text.data);
		}
		at += length + 1 + strcspn(at + length + 1, " ");
		at += *at == ' ';
	}
}

static double tensor_element(const Tensor *t, EvalMode mode, int64_t i) {
	if (!dtype_is_float(t->type.dtype)) return ((const int32_t *)t->data)[i];
	return mode == EVAL_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

static void check_values(const Case *c, const Fn *f, Round *r, const Filled *want) {
	static const double tolerance[] = {1e-11, 2e-4};
	for (int mode = 0; mode < 2; mode++) {
		Tensor out, in[MAX_ARRAYS];
		for (int i = 0; i < r->narrays; i++) in[i] = r->input[mode][i];
		fn_eval(r->e.arena, f, mode ? EVAL_F32 : EVAL_F64, in, &out);
		if (type_count(out.type) != want->count) fail_msg("%s: %s", c->text, type_text(r->e.arena, out.type));
		for (int64_t i = 0; i < want->count; i++) {
			double got = tensor_element(&out, mode ? EVAL_F32 : EVAL_F64, i), wanted = want->data[i];
			if (fabs(got - wanted) <= tolerance[mode] * (20 + fabs(wanted))) continue;
			const char *type = type_text(r->e.arena, out.type);
			fail_msg("%s: element %lld of %s is %.17g, not %.17g", c->text, (long long)i, type, got, wanted);
		}
	}
}

static Value elaborate(Round *r, const char *text) {
	const Stmt *s = statement(r->file.tree);
	Value v = s->kind == STMT_LET ? eval_expr(&r->e, r->scope, s->value) : elab_indexed_let(&r->e, r->scope, s);
	if (!value_ok(v) || r->e.diag->errors) {
		diag_print(r->e.diag, stderr, false);
		fail_msg("%s: not lowered", text);
	}
	assert_int_equal(v.as.tensor.nlabels, 0);
	return v;
}

/* `meaning`: the definition that the oracle reads, or NULL: the case itself. */
static void run_case(const Case *c, const char *prelude, const char *meaning, uint64_t seed) {
	Round *r = calloc(1, sizeof *r);
	round_start(r, prelude, c->text, seed);
	for (const char *at = c->tensors; *at; at += *at == ' ') add_tensor(r, &at);
	add_known(r, c->ranges);
	Value v = elaborate(r, c->text);
	fn_output(r->build.fn, "y", v.as.tensor.val, -1);
	fn_verify(r->build.fn, "elab");
	if (seed % ROUNDS == 5) check_ops(c, fn_canonical(r->build.fn), r);
	Oracle o = {.arrays = r->array, .narrays = r->narrays, .known = r->known, .nknown = r->nknown};
	Filled want = {.data = NEW_ARRAY(r->e.arena, double, 64 + type_count(v.as.tensor.val->type))};
	oracle_fill(&o, statement(meaning ? parse_text(r, "", meaning) : r->file.tree), 0, 0, &want);
	check_values(c, r->build.fn, r, &want);
	arena_free(r->e.arena);
	free(r);
}

static void test_cases(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (uint64_t k = 0; k < ROUNDS; k++) run_case(&cases[i], "", NULL, i * ROUNDS + k);
}

static void test_same(void **state) {
	(void)state;
	for (size_t i = 0; i < COUNT(same); i++)
		for (uint64_t k = 0; k < ROUNDS; k++) {
			Case c = {same[i].text, same[i].tensors, same[i].ranges, NULL};
			run_case(&c, same[i].prelude, same[i].same, i * ROUNDS + k);
		}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_same)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
