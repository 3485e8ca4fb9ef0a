/* ast.h: the syntax tree of a .nn file, one node per production of grammar.ebnf.
 *
 * In: text.  Out: Program, every node with its Span.  Names are interned (compare with ==).  The tree is
 * never changed after parsing; what failed to parse is a node of kind ..._ERROR, already reported, and
 * whoever meets one stays silent. */
#ifndef NNC_AST_H
#define NNC_AST_H

#include "diag.h"

typedef struct Expr Expr;
typedef struct Stmt Stmt;
typedef struct TypeExpr TypeExpr;

typedef struct Name { const char *text; Span span; } Name;     /* text is interned; NULL: absent */
typedef struct ExprList { Expr **data; int length, capacity; } ExprList;
typedef struct Block { Stmt **data; int length, capacity; Span span; } Block;

/* An index binder on the left of an indexed definition or of a reduction: `..`, `i`, `i < n`. */
typedef struct Index { Name name; bool dots; Expr *limit; Span span; } Index;
typedef struct IndexList { Index *data; int length, capacity; } IndexList;

/* One subscript: `..`, an expression, or a range `from..to` (to exclusive). */
typedef struct Subscript { bool dots; Expr *value; Expr *to; Span span; } Subscript;
/* One argument of a call: `name = value`, a value, or a range `from..to`. */
typedef struct Argument { Name name; Expr *value; Expr *to; Span span; } Argument;

typedef enum ExprKind {
	EXPR_ERROR,
	EXPR_NUMBER,      /* number (value), is_integer, integer */
	EXPR_STRING,      /* string */
	EXPR_NAME,        /* name */
	EXPR_HOLE,        /* _ as in dense(_, 128) */
	EXPR_TUPLE,       /* items; (e) alone is not a tuple */
	EXPR_LIST,        /* items: [a, b] */
	EXPR_IF,          /* condition, then, otherwise */
	EXPR_UNARY,       /* op, left */
	EXPR_BINARY,      /* op, left, right */
	EXPR_CALL,        /* callee, arguments;  x |> f(a) is parsed to a call with piped = true and x as first argument */
	EXPR_SUBSCRIPT,   /* left, subscripts, default_value (or NULL) */
	EXPR_FIELD,       /* left . name */
	EXPR_CAST,        /* left as dtype (name) */
	EXPR_REDUCE,      /* reduction name (sum mean max min prod logsumexp argmax), indices, left = body */
} ExprKind;

typedef enum Operator {
	OPERATOR_NEGATE, OPERATOR_NOT,
	OPERATOR_ADD, OPERATOR_SUB, OPERATOR_MUL, OPERATOR_DIV, OPERATOR_IDIV, OPERATOR_MOD, OPERATOR_MATMUL, OPERATOR_POWER,
	OPERATOR_LT, OPERATOR_LE, OPERATOR_EQ, OPERATOR_NE, OPERATOR_GT, OPERATOR_GE, OPERATOR_AND, OPERATOR_OR,
} Operator;

struct Expr {
	ExprKind kind;
	Operator op;
	Span span;             /* the whole expression */
	Span at;               /* its operator, callee or name: where the caret of an error goes */
	Name name;
	double number;
	int64_t integer;
	bool is_integer;       /* an integer literal that fits int64 */
	bool piped, parenthesised;
	int height;            /* of the tree below, bounded: recursion over it is safe */
	const char *string;    /* escapes already replaced */
	Expr *left, *right, *condition;   /* EXPR_IF: condition, left = then, right = otherwise; EXPR_CALL: left = callee */
	Expr *default_value;
	ExprList items;
	struct { Argument *data; int length, capacity; } arguments;
	struct { Subscript *data; int length, capacity; } subscripts;
	IndexList indices;
};

/* [ TAG ] [ DTYPE | class[n] | index ] [ "[" dims "]" ] | int | bool | fn */
struct TypeExpr {
	Span span;
	Name tag;              /* logits probs logprobs, or absent */
	Name dtype;            /* f32 ... class index int bool fn, or absent (= f32) */
	Expr *classes;         /* class[n] */
	bool has_dims, leading_dots;   /* [..] or [.., n] */
	ExprList dims;
};

typedef struct Param { Name name; TypeExpr *type; Expr *value; Span span; } Param;   /* type, value may be NULL */
typedef struct ParamList { Param *data; int length, capacity; Span span; } ParamList;

typedef enum StmtKind {
	STMT_ERROR,
	STMT_PARAM,       /* param NAME: type = value                 name type value */
	STMT_STATE,       /* state NAME: type = value                 name type value */
	STMT_LET,         /* let a, b = value                         names value */
	STMT_LET_INDEXED, /* let y[i, j] = value                      name indices value */
	STMT_ASSIGN,      /* name = value                             name value */
	STMT_UPDATE,      /* name <- value                            name value */
	STMT_CONST,       /* const NAME = value                       name value */
	STMT_FOR,         /* for NAME in value .. to {} | value {}    name value to body */
	STMT_IF,          /* if value body else otherwise             value body otherwise (else-if: one STMT_IF inside) */
	STMT_SCAN,        /* scan NAME < value [reversed] carry       name value reversed carries body */
	STMT_EMIT,        /* emit NAME[ix] = value                    name indices value */
	STMT_ASSERT,      /* assert value, "message"                  value message */
	STMT_RETURN,      /* return values */
	STMT_EXPR,        /* value */
} StmtKind;

typedef struct Carry { Name name; Expr *value; } Carry;

struct Stmt {
	StmtKind kind;
	Span span;
	Name name;
	struct { Name *data; int length, capacity; } names;
	TypeExpr *type;
	Expr *value, *to;
	IndexList indices;
	ExprList values;
	bool reversed, has_otherwise;
	struct { Carry *data; int length, capacity; } carries;
	const char *message;
	Span message_span;
	Block body, otherwise;
};

typedef enum DeclKind {
	DECL_IMPORT,      /* import "path"                            path */
	DECL_CONST,       /* const NAME = value                       name value */
	DECL_DATA,        /* data NAME [like NAME] { fields }         name like fields */
	DECL_FN,          /* fn NAME params -> type = value | body    name params result value | body */
	DECL_LAYER,       /* layer NAME params -> type body           name params result body */
	DECL_MODEL,       /* model NAME params -> results = | body    name params results value | body */
	DECL_OPTIMIZER,   /* optimizer NAME(p, g, settings) body      name params (the first two are p and g) body */
	DECL_VJP,         /* vjp NAME(inputs -> output, cotangent) {} name inputs output cotangent body */
	DECL_TRAIN,       /* train [NAME] { settings and statements } name items */
} DeclKind;

typedef struct Field { Name name; TypeExpr *type; Expr *value; Span span; } Field;          /* type NULL after `like` */
typedef struct Result { Name name; TypeExpr *type; } Result;                                 /* name may be absent */
typedef struct Rule { const char *pattern; Span span; Expr *value; } Rule;                   /* "pattern": expr */

typedef enum ItemKind { ITEM_SETTING, ITEM_OPTIMIZER_RULES, ITEM_METRIC, ITEM_UPDATE, ITEM_STMT } ItemKind;
typedef struct TrainItem {
	ItemKind kind;
	Span span;
	Name name;                                                  /* setting, metric or update */
	Expr *value;
	struct { Rule *data; int length, capacity; } rules;         /* optimizer = { ... } */
	struct { struct TrainItem *data; int length, capacity; } items;   /* of an update */
	Stmt *stmt;
} TrainItem;

typedef struct Decl {
	DeclKind kind;
	Span span;             /* the whole declaration */
	Name name, like;
	const char *path;
	Span path_span;
	Expr *value;
	bool has_body;
	Block body;
	ParamList params;
	TypeExpr *result;      /* fn, layer; may be NULL */
	struct { Result *data; int length, capacity; } results;     /* model */
	struct { Field *data; int length, capacity; } fields;       /* data */
	struct { Name *data; int length, capacity; } inputs;        /* vjp */
	Name output, cotangent;
	struct { TrainItem *data; int length, capacity; } items;    /* train */
} Decl;

typedef struct SourceFile {
	uint32_t source;
	struct { Decl **data; int length, capacity; } decls;
} SourceFile;

/* Parses source number `source` of `diag`.  Always returns a tree; errors are in diag. */
SourceFile *parse_file(Arena *arena, Diag *diag, uint32_t source);
/* Parses one expression, as for --set K=V; NULL after an error. */
Expr *parse_expression(Arena *arena, Diag *diag, uint32_t source);
/* The source laid out in the one style of `nnc fmt`; comments are kept, and
 * format(format(x)) == format(x).  NULL when the source has syntax errors. */
char *format_source(Arena *arena, Diag *diag, uint32_t source);
/* "add", "@" ...: the operator as written. */
const char *operator_text(Operator op);

#endif
