/* Device memory, transfers and events. */
#include "opencl.h"

#include <stdio.h>
#include <stdlib.h>

/* Filling 2 GiB and more at once loses NVIDIA's device (580.159; a ResNet-110's arena in FP32 is that large). */
#define MOST_FILLED_BYTES ((size_t)1 << 30)

/* `size` in whole words. Drivers allocate at first use: the wait makes a lack of memory show here. */
static cl_int fill_with_zeros(opencl_device *device, cl_mem memory, uint64_t size)
{
    cl_int code = CL_SUCCESS;
    for (uint64_t at = 0; code == CL_SUCCESS && at < size; at += MOST_FILLED_BYTES) {
        size_t part = size - at < MOST_FILLED_BYTES ? (size_t)(size - at) : MOST_FILLED_BYTES;
        code = clEnqueueFillBuffer(device->queue, memory, &(cl_uint){ 0 }, sizeof(cl_uint), at, part, 0, NULL, NULL);
    }
    return code == CL_SUCCESS ? clFinish(device->queue) : code;
}

bd_status opencl_buffer_create(bd_device *base, uint64_t size, bd_buffer **buffer, bd_error *error)
{
    opencl_device *device = opencl_of(base);
    cl_int code;
    bd_buffer *created = calloc(1, sizeof *created);
    if (!created)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a buffer's record");
    created->size = size;
    /* Whole words, since halves may be read by the word. */
    const uint64_t words = (size + 3) / 4 * 4;
    created->memory = clCreateBuffer(device->context, CL_MEM_READ_WRITE, words, NULL, &code);
    if (code == CL_SUCCESS) {
        code = fill_with_zeros(device, created->memory, words);
        if (code != CL_SUCCESS)
            clReleaseMemObject(created->memory);
    }
    if (code != CL_SUCCESS) {
        free(created);
        /* NVIDIA says CL_OUT_OF_RESOURCES when the memory does not suffice, and when the device is gone: then the queue
         * has nothing else to say from then on. */
        if (code == CL_OUT_OF_RESOURCES && clFinish(device->queue) != CL_SUCCESS)
            code = CL_INVALID_COMMAND_QUEUE;
        bool is_memory = code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_RESOURCES ||
                         code == CL_OUT_OF_HOST_MEMORY || code == CL_INVALID_BUFFER_SIZE;
        return bd_fail(error, is_memory ? BD_ERROR_MEMORY : opencl_queue_status(code),
                       "%s has no buffer of %llu bytes (%llu are in use): %s", base->info.name,
                       (unsigned long long)size, (unsigned long long)device->memory_now, opencl_error_name(code));
    }
    device->memory_now += size;
    if (device->memory_peak < device->memory_now)
        device->memory_peak = device->memory_now;
    *buffer = created;
    return BD_OK;
}

void opencl_buffer_destroy(bd_device *base, bd_buffer *buffer)
{
    if (!buffer)
        return;
    clReleaseMemObject(buffer->memory);
    opencl_of(base)->memory_now -= buffer->size;
    free(buffer);
}

void opencl_memory(const bd_device *base, uint64_t *now, uint64_t *peak)
{
    const opencl_device *device = (const opencl_device *)base;
    *now = device->memory_now;
    *peak = device->memory_peak;
}

/* Ends a transfer: wraps the driver's event where one was asked for, and sends the queue off so that it is reached
 * without the host waiting. */
static bd_status finish_transfer(opencl_device *device, cl_int code, cl_event driver_event, bd_event **event,
                                 const char *what, bd_error *error)
{
    if (code == CL_SUCCESS && event) {
        *event = malloc(sizeof **event);
        if (!*event) {
            clWaitForEvents(1, &driver_event); /* the driver still uses the caller's memory */
            clReleaseEvent(driver_event);
            return bd_fail(error, BD_ERROR_MEMORY, "no memory for an event's record");
        }
        (*event)->event = driver_event;
        code = clFlush(device->queue);
        if (code != CL_SUCCESS) {
            opencl_event_destroy(&device->base, *event);
            *event = NULL;
        }
    }
    return code == CL_SUCCESS ? BD_OK : opencl_queue_fail(error, code, what);
}

bd_status opencl_buffer_write(bd_device *base, bd_buffer *buffer, uint64_t offset, const void *data, uint64_t size,
                              bd_event **event, bd_error *error)
{
    opencl_device *device = opencl_of(base);
    cl_event driver_event = NULL;
    cl_int code = clEnqueueWriteBuffer(device->queue, buffer->memory, event ? CL_FALSE : CL_TRUE, offset, size, data, 0,
                                       NULL, event ? &driver_event : NULL);
    return finish_transfer(device, code, driver_event, event, "writing to the device", error);
}

bd_status opencl_buffer_read(bd_device *base, bd_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                             bd_event **event, bd_error *error)
{
    opencl_device *device = opencl_of(base);
    cl_event driver_event = NULL;
    cl_int code = clEnqueueReadBuffer(device->queue, buffer->memory, event ? CL_FALSE : CL_TRUE, offset, size, data, 0,
                                      NULL, event ? &driver_event : NULL);
    return finish_transfer(device, code, driver_event, event, "reading from the device", error);
}

/* CL_COMPLETE is 0, states before it are positive, errors negative. */
static cl_int execution_status(bd_event *event)
{
    cl_int status = CL_COMPLETE;
    cl_int code = clGetEventInfo(event->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
    return code == CL_SUCCESS ? status : code;
}

bool opencl_event_done(bd_device *base, bd_event *event)
{
    (void)base;
    return execution_status(event) <= CL_COMPLETE;
}

bd_status opencl_event_wait(bd_device *base, bd_event *event, bd_error *error)
{
    (void)base;
    cl_int code = clWaitForEvents(1, &event->event);
    if (code == CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
        code = execution_status(event); /* says which error */
    return code == CL_SUCCESS ? BD_OK : opencl_queue_fail(error, code, "waiting for the device");
}

void opencl_event_destroy(bd_device *base, bd_event *event)
{
    (void)base;
    if (!event)
        return;
    clReleaseEvent(event->event);
    free(event);
}

bd_status opencl_finish(bd_device *base, bd_error *error)
{
    cl_int code = clFinish(opencl_of(base)->queue);
    return code == CL_SUCCESS ? BD_OK : opencl_queue_fail(error, code, "waiting for the device");
}
