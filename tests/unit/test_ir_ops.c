/* test_ir_ops.c: loops over the table of operations.  link: nnc_ir
 *
 * For every row: its value in both interpreters, its text read back, and that the verifier refuses what breaks its rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "test_ir_cases.h"

/* fn case { inputs a, b, c, d; %n = line; return "y" %n } */
static char *case_text(Arena *arena, const char *const *types, const char *line) {
	Text text = {.arena = arena};
	int n = 0;
	text_add(&text, "fn case {\n");
	for (; n < MAX_CASE_INPUTS && types[n]; n++) text_add(&text, "  %%%d = %s input \"%c\" data\n", n, types[n], 'a' + n);
	text_add(&text, "  %%%d = %s\n  return \"y\" %%%d\n}\n", n, line, n);
	return text.data;
}

static Fn *parse(Arena *arena, const char *text, Diag **diag) {
	*diag = diag_new(arena);
	return fn_parse(arena, *diag, diag_source(*diag, "case.ir", text, strlen(text), false));
}

static Fn *parse_case(Arena *arena, const Case *c) {
	const char *types[MAX_CASE_INPUTS + 1] = {NULL};
	for (int i = 0; i < MAX_CASE_INPUTS; i++) types[i] = c->in[i].type;
	char *text = case_text(arena, types, c->line);
	Diag *diag;
	Fn *f = parse(arena, text, &diag);
	if (!f) {
		diag_print(diag, stderr, false);
		fail_msg("%s", text);
	}
	return f;
}

static bool is_double(Type t, EvalMode mode) { return dtype_is_float(t.dtype) && (mode == EVAL_F64 || t.dtype == DTYPE_F64); }

static Tensor tensor_of(Arena *arena, Type type, EvalMode mode, const double *values) {
	Tensor t = {type, arena_alloc(arena, 8 * (size_t)type_count(type))};
	for (int64_t i = 0; i < type_count(type); i++) {
		if (is_double(type, mode)) ((double *)t.data)[i] = values[i];
		else if (dtype_is_float(type.dtype)) ((float *)t.data)[i] = (float)values[i];
		else ((int32_t *)t.data)[i] = (int32_t)values[i];
	}
	return t;
}

static double value_at(const Tensor *t, EvalMode mode, int64_t i) {
	if (is_double(t->type, mode)) return ((double *)t->data)[i];
	if (dtype_is_float(t->type.dtype)) return ((float *)t->data)[i];
	return ((int32_t *)t->data)[i];
}

static void same_value(const Case *c, EvalMode mode, int64_t i, double got, double want) {
	double tolerance = mode == EVAL_F64 ? 1e-15 : 2.5e-7;
	bool same = isnan(want) ? isnan(got) : isinf(want) ? got == want : fabs(got - want) <= tolerance * fabs(want);
	if (want == 0) same = got == 0 && !signbit(want) == !signbit(got);
	if (!same)
		fail_msg("%s, %s, element %d: %.17g instead of %.17g", c->line, mode == EVAL_F64 ? "f64" : "f32", (int)i, got, want);
}

static void test_values(void **state) {
	(void)state;
	for (size_t k = 0; k < COUNT(cases); k++) {
		const Case *c = &cases[k];
		Arena *arena = arena_new();
		Fn *f = parse_case(arena, c);
		assert_int_equal(f->vals.data[f->vals.length - 1]->op, c->op);
		for (EvalMode mode = EVAL_F64; mode <= EVAL_F32; mode++) {
			Tensor in[MAX_CASE_INPUTS + 1], out;
			for (int i = 0; i < f->inputs.length; i++)
				in[i] = tensor_of(arena, f->inputs.data[i].type, mode, c->op == OpInput ? c->out : c->in[i].value);
			fn_eval(arena, f, mode, in, &out);
			for (int64_t i = 0; i < type_count(out.type); i++) same_value(c, mode, i, value_at(&out, mode, i), c->out[i]);
		}
		arena_free(arena);
	}
}

/* Every row has a case, but for those that are read elsewhere or have no value of their own. */
static void test_every_row(void **state) {
	(void)state;
	bool valued[OP_COUNT] = {false}, refused[OP_COUNT] = {false};
	for (size_t k = 0; k < COUNT(cases); k++) valued[cases[k].op] = true;
	for (size_t k = 0; k < COUNT(broken); k++) refused[broken[k].op] = true;
	valued[OpScan] = valued[OpProject] = true;       /* test_scan below */
	valued[OpGrad] = valued[OpCotangent] = true;     /* no value before the grad pass */
	for (int op = 0; op < OP_COUNT; op++) {
		if (!valued[op]) fail_msg("no case for %s", op_info[op].text);
		if (!refused[op]) fail_msg("no broken case for %s", op_info[op].text);
	}
}

static char *print(Arena *arena, const Fn *f) {
	Text text = {.arena = arena};
	fn_print(&text, f);
	return text.data;
}

static void test_text(void **state) {
	(void)state;
	for (size_t k = 0; k < COUNT(cases); k++) {
		Arena *arena = arena_new();
		Diag *diag;
		Fn *f = parse_case(arena, &cases[k]);
		char *once = print(arena, f);
		assert_non_null(strstr(once, cases[k].line));
		Fn *again = parse(arena, once, &diag);
		assert_non_null(again);
		assert_string_equal(print(arena, again), once);
		assert_string_equal(print(arena, fn_canonical(f)), once);
		arena_free(arena);
	}
}

static void test_refused(void **state) {
	(void)state;
	for (size_t k = 0; k < COUNT(broken); k++) {
		const Broken *b = &broken[k];
		Arena *arena = arena_new();
		Diag *diag;
		const char *types[MAX_CASE_INPUTS + 1] = {NULL};
		memcpy(types, b->in, sizeof b->in);
		Fn *f = parse(arena, case_text(arena, types, b->line), &diag);
		if (f) fail_msg("accepted: %s", b->line);
		assert_int_equal(diag->errors, 1);
		const char *colon = strstr(diag->messages.data[0].text, ": ");
		if (!colon || strcmp(colon + 2, b->message)) fail_msg("%s: %s", b->line, diag->messages.data[0].text);
		arena_free(arena);
	}
}

/* carry h = 2 h + x[t], from the first row or from the last; emits h before the step. */
static const char scan_text[] =
	"fn s {\n"
	"  %0 = f32[3,2] input \"x\" data\n"
	"  %1 = f32[2] input \"h\" data\n"
	"  %2 = i32[] scan %1, %0 {carries=1 reversed=0 count=3} fn body {\n"
	"    %0 = i32[] input \"t\" data\n"
	"    %1 = f32[2] input \"h\" data\n"
	"    %2 = f32[3,2] input \"x\" data\n"
	"    %3 = f32[2] add %1, %1\n"
	"    %4 = f32[2] gather %2, %0 {batch=0}\n"
	"    %5 = f32[2] add %3, %4\n"
	"    return \"h\" %5, \"before\" %1\n"
	"  }\n"
	"  %3 = f32[2] project %2 {index=0}\n"
	"  %4 = f32[3,2] project %2 {index=1}\n"
	"  return \"h\" %3, \"before\" %4\n"
	"}\n";

static void test_scan(void **state) {
	(void)state;
	for (int reversed = 0; reversed < 2; reversed++)
		for (EvalMode mode = EVAL_F64; mode <= EVAL_F32; mode++) {
			Arena *arena = arena_new();
			Diag *diag;
			char *text = arena_text(arena, scan_text, strlen(scan_text));
			strstr(text, "reversed=")[9] = (char)('0' + reversed);
			Fn *f = parse(arena, text, &diag);
			assert_non_null(f);
			assert_string_equal(print(arena, f), text);
			assert_string_equal(print(arena, fn_canonical(f)), text);
			Tensor in[2] = {tensor_of(arena, f->inputs.data[0].type, mode, (double[]){1, 10, 2, 20, 3, 30}),
			                tensor_of(arena, f->inputs.data[1].type, mode, (double[]){1, 0})}, out[2];
			fn_eval(arena, f, mode, in, out);
			static const double last[2][2] = {{19, 110}, {25, 170}};
			static const double before[2][6] = {{1, 0, 3, 10, 8, 40}, {12, 80, 5, 30, 1, 0}};
			for (int i = 0; i < 2; i++) assert_true(value_at(&out[0], mode, i) == last[reversed][i]);
			for (int i = 0; i < 6; i++) assert_true(value_at(&out[1], mode, i) == before[reversed][i]);
			arena_free(arena);
		}
}

static int watched;
static void count_value(void *context, const Val *v, const Tensor *t) {
	watched++;
	assert_ptr_equal(context, &watched);
	assert_true(type_equal(v->type, t->type));
}

static void test_watch(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Diag *diag;
	Fn *f = parse(arena, scan_text, &diag);
	Tensor in[2] = {tensor_of(arena, f->inputs.data[0].type, EVAL_F32, (double[6]){0}),
	                tensor_of(arena, f->inputs.data[1].type, EVAL_F32, (double[2]){0})}, out[2];
	fn_eval_watch(arena, f, EVAL_F32, in, out, count_value, &watched);
	assert_int_equal(watched, 4 + 3 * 6); /* the scan itself is no tensor */
	arena_free(arena);
}

/* Halves: in f32 mode f16 and bf16 hold what their bits can. */
static void test_short_floats(void **state) {
	(void)state;
	static const struct { const char *line; double in, out; } rounds[] = {
		{"f16[1] cast %0", 2049, 2048}, {"f16[1] cast %0", 2051, 2052}, {"f16[1] cast %0", 65519, 65504},
		{"f16[1] cast %0", 65520, INFINITY}, {"f16[1] cast %0", 0x1p-24, 0x1p-24}, {"f16[1] cast %0", 0x1p-25, 0},
		{"f16[1] cast %0", 0x1.8p-25, 0x1p-24}, {"bf16[1] cast %0", 257, 256}, {"bf16[1] cast %0", 259, 260},
		{"bf16[1] cast %0", 3.4e38, INFINITY}, {"bf16[1] cast %0", -1.0, -1.0}, {"f16[1] cast %0", NAN, NAN},
	};
	for (size_t k = 0; k < COUNT(rounds); k++) {
		Case c = {OpCast, rounds[k].line, {{"f32[1]", {rounds[k].in}}}, {rounds[k].out}};
		Arena *arena = arena_new();
		Fn *f = parse_case(arena, &c);
		Tensor in = tensor_of(arena, f->inputs.data[0].type, EVAL_F32, c.in[0].value), out;
		fn_eval(arena, f, EVAL_F32, &in, &out);
		same_value(&c, EVAL_F32, 0, value_at(&out, EVAL_F32, 0), c.out[0]);
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_row),    cmocka_unit_test(test_values), cmocka_unit_test(test_text),
	    cmocka_unit_test(test_refused),      cmocka_unit_test(test_scan),   cmocka_unit_test(test_watch),
	    cmocka_unit_test(test_short_floats),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
