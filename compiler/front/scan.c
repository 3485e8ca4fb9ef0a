/* scan.c: the loop that runs with the program.
 *
 * In: `scan t < T carry h = .. { .. }`.  Out: the carries' last values and what was emitted, bound in the scope around it.
 *
 * The body is elaborated once, among the values around it: the index, the carries and the states it reads are slots, leaves that
 * stand for what a step gets.  Then all that depends on slots becomes the body of a Scan (scan_body.c); what does not depend on
 * them is computed before the loop, wherever it is written.
 * Guaranteed: a carry keeps dtype, shape and tag; a step assigns nothing outside the body but carries and states. */
#include <string.h>

#include "session.h"

/* ---- what stands for a step ---- */

static Val *new_slot(Elab *e, Type type) {
	int64_t id;
	return ir_cotangent(fn_of(e), type, &id);
}

void scan_enter_state(Elab *e, int index) {
	Val **now = &e->build->current.data[index];
	VEC(Scan *) around = {0};
	for (Scan *s = e->build->scan; s; s = s->outer) vec_push(e->arena, &around, s);
	for (int i = around.length - 1; i >= 0; i--) {
		Scan *s = around.data[i];
		bool known = false;
		for (int k = 0; k < s->states.length; k++) known |= s->numbers.data[k] == index;
		if (known) continue;
		ScanSlot slot = {e->program->persistent.data[index].path, new_slot(e, (*now)->type), *now, NULL};
		vec_push(e->arena, &s->states, slot);
		vec_push(e->arena, &s->numbers, index);
		*now = slot.slot;
	}
}

Val *scan_step(Elab *e, Span span) {
	Fn *f = fn_of(e);
	Val *step = NULL;
	int64_t count = 1, around = 1;
	for (const Scan *s = e->build->scan; s; s = s->outer) {
		int64_t n = dim_value(e, s->index->extent);
		around = count;
		if (__builtin_mul_overflow(count, n, &count) || count > INT32_MAX) {
			elab_error(e, span, "random numbers in scans of more than %d steps together", INT32_MAX);
			return NULL;
		}
		Val *own = s->index->step;
		if (around > 1) own = ir_Mul(f, own, ir_const(f, DTYPE_I32, (double)around));
		step = step ? ir_Add(f, own, step) : own;
	}
	return step ? step : ir_const(f, DTYPE_I32, 0);
}

/* ---- assignments ---- */

static bool reaches(const Scope *from, const Scope *to, const Binding *b) {
	for (; from; from = from->parent) {
		if (scope_holds(from, b)) return true;
		if (from == to) return false;
	}
	return false;
}

bool scan_lets_assign(Elab *e, Scope *scope, const Stmt *stmt, const Binding *b) {
	Scan *s = e->build->scan;
	if (!s || s->activation != e->activation || reaches(scope, s->body, b)) return true;
	for (int i = 0; i < s->carries.length; i++)
		if (s->carries.data[i].binding == b) return s->carries.data[i].at = stmt->value->span, true;
	if (b->value.kind == VALUE_POISON && b->persistent < 0) return false;
	elab_error(e, stmt->name.span, "`%s` is assigned inside `scan`, but it is no carry of it", stmt->name.text);
	elab_note(e, b->span, "declared here");
	elab_help(e, "what goes from step to step is a carry: `scan %s < .. carry %s = %s { .. }`", s->stmt->name.text,
	          stmt->name.text, stmt->name.text);
	return false;
}

static bool assigns(const Block *b, const char *name) {
	for (int i = 0; i < b->length; i++) {
		const Stmt *s = b->data[i];
		if (s->kind == STMT_ERROR || (s->kind == STMT_ASSIGN && s->name.text == name)) return true;
		for (int k = 0; s->kind == STMT_SCAN && k < s->carries.length; k++)
			if (s->carries.data[k].name.text == name) return true;
		if (assigns(&s->body, name) || assigns(&s->otherwise, name)) return true;
	}
	return false;
}

/* ---- emit ---- */

bool help_emitted(Elab *e, const char *name) {
	for (const Scan *s = e->build->scan; s; s = s->outer) {
		VEC(const Block *) blocks = {0};
		vec_push(e->arena, &blocks, &s->stmt->body);
		for (int i = 0; i < blocks.length; i++)
			for (int k = 0; k < blocks.data[i]->length; k++) {
				const Stmt *x = blocks.data[i]->data[k];
				vec_push(e->arena, &blocks, &x->body);
				vec_push(e->arena, &blocks, &x->otherwise);
				if (x->kind != STMT_EMIT || x->name.text != name) continue;
				elab_help(e, "`%s` is known after the scan only: carry what the next step needs of it", name);
				return true;
			}
	}
	return false;
}

static Scan *scan_of_index(const Scan *s, const Index *index) {
	for (const Scan *first = s; s && s->activation == first->activation; s = s->outer)
		if (!index->dots && s->index->name == index->name.text) return (Scan *)s;
	return NULL;
}

/* Where the index of `s` stands among the axes of what it stacks: the dims of a step, and the indices of scans inside s. */
static int place_of(const Scan *innermost, const Scan *s, const IndexList *indices, int rank) {
	int place = 0, own = 0;
	for (int i = 0; i < indices->length; i++) own += !scan_of_index(innermost, &indices->data[i]);
	for (int i = 0; i < indices->length; i++) {
		const Scan *of = scan_of_index(innermost, &indices->data[i]);
		if (of == s) return place;
		bool inside = false;
		for (const Scan *x = innermost; of && x != s; x = x->outer) inside |= x == of;
		if (!of) place += indices->data[i].dots ? rank - own + 1 : 1;
		else place += inside;
	}
	return -1;
}

static bool names_steps(Elab *e, const Scan *innermost, const Stmt *stmt) {
	int levels = 0;
	for (int i = 0; i < stmt->indices.length; i++) {
		const Index *index = &stmt->indices.data[i];
		const Scan *of = scan_of_index(innermost, index);
		for (int k = 0; of && k < i; k++)
			if (scan_of_index(innermost, &stmt->indices.data[k]) == of)
				return elab_error(e, index->span, "`%s` stands twice in this `emit`", index->name.text), false;
		if (of && index->limit)
			return elab_error(e, index->span, "the range of `%s` is that of its `scan`", index->name.text), false;
		levels += of != NULL;
	}
	for (const Scan *s = innermost; levels > 0 || s == innermost; s = s->outer, levels--)
		if (place_of(innermost, s, &stmt->indices, 0) < 0) {
			elab_error(e, stmt->name.span, "`emit %s[..]` does not say where `%s` stands", stmt->name.text, s->index->name);
			elab_note(e, s->stmt->name.span, "the index of the steps");
			elab_help(e, "it becomes a dim of `%s`: `emit %s[%s, ..] = ...`", stmt->name.text, stmt->name.text, s->index->name);
			return false;
		}
	return true;
}

static bool is_free(Elab *e, const Scan *s, Name name) {
	for (int i = 0; i < s->carries.length; i++)
		if (s->carries.data[i].name.text == name.text) {
			elab_error(e, name.span, "`%s` is a carry of this scan, and cannot be emitted by it", name.text);
			elab_note(e, s->carries.data[i].name.span, "the carry");
			return false;
		}
	for (int i = 0; i < s->emits.length; i++)
		if (s->emits.data[i].name.text == name.text) {
			elab_error(e, name.span, "`%s` is emitted twice in one step", name.text);
			elab_note(e, s->emits.data[i].name.span, "here first");
			return false;
		}
	return true;
}

void exec_emit(Elab *e, Scope *scope, const Stmt *stmt) {
	Scan *s = e->build->scan;
	if (!s || s->activation != e->activation) {
		elab_error(e, stmt->name.span, "`emit` stands only inside `scan`");
		return;
	}
	ScanEmit emit = {.name = stmt->name, .value = value_poison(), .indices = &stmt->indices};
	bool fine = is_free(e, s, stmt->name) && names_steps(e, s, stmt);
	if (fine) {
		Stmt *step = NEW(e->arena, Stmt);
		*step = *stmt;
		step->indices = (IndexList){0};
		for (int i = 0; i < stmt->indices.length; i++)
			if (!scan_of_index(s, &stmt->indices.data[i])) vec_push(e->arena, &step->indices, stmt->indices.data[i]);
		emit.value = elab_indexed_let(e, scope, step);
	}
	vec_push(e->arena, &s->emits, emit);
}

/* ---- carries ---- */

/* A number on its own is f32, as it is in an indexed definition. */
static Value first_value(Elab *e, Scope *scope, const Carry *c) {
	e->session->naming = c->name.text;
	Value v = eval_expr(e, scope, c->value);
	bool adapts = value_static(v) && v.kind != VALUE_BOOL;
	if (value_static(v)) v = to_tensor(e, v, v.kind == VALUE_BOOL ? DTYPE_BOOL : DTYPE_F32, c->value->span);
	if (v.kind == VALUE_INDEX) v = elab_index_number(e, v, c->value->span);
	if (!value_ok(v)) return v;
	if (v.kind != VALUE_TENSOR) {
		elab_error(e, c->value->span, "a carry is a tensor, not %s", value_text(e, v));
		help_call(e, v);
		return value_poison();
	}
	v.as.tensor.weak |= adapts;
	return v;
}

static void collect_labels(const Value *v, IndexVar **labels, int *count) {
	if (v->kind == VALUE_LIST || v->kind == VALUE_TUPLE)
		for (int i = 0; i < v->as.list.count; i++) collect_labels(&v->as.list.items[i], labels, count);
	if (v->kind != VALUE_TENSOR) return;
	for (int i = 0; i < v->as.tensor.nlabels; i++) {
		IndexVar *x = v->as.tensor.labels[i];
		int at = 0;
		while (at < *count && labels[at]->id < x->id) at++;
		if ((at < *count && labels[at] == x) || *count == MAX_RANK) continue;
		memmove(labels + at + 1, labels + at, sizeof *labels * (size_t)(*count - at));
		labels[at] = x;
		++*count;
	}
}

/* Inside an indexed definition a carry is one per index of whatever a step can see. */
static Value per_index(Elab *e, Scope *scope, Value v, Span span) {
	IndexVar *labels[MAX_RANK + 1];
	int count = 0, rank = v.as.tensor.rank;
	collect_labels(&v, labels, &count);
	for (const Scope *x = scope; x; x = x->parent)
		for (int i = 0; i < x->bindings.length; i++)
			if (x->bindings.data[i]->persistent < 0) collect_labels(&x->bindings.data[i]->value, labels, &count);
	if (count == v.as.tensor.nlabels) return v;
	if (count + rank > MAX_RANK) return elab_error(e, span, "more than %d dims and indices in one value", MAX_RANK);
	Val *wide = broadcast_to(e, &v, count, labels, rank, v.as.tensor.dims);
	Value result = value_like(value_labelled(e, wide, count, labels, rank, v.as.tensor.dims, v.span), v);
	result.as.tensor.weak = v.as.tensor.weak;
	return result;
}

/* The value of a carry in a step, or after the loop. */
static Value carried(Elab *e, const ScanCarry *c, Val *val) {
	const Value *first = &c->first;
	Value v = value_like(value_labelled(e, val, first->as.tensor.nlabels, first->as.tensor.labels, first->as.tensor.rank,
	                                    first->as.tensor.dims, c->name.span), *first);
	v.as.tensor.weak = first->as.tensor.weak;
	return v;
}

static bool named_twice(Elab *e, const Scan *s, Name name) {
	bool twice = name.text == s->stmt->name.text;
	for (int i = 0; i < s->carries.length; i++) twice |= s->carries.data[i].name.text == name.text;
	if (twice) elab_error(e, name.span, "`%s` is named twice in this `scan`", name.text);
	return twice;
}

static void enter_carry(Elab *e, Scan *s, const Carry *c) {
	if (named_twice(e, s, c->name)) return;
	ScanCarry carry = {.name = c->name, .first = first_value(e, s->scope, c), .at = c->name.span};
	if (value_ok(carry.first)) carry.first = per_index(e, s->scope, carry.first, c->value->span);
	if (!assigns(&s->stmt->body, c->name.text)) {
		elab_error(e, c->name.span, "the carry `%s` is never assigned in the body", c->name.text);
		elab_help(e, "`%s = ...` is its value for the next step; `let` declares another name", c->name.text);
		carry.first = value_poison();
	}
	vec_push(e->arena, &s->carries, carry);
}

static void bind_carries(Elab *e, Scan *s) {
	for (int i = 0; i < s->carries.length; i++) {
		ScanCarry *c = &s->carries.data[i];
		if (value_ok(c->first)) c->slot = new_slot(e, c->first.as.tensor.val->type);
		bind_local(e, s->scope, c->name, c->slot ? carried(e, c, c->slot) : value_poison());
		c->binding = scope_find(s->scope, c->name.text);
	}
}

static bool carry_changes(Elab *e, const ScanCarry *c, Value v) {
	elab_error(e, c->at, "the carry `%s` is %s, its next value %s", c->name.text, value_text(e, c->first), value_text(e, v));
	elab_note(e, c->name.span, "a carry keeps the type of its first value");
	if (v.kind == VALUE_TENSOR && value_dtype(&v) != value_dtype(&c->first))
		elab_help(e, "write `as %s` after its first value, or `as %s` here", dtype_info[value_dtype(&v)].text,
		          dtype_info[value_dtype(&c->first)].text);
	return false;
}

/* A first value that adapts (`zeros(..)`, a number) takes the dtype it is used in. */
static bool adapt(Elab *e, ScanCarry *c, const Value *v) {
	DType dtype = value_dtype(v);
	if (!c->first.as.tensor.weak || dtype == value_dtype(&c->first)) return true;
	if (!scan_read_as(fn_of(e), c->slot, dtype)) return false;
	c->first = to_tensor(e, c->first, dtype, c->name.span);
	return value_ok(c->first);
}

/* What the carry is after the step; NULL after an error. */
static Val *next_value(Elab *e, ScanCarry *c) {
	Value v = c->binding->value;
	bool number = value_static(v);
	if (v.kind == VALUE_INDEX) v = elab_index_number(e, v, c->at);
	if (!value_ok(v) || !value_ok(c->first)) return NULL;
	if (!number && v.kind != VALUE_TENSOR) return carry_changes(e, c, v), NULL;
	if (!number && !v.as.tensor.weak && !adapt(e, c, &v)) return carry_changes(e, c, v), NULL;
	DType dtype = value_dtype(&c->first);
	if (number || v.as.tensor.weak) v = to_tensor(e, v, dtype, c->at);
	if (!value_ok(v)) return NULL;
	int rank = c->first.as.tensor.rank, offset = rank - v.as.tensor.rank;
	bool fits = value_dtype(&v) == dtype && (number || !offset);
	for (int i = 0; fits && i < v.as.tensor.rank; i++) fits = dim_equal(v.as.tensor.dims[i], c->first.as.tensor.dims[offset + i]);
	fits = fits && (c->first.as.tensor.classes <= 0 || number || v.as.tensor.classes == c->first.as.tensor.classes);
	if (!fits) return carry_changes(e, c, v), NULL;
	Tag tag = c->first.as.tensor.tag;
	if (tag && v.as.tensor.tag && v.as.tensor.tag != tag)
		return wrong_tag(e, v, tag, arena_printf(e->arena, "the carry `%s`", c->name.text), c->at), NULL;
	if (v.as.tensor.tag) c->first = value_like(c->first, v), c->first.as.tensor.classes = 0;
	c->first.as.tensor.weak &= v.as.tensor.weak;
	return broadcast_to(e, &v, c->first.as.tensor.nlabels, c->first.as.tensor.labels, rank, c->first.as.tensor.dims);
}

/* ---- the results ---- */

/* The axis of the steps, which a stack has first, goes to its place. */
static Value stacked(Elab *e, const Scan *s, const ScanEmit *emit, Val *stack) {
	int64_t perm[MAX_RANK];
	Dim dims[MAX_RANK];
	const Value *v = &emit->value;
	int labels = v->as.tensor.nlabels, rank = v->as.tensor.rank, at = labels + emit->place;
	for (int i = 0; i <= labels + rank; i++) perm[i] = i < at ? i + 1 : i == at ? 0 : i;
	for (int i = 0; i <= rank; i++)
		dims[i] = i == emit->place ? s->index->extent : v->as.tensor.dims[i < emit->place ? i : i - 1];
	return value_like(value_labelled(e, ir_transpose(fn_of(e), stack, perm), labels, v->as.tensor.labels, rank + 1, dims,
	                                 emit->name.span), *v);
}

/* Emits that outer scans stack in turn go on there. */
static void place_emit(Elab *e, Scan *s, ScanEmit *emit, Value v) {
	Scan *outer = s->outer;
	emit->value = v;
	emit->place = outer && outer->activation == s->activation ? place_of(outer, outer, emit->indices, 0) : -1;
	if (emit->place < 0) bind_local(e, s->scope, emit->name, v);
	else if (is_free(e, outer, emit->name)) vec_push(e->arena, &outer->emits, *emit);
}

static bool stack_fits(Elab *e, const Scan *s, ScanEmit *emit) {
	const Value *v = &emit->value;
	if (!value_ok(*v)) return false;
	int labels = v->as.tensor.nlabels, rank = v->as.tensor.rank;
	Dim dims[MAX_RANK + 1];
	if (labels + rank == MAX_RANK) {
		elab_error(e, emit->name.span, "more than %d dims and indices in one value", MAX_RANK);
		return false;
	}
	for (int i = 0; i < labels; i++) dims[i] = v->as.tensor.labels[i]->extent;
	for (int i = 0; i < rank; i++) dims[labels + i] = v->as.tensor.dims[i];
	dims[labels + rank] = s->index->extent;
	emit->place = place_of(s, s, emit->indices, rank);
	return check_count(e, labels + rank + 1, dims, emit->name.span);
}

/* Everything a step makes; false after an error. */
static bool close_body(Elab *e, Scan *s, ScanBody *b) {
	bool fine = true;
	for (int i = 0; i < s->carries.length; i++) {
		ScanCarry *c = &s->carries.data[i];
		Val *next = next_value(e, c);
		fine &= next != NULL;
		if (next) vec_push(e->arena, &b->carries, ((ScanSlot){c->name.text, c->slot, c->first.as.tensor.val, next}));
	}
	for (int i = 0; i < s->states.length; i++) {
		ScanSlot *x = &s->states.data[i];
		Val **now = &e->build->current.data[s->numbers.data[i]];
		x->next = *now;
		if (*now == x->slot) vec_push(e->arena, &b->constants, *x), *now = x->first;
		else vec_push(e->arena, &b->carries, *x);
	}
	for (int i = 0; i < s->emits.length; i++) {
		ScanEmit *emit = &s->emits.data[i];
		bool fits = stack_fits(e, s, emit);
		fine &= fits;
		if (fits) vec_push(e->arena, &b->emitted, ((Output){emit->name.text, emit->value.as.tensor.val, -1}));
	}
	return fine;
}

static void bind_results(Elab *e, Scan *s, const ScanBody *b) {
	Fn *f = fn_of(e);
	Val *scan = scan_extract(f, b);
	int n = 0;
	for (int i = 0; i < s->carries.length; i++)
		bind_local(e, s->scope, s->carries.data[i].name, carried(e, &s->carries.data[i], ir_project(f, scan, n++)));
	for (int i = 0; i < s->states.length; i++) {
		const ScanSlot *x = &s->states.data[i];
		if (x->next != x->slot) e->build->current.data[s->numbers.data[i]] = ir_project(f, scan, n++);
	}
	for (int i = 0; i < s->emits.length; i++)
		place_emit(e, s, &s->emits.data[i], stacked(e, s, &s->emits.data[i], ir_project(f, scan, n++)));
}

/* Names that failed, and states as they were: nothing more is said about them. */
static void silence(Elab *e, Scan *s) {
	for (int i = 0; i < s->carries.length; i++) bind_local(e, s->scope, s->carries.data[i].name, value_poison());
	for (int i = 0; i < s->states.length; i++) e->build->current.data[s->numbers.data[i]] = s->states.data[i].first;
	for (int i = 0; i < s->emits.length; i++) place_emit(e, s, &s->emits.data[i], value_poison());
}

/* False after an error. */
static bool count_steps(Elab *e, Scope *scope, const Stmt *stmt, Dim *count) {
	if (!eval_int(e, scope, stmt->value, "the number of steps", count)) return false;
	if (dim_value(e, *count) < 1) {
		elab_error(e, stmt->value->span, "a scan of %s steps: at least 1 is needed", dim_text(e->arena, *count));
		return false;
	}
	return check_index(e, "the index of a scan", dim_value(e, *count), stmt->value->span);
}

Flow exec_scan(Elab *e, Scope *scope, const Stmt *stmt, Value *result) {
	Scan s = {.outer = e->build->scan, .stmt = stmt, .activation = e->activation, .scope = scope};
	Dim count = dim_number(1);
	int errors = e->diag->errors;
	bool fine = count_steps(e, scope, stmt, &count);
	if (!fine) count = dim_number(1);
	for (int i = 0; i < stmt->carries.length; i++) enter_carry(e, &s, &stmt->carries.data[i]);
	fn_of(e)->span = blame(e, stmt->name.span);
	s.index = scan_index(e, stmt->name, count, new_slot(e, type_scalar(DTYPE_I32)));
	s.body = scope_new(e, scope);
	scope_bind(e, s.body, stmt->name, (Value){.kind = VALUE_INDEX, .span = stmt->name.span, .as.index = s.index});
	bind_carries(e, &s);
	e->build->scan = &s;
	Flow flow = exec_block(e, s.body, &stmt->body, result);
	e->build->scan = s.outer;
	if (flow == FLOW_RETURN && value_ok(*result)) {
		elab_error(e, stmt->name.span, "`return` inside `scan`: the loop runs to its end");
		elab_help(e, "assign what is wanted to a carry, and return it after the loop");
		*result = value_poison();
	}
	ScanBody b = {s.index->step, stmt->name.text, {0}, {0}, {0}, dim_value(e, count), stmt->reversed};
	fine = close_body(e, &s, &b) && fine && flow == FLOW_NEXT && !e->gave_up;
	if (fine && e->diag->errors == errors && !b.carries.length && !b.emitted.length) {
		elab_error(e, stmt->name.span, "this `scan` leaves nothing behind: it has no carry, and emits nothing");
		elab_help(e, "as in `scan t < n carry h = 0 { h = h + x[t]; emit hs[t] = h }`");
		fine = false;
	}
	fn_of(e)->span = blame(e, stmt->name.span);
	if (fine && e->diag->errors == errors) bind_results(e, &s, &b);
	else silence(e, &s);
	return flow;
}
