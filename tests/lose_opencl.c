/* A library to preload: an OpenCL queue that stops (lose.h). What was given to the real one is finished first, since a
 * device that is lost touches the host's memory no more. */
#pragma GCC visibility push(default) /* these take the place of the loader's */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "lose.h"

#include <dlfcn.h>

static cl_int (*real_finish)(cl_command_queue);

static void *real(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (!function)
        abort();
    return function;
}

/* Has the queue stopped? */
static bool stopped(cl_command_queue queue)
{
    if (lose_lost)
        return true;
    if (!lose_now())
        return false;
    if (!real_finish)
        real_finish = (cl_int(*)(cl_command_queue))real("clFinish");
    real_finish(queue);
    return true;
}

/* NVIDIA's way: the call that finds out says so, those after it have no queue any more. */
static cl_int code(void)
{
    static bool told;
    cl_int result = told ? CL_INVALID_COMMAND_QUEUE : CL_OUT_OF_RESOURCES;
    told = true;
    return result;
}

#define REAL(NAME) ((__typeof__(&NAME))real(#NAME))

cl_int clFinish(cl_command_queue queue)
{
    return stopped(queue) ? code() : REAL(clFinish)(queue);
}

cl_int clFlush(cl_command_queue queue)
{
    return stopped(queue) ? code() : REAL(clFlush)(queue);
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset,
                              const size_t *global, const size_t *local, cl_uint count, const cl_event *events,
                              cl_event *event)
{
    return stopped(queue)
               ? code()
               : REAL(clEnqueueNDRangeKernel)(queue, kernel, dimensions, offset, global, local, count, events, event);
}

cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size,
                           void *data, cl_uint count, const cl_event *events, cl_event *event)
{
    return stopped(queue)
               ? code()
               : REAL(clEnqueueReadBuffer)(queue, buffer, blocking, offset, size, data, count, events, event);
}

cl_int clEnqueueWriteBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size,
                            const void *data, cl_uint count, const cl_event *events, cl_event *event)
{
    return stopped(queue)
               ? code()
               : REAL(clEnqueueWriteBuffer)(queue, buffer, blocking, offset, size, data, count, events, event);
}

cl_int clEnqueueFillBuffer(cl_command_queue queue, cl_mem buffer, const void *pattern, size_t pattern_size,
                           size_t offset, size_t size, cl_uint count, const cl_event *events, cl_event *event)
{
    return stopped(queue)
               ? CL_INVALID_COMMAND_QUEUE
               : REAL(clEnqueueFillBuffer)(queue, buffer, pattern, pattern_size, offset, size, count, events, event);
}

cl_int clWaitForEvents(cl_uint count, const cl_event *events)
{
    cl_command_queue queue = NULL;
    clGetEventInfo(events[0], CL_EVENT_COMMAND_QUEUE, sizeof queue, &queue, NULL);
    return stopped(queue) ? code() : REAL(clWaitForEvents)(count, events);
}
