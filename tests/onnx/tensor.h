/* tensor.h: tensors of the ONNX test files, and as NumPy files.
 *
 * In: files of Debian's libonnx-testdata, .npy files that nnc wrote.  Out: tensors with every element as a double (integers
 * up to 2^53 are exact, and the tests hold none above).  A damaged file ends the program. */
#ifndef NNC_TESTS_ONNX_TENSOR_H
#define NNC_TESTS_ONNX_TENSOR_H
#include <stdint.h>

enum { TENSOR_RANK = 12, GRAPH_NAMES = 32 };

typedef struct Tensor {
	int rank;
	int64_t dim[TENSOR_RANK];
	int64_t count;
	char kind;                      /* f float, i integer, b bool */
	int bytes;                      /* of an element */
	const char *nn;                 /* the type that carries it in .nn; NULL where there is none */
	double *value;
} Tensor;

/* Names that begin with a digit get an x before it. */
typedef struct Graph {
	int ninputs, noutputs, nconstants;
	char *input[GRAPH_NAMES], *output[GRAPH_NAMES], *constant[GRAPH_NAMES];
	Tensor value[GRAPH_NAMES];      /* of the constants (initializers, most of them inputs too) */
} Graph;

_Noreturn void fail(const char *format, ...);
Graph onnx_graph(const char *path);                     /* of model.onnx */
Tensor onnx_tensor(const char *path);                   /* a TensorProto */
Tensor npy_read(const char *path);
void npy_write(const char *path, const Tensor *t);      /* integers as int64 */
#endif
