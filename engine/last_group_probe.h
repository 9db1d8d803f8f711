/* The start-up test of what final sums by the last work-group rest on (cl/probe_last_group.cl,
 * shaders/probe_last_group.comp): backends run the kernel BD_LAST_GROUP_RUNS times on words that begin with zeros. */
#ifndef BINADE_ENGINE_LAST_GROUP_PROBE_H
#define BINADE_ENGINE_LAST_GROUP_PROBE_H

#include "kernel.h"

enum {
    BD_LAST_GROUP_ITEMS = 256,
    BD_LAST_GROUP_GROUPS = 1024,
    BD_LAST_GROUP_BLOCKS = 8,
    BD_LAST_GROUP_RUNS = 32,
    /* Counters and runs done of each block, what each item stored, and each run's sums. */
    BD_LAST_GROUP_WORDS = 2 * BD_LAST_GROUP_BLOCKS + BD_LAST_GROUP_GROUPS * BD_LAST_GROUP_ITEMS +
                          BD_LAST_GROUP_RUNS * BD_LAST_GROUP_BLOCKS * BD_LAST_GROUP_ITEMS,
};

/* The kernel's text, prelude and all. The caller frees; NULL if memory ran out. */
char *bd_last_group_probe_source(bd_dialect dialect);
/* Was every sum of every run made of what that run stored? */
bool bd_last_group_probe_right(const uint32_t words[BD_LAST_GROUP_WORDS]);

#endif
