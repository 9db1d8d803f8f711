/* Simulated limits: a device is made to look like a smaller one. */
#include "../backends/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What Vulkan 1.3 asks of every device (the specification's table of required limits), and no more. */
#define MINIMUM_VULKAN "minimum-vulkan"
#define MINIMUM_LIMITS "shared=16K,workgroup=128,subgroup=none,fp16=storage,binding=128M"

/* "128M"; false if it is no size from 1 on. */
static bool parse_size(const char *text, size_t length, uint64_t *size)
{
    char copy[32], *end;
    if (length == 0 || length >= sizeof copy || text[0] < '0' || text[0] > '9')
        return false;
    memcpy(copy, text, length);
    copy[length] = 0;
    errno = 0;
    unsigned long long number = strtoull(copy, &end, 10);
    int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    end += shift != 0;
    *size = number << shift;
    return !errno && !*end && number > 0 && *size >> shift == number;
}

static void lower(uint32_t *limit, uint64_t size)
{
    if (size < *limit)
        *limit = (uint32_t)size;
}

static bd_status apply(bd_device *device, const char *item, size_t length, bd_error *error)
{
    bd_limits *limits = &device->info.limits;
    bd_half_support *half = &device->info.half;
    const size_t name = strcspn(item, "=,"), rest = name < length ? length - name - 1 : 0;
    const char *value = item + name + 1;
    uint64_t size = 0;
    const bool sized = rest && parse_size(value, rest, &size);
#define IS(text, word, count) ((count) == sizeof(word) - 1 && memcmp(text, word, count) == 0)
    if (IS(item, "shared", name) && sized && size >= 16384) { /* what Vulkan asks of every device */
        lower(&limits->shared_bytes, size);
    } else if (IS(item, "workgroup", name) && sized) {
        lower(&limits->max_workgroup_items, size);
        for (int i = 0; i < 3; i++)
            lower(&limits->max_workgroup_size[i], size);
    } else if (IS(item, "subgroup", name) && rest && IS(value, "none", rest)) {
        limits->subgroup_size = 0;
    } else if (IS(item, "subgroup", name) && sized && size <= 128 && (size & (size - 1)) == 0) {
        limits->subgroup_size = (uint32_t)size;
    } else if (IS(item, "fp16", name) && rest && IS(value, "storage", rest)) {
        half->arithmetic = half->arithmetic_exact = false;
    } else if (IS(item, "binding", name) && sized && size >= 65536) {
        /* In OpenCL a kernel sees whole buffers: there is nothing to cut. */
        if (device->backend == bd_vulkan_backend() && (size < limits->max_binding_bytes || !limits->max_binding_bytes))
            limits->max_binding_bytes = size;
    } else if (IS(item, "memory", name) && sized) {
        if (size < limits->memory_bytes || !limits->memory_bytes)
            limits->memory_bytes = size;
    } else {
        return bd_fail(
            error, BD_ERROR_ARGUMENT,
            "limit '%.*s': wanted shared= (16K at least), workgroup=, binding= (64K at least) or memory=SIZE, "
            "subgroup=none or a power of two to 128, fp16=storage, or " MINIMUM_VULKAN,
            (int)(length < 80 ? length : 80), item);
    }
#undef IS
    return BD_OK;
}

bd_status bd_device_limit(bd_device *device, const char *text, bd_error *error)
{
    if (device->backend == bd_reference_backend())
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "the reference has no limits to lower");
    for (const char *item = text; item;) {
        const size_t length = strcspn(item, ",");
        const bool minimum = length == strlen(MINIMUM_VULKAN) && memcmp(item, MINIMUM_VULKAN, length) == 0;
        bd_status status =
            minimum ? bd_device_limit(device, MINIMUM_LIMITS, error) : apply(device, item, length, error);
        if (status != BD_OK)
            return status;
        item = item[length] ? item + length + 1 : NULL;
    }
    device->target.limits = device->info.limits;
    device->target.half = device->info.half;
    return BD_OK;
}
