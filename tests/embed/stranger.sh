#!/bin/sh
# What runtime/EMBEDDING.md tells a stranger, from its first page and in an empty home: tests/embed/stranger.sh BUILD SOURCE
#   BUILD: a build folder, in place of what the first command makes.  The lines are run as they stand there.
set -eu
build=$(realpath "$1") root=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

awk -v folder="$work" '/^## / { here = /From nothing to a program that learns/ }
	here && /^```sh$/ { n++; inside = 1; next }
	/^```$/ { inside = 0 }
	inside { print > (folder "/block" n) }' "$root/runtime/EMBEDDING.md"
[ "$(sed 's/ *#.*//' "$work/block1")" = "./bootstrap train" ] && [ -s "$work/block2" ] && [ ! -e "$work/block3" ] || fail "the section has changed"
commands=$(cat "$work"/block? | awk "/<<'END'/ { n++; skip = 1 } !skip { n++ } /^END\$/ { skip = 0 } END { print n }")
[ "$commands" -lt 10 ] || fail "$commands commands"

mkdir "$work/home" "$work/checkout"
ln -s "$build" "$work/checkout/build"
cd "$work/checkout"
env -i HOME="$work/home" PATH=/usr/local/bin:/usr/bin:/bin sh -e "$work/block2" >"$work/log" 2>&1 || { cat "$work/log"; fail "a command"; }
tail -n 5 "$work/log" >"$work/out"
cat "$work/out"
printf '0 xor 0: no\n0 xor 1: yes\n1 xor 0: yes\n1 xor 1: no\n' >"$work/right"
tail -n 4 "$work/out" | cmp - "$work/right" || fail "it has not learnt"

# the same training as nnc train, to the digits printed
cd "$work/home/learner"
"$work/home/nnc/bin/nnc" train xor.nn --quiet --threads 1
loss=$(sed -n 's/.*"event":"end".*"loss":\([-+0-9.e]*\).*/\1/p' xor.run/log.jsonl)
[ "$(head -n 1 "$work/out")" = "loss $(printf %.6f "$loss")" ] || fail "nnc train ends with the loss $loss"
cc -std=c99 -Wall -Wextra -Wpedantic -Werror -c main.c -o main.o || fail "warnings"
echo "$commands commands"
