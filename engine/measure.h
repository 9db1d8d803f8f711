/* What rounding does to the values of a training step, measured while it trains: the graph's and the host's half. */
#ifndef BINADE_ENGINE_MEASURE_H
#define BINADE_ENGINE_MEASURE_H

#include "optimizer.h"
#include "program.h"
#include <binade/train.h>

/* One tensor that is measured. */
typedef struct bd_measure_point {
    char *layer; /* owned */
    bd_measured what;
    bd_format format;
    int64_t elements;
    int64_t first, rows; /* its part of what is read: rows of BD_TALLY_COLUMNS numbers */
} bd_measure_point;

typedef struct bd_measure_points {
    bd_measure_point *points; /* owned */
    int count;
    int64_t size; /* numbers that are read */
} bd_measure_points;

/* Appends, to a training step that has its formats, what measures it: of each matrix product and convolution in a layer
 * its result once more in F32 beside the one that is used, each operand that is rounded before it is multiplied, the
 * gradients of biases, scales and shifts, and the updates of all these. Nodes below `forward_end` are the forward
 * pass's. The step itself computes what it computes without. `points` is the caller's to finish, also on failure. */
bd_status bd_measure_append(bd_graph *graph, bd_tensor forward_end, const bd_layout *layout, const bd_update *updates,
                            bd_measure_points *points, bd_error *error);
void bd_measure_finish(bd_measure_points *points);

/* What a run of that graph leaves: so many bytes of F32. bd_measure_read enqueues their reading behind it; `event` as
 * of bd_backend.buffer_read. */
size_t bd_measure_size(const bd_measure_points *points);
bd_status bd_measure_read(bd_store *store, const bd_measure_points *points, float *values, bd_event **event,
                          bd_error *error);
/* Adds up what of it belongs to one layer and kind, and takes the step's loss scale off the norms of gradients.
 * `measurements` holds points->count; *count of them are filled, in the order of the graph. */
bd_status bd_measure_evaluate(const bd_measure_points *points, const float *values, double loss_scale,
                              bd_measurement *measurements, size_t *count, bd_error *error);

#endif
