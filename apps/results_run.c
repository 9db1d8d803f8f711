/* A run as JSON, and back. */
#include "app.h"
#include "json.h"
#include "results.h"
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char *const states[] = { "not_run", "running", "done", "failed", "interrupted" };
enum { STATE_COUNT = sizeof states / sizeof *states };

/* A number of a structure; whole ones are int64_t or uint64_t there, others double. */
typedef struct number {
    const char *key;
    size_t offset;
    bool whole;
} number;

static const number result_numbers[] = {
    { "test_accuracy", offsetof(bd_train_event, test_accuracy), false },
    { "test_loss", offsetof(bd_train_event, test_loss), false },
    { "images_per_second", offsetof(bd_train_event, images_per_second), false },
    { "step_ms", offsetof(bd_train_event, step_ms), false },
    { "dispatches_per_step", offsetof(bd_train_event, dispatches_per_step), true },
    { "planned_device_bytes", offsetof(bd_train_event, planned_device_bytes), true },
    { "peak_device_bytes", offsetof(bd_train_event, peak_device_bytes), true },
    { "dataset_bytes", offsetof(bd_train_event, dataset_bytes), true },
    { "overflows", offsetof(bd_train_event, overflows), true },
    { "loss_scale", offsetof(bd_train_event, loss_scale), false },
};
static const number epoch_numbers[] = {
    { "epoch", offsetof(epoch_result, epoch), false },
    { "train_loss", offsetof(epoch_result, train_loss), false },
    { "train_accuracy", offsetof(epoch_result, train_accuracy), false },
    { "test_loss", offsetof(epoch_result, test_loss), false },
    { "test_accuracy", offsetof(epoch_result, test_accuracy), false },
};
static const number traffic_numbers[] = {
    { "bytes_down", offsetof(traffic, down), true },
    { "bytes_up", offsetof(traffic, up), true },
    { "bytes_in_f32", offsetof(traffic, single), true },
};
enum {
    TRAFFIC_NUMBERS = sizeof traffic_numbers / sizeof *traffic_numbers,
    RESULT_NUMBERS = sizeof result_numbers / sizeof *result_numbers,
    EPOCH_NUMBERS = sizeof epoch_numbers / sizeof *epoch_numbers
};

/* ---- writing ---- */

static void add_numbers(json_t *object, const void *from, const number *numbers, int count)
{
    for (int i = 0; i < count; i++) {
        const char *at = (const char *)from + numbers[i].offset;
        json_object_set_new(object, numbers[i].key,
                            numbers[i].whole ? json_integer(*(const int64_t *)at) : json_number(*(const double *)at));
    }
}

json_t *bins_to_json(const reliability_bin *bins)
{
    json_t *array = json_array();
    for (int b = 0; b < RELIABILITY_BINS; b++)
        json_array_append_new(array, json_pack("[I,o,o]", (json_int_t)bins[b].count, json_number(bins[b].confidence),
                                               json_number(bins[b].accuracy)));
    return array;
}

json_t *run_json(const run_result *run)
{
    json_t *object = json_pack("{s:s, s:I}", "state", states[run->state], "seed", (json_int_t)run->seed);
    if (run->state == RUN_WAITING)
        return object;
    if (run->state == RUN_FAILED)
        json_object_set_new(object, "reason", json_text(run->reason));
    json_object_set_new(object, "seconds", json_number(run->last.seconds));
    if (run->state == RUN_DONE) {
        json_t *measures = json_object();
        add_numbers(object, &run->last, result_numbers, RESULT_NUMBERS);
        if (run->sent.down)
            add_numbers(object, &run->sent, traffic_numbers, TRAFFIC_NUMBERS);
        for (int m = 0; m < MEASURE_COUNT; m++)
            json_object_set_new(measures, measure_infos[m].key, json_number(run->measures[m]));
        json_object_set_new(object, "measures", measures);
        json_object_set_new(object, "reliability", bins_to_json(run->bins));
    }
    json_t *epochs = json_array(), *points = json_array();
    for (int64_t i = 0; i < run->epoch_count; i++) {
        json_t *epoch = json_object();
        add_numbers(epoch, &run->epochs[i], epoch_numbers, EPOCH_NUMBERS);
        json_array_append_new(epochs, epoch);
    }
    for (int i = 0; i < run->training.count; i++)
        json_array_append_new(points, json_pack("[o,o]", json_number(run->training.points[i].epoch),
                                                json_number(run->training.points[i].loss)));
    json_object_set_new(object, "epochs", epochs);
    json_object_set_new(object, "training_curve", points); /* [epoch, train_loss] */
    if (run->rounding)
        json_object_set(object, "rounding", run->rounding);
    return object;
}

/* ---- reading ---- */

/* null is a number that is none. */
static bool read_double(const json_t *value, double *result)
{
    *result = json_is_number(value) ? json_number_value(value) : NAN;
    return json_is_number(value) || json_is_null(value);
}

static bool read_numbers(const json_t *object, void *to, const number *numbers, int count)
{
    bool whole = true;
    for (int i = 0; i < count && whole; i++) {
        const json_t *value = json_object_get(object, numbers[i].key);
        char *at = (char *)to + numbers[i].offset;
        if (!numbers[i].whole)
            whole = read_double(value, (double *)at);
        else if ((whole = json_is_integer(value)))
            *(int64_t *)at = json_integer_value(value);
    }
    return whole;
}

static bool read_bins(const json_t *array, reliability_bin *bins)
{
    bool whole = json_array_size(array) == RELIABILITY_BINS;
    for (size_t b = 0; b < RELIABILITY_BINS && whole; b++) {
        const json_t *bin = json_array_get(array, b), *count = json_array_get(bin, 0);
        bins[b].count = json_integer_value(count);
        whole = json_is_integer(count) && bins[b].count >= 0 && bins[b].count <= UINT32_MAX &&
                read_double(json_array_get(bin, 1), &bins[b].confidence) &&
                read_double(json_array_get(bin, 2), &bins[b].accuracy);
    }
    return whole;
}

static bool read_result(const json_t *object, run_result *run)
{
    const json_t *measures = json_object_get(object, "measures");
    bool whole = read_numbers(object, &run->last, result_numbers, RESULT_NUMBERS);
    if (json_object_get(object, traffic_numbers[0].key)) /* of a federation only */
        whole &= read_numbers(object, &run->sent, traffic_numbers, TRAFFIC_NUMBERS);
    for (int m = 0; m < MEASURE_COUNT && whole; m++)
        whole = read_double(json_object_get(measures, measure_infos[m].key), &run->measures[m]);
    return whole && read_bins(json_object_get(object, "reliability"), run->bins);
}

static bool read_history(const json_t *object, run_result *run, int64_t most_epochs)
{
    const json_t *epochs = json_object_get(object, "epochs"), *points = json_object_get(object, "training_curve");
    bool whole = json_is_array(epochs) && json_array_size(epochs) <= (size_t)most_epochs && json_is_array(points) &&
                 json_array_size(points) <= CURVE_POINTS &&
                 read_double(json_object_get(object, "seconds"), &run->last.seconds);
    if (!whole)
        return false;
    run->epoch_count = (int64_t)json_array_size(epochs);
    for (int64_t i = 0; i < run->epoch_count && whole; i++)
        whole = read_numbers(json_array_get(epochs, (size_t)i), &run->epochs[i], epoch_numbers, EPOCH_NUMBERS) &&
                isfinite(run->epochs[i].epoch);
    run->training = (curve){ .count = (int)json_array_size(points) };
    for (int i = 0; i < run->training.count && whole; i++) {
        const json_t *point = json_array_get(points, (size_t)i);
        whole = read_double(json_array_get(point, 0), &run->training.points[i].epoch) &&
                isfinite(run->training.points[i].epoch) &&
                read_double(json_array_get(point, 1), &run->training.points[i].loss);
    }
    return whole;
}

bd_status run_from_json(run_result *run, int64_t most_epochs, const json_t *object, bd_error *error)
{
    const char *name = json_string_value(json_object_get(object, "state"));
    int state = 0;
    while (state < STATE_COUNT && (!name || strcmp(name, states[state])))
        state++;
    if (state == STATE_COUNT)
        return bd_fail(error, BD_ERROR_DATA, "the run of seed %lld has no state that is known", (long long)run->seed);
    run->state = (run_state)state;
    if (run->state == RUN_WAITING)
        return BD_OK;
    if (!read_history(object, run, most_epochs) || (run->state == RUN_DONE && !read_result(object, run)))
        return bd_fail(error, BD_ERROR_DATA, "the run of seed %lld is not whole", (long long)run->seed);
    json_t *rounding = json_object_get(object, "rounding");
    if (rounding && !rounding_is_whole(rounding))
        return bd_fail(error, BD_ERROR_DATA, "what was measured in the run of seed %lld is not whole",
                       (long long)run->seed);
    json_decref(run->rounding);
    run->rounding = json_incref(rounding);
    const char *reason = json_string_value(json_object_get(object, "reason"));
    snprintf(run->reason, sizeof run->reason, "%s", reason ? reason : "");
    return BD_OK;
}

bd_status run_round(run_result *run, int64_t most_epochs, bd_error *error)
{
    json_t *object = run_json(run), *copy = NULL;
    char *text = object ? json_dumps(object, JSON_STYLE) : NULL;
    if (text)
        copy = json_loads(text, 0, NULL);
    const curve before = run->training;
    bd_status status = copy ? run_from_json(run, most_epochs, copy, error)
                            : bd_fail(error, BD_ERROR_MEMORY, "no memory for the results of a run");
    run->training.stride = before.stride;
    run->training.pending = before.pending;
    json_decref(copy);
    json_decref(object);
    free(text);
    return status;
}
