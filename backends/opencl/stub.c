/* In place of the OpenCL backend where it is not built. */
#include "../backend.h"

const bd_backend *bd_opencl_backend(void)
{
    return NULL;
}
