# Writes examples/swings.csv: awk -f tests/examples/random.awk -f tests/examples/swings.awk
# 24 swings of a pendulum of 1.3 m with friction 0.25 / s, let go at rest from 10 to 160 degrees and watched 20 times a second
# for 3 s.  Angles in radians; those observed have an error of 0.02 (deviation).  Runge and Kutta's steps of 1 ms.
function force(s, v) { return -9.81 / 1.3 * sin(s) - 0.25 * v }
function step(h,   a, b, c, d, e, f, g, k) {
	a = v; b = force(s, v)
	c = v + h / 2 * b; d = force(s + h / 2 * a, c)
	e = v + h / 2 * d; f = force(s + h / 2 * c, e)
	g = v + h * f; k = force(s + h * e, g)
	s += h / 6 * (a + 2 * c + 2 * e + g)
	v += h / 6 * (b + 2 * d + 2 * f + k)
}
BEGIN {
	printf "start"
	for (t = 1; t <= 60; t++) printf ",t%d", t
	print ""
	for (i = 0; i < 24; i++) {
		s = (10 + 150 * i / 23) * 3.141592653589793 / 180
		v = 0
		printf "%.4f", s
		for (t = 1; t <= 60; t++) {
			for (j = 0; j < 50; j++) step(0.001)
			printf ",%.4f", s + 0.02 * gauss()
		}
		print ""
	}
}
