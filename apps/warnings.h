/* What a run that degrades is told by what was measured in it: where, and what mends it. */
#ifndef BINADE_APPS_WARNINGS_H
#define BINADE_APPS_WARNINGS_H

#include <binade/train.h>

/* Of all zeros at first. Each kind of trouble is told once, for the layer that has most of it. */
typedef struct warnings {
    bool told[3];
} warnings;

/* Calls `say` for each trouble that begins with this event, of kind BD_TRAIN_MEASURED, of a run with this policy. */
void warnings_check(warnings *self, const bd_train_event *event, const bd_precision *precision,
                    void (*say)(void *user, const char *text), void *user);

#endif
