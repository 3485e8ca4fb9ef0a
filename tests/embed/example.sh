#!/bin/sh
# examples/embed as its reader would build it, elsewhere: tests/embed/example.sh NNC SOURCE
set -eu
nnc=$1 root=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }
cp "$root/examples/xor.nn" "$work"
cp -r "$root/examples/embed" "$work/embed"
warnings="-Wall -Wextra -Wpedantic -Werror"

# build FOLDER FLAGS..: with make
build() {
	folder=$work/embed/$1
	shift
	make -s -C "$folder" clean
	make -C "$folder" NNC="$nnc" "$@" >"$work/log" 2>&1 || { cat "$work/log"; fail "make in $folder"; }
}

# ---- c: learns, keeps what it has learnt, goes on as if it had never ended ----
cd "$work"
awk 'BEGIN { for (i = 0; i < 4000; i++) print sin(i * 0.3) + 0.5 * sin(i * 0.11) }' >numbers
build c CFLAGS="-O2 $warnings"
cp embed/c/forecast forecast
./forecast whole.state <numbers | tee out
awk '/^4000 seen/ { good = $5 + 0 < 0.25 * $7 } END { exit !good }' out || fail "it does not learn"
head -n 1500 numbers | ./forecast parts.state >/dev/null
tail -n 2500 numbers | ./forecast parts.state >out2
cmp whole.state parts.state || fail "what goes on is not what never ended"
[ "$(tail -n 1 out)" = "$(tail -n 1 out2)" ] || fail "another forecast"

# a mistake of the sensor's changes nothing; a state of others is refused and left alone
{ head -n 4 numbers; printf 'nan\nhello\n1e30\n-inf\n'; tail -n +5 numbers; } | ./forecast odd.state >/dev/null 2>left
cmp whole.state odd.state || fail "what is left out has an effect"
[ "$(grep -c 'left out' left)" = 4 ] || fail "four lines are left out, not $(cat left)"
head -c 1000 whole.state >short.state
sed 's/./x/' whole.state >strange.state
for bad in short strange; do
	cp $bad.state before
	! ./forecast $bad.state <numbers >/dev/null 2>&1 || fail "a $bad state is taken"
	cmp before $bad.state || fail "a $bad state is overwritten"
done

# a state that is there and cannot be read is not begun anew and replaced; who reads the output may go
ln -s loop.state loop.state
! ./forecast loop.state <numbers >/dev/null 2>&1 || fail "a state that cannot be read is begun anew"
[ -L loop.state ] || fail "a state that cannot be read is replaced"
! ./forecast no/such/folder/state </dev/null >/dev/null 2>&1 || fail "a state that cannot be kept"
mkfifo reader
head -n 1 reader >/dev/null &
{ head -n 1000 numbers; sleep 1; tail -n 3000 numbers; } | ./forecast left.state >reader || fail "nobody reads the output: $?"
cmp whole.state left.state || fail "nobody reads the output, and what is learnt is lost"

# stopped while it waits
mkfifo sensor
./forecast stopped.state <sensor >out2 &
program=$!
exec 3>sensor
head -n 3000 numbers >&3
until grep -q '^3000 seen' out2; do kill -0 $program && sleep 0.05 || fail "stopped too early"; done
kill -TERM $program
wait $program || fail "stopped: $?"
exec 3>&-
tail -n 1000 numbers | ./forecast stopped.state >/dev/null
cmp whole.state stopped.state || fail "stopped and going on is not the same"

build c CFLAGS="-O1 -g $warnings -fsanitize=address,undefined"
embed/c/forecast checked.state <numbers >/dev/null 2>log || { cat log; fail "with sanitizers"; }
cmp whole.state checked.state && [ ! -s log ] || fail "with sanitizers"

# ---- cpp: the same states, several at once ----
awk 'NR % 2 { print "other", -$1 } { print "wave", $1 }' numbers >lines
for checks in -O2 "-O1 -g -fsanitize=address,undefined"; do
	build cpp CXXFLAGS="$warnings $checks"
	rm -rf states && mkdir states
	head -n 2000 lines | embed/cpp/forecasts states >/dev/null
	tail -n +2001 lines | embed/cpp/forecasts states >out2 2>log || { cat log; fail "cpp: $checks"; }
	[ ! -s log ] || { cat log; fail "cpp: $checks"; }
	cmp whole.state states/wave.state || fail "the state in C++ is not that in C"
done
grep -q '^other: 2000 seen' out2 || fail "cpp: $(cat out2)"
cp short.state states/wave.state
mv states/other.state other.before
{ echo "../wave 1"; head -n 10 lines; } >odd
! embed/cpp/forecasts states <odd >/dev/null 2>log || fail "cpp: a short state is taken"
grep -q 'wave.state: not a saved Forecaster' log || fail "cpp: $(cat log)"
grep -q 'left out: ../wave 1' log && [ ! -e wave.state ] || fail "cpp: a name that is a path"
cmp short.state states/wave.state || fail "cpp: a short state is overwritten"
[ -e states/other.state ] || fail "cpp: what another signal has learnt is lost"
rm states/wave.state && ln -s wave.state states/wave.state
! embed/cpp/forecasts states <lines >/dev/null 2>&1 || fail "cpp: a state that cannot be read is begun anew"
[ -L states/wave.state ] || fail "cpp: a state that cannot be read is replaced"
sed 's/./x/' whole.state >states/strange.state
! echo strange 1 | embed/cpp/forecasts states >/dev/null 2>log || fail "cpp: another program's state is taken"
grep -q 'strange.state: not a saved Forecaster' log || fail "cpp: $(cat log)"
cat >class.cpp <<'END'
// What main.cpp does not do: copies, containers, errors, tensors.
#include <cstring>
#include <vector>
#include "forecaster.h"
int main() {
	std::vector<Forecaster> all;
	for (int i = 0; i < 5; i++) all.emplace_back(1 + i % 2);
	Forecaster &first = all[0], &second = all[1];
	for (int i = 0; i < 100; i++) first.see(float(i % 7));
	Forecaster copy = first, moved = std::move(second);
	if (copy.next() != first.next()) return 1;
	copy.see(3);
	if (copy.next() == first.next() || copy.seen() != 101 || first.seen() != 100) return 2;
	second = copy;
	moved = std::move(copy);
	if (second.next() != moved.next()) return 3;
	const float before = first.next();
	try {
		first.see(1 / (before - before) * 0);
		return 4;
	} catch (const Error &error) {
		if (error.status != forecast_NOT_FINITE || first.next() != before) return 5;
	}
	std::array<float, 128> w;
	first.tensor("next/dense.0/w", w);
	try {
		first.tensor("next/dense.0/b", w);
		return 6;
	} catch (const std::length_error &) {}
	try {
		first.tensor("next/dense.7/b", w);
		return 7;
	} catch (const Error &error) {
		if (error.status != forecast_BAD_PATH) return 8;
	}
	return 0;
}
END
# shellcheck disable=SC2086
c++ -std=c++11 -O1 -g $warnings -fsanitize=address,undefined -fno-sanitize=float-divide-by-zero -Iembed/cpp class.cpp embed/cpp/forecast.o -o class
./class || fail "cpp: the class: $?"

# ---- linux-arm: the same program on another processor, one half here and one half there ----
arm() {
	command -v "$2" >/dev/null && command -v "$3" >/dev/null || { echo "linux-arm, $1: not run, without $2 or $3"; return 0; }
	build linux-arm TARGET="$1" CC="$2" CFLAGS="-O2 $warnings"
	rm -f there.state
	"$3" embed/linux-arm/forecast there.state <numbers >out2
	cmp out out2 && cmp whole.state there.state || fail "$1: other results"
	head -n 1500 numbers | ./forecast moved.state >/dev/null
	tail -n 2500 numbers | "$3" embed/linux-arm/forecast moved.state >/dev/null
	cmp whole.state moved.state || fail "$1: begun here and ended there"
	rm moved.state
}
arm aarch64 aarch64-linux-gnu-gcc qemu-aarch64
arm armv7 arm-linux-gnueabihf-gcc qemu-arm

# ---- weights in the object: the model gives what nnc predict gives, bit for bit ----
"$nnc" train "$work/xor.nn" --quiet --threads 1
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

# ---- shared weights: two threads infer while a third trains, under ThreadSanitizer, and with the compiler's other checks ----
for checks in thread address,undefined; do
	build threads CFLAGS="-O1 -g $warnings -fsanitize=$checks"
	embed/threads/threads >out 2>log || { cat out log; fail "threads: with -fsanitize=$checks"; }
	[ ! -s log ] || { cat log; exit 1; }
done
cat out
