/* cl/prelude.cl on every OpenCL device: conversions and half arithmetic to the bit, functions within their budgets,
 * random numbers as the reference has them. Each is tried as the printer sets the prelude up for the device, and with
 * all that the device offers switched off. */
#include "../backends/backend.h"
#include "../engine/cache.h"
#include "../engine/embedded.h"
#include "../engine/philox.h"
#include "scratch.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77, VARIANTS = 2, HALVES = 65536, LOCAL = 64, PAIRS = 1 << 18, FLOATS = 1 << 20 };

static const bd_backend *backend;
static bd_cache *cache;
static bd_device *device;
static bd_error error;
static int variant;

#define OK(call) ck_assert_msg((call) == BD_OK, "%s: %s", #call, error.message)

/* Outside of any test: no assertions. */
static int device_count(void)
{
    bd_device_info *infos = NULL;
    size_t count = 0;
    if (bd_opencl_backend() && bd_opencl_backend()->list(&infos, &count, &error) != BD_OK)
        fprintf(stderr, "%s\n", error.message);
    free(infos);
    return (int)count;
}

static void open_device(int index)
{
    backend = bd_opencl_backend();
    cache = bd_cache_open_in(scratch_folder(), 1 << 26);
    OK(backend->open((size_t)(index / VARIANTS), cache, &device, &error));
    variant = index % VARIANTS;
}

static void close_device(void)
{
    backend->close(device);
    bd_cache_close(&cache);
}

/* Runs `body`, statements about element `i` of `in` and `out`, over `items`, a multiple of LOCAL. */
static void run(const char *body, int items, const char *in_type, const void *in, size_t in_size, const char *out_type,
                void *out, size_t out_size)
{
    const bd_target *target = &device->target;
    const char *prelude = bd_embedded_text("cl/prelude.cl");
    char defines[256], function[2048];
    if (variant == 0)
        snprintf(
            defines, sizeof defines,
            "#define BD_HALF_ARITHMETIC %d\n#define BD_HALF_CONVERSION %d\n#define BD_NVIDIA %d\n#define BD_CPU %d\n",
            target->half.arithmetic && target->half.arithmetic_exact, target->half.conversion_exact, target->nvidia,
            target->is_cpu);
    else
        snprintf(defines, sizeof defines,
                 "#undef BD_KHR_FP16\n#undef BD_HALF_BUILTIN\n#undef BD_ROUND_BY_STEPS\n#undef BD_EXACT_DIVIDE\n");
    int length =
        snprintf(function, sizeof function,
                 "__kernel void binade(__global const %s *in, __global %s *out, ulong in_first, ulong out_first)\n"
                 "{\n    size_t i = get_global_id(0), n = get_global_size(0);\n%s}\n",
                 in_type, out_type, body);
    ck_assert_int_lt(length, sizeof function);
    char *source = malloc(strlen(defines) + strlen(prelude) + sizeof function);
    sprintf(source, "%s%s%s", defines, prelude, function);
    bd_buffer *from, *to;
    OK(backend->buffer_create(device, in_size, &from, &error));
    OK(backend->buffer_create(device, out_size, &to, &error));
    OK(backend->buffer_write(device, from, 0, in, in_size, NULL, &error));
    const bd_kernel kernel = { .name = "prelude",
                               .local = { LOCAL, 1, 1 },
                               .groups = { (uint32_t)items / LOCAL, 1, 1 } };
    const bd_binding bindings[2] = { { .buffer = from, .size = in_size },
                                     { .buffer = to, .size = out_size, .written = true } };
    const bd_dispatch dispatch = { .kernel = &kernel, .source = source, .bindings = bindings, .binding_count = 2 };
    const bd_program_desc desc = { .dispatches = &dispatch, .dispatch_count = 1 };
    bd_backend_program *program;
    OK(backend->program_create(device, &desc, &program, &error));
    OK(backend->program_run(device, program, 1, &error));
    OK(backend->buffer_read(device, to, 0, out, out_size, NULL, &error));
    backend->program_destroy(device, program);
    backend->buffer_destroy(device, from);
    backend->buffer_destroy(device, to);
    free(source);
}

static bool is_half_nan(uint16_t half)
{
    return (half & 0x7fff) > 0x7c00;
}

static void expect_half(uint16_t result, double exact, const char *what, double a, double b)
{
    uint16_t expected = bd_f16_from_double(exact);
    if (result != expected && !(is_half_nan(result) && is_half_nan(expected)))
        ck_abort_msg("%s of %a and %a is 0x%04x, not 0x%04x", what, a, b, result, expected);
}

static float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Units in the last place of a float at `exact`. */
static double ulps(float result, double exact)
{
    if (isnan(exact) || isnan(result))
        return isnan(exact) && isnan(result) ? 0 : INFINITY;
    if (isinf(result))
        return isinf((float)exact) && (result > 0) == (exact > 0) ? 0 : INFINITY;
    int exponent;
    frexp(exact, &exponent);
    return fabs(result - exact) / ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

START_TEST(halves_are_converted_exactly)
{
    static uint16_t halves[HALVES], back[2 * HALVES];
    static float numbers[FLOATS], rounded[FLOATS], values[HALVES];
    static uint16_t bits[FLOATS];
    open_device(_i);
    for (int i = 0; i < HALVES; i++)
        halves[i] = (uint16_t)i;
    run("out[i] = BD_LOAD_f16(in, i);\n", HALVES, "BD_TYPE_f16", halves, sizeof halves, "float", values, sizeof values);
    for (int i = 0; i < HALVES; i++) {
        double exact = bd_f16_to_double((uint16_t)i);
        ck_assert(isnan(exact) ? isnan(values[i]) : values[i] == exact && !signbit(values[i]) == !signbit(exact));
    }
    run("float x = BD_LOAD_f16(in, i);\nBD_STORE_f16(out, i, x);\nBD_STORE_f16(out, n + i, BD_SQRT_f16(x));\n", HALVES,
        "BD_TYPE_f16", halves, sizeof halves, "BD_TYPE_f16", back, sizeof back);
    for (int i = 0; i < HALVES; i++) {
        double exact = bd_f16_to_double((uint16_t)i);
        expect_half(back[i], exact, "a store", exact, 0);
        expect_half(back[HALVES + i], sqrt(exact), "the root", exact, 0);
    }
    /* Every exponent and sign, and ties of all kinds: mantissas that end in 0x000 and 0x001 and in anything. */
    for (uint32_t i = 0; i < FLOATS; i++)
        numbers[i] = float_from_bits(i << 12 | (i * 2654435761u >> 20 & (i & 1 ? 0xfff : 0x001)));
    run("BD_STORE_f16(out, i, in[i]);\n", FLOATS, "float", numbers, sizeof numbers, "BD_TYPE_f16", bits, sizeof bits);
    run("out[i] = bd_round_f16(in[i]);\n", FLOATS, "float", numbers, sizeof numbers, "float", rounded, sizeof rounded);
    for (int i = 0; i < FLOATS; i++) {
        expect_half(bits[i], numbers[i], "a store", numbers[i], 0);
        double exact = bd_round(BD_F16, numbers[i]);
        ck_assert_msg(isnan(exact) ? isnan(rounded[i]) : rounded[i] == exact && !signbit(rounded[i]) == !signbit(exact),
                      "%a is rounded to %a, not %a", numbers[i], rounded[i], exact);
    }
    close_device();
}
END_TEST

/* Sums and products of halves are exact in double. A quotient is not, but 53 bits are more than 2 * 11 + 2. */
START_TEST(half_arithmetic_is_correctly_rounded)
{
    static uint16_t pairs[PAIRS][2], results[6][PAIRS];
    static const uint16_t special[] = { 0,      1,      2,      3,      0x3ff,  0x400,  0x401,  0x3bff,
                                        0x3c00, 0x3c01, 0x4200, 0x6400, 0x7bff, 0x7c00, 0x7e00, 0x5555 };
    open_device(_i);
    uint32_t random = 12345;
    for (int i = 0; i < PAIRS; i++)
        for (int j = 0; j < 2; j++) {
            random = random * 1664525u + 1013904223u;
            pairs[i][j] = (uint16_t)(random >> 16);
            if (i < 1024) { /* every special pair, all signs */
                int number = j ? i & 31 : i >> 5;
                pairs[i][j] = (uint16_t)(special[number >> 1] | (number & 1) << 15);
            }
        }
    run("float a = BD_LOAD_f16(in, 2 * i), b = BD_LOAD_f16(in, 2 * i + 1);\n"
        "BD_STORE_f16(out, i, BD_ADD_f16(a, b));\nBD_STORE_f16(out, n + i, BD_SUB_f16(a, b));\n"
        "BD_STORE_f16(out, 2 * n + i, BD_MUL_f16(a, b));\nBD_STORE_f16(out, 3 * n + i, BD_DIV_f16(a, b));\n"
        "BD_STORE_f16(out, 4 * n + i, bd_max(a, b));\nBD_STORE_f16(out, 5 * n + i, bd_min(a, b));\n",
        PAIRS, "BD_TYPE_f16", pairs, sizeof pairs, "BD_TYPE_f16", results, sizeof results);
    for (int i = 0; i < PAIRS; i++) {
        double a = bd_f16_to_double(pairs[i][0]), b = bd_f16_to_double(pairs[i][1]);
        expect_half(results[0][i], a + b, "the sum", a, b);
        expect_half(results[1][i], a - b, "the difference", a, b);
        expect_half(results[2][i], a * b, "the product", a, b);
        expect_half(results[3][i], a / b, "the quotient", a, b);
        if (a != b) { /* zeros of two signs are equal: either may come */
            expect_half(results[4][i], isnan(a) || isnan(b) ? NAN : fmax(a, b), "the maximum", a, b);
            expect_half(results[5][i], isnan(a) || isnan(b) ? NAN : fmin(a, b), "the minimum", a, b);
        }
    }
    close_device();
}
END_TEST

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* Budgets: OpenCL's for its own functions; sigmoid's is derived in the prelude. A double's own error is negligible. */
START_TEST(functions_keep_their_budgets)
{
    static const struct {
        const char *name;
        double (*exact)(double);
        double budget;
    } functions[] = {
        { "exp", exp, 3 }, { "log", log, 3 }, { "tanh", tanh, 5 }, { "sigmoid", sigmoid, 5 }, { "erf", erf, 16 }
    };
    enum { COUNT = sizeof functions / sizeof *functions };
    static float numbers[FLOATS], results[COUNT + 1][FLOATS];
    open_device(_i);
    for (uint32_t i = 0; i < FLOATS; i++) /* even ones over all floats, odd ones over [-16, 16) */
        numbers[i] =
            i % 2 ? (float)((int)i - FLOATS / 2) / (FLOATS / 32) : float_from_bits(i << 12 | (i * 40503u & 0xfff));
    run("out[i] = bd_exp(in[i]);\nout[n + i] = bd_log(in[i]);\nout[2 * n + i] = bd_tanh(in[i]);\n"
        "out[3 * n + i] = bd_sigmoid(in[i]);\nout[4 * n + i] = bd_erf(in[i]);\nout[5 * n + i] = bd_nonfinite(in[i]);\n",
        FLOATS, "float", numbers, sizeof numbers, "float", results, sizeof results);
    for (int f = 0; f < COUNT; f++) {
        double worst = 0;
        int at = 0;
        for (int i = 0; i < FLOATS; i++) {
            double exact = functions[f].exact(numbers[i]);
            /* Where a driver flushes subnormal floats, both operand and result may be 0 instead. */
            if (!device->info.half.subnormals_f32 && (fabs(exact) < 0x1p-126 || fabs(numbers[i]) < 0x1p-126))
                continue;
            double off = ulps(results[f][i], exact);
            if (off > worst) {
                worst = off;
                at = i;
            }
        }
        printf("%s, variant %d: %s is at most %.2f ULP off, at %a\n", device->info.id, variant, functions[f].name,
               worst, numbers[at]);
        ck_assert_msg(worst <= functions[f].budget, "%s(%a) is %a: %g ULP", functions[f].name, numbers[at],
                      results[f][at], worst);
    }
    for (int i = 0; i < FLOATS; i++)
        ck_assert(results[COUNT][i] == !isfinite(numbers[i]));
    close_device();
}
END_TEST

/* x^y, both halves so that many cases are exact; OpenCL allows 16 ULP. */
START_TEST(pow_keeps_its_budget)
{
    static uint16_t pairs[PAIRS / 4][2];
    static float results[PAIRS / 4];
    open_device(_i);
    uint32_t random = 99;
    for (int i = 0; i < PAIRS / 4; i++)
        for (int j = 0; j < 2; j++) {
            random = random * 1664525u + 1013904223u;
            pairs[i][j] = (uint16_t)(random >> 16);
        }
    run("out[i] = bd_pow(BD_LOAD_f16(in, 2 * i), BD_LOAD_f16(in, 2 * i + 1));\n", PAIRS / 4, "BD_TYPE_f16", pairs,
        sizeof pairs, "float", results, sizeof results);
    for (int i = 0; i < PAIRS / 4; i++) {
        double a = bd_f16_to_double(pairs[i][0]), b = bd_f16_to_double(pairs[i][1]), exact = pow(a, b);
        if (fabs(exact) >= 0x1p-126 || device->info.half.subnormals_f32)
            ck_assert_msg(ulps(results[i], exact) <= 16, "%a to the power %a is %a, not %a", a, b, results[i], exact);
    }
    close_device();
}
END_TEST

START_TEST(random_numbers_are_philox)
{
    enum { ITEMS = 4096 };
    static float uniform[ITEMS];
    static uint32_t words[4 * ITEMS];
    uint32_t seeds[4] = { 0x12345678, 0x9abcdef0, 7, 0xffffffff };
    open_device(_i);
    run("out[i] = bd_uniform(bd_random(in[0], in[1], in[2], in[3], (uint)i));\n", ITEMS, "uint", seeds, sizeof seeds,
        "float", uniform, sizeof uniform);
    run("vstore4(bd_philox((uint4)((uint)i, in[3], in[2], 0u), (uint2)(in[0], in[1])), i, out);\n", ITEMS, "uint",
        seeds, sizeof seeds, "uint", words, sizeof words);
    for (uint32_t i = 0; i < ITEMS; i++) {
        uint32_t expected[4];
        bd_philox((uint32_t[]){ seeds[0], seeds[1] }, (uint32_t[]){ i, seeds[3], seeds[2], 0 }, expected);
        ck_assert_int_eq(memcmp(expected, &words[4 * i], sizeof expected), 0);
        for (uint32_t j = 0; j < 4 && 4 * i + j < ITEMS; j++)
            ck_assert(uniform[4 * i + j] == bd_philox_uniform(expected[j]));
    }
    close_device();
}
END_TEST

/* Every elementwise result is rounded: a * b + c must not become one fused operation. */
START_TEST(products_are_not_contracted)
{
    float numbers[3 * LOCAL], results[LOCAL];
    open_device(_i);
    for (int i = 0; i < LOCAL; i++) {
        numbers[3 * i] = 1 + (float)(2 * i + 1) * 0x1p-23f;
        numbers[3 * i + 1] = 1 + (float)(2 * i + 3) * 0x1p-23f;
        numbers[3 * i + 2] = -numbers[3 * i] * numbers[3 * i + 1];
    }
    run("BD_VALUE v = in[3 * i] * in[3 * i + 1];\nBD_VALUE w = v + in[3 * i + 2];\nout[i] = w;\n", LOCAL, "float",
        numbers, sizeof numbers, "float", results, sizeof results);
    for (int i = 0; i < LOCAL; i++)
        ck_assert(results[i] == 0);
    close_device();
}
END_TEST

START_TEST(whole_numbers_are_stored_in_range)
{
    static const float numbers[] = { 0,        0.5f,          1.5f,          2.5f,      254.5f,   255, 256, -1,
                                     16777216, 4294967040.0f, 4294967296.0f, -INFINITY, INFINITY, 3,   4,   5 };
    enum { COUNT = sizeof numbers / sizeof *numbers };
    float in[LOCAL] = { 0 };
    uint32_t whole[LOCAL];
    float back[2 * LOCAL];
    open_device(_i);
    memcpy(in, numbers, sizeof numbers);
    run("BD_STORE_u32(out, i, in[i]);\n", LOCAL, "float", in, sizeof in, "BD_TYPE_u32", whole, sizeof whole);
    run("out[i] = BD_LOAD_u32(in, i);\nout[n + i] = BD_FLOAT(BD_LOADU_u32(in, i));\n", LOCAL, "BD_TYPE_u32", whole,
        sizeof whole, "float", back, sizeof back);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_msg(whole[i] == bd_round(BD_U32, in[i]), "%a is stored as %u", in[i], whole[i]);
        ck_assert(back[i] == (float)whole[i] && back[LOCAL + i] == (float)whole[i]);
    }
    close_device();
}
END_TEST

int main(void)
{
    const int runs = device_count() * VARIANTS;
    if (runs == 0)
        return SKIPPED;
    Suite *suite = suite_create("opencl prelude");
    TCase *tests = tcase_create("prelude");
    tcase_add_unchecked_fixture(tests, scratch_create, scratch_remove); /* one folder, so that the cache works */
    tcase_add_loop_test(tests, halves_are_converted_exactly, 0, runs);
    tcase_add_loop_test(tests, half_arithmetic_is_correctly_rounded, 0, runs);
    tcase_add_loop_test(tests, functions_keep_their_budgets, 0, runs);
    tcase_add_loop_test(tests, pow_keeps_its_budget, 0, runs);
    tcase_add_loop_test(tests, random_numbers_are_philox, 0, runs);
    tcase_add_loop_test(tests, products_are_not_contracted, 0, runs);
    tcase_add_loop_test(tests, whole_numbers_are_stored_in_range, 0, runs);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    /* Drivers keep threads, which a forked child would not have. */
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
