#!/bin/sh
# One hash of the weights, however they were computed: tests/examples/hashes.sh NNC
#   200 steps of every example with 1, 2, 3 and 8 threads, from a fresh compilation and from the object cache;
#   20 steps compiled and in the f32 interpreter;
#   6 steps of the larger models of images on 32 made-up pictures, with 1, 2 and 3 threads, for x86-64-v3 and -v4 where the
#   processor is one, from the object cache, and in the interpreter.  Large examples of sequences with the sizes of small.txt.
# The hash is that of the tensors' bytes: the header of a safetensors file (8 bytes of length, then JSON) is left out,
# because it also records how the run was started.
set -eu
nnc=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'kill $first $second 2>/dev/null || :; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
first='' second=''
export NNC_FORCE_THREADS=1   # more workers than processors are meant here
failed=0
compared=0

# hash EXAMPLE option..: of the weights after that training
hash() {
	file=$root/examples/$1.nn
	small=$(sed -n "s/^$1 //p" "$root/tests/examples/small.txt")
	shift
	rm -rf "$group/run"
	# shellcheck disable=SC2086
	"$nnc" train "$file" $small --seed 7 --quiet --out "$group/run" "$@" >"$group/out" 2>&1 || { cat "$group/out" >&2; exit 1; }
	header=$(od -An -tu8 -N8 "$group/run/weights.safetensors" | tr -d ' ')
	tail -c "+$((header + 9))" "$group/run/weights.safetensors" >"$group/tensors"
	[ -s "$group/tensors" ] || { echo "no tensors in the weights of $file" >&2; exit 1; }
	sha256sum <"$group/tensors" | cut -c 1-16
}

# same WHAT HASH HASH
same() {
	compared=$((compared + 1))
	[ "$2" = "$3" ] || { echo "$1: $3, not $2"; failed=1; }
}

sequences() {
	for example in xor houses mixture pinn pendulum recommender gan charlm gpt tutorial1 tutorial2 fashion deep_sigmoid; do
		one=$(hash $example --steps 200 --threads 1)
		for threads in 2 3 8; do
			same "$example, 200 steps, $threads threads" "$one" "$(hash $example --steps 200 --threads $threads)"
		done
		same "$example, 200 steps, from the cache" "$one" "$(hash $example --steps 200 --threads 1)"
		short=$(hash $example --steps 20 --threads 2)
		same "$example, 20 steps, interpreted" "$short" "$(hash $example --steps 20 --threads 1 --interpret)"
		[ "$one" != "$short" ] || { echo "$example: 200 steps and 20 give the same weights"; failed=1; }
		echo "$example: $one after 200 steps, $short after 20"
	done
}

# small FILE MAGIC BYTES DIMS: 32 samples of BYTES bytes below MOST as an IDX file; MAGIC and DIMS in octal.
small() {
	# shellcheck disable=SC2059
	printf "$(awk -v magic="$2" -v bytes="$3" -v dims="$4" -v most="$5" 'BEGIN {
		printf "\\000\\000\\010%s\\000\\000\\000\\040%s", magic, dims
		x = 1
		for (i = 0; i < 32 * bytes; i++) { x = (x * 16807) % 2147483647; printf "\\%03o", int(x / 8388608) % most } }')" >"$work/data/$1"
}
mkdir "$work/data"
side='\\000\\000\\000\\034'
for part in train t10k; do
	small $part-images-idx3-ubyte.gz '\\003' 784 "$side$side" 256
	small $part-labels-idx1-ubyte.gz '\\001' 1 '' 10
done
processors=x86-64-v3
grep -q avx512bw /proc/cpuinfo && processors="$processors x86-64-v4"
images() {
	for example in convnet autoencoder vae unet resnet; do
		one=$(hash $example --data-dir "$work/data" --batch 8 --steps 6 --threads 1)
		for threads in 2 3; do
			same "$example, $threads threads" "$one" "$(hash $example --data-dir "$work/data" --batch 8 --steps 6 --threads $threads)"
		done
		same "$example, from the cache" "$one" "$(hash $example --data-dir "$work/data" --batch 8 --steps 6 --threads 1)"
		for cpu in $processors; do
			same "$example, $cpu" "$one" "$(hash $example --data-dir "$work/data" --batch 8 --steps 6 --threads 2 --cpu "$cpu")"
		done
		same "$example, interpreted" "$one" "$(hash $example --data-dir "$work/data" --batch 8 --steps 6 --threads 1 --interpret)"
		short=$(hash $example --data-dir "$work/data" --batch 8 --steps 5 --threads 1)
		[ "$one" != "$short" ] || { echo "$example: 6 steps and 5 give the same weights"; failed=1; }
		echo "$example: $one after 6 steps of 8 pictures"
	done
}

# in_group NAME: with files and a cache of its own
in_group() {
	group=$work/$1
	export NNC_CACHE="$group/cache"
	mkdir "$group"
	$1
	echo "$1: $compared comparisons"
	exit $failed
}

# What uses one processor at a time leaves the other one to the other group.
(in_group sequences) & first=$!
(in_group images) & second=$!
wait $first || failed=1
wait $second || failed=1
exit $failed
