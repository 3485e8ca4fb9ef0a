"""Records what the declarations of tests/user/*.nn compute, as PyTorch and Keras have it, in float64.

Writes users.txt beside itself; README.md says how it reads.  Needs torch, keras, numpy from PyPI."""

from functions import first_parameters, gradients, run_keras
from record import Record, coarse, draw, keras, torch

import torch.nn.functional as F

record = Record("users.txt")


def squeeze_excite(x, own):
    s = F.relu(x.mean((1, 2)) @ own["dense.0/w"] + own["dense.0/b"])
    s = torch.sigmoid(s @ own["dense.1/w"] + own["dense.1/b"])
    return x * s[:, None, None, :]


record.use = "squeeze_excite.nn"
own = {"dense.0/w": coarse(4, 2), "dense.0/b": coarse(2) + 1, "dense.1/w": coarse(2, 4), "dense.1/b": coarse(4)}
record.layer("squeeze_excite(_, 2)", squeeze_excite, own, x=coarse(2, 3, 2, 4))


def focal(z, y, gamma, smoothing):
    l = F.log_softmax(z, -1)
    t = F.one_hot(y, z.shape[-1]) * (1 - smoothing) + smoothing / z.shape[-1]
    return -(t * (1 - l.exp()) ** gamma * l).sum(-1)


record.use = "focal.nn"
z, y = draw(5, 4), torch.tensor([0, 3, 2, 2, 1])
in_keras = keras.losses.CategoricalFocalCrossentropy(
    1.0, 2.0, from_logits=True, label_smoothing=0.1, reduction=None, dtype="float64"
)
record.function("focal(z, y)", lambda z, y: focal(z, y, 2, 0.1), ["z"], lambda z, y: in_keras(F.one_hot(y, 4) * 1.0, z), z=z, y=y)
record.function("focal(z, y, gamma = 1.5, smoothing = 0)", lambda z, y: focal(z, y, 1.5, 0), ["z"], z=z, y=y)

record.use = "lion.nn"
g, h = gradients()
p, b = first_parameters()
ps, bs = run_keras(keras.optimizers.Lion(0.01, 0.75, 0.875, weight_decay=0.25), g, h)
record.begin("roar(lr = 0.01, b1 = 0.75, b2 = 0.875, decay = 0.25)", "Keras", p=p, b=b, g=g, h=h)
record.end(ps=ps, bs=bs)


def spectral(x, own):
    layer = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 2))
    norm = layer.parametrizations.weight[0]
    norm._u, norm._v = own["u"].clone(), own["v"].clone()
    given = {"parametrizations.weight.original": own["w"].T, "bias": own["b"]}
    y = torch.func.functional_call(layer, given, x)
    return y, {"u": norm._u.detach(), "v": norm._v.detach()}


record.use = "spectral.nn"
own, states = {"w": coarse(3, 2), "b": coarse(2)}, {"u": coarse(2), "v": coarse(3)}
record.layer("spectral_dense(_, 2)", spectral, own, None, states, True, x=coarse(4, 3))


def peephole(x, own):
    n = own["c"].shape[0]
    h, hs = torch.zeros(x.shape[0], n), []
    for t in range(x.shape[1]):
        a = x[:, t] @ own["w"] + h @ own["u"] + own["b"]
        z = torch.sigmoid(a[:, :n] + own["p"][0] * h)
        r = torch.sigmoid(a[:, n:] + own["p"][1] * h)
        h = z * h + (1 - z) * torch.tanh(x[:, t] @ own["v"] + (r * h) @ own["q"] + own["c"])
        hs.append(h)
    return torch.stack(hs, 1)


record.use = "peephole.nn"
shapes = {"w": (2, 4), "u": (2, 4), "p": (2, 2), "b": (4,), "v": (2, 2), "q": (2, 2), "c": (2,)}
own = {name: coarse(*shape) for name, shape in shapes.items()}
record.layer("peephole_gru(_, 2)", peephole, own, x=coarse(2, 4, 2))
