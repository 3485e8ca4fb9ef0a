#!/bin/sh
# campaign.sh FROM TO JOBS FUZZ..: checks the seeds FROM .. TO - 1, a thousand at a time, with the command FUZZ.
#
#     tests/fuzz/campaign.sh 100000 150000 1 nice build/tests/fuzz
#
# What is finished is in campaign.log beside this script: commit, seeds, what was checked, what differed.  Interrupted and started
# again, it goes on with what is not there yet for this commit.  Ends with 1 when anything differed; the programs that did
# are in campaign.found.  At the end, which cells of reachable.txt these seeds do not cover: those need the seeds of the test.
set -u
[ $# -ge 4 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd) from=$1 to=$2 jobs=$3
shift 3
log=$here/campaign.log piece=$(mktemp) out=$(mktemp)
trap 'rm -f "$piece" "$out"' EXIT
trap 'exit 130' INT TERM
"$@" --log "$piece" --plan 0 0 >/dev/null
commit=$(sed -n 's/^\(commit [^,]*\),.*/\1/p' "$piece")
a=$from
while [ "$a" -lt "$to" ]; do
	b=$((a + 1000 < to ? a + 1000 : to))
	if ! grep -qsF "$commit, seeds $a..$((b - 1))," "$log"; then
		: >"$piece"
		"$@" --jobs "$jobs" --log "$piece" "$a" "$b" >"$out"
		# interrupted, it has checked fewer
		grep -qF " $((b - a)) programs," "$piece" || grep -q '^failed' "$piece" || exit 130
		cat "$piece" >>"$log"
		tail -n 1 "$piece"
		grep -q '^failed' "$piece" && sed -n '/^---- seed/,/^op  /p' "$out" | tee -a "$here/campaign.found"
	fi
	a=$b
done
if ! grep -qF "$commit, seeds $from..$((to - 1)), coverage" "$log"; then
	"$@" --plan --jobs "$jobs" --reachable "$here/reachable.txt" "$from" "$to" >"$out"
	{
		echo "$commit, seeds $from..$((to - 1)), coverage"
		sed -n 's/^missed, though reachable: /not covered: /p' "$out"
	} | tee -a "$log"
fi
awk -v commit="$commit" '/^commit/ { ours = index($0, commit ",") } ours && /^failed/ { print; n++ } END { exit n > 0 }' "$log"
