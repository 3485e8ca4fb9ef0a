/* test_ir.c: hash-consing, canonical order, constructors' own folding, the verifier on whole functions, and the text
 * reader on damaged text.  link: nnc_ir */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "ir.h"

static uint64_t random_state = 7;
static int pick(int n) {
	random_state = hash_mix(random_state);
	return (int)((random_state >> 33) % (uint64_t)n);
}

static char *print(Arena *arena, const Fn *f) {
	Text text = {.arena = arena};
	fn_print(&text, f);
	return text.data;
}

static Fn *parse(Arena *arena, const char *text, size_t length, Diag **diag) {
	*diag = diag_new(arena);
	return fn_parse(arena, *diag, diag_source(*diag, "x.ir", text, length, false));
}

static Val *matrix(Fn *f, const char *name, InputKind kind, int64_t rows, int64_t columns) {
	return fn_input(f, name, kind, type_make(DTYPE_F32, 2, (int64_t[]){rows, columns}));
}

static void test_hash_consing(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "h");
	Val *a = matrix(f, "a", INPUT_DATA, 2, 3), *b = matrix(f, "b", INPUT_DATA, 2, 3);
	assert_ptr_not_equal(a, b);
	assert_ptr_equal(ir_Add(f, a, b), ir_Add(f, a, b));
	assert_ptr_not_equal(ir_Add(f, a, b), ir_Add(f, b, a));
	assert_ptr_not_equal(ir_const(f, DTYPE_F32, 0.0), ir_const(f, DTYPE_F32, -0.0));
	assert_ptr_not_equal(ir_const(f, DTYPE_F32, 1), ir_const(f, DTYPE_F64, 1));
	assert_ptr_equal(ir_const(f, DTYPE_F32, (double)NAN), ir_const(f, DTYPE_F32, -(double)NAN));
	assert_ptr_equal(ir_const(f, DTYPE_I32, 0.0), ir_const(f, DTYPE_I32, -0.0));
	assert_ptr_not_equal(ir_mark(f, a), ir_mark(f, a));
	int64_t one, two;
	assert_ptr_not_equal(ir_cotangent(f, a->type, &one), ir_cotangent(f, a->type, &two));
	assert_true(one != two);
	/* labels of a product are names only */
	assert_ptr_equal(ir_contract(f, a, (int64_t[]){4, 9}, b, (int64_t[]){7, 9}, 2, (int64_t[]){4, 7}),
	                 ir_contract(f, a, (int64_t[]){0, 1}, b, (int64_t[]){2, 1}, 2, (int64_t[]){0, 2}));
	/* a scan owns its body */
	Fn *body = fn_new(arena, "body");
	fn_input(body, "t", INPUT_DATA, type_scalar(DTYPE_I32));
	Val *carry = matrix(body, "c", INPUT_DATA, 2, 3);
	fn_output(body, "c", carry, -1);
	assert_ptr_not_equal(ir_scan(f, body, 2, false, 1, 1, &a), ir_scan(f, body, 2, false, 1, 1, &a));
	assert_null(fn_verify_text(arena, f));
	arena_free(arena);
}

static void test_what_changes_nothing(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "n");
	Val *a = matrix(f, "a", INPUT_DATA, 2, 3);
	int64_t zero[2] = {0, 0}, order[2] = {0, 1};
	double value = 0;
	assert_ptr_equal(ir_cast(f, a, DTYPE_F32), a);
	assert_ptr_equal(ir_reshape(f, a, 2, a->type.dim), a);
	assert_ptr_equal(ir_transpose(f, a, order), a);
	assert_ptr_equal(ir_broadcast(f, a, 2, a->type.dim, order), a);
	assert_ptr_equal(ir_slice(f, a, zero, a->type.dim, NULL), a);
	assert_ptr_equal(ir_pad(f, a, zero, zero, NULL, 1), a);
	assert_ptr_equal(ir_flip(f, a, 0, NULL), a);
	assert_ptr_equal(ir_concat(f, 1, &a, 0), a);
	assert_ptr_equal(ir_reduce(f, OpReduceSum, a, 0, NULL), a);
	assert_int_equal(f->vals.length, 1);
	assert_true(is_splat(ir_like(f, a, 2.5), &value) && value == 2.5);
	assert_false(is_splat(a, &value));
	Val *scalar = ir_const(f, DTYPE_F32, 3);
	assert_ptr_equal(ir_like(f, scalar, 3), scalar);
	Val *sum = ir_reduce(f, OpReduceSum, a, 2, order);   /* one axis at a time, the last first */
	assert_int_equal(sum->arg[0]->list[0].data[0], 1);
	assert_int_equal(sum->list[0].data[0], 0);
	arena_free(arena);
}

/* A random graph whose values depend on `plan` only, built in the order `order` says (operands still first). */
enum { NODES = 60 };
typedef struct Plan { int op[NODES], a[NODES], b[NODES]; } Plan;

static Val *build_node(Fn *f, const Plan *plan, Val **made, int i) {
	if (made[i]) return made[i];
	/* the deeper operand first or last: as the dice say */
	bool swap = pick(2) == 1;
	Val *b = swap ? build_node(f, plan, made, plan->b[i]) : NULL, *a = build_node(f, plan, made, plan->a[i]);
	if (!b) b = build_node(f, plan, made, plan->b[i]);
	switch (plan->op[i]) {
	case 0: made[i] = ir_Add(f, a, b); break;
	case 1: made[i] = ir_Mul(f, a, b); break;
	case 2: made[i] = ir_mark(f, a); break;
	default: made[i] = ir_Exp(f, a); break;
	}
	return made[i];
}

static char *build_plan(Arena *arena, const Plan *plan) {
	Fn *f = fn_new(arena, "p");
	Val *made[NODES] = {matrix(f, "x", INPUT_DATA, 2, 2), matrix(f, "w", INPUT_PARAM, 2, 2)};
	f->inputs.data[0].classes = 4;
	for (int i = 0; i < NODES; i++) build_node(f, plan, made, pick(NODES));   /* some never used */
	fn_output(f, "loss", build_node(f, plan, made, NODES - 1), -1);
	fn_output(f, "w", build_node(f, plan, made, NODES - 2), 1);
	Fn *canonical = fn_canonical(f);
	fn_verify(canonical, "fn_canonical");
	char *text = print(arena, canonical);
	assert_string_equal(print(arena, fn_canonical(canonical)), text);
	assert_ptr_equal(fn_renumber(f), f);   /* the same in place, and what is built again is found */
	fn_verify(f, "fn_renumber");
	assert_string_equal(print(arena, f), text);
	for (int i = 0; i < f->vals.length; i++)
		if (f->vals.data[i]->nargs) assert_ptr_equal(fn_rebuild(f, f->vals.data[i], f->vals.data[i]->arg), f->vals.data[i]);
	return text;
}

static void test_canonical(void **state) {
	(void)state;
	for (int round = 0; round < 50; round++) {
		Arena *arena = arena_new();
		Plan plan;
		for (int i = 2; i < NODES; i++) plan.op[i] = pick(4), plan.a[i] = pick(i), plan.b[i] = pick(i);
		char *first = build_plan(arena, &plan);
		for (int again = 0; again < 5; again++) assert_string_equal(build_plan(arena, &plan), first);
		arena_free(arena);
	}
}

/* A chain of 200,000 values: no recursion, and time that grows with the length only. */
static void test_long(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "long");
	Val *x = fn_input(f, "x", INPUT_DATA, type_scalar(DTYPE_F32)), *v = x;
	for (int i = 0; i < 200000; i++) v = ir_Add(f, v, i % 2 ? x : ir_const(f, DTYPE_F32, i));
	fn_output(f, "y", v, -1);
	Fn *canonical = fn_canonical(f);
	assert_int_equal(canonical->vals.length, 200000 + 100000 + 1);
	float one = 1;
	Tensor in = {x->type, &one}, out;
	fn_eval(arena, canonical, EVAL_F32, &in, &out);
	assert_true(*(float *)out.data > 0);
	arena_free(arena);
}

static void test_rebuild(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Fn *f = fn_new(arena, "r"), *g = fn_new(arena, "r");
	Val *a = matrix(f, "a", INPUT_DATA, 2, 3), *b = matrix(g, "a", INPUT_DATA, 2, 3);
	f->span = (Span){1, 5, 9};
	Val *flipped = ir_flip(f, a, 1, (int64_t[]){1});
	Val *copy = fn_rebuild(g, flipped, &b);
	assert_ptr_equal(copy, ir_flip(g, b, 1, (int64_t[]){1}));
	assert_int_equal(copy->span.begin, 5);
	assert_ptr_equal(fn_rebuild(g, a, NULL), b);
	Val *mark = ir_mark(f, a), *marked = fn_rebuild(g, mark, &b);
	assert_ptr_not_equal(ir_mark(g, b), marked);
	arena_free(arena);
}

/* What a broken pass could hand on. */
static void test_verify(void **state) {
	(void)state;
	for (int fault = 0; fault <= 8; fault++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "v");
		Val *a = matrix(f, "a", INPUT_DATA, 2, 3), *w = matrix(f, "w", INPUT_PARAM, 2, 3), *sum = ir_Add(f, a, w);
		Val *small = ir_reduce(f, OpReduceSum, a, 1, (int64_t[]){0});
		fn_output(f, "y", sum, -1);
		fn_output(f, "w", sum, 1);
		const char *want = NULL;
		switch (fault) {
		case 1: sum->id = 1; want = "has the number"; break;
		case 2: sum->arg[0] = small; want = "is not an earlier value"; break;
		case 3: sum->type.dim[0] = 5; want = "the result has another type"; break;
		case 4: f->inputs.data[0].type.dtype = DTYPE_F64; want = "differ in type"; break;
		case 5: f->outputs.data[1].updates = 0; want = "not kept"; break;
		case 6: f->outputs.data[1].val = small; want = "the input it updates"; break;
		case 7: fn_output(f, "y", sum, -1); want = "occurs twice"; break;
		case 8: fn_output(f, "again", sum, 1); want = "is updated twice"; break;
		default: break;
		}
		const char *problem = fn_verify_text(arena, f);
		if (!want) assert_null(problem);
		else if (!problem || !strstr(problem, want)) fail_msg("fault %d: %s", fault, problem ? problem : "not seen");
		arena_free(arena);
	}
}

/* Names and kinds that need quoting, classes, updates by number. */
static void test_names(void **state) {
	(void)state;
	static const char text[] =
		"fn \"gpt.infer \\\"x\\\"\" {\n"
		"  %0 = i32[] input \"a\\\\b\\n\\t\xc3\xa9\" data class 10\n"
		"  %1 = f32[2] input \"same\" param\n"
		"  %2 = f32[2] input \"same\" slot\n"
		"  %3 = i32[2] input \"seed\" seed\n"
		"  %4 = f32[] const 1e-300\n"
		"  %5 = f64[] const -inf\n"
		"  %6 = f32[] const nan\n"
		"  return \"same\" = %2, \"other\" updates 2 = %1, \"\" %6\n"
		"}\n";
	Arena *arena = arena_new();
	Diag *diag;
	Fn *f = parse(arena, text, sizeof text - 1, &diag);
	assert_non_null(f);
	assert_int_equal(f->inputs.data[0].classes, 10);
	assert_int_equal(f->outputs.data[1].updates, 2);
	assert_string_equal(print(arena, f), text);
	arena_free(arena);
}

static const char seed_text[] =
	"fn s {\n"
	"  %0 = f32[3,2] input \"x\" data class 3\n"
	"  %1 = f32[2] input \"h\" param\n"
	"  %2 = i32[] scan %1, %0 {carries=1 reversed=1 count=3} fn body {\n"
	"    %0 = i32[] input \"t\" data\n"
	"    %1 = f32[2] input \"h\" data\n"
	"    %2 = f32[3,2] input \"x\" data\n"
	"    %3 = f32[2] gather %2, %0 {batch=0}\n"
	"    %4 = f32[] const -1.5e-07\n"
	"    %5 = f32[2] broadcast %4 {dims=[]}\n"
	"    %6 = f32[2] add %5, %3\n"
	"    return \"h\" %6, \"before\" %1\n"
	"  }\n"
	"  %3 = f32[2] project %2 {index=0}\n"
	"  %4 = f32[3,2] project %2 {index=1}\n"
	"  %5 = f32[3,3] contract %0, %4 {a=[0,1] b=[2,1] y=[0,2]}\n"
	"  %6 = f32[5,3] pad %5 {lo=[1,0] hi=[1,0] inner=[0,0] value=-0}\n"
	"  return \"h\" = %3, \"y\" %6\n"
	"}\n";

/* Whatever is accepted is sound and prints as it reads. */
static void check_text(const char *text, size_t length, int *accepted) {
	Arena *arena = arena_new();
	Diag *diag;
	Fn *f = parse(arena, text, length, &diag);
	if (!f) assert_int_equal(diag->errors, 1);
	else {
		++*accepted;
		assert_null(fn_verify_text(arena, f));
		char *once = print(arena, f);
		Fn *again = parse(arena, once, strlen(once), &diag);
		if (!again) fail_msg("%s", once);
		assert_string_equal(print(arena, again), once);
		fn_verify(fn_canonical(f), "fuzz");
	}
	arena_free(arena);
}

static void test_damaged_text(void **state) {
	(void)state;
	static const char *const pieces[] = {
		"%", "0", "1", "-", "99999999999999999999", "{", "}", "[", "]", "=", ",", "\"", "\\", "fn", "return", "scan", "input",
		"f32", "i32", "nan", "inf", "9223372036854775807", "\n", "\x80", "updates", "class", "[]", "e9", "bool",
		"%3 = f32[2] exp %1\n", "#"};
	int accepted = 0;
	char buffer[4096];
	for (size_t length = 0; length <= sizeof seed_text - 1; length++) {
		memcpy(buffer, seed_text, length);
		buffer[length] = 0;
		check_text(buffer, length, &accepted);
	}
	assert_int_equal(accepted, 2);
	for (int round = 0; round < 6000; round++) {
		size_t length = sizeof seed_text - 1;
		memcpy(buffer, seed_text, length);
		for (int n = 1 + pick(3); n > 0; n--) {
			size_t at = (size_t)pick((int)length), cut = (size_t)pick(3);
			const char *piece = pieces[pick((int)COUNT(pieces))];
			size_t size = strlen(piece);
			if (at + cut > length || length + size >= sizeof buffer) continue;
			if (pick(3) == 0) { /* another digit or bracket in place */
				buffer[at] = "0123456789[]{}%=,"[pick(17)];
				continue;
			}
			memmove(buffer + at + size, buffer + at + cut, length - at - cut);
			memcpy(buffer + at, piece, size);
			length += size - cut;
		}
		buffer[length] = 0;
		check_text(buffer, length, &accepted);
	}
	assert_in_range(accepted, 50, 5000); /* the mutations reach both sides */
}

/* Bodies within bodies are bounded; a source of NULs and an empty one are errors like others. */
static void test_deep_text(void **state) {
	(void)state;
	Arena *arena = arena_new();
	Diag *diag;
	Text text = {.arena = arena};
	text_add(&text, "fn f {");
	for (int i = 0; i < 10000; i++)
		text_add(&text, " %%0 = i32[] input \"t\" data %%1 = i32[] scan {carries=0 reversed=0 count=1} fn f {");
	assert_null(parse(arena, text.data, text.length, &diag));
	assert_non_null(strstr(diag->messages.data[0].text, "too deep"));
	char *blanks = arena_alloc(arena, (4 << 20) + 2);
	memset(blanks, ' ', (4 << 20) + 1);
	assert_null(parse(arena, blanks, (4 << 20) + 1, &diag));
	assert_non_null(strstr(diag->messages.data[0].text, "4 MiB"));
	assert_null(parse(arena, "", 0, &diag));
	assert_null(parse(arena, "\0\0\0", 3, &diag));
	arena_free(arena);
}

/* Numbers as texts: the shortest that reads back, whole ones digit by digit. */
static void numbers(void **state) {
	(void)state;
	static const struct { double value; const char *text; } cases[] = {
	    {300, "300"}, {-1e6, "-1000000"}, {999999999999999, "999999999999999"}, {1e15, "1e+15"}, {0, "0"}, {0.1, "0.1"},
	    {1e-7, "1e-07"}, {1.0 / 3, "0.3333333333333333"}, {123456.75, "123456.75"}, {-INFINITY, "-inf"}, {NAN, "nan"},
	};
	Arena *arena = arena_new();
	for (size_t i = 0; i < COUNT(cases); i++) {
		Text text = {.arena = arena};
		text_number(&text, cases[i].value);
		assert_string_equal(text.data, cases[i].text);
		if (cases[i].value == cases[i].value) assert_true(strtod(text.data, NULL) == cases[i].value);
	}
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(numbers),
		cmocka_unit_test(test_hash_consing), cmocka_unit_test(test_what_changes_nothing), cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_long), cmocka_unit_test(test_rebuild), cmocka_unit_test(test_verify), cmocka_unit_test(test_names),
		cmocka_unit_test(test_damaged_text), cmocka_unit_test(test_deep_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
