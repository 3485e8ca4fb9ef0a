/* ir.c: types, functions and hash-consing.  In: operands and attributes; out: the one value of that meaning in its
 * function.  Guarantees: every value satisfies val_problem() (verify.c), operands stand before their users, and
 * fn_canonical() gives an order that does not depend on the order of construction. */
#include "rules.h"

#include <string.h>

#define NO NULL
#define UNPACK(...) __VA_ARGS__
#define CLASS_F 'F'
#define CLASS_N 'N'
#define CLASS_I 'I'
#define CLASS_B 'B'
#define CLASS_W 'W'
#define CLASS_A 'A'
#define IS_BOOL_same false
#define IS_BOOL_bool true
#define POINTWISE(Name, text, n, class, is_bool, meaning) \
	[Op##Name] = {#Name, text, meaning, n, true, class, is_bool, {NULL, NULL, NULL}, NULL},
const OpInfo op_info[OP_COUNT] = {
#define UNARY(Name, text, types, result, forward, da, meaning) \
	POINTWISE(Name, text, 1, CLASS_##types, IS_BOOL_##result, meaning)
#define BINARY(Name, text, types, result, forward, da, db, meaning) \
	POINTWISE(Name, text, 2, CLASS_##types, IS_BOOL_##result, meaning)
#define TERNARY(Name, text, types, result, forward, da, db, dc, meaning) \
	POINTWISE(Name, text, 3, CLASS_##types, IS_BOOL_##result, meaning)
#define STRUCTURAL(Name, text, n, lists, number, derivative, meaning) \
	[Op##Name] = {#Name, text, meaning, n, false, 0, false, {UNPACK lists}, number},
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
};

const DTypeInfo dtype_info[DTYPE_COUNT] = {
#define DTYPE(Name, text, bytes, class) {text, bytes, CLASS_##class},
#include "dtype.def"
#undef DTYPE
};

const char *const input_kind_text[INPUT_KINDS] = {"data", "param", "state", "slot", "step", "epoch", "seed", "setting"};

Type type_make(DType dtype, int rank, const int64_t *dim) {
	if (rank < 0 || rank > MAX_RANK) die("rank %d", rank);
	Type t = {.dtype = dtype, .rank = rank};
	for (int i = 0; i < rank; i++) t.dim[i] = dim[i];
	return t;
}

bool type_same_dims(Type a, Type b) {
	if (a.rank != b.rank) return false;
	for (int i = 0; i < a.rank; i++)
		if (a.dim[i] != b.dim[i]) return false;
	return true;
}

bool type_equal(Type a, Type b) { return a.dtype == b.dtype && type_same_dims(a, b); }

int64_t type_count(Type t) {
	int64_t count = 1;
	for (int i = 0; i < t.rank; i++) count *= t.dim[i];
	return count;
}

const char *type_text(Arena *arena, Type t) {
	Text text = {.arena = arena};
	text_add(&text, "%s[", (unsigned)t.dtype < DTYPE_COUNT ? dtype_info[t.dtype].text : "?");
	for (int i = 0; i < t.rank && i < MAX_RANK; i++) text_add(&text, "%s%lld", i ? "," : "", (long long)t.dim[i]);
	text_add(&text, "]");
	return text.data;
}

Fn *fn_new(Arena *arena, const char *name) {
	Fn *f = NEW(arena, Fn);
	f->arena = arena;
	f->name = arena_intern(arena, name ? name : "", name ? strlen(name) : 0);
	f->table_size = 64;
	f->table = NEW_ARRAY(arena, Val *, f->table_size);
	return f;
}

/* ---- hash-consing ---- */

static uint64_t number_bits(double number) {
	uint64_t bits;
	memcpy(&bits, &number, sizeof bits);
	return bits;
}

/* One more word: a product each, mixed well once at the end. */
static uint64_t hash_word(uint64_t h, uint64_t word) {
	h = (h ^ word) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

static uint64_t val_hash(const Val *v) {
	uint64_t h = hash_word(0, (uint64_t)v->op * 64 + (uint64_t)v->type.dtype + 1);
	for (int i = 0; i < v->type.rank; i++) h = hash_word(h, (uint64_t)v->type.dim[i]);
	for (int i = 0; i < v->nargs; i++) h = hash_word(h, (uint64_t)v->arg[i]->id);
	for (int k = 0; k < MAX_LISTS; k++) {
		h = hash_word(h, (uint64_t)v->list[k].length);
		for (int i = 0; i < v->list[k].length; i++) h = hash_word(h, (uint64_t)v->list[k].data[i]);
	}
	return hash_mix(h ^ number_bits(v->number));
}

static bool val_same(const Val *a, const Val *b) {
	if (a->hash != b->hash || a->op != b->op || a->nargs != b->nargs || !type_equal(a->type, b->type)) return false;
	if (number_bits(a->number) != number_bits(b->number)) return false;
	for (int i = 0; i < a->nargs; i++)
		if (a->arg[i] != b->arg[i]) return false;
	for (int k = 0; k < MAX_LISTS; k++) {
		if (a->list[k].length != b->list[k].length) return false;
		for (int i = 0; i < a->list[k].length; i++)
			if (a->list[k].data[i] != b->list[k].data[i]) return false;
	}
	return true;
}

static void table_grow(Fn *f) {
	int size = f->table_size * 2;
	Val **table = NEW_ARRAY(f->arena, Val *, size);
	for (int i = 0; i < f->table_size; i++)
		for (Val *v = f->table[i], *next; v; v = next) {
			next = v->hash_next;
			Val **slot = &table[v->hash & (uint64_t)(size - 1)];
			v->hash_next = *slot;
			*slot = v;
		}
	f->table = table;
	f->table_size = size;
}

static void die_problem(const Fn *f, const Val *v, const char *problem) {
	Text text = {.arena = f->arena};
	for (int i = 0; i < v->nargs; i++) text_add(&text, "%s%s", i ? ", " : "", type_text(f->arena, v->arg[i]->type));
	die("%s(%s) -> %s: %s", op_info[v->op].text, text.data ? text.data : "", type_text(f->arena, v->type), problem);
}

static bool is_numbered(const Val *v) { return v->op == OpMark || v->op == OpCotangent || v->op == OpCustom; }

/* With its operands and, unless `shared`, attributes, in one piece. */
static Val *val_copy(Fn *f, const Val *key, bool shared) {
	size_t size = sizeof *key + sizeof *key->arg * (size_t)key->nargs;
	for (int k = 0; k < MAX_LISTS && !shared; k++) size += sizeof *key->list[k].data * (size_t)key->list[k].length;
	Val *v = arena_alloc(f->arena, size);
	*v = *key;
	int64_t *data = (int64_t *)(v + 1);
	for (int k = 0; k < MAX_LISTS && !shared; k++) {
		v->list[k].data = data;
		for (int i = 0; i < key->list[k].length; i++) *data++ = key->list[k].data[i];
	}
	v->arg = (Val **)data;
	for (int i = 0; i < key->nargs; i++) v->arg[i] = key->arg[i];
	return v;
}

/* Of a value that is known to be well-formed.  shared: its attributes are another value's, which nobody changes: numbers are
 * given anew, see keep_val(). */
static Val *intern(Fn *f, const Val *candidate, bool shared) {
	Val key = *candidate;
	if (is_numbered(&key)) f->next_mark = MAX(f->next_mark, (int)key.list[0].data[0] + 1);
	key.hash = val_hash(&key);
	if (key.op != OpScan) /* a scan owns its body, so no two are the same */
		for (Val *v = f->table[key.hash & (uint64_t)(f->table_size - 1)]; v; v = v->hash_next)
			if (val_same(v, &key)) return v;
	if (f->table_used >= f->table_size) table_grow(f);
	Val *v = val_copy(f, &key, shared && !is_numbered(&key));
	v->id = f->vals.length;
	Val **slot = &f->table[key.hash & (uint64_t)(f->table_size - 1)];
	v->hash_next = *slot;
	*slot = v;
	f->table_used++;
	f->canonical = false;
	vec_push(f->arena, &f->vals, v);
	return v;
}

Val *val_intern(Fn *f, const Val *candidate) {
	for (int i = 0; i < candidate->nargs; i++) {
		const Val *a = candidate->arg[i];
		if (!a || a->id < 0 || a->id >= f->vals.length || f->vals.data[a->id] != a)
			die("operand %d of %s belongs to another function", i, op_info[candidate->op].text);
	}
	const char *problem = val_problem(candidate);
	if (problem) die_problem(f, candidate, problem);
	return intern(f, candidate, false);
}

Val *fn_rebuild(Fn *f, Val *v, Val **args) {
	Val key = *v;
	key.arg = args;
	return val_intern(f, &key);
}

Val *fn_copy(Fn *f, const Val *v, Val **args) {
	Val key = *v;
	key.arg = args;
	for (int i = 0; i < v->nargs; i++) {
		const Type *a = &args[i]->type, *b = &v->arg[i]->type;
		if (a->dtype != b->dtype || a->rank != b->rank || memcmp(a->dim, b->dim, sizeof *a->dim * (size_t)a->rank))
			return val_intern(f, &key);
	}
	return intern(f, &key, true);
}

/* ---- inputs, outputs, order ---- */

Val *fn_input(Fn *f, const char *name, InputKind kind, Type type) {
	int64_t index = f->inputs.length;
	Input input = {.name = arena_intern(f->arena, name ? name : "", name ? strlen(name) : 0), .kind = kind, .type = type};
	Val key = {.op = OpInput, .type = type, .span = f->span, .list = {{&index, 1}}};
	input.val = val_intern(f, &key);
	vec_push(f->arena, &f->inputs, input);
	return input.val;
}

int fn_output(Fn *f, const char *name, Val *val, int updates) {
	if (!val || val->id >= f->vals.length || f->vals.data[val->id] != val) die("output '%s' is of another function", name);
	Output output = {arena_intern(f->arena, name ? name : "", name ? strlen(name) : 0), val, updates};
	f->canonical = false;
	vec_push(f->arena, &f->outputs, output);
	return f->outputs.length - 1;
}

void fn_outputs_of(Fn *to, const Fn *from, Val *const *map) {
	for (int i = 0; i < from->outputs.length; i++) {
		const Output *output = &from->outputs.data[i];
		fn_output(to, output->name, map[output->val->id], output->updates);
	}
}

Fn *fn_with_inputs(const Fn *from, Val **map) {
	Fn *f = fn_new(from->arena, from->name);
	f->table_size = from->table_size;
	f->table = NEW_ARRAY(f->arena, Val *, f->table_size);
	f->vals.capacity = from->vals.length;
	f->vals.data = NEW_ARRAY(f->arena, Val *, f->vals.capacity + 1);
	f->inputs.capacity = from->inputs.length;
	f->inputs.data = NEW_ARRAY(f->arena, Input, f->inputs.capacity + 1);
	for (int i = 0; i < from->inputs.length; i++) {
		const Input *input = &from->inputs.data[i];
		f->span = input->val ? input->val->span : (Span){0};
		Val *v = fn_input(f, input->name, input->kind, input->type);
		f->inputs.data[i].classes = input->classes;
		if (input->val) map[input->val->id] = v;
	}
	return f;
}

typedef struct Canonical {
	Fn *to;
	Val **map;                    /* by old id */
	int64_t *ids, *new_ids;       /* marks and cotangents: old id + 1 of each slot, and its new id */
	int size;
	bool in_place;                /* no copies: `to` collects the values themselves */
} Canonical;

/* Ids of marks and cotangents show the order of construction too: numbered again by first use. */
static int64_t canonical_id(Canonical *c, int64_t old) {
	int slot = (int)(hash_mix((uint64_t)old) & (uint64_t)(c->size - 1));
	while (c->ids[slot] && c->ids[slot] != old + 1) slot = (slot + 1) & (c->size - 1);
	if (!c->ids[slot]) {
		c->ids[slot] = old + 1;
		c->new_ids[slot] = c->to->next_mark++;
	}
	return c->new_ids[slot];
}

/* The numbers of the values do not count yet: the hashes are computed when all are known. */
static void keep_val(Canonical *c, Val *v) {
	if (is_numbered(v)) v->list[0].data[0] = canonical_id(c, v->list[0].data[0]);
	if (v->op == OpScan && !v->body->canonical) v->body = fn_canonical(v->body);
	c->map[v->id] = v;
	vec_push(c->to->arena, &c->to->vals, v);
}

static void canonical_val(Canonical *c, Val *v) {
	if (c->in_place) {
		keep_val(c, v);
		return;
	}
	Val key = *v;
	Val *few[8], **args = v->nargs > 8 ? NEW_ARRAY(c->to->arena, Val *, v->nargs) : few;
	for (int i = 0; i < v->nargs; i++) args[i] = c->map[v->arg[i]->id];
	key.arg = args;
	int64_t id;
	if (is_numbered(v)) {
		id = canonical_id(c, v->list[0].data[0]);
		key.list[0].data = &id;
	}
	if (v->op == OpScan) key.body = fn_canonical(v->body);
	c->map[v->id] = intern(c->to, &key, true);
}

/* Post-order from `root` with a stack of our own: chains are as long as the program. */
static void canonical_visit(Canonical *c, Val *root, Val **stack, int *next) {
	int depth = 0;
	stack[0] = root;
	next[0] = 0;
	while (depth >= 0) {
		Val *v = stack[depth];
		if (c->map[v->id]) {
			depth--;
		} else if (next[depth] < v->nargs) {
			Val *a = v->arg[next[depth]++];
			if (c->map[a->id]) continue;
			stack[++depth] = a;
			next[depth] = 0;
		} else {
			canonical_val(c, v);
			depth--;
		}
	}
}

FnLength fn_length(const Fn *f) { return (FnLength){f->vals.length, f->next_mark, f->canonical}; }

void fn_shorten(Fn *f, FnLength to) {
	while (f->vals.length > to.vals) {
		Val *v = f->vals.data[--f->vals.length], **at = &f->table[v->hash & (uint64_t)(f->table_size - 1)];
		while (*at != v) at = &(*at)->hash_next;
		*at = v->hash_next;
		f->table_used--;
	}
	f->next_mark = to.next_mark;
	f->canonical = to.canonical;
}

bool fn_has(const Fn *f, Op op) {
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op == op || (v->op == OpScan && fn_has(v->body, op))) return true;
	}
	return false;
}

int *fn_count_uses(const Fn *f) {
	int *uses = NEW_ARRAY(f->arena, int, f->vals.length + 1);
	for (int i = 0; i < f->vals.length; i++)
		for (int k = 0; k < f->vals.data[i]->nargs; k++) uses[f->vals.data[i]->arg[k]->id]++;
	for (int i = 0; i < f->outputs.length; i++) uses[f->outputs.data[i].val->id]++;
	return uses;
}

static Canonical canonical_start(const Fn *f) {
	Canonical c = {.map = NEW_ARRAY(f->arena, Val *, f->vals.length + 1), .size = 16};
	int marks = 0;
	for (int i = 0; i < f->vals.length; i++) marks += is_numbered(f->vals.data[i]);
	while (c.size < 2 * marks) c.size *= 2;
	c.ids = NEW_ARRAY(f->arena, int64_t, c.size);
	c.new_ids = NEW_ARRAY(f->arena, int64_t, c.size);
	return c;
}

static void canonical_visit_all(Canonical *c, const Fn *f) {
	Val **stack = NEW_ARRAY(f->arena, Val *, f->vals.length + 1);
	int *next = NEW_ARRAY(f->arena, int, f->vals.length + 1);
	for (int i = 0; i < f->outputs.length; i++) canonical_visit(c, f->outputs.data[i].val, stack, next);
}

Fn *fn_renumber(Fn *f) {
	Canonical c = canonical_start(f);
	Fn ordered = {.arena = f->arena};
	ordered.vals.capacity = f->vals.length;
	ordered.vals.data = NEW_ARRAY(f->arena, Val *, f->vals.length + 1);
	c.to = &ordered;
	c.in_place = true;
	for (int i = 0; i < f->inputs.length; i++) keep_val(&c, f->inputs.data[i].val);
	canonical_visit_all(&c, f);
	memset(f->table, 0, sizeof *f->table * (size_t)f->table_size);
	for (int i = 0; i < ordered.vals.length; i++) {
		Val *v = ordered.vals.data[i];
		v->id = i;
		v->hash = val_hash(v);
		Val **slot = &f->table[v->hash & (uint64_t)(f->table_size - 1)];
		v->hash_next = *slot;
		*slot = v;
	}
	memcpy(&f->vals, &ordered.vals, sizeof f->vals);
	f->table_used = f->vals.length;
	f->next_mark = ordered.next_mark;
	f->canonical = true;
	return f;
}

Fn *fn_canonical(Fn *f) {
	Canonical c = canonical_start(f);
	Fn *to = c.to = fn_with_inputs(f, c.map);
	canonical_visit_all(&c, f);
	fn_outputs_of(to, f, c.map);
	to->span = f->span;
	to->precision = f->precision;
	to->canonical = true;
	return to;
}
