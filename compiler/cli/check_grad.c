/* check_grad.c: in: a program's loss; out: for each parameter, derivative and difference quotient along a direction.
 *
 * The quotient over steps h and h / 2, extrapolated, errs by terms of h^4 and by the rounding of the loss over h.  Where the
 * loss has a kink (relu, max) between the points, no quotient is right; a smaller step has fewer kinks and more rounding.
 * So steps shrink until the quotient agrees within 1e-7 or 10 times its own rounding error, and a direction on
 * which none does gets two successors.  A wrong derivative fails on all of them.  The shortest steps, which networks with
 * very many kinks need, are taken only where rounding leaves them five digits of the derivative. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "check.h"

enum { DIRECTIONS = 3 };
/* The long ones tell small derivatives from the rounding of the loss, where it is smooth. */
static const double steps[] = {1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8};
enum { SMOOTH_STEPS = 2, USUAL_STEPS = 6 };
static const double bound = 1e-7, move = 0.02, loose = 1e-5;

typedef struct Point {
	Check *c;
	const Fn *loss;              /* with what stop_gradient passes as inputs of its own */
	Tensor *inputs;              /* of loss; parameters in double */
	double rounding;             /* of one loss, absolute */
	const char *path;            /* of the parameter that moves */
} Point;

/* The loss that trains the parameter: of several updates, the sum of those that do. */
static double loss_of(const Point *p, const Tensor *outputs) {
	const Train *t = p->c->train;
	double sum = 0;
	for (int i = 0; i < t->nlosses; i++)
		if (loss_trains(&t->losses[i], p->path)) sum += *(double *)outputs[i + 1].data;
	return t->nlosses ? sum : *(double *)outputs[0].data;
}

/* A copy of f in which every value behind stop_gradient is an input, and those values as outputs of another: differences
 * of the loss must see them stand still. */
static void cut_stops(const Fn *f, Fn **cut, Fn **stopped) {
	Fn *a = fn_new(f->arena, f->name), *b = fn_new(f->arena, "stopped");
	Val **in_a = NEW_ARRAY(f->arena, Val *, f->vals.length + 1), **in_b = NEW_ARRAY(f->arena, Val *, f->vals.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		in_a[in->val->id] = fn_input(a, in->name, in->kind, in->type);
		in_b[in->val->id] = fn_input(b, in->name, in->kind, in->type);
	}
	for (int i = 0; i < f->vals.length; i++) {
		Val *v = f->vals.data[i];
		if (v->op == OpInput) continue;
		Val **args = NEW_ARRAY(f->arena, Val *, v->nargs + 1);
		for (int k = 0; k < v->nargs; k++) args[k] = in_b[v->arg[k]->id];
		in_b[i] = fn_rebuild(b, v, args);
		if (v->op == OpStop) {
			const char *name = arena_printf(f->arena, "stopped/%d", b->outputs.length);
			in_a[i] = fn_input(a, name, INPUT_DATA, v->type);
			fn_output(b, name, in_b[i], -1);
			continue;
		}
		for (int k = 0; k < v->nargs; k++) args[k] = in_a[v->arg[k]->id];
		in_a[i] = fn_rebuild(a, v, args);
	}
	for (int i = 0; i < f->outputs.length; i++) fn_output(a, f->outputs.data[i].name, in_a[f->outputs.data[i].val->id], -1);
	*cut = fn_canonical(a);
	*stopped = b->outputs.length ? fn_canonical(b) : NULL;
}

/* What f reads: data, and everything else at this moment. */
static Tensor *gather_inputs(Check *c, const Fn *f) {
	Situation now = {.step = 1, .epoch = 1, .seed = c->train->seed, .train = c->train, .block = c->block};
	Arena *arena = c->s->arena;
	Tensor *inputs = NEW_ARRAY(arena, Tensor, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		const char *dense = in->kind == INPUT_DATA ? check_field(c, in->name) : NULL;
		inputs[i] = dense ? wide_tensor(arena, in->type, dense) : wide_input(c->s, in, &now);
	}
	return inputs;
}

/* Parameters leave their initial values by a little: a bias of exactly 0 stands on the kink of a relu. */
static void move_away(const Fn *f, Tensor *inputs) {
	for (int i = 0; i < f->inputs.length; i++) {
		if (f->inputs.data[i].kind != INPUT_PARAM) continue;
		uint64_t seed = hash_bytes(f->inputs.data[i].name, strlen(f->inputs.data[i].name), 1);
		double *x = inputs[i].data;
		for (int64_t k = 0; k < type_count(inputs[i].type); k++)
			x[k] += move * ((double)(hash_mix(seed + (uint64_t)k) >> 11) * 0x1p-52 - 1);
	}
}

/* Differences of a finite loss against a derivative that is none: sqrt at 0, and its like. */
static bool all_finite(const double *x, int64_t n) {
	for (int64_t i = 0; i < n; i++)
		if (!isfinite(x[i])) return false;
	return true;
}

static double loss_at(const Point *p, int input, const double *direction, double h) {
	Arena *arena = arena_new();
	Tensor *inputs = arena_copy(arena, p->inputs, sizeof *inputs * (size_t)(p->loss->inputs.length + 1));
	Tensor *outputs = NEW_ARRAY(arena, Tensor, p->loss->outputs.length);
	int64_t n = type_count(inputs[input].type);
	double *x = arena_copy(arena, inputs[input].data, (size_t)n * sizeof *x);
	for (int64_t i = 0; i < n; i++) x[i] += h * direction[i];
	inputs[input].data = x;
	fn_eval(arena, p->loss, EVAL_F64, inputs, outputs);
	double loss = loss_of(p, outputs);
	arena_free(arena);
	return loss;
}

static double quotient_at(const Point *p, int input, const double *direction, double h) {
	return (loss_at(p, input, direction, h) - loss_at(p, input, direction, -h)) / (2 * h);
}

/* Signs at random and, weighing more so that they cannot cancel, the gradient itself: length 1. */
static void choose_direction(const double *gradient, int64_t n, uint64_t seed, double *direction) {
	double norm = 0, length = 0;
	for (int64_t i = 0; i < n; i++) norm += gradient[i] * gradient[i];
	double scale = norm > 0 ? sqrt((double)n / norm) : 0;
	for (int64_t i = 0; i < n; i++) {
		direction[i] = (hash_mix(seed + (uint64_t)i) & 1 ? 0.7 : -0.7) + scale * gradient[i];
		length += direction[i] * direction[i];
	}
	for (int64_t i = 0; i < n; i++) direction[i] /= sqrt(length > 0 ? length : 1);
}

static void compare(const Point *p, int input, const double *gradient, Derivative *d) {
	int64_t n = type_count(d->type);
	Arena *arena = arena_new();
	double *direction = NEW_ARRAY(arena, double, n);
	for (int k = 0; k < DIRECTIONS && !d->ok; k++) {
		choose_direction(gradient, n, hash_bytes(d->path, strlen(d->path), (uint64_t)k), direction);
		d->derivative = 0;
		for (int64_t i = 0; i < n; i++) d->derivative += gradient[i] * direction[i];
		for (size_t i = 0; i < COUNT(steps) && !d->ok; i++) {
			double h = steps[i], whole = quotient_at(p, input, direction, h), half = quotient_at(p, input, direction, h / 2);
			d->quotient = (4 * half - whole) / 3;
			d->error = fabs(d->quotient - d->derivative);
			double relative = bound * MAX(fabs(d->derivative), fabs(d->quotient)), rounding = 10 * p->rounding * 3 / h;
			if (i >= USUAL_STEPS && rounding > loose * fabs(d->derivative)) break;
			d->tolerance = MAX(relative, rounding);
			d->ok = d->error <= d->tolerance;
			d->kink |= !d->ok && i >= SMOOTH_STEPS;
		}
	}
	d->kink &= d->ok;
	arena_free(arena);
}

bool check_derivatives(Check *c) {
	Session *s = c->s;
	Program *p = s->program;
	const Fn *with = c->gradients;
	Fn *without = program_loss(p, c->number, c->train->batch, false);
	if (!without) return false;
	Fn *loss, *stopped;
	cut_stops(run_passes(without, 0, pass_index("grad")), &loss, &stopped);
	Tensor *inputs = gather_inputs(c, with), *outputs = NEW_ARRAY(s->arena, Tensor, with->outputs.length + 1);
	move_away(with, inputs);
	fn_eval(s->arena, with, EVAL_F64, inputs, outputs);
	Point point = {.c = c, .loss = loss, .inputs = gather_inputs(c, loss)};
	move_away(loss, point.inputs);
	if (stopped) {
		Tensor *from = gather_inputs(c, stopped), *values = NEW_ARRAY(s->arena, Tensor, stopped->outputs.length + 1);
		move_away(stopped, from);
		fn_eval(s->arena, stopped, EVAL_F64, from, values);
		for (int i = 0; i < loss->inputs.length; i++)
			for (int k = 0; k < stopped->outputs.length; k++)
				if (strcmp(loss->inputs.data[i].name, stopped->outputs.data[k].name) == 0) point.inputs[i] = values[k];
	}
	double base = *(double *)outputs[0].data;
	if (!isfinite(base)) {
		diag_error(s->diag, c->train->span, "the loss is %s on the first %s%s: no derivative of it can be checked",
		           isnan(base) ? "nan" : "infinite", arena_count(s->arena, c->train->batch, "sample"),
		           c->made_up ? " (made up, the data's files being absent)" : "");
		diag_help(s->diag, "`nnc train %s` names the first value that is not finite, and its line", s->options->file);
		return false;
	}
	point.rounding = DBL_EPSILON * MAX(fabs(base), 0.1);
	c->derivatives = NEW_ARRAY(s->arena, Derivative, with->outputs.length + 1);
	for (int i = 0; i < with->outputs.length; i++) {
		const char *name = with->outputs.data[i].name;
		if (strncmp(name, "grad/", 5) != 0) continue;
		Derivative *d = &c->derivatives[c->nderivatives++];
		*d = (Derivative){.path = name + 5, .type = outputs[i].type};
		point.path = d->path;
		int input = 0;
		while (input < loss->inputs.length && strcmp(loss->inputs.data[input].name, d->path) != 0) input++;
		d->finite = all_finite(outputs[i].data, type_count(d->type));
		if (input < loss->inputs.length) compare(&point, input, outputs[i].data, d);
		else d->ok = true; /* the loss does not read it */
		for (int64_t k = 0; input == loss->inputs.length && k < type_count(d->type); k++)
			d->ok &= ((double *)outputs[i].data)[k] == 0;
	}
	return true;
}
