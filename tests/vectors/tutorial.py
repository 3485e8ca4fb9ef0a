"""Records how PyTorch and Keras train the two tutorial networks on Fashion-MNIST.

    python3 tutorial.py FOLDER_WITH_FASHION_MNIST

tutorial1: 784 -> dense 10 -> relu -> dense 1, binary cross-entropy on logits: is it footwear (classes 5, 7, 9)?
tutorial2: 784 -> dense 10 -> relu -> dense 10, categorical cross-entropy on logits.
100 steps of Adam (lr 0.001, eps 1e-7) on batches of 32 in file order, pixels / 255, in float32; losses in float64 as
well, because Keras computes 1 - 0.999^step in float32, an error of 1e-5 in the rate of the first steps.
Writes tutorialN_first.safetensors (weights before), tutorialN_{pytorch,keras}.safetensors (after), tutorial.txt (losses).
Needs torch, keras, jax, safetensors, numpy from PyPI."""

import gzip
import os
import sys

os.environ["KERAS_BACKEND"] = "jax"
import jax
import keras
import numpy
import torch
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS, BATCH = 100, 32


def load(folder):
    with gzip.open(os.path.join(folder, "train-images-idx3-ubyte.gz")) as f:
        images = numpy.frombuffer(f.read(), numpy.uint8, offset=16).reshape(-1, 784)[: STEPS * BATCH]
    with gzip.open(os.path.join(folder, "train-labels-idx1-ubyte.gz")) as f:
        labels = numpy.frombuffer(f.read(), numpy.uint8, offset=8)[: STEPS * BATCH]
    return images.astype(numpy.float32) / numpy.float32(255), labels.astype(numpy.int64)


def first_weight(tensor, shape, limit):
    """Element k of tensor t is limit * (h * 2^-23 - 1), h the upper 24 bits of hash(t * 2^24 + k): exact in float32."""
    h = numpy.arange(numpy.prod(shape), dtype=numpy.uint32) + numpy.uint32(tensor << 24)
    h = (h ^ h >> 16) * numpy.uint32(0x7FEB352D)
    h = (h ^ h >> 15) * numpy.uint32(0x846CA68B)
    h = h ^ h >> 16
    return ((h >> 8).astype(numpy.float32) * numpy.float32(2.0**-23) - 1).reshape(shape) * numpy.float32(limit)


def first_weights(outputs):
    return {
        "mlp/dense.0/w": first_weight(0, (784, 10), 0.0625),
        "mlp/dense.0/b": numpy.zeros(10, numpy.float32),
        "mlp/dense.1/w": first_weight(1, (10, outputs), 0.5),
        "mlp/dense.1/b": numpy.zeros(outputs, numpy.float32),
    }


def batches(images, labels, outputs):
    target = numpy.isin(labels, (5, 7, 9)).astype(numpy.float32)[:, None] if outputs == 1 else labels
    for i in range(STEPS):
        yield images[i * BATCH : (i + 1) * BATCH], target[i * BATCH : (i + 1) * BATCH]


def train_pytorch(first, images, labels, outputs, dtype=torch.float32):
    w = {name: torch.tensor(value, dtype=dtype, requires_grad=True) for name, value in first.items()}
    optimizer = torch.optim.Adam(w.values(), lr=0.001, eps=1e-7)
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits if outputs == 1 else torch.nn.functional.cross_entropy
    losses = []
    for x, y in batches(images, labels, outputs):
        h = torch.relu(torch.tensor(x, dtype=dtype) @ w["mlp/dense.0/w"] + w["mlp/dense.0/b"])
        target = torch.tensor(y, dtype=dtype) if outputs == 1 else torch.tensor(y)
        loss = loss_of(h @ w["mlp/dense.1/w"] + w["mlp/dense.1/b"], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, {name: value.detach().numpy() for name, value in w.items()}


def train_keras(first, images, labels, outputs, dtype="float32"):
    jax.config.update("jax_enable_x64", dtype == "float64")
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation="relu"), keras.layers.Dense(outputs)])
    model.set_weights(list(first.values()))
    loss_of = (keras.losses.BinaryCrossentropy if outputs == 1 else keras.losses.SparseCategoricalCrossentropy)(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate=0.001, epsilon=1e-7), loss_of)
    losses = []
    for x, y in batches(images, labels, outputs):
        model.reset_metrics()
        losses.append(float(model.train_on_batch(x.astype(dtype), y.astype(dtype) if outputs == 1 else y)))
    return losses, dict(zip(first, map(numpy.asarray, model.get_weights())))


def distance(a, b, first):
    """The largest difference of a tensor, relative to the largest distance any of its elements moved."""
    return {name: "%.1e" % (numpy.abs(a[name] - b[name]).max() / numpy.abs(b[name] - first[name]).max()) for name in first}


def main():
    jax.config.update("jax_default_matmul_precision", "highest")
    torch.set_num_threads(1)
    images, labels = load(sys.argv[1])
    columns = []
    for number, outputs in (1, 1), (2, 10):
        first = first_weights(outputs)
        save_file(first, os.path.join(HERE, "tutorial%d_first.safetensors" % number))
        for name, train, wide in ("pytorch", train_pytorch, torch.float64), ("keras", train_keras, "float64"):
            losses, last = train(first, images, labels, outputs)
            save_file(last, os.path.join(HERE, "tutorial%d_%s.safetensors" % (number, name)))
            exact_losses, exact = train(first, images, labels, outputs, wide)
            columns += [losses, exact_losses]
            print(
                number,
                name,
                "loss %.4f -> %.4f; float32 against float64: losses %.1e relative, weights"
                % (losses[0], losses[-1], max(abs(a / b - 1) for a, b in zip(losses, exact_losses))),
                distance(last, exact, first),
            )
    with open(os.path.join(HERE, "tutorial.txt"), "w") as out:
        out.write(
            "# tutorial.py: loss of every step; PyTorch %s, Keras %s on JAX %s\n"
            % (torch.__version__, keras.__version__, jax.__version__)
        )
        out.write("# step, then for tutorial1 and tutorial2: pytorch in float32, in float64, keras in float32, in float64\n")
        for step, row in enumerate(zip(*columns), 1):
            out.write("%d %s\n" % (step, " ".join("%.9g" % value for value in row)))


main()
