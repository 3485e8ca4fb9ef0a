#!/usr/bin/env python3
"""One sample at a time: functions of an object, called by a C program on one thread, beside other systems.

    single.py NNC [--cases i1,i2] [--rounds 3] [--peers FOLDER [--python EXE]] [--log FILE]

`i1`, `i2` infer with the models of p3.nn and p5.nn, `mlp` with 784-128-10; `online` is a training step of p2.nn at batch 1.
Each call takes another of 16 inputs.  --peers: see speed.py; the systems that infer run in turn with ours.
Exit code 1 when a limit is missed.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

from bound import HERE, WRAP, Log, Quiet, median, run

SYSTEMS = ["onnxruntime", "torch", "jax", "tf"]
MLP = """data made { x: f32[784] = npy("x.npy"); y: class[10] = npy("y.npy") }
model mlp(x: [B, 784]) -> logits[B, 10] = x |> dense(128) |> relu |> dense(10)
train { data = made; batch = 1; epochs = 1; loss = cross_entropy(mlp(x), y); optimizer = adam(lr = 0.001) }
"""
#        file or text, what is called, most microseconds, is it a case of the other systems?
CASES = {
    "i1": ("p3.nn", "infer", None, True),
    "i2": ("p5.nn", "infer", None, True),
    "mlp": (MLP, "infer", 8, False),
    "online": ("p2.nn", "train", 8, False),
}
PROGRAM = """#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "net.h"
enum { INPUTS = 16, CHUNKS = 41, FLOATS = 784 };
static net_train model;
static net_scratch scratch;
static float in[INPUTS][FLOATS], out[16];
static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}
static int call(int i) { %s }
static double seconds(int calls) {
	double start = now();
	for (int i = 0; i < calls; i++) if (call(i %% INPUTS)) exit(1);
	return now() - start;
}
static int compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}
int main(void) {
	double chunk[CHUNKS];
	int calls = 1;
	if (net_init(&model, 1)) return 1;
	for (int i = 0; i < INPUTS * FLOATS; i++) in[i / FLOATS][i %% FLOATS] = (float)(i * 2654435761u >> 8 & 0xffff) / 65536;
	while (seconds(calls) < 0.01) calls *= 2;
	for (int i = 0; i < CHUNKS; i++) chunk[i] = seconds(calls) / calls;
	qsort(chunk, CHUNKS, sizeof *chunk, compare);
	printf("{\\"median_us\\": %%.3f, \\"min_us\\": %%.3f}\\n", chunk[CHUNKS / 2] * 1e6, chunk[0] * 1e6);
	return 0;
}
"""
CALLS = {
    "infer": "return net_{model}(&model.params, in[i], out, 1, &scratch);",
    "train": "int32_t label = i % 10; float loss; return net_step(&model, in[i], &label, &loss, &scratch);",
}


def build(nnc, folder, case):
    source, what, _, _ = CASES[case]
    text = source if "\n" in source else (HERE / source).read_text()
    model = text.split("model ")[1].split("(")[0]
    (folder / "net.nn").write_text(text)
    (folder / "main.c").write_text(PROGRAM % CALLS[what].format(model=model))
    run([nnc, "compile", folder / "net.nn", "--cpu", "native", "--batch", 1, "-o", folder / "net.o"])
    subprocess.run(["cc", "-O2", "-std=c11", "-D_POSIX_C_SOURCE=199309L", folder / "main.c", folder / "net.o", "-o", folder / case], check=True)
    return folder / case


def peer(args, case, system):
    command = [*WRAP, args.python, "peers.py", "--case", case.upper(), "--system", system, "--threads", "1", "--seconds", "2"]
    out = subprocess.run(command, cwd=args.peers, capture_output=True, text=True, timeout=600).stdout
    return json.loads(out.splitlines()[-1]).get("median_us")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("nnc")
    a.add_argument("--cases", default=",".join(CASES))
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--peers", help="folder of a peers.py")
    a.add_argument("--python", default=sys.executable, help="the interpreter for peers.py")
    a.add_argument("--log", help="appended to; single.log beside NNC otherwise")
    args = a.parse_args()
    say = Log(args.log or pathlib.Path(args.nnc).resolve().parent / "single.log", "one sample")
    folder, cases, missed = pathlib.Path(tempfile.mkdtemp(prefix="nnc-single-")), args.cases.split(","), 0
    program = {case: build(args.nnc, folder, case) for case in cases}
    ours, theirs = {case: [] for case in cases}, {}
    for number in range(args.rounds):
        for case in cases:
            with Quiet() as quiet:
                result = json.loads(run([program[case]]))
            ours[case].append(result["median_us"])
            say(f"  round {number + 1} {case}: {result['median_us']:.2f} us (best {result['min_us']:.2f}), others {100 * quiet.others:.0f} %")
            for system in SYSTEMS if args.peers and CASES[case][3] else []:
                theirs.setdefault((case, system), []).append(peer(args, case, system))
    say("| case | us | at most | | other systems, us | |\n|---|---|---|---|---|---|")
    for case in cases:
        us, most = median(ours[case]), CASES[case][2]
        others = {system: median(theirs[case, system]) for system in SYSTEMS if (case, system) in theirs}
        good, ahead = most is None or us <= most, all(us <= other for other in others.values())
        missed += (not good) + (not ahead)
        say(f"| {case} | {us:.2f} | {most or '-'} | {'pass' if good else 'MISSED'} | "
            + (", ".join(f"{other:.1f} {system}" for system, other in others.items()) or "-") + f" | {'pass' if ahead else 'MISSED'} |")
    say(f"{missed} limits missed\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
