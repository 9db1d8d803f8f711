/* Optimizers, schedules, layouts and permutations, each against numbers worked out here by the published rule.
 * The graphs are evaluated by the reference interpreter without rounding, so only double's own rounding
 * separates the two. */
#include "../backends/reference/interpret.h"
#include "../engine/control.h"
#include "../engine/feed.h"
#include "../engine/optimizer.h"
#include "../engine/schedule.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Two parameters of 3 and 2 elements, one group of 512. */
enum { COUNT = 5, OFFSET = BD_LAYOUT_ALIGNMENT, ELEMENTS = 2 * BD_LAYOUT_ALIGNMENT, WORDS = BD_CONTROL_BYTES / 4 };
static const int place[COUNT] = { 0, 1, 2, OFFSET, OFFSET + 1 };

typedef struct harness {
    bd_graph *graph;
    bd_layout layout;
    double *variables[256];
    double *gradient, *weights, *control;
} harness;

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

static void must(bd_status status, const bd_error *error)
{
    ck_assert_msg(status == BD_OK, "%s", error->message);
}

static void setup(harness *h, const bd_optimizer *optimizer, const char *policy, const float *rates, int rate_count)
{
    bd_error error = { 0 };
    bd_precision precision;
    *h = (harness){ 0 };
    must(bd_precision_parse(policy, &precision, &error), &error);
    must(bd_graph_create(&h->graph, &error), &error);
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    bd_push_layer(h->graph, "a");
    bd_parameter(h->graph, "w", BD_SHAPE(3), zero);
    bd_pop_layer(h->graph);
    bd_push_layer(h->graph, "b");
    bd_parameter(h->graph, "w", BD_SHAPE(1, 2), zero);
    bd_pop_layer(h->graph);
    must(bd_layout_create(h->graph, &precision, false, &h->layout, &error), &error);
    ck_assert_int_eq(h->layout.group_count, 1);
    bd_set_role(h->graph, BD_ROLE_FIXED);
    bd_tensor control = bd_variable(h->graph, "/control", BD_ROLE_FIXED, BD_U32, BD_SHAPE(WORDS), zero);
    bd_tensor table = bd_variable(h->graph, "/rates", BD_ROLE_FIXED, BD_F32, BD_SHAPE(rate_count), zero);
    bd_tensor gradients[2] = { bd_variable(h->graph, "/ga", BD_ROLE_FIXED, BD_F32, BD_SHAPE(3), zero),
                               bd_variable(h->graph, "/gb", BD_ROLE_FIXED, BD_F32, BD_SHAPE(1, 2), zero) };
    bd_tensor one = bd_constant(h->graph, (bd_shape){ 0 }, 1), pack;
    bd_optimizer_pack(h->graph, &h->layout, gradients, &pack);
    bd_tensor nonfinite = bd_optimizer_nonfinite(h->graph, &h->layout, &pack);
    bd_tensor step = bd_control_step(h->graph, control, table, one, one, nonfinite);
    bd_optimizer_append(h->graph, &h->layout, optimizer, &pack, step, &(bd_update){ 0 });
    must(bd_graph_apply_precision(h->graph, &precision, &error), &error);

    ck_assert_int_lt(h->graph->node_count, 256);
    for (bd_tensor t = 0; t < h->graph->node_count; t++) {
        const bd_node *node = bd_node_at(h->graph, t);
        if (node->op == BD_OP_VARIABLE && node->attr.variable.base == BD_NONE)
            h->variables[t] = calloc((size_t)bd_shape_elements(&node->shape), sizeof(double));
    }
    h->weights = h->variables[h->layout.groups[0].weights];
    bd_tensor master = bd_graph_find_variable(h->graph, "flat/0/master");
    if (master != BD_NONE)
        h->weights = h->variables[master];
    h->control = h->variables[control];
    for (int i = 0; i < rate_count; i++)
        h->variables[table][i] = rates[i];
    h->control[BD_CONTROL_SCALE] = word_of(8);
    h->control[BD_CONTROL_RATE_COUNT] = rate_count;
    h->control[BD_CONTROL_BETA1] = word_of(optimizer->beta1);
    h->control[BD_CONTROL_BETA2] = word_of(optimizer->beta2);
    h->control[BD_CONTROL_BETA1_POWER] = h->control[BD_CONTROL_BETA2_POWER] = word_of(1);
    h->control[BD_CONTROL_BATCH] = 1;
}

static void teardown(harness *h)
{
    for (int i = 0; i < 256; i++)
        free(h->variables[i]);
    bd_layout_finish(&h->layout);
    bd_graph_destroy(&h->graph);
}

/* One step with these gradients of the loss, which arrive multiplied by the scale of 8. */
static void step(harness *h, const double gradient[COUNT])
{
    bd_error error = { 0 };
    double *a = h->variables[bd_graph_find_variable(h->graph, "ga")];
    double *b = h->variables[bd_graph_find_variable(h->graph, "gb")];
    for (int i = 0; i < COUNT; i++)
        *(i < 3 ? &a[i] : &b[i - 3]) = 8 * gradient[i];
    must(bd_interpret_arrays(h->graph, true, h->variables, NULL, NULL, 0, &error), &error);
}

/* Some tens of operations in double on numbers below 10. */
#define ck_same(a, b) ck_assert_double_eq_tol(a, b, 1e-13)

static const double start[COUNT] = { 1, -2, 0.5, 3, -0.25 };
static const double gradients[3][COUNT] = { { 0.5, -1, 2, 0, 0.125 },
                                            { -0.25, 0.5, 1, 4, -3 },
                                            { 1.5, 0.75, -2, 0.5, 0.0625 } };
static const float rates[3] = { 0.5f, 0.25f, 0.125f };

static void put_start(harness *h)
{
    for (int i = 0; i < COUNT; i++)
        h->weights[place[i]] = start[i];
}

static void check_sgd(bool nesterov, float momentum, float decay, const char *policy)
{
    bd_optimizer optimizer = {
        .kind = BD_OPTIMIZER_SGD, .momentum = momentum, .nesterov = nesterov, .weight_decay = decay
    };
    harness h;
    setup(&h, &optimizer, policy, rates, 3);
    put_start(&h);
    double w[COUNT], m[COUNT] = { 0 };
    memcpy(w, start, sizeof w);
    for (int t = 0; t < 3; t++) {
        step(&h, gradients[t]);
        for (int i = 0; i < COUNT; i++) {
            double g = gradients[t][i] + (double)decay * w[i];
            m[i] = (double)momentum * m[i] + g;
            w[i] -= (double)rates[t] * (momentum == 0 ? g : nesterov ? g + (double)momentum * m[i] : m[i]);
            ck_same(h.weights[place[i]], w[i]);
        }
    }
    teardown(&h);
}

START_TEST(sgd_follows_the_rule)
{
    check_sgd(false, 0, 0, "fp32");
    check_sgd(false, 0, 0.01f, "fp32");
    check_sgd(false, 0.9f, 0, "fp32");
    check_sgd(false, 0.9f, 0.01f, "fp32");
    check_sgd(true, 0.9f, 0.01f, "fp32");
    check_sgd(true, 0.9f, 0.01f, "mixed");
}
END_TEST

static void check_adam(bd_optimizer_kind kind, float decay, bool in_root, const char *policy)
{
    bd_optimizer optimizer = { .kind = kind,
                               .weight_decay = decay,
                               .beta1 = 0.75f,
                               .beta2 = 0.9375f,
                               .epsilon = in_root ? 0.0625f : 1e-3f,
                               .epsilon_in_root = in_root };
    harness h;
    setup(&h, &optimizer, policy, rates, 3);
    put_start(&h);
    double w[COUNT], m[COUNT] = { 0 }, v[COUNT] = { 0 }, power1 = 1, power2 = 1;
    memcpy(w, start, sizeof w);
    for (int t = 0; t < 3; t++) {
        step(&h, gradients[t]);
        power1 *= 0.75, power2 *= 0.9375; /* exact in F32 for three steps */
        for (int i = 0; i < COUNT; i++) {
            double g = gradients[t][i];
            if (kind == BD_OPTIMIZER_ADAM)
                g += (double)decay * w[i];
            m[i] = 0.75 * m[i] + 0.25 * g;
            v[i] = 0.9375 * v[i] + 0.0625 * g * g;
            const double floor_of_v = in_root ? (double)optimizer.epsilon : 0;
            double corrected_m = m[i] / (1 - power1), corrected_v = fmax(v[i], floor_of_v) / (1 - power2);
            if (kind == BD_OPTIMIZER_ADAMW)
                w[i] -= (double)rates[t] * (double)decay * w[i];
            w[i] -= (double)rates[t] * corrected_m / (sqrt(corrected_v) + (in_root ? 0 : (double)optimizer.epsilon));
            ck_same(h.weights[place[i]], w[i]);
        }
    }
    teardown(&h);
}

START_TEST(adam_follows_the_rule)
{
    check_adam(BD_OPTIMIZER_ADAM, 0, false, "fp32");
    check_adam(BD_OPTIMIZER_ADAM, 0, true, "fp32");
    check_adam(BD_OPTIMIZER_ADAMW, 0.01f, true, "fp32,kahan=on");
    check_adam(BD_OPTIMIZER_ADAM, 0.01f, false, "fp32");
    check_adam(BD_OPTIMIZER_ADAMW, 0.01f, false, "fp32");
    check_adam(BD_OPTIMIZER_ADAMW, 0.01f, false, "mixed");
}
END_TEST

START_TEST(clipping_bounds_the_norm)
{
    const double norm = sqrt(0.5 * 0.5 + 1 + 4 + 0.125 * 0.125);
    const float limits[] = { 1, 100 };
    for (int k = 0; k < 2; k++) {
        bd_optimizer optimizer = { .kind = BD_OPTIMIZER_SGD, .clip_norm = limits[k] };
        harness h;
        setup(&h, &optimizer, "fp32", rates, 3);
        put_start(&h);
        step(&h, gradients[0]);
        for (int i = 0; i < COUNT; i++)
            ck_same(h.weights[place[i]], start[i] - 0.5 * fmin(1, limits[k] / norm) * gradients[0][i]);
        /* A gradient of 0 has no direction, and nothing to clip. */
        double before[COUNT];
        for (int i = 0; i < COUNT; i++)
            before[i] = h.weights[place[i]];
        step(&h, (double[COUNT]){ 0 });
        for (int i = 0; i < COUNT; i++)
            ck_assert_double_eq(h.weights[place[i]], before[i]);
        teardown(&h);
    }
}
END_TEST

/* An infinite gradient skips the step: neither weights nor state nor bias corrections move. */
START_TEST(overflow_skips_the_step)
{
    const bd_optimizer_kind kinds[] = { BD_OPTIMIZER_SGD, BD_OPTIMIZER_ADAM };
    for (int k = 0; k < 2; k++) {
        bd_optimizer optimizer = {
            .kind = kinds[k], .momentum = 0.9f, .beta1 = 0.75f, .beta2 = 0.9375f, .epsilon = 1e-3f, .clip_norm = 1
        };
        harness skipping, clean;
        setup(&skipping, &optimizer, "mixed", rates, 1);
        setup(&clean, &optimizer, "mixed", rates, 1);
        put_start(&skipping);
        put_start(&clean);
        for (int t = 0; t < 3; t++) {
            step(&skipping, (double[COUNT]){ 0, t == 1 ? NAN : INFINITY, 0, 0, 0 });
            step(&skipping, gradients[t]);
            step(&clean, gradients[t]);
        }
        ck_assert_double_eq(skipping.control[BD_CONTROL_OVERFLOWS], 3);
        ck_assert_double_eq(skipping.control[BD_CONTROL_APPLIED], 3);
        for (bd_tensor t = 0; t < clean.graph->node_count; t++) {
            const bd_node *node = bd_node_at(clean.graph, t);
            if (clean.variables[t] && strncmp(node->attr.variable.name, "flat/", 5) == 0)
                for (int i = 0; i < COUNT; i++)
                    ck_assert_double_eq(skipping.variables[t][place[i]], clean.variables[t][place[i]]);
        }
        ck_assert_float_eq(float_of(skipping.control[BD_CONTROL_BETA1_POWER]),
                           float_of(clean.control[BD_CONTROL_BETA1_POWER]));
        teardown(&skipping);
        teardown(&clean);
    }
}
END_TEST

START_TEST(bad_numbers_are_refused)
{
    const bd_optimizer good = { .rate = 0.1f, .momentum = 0.9f, .beta1 = 0.9f, .beta2 = 0.999f };
    bd_optimizer bad[12];
    for (int i = 0; i < 12; i++)
        bad[i] = good;
    bad[0].rate = NAN;
    bad[1].rate = -1;
    bad[2].rate = INFINITY;
    bad[3].momentum = 1;
    bad[4].beta1 = 1;
    bad[5].beta2 = -0.5f;
    bad[6].epsilon = NAN;
    bad[7].clip_norm = -1;
    bad[8].warmup_steps = -1;
    bad[9].schedule = BD_SCHEDULE_STEP; /* every 0 epochs */
    bad[10].momentum = 0, bad[10].nesterov = true;
    bad[11].weight_decay = -0.1f;
    ck_assert_int_eq(bd_optimizer_check(&good, NULL), BD_OK);
    for (int i = 0; i < 12; i++)
        ck_assert_msg(bd_optimizer_check(&bad[i], NULL) == BD_ERROR_ARGUMENT, "number %d", i);
}
END_TEST

START_TEST(schedules_follow_their_formulas)
{
    const int64_t steps = 100, per_epoch = 10;
    bd_optimizer o = { .rate = 0.5f, .schedule = BD_SCHEDULE_CONSTANT };
    ck_assert_double_eq(bd_schedule_rate(&o, 0, steps, per_epoch), 0.5);
    ck_assert_double_eq(bd_schedule_rate(&o, 99, steps, per_epoch), 0.5);
    ck_assert_int_eq(bd_schedule_length(&o, steps), 1);
    o.warmup_steps = 3; /* 1/4, 2/4, 3/4, 1 */
    ck_same(bd_schedule_rate(&o, 0, steps, per_epoch), 0.125);
    ck_same(bd_schedule_rate(&o, 2, steps, per_epoch), 0.375);
    ck_same(bd_schedule_rate(&o, 3, steps, per_epoch), 0.5);
    ck_assert_int_eq(bd_schedule_length(&o, steps), 4);
    ck_assert_int_eq(bd_schedule_length(&o, 2), 2);
    o.schedule = BD_SCHEDULE_STEP;
    o.step_epochs = 2;
    o.step_factor = 0.5f;
    ck_same(bd_schedule_rate(&o, 19, steps, per_epoch), 0.5);
    ck_same(bd_schedule_rate(&o, 20, steps, per_epoch), 0.25);
    ck_same(bd_schedule_rate(&o, 99, steps, per_epoch), 0.5 / 16);
    ck_assert_int_eq(bd_schedule_length(&o, steps), steps);
    o.schedule = BD_SCHEDULE_COSINE;
    o.final_rate = 0.25f;
    o.warmup_steps = 20;
    ck_same(bd_schedule_rate(&o, 20, steps, per_epoch), 0.5);
    ck_same(bd_schedule_rate(&o, 60, steps, per_epoch), 0.375);
    ck_same(bd_schedule_rate(&o, 40, steps, per_epoch), 0.25 + 0.125 * (1 + sqrt(0.5)));
    ck_assert_double_gt(bd_schedule_rate(&o, 99, steps, per_epoch), 0.25);
}
END_TEST

START_TEST(layouts_group_by_format)
{
    bd_precision precision;
    bd_error error = { 0 };
    bd_graph *graph;
    bd_layout layout;
    const bd_init zero = { BD_INIT_CONSTANT, 0 };
    must(bd_precision_parse("mixed;b:w=f32,g=f32", &precision, &error), &error);
    must(bd_graph_create(&graph, &error), &error);
    ck_assert_int_eq(bd_layout_create(graph, &precision, false, &layout, NULL),
                     BD_ERROR_ARGUMENT); /* nothing to train */
    const char *const layers[] = { "a", "b", "c" };
    for (int i = 0; i < 3; i++) {
        bd_push_layer(graph, layers[i]);
        bd_parameter(graph, "w", BD_SHAPE(300), zero);
        bd_pop_layer(graph);
    }
    must(bd_layout_create(graph, &precision, false, &layout, &error), &error);
    ck_assert_int_eq(layout.group_count, 2);
    ck_assert_int_eq(layout.slots[0].group, 0);
    ck_assert_int_eq(layout.slots[1].group, 1);
    ck_assert_int_eq(layout.slots[2].group, 0);
    ck_assert_int_eq(layout.slots[2].offset, 512);
    ck_assert_int_eq(layout.groups[0].elements, 1024);
    ck_assert_int_eq(layout.groups[1].elements, 512);
    ck_assert(bd_layout_has_master(&layout.groups[0]));
    ck_assert(!bd_layout_has_master(&layout.groups[1]));
    must(bd_graph_apply_precision(graph, &precision, &error), &error);
    ck_assert_int_eq(bd_node_at(graph, layout.groups[0].weights)->format, BD_F16);
    ck_assert_int_eq(bd_node_at(graph, layout.groups[1].weights)->format, BD_F32);
    bd_layout_finish(&layout);
    bd_graph_destroy(&graph);
}
END_TEST

START_TEST(shuffles_are_permutations)
{
    enum { LENGTH = 1000 };
    uint32_t first[LENGTH], second[LENGTH];
    bd_feed_shuffle(1, 0, first, LENGTH);
    bool seen[LENGTH] = { false };
    for (int i = 0; i < LENGTH; i++) {
        ck_assert_uint_lt(first[i], LENGTH);
        ck_assert(!seen[first[i]]);
        seen[first[i]] = true;
    }
    bd_feed_shuffle(1, 0, second, LENGTH);
    ck_assert_int_eq(memcmp(first, second, sizeof first), 0);
    bd_feed_shuffle(1, 1, second, LENGTH);
    ck_assert_int_ne(memcmp(first, second, sizeof first), 0);
    bd_feed_shuffle(2, 0, second, LENGTH);
    ck_assert_int_ne(memcmp(first, second, sizeof first), 0);
    bd_feed_shuffle(1, 0, first, 1);
    ck_assert_uint_eq(first[0], 0);
}
END_TEST

/* All 24 orders of 4 come equally often: chi squared with 23 degrees of freedom is below 49.7 in 999 of 1000 draws
 * (and the draw is fixed by the seed). */
START_TEST(shuffles_are_unbiased)
{
    enum { DRAWS = 24000 };
    int count[256] = { 0 };
    double chi = 0;
    for (uint32_t epoch = 0; epoch < DRAWS; epoch++) {
        uint32_t order[4];
        bd_feed_shuffle(7, epoch, order, 4);
        count[order[0] << 6 | order[1] << 4 | order[2] << 2 | order[3]]++;
    }
    for (int i = 0; i < 256; i++)
        if (count[i])
            chi += pow(count[i] - DRAWS / 24, 2) / (DRAWS / 24);
    ck_assert_double_lt(chi, 49.7);
}
END_TEST

START_TEST(feeds_respect_limits)
{
    const bd_dataset data = {
        .height = 10, .width = 10, .channels = 1, .train = { .count = 1000 }, .test = { .count = 200 }
    };
    bd_feed_shape train, test;
    bd_error error = { 0 };
    must(bd_feed_decide(&(bd_limits){ 0 }, 0, true, &data, 0, 10, &train, &test, &error), &error);
    ck_assert_int_eq(train.half, 0);
    ck_assert_int_eq(bd_feed_rows(&train), 1000);
    ck_assert_uint_eq(bd_feed_bytes(&train), 1000 * 105);
    must(bd_feed_decide(&(bd_limits){ 0 }, 1200 * 105, true, &data, 0, 10, &train, &test, &error), &error);
    ck_assert_int_eq(train.half, 0);
    /* A byte less, and one of them is streamed; together they stay within. */
    must(bd_feed_decide(&(bd_limits){ 0 }, 1200 * 105 - 1, true, &data, 0, 10, &train, &test, &error), &error);
    ck_assert(train.half || test.half);
    ck_assert_uint_lt(bd_feed_bytes(&train) + bd_feed_bytes(&test), 1200 * 105);
    /* The largest binding bounds the images. */
    must(bd_feed_decide(&(bd_limits){ .max_binding_bytes = 30000 }, 0, true, &data, 0, 10, &train, &test, &error),
         &error);
    ck_assert_int_gt(train.half, 0);
    ck_assert_int_eq(train.half % 10, 0);
    ck_assert_int_le(bd_feed_rows(&train) * 100, 30000);
    ck_assert_int_eq(test.half, 0);
    ck_assert_int_eq(bd_feed_decide(&(bd_limits){ 0 }, 5000, true, &data, 0, 10, &train, &test, &error),
                     BD_ERROR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.message, "2020 bytes"));
    must(bd_feed_decide(&(bd_limits){ 0 }, 5000, false, &data, 0, 10, &train, &test, &error), &error);
    ck_assert(train.half == 10 && test.half == 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("optimizer");
    TCase *tests = tcase_create("rules");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, sgd_follows_the_rule);
    tcase_add_test(tests, adam_follows_the_rule);
    tcase_add_test(tests, clipping_bounds_the_norm);
    tcase_add_test(tests, overflow_skips_the_step);
    tcase_add_test(tests, bad_numbers_are_refused);
    tcase_add_test(tests, schedules_follow_their_formulas);
    tcase_add_test(tests, layouts_group_by_format);
    tcase_add_test(tests, shuffles_are_permutations);
    tcase_add_test(tests, shuffles_are_unbiased);
    tcase_add_test(tests, feeds_respect_limits);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
