/* indexed_round.h: what a test of indexed definitions needs around one statement: an elaborator without a program, names
 * for sizes, and tensors as inputs.
 *
 * Sizes are the letters B K J N M; B is the batch.  Tensors: "x:B,K" floats, "t#N:B" integers below N. */
#ifndef INDEXED_ROUND_H
#define INDEXED_ROUND_H

#include <stdlib.h>

#include "indexed_oracle.h"
#include "session.h"

enum { MAX_ARRAYS = 24 };

typedef struct Round {
	Elab e;
	Build build;
	Session session;
	File file;
	Scope *scope;
	int64_t size[128];       /* by letter */
	Array array[MAX_ARRAYS];
	Tensor input[2][MAX_ARRAYS];   /* by mode */
	int narrays;
	Known known[ORACLE_NAMES];
	int nknown;
	uint64_t seed;
} Round;

static int64_t dice(Round *r, int64_t n) { return (int64_t)((r->seed = hash_mix(r->seed)) % (uint64_t)n); }

/* "B", "12", "N-1" or "B+2". */
static int64_t read_size(Round *r, const char **at, Dim *dim) {
	int64_t n = 0;
	if (**at >= 'A' && **at <= 'Z') {
		Dim d = **at == 'B' ? dim_batch() : dim_number(r->size[(int)**at]);
		n = r->size[(int)**at];
		++*at;
		int64_t more = **at == '-' || **at == '+' ? strtol(*at, (char **)at, 10) : 0;
		d.c[0] += more;
		if (dim) *dim = d;
		return n + more;
	}
	n = strtol(*at, (char **)at, 10);
	if (dim) *dim = dim_number(n);
	return n;
}

static Name name_of(Round *r, const char *text, size_t length) { return (Name){arena_intern(r->e.arena, text, length), {0}}; }

static inline void add_tensor(Round *r, const char **at) {
	const char *start = *at;
	Array *a = &r->array[r->narrays];
	Dim dims[MAX_RANK];
	int64_t below = 0;
	while (**at != ':' && **at != '#') ++*at;
	Name name = name_of(r, start, (size_t)(*at - start));
	if (*(*at)++ == '#') {
		below = read_size(r, at, NULL);
		++*at;
	}
	*a = (Array){.name = name.text};
	while (**at && **at != ' ') {
		a->dim[a->rank] = read_size(r, at, &dims[a->rank]);
		a->rank++;
		if (**at == ',') ++*at;
	}
	Type type = type_make(below ? DTYPE_I32 : DTYPE_F32, a->rank, a->dim);
	int64_t count = type_count(type);
	double *data = NEW_ARRAY(r->e.arena, double, count);
	float *single = NEW_ARRAY(r->e.arena, float, count);
	int32_t *whole = NEW_ARRAY(r->e.arena, int32_t, count);
	for (int64_t i = 0; i < count; i++) {
		data[i] = below ? (double)dice(r, below) : (double)(dice(r, 401) - 200) / 128 + 1.0 / 256;
		single[i] = (float)data[i];
		whole[i] = (int32_t)data[i];
	}
	a->data = data;
	r->input[0][r->narrays] = (Tensor){type, below ? (void *)whole : data};
	r->input[1][r->narrays++] = (Tensor){type, below ? (void *)whole : single};
	Val *v = fn_input(r->build.fn, name.text, INPUT_DATA, type);
	scope_bind(&r->e, r->scope, name, value_tensor(&r->e, v, dims, (Span){0}));
}

static inline void add_known(Round *r, const char *text) {
	for (const char *c = "BKJNM"; *c; c++) {
		r->known[r->nknown++] = (Known){.name = name_of(r, c, 1).text, .number = r->size[(int)*c]};
		Value v = *c == 'B' ? value_dim(dim_batch(), (Span){0}) : value_int(r->size[(int)*c], (Span){0});
		scope_bind(&r->e, r->scope, name_of(r, c, 1), v);
	}
	r->known[r->nknown++] = (Known){.name = "i0", .number = 1};
	scope_bind(&r->e, r->scope, name_of(r, "i0", 2), value_int(1, (Span){0}));
	while (*text) {
		const char *start = text;
		while (*text != '=') text++;
		Known *k = &r->known[r->nknown++];
		*k = (Known){.name = name_of(r, start, (size_t)(text - start)).text};
		for (text++; *text && *text != ' '; text += *text == ',') k->range[k->count++] = read_size(r, &text, NULL);
		while (*text == ' ') text++;
	}
}

/* The statement `text` as the body of the first function; `prelude` holds other declarations. */
static SourceFile *parse_text(Round *r, const char *prelude, const char *text) {
	Arena *arena = r->e.arena;
	const char *source = arena_printf(arena, "fn f() {\n%s\n}\n%s\n", text, prelude);
	uint32_t number = diag_source(r->e.diag, "case.nn", source, strlen(source), false);
	return parse_file(arena, r->e.diag, number);
}

static inline void round_start(Round *r, const char *prelude, const char *text, uint64_t seed) {
	*r = (Round){.seed = seed};
	r->e.arena = arena_new();
	r->e.diag = diag_new(r->e.arena);
	r->e.build = &r->build;
	r->e.session = &r->session;
	r->build.fn = fn_new(r->e.arena, "case");
	r->file.tree = parse_text(r, prelude, text);
	index_declarations(&r->e, &r->file);
	r->scope = scope_new(&r->e, NULL);
	r->scope->file = &r->file;
	r->session.main = &r->file;
	vec_push(r->e.arena, &r->session.files, &r->file);
	static const int64_t sizes[] = {1, 2, 3, 5, 7, 16, 17, 19, 33};
	for (const char *c = "BKJNM"; *c; c++) r->size[(int)*c] = sizes[dice(r, COUNT(sizes))];
	if (r->size['N'] < 2) r->size['N'] = 2;   /* cases subtract 1 */
	r->build.batch = r->size['B'];
}

static inline const Stmt *statement(const SourceFile *file) { return file->decls.data[0]->body.data[0]; }

#endif
