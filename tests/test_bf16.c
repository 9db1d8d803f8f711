/* The start-up test of matrices of BF16, on every Vulkan device with matrix units. A driver that has none gets halves
 * in their place: then the kernel must be right about halves, and the test must say that BF16 is wrong. */
#include "vulkan_fixture.h"

#include <binade/format.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static PFN_vkCreateShaderModule create_module;
static int modules; /* with matrices of BF16, so far */

/* SPIR-V's numbers, as in spirv.c. */
static VKAPI_ATTR VkResult VKAPI_CALL create_module_of_halves(VkDevice handle, const VkShaderModuleCreateInfo *info,
                                                              const VkAllocationCallbacks *allocator,
                                                              VkShaderModule *module)
{
    uint32_t *words = malloc(info->codeSize);
    ck_assert_ptr_nonnull(words);
    memcpy(words, info->pCode, info->codeSize);
    for (size_t at = 5; at < info->codeSize / sizeof *words; at += words[at] >> 16) {
        if (words[at] == (2u << 16 | 17u) && (words[at + 1] == 5116 || words[at + 1] == 5118)) {
            words[at + 1] = 9; /* the capability Float16 */
        } else if (words[at] == (4u << 16 | 22u)) {
            words[at] = 3u << 16 | 22u; /* a type of floats, without an encoding */
            words[at + 3] = 1u << 16;   /* and an instruction that does nothing */
            modules++;
        }
    }
    VkShaderModuleCreateInfo changed = *info;
    changed.pCode = words;
    const VkResult code = create_module(handle, &changed, allocator, module);
    free(words);
    return code;
}

/* A matrix of whole numbers as halves and, behind it, the same turned. */
static void fill(uint16_t *at, uint32_t rows, uint32_t columns)
{
    for (uint32_t i = 0; i < rows * columns; i++)
        at[i] = at[rows * columns + i % columns * rows + i / columns] = bd_f16_from_double((int)(i * 7 % 23) - 11);
}

/* Every result of the start-up test's kernel, of halves. */
static void check_products(bd_vk_device *vulkan, const char *source, bool joined)
{
    const bd_target *target = &device->target;
    const bd_matrix_units *units = &target->matrix;
    const bd_matrix_grain shape =
        joined ? target->joined.grains[0] : (bd_matrix_grain){ 0, units->m, units->n, units->k };
    const uint32_t m = shape.m, n = shape.n, k = shape.k, results = joined && target->joined.tensors ? 4 : 2;
    const size_t in_size = sizeof(uint16_t) * 2 * (m * k + k * n), out_size = sizeof(float) * results * m * n;
    uint16_t *in = malloc(in_size), *b = in + 2 * m * k;
    float *out = calloc(1, out_size);
    ck_assert(in && out);
    fill(in, m, k);
    fill(b, k, n);
    const bd_vk_probe_buffer buffers[] = { { .data = in, .size = in_size },
                                           { .data = in, .size = in_size },
                                           { .data = out, .size = out_size, .written = true } };
    OK(bd_vk_probe_run(vulkan, source, joined ? BD_TILE_MATRIX2 : BD_TILE_MATRIX, 1, 1, buffers, 3, &error));
    for (uint32_t i = 0; i < results * m * n; i++) {
        double sum = 0;
        for (uint32_t step = 0; step < k; step++)
            sum += bd_f16_to_double(in[i / n % m * k + step]) * bd_f16_to_double(b[step * n + i % n]);
        ck_assert_msg(out[i] == sum, "result %u is %g, not %g", i, (double)out[i], sum);
    }
    free(in);
    free(out);
}

START_TEST(only_right_products_are_believed)
{
    open_device(_i);
    bd_vk_device *vulkan = bd_vk_device_of(device);
    const bd_target *target = &device->target;
    for (int joined = 0; joined < (target->matrix.m == 0 ? 0 : target->joined.grain_count == 0 ? 1 : 2); joined++) {
        char *source = bd_vk_probe_matrix_source(vulkan, joined);
        ck_assert_ptr_nonnull(source);
        if (joined ? target->joined.bf16 : target->matrix.bf16) {
            ck_assert(bd_vk_probe_matrix(vulkan, source, joined));
        } else {
            create_module = vulkan->vk.vkCreateShaderModule;
            vulkan->vk.vkCreateShaderModule = create_module_of_halves;
            modules = 0;
            ck_assert(!bd_vk_probe_matrix(vulkan, source, joined));
            check_products(vulkan, source, joined);
            ck_assert_int_eq(modules, 2);
            vulkan->vk.vkCreateShaderModule = create_module;
        }
        free(source);
    }
    close_device();
}
END_TEST

int main(void)
{
    const int devices = device_count();
    if (devices == 0) {
        puts("no Vulkan device");
        return SKIPPED;
    }
    TCase *all = make_tests();
    tcase_add_loop_test(all, only_right_products_are_believed, 0, devices);
    return run_tests("bf16", all);
}
