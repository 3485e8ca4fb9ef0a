#!/bin/sh
# interrupt.sh: SIGINT (or SIGTERM) while training: the step under way is finished, the weights are saved and load again, the exit code
# is 130 (143); before the first step and while weights are written, what was saved before stays whole.
#
#   interrupt.sh NNC
nnc=$(realpath "$1")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export NNC_CACHE="$work/cache" NO_COLOR=1

failed=0
fail() {
	echo "FAILED: $*" >&2
	failed=$((failed + 1))
}

cat >long.nn <<'END'
data corners { bits: f32[2] = csv("corners.csv", columns = ["a", "b"]); differ: f32 = csv("corners.csv", column = "c") }
model net(bits: [B, 2]) -> logits[B] = bits |> dense(8) |> tanh |> dense(1) |> reshape(B)
train {
  data = corners; validate = corners; batch = 4; steps = 1000000000
  let z = net(bits)
  loss = binary_cross_entropy(z, differ)
  metric accuracy = (z > 0) == (differ > 0.5)
  optimizer = adam(lr = 0.01)
}
END
{ echo a,b,c; i=0; while [ $i -lt 1000 ]; do printf '0,0,0\n0,1,1\n1,0,1\n1,1,0\n'; i=$((i + 1)); done; } >corners.csv

# A background job of a shell ignores SIGINT; env gives it back.
start() { env --default-signal=INT "$nnc" train long.nn --out out "$@" >said 2>&1 & process=$!; }

# Waits until training is under way: the log has its first lines, at most 20 s.
wait_for_log() {
	tries=0
	until [ -s out/log.jsonl ] || [ $tries -ge 400 ]; do sleep 0.05; tries=$((tries + 1)); done
	[ -s out/log.jsonl ] || fail 'no log after 20 s'
}

for threads in 1 2 "1 TERM"; do
	rm -rf out
	signal=${threads#* }
	[ "$signal" = TERM ] || signal=INT
	start --threads "${threads% *}"
	wait_for_log
	sleep 0.2
	kill -$signal $process
	wait $process
	code=$?
	wanted=130
	[ "$signal" = INT ] || wanted=143
	[ $code -eq $wanted ] || { fail "$threads threads: exit code $code"; cat said >&2; }
	grep -q interrupted said || { fail "$threads threads: not a word of the interrupt"; cat said >&2; }
	"$nnc" eval long.nn --weights out/weights.safetensors >evaluated 2>&1 || { fail "$threads threads: the weights do not load"; cat evaluated >&2; }
	# Whole lines only, and the last of them speaks of the step that the weights are of.
	tail -c 1 out/log.jsonl | od -An -c | grep -q '\\n' || fail "$threads threads: the log ends within a line"
	grep -vq '^{.*}$' out/log.jsonl && fail "$threads threads: the log has a line that is no object"
	ls -A out | grep -v -e '^run.json$' -e '^log.jsonl$' -e '^weights.safetensors$' -e '^checkpoint.safetensors$' && fail "$threads threads: files are left over"
done

# The same seed and as many steps, not interrupted, give the same weights.
steps=$(sed -n 's/.*"step": *\([0-9]*\).*/\1/p' out/log.jsonl | tail -1)
tail -c +9 out/weights.safetensors | head -c 2000 | tr -d '\0' | grep -ao '"step": *"[0-9]*"' >meta
saved=$(tr -dc 0-9 <meta)
[ -n "$saved" ] && [ "${steps:-0}" -le "$saved" ] || fail "the weights say step '$saved', the log '$steps'"
"$nnc" train long.nn --out whole --quiet --steps "${saved:-1}" || fail 'the same steps again'
cmp out/weights.safetensors whole/weights.safetensors || fail 'interrupted and whole runs differ'

# Resumed, and interrupted once more on the way, it gives the weights of a training that never was.
more=$((${saved:-1} + 100000))
"$nnc" train long.nn --out longer --quiet --steps $more || fail 'more steps'
start --resume --steps $more
sleep 0.3
kill -INT $process 2>/dev/null
wait $process
code=$?
[ $code -eq 130 ] || [ $code -eq 0 ] || { fail "resumed: exit code $code"; cat said >&2; }
grep -q "resumed after step $saved" said || { fail 'not a word of the resumption'; cat said >&2; }
"$nnc" train long.nn --out out --quiet --resume --threads 1 --steps $more || fail 'resumed twice'
cmp out/weights.safetensors longer/weights.safetensors || fail 'resumed and whole runs differ'
grep -c '"event": *"resume"' out/log.jsonl | grep -q '^2$' || fail 'the log does not tell of two resumptions'

# Again and again, at any moment from the start on: the second interrupt may end the process at once, but what is saved is
# whole, or what was there before.  (Between fork and exec a background job still ignores the signal.)
cp out/weights.safetensors before
for moment in 0 0.01 0.03 0.06 0.1 0.2 0.4; do
	cp before out/weights.safetensors
	start
	sleep $moment
	tries=0
	while kill -INT $process 2>/dev/null && [ $tries -lt 200 ]; do sleep 0.02; tries=$((tries + 1)); done
	kill -KILL $process 2>/dev/null && fail "after $moment s: it goes on"
	wait $process
	code=$?
	[ $code -eq 130 ] || { fail "after $moment s: exit code $code"; cat said >&2; }
	"$nnc" eval long.nn --weights out/weights.safetensors >/dev/null 2>&1 || fail "after $moment s: the weights do not load"
done

echo "$failed failures"
[ $failed -eq 0 ]
