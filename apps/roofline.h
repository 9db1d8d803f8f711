/* A roofline (Williams, Waterman, Patterson: "Roofline: an insightful visual performance model", 2009) as inline SVG:
 * what kernels reach, over how much they compute for each byte of memory, under what the device could do. */
#ifndef BINADE_APPS_ROOFLINE_H
#define BINADE_APPS_ROOFLINE_H

#include <stddef.h>
#include <stdio.h>

typedef struct roofline_point {
    double intensity, speed; /* FLOP/byte, GFLOP/s; both above 0 */
    int style;               /* the class s0, s1, ... */
    const char *name;
} roofline_point;

typedef struct roofline {
    const char *title;
    double peak, bandwidth; /* GFLOP/s, GB/s; 0 where not known: no roof */
    const roofline_point *points;
    size_t count;
} roofline;

void roofline_draw(FILE *file, const roofline *self);

#endif
