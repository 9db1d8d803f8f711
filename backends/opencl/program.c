/* Recorded dispatches: each has a cl_kernel of its own, whose arguments are bound once; a run only enqueues. */
#include "../tensor_map.h"
#include "opencl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct compiled {
    bd_cache_key key; /* of the source */
    cl_program program;
} compiled;

typedef struct launch {
    cl_kernel kernel; /* NULL: `gemm`, by the library */
    size_t global[3], local[3];
    opencl_gemm gemm;
} launch;

struct bd_backend_program {
    launch *launches;
    int launch_count;
    compiled *programs;
    int program_count;
    cl_mem maps; /* tensor maps of the launches, in their order; NULL: they have none */
    uint64_t maps_used;
};

/* Equal kernels have equal text, so a step of many layers has few programs. */
static bd_status find_program(opencl_device *device, bd_backend_program *recorded, const bd_dispatch *dispatch,
                              cl_program *program, bd_error *error)
{
    bd_cache_key key = bd_cache_hash(&dispatch->source, 1);
    for (int i = 0; i < recorded->program_count; ++i) {
        if (recorded->programs[i].key.low == key.low && recorded->programs[i].key.high == key.high) {
            *program = recorded->programs[i].program;
            return BD_OK;
        }
    }
    bd_status status =
        opencl_build(device, dispatch->source, dispatch->kernel->last.node_count ? device->fence_options : "",
                     dispatch->kernel->name, program, error);
    if (status == BD_OK)
        recorded->programs[recorded->program_count++] = (compiled){ key, *program };
    return status;
}

static bd_status record(opencl_device *device, bd_backend_program *recorded, const bd_program_desc *desc,
                        const bd_dispatch *dispatch, bd_error *error)
{
    launch *next = &recorded->launches[recorded->launch_count];
    if (dispatch->kernel->class == BD_KERNEL_LIBRARY) {
        bd_status status = opencl_gemm_init(desc->plan, dispatch, &next->gemm, error);
        recorded->launch_count += status == BD_OK;
        return status;
    }
    cl_program program;
    bd_status status = find_program(device, recorded, dispatch, &program, error);
    if (status != BD_OK)
        return status;
    cl_int code;
    next->kernel = clCreateKernel(program, "binade", &code);
    if (code != CL_SUCCESS)
        return opencl_fail(error, code, dispatch->kernel->name);
    ++recorded->launch_count;
    for (int i = 0; code == CL_SUCCESS && i < dispatch->binding_count; ++i) {
        const bd_binding *binding = &dispatch->bindings[i];
        cl_ulong first = binding->offset / bd_format_size(binding->format);
        code = clSetKernelArg(next->kernel, (cl_uint)i, sizeof(cl_mem), &binding->buffer->memory);
        if (code == CL_SUCCESS)
            code = clSetKernelArg(next->kernel, (cl_uint)(dispatch->binding_count + i), sizeof first, &first);
    }
    const cl_uint last = 2 * (cl_uint)dispatch->binding_count;
    if (code == CL_SUCCESS && dispatch->mapped) {
        const cl_ulong first = recorded->maps_used;
        code = clSetKernelArg(next->kernel, last, sizeof(cl_mem), &recorded->maps);
        if (code == CL_SUCCESS)
            code = clSetKernelArg(next->kernel, last + 1, sizeof first, &first);
        recorded->maps_used += BD_MAPS_BYTES;
    }
    if (code != CL_SUCCESS)
        return opencl_fail(error, code, dispatch->kernel->name);
    for (int i = 0; i < 3; ++i) {
        next->local[i] = dispatch->kernel->local[i];
        next->global[i] = (size_t)dispatch->kernel->groups[i] * dispatch->kernel->local[i];
    }
    return BD_OK;
}

bd_status opencl_program_create(bd_device *base, const bd_program_desc *desc, bd_backend_program **program,
                                bd_error *error)
{
    size_t dispatches = (size_t)desc->dispatch_count;
    bd_backend_program *recorded = calloc(1, sizeof *recorded);
    if (recorded) { /* one more of each, since calloc(0) may be NULL */
        recorded->launches = calloc(dispatches + 1, sizeof *recorded->launches);
        recorded->programs = calloc(dispatches + 1, sizeof *recorded->programs);
    }
    bd_status status = BD_OK;
    if (!recorded || !recorded->launches || !recorded->programs)
        status = bd_fail(error, BD_ERROR_MEMORY, "no memory to record %zu dispatches", dispatches);
    if (status == BD_OK)
        status = opencl_tensor_maps(opencl_of(base), desc, &recorded->maps, error);
    for (int i = 0; status == BD_OK && i < desc->dispatch_count; ++i) {
        status = record(opencl_of(base), recorded, desc, &desc->dispatches[i], error);
        if (status == BD_OK && desc->progress)
            desc->progress(desc->user, i + 1, desc->dispatch_count);
    }
    if (status != BD_OK) {
        opencl_program_destroy(base, recorded);
        return status;
    }
    *program = recorded;
    return BD_OK;
}

void opencl_program_destroy(bd_device *base, bd_backend_program *program)
{
    (void)base;
    if (!program)
        return;
    for (int i = 0; i < program->launch_count; ++i)
        if (program->launches[i].kernel)
            clReleaseKernel(program->launches[i].kernel);
    for (int i = 0; i < program->program_count; ++i)
        clReleaseProgram(program->programs[i].program);
    if (program->maps)
        clReleaseMemObject(program->maps);
    free(program->launches);
    free(program->programs);
    free(program);
}

static bd_status enqueue(const launch *next, cl_command_queue queue, cl_event *event, bd_error *error)
{
    if (!next->kernel)
        return opencl_gemm_enqueue(&next->gemm, queue, error);
    cl_int code = clEnqueueNDRangeKernel(queue, next->kernel, 3, NULL, next->global, next->local, 0, NULL, event);
    return code == CL_SUCCESS ? BD_OK : opencl_queue_fail(error, code, "launching a kernel");
}

bd_status opencl_program_run(bd_device *base, bd_backend_program *program, uint32_t repeats, bd_error *error)
{
    opencl_device *device = opencl_of(base);
    for (uint32_t repeat = 0; repeat < repeats; ++repeat) {
        for (int i = 0; i < program->launch_count; ++i) {
            bd_status status = enqueue(&program->launches[i], device->queue, NULL, error);
            if (status != BD_OK)
                return status;
        }
    }
    cl_int code = clFlush(device->queue);
    return code == CL_SUCCESS ? BD_OK : opencl_queue_fail(error, code, "sending work to the device");
}

static uint64_t now_nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* One launch by itself. A library call is several kernels, so the host's clock times it, from an idle queue to the
 * next. */
static bd_status time_launch(const launch *next, cl_command_queue queue, uint64_t *nanoseconds, bd_error *error)
{
    cl_event event = NULL;
    cl_ulong begin = 0, end = 0;
    uint64_t started = now_nanoseconds();
    bd_status status = enqueue(next, queue, &event, error);
    if (status != BD_OK)
        return status;
    cl_int code = clFinish(queue);
    *nanoseconds = now_nanoseconds() - started;
    if (event) {
        if (code == CL_SUCCESS)
            code = clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof begin, &begin, NULL);
        if (code == CL_SUCCESS)
            code = clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
        *nanoseconds = end - begin;
        clReleaseEvent(event);
    }
    return code == CL_SUCCESS ? BD_OK : opencl_queue_fail(error, code, "timing a kernel");
}

bd_status opencl_program_profile(bd_device *base, bd_backend_program *program, uint64_t *nanoseconds, bd_error *error)
{
    opencl_device *device = opencl_of(base);
    cl_int code = clFinish(device->queue);
    if (code == CL_SUCCESS && !device->timing_queue)
        device->timing_queue = clCreateCommandQueue(device->context, device->id, CL_QUEUE_PROFILING_ENABLE, &code);
    if (code != CL_SUCCESS)
        return opencl_queue_fail(error, code, "preparing to time kernels");
    for (int i = 0; i < program->launch_count; ++i) {
        bd_status status = time_launch(&program->launches[i], device->timing_queue, &nanoseconds[i], error);
        if (status != BD_OK)
            return status;
    }
    return BD_OK;
}
