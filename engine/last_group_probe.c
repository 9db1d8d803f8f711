#include "last_group_probe.h"
#include "embedded.h"
#include "text.h"

enum {
    ITEMS = BD_LAST_GROUP_ITEMS,
    GROUPS = BD_LAST_GROUP_GROUPS,
    BLOCKS = BD_LAST_GROUP_BLOCKS,
    RUNS = BD_LAST_GROUP_RUNS
};

char *bd_last_group_probe_source(bd_dialect dialect)
{
    const bool opencl = dialect == BD_DIALECT_OPENCL;
    bd_text text = { 0 };
    bd_text_append(&text, "%s", bd_embedded_text(opencl ? "cl/prelude.cl" : "shaders/prelude.comp"));
    bd_text_append(&text, "#define ITEMS %du\n#define GROUPS %du\n#define BLOCKS %du\n%s", ITEMS, GROUPS, BLOCKS,
                   bd_embedded_text(opencl ? "cl/probe_last_group.cl" : "shaders/probe_last_group.comp"));
    if (text.failed)
        bd_text_finish(&text);
    return text.data;
}

/* What an item stores in a run, as both kernels have it. */
static uint32_t value_of(uint32_t run, uint32_t place)
{
    return ((run + 1) * 2654435761u + place * 40503u) & 0x7fffffffu;
}

bool bd_last_group_probe_right(const uint32_t words[BD_LAST_GROUP_WORDS])
{
    const uint32_t *sums = words + 2 * BLOCKS + GROUPS * ITEMS;
    bool right = true;
    for (uint32_t block = 0; block < BLOCKS; block++) {
        right &= words[block] == 0 && words[BLOCKS + block] == RUNS;
        for (uint32_t run = 0; run < RUNS && right; run++)
            for (uint32_t item = 0; item < ITEMS && right; item++) {
                uint32_t sum = 0;
                for (uint32_t group = block; group < GROUPS; group += BLOCKS)
                    sum += value_of(run, group * ITEMS + (item + 1) % ITEMS);
                right = sums[(run * BLOCKS + block) * ITEMS + item] == sum;
            }
    }
    return right;
}
