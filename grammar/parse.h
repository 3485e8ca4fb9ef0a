/* parse.h: what the parts of the parser share (private to grammar/).
 *
 * A function parse_X() reads production X at the cursor.  After an error the parser is in `panic`: functions
 * return without consuming, report nothing, and the nearest statement or declaration skips to where the next one
 * starts.  After the last error worth reporting it is `stopped`: the cursor stands on TOKEN_END. */
#ifndef NNC_PARSE_H
#define NNC_PARSE_H

#include "ast.h"
#include "lexer.h"

/* Blocks, parentheses, prefix operators and right-hand operands open at once; also the height of an expression. */
enum { MAX_NESTING = 256 };

typedef struct Parser {
	Arena *arena;
	Diag *diag;
	uint32_t source;
	TokenList *list;
	Token *tokens;
	int at, start;    /* the cursor; where the statement or declaration at hand began */
	int inside;       /* parentheses and brackets open: a newline ends nothing */
	int depth;        /* of recursion */
	bool panic, stopped;
	bool stray_brace; /* an error was at a `{`: a `}` may be missing for that reason alone */
} Parser;

/* The cursor (parse.c). */
static inline const Token *peek(const Parser *parser) { return &parser->tokens[parser->at]; }
static inline const Token *peek_next(const Parser *parser) { return peek(parser) + (peek(parser)->kind == TOKEN_END ? 0 : 1); }
bool at_word(const Parser *parser, const char *word);
bool is_kind(const Parser *parser, TokenKind kind);
/* Does a statement go on in the next line after this token? */
bool token_continues(TokenKind kind);
/* Does the token at the cursor start a new line that ends the statement before it? */
bool line_ended(const Parser *parser);
bool accept(Parser *parser, TokenKind kind);
bool accept_word(Parser *parser, const char *word);
bool expect(Parser *parser, TokenKind kind, const char *what);
/* The other bracket of token number `opener`. */
bool expect_closing(Parser *parser, int opener, const char *what);
Span token_span(const Parser *parser, const Token *token);
/* From token number `from` to the token before the cursor. */
Span span_from(const Parser *parser, int from);
Name parse_name(Parser *parser, const char *what);
const char *parse_string(Parser *parser, const char *what, Span *span);

/* Errors (parse.c).  `unexpected` is the usual one; what is wrong with a TOKEN_ERROR comes first. */
void unexpected(Parser *parser, const char *what);
/* Is the token at the cursor an operator that wants an operand before it, where a line begins?  The newline has ended what it
 * belongs to; `unexpected` says so. */
bool leads_line(const Parser *parser, const Token *token);
/* True, and an error, when nesting is too deep; else the caller must call leave(). */
bool enter(Parser *parser);
void leave(Parser *parser);
void too_deep(Parser *parser, Span span);
/* After an error: to the end of the statement that began at token number `from`. */
void skip_statement(Parser *parser, int from);
/* After an error in the head of something with a block: to its `{`; false when there is none on that line. */
bool skip_to_block(Parser *parser, int from);

/* parse_expr.c */
Expr *parse_expr(Parser *parser);
Expr *parse_sum(Parser *parser);
IndexList parse_indices(Parser *parser);
TypeExpr *parse_type(Parser *parser);

/* parse_stmt.c */
Block parse_block(Parser *parser);
Stmt *parse_stmt(Parser *parser);
/* The `}` of the block that token number `opener` opened, or an error that says so. */
void close_block(Parser *parser, int opener);
/* After a statement: a newline, `;` or `}`; otherwise an error. */
void end_statement(Parser *parser, int from);

/* parse_decl.c */
Decl *parse_decl(Parser *parser);

#endif
