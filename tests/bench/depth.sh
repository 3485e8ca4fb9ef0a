#!/bin/sh
# What depth costs: examples/gpt.nn with 12 and with 48 blocks.
#   tests/bench/depth.sh NNC            the size of the code, which ctest compares: blocks that are alike share their kernels
#   tests/bench/depth.sh NNC --times    also the seconds of processor that `nnc compile` takes, the least of five; by hand
set -eu
nnc=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() { "$nnc" compile "$root/examples/gpt.nn" --set LAYERS="$1" -o "$work/gpt.o"; }
code() { compile "$1" | awk '$1 == "code" { print $2 }'; }

# The least of five, in hundredths of a second.
seconds() {
	for _ in 1 2 3 4 5; do
		(compile "$1" >"$work/out"; times) | tail -n 1 |
			awk '{ split($1 "m" $2, t, "m"); print int(100 * (60 * (t[1] + t[3]) + t[2] + t[4]) + 0.5) }'
	done | sort -n | head -n 1
}

few=$(code 12) many=$(code 48)
echo "code of 12 blocks $few bytes, of 48 $many"
if [ "${2:-}" = "--times" ]; then
	few_time=$(seconds 12) many_time=$(seconds 48)
	echo "compiled in $few_time and $many_time hundredths of a second: $((100 * many_time / few_time)) %"
fi
[ $((10 * many)) -le $((13 * few)) ] || { echo "the code grows with the depth"; exit 1; }
