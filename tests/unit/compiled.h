/* compiled.h: for tests: a Fn run as machine code and by the f32 interpreter on the same inputs, compared bit for bit. */
#ifndef NNC_TEST_COMPILED_H
#define NNC_TEST_COMPILED_H

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "elements.h"
#include "guarded.h"

typedef struct Barrier { atomic_int arrived, turn; int workers; } Barrier;
static void barrier_wait(void *context, int64_t tid) {
	Barrier *b = context;
	(void)tid;
	int turn = atomic_load(&b->turn);
	if (atomic_fetch_add(&b->arrived, 1) == b->workers - 1) {
		atomic_store(&b->arrived, 0);
		atomic_store(&b->turn, turn + 1);
	} else {
		while (atomic_load(&b->turn) == turn) sched_yield();
	}
}

typedef struct Worker { const Executable *exe; Frame *frame; int64_t tid; } Worker;
static void *worker_main(void *argument) {
	Worker *w = argument;
	w->exe->entry(w->frame, w->tid, w->exe->workers);
	return NULL;
}

static void run_entry(const Executable *exe, Frame *frame) {
	Barrier barrier = {.workers = exe->workers};
	Worker workers[16];
	pthread_t threads[16];
	frame->barrier = barrier_wait;
	frame->context = &barrier;
	for (int i = 0; i < exe->workers; i++) {
		workers[i] = (Worker){exe, frame, i};
		if (i && pthread_create(&threads[i], NULL, worker_main, &workers[i])) abort();
	}
	worker_main(&workers[0]);
	for (int i = 1; i < exe->workers; i++) pthread_join(threads[i], NULL);
}

/* dense[i]: bytes for f->inputs[i].  NULL: all outputs agree in every bit and nothing outside was touched; else what differs. */
static const char *compare_compiled_with(Arena *arena, Fn *f, char *const *dense, const CompileOptions *options, Compiled *out) {
	Program program = {.arena = arena};
	int *index = NEW_ARRAY(arena, int, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		Input *in = &f->inputs.data[i];
		index[i] = -1;
		if (in->kind != INPUT_PARAM && in->kind != INPUT_STATE && in->kind != INPUT_SLOT) continue;
		index[i] = program.persistent.length;
		vec_push(arena, &program.persistent, ((Persistent){.path = in->name, .kind = in->kind, .type = in->type, .train = -1}));
	}
	Layout layout = layout_program(arena, &program);
	Compiled c = compile_fn(arena, f, &program, &layout, options);
	if (out) *out = c;
	if (c.unsupported) return arena_printf(arena, "cannot compile %s", op_info[c.unsupported->op].text);
	if (c.error) return c.error;
	/* io ends where it may not be read on, the blocks begin where it may not be read before, and every other time otherwise */
	static unsigned turn;
	bool at_end = turn++ % 2;
	Guarded *guards = NULL;
	char *block = guarded_new(arena, &guards, layout.bytes, 64, !at_end);
	char *scratch = guarded_new(arena, &guards, c.executable.arena_bytes, 64, !at_end);
	memset(scratch, 0x7f, c.executable.arena_bytes);   /* garbage that would show: 3.4e38 as f32 */
	char **io = NEW_ARRAY(arena, char *, f->inputs.length + f->outputs.length + 1);
	size_t *io_bytes = NEW_ARRAY(arena, size_t, f->inputs.length + f->outputs.length + 1);
	int nio = 0;
	Tensor *in = NEW_ARRAY(arena, Tensor, f->inputs.length + 1), *expected = NEW_ARRAY(arena, Tensor, f->outputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		Type t = f->inputs.data[i].type;
		in[i] = (Tensor){t, to_elements(arena, t, dense[i])};
		if (index[i] >= 0) {
			layout_load(&layout, &program, index[i], block, dense[i]);
			continue;
		}
		io_bytes[nio] = (size_t)type_count(t) * (size_t)dtype_info[t.dtype].bytes;
		io[nio] = guarded_new(arena, &guards, io_bytes[nio], (size_t)dtype_info[t.dtype].bytes, at_end);
		memcpy(io[nio], dense[i], io_bytes[nio]);
		nio++;
	}
	int first_output = nio;
	for (int i = 0; i < f->outputs.length; i++) {
		Type t = f->outputs.data[i].val->type;
		if (f->outputs.data[i].updates >= 0) continue;
		io_bytes[nio] = (size_t)type_count(t) * (size_t)dtype_info[t.dtype].bytes;
		io[nio] = guarded_new(arena, &guards, io_bytes[nio], (size_t)dtype_info[t.dtype].bytes, at_end);
		nio++;
	}
	fn_eval(arena, f, EVAL_F32, in, expected);
	Frame frame = {.persistent = block, .arena = scratch, .io = io};
	run_entry(&c.executable, &frame);
	const char *problem = NULL;
	if (!guarded_hold(guards)) problem = "memory outside the blocks was written";
	int o = first_output;
	for (int i = 0; i < f->outputs.length && !problem; i++) {
		const Output *output = &f->outputs.data[i];
		Type t = output->val->type;
		const char *got = output->updates < 0 ? io[o++] : NULL;
		if (!got) {
			char *copy = arena_alloc(arena, (size_t)type_count(t) * 8);
			layout_store(&layout, &program, index[output->updates], block, copy);
			got = copy;
		}
		for (int64_t k = 0; k < type_count(t) && !problem; k++) {
			char text[120];
			if (!same_element(t, got, expected[i].data, k, text, sizeof text))
				problem = arena_printf(arena, "output %s[%lld] of %s: %s", output->name, (long long)k, type_text(arena, t), text);
		}
	}
	guarded_free(&guards);
	if (!out) compiled_free(&c);
	return problem;
}

static const char *compare_compiled(Arena *arena, Fn *f, char *const *dense, const Target *target, int workers, Compiled *out) {
	CompileOptions options = {.target = target, .workers = workers, .always_share = true, .no_cache = true};
	return compare_compiled_with(arena, f, dense, &options, out);
}

#endif
