"""Records activations, losses, optimisers and schedules of std as PyTorch and Keras compute them, in float64.

Writes activations.txt, losses.txt, optimizers.txt, schedules.txt beside itself; README.md says how they read.
Needs torch, keras, numpy from PyPI."""

from record import Record, draw, keras, numpy, random, torch

import torch.nn.functional as F


def rows(*shape):
    """Rows of probabilities that are multiples of 1/64."""
    counts = random.multinomial(64 - shape[-1], numpy.full(shape[-1], 1 / shape[-1]), size=shape[:-1]) + 1
    return torch.tensor(counts / 64)


def activations():
    record = Record("activations.txt")
    x = torch.cat([torch.tensor([0.0, -0.0, 3.0, -3.0, 1.0, -1.0, 0.125, -0.125, 20.0, -20.0, 88.0, -88.0, 2.0**-20]), draw(19)])
    a = keras.activations
    for expression, ours, theirs in (
        ("relu(x)", F.relu, a.relu),
        ("leaky_relu(x)", lambda x: F.leaky_relu(x, 0.2), lambda x: a.leaky_relu(x)),
        ("leaky_relu(x, slope = 0.0625)", lambda x: F.leaky_relu(x, 0.0625), lambda x: a.leaky_relu(x, negative_slope=0.0625)),
        ("elu(x)", F.elu, a.elu),
        ("elu(x, alpha = 0.5)", lambda x: F.elu(x, 0.5), lambda x: a.elu(x, alpha=0.5)),
        ("gelu(x)", F.gelu, lambda x: a.gelu(x, approximate=False)),
        ("gelu_tanh(x)", lambda x: F.gelu(x, approximate="tanh"), lambda x: a.gelu(x, approximate=True)),
        ("silu(x)", F.silu, a.silu),
        ("softplus(x)", lambda x: torch.logaddexp(x, torch.zeros_like(x)), a.softplus),
        ("sigmoid(x)", torch.sigmoid, a.sigmoid),
        ("hard_sigmoid(x)", lambda x: F.relu6(x + 3) / 6, a.hard_sigmoid),
        ("tanh(x)", torch.tanh, a.tanh),
    ):
        record.function(expression, lambda x: ours(x), ["x"], lambda x: theirs(x), x=x)
    far = torch.tensor([[100.0, -100, 0, 0, 99, 50, 1], [-1000.0, -1000, -1000, -1000, -1000, -1000, -1001]])
    for expression, ours, theirs in (
        ("softmax(x)", lambda x: F.softmax(x, -1), lambda x: a.softmax(x)),
        ("log_softmax(x)", lambda x: F.log_softmax(x, -1), lambda x: a.log_softmax(x)),
        ("softmax(x, axis = 0)", lambda x: F.softmax(x, 0), lambda x: a.softmax(x, axis=0)),
        ("log_softmax(x, axis = 0)", lambda x: F.log_softmax(x, 0), lambda x: a.log_softmax(x, axis=0)),
    ):
        record.function(expression, ours, ["x"], theirs, x=draw(4, 7))
        record.function(expression, ours, ["x"], theirs, x=far)


def losses():
    record = Record("losses.txt")
    k = keras.losses
    b, w = draw(5, 3), torch.tensor([1.0, 0.0, 0.5, 2.0, 3.25])
    a = b + draw(5, 3)
    a[0, 0] = b[0, 0]  # mae: slope 0 here

    def per_sample(f):
        return lambda a, b, w=None: f(a, b).mean(-1) * (1 if w is None else w)

    def from_keras(loss):
        """Keras' loss with the target first, one value per sample."""
        return lambda prediction, target, w=None: loss(target, prediction, sample_weight=w)

    def both(expression, ours, theirs, first="a", second="b", gradients=None, **inputs):
        """The case without and with a weight."""
        x, y = inputs.values()
        f = lambda **v: ours(v[first], v[second], v.get("w"))
        g = (lambda **v: theirs(v[first], v[second], v.get("w"))) if theirs else None
        record.function(expression % "", f, gradients or [first], g, **inputs)
        record.function(expression % ", weight = w", f, gradients or [first], g, w=w, **inputs)

    none = {"reduction": None, "dtype": "float64"}
    both(
        "mse(a, b%s)",
        per_sample(lambda a, b: F.mse_loss(a, b, reduction="none")),
        from_keras(k.MeanSquaredError(**none)),
        gradients=["a", "b"],
        a=a,
        b=b,
    )
    both(
        "mae(a, b%s)",
        per_sample(lambda a, b: F.l1_loss(a, b, reduction="none")),
        from_keras(k.MeanAbsoluteError(**none)),
        a=a,
        b=b,
    )
    both("huber(a, b%s)", per_sample(lambda a, b: F.huber_loss(a, b, reduction="none")), from_keras(k.Huber(**none)), a=a, b=b)
    both(
        "huber(a, b, delta = 0.5%s)",
        per_sample(lambda a, b: F.huber_loss(a, b, reduction="none", delta=0.5)),
        from_keras(k.Huber(delta=0.5, **none)),
        a=a,
        b=b,
    )
    record.function(
        "mse(a, b)", lambda a, b: F.mse_loss(a, b, reduction="none").mean((1, 2)), ["a"], a=draw(3, 2, 4), b=draw(3, 2, 4)
    )
    record.function("mae(a, b)", lambda a, b: F.l1_loss(a, b, reduction="none"), ["a"], a=draw(6), b=draw(6))

    z, y = draw(5, 4), torch.tensor([0, 3, 2, 2, 1])
    z[1] = torch.tensor([60.0, -60.0, 0.0, 1.0])
    for smoothing in 0, 0.125:
        tail = ", smoothing = %g" % smoothing if smoothing else ""
        both(
            "cross_entropy(z, y" + tail + "%s)",
            lambda z, y, w=None: F.cross_entropy(z, y, reduction="none", label_smoothing=smoothing) * (1 if w is None else w),
            None if smoothing else from_keras(k.SparseCategoricalCrossentropy(from_logits=True, **none)),
            "z",
            "y",
            z=z,
            y=y,
        )
        both(
            "soft_cross_entropy(z, p" + tail + "%s)",
            lambda z, p, w=None: F.cross_entropy(z, p, reduction="none", label_smoothing=smoothing) * (1 if w is None else w),
            from_keras(k.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, **none)),
            "z",
            "p",
            z=z,
            p=rows(5, 4),
        )
        smooth = lambda t: t * (1 - smoothing) + 0.5 * smoothing
        both(
            "binary_cross_entropy(z, t" + tail + "%s)",
            per_sample(lambda z, t: F.binary_cross_entropy_with_logits(z, smooth(t), reduction="none")),
            from_keras(k.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing, **none)),
            "z",
            "t",
            z=z,
            t=torch.tensor(random.integers(0, 2, (5, 4)) * 1.0),
        )
    record.function(
        "cross_entropy(z, y)",
        lambda z, y: F.cross_entropy(z.movedim(-1, 1), y, reduction="none"),
        ["z"],
        z=draw(2, 3, 4),
        y=torch.tensor([[0, 1, 3], [2, 2, 0]]),
    )
    both(
        "nll(log_softmax(z), y%s)",
        lambda z, y, w=None: F.nll_loss(F.log_softmax(z, -1), y, reduction="none") * (1 if w is None else w),
        None,
        "z",
        "y",
        z=z,
        y=y,
    )
    p = rows(5, 4)
    p[0] = torch.tensor([0.0, 0.5, 0.5, 0.0])  # 0 log 0 = 0
    both(
        "kl_divergence(q, p%s)",
        lambda q, p, w=None: F.kl_div(q.log(), p, reduction="none").sum(-1) * (1 if w is None else w),
        None,
        "q",
        "p",
        q=rows(5, 4),
        p=p,
    )
    sign = torch.tensor(random.integers(0, 2, (5, 3)) * 2.0 - 1)
    both(
        "hinge(a, t%s)",
        per_sample(lambda a, t: torch.clamp(1 - a * t, min=0)),
        from_keras(k.Hinge(**none)),
        "a",
        "t",
        a=draw(5, 3),
        t=sign,
    )
    both(
        "cosine_similarity(a, b%s)",
        lambda a, b, w=None: -F.cosine_similarity(a, b, dim=-1) * (1 if w is None else w),
        from_keras(k.CosineSimilarity(**none)),
        gradients=["a", "b"],
        a=draw(5, 3),
        b=draw(5, 3),
    )


STEPS = 10


def first_parameters():
    return 0.5 - 0.25 * torch.arange(6.0).reshape(2, 3), 0.5 - 0.25 * torch.arange(3.0)


def gradients():
    g, h = draw(STEPS, 2, 3, size=1.0), draw(STEPS, 3, size=1.0)
    g[:, 0, 0] = 0  # a gradient that is always 0
    g[1:, 0, 1] = 0  # one that is 0 but for the first step
    g[:, 0, 2] *= 2.0**-20  # a small one, where eps tells
    return g, h


def run_pytorch(make, g, h):
    """p is decayed, b (rank 1) is not."""
    p, b = (torch.nn.Parameter(t) for t in first_parameters())
    optimizer = make([{"params": [p]}, {"params": [b], "weight_decay": 0.0}])
    ps, bs = [], []
    for i in range(STEPS):
        p.grad, b.grad = g[i].clone(), h[i].clone()
        optimizer.step()
        ps.append(p.detach().clone())
        bs.append(b.detach().clone())
    return torch.stack(ps), torch.stack(bs)


def run_keras(optimizer, g, h):
    p, b = (keras.Variable(t.numpy(), dtype="float64", name=name) for t, name in zip(first_parameters(), "pb"))
    optimizer.exclude_from_weight_decay(var_names=["b"])
    ps, bs = [], []
    for i in range(STEPS):
        optimizer.apply([g[i], h[i]], [p, b])
        ps.append(p.value.detach().clone())
        bs.append(b.value.detach().clone())
    return torch.stack(ps), torch.stack(bs)


def optimizers():
    record = Record("optimizers.txt")
    g, h = gradients()
    t, k = torch.optim, keras.optimizers
    sgd, nadam = {"lr": 0.125}, {"lr": 0.01, "eps": 1e-7}
    for expression, ours, theirs in (
        ("sgd()", lambda p: t.SGD(p, 0.01), k.SGD()),
        ("sgd(lr = 0.125, momentum = 0.9)", lambda p: t.SGD(p, momentum=0.9, **sgd), k.SGD(0.125, momentum=0.9)),
        (
            "sgd(lr = 0.125, momentum = 0.9, nesterov = true)",
            lambda p: t.SGD(p, momentum=0.9, nesterov=True, **sgd),
            k.SGD(0.125, momentum=0.9, nesterov=True),
        ),
        ("sgd(lr = 0.125, decay = 0.25)", lambda p: t.SGD(p, weight_decay=0.25, **sgd), None),
        (
            "sgd(lr = 0.125, momentum = 0.9, nesterov = true, decay = 0.25)",
            lambda p: t.SGD(p, momentum=0.9, nesterov=True, weight_decay=0.25, **sgd),
            None,
        ),
        ("rmsprop()", lambda p: t.RMSprop(p, 0.001, alpha=0.9, eps=1e-7), None),
        ("rmsprop(lr = 0.01, rho = 0.75, eps = 0.001)", lambda p: t.RMSprop(p, 0.01, alpha=0.75, eps=1e-3), None),
        ("rmsprop(lr = 0.01, momentum = 0.5)", lambda p: t.RMSprop(p, 0.01, alpha=0.9, eps=1e-7, momentum=0.5), None),
        ("adagrad()", lambda p: t.Adagrad(p, 0.001, initial_accumulator_value=0.1, eps=1e-7), None),
        ("adagrad(lr = 0.125, start = 0.5)", lambda p: t.Adagrad(p, 0.125, initial_accumulator_value=0.5, eps=1e-7), None),
        ("adam()", lambda p: t.Adam(p, eps=1e-7), None),
        ("adam(lr = 0.01, b1 = 0.75, b2 = 0.875, eps = 0.001)", lambda p: t.Adam(p, 0.01, (0.75, 0.875), 1e-3), None),
        ("adamw()", lambda p: t.AdamW(p, eps=1e-7, weight_decay=0.004), None),
        ("adamw(lr = 0.01, decay = 0.25)", lambda p: t.AdamW(p, 0.01, eps=1e-7, weight_decay=0.25), None),
        ("nadam()", None, k.Nadam()),
        ("nadam(lr = 0.01, decay = 0.25)", None, k.Nadam(0.01, weight_decay=0.25)),
        ("nadam(lr = 0.01, momentum_decay = 0.004)", lambda p: t.NAdam(p, momentum_decay=0.004, **nadam), None),
        (
            "nadam(lr = 0.01, momentum_decay = 0.004, decay = 0.25)",
            lambda p: t.NAdam(p, momentum_decay=0.004, weight_decay=0.25, decoupled_weight_decay=True, **nadam),
            None,
        ),
        ("lion()", None, k.Lion()),
        ("lion(lr = 0.01, b1 = 0.75, b2 = 0.875, decay = 0.25)", None, k.Lion(0.01, 0.75, 0.875, weight_decay=0.25)),
    ):
        results = [run_pytorch(ours, g, h)] if ours else []
        if theirs:
            results.append(run_keras(theirs, g, h))
        for p, b in results[1:]:
            assert torch.allclose(p, results[0][0], rtol=1e-9) and torch.allclose(b, results[0][1], rtol=1e-9), expression
        p, b = first_parameters()
        record.begin(expression, " ".join(["PyTorch"] * bool(ours) + ["Keras"] * bool(theirs)), p=p, b=b, g=g, h=h)
        record.end(ps=results[0][0], bs=results[0][1])
    keras_adam = {
        "keras_adam()": k.Adam(),
        "keras_adam(lr = 0.01, b1 = 0.75, b2 = 0.875, eps = 0.001)": k.Adam(0.01, 0.75, 0.875, 1e-3),
    }
    for expression, optimizer in keras_adam.items():
        ps, bs = run_keras(optimizer, g, h)
        p, b = first_parameters()
        record.begin(expression, "Keras", p=p, b=b, g=g, h=h)
        record.end(ps=ps, bs=bs)


def pytorch_schedule(make, count, lr=1.0):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = make(optimizer)
    rates = []
    for i in range(count):
        if i > 0:
            optimizer.step()
            schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def schedules():
    record = Record("schedules.txt")
    s, t = keras.optimizers.schedules, torch.optim.lr_scheduler
    one = lambda f, start, count: [float(f(numpy.float64(i))) for i in range(start, start + count)]
    for expression, source, rates in (
        ("linear(0.5, 0, 20)", "Keras", one(s.PolynomialDecay(0.5, 20, 0.0), 1, 25)),
        ("linear(0.5, 0, 20, end = 0.125)", "Keras", one(s.PolynomialDecay(0.5, 20, 0.125), 1, 25)),
        ("step_decay(0.5, 7)", "PyTorch", pytorch_schedule(lambda o: t.StepLR(o, 7), 25, 0.5)),
        ("step_decay(0.5, 7, factor = 0.75)", "PyTorch", pytorch_schedule(lambda o: t.StepLR(o, 7, 0.75), 25, 0.5)),
        ("exponential_decay(0.5, 7)", "Keras", one(s.ExponentialDecay(0.5, 7, 0.96), 0, 25)),
        ("exponential_decay(0.5, 1, factor = 0.75)", "PyTorch", pytorch_schedule(lambda o: t.ExponentialLR(o, 0.75), 25, 0.5)),
        ("cosine(0.5, 0, 20)", "Keras", one(s.CosineDecay(0.5, 20), 1, 25)),
        ("cosine(0.5, 5, 20)", "Keras", one(s.CosineDecay(0.0, 15, warmup_target=0.5, warmup_steps=5), 1, 25)),
        ("one_cycle(0.5, 20)", "PyTorch", pytorch_schedule(lambda o: t.OneCycleLR(o, 0.5, 20), 20)),
        (
            "one_cycle(0.5, 20, rise = 0.5, start_factor = 10, end_factor = 100)",
            "PyTorch",
            pytorch_schedule(lambda o: t.OneCycleLR(o, 0.5, 20, pct_start=0.5, div_factor=10, final_div_factor=100), 20),
        ),
    ):
        record.begin(expression, source, step=torch.arange(1, len(rates) + 1))
        record.end(rate=torch.tensor(rates))


if __name__ == "__main__":
    activations()
    losses()
    optimizers()
    schedules()
