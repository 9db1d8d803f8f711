/* A Vulkan layer: a device that is lost (lose.h). Work that was given to the real one is finished first, so that
 * nothing is in use when the program takes down what it has, as the specification has it for a lost device. */
#include "lose.h"

#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))

/* One instance and one device at a time are enough for these tests: the functions of the last ones made. */
static PFN_vkGetInstanceProcAddr next_instance;
static PFN_vkGetDeviceProcAddr next_device;
static VkInstance instance;
static VkDevice device;

#define NEXT(NAME) ((PFN_##NAME)next_device(device, #NAME))

static VkResult lose(void)
{
    static bool idle;
    if (!idle)
        NEXT(vkDeviceWaitIdle)(device);
    idle = true;
    return VK_ERROR_DEVICE_LOST;
}

static VKAPI_ATTR VkResult VKAPI_CALL submit(VkQueue queue, uint32_t count, const VkSubmitInfo *submits, VkFence fence)
{
    return lose_now() ? lose() : NEXT(vkQueueSubmit)(queue, count, submits, fence);
}

static VKAPI_ATTR VkResult VKAPI_CALL wait_for_fences(VkDevice of, uint32_t count, const VkFence *fences, VkBool32 all,
                                                      uint64_t timeout)
{
    return lose_now() ? lose() : NEXT(vkWaitForFences)(of, count, fences, all, timeout);
}

/* Not counted: how often it is asked is a matter of speed. */
static VKAPI_ATTR VkResult VKAPI_CALL fence_status(VkDevice of, VkFence fence)
{
    return lose_lost ? lose() : NEXT(vkGetFenceStatus)(of, fence);
}

static VKAPI_ATTR VkResult VKAPI_CALL wait_idle(VkDevice of)
{
    return lose_lost ? lose() : NEXT(vkDeviceWaitIdle)(of);
}

/* The link of the chain that is ours, moved on to the next layer. */
static void *take_link(const void *chain, VkStructureType type)
{
    VkLayerInstanceCreateInfo *info = (void *)chain; /* a device's begins in the same way */
    while (info && (info->sType != type || info->function != VK_LAYER_LINK_INFO))
        info = (void *)info->pNext;
    return info;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *allocator, VkInstance *result)
{
    VkLayerInstanceCreateInfo *link = take_link(info->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
    if (!link)
        return VK_ERROR_INITIALIZATION_FAILED;
    next_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    VkResult code = ((PFN_vkCreateInstance)next_instance(NULL, "vkCreateInstance"))(info, allocator, result);
    if (code == VK_SUCCESS)
        instance = *result;
    return code;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkDevice *result)
{
    VkLayerDeviceCreateInfo *link = take_link(info->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
    if (!link)
        return VK_ERROR_INITIALIZATION_FAILED;
    next_device = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    VkResult code = ((PFN_vkCreateDevice)next_instance(instance, "vkCreateDevice"))(physical, info, allocator, result);
    if (code == VK_SUCCESS)
        device = *result;
    return code;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice of, const char *name);
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance of, const char *name);

static PFN_vkVoidFunction own(const char *name)
{
    static const struct {
        const char *name;
        PFN_vkVoidFunction function;
    } functions[] = {
        { "vkGetInstanceProcAddr", (PFN_vkVoidFunction)get_instance },
        { "vkGetDeviceProcAddr", (PFN_vkVoidFunction)get_device },
        { "vkCreateInstance", (PFN_vkVoidFunction)create_instance },
        { "vkCreateDevice", (PFN_vkVoidFunction)create_device },
        { "vkQueueSubmit", (PFN_vkVoidFunction)submit },
        { "vkWaitForFences", (PFN_vkVoidFunction)wait_for_fences },
        { "vkGetFenceStatus", (PFN_vkVoidFunction)fence_status },
        { "vkDeviceWaitIdle", (PFN_vkVoidFunction)wait_idle },
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!strcmp(functions[i].name, name))
            return functions[i].function;
    return NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice of, const char *name)
{
    PFN_vkVoidFunction function = own(name);
    return function ? function : next_device(of, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance(VkInstance of, const char *name)
{
    PFN_vkVoidFunction function = own(name);
    return function ? function : next_instance ? next_instance(of, name) : NULL;
}

EXPORT VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *interface);

EXPORT VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *interface)
{
    interface->loaderLayerInterfaceVersion = 2;
    interface->pfnGetInstanceProcAddr = get_instance;
    interface->pfnGetDeviceProcAddr = get_device;
    interface->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
