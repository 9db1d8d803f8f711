/* What the emitter's files share beyond emit.h: names, coordinates in images and loops over windows. */
#ifndef BINADE_ENGINE_EMIT_PARTS_H
#define BINADE_ENGINE_EMIT_PARTS_H

#include "emit.h"

#include <stdio.h>

/* A name not used before: the letter and a number. */
const char *bd_emit_fresh(bd_emitter *emitter, char kind);
/* The four coordinates of an NHWC index. */
void bd_emit_coordinates(bd_emitter *emitter, const bd_shape *shape, const char *index, const char *at[4]);
/* The index of (n, y, x, c); y and x may be int. */
const char *bd_emit_nhwc(bd_emitter *emitter, const bd_shape *shape, const char *n, const char *y, const char *x,
                         const char *c);
/* for-loops over a window's taps, kyS and kxS for suffix S, with the input's row yS and column xS as int, guarded to lie
 * inside the image; the two closing braces are the caller's. */
void bd_emit_window_loops(bd_emitter *emitter, const bd_window *window, const bd_shape *input, const char *oy,
                          const char *ox, const char *suffix);
/* for-loops over the taps kyS, kxS by which some window's output, oyS and oxS as uint, reads the input's row y and column x,
 * for an output of this shape; the two closing braces are the caller's. */
void bd_emit_cover_loops(bd_emitter *emitter, const bd_window *window, const bd_shape *output, const char *y,
                         const char *x, const char *suffix);

/* Depthwise convolution and its gradients: the name of the node's value at `index`. */
const char *bd_emit_depthwise(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index);
const char *bd_emit_depthwise_data(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index);
const char *bd_emit_depthwise_weight(bd_emitter *emitter, const bd_graph *graph, const bd_node *node,
                                     const char *index);

#endif
