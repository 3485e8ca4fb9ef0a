# Sourced by scripts: macro HEADER NAME prints the number that a generated header defines under NAME, the model's prefix left out.
macro() { sed -n "s/^#define [^ ]*_$2 \([0-9]*\).*/\1/p" "$1"; }
