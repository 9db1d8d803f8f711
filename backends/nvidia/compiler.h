/* OpenCL C to PTX, by the compiler in NVIDIA's OpenCL driver, for backends that have none. Implemented by the OpenCL
 * backend (opencl/ptx.c), and by its stub where that is left out. */
#ifndef BINADE_BACKENDS_NVIDIA_COMPILER_H
#define BINADE_BACKENDS_NVIDIA_COMPILER_H

#include <binade/status.h>
#include <stdint.h>

typedef struct bd_cache bd_cache;
typedef struct bd_ptx_compiler bd_ptx_compiler;

/* For the device with this UUID, else one of this name, whose wgmma was found right through OpenCL. `cache` outlives
 * the compiler. BD_ERROR_UNSUPPORTED and the reason where there is none. */
bd_status bd_ptx_compiler_open(const uint8_t uuid[16], const char *name, bd_cache *cache, bd_ptx_compiler **compiler,
                               bd_error *error);
void bd_ptx_compiler_close(bd_ptx_compiler **compiler);
/* The PTX of a kernel, for sm_90a if its inline PTX needs that; `what` names it in the message. The caller frees. One
 * thread at a time. */
bd_status bd_ptx_compile(bd_ptx_compiler *compiler, const char *source, const char *what, char **ptx, bd_error *error);

#endif
