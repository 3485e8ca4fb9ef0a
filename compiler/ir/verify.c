/* verify.c: the type rule of every row of ops.def, and the rules of a whole function.  In: a candidate value or a Fn that
 * may be anything a text can say; out: the first rule it breaks, as text.  Constructors, parser and passes all ask here,
 * so each rule stands once. */
#include "rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const single_names[] = {"index", "axis", "site", "word", "batch", "dilation",
                                          "carries", "reversed", "count", "id"};

bool attribute_is_single(Op op, int k) {
	const char *name = op_info[op].list[k];
	if (op == OpWindow || op == OpFold) return true; /* also "stride" */
	for (size_t i = 0; name && i < COUNT(single_names); i++)
		if (!strcmp(name, single_names[i])) return true;
	return false;
}

const char *type_problem(Type t) {
	if ((unsigned)t.dtype >= DTYPE_COUNT) return "unknown dtype";
	if (t.rank < 0 || t.rank > MAX_RANK) return "rank above 8";
	int64_t count = 1;
	for (int i = 0; i < t.rank; i++) {
		if (t.dim[i] < 1) return "an extent below 1";
		if (t.dim[i] > MAX_ELEMENTS / count) return "too many elements";
		count *= t.dim[i];
	}
	return NULL;
}

static bool is_scalar(Type t, DType dtype) { return t.dtype == dtype && t.rank == 0; }
static bool is_bool(Type t) { return t.dtype == DTYPE_BOOL; }
static bool is_integer(Type t) { return dtype_info[t.dtype].class == 'I'; }
static bool is_float(Type t) { return dtype_is_float(t.dtype); }

static bool in_class(Type t, char class) {
	switch (class) {
	case 'F': return is_float(t);
	case 'N': return is_float(t) || is_integer(t);
	case 'I': return is_integer(t);
	case 'B': return is_bool(t);
	default: return true;
	}
}

/* Products of what a text says, without overflow: anything beyond MAX_ELEMENTS is just too large. */
static int64_t times(int64_t a, int64_t b) { return a && b > 4 * MAX_ELEMENTS / a ? 4 * MAX_ELEMENTS : a * b; }

static bool small(int64_t n) { return n >= -MAX_ELEMENTS && n <= MAX_ELEMENTS; }

/* Every attribute has its length, and (but for site, which is a hash) no absurd number. */
static const char *problem_lists(const Val *v) {
	for (int k = 0; k < MAX_LISTS; k++) {
		const IntList *list = &v->list[k];
		if (!op_info[v->op].list[k] && list->length) return "an attribute too many";
		if (op_info[v->op].list[k] && attribute_is_single(v->op, k) && list->length != 1) return "an attribute is not one number";
		if (list->length < 0 || list->length > MAX_RANK) return "an attribute of more than 8 numbers";
		for (int i = 0; i < list->length; i++)
			if (!(v->op == OpRandom && k == 0) && !small(list->data[i])) return "an attribute out of range";
	}
	if (!op_info[v->op].number && v->number != 0) return "a number where none belongs";
	if (v->body && v->op != OpScan) return "a body where none belongs";
	return NULL;
}

static const char *problem_pointwise(const Val *v) {
	const OpInfo *info = &op_info[v->op];
	Type last = v->arg[v->nargs - 1]->type;
	for (int i = 0; i < v->nargs; i++) {
		Type t = v->arg[i]->type;
		if (!type_same_dims(t, last)) return "operands of different dims";
		if (v->op == OpWhere && i == 0) {
			if (!is_bool(t)) return "the condition is not bool";
			continue;
		}
		if (t.dtype != last.dtype) return "operands of different dtypes";
		if (!in_class(t, info->operand_class)) return "operand of a dtype it does not take";
	}
	if (info->result_bool) last.dtype = DTYPE_BOOL;
	return type_equal(v->type, last) ? NULL : "the result has another type";
}

static const char *problem_const(const Val *v) {
	if (v->type.rank) return "a constant is a scalar";
	if (is_float(v->type)) return NULL;
	double least = -2147483648.0, most = 2147483647.0;
	if (v->type.dtype == DTYPE_I8) least = -128, most = 127;
	if (v->type.dtype == DTYPE_U8) least = 0, most = 255;
	if (is_bool(v->type)) least = 0, most = 1;
	if (!(v->number >= least && v->number <= most) || v->number != floor(v->number) || (v->number == 0 && signbit(v->number)))
		return "the value is none of its dtype";
	return NULL;
}

static const char *problem_random(const Val *v) {
	if (v->nargs != 3 && v->nargs != 4) return "another number of operands";
	Type seed = v->arg[0]->type;
	if (seed.dtype != DTYPE_I32 || seed.rank != 1 || seed.dim[0] != 2) return "the seed is not i32[2]";
	if (!is_scalar(v->arg[1]->type, DTYPE_I32) || !is_scalar(v->arg[2]->type, DTYPE_I32)) return "step and index are i32[]";
	if (!is_float(v->type)) return "the result is not float";
	if (v->nargs == 4 && v->arg[3]->type.dtype != DTYPE_I32) return "the elements' numbers are not i32";
	if (v->nargs == 4 && !type_same_dims(v->arg[3]->type, v->type)) return "not a number for each element";
	if (type_count(v->type) > (int64_t)1 << 32) return "more elements than counters"; /* the counter has 32 bits for them */
	return v->list[1].data[0] >= 0 && v->list[1].data[0] <= 3 ? NULL : "word is 0 to 3";
}

/* A list that names axes of a rank, ascending when asked, each at most once. */
static const char *problem_axes(const IntList *list, int rank, bool ascending) {
	bool seen[MAX_RANK] = {false};
	for (int i = 0; i < list->length; i++) {
		int64_t axis = list->data[i];
		if (axis < 0 || axis >= rank) return "an axis out of range";
		if (seen[axis]) return "an axis occurs twice";
		if (ascending && i && list->data[i - 1] > axis) return "the axes are not ascending";
		seen[axis] = true;
	}
	return NULL;
}

static const char *problem_transpose(const Val *v) {
	Type a = v->arg[0]->type;
	if (v->list[0].length != a.rank || v->type.rank != a.rank) return "perm has not one number per axis";
	const char *problem = problem_axes(&v->list[0], a.rank, false);
	if (problem) return problem;
	for (int i = 0; i < a.rank; i++)
		if (v->type.dim[i] != a.dim[v->list[0].data[i]]) return "the result has other dims";
	return NULL;
}

static const char *problem_broadcast(const Val *v) {
	Type a = v->arg[0]->type;
	if (v->list[0].length != a.rank) return "dims has not one number per operand axis";
	const char *problem = problem_axes(&v->list[0], v->type.rank, true);
	if (problem) return problem;
	for (int i = 0; i < a.rank; i++)
		if (v->type.dim[v->list[0].data[i]] != a.dim[i]) return "an extent changes";
	return NULL;
}

static const char *problem_slice(const Val *v) {
	Type a = v->arg[0]->type;
	if (v->list[0].length != a.rank || v->list[1].length != a.rank || v->type.rank != a.rank) return "not one number per axis";
	for (int i = 0; i < a.rank; i++) {
		int64_t start = v->list[0].data[i], step = v->list[1].data[i];
		if (step < 1) return "a step below 1";
		if (start < 0 || start + times(step, v->type.dim[i] - 1) >= a.dim[i]) return "out of range";
	}
	return NULL;
}

static const char *problem_pad(const Val *v) {
	Type a = v->arg[0]->type;
	if (v->type.rank != a.rank) return "the result has another rank";
	for (int k = 0; k < 3; k++)
		if (v->list[k].length != a.rank) return "not one number per axis";
	for (int i = 0; i < a.rank; i++) {
		int64_t inner = v->list[2].data[i];
		if (inner < 0) return "inner below 0";
		if (v->type.dim[i] != v->list[0].data[i] + v->list[1].data[i] + times(a.dim[i] - 1, inner + 1) + 1)
			return "the result has other dims";
	}
	Val value = {.op = OpConst, .type = type_scalar(a.dtype), .number = v->number};
	return problem_const(&value);
}

/* `wide` has (n, size) where `narrow` has one axis. */
static const char *problem_window(const Val *v, Type wide, Type narrow) {
	int64_t axis = v->list[0].data[0], stride = v->list[1].data[0], dilation = v->list[2].data[0];
	if (wide.rank != narrow.rank + 1) return "the result has another rank";
	if (axis < 0 || axis >= narrow.rank) return "an axis out of range";
	if (stride < 1 || dilation < 1) return "stride and dilation are at least 1";
	for (int i = 0; i < narrow.rank; i++)
		if (i != axis && narrow.dim[i] != wide.dim[i < axis ? i : i + 1]) return "the result has other dims";
	if (times(stride, wide.dim[axis] - 1) + times(dilation, wide.dim[axis + 1] - 1) >= narrow.dim[axis]) return "out of range";
	return NULL;
}

static const char *problem_concat(const Val *v) {
	int64_t axis = v->list[0].data[0], total = 0;
	if (v->nargs < 1) return "no operands";
	if (axis < 0 || axis >= v->type.rank) return "an axis out of range";
	for (int i = 0; i < v->nargs; i++) {
		Type t = v->arg[i]->type;
		if (t.rank != v->type.rank) return "operands of different ranks";
		total += t.dim[axis];
		if (total > MAX_ELEMENTS) return "too many elements";
		t.dim[axis] = v->type.dim[axis];
		if (!type_equal(t, v->type)) return "operands of different types";
	}
	return total == v->type.dim[axis] ? NULL : "the result has other dims";
}

/* One axis, kept or dropped. */
static const char *problem_along(const Val *v, bool dropped) {
	Type t = v->arg[0]->type;
	int64_t axis = v->list[0].data[0];
	if (axis < 0 || axis >= t.rank) return "an axis out of range";
	if (!in_class(t, v->op == OpReduceLse ? 'F' : 'N')) return "operand of a dtype it does not take";
	if (dropped) {
		t.rank--;
		for (int i = (int)axis; i < t.rank; i++) t.dim[i] = t.dim[i + 1];
	}
	if (v->op == OpArgMax || v->op == OpArgSort) {
		if (v->arg[0]->type.dim[axis] > INT32_MAX) return "an index beyond i32";
		t.dtype = DTYPE_I32;
	}
	return type_equal(t, v->type) ? NULL : "the result has another type";
}

static int find_label(const IntList *list, int64_t label) {
	for (int i = 0; i < list->length; i++)
		if (list->data[i] == label) return i;
	return -1;
}

/* What is left out must be known by an index of the result's rows and one turn of a loop around the innermost one. */
static const char *problem_within(const Val *v) {
	const IntList *la = &v->list[0], *lb = &v->list[1], *ly = &v->list[2], *within = &v->list[3];
	ContractBound bound;
	if (!within->length) return NULL;
	if (within->length != WITHIN_LENGTH) return "not six numbers say which terms";
	for (int i = 2; i < WITHIN_LENGTH; i++)
		if (within->data[i] < (i != 4)) return "the terms that are within are none";
	int places[2] = {find_label(ly, within->data[0]), find_label(ly, within->data[1])};
	if (v->type.dtype != DTYPE_F32 || contract_order(v).dot || (places[0] >= 0) == (places[1] >= 0))
		return "a sum that cannot leave out terms";
	contract_bound(v, &bound);
	int64_t last = ly->data[ly->length - 1];
	const IntList *rows = find_label(la, last) < 0 ? la : lb, *columns = rows == la ? lb : la;
	int place = find_label(rows, bound.result), summed = find_label(la, bound.summed);
	if (find_label(rows, last) >= 0 || place < 0 || find_label(columns, bound.result) >= 0 || summed < 0)
		return "terms are left out by another label";
	int64_t turns = v->arg[0]->type.dim[summed], behind = 1, results = v->arg[rows == lb]->type.dim[place];
	for (int i = summed + 1; i < la->length; i++)
		if (find_label(ly, la->data[i]) < 0) behind = times(behind, v->arg[0]->type.dim[i]);
	if (turns < 2 || results < 2 || behind < 2 || times(behind, turns) > SUM_BLOCK) return "terms are left out by another label";
	return contract_is_never_empty(v, &bound) ? NULL : "a sum of no terms";
}

static const char *problem_contract(const Val *v) {
	Type a = v->arg[0]->type, b = v->arg[1]->type, y = v->type;
	const IntList *la = &v->list[0], *lb = &v->list[1], *ly = &v->list[2];
	DType dtype = contract_dtype(a.dtype, b.dtype);
	if (is_bool(a) && is_bool(b)) return "operand of a dtype it does not take";
	if (dtype == DTYPE_COUNT) return "operands of different dtypes";
	if (y.dtype != dtype) return "the result has another dtype";
	if (la->length != a.rank || lb->length != b.rank || ly->length != y.rank) return "not one label per axis";
	int next = a.rank;
	for (int i = 0; i < a.rank; i++) {
		if (la->data[i] != i) return "the labels of a are not 0, 1, ..";
		if (find_label(ly, i) < 0 && find_label(lb, i) < 0) return "a label of a alone that y lacks";
	}
	for (int i = 0; i < b.rank; i++) {
		int64_t label = lb->data[i];
		if (find_label(lb, label) != i) return "a label of b occurs twice";
		if (label >= a.rank && label != next++) return "the labels that only b has are not numbered in order";
		if (label < 0) return "a label below 0";
		if (label < a.rank && a.dim[label] != b.dim[i]) return "extents of one label differ";
		if (label >= a.rank && find_label(ly, label) < 0) return "a label of b alone that y lacks";
	}
	for (int i = 0; i < y.rank; i++) {
		int at = find_label(la, ly->data[i]), other = find_label(lb, ly->data[i]);
		if (find_label(ly, ly->data[i]) != i) return "a label of y occurs twice";
		if (at < 0 && other < 0) return "a label of y is nowhere";
		if (y.dim[i] != (at >= 0 ? a.dim[at] : b.dim[other])) return "the result has other dims";
	}
	return problem_within(v);
}

/* gather: table [batch, n, rest], index [batch, i] -> [batch, i, rest]; scatter_add the other way round. */
static const char *problem_gather(const Val *v, Type table, Type index, Type rows) {
	int64_t batch = v->list[0].data[0];
	if (!is_integer(index)) return "the index is not an integer";
	if (table.dtype != rows.dtype) return "the result has another dtype";
	if (v->op == OpScatterAdd && !in_class(rows, 'N')) return "operand of a dtype it does not take";
	if (batch < 0 || batch >= table.rank || batch > index.rank) return "batch out of range";
	if (rows.rank != index.rank + table.rank - batch - 1) return "the result has another rank";
	for (int i = 0; i < index.rank; i++) {
		if (i < batch && table.dim[i] != index.dim[i]) return "batch dims differ";
		if (rows.dim[i] != index.dim[i]) return "dims of index and rows differ";
	}
	for (int i = index.rank; i < rows.rank; i++)
		if (rows.dim[i] != table.dim[i - index.rank + batch + 1]) return "dims of the rows differ";
	return NULL;
}

static const char *problem_buckets(Type index, Type y) {
	if (!is_integer(index) || y.dtype != DTYPE_I32) return "index and buckets are not integers";
	if (!index.rank || y.rank != index.rank) return "the result has another rank";
	for (int i = 0; i < y.rank - 1; i++)
		if (y.dim[i] != index.dim[i]) return "batch dims differ";
	int64_t last = y.dim[y.rank - 1];
	return last > index.dim[y.rank - 1] + 1 && last <= INT32_MAX ? NULL : "the result has other dims";
}

static const char *problem_sum_buckets(Type rows, Type buckets, Type y) {
	if (buckets.dtype != DTYPE_I32 || !buckets.rank) return "the buckets are not i32";
	if (rows.dtype != y.dtype || !in_class(y, 'N')) return "operand of a dtype it does not take";
	int batch = buckets.rank - 1, rest = y.rank - buckets.rank, of_index = rows.rank - rest;
	if (rest < 0 || of_index < batch) return "the result has another rank";
	int64_t m = 1;
	for (int i = 0; i < of_index; i++) {
		if (i >= batch) m *= rows.dim[i];
		else if (rows.dim[i] != buckets.dim[i] || y.dim[i] != rows.dim[i]) return "batch dims differ";
	}
	for (int i = 0; i < rest; i++)
		if (y.dim[batch + 1 + i] != rows.dim[of_index + i]) return "dims of the rows differ";
	return buckets.dim[batch] == 1 + y.dim[batch] + m ? NULL : "the result has other dims";
}

static const char *problem_scan(const Val *v) {
	int64_t carries = v->list[0].data[0], reversed = v->list[1].data[0], count = v->list[2].data[0];
	const Fn *body = v->body;
	if (!body) return "no body";
	if (!is_scalar(v->type, DTYPE_I32)) return "a scan is written as i32[]";
	if (reversed != 0 && reversed != 1) return "reversed is 0 or 1";
	if (count < 1 || count > INT32_MAX) return "count out of range";
	if (carries < 0 || carries > v->nargs || carries > body->outputs.length) return "carries out of range";
	if (body->inputs.length != v->nargs + 1) return "the body does not take index, carries and constants";
	if (!is_scalar(body->inputs.data[0].type, DTYPE_I32)) return "the body's first input is the index, i32[]";
	for (int i = 0; i < v->nargs; i++)
		if (!type_equal(body->inputs.data[i + 1].type, v->arg[i]->type)) return "an operand has not the type of the body's input";
	for (int i = 0; i < body->outputs.length; i++) {
		if (body->outputs.data[i].updates >= 0) return "the body updates an input";
		if (i < carries && !type_equal(body->outputs.data[i].val->type, v->arg[i]->type)) return "a carry changes its type";
	}
	return NULL;
}

static const char *problem_project(const Val *v) {
	const Val *scan = v->arg[0];
	if (scan->op != OpScan) return "the operand is not a scan";
	int64_t index = v->list[0].data[0];
	if (index < 0 || index >= scan->body->outputs.length) return "index out of range";
	Type t = scan->body->outputs.data[index].val->type;
	if (index >= scan->list[0].data[0]) {
		if (t.rank == MAX_RANK) return "rank above 8";
		memmove(t.dim + 1, t.dim, sizeof *t.dim * (size_t)t.rank++);
		t.dim[0] = scan->list[2].data[0];
	}
	return type_equal(t, v->type) ? NULL : "the result has another type";
}

static const char *problem_custom(const Val *v) {
	if (v->nargs % 2 == 0) return "not as many adjoints as inputs";
	if (!type_equal(v->arg[0]->type, v->type)) return "the result has another type";
	for (int i = 1, n = v->nargs / 2; i <= n; i++)
		if (!type_equal(v->arg[i]->type, v->arg[i + n]->type)) return "an adjoint has not the type of its input";
	return v->list[0].data[0] >= 0 && v->list[0].data[0] < INT32_MAX ? NULL : "id out of range";
}

static const char *problem_grad(const Val *v) {
	if (v->arg[0]->type.rank || !is_float(v->arg[0]->type)) return "the loss is not a float scalar";
	if (!is_float(v->arg[1]->type)) return "a derivative by something that is not float";
	if (v->arg[1]->op != OpMark && v->arg[1]->op != OpInput) return "by what is neither mark nor input";
	return type_equal(v->type, v->arg[1]->type) ? NULL : "the result has another type";
}

static const char *problem_structural(const Val *v) {
	Type a = v->nargs ? v->arg[0]->type : v->type, b = v->nargs > 1 ? v->arg[1]->type : a, y = v->type;
	const IntList *first = &v->list[0];
	switch (v->op) {
	case OpConst: return problem_const(v);
	case OpInput: return first->data[0] >= 0 && first->data[0] < INT32_MAX ? NULL : "index out of range";
	case OpIota:
		if (y.dtype != DTYPE_I32) return "the result is not i32";
		if (first->data[0] < 0 || first->data[0] >= y.rank) return "an axis out of range";
		return y.dim[first->data[0]] <= INT32_MAX ? NULL : "an index beyond i32";
	case OpRandom: return problem_random(v);
	case OpCast:
		if ((dtype_is_word(a.dtype) && y.dtype != DTYPE_I32) || (dtype_is_word(y.dtype) && a.dtype != DTYPE_I32))
			return "words are made of i32, and nothing else";
		return type_same_dims(a, y) ? NULL : "the result has other dims";
	case OpReshape: return type_count(a) == type_count(y) ? NULL : "another number of elements";
	case OpTranspose: return problem_transpose(v);
	case OpBroadcast: return problem_broadcast(v);
	case OpSlice: return problem_slice(v);
	case OpPad: return problem_pad(v);
	case OpFlip: return type_equal(a, y) ? problem_axes(first, a.rank, true) : "the result has another type";
	case OpWindow: return problem_window(v, y, a);
	case OpFold: return !in_class(a, 'N') ? "operand of a dtype it does not take" : problem_window(v, a, y);
	case OpConcat: return problem_concat(v);
	case OpReduceSum: case OpReduceMax: case OpReduceMin: case OpReduceProd: case OpReduceLse: case OpArgMax:
		return problem_along(v, true);
	case OpCumSum: case OpArgSort: return problem_along(v, false);
	case OpContract: return problem_contract(v);
	case OpGather: return problem_gather(v, a, b, y);
	case OpScatterAdd: return problem_gather(v, y, b, a);
	case OpBuckets: return problem_buckets(a, y);
	case OpSumBuckets: return problem_sum_buckets(a, b, y);
	case OpScan: return problem_scan(v);
	case OpProject: return problem_project(v);
	case OpAgain: return type_equal(a, y) ? NULL : "the result has another type";
	case OpMark:
		if (!type_equal(a, y)) return "the result has another type";
		return first->data[0] >= 0 && first->data[0] < INT32_MAX ? NULL : "id out of range";
	case OpGrad: return problem_grad(v);
	case OpCotangent: return first->data[0] >= 0 && first->data[0] < INT32_MAX ? NULL : "id out of range";
	case OpCustom: return problem_custom(v);
	default: return "an op without a rule";
	}
}

const char *val_problem(const Val *v) {
	if ((unsigned)v->op >= OP_COUNT) return "unknown op";
	const OpInfo *info = &op_info[v->op];
	if (info->arity >= 0 && v->nargs != info->arity) return "another number of operands";
	const char *problem = type_problem(v->type);
	if (!problem) problem = problem_lists(v);
	if (problem) return problem;
	for (int i = 0; i < v->nargs; i++)
		if (v->arg[i]->op == OpScan && v->op != OpProject) return "a scan is read through project only";
	if (info->pointwise) return problem_pointwise(v);
	bool moves = v->nargs && (v->op == OpReshape || v->op == OpTranspose || v->op == OpBroadcast || v->op == OpSlice ||
	                          v->op == OpPad || v->op == OpWindow || v->op == OpFold || v->op == OpConcat);
	if (moves && v->arg[0]->type.dtype != v->type.dtype) return "the result has another dtype";
	return problem_structural(v);
}

/* ---- whole functions ---- */

typedef struct Entry { const char *name; int kind, index; } Entry;

static int entry_order(const void *a, const void *b) {
	const Entry *x = a, *y = b;
	return x->kind != y->kind ? (x->kind > y->kind) - (x->kind < y->kind) : strcmp(x->name, y->name);
}

/* The name that occurs twice within one kind, or NULL. */
static const char *name_twice(Entry *entries, int n) {
	if (n) qsort(entries, (size_t)n, sizeof *entries, entry_order);
	for (int i = 1; i < n; i++)
		if (!entry_order(&entries[i - 1], &entries[i])) return entries[i].name;
	return NULL;
}

static const char *verify_inputs(Arena *arena, const Fn *f) {
	Entry *entries = NEW_ARRAY(arena, Entry, f->inputs.length);
	for (int i = 0; i < f->inputs.length; i++) {
		const Input *input = &f->inputs.data[i];
		const Val *v = input->val;
		if (!input->name || (unsigned)input->kind >= INPUT_KINDS) return arena_printf(arena, "input %d has no name or kind", i);
		entries[i] = (Entry){input->name, (int)input->kind, i};
		if (!v || v->op != OpInput || v->list[0].data[0] != i || v->id >= f->vals.length || f->vals.data[v->id] != v)
			return arena_printf(arena, "input \"%s\" has no value", input->name);
		if (!type_equal(input->type, v->type))
			return arena_printf(arena, "input \"%s\" and its value differ in type", input->name);
		bool counter = input->kind == INPUT_STEP || input->kind == INPUT_EPOCH;
		if (counter && !is_scalar(v->type, DTYPE_I32)) return arena_printf(arena, "input \"%s\" is not i32[]", input->name);
		if (input->kind == INPUT_SEED && !(v->type.dtype == DTYPE_I32 && v->type.rank == 1 && v->type.dim[0] == 2))
			return arena_printf(arena, "input \"%s\" is not i32[2]", input->name);
		if (input->kind == INPUT_SETTING && (v->type.rank || !is_float(v->type)))
			return arena_printf(arena, "input \"%s\" is not a float scalar", input->name);
	}
	const char *name = name_twice(entries, f->inputs.length);
	return name ? arena_printf(arena, "input \"%s\" occurs twice", name) : NULL;
}

static const char *verify_outputs(Arena *arena, const Fn *f) {
	Entry *entries = NEW_ARRAY(arena, Entry, f->outputs.length);
	bool *updated = NEW_ARRAY(arena, bool, f->inputs.length);
	for (int i = 0; i < f->outputs.length; i++) {
		const Output *output = &f->outputs.data[i];
		const Val *v = output->val;
		if (!output->name) return arena_printf(arena, "output %d has no name", i);
		entries[i] = (Entry){output->name, output->updates >= 0, i};
		if (!v || v->id < 0 || v->id >= f->vals.length || f->vals.data[v->id] != v)
			return arena_printf(arena, "output \"%s\" has no value", output->name);
		if (v->op == OpScan) return arena_printf(arena, "output \"%s\" is a scan, not one of its results", output->name);
		if (output->updates < 0) continue;
		if (output->updates >= f->inputs.length) return arena_printf(arena, "output \"%s\" updates nothing", output->name);
		const Input *input = &f->inputs.data[output->updates];
		if (input->kind != INPUT_PARAM && input->kind != INPUT_STATE && input->kind != INPUT_SLOT)
			return arena_printf(arena, "output \"%s\" updates an input that is not kept", output->name);
		if (!type_equal(input->type, v->type))
			return arena_printf(arena, "output \"%s\" is %s, the input it updates %s", output->name, type_text(arena, v->type),
			                    type_text(arena, input->type));
		if (updated[output->updates]) return arena_printf(arena, "input \"%s\" is updated twice", input->name);
		updated[output->updates] = true;
	}
	const char *name = name_twice(entries, f->outputs.length);
	return name ? arena_printf(arena, "output \"%s\" occurs twice", name) : NULL;
}

const char *fn_verify_text(Arena *arena, const Fn *f) {
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->id != i) return arena_printf(arena, "%%%d has the number %d", i, v->id);
		if ((unsigned)v->op >= OP_COUNT) return arena_printf(arena, "%%%d: unknown op", i);
		const char *text = op_info[v->op].text;
		for (int k = 0; k < v->nargs; k++) {
			const Val *a = v->arg[k];
			if (!a || a->id < 0 || a->id >= i || f->vals.data[a->id] != a)
				return arena_printf(arena, "%%%d %s: operand %d is not an earlier value", i, text, k);
		}
		const char *problem = val_problem(v);
		if (problem) return arena_printf(arena, "%%%d %s: %s", i, text, problem);
		if (v->op == OpInput && (v->list[0].data[0] >= f->inputs.length || f->inputs.data[v->list[0].data[0]].val != v))
			return arena_printf(arena, "%%%d input: not an input of the function", i);
		if (v->op == OpScan && (problem = fn_verify_text(arena, v->body)))
			return arena_printf(arena, "%%%d scan: %s", i, problem);
	}
	const char *problem = verify_inputs(arena, f);
	return problem ? problem : verify_outputs(arena, f);
}

void fn_verify(const Fn *f, const char *after) {
	Arena *arena = arena_new();
	const char *problem = fn_verify_text(arena, f);
	if (problem) die("after %s, fn %s is broken: %s", after, f->name, problem);
	arena_free(arena);
}
