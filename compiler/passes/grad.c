/* grad.c: derivatives.  In: a Fn with Grad, Mark, Custom and Cotangent values; out: the same function in ordinary
 * values.  Every Grad of one loss comes from one reverse sweep over the values between the wanted variables and that
 * loss; a Grad inside a loss stands before it and is an ordinary value by then, so nesting needs no care.
 *
 * Guarantees: adjoints that are zero for certain are not built; where several uses of a value add to its adjoint, the
 * last use in canonical order comes first; adjoints carry the span of what they derive. */
#include "grad.h"

#include <string.h>

/* ---- adjoints and masks ---- */

bool wanted(const Sweep *s, const Val *v) { return v->id < s->limit && s->active[v->id]; }

Val *whole(Sweep *s, Adjoint g) {
	if (!g.mask || g.clean) return g.value;
	Val *zero = ir_like(s->f, g.value, 0);
	return g.inverted ? ir_Where(s->f, g.mask, zero, g.value) : ir_Where(s->f, g.mask, g.value, zero);
}

static Val *passing(Sweep *s, Adjoint g) { return g.inverted ? ir_Not(s->f, g.mask) : g.mask; }

Adjoint masked(Sweep *s, Adjoint g, Val *condition, bool passes) {
	Adjoint by = {.value = g.value, .mask = condition, .inverted = !passes};
	if (!g.mask || (g.mask == condition && g.inverted == by.inverted)) return by;
	return (Adjoint){.value = g.value, .mask = ir_And(s->f, passing(s, g), passing(s, by))};
}

Adjoint unmask(Sweep *s, Val *value, Adjoint of) {
	double zero;
	of.value = value;
	of.clean = false;
	if (value->op != OpWhere) return of;
	if (is_splat(value->arg[2], &zero) && zero == 0) {
		of.value = value->arg[1];
		return masked(s, of, value->arg[0], true);
	}
	if (is_splat(value->arg[1], &zero) && zero == 0) {
		of.value = value->arg[2];
		return masked(s, of, value->arg[0], false);
	}
	return of;
}

static Adjoint add(Sweep *s, Adjoint a, Adjoint b) {
	if (!a.mask || !b.mask) return plain(ir_Add(s->f, whole(s, a), whole(s, b)));
	if (a.mask == b.mask && a.inverted == b.inverted)
		return (Adjoint){ir_Add(s->f, a.value, b.value), a.mask, a.inverted, a.clean && b.clean};
	/* Zero for certain where neither passes. */
	Val *sum = ir_Add(s->f, whole(s, a), whole(s, b));
	return (Adjoint){.value = sum, .mask = ir_Or(s->f, passing(s, a), passing(s, b)), .clean = true};
}

void give(Sweep *s, Val *v, Adjoint g) {
	if (!g.value || !wanted(s, v)) return;
	if (!type_equal(v->type, g.value->type)) die("the adjoint of %s has another type", op_info[v->op].text);
	Adjoint *at = &s->adjoint[v->id];
	*at = at->value ? add(s, *at, g) : g;
}

/* ---- element-wise rules: the derivative columns of ops.def ---- */

#define TWO_OVER_SQRT_PI 1.1283791670955126
#define Neg(x)         ir_Neg(s->f, x)
#define Exp(x)         ir_Exp(s->f, x)
#define Log(x)         ir_Log(s->f, x)
#define Sin(x)         ir_Sin(s->f, x)
#define Cos(x)         ir_Cos(s->f, x)
#define Add(x, z)      ir_Add(s->f, x, z)
#define Sub(x, z)      ir_Sub(s->f, x, z)
#define Mul(x, z)      ir_Mul(s->f, x, z)
#define Div(x, z)      ir_Div(s->f, x, z)
#define Pow(x, z)      ir_Pow(s->f, x, z)
#define Lt(x, z)       ir_Lt(s->f, x, z)
#define Le(x, z)       ir_Le(s->f, x, z)
#define Eq(x, z)       ir_Eq(s->f, x, z)
#define Where(x, z, w) ir_Where(s->f, x, z, w)
#define Like(x, n)     ir_like(s->f, x, n)
#define NONE           NULL

/* What the adjoint g of y contributes to operand k. */
static Val *pointwise_rule(Sweep *s, Val *y, int k, Val *g) {
	Val *a = y->arg[0], *b = y->nargs > 1 ? y->arg[1] : NULL, *c = y->nargs > 2 ? y->arg[2] : NULL;
	(void)a, (void)b, (void)c;
	switch (y->op) {
#define UNARY(Name, text, types, result, forward, da, meaning) case Op##Name: return da;
#define BINARY(Name, text, types, result, forward, da, db, meaning) case Op##Name: return k == 0 ? da : db;
#define TERNARY(Name, text, types, result, forward, da, db, dc, meaning) case Op##Name: return k == 0 ? da : k == 1 ? db : dc;
#define STRUCTURAL(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
	default: return NULL;
	}
}
#undef NONE

#define NONE rule_none
static Rule *const structural_rule[OP_COUNT] = {
#define UNARY(...)
#define BINARY(...)
#define TERNARY(...)
#define STRUCTURAL(Name, text, n, lists, number, derivative, meaning) [Op##Name] = derivative,
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
};
#undef NONE

/* Per op, a bit for each operand whose column is not NONE; for structural ops all or nothing. */
static unsigned derivable(Op op) {
	static const char *const columns[OP_COUNT][3] = {
#define UNARY(Name, text, types, result, forward, da, meaning) [Op##Name] = {#da},
#define BINARY(Name, text, types, result, forward, da, db, meaning) [Op##Name] = {#da, #db},
#define TERNARY(Name, text, types, result, forward, da, db, dc, meaning) [Op##Name] = {#da, #db, #dc},
#define STRUCTURAL(Name, text, n, lists, number, derivative, meaning)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
	};
	if (!op_info[op].pointwise) return structural_rule[op] == rule_none ? 0 : ~0u;
	unsigned bits = 0;
	for (int k = 0; k < op_info[op].arity; k++) bits |= (unsigned)(strcmp(columns[op][k], "NONE") != 0) << k;
	return bits;
}

/* The value of a result with the same mask, 0 where g's is: these ops make no NaN out of a 0. */
static bool keeps_zero(Op op) { return op == OpNeg || op == OpAdd || op == OpSub; }

static void pull_pointwise(Sweep *s, Val *y, Adjoint g) {
	unsigned bits = derivable(y->op);
	for (int k = 0; k < y->nargs; k++) {
		if (!(bits >> k & 1) || !wanted(s, y->arg[k])) continue;
		if (keeps_zero(y->op)) {
			Adjoint same = g;
			same.value = pointwise_rule(s, y, k, g.value);
			give(s, y->arg[k], same);
		} else {
			give(s, y->arg[k], unmask(s, pointwise_rule(s, y, k, g.value), g));
		}
	}
}

/* ---- the sweep ---- */

bool derivative_flows(const Val *v, int operand) {
	if (!dtype_is_float(v->type.dtype) && v->op != OpScan) return false;
	if (v->op == OpGrad) return operand == 0;   /* of the scalar, once it is replaced */
	if (v->op == OpCustom) return operand >= 1 && operand <= v->nargs / 2;
	return derivable(v->op) >> (op_info[v->op].pointwise ? operand : 0) & 1;
}

/* The operands through which a derivative can flow: of a custom op its inputs only. */
static Operands flowing(const Val *v) {
	if (!derivable(v->op)) return (Operands){0, 0};
	if (v->op == OpCustom) return (Operands){1, v->nargs / 2};
	return (Operands){0, v->nargs};
}

static bool is_active(const Sweep *s, const Val *v) {
	if (!dtype_is_float(v->type.dtype) && v->op != OpScan) return false;
	unsigned bits = derivable(v->op);
	Operands o = flowing(v);
	for (int i = 0; i < o.count; i++)
		if ((!op_info[v->op].pointwise || bits >> i & 1) && s->active[v->arg[o.first + i]->id]) return true;
	return false;
}

Sweep sweep_new(Fn *f, Val **cotangents, Replacements *replacements) {
	Sweep s = {.f = f, .arena = f->arena, .limit = f->vals.length, .cotangents = cotangents, .replacements = replacements};
	s.active = NEW_ARRAY(f->arena, bool, s.limit + 1);
	s.adjoint = NEW_ARRAY(f->arena, Adjoint, s.limit + 1);
	s.results = NEW_ARRAY(f->arena, Adjoint *, s.limit + 1);
	return s;
}

void sweep_paths(Sweep *s, int count, Val *const *roots) {
	bool *seen = NEW_ARRAY(s->arena, bool, s->limit + 1);
	for (int i = 0; i < count; i++) post_order(s->arena, roots[i], seen, flowing, &s->order);
	for (int i = 0; i < s->order.length; i++) {
		Val *v = s->order.data[i];
		if (!s->active[v->id]) s->active[v->id] = is_active(s, v);
	}
}

void sweep_pull(Sweep *s) {
	for (int i = s->order.length - 1; i >= 0; i--) {
		Val *v = s->order.data[i];
		Adjoint g = s->adjoint[v->id];
		if (!s->active[v->id] || (!g.value && !s->results[v->id])) continue;
		s->f->span = v->span;
		if (op_info[v->op].pointwise) pull_pointwise(s, v, g);
		else structural_rule[v->op](s, v, g);
	}
}

/* ---- the pass ---- */

typedef struct GradPass {
	Rebuild r;
	ValList grads;        /* the Grad values of the old function */
	bool *swept;          /* by old id: losses whose sweep is done */
	Val **cotangents;     /* by number, in the new function */
	Replacements replacements;
} GradPass;

/* Values of every Grad of `loss` (old function) that is not zero for certain. */
static void derive(GradPass *p, const Val *loss) {
	Fn *to = p->r.to;
	Val *root = p->r.map[loss->id];
	Sweep s = sweep_new(to, p->cotangents, &p->replacements);
	for (int i = 0; i < p->grads.length; i++) {
		const Val *g = p->grads.data[i];
		if (g->arg[0] == loss && p->r.map[g->arg[1]->id]) s.active[p->r.map[g->arg[1]->id]->id] = true;
	}
	p->swept[loss->id] = true;
	sweep_paths(&s, 1, &root);
	to->span = loss->span;
	give(&s, root, plain(ir_const(to, root->type.dtype, 1)));
	sweep_pull(&s);
	for (int i = 0; i < p->grads.length; i++) {
		const Val *g = p->grads.data[i], *by = g->arg[1];
		if (g->arg[0] != loss || !p->r.map[by->id] || p->r.map[g->id]) continue;
		Adjoint a = s.adjoint[p->r.map[by->id]->id];
		if (!a.value) continue;
		to->span = g->span;
		p->r.map[g->id] = whole(&s, a);
	}
}

/* A value over the mapped operands; a scan gets another body. */
static Val *copy_with_body(Rebuild *r, Val *v, Fn *(*change)(Fn *f)) {
	if (v->op != OpScan) return rebuild_copy(r, v);
	Val scan = *v;
	scan.body = change(v->body);
	return fn_rebuild(r->to, &scan, rebuild_args(r, v));
}

/* Replaces the Grads.  A scan's body is a function of its own: no value of it is seen from outside. */
static Fn *differentiate(Fn *f) {
	if (!f->canonical) f = fn_canonical(f);
	GradPass p = {.r = rebuild_start(f)};
	p.swept = NEW_ARRAY(f->arena, bool, f->vals.length);
	p.cotangents = NEW_ARRAY(f->arena, Val *, f->next_mark + 1);
	for (int i = 0; i < f->vals.length; i++)
		if (f->vals.data[i]->op == OpGrad) vec_push(f->arena, &p.grads, f->vals.data[i]);
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i], **map = p.r.map;
		if (v->op != OpGrad) {
			map[v->id] = copy_with_body(&p.r, v, differentiate);
			if (v->op == OpCotangent) p.cotangents[v->list[0].data[0]] = map[v->id];
			continue;
		}
		if (!p.swept[v->arg[0]->id]) derive(&p, v->arg[0]);
		p.r.to->span = v->span;
		if (!map[v->id]) map[v->id] = ir_like(p.r.to, map[v->arg[1]->id], 0);
	}
	fn_outputs_of(p.r.to, f, p.r.map);
	return replace_scans(p.r.to, &p.replacements);
}

/* Marks and custom ops have done their work. */
static Fn *strip(Fn *f) {
	Rebuild r = rebuild_start(f);
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i];
		if (v->op == OpMark || v->op == OpCustom) r.map[v->id] = r.map[v->arg[0]->id];
		else r.map[v->id] = copy_with_body(&r, v, strip);
	}
	return rebuild_finish(&r);
}

static bool has_derivatives(const Fn *f) {
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op == OpGrad || v->op == OpMark || v->op == OpCustom || v->op == OpCotangent) return true;
		if (v->op == OpScan && has_derivatives(v->body)) return true;
	}
	return false;
}

/* Without a copy where there is nothing to strip. */
Fn *pass_grad(Fn *f) {
	if (f->canonical && !has_derivatives(f)) return f;
	Fn *to = differentiate(f);
	if (has_derivatives(to) || fn_has(to, OpScan)) return strip(to);
	to->span = f->span;
	return fn_renumber(to);
}
