# Writes examples/ratings.csv: awk -f tests/examples/random.awk -f tests/examples/ratings.awk
# 200 people with 2 tastes each rate 20 of 100 films: 3.3 + kind + good + taste . character + 0.4 noise, as whole stars 1..5.
BEGIN {
	for (f = 0; f < 100; f++) {
		good[f] = 0.4 * gauss()
		a[f] = gauss()
		b[f] = gauss()
	}
	print "person,film,stars"
	for (p = 0; p < 200; p++) {
		kind = 0.3 * gauss()
		c = 0.7 * gauss()
		d = 0.7 * gauss()
		split("", seen)
		for (n = 0; n < 20; n++) {
			do f = int(100 * uniform()); while (f in seen)
			seen[f] = 1
			stars = int(3.3 + kind + good[f] + c * a[f] + d * b[f] + 0.4 * gauss() + 0.5)
			print p "," f "," (stars < 1 ? 1 : stars > 5 ? 5 : stars)
		}
	}
}
