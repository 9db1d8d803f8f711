/* Formats: every bit pattern loaded; floats beside every midpoint rounded in every mode and stored, and loaded again by
 * the host; sums and products of such formats. */
#include "../engine/control.h"
#include "case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The four modes, a role each. */
static const bd_role role_of[BD_ROUND_MODE_COUNT] = { BD_ROLE_ACTIVATION, BD_ROLE_GRADIENT, BD_ROLE_WEIGHT,
                                                      BD_ROLE_MASTER };

static format_set set_of(bd_format format)
{
    format_set f = { .name = bd_format_name(format), .value = format, .statistic = BD_F32, .accumulator = BD_F32 };
    for (int mode = 0; mode < BD_ROUND_MODE_COUNT; mode++)
        f.mode[role_of[mode]] = (bd_round_mode)mode;
    return f;
}

static void add_control(test_case *c)
{
    double words[BD_CONTROL_WORD_COUNT] = { 0 };
    words[BD_CONTROL_SEED_LOW] = 0x9abcdef0u;
    words[BD_CONTROL_SEED_HIGH] = 0x12345678u;
    words[BD_CONTROL_STEP] = 41;
    case_control(c, words);
}

static void load_every_pattern(session *s, bd_format format, int64_t count)
{
    test_case c;
    if (!case_begin(&c, s, set_of(format), "every pattern"))
        return;
    const int64_t patterns = (int64_t)1 << bd_format_describe(format).bits;
    const size_t size = bd_format_size(format);
    double *values = test_allocate(count, sizeof *values);
    for (int64_t i = 0; i < count; i++) {
        /* int4 to int2 are whole numbers in a byte */
        const bool whole = bd_format_describe(format).kind == BD_KIND_SIGNED;
        const uint16_t bits = (uint16_t)(whole ? (uint8_t)(i % patterns - patterns / 2) : i % patterns);
        const uint8_t byte = (uint8_t)bits;
        bd_format_decode(format, size == 1 ? (const void *)&byte : &bits, &values[i], 1);
    }
    bd_tensor x = case_input_values(&c, format, BD_SHAPE(count), values);
    case_output(&c, bd_cast(c.graph, x, BD_ROLE_STATISTIC), bit_identical);
    case_output(&c, x, bit_identical);
    case_run(&c);
    free(values);
}

static void cast_points(session *s, bd_format format, bool saturate, const double *points, int64_t count)
{
    test_case c;
    format_set f = set_of(format);
    f.saturate = saturate;
    if (!case_begin(&c, s, f, "rounded %s, %lld floats", saturate ? "saturating" : "four ways", (long long)count))
        return;
    add_control(&c);
    bd_tensor x = points ? case_input_values(&c, BD_F32, BD_SHAPE(count), points)
                         : case_input(&c, BD_F32, BD_SHAPE(count), FILL_SPECIAL);
    for (int mode = 0; mode < BD_ROUND_MODE_COUNT; mode++)
        case_output(&c, bd_cast(c.graph, x, role_of[mode]), bit_identical);
    case_run(&c);
}

/* Of each two neighbours the smaller one, their midpoint and the floats beside it; and what lies beyond. Signs
 * alternate. */
static double *make_points(bd_format format, int64_t *count)
{
    const bd_format_info info = bd_format_describe(format);
    const float beyond[] = { 0, INFINITY, NAN, 0x1.fffffep127f, 0x1p-149f, 0x1p-126f, 1e30f, 1e-30f };
    enum { EACH = 4, BEYOND = sizeof beyond / sizeof *beyond };
    const int64_t most = (((int64_t)1 << info.bits) + 2) * EACH + 2 * BEYOND;
    double *points = test_allocate(most, sizeof *points), low = 0;
    int64_t used = 0;
    while (low <= info.largest) {
        /* Beside `low` by half of the least spacing, rounded up. */
        const double spacing = low < info.least_normal ? info.least : ldexp(1, ilogb(low) - info.mantissa_bits);
        const double step = info.kind == BD_KIND_FLOAT ? spacing : 1, middle = low + step / 2;
        const float half = (float)middle;
        const double four[EACH] = { low, half, nextafterf(half, 0), nextafterf(half, INFINITY) };
        for (int i = 0; i < EACH; i++, used++)
            points[used] = used % 3 == 1 ? -four[i] : four[i];
        low += step;
    }
    for (int i = 0; i < 2 * BEYOND; i++, used++)
        points[used] = i % 2 ? -(double)beyond[i / 2] : (double)beyond[i / 2];
    *count = used;
    return points;
}

static void convert(session *s, bd_format format, bool saturate)
{
    int64_t count;
    double *points = make_points(format, &count);
    /* An odd count: the last elements share their word with nobody. */
    load_every_pattern(s, format, ((int64_t)1 << bd_format_describe(format).bits) + 3);
    cast_points(s, format, false, points, count);
    if (saturate)
        cast_points(s, format, true, points, count);
    free(points);
}

/* Products and a sum of values of the format; the results are rounded to it, whole ones exactly. */
static void compute(session *s, bd_format format)
{
    test_case c;
    format_set f = { .name = bd_format_name(format), .value = format, .statistic = BD_F32, .accumulator = BD_F32 };
    if (!case_begin(&c, s, f, "sums and products"))
        return;
    const fill_kind fills[] = { FILL_WHOLE, FILL_UNIFORM };
    for (int i = 0; i < 2; i++) {
        const bool whole = i == 0;
        bd_tensor a = case_input(&c, format, BD_SHAPE(33, 31), fills[i]),
                  b = case_input(&c, format, BD_SHAPE(31, 17), fills[i]);
        bd_tensor product = bd_matmul(c.graph, a, b, false, false);
        case_output(&c, product, whole ? equal_value : sum_of(31, 0));
        case_output(&c, bd_sum(c.graph, a, 1, 1, false), whole ? equal_value : sum_of(31, 0));
        case_output(&c, bd_sum(c.graph, a, 0, 1, false), whole ? equal_value : sum_of(33, 0));
        case_output(&c, bd_mul(c.graph, bd_sub(c.graph, a, bd_neg(c.graph, a)), a), equal_value);
        case_output(&c, bd_relu(c.graph, bd_permute(c.graph, a, (int[]){ 1, 0 })), equal_value);
    }
    case_run(&c);
}

/* Stochastic rounding in kernels of every class: random bits are by element, wherever it is computed. */
static void draw(session *s, bd_format format)
{
    test_case c;
    format_set f = { .name = bd_format_name(format), .value = format, .statistic = BD_F32, .accumulator = BD_F32 };
    f.mode[BD_ROLE_ACTIVATION] = BD_ROUND_STOCHASTIC;
    if (!case_begin(&c, s, f, "stochastic sums and products"))
        return;
    add_control(&c);
    /* Whole numbers and quarters: sums are exact in every order, and few of them are values of the format. */
    const int64_t count = 33 * 31;
    double *values = test_allocate(count, sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = (double)(case_random_bits(&c, 7, i) % 32) / 4 - 4;
    bd_tensor a = case_input_values(&c, BD_F32, BD_SHAPE(33, 31), values);
    bd_tensor b = case_input_values(&c, BD_F32, BD_SHAPE(31, 33), values);
    case_output(&c, bd_matmul(c.graph, a, b, false, false), equal_value);
    case_output(&c, bd_relu(c.graph, bd_matmul(c.graph, b, a, false, false)), equal_value);
    case_output(&c, bd_sum(c.graph, a, 1, 1, false), equal_value);
    case_output(&c, bd_sum(c.graph, a, 0, 1, false), equal_value);
    case_output(&c, bd_permute(c.graph, bd_mul(c.graph, a, a), (int[]){ 1, 0 }), equal_value);
    case_run(&c);
    free(values);
}

/* A case whose contractions read their operands as the policy says; it points to `precision` until it has run. */
static bool begin_operands(test_case *c, session *s, const char *policy, bd_precision *precision)
{
    bd_error error;
    if (!case_begin(c, s, fp32, "operands of %s", policy))
        return false;
    if (bd_precision_parse(policy, precision, &error) != BD_OK)
        bd_graph_fail(c->graph, BD_ERROR_ARGUMENT, "%s", error.message);
    c->graph->precision = c->operands = precision;
    return true;
}

/* Operands of contractions by a policy. Three runs: with no history, so unscaled, and with that of the runs before.
 * Signals of very different size must come through E4M3 alike: what is rounded is the scaled value. */
static void operands(session *s, const char *policy)
{
    test_case c;
    bd_precision precision;
    if (!begin_operands(&c, s, policy, &precision))
        return;
    if (precision.operands == BD_OPERANDS_DELAYED)
        add_control(&c);
    const int64_t count = 33 * 31;
    double *values = test_allocate(count, sizeof *values);
    for (int i = 0; i < 2; i++) {
        const double size = i ? 0x1p-30 : 3e4;
        for (int64_t j = 0; j < count; j++)
            values[j] = (2 * case_random(&c, 20 + (uint32_t)i, j) - 1) * size;
        /* gamma_31 of the reference's sum and of the device's, of 31 products of at most 17/16 of size and 1. */
        const test_tolerance sum = { .kind = TOLERANCE_NEAR, .absolute = 2 * 31 * 0x1p-24 * 31 * 1.25 * size };
        bd_tensor a = case_input_values(&c, BD_F32, BD_SHAPE(33, 31), values);
        bd_tensor b = case_input(&c, BD_F32, BD_SHAPE(31, 17), FILL_UNIFORM);
        bd_tensor rounded = bd_quantise(c.graph, a, BD_ROLE_GRADIENT_OPERAND);
        case_output(&c, rounded, bit_identical);
        case_output(&c, bd_matmul(c.graph, a, b, false, false), sum);
    }
    c.repeats = 3;
    case_run(&c);
    free(values);
}

/* Operands in whole numbers of learned steps: of any sign, and behind a ReLU. Values are such that none lies near a
 * point where its whole number changes: with those from -11 to 11 the step begins at 0.98 to 1.02 of one, for the
 * ReLU's at 0.35 to 0.37. */
static void learned_operands(session *s, const char *policy)
{
    test_case c;
    bd_precision precision;
    if (!begin_operands(&c, s, policy, &precision))
        return;
    const int64_t k = 40, count = 48 * k;
    double *values = test_allocate(count, sizeof *values);
    bd_tensor operand[2];
    for (int i = 0; i < 2; i++) {
        for (int64_t j = 0; j < count; j++)
            values[j] = (double)(case_random_bits(&c, 30 + (uint32_t)i, j) % 23) - 11;
        operand[i] = case_input_values(&c, BD_F32, i ? BD_SHAPE(k, 48) : BD_SHAPE(48, k), values);
    }
    /* gamma_k of the reference's sum and of the device's, of k products of at most 12 by 12; and not more than 16
     * roundings each before and after: the steps come of means of whole numbers. */
    const test_tolerance sum = { .kind = TOLERANCE_NEAR,
                                 .absolute = (2.0 * (double)k + 32) * 0x1p-24 * (double)k * 12 * 12 };
    case_output(&c, bd_matmul(c.graph, operand[0], operand[1], false, false), sum);
    case_output(&c, bd_matmul(c.graph, bd_relu(c.graph, operand[0]), operand[1], false, false), sum);
    case_run(&c);
    free(values);
}

/* Those with names, and of the others the edges of exponent and mantissa. */
void test_formats(session *s)
{
    static const int others[][2] = { { 2, 0 }, { 2, 1 }, { 2, 13 }, { 3, 2 }, { 5, 0 },
                                     { 6, 9 }, { 7, 8 }, { 8, 0 },  { 8, 4 } };
    static const int wide[][2] = { { 8, 10 }, { 8, 22 }, { 2, 23 }, { 7, 23 }, { 5, 12 } };
    static const bd_format named[] = { BD_F16, BD_BF16, BD_F8E4M3, BD_F8E5M2, BD_I8, BD_I4, BD_I3, BD_I2 };
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        convert(s, named[i], true);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        convert(s, bd_format_exmy(others[i][0], others[i][1]), false);
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        cast_points(s, bd_format_exmy(wide[i][0], wide[i][1]), false, NULL, 20011);
    for (size_t i = 0; i < 4; i++) {
        if (i > 0)
            compute(s, named[i]);
        draw(s, named[i]);
    }
    operands(s, "tf32");
    operands(s, "fp8,history=2");
    learned_operands(s, "int8-qat");
    compute(s, bd_format_exmy(8, 10));
    compute(s, bd_format_exmy(3, 2));
}
