/* Opening a device: context, queue, build options, probes. */
#include "opencl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All that a compiled kernel may depend on: the platform's version names its compiler. */
static void fill_identity(cl_platform_id platform, opencl_device *device)
{
    char platform_version[160] = "", device_version[96] = "", driver[64] = "";
    clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof platform_version, platform_version, NULL);
    clGetDeviceInfo(device->id, CL_DEVICE_VERSION, sizeof device_version, device_version, NULL);
    clGetDeviceInfo(device->id, CL_DRIVER_VERSION, sizeof driver, driver, NULL);
    snprintf(device->identity, sizeof device->identity, "%s; %s; %s; %s", device->base.info.name, platform_version,
             device_version, driver);
}

static void fill_options(opencl_device *device)
{
    cl_device_fp_config single = 0;
    clGetDeviceInfo(device->id, CL_DEVICE_SINGLE_FP_CONFIG, sizeof single, &single, NULL);
    /* -w: PoCL lets its compiler count warnings on stderr. */
    snprintf(device->options, sizeof device->options, "-w%s%s",
             single & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT
                 ? " -cl-fp32-correctly-rounded-divide-sqrt -DBD_EXACT_DIVIDE=1"
                 : "",
             device->base.info.half.arithmetic ? " -DBD_KHR_FP16=1" : "");
}

bd_status opencl_open(size_t index, bd_cache *cache, bd_device **opened, bd_error *error)
{
    cl_platform_id platform;
    cl_int code;
    opencl_device *device = calloc(1, sizeof *device);
    if (!device)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a device's record");
    device->base.backend = bd_opencl_backend();
    device->base.cache = cache;
    bd_status status = opencl_find(index, &platform, &device->id, &device->base.info, error);
    if (status != BD_OK)
        goto failed;
    const cl_context_properties properties[] = { CL_CONTEXT_PLATFORM, (cl_context_properties)platform, 0 };
    device->context = clCreateContext(properties, 1, &device->id, NULL, NULL, &code);
    if (code == CL_SUCCESS)
        device->queue = clCreateCommandQueue(device->context, device->id, 0, &code);
    if (code != CL_SUCCESS) {
        status = opencl_fail(error, code, device->base.info.name);
        goto failed;
    }
    device->nvidia = opencl_is_nvidia(device->id);
    fill_identity(platform, device);
    fill_options(device);
    status = opencl_probe(device, error);
    if (status == BD_OK)
        status = opencl_probe_last_group(device, error);
    if (status != BD_OK)
        goto failed;
    bd_target *target = &device->base.target;
    target->limits = device->base.info.limits;
    target->half = device->base.info.half;
    target->is_cpu = device->base.info.type == BD_DEVICE_CPU;
    target->vector_types = true;
    /* NVIDIA's PTX has dp4a from compute capability 6.1 on; what has tensor cores is newer. */
    target->integer_dot = opencl_has_extension(device->id, "cl_khr_integer_dot_product") || target->matrix.m;
    target->library_f32 = opencl_has_library();
    target->library_f16 = opencl_has_library() && opencl_has_extension(device->id, "cl_khr_fp16");
    *opened = &device->base;
    return BD_OK;
failed:
    opencl_close(&device->base);
    return status;
}

void opencl_close(bd_device *base)
{
    opencl_device *device = opencl_of(base);
    if (!device)
        return;
    opencl_library_forget();
    if (device->timing_queue)
        clReleaseCommandQueue(device->timing_queue);
    if (device->queue)
        clReleaseCommandQueue(device->queue);
    if (device->context)
        clReleaseContext(device->context);
    free(device);
}
