/* Federated learning: what the wire does to numbers and how many bytes it takes, and averaging against what it must be
 * equal to. */
#include "train_fixture.h"

#include "../engine/trainer.h"
#include "apps/federated.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES = 64 };

static bd_device *device;
static bd_dataset *dataset;

/* ---- the wire ---- */

static wire parsed(const char *text)
{
    wire result;
    bd_error error = { 0 };
    must(wire_parse(text, &result, &error), &error);
    return result;
}

START_TEST(names_are_read)
{
    static const char *const names[][2] = { { "f32", "f32" },
                                            { "e4m3:stochastic", "f8e4m3:stochastic" },
                                            { "f8e5m2:nearest:scale=max", "f8e5m2" },
                                            { "int4:scale=max:zero", "int4:zero" },
                                            { "f16:scale=max", "f16:scale=max" },
                                            { "bf16:scale=none", "bf16" } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ck_assert_str_eq(parsed(names[i][0]).name, names[i][1]);
    ck_assert(parsed("e3m2").scaled && parsed("int8").scaled && !parsed("f16").scaled && !parsed("f32").scaled);
}
END_TEST

START_TEST(mistakes_are_told)
{
    static const char *const names[][2] = { { "f8e4m3:scale=none", "needs a scale" },
                                            { "int8:scale=none", "1 to 127" },
                                            { "e3m2:stochastic:scale=none", "2^-4" },
                                            { "f9", "'f9' is none of" },
                                            { "u8", "none of" },
                                            { "", "none of" },
                                            { "f16:upwards", "'upwards'" },
                                            { "f16:", "'' is no rounding" },
                                            { "f16:scale=2", "'scale=2'" } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        wire w;
        bd_error error = { 0 };
        ck_assert_int_eq(wire_parse(names[i][0], &w, &error), BD_ERROR_ARGUMENT);
        ck_assert_msg(strstr(error.message, names[i][1]), "%s: %s", names[i][0], error.message);
    }
}
END_TEST

START_TEST(bytes_are_counted)
{
    static const struct {
        const char *name;
        int64_t elements;
        uint64_t bytes;
    } cases[] = { { "f32", 1000, 4000 },    { "f16", 3, 6 },    { "f16:scale=max", 3, 10 },
                  { "f8e4m3", 1000, 1004 }, { "f8e4m3", 0, 4 }, { "int4", 7, 4 + 4 },
                  { "e3m2", 5, 4 + 4 },     { "int8", 1, 5 },   { "e8m10", 8, 19 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const wire w = parsed(cases[i].name);
        ck_assert_msg(wire_bytes(&w, cases[i].elements) == cases[i].bytes, "%s of %d", cases[i].name,
                      (int)cases[i].elements);
    }
}
END_TEST

/* Of magnitudes from 1e-6 to 2, both signs; the largest is the first. */
static void some_values(double *values)
{
    uint32_t state = 7;
    for (int i = 0; i < VALUES; i++) {
        state = state * 1664525u + 1013904223u; /* Numerical Recipes' generator */
        values[i] = (float)(pow(10, -6.0 * i / VALUES) * (1 + (state >> 8) * 0x1p-24) * (i % 2 ? -1 : 1));
    }
    values[0] = 2.125f;
}

static void send(const wire *w, uint32_t sender, uint32_t round, uint32_t tensor, double *values)
{
    some_values(values);
    ck_assert(wire_send(w, &(wire_message){ 11, sender, round, tensor }, values, VALUES));
}

/* The format's spacing at a value that is sent with this scale. */
static double step_at(const wire *w, double scale, double value)
{
    const bd_format_info info = bd_format_describe(w->format);
    if (info.kind == BD_KIND_SIGNED)
        return scale;
    const int exponent = ilogb(value / scale), least = 1 - info.bias;
    return scale * ldexp(1, (exponent > least ? exponent : least) - info.mantissa_bits);
}

static const char *const formats[] = { "f8e4m3:stochastic", "f8e5m2:stochastic", "int8:stochastic",
                                       "int4:stochastic",   "e3m2:stochastic",   "f8e4m3",
                                       "int8:zero",         "f16:stochastic" };
enum { FORMATS = sizeof formats / sizeof *formats };

/* A scale that is rounded down to F32 is 2^-23 too small at most, and what is received is rounded to F32: both together
 * 2^-22. */
START_TEST(values_stay_within_a_step_and_the_clip)
{
    double values[VALUES], got[VALUES];
    some_values(values);
    for (int f = 0; f < FORMATS; f++) {
        const wire w = parsed(formats[f]);
        const double clip = values[0], scale = w.scaled ? clip / bd_format_describe(w.format).largest : 1;
        send(&w, 0, 0, 0, got);
        for (int i = 0; i < VALUES; i++) {
            ck_assert_msg(fabs(got[i] - values[i]) <=
                              step_at(&w, scale, values[i]) * (1 + 0x1p-22) + fabs(values[i]) * 0x1p-22,
                          "%s: %g became %g", w.name, values[i], got[i]);
            ck_assert(fabs(got[i]) <= clip && got[i] == (float)got[i]);
        }
        if (w.scaled)
            ck_assert_double_eq_tol(got[0], clip, clip * 0x1p-22);
    }
}
END_TEST

/* A value between neighbours `step` apart has a variance of at most step^2 / 4; the mean of many lies within five
 * deviations. */
START_TEST(stochastic_rounding_has_the_value_as_its_mean)
{
    enum { TIMES = 4000 };
    double values[VALUES], got[VALUES];
    some_values(values);
    for (int f = 0; f < FORMATS; f++) {
        const wire w = parsed(formats[f]);
        double sum[VALUES] = { 0 }, worst = 0;
        for (uint32_t round = 0; round < TIMES; round++) {
            send(&w, 3, round, 1, got);
            for (int i = 0; i < VALUES; i++)
                sum[i] += got[i];
        }
        const double scale = w.scaled ? values[0] / bd_format_describe(w.format).largest : 1;
        for (int i = 0; i < VALUES; i++) {
            const double allowed = 5 * step_at(&w, scale, values[i]) / 2 / sqrt(TIMES) + fabs(values[i]) * 0x1p-22;
            worst = fmax(worst, fabs(sum[i] / TIMES - values[i]) / allowed);
        }
        /* The test can fail: other roundings do. */
        ck_assert_msg((worst <= 1) == (w.mode == BD_ROUND_STOCHASTIC), "%s: %g of what is allowed", w.name, worst);
    }
}
END_TEST

START_TEST(a_message_has_its_own_numbers)
{
    double first[VALUES], again[VALUES];
    const wire w = parsed("f8e4m3:stochastic"), nearest = parsed("f8e4m3");
    static const uint32_t others[][3] = { { 2, 2, 3 }, { 1, 3, 3 }, { 1, 2, 4 } };
    send(&w, 1, 2, 3, first);
    send(&w, 1, 2, 3, again);
    ck_assert_mem_eq(first, again, sizeof first);
    for (int i = 0; i < 3; i++) {
        send(&w, others[i][0], others[i][1], others[i][2], again);
        ck_assert_mem_ne(first, again, sizeof first);
    }
    send(&nearest, 1, 2, 3, first);
    send(&nearest, 4, 5, 6, again);
    ck_assert_mem_eq(first, again, sizeof first);
}
END_TEST

START_TEST(special_values)
{
    const wire w = parsed("f8e4m3:stochastic"), plain = parsed("f16"), single = parsed("f32");
    const wire_message message = { 1, 0, 0, 0 };
    double zeros[2] = { 0, -0.0 }, bad[2] = { 0.3, NAN }, large[2] = { 1e6, -1e6 }, least[1] = { FLT_TRUE_MIN };
    ck_assert(wire_send(&w, &message, zeros, 2) && zeros[0] == 0 && zeros[1] == 0);
    ck_assert(!wire_send(&w, &message, bad, 2) && bad[0] == 0.3);
    bad[1] = INFINITY;
    ck_assert(!wire_send(&single, &message, bad, 2));
    ck_assert(wire_send(&plain, &message, large, 2) && large[0] == 65504 && large[1] == -65504);
    ck_assert(wire_send(&w, &message, least, 1) && isfinite(least[0]));
}
END_TEST

/* ---- dealing ---- */

enum { MANY = 1000, LABELS = 4, PLAYERS = 7 };

/* Deals MANY images of LABELS classes, checks that each is somebody's once, and counts who got how many of a class. */
static void deal(double alpha, uint64_t seed, int64_t counts[PLAYERS][LABELS])
{
    uint8_t labels[MANY];
    uint32_t examples[MANY];
    int64_t first[PLAYERS + 1];
    bool seen[MANY] = { false }, again = false;
    bd_error error = { 0 };
    for (int i = 0; i < MANY; i++)
        labels[i] = (uint8_t)(i % LABELS);
    const bd_dataset data = { .classes = LABELS, .train = { MANY, NULL, labels } };
    must(deal_examples(&data, PLAYERS, alpha, seed, examples, first, &error), &error);
    ck_assert_int_eq(first[0], 0);
    ck_assert_int_eq(first[PLAYERS], MANY);
    memset(counts, 0, PLAYERS * sizeof *counts);
    for (int k = 0; k < PLAYERS; k++) {
        ck_assert_int_gt(first[k + 1], first[k]);
        for (int64_t i = first[k]; i < first[k + 1]; i++) {
            again |= seen[examples[i]];
            seen[examples[i]] = true;
            counts[k][labels[examples[i]]]++;
        }
    }
    ck_assert(!again);
}

START_TEST(examples_are_dealt_once)
{
    int64_t counts[PLAYERS][LABELS], again[PLAYERS][LABELS];
    deal(0, 1, counts);
    for (int k = 0; k < PLAYERS; k++) {
        int64_t sum = 0;
        for (int c = 0; c < LABELS; c++)
            sum += counts[k][c];
        ck_assert(sum == MANY / PLAYERS || sum == MANY / PLAYERS + 1);
    }
    deal(0.01, 3, counts); /* hardly more than a client for each class: the others got one each */
    deal(0.01, 3, again);
    ck_assert_mem_eq(counts, again, sizeof counts);
    deal(0.01, 4, again);
    ck_assert_mem_ne(counts, again, sizeof counts);
}
END_TEST

/* A share of a Dirichlet distribution of K parameters alpha has the mean 1 / K and the variance (K - 1) / K^2 / (K
 * alpha + 1). A squared distance from the mean deviates from its own mean by less than 2.5 times that (its kurtosis is
 * below 7 for alpha >= 0.3); so the mean of 4 x 400 independent classes, were a class's shares all one, by 2.5 / 40,
 * and it is 7 of them. Two such deviations are allowed. */
START_TEST(shares_are_dirichlets)
{
    enum { TIMES = 400 };
    static const double alphas[] = { 0.3, 1, 5 };
    for (int a = 0; a < 3; a++) {
        double squares = 0;
        int64_t counts[PLAYERS][LABELS];
        for (uint64_t seed = 0; seed < TIMES; seed++) {
            deal(alphas[a], seed, counts);
            for (int c = 0; c < LABELS; c++)
                for (int k = 0; k < PLAYERS; k++)
                    squares += pow((double)counts[k][c] * LABELS / MANY - 1.0 / PLAYERS, 2);
        }
        const double found = squares / (TIMES * LABELS * PLAYERS);
        const double wanted = (PLAYERS - 1.0) / (PLAYERS * PLAYERS) / (PLAYERS * alphas[a] + 1);
        ck_assert_msg(fabs(found / wanted - 1) < 2 * 2.5 / 40, "alpha %g: variance %g, wanted %g", alphas[a], found,
                      wanted);
    }
}
END_TEST

/* ---- federations ---- */

static bd_trainer *new_trainer(const bd_train_params *params)
{
    bd_trainer *trainer = NULL;
    bd_error error = { 0 };
    must(bd_trainer_create(device, params, &trainer, &error), &error);
    return trainer;
}

static size_t count_weights(const bd_trainer *trainer, size_t *tensors)
{
    size_t sum = 0;
    const char *name;
    int64_t elements;
    for (*tensors = 0; bd_trainer_weight(trainer, *tensors, &name, &elements); ++*tensors)
        sum += (size_t)elements;
    return sum;
}

static float *weights_of(bd_trainer *trainer, size_t *count)
{
    size_t tensors;
    bd_error error = { 0 };
    *count = count_weights(trainer, &tensors);
    float *values = malloc(*count * sizeof *values);
    ck_assert_ptr_nonnull(values);
    must(bd_trainer_read_weights(trainer, values, &error), &error);
    return values;
}

/* Runs a federation of new trainers, and returns the server's weights. */
static float *federate(federation *f, bd_train_params params, const char *format, traffic *sent, size_t *count)
{
    bd_error error = { 0 };
    const wire w = parsed(format);
    must(federation_prepare(f, &params, &error), &error);
    bd_trainer *trainer = new_trainer(&params);
    must(federation_run(f, &w, trainer, sent, NULL, &error), &error);
    float *values = weights_of(trainer, count);
    bd_trainer_destroy(&trainer);
    return values;
}

/* Four clients, a step each over all 32 of their examples, in F32: the server's weights are those of one step over all
 * 128. On the reference, which sums in double, an example's own values are the same in both, but for the factor 1 /
 * batch, a power of two. What is rounded differs: gradients g, steps r g, weights w before they are averaged and after,
 * differences. Each once, by u = 2^-24 of it, so together at most u (3 |w| + 5 r |g|). Inputs are 3 at most and no
 * logit's gradient is above 1, so that with weights up to W |g| is at most 109 W: (36 * 3 + 1) W for a feature of the
 * hidden layer. */
START_TEST(one_local_step_is_a_step_of_a_large_batch)
{
    enum { EXAMPLES = 128, CLIENTS = 4 };
    bd_dataset some = *dataset;
    some.train.count = EXAMPLES;
    bd_train_params params = fixture_params(&some, "fp32");
    params.optimizer.momentum = 0;
    params.batch = EXAMPLES / CLIENTS;
    federation f = { .clients = CLIENTS, .rounds = 1, .local_steps = 1 };
    traffic sent;
    size_t count, same;
    float *together = federate(&f, params, "f32", &sent, &count);

    params.batch = EXAMPLES;
    params.epochs = 1;
    bd_trainer *trainer = new_trainer(&params);
    float *before = weights_of(trainer, &same);
    bd_error error = { 0 };
    must(bd_trainer_run(trainer, NULL, &error), &error);
    float *alone = weights_of(trainer, &same);
    bd_trainer_destroy(&trainer);

    ck_assert_uint_eq(count, same);
    double largest = 0, moved = 0;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)before[i]));
    const double step = (double)params.optimizer.rate * fmax(1, 109 * largest);
    const double allowed = 0x1p-24 * (3 * (largest + step) + 5 * step);
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(fabs((double)together[i] - (double)alone[i]) <= allowed, "weight %zu: %g and %g", i,
                      (double)together[i], (double)alone[i]);
        moved = fmax(moved, fabs((double)alone[i] - (double)before[i]));
    }
    ck_assert_double_gt(moved, 1000 * allowed);
    free(together);
    free(before);
    free(alone);
}
END_TEST

/* 36-16-4 has 660 weights in four tensors. */
START_TEST(a_run_counts_its_bytes)
{
    static const struct {
        const char *format;
        uint64_t message;
    } cases[] = { { "f32", 2640 }, { "f8e4m3:stochastic", 660 + 16 }, { "int4", 330 + 16 } };
    for (int i = 0; i < 3; i++) {
        federation f = { .clients = 3, .rounds = 2, .local_steps = 1 };
        traffic sent;
        size_t count;
        free(federate(&f, fixture_params(dataset, "fp32"), cases[i].format, &sent, &count));
        ck_assert_uint_eq(sent.down, 6 * cases[i].message);
        ck_assert_uint_eq(sent.up, 6 * cases[i].message);
        ck_assert_uint_eq(sent.single, 2 * 6 * 2640);
    }
}
END_TEST

/* Batch normalisation's statistics go along, dropout draws numbers, momentum is forgotten; 67 examples are more than
 * four batches of 16, so a turn of seven steps is more than a pass. */
START_TEST(the_same_seed_gives_the_same_weights)
{
    bd_train_params params = fixture_params(dataset, "mixed");
    params.model = fixture_net;
    federation f = { .clients = 3, .rounds = 2, .local_steps = 7 };
    traffic sent;
    size_t count;
    float *first = federate(&f, params, "f8e4m3:stochastic", &sent, &count);
    float *again = federate(&f, params, "f8e4m3:stochastic", &sent, &count);
    ck_assert_mem_eq(first, again, count * sizeof *first);
    free(again);
    params.dataset_device_bytes = 7000; /* streamed: four batches in each half of the ring */
    again = federate(&f, params, "f8e4m3:stochastic", &sent, &count);
    ck_assert_mem_eq(first, again, count * sizeof *first);
    free(again);
    params.seed++;
    again = federate(&f, params, "f8e4m3:stochastic", &sent, &count);
    ck_assert_mem_ne(first, again, count * sizeof *first);
    free(again);
    free(first);
}
END_TEST

/* Moments, the powers of beta, loss scale, dropout's numbers and the place in the schedule: the second turn is as the
 * first. */
START_TEST(a_client_remembers_nothing)
{
    enum { STEPS = 5, FROM = 3 };
    bd_train_params params = fixture_params(dataset, "mixed");
    params.model = fixture_net;
    params.optimizer.kind = BD_OPTIMIZER_ADAM;
    params.optimizer.schedule = BD_SCHEDULE_COSINE;
    bd_trainer *trainer = new_trainer(&params);
    uint32_t order[STEPS * FIXTURE_BATCH];
    size_t count;
    bd_error error = { 0 };
    float *start = weights_of(trainer, &count), *ends[2];
    for (uint32_t i = 0; i < STEPS * FIXTURE_BATCH; i++)
        order[i] = i * 7 % FIXTURE_TRAIN;
    for (int turn = 0; turn < 2; turn++) {
        must(bd_trainer_write_weights(trainer, start, &error), &error);
        must(bd_trainer_restart(trainer, 5, FROM, &error), &error);
        must(bd_trainer_take_steps(trainer, order, STEPS, &error), &error);
        ck_assert_uint_eq(trainer->state.control[BD_CONTROL_STEP], FROM + STEPS);
        ends[turn] = weights_of(trainer, &count);
    }
    ck_assert_mem_ne(start, ends[0], count * sizeof *start);
    ck_assert_mem_eq(ends[0], ends[1], count * sizeof *start);
    must(bd_trainer_write_weights(trainer, start, &error), &error);
    must(bd_trainer_take_steps(trainer, order, STEPS, &error), &error); /* not begun anew: another end */
    free(ends[1]);
    ends[1] = weights_of(trainer, &count);
    ck_assert_mem_ne(ends[0], ends[1], count * sizeof *start);
    free(start);
    free(ends[0]);
    free(ends[1]);
    bd_trainer_destroy(&trainer);
}
END_TEST

/* Clients learn: more than guessing among four, after a round that is a pass. */
START_TEST(rounds_learn)
{
    bd_train_params params = fixture_params(dataset, "fp32");
    federation f = { .clients = 2, .rounds = 3 };
    const wire w = parsed("f8e4m3:stochastic");
    bd_train_event end;
    traffic sent;
    bd_error error = { 0 };
    must(federation_prepare(&f, &params, &error), &error);
    ck_assert_int_eq(f.local_steps, FIXTURE_TRAIN / 2 / FIXTURE_BATCH);
    ck_assert_int_eq(params.max_steps, 3 * f.local_steps);
    bd_trainer *trainer = new_trainer(&params);
    must(federation_run(&f, &w, trainer, &sent, &end, &error), &error);
    ck_assert_double_gt(end.test_accuracy, 0.5);
    ck_assert_int_eq(end.epoch, 3);
    ck_assert_int_eq(end.step, 3 * 2 * f.local_steps);
    bd_trainer_destroy(&trainer);
}
END_TEST

static bool always(void *user)
{
    (void)user;
    return true;
}

START_TEST(what_cannot_be)
{
    bd_error error = { 0 };
    bd_train_params params = fixture_params(dataset, "fp8");
    federation f = { .clients = 2, .rounds = 1 };
    ck_assert_int_eq(federation_prepare(&f, &params, &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, "operands=delayed"), "%s", error.message);
    params = fixture_params(dataset, "fp32");
    f.clients = FIXTURE_TRAIN + 1;
    ck_assert_int_eq(federation_prepare(&f, &params, &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, "201 clients"), "%s", error.message);
    bd_dataset text = *dataset;
    text.tokens = BD_TOKENS_BYTES;
    params.dataset = &text;
    ck_assert_int_eq(federation_prepare(&f, &params, &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, "is a text"), "%s", error.message);

    params = fixture_params(dataset, "fp32");
    params.should_stop = always;
    f = (federation){ .clients = 2, .rounds = 1 };
    traffic sent;
    const wire w = parsed("f32");
    must(federation_prepare(&f, &params, &error), &error);
    bd_trainer *trainer = new_trainer(&params);
    ck_assert_int_eq(federation_run(&f, &w, trainer, &sent, NULL, &error), BD_ERROR_INTERRUPTED);
    ck_assert_uint_eq(sent.down, 0);
    const uint32_t order[1] = { 0 };
    ck_assert_int_eq(bd_trainer_take_steps(trainer, order, FIXTURE_TRAIN, &error), BD_ERROR_ARGUMENT);
    bd_trainer_destroy(&trainer);

    params.optimizer.rate = 1e30f;
    params.should_stop = NULL;
    trainer = new_trainer(&params);
    const bd_status status = federation_run(&f, &w, trainer, &sent, NULL, &error);
    ck_assert_msg(status == BD_ERROR_NUMERIC, "%s: %s", bd_status_name(status), error.message);
    bd_trainer_destroy(&trainer);
}
END_TEST

static void set_up(void)
{
    bd_error error = { 0 };
    must(bd_device_open("reference", &device, &error), &error);
    dataset = fixture_dataset();
}

static void tear_down(void)
{
    fixture_free(&dataset);
    bd_device_close(&device);
}

int main(void)
{
    Suite *suite = suite_create("federated");
    TCase *numbers = tcase_create("wire"), *runs = tcase_create("federations");
    tcase_add_test(numbers, names_are_read);
    tcase_add_test(numbers, mistakes_are_told);
    tcase_add_test(numbers, bytes_are_counted);
    tcase_add_test(numbers, values_stay_within_a_step_and_the_clip);
    tcase_add_test(numbers, stochastic_rounding_has_the_value_as_its_mean);
    tcase_add_test(numbers, a_message_has_its_own_numbers);
    tcase_add_test(numbers, special_values);
    tcase_add_test(numbers, examples_are_dealt_once);
    tcase_add_test(numbers, shares_are_dirichlets);
    tcase_add_checked_fixture(runs, set_up, tear_down);
    tcase_set_timeout(runs, 120);
    tcase_add_test(runs, one_local_step_is_a_step_of_a_large_batch);
    tcase_add_test(runs, a_run_counts_its_bytes);
    tcase_add_test(runs, the_same_seed_gives_the_same_weights);
    tcase_add_test(runs, a_client_remembers_nothing);
    tcase_add_test(runs, rounds_learn);
    tcase_add_test(runs, what_cannot_be);
    suite_add_tcase(suite, numbers);
    suite_add_tcase(suite, runs);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
