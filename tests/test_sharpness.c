/* Epsilon-sharpness: a linear model, whose loss is convex in its weights and so largest in a corner of their box,
 * against all corners; logits against the corner that the formula names and against all others; and that measuring
 * changes nothing. */
#include "train_fixture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = 2, CLASSES = 2, EXAMPLES = 3, VALUES = PIXELS * CLASSES + CLASSES };

static bd_tensor linear(bd_graph *graph, bd_tensor x, int64_t classes, bool training, const void *user)
{
    (void)training, (void)user;
    return bd_linear(graph, bd_flatten(graph, x), classes, true, "fc");
}

/* Three images of two pixels; `test` is needed by nothing here. */
static bd_dataset *tiny_dataset(void)
{
    static const uint8_t images[EXAMPLES * PIXELS] = { 10, 200, 130, 90, 250, 30 }, labels[EXAMPLES] = { 0, 1, 1 };
    bd_dataset *data = calloc(1, sizeof *data);
    ck_assert_ptr_nonnull(data);
    *data = (bd_dataset){ .name = "tiny",
                          .height = 1,
                          .width = PIXELS,
                          .channels = 1,
                          .classes = CLASSES,
                          .mean = 0.5f,
                          .deviation = 0.25f };
    data->train = (bd_examples){ EXAMPLES, malloc(sizeof images), malloc(sizeof labels) };
    ck_assert(data->train.images && data->train.labels);
    memcpy(data->train.images, images, sizeof images);
    memcpy(data->train.labels, labels, sizeof labels);
    return data;
}

static double cross_entropy(const double *logits, int label)
{
    double sum = 0;
    for (int k = 0; k < CLASSES; k++)
        sum += exp(logits[k]);
    return log(sum) - logits[label];
}

static void logits_of(const bd_dataset *data, const double *values, int example, double *logits)
{
    for (int k = 0; k < CLASSES; k++) {
        logits[k] = values[PIXELS * CLASSES + k];
        for (int p = 0; p < PIXELS; p++) {
            const double x = (data->train.images[example * PIXELS + p] / 255.0 - data->mean) / data->deviation;
            logits[k] += x * values[p * CLASSES + k];
        }
    }
}

static double loss_of(const bd_dataset *data, const double *values)
{
    double sum = 0, logits[CLASSES];
    for (int i = 0; i < EXAMPLES; i++) {
        logits_of(data, values, i, logits);
        sum += cross_entropy(logits, data->train.labels[i]);
    }
    return sum / EXAMPLES;
}

/* The corner of the box that the bits name. */
static void corner(const double *values, int count, double epsilon, int bits, double *moved)
{
    for (int i = 0; i < count; i++)
        moved[i] = values[i] + (bits >> i & 1 ? 1 : -1) * epsilon * (fabs(values[i]) + 1);
}

static double worst_of_weights(const bd_dataset *data, const double *values, double epsilon)
{
    double most = 0, moved[VALUES];
    for (int bits = 0; bits < 1 << VALUES; bits++) {
        corner(values, VALUES, epsilon, bits, moved);
        most = fmax(most, loss_of(data, moved));
    }
    return most;
}

/* Each example has a box of its own. */
static double worst_of_logits(const bd_dataset *data, const double *values, double epsilon)
{
    double sum = 0, logits[CLASSES], moved[CLASSES];
    for (int i = 0; i < EXAMPLES; i++) {
        double most = 0;
        logits_of(data, values, i, logits);
        for (int bits = 0; bits < 1 << CLASSES; bits++) {
            corner(logits, CLASSES, epsilon, bits, moved);
            most = fmax(most, cross_entropy(moved, data->train.labels[i]));
        }
        sum += most;
    }
    return sum / EXAMPLES;
}

START_TEST(all_corners)
{
    static const double epsilons[] = { 5e-4, 1e-2, 0.3 };
    bd_error error;
    bd_device *device;
    bd_trainer *trainer;
    bd_dataset *data = tiny_dataset();
    bd_train_params params = fixture_params(data, "fp32");
    params.model = linear;
    params.batch = EXAMPLES;
    must(bd_device_open("reference", &device, &error), &error);
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    double values[VALUES];
    must(bd_trainer_read(trainer, "fc/weight", values, PIXELS * CLASSES, &error), &error);
    must(bd_trainer_read(trainer, "fc/bias", values + PIXELS * CLASSES, CLASSES, &error), &error);
    const double loss = loss_of(data, values);
    for (size_t i = 0; i < sizeof epsilons / sizeof *epsilons; i++) {
        bd_sharpness found;
        must(bd_trainer_sharpness(trainer, epsilons[i], &found, &error), &error);
        /* Losses in F32, a few roundings each, times 100. */
        const double tolerance = 100 * 8 * 0x1p-24 * (1 + worst_of_weights(data, values, epsilons[i]));
        ck_assert_double_eq_tol(found.loss, loss, 8 * 0x1p-24);
        ck_assert_double_eq_tol(found.weights, 100 * (worst_of_weights(data, values, epsilons[i]) - loss) / (1 + loss),
                                tolerance);
        ck_assert_double_eq_tol(found.logits, 100 * (worst_of_logits(data, values, epsilons[i]) - loss) / (1 + loss),
                                tolerance);
        ck_assert_double_gt(found.weights, 0);
    }
    bd_trainer_destroy(&trainer);
    bd_device_close(&device);
    bd_dataset_close(&data);
}
END_TEST

/* A model with state, dropout and simulated formats; of learned steps too. */
START_TEST(changes_nothing)
{
    static const char *const policies[] = { "fp32", "mixed", "bf16-sr", "fp8", "int8-qat" };
    bd_error error;
    bd_device *device;
    bd_dataset *data = fixture_dataset();
    must(bd_device_open("reference", &device, &error), &error);
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        float before[FIXTURE_TEST * FIXTURE_CLASSES], after[FIXTURE_TEST * FIXTURE_CLASSES];
        bd_train_params params = fixture_params(data, policies[i]);
        bd_sharpness first, again, wider;
        bd_trainer *trainer;
        params.model = fixture_net;
        params.max_steps = 4; /* before the loss is so small that no change of it is seen */
        must(bd_trainer_create(device, &params, &trainer, &error), &error);
        must(bd_trainer_run(trainer, NULL, &error), &error);
        must(bd_trainer_predict(trainer, NULL, FIXTURE_TEST, before, &error), &error);
        must(bd_trainer_sharpness(trainer, 1e-3, &first, &error), &error);
        must(bd_trainer_sharpness(trainer, 1e-2, &wider, &error), &error);
        must(bd_trainer_sharpness(trainer, 1e-3, &again, &error), &error);
        must(bd_trainer_predict(trainer, NULL, FIXTURE_TEST, after, &error), &error);
        ck_assert_mem_eq(before, after, sizeof before);
        ck_assert_mem_eq(&first, &again, sizeof first);
        ck_assert_msg(first.weights > 0 && first.weights < wider.weights && first.logits > 0 &&
                          first.logits < wider.logits,
                      "%s: %g %g, %g %g", policies[i], first.weights, wider.weights, first.logits, wider.logits);
        bd_trainer_destroy(&trainer);
    }
    bd_device_close(&device);
    fixture_free(&data);
}
END_TEST

START_TEST(refused)
{
    bd_error error;
    bd_sharpness found;
    bd_trainer *trainer;
    bd_dataset *data = fixture_dataset();
    const bd_train_params params = fixture_params(data, "fp32");
    must(bd_trainer_create(NULL, &params, &trainer, &error), &error);
    ck_assert_int_eq(bd_trainer_sharpness(trainer, 1e-3, &found, &error), BD_ERROR_ARGUMENT);
    ck_assert(isnan(found.weights));
    ck_assert_int_eq(bd_trainer_sharpness(trainer, 0, &found, &error), BD_ERROR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "epsilon"));
    bd_trainer_destroy(&trainer);
    fixture_free(&data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sharpness");
    TCase *tests = tcase_create("reference");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, all_corners);
    tcase_add_test(tests, changes_nothing);
    tcase_add_test(tests, refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
