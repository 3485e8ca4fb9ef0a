"""Lower bounds of a training step, and what the scripts beside this one share.

The bound of a net of dense layers under Adam: its FLOPs at the FMA peak and Adam's arithmetic at its own measured rate,
which compete for the same pipes, or its bytes at the bandwidth of the level that holds them, whichever takes longer.
FLOPs: 2 per multiply-add of forward, dW and, except for the first layer, dX.  Bytes: weights read twice, weights and both
moments read and written in the update, the batch read once.  Activations, packing and element-wise work are free.

A command runs as it is, or behind the words of NNC_BENCH_WRAP (a higher priority, say: `nice -n -15`).
"""
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
WRAP = shlex.split(os.environ.get("NNC_BENCH_WRAP", ""))


def run(command, **more):
    return subprocess.run([*WRAP, *map(str, command)], check=True, capture_output=True, text=True, **more).stdout


def busy():
    """Seconds that all cores together have worked so far, for whomever."""
    fields = [int(x) for x in open("/proc/stat").readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def own():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


class Quiet:
    """What part of the machine others took meanwhile: `with Quiet() as q: ...; q.others`."""

    def __enter__(self):
        self.start = time.monotonic(), busy(), own()
        return self

    def __exit__(self, *_):
        wall, all_busy, mine = time.monotonic() - self.start[0], busy() - self.start[1], own() - self.start[2]
        self.others = max(0.0, (all_busy - mine) / (wall * os.cpu_count()))


def peak_program(cpu="native"):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nnc-peak-"))
    cc = os.environ.get("CC", "cc")
    subprocess.run([*shlex.split(cc), "-O3", f"-march={cpu}", "-ffast-math", "-pthread", HERE / "peak.c", "-o", folder / "peak", "-lm"], check=True)
    return folder / "peak"


def peak(program, threads):
    return json.loads(run([program, threads]))


def bench(nnc, file, threads, cpu="native"):
    return json.loads(run([nnc, "bench", file, "--threads", threads, "--cpu", cpu, "--json"]))


def cache(level, otherwise):
    try:
        return int(subprocess.run(["getconf", f"LEVEL{level}_CACHE_SIZE"], capture_output=True, text=True).stdout) or otherwise
    except (OSError, ValueError):
        return otherwise


def pairs(dims):
    return list(zip(dims, dims[1:]))


def flops(dims, batch):
    return sum(2.0 * batch * n * m * (2 + (i > 0)) for i, (n, m) in enumerate(pairs(dims)))


def parameters(dims):
    return sum(n * m + m for n, m in pairs(dims))


def bytes_moved(dims, batch):
    return 4 * parameters(dims) * 8 + 4 * batch * (dims[0] + 1)


def bound_of(work, bar):
    """Microseconds; work: FLOPs, parameters and bytes of a step; bar: what peak() said for the same number of threads."""
    count, weights, size = work
    level = "L2" if size < cache(2, 1 << 20) else "L3" if size < cache(3, 32 << 20) * 3 / 4 else "DRAM"
    arithmetic = count / bar["fma_gflops"] * 1e-3
    update = weights * bar["adam_ps"]["L2" if level == "L2" else "L3"] * 1e-6
    return max(arithmetic + update, size / bar["copy_gbs"][level] * 1e-3)


def dense(dims, batch):
    """The work of a net of dense layers."""
    return flops(dims, batch), parameters(dims), bytes_moved(dims, batch)


def bound(dims, batch, bar):
    return bound_of(dense(dims, batch), bar)


def slowed(bar, gflops):
    """The bar of a processor whose multipliers do `gflops`: memory as it was, arithmetic slower by the same factor."""
    factor = bar["fma_gflops"] / gflops
    return {**bar, "fma_gflops": gflops, "adam_ps": {level: ps * factor for level, ps in bar["adam_ps"].items()}}


def machine():
    try:
        names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores"


def commit():
    git = lambda *words: subprocess.run(["git", "-C", HERE, *words], capture_output=True, text=True).stdout.strip()
    return (git("rev-parse", "--short=12", "HEAD") or "no commit") + (" and changes" if git("status", "--porcelain", "--", HERE.parent.parent / "compiler",
                                                                                  HERE.parent.parent / "runtime") else "")


class Log:
    """Prints, and appends the same to a file that starts every run with commit, date and machine."""

    def __init__(self, path, title):
        self.file = open(path, "a")
        self(f"# {title}: commit {commit()}, {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {machine()}")

    def __call__(self, line=""):
        print(line, flush=True)
        self.file.write(line + "\n")
        self.file.flush()


def pause(seconds):
    if seconds:
        time.sleep(seconds)


median = statistics.median
