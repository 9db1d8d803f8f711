/* OpenCL error codes, by name. */
#include "opencl.h"

const char *opencl_error_name(cl_int code)
{
#define CODE(NAME)                                                                                                     \
    {                                                                                                                  \
        NAME, #NAME                                                                                                    \
    }
    static const struct {
        cl_int code;
        const char *name;
    } codes[] = {
        CODE(CL_DEVICE_NOT_FOUND),
        CODE(CL_DEVICE_NOT_AVAILABLE),
        CODE(CL_COMPILER_NOT_AVAILABLE),
        CODE(CL_MEM_OBJECT_ALLOCATION_FAILURE),
        CODE(CL_OUT_OF_RESOURCES),
        CODE(CL_OUT_OF_HOST_MEMORY),
        CODE(CL_PROFILING_INFO_NOT_AVAILABLE),
        CODE(CL_MEM_COPY_OVERLAP),
        CODE(CL_BUILD_PROGRAM_FAILURE),
        CODE(CL_MAP_FAILURE),
        CODE(CL_MISALIGNED_SUB_BUFFER_OFFSET),
        CODE(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST),
        CODE(CL_COMPILE_PROGRAM_FAILURE),
        CODE(CL_LINKER_NOT_AVAILABLE),
        CODE(CL_LINK_PROGRAM_FAILURE),
        CODE(CL_INVALID_VALUE),
        CODE(CL_INVALID_DEVICE_TYPE),
        CODE(CL_INVALID_PLATFORM),
        CODE(CL_INVALID_DEVICE),
        CODE(CL_INVALID_CONTEXT),
        CODE(CL_INVALID_QUEUE_PROPERTIES),
        CODE(CL_INVALID_COMMAND_QUEUE),
        CODE(CL_INVALID_HOST_PTR),
        CODE(CL_INVALID_MEM_OBJECT),
        CODE(CL_INVALID_BINARY),
        CODE(CL_INVALID_BUILD_OPTIONS),
        CODE(CL_INVALID_PROGRAM),
        CODE(CL_INVALID_PROGRAM_EXECUTABLE),
        CODE(CL_INVALID_KERNEL_NAME),
        CODE(CL_INVALID_KERNEL_DEFINITION),
        CODE(CL_INVALID_KERNEL),
        CODE(CL_INVALID_ARG_INDEX),
        CODE(CL_INVALID_ARG_VALUE),
        CODE(CL_INVALID_ARG_SIZE),
        CODE(CL_INVALID_KERNEL_ARGS),
        CODE(CL_INVALID_WORK_DIMENSION),
        CODE(CL_INVALID_WORK_GROUP_SIZE),
        CODE(CL_INVALID_WORK_ITEM_SIZE),
        CODE(CL_INVALID_GLOBAL_OFFSET),
        CODE(CL_INVALID_EVENT_WAIT_LIST),
        CODE(CL_INVALID_EVENT),
        CODE(CL_INVALID_OPERATION),
        CODE(CL_INVALID_BUFFER_SIZE),
        CODE(CL_INVALID_GLOBAL_WORK_SIZE),
        CODE(CL_INVALID_PROPERTY),
    };
#undef CODE
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code)
            return codes[i].name;
    return "unknown OpenCL error";
}

/* NVIDIA's own, after a kernel's fault. */
#define NVIDIA_ILLEGAL_ACCESS (-9999)

/* OpenCL has no code for it: a queue that stops says one of these, then and from then on. */
static bool is_loss(cl_int code)
{
    switch (code) {
    case CL_DEVICE_NOT_AVAILABLE:
    case CL_OUT_OF_RESOURCES:
    case CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST:
    case CL_INVALID_DEVICE:
    case CL_INVALID_CONTEXT:
    case CL_INVALID_COMMAND_QUEUE:
    case NVIDIA_ILLEGAL_ACCESS: return true;
    default: return false;
    }
}

static bd_status status_of(cl_int code)
{
    return code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY ? BD_ERROR_MEMORY
                                                                                     : BD_ERROR_DEVICE;
}

bd_status opencl_queue_status(cl_int code)
{
    return is_loss(code) ? BD_ERROR_LOST : status_of(code);
}

bd_status opencl_fail(bd_error *error, cl_int code, const char *what)
{
    return bd_fail(error, status_of(code), "%s: %s (%d)", what, opencl_error_name(code), (int)code);
}

bd_status opencl_queue_fail(bd_error *error, cl_int code, const char *what)
{
    return bd_fail(error, opencl_queue_status(code), "%s: %s (%d)", what, opencl_error_name(code), (int)code);
}
