/* indexed_oracle.h: indexed definitions by plain loops, one element at a time, straight from the syntax tree.
 *
 * Shares nothing with the elaborator: names are numbers or arrays, subscripts are computed, reductions are loops. */
#ifndef INDEXED_ORACLE_H
#define INDEXED_ORACLE_H

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ast.h"

enum { ORACLE_RANK = 8, ORACLE_NAMES = 40 };

typedef struct Array { const char *name; int rank; int64_t dim[ORACLE_RANK]; const double *data; } Array;
/* A name of the program: a number, a range of an index, or (name "..") a list of ranges. */
typedef struct Known { const char *name; int64_t number; int count; int64_t range[ORACLE_RANK]; } Known;

typedef struct Oracle {
	const Array *arrays; int narrays;
	const Known *known; int nknown;
	struct { const char *name; int64_t value; } bound[ORACLE_NAMES]; int nbound;
	int64_t dots[ORACLE_RANK]; int ndots;
} Oracle;

static const Known *oracle_known(const Oracle *o, const char *name) {
	for (int i = 0; i < o->nknown; i++)
		if (!strcmp(o->known[i].name, name)) return &o->known[i];
	fprintf(stderr, "the oracle does not know `%s`\n", name);
	assert(!"known name");
	return NULL;
}

static double oracle_at(Oracle *o, const Expr *x);

static double oracle_name(const Oracle *o, const char *name) {
	for (int i = o->nbound - 1; i >= 0; i--)
		if (!strcmp(o->bound[i].name, name)) return (double)o->bound[i].value;
	for (int i = 0; i < o->narrays; i++)
		if (!strcmp(o->arrays[i].name, name) && o->arrays[i].rank == 0) return o->arrays[i].data[0];
	return (double)oracle_known(o, name)->number;
}

static double oracle_subscript(Oracle *o, const Expr *x) {
	const Array *a = NULL;
	for (int i = 0; i < o->narrays; i++)
		if (!strcmp(o->arrays[i].name, x->left->name.text)) a = &o->arrays[i];
	assert(a);
	int64_t at = 0;
	int axis = 0;
	bool outside = false;
	for (int i = 0; i < x->subscripts.length; i++) {
		const Subscript *s = &x->subscripts.data[i];
		int width = s->dots ? a->rank - x->subscripts.length + 1 : 1;
		assert(!s->dots || width == o->ndots);
		for (int k = 0; k < width; k++, axis++) {
			double at_axis = s->dots ? (double)o->dots[k] : oracle_at(o, s->value);
			int64_t n = (int64_t)at_axis;
			outside |= (double)n != at_axis || n < 0 || n >= a->dim[axis];   /* a division with a rest is outside too */
			at = at * a->dim[axis] + n;
		}
	}
	assert(axis == a->rank);
	if (outside) return x->default_value ? oracle_at(o, x->default_value) : 0;
	return a->data[at];
}

typedef struct Total { const char *kind; double value; int64_t n, best; } Total;

static void oracle_loop(Oracle *o, const IndexList *list, int at, const Expr *body, Total *t);

static void oracle_dots(Oracle *o, const IndexList *list, int at, int axis, const Expr *body, Total *t) {
	const Known *known = oracle_known(o, "..");
	if (axis == known->count) {
		oracle_loop(o, list, at + 1, body, t);
		return;
	}
	for (int64_t i = 0; i < known->range[axis]; i++) {
		o->dots[axis] = i;
		o->ndots = known->count;
		oracle_dots(o, list, at, axis + 1, body, t);
	}
}

static void oracle_loop(Oracle *o, const IndexList *list, int at, const Expr *body, Total *t) {
	if (at == list->length) {
		double v = oracle_at(o, body);
		const char *k = t->kind;
		if (!strcmp(k, "sum") || !strcmp(k, "mean")) t->value += v;
		else if (!strcmp(k, "prod")) t->value = t->n ? t->value * v : v;
		else if (!strcmp(k, "min")) t->value = t->n && t->value < v ? t->value : v;
		else if (!strcmp(k, "logsumexp")) t->value += exp(v);
		else if (!t->n || v > t->value) t->value = v, t->best = t->n;
		t->n++;
		return;
	}
	if (list->data[at].dots) {
		oracle_dots(o, list, at, 0, body, t);
		return;
	}
	const char *name = list->data[at].name.text;
	int64_t n = oracle_known(o, name)->range[0];
	int slot = o->nbound++;
	o->bound[slot].name = name;
	for (int64_t i = 0; i < n; i++) {
		o->bound[slot].value = i;
		oracle_loop(o, list, at + 1, body, t);
	}
	o->nbound--;
}

static double oracle_reduce(Oracle *o, const Expr *x) {
	Total t = {.kind = x->name.text};
	oracle_loop(o, &x->indices, 0, x->left, &t);
	if (!strcmp(t.kind, "mean")) return t.value / (double)t.n;
	if (!strcmp(t.kind, "logsumexp")) return log(t.value);
	return !strcmp(t.kind, "argmax") ? (double)t.best : t.value;
}

static double oracle_call(Oracle *o, const Expr *x) {
	const char *f = x->left->name.text;
	double a = oracle_at(o, x->arguments.data[0].value);
	if (!strcmp(f, "where")) return oracle_at(o, x->arguments.data[a != 0 ? 1 : 2].value);
	if (!strcmp(f, "exp")) return exp(a);
	if (!strcmp(f, "sqrt")) return sqrt(a);
	if (!strcmp(f, "abs")) return fabs(a);
	if (!strcmp(f, "max")) return fmax(a, oracle_at(o, x->arguments.data[1].value));
	assert(!"known function");
	return 0;
}

static double oracle_binary(Oracle *o, const Expr *x) {
	double a = oracle_at(o, x->left), b = oracle_at(o, x->right);
	switch (x->op) {
	case OPERATOR_ADD: return a + b;
	case OPERATOR_SUB: return a - b;
	case OPERATOR_MUL: return a * b;
	case OPERATOR_DIV: return a / b;
	case OPERATOR_IDIV: return floor(a / b);
	case OPERATOR_MOD: return a - b * floor(a / b);
	case OPERATOR_POWER: return pow(a, b);
	case OPERATOR_LT: return a < b;
	case OPERATOR_LE: return a <= b;
	case OPERATOR_GT: return a > b;
	case OPERATOR_GE: return a >= b;
	case OPERATOR_EQ: return a == b;
	case OPERATOR_NE: return a != b;
	case OPERATOR_AND: return a != 0 && b != 0;
	case OPERATOR_OR: return a != 0 || b != 0;
	default: assert(!"known operator"); return 0;
	}
}

static double oracle_at(Oracle *o, const Expr *x) {
	switch (x->kind) {
	case EXPR_NUMBER: return x->is_integer ? (double)x->integer : x->number;
	case EXPR_NAME: return oracle_name(o, x->name.text);
	case EXPR_UNARY: return x->op == OPERATOR_NOT ? oracle_at(o, x->left) == 0 : -oracle_at(o, x->left);
	case EXPR_BINARY: return oracle_binary(o, x);
	case EXPR_SUBSCRIPT: return oracle_subscript(o, x);
	case EXPR_REDUCE: return oracle_reduce(o, x);
	case EXPR_CALL: return oracle_call(o, x);
	case EXPR_CAST: return oracle_at(o, x->left);
	default: assert(!"known expression"); return 0;
	}
}

/* Every element of `let y[..] = value` in row-major order; returns how many. */
typedef struct Filled { double *data; int64_t count; } Filled;
static inline void oracle_fill(Oracle *o, const Stmt *s, int at, int axis, Filled *out) {
	if (at == s->indices.length) {
		out->data[out->count++] = oracle_at(o, s->value);
		return;
	}
	const Index *index = &s->indices.data[at];
	const Known *known = oracle_known(o, index->dots ? ".." : index->name.text);
	if (index->dots && axis == known->count) {
		o->ndots = known->count;
		oracle_fill(o, s, at + 1, 0, out);
		return;
	}
	int slot = o->nbound;
	if (!index->dots) o->bound[o->nbound++].name = index->name.text;
	for (int64_t i = 0; i < known->range[axis]; i++) {
		if (index->dots) o->dots[axis] = i, oracle_fill(o, s, at, axis + 1, out);
		else o->bound[slot].value = i, oracle_fill(o, s, at + 1, 0, out);
	}
	if (!index->dots) o->nbound--;
}

#endif
