/* lexer.h: the tokens of a .nn file (private to grammar/).
 *
 * In: a Source, any bytes.  Out: all its tokens, the last one TOKEN_END, and its comments.  What is no token is
 * a TOKEN_ERROR; nobody has reported it yet: the parser does when it meets it. */
#ifndef NNC_LEXER_H
#define NNC_LEXER_H

#include "diag.h"

/* Kind and how a message names it. */
#define TOKENS(X) \
	X(END, "the end of the file") X(ERROR, "an error") X(NAME, "a name") X(NUMBER, "a number") X(STRING, "a string") \
	X(HOLE, "`_`") X(AND, "`and`") X(OR, "`or`") X(NOT, "`not`") X(AS, "`as`") X(IF, "`if`") X(ELSE, "`else`") \
	X(FOR, "`for`") X(LET, "`let`") X(RETURN, "`return`") X(ASSERT, "`assert`") \
	X(LEFT_PAREN, "`(`") X(RIGHT_PAREN, "`)`") X(LEFT_BRACKET, "`[`") X(RIGHT_BRACKET, "`]`") \
	X(LEFT_BRACE, "`{`") X(RIGHT_BRACE, "`}`") X(COMMA, "`,`") X(SEMICOLON, "`;`") X(COLON, "`:`") \
	X(DOT, "`.`") X(DOTS, "`..`") X(BAR, "`|`") X(PIPE, "`|>`") X(EQUALS, "`=`") X(UPDATE, "`<-`") X(ARROW, "`->`") \
	X(PLUS, "`+`") X(MINUS, "`-`") X(STAR, "`*`") X(SLASH, "`/`") X(FLOOR_SLASH, "`//`") X(PERCENT, "`%`") \
	X(AT, "`@`") X(CARET, "`^`") X(LT, "`<`") X(LE, "`<=`") X(EQ, "`==`") X(NE, "`!=`") X(GT, "`>`") X(GE, "`>=`")

typedef enum TokenKind {
#define X(kind, text) TOKEN_##kind,
	TOKENS(X)
#undef X
} TokenKind;

typedef enum LexError {
	LEX_CHARACTER,     /* a character no token starts with */
	LEX_BYTES,         /* not UTF-8 */
	LEX_NUL,           /* a NUL or another control character */
	LEX_RETURN,        /* a carriage return without a line feed */
	LEX_OPEN_STRING,   /* no closing quote on the line */
	LEX_ESCAPE,        /* an escape other than \" \\ \n \t */
	LEX_QUOTE,         /* a string in single quotes */
	LEX_NUMBER,        /* 1abc, 0x, 1__0 */
	LEX_HUGE_NUMBER,   /* beyond every f64 */
	LEX_FOREIGN,       /* an operator of another language; text is ours */
	LEX_SIZE,          /* the file is longer than MAX_SOURCE */
} LexError;

typedef struct Token {
	unsigned char kind;
	unsigned char error;       /* TOKEN_ERROR: a LexError */
	bool newline;              /* first token of its line */
	bool column_one;           /* ... with nothing before it */
	bool closes_all;           /* a declaration starts here although brackets are open: they are taken as closed */
	bool is_integer;           /* NUMBER without point or exponent that fits int64 */
	uint32_t begin, end;
	uint32_t where;            /* ERROR: first byte to blame */
	int match;                 /* index of the other bracket of the pair, or -1 */
	const char *text;          /* NAME, keyword: interned; STRING: escapes replaced; ERROR LEX_FOREIGN: what to write */
	double number;
	int64_t integer;
} Token;

typedef struct Comment { uint32_t begin, end; int before; bool own_line; } Comment;   /* before: the token that follows */

typedef struct TokenList {
	Token *data;
	int length, capacity;
	VEC(Comment) comments;
} TokenList;

enum { MAX_SOURCE = 4 << 20 };

TokenList *lex_source(Arena *arena, const Source *source);
const char *token_kind_text(TokenKind kind);
/* Is token `at` a declaration word followed by a name (or a string, or `{`)? */
bool starts_declaration(const TokenList *tokens, int at);
bool is_declaration_word(const Token *token);

#endif
