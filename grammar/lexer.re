/* lexer.re: text -> tokens.
 *
 * In: the bytes of one source, whatever they are, with a NUL behind the last.  Out: tokens and comments in order,
 * brackets paired.  Guarantees: every byte is looked at a bounded number of times; nothing is read past the NUL;
 * nothing is reported (a TOKEN_ERROR says what is wrong and where).
 *
 * Pairing.  When the brackets of the file match, indentation means nothing.  When they do not, layout is the
 * better witness: a declaration word followed by a name or `{` at column 1 closes everything open, a word that
 * can only start a statement closes the parentheses before it, and `}` closes the parentheses inside it. */
#include "lexer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *token_kind_text(TokenKind kind) {
	static const char *const texts[] = {
#define X(name, text) text,
		TOKENS(X)
#undef X
	};
	return texts[kind];
}

typedef struct Lexer { Arena *arena; const char *text, *limit; TokenList *out; } Lexer;

static bool fail(Token *token, LexError error, const char *where, const char *text) {
	token->kind = TOKEN_ERROR;
	token->error = (unsigned char)error;
	token->where = (uint32_t)(where - text);
	return false;
}

/* The length of the UTF-8 character at `s`, or 0 when its bytes are none. */
static int utf8_length(const char *s, const char *limit) {
	const unsigned char *b = (const unsigned char *)s;
	int length = b[0] < 0x80 ? 1 : b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;
	if (limit - s < length) return 0;
	for (int i = 1; i < length; i++)
		if ((b[i] & 0xc0) != 0x80) return 0;
	if (b[0] == 0xe0 && b[1] < 0xa0) return 0;                     /* over-long */
	if (b[0] == 0xed && b[1] >= 0xa0) return 0;                    /* surrogates */
	if ((b[0] == 0xf0 && b[1] < 0x90) || (b[0] == 0xf4 && b[1] >= 0x90)) return 0;
	return length;
}

/* begin..end without its quotes, escapes replaced. */
static void read_string(const Lexer *lexer, Token *token, const char *begin, const char *end) {
	char *text = arena_alloc(lexer->arena, (size_t)(end - begin) + 1), *out = text;
	for (const char *s = begin + 1; s < end - 1; s++) {
		int length = utf8_length(s, end);
		if (length == 0) { fail(token, LEX_BYTES, s, lexer->text); return; }
		if ((unsigned char)*s < 0x20 && *s != '\t') { fail(token, *s == '\r' ? LEX_RETURN : LEX_NUL, s, lexer->text); return; }
		if (*s == '\\') {
			s++;
			if (*s != '"' && *s != '\\' && *s != 'n' && *s != 't') { fail(token, LEX_ESCAPE, s - 1, lexer->text); return; }
			*out++ = *s == 'n' ? '\n' : *s == 't' ? '\t' : *s;
			continue;
		}
		memcpy(out, s, (size_t)length);
		out += length;
		s += length - 1;
	}
	token->text = text;
}

/* A string that a NUL cuts looks open as well. */
static void fail_open_string(const Lexer *lexer, Token *token, const char *begin) {
	const char *at = begin;
	while (at < lexer->limit && *at && *at != '\n') at++;
	bool cut = at < lexer->limit && !*at;
	fail(token, cut ? LEX_NUL : LEX_OPEN_STRING, cut ? at : begin, lexer->text);
}

static void read_number(const Lexer *lexer, Token *token, const char *begin, const char *end) {
	bool hex = end - begin > 1 && (begin[1] == 'x' || begin[1] == 'X');
	char *digits = arena_alloc(lexer->arena, (size_t)(end - begin) + 1), *out = digits;
	bool whole = true;
	for (const char *s = begin; s < end; s++) {
		if (*s == '_') continue;
		if (!hex && (*s == '.' || *s == 'e' || *s == 'E')) whole = false;
		*out++ = *s;
	}
	token->number = strtod(digits, NULL);
	if (token->number > 1.7976931348623157e308) { fail(token, LEX_HUGE_NUMBER, begin, lexer->text); return; }
	if (!whole) return;
	errno = 0;
	token->integer = strtoll(digits, NULL, hex ? 16 : 10);
	token->is_integer = errno == 0;
}

static const struct { const char *text; TokenKind kind; } keywords[] = {
	{"and", TOKEN_AND}, {"or", TOKEN_OR}, {"not", TOKEN_NOT}, {"as", TOKEN_AS}, {"if", TOKEN_IF}, {"else", TOKEN_ELSE},
	{"for", TOKEN_FOR}, {"let", TOKEN_LET}, {"return", TOKEN_RETURN}, {"assert", TOKEN_ASSERT},
};

static void read_name(const Lexer *lexer, Token *token, const char *begin, const char *end) {
	token->text = arena_intern(lexer->arena, begin, (size_t)(end - begin));
	for (size_t i = 0; i < COUNT(keywords); i++)
		if (strcmp(keywords[i].text, token->text) == 0) token->kind = (unsigned char)keywords[i].kind;
}

/* Reads the token at `*at`, which is not white space.  Moves `*at` behind it; false at the end. */
static bool read_token(const Lexer *lexer, const char **at, Token *token) {
	const char *YYCURSOR = *at, *YYMARKER = *at, *begin = *at;
	TokenKind kind = TOKEN_ERROR;
	const char *foreign = NULL;
	/*!re2c
	re2c:yyfill:enable = 0;
	re2c:define:YYCTYPE = "unsigned char";
	re2c:flags:input = custom;
	re2c:api:style = free-form;
	re2c:define:YYPEEK = "*(const unsigned char *)YYCURSOR";
	re2c:define:YYSKIP = "++YYCURSOR;";
	re2c:define:YYBACKUP = "YYMARKER = YYCURSOR;";
	re2c:define:YYRESTORE = "YYCURSOR = YYMARKER;";

	digits = [0-9] ("_"? [0-9])*;
	exponent = [eE] [+-]? digits;
	tail = [0-9A-Za-z_]*;

	digits ("." digits)? exponent?                  { kind = TOKEN_NUMBER; goto done; }
	"0" [xX] [0-9a-fA-F] ("_"? [0-9a-fA-F])*        { kind = TOKEN_NUMBER; goto done; }
	[0-9] tail ("." [0-9] tail)? ([eE] [+-] tail)?  { fail(token, LEX_NUMBER, begin, lexer->text); goto done; }
	"_"                                             { kind = TOKEN_HOLE; goto done; }
	[A-Za-z_] [A-Za-z0-9_]*                         { kind = TOKEN_NAME; goto done; }
	["] ([^"\\\n\x00] | "\\" [^\n\x00])* ["]        { kind = TOKEN_STRING; goto done; }
	["]                                             { fail_open_string(lexer, token, begin); goto rest_of_line; }
	"'" [^'\n\x00]* "'"                             { fail(token, LEX_QUOTE, begin, lexer->text); goto done; }
	"("   { kind = TOKEN_LEFT_PAREN; goto done; }
	")"   { kind = TOKEN_RIGHT_PAREN; goto done; }
	"["   { kind = TOKEN_LEFT_BRACKET; goto done; }
	"]"   { kind = TOKEN_RIGHT_BRACKET; goto done; }
	"{"   { kind = TOKEN_LEFT_BRACE; goto done; }
	"}"   { kind = TOKEN_RIGHT_BRACE; goto done; }
	","   { kind = TOKEN_COMMA; goto done; }
	";"   { kind = TOKEN_SEMICOLON; goto done; }
	":"   { kind = TOKEN_COLON; goto done; }
	"."   { kind = TOKEN_DOT; goto done; }
	".."  { kind = TOKEN_DOTS; goto done; }
	"|"   { kind = TOKEN_BAR; goto done; }
	"|>"  { kind = TOKEN_PIPE; goto done; }
	"="   { kind = TOKEN_EQUALS; goto done; }
	"<-"  { kind = TOKEN_UPDATE; goto done; }
	"->"  { kind = TOKEN_ARROW; goto done; }
	"+"   { kind = TOKEN_PLUS; goto done; }
	"-"   { kind = TOKEN_MINUS; goto done; }
	"*"   { kind = TOKEN_STAR; goto done; }
	"/"   { kind = TOKEN_SLASH; goto done; }
	"//"  { kind = TOKEN_FLOOR_SLASH; goto done; }
	"%"   { kind = TOKEN_PERCENT; goto done; }
	"@"   { kind = TOKEN_AT; goto done; }
	"^"   { kind = TOKEN_CARET; goto done; }
	"<"   { kind = TOKEN_LT; goto done; }
	"<="  { kind = TOKEN_LE; goto done; }
	"=="  { kind = TOKEN_EQ; goto done; }
	"!="  { kind = TOKEN_NE; goto done; }
	">"   { kind = TOKEN_GT; goto done; }
	">="  { kind = TOKEN_GE; goto done; }
	"**"                          { foreign = "`^`"; goto done; }
	"&" | "&&"                    { foreign = "`and`"; goto done; }
	"||"                          { foreign = "`or`"; goto done; }
	"!" | "~"                     { foreign = "`not`"; goto done; }
	"\xc3\x97"                    { foreign = "`*`"; goto done; }
	"\xe2\x88\x92" | "\xe2\x80\x93" | "\xe2\x80\x94"  { foreign = "`-`"; goto done; }
	"\xe2\x80\x9c" | "\xe2\x80\x9d" | "\xe2\x80\x9e"  { foreign = "`\"`"; goto done; }
	"\xe2\x89\xa4"                { foreign = "`<=`"; goto done; }
	"\xe2\x89\xa5"                { foreign = "`>=`"; goto done; }
	"\xe2\x89\xa0"                { foreign = "`!=`"; goto done; }
	"\xe2\x86\x92"                { foreign = "`->`"; goto done; }
	"\xe2\x86\x90"                { foreign = "`<-`"; goto done; }
	"\x00"                        {
		if (YYCURSOR > lexer->limit) { token->kind = TOKEN_END; return false; }
		fail(token, LEX_NUL, begin, lexer->text);
		goto rest_of_line;
	}
	"\r"  { fail(token, LEX_RETURN, begin, lexer->text); goto rest_of_line; }
	*                             { goto other; }
	*/
other: {
	int length = utf8_length(begin, lexer->limit);
	YYCURSOR = begin + MAX(length, 1);
	bool control = (unsigned char)*begin < 0x20 || *begin == 0x7f;
	fail(token, length == 0 ? LEX_BYTES : control ? LEX_NUL : LEX_CHARACTER, begin, lexer->text);
	if (length == 0)
		while (YYCURSOR < lexer->limit && utf8_length(YYCURSOR, lexer->limit) == 0) YYCURSOR++;
	goto done;
}
rest_of_line:
	while (YYCURSOR < lexer->limit && *YYCURSOR != '\n') YYCURSOR++;
done:
	if (foreign) {
		fail(token, LEX_FOREIGN, begin, lexer->text);
		token->text = foreign;
	}
	if (token->kind != TOKEN_ERROR) token->kind = (unsigned char)kind;
	if (kind == TOKEN_NAME) read_name(lexer, token, begin, YYCURSOR);
	if (kind == TOKEN_STRING) read_string(lexer, token, begin, YYCURSOR);
	if (kind == TOKEN_NUMBER) read_number(lexer, token, begin, YYCURSOR);
	*at = YYCURSOR;
	return true;
}

/* The first byte of a comment that cannot stand in it, or `end`: a NUL, a carriage return that ends no line.  read_token makes
 * an error of it; the rest of a file whose lines end with CR alone would be one comment. */
static const char *comment_end(const char *s, const char *end) {
	while (s < end && *s && !(*s == '\r' && s[1] != '\n')) s++;
	return s;
}

/* White space and comments before the next token; says whether a line ended. */
static bool skip_blanks(const Lexer *lexer, const char **at) {
	const char *s = *at;
	bool newline = s == lexer->text;
	for (; s < lexer->limit; s++) {
		if (*s == '\n') newline = true;
		else if (*s == '#') {
			const char *end = memchr(s, '\n', (size_t)(lexer->limit - s));
			end = comment_end(s, end ? end : lexer->limit);
			Comment comment = {(uint32_t)(s - lexer->text), (uint32_t)(end - lexer->text), lexer->out->length, newline};
			for (char last; (last = lexer->text[comment.end - 1]) == ' ' || last == '\t' || last == '\r';) comment.end--;
			vec_push(lexer->arena, &lexer->out->comments, comment);
			s = end - 1;
		} else if (*s != ' ' && *s != '\t' && *s != '\f' && !(*s == '\r' && s[1] == '\n')) break;
	}
	*at = s;
	return newline;
}

static bool is_word(const Token *token, const char *word) { return token->kind == TOKEN_NAME && strcmp(token->text, word) == 0; }

static const char *const declaration_words[] = {"import", "const", "data", "fn", "vjp", "layer", "model", "optimizer", "train"};

bool is_declaration_word(const Token *token) {
	for (size_t i = 0; i < COUNT(declaration_words); i++)
		if (is_word(token, declaration_words[i])) return true;
	return false;
}

bool starts_declaration(const TokenList *tokens, int at) {
	const Token *token = &tokens->data[at], *next = token->kind == TOKEN_END ? token : token + 1;
	if (is_word(token, "import")) return next->kind == TOKEN_STRING;
	if (is_word(token, "train") && next->kind == TOKEN_LEFT_BRACE) return true;
	return is_declaration_word(token) && next->kind == TOKEN_NAME && !next->newline;
}

/* A word that can only start a statement, first on its line. */
static bool starts_statement(const TokenList *tokens, int at) {
	static const char *const words[] = {"param", "state", "emit", "scan", "const", "metric", "update"};
	const Token *token = &tokens->data[at];
	if (!token->newline) return false;
	if (token->kind == TOKEN_LET || token->kind == TOKEN_RETURN) return true;
	if (token->kind == TOKEN_FOR || token->kind == TOKEN_ASSERT) return true;
	for (size_t i = 0; i < COUNT(words); i++)
		if (is_word(token, words[i])) return token[1].kind == TOKEN_NAME && !token[1].newline;
	return false;
}

/* An open bracket, and for each kind `( [ {` the depth (from 1) of the innermost one up to here, or 0: a stray
 * closer finds its partner, or that there is none, without a search. */
typedef struct Open { int token, innermost[3]; } Open;

static int bracket_kind(TokenKind kind) {
	switch (kind) {
	case TOKEN_LEFT_PAREN: case TOKEN_RIGHT_PAREN: return 0;
	case TOKEN_LEFT_BRACKET: case TOKEN_RIGHT_BRACKET: return 1;
	case TOKEN_LEFT_BRACE: case TOKEN_RIGHT_BRACE: return 2;
	default: return -1;
	}
}

/* Sets `match` of every bracket.  Returns whether all of them match; if not, `by_layout` does better. */
static bool pair_brackets(Arena *arena, TokenList *tokens, bool by_layout) {
	Open *open = NEW_ARRAY(arena, Open, tokens->length + 1);       /* open[0] stands for "nothing open" */
	int depth = 0;
	bool balanced = true;
	for (int i = 0; i < tokens->length; i++) {
		Token *token = &tokens->data[i];
		token->match = -1;
		if (by_layout && token->column_one && starts_declaration(tokens, i)) {
			token->closes_all = depth > 0;
			depth = 0;
		} else if (by_layout && starts_statement(tokens, i)) depth = open[depth].innermost[2];
		int kind = bracket_kind(token->kind);
		if (kind < 0) continue;
		if (token->kind == TOKEN_LEFT_PAREN || token->kind == TOKEN_LEFT_BRACKET || token->kind == TOKEN_LEFT_BRACE) {
			open[depth + 1] = open[depth];
			open[++depth].token = i;
			open[depth].innermost[kind] = depth;
			continue;
		}
		int found = open[depth].innermost[kind];
		if (kind != 2 && found < open[depth].innermost[2]) found = 0;   /* no parenthesis reaches out of its braces */
		if (found != depth || found == 0) balanced = false;
		if (found == 0) continue;
		token->match = open[found].token;
		tokens->data[token->match].match = i;
		depth = found - 1;
	}
	return balanced && depth == 0;
}

TokenList *lex_source(Arena *arena, const Source *source) {
	TokenList *tokens = NEW(arena, TokenList);
	bool too_long = source->length > MAX_SOURCE;
	size_t length = too_long ? 0 : source->length;
	Lexer lexer = {arena, source->text, source->text + length, tokens};
	const char *at = lexer.text;
	if (length >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) at += 3;
	const char *first = at;
	bool newline = true;
	if (too_long) {
		Token token = {.kind = TOKEN_ERROR, .error = LEX_SIZE, .newline = true, .match = -1};
		vec_push(arena, tokens, token);
	}
	for (bool more = !too_long; more;) {
		newline = skip_blanks(&lexer, &at) || at == first;
		Token token = {.newline = newline, .begin = (uint32_t)(at - lexer.text), .match = -1};
		token.column_one = newline && (at == first || at[-1] == '\n');
		if (at >= lexer.limit) break;
		more = read_token(&lexer, &at, &token);
		token.end = (uint32_t)(at - lexer.text);
		if (more) vec_push(arena, tokens, token);
	}
	uint32_t end = (uint32_t)length;
	Token last = {.kind = TOKEN_END, .newline = true, .column_one = true, .begin = end, .end = end, .match = -1};
	vec_push(arena, tokens, last);
	if (!pair_brackets(arena, tokens, false)) pair_brackets(arena, tokens, true);
	return tokens;
}
