#include "results.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const measure_info measure_infos[MEASURE_COUNT] = {
    [MEASURE_ACCURACY] = { "accuracy", "accuracy", FOLD_MEAN },
    [MEASURE_NLL] = { "nll", "NLL", FOLD_MEAN },
    [MEASURE_BRIER] = { "brier", "Brier score", FOLD_MEAN },
    [MEASURE_ECE] = { "ece", "ECE", FOLD_MEAN },
    [MEASURE_OOD_AUROC] = { "ood_auroc", "OOD AUROC", FOLD_MEAN },
    [MEASURE_SHARPNESS] = { "sharpness", "sharpness", FOLD_MEAN },
    [MEASURE_LOGIT_SHARPNESS] = { "logit_sharpness", "logits' sharpness", FOLD_MEAN },
#define AGREEMENT(FIRST, PREFIX)                                                                                       \
    [FIRST] = { PREFIX "delta_mean", "mean delta", FOLD_MEAN },                                                        \
    [FIRST + MEASURE_DELTA_MOST - MEASURE_DELTA_MEAN] = { PREFIX "delta_max", "largest delta", FOLD_MOST },            \
    [FIRST + MEASURE_GAMMA_LEAST - MEASURE_DELTA_MEAN] = { PREFIX "gamma_min", "smallest Gamma", FOLD_LEAST },         \
    [FIRST + MEASURE_DECIDED - MEASURE_DELTA_MEAN] = { PREFIX "decided", "decided", FOLD_MEAN },                       \
    [FIRST + MEASURE_DISAGREEMENTS - MEASURE_DELTA_MEAN] = { PREFIX "disagreements", "disagreements", FOLD_MEAN },     \
    [FIRST + MEASURE_VIOLATIONS - MEASURE_DELTA_MEAN] = { PREFIX "violations", "violations", FOLD_SUM }
    AGREEMENT(MEASURE_DELTA_MEAN, ""),
    AGREEMENT(MEASURE_ROUNDED, "rounded_"),
#undef AGREEMENT
};

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

/* Forgets what lies behind `epoch`. */
static void cut(run_result *run, double epoch)
{
    const double most = epoch * (1 + 1e-6); /* files round */
    while (run->epoch_count && run->epochs[run->epoch_count - 1].epoch > most)
        run->epoch_count--;
    while (run->training.count && run->training.points[run->training.count - 1].epoch > most)
        run->training.count--;
    run->training.pending = 0;
    if (epoch == 0)
        run->seconds_before = 0;
}

void run_record(run_result *run, const bd_train_event *event)
{
    if (event->kind == BD_TRAIN_START)
        cut(run, (double)event->step / (double)event->steps_per_epoch);
    if (event->kind == BD_TRAIN_START)
        rounding_cut(run->rounding, event->step);
    if (event->kind == BD_TRAIN_MEASURED)
        rounding_record(&run->rounding, event);
    if (event->kind == BD_TRAIN_PROGRESS && event->steps > 0)
        curve_add(&run->training, (double)event->step / (double)event->steps_per_epoch, event->train_loss);
    if (event->kind == BD_TRAIN_EPOCH && run->epoch_count < event->epochs)
        run->epochs[run->epoch_count++] =
            (epoch_result){ (double)event->step / (double)event->steps_per_epoch, event->train_loss,
                            event->train_accuracy, event->test_loss, event->test_accuracy };
    run->last = *event;
    run->last.seconds += run->seconds_before;
    run->last.checkpoint = NULL; /* good during the call only, as are the measurements */
    run->last.measurements = NULL;
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
            for (int m = 0; m < MEASURE_COUNT; m++)
                row->runs[s].measures[m] = NAN;
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
        for (int64_t s = 0; self->rows[i].runs && s < self->seeds; s++) {
            free(self->rows[i].runs[s].epochs);
            json_decref(self->rows[i].runs[s].rounding);
        }
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

/* Of the runs that are done. */
static interval fold(const combination *row, int64_t seeds, measure which)
{
    double values[MOST_SEEDS], result = NAN;
    size_t count = 0;
    for (int64_t i = 0; i < seeds; i++)
        if (row->runs[i].state == RUN_DONE)
            values[count++] = row->runs[i].measures[which];
    const measure_fold how = measure_infos[which].fold;
    if (how == FOLD_MEAN)
        return interval_of(values, count);
    for (size_t i = 0; i < count; i++) {
        const double value = values[i];
        result = !i || isnan(value) ? value
                 : how == FOLD_SUM  ? result + value
                 : how == FOLD_MOST ? fmax(result, value)
                                    : fmin(result, value);
        if (isnan(result))
            break;
    }
    return (interval){ result, NAN, NAN, count };
}

/* Of the seeds that are done in both. */
static interval change(const combination *row, const combination *base, int64_t seeds, measure which)
{
    double values[MOST_SEEDS], others[MOST_SEEDS];
    size_t count = 0;
    for (int64_t i = 0; i < seeds; i++) {
        if (row->runs[i].state != RUN_DONE || base->runs[i].state != RUN_DONE)
            continue;
        values[count] = row->runs[i].measures[which];
        others[count++] = base->runs[i].measures[which];
    }
    return interval_of_pairs(values, others, count);
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
                  .memory_ratio = NAN,
                  .traffic_ratio = NAN };
    for (int64_t i = 0; i < self->seeds; i++) {
        const run_result *run = &row->runs[i];
        if (run->state == RUN_FAILED && !s.failed++)
            s.reason = run->reason;
        if (run->state != RUN_DONE)
            continue;
        s.done++;
        s.overflows += run->last.overflows;
        s.sent = run->sent;
        s.planned_bytes = run->last.planned_device_bytes;
        s.dataset_bytes = run->last.dataset_bytes;
        if (run->last.peak_device_bytes > s.peak_bytes)
            s.peak_bytes = run->last.peak_device_bytes;
        measure_add_bins(s.bins, run->bins);
    }
    if (s.sent.down)
        s.traffic_ratio = (double)s.sent.single / (double)(s.sent.down + s.sent.up);
    s.training_bytes = s.peak_bytes > s.dataset_bytes ? s.peak_bytes - s.dataset_bytes : 0;
    if (s.done)
        accuracy_over_seeds(&s, row, self->seeds);
    s.step_ms = median(row, self->seeds, offsetof(bd_train_event, step_ms));
    s.images_per_second = median(row, self->seeds, offsetof(bd_train_event, images_per_second));
    return s;
}

const char *comparison_base_name(const comparison *self)
{
    return self->federation ? "f32" : "fp32";
}

int comparison_qualities(const comparison *self)
{
    return self->sharpness > 0 ? MEASURE_QUALITIES : MEASURE_SHARPNESS;
}

const combination *comparison_base(const comparison *self, const combination *row)
{
    const combination *found = NULL;
    for (size_t i = 0; i < self->row_count && !found; i++) {
        const combination *other = &self->rows[i];
        if (!strcmp(other->precision, comparison_base_name(self)) && other->model == row->model &&
            other->device == row->device)
            found = other;
    }
    return found;
}

summary summarize(const comparison *self, const combination *row)
{
    summary s = summarize_alone(self, row);
    for (int m = 0; m < MEASURE_COUNT; m++)
        s.measures[m] = fold(row, self->seeds, (measure)m);
    const combination *base = comparison_base(self, row);
    if (!base)
        return s;
    summary fp32 = summarize_alone(self, base);
    s.speedup = fp32.step_ms / s.step_ms;
    s.accuracy_change = s.accuracy - fp32.accuracy;
    if (fp32.training_bytes)
        s.memory_ratio = (double)s.training_bytes / (double)fp32.training_bytes;
    for (int m = 0; m < MEASURE_QUALITIES; m++)
        s.changes[m] = change(row, base, self->seeds, (measure)m);
    return s;
}
