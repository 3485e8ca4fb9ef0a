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

# weights in the object: the model gives what nnc predict gives, bit for bit
mkdir "$work/given"
"$nnc" compile "$work/xor.nn" -o "$work/given/xor.o" --entry infer --weights "$work/xor.run/weights.safetensors" >/dev/null
cat >"$work/given/main.c" <<'END'
#include <stdio.h>
#include "xor.h"
int main(void) {
	static const float bits[7][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}, {0.5f, 0.25f}, {-1, 3}, {100, 0}};
	float logit[7];
	xor_scratch scratch;
	if (xor_mlp(&xor_pretrained, &bits[0][0], logit, 7, &scratch) != xor_OK) return 1;
	fwrite(bits, sizeof bits, 1, stderr);
	fwrite(logit, sizeof logit, 1, stdout);
	return 0;
}
END
cc -std=c99 -O2 -Wall -Wextra -Wpedantic -Werror -I"$work/given" -o "$work/given/main" "$work/given/main.c" "$work/given/xor.o"
"$work/given/main" >"$work/logits" 2>"$work/bits"
# a .npy file: magic, version 1.0, length of the header, header, data
{
	header="{'descr': '<f4', 'fortran_order': False, 'shape': (7, 2), }"
	printf '\223NUMPY\001\000\166\000%-117s\n' "$header"
	cat "$work/bits"
} >"$work/bits.npy"
"$nnc" predict "$work/xor.nn" --weights "$work/xor.run/weights.safetensors" --input bits="$work/bits.npy" --output "$work/y.npy"
tail -c 28 "$work/y.npy" | cmp - "$work/logits" || { echo "the object's results are not those of nnc predict"; exit 1; }

# shared weights: two threads infer while a third trains, under ThreadSanitizer, and with the compiler's other checks
mkdir "$work/embed/threads"
cp "$root/examples/embed/threads/main.c" "$root/examples/embed/threads/Makefile" "$work/embed/threads"
for checks in thread address,undefined; do
	make -C "$work/embed/threads" NNC="$nnc" CFLAGS="-O1 -g -Wall -Wextra -Wpedantic -Werror -fsanitize=$checks" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
	"$work/embed/threads/threads" >"$work/out" 2>"$work/log" || { cat "$work/out" "$work/log"; echo "threads: with -fsanitize=$checks"; exit 1; }
	[ ! -s "$work/log" ] || { cat "$work/log"; exit 1; }
	make -s -C "$work/embed/threads" clean
done
cat "$work/out"
