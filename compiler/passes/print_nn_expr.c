/* print_nn_expr.c: values as expressions of the language, with parentheses where the grammar wants them.  Sums and
 * products associate to the left and are never regrouped: rounding depends on it. */
#include "print_nn.h"

#include <math.h>
#include <string.h>

void print_number(Text *out, double value, DType dtype) {
	if (dtype == DTYPE_BOOL) text_add(out, value != 0 ? "true" : "false");
	else if (isnan(value)) text_add(out, "(0.0 / 0.0)");
	else if (value == 0 && signbit(value)) text_add(out, "-0.0");
	else text_number(out, value);
}

bool is_literal(const Val *v) { return is_splat(v, NULL); }

/* A literal that keeps its dtype whatever stands beside it, and that the compiler does not compute with. */
static void print_typed(Text *out, const Val *v) {
	double x = 0;
	is_splat(v, &x);
	text_add(out, "(");
	print_number(out, x, v->type.dtype);
	text_add(out, " as %s)", dtype_info[v->type.dtype].text);
}

void print_read(Text *out, const char *name, int rank, const char *const *ix, Indices *all) {
	text_add(out, "%s", name);
	for (int i = 0; ix && i < rank; i++) {
		text_add(out, "%s%s", i ? ", " : "[", ix[i]);
		for (int k = 0; all && k < all->n; k++)
			if (all->name[k] == ix[i]) all->read[k] = true;
	}
	if (ix && rank) text_add(out, "]");
}

/* ---- shapes ---- */

/* The shape that v's whole-tensor text has, where an operand may be the end of another. */
static bool whole_shape(const Print *p, const Val *v, bool root, Type *shape) {
	*shape = v->type;
	if (is_literal(v)) return shape->rank = 0, true;
	if (!root && p->name[v->id]) return true;
	if (v->op == OpBroadcast) {
		for (int i = 0; i < v->list[0].length; i++)
			if (v->list[0].data[i] != v->type.rank - v->list[0].length + i) return false;
		return whole_shape(p, v->arg[0], false, shape);
	}
	if (!op_info[v->op].pointwise && v->op != OpCast) return false;
	shape->rank = 0;
	for (int i = 0; i < v->nargs; i++) {
		Type t;
		if (!whole_shape(p, v->arg[i], false, &t)) return false;
		if (t.rank > shape->rank) *shape = t; /* all are ends of v's dims, so the longest says all */
	}
	return true;
}

bool writes_whole(const Print *p, const Val *v) {
	Type shape;
	return whole_shape(p, v, true, &shape) && shape.rank == v->type.rank;
}

static bool orders(const Print *p, const Val *v, bool root, bool *full) {
	if (is_literal(v) || v->op == OpIota) return true;
	if (!root && p->name[v->id]) return *full = true;
	if (v->op == OpTranspose) return false;
	bool inner = false;
	for (int i = 0; i < v->nargs; i++) {
		bool one = false;
		if (!orders(p, v->arg[i], false, &one)) return false;
		inner |= one;
	}
	*full |= inner && v->op != OpBroadcast;
	return true;
}

bool reads_in_order(const Print *p, const Val *v) {
	bool full = false;
	return orders(p, v, false, &full) && full;
}

/* ---- operators ---- */

typedef struct Operator { Op op; const char *text; int level, left, right; } Operator;
static const Operator operators[] = {
	{OpAdd, "+", LEVEL_SUM, LEVEL_SUM, LEVEL_PRODUCT},         {OpSub, "-", LEVEL_SUM, LEVEL_SUM, LEVEL_PRODUCT},
	{OpMul, "*", LEVEL_PRODUCT, LEVEL_PRODUCT, LEVEL_UNARY},   {OpDiv, "/", LEVEL_PRODUCT, LEVEL_PRODUCT, LEVEL_UNARY},
	{OpIdiv, "//", LEVEL_PRODUCT, LEVEL_PRODUCT, LEVEL_UNARY}, {OpMod, "%", LEVEL_PRODUCT, LEVEL_PRODUCT, LEVEL_UNARY},
	{OpLt, "<", LEVEL_COMPARE, LEVEL_SUM, LEVEL_SUM},          {OpLe, "<=", LEVEL_COMPARE, LEVEL_SUM, LEVEL_SUM},
	{OpEq, "==", LEVEL_COMPARE, LEVEL_SUM, LEVEL_SUM},         {OpAnd, "and", LEVEL_AND, LEVEL_AND, LEVEL_NOT},
	{OpOr, "or", LEVEL_OR, LEVEL_OR, LEVEL_AND},
};

static const Operator *operator_of(Op op) {
	for (size_t i = 0; i < COUNT(operators); i++)
		if (operators[i].op == op) return &operators[i];
	return NULL;
}

static bool looks_real(double x) { return x != floor(x) || isinf(x); }

/* Operand k.  Of several literals the first says its dtype: so the program computes with them, and not its reader, who also
 * refuses to divide by a literal 0. */
static void print_operand(Print *p, Text *out, const Val *v, int k, const char *const *ix, Indices *all, int level) {
	int first = v->op == OpWhere, literals = 0;
	bool real = false;
	double x = 0;
	for (int i = first; i < v->nargs; i++) {
		literals += is_literal(v->arg[i]);
		if (is_splat(v->arg[i], &x)) real |= looks_real(x);
	}
	DType dtype = v->arg[k]->type.dtype;
	bool alone = k == first && literals == v->nargs - first, exponent = v->op == OpPow && k == 1;
	bool splat = is_splat(v->arg[k], &x), divisor = splat && k == 1 && x == 0 && (v->op == OpIdiv || v->op == OpMod);
	if (!splat || dtype == DTYPE_BOOL || !(alone || exponent || divisor)) {
		print_expr(p, out, v->arg[k], ix, all, level);
	} else if (v->op == OpWhere && dtype == DTYPE_F32 && !isnan(x)) {
		print_number(out, x, dtype);
		text_add(out, real || fabs(x) >= 1e15 || (x == 0 && signbit(x)) ? "" : ".0");
	} else {
		print_typed(out, v->arg[k]);
	}
}

static void print_binary(Print *p, Text *out, const Val *v, const Operator *o, const char *const *ix, Indices *all) {
	/* 0 < x reads better as x > 0, and is the same op */
	bool turned = (v->op == OpLt || v->op == OpLe) && is_literal(v->arg[0]) && !is_literal(v->arg[1]);
	print_operand(p, out, v, turned, ix, all, o->left);
	text_add(out, turned ? (v->op == OpLt ? " > " : " >= ") : " ");
	if (!turned) text_add(out, "%s ", o->text);
	print_operand(p, out, v, !turned, ix, all, o->right);
}

static void print_call(Print *p, Text *out, const Val *v, const char *const *ix, Indices *all) {
	text_add(out, "%s(", v->op == OpStop ? "stop_gradient" : op_info[v->op].text);
	for (int i = 0; i < v->nargs; i++) {
		if (i) text_add(out, ", ");
		print_operand(p, out, v, i, ix, all, 0);
	}
	text_add(out, ")");
}

static bool is_unequal(const Print *p, const Val *v) {
	return v->op == OpNot && v->arg[0]->op == OpEq && !p->name[v->arg[0]->id];
}

static int level_of(const Print *p, const Val *v) {
	const Operator *o = operator_of(v->op);
	if (o) return o->level;
	if (v->op == OpNeg) return LEVEL_UNARY;
	if (v->op == OpNot) return is_unequal(p, v) ? LEVEL_COMPARE : LEVEL_NOT;
	return LEVEL_POSTFIX;
}

static void print_unary(Print *p, Text *out, const Val *v, const char *const *ix, Indices *all) {
	const Val *a = v->arg[0];
	if (is_unequal(p, v)) {
		print_operand(p, out, a, 0, ix, all, LEVEL_SUM);
		text_add(out, " != ");
		print_operand(p, out, a, 1, ix, all, LEVEL_SUM);
	} else if (v->op == OpNot) {
		text_add(out, "not ");
		print_operand(p, out, v, 0, ix, all, LEVEL_NOT);
	} else {
		text_add(out, "-");
		print_operand(p, out, v, 0, ix, all, LEVEL_POSTFIX);
	}
}

/* Index names of the operand of a view, from those of the view. */
static void inner_indices(const Val *v, const char *const *ix, const char **inner) {
	const IntList list = v->list[0];
	for (int i = 0; i < list.length; i++) {
		if (v->op == OpBroadcast) inner[i] = ix[list.data[i]];
		else inner[list.data[i]] = ix[i];
	}
}

void print_expr(Print *p, Text *out, const Val *v, const char *const *ix, Indices *all, int level) {
	const char *inner[MAX_RANK];
	double x = 0;
	if (is_splat(v, &x)) {
		bool negative = signbit(x) && !isnan(x) && level > LEVEL_UNARY;
		text_add(out, negative ? "(" : "");
		print_number(out, x, v->type.dtype);
		text_add(out, negative ? ")" : "");
		return;
	}
	if (p->name[v->id]) {
		print_read(out, p->name[v->id], v->type.rank, ix, all);
		return;
	}
	if (v->op == OpBroadcast || v->op == OpTranspose) {
		if (ix) inner_indices(v, ix, inner);
		print_expr(p, out, v->arg[0], ix ? inner : NULL, all, level);
		return;
	}
	if (v->op == OpIota) {
		text_add(out, "%s", ix[v->list[0].data[0]]);
		return;
	}
	const Operator *o = operator_of(v->op);
	bool brackets = level_of(p, v) < level;
	text_add(out, brackets ? "(" : "");
	if (o) print_binary(p, out, v, o, ix, all);
	else if (v->op == OpNeg || v->op == OpNot) print_unary(p, out, v, ix, all);
	else if (v->op == OpCast) {
		if (is_literal(v->arg[0])) print_typed(out, v->arg[0]);
		else print_expr(p, out, v->arg[0], ix, all, LEVEL_POSTFIX);
		text_add(out, " as %s", dtype_info[v->type.dtype].text);
	} else print_call(p, out, v, ix, all);
	text_add(out, brackets ? ")" : "");
}
