/* Measures a trained model: what it makes of the test set and of a set that it was not trained for. */
#ifndef BINADE_APPS_ASSESS_H
#define BINADE_APPS_ASSESS_H

#include "progress.h"
#include "results.h"

/* Images of the data set's shape that are out of its distribution. */
typedef struct ood_set {
    char name[80]; /* "noise:3", or a data set's */
    const uint8_t *images;
    int64_t count;
    uint8_t *corrupted; /* owned, */
    bd_dataset *other;  /* or this */
} ood_set;

/* Opens what --ood names: a corruption of the test images of `dataset` (corrupt.h), or the test images of another data
 * set, or its training images if it has no others. */
bd_status ood_open(ood_set *self, progress *shown, const char *name, const bd_dataset *dataset, bd_error *error);
void ood_close(ood_set *self);

/* The FP32 run of the same seed: its checkpoint (NULL: its weights are not asked for), and its logits of the test set
 * (NULL: there is none). */
typedef struct assess_base {
    const char *weights, *logits;
    bool is_this; /* it is the run that is assessed, which writes its logits */
} assess_base;

/* Fills the two measures of sharpness, in a box of `epsilon`. */
bd_status assess_sharpness(bd_trainer *trainer, double epsilon, run_result *run, bd_error *error);

/* Fills the run's other measures and bins; leaves them unknown if the data set has no test images, and delta and Gamma
 * if the base has no logits, as one that is not done. The trainer's weights are the base's after it, rounded. */
bd_status assess(bd_trainer *trainer, const bd_dataset *dataset, const ood_set *ood, const assess_base *base,
                 run_result *run, bd_error *error);

#endif
