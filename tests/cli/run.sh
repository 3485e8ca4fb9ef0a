#!/bin/sh
# run.sh: one transcript of commands against what they print now.
#
#   run.sh NNC ARRAYS EXAMPLES TRANSCRIPT.txt [--accept]
#
# A transcript holds lines "$ command", what the command prints (stdout and stderr), and "[exit N]" where N is not 0.
# Commands run in one shell, in a folder of their own that starts as a copy of tests/cli/files; lines that start
# with "## " are kept.  --accept writes what is printed now.
nnc=$(realpath "$1") arrays=$(realpath "$2") examples=$(realpath "$3") transcript=$(realpath "$4") accept=$5
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/home" "$work/here" "$work/results"
ln -s "$nnc" "$work/bin/nnc"
ln -s "$arrays" "$work/bin/arrays"
cp "$here"/files/* "$work/here"
PATH=$work/bin:$PATH HOME=$work/home
EXAMPLES=$examples
export PATH HOME EXAMPLES
unset NNC_CACHE XDG_CACHE_HOME NNC_DATA NO_COLOR
cd "$work/here" || exit 1
blank=false
while IFS= read -r line; do
	case $line in
	"\$ "*)
		printf '%s\n' "$line"
		eval "${line#\$ }" >"$work/results/out" 2>&1 </dev/null
		code=$?
		sed "s|$work|WORK|g; s|$examples|EXAMPLES|g" "$work/results/out"
		[ $code -eq 0 ] || echo "[exit $code]" ;;
	"## "*) printf '%s\n' "$line" ;;
	esac
done <"$transcript" >"$work/results/now"
if [ "$accept" = --accept ]; then
	cp "$work/results/now" "$transcript"
else
	diff -u "$transcript" "$work/results/now"
fi
