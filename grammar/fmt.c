/* fmt.c: the one layout of .nn text.
 *
 * In: a source without syntax errors.  Out: the same tokens and comments.  The writer decides where lines end; the
 * formatter decides the rest: two spaces of indentation per line that leaves a bracket open, spaces around operators,
 * a `{` whose `}` is on another line ends its line and the `}` starts one, no `;` where a line ends, at most one blank
 * line, comments behind code aligned over consecutive lines.  Guarantee: format(format(x)) == format(x). */
#include "parse.h"

#include <string.h>

/* code empty: the comment alone.  base: what its open brackets hold is indented from here: a bracket that it closes may have
 * been opened further out. */
typedef struct Line { int indent, base; bool blank_before, has_comment; Text code, comment; } Line;
typedef struct Bracket { int token, indent; } Bracket;

typedef struct Format {
	Arena *arena;
	const char *text;
	const TokenList *list;
	VEC(Line) lines;
	VEC(Bracket) brackets;
	int next_comment;
	uint32_t shown;           /* end of the last token or comment of the source that was seen */
	bool break_before;        /* a dropped `;` stood at the start of a line */
	int last;                 /* the last token written, or -1 */
} Format;

static const Token *token_at(const Format *format, int i) { return &format->list->data[i]; }

static bool is_opener(TokenKind kind) {
	return kind == TOKEN_LEFT_PAREN || kind == TOKEN_LEFT_BRACKET || kind == TOKEN_LEFT_BRACE;
}

static bool is_closer(TokenKind kind) {
	return kind == TOKEN_RIGHT_PAREN || kind == TOKEN_RIGHT_BRACKET || kind == TOKEN_RIGHT_BRACE;
}

/* `in` of a for loop: a name to the lexer, a keyword to the reader. */
static bool is_in(const Format *format, int i) {
	const Token *token = token_at(format, i);
	return i >= 2 && token->kind == TOKEN_NAME && strcmp(token->text, "in") == 0 && token_at(format, i - 2)->kind == TOKEN_FOR;
}

static bool ends_operand(const Format *format, int i) {
	switch ((TokenKind)token_at(format, i)->kind) {
	case TOKEN_NAME: return !is_in(format, i);
	case TOKEN_NUMBER: case TOKEN_STRING: case TOKEN_HOLE: return true;
	default: return is_closer(token_at(format, i)->kind);
	}
}

static bool in_parentheses(const Format *format) {
	int n = format->brackets.length;
	return n > 0 && token_at(format, format->brackets.data[n - 1].token)->kind != TOKEN_LEFT_BRACE;
}

/* A `-` that is a sign. */
static bool is_sign(const Format *format, int i) {
	const Token *token = token_at(format, i);
	if (token->kind != TOKEN_MINUS) return false;
	return i == 0 || !ends_operand(format, i - 1) || (token->newline && !in_parentheses(format));
}

/* Is there a space between token `a` and token `b` that follows it on the line?  `sign`: a is a sign. */
static bool spaced(const Format *format, int a, int b, bool sign) {
	TokenKind left = token_at(format, a)->kind, right = token_at(format, b)->kind;
	if (sign) return false;
	switch (right) {
	case TOKEN_COMMA: case TOKEN_SEMICOLON: case TOKEN_COLON: case TOKEN_DOT:
	case TOKEN_RIGHT_PAREN: case TOKEN_RIGHT_BRACKET: return false;
	case TOKEN_DOTS: return left == TOKEN_COMMA || left == TOKEN_EQUALS;
	case TOKEN_LEFT_PAREN: case TOKEN_LEFT_BRACKET:
		if (ends_operand(format, a) && left != TOKEN_RIGHT_BRACE) return false;
		break;
	case TOKEN_RIGHT_BRACE: return left != TOKEN_LEFT_BRACE;
	default: break;
	}
	return left != TOKEN_LEFT_PAREN && left != TOKEN_LEFT_BRACKET && left != TOKEN_DOT && left != TOKEN_DOTS;
}

/* Blank lines between what was seen last and `begin`. */
static bool blank_between(const Format *format, uint32_t begin) {
	int newlines = 0;
	for (uint32_t i = format->shown; i < begin; i++) newlines += format->text[i] == '\n';
	return newlines > 1;
}

static Line *last_line(const Format *format) { return &format->lines.data[format->lines.length - 1]; }

static Line *new_line(Format *format, int indent, uint32_t begin) {
	Line line = {
	    .indent = indent, .base = indent, .blank_before = blank_between(format, begin), .code = {.arena = format->arena}};
	bool opened = format->last >= 0 && is_opener(token_at(format, format->last)->kind);
	const Line *before = format->lines.length ? last_line(format) : NULL;
	if (!before || (opened && before->code.length > 0)) line.blank_before = false;
	vec_push(format->arena, &format->lines, line);
	return last_line(format);
}

/* The indentation of a line that starts with token `i`. */
static int indent_of(const Format *format, int i, bool comment) {
	const Token *token = token_at(format, i);
	int n = format->brackets.length;
	if (is_closer(token->kind) && !comment && n > 0) return format->brackets.data[n - 1].indent;
	int indent = n > 0 ? format->brackets.data[n - 1].indent + 1 : 0;
	bool goes_on = token->kind == TOKEN_PIPE || (format->last >= 0 && token_continues(token_at(format, format->last)->kind));
	return indent + (goes_on && !in_parentheses(format) ? 1 : 0);
}

static void set_comment(const Format *format, Line *line, const Comment *comment) {
	const char *text = format->text + comment->begin;
	size_t length = comment->end - comment->begin;
	bool glued = length > 1 && text[1] != ' ' && text[1] != '\t' && text[1] != '#' && text[1] != '!';
	line->has_comment = true;
	line->comment = (Text){.arena = format->arena};
	text_add(&line->comment, glued ? "# " : "#");
	text_bytes(&line->comment, text + 1, length - 1);
}

/* The comments before token `i`. */
static void write_comments(Format *format, int i) {
	for (; format->next_comment < format->list->comments.length; format->next_comment++) {
		const Comment *comment = &format->list->comments.data[format->next_comment];
		if (comment->before > i) break;
		bool own = comment->own_line || format->lines.length == 0;
		Line *line = own ? new_line(format, indent_of(format, i, true), comment->begin) : last_line(format);
		set_comment(format, line, comment);
		format->shown = comment->end;
	}
}

/* Does the block of this `{` or `}` reach over several lines? */
static bool is_tall(const Format *format, int i) {
	const Token *token = token_at(format, i);
	int from = MIN(i, token->match), to = MAX(i, token->match);
	if ((token->kind != TOKEN_LEFT_BRACE && token->kind != TOKEN_RIGHT_BRACE) || token->match < 0) return false;
	uint32_t begin = token_at(format, from)->begin, end = token_at(format, to)->begin;
	return memchr(format->text + begin, '\n', end - begin) != NULL;
}

static bool after_brace(const Format *format) {
	return format->last >= 0 && token_at(format, format->last)->kind == TOKEN_LEFT_BRACE;
}

/* Does token `i` start a line? */
static bool starts_line(const Format *format, int i) {
	const Token *token = token_at(format, i);
	if (format->lines.length == 0 || last_line(format)->has_comment) return true;
	if (after_brace(format) && is_tall(format, format->last)) return true;
	if (token->kind == TOKEN_RIGHT_BRACE && is_tall(format, i)) return true;
	if (token->kind == TOKEN_ELSE) return false;
	return token->newline || format->break_before;
}

/* A `;` is dropped where a line ends anyway, and where nothing precedes it. */
static bool is_needless(const Format *format, int i) {
	const Token *token = token_at(format, i), *next = token + 1;
	if (token->kind != TOKEN_SEMICOLON) return false;
	if (next->newline || next->kind == TOKEN_RIGHT_BRACE || next->kind == TOKEN_SEMICOLON || next->kind == TOKEN_END) return true;
	return token->newline || format->last < 0 || after_brace(format) || starts_line(format, i);
}

static void write_token(Format *format, int i) {
	const Token *token = token_at(format, i);
	bool sign = format->last >= 0 && is_sign(format, format->last);
	Line *line;
	if (starts_line(format, i)) line = new_line(format, indent_of(format, i, false), token->begin);
	else {
		line = last_line(format);
		if (spaced(format, format->last, i, sign)) text_add(&line->code, " ");
	}
	text_bytes(&line->code, format->text + token->begin, token->end - token->begin);
	if (is_closer(token->kind) && format->brackets.length > 0) {
		int indent = format->brackets.data[--format->brackets.length].indent;
		line->base = MIN(line->base, indent);
	}
	if (is_opener(token->kind)) {
		Bracket bracket = {i, line->base};
		vec_push(format->arena, &format->brackets, bracket);
	}
	format->break_before = false;
	format->last = i;
}

static int columns(const Line *line) {
	int n = 2 * line->indent;
	for (size_t i = 0; i < line->code.length; i++) n += (line->code.data[i] & 0xc0) != 0x80;
	return n;
}

/* Comments behind code on consecutive lines stand in one column. */
static int comment_column(const Format *format, int at, int *end) {
	int column = 0;
	for (*end = at; *end < format->lines.length; ++*end) {
		const Line *line = &format->lines.data[*end];
		if (line->code.length == 0 || !line->has_comment || (*end > at && line->blank_before)) break;
		column = MAX(column, columns(line) + 2);
	}
	return column;
}

static char *write_lines(const Format *format) {
	Text out = {.arena = format->arena};
	text_bytes(&out, "", 0);
	int column = 0, aligned_to = 0;
	for (int i = 0; i < format->lines.length; i++) {
		const Line *line = &format->lines.data[i];
		bool code = line->code.length > 0;
		bool closes = code && strchr(")]}", line->code.data[0]);
		if (line->blank_before && !closes) text_add(&out, "\n");
		if (code && line->has_comment && i >= aligned_to) column = comment_column(format, i, &aligned_to);
		text_add(&out, "%*s", 2 * line->indent, "");
		if (code) text_bytes(&out, line->code.data, line->code.length);
		if (line->has_comment) text_add(&out, "%*s", code ? column - columns(line) : 0, "");
		if (line->has_comment) text_bytes(&out, line->comment.data, line->comment.length);
		text_add(&out, "\n");
	}
	return out.data;
}

char *format_source(Arena *arena, Diag *diag, uint32_t source) {
	int errors = diag->errors;
	parse_file(arena, diag, source);
	if (diag->errors > errors) return NULL;
	const Source *s = &diag->sources.data[source - 1];
	Format format = {.arena = arena, .text = s->text, .list = lex_source(arena, s), .last = -1};
	for (int i = 0; i < format.list->length; i++) {
		const Token *token = token_at(&format, i);
		write_comments(&format, i);
		if (token->kind == TOKEN_END) break;
		if (!is_needless(&format, i)) write_token(&format, i);
		else format.break_before |= token->newline;
		format.shown = token->end;
	}
	return write_lines(&format);
}
