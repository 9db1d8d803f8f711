/* Which measurements are a warning, of which layer, and which repair it names. */
#include "../apps/warnings.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

typedef struct heard {
    int count;
    char last[512];
} heard;

static void hear(void *user, const char *text)
{
    heard *h = user;
    h->count++;
    ck_assert_uint_lt(strlen(text), sizeof h->last);
    strcpy(h->last, text);
}

/* What is said of these measurements, by a run with this policy that has not said anything yet. */
static heard told_of(const char *policy, const bd_measurement *measurements, size_t count)
{
    heard h = { 0 };
    bd_precision precision;
    bd_error error = { 0 };
    ck_assert_msg(bd_precision_parse(policy, &precision, &error) == BD_OK, "%s", error.message);
    const bd_train_event event = {
        .kind = BD_TRAIN_MEASURED, .step = 300, .measurements = measurements, .measurement_count = count
    };
    warnings w = { 0 };
    warnings_check(&w, &event, &precision, hear, &h);
    const int first = h.count;
    warnings_check(&w, &event, &precision, hear, &h);
    ck_assert_int_eq(h.count, first); /* once is enough */
    return h;
}

static void expect(const char *policy, const bd_measurement *m, const char *const *parts)
{
    const heard h = told_of(policy, m, 1);
    ck_assert_int_eq(h.count, parts != NULL);
    for (; parts && *parts; parts++)
        ck_assert_msg(strstr(h.last, *parts), "'%s' is not in '%s'", *parts, h.last);
}
#define EXPECT(policy, m, ...) expect(policy, m, (const char *const[]){ __VA_ARGS__, NULL })

static bd_measurement of(bd_measured what, double underflow, double overflow)
{
    return (bd_measurement){
        .layer = "conv1", .what = what, .format = BD_F16, .underflow = underflow, .overflow = overflow
    };
}

START_TEST(gradients)
{
    bd_measurement m = of(BD_MEASURED_GRADIENT, 0.25, 0);
    EXPECT("fp16", &m, "step 300: 25% of the gradients of layer 'conv1' become 0 in f16; ", "scale=dynamic");
    EXPECT("fp16,scale=64", &m, "larger loss scale");
    EXPECT("mixed", &m, "'conv1:g=bf16'");
    m.underflow = 0.1; /* not above the limit */
    expect("fp16", &m, NULL);
    m = of(BD_MEASURED_WEIGHT_GRADIENT, 0, 0.001);
    EXPECT("fp16", &m, "0.1% of the weight gradients of layer 'conv1' become infinite", "bf16");
    EXPECT("fp16,scale=64", &m, "smaller loss scale");
    expect("mixed", &m, NULL); /* how the scale is found */
}
END_TEST

START_TEST(activations_and_operands)
{
    bd_measurement m = of(BD_MEASURED_ACTIVATION, 0, 1e-6);
    EXPECT("mixed", &m, "of the activations of layer 'conv1' become infinite in f16; ", "'conv1:a=bf16'");
    m = of(BD_MEASURED_OPERAND, 0.2, 0);
    EXPECT("fp32,qa=f8e4m3", &m, "20% of the operands", "operands=delayed", "'conv1:qw=f16,qa=f16'");
    m = of(BD_MEASURED_GRADIENT_OPERAND, 0.2, 0);
    EXPECT("fp32,qg=f8e5m2", &m, "gradient operands", "'conv1:qg=f16'");
}
END_TEST

START_TEST(updates)
{
    bd_measurement m = of(BD_MEASURED_UPDATE, 0.6, 0);
    EXPECT("bf16", &m, "60% of the updates of layer 'conv1' change no weight",
           "kahan=on, round=stochastic or master=f32");
    expect("bf16-kahan", &m, NULL);
    expect("bf16-sr", &m, NULL);
    m.format = BD_F32; /* as at the end of a schedule: no format would keep them */
    expect("mixed", &m, NULL);
    m.format = BD_F16;
    m.underflow = 0.5;
    expect("bf16", &m, NULL);
    m = of(BD_MEASURED_BIAS_UPDATE, 0.6, 0);
    EXPECT("bf16", &m, "60% of the bias updates of layer 'conv1' change no weight");
    m = of(BD_MEASURED_BIAS_GRADIENT, 0.9, 0); /* of a few numbers, or of none but rounding errors */
    expect("fp16", &m, NULL);
    m = of(BD_MEASURED_UPDATE, 0, 0.5); /* what is not finite in an update was so in the gradient */
    expect("bf16", &m, NULL);
}
END_TEST

START_TEST(the_worst_layer_is_named)
{
    bd_measurement m[3] = { of(BD_MEASURED_GRADIENT, 0.2, 0), of(BD_MEASURED_WEIGHT_GRADIENT, 0.4, 0),
                            of(BD_MEASURED_UPDATE, 0.9, 0) };
    m[1].layer = "conv2";
    const heard both = told_of("fp16", m, 3);
    ck_assert_int_eq(both.count, 2); /* underflow, and lost updates */
    const heard one = told_of("fp16", m, 2);
    ck_assert_ptr_nonnull(strstr(one.last, "40% of the weight gradients of layer 'conv2'"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("warnings");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, gradients);
    tcase_add_test(tests, activations_and_operands);
    tcase_add_test(tests, updates);
    tcase_add_test(tests, the_worst_layer_is_named);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
