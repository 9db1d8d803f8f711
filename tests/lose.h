/* A device that is lost, for test_lost.py: call number $BINADE_LOSE_AT of those that are counted fails, and each one
 * after it. Without it nothing fails. At the end the number of calls is written to the file $BINADE_LOSE_COUNT. */
#ifndef BINADE_TESTS_LOSE_H
#define BINADE_TESTS_LOSE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static long lose_calls;
static bool lose_lost;

/* Counts a call. True if it fails. */
static inline bool lose_now(void)
{
    const char *at = getenv("BINADE_LOSE_AT");
    lose_calls++;
    lose_lost |= at && lose_calls == atol(at);
    return lose_lost;
}

__attribute__((destructor)) static void lose_tell(void)
{
    const char *path = getenv("BINADE_LOSE_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", lose_calls);
        fclose(file);
    }
}

#endif
