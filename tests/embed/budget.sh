#!/bin/sh
# Objects within a budget of memory: tests/embed/budget.sh NNC SOURCE
# Five nets, from all the memory they would like to what cannot be: every object that is made keeps to the budget, trains to the same bits with that much
# scratch and no more, and the refusal says to the byte what is missing: with one byte more it is made.
# The smallest compute values again, the largest none.
set -u
nnc=$(realpath "$1")
. "$2/tests/embed/macro.sh"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0 made=0 smaller=0 again=0
fail() { echo "FAILED: $*"; failed=1; }

# net NAME X Y MODEL: fields of X floats and a class for each of Y places
net() {
	printf 'data d { x: f32[%s] = npy("x.npy"); y: class[10]%s = npy("y.npy") }\n%s\ntrain { data = d; batch = %s; steps = 9; seed = 5; loss = mean(cross_entropy(net(x), y)); optimizer = adam(lr = 0.003) }\n' "$2" "$3" "$5" "$4" >"$1.nn"
}
net dense 300 "" 40 'model net(x: [B, 300]) -> logits[B, 10] = x |> dense(200) |> tanh |> dense(220) |> relu |> dense(10)'
net conv "20, 20, 3" "" 8 'model net(x: [B, 20, 20, 3]) -> logits[B, 10] = x |> conv2d(24, 3) |> relu |> max_pool(2) |> conv2d(40, 3) |> relu |> flatten |> dense(10)'
net recurrent "30, 12" "" 16 'model net(x: [B, 30, 12]) -> logits[B, 10] { let h = gru(x, 48)
  let last[b, j] = h[b, 29, j]
  return dense(last, 10) }'
net norm 128 "" 64 'model net(x: [B, 128]) -> logits[B, 10] = x |> dense(256) |> batch_norm |> gelu |> dropout(0.2) |> dense(256) |> layer_norm |> dense(10)'
net attend "24, 32" "" 6 'model net(x: [B, 24, 32]) -> logits[B, 10] {
  let q = dense(x, 32)
  let k = dense(x, 32)
  let v = dense(x, 32)
  let s[b, i, j] = sum[c](q[b, i, c] * k[b, j, c]) / 5.6
  let w = softmax(s)
  let o[b, i, c] = sum[j](w[b, i, j] * v[b, j, c])
  return dense(flatten(gelu(dense(o, 64))), 10) }'

cat >main.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define GLUE2(a, b) a##_##b
#define GLUE(a, b) GLUE2(a, b)
#define N(name) GLUE(NAME, name)
static N(train) model;
static float x[64 * 1200], dense[200000];
static int32_t y[64];
int main(void) {
	enum { BEHIND = 4096 };
	size_t most = N(SCRATCH_TRAIN);
	unsigned char *scratch = aligned_alloc(64, most + BEHIND);
	float loss;
	unsigned long long hash = 14695981039346656037u;
	memset(scratch, 90, most + BEHIND);
	if (N(init)(&model, 5)) return 1;
	for (int s = 0; s < 9; s++) {
		for (int i = 0; i < 64 * 1200; i++) x[i] = (float)((i * 7919 + s * 104729) % 2003) / 1000 - 1;
		for (int i = 0; i < 64; i++) y[i] = (i * 7 + s) % 10;
		if (N(step)(&model, x, y, &loss, scratch)) return 1;
	}
	for (size_t i = most; i < most + BEHIND; i++)
		if (scratch[i] != 90) return 2;
	for (int i = 0; i < N(PARAM_COUNT); i++) {
		const N(param_info) *t = &N(param_table)[i];
		size_t row, stride, bytes = N(rows)(t, &row, &stride) * row;
		if (bytes > sizeof dense || N(store)(&model, t->path, dense)) return 3;
		for (size_t k = 0; k < bytes; k++) hash = (hash ^ ((unsigned char *)dense)[k]) * 1099511628211u;
	}
	printf("%016llx\n", hash);
	return 0;
}
END
# within BUDGET: makes it, sets needs
within() {
	"$nnc" compile "$name.nn" -o "$name.o" --budget "$1" --explain-memory >out 2>log || { fail "$name: --budget $1: $(head -1 log)"; return 1; }
	scratch=$(macro "$name.h" SCRATCH_TRAIN)
	[ "$(macro "$name.h" SCRATCH_INFER)" -gt "$scratch" ] && scratch=$(macro "$name.h" SCRATCH_INFER)
	needs=$(($(macro "$name.h" TRAIN_BYTES) + scratch + $(macro "$name.h" STACK_MAX)))
	[ $needs -le "$1" ] || fail "$name: --budget $1 and it needs $needs"
	[ "$(awk '$1 == "memory" { print $2 }' out)" = $needs ] || fail "$name: it says $(grep memory out), and needs $needs"
	${CC:-cc} -std=c11 -O1 -DNAME="$name" -include "$name.h" -o main main.c "$name.o" && hash=$(./main) || fail "$name: --budget $1: it does not run: $?"
	[ "$hash" = "${expected:=$hash}" ] || fail "$name: --budget $1: other weights, $hash"
	made=$((made + 1))
}
for name in dense conv recurrent norm attend; do
	expected=
	within 1000000000 || continue
	whole=$needs
	grep -q "computed again" out && fail "$name: there is memory enough, and values are computed again"
	"$nnc" compile "$name.nn" -o refused.o --budget 1 >out 2>log && fail "$name is made in one byte"
	[ ! -e refused.o ] || fail "$name: refused, and written"
	least=$(sed -n 's/.* needs \([0-9]*\) bytes of memory, .*/\1/p' log)
	[ "$(sed -n 's/.* memory, \([0-9]*\) more than .*/\1/p' log)" = $((least - 1)) ] || fail "$name: $(head -1 log)"
	grep -q "batch 1" log || fail "$name: no word of a smaller batch"
	for part in 3 2 1 0; do within $((least + (whole - least) * part / 4)) || continue; done
	grep -q "computed again where" out && again=$((again + 1))
	[ "$needs" = "$least" ] || fail "$name: it said that it needs $least, and needs $needs"
	"$nnc" compile "$name.nn" -o refused.o --budget $((least - 1)) >out 2>log && fail "$name is made with a byte less"
	grep -q ' memory, 1 more than ' log || fail "$name: $(head -1 log)"
	[ "$least" -lt "$whole" ] && smaller=$((smaller + 1))
	# what it says of another batch is so
	batch=$(sed -n 's/^help: --batch \([0-9]*\) needs .*/\1/p' log)
	claim=$(sed -n 's/^help: --batch [0-9]* needs \([0-9]*\) bytes.*/\1/p' log)
	if [ -n "$batch" ]; then
		"$nnc" compile "$name.nn" -o other.o --batch "$batch" --budget $((least - 1)) >out 2>log || fail "$name: --batch $batch would help, it said: $(head -1 log)"
		[ "$(awk '$1 == "memory" { print $2 }' out)" = "$claim" ] || fail "$name: --batch $batch needs $claim, it said: $(grep memory out)"
	fi
	echo "$name: $whole bytes, $least at least; weights $expected"
done
[ $made -ge 20 ] || fail "only $made objects"
[ $smaller -ge 3 ] || fail "only $smaller nets became smaller"
[ $again -ge 4 ] || fail "only $again nets compute values again"
exit $failed
