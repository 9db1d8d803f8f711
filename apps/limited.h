/* --limit: devices that are made to look smaller, for every subcommand that opens some. */
#ifndef BINADE_APPS_LIMITED_H
#define BINADE_APPS_LIMITED_H

#include "options.h"
#include "progress.h"
#include <binade/device.h>

/* The option's row; `TARGET` is a const char ** that stays NULL where it is not named. */
#define LIMIT_ROW(TARGET)                                                                                              \
    OPTION("limit", TEXT, TARGET, "LIMITS",                                                                            \
           "make devices look smaller: minimum-vulkan, mali-g52, adreno-640, apple-m1, intel-uhd, or "                 \
           "shared=16K,workgroup=128,...")

/* bd_device_open and then bd_device_limit, where `limit` is neither NULL nor "". */
bd_status limited_open(const char *name, const char *limit, bd_device **device, bd_error *error);
/* The device that was named, else (NULL) the first one there is; never the reference without a word. */
bd_status limited_open_first(progress *shown, const char *name, const char *limit, bd_device **device, bd_error *error);

#endif
