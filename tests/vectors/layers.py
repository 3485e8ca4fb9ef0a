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


record = Record("layers.txt")
convolutions(record)
poolings(record)
