#!/bin/sh
# examples/embed as its reader would build it, elsewhere: tests/embed/example.sh NNC SOURCE
set -eu
nnc=$1 root=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/embed"
cp "$root/examples/xor.nn" "$work"
cp "$root/examples/embed/main.c" "$root/examples/embed/Makefile" "$work/embed"
make -C "$work/embed" NNC="$nnc" CFLAGS="-O2 -Wall -Wextra -Wpedantic -Werror" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$work/embed/xor" | tee "$work/out"
grep -q '^0 xor 1: yes$' "$work/out"
grep -q '^1 xor 1: no$' "$work/out"
# the same training as nnc train, to the digits printed
"$nnc" train "$work/xor.nn" --quiet --threads 1
loss=$(sed -n 's/.*"event":"end".*"loss":\([-+0-9.e]*\).*/\1/p' "$work/xor.run/log.jsonl")
grep -q "^step 500  loss $(printf %.6f "$loss")\$" "$work/out" || { echo "nnc train ends with the loss $loss"; exit 1; }
