/* text.c: the textual form of a Fn, printed and read.
 *
 *     fn step {
 *       %0 = f32[784,10] input "mlp/dense.0/w" param
 *       %7 = f32[32,10] contract %3, %0 {a=[0,1] b=[1,2] y=[0,2]}
 *       %8 = i32[] scan %7 {carries=1 reversed=0 count=4} fn body {
 *         ...
 *       }
 *       return "loss" %9, "mlp/dense.0/w" = %12
 *     }
 *
 * An output after `=` replaces the input of that name (`"new" updates 3 = %12` where the names differ).
 * In: any bytes.  Out: a Fn that fn_verify_text() accepts, or NULL and one error.  A Fn whose activations are to be rounded
 * says so: `fn step precision bf16 {`.  fn_parse(fn_print(f)) prints the same
 * and evaluates to the same bits. */
#include "lexer.h"
#include "rules.h"

#include <math.h>
#include <string.h>

/* ---- inputs by name: the first of each name among those that are kept between steps ---- */

typedef struct Names { const char **name; int *index; int size; } Names;   /* names are interned: compared by pointer */

static int names_slot(const Names *names, const char *name) {
	int slot = (int)(hash_mix((uint64_t)(uintptr_t)name) & (uint64_t)(names->size - 1));
	while (names->name[slot] && names->name[slot] != name) slot = (slot + 1) & (names->size - 1);
	return slot;
}

static Names names_of(Arena *arena, const Fn *f) {
	Names names = {.size = 16};
	while (names.size < 2 * f->inputs.length) names.size *= 2;
	names.name = NEW_ARRAY(arena, const char *, names.size);
	names.index = NEW_ARRAY(arena, int, names.size);
	for (int i = 0; i < f->inputs.length; i++) {
		InputKind kind = f->inputs.data[i].kind;
		if (kind != INPUT_PARAM && kind != INPUT_STATE && kind != INPUT_SLOT) continue;
		int slot = names_slot(&names, f->inputs.data[i].name);
		if (names.name[slot]) continue;
		names.name[slot] = f->inputs.data[i].name;
		names.index[slot] = i;
	}
	return names;
}

static int names_find(const Names *names, const char *name) {
	int slot = names_slot(names, name);
	return names->name[slot] ? names->index[slot] : -1;
}

/* ---- printing ---- */

static void print_string(Text *out, const char *s) {
	text_add(out, "\"");
	for (; *s; s++) {
		if (*s == '"' || *s == '\\') text_add(out, "\\%c", *s);
		else if (*s == '\n') text_add(out, "\\n");
		else if (*s == '\t') text_add(out, "\\t");
		else text_bytes(out, s, 1);
	}
	text_add(out, "\"");
}

static bool is_plain_name(const char *s) {
	bool letters = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
	for (; *s; s++)
		if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '_')) return false;
	return letters;
}

static void print_type(Text *out, Type t) {
	text_add(out, "%s[", dtype_info[t.dtype].text);
	for (int i = 0; i < t.rank; i++) text_add(out, "%s%lld", i ? "," : "", (long long)t.dim[i]);
	text_add(out, "]");
}

static void print_attributes(Text *out, const Val *v) {
	const OpInfo *info = &op_info[v->op];
	const char *separator = " {";
	for (int k = 0; k < MAX_LISTS && info->list[k]; k++, separator = " ") {
		const IntList *list = &v->list[k];
		if (attribute_is_optional(k) && !list->length) continue;
		bool single = attribute_is_single(v->op, k);
		text_add(out, "%s%s=%s", separator, info->list[k], single ? "" : "[");
		for (int i = 0; i < list->length; i++) text_add(out, "%s%lld", i ? "," : "", (long long)list->data[i]);
		if (!single) text_add(out, "]");
	}
	if (info->number) {
		text_add(out, "%s%s=", separator, info->number);
		text_number(out, v->number);
	}
	if (info->list[0] || info->number) text_add(out, "}");
}

static void print_fn(Text *out, const Fn *f, int depth);

static void print_val(Text *out, const Fn *f, const Val *v, int depth) {
	text_add(out, "%*s%%%d = ", 2 * depth, "", v->id);
	print_type(out, v->type);
	text_add(out, " %s", op_info[v->op].text);
	if (v->op == OpInput) {
		const Input *input = &f->inputs.data[v->list[0].data[0]];
		text_add(out, " ");
		print_string(out, input->name);
		text_add(out, " %s", input_kind_text[input->kind]);
		if (input->classes) text_add(out, " class %lld", (long long)input->classes);
	} else if (v->op == OpConst) {
		text_add(out, " ");
		text_number(out, v->number);
	} else {
		for (int i = 0; i < v->nargs; i++) text_add(out, "%s%%%d", i ? ", " : " ", v->arg[i]->id);
		print_attributes(out, v);
	}
	if (v->body) {
		text_add(out, " ");
		print_fn(out, v->body, depth);
	}
	text_add(out, "\n");
}

static void print_fn(Text *out, const Fn *f, int depth) {
	Arena *scratch = arena_new();
	Names names = names_of(scratch, f);
	text_add(out, "fn ");
	if (is_plain_name(f->name)) text_add(out, "%s", f->name);
	else print_string(out, f->name);
	if (f->precision != DTYPE_F32) text_add(out, " precision %s", dtype_info[f->precision].text);
	text_add(out, " {\n");
	for (int i = 0; i < f->vals.length; i++) print_val(out, f, f->vals.data[i], depth + 1);
	text_add(out, "%*sreturn", 2 * depth + 2, "");
	for (int i = 0; i < f->outputs.length; i++) {
		const Output *output = &f->outputs.data[i];
		text_add(out, i ? ", " : " ");
		print_string(out, output->name);
		if (output->updates >= 0 && names_find(&names, output->name) != output->updates)
			text_add(out, " updates %d", output->updates);
		text_add(out, output->updates >= 0 ? " = %%%d" : " %%%d", output->val->id);
	}
	text_add(out, "\n%*s}", 2 * depth, "");
	arena_free(scratch);
}

void fn_print(Text *out, const Fn *f) {
	print_fn(out, f, 0);
	text_add(out, "\n");
}

/* ---- reading: every function returns false (or NULL) once something was wrong ---- */

typedef struct Reader {
	Arena *arena;
	Diag *diag;
	uint32_t source;
	const TokenList *tokens;
	int at;
} Reader;

typedef VEC(Val *) ValList;

static const Token *peek(const Reader *r) { return &r->tokens->data[r->at]; }
static const Token *take(Reader *r) {
	const Token *token = peek(r);
	if (token->kind != TOKEN_END) r->at++;
	return token;
}
static Span span_of(const Reader *r, const Token *token) { return (Span){r->source, token->begin, token->end}; }

static bool wrong(Reader *r, Span span, const char *what) {
	diag_error(r->diag, span, "this is not the text of a function: %s", what);
	return false;
}

static bool expected(Reader *r, const char *what) {
	const Token *token = peek(r);
	if (token->kind == TOKEN_ERROR && token->error == LEX_SIZE) return wrong(r, (Span){0}, "it is longer than 4 MiB");
	return wrong(r, span_of(r, token), arena_printf(r->arena, "expected %s, found %s", what, token_kind_text(token->kind)));
}

static bool expect(Reader *r, TokenKind kind) {
	if (peek(r)->kind != kind) return expected(r, token_kind_text(kind));
	r->at++;
	return true;
}

static bool accept(Reader *r, TokenKind kind) {
	if (peek(r)->kind != kind) return false;
	r->at++;
	return true;
}

/* Keywords of the language (`and`, `not`, ..) are names here. */
static bool is_word(const Token *token) { return token->kind >= TOKEN_NAME && token->kind != TOKEN_STRING && token->text; }
static bool is_the_word(const Token *token, const char *word) { return is_word(token) && !strcmp(token->text, word); }

static bool read_int(Reader *r, int64_t *value) {
	bool negative = accept(r, TOKEN_MINUS);
	const Token *token = peek(r);
	bool least = negative && token->kind == TOKEN_NUMBER && token->number == 9223372036854775808.0;
	if (token->kind != TOKEN_NUMBER || !(token->is_integer || least)) return expected(r, "an integer");
	*value = !token->is_integer ? INT64_MIN : negative ? -token->integer : token->integer;
	r->at++;
	return true;
}

static bool read_double(Reader *r, double *value) {
	bool negative = accept(r, TOKEN_MINUS);
	const Token *token = peek(r);
	if (is_the_word(token, "inf")) *value = (double)INFINITY;
	else if (is_the_word(token, "nan")) *value = (double)NAN;
	else if (token->kind == TOKEN_NUMBER) *value = token->number;
	else return expected(r, "a number");
	if (negative && !isnan(*value)) *value = -*value;
	r->at++;
	return true;
}

/* string = STRING; names in strings hold no NUL (the lexer has seen to it) */
static bool read_string(Reader *r, const char **text) {
	const Token *token = peek(r);
	if (token->kind != TOKEN_STRING) return expected(r, "a string");
	*text = arena_intern(r->arena, token->text, strlen(token->text));
	r->at++;
	return true;
}

static bool read_dtype(Reader *r, DType *dtype) {
	int d = 0;
	while (d < DTYPE_COUNT && !is_the_word(peek(r), dtype_info[d].text)) d++;
	if (d == DTYPE_COUNT) return expected(r, "a type");
	*dtype = (DType)d;
	r->at++;
	return true;
}

/* type = dtype "[" [ INT { "," INT } ] "]" */
static bool read_type(Reader *r, Type *type) {
	const Token *token = peek(r);
	*type = type_scalar(DTYPE_F32);
	if (!read_dtype(r, &type->dtype) || !expect(r, TOKEN_LEFT_BRACKET)) return false;
	while (peek(r)->kind != TOKEN_RIGHT_BRACKET) {
		if (type->rank == MAX_RANK) return wrong(r, span_of(r, peek(r)), "more than 8 dims");
		if (type->rank && !expect(r, TOKEN_COMMA)) return false;
		if (!read_int(r, &type->dim[type->rank++])) return false;
	}
	const char *problem = type_problem(*type);
	if (problem) return wrong(r, span_join(span_of(r, token), span_of(r, peek(r))), problem);
	return expect(r, TOKEN_RIGHT_BRACKET);
}

/* operand = "%" INT */
static bool read_operand(Reader *r, const ValList *vals, Val **val) {
	const Token *token = peek(r);
	int64_t number = 0;
	if (!expect(r, TOKEN_PERCENT) || !read_int(r, &number)) return false;
	if (number < 0 || number >= vals->length) return wrong(r, span_of(r, token), "no value of that number stands before");
	*val = vals->data[number];
	return true;
}

/* list = INT | "[" [ INT { "," INT } ] "]" */
static bool read_list(Reader *r, IntList *list) {
	list->data = NEW_ARRAY(r->arena, int64_t, MAX_RANK);
	list->length = 0;
	if (!accept(r, TOKEN_LEFT_BRACKET)) return read_int(r, &list->data[list->length++]);
	while (peek(r)->kind != TOKEN_RIGHT_BRACKET) {
		if (list->length == MAX_RANK) return wrong(r, span_of(r, peek(r)), "more than 8 numbers");
		if (list->length && !expect(r, TOKEN_COMMA)) return false;
		if (!read_int(r, &list->data[list->length++])) return false;
	}
	return expect(r, TOKEN_RIGHT_BRACKET);
}

/* attributes = "{" { NAME "=" ( list | number ) } "}", in the order of ops.def */
static bool read_attributes(Reader *r, Val *key) {
	const OpInfo *info = &op_info[key->op];
	if (!info->list[0] && !info->number) return true;
	if (!expect(r, TOKEN_LEFT_BRACE)) return false;
	for (int k = 0; k < MAX_LISTS && info->list[k]; k++) {
		bool there = is_the_word(peek(r), info->list[k]);
		if (!there && attribute_is_optional(k)) continue;
		if (!there) return expected(r, info->list[k]);
		r->at++;
		if (!expect(r, TOKEN_EQUALS) || !read_list(r, &key->list[k])) return false;
	}
	if (info->number) {
		if (!is_the_word(peek(r), info->number)) return expected(r, info->number);
		r->at++;
		if (!expect(r, TOKEN_EQUALS) || !read_double(r, &key->number)) return false;
	}
	return expect(r, TOKEN_RIGHT_BRACE);
}

static Fn *read_fn(Reader *r, int depth);

/* input = STRING kind [ "class" INT ] */
static bool read_input(Reader *r, Fn *f, Type type, Val **val) {
	const char *name = "";
	if (!read_string(r, &name)) return false;
	int kind = 0;
	while (kind < INPUT_KINDS && !is_the_word(peek(r), input_kind_text[kind])) kind++;
	if (kind == INPUT_KINDS) return expected(r, "the kind of an input");
	r->at++;
	int64_t classes = 0;
	if (is_the_word(peek(r), "class")) {
		r->at++;
		if (!read_int(r, &classes)) return false;
	}
	*val = fn_input(f, name, (InputKind)kind, type);
	f->inputs.data[f->inputs.length - 1].classes = classes;
	return true;
}

static bool read_operands(Reader *r, const ValList *vals, Val *key) {
	ValList args = {0};
	while (peek(r)->kind == TOKEN_PERCENT || args.length) {
		if (args.length && !accept(r, TOKEN_COMMA)) break;
		Val *arg = NULL;
		if (!read_operand(r, vals, &arg)) return false;
		vec_push(r->arena, &args, arg);
		/* the next line starts with "%" too: only a comma goes on */
	}
	key->nargs = args.length;
	key->arg = args.data;
	return true;
}

/* value = "%" INT "=" type op ( input | number | [ operand { "," operand } ] [ attributes ] [ function ] ) */
static bool read_val(Reader *r, Fn *f, ValList *vals, int depth) {
	const Token *first = peek(r);
	Val key = {.span = span_of(r, first)}, *val = NULL;
	int64_t number = 0;
	if (!expect(r, TOKEN_PERCENT) || !read_int(r, &number)) return false;
	if (number != vals->length) return wrong(r, span_of(r, first), "the values are not numbered 0, 1, 2, ..");
	if (!expect(r, TOKEN_EQUALS) || !read_type(r, &key.type)) return false;
	int op = 0;
	while (op < OP_COUNT && !is_the_word(peek(r), op_info[op].text)) op++;
	if (op == OP_COUNT) return expected(r, "an operation");
	key.op = (Op)op;
	r->at++;
	key.span.end = r->tokens->data[r->at - 1].end;
	f->span = key.span;
	if (key.op == OpInput) {
		if (!read_input(r, f, key.type, &val)) return false;
		vec_push(r->arena, vals, val);
		return true;
	}
	if (key.op == OpConst) {
		if (!read_double(r, &key.number)) return false;
	} else {
		/* an op without operands is followed by its attributes or by the next value */
		if (op_info[op].arity && !read_operands(r, vals, &key)) return false;
		if (!read_attributes(r, &key)) return false;
		if (key.op == OpScan && !(key.body = read_fn(r, depth + 1))) return false;
	}
	const char *problem = val_problem(&key);
	if (problem) return wrong(r, key.span, problem);
	val = val_intern(f, &key);
	vec_push(r->arena, vals, val);
	return true;
}

/* output = STRING [ "updates" INT ] [ "=" ] operand */
static bool read_output(Reader *r, Fn *f, const ValList *vals, const Names *names) {
	const Token *first = peek(r);
	const char *name = "";
	int64_t updates = -1;
	if (!read_string(r, &name)) return false;
	bool numbered = is_the_word(peek(r), "updates");
	if (numbered) {
		r->at++;
		if (!read_int(r, &updates)) return false;
		if (!expect(r, TOKEN_EQUALS)) return false;
	} else if (accept(r, TOKEN_EQUALS)) {
		updates = names_find(names, name);
		numbered = true;
	}
	if (numbered && (updates < 0 || updates >= f->inputs.length)) return wrong(r, span_of(r, first), "no such input to update");
	Val *val = NULL;
	if (!read_operand(r, vals, &val)) return false;
	fn_output(f, name, val, (int)updates);
	return true;
}

/* function = "fn" ( NAME | STRING ) [ "precision" DTYPE ] "{" { value } "return" [ output { "," output } ] "}" */
static Fn *read_fn(Reader *r, int depth) {
	ValList vals = {0};
	const Token *first = peek(r);
	if (depth > MAX_BODY_DEPTH) return wrong(r, span_of(r, first), "bodies within bodies too deep"), NULL;
	if (!is_the_word(first, "fn")) return expected(r, "`fn`"), NULL;
	r->at++;
	const Token *name = take(r);
	if (!is_word(name) && name->kind != TOKEN_STRING) return wrong(r, span_of(r, name), "a function without a name"), NULL;
	Fn *f = fn_new(r->arena, name->text);
	if (is_the_word(peek(r), "precision")) {
		r->at++;
		if (!read_dtype(r, &f->precision)) return NULL;
	}
	if (!expect(r, TOKEN_LEFT_BRACE)) return NULL;
	while (peek(r)->kind == TOKEN_PERCENT)
		if (!read_val(r, f, &vals, depth)) return NULL;
	if (peek(r)->kind != TOKEN_RETURN) return expected(r, "a value or `return`"), NULL;
	r->at++;
	Names names = names_of(r->arena, f);
	for (bool more = peek(r)->kind == TOKEN_STRING; more; more = accept(r, TOKEN_COMMA))
		if (!read_output(r, f, &vals, &names)) return NULL;
	if (!expect(r, TOKEN_RIGHT_BRACE)) return NULL;
	f->span = (Span){0};
	const char *problem = depth ? NULL : fn_verify_text(r->arena, f); /* looks into bodies itself */
	if (problem) return wrong(r, span_of(r, name), problem), NULL;
	return f;
}

Fn *fn_parse(Arena *arena, Diag *diag, uint32_t source) {
	Reader r = {.arena = arena, .diag = diag, .source = source};
	r.tokens = lex_source(arena, &diag->sources.data[source - 1]);
	Fn *f = read_fn(&r, 0);
	if (f && peek(&r)->kind != TOKEN_END) return expected(&r, "the end"), NULL;
	return f;
}
