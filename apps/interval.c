#include "interval.h"
#include <float.h>
#include <math.h>

static const double CONFIDENCE = 0.95;

/* The continued fraction of the incomplete beta function (NIST's Digital Library of Mathematical Functions, 8.17.22),
 * evaluated from the front (Lentz, Applied Optics 15, 1976). Converges fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double a, double b, double x)
{
    enum { MOST_TERMS = 10000 }; /* some sqrt(max(a, b)) are needed */
    double c = 1, d = 1 / (1 - (a + b) * x / (a + 1)), fraction = d;
    for (int m = 1; m < MOST_TERMS; m++) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 / (1 + even * d);
        c = 1 + even / c;
        fraction *= c * d;
        d = 1 / (1 + odd * d);
        c = 1 + odd / c;
        fraction *= c * d;
        if (fabs(c * d - 1) < 4 * DBL_EPSILON)
            break;
    }
    return fraction;
}

/* I_x(a, b), with y = 1 - x told apart, since it may be too small to come from x. */
static double incomplete_beta(double a, double b, double x, double y)
{
    if (x <= 0 || y <= 0)
        return x > 0;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(y));
    return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, y) / b;
}

/* The share of Student's distribution that is further than t > 0 from 0. */
static double two_tails(double t, double freedom)
{
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t), 1 / (1 + freedom / (t * t)));
}

double student_quantile(double probability, double freedom)
{
    if (!(probability > 0 && probability < 1 && freedom > 0))
        return NAN;
    const double tails = probability < 0.5 ? 2 * probability : 2 * (1 - probability);
    if (tails == 1)
        return 0;
    double low = 0, high = 1;
    while (two_tails(high, freedom) > tails) {
        low = high;
        high *= 2;
    }
    for (double t = low + (high - low) / 2; t > low && t < high; t = low + (high - low) / 2)
        *(two_tails(t, freedom) > tails ? &low : &high) = t;
    return probability < 0.5 ? -high : high;
}

static interval interval_of_differences(const double *values, const double *base, size_t count)
{
    interval result = { NAN, NAN, NAN, count };
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[i] - (base ? base[i] : 0);
    if (!count || !isfinite(sum))
        return result;
    result.mean = sum / (double)count;
    if (count < 2)
        return result;
    for (size_t i = 0; i < count; i++)
        squares += pow(values[i] - (base ? base[i] : 0) - result.mean, 2);
    const double freedom = (double)count - 1;
    const double half = student_quantile((1 + CONFIDENCE) / 2, freedom) * sqrt(squares / freedom / (double)count);
    result.low = result.mean - half;
    result.high = result.mean + half;
    return result;
}

interval interval_of(const double *values, size_t count)
{
    return interval_of_differences(values, NULL, count);
}

interval interval_of_pairs(const double *values, const double *base, size_t count)
{
    return interval_of_differences(values, base, count);
}

double interval_half(const interval *self)
{
    return (self->high - self->low) / 2;
}

bool interval_has_zero(const interval *self)
{
    return self->low <= 0 && self->high >= 0;
}
