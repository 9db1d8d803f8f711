#include "data.h"

static void on_progress(void *user, const char *what, double fraction)
{
    progress_data(user, what, fraction);
}

static void on_warning(void *user, const char *line)
{
    progress_say(user, "%s", line);
}

bd_status data_open(progress *shown, const char *name, bd_dataset **dataset, bd_error *error)
{
    bd_status status = bd_dataset_load(
        &(bd_dataset_params){ .name = name, .on_progress = on_progress, .on_warning = on_warning, .user = shown },
        dataset, error);
    progress_clear(shown);
    return status;
}
