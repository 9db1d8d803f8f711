/* What tests/kernels does beside the cases of check/. */
#ifndef BINADE_TESTS_KERNELS_H
#define BINADE_TESTS_KERNELS_H

#include "../check/case.h"

/* Times kernels and prints them; false if one failed. */
bool run_benchmarks(session *s);
/* "matrix2:128x256x64:64x64", a tile: group, matrix, matrix8, warpgroup, warpgroup8, matrix2 or resident; false if the
 * text is none. */
bool read_tile(const char *text, bd_tile *tile);
/* Prints what the device can do. */
void print_support(session *s);

#endif
