/* libFuzzer: any text as simulated limits of a device, which may only become smaller. */
#include "../../backends/backend.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const bd_limits large = { .memory_bytes = UINT64_C(1) << 40,
                              .max_binding_bytes = UINT64_C(1) << 32,
                              .max_workgroup_items = 4096,
                              .max_workgroup_size = { 4096, 4096, 64 },
                              .shared_bytes = 1 << 20,
                              .subgroup_size = 32 };
    bd_device device = { .backend = bd_vulkan_backend(), .info = { .limits = large, .half = { .arithmetic = true } } };
    char *text = fuzz_text(bytes, size);
    bd_error error;
    if (bd_device_limit(&device, text, &error) == BD_OK) {
        const bd_limits *left = &device.target.limits;
        if (left->memory_bytes > large.memory_bytes || left->max_binding_bytes > large.max_binding_bytes ||
            left->shared_bytes > large.shared_bytes || left->shared_bytes < 16384 || left->max_binding_bytes < 65536 ||
            left->memory_bytes < 1 || left->max_workgroup_items > large.max_workgroup_items ||
            left->max_workgroup_items < 1)
            abort();
    } else if (!error.message[0] || strpbrk(error.message, "\r\n")) {
        abort();
    }
    free(text);
    return 0;
}
