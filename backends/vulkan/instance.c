/* The Vulkan loader, an instance of it, and the messages of the layers that the user switched on. */
#define VOLK_IMPLEMENTATION
#include "vulkan.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* volk keeps its function pointers for the whole process; this keeps two threads from filling them at once. */
static pthread_mutex_t volk_lock = PTHREAD_MUTEX_INITIALIZER;

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)severity;
    (void)types;
    bd_vk_instance *instance = user;
    atomic_fetch_add(&instance->message_count, 1);
    fprintf(stderr, "binade: vulkan message: %s\n", data->pMessage);
    return VK_FALSE;
}

static bool extension_offered(const char *name)
{
    uint32_t count = 0;
    if (vkEnumerateInstanceExtensionProperties(NULL, &count, NULL) != VK_SUCCESS || count == 0)
        return false;
    VkExtensionProperties *extensions = calloc(count, sizeof *extensions);
    bool found = false;
    if (extensions && vkEnumerateInstanceExtensionProperties(NULL, &count, extensions) >= VK_SUCCESS)
        for (uint32_t i = 0; i < count && !found; i++)
            found = strcmp(extensions[i].extensionName, name) == 0;
    free(extensions);
    return found;
}

static bd_status create(bd_vk_instance **result, bd_error *error)
{
    if (volkInitialize() != VK_SUCCESS || volkGetInstanceVersion() < VK_API_VERSION_1_1)
        return BD_OK;
    bd_vk_instance *instance = calloc(1, sizeof *instance);
    if (!instance)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a Vulkan instance");

    const char *wish = getenv("BINADE_VULKAN_MESSAGES");
    bool messages = wish && strcmp(wish, "1") == 0 && extension_offered(VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
    VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity =
            VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = instance,
    };
    const char *extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "binade",
        .pEngineName = "binade",
        .apiVersion = VK_API_VERSION_1_3, /* the most that is used; devices of 1.1 are fine */
    };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = messages ? &messenger : NULL, /* for what goes wrong inside this very call */
        .pApplicationInfo = &application,
        .enabledExtensionCount = messages,
        .ppEnabledExtensionNames = &extension,
    };
    VkResult code = vkCreateInstance(&info, NULL, &instance->handle);
    if (code != VK_SUCCESS) {
        free(instance);
        /* This is how the loader says that there is no driver. */
        return code == VK_ERROR_INCOMPATIBLE_DRIVER ? BD_OK : bd_vk_fail(error, code, "create an instance");
    }
    volkLoadInstanceOnly(instance->handle);
    if (messages) {
        code = vkCreateDebugUtilsMessengerEXT(instance->handle, &messenger, NULL, &instance->messenger);
        if (code != VK_SUCCESS) {
            bd_vk_instance_destroy(&instance);
            return bd_vk_fail(error, code, "create a messenger");
        }
    }
    *result = instance;
    return BD_OK;
}

bd_status bd_vk_instance_create(bd_vk_instance **instance, bd_error *error)
{
    *instance = NULL;
    pthread_mutex_lock(&volk_lock);
    bd_status status = create(instance, error);
    pthread_mutex_unlock(&volk_lock);
    return status;
}

void bd_vk_instance_destroy(bd_vk_instance **pointer)
{
    bd_vk_instance *instance = *pointer;
    if (!instance)
        return;
    if (instance->messenger)
        vkDestroyDebugUtilsMessengerEXT(instance->handle, instance->messenger, NULL);
    vkDestroyInstance(instance->handle, NULL);
    free(instance);
    *pointer = NULL;
}
