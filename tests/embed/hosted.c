/* hosted.c: bits() under an operating system. */
#include <stdio.h>

int bits(void);
void put(const char *text) { fputs(text, stdout); }
int main(void) { return bits(); }
