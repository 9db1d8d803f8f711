/* Buffers, one allocation each, and what goes to and from them. A unified device's buffers are mapped, so that an idle
 * device is read and written in place; everything else is copied by the device through staging blocks. */
#include "vulkan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The largest piece of a transfer that must not wait; larger ones go in pieces. */
#define STAGING_BLOCK_BYTES ((uint64_t)8 << 20)
#define BUFFER_GRANULARITY 16

#define MAPPED (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)

/* The first memory type with all of `required`, one with `preferred` too if there is; UINT32_MAX if none. */
static uint32_t memory_type(const bd_vk_device *device, uint32_t allowed, VkMemoryPropertyFlags required,
                            VkMemoryPropertyFlags preferred)
{
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
        VkMemoryPropertyFlags flags = device->memory.memoryTypes[i].propertyFlags;
        if (!(allowed & (UINT32_C(1) << i)) || (flags & required) != required)
            continue;
        if ((flags & preferred) == preferred)
            return i;
        if (found == UINT32_MAX)
            found = i;
    }
    return found;
}

void bd_vk_memory_init(bd_vk_device *device)
{
    VkPhysicalDeviceType type = device->properties.deviceType;
    device->unified = (type == VK_PHYSICAL_DEVICE_TYPE_CPU || type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU) &&
                      memory_type(device, UINT32_MAX, MAPPED | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0) != UINT32_MAX;
}

typedef struct allocation {
    VkBuffer buffer;
    VkDeviceMemory memory;
    void *mapped;
    uint64_t bytes;
} allocation;

static void release(bd_vk_device *device, VkBuffer buffer, VkDeviceMemory memory)
{
    device->vk.vkDestroyBuffer(device->handle, buffer, NULL);
    device->vk.vkFreeMemory(device->handle, memory, NULL); /* unmaps it */
}

static VkResult allocate(bd_vk_device *device, uint64_t size, VkBufferUsageFlags usage, VkMemoryPropertyFlags required,
                         VkMemoryPropertyFlags preferred, allocation *result)
{
    *result = (allocation){ 0 };
    VkBufferCreateInfo info = { .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = size, .usage = usage };
    VkResult code = device->vk.vkCreateBuffer(device->handle, &info, NULL, &result->buffer);
    if (code != VK_SUCCESS)
        return code;
    VkMemoryRequirements needs;
    device->vk.vkGetBufferMemoryRequirements(device->handle, result->buffer, &needs);
    uint32_t type = memory_type(device, needs.memoryTypeBits, required, preferred);
    const VkMemoryAllocateFlagsInfo addressed = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                                  .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT };
    VkMemoryAllocateInfo memory = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                    .pNext = usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT ? &addressed : NULL,
                                    .allocationSize = needs.size,
                                    .memoryTypeIndex = type };
    code = type == UINT32_MAX ? VK_ERROR_FEATURE_NOT_PRESENT
                              : device->vk.vkAllocateMemory(device->handle, &memory, NULL, &result->memory);
    if (code == VK_SUCCESS)
        code = device->vk.vkBindBufferMemory(device->handle, result->buffer, result->memory, 0);
    if (code == VK_SUCCESS && (required & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT))
        code = device->vk.vkMapMemory(device->handle, result->memory, 0, VK_WHOLE_SIZE, 0, &result->mapped);
    if (code != VK_SUCCESS)
        release(device, result->buffer, result->memory);
    result->bytes = needs.size;
    return code;
}

/* ---- buffers ---- */

bd_status bd_vk_buffer_create(bd_device *base, uint64_t size, bd_buffer **result, bd_error *error)
{
    bd_vk_device *device = bd_vk_device_of(base);
    *result = NULL;
    if (size > base->info.limits.max_buffer_bytes - BUFFER_GRANULARITY)
        return bd_fail(error, BD_ERROR_MEMORY,
                       "%s: a buffer of %" PRIu64 " bytes is larger than the device's limit of %" PRIu64, base->info.id,
                       size, base->info.limits.max_buffer_bytes);
    bd_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a buffer");
    buffer->size = size;
    buffer->capacity = (size + BUFFER_GRANULARITY - 1) / BUFFER_GRANULARITY * BUFFER_GRANULARITY;
    VkBufferUsageFlags usage =
        VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT;
    if (device->texels)
        usage |= VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT;
    if (device->launches)
        usage |= VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
    allocation memory;
    VkResult code =
        allocate(device, buffer->capacity, usage, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | (device->unified ? MAPPED : 0),
                 device->unified ? VK_MEMORY_PROPERTY_HOST_CACHED_BIT : 0, &memory);
    if (code != VK_SUCCESS) {
        free(buffer);
        if (code == VK_ERROR_OUT_OF_DEVICE_MEMORY || code == VK_ERROR_OUT_OF_HOST_MEMORY)
            return bd_fail(error, BD_ERROR_MEMORY,
                           "%s has no memory for a buffer of %" PRIu64 " bytes: %" PRIu64 " of its %" PRIu64
                           " are taken by this program",
                           base->info.id, size, device->bytes_now, base->info.limits.memory_bytes);
        return bd_vk_device_fail(device, error, code, "create a buffer");
    }
    buffer->handle = memory.buffer;
    buffer->memory = memory.memory;
    buffer->mapped = memory.mapped;
    buffer->allocated = memory.bytes;
    if (device->launches)
        buffer->address = device->vk.vkGetBufferDeviceAddress(
            device->handle, &(VkBufferDeviceAddressInfo){ .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                                          .buffer = buffer->handle });
    device->bytes_now += buffer->allocated;
    if (device->bytes_now > device->bytes_peak)
        device->bytes_peak = device->bytes_now;

    if (buffer->mapped) {
        memset(buffer->mapped, 0, buffer->capacity);
    } else {
        VkCommandBuffer commands;
        bd_status status = bd_vk_commands_begin(device, &commands, error);
        if (status == BD_OK) {
            device->vk.vkCmdFillBuffer(commands, buffer->handle, 0, VK_WHOLE_SIZE, 0);
            status = bd_vk_commands_submit(device, commands, NULL, error);
        }
        if (status != BD_OK) {
            bd_vk_buffer_destroy(base, buffer);
            return status;
        }
    }
    *result = buffer;
    return BD_OK;
}

void bd_vk_buffer_destroy(bd_device *base, bd_buffer *buffer)
{
    bd_vk_device *device = bd_vk_device_of(base);
    if (!buffer)
        return;
    bd_vk_finish(base, NULL); /* the device may still use it; a lost one does not */
    release(device, buffer->handle, buffer->memory);
    device->bytes_now -= buffer->allocated;
    free(buffer);
}

void bd_vk_memory(const bd_device *base, uint64_t *now, uint64_t *peak)
{
    const bd_vk_device *device = (const bd_vk_device *)base;
    *now = device->bytes_now;
    *peak = device->bytes_peak;
}

/* ---- staging ---- */

static bd_status staging_create(bd_vk_device *device, uint64_t size, bd_vk_staging **result, bd_error *error)
{
    bd_vk_staging **grown = realloc(device->staging, (device->staging_count + 1) * sizeof *grown);
    if (grown)
        device->staging = grown;
    bd_vk_staging *block = calloc(1, sizeof *block);
    if (!grown || !block) {
        free(block);
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a transfer");
    }
    allocation memory;
    VkResult code = allocate(device, size, VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT, MAPPED,
                             VK_MEMORY_PROPERTY_HOST_CACHED_BIT, &memory);
    if (code != VK_SUCCESS) {
        free(block);
        return bd_vk_device_fail(device, error, code, "allocate memory for a transfer");
    }
    *block = (bd_vk_staging){ .buffer = memory.buffer, .memory = memory.memory, .mapped = memory.mapped, .size = size };
    device->staging[device->staging_count++] = block;
    *result = block;
    return BD_OK;
}

/* A block of at least `size` bytes that nothing uses: the smallest that is free, else a new one while there are few,
 * else the one that is free soonest. A transfer with an event returns at once, so it gets a new one instead. */
static bd_status staging_get(bd_vk_device *device, uint64_t size, bool at_once, bd_vk_staging **result, bd_error *error)
{
    bd_vk_poll(device);
    bd_vk_staging *ready = NULL, *soonest = NULL;
    for (size_t i = 0; i < device->staging_count; i++) {
        bd_vk_staging *block = device->staging[i];
        if (block->held || block->size < size)
            continue;
        if (block->serial <= device->completed && (!ready || block->size < ready->size))
            ready = block;
        if (!soonest || block->serial < soonest->serial)
            soonest = block;
    }
    if (ready) {
        *result = ready;
        return BD_OK;
    }
    if (!soonest || at_once || device->staging_count < BD_VK_STAGING_BLOCKS)
        return staging_create(device, size, result, error);
    *result = soonest;
    return bd_vk_wait(device, soonest->serial, error);
}

void bd_vk_memory_finish(bd_vk_device *device)
{
    for (size_t i = 0; i < device->staging_count; i++) {
        release(device, device->staging[i]->buffer, device->staging[i]->memory);
        free(device->staging[i]);
    }
    free(device->staging);
}

/* ---- transfers ---- */

static bool idle(bd_vk_device *device)
{
    bd_vk_poll(device);
    return device->completed == device->submitted;
}

static bd_status event_create(bd_event **event, bd_error *error)
{
    *event = calloc(1, sizeof **event);
    return *event ? BD_OK : bd_fail(error, BD_ERROR_MEMORY, "no memory for an event");
}

static bd_status copy(bd_vk_device *device, VkBuffer source, uint64_t source_offset, VkBuffer target,
                      uint64_t target_offset, uint64_t size, uint64_t *serial, bd_error *error)
{
    VkCommandBuffer commands;
    bd_status status = bd_vk_commands_begin(device, &commands, error);
    if (status != BD_OK)
        return status;
    VkBufferCopy region = { source_offset, target_offset, size };
    device->vk.vkCmdCopyBuffer(commands, source, target, 1, &region);
    return bd_vk_commands_submit(device, commands, serial, error);
}

/* One piece, whose data may be reused at once. */
static bd_status write_piece(bd_vk_device *device, bd_buffer *buffer, uint64_t offset, const void *data, uint64_t size,
                             bool at_once, bd_error *error)
{
    bd_vk_staging *block;
    bd_status status = staging_get(device, size, at_once, &block, error);
    if (status != BD_OK)
        return status;
    memcpy(block->mapped, data, size);
    return copy(device, block->buffer, 0, buffer->handle, offset, size, &block->serial, error);
}

/* One piece, whose data is in *block once its serial is completed. */
static bd_status read_piece(bd_vk_device *device, bd_buffer *buffer, uint64_t offset, uint64_t size, bool at_once,
                            bd_vk_staging **block, bd_error *error)
{
    bd_status status = staging_get(device, size, at_once, block, error);
    if (status != BD_OK)
        return status;
    return copy(device, buffer->handle, offset, (*block)->buffer, 0, size, &(*block)->serial, error);
}

bd_status bd_vk_buffer_write(bd_device *base, bd_buffer *buffer, uint64_t offset, const void *data, uint64_t size,
                             bd_event **event, bd_error *error)
{
    bd_vk_device *device = bd_vk_device_of(base);
    bd_status status = event ? event_create(event, error) : BD_OK;
    if (status != BD_OK)
        return status;
    if (buffer->mapped && (idle(device) || (!event && size > STAGING_BLOCK_BYTES))) {
        status = bd_vk_wait(device, device->submitted, error);
        if (status == BD_OK)
            memcpy((char *)buffer->mapped + offset, data, size);
    } else {
        /* With an event too: the data is copied out at once, in one piece so that nothing waits. */
        uint64_t most = event ? size : STAGING_BLOCK_BYTES;
        for (uint64_t done = 0; done < size && status == BD_OK; done += most)
            status = write_piece(device, buffer, offset + done, (const char *)data + done,
                                 size - done < most ? size - done : most, event, error);
    }
    if (event && status != BD_OK) {
        free(*event);
        *event = NULL;
    } else if (event) {
        (*event)->serial = device->submitted;
    }
    return status;
}

bd_status bd_vk_buffer_read(bd_device *base, bd_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                            bd_event **event, bd_error *error)
{
    bd_vk_device *device = bd_vk_device_of(base);
    bd_status status = event ? event_create(event, error) : BD_OK;
    if (status != BD_OK)
        return status;
    if (buffer->mapped && (!event || idle(device))) {
        status = bd_vk_wait(device, device->submitted, error);
        if (status == BD_OK)
            memcpy(data, (const char *)buffer->mapped + offset, size);
    } else if (event) {
        bd_vk_staging *block = NULL;
        status = read_piece(device, buffer, offset, size, true, &block, error);
        if (status == BD_OK) {
            block->held = true;
            (*event)->staging = block;
            (*event)->data = data;
            (*event)->size = size;
        }
    } else {
        for (uint64_t done = 0; done < size && status == BD_OK; done += STAGING_BLOCK_BYTES) {
            uint64_t piece = size - done < STAGING_BLOCK_BYTES ? size - done : STAGING_BLOCK_BYTES;
            bd_vk_staging *block = NULL;
            status = read_piece(device, buffer, offset + done, piece, false, &block, error);
            if (status == BD_OK)
                status = bd_vk_wait(device, block->serial, error);
            if (status == BD_OK)
                memcpy((char *)data + done, block->mapped, piece);
        }
    }
    if (event && status != BD_OK) {
        free(*event);
        *event = NULL;
    } else if (event) {
        (*event)->serial = device->submitted;
    }
    return status;
}

/* ---- events ---- */

static void deliver(bd_event *event)
{
    if (event->staging) {
        memcpy(event->data, event->staging->mapped, event->size);
        event->staging->held = false;
        event->staging = NULL;
    }
}

bool bd_vk_event_done(bd_device *base, bd_event *event)
{
    bd_vk_device *device = bd_vk_device_of(base);
    bd_vk_poll(device);
    if (device->completed >= event->serial)
        deliver(event);
    return device->completed >= event->serial || device->lost != VK_SUCCESS;
}

bd_status bd_vk_event_wait(bd_device *base, bd_event *event, bd_error *error)
{
    bd_status status = bd_vk_wait(bd_vk_device_of(base), event->serial, error);
    if (status == BD_OK)
        deliver(event);
    return status;
}

void bd_vk_event_destroy(bd_device *base, bd_event *event)
{
    (void)base;
    if (!event)
        return;
    if (event->staging)
        event->staging->held = false; /* its serial keeps it from being used too early */
    free(event);
}
