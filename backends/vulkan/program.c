/* Programs: dispatches recorded once into a command buffer that is submitted again and again. */
#include "../tensor_map.h"
#include "vulkan.h"

#include "../../engine/parallel.h"
#include "../../engine/tile.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Runs in one submission: enough to hide its cost, few enough that no driver's watchdog takes a long batch for a
 * hang. */
#define RUNS_PER_SUBMISSION 16

typedef struct unique_pipeline {
    XXH128_hash_t source; /* which declares the bindings */
    VkPipeline handle;
    bd_vk_function function; /* instead of it, where kernels are launched */
} unique_pipeline;

typedef struct recorded {
    VkPipeline pipeline;
    VkPipelineLayout layout;
    VkDescriptorSet set;
    uint32_t groups[3];
    bool barrier;        /* before it */
    bd_vk_launch launch; /* in place of the dispatch */
} recorded;

struct bd_backend_program {
    unique_pipeline *pipelines;
    int pipeline_count;
    recorded *dispatches;
    int dispatch_count;
    VkDescriptorPool pool;
    bd_buffer *maps;     /* tensor maps of the launches, in their order; NULL: they have none */
    VkBufferView *views; /* of the bindings that are read as texels */
    uint32_t view_count;
    VkCommandBuffer commands, profile_commands; /* the latter made on demand */
    VkQueryPool queries;
    uint64_t serial; /* of the last submission */
};

static void record_dispatch(bd_vk_device *device, VkCommandBuffer commands, const recorded *dispatch)
{
    if (dispatch->launch.function) {
        bd_vk_launch_record(device, commands, &dispatch->launch);
        return;
    }
    device->vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, dispatch->pipeline);
    device->vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, dispatch->layout, 0, 1, &dispatch->set,
                                       0, NULL);
    device->vk.vkCmdDispatch(commands, dispatch->groups[0], dispatch->groups[1], dispatch->groups[2]);
}

static VkResult begin(bd_vk_device *device, VkCommandBufferUsageFlags usage, VkCommandBuffer *commands)
{
    VkCommandBufferAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                         .commandPool = device->pool,
                                         .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                         .commandBufferCount = 1 };
    VkCommandBufferBeginInfo start = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO, .flags = usage };
    VkResult code = device->vk.vkAllocateCommandBuffers(device->handle, &info, commands);
    return code == VK_SUCCESS ? device->vk.vkBeginCommandBuffer(*commands, &start) : code;
}

static bd_status record(bd_vk_device *device, bd_backend_program *program, bd_error *error)
{
    VkResult code = begin(device, VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT, &program->commands);
    if (code == VK_SUCCESS) {
        for (int i = 0; i < program->dispatch_count; i++) {
            if (program->dispatches[i].barrier)
                bd_vk_kernel_barrier(device, program->commands);
            record_dispatch(device, program->commands, &program->dispatches[i]);
        }
        bd_vk_final_barrier(device, program->commands, device->unified);
        code = device->vk.vkEndCommandBuffer(program->commands);
    }
    return code == VK_SUCCESS ? BD_OK : bd_vk_device_fail(device, error, code, "record a program");
}

/* Everything that makes a program's pipelines, by several threads: equal kernels have equal text. */
typedef struct making {
    bd_vk_device *device;
    bd_backend_program *program;
    const bd_program_desc *desc;
    bd_vk_layout *layouts; /* of each dispatch */
    const int *first;      /* of each pipeline: the first dispatch that has it */
} making;

static bd_status make_pipeline(void *user, int64_t number, bd_error *error)
{
    const making *m = user;
    const int first = m->first[number];
    const bd_dispatch *dispatch = &m->desc->dispatches[first];
    const bd_tile_kind kind = dispatch->kernel->tile.kind;
    if (bd_tile_is_ptx(&dispatch->kernel->tile))
        return bd_vk_function_create(m->device, dispatch->kernel->name, dispatch->source,
                                     &m->program->pipelines[number].function, error);
    const bool matrices = kind == BD_TILE_MATRIX || kind == BD_TILE_MATRIX8 || kind == BD_TILE_MATRIX2;
    return bd_vk_pipeline_create(m->device, dispatch->kernel->name, dispatch->source, &m->layouts[first],
                                 matrices ? m->device->base.target.matrix.lanes : 0,
                                 &m->program->pipelines[number].handle, error);
}

static void report_pipelines(void *user, int64_t done, int64_t total)
{
    const bd_program_desc *desc = ((const making *)user)->desc;
    if (desc->progress)
        desc->progress(desc->user, (int)(done * desc->dispatch_count / total), desc->dispatch_count);
}

/* Fills `of_dispatch`: each dispatch's pipeline, by its number. */
static bd_status make_pipelines(bd_vk_device *device, bd_backend_program *program, const bd_program_desc *desc,
                                bd_vk_layout *layouts, int *of_dispatch, bd_error *error)
{
    int *first = calloc((size_t)desc->dispatch_count + 1, sizeof *first);
    if (!first)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a program of %d kernels", desc->dispatch_count);
    for (int i = 0; i < desc->dispatch_count; i++) {
        const XXH128_hash_t source = XXH3_128bits(desc->dispatches[i].source, strlen(desc->dispatches[i].source));
        int known = 0;
        while (known < program->pipeline_count && !XXH128_isEqual(program->pipelines[known].source, source))
            known++;
        if (known == program->pipeline_count) {
            first[known] = i;
            program->pipelines[program->pipeline_count++].source = source;
        }
        of_dispatch[i] = known;
    }
    making m = { device, program, desc, layouts, first };
    const bd_status status = bd_parallel(program->pipeline_count, 0, make_pipeline, &m, report_pipelines, error);
    free(first);
    return status;
}

static bd_status create_descriptor_pool(bd_vk_device *device, bd_backend_program *program, const bd_program_desc *desc,
                                        bd_error *error)
{
    uint32_t buffers = 0, texels = 0;
    for (int i = 0; i < desc->dispatch_count; i++)
        for (int j = 0; j < desc->dispatches[i].binding_count; j++)
            *(desc->dispatches[i].bindings[j].access == BD_ACCESS_BUFFER ? &buffers : &texels) += 1;
    program->views = calloc((size_t)texels + 1, sizeof *program->views);
    if (!program->views)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for texel buffers");
    VkDescriptorPoolSize sizes[2];
    uint32_t size_count = 0;
    if (buffers)
        sizes[size_count++] = (VkDescriptorPoolSize){ VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, buffers };
    if (texels)
        sizes[size_count++] = (VkDescriptorPoolSize){ VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, texels };
    VkDescriptorPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                        .maxSets = (uint32_t)desc->dispatch_count,
                                        .poolSizeCount = size_count,
                                        .pPoolSizes = sizes };
    VkResult code = device->vk.vkCreateDescriptorPool(device->handle, &info, NULL, &program->pool);
    return code == VK_SUCCESS ? BD_OK : bd_vk_device_fail(device, error, code, "create a descriptor pool");
}

static VkResult create_view(bd_vk_device *device, bd_backend_program *program, const bd_binding *binding,
                            VkBufferView **view)
{
    const uint64_t texel = bd_format_size(binding->format) * binding->access;
    VkBufferViewCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                    .buffer = binding->buffer->handle,
                                    .format = bd_vk_texel_format(binding->format, binding->access),
                                    .offset = binding->offset,
                                    .range = binding->size / texel * texel };
    *view = &program->views[program->view_count];
    VkResult code = device->vk.vkCreateBufferView(device->handle, &info, NULL, *view);
    program->view_count += code == VK_SUCCESS;
    return code;
}

static bd_status write_set(bd_vk_device *device, bd_backend_program *program, const bd_dispatch *dispatch,
                           VkDescriptorSet set, VkDescriptorBufferInfo *parts, VkWriteDescriptorSet *writes,
                           bd_error *error)
{
    const uint32_t count = (uint32_t)dispatch->binding_count;
    for (uint32_t i = 0; i < count; i++) {
        const bd_binding *binding = &dispatch->bindings[i];
        writes[i] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, .dstSet = set, .dstBinding = i, .descriptorCount = 1
        };
        if (binding->access == BD_ACCESS_BUFFER) {
            /* Whole words, as bytes and halves may be read by the word; the buffer's capacity has them. */
            uint64_t size = (binding->size + 3) / 4 * 4;
            parts[i] = (VkDescriptorBufferInfo){ binding->buffer->handle, binding->offset, size };
            writes[i].descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
            writes[i].pBufferInfo = &parts[i];
        } else {
            VkBufferView *view;
            VkResult code = create_view(device, program, binding, &view);
            if (code != VK_SUCCESS)
                return bd_vk_device_fail(device, error, code, "create a texel buffer");
            writes[i].descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
            writes[i].pTexelBufferView = view;
        }
    }
    device->vk.vkUpdateDescriptorSets(device->handle, count, writes, 0, NULL);
    return BD_OK;
}

static bd_status create_set(bd_vk_device *device, bd_backend_program *program, const bd_dispatch *dispatch,
                            const bd_vk_layout *layout, VkDescriptorSet *set, bd_error *error)
{
    VkDescriptorSetAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                         .descriptorPool = program->pool,
                                         .descriptorSetCount = 1,
                                         .pSetLayouts = &layout->set };
    VkResult code = device->vk.vkAllocateDescriptorSets(device->handle, &info, set);
    if (code != VK_SUCCESS)
        return bd_vk_device_fail(device, error, code, "allocate a descriptor set");
    VkDescriptorBufferInfo *parts = calloc((size_t)layout->count + 1, sizeof *parts);
    VkWriteDescriptorSet *writes = calloc((size_t)layout->count + 1, sizeof *writes);
    bd_status status = parts && writes ? write_set(device, program, dispatch, *set, parts, writes, error)
                                       : bd_fail(error, BD_ERROR_MEMORY, "no memory for a descriptor set");
    free(parts);
    free(writes);
    return status;
}

bd_status bd_vk_program_create(bd_device *base, const bd_program_desc *desc, bd_backend_program **result,
                               bd_error *error)
{
    bd_vk_device *device = bd_vk_device_of(base);
    *result = NULL;
    bd_backend_program *program = calloc(1, sizeof *program);
    size_t room = (size_t)desc->dispatch_count + 1;
    if (program) {
        program->pipelines = calloc(room, sizeof *program->pipelines);
        program->dispatches = calloc(room, sizeof *program->dispatches);
    }
    if (!program || !program->pipelines || !program->dispatches) {
        bd_vk_program_destroy(base, program);
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a program of %d kernels", desc->dispatch_count);
    }
    bd_vk_layout *layouts = calloc(room, sizeof *layouts);
    int *pipelines = calloc(room, sizeof *pipelines);
    bd_status status = layouts && pipelines ? BD_OK
                                            : bd_fail(error, BD_ERROR_MEMORY, "no memory for a program of %d kernels",
                                                      desc->dispatch_count);
    if (status == BD_OK && desc->dispatch_count)
        status = create_descriptor_pool(device, program, desc, error);
    for (int i = 0; i < desc->dispatch_count && status == BD_OK; i++)
        status = bd_vk_layout_get(device, desc->dispatches[i].bindings, (uint32_t)desc->dispatches[i].binding_count,
                                  &layouts[i], error);
    if (status == BD_OK)
        status = make_pipelines(device, program, desc, layouts, pipelines, error);
    if (status == BD_OK)
        status = bd_vk_tensor_maps(device, desc, &program->maps, error);
    uint64_t maps_used = 0;
    bd_vk_hazards hazards = { 0 };
    for (int i = 0; i < desc->dispatch_count && status == BD_OK; i++) {
        const bd_dispatch *dispatch = &desc->dispatches[i];
        recorded *entry = &program->dispatches[i];
        memcpy(entry->groups, dispatch->kernel->groups, sizeof entry->groups);
        entry->pipeline = program->pipelines[pipelines[i]].handle;
        entry->layout = layouts[i].pipeline;
        const bd_vk_function *function = &program->pipelines[pipelines[i]].function;
        if (function->handle)
            status = bd_vk_launch_init(function, dispatch, program->maps, maps_used, &entry->launch, error);
        else
            status = create_set(device, program, dispatch, &layouts[i], &entry->set, error);
        if (status == BD_OK &&
            !bd_vk_hazards_add(&hazards, dispatch->bindings, dispatch->binding_count, &entry->barrier))
            status = bd_fail(error, BD_ERROR_MEMORY, "no memory for a program of %d kernels", desc->dispatch_count);
        maps_used += dispatch->mapped ? BD_MAPS_BYTES : 0;
        program->dispatch_count = i + 1;
    }
    free(layouts);
    free(pipelines);
    bd_vk_hazards_finish(&hazards);
    if (status == BD_OK)
        status = record(device, program, error);
    if (status != BD_OK) {
        bd_vk_program_destroy(base, program);
        return status;
    }
    if (desc->progress) /* somebody waits for it: a network, not one of the tuner's candidates, which are saved at the end */
        bd_vk_pipeline_save(device);
    *result = program;
    return BD_OK;
}

void bd_vk_program_destroy(bd_device *base, bd_backend_program *program)
{
    bd_vk_device *device = bd_vk_device_of(base);
    if (!program)
        return;
    bd_vk_wait(device, program->serial, NULL);
    if (program->commands)
        device->vk.vkFreeCommandBuffers(device->handle, device->pool, 1, &program->commands);
    if (program->profile_commands)
        device->vk.vkFreeCommandBuffers(device->handle, device->pool, 1, &program->profile_commands);
    device->vk.vkDestroyQueryPool(device->handle, program->queries, NULL);
    device->vk.vkDestroyDescriptorPool(device->handle, program->pool, NULL);
    bd_vk_buffer_destroy(base, program->maps);
    for (uint32_t i = 0; i < program->view_count; i++)
        device->vk.vkDestroyBufferView(device->handle, program->views[i], NULL);
    for (int i = 0; i < program->dispatch_count; i++)
        bd_vk_launch_finish(&program->dispatches[i].launch);
    for (int i = 0; i < program->pipeline_count; i++) {
        device->vk.vkDestroyPipeline(device->handle, program->pipelines[i].handle, NULL);
        bd_vk_function_destroy(device, &program->pipelines[i].function);
    }
    free(program->views);
    free(program->pipelines);
    free(program->dispatches);
    free(program);
}

bd_status bd_vk_program_run(bd_device *base, bd_backend_program *program, uint32_t repeats, bd_error *error)
{
    VkCommandBuffer batch[RUNS_PER_SUBMISSION];
    for (int i = 0; i < RUNS_PER_SUBMISSION; i++)
        batch[i] = program->commands;
    bd_status status = BD_OK;
    while (repeats && status == BD_OK) {
        uint32_t count = repeats < RUNS_PER_SUBMISSION ? repeats : RUNS_PER_SUBMISSION;
        status = bd_vk_submit(bd_vk_device_of(base), batch, count, &program->serial, error);
        repeats -= count;
    }
    return status;
}

/* ---- profile ---- */

static bd_status record_profile(bd_vk_device *device, bd_backend_program *program, bd_error *error)
{
    uint32_t count = (uint32_t)program->dispatch_count + 1;
    VkQueryPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                   .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                   .queryCount = count };
    VkResult code = device->vk.vkCreateQueryPool(device->handle, &info, NULL, &program->queries);
    if (code == VK_SUCCESS)
        code = begin(device, 0, &program->profile_commands);
    if (code == VK_SUCCESS) {
        VkCommandBuffer commands = program->profile_commands;
        device->vk.vkCmdResetQueryPool(commands, program->queries, 0, count);
        device->vk.vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, program->queries, 0);
        for (int i = 0; i < program->dispatch_count; i++) {
            record_dispatch(device, commands, &program->dispatches[i]);
            /* So that times do not overlap. */
            bd_vk_kernel_barrier(device, commands);
            device->vk.vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, program->queries,
                                           (uint32_t)i + 1);
        }
        bd_vk_final_barrier(device, commands, device->unified);
        code = device->vk.vkEndCommandBuffer(commands);
    }
    if (code == VK_SUCCESS)
        return BD_OK;
    if (program->profile_commands)
        device->vk.vkFreeCommandBuffers(device->handle, device->pool, 1, &program->profile_commands);
    device->vk.vkDestroyQueryPool(device->handle, program->queries, NULL);
    program->profile_commands = NULL;
    program->queries = VK_NULL_HANDLE;
    return bd_vk_device_fail(device, error, code, "record a program with time stamps");
}

bd_status bd_vk_program_profile(bd_device *base, bd_backend_program *program, uint64_t *nanoseconds, bd_error *error)
{
    bd_vk_device *device = bd_vk_device_of(base);
    if (device->timestamp_bits == 0)
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "%s has no clock for kernels", base->info.id);
    if (program->dispatch_count == 0)
        return BD_OK;
    bd_status status = program->profile_commands ? BD_OK : record_profile(device, program, error);
    if (status == BD_OK)
        status = bd_vk_submit(device, &program->profile_commands, 1, &program->serial, error);
    if (status == BD_OK)
        status = bd_vk_wait(device, program->serial, error);
    if (status != BD_OK)
        return status;
    size_t count = (size_t)program->dispatch_count + 1;
    uint64_t *ticks = calloc(count, sizeof *ticks);
    if (!ticks)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the times of %d kernels", program->dispatch_count);
    VkResult code =
        device->vk.vkGetQueryPoolResults(device->handle, program->queries, 0, (uint32_t)count, count * sizeof *ticks,
                                         ticks, sizeof *ticks, VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT);
    uint64_t mask = device->timestamp_bits < 64 ? (UINT64_C(1) << device->timestamp_bits) - 1 : UINT64_MAX;
    for (int i = 0; i < program->dispatch_count && code == VK_SUCCESS; i++)
        nanoseconds[i] =
            (uint64_t)((double)((ticks[i + 1] - ticks[i]) & mask) * (double)device->properties.limits.timestampPeriod);
    free(ticks);
    return code == VK_SUCCESS ? BD_OK : bd_vk_device_fail(device, error, code, "read time stamps");
}
