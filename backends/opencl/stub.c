/* In place of the OpenCL backend where it is not built. */
#include "../backend.h"
#include "../nvidia/compiler.h"

const bd_backend *bd_opencl_backend(void)
{
    return NULL;
}

bd_status bd_ptx_compiler_open(const uint8_t uuid[16], const char *name, bd_cache *cache, bd_ptx_compiler **compiler,
                               bd_error *error)
{
    (void)uuid;
    (void)name;
    (void)cache;
    *compiler = NULL;
    return bd_fail(error, BD_ERROR_UNSUPPORTED, "this build has no OpenCL, whose compiler makes PTX");
}

void bd_ptx_compiler_close(bd_ptx_compiler **compiler)
{
    (void)compiler;
}

bd_status bd_ptx_compile(bd_ptx_compiler *compiler, const char *source, const char *what, char **ptx, bd_error *error)
{
    (void)compiler;
    (void)source;
    *ptx = NULL;
    return bd_fail(error, BD_ERROR_UNSUPPORTED, "kernel %s: this build has no OpenCL, whose compiler makes PTX", what);
}
