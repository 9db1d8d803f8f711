/* The suite peak: multiply-adds a second, by format. It is the ceiling that gemm, conv and attention are held against. */
#include "app.h"
#include "bench_raw.h"
#include <math.h>
#include <stdlib.h>

enum {
    CHAINS = 8,
    STEPS = 16,
    PERIOD = 16,         /* of cl/bench_fma.cl */
    GPU_ITEMS = 1 << 18, /* at least: enough to fill a large GPU whose driver does not tell its size */
    ITEMS_A_UNIT = 2048, /* what an NVIDIA multiprocessor holds, as many as any GPU's */
    CPU_ITEMS_A_UNIT = 512,
    MOST_ROUNDS = 1 << 20,
};
static const double least_seconds = 0.005; /* of a run, beside which a launch is little */
static const float factor = -1, addend = 64;

typedef struct peak {
    bench_raw raw;
    uint32_t items, width, rounds;
    bool halves;
} peak;

static bd_status set_rounds(peak *p, uint32_t rounds, bd_error *error)
{
    union {
        float value;
        uint32_t bits;
    } a = { factor }, b = { addend };
    const uint32_t parameters[] = { rounds, a.bits, b.bits, 0 };
    p->rounds = rounds;
    return p->raw.device->backend->buffer_write(p->raw.device, p->raw.buffers[0], 0, parameters, sizeof parameters,
                                                NULL, error);
}

static bd_status create(peak *p, bd_error *error)
{
    const uint32_t local =
        (uint32_t)fmin(p->raw.device->target.is_cpu ? 64 : 256, p->raw.device->info.limits.max_workgroup_items);
    const uint64_t size = (uint64_t)p->items * sizeof(float);
    char defines[96];
    snprintf(defines, sizeof defines, "#define BD_WIDTH %u\n#define BD_HALVES %d\n", p->width, p->halves);
    p->items -= p->items % local;
    bd_status status = bench_raw_buffer(&p->raw, 0, 4 * sizeof(uint32_t), error);
    if (!status)
        status = bench_raw_buffer(&p->raw, 1, size, error);
    if (status)
        return status;
    const bd_binding bindings[] = {
        { p->raw.buffers[0], 0, 4 * sizeof(uint32_t), false, BD_ACCESS_BUFFER, BD_U32 },
        { p->raw.buffers[1], 0, size, true, BD_ACCESS_BUFFER, BD_F32 },
    };
    const bench_launching launching = { "bench_fma", defines, local, { p->items / local, 1 }, bindings, 2, 1 };
    return bench_raw_program(&p->raw, &launching, error);
}

/* Enough rounds for a run of least_seconds. */
static bd_status calibrate(peak *p, bd_error *error)
{
    double seconds = 0;
    bd_status status = BD_OK;
    for (uint32_t rounds = 16; !status && seconds < least_seconds && rounds <= MOST_ROUNDS; rounds *= 2) {
        status = set_rounds(p, rounds, error);
        if (!status)
            status = bench_raw_run(&p->raw, 1, error); /* what was never touched is touched */
        const double begun = bench_now();
        if (!status)
            status = bench_raw_run(&p->raw, 1, error);
        seconds = bench_now() - begun;
    }
    return status;
}

static bd_status check(peak *p, bench_row *row, bd_error *error)
{
    float *values = malloc((size_t)p->items * sizeof *values);
    if (!values)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory to check %u results", p->items);
    bd_status status = p->raw.device->backend->buffer_read(p->raw.device, p->raw.buffers[1], 0, values,
                                                           (uint64_t)p->items * sizeof *values, NULL, error);
    for (uint32_t i = 0; !status && i < p->items; i++) {
        float right = 0; /* after an odd number of steps */
        for (uint32_t chain = 0; chain < CHAINS; chain++)
            right += (float)p->width * (addend - (float)(i % PERIOD + chain));
        if (values[i] == right)
            continue;
        bench_set(row, BENCH_WRONG, "work-item %u of %u ends with %.9g, and %.9g is right", i, p->items,
                  (double)values[i], (double)right);
        break;
    }
    free(values);
    return status;
}

static bd_status measure(bench *self, peak *p, bench_row *row, bd_error *error)
{
    bd_status status = create(p, error);
    if (!status)
        status = calibrate(p, error);
    if (status)
        return status;
    row->flops = 2.0 * CHAINS * p->width * p->items * ((double)STEPS * p->rounds + 1);
    const bench_work work = { bench_raw_run, bench_raw_clock, &p->raw };
    status = bench_measure(self, &work, row, error);
    return status || row->status != BENCH_OK || !row->wall.count ? status : check(p, row, error);
}

static bd_status run_one(bench *self, const char *name, uint32_t width, bool halves, bd_error *error)
{
    bench_row *row = bench_add(self, BENCH_PEAK, "raw", "", error, "%s", name);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GFLOPS;
    const bd_device *device = self->device;
    const uint32_t units = device->info.limits.compute_units;
    peak p = { .raw = { .device = self->device }, .width = width, .halves = halves };
    p.items =
        device->target.is_cpu ? units * CPU_ITEMS_A_UNIT : (uint32_t)fmax(GPU_ITEMS, (double)units * ITEMS_A_UNIT);
    bd_error failure = { 0 };
    bd_status status = BD_OK;
    if (!bench_raw_possible(self, row))
        ;
    else if (halves && !device->target.half.arithmetic)
        bench_set(row, BENCH_UNSUPPORTED, "the driver has no half arithmetic");
    else
        status = measure(self, &p, row, &failure);
    bench_raw_finish(&p.raw);
    bench_end(self, row, status, &failure);
    return BD_OK;
}

/* What the engine has no kernels for, so that nobody has to guess whether it was forgotten. */
static bd_status missing(bench *self, const char *name, const char *reason, bd_error *error)
{
    bench_row *row = bench_add(self, BENCH_PEAK, "raw", "", error, "%s", name);
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GFLOPS;
    bench_set(row, BENCH_UNSUPPORTED, "%s", reason);
    bench_end(self, row, BD_OK, NULL);
    return BD_OK;
}

bd_status bench_peak(bench *self, bd_error *error)
{
    const bd_target *target = &self->device->target;
    const bool wide = target->is_cpu && target->vector_types;
    char units[256] = "the device reports no matrix units";
    if (self->device->info.matrix_units[0])
        snprintf(units, sizeof units, "the engine does not use them yet: %s", self->device->info.matrix_units);
    static const struct {
        const char *name;
        bool halves, vector;
    } formats[] = { { "fp32", false, false }, { "fp16 scalar", true, false }, { "fp16 vector", true, true } };
    bd_status status = BD_OK;
    for (size_t i = 0; i < sizeof formats / sizeof *formats && !status && !bench_stopped(self); i++) {
        /* A CPU's vectors are the kernel's where the language has them; a GPU's halves come in pairs. */
        const bool spread = formats[i].vector || !formats[i].halves;
        const uint32_t width = wide && spread ? 8 : formats[i].vector ? 2 : 1;
        status = run_one(self, formats[i].name, width, formats[i].halves, error);
    }
    if (!status)
        status = missing(self, "bf16", "the engine has no BF16 yet", error);
    if (!status)
        status = missing(self, "int8 dot", "the engine has no INT8 yet", error);
    return status ? status : missing(self, "matrix units", units, error);
}
