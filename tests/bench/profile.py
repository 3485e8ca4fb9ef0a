#!/usr/bin/env python3
"""Where the time of a training step goes, kernel by kernel.

    profile.py NNC FILE.nn [--seconds 3] [--lines 16] [--cpu native]

Compiles the file to an object, runs its step in a small C program under `perf record` (Debian's linux-perf) and prints what
part of the samples lies in which function: step.kN are the kernels of `nnc dump --after=kernels`, tile_* and pack_* the
microkernels and packers that products share.  Inputs are zeros (classes 0), so what depends on data (sparse rows, denormal
numbers) does not show.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

MAIN = """#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "{x}.h"
{inputs}
static double now(void) {{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}}
int main(void) {{
    float loss;
    long steps = 0;
    {x}_train *t = aligned_alloc(64, sizeof *t);
    void *scratch = aligned_alloc(64, {scratch} / 64 * 64 + 64);
    if (!t || !scratch) return 3;
    {x}_init(t, 1);
    double start = now(), time;
    do {{
        {step}({arguments});
        steps++;
    }} while ((time = now() - start) < {seconds});
    printf("%.2f us a step\\n", 1e6 * time / (double)steps);
    return 0;
}}
"""


def program(header, x, seconds):
    """The C program that calls the first step the header declares."""
    step, parameters = re.search(rf"int ({x}_step\w*)\(([^)]*)\)", header).groups()
    inputs, arguments = "", []
    for i, parameter in enumerate(p.strip() for p in parameters.split(",")):
        name = re.search(r"(\w+)(\[.*)?$", parameter)[1]
        if name in ("t", "scratch"):
            arguments.append(name)
        elif name == "loss":
            arguments.append("&loss")
        elif "*" in parameter:
            inputs += f"static char input{i}[64 << 20] __attribute__((aligned(64)));\n"
            arguments.append(f"(const void *)input{i}")
        else:
            arguments.append("0")
    scratch = f"{x.upper()}_SCRATCH_TRAIN" if f"{x.upper()}_SCRATCH_TRAIN" in header else f"{x}_SCRATCH_TRAIN"
    return MAIN.format(x=x, inputs=inputs, scratch=scratch, step=step, arguments=", ".join(arguments), seconds=seconds)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("nnc")
    a.add_argument("file")
    a.add_argument("--seconds", type=float, default=3)
    a.add_argument("--lines", type=int, default=16)
    a.add_argument("--cpu", default="native")
    args = a.parse_args()
    file = pathlib.Path(args.file)
    x = re.sub(r"\W", "_", file.stem)
    with tempfile.TemporaryDirectory(prefix="nnc-profile-") as name:
        folder = pathlib.Path(name)
        subprocess.run([args.nnc, "compile", file, "-o", folder / f"{x}.o", "--cpu", args.cpu, "--entry", "train"], check=True,
                       stdout=subprocess.DEVNULL)
        (folder / "main.c").write_text(program((folder / f"{x}.h").read_text(), x, args.seconds))
        subprocess.run(["cc", "-O1", "-w", folder / "main.c", folder / f"{x}.o", "-o", folder / "main"], check=True)
        try:
            subprocess.run(["perf", "record", "-q", "-F", "4000", "-e", "cpu-clock", "-o", folder / "data", folder / "main"], check=True)
        except FileNotFoundError:
            sys.exit("profile.py: perf is missing: Debian has it in linux-perf")
        report = subprocess.run(["perf", "report", "-i", folder / "data", "--stdio", "-s", "symbol"], check=True, capture_output=True,
                                text=True).stdout
    lines = [re.sub(r"\s+-\s+-\s*$", "", line) for line in report.splitlines() if line.strip() and not line.startswith("#")]
    print("\n".join(lines[:args.lines]))


if __name__ == "__main__":
    main()
