#!/bin/sh
# The table of targets in runtime/EMBEDDING.md: tests/embed/table.sh CELLS EMBEDDING.md
#   CELLS: lines TARGET|NET|CELL of targets.sh.  What stands between the two comments that name this script is replaced.
set -eu
awk -F'|' '
	{ if (!($1 in row)) { row[$1] = 1; rows[++n] = $1 } if (!($2 in col)) { col[$2] = 1; cols[++m] = $2 } cell[$1, $2] = $3 }
	END {
		printf "| target |"; for (j = 1; j <= m; j++) printf " %s |", cols[j]
		printf "\n|---|"; for (j = 1; j <= m; j++) printf "---|"
		for (i = 1; i <= n; i++) { printf "\n| `%s` |", rows[i]; for (j = 1; j <= m; j++) printf " %s |", cell[rows[i], cols[j]] }
		print ""
	}' "$1" >"$1.table"
awk -v table="$1.table" '
	/<!-- table\.sh: end -->/ { skip = 0 }
	!skip
	/<!-- table\.sh: begin -->/ { while ((getline line <table) > 0) print line; skip = 1 }' "$2" >"$1.page"
grep -q 'table.sh: begin' "$1.page"
cat "$1.page" >"$2"
