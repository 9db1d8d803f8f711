/* Takes the runs of an earlier comparison over: the file must tell of the same one. */
#include "json.h"
#include "results.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool same(const json_t *a, const json_t *b)
{
    if (!a && !b)
        return true;
    char *x = json_dumps(a, JSON_STYLE | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    char *y = json_dumps(b, JSON_STYLE | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    const bool equal = x && y && !strcmp(x, y);
    free(x);
    free(y);
    return equal;
}

static bd_status differs(const char *path, const char *what, const json_t *was, const json_t *is, bd_error *error)
{
    char *x = was ? json_dumps(was, JSON_STYLE | JSON_ENCODE_ANY) : NULL;
    char *y = is ? json_dumps(is, JSON_STYLE | JSON_ENCODE_ANY) : NULL;
    bd_status status =
        bd_fail(error, BD_ERROR_ARGUMENT,
                "%s: was made with %s %.200s, this comparison has %.200s: --resume needs the same options", path, what,
                x ? x : "unset", y ? y : "unset");
    free(x);
    free(y);
    return status;
}

/* Compares the values of `names` (NULL: all that either has) in two objects. */
static bd_status check_object(const char *path, const char *prefix, const json_t *was, const json_t *is,
                              const char *const *names, size_t count, bd_error *error)
{
    bd_status status = BD_OK;
    char what[96];
    for (size_t i = 0; i < count && !status; i++) {
        const json_t *x = json_object_get(was, names[i]), *y = json_object_get(is, names[i]);
        snprintf(what, sizeof what, "%s%s", prefix, names[i]);
        if (!same(x, y))
            status = differs(path, what, x, y, error);
    }
    return status;
}

static bd_status check_options(const char *path, const json_t *was, const json_t *is, bd_error *error)
{
    const char *key;
    json_t *value;
    bd_status status = BD_OK;
    for (int side = 0; side < 2 && !status; side++)
        json_object_foreach((json_t *)(side ? was : is), key, value) if (!status) status =
            check_object(path, "", was, is, &key, 1, error);
    return status;
}

static bd_status check_lists(const char *path, const char *list, const json_t *was, const json_t *is,
                             const char *const *names, size_t count, bd_error *error)
{
    const json_t *x = json_object_get(was, list), *y = json_object_get(is, list);
    bd_status status = BD_OK;
    if (json_array_size(x) != json_array_size(y))
        return bd_fail(error, BD_ERROR_ARGUMENT,
                       "%s: was made with %zu %s, this comparison has %zu: --resume needs the same options", path,
                       json_array_size(x), list, json_array_size(y));
    for (size_t i = 0; i < json_array_size(y) && !status; i++)
        status = check_object(path, "", json_array_get(x, i), json_array_get(y, i), names, count, error);
    return status;
}

/* Everything that decides numbers. */
static bd_status check(const char *path, const json_t *was, const json_t *is, bd_error *error)
{
    static const char *const whole[] = { "format_version",   "version", "data", "seeds", "seed", "ood",
                                         "sharpness_epsilon" };
    static const char *const devices[] = { "id", "name", "driver", "limit" };
    static const char *const rows[] = { "model", "device", "precision", "wire" };
    bd_status status = check_object(path, "", was, is, whole, sizeof whole / sizeof *whole, error);
    if (!status)
        status = check_options(path, json_object_get(was, "options"), json_object_get(is, "options"), error);
    if (!status)
        status = check_lists(path, "devices", was, is, devices, sizeof devices / sizeof *devices, error);
    return status ? status : check_lists(path, "rows", was, is, rows, sizeof rows / sizeof *rows, error);
}

/* What is done stays; what was on its way, or failed there, keeps its beginning. */
static bd_status take_runs(const char *path, comparison *self, const json_t *document, bd_error *error)
{
    for (size_t r = 0; r < self->row_count; r++) {
        const json_t *runs = json_object_get(json_array_get(json_object_get(document, "rows"), r), "runs");
        for (int64_t s = 0; s < self->seeds; s++) {
            run_result *run = &self->rows[r].runs[s];
            bd_error reason = { 0 };
            if (run_from_json(run, self->epochs, json_array_get(runs, (size_t)s), &reason))
                return bd_fail(error, BD_ERROR_DATA, "%s: row %zu: %s", path, r, reason.message);
            if (run->state == RUN_GOING || run->state == RUN_FAILED)
                run->state = run->epoch_count ? RUN_INTERRUPTED : RUN_WAITING;
            run->seconds_before = isfinite(run->last.seconds) ? run->last.seconds : 0;
        }
    }
    return BD_OK;
}

bd_status comparison_resume(comparison *self, const char *path, bd_error *error)
{
    json_error_t reason;
    json_t *document = json_load_file(path, JSON_REJECT_DUPLICATES, &reason);
    if (!document)
        return bd_fail(error, BD_ERROR_DATA, "%s: cannot be read: %s (line %d)", path, reason.text, reason.line);
    json_t *own = comparison_json(self);
    bd_status status = own ? check(path, document, own, error) : bd_fail(error, BD_ERROR_MEMORY, "out of memory");
    if (!status)
        status = take_runs(path, self, document, error);
    const json_t *seconds = json_object_get(document, "seconds"), *started = json_object_get(document, "started");
    if (!status && json_is_number(seconds))
        self->seconds_before = json_number_value(seconds);
    if (!status && json_is_string(started))
        snprintf(self->started, sizeof self->started, "%s", json_string_value(started));
    json_decref(own);
    json_decref(document);
    return status;
}
