/* Whether matrices of BF16, made by rewriting SPIR-V (spirv.c), compute rightly: a driver may claim them and see it
 * otherwise. */
#include "vulkan.h"

#include "../../engine/embedded.h"
#include "../../engine/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is multiplied and by how many invocations: by a subgroup at once, or by as few as joined matrices may have. */
static bd_matrix_grain shape_of(const bd_target *target, bool joined)
{
    const bd_matrix_units *units = &target->matrix;
    return joined ? target->joined.grains[0] : (bd_matrix_grain){ units->lanes, units->m, units->n, units->k };
}

static bool has_tensors(const bd_target *target, bool joined)
{
    return joined && target->joined.tensors;
}

char *bd_vk_probe_matrix_source(const bd_vk_device *device, bool joined)
{
    const bd_target *target = &device->base.target;
    const bd_matrix_grain shape = shape_of(target, joined);
    bd_text text = { 0 };
    bd_text_append(&text, "#define BD_HALF_STORAGE 1\n#define BD_HALF_CONVERSION 0\n#define BD_HALF_ARITHMETIC 0\n");
    bd_text_append(&text, "#define BD_MATRIX %d\n%s", joined ? 2 : 1, bd_embedded_text("shaders/prelude.comp"));
    bd_text_append(&text,
                   "#define ITEMS %uu\n#define SCOPE %s\n#define MATRIX_M %uu\n#define MATRIX_N %uu\n"
                   "#define MATRIX_K %uu\n#define TENSORS %d\n%s",
                   shape.items, joined && target->joined.workgroup ? "gl_ScopeWorkgroup" : "gl_ScopeSubgroup", shape.m,
                   shape.n, shape.k, has_tensors(target, joined), bd_embedded_text("shaders/probe_matrix.comp"));
    return text.data;
}

/* Whole numbers of which the odd terms of a sum have eight bits on one side, the even ones on the other. */
static int number(uint32_t i, bool wide)
{
    return wide ? (int)(i * 37 % 511) - 255 : (int)(i * 5 % 13) - 6;
}

static uint16_t bf16_of(double value)
{
    const float x = (float)value;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* A matrix and, behind it, the same turned. */
static void fill(uint16_t *at, const int *matrix, uint32_t rows, uint32_t columns, int exponent)
{
    for (uint32_t i = 0; i < rows * columns; i++)
        at[i] = at[rows * columns + i % columns * rows + i / columns] = bf16_of(ldexp(matrix[i], exponent));
}

bool bd_vk_probe_matrix(bd_vk_device *device, const char *source, bool joined)
{
    const bd_target *target = &device->base.target;
    const bd_matrix_grain shape = shape_of(target, joined);
    const uint32_t m = shape.m, n = shape.n, k = shape.k, results = has_tensors(target, joined) ? 4 : 2;
    const uint64_t in_size = sizeof(uint16_t) * 2 * (m * k + k * n), out_size = sizeof(float) * results * m * n;
    int *a = calloc(m * k, sizeof *a), *b = calloc(k * n, sizeof *b);
    uint16_t *in = malloc(in_size);
    float *out = calloc(results * m * n, sizeof *out);
    bool right = a && b && in && out;
    if (right) {
        for (uint32_t i = 0; i < m * k; i++)
            a[i] = number(i, i % k % 2 == 0);
        for (uint32_t i = 0; i < k * n; i++)
            b[i] = number(i, i / n % 2 == 1);
        fill(in, a, m, k, 60); /* beyond halves; the products are whole again */
        fill(in + 2 * m * k, b, k, n, -60);
        const bd_vk_probe_buffer buffers[] = { { .data = in, .size = in_size },
                                               { .data = in, .size = in_size },
                                               { .data = out, .size = out_size, .written = true } };
        bd_error refusal;
        right = bd_vk_probe_run(device, source, joined ? BD_TILE_MATRIX2 : BD_TILE_MATRIX, 1, 1, buffers, 3,
                                &refusal) == BD_OK;
    }
    for (uint32_t i = 0; i < results * m * n && right; i++) {
        int sum = 0; /* exact in FP32 in any order */
        for (uint32_t step = 0; step < k; step++)
            sum += a[i / n % m * k + step] * b[step * n + i % n];
        right = out[i] == (float)sum;
    }
    free(a);
    free(b);
    free(in);
    free(out);
    return right;
}
