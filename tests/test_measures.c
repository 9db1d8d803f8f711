/* The measures of a run by values worked out by hand, intervals by published quantiles, corrupted images by their
 * definition. */
#include "apps/corrupt.h"
#include "apps/interval.h"
#include "apps/measures.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double EXACT = 1e-12; /* some roundings of doubles near 1 */

/* ---- classification ---- */

START_TEST(softmax_is_stable)
{
    const double logits[] = { 0, log(3), 1000, 1000, -1e300, 0, INFINITY, 0, NAN, 0 };
    double p[10];
    measure_softmax(&(outputs){ logits, 5, 2 }, p);
    const double wanted[] = { 0.25, 0.75, 0.5, 0.5, 0, 1 };
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq_tol(p[i], wanted[i], EXACT);
    for (int i = 6; i < 10; i++)
        ck_assert_double_nan(p[i]);
}
END_TEST

START_TEST(predictions_are_the_first_of_the_largest)
{
    ck_assert_int_eq(measure_prediction((double[]){ 0.2, 0.4, 0.4 }, 3), 1);
    ck_assert_int_eq(measure_prediction((double[]){ -INFINITY, -INFINITY }, 2), 0);
    ck_assert_int_eq(measure_prediction((double[]){ 0.9, NAN }, 2), -1);
    ck_assert_int_eq(measure_prediction((double[]){ 7 }, 1), 0);
}
END_TEST

/* Three examples: right with 0.8, wrong with 0.6, right with 0.5 (a tie goes to the first). */
static const double three[] = { 0.8, 0.2, 0.6, 0.4, 0.5, 0.5 };
static const uint8_t three_labels[] = { 0, 1, 0 };

START_TEST(scores_of_three_examples)
{
    double logits[6];
    reliability_bin bins[RELIABILITY_BINS];
    const outputs p = { three, 3, 2 };
    for (int i = 0; i < 6; i++)
        logits[i] = log(three[i]) + 5; /* a constant more changes nothing */
    ck_assert_double_eq_tol(measure_accuracy(&p, three_labels), 2 / 3.0, EXACT);
    ck_assert_double_eq_tol(measure_nll(&(outputs){ logits, 3, 2 }, three_labels),
                            -(log(0.8) + log(0.4) + log(0.5)) / 3, EXACT);
    ck_assert_double_eq_tol(measure_brier(&p, three_labels), (2 * 0.04 + 2 * 0.36 + 2 * 0.25) / 3, EXACT);
    /* 0.8 is in (11/15, 12/15], 0.6 in (8/15, 9/15], 0.5 in (7/15, 8/15]. */
    ck_assert_double_eq_tol(measure_ece(&p, three_labels, bins), (0.2 + 0.6 + 0.5) / 3, EXACT);
    for (int b = 0; b < RELIABILITY_BINS; b++)
        ck_assert_int_eq(bins[b].count, b == 11 || b == 8 || b == 7);
    ck_assert_double_eq_tol(bins[8].confidence, 0.6, EXACT);
    ck_assert_double_eq(bins[8].accuracy, 0);
    ck_assert_double_eq(bins[11].accuracy, 1);
}
END_TEST

START_TEST(nll_of_a_hopeless_example_is_finite)
{
    const double logits[] = { 2000, 0 };
    ck_assert_double_eq_tol(measure_nll(&(outputs){ logits, 1, 2 }, (uint8_t[]){ 1 }), 2000, EXACT);
}
END_TEST

/* Two examples in one bin: it is their means that are compared. */
START_TEST(ece_compares_means_of_bins)
{
    const double p[] = { 0.72, 0.28, 0.70, 0.30 };
    reliability_bin bins[RELIABILITY_BINS], sum[RELIABILITY_BINS] = { { 0 } };
    const double ece = measure_ece(&(outputs){ p, 2, 2 }, (uint8_t[]){ 0, 1 }, bins);
    ck_assert_double_eq_tol(ece, 0.71 - 0.5, EXACT);
    ck_assert_int_eq(bins[10].count, 2);
    /* Added to the three examples: bins of their own. */
    measure_add_bins(sum, bins);
    measure_ece(&(outputs){ three, 3, 2 }, three_labels, bins);
    measure_add_bins(sum, bins);
    measure_add_bins(sum, bins);
    ck_assert_int_eq(sum[10].count, 2);
    ck_assert_int_eq(sum[8].count, 2);
    ck_assert_double_eq_tol(sum[8].confidence, 0.6, EXACT);
    ck_assert_double_eq_tol(measure_ece_of(sum), (2 * 0.21 + 2 * (0.2 + 0.6 + 0.5)) / 8, EXACT);
}
END_TEST

START_TEST(confidence_one_and_zero_have_a_bin)
{
    const double p[] = { 1, 0, 0, 0 };
    reliability_bin bins[RELIABILITY_BINS];
    ck_assert_double_eq(measure_ece(&(outputs){ p, 2, 2 }, (uint8_t[]){ 0, 0 }, bins), 0.5);
    ck_assert_int_eq(bins[RELIABILITY_BINS - 1].count, 1);
    ck_assert_int_eq(bins[0].count, 1);
}
END_TEST

START_TEST(no_number_no_score)
{
    const double p[] = { 0.9, 0.1, NAN, NAN };
    const uint8_t labels[] = { 0, 0 };
    const outputs both = { p, 2, 2 }, none = { p, 0, 2 };
    reliability_bin bins[RELIABILITY_BINS];
    ck_assert_double_eq(measure_accuracy(&both, labels), 0.5);
    ck_assert_double_nan(measure_nll(&both, labels));
    ck_assert_double_nan(measure_brier(&both, labels));
    ck_assert_double_nan(measure_ece(&both, labels, bins));
    ck_assert_int_eq(bins[13].count, 1);
    ck_assert_double_nan(measure_accuracy(&none, labels));
    ck_assert_double_nan(measure_nll(&none, labels));
    ck_assert_double_nan(measure_brier(&none, labels));
    ck_assert_double_nan(measure_ece(&none, labels, bins));
}
END_TEST

/* ---- AUROC ---- */

static double auroc(const double *inside, int64_t inside_count, const double *outside, int64_t outside_count)
{
    double result;
    bd_error error = { 0 };
    ck_assert_int_eq(measure_auroc(inside, inside_count, outside, outside_count, &result, &error), BD_OK);
    return result;
}

START_TEST(auroc_by_hand)
{
    const double high[] = { 0.9, 0.8 }, low[] = { 0.1, 0.2, 0.3 }, mixed[] = { 0.8, 0.5 };
    ck_assert_double_eq(auroc(high, 2, low, 3), 1);
    ck_assert_double_eq(auroc(low, 3, high, 2), 0);
    ck_assert_double_eq(auroc(high, 2, high, 2), 0.5);
    ck_assert_double_eq(auroc(high, 2, mixed, 2), 3.5 / 4); /* one tie */
    ck_assert_double_nan(auroc(high, 0, low, 3));
    ck_assert_double_nan(auroc(high, 2, low, 0));
    ck_assert_double_nan(auroc((double[]){ NAN }, 1, low, 3));
    ck_assert_double_nan(auroc(high, 2, (double[]){ 0.5, NAN }, 2));
}
END_TEST

/* Against the definition: all pairs, with many ties. */
START_TEST(auroc_counts_all_pairs)
{
    enum { IN = 97, OUT = 61 };
    double in[IN], out[OUT], pairs = 0;
    unsigned state = 7;
    for (int i = 0; i < IN + OUT; i++) {
        state = state * 1664525u + 1013904223u;
        *(i < IN ? &in[i] : &out[i - IN]) = (state >> 24) % 16 / 16.0 + (i < IN ? 0.125 : 0);
    }
    for (int i = 0; i < IN; i++)
        for (int j = 0; j < OUT; j++)
            pairs += in[i] > out[j] ? 1 : in[i] == out[j] ? 0.5 : 0;
    ck_assert_double_eq(auroc(in, IN, out, OUT), pairs / (IN * OUT));
}
END_TEST

START_TEST(confidences_are_the_largest)
{
    double confidence[3];
    measure_confidences(&(outputs){ three, 3, 2 }, confidence);
    ck_assert_double_eq(confidence[0], 0.8);
    ck_assert_double_eq(confidence[2], 0.5);
}
END_TEST

/* ---- delta and Gamma ---- */

START_TEST(agreement_by_hand)
{
    /* Gamma 0.4, 0.1, 0; delta 0.1, 0.1, 0. The second is not decided and differs, the third is decided by 0 >= 0. */
    const double base[] = { 0.6, 0.2, 0.2, 0.5, 0.4, 0.1, 0.5, 0.5, 0 };
    const double other[] = { 0.5, 0.3, 0.2, 0.4, 0.5, 0.1, 0.5, 0.5, 0 };
    agreement a = measure_agreement(&(outputs){ base, 3, 3 }, &(outputs){ other, 3, 3 });
    ck_assert_double_eq_tol(a.delta_mean, 0.2 / 3, EXACT);
    ck_assert_double_eq_tol(a.delta_most, 0.1, EXACT);
    ck_assert_double_eq(a.gamma_least, 0);
    ck_assert_int_eq(a.decided, 2);
    ck_assert_int_eq(a.disagreements, 1);
    ck_assert_int_eq(a.violations, 0);
}
END_TEST

/* Where a tie of the other model lies on the very bound, its prediction may differ: what is counted is what
 * happened. */
START_TEST(violations_are_counted)
{
    const double base[] = { 0.25, 0.75, 0.75, 0.25 }, other[] = { 0.5, 0.5, 0.5, 0.5 };
    const agreement a = measure_agreement(&(outputs){ base, 2, 2 }, &(outputs){ other, 2, 2 });
    ck_assert_int_eq(a.decided, 2);
    ck_assert_int_eq(a.violations, 1);
    ck_assert_int_eq(a.disagreements, 1);
}
END_TEST

/* The theory, on two models that are far apart. */
START_TEST(agreement_of_many_is_never_violated)
{
    enum { COUNT = 500, CLASSES = 10 };
    static double logits[COUNT * CLASSES], base[COUNT * CLASSES], other[COUNT * CLASSES];
    unsigned state = 3;
    for (int i = 0; i < COUNT * CLASSES; i++) {
        state = state * 1664525u + 1013904223u;
        logits[i] = (state >> 16) / 16384.0;
    }
    measure_softmax(&(outputs){ logits, COUNT, CLASSES }, base);
    for (int i = 0; i < COUNT * CLASSES; i++) {
        state = state * 1664525u + 1013904223u;
        logits[i] += (state >> 16) / 131072.0;
    }
    measure_softmax(&(outputs){ logits, COUNT, CLASSES }, other);
    const agreement a = measure_agreement(&(outputs){ base, COUNT, CLASSES }, &(outputs){ other, COUNT, CLASSES });
    ck_assert_int_gt(a.disagreements, 10);
    ck_assert_int_gt(a.decided, 50);
    ck_assert_int_lt(a.decided, COUNT - 50);
    ck_assert_int_eq(a.violations, 0);
    ck_assert_double_gt(a.delta_most, a.delta_mean);
}
END_TEST

START_TEST(agreement_of_nothing)
{
    const double base[] = { 0.9, 0.1 }, other[] = { NAN, NAN };
    agreement a = measure_agreement(&(outputs){ base, 1, 2 }, &(outputs){ other, 1, 2 });
    ck_assert_double_nan(a.delta_mean);
    ck_assert_double_nan(a.delta_most);
    ck_assert_int_eq(a.decided, 0);
    ck_assert_int_eq(a.violations, 0);
    ck_assert_int_eq(a.disagreements, 1);
    a = measure_agreement(&(outputs){ base, 0, 2 }, &(outputs){ base, 0, 2 });
    ck_assert_double_nan(a.delta_mean);
    a = measure_agreement(&(outputs){ (double[]){ 1 }, 1, 1 }, &(outputs){ (double[]){ 1 }, 1, 1 });
    ck_assert_double_eq(a.gamma_least, 1);
}
END_TEST

/* ---- intervals ---- */

/* Tables print these digits; those of 1 and 2 degrees have closed forms. */
START_TEST(quantiles_are_the_published_ones)
{
    static const struct {
        double probability, freedom, wanted;
    } known[] = {
        { 0.975, 1, 12.706204736 },
        { 0.975, 2, 4.302652730 },
        { 0.975, 3, 3.182446305 },
        { 0.975, 4, 2.776445105 },
        { 0.975, 9, 2.262157163 },
        { 0.975, 30, 2.042272456 },
        { 0.975, 100, 1.983971519 },
        { 0.975, 1e6, 1.959966357 },
        { 0.995, 4, 4.604094871 },
        { 0.9, 5, 1.475884049 },
        { 0.999, 2, 22.327124770 },
        { 0.025, 4, -2.776445105 },
        { 0.5, 7, 0 },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        ck_assert_double_eq_tol(student_quantile(known[i].probability, known[i].freedom), known[i].wanted, 1e-8);
    for (double p = 0.55; p < 1; p += 0.05) {
        ck_assert_double_eq_tol(student_quantile(p, 1) / tan(3.14159265358979323846 * (p - 0.5)), 1, 1e-10);
        ck_assert_double_eq_tol(student_quantile(p, 2) / ((2 * p - 1) / sqrt(2 * p * (1 - p))), 1, 1e-10);
    }
    ck_assert_double_nan(student_quantile(1, 3));
    ck_assert_double_nan(student_quantile(0.9, 0));
}
END_TEST

START_TEST(intervals_by_hand)
{
    /* Mean 3, s = sqrt(2.5): 2.776445105 * sqrt(2.5 / 5) = 1.963243161. */
    const double values[] = { 1, 2, 3, 4, 5 }, base[] = { 0.5, 2, 2.5, 3.5, 4.5 };
    interval i = interval_of(values, 5);
    ck_assert_double_eq_tol(i.mean, 3, EXACT);
    ck_assert_double_eq_tol(i.low, 3 - 1.963243161, 1e-8);
    ck_assert_double_eq_tol(i.high, 3 + 1.963243161, 1e-8);
    ck_assert_double_eq_tol(interval_half(&i), 1.963243161, 1e-8);
    ck_assert(!interval_has_zero(&i));
    /* Differences 0.5, 0, 0.5, 0.5, 0.5: mean 0.4, s = sqrt(0.05), half 2.776445105 * 0.1. Unpaired, it would be ten
     * times that. */
    i = interval_of_pairs(values, base, 5);
    ck_assert_double_eq_tol(i.mean, 0.4, EXACT);
    ck_assert_double_eq_tol(interval_half(&i), 0.2776445105, 1e-8);
    ck_assert(!interval_has_zero(&i));
    i = interval_of_pairs(values, base, 2); /* 0.5 and 0: 0.25 -+ 12.7 * 0.25 */
    ck_assert(interval_has_zero(&i));
    ck_assert_double_eq_tol(interval_half(&i), 12.706204736 * 0.25, 1e-8);
}
END_TEST

START_TEST(intervals_of_little)
{
    interval i = interval_of((double[]){ 4 }, 1);
    ck_assert_double_eq(i.mean, 4);
    ck_assert_double_nan(i.low);
    ck_assert(!interval_has_zero(&i));
    i = interval_of(NULL, 0);
    ck_assert_double_nan(i.mean);
    i = interval_of((double[]){ 4, NAN, 5 }, 3);
    ck_assert_double_nan(i.mean);
    ck_assert_double_nan(i.high);
    i = interval_of((double[]){ 0.25, 0.25 }, 2); /* no scatter at all */
    ck_assert_double_eq(i.low, 0.25);
    ck_assert_double_eq(i.high, 0.25);
}
END_TEST

/* ---- corrupted images ---- */

START_TEST(corruptions_are_parsed)
{
    corruption c = { 0 };
    bool known;
    bd_error error = { 0 };
    ck_assert_int_eq(corruption_parse("noise", &c, &known, &error), BD_OK);
    ck_assert(known && c.kind == CORRUPTION_NOISE && c.level == 3);
    ck_assert_int_eq(corruption_parse("contrast:5", &c, &known, &error), BD_OK);
    ck_assert(known && c.kind == CORRUPTION_CONTRAST && c.level == 5);
    static const char *const other[] = { "cifar10", "noises", "nois", "", "./blur" };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        ck_assert_int_eq(corruption_parse(other[i], &c, &known, &error), BD_OK);
        ck_assert(!known);
    }
    static const char *const wrong[] = { "blur:0", "blur:6", "blur:", "blur:11", "blur:x" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_int_eq(corruption_parse(wrong[i], &c, &known, &error), BD_ERROR_ARGUMENT);
        ck_assert(strstr(error.message, wrong[i]) && strstr(error.message, "1 to 5"));
    }
}
END_TEST

enum { SIDE = 16, CHANNELS = 3, IMAGES = 8, BYTES = SIDE * SIDE * CHANNELS };
static uint8_t images[IMAGES * BYTES], worse[IMAGES * BYTES];

static void corrupt(corruption_kind kind, int level)
{
    const bd_dataset data = { .height = SIDE, .width = SIDE, .channels = CHANNELS, .test = { IMAGES, images, NULL } };
    bd_error error = { 0 };
    ck_assert_int_eq(corruption_apply(&(corruption){ kind, level }, &data, worse, &error), BD_OK);
}

/* 6144 draws: their mean is within 0.01 deviations * 4, their deviation within 4 / sqrt(2 * 6144) of the wanted one;
 * grey is far from where bytes end. */
START_TEST(noise_has_its_deviation)
{
    static const double deviations[] = { 0.04, 0.06, 0.08, 0.09, 0.10 };
    memset(images, 128, sizeof images);
    for (int level = 1; level <= 5; level++) {
        corrupt(CORRUPTION_NOISE, level);
        double sum = 0, squares = 0, neighbours = 0;
        for (int i = 0; i < IMAGES * BYTES; i++) {
            const double off = worse[i] - 128.0;
            sum += off;
            squares += off * off;
            neighbours += i ? off * (worse[i - 1] - 128.0) : 0;
        }
        const double count = IMAGES * BYTES, wanted = 255 * deviations[level - 1];
        ck_assert_double_le(fabs(sum / count), 4 * wanted / sqrt(count));
        ck_assert_double_le(fabs(sqrt(squares / count) / wanted - 1), 4 / sqrt(2 * count));
        ck_assert_double_le(fabs(neighbours / squares), 4 / sqrt(count));
    }
    uint8_t before[BYTES];
    memcpy(before, worse, BYTES);
    memset(images + BYTES, 7, BYTES); /* another image's bytes are nothing to the first one's noise */
    corrupt(CORRUPTION_NOISE, 5);
    ck_assert_mem_eq(before, worse, BYTES);
    ck_assert(memcmp(worse + 2 * BYTES, worse + 3 * BYTES, BYTES) != 0);
}
END_TEST

/* A point becomes a Gaussian of its channel alone, of the same sum; a corner keeps what would leave the image. */
START_TEST(blur_spreads_a_point)
{
    memset(images, 0, sizeof images);
    const int at = ((8 * SIDE + 8) * CHANNELS) + 1;
    images[at] = 255;
    corrupt(CORRUPTION_BLUR, 5); /* a deviation of one pixel */
    double norm = 0;
    for (int i = -4; i <= 4; i++)
        norm += exp(-0.5 * i * i);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int c = 0; c < CHANNELS; c++) {
                const int dy = y - 8, dx = x - 8;
                const double wanted =
                    c == 1 && abs(dy) <= 4 && abs(dx) <= 4 ? 255 * exp(-0.5 * (dy * dy + dx * dx)) / (norm * norm) : 0;
                ck_assert_int_eq(worse[(y * SIDE + x) * CHANNELS + c], lround(wanted));
            }
    memset(images, 200, sizeof images); /* nothing to blur, edges and all */
    corrupt(CORRUPTION_BLUR, 1);
    ck_assert_mem_eq(images, worse, sizeof images);
}
END_TEST

START_TEST(contrast_moves_to_the_mean)
{
    /* Channel 0 half 100 and half 200; channel 1 all 40. */
    for (int i = 0; i < IMAGES * SIDE * SIDE; i++) {
        images[i * CHANNELS] = i % 2 ? 100 : 200;
        images[i * CHANNELS + 1] = 40;
        images[i * CHANNELS + 2] = 0;
    }
    corrupt(CORRUPTION_CONTRAST, 2); /* half of it is kept */
    for (int i = 0; i < IMAGES * SIDE * SIDE; i++) {
        ck_assert_int_eq(worse[i * CHANNELS], i % 2 ? 125 : 175);
        ck_assert_int_eq(worse[i * CHANNELS + 1], 40);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("measures");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, softmax_is_stable);
    tcase_add_test(tests, predictions_are_the_first_of_the_largest);
    tcase_add_test(tests, scores_of_three_examples);
    tcase_add_test(tests, nll_of_a_hopeless_example_is_finite);
    tcase_add_test(tests, ece_compares_means_of_bins);
    tcase_add_test(tests, confidence_one_and_zero_have_a_bin);
    tcase_add_test(tests, no_number_no_score);
    tcase_add_test(tests, auroc_by_hand);
    tcase_add_test(tests, auroc_counts_all_pairs);
    tcase_add_test(tests, confidences_are_the_largest);
    tcase_add_test(tests, agreement_by_hand);
    tcase_add_test(tests, violations_are_counted);
    tcase_add_test(tests, agreement_of_many_is_never_violated);
    tcase_add_test(tests, agreement_of_nothing);
    tcase_add_test(tests, quantiles_are_the_published_ones);
    tcase_add_test(tests, intervals_by_hand);
    tcase_add_test(tests, intervals_of_little);
    tcase_add_test(tests, corruptions_are_parsed);
    tcase_add_test(tests, noise_has_its_deviation);
    tcase_add_test(tests, blur_spreads_a_point);
    tcase_add_test(tests, contrast_moves_to_the_mean);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
