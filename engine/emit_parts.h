/* What the emitter's files share beyond emit.h: names, coordinates in images and loops over windows. */
#ifndef BINADE_ENGINE_EMIT_PARTS_H
#define BINADE_ENGINE_EMIT_PARTS_H

#include "emit.h"

#include <stdio.h>

/* A name not used before: the letter and a number. */
const char *bd_emit_fresh(bd_emitter *emitter, char kind);
/* A word of the control block of training, as the kernel reads it; and whether the kernel runs behind its update. */
const char *bd_emit_training_word(bd_emitter *emitter, unsigned number);
bool bd_emit_after_step(const bd_emitter *emitter);
/* The name of a value of `format` as `target` can store it: rounded, if that has not all its values. */
const char *bd_emit_storable(bd_emitter *emitter, bd_format target, bd_format format, const char *value);
/* The four coordinates of an NHWC index. */
void bd_emit_coordinates(bd_emitter *emitter, const bd_shape *shape, const char *index, const char *at[4]);
/* The index of (n, y, x, c); y and x may be int. */
const char *bd_emit_nhwc(bd_emitter *emitter, const bd_shape *shape, const char *n, const char *y, const char *x,
                         const char *c);
/* for-loops over a window's taps, kyS and kxS for suffix S, with the input's row yS and column xS as int, guarded to
 * lie inside the image; the two closing braces are the caller's. */
void bd_emit_window_loops(bd_emitter *emitter, const bd_window *window, const bd_shape *input, const char *oy,
                          const char *ox, const char *suffix);
/* for-loops over the taps kyS, kxS by which some window's output, oyS and oxS as uint, reads the input's row y and
 * column x, for an output of this shape; the two closing braces are the caller's. */
void bd_emit_cover_loops(bd_emitter *emitter, const bd_window *window, const bd_shape *output, const char *y,
                         const char *x, const char *suffix);

/* Index / divisor and index % divisor. Neighbours (bd_emit_lane) have one quotient and neighbouring remainders if the
 * divisor is a whole number of widths. */
const char *bd_emit_quotient(bd_emitter *emitter, const char *index, int64_t divisor);
const char *bd_emit_remainder(bd_emitter *emitter, const char *index, int64_t divisor);
/* The index of channel `c`, of so many, where the first one's is `first`. */
const char *bd_emit_channel(bd_emitter *emitter, const char *first, int64_t channels, const char *c);

/* The neighbours of an index in an NHWC shape that are channels of one pixel, and so are computed together: their
 * indices and channels, the pixel's coordinates, and the variables that get their values. Mostly it is the index
 * alone. */
typedef struct bd_pixels {
    uint32_t count;
    const char *n, *y, *x, *indices[BD_WIDTH], *channels[BD_WIDTH], *values[BD_WIDTH];
} bd_pixels;
/* Declares the variables, with the value `start`. */
void bd_emit_pixels(bd_emitter *emitter, const bd_node *node, const char *index, const char *start, bd_pixels *pixels);
/* Rounds the values and makes them known; the one at `index`. */
const char *bd_emit_know_pixels(bd_emitter *emitter, const bd_node *node, const char *index, const bd_pixels *pixels);

/* A window that was made known, by its pixels. */
typedef struct bd_known_window {
    const bd_node *node;
    const char *taps[BD_WINDOW_TAPS], *pooled;
    uint32_t count;
} bd_known_window;
/* The one of which `index` or its neighbour is a pixel, of a node with the same image and windows; NULL if none is
 * known. */
const bd_known_window *bd_emit_window_of(const bd_emitter *emitter, const bd_node *node, const char *index);

/* Window operations and their gradients: the name of the node's value at `index`. */
const char *bd_emit_pool(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index);
const char *bd_emit_pool_grad(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index);
const char *bd_emit_depthwise(bd_emitter *emitter, const bd_graph *graph, const bd_node *node, const char *index);
const char *bd_emit_depthwise_weight(bd_emitter *emitter, const bd_graph *graph, const bd_node *node,
                                     const char *index);

#endif
