/* Opening a data set with a bar on the terminal while it is read and decoded. */
#ifndef BINADE_APPS_DATA_H
#define BINADE_APPS_DATA_H

#include "progress.h"
#include <binade/data.h>

bd_status data_open(progress *shown, const char *name, bd_dataset **dataset, bd_error *error);

/* What --data takes, for help texts. */
#define DATA_HELP "fashion-mnist, a folder (IDX, CIFAR or images) or an archive (CIFAR or images) (fashion-mnist)"

#endif
