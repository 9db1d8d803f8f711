/* The claims of docs/study.md put to the test, one function each. A finding is what was measured, whatever was hoped for. */
#ifndef BINADE_APPS_REPRODUCE_H
#define BINADE_APPS_REPRODUCE_H

#include "interval.h"
#include "progress.h"
#include <binade/binade.h>

/* In the order in which one of several conditions decides; OPEN: the interval of what was measured holds the bound. */
typedef enum verdict { VERDICT_HOLDS, VERDICT_OPEN, VERDICT_FAILS, VERDICT_NOT_RUN } verdict;

typedef struct finding {
    verdict verdict;
    char result[512]; /* with numbers; a sentence or two */
} finding;

typedef struct reproduction {
    bd_device *device;
    bd_dataset *dataset; /* Fashion-MNIST; opened by the first claim that trains */
    progress progress;
    int64_t steps; /* of the trainings of R1, R6 and R7 */
} reproduction;

/* Sets verdict and result. Fails only where the measurement itself could not be made. */
typedef bd_status (*claim_function)(reproduction *self, finding *f, bd_error *error);

/* Whether what the interval is of lies between the bounds, as far as it tells. */
static inline verdict verdict_between(const interval *i, double low, double high)
{
    return i->low >= low && i->high <= high ? VERDICT_HOLDS : i->high < low || i->low > high ? VERDICT_FAILS : VERDICT_OPEN;
}

static inline verdict verdict_both(verdict a, verdict b)
{
    return a > b ? a : b;
}

/* reproduce_numbers.c: arithmetic, no training */
bd_status reproduce_scaler(reproduction *self, finding *f, bd_error *error);       /* R9 */
bd_status reproduce_rounding_floor(reproduction *self, finding *f, bd_error *error); /* R10 */
bd_status reproduce_tails(reproduction *self, finding *f, bd_error *error);        /* R13 */
bd_status reproduce_sqnr(reproduction *self, finding *f, bd_error *error);         /* R14 */

/* reproduce_training.c: the MLP on Fashion-MNIST */
bd_status reproduce_delta(reproduction *self, finding *f, bd_error *error);     /* R1 */
bd_status reproduce_epsilon(reproduction *self, finding *f, bd_error *error);   /* R6 */
bd_status reproduce_scaling(reproduction *self, finding *f, bd_error *error);   /* R7 */
bd_status reproduce_bytes(reproduction *self, finding *f, bd_error *error);     /* R20 */

/* reproduce_federated.c */
bd_status reproduce_federated(reproduction *self, finding *f, bd_error *error); /* R17 */

#endif
