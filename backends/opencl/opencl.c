/* The OpenCL backend's table of functions. */
#include "opencl.h"

const bd_backend *bd_opencl_backend(void)
{
    static const bd_backend backend = {
        .name = "opencl",
        .dialect = BD_DIALECT_OPENCL,
        .list = opencl_list,
        .open = opencl_open,
        .close = opencl_close,
        .buffer_create = opencl_buffer_create,
        .buffer_destroy = opencl_buffer_destroy,
        .buffer_write = opencl_buffer_write,
        .buffer_read = opencl_buffer_read,
        .program_create = opencl_program_create,
        .program_destroy = opencl_program_destroy,
        .program_run = opencl_program_run,
        .program_profile = opencl_program_profile,
        .event_done = opencl_event_done,
        .event_wait = opencl_event_wait,
        .event_destroy = opencl_event_destroy,
        .finish = opencl_finish,
        .memory = opencl_memory,
    };
    return &backend;
}
