# Writes examples/ring.csv: awk -f tests/examples/random.awk -f tests/examples/ring.awk
# 1000 points around 8 centres on the unit circle, normally distributed with a deviation of 0.05.
BEGIN {
	print "x,y"
	for (i = 0; i < 1000; i++) {
		angle = 6.283185307179586 * (i % 8) / 8
		x = cos(angle) + 0.05 * gauss()
		y = sin(angle) + 0.05 * gauss()
		printf "%.3f,%.3f\n", x, y
	}
}
