/* std.h: the standard library's source text, built into the binary from grammar/std/. */
#ifndef NNC_STD_H
#define NNC_STD_H

#include <stddef.h>

typedef struct StdFile { const char *name, *text; size_t length; } StdFile;   /* name "<std>/layers.nn" */
extern const StdFile std_files[];
extern const int std_file_count;

#endif
