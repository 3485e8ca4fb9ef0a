/* print_nn_names.c: which values get a name of their own, and what it is.  In: a Fn; out: Print.name.  A value that is used
 * once stands where it is used, as long as the line stays readable; instance paths become names without dots. */
#include "print_nn.h"

#include <string.h>

/* Words with a meaning of their own: of the grammar, and functions the text may call. */
static const char *const reserved[] = {
	"and", "or", "not", "as", "if", "else", "for", "in", "let", "return", "assert", "param", "state", "const", "scan", "carry",
	"emit", "import", "data", "fn", "vjp", "layer", "model", "optimizer", "train", "true", "false", "none", "inf", "pi", "B",
	"step", "epoch", "int", "bool", "class", "index", "logits", "probs", "logprobs", "training", "sum", "mean", "max", "min",
	"prod", "logsumexp", "argmax", "exp", "log", "log1p", "expm1", "sqrt", "tanh", "erf", "sin", "cos", "atan2", "abs", "floor",
	"round", "sign", "pow", "where", "reshape", "dims", "zeros", "ones", "full", "iota", "concat", "stack", "split", "gather",
	"scatter_add", "fold", "flip", "pad", "cumsum", "argsort", "grad", "stop_gradient", "normal", "uniform", "bernoulli", "total",
	"append", "len", "params", "vocab", "philox",
	"input", "update", "metric", "loss_of", "batch", "seed", "epochs", "steps", "like", "over", "reversed", "window",
};

static bool is_taken(const Print *p, const char *name) {
	for (size_t i = 0; i < COUNT(reserved); i++)
		if (!strcmp(reserved[i], name)) return true;
	for (int i = 0; i < DTYPE_COUNT; i++)
		if (!strcmp(dtype_info[i].text, name)) return true;
	/* open addressing by text */
	for (uint64_t at = hash_bytes(name, strlen(name), 1);; at++) {
		const char *other = p->taken[at & (uint64_t)(p->capacity - 1)];
		if (!other) return false;
		if (!strcmp(other, name)) return true;
	}
}

static const char *take(Print *p, const char *name) {
	uint64_t at = hash_bytes(name, strlen(name), 1);
	while (p->taken[at & (uint64_t)(p->capacity - 1)]) at++;
	p->taken[at & (uint64_t)(p->capacity - 1)] = name;
	p->ntaken++;
	return name;
}

const char *fresh_name(Print *p, const char *wish) {
	if (p->ntaken * 2 > p->capacity) die("more names than there are values");
	size_t length = strlen(wish);
	bool digit = length && wish[length - 1] >= '0' && wish[length - 1] <= '9';
	const char *name = wish;
	for (int n = 2; is_taken(p, name); n++) name = arena_printf(p->arena, "%s%s%d", wish, digit ? "_" : "", n);
	return take(p, name);
}

/* "mlp/dense.0/w" is dense0_w; `skip` characters at its start are common to all. */
static const char *identifier(Arena *arena, const char *path, size_t skip) {
	Text text = {.arena = arena};
	for (const char *s = path + skip; *s; s++) {
		bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z'), digit = *s >= '0' && *s <= '9';
		if (digit && !text.length) text_add(&text, "v");
		if (letter || digit) text_bytes(&text, s, 1);
		else if (*s != '.' && text.length && text.data[text.length - 1] != '_') text_add(&text, "_");
	}
	while (text.length && text.data[text.length - 1] == '_') text.data[--text.length] = 0;
	return text.length ? text.data : "v";
}

/* Length of the first component when all paths of kept tensors share it. */
static size_t common_prefix(const Fn *f) {
	const char *first = NULL;
	size_t length = 0;
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		if (in->kind != INPUT_PARAM && in->kind != INPUT_STATE && in->kind != INPUT_SLOT) continue;
		const char *slash = strchr(in->name, '/');
		if (!slash) return 0;
		if (!first) first = in->name, length = (size_t)(slash - in->name) + 1;
		if (strncmp(first, in->name, length)) return 0;
	}
	return length;
}

static size_t skip_of(const char *path, size_t prefix, const Fn *f) {
	for (int i = 0; prefix && i < f->inputs.length; i++)
		if (!strncmp(f->inputs.data[i].name, path, prefix) && strchr(path, '/')) return prefix;
	return 0;
}

/* "grad/mlp/dense.0/w" is the adjoint of that path: d_dense0_w; what replaces an input is new_..  */
static const char *output_name(Print *p, const Output *output, size_t prefix) {
	const char *path = output->name;
	bool adjoint = !strncmp(path, "grad/", 5), update = output->updates >= 0;
	if (adjoint) path += 5;
	if (update) path = p->f->inputs.data[output->updates].name;
	const char *name = identifier(p->arena, path, skip_of(path, prefix, p->f));
	return arena_printf(p->arena, "%s%s", adjoint ? "d_" : update ? "new_" : "", name);
}

/* ---- what is written in place ---- */

static bool is_relabelled(const Val *v) { return v->op == OpBroadcast || v->op == OpTranspose; }
bool in_place(const Val *v) { return op_info[v->op].pointwise || v->op == OpCast || is_relabelled(v) || v->op == OpIota; }

/* A line holds about this many ops. */
enum { HEAVY = 7 };

/* strict: needs a name.  apart: mentioned by something else than a view that could hold it. */
static void count_uses(Print *p, bool *strict, bool *apart) {
	const Fn *f = p->f;
	for (int i = 0; i < f->outputs.length; i++) strict[f->outputs.data[i].val->id] = apart[f->outputs.data[i].val->id] = true;
	for (int i = f->vals.length - 1; i >= 0; i--) {
		const Val *v = f->vals.data[i];
		int times = is_relabelled(v) && !strict[i] ? p->uses[i] : 1;
		for (int k = 0; k < v->nargs; k++) {
			p->uses[v->arg[k]->id] += times;
			apart[v->arg[k]->id] |= !moves(v);
			if (v->op == OpRandom && k < 3 && !v->arg[k]->type.rank && is_literal(v->arg[k])) continue;
			if (!in_place(v) && !takes_expression(p, v, v->arg[k])) strict[v->arg[k]->id] = true;
		}
	}
}

static const char *wish_for(const Val *v) {
	switch (v->op) {
	case OpContract: return "z1";
	case OpReduceSum: return "s1";
	case OpReduceMax:
	case OpReduceMin: return "m1";
	case OpReduceLse: return "l1";
	case OpWhere: return "h1";
	case OpExp: return "e1";
	case OpReshape: return "r1";
	case OpTranspose: return "t1";
	default: return v->type.dtype == DTYPE_BOOL ? "on1" : "v1";
	}
}

/* of[id of a value]: the value whose adjoint it is, where products tell.  Of z = a b the adjoints are da = dz b and db = a dz;
 * they carry the span of z, share one factor with it, and have the shape of the other. */
static void find_adjoints(const Print *p, const Val **of) {
	VEC(const Val *) products = {0};
	for (int i = 0; i < p->f->vals.length; i++) {
		const Val *g = p->f->vals.data[i];
		if (g->op != OpContract || !g->span.source || products.length > 4096) continue;
		for (int n = 0; n < products.length; n++) {
			const Val *z = products.data[n];
			if (!span_equal(z->span, g->span)) continue;
			for (int k = 0; k < 4; k++) {
				const Val *shared = z->arg[k & 1], *other = z->arg[!(k & 1)], *dz = g->arg[k >> 1];
				bool factors = g->arg[!(k >> 1)] == shared && dz != shared;
				if (!factors || !type_equal(dz->type, z->type) || !type_equal(g->type, other->type)) continue;
				if (!of[g->id] && !of[other->id]) of[g->id] = other;
				if (!of[dz->id] && !of[z->id]) of[dz->id] = z;
			}
		}
		if (!of[i]) vec_push(p->arena, &products, g);
	}
}

/* "z1", "z2" ..: counted per letter. */
static const char *counted_name(Print *p, const char *wish, int *counts) {
	const char *name = NULL;
	size_t length = strlen(wish) - 1;
	do name = arena_printf(p->arena, "%.*s%d", (int)length, wish, ++counts[(unsigned char)wish[0]]);
	while (is_taken(p, name));
	return take(p, name);
}

const char *result_wish(const Print *p, const Val *scan, int64_t index) {
	return identifier(p->arena, scan->body->outputs.data[index].name, 0);
}

void choose_names(Print *p) {
	const Fn *f = p->f;
	int n = f->vals.length, counts[256] = {0};
	size_t prefix = common_prefix(f);
	bool *strict = NEW_ARRAY(p->arena, bool, n + 1), *apart = NEW_ARRAY(p->arena, bool, n + 1);
	const Val **adjoint_of = NEW_ARRAY(p->arena, const Val *, n + 1);
	count_uses(p, strict, apart);
	find_adjoints(p, adjoint_of);
	for (int i = 0; i < f->inputs.length; i++) {
		const char *path = f->inputs.data[i].name;
		if (p->name[f->inputs.data[i].val->id]) continue;
		p->name[f->inputs.data[i].val->id] = fresh_name(p, identifier(p->arena, path, skip_of(path, prefix, f)));
	}
	for (int i = 0; i < f->outputs.length; i++) {
		const Val *v = f->outputs.data[i].val;
		if (!p->name[v->id]) p->name[v->id] = fresh_name(p, output_name(p, &f->outputs.data[i], prefix));
	}
	for (int i = 0; i < n; i++) {
		const Val *v = f->vals.data[i];
		p->weight[i] = !is_relabelled(v) && v->op != OpIota && !is_literal(v);
		for (int k = 0; k < v->nargs; k++)
			if (!p->name[v->arg[k]->id] && !is_literal(v)) p->weight[i] += p->weight[v->arg[k]->id];
		if (v->op == OpScan || p->name[i] || (is_literal(v) && !strict[i]) || (!apart[i] && merges(p, v))) continue;
		bool again = p->uses[i] > 1 && !is_relabelled(v) && v->op != OpIota;
		if (!(strict[i] || again || !in_place(v) || p->weight[i] > HEAVY)) continue;
		const Val *of = adjoint_of[i];
		bool known = of && p->name[of->id];
		if (v->op == OpProject) p->name[i] = fresh_name(p, result_wish(p, v->arg[0], v->list[0].data[0]));
		else
			p->name[i] =
			    known ? fresh_name(p, arena_printf(p->arena, "d_%s", p->name[of->id])) : counted_name(p, wish_for(v), counts);
	}
}

/* ---- indices ---- */

static const char *const letters[] = {"i", "j", "k", "l", "m", "n", "p", "q", "r", "s", "t", "u",
                                      "v", "w", "x", "y", "z", "a", "c", "d", "e", "g"};

static bool used(const Indices *x, const char *name) {
	for (int i = 0; i < x->n; i++)
		if (x->name[i] == name) return true;
	return false;
}

Indices choose_indices(Print *p, int n, const int64_t *extent) {
	Indices x = {.n = 0, .read = NEW_ARRAY(p->arena, bool, 2 * MAX_RANK)};
	for (int i = 0; i < n; i++) {
		int at = 0;
		while (at < p->nletters && p->letter_of[at] != extent[i]) at++;
		if (at == p->nletters && at < (int)COUNT(p->letter_of)) p->letter_of[p->nletters++] = extent[i];
		for (;; at++) {
			const char *letter = letters[at % (int)COUNT(letters)];
			if (used(&x, letter) || (at < 4 * (int)COUNT(letters) && is_taken(p, letter))) continue;
			x.name[x.n] = letter;
			x.extent[x.n++] = extent[i];
			break;
		}
	}
	return x;
}
