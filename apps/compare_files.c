#include "compare_files.h"
#include "app.h"
#include "engine/safetensors.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

/* Where the file system has locks. */
static bd_status lock(compare_files *self, const char *output, bd_error *error)
{
    self->output = opendir(output);
    return self->output && flock(dirfd(self->output), LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK
               ? bd_fail(error, BD_ERROR_FILE,
                         "%s: another comparison is writing there; name another folder with --output", output)
               : BD_OK;
}

bd_status compare_files_open(compare_files *self, const char *output, bd_error *error)
{
    self->results = app_format("%s/results.json", output);
    self->report = app_format("%s/report.html", output);
    self->folder = app_format("%s/checkpoints", output);
    if (!self->results || !self->report || !self->folder)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for paths");
    bd_status status = app_make_folders(self->folder, error);
    return status ? status : lock(self, output, error);
}

void compare_files_close(compare_files *self)
{
    free(self->results);
    free(self->report);
    free(self->folder);
    free(self->checkpoint);
    free(self->weights);
    free(self->logits);
    if (self->output)
        closedir(self->output);
    *self = (compare_files){ 0 };
}

/* Rows are named by their numbers, since a precision may hold what a file's name may not; --resume makes sure that they
 * are the same rows. */
static char *path_of(const compare_files *self, const comparison *results, const combination *row, int64_t seed,
                     const char *kind)
{
    return app_format("%s/row%td-seed%lld.%s", self->folder, row - results->rows, (long long)seed, kind);
}

bd_status compare_files_choose(compare_files *self, const comparison *results, const combination *row,
                               const run_result *run, bd_error *error)
{
    const combination *base = comparison_base(results, row);
    free(self->checkpoint);
    free(self->weights);
    free(self->logits);
    self->checkpoint = path_of(self, results, row, run->seed, "safetensors");
    self->weights = base ? path_of(self, results, base, run->seed, "safetensors") : NULL;
    self->logits = base ? path_of(self, results, base, run->seed, "logits") : NULL;
    return self->checkpoint && (!base || (self->weights && self->logits))
               ? BD_OK
               : bd_fail(error, BD_ERROR_MEMORY, "no memory for paths");
}

bool compare_files_can_resume(const compare_files *self, const run_result *run, int64_t steps_per_epoch)
{
    bd_safetensors *file = NULL;
    if (!run->epoch_count || bd_safetensors_read(self->checkpoint, &file, NULL))
        return false;
    const char *step = bd_safetensors_metadata(file, "step");
    /* Half a step more, since files round. */
    const double reached = run->epochs[run->epoch_count - 1].epoch * (double)steps_per_epoch + 0.5;
    const bool can = step && strtod(step, NULL) <= reached;
    bd_safetensors_close(&file);
    return can;
}

void compare_files_forget(const compare_files *self, const comparison *results, const combination *row, bool done)
{
    const bool is_base = comparison_base(results, row) == row;
    if (is_base && done)
        return;
    unlink(self->checkpoint);
    if (is_base)
        unlink(self->logits);
}

void compare_files_clean(compare_files *self, const comparison *results)
{
    for (size_t i = 0; i < results->row_count; i++)
        for (int64_t s = 0; s < results->seeds; s++)
            if (!compare_files_choose(self, results, &results->rows[i], &results->rows[i].runs[s], NULL))
                compare_files_forget(self, results, &results->rows[i], false);
    rmdir(self->folder);
}
