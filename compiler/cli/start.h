/* start.h: everything a training step needs, made ready as early as the machine allows. */
#ifndef NNC_START_H
#define NNC_START_H

#include "cli.h"

typedef struct Start {
	Session *session;
	const Train *train;
	Data *data, *validate;       /* validate NULL: none declared, or not asked for */
	bool made_up;                /* the data's files are absent: these are numbers of the declared types */
	char *block;                 /* initialised with train->seed */
	const Executable *step;
	const KernelProgram *kernels;         /* NULL when interpreted */
	bool cached;
} Start;

/* Files are read and the initialisation is compiled on other threads while this one compiles the step.
 * validate: also the validation data.  allow_made_up: data that cannot be read is made up instead (`samples` of it).
 * EXIT_DONE, or what to exit with; reported. */
int start_training(Session *s, int number, bool validate, int64_t made_up_samples, Start *out);
void start_free(Start *start);

/* Samples of the declared types.  wanted[field] NULL: all fields. */
Data *made_up_data(Arena *arena, const DataSet *set, const bool *wanted, int64_t samples, uint64_t seed);

#endif
