/* Vulkan's result codes as messages. */
#include "vulkan.h"

const char *bd_vk_result_name(VkResult result)
{
    switch (result) {
#define NAME(code)                                                                                                     \
    case code: return #code;
        NAME(VK_SUCCESS)
        NAME(VK_NOT_READY)
        NAME(VK_TIMEOUT)
        NAME(VK_INCOMPLETE)
        NAME(VK_ERROR_OUT_OF_HOST_MEMORY)
        NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY)
        NAME(VK_ERROR_INITIALIZATION_FAILED)
        NAME(VK_ERROR_DEVICE_LOST)
        NAME(VK_ERROR_MEMORY_MAP_FAILED)
        NAME(VK_ERROR_LAYER_NOT_PRESENT)
        NAME(VK_ERROR_EXTENSION_NOT_PRESENT)
        NAME(VK_ERROR_FEATURE_NOT_PRESENT)
        NAME(VK_ERROR_INCOMPATIBLE_DRIVER)
        NAME(VK_ERROR_TOO_MANY_OBJECTS)
        NAME(VK_ERROR_FRAGMENTED_POOL)
        NAME(VK_ERROR_OUT_OF_POOL_MEMORY)
        NAME(VK_ERROR_FRAGMENTATION)
        NAME(VK_ERROR_INVALID_SHADER_NV)
        NAME(VK_ERROR_VALIDATION_FAILED_EXT)
        NAME(VK_ERROR_UNKNOWN)
#undef NAME
    default: return "an unknown VkResult";
    }
}

bd_status bd_vk_fail(bd_error *error, VkResult result, const char *what)
{
    bool memory = result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY ||
                  result == VK_ERROR_TOO_MANY_OBJECTS;
    bd_status status = memory ? BD_ERROR_MEMORY : result == VK_ERROR_DEVICE_LOST ? BD_ERROR_LOST : BD_ERROR_DEVICE;
    return bd_fail(error, status, "Vulkan cannot %s: %s", what, bd_vk_result_name(result));
}
