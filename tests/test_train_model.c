/* What a trained model is asked: the evaluation, predictions, its weights in other formats, and what formats would cost
 * its layers. */
#include "test_train.h"

#include "scratch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { INPUTS = FIXTURE_SIDE * FIXTURE_SIDE, HIDDEN = 16 };

/* The MLP by other means: logits of images, from the weights that are read back. */
static void expected_logits(bd_trainer *trainer, const uint8_t *images, int count, double (*logits)[FIXTURE_CLASSES])
{
    bd_error error = { 0 };
    static double w1[INPUTS][HIDDEN], b1[HIDDEN], w2[HIDDEN][FIXTURE_CLASSES], b2[FIXTURE_CLASSES];
    must(bd_trainer_read(trainer, "fc1/weight", *w1, INPUTS * HIDDEN, &error), &error);
    must(bd_trainer_read(trainer, "fc1/bias", b1, HIDDEN, &error), &error);
    must(bd_trainer_read(trainer, "fc2/weight", *w2, HIDDEN * FIXTURE_CLASSES, &error), &error);
    must(bd_trainer_read(trainer, "fc2/bias", b2, FIXTURE_CLASSES, &error), &error);
    for (int i = 0; i < count; i++) {
        double hidden[HIDDEN];
        for (int h = 0; h < HIDDEN; h++) {
            hidden[h] = b1[h];
            for (int p = 0; p < INPUTS; p++)
                hidden[h] +=
                    w1[p][h] * (images[i * INPUTS + p] / 255.0 - (double)dataset->mean) / (double)dataset->deviation;
            hidden[h] = fmax(hidden[h], 0);
        }
        for (int c = 0; c < FIXTURE_CLASSES; c++) {
            logits[i][c] = b2[c];
            for (int h = 0; h < HIDDEN; h++)
                logits[i][c] += hidden[h] * w2[h][c];
        }
    }
}

/* Logits below 16 with sums of at most 36 products in F32: each is off by less than 40 * 2^-24 * 16 = 4e-5. */
static const double LOGIT_BOUND = 1e-4;

START_TEST(evaluation_counts_every_example_once)
{
    bd_train_params params = fixture_params(dataset, "fp32");
    bd_trainer *trainer;
    bd_error error = { 0 };
    double loss, accuracy, wanted_loss = 0, wanted_accuracy = 0, logits[FIXTURE_TEST][FIXTURE_CLASSES];
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_run(trainer, NULL, &error), &error);
    must(bd_trainer_evaluate(trainer, &loss, &accuracy, &error), &error);
    ck_assert_int_eq(bd_trainer_read(trainer, "fc2/bias", *logits, 3, &error), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(bd_trainer_read(trainer, "nothing", *logits, 3, &error), BD_ERROR_ARGUMENT);
    expected_logits(trainer, dataset->test.images, FIXTURE_TEST, logits);
    for (int i = 0; i < FIXTURE_TEST; i++) {
        double sum = 0;
        int best = 0, label = dataset->test.labels[i];
        for (int c = 0; c < FIXTURE_CLASSES; c++) {
            sum += exp(logits[i][c]);
            best = logits[i][c] > logits[i][best] ? c : best;
        }
        wanted_loss += (log(sum) - logits[i][label]) / FIXTURE_TEST;
        wanted_accuracy += (best == label) / (double)FIXTURE_TEST;
    }
    ck_assert_double_eq_tol(accuracy, wanted_accuracy, 1e-12);
    ck_assert_double_eq_tol(loss, wanted_loss, LOGIT_BOUND);
    bd_trainer_destroy(&trainer);
}
END_TEST

/* ---- predictions ---- */

static void expect_logits(const float *found, const double (*wanted)[FIXTURE_CLASSES], int count)
{
    for (int i = 0; i < count * FIXTURE_CLASSES; i++)
        ck_assert_msg(fabs(found[i] - wanted[0][i]) <= LOGIT_BOUND, "logit %d is %g, wanted %g", i, (double)found[i],
                      wanted[0][i]);
}

/* The test set's and others, more of them and fewer; and the test set is as before, resident or streamed. */
START_TEST(predictions_are_the_models)
{
    static float found[FIXTURE_TRAIN * FIXTURE_CLASSES];
    static double wanted[FIXTURE_TRAIN][FIXTURE_CLASSES];
    bd_train_params params = fixture_params(dataset, "fp32");
    params.dataset_device_bytes = _i ? STREAMED_BYTES : 0;
    bd_trainer *trainer;
    bd_error error = { 0 };
    double loss, accuracy, loss_again, accuracy_again;
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_run(trainer, NULL, &error), &error);
    must(bd_trainer_evaluate(trainer, &loss, &accuracy, &error), &error);
    const struct {
        const uint8_t *images;
        int count;
    } cases[] = { { dataset->test.images, FIXTURE_TEST },
                  { dataset->train.images, FIXTURE_TRAIN },
                  { dataset->train.images + INPUTS, 1 },
                  { dataset->test.images, FIXTURE_TEST } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint8_t *images = i == 3 ? NULL : cases[i].images;
        must(bd_trainer_predict(trainer, images, cases[i].count, found, &error), &error);
        expected_logits(trainer, cases[i].images, cases[i].count, wanted);
        expect_logits(found, wanted, cases[i].count);
    }
    must(bd_trainer_evaluate(trainer, &loss_again, &accuracy_again, &error), &error);
    ck_assert_double_eq(loss, loss_again);
    ck_assert_double_eq(accuracy, accuracy_again);
    ck_assert_int_eq(bd_trainer_predict(trainer, NULL, FIXTURE_TEST - 1, found, &error), BD_ERROR_ARGUMENT);
    bd_trainer_destroy(&trainer);
}
END_TEST

/* In every format the largest logits are the classes that the evaluation counts; every second time the test set is
 * smaller than a batch. */
START_TEST(predictions_agree_with_the_evaluation)
{
    static float logits[FIXTURE_TEST * FIXTURE_CLASSES];
    bd_dataset few = *dataset;
    few.test.count = FIXTURE_BATCH - 5;
    bd_train_params params = fixture_params(_i % 2 ? &few : dataset, policies[_i]);
    params.model = _i < POLICY_COUNT - 1 ? fixture_net : fixture_mlp; /* the last policy is for the latter */
    bd_trainer *trainer;
    bd_error error = { 0 };
    double loss, accuracy, right = 0;
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_run(trainer, NULL, &error), &error);
    must(bd_trainer_evaluate(trainer, &loss, &accuracy, &error), &error);
    const int64_t count = params.dataset->test.count;
    must(bd_trainer_predict(trainer, NULL, count, logits, &error), &error);
    for (int64_t i = 0; i < count; i++) {
        const float *row = logits + i * FIXTURE_CLASSES;
        int best = 0;
        for (int c = 1; c < FIXTURE_CLASSES; c++)
            best = row[c] > row[best] ? c : best;
        right += best == params.dataset->test.labels[i];
    }
    ck_assert_double_eq_tol(accuracy, right / (double)count, 1e-6);
    bd_trainer_destroy(&trainer);
}
END_TEST

/* Another run's weights, rounded; with them a network is that network, whatever it was before. */
START_TEST(weights_are_taken_in_any_format)
{
    static float wanted[FIXTURE_TEST * FIXTURE_CLASSES], found[FIXTURE_TEST * FIXTURE_CLASSES];
    static const char *const names[] = { "conv/weight", "fc/bias" };
    double single[36], taken[36];
    const size_t counts[] = { 36, FIXTURE_CLASSES };
    bd_train_params params = fixture_params(dataset, "fp32");
    params.model = fixture_net;
    params.checkpoint = scratch_path("single");
    bd_trainer *source, *trainer;
    bd_error error = { 0 };
    must(bd_trainer_create(device, &params, &source, &error), &error);
    must(bd_trainer_run(source, NULL, &error), &error);
    must(bd_trainer_predict(source, NULL, FIXTURE_TEST, wanted, &error), &error);
    bd_train_params other = fixture_params(dataset, policies[_i]);
    other.model = fixture_net;
    other.seed = 77;
    other.epochs = 1;
    must(bd_trainer_create(device, &other, &trainer, &error), &error);
    must(bd_trainer_run(trainer, NULL, &error), &error);
    must(bd_trainer_take_weights(trainer, params.checkpoint, &error), &error);
    for (int i = 0; i < 2; i++) {
        must(bd_trainer_read(source, names[i], single, counts[i], &error), &error);
        must(bd_trainer_read(trainer, names[i], taken, counts[i], &error), &error);
        const bd_format format = bd_precision_format(&other.precision, BD_ROLE_WEIGHT, "");
        for (size_t j = 0; j < counts[i]; j++)
            ck_assert_double_eq(taken[j], bd_round(format, single[j]));
    }
    must(bd_trainer_predict(trainer, NULL, FIXTURE_TEST, found, &error), &error);
    if (strcmp(policies[_i], "fp32") == 0)
        ck_assert_mem_eq(found, wanted, sizeof wanted);
    bd_trainer_destroy(&trainer);
    other.model_name = "another";
    must(bd_trainer_create(device, &other, &trainer, &error), &error);
    ck_assert_int_eq(bd_trainer_take_weights(trainer, params.checkpoint, &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, "another") && strstr(error.message, "fixture"), "%s", error.message);
    ck_assert_int_ne(bd_trainer_take_weights(trainer, scratch_path("nowhere"), &error), BD_OK);
    bd_trainer_destroy(&trainer);
    bd_trainer_destroy(&source);
}
END_TEST

START_TEST(predictions_need_a_test_set)
{
    bd_dataset untested = *dataset;
    untested.test.count = 0;
    bd_train_params params = fixture_params(&untested, "fp32");
    bd_trainer *trainer;
    float logits[FIXTURE_CLASSES];
    bd_error error = { 0 };
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    ck_assert_int_eq(bd_trainer_predict(trainer, dataset->test.images, 1, logits, &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, "no test set"), "%s", error.message);
    bd_trainer_destroy(&trainer);
    must(bd_trainer_create(NULL, &params, &trainer, &error), &error);
    ck_assert_int_eq(bd_trainer_predict(trainer, dataset->test.images, 1, logits, &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, "no device"), "%s", error.message);
    bd_trainer_destroy(&trainer);
}
END_TEST

/* ---- calibration ---- */

/* What is no rounding costs nothing. A bit of mantissa halves the error: 6 dB. Gaussian-like values have 73.65 dB in
 * f16 (docs/formats.md), which operands of a small network are near. A format that ends at 3 overflows, one without
 * small numbers underflows; and the trainer is spent. */
START_TEST(formats_are_measured_by_layer)
{
    enum { SINGLE, HALF, TEN, SEVEN, THREE, SHORT, COUNT };
    const bd_format formats[COUNT] = {
        BD_F32, BD_F16, bd_format_exmy(8, 10), BD_BF16, bd_format_exmy(8, 3), bd_format_exmy(2, 10)
    };
    bd_error error = { 0 };
    bd_trainer *trainer;
    bd_layer_cost *layers;
    size_t count;
    bd_train_params params = fixture_params(dataset, "fp32,scale=dynamic");
    params.max_steps = 3;
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_run(trainer, NULL, &error), &error);
    ck_assert_int_eq(bd_trainer_calibrate(trainer, formats, BD_MOST_CANDIDATES + 1, &layers, &count, &error),
                     BD_ERROR_ARGUMENT);
    must(bd_trainer_calibrate(trainer, formats, COUNT, &layers, &count, &error), &error);
    ck_assert_uint_ge(count, 2);
    bool overflows = false, underflows = false;
    for (size_t i = 0; i < count; i++) {
        const bd_format_cost *cost = layers[i].cost;
        ck_assert_int_ge(layers[i].contractions, i == 0 ? 2 : 3); /* forward, weight; but for the first, data */
        ck_assert_double_eq(cost[SINGLE].error, 0);
        ck_assert_double_eq(cost[SINGLE].underflow, 0);
        ck_assert(isinf(cost[SINGLE].sqnr));
        ck_assert_double_lt(fabs(cost[HALF].sqnr - 73.65), 3);
        ck_assert_double_lt(fabs(cost[TEN].sqnr - cost[SEVEN].sqnr - 3 * 6.02), 2.5);
        ck_assert_double_lt(fabs(cost[SEVEN].sqnr - cost[THREE].sqnr - 4 * 6.02), 2.5);
        ck_assert_double_lt(fabs(log2(cost[SEVEN].error / cost[TEN].error) - 3), 1);
        ck_assert_double_eq(cost[HALF].overflow, 0);
        overflows |= cost[SHORT].overflow > 0 && isinf(cost[SHORT].error);
        underflows |= cost[SHORT].underflow > 0;
    }
    ck_assert_msg(overflows && underflows, "e2m10 holds all that training makes");
    free(layers);
    ck_assert_int_eq(bd_trainer_run(trainer, NULL, &error), BD_ERROR_ARGUMENT);
    bd_trainer_destroy(&trainer);
}
END_TEST

void add_model_tests(TCase *tests)
{
    const bool reference = strcmp(device_name, "reference") == 0;
    tcase_add_test(tests, evaluation_counts_every_example_once);
    tcase_add_loop_test(tests, predictions_are_the_models, 0, 2);
    tcase_add_loop_test(tests, predictions_agree_with_the_evaluation, 0, plain ? PLAIN_POLICIES : POLICY_COUNT);
    tcase_add_loop_test(tests, weights_are_taken_in_any_format, 0, reference ? POLICY_COUNT - 1 : 2);
    tcase_add_test(tests, predictions_need_a_test_set);
    if (!plain)
        tcase_add_test(tests, formats_are_measured_by_layer);
}
