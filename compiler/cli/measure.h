/* measure.h: what the machine can do, for comparison with what we do. */
#ifndef NNC_MEASURE_H
#define NNC_MEASURE_H

#include "cli.h"

/* A loop of independent fused multiply-adds on every worker. */
typedef struct Peak Peak;
Peak *peak_new(Session *s, int workers);           /* NULL: no such code for this machine */
double peak_gflops(Peak *peak);                    /* measures for some milliseconds */
void peak_free(Peak *peak);

double seconds_now(void);
double median_of(double *values, int count);       /* sorts */
/* worker_costs.c: what the workers of a pool cost each other; zeros: it could not be measured. */
WorkerCosts measure_workers(Pool *pool);
/* Multiplications and additions of all contracts of a Fn after all passes. */
double contract_flops(const Fn *f);
/* The most memory this process has held, in bytes; 0 where the system does not say. */
double peak_memory(void);

#endif
