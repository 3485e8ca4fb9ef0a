/* test_kernels_together.c: kernels that run together, some rows at a time: the same bits as the f32 interpreter, for any number
 * of workers, in a line and in a table, and room for their parts alone.  link: nnc_llvm nnc_passes nnc_host nnc_kernel nnc_ir */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "expect_same.h"

/* y[b, i, j, o] = sum of x[b, i + r - 1, j + s - 1, c] w[r, s, c, o]. */
static Val *convolution(Fn *f, Val *x, int64_t o) {
	const int64_t pad[4] = {0, 1, 1, 0}, *dim = x->type.dim;
	Val *w = fn_input(f, arena_printf(f->arena, "w%d", f->inputs.length), INPUT_PARAM,
	                  type_make(DTYPE_F32, 4, (int64_t[]){3, 3, dim[3], o}));
	Val *taps = ir_window(f, ir_window(f, ir_pad(f, x, pad, pad, NULL, 0), 1, dim[1], 3, 1, 1), 3, dim[2], 3, 1, 1);
	return ir_contract(f, taps, (int64_t[]){0, 1, 2, 3, 4, 5}, w, (int64_t[]){2, 4, 5, 6}, 4, (int64_t[]){0, 1, 3, 6});
}

/* Convolutions one after the other, each with what it reads added; across: the mean over the batch is taken off before each. */
static Fn *net(Arena *arena, int64_t batch, int layers, int64_t channels, bool across) {
	Fn *f = fn_new(arena, "net");
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){batch, 5, 9, channels}));
	for (int i = 0; i < layers; i++) {
		if (across) {
			Val *sum = ir_reduce(f, OpReduceSum, x, 1, (int64_t[]){0});
			x = ir_Sub(f, x, ir_broadcast(f, sum, 4, x->type.dim, (int64_t[]){1, 2, 3}));
		}
		Val *y = convolution(f, x, channels);
		x = ir_Tanh(f, ir_Add(f, y, x));
	}
	fn_output(f, "y", x, -1);
	return fn_canonical(f);
}

static void count_parts(const KernelProgram *kp, int *kernels, int *buffers) {
	*kernels = *buffers = 0;
	for (int i = 0; i < kp->kernels.length; i++) *kernels += kp->kernels.data[i].part > 0;
	for (int i = 0; i < kp->buffers.length; i++) *buffers += kp->buffers.data[i].part > 0;
}

static void same_bits(void **state) {
	(void)state;
	static const struct { int batch, layers, channels; bool across; } cases[] = {
	    {2, 2, 16, false}, {7, 2, 3, false}, {9, 2, 5, false}, {8, 3, 20, true}, {5, 40, 2, false}, {6, 30, 4, true}};
	for (size_t i = 0; i < COUNT(cases); i++) {
		int in_parts = 0;   /* buffers; with how many workers depends on how fast the machine is held to be */
		for (int workers = 1; workers <= 4; workers++) {
			Arena *arena = arena_new();
			Fn *f = net(arena, cases[i].batch, cases[i].layers, cases[i].channels, cases[i].across);
			char *dense[64];
			for (int k = 0; k < f->inputs.length; k++) dense[k] = random_input(arena, f->inputs.data[k].type, 0, false);
			Compiled c;
			const char *problem = compare_compiled(arena, f, dense, target_host(arena), workers, &c);
			if (problem) fail_msg("net %d, %d workers: %s", (int)i, workers, problem);
			int kernels, buffers;
			count_parts(c.kernels, &kernels, &buffers);
			if (cases[i].batch >= 2 * workers) assert_true(kernels > 0), in_parts += buffers;
			compiled_free(&c);
			arena_free(arena);
		}
		assert_true(in_parts > 0);
	}
}

/* What is read under a pad is there whole: outside it, element 0 is read and dropped. */
static void read_under_pads(void **state) {
	(void)state;
	for (int kind = 0; kind < 12; kind++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "padded");
		DType dtype = kind % 2 ? DTYPE_U8 : DTYPE_F32;
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(dtype, 4, (int64_t[]){9, 7, kind % 3 ? 1 : 3, 5}));
		int64_t lo[3] = {0, 2, 0}, hi[3] = {0, 1, 0};
		Val *sum = ir_reduce(f, OpReduceMax, x, 1, (int64_t[]){3});
		fn_output(f, "y", ir_pad(f, sum, lo, hi, NULL, 0), -1);
		expect_same(arena, fn_canonical(f), 0, false, "padded");
		arena_free(arena);
	}
}

/* The padded image, which two convolutions read, is there for some samples alone. */
static void room_for_parts(void **state) {
	(void)state;
	size_t bytes[2];
	for (int more = 0; more < 2; more++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "net");
		Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 4, (int64_t[]){more ? 128 : 64, 5, 9, 16}));
		fn_output(f, "y", ir_Tanh(f, ir_Add(f, convolution(f, x, 16), convolution(f, x, 16))), -1);
		f = fn_canonical(f);
		Program program = {.arena = arena};
		for (int i = 1; i < f->inputs.length; i++) {
			Persistent w = {.path = f->inputs.data[i].name, .kind = INPUT_PARAM, .type = f->inputs.data[i].type, .train = -1};
			vec_push(arena, &program.persistent, w);
		}
		Layout layout = layout_program(arena, &program);
		Target target = *target_host(arena);
		target.l2 = 64 << 10;
		CompileOptions options = {.target = &target, .workers = 1, .no_cache = true};
		bytes[more] = compile_kernels(arena, f, &program, &layout, &options)->arena_bytes;
		arena_free(arena);
	}
	assert_true(bytes[0] == bytes[1]);
}

/* One number that all of them read, like the norm of all gradients, is near anyway. */
static void numbers_alone_join_nothing(void **state) {
	(void)state;
	for (int rows = 0; rows < 2; rows++) {
		Arena *arena = arena_new();
		Fn *f = fn_new(arena, "scaled");
		Val *s = fn_input(f, "s", INPUT_DATA, type_make(DTYPE_F32, rows ? 1 : 0, (int64_t[]){64}));
		for (int i = 0; i < 3; i++) {
			Val *x = fn_input(f, arena_printf(arena, "x%d", i), INPUT_DATA, type_make(DTYPE_F32, 2, (int64_t[]){64, 40 + 9 * i}));
			fn_output(f, arena_printf(arena, "y%d", i), ir_Mul(f, x, ir_broadcast(f, s, 2, x->type.dim, (int64_t[]){0})), -1);
		}
		Program program = {.arena = arena};
		Layout layout = layout_program(arena, &program);
		CompileOptions options = {.target = target_host(arena), .workers = 1, .no_cache = true, .always_share = true};
		int kernels, buffers;
		count_parts(compile_kernels(arena, fn_canonical(f), &program, &layout, &options), &kernels, &buffers);
		assert_int_equal(kernels, rows ? 3 : 0);
		arena_free(arena);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits), cmocka_unit_test(read_under_pads),
	                                   cmocka_unit_test(room_for_parts), cmocka_unit_test(numbers_alone_join_nothing)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
