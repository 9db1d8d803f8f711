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
} bd_measure_point;

typedef struct bd_measure_points {
    bd_measure_point *points; /* owned */
    int count;
} bd_measure_points;

/* Appends, to a training step that has its formats, what measures it: of each matrix product and convolution in a layer its result once
 * more in F32 beside the one that is used, each operand that is rounded before it is multiplied, and the updates of weights
 * with two and more dimensions. Nodes below `forward_end` are the forward pass's. The step itself computes what it computes without. `points` is the caller's to finish, also on failure. */
bd_status bd_measure_append(bd_graph *graph, bd_tensor forward_end, const bd_layout *layout, const bd_update *updates,
                            bd_measure_points *points, bd_error *error);
void bd_measure_finish(bd_measure_points *points);

/* Reads what the last run of that graph measured, adds up what belongs to one layer and kind, and takes the loss scale off the
 * norms of gradients. `measurements` holds points->count; *count of them are filled, in the order of the graph. */
bd_status bd_measure_read(bd_store *store, const bd_measure_points *points, double loss_scale,
                          bd_measurement *measurements, size_t *count, bd_error *error);

#endif
