/* OpenCL error codes, by name. */
#include "opencl.h"

#define ERROR_CODES(ROW)                                                                                               \
    ROW(CL_DEVICE_NOT_FOUND)                                                                                           \
    ROW(CL_DEVICE_NOT_AVAILABLE)                                                                                       \
    ROW(CL_COMPILER_NOT_AVAILABLE)                                                                                     \
    ROW(CL_MEM_OBJECT_ALLOCATION_FAILURE) ROW(CL_OUT_OF_RESOURCES) ROW(CL_OUT_OF_HOST_MEMORY)                          \
        ROW(CL_PROFILING_INFO_NOT_AVAILABLE) ROW(CL_MEM_COPY_OVERLAP) ROW(CL_BUILD_PROGRAM_FAILURE)                    \
            ROW(CL_MAP_FAILURE) ROW(CL_MISALIGNED_SUB_BUFFER_OFFSET) ROW(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST) \
                ROW(CL_COMPILE_PROGRAM_FAILURE) ROW(CL_LINKER_NOT_AVAILABLE) ROW(CL_LINK_PROGRAM_FAILURE)              \
                    ROW(CL_INVALID_VALUE) ROW(CL_INVALID_DEVICE_TYPE) ROW(CL_INVALID_PLATFORM) ROW(CL_INVALID_DEVICE)  \
                        ROW(CL_INVALID_CONTEXT) ROW(CL_INVALID_QUEUE_PROPERTIES) ROW(CL_INVALID_COMMAND_QUEUE)         \
                            ROW(CL_INVALID_HOST_PTR) ROW(CL_INVALID_MEM_OBJECT) ROW(CL_INVALID_BINARY)                 \
                                ROW(CL_INVALID_BUILD_OPTIONS) ROW(CL_INVALID_PROGRAM)                                  \
                                    ROW(CL_INVALID_PROGRAM_EXECUTABLE) ROW(CL_INVALID_KERNEL_NAME)                     \
                                        ROW(CL_INVALID_KERNEL_DEFINITION) ROW(CL_INVALID_KERNEL)                       \
                                            ROW(CL_INVALID_ARG_INDEX) ROW(CL_INVALID_ARG_VALUE)                        \
                                                ROW(CL_INVALID_ARG_SIZE) ROW(CL_INVALID_KERNEL_ARGS)                   \
                                                    ROW(CL_INVALID_WORK_DIMENSION) ROW(CL_INVALID_WORK_GROUP_SIZE)     \
                                                        ROW(CL_INVALID_WORK_ITEM_SIZE) ROW(CL_INVALID_GLOBAL_OFFSET)   \
                                                            ROW(CL_INVALID_EVENT_WAIT_LIST) ROW(CL_INVALID_EVENT)      \
                                                                ROW(CL_INVALID_OPERATION) ROW(CL_INVALID_BUFFER_SIZE)  \
                                                                    ROW(CL_INVALID_GLOBAL_WORK_SIZE)                   \
                                                                        ROW(CL_INVALID_PROPERTY)

const char *opencl_error_name(cl_int code)
{
#define NAME_ROW(NAME)                                                                                                 \
    case NAME: return #NAME;
    switch (code) {
        ERROR_CODES(NAME_ROW)
    default: return "unknown OpenCL error";
    }
#undef NAME_ROW
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
    return code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY ? BD_ERROR_MEMORY : BD_ERROR_DEVICE;
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
