/* How a time is taken: a warm-up, since the clocks of a GPU that idled need a while to rise, then samples by the wall
 * and by the device's clock in turns. */
#include "app.h"
#include "bench.h"
#include <math.h>
#include <stdlib.h>
#include <time.h>

enum { LEAST_SAMPLES = 3, MOST_RUNS = 1 << 20 };
static const double sample_seconds = 0.005; /* at least: far above the host's clock and a round trip */
static double busy_until = -INFINITY;       /* the end of the last measurement */

double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double bench_warm_seconds(const bench *self)
{
    /* An H100 that idled runs Vulkan's kernels 4.4 times slower even after 200 ms of work. After a row without a pause
     * it does not. */
    const bool idled = bench_now() - busy_until > 0.5;
    const double least = idled && bd_device_get_info(self->device)->type != BD_DEVICE_CPU ? 1.0 : 0.2;
    return fmax(1e-3 * (double)self->settings.warmup_ms, least);
}

/* Seconds a run, over `times` runs. */
static bd_status time_runs(const bench_work *work, uint32_t times, double *each, bd_error *error)
{
    const double begun = bench_now();
    bd_status status = work->run(work->user, times, error);
    *each = (bench_now() - begun) / times;
    return status;
}

static uint32_t runs_for(double seconds, double each)
{
    return (uint32_t)fmax(1, fmin(ceil(seconds / fmax(each, 1e-9)), MOST_RUNS));
}

/* Sets the row to SKIPPED where a run takes too long. */
static bd_status warm_up(const bench *self, const bench_work *work, bench_row *row, double *each, bd_error *error)
{
    const double begun = bench_now(), most = self->settings.max_seconds;
    const double least = bench_warm_seconds(self);
    bd_status status = time_runs(work, 1, each, error); /* the first one may find memory that was never touched */
    if (!status && *each > most)
        status = time_runs(work, 1, each, error);
    if (!status && *each > most)
        bench_set(row, BENCH_SKIPPED, "one run takes %.2g s, and all samples may take %g (--max-time)", *each, most);
    uint32_t runs = 1;
    while (!status && row->status == BENCH_OK && bench_now() - begun < least && !app_interrupted()) {
        status = time_runs(work, runs, each, error);
        const uint32_t wanted = runs_for(least / 4, *each);
        runs = wanted < 2 * runs ? wanted : 2 * runs; /* the first ones are slow, so `each` falls for a while */
    }
    return status;
}

bd_status bench_measure(const bench *self, const bench_work *work, bench_row *row, bd_error *error)
{
    const size_t reps = (size_t)self->settings.reps;
    double each = 0;
    bd_status status = warm_up(self, work, row, &each, error);
    if (status || row->status != BENCH_OK)
        return status;
    row->wall.seconds = calloc(reps, sizeof *row->wall.seconds);
    row->clock.seconds = calloc(reps, sizeof *row->clock.seconds);
    if (!row->wall.seconds || !row->clock.seconds)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for %zu samples", reps);
    const uint32_t runs = runs_for(sample_seconds, each);
    const double begun = bench_now();
    bool has_clock = work->clock != NULL;
    for (size_t i = 0; !status && i < reps && !app_interrupted(); i++) {
        if (i >= LEAST_SAMPLES && bench_now() - begun > self->settings.max_seconds)
            break;
        status = time_runs(work, runs, &row->wall.seconds[i], error);
        row->wall.count += !status;
        if (status || !has_clock)
            continue;
        status = work->clock(work->user, &row->clock.seconds[i], error);
        has_clock = status != BD_ERROR_UNSUPPORTED;
        /* A clock too coarse to see it at all is none. */
        has_clock &= row->clock.seconds[i] > 0;
        row->clock.count += !status && has_clock;
        status = status == BD_ERROR_UNSUPPORTED ? BD_OK : status;
    }
    if (!has_clock)
        row->clock.count = 0;
    busy_until = bench_now();
    return status;
}
