# Writes examples/houses.csv: awk -f tests/examples/random.awk -f tests/examples/houses.awk
# 240 invented houses; price (in thousands) = 30 + 2.2 area + 11 rooms - 0.9 age + noise of deviation 15, rounded.
BEGIN {
	print "area,rooms,age,price"
	for (i = 0; i < 240; i++) {
		area = int(40 + 160 * uniform())
		rooms = 1 + int(area / 40 + 2 * uniform())
		age = int(80 * uniform())
		printf "%d,%d,%d,%.1f\n", area, rooms, age, 30 + 2.2 * area + 11 * rooms - 0.9 * age + 15 * normal()
	}
}
