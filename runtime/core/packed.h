#ifndef NNC_CORE_PACKED_H
#define NNC_CORE_PACKED_H

#include <stddef.h>
#include <stdint.h>

#if defined __cplusplus
#define NNC_ALIGNED alignas(64)
#elif defined __STDC_VERSION__ && __STDC_VERSION__ >= 201112L
#define NNC_ALIGNED _Alignas(64)
#else
#define NNC_ALIGNED __attribute__((aligned(64)))
#endif

/* What every block of parameters begins with: whose it is, the version of the ABI, and the bytes of the block. */
typedef struct nnc_head { uint64_t id; uint32_t abi, bytes; unsigned char unused[48]; } nnc_head;

/* Freestanding: no library is called.  A packed tensor is row-major like a dense one, but its rows (last axis) lie
 * `stride` bytes apart, and it takes `bytes` bytes in all; what lies between is padding, zero after nnc_pack(). */
static inline void nnc_pack(unsigned char *packed, size_t stride, size_t bytes,
                            const unsigned char *dense, size_t rows, size_t row) {
	size_t r, i;
	for (i = 0; i < bytes; i++) packed[i] = 0;
	for (r = 0; r < rows; r++)
		for (i = 0; i < row; i++) packed[r * stride + i] = dense[r * row + i];
}

static inline void nnc_unpack(const unsigned char *packed, size_t stride, unsigned char *dense, size_t rows, size_t row) {
	size_t r, i;
	for (r = 0; r < rows; r++)
		for (i = 0; i < row; i++) dense[r * row + i] = packed[r * stride + i];
}

static inline int nnc_same_text(const char *a, const char *b) {
	while (*a && *a == *b) a++, b++;
	return *a == *b;
}

#endif
