/* start.c: a Cortex-M from reset to bits(), with nothing but what the linker script says; text goes out by semihosting. */
#include <stdint.h>

extern uint32_t stack_top[], data_from[], data_begin[], data_end[], bss_begin[], bss_end[];
int bits(void);

enum { SYS_WRITE0 = 4, SYS_EXIT_EXTENDED = 0x20, ADP_APPLICATION_EXIT = 0x20026, ADP_RUNTIME_ERROR = 0x20023 };

static long host(long operation, const void *argument) {
	register long r0 __asm__("r0") = operation;
	register const void *r1 __asm__("r1") = argument;
	__asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
	return r0;
}

void put(const char *text) { host(SYS_WRITE0, text); }

static void leave(uint32_t reason, uint32_t code) {
	const uint32_t block[2] = {reason, code};
	for (;;) host(SYS_EXIT_EXTENDED, block);
}

static void fault(void) {
	put("broken: a fault\n");
	leave(ADP_RUNTIME_ERROR, 1);
}

void reset(void) {
	*(volatile uint32_t *)0xe000ed88 |= 0xfu << 20;   /* CPACR: coprocessors 10 and 11, the FPU */
	__asm__ volatile("dsb\n\tisb" ::: "memory");
	for (uint32_t *to = data_begin, *from = data_from; to < data_end;) *to++ = *from++;
	for (uint32_t *to = bss_begin; to < bss_end;) *to++ = 0;
	leave(ADP_APPLICATION_EXIT, (uint32_t)bits());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
	stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault};
