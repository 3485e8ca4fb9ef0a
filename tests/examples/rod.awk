# Writes examples/rod.csv: awk -f tests/examples/rod.awk
# 500 points of the unit square that leave no gaps: Halton's sequence, in base 2 along x and in base 3 along t.
function halton(i, base,   step, sum) {
	step = 1
	for (sum = 0; i > 0; i = int(i / base)) {
		step /= base
		sum += step * (i % base)
	}
	return sum
}
BEGIN {
	print "x,t"
	for (i = 1; i <= 500; i++) printf "%.5f,%.5f\n", halton(i, 2), halton(i, 3)
}
