/* Charts as inline SVG. Colours come from the page's style: a series has the class s0, s1, ... of its `style`. */
#ifndef BINADE_APPS_CHART_H
#define BINADE_APPS_CHART_H

#include "measures.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { CHART_STYLES = 6 }; /* how many series can be told apart; see report_style.c */

typedef struct chart_point {
    double x, y;      /* a y that is not finite breaks the line */
    double low, high; /* of the band around it; NaN where there is none */
} chart_point;

typedef struct chart_series {
    const char *name;
    int style;
    chart_point *points; /* by rising x */
    size_t count;
} chart_series;

typedef struct chart {
    const char *title, *x_title;
    double x_max;  /* the axis goes from 0 to here */
    double y_most; /* lines leave the chart above this; INFINITY for no limit */
    bool percent;  /* y is a fraction, shown in per cent */
    bool markers;  /* a dot at every point, which tells its value when pointed at */
} chart;

void chart_lines(FILE *file, const chart *self, const chart_series *series, size_t count);

/* A reliability diagram: a bar a bin as high as its accuracy, a mark at its confidence, which the bar would reach if
 * that were right, and below how many examples each bin has. */
void chart_reliability(FILE *file, const char *title, int style, const reliability_bin *bins);

/* One row a series, a dot a value and a tick at the mean: how results scatter. */
void chart_dots(FILE *file, const char *title, const chart_series *series, size_t count);

#endif
