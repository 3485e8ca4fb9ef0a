/* object.c: in: a program; out: what an object of it calls its things, and where they stand in its blocks: one description for
 * the object, its header, and files that hold blocks.
 * Guarantees: it depends on the text of the program and on whether training is wanted, never on a target. */
#include "object.h"

#include <string.h>

/* ---- names ---- */

/* X_name; an error when something else is called so already. */
const char *take_name(ObjectUnit *u, const char *name, const char *what, Span span) {
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
	                                    "store", "load_params", "store_params", "find", "rows", "check", "check_params",
	                                    "check_train", "H", "ABI", "PARAMS_ID", "TRAIN_ID", "ALIGN", "CODE_BYTES", "DATA_BYTES",
	                                    "PARAM_COUNT",
	                                    "PARAMS_BYTES", "TRAIN_BYTES", "SCRATCH_INFER", "SCRATCH_TRAIN", "SCRATCH_WORKERS",
	                                    "STACK_MAX",
#define CODE(name, number, meaning) #name,
	                                    EMBED_CODES(CODE)
#undef CODE
	};
	for (size_t i = 0; i < COUNT(names); i++) take_name(u, names[i], "", (Span){0});
}

/* `wanted` as an identifier that none of the others is; interned, so that they are compared by address. */
static const char *member_name(ObjectUnit *u, const char *wanted) {
	Arena *arena = u->s->arena;
	const char *base = c_identifier(arena, wanted), *name = base;
	if (c_keyword(base)) name = base = arena_printf(arena, "%s_", base);
	for (int number = 2;; number++) {
		name = arena_intern(arena, name, strlen(name));
		bool free = strcmp(name, "params") != 0 && strcmp(name, "head") != 0;
		for (int i = 0; free && i < u->members.length; i++) free = u->members.data[i].name != name;
		for (int i = 0; free && i < u->fields.length; i++) free = u->fields.data[i].name != name;
		if (free) return name;
		name = arena_printf(arena, "%s_%d", base, number);
	}
}

const char *train_suffix(Arena *arena, const Train *t) { return t->name ? arena_printf(arena, "_%s", t->name) : ""; }

const char *argument_name(Arena *arena, const char *wanted, const Declared *others, int n) {
	static const char *const own[] = {"p", "t", "n", "loss", "scratch", "worker", "barrier", "context"};
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

static void place_tensors(ObjectUnit *u) {
	const Program *p = u->s->program;
	const Layout *l = &u->layout;
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

/* Counters and settings of the train blocks. */
static void place_fields(ObjectUnit *u) {
	const Program *p = u->s->program;
	Arena *arena = u->s->arena;
	u->embed.id_offset = add_field(u, "uint64_t", 8, "id", "whose block it is; set by the initialisation");
	u->embed.seed_offset = add_field(u, "uint64_t", 8, "seed", "of randomness in the graph; set by the initialisation");
	for (int i = 0; i < p->trains.length; i++) {
		const Train *t = &p->trains.data[i];
		EmbedStep *e = &u->embed.steps[i];
		const char *suffix = train_suffix(arena, t);
		e->accumulate = MAX(t->accumulate, 1);
		e->settings = NEW_ARRAY(arena, EmbedSetting, t->nsettings + 1);
		e->step_offset = add_field(u, "int64_t", 8, arena_printf(arena, "step%s", suffix), "calls that returned 0");
		e->epoch_offset = add_field(u, "int32_t", 4, arena_printf(arena, "epoch%s", suffix), "from 1; yours to count");
		for (int k = 0; k < t->nsettings; k++) {
			const char *name = arena_printf(arena, "%s%s", t->settings[k].name, suffix);
			size_t at = add_field(u, "float", 4, name, "a setting: input(..)");
			e->settings[e->nsettings++] = (EmbedSetting){t->settings[k].name, at, (float)t->settings[k].value};
		}
	}
	u->embed.train_bytes = whole_lines(u->embed.train_bytes);
}

/* FNV-1a, 64 bits, so that others can make it as well. */
static uint64_t text_id(const Text *text) {
	uint64_t hash = 0xcbf29ce484222325u;
	for (size_t i = 0; i < text->length; i++) hash = (hash ^ (unsigned char)text->data[i]) * 0x100000001b3u;
	return hash;
}

/* Whose blocks these are: the version of the ABI, then a line for each tensor and for each field, with all that decides where it
 * stands and what it means: "parameter net/dense.0/w f32[784, 10] row 16 at 64". */
static void make_ids(ObjectUnit *u) {
	static const char *const kinds[INPUT_KINDS] = {[INPUT_PARAM] = "parameter", [INPUT_STATE] = "state", [INPUT_SLOT] = "slot"};
	const Program *p = u->s->program;
	Text text = {.arena = u->s->arena};
	text_add(&text, "abi %d\n", EMBED_ABI);
	for (int slots = 0; slots < 2; slots++) {
		for (int i = 0; i < p->persistent.length; i++) {
			const Persistent *x = &p->persistent.data[i];
			if ((x->kind == INPUT_SLOT) != slots) continue;
			text_add(&text, "%s %s %s row %lld at %zu\n", kinds[x->kind], x->path, type_text(text.arena, x->type),
			         (long long)u->layout.places[i].row, u->layout.places[i].offset);
		}
		if (!slots) u->embed.params_id = text_id(&text);
	}
	for (int i = 0; i < u->fields.length; i++)
		text_add(&text, "%s %s at %zu\n", u->fields.data[i].type, u->fields.data[i].name, u->fields.data[i].offset);
	u->embed.train_id = text_id(&text);
}

void object_place(ObjectUnit *u) {
	Session *s = u->s;
	const Program *p = s->program;
	u->x = c_identifier(s->arena, p->name);
	u->layout = layout_block(s->arena, p);
	u->embed = (Embed){.program = p,
	                   .layout = &u->layout,
	                   .models = NEW_ARRAY(s->arena, EmbedModel, p->models.length + 1),
	                   .steps = NEW_ARRAY(s->arena, EmbedStep, p->trains.length + 1),
	                   .params_bytes = u->layout.infer_bytes,
	                   .train_bytes = u->layout.bytes};
	reserve_names(u);
	place_tensors(u);
	if (u->train) place_fields(u);
	make_ids(u);
}

/* ---- bytes ---- */

void block_put(char *to, uint64_t value, int bytes) {
	for (int i = 0; i < bytes; i++) to[i] = (char)(value >> (8 * i));
}

void block_stamp(const ObjectUnit *u, char *block) {
	block_put(block + offsetof(nnc_head, id), u->embed.params_id, 8);
	block_put(block + offsetof(nnc_head, abi), EMBED_ABI, 4);
	block_put(block + offsetof(nnc_head, bytes), u->embed.params_bytes, 4);
}

/* X_param_table: what header.c declares as X_param_info. */
EmbedBytes param_table(ObjectUnit *u) {
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
		block_put(to, x->kind == INPUT_PARAM ? 0 : x->kind == INPUT_STATE ? 1 : 2, 4);
		block_put(to + 4, (uint64_t)x->type.dtype, 4);
		block_put(to + 8, (uint64_t)dtype_info[x->type.dtype].bytes, 4);
		block_put(to + 12, (uint64_t)x->type.rank, 4);
		for (int d = x->type.rank - 1; d >= 0; d--) {
			block_put(to + 16 + 8 * d, (uint64_t)x->type.dim[d], 8);
			block_put(to + 16 + 8 * MAX_RANK + 8 * d, (uint64_t)stride, 8);
			stride *= d == x->type.rank - 1 ? u->layout.places[i].row : x->type.dim[d];
		}
		block_put(to + 16 + 16 * MAX_RANK, u->members.data[i].offset, 8);
		block_put(to + 24 + 16 * MAX_RANK, (uint64_t)u->members.data[i].count * (uint64_t)dtype_info[x->type.dtype].bytes, 8);
		at += entry;
	}
	return (EmbedBytes){arena_printf(u->s->arena, "%s_param_table", u->x), table,
	                    (size_t)(at == table ? table + entry - table : at - table)};
}
