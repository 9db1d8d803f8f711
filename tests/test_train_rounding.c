/* What a run tells of rounding while it trains. */
#include "test_train.h"

#include "../backends/backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_EVENTS = 16, MOST_MEASUREMENTS = 24, STEPS = 6 };

typedef struct record {
    int events;
    int64_t steps[MOST_EVENTS];
    bd_measurement last[MOST_MEASUREMENTS];
    char layers[MOST_MEASUREMENTS][32];
    size_t count; /* of the last event */
    bool started;
} record;

static void take(void *user, const bd_train_event *event)
{
    record *r = user;
    r->started = true;
    ck_assert_int_eq(event->measurements != NULL, event->kind == BD_TRAIN_MEASURED);
    if (event->kind != BD_TRAIN_MEASURED)
        return;
    ck_assert_int_lt(r->events, MOST_EVENTS);
    r->steps[r->events++] = event->step;
    ck_assert_uint_le(event->measurement_count, MOST_MEASUREMENTS);
    r->count = event->measurement_count;
    memcpy(r->last, event->measurements, r->count * sizeof *r->last);
    for (size_t i = 0; i < r->count; i++)
        snprintf(r->layers[i], sizeof r->layers[i], "%s", event->measurements[i].layer);
}

/* Nothing is compiled while steps are being taken: that would be the measuring's cost. */
static void compile(void *user, int done, int total)
{
    const record *r = user;
    ck_assert(!r->started);
    ck_assert_int_le(done, total);
}

static const bd_measurement *find(const record *r, const char *layer, bd_measured what)
{
    for (size_t i = 0; i < r->count; i++)
        if (!strcmp(r->layers[i], layer) && r->last[i].what == what)
            return &r->last[i];
    ck_abort_msg("no %s of %s", bd_measured_name(what), layer);
    return NULL;
}

static bd_train_params params_of(const char *policy, int64_t every, record *r)
{
    bd_train_params params = fixture_params(dataset, policy);
    params.epochs = 0;
    params.max_steps = STEPS;
    params.measure_steps = every;
    params.on_event = take;
    params.user = r;
    return params;
}

/* On the reference each value is computed by itself; on devices other kernels may sum in another order, but these do
 * not. */
START_TEST(measuring_changes_no_weight)
{
    enum { WEIGHTS = FIXTURE_SIDE * FIXTURE_SIDE * 16 };
    double values[2][WEIGHTS];
    for (int measured = 0; measured < 2; measured++) {
        record r = { 0 };
        bd_train_params params = params_of(policies[_i], measured ? 2 : 0, &r);
        params.on_compile = compile;
        bd_trainer *trainer;
        bd_error error = { 0 };
        must(bd_trainer_create(device, &params, &trainer, &error), &error);
        must(bd_trainer_run(trainer, NULL, &error), &error);
        must(bd_trainer_read(trainer, "fc1/weight", values[measured], WEIGHTS, &error), &error);
        bd_trainer_destroy(&trainer);
        ck_assert_int_eq(r.events, measured ? STEPS / 2 : 0);
        for (int i = 0; i < r.events; i++)
            ck_assert_int_eq(r.steps[i], 2 * (i + 1));
    }
    ck_assert_mem_eq(values[0], values[1], sizeof values[0]);
}
END_TEST

static double norm_of_change(const double *before, const double *after, int count, double *largest)
{
    double sum = 0;
    for (int i = 0; i < count; i++) {
        sum += (before[i] - after[i]) * (before[i] - after[i]);
        *largest = fmax(*largest, fabs(before[i] - after[i]));
    }
    return sqrt(sum);
}

/* The step's change of a weight, from outside: FP32 weights are off by half an ULP of a number below 1 each, 2^-25, and
 * so is the norm of the change by 2^-25 sqrt(count); sums of squares in FP32 add a relative 2^-23 a term, far less. In
 * FP32 nothing is lost elsewhere. */
START_TEST(updates_are_what_the_weights_change_by)
{
    enum { COUNT = 16 * FIXTURE_CLASSES };
    double before[COUNT], after[COUNT], bias[2][FIXTURE_CLASSES], largest = 0, largest_bias = 0;
    record r = { 0 };
    bd_train_params params = params_of("fp32", 1, &r);
    params.max_steps = 1;
    bd_trainer *trainer;
    bd_error error = { 0 };
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_read(trainer, "fc2/weight", before, COUNT, &error), &error);
    must(bd_trainer_read(trainer, "fc2/bias", bias[0], FIXTURE_CLASSES, &error), &error);
    must(bd_trainer_run(trainer, NULL, &error), &error);
    must(bd_trainer_read(trainer, "fc2/weight", after, COUNT, &error), &error);
    must(bd_trainer_read(trainer, "fc2/bias", bias[1], FIXTURE_CLASSES, &error), &error);
    bd_trainer_destroy(&trainer);
    const bd_measurement *update = find(&r, "fc2", BD_MEASURED_UPDATE);
    const double norm = norm_of_change(before, after, COUNT, &largest), bound = 0x1p-25 * sqrt(COUNT) + 1e-5 * norm;
    ck_assert_double_gt(norm, 1e-3);
    ck_assert_double_eq_tol(update->norm, norm, bound);
    ck_assert_double_eq_tol(update->largest, largest, 0x1p-24);
    ck_assert_double_eq(update->elements, COUNT);
    /* Biases begin at 0, so that their change is what they are; SGD's first step is the rate times the gradient. */
    const bd_measurement *small = find(&r, "fc2", BD_MEASURED_BIAS_UPDATE),
                         *gradient = find(&r, "fc2", BD_MEASURED_BIAS_GRADIENT);
    const double change = norm_of_change(bias[0], bias[1], FIXTURE_CLASSES, &largest_bias);
    ck_assert_double_gt(change, 1e-4);
    ck_assert_double_eq_tol(small->norm, change, 1e-5 * change);
    ck_assert_double_eq_tol(small->largest, largest_bias, 1e-6 * largest_bias);
    ck_assert_double_eq(small->elements, FIXTURE_CLASSES);
    ck_assert_double_eq_tol(gradient->norm * params.optimizer.rate, change, 1e-5 * change);
    const bd_measured exact[] = { BD_MEASURED_ACTIVATION, BD_MEASURED_GRADIENT, BD_MEASURED_WEIGHT_GRADIENT };
    for (int i = 0; i < 3; i++) {
        const bd_measurement *m = find(&r, "fc2", exact[i]);
        ck_assert_double_eq(m->underflow, 0);
        ck_assert_double_eq(m->overflow, 0);
        ck_assert_double_infinite(m->sqnr);
        ck_assert_double_gt(m->norm, 0);
    }
}
END_TEST

/* A rate of 1e-6 moves FP16 weights of 0.01 and more, whose neighbours are 2^-17 and more away, by less than half of
 * that. A loss scale of 2^-15 moves gradients below FP16's range, and its norm is told without it. */
START_TEST(losses_are_found_where_they_are)
{
    record plain_run = { 0 }, slow = { 0 }, scaled = { 0 };
    bd_train_params params = params_of("fp16", 1, &plain_run);
    params.max_steps = 1;
    fixture_run(device, &params);
    params.user = &slow;
    params.optimizer.rate = 1e-6f;
    fixture_run(device, &params);
    params = params_of("fp16,scale=0.000030517578125", 1, &scaled);
    params.max_steps = 1;
    fixture_run(device, &params);
    ck_assert_double_gt(find(&slow, "fc1", BD_MEASURED_UPDATE)->underflow, 0.9);
    ck_assert_double_lt(find(&plain_run, "fc1", BD_MEASURED_UPDATE)->underflow, 0.5);
    const bd_measurement *a = find(&plain_run, "fc1", BD_MEASURED_WEIGHT_GRADIENT),
                         *b = find(&scaled, "fc1", BD_MEASURED_WEIGHT_GRADIENT);
    ck_assert_double_gt(b->underflow, a->underflow + 0.01);
    ck_assert_double_lt(b->sqnr, a->sqnr);
    ck_assert_double_eq_tol(b->norm / a->norm, 1, 0.1);
    double values = 0;
    for (int i = 0; i < BD_EXPONENT_BINS; i++)
        values += a->exponents[i];
    ck_assert_double_gt(values, 0);
    ck_assert_double_le(values, a->elements);
}
END_TEST

/* Scales of a normalisation begin at 1, whose neighbours in FP16 are 2^-11 and more away; its shifts at 0, which takes
 * any update that FP16 has. */
START_TEST(lost_updates_of_scales_are_found)
{
    record r = { 0 };
    bd_train_params params = params_of("fp16", 1, &r);
    params.model = fixture_net;
    params.max_steps = 1;
    params.optimizer.rate = 1e-5f;
    fixture_run(device, &params);
    const bd_measurement *update = find(&r, "norm", BD_MEASURED_BIAS_UPDATE),
                         *gradient = find(&r, "norm", BD_MEASURED_BIAS_GRADIENT);
    ck_assert_double_eq(update->elements, 8); /* four channels' scales and shifts */
    ck_assert_double_eq(update->underflow, 0.5);
    ck_assert_double_eq(gradient->elements, 8);
    ck_assert_double_gt(gradient->norm, 0);
    ck_assert_double_gt(gradient->sqnr, 50); /* one rounding to 11 bits: about 74 dB */
    ck_assert_double_eq(find(&r, "conv", BD_MEASURED_BIAS_GRADIENT)->elements, 4);
}
END_TEST

/* Between what a run needs and what it needs to be measured. */
/* Learned steps begin where the mean magnitude is sqrt(127) / 2 = 5.6 or sqrt(255) / 2 = 8 of them, so that few of an
 * operand's whole numbers are above 64; and what a ReLU made 0 is 0, though it is stored as -128. */
START_TEST(whole_numbers_are_measured_as_what_they_mean)
{
    record r = { 0 };
    bd_train_params params = params_of("int8-qat", 1, &r);
    bd_trainer *trainer;
    bd_error error = { 0 };
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_run(trainer, NULL, &error), &error);
    bd_trainer_destroy(&trainer);
    const bd_measurement *operands = find(&r, "fc2", BD_MEASURED_OPERAND);
    double large = 0, all = 0;
    for (int i = 0; i < BD_EXPONENT_BINS; i++) {
        all += operands->exponents[i];
        large += i + BD_LEAST_EXPONENT >= 6 ? operands->exponents[i] : 0;
    }
    ck_assert_double_le(operands->largest, 255);
    ck_assert_double_lt(large, 0.1 * operands->elements);
    ck_assert_double_lt(all, 0.9 * operands->elements);
}
END_TEST

START_TEST(too_little_memory_leaves_a_run_unmeasured)
{
    bd_train_event plans[2] = { 0 };
    record r = { 0 };
    bd_train_params params = params_of("fp32", 2, &r);
    for (int unmeasured = 0; unmeasured < 2; unmeasured++) {
        bd_trainer *trainer;
        bd_error error = { 0 };
        if (unmeasured)
            device->target.limits.memory_bytes =
                plans[0].planned_device_bytes + plans[0].measuring_bytes + plans[0].dataset_bytes - 1;
        params.dataset_device_bytes = (int64_t)plans[0].dataset_bytes;
        must(bd_trainer_create(device, &params, &trainer, &error), &error);
        must(bd_trainer_plan(trainer, &plans[unmeasured], NULL, NULL, &error), &error);
        ck_assert_int_eq(plans[unmeasured].unmeasured, unmeasured);
        bd_train_event done;
        must(bd_trainer_run(trainer, &done, &error), &error);
        bd_trainer_destroy(&trainer);
        ck_assert_int_eq(r.events, STEPS / 2); /* those of the first run */
        const double planned = (double)(done.planned_device_bytes + done.dataset_bytes);
        ck_assert_double_le(fabs((double)done.peak_device_bytes - planned), 0.01 * planned); /* measured or not */
    }
    ck_assert_uint_eq(plans[1].planned_device_bytes, plans[0].planned_device_bytes);
    ck_assert(plans[0].measuring_bytes > 0 && plans[1].measuring_bytes == 0);
}
END_TEST

void add_rounding_tests(TCase *tests)
{
    /* Drivers take their time to compile: there FP16 and FP8 must do. */
    const bool reference = !strcmp(device_name, "reference");
    tcase_add_loop_test(tests, measuring_changes_no_weight, reference ? 0 : 1, reference ? POLICY_COUNT - 1 : 2);
    if (!plain && !reference)
        tcase_add_loop_test(tests, measuring_changes_no_weight, 6, 7);
    tcase_add_test(tests, updates_are_what_the_weights_change_by);
    tcase_add_test(tests, losses_are_found_where_they_are);
    tcase_add_test(tests, lost_updates_of_scales_are_found);
    if (!plain || learns_only)
        tcase_add_test(tests, whole_numbers_are_measured_as_what_they_mean);
    tcase_add_test(tests, too_little_memory_leaves_a_run_unmeasured);
}
