/* print_nn_ops.c: one statement per named value.  Sums are written so that reading them gives the same order again: an
 * indexed sum lists its factors in the order of the contraction, and what would be regrouped gets a name first. */
#include "print_nn.h"

#include <string.h>

void print_let(Print *p, const Val *v) { text_add(p->out, "\tlet %s = ", p->name[v->id]); }

void print_indexed(Print *p, const char *name, int n, const char *const *ix, const Indices *all) {
	text_add(p->out, "\tlet %s", name);
	for (int i = 0; i < n; i++) {
		text_add(p->out, "%s%s", i ? ", " : "[", ix[i]);
		for (int k = 0; k < all->n; k++)
			if (all->name[k] == ix[i] && !all->read[k]) text_add(p->out, " < %lld", (long long)all->extent[k]);
	}
	text_add(p->out, "%s = ", n ? "]" : "");
}

static void print_dims(Print *p, Type t) {
	for (int i = 0; i < t.rank; i++) text_add(p->out, ", %lld", (long long)t.dim[i]);
}

static void print_splat(Print *p, const Val *v) {
	double x = 0;
	is_splat(v, &x);
	print_let(p, v);
	if (v->type.dtype == DTYPE_BOOL) { /* full() takes numbers */
		text_add(p->out, "full(%d", x != 0);
		print_dims(p, v->type);
		text_add(p->out, ") == 1\n");
		return;
	}
	text_add(p->out, "full((");
	print_number(p->out, x, v->type.dtype);
	text_add(p->out, " as %s)", dtype_info[v->type.dtype].text);
	print_dims(p, v->type);
	text_add(p->out, ")\n");
}

static void print_elements(Print *p, const Val *v) {
	const char *name = p->name[v->id];
	Text body = {.arena = p->arena};
	if (is_literal(v)) {
		print_splat(p, v);
		return;
	}
	p->name[v->id] = NULL;
	bool whole = writes_whole(p, v);
	Indices all = choose_indices(p, v->type.rank, v->type.dim);
	print_expr(p, &body, v, whole ? NULL : all.name, &all, 0);
	p->name[v->id] = name;
	if (whole) print_let(p, v);
	else print_indexed(p, name, v->type.rank, all.name, &all);
	text_add(p->out, "%s\n", body.data);
}

/* ---- reductions ---- */

static const char *reduction_text(Op op) {
	switch (op) {
	case OpReduceSum: return "sum";
	case OpReduceMax: return "max";
	case OpReduceMin: return "min";
	case OpReduceProd: return "prod";
	case OpReduceLse: return "logsumexp";
	case OpArgMax: return "argmax";
	default: return NULL;
	}
}

static bool is_product(const Val *v) { return v->op == OpMul || v->op == OpDiv; }

/* A body in place must name the axes in their order; a sum of products would be regrouped, but for two whole factors. */
bool takes_expression(const Print *p, const Val *user, const Val *operand) {
	if (!reduction_text(user->op)) return false;
	if (!(op_info[operand->op].pointwise || operand->op == OpCast) || operand->type.dtype == DTYPE_BOOL) return false;
	for (int i = 0; i < operand->nargs; i++)
		if (operand->arg[i]->op == OpTranspose) return false;
	(void)p;
	return true;
}

/* Asked when names are settled: is the body fit to stand in the sum? */
static bool body_fits(const Print *p, const Val *sum, const Val *body) {
	if (p->name[body->id]) return true;
	if (!reads_in_order(p, body)) return false;
	if (sum->op != OpReduceSum || !is_product(body)) return true;
	if (body->op == OpDiv || (is_product(body->arg[0]) && !p->name[body->arg[0]->id])) return false;
	return reads_in_order(p, body->arg[0]) && reads_in_order(p, body->arg[1]);
}

static void name_body(Print *p, const Val *body) {
	p->name[body->id] = fresh_name(p, "v");
	print_elements(p, body);
}

static void print_reduction(Print *p, const Val *v) {
	const Val *body = v->arg[0];
	int axis = (int)v->list[0].data[0];
	if (!body_fits(p, v, body)) name_body(p, body);
	Indices all = choose_indices(p, body->type.rank, body->type.dim);
	const char *left[MAX_RANK];
	for (int i = 0, n = 0; i < body->type.rank; i++)
		if (i != axis) left[n++] = all.name[i];
	Text text = {.arena = p->arena};
	if (p->name[body->id]) print_read(&text, p->name[body->id], body->type.rank, all.name, &all);
	else print_expr(p, &text, body, all.name, &all, 0);
	print_indexed(p, p->name[v->id], v->type.rank, left, &all);
	text_add(p->out, "%s[%s](%s)\n", reduction_text(v->op), all.name[axis], text.data);
}

/* ---- contractions ---- */

typedef struct Factor { const char *name; int rank; int64_t dim[MAX_RANK], label[MAX_RANK]; } Factor;

/* An operand of a contract; of integers whose sum has more bits than they have, as those. */
static Factor factor_of(Print *p, const Val *v, int k) {
	Factor x = {.name = p->name[v->arg[k]->id], .rank = v->arg[k]->type.rank};
	if (v->type.dtype != v->arg[k]->type.dtype) {
		const char *narrow = x.name;
		x.name = fresh_name(p, arena_printf(p->arena, "%s_wide", narrow));
		text_add(p->out, "\tlet %s = %s as %s\n", x.name, narrow, dtype_info[v->type.dtype].text);
	}
	memcpy(x.dim, v->arg[k]->type.dim, sizeof x.dim);
	memcpy(x.label, v->list[k].data, sizeof *x.label * (size_t)x.rank);
	return x;
}

/* The factor under a new name, its axes in the order of `order` (labels; the rest follow as they stood). */
static Factor reordered(Print *p, Factor x, int n, const int64_t *order) {
	Factor y = {.name = fresh_name(p, arena_printf(p->arena, "%st", x.name))};
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < (pass ? x.rank : n); i++) {
			int64_t label = pass ? x.label[i] : order[i];
			int at = label_at(x.label, x.rank, label);
			if (at < 0 || label_at(y.label, y.rank, label) >= 0) continue;
			y.label[y.rank] = label;
			y.dim[y.rank++] = x.dim[at];
		}
	if (!memcmp(x.label, y.label, sizeof *x.label * (size_t)x.rank)) return x;
	Indices all = choose_indices(p, x.rank, x.dim);
	const char *left[MAX_RANK];
	for (int i = 0; i < y.rank; i++) left[i] = all.name[label_at(x.label, x.rank, y.label[i])];
	Text text = {.arena = p->arena};
	print_read(&text, x.name, x.rank, all.name, &all);
	print_indexed(p, y.name, y.rank, left, &all);
	text_add(p->out, "%s\n", text.data);
	return y;
}

/* a [.., k] @ b [k] or [k, n] is this very contraction. */
static bool is_matmul(const Val *v) {
	const Type a = v->arg[0]->type, b = v->arg[1]->type;
	if (!dtype_is_float(a.dtype) || a.rank < 1 || b.rank < 1 || b.rank > 2 || v->type.rank != a.rank - 1 + b.rank - 1)
		return false;
	const int64_t *lb = v->list[1].data, *ly = v->list[2].data;
	for (int i = 0; i < a.rank - 1; i++)
		if (ly[i] != i) return false;
	return lb[0] == a.rank - 1 && (b.rank == 1 || (lb[1] == a.rank && ly[a.rank - 1] == a.rank));
}

/* The labels that x shares with y stand in y's order. */
static bool agrees(const Factor *x, const Factor *y) {
	int last = -1;
	for (int i = 0; i < x->rank; i++) {
		int at = label_at(y->label, y->rank, x->label[i]);
		if (at >= 0 && at < last) return false;
		if (at >= 0) last = at;
	}
	return true;
}

static bool summed_last(const Factor *x, const Val *v) {
	return x->rank && label_at(v->list[2].data, v->type.rank, x->label[x->rank - 1]) < 0;
}

/* Labels of x that y keeps (`kept`) or sums. */
static int labels_that(const Factor *x, const Val *v, bool kept, int64_t *labels) {
	int n = 0;
	for (int i = 0; i < x->rank; i++)
		if ((label_at(v->list[2].data, v->type.rank, x->label[i]) >= 0) == kept) labels[n++] = x->label[i];
	return n;
}

/* What reading the text decides by the order of axes is decided as it was: where only a has labels of its own, a sum in
 * lanes wants a's summed label last; where only b has, chains want b's summed label elsewhere. */
static void order_factors(Print *p, const Val *v, Factor *a, Factor *b) {
	int64_t order[2 * MAX_RANK] = {0};
	int own_a = 0, own_b = 0, n;
	for (int i = 0; i < a->rank; i++) own_a += label_at(b->label, b->rank, a->label[i]) < 0;
	for (int i = 0; i < b->rank; i++) own_b += label_at(a->label, a->rank, b->label[i]) < 0;
	if (!own_b && !summed_last(a, v)) {
		n = labels_that(a, v, true, order);
		*a = reordered(p, *a, n, order);
	}
	if (!own_a && own_b && summed_last(b, v)) {
		n = labels_that(b, v, false, order); /* summed ones first, which then must be a's order too */
		*b = reordered(p, *b, n, order);
		if (agrees(b, a)) return;
		*a = reordered(p, *a, labels_that(a, v, false, order), order);
	}
	if (!agrees(b, a)) *b = reordered(p, *b, a->rank, a->label);
}

/* let name[left] = sum[..](a * b). */
static void print_product(Print *p, const char *name, const Factor *a, const Factor *b, int ny, const int64_t *ly) {
	int64_t extent[2 * MAX_RANK], label[2 * MAX_RANK];
	int count = 0;
	for (int i = 0; i < a->rank; i++) label[count] = a->label[i], extent[count++] = a->dim[i];
	for (int i = 0; i < b->rank; i++)
		if (label_at(label, count, b->label[i]) < 0) label[count] = b->label[i], extent[count++] = b->dim[i];
	Indices all = choose_indices(p, count, extent);
	const char *ia[MAX_RANK], *ib[MAX_RANK], *left[MAX_RANK];
	for (int i = 0; i < a->rank; i++) ia[i] = all.name[label_at(label, count, a->label[i])];
	for (int i = 0; i < b->rank; i++) ib[i] = all.name[label_at(label, count, b->label[i])];
	for (int i = 0; i < ny; i++) left[i] = all.name[label_at(label, count, ly[i])];
	Text body = {.arena = p->arena}, sums = {.arena = p->arena};
	for (int i = 0; i < a->rank; i++)
		if (label_at(ly, ny, a->label[i]) < 0) text_add(&sums, "%s%s", sums.length ? ", " : "", ia[i]);
	print_read(&body, a->name, a->rank, ia, &all);
	text_add(&body, " * ");
	print_read(&body, b->name, b->rank, ib, &all);
	print_indexed(p, name, ny, left, &all);
	if (sums.length) text_add(p->out, "sum[%s](%s)\n", sums.data, body.data);
	else text_add(p->out, "%s + 0\n", body.data); /* a sum of one product starts at 0: -0 becomes +0 */
}

/* Two factors of equal labels read as a product and a sum; one more axis, of size 1, keeps the contraction. */
static void print_dot_of_rows(Print *p, const Val *v, const Factor *a, Factor b) {
	int64_t ly[MAX_RANK + 1];
	int ny = v->type.rank;
	memcpy(ly, v->list[2].data, sizeof *ly * (size_t)ny);
	const char *wide = fresh_name(p, arena_printf(p->arena, "%s_rows", b.name));
	const char *sum = fresh_name(p, arena_printf(p->arena, "%s_rows", p->name[v->id]));
	text_add(p->out, "\tlet %s = reshape(%s", wide, b.name);
	for (int i = 0; i < b.rank; i++) text_add(p->out, ", %lld", (long long)b.dim[i]);
	text_add(p->out, ", 1)\n");
	b.name = wide;
	b.dim[b.rank] = 1;
	ly[ny] = b.label[b.rank++] = INT32_MAX;
	print_product(p, sum, a, &b, ny + 1, ly);
	print_let(p, v);
	text_add(p->out, "reshape(%s", sum);
	print_dims(p, v->type);
	text_add(p->out, ")\n");
}

static void print_sum_of_products(Print *p, const Val *v) {
	Factor a = factor_of(p, v, 0), b = factor_of(p, v, 1);
	int64_t summed[MAX_RANK];
	bool same = a.rank == b.rank && a.rank < MAX_RANK && labels_that(&a, v, false, summed) > 0;
	for (int i = 0; i < a.rank; i++) same &= label_at(b.label, b.rank, a.label[i]) >= 0;
	if (!same) order_factors(p, v, &a, &b);
	else if (!agrees(&b, &a)) b = reordered(p, b, a.rank, a.label);
	if (same) print_dot_of_rows(p, v, &a, b);
	else print_product(p, p->name[v->id], &a, &b, v->type.rank, v->list[2].data);
}

static void print_contract(Print *p, const Val *v) {
	if (!is_matmul(v)) {
		print_sum_of_products(p, v);
		return;
	}
	print_let(p, v);
	text_add(p->out, "%s @ %s\n", p->name[v->arg[0]->id], p->name[v->arg[1]->id]);
}

/* ---- what has a name in the language ---- */

static void print_built_in(Print *p, const Val *v, const char *more);

static void print_gather(Print *p, const Val *v) {
	const Val *table = v->arg[0], *index = v->arg[1];
	int batch = (int)v->list[0].data[0];
	if (index == p->index && p->steps > table->type.dim[0]) {   /* as a subscript it would be out of range */
		print_built_in(p, v, "");
		return;
	}
	Indices all = choose_indices(p, v->type.rank, v->type.dim);
	const char *ix[MAX_RANK];
	Text at = {.arena = p->arena}, text = {.arena = p->arena};
	print_read(&at, p->name[index->id], index->type.rank, all.name, &all);
	for (int i = 0; i < table->type.rank; i++)
		ix[i] = i < batch ? all.name[i] : i == batch ? at.data : all.name[index->type.rank + i - batch - 1];
	print_read(&text, p->name[table->id], table->type.rank, ix, &all);
	print_indexed(p, p->name[v->id], v->type.rank, all.name, &all);
	text_add(p->out, "%s\n", text.data);
}

/* A built-in with the operands' names, then what else it takes. */
static void print_built_in(Print *p, const Val *v, const char *more) {
	print_let(p, v);
	text_add(p->out, "%s(", op_info[v->op].text);
	for (int i = 0; i < v->nargs; i++) text_add(p->out, "%s%s", i ? ", " : "", p->name[v->arg[i]->id]);
	text_add(p->out, "%s)\n", more);
}

static void print_random(Print *p, const Val *v) {
	print_let(p, v);
	text_add(p->out, "%s", "philox(");
	for (int i = 0; i < 3; i++) {
		double x = 0;
		bool number = !v->arg[i]->type.rank && is_splat(v->arg[i], &x);
		if (number) print_number(p->out, x, DTYPE_I32);
		else text_add(p->out, "%s", p->name[v->arg[i]->id]);
		text_add(p->out, ", ");
	}
	text_add(p->out, "%lld, %lld", (long long)v->list[0].data[0], (long long)v->list[1].data[0]);
	if (v->nargs == 4) text_add(p->out, ", %s", p->name[v->arg[3]->id]);
	else print_dims(p, v->type);
	text_add(p->out, ")\n");
}

/* What is not as `fold` has it by itself. */
static void print_fold(Print *p, const Val *v) {
	int axis = (int)v->list[0].data[0];
	const int64_t *dim = v->arg[0]->type.dim + axis;
	long long stride = v->list[1].data[0], dilation = v->list[2].data[0], total = v->type.dim[axis];
	Text more = {.arena = p->arena};
	text_add(&more, "%s", "");
	if (stride != 1) text_add(&more, ", stride = %lld", stride);
	if (dilation != 1) text_add(&more, ", dilation = %lld", dilation);
	if (total != (dim[0] - 1) * stride + (dim[1] - 1) * dilation + 1) text_add(&more, ", total = %lld", total);
	if (axis != v->type.rank - 1) text_add(&more, ", axis = %d", axis);
	print_built_in(p, v, more.data);
}

void print_definition(Print *p, const Val *v) {
	const char *axis = v->list[0].length ? arena_printf(p->arena, ", axis = %lld", (long long)v->list[0].data[0]) : "";
	if (reduction_text(v->op)) {
		print_reduction(p, v);
		return;
	}
	switch (v->op) {
	case OpContract: print_contract(p, v); return;
	case OpSlice:
	case OpPad:
	case OpFlip:
	case OpWindow: print_move(p, v); return;
	case OpGather: print_gather(p, v); return;
	case OpConcat:
	case OpCumSum:
	case OpArgSort: print_built_in(p, v, axis); return;
	case OpFold: print_fold(p, v); return;
	case OpRandom: print_random(p, v); return;
	case OpScatterAdd:
		print_built_in(p, v, arena_printf(p->arena, v->list[0].data[0] ? ", %lld, batch = %lld" : ", %lld",
		                                  (long long)v->type.dim[v->list[0].data[0]], (long long)v->list[0].data[0]));
		return;
	case OpReshape:
		print_let(p, v);
		text_add(p->out, "reshape(%s", p->name[v->arg[0]->id]);
		print_dims(p, v->type);
		text_add(p->out, ")\n");
		return;
	default:
		if (in_place(v) || v->op == OpConst) print_elements(p, v);
		else die("`%s` has no text in the language: nothing that is printed contains it", op_info[v->op].text);
	}
}
