/* main.c: firmware for a Cortex-M4 that learns while it runs.  No operating system, no C library, no heap: the model's memory is
 * three variables.  A sensor would deliver the samples; here they are drawn, ten patterns of stripes with noise, or with
 * -DPICTURES=FILE -DLABELS=FILE read from flash, where these files are: 28 by 28 bytes a picture, a byte a label.
 *
 * Text goes out by semihosting, which debuggers and qemu know. */
#include <stdint.h>

#include "online.h"

static online_train model;                 /* parameters, the optimiser's state, counters */
static online_scratch scratch;

/* ---- a sensor ---- */

#ifdef PICTURES
__asm__(".pushsection .rodata\npictures: .incbin \"" PICTURES "\"\nlabels: .incbin \"" LABELS "\"\n.popsection");
extern const uint8_t pictures[][28][28], labels[];

static int32_t sample(uint8_t image[28][28]) {
	static int next;
	for (int i = 0; i < 28; i++)
		for (int j = 0; j < 28; j++) image[i][j] = pictures[next][i][j];
	return labels[next++];
}
#else
static uint32_t noise(void) {
	static uint32_t state = 1;
	state = state * 1664525u + 1013904223u;
	return state >> 24;
}

static int32_t sample(uint8_t image[28][28]) {
	int32_t label = (int32_t)(noise() % 10);
	for (int i = 0; i < 28; i++)
		for (int j = 0; j < 28; j++) {
			int across = label < 5 ? i + j * label : j + i * (label - 5);
			image[i][j] = (uint8_t)((across / 3 % 2 ? 160 : 0) + noise() % 96);
		}
	return label;
}
#endif

/* ---- what is printed ---- */

static void host(uint32_t operation, const void *argument) {
	register uint32_t r0 __asm__("r0") = operation;
	register const void *r1 __asm__("r1") = argument;
	__asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(const char *text) { host(4, text); }

static void print_number(uint32_t value, int decimals) {
	char text[16], *at = text + 15;
	*at = 0;
	for (int i = 0; value || i <= decimals; i++, value /= 10) {
		if (i && i == decimals) *--at = '.';
		*--at = (char)('0' + value % 10);
	}
	print(at);
}

/* ---- the program ---- */

/* Apart from reset(), whose own first instructions run before the FPU is on. */
__attribute__((noinline)) static int learn(void) {
	static uint8_t image[28][28];
	float loss, sum = 0, logits[10];
	int right = 0;
	online_init(&model, 1);
	for (int step = 1; step <= 1000; step++) {
		int32_t label = sample(image);
		if (online_step(&model, &image[0][0], &label, &loss, &scratch) != online_OK) return 1;
		sum += loss;
		if (step % 200) continue;
		print("step ");
		print_number((uint32_t)step, 0);
		print("  loss ");
		print_number((uint32_t)(sum * 5.0f), 3);   /* the mean of 200, in thousandths */
		print("\n");
		sum = 0;
	}
	for (int i = 0; i < 200; i++) {
		int32_t label = sample(image);
		if (online_classifier(&model.params, &image[0][0], logits, 1, &scratch) != online_OK) return 1;
		int best = 0;
		for (int k = 1; k < 10; k++)
			if (logits[k] > logits[best]) best = k;
		right += best == label;
	}
	print_number((uint32_t)right, 0);
	print(" of 200 new samples right\n");
	return 0;
}

/* ---- from reset to there ---- */

extern uint32_t stack_top[], bss_begin[], bss_end[];

void reset(void);
void reset(void) {
	*(volatile uint32_t *)0xe000ed88 |= 0xfu << 20;   /* the FPU on */
	__asm__ volatile("dsb\n\tisb" ::: "memory");
	for (volatile uint32_t *to = bss_begin; to < bss_end;) *to++ = 0;
	const uint32_t leave[2] = {0x20026, (uint32_t)learn()};
	for (;;) host(0x20, leave);
}

static void fault(void) {
	print("fault\n");
	const uint32_t leave[2] = {0x20023, 1};
	for (;;) host(0x20, leave);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
	stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault};
