#include "data.h"

static void on_progress(void *user, const char *what, double fraction)
{
    progress_data(user, what, fraction);
}

static void on_warning(void *user, const char *line)
{
    progress_say(user, "%s", line);
}

bd_status data_open(progress *shown, const char *name, bd_tokens tokens, bd_dataset **dataset, bd_error *error)
{
    const bd_dataset_params params = {
        .name = name, .tokens = tokens, .on_progress = on_progress, .on_warning = on_warning, .user = shown
    };
    bd_status status = bd_dataset_load(&params, dataset, error);
    progress_clear(shown);
    if (!status && tokens && !(*dataset)->tokens)
        status = bd_fail(error, BD_ERROR_ARGUMENT, "--tokens is for texts, and %s has images", (*dataset)->name);
    return status;
}
