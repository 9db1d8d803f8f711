/* Windows that slide over images, of convolutions and poolings. */
#ifndef BINADE_ENGINE_WINDOW_H
#define BINADE_ENGINE_WINDOW_H

#include "node.h"

/* The shape [n, oh, ow, channels] that the window makes of x [n, h, w, c]: oh = (h + pads - size) / stride + 1.
 * False after an error, which is recorded. */
bool bd_window_shape(bd_graph *graph, bd_op op, const bd_shape *x, const bd_window *window, int64_t channels,
                     bd_shape *shape);

#endif
