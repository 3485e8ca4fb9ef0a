/* test_indexed_random.c: random indexed definitions, lowered and interpreted in f64, against plain loops.
 * Arguments: first seed, number of programs (default 0 and 400).
 * link: nnc_front nnc_passes nnc_ir nnc_grammar nnc_base */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "indexed_round.h"

static uint64_t first_seed;
static int program_count = 400;

/* Index variables; the n-th runs over the size of the n-th letter. */
static const char variables[] = "bijmk", sizes[] = "BNJMK";
enum { VARIABLES = 5 };

typedef struct Draft {
	Arena *arena;
	uint64_t seed;
	Text tensors;
	int ntensors;
	bool in_scope[VARIABLES];
} Draft;

static int roll(Draft *p, int n) { return (int)((p->seed = hash_mix(p->seed)) % (uint64_t)n); }

static int pick(Draft *p) {
	int v;
	do v = roll(p, VARIABLES);
	while (!p->in_scope[v]);
	return v;
}

/* Two indices of extents up to 6 and a size that is never left; the batch has no bound.  outside: any form and size. */
static void window(Draft *p, Text *text, bool outside) {
	int v = pick(p), w = pick(p), a = 1 + roll(p, 3), b = 1 + roll(p, 3), c = roll(p, 6), d = 2 + roll(p, 2), form = roll(p, 5);
	if (!outside && (!v || !w)) {
		text_add(text, "%d", form);
		text_add(&p->tensors, "5");
	} else if (!outside) {
		text_add(text, form & 1 ? "%d * %c + %c * %d" : "15 - %d * %c + %c * %d", a, variables[v], variables[w], b);
		text_add(&p->tensors, "33");
	} else {
		static const char *const forms[] = {"%d * %c - %d * %c + %d", "%d * %c + %d * %c - %d", "(%d * %c - %d * %c + %d) / %d",
		                                    "%d * %c - (%d * %c - %d) / %d", "%d * %c - (%d * %c - %d) // %d"};
		text_add(text, forms[form], a, variables[v], b, variables[w], c, d);
		text_add(&p->tensors, "%d", 1 + c);
	}
}

/* An integer tensor as subscript; some of its numbers are out of range. */
static void gather(Draft *p, Text *text, Text *more) {
	char v = (char)pick(p), w = (char)pick(p);
	bool two = roll(p, 3) == 0;
	text_add(text, two ? "g%d[%c, %c]" : "g%d[%c]", p->ntensors, variables[(int)v], variables[(int)w]);
	text_add(more, two ? " g%d#5:%c,%c" : " g%d#5:%c", p->ntensors++, sizes[(int)v], sizes[(int)w]);
	if (roll(p, 3) == 0) text_add(text, " - %c", variables[pick(p)]);
	text_add(&p->tensors, "4");
}

/* A new tensor, subscripted by one to three things in scope. */
static const char *leaf(Draft *p) {
	Text text = {.arena = p->arena}, more = {.arena = p->arena};
	int rank = 1 + roll(p, 3);
	bool outside = roll(p, 5) == 0;
	text_add(&text, "t%d[", p->ntensors);
	text_add(&p->tensors, "%st%d:", p->ntensors ? " " : "", p->ntensors);
	p->ntensors++;
	for (int i = 0; i < rank; i++) {
		int v = pick(p), form = roll(p, 12);
		char name = variables[v], size = sizes[v];
		if (i) text_add(&text, ", "), text_add(&p->tensors, ",");
		if (form == 0) text_add(&text, "2"), text_add(&p->tensors, "4");
		else if (form == 1) text_add(&text, "%c + 1", name), text_add(&p->tensors, "%c+2", size);
		else if (form == 2) text_add(&text, "%c - 1 - %c", size, name), text_add(&p->tensors, "%c", size);
		else if (form == 3 && outside) text_add(&text, "2 * %c - 1", name), text_add(&p->tensors, "%c", size);
		else if (form == 4 && outside) text_add(&text, "3 - %c", name), text_add(&p->tensors, "3");
		else if (form == 9) window(p, &text, outside);
		else if (form == 10 && p->ntensors < 20) gather(p, &text, &more);
		else if (form == 5) text_add(&text, "%c", name), text_add(&p->tensors, "%c+1", size);
		else text_add(&text, "%c", name), text_add(&p->tensors, "%c", size);
	}
	if (outside) text_add(&text, roll(p, 2) ? " | 0" : " | %c * 0.5", variables[pick(p)]);
	text_add(&text, "]");
	if (more.length) text_add(&p->tensors, "%s", more.data);
	return text.data;
}

static const char *element(Draft *p, int depth);

/* Ranges are stated: a bare use of a larger tensor is then in range. */
static const char *reduction(Draft *p, int depth) {
	static const char *const kinds[] = {"sum", "sum", "sum", "sum", "mean", "max", "min", "logsumexp"};
	const char *kind = kinds[roll(p, COUNT(kinds))];
	Text text = {.arena = p->arena}, over = {.arena = p->arena};
	bool outer[VARIABLES];
	memcpy(outer, p->in_scope, sizeof outer);
	for (int v = 0; v < VARIABLES; v++) {
		if (p->in_scope[v] || roll(p, 2)) continue;
		text_add(&over, "%s%c < %c", over.length ? ", " : "", variables[v], sizes[v]);
		p->in_scope[v] = true;
	}
	if (!over.length) return leaf(p);
	text_add(&text, "%s[%s](", kind, over.data);
	int factors = kind[0] == 's' || !strcmp(kind, "mean") ? 1 + roll(p, 4) : 1;
	for (int i = 0; i < factors; i++) {
		text_add(&text, "%s", i ? roll(p, 6) ? " * " : " / (0.5 + abs(" : "");
		bool divides = text.data[text.length - 1] == '(' && i;
		text_add(&text, "%s%s", roll(p, 4) ? leaf(p) : element(p, depth - 1), divides ? "))" : "");
	}
	text_add(&text, ")");
	memcpy(p->in_scope, outer, sizeof outer);
	return text.data;
}

static const char *element(Draft *p, int depth) {
	if (depth <= 0 || p->ntensors > 9) return leaf(p);
	int kind = roll(p, 10);
	char v = variables[pick(p)], w = variables[pick(p)];
	const char *a = kind < 6 ? element(p, depth - 1) : NULL, *b = kind < 4 ? element(p, depth - 1) : NULL;
	switch (kind) {
	case 0: return arena_printf(p->arena, "(%s + %s)", a, b);
	case 1: return arena_printf(p->arena, "(%s - %s)", a, b);
	case 2: return arena_printf(p->arena, "(%s * %s)", a, b);
	case 3: return arena_printf(p->arena, "where(%c <= %c, %s, %s)", v, w, a, b);
	case 4: return arena_printf(p->arena, "max(%s, 0.25)", a);
	case 5: return arena_printf(p->arena, "(%s + %c * 0.125)", a, v);
	default: return reduction(p, depth);
	}
}

static const char *definition(Draft *p) {
	Text text = {.arena = p->arena};
	int order[VARIABLES];
	for (int i = 0; i < VARIABLES; i++) {
		int j = roll(p, i + 1);
		order[i] = order[j];
		order[j] = i;
	}
	int left = 1 + roll(p, 3);
	text_add(&text, "let y[");
	for (int i = 0; i < left; i++) {
		text_add(&text, "%s%c < %c", i ? ", " : "", variables[order[i]], sizes[order[i]]);
		p->in_scope[order[i]] = true;
	}
	text_add(&text, "] = %s", element(p, 3));
	return text.data;
}

static void run_program(uint64_t seed) {
	Arena *arena = arena_new();
	Draft p = {.arena = arena, .seed = hash_mix(seed), .tensors = {.arena = arena}};
	const char *text = definition(&p);
	Round *r = calloc(1, sizeof *r);
	round_start(r, "", text, seed);
	for (const char *c = "BKJNM"; *c; c++) r->size[(int)*c] = 1 + dice(r, 6);
	r->build.batch = r->size['B'];
	for (const char *at = p.tensors.data; *at; at += *at == ' ') add_tensor(r, &at);
	add_known(r, "b=B i=N j=J m=M k=K");
	Value v = elab_indexed_let(&r->e, r->scope, statement(r->file.tree));
	if (!value_ok(v)) {
		diag_print(r->e.diag, stderr, false);
		fail_msg("seed %llu: %s: not lowered; %s", (unsigned long long)seed, text, p.tensors.data);
	}
	fn_output(r->build.fn, "y", v.as.tensor.val, -1);
	fn_verify(r->build.fn, "elab");
	Oracle o = {.arrays = r->array, .narrays = r->narrays, .known = r->known, .nknown = r->nknown};
	Filled want = {.data = NEW_ARRAY(r->e.arena, double, type_count(v.as.tensor.val->type))};
	oracle_fill(&o, statement(r->file.tree), 0, 0, &want);
	Tensor out;
	fn_eval(r->e.arena, r->build.fn, EVAL_F64, r->input[0], &out);
	assert_int_equal(type_count(out.type), want.count);
	for (int64_t i = 0; i < want.count; i++) {
		double got = ((const double *)out.data)[i];
		if (!(fabs(got - want.data[i]) <= 1e-9 * (1000 + fabs(want.data[i]))))
			fail_msg("seed %llu: %s: element %lld is %.17g, not %.17g", (unsigned long long)seed, text, (long long)i, got,
			         want.data[i]);
	}
	arena_free(r->e.arena);
	arena_free(arena);
	free(r);
}

static void test_random(void **state) {
	(void)state;
	for (int i = 0; i < program_count; i++) run_program(first_seed + (uint64_t)i);
}

int main(int argc, char **argv) {
	if (argc > 1) first_seed = strtoull(argv[1], NULL, 10);
	if (argc > 2) program_count = atoi(argv[2]);
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
