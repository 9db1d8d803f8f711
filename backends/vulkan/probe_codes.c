/* Whether cooperative matrices of 8 bits compute rightly, those of floats made by rewriting SPIR-V (spirv.c), and in
 * how many bits they sum. */
#include "../probe_codes.h"
#include "vulkan.h"

#include "../../engine/embedded.h"
#include "../../engine/text.h"

#include <stdlib.h>

enum { M = 64, N = 16, K = 64, BYTES = 2 * (M * K + K * N), RESULTS = 2 * M * N };

/* As print_contraction_matrix.c calls them. */
static const char *const types[] = { [BD_UNIT_E4M3] = "uint8_t", [BD_UNIT_E5M2] = "uint", [BD_UNIT_S8] = "int8_t" };

char *bd_vk_probe_codes_source(const bd_vk_device *device, bd_unit_code a, bd_unit_code b)
{
    const bd_matrix_units *units = &device->base.target.matrix;
    bd_text text = { 0 };
    bd_text_append(&text, "#define BD_HALF_STORAGE 1\n#define BD_HALF_CONVERSION 0\n#define BD_HALF_ARITHMETIC 0\n");
    bd_text_append(&text, "#define BD_MATRIX 1\n%s", bd_embedded_text("shaders/prelude.comp"));
    bd_text_append(&text,
                   "#define LANES %uu\n#define MATRIX_M %uu\n#define MATRIX_N %uu\n#define MATRIX_K %uu\n"
                   "#define MATRIX_TYPE_A %s\n#define MATRIX_TYPE_B %s\n#define SUM_TYPE %s\n%s",
                   units->lanes, units->codes.m, units->codes.n, units->codes.k, types[a], types[b],
                   a == BD_UNIT_S8 ? "int" : "float", bd_embedded_text("shaders/probe_codes.comp"));
    return text.data;
}

/* A matrix and, behind it, the same turned. */
static void fill(uint8_t *at, const uint8_t *matrix, int rows, int columns)
{
    for (int i = 0; i < rows * columns; i++)
        at[i] = at[rows * columns + i % columns * rows + i / columns] = matrix[i];
}

static bd_status run(void *user, bd_unit_code a, bd_unit_code b, const void *in, size_t in_size, void *out,
                     size_t out_size, bd_error *error)
{
    bd_vk_device *device = user;
    const bd_code_units *claimed = &device->base.target.matrix.codes;
    uint8_t turned[BYTES];
    int32_t whole[RESULTS];
    if (a == BD_UNIT_U8 || !(a == BD_UNIT_S8 ? claimed->int8 : claimed->f8_bits > 0) || in_size != BYTES / 2 ||
        out_size != sizeof whole)
        return bd_fail(error, BD_ERROR_UNSUPPORTED, "the driver has no such matrices");
    fill(turned, in, M, K);
    fill(turned + 2 * M * K, (const uint8_t *)in + M * K, K, N);
    const bd_vk_probe_buffer buffers[] = {
        { .data = turned, .size = sizeof turned },
        { .data = a == BD_UNIT_S8 ? (void *)whole : out, .size = out_size, .written = true }
    };
    char *source = bd_vk_probe_codes_source(device, a, b);
    const bd_status status = bd_vk_probe_run(device, source, BD_TILE_MATRIX8, 1, 1, buffers, 2, error);
    free(source);
    for (int i = 0; i < RESULTS && status == BD_OK && a == BD_UNIT_S8; i++)
        ((float *)out)[i] = (float)whole[i];
    return status;
}

bd_status bd_vk_probe_codes(bd_vk_device *device, bd_code_units *found, bd_error *error)
{
    *found = device->base.target.matrix.codes;
    if (found->m == 0)
        return BD_OK;
    const bd_status status = bd_probe_codes(run, device, found, error);
    found->moved = found->int8;
    return status;
}
