/* print_nn_moves.c: views that cut, pad and reverse.  In: such a value; out: one statement for it and for the views below it
 * that nothing else mentions: of pad, window and window, x[i, j + r - 1, k + s - 1, c | 0].
 *
 * A chain is windows, flips and slices, and at its end maybe one pad, whose value is the default.  Its left side lists the axes
 * of the value, so their order is as it was, whatever the subscripts say. */
#include "print_nn.h"

#include <stdlib.h>

enum { MOST_WINDOWS = 3 };   /* of a chain: a subscript may name four indices */

bool moves(const Val *v) { return v->op == OpWindow || v->op == OpFlip || v->op == OpSlice; }

bool merges(const Print *p, const Val *v) {
	int windows = 0;
	if (!moves(v)) return v->op == OpPad;
	for (const Val *x = v; x && moves(x); x = p->name[x->arg[0]->id] ? NULL : x->arg[0]) windows += x->op == OpWindow;
	return windows < MOST_WINDOWS;
}

/* ---- subscripts ---- */

/* offset + sum of by * index. */
typedef struct Sum { long long offset; int n; struct { long long by; const char *name; } term[MOST_WINDOWS + 1]; } Sum;

static Sum scaled(Sum x, long long by, long long offset) {
	x.offset = x.offset * by + offset;
	for (int i = 0; i < x.n; i++) x.term[i].by *= by;
	return x;
}

static Sum added(Sum x, Sum y) {
	x.offset += y.offset;
	for (int i = 0; i < y.n; i++) x.term[x.n++] = y.term[i];
	return x;
}

/* The subscripts of the operand of v, from those of v. */
static void step_down(const Val *v, const Sum *at, Sum *below) {
	const int64_t *first = v->list[0].data;
	int axis = (int)first[0];
	for (int i = 0; i < v->arg[0]->type.rank; i++) {
		if (v->op == OpWindow && i == axis)
			below[i] = added(scaled(at[i], v->list[1].data[0], 0), scaled(at[i + 1], v->list[2].data[0], 0));
		else if (v->op == OpWindow) below[i] = at[i < axis ? i : i + 1];
		else if (v->op == OpSlice) below[i] = scaled(at[i], v->list[1].data[i], first[i]);
		else if (v->op == OpPad) below[i] = scaled(at[i], 1, -first[i]);
		else below[i] = at[i];
	}
	for (int i = 0; v->op == OpFlip && i < v->list[0].length; i++)
		below[first[i]] = scaled(at[first[i]], -1, v->type.dim[first[i]] - 1);
}

/* extent: of the axis that is read; an index that runs over all of it need not say so. */
static void print_sum(Text *out, Sum x, long long divisor, int64_t extent, Indices *all) {
	if (divisor != 1) text_add(out, "(");
	size_t start = out->length;
	bool leads = x.n && x.term[0].by < 0 && x.offset > 0;   /* 5 - i */
	if (leads || !x.n) text_add(out, "%lld", x.offset);
	for (int i = 0; i < x.n; i++) {
		long long by = x.term[i].by;
		if (out->length > start) text_add(out, by < 0 ? " - " : " + ");
		else if (by < 0) text_add(out, "-");
		if (llabs(by) != 1) text_add(out, "%lld * ", llabs(by));
		text_add(out, "%s", x.term[i].name);
		bool alone = x.n == 1 && by == 1 && !x.offset && divisor == 1;
		for (int k = 0; alone && k < all->n; k++)
			if (all->name[k] == x.term[i].name && all->extent[k] == extent) all->read[k] = true;
	}
	if (!leads && x.n && x.offset) text_add(out, x.offset < 0 ? " - %lld" : " + %lld", llabs(x.offset));
	if (divisor != 1) text_add(out, ") / %lld", divisor);
}

/* let y[i, r < 3] = x[2 * i + r - 1 | 0] */
static void print_chain(Print *p, const Val *v) {
	Indices all = choose_indices(p, v->type.rank, v->type.dim);
	Sum at[MAX_RANK] = {0}, below[MAX_RANK];
	for (int i = 0; i < v->type.rank; i++) {
		at[i].n = 1;
		at[i].term[0].by = 1;
		at[i].term[0].name = all.name[i];
	}
	const Val *x = v, *pad = NULL;
	do {
		if (x->op == OpPad) pad = x;
		step_down(x, at, below);
		x = x->arg[0];
		for (int i = 0; i < x->type.rank; i++) at[i] = below[i];
	} while (!p->name[x->id]);
	Text text = {.arena = p->arena};
	text_add(&text, "%s", p->name[x->id]);
	for (int i = 0; i < x->type.rank; i++) {
		text_add(&text, i ? ", " : "[");
		print_sum(&text, at[i], pad ? (long long)pad->list[2].data[i] + 1 : 1, x->type.dim[i], &all);
	}
	if (pad) {
		text_add(&text, " | ");
		print_number(&text, pad->number, pad->type.dtype);
	}
	print_indexed(p, p->name[v->id], v->type.rank, all.name, &all);
	text_add(p->out, "%s]\n", text.data);
}

/* ---- one view alone ---- */

/* x[2..5, 0..4] */
static void print_part(Print *p, const Val *v) {
	print_let(p, v);
	for (int i = 0; i < v->type.rank; i++) {
		long long from = v->list[0].data[i];
		text_add(p->out, "%s%lld..%lld", i ? ", " : arena_printf(p->arena, "%s[", p->name[v->arg[0]->id]), from,
		         from + v->type.dim[i]);
	}
	text_add(p->out, "]\n");
}

/* One axis at a time. */
static void print_pad(Print *p, const Val *v) {
	Text text = {.arena = p->arena}, fill = {.arena = p->arena};
	text_add(&text, "%s", p->name[v->arg[0]->id]);
	print_number(&fill, v->number, v->type.dtype == DTYPE_BOOL ? DTYPE_I32 : v->type.dtype);
	for (int axis = 0; axis < v->type.rank; axis++) {
		long long lo = v->list[0].data[axis], hi = v->list[1].data[axis];
		if (lo || hi)
			text.data = arena_printf(p->arena, "pad(%s, %lld, %lld, %s, axis = %d)", text.data, lo, hi, fill.data, axis);
	}
	print_let(p, v);
	text_add(p->out, "%s\n", text.data);
}

static void print_flip(Print *p, const Val *v) {
	const char *text = p->name[v->arg[0]->id];
	for (int i = 0; i < v->list[0].length; i++)
		text = arena_printf(p->arena, "flip(%s, axis = %lld)", text, (long long)v->list[0].data[i]);
	print_let(p, v);
	text_add(p->out, "%s\n", text);
}

void print_move(Print *p, const Val *v) {
	bool alone = p->name[v->arg[0]->id] != NULL, unit = true;
	for (int i = 0; v->op == OpSlice && i < v->type.rank; i++) unit &= v->list[1].data[i] == 1;
	for (int i = 0; v->op == OpPad && i < v->type.rank; i++) unit &= v->list[2].data[i] == 0;
	if (!alone || !unit || v->op == OpWindow) print_chain(p, v);
	else if (v->op == OpSlice) print_part(p, v);
	else if (v->op == OpPad) print_pad(p, v);
	else print_flip(p, v);
}
