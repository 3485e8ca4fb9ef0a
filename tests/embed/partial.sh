#!/bin/sh
# Training a part of a net: tests/embed/partial.sh NNC SOURCE
# Parameters that no optimiser has cost nothing in the object: no moments, no gradient, less scratch and code; and a step leaves them as they are.
set -eu
nnc=$(realpath "$1") page=$(realpath "$2")/runtime/EMBEDDING.md
. "$2/tests/embed/macro.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fail() { echo "FAILED: $*"; exit 1; }

cat >net.nn <<'END'
data digits { image: f32[784] = npy("images.npy"); label: class[10] = npy("labels.npy") }
model net(image: [B, 784]) -> logits[B, 10] = image |> dense(10) |> tanh |> dense(10)
train {
  data = digits; batch = 4; steps = 100
  loss = mean(cross_entropy(net(image), label))
  optimizer = adam()
}
END
cat >main.c <<'END'
#include <stdio.h>
#include <string.h>
#include "net.h"
static net_train model, before;
static net_scratch scratch;
static float image[4 * 784];
static const int32_t label[4] = {3, 1, 4, 1};
int main(void) {
	int frozen = 0;
	float loss;
	for (int i = 0; i < 4 * 784; i++) image[i] = (float)(i * 37 % 101) / 100;
	net_init(&model, 1);
	before = model;
	for (int s = 0; s < 3; s++)
		if (net_step(&model, image, label, &loss, &scratch) != net_OK) return 1;
	for (int i = 0; i < net_PARAM_COUNT; i++) {
		const net_param_info *t = &net_param_table[i];
		static float a[7840], b[7840];
		size_t row, stride, bytes = net_rows(t, &row, &stride);
		bytes *= row;
		if (net_store(&model, t->path, a) || net_store(&before, t->path, b)) return 1;
		if (t->kind == 2) printf("slot %s\n", t->path);
		else printf("%s %s\n", memcmp(a, b, bytes) ? "moved" : "frozen", t->path);
		frozen += t->kind == 0 && !memcmp(a, b, bytes);
	}
	return 0;
}
END
figure() { awk -v w="$1" '$1 == w { print $2 }' summary; }
# part NAME: net.nn with the line of EMBEDDING.md that ends in "# NAME"; sets the figures
part() {
	line=$(sed -n "s/^\(optimizer = .*[^ ]\)  *# $1\$/\1/p" "$page")
	[ -n "$line" ] || fail "EMBEDDING.md has no line for: $1"
	mkdir -p "$1"
	awk -v line="  $line" '/optimizer =/ { print line; next } { print }' net.nn >"$1/net.nn"
	"$nnc" compile "$1/net.nn" -o "$1/net.o" --entry train --target x86-64 >summary
	slots=$(figure optimiser) scratch=$(figure scratch) code=$(figure code)
	block=$(macro "$1/net.h" TRAIN_BYTES)
	echo "$1: optimiser $slots, training block $block, scratch $scratch, code $code"
	# the page's table says the same; scratch is the code generator's and may change
	grep -q "^| $1 | $slots | $block | [0-9]* |$" "$page" || fail "EMBEDDING.md says something else: | $1 | $slots | $block |"
	[ "$(uname -m)" = x86_64 ] || return 0
	${CC:-cc} -std=c99 -O1 -I"$1" -o "$1/main" main.c "$1/net.o"
	"$1/main" >"$1/out" || fail "$1 does not run"
	diff - "$1/out" || fail "$1: other tensors move"
}
part all <<'END'
moved net/dense.0/w
moved net/dense.0/b
moved net/dense.1/w
moved net/dense.1/b
slot net/dense.0/w#m
slot net/dense.0/w#v
slot net/dense.0/b#m
slot net/dense.0/b#v
slot net/dense.1/w#m
slot net/dense.1/w#v
slot net/dense.1/b#m
slot net/dense.1/b#v
END
all_scratch=$scratch all_code=$code
smaller() { [ "$scratch" -lt "$all_scratch" ] && [ "$code" -lt "$all_code" ] || fail "$1 takes as much as all"; }
part last <<'END'
frozen net/dense.0/w
frozen net/dense.0/b
moved net/dense.1/w
moved net/dense.1/b
slot net/dense.1/w#m
slot net/dense.1/w#v
slot net/dense.1/b#m
slot net/dense.1/b#v
END
smaller "the last layer"
[ "$slots" = $((2 * 4 * (10 * 10 + 10))) ] || fail "moments of the last layer: $slots bytes"
part biases <<'END'
frozen net/dense.0/w
moved net/dense.0/b
frozen net/dense.1/w
moved net/dense.1/b
slot net/dense.0/b#m
slot net/dense.0/b#v
slot net/dense.1/b#m
slot net/dense.1/b#v
END
smaller "training of biases"
[ "$slots" = $((2 * 4 * 20)) ] || fail "moments of biases: $slots bytes"
part stateless <<'END'
moved net/dense.0/w
moved net/dense.0/b
moved net/dense.1/w
moved net/dense.1/b
END
[ "$slots" = 0 ] || fail "sgd without momentum has $slots bytes of state"
