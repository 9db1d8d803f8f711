/* Elementwise operations, in double. */
#include "evaluate.h"

#include <math.h>

static double normaliser(double a)
{
    return isfinite(a) ? ldexp(1, -ilogb(fmin(fmax(fabs(a), 0x1p-126), 0x1p126))) : 0x1p-126;
}

static double gelu(double a)
{
    return isinf(a) ? fmax(a, 0) : a * erfc(-a * sqrt(0.5)) / 2;
}

static double gelu_slope(double a)
{
    const double two_pi = 6.28318530717958647693;
    return isinf(a) ? a > 0 : erfc(-a * sqrt(0.5)) / 2 + a * exp(-a * a / 2) / sqrt(two_pi);
}

static double apply(bd_op op, double a, double b, double c)
{
    switch (op) {
    case BD_OP_CAST: return a;
    case BD_OP_NEG: return -a;
    case BD_OP_ABS: return fabs(a);
    case BD_OP_SIGN: return a > 0 ? 1 : a < 0 ? -1 : a;
    case BD_OP_FLOOR: return floor(a);
    case BD_OP_SQRT: return sqrt(a);
    case BD_OP_EXP: return exp(a);
    case BD_OP_LOG: return log(a);
    case BD_OP_TANH: return tanh(a);
    case BD_OP_SIGMOID: return 1 / (1 + exp(-a));
    case BD_OP_ERF: return erf(a);
    case BD_OP_GELU: return gelu(a);
    case BD_OP_GELU_SLOPE: return gelu_slope(a);
    case BD_OP_RELU: return a < 0 ? 0 : a;
    case BD_OP_NONFINITE: return !isfinite(a);
    case BD_OP_NORMALISER: return normaliser(a);
    case BD_OP_ADD: return a + b;
    case BD_OP_SUB: return a - b;
    case BD_OP_MUL: return a * b;
    case BD_OP_DIV: return a / b;
    case BD_OP_MAX: return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
    case BD_OP_MIN: return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
    case BD_OP_POW: return pow(a, b);
    case BD_OP_LESS: return a < b;
    case BD_OP_EQUAL: return a == b;
    case BD_OP_SELECT: return a != 0 ? b : c;
    default: return NAN; /* not reached: interpret.c sends only the operations above */
    }
}

void bd_evaluate_elementwise(const bd_evaluation *evaluation, const bd_node *node, double *result)
{
    const double *input[3];
    for (int i = 0; i < 3; i++) /* operations of fewer operands ignore the others */
        input[i] = bd_evaluated(evaluation, node, i < node->input_count ? i : 0);
    int64_t count = bd_shape_elements(&node->shape);
    for (int64_t i = 0; i < count; i++)
        result[i] = apply(node->op, input[0][i], input[1][i], input[2][i]);
}
