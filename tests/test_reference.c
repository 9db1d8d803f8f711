/* The reference interpreter against values worked out by hand: every operation, rounding, variables and the control
 * step. Where arithmetic is the subject it runs `exact`; where rounding is, formats are set on the nodes. */
#include "../backends/reference/interpret.h"
#include "../engine/control.h"
#include "../engine/philox.h"
#include "../engine/tally.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NODES = 64 };

/* ---- fixture: a graph whose variables have values ---- */

static bd_graph *graph;
static double *variables[MAX_NODES];

static void set_up(void)
{
    ck_assert_int_eq(bd_graph_create(&graph, NULL), BD_OK);
    memset(variables, 0, sizeof variables);
}

static void tear_down(void)
{
    bd_graph_destroy(&graph);
    for (int i = 0; i < MAX_NODES; i++)
        free(variables[i]);
}

static int64_t elements(bd_tensor tensor)
{
    bd_shape shape = bd_tensor_shape(graph, tensor);
    return bd_shape_elements(&shape);
}

static bd_tensor variable(const char *name, bd_format format, bd_shape shape, const double *values)
{
    bd_init zeros = { BD_INIT_CONSTANT, 0 };
    bd_tensor tensor = bd_variable(graph, name, BD_ROLE_FIXED, format, shape, zeros);
    ck_assert_int_ne(tensor, BD_NONE);
    int64_t count = bd_shape_elements(&shape);
    variables[tensor] = calloc((size_t)count + 1, sizeof(double));
    memcpy(variables[tensor], values, (size_t)count * sizeof(double));
    return tensor;
}

static bd_tensor of_format(bd_tensor tensor, bd_format format)
{
    ck_assert_int_ne(tensor, BD_NONE);
    graph->nodes[tensor].format = format;
    return tensor;
}

static void run(bool exact, const bd_tensor *wanted, double *const *results, int count)
{
    bd_error error = { BD_OK, "" };
    ck_assert_msg(bd_graph_status(graph, &error) == BD_OK, "%s", error.message);
    ck_assert_msg(bd_interpret_arrays(graph, exact, variables, wanted, results, count, &error) == BD_OK, "%s",
                  error.message);
}

static bool same(double a, double b)
{
    return isnan(a) ? isnan(b) : a == b && signbit(a) == signbit(b);
}

static void expect_array(const double *values, const double *expected, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(same(values[i], expected[i]), "element %zu is %.17g, not %.17g", i, values[i], expected[i]);
}

static void expect_values(bool exact, bd_tensor tensor, const double *expected, size_t count)
{
    ck_assert_int_ne(tensor, BD_NONE);
    ck_assert_int_eq(elements(tensor), (int64_t)count);
    double *values = calloc(count + 1, sizeof *values);
    run(exact, &tensor, &values, 1);
    expect_array(values, expected, count);
    free(values);
}

#define LIST(...)                                                                                                      \
    (const double[])                                                                                                   \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define VARIABLE(name, shape, ...) variable(name, BD_F32, shape, LIST(__VA_ARGS__))
#define EXPECT(tensor, ...) expect_values(true, tensor, LIST(__VA_ARGS__), sizeof LIST(__VA_ARGS__) / sizeof(double))
#define EXPECT_ROUNDED(tensor, ...)                                                                                    \
    expect_values(false, tensor, LIST(__VA_ARGS__), sizeof LIST(__VA_ARGS__) / sizeof(double))

static bd_window window(int64_t size, int64_t stride, int64_t before, int64_t after)
{
    return (bd_window){ { size, size }, { stride, stride }, { { before, after }, { before, after } } };
}

/* ---- elementwise ---- */

START_TEST(unary)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(6), -2.5, -0.0, 0.0, 4, NAN, -INFINITY);
    EXPECT(bd_cast(graph, x, BD_ROLE_STATISTIC), -2.5, -0.0, 0.0, 4, NAN, -INFINITY);
    EXPECT(bd_neg(graph, x), 2.5, 0.0, -0.0, -4, NAN, INFINITY);
    EXPECT(bd_abs(graph, x), 2.5, 0.0, 0.0, 4, NAN, INFINITY);
    EXPECT(bd_sign(graph, x), -1, -0.0, 0.0, 1, NAN, -1);
    EXPECT(bd_floor(graph, x), -3, -0.0, 0.0, 4, NAN, -INFINITY);
    EXPECT(bd_sqrt(graph, x), NAN, -0.0, 0.0, 2, NAN, NAN);
    EXPECT(bd_relu(graph, x), 0.0, -0.0, 0.0, 4, NAN, 0.0);
    EXPECT(bd_nonfinite(graph, x), 0.0, 0.0, 0.0, 0.0, 1, 1);
}
END_TEST

START_TEST(unary_transcendental)
{
    volatile double minus_one = -1; /* the compiler's own erfc is another's */
    const double normal = erfc(minus_one * sqrt(0.5)) / 2;
    bd_tensor x = VARIABLE("x", BD_SHAPE(3), 0.0, 1, -INFINITY);
    EXPECT(bd_exp(graph, x), 1, exp(1), 0.0);
    EXPECT(bd_log(graph, x), -INFINITY, 0.0, NAN);
    EXPECT(bd_tanh(graph, x), 0.0, tanh(1), -1);
    EXPECT(bd_sigmoid(graph, x), 0.5, 1 / (1 + exp(-1)), 0.0);
    EXPECT(bd_erf(graph, x), 0.0, erf(1), -1);
    EXPECT(bd_gelu(graph, x), 0.0, normal, 0.0);
    EXPECT(bd_gelu_slope(graph, x), 0.5, normal + exp(-0.5) / sqrt(6.28318530717958647693), 0.0);
}
END_TEST

START_TEST(binary)
{
    bd_tensor a = VARIABLE("a", BD_SHAPE(4), 3, -2, NAN, 0.0);
    bd_tensor b = VARIABLE("b", BD_SHAPE(4), 2, 4, 1, 0.0);
    EXPECT(bd_add(graph, a, b), 5, 2, NAN, 0.0);
    EXPECT(bd_sub(graph, a, b), 1, -6, NAN, 0.0);
    EXPECT(bd_mul(graph, a, b), 6, -8, NAN, 0.0);
    EXPECT(bd_div(graph, a, b), 1.5, -0.5, NAN, NAN);
    EXPECT(bd_max(graph, a, b), 3, 4, NAN, 0.0);
    EXPECT(bd_min(graph, b, a), 2, -2, NAN, 0.0);
    EXPECT(bd_pow(graph, a, b), 9, 16, NAN, 1);
    EXPECT(bd_less(graph, a, b), 0.0, 1, 0.0, 0.0);
    EXPECT(bd_equal(graph, a, b), 0.0, 0.0, 0.0, 1);
    EXPECT(bd_select(graph, a, b, bd_neg(graph, b)), 2, 4, 1, -0.0);
}
END_TEST

/* 2049 is a tie between 2048 and 2050; 65519 rounds down and 65520 up to infinity. */
START_TEST(elementwise_rounds_to_the_node)
{
    bd_tensor a = VARIABLE("a", BD_SHAPE(4), 2048, 2050, 65504, 65504);
    bd_tensor b = VARIABLE("b", BD_SHAPE(4), 1, 1, 15, 16);
    EXPECT_ROUNDED(of_format(bd_add(graph, a, b), BD_F16), 2048, 2052, 65504, INFINITY);
    EXPECT_ROUNDED(bd_add(graph, a, b), 2049, 2051, 65519, 65520);
}
END_TEST

/* 2049 + 2^-40: to F32 first it is 2049, whose tie goes down; at once it would go up. */
START_TEST(elementwise_operations_are_32_bit)
{
    bd_tensor a = VARIABLE("a", BD_SHAPE(1), 2049), b = VARIABLE("b", BD_SHAPE(1), 0x1p-40);
    EXPECT_ROUNDED(of_format(bd_add(graph, a, b), BD_F16), 2048);
}
END_TEST

START_TEST(exact_rounds_nothing)
{
    bd_tensor a = VARIABLE("a", BD_SHAPE(1), 0.1), b = VARIABLE("b", BD_SHAPE(1), 1e-12);
    bd_tensor sum = of_format(bd_add(graph, a, b), BD_F16);
    EXPECT(sum, 0.1 + 1e-12);
    EXPECT_ROUNDED(sum, bd_f16_to_double(0x2e66));
}
END_TEST

/* ---- movement ---- */

START_TEST(views)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(2, 3), 1, 2, 3, 4, 5, 6);
    bd_tensor column = VARIABLE("column", BD_SHAPE(2, 1), 1, 2);
    EXPECT(bd_broadcast(graph, column, BD_SHAPE(2, 2, 2)), 1, 1, 2, 2, 1, 1, 2, 2);
    EXPECT(bd_reshape(graph, x, BD_SHAPE(3, 2)), 1, 2, 3, 4, 5, 6);
    EXPECT(bd_permute(graph, x, (int[]){ 1, 0 }), 1, 4, 2, 5, 3, 6);
    EXPECT(bd_slice(graph, x, 1, 1, 2), 2, 3, 5, 6);
    EXPECT(bd_pad(graph, x, 1, 1, 0), 0.0, 1, 2, 3, 0.0, 4, 5, 6);
    EXPECT(bd_concat(graph, (bd_tensor[]){ x, column }, 2, 1), 1, 2, 3, 1, 4, 5, 6, 2);
    EXPECT(bd_iota(graph, BD_SHAPE(2, 3), 1), 0.0, 1, 2, 0.0, 1, 2);
    EXPECT(bd_constant(graph, BD_SHAPE(2), 7), 7, 7);
}
END_TEST

START_TEST(permute_three_axes)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(2, 1, 3), 1, 2, 3, 4, 5, 6);
    EXPECT(bd_permute(graph, x, (int[]){ 2, 0, 1 }), 1, 4, 2, 5, 3, 6);
}
END_TEST

START_TEST(pack_leaves_gaps_of_zeros)
{
    bd_tensor a = VARIABLE("a", BD_SHAPE(2), 1, 2), b = VARIABLE("b", BD_SHAPE(1, 2), 3, 4);
    EXPECT(bd_pack(graph, (bd_tensor[]){ a, b }, (int64_t[]){ 0, 4 }, 2, 7), 1, 2, 0.0, 0.0, 3, 4, 0.0);
}
END_TEST

START_TEST(gather_clamps_and_scatter_adds)
{
    bd_tensor table = VARIABLE("table", BD_SHAPE(3, 2), 1, 2, 3, 4, 5, 6);
    bd_tensor index = VARIABLE("index", BD_SHAPE(4), 2, 0, 9, -1);
    bd_tensor values = VARIABLE("values", BD_SHAPE(4, 2), 1, 10, 2, 20, 4, 40, 8, 80);
    EXPECT(bd_gather(graph, table, index), 5, 6, 1, 2, 5, 6, 1, 2);
    EXPECT(bd_scatter_add(graph, values, index, 3), 10, 100, 0.0, 0.0, 5, 50);
}
END_TEST

/* Half of 2^-24 becomes 0, 70000 infinite. */
START_TEST(tally_counts_what_rounding_does)
{
    bd_tensor before = VARIABLE("before", BD_SHAPE(6), 0.0, -0x1p-25, 3, 70000, INFINITY, -1.5);
    bd_tensor after = VARIABLE("after", BD_SHAPE(6), 0.0, 0.0, 3, INFINITY, INFINITY, -1);
    bd_tensor rows = bd_tally(graph, before, after);
    EXPECT(bd_slice(graph, rows, 1, BD_TALLY_LARGEST, BD_TALLY_COLUMNS - BD_TALLY_LARGEST), 70000, 1, 1, 1, 1,
           0x1p-50 + 9 + 4.9e9 + 2.25, 0x1p-50 + 0.25);
    EXPECT(bd_slice(graph, rows, 1, -25 - BD_TALLY_FIRST, 1), 1);
    EXPECT(bd_slice(graph, rows, 1, 0 - BD_TALLY_FIRST, 3), 1, 1, 0.0); /* 1.5 and 3 */
    EXPECT(bd_slice(graph, rows, 1, 16 - BD_TALLY_FIRST, 1), 1);
}
END_TEST

START_TEST(empty_tensors)
{
    bd_tensor none = variable("none", BD_F32, BD_SHAPE(0, 3), LIST(0));
    bd_tensor a = variable("a", BD_F32, BD_SHAPE(2, 0), LIST(0));
    EXPECT(bd_sum(graph, none, 0, 1, false), 0.0, 0.0, 0.0);
    EXPECT(bd_matmul(graph, a, none, false, false), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    expect_values(true, bd_neg(graph, none), NULL, 0);
}
END_TEST

/* ---- reductions ---- */

START_TEST(reductions)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(2, 2, 2), 1, 8, 3, 4, 5, -6, 7, -6);
    EXPECT(bd_sum(graph, x, 0, 3, false), 16);
    EXPECT(bd_sum(graph, x, 0, 1, true), 6, 2, 10, -2);
    EXPECT(bd_sum(graph, x, 1, 2, false), 16, 0.0);
    EXPECT(bd_sum(graph, x, 1, 1, false), 4, 12, 12, -12);
    EXPECT(bd_maximum(graph, x, 2, 1, false), 8, 4, 5, 7);
    EXPECT(bd_argmax(graph, x, 1), 1, 0.0, 1, 0.0);
}
END_TEST

START_TEST(maximum_of_nan_is_nan)
{
    EXPECT(bd_maximum(graph, VARIABLE("x", BD_SHAPE(3), 1, NAN, 2), 0, 1, false), NAN);
}
END_TEST

/* 2048 + 1 + 1: rounding after each addition would give 2048. */
START_TEST(sums_round_once)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(3), 2048, 1, 1);
    EXPECT_ROUNDED(of_format(bd_sum(graph, x, 0, 1, false), BD_F16), 2050);
}
END_TEST

/* Five rows in two parts: ceil(5 / 2) = 3 and the rest. */
START_TEST(sums_in_parts)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(5, 2), 1, 10, 2, 20, 3, 30, 4, 40, 5, 50), parts;
    bd_node *node = bd_graph_append(graph, BD_OP_SUM, BD_SHAPE(2, 2), &x, 1, &parts);
    node->attr.reduce.count = 1;
    node->chunks = 2;
    EXPECT(parts, 6, 60, 9, 90);
}
END_TEST

/* Rows 1 to 5: mean 3, deviations 4 + 1 + 0 + 1 + 4; of three and of two, 2 and 1/2; and of those again the whole. */
START_TEST(moments_and_their_parts)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(5, 2), 1, 10, 2, 20, 3, 30, 4, 40, 5, 50), parts[2], whole;
    EXPECT(bd_mean(graph, x, 0, 1, false), 3, 30);
    EXPECT(bd_deviations(graph, x, 0, 1, false), 10, 1000);
    for (int i = 0; i < 2; i++) {
        bd_node *node = bd_graph_append(graph, i ? BD_OP_DEVIATIONS : BD_OP_MEAN, BD_SHAPE(2, 2), &x, 1, &parts[i]);
        node->attr.reduce.count = 1;
        node->chunks = 2;
    }
    EXPECT(parts[0], 2, 20, 4.5, 45);
    EXPECT(parts[1], 2, 200, 0.5, 50);
    for (int i = 0; i < 2; i++) {
        bd_node *node = bd_graph_append(graph, i ? BD_OP_DEVIATIONS : BD_OP_MEAN, BD_SHAPE(2), parts, 1 + i, &whole);
        node->attr.reduce.count = 1;
        node->attr.reduce.members = 3;
        node->attr.reduce.total = 5;
        EXPECT(whole, i ? 10 : 3, i ? 1000 : 30);
    }
}
END_TEST

/* ---- contractions ---- */

START_TEST(matmul_transposes)
{
    bd_tensor a = VARIABLE("a", BD_SHAPE(2, 3), 1, 2, 3, 4, 5, 6), at = bd_permute(graph, a, (int[]){ 1, 0 });
    bd_tensor b = VARIABLE("b", BD_SHAPE(3, 2), 7, 8, 9, 10, 11, 12), bt = bd_permute(graph, b, (int[]){ 1, 0 });
    EXPECT(bd_matmul(graph, a, b, false, false), 58, 64, 139, 154);
    EXPECT(bd_matmul(graph, at, b, true, false), 58, 64, 139, 154);
    EXPECT(bd_matmul(graph, a, bt, false, true), 58, 64, 139, 154);
    EXPECT(bd_matmul(graph, at, bt, true, true), 58, 64, 139, 154);
}
END_TEST

START_TEST(matmul_batch_and_parts)
{
    bd_tensor a = VARIABLE("a", BD_SHAPE(2, 1, 3), 1, 2, 3, 4, 5, 6);
    bd_tensor b = VARIABLE("b", BD_SHAPE(2, 3, 1), 1, 10, 100, 1, 10, 100), inputs[] = { a, b }, parts;
    EXPECT(bd_matmul(graph, a, b, false, false), 321, 654);
    bd_graph_append(graph, BD_OP_MATMUL, BD_SHAPE(2, 2, 1, 1), inputs, 2, &parts)->chunks = 2;
    EXPECT(parts, 21, 54, 300, 600);
}
END_TEST

START_TEST(matmul_keeps_nan_of_zero_times_infinity)
{
    bd_tensor a = VARIABLE("a", BD_SHAPE(1, 1), 0.0), b = VARIABLE("b", BD_SHAPE(1, 1), INFINITY);
    EXPECT(bd_matmul(graph, a, b, false, false), NAN);
}
END_TEST

START_TEST(convolution)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(1, 3, 3, 1), 1, 2, 3, 4, 5, 6, 7, 8, 9);
    bd_tensor weight = VARIABLE("weight", BD_SHAPE(2, 2, 1, 1), 1, 10, 100, 1000);
    bd_tensor dy = VARIABLE("dy", BD_SHAPE(1, 2, 2, 1), 1, 2, 3, 4);
    EXPECT(bd_conv2d(graph, x, weight, window(2, 1, 0, 0)), 5421, 6532, 8754, 9865);
    /* one row and column of padding before, steps of 2: the first window sees only x[0][0] */
    EXPECT(bd_conv2d(graph, x, weight, window(2, 2, 1, 0)), 1000, 3200, 7040, 9865);
    EXPECT(bd_conv2d_weight(graph, x, dy, window(2, 1, 0, 0), BD_SHAPE(2, 2, 1, 1)), 37, 47, 67, 77);
    EXPECT(bd_conv2d_data(graph, dy, weight, window(2, 1, 0, 0), BD_SHAPE(1, 3, 3, 1)), 1, 12, 20, 103, 1234, 2040, 300,
           3400, 4000);
}
END_TEST

/* Two channels in, three out, one pixel: a matrix product. */
START_TEST(convolution_channels)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(1, 1, 1, 2), 1, 2);
    bd_tensor weight = VARIABLE("weight", BD_SHAPE(1, 1, 2, 3), 1, 2, 3, 10, 20, 30);
    bd_tensor dy = VARIABLE("dy", BD_SHAPE(1, 1, 1, 3), 1, 10, 100);
    bd_window w = window(1, 1, 0, 0);
    EXPECT(bd_conv2d(graph, x, weight, w), 21, 42, 63);
    EXPECT(bd_conv2d_data(graph, dy, weight, w, BD_SHAPE(1, 1, 1, 2)), 321, 3210);
    EXPECT(bd_conv2d_weight(graph, x, dy, w, BD_SHAPE(1, 1, 2, 3)), 1, 10, 100, 2, 20, 200);
}
END_TEST

START_TEST(depthwise_convolution)
{
    /* 2x2 pixels of two channels; the second channel's weights take one tap each */
    bd_tensor x = VARIABLE("x", BD_SHAPE(1, 2, 2, 2), 1, 10, 2, 20, 3, 30, 4, 40);
    bd_tensor weight = VARIABLE("weight", BD_SHAPE(2, 2, 1, 2), 1, 1, 10, 0.0, 100, 0.0, 1000, 0.0);
    bd_tensor dy = VARIABLE("dy", BD_SHAPE(1, 1, 1, 2), 3, 5);
    bd_window w = window(2, 1, 0, 0);
    EXPECT(bd_depthwise(graph, x, weight, w), 4321, 10);
    EXPECT(bd_depthwise_data(graph, dy, weight, w, BD_SHAPE(1, 2, 2, 2)), 3, 5, 30, 0.0, 300, 0.0, 3000, 0.0);
    EXPECT(bd_depthwise_weight(graph, x, dy, w, BD_SHAPE(2, 2, 1, 2)), 3, 50, 6, 100, 9, 150, 12, 200);
    /* one row and column of padding before, steps of 2: only the last tap sees a pixel */
    EXPECT(bd_depthwise(graph, x, weight, window(2, 2, 1, 0)), 1000, 0.0);
}
END_TEST

/* Four channels in two groups, one result each. */
START_TEST(convolution_in_groups)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(1, 1, 2, 4), 1, 2, 3, 4, 5, 6, 7, 8);
    bd_tensor weight = VARIABLE("weight", BD_SHAPE(1, 1, 2, 2), 1, 100, 10, 1000);
    EXPECT(bd_conv2d(graph, x, weight, window(1, 1, 0, 0)), 21, 4300, 65, 8700);
}
END_TEST

START_TEST(convolution_weight_in_parts)
{
    bd_tensor inputs[] = { VARIABLE("x", BD_SHAPE(1, 1, 3, 1), 1, 2, 3),
                           VARIABLE("dy", BD_SHAPE(1, 1, 3, 1), 1, 10, 100) };
    bd_tensor parts;
    bd_node *node = bd_graph_append(graph, BD_OP_CONV2D_WEIGHT, BD_SHAPE(2, 1, 1, 1, 1), inputs, 2, &parts);
    node->attr.window = window(1, 1, 0, 0);
    node->chunks = 2;
    EXPECT(parts, 21, 300);
}
END_TEST

/* ---- pooling ---- */

START_TEST(pooling)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(1, 2, 4, 1), 1, 5, 2, -1, 5, 0.0, -3, -4);
    bd_tensor dy = VARIABLE("dy", BD_SHAPE(1, 1, 2, 1), 8, 12);
    bd_window w = window(2, 2, 0, 0);
    EXPECT(bd_max_pool(graph, x, w), 5, 2);
    EXPECT(bd_avg_pool(graph, x, w), 2.75, -1.5);
    EXPECT(bd_max_pool_grad(graph, x, dy, w), 0.0, 8, 12, 0.0, 0.0, 0.0, 0.0, 0.0); /* the first of the two fives */
    EXPECT(bd_avg_pool_grad(graph, dy, w, BD_SHAPE(1, 2, 4, 1)), 2, 2, 3, 3, 2, 2, 3, 3);
}
END_TEST

START_TEST(pooling_padding_counts_for_nothing)
{
    bd_tensor x = VARIABLE("x", BD_SHAPE(1, 1, 2, 1), -4, -2);
    bd_tensor dy = VARIABLE("dy", BD_SHAPE(1, 2, 3, 1), 1, 10, 100, 1000, 10000, 100000);
    bd_window w = window(2, 1, 1, 1);
    EXPECT(bd_max_pool(graph, x, w), -4, -2, -2, -4, -2, -2);
    EXPECT(bd_avg_pool(graph, x, w), -4, -3, -2, -4, -3, -2);
    EXPECT(bd_max_pool_grad(graph, x, dy, w), 1001, 110110);
    EXPECT(bd_avg_pool_grad(graph, dy, w, BD_SHAPE(1, 1, 2, 1)), 1001 + 5005, 5005 + 100100);
}
END_TEST

/* ---- variables ---- */

START_TEST(readers_see_old_values)
{
    bd_tensor a = VARIABLE("a", BD_SHAPE(2), 1, 2), b = VARIABLE("b", BD_SHAPE(2), 10, 20);
    bd_assign(graph, a, b);
    bd_assign(graph, b, a);
    EXPECT(bd_add(graph, a, b), 11, 22);
    ck_assert_double_eq(variables[a][0], 10);
    ck_assert_double_eq(variables[b][1], 2);
}
END_TEST

START_TEST(assign_rounds_to_the_variable)
{
    bd_tensor half = variable("half", BD_F16, BD_SHAPE(1), LIST(0));
    bd_assign(graph, half, VARIABLE("x", BD_SHAPE(1), 2049));
    graph->nodes[graph->node_count - 1].format = BD_F16;
    run(false, NULL, NULL, 0);
    ck_assert_double_eq(variables[half][0], 2048);
}
END_TEST

START_TEST(parts_lie_in_their_base)
{
    bd_tensor base = VARIABLE("base", BD_SHAPE(4), 1, 2, 3, 4), part = VARIABLE("part", BD_SHAPE(2), 0, 0);
    free(variables[part]);
    variables[part] = NULL;
    graph->nodes[part].attr.variable.base = base;
    graph->nodes[part].attr.variable.base_offset = 1;
    bd_assign(graph, part, bd_neg(graph, part));
    run(true, NULL, NULL, 0);
    expect_array(variables[base], LIST(1, -2, -3, 4), 4);
}
END_TEST

START_TEST(missing_variable_is_named)
{
    bd_tensor x = VARIABLE("lost", BD_SHAPE(1), 1);
    free(variables[x]);
    variables[x] = NULL;
    bd_error error;
    double value, *results[] = { &value };
    ck_assert_int_eq(bd_interpret_arrays(graph, true, variables, &x, results, 1, &error), BD_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "lost"));
}
END_TEST

/* ---- what reads and writes the control block ---- */

static bd_tensor control_variable(void)
{
    double words[BD_CONTROL_WORD_COUNT] = { 0 };
    return variable("/control", BD_U32, BD_SHAPE(BD_CONTROL_WORD_COUNT), words);
}

static double word_of(float value)
{
    uint32_t word;
    memcpy(&word, &value, sizeof word);
    return word;
}

static float float_of(double word)
{
    uint32_t bits = (uint32_t)word;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

START_TEST(batch_and_valid)
{
    bd_tensor control = control_variable();
    bd_tensor images = variable("images", BD_U8, BD_SHAPE(3, 2), LIST(1, 2, 3, 4, 5, 6));
    bd_tensor permutation = variable("permutation", BD_U32, BD_SHAPE(3), LIST(2, 0, 1));
    variables[control][BD_CONTROL_POSITION] = 1;
    variables[control][BD_CONTROL_COUNT] = 3;
    EXPECT_ROUNDED(bd_batch(graph, images, permutation, control, 3), 1, 2, 3, 4, 3, 4);
    EXPECT_ROUNDED(bd_valid(graph, control, 3), 1, 1, 0.0);
}
END_TEST

/* Images of 2x3, turned round or not and shifted: element (y, x) is (y + down, x + right), x counted from the right if
 * turned; what comes from outside is 0. */
START_TEST(batch_turns_and_shifts_images)
{
    bd_tensor control = control_variable();
    bd_tensor images = variable("images", BD_U8, BD_SHAPE(2, 2, 3, 1), LIST(1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16));
    bd_tensor permutation = variable("permutation", BD_U32, BD_SHAPE(4), LIST(1, 0, 1, 0));
    bd_tensor moves = VARIABLE("moves", BD_SHAPE(4, 3), 0, 0, 0, 1, 0, 0, 0, 1, -1, 1, -1, 1);
    bd_tensor moved, inputs[] = { images, permutation, control, moves };
    bd_graph_append(graph, BD_OP_BATCH, BD_SHAPE(4, 2, 3, 1), inputs, 4, &moved);
    EXPECT(moved, 11, 12, 13, 14, 15, 16, /* as it is */
           3, 2, 1, 6, 5, 4,              /* turned */
           0, 14, 15, 0, 0, 0,            /* one up and one to the right */
           0, 0, 0, 0, 3, 2);             /* turned, down and to the left */
}
END_TEST

START_TEST(random_numbers_are_philox)
{
    bd_tensor x = bd_random(graph, BD_SHAPE(6)), control = control_variable();
    variables[control][BD_CONTROL_SEED_LOW] = 7;
    variables[control][BD_CONTROL_SEED_HIGH] = 8;
    variables[control][BD_CONTROL_STEP] = 9;
    double expected[6];
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t word[4];
        bd_philox((uint32_t[]){ 7, 8 }, (uint32_t[]){ i / 4, bd_node_at(graph, x)->attr.stream, 9, 0 }, word);
        expected[i] = (word[i % 4] >> 8) / 16777216.0;
    }
    expect_values(false, x, expected, 6);
}
END_TEST

START_TEST(control_words_before_and_after_the_step)
{
    bd_tensor control = control_variable(), rates = VARIABLE("rates", BD_SHAPE(2), 0.5, 0.25);
    bd_tensor one = bd_constant(graph, (bd_shape){ 0 }, 1);
    bd_tensor step = bd_control_step(graph, control, rates, one, one, BD_NONE);
    double *words = variables[control];
    words[BD_CONTROL_SCALE] = word_of(4);
    words[BD_CONTROL_RATE] = word_of(1);
    words[BD_CONTROL_RATE_COUNT] = 2;
    words[BD_CONTROL_STEP] = 6;
    bd_tensor wanted[] = { bd_control_value(graph, control, BD_CONTROL_RATE, true),
                           bd_control_value(graph, step, BD_CONTROL_RATE, true),
                           bd_control_value(graph, step, BD_CONTROL_UNSCALE, true),
                           bd_control_value(graph, step, BD_CONTROL_STEP, false) };
    double values[4], *results[] = { &values[0], &values[1], &values[2], &values[3] };
    run(false, wanted, results, 4);
    expect_array(values, LIST(1, 0.25, 0.25, 7), 4);
    ck_assert_double_eq(words[BD_CONTROL_STEP], 7);
}
END_TEST

/* GradScaler by its documentation: halve on overflow, double after two good steps; the update is skipped. */
START_TEST(control_step_scales_the_loss)
{
    static const struct {
        double nonfinite, apply, unscale, scale, overflows;
    } steps[] = {
        { 0, 1, 1.0 / 1024, 1024, 0 }, { 0, 1, 1.0 / 1024, 2048, 0 },  { 3, 0, 1.0 / 2048, 1024, 1 },
        { 0, 1, 1.0 / 1024, 1024, 1 }, { NAN, 0, 1.0 / 1024, 512, 2 }, { 0, 1, 1.0 / 512, 512, 2 },
        { 0, 1, 1.0 / 512, 1024, 2 },
    };
    bd_tensor control = control_variable(), rates = VARIABLE("rates", BD_SHAPE(1), 0.5);
    bd_tensor bad = VARIABLE("bad", BD_SHAPE(1), 0), one = bd_constant(graph, (bd_shape){ 0 }, 1);
    bd_control_step(graph, control, rates, one, one, bad);
    double *words = variables[control];
    words[BD_CONTROL_SCALING] = BD_SCALING_DYNAMIC;
    words[BD_CONTROL_SCALE] = word_of(1024);
    words[BD_CONTROL_GROWTH] = word_of(2);
    words[BD_CONTROL_BACKOFF] = word_of(0.5f);
    words[BD_CONTROL_GROWTH_INTERVAL] = 2;
    words[BD_CONTROL_RATE_COUNT] = 1;
    words[BD_CONTROL_BATCH] = 4;
    words[BD_CONTROL_COUNT] = 10;
    words[BD_CONTROL_BETA1] = words[BD_CONTROL_BETA1_POWER] = word_of(0.5f);
    double applied = 0;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        variables[bad][0] = steps[i].nonfinite;
        run(false, NULL, NULL, 0);
        applied += steps[i].apply;
        ck_assert_double_eq(words[BD_CONTROL_APPLY], steps[i].apply);
        ck_assert_double_eq(float_of(words[BD_CONTROL_UNSCALE]), steps[i].unscale);
        ck_assert_double_eq(float_of(words[BD_CONTROL_SCALE]), steps[i].scale);
        ck_assert_double_eq(words[BD_CONTROL_OVERFLOWS], steps[i].overflows);
        ck_assert_double_eq(words[BD_CONTROL_APPLIED], applied);
        ck_assert_double_eq(float_of(words[BD_CONTROL_BETA1_POWER]), pow(0.5, 1 + applied));
        ck_assert_double_eq(words[BD_CONTROL_POSITION], 4.0 * (double)(i + 1));
    }
    ck_assert_double_eq(float_of(words[BD_CONTROL_SAMPLES]), 10); /* 4, 4, 2 and then none */
    ck_assert_double_eq(float_of(words[BD_CONTROL_LOSS_SUM]), 7);
}
END_TEST

START_TEST(control_step_halts_on_nan)
{
    bd_tensor control = control_variable(), rates = VARIABLE("rates", BD_SHAPE(1), 0.5);
    bd_tensor loss = VARIABLE("loss", BD_SHAPE(1), 1);
    bd_control_step(graph, control, rates, loss, loss, BD_NONE);
    double *words = variables[control];
    words[BD_CONTROL_STOP_ON_NAN] = words[BD_CONTROL_RATE_COUNT] = words[BD_CONTROL_BATCH] = 1;
    words[BD_CONTROL_SCALE] = word_of(1);
    run(false, NULL, NULL, 0);
    variables[loss][0] = NAN;
    run(false, NULL, NULL, 0);
    variables[loss][0] = 1;
    run(false, NULL, NULL, 0);
    ck_assert_double_eq(words[BD_CONTROL_HALT], 1);
    ck_assert_double_eq(words[BD_CONTROL_APPLY], 0);
    ck_assert_double_eq(words[BD_CONTROL_NAN_COUNT], 1);
    ck_assert_double_eq(words[BD_CONTROL_NAN_STEP], 1);
    ck_assert_double_eq(words[BD_CONTROL_STEP], 1);
    ck_assert_double_eq(words[BD_CONTROL_POSITION], 1);
    ck_assert_double_eq(words[BD_CONTROL_APPLIED], 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reference");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    const TTest *const all[] = {
        unary,
        unary_transcendental,
        binary,
        elementwise_rounds_to_the_node,
        elementwise_operations_are_32_bit,
        exact_rounds_nothing,
        views,
        permute_three_axes,
        pack_leaves_gaps_of_zeros,
        gather_clamps_and_scatter_adds,
        tally_counts_what_rounding_does,
        empty_tensors,
        reductions,
        maximum_of_nan_is_nan,
        sums_round_once,
        sums_in_parts,
        moments_and_their_parts,
        matmul_transposes,
        matmul_batch_and_parts,
        matmul_keeps_nan_of_zero_times_infinity,
        convolution,
        convolution_channels,
        depthwise_convolution,
        convolution_in_groups,
        convolution_weight_in_parts,
        pooling,
        pooling_padding_counts_for_nothing,
        readers_see_old_values,
        assign_rounds_to_the_variable,
        parts_lie_in_their_base,
        missing_variable_is_named,
        batch_and_valid,
        batch_turns_and_shifts_images,
        random_numbers_are_philox,
        control_words_before_and_after_the_step,
        control_step_scales_the_loss,
        control_step_halts_on_nan,
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        tcase_add_test(tests, all[i]);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
