/* Chooses among the ways to do a contraction by measuring them on the device. */
#ifndef BINADE_ENGINE_TUNER_H
#define BINADE_ENGINE_TUNER_H

#include "program.h"

/* Gives the plan's work-group contractions the tiles, or the backend's library, that took the least time on this device
 * for their operation, sizes and formats. What is not in the device's cache is measured with random operands, the most
 * work first, as plan->tuning says, and written there; so is the guess for what a quick tuning had no time for. Only
 * results within the bound of their sums count. It never fails: where something goes wrong, a kernel stays as it was.
 * CPU drivers are left alone, since compiling a candidate takes them longer than it could win. `progress`, which may be
 * NULL, is told before each contraction. */
void bd_tune(bd_device *device, bd_plan *plan, void (*progress)(void *user, int done, int total), void *user);

#endif
