#!/bin/sh
# Objects against the compiler's own run of the same program: tests/embed/run.sh NNC REFERENCE SOURCE [FILE.nn..]
#   NNC, REFERENCE: the binaries; SOURCE: the root of the sources; FILE.nn: all of examples/ and tests/embed/ when none is given.
# For every program and target: no undefined symbols, nothing writable, position-independent code, a header without warnings, the promises of the header
# (driver.c), and one hash of parameters and optimiser state for interpreter, 1, 2, 3, 8 workers, workers who share all they can, and objects.
# Large examples have the sizes of tests/examples/small.txt.
set -u
nnc=$1 reference=$2 root=$3
shift 3
[ $# -gt 0 ] || set -- "$root"/examples/*.nn "$root"/tests/embed/*.nn
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
here=$root/tests/embed
failed=0 programs=0 objects=0
CC=${CC:-cc} CXX=${CXX:-c++} ARM=${ARM_CC:-aarch64-linux-gnu-gcc}

fail() { echo "FAILED: $*"; failed=1; false; }

# build OBJECT-NAME OUTPUT COMPILER option..
build() {
	name=$1 output=$2
	shift 2
	"$@" -std=c11 -D_GNU_SOURCE -O1 -Wall -Wextra -Werror -I"$here" -include "$work/$name.h" -include "$work/macros.h" -o "$work/$output" "$here/driver.c" \
		"$work/$name.o" -lpthread || fail "$name, $output: the driver does not build"
}

header_is_clean() {
	echo "#include \"$1.h\"" >"$work/include.c"
	cp "$work/include.c" "$work/include.cpp"
	"$CC" -std=c99 -Wall -Wextra -Wpedantic -Werror -fsyntax-only "$work/include.c" &&
		"$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only "$work/include.c" &&
		"$CXX" -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only "$work/include.cpp"
}

# object CPU-OR-TARGET option..: $work/EXAMPLE.o and .h, of $file
object() {
	what=$1
	shift
	"$nnc" compile "$file" -o "$work/$example.o" "$@" >"$work/summary" || { fail "$example, $what: does not compile"; return; }
	[ -z "$(nm -u "$work/$example.o")" ] || fail "$example, $what: undefined symbols: $(nm -u "$work/$example.o")"
	readelf -SW "$work/$example.o" | grep -E ' WA|\.(data|bss|tdata)' && fail "$example, $what: a writable section"
	[ "$(size -A "$work/$example.o" | awk '/^\.text/ { n += $2 } END { print n + 0 }')" = "$(awk '$1 == "code" { print $2 }' "$work/summary")" ] ||
		fail "$example, $what: the size of the code is not what was printed"
	objects=$((objects + 1))
	if [ $(((objects + programs) % 3)) = 0 ]; then   # every third, of each program others: all targets have their turn
		cp "$work/$example.o" "$work/first.o"
		cp "$work/$example.h" "$work/first.h"
		"$nnc" compile "$file" -o "$work/$example.o" "$@" >/dev/null
		cmp -s "$work/$example.o" "$work/first.o" && cmp -s "$work/$example.h" "$work/first.h" || fail "$example, $what: compiled again, the files differ"
	fi
	header_is_clean "$example" || fail "$example, $what: the header has warnings"
}

# A shared library of nothing but the object: its code needs no relocation, and no other library.
is_position_independent() {
	"$@" -shared -nostdlib -Wl,-z,text,-z,defs -o "$work/shared.so" "$work/$example.o" || fail "$example: does not link as a shared library"
}

# compare WHAT: the driver's lines against the reference's
compare() {
	while read -r kind _ steps hash; do
		[ "$kind" = object ] || continue
		[ "$hash" = "$(awk -v n="$steps" '$3 == n { print $4; exit }' "$work/expected")" ] || fail "$1: after $steps steps $hash"
	done <"$work/got"
	[ -s "$work/got" ] || fail "$1: nothing printed"
}

has_v4() { grep -q -w avx512f /proc/cpuinfo && grep -q -w avx512vl /proc/cpuinfo && grep -q -w avx512bw /proc/cpuinfo && grep -q -w avx512dq /proc/cpuinfo; }
machine=$(uname -m)

for file; do
	example=$(basename "$file" .nn)
	small=$(sed -n "s/^$example //p" "$root/tests/examples/small.txt")
	# shellcheck disable=SC2086
	"$reference" "$file" "$work/macros.h" $small >"$work/expected"
	case $? in
	0) ;;
	77) echo "$example: skipped, its data is not here"; continue ;;
	*) fail "$example: the reference run"; continue ;;
	esac
	for steps in 20 200; do
		[ "$(awk -v n=$steps '$3 == n { print $4 }' "$work/expected" | sort -u | wc -l)" = 1 ] || fail "$example: in process, hashes differ: $(cat "$work/expected")"
	done
	programs=$((programs + 1)) objects=0 ran=
	for cpu in x86-64-v3 x86-64-v4 native; do
		[ "$machine" = x86_64 ] || [ $cpu = native ] || continue
		[ $cpu != x86-64-v4 ] || has_v4 || continue
		object $cpu --cpu $cpu $small || continue
		is_position_independent "$CC"
		build "$example" driver "$CC" || continue
		"$work/driver" >"$work/got" || fail "$example, $cpu: $(grep broken "$work/got" | sort | uniq -c)"
		compare "$example, $cpu"
		ran="$ran $cpu"
	done
	if command -v "$ARM" >/dev/null && command -v qemu-aarch64 >/dev/null; then
		if object aarch64 --target aarch64 $small && is_position_independent "$ARM" && build "$example" driver-arm "$ARM" -static; then
			qemu-aarch64 "$work/driver-arm" short >"$work/got" || fail "$example, aarch64: $(grep broken "$work/got" | sort | uniq -c)"
			compare "$example, aarch64"
			ran="$ran aarch64"
		fi
	fi
	# A team of workers: the same bits.  Of the programs of this folder, teams of every size.
	case $file in
	"$here"/*) teams="1 2 3" ;;
	*) teams=3 ;;
	esac
	for workers in $teams; do
		# shellcheck disable=SC2086
		object "$workers workers" --cpu native --entry infer,train --workers $workers $small || continue
		build "$example" driver "$CC" -DTEAM || continue
		"$work/driver" short >"$work/got" || fail "$example, $workers workers: $(grep broken "$work/got" | sort | uniq -c)"
		compare "$example, $workers workers"
		[ "$(grep -c '^object' "$work/got")" = 2 ] || fail "$example: no line of $workers workers"
	done
	echo "$example: $(awk '$3 == 200 { print $4; exit }' "$work/expected") after 200 steps; objects:$ran"
done
exit $failed
