#!/bin/sh
# run_messages.sh: the messages that no test shows must be those that unseen.txt lists.
#
#   run_messages.sh SOURCE_DIR [--accept]
cd "$1" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cat tests/golden/errors/*.txt tests/cli/*.txt >"$work/shown.txt"
cat tests/unit/*.[ch] >"$work/unit.txt"
# the file after the sources ends the list of sources, whatever its name
awk -f tests/tools/messages.awk $(find compiler grammar runtime -name '*.c' | LC_ALL=C sort) "$work/shown.txt" "$work/unit.txt" tests/golden/parse/*.err \
	2>"$work/count" | LC_ALL=C sort >"$work/unseen"
cat "$work/count"
if [ "$2" = --accept ]; then
	cp "$work/unseen" tests/golden/unseen.txt
else
	diff -u tests/golden/unseen.txt "$work/unseen"
fi
