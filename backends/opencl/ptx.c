/* The compiler in NVIDIA's OpenCL driver, for the Vulkan backend: it makes the PTX that Vulkan then launches. */
#include "opencl.h"

#include "../nvidia/compiler.h"
#include "../nvidia/ptx.h"

#include <stdlib.h>
#include <string.h>

#define DEVICE_UUID_KHR 0x106A /* cl_khr_device_uuid */
#define UUID_BYTES 16

struct bd_ptx_compiler {
    bd_device *device;
};

static bool has_uuid(cl_device_id id, const uint8_t uuid[UUID_BYTES])
{
    uint8_t own[UUID_BYTES];
    return opencl_has_extension(id, "cl_khr_device_uuid") &&
           clGetDeviceInfo(id, DEVICE_UUID_KHR, sizeof own, own, NULL) == CL_SUCCESS &&
           memcmp(own, uuid, sizeof own) == 0;
}

/* The number of NVIDIA's device with the UUID, else of the first of the name. */
static bool find(const uint8_t uuid[UUID_BYTES], const char *name, size_t *index)
{
    cl_platform_id platform;
    cl_device_id id;
    bd_device_info info;
    bool found = false;
    for (size_t i = 0; opencl_find(i, &platform, &id, &info, NULL) == BD_OK; ++i) {
        if (!opencl_is_nvidia(id))
            continue;
        const bool same = has_uuid(id, uuid);
        if (same || (!found && strcmp(info.name, name) == 0))
            *index = i;
        found |= same || strcmp(info.name, name) == 0;
        if (same)
            break;
    }
    return found;
}

bd_status bd_ptx_compiler_open(const uint8_t uuid[UUID_BYTES], const char *name, bd_cache *cache,
                               bd_ptx_compiler **opened, bd_error *error)
{
    size_t index = 0;
    *opened = NULL;
    if (!find(uuid, name, &index))
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "no OpenCL driver of NVIDIA has a device %s", name);
    bd_ptx_compiler *compiler = calloc(1, sizeof *compiler);
    if (!compiler)
        return bd_fail(error, BD_ERROR_MEMORY, "no memory for a compiler's record");
    bd_status status = opencl_open(index, cache, &compiler->device, error);
    if (status == BD_OK && compiler->device->target.matrix.warpgroup_bytes == 0)
        status = bd_fail(error, BD_ERROR_UNSUPPORTED, "%s has no wgmma through OpenCL", name);
    if (status != BD_OK) {
        bd_ptx_compiler_close(&compiler);
        return status;
    }
    *opened = compiler;
    return BD_OK;
}

void bd_ptx_compiler_close(bd_ptx_compiler **compiler)
{
    if (*compiler && (*compiler)->device)
        opencl_close((*compiler)->device);
    free(*compiler);
    *compiler = NULL;
}

bd_status bd_ptx_compile(bd_ptx_compiler *compiler, const char *source, const char *what, char **ptx, bd_error *error)
{
    return opencl_ptx(opencl_of(compiler->device), source, what, ptx, error);
}
