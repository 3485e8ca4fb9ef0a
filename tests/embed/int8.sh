#!/bin/sh
# Objects whose products are of integers: tests/embed/int8.sh NNC ARRAYS SOURCE [--long [EPOCHS]]
# Nets of odd sizes, with first values: the f32 interpreter on the quantised graph, compiled code, and objects for every kind of machine that can be run here
# give the same bits; objects are complete and keep within their scratch; they are made of the same bytes twice; parameters are a quarter.  --long:
# examples/convnet.nn, trained for EPOCHS (as many as it says), loses at most half a point and has at most 27 % of the bytes; pictures
# of the test set give the bits of the interpreter.
set -u
nnc=$(realpath "$1") arrays=$(realpath "$2") here=$(realpath "$3")/tests/embed long=${4:-} epochs=${5:-}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0 ran=
fail() { echo "FAILED: $*"; failed=1; }
has() { command -v "$1" >/dev/null 2>&1; }
numbers() { awk -v n="$1" -v low="$2" -v high="$3" 'BEGIN { for (i = 0; i < n; i++) printf "%s ", low + (i * 7919 + 13) % 1009 / 1008 * (high - low) }'; }
whole() { awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) printf "%d ", (i * 7919 + 13) % 1009 % 256 }'; }

# net NAME TYPE-OF-X X-OF-A-SAMPLE MODEL: 9 samples
net() {
	printf 'data d { x: %s = npy("%s.x.npy"); y: class[3] = npy("y.npy") }\n%s\ntrain { data = d; batch = 4; steps = 9; seed = 5; let z = net(x); loss = mean(cross_entropy(z, y)); metric right = argmax(z) == y; optimizer = sgd() }\n' \
		"$2" "$1" "$4" >"$1.nn"
	dims=$(echo "$2" | sed 's/.*\[\(.*\)\]/\1/; s/ //g')
	count=$(($(echo "$dims" | tr , '*')))
	case $2 in
	u8*) "$arrays" write "$1.x.npy" u1 "9,$dims" $(whole $((9 * count))) ;;
	*) "$arrays" write "$1.x.npy" f4 "9,$dims" $(numbers $((9 * count)) "$3" 2.5) ;;
	esac
}
"$arrays" write y.npy u1 9 0 1 2 0 1 2 0 1 2
net dense 'f32[37]' -1.5 'model net(x: [B, 37]) -> logits[B, 3] = x |> dense(19) |> tanh |> dense(21) |> relu |> dense(3)'
net conv 'u8[13, 11]' 0 'model net(x: u8[B, 13, 11]) -> logits[B, 3] {
  let v = reshape(x as f32 / 255, B, 13, 11, 1)
  v = v |> conv2d(6, 3, pad = 1) |> relu |> max_pool(2) |> conv2d(8, 3, stride = 2) |> relu
  return v |> flatten |> dense(3) }'
# an odd-sized one: grouped and pointwise, normalised, one column, two products that share what they read
net odd 'f32[9, 5, 3]' -2 'model net(x: [B, 9, 5, 3]) -> logits[B, 3] {
  let v = x |> batch_norm |> conv2d(6, 1, groups = 3) |> tanh |> conv2d(7, 2)
  let f = flatten(v)
  let gate = reshape(sigmoid(dense(f, 1)), B)
  let a = dense(f, 3)
  let y[b, j] = a[b, j] * gate[b]
  return y + dense(tanh(f[.., 0..17]), 3) }'

cat >main.c <<'END'
#include <stdint.h>
#define GLUE2(a, b) a##_##b
#define GLUE(a, b) GLUE2(a, b)
#define N(name) GLUE(NAME, name)
void put(const char *text);
#include "x.h"
static struct { unsigned char before[64]; N(scratch) block; unsigned char after[64]; } scratch;
static float y[9 * 3];
int bits(void) {
	for (int i = 0; i < 64; i++) scratch.before[i] = scratch.after[i] = 0x5a;
	if (N(net)(&N(pretrained), (const void *)x, y, 9, &scratch.block)) return put("refused\n"), 0;
	for (int i = 0; i < 9 * 3; i++) {
		union { float f; uint32_t u; } bits = {y[i]};
		char text[10];
		for (int d = 7; d >= 0; d--, bits.u >>= 4) text[d] = "0123456789abcdef"[bits.u & 15];
		text[8] = '\n', text[9] = 0;
		put(text);
	}
	for (int i = 0; i < 64; i++)
		if (scratch.before[i] != 0x5a || scratch.after[i] != 0x5a) return put("scratch\n"), 0;
	return 0;
}
END
flags='-std=c11 -O1 -Wall -Wextra -Werror'
alone='-ffreestanding -fno-builtin -nostdlib -static -fuse-ld=lld'

# on NAME COMPILE.. -- BUILD.. -- RUN..
on() {
	what=$1 target=
	shift
	while [ "$1" != -- ]; do target="$target $1"; shift; done
	shift
	build=
	while [ "$1" != -- ]; do build="$build $1"; shift; done
	shift
	# shellcheck disable=SC2086
	"$nnc" compile "$name.nn" --weights "$name.w" --quantize int8 --batch 4 -o "$name.o" $target >summary 2>log || { fail "$name, $what: $(head -1 log)"; return; }
	undefined=$([ "$what" = wasm32 ] || readelf -sW "$name.o" | awk '$7 == "UND" && $8 != "" { print $8 }')
	[ -z "$undefined" ] || fail "$name, $what: undefined: $undefined"
	# shellcheck disable=SC2086
	$build $flags -DNAME="$name" -include "$name.h" -I. main.c "$name.o" -o program 2>log || { fail "$name, $what: $(head -3 log)"; return; }
	"$@" program >got || fail "$name, $what: does not run"
	cmp -s got expected || fail "$name, $what: other results: $(diff got expected | head -4 | tr '\n' ' ')"
	ran="$ran $what"
}
run() { "./$1"; }
board() { timeout 300 qemu-system-arm -M mps2-an386 -kernel "$1" -display none -monitor none -serial none -chardev stdio,id=out -semihosting-config enable=on,target=native,chardev=out; }

for name in dense conv odd; do
	"$nnc" init "$name.nn" -o "$name.w" >/dev/null || fail "$name: init"
	for how in "" --interpret; do
		"$nnc" predict "$name.nn" --weights "$name.w" --quantize int8 --input x="$name.x.npy" -o out$how.npy $how >log 2>&1 || fail "$name: predict $how: $(cat log)"
	done
	cmp out.npy out--interpret.npy || fail "$name: compiled is not interpreted"
	"$nnc" predict "$name.nn" --weights "$name.w" --input x="$name.x.npy" -o f32.npy || fail "$name: predict"
	cmp -s out.npy f32.npy && fail "$name: nothing is quantised"
	tail -c 108 out--interpret.npy | od -An -v -tx4 -w4 | tr -d ' ' >expected
	# what the function reads, as C
	size=$(($(wc -c <"$name.x.npy") - 128))
	{ printf 'static const unsigned char x[] __attribute__((aligned(64))) = {'; tail -c $size "$name.x.npy" | od -An -v -tu1 | sed 's/ \([0-9]\)/ \1/g; s/ *\([0-9][0-9]*\)/\1,/g'; echo '};'; } >x.h
	on x86-64-v3 --target x86-64 --cpu x86-64-v3 -- cc "$here/hosted.c" -- run
	cp "$name.o" first.o
	"$nnc" compile "$name.nn" --weights "$name.w" --quantize int8 --batch 4 -o "$name.o" --target x86-64 --cpu x86-64-v3 >/dev/null
	cmp "$name.o" first.o || fail "$name: compiled again, it differs"
	grep -q '^int8 .* of the bytes' summary || fail "$name: $(cat summary)"
	grep -q 'right of 9 samples of d: ' summary || fail "$name: no figures: $(cat summary)"
	grep -q -w avx512bw /proc/cpuinfo && on x86-64-v4 --target x86-64 --cpu x86-64-v4 -- cc "$here/hosted.c" -- run
	on native --cpu native -- cc "$here/hosted.c" -- run
	grep -q -w avx_vnni /proc/cpuinfo && on x86-64-v3+avxvnni --target x86-64 --features +avxvnni -- cc "$here/hosted.c" -- run
	if has aarch64-linux-gnu-gcc && has qemu-aarch64; then
		on aarch64 --target aarch64 -- aarch64-linux-gnu-gcc -static "$here/hosted.c" -- qemu-aarch64
		for features in +dotprod +dotprod,+i8mm; do
			on aarch64$features --target aarch64 --features $features -- aarch64-linux-gnu-gcc -static "$here/hosted.c" -- qemu-aarch64 -cpu max
		done
	fi
	has arm-linux-gnueabihf-gcc && has qemu-arm && on armv7 --target armv7 -- arm-linux-gnueabihf-gcc -static "$here/hosted.c" -- qemu-arm -cpu cortex-a7
	has clang && has ld.lld || continue
	has qemu-riscv64 && on riscv64 --target riscv64 -- clang --target=riscv64-linux-gnu -march=rv64gc $alone "$here/bare/linux.c" -- qemu-riscv64
	has qemu-system-arm && on cortex-m4 --target cortex-m4 -- clang --target=thumbv7em-none-eabihf -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard $alone \
		"$here/bare/start.c" -T "$here/bare/bare.ld" -Wl,-n,--defsym=CODE=0,--defsym=DATA=0x21000000,--defsym=DATA_END=0x22000000 -- board
	# without fused multiply-add: where none is asked for, between products of integers, the bits are the same
	[ "$name" = conv ] && has wasm-ld && has node && echo put >allowed &&
		on wasm32 --target wasm32 -- clang --target=wasm32 -ffreestanding -fno-builtin -nostdlib -Wl,--no-entry,--export=bits,--allow-undefined-file=allowed -- \
			node "$here/wasm.mjs"
done
echo "same bits:$ran"

convnet() {
	pictures=20 data=/usr/share/datasets/fashion-mnist
	cp "$here/../../examples/convnet.nn" . && "$nnc" train convnet.nn ${epochs:+--epochs "$epochs"} >log 2>&1 || { tail -3 log; fail "convnet: train"; return; }
	"$nnc" compile convnet.nn --weights convnet.run/weights.safetensors --quantize int8 -o convnet.o >summary || { fail "convnet: compile"; return; }
	grep -A 2 '^int8' summary
	awk '/ % of the bytes/ { for (i = 2; i <= NF; i++) if ($i == "%") bytes = $(i - 1) } / accuracy of / { lost = -$NF }
		END { exit !(bytes > 0 && bytes <= 27 && lost != "" && lost <= 0.005) }' summary || fail "convnet: it loses too much"
	# shellcheck disable=SC2046
	"$arrays" write convnet.x.npy u1 $pictures,28,28 $(gzip -cd $data/t10k-images-idx3-ubyte.gz | tail -c +17 | head -c $((pictures * 784)) | od -An -v -tu1)
	for how in "" --interpret; do
		"$nnc" predict convnet.nn --weights convnet.run/weights.safetensors --quantize int8 --input image=convnet.x.npy -o out$how.npy $how >log 2>&1 ||
			fail "convnet: predict $how: $(cat log)"
	done
	cmp out.npy out--interpret.npy && echo "$pictures pictures: the interpreter's bits" || fail "convnet: compiled is not interpreted"
}
[ "$long" != --long ] || convnet
exit $failed
