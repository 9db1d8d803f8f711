/* Which contractions have their panels brought by tensor maps, and what these maps say. What boxes hold is
 * test_tensor_boxes.c's. */
#include "../backends/tensor_map.h"
#include "contractions.h"
#include "engine/emit.h"
#include "engine/tile.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_maps(const contraction_case *c, const bd_tile *tile, const bd_target *target, bd_tensor_map maps[2])
{
    bd_tensor y;
    bd_graph *graph = contraction_graph(c, &y);
    const bool found = bd_tensor_maps_of(graph, y, NULL, tile, target, maps);
    bd_graph_destroy(&graph);
    return found;
}

static const bd_op convolutions[] = { BD_OP_CONV2D, BD_OP_CONV2D_DATA, BD_OP_CONV2D_WEIGHT };
enum { CONVOLUTIONS = sizeof convolutions / sizeof *convolutions };

START_TEST(products_have_maps)
{
    const bd_target target = target_with_maps();
    for (int turned = 0; turned < 4; turned++) {
        const contraction_case whole = PRODUCT(256, 384, 512, turned & 1, turned >> 1);
        const contraction_case odd = PRODUCT(72, 8, 136, turned & 1, turned >> 1);
        const contraction_case rows = PRODUCT(256, 384, 509, turned & 1, turned >> 1);
        ck_assert(has_maps(&whole, &tile_with_maps, &target, NULL));
        ck_assert(has_maps(&odd, &tile_with_maps, &target, NULL));
        /* Rows of 509 numbers do not begin at multiples of 16 bytes; only A turned and B as it is have none. */
        ck_assert_int_eq(has_maps(&rows, &tile_with_maps, &target, NULL), turned == 1);
    }
}
END_TEST

START_TEST(images_of_whole_boxes_have_maps)
{
    static const int64_t with[][2] = { { 32, 32 }, { 16, 16 }, { 8, 8 },   { 4, 4 }, { 2, 2 },
                                       { 1, 1 },   { 3, 64 },  { 5, 128 }, { 16, 8 } };
    static const int64_t without[][2] = { { 7, 7 }, { 6, 6 }, { 6, 8 }, { 3, 32 }, { 8, 96 }, { 12, 8 } };
    const bd_target target = target_with_maps();
    for (int i = 0; i < CONVOLUTIONS; i++)
        for (int64_t channels = 64; channels <= 128; channels += 64) {
            for (size_t s = 0; s < sizeof with / sizeof *with; s++) {
                const contraction_case c =
                    CONVOLUTION(convolutions[i], 5, with[s][0], with[s][1], channels, channels, 3, 1, 1);
                ck_assert_msg(has_maps(&c, &tile_with_maps, &target, NULL), "%d: %d x %d", i, (int)with[s][0],
                              (int)with[s][1]);
            }
            for (size_t s = 0; s < sizeof without / sizeof *without; s++) {
                const contraction_case c =
                    CONVOLUTION(convolutions[i], 5, without[s][0], without[s][1], channels, channels, 3, 1, 1);
                ck_assert_msg(!has_maps(&c, &tile_with_maps, &target, NULL), "%d: %d x %d", i, (int)without[s][0],
                              (int)without[s][1]);
            }
        }
}
END_TEST

/* A box's 64 numbers are of one tap: those of the images, and of a data gradient, whose images are dy, the outputs. */
START_TEST(channels_of_taps_are_whole_boxes)
{
    const bd_target target = target_with_maps();
    for (int i = 0; i < CONVOLUTIONS; i++) {
        static const int64_t few[] = { 24, 32, 72 };
        for (int f = 0; f < 3; f++) {
            const bool data = convolutions[i] == BD_OP_CONV2D_DATA;
            const contraction_case in = CONVOLUTION(convolutions[i], 4, 8, 8, few[f], 64, 3, 1, 1);
            const contraction_case out = CONVOLUTION(convolutions[i], 4, 8, 8, 64, few[f], 3, 1, 1);
            ck_assert_int_eq(has_maps(&in, &tile_with_maps, &target, NULL), data);
            ck_assert_int_eq(has_maps(&out, &tile_with_maps, &target, NULL), !data);
        }
    }
}
END_TEST

START_TEST(one_tap_needs_eights_alone)
{
    const bd_target target = target_with_maps();
    for (int i = 0; i < CONVOLUTIONS; i++) {
        const contraction_case eights = CONVOLUTION(convolutions[i], 3, 7, 7, 24, 72, 1, 1, 0);
        const contraction_case odd = CONVOLUTION(convolutions[i], 3, 7, 7, 12, 72, 1, 1, 0);
        const contraction_case padded = CONVOLUTION(convolutions[i], 3, 7, 7, 24, 72, 1, 1, 1);
        ck_assert(has_maps(&eights, &tile_with_maps, &target, NULL));
        ck_assert_int_eq(has_maps(&odd, &tile_with_maps, &target, NULL), convolutions[i] == BD_OP_CONV2D_DATA);
        ck_assert(!has_maps(&padded, &tile_with_maps, &target, NULL));
    }
}
END_TEST

START_TEST(strides_have_none)
{
    const bd_target target = target_with_maps();
    for (int i = 0; i < CONVOLUTIONS; i++) {
        contraction_case c = CONVOLUTION(convolutions[i], 4, 16, 16, 64, 64, 3, 2, 1);
        const contraction_case one = CONVOLUTION(convolutions[i], 4, 16, 16, 64, 64, 1, 2, 0);
        ck_assert(!has_maps(&c, &tile_with_maps, &target, NULL));
        ck_assert(!has_maps(&one, &tile_with_maps, &target, NULL));
        c.window.stride[0] = 1;
        ck_assert(!has_maps(&c, &tile_with_maps, &target, NULL));
    }
}
END_TEST

START_TEST(tiles_are_of_whole_boxes)
{
    const contraction_case c = PRODUCT(256, 256, 256, false, false);
    const bd_target target = target_with_maps();
    static const bd_tile_kind others[] = { BD_TILE_GROUP, BD_TILE_MATRIX, BD_TILE_MATRIX2, BD_TILE_RESIDENT,
                                           BD_TILE_WARPGROUP8 };
    for (uint32_t m = 64; m <= 256; m += 64)
        for (uint32_t n = 32; n <= 256; n += 32) {
            bd_tile tile = tile_with_maps;
            tile.m = m;
            tile.n = tile.item_n = n;
            ck_assert_int_eq(has_maps(&c, &tile, &target, NULL), n % 64 == 0);
            tile.k = 32;
            ck_assert(!has_maps(&c, &tile, &target, NULL));
        }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        bd_tile tile = tile_with_maps;
        tile.kind = others[i];
        ck_assert(!has_maps(&c, &tile, &target, NULL));
    }
}
END_TEST

START_TEST(a_device_may_do_without)
{
    const contraction_case c = PRODUCT(256, 256, 256, false, false);
    const char name[] = "tensor-maps";
    bd_target target = target_with_maps();
    ck_assert(has_maps(&c, &tile_with_maps, &target, NULL));
    ck_assert(bd_variant_avoid(&target, name, strlen(name)));
    ck_assert(!has_maps(&c, &tile_with_maps, &target, NULL));
    target = target_with_maps();
    target.matrix.tensor_maps = false;
    ck_assert(!has_maps(&c, &tile_with_maps, &target, NULL));
}
END_TEST

/* A box that reached into the next part would be summed twice. */
START_TEST(parts_are_of_whole_panels)
{
    static const struct {
        int64_t k, chunks;
        bool maps;
    } parts[] = { { 1024, 4, true }, { 1300, 4, true }, { 1000, 4, false },
                  { 192, 3, true },  { 160, 2, false }, { 200, 5, false } };
    const bd_target target = target_with_maps();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const contraction_case c = PRODUCT(128, 128, parts[i].k, true, false);
        bd_tensor y;
        bd_graph *graph = contraction_graph(&c, &y);
        graph->nodes[y].chunks = parts[i].chunks;
        ck_assert_int_eq(bd_tensor_maps_of(graph, y, NULL, &tile_with_maps, &target, NULL), parts[i].maps);
        bd_graph_destroy(&graph);
    }
}
END_TEST

START_TEST(batches_have_none)
{
    const bd_target target = target_with_maps();
    for (int64_t batch = 1; batch <= 3; batch += 2) {
        bd_graph *graph;
        bd_error error;
        ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
        bd_set_role(graph, BD_ROLE_FIXED);
        const bd_init zero = { BD_INIT_CONSTANT, 0 };
        const bd_shape shape = BD_SHAPE(batch, 128, 128);
        const bd_tensor a = bd_variable(graph, "/a", BD_ROLE_FIXED, BD_F16, shape, zero);
        const bd_tensor y = bd_matmul(graph, a, a, false, true);
        ck_assert_int_eq(bd_tensor_maps_of(graph, y, NULL, &tile_with_maps, &target, NULL), batch == 1);
        bd_graph_destroy(&graph);
    }
}
END_TEST

static void expect_map(const bd_tensor_map *map, const bd_tensor_map *right)
{
    ck_assert_uint_eq(map->rank, right->rank);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(map->size[i], right->size[i]);
        ck_assert_uint_eq(map->box[i], right->box[i]);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(map->stride[i], right->stride[i]);
}

START_TEST(maps_say_what_lies_where)
{
    /* Worked out by hand: sizes innermost first, strides in bytes of numbers of two. */
    static const struct {
        contraction_case c;
        bd_tensor_map maps[2];
    } cases[] = {
        { PRODUCT(72, 24, 136, false, false),
          { { .rank = 2, .size = { 136, 72, 1, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 272 } },
            { .rank = 2, .size = { 24, 136, 1, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 48 } } } },
        { PRODUCT(72, 24, 136, true, true),
          { { .rank = 2, .size = { 72, 136, 1, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 144 } },
            { .rank = 2, .size = { 136, 24, 1, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 272 } } } },
        /* Two rows of 32 pixels; 9 taps of 64 channels. */
        { CONVOLUTION(BD_OP_CONV2D, 5, 32, 32, 64, 128, 3, 1, 1),
          { { .rank = 4, .size = { 64, 32, 32, 5 }, .box = { 64, 32, 2, 1 }, .stride = { 128, 4096, 131072 } },
            { .rank = 2, .size = { 128, 576, 1, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 256 } } } },
        /* Four images of 4x4; of dy, which has the outputs; the weights' rows are taps and inputs. */
        { CONVOLUTION(BD_OP_CONV2D_DATA, 5, 4, 4, 64, 128, 3, 1, 1),
          { { .rank = 4, .size = { 128, 4, 4, 5 }, .box = { 64, 4, 4, 4 }, .stride = { 256, 1024, 4096 } },
            { .rank = 2, .size = { 128, 576, 1, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 256 } } } },
        /* Without padding, 10x10 pixels make 8x8, which are the box. */
        { CONVOLUTION(BD_OP_CONV2D_WEIGHT, 3, 10, 10, 64, 24, 3, 1, 0),
          { { .rank = 4, .size = { 64, 10, 10, 3 }, .box = { 64, 8, 8, 1 }, .stride = { 128, 1280, 12800 } },
            { .rank = 2, .size = { 24, 192, 1, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 48 } } } },
        /* Half a row. */
        { CONVOLUTION(BD_OP_CONV2D, 1, 2, 128, 64, 64, 3, 1, 1),
          { { .rank = 4, .size = { 64, 128, 2, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 128, 16384, 32768 } },
            { .rank = 2, .size = { 64, 576, 1, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 128 } } } },
        /* One tap: a row for each pixel. */
        { CONVOLUTION(BD_OP_CONV2D, 2, 7, 7, 24, 40, 1, 1, 0),
          { { .rank = 2, .size = { 24, 98, 1, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 48 } },
            { .rank = 2, .size = { 40, 24, 1, 1 }, .box = { 64, 64, 1, 1 }, .stride = { 80 } } } },
    };
    const bd_target target = target_with_maps();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bd_tensor_map maps[2];
        ck_assert(has_maps(&cases[i].c, &tile_with_maps, &target, maps));
        for (int side = 0; side < 2; side++) {
            ck_assert_int_eq(maps[side].operand, -1);
            expect_map(&maps[side], &cases[i].maps[side]);
        }
    }
}
END_TEST

static bool says(const char *source, const char *line)
{
    return strstr(source, line) != NULL;
}

/* The kernel of a plan: its operands, what it is told, and that one warp asks for the boxes. */
START_TEST(kernels_are_told_of_their_maps)
{
    const contraction_case c = CONVOLUTION(BD_OP_CONV2D, 5, 8, 8, 64, 128, 3, 1, 1);
    for (int with = 0; with < 2; with++) {
        bd_target target = target_with_maps();
        bd_tensor y;
        bd_error error;
        bd_tensor_map maps[2];
        char *source, told[128];
        target.matrix.tensor_maps = with;
        bd_graph *graph = contraction_graph(&c, &y);
        bd_plan *plan = contraction_plan(graph, y, &target);
        bd_kernel *kernel = contraction_kernel(plan);
        kernel->tile = tile_with_maps;
        bd_group_launch(plan, kernel, &target);
        ck_assert_int_eq(bd_kernel_maps(plan, kernel, &target, maps), with);
        ck_assert_int_eq(bd_kernel_source(plan, kernel, &target, BD_DIALECT_OPENCL, &source, &error), BD_OK);
        ck_assert_int_eq(says(source, "#define TENSOR_MAPS 1\n"), with);
        ck_assert_int_eq(says(source, "#define COPIERS 32u\n"), with);
        if (with) {
            const bd_node *node = &plan->graph->nodes[kernel->anchor];
            for (int side = 0; side < 2; side++)
                ck_assert_int_eq(kernel->operands[maps[side].operand].node, node->inputs[side]);
            snprintf(told, sizeof told, "#define A_MAPPED b%d\n#define B_MAPPED b%d\n", maps[0].operand,
                     maps[1].operand);
            ck_assert(says(source, told));
            ck_assert_uint_eq(kernel->local[0], 256 + 32);
        }
        free(source);
        bd_plan_destroy(&plan);
        bd_graph_destroy(&graph);
    }
}
END_TEST

/* What is computed on the way to the product does not lie in memory; what comes behind it does no harm. */
START_TEST(fused_operands_have_none)
{
    const bd_target target = target_with_maps();
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    for (int fused = 0; fused < 2; fused++) {
        bd_graph *graph;
        bd_error error;
        ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
        bd_set_role(graph, BD_ROLE_FIXED);
        bd_tensor a = bd_variable(graph, "/a", BD_ROLE_FIXED, BD_F16, BD_SHAPE(128, 128), zero);
        const bd_tensor b = bd_variable(graph, "/b", BD_ROLE_FIXED, BD_F16, BD_SHAPE(128, 128), zero);
        if (fused) {
            a = bd_relu(graph, a);
            graph->nodes[a].format = BD_F16;
            graph->nodes[a].recompute = true;
        }
        const bd_tensor y = bd_relu(graph, bd_matmul(graph, a, b, false, false));
        graph->nodes[y].format = BD_F16;
        bd_plan *plan = contraction_plan(graph, y, &target);
        bd_kernel *kernel = contraction_kernel(plan);
        kernel->tile = tile_with_maps;
        ck_assert_int_eq(bd_kernel_maps(plan, kernel, &target, NULL), !fused);
        bd_plan_destroy(&plan);
        bd_graph_destroy(&graph);
    }
}
END_TEST

/* In the order of cl/tensor_map.cl's arguments. */
START_TEST(the_kernel_that_makes_maps_is_given_them)
{
    static const uint64_t right[BD_MAP_VALUES] = { 384, 1, 4096, 4, 64, 8, 6, 3, 64, 8, 4, 2, 128, 1024, 6144 };
    const bd_binding bindings[3] = { { .offset = 256 }, { .offset = 512 }, { .offset = 4096 } };
    const bd_dispatch dispatches[3] = {
        { .bindings = bindings, .binding_count = 3, .mapped = true },
        { .bindings = bindings, .binding_count = 3 },
        { .bindings = bindings,
          .binding_count = 3,
          .mapped = true,
          .maps = { { .operand = 1 },
                    { .operand = 2,
                      .rank = 4,
                      .size = { 64, 8, 6, 3 },
                      .box = { 64, 8, 4, 2 },
                      .stride = { 128, 1024, 6144 } } } },
    };
    const bd_program_desc desc = { .dispatches = dispatches, .dispatch_count = 3 };
    uint64_t values[BD_MAP_VALUES];
    ck_assert_uint_eq(bd_maps_bytes(&desc), 2 * BD_MAPS_BYTES);
    bd_map_values(&dispatches[2], 1, 384, values);
    for (int i = 0; i < BD_MAP_VALUES; i++)
        ck_assert_uint_eq(values[i], right[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tensor maps");
    TCase *tests = tcase_create("maps");
    tcase_add_test(tests, products_have_maps);
    tcase_add_test(tests, images_of_whole_boxes_have_maps);
    tcase_add_test(tests, channels_of_taps_are_whole_boxes);
    tcase_add_test(tests, one_tap_needs_eights_alone);
    tcase_add_test(tests, strides_have_none);
    tcase_add_test(tests, tiles_are_of_whole_boxes);
    tcase_add_test(tests, a_device_may_do_without);
    tcase_add_test(tests, parts_are_of_whole_panels);
    tcase_add_test(tests, batches_have_none);
    tcase_add_test(tests, maps_say_what_lies_where);
    tcase_add_test(tests, kernels_are_told_of_their_maps);
    tcase_add_test(tests, fused_operands_have_none);
    tcase_add_test(tests, the_kernel_that_makes_maps_is_given_them);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
