/* What `binade bench` judges by: error bounds, statistics, shapes, comparisons; and that a result that is not right is
 * told as wrong. */
#include "../apps/bench_graph.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>

/* ---- bounds ---- */

START_TEST(bounds_are_those_of_the_books)
{
    /* k u / (1 - k u) for k = 2 * 4 + 1 roundings */
    const double u = 0x1p-24;
    ck_assert_double_eq(bench_gamma(4, BD_F32), 9 * u / (1 - 9 * u));
    /* Certain knowledge ends where k u reaches 1; what is probable does not. */
    ck_assert(isfinite(bench_gamma(4096, BD_F16)));
    ck_assert_double_lt(bench_gamma(4096, BD_F16), 1);
    ck_assert_double_lt(bench_gamma(100, BD_F32), bench_gamma(101, BD_F32));
}
END_TEST

START_TEST(a_value_is_judged_after_its_rounding)
{
    ck_assert(bench_within(BD_F16, 1, 1 + 0x1p-12, 0));
    ck_assert(!bench_within(BD_F16, 1 + 0x1p-10, 1 + 0x1p-13, 0));
    ck_assert(bench_within(BD_F16, 1 + 0x1p-10, 1 + 0x1p-13, 0x1p-11));
    ck_assert(!bench_within(BD_F32, NAN, 1, INFINITY));
    ck_assert(!bench_within(BD_F32, 2, NAN, 1));
}
END_TEST

/* ---- statistics ---- */

START_TEST(quartiles_and_spread)
{
    double seconds[] = { 5, 1, 2, 4, 3 };
    const bench_samples samples = { seconds, 5 }, two = { seconds, 2 }, none = { 0 };
    const bench_summary s = bench_summarize(&samples);
    ck_assert_double_eq(s.median, 3);
    ck_assert_double_eq(s.low, 2);
    ck_assert_double_eq(s.high, 4);
    ck_assert_double_eq_tol(s.spread, 2.0 / 3, 1e-15);
    ck_assert_double_eq(seconds[0], 5); /* the samples stay in the order they were taken */
    ck_assert(isnan(bench_summarize(&two).spread));
    ck_assert(isnan(bench_summarize(&none).median));
}
END_TEST

/* ---- a whole row on the reference ---- */

static void twice(bd_graph *graph, const bd_tensor *operands, const void *user, bd_tensor *results)
{
    (void)user;
    *results = bd_add(graph, operands[0], operands[0]);
}

/* `user` is the factor that is taken for right. */
static bool times(const bench_check *check, int64_t i, const void *user)
{
    return bench_within(check->value, check->result[i], *(const double *)user * check->operands[0][i], 0);
}

static bench_status run_row(double factor, uint64_t memory)
{
    bench self = { .settings = { .reps = 1, .warmup_ms = 0, .max_seconds = 1 } };
    bd_error error = { 0 };
    bd_precision policy;
    self.devices = calloc(1, sizeof *self.devices);
    self.device_count = 1;
    ck_assert_int_eq(bd_precision_parse("fp16", &policy, &error), BD_OK);
    /* Not by its name, for which every driver would be loaded; without a cache, which it has no use for. */
    ck_assert_int_eq(bd_reference_backend()->open(0, NULL, &self.device, &error), BD_OK);
    self.device->info.limits.memory_bytes = memory;
    const bench_case c = { .operand_count = 1,
                           .operands = { BD_SHAPE(1000) },
                           .result_count = 1,
                           .build = twice,
                           .right = times,
                           .user = &factor };
    bench_row *row = bench_add(&self, BENCH_REDUCE, "own", "fp16", &error, "twice");
    ck_assert_ptr_nonnull(row);
    bench_run_case(&self, row, &policy, &c);
    const bench_status status = row->status;
    ck_assert(isnan(bench_value(row)) == (status != BENCH_OK));
    bench_finish(&self);
    return status;
}

START_TEST(a_right_result_is_ok)
{
    ck_assert_int_eq(run_row(2, 1 << 20), BENCH_OK);
}
END_TEST

START_TEST(a_wrong_result_is_told_as_wrong_and_has_no_number)
{
    ck_assert_int_eq(run_row(2.01, 1 << 20), BENCH_WRONG);
}
END_TEST

START_TEST(what_does_not_fit_is_skipped)
{
    ck_assert_int_eq(run_row(2, 1000), BENCH_SKIPPED);
}
END_TEST

/* ---- the peak that a row is held against ---- */

static void add_peak(bench *self, const char *name, double gflops)
{
    bd_error error = { 0 };
    bench_row *row = bench_add(self, BENCH_PEAK, "raw", "", &error, "%s", name);
    ck_assert_ptr_nonnull(row);
    row->unit = BENCH_GFLOPS;
    row->flops = gflops * 1e9;
    row->wall = (bench_samples){ malloc(sizeof(double)), 1 };
    row->wall.seconds[0] = 1;
}

START_TEST(peaks_are_those_of_the_operands)
{
    enum { FP32 = 1, SCALAR = 2, BF16_UNITS = 3, F16_UNITS = 4, F8_UNITS = 5, INT8_UNITS = 6 };
    static const bd_role forward[] = { BD_ROLE_ACTIVATION_OPERAND, BD_ROLE_WEIGHT_OPERAND },
                         data[] = { BD_ROLE_GRADIENT_OPERAND, BD_ROLE_WEIGHT_OPERAND };
    static const struct {
        const char *policy;
        int forward, data, others; /* others: of what no policy rounds apart, as attention */
    } rows[] = {
        { "fp32", FP32, FP32, FP32 },
        { "fp16", F16_UNITS, F16_UNITS, F16_UNITS },
        { "fp16-strict", SCALAR, SCALAR, SCALAR },
        { "mixed-bf16", BF16_UNITS, BF16_UNITS, BF16_UNITS },
        { "fp8", F16_UNITS, F16_UNITS, FP32 },
        { "fp8-native", F8_UNITS, F8_UNITS, FP32 },
        { "fp8-native,qw=f16", F16_UNITS, F16_UNITS, FP32 },
        { "int8-qat", INT8_UNITS, FP32, FP32 }, /* its gradients stay single */
        { "mixed-bf16,qw=f8e4m3", BF16_UNITS, BF16_UNITS, BF16_UNITS },
        { "qw=f16,qa=bf16", FP32, FP32, FP32 },
        { "tf32", FP32, FP32, FP32 },
    };
    bench self = { .devices = calloc(1, sizeof *self.devices), .device_count = 1 };
    add_peak(&self, "fp32", FP32);
    add_peak(&self, "fp16 scalar", SCALAR);
    add_peak(&self, "matrix units bf16", BF16_UNITS);
    add_peak(&self, "matrix units fp16", F16_UNITS);
    add_peak(&self, "matrix units fp8", F8_UNITS);
    add_peak(&self, "matrix units int8", INT8_UNITS);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bd_precision policy;
        bd_error error = { 0 };
        ck_assert_msg(!bd_precision_parse(rows[i].policy, &policy, &error), "%s", error.message);
        ck_assert_double_eq_tol(bench_peak_of(&self, &policy, forward), rows[i].forward, 1e-9);
        ck_assert_double_eq_tol(bench_peak_of(&self, &policy, data), rows[i].data, 1e-9);
        ck_assert_double_eq_tol(bench_peak_of(&self, &policy, NULL), rows[i].others, 1e-9);
    }
    bench_finish(&self);
}
END_TEST

/* ---- shapes ---- */

START_TEST(ranges_of_shapes)
{
    bench_settings s = { .asked = { [BENCH_GEMM] = true, [BENCH_TRAIN] = true } };
    bd_error error = { 0 };
    ck_assert_int_eq(bench_parse_shapes("64,1-3+1x8x2-16*2,train:7", &s, &error), BD_OK);
    ck_assert_uint_eq(s.shape_count, 1 + 3 * 4 + 1);
    ck_assert(!s.shapes[0].named && s.shapes[13].named);
    ck_assert_int_eq(s.shapes[13].suite, BENCH_TRAIN);
    ck_assert_int_eq(s.shapes[0].shape.rank, 1);
    ck_assert_int_eq(s.shapes[12].shape.size[0], 3);
    ck_assert_int_eq(s.shapes[12].shape.size[1], 8);
    ck_assert_int_eq(s.shapes[12].shape.size[2], 16);
    free(s.shapes);
}
END_TEST

START_TEST(bad_shapes_are_refused)
{
    static const char *const bad[] = { "",
                                       "x",
                                       "8x",
                                       "8x8",
                                       "-8",
                                       "0",
                                       "8-4+1",
                                       "8-16",
                                       "8-16*1",
                                       "8-16+0",
                                       "8 ",
                                       "train:8",
                                       "gem:8",
                                       "gemm:",
                                       ":8",
                                       "1x2x3x4x5",
                                       "1x2x3x4x5x6x7x8",
                                       "99999999999999999999",
                                       "8,,8" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bench_settings s = { .asked = { [BENCH_GEMM] = true } };
        bd_error error = { 0 };
        ck_assert_msg(bench_parse_shapes(bad[i], &s, &error) == BD_ERROR_ARGUMENT, "%s is taken", bad[i]);
        free(s.shapes);
    }
}
END_TEST

/* ---- comparisons ---- */

START_TEST(changes_beyond_noise_are_marked)
{
    static const struct {
        const char *before, *spread;
        bench_change change;
    } cases[] = { { "10.4", "0", BENCH_SAME }, { "9", "0", BENCH_FASTER },  { "11", "0", BENCH_SLOWER },
                  { "9", "0.2", BENCH_SAME },  { "11", "0.2", BENCH_SAME }, { "5", "0.2", BENCH_FASTER } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bd_error error = { 0 };
        bench self = { .devices = calloc(1, sizeof(bd_device_info)), .device_count = 1 };
        bench_row *row = bench_add(&self, BENCH_GEMM, "own", "fp32", &error, "it");
        row->unit = BENCH_GFLOPS;
        row->flops = 1e10; /* in a second: 10 GFLOP/s */
        row->wall.seconds = calloc(1, sizeof(double));
        row->wall.seconds[0] = 1;
        row->wall.count = 1;
        char text[400];
        snprintf(
            text, sizeof text,
            "{\"rows\": [{\"suite\": \"gemm\", \"name\": \"it\", \"variant\": \"own\", \"policy\": \"fp32\", "
            "\"backend\": \"\", \"device_name\": \"\", \"unit\": \"GFLOP/s\", \"value\": %s, \"wall_spread\": %s}]}",
            cases[i].before, cases[i].spread);
        json_t *document = json_loads(text, JSON_DECODE_INT_AS_REAL, NULL);
        bench_compare(&self, document, "before.json");
        ck_assert_msg(row->change == cases[i].change, "case %zu: %d", i, (int)row->change);
        ck_assert_double_eq_tol(row->ratio, 10 / strtod(cases[i].before, NULL), 1e-12);
        json_decref(document);
        bench_finish(&self);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench");
    TCase *tests = tcase_create("bench");
    tcase_add_test(tests, bounds_are_those_of_the_books);
    tcase_add_test(tests, a_value_is_judged_after_its_rounding);
    tcase_add_test(tests, quartiles_and_spread);
    tcase_add_test(tests, a_right_result_is_ok);
    tcase_add_test(tests, a_wrong_result_is_told_as_wrong_and_has_no_number);
    tcase_add_test(tests, what_does_not_fit_is_skipped);
    tcase_add_test(tests, peaks_are_those_of_the_operands);
    tcase_add_test(tests, ranges_of_shapes);
    tcase_add_test(tests, bad_shapes_are_refused);
    tcase_add_test(tests, changes_beyond_noise_are_marked);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
