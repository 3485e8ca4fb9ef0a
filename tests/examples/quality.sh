#!/bin/sh
# What the examples reach, against what they promise.
#   tests/examples/quality.sh NNC             one seed: the test that ctest runs
#   tests/examples/quality.sh NNC --seeds 3   the mean over seeds 1, 2, 3; by hand, with the log in quality.log beside this file
# Every run has one thread and is complete, unless options shorten it.  The weights do not depend on the number of threads (hashes.sh).
set -eu
nnc=$1
seeds=1
[ "${2:-}" = "--seeds" ] && seeds=$3
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=/dev/null
if [ "$seeds" -gt 1 ]; then
	log=$here/quality.log
	{
		echo "commit $(git -C "$root" rev-parse --short HEAD), seeds 1..$seeds, $("$nnc" --version), 1 thread"
		sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1
	} >"$log"
fi
failed=0
length=""   # options of the training alone

# expect EXAMPLE METRIC RELATION BOUND [option..]: the mean over the seeds of METRIC (loss, or as the file names it).
expect() {
	example=$1 metric=$2 relation=$3 bound=$4
	shift 4
	values="" times=""
	shown=$(echo "$*" | sed -E 's/--(epochs|steps) [0-9]+//g')   # what nnc eval takes of them
	for seed in $(seq 1 "$seeds"); do
		run=$work/$(echo "$example$seed$length$*" | tr -c 'a-zA-Z0-9\n' _)
		if ! [ -d "$run" ]; then
			began=$(date +%s%N)
			(
				# shellcheck disable=SC2086
				"$nnc" train "$root/examples/$example.nn" --seed "$seed" --threads 1 --out "$run" $length "$@" >"$work/out" 2>&1 ||
					{ cat "$work/out"; exit 1; }
				times >"$work/times"
			)
			wall=$((($(date +%s%N) - began) / 1000000))
			processor=$(tail -n 1 "$work/times" | awk '{ split($1 "m" $2, t, "m"); printf "%d", 60000 * (t[1] + t[3]) + 1000 * (t[2] + t[4]) }')
			echo "$processor/$wall" >"$run/milliseconds"
		fi
		# shellcheck disable=SC2086
		value=$("$nnc" eval "$root/examples/$example.nn" --weights "$run/weights.safetensors" --json $shown |
			sed -n "s/.*\"$metric\": *\([-+.0-9eE]*\).*/\1/p")
		values="$values $value" times="$times $(cat "$run/milliseconds")"
	done
	# shellcheck disable=SC2086
	echo $values | awk -v relation="$relation" -v bound="$bound" -v what="$example${length:+ $length}${*:+ $*} $metric" -v times="$times ms" '
		{ for (i = 1; i <= NF; i++) { sum += $i; values = values sprintf("%s%.5g", i > 1 ? " " : "", $i) }
		  mean = NF ? sum / NF : 0
		  good = NF > 0 && (relation == ">=" ? mean >= bound : mean <= bound)
		  printf "%-40s %.5g %s %s: %s  (%s; whole runs, processor/wall:%s)\n", what, mean, relation, bound, good ? "yes" : "NO", values, times
		  exit !good }' >"$work/line" || failed=1
	tee -a "$log" <"$work/line"
}

expect xor accuracy '>=' 1
expect xor loss '<=' 0.001
expect houses off_by '<=' 14
expect tutorial1 accuracy '>=' 0.99
expect tutorial2 accuracy '>=' 0.83
expect fashion accuracy '>=' 0.873
expect mixture loss '<=' 1.98
expect pinn off_by '<=' 0.003
expect pendulum length '>=' 1.29
expect pendulum length '<=' 1.31
expect pendulum friction '>=' 0.245
expect pendulum friction '<=' 0.255
expect recommender off_by '<=' 0.53
expect gan on_target '>=' 0.75 --epochs 300
expect gan covered '>=' 0.7 --epochs 300
expect charlm right '>=' 0.3 --epochs 2
expect gpt right '>=' 0.22 --steps 150
expect deep_sigmoid accuracy '<=' 0.15
expect deep_sigmoid first_gradient '<=' 1e-9
expect deep_sigmoid accuracy '>=' 0.7 --set RELU=1
# Models of images, shortened to seconds: bounds that they reach then, and that none reaches whose learning is broken.
length="--steps 150"
expect convnet accuracy '>=' 0.75
expect unet off_by '<=' 0.25 --batch 32
expect resnet accuracy '>=' 0.6 --batch 32
length="--epochs 1"
expect autoencoder loss '<=' 0.035
expect vae loss '<=' 280
for table in houses flowers ratings rod swings ring; do
	awk -f "$here/random.awk" -f "$here/$table.awk" | cmp - "$root/examples/$table.csv" || failed=1
done
exit $failed
