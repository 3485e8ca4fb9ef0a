/* peak.c: a loop of independent fused multiply-adds, for the machine's peak.  In: a target.  Out: an object with
 * one function, void nnc_peak(float *values, int64_t turns). */
#include "emit.h"

Object peak_object(Arena *arena, const Target *target, double *flops_per_turn) {
	enum { CHAINS = 12 };
	Emit *e = emit_new(arena, target, "peak");
	int lanes = MAX(1, target->lanes);
	emit_function(e, "nnc_peak", e->void_type, 2, (LLVMTypeRef[]){e->ptr, e->i64}, false);
	Value values = LLVMGetParam(e->function, 0),
	      turns = LLVMBuildIntCast2(e->builder, LLVMGetParam(e->function, 1), e->index, true, "");
	Value a = emit_load(e, e->f32, lanes, values), b = emit_load(e, e->f32, lanes, emit_at_constant(e, values, e->f32, lanes));
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), turns, 1);
	for (int i = 0; i < CHAINS; i++) {
		Value chain = emit_loop_carry(e, &loop, emit_f32(e, i, lanes));
		emit_loop_next(e, &loop, i, emit_fma(e, chain, a, b));
	}
	emit_loop_end(e, &loop);
	Value sum = loop.result[0];
	for (int i = 1; i < CHAINS; i++) sum = LLVMBuildFAdd(e->builder, sum, loop.result[i], "");
	emit_store(e, sum, values);
	LLVMBuildRetVoid(e->builder);
	Object object = emit_object(e, false);
	emit_free(e);
	*flops_per_turn = 2.0 * CHAINS * lanes;
	return object;
}
