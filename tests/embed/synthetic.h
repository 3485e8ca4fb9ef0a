/* synthetic.h: what both sides of the comparison feed: numbers made from the step, the array and the element, exact on every
 * machine; and the hash they print. */
#ifndef NNC_TEST_SYNTHETIC_H
#define NNC_TEST_SYNTHETIC_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t synthetic_bits(uint64_t step, uint64_t array, uint64_t element) {
	uint64_t x = (step << 48) ^ (array << 40) ^ element;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u + 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* size: bytes of an element; floats in -1 .. 1, classes in 0 .. classes - 1, bytes and other integers small. */
static inline void synthetic_fill(void *to, int is_float, int size, uint64_t classes, size_t count, uint64_t step,
                                  uint64_t array) {
	for (size_t i = 0; i < count; i++) {
		uint64_t bits = synthetic_bits(step, array, i);
		float value = (float)(int32_t)(bits >> 40) * 0x1p-23f - 1.0f;   /* exact; nothing here is a function of a library */
		uint32_t whole = classes ? (uint32_t)(bits >> 32) % (uint32_t)classes : (uint32_t)bits & 127;
		if (is_float && size == 4) ((float *)to)[i] = value;
#ifndef NO_DOUBLE
		else if (is_float) ((double *)to)[i] = (double)value;
#endif
		else if (size == 4) ((int32_t *)to)[i] = (int32_t)whole;
		else ((uint8_t *)to)[i] = (uint8_t)whole;
	}
}

static inline uint64_t hash_more(uint64_t hash, const void *data, size_t bytes) {
	for (size_t i = 0; i < bytes; i++) hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
	return hash;
}

enum { SHORT_STEPS = 20, LONG_STEPS = 200 };

#endif
