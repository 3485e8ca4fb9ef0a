/* compare.c: in: two texts that bits.c printed with DUMP, of a machine that has fused multiply-add and of one that has not; out:
 *     GRADIENTS WEIGHTS
 * the largest differences: of an optimiser's tensor after the first step, relative to it (for adam these are a step's gradients,
 * times a constant), and of a parameter after the last, relative to how far it moved.  Exits with 1 past 1e-5 and 1e-3. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1000 };
typedef struct Tensor { int when, kind, count; char path[200]; float *value; } Tensor;
typedef struct Dump { Tensor tensor[MOST]; int count; } Dump;

static Dump read_dump(const char *path) {
	Dump d = {.count = 0};
	FILE *in = fopen(path, "r");
	char word[200];
	if (!in) exit(2);
	while (d.count < MOST && fscanf(in, "%199s", word) == 1) {
		Tensor *t = &d.tensor[d.count];
		if (strcmp(word, "tensor")) continue;
		if (fscanf(in, "%d %d %199s %d", &t->when, &t->kind, t->path, &t->count) != 4) exit(2);
		t->value = malloc(sizeof(float) * (size_t)t->count);
		for (int i = 0; i < t->count; i++) {
			uint32_t bits;
			if (fscanf(in, "%8x", &bits) != 1) exit(2);
			memcpy(&t->value[i], &bits, sizeof bits);
		}
		d.count++;
	}
	fclose(in);
	return d;
}

static double length(const float *a, const float *b, int count) {
	double sum = 0;
	for (int i = 0; i < count; i++) {
		double x = (double)a[i] - (b ? (double)b[i] : 0);
		sum += x * x;
	}
	return sqrt(sum);
}

static const Tensor *find(const Dump *d, const char *path, int when) {
	for (int i = 0; i < d->count; i++)
		if (d->tensor[i].when == when && !strcmp(d->tensor[i].path, path)) return &d->tensor[i];
	exit(2);
}

int main(int argc, char **argv) {
	if (argc != 3) return 2;
	static Dump right, other;
	right = read_dump(argv[1]), other = read_dump(argv[2]);
	if (!right.count || right.count != other.count) return 2;
	int last = right.tensor[right.count - 1].when, compared = 0;
	double gradients = 0, weights = 0;
	for (int i = 0; i < right.count; i++) {
		const Tensor *a = &right.tensor[i], *b = find(&other, a->path, a->when);
		if (a->when == 1 && a->kind == 2) {
			double size = length(a->value, NULL, a->count);
			if (size > 0) gradients = fmax(gradients, length(a->value, b->value, a->count) / size), compared++;
		} else if (a->when == last && a->kind == 0) {
			double moved = length(a->value, find(&right, a->path, 0)->value, a->count);
			if (moved > 0) weights = fmax(weights, length(a->value, b->value, a->count) / moved), compared++;
		}
	}
	printf("%.1e %.1e\n", gradients, weights);
	return !(compared > 1 && gradients <= 1e-5 && weights <= 1e-3);
}
