/* Checkpoints: everything that a run needs to go on as if it had never stopped, in one safetensors file. Parameters
 * have their own names, so that other programs find them; "master/NAME", "momentum/NAME" and so on are what the
 * optimizer keeps for them, "control" is the control block. */
#ifndef BINADE_ENGINE_CHECKPOINT_H
#define BINADE_ENGINE_CHECKPOINT_H

#include "control.h"
#include "layout.h"
#include "program.h"
#include <binade/train.h>

typedef struct bd_run_state {
    uint32_t control[BD_CONTROL_BYTES / 4];
    uint64_t seed;
} bd_run_state;

/* Atomic: on failure the old file stays. The device must be idle. */
bd_status bd_checkpoint_save(const char *path, bd_store *store, const bd_layout *layout, const bd_train_params *params,
                             const bd_run_state *state, bd_error *error);
/* Checks the whole file against model, policy, optimizer, batch and data set before anything on the device changes. */
bd_status bd_checkpoint_load(const char *path, bd_store *store, const bd_layout *layout, const bd_train_params *params,
                             bd_run_state *state, bd_error *error);

#endif
