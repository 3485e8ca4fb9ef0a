/* session.h: what the core of the elaborator keeps besides front.h: files, persistent tensors, calls.
 * Not for indexed.c. */
#ifndef NNC_SESSION_H
#define NNC_SESSION_H

#include "scan.h"

enum { MAX_CALL_DEPTH = 100, MAX_EXPR_DEPTH = 1200, MAX_WORK = 1000000, MAX_UNROLL = 100000, MAX_ARGUMENTS = 64 };

struct File {
	SourceFile *tree;
	const char *name, *folder;   /* folder: with a trailing '/', or "" */
	const char *real;            /* the same for every way to name this file */
	bool library;
	VEC(File *) imports;
	PointerMap named, rules;     /* the first declaration of a value, the first vjp, of this name: numbers into tree->decls */
};

typedef enum ConstState { CONST_NEW, CONST_RUNNING, CONST_DONE } ConstState;
typedef struct Const { ConstState state; Value value; Expr *replacement; } Const;

/* Anonymous calls of one body, counted by layer; names of instances and tensors it declared. */
typedef struct Counter { const char *name; int count; } Counter;
typedef struct Counters {
	VEC(Counter) calls;
	VEC(const char *) declared;  /* parameters, states: a second one in the same activation is an error */
	int slot_train;              /* ... of this train block */
	int slot_of;                 /* optimizer bodies: the parameter (index + 1) whose slots are declared; else 0 */
	const char *slot_update;     /* ... by this update, or NULL */
} Counters;

struct Instance {
	const Decl *decl;
	File *file;
	const char *path, *name;
	Value *args;                 /* one per parameter; VALUE_HOLE where the call supplies it, VALUE_NOTHING: default */
	Span *spans;
	Span span;
	bool called;
};

/* adam(lr = 0.1): settings of an optimizer; args[0] and args[1] are p and g, filled per parameter. */
struct Bound { const Decl *decl; File *file; Value *args; Span *spans; Span span; };

/* Beside program->persistent, same index. */
typedef struct PersistentInfo {
	Dim *dims;
	Val *initial;                /* in the init Fn */
	bool library;                /* declared in std; its span is then the user's call */
	bool read;                   /* some body reads it */
	bool updated;                /* some body writes it with <- */
	bool has_gradient, trained;  /* reached by a loss; owned by some optimizer */
	const Val *blocked;          /* what stands between it and a loss and has no derivative */
	const char *source_name;     /* as written: "w" */
} PersistentInfo;

typedef struct ModelInfo {
	const Decl *decl;
	File *file;
	bool called, refused;        /* refused: some call did not fit the signature */
	VEC(Counter) unused;
	struct Build *checked;       /* at Session.model_batch: what the checks made, for the first who asks */
	struct { const char **names; Dim *dims; int count; } sizes;   /* dim names bound by the first call from a train block */
} ModelInfo;

typedef struct SettingInfo { const char *name; double value; Span span; } SettingInfo;

/* optimizer = {...}: a pattern and what it gets; optimizer NULL: frozen. */
typedef struct UpdateRule { const char *pattern; Bound *optimizer; Span span; bool matched; } UpdateRule;

/* What one loss updates: the train block itself, or an `update` in it. */
typedef struct Update {
	const char *name;            /* NULL: the block itself */
	Span span;
	Value loss;
	Val *scalar;                 /* its mean, in the loss's own dtype */
	Span loss_span;
	bool has_loss, has_rules, has_clip, has_params;
	bool failed;                 /* its settings were wrong: nothing is updated, and nothing more said */
	Value clip;
	VEC(UpdateRule) rules;
	VEC(UpdateRule) params;      /* params = disc: all paths below it; a pattern as written has a span */
} Update;

typedef enum TrainMode { TRAIN_STEP, TRAIN_EVAL, TRAIN_LOSS } TrainMode;

/* A train block: its static settings, and the run under way. */
typedef struct TrainState {
	const Decl *decl;
	File *file;
	int index;                   /* into program->trains */
	bool failed;                 /* the static settings are unusable */
	int errors;                  /* of the compilation when this run of the block began */
	int64_t samples;             /* of its data; -1: not asked yet */
	bool *field_used;            /* by field of its data */
	TrainMode mode;
	Update main;
	VEC(Update *) updates;       /* in order; main is last when it has a loss */
	VEC(Metric) metrics;
	VEC(Val *) totals;           /* of the evaluation Fn */
	Fn *step;                    /* ready for program_step */
	int more_updates;            /* `update` blocks still to come */
} TrainState;

/* Storage that lists made by append share: `used` items stand in it. */
typedef struct ListRoom { int used, capacity; } ListRoom;

typedef struct Session {
	int *by_path;                /* hash table of indices into program->persistent, + 1 */
	int by_path_size;
	VEC(File *) files;           /* everything parsed, by import */
	VEC(File *) library;
	File *main;
	VEC(Const) consts;
	PointerMap const_numbers;    /* of consts by Decl */
	VEC(PersistentInfo) infos;
	VEC(ModelInfo) models;
	VEC(TrainState *) trains;
	VEC(const Decl *) used;      /* declarations some call elaborated */
	Build *init;
	const char *init_path;       /* whose initialiser runs, for random sites */
	int init_site;
	const char *naming;          /* the name an input(..) expression gets: argument, let or const */
	bool *set_used;              /* --set names that met a const or an input */
	int64_t model_batch;         /* for models' own Fns where nothing else is asked */
} Session;

/* scope.c */
File *file_of(Session *s, uint32_t source);
void index_declarations(Elab *e, File *file);
const Decl *find_rule(const File *file, const char *name);   /* the first vjp of this name; NULL */
bool is_named_value(const Decl *d);
const Decl *find_declaration(Elab *e, File *from, const char *name, File **owner);
bool has_const(File *file, const char *name);
int add_const(Elab *e, const Decl *decl, Expr *replacement);   /* its number; replacement: what --set gives, or NULL */
Value decl_value(Elab *e, const Decl *decl, File *file, Span span);
bool scope_holds(const Scope *scope, const Binding *b);   /* b is bound in this very scope */
bool unknown_name(Elab *e, Scope *scope, Name name);
Value read_binding(Elab *e, Binding *b, Span span);
bool is_library(const Elab *e, Span span);
/* Names the language itself knows (step, pi, training ...); poison after an error; *found says whether. */
Value special_name(Elab *e, const char *name, Span span, bool *found);
const char *const *special_names(int *count);
bool give_up(Elab *e, Span span, const char *what);

/* persistent.c */
int persistent_find(Elab *e, const char *path, InputKind kind, int train);
Value persistent_read(Elab *e, int index, Span span);
int persistent_input(const Build *b, int index);   /* the input it is in this build, -1: not read */
void persistent_write(Elab *e, int index, Val *val);
/* `param`/`state` statement; binds the name in scope. */
void declare_persistent(Elab *e, Scope *scope, const Stmt *stmt, InputKind kind);
/* A slot made by the compiler itself (accumulation), starting at zero. */
int declare_slot(Elab *e, const char *path, int train, Type type, Span span);
Value run_field(Elab *e, Scope *scope, const Expr *expr);

/* types.c */
typedef struct SignatureType {
	DType dtype; bool any_float, index; int64_t classes; Tag tag; bool dtype_given;
} SignatureType;
bool type_is_static(const TypeExpr *t);      /* int, bool, fn */
/* Checks v against a parameter's or result's type, binding dim names in `scope`.  `bind_only`: names only, no expressions.
 * `who`: "`dense`: `x`".  Returns the value as the body sees it, or poison. */
typedef enum MatchStage { MATCH_NAMES, MATCH_ALL } MatchStage;
Value match_type(Elab *e, Scope *scope, const TypeExpr *type, Value v, const char *who, Span span, MatchStage stage);
Tag tag_named(const char *name);
const char *tag_text(Tag tag);
/* The concrete type of a declaration (param, data field, model argument): every dim is evaluated. */
bool eval_type(Elab *e, Scope *scope, const TypeExpr *type, DType *dtype, int64_t *classes, int *rank, Dim *dims);
const char *type_expr_text(Elab *e, Scope *scope, const TypeExpr *type);
void wrong_tag(Elab *e, Value v, Tag wanted, const char *who, Span span);

/* call.c */
Value eval_call(Elab *e, Scope *scope, const Expr *expr);
/* Calls a fn, layer or model with values in the order of its parameters (VALUE_NOTHING: default). */
Value call_decl(Elab *e, const Decl *decl, File *file, Value *args, Span *spans, Span call, const char *path);
bool bind_arguments(Elab *e, Scope *scope, const Decl *decl, const Expr *call, int first, Value *args, Span *spans);
Value eval_argument(Elab *e, Scope *scope, const Argument *a);
Value call_value(Elab *e, Scope *scope, Value callee, int n, Value *args, Span call);
Activation *activation_enter(Elab *e, const Decl *decl, Span call, const char *path, bool fresh);
void activation_leave(Elab *e);
/* Fills the callee's scope from args: types, dims, defaults.  False after an error. */
bool bind_parameters(Elab *e, Scope *scope, const Decl *decl, Value *args, Span *spans, Span call);
Value let_instance(Elab *e, Scope *scope, const char *name, const Expr *expr);
bool makes_instance(const Expr *expr);

/* stmt.c */
typedef enum Flow { FLOW_NEXT, FLOW_RETURN } Flow;
Flow exec_block(Elab *e, Scope *scope, const Block *block, Value *result);
Flow exec_stmt(Elab *e, Scope *scope, const Stmt *stmt, Value *result);
void bind_local(Elab *e, Scope *scope, Name name, Value v);
void collect_grad_names(Elab *e, const Decl *decl, Activation *a);
Value eval_condition(Elab *e, Scope *scope, const Expr *expr, bool *truth);

/* scan.c; more in scan.h */
Flow exec_scan(Elab *e, Scope *scope, const Stmt *stmt, Value *result);

/* builtins.c */
struct Call;
struct Builtin {
	const char *name, *signature;     /* "x axis?", "x d...", "a b... axis?" */
	Value (*run)(Elab *e, struct Call *call);
	int op;
	double (*fold)(double);
	const char *meaning;
};
extern const Builtin builtins[];
extern const int builtin_count;
const Builtin *find_builtin(const char *name);
const char *builtin_text(Arena *arena, const Builtin *b);   /* how it is called: "sum(x, axis = ..)" */
enum { MAX_SLOTS = 6 };
typedef struct Call {
	const Builtin *self;
	Scope *scope;
	Span span, at;
	int nslots;
	const char *slot_name[MAX_SLOTS];
	bool given[MAX_SLOTS];
	Value slot[MAX_SLOTS];
	Span slot_span[MAX_SLOTS];
	Value *rest;                      /* the variadic slot's values */
	Span *rest_span;
	int nrest;
} Call;
Value call_builtin(Elab *e, Scope *scope, const Builtin *b, const Expr *expr);
Value call_builtin_values(Elab *e, Scope *scope, const Builtin *b, int n, Value *args, Span span);
/* builtins_shape.c */
Value builtin_reshape(Elab *e, Call *c);
Value builtin_dims(Elab *e, Call *c);
Value builtin_fill(Elab *e, Call *c);
Value builtin_full(Elab *e, Call *c);
Value builtin_iota(Elab *e, Call *c);
Value builtin_concat(Elab *e, Call *c);
Value builtin_stack(Elab *e, Call *c);
Value builtin_split(Elab *e, Call *c);
Value builtin_flip(Elab *e, Call *c);
Value builtin_pad(Elab *e, Call *c);
/* random.c */
Value builtin_normal(Elab *e, Call *c);
Value builtin_uniform(Elab *e, Call *c);
Value builtin_bernoulli(Elab *e, Call *c);
Value builtin_philox(Elab *e, Call *c);
bool collect_dims(Elab *e, int n, const Value *values, const Span *spans, int *rank, Dim *dims, Span span);
bool axis_argument(Elab *e, Call *c, int slot, int rank, int missing, int *axis);
bool plain_tensor(Elab *e, Call *c, Value *v, Span span);
Value matmul(Elab *e, Value a, Value b, Span span, Span at);
void sizes_of(Elab *e, int rank, const Dim *dims, int64_t *sizes);
bool check_count(Elab *e, int rank, const Dim *dims, Span span);

Value value_like(Value v, Value from);   /* v, with the classes and the tag of `from` */
/* builtins_index.c */
Value builtin_gather(Elab *e, Call *c);
Value builtin_scatter_add(Elab *e, Call *c);
Value builtin_fold(Elab *e, Call *c);
Value builtin_along(Elab *e, Call *c);

/* metric.c */
Value builtin_total(Elab *e, Call *c);
bool has_total(const Expr *x);
void run_metric(Elab *e, Scope *scope, TrainState *t, Name name, const Expr *value);
/* data.c: the number of a data set, read on first use; -1 after an error. */
int data_index(Elab *e, const Decl *decl, File *file);
Value builtin_vocab(Elab *e, Call *c);
/* train.c: runs a train block's items into e->build. */
TrainState *prepare_train(Elab *e, const Decl *decl, File *file);
void run_train(Elab *e, TrainState *t, TrainMode mode);
Value train_counter(Elab *e, const char *name, Span span);   /* steps_per_epoch, total_steps */
extern const char *const setting_names[];
extern const int setting_count;
/* watch.c: `save` and `patience`, once the metrics are known; false after an error. */
bool read_watch(Elab *e, const TrainState *t);
/* optimizer.c */
void read_rules(Elab *e, Scope *scope, Update *u, const TrainItem *item);
void read_update_params(Elab *e, Scope *scope, Update *u, const Expr *value);
void apply_update(Elab *e, TrainState *t, Update *u);
Val *accumulated_before(Elab *e, const TrainState *t);   /* batches added up before this one: the same for every update */
void list_losses(Elab *e, const TrainState *t);   /* Train.losses */
/* finish.c: the Fn as others get it: inputs in order, only what is used, canonical. */
Fn *finish_fn(Elab *e, Build *b, TrainState *t);
void mark_reachable(const Fn *f, const Val *from, bool through_stop, bool *seen);
void mark_learning(const Fn *f, const Val *from, bool *seen);   /* what a derivative of `from` flows to */
/* Of what `seen` marks and `by` reaches, the last value that lets no derivative through; NULL: none. */
const Val *blocking_value(Arena *arena, const Fn *f, const bool *seen, const Val *by);
bool *mark_used(Arena *arena, const Fn *f);       /* by Val.id: what its outputs are computed from */
Value builtin_input(Elab *e, Call *c);
Value builtin_params(Elab *e, Call *c);
Value builtin_grad(Elab *e, Call *c);
Value bind_optimizer(Elab *e, Scope *scope, const Decl *decl, File *file, const Expr *call);
Val *scalar_mean(Elab *e, Value v);

/* names.c */
void check_names(Elab *e, File *file);

#endif
