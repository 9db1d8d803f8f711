/* Kernels with matrices of floats of 8 bits, on every Vulkan device with matrices of 8 bits: their GLSL is compiled,
 * and their SPIR-V has such matrices. Where the driver has none they are not run: whole numbers of 8 bits take the same
 * ways through the same kernels. */
#include "vulkan_fixture.h"

#include "../engine/tile.h"

#include <stdio.h>
#include <stdlib.h>

/* SPIR-V's numbers, as in spirv.c. */
enum { CAPABILITY_FLOAT8 = 4212, CAPABILITY_MATRICES = 4213, ENCODING_E4M3 = 4214, ENCODING_E5M2 = 4215 };

static void check_module(const char *source)
{
    uint32_t *words;
    size_t bytes;
    int found = 0;
    ck_assert_ptr_nonnull(source);
    OK(bd_vk_spirv(bd_vk_device_of(device), "floats of 8 bits", source, true, &words, &bytes, &error));
    for (size_t at = 5; at < bytes / sizeof *words; at += words[at] >> 16) {
        found |= words[at] == (2u << 16 | 17u) && words[at + 1] == CAPABILITY_FLOAT8 ? 1 : 0;
        found |= words[at] == (2u << 16 | 17u) && words[at + 1] == CAPABILITY_MATRICES ? 2 : 0;
        found |= words[at] == (4u << 16 | 22u) && words[at + 2] == 8 && words[at + 3] == ENCODING_E4M3 ? 4 : 0;
        found |= words[at] == (4u << 16 | 22u) && words[at + 2] == 8 && words[at + 3] == ENCODING_E5M2 ? 8 : 0;
    }
    ck_assert_int_eq(found, 15);
    free(words);
}

START_TEST(start_up_test_is_of_floats)
{
    open_device(_i);
    if (device->target.matrix.codes.m) {
        char *source = bd_vk_probe_codes_source(bd_vk_device_of(device), BD_UNIT_E4M3, BD_UNIT_E5M2);
        check_module(source);
        free(source);
    }
    close_device();
}
END_TEST

/* As on a device whose units sum in 13 bits. */
START_TEST(contractions_are_of_floats)
{
    open_device(_i);
    bd_target target = device->target;
    target.is_cpu = false;
    target.matrix.codes.f8_bits = 13;
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    const bd_shape shape = BD_SHAPE(64, 64);
    bd_graph *graph;
    bd_plan *plan;
    OK(bd_graph_create(&graph, &error));
    bd_set_role(graph, BD_ROLE_FIXED);
    const bd_tensor y = bd_matmul(graph, bd_variable(graph, "/a", BD_ROLE_FIXED, BD_F8E4M3, shape, zero),
                                  bd_variable(graph, "/b", BD_ROLE_FIXED, BD_F8E5M2, shape, zero), false, false);
    graph->nodes[y].unit_sums = true;
    bd_assign(graph, bd_variable(graph, "/y", BD_ROLE_FIXED, BD_F32, shape, zero), y);
    OK(bd_plan_create(graph, &target, NULL, &plan, &error));
    int kernels = 0;
    for (int k = 0; k < plan->kernel_count && target.matrix.codes.m; k++) {
        bd_kernel *kernel = &plan->kernels[k];
        bd_tile tiles[BD_GROUP_TILES];
        const int count = kernel->class == BD_KERNEL_CONTRACTION
                              ? bd_group_tiles(plan->graph, kernel->anchor, kernel, &target, tiles)
                              : 0;
        for (int i = 0; i < count; i++) {
            if (tiles[i].kind != BD_TILE_MATRIX8)
                continue;
            char *source;
            kernel->tile = tiles[i];
            bd_group_launch(plan, kernel, &target);
            OK(bd_kernel_source(plan, kernel, &target, BD_DIALECT_GLSL, &source, &error));
            check_module(source);
            free(source);
            kernels++;
        }
    }
    ck_assert(kernels > 0 || target.matrix.codes.m == 0);
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
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
    tcase_add_loop_test(all, start_up_test_is_of_floats, 0, devices);
    tcase_add_loop_test(all, contractions_are_of_floats, 0, devices);
    return run_tests("float8", all);
}
