/* parse_decl.c: declarations: const, data, fn, vjp, layer, model, optimizer, train, import.
 *
 * In: the cursor on the first token of a declaration.  Out: the declaration, or NULL after an error that leaves
 * nothing of it. */
#include "parse.h"

#include <string.h>

/* Skips what cannot be part of a declaration, up to where one starts. */
static void skip_declaration(Parser *parser, int from) {
	if (parser->stopped) return;
	int i = from;
	for (; parser->tokens[i].kind != TOKEN_END; i++) {
		const Token *token = &parser->tokens[i];
		if (i > from && (token->closes_all || (token->newline && starts_declaration(parser->list, i)))) break;
		if (i > from && token->column_one && is_declaration_word(token)) break;
		if (token->match > i) i = token->match;
	}
	parser->at = i;
	parser->panic = false;
	parser->inside = 0;
}

/* param = NAME [ ":" type ] [ "=" expr ] */
static Param parse_one_param(Parser *parser) {
	int from = parser->at;
	Param param = {.name = parse_name(parser, "the name of an argument")};
	if (accept(parser, TOKEN_COLON)) param.type = parse_type(parser);
	if (accept(parser, TOKEN_EQUALS)) param.value = parse_expr(parser);
	param.span = span_from(parser, from);
	return param;
}

/* params = "(" [ param { "," param } ] ")" */
static ParamList parse_params(Parser *parser) {
	ParamList list = {0};
	int from = parser->at;
	if (!expect(parser, TOKEN_LEFT_PAREN, "`(`")) return list;
	parser->inside++;
	while (!parser->panic && !is_kind(parser, TOKEN_RIGHT_PAREN)) {
		Param param = parse_one_param(parser);
		vec_push(parser->arena, &list, param);
		if (!accept(parser, TOKEN_COMMA)) break;
	}
	expect_closing(parser, from, "`,` or `)`");
	parser->inside--;
	list.span = span_from(parser, from);
	return list;
}

/* The body in braces, also after an error in the head. */
static void parse_decl_body(Parser *parser, Decl *decl, int from, const char *what) {
	if (!parser->panic && !is_kind(parser, TOKEN_LEFT_BRACE)) unexpected(parser, what);
	if (parser->panic && !skip_to_block(parser, from)) return;
	decl->has_body = true;
	decl->body = parse_block(parser);
}

/* import = "import" STRING */
static void parse_import(Parser *parser, Decl *decl) {
	decl->path = parse_string(parser, "a path in quotes", &decl->path_span);
}

/* const = "const" NAME "=" expr */
static void parse_const(Parser *parser, Decl *decl) {
	decl->name = parse_name(parser, "a name after `const`");
	expect(parser, TOKEN_EQUALS, "`=`");
	decl->value = parse_expr(parser);
}

/* NAME [ ":" type ] "=" expr */
static void parse_field(Parser *parser, Decl *decl) {
	int from = parser->start = parser->at;
	Field field = {.name = parse_name(parser, "the name of a field")};
	if (decl->like.span.source) {
		if (accept(parser, TOKEN_COLON)) field.type = parse_type(parser);
	} else {
		expect(parser, TOKEN_COLON, "`:` and the type of one sample");
		field.type = parse_type(parser);
	}
	expect(parser, TOKEN_EQUALS, "`=` and a source");
	field.value = parse_expr(parser);
	field.span = span_from(parser, from);
	if (!parser->panic) vec_push(parser->arena, &decl->fields, field);
	end_statement(parser, from);
}

/* "{" item { item } "}" where `item` reads one of them and what ends it */
static void parse_items(Parser *parser, int from, Decl *decl, TrainItem *owner, void (*item)(Parser *, Decl *, TrainItem *)) {
	if (!parser->panic && !is_kind(parser, TOKEN_LEFT_BRACE)) unexpected(parser, "`{`");
	if (parser->panic && !skip_to_block(parser, from)) return;
	if (enter(parser)) return;
	int opener = parser->at++;
	while (!is_kind(parser, TOKEN_RIGHT_BRACE) && !is_kind(parser, TOKEN_END) && !peek(parser)->closes_all) {
		if (is_kind(parser, TOKEN_SEMICOLON)) parser->at++;
		else item(parser, decl, owner);
	}
	close_block(parser, opener);
	leave(parser);
}

static void parse_data_item(Parser *parser, Decl *decl, TrainItem *owner) {
	(void)owner;
	parse_field(parser, decl);
}

/* data = "data" NAME [ "like" NAME ] "{" { NAME [ ":" type ] "=" expr } "}" */
static void parse_data(Parser *parser, Decl *decl) {
	int from = parser->at;
	decl->name = parse_name(parser, "a name after `data`");
	Span like = token_span(parser, peek(parser));
	if (accept_word(parser, "like")) {
		decl->like = parse_name(parser, "the name of a data declaration");
		if (parser->panic) decl->like.span = like;       /* the fields need no types all the same */
	}
	parse_items(parser, from, decl, NULL, parse_data_item);
}

/* fn = "fn" NAME params [ "->" type ] ( "=" expr | block ) */
static void parse_fn(Parser *parser, Decl *decl) {
	int from = parser->at;
	decl->name = parse_name(parser, "a name after `fn`");
	decl->params = parse_params(parser);
	if (accept(parser, TOKEN_ARROW)) decl->result = parse_type(parser);
	if (accept(parser, TOKEN_EQUALS)) decl->value = parse_expr(parser);
	else parse_decl_body(parser, decl, from, "`=` or `{`");
}

/* layer = "layer" NAME params [ "->" type ] block */
static void parse_layer(Parser *parser, Decl *decl) {
	int from = parser->at;
	decl->name = parse_name(parser, "a name after `layer`");
	decl->params = parse_params(parser);
	if (accept(parser, TOKEN_ARROW)) decl->result = parse_type(parser);
	if (is_kind(parser, TOKEN_EQUALS) && !parser->panic) {
		unexpected(parser, "`{`");
		diag_help(parser->diag, "a layer's body stands in braces: { return ... }");
	}
	parse_decl_body(parser, decl, from, "`{`");
}

/* results = type | NAME ":" type { "," NAME ":" type } */
static void parse_results(Parser *parser, Decl *decl) {
	bool named = is_kind(parser, TOKEN_NAME) && peek_next(parser)->kind == TOKEN_COLON;
	do {
		Result result = {0};
		if (named) {
			result.name = parse_name(parser, "the name of a result");
			expect(parser, TOKEN_COLON, "`:` and the result's type");
		}
		result.type = parse_type(parser);
		vec_push(parser->arena, &decl->results, result);
	} while (named && accept(parser, TOKEN_COMMA));
}

/* model = "model" NAME params "->" results ( "=" expr | block ) */
static void parse_model(Parser *parser, Decl *decl) {
	int from = parser->at;
	decl->name = parse_name(parser, "a name after `model`");
	decl->params = parse_params(parser);
	if (!accept(parser, TOKEN_ARROW) && !parser->panic) {
		unexpected(parser, "`->` and the type of the result");
		diag_help(parser->diag, "a model states its result: model %s(...) -> [B, 10]", decl->name.text);
	}
	if (!parser->panic) parse_results(parser, decl);
	if (accept(parser, TOKEN_EQUALS)) decl->value = parse_expr(parser);
	else parse_decl_body(parser, decl, from, "`=` or `{`");
}

/* optimizer = "optimizer" NAME "(" NAME "," NAME { "," param } ")" block */
static void parse_optimizer(Parser *parser, Decl *decl) {
	int from = parser->at;
	decl->name = parse_name(parser, "a name after `optimizer`");
	decl->params = parse_params(parser);
	if (!parser->panic && decl->params.length < 2) {
		diag_error(parser->diag, decl->params.span, "an optimizer takes the parameter and its gradient first");
		diag_help(parser->diag, "optimizer %s(p, g, ...)", decl->name.text);
	}
	parse_decl_body(parser, decl, from, "`{`");
}

/* vjp = "vjp" NAME "(" NAME { "," NAME } "->" NAME "," NAME ")" block */
static void parse_vjp(Parser *parser, Decl *decl) {
	int from = parser->at;
	decl->name = parse_name(parser, "a name after `vjp`");
	int opener = parser->at;
	if (expect(parser, TOKEN_LEFT_PAREN, "`(`")) {
		parser->inside++;
		do {
			Name input = parse_name(parser, "the name of an input");
			vec_push(parser->arena, &decl->inputs, input);
		} while (accept(parser, TOKEN_COMMA));
		expect(parser, TOKEN_ARROW, "`,` or `->`");
		decl->output = parse_name(parser, "a name for the result");
		expect(parser, TOKEN_COMMA, "`,` and a name for the cotangent");
		decl->cotangent = parse_name(parser, "a name for the cotangent");
		expect_closing(parser, opener, "`)`");
		parser->inside--;
	}
	parse_decl_body(parser, decl, from, "`{`");
}

static void add_item(Parser *parser, Decl *decl, TrainItem *owner, TrainItem item) {
	if (owner) vec_push(parser->arena, &owner->items, item);
	else vec_push(parser->arena, &decl->items, item);
}

static const char *const settings[] = {"data", "validate", "batch", "epochs", "steps", "seed", "shuffle", "precision", "clip",
                                       "accumulate", "patience", "save", "loss", "params", "optimizer"};

static bool at_setting(const Parser *parser) {
	if (peek_next(parser)->kind != TOKEN_EQUALS) return false;
	for (size_t i = 0; i < COUNT(settings); i++)
		if (at_word(parser, settings[i])) return true;
	return false;
}

/* STRING ":" expr */
static void parse_rule(Parser *parser, Decl *decl, TrainItem *owner) {
	int from = parser->start = parser->at;
	Rule rule = {0};
	(void)decl;
	rule.pattern = parse_string(parser, "a pattern of parameter names in quotes", &rule.span);
	expect(parser, TOKEN_COLON, "`:` and an optimizer");
	rule.value = parse_expr(parser);
	if (!parser->panic) vec_push(parser->arena, &owner->rules, rule);
	end_statement(parser, from);
}

static void parse_train_item(Parser *parser, Decl *decl, TrainItem *owner);

/* setting = NAME "=" expr | "optimizer" "=" "{" { STRING ":" expr } "}" | "metric" NAME "=" expr
 *         | "update" NAME "{" { setting } "}" */
static bool parse_setting(Parser *parser, TrainItem *item, bool in_update) {
	bool next_is_name = peek_next(parser)->kind == TOKEN_NAME && !peek_next(parser)->newline;
	int from = parser->at;
	if (at_setting(parser)) {
		item->name = parse_name(parser, "a setting");
		parser->at++;
		if (is_kind(parser, TOKEN_LEFT_BRACE) && strcmp(item->name.text, "optimizer") == 0) {
			item->kind = ITEM_OPTIMIZER_RULES;
			parse_items(parser, from, NULL, item, parse_rule);
		} else item->value = parse_expr(parser);
	} else if (!in_update && at_word(parser, "metric") && next_is_name) {
		parser->at++;
		item->kind = ITEM_METRIC;
		item->name = parse_name(parser, "the name of a metric");
		expect(parser, TOKEN_EQUALS, "`=`");
		item->value = parse_expr(parser);
	} else if (!in_update && at_word(parser, "update") && next_is_name) {
		parser->at++;
		item->kind = ITEM_UPDATE;
		item->name = parse_name(parser, "the name of an update");
		parse_items(parser, from, NULL, item, parse_train_item);
	} else return false;
	return true;
}

static void parse_train_item(Parser *parser, Decl *decl, TrainItem *owner) {
	int from = parser->start = parser->at;
	TrainItem item = {.kind = ITEM_SETTING};
	if (!parse_setting(parser, &item, owner != NULL)) {
		if (owner) {
			const char *near = is_kind(parser, TOKEN_NAME) ? nearest_name(peek(parser)->text, settings, COUNT(settings)) : NULL;
			unexpected(parser, "a setting of the update");
			if (near) diag_help(parser->diag, "did you mean `%s`?", near);
			else diag_help(parser->diag, "an update has `loss = ...`, `params = ...` and `optimizer = ...`");
		} else {
			item.kind = ITEM_STMT;
			item.stmt = parse_stmt(parser);
			item.name = item.stmt->name;
		}
	}
	item.span = span_from(parser, from);
	if (!parser->panic) add_item(parser, decl, owner, item);
	end_statement(parser, from);
}

/* train = "train" [ NAME ] "{" { setting | stmt } "}" */
static void parse_train(Parser *parser, Decl *decl) {
	int from = parser->at;
	if (is_kind(parser, TOKEN_NAME) && !line_ended(parser)) decl->name = parse_name(parser, "a name");
	parse_items(parser, from, decl, NULL, parse_train_item);
}

static const struct { const char *word; DeclKind kind; void (*parse)(Parser *, Decl *); } declarations[] = {
	{"import", DECL_IMPORT, parse_import}, {"const", DECL_CONST, parse_const}, {"data", DECL_DATA, parse_data},
	{"fn", DECL_FN, parse_fn}, {"vjp", DECL_VJP, parse_vjp}, {"layer", DECL_LAYER, parse_layer},
	{"model", DECL_MODEL, parse_model}, {"optimizer", DECL_OPTIMIZER, parse_optimizer}, {"train", DECL_TRAIN, parse_train},
};

static void expected_declaration(Parser *parser) {
	const char *words[COUNT(declarations)];
	for (size_t i = 0; i < COUNT(declarations); i++) words[i] = declarations[i].word;
	const Token *token = peek(parser);
	unexpected(parser, "a declaration");
	const char *near = token->kind == TOKEN_NAME ? nearest_name(token->text, words, COUNT(words)) : NULL;
	bool statement = token->kind != TOKEN_NAME && token->kind != TOKEN_ERROR;
	if (leads_line(parser, token)) return;   /* that was said */
	if (near) diag_help(parser->diag, "did you mean `%s`?", near);
	else if (statement)
		diag_help(parser->diag, "statements stand inside a layer, model, fn or train; is there a `}` too many above?");
	else if (token->kind != TOKEN_ERROR)
		diag_help(parser->diag, "a file consists of import, const, data, fn, vjp, layer, model, optimizer and train");
}

/* decl = import | const | data | fn | vjp | layer | model | optimizer | train */
Decl *parse_decl(Parser *parser) {
	int from = parser->at;
	for (size_t i = 0; i < COUNT(declarations); i++) {
		if (!at_word(parser, declarations[i].word)) continue;
		Decl *decl = NEW(parser->arena, Decl);
		decl->kind = declarations[i].kind;
		parser->at++;
		declarations[i].parse(parser, decl);
		decl->span = span_from(parser, from);
		bool good = !parser->panic, block = parser->tokens[parser->at - 1].kind == TOKEN_RIGHT_BRACE;
		if (good && !block && !line_ended(parser) && !is_kind(parser, TOKEN_SEMICOLON))
			unexpected(parser, "an operator or the end of the declaration");
		if (parser->panic) skip_declaration(parser, from);
		return decl->name.text || decl->kind == DECL_TRAIN || (decl->kind == DECL_IMPORT && good) ? decl : NULL;
	}
	expected_declaration(parser);
	skip_declaration(parser, from);
	return NULL;
}
