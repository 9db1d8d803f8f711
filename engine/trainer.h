/* The inside of a trainer, for the files that share it: train.c makes it, run.c runs it, predict.c asks it,
 * train_plan.c tells what it will do, search.c finds out why it failed, calibrate.c what formats would cost,
 * sharpness.c how sharp the minimum is. */
#ifndef BINADE_ENGINE_TRAINER_H
#define BINADE_ENGINE_TRAINER_H

#include "checkpoint.h"
#include "feed.h"
#include "step.h"

/* A graph that runs over one part of the data set. */
typedef struct bd_stage {
    bd_feed_shape shape;
    bd_step_source source;
    bd_plan *plan;       /* until the program owns it */
    bd_program *program; /* NULL in a trainer without a device */
    bd_feed *feed;
} bd_stage;

struct bd_trainer {
    bd_train_params params; /* strings are owned */
    bd_device *device;      /* NULL: plans only */
    bd_target target;
    bd_stage train, test; /* test has neither plan nor program if there are no test examples */
    /* The training step that measures, where one is wanted. It has the training's feed. */
    bd_stage measured;
    bd_plan *
        starting; /* of a forward pass in which learned steps of operands find their start; NULL where there are none, or when it is done */
    bd_measure_points points;
    bd_measurement *measurements; /* points.count of them; NULL where nothing is measured */
    bd_layout layout;
    bd_store *store;
    uint32_t *order;    /* of the epoch */
    bd_run_state state; /* as the host knows it; exact while the device is idle */
    int64_t steps_per_epoch, steps;
    int64_t rates_first; /* the step that the table of rates on the device begins with; -1: nothing is in it */
    uint64_t arena_bytes, planned_bytes, dataset_bytes; /* the arena that is reserved; planned is without measuring */
    uint64_t measuring_arena_bytes, measuring_bytes;    /* what measuring adds: to the arena, and with its program */
    uint64_t base_bytes, peak_bytes; /* allocated on the device before this trainer, and at most by it */
    bool saved;                      /* a checkpoint was written to params.checkpoint */
    bool failed;                     /* a value was not finite: the programs are gone */
};

/* The plan of a stage, wherever it is. */
static inline const bd_plan *bd_stage_plan(const bd_stage *stage)
{
    return stage->program ? bd_program_plan(stage->program) : stage->plan;
}

/* Fills what does not change while training goes on. */
void bd_trainer_describe(const bd_trainer *trainer, bd_train_event *event);
/* Sees to it that the table of rates holds those of *steps steps from `step` on, or of as many as *steps becomes. */
bd_status bd_trainer_prepare_rates(bd_trainer *trainer, int64_t step, int64_t *steps, bd_error *error);
/* Puts the examples of an epoch in their order. */
bd_status bd_trainer_set_epoch(bd_trainer *trainer, int64_t epoch, bd_error *error);
/* Counts what is allocated now. */
void bd_trainer_measure(bd_trainer *trainer);
/* Reads the control block; the device must be idle. */
bd_status bd_trainer_read_control(bd_trainer *trainer, bd_error *error);

/* BD_OK if the trainer can compute: it has a device, and no run of it ended in a value that is not finite. */
bd_status bd_trainer_check_ready(const bd_trainer *trainer, bd_error *error);

/* The plan of a graph that runs a few times. Fused, since few kernels are compiled faster than many; but a kernel that
 * fills many variables may need more buffers than the device allows, and then unfused. Tuning would take longer than
 * the steps. */
bd_status bd_trainer_plan_once(const bd_trainer *trainer, const bd_graph *graph, bd_plan **plan, bd_error *error);

/* Runs a graph once on the batch that the control block points at, in place of the trainer's own programs, which are
 * gone then: `failed` is set. Its variables are the store's. */
bd_status bd_trainer_run_once(bd_trainer *trainer, const bd_graph *graph, bd_error *error);

/* Runs the failed step again and fills `error` with the step and the first layer and operation whose result
 * is not finite; returns BD_ERROR_NUMERIC, or what kept it from finding out. The trainer cannot go on after it. */
bd_status bd_trainer_explain(bd_trainer *trainer, bd_error *error);

/* ---- a trainer that stands for many: each client of federated learning in turn ---- */

/* The tensors of what a model has learned, parameters first, then running statistics; false beyond the last. */
bool bd_trainer_weight(const bd_trainer *trainer, size_t index, const char **name, int64_t *elements);
/* All of them, one behind the other: what the optimizer updates, master weights where the policy has them; and back,
 * rounded to the trainer's formats, to nearest even. The device must be idle. */
bd_status bd_trainer_read_weights(bd_trainer *trainer, float *values, bd_error *error);
bd_status bd_trainer_write_weights(bd_trainer *trainer, const float *values, bd_error *error);

/* All but weights and statistics as before a first step: optimizer state, loss scale, random numbers from `seed` on.
 * The schedule stands at `step`. The device must be idle. */
bd_status bd_trainer_restart(bd_trainer *trainer, uint64_t seed, int64_t step, bd_error *error);
/* Takes `steps` steps, an epoch's at most, on the training examples order[0] to order[steps * batch - 1], and waits;
 * the control block in trainer->state has their sums then. As bd_trainer_run on values that are not finite. */
bd_status bd_trainer_take_steps(bd_trainer *trainer, const uint32_t *order, int64_t steps, bd_error *error);

static inline float bd_control_float(const uint32_t *control, enum bd_control_word word)
{
    union {
        uint32_t word;
        float value;
    } bits = { control[word] };
    return bits.value;
}

static inline void bd_control_set_float(uint32_t *control, enum bd_control_word word, float value)
{
    union {
        float value;
        uint32_t word;
    } bits = { value };
    control[word] = bits.word;
}

#endif
