/* The reference as a device: host memory, and programs that run the plan's graph through the interpreter at once. */
#include "../backend.h"
#include "interpret.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bd_buffer {
    uint64_t size;
    unsigned char bytes[];
};

/* Everything is done when the call returns, so all events are this one. */
struct bd_event {
    char nothing;
};

struct bd_backend_program {
    bd_graph *graph;       /* the plan's, which outlives the program */
    bd_binding *variables; /* by node number; owned */
};

typedef struct reference_device {
    bd_device base;
    uint64_t allocated, peak;
    bd_event event;
} reference_device;

static reference_device *own(bd_device *device)
{
    return (reference_device *)device;
}

/* ---- devices ---- */

static bd_device_info describe(void)
{
    bd_device_info info = { .id = "reference",
                            .backend = "reference",
                            .vendor = "Binade",
                            .name = "Reference interpreter in double precision",
                            .type = BD_DEVICE_CPU };
    snprintf(info.driver, sizeof info.driver, "host CPU, one thread");
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    info.limits = (bd_limits){
        .memory_bytes = memory,
        .max_buffer_bytes = memory,
        .max_binding_bytes = memory,
        .max_bindings = INT_MAX,
        .buffer_alignment = 1,
        .max_workgroup_items = 1,
        .max_workgroup_size = { 1, 1, 1 },
        .max_workgroup_count = { INT_MAX, INT_MAX, INT_MAX },
        .compute_units = 1,
    };
    return info;
}

static bd_status reference_list(bd_device_info **infos, size_t *count, bd_error *error)
{
    bd_device_info *grown = realloc(*infos, (*count + 1) * sizeof *grown);
    if (!grown)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory on the host for the list of devices");
    grown[*count] = describe();
    *infos = grown;
    ++*count;
    return BD_OK;
}

static bd_status reference_open(size_t index, bd_cache *cache, bd_device **device, bd_error *error)
{
    if (index > 0)
        return bd_fail(error, BD_ERROR_ARGUMENT, "there is one reference device, not %zu", index + 1);
    reference_device *opened = calloc(1, sizeof *opened);
    if (!opened)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory on the host for the reference device");
    bd_device *base = &opened->base;
    base->backend = bd_reference_backend();
    base->cache = cache;
    base->info = describe();
    /* True by construction: bd_round does every conversion. */
    base->info.half = (bd_half_support){ .storage = true,
                                         .arithmetic = true,
                                         .arithmetic_exact = true,
                                         .conversion_exact = true,
                                         .subnormals = true,
                                         .rounding = BD_ROUNDING_NEAREST_EVEN,
                                         .subnormals_f32 = true };
    bd_target_default(&base->target); /* its kernels are planned, counted and shown, but never printed */
    base->target.limits.memory_bytes = base->info.limits.memory_bytes;
    base->target.half = base->info.half;
    base->target.is_cpu = true;
    *device = base;
    return BD_OK;
}

static void reference_close(bd_device *device)
{
    free(device);
}

/* ---- memory ---- */

static bd_status buffer_create(bd_device *device, uint64_t size, bd_buffer **buffer, bd_error *error)
{
    if (size > SIZE_MAX - sizeof **buffer || !(*buffer = calloc(1, sizeof **buffer + (size_t)size)))
        return bd_fail(error, BD_ERROR_MEMORY, "no memory on the host for a buffer of %llu bytes",
                       (unsigned long long)size);
    (*buffer)->size = size;
    reference_device *self = own(device);
    self->allocated += size;
    if (self->peak < self->allocated)
        self->peak = self->allocated;
    return BD_OK;
}

static void buffer_destroy(bd_device *device, bd_buffer *buffer)
{
    if (!buffer)
        return;
    own(device)->allocated -= buffer->size;
    free(buffer);
}

static void give_event(bd_device *device, bd_event **event)
{
    if (event)
        *event = &own(device)->event;
}

static bd_status buffer_write(bd_device *device, bd_buffer *buffer, uint64_t offset, const void *data, uint64_t size,
                              bd_event **event, bd_error *error)
{
    (void)error;
    memcpy(buffer->bytes + offset, data, (size_t)size);
    give_event(device, event);
    return BD_OK;
}

static bd_status buffer_read(bd_device *device, bd_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                             bd_event **event, bd_error *error)
{
    (void)error;
    memcpy(data, buffer->bytes + offset, (size_t)size);
    give_event(device, event);
    return BD_OK;
}

static void memory(const bd_device *device, uint64_t *now, uint64_t *peak)
{
    const reference_device *self = (const reference_device *)device;
    *now = self->allocated;
    *peak = self->peak;
}

/* ---- programs ---- */

static bd_status program_create(bd_device *device, const bd_program_desc *desc, bd_backend_program **program,
                                bd_error *error)
{
    (void)device;
    size_t nodes = (size_t)desc->plan->graph->node_count;
    bd_backend_program *created = calloc(1, sizeof *created);
    bd_binding *variables = calloc(nodes + 1, sizeof *variables);
    if (!created || !variables) {
        free(created);
        free(variables);
        return bd_fail(error, BD_ERROR_MEMORY, "no memory on the host for a program of %zu nodes", nodes);
    }
    memcpy(variables, desc->variables, nodes * sizeof *variables);
    *created = (bd_backend_program){ desc->plan->graph, variables };
    *program = created;
    if (desc->progress)
        desc->progress(desc->user, desc->dispatch_count, desc->dispatch_count);
    return BD_OK;
}

static void program_destroy(bd_device *device, bd_backend_program *program)
{
    (void)device;
    if (!program)
        return;
    free(program->variables);
    free(program);
}

static bd_status read_variable(void *user, bd_tensor variable, int64_t first, int64_t count, double *values,
                               bd_error *error)
{
    (void)error;
    const bd_backend_program *program = user;
    const bd_binding *binding = &program->variables[variable];
    bd_format format = bd_node_at(program->graph, variable)->format;
    const unsigned char *storage = binding->buffer->bytes + binding->offset;
    bd_format_decode(format, storage + (uint64_t)first * bd_format_size(format), values, (size_t)count);
    return BD_OK;
}

static bd_status write_variable(void *user, bd_tensor variable, const double *values, bd_error *error)
{
    (void)error;
    const bd_backend_program *program = user;
    const bd_binding *binding = &program->variables[variable];
    const bd_node *node = bd_node_at(program->graph, variable);
    if (binding->buffer) /* none where there are no elements */
        bd_format_encode(node->format, values, binding->buffer->bytes + binding->offset,
                         (size_t)bd_shape_elements(&node->shape));
    return BD_OK;
}

static bd_status program_run(bd_device *device, bd_backend_program *program, uint32_t repeats, bd_error *error)
{
    (void)device;
    bd_interpret_params params = { .graph = program->graph, .access = { read_variable, write_variable, program } };
    for (uint32_t i = 0; i < repeats; i++) {
        bd_status status = bd_interpret(&params, error);
        if (status != BD_OK)
            return status;
    }
    return BD_OK;
}

/* ---- the queue: nothing is ever under way ---- */

static bool event_done(bd_device *device, bd_event *event)
{
    (void)device;
    (void)event;
    return true;
}

static bd_status event_wait(bd_device *device, bd_event *event, bd_error *error)
{
    (void)device;
    (void)event;
    (void)error;
    return BD_OK;
}

static void event_destroy(bd_device *device, bd_event *event)
{
    (void)device;
    (void)event;
}

static bd_status finish(bd_device *device, bd_error *error)
{
    (void)device;
    (void)error;
    return BD_OK;
}

const bd_backend *bd_reference_backend(void)
{
    static const bd_backend backend = {
        .name = "reference",
        .dialect = BD_DIALECT_NONE,
        .list = reference_list,
        .open = reference_open,
        .close = reference_close,
        .buffer_create = buffer_create,
        .buffer_destroy = buffer_destroy,
        .buffer_write = buffer_write,
        .buffer_read = buffer_read,
        .program_create = program_create,
        .program_destroy = program_destroy,
        .program_run = program_run,
        .event_done = event_done,
        .event_wait = event_wait,
        .event_destroy = event_destroy,
        .finish = finish,
        .memory = memory,
    };
    return &backend;
}
