/* check.c: in: a program's text; out: what is wrong with it, or nothing.
 *
 * Every Fn of the program (step, inference at two batch sizes, evaluation, gradients, initial values) is run by the f32
 * interpreter and as machine code for two targets and 1 to 3 workers; all bits must agree, and nothing outside of the
 * program's memory may change.  Workers run one after the other between barriers, in both orders, so that a missing barrier
 * shows every time; then freely, with jitter.  On a sample, each pass's text is read back.  Of most programs (is_thorough()) one
 * Fn is checked, for one target or, one in eight, for both. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compile.h"
#include "elements.h"
#include "fuzz.h"
#include "guarded.h"
#include "passes.h"

typedef struct Check {
	Arena *arena;
	Program *program;
	Layout layout;
	Coverage *coverage;
	Tally *tally;
	Dice dice, chance;             /* what is checked, which --plan repeats; and what varies between runs of it */
	Dice sample;                   /* what of a program of a campaign is checked */
	bool plan;
	const Target *host, *portable;
} Check;

/* ---- workers ---- */

enum { IN_ORDER, REVERSED, FREELY, WAYS };
typedef struct Crew {
	const Executable *executable;
	Frame frame;
	int way, workers;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int turn;                      /* IN_ORDER, REVERSED: whose it is, by position */
	atomic_int arrived, round;     /* FREELY */
	atomic_uint jitter;
} Crew;
typedef struct Worker { Crew *crew; int64_t tid; } Worker;

static int position(const Crew *c, int64_t tid) { return c->way == REVERSED ? c->workers - 1 - (int)tid : (int)tid; }

static void wait_turn(Crew *c, int64_t tid) {
	pthread_mutex_lock(&c->lock);
	while (c->turn != position(c, tid)) pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

static void pass_turn(Crew *c) {
	pthread_mutex_lock(&c->lock);
	c->turn = (c->turn + 1) % c->workers;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void linger(Crew *c, int64_t tid) {
	unsigned n = atomic_fetch_add(&c->jitter, 0x9e3779b9u) + (unsigned)tid * 0x85ebca6bu;
	if ((n >> 16) % 4 == 0) for (volatile unsigned i = (n >> 20) % 4096; i > 0; i--) {}
}

static void meet(void *context, int64_t tid) {
	Crew *c = context;
	if (c->way != FREELY) {
		pass_turn(c);
		wait_turn(c, tid);
		return;
	}
	int round = atomic_load(&c->round);
	if (atomic_fetch_add(&c->arrived, 1) == c->workers - 1) {
		atomic_store(&c->arrived, 0);
		atomic_store(&c->round, round + 1);
	} else {
		while (atomic_load(&c->round) == round) sched_yield();
	}
	linger(c, tid);
}

static void *work(void *argument) {
	Worker *w = argument;
	Crew *c = w->crew;
	if (c->way == FREELY) linger(c, w->tid);
	else wait_turn(c, w->tid);
	c->executable->entry(&c->frame, w->tid, c->workers);
	if (c->way != FREELY) pass_turn(c);
	return NULL;
}

static void run_crew(const Executable *executable, Frame frame, int way, unsigned jitter) {
	Crew crew = {.executable = executable, .frame = frame, .way = way, .workers = executable->workers, .jitter = jitter};
	Worker workers[8];
	pthread_t threads[8];
	crew.frame.barrier = meet;
	crew.frame.context = &crew;
	pthread_mutex_init(&crew.lock, NULL);
	pthread_cond_init(&crew.changed, NULL);
	for (int i = 0; i < crew.workers; i++) {
		workers[i] = (Worker){&crew, i};
		if (i && pthread_create(&threads[i], NULL, work, &workers[i])) fatal("cannot start a thread");
	}
	work(&workers[0]);
	for (int i = 1; i < crew.workers; i++) pthread_join(threads[i], NULL);
	pthread_cond_destroy(&crew.changed);
	pthread_mutex_destroy(&crew.lock);
}

/* ---- inputs ---- */

/* Dense bytes as compiled code holds them, and the interpreter's elements. */
typedef struct Case { Fn *fn; char **dense; Tensor *in, *expected; } Case;

static int32_t random_integer(Dice *d, const Input *in) {
	switch (in->kind) {
	case INPUT_STEP: return 1 + roll(d, 200);
	case INPUT_EPOCH: return 1 + roll(d, 9);
	case INPUT_SEED: return (int32_t)dice_next(d);
	case INPUT_SLOT: return roll(d, 2);
	default: break;
	}
	if (in->classes > 0) return roll(d, (int)in->classes);
	if (in->type.dtype == DTYPE_BOOL) return roll(d, 2);
	if (in->type.dtype == DTYPE_U8) return roll(d, 256);
	if (in->type.dtype == DTYPE_I8) return roll(d, 256) - 128;
	return one_in(d, 8) ? (int32_t)dice_next(d) >> roll(d, 31) : roll(d, 70) - 8;
}

static float random_float(Dice *d, const Input *in, bool wild) {
	static const float odd[] = {0.0f, -0.0f, 1.0f, -1.0f, INFINITY, -INFINITY, NAN, 1e-40f, -1e-40f, 3e38f, 88.7f, -87.4f, 1e-7f};
	double u = dice_next(d) / 4294967296.0;
	if (wild && one_in(d, 40)) return odd[roll(d, COUNT(odd))];
	if (in->kind == INPUT_SLOT || in->kind == INPUT_STATE) return (float)u;   /* second moments are not negative */
	if (in->kind == INPUT_SETTING) return (float)(u * 0.1);
	if (one_in(d, 20)) return (float)(roll(d, 5) - 2) * 0.5f;                 /* ties */
	return (float)(u * 3 - 1.5);
}

/* The bytes of a number of the input's type: of 16 bits, one in 12 has any. */
static void random_bits(Dice *d, const Input *in, bool wild, char *to) {
	float x = random_float(d, in, wild);
	double wide = x;
	if (one_in(d, 2)) wide *= 1 + 0x1p-40 * roll(d, 100);
	uint32_t bits;
	memcpy(&bits, &x, 4);
	uint16_t half = (uint16_t)(bits >> 16);
	if (in->type.dtype == DTYPE_F16)   /* 2^-9 to 4 */
		half = (uint16_t)((half & 0x8000) | (6 + roll(d, 10)) << 10 | roll(d, 1024));
	if (wild && one_in(d, 12)) half = (uint16_t)dice_next(d);
	switch (in->type.dtype) {
	case DTYPE_F64: memcpy(to, &wide, 8); break;
	case DTYPE_F32: memcpy(to, &x, 4); break;
	default: memcpy(to, &half, 2);
	}
}

static void fill_case(Check *c, Case *k) {
	Fn *f = k->fn;
	Dice *d = &c->chance;
	bool wild = one_in(d, 12);
	k->dense = NEW_ARRAY(c->arena, char *, f->inputs.length + 1);
	k->in = NEW_ARRAY(c->arena, Tensor, f->inputs.length + 1);
	k->expected = NEW_ARRAY(c->arena, Tensor, f->outputs.length + 1);
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		int64_t n = type_count(in->type);
		int bytes = dtype_info[in->type.dtype].bytes;
		char *dense = arena_alloc(c->arena, (size_t)n * 8);
		for (int64_t e = 0; e < n; e++) {
			if (dtype_is_float(in->type.dtype)) {
				random_bits(d, in, wild, dense + e * bytes);
			} else {
				int32_t element = random_integer(d, in);
				memcpy(dense + e * bytes, &element, (size_t)bytes);   /* little-endian: the low bytes */
			}
		}
		k->dense[i] = dense;
		k->in[i] = (Tensor){in->type, to_elements(c->arena, in->type, dense)};
	}
}

/* Both as the interpreter has them.  If not the same, `text` says what they are. */
static bool same_bits(Type t, const void *a, const void *b, int64_t i, char *text, size_t size) {
	if (!dtype_is_float(t.dtype)) {
		int32_t x = ((const int32_t *)a)[i], y = ((const int32_t *)b)[i];
		if (x != y) snprintf(text, size, "%d, not %d", x, y);
		return x == y;
	}
	bool wide = t.dtype == DTYPE_F64;
	double x = wide ? ((const double *)a)[i] : (double)((const float *)a)[i];
	double y = wide ? ((const double *)b)[i] : (double)((const float *)b)[i];
	if (memcmp(&x, &y, 8) == 0 || (isnan(x) && isnan(y))) return true;
	snprintf(text, size, "%a, not %a", x, y);
	return false;
}

/* ---- compiled code ---- */

typedef struct Memory { Guarded *guards; char *block, *scratch, **io; size_t *io_bytes; int nio, *persistent; } Memory;

static Memory new_memory(Check *c, const Case *k, size_t arena_bytes) {
	Fn *f = k->fn;
	int n = f->inputs.length + f->outputs.length + 1;
	bool at_end = one_in(&c->chance, 2);   /* reading on after the end shows, or reading before the start */
	Memory m = {0};
	m.block = guarded_new(c->arena, &m.guards, c->layout.bytes, 64, at_end);
	m.scratch = guarded_new(c->arena, &m.guards, arena_bytes, 64, at_end);
	m.io = NEW_ARRAY(c->arena, char *, n);
	m.io_bytes = NEW_ARRAY(c->arena, size_t, n);
	m.persistent = NEW_ARRAY(c->arena, int, n);
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		m.persistent[i] = -1;
		for (int p = 0; p < c->program->persistent.length; p++)
			if (!strcmp(c->program->persistent.data[p].path, in->name) && c->program->persistent.data[p].kind == in->kind)
				m.persistent[i] = p;
		if (m.persistent[i] >= 0) continue;
		m.io_bytes[m.nio] = (size_t)type_count(in->type) * (size_t)dtype_info[in->type.dtype].bytes;
		m.io[m.nio] = guarded_new(c->arena, &m.guards, m.io_bytes[m.nio], (size_t)dtype_info[in->type.dtype].bytes, at_end);
		m.nio++;
	}
	for (int i = 0; i < f->outputs.length; i++) {
		Type t = f->outputs.data[i].val->type;
		if (f->outputs.data[i].updates >= 0) continue;
		m.io_bytes[m.nio] = (size_t)type_count(t) * (size_t)dtype_info[t.dtype].bytes;
		m.io[m.nio] = guarded_new(c->arena, &m.guards, m.io_bytes[m.nio], (size_t)dtype_info[t.dtype].bytes, at_end);
		m.nio++;
	}
	return m;
}

/* Garbage that would show (3.4e38) wherever nothing is given. */
static void fill_memory(Check *c, const Case *k, Memory *m, size_t arena_bytes) {
	memset(m->block, 0x7f, c->layout.bytes);
	memset(m->scratch, 0x7f, arena_bytes);
	int io = 0;
	for (int i = 0; i < k->fn->inputs.length; i++) {
		if (m->persistent[i] >= 0) layout_load(&c->layout, c->program, m->persistent[i], m->block, k->dense[i]);
		else memcpy(m->io[io], k->dense[i], m->io_bytes[io]), io++;
	}
	for (; io < m->nio; io++) memset(m->io[io], 0x7f, m->io_bytes[io]);
}

static const char *compare_outputs(Check *c, const Case *k, const Memory *m) {
	Fn *f = k->fn;
	if (!guarded_hold(m->guards)) return "memory outside the blocks was written";
	int io = 0;
	for (int i = 0; i < f->inputs.length; i++) io += m->persistent[i] < 0;
	for (int i = 0; i < f->outputs.length; i++) {
		const Output *out = &f->outputs.data[i];
		Type t = out->val->type;
		const char *got = out->updates < 0 ? m->io[io++] : NULL;
		if (!got) {
			char *copy = arena_alloc(c->arena, (size_t)type_count(t) * 8);
			layout_store(&c->layout, c->program, m->persistent[out->updates], m->block, copy);
			got = copy;
		}
		for (int64_t e = 0; e < type_count(t); e++) {
			char text[120];
			if (!same_element(t, got, k->expected[i].data, e, text, sizeof text))
				return arena_printf(c->arena, "%s[%lld] of %s: %s", out->name, (long long)e, type_text(c->arena, t), text);
		}
	}
	return NULL;
}

static const char *run_compiled(Check *c, const Case *k, const Compiled *compiled) {
	size_t bytes = compiled->executable.arena_bytes;
	Memory m = new_memory(c, k, bytes);
	int ways = compiled->executable.workers > 1 ? WAYS : 1;
	const char *problem = NULL;
	for (int way = 0; way < ways && !problem; way++) {
		fill_memory(c, k, &m, bytes);
		Frame frame = {.persistent = m.block, .arena = m.scratch, .io = m.io};
		run_crew(&compiled->executable, frame, way, dice_next(&c->chance));
		c->tally->runs++;
		problem = compare_outputs(c, k, &m);
		static const char *const way_text[] = {"first to last", "last to first", "freely"};
		if (problem) problem = arena_printf(c->arena, "workers run %s: %s", way_text[way], problem);
	}
	guarded_free(&m.guards);
	return problem;
}

static const char *check_compiled(Check *c, const Case *k, const Target *target, int workers) {
	CompileOptions options = {.target = target, .workers = workers, .always_share = true, .no_cache = true};
	const Val *unsupported = kernel_unsupported(k->fn);
	if (unsupported) return arena_printf(c->arena, "cannot compile %s", op_info[unsupported->op].text);
	if (c->plan) {
		cover_kernels(c->coverage, compile_kernels(c->arena, k->fn, c->program, &c->layout, &options));
		return NULL;
	}
	Compiled compiled = compile_fn(c->arena, k->fn, c->program, &c->layout, &options);
	if (compiled.error) return compiled.error;
	cover_kernels(c->coverage, compiled.kernels);
	c->tally->compiled++;
	if (compiled.executable.workers > 1) c->tally->shared++;
	else c->tally->alone++;
	if (getenv("FUZZ_KERNELS")) {   /* before they run: they may crash */
		Text text = {.arena = c->arena};
		kernel_print(&text, compiled.kernels);
		fputs(text.data, stdout);
		fflush(stdout);
	}
	const char *problem = run_compiled(c, k, &compiled);
	compiled_free(&compiled);
	return problem
	           ? arena_printf(c->arena, "%s (%s, %d workers): %s", k->fn->name, target->cpu, compiled.executable.workers, problem)
	           : NULL;
}

/* ---- texts ---- */

static Tensor *interpret(Check *c, const Fn *f, const Tensor *in) {
	Tensor *out = NEW_ARRAY(c->arena, Tensor, f->outputs.length + 1);
	fn_eval(c->arena, f, EVAL_F32, in, out);
	return out;
}

static const char *compare_read_back(Check *c, const Case *k, const Tensor *expected, const Fn *back, const char *what) {
	if (back->inputs.length != k->fn->inputs.length || back->outputs.length != k->fn->outputs.length)
		return arena_printf(c->arena, "%s: other inputs or outputs", what);
	Tensor *out = interpret(c, back, k->in);
	c->tally->round_trips++;
	for (int i = 0; i < back->outputs.length; i++) {
		Type t = back->outputs.data[i].val->type;
		if (!type_equal(t, expected[i].type))
			return arena_printf(c->arena, "%s: output %s has another type", what, back->outputs.data[i].name);
		for (int64_t e = 0; e < type_count(t); e++) {
			char text[120];
			if (!same_bits(t, out[i].data, expected[i].data, e, text, sizeof text))
				return arena_printf(c->arena, "%s: output %s[%lld] of %s is %s", what, back->outputs.data[i].name, (long long)e,
				                    type_text(c->arena, t), text);
		}
	}
	return NULL;
}

static Fn *read_back(Check *c, const Fn *f, const char **problem) {
	Text once = {.arena = c->arena}, twice = {.arena = c->arena};
	fn_print(&once, f);
	Diag *diag = diag_new(c->arena);
	Fn *back = fn_parse(c->arena, diag, diag_source(diag, "text", once.data, once.length, false));
	if (!back) return *problem = arena_printf(c->arena, "the text of %s is not read back\n%s", f->name, once.data), NULL;
	fn_verify(back, "reading");
	fn_print(&twice, back);
	if (strcmp(once.data, twice.data)) *problem = arena_printf(c->arena, "the text of %s reads back as another", f->name);
	return back;
}

enum { MOST_PARAMETERS = 64 };   /* of a declaration in the language */

static const char *check_texts(Check *c, const Fn *elaborated, const Case *k) {
	const char *problem = NULL;
	for (int passes_run = 0; passes_run <= pass_count && !problem; passes_run++) {
		Fn *f = run_passes((Fn *)elaborated, 0, passes_run);
		Fn *back = read_back(c, f, &problem);
		if (problem) break;
		if (passes_run >= 1) problem = compare_read_back(c, k, interpret(c, f, k->in), back, "a pass's text");
		if (!problem)
			problem = compare_read_back(c, k, k->expected, run_passes(back, passes_run, pass_count), "a pass's text, carried on");
	}
	if (problem) return arena_printf(c->arena, "%s: %s", k->fn->name, problem);
	if (k->fn->inputs.length > MOST_PARAMETERS) return NULL;
	Text nn = {.arena = c->arena};
	fn_print_nn(&nn, k->fn);
	Diag *diag = diag_new(c->arena);
	ElabOptions options = {0};
	Program *p = elab_program(c->arena, diag, diag_source(diag, "read.nn", nn.data, nn.length, false), &options);
	if (!p) {
		diag_print(diag, stdout, false);
		return arena_printf(c->arena, "%s: its .nn text is not read back\n%s", k->fn->name, nn.data);
	}
	return compare_read_back(c, k, k->expected, run_passes(program_infer(p, 0, 1), 0, pass_count), ".nn text");
}

/* ---- one Fn ---- */

static void count_finite(Check *c, const Case *k) {
	for (int i = 0; i < k->fn->outputs.length; i++) {
		Type t = k->fn->outputs.data[i].val->type;
		c->tally->outputs++;
		bool bad = false;
		for (int64_t e = 0; e < type_count(t) && t.dtype == DTYPE_F32 && !bad; e++)
			bad = !isfinite(((const float *)k->expected[i].data)[e]);
		c->tally->not_finite += bad;
	}
}

/* Stands for the orders of all its contractions' sums. */
static uint64_t contract_orders(const Fn *f) {
	uint64_t all = 0;
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op == OpScan) all += contract_orders(v->body);
		if (v->op != OpContract) continue;
		ContractOrder order = contract_order(v);
		all += hash_mix((uint64_t)order.terms * 2 + order.dot + hash_mix((uint64_t)order.run));
	}
	return all;
}

static bool same_text(Arena *arena, const Fn *a, const Fn *b) {
	Text one = {.arena = arena}, two = {.arena = arena};
	fn_print(&one, a);
	fn_print(&two, b);
	return !strcmp(one.data, two.data);
}

/* thorough: both targets, with different numbers of workers; else one of each. */
static const char *check_fn(Check *c, Fn *elaborated, bool thorough, bool texts) {
	Case k = {.fn = run_passes(elaborated, 0, pass_count)};
	const Target *targets[] = {c->host, c->portable};
	if (!c->plan) {
		fill_case(c, &k);
		fn_eval(c->arena, k.fn, EVAL_F32, k.in, k.expected);
		count_finite(c, &k);
	}
	int first = roll(&c->dice, 2), workers = roll(&c->dice, 3), others = (workers + 1 + roll(&c->dice, 2)) % 3;
	for (int i = 0; i < (thorough ? 2 : 1); i++) {
		const char *problem = check_compiled(c, &k, targets[(first + i) % 2], 1 + (i ? others : workers));
		if (problem) return problem;
	}
	if (c->plan) return NULL;
	if (texts) return check_texts(c, elaborated, &k);
	/* the simplifier changes no bit, unless it made a contraction of a sum of products or of one that is turned: these have an
	 * order of their own */
	int simplify = pass_index("simplify");
	Fn *before = run_passes(elaborated, 0, simplify - 1), *f = run_passes(before, simplify - 1, simplify);
	if (contract_orders(before) != contract_orders(f)) return NULL;
	/* what some passes after it make has an order of its own, or is rounded */
	for (int i = simplify; i < pass_count; i++) {
		Fn *next = run_passes(f, i, i + 1);
		if (passes[i].reorders && !same_text(c->arena, f, next)) return NULL;
		f = next;
	}
	c->tally->simplified++;
	return compare_read_back(c, &k, k.expected, before, "before the simplifier");
}

/* Inference (or evaluation, model < 0) at another batch size than the program was made for, but not with values that grow too
 * large by it: two axes of one may be batches. */
static Fn *at_other_batch(Check *c, int model, int64_t batch) {
	enum { MOST = 50000000 };
	for (;; batch /= 2) {
		Fn *f = model < 0 ? program_eval(c->program, 0, batch) : program_infer(c->program, model, batch);
		int64_t elements = 0;
		for (int i = 0; i < f->vals.length; i++) elements += type_count(f->vals.data[i]->type);
		if (batch == 1 || elements <= MOST) return f;
	}
}

/* The Fns that are checked: the step, inference, and of the others one in turn.  Of most programs only one, mostly the step. */
static int choose_fns(Check *c, bool one, Fn **fns) {
	int64_t batch = c->program->trains.length ? c->program->trains.data[0].batch : 1, other = 1 + roll(&c->dice, 70);
	int n = 0, third = roll(&c->dice, 3), which = one ? roll(&c->sample, 10) : -1;
	bool trains = c->program->trains.length;
	if (trains && (!one || which < 6)) fns[n++] = program_step(c->program, 0), c->tally->step++;
	for (int m = 0; m < c->program->models.length && m < 2; m++)
		if (!one || which == 6 + m) fns[n++] = at_other_batch(c, m, m ? batch : other), c->tally->infer++;
	if (one && n) return n;
	if (trains && third == 0) fns[n++] = at_other_batch(c, -1, other), c->tally->eval++;
	if (trains && third == 1) fns[n++] = program_loss(c->program, 0, batch, true), c->tally->loss++;
	if (third == 2 && c->program->persistent.length) fns[n++] = program_init(c->program), c->tally->init++;
	if (!n && c->program->models.length) fns[n++] = at_other_batch(c, 0, batch), c->tally->infer++;   /* a file without more */
	return n;
}

const char *check_program(Arena *arena, const char *text, uint64_t seed, bool plan, Coverage *coverage, Tally *tally) {
	Check c = {.arena = arena, .coverage = coverage, .tally = tally, .plan = plan};
	c.dice.state = hash_mix(seed ^ 0xf00d);
	c.chance.state = hash_mix(seed ^ 0xbeef);
	c.sample.state = hash_mix(seed ^ 0x5a3e);
	Diag *diag = diag_new(arena);
	c.host = target_host(arena);
	c.portable = target_named(arena, diag, "x86-64", "x86-64-v3", NULL);
	if (!c.portable || !c.portable->is_host) c.portable = c.host;
	Target few = *c.portable;   /* as WebAssembly's loops are */
	few.at_once = 4;
	if (hash_mix(seed ^ 0x4a11) & 1) c.portable = &few;
	ElabOptions options = {0};
	c.program = elab_program(arena, diag, diag_source(diag, "fuzz.nn", text, strlen(text), false), &options);
	if (!c.program) {
		diag_print(diag, stdout, false);
		return "it does not elaborate";
	}
	bool one = !is_thorough(seed), texts = one ? one_in(&c.sample, 16) : seed % 8 == 0, two = !one || one_in(&c.sample, 8);
	tally->programs++;
	tally->small += is_small(seed);
	tally->texts += texts;
	tally->two_targets += two;
	Fn *fns[6];
	int n = choose_fns(&c, one, fns);
	c.layout = layout_program(arena, c.program);   /* slots are declared as Fns that need them are made */
	for (int i = 0; i < n; i++) {
		const char *problem = check_fn(&c, fns[i], i == 0 && two, texts);
		if (problem) return problem;
	}
	return is_smooth(seed) && !plan ? check_derivatives(arena, c.program, seed, tally) : NULL;
}

void add_tally(Tally *t, const Tally *more) {
#define T(name, text) t->name += more->name;
	FUZZ_TALLY(T)
#undef T
}

void print_tally(FILE *to, const Tally *t) {
	const char *comma = " ";
#define T(name, text) fprintf(to, "%s%llu %s", comma, (unsigned long long)t->name, text), comma = ", ";
	FUZZ_TALLY(T)
#undef T
	fprintf(to, "\n");
}
