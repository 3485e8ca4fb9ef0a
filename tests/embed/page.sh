#!/bin/sh
# examples/embed/wasm as its reader would build it: what the page learns, by node, and the page itself in Chromium: tests/embed/page.sh NNC SOURCE
# No browser is needed for the rest: it is a few hundred megabytes (Debian: chromium-headless-shell), so where it is missing that part is skipped.
set -eu
nnc=$1 root=$2
for program in clang wasm-ld node; do
	command -v "$program" >/dev/null || { echo "skipped: clang, lld and nodejs are needed"; exit 0; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for file in Makefile index.html learn.c learn.nn; do cp "$root/examples/embed/wasm/$file" "$work"; done
make -C "$work" NNC="$nnc" CFLAGS="-O2 -Wall -Wextra -Wpedantic -Werror" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
node "$root/tests/embed/page.mjs" "$work" /usr/share/datasets/fashion-mnist

# what the page saves is a block as any other
"$nnc" unpack "$work/learn.nn" "$work/learn.bin" -o "$work/learnt.safetensors" >/dev/null
"$nnc" pack "$work/learn.nn" "$work/learnt.safetensors" -o "$work/again.bin" >/dev/null
"$nnc" unpack "$work/learn.nn" "$work/again.bin" -o "$work/again.safetensors" >/dev/null
cmp "$work/learnt.safetensors" "$work/again.safetensors"

# the sizes that EMBEDDING.md states, within a tenth
stated=$(sed -n 's/.*`learn.wasm` has \([0-9]*\) KB, \([0-9]*\) KB packed by gzip.*/\1 \2/p' "$root/runtime/EMBEDDING.md")
sizes="$(wc -c <"$work/learn.wasm") $(gzip -9 -c "$work/learn.wasm" | wc -c)"
echo "learn.wasm: $sizes bytes as it is and packed"
echo "$stated $sizes" | awk '{ exit !(NF == 4 && $3 < 1100 * $1 && $3 > 900 * $1 && $4 < 1100 * $2 && $4 > 900 * $2) }' ||
	{ echo "EMBEDDING.md says ${stated:-nothing} (in KB)"; exit 1; }

for browser in chromium-headless-shell chromium chromium-browser google-chrome; do
	command -v "$browser" >/dev/null || continue
	timeout 120 node "$root/tests/embed/browser.mjs" "$browser" "$work"
	exit
done
echo "the browser's part was skipped: there is no chromium-headless-shell and no chromium"
