/* Whether a work-group sees what others stored before they counted themselves, and what build option its fence
 * takes. */
#include "opencl.h"

#include "../../engine/last_group_probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PTX has a fence for the device; OpenCL C has one from 2.0 on. But what halves are worth was probed in 1.2 (probe.c),
 * and in 3.0 PoCL 6 rounds sums to halves otherwise: so only CPU drivers, whose plans have no such kernels but in
 * tests, are asked for it. False where there is none. */
static bool choose_options(opencl_device *device)
{
    char version[96] = "";
    clGetDeviceInfo(device->id, CL_DEVICE_VERSION, sizeof version, version, NULL);
    const bool two = strncmp(version, "OpenCL 2", 8) == 0, three = strncmp(version, "OpenCL 3", 8) == 0;
    const bool nvidia = device->base.target.nvidia;
    snprintf(device->fence_options, sizeof device->fence_options, "%s",
             nvidia  ? ""
             : three ? "-cl-std=CL3.0"
                     : "-cl-std=CL2.0");
    const bool cpu = device->base.info.type == BD_DEVICE_CPU;
    return (nvidia || (cpu && (two || three))) && device->base.info.limits.max_workgroup_items >= BD_LAST_GROUP_ITEMS;
}

static bd_status run(opencl_device *device, cl_program program, uint32_t *words, bd_error *error)
{
    const size_t items = (size_t)BD_LAST_GROUP_GROUPS * BD_LAST_GROUP_ITEMS, local = BD_LAST_GROUP_ITEMS;
    const size_t size = BD_LAST_GROUP_WORDS * sizeof *words;
    const cl_ulong first = 0;
    cl_int code;
    cl_mem state = NULL;
    cl_kernel kernel = clCreateKernel(program, "binade", &code);
    if (code == CL_SUCCESS)
        state = clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, size, words, &code);
    if (code == CL_SUCCESS)
        code = clSetKernelArg(kernel, 0, sizeof state, &state);
    if (code == CL_SUCCESS)
        code = clSetKernelArg(kernel, 1, sizeof first, &first);
    for (int i = 0; i < BD_LAST_GROUP_RUNS && code == CL_SUCCESS; ++i)
        code = clEnqueueNDRangeKernel(device->queue, kernel, 1, NULL, &items, &local, 0, NULL, NULL);
    if (code == CL_SUCCESS)
        code = clEnqueueReadBuffer(device->queue, state, CL_TRUE, 0, size, words, 0, NULL, NULL);
    if (state)
        clReleaseMemObject(state);
    if (kernel)
        clReleaseKernel(kernel);
    return code == CL_SUCCESS ? BD_OK : opencl_fail(error, code, "probing the device");
}

/* A kernel that does not build or run is no error: the device does without. */
static bool is_right(opencl_device *device, const char *source, const char *options)
{
    cl_program program;
    bd_error refusal;
    uint32_t *words = calloc(BD_LAST_GROUP_WORDS, sizeof *words);
    bool right = words && opencl_build(device, source, options, "last group", &program, &refusal) == BD_OK;
    if (right) {
        right = run(device, program, words, &refusal) == BD_OK && bd_last_group_probe_right(words);
        clReleaseProgram(program);
    }
    free(words);
    return right;
}

bd_status opencl_probe_last_group(opencl_device *device, bd_error *error)
{
    char options[OPENCL_FENCE_OPTIONS + 16];
    if (!choose_options(device))
        return BD_OK;
    snprintf(options, sizeof options, "%s%s", device->fence_options, device->base.target.nvidia ? "-DBD_NVIDIA=1" : "");
    char *source = bd_last_group_probe_source(BD_DIALECT_OPENCL);
    if (!source)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory to probe the device");
    const bd_cache_key key = bd_cache_hash((const char *[]){ device->identity, device->options, options, source }, 4);
    void *known = NULL;
    size_t size = 0;
    uint8_t right = 0;
    if (bd_cache_get(device->base.cache, "opencl-last-group", key, &known, &size) && size == sizeof right) {
        memcpy(&right, known, sizeof right);
    } else {
        right = is_right(device, source, options);
        bd_cache_put(device->base.cache, "opencl-last-group", key, &right, sizeof right);
    }
    free(known);
    free(source);
    device->base.target.last_group = right;
    return BD_OK;
}
