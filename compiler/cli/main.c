/* main.c: in: the command line; out: one command run, its exit code. */
#include <stdio.h>

#include "base.h"

int main(void) {
	fputs("usage: nnc COMMAND FILE.nn\n", stderr);
	return EXIT_USAGE;
}
