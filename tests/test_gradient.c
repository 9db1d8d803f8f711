/* Gradients: every primitive and every layer against central differences, in double precision without any rounding,
 * through the reference interpreter.
 *
 * A case builds y from operands x; L = sum(s * y) for random s; bd_gradient gives dL/dx, with s as the
 * gradient of y.
 *
 * Tolerance. Let D(h) = (L(x + h) - L(x - h)) / 2h. Its truncation error is t(h) = h^2 L'''/6 + O(h^4), so that
 * D(2h) - D(h) = 3 t(h) + O(h^4): the difference of the two, not a constant, bounds the truncation of D(h). The
 * rounding error of D(h) is that of L over h: at most n roundings of 2^-53, each of a value of at most M, where n,
 * the operations on one path, is below 2^10 in the cases here and M = 1 + sum |s y|. The analytic gradient's own
 * rounding is smaller by h. */
#include "../backends/reference/interpret.h"
#include "../engine/control.h"
#include "../engine/node.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define STEP 0x1p-12
#define ROUNDING (0x1p10 * 0x1p-53)

/* ---- one case ---- */

/* Numbers by role, so that a case needs none: operands (ACTIVATION, WEIGHT) are distinct and at least 0.3 in
 * magnitude, so that no difference crosses a kink; FIXED are whole numbers from 0 to 2, for labels and indices;
 * STATISTIC positive. */
typedef enum operand_kind { SIGNED, POSITIVE } operand_kind;

typedef bd_tensor (*build_function)(bd_graph *graph, const bd_tensor *x);

#define MAX_OPERANDS 4
typedef struct gradient_case {
    const char *name;
    build_function build;
    operand_kind kind;
    int operand_count;
    bd_shape shapes[MAX_OPERANDS];
} gradient_case;

static bd_graph *graph;
static double **variables; /* by node */

static uint32_t random_state;
static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u; /* Numerical Recipes' generator */
    return random_state >> 8;
}

static void ok(bd_status status, const bd_error *error)
{
    ck_assert_msg(status == BD_OK, "%s", error->message);
}

static int64_t elements(bd_tensor tensor)
{
    bd_shape shape = bd_tensor_shape(graph, tensor);
    return bd_shape_elements(&shape);
}

static bool is_operand(bd_tensor tensor)
{
    const bd_node *node = bd_node_at(graph, tensor);
    return node->op == BD_OP_VARIABLE && (node->role == BD_ROLE_ACTIVATION || node->role == BD_ROLE_WEIGHT);
}

/* A value for each of `count` places, no two closer than 1.7 / count, in random order. */
static double *distinct_values(int64_t count, operand_kind kind)
{
    double *values = malloc((size_t)(count + 1) * sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (int64_t i = 0; i < count; i++) {
        double magnitude = 0.3 + 1.7 * ((double)i + 0.5) / (double)count;
        values[i] = kind == SIGNED && next_random() % 2 ? -magnitude : magnitude;
    }
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t j = next_random() % (uint32_t)(i + 1);
        double swapped = values[i];
        values[i] = values[j];
        values[j] = swapped;
    }
    return values;
}

static void fill_variables(operand_kind kind)
{
    int64_t total = 0, used = 0;
    for (bd_tensor t = 0; t < graph->node_count; t++)
        total += is_operand(t) ? elements(t) : 0;
    double *values = distinct_values(total, kind);
    for (bd_tensor t = 0; t < graph->node_count; t++) {
        const bd_node *node = bd_node_at(graph, t);
        if (node->op != BD_OP_VARIABLE)
            continue;
        variables[t] = malloc((size_t)(elements(t) + 1) * sizeof **variables);
        ck_assert_ptr_nonnull(variables[t]);
        for (int64_t i = 0; i < elements(t); i++)
            variables[t][i] = is_operand(t)                     ? values[used++]
                              : node->role == BD_ROLE_STATISTIC ? 0.5 + (double)i / 8
                                                                : (double)(next_random() % 3);
    }
    free(values);
}

static void evaluate(const bd_tensor *wanted, double *const *results, int count)
{
    bd_error error;
    ok(bd_interpret_arrays(graph, true, variables, wanted, results, count, &error), &error);
}

/* L, and M of the comment above. */
static double weighted_sum(bd_tensor y, const double *seed, double *values, double *magnitude)
{
    evaluate(&y, &values, 1);
    double sum = 0;
    *magnitude = 1;
    for (int64_t i = 0; i < elements(y); i++) {
        sum += seed[i] * values[i];
        *magnitude += fabs(seed[i] * values[i]);
    }
    return sum;
}

typedef struct difference {
    double slope, tolerance;
} difference;

static difference central_difference(bd_tensor y, const double *seed, double *x, double *scratch)
{
    double slope[2], magnitude = 0, at = *x;
    for (int i = 0; i < 2; i++) {
        double h = STEP * (i + 1), here;
        *x = at + h;
        slope[i] = weighted_sum(y, seed, scratch, &here);
        magnitude = fmax(magnitude, here);
        *x = at - h;
        slope[i] = (slope[i] - weighted_sum(y, seed, scratch, &here)) / (2 * h);
        magnitude = fmax(magnitude, here);
    }
    *x = at;
    return (difference){ slope[0], fabs(slope[1] - slope[0]) + ROUNDING * magnitude / STEP };
}

static void check_gradient(const char *name, bd_tensor y, const double *seed, bd_tensor x, bd_tensor gradient)
{
    ck_assert_msg(gradient != BD_NONE, "%s: no gradient for node %d", name, x);
    bd_shape shape = bd_tensor_shape(graph, x), got = bd_tensor_shape(graph, gradient);
    ck_assert_msg(bd_shape_equal(&shape, &got), "%s: gradient of another shape", name);
    double *analytic = malloc((size_t)(elements(x) + 1) * sizeof *analytic);
    double *scratch = malloc((size_t)(elements(y) + 1) * sizeof *scratch);
    ck_assert(analytic && scratch);
    evaluate(&gradient, &analytic, 1);
    for (int64_t i = 0; i < elements(x); i++) {
        difference expected = central_difference(y, seed, &variables[x][i], scratch);
        ck_assert_msg(fabs(analytic[i] - expected.slope) <= expected.tolerance,
                      "%s: node %d element %lld: gradient %.12g, differences %.12g +- %.2g", name, x, (long long)i,
                      analytic[i], expected.slope, expected.tolerance);
    }
    free(analytic);
    free(scratch);
}

static void set_up(void)
{
    ck_assert_int_eq(bd_graph_create(&graph, NULL), BD_OK);
    variables = NULL;
    random_state = 1;
}

static void tear_down(void)
{
    for (bd_tensor t = 0; variables && t < graph->node_count; t++)
        free(variables[t]);
    free(variables);
    bd_graph_destroy(&graph);
}

static bd_tensor operand(const char *name, bd_shape shape)
{
    return bd_variable(graph, name, BD_ROLE_ACTIVATION, BD_F32, shape, (bd_init){ 0 });
}

static bd_tensor whole_numbers(const char *name, bd_shape shape)
{
    return bd_variable(graph, name, BD_ROLE_FIXED, BD_F32, shape, (bd_init){ 0 });
}

/* Differentiates y for every operand of the graph and checks each; `kind` says which values. */
static void check_graph(const char *name, bd_tensor y, operand_kind kind)
{
    bd_error error;
    ok(bd_graph_status(graph, &error), &error);
    bd_tensor wrt[16], gradients[16];
    int count = 0;
    for (bd_tensor t = 0; t < graph->node_count; t++)
        if (is_operand(t))
            wrt[count++] = t;
    ck_assert_int_le(count, 16);
    bd_tensor seed = bd_variable(graph, "seed", BD_ROLE_STATE, BD_F32, bd_tensor_shape(graph, y), (bd_init){ 0 });
    ok(bd_gradient(graph, y, seed, wrt, count, gradients, &error), &error);
    variables = calloc((size_t)graph->node_count, sizeof *variables);
    ck_assert_ptr_nonnull(variables);
    fill_variables(kind);
    for (int64_t i = 0; i < elements(seed); i++)
        variables[seed][i] = (double)next_random() / 0x1p23 - 1;
    for (int i = 0; i < count; i++)
        check_gradient(name, y, variables[seed], wrt[i], gradients[i]);
}

/* ---- the cases: one expression each ---- */

#define CASE(name, expression)                                                                                         \
    static bd_tensor name(bd_graph *g, const bd_tensor *x)                                                             \
    {                                                                                                                  \
        return expression;                                                                                             \
    }

CASE(cast, bd_cast(g, x[0], BD_ROLE_STATISTIC))
CASE(neg, bd_neg(g, x[0]))
CASE(absolute, bd_abs(g, x[0]))
CASE(square_root, bd_sqrt(g, x[0]))
CASE(exponential, bd_exp(g, x[0]))
CASE(logarithm, bd_log(g, x[0]))
CASE(hyperbolic_tangent, bd_tanh(g, x[0]))
CASE(sigmoid, bd_sigmoid(g, x[0]))
CASE(error_function, bd_erf(g, x[0]))
CASE(relu, bd_relu(g, x[0]))
CASE(add, bd_add(g, x[0], x[1]))
CASE(sub, bd_sub(g, x[0], x[1]))
CASE(mul, bd_mul(g, x[0], x[1]))
CASE(quotient, bd_div(g, x[0], x[1]))
CASE(larger, bd_max(g, x[0], x[1]))
CASE(smaller, bd_min(g, x[0], x[1]))
CASE(power, bd_pow(g, x[0], x[1]))
CASE(select_by_sign, bd_select(g, bd_less(g, x[0], x[1]), bd_mul(g, x[0], x[1]), bd_add(g, x[0], x[0])))
CASE(square, bd_mul(g, x[0], x[0]))
CASE(used_often, bd_add(g, bd_mul(g, bd_exp(g, x[0]), x[0]), bd_sub(g, x[0], bd_tanh(g, x[0]))))
/* steps have derivative 0 almost everywhere, and hide what is behind them */
CASE(steps, bd_add(g, x[0],
                   bd_add(g, bd_add(g, bd_sign(g, x[0]), bd_floor(g, x[0])),
                          bd_add(g, bd_less(g, x[0], x[1]), bd_mul(g, x[1], bd_equal(g, x[0], x[1]))))))
CASE(not_finite, bd_mul(g, x[0], bd_add(g, bd_nonfinite(g, x[0]), bd_constant(g, BD_SHAPE(3, 5), 2))))

CASE(broadcast_leading, bd_broadcast(g, x[0], BD_SHAPE(2, 3, 4)))
CASE(broadcast_last, bd_broadcast(g, x[0], BD_SHAPE(2, 3, 4)))
CASE(broadcast_scalar, bd_broadcast(g, x[0], BD_SHAPE(2, 3)))
CASE(broadcast_apart, bd_broadcast(g, x[0], BD_SHAPE(5, 2, 3, 4)))
CASE(broadcast_ones, bd_broadcast(g, x[0], BD_SHAPE(2, 1, 3, 1)))
CASE(reshape, bd_reshape(g, x[0], BD_SHAPE(4, 3)))
CASE(permute, bd_permute(g, x[0], (int[]){ 2, 0, 3, 1 }))
CASE(slice, bd_slice(g, x[0], 1, 1, 2))
CASE(slice_end, bd_slice(g, x[0], 1, 2, 2))
CASE(pad, bd_pad(g, x[0], 1, 2, 1))
CASE(concat, bd_concat(g, (bd_tensor[]){ x[0], x[1], x[0] }, 3, 1))
CASE(pack, bd_pack(g, x, (int64_t[]){ 1, 8 }, 2, 16))
CASE(gather, bd_gather(g, x[0], whole_numbers("index", BD_SHAPE(2, 4))))
CASE(scatter_add, bd_scatter_add(g, x[0], whole_numbers("index", BD_SHAPE(2, 4)), 5))

CASE(sum_first, bd_sum(g, x[0], 0, 2, false))
CASE(sum_middle, bd_sum(g, x[0], 1, 1, true))
CASE(sum_middle_dropped, bd_sum(g, x[0], 1, 1, false))
CASE(sum_all, bd_sum(g, x[0], 0, 3, false))
CASE(mean_first, bd_mean(g, x[0], 0, 2, false))
CASE(mean_middle, bd_mean(g, x[0], 1, 1, true))
CASE(deviations_first, bd_deviations(g, x[0], 0, 2, true))
CASE(deviations_middle, bd_deviations(g, x[0], 1, 1, false))
CASE(maximum_last, bd_maximum(g, x[0], 2, 1, false))
CASE(maximum_first, bd_maximum(g, x[0], 0, 2, true))
CASE(behind_argmax, bd_mul(g, bd_sum(g, x[0], 1, 1, false), bd_argmax(g, x[0], 1)))

CASE(matmul_nn, bd_matmul(g, x[0], x[1], false, false))
CASE(matmul_tn, bd_matmul(g, x[0], x[1], true, false))
CASE(matmul_nt, bd_matmul(g, x[0], x[1], false, true))
CASE(matmul_tt, bd_matmul(g, x[0], x[1], true, true))

static const bd_window plain = { .size = { 2, 2 }, .stride = { 2, 2 } };
static const bd_window overlapping = { .size = { 3, 2 }, .stride = { 2, 1 }, .pad = { { 1, 1 }, { 0, 1 } } };

CASE(conv2d, bd_conv2d(g, x[0], x[1], overlapping))
CASE(conv2d_data, bd_conv2d_data(g, x[0], x[1], overlapping, BD_SHAPE(2, 5, 4, 3)))
CASE(conv2d_weight, bd_conv2d_weight(g, x[0], x[1], overlapping, BD_SHAPE(3, 2, 3, 2)))
/* a stride that leaves out the last row */
static const bd_window sparse = { .size = { 1, 2 }, .stride = { 3, 3 }, .pad = { { 0, 0 }, { 1, 0 } } };
CASE(conv2d_sparse, bd_conv2d(g, x[0], x[1], sparse))

CASE(max_pool, bd_max_pool(g, x[0], plain))
CASE(max_pool_overlapping, bd_max_pool(g, x[0], overlapping))
CASE(avg_pool, bd_avg_pool(g, x[0], plain))
CASE(avg_pool_overlapping, bd_avg_pool(g, x[0], overlapping))
/* linear in dy; x only chooses, and has many equal values here */
CASE(max_pool_grad, bd_max_pool_grad(g, whole_numbers("image", BD_SHAPE(2, 5, 4, 2)), x[0], plain))
CASE(max_pool_grad_overlapping, bd_max_pool_grad(g, whole_numbers("image", BD_SHAPE(2, 5, 4, 2)), x[0], overlapping))
CASE(avg_pool_grad_overlapping, bd_avg_pool_grad(g, x[0], overlapping, BD_SHAPE(2, 5, 4, 2)))

CASE(depthwise, bd_depthwise(g, x[0], x[1], overlapping))
CASE(depthwise_data, bd_depthwise_data(g, x[0], x[1], overlapping, BD_SHAPE(2, 5, 4, 3)))
CASE(depthwise_layer, bd_depthwise_conv(g, x[0], bd_same_window(g, x[0], 3, 2), true, "dw"))
CASE(grouped, bd_conv2d(g, x[0], x[1], overlapping))
CASE(global_average, bd_global_avg_pool(g, x[0]))
CASE(attention, bd_attention(g, x[0], 2, 3, false, 0, true, "attention"))
CASE(attention_alone, bd_self_attention(g, x[0], 2, false, 0, true))
CASE(attention_causal, bd_self_attention(g, x[0], 2, true, 0, true))

static const bd_window same = { .size = { 3, 3 }, .stride = { 1, 1 }, .pad = { { 1, 1 }, { 1, 1 } } };
static bd_tensor with_control(bd_graph *g, bd_tensor x)
{
    bd_variable(g, "/control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(BD_CONTROL_WORD_COUNT), (bd_init){ 0 });
    return x;
}
CASE(linear, bd_linear(g, x[0], 3, true, "fc"))
CASE(linear_rows, bd_linear(g, x[0], 3, true, "fc"))
CASE(conv_layer, bd_conv(g, x[0], 2, same, true, "conv"))
CASE(batch_norm_training, bd_batch_norm(g, x[0], true, 0.9f, 1e-3f, "bn"))
CASE(batch_norm_images, bd_batch_norm(g, x[0], true, 0.9f, 1e-3f, "bn"))
CASE(batch_norm_inference, bd_batch_norm(g, x[0], false, 0.9f, 1e-3f, "bn"))
CASE(layer_norm, bd_layer_norm(g, x[0], 1e-3f, "ln"))
CASE(dropout, bd_dropout(g, with_control(g, x[0]), 0.4f, true))
CASE(attention_dropout, bd_self_attention(g, with_control(g, x[0]), 2, false, 0.4f, true))
CASE(attention_causal_dropout, bd_self_attention(g, with_control(g, x[0]), 2, true, 0.4f, true))
CASE(gelu, bd_gelu(g, x[0]))
CASE(softmax, bd_softmax(g, x[0]))
CASE(cross_entropy, bd_cross_entropy(g, x[0], whole_numbers("labels", BD_SHAPE(4))))
CASE(add_broadcast, bd_add_broadcast(g, x[0], x[1]))
CASE(mul_broadcast, bd_mul_broadcast(g, x[0], x[1]))
CASE(small_net, bd_cross_entropy(g, bd_linear(g, bd_tanh(g, bd_linear(g, x[0], 5, true, "fc1")), 3, true, "fc2"),
                                 whole_numbers("labels", BD_SHAPE(4))))

#define MATRIX BD_SHAPE(3, 5)
#define CUBE BD_SHAPE(2, 3, 4)
#define IMAGES BD_SHAPE(2, 5, 4, 2)
static const gradient_case cases[] = {
#define ONE(build, kind, shape)                                                                                        \
    {                                                                                                                  \
#build, build, kind, 1,                                                                                        \
        {                                                                                                              \
            shape                                                                                                      \
        }                                                                                                              \
    }
#define TWO(build, kind, a, b)                                                                                         \
    {                                                                                                                  \
#build, build, kind, 2,                                                                                        \
        {                                                                                                              \
            a, b                                                                                                       \
        }                                                                                                              \
    }
    ONE(cast, SIGNED, MATRIX),
    ONE(neg, SIGNED, MATRIX),
    ONE(absolute, SIGNED, MATRIX),
    ONE(square_root, POSITIVE, MATRIX),
    ONE(exponential, SIGNED, MATRIX),
    ONE(logarithm, POSITIVE, MATRIX),
    ONE(hyperbolic_tangent, SIGNED, MATRIX),
    ONE(sigmoid, SIGNED, MATRIX),
    ONE(error_function, SIGNED, MATRIX),
    ONE(relu, SIGNED, MATRIX),
    TWO(add, SIGNED, MATRIX, MATRIX),
    TWO(sub, SIGNED, MATRIX, MATRIX),
    TWO(mul, SIGNED, MATRIX, MATRIX),
    TWO(quotient, SIGNED, MATRIX, MATRIX),
    TWO(larger, SIGNED, MATRIX, MATRIX),
    TWO(smaller, SIGNED, MATRIX, MATRIX),
    TWO(power, POSITIVE, MATRIX, MATRIX),
    TWO(select_by_sign, SIGNED, MATRIX, MATRIX),
    ONE(square, SIGNED, MATRIX),
    ONE(used_often, SIGNED, MATRIX),
    TWO(steps, SIGNED, MATRIX, MATRIX),
    ONE(not_finite, SIGNED, MATRIX),
    ONE(broadcast_leading, SIGNED, BD_SHAPE(4)),
    ONE(broadcast_last, SIGNED, BD_SHAPE(2, 3, 1)),
    ONE(broadcast_scalar, SIGNED, { 0 }),
    ONE(broadcast_apart, SIGNED, BD_SHAPE(1, 3, 1)),
    ONE(broadcast_ones, SIGNED, BD_SHAPE(1, 3, 1)),
    ONE(reshape, SIGNED, BD_SHAPE(2, 6)),
    ONE(permute, SIGNED, BD_SHAPE(2, 3, 1, 4)),
    ONE(slice, SIGNED, BD_SHAPE(2, 4, 3)),
    ONE(slice_end, SIGNED, BD_SHAPE(2, 4, 3)),
    ONE(pad, SIGNED, BD_SHAPE(2, 4, 3)),
    TWO(concat, SIGNED, BD_SHAPE(2, 3, 2), BD_SHAPE(2, 1, 2)),
    TWO(pack, SIGNED, BD_SHAPE(2, 3), BD_SHAPE(7)),
    ONE(gather, SIGNED, BD_SHAPE(3, 2)),
    ONE(scatter_add, SIGNED, BD_SHAPE(2, 4, 3)),
    ONE(sum_first, SIGNED, CUBE),
    ONE(sum_middle, SIGNED, CUBE),
    ONE(sum_middle_dropped, SIGNED, CUBE),
    ONE(sum_all, SIGNED, CUBE),
    ONE(mean_first, SIGNED, CUBE),
    ONE(mean_middle, SIGNED, CUBE),
    ONE(deviations_first, SIGNED, CUBE),
    ONE(deviations_middle, SIGNED, CUBE),
    ONE(maximum_last, SIGNED, CUBE),
    ONE(maximum_first, SIGNED, CUBE),
    ONE(behind_argmax, SIGNED, MATRIX),
    TWO(matmul_nn, SIGNED, BD_SHAPE(2, 3, 4), BD_SHAPE(2, 4, 5)),
    TWO(matmul_tn, SIGNED, BD_SHAPE(2, 4, 3), BD_SHAPE(2, 4, 5)),
    TWO(matmul_nt, SIGNED, BD_SHAPE(2, 3, 4), BD_SHAPE(2, 5, 4)),
    TWO(matmul_tt, SIGNED, BD_SHAPE(4, 3), BD_SHAPE(5, 4)),
    TWO(conv2d, SIGNED, BD_SHAPE(2, 5, 4, 3), BD_SHAPE(3, 2, 3, 2)),
    TWO(conv2d_data, SIGNED, BD_SHAPE(2, 3, 4, 2), BD_SHAPE(3, 2, 3, 2)),
    TWO(conv2d_weight, SIGNED, BD_SHAPE(2, 5, 4, 3), BD_SHAPE(2, 3, 4, 2)),
    TWO(conv2d_sparse, SIGNED, BD_SHAPE(2, 6, 4, 1), BD_SHAPE(1, 2, 1, 2)),
    ONE(max_pool, SIGNED, IMAGES),
    ONE(max_pool_overlapping, SIGNED, IMAGES),
    ONE(avg_pool, SIGNED, IMAGES),
    ONE(avg_pool_overlapping, SIGNED, IMAGES),
    ONE(max_pool_grad, SIGNED, BD_SHAPE(2, 2, 2, 2)),
    ONE(max_pool_grad_overlapping, SIGNED, BD_SHAPE(2, 3, 4, 2)),
    ONE(avg_pool_grad_overlapping, SIGNED, BD_SHAPE(2, 3, 4, 2)),
    TWO(depthwise, SIGNED, BD_SHAPE(2, 5, 4, 3), BD_SHAPE(3, 2, 1, 3)),
    TWO(depthwise_data, SIGNED, BD_SHAPE(2, 3, 4, 3), BD_SHAPE(3, 2, 1, 3)),
    ONE(depthwise_layer, SIGNED, BD_SHAPE(2, 5, 4, 3)),
    TWO(grouped, SIGNED, BD_SHAPE(2, 5, 4, 6), BD_SHAPE(3, 2, 2, 3)),
    ONE(global_average, SIGNED, IMAGES),
    ONE(attention, SIGNED, BD_SHAPE(2, 3, 4)),
    ONE(attention_alone, SIGNED, BD_SHAPE(2, 3, 18)),
    ONE(attention_causal, SIGNED, BD_SHAPE(2, 5, 6)),
    ONE(attention_dropout, SIGNED, BD_SHAPE(2, 3, 18)),
    ONE(attention_causal_dropout, SIGNED, BD_SHAPE(1, 19, 6)), /* more than one block of random numbers */
    ONE(linear, SIGNED, BD_SHAPE(4, 2)),
    ONE(linear_rows, SIGNED, BD_SHAPE(2, 2, 3)),
    ONE(conv_layer, SIGNED, BD_SHAPE(2, 4, 3, 2)),
    ONE(batch_norm_training, SIGNED, BD_SHAPE(6, 3)),
    ONE(batch_norm_images, SIGNED, IMAGES),
    ONE(batch_norm_inference, SIGNED, BD_SHAPE(6, 3)),
    ONE(layer_norm, SIGNED, BD_SHAPE(2, 3, 5)),
    ONE(dropout, SIGNED, MATRIX),
    ONE(gelu, SIGNED, MATRIX),
    ONE(softmax, SIGNED, MATRIX),
    ONE(cross_entropy, SIGNED, BD_SHAPE(4, 3)),
    TWO(add_broadcast, SIGNED, BD_SHAPE(2, 1, 3), BD_SHAPE(4, 1)),
    TWO(mul_broadcast, SIGNED, BD_SHAPE(2, 1, 3), BD_SHAPE(4, 1)),
    ONE(small_net, SIGNED, BD_SHAPE(4, 2)),
};

START_TEST(agrees_with_central_differences)
{
    const gradient_case *c = &cases[_i];
    bd_tensor x[MAX_OPERANDS];
    for (int i = 0; i < c->operand_count; i++) {
        char name[8];
        snprintf(name, sizeof name, "x%d", i);
        x[i] = operand(name, c->shapes[i]);
    }
    check_graph(c->name, c->build(graph, x), c->kind);
}
END_TEST

/* ---- what differences cannot see ---- */

/* The gradient of sum(y) for x, whose values are given. */
static void expect_gradient(bd_tensor y, bd_tensor x, const double *values, const double *expected)
{
    bd_error error;
    bd_tensor seed = bd_constant(graph, bd_tensor_shape(graph, y), 1), gradient;
    ok(bd_gradient(graph, y, seed, &x, 1, &gradient, &error), &error);
    ck_assert_int_ne(gradient, BD_NONE);
    variables = calloc((size_t)graph->node_count, sizeof *variables);
    ck_assert_ptr_nonnull(variables);
    fill_variables(SIGNED);
    double result[64], *results = result;
    ck_assert_int_le(elements(x), 64);
    for (int64_t i = 0; i < elements(x); i++)
        variables[x][i] = values[i];
    evaluate(&gradient, &results, 1);
    for (int64_t i = 0; i < elements(x); i++)
        ck_assert_msg(result[i] == expected[i], "element %lld: %g, not %g", (long long)i, result[i], expected[i]);
}

START_TEST(equal_maxima_share)
{
    bd_tensor x = operand("x", BD_SHAPE(2, 4));
    expect_gradient(bd_maximum(graph, x, 1, 1, false), x, (double[]){ 1, 3, 3, 2, 5, 5, 5, 5 },
                    (double[]){ 0, 0.5, 0.5, 0, 0.25, 0.25, 0.25, 0.25 });
}
END_TEST

START_TEST(equal_operands_share)
{
    bd_tensor x = operand("x", BD_SHAPE(3)), two = bd_constant(graph, BD_SHAPE(3), 2);
    expect_gradient(bd_max(graph, x, two), x, (double[]){ 1, 2, 3 }, (double[]){ 0, 0.5, 1 });
}
END_TEST

START_TEST(first_of_equal_maxima_pools)
{
    bd_tensor x = operand("x", BD_SHAPE(1, 2, 2, 1));
    expect_gradient(bd_max_pool(graph, x, plain), x, (double[]){ 1, 4, 4, 4 }, (double[]){ 0, 1, 0, 0 });
}
END_TEST

START_TEST(second_derivative_of_pooling_follows_the_first_maximum)
{
    bd_tensor x = bd_constant(graph, BD_SHAPE(1, 2, 2, 1), -1), dy = operand("dy", BD_SHAPE(1, 1, 1, 1));
    bd_tensor weights = whole_numbers("weights", BD_SHAPE(1, 2, 2, 1));
    bd_tensor dx = bd_max_pool_grad(graph, x, dy, plain);
    /* of four equal values the first counts: the gradient is the first weight */
    bd_tensor first = bd_slice(graph, bd_slice(graph, weights, 1, 0, 1), 2, 0, 1);
    bd_error error;
    bd_tensor gradient;
    ok(bd_gradient(graph, dx, weights, &dy, 1, &gradient, &error), &error);
    variables = calloc((size_t)graph->node_count, sizeof *variables);
    ck_assert_ptr_nonnull(variables);
    fill_variables(SIGNED);
    variables[weights][0] = 7;
    double got, expected;
    evaluate((bd_tensor[]){ gradient, first }, (double *[]){ &got, &expected }, 2);
    ck_assert_double_eq(got, 7);
    ck_assert_double_eq(got, expected);
}
END_TEST

START_TEST(relu_at_zero_and_powers_at_zero)
{
    bd_tensor x = operand("x", BD_SHAPE(3));
    bd_tensor y = bd_add(graph, bd_relu(graph, x), bd_pow(graph, x, bd_constant(graph, BD_SHAPE(3), 2)));
    expect_gradient(y, x, (double[]){ -1, 0, 1 }, (double[]){ -2, 0, 3 });
}
END_TEST

START_TEST(power_has_no_infinite_slope_where_its_limit_is_zero)
{
    bd_tensor x = operand("x", BD_SHAPE(2));
    bd_tensor zero = bd_constant(graph, BD_SHAPE(2), 0);
    /* 0^x for x > 0, and x^0 at 0 */
    expect_gradient(bd_add(graph, bd_pow(graph, zero, x), bd_pow(graph, bd_sub(graph, x, x), zero)), x,
                    (double[]){ 1, 2 }, (double[]){ 0, 0 });
}
END_TEST

START_TEST(what_does_not_reach_has_no_gradient)
{
    bd_error error;
    bd_tensor x = operand("x", BD_SHAPE(2)), other = operand("other", BD_SHAPE(2));
    bd_tensor y = bd_mul(graph, bd_sign(graph, x), other), z = bd_neg(graph, y);
    bd_tensor seed = bd_constant(graph, BD_SHAPE(2), 1), wrt[] = { x, other, z, y }, gradients[4];
    ok(bd_gradient(graph, y, seed, wrt, 4, gradients, &error), &error);
    ck_assert_int_eq(gradients[0], BD_NONE);
    ck_assert_int_ne(gradients[1], BD_NONE);
    ck_assert_int_eq(gradients[2], BD_NONE);
    ck_assert_int_eq(gradients[3], seed);
}
END_TEST

static int count_operations(bd_tensor from, bd_op op)
{
    int count = 0;
    for (bd_tensor t = from; t < graph->node_count; t++)
        count += bd_node_at(graph, t)->op == op;
    return count;
}

START_TEST(no_work_that_nobody_wants)
{
    bd_error error;
    bd_tensor x = operand("x", BD_SHAPE(8, 6));
    bd_tensor hidden = bd_relu(graph, bd_linear(graph, x, 5, true, "fc1"));
    bd_tensor loss =
        bd_cross_entropy(graph, bd_linear(graph, hidden, 3, true, "fc2"), whole_numbers("labels", BD_SHAPE(8)));
    const char *const names[] = { "fc1/weight", "fc1/bias", "fc2/weight", "fc2/bias" };
    bd_tensor wrt[4], gradients[4];
    for (int i = 0; i < 4; i++)
        wrt[i] = bd_graph_find_variable(graph, names[i]);
    bd_tensor seed = bd_constant(graph, BD_SHAPE(8), 1), start = graph->node_count;
    ok(bd_gradient(graph, loss, seed, wrt, 4, gradients, &error), &error);
    /* two for the weights and one for the hidden values: the input's is never computed */
    ck_assert_int_eq(count_operations(start, BD_OP_MATMUL), 3);
    /* one for each bias, and none for broadcasts within the loss but that of log(sum), whose operand is a sum
     * already */
    ck_assert_int_eq(count_operations(start, BD_OP_SUM), 2);
    ck_assert_int_eq(count_operations(start, BD_OP_MAXIMUM), 0);
    /* relu's gradient reads its result, not its operand */
    bd_tensor before_relu = bd_node_at(graph, hidden)->inputs[0];
    for (bd_tensor t = start; t < graph->node_count; t++)
        for (int k = 0; k < bd_node_at(graph, t)->input_count; k++)
            ck_assert_int_ne(bd_node_at(graph, t)->inputs[k], before_relu);
    /* roles and layers: gradients of parameters are gradients, what is within the loss is a statistic */
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(bd_node_at(graph, gradients[i])->role, BD_ROLE_GRADIENT);
        ck_assert_str_eq(bd_node_layer(graph, gradients[i]), i < 2 ? "fc1" : "fc2");
    }
    for (bd_tensor t = start; t < graph->node_count; t++) {
        const bd_node *node = bd_node_at(graph, t);
        ck_assert(node->role == BD_ROLE_GRADIENT || node->role == BD_ROLE_STATISTIC);
        if (node->op == BD_OP_MATMUL)
            for (int k = 0; k < 2; k++)
                ck_assert_int_ne(bd_node_at(graph, node->inputs[k])->role, BD_ROLE_STATISTIC);
    }
    ck_assert_int_eq(graph->role, BD_ROLE_ACTIVATION);
    ck_assert_int_eq(graph->layer, 0);
}
END_TEST

START_TEST(batch_norm_needs_one_pass_over_its_gradient)
{
    bd_error error;
    bd_tensor x = operand("x", BD_SHAPE(8, 4, 4, 6)), y = bd_batch_norm(graph, x, true, 0.9f, 1e-5f, "bn");
    bd_tensor wrt[] = { x, bd_graph_find_variable(graph, "bn/gamma"), bd_graph_find_variable(graph, "bn/beta") };
    bd_tensor gradients[3], seed = operand("seed", BD_SHAPE(8, 4, 4, 6)), start = graph->node_count;
    ok(bd_gradient(graph, y, seed, wrt, 3, gradients, &error), &error);
    /* sum(dy) and sum(dy * centered), neither of which waits for the other */
    ck_assert_int_eq(count_operations(start, BD_OP_SUM), 2);
}
END_TEST

START_TEST(batch_norm_keeps_running_statistics)
{
    bd_tensor x = operand("x", BD_SHAPE(4, 1));
    bd_batch_norm(graph, x, true, 0.75f, 0, "bn");
    bd_tensor mean = bd_graph_find_variable(graph, "bn/running_mean"),
              var = bd_graph_find_variable(graph, "bn/running_var");
    variables = calloc((size_t)graph->node_count, sizeof *variables);
    ck_assert_ptr_nonnull(variables);
    fill_variables(SIGNED);
    for (int i = 0; i < 4; i++)
        variables[x][i] = 1 + 2 * i; /* mean 4, unbiased variance 20 / 3 */
    variables[mean][0] = 8;
    variables[var][0] = 2;
    evaluate(NULL, NULL, 0);
    ck_assert_double_eq(variables[mean][0], 7);
    ck_assert_double_eq_tol(variables[var][0], 2 + (20.0 / 3 - 2) / 4, 1e-14);
}
END_TEST

/* A mean of squares in F16 neither overflows nor loses what is small. The bound: each of the roundings on the way to
 * one output (statistics of 3 or 4 roundings each, one of a square root, a quotient and products) is 2^-11 relative,
 * and |y| < 4: 16 * 2^-11 * 4. */
START_TEST(normalisation_survives_half_precision)
{
    bd_error error;
    bd_precision precision;
    ok(bd_precision_parse("fp16", &precision, &error), &error);
    const int64_t rows = 70000; /* more than the largest F16 */
    bd_tensor x = operand("x", BD_SHAPE(rows, 1)), y = bd_batch_norm(graph, x, true, 0.9f, 1e-5f, "bn");
    ok(bd_graph_apply_precision(graph, &precision, &error), &error);
    variables = calloc((size_t)graph->node_count, sizeof *variables);
    ck_assert_ptr_nonnull(variables);
    fill_variables(SIGNED);
    variables[bd_graph_find_variable(graph, "bn/gamma")][0] = 1;
    variables[bd_graph_find_variable(graph, "bn/beta")][0] = 0;
    double sum = 0, squares = 0, *result = malloc((size_t)rows * sizeof *result);
    ck_assert_ptr_nonnull(result);
    for (int64_t i = 0; i < rows; i++)
        variables[x][i] = bd_round(BD_F16, variables[x][i] + 3);
    for (int64_t i = 0; i < rows; i++)
        sum += variables[x][i];
    for (int64_t i = 0; i < rows; i++)
        squares += pow(variables[x][i] - sum / (double)rows, 2);
    ok(bd_interpret_arrays(graph, false, variables, &y, &result, 1, &error), &error);
    for (int64_t i = 0; i < rows; i++) {
        double expected = (variables[x][i] - sum / (double)rows) / sqrt(squares / (double)rows + 1e-5);
        ck_assert_msg(fabs(result[i] - expected) <= 16 * 0x1p-11 * 4, "%lld: %g, not %g", (long long)i, result[i],
                      expected);
    }
    free(result);
}
END_TEST

/* Logits that would overflow exp() in F16 and in F32: the loss is their difference, and its gradient is finite. */
START_TEST(cross_entropy_survives_large_logits)
{
    bd_error error;
    bd_precision precision;
    ok(bd_precision_parse("fp16", &precision, &error), &error);
    bd_tensor x = operand("x", BD_SHAPE(1, 3)), label = whole_numbers("labels", BD_SHAPE(1)),
              loss = bd_cross_entropy(graph, x, label);
    bd_tensor gradient, seed = bd_constant(graph, BD_SHAPE(1), 1);
    ok(bd_gradient(graph, loss, seed, &x, 1, &gradient, &error), &error);
    ok(bd_graph_apply_precision(graph, &precision, &error), &error);
    variables = calloc((size_t)graph->node_count, sizeof *variables);
    ck_assert_ptr_nonnull(variables);
    fill_variables(SIGNED);
    const double logits[] = { 30000, -60000, 29000 };
    for (int i = 0; i < 3; i++)
        variables[x][i] = bd_round(BD_F16, logits[i]);
    variables[label][0] = 2;
    double value, slopes[3];
    ok(bd_interpret_arrays(graph, false, variables, (bd_tensor[]){ loss, gradient }, (double *[]){ &value, slopes }, 2,
                           &error),
       &error);
    ck_assert_double_eq(value, variables[x][0] - variables[x][2]);
    ck_assert(slopes[0] == 1 && slopes[1] == 0 && slopes[2] == -1);
}
END_TEST

START_TEST(wrong_arguments)
{
    bd_error error;
    bd_tensor x = operand("x", BD_SHAPE(2)), wrong = bd_constant(graph, BD_SHAPE(3), 1), gradient;
    ck_assert_int_eq(bd_gradient(graph, x, wrong, &x, 1, &gradient, &error), BD_ERROR_ARGUMENT);
    ck_assert_str_eq(error.message, "bd_gradient: the loss has shape 2, its gradient 3");
    tear_down();
    set_up();
    x = operand("x", BD_SHAPE(2));
    ck_assert_int_eq(bd_gradient(graph, x, x, (bd_tensor[]){ 99 }, 1, &gradient, &error), BD_ERROR_ARGUMENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gradient");
    TCase *differences = tcase_create("differences"), *rules = tcase_create("rules");
    tcase_set_timeout(differences, 60);
    tcase_add_checked_fixture(differences, set_up, tear_down);
    tcase_add_loop_test(differences, agrees_with_central_differences, 0, (int)(sizeof cases / sizeof *cases));
    suite_add_tcase(suite, differences);
    tcase_add_checked_fixture(rules, set_up, tear_down);
    tcase_add_test(rules, equal_maxima_share);
    tcase_add_test(rules, equal_operands_share);
    tcase_add_test(rules, first_of_equal_maxima_pools);
    tcase_add_test(rules, second_derivative_of_pooling_follows_the_first_maximum);
    tcase_add_test(rules, relu_at_zero_and_powers_at_zero);
    tcase_add_test(rules, power_has_no_infinite_slope_where_its_limit_is_zero);
    tcase_add_test(rules, what_does_not_reach_has_no_gradient);
    tcase_add_test(rules, no_work_that_nobody_wants);
    tcase_add_test(rules, batch_norm_needs_one_pass_over_its_gradient);
    tcase_add_test(rules, batch_norm_keeps_running_statistics);
    tcase_add_test(rules, normalisation_survives_half_precision);
    tcase_add_test(rules, cross_entropy_survives_large_logits);
    tcase_add_test(rules, wrong_arguments);
    suite_add_tcase(suite, rules);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
