/* Tensor maps of a program whose kernels are launched as PTX (launch.c): made once, by a kernel. */
#include "../tensor_map.h"
#include "../../engine/embedded.h"
#include "vulkan.h"

#include <stdlib.h>

enum { BUFFERS = 2, ARGUMENTS = BUFFERS + BD_MAP_VALUES };

/* One launch; the arguments stay until it has run. */
typedef struct making {
    uint64_t values[ARGUMENTS];
    const void *pointers[ARGUMENTS];
} making;

static void record_map(bd_vk_device *device, VkCommandBuffer commands, const bd_vk_function *function,
                       const bd_dispatch *dispatch, int side, uint64_t first, const bd_buffer *maps, making *made)
{
    made->values[0] = maps->address;
    made->values[1] = dispatch->bindings[dispatch->maps[side].operand].buffer->address;
    bd_map_values(dispatch, side, first, made->values + BUFFERS);
    for (int i = 0; i < ARGUMENTS; i++)
        made->pointers[i] = &made->values[i];
    const bd_vk_launch launch = { .function = function->handle,
                                  .groups = { 1, 1, 1 },
                                  .local = { BD_MAP_ITEMS, 1, 1 },
                                  .shared_bytes = function->shared_bytes,
                                  .pointers = made->pointers,
                                  .count = ARGUMENTS };
    bd_vk_launch_record(device, commands, &launch);
}

static bd_status make_maps(bd_vk_device *device, const bd_vk_function *function, const bd_program_desc *desc,
                           const bd_buffer *maps, making *next, bd_error *error)
{
    VkCommandBuffer commands;
    uint64_t serial, first = 0;
    bd_status status = bd_vk_commands_begin(device, &commands, error);
    if (status != BD_OK)
        return status;
    for (int i = 0; i < desc->dispatch_count; i++) {
        for (int side = 0; desc->dispatches[i].mapped && side < 2; side++)
            record_map(device, commands, function, &desc->dispatches[i], side, first, maps, next++);
        first += desc->dispatches[i].mapped ? BD_MAPS_BYTES : 0;
    }
    bd_vk_final_barrier(device, commands, false);
    status = bd_vk_commands_submit(device, commands, &serial, error);
    return status == BD_OK ? bd_vk_wait(device, serial, error) : status;
}

bd_status bd_vk_tensor_maps(bd_vk_device *device, const bd_program_desc *desc, bd_buffer **maps, bd_error *error)
{
    const uint64_t bytes = bd_maps_bytes(desc);
    bd_vk_function function = { 0 };
    *maps = NULL;
    if (bytes == 0)
        return BD_OK;
    making *room = calloc(2 * bytes / BD_MAPS_BYTES, sizeof *room);
    bd_status status = room ? bd_vk_buffer_create(&device->base, bytes, maps, error)
                            : bd_fail(error, BD_ERROR_MEMORY, "no memory for tensor maps");
    if (status == BD_OK)
        status = bd_vk_function_create(device, "tensor maps", bd_embedded_text("cl/tensor_map.cl"), &function, error);
    if (status == BD_OK)
        status = make_maps(device, &function, desc, *maps, room, error);
    bd_vk_function_destroy(device, &function);
    free(room);
    return status;
}
