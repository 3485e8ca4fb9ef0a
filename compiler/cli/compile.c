/* compile.c: nnc compile: in: FILE.nn; out: an object file and the header that declares what is in it.
 * Guarantees: both files are written whole or not at all; the same input gives the same bytes. */
#include <stdio.h>
#include <string.h>

#include "object.h"

enum { DEFAULT_BATCH = 32 };   /* where no train block says one */

/* "infer,train" */
static bool parse_entries(const Options *o, bool *infer, bool *train) {
	*infer = *train = !o->entry;
	for (const char *at = o->entry; at;) {
		const char *comma = strchr(at, ',');
		size_t length = comma ? (size_t)(comma - at) : strlen(at);
		if (length == 5 && !strncmp(at, "infer", 5)) *infer = true;
		else if (length == 5 && !strncmp(at, "train", 5)) *train = true;
		else {
			fprintf(stderr, "nnc compile: --entry is infer, train or infer,train, not '%s'\n", o->entry);
			return false;
		}
		at = comma ? comma + 1 : NULL;
	}
	return true;
}

/* ---- names ---- */

/* X_name; an error when something else is called so already. */
static const char *take_name(ObjectUnit *u, const char *name, const char *what, Span span) {
	const char *full = arena_printf(u->s->arena, "%s_%s", u->x, name);
	for (int i = 0; i < u->taken.length; i++)
		if (strcmp(u->taken.data[i], full) == 0) {
			diag_error(u->s->diag, span, "%s would be `%s` in C, and something else is called so already", what, full);
			diag_help(u->s->diag, "give it another name");
			return full;
		}
	vec_push(u->s->arena, &u->taken, full);
	return full;
}

static void reserve_names(ObjectUnit *u) {
	static const char *const names[] = {"params", "train", "scratch", "param_info", "param_table", "pretrained", "init", "load",
	                                    "store", "load_params", "store_params", "find", "rows", "check", "H", "OK", "BAD_CLASS",
	                                    "BAD_PATH", "ALIGN", "CODE_BYTES", "PARAM_COUNT", "PARAMS_BYTES", "TRAIN_BYTES",
	                                    "SCRATCH_INFER", "SCRATCH_TRAIN", "STACK_MAX"};
	for (size_t i = 0; i < COUNT(names); i++) take_name(u, names[i], "", (Span){0});
}

/* `wanted` as an identifier that none of the others is; interned, so that they are compared by address. */
static const char *member_name(ObjectUnit *u, const char *wanted) {
	Arena *arena = u->s->arena;
	const char *base = c_identifier(arena, wanted), *name = base;
	if (c_keyword(base)) name = base = arena_printf(arena, "%s_", base);
	for (int number = 2;; number++) {
		name = arena_intern(arena, name, strlen(name));
		bool free = strcmp(name, "params") != 0;
		for (int i = 0; free && i < u->members.length; i++) free = u->members.data[i].name != name;
		for (int i = 0; free && i < u->fields.length; i++) free = u->fields.data[i].name != name;
		if (free) return name;
		name = arena_printf(arena, "%s_%d", base, number);
	}
}

static const char *argument_name(Arena *arena, const char *wanted, const Declared *others, int n) {
	static const char *const own[] = {"p", "t", "n", "loss", "scratch"};
	const char *base = c_identifier(arena, wanted), *name = base;
	for (int number = 1;; number++) {
		bool free = !c_keyword(name);
		for (size_t i = 0; free && i < COUNT(own); i++) free = strcmp(own[i], name) != 0;
		for (int i = 0; free && i < n; i++) free = strcmp(others[i].name, name) != 0;
		if (free) return name;
		name = number == 1 ? arena_printf(arena, "%s_", base) : arena_printf(arena, "%s_%d", base, number);
	}
}

/* ---- the blocks ---- */

static size_t dense_bytes(Type t) { return (size_t)type_count(t) * (size_t)dtype_info[t.dtype].bytes; }

static void place_tensors(ObjectUnit *u) {
	const Program *p = u->s->program;
	const Layout *l = &u->s->layout;
	u->params_bytes = MAX(l->infer_bytes, (size_t)64);
	for (int i = 0; i < p->persistent.length; i++) {
		const Persistent *x = &p->persistent.data[i];
		size_t end = x->kind == INPUT_SLOT ? l->bytes : l->infer_bytes, offset = l->places[i].offset;
		for (int k = 0; k < l->count; k++)
			if (l->places[k].offset > offset && l->places[k].offset < end) end = l->places[k].offset;
		Member m = {c_type(x->type.dtype), member_name(u, x->path), x->path,
		            (int64_t)((end - offset) / (size_t)dtype_info[x->type.dtype].bytes), offset};
		vec_push(u->s->arena, &u->members, m);
		if (x->kind == INPUT_SLOT) u->dense_slots += dense_bytes(x->type);
		else u->dense_params += dense_bytes(x->type);
	}
}

static size_t add_field(ObjectUnit *u, const char *type, size_t bytes, const char *wanted, const char *comment) {
	size_t at = (u->embed.train_bytes + bytes - 1) / bytes * bytes;
	Member m = {type, member_name(u, wanted), comment, 0, at};
	vec_push(u->s->arena, &u->fields, m);
	u->embed.train_bytes = at + bytes;
	return at;
}

/* ---- functions ---- */

/* "u8[n, 28, 28]": the first dim, `per` for each sample, by the count's name; NULL: the dims as they are. */
static const char *shape_text(Arena *arena, const Wanted *w, Type type, bool by_sample) {
	Text text = {.arena = arena};
	text_add(&text, "%s[", dtype_info[type.dtype].text);
	for (int i = 0; i < type.rank; i++) {
		text_add(&text, i ? ", " : "");
		if (i || !by_sample) text_add(&text, "%lld", (long long)type.dim[i]);
		else if (dim_slope(w, 0) == 1) text_add(&text, "n");
		else text_add(&text, "n * %lld", (long long)dim_slope(w, 0));
	}
	text_add(&text, "]");
	return text.data;
}

/* Is the first dim, and no other, as many times the batch? */
static bool by_samples(const Wanted *w, bool *batched) {
	*batched = false;
	for (int i = 0; i < w->one.rank; i++) {
		if (!dim_slope(w, i)) continue;
		*batched = true;
		if (i || w->one.dim[0] != dim_slope(w, 0)) return false;
	}
	return true;
}

static void add_array(ObjectUnit *u, const Wanted *w, Type whole, bool by_sample, const char *name, EmbedArray *array,
                      Declared *argument, const Declared *others, int nothers) {
	bool batched = false;
	by_samples(w, &batched);
	batched = batched && by_sample;
	u->largest = MAX(u->largest, dense_bytes(whole));
	*array = (EmbedArray){w->name, whole.dtype, w->classes, type_count(batched ? w->one : whole), batched};
	const char *own = argument_name(u->s->arena, name, others, nothers);
	*argument = (Declared){own, shape_text(u->s->arena, w, whole, batched), whole.dtype, w->classes};
}

/* `two` is of another batch: a dim is a + b * B. */
static void as_of_two(Wanted *w, int64_t batch) {
	for (int i = 0; i < w->one.rank; i++) w->two.dim[i] = w->one.dim[i] + (w->two.dim[i] - w->one.dim[i]) / (batch - 1);
}

static bool add_model(ObjectUnit *u, int number, int64_t batch) {
	Session *s = u->s;
	Arena *arena = s->arena;
	const Model *model = &s->program->models.data[number];
	int64_t other = batch > 1 ? batch : 2;
	Fn *one = program_infer(s->program, number, 1), *many = program_infer(s->program, number, other);
	if (!one || !many) return false;
	Fn *block = batch > 1 ? many : one;
	WantedList in = wanted_inputs(arena, one, many), out = {0};
	bool batched = false, sliced = true, any = false;
	for (int i = 0; i < in.length; i++) {
		as_of_two(&in.data[i], other);
		sliced &= by_samples(&in.data[i], &batched);
		any |= batched;
	}
	for (int i = 0; i < one->outputs.length; i++) {
		Wanted w = {
		    .name = one->outputs.data[i].name, .one = one->outputs.data[i].val->type, .two = many->outputs.data[i].val->type};
		as_of_two(&w, other);
		vec_push(arena, &out, w);
		sliced &= by_samples(&w, &batched) && batched;
	}
	sliced &= any;
	const char *symbol = take_name(u, model->name, "the model's function", model->span);
	EmbedModel *m = &u->embed.models[u->embed.nmodels];
	Signature *sign = &u->models[u->embed.nmodels++];
	*m = (EmbedModel){.symbol = symbol, .batch = sliced ? batch : 1, .ninputs = in.length, .noutputs = out.length};
	m->inputs = NEW_ARRAY(arena, EmbedArray, in.length + 1);
	m->outputs = NEW_ARRAY(arena, EmbedArray, out.length + 1);
	Declared *all = NEW_ARRAY(arena, Declared, in.length + out.length + 1);
	*sign = (Signature){arena_printf(arena, "model %s", model->name), all, all + in.length};
	for (int i = 0; i < in.length; i++)
		add_array(u, &in.data[i], block->inputs.data[i].type, sliced, in.data[i].name, &m->inputs[i], &all[i], all, i);
	for (int i = 0; i < out.length; i++) {
		const char *name = out.length == 1 ? "out" : out.data[i].name;
		if (i < model->nresults && model->results[i]) name = model->results[i];
		add_array(u, &out.data[i], block->outputs.data[i].val->type, sliced, name, &m->outputs[i], &all[in.length + i], all,
		          in.length + i);
	}
	m->block = run_passes(block, 0, pass_count);
	if (sliced) m->single = batch > 1 ? run_passes(one, 0, pass_count) : m->block;
	return true;
}

/* A field that only a metric reads is no business of the step's. */
static bool is_read(const Fn *f, const Val *input) {
	for (int i = 0; i < f->vals.length; i++)
		for (int k = 0; k < f->vals.data[i]->nargs; k++)
			if (f->vals.data[i]->arg[k] == input) return true;
	return false;
}

static bool add_step(ObjectUnit *u, int number) {
	Session *s = u->s;
	Arena *arena = s->arena;
	const Train *t = &s->program->trains.data[number];
	Fn *fn = program_step(s->program, number);
	if (!fn) return false;
	fn = run_passes(fn, 0, pass_count);
	const char *suffix = t->name ? arena_printf(arena, "_%s", t->name) : "";
	EmbedStep *e = &u->embed.steps[u->embed.nsteps];
	Signature *sign = &u->steps[u->embed.nsteps++];
	*e = (EmbedStep){.symbol = take_name(u, arena_printf(arena, "step%s", suffix), "the training step", t->span),
	                 .fn = fn,
	                 .accumulate = MAX(t->accumulate, 1)};
	e->inputs = NEW_ARRAY(arena, EmbedArray, fn->inputs.length + 1);
	e->settings = NEW_ARRAY(arena, EmbedSetting, t->nsettings + 1);
	*sign = (Signature){t->name ? arena_printf(arena, "train %s", t->name) : "train",
	                    NEW_ARRAY(arena, Declared, fn->inputs.length + 1), NULL};
	for (int i = 0; i < fn->inputs.length; i++) {
		const Input *in = &fn->inputs.data[i];
		if (in->kind != INPUT_DATA || !is_read(fn, in->val)) continue;
		Wanted w = {.name = in->name, .one = in->type, .two = in->type, .classes = in->classes};
		add_array(u, &w, in->type, false, in->name, &e->inputs[e->ninputs], &sign->inputs[e->ninputs], sign->inputs, e->ninputs);
		e->ninputs++;
	}
	e->step_offset = add_field(u, "int64_t", 8, arena_printf(arena, "step%s", suffix), "calls that returned 0");
	e->epoch_offset = add_field(u, "int32_t", 4, arena_printf(arena, "epoch%s", suffix), "from 1; yours to count");
	for (int i = 0; i < t->nsettings; i++) {
		size_t at = add_field(u, "float", 4, arena_printf(arena, "%s%s", t->settings[i].name, suffix), "a setting: input(..)");
		e->settings[e->nsettings++] = (EmbedSetting){t->settings[i].name, at, (float)t->settings[i].value};
	}
	return true;
}

/* What depends on the number of samples cannot be made up. */
static bool check_data(ObjectUnit *u) {
	Session *s = u->s;
	DataProbe probe = data_probe(s->files);
	for (int i = 0; i < s->program->trains.length; i++) {
		const Train *t = &s->program->trains.data[i];
		if (t->uses_steps && !probe.samples(probe.context, s->diag, &s->program->data.data[t->data]).ok) {
			diag_note(s->diag, t->span, "the number of samples is needed for total_steps or steps_per_epoch");
			return false;
		}
	}
	return true;
}

/* ---- constants ---- */

static void put(char *to, uint64_t value, int bytes) {
	for (int i = 0; i < bytes; i++) to[i] = (char)(value >> (8 * i));
}

/* X_param_table: what header.c declares as X_param_info. */
static EmbedBytes param_table(ObjectUnit *u) {
	const Program *p = u->s->program;
	u->path_bytes = 8;
	for (int i = 0; i < p->persistent.length; i++) {
		if (p->persistent.data[i].kind == INPUT_SLOT && !u->train) continue;
		u->path_bytes = MAX(u->path_bytes, ((int)strlen(p->persistent.data[i].path) + 8) / 8 * 8);
		u->table_count++;
	}
	size_t entry = (size_t)u->path_bytes + 16 + 16 * MAX_RANK + 16;
	char *table = arena_alloc(u->s->arena, entry * (size_t)MAX(u->table_count, 1)), *at = table;
	for (int i = 0; i < p->persistent.length; i++) {
		const Persistent *x = &p->persistent.data[i];
		if (x->kind == INPUT_SLOT && !u->train) continue;
		int64_t stride = 1;
		memcpy(at, x->path, strlen(x->path));
		char *to = at + u->path_bytes;
		put(to, x->kind == INPUT_PARAM ? 0 : x->kind == INPUT_STATE ? 1 : 2, 4);
		put(to + 4, (uint64_t)x->type.dtype, 4);
		put(to + 8, (uint64_t)dtype_info[x->type.dtype].bytes, 4);
		put(to + 12, (uint64_t)x->type.rank, 4);
		for (int d = x->type.rank - 1; d >= 0; d--) {
			put(to + 16 + 8 * d, (uint64_t)x->type.dim[d], 8);
			put(to + 16 + 8 * MAX_RANK + 8 * d, (uint64_t)stride, 8);
			stride *= d == x->type.rank - 1 ? u->s->layout.places[i].row : x->type.dim[d];
		}
		put(to + 16 + 16 * MAX_RANK, u->members.data[i].offset, 8);
		put(to + 24 + 16 * MAX_RANK, (uint64_t)u->members.data[i].count * (uint64_t)dtype_info[x->type.dtype].bytes, 8);
		at += entry;
	}
	return (EmbedBytes){arena_printf(u->s->arena, "%s_param_table", u->x), table,
	                    (size_t)(at == table ? table + entry - table : at - table)};
}

static bool add_constants(ObjectUnit *u) {
	Session *s = u->s;
	u->embed.constants = NEW_ARRAY(s->arena, EmbedBytes, 2);
	u->embed.constants[u->embed.nconstants++] = param_table(u);
	if (!s->options->weights) return true;
	char *block = block_new(MAX(s->layout.bytes, u->params_bytes));
	bool ok = session_vocabs(s) && weights_load(s->diag, s->options->weights, s->program, &s->layout, block, false, &s->info);
	const char *copy = arena_copy(s->arena, block, u->params_bytes);
	block_free(block, MAX(s->layout.bytes, u->params_bytes));
	u->embed.constants[u->embed.nconstants++] =
	    (EmbedBytes){arena_printf(s->arena, "%s_pretrained", u->x), copy, u->params_bytes};
	return ok;
}

/* ---- all of it ---- */

static int choose_entries(ObjectUnit *u) {
	const Program *p = u->s->program;
	const Options *o = u->s->options;
	if (!parse_entries(o, &u->infer, &u->train)) return EXIT_USAGE;
	if (o->entry && u->train && !p->trains.length) {
		fprintf(stderr, "nnc compile: %s has no train block\n", o->file);
		return EXIT_INPUT;
	}
	u->train = u->train && p->trains.length;
	u->infer = u->infer && p->models.length;
	if (u->train || u->infer) return EXIT_DONE;
	fprintf(stderr, "nnc compile: %s has %s\n", o->file, p->trains.length ? "no model" : "neither a model nor a train block");
	return EXIT_INPUT;
}

static bool describe(ObjectUnit *u) {
	Session *s = u->s;
	Program *p = s->program;
	reserve_names(u);
	place_tensors(u);
	u->embed = (Embed){.program = p,
	                   .layout = &s->layout,
	                   .models = NEW_ARRAY(s->arena, EmbedModel, p->models.length + 1),
	                   .steps = NEW_ARRAY(s->arena, EmbedStep, p->trains.length + 1),
	                   .train_bytes = MAX(s->layout.bytes, u->params_bytes)};
	u->models = NEW_ARRAY(s->arena, Signature, p->models.length + 1);
	u->steps = NEW_ARRAY(s->arena, Signature, p->trains.length + 1);
	int64_t batch = s->options->batch ? s->options->batch : p->trains.length ? p->trains.data[0].batch : DEFAULT_BATCH;
	for (int i = 0; u->infer && i < p->models.length; i++)
		if (!add_model(u, i, batch)) return false;
	if (u->train) {
		if (!check_data(u)) return false;
		u->embed.seed_offset = add_field(u, "uint64_t", 8, "seed", "of randomness in the graph; set by the initialisation");
		for (int i = 0; i < p->trains.length; i++)
			if (!add_step(u, i)) return false;
		u->embed.train_bytes = whole_lines(u->embed.train_bytes);
		Fn *init = program_init(p);
		if (!init) return false;
		u->embed.init = run_passes(init, 0, pass_count);
		u->embed.init_symbol = arena_printf(s->arena, "%s_init", u->x);
	}
	return add_constants(u) && !s->diag->errors;
}

/* Memory that no caller has: a batch with some zeros too many. */
static bool sizes_are_sane(const ObjectUnit *u) {
	enum { MOST_GIB = 64 };
	Session *s = u->s;
	const Program *p = s->program;
	bool array = u->largest >> 30 >= MOST_GIB;
	size_t bytes = array ? u->largest : MAX(u->made.scratch_infer, u->made.scratch_train);
	if (bytes >> 30 < MOST_GIB) return true;
	diag_error(s->diag, p->trains.length ? p->trains.data[0].span : p->models.data[0].span,
	           "a call needs %s of %.1f GiB; %d GiB are the limit", array ? "an array" : "scratch memory",
	           (double)bytes / 0x1p30, MOST_GIB);
	diag_help(s->diag, "choose a smaller batch with --batch");
	return false;
}

static bool generate(ObjectUnit *u) {
	Session *s = u->s;
	u->made = embed_compile(s->arena, &u->embed, u->target);
	const Val *v = u->made.unsupported;
	if (v) {
		diag_error(s->diag, v->span, "`%s` on %s cannot be compiled yet", op_info[v->op].text, type_text(s->arena, v->type));
	} else if (u->made.needs) {
		diag_error(s->diag, (Span){0}, "the code for '%s', cpu '%s', would call `%s` of the C library", u->target->triple,
		           u->target->cpu, u->made.needs);
		diag_help(s->diag, "choose a --cpu that has an instruction for it%s",
		          strncmp(u->target->triple, "x86_64", 6) ? "" : ": x86-64-v2 or later");
	} else {
		sizes_are_sane(u);
	}
	return !s->diag->errors;
}

/* M.o -> M.h */
static const char *header_path(Arena *arena, const char *object) {
	size_t n = strlen(object);
	if (n > 2 && (!strcmp(object + n - 2, ".o") || !strcmp(object + n - 2, ".h"))) n -= 2;
	return arena_printf(arena, "%.*s.h", (int)n, object);
}

static void print_summary(const ObjectUnit *u, const char *object, const char *header) {
	const Layout *l = &u->s->layout;
	printf("%s, %s: %s, cpu %s\n", object, header, u->target->triple, u->target->cpu);
	printf("code        %zu bytes\n", u->made.code_bytes);
	printf("stack       %zu bytes at most\n", u->made.stack_bytes);
	if (u->infer) printf("scratch     %zu bytes to infer\n", u->made.scratch_infer);
	if (u->train) printf("scratch     %zu bytes to train\n", u->made.scratch_train);
	printf("parameters  %zu bytes, packed in a block of %zu\n", u->dense_params, u->params_bytes);
	if (!u->target->has_fma)
		fprintf(stderr, "note: cpu '%s' has no fused multiply-add, so the object rounds differently from nnc train\n",
		        u->target->cpu);
	if (u->train)
		printf("optimiser   %zu bytes, packed in %zu; the training block is %zu in all\n", u->dense_slots,
		       l->bytes - l->infer_bytes, u->embed.train_bytes);
}

/* Is there no such file, or did nnc write it, as its first line says? */
static bool may_replace(const char *header) {
	char line[400] = "";
	FILE *in = fopen(header, "rb");
	if (!in) return true;
	bool empty = !fgets(line, sizeof line, in);
	fclose(in);
	return empty || strstr(line, "compiled by nnc ");
}

static int compile_program(Session *s) {
	const Options *o = s->options;
	ObjectUnit u = {.s = s, .x = c_identifier(s->arena, s->program->name)};
	int code = choose_entries(&u);
	if (code != EXIT_DONE) return code;
	u.target = target_named(s->arena, s->diag, o->target, o->cpu, NULL);
	if (!u.target || !describe(&u) || !generate(&u)) {
		session_report(s);
		return EXIT_INPUT;
	}
	const char *header = header_path(s->arena, o->output);
	if (strcmp(header, o->output) == 0) {
		fprintf(stderr, "nnc compile: -o names the object file; its header would be '%s' as well\n", header);
		return EXIT_USAGE;
	}
	if (!may_replace(header)) {
		fprintf(stderr,
		        "nnc compile: the header '%s' is there already, and nnc did not write it\nhelp: name another object file\n",
		        header);
		return EXIT_USAGE;
	}
	Text text = {.arena = s->arena};
	write_header(&text, &u);
	if (write_atomic(s->diag, o->output, u.made.object.bytes, u.made.object.size))
		write_atomic(s->diag, header, text.data, text.length);
	code = session_report(s);
	if (code == EXIT_DONE) print_summary(&u, o->output, header);
	return code;
}

int command_compile(const Options *options) {
	if (!options->output) {
		fprintf(stderr, "nnc compile: where to?\nhelp: add -o model.o; the header is written beside it\n");
		return EXIT_USAGE;
	}
	Options own = *options;
	own.made_up = true;
	return session_run(&own, 0, compile_program);
}
