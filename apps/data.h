/* Opening a data set with a bar on the terminal while it is read and decoded. */
#ifndef BINADE_APPS_DATA_H
#define BINADE_APPS_DATA_H

#include "progress.h"
#include <binade/data.h>

/* `tokens`: of a text; BD_TOKENS_NONE where nothing was said of them, and else the data set must be a text. */
bd_status data_open(progress *shown, const char *name, bd_tokens tokens, bd_dataset **dataset, bd_error *error);

/* What --data takes, for help texts. */
#define DATA_HELP                                                                                                      \
    "fashion-mnist, a folder (IDX, CIFAR or images), an archive (CIFAR or images) or a text file (fashion-mnist)"

#endif
