#include "results.h"
#include "app.h"
#include "json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void curve_add(curve *self, double epoch, double loss)
{
    if (self->count == CURVE_POINTS && self->pending == 0) {
        for (int i = 0; i < CURVE_POINTS / 2; i++)
            self->points[i] = (curve_point){ self->points[2 * i + 1].epoch,
                                             (self->points[2 * i].loss + self->points[2 * i + 1].loss) / 2 };
        self->count /= 2;
        self->stride *= 2;
    }
    if (!self->stride)
        self->stride = 1;
    if (!self->pending)
        self->points[self->count++] = (curve_point){ 0 };
    curve_point *point = &self->points[self->count - 1];
    self->pending++;
    point->loss += (loss - point->loss) / self->pending;
    point->epoch = epoch;
    if (self->pending == self->stride)
        self->pending = 0;
}

void run_record(run_result *run, const bd_train_event *event)
{
    if (event->kind == BD_TRAIN_PROGRESS && event->steps > 0)
        curve_add(&run->training, (double)event->step / (double)event->steps_per_epoch, event->train_loss);
    if (event->kind == BD_TRAIN_EPOCH && run->epoch_count < event->epochs)
        run->epochs[run->epoch_count++] =
            (epoch_result){ (double)event->step / (double)event->steps_per_epoch, event->train_loss,
                            event->train_accuracy, event->test_loss, event->test_accuracy };
    run->last = *event;
    run->last.checkpoint = NULL; /* good during the call only */
}

bd_status comparison_init(comparison *self, int64_t first_seed, bd_error *error)
{
    self->row_count = self->model_count * self->device_count * self->precision_count;
    self->rows = calloc(self->row_count, sizeof(*self->rows));
    bool whole = self->rows != NULL;
    for (size_t i = 0; whole && i < self->row_count; i++) {
        combination *row = &self->rows[i];
        row->precision = self->precisions[i % self->precision_count];
        row->device = &self->devices[i / self->precision_count % self->device_count];
        row->model = self->models[i / self->precision_count / self->device_count];
        row->runs = calloc((size_t)self->seeds, sizeof(*row->runs));
        whole = row->runs != NULL;
        for (int64_t s = 0; whole && s < self->seeds; s++) {
            row->runs[s].seed = first_seed + s;
            row->runs[s].epochs = calloc((size_t)self->epochs, sizeof(epoch_result));
            whole = row->runs[s].epochs != NULL;
        }
    }
    return whole ? BD_OK
                 : bd_fail(error, BD_ERROR_MEMORY, "no memory for the results of %zu combinations", self->row_count);
}

void comparison_finish(comparison *self)
{
    for (size_t i = 0; self->rows && i < self->row_count; i++) {
        for (int64_t s = 0; self->rows[i].runs && s < self->seeds; s++)
            free(self->rows[i].runs[s].epochs);
        free(self->rows[i].runs);
    }
    free(self->rows);
    self->rows = NULL;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of the finite values that `field` finds in the runs that are done. */
static double median(const combination *row, int64_t seeds, size_t field)
{
    double *values = calloc((size_t)seeds, sizeof(*values));
    if (!values)
        return NAN;
    size_t count = 0;
    for (int64_t s = 0; s < seeds; s++) {
        double value = *(const double *)((const char *)&row->runs[s].last + field);
        if (row->runs[s].state == RUN_DONE && isfinite(value))
            values[count++] = value;
    }
    qsort(values, count, sizeof(*values), compare_doubles);
    double result = count ? (values[(count - 1) / 2] + values[count / 2]) / 2 : NAN;
    free(values);
    return result;
}

static void accuracy_over_seeds(summary *s, const combination *row, int64_t seeds)
{
    double sum = 0, loss = 0, squares = 0;
    s->least = INFINITY;
    s->most = -INFINITY;
    for (int64_t i = 0; i < seeds; i++) {
        if (row->runs[i].state != RUN_DONE)
            continue;
        double accuracy = row->runs[i].last.test_accuracy;
        sum += accuracy;
        loss += row->runs[i].last.test_loss;
        s->least = fmin(s->least, accuracy);
        s->most = fmax(s->most, accuracy);
    }
    double count = (double)s->done;
    s->accuracy = sum / count;
    s->test_loss = loss / count;
    for (int64_t i = 0; i < seeds; i++)
        if (row->runs[i].state == RUN_DONE)
            squares += pow(row->runs[i].last.test_accuracy - s->accuracy, 2);
    s->deviation = s->done > 1 ? sqrt(squares / (count - 1)) : NAN;
}

static summary summarize_alone(const comparison *self, const combination *row)
{
    summary s = { .accuracy = NAN,
                  .deviation = NAN,
                  .least = NAN,
                  .most = NAN,
                  .test_loss = NAN,
                  .speedup = NAN,
                  .accuracy_change = NAN,
                  .memory_ratio = NAN };
    for (int64_t i = 0; i < self->seeds; i++) {
        const run_result *run = &row->runs[i];
        if (run->state == RUN_FAILED && !s.failed++)
            s.reason = run->reason;
        if (run->state != RUN_DONE)
            continue;
        s.done++;
        s.overflows += run->last.overflows;
        s.planned_bytes = run->last.planned_device_bytes;
        s.dataset_bytes = run->last.dataset_bytes;
        if (run->last.peak_device_bytes > s.peak_bytes)
            s.peak_bytes = run->last.peak_device_bytes;
    }
    s.training_bytes = s.peak_bytes > s.dataset_bytes ? s.peak_bytes - s.dataset_bytes : 0;
    if (s.done)
        accuracy_over_seeds(&s, row, self->seeds);
    s.step_ms = median(row, self->seeds, offsetof(bd_train_event, step_ms));
    s.images_per_second = median(row, self->seeds, offsetof(bd_train_event, images_per_second));
    return s;
}

summary summarize(const comparison *self, const combination *row)
{
    summary s = summarize_alone(self, row);
    for (size_t i = 0; i < self->row_count; i++) {
        const combination *other = &self->rows[i];
        if (strcmp(other->precision, "fp32") || other->model != row->model || other->device != row->device)
            continue;
        summary fp32 = summarize_alone(self, other);
        s.speedup = fp32.step_ms / s.step_ms;
        s.accuracy_change = s.accuracy - fp32.accuracy;
        if (fp32.training_bytes)
            s.memory_ratio = (double)s.training_bytes / (double)fp32.training_bytes;
    }
    return s;
}

/* ---- JSON ---- */

static json_t *run_json(const run_result *run)
{
    static const char *const states[] = { "not_run", "done", "failed", "interrupted" };
    json_t *object = json_pack("{s:s, s:I}", "state", states[run->state], "seed", (json_int_t)run->seed);
    if (run->state == RUN_WAITING)
        return object;
    if (run->state == RUN_FAILED)
        json_object_set_new(object, "reason", json_text(run->reason));
    const bd_train_event *e = &run->last;
    if (run->state == RUN_DONE) {
        json_object_set_new(object, "test_accuracy", json_number(e->test_accuracy));
        json_object_set_new(object, "test_loss", json_number(e->test_loss));
        json_object_set_new(object, "images_per_second", json_number(e->images_per_second));
        json_object_set_new(object, "step_ms", json_number(e->step_ms));
        json_object_set_new(object, "seconds", json_number(e->seconds));
        json_object_set_new(object, "dispatches_per_step", json_integer(e->dispatches_per_step));
        json_object_set_new(object, "planned_device_bytes", json_integer((json_int_t)e->planned_device_bytes));
        json_object_set_new(object, "peak_device_bytes", json_integer((json_int_t)e->peak_device_bytes));
        json_object_set_new(object, "dataset_bytes", json_integer((json_int_t)e->dataset_bytes));
        json_object_set_new(object, "overflows", json_integer(e->overflows));
        json_object_set_new(object, "loss_scale", json_number(e->loss_scale));
    }
    json_t *epochs = json_array(), *points = json_array();
    for (int64_t i = 0; i < run->epoch_count; i++) {
        const epoch_result *r = &run->epochs[i];
        json_array_append_new(epochs, json_pack("{s:o, s:o, s:o, s:o, s:o}", "epoch", json_number(r->epoch),
                                                "train_loss", json_number(r->train_loss), "train_accuracy",
                                                json_number(r->train_accuracy), "test_loss", json_number(r->test_loss),
                                                "test_accuracy", json_number(r->test_accuracy)));
    }
    for (int i = 0; i < run->training.count; i++)
        json_array_append_new(points, json_pack("[o,o]", json_number(run->training.points[i].epoch),
                                                json_number(run->training.points[i].loss)));
    json_object_set_new(object, "epochs", epochs);
    json_object_set_new(object, "training_curve", points); /* [epoch, train_loss] */
    return object;
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
    return json_pack("{s:i, s:s, s:s, s:o, s:b, s:f, s:{s:o, s:I, s:I, s:I, s:I, s:I, s:I}, s:I, s:O, s:o, s:o}",
                     "format_version", APP_FORMAT_VERSION, "version", BD_VERSION, "started", self->started, "command",
                     json_text(self->command), "finished", self->finished, "seconds", self->seconds, "data", "name",
                     json_text(d->name), "height", (json_int_t)d->height, "width", (json_int_t)d->width, "channels",
                     (json_int_t)d->channels, "classes", (json_int_t)d->classes, "train_images",
                     (json_int_t)d->train.count, "test_images", (json_int_t)d->test.count, "seeds",
                     (json_int_t)self->seeds, "options", self->options, "devices", devices, "rows", rows);
}

void comparison_write_json(FILE *file, const void *user)
{
    json_t *document = comparison_json(user);
    json_dumpf(document, file, JSON_STYLE | JSON_INDENT(1));
    putc('\n', file);
    json_decref(document);
}
