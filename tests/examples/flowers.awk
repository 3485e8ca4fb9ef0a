# Writes examples/flowers.csv: awk -f tests/examples/random.awk -f tests/examples/flowers.awk
# 300 invented flowers of three kinds, 140, 100 and 60 of them: length and width of two leaves in millimetres, normal about
# the means below.  Leaves of one flower go together: with z1 .. z4 independent, the deviations are a lower triangle times z.
function flower(kind, a, b, c, d, s,   z1, z2, z3, z4) {
	z1 = normal(); z2 = normal(); z3 = normal(); z4 = normal()
	printf "%.1f,%.1f,%.1f,%.1f,%d\n", a + s * 4 * z1, b + s * (2 * z1 + 2 * z2), c + s * (2 * z1 + 3 * z3), \
		d + s * (z2 + z3 + z4), kind
}
BEGIN {
	state = 1936
	print "length1,width1,length2,width2,kind"
	for (i = 0; i < 300; i++) {
		where = (i * 7) % 15
		if (where < 7) flower(0, 50, 34, 15, 4, 0.8)
		else if (where < 12) flower(1, 60, 28, 43, 13, 1)
		else flower(2, 66, 30, 56, 21, 1.2)
	}
}
