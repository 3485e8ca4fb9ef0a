/* parse_expr.c: expressions, index lists and types.
 *
 * In: the cursor on the first token.  Out: a tree with spans; EXPR_ERROR, reported, where there is none. */
#include "parse.h"

#include <string.h>

static Expr *new_expr(Parser *parser, ExprKind kind, int from) {
	Expr *expr = NEW(parser->arena, Expr);
	expr->kind = kind;
	expr->span = expr->at = span_from(parser, from);
	expr->height = 1;
	return expr;
}

/* Makes `child` part of `expr`: chains like a + a + ... grow without recursion, so their height is checked here. */
static Expr *under(Parser *parser, Expr *expr, Expr *child) {
	if (!child) return child;
	expr->height = MAX(expr->height, child->height + 1);
	if (expr->height > MAX_NESTING) too_deep(parser, child->span);
	return child;
}

static Expr *error_expr(Parser *parser, const char *what) {
	unexpected(parser, what);
	Expr *expr = NEW(parser->arena, Expr);
	expr->span = expr->at = token_span(parser, peek(parser));
	return expr;
}

/* ix = ".." | NAME [ "<" sum ] ;   indices = "[" ix { "," ix } "]" */
IndexList parse_indices(Parser *parser) {
	IndexList list = {0};
	int opener = parser->at;
	if (!expect(parser, TOKEN_LEFT_BRACKET, "`[`")) return list;
	parser->inside++;
	do {
		if (list.length > 0 && is_kind(parser, TOKEN_RIGHT_BRACKET)) break;
		int from = parser->at;
		Index index = {0};
		if (accept(parser, TOKEN_DOTS)) index.dots = true;
		else {
			index.name = parse_name(parser, "an index name or `..`");
			if (accept(parser, TOKEN_LT)) index.limit = parse_sum(parser);
		}
		index.span = span_from(parser, from);
		vec_push(parser->arena, &list, index);
	} while (accept(parser, TOKEN_COMMA));
	expect_closing(parser, opener, "`,` or `]`");
	parser->inside--;
	return list;
}

static bool is_reduction(const Parser *parser) {
	static const char *const names[] = {"sum", "mean", "max", "min", "prod", "logsumexp", "argmax"};
	const Token *next = peek_next(parser);
	if (next->kind != TOKEN_LEFT_BRACKET || (next->newline && parser->inside == 0)) return false;
	/* sum[i](x) reduces; sum[i] alone is an entry of a tensor named sum. */
	if (next->match >= 0 && parser->tokens[next->match + 1].kind != TOKEN_LEFT_PAREN) return false;
	for (size_t i = 0; i < COUNT(names); i++)
		if (at_word(parser, names[i])) return true;
	return false;
}

/* reduction = NAME indices "(" expr ")" */
static Expr *parse_reduction(Parser *parser) {
	int from = parser->at;
	Name name = parse_name(parser, "a reduction");
	IndexList indices = parse_indices(parser);
	int opener = parser->at;
	expect(parser, TOKEN_LEFT_PAREN, "`(`");
	parser->inside++;
	Expr *body = parse_expr(parser);
	expect_closing(parser, opener, "`)`");
	parser->inside--;
	Expr *expr = new_expr(parser, EXPR_REDUCE, from);
	expr->name = name;
	expr->at = name.span;
	expr->indices = indices;
	expr->left = under(parser, expr, body);
	return expr;
}

/* "if" expr "{" expr "}" "else" "{" expr "}" */
static Expr *parse_if_expr(Parser *parser) {
	int from = parser->at++;
	Expr *condition = parse_expr(parser), *arms[2] = {0};
	for (int i = 0; i < 2; i++) {
		if (i == 1) {
			if (is_kind(parser, TOKEN_ELSE) && !parser->panic) parser->at++;      /* may stand on a line of its own */
			else if (!parser->panic) {
				unexpected(parser, "`else`");
				diag_help(parser->diag, "an `if` that is a value needs both branches");
			}
		}
		int opener = parser->at;
		expect(parser, TOKEN_LEFT_BRACE, "`{`");
		parser->inside++;
		arms[i] = parse_expr(parser);
		expect_closing(parser, opener, "`}`");
		parser->inside--;
	}
	Expr *expr = new_expr(parser, EXPR_IF, from);
	expr->at = token_span(parser, &parser->tokens[from]);
	expr->condition = under(parser, expr, condition);
	expr->left = under(parser, expr, arms[0]);
	expr->right = under(parser, expr, arms[1]);
	return expr;
}

/* "(" expr { "," expr } ")" | "[" [ expr { "," expr } ] "]" */
static Expr *parse_group(Parser *parser) {
	int from = parser->at;
	bool list = is_kind(parser, TOKEN_LEFT_BRACKET), comma = false;
	TokenKind closer = list ? TOKEN_RIGHT_BRACKET : TOKEN_RIGHT_PAREN;
	ExprList items = {0};
	parser->at++;
	parser->inside++;
	while (!parser->panic && !(is_kind(parser, closer) && (list || items.length > 0))) {
		vec_push(parser->arena, &items, parse_expr(parser));
		if (!accept(parser, TOKEN_COMMA)) break;
		comma = true;
	}
	expect_closing(parser, from, list ? "`,` or `]`" : "`,` or `)`");
	parser->inside--;
	if (!list && !comma && items.length == 1) {
		items.data[0]->parenthesised = true;
		return items.data[0];
	}
	Expr *expr = new_expr(parser, list ? EXPR_LIST : EXPR_TUPLE, from);
	for (int i = 0; i < items.length; i++) under(parser, expr, items.data[i]);
	expr->items = items;
	return expr;
}

/* primary = NUMBER | STRING | NAME | "_" | group | if | reduction */
static Expr *parse_primary(Parser *parser) {
	int from = parser->at;
	const Token *token = peek(parser);
	Expr *expr = NULL;
	if (parser->panic || line_ended(parser)) return error_expr(parser, "an expression");
	switch ((TokenKind)token->kind) {
	case TOKEN_NUMBER:
		parser->at++;
		expr = new_expr(parser, EXPR_NUMBER, from);
		expr->number = token->number;
		expr->integer = token->integer;
		expr->is_integer = token->is_integer;
		return expr;
	case TOKEN_STRING:
		parser->at++;
		expr = new_expr(parser, EXPR_STRING, from);
		expr->string = token->text;
		return expr;
	case TOKEN_NAME:
		if (is_reduction(parser)) return parse_reduction(parser);
		parser->at++;
		expr = new_expr(parser, EXPR_NAME, from);
		expr->name = (Name){token->text, expr->span};
		return expr;
	case TOKEN_HOLE:
		parser->at++;
		return new_expr(parser, EXPR_HOLE, from);
	case TOKEN_LEFT_PAREN: case TOKEN_LEFT_BRACKET: return parse_group(parser);
	case TOKEN_IF: return parse_if_expr(parser);
	default: return error_expr(parser, "an expression");
	}
}

/* args = [ [ NAME "=" ] expr [ ".." expr ] { "," ... } ] */
static void parse_arguments(Parser *parser, Expr *call) {
	int opener = parser->at - 1;
	parser->inside++;
	while (!parser->panic && !is_kind(parser, TOKEN_RIGHT_PAREN)) {
		int from = parser->at;
		Argument argument = {0};
		if (is_kind(parser, TOKEN_NAME) && peek_next(parser)->kind == TOKEN_EQUALS) {
			argument.name = parse_name(parser, "a name");
			parser->at++;
		}
		argument.value = under(parser, call, parse_expr(parser));
		if (accept(parser, TOKEN_DOTS)) argument.to = under(parser, call, parse_expr(parser));
		argument.span = span_from(parser, from);
		vec_push(parser->arena, &call->arguments, argument);
		if (!accept(parser, TOKEN_COMMA)) break;
	}
	expect_closing(parser, opener, "`,` or `)`");
	parser->inside--;
}

/* subs = ( ".." | expr [ ".." expr ] ) { "," ... } [ "|" expr ] */
static void parse_subscripts(Parser *parser, Expr *whole) {
	int opener = parser->at - 1;
	parser->inside++;
	do {
		if (whole->subscripts.length > 0 && is_kind(parser, TOKEN_RIGHT_BRACKET)) break;
		int from = parser->at;
		Subscript subscript = {0};
		if (accept(parser, TOKEN_DOTS)) subscript.dots = true;
		else if (is_kind(parser, TOKEN_COLON) && !parser->panic) {
			unexpected(parser, "a subscript");
			diag_help(parser->diag, "`..` keeps all that is not named, as in `x[.., 0]`; a part is `x[1..3, ..]`");
		} else {
			subscript.value = under(parser, whole, parse_expr(parser));
			if (accept(parser, TOKEN_DOTS)) subscript.to = under(parser, whole, parse_expr(parser));
		}
		subscript.span = span_from(parser, from);
		vec_push(parser->arena, &whole->subscripts, subscript);
	} while (accept(parser, TOKEN_COMMA));
	if (accept(parser, TOKEN_BAR)) whole->default_value = under(parser, whole, parse_expr(parser));
	expect_closing(parser, opener, whole->default_value ? "`]`" : "`,` or `]`");
	parser->inside--;
}

static const char *const dtypes[] = {"f32", "f64", "f16", "bf16", "i32", "i8", "u8", "bool"};
static const char *const other_types[] = {"class", "index", "int", "fn"};
static const char *const tags[] = {"logits", "probs", "logprobs"};

static bool one_of(const char *text, const char *const *names, size_t count) {
	for (size_t i = 0; i < count; i++)
		if (strcmp(text, names[i]) == 0) return true;
	return false;
}

/* "as" DTYPE */
static Name parse_cast_type(Parser *parser) {
	Name name = parse_name(parser, "a dtype after `as`");
	if (!name.text || one_of(name.text, dtypes, COUNT(dtypes))) return name;
	diag_error(parser->diag, name.span, "`%s` is not a dtype", name.text);
	const char *near = nearest_name(name.text, dtypes, COUNT(dtypes));
	if (near) diag_help(parser->diag, "did you mean `%s`?", near);
	else diag_help(parser->diag, "the dtypes are f32 f64 f16 bf16 i32 i8 u8 bool");
	return (Name){0};
}

static bool at_postfix(const Parser *parser) {
	TokenKind kind = peek(parser)->kind;
	if (kind != TOKEN_LEFT_PAREN && kind != TOKEN_LEFT_BRACKET && kind != TOKEN_DOT && kind != TOKEN_AS) return false;
	return !line_ended(parser);
}

/* postfix = primary { "(" args ")" | "[" subs [ "|" expr ] "]" | "." NAME | "as" DTYPE } */
static Expr *parse_postfix(Parser *parser) {
	int from = parser->at;
	Expr *left = parse_primary(parser);
	while (!parser->panic && at_postfix(parser)) {
		int operator_at = parser->at;
		if (left->kind == EXPR_NUMBER && !left->parenthesised && is_kind(parser, TOKEN_DOT)) {
			unexpected(parser, "an operator");
			break;
		}
		Expr *expr = new_expr(parser, EXPR_CALL, from);
		expr->left = left;
		if (accept(parser, TOKEN_LEFT_PAREN)) {
			expr->at = left->at;
			parse_arguments(parser, expr);
		} else if (accept(parser, TOKEN_LEFT_BRACKET)) {
			expr->kind = EXPR_SUBSCRIPT;
			parse_subscripts(parser, expr);
			expr->at = left->at;
		} else if (accept(parser, TOKEN_DOT)) {
			expr->kind = EXPR_FIELD;
			expr->name = parse_name(parser, "a name after `.`");
			expr->at = expr->name.span;
		} else if (accept(parser, TOKEN_AS)) {
			expr->kind = EXPR_CAST;
			expr->name = parse_cast_type(parser);
			expr->at = token_span(parser, &parser->tokens[operator_at]);
			if (!expr->name.text) expr->kind = EXPR_ERROR;
		} else break;
		under(parser, expr, left);
		expr->span = span_from(parser, from);
		left = expr;
	}
	return left;
}

static Expr *new_binary(Parser *parser, Operator op, int from, int operator_at, Expr *left, Expr *right) {
	Expr *expr = new_expr(parser, EXPR_BINARY, from);
	expr->op = op;
	expr->at = token_span(parser, &parser->tokens[operator_at]);
	expr->left = under(parser, expr, left);
	expr->right = under(parser, expr, right);
	return expr;
}

/* unary = "-" unary | postfix [ "^" unary ] */
static Expr *parse_unary(Parser *parser) {
	int from = parser->at;
	if (enter(parser)) return error_expr(parser, "an expression");
	Expr *expr;
	if (is_kind(parser, TOKEN_MINUS) && !line_ended(parser) && !parser->panic) {
		parser->at++;
		Expr *operand = parse_unary(parser);
		expr = new_expr(parser, EXPR_UNARY, from);
		expr->op = OPERATOR_NEGATE;
		expr->at = token_span(parser, &parser->tokens[from]);
		expr->left = under(parser, expr, operand);
	} else {
		expr = parse_postfix(parser);
		int operator_at = parser->at;
		if (accept(parser, TOKEN_CARET)) expr = new_binary(parser, OPERATOR_POWER, from, operator_at, expr, parse_unary(parser));
	}
	leave(parser);
	return expr;
}

/* Left-associative operators; the higher the level, the tighter. */
enum { LEVEL_OR, LEVEL_AND, LEVEL_NOT, LEVEL_COMPARE, LEVEL_SUM, LEVEL_MUL, LEVEL_UNARY };
static const struct { TokenKind token; Operator op; int level; } operators[] = {
	{TOKEN_OR, OPERATOR_OR, LEVEL_OR}, {TOKEN_AND, OPERATOR_AND, LEVEL_AND},
	{TOKEN_LT, OPERATOR_LT, LEVEL_COMPARE}, {TOKEN_LE, OPERATOR_LE, LEVEL_COMPARE}, {TOKEN_EQ, OPERATOR_EQ, LEVEL_COMPARE},
	{TOKEN_NE, OPERATOR_NE, LEVEL_COMPARE}, {TOKEN_GT, OPERATOR_GT, LEVEL_COMPARE}, {TOKEN_GE, OPERATOR_GE, LEVEL_COMPARE},
	{TOKEN_PLUS, OPERATOR_ADD, LEVEL_SUM}, {TOKEN_MINUS, OPERATOR_SUB, LEVEL_SUM},
	{TOKEN_STAR, OPERATOR_MUL, LEVEL_MUL}, {TOKEN_SLASH, OPERATOR_DIV, LEVEL_MUL}, {TOKEN_FLOOR_SLASH, OPERATOR_IDIV, LEVEL_MUL},
	{TOKEN_PERCENT, OPERATOR_MOD, LEVEL_MUL}, {TOKEN_AT, OPERATOR_MATMUL, LEVEL_MUL},
};

static int find_operator(const Parser *parser, int level) {
	if (parser->panic || line_ended(parser)) return -1;
	for (size_t i = 0; i < COUNT(operators); i++)
		if (operators[i].level == level && is_kind(parser, operators[i].token)) return (int)i;
	return -1;
}

static bool is_comparison(const Expr *expr) {
	return expr->kind == EXPR_BINARY && expr->op >= OPERATOR_LT && expr->op <= OPERATOR_GE && !expr->parenthesised;
}

/* or  = and { "or" and } ;            and = not { "and" not } ;
 * not = "not" not | sum [ ( "<" | "<=" | "==" | "!=" | ">" | ">=" ) sum ] ;
 * sum = mul { ( "+" | "-" ) mul } ;   mul = unary { ( "*" | "/" | "//" | "%" | "@" ) unary } */
static Expr *parse_level(Parser *parser, int level) {
	int from = parser->at;
	if (level == LEVEL_UNARY) return parse_unary(parser);
	if (level == LEVEL_NOT) {
		if (!is_kind(parser, TOKEN_NOT) || parser->panic || line_ended(parser)) return parse_level(parser, LEVEL_COMPARE);
		if (enter(parser)) return error_expr(parser, "an expression");
		parser->at++;
		Expr *operand = parse_level(parser, LEVEL_NOT), *expr = new_expr(parser, EXPR_UNARY, from);
		expr->op = OPERATOR_NOT;
		expr->at = token_span(parser, &parser->tokens[from]);
		expr->left = under(parser, expr, operand);
		leave(parser);
		return expr;
	}
	Expr *left = parse_level(parser, level + 1);
	for (int found; (found = find_operator(parser, level)) >= 0;) {
		if (level == LEVEL_COMPARE && is_comparison(left)) {
			diag_error(parser->diag, token_span(parser, peek(parser)), "comparisons do not chain");
			diag_help(parser->diag, "write `a < b and b < c`");
			parser->panic = true;
			break;
		}
		int operator_at = parser->at++;
		left = new_binary(parser, operators[found].op, from, operator_at, left, parse_level(parser, level + 1));
	}
	return left;
}

Expr *parse_sum(Parser *parser) { return parse_level(parser, LEVEL_SUM); }

/* What may be called: a name, a field or element of one, or anything in parentheses. */
static bool is_callable(const Expr *expr) {
	while (!expr->parenthesised && (expr->kind == EXPR_FIELD || expr->kind == EXPR_SUBSCRIPT)) expr = expr->left;
	return expr->kind == EXPR_NAME || expr->parenthesised;
}

/* x |> f is f(x); x |> f(a) is f(x, a). */
static Expr *make_piped(Parser *parser, int from, Expr *value, Expr *target) {
	if (parser->panic || target->kind == EXPR_ERROR) return target;
	Argument first = {.value = value, .span = value->span};
	Expr *call = new_expr(parser, EXPR_CALL, from);
	call->piped = true;
	call->at = target->at;
	under(parser, call, value);
	under(parser, call, target);
	vec_push(parser->arena, &call->arguments, first);
	if (target->kind == EXPR_CALL && !target->parenthesised) {
		call->left = target->left;
		for (int i = 0; i < target->arguments.length; i++) vec_push(parser->arena, &call->arguments, target->arguments.data[i]);
	} else if (is_callable(target)) call->left = target;
	else {
		diag_error(parser->diag, target->span, "`|>` needs a function or a call on its right");
		diag_help(parser->diag, "put the whole pipe in parentheses: (x |> f(a))[0], (x |> f) as f32");
		call->kind = EXPR_ERROR;
	}
	return call;
}

/* expr = or { "|>" postfix } */
Expr *parse_expr(Parser *parser) {
	int from = parser->at;
	if (enter(parser)) return error_expr(parser, "an expression");
	Expr *expr = parse_level(parser, LEVEL_OR);
	while (accept(parser, TOKEN_PIPE)) expr = make_piped(parser, from, expr, parse_postfix(parser));
	leave(parser);
	return expr;
}

/* "[" [ ".." [","] ] { expr "," } "]" */
static void parse_dims(Parser *parser, TypeExpr *type) {
	int opener = parser->at - 1;
	type->has_dims = true;
	parser->inside++;
	if (accept(parser, TOKEN_DOTS)) {
		type->leading_dots = true;
		if (!accept(parser, TOKEN_COMMA) && !is_kind(parser, TOKEN_RIGHT_BRACKET)) unexpected(parser, "`,` or `]`");
	}
	while (!parser->panic && !is_kind(parser, TOKEN_RIGHT_BRACKET)) {
		if (is_kind(parser, TOKEN_DOTS)) {
			diag_error(parser->diag, token_span(parser, peek(parser)), "in a type `..` stands first");
			parser->panic = true;
			break;
		}
		vec_push(parser->arena, &type->dims, parse_expr(parser));
		if (!accept(parser, TOKEN_COMMA)) break;
	}
	expect_closing(parser, opener, "`,` or `]`");
	parser->inside--;
}

/* type = [ TAG ] [ DTYPE | "class" "[" expr "]" | "index" ] [ dims ] | "int" | "bool" | "fn" */
TypeExpr *parse_type(Parser *parser) {
	int from = parser->at;
	TypeExpr *type = NEW(parser->arena, TypeExpr);
	const Token *token = peek(parser);
	if (is_kind(parser, TOKEN_NAME) && one_of(token->text, tags, COUNT(tags))) type->tag = parse_name(parser, "a tag");
	token = peek(parser);
	if (is_kind(parser, TOKEN_NAME) && !line_ended(parser) &&
	    (one_of(token->text, dtypes, COUNT(dtypes)) || one_of(token->text, other_types, COUNT(other_types))))
		type->dtype = parse_name(parser, "a dtype");
	else if (is_kind(parser, TOKEN_NAME) && !line_ended(parser) && !parser->panic) {
		static const char *const all[] = {"f32", "f64", "f16", "bf16", "i32", "i8", "u8", "bool", "class", "index", "int", "fn",
		                                  "logits", "probs", "logprobs"};
		Name name = parse_name(parser, "a type");
		diag_error(parser->diag, name.span, "`%s` is not a type", name.text);
		const char *near = nearest_name(name.text, all, COUNT(all));
		if (near) diag_help(parser->diag, "did you mean `%s`?", near);
		else diag_help(parser->diag, "a type looks like f32[B, 10], [B, n] (f32 is the default), class[10] or int");
		type->dtype = name;
	}
	bool has_class = type->dtype.text && strcmp(type->dtype.text, "class") == 0;
	if (has_class) {
		int opener = parser->at;
		expect(parser, TOKEN_LEFT_BRACKET, "`[` and the number of classes");
		parser->inside++;
		type->classes = parse_expr(parser);
		expect_closing(parser, opener, "`]`");
		parser->inside--;
	}
	if (accept(parser, TOKEN_LEFT_BRACKET)) parse_dims(parser, type);
	if (parser->at == from) unexpected(parser, "a type");
	type->span = span_from(parser, from);
	return type;
}
