/* Sums, maxima and their places; softmax and cross-entropy, which are several reductions over the same rows. */
#include "case.h"

#include <math.h>
#include <stdlib.h>

/* ---- one reduction ---- */

static void reduce(session *s, format_set f, bd_shape shape, int first, int count, const char *name)
{
    test_case c;
    char text[96];
    if (!case_begin(&c, s, f, "%s of %s", name, bd_shape_text(&shape, text, sizeof text)))
        return;
    int64_t terms = 1;
    for (int i = first; i < first + count; i++)
        terms *= shape.dim[i];
    bd_tensor whole = case_input(&c, f.value, shape, FILL_WHOLE), x = case_input(&c, f.value, shape, FILL_UNIFORM);
    case_output(&c, bd_sum(c.graph, whole, first, count, false), equal_value);
    case_output(&c, bd_sum(c.graph, x, first, count, true), sum_of(terms, 0));
    /* Nothing has no largest; and a maximum does not depend on the accumulator. */
    if (terms > 0 && f.accumulator == BD_F32) {
        bd_tensor any = case_input(&c, f.value, shape, FILL_SPECIAL);
        case_output(&c, bd_maximum(c.graph, x, first, count, false), equal_value);
        case_output(&c, bd_maximum(c.graph, any, first, count, true), equal_value);
        if (count == 1) {
            case_output(&c, bd_argmax(c.graph, whole, first), bit_identical); /* full of ties */
            case_output(&c, bd_argmax(c.graph, any, first), bit_identical);
        }
    }
    case_run(&c);
}

/* Values around `offset`, up to `spread` away. Let D = 2 spread, which no two values differ by more than, u = 2^-24,
 * and g bound any order of n additions and 8 roundings more. Every sum of n deviations from a value is wrong by at most
 * g n D, that of their squares by g n D^2, and so is the square of the former over n, twice. Partial means are wrong by
 * g D + u |mean|, which enters the deviations from the whole mean the same way. So the mean is within 2 g D + 3 u
 * |mean|, and the deviations are within 8 g n D^2 and what the means' own rounding e = 2 u |mean| adds: n (2 D e +
 * e^2). */
static void moments(session *s, format_set f, bd_shape shape, int first, int count, double offset, double spread)
{
    test_case c;
    char text[96];
    if (!case_begin(&c, s, f, "moments of %s, %g+-%g", bd_shape_text(&shape, text, sizeof text), offset, spread))
        return;
    int64_t terms = 1, elements = 1;
    for (int i = 0; i < shape.rank; i++) {
        elements *= shape.dim[i];
        terms *= i >= first && i < first + count ? shape.dim[i] : 1;
    }
    double *values = test_allocate(elements, sizeof *values);
    for (int64_t i = 0; i < elements; i++)
        values[i] = offset + spread * (2 * case_random(&c, 0, i) - 1);
    bd_set_role(c.graph, BD_ROLE_FIXED);
    bd_tensor x = bd_cast(c.graph, case_input_values(&c, f.value, shape, values), BD_ROLE_FIXED);
    free(values);
    const double u = 0x1p-24, n = (double)terms, g = (n + 8) * u / (1 - (n + 8) * u);
    const double rounded = format_roundoff(f.value) * (fabs(offset) + spread); /* of the values themselves */
    const double difference = 2 * (spread + rounded), largest = fabs(offset) + difference, e = 2 * u * largest;
    const test_tolerance mean = { .kind = TOLERANCE_NEAR, .absolute = 2 * g * difference + 3 * u * largest };
    const test_tolerance deviations = { .kind = TOLERANCE_NEAR,
                                        .relative = 2 * u,
                                        .absolute =
                                            8 * g * n * difference * difference + n * (2 * difference + e) * e };
    case_output(&c, bd_mean(c.graph, x, first, count, false), mean);
    case_output(&c, bd_deviations(c.graph, x, first, count, true), deviations);
    case_run(&c);
}

/* A deviation beside a mean of the same values and alone, in each kind of kernel. */
static void all_moments(session *s, format_set f)
{
    const bool half = f.value == BD_F16;
    const double far = half ? 17 : 577;                        /* 30 and 1000 standard deviations */
    const double large = half ? 60000 : 1e15, small = 0x1p-13; /* whose squares no half holds */
    moments(s, f, BD_SHAPE(8, 5, 5, 33), 0, 3, 0, 1);
    moments(s, f, BD_SHAPE(8, 5, 5, 33), 0, 3, far, 1);
    moments(s, f, BD_SHAPE(8, 5, 5, 33), 0, 3, 0, large);
    moments(s, f, BD_SHAPE(8, 5, 5, 33), 0, 3, 0, small);
    moments(s, f, BD_SHAPE(8, 5, 5, 33), 0, 3, 3, 0); /* constant: exactly 0 */
    moments(s, f, BD_SHAPE(1, 7), 0, 1, 2, 1);
    moments(s, f, BD_SHAPE(0, 7), 0, 1, 2, 1);
    moments(s, f, BD_SHAPE(3, 65, 5), 1, 1, far, 1);
    moments(s, f, BD_SHAPE(17, 257), 1, 1, far, 1);
    moments(s, f, BD_SHAPE(20011, 6), 0, 1, far, 1); /* in parts */
    moments(s, f, BD_SHAPE(20011, 6), 0, 1, 0, large);
    moments(s, f, BD_SHAPE(2, 30011), 1, 1, far, 1);
    moments(s, f, BD_SHAPE(3, 65, 8), 1, 1, far, 1); /* by fours */
    moments(s, f, BD_SHAPE(17, 260), 1, 1, far, 1);
    moments(s, f, BD_SHAPE(20011, 12), 0, 1, far, 1);
    moments(s, f, BD_SHAPE(2, 30012), 1, 1, far, 1);
}

/* A pointwise prologue and epilogue, which the compiler puts into the same kernel. */
static void sum_of_squares(session *s, format_set f, int64_t rows, int64_t length)
{
    test_case c;
    if (!case_begin(&c, s, f, "root of the sum of squares, %lldx%lld", (long long)rows, (long long)length))
        return;
    bd_tensor x = case_input(&c, f.value, BD_SHAPE(rows, length), FILL_WHOLE);
    bd_tensor squares = bd_mul(c.graph, x, x), sum = bd_sum(c.graph, squares, 1, 1, false);
    /* Sums of squares up to 4: whole numbers, exact below 2048 in F16 too. Their root rounds once. */
    test_tolerance root = f.value == BD_F16 ? bit_identical : within_ulps(3);
    case_output(&c, bd_sqrt(c.graph, sum), root);
    case_output(&c, bd_neg(c.graph, sum), bit_identical);
    case_run(&c);
}

/* Rows or columns of which a GPU's work-items take four elements at once, with factors of either, and elements stored
 * on the way. */
static void fours(session *s, format_set f, int64_t rows, int64_t columns, int axis)
{
    test_case c;
    if (!case_begin(&c, s, f, "fours, axis %d of %lldx%lld", axis, (long long)rows, (long long)columns))
        return;
    const bd_shape shape = BD_SHAPE(rows, columns);
    bd_tensor x = case_input(&c, f.value, shape, FILL_WHOLE), z = case_input(&c, f.value, shape, FILL_WHOLE);
    bd_tensor of_column = case_input(&c, f.value, BD_SHAPE(columns), FILL_WHOLE),
              of_row = case_input(&c, f.value, BD_SHAPE(rows, 1), FILL_WHOLE);
    bd_tensor product = bd_mul(c.graph, x, bd_broadcast(c.graph, of_column, shape));
    bd_tensor y = bd_add(c.graph, product, bd_broadcast(c.graph, of_row, shape));
    bd_tensor sum = bd_sum(c.graph, y, axis, 1, true);
    case_output(&c, y, bit_identical);
    case_output(&c, sum, equal_value);
    case_output(&c, bd_sum(c.graph, bd_mul(c.graph, y, z), axis, 1, false), equal_value);
    case_output(&c, bd_maximum(c.graph, y, axis, 1, false), equal_value);
    if (axis == 1) /* a second pass over the row */
        case_output(&c, bd_sub(c.graph, y, bd_broadcast(c.graph, bd_maximum(c.graph, z, axis, 1, true), shape)),
                    bit_identical);
    case_run(&c);
}

/* Columns longer than lavapipe's loops: the place of a largest that stands last, of one that stands in many parts, of a
 * NaN behind an infinity, and of nothing but NaNs. */
static void long_argmax(session *s, format_set f)
{
    enum { LENGTH = 100003, COLUMNS = 4, TIE = 40001, OFTEN = 30011 };
    test_case c;
    if (!case_begin(&c, s, f, "places in columns of %d", LENGTH))
        return;
    double *values = test_allocate(LENGTH * COLUMNS, sizeof *values);
    for (int64_t i = 0; i < LENGTH; i++) {
        values[i * COLUMNS] = i == LENGTH - 1;
        values[i * COLUMNS + 1] = i >= TIE && (i - TIE) % OFTEN == 0;
        values[i * COLUMNS + 2] = i == TIE ? INFINITY : i > LENGTH - 3 ? NAN : 0;
        values[i * COLUMNS + 3] = NAN;
    }
    bd_set_role(c.graph, BD_ROLE_FIXED); /* no format is too small for a place */
    bd_tensor x = case_input_values(&c, f.value, BD_SHAPE(LENGTH, COLUMNS), values);
    free(values);
    case_output(&c, bd_argmax(c.graph, x, 0), bit_identical);
    case_run(&c);
}

void test_reductions(session *s)
{
    const format_set each[] = { fp32, fp16, fp16_strict };
    const int64_t lengths[] = { 0, 1, 31, 33, 256, 257, 1031 };
    for (int f = 0; f < 3; f++) {
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            reduce(s, each[f], BD_SHAPE(17, lengths[i]), 1, 1, "rows");
            reduce(s, each[f], BD_SHAPE(lengths[i], 33), 0, 1, "columns");
        }
        reduce(s, each[f], BD_SHAPE(3, 65, 5), 1, 1, "middle");
        reduce(s, each[f], BD_SHAPE(4, 7, 9, 6), 0, 3, "images"); /* as batch normalisation does */
        reduce(s, each[f], BD_SHAPE(5, 3, 7), 1, 2, "tails");
        reduce(s, each[f], BD_SHAPE(1, 900), 1, 1, "one row");
        sum_of_squares(s, each[f], 19, 67);
    }
    all_moments(s, fp32);
    all_moments(s, fp16);
    /* Long enough to be cut into parts. An F16 accumulator has no bound at this length: gamma needs k u < 1. */
    for (int f = 0; f < 2; f++) {
        reduce(s, each[f], BD_SHAPE(100003), 0, 1, "all");
        reduce(s, each[f], BD_SHAPE(20011, 6), 0, 1, "columns");
        reduce(s, each[f], BD_SHAPE(2, 30011), 1, 1, "rows");
        if (f == 0) /* longer than lavapipe's loops, and as wide as to keep a CPU busy without being cut */
            reduce(s, each[f], BD_SHAPE(66000, 129), 0, 1, "columns");
        long_argmax(s, each[f]);
        for (int axis = 0; axis < 2; axis++) {
            fours(s, each[f], 37, 36, axis);
            fours(s, each[f], 263, 132, axis);
            fours(s, each[f], 8192, 8, axis);
        }
        fours(s, each[f], 3, 8200, 1);
    }
}

/* ---- softmax ---- */

/* Relative errors on the way to a softmax y = e / sum(e), e = exp(x - max x); the difference x - max x is the same bits
 * on both sides. `device` adds to the reference's roundings the error of its exponential (3 units in the last place of
 * F32, 2^-23 each), of the order of its sum, and of its division. */
typedef struct softmax_errors {
    double power, sum, quotient;
} softmax_errors;

static softmax_errors errors_of(format_set f, int64_t terms, bool device)
{
    double u = format_roundoff(f.statistic), accumulator = format_roundoff(f.accumulator), k = (double)terms;
    double gamma = device ? k * accumulator / (1 - k * accumulator) : 0;
    softmax_errors e;
    e.power = device ? (1 + 3 * 0x1p-23) * (1 + u) - 1 : u;
    /* also what is lost where an exponential is subnormal; the sum is at least 1 */
    e.sum = (1 + e.power) * (1 + gamma) * (1 + u) - 1 + k * format_least(f.statistic);
    e.quotient = (device ? 2.5 * 0x1p-23 : 0) + format_roundoff(f.value);
    return e;
}

static double softmax_relative(softmax_errors e)
{
    return (1 + e.power) * (1 + e.quotient) / (1 - e.sum) - 1;
}

static test_tolerance softmax_tolerance(format_set f, int64_t terms)
{
    double device = softmax_relative(errors_of(f, terms, true)),
           reference = softmax_relative(errors_of(f, terms, false));
    return (test_tolerance){ .kind = TOLERANCE_NEAR,
                             .relative = (device + reference) / (1 - reference),
                             /* subnormal exponentials and results, on both sides */
                             .absolute = 2 * format_least(f.statistic) + format_least(f.value) };
}

/* log(sum e) - (x - max x)[label]: the sum's relative error is the logarithm's absolute one; the logarithm is between 0
 * and log n, with 3 units in the last place of its own and a rounding; then a subtraction is rounded. */
static test_tolerance cross_entropy_tolerance(format_set f, int64_t terms)
{
    double u = format_roundoff(f.statistic), logarithm = log((double)terms) + 1;
    double sums = -log1p(-errors_of(f, terms, true).sum) - log1p(-errors_of(f, terms, false).sum);
    return (test_tolerance){ .kind = TOLERANCE_NEAR,
                             .relative = 2 * u / (1 - u),
                             .absolute = sums + (2 * u + 3 * 0x1p-23) * logarithm + format_least(f.statistic) };
}

static void softmax(session *s, format_set f, int64_t rows, int64_t classes)
{
    test_case c;
    if (!case_begin(&c, s, f, "%lldx%lld", (long long)rows, (long long)classes))
        return;
    bd_tensor x = case_input(&c, f.value, BD_SHAPE(rows, classes), FILL_UNIFORM);
    bd_tensor scale = bd_constant(c.graph, BD_SHAPE(rows, classes), 8);
    double values[256];
    for (int64_t i = 0; i < rows; i++)
        values[i] = (double)(case_random_bits(&c, 100, i) % (uint32_t)classes);
    bd_tensor labels = case_input_values(&c, BD_U32, BD_SHAPE(rows), values);
    bd_tensor logits = bd_mul(c.graph, x, scale);
    case_output(&c, bd_softmax(c.graph, logits), softmax_tolerance(f, classes));
    case_output(&c, bd_cross_entropy(c.graph, logits, labels), cross_entropy_tolerance(f, classes));
    case_run(&c);
}

void test_softmax(session *s)
{
    const format_set each[] = { fp32, fp16, fp16_strict, mixed };
    for (int f = 0; f < 4; f++) {
        softmax(s, each[f], 37, 10);
        softmax(s, each[f], 5, 257);
    }
    softmax(s, fp32, 1, 1);
    softmax(s, mixed, 256, 31);
}
