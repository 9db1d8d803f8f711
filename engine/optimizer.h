/* Optimizers as nodes on flat vectors. */
#ifndef BINADE_ENGINE_OPTIMIZER_H
#define BINADE_ENGINE_OPTIMIZER_H

#include "layout.h"
#include <binade/train.h>

/* Checks every number of the optimizer and of its schedule. */
bd_status bd_optimizer_check(const bd_optimizer *optimizer, bd_error *error);
/* "sgd", "adam", "adamw". */
const char *bd_optimizer_name(bd_optimizer_kind kind);
/* What Kahan's summation keeps beside the weights, where the policy asks for it. */
#define BD_OPTIMIZER_COMPENSATION "compensation"
/* Names of the vectors that it keeps beside the weights, NULL-terminated: "momentum", or the two moments. */
const char *const *bd_optimizer_states(const bd_optimizer *optimizer);

/* The gradients of all parameters, one vector a group: packs[group_count]. gradients[i] is that of slot i, BD_NONE
 * where the loss does not depend on it. */
void bd_optimizer_pack(bd_graph *graph, const bd_layout *layout, const bd_tensor *gradients, bd_tensor *packs);
/* How many elements of the packs are not finite, as a scalar. */
bd_tensor bd_optimizer_nonfinite(bd_graph *graph, const bd_layout *layout, const bd_tensor *packs);
/* A group's weights before and after a step, their gradients, packed, and what was to be taken from them. */
typedef struct bd_update {
    bd_tensor before, gradients, change, after;
} bd_update;

/* Appends the update of every group. `step` is the CONTROL_STEP: what it wrote is read after it. `updates` gets one a
 * group. */
void bd_optimizer_append(bd_graph *graph, const bd_layout *layout, const bd_optimizer *optimizer,
                         const bd_tensor *packs, bd_tensor step, bd_update *updates);

#endif
