"""The nets of sizes.sh as ONNX: sizes_onnx.py NET WEIGHTS.safetensors OUT.onnx

in:  NET is online or convnet (examples/embed/cortex-m/online.nn, examples/convnet.nn), with weights as `nnc init` or `nnc train` writes them.
out: the same function, one picture of bytes [1, 28, 28] -> logits [1, 10].  Convolutions are NCHW there, so kernels and the rows of the
     dense layer behind them are put in that order.
"""
import json
import struct
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def read_safetensors(path):
    data = open(path, "rb").read()
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F32", name
        tensors[name.split("/", 1)[1]] = np.frombuffer(data[8 + length + begin:8 + length + end], "<f4").reshape(entry["shape"])
    return tensors


class Graph:
    def __init__(self):
        self.nodes, self.constants, self.last = [], [], "image"

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, kind, *others, **attributes):
        result = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *others], [result], **attributes))
        self.last = result

    def scale(self, shape):
        """Bytes to floats from 0 to 1."""
        self.add("Cast", to=TensorProto.FLOAT)
        self.add("Div", self.constant("scale", np.array([255], np.float32)))
        self.add("Reshape", self.constant("shape", np.array(shape, np.int64)))

    def dense(self, name, w, b):
        self.add("Gemm", self.constant(name + "_w", w), self.constant(name + "_b", b))

    def convolution(self, name, w, b):
        self.add("Conv", self.constant(name + "_w", w.transpose(3, 2, 0, 1)), self.constant(name + "_b", b), kernel_shape=list(w.shape[:2]))


def online(t):
    g = Graph()
    g.scale([1, 784])
    g.dense("d0", t["dense.0/w"], t["dense.0/b"])
    g.add("Relu")
    g.dense("d1", t["dense.1/w"], t["dense.1/b"])
    return g


def convnet(t):
    g = Graph()
    g.scale([1, 1, 28, 28])
    for i in range(2):
        g.convolution(f"c{i}", t[f"conv2d.{i}/w"], t[f"conv2d.{i}/b"])
        g.add("Relu")
        g.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    g.add("Flatten")
    g.dense("d", t["dense.0/w"].reshape(5, 5, 64, 10).transpose(2, 0, 1, 3).reshape(1600, 10), t["dense.0/b"])
    return g


def main():
    net, weights, out = sys.argv[1:]
    g = {"online": online, "convnet": convnet}[net](read_safetensors(weights))
    g.nodes[-1].output[0] = "logits"
    graph = helper.make_graph(
        g.nodes, net,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, out)


main()
