#!/bin/sh
# plant.sh FUZZ NAME: a fuzzer whose compiler makes a mistake must find programs that differ, and say so.
set -u
out=$("$1" --stop 0 400) && { echo "the planted mistake ($2) was not found"; exit 1; }
seed=$(printf '%s\n' "$out" | sed -n 's/^---- \(seed .*workers run .*compiled, .* interpreted\)$/\1/p' | head -n 1)
[ -n "$seed" ] || { printf '%s\n' "$out" | tail -n 40; echo "something else went wrong ($2)"; exit 1; }
echo "$2 found: $seed"
