/* The suite bandwidth: device memory copied, read and written by a kernel, and transfers between host and device. */
#include "app.h"
#include "bench_raw.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ELEMENT = 16, /* bytes that a work-item moves at once */
    LOCAL = 256,
    PARTS = 16,          /* elements that a work-item of the read kernel sums */
    MOST_GROUPS = 65535, /* that every device can launch in a dimension */
    GRAIN = LOCAL * PARTS * ELEMENT,
};
/* Beyond the caches: the largest GPU's second level has 50 MB, and a server CPU's third level some hundred. */
static const uint64_t gpu_bytes = 256u << 20, cpu_bytes = 64u << 20;

typedef enum movement { COPY, READ, WRITE, TO_DEVICE, TO_HOST, MOVEMENTS } movement;

typedef struct transfer {
    bench_raw raw;
    movement kind;
    uint64_t bytes, out_bytes;
    uint32_t *host; /* what the first buffer holds */
    uint32_t *back; /* for what comes from the device */
} transfer;

static uint32_t pattern(uint64_t i)
{
    return (uint32_t)i * 2654435761u + 12345u;
}

/* ---- running ---- */

static bd_status create_program(transfer *t, bd_error *error)
{
    const uint32_t local = (uint32_t)fmin(LOCAL, t->raw.device->info.limits.max_workgroup_items);
    const uint64_t groups = t->bytes / ELEMENT / local / (t->kind == READ ? PARTS : 1);
    uint64_t rows = (groups + MOST_GROUPS - 1) / MOST_GROUPS;
    while (groups % rows) /* whole rows: the kernels have no condition */
        rows++;
    char defines[96];
    snprintf(defines, sizeof defines, "#define BD_KIND %d\n#define BD_PARTS %uu\n", (int)t->kind, (unsigned)PARTS);
    const bd_binding bindings[] = {
        { t->raw.buffers[0], 0, t->bytes, false, BD_ACCESS_BUFFER, BD_U32 },
        { t->raw.buffers[1], 0, t->out_bytes, true, BD_ACCESS_BUFFER, BD_U32 },
    };
    const bench_launching launching = { "bench_memory", defines, local, { (uint32_t)(groups / rows), (uint32_t)rows },
                                        bindings,       2,       1 };
    return bench_raw_program(&t->raw, &launching, error);
}

static bd_status move(void *user, uint32_t times, bd_error *error)
{
    transfer *t = user;
    const bd_backend *backend = t->raw.device->backend;
    bd_status status = BD_OK;
    for (uint32_t i = 0; i < times && !status; i++)
        status = t->kind == TO_DEVICE
                     ? backend->buffer_write(t->raw.device, t->raw.buffers[0], 0, t->host, t->bytes, NULL, error)
                     : backend->buffer_read(t->raw.device, t->raw.buffers[0], 0, t->back, t->bytes, NULL, error);
    return status ? status : backend->finish(t->raw.device, error);
}

static bd_status check(transfer *t, bench_row *row, bd_error *error)
{
    const bool kernel = t->kind <= WRITE;
    const uint64_t words = t->bytes / 4, out_words = (kernel ? t->out_bytes : t->bytes) / 4;
    bd_status status = t->raw.device->backend->buffer_read(t->raw.device, t->raw.buffers[kernel], 0, t->back,
                                                           4 * out_words, NULL, error);
    if (status)
        return status;
    uint64_t wrong = 0;
    if (t->kind == READ) { /* every word was read once: the sums of all agree, modulo 2^32 */
        uint32_t sum = 0, right = 0;
        for (uint64_t i = 0; i < words; i++)
            right += t->host[i];
        for (uint64_t i = 0; i < out_words; i++)
            sum += t->back[i];
        wrong = sum != right;
    } else {
        for (uint64_t i = 0; i < out_words; i++)
            wrong += t->back[i] != (t->kind == WRITE ? (uint32_t)i : t->host[i]);
    }
    if (wrong && t->kind == READ)
        bench_set(row, BENCH_WRONG, "the sum of what was read is not that of what is there");
    else if (wrong)
        bench_set(row, BENCH_WRONG, "%llu of %llu words are wrong", (unsigned long long)wrong,
                  (unsigned long long)out_words);
    return BD_OK;
}

static bd_status measure(bench *self, transfer *t, bench_row *row, bd_error *error)
{
    const bd_backend *backend = t->raw.device->backend;
    const bool kernel = t->kind <= WRITE;
    t->out_bytes = t->kind == READ ? t->bytes / PARTS : t->bytes;
    t->host = malloc((size_t)t->bytes);
    t->back = malloc((size_t)t->bytes);
    if (!t->host || !t->back)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory on the host for %llu bytes", (unsigned long long)t->bytes);
    for (uint64_t i = 0; i < t->bytes / 4; i++)
        t->host[i] = pattern(i);
    memset(t->back, 0, (size_t)t->bytes);
    bd_status status = bench_raw_buffer(&t->raw, 0, t->bytes, error);
    if (!status && kernel)
        status = bench_raw_buffer(&t->raw, 1, t->out_bytes, error);
    if (!status)
        status = backend->buffer_write(t->raw.device, t->raw.buffers[0], 0, t->host, t->bytes, NULL, error);
    if (!status && kernel)
        status = create_program(t, error);
    if (status)
        return status;
    row->bytes = t->kind == COPY   ? 2.0 * (double)t->bytes
                 : t->kind == READ ? (double)(t->bytes + t->out_bytes)
                                   : (double)t->bytes;
    const bench_work by_kernel = { bench_raw_run, bench_raw_clock, &t->raw }, by_host = { move, NULL, t };
    status = bench_measure(self, kernel ? &by_kernel : &by_host, row, error);
    return status || row->status != BENCH_OK || !row->wall.count ? status : check(t, row, error);
}

static bool fits(const bench *self, uint64_t bytes, bench_row *row)
{
    const bd_limits *l = &self->device->info.limits;
    char need[32], have[32];
    if (bytes > l->max_binding_bytes)
        bench_set(row, BENCH_SKIPPED, "the device binds at most %s", app_bytes(have, l->max_binding_bytes));
    else if (l->memory_bytes && 2 * bytes > l->memory_bytes)
        bench_set(row, BENCH_SKIPPED, "needs %s of device memory, and there is %s", app_bytes(need, 2 * bytes),
                  app_bytes(have, l->memory_bytes));
    return row->status == BENCH_OK;
}

static bd_status run_one(bench *self, movement kind, uint64_t bytes, bd_error *error)
{
    static const char *const names[] = { "copy", "read", "write", "host to device", "device to host" };
    char size[32];
    bench_row *row = bench_add(self, BENCH_BANDWIDTH, kind <= WRITE ? "raw" : "host", "", error, "%s %s", names[kind],
                               app_bytes(size, bytes));
    if (!row)
        return BD_ERROR_MEMORY;
    row->unit = BENCH_GBYTES;
    transfer t = { .raw = { .device = self->device }, .kind = kind, .bytes = bytes };
    bd_error failure = { 0 };
    bd_status status = BD_OK;
    if ((kind > WRITE || bench_raw_possible(self, row)) && fits(self, bytes, row))
        status = measure(self, &t, row, &failure);
    bench_raw_finish(&t.raw);
    free(t.host);
    free(t.back);
    bench_end(self, row, status, &failure);
    return BD_OK;
}

bd_status bench_bandwidth(bench *self, bd_error *error)
{
    const bd_limits *l = &self->device->info.limits;
    uint64_t bytes = self->device->info.type == BD_DEVICE_CPU ? cpu_bytes : gpu_bytes;
    while (bytes > GRAIN && (bytes > l->max_binding_bytes || (l->memory_bytes && 8 * bytes > l->memory_bytes)))
        bytes /= 2;
    const bench_shape usual = { { (int64_t)bytes }, 1 };
    bench_shape *shapes;
    size_t count;
    bd_status status = bench_shapes(self, BENCH_BANDWIDTH, &usual, 1, &shapes, &count, error);
    for (size_t i = 0; i < count; i++) {
        bytes = ((uint64_t)shapes[i].size[0] + GRAIN - 1) / GRAIN * GRAIN; /* whole groups */
        for (int kind = 0; kind < MOVEMENTS && !status && !bench_stopped(self); kind++)
            status = run_one(self, (movement)kind, bytes, error);
    }
    free(shapes);
    return status;
}
