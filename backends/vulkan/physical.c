/* Physical devices: which there are, and what their drivers say of them. */
#include "bfloat16.h"
#include "float8.h"
#include "vulkan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct extension_list {
    VkExtensionProperties *items;
    uint32_t count;
} extension_list;

static bool has(const extension_list *list, const char *name)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].extensionName, name) == 0)
            return true;
    return false;
}

static bd_status extensions_of(VkPhysicalDevice physical, extension_list *list, bd_error *error)
{
    VkResult code = vkEnumerateDeviceExtensionProperties(physical, NULL, &list->count, NULL);
    if (code != VK_SUCCESS)
        return bd_vk_fail(error, code, "ask a device for its extensions");
    list->items = calloc(list->count + 1, sizeof *list->items);
    if (!list->items)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a list of Vulkan extensions");
    code = vkEnumerateDeviceExtensionProperties(physical, NULL, &list->count, list->items);
    return code < VK_SUCCESS ? bd_vk_fail(error, code, "ask a device for its extensions") : BD_OK;
}

uint32_t bd_vk_compute_family(VkPhysicalDevice physical, uint32_t *timestamp_bits)
{
    VkQueueFamilyProperties families[32];
    uint32_t count = sizeof families / sizeof *families, best = UINT32_MAX;
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
    for (uint32_t i = 0; i < count; i++) {
        /* Without graphics first: on an H100 a submission costs 6 us there and 13 us on the graphics family. */
        bool plain = !(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);
        if ((families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) && families[i].queueCount > 0 &&
            (best == UINT32_MAX || (plain && (families[best].queueFlags & VK_QUEUE_GRAPHICS_BIT))))
            best = i;
    }
    if (timestamp_bits)
        *timestamp_bits = best == UINT32_MAX ? 0 : families[best].timestampValidBits;
    return best;
}

bd_status bd_vk_physical_list(const bd_vk_instance *instance, VkPhysicalDevice **devices, uint32_t *count,
                              bd_error *error)
{
    *devices = NULL;
    uint32_t all = 0;
    *count = 0;
    VkResult code = vkEnumeratePhysicalDevices(instance->handle, &all, NULL);
    if (code == VK_ERROR_INITIALIZATION_FAILED) /* this is how some loaders say that no driver works */
        return BD_OK;
    if (code != VK_SUCCESS)
        return bd_vk_fail(error, code, "list devices");
    VkPhysicalDevice *list = calloc(all + 1, sizeof *list);
    if (!list)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the list of Vulkan devices");
    code = vkEnumeratePhysicalDevices(instance->handle, &all, list);
    if (code < VK_SUCCESS) {
        free(list);
        return bd_vk_fail(error, code, "list devices");
    }
    for (uint32_t i = 0; i < all; i++) {
        VkPhysicalDeviceProperties properties;
        vkGetPhysicalDeviceProperties(list[i], &properties);
        if (properties.apiVersion >= VK_API_VERSION_1_1 && bd_vk_compute_family(list[i], NULL) != UINT32_MAX)
            list[(*count)++] = list[i];
    }
    *devices = list;
    return BD_OK;
}

static const char *vendor_name(uint32_t id)
{
    switch (id) { /* PCI vendors and Khronos vendor numbers */
    case 0x1002: return "AMD";
    case 0x1010: return "Imagination Technologies";
    case 0x106b: return "Apple";
    case 0x10de: return "NVIDIA";
    case 0x13b5: return "Arm";
    case 0x14e4: return "Broadcom";
    case 0x1ae0: return "Google";
    case 0x5143: return "Qualcomm";
    case 0x8086: return "Intel";
    case 0x10005: return "Mesa";
    case 0x10006: return "PoCL";
    default: return "unknown";
    }
}

static bd_device_type type_of(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return BD_DEVICE_CPU;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return BD_DEVICE_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return BD_DEVICE_DISCRETE;
    default: return BD_DEVICE_OTHER;
    }
}

static uint32_t at_most_u32(uint64_t value)
{
    return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Vulkan itself does not tell; 1 where no extension of the vendor does either. */
static uint32_t compute_units(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *properties,
                              const extension_list *extensions)
{
    uint64_t units = 1;
    if (properties->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        units = processors > 0 ? (uint64_t)processors : 1;
    } else if (has(extensions, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)) {
        VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nvidia = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV
        };
        VkPhysicalDeviceProperties2 all = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &nvidia };
        vkGetPhysicalDeviceProperties2(physical, &all);
        units = nvidia.shaderSMCount;
    } else if (has(extensions, VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME)) {
        VkPhysicalDeviceShaderCorePropertiesAMD amd = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD
        };
        VkPhysicalDeviceProperties2 all = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &amd };
        vkGetPhysicalDeviceProperties2(physical, &all);
        units = (uint64_t)amd.shaderEngineCount * amd.shaderArraysPerEngineCount * amd.computeUnitsPerShaderArray;
    }
    return units > 0 ? at_most_u32(units) : 1;
}

#ifdef VK_KHR_cooperative_matrix
/* Every shape by which the device multiplies; NULL if there is none. The caller frees. */
static VkCooperativeMatrixPropertiesKHR *matrix_shapes(VkPhysicalDevice physical, uint32_t *count)
{
    *count = 0;
    if (!vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR ||
        vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, count, NULL) != VK_SUCCESS || *count == 0)
        return NULL;
    VkCooperativeMatrixPropertiesKHR *shapes = calloc(*count, sizeof *shapes);
    for (uint32_t i = 0; i < *count && shapes; i++)
        shapes[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    if (!shapes || vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, count, shapes) < VK_SUCCESS)
        *count = 0;
    return shapes;
}

/* The largest shape by which a subgroup multiplies halves, FP32 sums preferred; false if there is none. */
static bool best_matrix_shape(VkPhysicalDevice physical, VkCooperativeMatrixPropertiesKHR *best)
{
    uint32_t count;
    VkCooperativeMatrixPropertiesKHR *shapes = matrix_shapes(physical, &count);
    bool found = false;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *shape = &shapes[i];
        if (shape->AType != VK_COMPONENT_TYPE_FLOAT16_KHR || shape->BType != VK_COMPONENT_TYPE_FLOAT16_KHR ||
            shape->ResultType != shape->CType || shape->scope != VK_SCOPE_SUBGROUP_KHR ||
            (shape->CType != VK_COMPONENT_TYPE_FLOAT16_KHR && shape->CType != VK_COMPONENT_TYPE_FLOAT32_KHR))
            continue;
        bool wider = !found || (shape->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && best->CType != shape->CType);
        bool larger =
            found && shape->CType == best->CType &&
            (uint64_t)shape->MSize * shape->NSize * shape->KSize > (uint64_t)best->MSize * best->NSize * best->KSize;
        if (wider || larger)
            *best = *shape;
        found = true;
    }
    free(shapes);
    return found;
}

/* Whether it multiplies matrices of `a` by those of `b` and sums in `sum`, by the shape of `like`. */
static bool has_shape(VkPhysicalDevice physical, VkComponentTypeKHR a, VkComponentTypeKHR b, VkComponentTypeKHR sum,
                      const VkCooperativeMatrixPropertiesKHR *like)
{
    uint32_t count;
    VkCooperativeMatrixPropertiesKHR *shapes = matrix_shapes(physical, &count);
    bool found = false;
    for (uint32_t i = 0; i < count; i++)
        found |= shapes[i].AType == a && shapes[i].BType == b && shapes[i].CType == sum &&
                 shapes[i].ResultType == sum && shapes[i].scope == like->scope && !shapes[i].saturatingAccumulation &&
                 shapes[i].MSize == like->MSize && shapes[i].NSize == like->NSize && shapes[i].KSize == like->KSize;
    free(shapes);
    return found;
}

/* The largest shape that kernels have tiles for by which a subgroup multiplies matrices of `type` and sums in `sum`;
 * false if there is none. */
static bool best_code_shape(VkPhysicalDevice physical, VkComponentTypeKHR type, VkComponentTypeKHR sum,
                            VkCooperativeMatrixPropertiesKHR *best)
{
    uint32_t count;
    VkCooperativeMatrixPropertiesKHR *shapes = matrix_shapes(physical, &count);
    bool found = false;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *s = &shapes[i];
        const bool tiles = s->MSize % 8 == 0 && s->NSize % 8 == 0 && s->KSize % 8 == 0 && 16 % s->MSize == 0 &&
                           16 % s->NSize == 0 && 64 % s->KSize == 0;
        if (!tiles || s->AType != type || s->BType != type || s->CType != sum || s->ResultType != sum ||
            s->scope != VK_SCOPE_SUBGROUP_KHR || s->saturatingAccumulation ||
            (found && (uint64_t)s->MSize * s->NSize * s->KSize <= (uint64_t)best->MSize * best->NSize * best->KSize))
            continue;
        *best = *s;
        found = true;
    }
    free(shapes);
    return found;
}

/* Floats of 8 bits begin as other whole numbers (spirv.c), of 8 bits and of 32. */
static bool has_float8(VkPhysicalDevice physical, const extension_list *extensions,
                       const VkCooperativeMatrixPropertiesKHR *shape)
{
    static const VkComponentTypeKHR types[] = { VK_COMPONENT_TYPE_FLOAT8_E4M3_EXT, VK_COMPONENT_TYPE_FLOAT8_E5M2_EXT };
    VkPhysicalDeviceShaderFloat8FeaturesEXT float8 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT8_FEATURES_EXT
    };
    VkPhysicalDeviceFeatures2 features = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &float8 };
    if (!has(extensions, VK_EXT_SHADER_FLOAT8_EXTENSION_NAME))
        return false;
    vkGetPhysicalDeviceFeatures2(physical, &features);
    bool has_all = float8.shaderFloat8 && float8.shaderFloat8CooperativeMatrix;
    for (int i = 0; i < 4; i++)
        has_all = has_all && has_shape(physical, types[i / 2], types[i % 2], VK_COMPONENT_TYPE_FLOAT32_KHR, shape);
    return has_all;
}

/* What the driver claims of matrices of 8 bits: whole numbers, and floats in the same shape, or by themselves. */
static bd_code_units find_codes(VkPhysicalDevice physical, const extension_list *extensions, bd_vk_abilities *abilities)
{
    VkCooperativeMatrixPropertiesKHR shape;
    bd_code_units codes = { 0 };
    if (!abilities->int8)
        return codes;
    codes.int8 = best_code_shape(physical, VK_COMPONENT_TYPE_SINT8_KHR, VK_COMPONENT_TYPE_SINT32_KHR, &shape);
    if (!codes.int8 &&
        !best_code_shape(physical, VK_COMPONENT_TYPE_FLOAT8_E4M3_EXT, VK_COMPONENT_TYPE_FLOAT32_KHR, &shape))
        return codes;
    if (has_float8(physical, extensions, &shape)) {
        codes.f8_bits = 23; /* at most: probe_codes.c counts them */
        abilities->extensions[abilities->extension_count++] = VK_EXT_SHADER_FLOAT8_EXTENSION_NAME;
    }
    if (codes.int8 || codes.f8_bits)
        codes.m = shape.MSize, codes.n = shape.NSize, codes.k = shape.KSize;
    return codes;
}

/* Matrices of BF16 begin as matrices of 16-bit whole numbers (spirv.c), which is a feature of its own. */
static bool find_bf16(VkPhysicalDevice physical, const extension_list *extensions,
                      const VkCooperativeMatrixPropertiesKHR *halves, bd_vk_abilities *abilities)
{
    VkPhysicalDeviceShaderBfloat16FeaturesKHR bf16 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_BFLOAT16_FEATURES_KHR
    };
    VkPhysicalDeviceFeatures2 features = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &bf16 };
    if (!has(extensions, VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME))
        return false;
    vkGetPhysicalDeviceFeatures2(physical, &features);
    if (!bf16.shaderBFloat16Type || !bf16.shaderBFloat16CooperativeMatrix || !features.features.shaderInt16 ||
        !has_shape(physical, VK_COMPONENT_TYPE_BFLOAT16_KHR, VK_COMPONENT_TYPE_BFLOAT16_KHR, halves->CType, halves))
        return false;
    abilities->extensions[abilities->extension_count++] = VK_KHR_SHADER_BFLOAT16_EXTENSION_NAME;
    return true;
}

/* "16x16x16 f16 -> f32" */
static void describe_matrix_shape(VkPhysicalDevice physical, char *text, size_t size)
{
    VkCooperativeMatrixPropertiesKHR best;
    if (best_matrix_shape(physical, &best))
        snprintf(text, size, " %ux%ux%u f16 -> %s", best.MSize, best.NSize, best.KSize,
                 best.CType == VK_COMPONENT_TYPE_FLOAT32_KHR ? "f32" : "f16");
}

/* What the kernels need of cooperative matrices, if the driver and the compiler have it all. */
static void find_matrix_units(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *properties,
                              const extension_list *extensions, uint32_t subgroup_size, bd_vk_abilities *abilities)
{
    VkPhysicalDeviceVulkanMemoryModelFeatures model = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES
    };
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, .pNext = &model
    };
    VkPhysicalDeviceFeatures2 features = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &matrix };
    VkCooperativeMatrixPropertiesKHR shape;
    if (properties->apiVersion < VK_API_VERSION_1_3 || !has(extensions, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) ||
        !abilities->float16 || !abilities->storage16 || !bd_vk_compiles_matrices() ||
        !best_matrix_shape(physical, &shape) || shape.CType != VK_COMPONENT_TYPE_FLOAT32_KHR)
        return;
    vkGetPhysicalDeviceFeatures2(physical, &features);
    VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES
    };
    VkPhysicalDeviceProperties2 all = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &sizes };
    vkGetPhysicalDeviceProperties2(physical, &all);
    abilities->subgroups_vary = sizes.minSubgroupSize != sizes.maxSubgroupSize;
    if (!matrix.cooperativeMatrix || !model.vulkanMemoryModel ||
        (abilities->subgroups_vary && !(sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT)))
        return;
    abilities->memory_model_device = model.vulkanMemoryModelDeviceScope;
    abilities->extensions[abilities->extension_count++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
    abilities->matrix = (bd_matrix_units){ .m = shape.MSize,
                                           .n = shape.NSize,
                                           .k = shape.KSize,
                                           .lanes = subgroup_size,
                                           .shared_bytes = properties->limits.maxComputeSharedMemorySize,
                                           .bf16 = find_bf16(physical, extensions, &shape, abilities),
                                           .codes = find_codes(physical, extensions, abilities) };
}
#else
static void describe_matrix_shape(VkPhysicalDevice physical, char *text, size_t size)
{
    (void)physical; /* these headers do not know the question */
    (void)text;
    (void)size;
}

static void find_matrix_units(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *properties,
                              const extension_list *extensions, uint32_t subgroup_size, bd_vk_abilities *abilities)
{
    (void)physical;
    (void)properties;
    (void)extensions;
    (void)subgroup_size;
    (void)abilities;
}
#endif

#ifdef VK_NV_cooperative_matrix2
/* In steps of what matrices of `element` with sums in FP32 may grow, for each size of a work-group; of a subgroup where
 * they cannot be spread over more. Returns how many there are, at most BD_MATRIX_GRAINS. */
static uint32_t find_grains(VkPhysicalDevice physical, const bd_vk_abilities *abilities, VkComponentTypeKHR element,
                            bd_matrix_grain grains[BD_MATRIX_GRAINS])
{
    uint32_t count = 0, found = 0;
    if (!vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV ||
        vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV(physical, &count, NULL) != VK_SUCCESS ||
        count == 0)
        return 0;
    VkCooperativeMatrixFlexibleDimensionsPropertiesNV *all = calloc(count, sizeof *all);
    if (!all)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        all[i].sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_FLEXIBLE_DIMENSIONS_PROPERTIES_NV;
    if (vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV(physical, &count, all) < VK_SUCCESS)
        count = 0;
    const bool workgroup = abilities->joined.workgroup;
    const VkScopeKHR scope = workgroup ? VK_SCOPE_WORKGROUP_KHR : VK_SCOPE_SUBGROUP_KHR;
    for (uint32_t i = 0; i < count && found < BD_MATRIX_GRAINS; i++)
        if (all[i].AType == element && all[i].BType == element && all[i].CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            all[i].ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && all[i].scope == scope &&
            !all[i].saturatingAccumulation)
            grains[found++] = (bd_matrix_grain){ workgroup ? all[i].workgroupInvocations : abilities->matrix.lanes,
                                                 all[i].MGranularity, all[i].NGranularity, all[i].KGranularity };
    free(all);
    return found;
}

/* Whether matrices of BF16 may have every size that those of halves may have. */
static bool find_bf16_grains(VkPhysicalDevice physical, const bd_vk_abilities *abilities)
{
    const bd_joined_matrices *joined = &abilities->joined;
    bd_matrix_grain grains[BD_MATRIX_GRAINS];
    const uint32_t count = find_grains(physical, abilities, VK_COMPONENT_TYPE_BFLOAT16_KHR, grains);
    bool all = joined->grain_count > 0;
    for (uint32_t i = 0; i < joined->grain_count; i++) {
        const bd_matrix_grain *halves = &joined->grains[i];
        bool one = false;
        for (uint32_t j = 0; j < count; j++)
            one |= grains[j].items == halves->items && halves->m % grains[j].m == 0 && halves->n % grains[j].n == 0 &&
                   halves->k % grains[j].k == 0;
        all &= one;
    }
    return all;
}

/* Matrices as large as a tile, where there are matrix units. */
static void find_joined_matrices(VkPhysicalDevice physical, const extension_list *extensions,
                                 bd_vk_abilities *abilities)
{
    VkPhysicalDeviceCooperativeMatrix2FeaturesNV joined = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_FEATURES_NV
    };
    VkPhysicalDeviceFeatures2 features = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &joined };
    VkPhysicalDeviceCooperativeMatrix2PropertiesNV limits = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_2_PROPERTIES_NV
    };
    VkPhysicalDeviceProperties2 all = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &limits };
    if (!abilities->matrix.m || !has(extensions, VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME) ||
        !bd_vk_compiles_joined_matrices())
        return;
    vkGetPhysicalDeviceFeatures2(physical, &features);
    vkGetPhysicalDeviceProperties2(physical, &all);
    if (!joined.cooperativeMatrixFlexibleDimensions || !joined.cooperativeMatrixPerElementOperations ||
        limits.cooperativeMatrixWorkgroupScopeReservedSharedMemory >= abilities->matrix.shared_bytes)
        return;
    abilities->joined = (bd_joined_matrices){
        .most = limits.cooperativeMatrixFlexibleDimensionsMaxDimension,
        .shared_bytes = abilities->matrix.shared_bytes - limits.cooperativeMatrixWorkgroupScopeReservedSharedMemory,
        .workgroup = joined.cooperativeMatrixWorkgroupScope,
        .tensors = joined.cooperativeMatrixTensorAddressing,
    };
    abilities->joined.grain_count =
        find_grains(physical, abilities, VK_COMPONENT_TYPE_FLOAT16_KHR, abilities->joined.grains);
    abilities->joined.bf16 = abilities->matrix.bf16 && find_bf16_grains(physical, abilities);
    if (abilities->joined.grain_count)
        abilities->extensions[abilities->extension_count++] = VK_NV_COOPERATIVE_MATRIX_2_EXTENSION_NAME;
}
#else
static void find_joined_matrices(VkPhysicalDevice physical, const extension_list *extensions,
                                 bd_vk_abilities *abilities)
{
    (void)physical; /* these headers do not know the question */
    (void)extensions;
    (void)abilities;
}
#endif

static void describe_matrix_units(VkPhysicalDevice physical, const extension_list *extensions, char *text, size_t size)
{
    char shape[64] = "";
    text[0] = '\0';
    if (has(extensions, "VK_KHR_cooperative_matrix")) {
        describe_matrix_shape(physical, shape, sizeof shape);
        snprintf(text, size, "KHR_cooperative_matrix%s", shape);
    } else if (has(extensions, "VK_NV_cooperative_matrix")) {
        snprintf(text, size, "NV_cooperative_matrix");
    }
    size_t used = strlen(text);
    if (has(extensions, "VK_NV_cooperative_matrix2"))
        snprintf(text + used, size - used, "%sNV_cooperative_matrix2", used ? ", " : "");
}

static void describe_memory(VkPhysicalDevice physical, bd_limits *limits)
{
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(physical, &memory);
    for (uint32_t i = 0; i < memory.memoryHeapCount; i++)
        if ((memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) &&
            memory.memoryHeaps[i].size > limits->memory_bytes)
            limits->memory_bytes = memory.memoryHeaps[i].size;
}

/* Notes that `name` is to be enabled, unless the core has it from `core` on. */
static void enable(bd_vk_abilities *abilities, uint32_t version, uint32_t core, const char *name)
{
    if (version < core)
        abilities->extensions[abilities->extension_count++] = name;
}

/* Products of four INT8 in a word each, summed, in one instruction. */
static void find_integer_dot(VkPhysicalDevice physical, uint32_t version, const extension_list *extensions,
                             bd_vk_abilities *abilities)
{
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES
    };
    VkPhysicalDeviceFeatures2 features = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &dot };
    if (version < VK_API_VERSION_1_3 && !has(extensions, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME))
        return;
    vkGetPhysicalDeviceFeatures2(physical, &features);
    abilities->integer_dot = dot.shaderIntegerDotProduct;
    if (abilities->integer_dot)
        enable(abilities, version, VK_API_VERSION_1_3, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
}

/* Whether kernels in PTX can be launched, with buffers' addresses as arguments. */
static void find_launches(VkPhysicalDevice physical, uint32_t version, const extension_list *extensions,
                          bd_vk_abilities *abilities)
{
    VkPhysicalDeviceBufferDeviceAddressFeatures addresses = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES
    };
    VkPhysicalDeviceFeatures2 features = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &addresses };
    if (version < VK_API_VERSION_1_2 || !has(extensions, VK_NVX_BINARY_IMPORT_EXTENSION_NAME))
        return;
    vkGetPhysicalDeviceFeatures2(physical, &features);
    abilities->launches = addresses.bufferDeviceAddress;
    if (abilities->launches)
        abilities->extensions[abilities->extension_count++] = VK_NVX_BINARY_IMPORT_EXTENSION_NAME;
}

static void find_abilities(VkPhysicalDevice physical, uint32_t version, const extension_list *extensions,
                           bd_vk_abilities *abilities)
{
    bool halves = version >= VK_API_VERSION_1_2 || has(extensions, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME);
    bool controls = version >= VK_API_VERSION_1_2 || has(extensions, VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME);

    VkPhysicalDeviceShaderFloat16Int8Features half = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES
    };
    VkPhysicalDevice16BitStorageFeatures storage = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
                                                     .pNext = halves ? &half : NULL };
    VkPhysicalDeviceFeatures2 features = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &storage };
    vkGetPhysicalDeviceFeatures2(physical, &features);
    abilities->storage16 = storage.storageBuffer16BitAccess;
    abilities->float16 = half.shaderFloat16;
    abilities->int8 = half.shaderInt8;
    if (abilities->float16)
        enable(abilities, version, VK_API_VERSION_1_2, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME);
    if (!controls)
        return;

    VkPhysicalDeviceFloatControlsProperties floats = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES
    };
    VkPhysicalDeviceProperties2 properties = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                               .pNext = &floats };
    vkGetPhysicalDeviceProperties2(physical, &properties);
    enable(abilities, version, VK_API_VERSION_1_2, VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME);
    abilities->float_controls = true;
    abilities->nan16 = floats.shaderSignedZeroInfNanPreserveFloat16;
    abilities->nan32 = floats.shaderSignedZeroInfNanPreserveFloat32;
    abilities->rte16 = floats.shaderRoundingModeRTEFloat16;
    abilities->rte32 = floats.shaderRoundingModeRTEFloat32;
    abilities->denormals16 = floats.shaderDenormPreserveFloat16;
    abilities->denormals32 = floats.shaderDenormPreserveFloat32;
    /* Where one mode rules all widths, it may be asked for only if every width has it. */
    if (floats.roundingModeIndependence == VK_SHADER_FLOAT_CONTROLS_INDEPENDENCE_NONE &&
        abilities->rte16 != abilities->rte32)
        abilities->rte16 = abilities->rte32 = false;
    if (floats.denormBehaviorIndependence == VK_SHADER_FLOAT_CONTROLS_INDEPENDENCE_NONE &&
        abilities->denormals16 != abilities->denormals32)
        abilities->denormals16 = abilities->denormals32 = false;
}

VkFormat bd_vk_texel_format(bd_format format, bd_access access)
{
    const int width = access == BD_ACCESS_TEXEL4 ? 2 : access == BD_ACCESS_TEXEL2 ? 1 : 0;
    static const VkFormat singles[] = { VK_FORMAT_R32_SFLOAT, VK_FORMAT_R32G32_SFLOAT, VK_FORMAT_R32G32B32A32_SFLOAT };
    static const VkFormat halves[] = { VK_FORMAT_R16_SFLOAT, VK_FORMAT_R16G16_SFLOAT, VK_FORMAT_R16G16B16A16_SFLOAT };
    switch (format) {
    case BD_F32: return singles[width];
    case BD_F16: return halves[width];
    case BD_U32: return VK_FORMAT_R32_UINT;
    case BD_U8: return VK_FORMAT_R8_UINT;
    default: return VK_FORMAT_UNDEFINED;
    }
}

bool bd_vk_physical_has_texels(VkPhysicalDevice physical)
{
    static const bd_format formats[] = { BD_F32, BD_F16, BD_U32, BD_U8 };
    static const bd_access accesses[] = { BD_ACCESS_TEXEL1, BD_ACCESS_TEXEL2, BD_ACCESS_TEXEL4 };
    bool all = true;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (size_t a = 0; a < sizeof accesses / sizeof *accesses; a++) {
            VkFormatProperties properties;
            vkGetPhysicalDeviceFormatProperties(physical, bd_vk_texel_format(formats[f], accesses[a]), &properties);
            all &= (properties.bufferFeatures & VK_FORMAT_FEATURE_UNIFORM_TEXEL_BUFFER_BIT) != 0;
        }
    return all;
}

bool bd_vk_physical_shuffles(VkPhysicalDevice physical)
{
    VkPhysicalDeviceSubgroupProperties subgroup = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES };
    VkPhysicalDeviceProperties2 all = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &subgroup };
    vkGetPhysicalDeviceProperties2(physical, &all);
    return (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) &&
           (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT);
}

static void describe_limits(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *properties,
                            const extension_list *extensions, bd_limits *limits)
{
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES
    };
    VkPhysicalDeviceSubgroupProperties subgroup = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
                                                    .pNext = &maintenance };
    VkPhysicalDeviceProperties2 all = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &subgroup };
    vkGetPhysicalDeviceProperties2(physical, &all);
    const VkPhysicalDeviceLimits *vulkan = &properties->limits;
    describe_memory(physical, limits);
    limits->max_buffer_bytes = maintenance.maxMemoryAllocationSize;
    if (limits->max_buffer_bytes > limits->memory_bytes)
        limits->max_buffer_bytes = limits->memory_bytes;
    limits->max_binding_bytes = vulkan->maxStorageBufferRange;
    limits->max_bindings = least(vulkan->maxPerStageDescriptorStorageBuffers,
                                 least(vulkan->maxDescriptorSetStorageBuffers, vulkan->maxPerStageResources));
    /* At least a word, since bytes and halves are read by the word. CPU drivers may also read texels. */
    uint64_t alignment = vulkan->minStorageBufferOffsetAlignment < 4 ? 4 : vulkan->minStorageBufferOffsetAlignment;
    if (properties->deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU && vulkan->minTexelBufferOffsetAlignment > alignment)
        alignment = vulkan->minTexelBufferOffsetAlignment;
    limits->buffer_alignment = at_most_u32(alignment);
    limits->max_workgroup_items = vulkan->maxComputeWorkGroupInvocations;
    for (int i = 0; i < 3; i++) {
        limits->max_workgroup_size[i] = vulkan->maxComputeWorkGroupSize[i];
        limits->max_workgroup_count[i] = vulkan->maxComputeWorkGroupCount[i];
    }
    limits->shared_bytes = vulkan->maxComputeSharedMemorySize;
    limits->subgroup_size = subgroup.subgroupSize;
    limits->compute_units = compute_units(physical, properties, extensions);
}

static void describe_driver(VkPhysicalDevice physical, const VkPhysicalDeviceProperties *properties,
                            const extension_list *extensions, char *text, size_t size)
{
    VkPhysicalDeviceDriverProperties driver = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES };
    if (properties->apiVersion >= VK_API_VERSION_1_2 || has(extensions, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME)) {
        VkPhysicalDeviceProperties2 all = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &driver };
        vkGetPhysicalDeviceProperties2(physical, &all);
    }
    if (driver.driverName[0])
        snprintf(text, size, "%.60s%s%.90s", driver.driverName, driver.driverInfo[0] ? " " : "", driver.driverInfo);
    else
        snprintf(text, size, "version %u", properties->driverVersion);
}

bd_status bd_vk_physical_describe(VkPhysicalDevice physical, size_t index, bd_device_info *info,
                                  bd_vk_abilities *abilities, bd_error *error)
{
    *info = (bd_device_info){ 0 };
    *abilities = (bd_vk_abilities){ 0 };
    extension_list extensions = { 0 };
    bd_status status = extensions_of(physical, &extensions, error);
    if (status == BD_OK) {
        VkPhysicalDeviceProperties properties;
        vkGetPhysicalDeviceProperties(physical, &properties);
        snprintf(info->id, sizeof info->id, "vulkan:%zu", index);
        snprintf(info->backend, sizeof info->backend, "vulkan");
        snprintf(info->name, sizeof info->name, "%.*s", (int)sizeof info->name - 1, properties.deviceName);
        snprintf(info->vendor, sizeof info->vendor, "%s", vendor_name(properties.vendorID));
        info->type = type_of(properties.deviceType);
        describe_driver(physical, &properties, &extensions, info->driver, sizeof info->driver);
        describe_limits(physical, &properties, &extensions, &info->limits);
        describe_matrix_units(physical, &extensions, info->matrix_units, sizeof info->matrix_units);
        find_abilities(physical, properties.apiVersion, &extensions, abilities);
        find_integer_dot(physical, properties.apiVersion, &extensions, abilities);
        find_matrix_units(physical, &properties, &extensions, info->limits.subgroup_size, abilities);
        find_joined_matrices(physical, &extensions, abilities);
        find_launches(physical, properties.apiVersion, &extensions, abilities);
        info->half.storage = abilities->storage16;
        info->half.arithmetic = abilities->float16;
    }
    free(extensions.items);
    return status;
}
