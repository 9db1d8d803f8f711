/* Means over a few runs, and what they leave open: Student's intervals. */
#ifndef BINADE_APPS_INTERVAL_H
#define BINADE_APPS_INTERVAL_H

#include <stdbool.h>
#include <stddef.h>

/* The t below which Student's distribution with `freedom` degrees (> 0) has the share `probability` (between 0 and 1,
 * both excluded): 2.776 for 0.975 and 4. Computed to about ten digits, by bisection of the incomplete beta function. */
double student_quantile(double probability, double freedom);

/* A mean and the 95% interval around it, mean -+ t(0.975, count - 1) * s / sqrt(count) with the sample standard
 * deviation s (Student, Biometrika 6, 1908): of intervals made like this, 95% hold the true mean if the values scatter
 * normally. */
typedef struct interval {
    double mean, low,
        high; /* NaN where unknown: all of no values or of some that are not finite, the bounds of one value */
    size_t count;
} interval;

interval interval_of(const double *values, size_t count);
/* Of the differences of pairs, values[i] - base[i]: the values of one seed in two precisions begin with the same
 * weights and see the same images, and what they share cancels. */
interval interval_of_pairs(const double *values, const double *base, size_t count);
/* Half its length; NaN where the bounds are. */
double interval_half(const interval *self);
/* Whether 0 lies in it; false too where the bounds are NaN. */
bool interval_has_zero(const interval *self);

#endif
