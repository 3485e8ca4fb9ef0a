/* explain_memory.c: nnc compile --explain-memory: in: an object that has been made; out: what stands in each of its blocks and
 * why, by line of the program.  Guarantees: the figures of each block add up to its size. */
#include <stdio.h>
#include <string.h>

#include "object.h"

static const char *const hold_text[HOLD_KINDS] = {
    [HOLD_ACTIVATION] = "kept for the backward pass",
    [HOLD_INTERMEDIATE] = "on the way to a result",
    [HOLD_AGAIN] = "computed again",
    [HOLD_DERIVATIVE] = "a derivative",
    [HOLD_SCAN] = "what a turn of the scan works with",
    [HOLD_WORKING] = "packed operands, tiles, rows of one kernel at a time; this one has most",
    [HOLD_GAP] = "gaps between what is alive at different times",
    [HOLD_TAIL] = "room behind, so that the last vector may be read whole",
};

/* "line 3  dense(10)": the place, and what stands there up to the end of its line. */
static const char *place_text(const Session *s, Span span) {
	enum { SHOWN = 32 };
	if (!span.source) return "";
	const Source *source = &s->diag->sources.data[span.source - 1];
	int line, column;
	diag_place(s->diag, span, &line, &column);
	int n = 0;
	while (span.begin + (uint32_t)n < span.end && n < SHOWN && source->text[span.begin + (uint32_t)n] != '\n') n++;
	bool cut = span.begin + (uint32_t)n < span.end;
	const char *file = source->library ? source->name : "line", *between = source->library ? ":" : " ";
	return arena_printf(s->arena, "%s%s%d  %.*s%s", file, between, line, n, source->text + span.begin, cut ? ".." : "");
}

static void print_row(size_t bytes, const char *place, const char *why) {
	printf("%12zu  %-44s%s%s\n", bytes, place, *place ? "  " : "", why);
}

static bool same_place(const Holding *a, const Holding *b) {
	Span x = a->val ? a->val->span : (Span){0}, y = b->val ? b->val->span : (Span){0};
	return a->kind == b->kind && span_equal(x, y);
}

/* What keeping them would take, by place. */
static void print_again(const Session *s, const KernelProgram *kp) {
	if (!kp->again.length) return;
	printf("computed again where it is read, and not kept until then:\n");
	bool *done = NEW_ARRAY(s->arena, bool, kp->again.length);
	for (int i = 0; i < kp->again.length; i++) {
		const Span here = kp->again.data[i].val->span;
		size_t bytes = 0;
		int values = 0;
		for (int k = i; k < kp->again.length; k++) {
			if (done[k] || !span_equal(here, kp->again.data[k].val->span)) continue;
			bytes += kp->again.data[k].bytes;
			values++;
			done[k] = true;
		}
		if (values) print_row(bytes, place_text(s, here), values > 1 ? arena_printf(s->arena, "%d values", values) : "");
	}
}

/* Holdings of one kind and place are one row. */
static void print_scratch(const Session *s, const KernelProgram *kp, const char *what) {
	Holdings list = kernel_memory(kp);
	printf("\nscratch %s: %zu bytes, fullest at %s\n", what, kp->arena_bytes,
	       list.fullest ? place_text(s, list.fullest->span) : "no place");
	bool *done = NEW_ARRAY(s->arena, bool, list.length + 1);
	for (int i = 0; i < list.length; i++) {
		const Holding *h = &list.data[i];
		size_t bytes = 0;
		int values = 0;
		for (int k = i; k < list.length; k++)
			if (!done[k] && same_place(h, &list.data[k])) {
				bytes += list.data[k].bytes;
				values++;
				done[k] = true;
			}
		if (!values) continue;
		const char *why = hold_text[h->kind];
		if (h->until && h->kind == HOLD_ACTIVATION && h->until->span.source) {
			int line, column;
			diag_place(s->diag, h->until->span, &line, &column);
			why = arena_printf(s->arena, "%s, of line %d at last", why, line);
		}
		if (values > 1) why = arena_printf(s->arena, "%s (%d values)", why, values);
		print_row(bytes, h->val ? place_text(s, h->val->span) : "", why);
	}
	print_again(s, kp);
}

static void print_tensors(const ObjectUnit *u, bool slots) {
	const Program *p = u->s->program;
	for (int i = 0; i < p->persistent.length; i++) {
		const Persistent *x = &p->persistent.data[i];
		if ((x->kind == INPUT_SLOT) != slots) continue;
		const char *kind = x->kind == INPUT_PARAM ? "a parameter" : x->kind == INPUT_STATE ? "a state" : "the optimiser's";
		print_row((size_t)u->members.data[i].count * (size_t)dtype_info[x->type.dtype].bytes, place_text(u->s, x->span),
		          arena_printf(u->s->arena, "%s: %s, %zu of numbers", kind, x->path, dense_bytes(x->type)));
	}
}

void explain_memory(const ObjectUnit *u) {
	const Embed *e = &u->embed;
	printf("\n%s_params: %zu bytes\n", u->x, e->params_bytes);
	print_row(sizeof(nnc_head), "", "the head: whose block it is");
	print_tensors(u, false);
	if (u->train) {
		printf("\n%s_train: %zu bytes\n", u->x, e->train_bytes);
		print_row(e->params_bytes, "", "the parameters' block, as above");
		print_tensors(u, true);
		print_row(e->train_bytes - u->layout.bytes, "", "counters and settings");
	}
	if (u->infer) print_scratch(u->s, u->made.infer, "to infer");
	if (u->train) print_scratch(u->s, u->made.train, "to train");
}
