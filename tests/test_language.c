/* A small language model as a whole, on a device: test_language DEVICE. It learns, goes on from a checkpoint as if it
 * had never stopped, and writes. */
#include "../apps/models/models.h"
#include "scratch.h"
#include "train_fixture.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *device_name;
static bd_device *device;
static bd_dataset *dataset;

static const char line[] = "every token names the next: \xc3\xa9t\xc3\xa9\n";
enum { LINES = 40, LINE_TOKENS = sizeof line - 1 - 2 /* of two characters the second bytes */ };

static const model tiny = { .depth = 1, .gpt = { .context = 16, .width = 32, .heads = 2, .dropout = 0.1f } };
static const char *const policies[] = { "fp32", "fp16", "mixed" };
enum { POLICIES = sizeof policies / sizeof *policies };

static void begin(void)
{
    bd_error error = { 0 };
    char text[LINES * (sizeof line - 1) + 1];
    for (int i = 0; i < LINES; i++)
        memcpy(text + i * (int)(sizeof line - 1), line, sizeof line);
    scratch_create();
    scratch_write("text", text, strlen(text));
    must(bd_dataset_open(scratch_path("text"), &dataset, &error), &error);
    must(bd_device_open(device_name, &device, &error), &error);
}

static void end(void)
{
    bd_device_close(&device);
    bd_dataset_close(&dataset);
    scratch_remove();
}

static bd_train_params params_for(const char *policy, int64_t steps)
{
    bd_train_params params = fixture_params(dataset, policy);
    params.model = model_gpt;
    params.model_user = &tiny;
    params.model_name = "tiny";
    params.context = tiny.gpt.context;
    params.batch = 8;
    params.epochs = 0;
    params.max_steps = steps;
    params.optimizer = (bd_optimizer){ .kind = BD_OPTIMIZER_ADAMW,
                                       .rate = 0.01f,
                                       .weight_decay = 0.1f,
                                       .decay_matrices = true,
                                       .beta1 = 0.9f,
                                       .beta2 = 0.99f,
                                       .epsilon = 1e-4f /* 1e-8 is 0 in F16 */,
                                       .clip_norm = 1,
                                       .schedule = BD_SCHEDULE_COSINE,
                                       .warmup_steps = 10 };
    return params;
}

static void expect_equal_files(const char *a, const char *b)
{
    size_t size_a, size_b;
    uint8_t *x = scratch_read(a, &size_a), *y = scratch_read(b, &size_b);
    ck_assert_uint_eq(size_a, size_b);
    ck_assert_msg(!memcmp(x, y, size_a), "%s and %s differ", a, b);
    free(x);
    free(y);
}

/* What follows is certain but for the first tokens of a window, whose place in the line the model cannot know: "t" or
 * "e" alone leaves a choice. Guessing gives ln(17) = 2.8. */
START_TEST(learns)
{
    bd_train_params params = params_for(policies[_i], 150);
    bd_train_event event = fixture_run(device, &params);
    ck_assert_int_eq(event.step, 150);
    ck_assert_msg(event.test_loss < 0.6 && event.test_accuracy > 0.8, "loss %g, accuracy %g", event.test_loss,
                  event.test_accuracy);
    /* A window is an example: an epoch covers the text once. */
    ck_assert_int_eq(event.steps_per_epoch, (LINES * LINE_TOKENS * 9 / 10 - 1) / 16 / 8);
    ck_assert_double_eq_tol(event.tokens_per_second / event.images_per_second, 16, 1e-9);
}
END_TEST

typedef struct attention_found {
    bd_measurement result, gradient; /* of attention, in the block's own layer */
} attention_found;

static void take_attention(void *user, const bd_train_event *event)
{
    attention_found *f = user;
    for (size_t i = 0; event->kind == BD_TRAIN_MEASURED && i < event->measurement_count; i++) {
        const bd_measurement *m = &event->measurements[i];
        if (!strcmp(m->layer, "block1"))
            *(m->what == BD_MEASURED_ACTIVATION ? &f->result : &f->gradient) = *m;
    }
}

/* Rounding to F16 changes a normal value by a part in 2^11 at most, which is 66.2 dB; what is below the normal ones
 * weighs nothing here. */
START_TEST(attention_is_measured)
{
    attention_found f = { 0 };
    bd_train_params params = params_for("fp16", 2);
    params.measure_steps = 2;
    params.on_event = take_attention;
    params.user = &f;
    bd_trainer *trainer;
    bd_error error = { 0 };
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_run(trainer, NULL, &error), &error);
    bd_trainer_destroy(&trainer);
    ck_assert_double_eq(f.result.elements, 8 * 16 * 32);
    ck_assert_double_ge(f.result.sqnr, 66.2);
    ck_assert_double_lt(f.result.sqnr, 90);
    ck_assert_double_eq(f.gradient.elements, 8 * 16 * 3 * 32);
    ck_assert_double_gt(f.gradient.norm, 0);
}
END_TEST

/* Logits that are all 0 rise by epsilon where they are wrong and fall by it where not: from ln(17) to ln(1 + 16 exp(2
 * epsilon)). */
START_TEST(sharpness_of_windows)
{
    const double epsilon = 0.01, tokens = (double)dataset->classes, loss = log(tokens);
    bd_train_params params = params_for(policies[_i], 1);
    bd_trainer *trainer;
    bd_sharpness found;
    bd_error error = { 0 };
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_sharpness(trainer, epsilon, &found, &error), &error);
    /* The first weights are so small that logits are less than 0.1 from 0, and their boxes 0.1 wider. */
    const double flat = 100 * (log(1 + (tokens - 1) * exp(2 * epsilon)) - loss) / (1 + loss);
    ck_assert_double_eq_tol(found.loss, loss, 0.1);
    ck_assert_msg(found.logits > 0.9 * flat && found.logits < 1.2 * flat, "%g, flat %g", found.logits, flat);
    ck_assert_msg(found.weights > 0, "%g", found.weights);
    bd_trainer_destroy(&trainer);
}
END_TEST

static bool stop_after(void *user)
{
    int *left = user;
    return (*left)-- == 0;
}

START_TEST(resumed_runs_are_as_if_never_stopped)
{
    bd_train_params params = params_for(policies[_i], 25);
    params.checkpoint = scratch_path("whole");
    fixture_run(device, &params);
    static const int stops[] = { 3, 10, 17 };
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        int left = stops[i];
        bd_trainer *trainer;
        bd_error error = { 0 };
        bd_train_params part = params;
        part.checkpoint = scratch_path("part");
        part.report_steps = 1;
        part.should_stop = stop_after;
        part.user = &left;
        must(bd_trainer_create(device, &part, &trainer, &error), &error);
        ck_assert_int_eq(bd_trainer_run(trainer, NULL, &error), BD_ERROR_INTERRUPTED);
        bd_trainer_destroy(&trainer);
        part.should_stop = NULL;
        part.report_steps = 0;
        part.resume = part.checkpoint;
        part.seed = 77; /* the checkpoint's counts */
        fixture_run(device, &part);
        expect_equal_files("whole", "part");
    }
}
END_TEST

/* The first weights after a step with that weight decay. */
static void take_step(float decay, bool matrices, double gamma[32], double places[16 * 32])
{
    bd_train_params params = params_for("fp32", 1);
    bd_trainer *trainer;
    bd_error error = { 0 };
    params.optimizer.weight_decay = decay;
    params.optimizer.decay_matrices = matrices;
    params.optimizer.warmup_steps = 0;
    must(bd_trainer_create(device, &params, &trainer, &error), &error);
    must(bd_trainer_run(trainer, NULL, &error), &error);
    must(bd_trainer_read(trainer, "block1/norm1/gamma", gamma, 32, &error), &error);
    must(bd_trainer_read(trainer, "positions", places, 16 * 32, &error), &error);
    bd_trainer_destroy(&trainer);
}

START_TEST(decay_can_be_for_matrices)
{
    double gamma[3][32], places[3][16 * 32];
    take_step(0, true, gamma[0], places[0]);
    take_step(0.5f, true, gamma[1], places[1]);
    take_step(0.5f, false, gamma[2], places[2]);
    ck_assert_int_eq(memcmp(gamma[0], gamma[1], sizeof *gamma), 0);
    /* w -= rate * decay * w of what w was, 0.02 or so, and of a scale that was 1. The norm of all gradients is summed
     * in other parts. */
    ck_assert_int_ne(memcmp(places[0], places[1], sizeof *places), 0);
    for (int i = 0; i < 16 * 32; i++)
        ck_assert_double_eq_tol(places[1][i], places[2][i], 1e-6);
    for (int i = 0; i < 32; i++)
        ck_assert_double_eq_tol(gamma[0][i] - gamma[2][i], 0.01 * 0.5, 1e-6);
}
END_TEST

static bd_generator *open_generator(const char *checkpoint, double temperature, int64_t top_k, uint64_t seed)
{
    bd_generator *generator;
    bd_error error = { 0 };
    must(bd_generator_open(scratch_path(checkpoint), &generator, &error), &error);
    ck_assert_str_eq(bd_generator_model(generator), "tiny");
    const bd_generator_params params = { model_gpt, &tiny, temperature, top_k, seed };
    must(bd_generator_start(generator, device, &params, &error), &error);
    return generator;
}

static void write_text(bd_generator *generator, const char *prompt, int tokens, char *text)
{
    bd_error error = { 0 };
    must(bd_generator_prompt(generator, prompt, &error), &error);
    *text = '\0';
    for (int i = 0; i < tokens; i++) {
        const char *token;
        must(bd_generator_next(generator, &token, &error), &error);
        strcat(text, token);
    }
}

START_TEST(writes_what_it_learnt)
{
    char text[4 * sizeof line], again[4 * sizeof line];
    bd_train_params params = params_for(policies[_i], 250);
    params.checkpoint = scratch_path("tiny");
    fixture_run(device, &params);
    /* The likeliest of a known line, beyond the end of the window, is the next line. */
    bd_generator *generator = open_generator("tiny", 0, 0, 1);
    write_text(generator, line, 2 * LINE_TOKENS, text);
    ck_assert_msg(!strncmp(text, line, strlen(line)) && !strcmp(text + strlen(line), line), "'%s'", text);
    bd_generator_close(&generator);
    ck_assert_ptr_null(generator);
    /* One of one is the likeliest, at any temperature. */
    generator = open_generator("tiny", 5, 1, 2);
    write_text(generator, line, LINE_TOKENS, again);
    ck_assert_str_eq(again, line);
    bd_generator_close(&generator);
    /* Drawn: by the seed. */
    for (int seed = 1; seed <= 3; seed++) {
        generator = open_generator("tiny", 5, 0, seed == 3 ? 2 : 1);
        write_text(generator, line, LINE_TOKENS, seed == 1 ? text : again);
        ck_assert_int_eq(!strcmp(text, again), seed == 2);
        bd_generator_close(&generator);
    }
    /* Without a prompt, a line begins. */
    generator = open_generator("tiny", 0, 0, 1);
    write_text(generator, "", 5, text);
    ck_assert_str_eq(text, "every");
    bd_generator_close(&generator);
}
END_TEST

START_TEST(bad_generators_are_refused)
{
    bd_train_params params = params_for("fp32", 1);
    bd_error error = { 0 };
    bd_generator *generator = NULL;
    const char *token;
    params.checkpoint = scratch_path("tiny");
    fixture_run(device, &params);
    must(bd_generator_open(scratch_path("tiny"), &generator, &error), &error);
    ck_assert_int_eq(bd_generator_next(generator, &token, &error), BD_ERROR_ARGUMENT);
    ck_assert_int_eq(bd_generator_prompt(generator, "every \xe2\x82\xac", &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, "\xe2\x82\xac") && strstr(error.message, "byte 6"), "%s", error.message);
    ck_assert_int_eq(bd_generator_prompt(generator, "\xff", &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, "0xff"), "%s", error.message);
    bd_generator_params bad = { model_gpt, &tiny, -1, 0, 1 };
    ck_assert_int_eq(bd_generator_start(generator, device, &bad, &error), BD_ERROR_ARGUMENT);
    /* Another model than the checkpoint's. */
    model wide = tiny;
    wide.gpt.width = 64;
    bad = (bd_generator_params){ model_gpt, &wide, 1, 0, 1 };
    ck_assert_int_eq(bd_generator_start(generator, device, &bad, &error), BD_ERROR_DATA);
    bd_generator_close(&generator);

    bd_dataset *images = fixture_dataset();
    bd_train_params other = fixture_params(images, "fp32");
    other.checkpoint = scratch_path("images");
    fixture_run(device, &other);
    ck_assert_int_eq(bd_generator_open(scratch_path("images"), &generator, &error), BD_ERROR_ARGUMENT);
    ck_assert_msg(strstr(error.message, "no language model"), "%s", error.message);
    ck_assert_ptr_null(generator);
    fixture_free(&images);
}
END_TEST

static void expect_refused(bd_train_params params, bd_status wanted, const char *says)
{
    bd_trainer *trainer = NULL;
    bd_error error = { 0 };
    ck_assert_int_eq(bd_trainer_create(device, &params, &trainer, &error), wanted);
    ck_assert_ptr_null(trainer);
    ck_assert_msg(strstr(error.message, says), "%s", error.message);
}

START_TEST(bad_parameters_are_refused)
{
    bd_train_params params = params_for("fp32", 1);
    params.context = 0;
    expect_refused(params, BD_ERROR_ARGUMENT, "at least one token");
    params = params_for("fp32", 1);
    params.augment = true;
    expect_refused(params, BD_ERROR_ARGUMENT, "only images");
    params = params_for("fp32", 1);
    params.batch = 1 << 20;
    expect_refused(params, BD_ERROR_ARGUMENT, "batch");
    params = params_for("fp32", 1);
    params.context = 1 << 20;
    expect_refused(params, BD_ERROR_DATA, "too short");
    params = params_for("fp32", 0);
    expect_refused(params, BD_ERROR_ARGUMENT, "epochs");
    params.epochs = -1;
    params.max_steps = 1;
    expect_refused(params, BD_ERROR_ARGUMENT, "epochs");
    /* A checkpoint of another text. */
    params = params_for("fp32", 1);
    params.checkpoint = scratch_path("tiny");
    fixture_run(device, &params);
    bd_dataset other = *dataset;
    char *names[BD_MOST_TOKENS];
    memcpy(names, dataset->class_names, (size_t)dataset->classes * sizeof *names);
    names[dataset->classes - 1] = (char[]){ "\xc3\xb9" };
    other.class_names = names;
    params.dataset = &other;
    params.resume = params.checkpoint;
    expect_refused(params, BD_ERROR_ARGUMENT, "vocabulary");
}
END_TEST

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: test_language DEVICE\n", stderr);
        return 2;
    }
    device_name = argv[1];
    if (!fixture_device_opens(device_name)) {
        fprintf(stderr, "no device '%s'\n", device_name);
        return 77;
    }
    Suite *suite = suite_create("language");
    TCase *tests = tcase_create("language");
    tcase_set_timeout(tests, 600);
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_loop_test(tests, learns, 0, POLICIES);
    tcase_add_loop_test(tests, sharpness_of_windows, 0, POLICIES);
    tcase_add_loop_test(tests, resumed_runs_are_as_if_never_stopped, 0, POLICIES);
    tcase_add_loop_test(tests, writes_what_it_learnt, 0, POLICIES);
    tcase_add_test(tests, decay_can_be_for_matrices);
    tcase_add_test(tests, attention_is_measured);
    tcase_add_test(tests, bad_generators_are_refused);
    tcase_add_test(tests, bad_parameters_are_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
