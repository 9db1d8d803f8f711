/* Tensor maps of NVIDIA's devices: made once, by a kernel, since only kernels know where a buffer lies. */
#include "../tensor_map.h"
#include "../../engine/embedded.h"
#include "opencl.h"

enum { BUFFERS = 2 };

static cl_int make_map(opencl_device *device, cl_kernel kernel, const bd_dispatch *dispatch, int side, uint64_t first,
                       cl_mem maps)
{
    const size_t items = BD_MAP_ITEMS;
    uint64_t values[BD_MAP_VALUES];
    bd_map_values(dispatch, side, first, values);
    cl_int code = clSetKernelArg(kernel, 0, sizeof maps, &maps);
    if (code == CL_SUCCESS)
        code =
            clSetKernelArg(kernel, 1, sizeof(cl_mem), &dispatch->bindings[dispatch->maps[side].operand].buffer->memory);
    for (cl_uint i = 0; i < BD_MAP_VALUES && code == CL_SUCCESS; ++i)
        code = clSetKernelArg(kernel, BUFFERS + i, sizeof values[i], &values[i]);
    return code == CL_SUCCESS ? clEnqueueNDRangeKernel(device->queue, kernel, 1, NULL, &items, &items, 0, NULL, NULL)
                              : code;
}

bd_status opencl_tensor_maps(opencl_device *device, const bd_program_desc *desc, cl_mem *maps, bd_error *error)
{
    static const char what[] = "making tensor maps";
    const uint64_t bytes = bd_maps_bytes(desc);
    cl_program program = NULL;
    cl_kernel kernel = NULL;
    cl_int code = CL_SUCCESS;
    *maps = NULL;
    if (bytes == 0)
        return BD_OK;
    bd_status status = opencl_build(device, bd_embedded_text("cl/tensor_map.cl"), "", what, &program, error);
    if (status != BD_OK)
        return status;
    kernel = clCreateKernel(program, "binade", &code);
    if (code == CL_SUCCESS)
        *maps = clCreateBuffer(device->context, CL_MEM_READ_WRITE, bytes, NULL, &code);
    uint64_t first = 0;
    for (int i = 0; i < desc->dispatch_count && code == CL_SUCCESS; ++i) {
        if (!desc->dispatches[i].mapped)
            continue;
        for (int side = 0; side < 2 && code == CL_SUCCESS; ++side)
            code = make_map(device, kernel, &desc->dispatches[i], side, first, *maps);
        first += BD_MAPS_BYTES;
    }
    if (kernel)
        clReleaseKernel(kernel);
    clReleaseProgram(program);
    return code == CL_SUCCESS ? BD_OK : opencl_fail(error, code, what);
}
