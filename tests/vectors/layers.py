"""Records the layers of std as PyTorch and Keras compute them, in float64: values, gradients by inputs and parameters.

Writes layers.txt beside itself; README.md says how it reads.  Needs torch, keras, numpy from PyPI.
PyTorch computes; where Keras has the layer too, both must agree."""

from record import Record, coarse, keras, torch

import torch.nn.functional as F

k = keras.layers


def first(x):
    """Channels from the last place to the second."""
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


def same(n, size, stride, dilation=1):
    """How much Keras' "same" adds before and after n elements."""
    total = max(((n + stride - 1) // stride - 1) * stride + (size - 1) * dilation + 1 - n, 0)
    return total // 2, total - total // 2


def pair(v):
    return (v, v) if isinstance(v, int) else tuple(v)


def from_keras(layer, *names):
    """Keras' layer with our parameters put in its places."""

    def run(x, own):
        layer.build(x.shape)
        for variable, name in zip(layer.weights, names):
            variable._value = own[name].reshape(tuple(variable.shape))
        return layer.call(x)

    return run


def convolution(x, own, stride=1, pad=0, dilation=1, groups=1):
    """1 or 2 dims, w as std keeps it."""
    w, b = own["w"], own.get("b")
    x, w = first(x), w.movedim((-1, -2), (0, 1))
    rank = x.dim() - 2
    stride, dilation = (pair(v)[-rank:] for v in (stride, dilation))
    if pad == "same":
        around = [same(*v) for v in zip(x.shape[2:], w.shape[2:], stride, dilation)]
        x = F.pad(x, [n for p in reversed(around) for n in p])
        pad = 0
    pad = pair(pad)[-rank:]
    return last((F.conv1d if rank == 1 else F.conv2d)(x, w, b, stride, pad, dilation, groups))


def convolutions(record):
    def conv(settings, size, channels=2, n=2, shape=(5, 4), bias=True, with_keras=True, **options):
        rank, groups = len(shape), options.get("groups", 1)
        own = {"w": coarse(*pair(size)[-rank:], channels // groups, n)} | ({"b": coarse(n)} if bias else {})
        theirs = None
        if with_keras:
            layer = (k.Conv1D if rank == 1 else k.Conv2D)(
                n,
                pair(size)[-rank:],
                strides=pair(options.get("stride", 1))[-rank:],
                padding="same" if options.get("pad") == "same" else "valid",
                dilation_rate=pair(options.get("dilation", 1))[-rank:],
                groups=groups,
                use_bias=bias,
            )
            theirs = from_keras(layer, *own)
        record.layer(
            "conv%dd(_, %d, %s%s)" % (rank, n, list(size) if isinstance(size, tuple) else size, settings),
            lambda x, own: convolution(x, own, **options),
            own,
            theirs,
            x=coarse(2, *shape, channels),
        )

    conv("", 3, n=3)
    conv(", bias = false", (2, 3), bias=False)
    conv(", pad = 1", 3, pad=1, with_keras=False)
    conv(", stride = 2, pad = [2, 0]", (3, 2), stride=2, pad=(2, 0), with_keras=False)
    conv(', pad = "same"', 2, pad="same")
    conv(', stride = 2, pad = "same"', 3, pad="same", stride=2)
    conv(', stride = 3, pad = "same"', 2, pad="same", stride=3)
    conv(", stride = [1, 2]", 2, stride=(1, 2), with_keras=False)
    conv(", dilation = 2", 2, dilation=2)
    conv(', dilation = [2, 1], pad = "same"', (2, 3), dilation=(2, 1), pad="same")
    conv(", groups = 2", 2, channels=4, n=4, groups=2, shape=(3, 3))
    conv(", groups = 2, stride = 2, pad = 1", 3, channels=4, n=2, groups=2, stride=2, pad=1, with_keras=False, shape=(4, 3))
    conv("", 1, n=3, shape=(2, 3))
    conv("", 3, shape=(6,), n=3)
    conv(', stride = 2, pad = "same"', 3, shape=(6,), stride=2, pad="same")
    conv(", dilation = 2, pad = 2, groups = 2, bias = false", 3, bias=False, shape=(5,), dilation=2, pad=2, groups=2, with_keras=False)

    def depthwise(settings, size, multiplier=1, with_keras=True, **options):
        own = {"w": coarse(*pair(size), 2, multiplier), "b": coarse(2 * multiplier)}
        theirs = k.DepthwiseConv2D(
            pair(size),
            strides=pair(options.get("stride", 1)),
            padding="same" if options.get("pad") == "same" else "valid",
            depth_multiplier=multiplier,
            dilation_rate=options.get("dilation", 1),
        )
        record.layer(
            "depthwise_conv2d(_, %s%s)" % (list(size) if isinstance(size, tuple) else size, settings),
            lambda x, own: convolution(x, {"w": own["w"].flatten(2).unsqueeze(2), "b": own["b"]}, groups=2, **options),
            own,
            from_keras(theirs, *own) if with_keras else None,
            x=coarse(2, 4, 5, 2),
        )

    depthwise("", 3)
    depthwise(', stride = 2, pad = "same", multiplier = 2', (2, 3), 2, stride=2, pad="same")
    depthwise(", pad = 1, dilation = 2", 2, pad=1, dilation=2, with_keras=False)

    def transposed(settings, size, with_keras=True, shape=(3, 2), **options):
        own = {"w": coarse(*pair(size), 3, 2), "b": coarse(3)}
        pad = options.get("pad", 0)
        extra = options.get("extra", 0)
        stride, dilation = options.get("stride", 1), options.get("dilation", 1)

        def ours(x, own):
            x, w = first(x), own["w"].movedim((-1, -2), (0, 1))
            if pad != "same":
                return last(F.conv_transpose2d(x, w, own["b"], stride, pad, extra, dilation=dilation))
            y = F.conv_transpose2d(x, w, None, stride)  # all of it; then as much as "same" keeps is cut out
            for axis, count in (2, shape[0] * stride), (3, shape[1] * stride):
                reach = pair(size)[axis - 2]
                y = y.narrow(axis, max(reach - stride, 0) // 2, count)
            return last(y) + own["b"]

        theirs = k.Conv2DTranspose(3, pair(size), strides=stride, padding="same" if pad == "same" else "valid", dilation_rate=dilation)
        record.layer(
            "conv_transpose2d(_, 3, %s%s)" % (list(size) if isinstance(size, tuple) else size, settings),
            ours,
            own,
            from_keras(theirs, *own) if with_keras else None,
            x=coarse(2, *shape, 2),
        )

    transposed("", 3)
    transposed(", stride = 2", (2, 3), stride=2)
    transposed(", stride = 2, pad = 1, extra = 1", 3, stride=2, pad=1, extra=1, with_keras=False)
    transposed(', stride = 2, pad = "same"', 3, stride=2, pad="same")
    transposed(', stride = 2, pad = "same"', 4, stride=2, pad="same")
    transposed(", dilation = 2", 2, dilation=2)


def poolings(record):
    def pooled(x, size, stride, pad, kind, **options):
        x, rank = first(x), x.dim() - 2
        size, stride = (pair(v)[-rank:] for v in (size, stride))
        f = getattr(F, "%s_pool%dd" % (kind, rank))
        if pad != "same":
            return last(f(x, size, stride, pair(pad)[-rank:], **options))
        around = [n for p in reversed([same(*v) for v in zip(x.shape[2:], size, stride)]) for n in p]
        if kind == "max":
            return last(f(F.pad(x, around, value=-torch.inf), size, stride))
        count = f(F.pad(torch.ones_like(x), around), size, stride)
        return last(f(F.pad(x, around), size, stride) / count)

    def pool(kind, settings, size, stride=None, pad=0, shape=(5, 4), with_keras=True, channels=2, x=None, **options):
        stride = stride or size
        name = ("MaxPooling" if kind == "max" else "AveragePooling") + "%dD" % len(shape)
        theirs = getattr(k, name)(
            pair(size)[-len(shape) :], strides=pair(stride)[-len(shape) :], padding="same" if pad == "same" else "valid"
        )
        record.function(
            "%s_pool(x, %s%s)" % (kind, list(size) if isinstance(size, tuple) else size, settings),
            lambda x: pooled(x, size, stride, pad, kind, **options),
            ["x"],
            (lambda x: theirs(x)) if with_keras else None,
            x=coarse(2, *shape, channels, size=4) if x is None else x,
        )

    pool("max", "", 2)
    pool("max", "", 2, x=torch.relu(coarse(2, 5, 4, 2) - 0.5))  # ties: of equal ones the first
    pool("max", ", stride = 1, pad = 1", 3, 1, 1, shape=(4, 4), with_keras=False)
    pool("max", ', stride = 2, pad = "same"', 3, 2, "same")
    pool("max", ", stride = [1, 2]", (3, 2), (1, 2), with_keras=False)
    pool("max", "", 3, shape=(7,))
    pool("avg", "", 2)
    pool("avg", ", stride = 1", (3, 2), 1)
    # Keras on PyTorch repeats the edges here; on its other backends it divides by what lies inside, as written above
    pool("avg", ', stride = 2, pad = "same"', 3, 2, "same", with_keras=False)
    pool("avg", ", stride = 2, pad = 1", 3, 2, 1, with_keras=False, count_include_pad=False)
    pool("avg", ", stride = 2, pad = 1, count_pad = true", 3, 2, 1, with_keras=False)
    pool("avg", ', pad = "same"', 2, pad="same", shape=(5,), with_keras=False)
    x = coarse(2, 3, 2, 2)
    record.function("global_avg_pool(x)", lambda x: x.mean((1, 2)), ["x"], lambda x: k.GlobalAveragePooling2D()(x), x=x)
    record.function("global_max_pool(x)", lambda x: x.amax((1, 2)), ["x"], lambda x: k.GlobalMaxPooling2D()(x), x=x)
    record.function("global_avg_pool(x)", lambda x: x.mean(1), ["x"], lambda x: k.GlobalAveragePooling1D()(x), x=coarse(2, 5, 3))


def norms(record):
    def affine(n, *names):
        return {name: coarse(n) for name in names or ("g", "b")}

    def keras_layer(make):
        return lambda x, own: from_keras(make(), *own)(x, own)

    def layer_norm(x, own, eps):
        return F.layer_norm(x, x.shape[-1:], own.get("g"), own.get("b"), eps)

    x = coarse(3, 2, 4) + 1
    for settings, eps in ("", 1e-3), (", eps = 0.0625", 0.0625):
        make = lambda eps=eps: k.LayerNormalization(epsilon=eps)
        record.layer("layer_norm(_%s)" % settings, lambda x, own: layer_norm(x, own, eps), affine(4), keras_layer(make), x=x)
    record.layer("layer_norm(_, scale = false)", lambda x, own: layer_norm(x, {"g": torch.ones(4)} | own, 1e-3), affine(4, "b"), x=x)
    record.layer(
        "rms_norm(_)",
        lambda x, own: F.rms_norm(x, x.shape[-1:], own["g"], 1e-6),
        affine(4, "g"),
        keras_layer(lambda: k.RMSNormalization(epsilon=1e-6)),
        x=x,
    )
    group = lambda groups: lambda x, own: last(F.group_norm(first(x), groups, own["g"], own["b"], 1e-3))
    for groups in 1, 2, 4:
        make = lambda groups=groups: k.GroupNormalization(groups, epsilon=1e-3)
        x = coarse(2, 3, 2, 4)
        record.layer("group_norm(_, %d)" % groups, group(groups), affine(4), keras_layer(make), x=x)
    for settings, momentum, eps in ("", 0.99, 1e-3), (", momentum = 0.75, eps = 0.0625", 0.75, 0.0625):
        expression = "batch_norm(_%s)" % settings
        states = {"run_mean": coarse(3), "run_var": coarse(3).abs() + 0.25}
        for shape in (4, 3), (2, 2, 3, 3):
            x = coarse(*shape) * 2 + 1
            make = lambda: k.BatchNormalization(momentum=momentum, epsilon=eps)
            record.layer(
                expression,
                lambda x, own: last(F.batch_norm(first(x), own["run_mean"], own["run_var"], own["g"], own["b"], False, 0, eps)),
                affine(3),
                keras_layer(make),
                states,
                x=x,
            )

            def trained(x, own):
                y = last(F.batch_norm(first(x), None, None, own["g"], own["b"], True, 0, eps))
                axes = tuple(range(x.dim() - 1))
                mean, variance = x.mean(axes), x.var(axes, unbiased=False)
                now = [momentum * own[name] + (1 - momentum) * v for name, v in (("run_mean", mean), ("run_var", variance))]
                layer = make()
                layer.build(x.shape)
                for variable, name in zip(layer.weights, ("g", "b", "run_mean", "run_var")):
                    variable._value = own[name].detach().clone()
                other = layer(x, training=True)
                assert torch.allclose(y, other)
                assert all(torch.allclose(v, w._value) for v, w in zip(now, layer.weights[2:]))
                return y, {"run_mean": now[0], "run_var": now[1]}

            record.layer(expression, trained, affine(3), None, states, True, x=x)


def attentions(record):
    table = {"w": coarse(5, 3)}
    t = torch.tensor([[0, 4, 1], [1, 1, 3]])
    record.layer("embedding(_, 5, 3)", lambda t, own: F.embedding(t, own["w"]), table, from_keras(k.Embedding(5, 3), "w"), t=t)

    def heads_first(f):
        return lambda q, k, v: f(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)

    attend = F.scaled_dot_product_attention
    for settings, options in ("", {}), (", causal = true", {"is_causal": True}), (", scale = 0.25", {"scale": 0.25}):
        record.function(
            "attend(q, k, v%s)" % settings,
            heads_first(lambda q, k, v: attend(q, k, v, **options)),
            ["q", "k", "v"],
            q=coarse(2, 3, 2, 2),
            k=coarse(2, 3, 2, 2),
            v=coarse(2, 3, 2, 3),
        )
    record.function(
        "attend(q, k, v)",
        heads_first(attend),
        ["q", "k", "v"],
        q=coarse(1, 2, 2, 3),
        k=coarse(1, 4, 2, 3),
        v=coarse(1, 4, 2, 2),
    )

    def attention(x, own, heads, causal):
        C = x.shape[-1]
        layer = torch.nn.MultiheadAttention(C, heads, batch_first=True)
        mask = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if causal else None
        with torch.no_grad():
            layer.in_proj_bias.zero_()
            layer.out_proj.bias.zero_()
        given = {"in_proj_weight": own["dense.0/w"].T, "out_proj.weight": own["dense.1/w"].T}
        if "dense.0/b" in own:
            given |= {"in_proj_bias": own["dense.0/b"], "out_proj.bias": own["dense.1/b"]}
        return torch.func.functional_call(layer, given, (x, x, x), {"attn_mask": mask, "need_weights": False})[0]

    def keras_attention(x, own, heads, causal):
        C = x.shape[-1]
        layer = k.MultiHeadAttention(heads, C // heads, use_bias="dense.0/b" in own)
        layer.build(x.shape, x.shape)
        layer(x, x)  # builds its parts
        values = []
        for i in range(3):
            values.append(own["dense.0/w"][:, i * C : i * C + C])
            if "dense.0/b" in own:
                values.append(own["dense.0/b"][i * C : i * C + C])
        values += [own["dense.1/w"]] + ([own["dense.1/b"]] if "dense.0/b" in own else [])
        places = [layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense]
        for variable, value in zip([v for place in places for v in place.weights], values):
            variable._value = value.reshape(tuple(variable.shape))
        return layer(x, x, use_causal_mask=causal)

    for causal, bias in (False, True), (True, True), (True, False):
        own = {}
        for i, n in enumerate((12, 4)):
            own["dense.%d/w" % i] = coarse(4, n)
            if bias:
                own["dense.%d/b" % i] = coarse(n)
        record.layer(
            "attention(_, 2%s%s)" % (", causal = true" if causal else "", "" if bias else ", bias = false"),
            lambda x, own: attention(x, own, 2, causal),
            own,
            lambda x, own: keras_attention(x, own, 2, causal),
            x=coarse(2, 3, 4),
        )


def recurrents(record):
    def pytorch(make, n, order, x, own, reversed):
        """order: which of our gates PyTorch has first, second, .."""
        layer = make(x.shape[-1], n, batch_first=True)
        gates = lambda v: torch.cat([v[..., g * n : g * n + n] for g in order], -1)
        zero = torch.zeros(len(order) * n)
        given = {
            "weight_ih_l0": gates(own["w"]).T,
            "weight_hh_l0": gates(own["u"]).T,
            "bias_ih_l0": gates(own.get("b", zero)),
            "bias_hh_l0": gates(own.get("c", zero)),
        }
        y = torch.func.functional_call(layer, given, x.flip(1) if reversed else x)[0]
        return y.flip(1) if reversed else y

    def in_keras(layer, x, own, reversed):
        layer.build(x.shape)
        values = [own["w"], own["u"]]
        if "b" in own:
            values.append(torch.stack([own["b"], own["c"]]) if "c" in own else own["b"])
        for variable, value in zip(layer.weights, values):
            variable._value = value
        y = layer.call(x.flip(1) if reversed else x)
        return y.flip(1) if reversed else y

    for name, make, theirs, order in (
        ("rnn", torch.nn.RNN, k.SimpleRNN, [0]),
        ("lstm", torch.nn.LSTM, k.LSTM, [0, 1, 2, 3]),
        ("gru", torch.nn.GRU, k.GRU, [1, 0, 2]),
    ):
        for settings, bias, reversed in ("", True, False), (", reversed = true", True, True), (", bias = false", False, False):
            n = 2
            own = {"w": coarse(3, len(order) * n), "u": coarse(n, len(order) * n)}
            if bias:
                own |= {b: coarse(len(order) * n) for b in ("bc" if name == "gru" else "b")}
            record.layer(
                "%s(_, %d%s)" % (name, n, settings),
                lambda x, own: pytorch(make, n, order, x, own, reversed),
                own,
                lambda x, own: in_keras(theirs(n, use_bias=bias, return_sequences=True), x, own, reversed),
                x=coarse(2, 3, 3),
            )


record = Record("layers.txt")
convolutions(record)
poolings(record)
norms(record)
attentions(record)
recurrents(record)
