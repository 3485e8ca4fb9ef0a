/* eval_body.h: the arithmetic of the interpreter, included by eval_f32.c, eval_f64.c and eval_i32.c with
 *     T          the element type
 *     NAME(x)    x with the element type as a suffix
 *     LEAST MOST what any element is at least, at most
 *     FMA(a, b, c), EXPONENTIAL(x), LOGARITHM(x), IS_NAN(x), and the macros of the forward column of ops.def.
 * The orders of sums are those of the design's section "Numbers", written down as plainly as they are stated there. */

/* ---- element-wise rows ---- */

#define RESULT_same T
#define RESULT_bool int32_t

static void NAME(pointwise)(const Val *v, const Tensor *arg, void *result) {
	int64_t count = type_count(v->type);
	const void *pa = arg[0].data, *pb = v->nargs > 1 ? arg[1].data : pa, *pc = v->nargs > 2 ? arg[2].data : pa;
	switch (v->op) {
#define UNARY(Name, text, types, kind, forward, ...) \
	case Op##Name: \
		for (int64_t i = 0; i < count; i++) { \
			T a = ((const T *)pa)[i]; \
			((RESULT_##kind *)result)[i] = (RESULT_##kind)(forward); \
		} \
		break;
#define BINARY(Name, text, types, kind, forward, ...) \
	case Op##Name: \
		for (int64_t i = 0; i < count; i++) { \
			T a = ((const T *)pa)[i], b = ((const T *)pb)[i]; \
			((RESULT_##kind *)result)[i] = (RESULT_##kind)(forward); \
		} \
		break;
#define TERNARY(Name, text, types, kind, forward, ...) \
	case Op##Name: \
		for (int64_t i = 0; i < count; i++) { \
			int32_t a = ((const int32_t *)pa)[i]; \
			T b = ((const T *)pb)[i], c = ((const T *)pc)[i]; \
			((RESULT_##kind *)result)[i] = (RESULT_##kind)(forward); \
		} \
		break;
#define STRUCTURAL(...)
#include "ops.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef STRUCTURAL
	default: die("%s is not element-wise", op_info[v->op].text);
	}
}

/* ---- reductions over one axis ---- */

static T NAME(start)(Op op) { return op == OpReduceMax ? LEAST : op == OpReduceMin ? MOST : op == OpReduceProd ? (T)1 : (T)0; }

static inline T NAME(join)(Op op, T a, T b) {
	switch (op) {
	case OpReduceMax: return MAXIMUM(a, b);
	case OpReduceMin: return MINIMUM(a, b);
	case OpReduceProd: return MUL(a, b);
	default: return ADD(a, b);
	}
}

/* Of sum-of-exponentials the largest is known before; of everything else an element is itself. */
static inline T NAME(term)(Op op, T x, T largest) {
	if (op != OpReduceLse) return x;
	T below = SUB(x, largest);
	return LT(below, -LSE_REACH) ? 0 : EXPONENTIAL(below);
}

static T NAME(fold_lanes)(Op op, T *lane) {
	for (int width = LANES / 2; width >= 1; width /= 2)
		for (int l = 0; l < width; l++) lane[l] = NAME(join)(op, lane[l], lane[l + width]);
	return lane[0];
}

/* The last axis: 16 lanes and a tree in each block, block totals ascending. */
static T NAME(reduce_row)(Op op, const T *x, int64_t n, T largest) {
	T total = 0;
	for (int64_t block = 0; block < n; block += SUM_BLOCK) {
		T lane[LANES];
		for (int l = 0; l < LANES; l++) lane[l] = NAME(start)(op);
		for (int64_t j = block; j < MIN(n, block + SUM_BLOCK); j++)
			lane[j % LANES] = NAME(join)(op, lane[j % LANES], NAME(term)(op, x[j], largest));
		T sum = NAME(fold_lanes)(op, lane);
		total = block == 0 ? sum : NAME(join)(op, total, sum);
	}
	return total;
}

/* Any other axis: ascending in each block, block totals ascending.  `inner` is the distance of the elements. */
static T NAME(reduce_column)(Op op, const T *x, int64_t n, int64_t inner, T largest) {
	T total = 0;
	for (int64_t block = 0; block < n; block += SUM_BLOCK) {
		T sum = NAME(start)(op);
		for (int64_t j = block; j < MIN(n, block + SUM_BLOCK); j++)
			sum = NAME(join)(op, sum, NAME(term)(op, x[j * inner], largest));
		total = block == 0 ? sum : NAME(join)(op, total, sum);
	}
	return total;
}

static T NAME(reduce_one)(Op op, bool last, const T *x, int64_t n, int64_t inner) {
	if (op != OpReduceLse) return last ? NAME(reduce_row)(op, x, n, 0) : NAME(reduce_column)(op, x, n, inner, 0);
	T largest = last ? NAME(reduce_row)(OpReduceMax, x, n, 0) : NAME(reduce_column)(OpReduceMax, x, n, inner, 0);
	if (IS_NAN(largest) || largest == LEAST || largest == MOST) return largest;
	T sum = last ? NAME(reduce_row)(op, x, n, largest) : NAME(reduce_column)(op, x, n, inner, largest);
	return ADD(largest, LOGARITHM(sum));
}

static void NAME(reduce)(const Val *v, const Tensor *arg, T *y) {
	int64_t axis = v->list[0].data[0];
	Around at = around_axis(arg[0].type, axis);
	bool last = axis == arg[0].type.rank - 1;
	for (int64_t o = 0; o < at.outer; o++)
		for (int64_t k = 0; k < at.inner; k++)
			*y++ = NAME(reduce_one)(v->op, last, (const T *)arg[0].data + o * at.n * at.inner + k, at.n, at.inner);
}

static int32_t NAME(first_largest)(const T *x, int64_t n, int64_t inner) {
	int64_t best = 0;
	for (int64_t j = 1; j < n && !IS_NAN(x[best * inner]); j++)
		if (IS_NAN(x[j * inner]) || x[j * inner] > x[best * inner]) best = j;
	return (int32_t)best;
}

static void NAME(running_sum)(const T *x, int64_t n, int64_t inner, T *y) {
	T sum = 0;
	for (int64_t j = 0; j < n; j++) y[j * inner] = sum = ADD(sum, x[j * inner]);
}

/* NaN is after everything. */
static bool NAME(before)(T a, T b) { return IS_NAN(a) ? false : IS_NAN(b) ? true : a < b; }

/* Stable merge sort of indices, bottom up. */
static void NAME(sort)(const T *x, int64_t n, int64_t inner, int32_t *y, int32_t *from, int32_t *to) {
	for (int64_t j = 0; j < n; j++) from[j] = (int32_t)j;
	for (int64_t width = 1; width < n; width *= 2) {
		for (int64_t left = 0; left < n; left += 2 * width) {
			int64_t middle = MIN(left + width, n), end = MIN(left + 2 * width, n), i = left, j = middle;
			for (int64_t k = left; k < end; k++) {
				bool right = i == middle || (j < end && NAME(before)(x[from[j] * inner], x[from[i] * inner]));
				to[k] = right ? from[j++] : from[i++];
			}
		}
		int32_t *swap = from;
		from = to;
		to = swap;
	}
	for (int64_t j = 0; j < n; j++) y[j * inner] = from[j];
}

static void NAME(along)(const Val *v, const Tensor *arg, void *y) {
	Around at = around_axis(arg[0].type, v->list[0].data[0]);
	Arena *scratch = arena_new();
	int32_t *spare = NEW_ARRAY(scratch, int32_t, 2 * at.n);
	for (int64_t o = 0; o < at.outer; o++)
		for (int64_t k = 0; k < at.inner; k++) {
			int64_t begin = o * at.n * at.inner + k;
			const T *x = (const T *)arg[0].data + begin;
			if (v->op == OpArgMax) ((int32_t *)y)[o * at.inner + k] = NAME(first_largest)(x, at.n, at.inner);
			else if (v->op == OpCumSum) NAME(running_sum)(x, at.n, at.inner, (T *)y + begin);
			else NAME(sort)(x, at.n, at.inner, (int32_t *)y + begin, spare, spare + at.n);
		}
	arena_free(scratch);
}

/* ---- sums of products ---- */

/* One output of a product with N = 1: 16 lanes. */
ALWAYS_INLINE T NAME(dot)(const T *a, const T *b, int64_t depth) {
	T total = 0;
	for (int64_t block = 0; block < depth; block += SUM_BLOCK) {
		T lane[LANES] = {0};
		for (int64_t k = block; k < MIN(depth, block + SUM_BLOCK); k++) lane[k % LANES] = FMA(a[k], b[k], lane[k % LANES]);
		T sum = NAME(fold_lanes)(OpReduceSum, lane);
		total = block == 0 ? sum : ADD(total, sum);
	}
	return total;
}

/* at_m, at_n, at_k: where an index of these is, of the places whose terms are summed, first and count; NULL: all are. */
typedef struct NAME(Product) {
	const T *a, *b;
	T *y, *sum;
	int64_t batch, m, n;
	ContractOrder order;
	const int64_t *at_m, *at_n, *at_k;
	int64_t first, count;
} NAME(Product);

/* One row of outputs, one chain each: y (n) = a (terms) times b (terms, n).  `sum` is room for a block's chains.
 * Four links of a chain at a time, because memory takes longer than arithmetic here. */
ALWAYS_INLINE void NAME(row)(const NAME(Product) *p, const T *a, const T *b, T *restrict y, T *restrict sum) {
	int64_t n = p->n, run = p->order.run;
	for (int64_t start = 0; start < p->order.terms; start += run)
		for (int64_t block = start; block < start + run; block += p->order.block) {
			for (int64_t j = 0; j < n; j++) sum[j] = 0;
			int64_t k = block, end = MIN(start + run, block + p->order.block);
			for (; k + 4 <= end; k += 4) {
				const T *b0 = b + k * n, *b1 = b0 + n, *b2 = b1 + n, *b3 = b2 + n;
				const T a0 = a[k], a1 = a[k + 1], a2 = a[k + 2], a3 = a[k + 3];
				for (int64_t j = 0; j < n; j++) sum[j] = FMA(a3, b3[j], FMA(a2, b2[j], FMA(a1, b1[j], FMA(a0, b0[j], sum[j]))));
			}
			for (; k < end; k++)
				for (int64_t j = 0; j < n; j++) sum[j] = FMA(a[k], b[k * n + j], sum[j]);
			for (int64_t j = 0; j < n; j++) y[j] = block == 0 ? sum[j] : ADD(y[j], sum[j]);
		}
}

/* The same of row i, of some terms only. */
ALWAYS_INLINE void NAME(row_within)(const NAME(Product) *p, int64_t i, const T *a, const T *b, T *y, T *sum) {
	int64_t n = p->n, run = p->order.run;
	for (int64_t start = 0; start < p->order.terms; start += run)
		for (int64_t block = start; block < start + run; block += p->order.block) {
			for (int64_t j = 0; j < n; j++) sum[j] = 0;
			for (int64_t k = block; k < MIN(start + run, block + p->order.block); k++)
				for (int64_t j = 0; j < n; j++) {
					int64_t at = p->at_m[i] + p->at_n[j] + p->at_k[k] - p->first;
					if (at >= 0 && at < p->count) sum[j] = FMA(a[k], b[k * n + j], sum[j]);
				}
			for (int64_t j = 0; j < n; j++) y[j] = block == 0 ? sum[j] : ADD(y[j], sum[j]);
		}
}

ALWAYS_INLINE void NAME(product)(const NAME(Product) *p) {
	for (int64_t t = 0; t < p->batch; t++)
		for (int64_t i = 0; i < p->m; i++) {
			const T *a = p->a + (t * p->m + i) * p->order.terms, *b = p->b + t * p->order.terms * p->n;
			T *y = p->y + (t * p->m + i) * p->n;
			if (p->order.dot) *y = NAME(dot)(a, b, p->order.terms);
			else if (p->at_k) NAME(row_within)(p, i, a, b, y, p->sum);
			else NAME(row)(p, a, b, y, p->sum);
		}
}

static void NAME(product_plain)(const NAME(Product) *p) { NAME(product)(p); }
#ifdef FAST_TARGET
/* The same statements for a processor that has the instruction: a correctly rounded fma has one result. */
FAST_TARGET static void NAME(product_fast)(const NAME(Product) *p) { NAME(product)(p); }
#endif

/* Axes of each kind: batch (in a, b, y), m (a, y), n (b, y), k (a, b), as strides into the three tensors. */
typedef struct NAME(Axes) { int count; int64_t dim[MAX_RANK], a[MAX_RANK], b[MAX_RANK], y[MAX_RANK], total; } NAME(Axes);

static void NAME(add_axis)(NAME(Axes) *x, int64_t dim, int64_t a, int64_t b, int64_t y) {
	int i = x->count++;
	x->dim[i] = dim;
	x->a[i] = a;
	x->b[i] = b;
	x->y[i] = y;
	x->total *= dim;
}

static int NAME(find)(const IntList *list, int64_t label) {
	for (int i = 0; i < list->length; i++)
		if (list->data[i] == label) return i;
	return -1;
}

/* For each index of a group of axes: labels[k] is the label of the k-th, and p, t, stride, dilation are `within`. */
static int64_t *NAME(places)(Arena *arena, const NAME(Axes) *x, const int64_t *labels, const int64_t *within) {
	int64_t *at = NEW_ARRAY(arena, int64_t, x->total);
	for (int64_t i = 0; i < x->total; i++) {
		int64_t rest = i;
		for (int k = x->count - 1; k >= 0; rest /= x->dim[k], k--)
			at[i] += rest % x->dim[k] * (labels[k] == within[0] ? within[2] : labels[k] == within[1] ? within[3] : 0);
	}
	return at;
}

/* Copies a tensor whose axes are those of three groups, in that order, between dense and strided. */
static void NAME(arrange)(const NAME(Axes) *const g[3], char which, T *dense, T *strided, bool pack) {
	int64_t dim[3 * MAX_RANK], stride[3 * MAX_RANK], packed[3 * MAX_RANK];
	int rank = 0;
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < g[k]->count; i++, rank++) {
			dim[rank] = g[k]->dim[i];
			stride[rank] = which == 'a' ? g[k]->a[i] : which == 'b' ? g[k]->b[i] : g[k]->y[i];
		}
	dense_strides(rank, dim, packed);
	if (pack) eval_move(sizeof(T), rank, dim, (char *)dense, packed, (const char *)strided, stride);
	else eval_move(sizeof(T), rank, dim, (char *)strided, stride, (const char *)dense, packed);
}

static void NAME(contract)(const Val *v, const Tensor *arg, T *y) {
	Type a = arg[0].type, b = arg[1].type;
	const IntList *la = &v->list[0], *lb = &v->list[1], *ly = &v->list[2];
	int64_t sa[MAX_RANK], sb[MAX_RANK], sy[MAX_RANK], of_m[MAX_RANK], of_n[MAX_RANK], of_k[MAX_RANK];
	NAME(Axes) batch = {.total = 1}, m = {.total = 1}, n = {.total = 1}, k = {.total = 1};
	dense_strides(a.rank, a.dim, sa);
	dense_strides(b.rank, b.dim, sb);
	dense_strides(v->type.rank, v->type.dim, sy);
	for (int i = 0; i < a.rank; i++) {
		int in_b = NAME(find)(lb, la->data[i]), in_y = NAME(find)(ly, la->data[i]);
		if (in_y < 0) of_k[k.count] = la->data[i];
		else if (in_b < 0) of_m[m.count] = la->data[i];
		if (in_y < 0) NAME(add_axis)(&k, a.dim[i], sa[i], sb[in_b], 0);
		else if (in_b < 0) NAME(add_axis)(&m, a.dim[i], sa[i], 0, sy[in_y]);
		else NAME(add_axis)(&batch, a.dim[i], sa[i], sb[in_b], sy[in_y]);
	}
	for (int i = 0; i < b.rank; i++) {
		if (NAME(find)(la, lb->data[i]) >= 0) continue;
		of_n[n.count] = lb->data[i];
		NAME(add_axis)(&n, b.dim[i], 0, sb[i], sy[NAME(find)(ly, lb->data[i])]);
	}
	Arena *scratch = arena_new();
	T *pa = NEW_ARRAY(scratch, T, type_count(a)), *pb = NEW_ARRAY(scratch, T, type_count(b));
	T *py = NEW_ARRAY(scratch, T, type_count(v->type));
	NAME(arrange)((const NAME(Axes) *const[]){&batch, &m, &k}, 'a', pa, arg[0].data, true);
	NAME(arrange)((const NAME(Axes) *const[]){&batch, &k, &n}, 'b', pb, arg[1].data, true);
	NAME(Product) p = {.a = pa, .b = pb, .y = py, .sum = NEW_ARRAY(scratch, T, n.total),
	                   .batch = batch.total, .m = m.total, .n = n.total, .order = contract_order(v)};
	if (v->list[3].length) {
		const int64_t *within = v->list[3].data;
		p.at_m = NAME(places)(scratch, &m, of_m, within), p.at_n = NAME(places)(scratch, &n, of_n, within);
		p.at_k = NAME(places)(scratch, &k, of_k, within), p.first = within[4], p.count = within[5];
	}
#ifdef FAST_TARGET
	if (FAST_SUPPORTED) NAME(product_fast)(&p);
	else NAME(product_plain)(&p);
#else
	NAME(product_plain)(&p);
#endif
	NAME(arrange)((const NAME(Axes) *const[]){&batch, &m, &n}, 'y', py, y, false);
	arena_free(scratch);
}

/* ---- sums that overlap ---- */

static void NAME(fold)(const Val *v, const Tensor *arg, T *y) {
	int axis = (int)v->list[0].data[0];
	int64_t stride = v->list[1].data[0], dilation = v->list[2].data[0];
	Around to = around_axis(v->type, axis);
	int64_t n = arg[0].type.dim[axis], size = arg[0].type.dim[axis + 1];
	const T *x = arg[0].data;
	for (int64_t i = 0; i < type_count(v->type); i++) y[i] = 0;
	for (int64_t o = 0; o < to.outer; o++)
		for (int64_t i = 0; i < n; i++)
			for (int64_t r = 0; r < size; r++) {
				T *at = y + (o * to.n + i * stride + r * dilation) * to.inner;
				for (int64_t k = 0; k < to.inner; k++, x++) at[k] = ADD(at[k], *x);
			}
}

static void NAME(scatter_add)(const Val *v, const Tensor *arg, T *y) {
	Around to = around_axis(v->type, v->list[0].data[0]); /* (batch, n, rest) */
	int64_t per_batch = type_count(arg[1].type) / to.outer;
	const int32_t *index = arg[1].data;
	const T *x = arg[0].data;
	for (int64_t i = 0; i < type_count(v->type); i++) y[i] = 0;
	for (int64_t o = 0; o < to.outer; o++)
		for (int64_t i = 0; i < per_batch; i++, x += to.inner) {
			int64_t row = index[o * per_batch + i];
			if (row < 0 || row >= to.n) continue;
			T *at = y + (o * to.n + row) * to.inner;
			for (int64_t k = 0; k < to.inner; k++) at[k] = ADD(at[k], x[k]);
		}
}

/* Rows by the buckets that a sort has put their numbers in. */
static void NAME(sum_buckets)(const Val *v, const Tensor *arg, T *y) {
	int batch = arg[1].type.rank - 1;
	Around to = around_axis(v->type, batch); /* (batch, n, rest) */
	int64_t length = arg[1].type.dim[batch], m = length - 1 - to.n;
	for (int64_t o = 0; o < to.outer; o++)
		for (int64_t j = 0; j < to.n; j++, y += to.inner) {
			const int32_t *ends = (const int32_t *)arg[1].data + o * length, *order = ends + 1 + to.n;
			for (int64_t k = 0; k < to.inner; k++) y[k] = 0;
			for (int32_t p = ends[j]; p < ends[j + 1]; p++)
				for (int64_t k = 0; k < to.inner; k++)
					y[k] = ADD(y[k], ((const T *)arg[0].data)[(o * m + order[p]) * to.inner + k]);
		}
}

bool NAME(eval_arithmetic)(const Val *v, const Tensor *arg, void *y) {
	switch (v->op) {
	case OpReduceSum: case OpReduceMax: case OpReduceMin: case OpReduceProd: case OpReduceLse:
		NAME(reduce)(v, arg, y);
		return true;
	case OpArgMax: case OpCumSum: case OpArgSort: NAME(along)(v, arg, y); return true;
	case OpContract: NAME(contract)(v, arg, y); return true;
	case OpFold: NAME(fold)(v, arg, y); return true;
	case OpScatterAdd: NAME(scatter_add)(v, arg, y); return true;
	case OpSumBuckets: NAME(sum_buckets)(v, arg, y); return true;
	default:
		if (!op_info[v->op].pointwise) return false;
		NAME(pointwise)(v, arg, y);
		return true;
	}
}
