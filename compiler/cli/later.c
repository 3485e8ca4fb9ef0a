#include <stdio.h>
#include "cli.h"
#define LATER(name) int command_##name(const Options *o) { (void)o; fputs("nnc: the command '" #name "' is not there yet\n", stderr); return EXIT_USAGE; }
LATER(compile)
