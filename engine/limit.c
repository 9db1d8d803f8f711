/* Simulated limits: a device is made to look like a smaller one. */
#include "../backends/backend.h"
#include "tile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Devices by name, for all backends: what is not there is not limited, since no source was found. */
static const struct profile {
    const char *name, *items;
} profiles[] = {
    /* The least that Vulkan 1.3 asks of every device: the specification, "Required Limits". */
    { "minimum-vulkan", "shared=16K,workgroup=128,subgroup=none,fp16=storage,binding=128M" },
    /* shared: Mesa, src/panfrost/vulkan/panvk_physical_device.c, maxComputeSharedMemorySize. workgroup and subgroup: a
     * clinfo of Arm's driver, https://github.com/CNugteren/CLBlast/issues/375 (the preferred multiple; in Mesa
     * pan_subgroup_size(7)). Native halves: https://github.com/ARM-software/ComputeLibrary/issues/953. binding: not
     * found. */
    { "mali-g52", "shared=32K,workgroup=384,subgroup=8" },
    /* Mesa: shared, src/freedreno/common/freedreno_devices.py, GPUId(640); workgroup,
     * src/freedreno/vulkan/tu_device.cc, maxComputeWorkGroupSize; binding, src/freedreno/vulkan/tu_common.h,
     * MAX_STORAGE_BUFFER_RANGE, which is Qualcomm's own. subgroup: not found for this one. */
    { "adreno-640", "shared=32K,workgroup=1024,binding=128M" },
    /* Mesa: src/asahi/vulkan/hk_physical_device.c and hk_limits.h. binding: 2 GiB - 1 there, and in MoltenVK 4 GiB - 1
     * (https://github.com/vulkano-rs/vulkano/issues/1919), so none here. */
    { "apple-m1", "shared=32K,workgroup=1024,subgroup=32" },
    /* Generation 9. shared: Mesa, src/intel/vulkan/anv_device.c, maxComputeSharedMemorySize. workgroup and subgroup: a
     * clinfo of Intel's OpenCL, https://github.com/intel/compute-runtime/issues/428 (Mesa's Vulkan allows larger
     * groups). binding: vulkaninfo of a UHD 630, https://github.com/KhronosGroup/Vulkan-Tools/issues/491. */
    { "intel-uhd", "shared=64K,workgroup=256,subgroup=32,binding=1G" },
};
enum { PROFILES = sizeof profiles / sizeof *profiles };

static const struct profile *find_profile(const char *item, size_t length)
{
    for (size_t i = 0; i < PROFILES; i++)
        if (strlen(profiles[i].name) == length && memcmp(item, profiles[i].name, length) == 0)
            return &profiles[i];
    return NULL;
}

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

/* Matrix units want the subgroups and the half arithmetic that they were made for. */
static void remove_matrix_units(bd_device *device)
{
    device->info.matrix_units[0] = '\0';
    device->info.f8_sum_bits = 0;
    device->target.matrix = (bd_matrix_units){ 0 };
    device->target.joined = (bd_joined_matrices){ 0 };
}

static void limit_subgroup(bd_device *device, uint32_t size)
{
    if (size == device->info.limits.subgroup_size)
        return;
    device->info.limits.subgroup_size = size;
    device->target.shuffles = false;
    remove_matrix_units(device);
}

/* Halves that are computed in FP32; `packed`: and stored two to a word, and converted by whole numbers, since the
 * driver's own conversions were tried with 16-bit elements only. */
static void limit_halves(bd_device *device, bool packed)
{
    bd_half_support *half = &device->info.half;
    half->arithmetic = half->arithmetic_exact = false;
    if (packed)
        half->storage = half->conversion_exact = false;
    remove_matrix_units(device);
}

static bd_status refuse(const char *item, size_t length, bd_error *error)
{
    char names[128] = "";
    for (size_t i = 0, used = 0; i < PROFILES; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, ", %s", profiles[i].name);
    return bd_fail(
        error, BD_ERROR_ARGUMENT,
        "limit '%.*s': wanted shared= (16K at least), workgroup=, binding= (64K at least) or memory=SIZE, "
        "subgroup=none or a power of two to 128, fp16=storage or packed, without=VARIANT (last-group, matrix), or "
        "one of%s",
        (int)(length < 80 ? length : 80), item, names + 1);
}

static bd_status apply(bd_device *device, const char *item, size_t length, bd_error *error)
{
    bd_limits *limits = &device->info.limits;
    const size_t name = strcspn(item, "=,"), rest = name < length ? length - name - 1 : 0;
    const char *value = item + name + 1;
    uint64_t size = 0;
    const bool sized = rest && parse_size(value, rest, &size);
#define IS(text, word, count) ((count) == sizeof(word) - 1 && memcmp(text, word, count) == 0)
    if (IS(item, "shared", name) && sized && size >= 16384) { /* what Vulkan asks of every device */
        lower(&limits->shared_bytes, size);
        lower(&device->target.matrix.shared_bytes, size);
        lower(&device->target.matrix.warpgroup_bytes, size);
        lower(&device->target.matrix.resident_bytes, size);
        lower(&device->target.joined.shared_bytes, size);
    } else if (IS(item, "workgroup", name) && sized) {
        lower(&limits->max_workgroup_items, size);
        for (int i = 0; i < 3; i++)
            lower(&limits->max_workgroup_size[i], size);
    } else if (IS(item, "subgroup", name) && rest && IS(value, "none", rest)) {
        limit_subgroup(device, 0);
    } else if (IS(item, "subgroup", name) && sized && size <= 128 && (size & (size - 1)) == 0) {
        limit_subgroup(device, (uint32_t)size);
    } else if (IS(item, "fp16", name) && rest && IS(value, "storage", rest)) {
        limit_halves(device, false);
    } else if (IS(item, "fp16", name) && rest && IS(value, "packed", rest)) {
        limit_halves(device, true);
    } else if (IS(item, "binding", name) && sized && size >= 65536) {
        /* In OpenCL a kernel sees whole buffers: there is nothing to cut. */
        if (device->backend == bd_vulkan_backend() && (size < limits->max_binding_bytes || !limits->max_binding_bytes))
            limits->max_binding_bytes = size;
    } else if (IS(item, "without", name) && rest && bd_variant_avoid(&device->target, value, rest)) {
        return BD_OK;
    } else if (IS(item, "memory", name) && sized) {
        if (size < limits->memory_bytes || !limits->memory_bytes)
            limits->memory_bytes = size;
    } else {
        return refuse(item, length, error);
    }
#undef IS
    return BD_OK;
}

static bd_status apply_all(bd_device *device, const char *text, bd_error *error)
{
    bd_status status = BD_OK;
    for (const char *item = text; item && status == BD_OK;) {
        const size_t length = strcspn(item, ",");
        const struct profile *profile = find_profile(item, length);
        status = profile ? apply_all(device, profile->items, error) : apply(device, item, length, error);
        item = item[length] ? item + length + 1 : NULL;
    }
    return status;
}

bd_status bd_device_limit(bd_device *device, const char *text, bd_error *error)
{
    if (device->backend == bd_reference_backend())
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "the reference has no limits to lower: name another device");
    char *limit = device->info.limit;
    const size_t used = strlen(limit), size = sizeof device->info.limit;
    if (used + strlen(text) + 2 > size)
        return bd_fail(error, BD_ERROR_ARGUMENT, "limits of more than %zu characters: '%.80s...'", size - 1, text);
    bd_status status = apply_all(device, text, error);
    if (status != BD_OK)
        return status;
    snprintf(limit + used, size - used, "%s%s", used ? "," : "", text);
    device->target.limits = device->info.limits;
    device->target.half = device->info.half;
    return BD_OK;
}
