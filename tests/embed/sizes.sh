#!/bin/sh
# Inference beside onnx2c (github.com/kraiskil/onnx2c), on the same nets with the same weights: tests/embed/sizes.sh NNC ONNX2C SOURCE [--table]
#   NNC, ONNX2C: the binaries; SOURCE: the root of the sources.  By hand: needs onnx2c, built from its sources and their submodules (`cmake
#   -DCMAKE_BUILD_TYPE=Release; make onnx2c`, with Debian's libprotobuf-dev and protobuf-compiler), Python with the package onnx (PYTHON names it;
#   python3), arm-none-eabi-gcc and libnewlib-arm-none-eabi.  COMMIT: onnx2c's, if its own output does not say it.
# Prints bytes of code, of constants (weights included), of memory that is written (nnc: scratch; onnx2c: its static tensors) and of stack (nnc: what
# the header promises; onnx2c: gcc's -fstack-usage, entry and the deepest node), at batch 1.  Both are run on this machine and must give the same
# numbers.  int8: the same with --quantize int8, the ranges taken from pictures made of random bytes; sizes do not depend on them.  --table: writes the table into runtime/EMBEDDING.md.
set -eu
nnc=$1 onnx2c=$2 root=$3 table=${4:-}
python=${PYTHON:-python3}
here=$root/tests/embed
. "$here/macro.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAILED: $*"; exit 1; }

# sections FILE: code, constants, written
sections() {
	size -A "$1" | awk '/^\.text/ { code += $2 } /^\.(rodata|data\.rel\.ro)/ { constant += $2 } /^\.(data|bss)/ && !/\.rel\.ro/ { written += $2 }
		END { print code + 0, constant + 0, written + 0 }'
}


row() { echo "| $net | \`$target\` | $1 | $2 | $3 | $4 | $5 |" | tee -a rows; }

# ours BY OPTIONS..
ours() {
	by=$1
	shift
	"$nnc" compile "$file" --entry infer --batch 1 --weights "$net.safetensors" --target "$target" -o "$net.o" "$@" >/dev/null
	# shellcheck disable=SC2046
	set -- $(sections "$net.o")
	row "$by" "$1" "$2" "$(($3 + $(macro "$net.h" SCRATCH_INFER)))" "$(macro "$net.h" STACK_MAX)"
}
all_ours() {
	ours nnc
	ours "nnc, int8" --quantize int8 --data-dir .
}

# theirs COMPILER..
theirs() {
	compiler=$*
	for level in -O2 -Os; do
		# shellcheck disable=SC2086
		$compiler -w $level -fno-asynchronous-unwind-tables -fstack-usage -c "$net.onnx.c" -o theirs.o
		stack=$(awk -F'\t' '$1 ~ /:entry$/ { entry = $2; next } $2 > most { most = $2 } END { print entry + most }' theirs.su)
		# shellcheck disable=SC2046
		set -- $(sections theirs.o)
		row "onnx2c, gcc $level" "$1" "$2" "$3" "$stack"
	done
}

# The same numbers?  And, aside, how long: the best of 2000 calls.
compare() {
	cat >main.c <<-END
	#include <math.h>
	#include <stdio.h>
	#include <time.h>
	#include "$net.h"
	void entry(const uint8_t image[1][28][28], float logits[1][10]);
	static uint8_t image[1][28][28];
	static ${net}_scratch scratch;
	static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e6 + t.tv_nsec * 1e-3; }
	int main(void) {
		float ours[10], theirs[1][10], difference = 0, size = 0;
		double best[2] = {1e9, 1e9};
		for (int i = 0; i < 784; i++) image[0][i / 28][i % 28] = (uint8_t)(i * 37 % 256);
		for (int i = 0; i < 2000; i++) {
			double begin = now();
			if ($call(&${net}_pretrained, &image[0][0][0], ours, 1, &scratch)) return 1;
			double middle = now();
			entry((const uint8_t (*)[28][28])image, theirs);
			double end = now();
			best[0] = fmin(best[0], middle - begin);
			best[1] = fmin(best[1], end - middle);
		}
		for (int i = 0; i < 10; i++) difference = fmaxf(difference, fabsf(ours[i] - theirs[0][i])), size = fmaxf(size, fabsf(ours[i]));
		printf("$net on this machine: %.1f us, onnx2c -O3: %.1f us; results differ by %.1e of %.3g\n", best[0], best[1], difference, size);
		return !(difference <= 1e-5f * size) || size == 0;
	}
	END
	gcc -O3 -march=native -w -c "$net.onnx.c" -o theirs.o
	"$nnc" compile "$file" --entry infer --batch 1 --weights "$net.safetensors" --cpu native -o "$net.o" >/dev/null
	gcc -std=gnu11 -O1 main.c "$net.o" theirs.o -lm -o both
	./both || fail "$net: not the same function"
}

"$python" - <<END
import gzip, struct
import numpy as np
images, labels = np.random.default_rng(1).integers(0, 256, (512, 28, 28), np.uint8), np.zeros(512, np.uint8)
np.save("images.npy", images)
np.save("labels.npy", labels)
for part in "train", "t10k":
    with gzip.open(part + "-images-idx3-ubyte.gz", "wb") as out:
        out.write(struct.pack(">IIII", 0x803, *images.shape) + images.tobytes())
    with gzip.open(part + "-labels-idx1-ubyte.gz", "wb") as out:
        out.write(struct.pack(">II", 0x801, len(labels)) + labels.tobytes())
END
: >rows
for file in "$root/examples/embed/cortex-m/online.nn" "$root/examples/convnet.nn"; do
	net=$(basename "$file" .nn)
	case $net in online) call=online_classifier ;; *) call=${net}_$net ;; esac
	"$nnc" init "$file" -o "$net.safetensors" >/dev/null
	"$python" "$here/sizes_onnx.py" "$net" "$net.safetensors" "$net.onnx"
	"$onnx2c" "$net.onnx" >"$net.onnx.c" 2>log || { cat log; fail "onnx2c on $net"; }
	compare
	target=cortex-m4
	all_ours
	theirs arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16
	target=x86-64
	all_ours
	theirs gcc -march=x86-64-v3
done
commit=${COMMIT:-$(sed -n 's,^// Git Commit: ,,p' "$net.onnx.c" | head -n 1)}
echo "onnx2c $commit, $(gcc --version | head -n 1), $(arm-none-eabi-gcc --version | head -n 1)"
[ "$table" = --table ] || exit 0
{
	echo "| net | target | by | code | constants | memory | stack |"
	echo "|---|---|---|---|---|---|---|"
	cat rows
	echo
	echo "(bytes; onnx2c $commit, gcc $(gcc -dumpfullversion))"
} >table
awk '/<!-- sizes\.sh: end -->/ { skip = 0 } !skip
	/<!-- sizes\.sh: begin -->/ { while ((getline line <"table") > 0) print line; skip = 1 }' "$root/runtime/EMBEDDING.md" >page
grep -q 'sizes.sh: begin' page
cat page >"$root/runtime/EMBEDDING.md"
