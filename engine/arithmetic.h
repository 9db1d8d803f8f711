/* Arithmetic of sizes. */
#ifndef BINADE_ENGINE_ARITHMETIC_H
#define BINADE_ENGINE_ARITHMETIC_H

#include <stdint.h>

/* a / b rounded up: a >= 0, b > 0, and their sum is an int64_t. */
static inline int64_t bd_ceil_divide(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t bd_smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t bd_larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
