/* Kernels in PTX, launched from command buffers: by NVIDIA's Vulkan driver, which has nothing else that reaches wgmma.
 * They are written in OpenCL C, which the OpenCL driver of the same device compiles. The PTX is remembered on disk, so
 * that another start does without. */
#include "vulkan.h"

#include "../../engine/cache.h"
#include "../../engine/embedded.h"
#include "../../engine/text.h"
#include "../nvidia/compiler.h"
#include "../nvidia/ptx.h"

#include <binade/binade.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_KIND "vulkan ptx"
#define LAUNCH_TEXT "cl/launch.cl"

/* Held by the thread that compiles: OpenCL drivers need not compile for two at once. */
static pthread_mutex_t compiler_lock = PTHREAD_MUTEX_INITIALIZER;

static bd_status compile(bd_vk_device *device, const char *name, const char *source, char **ptx, bd_error *error)
{
    const bd_device_info *info = &device->base.info;
    VkPhysicalDeviceIDProperties id = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES };
    VkPhysicalDeviceProperties2 all = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &id };
    vkGetPhysicalDeviceProperties2(device->physical, &all);
    bd_text text = { 0 };
    bd_text_append(&text, "%s%s", bd_embedded_text(LAUNCH_TEXT), source);
    bd_status status = text.failed ? bd_fail(error, BD_ERROR_MEMORY, "no memory to compile kernel %s", name) : BD_OK;
    pthread_mutex_lock(&compiler_lock);
    if (status == BD_OK && !device->compiler)
        status = bd_ptx_compiler_open(id.deviceUUID, info->name, device->base.cache, &device->compiler, error);
    if (status == BD_OK)
        status = bd_ptx_compile(device->compiler, text.data, name, ptx, error);
    pthread_mutex_unlock(&compiler_lock);
    bd_text_finish(&text);
    return status;
}

/* From the cache or the compiler; the caller frees. */
static bd_status find_ptx(bd_vk_device *device, const char *name, const char *source, char **ptx, bd_error *error)
{
    const bd_device_info *info = &device->base.info;
    const char *parts[] = { info->name, info->driver, BD_VERSION, bd_embedded_text(LAUNCH_TEXT), source };
    const bd_cache_key key = bd_cache_hash(parts, sizeof parts / sizeof *parts);
    void *data = NULL;
    size_t size = 0;
    if (bd_cache_get(device->base.cache, CACHE_KIND, key, &data, &size)) {
        *ptx = data;
        if (size > 0 && (*ptx)[size - 1] == '\0')
            return BD_OK;
        free(data);
    }
    *ptx = NULL;
    bd_status status = compile(device, name, source, ptx, error);
    if (status == BD_OK)
        bd_cache_put(device->base.cache, CACHE_KIND, key, *ptx, strlen(*ptx) + 1);
    return status;
}

static bd_status create(bd_vk_device *device, const char *name, const char *source, bd_vk_function *function,
                        bd_error *error)
{
    char *ptx, *text = NULL;
    *function = (bd_vk_function){ 0 };
    bd_status status = find_ptx(device, name, source, &ptx, error);
    if (status == BD_OK)
        status = bd_ptx_for_cuda(ptx, &text, &function->shared_bytes, error);
    free(ptx);
    if (status != BD_OK)
        return status;
    VkCuModuleCreateInfoNVX module = { .sType = VK_STRUCTURE_TYPE_CU_MODULE_CREATE_INFO_NVX,
                                       .dataSize = strlen(text) + 1,
                                       .pData = text };
    VkResult code = device->vk.vkCreateCuModuleNVX(device->handle, &module, NULL, &function->module);
    VkCuFunctionCreateInfoNVX info = { .sType = VK_STRUCTURE_TYPE_CU_FUNCTION_CREATE_INFO_NVX,
                                       .module = function->module,
                                       .pName = "binade" };
    if (code == VK_SUCCESS)
        code = device->vk.vkCreateCuFunctionNVX(device->handle, &info, NULL, &function->handle);
    free(text);
    if (code == VK_SUCCESS)
        return BD_OK;
    bd_vk_function_destroy(device, function);
    char what[160];
    snprintf(what, sizeof what, "load the PTX of kernel %s", name);
    return bd_vk_device_fail(device, error, code, what);
}

bd_status bd_vk_function_create(bd_vk_device *device, const char *name, const char *source, bd_vk_function *function,
                                bd_error *error)
{
    bd_error refusal;
    bd_status status = create(device, name, source, function, &refusal);
    if (status == BD_OK)
        return status;
    bd_vk_message(device, refusal.message);
    /* Whatever the compiler or the loader dislikes, it is this kernel's; another tile may do. */
    if (status == BD_ERROR_UNSUPPORTED)
        status = BD_ERROR_DEVICE;
    return bd_fail(error, status, "%s", refusal.message);
}

void bd_vk_function_destroy(bd_vk_device *device, bd_vk_function *function)
{
    if (function->handle)
        device->vk.vkDestroyCuFunctionNVX(device->handle, function->handle, NULL);
    if (function->module)
        device->vk.vkDestroyCuModuleNVX(device->handle, function->module, NULL);
    *function = (bd_vk_function){ 0 };
}

bd_status bd_vk_launch_init(const bd_vk_function *function, const bd_dispatch *dispatch, const bd_buffer *maps,
                            uint64_t first, bd_vk_launch *launch, bd_error *error)
{
    const size_t buffers = (size_t)dispatch->binding_count, count = 2 * buffers + (dispatch->mapped ? 2 : 0);
    *launch = (bd_vk_launch){ .function = function->handle,
                              .shared_bytes = function->shared_bytes,
                              .values = calloc(count + 1, sizeof *launch->values),
                              .pointers = calloc(count + 1, sizeof *launch->pointers),
                              .count = count };
    if (!launch->values || !launch->pointers)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for the arguments of kernel %s", dispatch->kernel->name);
    memcpy(launch->groups, dispatch->kernel->groups, sizeof launch->groups);
    memcpy(launch->local, dispatch->kernel->local, sizeof launch->local);
    for (size_t i = 0; i < buffers; i++) {
        const bd_binding *binding = &dispatch->bindings[i];
        launch->values[i] = binding->buffer->address;
        launch->values[buffers + i] = binding->offset / bd_format_size(binding->format);
    }
    if (dispatch->mapped) {
        launch->values[2 * buffers] = maps->address;
        launch->values[2 * buffers + 1] = first;
    }
    for (size_t i = 0; i < count; i++)
        launch->pointers[i] = &launch->values[i];
    return BD_OK;
}

void bd_vk_launch_record(bd_vk_device *device, VkCommandBuffer commands, const bd_vk_launch *launch)
{
    VkCuLaunchInfoNVX info = {
        .sType = VK_STRUCTURE_TYPE_CU_LAUNCH_INFO_NVX,
        .function = launch->function,
        .gridDimX = launch->groups[0],
        .gridDimY = launch->groups[1],
        .gridDimZ = launch->groups[2],
        .blockDimX = launch->local[0],
        .blockDimY = launch->local[1],
        .blockDimZ = launch->local[2],
        .sharedMemBytes = launch->shared_bytes,
        .paramCount = launch->count,
        .pParams = launch->pointers,
    };
    device->vk.vkCmdCuLaunchKernelNVX(commands, &info);
}

void bd_vk_launch_finish(bd_vk_launch *launch)
{
    free(launch->values);
    free(launch->pointers);
    *launch = (bd_vk_launch){ 0 };
}

void bd_vk_message(const bd_vk_device *device, const char *text)
{
    const char *wish = getenv("BINADE_VULKAN_MESSAGES");
    if (wish && strcmp(wish, "1") == 0)
        fprintf(stderr, "binade: %s: wgmma through PTX: %s\n", device->base.info.id, text);
}

void bd_vk_launch_close(bd_vk_device *device)
{
    if (device->compiler)
        bd_ptx_compiler_close(&device->compiler);
}
