/* Formats: every half value, every midpoint between two, and the edges of the others. */
#include <binade/format.h>

#include <check.h>
#include <float.h>
#include <math.h>
#include <string.h>

enum { HALF_INFINITY = 0x7c00 };

/* The definition, apart from infinity and NaN. */
static double half_by_definition(uint16_t bits)
{
    int exponent = bits >> 10 & 0x1f, mantissa = bits & 0x3ff;
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1 + mantissa / 1024.0, exponent - 15);
    return bits & 0x8000 ? -magnitude : magnitude;
}

START_TEST(half_decodes_by_definition)
{
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        double value = bd_f16_to_double((uint16_t)bits);
        ck_assert_int_eq(signbit(value) != 0, bits >> 15);
        if ((bits & 0x7fff) > HALF_INFINITY)
            ck_assert(isnan(value));
        else if ((bits & 0x7fff) == HALF_INFINITY)
            ck_assert(isinf(value));
        else
            ck_assert_double_eq(value, half_by_definition((uint16_t)bits));
    }
}
END_TEST

START_TEST(half_round_trips)
{
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        uint16_t back = bd_f16_from_double(bd_f16_to_double((uint16_t)bits));
        if ((bits & 0x7fff) > HALF_INFINITY)
            ck_assert_uint_eq(back, (bits & 0x8000) | 0x7e00);
        else
            ck_assert_uint_eq(back, bits);
    }
}
END_TEST

/* Between neighbours a and b (b even or odd): the midpoint goes to the even one, anything nearer to its own side.
 * Rounding to float first would get the double next to a midpoint wrong. */
START_TEST(half_rounds_to_nearest_even)
{
    for (uint16_t bits = 0; bits < HALF_INFINITY; bits++) {
        double low = half_by_definition(bits);
        double high = bits + 1 == HALF_INFINITY ? 65536 : half_by_definition(bits + 1);
        double middle = (low + high) / 2;
        uint16_t even = bits & 1 ? bits + 1 : bits;
        ck_assert_uint_eq(bd_f16_from_double(middle), even);
        ck_assert_uint_eq(bd_f16_from_double(nextafter(middle, 0)), bits);
        ck_assert_uint_eq(bd_f16_from_double(nextafter(middle, INFINITY)), bits + 1);
        ck_assert_uint_eq(bd_f16_from_double(-middle), even | 0x8000);
        ck_assert_uint_eq(bd_f16_from_double(nextafter(low, INFINITY)), bits);
        ck_assert_uint_eq(bd_f16_from_double(nextafter(high, 0)), bits + 1);
    }
}
END_TEST

START_TEST(half_extremes)
{
    ck_assert_uint_eq(bd_f16_from_double(DBL_MAX), 0x7c00);
    ck_assert_uint_eq(bd_f16_from_double(-INFINITY), 0xfc00);
    ck_assert_uint_eq(bd_f16_from_double(DBL_TRUE_MIN), 0);
    ck_assert_uint_eq(bd_f16_from_double(-DBL_MIN), 0x8000);
    ck_assert_uint_eq(bd_f16_from_double(65519.999), 0x7bff);
    ck_assert_uint_eq(bd_f16_from_double(NAN) & 0x7fff, 0x7e00);
}
END_TEST

START_TEST(round_agrees_with_format)
{
    ck_assert_double_eq(bd_round(BD_F32, 0.1), 0.1f);
    ck_assert_double_eq(bd_round(BD_F32, 0x1p-150), 0); /* a tie between 0 and the least subnormal */
    ck_assert(isinf(bd_round(BD_F32, 1e300)));
    ck_assert_double_eq(bd_round(BD_F16, 1 + 0x1p-11), 1);
    ck_assert_double_eq(bd_round(BD_F16, 1 + 3 * 0x1p-11), 1 + 0x1p-9);
    ck_assert(signbit(bd_round(BD_F16, -0.0)));
    ck_assert(isnan(bd_round(BD_F16, NAN)) && isnan(bd_round(BD_F32, NAN)));
    ck_assert_double_eq(bd_round(BD_U8, 2.5), 2);
    ck_assert_double_eq(bd_round(BD_U8, 300), 255);
    ck_assert_double_eq(bd_round(BD_U8, -3), 0);
    ck_assert_double_eq(bd_round(BD_U32, 4294967295.0), 4294967295.0);
    ck_assert_double_eq(bd_round(BD_U32, INFINITY), 4294967295.0);
    ck_assert_double_eq(bd_round(BD_U32, NAN), 0);
}
END_TEST

START_TEST(names_and_sizes)
{
    static const struct {
        const char *name;
        size_t size;
    } expected[BD_FORMAT_COUNT] = { { "f32", 4 },  { "f16", 2 },    { "u8", 1 },     { "u32", 4 },
                                    { "bf16", 2 }, { "f8e4m3", 1 }, { "f8e5m2", 1 }, { "int8", 1 },
                                    { "int4", 1 }, { "int3", 1 },   { "int2", 1 } };
    for (int i = 0; i < BD_FORMAT_COUNT; i++) {
        bd_format found = BD_FORMAT_COUNT;
        ck_assert_str_eq(bd_format_name((bd_format)i), expected[i].name);
        ck_assert_uint_eq(bd_format_size((bd_format)i), expected[i].size);
        ck_assert(bd_format_from_name(expected[i].name, &found));
        ck_assert_int_eq(found, i);
    }
    bd_format untouched = BD_U8;
    ck_assert(!bd_format_from_name("f64", &untouched));
    ck_assert_int_eq(untouched, BD_U8);
}
END_TEST

START_TEST(storage_round_trips_unaligned)
{
    static const double values[BD_FORMAT_COUNT][4] = {
        [BD_F32] = { 1.5, -0.0, 0x1.fffffep127, 0x1p-149 },
        [BD_F16] = { 65504, -0x1p-24, 0.333251953125, -1 },
        [BD_U8] = { 0, 1, 254, 255 },
        [BD_U32] = { 0, 7, 4294967294.0, 4294967295.0 },
        [BD_BF16] = { 0x1.fep127, -0x1p-133, 3.140625, -0.0 },
        [BD_F8E4M3] = { 448, -0x1p-9, 0.9375, -1 },
        [BD_F8E5M2] = { 57344, -0x1p-16, 0.875, -1 },
        [BD_I8] = { -128, -1, 0, 127 },
        [BD_I4] = { -8, -1, 0, 7 },
        [BD_I3] = { -4, -1, 0, 3 },
        [BD_I2] = { -2, -1, 0, 1 },
    };
    for (int i = 0; i < BD_FORMAT_COUNT; i++) {
        unsigned char storage[4 * 4 + 1];
        double back[4];
        bd_format_encode((bd_format)i, values[i], storage + 1, 4);
        bd_format_decode((bd_format)i, storage + 1, back, 4);
        for (int j = 0; j < 4; j++)
            ck_assert_double_eq(back[j], values[i][j]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("format");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, half_decodes_by_definition);
    tcase_add_test(tests, half_round_trips);
    tcase_add_test(tests, half_rounds_to_nearest_even);
    tcase_add_test(tests, half_extremes);
    tcase_add_test(tests, round_agrees_with_format);
    tcase_add_test(tests, names_and_sizes);
    tcase_add_test(tests, storage_round_trips_unaligned);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
