/* What tests/kernels does beside the cases of check/. */
#ifndef BINADE_TESTS_KERNELS_H
#define BINADE_TESTS_KERNELS_H

#include "../check/case.h"

/* Times kernels and prints them; false if one failed. */
bool run_benchmarks(session *s);
/* Prints what the device can do. */
void print_support(session *s);

#endif
