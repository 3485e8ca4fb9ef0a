/* parse.c: the parser's cursor, its errors and its way back after one; the entry points.
 *
 * In: a source.  Out: a tree (always), errors in diag.  Guarantees: ends on any bytes, in time proportional to
 * them, with a stack bounded by MAX_NESTING; a tree no deeper than a small multiple of it; after an error nothing
 * is reported that the same mistake caused. */
#include "parse.h"

#include <string.h>

bool at_word(const Parser *parser, const char *word) {
	const Token *token = peek(parser);
	return token->kind == TOKEN_NAME && strcmp(token->text, word) == 0;
}

bool is_kind(const Parser *parser, TokenKind kind) { return peek(parser)->kind == kind; }

/* After these a line goes on: operators that want an operand, `=`, a comma, an opening bracket. */
bool token_continues(TokenKind kind) {
	switch (kind) {
	case TOKEN_AND: case TOKEN_OR: case TOKEN_NOT: case TOKEN_COMMA: case TOKEN_COLON: case TOKEN_DOTS: case TOKEN_BAR:
	case TOKEN_PIPE: case TOKEN_EQUALS: case TOKEN_UPDATE: case TOKEN_ARROW: case TOKEN_PLUS: case TOKEN_MINUS:
	case TOKEN_STAR: case TOKEN_SLASH: case TOKEN_FLOOR_SLASH: case TOKEN_PERCENT: case TOKEN_AT: case TOKEN_CARET:
	case TOKEN_LT: case TOKEN_LE: case TOKEN_EQ: case TOKEN_NE: case TOKEN_GT: case TOKEN_GE:
	case TOKEN_LEFT_PAREN: case TOKEN_LEFT_BRACKET: return true;
	default: return false;
	}
}

bool line_ended(const Parser *parser) {
	const Token *token = peek(parser);
	if (token->kind == TOKEN_END || token->closes_all) return true;
	if (!token->newline || parser->inside > 0 || token->kind == TOKEN_PIPE || parser->at <= parser->start) return false;
	return !token_continues(token[-1].kind);
}

/* Consumes a token of this kind if it is next; a newline before it that ends the statement hides it. */
bool accept(Parser *parser, TokenKind kind) {
	if (parser->panic || !is_kind(parser, kind) || line_ended(parser)) return false;
	parser->at++;
	return true;
}

bool accept_word(Parser *parser, const char *word) { return at_word(parser, word) && accept(parser, TOKEN_NAME); }

Span token_span(const Parser *parser, const Token *token) { return (Span){parser->source, token->begin, token->end}; }

Span span_from(const Parser *parser, int from) {
	const Token *first = &parser->tokens[from], *last = &parser->tokens[MAX(parser->at - 1, from)];
	return (Span){parser->source, first->begin, last->end};
}

static void stop(Parser *parser) {
	parser->stopped = parser->panic = true;
	parser->at = parser->list->length - 1;
}

/* What the lexer found wrong with a token. */
static void report_lexical(Parser *parser, const Token *token) {
	Diag *diag = parser->diag;
	Span span = {parser->source, token->where, MAX(token->where + 1, token->end)};
	const char *text = diag->sources.data[parser->source - 1].text + token->where;
	unsigned char byte = (unsigned char)*text;
	int length = (int)(token->end - token->begin);
	switch ((LexError)token->error) {
	case LEX_CHARACTER:
		diag_error(diag, span, "unexpected character `%.*s`", length, text);
		if (byte >= 0x80) diag_help(diag, "names are made of the letters a-z and A-Z, digits and `_`");
		break;
	case LEX_BYTES:
		span.end = span.begin + 1;
		diag_error(diag, span, "byte 0x%02x is not UTF-8", byte);
		diag_help(diag, "a .nn file is UTF-8 text; save it with that encoding");
		break;
	case LEX_NUL:
		span.end = span.begin + 1;
		diag_error(diag, span, "control character 0x%02x in the text", byte);
		break;
	case LEX_RETURN:
		span.end = span.begin + 1;
		diag_error(diag, span, "a carriage return alone");
		diag_help(diag, "lines end with LF or CR LF");
		break;
	case LEX_OPEN_STRING:
		span.end = span.begin + 1;
		diag_error(diag, span, "this string has no closing quote on its line");
		break;
	case LEX_ESCAPE:
		span.end = span.begin + 2;
		diag_error(diag, span, "unknown escape in a string");
		diag_help(diag, "the escapes are \\\" \\\\ \\n \\t");
		break;
	case LEX_QUOTE:
		diag_error(diag, span, "a string stands in double quotes");
		break;
	case LEX_NUMBER:
		diag_error(diag, span, "malformed number `%.*s`", MIN(length, 40), text);
		diag_help(diag, "numbers look like 10, 1_000, 0.5, 1e-3 or 0x1f; a name cannot start with a digit");
		break;
	case LEX_HUGE_NUMBER:
		diag_error(diag, span, "the number `%.*s` is beyond the largest f64", MIN(length, 40), text);
		break;
	case LEX_FOREIGN:
		diag_error(diag, span, "`%.*s` is not an operator of this language", length, text);
		diag_help(diag, "write %s", token->text);
		break;
	case LEX_SIZE:
		diag_error(diag, (Span){parser->source, 0, 0}, "the file is longer than %d MiB", MAX_SOURCE >> 20);
		diag_help(diag, "keep data in csv, npy or idx files");
		break;
	}
}

/* How a message names a token. */
static const char *describe(Parser *parser, const Token *token) {
	switch (token->kind) {
	case TOKEN_NAME: return arena_printf(parser->arena, "`%.60s`", token->text);
	case TOKEN_NUMBER: {
		const char *text = parser->diag->sources.data[parser->source - 1].text + token->begin;
		return arena_printf(parser->arena, "the number %.*s", (int)MIN(token->end - token->begin, 40), text);
	}
	case TOKEN_STRING: return "a string";
	default: return token_kind_text(token->kind);
	}
}

static bool is_arithmetic(TokenKind kind) {
	return kind == TOKEN_PLUS || kind == TOKEN_MINUS || kind == TOKEN_STAR || kind == TOKEN_SLASH || kind == TOKEN_AT ||
	       kind == TOKEN_PERCENT || kind == TOKEN_CARET;
}

bool leads_line(const Parser *parser, const Token *token) {
	bool binary = token->kind == TOKEN_AND || token->kind == TOKEN_OR || is_arithmetic(token->kind) ||
	              (token->kind >= TOKEN_LT && token->kind <= TOKEN_GE);
	return binary && token->newline && parser->at == parser->start && parser->at > 0 &&
	       token[-1].kind != TOKEN_LEFT_BRACE;
}

/* What stands here as other languages write it. */
static void help_habit(Parser *parser, const Token *token, const char *what) {
	Diag *diag = parser->diag;
	if (leads_line(parser, token)) {
		diag_help(diag, "the newline ended the statement: put %s at the end of the line before, and it goes on here",
		          token_kind_text(token->kind));
		return;
	}
	const Token *before = parser->at > 0 ? token - 1 : token;
	bool in_list = !strncmp(what, "`,` or", 6);
	if (token->kind == TOKEN_FLOOR_SLASH) diag_help(diag, "a comment starts with #");
	else if (token->kind == TOKEN_DOT && token[1].kind == TOKEN_NUMBER) diag_help(diag, "write a digit before the point: 0.5");
	else if (token->kind == TOKEN_DOT && before->kind == TOKEN_NUMBER) diag_help(diag, "write a digit after the point: 1.0");
	else if (token->kind == TOKEN_EQUALS && is_arithmetic(before->kind) && before->end == token->begin)
		diag_help(diag, "there is no `%.1s=`: write it out, as in `x = x + y`", token_kind_text(before->kind) + 1);
	else if (token->kind == TOKEN_EQUALS && in_list) diag_help(diag, "`==` compares");
	else if (token->kind == TOKEN_COLON && in_list && before->kind == TOKEN_NAME)
		diag_help(diag, "an argument is named with `=`: `%.60s = ...`", before->text);
	else if (is_arithmetic(token->kind) && strstr(what, "an operator"))
		diag_help(diag, "what comes out of a pipe is calculated with in parentheses: `(x |> f) + y`");
}

void unexpected(Parser *parser, const char *what) {
	if (parser->panic) return;
	parser->panic = true;
	const Token *token = peek(parser);
	Diag *diag = parser->diag;
	parser->stray_brace |= token->kind == TOKEN_LEFT_BRACE;
	if (token->kind == TOKEN_ERROR) report_lexical(parser, token);
	else if (token->newline && parser->at > parser->start) {
		/* Blame the place where it is missing: behind the last token, not the line that follows. */
		Span behind = {parser->source, token[-1].end, token[-1].end};
		const char *place = token->kind == TOKEN_END ? "file" : "line";
		diag_error(diag, behind, "expected %s before the end of the %s", what, place);
		if (is_kind(parser, TOKEN_LEFT_BRACE)) diag_help(diag, "a block opens on the line of its head");
	} else {
		diag_error(diag, token_span(parser, token), "expected %s, found %s", what, describe(parser, token));
		help_habit(parser, token, what);
	}
	if (diag_full(diag)) stop(parser);
}

bool expect(Parser *parser, TokenKind kind, const char *what) {
	if (accept(parser, kind)) return true;
	unexpected(parser, what);
	return false;
}

bool expect_closing(Parser *parser, int opener, const char *what) {
	const Token *open = &parser->tokens[opener];
	TokenKind closer = TOKEN_RIGHT_BRACE;
	if (open->kind == TOKEN_LEFT_PAREN) closer = TOKEN_RIGHT_PAREN;
	if (open->kind == TOKEN_LEFT_BRACKET) closer = TOKEN_RIGHT_BRACKET;
	if (accept(parser, closer)) return true;
	if (parser->panic) return false;
	unexpected(parser, what);
	const char *text = parser->diag->sources.data[parser->source - 1].text;
	const Token *last = parser->at > opener ? &parser->tokens[parser->at - 1] : open;
	if (memchr(text + open->begin, '\n', last->end - open->begin))
		diag_note(parser->diag, token_span(parser, open), "%s is open since here", token_kind_text(open->kind));
	return false;
}

Name parse_name(Parser *parser, const char *what) {
	const Token *token = peek(parser);
	if (!expect(parser, TOKEN_NAME, what)) return (Name){0};
	return (Name){token->text, token_span(parser, token)};
}

const char *parse_string(Parser *parser, const char *what, Span *span) {
	const Token *token = peek(parser);
	if (!expect(parser, TOKEN_STRING, what)) return NULL;
	*span = token_span(parser, token);
	return token->text;
}

void too_deep(Parser *parser, Span span) {
	if (parser->panic) return;
	diag_error(parser->diag, span, "nested too deeply: the limit is %d levels", MAX_NESTING);
	diag_help(parser->diag, "give parts of it names with `let`; each operator of a row, as in `a + b + c`, is a level");
	stop(parser);
}

bool enter(Parser *parser) {
	if (parser->depth >= 2 * MAX_NESTING) {      /* a level of parentheses or of blocks enters twice */
		too_deep(parser, token_span(parser, peek(parser)));
		return true;
	}
	parser->depth++;
	return false;
}

void leave(Parser *parser) { parser->depth--; }

/* The index behind every bracket that was opened in from..at and is closed later. */
static int behind_open(const Parser *parser, int from) {
	int end = parser->at;
	for (int i = from; i < parser->at; i++) {
		TokenKind kind = parser->tokens[i].kind;
		if (kind != TOKEN_LEFT_PAREN && kind != TOKEN_LEFT_BRACKET && kind != TOKEN_LEFT_BRACE) continue;
		if (parser->tokens[i].match >= end) end = parser->tokens[i].match + 1;
	}
	return end;
}

/* Stops at a newline, behind a `;`, at the `}` of the block around, and at a declaration that closes everything. */
void skip_statement(Parser *parser, int from) {
	if (parser->stopped) return;
	parser->panic = false;
	parser->inside = 0;
	int i = behind_open(parser, from);
	for (;; i++) {
		const Token *token = &parser->tokens[i];
		if (token->kind == TOKEN_END || token->closes_all) break;
		if (i > from && token->newline && token->kind != TOKEN_PIPE) break;
		if (token->kind == TOKEN_SEMICOLON) { i++; break; }
		if (token->kind == TOKEN_RIGHT_BRACE && (token->match < from)) break;
		if (token->match > i) i = token->match;
	}
	parser->at = i;
}

bool skip_to_block(Parser *parser, int from) {
	if (parser->stopped) return false;
	for (int i = behind_open(parser, from); ; i++) {
		const Token *token = &parser->tokens[i];
		if (token->kind == TOKEN_END || token->closes_all) return false;
		if (token->kind == TOKEN_SEMICOLON || token->kind == TOKEN_RIGHT_BRACE) return false;
		if (i > from && token->newline) return false;
		if (token->kind == TOKEN_LEFT_BRACE) {
			parser->at = i;
			parser->panic = false;
			parser->inside = 0;
			return true;
		}
		if (token->match > i) i = token->match;
	}
}

static Parser new_parser(Arena *arena, Diag *diag, uint32_t source) {
	TokenList *list = lex_source(arena, &diag->sources.data[source - 1]);
	return (Parser){.arena = arena, .diag = diag, .source = source, .list = list, .tokens = list->data};
}

/* program = { decl } */
SourceFile *parse_file(Arena *arena, Diag *diag, uint32_t source) {
	Parser parser = new_parser(arena, diag, source);
	SourceFile *file = NEW(arena, SourceFile);
	file->source = source;
	while (peek(&parser)->kind != TOKEN_END) {
		if (peek(&parser)->kind == TOKEN_SEMICOLON) {
			parser.at++;
			continue;
		}
		int from = parser.at;
		parser.tokens[from].closes_all = false;      /* everything is closed here */
		parser.start = from;
		Decl *decl = parse_decl(&parser);
		if (decl) vec_push(arena, &file->decls, decl);
		if (parser.at == from && !parser.stopped) parser.at++;
	}
	return file;
}

Expr *parse_expression(Arena *arena, Diag *diag, uint32_t source) {
	Parser parser = new_parser(arena, diag, source);
	parser.inside = 1;
	Expr *expr = parse_expr(&parser);
	if (!is_kind(&parser, TOKEN_END)) unexpected(&parser, "the end of the expression");
	return parser.panic ? NULL : expr;
}

const char *operator_text(Operator op) {
	static const char *const texts[] = {
		[OPERATOR_NEGATE] = "-", [OPERATOR_NOT] = "not", [OPERATOR_ADD] = "+", [OPERATOR_SUB] = "-", [OPERATOR_MUL] = "*",
		[OPERATOR_DIV] = "/", [OPERATOR_IDIV] = "//", [OPERATOR_MOD] = "%", [OPERATOR_MATMUL] = "@", [OPERATOR_POWER] = "^",
		[OPERATOR_LT] = "<", [OPERATOR_LE] = "<=", [OPERATOR_EQ] = "==", [OPERATOR_NE] = "!=", [OPERATOR_GT] = ">",
		[OPERATOR_GE] = ">=", [OPERATOR_AND] = "and", [OPERATOR_OR] = "or",
	};
	return texts[op];
}
