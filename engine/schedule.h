/* Learning-rate schedules, as a table that the device reads. */
#ifndef BINADE_ENGINE_SCHEDULE_H
#define BINADE_ENGINE_SCHEDULE_H

#include <binade/train.h>

/* The rate of a step, counted from 0. Warm-up rises from 0 in equal stages and reaches the full rate at step
 * `warmup_steps`, without a step at rate 0: (step + 1) / (warmup_steps + 1). After it STEP counts epochs of the whole
 * run, and COSINE falls from the rate to final_rate over the steps that are left. */
double bd_schedule_rate(const bd_optimizer *optimizer, int64_t step, int64_t steps, int64_t steps_per_epoch);
/* Entries that the table needs: from its last one on the rate does not change. At least 1. */
int64_t bd_schedule_length(const bd_optimizer *optimizer, int64_t steps);

#endif
