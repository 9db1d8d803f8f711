/* Kernels that are written to measure a device, not to compute: run through the backend as a step's are. */
#ifndef BINADE_APPS_BENCH_RAW_H
#define BINADE_APPS_BENCH_RAW_H

#include "backends/backend.h"
#include "bench.h"

enum { BENCH_BUFFERS = 2 };

typedef struct bench_raw {
    bd_device *device;
    bd_buffer *buffers[BENCH_BUFFERS];
    bd_backend_program *program;
    int dispatches;
    uint64_t *nanoseconds; /* one a dispatch */
} bench_raw;

/* How the kernel of cl/NAME.cl or shaders/NAME.comp is launched: each dispatch has `binding_count` bindings of its
 * own. */
typedef struct bench_launching {
    const char *name;
    const char *defines; /* lines of #define, put before the skeleton */
    uint32_t local, groups[2];
    const bd_binding *bindings;
    int binding_count, dispatches;
} bench_launching;

/* Whether the device runs kernels of source at all; the reference does not, and the row says so. */
bool bench_raw_possible(const bench *self, bench_row *row);
bd_status bench_raw_buffer(bench_raw *raw, int index, uint64_t size, bd_error *error);
bd_status bench_raw_program(bench_raw *raw, const bench_launching *launching, bd_error *error);
/* bench_work's functions; `user` is a bench_raw. The clock gives the sum over the dispatches. */
bd_status bench_raw_run(void *user, uint32_t times, bd_error *error);
bd_status bench_raw_clock(void *user, double *seconds, bd_error *error);
void bench_raw_finish(bench_raw *raw);

#endif
