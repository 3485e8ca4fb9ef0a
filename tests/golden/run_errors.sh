#!/bin/sh
# run_errors.sh: every tests/golden/errors/NAME.nn against NAME.txt: what nnc says of it, and its exit code.
#
#   run_errors.sh NNC ARRAYS [--accept] [NAME ..]
#
# The command is `nnc grad NAME.nn` unless the file has a line "# run: ..": shell text, run beside the files with a fresh folder
# TMPDIR.  --accept writes what is said now.
nnc=$(realpath "$1") arrays=$(realpath "$2")
shift 2
accept=false
if [ "$1" = --accept ]; then accept=true; shift; fi
cd "$(dirname "$0")/errors" || exit 1
[ $# -gt 0 ] || set -- *.nn
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
mkdir "$out/bin" && ln -s "$nnc" "$out/bin/nnc" && ln -s "$arrays" "$out/bin/arrays"
PATH=$out/bin:$PATH NNC_CACHE=$out/cache
export PATH NNC_CACHE
unset NNC_DATA
failed=0 count=0
for name in "$@"; do
	name=${name%.nn}
	command=$(sed -n 's/^# run: //p' "$name.nn")
	: "${command:=nnc grad $name.nn}"
	TMPDIR=$out/$name
	export TMPDIR
	mkdir "$TMPDIR"
	sh -c "$command" </dev/null >"$out/stdout" 2>"$out/stderr"
	code=$?
	{ sed "s|$TMPDIR|OUT|g" "$out/stderr"; echo "exit $code"; } >"$out/said"
	count=$((count + 1))
	if $accept; then
		cp "$out/said" "$name.txt"
	elif ! diff -u "$name.txt" "$out/said"; then
		echo "$name: nnc says something else" >&2
		failed=$((failed + 1))
	fi
done
echo "$count files, $failed differ"
[ $failed -eq 0 ]
