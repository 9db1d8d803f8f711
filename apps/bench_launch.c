/* The suite launch: what a dispatch costs beside the work it does. */
#include "app.h"
#include "bench_raw.h"
#include <stdlib.h>

/* Dispatches of the recorded step: so many that the step's own cost is little beside theirs. */
enum { STEP = 256, WORD = 4 };

typedef enum launch_kind {
    INDEPENDENT, /* each dispatch of the step counts in a place of its own */
    DEPENDENT,   /* all count in one: each must wait for the one before */
    ENQUEUE,     /* a step of one dispatch, until the call returns */
    ROUND_TRIP,  /* the same, until it is done */
    KINDS
} launch_kind;

typedef struct launching {
    bench_raw raw;
    launch_kind kind;
    uint64_t stride; /* bytes between counters */
    uint32_t runs;   /* so far: what the counters must say */
} launching;

static bd_status run_step(void *user, uint32_t times, bd_error *error)
{
    launching *l = user;
    const bd_backend *backend = l->raw.device->backend;
    bd_status status = BD_OK;
    l->runs += times;
    if (l->kind != ROUND_TRIP)
        return bench_raw_run(&l->raw, times, error);
    for (uint32_t i = 0; i < times && !status; i++) {
        status = backend->program_run(l->raw.device, l->raw.program, 1, error);
        if (!status)
            status = backend->finish(l->raw.device, error);
    }
    return status;
}

static bd_status run_once(launching *l, double *seconds, bd_error *error)
{
    const bd_backend *backend = l->raw.device->backend;
    const double begun = bench_now();
    bd_status status = backend->program_run(l->raw.device, l->raw.program, 1, error);
    *seconds = bench_now() - begun;
    l->runs++;
    return status ? status : backend->finish(l->raw.device, error);
}

/* ENQUEUE: the host's time alone, so bench_measure(), which waits, warms up and its samples are replaced. Each is the
 * mean of some calls from an idle queue. */
static bd_status measure_enqueue(launching *l, bench_row *row, bd_error *error)
{
    enum { CALLS = 32 };
    bd_status status = BD_OK;
    for (size_t i = 0; i < row->wall.count && !status; i++) {
        double sum = 0;
        for (int call = 0; call < CALLS && !status; call++) {
            double seconds = 0;
            status = run_once(l, &seconds, error);
            sum += seconds / CALLS;
        }
        row->wall.seconds[i] = sum;
    }
    return status;
}

static bd_status check(launching *l, int dispatches, bench_row *row, bd_error *error)
{
    const uint32_t right = l->kind == DEPENDENT ? l->runs * STEP : l->runs; /* modulo 2^32 */
    bd_status status = BD_OK;
    for (int i = 0; i < (l->kind == DEPENDENT ? 1 : dispatches) && !status; i++) {
        uint32_t counter = 0;
        status = l->raw.device->backend->buffer_read(l->raw.device, l->raw.buffers[0], (uint64_t)i * l->stride,
                                                     &counter, WORD, NULL, error);
        if (!status && counter != right) {
            bench_set(row, BENCH_WRONG, "dispatch %d counts %u, and %u is right", i, counter, right);
            break;
        }
    }
    return status;
}

static bd_status measure(bench *self, launching *l, int dispatches, bench_row *row, bd_error *error)
{
    bd_binding bindings[STEP];
    const uint32_t alignment = l->raw.device->info.limits.buffer_alignment;
    l->stride = alignment > 256 ? alignment : 256; /* also no cache line in common */
    bd_status status = bench_raw_buffer(&l->raw, 0, l->stride * (uint64_t)dispatches, error);
    if (status)
        return status;
    for (int i = 0; i < dispatches; i++)
        bindings[i] = (bd_binding){
            l->raw.buffers[0], l->kind == DEPENDENT ? 0 : (uint64_t)i * l->stride, WORD, true, BD_ACCESS_BUFFER, BD_U32
        };
    const bench_launching how = { "bench_launch", "", 1, { 1, 1 }, bindings, 1, dispatches };
    status = bench_raw_program(&l->raw, &how, error);
    if (status)
        return status;
    row->count = dispatches;
    const bench_work work = { run_step, NULL, l };
    status = bench_measure(self, &work, row, error);
    if (!status && l->kind == ENQUEUE && row->status == BENCH_OK)
        status = measure_enqueue(l, row, error);
    return status || row->status != BENCH_OK || !row->wall.count ? status : check(l, dispatches, row, error);
}

bd_status bench_launch(bench *self, bd_error *error)
{
    static const char *const names[] = { "dispatch, independent", "dispatch, dependent", "enqueue", "round trip" };
    for (int kind = 0; kind < KINDS && !bench_stopped(self); kind++) {
        bench_row *row = bench_add(self, BENCH_LAUNCH, "raw", "", error, "%s", names[kind]);
        if (!row)
            return BD_ERROR_MEMORY;
        row->unit = BENCH_MICROS;
        launching l = { .raw = { .device = self->device }, .kind = (launch_kind)kind };
        bd_error failure = { 0 };
        bd_status status = BD_OK;
        if (bench_raw_possible(self, row))
            status = measure(self, &l, kind == INDEPENDENT || kind == DEPENDENT ? STEP : 1, row, &failure);
        bench_raw_finish(&l.raw);
        bench_end(self, row, status, &failure);
    }
    return BD_OK;
}
