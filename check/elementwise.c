/* Elementwise operations: every half through every function, special pairs through every pair of operands. */
#include "case.h"

#include <math.h>

/* Units in the last place of F32 that the functions may be off by before their result is rounded to its format:
 * OpenCL's table for full-profile single precision, which the preludes keep on Vulkan too. */
enum { EXP_ULPS = 3, LOG_ULPS = 3, TANH_ULPS = 5, ERF_ULPS = 16, POW_ULPS = 16 };
static const double divide_ulps = 2.5, sqrt_ulps = 3;

/* 1 / (1 + exp(-x)): the exponential's relative error counts at most whole, since exp(-x) / (1 + exp(-x)) < 1; then an
 * addition and a division. A unit in the last place is between 2^-24 and 2^-23 of a value, hence the 2. Where exp(-x)
 * overflows the result is 0 instead of less than 2^-126. */
static test_tolerance sigmoid_tolerance(void)
{
    test_tolerance t = within_ulps(2 * (EXP_ULPS + 0.5 + divide_ulps));
    t.absolute = 0x1p-126;
    return t;
}

/* x P(x), as max(x, 0) - |x| times the tail, which is less than 1/2: from 0 on the result is x/2 at least, so the
 * tail's error (a quotient, a polynomial of nine numbers, an exponential) counts once. Below, the rounding of x x / 2
 * in the exponent adds x x / 4 ULP: 8 at -5.5, and beyond, where the result is less than 2^-22, less than 2^-40 in
 * all. */
static test_tolerance gelu_tolerance(void)
{
    test_tolerance t = within_ulps(EXP_ULPS + divide_ulps + 5 + 8);
    t.absolute = 0x1p-40;
    return t;
}

/* P(x) + x P'(x), a difference of what is less than 1 with such errors. */
static test_tolerance gelu_slope_tolerance(void)
{
    test_tolerance t = within_ulps(EXP_ULPS + divide_ulps + 5);
    t.absolute = (EXP_ULPS + divide_ulps + 5) * 0x1p-24;
    return t;
}

/* Rounding to F16 is correct also where F32's function has a budget: the preludes see to that. */
static test_tolerance root_tolerance(format_set f)
{
    return f.value == BD_F16 ? bit_identical : within_ulps(sqrt_ulps);
}

static test_tolerance quotient_tolerance(format_set f)
{
    return f.value == BD_F16 ? bit_identical : within_ulps(divide_ulps);
}

static void output_exact_functions(test_case *c, bd_tensor x)
{
    bd_graph *g = c->graph;
    case_output(c, bd_cast(g, x, BD_ROLE_ACTIVATION), bit_identical);
    case_output(c, bd_neg(g, x), bit_identical);
    case_output(c, bd_abs(g, x), bit_identical);
    case_output(c, bd_sign(g, x), bit_identical);
    case_output(c, bd_floor(g, x), bit_identical);
    case_output(c, bd_relu(g, x), bit_identical);
    case_output(c, bd_nonfinite(g, x), bit_identical);
    case_output(c, bd_normaliser(g, x), bit_identical);
    case_output(c, bd_sqrt(g, x), root_tolerance(c->formats));
}

static void output_budget_functions(test_case *c, bd_tensor x)
{
    bd_graph *g = c->graph;
    case_output(c, bd_exp(g, x), within_ulps(EXP_ULPS));
    case_output(c, bd_log(g, x), within_ulps(LOG_ULPS));
    case_output(c, bd_tanh(g, x), within_ulps(TANH_ULPS));
    case_output(c, bd_sigmoid(g, x), sigmoid_tolerance());
    case_output(c, bd_erf(g, x), within_ulps(ERF_ULPS));
    case_output(c, bd_gelu(g, x), gelu_tolerance());
    case_output(c, bd_gelu_slope(g, x), gelu_slope_tolerance());
}

enum { HALVES = 0x10000 };

static bd_tensor all_halves(test_case *c)
{
    static double values[HALVES];
    for (int i = 0; i < HALVES; i++)
        values[i] = bd_f16_to_double((uint16_t)i);
    return case_input_values(c, BD_F16, BD_SHAPE(HALVES), values);
}

void test_unary(session *s)
{
    const format_set each[] = { fp16, fp32 };
    test_case c;
    if (case_begin(&c, s, fp16, "exact functions of every half")) {
        output_exact_functions(&c, all_halves(&c));
        case_run(&c);
    }
    if (case_begin(&c, s, fp32, "exact functions of special floats")) {
        output_exact_functions(&c, case_input(&c, BD_F32, BD_SHAPE(20011), FILL_SPECIAL));
        case_run(&c);
    }
    if (case_begin(&c, s, fp16, "special floats to halves")) {
        bd_tensor x = case_input(&c, BD_F32, BD_SHAPE(20011), FILL_SPECIAL);
        case_output(&c, bd_cast(c.graph, x, BD_ROLE_ACTIVATION), bit_identical);
        case_output(&c, bd_floor(c.graph, x), bit_identical);
        case_run(&c);
    }
    for (int f = 0; f < 2; f++) {
        if (case_begin(&c, s, each[f], "transcendental functions of every half")) {
            output_budget_functions(&c, all_halves(&c));
            case_run(&c);
        }
    }
    if (case_begin(&c, s, fp32, "transcendental functions of floats")) {
        output_budget_functions(&c, case_input(&c, BD_F32, BD_SHAPE(20011), FILL_WIDE));
        output_budget_functions(&c, case_input(&c, BD_F32, BD_SHAPE(20011), FILL_UNIFORM));
        case_run(&c);
    }
}

/* ---- pairs ---- */

static void output_exact_pairs(test_case *c, bd_tensor a, bd_tensor b)
{
    bd_graph *g = c->graph;
    case_output(c, bd_add(g, a, b), bit_identical);
    case_output(c, bd_sub(g, a, b), bit_identical);
    case_output(c, bd_mul(g, a, b), bit_identical);
    case_output(c, bd_max(g, a, b), bit_identical);
    case_output(c, bd_min(g, a, b), bit_identical);
    case_output(c, bd_less(g, a, b), bit_identical);
    case_output(c, bd_equal(g, a, b), bit_identical);
    case_output(c, bd_select(g, a, b, bd_neg(g, b)), bit_identical);
}

static void special_pairs(session *s, format_set f, int64_t count)
{
    test_case c;
    if (!case_begin(&c, s, f, "%lld special pairs", (long long)count))
        return;
    bd_tensor a = case_input(&c, f.value, BD_SHAPE(count), FILL_SPECIAL);
    bd_tensor b = case_input(&c, f.value, BD_SHAPE(count), FILL_SPECIAL);
    output_exact_pairs(&c, a, b);
    if (f.value == BD_F16)
        case_output(&c, bd_div(c.graph, a, b), bit_identical);
    case_run(&c);
}

/* Two floats into a half: the operation rounds to F32, then the node to F16. */
static void special_pairs_of_floats(session *s)
{
    test_case c;
    if (!case_begin(&c, s, fp16, "special pairs of floats"))
        return;
    bd_tensor a = case_input(&c, BD_F32, BD_SHAPE(20011), FILL_SPECIAL);
    bd_tensor b = case_input(&c, BD_F32, BD_SHAPE(20011), FILL_SPECIAL);
    case_output(&c, bd_add(c.graph, a, b), bit_identical);
    case_output(&c, bd_sub(c.graph, a, b), bit_identical);
    case_output(&c, bd_mul(c.graph, a, b), bit_identical);
    case_run(&c);
}

static void division_and_power(session *s, format_set f)
{
    test_case c;
    if (!case_begin(&c, s, f, "division and power"))
        return;
    bd_format format = f.value;
    bd_tensor a = case_input(&c, format, BD_SHAPE(20011), FILL_WIDE),
              b = case_input(&c, format, BD_SHAPE(20011), FILL_WIDE);
    bd_tensor base = case_input(&c, format, BD_SHAPE(20011), FILL_POSITIVE);
    bd_tensor exponent = bd_mul(c.graph, case_input(&c, format, BD_SHAPE(20011), FILL_UNIFORM),
                                bd_constant(c.graph, BD_SHAPE(20011), 16));
    case_output(&c, bd_div(c.graph, a, b), quotient_tolerance(f));
    case_output(&c, bd_pow(c.graph, base, exponent), within_ulps(POW_ULPS));
    case_output(&c,
                bd_pow(c.graph, case_input(&c, format, BD_SHAPE(1009), FILL_WHOLE),
                       case_input(&c, format, BD_SHAPE(1009), FILL_WHOLE)),
                within_ulps(POW_ULPS));
    case_run(&c);
}

/* A chain with shared values, which the compiler fuses: every value in between is rounded all the same. */
static void chain(session *s, format_set f, int64_t count)
{
    test_case c;
    if (!case_begin(&c, s, f, "chain over %lld", (long long)count))
        return;
    bd_tensor a = case_input(&c, f.value, BD_SHAPE(count), FILL_UNIFORM);
    bd_tensor b = case_input(&c, f.value, BD_SHAPE(count), FILL_POSITIVE);
    bd_tensor sum = bd_add(c.graph, a, b), product = bd_mul(c.graph, sum, a);
    bd_tensor difference = bd_sub(c.graph, product, bd_mul(c.graph, b, b));
    case_output(&c, difference, bit_identical);
    case_output(&c, bd_relu(c.graph, bd_add(c.graph, difference, sum)), bit_identical);
    case_run(&c);
}

void test_binary(session *s)
{
    const format_set each[] = { fp16, fp32 };
    const int64_t counts[] = { 0, 1, 7, 255, 257, 65537 };
    for (int f = 0; f < 2; f++) {
        special_pairs(s, each[f], 20011);
        division_and_power(s, each[f]);
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
            chain(s, each[f], counts[i]);
    }
    special_pairs_of_floats(s);
}
