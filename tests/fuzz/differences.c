/* differences.c: in: a program that is_smooth(); out: a parameter whose derivative, in f64, is not that of difference quotients.
 *
 * The derivative program after all passes stands against the loss before any of them.  Quotients over h and h / 2 are
 * extrapolated, along a direction of one parameter.  Programs jump and have kinks: steps shrink until a quotient agrees, and
 * another direction is tried where none does.  A derivative is wrong that agrees nowhere, though two steps agree with each
 * other: on the stairs that floor() makes of a large number they do not. */
#include <math.h>
#include <string.h>

#include "fuzz.h"
#include "passes.h"

enum { DIRECTIONS = 4, PARAMETERS = 2 };
static const double steps[] = {1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8};
static const double bound = 2e-6, steady = 1e-4;

typedef struct Point {
	const Train *train;
	const Fn *loss;
	Tensor *inputs;
	const char *path;
	int input;
} Point;

/* Of several updates, the sum of those that train the parameter. */
static double loss_of(const Point *p, const Tensor *outputs) {
	double sum = 0;
	for (int i = 0; i < p->train->nlosses; i++)
		if (loss_trains(&p->train->losses[i], p->path)) sum += *(double *)outputs[i + 1].data;
	return p->train->nlosses ? sum : *(double *)outputs[0].data;
}

static double loss_at(const Point *p, const double *direction, double h) {
	Arena *arena = arena_new();
	Tensor *inputs = arena_copy(arena, p->inputs, sizeof *inputs * (size_t)(p->loss->inputs.length + 1));
	Tensor *outputs = NEW_ARRAY(arena, Tensor, p->loss->outputs.length + 1);
	int64_t n = type_count(inputs[p->input].type);
	double *x = arena_copy(arena, inputs[p->input].data, (size_t)n * sizeof *x);
	for (int64_t i = 0; i < n; i++) x[i] += h * direction[i];
	inputs[p->input].data = x;
	fn_eval(arena, p->loss, EVAL_F64, inputs, outputs);
	double loss = loss_of(p, outputs);
	arena_free(arena);
	return loss;
}

static double quotient(const Point *p, const double *direction, double h) {
	return (loss_at(p, direction, h) - loss_at(p, direction, -h)) / (2 * h);
}

/* Signs at random and, weighing as much, the gradient itself. */
static void choose_direction(Dice *d, const double *gradient, int64_t n, double *direction) {
	double norm = 0, length = 0;
	for (int64_t i = 0; i < n; i++) norm += gradient[i] * gradient[i];
	double scale = norm > 0 ? sqrt((double)n / norm) : 0;
	for (int64_t i = 0; i < n; i++) {
		direction[i] = (one_in(d, 2) ? 0.7 : -0.7) + scale * gradient[i];
		length += direction[i] * direction[i];
	}
	for (int64_t i = 0; i < n; i++) direction[i] /= sqrt(length > 0 ? length : 1);
}

/* NULL: some quotient agrees, or none is a number, or no two are the same. */
static const char *compare(Arena *arena, Dice *d, const Point *p, const double *gradient) {
	int64_t n = type_count(p->inputs[p->input].type);
	double *direction = NEW_ARRAY(arena, double, n), base = fabs(loss_at(p, gradient, 0));
	const char *problem = NULL;
	for (int k = 0; k < DIRECTIONS; k++) {
		double slope = 0, before = NAN;
		choose_direction(d, gradient, n, direction);
		for (int64_t i = 0; i < n; i++) slope += gradient[i] * direction[i];
		for (size_t i = 0; i < COUNT(steps); i++) {
			double h = steps[i], whole = quotient(p, direction, h), half = quotient(p, direction, h / 2);
			double found = (4 * half - whole) / 3, rounding = 0x1p-52 * MAX(base, 0.1) * 60 / h;
			if (!isfinite(found) || fabs(found - slope) <= bound * MAX(fabs(found), fabs(slope)) + rounding) return NULL;
			if (fabs(found - before) + rounding <= steady * fabs(found))
				problem = arena_printf(arena, "the derivative by %s is %.9g along a direction, the difference quotient %.9g",
				                       p->path, slope, found);
			before = found;
		}
	}
	return problem;
}

/* The same for an input of that name in whatever Fn. */
static Tensor fill(Arena *arena, const Input *in, uint64_t seed) {
	Dice d = {hash_bytes(in->name, strlen(in->name), seed)};
	int64_t n = type_count(in->type);
	bool real = dtype_is_float(in->type.dtype);
	void *data = arena_alloc(arena, (size_t)n * 8);
	for (int64_t i = 0; i < n; i++) {
		uint32_t r = dice_next(&d);
		double u = r / 4294967296.0;
		if (real)
			((double *)data)[i] = in->kind == INPUT_STATE || in->kind == INPUT_SLOT ? u
			                      : in->kind == INPUT_SETTING                       ? 0.1 * u
			                                                                        : 3 * u - 1.5;
		else if (in->type.dtype == DTYPE_BOOL) ((int32_t *)data)[i] = (int32_t)(r % 2);
		else if (in->kind == INPUT_STEP || in->kind == INPUT_EPOCH) ((int32_t *)data)[i] = 3;
		else ((int32_t *)data)[i] = (int32_t)(r % (uint32_t)(in->classes ? in->classes : 70)) - (in->classes ? 0 : 8);
		if (in->type.dtype == DTYPE_U8 && ((int32_t *)data)[i] < 0) ((int32_t *)data)[i] = 0;
	}
	return (Tensor){in->type, data};
}

static Tensor *fill_all(Arena *arena, const Fn *f, uint64_t seed) {
	Tensor *inputs = NEW_ARRAY(arena, Tensor, f->inputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) inputs[i] = fill(arena, &f->inputs.data[i], seed);
	return inputs;
}

static int find_input(const Fn *f, const char *name) {
	for (int i = 0; i < f->inputs.length; i++)
		if (!strcmp(f->inputs.data[i].name, name)) return i;
	return -1;
}

const char *check_derivatives(Arena *arena, Program *program, uint64_t seed, Tally *tally) {
	const Train *train = &program->trains.data[0];
	Dice d = {hash_mix(seed ^ 0xd1ff)};
	Fn *with = run_passes(program_loss(program, 0, train->batch, true), 0, pass_count);
	Fn *loss = run_passes(program_loss(program, 0, train->batch, false), 0, pass_index("grad"));
	Point p = {.train = train, .loss = loss, .inputs = fill_all(arena, loss, seed)};
	Tensor *outputs = NEW_ARRAY(arena, Tensor, with->outputs.length + 1);
	fn_eval(arena, with, EVAL_F64, fill_all(arena, with, seed), outputs);
	if (!isfinite(*(double *)outputs[0].data)) return NULL;
	int first = roll(&d, with->outputs.length), done = 0;
	for (int k = 0; k < with->outputs.length && done < PARAMETERS; k++) {
		int i = (first + k) % with->outputs.length;
		const char *name = with->outputs.data[i].name;
		if (strncmp(name, "grad/", 5)) continue;
		p.path = name + 5;
		p.input = find_input(loss, p.path);
		const double *gradient = outputs[i].data;
		bool finite = true, zero = true;
		for (int64_t e = 0; e < type_count(outputs[i].type); e++) finite &= isfinite(gradient[e]) != 0, zero &= gradient[e] == 0;
		if (!finite) continue;
		const char *problem = p.input >= 0 ? compare(arena, &d, &p, gradient)
		                      : zero       ? NULL
		                                   : arena_printf(arena, "the derivative by %s is not 0: nothing reads it", p.path);
		if (problem) return problem;
		tally->differences++;
		done++;
	}
	return NULL;
}
