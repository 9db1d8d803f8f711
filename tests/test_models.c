/* The model zoo: parameter counts, and that the whole of each network can be planned. (That they compute what PyTorch's
 * do is what test_golden says.) */
#include "../apps/models/models.h"
#include "../engine/step.h"
#include "../engine/store.h"

#include <check.h>
#include <math.h>
#include <string.h>

typedef struct expected {
    const char *name;
    int64_t parameters; /* as PyTorch counts those of tests/golden/make.py */
    int64_t statistics;
    double printed; /* millions, in the study; 0 where it prints none */
} expected;

/* docs/models.md says why some of the study's numbers are others. */
static const expected networks[] = {
    { "lenet", 62006, 0, 0 },
    { "alexnet", 20972394, 0, 20.97 },
    { "vgg16", 33638218, 0, 0 },
    { "vgg19", 38947914, 0, 0 },
    { "resnet20", 273066, 1376, 0 },
    { "resnet32", 467946, 2272, 0.47 },
    { "resnet44", 662826, 3168, 0 },
    { "resnet56", 857706, 4064, 0.86 },
    { "resnet110", 1734666, 8096, 0 },
    { "densenet121", 6964106, 83648, 7.04 },
    { "densenet169", 12501130, 158400, 12.65 },
    { "xception", 22915378, 54528, 22.96 },
    { "mobilenetv2", 3228170, 21888, 0 },
    { "vit8", 2158090, 0, 0 },
    { "vit12", 2689034, 0, 0 },
    { "vit16", 3219978, 0, 0 },
    { "gpt-nano", 804106, 0, 0 }, /* of ten tokens */
    { "gpt-mini", 10753546, 0, 0 },
};
enum { NETWORKS = sizeof networks / sizeof *networks, SIDE = 32, CHANNELS = 3, CLASSES = 10 };

static const bd_dataset cifar = { .name = "cifar",
                                  .height = SIDE,
                                  .width = SIDE,
                                  .channels = CHANNELS,
                                  .classes = CLASSES,
                                  .train = { .count = 50000 },
                                  .mean = 0.5f,
                                  .deviation = 0.25f };

static const bd_dataset text = { .name = "text",
                                 .tokens = BD_TOKENS_CHARACTERS,
                                 .height = 1,
                                 .width = 1,
                                 .channels = 1,
                                 .classes = CLASSES,
                                 .train = { .count = 900000 },
                                 .test = { .count = 100000 },
                                 .deviation = 1 };

static const bd_dataset *data_for(const char *name)
{
    return model_is_gpt(name, &(gpt_size){ 0 }) ? &text : &cifar;
}

START_TEST(parameters_are_counted)
{
    const expected *e = &networks[_i];
    model m;
    bd_model_cost cost;
    bd_error error = { 0 };
    ck_assert_msg(model_parse(e->name, &m, &error) == BD_OK, "%s", error.message);
    ck_assert_msg(model_fit(&m, data_for(e->name), &error) == BD_OK, "%s", error.message);
    const bd_shape example = m.gpt.context ? BD_SHAPE(m.gpt.context) : BD_SHAPE(SIDE, SIDE, CHANNELS);
    ck_assert_msg(bd_model_measure(m.function, &m, example, CLASSES, &cost, &error) == BD_OK, "%s", error.message);
    ck_assert_msg(cost.parameters == e->parameters, "%s: %lld parameters", e->name, (long long)cost.parameters);
    ck_assert_msg(cost.statistics == e->statistics, "%s: %lld statistics", e->name, (long long)cost.statistics);
    /* The study cuts its numbers off or rounds them, and counts the statistics. */
    const double all = (double)(cost.parameters + cost.statistics) / 1e6;
    ck_assert_msg(e->printed == 0 || (all > e->printed - 0.005 && all < e->printed + 0.01), "%s: %g M", e->name, all);
    ck_assert_uint_gt(cost.forward_flops, 0);
    ck_assert_uint_gt(cost.step_flops, 2 * cost.forward_flops);
    ck_assert_uint_gt(cost.activation_bytes, 0);
}
END_TEST

/* At the study's batch, in each precision, for a device of the least that is usual. */
START_TEST(steps_are_planned)
{
    const expected *e = &networks[_i];
    static const char *const precisions[] = { "fp32", "fp16", "mixed" };
    uint64_t bytes[3];
    for (int p = 0; p < 3; p++) {
        model m;
        bd_error error = { 0 };
        bd_train_params params;
        bd_trainer *trainer = NULL;
        bd_train_event event;
        ck_assert_int_eq(model_parse(e->name, &m, &error), BD_OK);
        bd_train_params_init(&params);
        params.model = m.function;
        params.model_user = &m;
        params.model_name = m.name;
        params.dataset = data_for(e->name);
        params.context = m.gpt.context;
        ck_assert_int_eq(bd_precision_parse(precisions[p], &params.precision, &error), BD_OK);
        ck_assert_msg(bd_trainer_create(NULL, &params, &trainer, &error) == BD_OK, "%s", error.message);
        ck_assert_int_eq(bd_trainer_plan(trainer, &event, NULL, NULL, &error), BD_OK);
        bytes[p] = event.planned_device_bytes;
        ck_assert_int_gt(event.dispatches_per_step, 0);
        bd_trainer_destroy(&trainer);
    }
    ck_assert_uint_lt(bytes[1], bytes[0]);
}
END_TEST

/* Kernels of a step in FP16, of 256 images or 64 texts, for a GPU with tensor cores and 132 processors:
 * docs/benchmarks-log.md has them. */
static const struct planned {
    const char *name;
    int kernels, merged; /* where final sums have kernels of their own, and with the last work-group's sums */
} planned[] = {
    { "resnet32", 249, 245 },    { "vgg16", 84, 78 },      { "vit8", 246, 212 },
    { "mobilenetv2", 225, 194 }, { "gpt-mini", 170, 167 },
};
enum { PLANNED = sizeof planned / sizeof *planned };

START_TEST(kernels_of_a_step_are_counted)
{
    const struct planned *counts = &planned[_i];
    const bool is_gpt = data_for(counts->name) == &text;
    model m;
    bd_error error = { 0 };
    bd_train_params params;
    bd_graph *graph;
    bd_layout layout = { 0 };
    bd_target target;
    ck_assert_int_eq(model_parse(counts->name, &m, &error), BD_OK);
    ck_assert_int_eq(model_fit(&m, data_for(counts->name), &error), BD_OK);
    bd_train_params_init(&params);
    params.model = m.function;
    params.model_user = &m;
    params.model_name = m.name;
    params.dataset = data_for(counts->name);
    params.context = m.gpt.context;
    params.batch = is_gpt ? 64 : 256;
    ck_assert_int_eq(bd_precision_parse("fp16", &params.precision, &error), BD_OK);
    const bd_step_source source = { 50000, 50000, 16 };
    ck_assert_msg(bd_step_training(&params, &source, &graph, &layout, &error) == BD_OK, "%s", error.message);
    bd_target_default(&target);
    target.nvidia = target.vector_types = true;
    target.limits.max_workgroup_items = target.limits.max_workgroup_size[0] = target.limits.max_workgroup_size[1] =
        1024;
    target.limits.compute_units = 132;
    target.limits.shared_bytes = 49152;
    target.matrix = (bd_matrix_units){ 16, 16, 16, 32, 98304, 197632, 196608, .bf16 = true, .e4m3 = true };
    for (int merged = 0; merged < 2; merged++) {
        bd_plan *plan;
        target.last_group = merged;
        ck_assert_msg(bd_plan_create(graph, &target, NULL, &plan, &error) == BD_OK, "%s", error.message);
        ck_assert_int_le(plan->kernel_count, merged ? counts->merged : counts->kernels);
        bd_plan_destroy(&plan);
    }
    bd_graph_destroy(&graph);
    bd_layout_finish(&layout);
}
END_TEST

/* A normal distribution cut at two deviations has 0.774 of its variance; he_normal makes up for that. */
START_TEST(he_weights_have_their_variance)
{
    enum { COUNT = 100000, FAN_IN = 32 };
    static double values[COUNT];
    bd_graph *graph = NULL;
    bd_error error = { 0 };
    ck_assert_int_eq(bd_graph_create(&graph, &error), BD_OK);
    bd_layer_style before = bd_set_layer_style(graph, (bd_layer_style){ .init = BD_WEIGHTS_HE, .l2 = 0.5f });
    ck_assert(before.init == BD_WEIGHTS_GLOROT && before.l2 == 0);
    bd_tensor x = bd_constant(graph, BD_SHAPE(2, FAN_IN), 1);
    bd_linear(graph, x, 4, true, "fc");
    const bd_node *weight = bd_node_at(graph, bd_graph_find_variable(graph, "fc/weight"));
    const bd_node *bias = bd_node_at(graph, bd_graph_find_variable(graph, "fc/bias"));
    ck_assert(weight->attr.variable.l2 == 0.5f && bias->attr.variable.l2 == 0);
    const bd_init init = weight->attr.variable.init;
    bd_init_values("fc/weight", &init, 1, values, COUNT);
    double squares = 0;
    for (int i = 0; i < COUNT; i++) {
        ck_assert_double_le(fabs(values[i]), 2 * (double)init.bound);
        squares += values[i] * values[i];
    }
    /* Five deviations of a variance's estimate, which for a normal is the largest that it can be here. */
    ck_assert_double_eq_tol(squares / COUNT * FAN_IN / 2, 1, 5 * sqrt(2.0 / COUNT));
    bd_graph_destroy(&graph);
}
END_TEST

START_TEST(images_that_do_not_fit_are_refused)
{
    static const char *const small[] = { "alexnet", "vgg16", "densenet121", "xception", "vit8", "lenet" };
    bd_dataset tiny = cifar;
    tiny.height = tiny.width = 5;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        model m;
        bd_error error = { 0 };
        ck_assert_int_eq(model_parse(small[i], &m, &error), BD_OK);
        ck_assert_int_eq(model_fit(&m, &tiny, &error), BD_ERROR_ARGUMENT);
        ck_assert_msg(strstr(error.message, "5x5") && strstr(error.message, small[i]), "%s", error.message);
    }
    /* What is said to be enough is enough. */
    for (int i = 0; model_name(i); i++) {
        for (int64_t side = 1; side <= SIDE; side++) {
            model m;
            bd_model_cost cost;
            bd_error error = { 0 };
            tiny.height = tiny.width = side;
            ck_assert_int_eq(model_parse(model_name(i), &m, &error), BD_OK);
            if (model_fit(&m, &tiny, &error) != BD_OK)
                continue;
            ck_assert_msg(bd_model_measure(m.function, &m, BD_SHAPE(side, side, CHANNELS), CLASSES, &cost, &error) ==
                              BD_OK,
                          "%s at %lld: %s", m.name, (long long)side, error.message);
            break;
        }
    }
    model m;
    bd_error error = { 0 };
    /* Texts are for language models, and only for them. */
    for (int i = 0; model_name(i); i++) {
        const bool is_gpt = data_for(model_name(i)) == &text;
        ck_assert_int_eq(model_parse(model_name(i), &m, &error), BD_OK);
        ck_assert_int_eq(model_fit(&m, is_gpt ? &cifar : &text, &error), BD_ERROR_ARGUMENT);
        ck_assert_msg(strstr(error.message, model_name(i)) && strstr(error.message, "text"), "%s", error.message);
    }
    ck_assert_int_eq(model_parse("resnet33", &m, &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, "resnet32") && strstr(error.message, "vit16"), "%s", error.message);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("models");
    TCase *tests = tcase_create("models");
    tcase_set_timeout(tests, 300);
    tcase_add_loop_test(tests, parameters_are_counted, 0, NETWORKS);
    tcase_add_loop_test(tests, steps_are_planned, 0, NETWORKS);
    tcase_add_loop_test(tests, kernels_of_a_step_are_counted, 0, PLANNED);
    tcase_add_test(tests, he_weights_have_their_variance);
    tcase_add_test(tests, images_that_do_not_fit_are_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
