#include "metrics.h"
#include "app.h"
#include "json.h"
#include "rounding.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

const char *event_name(bd_event_kind kind)
{
    static const char *const names[] = { "start", "progress", "measured", "epoch", "done" };
    return names[kind];
}

static void set_whole(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static void set_number(json_t *object, const char *name, double value)
{
    json_object_set_new(object, name, json_number(value));
}

void event_add_plan(json_t *object, const bd_train_event *e)
{
    set_whole(object, "dispatches_per_step", (uint64_t)e->dispatches_per_step);
    set_whole(object, "planned_device_bytes", e->planned_device_bytes);
    set_whole(object, "dataset_bytes", e->dataset_bytes);
    set_whole(object, "measuring_bytes", e->measuring_bytes);
    set_whole(object, "flops_per_step", e->flops_per_step);
    set_whole(object, "bytes_per_step", e->bytes_per_step);
}

static void add_training(json_t *object, const bd_train_event *e)
{
    set_number(object, "train_loss", e->train_loss);
    set_number(object, "train_accuracy", e->train_accuracy);
    if (e->kind != BD_TRAIN_PROGRESS) {
        set_number(object, "test_loss", e->test_loss);
        set_number(object, "test_accuracy", e->test_accuracy);
    }
    set_number(object, "images_per_second", e->images_per_second);
    if (isfinite(e->tokens_per_second))
        set_number(object, "tokens_per_second", e->tokens_per_second);
    set_number(object, "step_ms", e->step_ms);
    set_number(object, "seconds", e->seconds);
    if (e->kind != BD_TRAIN_DONE)
        set_number(object, "eta_seconds", e->eta_seconds);
    json_object_set_new(object, "learning_rate", json_float((float)e->rate));
    set_number(object, "loss_scale", e->loss_scale);
    set_whole(object, "overflows", (uint64_t)e->overflows);
    set_whole(object, "nan_steps", (uint64_t)e->nan_steps);
}

json_t *event_json(const bd_train_event *e)
{
    json_t *object = json_object();
    set_whole(object, "format_version", APP_FORMAT_VERSION);
    json_object_set_new(object, "event", json_string(event_name(e->kind)));
    set_whole(object, "epoch", (uint64_t)e->epoch);
    set_whole(object, "epochs", (uint64_t)e->epochs);
    set_whole(object, "step", (uint64_t)e->step);
    set_whole(object, "steps", (uint64_t)e->steps);
    if (e->kind == BD_TRAIN_MEASURED)
        json_object_set_new(object, "measurements", rounding_list(e->measurements, e->measurement_count, true));
    else if (e->kind != BD_TRAIN_START)
        add_training(object, e);
    if (e->kind == BD_TRAIN_START || e->kind == BD_TRAIN_DONE)
        event_add_plan(object, e);
    if (e->kind == BD_TRAIN_DONE)
        set_whole(object, "peak_device_bytes", e->peak_device_bytes);
    if (e->kind == BD_TRAIN_EPOCH || e->kind == BD_TRAIN_DONE)
        json_object_set_new(object, "checkpoint", e->checkpoint ? json_text(e->checkpoint) : json_null());
    return object;
}

/* Locked until it is closed, so that two runs do not write into one record; where the file system has locks. */
static bd_status open_file(FILE **file, char **path, const char *folder, const char *name, bool append, bd_error *error)
{
    *path = app_format("%s/%s", folder, name);
    if (!*path)
        return bd_fail(error, BD_ERROR_MEMORY, "%s: no memory for a path", folder);
    const int descriptor = open(*path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
        close(descriptor);
        return bd_fail(error, BD_ERROR_FILE, "%s: another run is writing it; name another folder with --output", *path);
    }
    if (descriptor >= 0 && (append || !ftruncate(descriptor, 0)))
        *file = fdopen(descriptor, "a");
    if (*file)
        return BD_OK;
    const int reason = errno;
    if (descriptor >= 0)
        close(descriptor);
    return bd_fail(error, BD_ERROR_FILE, "%s: cannot write: %s", *path, strerror(reason));
}

static bool is_empty(FILE *file)
{
    struct stat info;
    return !fstat(fileno(file), &info) && info.st_size == 0;
}

static bd_status flush(FILE *file, const char *path, bd_error *error)
{
    return fflush(file) || ferror(file) ? bd_fail(error, BD_ERROR_FILE, "%s: cannot write: %s", path, strerror(errno))
                                        : BD_OK;
}

bd_status metrics_open(metrics *record, const char *folder, bool append, bd_error *error)
{
    *record = (metrics){ 0 };
    bd_status status = open_file(&record->lines, &record->lines_path, folder, "metrics.jsonl", append, error);
    if (!status)
        status = open_file(&record->table, &record->table_path, folder, "metrics.csv", append, error);
    if (status) {
        metrics_close(record);
        return status;
    }
    if (is_empty(record->table)) {
        fputs("event,epoch,step,seconds,train_loss,train_accuracy,test_loss,test_accuracy,images_per_second,step_ms,"
              "learning_rate,loss_scale,overflows\n",
              record->table);
    }
    status = flush(record->table, record->table_path, error);
    if (status)
        metrics_close(record);
    return status;
}

/* An empty cell where the value is not known. */
static void cell(FILE *file, double value)
{
    if (isfinite(value))
        fprintf(file, ",%.9g", value);
    else
        putc(',', file);
}

bd_status metrics_write(metrics *record, const bd_train_event *e, const json_t *json, bd_error *error)
{
    json_dumpf(json, record->lines, JSON_STYLE);
    putc('\n', record->lines);
    if (e->kind != BD_TRAIN_START && e->kind != BD_TRAIN_MEASURED) {
        fprintf(record->table, "%s,%lld,%lld", event_name(e->kind), (long long)e->epoch, (long long)e->step);
        const double cells[] = { e->seconds,           e->train_loss, e->train_accuracy, e->test_loss, e->test_accuracy,
                                 e->images_per_second, e->step_ms,    e->rate,           e->loss_scale };
        for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
            cell(record->table, cells[i]);
        fprintf(record->table, ",%lld\n", (long long)e->overflows);
    }
    bd_status status = flush(record->lines, record->lines_path, error);
    return status ? status : flush(record->table, record->table_path, error);
}

void metrics_close(metrics *record)
{
    if (record->lines)
        (void)fclose(record->lines); /* every write was flushed and checked */
    if (record->table)
        (void)fclose(record->table);
    free(record->lines_path);
    free(record->table_path);
    *record = (metrics){ 0 };
}
