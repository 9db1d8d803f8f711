/* The claims of docs/study.md put to the test, one function each. A finding is what was measured, whatever was hoped
 * for. */
#ifndef BINADE_APPS_REPRODUCE_H
#define BINADE_APPS_REPRODUCE_H

#include "compare.h"
#include "models/models.h"
#include "progress.h"
#include <binade/binade.h>

/* In the order in which one of several conditions decides; OPEN: the interval of what was measured holds the bound. */
typedef enum verdict { VERDICT_HOLDS, VERDICT_OPEN, VERDICT_FAILS, VERDICT_NOT_RUN } verdict;

typedef struct finding {
    verdict verdict;
    char result[4096]; /* with numbers; a sentence or two; of VERDICT_NOT_RUN what is missing */
} finding;

typedef struct reproduction {
    bd_device *device;
    bd_dataset *dataset; /* of `data`; opened by the first claim that trains without a comparison */
    progress progress;
    const char *data;           /* Fashion-MNIST or what takes its place */
    const char *cifar, *text;   /* NULL where they were not named */
    const char *limit, *output; /* output: the folder that comparisons are kept in */
    int64_t steps;              /* of the trainings of R1, R6, R7 and R8 */
    int64_t most_steps, seeds;  /* of comparisons, in place of the claim's own; 0: those */
} reproduction;

/* Sets verdict and result. Fails only where the measurement itself could not be made. */
typedef bd_status (*claim_function)(reproduction *self, finding *f, bd_error *error);

/* Whether what the interval is of lies between the bounds, as far as it tells. */
static inline verdict verdict_between(const interval *i, double low, double high)
{
    return i->low >= low && i->high <= high ? VERDICT_HOLDS
           : i->high < low || i->low > high ? VERDICT_FAILS
                                            : VERDICT_OPEN;
}

static inline verdict verdict_both(verdict a, verdict b)
{
    return a > b ? a : b;
}

/* Adds to the result, which keeps what there is room for. */
void finding_add(finding *f, const char *format, ...) BD_PRINTF(2, 3);
/* "+0.12 (-0.03 to +0.27)" times `scale`; "unknown" where runs failed. */
void finding_add_interval(finding *f, const interval *i, double scale, int digits);

/* "5 seeds, 10 epochs" */
void finding_add_size(finding *f, const comparison *found);

/* reproduce_compare.c: claims that need many runs. Those that are done in the folder of `name` are kept, the others
 * made by `binade compare` with these arguments, which are parted by single spaces. */
bd_status reproduce_compare(reproduction *self, const char *name, const char *data, int64_t seeds,
                            const char *arguments, compare_end end, void *user, bd_error *error);

/* A row's accuracy less fp32's, in points, must lie within the bounds; rows without are told only. */
typedef struct gap_bound {
    const char *precision;
    double low, high;
} gap_bound;
/* A compare_end; `user` is a gap_judge, whose finding must hold or be worse already. */
typedef struct gap_judge {
    const gap_bound *bounds;
    int count;
    double least, most; /* that each row's accuracy must lie between, in percent; both 0: any */
    finding *f;
} gap_judge;
void reproduce_judge_gaps(void *user, const comparison *found);

/* A training without a comparison, the MLP on Fashion-MNIST. */
typedef struct training {
    model model;
    bd_train_params params;
    bd_trainer *trainer;
    bd_train_event end;
} training;
/* The usual parameters, with the claim's number of steps; what is special the caller changes before
 * reproduce_train(). */
bd_status reproduce_prepare(reproduction *self, training *t, const char *policy, bd_error *error);
bd_status reproduce_train(reproduction *self, training *t, bd_error *error);
/* A temporary file's path, malloc'ed; NULL and an error where none can be made. */
char *reproduce_temporary(bd_error *error);

/* reproduce_numbers.c: arithmetic, no training */
bd_status reproduce_scaler(reproduction *self, finding *f, bd_error *error);         /* R9 */
bd_status reproduce_rounding_floor(reproduction *self, finding *f, bd_error *error); /* R10 */
bd_status reproduce_tails(reproduction *self, finding *f, bd_error *error);          /* R13 */
bd_status reproduce_sqnr(reproduction *self, finding *f, bd_error *error);           /* R14 */

/* reproduce_training.c: the MLP on Fashion-MNIST */
bd_status reproduce_delta(reproduction *self, finding *f, bd_error *error);   /* R1 */
bd_status reproduce_epsilon(reproduction *self, finding *f, bd_error *error); /* R6 */
bd_status reproduce_scaling(reproduction *self, finding *f, bd_error *error); /* R7 */
bd_status reproduce_bytes(reproduction *self, finding *f, bd_error *error);   /* R20 */

/* reproduce_federated.c */
bd_status reproduce_federated(reproduction *self, finding *f, bd_error *error); /* R17 */
/* reproduce_study.c: trained networks, compared by their accuracy, loss or time */
bd_status reproduce_pure_half(reproduction *self, finding *f, bd_error *error);  /* R2 */
bd_status reproduce_resnet(reproduction *self, finding *f, bd_error *error);     /* R3 */
bd_status reproduce_vit(reproduction *self, finding *f, bd_error *error);        /* R4 */
bd_status reproduce_speed(reproduction *self, finding *f, bd_error *error);      /* R5 */
bd_status reproduce_repairs(reproduction *self, finding *f, bd_error *error);    /* R11 */
bd_status reproduce_fp8(reproduction *self, finding *f, bd_error *error);        /* R12 */
bd_status reproduce_learned(reproduction *self, finding *f, bd_error *error);    /* R15 */
bd_status reproduce_characters(reproduction *self, finding *f, bd_error *error); /* R18 */

/* reproduce_formats.c: what formats do to gradients, and to the minimum that is found */
bd_status reproduce_underflow(reproduction *self, finding *f, bd_error *error); /* R8 */
bd_status reproduce_bits(reproduction *self, finding *f, bd_error *error);      /* R16 */
bd_status reproduce_minima(reproduction *self, finding *f, bd_error *error);    /* R19 */

#endif
