/* Opening a device: a logical device with one compute queue and the features that the kernels can use. */
#include "bfloat16.h"
#include "float8.h"
#include "vulkan.h"

#include "../../engine/cache.h"

#include <stdlib.h>
#include <string.h>

/* What cooperative matrices need, before `next`. Core features of Vulkan 1.3 but for the matrices themselves. */
typedef struct matrix_features {
    VkPhysicalDeviceVulkanMemoryModelFeatures model;
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroups;
#ifdef VK_KHR_cooperative_matrix
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix;
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bf16;
    VkPhysicalDeviceShaderFloat8FeaturesEXT float8;
#endif
#ifdef VK_NV_cooperative_matrix2
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV joined;
#endif
} matrix_features;

static void *chain_matrix_features(const bd_vk_abilities *abilities, matrix_features *features, void *next)
{
    if (abilities->matrix.m == 0)
        return next;
    features->model = (VkPhysicalDeviceVulkanMemoryModelFeatures){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES,
        .pNext = next,
        .vulkanMemoryModel = VK_TRUE,
        .vulkanMemoryModelDeviceScope = abilities->memory_model_device,
    };
    features->subgroups = (VkPhysicalDeviceSubgroupSizeControlFeatures){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .pNext = &features->model,
        .subgroupSizeControl = VK_TRUE, /* Vulkan 1.3 asks for both of every device */
        .computeFullSubgroups = VK_TRUE,
    };
#ifdef VK_KHR_cooperative_matrix
    features->matrix = (VkPhysicalDeviceCooperativeMatrixFeaturesKHR){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
        .pNext = &features->subgroups,
        .cooperativeMatrix = VK_TRUE,
    };
    next = &features->matrix;
    if (abilities->matrix.bf16) {
        features->bf16 = (VkPhysicalDeviceShaderBfloat16FeaturesKHR){
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR,
            .pNext = next,
            .shaderBFloat16Type = VK_TRUE,
            .shaderBFloat16CooperativeMatrix = VK_TRUE,
        };
        next = &features->bf16;
    }
    if (abilities->matrix.codes.f8_bits) {
        features->float8 = (VkPhysicalDeviceShaderFloat8FeaturesEXT){
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT8_FEATURES_EXT,
            .pNext = next,
            .shaderFloat8 = VK_TRUE,
            .shaderFloat8CooperativeMatrix = VK_TRUE,
        };
        next = &features->float8;
    }
#else
    next = &features->subgroups;
#endif
#ifdef VK_NV_cooperative_matrix2
    if (abilities->joined.grain_count) {
        features->joined = (VkPhysicalDeviceCooperativeMatrix2FeaturesNV){
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV,
            .pNext = next,
            .cooperativeMatrixWorkgroupScope = abilities->joined.workgroup,
            .cooperativeMatrixFlexibleDimensions = VK_TRUE,
            .cooperativeMatrixPerElementOperations = VK_TRUE,
            .cooperativeMatrixTensorAddressing = abilities->joined.tensors,
        };
        next = &features->joined;
    }
#endif
    return next;
}

static bd_status create_logical(bd_vk_device *device, const bd_vk_abilities *abilities, bd_error *error)
{
    device->family = bd_vk_compute_family(device->physical, &device->timestamp_bits);
    float priority = 1;
    VkDeviceQueueCreateInfo queue = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                      .queueFamilyIndex = device->family,
                                      .queueCount = 1,
                                      .pQueuePriorities = &priority };
    VkPhysicalDeviceShaderFloat16Int8Features half = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES,
        .shaderFloat16 = VK_TRUE,
        .shaderInt8 = abilities->matrix.codes.m > 0,
    };
    void *chain = abilities->float16 ? &half : NULL;
    matrix_features matrices;
    chain = chain_matrix_features(abilities, &matrices, chain);
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES,
        .pNext = chain,
        .shaderIntegerDotProduct = VK_TRUE,
    };
    if (abilities->integer_dot)
        chain = &dot;
    VkPhysicalDevice16BitStorageFeatures storage = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
        .pNext = chain,
        .storageBuffer16BitAccess = abilities->storage16,
    };
    VkPhysicalDeviceBufferDeviceAddressFeatures addresses = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES,
        .pNext = &storage,
        .bufferDeviceAddress = VK_TRUE,
    };
    const VkPhysicalDeviceFeatures core = { .shaderInt16 = abilities->matrix.bf16 };
    VkDeviceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                .pNext = abilities->launches ? (void *)&addresses : &storage,
                                .queueCreateInfoCount = 1,
                                .pQueueCreateInfos = &queue,
                                .enabledExtensionCount = abilities->extension_count,
                                .ppEnabledExtensionNames = abilities->extensions,
                                .pEnabledFeatures = &core };
    VkResult code = vkCreateDevice(device->physical, &info, NULL, &device->handle);
    if (code != VK_SUCCESS)
        return bd_vk_fail(error, code, "create a device");
    volkLoadDeviceTable(&device->vk, device->handle);
    return BD_OK;
}

static bd_status open_device(bd_vk_device *device, size_t index, bd_error *error)
{
    bd_status status = bd_vk_instance_create(&device->instance, error);
    if (status != BD_OK)
        return status;
    VkPhysicalDevice *devices = NULL;
    uint32_t count = 0;
    if (device->instance)
        status = bd_vk_physical_list(device->instance, &devices, &count, error);
    if (status == BD_OK && index >= count)
        status = bd_fail(error, BD_ERROR_ARGUMENT, "there is no vulkan:%zu: there are %u Vulkan devices", index, count);
    if (status == BD_OK)
        device->physical = devices[index];
    free(devices);

    bd_vk_abilities abilities = { 0 };
    if (status == BD_OK)
        status = bd_vk_physical_describe(device->physical, index, &device->base.info, &abilities, error);
    if (status == BD_OK) {
        vkGetPhysicalDeviceProperties(device->physical, &device->properties);
        vkGetPhysicalDeviceMemoryProperties(device->physical, &device->memory);
        device->base.target.integer_dot = abilities.integer_dot;
        device->preamble = bd_vk_preamble(&abilities);
        if (!device->preamble)
            status = bd_fail(error, BD_ERROR_MEMORY, "no memory for a Vulkan device");
    }
    if (status == BD_OK)
        status = create_logical(device, &abilities, error);
    if (status == BD_OK)
        status = bd_vk_queue_init(device, error);
    if (status == BD_OK)
        status = bd_vk_pipeline_init(device, error);
    if (status == BD_OK) {
        bd_vk_memory_init(device);
        device->texels = device->base.info.type == BD_DEVICE_CPU && bd_vk_physical_has_texels(device->physical);
        device->base.target.matrix = abilities.matrix;
        device->base.target.joined = abilities.joined;
        device->subgroups_vary = abilities.subgroups_vary;
        device->launches = abilities.launches;
        status = bd_vk_probe(device, error);
    }
    if (status == BD_OK)
        status = bd_vk_probe_last_group(device, error);
    return status;
}

bd_status bd_vk_open(size_t index, bd_cache *cache, bd_device **result, bd_error *error)
{
    *result = NULL;
    bd_vk_device *device = calloc(1, sizeof *device);
    if (!device)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a Vulkan device");
    device->base.backend = bd_vulkan_backend();
    device->base.cache = cache;
    bd_status status = open_device(device, index, error);
    if (status != BD_OK) {
        bd_vk_close(&device->base);
        return status;
    }
    bd_target *target = &device->base.target;
    target->limits = device->base.info.limits;
    target->half = device->base.info.half;
    target->is_cpu = device->base.info.type == BD_DEVICE_CPU;
    status = bd_vk_launch_probe(device, error);
    if (status != BD_OK) {
        bd_vk_close(&device->base);
        return status;
    }
    target->shuffles = bd_vk_physical_shuffles(device->physical);
    if (device->texels) {
        const VkPhysicalDeviceLimits *limits = &device->properties.limits;
        target->texel_elements = limits->maxTexelBufferElements;
        target->texel_bindings = limits->maxPerStageDescriptorSampledImages < limits->maxDescriptorSetSampledImages
                                     ? limits->maxPerStageDescriptorSampledImages
                                     : limits->maxDescriptorSetSampledImages;
    }
    *result = &device->base;
    return BD_OK;
}

void bd_vk_close(bd_device *base)
{
    bd_vk_device *device = bd_vk_device_of(base);
    bd_vk_launch_close(device);
    if (device->handle) {
        device->vk.vkDeviceWaitIdle(device->handle); /* a lost device comes back at once */
        bd_vk_memory_finish(device);
        bd_vk_pipeline_finish(device);
        bd_vk_queue_finish(device);
        device->vk.vkDestroyDevice(device->handle, NULL);
    }
    bd_vk_instance_destroy(&device->instance);
    free(device->preamble);
    free(device);
}

uint32_t bd_vk_message_count(const bd_device *base)
{
    return atomic_load(&((const bd_vk_device *)base)->instance->message_count);
}
