/* The files by which a comparison that was interrupted goes on, in DIR/checkpoints: of a run that goes on its
 * checkpoint, and of FP32 runs that are done the checkpoint and the test set's logits, with which the other precisions
 * are compared. Gone when everything is done. */
#ifndef BINADE_APPS_COMPARE_FILES_H
#define BINADE_APPS_COMPARE_FILES_H

#include "results.h"
#include <dirent.h>

typedef struct compare_files {
    DIR *output; /* locked until it is closed, so that two comparisons do not replace each other's files */
    char *results, *report;
    char *folder;           /* of the following */
    char *checkpoint;       /* of the run that was chosen last */
    char *weights, *logits; /* of the FP32 run of its seed, the first being its checkpoint; NULL if there is none */
} compare_files;

/* Makes the folders. BD_ERROR_FILE where another comparison writes there. */
bd_status compare_files_open(compare_files *self, const char *output, bd_error *error);
void compare_files_close(compare_files *self);

/* Sets the paths of a run of `row`. */
bd_status compare_files_choose(compare_files *self, const comparison *results, const combination *row,
                               const run_result *run, bd_error *error);
/* Whether there is a checkpoint that the run can go on from: a whole file, of a step that the run's history reaches. */
bool compare_files_can_resume(const compare_files *self, const run_result *run, int64_t steps_per_epoch);
/* Takes the run's checkpoint away, and its logits if it has some; `done`: those that others need stay. */
void compare_files_forget(const compare_files *self, const comparison *results, const combination *row, bool done);
/* When all runs are done: takes away what is left, and the folder if it is empty then. */
void compare_files_clean(compare_files *self, const comparison *results);

#endif
