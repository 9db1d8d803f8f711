/* The graphs of training: one step, one batch of an evaluation, and the search for the first value that is not
 * finite. */
#ifndef BINADE_ENGINE_STEP_H
#define BINADE_ENGINE_STEP_H

#include "measure.h"
#include <binade/train.h>

/* Where a graph's batches come from. */
typedef struct bd_step_source {
    int64_t rows;  /* of the images and labels on the device */
    int64_t count; /* of the permutation */
    int64_t rates; /* entries of the learning-rate table, which may be a part of the schedule */
} bd_step_source;

/* The policy's `ends` given to the first and last layer of a graph that contract weights; the graph was built without a
 * policy. */
bd_status bd_graph_set_ends(const bd_graph *graph, bd_precision *precision, bd_error *error);
/* The same for the model of a training, before its graphs are built. */
bd_status bd_step_set_ends(bd_train_params *params, bd_error *error);

/* Variables: "control", "rates", "train/images", "train/labels" (of a text "train/tokens"), "train/order". `layout` is
 * the caller's to finish, also on failure. The graphs have their formats. */
bd_status bd_step_training(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                           bd_layout *layout, bd_error *error);
/* The step's forward pass as far as learned steps of operands begin by it: it keeps these starts, and nothing else. */
bd_status bd_step_start(const bd_train_params *params, const bd_step_source *source, bd_graph **graph, bd_error *error);
/* The same step, and what measures it (measure.h). */
bd_status bd_step_measured(const bd_train_params *params, const bd_step_source *source, bd_graph **graph,
                           bd_measure_points *points, bd_error *error);
/* Variables: "test/control", "test/rates", "test/images", "test/labels" or "test/tokens", "test/order", "test/logits"
 * (what the model makes of a batch of images, in F32), and the model's. */
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

/* What the variable of a calibration holds, for so many formats: of the product of absolute operands the sum of
 * squares; of each operand the sum of squares and how many are 0; then for each format the sum of squares of what it
 * changes in the product, and of each operand that of what it changes there, how many are 0 and how many not finite. */
#define BD_CALIBRATED(formats) (5 + 7 * (formats))

/* A contraction of the forward or the backward pass. `layer` is the graph's. */
typedef struct bd_calibration {
    const char *layer;
    char variable[24];
    int64_t elements[2]; /* of the operands */
} bd_calibration;

/* Forward and backward pass of the training step, in the policy's formats, and each contraction in a layer once more
 * with both operands rounded to each of the formats, BD_MOST_CANDIDATES at most. Beside the calibrations' variables it
 * changes running statistics only. `probes` is malloc'ed, the caller frees. */
bd_status bd_step_calibration(const bd_train_params *params, const bd_step_source *source, const bd_format *formats,
                              int format_count, bd_graph **graph, bd_calibration **probes, int *count, bd_error *error);

/* A weight that an ascent moves: what the model has, "sharpness/origin/I" where it began, F32 both. `name` is the
 * graph's. */
typedef struct bd_moved {
    const char *name;
    char origin[32];
    int64_t elements;
} bd_moved;

/* A step up the loss in the box |d| <= epsilon (|w| + 1) around weights w: see bd_trainer_sharpness. Takes `rows`
 * examples of the variables "sharpness/images" and "sharpness/labels", or "sharpness/tokens", in the order of
 * "sharpness/order"; fills "sharpness/losses": the mean loss before the step, and the largest that logits in a box of
 * their own can have; then moves the weights by `share` of the box at most. In inference mode, in the policy's formats
 * but for weights, gradients and statistics, which are F32. `moved` is malloc'ed, the caller frees. */
bd_status bd_step_sharpness(const bd_train_params *params, int64_t rows, double epsilon, double share, bd_graph **graph,
                            bd_moved **moved, int *count, bd_error *error);

#endif
