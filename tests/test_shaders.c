/* The GLSL prelude on every Vulkan device found, by its native and by its portable paths: conversions, correctly
 * rounded half arithmetic and stores bit by bit, functions within their budgets, and the random generator against the
 * engine's. */
#include "../engine/philox.h"
#include "vulkan_fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HALVES = 65536, GROUP = 64 };

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double half(uint32_t bits)
{
    return bd_f16_to_double((uint16_t)bits);
}

static double rounded(double value)
{
    return bd_f16_to_double(bd_f16_from_double(value));
}

/* Runs `body`, which reads b0 and writes b1, on `count` inputs of one or two floats. */
static void run_floats(bool native, const char *body, const float *inputs, int arity, float *outputs, uint32_t count)
{
    char *source = with_prelude(native, body);
    bd_buffer *in = upload(inputs, (uint64_t)count * (uint64_t)arity * sizeof *inputs);
    bd_buffer *out = make_buffer((uint64_t)count * sizeof *outputs);
    test_dispatch launch = { source, (count + GROUP - 1) / GROUP, { whole(in, false), whole(out, true) }, 2 };
    run_once(&launch);
    download(out, outputs, out->size);
    backend->buffer_destroy(device, in);
    backend->buffer_destroy(device, out);
    free(source);
}

/* A kernel that applies an expression of a and b, or of x alone. */
static const char *kernel_text(int arity, const char *expression)
{
    static char text[1024];
    snprintf(text, sizeof text,
             "layout(local_size_x = 64) in;\n"
             "layout(set = 0, binding = 0) readonly buffer B0 { float b0[]; };\n"
             "layout(set = 0, binding = 1) buffer B1 { float b1[]; };\n"
             "void main() {\n"
             "    uint i = gl_GlobalInvocationID.x;\n"
             "    if (i >= uint(b1.length())) return;\n"
             "    float %s\n"
             "    BD_VALUE r = %s;\n"
             "    b1[i] = r;\n"
             "}\n",
             arity == 1 ? "x = b0[i];" : "a = b0[2u * i], b = b0[2u * i + 1u];", expression);
    return text;
}

/* ---- bit by bit ---- */

static void expect_exact(const char *what, double expected, float got, double a, double b)
{
    bool same = isnan(expected) ? isnan(got) : bits_of((float)expected) == bits_of(got);
    if (!same) /* each of Check's assertions is a system call, and there are millions here */
        ck_abort_msg("%s of %a and %a is %a, should be %a", what, a, b, (double)got, expected);
}

static void check_unary_halves(bool native, const char *expression, double (*function)(double))
{
    float *in = malloc(HALVES * sizeof *in), *out = malloc(HALVES * sizeof *out);
    ck_assert(in && out);
    for (uint32_t h = 0; h < HALVES; h++)
        in[h] = (float)half(h);
    run_floats(native, kernel_text(1, expression), in, 1, out, HALVES);
    for (uint32_t h = 0; h < HALVES; h++)
        expect_exact(expression, function(half(h)), out[h], half(h), 0);
    free(in);
    free(out);
}

static double magnitude(double x)
{
    return fabs(x);
}
static double root(double x)
{
    return rounded(sqrt(x));
} /* double has 53 >= 2 * 11 + 2 bits: rounded once */
static double nonfinite(double x)
{
    return !isfinite(x);
}
static double reciprocal(double x)
{
    return rounded(1 / x);
}

START_TEST(unary_halves_are_exact)
{
    open_device(_i);
    for (int native = 0; native < 2; native++) {
        check_unary_halves(native, "bd_round_f16(x)", rounded);
        check_unary_halves(native, "bd_abs(x)", magnitude);
        check_unary_halves(native, "BD_SQRT_f16(x)", root);
        check_unary_halves(native, "bd_nonfinite(x)", nonfinite);
        check_unary_halves(native, "BD_DIV_f16(1.0f, x)", reciprocal);
    }
    close_device();
}
END_TEST

/* Every half, every tie and the floats beside it, both signs; and random floats. */
START_TEST(rounding_is_exact)
{
    enum { COUNT = 4 * HALVES };
    float *in = malloc(COUNT * sizeof *in), *out = malloc(COUNT * sizeof *out);
    ck_assert(in && out);
    for (uint32_t h = 0; h < HALVES; h++) {
        uint32_t words[4];
        bd_philox((uint32_t[2]){ 1, 2 }, (uint32_t[4]){ h }, words);
        double low = half(h & 0x7fff), high = (h & 0x7fff) == 0x7bff ? 65536 : half((h & 0x7fff) + 1);
        float tie = (float)copysign((low + high) / 2, half(h));
        in[4 * h] = tie;
        in[4 * h + 1] = nextafterf(tie, 0);
        in[4 * h + 2] = nextafterf(tie, copysignf(INFINITY, tie));
        in[4 * h + 3] = float_of(words[0]);
    }
    open_device(_i);
    for (int native = 0; native < 2; native++) {
        run_floats(native, kernel_text(1, "bd_round_f16(x)"), in, 1, out, COUNT);
        for (uint32_t i = 0; i < COUNT; i++)
            expect_exact("bd_round_f16", rounded(in[i]), out[i], in[i], 0);
    }
    close_device();
    free(in);
    free(out);
}
END_TEST

/* Pairs of halves: specials with each other, random ones, and pairs whose quotient or product lies next to a tie. */
enum { PAIRS = 1024 + 262144 };
static void make_pairs(float *pairs)
{
    static const uint16_t special[16] = { 0x0000, 0x0001, 0x0002, 0x03ff, 0x0400, 0x0401, 0x07ff, 0x2c00,
                                          0x3800, 0x3bff, 0x3c00, 0x3c01, 0x7800, 0x7bff, 0x7c00, 0x7e00 };
    for (uint32_t i = 0; i < PAIRS; i++) {
        uint32_t words[4], a = i / 32, b = i % 32;
        bd_philox((uint32_t[2]){ 3, 4 }, (uint32_t[4]){ i }, words);
        double x = half(words[0] & 0xffff), y = half(words[1] & 0xffff);
        if (i < 1024) {
            x = half(special[a / 2] | (a % 2) << 15);
            y = half(special[b / 2] | (b % 2) << 15);
        } else if (i % 2 && isfinite(y) && (words[2] & 0x7c00) < 0x7800) {
            /* x = y * (a tie), rounded: the quotient lies as near to the tie as halves allow */
            x = rounded(y * (half(words[2] & 0x7fff) + half((words[2] & 0x7fff) + 1)) / 2);
        }
        pairs[2 * i] = (float)x;
        pairs[2 * i + 1] = (float)y;
    }
}

START_TEST(half_arithmetic_is_exact)
{
    static const char *const expressions[] = { "BD_ADD_f16(a, b)", "BD_SUB_f16(a, b)", "BD_MUL_f16(a, b)",
                                               "BD_DIV_f16(a, b)", "bd_max(a, b)",     "bd_min(a, b)" };
    float *pairs = malloc(2 * PAIRS * sizeof *pairs), *out = malloc(PAIRS * sizeof *out);
    ck_assert(pairs && out);
    make_pairs(pairs);
    open_device(_i);
    for (int native = 0; native < 2; native++)
        for (int k = 0; k < 6; k++) {
            run_floats(native, kernel_text(2, expressions[k]), pairs, 2, out, PAIRS);
            for (uint32_t i = 0; i < PAIRS; i++) {
                double a = pairs[2 * i], b = pairs[2 * i + 1];
                double nan = isnan(a) || isnan(b) ? NAN : 0;
                double expected[] = { rounded(a + b), rounded(a - b),        rounded(a * b),
                                      rounded(a / b), nan + (a > b ? a : b), nan + (a < b ? a : b) };
                if (k >= 4 && expected[k] == 0) /* adding 0 loses the sign */
                    expected[k] = (k == 4 ? a > b : a < b) ? a : b;
                expect_exact(expressions[k], expected[k], out[i], a, b);
            }
        }
    close_device();
    free(pairs);
    free(out);
}
END_TEST

/* Every half out of one buffer into another, one at a time, over bits that were there before: none is lost, whatever
 * else shares its word. Odd places as well as even ones. */
START_TEST(halves_are_stored_alone)
{
    static const char body[] = "layout(local_size_x = 64) in;\n"
                               "layout(set = 0, binding = 0) readonly buffer B0 { BD_TYPE_f16 b0[]; };\n"
                               "layout(set = 0, binding = 1) buffer B1 { BD_TYPE_f16 b1[]; };\n"
                               "void main() {\n"
                               "    uint i = gl_GlobalInvocationID.x;\n"
                               "    BD_VALUE x = BD_LOAD_f16(b0, i);\n"
                               "    BD_STORE_f16(b1, i * 3u + 1u, x);\n"
                               "}\n";
    uint16_t *in = malloc(HALVES * sizeof *in), *before = malloc(3 * HALVES * sizeof *before),
             *after = malloc(3 * HALVES * sizeof *after);
    ck_assert(in && before && after);
    for (uint32_t h = 0; h < HALVES; h++)
        in[h] = (uint16_t)h;
    for (uint32_t i = 0; i < 3 * HALVES; i++)
        before[i] = (uint16_t)(i * 40503u);
    open_device(_i);
    for (int native = 0; native < 2; native++) {
        char *source = with_prelude(native, body);
        bd_buffer *a = upload(in, HALVES * sizeof *in), *b = upload(before, 3 * HALVES * sizeof *before);
        test_dispatch launch = { source, HALVES / GROUP, { whole(a, false), whole(b, true) }, 2 };
        run_once(&launch);
        download(b, after, b->size);
        for (uint32_t i = 0; i < 3 * HALVES; i++) {
            uint16_t expected = i % 3 == 1 ? in[i / 3] : before[i];
            bool same = i % 3 == 1 && isnan(half(expected)) ? isnan(half(after[i])) : after[i] == expected;
            if (!same)
                ck_abort_msg("element %u is %04x, should be %04x", i, after[i], expected);
        }
        backend->buffer_destroy(device, a);
        backend->buffer_destroy(device, b);
        free(source);
    }
    close_device();
    free(in);
    free(before);
    free(after);
}
END_TEST

START_TEST(bytes_and_words_are_whole_numbers)
{
    static const char body[] = "layout(local_size_x = 64) in;\n"
                               "layout(set = 0, binding = 0) readonly buffer B0 { BD_TYPE_u8 b0[]; };\n"
                               "layout(set = 0, binding = 1) readonly buffer B1 { BD_TYPE_f32 b1[]; };\n"
                               "layout(set = 0, binding = 2) buffer B2 { BD_TYPE_f32 b2[]; };\n"
                               "layout(set = 0, binding = 3) buffer B3 { BD_TYPE_u32 b3[]; };\n"
                               "layout(set = 0, binding = 4) buffer B4 { BD_TYPE_u8 b4[]; };\n"
                               "void main() {\n"
                               "    uint i = gl_GlobalInvocationID.x;\n"
                               "    BD_STORE_f32(b2, i, BD_LOAD_u8(b0, i) + BD_FLOAT(BD_LOADU_u8(b0, i)));\n"
                               "    BD_STORE_u32(b3, i, BD_LOAD_f32(b1, i));\n"
                               "    BD_STORE_u8(b4, i, BD_LOAD_f32(b1, i));\n"
                               "}\n";
    enum { COUNT = 256 };
    uint8_t bytes[COUNT], stored[COUNT];
    uint32_t words[COUNT];
    float values[COUNT], sums[COUNT];
    static const float edges[] = { NAN,    -INFINITY, -1,   -0.0f,         0.5f,  1.5f,    2.5f,
                                   254.5f, 255.5f,    1e9f, 4294967040.0f, 4e10f, INFINITY };
    for (int i = 0; i < COUNT; i++) {
        bytes[i] = (uint8_t)(255 - i);
        values[i] = i < (int)(sizeof edges / sizeof *edges) ? edges[i] : (float)i * 1.25f;
    }
    open_device(_i);
    char *source = with_prelude(true, body);
    bd_buffer *b[5] = { upload(bytes, COUNT), upload(values, sizeof values), make_buffer(sizeof sums),
                        make_buffer(sizeof words), make_buffer(COUNT) };
    test_dispatch launch = { .source = source, .groups = COUNT / GROUP, .binding_count = 5 };
    for (int i = 0; i < 5; i++)
        launch.bindings[i] = whole(b[i], i >= 2);
    run_once(&launch);
    download(b[2], sums, sizeof sums);
    download(b[3], words, sizeof words);
    download(b[4], stored, sizeof stored);
    for (int i = 0; i < COUNT; i++) {
        double value = isnan(values[i]) ? 0 : values[i]; /* NaN has no nearest whole number: 0 */
        ck_assert_float_eq(sums[i], 2.0f * bytes[i]);
        ck_assert_uint_eq(words[i], (uint32_t)bd_round(BD_U32, value));
        ck_assert_uint_eq(stored[i], (uint8_t)bd_round(BD_U8, value));
    }
    for (int i = 0; i < 5; i++)
        backend->buffer_destroy(device, b[i]);
    free(source);
    close_device();
}
END_TEST

/* ---- within budgets ---- */

/* Distance in units in the last place of the FP32 result. Where the driver flushes subnormals, zero stands for them. */
static double ulp_error(double expected, float got)
{
    if (isnan(expected) || isnan(got))
        return isnan(expected) && isnan(got) ? 0 : INFINITY;
    if (got == 0 && fabs(expected) < 0x1p-126 && !device->info.half.subnormals_f32)
        return 0;
    if ((float)expected == got)
        return 0;
    if (isinf(got))
        return fabs(expected) > 0x1.fffffep127 ? 0 : INFINITY;
    int exponent;
    frexp(expected, &exponent);
    return fabs(expected - got) / ldexp(1, exponent < -125 ? -149 : exponent - 24);
}

/* Of a function at x; a driver that flushes subnormals may read zero there. */
static double ulp_error_at(double (*function)(double), float x, float got)
{
    double plain = ulp_error(function(x), got);
    if (fabsf(x) >= 0x1p-126f || device->info.half.subnormals_f32)
        return plain;
    return fmin(plain, ulp_error(function(copysign(0, x)), got));
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* All halves, and random floats of the range where the function moves. The budgets are OpenCL's for FP32 (facts: exp 3,
 * log 3, tanh 5, erf 16). The sigmoid is 1 / (1 + t) or t / (1 + t) with t = exp(-|x|) 3 ULP off: the sum adds at most
 * 3 / 2 + 1 / 2, the division 2.5, together with t's own at most 7.5. */
START_TEST(functions_keep_their_budgets)
{
    static const struct {
        const char *expression;
        double (*function)(double);
        double budget, low, high;
    } rows[] = { { "bd_exp(x)", exp, 3, -105, 90 },
                 { "bd_log(x)", log, 3, 0, 4 },
                 { "bd_tanh(x)", tanh, 5, -11, 11 },
                 { "bd_sigmoid(x)", sigmoid, 7.5, -100, 30 },
                 { "bd_erf(x)", erf, 16, -4.5, 4.5 } };
    enum { COUNT = 4 * HALVES };
    float *in = malloc(COUNT * sizeof *in), *out = malloc(COUNT * sizeof *out);
    ck_assert(in && out);
    open_device(_i);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            uint32_t words[4];
            bd_philox((uint32_t[2]){ 5, 6 }, (uint32_t[4]){ i }, words);
            if (i < HALVES)
                in[i] = (float)half(i);
            else if (i < 3 * HALVES)
                in[i] = (float)(rows[k].low + (rows[k].high - rows[k].low) * (words[0] * 0x1p-32));
            else
                in[i] = float_of(words[1]);
        }
        run_floats(true, kernel_text(1, rows[k].expression), in, 1, out, COUNT);
        double worst = 0;
        float at = 0;
        for (uint32_t i = 0; i < COUNT; i++) {
            double error_here = ulp_error_at(rows[k].function, in[i], out[i]);
            if (!(error_here <= worst)) {
                worst = error_here;
                at = in[i];
            }
        }
        printf("%s: %s %.2f ULP at %a, of %g\n", device->info.name, rows[k].expression, worst, (double)at,
               rows[k].budget);
        ck_assert_msg(worst <= rows[k].budget, "%s is %g ULP off at %a", rows[k].expression, worst, (double)at);
    }
    close_device();
    free(in);
    free(out);
}
END_TEST

START_TEST(power_keeps_its_budget)
{
    static const float special[] = { 0.0f,  -0.0f,    1.0f,      -1.0f, 2.0f,        -2.0f,        3.0f,
                                     -3.0f, 0.5f,     -0.5f,     1e30f, -1e30f,      1e-30f,       2.5f,
                                     -2.5f, INFINITY, -INFINITY, NAN,   16777215.0f, -16777217.0f, 8388607.5f };
    enum { SPECIALS = sizeof special / sizeof *special, COUNT = 262144 };
    float *in = malloc(2 * COUNT * sizeof *in), *out = malloc(COUNT * sizeof *out);
    ck_assert(in && out);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t words[4];
        bd_philox((uint32_t[2]){ 7, 8 }, (uint32_t[4]){ i }, words);
        double base = exp((words[0] * 0x1p-32 - 0.5) * (i % 2 ? 170 : 2)); /* all magnitudes, or near 1 */
        in[2 * i] = (float)base;
        in[2 * i + 1] = (float)((words[1] * 0x1p-32 - 0.5) * 220 / log(base));
        if (i < SPECIALS * SPECIALS) {
            in[2 * i] = special[i / SPECIALS];
            in[2 * i + 1] = special[i % SPECIALS];
        }
    }
    open_device(_i);
    run_floats(true, kernel_text(2, "bd_pow(a, b)"), in, 2, out, COUNT);
    double worst = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        double x = in[2 * i], y = in[2 * i + 1], expected = pow(x, y);
        double error_here = ulp_error(expected, out[i]);
        if (!(error_here <= worst)) {
            worst = error_here;
            at = i;
        }
    }
    printf("%s: bd_pow %.2f ULP at %a, %a, of 16\n", device->info.name, worst, (double)in[2 * at],
           (double)in[2 * at + 1]);
    ck_assert_msg(worst <= 16, "bd_pow is %g ULP off at %a, %a: %a", worst, (double)in[2 * at], (double)in[2 * at + 1],
                  (double)out[at]);
    close_device();
    free(in);
    free(out);
}
END_TEST

/* ---- random numbers ---- */

START_TEST(random_numbers_are_the_engines)
{
    static const char body[] = "layout(local_size_x = 64) in;\n"
                               "layout(set = 0, binding = 0) buffer B0 { float b0[]; };\n"
                               "layout(set = 0, binding = 1) buffer B1 { uvec4 b1[]; };\n"
                               "void main() {\n"
                               "    uint i = gl_GlobalInvocationID.x;\n"
                               "    b0[i] = bd_uniform(bd_random(0x12345678u, 0x9abcdef0u, 77u, 5u, i));\n"
                               "    b1[i] = bd_philox(uvec2(i, 3u), uvec4(9u, i, 0xffffffffu, 1u));\n"
                               "}\n";
    enum { COUNT = 4096 };
    float *uniform = malloc(COUNT * sizeof *uniform);
    uint32_t(*words)[4] = malloc(COUNT * sizeof *words);
    ck_assert(uniform && words);
    open_device(_i);
    char *source = with_prelude(true, body);
    bd_buffer *a = make_buffer(COUNT * sizeof *uniform), *b = make_buffer(COUNT * sizeof *words);
    test_dispatch launch = { source, COUNT / GROUP, { whole(a, true), whole(b, true) }, 2 };
    run_once(&launch);
    download(a, uniform, a->size);
    download(b, words, b->size);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t expected[4];
        bd_philox((uint32_t[2]){ i, 3 }, (uint32_t[4]){ 9, i, 0xffffffff, 1 }, expected);
        ck_assert(memcmp(expected, words[i], sizeof expected) == 0);
        bd_philox((uint32_t[2]){ 0x12345678, 0x9abcdef0 }, (uint32_t[4]){ i / 4, 5, 77, 0 }, expected);
        ck_assert(uniform[i] == bd_philox_uniform(expected[i % 4]));
    }
    backend->buffer_destroy(device, a);
    backend->buffer_destroy(device, b);
    free(source);
    close_device();
    free(uniform);
    free(words);
}
END_TEST

int main(void)
{
    const int devices = device_count();
    if (devices == 0) {
        puts("no Vulkan device");
        return SKIPPED;
    }
    TCase *all = make_tests();
    tcase_add_loop_test(all, unary_halves_are_exact, 0, devices);
    tcase_add_loop_test(all, rounding_is_exact, 0, devices);
    tcase_add_loop_test(all, half_arithmetic_is_exact, 0, devices);
    tcase_add_loop_test(all, halves_are_stored_alone, 0, devices);
    tcase_add_loop_test(all, bytes_and_words_are_whole_numbers, 0, devices);
    tcase_add_loop_test(all, functions_keep_their_budgets, 0, devices);
    tcase_add_loop_test(all, power_keeps_its_budget, 0, devices);
    tcase_add_loop_test(all, random_numbers_are_the_engines, 0, devices);
    return run_tests("shaders", all);
}
