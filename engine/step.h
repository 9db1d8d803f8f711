/* The graphs of training: one step, one batch of an evaluation, and the search for the first value that is not
 * finite. */
#ifndef BINADE_ENGINE_STEP_H
#define BINADE_ENGINE_STEP_H

#include "layout.h"
#include <binade/train.h>

/* Where a graph's batches come from. */
typedef struct bd_step_source {
    int64_t rows;  /* of the images and labels on the device */
    int64_t count; /* of the permutation */
    int64_t rates; /* entries of the learning-rate table, which may be a part of the schedule */
} bd_step_source;

/* Variables: "control", "rates", "train/images", "train/labels", "train/order". `layout` is the caller's to finish,
 * also on failure. The graphs have their formats. */
bd_status bd_step_training(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                           bd_layout *layout, bd_error *error);
/* Variables: "test/control", "test/rates", "test/images", "test/labels", "test/order", and the model's. */
bd_status bd_step_evaluation(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                             bd_error *error);

/* What one counter of the search looks at. */
typedef struct bd_probe {
    bd_tensor node;
    char variable[24]; /* holds how many of its values are not finite */
} bd_probe;

/* The forward pass of the training step with a counter for every node whose values are floats, in graph order,
 * parameters before all others. Beside the counters it changes running statistics only. `probes` is malloc'ed, the
 * caller frees. */
bd_status bd_step_search(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                         bd_probe **probes, int *count, bd_error *error);

#endif
