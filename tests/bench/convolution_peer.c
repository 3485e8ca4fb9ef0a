/* convolution_peer.c: oneDNN's convolution of one shape, in its own layout and without reorders: what convolutions.py times ours
 * against.  In: the shape and a sequence number of the pass (0 forward, 1 dw, 2 dx).  Out: a closure to run it.
 * C API of oneDNN 2 (Debian's libdnnl-dev). */
#include "convolution_peer.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>

static void check(dnnl_status_t status, const char *call) {
	if (status == dnnl_success) return;
	fprintf(stderr, "%s: status %d\n", call, (int)status);
	exit(1);
}
#define CHECK(call) check(call, #call)

struct Peer { dnnl_stream_t stream; dnnl_primitive_t primitive; dnnl_exec_arg_t args[3]; };

static dnnl_memory_t memory(dnnl_engine_t engine, const_dnnl_primitive_desc_t pd, dnnl_query_t what) {
	dnnl_memory_t m;
	const dnnl_memory_desc_t *d = dnnl_primitive_desc_query_md(pd, what, 0);
	CHECK(dnnl_memory_create(&m, d, engine, DNNL_MEMORY_ALLOCATE));
	float *p;
	CHECK(dnnl_memory_get_data_handle(m, (void **)&p));
	for (size_t i = 0; i < dnnl_memory_desc_get_size(d) / 4; i++) p[i] = (float)(i % 7) * 0.25f - 0.75f;
	return m;
}

Peer *peer_new(const Shape *s, int pass) {
	Peer *p = malloc(sizeof *p);
	dnnl_engine_t engine;
	CHECK(dnnl_engine_create(&engine, dnnl_cpu, 0));
	CHECK(dnnl_stream_create(&p->stream, engine, dnnl_stream_default_flags));
	dnnl_dims_t x = {s->batch, s->c, s->h, s->w}, y = {s->batch, s->o, s->oh, s->ow};
	dnnl_dims_t w = {s->o, s->c, s->r, s->s}, wg = {s->groups, s->o / s->groups, s->c / s->groups, s->r, s->s};
	dnnl_dims_t stride = {s->stride, s->stride}, before = {s->pad, s->pad};
	dnnl_dims_t after = {(s->oh - 1) * s->stride + s->r - s->h - s->pad, (s->ow - 1) * s->stride + s->s - s->w - s->pad};
	dnnl_memory_desc_t mx, my, mw;
	CHECK(dnnl_memory_desc_init_by_tag(&mx, 4, x, dnnl_f32, dnnl_format_tag_any));
	CHECK(dnnl_memory_desc_init_by_tag(&my, 4, y, dnnl_f32, dnnl_format_tag_any));
	CHECK(dnnl_memory_desc_init_by_tag(&mw, s->groups > 1 ? 5 : 4, s->groups > 1 ? wg : w, dnnl_f32, dnnl_format_tag_any));
	dnnl_convolution_desc_t d;
	dnnl_alg_kind_t alg = dnnl_convolution_direct;
	dnnl_primitive_desc_t forward, pd;
	CHECK(dnnl_convolution_forward_desc_init(&d, dnnl_forward_training, alg, &mx, &mw, NULL, &my, stride, before, after));
	CHECK(dnnl_primitive_desc_create(&forward, &d, NULL, engine, NULL));
	pd = forward;
	if (pass == 1) {
		CHECK(dnnl_convolution_backward_weights_desc_init(&d, alg, &mx, &mw, NULL, &my, stride, before, after));
		CHECK(dnnl_primitive_desc_create(&pd, &d, NULL, engine, forward));
		p->args[0] = (dnnl_exec_arg_t){DNNL_ARG_SRC, memory(engine, pd, dnnl_query_src_md)};
		p->args[1] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_DST, memory(engine, pd, dnnl_query_diff_dst_md)};
		p->args[2] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_WEIGHTS, memory(engine, pd, dnnl_query_diff_weights_md)};
	} else if (pass == 2) {
		CHECK(dnnl_convolution_backward_data_desc_init(&d, alg, &mx, &mw, &my, stride, before, after));
		CHECK(dnnl_primitive_desc_create(&pd, &d, NULL, engine, forward));
		p->args[0] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, memory(engine, pd, dnnl_query_weights_md)};
		p->args[1] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_DST, memory(engine, pd, dnnl_query_diff_dst_md)};
		p->args[2] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_SRC, memory(engine, pd, dnnl_query_diff_src_md)};
	} else {
		p->args[0] = (dnnl_exec_arg_t){DNNL_ARG_SRC, memory(engine, pd, dnnl_query_src_md)};
		p->args[1] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, memory(engine, pd, dnnl_query_weights_md)};
		p->args[2] = (dnnl_exec_arg_t){DNNL_ARG_DST, memory(engine, pd, dnnl_query_dst_md)};
	}
	CHECK(dnnl_primitive_create(&p->primitive, pd));
	return p;
}

void peer_run(Peer *p) {
	CHECK(dnnl_primitive_execute(p->primitive, p->stream, 3, p->args));
	CHECK(dnnl_stream_wait(p->stream));
}
