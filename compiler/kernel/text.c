/* text.c: a KernelProgram as text: buffers, then kernels in order with their roots' formulas. */
#include "kernel.h"

static void print_dims(Text *out, Type t) {
	text_add(out, "%s[", dtype_info[t.dtype].text);
	for (int i = 0; i < t.rank; i++) text_add(out, i ? ",%lld" : "%lld", (long long)t.dim[i]);
	text_add(out, "]");
}

static void print_attributes(Text *out, const Val *v) {
	const OpInfo *info = &op_info[v->op];
	for (int i = 0; i < MAX_LISTS && info->list[i]; i++) {
		text_add(out, " %s=", info->list[i]);
		for (int k = 0; k < v->list[i].length; k++) text_add(out, k ? ",%lld" : "%lld", (long long)v->list[i].data[k]);
	}
	if (info->number) {
		text_add(out, " %s=", info->number);
		text_number(out, v->number);
	}
}

/* How values and buffers are named: by their numbers in the program, or (in a key) in the order of their first mention in
 * one kernel, so that kernels which do the same on other buffers read the same. */
typedef struct Names {
	const KernelProgram *kp;
	int *value, values;      /* by Val.id: number + 1; 0: not yet printed in this kernel */
	int *buffer;             /* by buffer: its name in a key; NULL: its own number */
} Names;

static int buffer_name(const Names *n, int buffer) { return n->buffer ? n->buffer[buffer] : buffer; }

/* The inline values that `v` needs, operands first, each once per kernel. */
static void print_value(Text *out, Names *n, const Val *v, bool top) {
	if ((!top && n->kp->buffer_of[v->id] >= 0) || n->value[v->id]) return;
	int nargs = v->op == OpCustom ? 1 : v->nargs;
	for (int i = 0; i < nargs; i++) print_value(out, n, v->arg[i], false);
	n->value[v->id] = ++n->values;
	text_add(out, "    %%%d = ", n->buffer ? n->values : v->id);
	print_dims(out, v->type);
	text_add(out, " %s", op_info[v->op].text);
	for (int i = 0; i < nargs; i++) {
		const Val *a = v->arg[i];
		int b = n->kp->buffer_of[a->id], number = n->buffer ? n->value[a->id] : a->id;
		if (!n->buffer || number) text_add(out, " %%%d", number);
		if (b >= 0) text_add(out, " @%d", buffer_name(n, b));
	}
	print_attributes(out, v);
	text_add(out, "\n");
}

static void print_view(Text *out, const Names *n, const char *name, const View *v) {
	text_add(out, " %s @%d+%lld", name, buffer_name(n, v->buffer), (long long)v->offset);
	for (int i = 0; i < 3; i++) text_add(out, i ? ",%lld" : "*%lld", (long long)v->stride[i]);
}

static void print_body(Text *out, Names *n, const Kernel *k) {
	if (k->kind == KERNEL_CONTRACT) {
		const Contraction *c = &k->contraction;
		text_add(out, "    contract batch %lld m %lld n %lld k %lld axes %d,%d,%d", (long long)c->batch, (long long)c->m, (long long)c->n,
		         (long long)c->k, c->axis_batch, c->axis_m, c->axis_n);
		if (c->fill) text_add(out, " a filled");
		else print_view(out, n, "a", &c->a);
		print_view(out, n, "b", &c->b);
		text_add(out, c->dot ? " dot\n" : "\n");
	}
	if (k->anchor) print_value(out, n, k->anchor, true);
	for (int i = 0; i < k->roots.length; i++) print_value(out, n, k->roots.data[i], true);
	for (int i = 0; i < k->roots.length; i++) {
		const Val *r = k->roots.data[i];
		text_add(out, "    store %%%d @%d\n", n->buffer ? n->value[r->id] : r->id, buffer_name(n, n->kp->buffer_of[r->id]));
	}
}

static const char *const buffer_kind_text[] = {"arena", "persistent", "io"};

static void print_shape(Text *out, const Kernel *k) {
	text_add(out, "%s domain ", kernel_kind_text[k->kind]);
	print_dims(out, k->domain);
	text_add(out, " workers %d rows %lld grain %lld partition %d panels %lld\n", k->workers, (long long)k->rows, (long long)k->grain,
	         k->partition, (long long)k->panels);
}

void kernel_print(Text *out, const KernelProgram *kp) {
	text_add(out, "kernels %s workers %d arena %zu scratch %zu\n", kp->fn->name, kp->workers, kp->arena_bytes, kp->scratch_bytes);
	for (int i = 0; i < kp->buffers.length; i++) {
		const Buffer *b = &kp->buffers.data[i];
		if (b->kind == BUFFER_ARENA && b->first < 0) continue;
		text_add(out, "  @%d ", i);
		print_dims(out, b->type);
		text_add(out, " row %lld %s %zu\n", (long long)b->row, buffer_kind_text[b->kind], b->kind == BUFFER_IO ? (size_t)b->io : b->offset);
	}
	Names names = {.kp = kp, .value = NEW_ARRAY(kp->arena, int, kp->fn->vals.length + 1)};
	for (int i = 0; i < kp->kernels.length; i++) {
		if (kp->kernels.data[i].barrier_before) text_add(out, "  barrier\n");
		text_add(out, "  kernel %d ", i);
		print_shape(out, &kp->kernels.data[i]);
		for (int v = 0; v < kp->fn->vals.length; v++) names.value[v] = 0;
		print_body(out, &names, &kp->kernels.data[i]);
	}
}

void kernel_key(Text *out, const KernelProgram *kp, const Kernel *k, const int *buffers, int nbuffers) {
	Names names = {.kp = kp, .value = NEW_ARRAY(kp->arena, int, kp->fn->vals.length + 1), .buffer = NEW_ARRAY(kp->arena, int, kp->buffers.length + 1)};
	print_shape(out, k);
	for (int i = 0; i < nbuffers; i++) {
		const Buffer *b = &kp->buffers.data[buffers[i]];
		names.buffer[buffers[i]] = i;
		text_add(out, "  @%d ", i);
		print_dims(out, b->type);
		text_add(out, " row %lld %s\n", (long long)b->row, b->kind == BUFFER_IO ? "io" : "own");
	}
	print_body(out, &names, k);
}
