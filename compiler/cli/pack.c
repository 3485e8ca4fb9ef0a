/* pack.c: nnc pack and unpack: in: FILE.nn and weights (safetensors), or a block as bytes; out: the other of the two.
 * A block is an X_params or X_train of the object that `nnc compile` makes of the same file, as all targets have it: lowest byte
 * first.  Guarantees: tensors go over without change; a block of another program, or damaged in length, is refused. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object.h"

/* ---- what stands in a block beside tensors ---- */

static uint64_t get(const char *from, int bytes) {
	uint64_t value = 0;
	for (int i = 0; i < bytes; i++) value |= (uint64_t)(unsigned char)from[i] << (8 * i);
	return value;
}

/* A field as text that reads back as the same bits. */
static const char *field_text(Arena *arena, const Member *field, const char *at) {
	uint32_t low = (uint32_t)get(at, 4);
	float x;
	memcpy(&x, &low, 4);
	if (!strcmp(field->type, "float")) return arena_printf(arena, "%.9g", (double)x);
	if (!strcmp(field->type, "int32_t")) return arena_printf(arena, "%" PRId32, (int32_t)low);
	return arena_printf(arena, "%" PRIu64, get(at, 8));   /* what is signed is never negative */
}

static bool field_read(const Member *field, const char *text, char *at) {
	char *end;
	uint32_t bits;
	errno = 0;
	float x = strtof(text, &end);
	memcpy(&bits, &x, 4);
	if (!strcmp(field->type, "float")) return block_put(at, bits, 4), end > text && !*end;
	uint64_t n = strtoull(text, &end, 10);
	return block_put(at, n, strcmp(field->type, "int32_t") ? 8 : 4), end > text && !*end && !errno;
}

static const char *field_key(Arena *arena, const Member *field) { return arena_printf(arena, "field:%s", field->name); }

static bool is_set(const Options *o, const char *name) {
	for (int i = 0; i < o->nsets; i++)
		if (!strcmp(o->set_name[i], name)) return true;
	return false;
}

/* What the options say again, and not the file. */
static bool is_given(const ObjectUnit *u, const Member *field) {
	const Options *o = u->s->options;
	if (field->offset == u->embed.id_offset) return true;
	if (field->offset == u->embed.seed_offset) return o->has_seed;
	for (int i = 0; i < u->s->program->trains.length; i++)
		for (int k = 0; k < u->embed.steps[i].nsettings; k++) {
			const EmbedSetting *setting = &u->embed.steps[i].settings[k];
			if (setting->offset == field->offset) return is_set(o, setting->name);
		}
	return false;
}

static int64_t meta_number(const TensorFile *file, const char *key) {
	const char *text = tensors_meta(file, key);
	return text ? MAX(strtoll(text, NULL, 10), 0) : 0;
}

/* The counters of a checkpoint of `nnc train`, whose optimiser's state is among the weights. */
static void put_progress(const ObjectUnit *u, char *block, const TensorFile *file) {
	const char *name = tensors_meta(file, "train");
	int64_t done = meta_number(file, "done"), samples = meta_number(file, "samples"), batch = meta_number(file, "batch");
	for (int i = 0; name && i < u->s->program->trains.length; i++) {
		const Train *t = &u->s->program->trains.data[i];
		if (strcmp(t->name ? t->name : "", name) || batch < 1 || samples < batch) continue;
		block_put(block + u->embed.steps[i].step_offset, (uint64_t)done, 8);
		block_put(block + u->embed.steps[i].epoch_offset, (uint64_t)(done / (samples / batch) + 1), 4);
	}
}

/* Counters and settings: those of a new training, unless the file has others. */
static void put_fields(const ObjectUnit *u, char *block, const TensorFile *file, uint64_t seed) {
	block_put(block + u->embed.id_offset, u->embed.train_id, 8);
	block_put(block + u->embed.seed_offset, seed, 8);
	for (int i = 0; i < u->s->program->trains.length; i++) {
		const EmbedStep *e = &u->embed.steps[i];
		block_put(block + e->epoch_offset, 1, 4);
		for (int k = 0; k < e->nsettings; k++) {
			uint32_t bits;
			memcpy(&bits, &e->settings[k].value, 4);
			block_put(block + e->settings[k].offset, bits, 4);
		}
	}
	put_progress(u, block, file);
	for (int i = 0; i < u->fields.length; i++) {
		const Member *field = &u->fields.data[i];
		const char *key = field_key(u->s->arena, field), *text = is_given(u, field) ? NULL : tensors_meta(file, key);
		if (!text || field_read(field, text, block + field->offset)) continue;
		diag_error(u->s->diag, (Span){0}, "'%s' says %s is '%s', which is no such number", u->s->options->second, key, text);
	}
}

/* The same as metadata, and what every weights file has, of the first train block. */
static WeightsInfo get_fields(const ObjectUnit *u, const char *block) {
	Arena *arena = u->s->arena;
	const EmbedStep *e = &u->embed.steps[0];
	MetaEntry *more = NEW_ARRAY(arena, MetaEntry, u->fields.length + 1);
	int n = 0;
	for (int i = 0; i < u->fields.length; i++) {
		const Member *field = &u->fields.data[i];
		if (field->offset == u->embed.id_offset) continue;
		more[n++] = (MetaEntry){field_key(arena, field), field_text(arena, field, block + field->offset)};
	}
	return (WeightsInfo){.seed = get(block + u->embed.seed_offset, 8),
	                     .step = (int64_t)get(block + e->step_offset, 8) / e->accumulate,
	                     .epoch = (int64_t)get(block + e->epoch_offset, 4),
	                     .has_seed = true,
	                     .more = more,
	                     .nmore = n};
}

/* ---- pack ---- */

/* Tensors from one layout to another. */
static void move_tensors(const Program *p, const Layout *from, const char *a, const Layout *to, char *b, bool slots) {
	for (int i = 0; i < p->persistent.length; i++) {
		if (p->persistent.data[i].kind == INPUT_SLOT && !slots) continue;
		char *dense = malloc(MAX(dense_bytes(p->persistent.data[i].type), (size_t)1));
		if (!dense) fatal("out of memory");
		layout_store(from, p, i, a, dense);
		layout_load(to, p, i, b, dense);
		free(dense);
	}
}

static bool choose_block(ObjectUnit *u) {
	const Session *s = u->s;
	const char *entry = s->options->entry;
	u->train = entry ? !strcmp(entry, "train") : s->program->trains.length > 0;
	if (entry && strcmp(entry, "train") && strcmp(entry, "infer")) {
		fprintf(stderr, "nnc pack: --entry is infer, for an X_params, or train, for an X_train, not '%s'\n", entry);
		return false;
	}
	if (!u->train || s->program->trains.length) return true;
	fprintf(stderr, "nnc pack: %s has no train block\n", s->options->file);
	return false;
}

/* own: the tensors, as this process has them; file: what they are from. */
static void write_block(ObjectUnit *u, const TensorFile *file, const char *own, uint64_t seed) {
	Session *s = u->s;
	size_t bytes = u->train ? u->embed.train_bytes : u->embed.params_bytes;
	char *block = block_new(bytes);
	move_tensors(s->program, &s->layout, own, &u->layout, block, u->train);
	block_stamp(u, block);
	if (u->train) put_fields(u, block, file, !s->options->has_seed && s->info.has_seed ? s->info.seed : seed);
	if (!s->diag->errors && write_atomic(s->diag, s->options->output, block, bytes))
		printf("%s: %s_%s of %zu bytes%s\n", s->options->output, u->x, u->train ? "train" : "params", bytes,
		       u->train && s->info.has_slots ? ", with the optimiser's state" : "");
	block_free(block, bytes);
}

static int pack_program(Session *s) {
	const Options *o = s->options;
	const Program *p = s->program;
	ObjectUnit u = {.s = s};
	if (!choose_block(&u)) return EXIT_USAGE;
	object_place(&u);
	if (session_report(s) != EXIT_DONE) return EXIT_INPUT;
	uint64_t seed = o->has_seed ? (uint64_t)o->seed : p->trains.length ? p->trains.data[0].seed : 1;
	char *own = u.train ? session_block(s, seed) : block_new(MAX(s->layout.bytes, (size_t)1));
	if (!own) return EXIT_INPUT;
	TensorFile *file = session_vocabs(s) ? tensors_read(s->arena, s->diag, o->second) : NULL;
	if (file && weights_take(s->diag, o->second, file, p, &s->layout, own, false, &s->info)) write_block(&u, file, own, seed);
	tensors_close(file);
	block_free(own, MAX(s->layout.bytes, (size_t)1));
	return session_report(s);
}

/* ---- unpack ---- */

/* Reads at most `most` bytes; fewer than there are where the file is longer.  NULL after a message. */
static char *read_block(Session *s, const char *path, size_t most, size_t *length) {
	FILE *in = fopen(path, "rb");
	if (!in) {
		diag_error(s->diag, (Span){0}, "cannot read '%s': %s", path, strerror(errno));
		return NULL;
	}
	char *bytes = arena_alloc(s->arena, most);
	*length = fread(bytes, 1, most, in);
	bool bad = ferror(in) != 0;
	if (bad) diag_error(s->diag, (Span){0}, "cannot read '%s': %s", path, strerror(errno));
	fclose(in);
	return bad ? NULL : bytes;
}

/* Is it a block of the program?  Then u->train says which. */
static bool recognise(ObjectUnit *u, const char *path, const char *block, size_t length) {
	Diag *diag = u->s->diag;
	const Embed *e = &u->embed;
	bool trains = u->train, whole = length == e->params_bytes || (trains && length == e->train_bytes);
	if (length < sizeof(nnc_head)) {
		diag_error(diag, (Span){0}, "'%s' is too short for a block of parameters: it has %zu bytes", path, length);
		return false;
	}
	uint64_t id = get(block + offsetof(nnc_head, id), 8), abi = get(block + offsetof(nnc_head, abi), 4);
	if (!id && !abi) {
		diag_error(diag, (Span){0}, "'%s' is a block that was never filled", path);
		return false;
	}
	if (id != e->params_id || abi != EMBED_ABI) {
		diag_error(diag, (Span){0}, "'%s' is no block of this program", path);
		diag_note(diag, (Span){0}, "it says %016" PRIx64 ", ABI %" PRIu64 "; this program's say %016" PRIx64 ", ABI %d", id, abi,
		          e->params_id, EMBED_ABI);
		diag_help(diag, "give the file that the object was compiled from, with the same --set");
		return false;
	}
	if (!whole) {
		diag_error(diag, (Span){0}, "'%s' has %s%zu bytes; %s_params has %zu%s", path,
		           length > e->train_bytes ? "more than " : "", MIN(length, e->train_bytes), u->x, e->params_bytes,
		           trains ? arena_printf(diag->arena, ", %s_train %zu", u->x, e->train_bytes) : "");
		return false;
	}
	u->train = length != e->params_bytes;
	if (!u->train || get(block + e->id_offset, 8) == e->train_id) return true;
	diag_error(diag, (Span){0}, "the parameters of '%s' are this program's, and its optimiser's state is not", path);
	diag_help(diag, "its first %zu bytes are %s_params", e->params_bytes, u->x);
	return false;
}

static int unpack_program(Session *s) {
	const Options *o = s->options;
	const Program *p = s->program;
	ObjectUnit u = {.s = s, .train = p->trains.length > 0};
	object_place(&u);
	size_t length = 0;
	char *block = session_report(s) == EXIT_DONE ? read_block(s, o->second, u.embed.train_bytes + 1, &length) : NULL;
	if (block && recognise(&u, o->second, block, length) && session_vocabs(s)) {
		WeightsInfo info = {0};
		if (u.train) info = get_fields(&u, block);
		if (weights_save(s->diag, o->output, p, &u.layout, block, info, u.train))
			printf("%s: of %s_%s\n", o->output, u.x, u.train ? "train" : "params");
	}
	return session_report(s);
}

/* ---- the commands ---- */

static int run(const Options *options, bool pack) {
	const char *command = pack ? "pack" : "unpack";
	if (!options->second) {
		fprintf(stderr, pack ? "nnc pack: which weights?\nhelp: nnc pack %s weights.safetensors -o block.bin\n"
		                     : "nnc unpack: which block?\nhelp: nnc unpack %s block.bin -o weights.safetensors\n", options->file);
		return EXIT_USAGE;
	}
	if (!options->output) {
		fprintf(stderr, "nnc %s: where to?\nhelp: add -o %s\n", command, pack ? "block.bin" : "weights.safetensors");
		return EXIT_USAGE;
	}
	Options own = *options;
	own.made_up = own.stepless = true;
	if (pack) own.weights = own.second;   /* they know the vocabulary of a text that is not here */
	return session_run(&own, 0, pack ? pack_program : unpack_program);
}

int command_pack(const Options *options) { return run(options, true); }

int command_unpack(const Options *options) { return run(options, false); }
