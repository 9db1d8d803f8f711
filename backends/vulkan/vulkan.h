/* The inside of the Vulkan backend: one file an idea.
 *     result.c    error codes in words               memory.c    buffers, transfers and staging
 *     instance.c  loader, instance, layer messages   shader.c    GLSL to SPIR-V
 *     physical.c  what there is, and what it can do  pipeline.c  layouts, pipelines and their cache on disk
 *     device.c    opening and closing                hazard.c    where a barrier is needed
 *     queue.c     submissions and events             program.c   recorded dispatches
 *     probe*.c    kernels that find out the truth    backend.c   the vtable (stub.c where not built in)
 *     spirv.c     what SPIR-V has and glslang not    launch*.c   NVIDIA: kernels in PTX
 * Vulkan 1.1 suffices. Instance-level functions are volk's; device-level ones come from each device's own table. */
#ifndef BINADE_BACKENDS_VULKAN_H
#define BINADE_BACKENDS_VULKAN_H

#include "../backend.h"
#include "../probe_codes.h"

#include <stdatomic.h>
#define VK_NO_PROTOTYPES
#include <volk.h>

/* ---- result.c ---- */

/* "VK_ERROR_DEVICE_LOST"; never NULL. */
const char *bd_vk_result_name(VkResult result);
/* Fills `error` with what was tried and the result's name. */
bd_status bd_vk_fail(bd_error *error, VkResult result, const char *what);

/* ---- instance.c ---- */

typedef struct bd_vk_instance {
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger;
    atomic_uint message_count; /* of the validation layers; counted if BINADE_VULKAN_MESSAGES=1 */
} bd_vk_instance;

/* BD_OK and *instance NULL where there is no loader, no Vulkan 1.1 or no driver. */
bd_status bd_vk_instance_create(bd_vk_instance **instance, bd_error *error);
void bd_vk_instance_destroy(bd_vk_instance **instance);

/* ---- physical.c ---- */

/* What the driver offers of what the kernels can use. */
typedef struct bd_vk_abilities {
    bool storage16, float16;
    bool float_controls;           /* execution modes may be asked for */
    bool rte16, rte32;             /* rounding to nearest even */
    bool denormals16, denormals32; /* subnormals preserved */
    bool nan16, nan32;             /* signed zeros, infinities and NaN preserved */
    bool integer_dot;              /* four products of INT8 and their sum in one instruction */
    bool int8;                     /* whole numbers of 8 bits in shaders */
    bd_matrix_units matrix;        /* cooperative matrices that the kernels can use; all 0 if none */
    bd_joined_matrices joined;     /* and those as large as a tile */
    bool subgroups_vary;           /* from pipeline to pipeline, unless asked for */
    bool memory_model_device;      /* the memory model that they need has a device scope */
    bool launches;                 /* of kernels in PTX */
    const char *extensions[9];     /* to enable for these */
    uint32_t extension_count;
} bd_vk_abilities;

/* The devices with Vulkan 1.1 and a compute queue, in the loader's order; the caller frees *devices. */
bd_status bd_vk_physical_list(const bd_vk_instance *instance, VkPhysicalDevice **devices, uint32_t *count,
                              bd_error *error);
/* Everything that can be told without a logical device. */
bd_status bd_vk_physical_describe(VkPhysicalDevice physical, size_t index, bd_device_info *info,
                                  bd_vk_abilities *abilities, bd_error *error);
/* The driver reads every storage format as texels. */
bool bd_vk_physical_has_texels(VkPhysicalDevice physical);
/* The invocations of a subgroup read each other's numbers. */
bool bd_vk_physical_shuffles(VkPhysicalDevice physical);
/* The format of texels of elements of `format`; one to a texel for whole numbers. */
VkFormat bd_vk_texel_format(bd_format format, bd_access access);
/* The best queue family for compute; UINT32_MAX if there is none. */
uint32_t bd_vk_compute_family(VkPhysicalDevice physical, uint32_t *timestamp_bits);

/* ---- device.c ---- */

/* Memory that the host writes or reads on the way to or from the device. */
typedef struct bd_vk_staging {
    VkBuffer buffer;
    VkDeviceMemory memory;
    void *mapped;
    uint64_t size;
    uint64_t serial; /* of the last submission that uses it */
    bool held;       /* by an event whose data was not fetched yet */
} bd_vk_staging;

typedef struct bd_vk_submission {
    VkFence fence;
    VkCommandBuffer commands; /* to be recycled with it, or NULL */
    uint64_t serial;
} bd_vk_submission;

/* Of set 0: storage buffers, and texel buffers where `texels` says so. */
typedef struct bd_vk_layout {
    uint32_t count;
    bool *texels; /* owned */
    VkDescriptorSetLayout set;
    VkPipelineLayout pipeline;
} bd_vk_layout;

/* Submissions that may wait in the queue; the next one waits for the first to end. */
#define BD_VK_IN_FLIGHT 64
/* Blocks of staging memory at most, unless transfers with events are under way in more. */
#define BD_VK_STAGING_BLOCKS 4

typedef struct bd_vk_device {
    bd_device base; /* first */
    bd_vk_instance *instance;
    VkPhysicalDevice physical;
    VkDevice handle;
    struct VolkDeviceTable vk;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    bool unified;                     /* buffers are mapped, the host reads and writes them in place */
    bool subgroups_vary;              /* from pipeline to pipeline, unless asked for */
    bool texels;                      /* kernels may read buffers as texels; asked for on CPU drivers only */
    bool launches;                    /* kernels in PTX may be launched, and buffers have addresses */
    char *preamble;                   /* goes before every kernel; see bd_vk_preamble */
    struct bd_ptx_compiler *compiler; /* launch.c; NULL until first used */

    /* queue.c */
    VkQueue queue;
    uint32_t family, timestamp_bits;
    VkCommandPool pool;
    bd_vk_submission ring[BD_VK_IN_FLIGHT]; /* in flight, from ring_first on, by serial */
    uint32_t ring_first, ring_count;
    VkFence free_fences[BD_VK_IN_FLIGHT];
    uint32_t free_fence_count;
    VkCommandBuffer free_commands[BD_VK_IN_FLIGHT + 1]; /* one may be recorded while the ring is full */
    uint32_t free_command_count;
    uint64_t submitted, completed; /* serials */
    VkResult lost;                 /* VK_SUCCESS while the device works */

    /* memory.c */
    bd_vk_staging **staging; /* pointers stay good while events hold them */
    size_t staging_count;
    uint64_t bytes_now, bytes_peak;

    /* pipeline.c */
    VkPipelineCache pipeline_cache;
    uint64_t pipeline_cache_hash; /* of what the disk holds */
    bd_vk_layout *layouts;        /* made on demand */
    size_t layout_count;
} bd_vk_device;

static inline bd_vk_device *bd_vk_device_of(bd_device *device)
{
    return (bd_vk_device *)device;
}

bd_status bd_vk_open(size_t index, bd_cache *cache, bd_device **device, bd_error *error);
void bd_vk_close(bd_device *device);
/* Like bd_vk_fail; remembers that the device is lost. */
bd_status bd_vk_device_fail(bd_vk_device *device, bd_error *error, VkResult result, const char *what);
/* Messages of the validation layers so far, for tests. */
uint32_t bd_vk_message_count(const bd_device *device);

/* ---- queue.c ---- */

bd_status bd_vk_queue_init(bd_vk_device *device, bd_error *error);
void bd_vk_queue_finish(bd_vk_device *device);
/* A command buffer for one submission, begun. */
bd_status bd_vk_commands_begin(bd_vk_device *device, VkCommandBuffer *commands, bd_error *error);
/* Ends and submits what bd_vk_commands_begin gave, also recycles it; *serial may be NULL. */
bd_status bd_vk_commands_submit(bd_vk_device *device, VkCommandBuffer commands, uint64_t *serial, bd_error *error);
/* Submits command buffers that stay the caller's until the serial is completed. */
bd_status bd_vk_submit(bd_vk_device *device, const VkCommandBuffer *commands, uint32_t count, uint64_t *serial,
                       bd_error *error);
/* Orders the kernels before it and after it; launches (VK_NVX_binary_import says nothing of their stage) as dispatches,
 * which was tried on an H100: the accesses VK_ACCESS_MEMORY_... in place of the shader's take 3 us longer. */
void bd_vk_kernel_barrier(bd_vk_device *device, VkCommandBuffer commands);
/* The rule that orders everything: every submission ends with this barrier, so whatever follows may use its results. */
void bd_vk_final_barrier(bd_vk_device *device, VkCommandBuffer commands, bool for_host);
/* Notes which submissions have ended. */
void bd_vk_poll(bd_vk_device *device);
bd_status bd_vk_wait(bd_vk_device *device, uint64_t serial, bd_error *error);
bd_status bd_vk_finish(bd_device *device, bd_error *error);

/* ---- memory.c ---- */

struct bd_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    uint64_t size;           /* as asked for */
    uint64_t capacity;       /* of the VkBuffer: a multiple of 16, so that bytes and halves can be read by the word */
    uint64_t allocated;      /* what the memory takes */
    void *mapped;            /* if the device is unified, else NULL */
    VkDeviceAddress address; /* if the device launches, else 0 */
};

struct bd_event {
    uint64_t serial;
    bd_vk_staging *staging; /* of a read that was not fetched yet, else NULL */
    void *data;
    uint64_t size;
};

bd_status bd_vk_buffer_create(bd_device *device, uint64_t size, bd_buffer **buffer, bd_error *error);
void bd_vk_buffer_destroy(bd_device *device, bd_buffer *buffer);
bd_status bd_vk_buffer_write(bd_device *device, bd_buffer *buffer, uint64_t offset, const void *data, uint64_t size,
                             bd_event **event, bd_error *error);
bd_status bd_vk_buffer_read(bd_device *device, bd_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                            bd_event **event, bd_error *error);
bool bd_vk_event_done(bd_device *device, bd_event *event);
bd_status bd_vk_event_wait(bd_device *device, bd_event *event, bd_error *error);
void bd_vk_event_destroy(bd_device *device, bd_event *event);
void bd_vk_memory(const bd_device *device, uint64_t *now, uint64_t *peak);
/* Chooses whether buffers are mapped. */
void bd_vk_memory_init(bd_vk_device *device);
void bd_vk_memory_finish(bd_vk_device *device);

/* ---- shader.c ---- */

/* Compiles GLSL (or finds it in the cache) to SPIR-V 1.6 with `matrices`, which Vulkan 1.3 has, else 1.3; the caller
 * frees *words. `name` is for the message. */
bd_status bd_vk_spirv(bd_vk_device *device, const char *name, const char *source, bool matrices, uint32_t **words,
                      size_t *bytes, bd_error *error);
/* The first word of a SPIR-V module. */
#define BD_VK_SPIRV_MAGIC 0x07230203u
/* Makes cooperative matrices of whole numbers without sign matrices of floats: of 16 bits BF16, of 8 bits F8E4M3, of 32
 * bits F8E5M2; in place of *words, which is freed. A module without such matrices stays as it is. BD_ERROR_DEVICE if
 * the words are no SPIR-V module, BD_ERROR_MEMORY: nothing changed. */
bd_status bd_vk_spirv_floats(uint32_t **words, size_t *bytes, bd_error *error);
/* What goes before every kernel: what `abilities` has of halves, and which behaviour of floats is asked for. The caller
 * frees it. NULL if memory ran out. */
char *bd_vk_preamble(const bd_vk_abilities *abilities);

/* Whether the compiler knows cooperative matrices, and those as large as a tile (GL_NV_cooperative_matrix2). */
bool bd_vk_compiles_matrices(void);
bool bd_vk_compiles_joined_matrices(void);

/* ---- pipeline.c ---- */

bd_status bd_vk_pipeline_init(bd_vk_device *device, bd_error *error);
/* Saves the driver's pipeline cache too. */
void bd_vk_pipeline_finish(bd_vk_device *device);
/* The layout for these bindings; good until the device is closed. */
bd_status bd_vk_layout_get(bd_vk_device *device, const bd_binding *bindings, uint32_t count, bd_vk_layout *layout,
                           bd_error *error);
/* May be called by several threads at once. `subgroup_size`: what the kernel's subgroups must have, all of them full; 0
 * where that is all one, as in every kernel without cooperative matrices. */
bd_status bd_vk_pipeline_create(bd_vk_device *device, const char *name, const char *source, const bd_vk_layout *layout,
                                uint32_t subgroup_size, VkPipeline *pipeline, bd_error *error);
/* Writes the driver's pipeline cache to disk if it changed. */
void bd_vk_pipeline_save(bd_vk_device *device);
/* A pipeline cache behind a header that says whose it is; the caller frees. NULL if memory ran out. */
void *bd_vk_pipeline_blob(const bd_vk_device *device, const void *data, size_t size, size_t *blob_size);
/* What lies behind the header; NULL if it is damaged, or of another device or driver. */
const void *bd_vk_pipeline_blob_data(const bd_vk_device *device, const void *blob, size_t blob_size, size_t *size);

/* ---- launch.c: kernels in OpenCL C, compiled to PTX by NVIDIA's OpenCL driver and launched by VK_NVX_binary_import
 * ---- */

typedef struct bd_vk_function {
    VkCuModuleNVX module;
    VkCuFunctionNVX handle;
    uint32_t shared_bytes; /* given at launch */
} bd_vk_function;

/* One launch, as often as it is recorded. */
typedef struct bd_vk_launch {
    VkCuFunctionNVX function; /* the program's; VK_NULL_HANDLE: none */
    uint32_t groups[3], local[3], shared_bytes;
    uint64_t *values;      /* addresses of the buffers, then the first elements; what tensor maps it has; owned */
    const void **pointers; /* to each of them; owned */
    size_t count;
} bd_vk_launch;

/* Compiles OpenCL C, or finds its PTX in the cache. May be called by several threads at once. */
bd_status bd_vk_function_create(bd_vk_device *device, const char *name, const char *source, bd_vk_function *function,
                                bd_error *error);
void bd_vk_function_destroy(bd_vk_device *device, bd_vk_function *function);
/* `maps`: the program's tensor maps, of which the dispatch's begin at byte `first`; NULL where it has none. */
bd_status bd_vk_launch_init(const bd_vk_function *function, const bd_dispatch *dispatch, const bd_buffer *maps,
                            uint64_t first, bd_vk_launch *launch, bd_error *error);
void bd_vk_launch_record(bd_vk_device *device, VkCommandBuffer commands, const bd_vk_launch *launch);
void bd_vk_launch_finish(bd_vk_launch *launch);
/* What keeps wgmma from being used, on stderr if BINADE_VULKAN_MESSAGES=1. */
void bd_vk_message(const bd_vk_device *device, const char *text);
/* Lets the compiler go. */
void bd_vk_launch_close(bd_vk_device *device);

/* ---- tensor_map.c ---- */

/* Makes all maps of a program, in a buffer that the caller destroys; NULL if it has none. */
bd_status bd_vk_tensor_maps(bd_vk_device *device, const bd_program_desc *desc, bd_buffer **maps, bd_error *error);

/* ---- launch_probe.c ---- */

/* Finds out whether wgmma can be launched and computes rightly (the cache remembers), and if so tells the target and
 * the info. That it does not is an error only where the device is lost or the host has no memory. */
bd_status bd_vk_launch_probe(bd_vk_device *device, bd_error *error);

/* ---- hazard.c ---- */

typedef struct bd_vk_access {
    const bd_buffer *buffer;
    uint64_t begin, end;
    bool written;
} bd_vk_access;

/* Parts of buffers that were used since the last barrier. */
typedef struct bd_vk_hazards {
    bd_vk_access *accesses;
    size_t count, capacity;
} bd_vk_hazards;

/* Adds a dispatch's bindings. *barrier tells whether one of them must wait for an earlier one; what was known before is
 * then forgotten. False if memory ran out. */
bool bd_vk_hazards_add(bd_vk_hazards *hazards, const bd_binding *bindings, int count, bool *barrier);
void bd_vk_hazards_finish(bd_vk_hazards *hazards);

/* ---- program.c ---- */

bd_status bd_vk_program_create(bd_device *device, const bd_program_desc *desc, bd_backend_program **program,
                               bd_error *error);
void bd_vk_program_destroy(bd_device *device, bd_backend_program *program);
bd_status bd_vk_program_run(bd_device *device, bd_backend_program *program, uint32_t repeats, bd_error *error);
bd_status bd_vk_program_profile(bd_device *device, bd_backend_program *program, uint64_t *nanoseconds, bd_error *error);

/* ---- probe.c ---- */

/* Fills the probed fields of the device's info from kernels that run now or ran before (the cache knows). */
bd_status bd_vk_probe(bd_vk_device *device, bd_error *error);

/* A buffer of a probe's kernel, in binding order. */
typedef struct bd_vk_probe_buffer {
    void *data; /* on the host: written before, read after */
    uint64_t size;
    bool written;
    bd_access access;
    bd_format format; /* of texels */
} bd_vk_probe_buffer;

/* Runs a kernel `runs` times. `kind` says whether it has cooperative matrices. */
bd_status bd_vk_probe_run(bd_vk_device *device, const char *source, bd_tile_kind kind, uint32_t groups, uint32_t runs,
                          const bd_vk_probe_buffer *data, int count, bd_error *error);

/* ---- probe_last_group.c ---- */

/* Fills the target's last_group. */
bd_status bd_vk_probe_last_group(bd_vk_device *device, bd_error *error);

/* ---- probe_matrix.c ---- */

/* The kernel that multiplies matrices of BF16, a subgroup's or joined ones. The caller frees; NULL if memory ran
 * out. */
char *bd_vk_probe_matrix_source(const bd_vk_device *device, bool joined);
/* Runs it: whether all of its products are right, exactly. */
bool bd_vk_probe_matrix(bd_vk_device *device, const char *source, bool joined);

/* ---- probe_codes.c ---- */

/* The kernel that multiplies matrices of 8 bits, of any types but BD_UNIT_U8. The caller frees; NULL if memory ran
 * out. */
char *bd_vk_probe_codes_source(const bd_vk_device *device, bd_unit_code a, bd_unit_code b);
/* Of what the target's matrix.codes claims *found keeps what computes rightly. Fails only with BD_ERROR_LOST. */
bd_status bd_vk_probe_codes(bd_vk_device *device, bd_code_units *found, bd_error *error);

#endif
