#!/usr/bin/env python3
"""Convolutions of nnc beside those of oneDNN and the FMA peak, one thread: forward, dw (of the weights), dx (of the image).

    convolutions.py NNC [--set p5,p6|random] [--seed 1] [--count 20] [--rounds 7] [--log FILE]

Each pass is a model of its own (`grad` of an indexed definition), compiled to an object; a C program runs it and oneDNN's
(libdnnl-dev, in the layout that it likes best, no reorder counted) in turn, about 20 ms each, and takes medians.  Limits: of the
sets p5 and p6 every pass >= 85 % of oneDNN's speed and their sum ahead of it; of random shapes a median of 65 % of the peak.
Without oneDNN only the peak is compared with.  Exit code 1 when a limit is missed.
"""
import argparse
import pathlib
import random
import subprocess
import tempfile

from bound import HERE, Log, median, peak, peak_program, run

# batch, height, width, channels, filters, size, stride, pad, groups; the first layers need no dx
SETS = {
    "p5": [(128, 28, 28, 1, 32, 3, 1, 0, 1), (128, 13, 13, 32, 64, 3, 1, 0, 1)],
    "p6": [(128, 32, 32, 3, 16, 3, 1, 1, 1), (128, 32, 32, 16, 16, 3, 1, 1, 1), (128, 32, 32, 16, 32, 3, 2, 1, 1),
           (128, 32, 32, 16, 32, 1, 2, 0, 1), (128, 16, 16, 32, 32, 3, 1, 1, 1), (128, 16, 16, 32, 64, 3, 2, 1, 1),
           (128, 16, 16, 32, 64, 1, 2, 0, 1), (128, 8, 8, 64, 64, 3, 1, 1, 1)],
}
PASSES = "forward", "dw", "dx"
OF_PEER, OF_PEAK = 0.85, 0.65


def draw(dice):
    """A shape of 1x1 to 7x7, strides, groups, 1 to 256 channels, and at most about a GFLOP."""
    while True:
        groups = dice.choice([1, 1, 1, 2, 4])
        c, o = (groups * dice.choice([1, 3, 8, 16, 24, 32, 64, 100, 128, 256]) for _ in range(2))
        size, stride, side, batch = dice.randint(1, 7), dice.choice([1, 1, 2]), dice.randint(7, 56), dice.choice([1, 4, 16, 32])
        shape = batch, side, side, c, o, size, stride, dice.choice([0, size // 2]), groups
        if c <= 256 and o <= 256 and side > size and 2e7 < flops(shape) < 1e9:
            return shape


def outside(shape):
    _, h, w, _, _, size, stride, pad, _ = shape
    return (h + 2 * pad - size) // stride + 1, (w + 2 * pad - size) // stride + 1


def flops(shape):
    batch, _, _, c, o, size, _, _, groups = shape
    oh, ow = outside(shape)
    return 2 * batch * oh * ow * size * size * (c // groups) * o


def text(shape, which):
    """The model of one pass."""
    batch, h, w, c, o, size, stride, pad, groups = shape
    oh, ow = outside(shape)
    k, n = c // groups, o // groups
    x, y, v = f"[{batch}, {h}, {w}, {c}]", f"[{batch}, {oh}, {ow}, {o}]", f"[{size}, {size}, {k}, {o}]"
    place = f"x[b, i * {stride} + r - {pad}, j * {stride} + s - {pad}"
    if groups == 1:
        body = f"  let y[b, i < {oh}, j < {ow}, o] = sum[r, s, c]({place}, c | 0] * w[r, s, c, o])\n"
    else:
        body = (f"  let v = reshape(w, {size}, {size}, {k}, {groups}, {n})\n"
                f"  let z[b, i < {oh}, j < {ow}, g, o] = sum[r, s, c]({place}, g * {k} + c | 0] * v[r, s, c, g, o])\n"
                f"  let y = reshape(z, {batch}, {oh}, {ow}, {o})\n")
    result = {"forward": y, "dw": v, "dx": x}[which]
    value = {"forward": "y", "dw": "grad(sum(y * dy), w)", "dx": "grad(sum(y * dy), x)"}[which]
    return f"model {which}(x: {x}, w: {v}{'' if which == 'forward' else ', dy: ' + y}) -> {result} {{\n{body}  return {value}\n}}\n"


def program(shape, passes, peer):
    """C that prints the median microseconds of ours and theirs for each pass."""
    batch, h, w, c, o, size, stride, pad, groups = shape
    oh, ow = outside(shape)
    out = ["#define _GNU_SOURCE", "#include <stdio.h>", "#include <stdlib.h>", "#include <time.h>"]
    out += [f'#include "{p}.h"' for p in passes] + (['#include "convolution_peer.h"'] if peer else [])
    out += [f"static const float *numbers(void) {{ long n = 1; float *p = aligned_alloc(64, n = {4 * max(batch * h * w * c, batch * oh * ow * o, size * size * c * o) + 4096} / 64 * 64);"
            " for (long i = 0; i < n / 4; i++) p[i] = (float)(i % 7) * 0.25f - 0.75f; return p; }",
            "static const float *x, *w, *dy; static float *y; static void *scratch;"]
    for p in passes:
        out.append(f"static void {p}_run(void *peer) {{ static {p}_params none = {{{{{p}_PARAMS_ID, {p}_ABI, {p}_PARAMS_BYTES, {{0}}}}}}; (void)peer;"
                   f" if ({p}_{p}(&none, x, w, {'' if p == 'forward' else 'dy, '}y, scratch)) abort(); }}")
    out += ["static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3; }",
            "static double each(void (*run)(void *), void *on, int n) { double t = now(); for (int i = 0; i < n; i++) run(on); return (now() - t) / n; }",
            "static int compare(const void *a, const void *b) { double d = *(const double *)a - *(const double *)b; return (d > 0) - (d < 0); }"]
    if peer:
        out.append("static void theirs(void *p) { peer_run(p); }")
    out += ["int main(int argc, char **argv) { int rounds = argc > 1 ? atoi(argv[1]) : 7; double t[2][64];",
            "  x = numbers(), w = numbers(), dy = numbers(), y = (float *)numbers(); size_t most = 64;"]
    for p in passes:
        out.append(f"  if ({p}_SCRATCH_INFER > most) most = {p}_SCRATCH_INFER;")
    out.append("  scratch = aligned_alloc(64, most + 64);")
    if peer:
        out.append(f"  Shape shape = {{{batch}, {h}, {w}, {c}, {o}, {oh}, {ow}, {size}, {size}, {stride}, {pad}, {groups}}};")
    for p in passes:
        out.append(f"  {{ void *on = {f'peer_new(&shape, {PASSES.index(p)})' if peer else 'NULL'}; {p}_run(NULL); int n[2] = {{1, 1}};"
                   f" double once = each({p}_run, NULL, 1); n[0] = once > 20000 ? 1 : (int)(20000 / once) + 1;")
        if peer:
            out.append("    theirs(on); once = each(theirs, on, 1); n[1] = once > 20000 ? 1 : (int)(20000 / once) + 1;")
        out.append(f"    for (int r = 0; r < rounds; r++) {{ t[0][r] = each({p}_run, NULL, n[0]); t[1][r] = {'each(theirs, on, n[1])' if peer else '0'}; }}")
        out.append("    (void)on; for (int i = 0; i < 2; i++) qsort(t[i], (size_t)rounds, sizeof(double), compare);")
        out.append(f'    printf("{p} %.2f %.2f\\n", t[0][rounds / 2], t[1][rounds / 2]); }}')
    return "\n".join(out) + "\n  return 0; }\n"


def measure(nnc, shape, passes, rounds, peer):
    """{pass: (ours, theirs)} in microseconds."""
    with tempfile.TemporaryDirectory(prefix="nnc-convolution-") as folder:
        folder = pathlib.Path(folder)
        for p in passes:
            (folder / f"{p}.nn").write_text(text(shape, p))
            run([nnc, "compile", folder / f"{p}.nn", "-o", folder / f"{p}.o", "--cpu", "native", "--entry", "infer"])
        (folder / "main.c").write_text(program(shape, passes, peer))
        libraries = [HERE / "convolution_peer.c", "-ldnnl"] if peer else []
        run(["cc", "-O2", "-I", HERE, "-I", folder, folder / "main.c", *(folder / f"{p}.o" for p in passes), *libraries, "-o", folder / "main"])
        lines = run(["env", "OMP_NUM_THREADS=1", folder / "main", rounds]).splitlines()
    return {p: (float(a), float(b)) for p, a, b in (line.split() for line in lines)}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("nnc")
    a.add_argument("--set", default="p5,p6,random")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--count", type=int, default=20)
    a.add_argument("--rounds", type=int, default=7)
    a.add_argument("--log")
    args = a.parse_args()
    say = Log(args.log or pathlib.Path(args.nnc).resolve().parent / "convolutions.log", "convolutions")
    peer = subprocess.run(["cc", "-E", "-include", "dnnl.h", "-x", "c", "/dev/null"], capture_output=True).returncode == 0
    bar = peak_program()
    missed = 0
    for name in args.set.split(","):
        dice = random.Random(args.seed)
        shapes = SETS.get(name) or [draw(dice) for _ in range(args.count)]
        parts, total = [], {0: 0.0, 1: 0.0}
        say("| set | batch, size, channels, filters, kernel, stride, pad, groups | pass | us | of the peak | oneDNN, us | speed of it |")
        say("|---|---|---|---|---|---|---|")
        for i, shape in enumerate(shapes):
            top = peak(bar, 1)["fma_gflops"]
            passes = PASSES[:2] if name in SETS and i == 0 else PASSES
            for p, (ours, theirs) in measure(args.nnc, shape, passes, args.rounds, peer).items():
                part = flops(shape) / ours / 1e3 / top
                parts.append(part)
                total[0] += ours
                total[1] += theirs
                low = name in SETS and theirs and theirs / ours < OF_PEER
                missed += low
                say(f"| {name} | {', '.join(map(str, shape))} | {p} | {ours:.1f} | {100 * part:.0f} % | {theirs:.1f} | "
                    f"{theirs / ours if theirs else 0:.2f}{' MISSED' if low else ''} |")
        if name in SETS:
            missed += total[1] > 0 and total[0] > total[1]
            say(f"{name}: in all {total[0]:.0f} us, oneDNN {total[1]:.0f} us")
        else:
            missed += median(parts) < OF_PEAK
            say(f"{name}, seed {args.seed}: median {100 * median(parts):.0f} % of the peak (at least {100 * OF_PEAK:.0f} %)")
    raise SystemExit(missed > 0)


if __name__ == "__main__":
    main()
