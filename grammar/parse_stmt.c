/* parse_stmt.c: blocks and statements.
 *
 * In: the cursor on the first token.  Out: STMT_ERROR, reported, for what failed; the rest of the block is still
 * parsed. */
#include "parse.h"

#include <string.h>

static Stmt *new_stmt(Parser *parser, StmtKind kind) {
	Stmt *stmt = NEW(parser->arena, Stmt);
	stmt->kind = kind;
	return stmt;
}

/* Is the cursor on this contextual word, with a name behind it on the same line? */
static bool at_word_and_name(const Parser *parser, const char *word) {
	return at_word(parser, word) && peek_next(parser)->kind == TOKEN_NAME && !peek_next(parser)->newline;
}

/* ( "param" | "state" ) NAME ":" type "=" expr */
static Stmt *parse_param(Parser *parser, StmtKind kind) {
	Stmt *stmt = new_stmt(parser, kind);
	parser->at++;
	stmt->name = parse_name(parser, "a name");
	if (is_kind(parser, TOKEN_EQUALS) && !parser->panic) {
		unexpected(parser, "`:` and a type");
		diag_help(parser->diag, "%s %s: [n] = ...", kind == STMT_PARAM ? "param" : "state", stmt->name.text);
	}
	expect(parser, TOKEN_COLON, "`:` and a type");
	stmt->type = parse_type(parser);
	expect(parser, TOKEN_EQUALS, "`=` and an initial value");
	stmt->value = parse_expr(parser);
	return stmt;
}

/* "let" NAME { "," NAME } "=" expr | "let" NAME "[" ix { "," ix } "]" "=" expr */
static Stmt *parse_let(Parser *parser) {
	Stmt *stmt = new_stmt(parser, STMT_LET);
	parser->at++;
	Name name = parse_name(parser, "a name after `let`");
	if (is_kind(parser, TOKEN_LEFT_BRACKET) && !line_ended(parser)) {
		stmt->kind = STMT_LET_INDEXED;
		stmt->name = name;
		stmt->indices = parse_indices(parser);
	} else {
		vec_push(parser->arena, &stmt->names, name);
		while (accept(parser, TOKEN_COMMA)) {
			name = parse_name(parser, "a name");
			vec_push(parser->arena, &stmt->names, name);
		}
	}
	expect(parser, TOKEN_EQUALS, "`=`");
	stmt->value = parse_expr(parser);
	return stmt;
}

/* NAME "=" expr | NAME "<-" expr | "const" NAME "=" expr */
static Stmt *parse_assign(Parser *parser, StmtKind kind) {
	Stmt *stmt = new_stmt(parser, kind);
	if (kind == STMT_CONST) parser->at++;
	stmt->name = parse_name(parser, "a name");
	expect(parser, kind == STMT_UPDATE ? TOKEN_UPDATE : TOKEN_EQUALS, "`=`");
	stmt->value = parse_expr(parser);
	return stmt;
}

/* The block of a statement; after an error in its head the block is parsed all the same. */
static Block parse_body(Parser *parser, int from) {
	if (!parser->panic && is_kind(parser, TOKEN_EQUALS)) {
		unexpected(parser, "`{`");
		diag_help(parser->diag, "`==` compares");
	} else if (!parser->panic && !is_kind(parser, TOKEN_LEFT_BRACE)) unexpected(parser, "`{`");
	if (parser->panic && !skip_to_block(parser, from)) return (Block){0};
	return parse_block(parser);
}

/* "for" NAME "in" ( expr ".." expr | expr ) block */
static Stmt *parse_for(Parser *parser) {
	int from = parser->at++;
	Stmt *stmt = new_stmt(parser, STMT_FOR);
	stmt->name = parse_name(parser, "a name after `for`");
	if (!parser->panic && !accept_word(parser, "in")) unexpected(parser, "`in`");
	stmt->value = parse_expr(parser);
	if (accept(parser, TOKEN_DOTS)) stmt->to = parse_expr(parser);
	if (parser->panic) stmt->kind = STMT_ERROR;
	stmt->body = parse_body(parser, from);
	return stmt;
}

/* if = "if" expr block [ "else" ( block | if ) ] */
static Stmt *parse_if(Parser *parser) {
	int from = parser->at++;
	Stmt *stmt = new_stmt(parser, STMT_IF);
	if (enter(parser)) return stmt;
	stmt->value = parse_expr(parser);
	if (parser->panic) stmt->kind = STMT_ERROR;
	stmt->body = parse_body(parser, from);
	if (!parser->panic && is_kind(parser, TOKEN_ELSE)) {
		int other = ++parser->at;
		stmt->has_otherwise = true;
		if (is_kind(parser, TOKEN_IF) && !line_ended(parser)) {
			Stmt *nested = parse_if(parser);
			nested->span = span_from(parser, other);
			vec_push(parser->arena, &stmt->otherwise, nested);
			stmt->otherwise.span = nested->span;
		} else stmt->otherwise = parse_body(parser, other);
	}
	leave(parser);
	return stmt;
}

/* "scan" NAME "<" expr [ "reversed" ] [ "carry" NAME "=" expr { "," NAME "=" expr } ] block */
static Stmt *parse_scan(Parser *parser) {
	int from = parser->at++;
	Stmt *stmt = new_stmt(parser, STMT_SCAN);
	stmt->name = parse_name(parser, "a name after `scan`");
	expect(parser, TOKEN_LT, "`<` and the number of steps");
	stmt->value = parse_sum(parser);
	stmt->reversed = accept_word(parser, "reversed");
	if (accept_word(parser, "carry")) do {
		Carry carry = {.name = parse_name(parser, "the name of a carry")};
		expect(parser, TOKEN_EQUALS, "`=` and the carry's first value");
		carry.value = parse_expr(parser);
		vec_push(parser->arena, &stmt->carries, carry);
	} while (accept(parser, TOKEN_COMMA));
	if (parser->panic) stmt->kind = STMT_ERROR;
	stmt->body = parse_body(parser, from);
	return stmt;
}

/* "emit" NAME "[" ix { "," ix } "]" "=" expr */
static Stmt *parse_emit(Parser *parser) {
	Stmt *stmt = new_stmt(parser, STMT_EMIT);
	parser->at++;
	stmt->name = parse_name(parser, "a name after `emit`");
	stmt->indices = parse_indices(parser);
	expect(parser, TOKEN_EQUALS, "`=`");
	stmt->value = parse_expr(parser);
	return stmt;
}

/* "assert" expr "," STRING */
static Stmt *parse_assert(Parser *parser) {
	Stmt *stmt = new_stmt(parser, STMT_ASSERT);
	parser->at++;
	stmt->value = parse_expr(parser);
	expect(parser, TOKEN_COMMA, "`,` and a message");
	stmt->message = parse_string(parser, "a message in quotes", &stmt->message_span);
	return stmt;
}

/* "return" expr { "," expr } */
static Stmt *parse_return(Parser *parser) {
	Stmt *stmt = new_stmt(parser, STMT_RETURN);
	parser->at++;
	do vec_push(parser->arena, &stmt->values, parse_expr(parser));
	while (accept(parser, TOKEN_COMMA));
	return stmt;
}

/* expr; and what looks like an assignment to something that is no name */
static Stmt *parse_expr_stmt(Parser *parser) {
	Stmt *stmt = new_stmt(parser, STMT_EXPR);
	stmt->value = parse_expr(parser);
	if (parser->panic || line_ended(parser) || (!is_kind(parser, TOKEN_EQUALS) && !is_kind(parser, TOKEN_UPDATE))) return stmt;
	const Token *sign = peek(parser);
	diag_error(parser->diag, token_span(parser, sign), "only a name can stand left of %s", token_kind_text(sign->kind));
	if (stmt->value->kind == EXPR_SUBSCRIPT) diag_help(parser->diag, "an indexed definition starts with `let`: let y[i] = ...");
	parser->panic = true;
	return stmt;
}

static Stmt *parse_plain_stmt(Parser *parser) {
	switch ((TokenKind)peek(parser)->kind) {
	case TOKEN_LET: return parse_let(parser);
	case TOKEN_FOR: return parse_for(parser);
	case TOKEN_IF: return parse_if(parser);
	case TOKEN_ASSERT: return parse_assert(parser);
	case TOKEN_RETURN: return parse_return(parser);
	default: break;
	}
	TokenKind next = peek_next(parser)->newline ? TOKEN_END : peek_next(parser)->kind;
	if (at_word_and_name(parser, "param")) return parse_param(parser, STMT_PARAM);
	if (at_word_and_name(parser, "state")) return parse_param(parser, STMT_STATE);
	if (at_word_and_name(parser, "const")) return parse_assign(parser, STMT_CONST);
	if (at_word_and_name(parser, "scan")) return parse_scan(parser);
	if (at_word_and_name(parser, "emit")) return parse_emit(parser);
	if (is_kind(parser, TOKEN_NAME) && next == TOKEN_EQUALS) return parse_assign(parser, STMT_ASSIGN);
	if (is_kind(parser, TOKEN_NAME) && next == TOKEN_UPDATE) return parse_assign(parser, STMT_UPDATE);
	return parse_expr_stmt(parser);
}

/* stmt: one function per alternative above.  What failed becomes a STMT_ERROR. */
Stmt *parse_stmt(Parser *parser) {
	int from = parser->start = parser->at;
	Stmt *stmt = parse_plain_stmt(parser);
	if (parser->panic) stmt->kind = STMT_ERROR;
	stmt->span = span_from(parser, from);
	return stmt;
}

void end_statement(Parser *parser, int from) {
	bool after_block = !parser->panic && parser->at > from && parser->tokens[parser->at - 1].kind == TOKEN_RIGHT_BRACE;
	bool ended = after_block || line_ended(parser) || is_kind(parser, TOKEN_SEMICOLON) || is_kind(parser, TOKEN_RIGHT_BRACE);
	if (!parser->panic && !ended) {
		unexpected(parser, "an operator or the end of the statement");
		if (is_kind(parser, TOKEN_NAME) && parser->at == from + 1 && parser->tokens[from].kind == TOKEN_NAME) {
			static const char *const words[] = {"param", "state", "const", "scan", "emit", "let", "return", "for", "assert",
			                                    "metric", "update"};
			const char *near = nearest_name(parser->tokens[from].text, words, COUNT(words));
			if (near) diag_help(parser->diag, "did you mean `%s`?", near);
		} else if (is_kind(parser, TOKEN_NAME) || is_kind(parser, TOKEN_COMMA)) {
			diag_help(parser->diag, "a statement ends with its line or with `;`");
		}
	}
	if (parser->panic) skip_statement(parser, from);
	if (is_kind(parser, TOKEN_SEMICOLON)) parser->at++;
	if (parser->at == from && !parser->stopped) parser->at++;
}

/* block = "{" { stmt } "}" */
Block parse_block(Parser *parser) {
	Block block = {0};
	int from = parser->at;
	if (!expect(parser, TOKEN_LEFT_BRACE, "`{`") || enter(parser)) return block;
	int inside = parser->inside;
	parser->inside = 0;
	while (!is_kind(parser, TOKEN_RIGHT_BRACE) && !is_kind(parser, TOKEN_END) && !peek(parser)->closes_all) {
		int start = parser->at;
		if (is_kind(parser, TOKEN_SEMICOLON)) {
			parser->at++;
			continue;
		}
		vec_push(parser->arena, &block, parse_stmt(parser));
		end_statement(parser, start);
	}
	close_block(parser, from);
	parser->inside = inside;
	block.span = span_from(parser, from);
	leave(parser);
	return block;
}

void close_block(Parser *parser, int opener) {
	if (parser->stopped) return;
	if (is_kind(parser, TOKEN_RIGHT_BRACE)) {
		parser->at++;
		return;
	}
	if (parser->stray_brace) {
		parser->stray_brace = false;
		return;
	}
	const Token *token = peek(parser);
	bool end = token->kind == TOKEN_END;
	Span span = end ? (Span){parser->source, token[-1].end, token[-1].end} : token_span(parser, token);
	diag_error(parser->diag, span, "expected `}` before %s", end ? "the end of the file" : "the next declaration");
	diag_note(parser->diag, token_span(parser, &parser->tokens[opener]), "this `{` is not closed");
}
