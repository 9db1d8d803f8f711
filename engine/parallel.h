/* A loop over several threads. */
#ifndef BINADE_ENGINE_PARALLEL_H
#define BINADE_ENGINE_PARALLEL_H

#include <binade/status.h>
#include <stdint.h>

/* Calls work(user, 0 .. count - 1) on `threads` threads (0: one a processor); the error of the lowest failing number is
 * returned. `progress` (may be NULL) is called on the calling thread only. */
bd_status bd_parallel(int64_t count, int threads, bd_status (*work)(void *user, int64_t i, bd_error *error), void *user,
                      void (*progress)(void *user, int64_t done, int64_t total), bd_error *error);

#endif
