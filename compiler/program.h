/* program.h: what elaboration makes of a .nn file: every model and every train block as Fns with concrete dims,
 * the tensors that live between steps, and the data declarations as they are to be read.
 *
 * Fns come straight from elaboration: Grad values are still in them; run_passes() makes them ready. */
#ifndef NNC_PROGRAM_H
#define NNC_PROGRAM_H

#include <string.h>

#include "ast.h"
#include "ir.h"

/* A tensor that lives between steps: parameter, model state or optimiser slot. */
typedef struct Persistent {
	const char *path;        /* "mlp/dense.0/w"; slots: "mlp/dense.0/w#m" */
	InputKind kind;          /* INPUT_PARAM, INPUT_STATE, INPUT_SLOT */
	Type type;
	int train;               /* slots: the train block they belong to; else -1 */
	Span span;
} Persistent;

typedef enum SourceKind { SOURCE_IDX, SOURCE_CSV, SOURCE_NPY, SOURCE_RAW, SOURCE_CHARS, SOURCE_LITERAL } SourceKind;
typedef struct DataField {
	const char *name;
	Type type;               /* per sample */
	int64_t classes;         /* class[n]; 0: none.  index: -1 (any integer) */
	SourceKind kind;
	const char *path;
	const char *const *columns;   /* csv: names; NULL: columns first_column .. +ncolumns by number */
	int ncolumns, first_column;
	bool all_columns;             /* csv: none is named: the file has no others */
	int64_t window, offset;       /* chars; raw: offset in bytes */
	int64_t reach;                /* chars: the largest offset among the set's fields, so that all have as many windows */
	const char *vocab;            /* chars: the file whose vocabulary numbers the characters */
	const double *values;         /* literal: samples * elements */
	int64_t nvalues;
	Span span;
} DataField;
typedef struct DataSet { const char *name; DataField *fields; int nfields; Span span; } DataSet;

/* What data says that the program depends on: name "vocab:text.txt", value: its characters in UTF-8, `count` of them. */
typedef struct Constant { const char *name, *value; int64_t count; Span span; } Constant;

typedef struct Setting { const char *name; double value; } Setting;    /* input(0.001), named as in the file: "lr" */

/* A metric is a function of totals over an epoch: outputs first_total .. +ntotals of the evaluation Fn are added
 * up over all batches (in double); then value = finish(totals), or totals[0] / (elements * batches' samples / batch)
 * when finish is NULL: the plain average over all elements. */
typedef struct Metric { const char *name; int first_total, ntotals; Fn *finish; double elements; } Metric;

/* The figure of the validation that tells the better epoch, by its name in the log.  name NULL: none does. */
typedef struct Watch {
	const char *name;
	int metric, loss;             /* metric -1: a loss; loss 0: of them all, k: of losses[k - 1] */
	bool rising;                  /* more is better */
} Watch;

/* What one of several `update`s makes smaller, and by changing which parameters: those a pattern matches, or all. */
typedef struct Loss { const char *name; const char *const *patterns; int npatterns; } Loss;
bool loss_trains(const Loss *loss, const char *path);

typedef struct Train {
	const char *name;             /* NULL for an unnamed block */
	int data, validate;           /* data sets by number; validate -1: none or a fraction */
	double validate_fraction;     /* > 0: that part of data is held out */
	bool shuffle;
	int64_t batch, epochs, steps; /* steps 0: epochs decide */
	int64_t accumulate;
	DType precision;              /* of activations: f32 or bf16 */
	uint64_t seed;
	Watch watch;
	bool save_best;               /* the weights saved are those of the best epoch, not the last */
	int64_t patience;             /* epochs without a better one that end the training; 0: none do */
	int64_t steps_per_epoch, total_steps;
	bool uses_steps;              /* the program reads total_steps or steps_per_epoch */
	int *inputs; int ninputs;     /* fields used, as numbers into data's fields; validation uses the same names */
	Metric *metrics; int nmetrics;
	Loss *losses; int nlosses;    /* of several `update`s, in order; 0: there is one loss */
	Setting *settings; int nsettings;
	Span span;
} Train;

typedef struct ModelArgument { const char *name; Type type; int64_t classes; } ModelArgument;  /* type at program.batch */
typedef struct Model {
	const char *name;
	ModelArgument *arguments; int narguments;
	const char **results; Type *result_types; int nresults;   /* results[i] NULL when unnamed (then the model's name) */
	bool batched;                 /* has a symbolic B; else it runs once on whole arrays */
	Span span;
} Model;

typedef struct Program Program;
struct Program {
	Arena *arena;
	Diag *diag;
	const char *name;             /* base name of the file */
	VEC(Persistent) persistent;   /* parameters and states in order of first use, then slots per train block */
	VEC(DataSet) data;
	VEC(Train) trains;
	VEC(Model) models;
	VEC(Constant) constants;      /* stored with the weights */
	void *elab;                   /* the elaborator's own state, to make more Fns */
};
/* The number of the tensor that lives between steps under this path, or -1.  near: where to look first: mostly paths are asked
 * for in the order of the program. */
static inline int program_find(const Program *p, const char *path, int near) {
	int n = p->persistent.length;
	for (int i = 0; i < n; i++)
		if (strcmp(p->persistent.data[(near + i) % n].path, path) == 0) return (near + i) % n;
	return -1;
}

/* How the elaborator learns what stands in files (sizes, vocabularies): the only way compiler/ reads data. */
typedef struct DataInfo { bool ok; int64_t samples; } DataInfo;
typedef struct VocabInfo { int64_t count; const char *characters; } VocabInfo;   /* characters: the Constant's value */
typedef struct DataProbe {
	void *context;
	/* Number of samples of a data set (reads headers only); reports to diag and gives ok = false when it cannot. */
	DataInfo (*samples)(void *context, Diag *diag, const DataSet *set);
	/* The distinct characters of a text.  Count 0: reported; characters NULL: unknown, and any count will do. */
	VocabInfo (*vocab)(void *context, Diag *diag, Span span, const char *path);
} DataProbe;

typedef struct ElabOptions {
	const char *const *set_names; const char *const *set_values; int nsets;   /* --set K=V */
	int64_t batch;                /* 0: the train block's own */
	const char *train_name;       /* --name, NULL: all */
	int64_t epochs, steps;        /* > 0 replace the file's */
	bool has_seed; uint64_t seed;
	bool bf16;                    /* every train block says `precision = bf16` */
	bool stepless;                /* no step will be taken: any number of them will do */
	DataProbe *probe;             /* NULL: sizes of data are unknown (total_steps 0 when needed is an error) */
} ElabOptions;

/* Checks the whole file (every declaration, used or not) and elaborates.  NULL when there were errors. */
Program *elab_program(Arena *arena, Diag *diag, uint32_t source, const ElabOptions *options);

/* Fns on demand.  Inputs of kind PARAM, STATE and SLOT are named by path; persistent tensors a Fn does not use are
 * not among its inputs.
 *   step:   data fields, persistent, STEP, EPOCH, SEED, SETTING -> "loss" f32[], the losses, and every updated persistent.
 *   eval:   training = false; -> "loss" (mean over the batch), then the metrics' totals, then the losses.
 *   loss:   training = true; -> "loss", the losses, and with_grads: "grad/<path>" for every parameter (zeros when untouched).
 *   infer:  a model's arguments -> its results, training = false.
 *   init:   SEED -> one output per persistent tensor of kinds PARAM and STATE, and SLOT of every train.
 * Where a block has several updates, "loss" is the sum of theirs, the losses are one output "loss/NAME" for each, and the
 * gradient of a parameter is that of the losses of the updates that train it. */
Fn *program_step(Program *p, int train);
Fn *program_eval(Program *p, int train, int64_t batch);
Fn *program_loss(Program *p, int train, int64_t batch, bool with_grads);
Fn *program_infer(Program *p, int model, int64_t batch);
Fn *program_init(Program *p);

#endif
