/* Turns nodes into statements of the subset that OpenCL C and GLSL share: "float v3 = v1 + v2;". A value is a node at
 * an index; an index is the name of a `uint` (or a literal) that is the linear index in the node's shape. Views only
 * change the index, so they cost nothing. Every value and index is emitted once in its scope. */
#ifndef BINADE_ENGINE_EMIT_H
#define BINADE_ENGINE_EMIT_H

#include "kernel.h"
#include "text.h"

typedef struct bd_emitter bd_emitter;

/* `kernel` may be NULL for index questions only (bd_emit_view). */
bd_emitter *bd_emitter_create(const bd_plan *plan, const bd_kernel *kernel, bd_dialect dialect);
void bd_emitter_destroy(bd_emitter **emitter);
/* What was emitted so far; the caller may append to it. */
bd_text *bd_emitter_text(bd_emitter *emitter);
/* True if memory ran out somewhere: the text is not to be used. */
bool bd_emitter_failed(const bd_emitter *emitter);

/* Values and indices emitted between open and close are forgotten at close: a C block. */
int bd_emit_open(bd_emitter *emitter);
void bd_emit_close(bd_emitter *emitter, int mark);

/* What follows is a loop, up to the end, its turns in scopes of their own: indices made of the `constants` (a list that
 * ends with NULL) alone, and values there, are written in front of it, and stay known. They must be good where the loop
 * has no turn, too. */
void bd_emit_begin_loop(bd_emitter *emitter, const char *const *constants);
void bd_emit_end_loop(bd_emitter *emitter);

/* Makes known that `expression` already has a name, as `i / 10u` is `row` in a row kernel. */
void bd_emit_know_index(bd_emitter *emitter, const char *expression, const char *name);
/* The name that it has; NULL where it has none. */
const char *bd_emit_known_index(const bd_emitter *emitter, const char *expression);
/* The name of an index expression, emitted if it is new. Valid until the emitter is destroyed. */
const char *bd_emit_index(bd_emitter *emitter, const char *format, ...) BD_PRINTF(2, 3);
/* The index in the input of a BROADCAST, RESHAPE, PERMUTE or SLICE node for an index in the node. */
const char *bd_emit_view(bd_emitter *emitter, const bd_node *view, const bd_shape *input, const char *index);

/* Neighbours: the kernel's `width` indices from `base` on, a multiple of the width, which one work-item computes. The
 * index with that number, as text; from then on it is known to be one of them. Where their elements lie side by side in
 * a buffer they are loaded and stored at once. */
const char *bd_emit_lane(bd_emitter *emitter, const char *base, uint32_t number);
/* All neighbours of an index that is one; else itself, alone. Returns how many. */
uint32_t bd_emit_lanes(bd_emitter *emitter, const char *index, const char *lanes[BD_WIDTH]);

/* A window's taps at most where they are computed together. */
enum { BD_WINDOW_TAPS = 9 };
/* Makes known that these indices are the pixels of one window of `node`, row by row, which was pooled to the element
 * `pooled`. Each may have neighbours. The names must mean this wherever they are used. */
void bd_emit_window(bd_emitter *emitter, const bd_node *node, const char *const *taps, const char *pooled);
/* The gradient of pooling among the kernel's nodes, of its elements' shape, whose windows lie side by side and cover
 * the image; NULL where there is none, or where windows have more than BD_WINDOW_TAPS taps. */
const bd_node *bd_pooled_in_tiles(const bd_graph *graph, const bd_kernel *kernel);

/* Makes known that the node's value at `index` is in the variable `name`. */
void bd_emit_know(bd_emitter *emitter, bd_tensor node, const char *index, const char *name);
/* The name of the node's value at `index`, a 32-bit float rounded to the node's format. */
const char *bd_emit_value(bd_emitter *emitter, bd_tensor node, const char *index);
/* Stores the value at `index`, and those of its neighbours (bd_emit_lane) in one access where that can be, into the
 * node's operand (for an ASSIGN: the variable's). */
void bd_emit_store(bd_emitter *emitter, bd_tensor node, const char *index);
/* Philox's bits for the element `index` of a stream in this step, or, `after_step`, behind the control block's update,
 * where the next step's number stands. Elements 4 n to 4 n + 3 have the words of one block, which neighbours share. */
const char *bd_emit_random(bd_emitter *emitter, uint32_t stream, bool after_step, const char *index);
/* Rounds the variable `name`, the node's value at `index`, in place: "v = bd_round_f16(v);", or nothing for F32. */
void bd_emit_round(bd_emitter *emitter, const bd_node *node, const char *index, const char *name);

/* Follows views down to what they show; `steps` (may be NULL) gets the views from the outside in, at most `most`. */
bd_tensor bd_view_base(const bd_graph *graph, bd_tensor tensor);
/* The stored node that a contraction's operand is, element by element: through reshapes and casts that change
 * nothing. */
bd_tensor bd_stored_operand(const bd_graph *graph, bd_tensor tensor);
/* True for nodes that are evaluated wherever they are read: sources other than variables and batches, views, scalar
 * arithmetic on nothing but those, and what is marked to be recomputed. */
bool bd_is_inline(const bd_graph *graph, bd_tensor tensor);
/* Does the kernel load and store several elements of the operand at once? */
bool bd_is_wide(const bd_graph *graph, const bd_kernel *kernel, const bd_operand *operand);
/* Number of the operand that holds the node; -1 if none. */
int bd_kernel_operand(const bd_kernel *kernel, bd_tensor node);

#endif
