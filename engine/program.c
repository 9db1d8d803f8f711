/* A plan bound to a store: printed, compiled and recorded by the device's backend. */
#include "store.h"
#include "tile.h"
#include "tuner.h"

#include <stdlib.h>
#include <string.h>

struct bd_program {
    bd_store *store;
    bd_plan *plan;
    bd_backend_program *recorded;
    bd_buffer *packs; /* plan->pack_bytes; NULL if that is 0 */
};

/* The region behind each node of the plan. */
static bd_status bind(const bd_program *program, bd_tensor node, bd_binding *binding, bd_error *error)
{
    const bd_store *store = program->store;
    const bd_plan *plan = program->plan;
    const bd_storage *storage = &plan->storage[node];
    if (storage->place == BD_STORAGE_ARENA || storage->place == BD_STORAGE_PACK) {
        uint64_t size = (storage->size + 3) / 4 * 4; /* whole words; both are aligned further */
        *binding = (bd_binding){ .buffer = storage->place == BD_STORAGE_ARENA ? bd_store_arena(store) : program->packs,
                                 .offset = storage->offset,
                                 .size = size };
        return BD_OK;
    }
    const bd_store_entry *entry = bd_store_find(store, plan->graph->nodes[node].attr.variable.name);
    if (!entry)
        return bd_fail(error, BD_ERROR_ARGUMENT, "variable '%s' is not in the store",
                       plan->graph->nodes[node].attr.variable.name);
    *binding = entry->binding;
    return BD_OK;
}

static void free_dispatches(bd_dispatch *dispatches, int count)
{
    for (int i = 0; dispatches && i < count; i++) {
        free((char *)dispatches[i].source);
        free((bd_binding *)dispatches[i].bindings);
    }
    free(dispatches);
}

/* The bindings of one operand: as many as it has parts, and one of texels. */
static int bind_parts(const bd_operand *operand, const bd_binding *whole, bd_format format, bd_binding *parts)
{
    for (uint32_t i = 0; i < operand->parts; i++) {
        const uint64_t most = (uint64_t)operand->part_elements * bd_format_size(format), first = i * most;
        parts[i] = *whole;
        parts[i].written = operand->written;
        parts[i].format = format;
        parts[i].offset += first;
        parts[i].size = operand->parts > 1 && i + 1 < operand->parts ? most : whole->size - first;
    }
    if (operand->access == BD_ACCESS_BUFFER)
        return (int)operand->parts;
    parts[operand->parts] = *whole;
    parts[operand->parts].access = operand->access;
    parts[operand->parts].format = format;
    return (int)operand->parts + 1;
}

static bd_status prepare(bd_program *program, bd_dispatch *dispatches, bd_binding *variables, bd_error *error)
{
    const bd_plan *plan = program->plan;
    bd_device *device = bd_store_device(program->store);
    bd_status status = BD_OK;
    for (bd_tensor t = 0; t < plan->graph->node_count && status == BD_OK; t++)
        if (plan->graph->nodes[t].op == BD_OP_VARIABLE) {
            const bd_store_entry *entry = bd_store_find(program->store, plan->graph->nodes[t].attr.variable.name);
            variables[t] = entry->binding; /* bd_store_add made it */
        }
    for (int k = 0; k < plan->kernel_count && status == BD_OK; k++) {
        const bd_kernel *kernel = &plan->kernels[k];
        const bd_dialect dialect = bd_kernel_dialect(kernel, device->backend->dialect);
        size_t count = 0;
        for (int i = 0; i < kernel->operand_count; i++)
            count += kernel->operands[i].parts + (kernel->operands[i].access != BD_ACCESS_BUFFER);
        bd_binding *bindings = calloc(count + 1, sizeof *bindings);
        if (!bindings)
            return bd_fail(error, BD_ERROR_MEMORY, "out of memory for a program");
        dispatches[k] = (bd_dispatch){ .kernel = kernel, .bindings = bindings };
        int bound = 0;
        for (int i = 0; i < kernel->operand_count && status == BD_OK; i++) {
            bd_operand operand = kernel->operands[i];
            bd_binding whole;
            if (dialect == BD_DIALECT_OPENCL)
                operand.parts = 1;
            status = bind(program, operand.node, &whole, error);
            if (status == BD_OK)
                bound += bind_parts(&operand, &whole, plan->graph->nodes[operand.node].format, &bindings[bound]);
        }
        dispatches[k].binding_count = bound;
        dispatches[k].mapped =
            dialect == BD_DIALECT_OPENCL && bd_kernel_maps(plan, kernel, &device->target, dispatches[k].maps);
        if (status == BD_OK && dialect != BD_DIALECT_NONE && kernel->class != BD_KERNEL_LIBRARY) {
            char *source;
            status = bd_kernel_source(plan, kernel, &device->target, device->backend->dialect, &source, error);
            dispatches[k].source = source;
        }
    }
    return status;
}

static bd_status record(bd_program *program, void (*progress)(void *user, int done, int total), void *user,
                        bd_error *error)
{
    bd_device *device = bd_store_device(program->store);
    const int kernels = program->plan->kernel_count;
    bd_dispatch *dispatches = calloc((size_t)kernels + 1, sizeof *dispatches);
    bd_binding *variables = calloc((size_t)program->plan->graph->node_count + 1, sizeof *variables);
    bd_status status = dispatches && variables ? prepare(program, dispatches, variables, error)
                                               : bd_fail(error, BD_ERROR_MEMORY, "out of memory for a program");
    if (status == BD_OK) {
        const bd_program_desc desc = { program->plan, dispatches, kernels, variables, progress, user };
        status = device->backend->program_create(device, &desc, &program->recorded, error);
    }
    free_dispatches(dispatches, kernels);
    free(variables);
    return status;
}

/* Kernels of inline PTX are reached in ways that no driver promises. Where one refuses a kernel, the device is done
 * with it, and other tiles take its contractions; false where there are none. */
static bool go_without_ptx(bd_program *program)
{
    bd_target *target = &bd_store_device(program->store)->target;
    bd_tile tiles[BD_GROUP_TILES];
    bool changed = false;
    for (int k = 0; k < program->plan->kernel_count; k++) {
        bd_kernel *kernel = &program->plan->kernels[k];
        if ((kernel->class != BD_KERNEL_CONTRACTION && kernel->class != BD_KERNEL_ATTENTION) ||
            !bd_tile_is_ptx(&kernel->tile))
            continue;
        target->matrix.warpgroup_bytes = target->matrix.resident_bytes = 0;
        changed = true;
        if (kernel->class == BD_KERNEL_ATTENTION) {
            bd_attention_launch(program->plan, kernel, target);
            continue;
        }
        if (bd_group_tiles(program->plan->graph, kernel->anchor, kernel, target, tiles) == 0)
            return false;
        kernel->tile = tiles[0];
        bd_group_launch(program->plan, kernel, target);
    }
    return changed;
}

bd_status bd_program_create(bd_store *store, bd_plan **plan, uint64_t seed,
                            void (*progress)(void *user, int done, int total), void *user, bd_program **result,
                            bd_error *error)
{
    *result = NULL;
    bd_program *program = calloc(1, sizeof *program);
    if (!program) {
        bd_plan_destroy(plan);
        return bd_fail(error, BD_ERROR_MEMORY, "out of memory for a program");
    }
    program->store = store;
    program->plan = *plan;
    *plan = NULL;
    bd_device *device = bd_store_device(store);
    bd_tune(device, program->plan, NULL, NULL);
    bd_status status = bd_store_add(store, program->plan->graph, seed, error);
    if (status == BD_OK)
        status = bd_store_reserve_arena(store, program->plan->arena_bytes, error);
    if (status == BD_OK && program->plan->pack_bytes)
        status = device->backend->buffer_create(device, program->plan->pack_bytes, &program->packs, error);
    if (status == BD_OK)
        status = record(program, progress, user, error);
    if (status == BD_ERROR_DEVICE && !program->plan->fixed && go_without_ptx(program))
        status = record(program, progress, user, error);
    if (status != BD_OK)
        bd_program_destroy(&program);
    *result = program;
    return status;
}

void bd_program_destroy(bd_program **pointer)
{
    bd_program *program = *pointer;
    if (!program)
        return;
    bd_device *device = bd_store_device(program->store);
    if (program->recorded) {
        device->backend->finish(device, NULL); /* nothing may run that is about to go */
        device->backend->program_destroy(device, program->recorded);
    }
    if (program->packs)
        device->backend->buffer_destroy(device, program->packs);
    bd_plan_destroy(&program->plan);
    free(program);
    *pointer = NULL;
}

bd_status bd_program_run(bd_program *program, uint32_t repeats, bd_error *error)
{
    bd_device *device = bd_store_device(program->store);
    return repeats ? device->backend->program_run(device, program->recorded, repeats, error) : BD_OK;
}

bd_status bd_program_finish(bd_program *program, bd_error *error)
{
    bd_device *device = bd_store_device(program->store);
    return device->backend->finish(device, error);
}

const bd_plan *bd_program_plan(const bd_program *program)
{
    return program->plan;
}

bd_status bd_program_profile(bd_program *program, uint64_t *nanoseconds, bd_error *error)
{
    bd_device *device = bd_store_device(program->store);
    if (!device->backend->program_profile)
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "%s has no clock for single kernels", device->info.id);
    return device->backend->program_profile(device, program->recorded, nanoseconds, error);
}
