#!/bin/sh
# nnc installed, moved, and used by a project that has nothing but the prefix: tests/embed/install.sh BUILD
#   BUILD: the build folder.  find_package(nnc) and nnc_add_model() with make and ninja, for this machine and for another; what is made
# again when; pkg-config.
set -eu
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; exit 1; }
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log"; fail "$*"; }; }

quietly cmake --install "$build" --prefix "$work/first"
mv "$work/first" "$work/the prefix"
prefix="$work/the prefix"
! grep -rIl -e "$work/first" -e "$build" "$prefix" || fail "installed files with absolute paths"
[ -f "$prefix/share/doc/nnc/EMBEDDING.md" ] && [ -f "$prefix/share/doc/nnc/examples/xor.nn" ] || fail "documentation is missing"

project="$work/a project"
mkdir -p "$project/models"
cat >"$project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(uses_nnc C)
find_package(nnc 0.1 REQUIRED)
add_executable(program main.c)
nnc_add_model(program models/line.nn BUDGET 4K SET "RATE=0.125")
add_library(given STATIC given.c)              # another model, whose header users of the library may include
nnc_add_model(given models/given.nn ENTRY infer BATCH 1 WEIGHTS models/given.safetensors)
add_executable(user user.c)
target_link_libraries(user given)
END
cat >"$project/models/line.nn" <<'END'
import "shared.nn"
data points { x: f32[1] = csv("points.csv", columns = ["x"]); y: f32 = csv("points.csv", column = "y") }
model line(x: [B, 1]) -> [B] = straight(x)
train {
  data = points; batch = 2; epochs = 1000; seed = 1
  loss = mse(line(x), y)
  optimizer = sgd(lr = cosine(RATE, 0, total_steps))
}
const RATE = 0.5
END
echo 'layer straight(x: [b, n]) { return reshape(dense(x, 1), b) }' >"$project/models/shared.nn"
printf 'x,y\n0,1\n1,3\n2,5\n3,7\n' >"$project/models/points.csv"
printf 'model given(x: [B]) -> [B] {\n  param factor: [] = 2\n  return factor * x\n}\n' >"$project/models/given.nn"
quietly "$prefix/bin/nnc" init "$project/models/given.nn" -o "$project/models/given.safetensors"
cat >"$project/main.c" <<'END'
#include <stdio.h>
#include "line.h"
static line_train model;
static line_scratch scratch;
int main(void) {
	const float x[4] = {0, 1, 2, 3}, y[4] = {1, 3, 5, 8};
	float loss = 0, at10, ten = 10;
	line_init(&model, 1);
	for (int i = 0; i < 2000; i++)
		if (line_step(&model, x + i % 2 * 2, y + i % 2 * 2, &loss, &scratch) != line_OK) return 1;
	if (line_line(&model.params, &ten, &at10, 1, &scratch) != line_OK) return 1;
	printf("%.6f %a\n", (double)at10, (double)at10);
	return 0;
}
END
cat >"$project/given.c" <<'END'
#include "given.h"
float given_doubled(float x);
float given_doubled(float x) {
	given_scratch scratch;
	float y = 0;
	return given_given(&given_pretrained, &x, &y, 1, &scratch) == given_OK ? y : -1;
}
END
cat >"$project/user.c" <<'END'
#include "given.h"
float given_doubled(float x);
int main(void) { return given_doubled(21) != 42 || given_SCRATCH_INFER < 1; }
END

# make_again WHAT: builds; says whether line.nn was compiled
make_again() {
	cmake --build "$where" >"$work/log" 2>&1 || { cat "$work/log"; fail "$1"; }
	if grep -q 'Compiling line.nn' "$work/log"; then again=yes; else again=no; fi
	[ "$again" = "$2" ] || { cat "$work/log"; fail "$generator: $1: made again: $again"; }
}

for generator in "Unix Makefiles" Ninja; do
	if [ "$generator" = Ninja ] && ! command -v ninja >/dev/null; then continue; fi
	where="$work/build $generator"
	quietly cmake -G "$generator" -S "$project" -B "$where" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_FLAGS="-Wall -Wextra -Wpedantic -Werror"
	make_again "first build" yes
	out=$("$where/program")
	case $out in 23.80*) ;; *) fail "$generator: y(10) is $out, not 23.80" ;; esac   # least squares: 0.8 + 2.3 * 10
	"$where/user" || fail "$generator: the model in a library"
	make_again "nothing has changed" no
	touch "$project/models/shared.nn"
	make_again "an imported file has changed" yes
	printf '4,9\n5,11\n' >>"$project/models/points.csv"
	make_again "data that total_steps comes from has changed" yes
	more=$("$where/program")
	[ "$more" != "$out" ] || fail "$generator: total_steps are what they were"
	printf 'x,y\n0,1\n1,3\n2,5\n3,7\n' >"$project/models/points.csv"
done

if command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null; then
	quietly cmake -S "$project" -B "$work/cross" -Dnnc_DIR="$prefix/share/cmake/nnc" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
		-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_EXE_LINKER_FLAGS=-static
	quietly cmake --build "$work/cross"
	cross=$(qemu-aarch64 "$work/cross/program")
	[ "$cross" = "$out" ] || fail "aarch64: $cross, not $out"
fi

# which_target PROCESSOR..: what nnc would be asked for
cat >"$work/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(none NONE)
find_package(nnc REQUIRED)
set(CMAKE_CROSSCOMPILING TRUE)
foreach(CMAKE_SYSTEM_PROCESSOR IN LISTS PROCESSORS)
  _nnc_target(name)
  message(STATUS "${CMAKE_SYSTEM_PROCESSOR}: ${name}")
endforeach()
END
targets() { cmake -S "$work" -B "$work/names" -Dnnc_DIR="$prefix/share/cmake/nnc" -DPROCESSORS="$1" 2>&1; }
targets 'x86_64;arm64;armv7l;riscv64;cortex-m33' | sed -n 's/^-- \([^ ]*: [^ ]*\)$/\1/p' >"$work/got"
printf 'x86_64: x86-64\narm64: aarch64\narmv7l: armv7\nriscv64: riscv64\ncortex-m33: cortex-m33\n' | diff - "$work/got" || fail "names of processors"
! targets mips >"$work/got" || fail "mips is a target"
tr -s ' \n' '  ' <"$work/got" | grep -q "which processor is CMAKE_SYSTEM_PROCESSOR 'mips'" || { cat "$work/got"; fail "no message for mips"; }

if command -v pkg-config >/dev/null; then
	found=$(PKG_CONFIG_PATH="$prefix/share/pkgconfig" pkg-config --variable=nnc nnc)
	found=$(echo "$found" | sed 's/\\ / /g')   # pkg-config escapes blanks
	[ "$("$found" --version)" = "$("$prefix/bin/nnc" --version)" ] || fail "pkg-config: $found is not nnc"
fi
echo "installed, moved, found by CMake and pkg-config"
