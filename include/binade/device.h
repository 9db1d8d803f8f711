/* Devices: what there is to compute on, and what each can really do. */
#ifndef BINADE_DEVICE_H
#define BINADE_DEVICE_H

#include <binade/format.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bd_device_type { BD_DEVICE_CPU, BD_DEVICE_INTEGRATED, BD_DEVICE_DISCRETE, BD_DEVICE_OTHER } bd_device_type;

/* How a device rounds FP32 to FP16 when left to itself, found by running a kernel. */
typedef enum bd_rounding {
    BD_ROUNDING_UNKNOWN,
    BD_ROUNDING_NEAREST_EVEN,
    BD_ROUNDING_TOWARD_ZERO,
    BD_ROUNDING_OTHER
} bd_rounding;

/* Every limit is 0 where unsupported or unknown. */
typedef struct bd_limits {
    uint64_t memory_bytes;        /* of the device; of the host for a CPU driver */
    uint64_t max_buffer_bytes;    /* largest single allocation */
    uint64_t max_binding_bytes;   /* largest part of a buffer that a kernel sees through one binding */
    uint32_t max_bindings;        /* buffers a kernel may use */
    uint32_t buffer_alignment;    /* of a binding's offset, in bytes */
    uint32_t max_workgroup_items; /* work-items in a work-group */
    uint32_t max_workgroup_size[3];
    uint32_t max_workgroup_count[3];
    uint32_t shared_bytes;  /* local memory of a work-group */
    uint32_t subgroup_size; /* 0 if the driver does not tell */
    uint32_t compute_units; /* processors that run work-groups independently; at least 1 */
} bd_limits;

/* The truth about FP16. "probed" fields are the result of a kernel that ran when the device was opened. */
typedef struct bd_half_support {
    bool storage;          /* 16-bit elements can be read and written alone (else two are packed in a word) */
    bool arithmetic;       /* the driver offers native half arithmetic */
    bool arithmetic_exact; /* probed: + - * native equal to compute in FP32 and round; else it is not used */
    bool conversion_exact; /* probed: the driver's FP32 -> FP16 conversion rounds to nearest even, all cases */
    bool subnormals;       /* probed: FP16 subnormals survive the driver's own conversions and arithmetic */
    bd_rounding rounding;  /* probed: of the driver's conversion */
    bool subnormals_f32;   /* probed: FP32 subnormals survive sums and products */
} bd_half_support;

typedef struct bd_device_info {
    char id[32];      /* "opencl:0", "vulkan:1", "reference" */
    char backend[16]; /* "opencl", "vulkan", "reference" */
    char name[160];
    char vendor[96];
    char driver[160];
    char matrix_units[320]; /* "" if none, else a short description */
    /* Of matrix units that multiply F8E4M3 and F8E5M2 as they are: bits after the leading one that count in their sums,
     * of which 128 products or fewer are summed in F32 (bd_precision.unit_sums); where there are several, of those that
     * keep the fewest. 0: there are none. */
    uint32_t f8_sum_bits;
    char limit[160]; /* what bd_device_limit was given; "" if nothing */
    bd_device_type type;
    bd_limits limits;
    bd_half_support half; /* probed fields are false until the device was opened */
    /* What `binade check` found wrong with this device and driver, and the open device obeys: "contraction simd in f16
     * with f32 sums not used; ..."; "" if nothing, or until it was opened. */
    char quirks[512];
} bd_device_info;

typedef struct bd_device bd_device;

/* All devices of all backends, the reference last; nothing is opened. `*infos` is malloc'ed, the caller frees it. A
 * backend whose loader or drivers are missing adds none. Not thread safe against itself. */
BD_API bd_status bd_device_list(bd_device_info **infos, size_t *count, bd_error *error);

/* Opens a device by its id ("vulkan:0"), a backend's name (its first device) or a part of a device's name, case aside.
 * BD_ERROR_ARGUMENT lists what there is. A device is used by one thread at a time. The quirks file that `binade check`
 * wrote for this device, driver and version of Binade, if there is one, is obeyed: variants of kernels that were wrong
 * are not used, limits are those that really work. BD_ERROR_DATA or BD_ERROR_FILE if it cannot be read;
 * BINADE_QUIRKS=off in the environment goes without it. */
BD_API bd_status bd_device_open(const char *name, bd_device **device, bd_error *error);
BD_API void bd_device_close(bd_device **device);
/* Makes an open device look smaller than it is, to try a program for another one. `text` is items joined by commas,
 * each
 *     shared=SIZE, workgroup=N, binding=SIZE, memory=SIZE    such as 16K, 128M, 1G; a limit above the device's own
 *                                                            changes nothing
 *     subgroup=none or N                                     what the device is taken to have
 *     fp16=storage                                           no native half arithmetic
 *     fp16=packed                                            nor 16-bit elements: two halves in a word. Every device
 *                                                            can do that
 *     without=VARIANT                                        a way to do things that is not taken, by the name `binade
 *                                                            check` gives it: matrix, column-sums, last-group,
 *                                                            tensor-maps
 * or the name of a profile: minimum-vulkan, what Vulkan asks of every device; mali-g52, adreno-640, apple-m1,
 * intel-uhd. They are a table in engine/limit.c, with the source of each number; what none was found for is not
 * limited: binding of mali-g52 and apple-m1, subgroup of adreno-640, and memory and bandwidth of all. Plans, kernels
 * and the tuner obey, and bd_device_get_info tells the new limits. binding is Vulkan's alone. Matrix units go with what
 * fp16= and a changed subgroup take away. Before any trainer is made on the device; limits add up. BD_ERROR_ARGUMENT
 * says what would be right; BD_ERROR_UNSUPPORTED for the reference, which has no limits. */
BD_API bd_status bd_device_limit(bd_device *device, const char *text, bd_error *error);
/* Valid while the device is open; probed fields are filled. */
BD_API const bd_device_info *bd_device_get_info(const bd_device *device);

#ifdef __cplusplus
}
#endif
#endif
