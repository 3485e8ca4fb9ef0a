"""Coefficients of compiler/ir/math.def.

Each row fits sum(c[k] * x**power[k]) to a function so that the largest weighted error is smallest (Lawson's
reweighted least squares), then rounds the coefficients to float one by one, lowest power first, fitting those
still free again each time.  Prints C hexadecimal literals and the error reached.  Needs mpmath and numpy."""

import numpy
from mpmath import mp, mpf, exp, expm1, log, log1p, erf, erfc, sin, atan, atanh, sqrt, pi, cos

mp.dps = 40


def fit(f, weight, lo, hi, powers):
    """Coefficients of x**power for the smallest largest weighted error over [lo, hi]: Lawson's iteration."""
    middle, radius = (mpf(hi) + lo) / 2, (mpf(hi) - lo) / 2
    grid = [middle + radius * cos(pi * (i + mpf("0.5")) / 400) for i in range(400)]
    scale = max(abs(x) for x in grid)
    w = numpy.array([float(weight(x)) for x in grid])
    columns = numpy.array([[float((x / scale) ** p) for p in powers] for x in grid]) * w[:, None]
    wanted = numpy.array([float(f(x)) for x in grid]) * w
    importance = numpy.full(len(grid), 1 / len(grid))
    best, best_error = None, float("inf")
    for _ in range(600):
        root = numpy.sqrt(importance)
        solution = numpy.linalg.lstsq(columns * root[:, None], wanted * root, rcond=None)[0]
        error = numpy.abs(columns @ solution - wanted)
        if error.max() < best_error:
            best, best_error = solution, error.max()
        importance *= error
        importance /= importance.sum()
    return [mpf(float(c)) / scale**p for c, p in zip(best, powers)]


def rounded(f, weight, lo, hi, powers, fixed=()):
    """As fit, with float coefficients; `fixed` gives the first ones."""
    done = [mpf(c) for c in fixed]
    while len(done) < len(powers):

        def rest(x):
            return f(x) - sum(c * x**p for c, p in zip(done, powers))

        free = fit(rest, weight, lo, hi, powers[len(done) :])
        done.append(mpf(float(numpy.float32(float(free[0])))))
    grid = [mpf(lo) + (mpf(hi) - lo) * i / 700 for i in range(701)]
    worst = max(weight(x) * abs(f(x) - sum(c * x**p for c, p in zip(done, powers))) for x in grid)
    return done, worst


def show(name, *args, **keywords):
    coefficients, worst = rounded(*args, **keywords)
    print(name, "error 2^%.2f" % float(log(worst, 2)))
    for power, c in zip(args[4], coefficients):
        print("    x^%-2d %sf" % (power, float(c).hex().replace("0000000p", "p")))


def split(name, value, bits):
    """value as a sum of floats with the given numbers of significant bits, none beyond it."""
    parts = []
    for n in bits:
        scale = mpf(2) ** (n - 1 - int(mp.floor(log(abs(value), 2))))
        part = mp.floor(value * scale) / scale
        parts.append(float(part).hex().replace("0000000p", "p") + "f")
        value -= part
    print(name, *parts)


def w_erf(x):
    """erf(x) = -expm1(-x - x * w_erf(x))."""
    return (2 / sqrt(pi) if x == 0 else -log(erfc(x)) / x) - 1


split("ln2      ", log(mpf(2)), (16, 24))
split("pi/2     ", pi / 2, (11, 11, 24, 24))
for name, value in ("ln2", log(mpf(2))), ("log2(e)", 1 / log(mpf(2))), ("pi/2", pi / 2), ("2/pi", 2 / pi):
    print(name, float(numpy.float32(float(value))).hex())
half = log(mpf(2)) / 2 * mpf("1.0001")
quarter = pi / 4 * mpf("1.0001")
tiny = mpf("1e-3")
root = sqrt(mpf(2))
show("exp", exp, lambda x: exp(-x), -half, half, [0, 1, 2, 3, 4, 5, 6], fixed=(1, 1))
show("expm1", expm1, lambda x: 1 if x == 0 else 1 / abs(expm1(x)), -half, half, [1, 2, 3, 4, 5, 6], fixed=(1,))
show(
    "log",
    log1p,
    lambda x: 1 / abs(log1p(x)),
    root / 2 - 1 - mpf("1e-7"),
    root - 1 + mpf("1e-7"),
    list(range(1, 11)),
    fixed=(1, mpf("-0.5")),
)
show("2 atanh", lambda x: 2 * atanh(x), lambda x: 1 / (2 * atanh(x)), tiny, mpf("0.1716"), [1, 3, 5, 7, 9], fixed=(2,))
show("sin", sin, lambda x: 1 / sin(x), tiny, quarter, [1, 3, 5, 7], fixed=(1,))
show("cos", cos, lambda x: 1 / cos(x), tiny, quarter, [0, 2, 4, 6, 8], fixed=(1, mpf("-0.5")))
show("atan", atan, lambda x: 1 / atan(x), tiny, 1, list(range(1, 19, 2)), fixed=(1,))
show("erf", w_erf, lambda x: x * erfc(x) / erf(x) if x else sqrt(pi) / 2, 0, mpf("3.95"), list(range(9)))
