#!/bin/sh
# examples/embed/cortex-m as its reader would build it, by clang, in qemu: tests/embed/firmware.sh NNC SOURCE
set -eu
nnc=$1 root=$2
command -v clang >/dev/null && command -v ld.lld >/dev/null && command -v qemu-system-arm >/dev/null || { echo "skipped: clang, lld and qemu-system-arm are needed"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$root"/examples/embed/cortex-m/* "$work"
make -C "$work" NNC="$nnc" CC="clang --target=thumbv7em-none-eabihf -fuse-ld=lld" CFLAGS="-O2 -Wall -Wextra -Wpedantic -Werror" online.elf >"$work/log" 2>&1 ||
	{ cat "$work/log"; exit 1; }
code=$(awk '$1 == "code" { print $2 }' "$work/log")
[ "$code" -le 12288 ] || { echo "the trainer has $code bytes of code, more than 12 KiB"; exit 1; }
timeout 60 make -C "$work" -s NNC="$nnc" run >"$work/out"
cat "$work/out"
awk '$1 == "step" { if (!n++) first = $4; last = $4 } $2 == "of" { right = $1 } END { exit !(n == 5 && last < 0.6 * first && right > 120) }' "$work/out" ||
	{ echo "it does not learn"; exit 1; }
