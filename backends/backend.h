/* The one interface between the engine and a backend. The front end (engine/device.c, engine/program.c) checks
 * arguments once; a backend may rely on them. A backend's device struct begins with bd_device. Functions marked
 * optional may be NULL. A device is used by one thread at a time. */
#ifndef BINADE_BACKENDS_BACKEND_H
#define BINADE_BACKENDS_BACKEND_H

#include "../engine/kernel.h"
#include "../engine/tensor_map.h"

typedef struct bd_cache bd_cache;
typedef struct bd_buffer bd_buffer;                   /* opaque: each backend's own struct */
typedef struct bd_event bd_event;                     /* opaque: a point in the device's queue */
typedef struct bd_backend_program bd_backend_program; /* opaque: recorded dispatches */

typedef struct bd_binding {
    bd_buffer *buffer;
    uint64_t offset, size; /* bytes; offset is aligned to limits.buffer_alignment, size > 0 */
    bool written;
    bd_access access; /* a texel buffer only where the target has texels */
    bd_format format; /* of the elements */
} bd_binding;

/* One kernel launch of a step. */
typedef struct bd_dispatch {
    const bd_kernel *kernel;
    const char *source; /* complete text, of bd_kernel_dialect; NULL for BD_DIALECT_NONE and for BD_KERNEL_LIBRARY */
    const bd_binding *bindings;
    int binding_count;
    bool mapped; /* the kernel has arguments for tensor maps, which the backend makes of `maps` */
    bd_tensor_map maps[2];
} bd_dispatch;

typedef struct bd_program_desc {
    const bd_plan *plan;
    const bd_dispatch *dispatches;
    int dispatch_count;
    /* Storage of the plan's variables by node number (only .buffer non-NULL entries are variables); the reference reads
     * and writes these and runs plan->graph node by node. */
    const bd_binding *variables;
    /* Called now and then while kernels are compiled; may be NULL. */
    void (*progress)(void *user, int done, int total);
    void *user;
} bd_program_desc;

struct bd_device {
    const struct bd_backend *backend;
    bd_device_info info;
    bd_target target;
    bd_cache *cache; /* on disk; never NULL, but may be a cache that holds nothing (no folder to write) */
};

typedef struct bd_backend {
    const char *name;
    bd_dialect dialect;

    /* Appends what it finds without opening anything; ids are "NAME:0", "NAME:1", ... No driver is BD_OK and none. */
    bd_status (*list)(bd_device_info **infos, size_t *count, bd_error *error);
    /* Opens number `index` of list(). Fills info with the probed fields, and target. `cache` outlives the device. */
    bd_status (*open)(size_t index, bd_cache *cache, bd_device **device, bd_error *error);
    void (*close)(bd_device *device);

    /* Device memory, zeroed. */
    bd_status (*buffer_create)(bd_device *device, uint64_t size, bd_buffer **buffer, bd_error *error);
    void (*buffer_destroy)(bd_device *device, bd_buffer *buffer);
    /* Transfers take their place in the queue: after everything enqueued before, before everything after. Without
     * `event` they return when `data` may be reused or is filled; with it, at once, and `data` must stay until the
     * event is done. */
    bd_status (*buffer_write)(bd_device *device, bd_buffer *buffer, uint64_t offset, const void *data, uint64_t size,
                              bd_event **event, bd_error *error);
    bd_status (*buffer_read)(bd_device *device, bd_buffer *buffer, uint64_t offset, void *data, uint64_t size,
                             bd_event **event, bd_error *error);

    /* Compiles (or finds in the cache) and records every dispatch, in order. */
    bd_status (*program_create)(bd_device *device, const bd_program_desc *desc, bd_backend_program **program,
                                bd_error *error);
    void (*program_destroy)(bd_device *device, bd_backend_program *program);
    /* Enqueues `repeats` runs one after another and returns without waiting for them. */
    bd_status (*program_run)(bd_device *device, bd_backend_program *program, uint32_t repeats, bd_error *error);
    /* Optional. Runs once, waits, and gives each dispatch's time in nanoseconds (dispatch_count values). */
    bd_status (*program_profile)(bd_device *device, bd_backend_program *program, uint64_t *nanoseconds,
                                 bd_error *error);

    /* Has it happened? A failed queue counts as done and gives its error in event_wait. */
    bool (*event_done)(bd_device *device, bd_event *event);
    bd_status (*event_wait)(bd_device *device, bd_event *event, bd_error *error);
    void (*event_destroy)(bd_device *device, bd_event *event);
    /* Waits for everything enqueued. */
    bd_status (*finish)(bd_device *device, bd_error *error);
    /* Bytes of device memory allocated now and at most so far. */
    void (*memory)(const bd_device *device, uint64_t *now, uint64_t *peak);
} bd_backend;

/* Of the front end: to what a driver said of a lost device adds which one it was, and when ("after step 3"). Any other
 * status passes as it is. */
bd_status bd_device_explain_loss(const char *id, bd_status status, const char *when, bd_error *error);

/* NULL where not built in. */
const bd_backend *bd_opencl_backend(void);
const bd_backend *bd_vulkan_backend(void);
const bd_backend *bd_reference_backend(void);

#endif
