/* Whether a work-group sees what others stored before they counted themselves. */
#include "vulkan.h"

#include "../../engine/cache.h"
#include "../../engine/last_group_probe.h"

#include <stdlib.h>
#include <string.h>

/* A kernel that a driver refuses is no error: the device does without. */
static bd_status measure(bd_vk_device *device, const char *source, uint8_t *right, bd_error *error)
{
    uint32_t *words = calloc(BD_LAST_GROUP_WORDS, sizeof *words);
    if (!words)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a probe");
    const bd_vk_probe_buffer buffer = { .data = words, .size = BD_LAST_GROUP_WORDS * sizeof *words, .written = true };
    bd_status status =
        bd_vk_probe_run(device, source, BD_TILE_GROUP, BD_LAST_GROUP_GROUPS, BD_LAST_GROUP_RUNS, &buffer, 1, error);
    *right = status == BD_OK && bd_last_group_probe_right(words);
    free(words);
    return status == BD_ERROR_MEMORY || status == BD_ERROR_LOST ? status : BD_OK;
}

bd_status bd_vk_probe_last_group(bd_vk_device *device, bd_error *error)
{
    const bd_device_info *info = &device->base.info;
    if (info->limits.max_workgroup_items < BD_LAST_GROUP_ITEMS)
        return BD_OK;
    char *source = bd_last_group_probe_source(BD_DIALECT_GLSL);
    if (!source)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a probe");
    const char *parts[] = { info->name, info->driver, device->preamble, source };
    const bd_cache_key key = bd_cache_hash(parts, sizeof parts / sizeof *parts);
    bd_status status = BD_OK;
    void *known = NULL;
    size_t size = 0;
    uint8_t right = 0;
    if (bd_cache_get(device->base.cache, "vulkan last group", key, &known, &size) && size == sizeof right) {
        memcpy(&right, known, sizeof right);
    } else {
        status = measure(device, source, &right, error);
        if (status == BD_OK)
            bd_cache_put(device->base.cache, "vulkan last group", key, &right, sizeof right);
    }
    free(known);
    free(source);
    device->base.target.last_group = right;
    device->bytes_peak = device->bytes_now; /* the probe's own buffer is not the caller's */
    return status;
}
