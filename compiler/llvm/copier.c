/* copier.c: in: a pad, or a slice with steps, that is not stored; out: a function that copies all but its first axis, one image
 * between its border, to a place where it lies row after row.  And the border alone, the rest having been written by who
 * computed it.
 *
 * A product calls it in its loop over images: the copy is then in a near cache, and the padded whole never in memory. */
#include "lower.h"

typedef struct Copier { Emit *e; Type type; const int64_t *lo, *hi, *stride; } Copier;

/* `count` elements at `to`: those at `from`, or zeros. */
static void write_run(const Copier *c, Value to, Value from, int64_t count) {
	Emit *e = c->e;
	int lanes = MAX(1, e->target->lanes);
	int64_t whole = count / lanes * lanes;
	if (whole) {
		EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), emit_index(e, whole), lanes);
		Value v = from ? emit_load(e, e->f32, lanes, emit_at(e, from, e->f32, loop.i)) : emit_f32(e, 0, lanes);
		emit_store(e, v, emit_at(e, to, e->f32, loop.i));
		emit_loop_end(e, &loop);
	}
	int tail = (int)(count - whole);
	if (!tail) return;
	Value v = from ? emit_load_partial(e, e->f32, lanes, emit_at_constant(e, from, e->f32, whole), tail) : emit_f32(e, 0, lanes);
	emit_store_partial(e, v, emit_at_constant(e, to, e->f32, whole), tail);
}

/* Axes `axis` and on. */
static void write_axis(const Copier *c, int axis, Value to, Value from) {
	Emit *e = c->e;
	int64_t lo = c->lo[axis], hi = c->hi[axis], size = c->type.dim[axis] - lo - hi, below = 1;
	bool run = true;   /* what is below has no border, and lies in one piece */
	for (int i = c->type.rank - 1; i > axis; i--) {
		run = run && c->lo[i] + c->hi[i] == 0 && (c->stride[i] == below || c->type.dim[i] == 1);
		below *= c->type.dim[i];
	}
	run = run && (c->stride[axis] == below || size == 1);
	if (lo) write_run(c, to, NULL, lo * below);
	Value inside = emit_at_constant(e, to, e->f32, lo * below);
	if (run) {
		write_run(c, inside, from, size * below);
	} else {
		if (axis == c->type.rank - 1) die("a pad of elements that are not adjacent");
		EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), emit_index(e, size), 1);
		write_axis(c, axis + 1, emit_at(e, inside, e->f32, emit_mul(e, loop.i, emit_index(e, below))),
		           emit_at(e, from, e->f32, emit_mul(e, loop.i, emit_index(e, c->stride[axis]))));
		emit_loop_end(e, &loop);
	}
	if (hi) write_run(c, emit_at_constant(e, inside, e->f32, size * below), NULL, hi * below);
}

static bool has_border(const Val *pad, int axis) {
	for (int i = axis; i < pad->type.rank; i++)
		if (pad->list[0].data[i] + pad->list[1].data[i] + pad->list[2].data[i]) return true;
	return false;
}

/* The zeros of axes `axis` and on. */
static void write_zeros(const Copier *c, const Val *pad, int axis, Value to) {
	Emit *e = c->e;
	if (!has_border(pad, axis)) return;
	int64_t below = 1, lo = c->lo[axis], hi = c->hi[axis], between = pad->list[2].data[axis], n = pad->arg[0]->type.dim[axis];
	for (int i = axis + 1; i < c->type.rank; i++) below *= c->type.dim[i];
	if (lo) write_run(c, to, NULL, lo * below);
	Value inside = emit_at_constant(e, to, e->f32, lo * below);
	int64_t gaps = between ? n - 1 : n, step = (between + 1) * below;   /* elements that zeros follow, or all of them */
	if (gaps && (between || has_border(pad, axis + 1))) {
		EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), emit_index(e, gaps), 1);
		Value at = emit_at(e, inside, e->f32, emit_mul(e, loop.i, emit_index(e, step)));
		write_zeros(c, pad, axis + 1, at);
		if (between) write_run(c, emit_at_constant(e, at, e->f32, below), NULL, between * below);
		emit_loop_end(e, &loop);
	}
	if (between) write_zeros(c, pad, axis + 1, emit_at_constant(e, inside, e->f32, gaps * step));
	if (hi) write_run(c, emit_at_constant(e, inside, e->f32, (n - 1) * step + below), NULL, hi * below);
}

void lower_border(Emit *e, const Val *pad, Value to) {
	Copier c = {e, pad->type, pad->list[0].data, pad->list[1].data, NULL};
	write_zeros(&c, pad, 1, to);
}

int64_t lower_copied_step(const KernelProgram *kp, const Val *piece) { return piece_source(kp, piece).stride[0]; }

Value lower_copier(Emit *e, const KernelProgram *kp, const Val *piece) {
	View source = piece_source(kp, piece);
	static const int64_t none[MAX_RANK];
	bool pad = piece->op == OpPad;
	Copier c = {e, piece->type, pad ? piece->list[0].data : none, pad ? piece->list[1].data : none, source.stride};
	Text name = {.arena = e->arena};
	text_string(&name, "copy");
	for (int i = 1; i < piece->type.rank; i++)
		text_add(&name, "_%lldx%lldx%lldx%lld", (long long)c.type.dim[i], (long long)c.lo[i], (long long)c.hi[i],
		         (long long)c.stride[i]);
	Value function = LLVMGetNamedFunction(e->module, name.data);
	if (function) return function;
	EmitPlace place = emit_pause(e);
	function = emit_function(e, name.data, e->void_type, 2, (LLVMTypeRef[]){e->ptr, e->ptr}, true);
	write_axis(&c, 1, LLVMGetParam(function, 0), LLVMGetParam(function, 1));
	LLVMBuildRetVoid(e->builder);
	emit_resume(e, place);
	return function;
}
