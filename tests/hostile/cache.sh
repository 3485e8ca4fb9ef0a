#!/bin/sh
# cache.sh: the cache of compiled objects through the command line: whatever is done to it, training gives the same weights.
# Any byte changed: compiled again, never run; several runs at once; no HOME, a HOME that cannot be written.
#
#   cache.sh NNC
nnc=$(realpath "$1")
work=$(mktemp -d) || exit 1
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work" || exit 1
unset NNC_CACHE XDG_CACHE_HOME
export HOME="$work/home"
mkdir home

failed=0
fail() {
	echo "FAILED: $*" >&2
	failed=$((failed + 1))
}

cat >tiny.nn <<'END'
data line { x: f32 = [0, 1, 2, 3]; y: f32 = [1, 3, 5, 7] }
model net(x: [B]) -> [B] { param a: f32 = 0; param b: f32 = 0; return a * x + b }
train { data = line; batch = 4; steps = 20; loss = mse(net(x), y); optimizer = sgd(lr = 0.1) }
END

# trains WHAT: exit code 0, not a word, and the weights of the first run
trains() {
	rm -rf out
	"$nnc" train tiny.nn --threads 1 --quiet --out out >said 2>&1 </dev/null || fail "$1: exit code $?"
	[ -s said ] && { fail "$1: says"; cat said >&2; }
	cmp -s out/weights.safetensors first || fail "$1: other weights"
}

"$nnc" train tiny.nn --threads 1 --quiet --no-cache --out out || exit 1
cp out/weights.safetensors first
[ -e home/.cache ] && fail '--no-cache writes'
trains 'cold'
objects=$(ls home/.cache/nnc)
[ -n "$objects" ] || fail 'nothing was kept'
cp -r home/.cache/nnc kept
trains 'warm'

# Bytes over the whole of each object, each changed by itself: the object is written anew, as it was.
for object in $objects; do
	size=$(wc -c <kept/$object)
	i=0
	while [ $i -lt 24 ]; do
		at=$((i < 8 ? i * 7 : size * i / 24))
		cp kept/$object home/.cache/nnc/$object
		old=$(od -An -tu1 -j $at -N 1 kept/$object)
		printf "\\$(printf %03o $((old ^ 255)))" | dd of=home/.cache/nnc/$object bs=1 seek=$at conv=notrunc 2>/dev/null
		trains "byte $at of $object"
		cmp -s kept/$object home/.cache/nnc/$object || fail "byte $at of $object: not written anew"
		i=$((i + 1))
	done
	for size in 0 1 100 $((size - 1)); do
		head -c $size kept/$object >home/.cache/nnc/$object
		trains "cut to $size"
		cmp -s kept/$object home/.cache/nnc/$object || fail "cut to $size: not written anew"
	done
	rm home/.cache/nnc/$object && mkdir home/.cache/nnc/$object
	trains 'a folder for an object'
	rmdir home/.cache/nnc/$object
	ln -s /dev/zero home/.cache/nnc/$object
	trains 'a device for an object'
	rm -f home/.cache/nnc/$object
done

# One object under the name of another is code of another program: never run.
set -- $objects
if [ $# -ge 2 ]; then
	cp kept/$1 home/.cache/nnc/$2
	cp kept/$2 home/.cache/nnc/$1
	trains 'objects under exchanged names'
fi

# Eight runs at once on an empty cache.
rm -rf home/.cache
for i in 1 2 3 4 5 6 7 8; do
	"$nnc" train tiny.nn --threads 1 --quiet --out many$i >many$i.said 2>&1 &
done
wait
for i in 1 2 3 4 5 6 7 8; do cmp -s many$i/weights.safetensors first || { fail "run $i of 8"; cat many$i.said >&2; }; done
[ "$(ls home/.cache/nnc)" = "$(ls kept)" ] || fail 'eight runs leave other files'

# Places that cannot be used.
export HOME=
trains 'an empty HOME'
unset HOME
trains 'no HOME'
export HOME=relative
trains 'a relative HOME'
[ -e relative ] && fail 'a relative HOME is made'
export HOME=/proc/nothing
trains 'a HOME that cannot be made'
export HOME="$work/absent"
trains 'a HOME that is not there'
[ -e absent ] && fail 'a HOME that is not there is made'
touch file
export HOME="$work/file"
trains 'a file for a HOME'
mkdir closed && chmod 500 closed
export HOME="$work/closed"
trains 'a read-only HOME'
[ "$(id -u)" -eq 0 ] || [ -z "$(ls -A closed)" ] || fail 'a read-only HOME is written'
export HOME="$work/open" && mkdir -p open/.cache/nnc && chmod 777 open/.cache/nnc
trains 'a cache that others may write'
[ -z "$(ls -A open/.cache/nnc)" ] || fail 'a cache that others may write is used'
export HOME="$work/home" NNC_CACHE=off
rm -rf home/.cache
trains 'the cache turned off'
[ -e home/.cache ] && fail 'the cache turned off is written'

echo "$failed failures"
[ $failed -eq 0 ]
