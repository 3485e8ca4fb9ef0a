/* checkpoint.h: all that a training is at one moment, as one file of its folder. */
#ifndef NNC_CHECKPOINT_H
#define NNC_CHECKPOINT_H

#include "host.h"

/* What a training knows besides its tensors. */
typedef struct Progress {
	int64_t done;                        /* steps of the executable so far */
	double *sum;                         /* over the epoch so far: of the loss, and of each of several */
	double *interval_loss;               /* since the last line of the log: sums as these, and their number */
	int64_t interval;
	double best;                         /* of the figure that is watched */
	int64_t best_epoch, best_step;       /* 0: there is none yet */
	int64_t worse;                       /* epochs since then */
} Progress;

/* How many sums of losses there are: of all, and of each of several. */
static inline int loss_sums(const Train *train) { return 1 + train->nlosses; }

/* best: a block of layout->infer_bytes, NULL where none is kept.  Saved whole or not at all. */
bool checkpoint_save(const TrainJob *job, const Progress *progress, const char *best);
/* Fills job->persistent and `best` (where there is a best_epoch).  False, reported: there is none, or of another training. */
bool checkpoint_load(const TrainJob *job, Progress *progress, char *best);

/* weights.c: tensors of a block as entries named by prefix and path; returns how many. */
int weights_entries(Arena *arena, const Program *p, const Layout *layout, const char *block, const char *prefix, bool slots,
                    TensorEntry *entries);
/* weights.c: metadata, `own` and then the constants of the program. */
const MetaEntry *with_constants(Arena *arena, const Program *p, const MetaEntry *own, int count, int *total);
/* weights.c: parameters and states (and slots) of the block from entries named by prefix and path; each must be there.  False:
 * reported. */
bool weights_restore(Diag *diag, const char *path, const TensorFile *file, const Program *p, const Layout *layout, char *block,
                     const char *prefix, bool slots);

#endif
