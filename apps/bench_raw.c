#include "bench_raw.h"
#include "engine/embedded.h"
#include "engine/text.h"
#include <stdlib.h>
#include <string.h>

bool bench_raw_possible(const bench *self, bench_row *row)
{
    if (self->device->backend->dialect != BD_DIALECT_NONE)
        return true;
    bench_set(row, BENCH_UNSUPPORTED, "the reference interprets graphs and runs no kernels");
    return false;
}

bd_status bench_raw_buffer(bench_raw *raw, int index, uint64_t size, bd_error *error)
{
    return raw->device->backend->buffer_create(raw->device, size, &raw->buffers[index], error);
}

/* The same beginning as a step's kernels have, engine/print.c. */
static char *source_of(const bd_device *device, const bench_launching *launching)
{
    const bd_target *t = &device->target;
    const bool opencl = device->backend->dialect == BD_DIALECT_OPENCL;
    char skeleton[64];
    snprintf(skeleton, sizeof skeleton, opencl ? "cl/%s.cl" : "shaders/%s.comp", launching->name);
    const char *prelude = bd_embedded_text(opencl ? "cl/prelude.cl" : "shaders/prelude.comp");
    const char *body = bd_embedded_text(skeleton);
    bd_text text = { 0 };
    bd_text_append(&text,
                   "#define BD_HALF_STORAGE %d\n#define BD_HALF_ARITHMETIC %d\n#define BD_HALF_CONVERSION %d\n"
                   "#define BD_NVIDIA %d\n#define BD_CPU %d\n",
                   t->half.storage, t->half.arithmetic && t->half.arithmetic_exact, t->half.conversion_exact, t->nvidia,
                   t->is_cpu);
    bd_text_append_raw(&text, prelude, strlen(prelude));
    bd_text_append(&text, "\n#define BD_LOCAL %u, 1, 1\n#define BD_LOCAL_X %u\n%s", launching->local, launching->local,
                   launching->defines);
    bd_text_append_raw(&text, body, strlen(body));
    if (text.failed)
        bd_text_finish(&text);
    return text.data;
}

bd_status bench_raw_program(bench_raw *raw, const bench_launching *launching, bd_error *error)
{
    bd_device *device = raw->device;
    char *source = source_of(device, launching);
    const size_t count = (size_t)launching->dispatches;
    bd_dispatch *dispatches = calloc(count, sizeof *dispatches);
    bd_kernel kernel = { .class = BD_KERNEL_POINTWISE,
                         .local = { launching->local, 1, 1 },
                         .groups = { launching->groups[0], launching->groups[1], 1 } };
    snprintf(kernel.name, sizeof kernel.name, "%s", launching->name);
    raw->dispatches = launching->dispatches;
    raw->nanoseconds = calloc(count, sizeof *raw->nanoseconds);
    bd_status status = BD_ERROR_MEMORY;
    if (source && dispatches && raw->nanoseconds) {
        for (int i = 0; i < launching->dispatches; i++)
            dispatches[i] = (bd_dispatch){ .kernel = &kernel,
                                           .source = source,
                                           .bindings = launching->bindings + i * launching->binding_count,
                                           .binding_count = launching->binding_count };
        const bd_program_desc desc = { .dispatches = dispatches, .dispatch_count = launching->dispatches };
        status = device->backend->program_create(device, &desc, &raw->program, error);
    } else {
        bd_fail(error, status, "no memory for %zu dispatches", count);
    }
    free(dispatches);
    free(source);
    return status;
}

bd_status bench_raw_run(void *user, uint32_t times, bd_error *error)
{
    bench_raw *raw = user;
    bd_status status = raw->device->backend->program_run(raw->device, raw->program, times, error);
    return status ? status : raw->device->backend->finish(raw->device, error);
}

bd_status bench_raw_clock(void *user, double *seconds, bd_error *error)
{
    bench_raw *raw = user;
    const bd_backend *backend = raw->device->backend;
    if (!backend->program_profile)
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "%s has no clock for kernels", raw->device->info.id);
    bd_status status = backend->program_profile(raw->device, raw->program, raw->nanoseconds, error);
    *seconds = 0;
    for (int i = 0; !status && i < raw->dispatches; i++)
        *seconds += 1e-9 * (double)raw->nanoseconds[i];
    return status;
}

void bench_raw_finish(bench_raw *raw)
{
    const bd_backend *backend = raw->device->backend;
    if (raw->program) {
        backend->finish(raw->device, NULL);
        backend->program_destroy(raw->device, raw->program);
    }
    for (int i = 0; i < BENCH_BUFFERS; i++)
        if (raw->buffers[i])
            backend->buffer_destroy(raw->device, raw->buffers[i]);
    free(raw->nanoseconds);
}
