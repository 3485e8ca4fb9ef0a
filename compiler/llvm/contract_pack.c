/* contract_pack.c: packers.  In: an operand as it lies in memory.  Out: B as panels whose rows (one per k) are adjacent, A as
 * tiles small enough for the nearest cache.  Columns past the last of B are undefined in a panel; nothing past them is read. */
#include "contract_parts.h"
#include "lower.h"

/* ---- elements ---- */

bool contract_is_short(const ContractOperand *x) { return x->through != DTYPE_F32 && !x->wide_within; }

LLVMTypeRef contract_element(Emit *e, const ContractOperand *x) {
	return contract_is_short(x) ? lower_memory_type(e, x->dtype) : e->f32;
}

static Value as_float(Emit *e, Value raw, DType dtype, DType through) {
	return lower_cast(e, lower_cast(e, lower_from_memory(e, raw, dtype), dtype, through), through, DTYPE_F32);
}

Value contract_load(Emit *e, const ContractOperand *x, int lanes, Value at, int n) {
	Value raw = emit_load_partial(e, contract_element(e, x), lanes, at, n);
	return contract_is_short(x) ? as_float(e, raw, x->dtype, x->through) : raw;
}

/* The body of void (to, from, n): rows of n elements, made floats, the next one x->row after in memory and to_row after in `to`.
 */
static void copy_rows(Emit *e, const ContractOperand *x, int rows, int64_t to_row, int lanes) {
	LLVMTypeRef element = contract_element(e, x);
	Value n = LLVMGetParam(e->function, 2);
	Value whole = emit_mul(e, LLVMBuildSDiv(e->builder, n, emit_index(e, lanes), ""), emit_index(e, lanes));
	for (int part = 0; part < (lanes > 1 ? 2 : 1); part++) {
		int width = part ? 1 : lanes;
		EmitLoop loop = emit_loop_begin(e, part ? whole : emit_index(e, 0), part ? n : whole, width);
		Value to = emit_at(e, LLVMGetParam(e->function, 0), e->f32, loop.i),
		      from = emit_at(e, LLVMGetParam(e->function, 1), element, loop.i);
		for (int r = 0; r < rows; r++) {
			Value v = contract_load(e, x, width, emit_at_constant(e, from, element, r * x->row), width);
			emit_store(e, v, emit_at_constant(e, to, e->f32, r * to_row));
		}
		emit_loop_end(e, &loop);
	}
}

Value contract_widener(Emit *e, DType dtype, DType through) {
	const char *name = arena_printf(e->arena, "widen_%s_%s", dtype_info[dtype].text, dtype_info[through].text);
	Value function = LLVMGetNamedFunction(e->module, name);
	if (function) return function;
	EmitPlace place = emit_pause(e);
	function = emit_function(e, name, e->void_type, 3, (LLVMTypeRef[]){e->ptr, e->ptr, e->index}, true);
	ContractOperand x = {.dtype = dtype, .through = through};
	copy_rows(e, &x, 1, 0, MAX(1, e->target->lanes));
	LLVMBuildRetVoid(e->builder);
	emit_resume(e, place);
	return function;
}

/* What the names of packers say of elements. */
static const char *element_name(Emit *e, const ContractOperand *x) {
	if (!contract_is_short(x)) return "";
	return arena_printf(e->arena, "_%s_%s", dtype_info[x->dtype].text, dtype_info[x->through].text);
}

/* ---- B ---- */

int64_t contract_b_column(const Contract *c, const ContractPlan *plan) {
	return c->b.fill ? (plan->k_block + 15) / 16 * 16 + 16 : c->b.column;
}

static Value shuffle(Emit *e, Value a, Value b, int lanes, const int *pick) {
	Value v[64];
	for (int i = 0; i < lanes; i++) v[i] = emit_i32(e, pick[i]);
	return LLVMBuildShuffleVector(e->builder, a, b, LLVMConstVector(v, (unsigned)lanes), "");
}

/* Four k of `lanes` columns: q[c] holds the columns c, c + 4, c + 8, ... , four k of each; turned within each quarter. */
static void turn_quarters(Emit *e, Value q[4], int lanes) {
	int low[64], high[64], first[64], second[64];
	for (int i = 0; i < lanes; i++) {
		int quarter = i / 4 * 4, within = i % 4;
		low[i] = quarter + within / 2 + (within & 1 ? lanes : 0);
		high[i] = low[i] + 2;
		first[i] = quarter + (within & 1) + (within & 2 ? lanes : 0);
		second[i] = first[i] + 2;
	}
	Value a = shuffle(e, q[0], q[1], lanes, low), b = shuffle(e, q[2], q[3], lanes, low);
	Value c = shuffle(e, q[0], q[1], lanes, high), d = shuffle(e, q[2], q[3], lanes, high);
	q[0] = shuffle(e, a, b, lanes, first);
	q[1] = shuffle(e, a, b, lanes, second);
	q[2] = shuffle(e, c, d, lanes, first);
	q[3] = shuffle(e, c, d, lanes, second);
}

/* Columns c, c + 4, ... of a strip as one vector: four k of each.  at: where each column's are. */
static Value gather_quarters(Emit *e, const ContractOperand *x, const Value *at, int c, int lanes) {
	Value part[16];
	int count = lanes / 4, width = 4, both[64];
	for (int i = 0; i < 64; i++) both[i] = i;
	for (int i = 0; i < count; i++) part[i] = emit_load(e, contract_element(e, x), 4, at[c + 4 * i]);
	for (; count > 1; count /= 2, width *= 2)
		for (int i = 0; i < count / 2; i++) part[i] = shuffle(e, part[2 * i], part[2 * i + 1], 2 * width, both);
	return contract_is_short(x) ? as_float(e, part[0], x->dtype, x->through) : part[0];
}

/* One element at a time, any strides. */
static void pack_singly(Emit *e, const Contract *c, const ContractPlan *plan) {
	int64_t row = c->b.fill ? 1 : c->b.row;
	LLVMTypeRef element = contract_element(e, &c->b);
	EmitLoop outer = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(e->function, 3), 1);
	Value to = emit_at(e, LLVMGetParam(e->function, 0), e->f32, outer.i);
	Value from =
	    emit_at(e, LLVMGetParam(e->function, 1), element, emit_mul(e, outer.i, emit_index(e, contract_b_column(c, plan))));
	EmitLoop inner = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(e->function, 2), 1);
	Value x = contract_load(e, &c->b, 1, emit_at(e, from, element, emit_mul(e, inner.i, emit_index(e, row))), 1);
	emit_store(e, x, emit_at(e, to, e->f32, emit_mul(e, inner.i, emit_index(e, plan->panel_columns))));
	emit_loop_end(e, &inner);
	emit_loop_end(e, &outer);
}

/* A strip of `lanes` columns, four k at a time, the last four overlapping those before them.  columns: of a strip that is not
 * whole (its last column stands for those past it), or NULL. */
static void pack_strip(Emit *e, const ContractOperand *x, const ContractPlan *plan, int64_t step, Value source, Value out,
                       Value columns) {
	LLVMTypeRef element = contract_element(e, x);
	Value k = LLVMGetParam(e->function, 2), offset[64], at[64], q[4];
	for (int i = 0; i < plan->lanes && columns; i++)
		offset[i] = emit_mul(e, emit_min(e, emit_index(e, i), emit_sub(e, columns, emit_index(e, 1))), emit_index(e, step));
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), k, 4);
	Value at_k = emit_min(e, loop.i, emit_sub(e, k, emit_index(e, 4)));
	Value from = emit_at(e, source, element, at_k);
	Value to = emit_at(e, out, e->f32, emit_mul(e, at_k, emit_index(e, plan->panel_columns)));
	for (int i = 0; i < plan->lanes; i++)
		at[i] = columns ? emit_at(e, from, element, offset[i]) : emit_at_constant(e, from, element, i * step);
	for (int i = 0; i < 4; i++) q[i] = gather_quarters(e, x, at, i, plan->lanes);
	turn_quarters(e, q, plan->lanes);
	for (int i = 0; i < 4; i++) emit_store(e, q[i], emit_at_constant(e, to, e->f32, i * plan->panel_columns));
	emit_loop_end(e, &loop);
}

/* May a panel end with a strip that is not whole? */
static bool has_part(const Contract *c, const ContractPlan *plan) { return c->b.fill || c->n % plan->lanes; }

/* b.row == 1: k runs along memory. */
static void pack_transposed(Emit *e, const Contract *c, const ContractPlan *plan) {
	Value to = LLVMGetParam(e->function, 0), from = LLVMGetParam(e->function, 1);
	Value k = LLVMGetParam(e->function, 2), columns = LLVMGetParam(e->function, 3), zero = emit_index(e, 0);
	int64_t step = contract_b_column(c, plan);
	LLVMTypeRef element = contract_element(e, &c->b);
	if (plan->lanes < 4) {
		pack_singly(e, c, plan);
		return;
	}
	EmitIf branch = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntSLT, k, emit_index(e, 4), ""));
	pack_singly(e, c, plan);
	emit_else(e, &branch);
	Value whole = LLVMBuildAnd(e->builder, columns, emit_index(e, -plan->lanes), "");
	EmitLoop strip = emit_loop_begin(e, zero, whole, plan->lanes);
	Value source = emit_at(e, from, element, emit_mul(e, strip.i, emit_index(e, step)));
	pack_strip(e, &c->b, plan, step, source, emit_at(e, to, e->f32, strip.i), NULL);
	emit_loop_end(e, &strip);
	if (has_part(c, plan)) {
		EmitIf rest = emit_if(e, LLVMBuildICmp(e->builder, LLVMIntSLT, whole, columns, ""));
		source = emit_at(e, from, element, emit_mul(e, whole, emit_index(e, step)));
		pack_strip(e, &c->b, plan, step, source, emit_at(e, to, e->f32, whole), emit_sub(e, columns, whole));
		emit_end_if(e, &rest);
	}
	emit_end_if(e, &branch);
}

/* b.column == 1: rows of the panel are copied. */
static void pack_rows(Emit *e, const Contract *c, const ContractPlan *plan, PanelKind kind) {
	PanelShape shape = contract_panel_shape(c, plan, kind);
	int lanes = plan->lanes, tail = kind == PANEL_LAST ? (int)(c->n % lanes) : 0;
	if (tail && c->b.pad >= lanes - tail) tail = 0;
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(e->function, 2), 1);
	Value to = emit_at(e, LLVMGetParam(e->function, 0), e->f32, emit_mul(e, loop.i, emit_index(e, plan->panel_columns)));
	LLVMTypeRef element = contract_element(e, &c->b);
	Value from = emit_at(e, LLVMGetParam(e->function, 1), element, emit_mul(e, loop.i, emit_index(e, c->b.row)));
	for (int v = 0; v < shape.vectors; v++) {
		int n = v == shape.vectors - 1 && tail ? tail : lanes;
		Value x = contract_load(e, &c->b, lanes, emit_at_constant(e, from, element, (int64_t)v * lanes), n);
		emit_store(e, x, emit_at_constant(e, to, e->f32, (int64_t)v * lanes));
	}
	emit_loop_end(e, &loop);
}

Value contract_pack_b(Emit *e, const Contract *c, const ContractPlan *plan, PanelKind kind) {
	bool rows = !c->b.fill && c->b.column == 1, transposed = c->b.fill || (!rows && c->b.row == 1);
	int tail = rows && kind == PANEL_LAST && c->b.pad < plan->lanes ? (int)(c->n % plan->lanes) : 0;
	if (transposed) tail = has_part(c, plan);
	int vectors = rows ? contract_panel_shape(c, plan, kind).vectors : 0;
	const char *name =
	    arena_printf(e->arena, "pack_b%s_%lldx%lld_%d_%d_%d_%lld", element_name(e, &c->b), (long long)(c->b.fill ? 1 : c->b.row),
	                 (long long)contract_b_column(c, plan), plan->lanes, vectors, tail, (long long)plan->panel_columns);
	Value function = LLVMGetNamedFunction(e->module, name);
	if (function) return function;
	EmitPlace place = emit_pause(e);
	function = emit_function(e, name, e->void_type, 4, (LLVMTypeRef[]){e->ptr, e->ptr, e->index, e->index}, true);
	if (rows) pack_rows(e, c, plan, kind);
	else if (transposed) pack_transposed(e, c, plan);
	else pack_singly(e, c, plan);
	LLVMBuildRetVoid(e->builder);
	emit_resume(e, place);
	return function;
}

/* ---- A ---- */

enum { PACK_TURNS = 16 };   /* how many k early the lines of A are asked for: a stride the machine does not foresee */

bool contract_a_down(const Contract *c) { return c->a.fill ? c->a.down : c->a.column != 1; }

/* Rows of a packed tile: k_block and a little more, so that rows do not fall on the same lines of the cache. */
int64_t contract_a_row(const Contract *c, const ContractPlan *plan) {
	if (!plan->pack_a) return c->a.row;
	return contract_a_down(c) ? 1 : (plan->k_block + 15) / 16 * 16 + 16;
}

int64_t contract_a_step(const Contract *c, const ContractPlan *plan) {
	if (!plan->pack_a) return c->a.column;
	return contract_a_down(c) ? (plan->height + plan->lanes - 1) / plan->lanes * plan->lanes : 1;
}

/* m is the inner index: each k has `rows` elements, a.row apart in memory, adjacent in the tile. */
static void pack_a_down(Emit *e, const Contract *c, const ContractPlan *plan, int rows) {
	EmitLoop loop = emit_loop_begin(e, emit_index(e, 0), LLVMGetParam(e->function, 2), 1);
	Value to = emit_at(e, LLVMGetParam(e->function, 0), e->f32, emit_mul(e, loop.i, emit_index(e, contract_a_step(c, plan))));
	LLVMTypeRef element = contract_element(e, &c->a);
	Value from = emit_at(e, LLVMGetParam(e->function, 1), element, emit_mul(e, loop.i, emit_index(e, c->a.column)));
	int lanes = c->a.row == 1 ? plan->lanes : 1;
	emit_prefetch(e, emit_at_constant(e, from, element, PACK_TURNS * c->a.column), 3);
	if (c->a.row == 1 && rows > 1) emit_prefetch(e, emit_at_constant(e, from, element, PACK_TURNS * c->a.column + rows - 1), 3);
	for (int r = 0; r < rows; r += lanes) {
		Value x = contract_load(e, &c->a, lanes, emit_at_constant(e, from, element, r * c->a.row), MIN(lanes, rows - r));
		emit_store(e, x, emit_at_constant(e, to, e->f32, r));
	}
	emit_loop_end(e, &loop);
}

Value contract_pack_a(Emit *e, const Contract *c, const ContractPlan *plan, int rows) {
	const char *name = arena_printf(e->arena, "pack_a%s_%d_%lldx%lld_%d_%lldx%lld", element_name(e, &c->a), rows,
	                                (long long)c->a.row, (long long)c->a.column, plan->lanes, (long long)contract_a_row(c, plan),
	                                (long long)contract_a_step(c, plan));
	Value function = LLVMGetNamedFunction(e->module, name);
	if (function) return function;
	EmitPlace place = emit_pause(e);
	function = emit_function(e, name, e->void_type, 3, (LLVMTypeRef[]){e->ptr, e->ptr, e->index}, true);
	if (contract_a_down(c)) pack_a_down(e, c, plan, rows);
	else copy_rows(e, &c->a, rows, contract_a_row(c, plan), plan->lanes);   /* k is adjacent */
	LLVMBuildRetVoid(e->builder);
	emit_resume(e, place);
	return function;
}

/* ---- fills from an element function ---- */

void contract_fill_elements(Emit *e, void *context, const ContractBlock *block) {
	const ContractElements *x = context;
	Value outer_count = x->down ? block->columns : block->rows, inner_count = x->down ? block->rows : block->columns;
	int lanes = MAX(1, e->target->lanes);
	EmitLoop outer = emit_loop_begin(e, emit_index(e, 0), outer_count, 1);
	Value to = emit_at(e, block->to, e->f32, emit_mul(e, outer.i, emit_index(e, block->stride)));
	Value whole = emit_mul(e, LLVMBuildSDiv(e->builder, inner_count, emit_index(e, lanes), ""), emit_index(e, lanes));
	for (int part = 0; part < (lanes > 1 ? 2 : 1); part++) {
		EmitLoop inner = emit_loop_begin(e, part ? whole : emit_index(e, 0), part ? inner_count : whole, part ? 1 : lanes);
		Value row = emit_add(e, block->row, x->down ? inner.i : outer.i);
		Value column = emit_add(e, block->column, x->down ? outer.i : inner.i);
		emit_store(e, x->element(e, x->context, row, column, part ? 1 : lanes), emit_at(e, to, e->f32, inner.i));
		emit_loop_end(e, &inner);
	}
	emit_loop_end(e, &outer);
}
