#!/bin/sh
# Blocks as files, and several models and train blocks in one object: tests/embed/blocks.sh NNC SOURCE
# The object of several.nn trains its two train blocks as nnc train does; its blocks go to safetensors and back; those of other programs are refused.
set -eu
nnc=$(realpath "$1") here=$(realpath "$2")/tests/embed
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export NNC_CACHE="$work/cache"
fail() { echo "FAILED: $*"; exit 1; }
# the same parameters and states?
same() {
	"$nnc" pack several.nn "$1" --entry infer -o a.block >/dev/null
	"$nnc" pack several.nn "$2" --entry infer -o b.block >/dev/null
	cmp a.block b.block || fail "$3"
}
refused() { what=$1; shift; if "$@" >out 2>&1; then fail "$what is taken"; fi; }

cp "$here/several.nn" .
sed 's/WIDTH = 7/WIDTH = 6/' several.nn >narrow.nn
"$nnc" compile several.nn -o several.o >/dev/null
"$nnc" compile narrow.nn -o narrow.o >/dev/null
${CC:-cc} -std=c11 -O1 -Wall -Wextra -Wpedantic -Werror -I. -o blocks "$here/blocks.c" several.o narrow.o
./blocks train

# the first train block, then the second from where it ended, by nnc train
"$nnc" train several.nn --name first --out one --quiet --threads 1
"$nnc" train several.nn --name second --weights one/weights.safetensors --out two --quiet --threads 1
"$nnc" unpack several.nn first.bin -o first.safetensors >/dev/null
"$nnc" unpack several.nn both.bin -o both.safetensors >/dev/null
same first.safetensors one/weights.safetensors "20 steps of the first train block are not those of nnc train"
same both.safetensors two/weights.safetensors "10 steps of the second are not those of nnc train"

# a training block to safetensors and back: everything that counts
"$nnc" pack several.nn both.safetensors -o again.bin >/dev/null
./blocks after again.bin
"$nnc" unpack several.nn again.bin -o again.safetensors >/dev/null
cmp both.safetensors again.safetensors || fail "unpacked again, the weights differ"
# a checkpoint of nnc train goes on in the object: its counters, with the optimiser's state
"$nnc" pack several.nn --name second two/checkpoint.safetensors -o second.bin >out
grep -q "with the optimiser's state" out || fail "$(cat out)"
"$nnc" unpack several.nn --name second second.bin -o second.safetensors >/dev/null
strings -n 8 second.safetensors | head -c 4096 | grep -q '"field:step_second": *"10"' || fail "the checkpoint's steps"
# what is computed is not part of a block, what stands in it is
sed 's/tanh/relu/' several.nn >relu.nn
"$nnc" unpack relu.nn both.bin -o relu.safetensors >/dev/null
same both.safetensors relu.safetensors "another activation, other weights"
refused "a narrower net's block" "$nnc" unpack narrow.nn both.bin -o no.safetensors
grep -q "is no block of this program" out || fail "$(cat out)"
sed 's/lr = input(0.05), momentum = 0.9/momentum = 0.9, lr = input(0.05), nesterov = true/; s/lr = input(0.1)/lr = 0.1/' several.nn >other.nn
refused "another training's block" "$nnc" unpack other.nn both.bin -o no.safetensors
grep -q "its optimiser's state is not" out || fail "$(cat out)"
head -c 100 both.bin >cut.bin
refused "a block that was cut" "$nnc" unpack several.nn cut.bin -o no.safetensors
grep -q "has 100 bytes" out || fail "$(cat out)"
"$nnc" pack narrow.nn first.safetensors -o no.bin >out 2>&1 && fail "weights of another width are packed"
cp narrow.nn stale.nn
"$nnc" init stale.nn -o stale.safetensors
"$nnc" pack stale.nn stale.safetensors -o stale.bin >/dev/null
./blocks foreign stale.bin
[ ! -e no.safetensors ] && [ ! -e no.bin ] || fail "what was refused has left a file"
