#!/bin/sh
# The same training on every target: tests/embed/targets.sh NNC REFERENCE SOURCE [--long [--table]]
#   NNC, REFERENCE: the binaries; SOURCE: the root of the sources.
# Short: 20 steps of the nets in tests/embed/nets and of tutorial2, whose hash is the f32 interpreter's.  --long: 50 steps, and
# the convnet; every other example is compiled for every target, and must be alone.  --table: writes what came out into
# runtime/EMBEDDING.md.  Processors are emulated: by qemu for processes, by qemu for boards and by Bochs for AVX-512 where this
# machine has none (both with firmware of our own, tests/embed/bare), WebAssembly by node.  Targets without fused multiply-add are
# compared as compare.c says, all others by hash.
set -u
nnc=$1 reference=$2 root=$3 long= table=
shift 3
for option; do
	case $option in --long) long=yes ;; --table) table=yes ;; *) echo "no option: $option"; exit 2 ;; esac
done
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
here=$root/tests/embed
failed=0
steps=20
[ -z "$long" ] || steps=50
nets="$here/nets/conv.nn $here/nets/lstm.nn $here/nets/norm.nn $root/examples/tutorial2.nn"
[ -z "$long" ] || nets="$nets $root/examples/convnet.nn"
options="-std=c11 -O1 -Wall -Wextra -Werror -I$here -DSTEPS=$steps"

fail() { echo "FAILED: $*"; failed=1; false; }
has() { command -v "$1" >/dev/null 2>&1; }

# NAME, what it is compiled with, how it is built and run; boards (of the processor that is named first):
# machine, where code and data lie, end of the data
targets() {
	cat <<-'END'
	x86-64-v3  --target x86-64 --cpu x86-64-v3 | hosted cc
	x86-64-v4  --target x86-64 --cpu x86-64-v4 | avx512
	x86-64-v2  --target x86-64 --cpu x86-64-v2 | hosted cc | unfused
	aarch64    --target aarch64                | hosted aarch64-linux-gnu-gcc qemu-aarch64
	armv7      --target armv7                  | process armv7-linux-gnueabihf -march=armv7-a,-mfpu=vfpv4-d16 qemu-arm
	riscv64    --target riscv64                | process riscv64-linux -march=rv64gc qemu-riscv64
	riscv64+v  --target riscv64 --features +v  | process riscv64-linux -march=rv64gc qemu-riscv64 -cpu rv64,v=true,vext_spec=v1.0
	cortex-m4  --target cortex-m4              | board mps2-an386 0 0x21000000 0x22000000 thumbv7em -mfpu=fpv4-sp-d16
	cortex-m7  --target cortex-m7              | board mps2-an500 0 0x60000000 0x61000000 thumbv7em -mfpu=fpv5-d16
	cortex-m33 --target cortex-m33             | board mps2-an505 0x10000000 0x80000000 0x81000000 thumbv8m.main -mfpu=fpv5-sp-d16
	wasm32     --target wasm32                 | wasm | unfused
	END
}

has_avx512() {
	for feature in avx512f avx512vl avx512bw avx512dq; do grep -q -w $feature /proc/cpuinfo || return 1; done
}

# What a processor must have to be run here; without it what is made for it only compiles.
is_there() {
	case $1 in
	x86-64-v4) has_avx512 || { has clang && has ld.lld && has bochs; } ;;
	x86-64*) [ "$(uname -m)" = x86_64 ] ;;
	aarch64) has aarch64-linux-gnu-gcc && has qemu-aarch64 ;;
	armv7) has clang && has ld.lld && has qemu-arm ;;
	riscv64*) has clang && has ld.lld && has qemu-riscv64 ;;
	cortex*) has clang && has ld.lld && has qemu-system-arm ;;
	wasm32) has clang && has wasm-ld && has node ;;
	esac
}

# What the object needs of others, and what in it can be written: nothing.
is_alone() {
	if [ "$1" = wasm32 ]; then   # linked alone it lacks nothing; its data is named as in ELF
		wasm-ld --no-entry --export-all --no-gc-sections "$work/$net.o" -o "$work/alone.wasm" 2>"$work/log" ||
			{ cat "$work/log"; fail "$net, $1: undefined symbols"; }
		! grep -a -q -E '\.(data|bss|tdata)' "$work/$net.o" || fail "$net, $1: a writable section"
		return 0
	fi
	undefined=$(readelf -sW "$work/$net.o" | awk '$7 == "UND" && $8 != "" { print $8 }')
	[ -z "$undefined" ] || fail "$net, $1: undefined symbols: $undefined"
	readelf -SW "$work/$net.o" | grep -E ' WA|\.(data|bss|tdata)' && fail "$net, $1: a writable section"
}

# build_and_run HOW..: prints what bits() prints
hosted() {
	compiler=$1
	shift
	static=
	[ $# -eq 0 ] || static=-static
	# shellcheck disable=SC2086
	"$compiler" $options $dump $static $headers "$here/bits.c" "$here/hosted.c" "$work/$net.o" -o "$work/program" &&
		"$@" "$work/program"
}

# clang and lld know all processors, so no other compiler is needed; nor is a library: -nostdlib.
alone="-DNO_DOUBLE -ffreestanding -fno-builtin -nostdlib -static -fuse-ld=lld"

process() {
	system=$1 machine=$(echo "$2" | tr , ' ')
	shift 2
	# shellcheck disable=SC2086
	clang --target="$system" $machine $options $dump $alone $headers "$here/bits.c" "$here/bare/linux.c" "$work/$net.o" \
		 -o "$work/program" && "$@" "$work/program"
}

board() {
	machine=$1 code=$2 data=$3 end=$4 system=$5
	shift 5
	# shellcheck disable=SC2086
	clang --target="$system-none-eabihf" -mcpu="$name" "$@" -mfloat-abi=hard $options $dump $alone -DHAS_STACK $headers \
		"$here/bits.c" "$here/bare/start.c" "$work/$net.o" \
		-T "$here/bare/bare.ld" -Wl,-n,--defsym=CODE=$code,--defsym=DATA=$data,--defsym=DATA_END=$end \
		-o "$work/firmware" 2>"$work/log" || {
		grep -q "memory is too small" "$work/log" && { echo "does not fit"; return 0; }
		cat "$work/log" >&2
		return 1
	}
	timeout 1200 qemu-system-arm -M "$machine" -kernel "$work/firmware" -display none -monitor none -serial none \
		-chardev stdio,id=out -semihosting-config enable=on,target=native,chardev=out
}

avx512() {
	if has_avx512; then
		hosted cc
		return
	fi
	# shellcheck disable=SC2086
	clang --target=x86_64-none-elf $options $dump $alone -DHAS_STACK $headers "$here/bits.c" "$here/bare/x86.c" "$work/$net.o" \
		-T "$here/bare/x86.ld" -o "$work/firmware" && objcopy -O binary "$work/firmware" "$work/rom" || return 1
	echo c >"$work/go"   # a Bochs with a debugger waits for this word
	# it calls every end an error, and has been seen to fail after it
	(cd "$work" && timeout 1200 bochs -q -f "$here/bare/bochsrc" -rc go 2>&1 </dev/null) 2>/dev/null | grep -a -E '^(object|results|stack|tensor|broken)'
}

wasm() {
	echo put >"$work/allowed"
	# shellcheck disable=SC2086
	clang --target=wasm32 $options $dump -DNO_DOUBLE -nostdlib -fno-builtin $headers "$here/bits.c" "$work/$net.o" \
		-Wl,--no-entry,--export=bits,--allow-undefined-file="$work/allowed" -o "$work/module.wasm" &&
		node "$here/wasm.mjs" "$work/module.wasm"
}

hash_of() { awk '$1 == "object" { print $4 }' "$1"; }
results_of() { awk '$1 == "results" { print $2 }' "$1"; }

# one NAME COMPILE HOW KIND: one net on one target; a cell of the table goes to $work/cells
one() {
	name=$1 dump=
	[ -z "$4" ] && [ "$name" != x86-64-v3 ] || dump=-DDUMP
	# shellcheck disable=SC2086
	"$nnc" compile "$file" -o "$work/$net.o" $small $2 >"$work/summary" 2>"$work/notes" ||
		{ cat "$work/notes"; fail "$net, $name: does not compile"; return; }
	size=$(awk '$1 == "code" { print int($2 / 1000 + 0.5) }' "$work/summary")
	is_there "$name" || { echo "$name|$net|not run, $size KB" >>"$work/cells"; return; }
	is_alone "$name"
	$3 >"$work/got" || fail "$net, $name: does not build or run"
	! grep -v '^tensor' "$work/got" | grep broken || fail "$net, $name: a promise of the header"
	[ "$name" != x86-64-v3 ] || { cp "$work/got" "$work/right"; expected=$(hash_of "$work/got"); }
	hash=$(hash_of "$work/got")
	stack=$(awk '$1 == "stack" && $2 > n { n = $2 } END { if (n) print ", stack " n }' "$work/got")
	if [ "$(cat "$work/got")" = "does not fit" ]; then
		cell="does not fit"
	elif [ -n "$4" ]; then
		cell=$("$work/compare" "$work/right" "$work/got") || fail "$net, $name: differs too much: $cell"
		cell="$(echo "$cell" | sed 's/ /, /'), $size KB"
	else
		[ "$hash $(results_of "$work/got")" = "$expected $(results_of "$work/right")" ] ||
			fail "$net, $name: after $steps steps $hash, not $expected"
		cell="same, $size KB$stack"
	fi
	echo "$name|$net|$cell" >>"$work/cells"
}

cc -O1 -std=c11 -Wall -Wextra -o "$work/compare" "$here/compare.c" -lm || exit 1
: >"$work/cells"
for file in $nets; do
	net=$(basename "$file" .nn)
	small="--batch 4" headers="-include $work/$net.h -include $work/macros.h"
	# shellcheck disable=SC2086
	"$reference" "$file" "$work/macros.h" $small --only "$steps" >"$work/reference" ||
		{ echo "$net: skipped, its data is not here"; continue; }
	expected=
	while IFS='|' read -r what how kind; do
		name=${what%% *} option=${what#* }
		one "$name" "$option" "$how" "$(echo "$kind" | tr -d ' ')" </dev/null
	done <<-END
	$(targets)
	END
	[ -n "$long" ] || [ "$(awk '$1 == "interpreter" { print $4 }' "$work/reference")" = "$expected" ] ||
		fail "$net: the interpreter has $(cat "$work/reference")"
	echo "$net: $expected after $steps steps"
	grep "|$net|" "$work/cells" | awk -F'|' '{ printf "    %-12s %s\n", $1, $3 }'
done
compiled=0
for file in "$root"/examples/*.nn "$root"/examples/embed/*/*.nn; do
	[ -n "$long" ] || break
	case " $nets " in *" $file "*) continue ;; esac
	net=$(basename "$file" .nn)
	small=$(sed -n "s/^$net //p" "$root/tests/examples/small.txt")
	while IFS='|' read -r what _; do
		name=${what%% *}
		# shellcheck disable=SC2086
		if "$nnc" compile "$file" -o "$work/$net.o" $small ${what#* } >"$work/summary" 2>"$work/notes" </dev/null; then
			is_alone "$name"
			compiled=$((compiled + 1))
		else
			grep -q "no such file" "$work/notes" && { echo "$net: skipped, its data is not here"; break; }
			cat "$work/notes"
			fail "$net, $name: does not compile"
		fi
	done <<-END
	$(targets)
	END
done
[ -z "$long" ] || echo "$compiled objects of the other examples are alone"
[ -z "$table" ] || [ "$failed" != 0 ] || "$here/table.sh" "$work/cells" "$root/runtime/EMBEDDING.md"
exit $failed
