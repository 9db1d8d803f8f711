/* Learning-rate schedules, as a table that the device reads. */
#ifndef BINADE_ENGINE_SCHEDULE_H
#define BINADE_ENGINE_SCHEDULE_H

#include <binade/train.h>

/* The rate of a step, counted from 0. Warm-up rises from 0 in equal stages and reaches the full rate at step
 * `warmup_steps`, without a step at rate 0: (step + 1) / (warmup_steps + 1). After it STEP counts epochs of the whole
 * run, and COSINE falls from the rate to final_rate over the steps that are left. */
double bd_schedule_rate(const bd_optimizer *optimizer, int64_t step, int64_t steps, int64_t steps_per_epoch);
/* How many steps there are until the rate does not change any more. At least 1. */
int64_t bd_schedule_length(const bd_optimizer *optimizer, int64_t steps);
/* The table's entries: all of them, or as many as are kept at a time (256 KiB); the trainer moves them on. */
enum { BD_SCHEDULE_WINDOW = 65536 };
int64_t bd_schedule_entries(const bd_optimizer *optimizer, int64_t steps);
/* The first step of the part of the schedule that `step` lies in. */
int64_t bd_schedule_first(const bd_optimizer *optimizer, int64_t steps, int64_t step);

#endif
