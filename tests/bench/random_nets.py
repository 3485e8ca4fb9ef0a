#!/usr/bin/env python3
"""Random dense nets beside their lower bounds: rules that choose tiles and workers must hold for shapes nobody tuned.

    random_nets.py NNC [--seed 1] [--count 20] [--rounds 1] [--pause SECONDS] [--keep FOLDER] [--log FILE]

1 to 5 layers, widths 3 to 1500 and batches 1 to 512 (both spread evenly over their logarithms), relu between, cross-entropy, Adam.
Limits: median ratio <= 1.4; worst <= 2.5 among steps of more than 50 us; 2 threads at most 3 % slower than 1.
For a net that misses one, a line says what its kernels are.  Exit code 1 when a limit is missed.
"""
import argparse
import math
import pathlib
import random
import sys
import tempfile

from bound import Log, Quiet, bench, bound, flops, median, parameters, pause, peak, peak_program, run

MEDIAN, WORST, LONG_US, THREADS_MAY_COST = 1.4, 2.5, 50, 1.03


def spread(rng, low, high):
    return max(low, min(high, round(math.exp(rng.uniform(math.log(low), math.log(high + 1)) - 1e-9))))


def net(rng):
    layers = rng.randint(1, 5)
    return [spread(rng, 3, 1500) for _ in range(layers + 1)], spread(rng, 1, 512)


def text(dims, batch):
    layers = " |> relu |> ".join(f"dense({n})" for n in dims[1:])
    return (f"data made {{ x: f32[{dims[0]}] = npy(\"x.npy\"); y: class[{dims[-1]}] = npy(\"y.npy\") }}\n"
            f"model net(x: [B, {dims[0]}]) -> logits[B, {dims[-1]}] = x |> {layers}\n"
            f"train {{\n  data = made; batch = {batch}; epochs = 1\n  loss = cross_entropy(net(x), y)\n  optimizer = adam(lr = 0.001)\n}}\n")


def kernels(nnc, file, threads):
    """Which kernels a step has, in short: their head lines of `nnc dump --after=kernels`."""
    try:
        lines = run([nnc, "dump", "--after=kernels", "--threads", threads, file]).splitlines()
    except Exception as e:                                    # a hint only
        return [f"(no dump: {e})"]
    return [line.strip() for line in lines if line.lstrip().startswith(("kernel", "barrier"))]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("nnc")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--count", type=int, default=20)
    a.add_argument("--only", help="numbers of nets, with commas")
    a.add_argument("--rounds", type=int, default=1)
    a.add_argument("--pause", type=float, default=0, help="seconds to leave to others after each timing")
    a.add_argument("--keep", help="write the nets here and leave them")
    a.add_argument("--log", help="appended to; random_nets.log beside NNC otherwise")
    args = a.parse_args()
    say = Log(args.log or pathlib.Path(args.nnc).resolve().parent / "random_nets.log", f"random nets, seed {args.seed}")
    program, rng = peak_program(), random.Random(args.seed)
    folder = pathlib.Path(args.keep or tempfile.mkdtemp(prefix="nnc-nets-"))
    folder.mkdir(parents=True, exist_ok=True)
    nets = [net(rng) for _ in range(args.count)]
    chosen = [int(i) for i in args.only.split(",")] if args.only else range(args.count)
    ratios, worst, slower, missed = {1: [], 2: []}, {1: [], 2: []}, [], []
    say("| net | batch | parameters | MFLOP | 1T us | ratio | 2T us | ratio | 2T/1T | workers | others |")
    say("|---|---|---|---|---|---|---|---|---|---|---|")
    for i in chosen:
        dims, batch = nets[i]
        file = folder / f"net{i}.nn"
        file.write_text(text(dims, batch))
        rounds = []
        with Quiet() as quiet:
            while len(rounds) < args.rounds or (len(rounds) < args.rounds + 2 and rounds[-1][2][0] > THREADS_MAY_COST * rounds[-1][1][0]):
                one = {}                                      # two more where two threads seem slower
                for threads in 1, 2:
                    bar = peak(program, threads)
                    result = bench(args.nnc, file, threads)
                    step, workers = result["median_us"], result["workers"]
                    one[threads] = step, step / bound(dims, batch, bar)
                rounds.append(one)
        step = {t: median(r[t][0] for r in rounds) for t in (1, 2)}
        ratio = {t: median(r[t][1] for r in rounds) for t in (1, 2)}
        cost = median(r[2][0] / r[1][0] for r in rounds)
        say(f"| {i}: {'-'.join(map(str, dims))} | {batch} | {parameters(dims):,} | {flops(dims, batch) / 1e6:.3f} | {step[1]:.2f} | {ratio[1]:.2f} | "
            f"{step[2]:.2f} | {ratio[2]:.2f} | {cost:.3f} | {workers} | {100 * quiet.others:.0f} % |")
        bad = {t for t in (1, 2) if step[t] > LONG_US and ratio[t] > WORST}
        for t in 1, 2:
            ratios[t].append(ratio[t])
            if step[t] > LONG_US:
                worst[t].append((ratio[t], i))
        if cost > THREADS_MAY_COST:
            slower.append((cost, i))
            bad.add(2)
        missed += [(i, file, t) for t in sorted(bad)]
        pause(args.pause)
    failures = 0
    for t in 1, 2:
        middle, (most, which) = median(ratios[t]), max(worst[t], default=(0, None))
        failures += (middle > MEDIAN) + (most > WORST)
        say(f"{t}T: median {middle:.3f} (at most {MEDIAN}: {'pass' if middle <= MEDIAN else 'MISSED'}), worst above {LONG_US} us {most:.3f}, net {which} "
            f"(at most {WORST}: {'pass' if most <= WORST else 'MISSED'})")
    failures += bool(slower)
    say(f"2 threads slower than 1 by more than 3 %: {', '.join(f'net {i} {cost:.3f}' for cost, i in slower) or 'none'}")
    for i, file, t in missed:
        say(f"net {i} at {t}T:")
        for line in kernels(args.nnc, file, t):
            say(f"    {line}")
    say(f"{failures} limits missed\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
