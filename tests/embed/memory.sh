#!/bin/sh
# What is in memory and why: tests/embed/memory.sh NNC SOURCE
# For programs of all kinds: the rows that --explain-memory prints of each block add up to its size, each row has a reason, each of a value a line of the
# program; the sizes of blocks, scratch, code and data are those of the header and of the object's sections.
set -u
nnc=$(realpath "$1") root=$(realpath "$2")
. "$root/tests/embed/macro.sh"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0 blocks=0
fail() { echo "FAILED: $*"; failed=1; }
# sums FILE: a line "sum size name" for each block
sums() {
	awk '
		/^(scratch to (infer|train)|[A-Za-z_0-9]*): [0-9]+ bytes/ {
			if (name != "") print sum, size, name
			match($0, /: [0-9]+ bytes/); size = substr($0, RSTART + 2, RLENGTH - 8); name = substr($0, 1, RSTART - 1); gsub(" ", "_", name); sum = 0; next
		}
		/^ +[0-9]+  / { sum += $1 }
		END { if (name != "") print sum, size, name }' "$1"
}
for file in "$root"/tests/embed/*.nn "$root"/examples/*.nn; do
	name=$(basename "$file" .nn)
	small=$(sed -n "s/^$name //p" "$root/tests/examples/small.txt")
	# shellcheck disable=SC2086
	if ! "$nnc" compile "$file" -o x.o --explain-memory $small >out 2>log; then
		grep -q "cannot find the data file" log || fail "$name: $(head -1 log)"
		continue
	fi
	sums out >rows
	blocks=$((blocks + $(wc -l <rows)))
	awk '$1 != $2 { print; bad = 1 } END { exit bad }' rows || fail "$name: rows do not add up to the block"
	[ "$(awk '$3 == "scratch_to_infer" { print $2 }' rows)" = "$(macro x.h SCRATCH_INFER)" ] || fail "$name: scratch to infer"
	[ "$(awk '$3 == "scratch_to_train" { print $2 }' rows)" = "$(macro x.h SCRATCH_TRAIN)" ] || fail "$name: scratch to train"
	[ "$(awk '$3 ~ /_params$/ { print $2 }' rows)" = "$(macro x.h PARAMS_BYTES)" ] || fail "$name: the parameters' block"
	[ "$(awk '$3 ~ /_train$/ && $3 !~ /^scratch/ { print $2 }' rows)" = "$(macro x.h TRAIN_BYTES)" ] || fail "$name: the training block"
	[ "$(size -A x.o | awk '/^\.(rodata|eh_frame|data\.rel\.ro)/ { n += $2 } END { print n + 0 }')" = "$(macro x.h DATA_BYTES)" ] || fail "$name: read-only data"
	grep -E '^ +[0-9]+  .*(kept for the backward|on the way|a derivative|packed operands)' out | grep -v -E '  (line [0-9]+|<std>)' && fail "$name: a value without a line"
done
echo "$blocks blocks"
[ $blocks -ge 60 ] || fail "so few"
exit $failed
