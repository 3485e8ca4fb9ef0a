/* object.h: what `nnc compile` makes of a program: the names and places that the object and its header agree on. */
#ifndef NNC_OBJECT_H
#define NNC_OBJECT_H

#include "embed.h"
#include "inputs.h"

/* A member of X_params (parameters, states) or X_train (the rest). */
typedef struct Member { const char *type, *name, *comment; int64_t count; size_t offset; } Member;   /* count 0: no array */

/* A function's argument for an array, as the header declares it. */
typedef struct Declared { const char *name, *text; DType dtype; int64_t classes; } Declared;   /* text: "u8[n, 28, 28]" */
typedef struct Signature {
	const char *title;               /* "model mlp", "train", "train fine" */
	Declared *inputs, *outputs;      /* in the order of EmbedModel or EmbedStep */
} Signature;

typedef struct ObjectUnit {
	Session *s;
	const char *x;                   /* the prefix of every name */
	const Target *target;
	bool infer, train;
	VEC(const char *) taken;         /* names X_.. in use */
	size_t largest;                  /* bytes of the largest array of a call */
	VEC(Member) members;             /* by number of the persistent tensor */
	VEC(Member) fields;              /* of X_train, after the tensors */
	Layout layout;                   /* of the tensors in the blocks */
	int table_count, path_bytes;
	size_t dense_params, dense_slots;
	Embed embed;
	Signature *models, *steps;       /* by number in embed */
	Embedded made;
} ObjectUnit;

static inline size_t dense_bytes(Type t) { return (size_t)type_count(t) * (size_t)dtype_info[t.dtype].bytes; }

/* object.c: fills layout, members and fields of a unit whose session and entries are known, and of embed what stands in
 * blocks. */
void object_place(ObjectUnit *u);
/* X_name; an error when something else is called so already. */
const char *take_name(ObjectUnit *u, const char *name, const char *what, Span span);
/* "_NAME", or "" for the train block that has none: what its things are called by. */
const char *train_suffix(Arena *arena, const Train *t);
/* An identifier for an argument that none of the others, nor of those that every function has, is called. */
const char *argument_name(Arena *arena, const char *wanted, const Declared *others, int n);
/* X_param_table: what header.c declares as X_param_info. */
EmbedBytes param_table(ObjectUnit *u);
/* A number as blocks and tables have it, lowest byte first. */
void block_put(char *to, uint64_t value, int bytes);
/* Writes the head of a block of parameters. */
void block_stamp(const ObjectUnit *u, char *block);

/* explain_memory.c: prints what is in the blocks of an object that has been made, and why. */
void explain_memory(const ObjectUnit *u);
/* compile.c: scratch for any function. */
size_t most_scratch(const Embedded *made);
/* Samples of a step, and of a model's blocks. */
int64_t object_batch(const ObjectUnit *u);
/* Fills a unit whose session is open; false after reporting. */
bool object_describe(ObjectUnit *u);
bool object_generate(ObjectUnit *u);
/* Which functions the options ask for; an exit code. */
int choose_entries(ObjectUnit *u);
/* budget.c: --budget and --flash as numbers; false after a message. */
typedef struct Budget { size_t ram, flash; } Budget;   /* 0: none is given */
bool read_budget(const Options *o, Budget *budget);
/* object_generate() in as little memory as the budget asks for; reports where it cannot be. */
bool object_within(ObjectUnit *u, Budget budget);
/* What the object needs in memory that is written, and in all that is only read. */
size_t object_ram(const ObjectUnit *u);
size_t object_flash(const ObjectUnit *u);

/* depfile.c: the files that were read for the object, by number; NULL: no more. */
const char *object_need(const Session *s, int number);
/* Writes "OBJECT: FILE.nn ..", every file that was read, to --depfile. */
void write_depfile(Session *s, const char *object);

/* archive.c: the object alone in an archive; name: its own in there. */
typedef VEC(const char *) SymbolList;
Object archive_of(Arena *arena, Object object, const char *name, const SymbolList *symbols);

/* header.c */
void write_header(Text *out, const ObjectUnit *u);
/* "float" */
const char *c_type(DType dtype);
/* `text` with everything that C identifiers cannot have as `_`. */
const char *c_identifier(Arena *arena, const char *text);
/* Is it a keyword of C or C++? */
bool c_keyword(const char *name);

#endif
