/* The Vulkan backend's vtable, and its list of devices. */
#include "vulkan.h"

#include <stdlib.h>

static bd_status append(bd_device_info **infos, size_t *count, const bd_device_info *info, bd_error *error)
{
    bd_device_info *grown = realloc(*infos, (*count + 1) * sizeof *grown);
    if (!grown)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the list of devices");
    grown[*count] = *info;
    *infos = grown;
    *count += 1;
    return BD_OK;
}

static bd_status list(bd_device_info **infos, size_t *count, bd_error *error)
{
    bd_vk_instance *instance = NULL;
    bd_status status = bd_vk_instance_create(&instance, error);
    if (status != BD_OK || !instance)
        return status;
    VkPhysicalDevice *devices = NULL;
    uint32_t device_count = 0;
    status = bd_vk_physical_list(instance, &devices, &device_count, error);
    for (uint32_t i = 0; i < device_count && status == BD_OK; i++) {
        bd_device_info info;
        bd_vk_abilities abilities;
        status = bd_vk_physical_describe(devices[i], i, &info, &abilities, error);
        if (status == BD_OK)
            status = append(infos, count, &info, error);
    }
    free(devices);
    bd_vk_instance_destroy(&instance);
    return status;
}

static const bd_backend backend = {
    .name = "vulkan",
    .dialect = BD_DIALECT_GLSL,
    .list = list,
    .open = bd_vk_open,
    .close = bd_vk_close,
    .buffer_create = bd_vk_buffer_create,
    .buffer_destroy = bd_vk_buffer_destroy,
    .buffer_write = bd_vk_buffer_write,
    .buffer_read = bd_vk_buffer_read,
    .program_create = bd_vk_program_create,
    .program_destroy = bd_vk_program_destroy,
    .program_run = bd_vk_program_run,
    .program_profile = bd_vk_program_profile,
    .event_done = bd_vk_event_done,
    .event_wait = bd_vk_event_wait,
    .event_destroy = bd_vk_event_destroy,
    .finish = bd_vk_finish,
    .memory = bd_vk_memory,
};

const bd_backend *bd_vulkan_backend(void)
{
    return &backend;
}
