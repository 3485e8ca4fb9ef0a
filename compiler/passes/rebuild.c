/* rebuild.c: see rebuild.h.  No recursion: programs are as deep as they like. */
#include "rebuild.h"

Rebuild rebuild_start(const Fn *from) {
	Rebuild r = {.from = from, .map = NEW_ARRAY(from->arena, Val *, from->vals.length + 1)};
	r.to = fn_with_inputs(from, r.map);
	r.to->next_mark = from->next_mark;
	r.to->precision = from->precision;
	return r;
}

Val **rebuild_args(Rebuild *r, const Val *v) {
	Val **args = NEW_ARRAY(r->to->arena, Val *, v->nargs + 1);
	for (int i = 0; i < v->nargs; i++) args[i] = r->map[v->arg[i]->id];
	r->to->span = v->span;
	return args;
}

Val *rebuild_copy(Rebuild *r, Val *v) {
	if (v->op == OpInput) return r->map[v->id];
	return fn_copy(r->to, v, rebuild_args(r, v));
}

Fn *rebuild_finish(Rebuild *r) {
	fn_outputs_of(r->to, r->from, r->map);
	r->to->span = r->from->span;
	return fn_renumber(r->to);
}

void post_order(Arena *arena, Val *root, bool *seen, Operands (*operands)(const Val *v), ValList *out) {
	struct { Val *v; int next; } top = {root, 0};
	VEC(Val *) values = {0};
	VEC(int) next = {0};
	if (seen[root->id]) return;
	seen[root->id] = true;
	for (;;) {
		Operands o = operands(top.v);
		if (top.next < o.count) {
			Val *a = top.v->arg[o.first + top.next++];
			if (seen[a->id]) continue;
			seen[a->id] = true;
			vec_push(arena, &values, top.v);
			vec_push(arena, &next, top.next);
			top.v = a;
			top.next = 0;
		} else {
			vec_push(arena, out, top.v);
			if (!values.length) return;
			top.v = values.data[--values.length];
			top.next = next.data[--next.length];
		}
	}
}
