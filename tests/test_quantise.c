/* Learned steps of operands (LSQ) against the formulas of arXiv:1902.08153, section 2, written out here: values, the
 * gradient of what is quantised and that of the step, with its scale. The reference rounds each operation once to F32,
 * sums too: six of them before a ratio of up to 16 is rounded, so elements must lie 6 * 16 * 2^-24 < 1e-5 off the
 * points where rounding or clipping changes. */
#include "../backends/reference/interpret.h"
#include "../engine/node.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, COLUMNS = 24, COUNT = ROWS * COLUMNS, MAX_NODES = 96 };
#define TOLERANCE (COUNT * 0x1p-24)

static bd_graph *graph;
static bd_precision precision;
static double *variables[MAX_NODES];
static double x_values[COUNT], dy_values[COUNT];

static void tear_down(void)
{
    bd_graph_destroy(&graph);
    for (int i = 0; i < MAX_NODES; i++)
        free(variables[i]);
    memset(variables, 0, sizeof variables);
}

static void set_up(void)
{
    bd_error error = { 0 };
    ck_assert_int_eq(bd_graph_create(&graph, NULL), BD_OK);
    ck_assert_msg(!bd_precision_parse("qw=int4,qa=int4,operands=learned", &precision, &error), "%s", error.message);
    graph->precision = &precision;
    graph->starting = true;
    uint32_t state = 1;
    for (int i = 0; i < COUNT; i++) {
        state = state * 1664525u + 1013904223u; /* Numerical Recipes' generator */
        x_values[i] = (float)((state >> 8) * 0x1p-23 - 1);
        dy_values[i] = (float)(((state >> 4) & 0xffff) * 0x1p-15 - 1);
    }
}

static bd_tensor given(bd_role role, const char *name, bd_shape shape, const double *values)
{
    const bd_tensor tensor = bd_variable(graph, name, role, BD_F32, shape, (bd_init){ BD_INIT_CONSTANT, 0 });
    const size_t count = (size_t)bd_shape_elements(&shape);
    ck_assert_int_lt(tensor, MAX_NODES);
    variables[tensor] = calloc(count, sizeof(double));
    if (values)
        memcpy(variables[tensor], values, count * sizeof(double));
    return tensor;
}

typedef struct expectation {
    double step, least, most, y[COUNT], dx[COUNT], dstep;
} expectation;

/* Where a step begins. */
static double mean_step(const double *x, double most)
{
    double mean = 0;
    for (int i = 0; i < COUNT; i++)
        mean += fabs(x[i]) / COUNT;
    return 2 * mean / sqrt(most);
}

static void expect(expectation *e, const double *x, double learned, double features)
{
    e->step = mean_step(x, e->most) + learned;
    e->dstep = 0;
    for (int i = 0; i < COUNT; i++) {
        const double ratio = x[i] / e->step, clipped = fmin(fmax(ratio, e->least), e->most);
        const bool inside = ratio == clipped;
        /* The cases must be clear of the edges; a ratio of 0 and one far outside are. */
        if (inside)
            ck_assert_double_gt(fabs(ratio - floor(ratio) - 0.5), 1e-5);
        ck_assert_double_gt(fabs(ratio - e->least) + (ratio == 0), 1e-5);
        ck_assert_double_gt(fabs(ratio - e->most), 1e-5);
        e->y[i] = e->step * rint(clipped);
        e->dx[i] = inside ? dy_values[i] : 0;
        e->dstep += dy_values[i] * (inside ? rint(ratio) - ratio : clipped);
    }
    e->dstep /= sqrt(features * e->most);
}

static void run(bd_tensor x, bd_tensor y, const char *step, double moved, const expectation *e)
{
    bd_error error = { 0 };
    const bd_tensor learned = bd_graph_find_variable(graph, step);
    ck_assert_int_ne(learned, BD_NONE);
    for (bd_tensor t = 0; t < graph->node_count;
         t++) /* what bd_quantise made: the step, and the start that it has not yet */
        if (graph->nodes[t].op == BD_OP_VARIABLE && !variables[t])
            variables[t] = calloc(1, sizeof(double));
    *variables[learned] = moved;
    const bd_tensor seed = given(BD_ROLE_FIXED, "/dy", BD_SHAPE(ROWS, COLUMNS), dy_values);
    bd_tensor gradients[2];
    bd_status status = bd_gradient(graph, y, seed, (const bd_tensor[]){ x, learned }, 2, gradients, &error);
    ck_assert_msg(!status, "%s", error.message);
    ck_assert_msg(!bd_graph_apply_precision(graph, &precision, &error), "%s", error.message);
    double values[COUNT], dx[COUNT], dstep;
    status = bd_interpret_arrays(graph, false, variables, (const bd_tensor[]){ y, gradients[0], gradients[1] },
                                 (double *const[]){ values, dx, &dstep }, 3, &error);
    ck_assert_msg(!status, "%s", error.message);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_double_le(fabs(values[i] - e->y[i]), TOLERANCE * fabs(e->y[i]));
        ck_assert_double_le(fabs(dx[i] - e->dx[i]), TOLERANCE * fabs(e->dx[i]));
    }
    /* Each term of the sum is at most |dy| times the bound, and rounded a few times. */
    ck_assert_double_le(fabs(dstep - e->dstep), TOLERANCE * COUNT * e->most / sqrt(COUNT * e->most));
    ck_assert_double_gt(fabs(e->dstep), 100 * TOLERANCE);
}

/* Any other graph than one that finds the start takes it as it was kept, whatever it reads, and keeps it. */
START_TEST(kept_starts_are_read)
{
    graph->starting = false;
    const bd_tensor x = given(BD_ROLE_WEIGHT, "w", BD_SHAPE(ROWS, COLUMNS), x_values);
    const bd_tensor y = bd_quantise(graph, x, BD_ROLE_WEIGHT_OPERAND), kept = bd_graph_find_variable(graph, "qw_start");
    expectation e = { .least = -8, .most = 7 };
    ck_assert_int_ne(kept, BD_NONE);
    variables[kept] = calloc(1, sizeof(double));
    *variables[kept] = 0.25;
    expect(&e, x_values, 0.25 - mean_step(x_values, e.most) + 0.0625, COUNT);
    run(x, y, "qw_step", 0.0625, &e);
    ck_assert_double_eq(*variables[kept], 0.25);
    for (bd_tensor t = 0; t < graph->node_count; t++)
        ck_assert_int_ne(graph->nodes[t].op, BD_OP_ASSIGN);
}
END_TEST

/* Weights: -8 to 7, and N is all of them. The step has moved since it began. */
START_TEST(weights)
{
    static const double moved = 0.0625;
    expectation e = { .least = -8, .most = 7 };
    expect(&e, x_values, moved, COUNT);
    const bd_tensor x = given(BD_ROLE_WEIGHT, "w", BD_SHAPE(ROWS, COLUMNS), x_values);
    run(x, bd_quantise(graph, x, BD_ROLE_WEIGHT_OPERAND), "qw_step", moved, &e);
}
END_TEST

/* Rectified activations: 0 to 15, N is a row's features, and what is below 0 has no gradient anyway. */
START_TEST(rectified_activations)
{
    double rectified[COUNT];
    for (int i = 0; i < COUNT; i++)
        rectified[i] = fmax(x_values[i], 0);
    expectation e = { .least = 0, .most = 15 };
    expect(&e, rectified, 0, COLUMNS);
    for (int i = 0; i < COUNT; i++)
        e.dx[i] = x_values[i] > 0 ? e.dx[i] : 0;
    const bd_tensor x = given(BD_ROLE_ACTIVATION, "x", BD_SHAPE(ROWS, COLUMNS), x_values);
    const bd_tensor y = bd_quantise_operand(graph, bd_relu(graph, x));
    run(x, y, "qa_step", 0, &e);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quantise");
    TCase *tcase = tcase_create("learned steps");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, kept_starts_are_read);
    tcase_add_test(tcase, weights);
    tcase_add_test(tcase, rectified_activations);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
