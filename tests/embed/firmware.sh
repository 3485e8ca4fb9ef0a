#!/bin/sh
# examples/embed/cortex-m as its reader would build it, by clang, in qemu: tests/embed/firmware.sh NNC SOURCE
set -eu
nnc=$1 root=$2
command -v clang >/dev/null && command -v ld.lld >/dev/null && command -v qemu-system-arm >/dev/null || { echo "skipped: clang, lld and qemu-system-arm are needed"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$root"/examples/embed/cortex-m/* "$work"
build() {
	make -C "$work" NNC="$nnc" CC="clang --target=thumbv7em-none-eabihf -fuse-ld=lld" CFLAGS="-O2 -Wall -Wextra -Wpedantic -Werror" "$@"
}
# learns RUN LEAST: five lines of a loss that falls, and more than LEAST of 200 others right
learns() {
	timeout 60 make -C "$work" -s NNC="$nnc" CC=false "$1" >"$work/out"
	cat "$work/out"
	awk -v least="$2" '$1 == "step" { if (!n++) first = $4; last = $4 } $2 == "of" { right = $1 }
		END { exit !(n == 5 && last < 0.6 * first && right > least) }' "$work/out" || { echo "$1: it does not learn"; exit 1; }
}
build online.elf >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
code=$(awk '$1 == "code" { print $2 }' "$work/log")
[ "$code" -le 12288 ] || { echo "the trainer has $code bytes of code, more than 12 KiB"; exit 1; }
grep -E '^(code|scratch)' "$work/log"
learns run 120
if [ -d /usr/share/datasets/fashion-mnist ]; then
	build fashion.elf >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
	learns run-fashion 90
else
	echo "run-fashion: skipped, its data is not here"
fi
