/* runner.c: in: an Executable; out: its frame with arena and io buffers, found by name.
 * io buffers are dense row-major, aligned to 64 bytes, with a spare vector behind each. */
#include "host.h"

#include <stdlib.h>
#include <string.h>

static bool is_persistent(InputKind kind) { return kind == INPUT_PARAM || kind == INPUT_STATE || kind == INPUT_SLOT; }

static size_t dense_bytes(Type t) { return (size_t)type_count(t) * (size_t)dtype_info[t.dtype].bytes; }

static void add_io(Runner *r, const char *name, Type type, bool input, InputKind kind) {
	r->name[r->nio] = name;
	r->type[r->nio] = type;
	r->input[r->nio] = input;
	r->kind[r->nio] = kind;
	r->bytes[r->nio++] = dense_bytes(type);
}

static void *zeroed(size_t count, size_t size) {
	void *p = calloc(count + 1, size);
	if (!p) fatal("out of memory");
	return p;
}

Runner *runner_new(const Executable *exe, Pool *pool, char *persistent) {
	const Fn *fn = exe->fn;
	size_t most = (size_t)(fn->inputs.length + fn->outputs.length), total = 0;
	Runner *r = zeroed(1, sizeof *r);
	r->exe = exe;
	r->pool = pool;
	r->name = zeroed(most, sizeof *r->name);
	r->type = zeroed(most, sizeof *r->type);
	r->input = zeroed(most, sizeof *r->input);
	r->kind = zeroed(most, sizeof *r->kind);
	r->bytes = zeroed(most, sizeof *r->bytes);
	for (int i = 0; i < fn->inputs.length; i++) {
		const Input *in = &fn->inputs.data[i];
		if (!is_persistent(in->kind)) add_io(r, in->name, in->type, true, in->kind);
	}
	for (int i = 0; i < fn->outputs.length; i++) {
		const Output *out = &fn->outputs.data[i];
		if (out->updates < 0) add_io(r, out->name, out->val->type, false, INPUT_KINDS);
	}
	for (int i = 0; i < r->nio; i++) total += (r->bytes[i] + 127) / 64 * 64;
	r->io_bytes = total;
	r->io_block = block_new(total);
	r->frame = (Frame){.persistent = persistent, .arena = block_new(exe->arena_bytes), .barrier = pool_barrier, .context = pool,
	                   .io = zeroed(most, sizeof(char *)), .executable = exe};
	size_t at = 0;
	for (int i = 0; i < r->nio; i++) {
		r->frame.io[i] = r->io_block + at;
		at += (r->bytes[i] + 127) / 64 * 64;
	}
	return r;
}

void runner_free(Runner *r) {
	if (!r) return;
	block_free(r->frame.arena, r->exe->arena_bytes);
	block_free(r->io_block, r->io_bytes);
	free(r->frame.io);
	free(r->name);
	free(r->type);
	free(r->input);
	free(r->kind);
	free(r->bytes);
	free(r);
}

static int find(const Runner *r, const char *name, bool input) {
	for (int i = 0; i < r->nio; i++)
		if (r->input[i] == input && r->name[i] && strcmp(r->name[i], name) == 0) return i;
	return -1;
}

int runner_input(const Runner *r, const char *name) { return find(r, name, true); }
int runner_output(const Runner *r, const char *name) { return find(r, name, false); }

int runner_input_kind(const Runner *r, InputKind kind) {
	for (int i = 0; i < r->nio; i++)
		if (r->input[i] && r->kind[i] == kind) return i;
	return -1;
}

void runner_seed(Runner *r, uint64_t seed) {
	uint32_t halves[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
	int i = runner_input_kind(r, INPUT_SEED);
	if (i >= 0) memcpy(r->frame.io[i], halves, sizeof halves);
}

void runner_count(Runner *r, InputKind kind, int64_t value) {
	int32_t count = (int32_t)MIN(value, INT32_MAX);
	int i = runner_input_kind(r, kind);
	if (i >= 0) memcpy(r->frame.io[i], &count, sizeof count);
}

void runner_settings(Runner *r, const Train *train) {
	for (int s = 0; s < train->nsettings; s++) {
		float value = (float)train->settings[s].value;
		for (int i = 0; i < r->nio; i++)
			if (r->input[i] && r->kind[i] == INPUT_SETTING && strcmp(r->name[i], train->settings[s].name) == 0)
				memcpy(r->frame.io[i], &value, sizeof value);
	}
}

void runner_init(const Executable *init, Pool *pool, const Program *p, const Layout *layout, char *persistent, uint64_t seed) {
	Runner *r = runner_new(init, pool, persistent);
	runner_seed(r, seed);
	runner_run(r);
	/* Outputs follow the inputs, one per persistent tensor, in order.  Names may differ: two blocks may call a slot the same. */
	int first = 0;
	while (first < r->nio && r->input[first]) first++;
	if (r->nio - first != layout->count) die("init has %d outputs for %d tensors", r->nio - first, layout->count);
	for (int i = 0; i < layout->count; i++) layout_load(layout, p, i, persistent, r->frame.io[first + i]);
	runner_free(r);
}
