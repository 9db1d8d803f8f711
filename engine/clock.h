/* Seconds of the host's clock. */
#ifndef BINADE_ENGINE_CLOCK_H
#define BINADE_ENGINE_CLOCK_H

#include <time.h>

/* From some moment on; it never goes back. Thread safe. */
static inline double bd_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

#endif
