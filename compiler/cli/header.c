/* header.c: in: an ObjectUnit; out: the text of its header, for C99 and C++11. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "object.h"

extern const char core_packed_text[];   /* runtime/core/packed.h */

const char *c_type(DType dtype) {
	switch (dtype) {
	case DTYPE_F32: return "float";
	case DTYPE_F64: return "double";
	case DTYPE_I32: case DTYPE_I8X4: case DTYPE_U8X4: return "int32_t";
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
		" alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t char8_t class"
		" co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype"
		" default delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline int"
		" long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register"
		" reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch"
		" template this thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned using"
		" virtual void volatile wchar_t while xor xor_eq size_t int8_t uint8_t int16_t uint16_t int32_t uint32_t int64_t"
		" uint64_t NULL ";
	size_t n = strlen(name);
	for (const char *at = words; (at = strstr(at, name)); at++)
		if (at > words && at[-1] == ' ' && at[n] == ' ') return true;
	return false;
}

/* X for every $. */
static const char *named(Arena *arena, const ObjectUnit *u, const char *text) {
	Text out = {.arena = arena};
	for (const char *at = text; *at; at++) {
		if (*at == '$') text_add(&out, "%s", u->x);
		else text_bytes(&out, at, 1);
	}
	return out.data;
}

/* Like text_add, with X for every $ of the format. */
PRINTF_LIKE(3, 4) static void say(Text *out, const ObjectUnit *u, const char *format, ...) {
	va_list args;
	va_start(args, format);
	text_vadd(out, named(out->arena, u, format), args);
	va_end(args);
}

static void write_head(Text *out, const ObjectUnit *u) {
	say(out, u, "/* %s.nn as plain C functions, compiled by nnc %s for %s, cpu %s.\n *\n", u->s->program->name, NNC_VERSION,
	    u->target->triple, u->target->cpu);
	say(out, u,
	    " * Link the object file that stands beside this header.  It calls nothing%s, allocates nothing and has no variables:\n"
	    " * all memory is the caller's, in blocks whose sizes are known to the compiler.\n"
	    " *   $_params   parameters and states; what inference reads.  Any number of threads may share one.\n",
	    u->made.nneeds ? " but arithmetic of the C compiler's library" : "");
	if (u->train)
		say(out, u, " *   $_train    $_params, then the optimiser's state, then counters and settings.  One thread at a time.\n");
	say(out, u,
	    " *   scratch     working memory of a call, at least $_SCRATCH_.. bytes; nothing in it matters before or after.\n"
	    " * Each block is aligned to $_ALIGN bytes.  Blocks do not overlap; only pointers of which this is said may be NULL.\n"
	    " * A block begins with whose it is ($_PARAMS_ID) and is refused where it is another's: it has to be filled by %s.\n"
	    " * Arrays (inputs, results) are dense and row-major and need no more alignment than their elements.\n"
	    " * Stack: at most $_STACK_MAX bytes below the caller's frame.  Floating point: IEEE default environment.\n *\n"
	    " * Functions of type int return $_OK (0), or, having changed nothing:\n",
	    named(out->arena, u, u->train ? "$_init or $_load_params" : "$_load_params"));
#define CODE(name, number, meaning) \
	if (number) say(out, u, " *   $_%-12s (%d)   " meaning "\n", #name, number);
	EMBED_CODES(CODE)
#undef CODE
	say(out, u, " */\n#ifndef $_H\n#define $_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n");
}

/* A macro, for #if and for arrays. */
static void write_number(Text *out, const ObjectUnit *u, const char *name, size_t value, const char *comment) {
	say(out, u, "#define $_%s %zu   /* %s */\n", name, value, comment);
}

static void write_numbers(Text *out, const ObjectUnit *u) {
	Arena *arena = out->arena;
	say(out, u, "enum {\n");
#define CODE(name, number, meaning) say(out, u, "\t$_" #name " = %d,\n", number);
	EMBED_CODES(CODE)
#undef CODE
	say(out, u, "\t$_ABI = %d   /* version of the blocks and the calls */\n};\n\n", EMBED_ABI);
	if (u->infer) write_number(out, u, "SCRATCH_INFER", u->made.scratch_infer, "bytes of scratch for a model");
	if (u->train) write_number(out, u, "SCRATCH_TRAIN", u->made.scratch_train, "bytes of scratch for a training step");
	for (int i = 0; u->train && u->s->options->workers && i < u->embed.nsteps; i++) {
		const char *suffix = train_suffix(arena, &u->s->program->trains.data[i]);
		say(out, u, "#define $_WORKERS%s %d   /* threads that call %s together */\n", suffix, u->embed.steps[i].workers,
		    u->embed.steps[i].workers_symbol);
	}
	if (u->made.scratch_workers)
		write_number(out, u, "SCRATCH_WORKERS", u->made.scratch_workers, "bytes of scratch that the workers share");
	write_number(out, u, "STACK_MAX", u->made.stack_bytes, "bytes of stack, at most, for any call");
	write_number(out, u, "CODE_BYTES", u->made.code_bytes, "machine code in the object");
	write_number(out, u, "DATA_BYTES", u->made.data_bytes, "read-only data in the object, weights included");
	const char *params = arena_printf(arena, "sizeof(%s_params): %zu of numbers, the rest is padding", u->x, u->dense_params);
	const char *slots = arena_printf(arena, "sizeof(%s_train): %zu more of numbers, the optimiser's", u->x, u->dense_slots);
	write_number(out, u, "PARAMS_BYTES", u->embed.params_bytes, params);
	if (u->train) write_number(out, u, "TRAIN_BYTES", u->embed.train_bytes, slots);
	write_number(out, u, "PARAM_COUNT", (size_t)u->table_count, "tensors in the table");
	write_number(out, u, "ALIGN", 64, "bytes, of every block");
	say(out, u, "/* What a block holds where: a hash of every tensor's path, kind, type, row and place, and for a training\n"
	            " * block of every counter's and setting's.  Programs that differ only in what they compute share blocks. */\n"
	            "#define $_PARAMS_ID UINT64_C(0x%016" PRIx64 ")\n", u->embed.params_id);
	if (u->train) say(out, u, "#define $_TRAIN_ID UINT64_C(0x%016" PRIx64 ")\n", u->embed.train_id);
}

static void write_member(Text *out, const Member *m, Type type) {
	text_add(out, "\t%s %s[%lld];   /* %s %s */\n", m->type, m->name, (long long)m->count, m->comment,
	         type_text(out->arena, type));
}

static void write_structs(Text *out, const ObjectUnit *u) {
	const Program *p = u->s->program;
	say(out, u,
	    "\n/* Packed: rows (the last axis) are padded to whole vectors; the table says how.  Read and write tensors by\n"
	    " * $_store_params and $_load_params, or through the table's strides. */\n"
	    "typedef struct $_params {\n\tNNC_ALIGNED nnc_head head;   /* $_PARAMS_ID, $_ABI, $_PARAMS_BYTES */\n");
	for (int i = 0; i < p->persistent.length; i++)
		if (p->persistent.data[i].kind != INPUT_SLOT) write_member(out, &u->members.data[i], p->persistent.data[i].type);
	say(out, u, "} $_params;\n");
	if (u->train) {
		say(out, u, "\ntypedef struct $_train {\n\t$_params params;\n");
		for (int i = 0; i < p->persistent.length; i++)
			if (p->persistent.data[i].kind == INPUT_SLOT)
				write_member(out, &u->members.data[i], p->persistent.data[i].type);
		for (int i = 0; i < u->fields.length; i++)
			say(out, u, "\t%s %s;   /* %s */\n", u->fields.data[i].type, u->fields.data[i].name, u->fields.data[i].comment);
		say(out, u, "} $_train;\n");
	}
	say(out, u,
	    "\n/* Scratch for any function here; other memory, aligned and of the size that the function names, does as well. */\n"
	    "typedef struct $_scratch { NNC_ALIGNED unsigned char bytes[%zu]; } $_scratch;\n",
	    most_scratch(&u->made));
}

static void write_table(Text *out, const ObjectUnit *u) {
	say(out, u,
	    "\n/* Every tensor by path. */\ntypedef struct $_param_info {\n"
	    "\tchar path[%d];      /* \"model/dense.0/w\"; the optimiser's: \"model/dense.0/w#m\" */\n"
	    "\tint32_t kind;       /* 0: parameter, 1: state of a model, 2: the optimiser's */\n"
	    "\tint32_t dtype;      /*",
	    u->path_bytes);
	for (int d = 0; d < DTYPE_COUNT; d++) say(out, u, "%s %d: %s", d ? "," : "", d, dtype_info[d].text);
	say(out, u,
	    " */\n\tint32_t element;    /* bytes of an element */\n"
	    "\tint32_t rank;\n"
	    "\tint64_t dim[%d];\n"
	    "\tint64_t stride[%d];  /* elements from one index to the next, in the packed block */\n"
	    "\tuint64_t offset;    /* bytes from the start of the block */\n"
	    "\tuint64_t bytes;     /* padding included */\n"
	    "} $_param_info;\n",
	    MAX_RANK, MAX_RANK);
}

static void write_checks(Text *out, const ObjectUnit *u) {
	say(out, u, "\n/* The compiler must lay the blocks out as the object expects. */\n");
	say(out, u, "typedef char $_check[sizeof($_params) == %zu && sizeof(nnc_head) == 64", u->embed.params_bytes);
	if (u->train) say(out, u, " && sizeof($_train) == %zu", u->embed.train_bytes);
	for (int i = 0; u->train && i < u->fields.length; i++)
		say(out, u, "\n\t&& offsetof($_train, %s) == %zu", u->fields.data[i].name, u->fields.data[i].offset);
	say(out, u, "\n\t&& sizeof($_param_info) == %d ? 1 : -1];\n", u->path_bytes + 16 + 16 * MAX_RANK + 16);
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
	say(out, u, "\n/* %s", s->title);
	if (!m->single) say(out, u, ", on whole arrays.\n");
	else if (m->batch == 1) say(out, u, ", on n samples, one by one.\n");
	else
		say(out, u, ", on n samples: blocks of %lld, then one by one (the same bits either way where samples do not mix).\n",
		    (long long)m->batch);
	write_argument_docs(out, s->inputs, m->ninputs, "in ");
	write_argument_docs(out, s->outputs, m->noutputs, "out");
	if (m->single) say(out, u, " *   n: samples; with 0 nothing is done, and the arrays may be NULL\n");
	say(out, u, " *   scratch: $_SCRATCH_INFER bytes\n"
	            " * Inputs may hold any floats: what a nan reaches is nan. */\nint %s(const $_params *p", m->symbol);
	write_arguments(out, s->inputs, m->ninputs, true);
	write_arguments(out, s->outputs, m->noutputs, false);
	say(out, u, "%s, void *scratch);\n", m->single ? ", size_t n" : "");
}

static void write_step(Text *out, const ObjectUnit *u, int number) {
	const EmbedStep *m = &u->embed.steps[number];
	const Signature *s = &u->steps[number];
	say(out, u, "\n/* %s: one step on one batch.", s->title);
	if (m->accumulate > 1)
		say(out, u, "  One call in %lld changes the parameters, by the average of as many gradients.", (long long)m->accumulate);
	say(out, u, "\n");
	write_argument_docs(out, s->inputs, m->ninputs, "in ");
	say(out, u, " *   out loss: one number, the loss before the update (of several updates, the sum of theirs); may be NULL\n"
	            " *   scratch: $_SCRATCH_TRAIN bytes\n"
	            " * Every float of the inputs is a number: nothing is learnt from nans and infinities. */\nint %s($_train *t",
	    m->symbol);
	write_arguments(out, s->inputs, m->ninputs, true);
	DType dtype = loss_dtype(m->fn);
	say(out, u, ", %s *loss, void *scratch);\n", c_type(dtype));
	if (!m->workers_symbol) return;
	say(out, u, "\n/* The same step, with the same bits, by %s: each calls it with the same arguments but its own\n"
	            " * number, worker, from 0 on, and returns when all is done.  Of a refused call all return the same.\n"
	            " *   scratch: $_SCRATCH_WORKERS bytes, one for all\n"
	            " *   barrier: returns when all of them have called it, and what each wrote before, all see after%s\n"
	            " *   context: handed to it, with the worker's number */\nint %s($_train *t",
	    arena_count(out->arena, m->workers, "thread"), m->workers > 1 ? "" : "; may be NULL", m->workers_symbol);
	write_arguments(out, s->inputs, m->ninputs, true);
	say(out, u, ", %s *loss, void *scratch, int worker,\n\tvoid (*barrier)(void *context, int64_t worker), void *context);\n",
	    c_type(dtype));
}

static void write_functions(Text *out, const ObjectUnit *u) {
	say(out, u, "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
	say(out, u, "extern const $_param_info $_param_table[%d];\n", MAX(u->table_count, 1));
	if (u->s->options->weights)
		say(out, u, "\n/* The weights given to nnc compile, read-only: pass &$_pretrained to a model, or copy it. */\n"
		            "extern const $_params $_pretrained;\n");
	for (int i = 0; i < u->embed.nmodels; i++) write_model(out, u, i);
	if (u->train)
		say(out, u,
		    "\n/* Fills the whole block: initial parameters by the seed, as nnc train has them, counters and settings. */\n"
		    "int $_init($_train *t, uint64_t seed);\n");
	for (int i = 0; i < u->embed.nsteps; i++) write_step(out, u, i);
	say(out, u, "\n#ifdef __cplusplus\n}\n#endif\n");
}

/* Is a block this object's? */
static void write_block_checks(Text *out, const ObjectUnit *u) {
	say(out, u, "\n/* $_OK, or why functions would refuse the block, one read from a file, say. */\n"
	            "static inline int $_check_params(const $_params *p) {\n"
	            "\tif (!p) return $_NULL_POINTER;\n"
	            "\tif ((uintptr_t)p %% $_ALIGN) return $_MISALIGNED;\n"
	            "\treturn p->head.id == $_PARAMS_ID && p->head.abi == $_ABI ? $_OK : $_BAD_BLOCK;\n}\n");
	if (!u->train) return;
	say(out, u, "static inline int $_check_train(const $_train *t) {\n"
	            "\tint status = t ? $_check_params(&t->params) : $_NULL_POINTER;\n"
	            "\treturn status ? status : t->%s == $_TRAIN_ID ? $_OK : $_BAD_BLOCK;\n}\n",
	    u->fields.data[0].name);
}

/* A function that copies a tensor into a block (load) or out of it. */
static void write_copy(Text *out, const ObjectUnit *u, bool load, bool whole) {
	const char *suffix = whole ? "" : "_params", *block = whole ? "train" : "params";
	if (load) say(out, u, "static inline int $_load%s($_%s *block, const char *path, const void *dense) {\n", suffix, block);
	else say(out, u, "static inline int $_store%s(const $_%s *block, const char *path, void *dense) {\n", suffix, block);
	say(out, u, "\tint i = path ? $_find(path) : $_NULL_POINTER, status = $_check_%s(block);\n", block);
	if (load && !whole)
		say(out, u, "\tint empty = status == $_BAD_BLOCK && !block->head.id && !block->head.abi;\n"
		            "\tif (empty) status = $_OK;\n");
	say(out, u, "\tif (i >= 0 && status) return status;\n");
	if (!whole && u->train) say(out, u, "\tif (i >= 0 && $_param_table[i].kind == 2) return $_BAD_PATH;\n");
	say(out, u, "\tif (i < 0) return i;\n\tif (!dense) return $_NULL_POINTER;\n");
	if (load && !whole)
		say(out, u, "\tif (empty) {\n\t\tblock->head.id = $_PARAMS_ID;\n\t\tblock->head.abi = $_ABI;\n"
		            "\t\tblock->head.bytes = $_PARAMS_BYTES;\n\t}\n");
	say(out, u, "\tconst $_param_info *info = &$_param_table[i];\n"
	            "\tsize_t row, stride, rows = $_rows(info, &row, &stride);\n");
	if (load)
		say(out, u, "\tunsigned char *packed = (unsigned char *)block + info->offset;\n"
		            "\tnnc_pack(packed, stride, (size_t)info->bytes, (const unsigned char *)dense, rows, row);\n");
	else
		say(out, u, "\tconst unsigned char *packed = (const unsigned char *)block + info->offset;\n"
		            "\tnnc_unpack(packed, stride, (unsigned char *)dense, rows, row);\n");
	say(out, u, "\treturn $_OK;\n}\n");
}

static void write_inlines(Text *out, const ObjectUnit *u) {
	say(out, u, "\n/* The number of the tensor of that path in the table, or $_BAD_PATH. */\n"
	            "static inline int $_find(const char *path) {\n\tint i;\n"
	            "\tfor (i = 0; i < $_PARAM_COUNT; i++)\n"
	            "\t\tif (nnc_same_text(path, $_param_table[i].path)) return i;\n"
	            "\treturn $_BAD_PATH;\n}\n\n");
	say(out, u, "/* How many rows a tensor has; bytes of a dense row, and from one packed row to the next. */\n"
	            "static inline size_t $_rows(const $_param_info *info, size_t *row, size_t *stride) {\n"
	            "\tsize_t rows = 1;\n\tint d;\n"
	            "\t*row = (size_t)info->element * (size_t)(info->rank ? info->dim[info->rank - 1] : 1);\n"
	            "\t*stride = info->rank > 1 ? (size_t)info->element * (size_t)info->stride[info->rank - 2] : *row;\n"
	            "\tfor (d = 0; d + 1 < info->rank; d++) rows *= (size_t)info->dim[d];\n\treturn rows;\n}\n\n");
	write_block_checks(out, u);
	say(out, u, "\n/* Copies a dense row-major tensor, in the element type of the table, into the block or out of it. */\n");
	if (u->train) {
		write_copy(out, u, true, true);
		write_copy(out, u, false, true);
		say(out, u, "\n/* The same for parameters and states alone. */\n");
	}
	say(out, u, "/* A block of zero bytes is empty: the first tensor that is loaded makes it a valid one. */\n");
	write_copy(out, u, true, false);
	write_copy(out, u, false, false);
}

void write_header(Text *out, const ObjectUnit *u) {
	write_head(out, u);
	text_add(out, "%s\n", core_packed_text);
	write_numbers(out, u);
	write_structs(out, u);
	write_table(out, u);
	write_checks(out, u);
	write_functions(out, u);
	write_inlines(out, u);
	text_add(out, "\n#endif\n");
}
