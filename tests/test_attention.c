/* Dropout of attention: which weights go, how many, and that seed, step, sequence, head and place decide, but no
 * format. The cases of check/ hold every kernel against the reference, which is what is looked at here, and
 * test_gradient.c its gradient against differences.
 *
 * Queries and keys are 0, so that all weights are 1 / TOKENS, and the values are the rows of a unit matrix: then the
 * result is the weights, 0 or 1 / (TOKENS (1 - rate)). */
#include "../backends/reference/interpret.h"
#include "../engine/control.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

/* Two sixteens and a half. */
enum { SEQUENCES = 3, TOKENS = 40, HEADS = 2, WIDTH = HEADS * TOKENS, WEIGHTS = SEQUENCES * TOKENS * WIDTH };
static const double RATE = 0.2f;

typedef struct weights {
    double of[SEQUENCES][TOKENS /* of queries */][HEADS][TOKENS /* of keys */];
} weights;

typedef struct draw {
    uint32_t seed, step;
    int stream; /* as many draw before */
    bd_format format;
} draw;

static void drop(draw d, weights *result)
{
    bd_graph *graph;
    bd_error error = { 0 };
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    const bd_tensor qkv = bd_variable(graph, "qkv", BD_ROLE_FIXED, d.format, BD_SHAPE(SEQUENCES, TOKENS, 3 * WIDTH),
                                      (bd_init){ BD_INIT_CONSTANT, 0 });
    const bd_tensor control = bd_variable(graph, "control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(BD_CONTROL_WORD_COUNT),
                                          (bd_init){ BD_INIT_CONSTANT, 0 });
    bd_tensor y = BD_NONE;
    for (int i = 0; i <= d.stream; i++)
        y = bd_self_attention(graph, qkv, HEADS, false, (float)RATE, true);
    ck_assert_int_ne(y, BD_NONE);
    graph->nodes[y].format = d.format;
    double *variables[16] = { 0 };
    ck_assert_int_lt(graph->node_count, 16);
    variables[control] = calloc(BD_CONTROL_WORD_COUNT, sizeof(double));
    variables[control][BD_CONTROL_SEED_LOW] = d.seed;
    variables[control][BD_CONTROL_STEP] = d.step;
    variables[qkv] = calloc((size_t)3 * WEIGHTS, sizeof(double));
    for (int row = 0; row < SEQUENCES * TOKENS; row++)
        for (int head = 0; head < HEADS; head++)
            variables[qkv][((row * 3 + 2) * HEADS + head) * TOKENS + row % TOKENS] = 1;
    double *values = &result->of[0][0][0][0];
    ck_assert_msg(bd_interpret_arrays(graph, false, variables, &y, &values, 1, &error) == BD_OK, "%s", error.message);
    free(variables[control]);
    free(variables[qkv]);
    bd_graph_destroy(&graph);
}

static const draw first = { 7, 12, 0, BD_F32 };

/* Five deviations of a mean of `count` numbers that are `share` of the time one thing: 6 in 10 million are farther
 * off. */
static double allowance(double share, int count)
{
    return 5 * sqrt(share * (1 - share) / count);
}

static bool is_dropped(const weights *w, int sequence, int query, int head, int key)
{
    return w->of[sequence][query][head][key] == 0;
}

#define EACH_WEIGHT                                                                                                    \
    for (int z = 0; z < SEQUENCES; z++)                                                                                \
        for (int h = 0; h < HEADS; h++)                                                                                \
            for (int q = 0; q < TOKENS; q++)                                                                           \
                for (int k = 0; k < TOKENS; k++)

START_TEST(as_many_go_as_the_rate_says)
{
    weights w;
    drop(first, &w);
    const double left = 1 / (TOKENS * (1 - RATE));
    double sum = 0;
    int dropped = 0;
    EACH_WEIGHT
    {
        const double x = w.of[z][q][h][k];
        ck_assert_msg(x == 0 || fabs(x - left) < 1e-6 * left, "a weight of %g, not 0 or %g", x, left);
        dropped += x == 0;
        sum += x * TOKENS;
    }
    ck_assert_double_eq_tol((double)dropped / WEIGHTS, RATE, allowance(RATE, WEIGHTS));
    ck_assert_double_eq_tol(sum / WEIGHTS, 1, allowance(RATE, WEIGHTS) / (1 - RATE));
}
END_TEST

/* Of two places both are dropped as often as those of numbers that have nothing to do with each other: in one head,
 * whose random numbers come in fours of places that are 8 apart, and of heads and sequences. */
START_TEST(places_are_independent)
{
    static const struct {
        int z, h, q, k;
    } apart[] = { { 0, 0, 0, 1 },  { 0, 0, 0, 8 },  { 0, 0, 1, 0 }, { 0, 0, 8, 0 }, { 0, 0, 8, 8 },
                  { 0, 0, 16, 0 }, { 0, 0, 0, 16 }, { 0, 1, 0, 0 }, { 1, 0, 0, 0 }, { 0, 0, 1, 1 } };
    weights w;
    drop(first, &w);
    const int i = _i;
    int both = 0, count = 0;
    EACH_WEIGHT
    if (z + apart[i].z < SEQUENCES && h + apart[i].h < HEADS && q + apart[i].q < TOKENS && k + apart[i].k < TOKENS) {
        both += is_dropped(&w, z, q, h, k) &&
                is_dropped(&w, z + apart[i].z, q + apart[i].q, h + apart[i].h, k + apart[i].k);
        count++;
    }
    ck_assert_double_eq_tol((double)both / count, RATE * RATE, allowance(RATE * RATE, count));
}
END_TEST

/* Another seed, step or attention of the graph drops others. */
START_TEST(seed_step_and_stream_decide)
{
    const draw others[] = { { 8, 12, 0, BD_F32 }, { 7, 13, 0, BD_F32 }, { 7, 12, 1, BD_F32 } };
    weights a, b;
    drop(first, &a);
    drop(others[_i], &b);
    int differ = 0;
    EACH_WEIGHT
    differ += is_dropped(&a, z, q, h, k) != is_dropped(&b, z, q, h, k);
    const double expected = 2 * RATE * (1 - RATE);
    ck_assert_double_eq_tol((double)differ / WEIGHTS, expected, allowance(expected, WEIGHTS));
}
END_TEST

START_TEST(formats_do_not_decide)
{
    const bd_format formats[] = { BD_F32, BD_F16, BD_BF16 };
    weights a, b;
    drop(first, &a);
    drop((draw){ first.seed, first.step, first.stream, formats[_i] }, &b);
    EACH_WEIGHT
    ck_assert(is_dropped(&a, z, q, h, k) == is_dropped(&b, z, q, h, k));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("attention");
    TCase *tests = tcase_create("dropout");
    tcase_add_test(tests, as_many_go_as_the_rate_says);
    tcase_add_loop_test(tests, places_are_independent, 0, 10);
    tcase_add_loop_test(tests, seed_step_and_stream_decide, 0, 3);
    tcase_add_loop_test(tests, formats_do_not_decide, 0, 3);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
