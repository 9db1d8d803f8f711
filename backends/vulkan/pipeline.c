/* Layouts, pipelines, and the driver's pipeline cache, which lies on disk behind a header of ours: a driver need not
 * survive a cache of another device or driver, or a damaged one, so anything that does not match is dropped. */
#include "vulkan.h"

#include "../../engine/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CACHE_KIND "vulkan pipelines"

typedef struct blob_header {
    char magic[8];
    uint32_t vendor, device, driver;
    uint8_t uuid[VK_UUID_SIZE];
    uint32_t reserved;
    uint64_t size;                /* of what follows */
    uint64_t hash_low, hash_high; /* XXH3-128 of what follows */
} blob_header;

static blob_header header_of(const bd_vk_device *device, const void *data, size_t size)
{
    const VkPhysicalDeviceProperties *properties = &device->properties;
    XXH128_hash_t hash = XXH3_128bits(data, size);
    blob_header header = { .magic = "BDVKPC1",
                           .vendor = properties->vendorID,
                           .device = properties->deviceID,
                           .driver = properties->driverVersion,
                           .size = size,
                           .hash_low = hash.low64,
                           .hash_high = hash.high64 };
    memcpy(header.uuid, properties->pipelineCacheUUID, VK_UUID_SIZE);
    return header;
}

void *bd_vk_pipeline_blob(const bd_vk_device *device, const void *data, size_t size, size_t *blob_size)
{
    unsigned char *blob = malloc(sizeof(blob_header) + size);
    if (blob) {
        blob_header header = header_of(device, data, size);
        memcpy(blob, &header, sizeof header);
        memcpy(blob + sizeof header, data, size);
        *blob_size = sizeof header + size;
    }
    return blob;
}

const void *bd_vk_pipeline_blob_data(const bd_vk_device *device, const void *blob, size_t blob_size, size_t *size)
{
    if (!blob || blob_size < sizeof(blob_header))
        return NULL;
    const unsigned char *data = (const unsigned char *)blob + sizeof(blob_header);
    *size = blob_size - sizeof(blob_header);
    blob_header expected = header_of(device, data, *size);
    return memcmp(blob, &expected, sizeof expected) == 0 ? data : NULL;
}

/* One entry a device, found by its name, so that a new driver's replaces the old one's. */
static bd_cache_key cache_key(const bd_vk_device *device)
{
    const char *parts[] = { CACHE_KIND, device->base.info.name };
    return bd_cache_hash(parts, sizeof parts / sizeof *parts);
}

bd_status bd_vk_pipeline_init(bd_vk_device *device, bd_error *error)
{
    void *blob = NULL;
    size_t blob_size = 0, size = 0;
    const void *data = NULL;
    if (bd_cache_get(device->base.cache, CACHE_KIND, cache_key(device), &blob, &blob_size))
        data = bd_vk_pipeline_blob_data(device, blob, blob_size, &size);
    VkPipelineCacheCreateInfo info = { .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                       .initialDataSize = data ? size : 0,
                                       .pInitialData = data };
    VkResult code = device->vk.vkCreatePipelineCache(device->handle, &info, NULL, &device->pipeline_cache);
    if (data)
        device->pipeline_cache_hash = XXH3_64bits(data, size);
    free(blob);
    return code == VK_SUCCESS ? BD_OK : bd_vk_device_fail(device, error, code, "create a pipeline cache");
}

void bd_vk_pipeline_save(bd_vk_device *device)
{
    size_t size = 0, blob_size = 0;
    if (device->vk.vkGetPipelineCacheData(device->handle, device->pipeline_cache, &size, NULL) != VK_SUCCESS ||
        size == 0)
        return;
    void *data = malloc(size), *blob = NULL;
    if (data && device->vk.vkGetPipelineCacheData(device->handle, device->pipeline_cache, &size, data) == VK_SUCCESS &&
        XXH3_64bits(data, size) != device->pipeline_cache_hash)
        blob = bd_vk_pipeline_blob(device, data, size, &blob_size);
    if (blob) {
        bd_cache_put(device->base.cache, CACHE_KIND, cache_key(device), blob, blob_size);
        device->pipeline_cache_hash = XXH3_64bits(data, size);
    }
    free(blob);
    free(data);
}

static void free_layout(bd_vk_device *device, bd_vk_layout *layout)
{
    device->vk.vkDestroyPipelineLayout(device->handle, layout->pipeline, NULL);
    device->vk.vkDestroyDescriptorSetLayout(device->handle, layout->set, NULL);
    free(layout->texels);
}

void bd_vk_pipeline_finish(bd_vk_device *device)
{
    if (device->pipeline_cache)
        bd_vk_pipeline_save(device);
    for (size_t i = 0; i < device->layout_count; i++)
        free_layout(device, &device->layouts[i]);
    free(device->layouts);
    device->vk.vkDestroyPipelineCache(device->handle, device->pipeline_cache, NULL);
}

static bool fits(const bd_vk_layout *layout, const bd_binding *bindings, uint32_t count)
{
    bool same = layout->count == count;
    for (uint32_t i = 0; i < count && same; i++)
        same = layout->texels[i] == (bindings[i].access != BD_ACCESS_BUFFER);
    return same;
}

static bd_status layout_create(bd_vk_device *device, const bd_binding *bindings, uint32_t count, bd_vk_layout *layout,
                               bd_error *error)
{
    *layout = (bd_vk_layout){ .count = count, .texels = calloc((size_t)count + 1, sizeof *layout->texels) };
    VkDescriptorSetLayoutBinding *slots = calloc((size_t)count + 1, sizeof *slots);
    if (!layout->texels || !slots) {
        free(slots);
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a pipeline layout");
    }
    for (uint32_t i = 0; i < count; i++) {
        layout->texels[i] = bindings[i].access != BD_ACCESS_BUFFER;
        slots[i] = (VkDescriptorSetLayoutBinding){ .binding = i,
                                                   .descriptorType = layout->texels[i]
                                                                         ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER
                                                                         : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                   .descriptorCount = 1,
                                                   .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT };
    }
    VkDescriptorSetLayoutCreateInfo set = { .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                            .bindingCount = count,
                                            .pBindings = slots };
    VkResult code = device->vk.vkCreateDescriptorSetLayout(device->handle, &set, NULL, &layout->set);
    VkPipelineLayoutCreateInfo info = { .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                        .setLayoutCount = 1,
                                        .pSetLayouts = &layout->set };
    if (code == VK_SUCCESS)
        code = device->vk.vkCreatePipelineLayout(device->handle, &info, NULL, &layout->pipeline);
    free(slots);
    return code == VK_SUCCESS ? BD_OK : bd_vk_device_fail(device, error, code, "create a pipeline layout");
}

bd_status bd_vk_layout_get(bd_vk_device *device, const bd_binding *bindings, uint32_t count, bd_vk_layout *layout,
                           bd_error *error)
{
    if (count > device->base.info.limits.max_bindings)
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "%s: a kernel with %u buffers, but the device's limit is %u",
                       device->base.info.id, count, device->base.info.limits.max_bindings);
    for (size_t i = 0; i < device->layout_count; i++)
        if (fits(&device->layouts[i], bindings, count)) {
            *layout = device->layouts[i];
            return BD_OK;
        }
    bd_vk_layout *grown = realloc(device->layouts, (device->layout_count + 1) * sizeof *grown);
    if (!grown)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for pipeline layouts");
    device->layouts = grown;
    bd_status status = layout_create(device, bindings, count, layout, error);
    if (status == BD_OK)
        grown[device->layout_count++] = *layout;
    else
        free_layout(device, layout);
    return status;
}

bd_status bd_vk_pipeline_create(bd_vk_device *device, const char *name, const char *source, const bd_vk_layout *layout,
                                uint32_t subgroup_size, VkPipeline *pipeline, bd_error *error)
{
    *pipeline = VK_NULL_HANDLE;
    uint32_t *words = NULL;
    size_t bytes = 0;
    bd_status status = bd_vk_spirv(device, name, source, subgroup_size != 0, &words, &bytes, error);
    if (status != BD_OK)
        return status;
    VkShaderModuleCreateInfo module = { .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                        .codeSize = bytes,
                                        .pCode = words };
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo subgroups = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = subgroup_size
    };
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = { .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                   .pNext = subgroup_size && device->subgroups_vary ? &subgroups : NULL,
                   .flags = subgroup_size ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0,
                   .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                   .pName = "main" },
        .layout = layout->pipeline
    };
    VkResult code = device->vk.vkCreateShaderModule(device->handle, &module, NULL, &info.stage.module);
    if (code == VK_SUCCESS)
        code = device->vk.vkCreateComputePipelines(device->handle, device->pipeline_cache, 1, &info, NULL, pipeline);
    device->vk.vkDestroyShaderModule(device->handle, info.stage.module, NULL);
    free(words);
    if (code == VK_SUCCESS)
        return BD_OK;
    char what[160];
    snprintf(what, sizeof what, "make a pipeline of kernel %s", name);
    return bd_vk_device_fail(device, error, code, what);
}
