/* generate.h: private to generate*.c: a program while it is written.
 *
 * Everything is text: an Item is a name with its type.  Expressions are grown from templates (generate_expr.c) over
 * atoms; statements (generate.c, generate_indexed.c) bind their results.  Sizes are n or n * B. */
#ifndef NNC_GENERATE_H
#define NNC_GENERATE_H

#include "fuzz.h"

enum { RANKS = 4, ITEMS = 256, MAX_COUNT = 24000, MAX_LOOP = 400000 };
typedef struct Size { int n; bool batch; } Size;
typedef struct Shape { int rank; Size size[RANKS]; } Shape;
typedef struct Item {
	const char *name;
	char kind;               /* 'F' f32, 'D' f64, 'H' f16, 'X' bf16, 'I' i32, 'S' i8, 'U' u8, 'C' bool */
	Shape shape;
	bool tagged, used;
	int classes;             /* integers known to be in 0..classes-1; 0: unknown */
} Item;
typedef struct Atom { char kind; const char *text; } Atom;

typedef struct Generator {
	Arena *arena;
	Dice dice, more;         /* more: for what was added later, so that it leaves the other programs as they were */
	Text declarations, fields, body, train;
	VEC(Item) items;
	VEC(const char *) fns1, fns2;       /* user's functions of one and of two floats */
	int names, batch, nparams, statements;
	char typed;              /* the kind of parameters that are not f32: their names begin with q; 0: there are none */
	bool has_input;
	bool in_model, small, smooth;       /* smooth: derivatives are compared with differences; nothing that is not its own */
	/* what expressions are made of */
	const Atom *atoms;                 /* element mode: everything stands for one element or for whole tensors of one shape */
	int natoms;
	Shape shape;                        /* tensor mode: items of this shape, starting with the anchor */
	const Item *anchor;
	int force;                          /* a template that must come next, or -1 */
	char real;                          /* the kind that stands for F in element mode; 0: F itself */
} Generator;

int size_value(const Generator *g, Size s);
bool size_same(Size a, Size b);
bool shape_same(Shape a, Shape b);
int64_t shape_count(const Generator *g, Shape s);
const char *size_source(Generator *g, Size s);
const char *sizes_source(Generator *g, Shape s);         /* "B, 3" */
const char *shape_source(Generator *g, Shape s);         /* "[B, 3]", "" for a scalar */
int random_size(Generator *g);                          /* 1..70 */
const char *new_name(Generator *g, const char *prefix);
const char *new_param(Generator *g, Shape s);           /* declares it in the body; shape without the batch */
const char *typed_param(Generator *g, char kind, Shape s);   /* of the kind D, H or X; or an f32 one, converted */
Item *add_item(Generator *g, const char *name, char kind, Shape s);
bool may_be_tagged(const char *value);
/* An item for which all hold: kind in `kinds`, rank in lo..hi; recent ones are likelier.  NULL: none. */
Item *pick_item(Generator *g, const char *kinds, int lo, int hi);
Item *bind_item(Generator *g, const char *value, char kind, Shape s);
void set_anchor(Generator *g, const Item *i);
bool last_is_fixed(const Item *i);
Shape with_last(Shape s, int n);
Shape without(Shape s, unsigned axes);
const char *kind_type(char kind);                       /* "i32", "" for f32 */
#define CHOOSE_BY(dice, ...) ((const char *const[]){__VA_ARGS__}[roll(dice, (int)COUNT(((const char *const[]){__VA_ARGS__})))])
#define CHOOSE(g, ...) CHOOSE_BY(&(g)->dice, __VA_ARGS__)
#define CHOOSE_MORE(g, ...) CHOOSE_BY(&(g)->more, __VA_ARGS__)

/* generate_expr.c: an expression of this kind over the atoms or the anchor's shape; always a tensor of the whole shape. */
const char *grow(Generator *g, char kind, int depth);
extern const int template_count;
bool template_kind(int t, char kind);
char template_result(int t);
const char *converted(Generator *g, const char *text, char from, char to);
/* An expression of the item's own kind and shape, of one of the kinds F D H X: of its elements alone, unless it is f32. */
const char *grow_from(Generator *g, const Item *x, int depth);
/* Sets atoms for `body`: element mode. */
#define WITH_ATOMS(g, list, n, body)                                                                                             \
	do {                                                                                                                         \
		const Atom *old_ = (g)->atoms;                                                                                           \
		int n_ = (g)->natoms;                                                                                                    \
		(g)->atoms = (list);                                                                                                     \
		(g)->natoms = (n);                                                                                                       \
		body;                                                                                                                    \
		(g)->atoms = old_;                                                                                                       \
		(g)->natoms = n_;                                                                                                        \
	} while (0)

/* generate_indexed.c */
void indexed_statement(Generator *g);
void gather_statement(Generator *g);

/* generate_sequence.c, generate_scan.c, generate_layer.c: one statement each */
void sequence_statement(Generator *g);
void scan_statement(Generator *g);
void layer_statement(Generator *g);      /* of the standard library */
void pooling_statement(Generator *g);
void typed_statement(Generator *g);      /* arithmetic in f64, f16, bf16, i8 */
void typed_product_statement(Generator *g);   /* of f64, f16 or bf16 with a parameter, which may be of that type */
void chance_statement(Generator *g);     /* random numbers */
void grad_statement(Generator *g);       /* a derivative as a value */

/* generate_declared.c: one statement each, with the declaration that it calls */
void own_layer_statement(Generator *g);
void own_function_statement(Generator *g);   /* with static arguments and several results */
void filled_statement(Generator *g);     /* constants of an item's sizes */

/* generate_train.c */
void write_functions(Generator *g);
void write_optimizer(Generator *g);
void write_train(Generator *g, const Item *results, int nresults, const char *arguments);

#endif
