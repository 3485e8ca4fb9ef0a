/* budget.c: nnc compile --budget and --flash: in: a unit that has been described, and the memory there is; out: its object, made
 * within that, or what is missing, to the byte, and what would help, measured.
 * Guarantees: what is made for less memory computes the same bits. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object.h"

/* "64K": K, M and G are 2^10, 2^20 and 2^30, "64KB" and "64KiB" the same; 0 when it is none of these. */
static size_t read_size(const char *text) {
	char *end;
	if (!isdigit((unsigned char)*text)) return 0;
	unsigned long long n = strtoull(text, &end, 10), unit = 1;
	if (*end == 'K' || *end == 'k') unit = 1 << 10, end++;
	else if (*end == 'M') unit = 1 << 20, end++;
	else if (*end == 'G') unit = 1 << 30, end++;
	if (unit > 1 && *end == 'i') end++;
	if (*end == 'B') end++;
	return *end || n > SIZE_MAX / 2 / unit ? 0 : (size_t)(n * unit);
}

bool read_budget(const Options *o, Budget *budget) {
	*budget = (Budget){0};
	if (o->budget) budget->ram = read_size(o->budget);
	if (o->flash) budget->flash = read_size(o->flash);
	bool bad_ram = o->budget && !budget->ram, bad_flash = o->flash && !budget->flash;
	if (bad_ram || bad_flash)
		fprintf(stderr, "nnc compile: --%s is a number of bytes, 64K, 1M or 1G, not '%s'\n", bad_ram ? "budget" : "flash",
		        bad_ram ? o->budget : o->flash);
	return !bad_ram && !bad_flash;
}

/* Parameters that are baked in, and only read, are no written memory. */
static size_t block_bytes(const ObjectUnit *u) {
	return u->train ? u->embed.train_bytes : u->s->options->weights ? 0 : u->embed.params_bytes;
}

size_t object_ram(const ObjectUnit *u) { return block_bytes(u) + most_scratch(&u->made) + u->made.stack_bytes; }

size_t object_flash(const ObjectUnit *u) { return u->made.code_bytes + u->made.data_bytes; }

/* ---- in less memory ---- */

/* Cache sizes to make it for: what is packed or computed at a time becomes ever smaller.  0: the processor's own. */
static const int64_t caches[] = {0, 64 << 10, 16 << 10, 4 << 10, 1 << 10};

/* One way to make the object. */
typedef struct Way {
	const Target *target;
	bool small, recompute;                 /* as in Embed */
	size_t most_scratch;
	size_t least;                          /* bytes that it needs at least: code may keep more on the stack */
	size_t needs;                          /* and with its code; 0: none has been made */
} Way;

/* Makes it; without code only what it needs at least becomes known, in a fraction of the time. */
static bool make(ObjectUnit *u, Way *way, bool code) {
	u->target = way->target;
	u->embed.small = way->small;
	u->embed.recompute = way->recompute;
	u->embed.most_scratch = way->most_scratch;
	u->embed.sizes_only = !code;
	bool ok = object_generate(u);
	u->embed.sizes_only = false;
	if (code) way->needs = object_ram(u);
	else way->least = object_ram(u);
	if (ok && code && way->needs < way->least) die("%zu bytes, where %zu are the least", way->needs, way->least);
	return ok;
}

/* Computes values again, as few as will do, instead of keeping them.  `stack` is a guess; code that needs more has to do with
 * less scratch. */
static bool compute_again(ObjectUnit *u, Way *way, size_t stack, size_t most) {
	enum { TURNS = 4 };
	for (int turn = 1; turn <= TURNS; turn++) {
		size_t rest = block_bytes(u) + stack;
		way->most_scratch = turn == TURNS || rest > most ? 0 : most - rest;
		if (!make(u, way, true)) return false;
		if (way->needs <= most || most_scratch(&u->made) > way->most_scratch) break;   /* it is as small as it can be */
		stack = u->made.stack_bytes;
	}
	return true;
}

/* The object in the first way that is within `most`, or in the one that needs least; false after an error. */
static bool make_within(ObjectUnit *u, size_t most) {
	Way ways[COUNT(caches) + 1], *last = NULL;
	const Target *whole = u->target;
	int n = 0;
	for (size_t i = 0; i < COUNT(caches); i++) {
		ways[n] = (Way){.target = caches[i] ? target_within(u->s->arena, whole, caches[i]) : whole, .small = caches[i]};
		if (!make(u, &ways[n], false)) return false;
		if (n && ways[n].least >= ways[n - 1].least) continue;   /* no gain */
		last = &ways[n++];
		if (last->least > most) continue;
		if (!make(u, last, true)) return false;
		if (last->needs <= most) return true;
	}
	Way *again = &ways[n];
	*again = *last;
	again->recompute = true, again->needs = 0;
	if (!make(u, again, false)) return false;
	if (again->least < last->least) {
		n++, last = again;
		if (!compute_again(u, again, u->made.stack_bytes, most)) return false;
		if (again->needs <= most) return true;
	}
	/* None will do: the one that needs least is left, for the message; code is made of those that may be it. */
	Way *best = last, *made = again->needs ? again : NULL;
	for (int i = n; i-- > 0;) {
		if (!ways[i].needs && (!best->needs || ways[i].least < best->needs) && !make(u, made = &ways[i], true)) return false;
		if (ways[i].needs && ways[i].needs < best->needs) best = &ways[i];
	}
	return made == best || make(u, best, true);
}

/* ---- what would help ---- */

/* The same file otherwise: another batch, only a model, short numbers. */
typedef struct Change { int64_t batch; bool infer_only, bf16; } Change;
typedef struct Needs { size_t ram, flash; } Needs;   /* 0: it cannot be made */

static Needs needs_with(const ObjectUnit *u, Change change, size_t most) {
	Options o = *u->s->options;
	Needs needs = {0};
	int code;
	if (change.batch) o.batch = change.batch;
	o.bf16 = change.bf16;
	if (change.infer_only) o.entry = "infer", o.workers = 0;
	Session *s = session_open(&o, 0, &code);
	if (!s) return needs;
	ObjectUnit own = {.s = s};
	own.target = target_named(s->arena, s->diag, o.target, o.cpu, o.features);
	if (own.target && choose_entries(&own) == EXIT_DONE && object_describe(&own) &&
	    (most ? make_within(&own, most) : object_generate(&own)))
		needs = (Needs){object_ram(&own), object_flash(&own)};
	session_close(s);
	return needs;
}

static Span object_span(const ObjectUnit *u) {
	const Program *p = u->s->program;
	return u->train ? p->trains.data[0].span : p->models.data[0].span;
}

static void suggest_batch(const ObjectUnit *u, size_t most) {
	int64_t batch = object_batch(u);
	Needs needs = {0}, single = batch > 1 ? needs_with(u, (Change){.batch = 1}, most) : needs;
	if (!single.ram) return;
	if (single.ram > most) {
		diag_note(u->s->diag, (Span){0}, "with --batch 1 it would still need %zu bytes", single.ram);
		return;
	}
	for (batch /= 2; batch > 1; batch /= 2) {
		needs = needs_with(u, (Change){.batch = batch}, most);
		if (needs.ram && needs.ram <= most) break;
	}
	if (batch == 1) needs = single;
	diag_help(u->s->diag, "--batch %lld needs %zu bytes", (long long)batch, needs.ram);
}

static void suggest_less_training(const ObjectUnit *u, size_t most) {
	Diag *diag = u->s->diag;
	const Program *p = u->s->program;
	size_t slots = u->layout.bytes - u->layout.infer_bytes, now = object_ram(u);
	if (slots)
		diag_help(diag, "an optimiser without state would need %zu bytes less; frozen layers have none", slots);
	bool f32 = false;
	for (int i = 0; i < p->trains.length; i++) f32 |= p->trains.data[i].precision == DTYPE_F32;
	Needs needs = f32 ? needs_with(u, (Change){.bf16 = true}, most) : (Needs){0};
	if (needs.ram && needs.ram < now) diag_help(diag, "`precision = bf16` in the train block needs %zu bytes", needs.ram);
	needs = p->models.length ? needs_with(u, (Change){.infer_only = true}, most) : (Needs){0};
	if (needs.ram) diag_help(diag, "without training, by --entry infer, it needs %zu bytes", needs.ram);
}

static void refuse_ram(const ObjectUnit *u, size_t most) {
	Diag *diag = u->s->diag;
	size_t needs = object_ram(u);
	diag_error(diag, object_span(u), "the object needs %zu bytes of memory, %zu more than --budget %s", needs, needs - most,
	           u->s->options->budget);
	diag_note(diag, (Span){0}, "%zu for %s_%s, %zu for scratch, %zu for stack; --explain-memory says what for", block_bytes(u),
	          u->x, u->train ? "train" : "params", most_scratch(&u->made), u->made.stack_bytes);
	suggest_batch(u, most);
	if (u->train) suggest_less_training(u, most);
}

static void refuse_flash(const ObjectUnit *u, size_t most) {
	Diag *diag = u->s->diag;
	size_t needs = object_flash(u), table = u->embed.constants[0].size, weights = 0;
	if (u->embed.nconstants > 1) weights = u->embed.constants[1].size;
	diag_error(diag, object_span(u), "the object has %zu bytes of code and read-only data, %zu more than --flash %s", needs,
	           needs - most, u->s->options->flash);
	diag_note(diag, (Span){0}, "%zu of code, %zu of data: %zu for the table of tensors, %zu for weights", u->made.code_bytes,
	          u->made.data_bytes, table, weights);
	Needs other = u->train && u->infer ? needs_with(u, (Change){.infer_only = true}, 0) : (Needs){0};
	if (other.flash && other.flash < needs) diag_help(diag, "without training, by --entry infer, it has %zu bytes", other.flash);
	other = object_batch(u) > 1 ? needs_with(u, (Change){.batch = 1}, 0) : (Needs){0};
	if (other.flash && other.flash < needs) diag_help(diag, "--batch 1 has %zu bytes", other.flash);
}

bool object_within(ObjectUnit *u, Budget budget) {
	if (!(budget.ram ? make_within(u, budget.ram) : object_generate(u))) return false;
	if (budget.ram && object_ram(u) > budget.ram) refuse_ram(u, budget.ram);
	else if (budget.flash && object_flash(u) > budget.flash) refuse_flash(u, budget.flash);
	return !u->s->diag->errors;
}
