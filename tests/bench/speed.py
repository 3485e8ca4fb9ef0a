#!/usr/bin/env python3
"""How fast nnc trains the nets p1.nn to p8b.nn, beside the machine's limit and other systems.

    speed.py NNC [--nets p1,p2] [--rounds 3] [--peers FOLDER [--python EXE]] [--cpu C] [--pause SECONDS] [--log FILE]

A round measures the machine (peak.c) and each net at 1 and 2 threads one after the other, so that what else a shared machine
does hits all; a ratio is taken within a round, and the figure is the median over rounds.  --peers: a folder whose
`peers.py --case P3 --system jax-scan --threads 1` prints a JSON line with "median_us"; it runs in turn with ours.
"At its clock" takes the peak that `nnc bench` measures between the steps: wide arithmetic beside memory traffic can lower a
processor's clock by a fifth, where a short loop on registers alone keeps it.  Limits stand against the peak that peak.c finds alone.
--cpu x86-64-v3 compiles the step and peak.c for vectors of 256 bits, so that both have the arithmetic of a processor with half as wide multipliers.
Exit code 1 when a limit is missed.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys

from bound import HERE, WRAP, Log, Quiet, bench, bound_of, dense, median, pause, peak, peak_program, slowed

def others(mflop, weights):
    """The work of a net that is not dense, as its FLOPs were counted by hand: products alone, no recomputation."""
    return mflop * 1e6, weights, 4 * weights * 8


#       work, most times the bound at 1 and at 2 threads, the fastest other system, how much faster than it
NETS = {
    "p1": (dense([784, 10, 1], 32), {1: 2.2}, "jax-scan", 2),
    "p2": (dense([784, 10, 10], 32), {1: 2.2}, "jax-scan", 2),
    "p3": (dense([784, 512, 256, 10], 128), {1: 1.12, 2: 1.22}, "jax-scan", 1),
    "p4": (dense([1024, 4096, 4096, 10], 256), {1: 1.22, 2: 1.28}, "tf-xla", 1),
    "p5": (others(1825, 34826), {1: 1.35, 2: 1.35}, "keras-fit", 1),
    "p6": (others(31231, 272474), {1: 1.3, 2: 1.3}, "torch", 1),
    "p7": (others(4231, 349569), {1: 1.25, 2: 1.25}, "torch", 1),
    "p8": (others(3816, 804096), {1: 1.45, 2: 1.45}, "tf-xla", 1),
    "p8b": (others(138042, 10745088), {1: 1.28, 2: 1.28}, "tf-xla", 1),
}
THREADS_MAY_COST = 1.03


def peer(folder, python, net, system, threads):
    command = [*WRAP, python, "peers.py", "--case", net.replace("p", "P"), "--system", system, "--threads", str(threads), "--seconds", "2"]
    out = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600).stdout
    return json.loads(out.splitlines()[-1]).get("median_us") if out.strip() else math.nan   # it said nothing: it failed


def round_of(args, program, say, number):
    """{(net, threads): (step, ratio, peer's step, bound, ratio to the bound at the clock of the steps)} of one round."""
    out = {}
    for net in args.nets.split(","):
        work, _, system, _ = NETS[net]
        for threads in 1, 2:
            with Quiet() as quiet:
                bar = peak(program, threads)
                ours = bench(args.nnc, HERE / f"{net}.nn", threads, args.cpu)
            limit, hot = bound_of(work, bar), bound_of(work, slowed(bar, ours["peak_gflops"]))
            assert ours["mflop_per_step"] * 1e6 / work[0] > 1 - 1e-4, "another net than the one the bound is of"
            theirs = peer(args.peers, args.python, net, system, threads) if args.peers else None
            step = ours["median_us"]
            say(f"  round {number} {net} {threads}T: step {step:.2f} us (best {ours['min_us']:.2f}; gathered {ours['gathered_median_us']:.2f}), bound {limit:.2f}, "
                f"x{step / limit:.3f}, peak {bar['fma_gflops']:.1f}, fed from L1 {bar['tile_gflops']:.1f} GFLOP/s (within bench {ours['peak_gflops']:.1f}), others {100 * quiet.others:.0f} %"
                + (f", {system} {theirs:.1f} us" if theirs else ""))
            out[net, threads] = step, step / limit, theirs, limit, step / hot
            pause(args.pause)
    return out


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("nnc")
    a.add_argument("--nets", default="p1,p2,p3,p4")
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--peers", help="folder of a peers.py")
    a.add_argument("--python", default=sys.executable, help="the interpreter for peers.py")
    a.add_argument("--cpu", default="native", help="as for nnc bench and the C compiler's -march")
    a.add_argument("--pause", type=float, default=0, help="seconds to leave to others after each timing")
    a.add_argument("--log", help="appended to; speed.log beside NNC otherwise")
    args = a.parse_args()
    say = Log(args.log or pathlib.Path(args.nnc).resolve().parent / "speed.log", f"speed, --cpu {args.cpu}")
    program = peak_program(args.cpu)
    rounds = [round_of(args, program, say, i + 1) for i in range(args.rounds)]
    missed = 0

    def verdict(good):
        nonlocal missed
        missed += not good
        return "pass" if good else "MISSED"
    say("| net | threads | step, us | bound, us | ratio | at its clock | at most | | other system, us | ours is faster | at least | |")
    say("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for net, threads in rounds[0]:
        _, limits, system, faster = NETS[net]
        step, ratio, limit, hot = (median(r[net, threads][i] for r in rounds) for i in (0, 1, 3, 4))
        line = f"| {net} | {threads} | {step:.2f} | {limit:.2f} | {ratio:.3f} | {hot:.3f} | "
        line += f"{limits[threads]} | {verdict(ratio <= limits[threads])} | " if threads in limits else "- | | "
        if args.peers:
            theirs = median(r[net, threads][2] for r in rounds)
            line += f"{theirs:.1f} {system} | {theirs / step:.2f} x | {faster} | {verdict(theirs / step >= faster)} |"
        else:
            line += "- | - | - | |"
        say(line)
    for net in args.nets.split(","):
        cost = median(r[net, 2][0] / r[net, 1][0] for r in rounds)
        say(f"{net}: 2 threads take {cost:.3f} of the time of 1: {verdict(cost <= THREADS_MAY_COST)}")
    say(f"{missed} limits missed\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
