/* A comparison as results.json. */
#include "app.h"
#include "json.h"
#include "results.h"
#include <math.h>
#include <string.h>

static json_t *interval_json(const interval *i)
{
    return json_pack("{s:o, s:o, s:o}", "mean", json_number(i->mean), "low", json_number(i->low), "high",
                     json_number(i->high));
}

/* null where a row's seeds are too few to say. */
static json_t *change_json(const interval *i)
{
    json_t *object = interval_json(i);
    json_object_set_new(object, "seeds", json_integer((json_int_t)i->count));
    json_object_set_new(object, "within_noise", isfinite(i->low) ? json_boolean(interval_has_zero(i)) : json_null());
    return object;
}

static void add_measures(json_t *object, const comparison *self, const combination *row, const summary *s)
{
    json_t *measures = json_object(), *changes = json_object();
    for (int m = 0; m < MEASURE_COUNT; m++)
        json_object_set_new(measures, measure_infos[m].key,
                            measure_infos[m].fold == FOLD_MEAN ? interval_json(&s->measures[m])
                                                               : json_number(s->measures[m].mean));
    json_object_set_new(object, "measures", measures);
    json_object_set_new(object, "reliability", bins_to_json(s->bins));
    const combination *base = comparison_base(self, row);
    for (int m = 0; base && base != row && m < comparison_qualities(self); m++)
        json_object_set_new(changes, measure_infos[m].key, change_json(&s->changes[m]));
    if (base && base != row)
        json_object_set(object, "difference_from_fp32", changes);
    json_decref(changes);
}

static json_t *row_json(const comparison *self, const combination *row)
{
    summary s = summarize(self, row);
    json_t *runs = json_array();
    for (int64_t i = 0; i < self->seeds; i++)
        json_array_append_new(runs, run_json(&row->runs[i]));
    json_t *object =
        json_pack("{s:o, s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "model", json_text(row->model), "device",
                  row->device->id, "precision", json_text(row->precision), "runs_done", (json_int_t)s.done,
                  "runs_failed", (json_int_t)s.failed, "test_accuracy", json_number(s.accuracy),
                  "test_accuracy_deviation", json_number(s.deviation), "test_accuracy_least", json_number(s.least),
                  "test_accuracy_most", json_number(s.most), "test_loss", json_number(s.test_loss));
    json_object_set_new(object, "step_ms", json_number(s.step_ms));
    json_object_set_new(object, "images_per_second", json_number(s.images_per_second));
    json_object_set_new(object, "planned_device_bytes", json_integer((json_int_t)s.planned_bytes));
    json_object_set_new(object, "peak_device_bytes", json_integer((json_int_t)s.peak_bytes));
    json_object_set_new(object, "dataset_bytes", json_integer((json_int_t)s.dataset_bytes));
    json_object_set_new(object, "overflows", json_integer(s.overflows));
    json_object_set_new(object, "speedup_over_fp32", json_number(s.speedup));
    json_object_set_new(object, "limit", json_string(row->device->limit));
    if (self->federation) {
        json_object_set_new(object, "wire", json_text(row->precision));
        json_object_set(object, "precision", json_object_get(self->options, "precision"));
        json_object_set_new(object, "bytes_down", json_integer((json_int_t)s.sent.down));
        json_object_set_new(object, "bytes_up", json_integer((json_int_t)s.sent.up));
        json_object_set_new(object, "bytes_in_f32", json_integer((json_int_t)s.sent.single));
        json_object_set_new(object, "traffic_ratio", json_number(s.traffic_ratio));
    }
    add_measures(object, self, row, &s);
    if (s.reason)
        json_object_set_new(object, "reason", json_text(s.reason));
    json_object_set_new(object, "runs", runs);
    return object;
}

json_t *comparison_json(const comparison *self)
{
    json_t *devices = json_array(), *rows = json_array();
    for (size_t i = 0; i < self->device_count; i++)
        json_array_append_new(devices, json_device(&self->devices[i]));
    for (size_t i = 0; i < self->row_count; i++)
        json_array_append_new(rows, row_json(self, &self->rows[i]));
    const bd_dataset *d = self->dataset;
    return json_pack(
        "{s:i, s:s, s:s, s:o, s:b, s:f, s:{s:o, s:I, s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:o, s:o, s:O, s:o, s:o}",
        "format_version", APP_FORMAT_VERSION, "version", BD_VERSION, "started", self->started, "command",
        json_text(self->command), "finished", self->finished, "seconds", self->seconds, "data", "name",
        json_text(d->name), "height", (json_int_t)d->height, "width", (json_int_t)d->width, "channels",
        (json_int_t)d->channels, "classes", (json_int_t)d->classes, "train_images", (json_int_t)d->train.count,
        "test_images", (json_int_t)d->test.count, "seeds", (json_int_t)self->seeds, "seed",
        (json_int_t)self->rows[0].runs[0].seed, "ood", json_text(self->ood), "sharpness_epsilon",
        json_float(self->sharpness), "options", self->options, "devices", devices, "rows", rows);
}

void comparison_write_json(FILE *file, const void *user)
{
    json_t *document = comparison_json(user);
    json_dumpf(document, file, JSON_STYLE | JSON_INDENT(1));
    putc('\n', file);
    json_decref(document);
}
