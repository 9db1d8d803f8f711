/* Floats of every width and whole numbers, against a definition written here: every bit pattern of every format of up
 * to 16 bits decoded; between each two neighbours the midpoint and the doubles beside it encoded, in every mode; wider
 * formats by samples. */
#include "../engine/philox.h"
#include <binade/format.h>

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The definition: the value of exponent field e and mantissa field m, and whether that is a number. */
static double number(const bd_format_info *f, int e, int m)
{
    const double fraction = m / ldexp(1, f->mantissa_bits);
    return e == 0 ? ldexp(fraction, 1 - f->bias) : ldexp(1 + fraction, e - f->bias);
}

enum { FINITE, INFINITE, NOT_A_NUMBER };

static int kind_of(const bd_format_info *f, int e, int m)
{
    if (e + 1 < 1 << f->exponent_bits)
        return FINITE;
    if (strcmp(f->name, "f8e4m3") == 0) /* OCP: S.1111.111 alone */
        return m == 7 ? NOT_A_NUMBER : FINITE;
    if (f->mantissa_bits == 0)
        return NOT_A_NUMBER;
    return m == 0 ? INFINITE : NOT_A_NUMBER;
}

/* As ck_assert, which writes to a pipe each time: these are millions. `format` is the format. */
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg("%s: %s", bd_format_name(format), #condition);                                                \
    } while (0)

/* Calls `test` for each float format of at most `most` bits. */
static void each_float(int most, void (*test)(bd_format format, const bd_format_info *info))
{
    for (int i = 0; i < BD_FORMAT_END; i++) {
        const bd_format_info info = bd_format_describe((bd_format)i);
        if (info.kind == BD_KIND_FLOAT && info.bits <= most)
            test((bd_format)i, &info);
    }
}

static uint32_t bits_of(bd_format format, double value)
{
    uint32_t bits = 0;
    bd_format_encode(format, &value, &bits, 1);
    return bits;
}

static double value_of(bd_format format, uint32_t bits)
{
    double value;
    bd_format_decode(format, &bits, &value, 1);
    return value;
}

static void decode_all(bd_format format, const bd_format_info *f)
{
    const int fields = f->exponent_bits + f->mantissa_bits;
    double largest = 0, least = INFINITY;
    EXPECT(f->bits == fields + 1);
    EXPECT(f->bias == (1 << (f->exponent_bits - 1)) - 1);
    for (uint32_t bits = 0; bits < 2u << fields; bits++) {
        const int e = (int)(bits >> f->mantissa_bits) & ((1 << f->exponent_bits) - 1);
        const int m = (int)(bits & ((1u << f->mantissa_bits) - 1)), kind = kind_of(f, e, m);
        const bool negative = bits >> fields;
        const double value = value_of(format, bits), wanted = number(f, e, m);
        EXPECT((signbit(value) != 0) == negative);
        if (kind == FINITE) {
            EXPECT(value == (negative ? -wanted : wanted));
            EXPECT(bits_of(format, value) == bits);
            largest = fmax(largest, wanted);
            least = wanted > 0 ? fmin(least, wanted) : least;
        } else {
            EXPECT((isnan(value) != 0) == (kind == NOT_A_NUMBER));
            EXPECT((isinf(value) != 0) == (kind == INFINITE));
            const double again = value_of(format, bits_of(format, value));
            EXPECT((isnan(again) != 0) == (kind == NOT_A_NUMBER));
            EXPECT((signbit(again) != 0) == (signbit(value) != 0) && (kind == NOT_A_NUMBER || again == value));
        }
    }
    EXPECT(f->largest == largest && f->least == least && f->least_normal == number(f, 1, 0));
}

START_TEST(every_pattern_decodes_by_definition)
{
    each_float(16, decode_all);
}
END_TEST

static double rounded(bd_format format, bd_round_mode mode, bool saturate, uint32_t random, double value)
{
    const double result = bd_round_by(format, (bd_rounding_rule){ mode, saturate }, random, value);
    const double mirrored = bd_round_by(format, (bd_rounding_rule){ mode, saturate }, random, -value);
    EXPECT((signbit(result) != 0) != (signbit(mirrored) != 0) &&
           (isnan(result) ? isnan(mirrored) : result == -mirrored));
    return result;
}

/* Between neighbours low and high, of which the second is beyond the largest value if it is `over`. */
static void round_between(bd_format format, const bd_format_info *f, double low, double high, bool low_even, bool over)
{
    const double beyond = f->infinity ? INFINITY : NAN, cut = low < f->least_normal ? 0 : low;
    const double middle = (low + high) / 2;
    const double points[] = { low,    nextafter(low, INFINITY),    nextafter(middle, 0),
                              middle, nextafter(middle, INFINITY), nextafter(high, 0) };
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        const double x = points[i];
        const bool up = i > 3 || (i == 3 && !low_even);
        const double nearest = up ? over ? beyond : high : low;
        double got = rounded(format, BD_ROUND_NEAREST, false, 0, x);
        EXPECT(isnan(nearest) ? isnan(got) : got == nearest);
        got = rounded(format, BD_ROUND_NEAREST, true, 0, x);
        EXPECT(got == (up && !over ? high : low));
        EXPECT(rounded(format, BD_ROUND_ZERO, false, 0, x) == low);
        EXPECT(rounded(format, BD_ROUND_MASK, false, 0, x) == cut);
        /* With r = 0 never up; with the largest r wherever 2^-32 of the way is gone. */
        EXPECT(rounded(format, BD_ROUND_STOCHASTIC, true, 0, x) == low);
        const bool far = x - low >= (high - low) * 0x1p-32;
        EXPECT(rounded(format, BD_ROUND_STOCHASTIC, true, UINT32_MAX, x) == (far && !over ? high : low));
    }
    /* At the middle just half of all r go up. */
    const double up = over ? f->largest : high;
    EXPECT(rounded(format, BD_ROUND_STOCHASTIC, true, 0x80000000u, middle) == up);
    EXPECT(rounded(format, BD_ROUND_STOCHASTIC, true, 0x7fffffffu, middle) == low);
}

static void encode_all(bd_format format, const bd_format_info *f)
{
    double low = 0;
    int e = 0, m = 0;
    for (bool last = false; !last;) {
        const int next_m = m + 1 < 1 << f->mantissa_bits ? m + 1 : 0, next_e = next_m ? e : e + 1;
        last = kind_of(f, next_e, next_m) != FINITE;
        /* What would come next, were there more exponents. */
        const double high = number(f, next_e, next_m);
        /* Of two odd ones, which only a mantissa of no bits has, the larger is taken. */
        const bool low_even = low == 0 || (f->mantissa_bits > 0 && m % 2 == 0);
        round_between(format, f, low, high, low_even, last);
        low = high, e = next_e, m = next_m;
    }
    const double beyond[] = { INFINITY, DBL_MAX };
    for (int i = 0; i < 2; i++) {
        const double got = rounded(format, BD_ROUND_NEAREST, false, 0, beyond[i]);
        EXPECT(f->infinity ? isinf(got) : isnan(got));
        EXPECT(rounded(format, BD_ROUND_NEAREST, true, 0, beyond[i]) == f->largest);
        EXPECT(rounded(format, BD_ROUND_STOCHASTIC, true, 7, beyond[i]) == f->largest);
    }
    EXPECT(rounded(format, BD_ROUND_ZERO, false, 0, DBL_MAX) == f->largest);
    EXPECT(f->infinity ? isinf(rounded(format, BD_ROUND_ZERO, false, 0, INFINITY))
                       : isnan(rounded(format, BD_ROUND_ZERO, false, 0, INFINITY)));
    EXPECT(rounded(format, BD_ROUND_ZERO, true, 0, INFINITY) == f->largest);
    EXPECT(rounded(format, BD_ROUND_NEAREST, false, 0, DBL_TRUE_MIN) == 0);
    for (int mode = 0; mode < BD_ROUND_MODE_COUNT; mode++) {
        EXPECT(isnan(bd_round_by(format, (bd_rounding_rule){ (bd_round_mode)mode, mode & 1 }, 1, NAN)));
        EXPECT(rounded(format, (bd_round_mode)mode, false, 1, 0.0) == 0);
    }
}

START_TEST(every_midpoint_rounds_by_definition)
{
    each_float(16, encode_all);
}
END_TEST

/* A value of the format: a whole number of the spacing at it, and no larger than the largest. */
static bool belongs(const bd_format_info *f, double value)
{
    int exponent;
    frexp(value, &exponent);
    const int spacing = (int)fmax(exponent - 1, 1 - f->bias) - f->mantissa_bits;
    const double units = ldexp(value, -spacing);
    return value == 0 || (units == floor(units) && fabs(value) <= f->largest);
}

/* Wide formats: `samples` doubles of every magnitude that they have, and some that they have not. */
static void round_samples(bd_format format, const bd_format_info *f)
{
    enum { SAMPLES = 200 };
    if (f->bits <= 16)
        return;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        uint32_t word[4];
        bd_philox((uint32_t[2]){ 1, (uint32_t)format }, (uint32_t[4]){ i, 0, 0, 0 }, word);
        const int reach = f->bias + f->mantissa_bits + 4;
        const double x =
            ldexp(1 + word[0] * 0x1p-32 + word[1] * 0x1p-64, (int)(word[2] % (2u * (uint32_t)reach)) - reach);
        const double low = rounded(format, BD_ROUND_ZERO, false, 0, x);
        const double nearest = rounded(format, BD_ROUND_NEAREST, false, 0, x);
        const double other = rounded(format, BD_ROUND_STOCHASTIC, false, UINT32_MAX, x);
        EXPECT(belongs(f, low) && low <= x);
        if (isfinite(other))
            EXPECT(belongs(f, other) && (other == low || other > x));
        if (x <= f->largest) {
            EXPECT(belongs(f, nearest) && (nearest == low || nearest == other || nearest > x));
            EXPECT(fabs(nearest - x) <= fabs(x - low) && fabs(nearest - x) <= fabs(other - x));
        }
        /* Storage keeps it. */
        double back;
        float stored;
        bd_format_encode(format, &x, &stored, 1);
        bd_format_decode(format, &stored, &back, 1);
        EXPECT(back == nearest);
    }
    for (uint32_t i = 0; i < SAMPLES && format == BD_F32; i++) {
        uint32_t word[4];
        float value;
        bd_philox((uint32_t[2]){ 2, 0 }, (uint32_t[4]){ i, 0, 0, 0 }, word);
        memcpy(&value, word, sizeof value);
        const double x = value * (1 + word[1] * 0x1p-55);
        EXPECT(isnan(x) || bd_round_by(BD_F32, (bd_rounding_rule){ 0 }, 0, x) == (double)(float)x);
    }
}

START_TEST(wide_formats_round_by_definition)
{
    each_float(32, round_samples);
}
END_TEST

START_TEST(whole_numbers)
{
    static const bd_format formats[] = { BD_I8, BD_I4, BD_I3, BD_I2 };
    static const int most[] = { 127, 7, 3, 1 };
    const bd_format format = formats[_i];
    const bd_rounding_rule nearest = { 0 }, zero = { BD_ROUND_ZERO, false }, chance = { BD_ROUND_STOCHASTIC, false };
    ck_assert_uint_eq(bd_format_size(format), 1);
    for (int n = -most[_i] - 1; n <= most[_i]; n++) {
        int8_t code;
        const double x = n;
        double back;
        bd_format_encode(format, &x, &code, 1);
        bd_format_decode(format, &code, &back, 1);
        ck_assert_int_eq(code, n);
        ck_assert_double_eq(back, n);
        const double middle = n + 0.5, next = fmin(n + 1, most[_i]);
        ck_assert_double_eq(bd_round_by(format, nearest, 0, middle), n % 2 ? next : n);
        ck_assert_double_eq(bd_round_by(format, nearest, 0, nextafter(middle, -1000)), n);
        ck_assert_double_eq(bd_round_by(format, nearest, 0, nextafter(middle, 1000)), next);
        ck_assert_double_eq(bd_round_by(format, zero, 0, middle), n < 0 ? next : n);
        ck_assert_double_eq(bd_round_by(format, chance, 0x7fffffff, middle), n < 0 ? next : n);
        ck_assert_double_eq(bd_round_by(format, chance, 0x80000000, middle), n < 0 ? n : next);
    }
    ck_assert_double_eq(bd_round(format, INFINITY), most[_i]);
    ck_assert_double_eq(bd_round(format, -1e9), -most[_i] - 1);
    ck_assert_double_eq(bd_round(format, NAN), 0);
    ck_assert(!signbit(bd_round(format, -0.25)));
}
END_TEST

/* The mean of stochastic roundings is the value: 2^16 of them, whose mean has a deviation of at most 2^-9 spacings. */
START_TEST(stochastic_rounding_has_no_bias)
{
    enum { DRAWS = 1 << 16 };
    const double values[] = { 1 + 0x1p-3 * 0.3, 1 + 0x1p-3 * 0.9, 0.3 * 0x1p-9 };
    for (int v = 0; v < 3; v++) {
        double sum = 0;
        for (uint32_t i = 0; i < DRAWS; i++) {
            uint32_t word[4];
            bd_philox((uint32_t[2]){ 3, (uint32_t)v }, (uint32_t[4]){ i, 0, 0, 0 }, word);
            sum += bd_round_by(BD_F8E4M3, (bd_rounding_rule){ BD_ROUND_STOCHASTIC, false }, word[0], values[v]);
        }
        const double spacing = v < 2 ? 0x1p-3 : 0x1p-9;
        ck_assert(fabs(sum / DRAWS - values[v]) < 5 * 0x1p-9 * spacing);
    }
}
END_TEST

START_TEST(names)
{
    bd_format format;
    for (int i = 0; i < BD_FORMAT_END; i++) {
        char name[16];
        const bd_format_info info = bd_format_describe((bd_format)i);
        ck_assert(bd_format_exists((bd_format)i));
        ck_assert_str_eq(info.name, bd_format_name((bd_format)i));
        ck_assert_uint_eq(info.size, bd_format_size((bd_format)i));
        ck_assert(bd_format_from_name(info.name, &format));
        if (i < BD_FORMAT_COUNT || format == (bd_format)i)
            ck_assert_int_eq(format, i);
        if (info.kind != BD_KIND_FLOAT)
            continue;
        snprintf(name, sizeof name, "e%dm%d", info.exponent_bits, info.mantissa_bits);
        ck_assert(bd_format_from_name(name, &format) &&
                  format == bd_format_exmy(info.exponent_bits, info.mantissa_bits));
        if (i < BD_FORMAT_COUNT)
            ck_assert_int_eq(format, i);
    }
    static const char *const wrong[] = { "", "e1m3", "e9m3", "e4m24", "e4", "m3", "e4m", "e04m3", "e4m3 ", "int16" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert(!bd_format_from_name(wrong[i], &format));
    ck_assert(!bd_format_exists(BD_FORMAT_END) && !bd_format_exists((bd_format)-1));
}
END_TEST

/* Of formats of up to 10 bits every value is tried. */
START_TEST(what_holds_what)
{
    for (int n = 0; n < BD_FORMAT_END; n++) {
        const bd_format narrow = (bd_format)n;
        const bd_format_info info = bd_format_describe(narrow);
        ck_assert(bd_format_holds(BD_F32, narrow) == (narrow != BD_U32));
        for (int w = 0; w < BD_FORMAT_END && info.bits <= 10; w++) {
            bool all = true;
            for (uint32_t bits = 0; bits < 1u << info.bits; bits++) {
                const uint32_t code =
                    info.kind == BD_KIND_SIGNED ? (uint32_t)(uint8_t)((int)bits - (1 << info.bits) / 2) : bits;
                const double value = value_of(narrow, code), kept = bd_round((bd_format)w, value);
                all &= isnan(value) ? isnan(kept) : value == kept;
            }
            if (bd_format_holds((bd_format)w, narrow))
                ck_assert_msg(all, "%s in %s", info.name, bd_format_name((bd_format)w));
        }
    }
    ck_assert(bd_format_holds(BD_BF16, BD_F8E5M2) && bd_format_holds(BD_F16, BD_F8E4M3));
    ck_assert(!bd_format_holds(BD_BF16, BD_F16) && !bd_format_holds(BD_F16, BD_BF16));
    ck_assert(bd_format_holds(BD_BF16, BD_I8) && !bd_format_holds(BD_F8E4M3, BD_I8));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rounding");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, every_pattern_decodes_by_definition);
    tcase_add_test(tests, every_midpoint_rounds_by_definition);
    tcase_add_test(tests, wide_formats_round_by_definition);
    tcase_add_loop_test(tests, whole_numbers, 0, 4);
    tcase_add_test(tests, stochastic_rounding_has_no_bias);
    tcase_add_test(tests, names);
    tcase_add_test(tests, what_holds_what);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
