#!/usr/bin/env python3
"""How long until the first training step, and how much memory a training takes.

    start.py NNC [--rounds 5] [--pause SECONDS] [--log FILE]

Wall time from the start of the process to `nnc train`'s line of samples and steps, which it prints right before the first step,
and one step as `nnc bench` times it; cold: an empty object cache; warm: the cache of the run before.  Files lie in the page cache.
Memory: the most that a whole training held, data included.  Exit code 1 when a limit is missed.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from bound import HERE, WRAP, Log, Quiet, bench, median, pause

EXAMPLES = HERE.parent.parent / "examples"
#         ms, cold and warm; MiB
LIMITS = {"fashion": (550, 330, 200), "xor": (200, 40, None)}


def train(nnc, name, cache, folder, *more):
    """Seconds to the line before the first step, seconds in all, MiB at most."""
    command = [*WRAP, nnc, "train", EXAMPLES / f"{name}.nn", "--out", folder / name, *more]
    start = time.monotonic()
    p = subprocess.Popen(command, env={**os.environ, "NNC_CACHE": str(cache)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    line = p.stdout.readline()
    first = time.monotonic() - start
    p.stdout.read()
    problem = p.stderr.read()
    _, status, used = os.wait4(p.pid, 0)
    if status or b"samples" not in line:
        sys.exit(f"{name}: {line + problem}")
    return first, time.monotonic() - start, used.ru_maxrss / 1024


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("nnc")
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--pause", type=float, default=0, help="seconds to leave to others after each round")
    a.add_argument("--log", help="appended to; start.log beside NNC otherwise")
    args = a.parse_args()
    say = Log(args.log or pathlib.Path(args.nnc).resolve().parent / "start.log", "start")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nnc-start-"))
    failures = 0
    for name, (cold_limit, warm_limit, memory_limit) in LIMITS.items():
        cold, warm, whole, memory = [], [], [], 0
        step = bench(args.nnc, EXAMPLES / f"{name}.nn", 1)["median_us"] * 1e-3
        with Quiet() as quiet:
            for _ in range(args.rounds):
                shutil.rmtree(folder / "cache", ignore_errors=True)
                for kind in cold, warm:
                    first, total, _ = train(args.nnc, name, folder / "cache", folder, "--steps", "1")
                    kind.append(first * 1e3 + step)
                    whole.append(total * 1e3)
                pause(args.pause)
            memory = train(args.nnc, name, folder / "cache", folder)[2]
        for what, times, limit in ("cold", cold, cold_limit), ("warm", warm, warm_limit):
            good = median(times) < limit
            failures += not good
            say(f"{name} {what}: first step after {median(times):.1f} ms ({min(times):.1f} to {max(times):.1f}), below {limit}: {'pass' if good else 'MISSED'}")
        good = not memory_limit or memory < memory_limit
        failures += not good
        say(f"{name}: at most {memory:.1f} MiB in a whole training" + (f", below {memory_limit}: {'pass' if good else 'MISSED'}" if memory_limit else "")
            + f"; a training of one step takes {min(whole):.0f} ms from start to exit; others took {100 * quiet.others:.0f} % of the machine")
    shutil.rmtree(folder, ignore_errors=True)
    say(f"{failures} limits missed\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
