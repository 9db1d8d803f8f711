/* --compare: this run against an earlier one. */
#include "bench.h"
#include <math.h>
#include <string.h>
#include <sys/stat.h>

/* What two runs of the same thing may differ by at least, even where each was steady: clocks and placement in
 * memory. */
static const double least_noise = 0.05;

bd_status bench_compare_load(const char *path, json_t **document, bd_error *error)
{
    struct stat there; /* a folder can be opened too */
    if (!stat(path, &there) && S_ISDIR(there.st_mode))
        return bd_fail(error, BD_ERROR_FILE,
                       "--compare %s: a folder; the file that `binade bench -o json` wrote is needed", path);
    json_error_t reason;
    *document = json_load_file(path, JSON_REJECT_DUPLICATES, &reason);
    if (!*document)
        return bd_fail(error, json_error_code(&reason) == json_error_cannot_open_file ? BD_ERROR_FILE : BD_ERROR_DATA,
                       "--compare %s: %s%s", path,
                       json_error_code(&reason) == json_error_cannot_open_file ? "" : "not JSON: ", reason.text);
    const char *kind = json_string_value(json_object_get(*document, "kind"));
    if (!kind || strcmp(kind, "bench") != 0 || !json_is_array(json_object_get(*document, "rows")))
        return bd_fail(error, BD_ERROR_DATA, "--compare %s: not what `binade bench -o json` writes", path);
    return BD_OK;
}

static bool has(const json_t *row, const char *name, const char *value)
{
    const char *text = json_string_value(json_object_get(row, name));
    return text && !strcmp(text, value);
}

/* The same thing on the same device; a driver or an engine may be another, since that is what is compared. */
static const json_t *find(const bench *self, const json_t *document, const bench_row *row)
{
    size_t i;
    const json_t *earlier;
    const bd_device_info *device = &self->devices[row->device];
    json_array_foreach(json_object_get(document, "rows"), i, earlier)
    {
        if (has(earlier, "suite", bench_suite_names[row->suite]) && has(earlier, "name", row->name) &&
            has(earlier, "variant", row->variant) && has(earlier, "policy", row->policy) &&
            has(earlier, "backend", device->backend) && has(earlier, "device_name", device->name) &&
            has(earlier, "unit", bench_unit_names[row->unit]))
            return earlier;
    }
    return NULL;
}

static double number(const json_t *row, const char *name)
{
    const json_t *value = json_object_get(row, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void bench_compare(bench *self, const json_t *document, const char *path)
{
    snprintf(self->compared, sizeof self->compared, "%s", path);
    for (size_t i = 0; i < self->row_count; i++) {
        bench_row *row = self->rows[i];
        const json_t *earlier = find(self, document, row);
        const double before = earlier ? number(earlier, "value") : NAN, now = bench_value(row);
        if (!(before > 0) || !(now > 0))
            continue;
        const double spread = bench_summarize(bench_best_samples(row)).spread;
        double spread_before = number(earlier, "device_spread");
        if (!isfinite(spread_before))
            spread_before = number(earlier, "wall_spread");
        row->before = before;
        row->ratio = bench_less_is_better(row->unit) ? before / now : now / before;
        const double noise =
            fmax(least_noise, (isfinite(spread) ? spread : 0) + (isfinite(spread_before) ? spread_before : 0));
        if (row->ratio > 1 + noise)
            row->change = BENCH_FASTER;
        else if (row->ratio < 1 / (1 + noise))
            row->change = BENCH_SLOWER;
    }
}
