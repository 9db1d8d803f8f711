/* Whether wgmma can be launched and computes rightly: nobody documents that it can. */
#include "vulkan.h"

#include "../../engine/cache.h"
#include "../../engine/embedded.h"
#include "../../engine/text.h"
#include "../probe_codes.h"
#include "../tensor_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Shared memory of a tile: one work-group a processor. */
enum { WARPGROUP_BYTES = 197632, M = 64, N = 16, K = 16 };

/* What the cache remembers of a device and driver. */
typedef struct finding {
    bool right, tensor_maps;
    bd_code_units codes;
    char refusal[248];
} finding;

/* cl/probe_warpgroup.cl, with the arguments of every kernel. */
static char *probe_source(bd_format format)
{
    bd_text text = { 0 };
    bd_text_append(&text,
                   "#define MATRIX_BF16 %d\n#define PANEL_BYTES %d\n"
                   "#define OFFSETS , const ulong in_first, const ulong out_first\n%s",
                   format == BD_BF16, (int)WARPGROUP_BYTES, bd_embedded_text("cl/probe_warpgroup.cl"));
    return text.data;
}

/* Products of small whole numbers, exact in any order. */
static bd_status multiply(bd_vk_device *device, bd_format format, bool *right, bd_error *error)
{
    double a[M * K], b[K * N];
    uint16_t in[M * K + K * N];
    float out[2 * M * N];
    for (int i = 0; i < M * K; i++)
        a[i] = i * 7 % 11 - 5 + i % K;
    for (int i = 0; i < K * N; i++)
        b[i] = i * 5 % 13 - 6 - i % N;
    bd_format_encode(format, a, in, M * K);
    bd_format_encode(format, b, in + M * K, K * N);
    memset(out, 0xff, sizeof out);
    const bd_vk_probe_buffer buffers[] = { { .data = in, .size = sizeof in, .format = format },
                                           { .data = out, .size = sizeof out, .written = true } };
    char *source = probe_source(format);
    bd_status status = bd_vk_probe_run(device, source, BD_TILE_WARPGROUP, 1, 1, buffers, 2, error);
    free(source);
    *right = status == BD_OK;
    for (int i = 0; i < 2 * M * N && *right; i++) {
        double sum = 0;
        for (int k = 0; k < K; k++)
            sum += a[i / N % M * K + k] * b[k * N + i % N];
        *right = out[i] == (float)sum;
    }
    return status;
}

static bd_status run_codes(void *user, bd_unit_code a, bd_unit_code b, const void *in, size_t in_size, void *out,
                           size_t out_size, bd_error *error)
{
    bd_text text = { 0 };
    bd_text_append(&text,
                   "#define TYPE_A %d\n#define TYPE_B %d\n#define WARPGROUP 1\n"
                   "#define OFFSETS , const ulong in_first, const ulong out_first\n%s",
                   (int)a, (int)b, bd_embedded_text("cl/probe_matrix8.cl"));
    const bd_vk_probe_buffer buffers[] = { { .data = (void *)in, .size = in_size, .format = BD_U8 },
                                           { .data = out, .size = out_size, .written = true } };
    const bd_status status = bd_vk_probe_run(user, text.data, BD_TILE_WARPGROUP8, 1, 1, buffers, 2, error);
    bd_text_finish(&text);
    return status;
}

/* Of BF16 it is wanted too where cooperative matrices have it: what a product may be done by must not depend on its
 * format. */
static bd_status try_all(bd_vk_device *device, finding *found, bd_error *error)
{
    bd_status status = multiply(device, BD_F16, &found->right, error);
    if (status == BD_OK && found->right && device->base.target.matrix.bf16)
        status = multiply(device, BD_BF16, &found->right, error);
    snprintf(found->refusal, sizeof found->refusal, "%.240s",
             status != BD_OK ? error->message
             : found->right  ? ""
                             : "its products are wrong");
    found->tensor_maps = found->right && bd_probe_tensor_maps(&device->base);
    return found->right ? bd_probe_codes(run_codes, device, &found->codes, error) : status;
}

/* From the cache, or tried. Whether there is a compiler may change without the driver, so its lack is not
 * remembered. */
static bd_status find_out(bd_vk_device *device, finding *found, bd_error *error)
{
    const bd_device_info *info = &device->base.info;
    const char *parts[] = { info->name,
                            info->driver,
                            device->base.target.matrix.bf16 ? "bf16" : "",
                            bd_embedded_text("cl/probe_warpgroup.cl"),
                            bd_embedded_text("cl/probe_matrix8.cl"),
                            bd_embedded_text("cl/tensor_map.cl"),
                            bd_embedded_text("cl/probe_tensor_map.cl") };
    const bd_cache_key key = bd_cache_hash(parts, sizeof parts / sizeof *parts);
    void *stored = NULL;
    size_t size = 0;
    bd_error refusal = { 0 };
    bd_status status = BD_OK;
    if (bd_cache_get(device->base.cache, "vulkan launch probe", key, &stored, &size) && size == sizeof *found) {
        memcpy(found, stored, sizeof *found);
    } else {
        memset(found, 0, sizeof *found);
        status = try_all(device, found, &refusal);
        if (device->compiler && status != BD_ERROR_MEMORY)
            bd_cache_put(device->base.cache, "vulkan launch probe", key, found, sizeof *found);
    }
    free(stored);
    if (status == BD_ERROR_MEMORY || status == BD_ERROR_LOST)
        return bd_fail(error, status, "%s", refusal.message);
    return BD_OK;
}

bd_status bd_vk_launch_probe(bd_vk_device *device, bd_error *error)
{
    bd_device_info *info = &device->base.info;
    bd_matrix_units *units = &device->base.target.matrix;
    /* wgmma's tiles count in the same fragments as those of cooperative matrices. */
    if (!device->launches || units->m != 16 || units->k != 16 || units->lanes != 32)
        return BD_OK;
    finding found;
    const bd_status status = find_out(device, &found, error);
    if (status != BD_OK)
        return status;
    device->bytes_peak = device->bytes_now; /* the probe's own buffers are not the caller's */
    if (!found.right) {
        bd_vk_message(device, found.refusal);
        return BD_OK;
    }
    units->warpgroup_bytes = units->resident_bytes = WARPGROUP_BYTES;
    units->warpgroup_codes = found.codes;
    units->tensor_maps = found.tensor_maps;
    const size_t used = strlen(info->matrix_units);
    snprintf(info->matrix_units + used, sizeof info->matrix_units - used, "%swgmma m64k16%s through PTX",
             used ? ", " : "", found.tensor_maps ? " with tensor maps" : "");
    bd_codes_describe(&found.codes, "wgmma m64k32", info);
    return BD_OK;
}
