/* Rows of `binade bench`: how they begin, end, and what their samples say. */
#include "app.h"
#include "bench.h"
#include "limited.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const bench_suite_names[BENCH_SUITES] = { "peak", "bandwidth", "launch",    "gemm",
                                                      "conv", "reduce",    "attention", "train" };
const char *const bench_status_names[] = { "ok", "unsupported", "skipped", "failed", "wrong" };
const char *const bench_unit_names[] = { "GFLOP/s", "GB/s", "us", "images/s" };

static const double noisy_spread = 0.05;

/* What runs now, in the terminal's last line, which the next row overwrites. */
static void show(bench *self, const bench_row *row)
{
    char text[512];
    if (self->progress.quiet || !self->progress.terminal)
        return;
    snprintf(text, sizeof text, "%s  %s  %s  %s", self->devices[row->device].id, row->name, row->variant, row->policy);
    fprintf(stderr, "\r\033[K%.79s", text); /* a line that wraps could not be taken back */
    fflush(stderr);
    self->progress.drawn = true;
}

bench_row *bench_add(bench *self, bench_suite suite, const char *variant, const char *policy, bd_error *error,
                     const char *name, ...)
{
    bench_row **grown = realloc(self->rows, (self->row_count + 1) * sizeof *grown);
    if (grown)
        self->rows = grown;
    bench_row *row = grown ? calloc(1, sizeof *row) : NULL;
    if (!row) {
        bd_fail(error, BD_ERROR_MEMORY, "no memory for a result");
        return NULL;
    }
    self->rows[self->row_count++] = row;
    row->suite = suite;
    row->device = self->device_index;
    row->before = row->ratio = NAN;
    snprintf(row->variant, sizeof row->variant, "%s", variant);
    snprintf(row->policy, sizeof row->policy, "%s", policy);
    va_list list;
    va_start(list, name);
    vsnprintf(row->name, sizeof row->name, name, list);
    va_end(list);
    const time_t now = time(NULL);
    struct tm parts;
    if (gmtime_r(&now, &parts))
        strftime(row->time, sizeof row->time, "%Y-%m-%dT%H:%M:%SZ", &parts);
    show(self, row);
    return row;
}

void bench_set(bench_row *row, bench_status status, const char *reason, ...)
{
    va_list list;
    va_start(list, reason);
    row->status = status;
    vsnprintf(row->reason, sizeof row->reason, reason, list);
    va_end(list);
}

void bench_end(bench *self, bench_row *row, bd_status status, const bd_error *error)
{
    if (status)
        bench_set(row, status == BD_ERROR_UNSUPPORTED ? BENCH_UNSUPPORTED : BENCH_FAILED, "%s", error->message);
    if (row->status == BENCH_OK && !row->wall.count)
        bench_set(row, BENCH_SKIPPED, "interrupted");
    if (row->status == BENCH_FAILED) {
        bd_device_close(&self->device);
        const bd_device_info *device = &self->devices[row->device];
        limited_open(device->id, device->limit, &self->device, NULL);
    }
    if (self->on_row)
        self->on_row(self->user, row);
}

bool bench_stopped(const bench *self)
{
    return app_interrupted() || !self->device;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Between the two nearest of the sorted values. */
static double quantile(const double *sorted, size_t count, double part)
{
    const double at = part * (double)(count - 1);
    const size_t low = (size_t)at, high = low + 1 < count ? low + 1 : low;
    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

bench_summary bench_summarize(const bench_samples *samples)
{
    bench_summary result = { NAN, NAN, NAN, NAN };
    double *sorted = samples->count ? malloc(samples->count * sizeof *sorted) : NULL;
    if (!sorted)
        return result;
    memcpy(sorted, samples->seconds, samples->count * sizeof *sorted);
    qsort(sorted, samples->count, sizeof *sorted, compare_doubles);
    result.median = quantile(sorted, samples->count, 0.5);
    result.low = quantile(sorted, samples->count, 0.25);
    result.high = quantile(sorted, samples->count, 0.75);
    if (samples->count >= 3 && result.median > 0)
        result.spread = (result.high - result.low) / result.median;
    free(sorted);
    return result;
}

const bench_samples *bench_best_samples(const bench_row *row)
{
    return row->clock.count ? &row->clock : &row->wall;
}

bool bench_less_is_better(bench_unit unit)
{
    return unit == BENCH_MICROS;
}

static double value_of(const bench_row *row, double seconds)
{
    if (row->status != BENCH_OK || !(seconds > 0))
        return NAN;
    switch (row->unit) {
    case BENCH_GFLOPS: return 1e-9 * row->flops / seconds;
    case BENCH_GBYTES: return 1e-9 * row->bytes / seconds;
    case BENCH_MICROS: return 1e6 * seconds / row->count;
    case BENCH_IMAGES: return row->count / seconds;
    }
    return NAN;
}

double bench_value(const bench_row *row)
{
    return value_of(row, bench_summarize(bench_best_samples(row)).median);
}

bool bench_noisy(const bench_row *row)
{
    return row->status == BENCH_OK && bench_summarize(bench_best_samples(row)).spread > noisy_spread;
}

double bench_share(const bench_row *row)
{
    return row->peak > 0 && row->unit == BENCH_GFLOPS ? bench_value(row) / row->peak : NAN;
}

double bench_ceiling(const bench *self, size_t device, const char *name)
{
    for (size_t i = 0; i < self->row_count; i++) {
        const bench_row *row = self->rows[i];
        if (row->device != device || row->suite != BENCH_PEAK || strcmp(row->name, name) != 0 ||
            row->status != BENCH_OK)
            continue;
        const bench_samples *samples = bench_best_samples(row);
        double least = INFINITY;
        for (size_t s = 0; s < samples->count; s++)
            least = fmin(least, samples->seconds[s]);
        return value_of(row, least);
    }
    return 0;
}

bd_role bench_operand_role(const bd_precision *policy, const bd_role *roles, int i)
{
    return roles && bd_precision_format(policy, roles[i], NULL) != BD_F32 ? roles[i] : BD_ROLE_ACTIVATION;
}

double bench_peak_of(const bench *self, const bd_precision *policy, const bd_role *roles)
{
    const size_t device = self->device_index;
    double peak = bench_ceiling(self, device, "fp32");
    bool halves = true, bf16 = true, fp8 = true, whole = true;
    for (int i = 0; i < 2; i++) {
        const bd_format operand = bd_precision_format(policy, bench_operand_role(policy, roles, i), NULL);
        halves &= bd_format_holds(BD_F16, operand);
        bf16 &= bd_format_holds(BD_BF16, operand);
        fp8 &= operand == BD_F8E4M3 || operand == BD_F8E5M2;
        whole &= bd_format_describe(operand).kind == BD_KIND_SIGNED;
    }
    /* Where there is no half arithmetic, halves are computed in FP32 and rounded. */
    if (bd_precision_format(policy, BD_ROLE_ACCUMULATOR, NULL) == BD_F16)
        peak = fmax(peak, fmax(bench_ceiling(self, device, "fp16 scalar"), bench_ceiling(self, device, "fp16 vector")));
    /* Matrix units multiply halves or BF16, and what these hold, and sum in FP32. */
    else if (halves || bf16)
        peak = fmax(peak, bench_ceiling(self, device, halves ? "matrix units fp16" : "matrix units bf16"));
    /* Or FP8, if their own sums will do, and whole numbers of a byte. */
    if (bd_precision_format(policy, BD_ROLE_ACCUMULATOR, NULL) == BD_F32 && fp8 && policy->unit_sums)
        peak = fmax(peak, bench_ceiling(self, device, "matrix units fp8"));
    if (bd_precision_format(policy, BD_ROLE_ACCUMULATOR, NULL) == BD_F32 && whole)
        peak = fmax(peak, bench_ceiling(self, device, "matrix units int8"));
    return peak;
}

void bench_finish(bench *self)
{
    for (size_t i = 0; i < self->row_count; i++) {
        free(self->rows[i]->wall.seconds);
        free(self->rows[i]->clock.seconds);
        free(self->rows[i]);
    }
    free(self->rows);
    free(self->devices);
    free(self->settings.models);
    free(self->settings.policies);
    free(self->settings.shapes);
    bd_device_close(&self->device);
}
