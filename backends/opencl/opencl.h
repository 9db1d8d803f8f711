/* The OpenCL backend's inside. Any device of OpenCL 1.2 or later, through the ICD loader. */
#ifndef BINADE_BACKENDS_OPENCL_H
#define BINADE_BACKENDS_OPENCL_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "../../engine/cache.h"
#include "../backend.h"

/* The language of kernels that ask for no other. */
#define OPENCL_STANDARD "-cl-std=CL1.2"
enum { OPENCL_FENCE_OPTIONS = 24 };

typedef struct opencl_device {
    bd_device base;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;                   /* in order */
    cl_command_queue timing_queue;            /* the same with a clock; NULL until first used */
    char identity[512];                       /* device and driver: what compiled kernels depend on */
    char options[256];                        /* of every build */
    char fence_options[OPENCL_FENCE_OPTIONS]; /* of kernels with a fence for the device, besides */
    bool nvidia;                              /* by its vendor: inline PTX is worth a try */
    uint64_t memory_now, memory_peak;
} opencl_device;

struct bd_buffer {
    cl_mem memory;
    uint64_t size;
};

struct bd_event {
    cl_event event;
};

static inline opencl_device *opencl_of(bd_device *device)
{
    return (opencl_device *)device;
}

/* ---- error.c ---- */
/* "CL_INVALID_VALUE"; "unknown OpenCL error" for what is none. */
const char *opencl_error_name(cl_int code);
/* Fills `error` with "WHAT: CL_NAME (code)" and returns the status that fits the code. */
bd_status opencl_fail(bd_error *error, cl_int code, const char *what);
/* The same for what a queue was given or waited for: codes that mean that the device is gone are BD_ERROR_LOST. */
bd_status opencl_queue_status(cl_int code);
bd_status opencl_queue_fail(bd_error *error, cl_int code, const char *what);

/* ---- list.c ---- */
bd_status opencl_list(bd_device_info **infos, size_t *count, bd_error *error);
/* Device number `index` of the list, with what is known without opening it. */
bd_status opencl_find(size_t index, cl_platform_id *platform, cl_device_id *id, bd_device_info *info, bd_error *error);
/* Is `extension` in CL_DEVICE_EXTENSIONS? (The macros of OpenCL C cannot be trusted: facts of oclgrind.) */
bool opencl_has_extension(cl_device_id id, const char *extension);
bool opencl_is_nvidia(cl_device_id id);

/* ---- open.c ---- */
bd_status opencl_open(size_t index, bd_cache *cache, bd_device **device, bd_error *error);
void opencl_close(bd_device *device);

/* ---- probe.c ---- */
/* Runs kernels to find what the device does with halves, or remembers it from the disk cache. Fills info.half,
 * info.matrix_units, target.half, target.nvidia, target.matrix, and adds to the options what the kernels' prelude is to
 * use. */
bd_status opencl_probe(opencl_device *device, bd_error *error);

/* Runs a kernel of two buffers over `items` work-items and reads the second. */
bd_status opencl_probe_run(opencl_device *device, cl_program program, const char *name, size_t items, const void *in,
                           size_t in_size, void *out, size_t out_size, bd_error *error);

/* ---- probe_matrix.c ---- */
/* What an NVIDIA device's tensor cores do; all 0 if they cannot be reached. */
void opencl_probe_matrix(opencl_device *device, bd_matrix_units *found);

/* ---- probe_last_group.c ---- */
/* Fills fence_options and target.last_group, after opencl_probe. */
bd_status opencl_probe_last_group(opencl_device *device, bd_error *error);

/* ---- build.c ---- */
/* Compiles `source` with the device's options and `extra` ones, or loads its binary from the disk cache. What inline
 * PTX hides behind "//+" is left out by NVIDIA's compiler, whose target is sm_90, and uncovered in the PTX that it
 * makes, which is then built for sm_90a. `what` names the kernel in the message. The caller releases the program. */
bd_status opencl_build(opencl_device *device, const char *source, const char *extra, const char *what,
                       cl_program *program, bd_error *error);
/* NVIDIA's devices: the PTX of `source`, uncovered. The caller frees. */
bd_status opencl_ptx(opencl_device *device, const char *source, const char *what, char **ptx, bd_error *error);

/* ---- buffer.c ---- */
bd_status opencl_buffer_create(bd_device *device, uint64_t size, bd_buffer **buffer, bd_error *error);
void opencl_buffer_destroy(bd_device *device, bd_buffer *buffer);
bd_status opencl_buffer_write(bd_device *device, bd_buffer *buffer, uint64_t offset, const void *data, uint64_t size,
                              bd_event **event, bd_error *error);
bd_status opencl_buffer_read(bd_device *device, bd_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                             bd_event **event, bd_error *error);
void opencl_memory(const bd_device *device, uint64_t *now, uint64_t *peak);
bool opencl_event_done(bd_device *device, bd_event *event);
bd_status opencl_event_wait(bd_device *device, bd_event *event, bd_error *error);
void opencl_event_destroy(bd_device *device, bd_event *event);
bd_status opencl_finish(bd_device *device, bd_error *error);

/* ---- tensor_map.c ---- */
/* Enqueues the making of all maps of a program, into a buffer that the caller releases; NULL if it has none. */
bd_status opencl_tensor_maps(opencl_device *device, const bd_program_desc *desc, cl_mem *maps, bd_error *error);

/* ---- program.c ---- */
bd_status opencl_program_create(bd_device *device, const bd_program_desc *desc, bd_backend_program **program,
                                bd_error *error);
void opencl_program_destroy(bd_device *device, bd_backend_program *program);
bd_status opencl_program_run(bd_device *device, bd_backend_program *program, uint32_t repeats, bd_error *error);
bd_status opencl_program_profile(bd_device *device, bd_backend_program *program, uint64_t *nanoseconds,
                                 bd_error *error);

/* ---- library.c ---- */
/* A matmul that CLBlast does; matrices are row major, offsets and lengths count elements. */
typedef struct opencl_gemm {
    bd_format format;
    bool transpose[2];
    size_t m, n, k, batches;
    cl_mem a, b, c;
    size_t a_offset, b_offset, c_offset;
} opencl_gemm;

/* Was this build given CLBlast? */
bool opencl_has_library(void);
/* CLBlast keeps compiled kernels, and with them their contexts, until told to let go. */
void opencl_library_forget(void);
/* Reads the one MATMUL node of a BD_KERNEL_LIBRARY dispatch. */
bd_status opencl_gemm_init(const bd_plan *plan, const bd_dispatch *dispatch, opencl_gemm *gemm, bd_error *error);
bd_status opencl_gemm_enqueue(const opencl_gemm *gemm, cl_command_queue queue, bd_error *error);

#endif
