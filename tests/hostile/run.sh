#!/bin/sh
# run.sh: damaged and hostile files through the command line: each is refused in time and within memory, with exit code 1
# and a message that names the file and the place, and nothing that was saved before is touched.
#
#   run.sh NNC
#
# All files are made here.
nnc=$(realpath "$1")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export NNC_CACHE="$work/cache" NO_COLOR=1
unset NNC_DATA
ulimit -v 8000000 2>/dev/null # none of these needs as much

failed=0 count=0
fail() {
	echo "FAILED: $*" >&2
	failed=$((failed + 1))
}

saved() { cksum out/* other/* third/* good.safetensors 2>/dev/null; }

# refuse WHAT CODE TEXT COMMAND ..: the command must end with CODE and say TEXT (a basic regular expression).
refuse() {
	what=$1 code=$2 text=$3
	shift 3
	count=$((count + 1))
	timeout 60 "$@" >said 2>&1 </dev/null
	got=$?
	[ $got -eq "$code" ] || { fail "$what: exit code $got"; cat said >&2; }
	grep -q -e "$text" said || { fail "$what: no '$text' in:"; cat said >&2; }
	[ "$(saved)" = "$before" ] || fail "$what: something saved was changed"
	before=$(saved)
}
train() { refuse "$1" 1 "$2" "$nnc" train "$3.nn" --quiet --out out; }

byte() { for b in "$@"; do printf "\\$(printf %03o "$b")"; done; }

# ---- a good beginning ----

cat >table.nn <<'END'
data d { x: f32[2] = csv("t.csv", columns = ["a", "b"]); y: class[3] = csv("t.csv", column = "y") }
model net(x: [B, 2]) -> logits[B, 3] = x |> dense(4) |> tanh |> dense(3)
train { data = d; batch = 2; steps = 5; let z = net(x); loss = cross_entropy(z, y); metric accuracy = argmax(z) == y; optimizer = sgd(lr = 0.1) }
END
for kind in idx npy; do
	sed "s/KIND/$kind/g" >$kind.nn <<'END'
data d { x: u8[2] = KIND("x.KIND"); y: class[3] = KIND("y.KIND") }
model net(x: u8[B, 2]) -> logits[B, 3] = x as f32 / 255 |> dense(4) |> tanh |> dense(3)
train { data = d; batch = 2; steps = 5; let z = net(x); loss = cross_entropy(z, y); metric accuracy = argmax(z) == y; optimizer = sgd(lr = 0.1) }
END
done
table() { printf 'a,b,y\n1,2,0\n'"$1"'\n5,6,2\n' >t.csv; }
table 3,4,1
"$nnc" train table.nn --quiet --out out || exit 1
cp out/weights.safetensors good.safetensors
before=$(saved)

# ---- csv ----

table 3,4,3; train 'label out of range' "'t.csv', line 3, column 3: '3' is no class of 0..2" table
table 3,4,-1; train 'negative label' "'t.csv', line 3, column 3" table
table 3,4,0.5; train 'label that is no whole number' "'t.csv', line 3, column 3" table
table 3,nan,1; train 'nan' "'t.csv', line 3, column 2: 'nan' is not a finite number" table
refuse 'nan in evaluation' 1 "'t.csv', line 3, column 2" "$nnc" eval table.nn --weights good.safetensors
table 3,inf,1; train 'inf' "'t.csv', line 3, column 2" table
table 3,1e39,1; train 'number beyond f32' "'t.csv', line 3, column 2" table
table 3,,1; train 'empty cell' "'t.csv', line 3, column 2: the cell is empty" table
table 3,4; train 'short row' "'t.csv', line 3: 2 cells; the first line has 3" table
[ "$(grep -c error: said)" -eq 1 ] || fail "a short row: more than one error"
table 3,4,1,9; train 'long row' "'t.csv', line 3: 4 cells" table
table '3,"4,1'; train 'open quote' "'t.csv', line 3" table
table '3,\0,1'; train 'NUL' "'t.csv', line 3, column 2" table
printf 'a,b\n1,2\n' >t.csv; train 'missing column' "'t.csv' has no column .y." table
: >t.csv; train 'empty table' "'t.csv' is empty" table
{ printf 'a,b,y\n1,2,'; head -c 3000000 /dev/zero | tr '\0' 7; echo; } >t.csv; train 'long cell' "'t.csv', line 2, column 3" table
{ printf 'a,b,y\n1,2,0\n3,4,1\n' | gzip -n | head -c 30; } >t.csv; train 'table cut within gzip' "'t.csv' is damaged or cut short" table
{ echo a,b,y; head -c 400000000 /dev/zero; } | gzip -1 >t.csv; train 'table that explodes' "'t.csv' would unpack from" table
rm t.csv; train 'no table' "table.nn:1:10: error: cannot find the data file 't.csv'" table
mkdir t.csv; train 'a folder for a table' "'t.csv' is not a regular file" table

# ---- idx ----

head_x() { byte 0 0 8 2 0 0 0 3 0 0 0 2; }
good_x() { head_x; printf abcdef; }
good_y() { byte 0 0 8 1 0 0 0 3 0 1 2; }
good_x >x.idx; good_y >y.idx
"$nnc" train idx.nn --quiet --out other || fail 'good idx files are refused'
before=$(saved)
idx() { refuse "idx: $1" 1 "$2" "$nnc" train idx.nn --quiet --out other; }
{ good_y | head -c 10; byte 3; } >y.idx; idx 'label out of range' "'y.idx', row 2: 3 is no class of 0..2"
good_y >y.idx
{ byte 1; good_x; } >x.idx; idx 'wrong magic' "'x.idx' is not an IDX file"
{ byte 0 0 7 2; good_x | tail -c +5; } >x.idx; idx 'unknown type' "'x.idx'"
byte 0 0 8 >x.idx; idx 'three bytes' "'x.idx' is not an IDX file"
byte 0 0 8 0 >x.idx; idx 'no dims' "'x.idx': its header speaks of 0 dims"
byte 0 0 8 255 >x.idx; idx '255 dims' "'x.idx': its header speaks of 255 dims"
byte 0 0 8 2 0 0 0 >x.idx; idx 'cut in the header' "'x.idx' ends within its header"
byte 0 0 8 2 0 0 0 0 0 0 0 2 >x.idx; idx 'no samples' "'x.idx' holds no samples"
byte 0 0 8 3 255 255 255 255 255 255 255 255 255 255 255 255 >x.idx; idx '2^96 elements' "'x.idx': its header speaks of"
byte 0 0 8 2 238 107 40 0 0 0 0 2 >x.idx; idx '4e9 samples' "'x.idx' holds 12 bytes; its header speaks of"
byte 0 0 8 2 238 107 40 0 0 0 0 2 | gzip -n >x.idx; idx '4e9 samples in gzip' "'x.idx' is .* bytes long; the .* bytes its header speaks of cannot be in it"
good_x | head -c 17 >x.idx; idx 'cut short' "'x.idx' holds 17 bytes; its header speaks of 18"
{ good_x; printf z; } >x.idx; idx 'too long' "'x.idx' holds 19 bytes; its header speaks of 18"
{ byte 0 0 8 2 0 0 0 3 0 0 0 3; printf abcdefghi; } >x.idx; idx 'other shape' "'x.idx' holds u8.3, 3.; field .x. wants u8.samples, 2."
{ byte 0 0 8 2 0 0 0 2 0 0 0 2; printf abcd; } >x.idx; idx 'fewer samples' "field .y. has 3 samples, field .x. has 2"
good_x | gzip -n | head -c 30 >x.idx; idx 'gzip cut short' "'x.idx' is damaged or cut short"
{ good_x | gzip -n | head -c 25; head -c 40 /dev/zero; } >x.idx; idx 'gzip damaged' "'x.idx' is damaged or cut short"
{ byte 0 0 8 2 32 0 0 0 0 0 0 2; head -c 1073741824 /dev/zero; } | gzip -1 >x.idx; idx 'gzip that explodes' "'x.idx' would unpack from"

# ---- npy ----

# npy_head TEXT: version 1.0, its length right
npy_head() { byte 147; printf NUMPY; byte 1 0 $((${#1} % 256)) $((${#1} / 256)); printf '%s' "$1"; }
npy_x() { npy_head "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }       "; printf abcdef; }
npy_y() { npy_head "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }"; byte 0 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0; }
npy_x >x.npy; npy_y >y.npy
"$nnc" train npy.nn --quiet --out third || fail 'good npy files are refused'
before=$(saved)
npy() { refuse "npy: $1" 1 "$2" "$nnc" train npy.nn --quiet --out third; }
{ npy_y | head -c -8; byte 3 0 0 0 0 0 0 0; } >y.npy; npy 'label out of range' "'y.npy', row 2: 3 is no class of 0..2"
{ npy_y | head -c -8; byte 255 255 255 255 255 255 255 127; } >y.npy; npy 'label of 2^63' "'y.npy', row 2"
npy_y >y.npy
npy_x | head -c -1 >x.npy; npy 'cut short' "'x.npy'"
npy_x | tail -c +2 >x.npy; npy 'wrong magic' "'x.npy' is not a"
{ byte 147; printf NUMPY; byte 1 0 255 255; printf '{'; } >x.npy; npy 'header longer than the file' "'x.npy'"
{ byte 147; printf NUMPY; byte 2 0 255 255 255 255; printf '{'; } >x.npy; npy 'header of 4 GiB' "'x.npy'"
npy_head "{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }" >x.npy; npy 'absurd shape' "'x.npy'"
npy_head "{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 2), }" >x.npy; npy 'negative shape' "'x.npy'"
npy_head "{'descr': '|O', 'fortran_order': False, 'shape': (3, 2), }" >x.npy; npy 'objects' "'x.npy'"
npy_head "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2" >x.npy; npy 'open header' "'x.npy'"
npy_head "$(head -c 60000 /dev/zero | tr '\0' '(')" >x.npy; npy 'nested header' "'x.npy'"

# ---- safetensors ----

table_again() { rm -rf t.csv; printf 'a,b,y\n1,2,0\n3,4,1\n5,6,2\n' >t.csv; }
table_again
weights() {
	refuse "weights: $1" 1 "$2" "$nnc" eval table.nn --weights w
	refuse "weights to start from: $1" 1 "$2" "$nnc" train table.nn --quiet --out out --weights w
}
# tensors JSON: its length right, in front of it (below 64 KiB)
tensors() { byte $((${#1} % 256)) $((${#1} / 256)) 0 0 0 0 0 0; printf '%s' "$1"; }
{ byte 0 0 0 0 0 0 0 128; tail -c +9 good.safetensors; } >w; weights 'header of 2^63' "'*w'*.*header"
{ byte 255 255 255 255 255 255 255 255; tail -c +9 good.safetensors; } >w; weights 'header of 2^64 - 1' "'*w'*.*header"
{ byte 0 232 118 72 23 0 0 0; tail -c +9 good.safetensors; } >w; weights 'header of 100 GB' "'*w'*.*header"
: >w; weights 'empty' "'*w'*"
byte 2 0 0 >w; weights 'three bytes' "'*w'*"
head -c 100 good.safetensors >w; weights 'cut in the header' "'*w'*.*header"
head -c -1 good.safetensors >w; weights 'cut short' "'*w'*"
{ cat good.safetensors; printf z; } >w; weights 'too long' "'*w'*.*something follows"
tensors '{' >w; weights 'broken header' "'*w'*"
tensors '[]' >w; weights 'a list for a header' "'*w'*"
tensors '{"a": 1}' >w; weights 'a number for a tensor' "'*w'*"
tensors "$(head -c 60000 /dev/zero | tr '\0' '[')" >w; weights 'nested header' "'*w'*"
entry() { tensors "{\"net/dense.0/w\":{\"dtype\":\"$1\",\"shape\":$2,\"data_offsets\":$3}}"; head -c 32 /dev/zero; }
entry F32 '[2,4]' '[0,9223372036854775807]' >w; weights 'offset beyond the end' "'*w'*"
entry F32 '[2,4]' '[32,0]' >w; weights 'offsets turned round' "'*w'*"
entry F32 '[2,4]' '[-32,0]' >w; weights 'negative offset' "'*w'*"
entry F32 '[2,4]' '[4,36]' >w; weights 'offset past the data' "'*w'*"
entry F32 '[2,5]' '[0,32]' >w; weights 'shape and bytes differ' "'*w'*"
entry F32 '[4294967296,4294967296]' '[0,32]' >w; weights '2^64 elements' "'*w'*"
entry F32 '[-2,-4]' '[0,32]' >w; weights 'negative dims' "'*w'*"
entry F33 '[2,4]' '[0,32]' >w; weights 'unknown type' "net/dense.0/w"
entry I64 '[2,2]' '[0,32]' >w; weights 'integers for weights' "net/dense.0/w"
entry F32 '[8]' '[0,32]' >w; weights 'other shape' "net/dense.0/w"
refuse 'weights: a folder' 1 "'*\.'*" "$nnc" eval table.nn --weights .

echo "$count files, $failed failures"
[ $failed -eq 0 ]
