/* Graphs: what shapes operations give, which arguments they refuse and what they say, names, and liveness. */
#include "../engine/control.h"
#include "../engine/node.h"
#include "../engine/tally.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bd_graph *graph;

static void set_up(void)
{
    ck_assert_int_eq(bd_graph_create(&graph, NULL), BD_OK);
}

static void tear_down(void)
{
    bd_graph_destroy(&graph);
    ck_assert_ptr_null(graph);
    bd_graph_destroy(&graph);
}

static bd_tensor input(bd_shape shape)
{
    char name[32];
    snprintf(name, sizeof name, "x%d", graph->node_count);
    return bd_variable(graph, name, BD_ROLE_ACTIVATION, BD_F32, shape, (bd_init){ 0 });
}

static void expect_shape(bd_tensor tensor, bd_shape expected)
{
    bd_error error;
    ck_assert_msg(bd_graph_status(graph, &error) == BD_OK, "%s", error.message);
    char got_text[128], expected_text[128];
    bd_shape got = bd_tensor_shape(graph, tensor);
    ck_assert_str_eq(bd_shape_text(&got, got_text, sizeof got_text),
                     bd_shape_text(&expected, expected_text, sizeof expected_text));
}

/* The last call failed with a message that has all of these words; the graph starts anew. */
static void expect_error(bd_tensor result, ...)
{
    bd_error error;
    ck_assert_int_eq(result, BD_NONE);
    ck_assert_int_eq(bd_graph_status(graph, &error), BD_ERROR_ARGUMENT);
    va_list words;
    va_start(words, result);
    for (const char *word; (word = va_arg(words, const char *));)
        ck_assert_msg(strstr(error.message, word) != NULL, "'%s' is not in: %s", word, error.message);
    va_end(words);
    tear_down();
    set_up();
}

START_TEST(shapes_count_and_print)
{
    char text[128];
    ck_assert_int_eq(bd_shape_elements(&(bd_shape){ 0 }), 1);
    ck_assert_int_eq(bd_shape_elements(&BD_SHAPE(256, 28, 28, 1)), 200704);
    ck_assert_int_eq(bd_shape_elements(&BD_SHAPE(3, 0, 7)), 0);
    ck_assert_int_eq(bd_shape_elements(&BD_SHAPE(3, -1)), -1);
    ck_assert_int_eq(bd_shape_elements(&BD_SHAPE(INT64_MAX, 2)), -1);
    ck_assert_int_eq(bd_shape_elements(&BD_SHAPE(INT64_MAX, 2, 0)), -1);
    ck_assert_int_eq(bd_shape_elements(&(bd_shape){ .rank = BD_MAX_RANK + 1 }), -1);
    ck_assert_str_eq(bd_shape_text(&(bd_shape){ 0 }, text, sizeof text), "scalar");
    ck_assert_str_eq(bd_shape_text(&BD_SHAPE(256, 28, 28, 1), text, sizeof text), "256x28x28x1");
    ck_assert_str_eq(bd_shape_text(&BD_SHAPE(256, 28, 28, 1), text, 6), "256x2");
    ck_assert(bd_shape_equal(&BD_SHAPE(2, 3), &BD_SHAPE(2, 3)));
    ck_assert(!bd_shape_equal(&BD_SHAPE(2, 3), &BD_SHAPE(2, 3, 1)));
    ck_assert(!bd_shape_equal(&BD_SHAPE(2, 3), &BD_SHAPE(3, 2)));
}
END_TEST

START_TEST(every_operation_has_a_row)
{
    for (int op = 0; op < BD_OP_COUNT; op++) {
        const bd_op_info *info = bd_op_get_info((bd_op)op);
        ck_assert_msg(info->name != NULL, "operation %d", op);
        ck_assert_int_eq(info->expression != NULL, info->class == BD_CLASS_ELEMENTWISE);
        for (int k = 0; info->expression && k < 3; k++) {
            const char operand[] = { '$', (char)('0' + k), '\0' };
            ck_assert_msg((strstr(info->expression, operand) != NULL) == (k < info->arity), "%s", info->name);
        }
    }
    ck_assert_int_eq(bd_op_get_info(BD_OP_ADD)->exactness, BD_EXACT);
    ck_assert_int_eq(bd_op_get_info(BD_OP_EXP)->exactness, BD_BUDGET);
}
END_TEST

START_TEST(elementwise_shapes)
{
    bd_tensor a = input(BD_SHAPE(2, 3)), b = input(BD_SHAPE(2, 3));
    expect_shape(bd_relu(graph, a), BD_SHAPE(2, 3));
    expect_shape(bd_add(graph, a, b), BD_SHAPE(2, 3));
    expect_shape(bd_select(graph, a, b, a), BD_SHAPE(2, 3));
    bd_tensor cast = bd_cast(graph, a, BD_ROLE_MASTER);
    expect_shape(cast, BD_SHAPE(2, 3));
    ck_assert_int_eq(bd_node_at(graph, cast)->role, BD_ROLE_MASTER);

    bd_push_layer(graph, "fc1");
    expect_error(bd_mul(graph, a, input(BD_SHAPE(2, 4))), "mul in layer 'fc1'", "2x3", "2x4", NULL);
    expect_error(bd_neg(graph, 7), "neg", "operand 7", NULL);
    expect_error(bd_neg(graph, BD_NONE), "neg", "operand -1", NULL);
    a = input(BD_SHAPE(2));
    expect_error(bd_select(graph, a, a, input(BD_SHAPE(3))), "select", NULL);
    expect_error(bd_cast(graph, input(BD_SHAPE(2)), BD_ROLE_COUNT), "cast", NULL);
}
END_TEST

START_TEST(movement_shapes)
{
    bd_tensor x = input(BD_SHAPE(2, 1, 4));
    expect_shape(bd_broadcast(graph, x, BD_SHAPE(5, 2, 3, 4)), BD_SHAPE(5, 2, 3, 4));
    expect_shape(bd_reshape(graph, x, BD_SHAPE(8)), BD_SHAPE(8));
    expect_shape(bd_permute(graph, x, (int[]){ 2, 0, 1 }), BD_SHAPE(4, 2, 1));
    expect_shape(bd_slice(graph, x, 2, 1, 2), BD_SHAPE(2, 1, 2));
    expect_shape(bd_slice(graph, x, 2, 4, 0), BD_SHAPE(2, 1, 0));
    expect_shape(bd_pad(graph, x, 1, 2, 3), BD_SHAPE(2, 6, 4));
    bd_tensor wide = bd_pad(graph, x, 2, 0, 1);
    expect_shape(bd_concat(graph, (bd_tensor[]){ x, wide, x }, 3, 2), BD_SHAPE(2, 1, 13));
    bd_tensor index = input(BD_SHAPE(3, 7)), values = input(BD_SHAPE(3, 7, 1, 4));
    expect_shape(bd_gather(graph, x, index), BD_SHAPE(3, 7, 1, 4));
    expect_shape(bd_scatter_add(graph, values, index, 9), BD_SHAPE(9, 1, 4));
    expect_shape(bd_tally(graph, values, values), BD_SHAPE(1, BD_TALLY_COLUMNS));
    expect_shape(bd_gather(graph, x, input((bd_shape){ 0 })), BD_SHAPE(1, 4));
    expect_shape(bd_pack(graph, (bd_tensor[]){ x, index }, (int64_t[]){ 0, 16 }, 2, 64), BD_SHAPE(64));

    /* what would change nothing is the operand itself */
    ck_assert_int_eq(bd_broadcast(graph, x, BD_SHAPE(2, 1, 4)), x);
    ck_assert_int_eq(bd_reshape(graph, x, BD_SHAPE(2, 1, 4)), x);
    ck_assert_int_eq(bd_permute(graph, x, (int[]){ 0, 1, 2 }), x);
    ck_assert_int_eq(bd_slice(graph, x, 2, 0, 4), x);
    ck_assert_int_eq(bd_pad(graph, x, 2, 0, 0), x);
    ck_assert_int_eq(bd_concat(graph, &x, 1, 0), x);
}
END_TEST

START_TEST(movement_errors)
{
    expect_error(bd_broadcast(graph, input(BD_SHAPE(2, 3)), BD_SHAPE(2, 4)), "broadcast", "2x3", "2x4", NULL);
    expect_error(bd_broadcast(graph, input(BD_SHAPE(1, 3)), BD_SHAPE(3)), "broadcast", NULL);
    expect_error(bd_broadcast(graph, input(BD_SHAPE(1)), (bd_shape){ .rank = 7 }), "rank 7", NULL);
    expect_error(bd_reshape(graph, input(BD_SHAPE(2, 3)), BD_SHAPE(7)), "reshape", "2x3", "7", NULL);
    expect_error(bd_permute(graph, input(BD_SHAPE(2, 3)), (int[]){ 0, 0 }), "permute", "twice", NULL);
    expect_error(bd_permute(graph, input(BD_SHAPE(2, 3)), (int[]){ 0, 2 }), "permute", "axis 2", NULL);
    expect_error(bd_slice(graph, input(BD_SHAPE(4)), 0, 2, 3), "slice", NULL);
    expect_error(bd_slice(graph, input(BD_SHAPE(4)), 0, INT64_MAX, INT64_MAX), "slice", NULL);
    expect_error(bd_slice(graph, input(BD_SHAPE(4)), 0, -1, 2), "slice", NULL);
    expect_error(bd_slice(graph, input(BD_SHAPE(4)), 1, 0, 2), "slice", "axis 1", NULL);
    expect_error(bd_pad(graph, input(BD_SHAPE(4)), 0, INT64_MAX, 1), "pad", NULL);
    expect_error(bd_pad(graph, input(BD_SHAPE(4)), 0, -1, 1), "pad", NULL);
    bd_tensor parts[] = { input(BD_SHAPE(2, 3)), input(BD_SHAPE(3, 3)) };
    expect_error(bd_concat(graph, parts, 2, 1), "concat", "part 1", "3x3", NULL);
    expect_error(bd_concat(graph, NULL, 0, 1), "concat", "0 parts", NULL);
    expect_error(bd_gather(graph, input(BD_SHAPE(0, 3)), input(BD_SHAPE(2))), "gather", "0x3", NULL);
    expect_error(bd_gather(graph, input(BD_SHAPE(1, 1, 1, 1)), input(BD_SHAPE(1, 1, 1, 1))), "gather", "rank", NULL);
    expect_error(bd_scatter_add(graph, input(BD_SHAPE(2, 3)), input(BD_SHAPE(3)), 4), "scatter_add", NULL);
    expect_error(bd_tally(graph, input(BD_SHAPE(2, 3)), input(BD_SHAPE(3, 2))), "tally", "2x3", "3x2", NULL);
    expect_error(bd_scatter_add(graph, input(BD_SHAPE(2, 3)), input(BD_SHAPE(2)), 0), "scatter_add", "0 rows", NULL);
    bd_tensor pair[] = { input(BD_SHAPE(4)), input(BD_SHAPE(4)) };
    expect_error(bd_pack(graph, pair, (int64_t[]){ 0, 3 }, 2, 16), "pack", "part 1", NULL);
}
END_TEST

START_TEST(reduction_shapes)
{
    bd_tensor x = input(BD_SHAPE(2, 3, 4));
    expect_shape(bd_sum(graph, x, 0, 2, false), BD_SHAPE(4));
    expect_shape(bd_sum(graph, x, 1, 2, true), BD_SHAPE(2, 1, 1));
    expect_shape(bd_sum(graph, x, 0, 3, false), (bd_shape){ 0 });
    expect_shape(bd_sum(graph, input(BD_SHAPE(0, 3)), 0, 1, false), BD_SHAPE(3));
    expect_shape(bd_maximum(graph, x, 2, 1, true), BD_SHAPE(2, 3, 1));
    expect_shape(bd_argmax(graph, x, 1), BD_SHAPE(2, 4));
    ck_assert_int_eq(bd_sum(graph, x, 3, 0, false), x);

    expect_error(bd_sum(graph, x, 1, 3, false), "sum", "3 axes from axis 1", "2x3x4", NULL);
    expect_error(bd_sum(graph, input(BD_SHAPE(2)), -1, 1, false), "sum", NULL);
    expect_error(bd_maximum(graph, input(BD_SHAPE(2, 0)), 1, 1, false), "maximum", "2x0", NULL);
    expect_error(bd_argmax(graph, input(BD_SHAPE(2, 3)), 2), "argmax", "axis 2", NULL);
}
END_TEST

START_TEST(matmul_shapes)
{
    for (int transposes = 0; transposes < 4; transposes++) {
        bool a_turned = transposes & 1, b_turned = transposes & 2;
        bd_tensor a = input(a_turned ? BD_SHAPE(5, 3, 2) : BD_SHAPE(5, 2, 3));
        bd_tensor b = input(b_turned ? BD_SHAPE(5, 4, 3) : BD_SHAPE(5, 3, 4));
        expect_shape(bd_matmul(graph, a, b, a_turned, b_turned), BD_SHAPE(5, 2, 4));
    }
    expect_error(bd_matmul(graph, input(BD_SHAPE(2, 3)), input(BD_SHAPE(4, 5)), false, false), "matmul", "2x3", "4x5",
                 NULL);
    expect_error(bd_matmul(graph, input(BD_SHAPE(2, 3)), input(BD_SHAPE(3, 5)), true, false), "2x3 transposed", NULL);
    expect_error(bd_matmul(graph, input(BD_SHAPE(2, 2, 3)), input(BD_SHAPE(3, 3, 5)), false, false), "matmul", NULL);
    expect_error(bd_matmul(graph, input(BD_SHAPE(3)), input(BD_SHAPE(3)), false, false), "matmul", NULL);
}
END_TEST

START_TEST(attention_shapes)
{
    bd_tensor qkv = input(BD_SHAPE(2, 5, 24)), y = bd_self_attention(graph, qkv, 2, true, 0.5f, true);
    expect_shape(y, BD_SHAPE(2, 5, 8));
    expect_shape(bd_attention_sum(graph, qkv, &graph->nodes[y].attr.attention), BD_SHAPE(2, 2, 5));
    expect_error(bd_self_attention(graph, input(BD_SHAPE(2, 5, 24)), 3, false, 0, true), "attention", "3 heads",
                 "2x5x24", NULL);
    expect_error(bd_self_attention(graph, input(BD_SHAPE(2, 5, 24)), 0, false, 0, true), "0 heads", NULL);
    expect_error(bd_self_attention(graph, input(BD_SHAPE(5, 24)), 2, false, 0, true), "5x24", NULL);
    expect_error(bd_self_attention(graph, input(BD_SHAPE(2, 5, 24)), 2, false, 1, false), "attention", "rate of 1",
                 NULL);
    expect_error(bd_self_attention(graph, input(BD_SHAPE(2, 5, 24)), 2, false, NAN, true), "rate of nan", NULL);
    expect_error(bd_self_attention(graph, input(BD_SHAPE(4096, 512, 24)), 4, false, 0.1f, true), "2^32", NULL);
}
END_TEST

/* Without training, or with a rate of 0, nothing is drawn: the node is the one of no dropout. */
START_TEST(attention_without_dropout)
{
    const bd_tensor qkv = input(BD_SHAPE(4096, 512, 24));
    const bd_tensor plain[] = { bd_self_attention(graph, qkv, 4, false, 0, true),
                                bd_self_attention(graph, qkv, 4, false, 0.5f, false) };
    for (int i = 0; i < 2; i++) {
        ck_assert(!bd_draws(bd_node_at(graph, plain[i])));
        ck_assert(bd_attention_equal(&bd_node_at(graph, plain[i])->attr.attention,
                                     &(bd_attention_attr){ .heads = 4, .causal = false }));
    }
    ck_assert_uint_eq(graph->stream_count, 0);
    const bd_tensor small = input(BD_SHAPE(2, 5, 24));
    bd_tensor dropping[] = { bd_self_attention(graph, small, 4, false, 0.5f, true),
                             bd_self_attention(graph, small, 4, false, 0.5f, true) };
    ck_assert(bd_draws(bd_node_at(graph, dropping[0])) && bd_draws(bd_node_at(graph, dropping[1])));
    ck_assert(!bd_attention_equal(&bd_node_at(graph, dropping[0])->attr.attention,
                                  &bd_node_at(graph, dropping[1])->attr.attention)); /* each its own numbers */
}
END_TEST

START_TEST(window_shapes)
{
    bd_window window = { .size = { 3, 2 }, .stride = { 2, 1 }, .pad = { { 1, 1 }, { 0, 1 } } };
    bd_tensor x = input(BD_SHAPE(2, 8, 7, 3)), weight = input(BD_SHAPE(3, 2, 3, 5)), dy = input(BD_SHAPE(2, 4, 7, 5));
    expect_shape(bd_conv2d(graph, x, weight, window), BD_SHAPE(2, 4, 7, 5));
    expect_shape(bd_conv2d_data(graph, dy, weight, window, BD_SHAPE(2, 8, 7, 3)), BD_SHAPE(2, 8, 7, 3));
    expect_shape(bd_conv2d_weight(graph, x, dy, window, BD_SHAPE(3, 2, 3, 5)), BD_SHAPE(3, 2, 3, 5));
    expect_shape(bd_max_pool(graph, x, window), BD_SHAPE(2, 4, 7, 3));
    bd_tensor pooled = bd_avg_pool(graph, x, window);
    expect_shape(pooled, BD_SHAPE(2, 4, 7, 3));
    expect_shape(bd_max_pool_grad(graph, x, pooled, window), BD_SHAPE(2, 8, 7, 3));
    expect_shape(bd_avg_pool_grad(graph, pooled, window, BD_SHAPE(2, 8, 7, 3)), BD_SHAPE(2, 8, 7, 3));
    /* the window's size is the weight's */
    bd_window sizeless = { .stride = { 2, 1 }, .pad = { { 1, 1 }, { 0, 1 } } };
    expect_shape(bd_conv2d(graph, x, weight, sizeless), BD_SHAPE(2, 4, 7, 5));

    expect_error(bd_conv2d(graph, x, input(BD_SHAPE(3, 2, 4, 5)), window), "conv2d", "2x8x7x3", "3x2x4x5", NULL);
    expect_error(bd_conv2d(graph, input(BD_SHAPE(1, 2, 2, 1)), input(BD_SHAPE(5, 2, 1, 1)), window), "height 5", "of 4",
                 NULL);
    bd_window still = { .size = { 1, 1 }, .stride = { 0, 1 } };
    expect_error(bd_avg_pool(graph, input(BD_SHAPE(1, 2, 2, 1)), still), "avg_pool", "stride", NULL);
    bd_window wide = { .size = { 2, 2 }, .stride = { 1, 1 }, .pad = { { 2, 0 }, { 0, 0 } } };
    expect_error(bd_max_pool(graph, input(BD_SHAPE(1, 2, 2, 1)), wide), "max_pool", "padding", NULL);
    bd_window vast = { .size = { 1, 1 }, .stride = { 1, 1 }, .pad = { { INT64_MAX, INT64_MAX }, { 0, 0 } } };
    expect_error(bd_conv2d(graph, input(BD_SHAPE(1, 2, 2, 1)), input(BD_SHAPE(1, 1, 1, 1)), vast), "conv2d", NULL);
    bd_window plain = { .size = { 2, 2 }, .stride = { 2, 2 } };
    expect_error(bd_max_pool(graph, input(BD_SHAPE(1, 0, 2, 1)), plain), "max_pool", "pixel", NULL);
    expect_error(bd_max_pool_grad(graph, input(BD_SHAPE(1, 4, 4, 1)), input(BD_SHAPE(1, 4, 4, 1)), plain), "dy",
                 "1x2x2x1", NULL);
    expect_error(
        bd_conv2d_data(graph, input(BD_SHAPE(1, 4, 4, 1)), input(BD_SHAPE(2, 2, 1, 1)), plain, BD_SHAPE(1, 4, 4, 1)),
        "conv2d_data", "dy", NULL);
    expect_error(
        bd_conv2d_weight(graph, input(BD_SHAPE(1, 4, 4, 1)), input(BD_SHAPE(1, 4, 4, 1)), plain, BD_SHAPE(2, 2, 1, 1)),
        "conv2d_weight", "dy", NULL);
}
END_TEST

START_TEST(the_first_error_sticks)
{
    bd_tensor x = input(BD_SHAPE(2));
    ck_assert_int_eq(bd_add(graph, x, BD_NONE), BD_NONE);
    bd_error first, later;
    ck_assert_int_eq(bd_graph_status(graph, &first), BD_ERROR_ARGUMENT);
    int32_t count = graph->node_count;
    ck_assert_int_eq(bd_neg(graph, x), BD_NONE);
    ck_assert_int_eq(bd_linear(graph, x, 3, true, "fc"), BD_NONE);
    ck_assert_int_eq(bd_constant(graph, BD_SHAPE(2), 1), BD_NONE);
    bd_pop_layer(graph);
    bd_tensor gradient = 5;
    ck_assert_int_eq(bd_gradient(graph, x, x, &x, 1, &gradient, &later), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(gradient, BD_NONE);
    ck_assert_int_eq(bd_graph_status(graph, &later), BD_ERROR_ARGUMENT);
    ck_assert_str_eq(first.message, later.message);
    ck_assert_int_eq(graph->node_count, count);
}
END_TEST

/* A layer that fails half-way still runs to its end, over tensors that are not there. */
START_TEST(layers_survive_an_error_within)
{
    bd_init zero = { 0 };
    bd_parameter(graph, "/bn/gamma", BD_SHAPE(7), zero);
    expect_error(bd_batch_norm(graph, input(BD_SHAPE(4, 3)), true, 0.9f, 1e-5f, "bn"), "bn/gamma", NULL);
    bd_variable(graph, "/bn/running_mean", BD_ROLE_STATISTIC, BD_F32, BD_SHAPE(7), zero);
    expect_error(bd_batch_norm(graph, input(BD_SHAPE(4, 3)), false, 0.9f, 1e-5f, "bn"), "running_mean", NULL);
    bd_parameter(graph, "/ln/beta", BD_SHAPE(7), zero);
    expect_error(bd_layer_norm(graph, input(BD_SHAPE(4, 3)), 1e-5f, "ln"), "ln/beta", NULL);
    bd_parameter(graph, "/fc/weight", BD_SHAPE(7), zero);
    expect_error(bd_linear(graph, input(BD_SHAPE(2, 4, 3)), 5, true, "fc"), "fc/weight", NULL);
    bd_parameter(graph, "/conv/bias", BD_SHAPE(7), zero);
    bd_window window = { .size = { 3, 3 }, .stride = { 1, 1 } };
    expect_error(bd_conv(graph, input(BD_SHAPE(2, 4, 4, 3)), 5, window, true, "conv"), "conv/bias", NULL);
}
END_TEST

START_TEST(names)
{
    bd_init zero = { 0 };
    bd_push_layer(graph, "block1");
    bd_push_layer(graph, "deep/conv");
    bd_tensor a = bd_parameter(graph, "weight", BD_SHAPE(2), zero);
    bd_tensor b = bd_variable(graph, "/step", BD_ROLE_FIXED, BD_U32, BD_SHAPE(1), zero);
    ck_assert_str_eq(bd_node_at(graph, a)->attr.variable.name, "block1/deep/conv/weight");
    ck_assert_str_eq(bd_node_at(graph, b)->attr.variable.name, "step");
    ck_assert_int_eq(bd_node_at(graph, b)->format, BD_U32);
    ck_assert_str_eq(bd_node_layer(graph, a), "block1/deep/conv");
    bd_pop_layer(graph);
    ck_assert_str_eq(bd_node_layer(graph, bd_neg(graph, a)), "block1");
    bd_pop_layer(graph);
    ck_assert_str_eq(bd_node_layer(graph, bd_neg(graph, a)), "");

    ck_assert_int_eq(bd_graph_find_variable(graph, "block1/deep/conv/weight"), a);
    ck_assert_int_eq(bd_graph_find_variable(graph, "weight"), BD_NONE);
    /* named twice, it is the same */
    bd_push_layer(graph, "block1/deep/conv");
    ck_assert_int_eq(bd_parameter(graph, "weight", BD_SHAPE(2), zero), a);
    ck_assert_int_eq(graph->layer_count, 3);
    expect_error(bd_parameter(graph, "weight", BD_SHAPE(3), zero), "variable", "block1/deep/conv/weight", "shape 2",
                 "3", NULL);

    bd_parameter(graph, "weight", BD_SHAPE(2), zero);
    expect_error(bd_variable(graph, "weight", BD_ROLE_STATE, BD_F32, BD_SHAPE(2), zero), "weight", "roles", NULL);
    expect_error(bd_parameter(graph, "/", BD_SHAPE(2), zero), "name", NULL);
    expect_error(bd_parameter(graph, "w", BD_SHAPE(INT64_MAX, INT64_MAX), zero), "variable", "2^63", NULL);
    bd_pop_layer(graph);
    expect_error(BD_NONE, "bd_pop_layer", NULL);
    bd_push_layer(graph, "");
    expect_error(BD_NONE, "name", NULL);
}
END_TEST

START_TEST(streams_of_random_numbers_differ)
{
    bd_tensor a = bd_random(graph, BD_SHAPE(4)), b = bd_random(graph, BD_SHAPE(4));
    ck_assert_uint_ne(bd_node_at(graph, a)->attr.stream, bd_node_at(graph, b)->attr.stream);
    expect_shape(bd_iota(graph, BD_SHAPE(2, 3), 1), BD_SHAPE(2, 3));
    expect_error(bd_iota(graph, BD_SHAPE(2, 3), 2), "iota", "axis 2", NULL);
}
END_TEST

START_TEST(assignments)
{
    bd_tensor x = input(BD_SHAPE(2)), y = input(BD_SHAPE(3));
    bd_assign(graph, x, bd_neg(graph, x));
    ck_assert_int_eq(graph->node_count, 4);
    expect_error(bd_neg(graph, 3), "assignment", NULL);
    x = input(BD_SHAPE(2)), y = input(BD_SHAPE(3));
    bd_assign(graph, x, y);
    expect_error(BD_NONE, "assign", "'x0'", "shape 2", "3", NULL);
    x = input(BD_SHAPE(2));
    bd_assign(graph, bd_neg(graph, x), x);
    expect_error(BD_NONE, "assign", "no variable", NULL);
    x = input(BD_SHAPE(2));
    bd_assign(graph, x, bd_neg(graph, x));
    bd_assign(graph, x, bd_abs(graph, x));
    expect_error(BD_NONE, "assign", "twice", NULL);
}
END_TEST

START_TEST(only_what_an_effect_needs_is_live)
{
    bd_tensor control = bd_variable(graph, "control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(64), (bd_init){ 0 });
    bd_tensor x = input(BD_SHAPE(2)), unused = input(BD_SHAPE(2));
    bd_tensor needed = bd_add(graph, x, bd_random(graph, BD_SHAPE(2))), dead = bd_neg(graph, needed);
    bool live[16];
    bd_graph_mark_live(graph, live);
    for (bd_tensor i = 0; i < graph->node_count; i++)
        ck_assert(!live[i]);
    bd_assign(graph, x, needed);
    bd_graph_mark_live(graph, live);
    ck_assert(live[x] && live[needed] && live[control] && live[graph->node_count - 1]);
    ck_assert(!live[unused] && !live[dead]);
}
END_TEST

START_TEST(control_nodes)
{
    bd_init zero = { 0 };
    bd_tensor control = bd_variable(graph, "control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(64), zero);
    bd_tensor order = bd_variable(graph, "order", BD_ROLE_FIXED, BD_U32, BD_SHAPE(100), zero);
    bd_tensor data = bd_variable(graph, "data", BD_ROLE_FIXED, BD_U8, BD_SHAPE(100, 4, 4, 1), zero);
    bd_tensor rates = bd_variable(graph, "rates", BD_ROLE_FIXED, BD_F32, BD_SHAPE(10), zero);
    bd_tensor one = bd_constant(graph, (bd_shape){ 0 }, 1);
    expect_shape(bd_batch(graph, data, order, control, 8), BD_SHAPE(8, 4, 4, 1));
    expect_shape(bd_valid(graph, control, 8), BD_SHAPE(8));
    expect_shape(bd_control_value(graph, control, BD_CONTROL_SCALE, true), (bd_shape){ 0 });
    bd_tensor step = bd_control_step(graph, control, rates, one, one, BD_NONE);
    expect_shape(step, (bd_shape){ 0 });
    expect_shape(bd_control_value(graph, step, BD_CONTROL_RATE, true), (bd_shape){ 0 });
    ck_assert_int_eq(bd_node_at(graph, step)->input_count, 4);

    expect_error(bd_valid(graph, order + 100, 8), "valid", NULL);
    data = input(BD_SHAPE(4));
    expect_error(bd_valid(graph, data, 8), "valid", "control", NULL);
    control = bd_variable(graph, "control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(64), zero);
    expect_error(bd_control_value(graph, control, BD_CONTROL_WORD_COUNT, true), "control", "word", NULL);
    control = bd_variable(graph, "control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(64), zero);
    data = input(BD_SHAPE(4));
    expect_error(bd_control_step(graph, control, data, data, data, BD_NONE), "control_step", "one element", NULL);
    control = bd_variable(graph, "control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(64), zero);
    data = input(BD_SHAPE(4));
    expect_error(bd_batch(graph, data, data, control, 2), "batch", "u32", NULL);
}
END_TEST

START_TEST(layer_shapes)
{
    bd_window window = { .size = { 5, 5 }, .stride = { 1, 1 }, .pad = { { 2, 2 }, { 2, 2 } } };
    bd_tensor x = input(BD_SHAPE(4, 8, 8, 3));
    bd_tensor y = bd_conv(graph, x, 6, window, true, "conv");
    expect_shape(y, BD_SHAPE(4, 8, 8, 6));
    expect_shape(bd_node_at(graph, bd_graph_find_variable(graph, "conv/weight"))->shape.rank == 4
                     ? bd_graph_find_variable(graph, "conv/weight")
                     : BD_NONE,
                 BD_SHAPE(5, 5, 3, 6));
    /* Glorot: sqrt(6 / (25 * 3 + 25 * 6)) */
    const bd_node *weight = bd_node_at(graph, bd_graph_find_variable(graph, "conv/weight"));
    ck_assert_int_eq(weight->attr.variable.init.kind, BD_INIT_UNIFORM);
    ck_assert_float_eq_tol(weight->attr.variable.init.bound, 0.16329932f, 1e-7f);
    expect_shape(bd_graph_find_variable(graph, "conv/bias"), BD_SHAPE(6));
    y = bd_batch_norm(graph, y, true, 0.9f, 1e-5f, "norm");
    expect_shape(y, BD_SHAPE(4, 8, 8, 6));
    expect_shape(bd_graph_find_variable(graph, "norm/running_var"), BD_SHAPE(6));
    y = bd_flatten(graph, bd_dropout(graph, bd_gelu(graph, y), 0.5f, true));
    expect_shape(y, BD_SHAPE(4, 384));
    ck_assert_int_eq(bd_dropout(graph, y, 0.5f, false), y);
    y = bd_layer_norm(graph, bd_linear(graph, y, 10, false, "fc"), 1e-5f, "ln");
    expect_shape(y, BD_SHAPE(4, 10));
    ck_assert_int_eq(bd_graph_find_variable(graph, "fc/bias"), BD_NONE);
    expect_shape(bd_softmax(graph, y), BD_SHAPE(4, 10));
    bd_tensor loss = bd_cross_entropy(graph, y, input(BD_SHAPE(4)));
    expect_shape(loss, BD_SHAPE(4));
    ck_assert_int_eq(bd_node_at(graph, loss)->role, BD_ROLE_STATISTIC);
    ck_assert_int_eq(graph->role, BD_ROLE_ACTIVATION);
    ck_assert_int_eq(graph->layer, 0);
    expect_shape(bd_linear(graph, input(BD_SHAPE(2, 3, 4)), 5, true, "rows"), BD_SHAPE(2, 3, 5));
    expect_shape(bd_add_broadcast(graph, input(BD_SHAPE(2, 1, 4)), input(BD_SHAPE(3, 1))), BD_SHAPE(2, 3, 4));
    expect_shape(bd_mul_broadcast(graph, input(BD_SHAPE(4)), input(BD_SHAPE(3, 4))), BD_SHAPE(3, 4));

    expect_error(bd_add_broadcast(graph, input(BD_SHAPE(2)), input(BD_SHAPE(3))), "broadcast", NULL);
    expect_error(bd_linear(graph, input((bd_shape){ 0 }), 5, true, "fc"), "layer 'fc'", "scalar", NULL);
    expect_error(bd_conv(graph, input(BD_SHAPE(4)), 5, window, true, "c"), "layer 'c'", NULL);
    expect_error(bd_batch_norm(graph, input(BD_SHAPE(4)), true, 0.9f, 0, "bn"), "layer 'bn'", NULL);
    expect_error(bd_dropout(graph, input(BD_SHAPE(4)), 1, true), "rate", NULL);
    expect_error(bd_cross_entropy(graph, input(BD_SHAPE(4, 3)), input(BD_SHAPE(3))), "4x3", "label", NULL);
    expect_error(bd_softmax(graph, input(BD_SHAPE(4, 0))), "maximum", "4x0", NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, shapes_count_and_print);
    tcase_add_test(tests, every_operation_has_a_row);
    tcase_add_test(tests, elementwise_shapes);
    tcase_add_test(tests, movement_shapes);
    tcase_add_test(tests, movement_errors);
    tcase_add_test(tests, reduction_shapes);
    tcase_add_test(tests, matmul_shapes);
    tcase_add_test(tests, attention_shapes);
    tcase_add_test(tests, attention_without_dropout);
    tcase_add_test(tests, window_shapes);
    tcase_add_test(tests, the_first_error_sticks);
    tcase_add_test(tests, layers_survive_an_error_within);
    tcase_add_test(tests, names);
    tcase_add_test(tests, streams_of_random_numbers_differ);
    tcase_add_test(tests, assignments);
    tcase_add_test(tests, only_what_an_effect_needs_is_live);
    tcase_add_test(tests, control_nodes);
    tcase_add_test(tests, layer_shapes);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
