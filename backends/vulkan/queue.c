/* The device's one queue: submissions with a serial number each, which end in order, and waiting for them. Fences
 * rather than timeline semaphores, since Vulkan 1.1 has these everywhere. */
#include "vulkan.h"

bd_status bd_vk_device_fail(bd_vk_device *device, bd_error *error, VkResult result, const char *what)
{
    if (result == VK_ERROR_DEVICE_LOST)
        device->lost = result;
    return bd_vk_fail(error, result, what);
}

bd_status bd_vk_queue_init(bd_vk_device *device, bd_error *error)
{
    device->vk.vkGetDeviceQueue(device->handle, device->family, 0, &device->queue);
    VkCommandPoolCreateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                     .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                     .queueFamilyIndex = device->family };
    VkResult code = device->vk.vkCreateCommandPool(device->handle, &info, NULL, &device->pool);
    return code == VK_SUCCESS ? BD_OK : bd_vk_device_fail(device, error, code, "create a command pool");
}

void bd_vk_queue_finish(bd_vk_device *device)
{
    for (uint32_t i = 0; i < device->ring_count; i++)
        device->vk.vkDestroyFence(device->handle, device->ring[(device->ring_first + i) % BD_VK_IN_FLIGHT].fence, NULL);
    for (uint32_t i = 0; i < device->free_fence_count; i++)
        device->vk.vkDestroyFence(device->handle, device->free_fences[i], NULL);
    device->vk.vkDestroyCommandPool(device->handle, device->pool, NULL); /* and its command buffers */
}

/* Takes the oldest submission, which has ended, out of the ring. */
static void retire(bd_vk_device *device)
{
    bd_vk_submission *oldest = &device->ring[device->ring_first];
    device->completed = oldest->serial;
    device->free_fences[device->free_fence_count++] = oldest->fence;
    if (oldest->commands)
        device->free_commands[device->free_command_count++] = oldest->commands;
    device->ring_first = (device->ring_first + 1) % BD_VK_IN_FLIGHT;
    device->ring_count--;
}

void bd_vk_poll(bd_vk_device *device)
{
    while (device->ring_count && device->lost == VK_SUCCESS) {
        VkResult code = device->vk.vkGetFenceStatus(device->handle, device->ring[device->ring_first].fence);
        if (code == VK_ERROR_DEVICE_LOST)
            device->lost = code;
        if (code != VK_SUCCESS)
            return;
        retire(device);
    }
}

bd_status bd_vk_wait(bd_vk_device *device, uint64_t serial, bd_error *error)
{
    while (device->completed < serial) {
        if (device->lost != VK_SUCCESS)
            return bd_vk_fail(error, device->lost, "go on");
        VkFence fence = device->ring[device->ring_first].fence;
        VkResult code = device->vk.vkWaitForFences(device->handle, 1, &fence, VK_TRUE, UINT64_MAX);
        if (code != VK_SUCCESS)
            return bd_vk_device_fail(device, error, code, "wait for the device");
        retire(device);
    }
    return BD_OK;
}

bd_status bd_vk_finish(bd_device *base, bd_error *error)
{
    bd_vk_device *device = bd_vk_device_of(base);
    return bd_vk_wait(device, device->submitted, error);
}

bd_status bd_vk_commands_begin(bd_vk_device *device, VkCommandBuffer *commands, bd_error *error)
{
    bd_vk_poll(device);
    VkResult code = VK_SUCCESS;
    if (device->free_command_count) {
        *commands = device->free_commands[--device->free_command_count];
    } else {
        VkCommandBufferAllocateInfo info = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                             .commandPool = device->pool,
                                             .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                             .commandBufferCount = 1 };
        code = device->vk.vkAllocateCommandBuffers(device->handle, &info, commands);
    }
    if (code != VK_SUCCESS)
        return bd_vk_device_fail(device, error, code, "allocate a command buffer");
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                       .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT };
    code = device->vk.vkBeginCommandBuffer(*commands, &begin);
    if (code == VK_SUCCESS)
        return BD_OK;
    device->vk.vkFreeCommandBuffers(device->handle, device->pool, 1, commands);
    return bd_vk_device_fail(device, error, code, "begin a command buffer");
}

/* `recycled` is a command buffer that goes back to the free ones in the end, or NULL; it is freed on failure. */
static bd_status submit(bd_vk_device *device, const VkCommandBuffer *commands, uint32_t count, VkCommandBuffer recycled,
                        uint64_t *serial, bd_error *error)
{
    VkResult code = device->lost;
    if (code == VK_SUCCESS && device->ring_count == BD_VK_IN_FLIGHT) {
        VkFence oldest = device->ring[device->ring_first].fence;
        code = device->vk.vkWaitForFences(device->handle, 1, &oldest, VK_TRUE, UINT64_MAX);
    }
    if (code == VK_SUCCESS)
        bd_vk_poll(device);
    VkFence fence = VK_NULL_HANDLE;
    if (code == VK_SUCCESS && device->free_fence_count) {
        fence = device->free_fences[--device->free_fence_count];
        code = device->vk.vkResetFences(device->handle, 1, &fence);
    } else if (code == VK_SUCCESS) {
        VkFenceCreateInfo info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
        code = device->vk.vkCreateFence(device->handle, &info, NULL, &fence);
    }
    VkSubmitInfo info = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                          .commandBufferCount = count,
                          .pCommandBuffers = commands };
    if (code == VK_SUCCESS)
        code = device->vk.vkQueueSubmit(device->queue, 1, &info, fence);
    if (code != VK_SUCCESS) {
        if (fence)
            device->vk.vkDestroyFence(device->handle, fence, NULL);
        if (recycled)
            device->vk.vkFreeCommandBuffers(device->handle, device->pool, 1, &recycled);
        return bd_vk_device_fail(device, error, code, "submit work");
    }
    device->submitted++;
    device->ring[(device->ring_first + device->ring_count++) % BD_VK_IN_FLIGHT] =
        (bd_vk_submission){ fence, recycled, device->submitted };
    if (serial)
        *serial = device->submitted;
    return BD_OK;
}

bd_status bd_vk_submit(bd_vk_device *device, const VkCommandBuffer *commands, uint32_t count, uint64_t *serial,
                       bd_error *error)
{
    return submit(device, commands, count, NULL, serial, error);
}

bd_status bd_vk_commands_submit(bd_vk_device *device, VkCommandBuffer commands, uint64_t *serial, bd_error *error)
{
    bd_vk_final_barrier(device, commands, true);
    VkResult code = device->vk.vkEndCommandBuffer(commands);
    if (code != VK_SUCCESS) {
        device->vk.vkFreeCommandBuffers(device->handle, device->pool, 1, &commands);
        return bd_vk_device_fail(device, error, code, "end a command buffer");
    }
    return submit(device, &commands, 1, commands, serial, error);
}

void bd_vk_kernel_barrier(bd_vk_device *device, VkCommandBuffer commands)
{
    const VkMemoryBarrier barrier = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                      .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                                      .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT };
    const VkPipelineStageFlags stage = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    device->vk.vkCmdPipelineBarrier(commands, stage, stage, 0, 1, &barrier, 0, NULL, 0, NULL);
}

void bd_vk_final_barrier(bd_vk_device *device, VkCommandBuffer commands, bool for_host)
{
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                         VK_ACCESS_TRANSFER_WRITE_BIT | (for_host ? VK_ACCESS_HOST_READ_BIT : 0),
    };
    VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    if (device->launches) {
        barrier.srcAccessMask |= VK_ACCESS_MEMORY_WRITE_BIT;
        barrier.dstAccessMask |= VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT;
        stages = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    }
    device->vk.vkCmdPipelineBarrier(commands, stages, stages | (for_host ? VK_PIPELINE_STAGE_HOST_BIT : 0), 0, 1,
                                    &barrier, 0, NULL, 0, NULL);
}
