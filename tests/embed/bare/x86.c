/* x86.c: an x86-64 from reset to bits(), all of its registers switched on, with nothing but what the linker script says.
 *
 * Text goes out by a port that Bochs prints; a word to another ends the emulation.  It all stands in a ROM that ends at
 * 4 GiB, where processors begin; programs may stand below 2 GiB only, so pages show GiB 3 of memory at GiB 1 of addresses too:
 * HIGH is the distance. */
#include <stdint.h>

__asm__(
    ".set HIGH, 0x80000000\n"
    ".section .reset, \"ax\"\n"
    ".code16\n"
    "	jmp begin\n"
    ".balign 16\n"
    ".globl begin\n"
    ".section .begin, \"ax\"\n"
    "begin:\n"
    "	lgdtl %cs:(tables_pointer - 0x7fff0000)\n"
    "	movl %cr0, %eax\n"
    "	orl $1, %eax\n"                         /* protected mode */
    "	movl %eax, %cr0\n"
    "	ljmpl $8, $(protected + HIGH)\n"
    ".code32\n"
    "protected:\n"
    "	movl $16, %eax\n"
    "	movl %eax, %ds\n"
    "	movl %eax, %es\n"
    "	movl %eax, %ss\n"
    "	movl $0x40620, %eax\n"                  /* pages of 64 bits, SSE, the registers of XCR0 */
    "	movl %eax, %cr4\n"
    "	movl $(pages + HIGH), %eax\n"
    "	movl %eax, %cr3\n"
    "	movl $0xc0000080, %ecx\n"
    "	rdmsr\n"
    "	orl $0x100, %eax\n"                     /* 64 bits */
    "	wrmsr\n"
    "	movl $0x80000013, %eax\n"               /* pages; an FPU that is there */
    "	movl %eax, %cr0\n"
    "	ljmpl $24, $long_mode\n"
    ".code64\n"
    "long_mode:\n"
    "	xorl %ecx, %ecx\n"
    "	xorl %edx, %edx\n"
    "	movl $0xe7, %eax\n"                     /* XCR0: SSE, AVX, AVX-512 */
    "	xsetbv\n"
    "	movl $stack_top, %esp\n"
    "	call start\n"
    "	hlt\n"
    ".balign 8\n"
    "tables:\n"
    "	.quad 0\n"
    "	.quad 0x00cf9b000000ffff\n"             /* 8: code of 32 bits */
    "	.quad 0x00cf93000000ffff\n"             /* 16: data */
    "	.quad 0x00af9b000000ffff\n"             /* 24: code of 64 bits */
    "tables_pointer:\n"
    "	.word 31\n"
    "	.long tables + HIGH\n"
    ".section .pages, \"a\"\n"
    ".balign 4096\n"
    "pages:\n"                                  /* present, writable, seen; of 1 GiB: written, large */
    "	.quad gigabytes + HIGH + 0x23\n"
    "	.zero 4088\n"
    "gigabytes:\n"
    "	.quad 0x00000000 + 0xe3\n"
    "	.quad 0xc0000000 + 0xe3\n"
    "	.quad 0\n"
    "	.quad 0xc0000000 + 0xe3\n"
    "	.zero 4064\n"
    ".text\n");

extern unsigned char data_from[], data_begin[], data_end[], bss_begin[], bss_end[];
int bits(void);

static void write(uint16_t port, unsigned char byte) { __asm__ volatile("outb %0, %1" : : "a"(byte), "Nd"(port)); }

enum { PRINT = 0xe9, SHUTDOWN = 0x8900 };

void put(const char *text) {
	while (*text) write(PRINT, (unsigned char)*text++);
}

void start(void) {
	for (volatile unsigned char *to = data_begin, *from = data_from; to < data_end;) *to++ = *from++;
	for (volatile unsigned char *to = bss_begin; to < bss_end;) *to++ = 0;
	put("\n");
	if (bits()) put("broken: bits() does not return 0\n");
	for (const char *word = "Shutdown"; *word; word++) write(SHUTDOWN, (unsigned char)*word);
	for (;;) {}
}
