/* header.c: in: an ObjectUnit; out: the text of its header, for C99 and C++11. */
#include <ctype.h>
#include <limits.h>
#include <string.h>

#include "object.h"

extern const char core_packed_text[];   /* runtime/core/packed.h */

const char *c_type(DType dtype) {
	switch (dtype) {
	case DTYPE_F32: return "float";
	case DTYPE_F64: return "double";
	case DTYPE_I32: return "int32_t";
	case DTYPE_I8: return "int8_t";
	case DTYPE_F16:
	case DTYPE_BF16: return "uint16_t";
	default: return "uint8_t";
	}
}

const char *c_identifier(Arena *arena, const char *text) {
	char *name = arena_printf(arena, "%s%s", isdigit((unsigned char)*text) || !*text ? "_" : "", text);
	for (char *c = name; *c; c++)
		if ((unsigned char)*c > 127 || !(isalnum((unsigned char)*c) || *c == '_')) *c = '_';
	return name;
}

bool c_keyword(const char *name) {
	static const char words[] =
		" alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t char8_t class co_await co_return co_yield"
		" compl concept const const_cast consteval constexpr constinit continue decltype default delete do double dynamic_cast else enum"
		" explicit export extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or"
		" or_eq private protected public register reinterpret_cast requires restrict return short signed sizeof static static_assert"
		" static_cast struct switch template this thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned"
		" using virtual void volatile wchar_t while xor xor_eq size_t int8_t uint8_t int16_t uint16_t int32_t uint32_t int64_t uint64_t NULL ";
	size_t n = strlen(name);
	for (const char *at = words; (at = strstr(at, name)); at++)
		if (at > words && at[-1] == ' ' && at[n] == ' ') return true;
	return false;
}

/* Enum constants where they fit an int, all of one enum so that they compare without a warning; macros where they do not. */
static void write_number(Text *out, Text *large, const ObjectUnit *u, const char *name, size_t value, const char *comment) {
	if (value <= INT_MAX) text_add(out, "\t%s_%s = %zu,   /* %s */\n", u->x, name, value, comment);
	else text_add(large, "#define %s_%s ((size_t)%zuu)   /* %s */\n", u->x, name, value, comment);
}

static void write_head(Text *out, const ObjectUnit *u) {
	const char *x = u->x;
	text_add(out, "/* %s.nn as plain C functions, compiled by nnc %s for %s, cpu %s.\n *\n", u->s->program->name, NNC_VERSION, u->target->triple, u->target->cpu);
	text_add(out, " * Link the object file that stands beside this header.  It calls nothing, allocates nothing and has no variables of its own:\n"
	              " * all memory is the caller's, in blocks whose sizes are known to the compiler.\n"
	              " *   %s_params   parameters and states; what inference reads.  Any number of threads may share one.\n", x);
	if (u->train) text_add(out, " *   %s_train    %s_params, then the optimiser's state, then counters and settings.  One thread at a time.\n", x, x);
	text_add(out, " *   scratch     working memory of a call, at least %s_SCRATCH_.. bytes; nothing in it matters before or after.\n"
	              " * Each block is aligned to %s_ALIGN bytes.  Blocks do not overlap, and every pointer is valid except where NULL is allowed.\n"
	              " * Arrays (inputs, results) are dense and row-major, need no more alignment than their elements, and are only read or only written.\n"
	              " * Stack: at most %s_STACK_MAX bytes below the caller's frame.  Floating point: IEEE default environment.\n *\n", x, x, x);
	text_add(out, " * Functions of type int return %s_OK (0), or, having changed nothing:\n"
	              " *   %s_BAD_CLASS (-1)   an input of type class[k] holds a number outside 0 .. k-1\n"
	              " *   %s_BAD_PATH  (-2)   no tensor has this path\n */\n", x, x, x);
	text_add(out, "#ifndef %s_H\n#define %s_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n", x, x);
}

static void write_numbers(Text *out, const ObjectUnit *u) {
	Arena *arena = out->arena;
	Text large = {.arena = arena};
	text_bytes(&large, "", 0);
	text_add(out, "enum {\n\t%s_OK = %d,\n\t%s_BAD_CLASS = %d,\n\t%s_BAD_PATH = %d,\n", u->x, EMBED_OK, u->x, EMBED_BAD_CLASS, u->x, EMBED_BAD_PATH);
	if (u->infer) write_number(out, &large, u, "SCRATCH_INFER", u->made.scratch_infer, "bytes of scratch for a model");
	if (u->train) write_number(out, &large, u, "SCRATCH_TRAIN", u->made.scratch_train, "bytes of scratch for a training step");
	write_number(out, &large, u, "STACK_MAX", u->made.stack_bytes, "bytes of stack, at most, for any call");
	write_number(out, &large, u, "CODE_BYTES", u->made.code_bytes, "machine code in the object");
	write_number(out, &large, u, "PARAMS_BYTES", u->params_bytes,
		arena_printf(arena, "sizeof(%s_params); %zu of them are numbers, the rest is padding", u->x, u->dense_params));
	if (u->train)
		write_number(out, &large, u, "TRAIN_BYTES", u->embed.train_bytes,
			arena_printf(arena, "sizeof(%s_train); %zu more of them are numbers: the optimiser's", u->x, u->dense_slots));
	write_number(out, &large, u, "PARAM_COUNT", (size_t)u->table_count, "tensors in the table");
	text_add(out, "\t%s_ALIGN = 64   /* bytes, of every block */\n};\n%s", u->x, large.data);
}

static void write_member(Text *out, const Member *m, Type type, bool first) {
	text_add(out, "\t%s%s %s[%lld];   /* %s %s */\n", first ? "NNC_ALIGNED " : "", m->type, m->name, (long long)m->count, m->comment,
		type_text(out->arena, type));
}

static void write_structs(Text *out, const ObjectUnit *u) {
	const Program *p = u->s->program;
	const char *x = u->x;
	bool first = true;
	text_add(out, "\n/* Packed: rows (the last axis) are padded to whole vectors; the table says how.  All zero bytes is a valid block.\n"
	              " * Read and write tensors by %s_store and %s_load, or through the table's strides. */\ntypedef struct %s_params {\n", x, x, x);
	for (int i = 0; i < p->persistent.length; i++) {
		if (p->persistent.data[i].kind == INPUT_SLOT) continue;
		write_member(out, &u->members.data[i], p->persistent.data[i].type, first);
		first = false;
	}
	if (first) text_add(out, "\tNNC_ALIGNED uint8_t nothing[64];   /* the models have no parameters */\n");
	text_add(out, "} %s_params;\n", x);
	if (!u->train) return;
	text_add(out, "\ntypedef struct %s_train {\n\t%s_params params;\n", x, x);
	for (int i = 0; i < p->persistent.length; i++)
		if (p->persistent.data[i].kind == INPUT_SLOT) write_member(out, &u->members.data[i], p->persistent.data[i].type, false);
	for (int i = 0; i < u->fields.length; i++)
		text_add(out, "\t%s %s;   /* %s */\n", u->fields.data[i].type, u->fields.data[i].name, u->fields.data[i].comment);
	text_add(out, "} %s_train;\n", x);
}

static void write_scratch(Text *out, const ObjectUnit *u) {
	size_t most = MAX(u->made.scratch_infer, u->made.scratch_train);
	text_add(out, "\n/* Scratch for any function here; other memory, just as aligned and as large as the function says, does as well. */\n"
	              "typedef struct %s_scratch { NNC_ALIGNED unsigned char bytes[%zu]; } %s_scratch;\n", u->x, most, u->x);
}

static void write_checks(Text *out, const ObjectUnit *u) {
	const char *x = u->x;
	text_add(out, "/* The compiler must lay the blocks out as the object expects. */\ntypedef char %s_check[sizeof(%s_params) == %zu", x, x, u->params_bytes);
	if (u->train) {
		text_add(out, " && sizeof(%s_train) == %zu", x, u->embed.train_bytes);
		for (int i = 0; i < u->fields.length; i++)
			text_add(out, "\n\t&& offsetof(%s_train, %s) == %zu", x, u->fields.data[i].name, u->fields.data[i].offset);
	}
	text_add(out, "\n\t&& sizeof(%s_param_info) == %d ? 1 : -1];\n", x, u->path_bytes + 16 + 16 * MAX_RANK + 16);
}

static void write_table(Text *out, const ObjectUnit *u) {
	text_add(out, "\n/* Every tensor by path. */\ntypedef struct %s_param_info {\n"
	              "\tchar path[%d];      /* \"model/dense.0/w\"; the optimiser's: \"model/dense.0/w#m\" */\n"
	              "\tint32_t kind;       /* 0: parameter, 1: state of a model, 2: the optimiser's */\n"
	              "\tint32_t dtype;      /*", u->x, u->path_bytes);
	for (int d = 0; d < DTYPE_COUNT; d++) text_add(out, "%s %d: %s", d ? "," : "", d, dtype_info[d].text);
	text_add(out, " */\n\tint32_t element;    /* bytes of an element */\n"
	              "\tint32_t rank;\n"
	              "\tint64_t dim[%d];\n"
	              "\tint64_t stride[%d];  /* elements from one index to the next, in the packed block */\n"
	              "\tuint64_t offset;    /* bytes from the start of the block */\n"
	              "\tuint64_t bytes;     /* padding included */\n"
	              "} %s_param_info;\n", MAX_RANK, MAX_RANK, u->x);
}

static void write_argument_docs(Text *out, const Declared *a, int n, const char *direction) {
	for (int i = 0; i < n; i++) {
		text_add(out, " *   %s %s: %s", direction, a[i].name, a[i].text);
		if (a[i].classes > 0) text_add(out, ", each in 0 .. %lld", (long long)a[i].classes - 1);
		text_add(out, "\n");
	}
}

static void write_arguments(Text *out, const Declared *a, int n, bool constant) {
	for (int i = 0; i < n; i++) text_add(out, ", %s%s *%s", constant ? "const " : "", c_type(a[i].dtype), a[i].name);
}

static void write_model(Text *out, const ObjectUnit *u, int number) {
	const EmbedModel *m = &u->embed.models[number];
	const Signature *s = &u->models[number];
	text_add(out, "\n/* %s", s->title);
	if (m->single) text_add(out, ", on n samples: blocks of %lld, then one by one (the same bits either way where samples do not mix).\n", (long long)m->batch);
	else text_add(out, ", on whole arrays.\n");
	write_argument_docs(out, s->inputs, m->ninputs, "in ");
	write_argument_docs(out, s->outputs, m->noutputs, "out");
	text_add(out, " *   scratch: %s_SCRATCH_INFER bytes */\nint %s(const %s_params *p", u->x, m->symbol, u->x);
	write_arguments(out, s->inputs, m->ninputs, true);
	write_arguments(out, s->outputs, m->noutputs, false);
	text_add(out, "%s, void *scratch);\n", m->single ? ", size_t n" : "");
}

static void write_step(Text *out, const ObjectUnit *u, int number) {
	const EmbedStep *m = &u->embed.steps[number];
	const Signature *s = &u->steps[number];
	text_add(out, "\n/* %s: one step on one batch.", s->title);
	if (m->accumulate > 1) text_add(out, "  One call in %lld changes the parameters, by the average of as many gradients.", (long long)m->accumulate);
	text_add(out, "\n");
	write_argument_docs(out, s->inputs, m->ninputs, "in ");
	text_add(out, " *   out loss: one number, the loss before the update; may be NULL\n"
	              " *   scratch: %s_SCRATCH_TRAIN bytes */\nint %s(%s_train *t", u->x, m->symbol, u->x);
	write_arguments(out, s->inputs, m->ninputs, true);
	DType dtype = DTYPE_F32;
	for (int i = 0; i < m->fn->outputs.length; i++)
		if (m->fn->outputs.data[i].updates < 0) dtype = m->fn->outputs.data[i].val->type.dtype;
	text_add(out, ", %s *loss, void *scratch);\n", c_type(dtype));
}

static void write_functions(Text *out, const ObjectUnit *u) {
	const char *x = u->x;
	text_add(out, "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\nextern const %s_param_info %s_param_table[%d];\n", x, x, MAX(u->table_count, 1));
	if (u->s->options->weights)
		text_add(out, "\n/* The weights given to nnc compile, read-only: pass &%s_pretrained to a model, or copy it (t->params = %s_pretrained). */\n"
		              "extern const %s_params %s_pretrained;\n", x, x, x, x);
	for (int i = 0; i < u->embed.nmodels; i++) write_model(out, u, i);
	if (u->train)
		text_add(out, "\n/* Fills the whole block: initial parameters by the seed, the same as nnc train starts from; counters; settings. */\n"
		              "void %s_init(%s_train *t, uint64_t seed);\n", x, x);
	for (int i = 0; i < u->embed.nsteps; i++) write_step(out, u, i);
	text_add(out, "\n#ifdef __cplusplus\n}\n#endif\n");
}

/* A function that copies a tensor into a block (load) or out of it. */
static void write_copy(Text *out, const char *x, bool load, const char *suffix, const char *block, const char *limit) {
	text_add(out, "static inline int %s_%s%s(%s%s_%s *block, const char *path, %svoid *dense) {\n", x, load ? "load" : "store", suffix,
		load ? "" : "const ", x, block, load ? "const " : "");
	text_add(out, "\tint i = %s_find(path);\n\tif (i < 0%s) return %s_BAD_PATH;\n", x, limit, x);
	text_add(out, "\tconst %s_param_info *info = &%s_param_table[i];\n\tsize_t row, stride, rows = %s_rows(info, &row, &stride);\n", x, x, x);
	if (load) text_add(out, "\tnnc_pack((unsigned char *)block + info->offset, stride, (size_t)info->bytes, (const unsigned char *)dense, rows, row);\n");
	else text_add(out, "\tnnc_unpack((const unsigned char *)block + info->offset, stride, (unsigned char *)dense, rows, row);\n");
	text_add(out, "\treturn %s_OK;\n}\n", x);
}

static void write_inlines(Text *out, const ObjectUnit *u) {
	const char *x = u->x;
	text_add(out, "\n/* The number of the tensor of that path in the table, or %s_BAD_PATH. */\n"
	              "static inline int %s_find(const char *path) {\n\tint i;\n\tfor (i = 0; i < %s_PARAM_COUNT; i++)\n"
	              "\t\tif (nnc_same_text(path, %s_param_table[i].path)) return i;\n\treturn %s_BAD_PATH;\n}\n\n", x, x, x, x, x);
	text_add(out, "/* How many rows a tensor has; bytes of a dense row, and from one packed row to the next. */\n"
	              "static inline size_t %s_rows(const %s_param_info *info, size_t *row, size_t *stride) {\n\tsize_t rows = 1;\n\tint d;\n"
	              "\t*row = (size_t)info->element * (size_t)(info->rank ? info->dim[info->rank - 1] : 1);\n"
	              "\t*stride = info->rank > 1 ? (size_t)info->element * (size_t)info->stride[info->rank - 2] : *row;\n"
	              "\tfor (d = 0; d + 1 < info->rank; d++) rows *= (size_t)info->dim[d];\n\treturn rows;\n}\n\n", x, x);
	text_add(out, "/* Copies a dense row-major tensor, in the element type of the table, into the block or out of it. */\n");
	if (u->train) {
		write_copy(out, x, true, "", "train", "");
		write_copy(out, x, false, "", "train", "");
		text_add(out, "\n/* The same for parameters and states alone. */\n");
	}
	const char *limit = u->train ? arena_printf(out->arena, " || %s_param_table[i].kind == 2", x) : "";
	write_copy(out, x, true, "_params", "params", limit);
	write_copy(out, x, false, "_params", "params", limit);
}

void write_header(Text *out, const ObjectUnit *u) {
	write_head(out, u);
	text_add(out, "%s\n", core_packed_text);
	write_numbers(out, u);
	write_structs(out, u);
	write_scratch(out, u);
	write_table(out, u);
	write_checks(out, u);
	write_functions(out, u);
	write_inlines(out, u);
	text_add(out, "\n#endif\n");
}
