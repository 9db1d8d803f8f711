/* PTX, the text that NVIDIA's OpenCL driver compiles kernels to, and what Binade changes in it. Nothing here needs a
 * driver. */
#ifndef BINADE_BACKENDS_NVIDIA_PTX_H
#define BINADE_BACKENDS_NVIDIA_PTX_H

#include <binade/status.h>
#include <stdbool.h>
#include <stdint.h>

/* Is something in it covered by "//+", as inline PTX of OpenCL C hides what only sm_90a has? The driver's target is
 * sm_90. */
bool bd_ptx_is_covered(const char *ptx);
/* The same text with everything uncovered, for sm_90a. The caller frees; NULL where memory ran out or the target is no
 * sm_90. */
char *bd_ptx_uncover(const char *ptx);

/* PTX of OpenCL as CUDA's loader takes it: entry points visible, textures as CUDA has them, and where there are more
 * than 48 KiB of shared memory, in one array then, *shared_bytes of them given at launch (0 for fewer, which the text
 * declares itself). The caller frees *result. BD_ERROR_UNSUPPORTED where the text is no PTX, has several such arrays,
 * or reads what only OpenCL's launches set (%envreg); BD_ERROR_MEMORY. *result is NULL then. */
bd_status bd_ptx_for_cuda(const char *ptx, char **result, uint32_t *shared_bytes, bd_error *error);

#endif
