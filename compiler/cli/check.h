/* check.h: what the parts of nnc check share. */
#ifndef NNC_CHECK_H
#define NNC_CHECK_H

#include "inputs.h"
#include "start.h"

/* A parameter: the derivative of the loss along a direction, and what the difference quotient says. */
typedef struct Derivative {
	const char *path;
	Type type;
	double derivative, quotient, error, tolerance;
	bool kink, ok, finite;       /* finite: every element of the derivative */
} Derivative;

/* A Fn: compiled, and interpreted. */
typedef struct Compared { const char *name, *difference; int64_t numbers; bool ok; } Compared;

typedef struct Check {
	Session *s;
	int number;                  /* of the train block */
	const Train *train;
	const DataSet *set;
	char **fields;               /* by number into set: one batch, dense; NULL: not used */
	bool made_up;
	char *block;                 /* initialised */
	const Fn *gradients;         /* the loss and its derivatives, after all passes */
	Derivative *derivatives; int nderivatives;
	Compared *compared; int ncompared;
} Check;

/* A field's batch by name, or NULL. */
const char *check_field(const Check *c, const char *name);
/* check_grad.c, check_code.c: fill the results; false: reported to the session's diag. */
bool check_derivatives(Check *c);
bool check_compiled(Check *c);

#endif
