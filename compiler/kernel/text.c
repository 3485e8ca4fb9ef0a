/* text.c: a KernelProgram as text: buffers, then kernels in order with their roots' formulas; the body of a scan as a block,
 * whose buffers say what they are of the program around it. */
#include "kernel.h"

#include <string.h>

static void print_indent(Text *out, int depth) {
	for (int i = 0; i < depth; i++) text_string(out, "  ");
}

static void print_list(Text *out, const int64_t *list, int n) {
	for (int i = 0; i < n; i++) {
		if (i) text_string(out, ",");
		text_integer(out, list[i]);
	}
}

static void print_number(Text *out, const char *mark, int64_t number) {
	text_string(out, mark);
	text_integer(out, number);
}

static void print_dims(Text *out, Type t) {
	text_string(out, dtype_info[t.dtype].text);
	text_string(out, "[");
	print_list(out, t.dim, t.rank);
	text_string(out, "]");
}

/* How values and buffers are named: by their numbers in the program, or (in a key) in the order of their first mention in
 * one kernel, so that kernels which do the same on other buffers, or at another site, read the same. */
typedef struct Names {
	const KernelProgram *kp;
	uint32_t *value;         /* by Val.id: number + 1; 0: not yet printed in this kernel */
	VEC(int) printed;        /* whose numbers are to be cleared */
	bool key;
	const int *buffers;      /* in a key: those of the kernel; one's name is its place here */
	int nbuffers;
	Sites *sites;
	int depth;               /* of blocks */
} Names;

static int buffer_name(const Names *n, int buffer) {
	int name = 0;
	while (n->key && name < n->nbuffers && n->buffers[name] != buffer) name++;
	return n->key ? name : buffer;
}

static int site_name(const Names *n, int64_t site) {
	Sites *s = n->sites;
	int name = 0;
	while (name < s->length && s->data[name] != site) name++;
	if (name == s->length) vec_push(n->kp->arena, s, site);
	return name;
}

static void print_attributes(Text *out, const Names *n, const Val *v) {
	const OpInfo *info = &op_info[v->op];
	for (int i = 0; i < MAX_LISTS && info->list[i]; i++) {
		if (n->key && v->op == OpRandom && i == 0) {
			text_add(out, " site #%d", site_name(n, v->list[0].data[0]));
			continue;
		}
		if (n->key && v->op == OpMark) continue;   /* the number tells copies apart, and computes nothing */
		if (attribute_is_optional(i) && !v->list[i].length) continue;
		text_string(out, " ");
		text_string(out, info->list[i]);
		text_string(out, "=");
		print_list(out, v->list[i].data, v->list[i].length);
	}
	if (info->number && n->key) {   /* only to be told from others */
		uint64_t bits;
		memcpy(&bits, &v->number, sizeof bits);
		text_add(out, " %llx", (unsigned long long)bits);
	} else if (info->number) {
		text_add(out, " %s=", info->number);
		text_number(out, v->number);
	}
}

/* The inline values that `v` needs, operands first, each once per kernel. */
static void print_value(Text *out, Names *n, const Val *v, bool top) {
	if ((!top && n->kp->buffer_of[v->id] >= 0) || n->value[v->id]) return;
	int nargs = computed_operands(v);
	for (int i = 0; i < nargs; i++) print_value(out, n, v->arg[i], false);
	vec_push(n->kp->arena, &n->printed, v->id);
	n->value[v->id] = (uint32_t)n->printed.length;
	print_indent(out, n->depth + 2);
	print_number(out, "%", n->key ? n->printed.length : v->id);
	text_string(out, " = ");
	print_dims(out, v->type);
	text_string(out, " ");
	text_string(out, op_info[v->op].text);
	for (int i = 0; i < nargs; i++) {
		const Val *a = v->arg[i];
		int b = n->kp->buffer_of[a->id], number = n->key ? (int)n->value[a->id] : a->id;
		if (!n->key || number) print_number(out, " %", number);
		if (b >= 0) print_number(out, " @", buffer_name(n, b));
	}
	print_attributes(out, n, v);
	text_string(out, "\n");
}

static void print_loop(Text *out, const char *kind, const ContractLoop *l) {
	text_add(out, " %s %lld*%lld,%lld,%lld", kind, (long long)l->extent, (long long)l->a, (long long)l->b, (long long)l->y);
	for (int i = 0; i < l->naxes; i++) text_add(out, i ? ",%d" : "@%d", l->axis[i]);
}

static void print_contraction(Text *out, const Names *n, const Contraction *c) {
	print_indent(out, n->depth + 2);
	text_add(out, "contract");
	for (int i = 0; i < c->nouter; i++) print_loop(out, "outer", &c->outer[i]);
	print_loop(out, "rows", &c->rows);
	if (c->group) text_add(out, " in %lld*%lld", (long long)c->group, (long long)c->group_a);
	print_loop(out, "columns", &c->columns);
	for (int i = 0; i < c->nsum; i++) print_loop(out, "sum", &c->sum[i]);
	if (c->fill) text_add(out, " a filled");
	else text_add(out, " a @%d+%lld", buffer_name(n, c->a.buffer), (long long)c->a.offset);
	text_add(out, " b @%d+%lld cut %d by %lld%s", buffer_name(n, c->b.buffer), (long long)c->b.offset, c->cut,
	         (long long)c->per_block, c->dot ? " dot" : "");
	const char *way_a = c->a.piece ? "copied" : "widened", *way_b = c->b.piece ? "copied" : "widened";
	if (c->wide_a.level >= 0) text_add(out, " a %s within %d loops", way_a, c->wide_a.level);
	if (c->wide_b.level >= 0) text_add(out, " b %s within %d loops", way_b, c->wide_b.level);
	text_add(out, "\n");
}

static void print_body(Text *out, Names *n, const Kernel *k) {
	if (k->kind == KERNEL_CONTRACT) print_contraction(out, n, k->contraction);
	if (k->anchor) print_value(out, n, k->anchor, true);
	for (int i = 0; i < k->members.length; i++) {
		const RowValue *m = &k->members.data[i];
		print_value(out, n, m->val, true);
		print_indent(out, n->depth + 2);
		text_add(out, "pass %d %%%d%s\n", m->pass, n->key ? (int)n->value[m->val->id] : m->val->id, m->kept ? " kept" : "");
	}
	for (int i = 0; i < k->roots.length; i++) print_value(out, n, k->roots.data[i], true);
	for (int i = 0; i < k->roots.length; i++) {
		const Val *r = k->roots.data[i];
		print_indent(out, n->depth + 2);
		text_add(out, "store %%%d @%d\n", n->key ? (int)n->value[r->id] : r->id, buffer_name(n, n->kp->buffer_of[r->id]));
	}
	for (int i = 0; i < n->printed.length; i++) n->value[n->printed.data[i]] = 0;
	n->printed.length = 0;
}

static const char *const buffer_kind_text[] = {"arena", "persistent", "io", "outer"};

static void print_geometry(Text *out, const Buffer *b) {
	print_dims(out, b->type);
	text_add(out, " row %lld", (long long)b->row);
	for (int i = 0; b->strided && i < b->type.rank; i++) text_add(out, i ? ",%lld" : " strides %lld", (long long)b->stride[i]);
	if (b->dealt) text_add(out, " dealt");
	if (b->part) text_add(out, " by %lld", (long long)b->part);
}

/* Of a window: the buffer around it (or two that take turns), where it begins, and how far it moves with the index. */
static void print_place(Text *out, const Buffer *b) {
	text_add(out, " %s ", buffer_kind_text[b->kind]);
	if (b->within) {
		text_add(out, "@%d + %zu", b->within - 1, b->offset);
		return;
	}
	if (b->kind != BUFFER_OUTER) {
		text_add(out, "%zu", b->kind == BUFFER_IO ? (size_t)b->io : b->offset);
		return;
	}
	text_add(out, "@%d", b->outer[0]);
	if (b->outer[1] != b->outer[0]) text_add(out, ", @%d in turn", b->outer[1]);
	if (b->offset) text_add(out, " + %zu", b->offset);
	if (b->step) text_add(out, " + %lld for each index", (long long)b->step);
	if (b->exact) text_add(out, " exact");
}

static void print_shape(Text *out, const Kernel *k) {
	text_add(out, "%s domain ", kernel_kind_text[k->kind]);
	print_dims(out, k->domain);
	if (k->kind == KERNEL_ROWS) text_add(out, " width %lld passes %d", (long long)k->width, k->passes);
	text_add(out, " workers %d rows %lld grain %lld partition %d panels %lld%s", k->workers, (long long)k->rows,
	         (long long)k->grain, k->partition, (long long)k->panels, k->product_rows ? " of the product" : "");
	if (k->part) text_add(out, " by %lld", (long long)k->part);
	text_add(out, "\n");
}

static void print_program(Text *out, const KernelProgram *kp, int depth);

static void print_scan(Text *out, const KernelProgram *kp, const Kernel *k, int depth) {
	const char *reversed = k->scan->list[1].data[0] ? " reversed" : "";
	text_add(out, "scan %%%d count %lld%s workers %d%s\n", k->scan->id, (long long)scan_count(k->scan), reversed, k->workers,
	         k->dealt ? " dealt" : "");
	for (int i = 0; i < k->roots.length; i++) {
		const Val *r = k->roots.data[i];
		int number = (int)r->list[0].data[0];
		print_indent(out, depth + 2);
		const char *what = number < scan_carries(k->scan) ? "carry" : "stack";
		text_add(out, "%s %d is %%%d @%d\n", what, number, r->id, kp->buffer_of[r->id]);
	}
	print_program(out, k->body, depth + 2);
	if (!k->body->barrier_between) return;
	print_indent(out, depth + 3);
	text_add(out, "barrier between turns\n");
}

static void print_program(Text *out, const KernelProgram *kp, int depth) {
	print_indent(out, depth);
	if (kp->parent) text_add(out, "body workers %d arena @%d", kp->workers, kp->arena_buffer);
	else text_add(out, "kernels %s workers %d arena %zu", kp->fn->name, kp->workers, kp->arena_bytes);
	if (!kp->parent) text_add(out, " scratch %zu", kp->scratch_bytes);
	text_add(out, "\n");
	for (int i = 0; i < kp->buffers.length; i++) {
		const Buffer *b = &kp->buffers.data[i];
		if (b->kind == BUFFER_ARENA && b->first < 0 && !b->within) continue;
		print_indent(out, depth + 1);
		text_add(out, "@%d ", i);
		print_geometry(out, b);
		print_place(out, b);
		text_add(out, "\n");
	}
	Names names = {.kp = kp, .value = kp->walked, .depth = depth};
	for (int i = 0; i < kp->kernels.length; i++) {
		print_indent(out, depth + 1);
		if (kp->kernels.data[i].barrier_before) {
			text_add(out, "barrier\n");
			print_indent(out, depth + 1);
		}
		if (kp->kernels.data[i].together) {
			text_add(out, "together: %d\n", kp->kernels.data[i].together);
			print_indent(out, depth + 1);
		}
		text_add(out, "kernel %d ", i);
		if (kp->kernels.data[i].kind == KERNEL_SCAN) {
			print_scan(out, kp, &kp->kernels.data[i], depth);
			continue;
		}
		print_shape(out, &kp->kernels.data[i]);
		print_body(out, &names, &kp->kernels.data[i]);
	}
}

void kernel_print(Text *out, const KernelProgram *kp) { print_program(out, kp, 0); }

void kernel_key(Text *out, const KernelProgram *kp, const Kernel *k, const int *buffers, int nbuffers, Sites *sites) {
	Names names = {.kp = kp, .value = kp->walked, .key = true, .buffers = buffers, .nbuffers = nbuffers, .sites = sites};
	print_shape(out, k);
	for (int i = 0; i < nbuffers; i++) {
		const Buffer *b = &kp->buffers.data[buffers[i]];
		text_add(out, "  @%d ", i);
		print_geometry(out, b);
		text_add(out, "%s\n", b->exact ? " exact" : "");
	}
	print_body(out, &names, k);
}
