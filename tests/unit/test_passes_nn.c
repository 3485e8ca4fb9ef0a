/* test_passes_nn.c: a Fn printed as .nn text is read back as a program of the same bits.
 * link: nnc_front nnc_passes nnc_ir */
#include "nn_text.h"

#define DATA "data d { x: f32[6] = csv(\"x.csv\", columns = 0..6); label: class[3] = csv(\"x.csv\", column = 6); " \
	"t: f32 = csv(\"x.csv\", column = 7) }\n"
static const char *const models[] = {
	DATA "model mlp(x: [B, 6]) -> logits[B, 3] = x |> dense(5) |> relu |> dense(3)\n"
	     "train { data = d; batch = 4; epochs = 2; let z = mlp(x); loss = cross_entropy(z, label); "
	     "metric accuracy = argmax(z) == label; optimizer = adam(lr = 0.01) }\n",
	DATA "model short(x: [B, 6]) -> logits[B, 3] = x |> dense(5) |> gelu |> dense(3)\n"
	     "train { data = d; batch = 4; precision = bf16; loss = cross_entropy(short(x), label); optimizer = sgd() }\n",
	DATA "model deep(x: [B, 6]) -> logits[B] { let h = x; for k in 0..4 { h = h |> dense(4) |> sigmoid }\n"
	     "  let z = dense(h, 1); return reshape(z, B) }\n"
	     "train { data = d; batch = 5; epochs = 2; loss = binary_cross_entropy(deep(x), sigmoid(t)); "
	     "optimizer = sgd(lr = 0.1, momentum = 0.9); clip = norm(1.0) }\n",
	DATA "model res(x: [B, 6]) -> [B] { let a = x |> dense(6) |> gelu; let b = x * a + x; let c = concat(a, b)\n"
	     "  let n[b, j] = c[b, j] - mean[k](c[b, k]); let y[b] = sum[j](n[b, j] * n[b, j]) / 12; return y }\n"
	     "train { data = d; batch = 3; epochs = 2; loss = huber(res(x), t); optimizer = rmsprop(lr = 0.01) }\n",
	DATA "model own(x: [B, 6]) -> [B, 3] { param w: [6, 3] = glorot_uniform(shape); param s: [3] = 1\n"
	     "  let y[b, j] = sum[k](x[b, k] * w[k, j]) * s[j]; let m[b, j] = max[k](x[b, k]) + y[b, j] ; return softmax(m) }\n"
	     "train { data = d; batch = 7; epochs = 2; let y = own(x); let g = grad(sum(y ^ 3), x); "
	     "loss = mean(g ^ 2) + mean(y ^ 2.5); optimizer = nadam(lr = 0.01) }\n",
};

static void test_models(void **state) {
	(void)state;
	Random r = {7};
	for (size_t i = 0; i < COUNT(models); i++) {
		Arena *arena = arena_new();
		Program *p = read_program(arena, models[i]);
		check_text(arena, run_passes(program_loss(p, 0, 4, true), 0, pass_count), &r, false);
		check_text(arena, run_passes(program_step(p, 0), 0, pass_count), &r, false);
		check_text(arena, run_passes(program_eval(p, 0, 3), 0, pass_count), &r, false);
		check_text(arena, run_passes(program_infer(p, 0, 2), 0, pass_count), &r, false);
		arena_free(arena);
	}
}

static void test_random_programs(void **state) {
	(void)state;
	const char *many = getenv("NNC_TEST_PROGRAMS");
	uint64_t count = many ? strtoull(many, NULL, 10) : 300;
	for (uint64_t seed = 1; seed <= count; seed++) {
		Random r = {hash_mix(seed)};
		Arena *arena = arena_new();
		Pool p = {.f = fn_new(arena, arena_printf(arena, "random%d", (int)seed)), .r = &r};
		build_random(&p);
		check_text(arena, run_passes(p.f, 0, pass_count), &r, true);
		arena_free(arena);
	}
}

/* ---- what reading would regroup ---- */

static Fn *f;
static Arena *shared;

static Val *tensor(const char *name, int rank, int64_t m, int64_t n) {
	return fn_input(f, name, INPUT_DATA, type_make(DTYPE_F32, rank, (int64_t[]){m, n}));
}

static void begin(void) {
	shared = arena_new();
	f = fn_new(shared, "directed");
}

static void end(Val *y) {
	Random r = {5};
	fn_output(f, "y", y, -1);
	check_text(shared, run_passes(f, 0, pass_count), &r, false);
	arena_free(shared);
}

/* Random numbers by the numbers of their elements. */
static void test_numbered_random(void **state) {
	(void)state;
	begin();
	Val *seed = fn_input(f, "seed", INPUT_DATA, type_make(DTYPE_I32, 1, (int64_t[]){2})), *step = ir_const(f, DTYPE_I32, 3);
	Val *number = fn_input(f, "number", INPUT_DATA, type_make(DTYPE_I32, 2, (int64_t[]){2, 3}));
	Val *u = ir_random_at(f, (Val *[]){seed, step, step}, ir_Add(f, number, ir_iota(f, number->type, 1)), 77, 2);
	end(ir_Add(f, u, ir_random_at(f, (Val *[]){seed, step, step}, number, 77, 2)));
	begin();
	seed = fn_input(f, "seed", INPUT_DATA, type_make(DTYPE_I32, 1, (int64_t[]){2})), step = ir_const(f, DTYPE_I32, 0);
	end(ir_random_at(f, (Val *[]){seed, step, step}, ir_const(f, DTYPE_I32, 7), 77, 2));
}

static Val *of(Op op, Val *a, Val *b) {
	return op == OpAdd ? ir_Add(f, a, b) : op == OpSub ? ir_Sub(f, a, b) : op == OpMul ? ir_Mul(f, a, b) : ir_Div(f, a, b);
}

static void test_parentheses(void **state) {
	(void)state;
	static const Op ops[] = {OpAdd, OpSub, OpMul, OpDiv};
	for (int k = 0; k < 32; k++) {
		begin();
		Val *x[] = {tensor("a", 1, 50, 0), tensor("b", 1, 50, 0), tensor("c", 1, 50, 0)};
		Val *inner = of(ops[k % 4], x[0], x[1]);
		end(k & 16 ? of(ops[k / 4 % 4], inner, x[2]) : of(ops[k / 4 % 4], x[2], inner));
	}
}

/* Products of long rows, in every order of axes, whose sums are lanes or chains. */
static void test_orders_of_sums(void **state) {
	(void)state;
	for (int k = 0; k < 8; k++) {
		begin();
		bool turned = k & 1, first = k & 2, wide = k & 4;
		Val *x = turned ? tensor("x", 2, 70, 3) : tensor("x", 2, 3, 70),
		    *w = wide ? tensor("w", 2, 70, 2) : tensor("w", 1, 70, 0);
		int64_t lx[] = {turned ? 1 : 0, turned ? 0 : 1}, lw[] = {1, 2}, ly[] = {0, 2};
		end(first ? ir_contract(f, x, lx, w, lw, wide ? 2 : 1, ly) : ir_contract(f, w, lw, x, lx, wide ? 2 : 1, ly));
	}
	/* two summed axes: their order in the first factor is the order of the sum */
	for (int k = 0; k < 4; k++) {
		begin();
		Val *x = tensor("x", 2, 9, 8), *w = fn_input(f, "w", INPUT_DATA, type_make(DTYPE_F32, 3, (int64_t[]){2, 8, 9}));
		int64_t lx[] = {0, 1}, lw[] = {2, 1, 0}, ly[] = {2};
		end(k & 1 ? ir_contract(f, x, lx, w, lw, 1, ly) : ir_contract(f, w, lw, x, lx, 1, ly));
	}
	begin();
	Val *a = tensor("a", 2, 4, 90), *b = tensor("b", 2, 90, 4);
	end(ir_contract(f, a, (int64_t[]){0, 1}, b, (int64_t[]){1, 0}, 1, (int64_t[]){0}));
}

static void test_sums_of_products(void **state) {
	(void)state;
	for (int k = 0; k < 8; k++) {
		begin();
		Val *x = tensor("x", 2, 60, 3), *z = tensor("z", 2, 60, 3), *c = tensor("c", 1, 3, 0);
		Val *wide = ir_broadcast(f, c, 2, x->type.dim, (int64_t[]){1}), *body = NULL;
		switch (k) {
		case 0: body = ir_Mul(f, x, wide); break;
		case 1: body = ir_Mul(f, ir_Mul(f, x, z), ir_Add(f, x, z)); break;
		case 2: body = ir_Mul(f, ir_Add(f, x, z), ir_Mul(f, x, z)); break;
		case 3: body = ir_Div(f, x, wide); break;
		case 4: body = ir_Div(f, ir_Mul(f, x, z), ir_Add(f, x, z)); break;
		case 5: body = ir_Mul(f, x, ir_like(f, x, 0.1)); break;
		case 6: body = ir_Neg(f, ir_Mul(f, x, z)); break;
		default: body = ir_Add(f, ir_Mul(f, x, z), wide);
		}
		end(ir_reduce(f, OpReduceSum, body, 1, (int64_t[]){0}));
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_models), cmocka_unit_test(test_parentheses),
	                                   cmocka_unit_test(test_orders_of_sums), cmocka_unit_test(test_sums_of_products),
	                                   cmocka_unit_test(test_numbered_random), cmocka_unit_test(test_random_programs)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
