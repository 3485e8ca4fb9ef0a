/* made_up.c: in: a data declaration; out: samples of the declared types that no file holds.
 * Guaranteed: valid class indices, floats in [0, 1), the same numbers for the same seed and sizes. */
#include <stdlib.h>
#include <string.h>

#include "start.h"

static void fill(const DataField *f, int64_t count, uint64_t seed, char *out) {
	int64_t range = f->classes > 0 ? f->classes : f->type.dtype == DTYPE_BOOL ? 2 : f->type.dtype == DTYPE_U8 ? 256 : 8;
	for (int64_t i = 0; i < count; i++) {
		uint64_t bits = hash_mix(seed + (uint64_t)i);
		double integer = (double)((bits >> 32) % (uint64_t)range), real = (double)(bits >> 40) * 0x1p-24;
		double wide = (double)(bits >> 11) * 0x1p-53;
		DType dtype = f->type.dtype;
		double value = dtype == DTYPE_F64 ? wide : dtype_is_float(dtype) ? real : integer;
		element_store(out + i * dtype_info[dtype].bytes, dtype, value);
	}
}

Data *made_up_data(Arena *arena, const DataSet *set, const bool *wanted, int64_t samples, uint64_t seed) {
	Data *data = NEW(arena, Data);
	*data = (Data){.set = set,
	               .samples = samples,
	               .field = NEW_ARRAY(arena, char *, set->nfields + 1),
	               .sample_bytes = NEW_ARRAY(arena, size_t, set->nfields + 1),
	               .owned = NEW_ARRAY(arena, void *, set->nfields + 1)};
	for (int i = 0; i < set->nfields; i++) {
		const DataField *f = &set->fields[i];
		if (wanted && !wanted[i]) continue;
		data->sample_bytes[i] = (size_t)type_count(f->type) * (size_t)dtype_info[f->type.dtype].bytes;
		char *dense = malloc(data->sample_bytes[i] * (size_t)samples + 64);
		if (!dense) fatal("out of memory");
		fill(f, type_count(f->type) * samples, hash_mix(seed + (uint64_t)i), dense);
		data->field[i] = data->owned[i] = dense;
	}
	return data;
}
