/* Charts of what rounding does, as inline SVG: chart.h. */
#ifndef BINADE_APPS_CHART_ROUNDING_H
#define BINADE_APPS_CHART_ROUNDING_H

#include <binade/train.h>
#include <stdio.h>

typedef struct heat_column {
    const char *group, *name; /* neighbours of one group share its title */
    int style;
} heat_column;

typedef struct heat_map {
    const char *title;
    const char *const *rows;
    size_t row_count;
    const heat_column *columns;
    size_t column_count;
    const double *values;    /* row by row; what is not finite is left empty */
    double coldest, hottest; /* values that are drawn empty and full */
    double scale;            /* what the numbers in the cells are multiplied by */
} heat_map;

void chart_heat(FILE *file, const heat_map *self);

/* Shares of values by exponent, and below which of them each of the common formats has, as subnormals too. */
typedef struct exponent_series {
    const char *name;
    int style;
    double counts[BD_EXPONENT_BINS];
} exponent_series;

void chart_exponents(FILE *file, const char *title, const exponent_series *series, size_t count);

#endif
