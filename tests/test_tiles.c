/* Which tiles contractions are given, and that these cover what is to be computed. */
#include "engine/emit.h"
#include "engine/kernel.h"
#include "engine/quantise.h"
#include "engine/tile.h"
#include "tensor_cores.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* y = a b, or a convolution where `pixels`; both of halves. The caller destroys both. */
static bd_plan *plan_contraction(bd_graph *graph, const bd_target *target, bool pixels)
{
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    bd_error error;
    bd_plan *plan;
    bd_tensor y;
    bd_set_role(graph, BD_ROLE_FIXED);
    if (pixels) {
        const bd_window window = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } };
        const bd_tensor x = bd_variable(graph, "/x", BD_ROLE_FIXED, BD_F16, BD_SHAPE(4, 8, 8, 256), zero);
        y = bd_conv2d(graph, x, bd_variable(graph, "/w", BD_ROLE_FIXED, BD_F16, BD_SHAPE(3, 3, 256, 64), zero), window);
    } else {
        const bd_tensor a = bd_variable(graph, "/a", BD_ROLE_FIXED, BD_F16, BD_SHAPE(128, 4096), zero);
        y = bd_matmul(graph, a, bd_variable(graph, "/b", BD_ROLE_FIXED, BD_F16, BD_SHAPE(4096, 128), zero), false,
                      false);
    }
    graph->nodes[y].format = BD_F16;
    bd_assign(graph, bd_variable(graph, "/y", BD_ROLE_FIXED, BD_F16, bd_tensor_shape(graph, y), zero), y);
    graph->nodes[graph->node_count - 1].format = BD_F16;
    const bd_status status = bd_plan_create(graph, target, NULL, &plan, &error);
    ck_assert_msg(status == BD_OK, "%s", error.message);
    return plan;
}

static const bd_kernel *contraction_of(const bd_plan *plan)
{
    for (int k = 0; k < plan->kernel_count; k++)
        if (plan->kernels[k].class == BD_KERNEL_CONTRACTION)
            return &plan->kernels[k];
    ck_abort_msg("no contraction");
    return NULL;
}

/* The backend uncovers what stands behind the cover in PTX: the printer must have left it there. */
START_TEST(a_product_by_warpgroups_is_covered)
{
    const bd_target target = tensor_cores();
    bd_graph *graph;
    bd_error error;
    char *source;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_plan *plan = plan_contraction(graph, &target, false);
    bd_kernel kernel = *contraction_of(plan);
    kernel.tile = (bd_tile){ .kind = BD_TILE_WARPGROUP, .m = 128, .n = 128, .k = 64, .item_m = 16, .item_n = 128 };
    ck_assert_int_eq(bd_kernel_source(plan, &kernel, &target, BD_DIALECT_OPENCL, &source, &error), BD_OK);
    ck_assert_ptr_nonnull(strstr(source, "\"//+{ .reg .pred p; "));
    ck_assert_ptr_nonnull(strstr(source, "asm volatile(\"//+\" text"));
    free(source);
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
}
END_TEST

/* Vulkan launches what OpenCL compiles; it sees the buffers whole, however many bindings a shader would need. */
START_TEST(a_product_by_warpgroups_is_the_same_for_vulkan)
{
    const bd_target nvidia = tensor_cores();
    bd_target vulkan = nvidia;
    vulkan.nvidia = vulkan.vector_types = false;
    bd_graph *graph;
    bd_error error;
    char *opencl, *source;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_plan *plan = plan_contraction(graph, &nvidia, true);
    bd_kernel kernel = *contraction_of(plan);
    kernel.tile = (bd_tile){ .kind = BD_TILE_WARPGROUP, .m = 128, .n = 64, .k = 64, .item_m = 16, .item_n = 64 };
    ck_assert_int_eq(bd_kernel_dialect(&kernel, BD_DIALECT_GLSL), BD_DIALECT_OPENCL);
    ck_assert_int_eq(bd_kernel_source(plan, &kernel, &nvidia, BD_DIALECT_OPENCL, &opencl, &error), BD_OK);
    kernel.operands[0].parts = 2;
    ck_assert_int_eq(bd_kernel_source(plan, &kernel, &vulkan, BD_DIALECT_GLSL, &source, &error), BD_OK);
    ck_assert_str_eq(source, opencl);
    ck_assert_uint_eq(kernel.operands[0].parts, 2);
    free(source);
    free(opencl);
    kernel.tile.kind = BD_TILE_RESIDENT;
    ck_assert_int_eq(bd_kernel_dialect(&kernel, BD_DIALECT_GLSL), BD_DIALECT_OPENCL);
    kernel.tile.kind = BD_TILE_MATRIX;
    ck_assert_int_eq(bd_kernel_dialect(&kernel, BD_DIALECT_GLSL), BD_DIALECT_GLSL);
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
}
END_TEST

/* The plan of one of the three convolutions with 3x3 windows over 256 images of 32x32 pixels, in halves. The caller
 * destroys both. */
static bd_plan *plan_few_channels(bd_graph *graph, const bd_target *target, bd_op op, int64_t in, int64_t out,
                                  int64_t stride)
{
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    const bd_window window = { { 3, 3 }, { stride, stride }, { { 1, 1 }, { 1, 1 } } };
    const bd_shape image = BD_SHAPE(256, 32, 32, in), taps = BD_SHAPE(3, 3, in, out),
                   result = BD_SHAPE(256, 32 / stride, 32 / stride, out);
    bd_error error;
    bd_plan *plan;
    bd_set_role(graph, BD_ROLE_FIXED);
    const bd_tensor x = bd_variable(graph, "/x", BD_ROLE_FIXED, BD_F16, image, zero),
                    w = bd_variable(graph, "/w", BD_ROLE_FIXED, BD_F16, taps, zero),
                    dy = bd_variable(graph, "/dy", BD_ROLE_FIXED, BD_F16, result, zero);
    const bd_tensor y = op == BD_OP_CONV2D        ? bd_conv2d(graph, x, w, window)
                        : op == BD_OP_CONV2D_DATA ? bd_conv2d_data(graph, dy, w, window, image)
                                                  : bd_conv2d_weight(graph, x, dy, window, taps);
    bd_assign(graph, bd_variable(graph, "/y", BD_ROLE_FIXED, BD_F32, bd_tensor_shape(graph, y), zero), y);
    const bd_status status = bd_plan_create(graph, target, NULL, &plan, &error);
    ck_assert_msg(status == BD_OK, "%s", error.message);
    return plan;
}

/* Of few channels weights stay in local memory, or sums in registers: what a work-group holds fits, and the
 * work-groups, no more of them than there are tiles, have all of them. */
START_TEST(convolutions_of_few_channels_keep_their_weights)
{
    static const struct {
        bd_op op;
        int64_t in, out, stride;
        bool resident;
    } rows[] = {
        { BD_OP_CONV2D, 16, 16, 1, true },         { BD_OP_CONV2D, 32, 32, 1, true },
        { BD_OP_CONV2D_DATA, 16, 16, 1, true },    { BD_OP_CONV2D_WEIGHT, 16, 16, 1, true },
        { BD_OP_CONV2D_WEIGHT, 32, 32, 1, true },  { BD_OP_CONV2D_DATA, 16, 16, 2, false },
        { BD_OP_CONV2D, 24, 24, 1, false },        { BD_OP_CONV2D, 256, 256, 1, false },
        { BD_OP_CONV2D_WEIGHT, 24, 24, 1, false }, { BD_OP_CONV2D, 3, 64, 1, true },
        { BD_OP_CONV2D_WEIGHT, 3, 64, 1, true },   { BD_OP_CONV2D, 3, 16, 1, true },
        { BD_OP_CONV2D_WEIGHT, 1, 64, 2, true },   { BD_OP_CONV2D, 20, 16, 1, false },
    };
    bd_target target = tensor_cores();
    target.limits.compute_units = 132;
    target.matrix.resident_bytes = 196608;
    bd_graph *graph;
    bd_error error;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_plan *plan = plan_few_channels(graph, &target, rows[_i].op, rows[_i].in, rows[_i].out, rows[_i].stride);
    const bd_kernel *kernel = contraction_of(plan);
    ck_assert_int_eq(kernel->tile.kind == BD_TILE_RESIDENT, rows[_i].resident);
    bd_resident r;
    if (rows[_i].resident) {
        ck_assert(bd_resident_of(plan->graph, kernel->anchor, kernel, &kernel->tile, &target, &r));
        ck_assert_uint_le(r.bytes, target.matrix.resident_bytes);
        const uint32_t lines = 32 / (uint32_t)rows[_i].stride;
        ck_assert_uint_eq(r.tiles, 256 / kernel->tile.images * ((lines + kernel->tile.rows - 1) / kernel->tile.rows));
        ck_assert_uint_eq(kernel->groups[0] * kernel->groups[1], r.groups);
        ck_assert(r.groups >= 132 && r.groups <= r.tiles * 2);
        ck_assert_int_eq(bd_variant_of(kernel), BD_VARIANT_RESIDENT);
    }
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
}
END_TEST

/* A variant that is found wrong, or a device without so much local memory, goes without. */
START_TEST(convolutions_of_few_channels_have_another_way)
{
    bd_target target = tensor_cores();
    target.matrix.resident_bytes = _i ? 196608 : 8192;
    target.avoid[BD_F16][BD_F32] = target.avoid[BD_F32][BD_F32] = _i ? 1u << BD_VARIANT_RESIDENT : 0;
    bd_graph *graph;
    bd_error error;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_plan *plan = plan_few_channels(graph, &target, BD_OP_CONV2D, 16, 16, 1);
    ck_assert_int_ne(contraction_of(plan)->tile.kind, BD_TILE_RESIDENT);
    ck_assert(bd_tile_uses_matrix_units(&contraction_of(plan)->tile));
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
}
END_TEST

/* Where no other work-group wants the processor, all its memory is for panels, and twice as many work-items copy them.
 * The taps of 64 channels follow each other. */
START_TEST(work_groups_copy_far_ahead_where_they_are_alone)
{
    const bool alone = _i == 1;
    bd_target target = tensor_cores();
    target.limits.compute_units = alone ? 132 : 1;
    bd_graph *graph;
    bd_error error;
    char *source;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_plan *plan = plan_contraction(graph, &target, true);
    bd_kernel kernel = *contraction_of(plan);
    kernel.tile = (bd_tile){ .kind = BD_TILE_WARPGROUP, .m = 128, .n = 128, .k = 64, .item_m = 16, .item_n = 128 };
    ck_assert_int_eq(bd_matrix_alone(plan->graph, kernel.anchor, &kernel.tile, &target), alone);
    bd_group_launch(plan, &kernel, &target);
    ck_assert_uint_eq(kernel.local[0], alone ? 256 + 128 : 256 + 64);
    ck_assert_int_eq(bd_kernel_source(plan, &kernel, &target, BD_DIALECT_OPENCL, &source, &error), BD_OK);
    ck_assert_ptr_nonnull(strstr(source, alone ? "#define STAGES 6u\n" : "#define STAGES 3u\n"));
    ck_assert_ptr_nonnull(strstr(source, alone ? "#define COPIERS 128u\n" : "#define COPIERS 64u\n"));
    ck_assert_ptr_nonnull(strstr(source, "#define FIRST(panel) ((panel) % 9u * 256u + (panel) / 9u * TILE_K)\n"));
    free(source);
    bd_plan_destroy(&plan);
    bd_graph_destroy(&graph);
}
END_TEST

/* A long sum with few results is cut into parts, each of whole panels and none empty; a convolution, whose parts would
 * not know their pixels, is not. */
START_TEST(matrix_units_share_long_sums)
{
    const bd_target target = tensor_cores();
    for (int pixels = 0; pixels < 2; pixels++) {
        bd_graph *graph;
        bd_error error;
        ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
        bd_plan *plan = plan_contraction(graph, &target, pixels);
        const bd_node *node = &plan->graph->nodes[contraction_of(plan)->anchor];
        if (pixels) {
            ck_assert_int_le(node->chunks, 1);
        } else {
            const int64_t length = bd_chunk_length(4096, node->chunks);
            ck_assert_int_gt(node->chunks, 1);
            ck_assert_int_eq(length % 64, 0);
            ck_assert_int_lt((node->chunks - 1) * length, 4096);
            ck_assert_int_ge(node->chunks * length, 4096);
        }
        bd_plan_destroy(&plan);
        bd_graph_destroy(&graph);
    }
}
END_TEST

/* The format in which matrix units multiply operands of two formats. */
static bd_format matrix_format(const bd_target *target, bd_format a, bd_format b)
{
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    bd_graph *graph;
    bd_error error;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    const bd_tensor left = bd_variable(graph, "/a", BD_ROLE_FIXED, a, BD_SHAPE(16, 16), zero);
    const bd_tensor right = bd_variable(graph, "/b", BD_ROLE_FIXED, b, BD_SHAPE(16, 16), zero);
    const bd_format format = bd_matrix_format(graph, bd_matmul(graph, left, right, false, false), target);
    bd_graph_destroy(&graph);
    return format;
}

/* Halves where they hold both operands' values, BF16 where those do and the device has it, else none. */
START_TEST(matrix_units_multiply_what_they_hold)
{
    const bd_format e3m2 = bd_format_exmy(3, 2), e6m5 = bd_format_exmy(6, 5), e5m11 = bd_format_exmy(5, 11),
                    tf32 = bd_format_exmy(8, 10);
    const struct {
        bd_format a, b, expected;
    } rows[] = {
        { BD_F16, BD_F16, BD_F16 },      { BD_F8E4M3, BD_F8E5M2, BD_F16 }, { BD_I8, BD_I4, BD_F16 },
        { BD_U8, BD_F16, BD_F16 },       { e3m2, BD_F8E5M2, BD_F16 },      { BD_BF16, BD_BF16, BD_BF16 },
        { BD_BF16, BD_F8E5M2, BD_BF16 }, { e6m5, BD_I8, BD_BF16 },         { BD_F16, BD_BF16, BD_F32 },
        { e6m5, BD_F16, BD_F32 },        { e5m11, BD_F16, BD_F32 },        { tf32, tf32, BD_F32 },
        { BD_F32, BD_F16, BD_F32 },
    };
    bd_target target = tensor_cores();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        target.matrix.bf16 = true;
        ck_assert_int_eq(matrix_format(&target, rows[i].a, rows[i].b), rows[i].expected);
        ck_assert_int_eq(matrix_format(&target, rows[i].b, rows[i].a), rows[i].expected);
        target.matrix.bf16 = false;
        ck_assert_int_eq(matrix_format(&target, rows[i].a, rows[i].b), rows[i].expected == BD_F16 ? BD_F16 : BD_F32);
    }
    /* Through units that drop subnormal halves only what has none comes unharmed. */
    target.nvidia = false, target.matrix.bf16 = true;
    ck_assert_int_eq(matrix_format(&target, BD_F16, BD_F16), BD_F16);
    ck_assert_int_eq(matrix_format(&target, BD_F8E4M3, BD_F8E4M3), BD_F16);
    ck_assert_int_eq(matrix_format(&target, BD_F8E4M3, BD_F8E5M2), BD_BF16);
}
END_TEST

/* The first tile of a 3x3 convolution of 256 square images in FP32, or of its weight gradient, and its parts, on 132
 * processors. */
static bd_tile plain_tile(int64_t side, int64_t channels, bool weight, int64_t *parts)
{
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    const bd_window window = { { 3, 3 }, { 1, 1 }, { { 1, 1 }, { 1, 1 } } };
    const bd_shape image = BD_SHAPE(256, side, side, channels), taps = BD_SHAPE(3, 3, channels, channels);
    bd_target target = tensor_cores();
    bd_graph *graph;
    bd_error error;
    bd_tile tiles[BD_GROUP_TILES];
    target.limits.compute_units = 132;
    target.limits.shared_bytes = 49152;
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_set_role(graph, BD_ROLE_FIXED);
    const bd_tensor x = bd_variable(graph, "/x", BD_ROLE_FIXED, BD_F32, image, zero);
    const bd_tensor b = bd_variable(graph, "/b", BD_ROLE_FIXED, BD_F32, weight ? image : taps, zero);
    const bd_tensor y = weight ? bd_conv2d_weight(graph, x, b, window, taps) : bd_conv2d(graph, x, b, window);
    *parts = bd_contraction_chunks(graph, y, &target, &(bd_compile_options){ 0 });
    graph->nodes[y].chunks = *parts;
    ck_assert_int_eq(bd_group_tiles(graph, y, NULL, &target, tiles), BD_PLAIN_TILES - 1); /* but for that of one item */
    bd_graph_destroy(&graph);
    return tiles[0];
}

/* Tiles are as wide as the result where that leaves no processor idle, and long sums make up for few results. */
START_TEST(plain_tiles_suit_the_result)
{
    int64_t parts;
    bd_tile tile = plain_tile(32, 64, false, &parts);
    ck_assert(tile.m == 128 && tile.n == 64 && parts == 1);
    tile = plain_tile(16, 128, false, &parts);
    ck_assert(tile.m == 128 && tile.n == 128 && tile.slices == 1);
    tile = plain_tile(4, 512, false, &parts); /* 128 work-groups */
    ck_assert(tile.m == 128 && tile.n == 128 && tile.slices == 2);
    tile = plain_tile(2, 512, false, &parts);
    ck_assert(tile.m == 64 && tile.n == 64 && tile.slices == 2);
    tile = plain_tile(32, 64, true, &parts); /* 576 x 64 results, sums of 262,144 */
    const int64_t groups = parts * ((576 + tile.m - 1) / tile.m) * ((64 + tile.n - 1) / tile.n);
    ck_assert(tile.item_m == 8 && groups > 132 && groups <= 4 * 132);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tiles");
    TCase *tiles = tcase_create("tiles");
    tcase_set_timeout(tiles, 120);
    tcase_add_test(tiles, a_product_by_warpgroups_is_covered);
    tcase_add_test(tiles, a_product_by_warpgroups_is_the_same_for_vulkan);
    tcase_add_loop_test(tiles, convolutions_of_few_channels_keep_their_weights, 0, 14);
    tcase_add_loop_test(tiles, convolutions_of_few_channels_have_another_way, 0, 2);
    tcase_add_loop_test(tiles, work_groups_copy_far_ahead_where_they_are_alone, 0, 2);
    tcase_add_test(tiles, matrix_units_share_long_sums);
    tcase_add_test(tiles, matrix_units_multiply_what_they_hold);
    tcase_add_test(tiles, plain_tiles_suit_the_result);
    suite_add_tcase(suite, tiles);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
