"""What the scripts that record vectors have in common: exact inputs, and the text files that README.md describes."""

import os
import sys

os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
torch.set_default_dtype(torch.float64)
keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")
random = numpy.random.default_rng(20)


def draw(*shape, size=2.0):
    """Multiples of 1/64, exact in every float type."""
    return torch.tensor(numpy.round(random.normal(size=shape) * size * 64) / 64)


def coarse(*shape, size=1.0):
    """Multiples of 1/16: few digits, and sums of products stay exact."""
    return torch.tensor(numpy.round(random.normal(size=shape) * size * 16) / 16)


def line(out, name, value, dtype=None):
    value = torch.as_tensor(value).detach()
    dtype = dtype or ("i32" if value.dtype == torch.int64 else "f64")
    dims = ",".join(map(str, value.shape))
    out.write("%s %s[%s] %s\n" % (name, dtype, dims, " ".join("%.17g" % v for v in value.flatten().tolist())))


class Record:
    """One text file of cases: what to evaluate, who computed it, the inputs and the results."""

    def __init__(self, name):
        self.use = None  # of tests/user/: the file that declares what is evaluated
        self.out = open(os.path.join(HERE, name), "w")
        script = os.path.basename(sys.argv[0])
        self.out.write("# %s: PyTorch %s, Keras %s\n" % (script, torch.__version__, keras.__version__))

    def begin(self, expression, source, **inputs):
        self.out.write("\ncase %s\nfrom %s\n" % (expression, source))
        if self.use:
            self.out.write("use %s\n" % self.use)
        for name, value in inputs.items():
            line(self.out, name, value, "f32" if value.is_floating_point() else None)

    def end(self, **results):
        for name, value in results.items():
            line(self.out, name, value)

    def function(self, expression, ours, wanted, theirs=None, source=None, **inputs):
        """Value, cotangent dy and gradients of the inputs named in `wanted`; `theirs` must agree with `ours`."""
        given = {name: value.clone().requires_grad_(name in wanted) for name, value in inputs.items()}
        value = ours(**given)
        names = source or "PyTorch"
        if theirs is not None:
            other = theirs(**given)
            assert torch.allclose(value, other, rtol=1e-6, atol=1e-9), expression  # Keras rounds some results to float32
            names += " Keras"
        dy = draw(*value.shape, size=1.0)
        gradient = torch.autograd.grad(value, [given[name] for name in wanted], dy)
        self.begin(expression, names, **inputs)
        self.end(y=value, dy=dy, **{"d" + name: g for name, g in zip(wanted, gradient)})

    def layer(self, expression, ours, parameters, theirs=None, states={}, training=False, **inputs):
        """Like function, of a layer: `ours` takes the inputs and a dict of parameters, `theirs` likewise.

        Differentiates by every float input and parameter; parameters and states are recorded as `.path`.  Training, `ours`
        gives the value and a dict of the states afterwards, recorded as `s.path`."""
        given = {name: value.clone().requires_grad_(value.is_floating_point()) for name, value in inputs.items()}
        own = {name: value.clone().requires_grad_(True) for name, value in parameters.items()} | states
        value = ours(*given.values(), own)
        after = {}
        if training:
            value, after = value
        if theirs is not None:
            other = theirs(*given.values(), own)
            assert value.shape == other.shape, expression
            assert torch.allclose(value, other, rtol=1e-6, atol=1e-6), expression  # some of Keras computes in float32
        dy = coarse(*value.shape)
        wanted = {name: v for name, v in given.items() if v.is_floating_point()} | {"." + name: own[name] for name in parameters}
        gradient = torch.autograd.grad(value, list(wanted.values()), dy)
        recorded = inputs | {"." + name: v for name, v in (parameters | states).items()}
        source = "PyTorch Keras" if theirs is not None else "PyTorch"
        self.begin(expression + (" training" if training else ""), source, **recorded)
        results = {"d" + name: g for name, g in zip(wanted, gradient)} | {"s." + name: v for name, v in after.items()}
        self.end(y=value, dy=dy, **results)
