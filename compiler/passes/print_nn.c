/* print_nn.c: a Fn as a .nn file that stands by itself.  In: a Fn without Grad; out: one model whose arguments are the
 * inputs and whose results are the outputs, laid out as `nnc fmt` does.  Guarantee: read back, it evaluates to the same
 * bits. */
#include "ast.h"
#include "print_nn.h"

static void print_type(Text *out, Type t) {
	text_add(out, "%s", dtype_info[t.dtype].text);
	if (!t.rank && t.dtype != DTYPE_BOOL) return; /* a bare bool would be static */
	for (int i = 0; i < t.rank; i++) text_add(out, "%s%lld", i ? ", " : "[", (long long)t.dim[i]);
	text_add(out, t.rank ? "]" : "[]");
}

static void print_head(Print *p) {
	const Fn *f = p->f;
	text_add(p->out, "model %s(\n", fresh_name(p, "derived"));
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *in = &f->inputs.data[i];
		text_add(p->out, "\t%s: ", p->name[in->val->id]);
		print_type(p->out, in->type);
		text_add(p->out, "%s    # %s %s\n", i + 1 < f->inputs.length ? "," : "", input_kind_text[in->kind], in->name);
	}
	text_add(p->out, ") ->");
}

enum { LINE = 100 };

/* Results have names of their own: one value may be several of them.  On one line where they fit. */
static void print_results(Print *p) {
	const Fn *f = p->f;
	Text line = {.arena = p->arena}, lines = {.arena = p->arena};
	for (int i = 0; i < f->outputs.length; i++) {
		const Output *o = &f->outputs.data[i];
		bool first = true;
		for (int k = 0; k < i; k++) first &= f->outputs.data[k].val != o->val;
		bool own = first && o->val->op != OpInput;
		const char *name = own ? p->name[o->val->id] : fresh_name(p, arena_printf(p->arena, "%s_again", p->name[o->val->id]));
		Text one = {.arena = p->arena};
		text_add(&one, "%s: ", name);
		print_type(&one, o->val->type);
		text_add(&line, "%s%s", i ? ", " : " ", one.data);
		text_add(&lines, "%s\n\t%s", i ? "," : "", one.data);
	}
	text_add(p->out, "%s {\n", line.length < LINE ? line.data : lines.data);
}

static void lay_out(Text *out, Arena *arena, const Text *raw) {
	Diag *diag = diag_new(arena);
	char *text = format_source(arena, diag, diag_source(diag, "derived.nn", raw->data, raw->length, false));
	if (!text) die("the text of a function does not parse");
	text_add(out, "%s", text);
}

void print_open(Print *p, const Fn *f) {
	int n = f->vals.length;
	p->f = f;
	p->name = NEW_ARRAY(p->arena, const char *, n + 1);
	p->uses = NEW_ARRAY(p->arena, int, n + 1);
	p->weight = NEW_ARRAY(p->arena, int, n + 1);
}

void print_definitions(Print *p) {
	for (int i = 0; i < p->f->vals.length; i++) {
		const Val *v = p->f->vals.data[i];
		if (v->op == OpScan) print_scan(p, v);
		else if (p->name[i] && v->op != OpInput && v->op != OpProject) print_definition(p, v);
	}
}

/* How many names a text may need. */
static int count_names(const Fn *f) {
	int n = f->vals.length + f->outputs.length;
	for (int i = 0; i < f->vals.length; i++)
		if (f->vals.data[i]->op == OpScan) n += count_names(f->vals.data[i]->body);
	return n;
}

void fn_print_nn(Text *out, const Fn *f) {
	Text raw = {.arena = f->arena};
	Print p = {.out = &raw, .arena = f->arena};
	print_open(&p, f);
	for (p.capacity = 64; p.capacity < 8 * count_names(f); p.capacity *= 2) {}
	p.taken = NEW_ARRAY(f->arena, const char *, p.capacity);
	choose_names(&p);
	print_head(&p);
	print_results(&p);
	print_definitions(&p);
	text_add(&raw, "\treturn ");
	for (int i = 0; i < f->outputs.length; i++) text_add(&raw, "%s%s", i ? ", " : "", p.name[f->outputs.data[i].val->id]);
	text_add(&raw, "\n}\n");
	lay_out(out, f->arena, &raw);
}
