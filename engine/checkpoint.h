/* Checkpoints: everything that a run needs to go on as if it had never stopped, in one safetensors file. Parameters
 * have their own names, so that other programs find them; "master/NAME", "momentum/NAME" and so on are what the
 * optimizer keeps for them, "control" is the control block. Metadata say what the run was; of a text also "tokens",
 * "context" and "vocabulary" (bd_vocabulary_write). */
#ifndef BINADE_ENGINE_CHECKPOINT_H
#define BINADE_ENGINE_CHECKPOINT_H

#include "control.h"
#include "layout.h"
#include "program.h"
#include "safetensors.h"
#include <binade/train.h>

typedef struct bd_run_state {
    uint32_t control[BD_CONTROL_BYTES / 4];
    uint64_t seed;
} bd_run_state;

/* Atomic: on failure the old file stays. The device must be idle. */
bd_status bd_checkpoint_save(const char *path, bd_store *store, const bd_layout *layout, const bd_train_params *params,
                             const bd_run_state *state, bd_error *error);
/* Whether the file is a checkpoint, and whether one of its tensors has that format and shape; the errors say what is
 * there. */
bd_status bd_checkpoint_check(const char *path, const bd_safetensors *file, bd_error *error);
bd_status bd_checkpoint_check_tensor(const char *path, const bd_safetensors *file, const char *name, bd_format format,
                                     const bd_shape *shape, const bd_safe_tensor **tensor, bd_error *error);
/* Checks the whole file against model, policy, optimizer, batch and data set before anything on the device changes. */
bd_status bd_checkpoint_load(const char *path, bd_store *store, const bd_layout *layout, const bd_train_params *params,
                             bd_run_state *state, bd_error *error);
/* Weights and running statistics of a checkpoint of the same model in whatever policy, rounded to this one's formats.
 * What the file has not stays. */
bd_status bd_checkpoint_take_weights(const char *path, bd_store *store, const bd_layout *layout,
                                     const bd_train_params *params, bd_error *error);

#endif
