/* shape.c: sizes as polynomials in the batch.
 *
 * In: numbers and B.  Out: sums, products, comparison and text.  Guaranteed: no overflow; B equals no number. */
#include "front.h"

Dim dim_number(int64_t n) { return (Dim){.c = {n}}; }
Dim dim_batch(void) { return (Dim){.c = {0, 1}}; }

bool dim_equal(Dim a, Dim b) {
	for (int i = 0; i <= DIM_DEGREE; i++)
		if (a.c[i] != b.c[i]) return false;
	return true;
}

bool dim_known(Dim d, int64_t *n) {
	for (int i = 1; i <= DIM_DEGREE; i++)
		if (d.c[i]) return false;
	*n = d.c[0];
	return true;
}

bool dim_add(Dim a, Dim b, Dim *sum) {
	*sum = (Dim){0};
	for (int i = 0; i <= DIM_DEGREE; i++)
		if (__builtin_add_overflow(a.c[i], b.c[i], &sum->c[i])) return false;
	return true;
}

bool dim_sub(Dim a, Dim b, Dim *difference) {
	*difference = (Dim){0};
	for (int i = 0; i <= DIM_DEGREE; i++)
		if (__builtin_sub_overflow(a.c[i], b.c[i], &difference->c[i])) return false;
	return true;
}

bool dim_mul(Dim a, Dim b, Dim *product) {
	*product = (Dim){0};
	for (int i = 0; i <= DIM_DEGREE; i++)
		for (int j = 0; j <= DIM_DEGREE; j++) {
			int64_t term;
			if (!a.c[i] || !b.c[j]) continue;
			if (i + j > DIM_DEGREE || __builtin_mul_overflow(a.c[i], b.c[j], &term)) return false;
			if (__builtin_add_overflow(product->c[i + j], term, &product->c[i + j])) return false;
		}
	return true;
}

int64_t dim_value(const Elab *e, Dim d) {
	int64_t batch = e->build ? e->build->batch : 1, value = 0;
	for (int i = DIM_DEGREE; i >= 0; i--) {
		bool negative = (value < 0) != (batch < 0);
		if (__builtin_mul_overflow(value, batch, &value)) return negative ? INT64_MIN : INT64_MAX;
		if (__builtin_add_overflow(value, d.c[i], &value)) return d.c[i] < 0 ? INT64_MIN : INT64_MAX;
	}
	return value;
}

const char *dim_text(Arena *arena, Dim d) {
	Text text = {.arena = arena};
	bool first = true;
	int64_t number;
	if (dim_known(d, &number))
		return d.name ? arena_printf(arena, "%s=%lld", d.name, (long long)number)
		              : arena_printf(arena, "%lld", (long long)number);
	for (int i = DIM_DEGREE; i >= 0; i--) {
		int64_t c = d.c[i];
		if (!c) continue;
		if (!first) text_add(&text, c < 0 ? " - " : " + ");
		else if (c < 0) text_add(&text, "-");
		uint64_t size = c < 0 ? 0 - (uint64_t)c : (uint64_t)c;
		if (i == 0) text_add(&text, "%llu", (unsigned long long)size);
		else if (size != 1) text_add(&text, "%llu * ", (unsigned long long)size);
		if (i == 1) text_add(&text, "B");
		else if (i > 1) text_add(&text, "B^%d", i);
		first = false;
	}
	return text.data;
}

const char *shape_text(Arena *arena, int rank, const Dim *dims) {
	Text text = {.arena = arena};
	text_add(&text, "[");
	for (int i = 0; i < rank; i++) text_add(&text, "%s%s", i ? ", " : "", dim_text(arena, dims[i]));
	text_add(&text, "]");
	return text.data;
}
